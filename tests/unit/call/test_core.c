/* SPDX-License-Identifier: Apache-2.0
 *
 * The pure decisions of the call engine, in virtual time.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "call_core.h"

#include <string.h>

#define MS INT64_C(1000000)

/* Only 429, 502, 503 and 504 are answers of a failed attempt; every other status is an answer for the user. */
static void test_status(void **state)
{
    for (int status = 100; status < 600; status++) {
        enum call_outcome want = status == 429 ? CALL_OUTCOME_THROTTLED
                                 : status == 502 || status == 503 || status == 504 ? CALL_OUTCOME_FAILED
                                                                                 : CALL_OUTCOME_ANSWER;
        assert_int_equal(call_outcome_of_status(status), want);
    }
}

/* A reset is lost unless its reason says that nothing was connected, that the peer broke the protocol, or that it was
 * our own doing, or is never done there. */
static void test_reset(void **state)
{
    for (int err = 1; err < FICUS_ERR_COUNT; err++) {
        enum call_outcome o = call_outcome_of_reset((enum ficus_err)err);
        switch (err) {
        case FICUS_ERR_REFUSED: assert_int_equal(o, CALL_OUTCOME_REFUSED); break;
        case FICUS_ERR_TIMEOUT: assert_int_equal(o, CALL_OUTCOME_TIMEOUT); break;
        case FICUS_ERR_PROTOCOL:
        case FICUS_ERR_PARSE:
        case FICUS_ERR_TOO_LARGE: assert_int_equal(o, CALL_OUTCOME_BROKEN); break;
        case FICUS_ERR_NOMEM:
        case FICUS_ERR_INVALID:
        case FICUS_ERR_UNSUPPORTED:
        case FICUS_ERR_CANCELLED: assert_int_equal(o, CALL_OUTCOME_LOCAL); break;
        default: assert_int_equal(o, CALL_OUTCOME_LOST);
        }
    }
}

/* The rules of call.h once more, written from the prose, as the oracle of the exhaustive comparison below. */
static enum call_verdict oracle(const struct call_try *t)
{
    bool repeatable_request = t->idempotent || t->key_kept;
    if (t->left_ms <= 0 || !t->body_again)
        return CALL_GIVE_UP;
    bool lost = t->outcome == CALL_OUTCOME_LOST, refused = t->outcome == CALL_OUTCOME_REFUSED;
    bool answer = t->outcome == CALL_OUTCOME_THROTTLED || t->outcome == CALL_OUTCOME_FAILED;
    if (!lost && !refused && !answer)
        return CALL_GIVE_UP;
    bool untouched = refused || !t->progress.request_sent;
    if (lost && t->progress.unprocessed && !t->progress.response_begun)
        return t->unprocessed < 8 ? CALL_REPEAT_UNPROCESSED : CALL_GIVE_UP;
    if (lost && t->progress.conn_reused && !t->progress.response_begun && !t->fresh_used &&
        (repeatable_request || untouched))
        return CALL_REPEAT_FRESH;
    if (t->attempts < t->attempts_max && (repeatable_request || untouched))
        return CALL_REPEAT;
    return CALL_GIVE_UP;
}

/* Over every combination of facts the verdict is what the rules say. */
static void test_verdict_exhaustive(void **state)
{
    size_t counts[4] = {0, 0, 0, 0};
    for (int outcome = 0; outcome < CALL_OUTCOME_COUNT; outcome++)
        for (unsigned bits = 0; bits < 512; bits++)
            for (int64_t attempts = 1; attempts <= 3; attempts++)
                for (int64_t left_ms = -1; left_ms <= 1; left_ms++) {
                    struct call_try t = {
                        .outcome = (enum call_outcome)outcome,
                        .progress = {.conn_reused = bits & 1, .request_sent = bits & 2, .response_begun = bits & 4,
                                     .unprocessed = bits & 128},
                        .idempotent = bits & 8,
                        .key_kept = bits & 16,
                        .body_again = bits & 32,
                        .fresh_used = bits & 64,
                        .unprocessed = bits & 256 ? 8 : 7,
                        .attempts = attempts,
                        .attempts_max = 2,
                        .left_ms = left_ms,
                    };
                    enum call_verdict v = call_verdict_of(&t);
                    assert_int_equal(v, oracle(&t));
                    counts[v]++;
                }
    assert_true(counts[CALL_GIVE_UP] > 0 && counts[CALL_REPEAT] > 0 && counts[CALL_REPEAT_FRESH] > 0 && counts[CALL_REPEAT_UNPROCESSED] > 0);
}

