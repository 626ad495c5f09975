/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a supervised process, as a table.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "unit.h"

/* The plain life: start, ready, stop; terminated gently, and killed when it does not end. */
static void test_plain_life(void **state)
{
    struct unit u = {0};
    assert_int_equal(unit_step(&u, UNIT_START, 0), UNIT_SPAWN);
    assert_int_equal(u.state, UNIT_STARTING);
    assert_false(u.listed);
    assert_int_equal(unit_step(&u, UNIT_IS_READY, 10), UNIT_LISTING);
    assert_true(u.listed);
    assert_int_equal(unit_step(&u, UNIT_STOP, 20), UNIT_TERM | UNIT_SET_TIMER | UNIT_LISTING);
    assert_int_equal(u.timer_ms, UNIT_DRAIN_MS);
    assert_false(u.listed);
    assert_int_equal(unit_step(&u, UNIT_TIMER, 20 + UNIT_DRAIN_MS), UNIT_KILL);
    assert_int_equal(unit_step(&u, UNIT_EXIT, 30 + UNIT_DRAIN_MS), UNIT_CLEAR_TIMER);
    assert_int_equal(u.state, UNIT_STOPPED);
    assert_int_equal(u.restarts, 0);
}

/* A death is followed by a start at once, the next ones after 100 ms doubling to 3 s; ten seconds of health forget
 * them. */
static void test_backoff(void **state)
{
    static const int64_t wanted_ms[] = {0, 100, 200, 400, 800, 1600, 3000, 3000};
    struct unit u = {0};
    unit_step(&u, UNIT_START, 0);
    for (size_t i = 0; i < sizeof wanted_ms / sizeof wanted_ms[0]; i++) {
        if (i % 2 == 0)
            unit_step(&u, UNIT_IS_READY, 1000); /* to be ready for a short while changes nothing */
        unsigned actions = unit_step(&u, UNIT_EXIT, 1000 + UNIT_STABLE_MS - 1);
        assert_true((actions & UNIT_SET_TIMER) != 0);
        assert_int_equal(u.state, UNIT_BACKOFF);
        assert_int_equal(u.timer_ms, wanted_ms[i]);
        assert_int_equal(unit_step(&u, UNIT_TIMER, 0), UNIT_SPAWN);
        assert_int_equal(u.restarts, i + 1);
    }
    unit_step(&u, UNIT_IS_READY, 50000);
    unit_step(&u, UNIT_EXIT, 50000 + UNIT_STABLE_MS);
    assert_int_equal(u.timer_ms, 0);
}

/* A start that follows at once, planned or after a single death, leaves the address in the registry, as the socket stays
 * open and connections wait; a death before it was ready, a second one soon after, and a stop take it out. */
static void test_listing(void **state)
{
    struct unit u = {0};
    unit_step(&u, UNIT_START, 0);
    unit_step(&u, UNIT_IS_READY, 0);
    assert_int_equal(unit_step(&u, UNIT_EXIT, 0), UNIT_SET_TIMER);
    assert_true(u.listed);
    unit_step(&u, UNIT_TIMER, 0);
    unit_step(&u, UNIT_IS_READY, 0);
    assert_true((unit_step(&u, UNIT_EXIT, 0) & UNIT_LISTING) != 0);
    assert_false(u.listed);
    unit_step(&u, UNIT_TIMER, 0);
    assert_false(u.listed);
    unit_step(&u, UNIT_IS_READY, 0);
    assert_int_equal(unit_step(&u, UNIT_RESTART, 0), UNIT_TERM | UNIT_SET_TIMER);
    assert_true(u.listed);
    assert_int_equal(unit_step(&u, UNIT_EXIT, 0), UNIT_SPAWN | UNIT_CLEAR_TIMER);
    assert_true(u.listed);
    assert_int_equal(u.state, UNIT_STARTING);
    assert_true((unit_step(&u, UNIT_EXIT, 0) & UNIT_LISTING) != 0); /* the new one died before it was ready */
    assert_false(u.listed);
}

/* One that was stopped waits for a start, which may also come while it still drains; its deaths are forgotten. */
static void test_stop_and_start(void **state)
{
    struct unit u = {0};
    unit_step(&u, UNIT_START, 0);
    for (int i = 0; i < 5; i++) {
        unit_step(&u, UNIT_EXIT, 0);
        unit_step(&u, UNIT_TIMER, 0);
    }
    unit_step(&u, UNIT_IS_READY, 0);
    unit_step(&u, UNIT_STOP, 0);
    assert_int_equal(unit_step(&u, UNIT_START, 0), 0);
    assert_int_equal(u.state, UNIT_RESTARTING);
    assert_int_equal(unit_step(&u, UNIT_TIMER, 0), UNIT_KILL); /* the time to drain still holds */
    assert_int_equal(unit_step(&u, UNIT_EXIT, 0), UNIT_SPAWN | UNIT_CLEAR_TIMER);
    unit_step(&u, UNIT_STOP, 0);
    unit_step(&u, UNIT_EXIT, 0);
    assert_int_equal(u.state, UNIT_STOPPED);
    assert_int_equal(unit_step(&u, UNIT_START, 0), 0);
    assert_int_equal(u.state, UNIT_WAITING);
    assert_int_equal(unit_step(&u, UNIT_START, 0), UNIT_SPAWN);
    assert_int_equal(u.restarts, 7);
    unit_step(&u, UNIT_EXIT, 0);
    assert_int_equal(u.timer_ms, 0);
}

