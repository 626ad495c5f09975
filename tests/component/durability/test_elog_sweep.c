/* SPDX-License-Identifier: Apache-2.0
 *
 * The janitor writes records anew with what is kept of them: after a crash at any operation the newest event of each key is
 * there, what is gone of other topics is told as cut, and the list of topics agrees with what is read.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "elog_crash.h"
#include "mem.h"

#include <stdio.h>

enum { BATCHES = 4, BATCH = 12, EVENTS = BATCHES * BATCH, SUBJECTS = 5, HOUR_MS = 3600 * 1000 };

struct run {
    int64_t acknowledged;   /* last offset: events have their number from 1 as offset */
    /* what is read after the crash */
    struct elog_place at;
    int64_t cut;
    bool seen[EVENTS + 1];
    int64_t count, listed;
};

static void *run_new(uint64_t seed)
{
    (void)seed;
    return mem_zalloc(sizeof(struct run));
}

/* Every third event is of the topic that is kept. */
static bool is_kept(int number)
{
    return number % 3 == 0;
}

static int subject_of(int number)
{
    return number / 3 % SUBJECTS;
}

static enum ficus_err open_log(struct crash_env *ce, struct elog **ret_log, struct ficus_error *reterr)
{
    static const struct elog_kept kept[] = {{"kept", ""}};
    return elog_open(crash_env(ce), &(struct elog_options){.path = ELOG_CRASH_PATH, .retention_ms = HOUR_MS, .kept = kept, .kept_count = 1},
        ret_log, reterr);
}

static void published(void *arg, enum ficus_err err, int64_t last_offset, const char *detail)
{
    struct run *r = arg;
    (void)detail;
    if (err == FICUS_ERR_OK)
        r->acknowledged = last_offset;
}

static void publish(struct run *r, struct elog *log, int first)
{
    char ids[BATCH][16], subjects[BATCH][16];
    struct event events[BATCH];
    for (int i = 0; i < BATCH; i++) {
        snprintf(ids[i], sizeof ids[i], "%d", first + i);
        snprintf(subjects[i], sizeof subjects[i], "%d", subject_of(first + i));
        events[i] = (struct event){.id = slice_str(ids[i]), .source = SLICE("/s"), .topic = is_kept(first + i) ? SLICE("kept") : SLICE("a"),
            .subject = slice_str(subjects[i]), .data = SLICE("{}")};
    }
    (void)elog_append(log, events, BATCH, published, r);
}

static void run_work(struct crash_env *ce, void *state)
{
    struct run *r = state;
    struct ficus_error e;
    struct elog *log = NULL;
    if (open_log(ce, &log, &e) != FICUS_ERR_OK)
        return;
    for (int i = 0; i < BATCHES; i++) {
        publish(r, log, 1 + i * BATCH);
        crash_env_run(ce);
        if (r->acknowledged != (i + 1) * BATCH)
            break;
        if (i % 2 == 1)
            crash_env_run_ms(ce, (int64_t)2 * HOUR_MS);
    }
    elog_crash_close(ce, log);
}

/* ---- after the crash ---- */

static void on_read(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct run *r = arg;
    const struct event_cut *cuts;
    r->at.err = err;
    r->at.next = next;
    r->count += (int64_t)count;
    for (size_t i = elog_read_cuts(r->at.reader, &cuts); i-- > 0;) {
        assert_true(slice_eq_str(cuts[i].topic, "a"));
        r->cut = cuts[i].offset;
    }
    for (size_t i = 0; i < count; i++) {
        assert_in_range(events[i].offset, 1, EVENTS);
        assert_false(r->seen[events[i].offset]);
        r->seen[events[i].offset] = true;
    }
}

static void on_topics(void *arg, enum ficus_err err, const struct elog_topic *topics, size_t count)
{
    struct run *r = arg;
    if (err != FICUS_ERR_OK)
        r->at.err = err;
    for (size_t i = 0; i < count; i++)
        r->listed += topics[i].count;
}

static void check_events(const struct run *r)
{
    assert_int_equal(r->listed, r->count);
    bool newer[SUBJECTS] = {false};
    for (int i = EVENTS; i >= 1; i--) {
        if (!is_kept(i) && i <= r->acknowledged)
            assert_true(r->seen[i] || r->cut >= i);
        if (is_kept(i) && i <= r->acknowledged)
            assert_true(r->seen[i] || newer[subject_of(i)]);
        if (is_kept(i))
            newer[subject_of(i)] |= r->seen[i];
    }
}

static bool run_check(struct crash_env *ce, void *state)
{
    struct run r = {.acknowledged = ((struct run *)state)->acknowledged};
    struct ficus_error e;
    struct elog *log = NULL;
    enum ficus_err err = open_log(ce, &log, &e);
    if (!elog_crash_opened(err, &e))
        return false;
    (void)elog_read_all(ce, log, "a,kept", &r.at, on_read, &r); /* r.at.err is looked at below */
    assert_int_equal(elog_topics(log, on_topics, &r), FICUS_ERR_OK);
    crash_env_run(ce);
    if (r.at.err == FICUS_ERR_OK)
        check_events(&r);
    elog_crash_close(ce, log);
    return r.at.err == FICUS_ERR_OK;
}

static void test_swept(void **state)
{
    (void)state;
    static const struct crash_case cc = {run_new, mem_free, run_work, run_check};
    crash_sweep(&cc, "elog_sweep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_swept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