/* A POST without a kept key that may have been processed is never sent again, whatever else is true. */
static void test_verdict_never_doubles(void **state)
{
    for (int outcome = 0; outcome < CALL_OUTCOME_COUNT; outcome++)
        for (unsigned bits = 0; bits < 16; bits++) {
            struct call_try t = {
                .outcome = (enum call_outcome)outcome,
                .progress = {.conn_reused = bits & 1, .request_sent = true, .response_begun = bits & 2},
                .body_again = bits & 4,
                .fresh_used = bits & 8,
                .attempts = 1,
                .attempts_max = 5,
                .left_ms = 1000,
            };
            if (outcome != CALL_OUTCOME_REFUSED)
                assert_int_equal(call_verdict_of(&t), CALL_GIVE_UP);
            assert_int_equal(call_maybe_processed(t.outcome, &t.progress), outcome != CALL_OUTCOME_REFUSED);
        }
}

/* Full jitter: the ceiling doubles from the base to the maximum, both ends are reached, nothing lies outside. */
static void test_backoff(void **state)
{
    static const int64_t caps[] = {25, 50, 100, 200, 400, 800, 1000, 1000};
    for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++) {
        bool low = false, high = false;
        for (uint64_t r = 0; r < 5000; r++) {
            int64_t ms = call_backoff_ms(25, 1000, i + 1, r);
            assert_true(ms >= 0 && ms <= caps[i]);
            low = low || ms == 0;
            high = high || ms == caps[i];
        }
        assert_true(low && high);
    }
    assert_int_equal(call_backoff_ms(200, 5000, UINT64_MAX, 5000), 5000);
    assert_true(call_backoff_ms(200, 5000, 100, UINT64_MAX) <= 5000);
    assert_int_equal(call_backoff_ms(1, INT64_MAX, 200, INT64_MAX), INT64_MAX);
}

/* Retry-After is read as whole seconds, bounded by a day; anything else counts as absent. */
static void test_retry_after(void **state)
{
    assert_int_equal(call_retry_after_ms(SLICE("2")), 2000);
    assert_int_equal(call_retry_after_ms(SLICE("0")), 0);
    assert_int_equal(call_retry_after_ms(SLICE("99999999999")), 86400000);
    assert_int_equal(call_retry_after_ms(SLICE_NONE), 0);
    assert_int_equal(call_retry_after_ms(SLICE("-1")), 0);
    assert_int_equal(call_retry_after_ms(SLICE("Fri, 20 Nov 2026 10:00:00 GMT")), 0);
}

/* Without time passing, a failing edge repeats at most the floor and as many percent of its requests as the policy says;
 * where it says nothing, a fifth. */
static void test_budget_ratio(void **state)
{
    static const int percents[] = {0, 1, 20, 50, 100};
    for (size_t k = 0; k < sizeof percents / sizeof percents[0]; k++) {
        const struct call_policy_retry retry = {.budget_percent = percents[k]};
        struct call_budget b;
        call_budget_init(&b, 0);
        int repeated = 0, share = 10000 / 100 * (percents[k] == 0 ? 20 : percents[k]);
        for (int i = 0; i < 10000; i++) {
            call_budget_request(&b, &retry, 0);
            repeated += call_budget_repeat(&b, 0);
        }
        assert_int_equal(repeated, share + CALL_BUDGET_FLOOR < 10000 ? share + CALL_BUDGET_FLOOR : 10000);
    }
}

/* A new edge has its floor of tokens at once, and an idle emptied one earns one a second, up to the floor and no
 * further. */
static void test_budget_floor(void **state)
{
    struct call_budget b;
    call_budget_init(&b, 5 * MS);
    for (int i = 0; i < CALL_BUDGET_FLOOR; i++)
        assert_true(call_budget_repeat(&b, 5 * MS));
    assert_false(call_budget_repeat(&b, 5 * MS));
    assert_false(call_budget_repeat(&b, 5 * MS + 999 * MS));
    assert_true(call_budget_repeat(&b, 5 * MS + 1000 * MS));
    assert_false(call_budget_repeat(&b, 5 * MS + 1000 * MS));
    int64_t later_ns = INT64_C(3600) * 1000 * MS;
    for (int i = 0; i < CALL_BUDGET_FLOOR; i++)
        assert_true(call_budget_repeat(&b, later_ns));
    assert_false(call_budget_repeat(&b, later_ns));
}

