/* SPDX-License-Identifier: Apache-2.0
 *
 * What a service says to its sagas: which events of its outbox that is, that they leave with the commit and not without it, and
 * what a developer is told who says it wrongly.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ficus/saga.h>
#include <ficus/test.h>

#include <stdio.h>
#include <string.h>

static struct ficus_test *t;

static const char *text_of(struct ficus_req *req, const char *key)
{
    return ficus_json_str(req, ficus_json_get(ficus_body(req), key));
}

/* Says what the body has: {saga, id, signal, data, refuse: "yes", tx: "no", end: "fail"}. */
static int say(struct ficus_req *req)
{
    const char *tx = text_of(req, "tx"), *end = text_of(req, "end"), *signal = text_of(req, "signal"), *refuse = text_of(req, "refuse");
    if (tx == NULL && ficus_tx(req) != 0)
        return -1;
    int said = signal == NULL ? ficus_saga_start(req, text_of(req, "saga"), text_of(req, "id"), text_of(req, "data"))
                              : ficus_saga_signal(req, text_of(req, "saga"), text_of(req, "id"), signal, refuse != NULL, text_of(req, "data"));
    if (said != 0)
        return -1;
    if (end != NULL)
        return ficus_problem(req, 409, "undecided", "it is rolled back");
    struct ficus_out *o = ficus_reply(req, 200);
    ficus_out_object(o, NULL);
    ficus_out_end(o);
    return 0;
}

static int look(struct ficus_req *req)
{
    struct ficus_saga_state s;
    int found = ficus_saga_state(req, "loan", ficus_param(req, "id"), 0, &s);
    if (found < 0)
        return -1;
    if (found == 0)
        return ficus_problem(req, 404, "none", "there is none");
    struct ficus_out *o = ficus_reply(req, 200);
    ficus_out_object(o, NULL);
    ficus_out_str(o, "all", ficus_printf(req, "%s|%s|%s|%s", s.state, s.step, s.signal, s.failure));
    ficus_out_end(o);
    return 0;
}

static const struct ficus_route routes[] = {
    {"POST", "/say", say, FICUS_ANYONE, NULL, false},
    {"GET", "/look/{id}", look, FICUS_ANYONE, NULL, false},
    {NULL, NULL, NULL, FICUS_SERVICES, NULL, false},
};
static const struct ficus_service desk = {.name = "desk", .routes = routes};

static struct ficus_test_answer post(const char *body)
{
    return ficus_test_call(t, &(struct ficus_test_request){.method = "POST", .path = "/say", .body = body});
}

/* Both are events of the reserved topic, in order, with the instance's id as subject and the text as it was. */
static void test_said(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"saga\":\"loan\",\"id\":\"l1\",\"data\":\"{ \\\"amount\\\": 1.50 }\"}",
        "{\"saga\":\"loan\",\"id\":\"l1\",\"signal\":\"approved\",\"data\":\"[1, \\\"x\\\"]\"}",
        "{\"saga\":\"loan\",\"id\":\"l1\",\"signal\":\"approved\",\"refuse\":\"yes\"}",
        "{\"saga\":\"loan\",\"id\":\"l2\"}",
    };
    static const char *const data[] = {
        "\"data\":{\"command\":\"start\",\"saga\":\"loan\",\"input\":{\"amount\":1.50}}",
        "\"data\":{\"command\":\"signal\",\"saga\":\"loan\",\"signal\":\"approved\",\"data\":[1,\"x\"]}",
        "\"data\":{\"command\":\"signal\",\"saga\":\"loan\",\"signal\":\"approved\",\"refuse\":true}",
        "\"data\":{\"command\":\"start\",\"saga\":\"loan\"}",
    };
    size_t before = ficus_test_emitted_count(t);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(post(bodies[i]).status, 200);
    assert_int_equal(ficus_test_emitted_count(t), before + 4);
    for (size_t i = 0; i < 4; i++) {
        const char *event = ficus_test_emitted(t, before + i);
        if (strstr(event, data[i]) == NULL || strstr(event, "\"type\":\"ficus.saga\"") == NULL ||
            strstr(event, i < 3 ? "\"subject\":\"l1\"" : "\"subject\":\"l2\"") == NULL)
            fail_msg("%s is not %s", event, data[i]);
    }
}

/* What is not committed is not said; what is wrong fails the request with the reason, and says nothing. */
static void test_not_said(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int status;
    } cases[] = {
        {"{\"saga\":\"loan\",\"id\":\"l1\",\"end\":\"fail\"}", 409},
        {"{\"saga\":\"loan\",\"id\":\"l1\",\"tx\":\"no\"}", 500},
        {"{\"saga\":\"loan\",\"id\":\"a/b\"}", 500},
        {"{\"saga\":\"loan\",\"id\":\"..\"}", 500},
        {"{\"saga\":\"loan\",\"id\":\"\"}", 500},
        {"{\"saga\":\"loan\"}", 500},
        {"{\"id\":\"l1\"}", 500},
        {"{\"saga\":\"loan\",\"id\":\"l1\",\"data\":\"7\"}", 500},
        {"{\"saga\":\"loan\",\"id\":\"l1\",\"data\":\"{\"}", 500},
        {"{\"saga\":\"loan\",\"id\":\"l1\",\"signal\":\"\"}", 500},
        {"{\"saga\":\"loan\",\"id\":\"l1\",\"signal\":\"ok\",\"data\":\"nothing\"}", 500},
    };
    size_t before = ficus_test_emitted_count(t);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(post(cases[i].body).status, cases[i].status);
    assert_int_equal(ficus_test_emitted_count(t), before);
    char large[20000] = "{\"saga\":\"loan\",\"id\":\"l1\",\"signal\":\"ok\",\"data\":\"[";
    memset(large + strlen(large), ' ', 17000);
    strcpy(large + strlen(large), "]\"}");
    assert_int_equal(post(large).status, 500);
    assert_int_equal(ficus_test_emitted_count(t), before);
}

static const char *hub(void *arg, const char *method, const char *path, const char *body, int *status)
{
    (void)arg;
    (void)body;
    *status = strcmp(method, "GET") != 0 ? 405 : strcmp(path, "/v1/sagas/loan/l1") == 0 ? 200 : strstr(path, "/busy") != NULL ? 503 : 404;
    return *status == 200 ? "{\"saga\":\"loan\",\"id\":\"l1\",\"state\":\"waiting\",\"step\":\"approval\",\"signal\":\"approved\"}" : "{\"code\":\"x\"}";
}

/* The answer of the hub; none is 404, and what it does not say is 503. */
static void test_look(void **state)
{
    (void)state;
    static const int statuses[] = {200, 404, 503};
    static const char *const paths[] = {"/look/l1", "/look/l%202", "/look/busy"};
    for (size_t i = 0; i < 3; i++) {
        struct ficus_test_answer a = ficus_test_call(t, &(struct ficus_test_request){.method = "GET", .path = paths[i]});
        assert_int_equal(a.status, statuses[i]);
        if (i == 0)
            assert_non_null(strstr(a.body, "\"waiting|approval|approved|\""));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_said), cmocka_unit_test(test_not_said), cmocka_unit_test(test_look)};
    t = ficus_test_start(&desk, NULL, NULL);
    ficus_test_fake_service(t, "hub", hub, NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ficus_test_stop(t);
    return failed;
}
