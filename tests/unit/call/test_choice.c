/* SPDX-License-Identifier: Apache-2.0
 *
 * Which address gets a call and which is left alone, in virtual time.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "call_balance.h"

#include <stdio.h>
#include <string.h>

#define MS INT64_C(1000000)

enum { TARGETS_MAX = 64 };

static const int balances[] = {CALL_BALANCE_LEAST_REQUEST, CALL_BALANCE_ROUND_ROBIN, CALL_BALANCE_RING_HASH};

struct set {
    struct call_target memory[TARGETS_MAX], *targets[TARGETS_MAX];
    struct call_eject ejects[TARGETS_MAX];
    size_t count, cursor;
    uint64_t random;
};

static void set_init(struct set *s, size_t count)
{
    memset(s, 0, sizeof *s);
    s->count = count;
    s->random = 42;
    for (size_t i = 0; i < count; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "tcp:10.0.0.%zu:8080", i);
        s->memory[i].hash = call_hash(slice_str(text));
        s->memory[i].eject = &s->ejects[i];
        s->targets[i] = &s->memory[i];
    }
}

static size_t choose(struct set *s, const struct call_choice *c, int64_t now_ns)
{
    return call_choose(s->targets, s->count, c, now_ns, &s->cursor, &s->random);
}

/* Round robin visits every address equally often. */
static void test_round(void **state)
{
    struct set s;
    set_init(&s, 3);
    const struct call_choice c = {.balance = CALL_BALANCE_ROUND_ROBIN};
    size_t counts[3] = {0};
    for (int i = 0; i < 300; i++)
        counts[choose(&s, &c, 1)]++;
    for (int i = 0; i < 3; i++)
        assert_int_equal(counts[i], 100);
}

/* For every way to balance, every set of addresses that are out and every one to avoid: an address that is neither is
 * taken if there is one, then one that is only to be avoided, then one that is only out; alone it is always taken. */
static void test_out_and_avoided(void **state)
{
    for (size_t way = 0; way < 3; way++)
        for (size_t count = 1; count <= 4; count++)
            for (unsigned out = 0; out < 1U << count; out++)
                for (size_t avoid = 0; avoid <= count; avoid++)
                    for (size_t start = 0; start < 4 * count; start++) {
                        struct set s;
                        set_init(&s, count);
                        s.cursor = s.random = start;
                        const struct call_choice c = {.balance = balances[way], .keyed = true, .key = start * 7919,
                                                      .avoid = avoid < count ? &s.memory[avoid] : NULL};
                        bool good = false, in = false;
                        for (size_t i = 0; i < count; i++) {
                            /* both ways to be out */
                            s.ejects[i].until_ns = (out & 1U << i) != 0 && i % 2 == 0 ? 100 : 99;
                            s.ejects[i].unhealthy = (out & 1U << i) != 0 && i % 2 == 1;
                            in = in || (out & 1U << i) == 0;
                            good = good || ((out & 1U << i) == 0 && i != avoid);
                        }
                        size_t i = choose(&s, &c, 99);
                        assert_true(i < count);
                        bool is_out = (out & 1U << i) != 0;
                        if (good)
                            assert_true(!is_out && i != avoid);
                        else if (in)
                            assert_true(!is_out);
                        else if (count > 1)
                            assert_true(i != avoid);
                        assert_int_equal(call_another(s.targets, count, c.avoid, 99), good);
                    }
}

/* least_request spreads calls that stay by how slow each address is: with calls that end after their address's latency
 * (5, 10 and 40 ms), the slow one gets the fewest, and no address gets none. */