/* However much traffic went well, no more than CALL_BUDGET_MAX repetitions were saved up. */
static void test_budget_ceiling(void **state)
{
    struct call_budget b;
    call_budget_init(&b, 0);
    for (int i = 0; i < 1000000; i++)
        call_budget_request(&b, &(struct call_policy_retry){0}, i * MS);
    int repeated = 0;
    while (call_budget_repeat(&b, 1000000 * MS))
        repeated++;
    assert_int_equal(repeated, CALL_BUDGET_MAX);
}

static struct call_policy policy(int64_t failures, int64_t open_ms)
{
    struct call_policy p = call_policy_default();
    p.breaker.failures = failures;
    p.breaker.open_ms = open_ms;
    return p;
}

/* Only failures in a row open the breaker; one good outcome sets the count back. */
static void test_breaker_in_a_row(void **state)
{
    struct call_policy p = policy(3, 1000);
    struct call_breaker b = {0};
    for (int i = 0; i < 100; i++) {
        call_breaker_note(&b, &p, false, i % 3 == 2 ? CALL_HEALTH_GOOD : CALL_HEALTH_BAD, i);
        assert_int_equal(b.state, CALL_BREAKER_CLOSED);
    }
    call_breaker_note(&b, &p, false, CALL_HEALTH_GOOD, 0);
    call_breaker_note(&b, &p, false, CALL_HEALTH_BAD, 0);
    call_breaker_note(&b, &p, false, CALL_HEALTH_NONE, 0);
    call_breaker_note(&b, &p, false, CALL_HEALTH_BAD, 0);
    assert_int_equal(b.state, CALL_BREAKER_CLOSED);
    call_breaker_note(&b, &p, false, CALL_HEALTH_BAD, 7 * MS);
    assert_int_equal(b.state, CALL_BREAKER_OPEN);
    assert_int_equal(b.open_until_ns, 1007 * MS);
}

static struct call_breaker opened(const struct call_policy *p)
{
    struct call_breaker b = {0};
    for (int i = 0; i < p->breaker.failures; i++)
        call_breaker_note(&b, p, false, CALL_HEALTH_BAD, 0);
    assert_int_equal(b.state, CALL_BREAKER_OPEN);
    return b;
}

/* Open: nobody gets in before the time is over, late outcomes change nothing; then one probe at a time, and a good
 * one closes it. */
static void test_breaker_probe_good(void **state)
{
    struct call_policy p = policy(5, 1000);
    struct call_breaker b = opened(&p);
    assert_int_equal(call_breaker_admit(&b, &p, 1000 * MS - 1), CALL_ADMIT_NO);
    call_breaker_note(&b, &p, false, CALL_HEALTH_GOOD, 500 * MS);
    call_breaker_note(&b, &p, false, CALL_HEALTH_BAD, 500 * MS);
    assert_int_equal(b.state, CALL_BREAKER_OPEN);
    assert_int_equal(b.open_until_ns, 1000 * MS);
    assert_true(call_breaker_lets(&b, &p, 1000 * MS));
    assert_int_equal(b.state, CALL_BREAKER_OPEN);
    assert_int_equal(call_breaker_admit(&b, &p, 1000 * MS), CALL_ADMIT_PROBE);
    assert_int_equal(b.state, CALL_BREAKER_HALF_OPEN);
    assert_int_equal(call_breaker_admit(&b, &p, 1001 * MS), CALL_ADMIT_NO);
    assert_false(call_breaker_lets(&b, &p, 1001 * MS));
    call_breaker_note(&b, &p, false, CALL_HEALTH_GOOD, 1001 * MS);
    call_breaker_note(&b, &p, false, CALL_HEALTH_BAD, 1001 * MS);
    assert_int_equal(b.state, CALL_BREAKER_HALF_OPEN);
    assert_int_equal(call_breaker_admit(&b, &p, 1002 * MS), CALL_ADMIT_NO);
    call_breaker_note(&b, &p, true, CALL_HEALTH_GOOD, 1003 * MS);
    assert_int_equal(b.state, CALL_BREAKER_CLOSED);
    assert_int_equal(call_breaker_admit(&b, &p, 1003 * MS), CALL_ADMIT_YES);
    /* and the count begins anew */
    for (int i = 0; i < 4; i++)
        call_breaker_note(&b, &p, false, CALL_HEALTH_BAD, 1004 * MS);
    assert_int_equal(b.state, CALL_BREAKER_CLOSED);
}

