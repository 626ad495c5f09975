/* SPDX-License-Identifier: Apache-2.0
 *
 * Projections as a service's author meets them: what a handler reads and writes, what it may not do, what becomes of the
 * append then, other versions, and what an operator asks. (The example: test_store.c; under load: tests/e2e/projections.py.)
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ficus/store.h>
#include <ficus/test.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static struct ficus_test *t;
static atomic_bool refuses; /* the second version's handler */
static atomic_bool moment;  /* the handler of "others" has not what it needs */

static struct ficus_test_answer call(const char *method, const char *path)
{
    return ficus_test_call(t, &(struct ficus_test_request){.method = method, .path = path, .user = "ann"});
}

static void expect(const char *method, const char *path, int status, const char *part)
{
    struct ficus_test_answer a = call(method, path);
    if (a.status != status || (part != NULL && strstr(a.body, part) == NULL))
        fail_msg("%s %s: %d %s", method, path, a.status, a.body);
}

/* ---- the service ---- */

static const char tables[] = "CREATE TABLE {kind}(type TEXT PRIMARY KEY, n INTEGER NOT NULL, user TEXT, last TEXT NOT NULL) STRICT";
static const char tables_2[] = "CREATE TABLE {kind}(type TEXT PRIMARY KEY, n INTEGER NOT NULL, user TEXT, last TEXT NOT NULL, twice INTEGER) STRICT";

/* Types that begin with bad- do what a projection may not. */
static int misbehave(struct ficus_req *req, const struct ficus_stored *ev)
{
    const char *what = ev->type + 4;
    struct ficus_answer answer;
    struct ficus_rows *rows;
    if (strcmp(what, "problem") == 0)
        return ficus_problem(req, 409, "odd", "event %lld is odd", (long long)ev->version);
    if (strcmp(what, "silent") == 0)
        return 7;
    if (strcmp(what, "append") == 0)
        (void)ficus_store_append(req, "s", FICUS_STREAM_ANY, "more", "1", NULL);
    else if (strcmp(what, "emit") == 0)
        (void)ficus_emit(req, "thing.made", "s", "1");
    else if (strcmp(what, "call") == 0)
        (void)ficus_call(req, &(struct ficus_call){.service = "other", .method = "GET", .path = "/"}, &answer);
    else if (strcmp(what, "send") == 0)
        (void)ficus_stream_send(req, "s", 1, "e", "1", false);
    else if (strcmp(what, "stream") == 0)
        (void)ficus_stream(req, "s");
    else if (strcmp(what, "step") == 0)
        (void)ficus_step_do(req, "k", "1");
    else if (strcmp(what, "snapshot") == 0)
        (void)ficus_store_snapshot_save(req, "s", 1, 1, "1");
    else if (strcmp(what, "reading") == 0)
        (void)ficus_store_read(req, "s", 1);
    else if (strcmp(what, "plain") == 0)
        (void)ficus_exec(req, "DELETE FROM ficus_store", "");
    else if (strcmp(what, "view") == 0)
        (void)ficus_query(req, "SELECT * FROM kind", "");
    else if (strcmp(what, "other") == 0)
        (void)ficus_exec(req, "DELETE FROM {nothing}", "");
    else if (strcmp(what, "unique") == 0)
        return ficus_exec(req, "INSERT INTO {kind}(type, n, last) VALUES('a', 1, '')", ""); /* there is one */
    else if (strcmp(what, "open") == 0 && (rows = ficus_query(req, "SELECT n FROM {kind}", "")) != NULL)
        return ficus_row(rows) == 1 ? ficus_problem(req, 500, "left", "rows are left open") : 0;
    return 0; /* must not be believed */
}

static int kinds_handle(struct ficus_req *req, const struct ficus_stored *ev)
{
    if (strncmp(ev->type, "bad-", 4) == 0)
        return misbehave(req, ev);
    return ficus_exec(req,
                      "INSERT INTO {kind}(type, n, user, last) VALUES(?, 1, ?, ?)"
                      " ON CONFLICT DO UPDATE SET n = n + 1, user = excluded.user, last = excluded.last",
                      "sss", ev->type, ficus_user(req), ev->data);
}

