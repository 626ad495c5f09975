/* SPDX-License-Identifier: Apache-2.0
 *
 * What one configuration makes of the gateway: routes, hosts, files, whose tokens are accepted. Immutable and counted:
 * the proxy holds the current one, every request the one that it began with, so that a reload changes nothing under a
 * request. Made by any thread, used and freed on the loop. With several loops each has one of its own, which borrows from
 * the first's all that is large.
 */
#ifndef FICUS_PROXY_SNAPSHOT_H
#define FICUS_PROXY_SNAPSHOT_H

#include "address_block.h"
#include "files.h"
#include "list.h"
#include "map.h"
#include "proxy_keys.h"
#include "proxy_router.h"
#include "proxy_tokens.h"

#include <stdatomic.h>

/* Keys of the issuer of tokens and what was verified with them: the same ones for all snapshots whose auth says the
 * same, so that a reload forgets neither. */
struct proxy_issuer {
    size_t refs;
    struct proxy_auth auth; /* strings owned */
    struct proxy_keys *keys;
    struct proxy_tokens *tokens;
};

/* What the requests of one route are counted in; NULL: not looked up yet. */
struct proxy_counts {
    struct metric *seconds, *upstream_seconds, *requests;
    int status; /* that requests counts: most answers have the same one */
};

struct proxy_snapshot {
    struct list link; /* of the owner: all that are alive */
    size_t refs;
    struct proxy_snapshot *origin; /* whose arena, config, router, files, paths and trusted are these; NULL: its own */
    atomic_size_t uses;            /* of what it owns, by itself and by others */
    struct arena arena; /* of a config that was read; empty when it was borrowed */
    const struct proxy_config *config;
    struct proxy_router *router;
    struct files *files;         /* of all routes that serve some; NULL: none does */
    struct map paths;            /* of its routes */
    struct proxy_counts *counts; /* of its routes, in the registry of the loop that uses it */
    char hsts[32];               /* Strict-Transport-Security; "": none */
    struct address_block *trusted; /* proxies that are believed */
    size_t trusted_count;
    struct proxy_issuer *issuer; /* NULL: without auth, or not begun */
};

/* [any; blocks] Of a configuration that outlives it; folders are read. One reference. Errors: those of the router and of
 * files; INVALID: a route has auth, but there is no issuer. */
enum ficus_err proxy_snapshot_new(const struct proxy_config *config, struct proxy_snapshot **ret_snapshot,
                                  struct ficus_error *reterr);
/* [any; blocks] Of the resolved file at path. All errors of the file at once in *reterr. */
enum ficus_err proxy_snapshot_read(struct env *e, const char *path, struct proxy_snapshot **ret_snapshot,
                                   struct ficus_error *reterr);
/* [loop of s, which holds a reference] The same for another loop, not begun. NULL: out of memory. */
struct proxy_snapshot *proxy_snapshot_beside(struct proxy_snapshot *s);
/* [loop] Begin to use it: the keys of before (may be NULL) when its auth says the same, else new ones. on_loaded as
 * proxy_keys_new has it. */
enum ficus_err proxy_snapshot_begin(struct proxy_snapshot *s, const struct proxy_snapshot *before, struct process *p,
                                    void (*on_loaded)(void *arg), void *arg, struct ficus_error *reterr);
/* [loop] The last reference frees it: true then. NULL is fine. */
bool proxy_snapshot_unref(struct proxy_snapshot *s);
bool proxy_snapshot_needs_keys(const struct proxy_snapshot *s);
void proxy_snapshot_forget_counts(struct proxy_snapshot *s); /* they are looked up anew */
bool proxy_snapshot_has_path(const struct proxy_snapshot *s, struct slice path); /* of a route */

#endif
