/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading the claims of a verified payload, for users' tokens and internal identities alike. Every refusal is
 * FICUS_ERR_UNAUTHENTICATED and names the claim. Inside src/security only.
 */
#ifndef FICUS_SECURITY_CLAIMS_H
#define FICUS_SECURITY_CLAIMS_H

#include "json.h"

/* 1..size_max bytes of UTF-8 without control characters: fit for logs, headers and keys. */
bool claim_text_valid(struct slice text, size_t size_max);

/* The payload as a JSON object; strings of the claims live in the arena. */
enum ficus_err claims_parse(struct arena *a, struct slice payload, const struct json **ret_claims,
                            struct ficus_error *reterr);

/* SLICE_NONE when absent and not required. */
enum ficus_err claim_string(const struct json *claims, const char *name, size_t size_max, bool required,
                            struct slice *ret_text,
                            struct ficus_error *reterr);

/* NumericDate (RFC 7519, 2): seconds, a fraction is dropped. 0 when absent and not required. */
enum ficus_err claim_time_s(const struct json *claims, const char *name, bool required, int64_t *ret_time_s,
                            struct ficus_error *reterr);

/* "roles": an array of strings, or absent. */
enum ficus_err claim_roles(struct arena *a, const struct json *claims, size_t count_max, size_t size_max,
                           const struct slice **ret_roles,
                           size_t *ret_count, struct ficus_error *reterr);

#endif