static int kinds_handle_2(struct ficus_req *req, const struct ficus_stored *ev)
{
    if (refuses && ev->position == 2)
        return ficus_problem(req, 500, "odd", "not this one");
    return kinds_handle(req, ev) != 0 ? -1 : ficus_exec(req, "UPDATE {kind} SET twice = 2 * n", "");
}

/* What is too large for the database counts like a full disk, as a matter of the moment. */
static int others_handle(struct ficus_req *req, const struct ficus_stored *ev)
{
    (void)ev;
    return ficus_exec(req, "INSERT INTO {other}(a) SELECT length(zeroblob(?))", "i", moment ? INT64_C(2000000000) : 1);
}

static struct ficus_projection projections[4] = {{"kinds", 1, tables, kinds_handle}, {NULL}};

static const char *upcast(struct ficus_req *req, const struct ficus_stored *old)
{
    return ficus_printf(req, "[%s]", old->data);
}
static const struct ficus_upcaster upcasters[] = {{"old", 1, upcast}, {NULL}};

static int answer_kinds(struct ficus_req *req)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT type || ' ' || n || ' ' || coalesce(user, '-') || ' ' || last FROM kind ORDER BY type", "");
    struct ficus_out *o = ficus_reply(req, 200);
    int row;
    if (rows == NULL || o == NULL)
        return -1;
    ficus_out_array(o, NULL);
    while ((row = ficus_row(rows)) == 1)
        ficus_out_str(o, NULL, ficus_col_str(rows, 0));
    ficus_out_end(o);
    return row;
}

/* And answers what it then finds. */
static int add(struct ficus_req *req)
{
    const char *data = ficus_query_param(req, "data"), *late = ficus_query_param(req, "late");
    if (ficus_tx(req) != 0 || ficus_store_append(req, "s", FICUS_STREAM_ANY, ficus_param(req, "type"), data == NULL ? "1" : data, NULL) != 0)
        return -1;
    return late != NULL ? ficus_problem(req, 409, "late", "after all") : answer_kinds(req);
}

static int import(struct ficus_req *req)
{
    return ficus_tx(req) != 0 ? -1
                              : ficus_exec(req, "INSERT INTO ficus_store_import(stream, type, schema, time, data) VALUES('i', 'old', 1, 0, '5')", "");
}

static int overwrite(struct ficus_req *req)
{
    return ficus_tx(req) != 0 ? -1 : ficus_exec(req, "DELETE FROM kind", "");
}

static int twice(struct ficus_req *req)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT count(*) FROM kind WHERE twice = 2 * n", "");
    struct ficus_out *o = ficus_reply(req, 200);
    if (rows == NULL || o == NULL || ficus_row(rows) != 1)
        return -1;
    ficus_out_int(o, NULL, ficus_col_int(rows, 0));
    return 0;
}

static const struct ficus_route routes[] = {
    {"POST", "/v1/add/{type}", add, FICUS_ANYONE},     {"POST", "/v1/import", import, FICUS_ANYONE}, {"POST", "/v1/overwrite", overwrite, FICUS_ANYONE},
    {"GET", "/v1/kinds", answer_kinds, FICUS_ANYONE}, {"GET", "/v1/twice", twice, FICUS_ANYONE},    {NULL},
};
static const struct ficus_service service = {.name = "things", .routes = routes, .upcasters = upcasters, .projections = projections};

static int setup(void **state)
{
    memset(projections, 0, sizeof projections);
    projections[0] = (struct ficus_projection){"kinds", 1, tables, kinds_handle};
    refuses = moment = false;
    t = ficus_test_start(&service, NULL, NULL);
    return 0;
}

static int teardown(void **state)
{
    ficus_test_stop(t);
    return 0;
}

/* ---- operators ---- */

static struct ficus_test_answer operate(const char *method, const char *path)
{
    return ficus_test_call(t, &(struct ficus_test_request){.method = method, .path = path, .caller = "operator"});
}

static void await_rebuild_at(const char *path, const char *what, long pause_ns)
{
    for (int64_t i = 0; i < 20000000000 / pause_ns; i++) {
        struct ficus_test_answer a = operate("GET", path);
        assert_int_equal(a.status, 200);
        if (strstr(a.body, what) != NULL)
            return;
        nanosleep(&(struct timespec){.tv_nsec = pause_ns}, NULL);
    }
    fail_msg("in vain: %s; %s", what, operate("GET", path).body);
}