/* One beside it: they change places when the other is ready; when that ends, or is never ready, all is as before; when the
 * old one dies, or all is to stop, it is clear who is left. */
static void test_replace(void **state)
{
    struct unit u = {0};
    unit_step(&u, UNIT_START, 0);
    assert_int_equal(unit_step(&u, UNIT_REPLACE, 0), 0); /* nobody to replace */
    unit_step(&u, UNIT_IS_READY, 0);
    assert_int_equal(unit_step(&u, UNIT_REPLACE, 0), UNIT_SPAWN_NEXT | UNIT_SET_TIMER);
    assert_int_equal(u.timer_ms, UNIT_REPLACE_MS);
    assert_true(u.listed);
    assert_int_equal(unit_step(&u, UNIT_REPLACE, 0), 0);
    assert_int_equal(unit_step(&u, UNIT_RESTART, 0), 0);
    assert_int_equal(unit_step(&u, UNIT_NEXT_READY, 5), UNIT_TAKE_NEXT | UNIT_CLEAR_TIMER);
    assert_int_equal(u.state, UNIT_READY);
    assert_int_equal(u.restarts, 1);
    assert_int_equal(u.ready_since_ms, 5);
    unit_step(&u, UNIT_REPLACE, 6);
    assert_int_equal(unit_step(&u, UNIT_NEXT_EXIT, 7), UNIT_CLEAR_TIMER);
    assert_int_equal(u.state, UNIT_READY);
    unit_step(&u, UNIT_REPLACE, 8);
    assert_int_equal(unit_step(&u, UNIT_TIMER, 9), UNIT_DROP_NEXT);
    assert_int_equal(unit_step(&u, UNIT_NEXT_EXIT, 9), 0);
    assert_int_equal(u.state, UNIT_READY);
    assert_int_equal(u.ready_since_ms, 5);
    assert_int_equal(u.restarts, 1);
    unit_step(&u, UNIT_REPLACE, 10);
    assert_int_equal(unit_step(&u, UNIT_EXIT, 11), UNIT_TAKE_NEXT | UNIT_CLEAR_TIMER);
    assert_int_equal(u.state, UNIT_STARTING);
    assert_true(u.listed); /* connections wait for it */
    unit_step(&u, UNIT_IS_READY, 12);
    unit_step(&u, UNIT_REPLACE, 13);
    assert_int_equal(unit_step(&u, UNIT_STOP, 14), UNIT_TERM | UNIT_DROP_NEXT | UNIT_SET_TIMER | UNIT_LISTING);
    assert_int_equal(u.timer_ms, UNIT_DRAIN_MS);
    assert_int_equal(u.state, UNIT_STOPPING);
}

/* Every sequence of seven events keeps the invariants: a process exists exactly in five states (a spawn comes when
 * there is none, an exit ends it), one to take its place only in one of them, only START and RESTART leave STOPPED, a term or kill needs a process, listed implies an earlier
 * READY. */
static void test_invariants(void **state)
{
    enum { LENGTH = 7 };
    unsigned long sequences = 1;
    for (int i = 0; i < LENGTH; i++)
        sequences *= UNIT_EVENT_COUNT;
    for (unsigned long n = 0; n < sequences; n++) {
        struct unit u = {0};
        bool process = false, next = false, was_ready = false, timer = false;
        unsigned long rest = n;
        for (int i = 0; i < LENGTH; i++, rest /= UNIT_EVENT_COUNT) {
            enum unit_event event = (enum unit_event)(rest % UNIT_EVENT_COUNT);
            /* what cannot happen: an exit without process, a timer that is not set */
            if ((event == UNIT_EXIT && !process) || (event == UNIT_IS_READY && !process) ||
                (event == UNIT_TIMER && !timer) ||
                ((event == UNIT_NEXT_READY || event == UNIT_NEXT_EXIT) && !next))
                continue;
            enum unit_state before = u.state;
            if (event == UNIT_EXIT)
                process = false;
            if (event == UNIT_TIMER)
                timer = false;
            unsigned actions = unit_step(&u, event, i);
            if ((actions & UNIT_SPAWN) != 0) {
                assert_false(process);
                process = true;
            }
            if ((actions & UNIT_SPAWN_NEXT) != 0) {
                assert_true(process && !next);
                next = true;
            }
            if ((actions & UNIT_TAKE_NEXT) != 0) {
                assert_true(next);
                next = false;
                process = true;
            }
            if ((actions & UNIT_DROP_NEXT) != 0) {
                assert_true(next);
                next = false;
            }
            if (event == UNIT_NEXT_EXIT)
                next = false;
            assert_int_equal(next, u.state == UNIT_REPLACING);
            if ((actions & UNIT_CLEAR_TIMER) != 0)
                timer = false;
            if ((actions & UNIT_SET_TIMER) != 0)
                timer = true;
            if ((actions & (UNIT_TERM | UNIT_KILL)) != 0)
                assert_true(process);
            assert_int_equal(process, unit_has_process(&u));
            assert_true(before != UNIT_STOPPED || u.state == UNIT_STOPPED ||
                        (u.state == UNIT_WAITING && (event == UNIT_START || event == UNIT_RESTART)));
            was_ready = was_ready || u.state == UNIT_READY;
            assert_true(!u.listed || was_ready);
            /* whoever waits for something that only a timer brings has one */
            assert_true(u.state != UNIT_BACKOFF || timer);
            assert_true(before == UNIT_STOPPING || u.state != UNIT_STOPPING || timer || before == UNIT_RESTARTING);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_life),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_listing),
        cmocka_unit_test(test_stop_and_start),
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
