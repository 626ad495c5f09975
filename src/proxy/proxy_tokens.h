/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens whose signature was verified a while ago, so that the same token need not be verified with every request: an
 * elliptic curve is most of what a request costs. A token is only remembered with the set of keys that verified it, and
 * only until it expires; both are asked at each use. Loop thread only.
 */
#ifndef FICUS_PROXY_TOKENS_H
#define FICUS_PROXY_TOKENS_H

#include "env.h"
#include "jwt.h"

enum {
    PROXY_TOKENS_MAX = 2048,          /* at most so many; a new one may take the place of another */
    PROXY_TOKEN_SIZE_MAX_KEPT = 1024, /* longer ones are verified each time */
};

struct proxy_tokens;

struct proxy_tokens *proxy_tokens_new(struct env *e); /* NULL: out of memory */
void proxy_tokens_free(struct proxy_tokens *t);       /* NULL is fine */

/* keys_version: which set of keys is in use; with another one than before all is forgotten. True: the token is known
 * and still valid at wall_ms; *ret_claims (subject, roles, expires_ms) lives in a. */
bool proxy_tokens_find(struct proxy_tokens *t, uint64_t keys_version, struct slice token, int64_t wall_ms,
                       struct arena *a, struct jwt_claims *ret_claims);
/* Remember what jwt_verify said at wall_ms. Without memory nothing is. */
void proxy_tokens_note(struct proxy_tokens *t, uint64_t keys_version, struct slice token, int64_t wall_ms,
                       const struct jwt_claims *claims);

#endif
