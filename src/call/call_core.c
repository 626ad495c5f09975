/* SPDX-License-Identifier: Apache-2.0
 *
 * The pure decisions of the call engine; see call_core.h.
 */
#include "call_core.h"

#include "assert.h"

enum call_outcome call_outcome_of_status(int status)
{
    switch (status) {
    case 429:
        return CALL_OUTCOME_THROTTLED;
    case 502:
    case 503:
    case 504:
        return CALL_OUTCOME_FAILED;
    default:
        return CALL_OUTCOME_ANSWER;
    }
}

enum call_outcome call_outcome_of_reset(enum ficus_err err)
{
    switch (err) {
    case FICUS_ERR_REFUSED:
        return CALL_OUTCOME_REFUSED;
    case FICUS_ERR_TIMEOUT:
        return CALL_OUTCOME_TIMEOUT;
    case FICUS_ERR_PROTOCOL:
    case FICUS_ERR_PARSE:
    case FICUS_ERR_TOO_LARGE:
        return CALL_OUTCOME_BROKEN;
    case FICUS_ERR_NOMEM:
    case FICUS_ERR_INVALID:
    case FICUS_ERR_CANCELLED:
    case FICUS_ERR_UNSUPPORTED: /* it would be the same again */
        return CALL_OUTCOME_LOCAL;
    default:
        return CALL_OUTCOME_LOST;
    }
}

enum call_outcome call_outcome_of_connect(enum ficus_err err)
{
    bool local = err == FICUS_ERR_NOMEM || err == FICUS_ERR_UNAVAILABLE || err == FICUS_ERR_BUSY;
    return local ? CALL_OUTCOME_LOCAL : CALL_OUTCOME_REFUSED;
}

bool call_maybe_processed(enum call_outcome outcome, const struct http_progress *progress)
{
    return outcome != CALL_OUTCOME_REFUSED && progress->request_sent;
}

enum call_verdict call_verdict_of(const struct call_try *t)
{
    bool safe_again = t->idempotent || t->key_kept;
    if (!t->body_again || t->left_ms <= 0)
        return CALL_GIVE_UP;
    switch (t->outcome) {
    case CALL_OUTCOME_LOST:
        if (t->progress.response_begun)
            break;
        /* RFC 9113 8.7: what a server refuses, or is too late for, may always be sent again. */
        if (t->progress.unprocessed)
            return t->unprocessed < CALL_UNPROCESSED_MAX ? CALL_REPEAT_UNPROCESSED : CALL_GIVE_UP;
        /* RFC 9112 9.3.1: the server may close a kept connection just as the request goes out. */
        if (t->progress.conn_reused && !t->fresh_used && (safe_again || !t->progress.request_sent))
            return CALL_REPEAT_FRESH;
        break;
    case CALL_OUTCOME_THROTTLED:
    case CALL_OUTCOME_FAILED:
    case CALL_OUTCOME_REFUSED:
        break;
    default:
        return CALL_GIVE_UP;
    }
    if (t->attempts >= t->attempts_max)
        return CALL_GIVE_UP;
    return safe_again || !call_maybe_processed(t->outcome, &t->progress) ? CALL_REPEAT : CALL_GIVE_UP;
}

int64_t call_backoff_ms(int64_t base_ms, int64_t max_ms, uint64_t failures, uint64_t random)
{
    FICUS_ASSERT(base_ms > 0 && max_ms >= base_ms && failures >= 1);
    int64_t cap_ms = base_ms;
    for (uint64_t i = 1; i < failures && cap_ms < max_ms; i++)
        cap_ms = cap_ms > max_ms / 2 ? max_ms : cap_ms * 2;
    /* The bias of the remainder is below 2^-40 for any pause that makes sense. */
    return (int64_t)(random % ((uint64_t)cap_ms + 1));
}

int64_t call_retry_after_ms(struct slice value)
{
    uint64_t seconds;
    if (value.p == NULL || !slice_to_u64(value, &seconds))
        return 0;
    return seconds > 86400 ? 86400 * 1000 : (int64_t)seconds * 1000;
}

/* ---- budget ---- */

void call_budget_init(struct call_budget *b, int64_t now_ns)
{
    b->units = CALL_BUDGET_FLOOR * CALL_BUDGET_TOKEN;
    b->refilled_ns = now_ns;
}

static void budget_refill(struct call_budget *b, int64_t now_ns)
{
    const int64_t unit_ns = 1000000000 / CALL_BUDGET_TOKEN, floor_units = CALL_BUDGET_FLOOR * CALL_BUDGET_TOKEN;
    int64_t units = (now_ns - b->refilled_ns) / unit_ns;
    if (units <= 0)
        return;
    b->refilled_ns += units * unit_ns;
    if (b->units < floor_units)
        b->units = units >= floor_units - b->units ? floor_units : b->units + units;
}

void call_budget_request(struct call_budget *b, const struct call_policy_retry *p, int64_t now_ns)
{
    const int64_t max_units = CALL_BUDGET_MAX * CALL_BUDGET_TOKEN;
    budget_refill(b, now_ns);
    int64_t units = b->units + (p->budget_percent > 0 ? p->budget_percent : CALL_BUDGET_PERCENT);
    b->units = units < max_units ? units : max_units;
}

bool call_budget_repeat(struct call_budget *b, int64_t now_ns)
{
    budget_refill(b, now_ns);
    if (b->units < CALL_BUDGET_TOKEN)
        return false;
    b->units -= CALL_BUDGET_TOKEN;
    return true;
}

