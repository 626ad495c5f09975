/* SPDX-License-Identifier: Apache-2.0
 *
 * A snapshot of endpoints and what is known after a row of them: pure, no I/O. The state is one list of addresses for
 * each service that ever had one. A warming hub's word never replaces one, nor does a service that is not named; an
 * empty list of a warm hub does, of a service that it has told of before: the service is not there at present. (While
 * a system starts, all are not there yet; their sockets are, and connections wait.) What is written keeps the last
 * addresses, for a process that starts while there is no hub to ask.
 */
#ifndef FICUS_RESOLVE_SNAPSHOT_H
#define FICUS_RESOLVE_SNAPSHOT_H

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "map.h"

enum { SNAPSHOT_FORMAT = 1 };       /* "ficus_endpoints" in the file */

struct snapshot_service {
    const char *name;
    const char *const *addresses;
    size_t address_count;
};

struct snapshot {
    int64_t version, since;         /* since: only what changed behind this version is in it; 0: it is whole */
    bool warming;
    struct snapshot_service *services;
    size_t service_count;
};

/* Parse a snapshot, whole or not, of the hub or of the file, into the arena; text must outlive it. Errors: PARSE (malformed, or
 * over a bound), VERSION (a file of a newer format), TOO_LARGE, NOMEM. */
enum ficus_err snapshot_parse(struct arena *a, struct slice text, struct snapshot *ret_snapshot,
                              struct ficus_error *reterr);

/* What is known. */
struct snapshot_state {
    struct map services;            /* private: name -> struct state_entry */
};

void snapshot_state_init(struct snapshot_state *s, const uint64_t seed[2]);
void snapshot_state_done(struct snapshot_state *s);
/* Take one service of a snapshot into the state. True with *ret_changed: its addresses are to be handed on. False:
 * out of memory. */
bool snapshot_state_take(struct snapshot_state *s, const struct snapshot_service *service, bool warming,
                         bool *ret_changed);
/* Nobody could be told of it: the next warm snapshot that names it is a change, whatever it says. */
void snapshot_state_owe(struct snapshot_state *s, const char *name);
/* The state as a file, services in alphabetical order, so that equal states give equal bytes. False: too large or out
 * of memory. */
bool snapshot_state_write(const struct snapshot_state *s, int64_t version, struct buf *out);

#endif
