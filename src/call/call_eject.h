/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether one address of several is left alone: for a while because its calls failed (outlier ejection), or until its
 * health checks are good again. Pure: no memory, no I/O, no clock.
 *
 *   failures   each bad outcome counts, a good one sets the count to 0; `failures` in a row eject it for base, twice
 *              that when it comes again within max of the last time, and so on up to max. It is not ejected when more
 *              than percent of the addresses would be out then.
 *   refused    nobody listens there: base, at once, whatever the others do. Sending calls there would spare nobody.
 *   checks     `unhealthy` bad results in a row take it out, `healthy` good ones bring it back.
 *
 * Out is an opinion: when all addresses are out, all are used (call_balance.h).
 */
#ifndef FICUS_CALL_EJECT_H
#define FICUS_CALL_EJECT_H

#include "call_core.h"

struct call_eject {             /* zero: in. Changed by one thread at a time; others may read the atomics */
    atomic_int_fast64_t until_ns;       /* ejected until then */
    atomic_int_fast64_t failures;       /* in a row */
    int64_t times;              /* ejections for failures, each soon after the one before */
    int64_t checks;             /* results in a row that speak against `unhealthy` */
    atomic_bool unhealthy;      /* by its checks */
};

/* What one attempt's end says about its address. */
enum call_sign { CALL_SIGN_NONE, CALL_SIGN_GOOD, CALL_SIGN_BAD, CALL_SIGN_REFUSED };

/* Unlike call_health_of, an answer 502, 503 or 504 counts however soon it comes: the edge's other addresses may do
 * better, and the percentage bounds what is lost when they do not. A deadline counts as call_health_of has it. */
enum call_sign call_sign_of(enum call_outcome outcome, int64_t ran_ms, int64_t timeout_ms);

bool call_eject_out(const struct call_eject *e, int64_t now_ns);
/* Can call_eject_note change nothing now? */
bool call_eject_steady(const struct call_eject *e, enum call_sign sign);
/* out: how many of the count addresses are out now, this one included if it is. True: it was ejected by this. */
bool call_eject_note(struct call_eject *e, const struct call_policy_eject *p, enum call_sign sign, size_t out,
                     size_t count, int64_t now_ns);
/* One result of a health check. True: `unhealthy` changed. */
bool call_eject_check(struct call_eject *e, const struct call_policy_check *p, bool good);
/* There are no health checks any more, which could bring it back. */
void call_eject_unchecked(struct call_eject *e);

#endif