/* ---- breaker ---- */

enum breaker_event {
    BREAKER_GOOD,           /* of an attempt that is no probe */
    BREAKER_BAD,
    BREAKER_BAD_LIMIT,      /* the failure that reaches the limit */
    BREAKER_RESTED,         /* open_ms are over */
    BREAKER_PROBE_GOOD,
    BREAKER_PROBE_BAD,
    BREAKER_PROBE_NONE,
    BREAKER_EVENTS
};

#define C CALL_BREAKER_CLOSED
#define O CALL_BREAKER_OPEN
#define H CALL_BREAKER_HALF_OPEN
/* A probe's outcome in another state than HALF_OPEN: the breaker was configured anew meanwhile. It changes nothing. */
static const unsigned char breaker_next[CALL_BREAKER_STATES][BREAKER_EVENTS] = {
    /*     GOOD BAD LIMIT RESTED P_GOOD P_BAD P_NONE */
    [C] = {C,   C,  O,    C,     C,     C,    C},
    [O] = {O,   O,  O,    H,     O,     O,    O},
    [H] = {H,   H,  H,    H,     C,     O,    H},
};
#undef C
#undef O
#undef H

static void breaker_move(struct call_breaker *b, const struct call_policy *p, enum breaker_event event, int64_t now_ns)
{
    enum call_breaker_state next = (enum call_breaker_state)breaker_next[b->state][event];
    if (next == b->state)
        return;
    b->state = next;
    b->failures = 0;
    b->probe_until_ns = INT64_MIN;
    b->open_until_ns = next == CALL_BREAKER_OPEN ? now_ns + p->breaker.open_ms * 1000000 : 0;
}

enum call_health call_health_of(enum call_outcome outcome, int64_t ran_ms, int64_t timeout_ms)
{
    switch (outcome) {
    case CALL_OUTCOME_ANSWER:
    case CALL_OUTCOME_THROTTLED:
        return CALL_HEALTH_GOOD;
    case CALL_OUTCOME_FAILED:
        return ran_ms >= timeout_ms / 2 ? CALL_HEALTH_BAD : CALL_HEALTH_GOOD;
    case CALL_OUTCOME_REFUSED:
    case CALL_OUTCOME_LOST:
    case CALL_OUTCOME_BROKEN:
        return CALL_HEALTH_BAD;
    case CALL_OUTCOME_TIMEOUT:
        return ran_ms >= timeout_ms / 2 ? CALL_HEALTH_BAD : CALL_HEALTH_NONE;
    default:
        return CALL_HEALTH_NONE;
    }
}

bool call_breaker_lets(const struct call_breaker *b, const struct call_policy *p, int64_t now_ns)
{
    struct call_breaker copy = {b->state, b->failures, b->open_until_ns, b->probe_until_ns};
    return call_breaker_admit(&copy, p, now_ns) != CALL_ADMIT_NO;
}

enum call_admission call_breaker_admit(struct call_breaker *b, const struct call_policy *p, int64_t now_ns)
{
    if (!p->breaker.enabled)
        return CALL_ADMIT_YES;
    if (b->state == CALL_BREAKER_OPEN && now_ns >= b->open_until_ns)
        breaker_move(b, p, BREAKER_RESTED, now_ns);
    if (b->state == CALL_BREAKER_CLOSED)
        return CALL_ADMIT_YES;
    if (b->state == CALL_BREAKER_OPEN || now_ns < b->probe_until_ns)
        return CALL_ADMIT_NO;
    b->probe_until_ns = now_ns + p->breaker.open_ms * 1000000;
    return CALL_ADMIT_PROBE;
}

bool call_breaker_steady(const struct call_breaker *b, const struct call_policy *p, bool probe, enum call_health health)
{
    bool closed = b->state == CALL_BREAKER_CLOSED;
    if (!p->breaker.enabled)
        return closed && b->failures == 0;
    return !probe && (health == CALL_HEALTH_NONE || !closed || (health == CALL_HEALTH_GOOD && b->failures == 0));
}

void call_breaker_note(struct call_breaker *b, const struct call_policy *p, bool probe, enum call_health health,
                       int64_t now_ns)
{
    if (!p->breaker.enabled) {
        b->state = CALL_BREAKER_CLOSED;
        b->failures = 0;
        return;
    }
    if (probe) {
        b->probe_until_ns = INT64_MIN;
        enum breaker_event event = health == CALL_HEALTH_GOOD  ? BREAKER_PROBE_GOOD
                                   : health == CALL_HEALTH_BAD ? BREAKER_PROBE_BAD
                                                               : BREAKER_PROBE_NONE;
        breaker_move(b, p, event, now_ns);
        return;
    }
    if (health == CALL_HEALTH_NONE || b->state != CALL_BREAKER_CLOSED)
        return;
    if (health == CALL_HEALTH_GOOD) {
        b->failures = 0;
        breaker_move(b, p, BREAKER_GOOD, now_ns);
        return;
    }
    b->failures++;
    breaker_move(b, p, b->failures >= p->breaker.failures ? BREAKER_BAD_LIMIT : BREAKER_BAD, now_ns);
}

const char *call_breaker_state_name(enum call_breaker_state state)
{
    static const char *const names[CALL_BREAKER_STATES] = {"closed", "open", "half_open"};
    FICUS_ASSERT(state < CALL_BREAKER_STATES);
    return names[state];
}
