/* SPDX-License-Identifier: Apache-2.0
 *
 * The puller with a bus in memory.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "mem.h"
#include "outbox.h"

#include <stdio.h>

enum { EVENTS_MAX = 3000 };

static struct sim_disk *disk;
static struct crash_env *ce;
static struct consumer *consumer;

/* Offsets 2, 4, 6, ...: the odd ones belong to other topics. */
static struct fake_bus {
    struct bus bus;
    struct env_task answer;
    struct env_timer wait;
    void (*done)(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next);
    void *arg;
    int64_t offset, last;       /* asked for; in the log */
    int64_t wait_ms;            /* of the last pull */
    size_t count_max;
    int fails_left, pulls, cancelled;
    bool outstanding, impatient;
} bus;

static void bus_answer(void *arg)
{
    (void)arg;
    struct event events[64];
    char ids[64][24];
    size_t count = 0;
    bus.outstanding = false;
    env_timer_stop(crash_env(ce), &bus.wait);
    if (bus.fails_left > 0) {
        bus.fails_left--;
        bus.done(bus.arg, FICUS_ERR_UNAVAILABLE, NULL, 0, bus.offset);
        return;
    }
    for (int64_t at = bus.offset + 1; at <= bus.last && count < bus.count_max; at++) {
        if (at % 2 != 0)
            continue;
        snprintf(ids[count], sizeof ids[0], "%lld", (long long)at);
        events[count] = (struct event){.id = slice_str(ids[count]), .source = SLICE("/s"), .topic = SLICE("t"),
            .offset = at};
        count++;
    }
    int64_t next = count == bus.count_max ? events[count - 1].offset : bus.last;
    bus.done(bus.arg, FICUS_ERR_OK, events, count, next);
    memset(ids, 'x', sizeof ids);       /* borrowed until done returned */
}

static enum ficus_err bus_pull(struct bus *b, const char *topics, int64_t offset, size_t count_max, int64_t wait_ms,
                               void (*done)(void *arg, enum ficus_err err, const struct event *events, size_t count,
                               int64_t next), void *arg)
{
    (void)b;
    assert_false(bus.outstanding);
    assert_string_equal(topics, "t,u");
    assert_true(offset >= bus.offset);
    assert_true(count_max <= 64);
    bus.outstanding = true;
    bus.pulls++;
    bus.offset = offset;
    bus.wait_ms = wait_ms;
    bus.count_max = count_max;
    bus.done = done;
    bus.arg = arg;
    bool found = bus.last >= offset + 2 - offset % 2;
    if (found || bus.fails_left > 0 || bus.impatient)
        env_post(crash_env(ce), &bus.answer);
    else
        env_timer_start(crash_env(ce), &bus.wait, wait_ms);
    return FICUS_ERR_OK;
}

static void bus_cancel(struct bus *b)
{
    (void)b;
    assert_true(bus.outstanding);
    bus.outstanding = false;
    bus.cancelled++;
    env_timer_stop(crash_env(ce), &bus.wait);
}

static const struct bus_ops bus_ops = {.pull = bus_pull, .cancel_pull = bus_cancel};

/* ---- the user ---- */

static struct user {
    int64_t last;               /* done */
    int refuse_left;            /* says "not done" so often */
    int deliveries;
    bool later;                 /* answers from a task instead of from inside */
    bool silent;
    struct env_task task;
    int caught_up;
    int64_t caught_up_at;       /* done by then */
    char lost[200];
} user;

static void answer(void)
{
    bool done = user.refuse_left == 0;
    user.refuse_left -= !done;
    if (done)
        user.last += 2;
    consumer_next(consumer, done, 100);
}

static void answer_task(void *arg)
{
    (void)arg;
    answer();
}

static void deliver(void *arg, struct consumer *c, const struct event *ev)
{
    char id[24];
    assert_ptr_equal(arg, &user);
    assert_ptr_equal(c, consumer);
    assert_int_equal(ev->offset, user.last + 2);
    snprintf(id, sizeof id, "%lld", (long long)ev->offset);
    assert_true(slice_eq_str(ev->id, id));
    user.deliveries++;
    if (user.silent)
        return;
    if (user.later)
        env_post(crash_env(ce), &user.task);
    else
        answer();
}

static void caught_up(void *arg)
{
    assert_ptr_equal(arg, &user);
    user.caught_up++;
    user.caught_up_at = user.last;
}

static void lost(void *arg, struct slice topic, int64_t after, int64_t upto)
{
    assert_ptr_equal(arg, &user);
    snprintf(user.lost + strlen(user.lost), sizeof user.lost - strlen(user.lost), SLICE_FMT " %lld-%lld ",
             SLICE_ARG(topic), (long long)after, (long long)upto);
}

static bool hurries;    /* the next consumer wants to know when it has caught up */

static void open_at(int64_t offset)
{
    struct consumer_options o = {.name = "s", .topics = "t,u", .offset = offset, .deliver = deliver, .lost = lost,
                                 .caught_up = hurries ? caught_up : NULL, .arg = &user};
    user.last = offset;
    assert_int_equal(consumer_new(crash_env(ce), &bus.bus, &o, &consumer), FICUS_ERR_OK);
}

static bool consumer_gone;

static void on_closed(void *arg)
{
    (void)arg;
    consumer_gone = true;
}

static void close_it(void)
{
    consumer_gone = false;
    consumer_close(consumer, on_closed, NULL);
    assert_false(consumer_gone);
    crash_env_run(ce);
    assert_true(consumer_gone);
    consumer = NULL;
    int pulls = bus.pulls;
    crash_env_run_ms(ce, 60000);
    assert_int_equal(bus.pulls, pulls);
}

