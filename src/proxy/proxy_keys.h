/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys of the issuer of tokens: fetched as a JWKS through the call engine, kept in a file, used from there when the
 * issuer is away. Loop thread only.
 *
 * Fetched at start; then when a token names a key that is not known (at most every PROXY_KEYS_UNKNOWN_MS); then when
 * they are used and older than PROXY_KEYS_AGE_MS. A timer runs only while there are no keys at all. A document without
 * a usable key never replaces keys.
 */
#ifndef FICUS_PROXY_KEYS_H
#define FICUS_PROXY_KEYS_H

#include "jwks.h"
#include "process.h"
#include "proxy_config.h"

enum {
    PROXY_KEYS_UNKNOWN_MS = 10 * 1000,
    PROXY_KEYS_AGE_MS = 5 * 60 * 1000,
    PROXY_KEYS_WAIT_MS = 2000, /* how long a request waits for keys */
};

struct proxy_keys;

/* Waits for the end of a fetch. Zero-initialise; lives in its owner. */
struct proxy_keys_waiter {
    void (*fn)(void *arg);
    void *arg;
    /* private below */
    struct proxy_keys *keys;
    struct list link;
    struct env_timer timer;
};

/* Reads the kept file (blocks shortly), then begins to fetch. on_loaded fires when there are keys for the first time,
 * never from inside. */
enum ficus_err proxy_keys_new(struct process *p, const struct proxy_auth *auth, void (*on_loaded)(void *arg), void *arg,
                              struct proxy_keys **ret_keys);
/* Waiters must be gone. NULL is fine. */
void proxy_keys_free(struct proxy_keys *k);
/* The present keys, or NULL. Begins a fetch when they are old. Valid until the loop turns. */
const struct jwks *proxy_keys_use(struct proxy_keys *k);
/* Counts the sets of keys that were in use, from 1: another number, perhaps other keys. */
uint64_t proxy_keys_version(const struct proxy_keys *k);
/* A token names a key that is not in them: true when a fetch runs or was begun, so that waiting makes sense. */
bool proxy_keys_unknown(struct proxy_keys *k);
/* fn fires when the fetch that runs has ended, or after PROXY_KEYS_WAIT_MS; never from inside. Without a running fetch:
 * when the next one has. */
void proxy_keys_wait(struct proxy_keys *k, struct proxy_keys_waiter *w);
void proxy_keys_wait_cancel(struct proxy_keys_waiter *w); /* harmless when it does not wait */

#endif
