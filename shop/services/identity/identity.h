/* SPDX-License-Identifier: Apache-2.0
 *
 * The identity service: accounts and sign-in. Tokens are JWTs signed with ES256; the key stands in the service's private folder.
 */
#ifndef SHOP_IDENTITY_H
#define SHOP_IDENTITY_H

#include <ficus/ficus.h>

extern const struct ficus_service identity_service;

/* password.c: scrypt (RFC 7914) with N = 2^14, r = 8, p = 1. Both block for about 50 ms. */
const char *password_hash(struct ficus_req *req, const char *password);     /* NULL: out of memory */
bool password_check(const char *password, const char *stored);

/* token.c */
struct signing_key;
/* Load the key from the file, or make one there (0600, synced before it is used). NULL on failure, *ret_why says why. */
struct signing_key *signing_key_load(const char *path, const char **ret_why);
void signing_key_free(struct signing_key *key);                 /* NULL is fine */
const char *signing_key_jwks(const struct signing_key *key);    /* the JWKS document */
/* A compact JWS of these claims (JSON text). NULL on failure. */
const char *token_sign(struct ficus_req *req, const struct signing_key *key, const char *claims);

#endif
