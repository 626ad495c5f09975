/* SPDX-License-Identifier: Apache-2.0
 *
 * Endpoints from the hub: a long poll of `GET /v1/endpoints?version=V&wait=MS` keeps the call engine's addresses
 * current. The hub's own address is fixed (call_engine_endpoints by the owner, like that of any callee that nobody
 * resolves).
 *
 * Happy path: the first answer is a whole snapshot, {"version": N, "warming": bool, "services": {"orders": ["unix:/..."],
 * ...}}; the next poll carries its version and is answered when there is a newer one, or after wait with the same one
 * (or 304), with those services alone that have changed, and "since": N.
 * Failure modes: when the hub is away, polls go on with back-off of 100 ms to 3 s and full jitter, and the addresses
 * stay; so they do when a snapshot is warming or lists none for a service. After any failure, and when "since" is not
 * what was asked with, the whole is asked for. Addresses that the engine has no memory for are told to it again then.
 * The last good state is kept in a file, atomically replaced, at most once a second and at the end; it is read at the
 * start, so that a process that starts while the hub is dead has addresses. A file that is missing, damaged or of a
 * newer version is ignored (status tells) and written anew by the next change.
 * Loop thread only; it never logs: resolve_hub_status tells.
 */
#ifndef FICUS_RESOLVE_HUB_H
#define FICUS_RESOLVE_HUB_H

#include "call.h"

enum {
    RESOLVE_SNAPSHOT_SIZE_MAX = 1 << 20,
    RESOLVE_SERVICES_MAX = 2048,
    RESOLVE_ADDRESSES_MAX = 256,            /* of one service */
    RESOLVE_ADDRESS_SIZE_MAX = 128,
    RESOLVE_BACKOFF_BASE_MS = 100,
    RESOLVE_BACKOFF_MAX_MS = 3000,
};

struct resolve_hub;

struct resolve_hub_options {
    struct call_engine *engine;             /* borrowed; the edge to the hub is declared and has an address */
    const char *hub;                        /* NULL: "hub". Its own name is left out of snapshots */
    const char *snapshot_path;              /* NULL: none is kept */
    int64_t wait_ms;                        /* of one long poll; 0: 25 s */
    /* A snapshot changed the addresses of some service; also once from the file. May be NULL. Never from inside
     * resolve_hub_new. */
    void (*on_change)(void *arg);
    /* A service has these addresses now: what the engine was told as well. Not for what the file said. May be NULL. */
    void (*on_addresses)(void *arg, const char *callee, const char *const *addresses, size_t address_count);
    void *arg;
};

struct resolve_hub_status {
    int64_t version;                        /* of the last snapshot; 0: none from the hub yet */
    bool warming;                           /* the hub said so in it */
    bool connected;                         /* the last poll was answered */
    bool from_file;                         /* the addresses are those of the file */
    size_t service_count;                   /* with at least one address */
    uint64_t polls_failed;                  /* in all */
    enum ficus_err poll_err, file_err;      /* the last of each kind; OK: none since it last went well */
    const char *detail;                     /* of poll_err; borrowed until the next turn; may be NULL */
};

/* Reads the file (blocks shortly), hands its addresses to the engine and begins to poll. Strings are copied. Errors:
 * NOMEM, INVALID. */
enum ficus_err resolve_hub_new(struct env *e, const struct resolve_hub_options *o, struct resolve_hub **ret_resolve);
/* Ends the poll, lets the file become what is known now; then closed fires and it is gone. Close it before the engine (else
 * its poll ends with CANCELLED, and it stays quiet until it is closed). */
void resolve_hub_close(struct resolve_hub *r, void (*closed)(void *arg), void *arg);
/* From now on keep snapshots in this file (copied), also the present one. NOMEM. */
enum ficus_err resolve_hub_keep(struct resolve_hub *r, const char *path);
void resolve_hub_status(const struct resolve_hub *r, struct resolve_hub_status *ret_status);

#endif