static void test_least_spreads(void **state)
{
    static const int64_t latency_ms[3] = {5, 10, 40};
    struct set s;
    set_init(&s, 3);
    const struct call_choice c = {.balance = CALL_BALANCE_LEAST_REQUEST};
    int64_t due_ms[64];
    size_t where[64], running = 0, counts[3] = {0};
    for (int64_t now_ms = 0; now_ms < 20000; now_ms++) {
        for (size_t i = running; i-- > 0;)
            if (due_ms[i] <= now_ms) {
                struct call_load *l = &s.memory[where[i]].load;
                l->outstanding--;
                call_load_note(l, latency_ms[where[i]] * MS, false, now_ms * MS);
                running--;
                due_ms[i] = due_ms[running];
                where[i] = where[running];
            }
        if (running < 64) {
            size_t i = choose(&s, &c, now_ms * MS);
            s.memory[i].load.outstanding++;
            counts[i]++;
            due_ms[running] = now_ms + latency_ms[i];
            where[running++] = i;
        }
    }
    assert_true(counts[0] > counts[1] && counts[1] > counts[2]);
    assert_true(counts[2] > 20000 / 200 && counts[2] < 20000 / 5);
}

/* One that became slow is left, and tried again when that is long ago; a new one gets a single call before it has
 * answered. */
static void test_least_remembers(void **state)
{
    struct set s;
    set_init(&s, 2);
    const struct call_choice c = {.balance = CALL_BALANCE_LEAST_REQUEST};
    call_load_note(&s.memory[0].load, 10 * MS, false, 0);
    assert_int_equal(choose(&s, &c, 0), 1);
    s.memory[1].load.outstanding = 1;
    for (int i = 0; i < 20; i++)
        assert_int_equal(choose(&s, &c, 0), 0);
    s.memory[1].load.outstanding = 0;
    call_load_note(&s.memory[1].load, 1000 * MS, false, 0);
    assert_int_equal(choose(&s, &c, 0), 0);
    for (int64_t now_ms = 0; now_ms < 2000000; now_ms += 100)
        call_load_note(&s.memory[0].load, 10 * MS, false, now_ms * MS);
    assert_int_equal(choose(&s, &c, 2000000 * MS), 1);
}

/* A slower answer counts at once, a faster one by and by, a fast failure not at all. */
static void test_load_peak(void **state)
{
    struct call_load l = {0};
    call_load_note(&l, 10 * MS, false, 0);
    call_load_note(&l, 80 * MS, false, 0);
    assert_true(call_load_cost(&l, 0) == 80e6);
    call_load_note(&l, 1, true, 0);
    assert_true(call_load_cost(&l, 0) == 80e6);
    call_load_note(&l, 0, false, 0);
    assert_true(call_load_cost(&l, 0) < 71e6 && call_load_cost(&l, 0) > 69e6);
    l.outstanding = 2;
    assert_true(call_load_cost(&l, 0) > 3 * 69e6);
    assert_true(call_load_cost(&l, CALL_LOAD_MEMORY_MS * MS) * 2 < call_load_cost(&l, 0) * 1.01);
}

static uint64_t key_of(int i)
{
    char text[32];
    (void)snprintf(text, sizeof text, "user-%d", i);
    return call_hash(slice_str(text));
}

/* ring_hash: the same key always goes to the same address, the keys are spread evenly, and when an address leaves or
 * comes only the keys of that address move, be it gone or out. Measured: of 20,000 keys over ten addresses a tenth. */
static void test_hash_moves_little(void **state)
{
    enum { KEYS = 20000, COUNT = 10 };
    static size_t before[KEYS];
    size_t counts[COUNT] = {0}, moved = 0, strangers = 0;
    struct set s;
    set_init(&s, COUNT);
    struct call_choice c = {.balance = CALL_BALANCE_RING_HASH, .keyed = true};
    for (int i = 0; i < KEYS; i++) {
        c.key = key_of(i);
        before[i] = choose(&s, &c, 0);
        counts[before[i]]++;
        assert_int_equal(choose(&s, &c, 0), before[i]);
    }
    for (int i = 0; i < COUNT; i++)
        assert_in_range(counts[i], KEYS / COUNT * 85 / 100, KEYS / COUNT * 115 / 100);
    s.count = COUNT - 1;    /* the last one leaves */
    for (int i = 0; i < KEYS; i++) {
        c.key = key_of(i);
        size_t now = choose(&s, &c, 0);
        moved += now != before[i];
        strangers += now != before[i] && before[i] != COUNT - 1;
    }
    assert_int_equal(strangers, 0);
    assert_int_equal(moved, counts[COUNT - 1]);
    print_message("moved %zu of %d keys\n", moved, KEYS);
    s.count = COUNT;        /* and comes back, while another is ejected */
    s.ejects[3].until_ns = 10;
    for (int i = 0; i < KEYS; i++) {
        c.key = key_of(i);
        size_t now = choose(&s, &c, 0);
        assert_true(before[i] == 3 ? now != 3 : now == before[i]);
        assert_int_equal(choose(&s, &c, 10), before[i]);
    }
}

