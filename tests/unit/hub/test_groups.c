/* SPDX-License-Identifier: Apache-2.0
 *
 * Consumer groups in a hub on the product's env: posting, leasing, settling, moving; and stopping and starting in the middle of each.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "hub_rig.h"
#include "json.h"

static const char config_text[] =
    "{\"version\":1,\"system\":\"shop\",\"process\":\"hub\",\"state\":\"%1$s\",\"key_file\":\"%1$s/system.key\",\"log_level\":\"error\","
    "\"edges\":{\"mailer\":{\"timeout\":\"20s\",\"retry\":{\"attempts\":1}}},"
    "\"listen\":[\"unix:%1$s/hub.sock\"],\"operator_listen\":[\"unix:%1$s/ops.sock\"],\"log_file\":\"%1$s/log.db\",\"journal_file\":\"%1$s/sagas.db\","
    "\"topics\":{\"a\":{\"publisher\":\"shop\",\"consumers\":[\"mailer\",\"audit\",\"reader\"]},\"b\":{\"publisher\":\"shop\",\"key\":\"k\",\"consumers\":[\"mailer\"]}},"
    "\"services\":[\"shop\",\"mailer\",\"audit\",\"reader\"],"
    "\"groups\":{\"mailer\":{\"to\":\"/events\",\"partitions\":4,\"timeout\":\"10s\"},\"audit\":{\"partitions\":2,\"timeout\":\"%2$s\"}},"
    "\"flow_file\":\"%1$s/flows.db\",\"flows\":[{\"name\":\"mailed\",\"owner\":\"shop\",\"start\":\"a\",\"steps\":["
    "{\"sent\":{\"consumed_by\":\"mailer\",\"within\":\"1s\"}}]}]}";

enum { SEEN_MAX = 4096, HELD_MAX = 64 };

struct seen {
    char subject[32];
    int64_t n;
};

struct world {
    struct hub_rig rig;
    struct call_engine *shop, *audit, *reader;
    struct seen seen[SEEN_MAX]; /* in the order in which they came */
    size_t seen_count;
    int status;                 /* what the mailer answers; 0: nothing, it holds the stream */
    const char *body;
    size_t held;
    struct http_stream *held_stream;    /* the last */
    int published;
};

/* ---- the mailer ---- */

static void part_body(void *arg, struct http_stream *s, struct slice body, enum ficus_err err)
{
    struct world *w = arg;
    struct json *root = NULL;
    struct arena a;
    assert_int_equal(err, FICUS_ERR_OK);
    assert_true(slice_eq_str(s->head_in->path, "/events"));
    assert_true(slice_starts(http_msg_get(s->head_in, "content-type"), SLICE("application/cloudevents+json")));
    assert_true(http_msg_get(s->head_in, "ficus-identity").p != NULL);
    arena_init(&a, 1 << 20);
    assert_int_equal(json_parse(&a, body, NULL, &root, NULL), FICUS_ERR_OK);
    assert_true(w->seen_count < SEEN_MAX);
    struct seen *seen = &w->seen[w->seen_count++];
    snprintf(seen->subject, sizeof seen->subject, SLICE_FMT, SLICE_ARG(json_string_or(json_get(root, "subject"), SLICE(""))));
    seen->n = json_i64_or(json_get(json_get(root, "data"), "n"), 0);
    arena_done(&a);
    if (w->status == 0) {
        w->held++;
        w->held_stream = s;
    } else {
        http_respond(s, w->status, NULL, 0, "application/json", slice_str(w->body));
    }
}

static void publish(struct world *w, const char *topic, const char *subject, int count)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_add_char(&b, '[');
    for (int i = 0; i < count; i++) {
        w->published++;
        buf_printf(&b, "%s{\"specversion\":\"1.0\",\"id\":\"%d\",\"source\":\"/shop\",\"type\":\"%s\",\"subject\":\"%s\",\"data\":{\"n\":%d,\"k\":\"%s\"}}",
                   i > 0 ? "," : "", w->published, topic, subject, w->published, subject);
    }
    buf_add_char(&b, ']');
    assert_int_equal(ask(&w->rig, w->shop, "hub", "POST", "/v1/events", buf_str(&b))->status, 200);
    buf_done(&b);
}

