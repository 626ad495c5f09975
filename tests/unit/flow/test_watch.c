/* SPDX-License-Identifier: Apache-2.0
 *
 * Following a log in virtual time: an instance becomes stuck when its time is over and is told once, what was missed while nobody listened
 * is heard before it is judged, a clock that jumps does no lasting harm, a log that is another is read anew, and operators see all of it.
 */
#include "flow_world.h"
#include "flow_watch.h"

enum { SECOND = 1000, MINUTE = 60 * SECOND };

struct ride {
    struct world *w; /* events, definitions, disk */
    struct flow_watch *watch;
    struct bus bus;
    struct env_timer bus_timer;
    void (*pulled)(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next);
    void *pulled_arg;
    int64_t pull_offset, pull_end_ms;
    size_t pull_max, pulls;
    enum ficus_err pull_err; /* of the next pulls */
    bool closed;
    struct metrics *metrics;
};

/* ---- a clock that jumps ---- */

static struct env_ops jumping_ops;
static int64_t (*true_wall_ms)(struct env *e);
static int64_t jump_ms;

static int64_t jumping_wall_ms(struct env *e)
{
    return true_wall_ms(e) + jump_ms;
}

static int64_t now_ms(struct ride *r)
{
    return env_wall_ms(r->w->env);
}

/* ---- a log in memory ---- */

static void bus_deliver(void *arg)
{
    struct ride *r = arg;
    void (*pulled)(void *, enum ficus_err, const struct event *, size_t, int64_t) = r->pulled;
    size_t first = 0, count = 0;
    if (pulled == NULL)
        return;
    int64_t last = r->w->event_count > 0 ? r->w->events[r->w->event_count - 1].offset : 0;
    enum ficus_err err = r->pull_err;
    while (first < r->w->event_count && r->w->events[first].offset <= r->pull_offset)
        first++;
    count = r->w->event_count - first < r->pull_max ? r->w->event_count - first : r->pull_max;
    if (err == FICUS_ERR_OK && count == 0 && env_now_ms(r->w->env) < r->pull_end_ms) {
        env_timer_start(r->w->env, &r->bus_timer, r->pull_end_ms - env_now_ms(r->w->env));
        return;
    }
    r->pulled = NULL;
    if (err != FICUS_ERR_OK)
        pulled(r->pulled_arg, err, NULL, 0, 0);
    else
        pulled(r->pulled_arg, FICUS_ERR_OK, r->w->events + first, count, count > 0 ? r->w->events[first + count - 1].offset : last);
}

static enum ficus_err bus_pull(struct bus *b, const char *topics, int64_t offset, size_t count_max, int64_t wait_ms,
                               void (*done)(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next), void *arg)
{
    struct ride *r = CONTAINER_OF(b, struct ride, bus);
    assert_null(r->pulled);
    if (offset > (r->w->event_count > 0 ? r->w->events[r->w->event_count - 1].offset : 0)) /* as the log does it: at once */
        return FICUS_ERR_CONFLICT;
    assert_non_null(strstr(topics, "placed"));
    r->pulls++;
    r->pulled = done;
    r->pulled_arg = arg;
    r->pull_offset = offset;
    r->pull_max = count_max;
    r->pull_end_ms = env_now_ms(r->w->env) + wait_ms;
    env_timer_start(r->w->env, &r->bus_timer, 0);
    return FICUS_ERR_OK;
}

static void bus_cancel(struct bus *b)
{
    CONTAINER_OF(b, struct ride, bus)->pulled = NULL;
}

static const struct bus_ops bus_ops = {NULL, bus_pull, bus_cancel};

/* An event of this moment. */
static int64_t happens(struct ride *r, const char *text)
{
    char full[256];
    snprintf(full, sizeof full, "%s at=%lld", text, (long long)(now_ms(r) - NOON));
    int64_t offset = say(r->w, full);
    if (r->pulled != NULL)
        env_timer_start(r->w->env, &r->bus_timer, 0);
    return offset;
}

/* ---- life ---- */

static const char *publisher(void *arg, const char *topic)
{
    (void)arg;
    return strcmp(topic, "mail") == 0 ? "mailer" : strcmp(topic, "released") == 0 ? NULL : "orders";
}

