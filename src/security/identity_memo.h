/* SPDX-License-Identifier: Apache-2.0
 *
 * Identities that were signed a moment ago, so that the next request on behalf of the same user to the same service is
 * not signed again: a signature costs as much as all the parsing of a request. What is handed out has always most of
 * its life before it. One table with one place for each hash: what is pushed out is only signed anew.
 *
 * Not thread-safe: one memo belongs to one loop.
 */
#ifndef FICUS_SECURITY_IDENTITY_MEMO_H
#define FICUS_SECURITY_IDENTITY_MEMO_H

#include "identity.h"

enum {
    IDENTITY_MEMO_MAX = 256,
    IDENTITY_MEMO_NAMES_SIZE_MAX = 1024, /* issuer, audience, subject, roles; with more it is signed each time */
    IDENTITY_MEMO_REUSE_MS = 20 * 1000,  /* at least IDENTITY_LIFE_S_MAX less this remain */
};

struct identity_memo {
    /* private */
    uint64_t seed[2];
    struct identity_memo_entry *entries[IDENTITY_MEMO_MAX];
};

/* seed: from env_random, so that nobody can choose users that push others out. */
void identity_memo_init(struct identity_memo *m, const uint64_t seed[2]);
void identity_memo_done(struct identity_memo *m); /* wipes */

/* As identity_make, or the token of the last IDENTITY_MEMO_REUSE_MS for the same claims; when the clock was set back it
 * is signed anew. *ret_token is borrowed until the next call with this memo, or lives in the arena. */
enum ficus_err identity_memo_make(struct identity_memo *m, const struct system_key *key, struct arena *a,
                                  const struct identity_claims *claims, int64_t wall_ms, struct slice *ret_token,
                                  struct ficus_error *reterr);

#endif