/* ---- life ---- */

static void tell_registry(struct world *w)
{
    char body[256];
    snprintf(body, sizeof body, "{\"services\":{\"mailer\":[\"unix:%s/mailer.sock\"]}}", w->rig.dir);
    assert_int_equal(ask(&w->rig, w->shop, "ops", "PUT", "/v1/registry", body)->status, 204);
}

static struct world *world_new(const char *lease)
{
    struct world *w = calloc(1, sizeof *w);
    w->status = 204;
    w->body = "";
    hub_rig_init(&w->rig, "mailer.sock", part_body, w);
    w->rig.config_text = arena_printf(&w->rig.arena, config_text, w->rig.dir, lease);
    hub_rig_start(&w->rig);
    w->shop = hub_rig_caller(&w->rig, "shop", w->rig.key);
    w->audit = hub_rig_caller(&w->rig, "audit", w->rig.key);
    w->reader = hub_rig_caller(&w->rig, "reader", w->rig.key);
    return w;
}

static void world_free(struct world *w)
{
    hub_rig_stop(&w->rig);
    hub_rig_close_caller(&w->rig, w->shop);
    hub_rig_close_caller(&w->rig, w->audit);
    hub_rig_close_caller(&w->rig, w->reader);
    hub_rig_done(&w->rig);
    free(w);
}

/* The consumer's object in the list, as text. */
static const char *lag(struct world *w, const char *name)
{
    char begin[64];
    struct asked *q = ask(&w->rig, w->shop, "ops", "GET", "/v1/consumers", NULL);
    assert_int_equal(q->status, 200);
    snprintf(begin, sizeof begin, "{\"consumer\":\"%s\"", name);
    const char *at = strstr(q->body, begin);
    assert_non_null(at);
    return at;
}

static void wait_lag(struct world *w, const char *name, int behind)
{
    char wanted[32];
    snprintf(wanted, sizeof wanted, "\"behind\":%d,", behind);
    for (;;) { /* ended by the alarm when it never comes */
        const char *at = lag(w, name), *found = strstr(at, "\"behind\":");
        if (strncmp(found, wanted, strlen(wanted)) == 0 || (found[strlen(wanted) - 1] == '}' && strncmp(found, wanted, strlen(wanted) - 1) == 0))
            return;
        pause_ms(&w->rig, 5);
    }
}

static void wait_seen(struct world *w, size_t count)
{
    while (w->seen_count < count)
        pause_ms(&w->rig, 5);
}

/* Of each key in order; one that comes again is the last. */
static void check_order(const struct world *w)
{
    for (size_t i = 0; i < w->seen_count; i++)
        for (size_t k = i + 1; k < w->seen_count; k++)
            if (strcmp(w->seen[i].subject, w->seen[k].subject) == 0) {
                assert_true(w->seen[k].n >= w->seen[i].n);
                break;
            }
}

/* ---- tests ---- */

/* Posted when the service is there; the next hub goes on behind what is settled. */
static void test_delivered(void **state)
{
    (void)state;
    struct world *w = world_new("10s");
    publish(w, "a", "x", 20);
    publish(w, "b", "y", 20);
    wait_lag(w, "mailer", 40);
    assert_int_equal(w->seen_count, 0);
    tell_registry(w);
    wait_lag(w, "mailer", 0);
    assert_int_equal(w->seen_count, 40);
    check_order(w);
    hub_rig_stop(&w->rig);
    hub_rig_start(&w->rig);
    tell_registry(w);
    publish(w, "a", "x", 1);
    wait_lag(w, "mailer", 0);
    assert_int_equal(w->seen_count, 41);
    world_free(w);
}

static void wait_flow(struct world *w, const char *path, const char *state)
{
    for (;;) { /* ended by the alarm when it never comes */
        struct asked *q = ask(&w->rig, w->shop, "ops", "GET", path, NULL);
        if (strstr(q->body, state) != NULL)
            return;
        pause_ms(&w->rig, 5);
    }
}

