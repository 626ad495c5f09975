/* SPDX-License-Identifier: Apache-2.0
 *
 * Compact JWS (RFC 7515), signed and verified with OpenSSL. The key fixes the algorithm: what the header of a token
 * says in "alg" must be the name of the key's own algorithm and selects nothing; "none" does not exist here. Pure: no
 * clock, no I/O.
 *
 * Every refusal of a token is FICUS_ERR_UNAUTHENTICATED with the reason in *reterr, which is for logs and not for
 * clients. NOMEM and INTERNAL mean that the token could not be judged.
 */
#ifndef FICUS_SECURITY_JWS_H
#define FICUS_SECURITY_JWS_H

#include "json.h"

enum {
    JWS_TOKEN_SIZE_MAX = 8192,
    JWS_HEADER_SIZE_MAX = 1024,     /* decoded */
    JWS_KID_SIZE_MAX = 128,
    JWS_SECRET_SIZE_MIN = 32,       /* RFC 7518, 3.2: at least as long as the hash */
    JWS_SECRET_SIZE_MAX = 256,
};

/* X(NAME, "alg" of RFC 7518 3.1). A new one needs a row here and one in the table of jws.c. */
#define JWS_ALG_LIST(X)                                                                            \
    X(HS256, "HS256")                                                                              \
    X(ES256, "ES256")

enum jws_alg {
#define X(name, text) JWS_##name,
    JWS_ALG_LIST(X)
#undef X
    JWS_ALG_COUNT
};

/* A key with its one algorithm. Immutable after creation: any number of threads may use it at once. */
struct jws_key;

/* HS256. secret is copied, JWS_SECRET_SIZE_MIN..MAX bytes. Errors: INVALID, NOMEM, INTERNAL. */
enum ficus_err jws_key_hmac(struct slice secret, struct jws_key **ret_key, struct ficus_error *reterr);

/* From a parsed JWK (RFC 7517): kty EC with crv P-256 gives ES256, with "d" it can also sign; kty oct gives HS256. A
 * point that is not on the curve, a coordinate of the wrong size, an "alg" that does not fit or "use" other than
 * "sig" is INVALID; a kty, crv or alg that is not known is UNSUPPORTED. */
enum ficus_err jws_key_from_jwk(const struct json *jwk, struct jws_key **ret_key, struct ficus_error *reterr);

void jws_key_free(struct jws_key *key);     /* wipes what is secret; NULL is fine */
enum jws_alg jws_key_alg(const struct jws_key *key);
const char *jws_alg_name(enum jws_alg alg);

/* Append the compact form to *out. kid and typ go into the header unless SLICE_NONE. Errors: INVALID (the key cannot
 * sign), TOO_LARGE (the token would be over JWS_TOKEN_SIZE_MAX), NOMEM, INTERNAL. */
enum ficus_err jws_sign(const struct jws_key *key, struct slice kid, struct slice typ, struct slice payload,
                        struct buf *out, struct ficus_error *reterr);

/* A token taken apart and not verified yet: only good for choosing a key. The payload comes from jws_verify. */
struct jws {
    struct slice alg;       /* as the header says; proves nothing */
    struct slice kid;       /* SLICE_NONE when absent */
    struct slice typ;       /* SLICE_NONE when absent */
    /* private below */
    struct slice signing_input, payload_text, signature;
};

/* Check size, form, strict base64url (RFC 4648, 5: no padding, no leftover bits) and the header: a JSON object with a
 * string "alg"; "crit" is refused because no extension is understood (RFC 7515, 4.1.11); "jwk", "jku", "x5c", "x5u"
 * are never used. *ret_jws borrows from token and from the arena. */
enum ficus_err jws_parse(struct arena *a, struct slice token, struct jws *ret_jws, struct ficus_error *reterr);

/* Verify and only then decode the payload into the arena. */
enum ficus_err jws_verify(struct arena *a, const struct jws *jws, const struct jws_key *key, struct slice *ret_payload,
                          struct ficus_error *reterr);

#endif