static void ride_open(struct ride *r)
{
    struct ficus_error error = {0};
    r->metrics = metrics_new();
    const struct flow_watch_options o = {.file = "data/flows.db", .defs = r->w->defs, .def_count = r->w->def_count, .retention_ms = 7 * DAY, .bus = &r->bus,
                                         .publisher = publisher, .metrics = r->metrics};
    if (flow_watch_new(r->w->env, &o, &r->watch, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
}

static void on_closed(void *arg)
{
    ((struct ride *)arg)->closed = true;
}

static void ride_close(struct ride *r)
{
    r->closed = false;
    flow_watch_close(r->watch, on_closed, r);
    crash_env_run_ms(r->w->ce, SECOND);
    assert_true(r->closed);
    metrics_free(r->metrics);
}

static struct ride *ride_new(void)
{
    static const char *const flows[] = {ORDER_FLOW("")};
    struct ride *r = calloc(1, sizeof *r);
    r->w = world_new(flows, 1);
    r->bus.ops = &bus_ops;
    r->bus_timer = (struct env_timer){.fn = bus_deliver, .arg = r};
    jumping_ops = *r->w->env->ops;
    true_wall_ms = r->w->env->ops->wall_ms;
    jumping_ops.wall_ms = jumping_wall_ms;
    r->w->env->ops = &jumping_ops;
    jump_ms = NOON + DAY - true_wall_ms(r->w->env);
    ride_open(r);
    return r;
}

static void ride_free(struct ride *r)
{
    ride_close(r);
    env_timer_stop(r->w->env, &r->bus_timer);
    world_free(r->w);
    free(r);
}

static void pass(struct ride *r, int64_t ms)
{
    crash_env_run_ms(r->w->ce, ms);
}

static int64_t gauge(struct ride *r, const char *state)
{
    struct buf out;
    char line[128];
    buf_init(&out, 1 << 20);
    assert_true(metrics_render(r->metrics, &out));
    snprintf(line, sizeof line, "flow_instances{flow=\"order\",state=\"%s\"} ", state);
    const char *at = strstr(buf_str(&out), line);
    int64_t value = at == NULL ? -1 : strtoll(at + strlen(line), NULL, 10);
    buf_done(&out);
    return value;
}

/* ---- what operators see ---- */

struct seen {
    bool done;
    enum ficus_err err;
    char json[32768];
};

static void on_view(void *arg, enum ficus_err err, struct slice json, const char *detail)
{
    struct seen *s = arg;
    s->done = true;
    s->err = err;
    assert_true(err == FICUS_ERR_OK || detail != NULL);
    snprintf(s->json, sizeof s->json, "%.*s", (int)json.size, json.p == NULL ? "" : json.p);
}

static struct seen seen;

static const char *show(struct ride *r, const char *id)
{
    seen.done = false;
    assert_int_equal(flow_watch_show(r->watch, SLICE("order"), slice_str(id), on_view, &seen), FICUS_ERR_OK);
    crash_env_run(r->w->ce);
    assert_true(seen.done);
    return seen.json;
}

static void assert_state(struct ride *r, const char *id, const char *state)
{
    char member[64];
    snprintf(member, sizeof member, "\"state\":\"%s\"", state);
    if (strstr(show(r, id), member) == NULL)
        fail_msg("%s is not %s: %s", id, state, seen.json);
}

static void assert_has(const char *json, const char *part)
{
    if (strstr(json, part) == NULL)
        fail_msg("%s is not in %s", part, json);
}

/* An instance becomes stuck by time alone, and late events and a late consumer repair it. */
static void test_stuck(void **state)
{
    (void)state;
    struct ride *r = ride_new();
    pass(r, MINUTE);
    happens(r, "placed");
    pass(r, SECOND);
    assert_state(r, "o1", "running");
    pass(r, 8 * SECOND);
    assert_state(r, "o1", "running");
    pass(r, 1200);
    assert_state(r, "o1", "stuck");
    assert_has(seen.json, "\"missing\":[{\"step\":\"decided\",\"event\":[\"confirmed\",\"rejected\"],\"from\":[\"orders\"],\"after\":\"placed\",\"since\":\"");
    assert_has(seen.json, "\"overdue\":true");
    pass(r, 6 * SECOND);
    assert_int_equal(gauge(r, "stuck"), 1);
    int64_t offset = happens(r, "confirmed");
    pass(r, SECOND);
    assert_state(r, "o1", "running");
    assert_has(seen.json, "\"consumed_by\":\"search\",\"after\":\"confirmed\"");
    assert_has(seen.json, "\"event\":[\"mail\"],\"from\":[\"mailer\"]");
    flow_watch_heard(r->watch, SLICE("search"), offset - 1);
    flow_watch_heard(r->watch, SLICE("stranger"), offset + 1000);
    pass(r, SECOND);
    assert_has(show(r, "o1"), "\"consumed_by\":\"search\"");
    flow_watch_heard(r->watch, SLICE("search"), offset);
    happens(r, "mail by=mailer");
    pass(r, SECOND);
    assert_state(r, "o1", "completed");
    assert_has(seen.json, "\"late\":true");
    assert_has(seen.json, "\"missing\":[]");
    assert_has(seen.json, "\"kind\":\"consumed\",\"step\":\"confirmed\",\"by\":\"search\"}");
    assert_has(seen.json, "\"kind\":\"event\",\"step\":\"mail\",\"by\":\"mailer\"");
    pass(r, 6 * SECOND);
    assert_int_equal(gauge(r, "stuck"), 0);
    assert_int_equal(gauge(r, "completed"), 1);
    ride_free(r);
}

/* Nobody listened for an hour; meanwhile all came, but for one. What was missed is no trouble, what is missing is, and it was told before. */
static void test_restart(void **state)
{
    (void)state;
    struct ride *r = ride_new();
    pass(r, MINUTE);
    happens(r, "placed of=lost");
    happens(r, "placed of=late");
    pass(r, 5 * SECOND);
    ride_close(r);
    happens(r, "rejected of=late");
    happens(r, "released of=late");
    pass(r, 60 * MINUTE);
    ride_open(r);
    pass(r, SECOND);
    assert_state(r, "late", "compensated");
    assert_null(strstr(seen.json, "\"late\":true")); /* it was not, by its own time */
    assert_state(r, "lost", "running"); /* not judged yet: an outbox may just be bringing its event */
    pass(r, 11 * SECOND);
    assert_state(r, "lost", "stuck");
    ride_close(r);
    ride_open(r);
    assert_state(r, "lost", "stuck"); /* what was judged stays judged */
    ride_free(r);
}

/* What comes while nothing is judged yet, an event of this moment or of the instance itself, has nothing judged earlier. */
static void test_restart_busy(void **state)
{
    (void)state;
    struct ride *r = ride_new();
    const struct flow_query trouble = {.state = -1, .trouble = true, .count_max = 10};
    pass(r, MINUTE);
    happens(r, "placed of=lost");
    int64_t offset = happens(r, "confirmed of=told");
    pass(r, SECOND);
    ride_close(r);
    pass(r, MINUTE);
    ride_open(r);
    pass(r, SECOND);
    happens(r, "placed of=other");
    happens(r, "mail of=told by=mailer");
    flow_watch_heard(r->watch, SLICE("search"), offset);
    pass(r, 7 * SECOND);
    assert_state(r, "lost", "running");
    assert_null(strstr(seen.json, "\"overdue\":true"));
    assert_state(r, "told", "running");
    assert_int_equal(flow_watch_list(r->watch, &trouble, on_view, &seen), FICUS_ERR_OK);
    crash_env_run(r->w->ce);
    assert_string_equal(seen.json, "{\"sagas\":[]}");
    assert_int_equal(gauge(r, "stuck"), 0);
    pass(r, 4 * SECOND);
    assert_state(r, "lost", "stuck");
    assert_state(r, "told", "orphaned");
    ride_free(r);
}

/* Set back by a day the clock prolongs nothing; set forward it finds one stuck too early, which its event repairs. */
static void test_clock(void **state)
{
    (void)state;
    struct ride *r = ride_new();
    pass(r, MINUTE);
    happens(r, "placed of=back");
    pass(r, SECOND);
    jump_ms -= DAY;
    pass(r, 10 * SECOND);
    assert_state(r, "back", "stuck");
    jump_ms += DAY;
    happens(r, "placed of=forward");
    pass(r, SECOND);
    assert_state(r, "forward", "running");
    jump_ms += 60 * MINUTE;
    pass(r, MINUTE);
    assert_state(r, "forward", "stuck");
    happens(r, "rejected of=forward");
    happens(r, "released of=forward");
    pass(r, SECOND);
    assert_state(r, "forward", "compensated");
    assert_has(seen.json, "\"late\":true");
    ride_free(r);
}

/* A log that is shorter than what was read of it is another: all is made anew of it. A log that cannot be read is tried again. */
static void test_log(void **state)
{
    (void)state;
    struct ride *r = ride_new();
    pass(r, MINUTE);
    for (int i = 0; i < 300; i++) {
        char text[32];
        snprintf(text, sizeof text, "placed of=o%d", i);
        happens(r, text);
    }
    pass(r, SECOND);
    assert_state(r, "o299", "running");
    r->pull_err = FICUS_ERR_IO;
    happens(r, "rejected of=o1");
    pass(r, 10 * SECOND);
    assert_null(strstr(show(r, "o1"), "rejected\",\"by"));
    r->pull_err = FICUS_ERR_OK;
    pass(r, 10 * SECOND);
    assert_has(show(r, "o1"), "\"step\":\"rejected\",\"by\"");
    ride_close(r);
    r->w->event_count = 1;
    ride_open(r);
    pass(r, MINUTE);
    show(r, "o299");
    assert_int_equal(seen.err, FICUS_ERR_NOT_FOUND);
    assert_state(r, "o0", "stuck");
    size_t before = r->pulls;
    pass(r, 10 * MINUTE);
    assert_true(r->pulls - before < 30); /* quiet when there is nothing */
    ride_free(r);
}

/* How far a consumer was in a log that is gone says nothing of what it has of the one that was put in its place. */
static void test_other_log(void **state)
{
    (void)state;
    struct ride *r = ride_new();
    int64_t offset = 0;
    pass(r, MINUTE);
    for (int i = 0; i < 100; i++)
        offset = happens(r, "confirmed of=before");
    pass(r, SECOND);
    flow_watch_heard(r->watch, SLICE("search"), offset);
    pass(r, SECOND);
    ride_close(r);
    r->w->event_count = 1;
    ride_open(r);
    pass(r, MINUTE);
    happens(r, "placed of=o7");
    int64_t confirmed = happens(r, "confirmed of=o7");
    happens(r, "mail of=o7 by=mailer");
    pass(r, SECOND);
    assert_state(r, "o7", "running");
    assert_has(seen.json, "\"consumed_by\":\"search\"");
    ride_close(r);
    ride_open(r); /* nor from the file */
    pass(r, MINUTE);
    assert_state(r, "o7", "stuck");
    flow_watch_heard(r->watch, SLICE("search"), confirmed);
    pass(r, SECOND);
    assert_state(r, "o7", "completed");
    ride_free(r);
}

/* A disk that takes nothing for a while loses nothing. */
static void test_disk(void **state)
{
    (void)state;
    struct ride *r = ride_new();
    pass(r, MINUTE);
    sim_disk_size_max(r->w->disk, 1);
    happens(r, "placed");
    pass(r, 5 * SECOND);
    show(r, "o1");
    assert_int_equal(seen.err, FICUS_ERR_NOT_FOUND);
    sim_disk_size_max(r->w->disk, 0);
    pass(r, 2 * SECOND);
    assert_state(r, "o1", "running");
    ride_free(r);
}

static void test_views(void **state)
{
    (void)state;
    struct ride *r = ride_new();
    const struct flow_query q = {.state = -1, .count_max = 2};
    happens(r, "placed of=a");
    happens(r, "placed of=b");
    happens(r, "placed of=c");
    pass(r, MINUTE);
    assert_int_equal(flow_watch_list(r->watch, &q, on_view, &seen), FICUS_ERR_OK);
    crash_env_run(r->w->ce);
    assert_has(seen.json, "{\"sagas\":[{\"kind\":\"choreographed\",\"saga\":\"order\",\"id\":\"a\",\"state\":\"stuck\",\"step\":\"decided\",\"until\":\"");
    assert_has(seen.json, "\"after\":\"order/b\"}");
    assert_null(strstr(seen.json, "\"id\":\"c\""));
    const struct flow_query rest = {.state = FLOW_STUCK, .after_flow = SLICE("order"), .after_id = SLICE("b"), .flow = SLICE("order"), .count_max = 2};
    assert_int_equal(flow_watch_list(r->watch, &rest, on_view, &seen), FICUS_ERR_OK);
    crash_env_run(r->w->ce);
    assert_has(seen.json, "\"id\":\"c\"");
    assert_null(strstr(seen.json, "\"after\""));
    assert_int_equal(flow_watch_describe(r->watch, SLICE("order"), on_view, &seen), FICUS_ERR_OK);
    crash_env_run(r->w->ce);
    assert_has(seen.json, "{\"kind\":\"choreographed\",\"saga\":\"order\",\"owner\":\"orders\",\"id\":\"subject\",\"start\":[\"placed\"],\"failures\":[\"rejected\"],\"steps\":["
                          "{\"step\":\"decided\",\"event\":[\"confirmed\",\"rejected\"],\"from\":[\"orders\"],\"after\":[\"placed\"],\"within\":\"10s\"}");
    assert_has(seen.json, "\"instances\":{\"running\":0,\"stuck\":3,");
    assert_int_equal(flow_watch_describe(r->watch, SLICE("nobody"), on_view, &seen), FICUS_ERR_NOT_FOUND);
    assert_int_equal(flow_watch_show(r->watch, SLICE("nobody"), SLICE("a"), on_view, &seen), FICUS_ERR_OK);
    crash_env_run(r->w->ce);
    assert_int_equal(seen.err, FICUS_ERR_NOT_FOUND);
    for (int i = 0; i < FLOW_VIEWS_MAX; i++)
        assert_int_equal(flow_watch_show(r->watch, SLICE("order"), SLICE("a"), on_view, &seen), FICUS_ERR_OK);
    assert_int_equal(flow_watch_show(r->watch, SLICE("order"), SLICE("a"), on_view, &seen), FICUS_ERR_BUSY);
    ride_free(r); /* those under way are answered */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stuck), cmocka_unit_test(test_restart),
        cmocka_unit_test(test_restart_busy), cmocka_unit_test(test_clock),
        cmocka_unit_test(test_log), cmocka_unit_test(test_other_log),   cmocka_unit_test(test_disk),    cmocka_unit_test(test_views),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