/* A flow that is made anew hears of a group that has had all and has nothing to do. */
static void test_flow(void **state)
{
    (void)state;
    char path[128];
    struct world *w = world_new("10s");
    tell_registry(w);
    publish(w, "a", "x", 3);
    wait_lag(w, "mailer", 0);
    wait_flow(w, "/v1/flows/mailed/x", "\"state\":\"completed\"");
    hub_rig_stop(&w->rig);
    snprintf(path, sizeof path, "%s/flows.db", w->rig.dir);
    assert_int_equal(unlink(path), 0);
    hub_rig_start(&w->rig);
    wait_flow(w, "/v1/flows/mailed/x", "\"state\":\"completed\"");
    world_free(w);
}

/* A key that stands still holds up no other; what was under way when the hub went comes again, first. */
static void test_stopped_in_the_middle(void **state)
{
    (void)state;
    struct world *w = world_new("10s");
    tell_registry(w);
    w->status = 0;
    publish(w, "a", "x", 100);
    publish(w, "a", "y", 100);
    publish(w, "a", "z", 100);
    wait_seen(w, 1);
    for (int i = 0; i < 2; i++) {
        hub_rig_stop_hurried(&w->rig);
        hub_rig_start(&w->rig);
        size_t before = w->seen_count;
        tell_registry(w);
        wait_seen(w, before + 1);
    }
    w->status = 204;
    hub_rig_stop_hurried(&w->rig);
    hub_rig_start(&w->rig);
    tell_registry(w);
    wait_lag(w, "mailer", 0);
    check_order(w);
    size_t last = 0;
    for (size_t i = 0; i < w->seen_count; i++)
        last += w->seen[i].n == 100 || w->seen[i].n == 200 || w->seen[i].n == 300;
    assert_true(last >= 3);
    world_free(w);
}

static void answer_held(void *arg)
{
    struct world *w = arg;
    http_respond(w->held_stream, 204, NULL, 0, NULL, SLICE(""));
}

/* A hub that is told to stop waits for the answer to what it has posted: that does not come again. */
static void test_planned_stop(void **state)
{
    (void)state;
    struct world *w = world_new("10s");
    struct env_timer later = {.fn = answer_held, .arg = w};
    tell_registry(w);
    w->status = 0;
    publish(w, "a", "x", 1);
    wait_seen(w, 1);
    env_timer_start(w->rig.env, &later, 50);
    hub_rig_stop(&w->rig);
    w->status = 204;
    hub_rig_start(&w->rig);
    tell_registry(w);
    publish(w, "a", "x", 1);
    wait_lag(w, "mailer", 0);
    assert_int_equal(w->seen_count, 2);
    world_free(w);
}

/* What refuses is seen as such, and why. */
static void test_refused(void **state)
{
    (void)state;
    struct world *w = world_new("10s");
    tell_registry(w);
    w->status = 200;
    w->body = "{\"status\":\"RETRY\"}";
    publish(w, "a", "x", 2);
    while (strstr(lag(w, "mailer"), "\"reason\":\"RETRY\"") == NULL)
        pause_ms(&w->rig, 5);
    w->status = 422;
    w->body = "{\"code\":\"not_ours\",\"detail\":\"who is x\"}";
    while (strstr(lag(w, "mailer"), "\"reason\":\"422 not_ours: who is x\"") == NULL)
        pause_ms(&w->rig, 5);
    /* an object that is cut short is no SUCCESS */
    w->status = 200;
    w->body = "{\"status\":\"RETRY\"";
    while (strstr(lag(w, "mailer"), "\"reason\":\"200 with an object that is no JSON\"") == NULL)
        pause_ms(&w->rig, 5);
    w->body = "{\"status\":\"SUCCESS\"}";
    wait_lag(w, "mailer", 0);
    check_order(w);
    world_free(w);
}