static void await_rebuild(const char *what)
{
    await_rebuild_at("/ficus/rebuild", what, 5000000);
}

/* ---- tests ---- */

/* A handler finds what it appended; the projection's has no user, the newest shape, and nothing stays of what was rolled
 * back. What a migration leaves to be added is in it from the start. */
static void test_fed(void **state)
{
    expect("POST", "/v1/add/a", 200, "[\"a 1 - 1\"]");
    expect("POST", "/v1/add/b?data=2", 200, "[\"a 1 - 1\",\"b 1 - 2\"]");
    expect("POST", "/v1/add/a?late=1", 409, NULL);
    expect("POST", "/v1/add/old?data=3", 200, "[\"a 1 - 1\",\"b 1 - 2\",\"old 1 - 3\"]");
    expect("GET", "/v1/kinds", 200, "[\"a 1 - 1\",\"b 1 - 2\",\"old 1 - 3\"]");
    expect("POST", "/v1/import", 204, NULL);
    ficus_test_restart(t);
    expect("GET", "/v1/kinds", 200, "[\"a 1 - 1\",\"b 1 - 2\",\"old 2 - [5]\"]");
    expect("POST", "/v1/overwrite", 500, NULL);
    expect("POST", "/v1/add/a", 200, "[\"a 2 - 1\",\"b 1 - 2\",\"old 2 - [5]\"]");
}

/* Whatever a handler does that it may not, and whatever it then returns: the append fails, and all is as before. */
static void test_misuse(void **state)
{
    static const char *const what[] = {"problem", "silent", "append", "emit", "call",  "send",   "stream", "step",
                                       "snapshot", "reading", "plain", "view", "other", "unique", "open"};
    expect("POST", "/v1/add/a", 200, "[\"a 1 - 1\"]");
    for (size_t i = 0; i < sizeof what / sizeof *what; i++) {
        char path[60];
        (void)snprintf(path, sizeof path, "/v1/add/bad-%s", what[i]);
        expect("POST", path, 500, "\"code\":\"internal\"");
        expect("GET", "/v1/kinds", 200, "[\"a 1 - 1\"]");
    }
    expect("POST", "/v1/add/a", 200, "[\"a 2 - 1\"]");
    await_rebuild("\"events\":0,\"total\":0");
}

/* An operator, and nobody else, has it built anew; the answers stay the same. */
static void test_rebuild(void **state)
{
    for (int i = 0; i < 30; i++)
        expect("POST", "/v1/add/a", 200, NULL);
    assert_int_equal(call("POST", "/ficus/rebuild").status, 403);
    struct ficus_test_answer a = operate("GET", "/ficus/rebuild");
    assert_string_equal(a.body, "{\"projection\":\"kinds\",\"rebuild\":\"done\",\"generation\":1,\"version\":1,\"events\":0,\"total\":0,\"event_time\":\"\",\"error\":\"\"}");
    assert_int_equal(operate("PUT", "/ficus/rebuild").status, 405);
    a = operate("POST", "/ficus/rebuild?projection=nothing");
    assert_int_equal(a.status, 404);
    assert_non_null(strstr(a.body, "its projections: kinds"));
    assert_int_equal(operate("POST", "/ficus/rebuild?projection=kinds").status, 202);
    await_rebuild("\"rebuild\":\"done\",\"generation\":2,\"version\":1,\"events\":30,\"total\":30,\"event_time\":\"20");
    expect("GET", "/v1/kinds", 200, "[\"a 30 - 1\"]");
    assert_int_equal(operate("POST", "/ficus/rebuild").status, 202);
    await_rebuild("\"rebuild\":\"done\",\"generation\":3");
    expect("POST", "/v1/add/a", 200, "[\"a 31 - 1\"]");
    ficus_test_restart(t);
    await_rebuild("\"rebuild\":\"none\",\"generation\":3");
    expect("GET", "/v1/kinds", 200, "[\"a 31 - 1\"]");
}

/* The next release has both versions: the old one serves at once and until the new one is there. The one after it has the
 * new one alone. */
