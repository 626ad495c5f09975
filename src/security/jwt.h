/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON Web Tokens of users (RFC 7519 with the advice of RFC 8725): signature by the issuer's JWKS, then the claims by
 * fixed rules. The time is handed in. *reterr says which rule failed and is for logs; a client gets JWT_REFUSED_TEXT
 * whatever it was.
 */
#ifndef FICUS_SECURITY_JWT_H
#define FICUS_SECURITY_JWT_H

#include "jwks.h"

#define JWT_REFUSED_TEXT "the access token was not accepted"

enum {
    JWT_ROLES_MAX = 16,
    JWT_STRING_SIZE_MAX = 256,      /* iss, sub, each aud and role */
    JWT_SKEW_MS_DEFAULT = 30 * 1000,
};

struct jwt_rules {
    struct slice issuer;        /* required; compared byte by byte */
    struct slice audience;      /* SLICE_NONE: not checked; else "aud" must be or contain it */
    int64_t skew_ms;            /* 0..300000; 0 means JWT_SKEW_MS_DEFAULT */
};

/* All strings live in the arena that was handed in; none holds a control character. */
struct jwt_claims {
    struct slice issuer;
    struct slice subject;
    const struct slice *roles;  /* claim "roles"; role_count of them, at most JWT_ROLES_MAX */
    size_t role_count;
    int64_t expires_ms;         /* wall clock, without skew */
};

/* The claims of a payload that is verified already. exp, iss, sub are required; nbf, iat, aud, roles are checked when
 * present. Not valid: now >= exp + skew, now < nbf - skew, iat > now + skew, iss or aud that differ, more than
 * JWT_ROLES_MAX roles, over-long strings. Errors: UNAUTHENTICATED, NOMEM. */
enum ficus_err jwt_check_claims(struct arena *a, struct slice payload, const struct jwt_rules *rules, int64_t wall_ms,
                                struct jwt_claims *ret_claims, struct ficus_error *reterr);

/* The whole way: take the token apart, find its key, verify, check the claims. typ, when present, must be JWT or
 * at+jwt. An unknown key is NOT_FOUND (the caller may fetch the JWKS once and try again; then it is 401 like the
 * rest). */
enum ficus_err jwt_verify(struct arena *a, const struct jwks *keys, struct slice token, const struct jwt_rules *rules,
                          int64_t wall_ms, struct jwt_claims *ret_claims, struct ficus_error *reterr);

bool jwt_has_role(const struct jwt_claims *claims, struct slice role);

#endif