static void read_lease(struct world *w, const char *body, int64_t *ret_partition, int64_t *ret_epoch, int64_t *ret_last, size_t *ret_count)
{
    struct json *root = NULL;
    assert_int_equal(json_parse(&w->rig.arena, arena_slice(&w->rig.arena, slice_str(body)), NULL, &root, NULL), FICUS_ERR_OK);
    *ret_partition = json_i64_or(json_get(root, "partition"), -1);
    *ret_epoch = json_i64_or(json_get(root, "epoch"), -1);
    const struct json *events = json_get(root, "events");
    *ret_count = events->count;
    *ret_last = 0;
    for (const struct json *v = events->first; v != NULL; v = v->next)
        assert_true(slice_to_i64(json_string_or(json_get(v, "sequence"), SLICE("")), ret_last));
}

static int settle(struct world *w, int64_t partition, int64_t epoch, int64_t offset, const char *status)
{
    const char *body = arena_printf(&w->rig.arena, "{\"partition\":%lld,\"epoch\":%lld,\"offset\":%lld,\"status\":\"%s\"}", (long long)partition, (long long)epoch,
                                    (long long)offset, status);
    return ask(&w->rig, w->audit, "hub", "POST", "/v1/groups/audit/settle", body)->status;
}

/* A lease waits for events, has several of one partition, and is settled as a whole; of one that is over, nothing is taken. */
static void test_leased(void **state)
{
    (void)state;
    struct world *w = world_new("300ms");
    struct asked waiting;
    int64_t partition, epoch, last, again_epoch;
    size_t count;
    ask_begin(&w->rig, w->audit, "hub", "POST", "/v1/groups/audit/lease?limit=5&wait=20000", NULL, &waiting);
    publish(w, "a", "x", 8);
    ask_end(&waiting);
    assert_int_equal(waiting.status, 200);
    read_lease(w, waiting.body, &partition, &epoch, &last, &count);
    assert_in_range(count, 1, 5);
    assert_string_equal(ask(&w->rig, w->audit, "hub", "POST", "/v1/groups/audit/lease?wait=0", NULL)->body, "{\"events\":[]}");
    /* it is over: the same again, for somebody else */
    read_lease(w, ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/lease?limit=5&wait=20000", NULL)->body, &partition, &again_epoch, &last, &count);
    assert_true(again_epoch > epoch);
    assert_int_equal(count, 5);
    assert_int_equal(settle(w, partition, epoch, last, "SUCCESS"), 409);
    assert_int_equal(settle(w, partition, again_epoch, last, "SUCCESS"), 204);
    assert_int_equal(settle(w, partition, again_epoch, last, "SUCCESS"), 204);
    read_lease(w, ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/lease?limit=32&wait=20000", NULL)->body, &partition, &epoch, &last, &count);
    assert_int_equal(count, 3);
    /* the next hub knows of no lease, and has larger epochs */
    hub_rig_stop(&w->rig);
    hub_rig_start(&w->rig);
    assert_int_equal(settle(w, partition, epoch, last, "SUCCESS"), 409);
    read_lease(w, ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/lease?limit=32&wait=20000", NULL)->body, &partition, &again_epoch, &last, &count);
    assert_int_equal(count, 3);
    assert_true(again_epoch > epoch);
    assert_int_equal(settle(w, partition, again_epoch, last, "DROP"), 204);
    wait_lag(w, "audit", 0);
    static const char *const wrong[] = {"[]", "{", "{}", "{\"partition\":0,\"epoch\":1,\"offset\":1,\"status\":\"OK\"}",
                                        "{\"partition\":-1,\"epoch\":1,\"offset\":1,\"status\":\"DROP\"}", "{\"partition\":\"0\",\"epoch\":1,\"offset\":1,\"status\":\"DROP\"}"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        assert_int_equal(ask(&w->rig, w->audit, "hub", "POST", "/v1/groups/audit/settle", wrong[i])->status, 400);
    assert_int_equal(settle(w, 2, again_epoch, last, "SUCCESS"), 409);
    assert_int_equal(settle(w, INT64_C(1) << 40, again_epoch, last, "SUCCESS"), 409);
    assert_int_equal(ask(&w->rig, w->reader, "hub", "POST", "/v1/groups/audit/lease", NULL)->status, 403);
    assert_int_equal(ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/mailer/lease", NULL)->status, 409);
    assert_int_equal(ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/nobody/lease", NULL)->status, 404);
    assert_int_equal(ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/reader/lease", NULL)->status, 409);
    assert_int_equal(ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/lease?limit=33", NULL)->status, 400);
    world_free(w);
}

/* What is left of a lease is given back: it comes at once, before the lease would be over, and what was done of it stays done. */
static void test_given_back(void **state)
{
    (void)state;
    struct world *w = world_new("60s");
    int64_t partition, epoch, again_epoch, last;
    size_t count;
    publish(w, "a", "x", 4);
    read_lease(w, ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/lease?limit=1&wait=20000", NULL)->body, &partition, &epoch, &last, &count);
    assert_int_equal(settle(w, partition, epoch, last, "SUCCESS"), 204);
    wait_lag(w, "audit", 3);
    for (int i = 0; i < 3; i++) {
        read_lease(w, ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/lease?limit=1&wait=20000", NULL)->body, &partition, &again_epoch, &last, &count);
        assert_true(count == 1 && again_epoch > epoch);
        epoch = again_epoch;
        assert_int_equal(settle(w, partition, epoch - 1, last, "AWAY"), 409);
        assert_int_equal(settle(w, partition, epoch, last, "AWAY"), 204);
        assert_int_equal(settle(w, partition, epoch, last, "SUCCESS"), 409); /* it has no lease any more */
    }
    read_lease(w, ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/lease?limit=32&wait=20000", NULL)->body, &partition, &epoch, &last, &count);
    assert_int_equal(count, 3);
    assert_int_equal(settle(w, partition, epoch, last, "SUCCESS"), 204);
    wait_lag(w, "audit", 0);
    world_free(w);
}

static struct asked *say_skip(struct world *w, const char *group, int64_t offset)
{
    return ask(&w->rig, w->shop, "ops", "POST", arena_printf(&w->rig.arena, "/v1/groups/%s/skip", group),
               arena_printf(&w->rig.arena, "{\"offset\":%lld,\"by\":\"maria\",\"reason\":\"it hangs\"}", (long long)offset));
}

/* The event that holds the first partition that is held. */
static int64_t held_by(struct world *w, const char *name)
{
    for (;;) { /* ended by the alarm when it never comes */
        const char *reason = strstr(lag(w, name), "\"reason\":");
        if (reason != NULL) {
            const char *at = strstr(lag(w, name), "\"event\":{\"offset\":");
            assert_non_null(at);
            return strtoll(at + strlen("\"event\":{\"offset\":"), NULL, 10);
        }
        pause_ms(&w->rig, 5);
    }
}

/* A service hangs on an event: the list says which; skipped, it is a dead letter, its call is cut off, the next one has its turn, and
 * redriven it comes again. Said twice, it skips one. */
static void test_skipped(void **state)
{
    (void)state;
    struct world *w = world_new("10s");
    int64_t letter;
    tell_registry(w);
    w->status = 503;
    publish(w, "a", "x", 2);
    int64_t held = held_by(w, "mailer");
    const char *said = lag(w, "mailer");
    assert_non_null(strstr(said, "\"topic\":\"a\",\"id\":\"1\",\"subject\":\"x\"},\"since\":\"20"));
    assert_non_null(strstr(said, "\"deliveries\":"));
    w->status = 0; /* now it does not even answer */
    while (w->held == 0)
        pause_ms(&w->rig, 5);
    assert_int_equal(say_skip(w, "mailer", held + 1)->status, 409); /* not the first */
    assert_non_null(strstr(say_skip(w, "mailer", held + 1)->body, "\"not_first\""));
    assert_int_equal(say_skip(w, "mailer", 0)->status, 400);
    assert_int_equal(say_skip(w, "reader", held)->status, 409);
    assert_int_equal(say_skip(w, "nobody", held)->status, 404);
    assert_int_equal(ask(&w->rig, w->audit, "hub", "POST", "/v1/groups/audit/skip", "{\"offset\":1}")->status, 404); /* for operators */
    w->status = 204;
    struct asked *a = say_skip(w, "mailer", held);
    assert_int_equal(a->status, 200);
    letter = strtoll(a->body + strlen("{\"letter\":"), NULL, 10);
    assert_int_equal(say_skip(w, "mailer", held)->status, 409);
    wait_lag(w, "mailer", 0);
    assert_int_equal(w->seen[w->seen_count - 1].n, 2);
    const char *dead = ask(&w->rig, w->shop, "ops", "GET", "/v1/dead", NULL)->body;
    assert_non_null(strstr(dead, arena_printf(&w->rig.arena, "\"sequence\":\"%lld\"", (long long)letter)));
    assert_non_null(strstr(dead, arena_printf(&w->rig.arena, "skipped by maria (uid %lld): it hangs", (long long)getuid())));
    /* the next hub is behind it, and it comes again when it is redriven */
    hub_rig_stop(&w->rig);
    hub_rig_start(&w->rig);
    size_t before = w->seen_count;
    tell_registry(w);
    assert_int_equal(ask(&w->rig, w->shop, "ops", "POST", arena_printf(&w->rig.arena, "/v1/dead/%lld/redrive", (long long)letter), NULL)->status, 202);
    wait_seen(w, before + 1);
    wait_lag(w, "mailer", 0);
    assert_int_equal(w->seen_count, before + 1);
    assert_int_equal(w->seen[before].n, 1);
    world_free(w);
}

/* A member dies of an event each time: nobody says so, but the list does; skipped, its lease is fenced. What is given back is no missing
 * answer. */
static void test_skipped_lease(void **state)
{
    (void)state;
    struct world *w = world_new("100ms");
    int64_t partition, epoch, last;
    size_t count;
    publish(w, "a", "x", 2);
    read_lease(w, ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/lease?limit=1&wait=20000", NULL)->body, &partition, &epoch, &last, &count);
    assert_int_equal(settle(w, partition, epoch, last, "AWAY"), 204);
    assert_non_null(strstr(lag(w, "audit"), "\"state\":\"no member\""));
    assert_null(strstr(lag(w, "audit"), "no answer"));
    for (int i = 0; i < 2; i++)
        read_lease(w, ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/lease?limit=2&wait=20000", NULL)->body, &partition, &epoch, &last, &count);
    int64_t held = held_by(w, "audit");
    assert_int_equal(held, last - 1);
    assert_null(strstr(lag(w, "audit"), "no answer"));
    assert_int_equal(say_skip(w, "audit", held)->status, 200);
    assert_int_equal(settle(w, partition, epoch, last, "SUCCESS"), 409);
    read_lease(w, ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/lease?limit=2&wait=20000", NULL)->body, &partition, &epoch, &last, &count);
    assert_int_equal(count, 1);
    assert_int_equal(last, held + 1);
    assert_int_equal(settle(w, partition, epoch, last, "SUCCESS"), 204);
    wait_lag(w, "audit", 0);
    assert_int_equal(say_skip(w, "audit", held)->status, 409);
    world_free(w);
}

/* Moved while something is out: that counts no more. */
static void test_seek(void **state)
{
    (void)state;
    struct world *w = world_new("20s");
    int64_t partition, epoch, last;
    size_t count;
    publish(w, "a", "x", 3);
    read_lease(w, ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/lease?limit=32&wait=20000", NULL)->body, &partition, &epoch, &last, &count);
    assert_int_equal(ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/seek", "{\"to\":\"end\"}")->status, 200);
    assert_int_equal(settle(w, partition, epoch, last, "SUCCESS"), 409);
    wait_lag(w, "audit", 0);
    assert_int_equal(ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/seek", "{\"to\":\"start\"}")->status, 200);
    assert_int_equal(settle(w, partition, epoch, last, "SUCCESS"), 409);
    wait_lag(w, "audit", 3);
    /* while calls are under way */
    tell_registry(w);
    wait_lag(w, "mailer", 0);
    w->status = 0;
    publish(w, "a", "x", 1);
    wait_seen(w, 4);
    w->status = 204;
    assert_int_equal(ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/mailer/seek", "{\"to\":\"2020-01-01T00:00:00Z\"}")->status, 200);
    wait_lag(w, "mailer", 0);
    assert_int_equal(w->seen_count, 8);
    assert_int_equal(w->seen[7].n, 4);
    hub_rig_stop(&w->rig);
    hub_rig_start(&w->rig);
    wait_lag(w, "mailer", 0);
    static const char *const wrong[] = {"{}", "{\"to\":1}", "{\"to\":\"0\"}", "{\"to\":\"-5\"}", "{\"to\":\"soon\"}", "[]", "{"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        assert_int_equal(ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/seek", wrong[i])->status, 400);
    assert_int_equal(ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/reader/seek", "{\"to\":\"end\"}")->status, 409);
    assert_int_equal(ask(&w->rig, w->audit, "hub", "POST", "/v1/groups/audit/seek", "{\"to\":\"end\"}")->status, 404);    /* for operators */
    world_free(w);
}

/* The hub stops while leases wait, and while settling, moving and counting are under way: each is answered, nothing is left. */
static void test_stop_with_all_under_way(void **state)
{
    (void)state;
    enum { ROUNDS = 12, ASKED = 8 };
    static struct asked asked[ASKED];
    struct world *w = world_new("20s");
    for (int round = 0; round < ROUNDS; round++) {
        int64_t partition, epoch, last;
        size_t count;
        w->status = round % 2 == 0 ? 0 : 204;
        tell_registry(w);
        publish(w, "a", "x", 5);
        read_lease(w, ask(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/lease?limit=2&wait=20000", NULL)->body, &partition, &epoch, &last, &count);
        const char *body = arena_printf(&w->rig.arena, "{\"partition\":%lld,\"epoch\":%lld,\"offset\":%lld,\"status\":\"SUCCESS\"}", (long long)partition,
                                        (long long)epoch, (long long)last);
        ask_begin(&w->rig, w->audit, "hub", "POST", "/v1/groups/audit/lease?wait=20000", NULL, &asked[0]);
        ask_begin(&w->rig, w->audit, "hub", "POST", "/v1/groups/audit/lease?wait=20000", NULL, &asked[1]);
        ask_begin(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/settle", body, &asked[2]);
        ask_begin(&w->rig, w->shop, "ops", "POST", "/v1/groups/mailer/seek", "{\"to\":\"end\"}", &asked[3]);
        ask_begin(&w->rig, w->shop, "ops", "POST", "/v1/groups/mailer/seek", "{\"to\":\"start\"}", &asked[4]);
        ask_begin(&w->rig, w->shop, "ops", "GET", "/v1/consumers", NULL, &asked[5]);
        ask_begin(&w->rig, w->reader, "hub", "GET", "/v1/events?topics=a&after=0&wait=20000", NULL, &asked[6]);
        ask_begin(&w->rig, w->shop, "ops", "POST", "/v1/groups/audit/seek", "{\"to\":\"2020-01-01T00:00:00Z\"}", &asked[7]);
        for (int turn = 0; turn < round; turn++)
            pause_ms(&w->rig, 0);
        if (w->status == 0)
            hub_rig_stop_hurried(&w->rig);
        else
            hub_rig_stop(&w->rig);
        for (int i = 0; i < ASKED; i++)
            ask_end(&asked[i]);
        hub_rig_start(&w->rig);
    }
    w->status = 204;
    tell_registry(w);
    wait_lag(w, "mailer", 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delivered), cmocka_unit_test(test_flow), cmocka_unit_test(test_stopped_in_the_middle), cmocka_unit_test(test_planned_stop), cmocka_unit_test(test_refused), cmocka_unit_test(test_leased), cmocka_unit_test(test_given_back),
        cmocka_unit_test(test_skipped), cmocka_unit_test(test_skipped_lease), cmocka_unit_test(test_seek), cmocka_unit_test(test_stop_with_all_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
