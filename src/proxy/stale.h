/* SPDX-License-Identifier: Apache-2.0
 *
 * Good answers that are kept in memory for the time when their service fails (RFC 9111 4.2.4, RFC 5861 4): never served
 * while it answers. What an answer is kept under is the caller's to say; one that varies by fields of the request
 * (RFC 9111 4.1) is only found by a request with the same ones. The newest answer of a key takes the place of the one
 * before; when there are too many, or too many bytes, the one that was longest neither kept nor found goes. Any thread: one
 * mutex, which only routes with such a fallback ever take.
 */
#ifndef FICUS_PROXY_STALE_H
#define FICUS_PROXY_STALE_H

#include "env.h"
#include "http_msg.h"

enum {
    STALE_ANSWER_SIZE_MAX = 64 * 1024, /* of one body */
    STALE_SIZE_MAX = 8 * 1024 * 1024,  /* of all, heads and keys counted */
    STALE_COUNT_MAX = 1024,
    STALE_FIELDS_MAX = 24, /* of one head */
};

struct stale;

struct stale_answer {
    const struct http_field *fields; /* with all that the answer had but Age */
    size_t field_count;
    struct slice body;
    int64_t age_s; /* now, as RFC 9111 4.2.3 counts it */
    void *entry;   /* private */
};

struct stale *stale_new(struct env *e); /* NULL: out of memory */
void stale_free(struct stale *s);       /* NULL is fine */

/* Whether an answer may be kept: a 200 with a small head to a request without no-store, and neither no-store, no-cache,
 * must-revalidate, proxy-revalidate nor s-maxage in it, which all forbid to serve it stale; with private only for a
 * user; without Set-Cookie, without Vary: *, no event stream, and without a body that is known to be too large. Pure.
 */
bool stale_may_keep(const struct http_msg *request, const struct http_msg *answer, bool user);
/* Keep a copy, for as long as is wanted and its own stale-if-error allows. What cannot be kept (out of memory, a body
 * over STALE_ANSWER_SIZE_MAX) is not, and nothing is left under the key. */
void stale_keep(struct stale *s, struct slice key, const struct http_msg *request, const struct http_msg *answer,
                struct slice body, int64_t age_ms_max);
/* True: *ret_answer is borrowed until stale_release. False: there is none, it is too old, another request
 * was answered by it, or this one says no-cache. */
bool stale_find(struct stale *s, struct slice key, const struct http_msg *request, struct stale_answer *ret_answer);
void stale_release(struct stale *s, struct stale_answer *answer);
void stale_drop(struct stale *s, struct slice key);

size_t stale_count(struct stale *s);
size_t stale_size(struct stale *s); /* bytes that are kept */

#endif