/* The order of the list is no matter: another process that heard it in another order sends the key to the same place. */
static void test_hash_any_order(void **state)
{
    struct set a, b;
    set_init(&a, 7);
    set_init(&b, 7);
    for (size_t i = 0; i < 7; i++)
        b.targets[i] = &b.memory[6 - i];
    for (int i = 0; i < 1000; i++) {
        const struct call_choice c = {.balance = CALL_BALANCE_RING_HASH, .keyed = true, .key = key_of(i)};
        assert_int_equal(choose(&a, &c, 0), 6 - choose(&b, &c, 0));
    }
}

/* ---- ejection ---- */

static const struct call_policy_eject eject_policy = {.failures = 3, .base_ms = 1000, .max_ms = 5000, .percent = 50};

static bool failed(struct call_eject *e, size_t out, size_t count, int64_t now_ms)
{
    return call_eject_note(e, &eject_policy, CALL_SIGN_BAD, out, count, now_ms * MS);
}

static bool eject(struct call_eject *e, int64_t now_ms)
{
    assert_false(failed(e, 0, 4, now_ms));
    assert_false(failed(e, 0, 4, now_ms));
    return failed(e, 0, 4, now_ms);
}

/* Only failures in a row eject; a good outcome between them begins anew; what says nothing changes nothing. */
static void test_eject_in_a_row(void **state)
{
    struct call_eject e = {0};
    assert_false(failed(&e, 0, 4, 0));
    assert_false(failed(&e, 0, 4, 0));
    assert_false(call_eject_note(&e, &eject_policy, CALL_SIGN_GOOD, 0, 4, 0));
    assert_false(failed(&e, 0, 4, 0));
    assert_false(call_eject_note(&e, &eject_policy, CALL_SIGN_NONE, 0, 4, 0));
    assert_false(failed(&e, 0, 4, 0));
    assert_true(failed(&e, 0, 4, 0));
    assert_true(call_eject_out(&e, 999 * MS));
    assert_false(call_eject_out(&e, 1000 * MS));
    struct call_policy_eject off = eject_policy;
    off.failures = 0;
    e = (struct call_eject){0};
    for (int i = 0; i < 1000; i++)
        assert_false(call_eject_note(&e, &off, CALL_SIGN_BAD, 0, 4, 0));
}

/* The time doubles with each ejection that follows within max of the last one's end, up to max; after a long good time
 * it is base again. What fails while it is out does not count. */
static void test_eject_grows(void **state)
{
    static const int64_t want_ms[] = {1000, 2000, 4000, 5000, 5000};
    struct call_eject e = {0};
    int64_t now_ms = 100;
    for (size_t i = 0; i < 5; i++) {
        assert_true(eject(&e, now_ms));
        for (int k = 0; k < 10; k++)
            assert_false(failed(&e, 1, 4, now_ms + 1));
        assert_int_equal(e.until_ns, (now_ms + want_ms[i]) * MS);
        now_ms += want_ms[i] + 4999;
    }
    now_ms += 2;
    assert_true(eject(&e, now_ms));
    assert_int_equal(e.until_ns, (now_ms + 1000) * MS);
}

/* For every number of addresses and of those out: a failing one is ejected only when no more than percent are out then;
 * a refused connection ejects whatever the others do, for base, without shortening what is longer. */