static void test_versions(void **state)
{
    expect("POST", "/v1/add/a", 200, NULL);
    expect("POST", "/v1/add/b", 200, NULL);
    refuses = true;
    projections[1] = (struct ficus_projection){"kinds", 2, tables_2, kinds_handle_2};
    ficus_test_restart(t);
    expect("GET", "/v1/kinds", 200, "[\"a 1 - 1\",\"b 1 - 1\"]");
    await_rebuild("\"rebuild\":\"failed\",\"generation\":1,\"version\":1,");
    assert_non_null(strstr(operate("GET", "/ficus/rebuild").body, "projection kinds, event at position 2 (stream s, version 2, b): odd: not this one"));
    expect("POST", "/v1/add/a", 200, "[\"a 2 - 1\",\"b 1 - 1\"]");
    refuses = false;
    assert_int_equal(operate("POST", "/ficus/rebuild").status, 202);
    await_rebuild("\"rebuild\":\"done\",\"generation\":3,\"version\":2,");
    expect("GET", "/v1/kinds", 200, "[\"a 2 - 1\",\"b 1 - 1\"]");
    expect("GET", "/v1/twice", 200, "2");
    expect("POST", "/v1/add/b", 200, "[\"a 2 - 1\",\"b 2 - 1\"]");
    expect("GET", "/v1/twice", 200, "2");
    projections[0] = projections[1];
    projections[0].version = 3;
    projections[1] = (struct ficus_projection){NULL};
    ficus_test_restart(t);
    await_rebuild("\"generation\":4,\"version\":3,");
    expect("GET", "/v1/kinds", 200, "[\"a 2 - 1\",\"b 2 - 1\"]");
}

/* One that is asked for at any moment is begun, also while a last step of the one before finds that nothing is to be done. */
static void test_again(void **state)
{
    char done[64];
    expect("POST", "/v1/add/a", 200, NULL);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(operate("POST", "/ficus/rebuild").status, 202);
        (void)snprintf(done, sizeof done, "\"rebuild\":\"done\",\"generation\":%d,", i + 2);
        await_rebuild_at("/ficus/rebuild", done, 100000);
        nanosleep(&(struct timespec){.tv_nsec = i * 200000}, NULL); /* anywhere in the steps behind it */
    }
}

/* One that fails for the moment's sake, until it is given up, keeps no other one waiting. */
static void test_moment(void **state)
{
    projections[1] = projections[0];
    projections[0] = (struct ficus_projection){"others", 1, "CREATE TABLE {other}(a INTEGER)", others_handle};
    ficus_test_restart(t);
    expect("POST", "/v1/add/a", 200, NULL);
    moment = true;
    assert_int_equal(operate("POST", "/ficus/rebuild?projection=others").status, 202);
    assert_int_equal(operate("POST", "/ficus/rebuild?projection=kinds").status, 202);
    await_rebuild_at("/ficus/rebuild?projection=others", "\"rebuild\":\"failed\"", 5000000);
    await_rebuild_at("/ficus/rebuild?projection=kinds", "\"rebuild\":\"done\"", 5000000);
    moment = false;
    assert_int_equal(operate("POST", "/ficus/rebuild?projection=others").status, 202);
    await_rebuild_at("/ficus/rebuild?projection=others", "\"rebuild\":\"done\"", 5000000);
}

/* A service with two needs to be told which. */
static void test_two(void **state)
{
    projections[1] = (struct ficus_projection){"others", 1, "CREATE TABLE {other}(a INTEGER)", misbehave};
    expect("POST", "/v1/add/bad-good", 200, NULL);
    ficus_test_restart(t);
    assert_int_equal(operate("POST", "/ficus/rebuild").status, 404);
    assert_non_null(strstr(operate("GET", "/ficus/rebuild").body, "kinds others"));
    assert_int_equal(operate("POST", "/ficus/rebuild?projection=others").status, 202);
    expect("POST", "/v1/add/bad-problem", 500, NULL);
    expect("POST", "/v1/add/bad-good", 200, NULL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {T(test_fed), T(test_misuse), T(test_rebuild), T(test_versions), T(test_two), T(test_again), T(test_moment)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