/* A failed probe opens it again for the whole time; a probe that said nothing only frees its place. */
static void test_breaker_probe_bad(void **state)
{
    struct call_policy p = policy(1, 1000);
    struct call_breaker b = opened(&p);
    assert_int_equal(call_breaker_admit(&b, &p, 1000 * MS), CALL_ADMIT_PROBE);
    call_breaker_note(&b, &p, true, CALL_HEALTH_NONE, 1100 * MS);
    assert_int_equal(b.state, CALL_BREAKER_HALF_OPEN);
    assert_int_equal(call_breaker_admit(&b, &p, 1200 * MS), CALL_ADMIT_PROBE);
    call_breaker_note(&b, &p, true, CALL_HEALTH_BAD, 1300 * MS);
    assert_int_equal(b.state, CALL_BREAKER_OPEN);
    assert_int_equal(call_breaker_admit(&b, &p, 2299 * MS), CALL_ADMIT_NO);
    assert_int_equal(call_breaker_admit(&b, &p, 2300 * MS), CALL_ADMIT_PROBE);
}

/* Turned off it admits everyone, and leaves no state behind. */
static void test_breaker_off(void **state)
{
    struct call_policy p = policy(1, 1000);
    struct call_breaker b = opened(&p);
    p.breaker.enabled = false;
    assert_int_equal(call_breaker_admit(&b, &p, 0), CALL_ADMIT_YES);
    for (int i = 0; i < 10; i++)
        call_breaker_note(&b, &p, false, CALL_HEALTH_BAD, 0);
    assert_int_equal(b.state, CALL_BREAKER_CLOSED);
    assert_int_equal(call_breaker_admit(&b, &p, 0), CALL_ADMIT_YES);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

/* A probe that stays silent (a long poll) keeps the others out for open_ms and no longer. */
static void test_breaker_probe_silent(void **state)
{
    struct call_policy p = policy(1, 1000);
    struct call_breaker b = opened(&p);
    assert_int_equal(call_breaker_admit(&b, &p, 1000 * MS), CALL_ADMIT_PROBE);
    assert_int_equal(call_breaker_admit(&b, &p, 1999 * MS), CALL_ADMIT_NO);
    assert_int_equal(call_breaker_admit(&b, &p, 2000 * MS), CALL_ADMIT_PROBE);
    assert_int_equal(call_breaker_admit(&b, &p, 2001 * MS), CALL_ADMIT_NO);
    call_breaker_note(&b, &p, true, CALL_HEALTH_GOOD, 2002 * MS);
    assert_int_equal(b.state, CALL_BREAKER_CLOSED);
    /* the silent one's end comes too late to matter */
    call_breaker_note(&b, &p, true, CALL_HEALTH_BAD, 2003 * MS);
    assert_int_equal(b.state, CALL_BREAKER_CLOSED);
}

/* Random walks of attempts over time keep the invariants: probes are admitted only half open and open_ms apart unless
 * one ended in between, others only while closed, and after any walk the breaker closes again as soon as outcomes are
 * good: it never gets stuck. */
static void test_breaker_walk(void **state)
{
    for (uint64_t walk = 0; walk < 2000; walk++) {
        uint64_t seed = walk;
        struct call_policy p = policy(1 + (int64_t)(walk % 5), 10 + (int64_t)(walk % 90));
        struct call_breaker b = {0};
        int64_t now_ns = 0;
        int plain = 0, probes = 0;
        int64_t probe_ns = INT64_MIN;   /* of the last one admitted, when none ended since */
        for (int step = 0; step < 300; step++) {
            now_ns += (int64_t)(next_random(&seed) % 20) * MS;
            enum call_health health = (enum call_health)(next_random(&seed) % 3);
            uint64_t choice = next_random(&seed) % 4;
            if (choice < 2) {
                bool lets = call_breaker_lets(&b, &p, now_ns);
                enum call_admission a = call_breaker_admit(&b, &p, now_ns);
                assert_int_equal(lets, a != CALL_ADMIT_NO);
                plain += a == CALL_ADMIT_YES;
                probes += a == CALL_ADMIT_PROBE;
                assert_true(a != CALL_ADMIT_YES || b.state == CALL_BREAKER_CLOSED);
                if (a == CALL_ADMIT_PROBE) {
                    assert_int_equal(b.state, CALL_BREAKER_HALF_OPEN);
                    assert_true(probe_ns == INT64_MIN || now_ns - probe_ns >= p.breaker.open_ms * MS);
                    probe_ns = now_ns;
                }
            } else if (choice == 2 && plain > 0) {
                plain--;
                call_breaker_note(&b, &p, false, health, now_ns);
            } else if (choice == 3 && probes > 0) {
                probes--;
                probe_ns = INT64_MIN;
                call_breaker_note(&b, &p, true, health, now_ns);
            }
        }
        now_ns += p.breaker.open_ms * MS;
        enum call_admission a = call_breaker_admit(&b, &p, now_ns);
        assert_int_not_equal(a, CALL_ADMIT_NO);
        call_breaker_note(&b, &p, a == CALL_ADMIT_PROBE, CALL_HEALTH_GOOD, now_ns);
        assert_int_equal(b.state, CALL_BREAKER_CLOSED);
    }
}

/* A timeout counts against the callee only when it had at least half of the edge's own time, an answer that it cannot
 * serve now likewise; what is local never counts. */
static void test_health(void **state)
{
    assert_int_equal(call_health_of(CALL_OUTCOME_ANSWER, 0, 2000), CALL_HEALTH_GOOD);
    assert_int_equal(call_health_of(CALL_OUTCOME_THROTTLED, 0, 2000), CALL_HEALTH_GOOD);
    assert_int_equal(call_health_of(CALL_OUTCOME_FAILED, 999, 2000), CALL_HEALTH_GOOD);
    assert_int_equal(call_health_of(CALL_OUTCOME_FAILED, 1000, 2000), CALL_HEALTH_BAD);
    assert_int_equal(call_health_of(CALL_OUTCOME_REFUSED, 0, 2000), CALL_HEALTH_BAD);
    assert_int_equal(call_health_of(CALL_OUTCOME_LOST, 0, 2000), CALL_HEALTH_BAD);
    assert_int_equal(call_health_of(CALL_OUTCOME_BROKEN, 0, 2000), CALL_HEALTH_BAD);
    assert_int_equal(call_health_of(CALL_OUTCOME_TIMEOUT, 999, 2000), CALL_HEALTH_NONE);
    assert_int_equal(call_health_of(CALL_OUTCOME_TIMEOUT, 1000, 2000), CALL_HEALTH_BAD);
    assert_int_equal(call_health_of(CALL_OUTCOME_LOCAL, 5000, 2000), CALL_HEALTH_NONE);
}

/* The table's defaults are those that the header promises. */
static void test_policy_default(void **state)
{
    struct call_policy p = call_policy_default();
    assert_int_equal(p.timeout_ms, 2000);
    assert_int_equal(p.retry.attempts, 2);
    assert_int_equal(p.retry.budget_percent, 0);
    assert_int_equal(p.retry.base_ms, 25);
    assert_int_equal(p.retry.max_ms, 1000);
    assert_true(p.breaker.enabled);
    assert_int_equal(p.breaker.failures, 5);
    assert_int_equal(p.breaker.open_ms, 1000);
    assert_int_equal(p.balance, CALL_BALANCE_LEAST_REQUEST);
    assert_int_equal(p.eject.failures, 5);
    assert_int_equal(p.eject.base_ms, 1000);
    assert_int_equal(p.eject.max_ms, 30000);
    assert_int_equal(p.eject.percent, 50);
    assert_null(p.hash_header);
    assert_null(p.check);
    assert_null(p.bulkhead);
    assert_null(p.hedge);
    assert_null(p.fault);
    assert_false(p.keeps_keys);
}

/* A resolved policy is read as written, and written as read. */
static void test_policy_resolved(void **state)
{
    static const char text[] =
        "{\"timeout\":\"300ms\",\"balance\":\"ring_hash\",\"hash_header\":\"x-session\","
        "\"retry\":{\"attempts\":3,\"budget\":\"35%\",\"base\":\"10ms\",\"max\":\"2s\"},"
        "\"breaker\":{\"enabled\":false,\"failures\":7,\"open\":\"2s\"},"
        "\"eject\":{\"failures\":3,\"base\":\"500ms\",\"max\":\"10s\",\"percent\":34},"
        "\"check\":{\"path\":\"/well\",\"every\":\"3s\",\"timeout\":\"400ms\",\"unhealthy\":4,\"healthy\":1},"
        "\"bulkhead\":{\"concurrency\":9,\"queue\":0,\"wait\":\"1s\",\"adaptive\":true},"
        "\"hedge\":{\"after\":\"p95\"},"
        "\"fault\":{\"percent\":10,\"delay\":\"200ms\",\"abort\":503,\"reset\":false,\"header\":\"x-fault: on\"},"
        "\"keeps_keys\":true}";
    struct arena a;
    struct ficus_error error = {0};
    struct call_policy p;
    arena_init(&a, 64 * 1024);
    assert_int_equal(conf_json_load(&a, SLICE(text), "orders.json", &call_policy_table, &p, &error), FICUS_ERR_OK);
    assert_int_equal(p.timeout_ms, 300);
    assert_int_equal(p.retry.attempts, 3);
    assert_false(p.breaker.enabled);
    assert_int_equal(p.breaker.failures, 7);
    assert_int_equal(p.breaker.open_ms, 2000);
    assert_true(p.keeps_keys);
    assert_int_equal(p.hedge->after.percentile, 95);
    /* a copy has all of it, and needs nothing of what it was made of */
    struct call_policy copy;
    assert_int_equal(call_policy_copy(&p, &copy), FICUS_ERR_OK);
    arena_done(&a);
    struct buf out;
    struct json_writer w;
    buf_init(&out, 4096);
    json_write_init(&w, &out);
    conf_encode(&call_policy_table, &copy, &w);
    call_policy_done(&copy);
    assert_string_equal(buf_str(&out), text);
    buf_done(&out);
}

/* Relations between words and values out of their syntax are refused. */
static void test_policy_refused(void **state)
{
    static const char *const texts[] = {
        "{\"retry\":{\"base\":\"2s\",\"max\":\"1s\"}}",   "{\"retry\":{\"budget\":\"0%\"}}",
        "{\"retry\":{\"budget\":\"101%\"}}",               "{\"eject\":{\"base\":\"31s\"}}",
        "{\"fault\":{\"abort\":503,\"reset\":true}}",       "{\"fault\":{\"header\":\"x-fault\"}}",
        "{\"fault\":{\"header\":\"x-fault: a\\nb\"}}",      "{\"hedge\":{}}",
        "{\"hedge\":{\"after\":\"p49\"}}",                 "{\"hedge\":{\"after\":\"0ms\"}}",
        "{\"check\":{\"path\":\"health\"}}",               "{\"check\":{\"path\":\"/a b\"}}",
        "{\"fault\":{\"percent\":10}}",                     "{\"hash_header\":\"x session\"}",
        "{\"balance\":\"random\"}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct arena a;
        struct ficus_error error = {0};
        struct call_policy p;
        arena_init(&a, 64 * 1024);
        if (conf_json_load(&a, slice_str(texts[i]), "orders.json", &call_policy_table, &p, &error) == FICUS_ERR_OK)
            fail_msg("%s was taken", texts[i]);
        arena_done(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_verdict_exhaustive),
        cmocka_unit_test(test_verdict_never_doubles),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_budget_ratio),
        cmocka_unit_test(test_budget_floor),
        cmocka_unit_test(test_budget_ceiling),
        cmocka_unit_test(test_breaker_in_a_row),
        cmocka_unit_test(test_breaker_probe_good),
        cmocka_unit_test(test_breaker_probe_bad),
        cmocka_unit_test(test_breaker_off),
        cmocka_unit_test(test_breaker_probe_silent),
        cmocka_unit_test(test_breaker_walk),
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_policy_default),
        cmocka_unit_test(test_policy_resolved),
        cmocka_unit_test(test_policy_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
