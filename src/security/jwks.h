/* SPDX-License-Identifier: Apache-2.0
 *
 * A set of public keys read from a JWKS document (RFC 7517, 5). Pure: who fetches and keeps the document is the
 * caller's matter. A set is immutable; a new document gives a new set.
 */
#ifndef FICUS_SECURITY_JWKS_H
#define FICUS_SECURITY_JWKS_H

#include "jws.h"

enum {
    JWKS_KEYS_MAX = 32,
    JWKS_TEXT_SIZE_MAX = 64 * 1024,
};

struct jwks;

/* Skipped, as RFC 7517 (section 5) asks, is every entry that this version cannot use: unknown kty, crv or alg, "use"
 * other than sig, "key_ops" without verify, malformed ones (a point off the curve, say). Skipped too are secrets: kty
 * oct, and any entry with a private part, since whoever read the document could sign with it. Refused is the whole
 * document when it is not a JWKS, has over JWKS_KEYS_MAX entries, the same kid for two usable keys, or nothing usable
 * at all, so that it never replaces a good one. Errors: PARSE, INVALID, TOO_LARGE, NOMEM, INTERNAL. Nothing of text
 * is kept. */
enum ficus_err jwks_parse(struct slice text, struct jwks **ret_set, struct ficus_error *reterr);
void jwks_free(struct jwks *set);   /* NULL is fine; nobody may use its keys any more */
size_t jwks_count(const struct jwks *set);
size_t jwks_skipped(const struct jwks *set);    /* entries left out: worth a log line when it is not 0 */

/* The key with this kid; with kid SLICE_NONE the only key, when there is exactly one. NULL otherwise. The set owns
 * the key. */
const struct jws_key *jwks_find(const struct jwks *set, struct slice kid);

#endif
