/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of an edge's addresses gets a call. Pure: no memory, no I/O, no clock.
 *
 *   least_request  two are drawn; the one with the smaller latency times calls under way gets it (power of two
 *                  choices on a peak EWMA: a slower answer counts at once, a faster one by and by, and what was not
 *                  heard for long is forgotten, so that an address that was slow is tried again).
 *   round_robin    one after the other.
 *   ring_hash      the address that scores highest for the request's key (rendezvous hashing): when one leaves, only
 *                  its keys move, and when one comes, only those that go to it, without a ring to build and to keep.
 *                  It costs a multiplication or two for each address.
 *
 * All prefer addresses that are neither out (call_eject.h) nor to be avoided, then those that are only to be avoided,
 * then those that are only out.
 */
#ifndef FICUS_CALL_BALANCE_H
#define FICUS_CALL_BALANCE_H

#include "call_eject.h"

enum { CALL_LOAD_MEMORY_MS = 10000 };   /* in this time a latency loses half of its weight, without news */

struct call_load {              /* zero: nothing known */
    int64_t outstanding;        /* calls under way */
    double latency_ns;          /* peak EWMA; 0: not known */
    int64_t stamp_ns;           /* when it was that */
};

/* One address. */
struct call_target {
    uint64_t hash;              /* of its text: what ring_hash goes by, alike in all processes */
    struct call_load load;
    struct call_eject *eject;   /* shared with the other loops of the process */
};

/* An answer took so long. failed: it may have been quick because it failed, which is no reason to send more. */
void call_load_note(struct call_load *l, int64_t latency_ns, bool failed, int64_t now_ns);
/* What one more call there costs: the less, the better. */
double call_load_cost(const struct call_load *l, int64_t now_ns);

/* FNV-1a and a finalizer: the same value in each process and version, because the keys' places hang on it. */
uint64_t call_hash(struct slice text);
/* The next of a sequence that *state, drawn from env_random once, begins (splitmix64): choices need no secrecy, and a
 * system call for each would cost more than the choice is worth. */
uint64_t call_random(uint64_t *state);

struct call_choice {
    int balance;                /* enum call_balance */
    bool keyed;                 /* key is valid; ring_hash without a key chooses like least_request */
    uint64_t key;               /* call_hash of the request's key */
    const struct call_target *avoid;    /* NULL: none */
};

/* count >= 1. Returns an index. *cursor: where round_robin goes on. */
size_t call_choose(struct call_target *const *targets, size_t count, const struct call_choice *c, int64_t now_ns,
                   size_t *cursor, uint64_t *random);
/* Is there one other than avoid that is not out? Then no back-off is needed. */
bool call_another(struct call_target *const *targets, size_t count, const struct call_target *avoid, int64_t now_ns);
size_t call_out_count(struct call_target *const *targets, size_t count, int64_t now_ns);

#endif