static int setup(void **state)
{
    (void)state;
    disk = sim_disk_new();
    ce = crash_env_new(disk, 31);
    memset(&bus, 0, sizeof bus);
    memset(&user, 0, sizeof user);
    bus.bus.ops = &bus_ops;
    bus.answer = (struct env_task){.fn = bus_answer};
    bus.wait = (struct env_timer){.fn = bus_answer};
    user.task = (struct env_task){.fn = answer_task};
    consumer = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (consumer != NULL)
        close_it();
    crash_env_free(ce);
    sim_disk_free(disk);
    return 0;
}

/* Every event is delivered once and in order, batch after batch, answered from inside or later; then the consumer
 * waits without spinning. */
static void test_order(void **state)
{
    (void)state;
    for (int later = 0; later < 2; later++) {
        setup(state);
        user.later = later;
        bus.last = EVENTS_MAX;
        open_at(0);
        crash_env_run_ms(ce, 1000);
        assert_int_equal(user.last, EVENTS_MAX);
        assert_int_equal(user.deliveries, EVENTS_MAX / 2);
        int pulls = bus.pulls;
        crash_env_run_ms(ce, 60000);
        assert_in_range(bus.pulls - pulls, 2, 4);
        if (later == 0)
            teardown(state);
    }
}

/* It begins behind the offset that it was given. */
static void test_offset(void **state)
{
    (void)state;
    bus.last = 100;
    open_at(90);
    crash_env_run_ms(ce, 10);
    assert_int_equal(user.deliveries, 5);
}

/* A refused event comes again after the pause, before any later one. */
static void test_refused(void **state)
{
    (void)state;
    bus.last = 20;
    user.refuse_left = 7;
    open_at(0);
    crash_env_run_ms(ce, 50);
    assert_int_equal(user.deliveries, 1);
    crash_env_run_ms(ce, 1000);
    assert_int_equal(user.last, 20);
    assert_int_equal(user.deliveries, 10 + 7);
}

/* Failed pulls are repeated with pauses, and lose nothing. */
static void test_bus_away(void **state)
{
    (void)state;
    const char *detail = NULL;
    bus.last = 20;
    bus.fails_left = 6;
    open_at(0);
    crash_env_run_ms(ce, 60);
    assert_int_equal(consumer_error(consumer, &detail), FICUS_ERR_UNAVAILABLE);
    assert_in_range(bus.pulls, 1, 2);
    crash_env_run_ms(ce, 20000);
    assert_int_equal(user.last, 20);
    assert_int_equal(consumer_error(consumer, &detail), FICUS_ERR_OK);
}

/* A bus that does not wait as asked is not asked in a tight loop. */
static void test_impatient_bus(void **state)
{
    (void)state;
    bus.impatient = true;
    open_at(0);
    crash_env_run_ms(ce, 1000);
    assert_in_range(bus.pulls, 2, 30);
}

/* Closing ends it in any state: before it began, while it pulls (which is cancelled), while an event is out, while
 * it rests. */
static void test_close(void **state)
{
    (void)state;
    open_at(0);
    close_it();
    open_at(0);
    crash_env_run_ms(ce, 10);
    close_it();
    assert_int_equal(bus.cancelled, 1);
    bus.last = 20;
    user.silent = true;
    open_at(0);
    crash_env_run_ms(ce, 10);
    assert_int_equal(user.deliveries, 1);
    close_it();
    user.silent = false;
    user.refuse_left = 1;
    open_at(0);
    crash_env_run_ms(ce, 10);
    close_it();
    assert_int_equal(user.deliveries, 2);
}

/* Who wants to know hears once that the log's end is reached, after all events, and waits in pulls only from then on. */
static void test_caught_up(void **state)
{
    (void)state;
    hurries = true;
    bus.last = 300;
    open_at(0);
    hurries = false;
    crash_env_run_ms(ce, 1000);
    assert_int_equal(user.deliveries, 150);
    assert_int_equal(user.caught_up, 1);
    assert_int_equal(user.caught_up_at, 300);
    assert_true(bus.outstanding && bus.wait_ms > 0);
    bus.last = 310;
    crash_env_run_ms(ce, 60000);
    assert_int_equal(user.last, 310);
    assert_int_equal(user.caught_up, 1);
    close_it();
}

/* What the log no longer has is told once, also while the position is still behind it; what was read is not lost. */
static void test_lost(void **state)
{
    (void)state;
    static const struct event_cut cuts[] = {{SLICE("t"), 4}, {SLICE("u"), 200}}, more[] = {{SLICE("u"), 250}};
    bus.last = 300;
    bus.bus.cuts = cuts;
    bus.bus.cut_count = 2;
    open_at(10);
    crash_env_run_ms(ce, 1000);
    assert_int_equal(user.last, 300);
    assert_string_equal(user.lost, "u 10-200 ");
    close_it();
    bus.offset = 0;
    open_at(100);
    bus.bus.cuts = more;
    bus.bus.cut_count = 1;
    crash_env_run_ms(ce, 1000);
    assert_string_equal(user.lost, "u 10-200 u 100-250 ");
    bus.bus.cut_count = 0;
    close_it();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(test_order, teardown), TEST(test_offset),
        TEST(test_refused), TEST(test_bus_away),
        TEST(test_impatient_bus), TEST(test_caught_up), TEST(test_lost), TEST(test_close)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