static void test_eject_percent(void **state)
{
    for (size_t count = 1; count <= 10; count++)
        for (size_t out = 0; out < count; out++) {
            struct call_eject e = {.failures = 2};
            assert_int_equal(failed(&e, out, count, 0), (out + 1) * 2 <= count);
            e = (struct call_eject){0};
            assert_true(call_eject_note(&e, &eject_policy, CALL_SIGN_REFUSED, out, count, 0));
            assert_int_equal(e.until_ns, 1000 * MS);
        }
    struct call_eject e = {.until_ns = 4000 * MS};
    assert_false(call_eject_note(&e, &eject_policy, CALL_SIGN_REFUSED, 1, 4, 10 * MS));
    assert_int_equal(e.until_ns, 4000 * MS);
}

/* Random walks over four addresses: those out for failures are never more than half of them. */
static void test_eject_walk(void **state)
{
    uint64_t random = 7;
    for (int walk = 0; walk < 500; walk++) {
        struct set s;
        set_init(&s, 4);
        int64_t now_ns = 0;
        for (int step = 0; step < 400; step++) {
            uint64_t draw = call_random(&random);
            struct call_eject *e = &s.ejects[draw % 4];
            now_ns += (int64_t)(draw >> 8 & 511) * MS;
            enum call_sign sign = (draw >> 20) % 8 < 6 ? CALL_SIGN_BAD : CALL_SIGN_GOOD;
            size_t out = call_out_count(s.targets, 4, now_ns);
            (void)call_eject_note(e, &eject_policy, sign, out, 4, now_ns);
            assert_true(call_out_count(s.targets, 4, now_ns) <= 2);
        }
    }
}

/* What an attempt says about its address: unlike for the breaker, a quick 503 is a failure; a deadline counts only when
 * it was at least half of the edge's. */
static void test_sign(void **state)
{
    assert_int_equal(call_sign_of(CALL_OUTCOME_ANSWER, 0, 2000), CALL_SIGN_GOOD);
    assert_int_equal(call_sign_of(CALL_OUTCOME_THROTTLED, 0, 2000), CALL_SIGN_GOOD);
    assert_int_equal(call_sign_of(CALL_OUTCOME_FAILED, 0, 2000), CALL_SIGN_BAD);
    assert_int_equal(call_sign_of(CALL_OUTCOME_REFUSED, 0, 2000), CALL_SIGN_REFUSED);
    assert_int_equal(call_sign_of(CALL_OUTCOME_LOST, 0, 2000), CALL_SIGN_BAD);
    assert_int_equal(call_sign_of(CALL_OUTCOME_BROKEN, 0, 2000), CALL_SIGN_BAD);
    assert_int_equal(call_sign_of(CALL_OUTCOME_TIMEOUT, 999, 2000), CALL_SIGN_NONE);
    assert_int_equal(call_sign_of(CALL_OUTCOME_TIMEOUT, 1000, 2000), CALL_SIGN_BAD);
    assert_int_equal(call_sign_of(CALL_OUTCOME_LOCAL, 5000, 2000), CALL_SIGN_NONE);
}

/* For every sequence of ten results: out exactly after so many bad ones in a row, in again after so many good ones. */
static void test_checks(void **state)
{
    const struct call_policy_check p = {.unhealthy = 3, .healthy = 2};
    for (unsigned word = 0; word < 1U << 10; word++) {
        struct call_eject e = {0};
        bool out = false;
        int run = 0;
        for (int i = 0; i < 10; i++) {
            bool good = (word >> i & 1) != 0, was = out;
            run = good == (i > 0 && (word >> (i - 1) & 1) != 0) && i > 0 ? run + 1 : 1;
            if (good ? run >= 2 : run >= 3)
                out = !good;
            assert_int_equal(call_eject_check(&e, &p, good), out != was);
            assert_int_equal(call_eject_out(&e, 0), out);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round),
        cmocka_unit_test(test_out_and_avoided),
        cmocka_unit_test(test_least_spreads),
        cmocka_unit_test(test_least_remembers),
        cmocka_unit_test(test_load_peak),
        cmocka_unit_test(test_hash_moves_little),
        cmocka_unit_test(test_hash_any_order),
        cmocka_unit_test(test_eject_in_a_row),
        cmocka_unit_test(test_eject_grows),
        cmocka_unit_test(test_eject_percent),
        cmocka_unit_test(test_eject_walk),
        cmocka_unit_test(test_sign),
        cmocka_unit_test(test_checks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
