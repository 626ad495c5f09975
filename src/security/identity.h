/* SPDX-License-Identifier: Apache-2.0
 *
 * Who calls whom inside the system: the header "Ficus-Identity", a compact JWS (HS256) under the system's key with
 * the claims iss (calling process), aud (called service), sub (user, optional), roles, iat, exp. It is valid for at
 * most a minute. Whoever holds the key is inside; the key proves membership and, with honest members, the name. Also
 * what else hangs on that key: keyed hashes. Pure: key and time are handed in.
 */
#ifndef FICUS_SECURITY_IDENTITY_H
#define FICUS_SECURITY_IDENTITY_H

#include "jws.h"

#define IDENTITY_HEADER "ficus-identity"

enum {
    SYSTEM_KEY_SIZE = 32,
    KEYED_HASH_SIZE = 32,
    IDENTITY_LIFE_S_MAX = 60,
    IDENTITY_SKEW_S = 5,
    IDENTITY_ROLES_MAX = 16,
    IDENTITY_NAME_SIZE_MAX = 128,   /* iss, aud, each role */
    IDENTITY_SUBJECT_SIZE_MAX = 256,
    IDENTITY_TOKEN_SIZE_MAX = 4096,
};

/* The system's key, prepared. Immutable: any number of threads may use it at once. */
struct system_key;

/* From SYSTEM_KEY_SIZE raw bytes, or twice as many hex digits (one newline may follow). The caller wipes its own copy
 * (mem_wipe). An all-zero key is refused: it is a mistake. Errors: INVALID, NOMEM, INTERNAL. */
enum ficus_err system_key_from_bytes(struct slice bytes, struct system_key **ret_key, struct ficus_error *reterr);
enum ficus_err system_key_from_hex(struct slice hex, struct system_key **ret_key, struct ficus_error *reterr);
void system_key_free(struct system_key *key);       /* wipes; NULL is fine */

struct identity_claims {
    struct slice issuer;            /* iss: calling process or service, 1..IDENTITY_NAME_SIZE_MAX bytes */
    struct slice audience;          /* aud: called service */
    struct slice subject;           /* sub: user id, or SLICE_NONE when no user stands behind the call */
    const struct slice *roles;      /* of the user */
    size_t role_count;              /* at most IDENTITY_ROLES_MAX */
    int64_t issued_s, expires_s;    /* set by identity_check, ignored by identity_make */
};

/* A token valid from wall_ms for IDENTITY_LIFE_S_MAX seconds, in the arena. Errors: INVALID (empty, over-long,
 * control characters), NOMEM, INTERNAL. */
enum ficus_err identity_make(const struct system_key *key, struct arena *a, const struct identity_claims *claims,
                             int64_t wall_ms, struct slice *ret_token, struct ficus_error *reterr);

/* Accepts a token for expected_aud whose life is at most IDENTITY_LIFE_S_MAX and holds wall_ms, give or take
 * IDENTITY_SKEW_S. Strings of *ret_claims live in the arena. Errors: UNAUTHENTICATED with the reason (for logs),
 * NOMEM, INTERNAL. */
enum ficus_err identity_check(const struct system_key *key, struct slice token, struct slice expected_aud,
                              int64_t wall_ms, struct arena *a, struct identity_claims *ret_claims,
                              struct ficus_error *reterr);

bool identity_has_role(const struct identity_claims *claims, struct slice role);

/* HMAC-SHA256 under the system's key over label and parts, each framed by its size, so that neither moving bytes from
 * one part to the next nor another label gives the same hash, and no hash is ever the signature of an identity. For
 * remembering what was said without keeping it. label: a constant of the using module, e.g. "idempotency". Errors:
 * NOMEM, INTERNAL. */
enum ficus_err keyed_hash(const struct system_key *key, const char *label, const struct slice *parts, size_t part_count,
                          uint8_t ret_hash[KEYED_HASH_SIZE]);

#endif
