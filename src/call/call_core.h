/* SPDX-License-Identifier: Apache-2.0
 *
 * The decisions of the call engine, as pure functions over time that is handed in: what an attempt came to, whether it
 * is repeated, the retry budget, back-off, the circuit breaker. No memory, no I/O, no clock. State that the loops of a
 * process share is changed by one thread at a time; what others read meanwhile is atomic, and what is asked of it beforehand
 * (call_budget_full, call_breaker_steady) may be asked by any. Beside it: call_balance
 * (which address), call_eject (which address not), call_limit (how many at a time), call_latency (how long is long).
 */
#ifndef FICUS_CALL_CORE_H
#define FICUS_CALL_CORE_H

#include "call_policy.h"
#include "http_stream.h"

#include <stdatomic.h>

/* ---- what an attempt came to ---- */

enum call_outcome {
    CALL_OUTCOME_ANSWER,        /* an answer for the user: every status but those of the next two */
    CALL_OUTCOME_THROTTLED,     /* 429: alive, but wants to be left alone */
    CALL_OUTCOME_FAILED,        /* 502, 503, 504 */
    CALL_OUTCOME_REFUSED,       /* no connection came about */
    CALL_OUTCOME_LOST,          /* the connection broke before an answer's head */
    CALL_OUTCOME_BROKEN,        /* what came was not HTTP, or over a limit */
    CALL_OUTCOME_TIMEOUT,       /* the call's deadline passed meanwhile */
    CALL_OUTCOME_LOCAL,         /* said nothing about the callee: cancelled, queue full, out of memory or descriptors */
    CALL_OUTCOME_COUNT
};

enum call_outcome call_outcome_of_status(int status);
/* err: what on_reset of the stream reported, before an answer's head. */
enum call_outcome call_outcome_of_reset(enum ficus_err err);

/* err: what on_failed of pool.h reported. */
enum call_outcome call_outcome_of_connect(enum ficus_err err);

/* ---- repeat or not ---- */

enum call_verdict {
    CALL_GIVE_UP,
    CALL_REPEAT,                /* costs an attempt and a token of the budget, after a back-off */
    CALL_REPEAT_FRESH,          /* once, at once, at no cost, on a new connection: the kept one had died meanwhile */
    CALL_REPEAT_UNPROCESSED,    /* the callee said that it did nothing about it, whatever the method: costs no attempt; after
                                   the first time a back-off and a token */
};

struct call_try {
    enum call_outcome outcome;
    struct http_progress progress;
    bool idempotent;            /* by method */
    bool key_kept;              /* the request carries Idempotency-Key and the callee keeps keys */
    bool body_again;            /* the body can be sent again */
    bool fresh_used;            /* CALL_REPEAT_FRESH was given to this call before */
    int64_t unprocessed;        /* how often CALL_REPEAT_UNPROCESSED was given to this call before */
    int64_t attempts;           /* begun so far, without those that cost none */
    int64_t attempts_max;
    int64_t left_ms;            /* until the deadline */
};

enum { CALL_UNPROCESSED_MAX = 8 };

/* CALL_REPEAT only says that the rules of call.h allow it: budget, breaker and the length of the pause are asked
 * after it. */
enum call_verdict call_verdict_of(const struct call_try *t);
/* May the callee have acted on this attempt? */
bool call_maybe_processed(enum call_outcome outcome, const struct http_progress *progress);

/* Full jitter: uniform in 0..min(max_ms, base_ms * 2^(failures - 1)). failures >= 1: how many failed so far. The
 * engine takes base and max of the edge's policy; sagas and resolvers have their own. random: from env_random. */
int64_t call_backoff_ms(int64_t base_ms, int64_t max_ms, uint64_t failures, uint64_t random);

/* Retry-After in seconds as ms; 0 when absent, a date (RFC 9110 10.2.3 allows it; nobody inside sends it) or
 * nonsense. */
int64_t call_retry_after_ms(struct slice value);

/* ---- retry budget of one edge ---- */

/* Repetitions and hedges are at most budget_percent of requests, plus a floor for tiny traffic: a bucket that each
 * request fills by so many hundredths of a token and each repetition empties by one. It begins with CALL_BUDGET_FLOOR
 * tokens, holds CALL_BUDGET_MAX, and below the floor time adds one token a second. Units: CALL_BUDGET_TOKEN to a
 * token. */
enum { CALL_BUDGET_TOKEN = 100, CALL_BUDGET_FLOOR = 10, CALL_BUDGET_MAX = 100, CALL_BUDGET_PERCENT = 20 };

struct call_budget {
    atomic_int_fast64_t units;
    int64_t refilled_ns;
};

void call_budget_init(struct call_budget *b, int64_t now_ns);
/* Would another request change nothing? When it was last refilled is no matter then: more than the floor is there. */
static inline bool call_budget_full(const struct call_budget *b)
{
    return b->units == CALL_BUDGET_MAX * CALL_BUDGET_TOKEN;
}
/* A call begins. */
void call_budget_request(struct call_budget *b, const struct call_policy_retry *p, int64_t now_ns);
bool call_budget_repeat(struct call_budget *b, int64_t now_ns);     /* take one token, if there is one */

/* ---- circuit breaker of one edge ----
 *
 *               failures in a row >= limit                 open_ms over, somebody asks
 *      CLOSED ------------------------------> OPEN <------------------------------------> HALF_OPEN
 *         ^                                     ^------------- probe failed ----------------'  |
 *         '------------------------------------------------ probe went well -------------------'
 *
 * CLOSED     everyone is admitted; failures are counted, a good outcome sets them to 0.
 * OPEN       nobody is admitted until open_until_ns; outcomes of attempts that began before are ignored.
 * HALF_OPEN  one attempt is admitted as the probe, and another when it ended without a word (cancelled) or has been
 *            silent for open_ms: it may be
 *            a long poll, which must not keep everybody out. Only outcomes of probes count.
 */
enum call_breaker_state { CALL_BREAKER_CLOSED, CALL_BREAKER_OPEN, CALL_BREAKER_HALF_OPEN, CALL_BREAKER_STATES };

struct call_breaker {           /* zero: closed */
    _Atomic(enum call_breaker_state) state;
    atomic_int_fast64_t failures;       /* CLOSED: in a row */
    atomic_int_fast64_t open_until_ns;  /* OPEN */
    int64_t probe_until_ns;     /* HALF_OPEN: the place is taken until then */
};

enum call_admission { CALL_ADMIT_NO, CALL_ADMIT_YES, CALL_ADMIT_PROBE };
/* What an attempt says about its callee. */
enum call_health { CALL_HEALTH_NONE, CALL_HEALTH_GOOD, CALL_HEALTH_BAD };

/* ran_ms: how long the attempt ran; timeout_ms: the edge's own. A timeout is held against the callee only when it had
 * at least half of the edge's time; otherwise a client with tiny deadlines could open the breaker for everybody. An
 * answer 502, 503 or 504 is held against it by the same measure: one that comes soon costs nobody anything, and mostly
 * tells of another service that this one path needs, while all other paths of the callee work. */
enum call_health call_health_of(enum call_outcome outcome, int64_t ran_ms, int64_t timeout_ms);

/* May an attempt begin now? After CALL_ADMIT_PROBE exactly one call_breaker_note with probe true must follow. */
enum call_admission call_breaker_admit(struct call_breaker *b, const struct call_policy *p, int64_t now_ns);
/* Can call_breaker_note change nothing now? */
bool call_breaker_steady(const struct call_breaker *b, const struct call_policy *p, bool probe,
                         enum call_health health);
/* Would it be admitted? Changes nothing. */
bool call_breaker_lets(const struct call_breaker *b, const struct call_policy *p, int64_t now_ns);
void call_breaker_note(struct call_breaker *b, const struct call_policy *p, bool probe, enum call_health health,
                       int64_t now_ns);
const char *call_breaker_state_name(enum call_breaker_state state);    /* "closed", "open", "half_open" */

#endif
