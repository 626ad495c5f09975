/* SPDX-License-Identifier: Apache-2.0
 *
 * The event store of libficus, for services whose state is the sum of its events. A stream is the story of one thing
 * ("order-4711"); its events have the versions 1, 2, 3, ... An event is added in the request's transaction, together
 * with whatever else the handler writes and emits, and is never changed. Each carries a hash over itself and the one
 * before it in the store, so `ficus events verify` finds whatever was changed afterwards. docs/store.md has an example.
 *
 * Deciding on what one has read: read the stream, remember its version, ficus_tx, append expecting that version. If
 * somebody else was faster, that is refused (1): answer 409, or read again, now in the transaction, where nobody can
 * come between, and decide anew.
 *
 * A service whose store is `rebuildable` has no streams: it keeps nothing that is its own.
 */
#ifndef FICUS_STORE_H
#define FICUS_STORE_H

#include <ficus/ficus.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Expected versions that are not a version: */
#define FICUS_STREAM_ANY ((int64_t)-1) /* whatever is there */
#define FICUS_STREAM_NEW ((int64_t)0)  /* the stream must not exist */

struct ficus_stored {
    const char *stream, *type;
    const char *data;     /* JSON text, of the newest schema version of its type */
    const char *metadata; /* JSON text {caller, user, correlation, causation, traceparent}: what is known of who did it */
    int64_t version;      /* in the stream, from 1 */
    int64_t position;     /* in the store, from 1 */
    int64_t time_ms;      /* wall clock, ms since 1970 */
    int schema;           /* schema version that data had when it was stored */
};

/* ---- adding, in a transaction ----
 * stream: 1 to 128 printable characters without blanks. type: 1 to 64 of a-z A-Z 0-9 . _ -. data: JSON text of at most
 * 1 MiB. 0: added, *ret_version is its version. 1: the stream is not at version `expected`; *ret_version says where it
 * is, nothing was written, and the handler may go on. -1. ret_version may be NULL. */
FICUS_API int ficus_store_append(struct ficus_req *req, const char *stream, int64_t expected, const char *type,
                                 const char *data, int64_t *ret_version);

/* ---- reading, before ficus_tx or in the transaction ---- */
/* The events of a stream from a version on (1: all), in order; none when there is no such stream. NULL: return -1. Leave
 * early with ficus_rows_done, as with any rows. */
FICUS_API struct ficus_rows *ficus_store_read(struct ficus_req *req, const char *stream, int64_t from);
/* The next one. 1: *ret_event; 0: no more (and done); -1. Its texts are copied to the request. */
FICUS_API int ficus_store_row(struct ficus_rows *rows, struct ficus_stored *ret_event);
/* The version of the newest event; 0: there is no such stream; -1. */
FICUS_API int64_t ficus_store_version(struct ficus_req *req, const char *stream);

/* ---- schema versions ----
 * The data of a type begins at schema version 1. When its shape changes, add an upcaster that makes the new data out of
 * the old one to the table in struct ficus_service; from then on the type is stored as the next version. Old events stay
 * as they are; whoever reads them gets the newest shape, by all upcasters from theirs on, in order. An event of a newer
 * version than this program knows cannot be read by it: the request fails, the program is older than its data. */
struct ficus_upcaster {
    const char *type; /* NULL ends the table */
    int from;         /* the schema version that it takes; it makes from + 1. For each type 1, 2, ... without gaps */
    /* The new data, JSON text in the memory of the request (ficus_printf, ficus_out_text). old: the stored event, data
     * of version `from`. NULL: it cannot be done; the request fails. Must always give the same for the same. */
    const char *(*upcast)(struct ficus_req *req, const struct ficus_stored *old);
};

/* ---- projections: tables that are what all events of the store add up to ----
 * "My orders": what is found by user and state, made of all streams. Each event is given to the handler in the transaction
 * that appends it, so who reads afterwards, or later in the same handler, finds what was written. The handler alone writes
 * these tables; it names them in braces, `INSERT INTO {orders} ...`, and may read nothing else. Everybody else reads them
 * as `orders`, a view, which cannot be written.
 *
 * The tables are built anew from the first event on, beside those that serve and stay current meanwhile: when the version
 * is raised, and by `ficus events rebuild SERVICE [NAME]`. When they have all events the two change places in one
 * transaction. So another shape, or a repaired handler, is another version, and one release may have both: queries that
 * fit both are served by the old one until the new one is ready. When the version that serves is not in the table any
 * more, or there is none, the service builds before it takes requests. docs/store.md has an example.
 */
struct ficus_projection {
    const char *name; /* 1 to 64 of a-z A-Z 0-9 _, a letter first; NULL ends the table */
    int version;      /* from 1; raise it when tables or handler change. The table may have several of one name */
    /* CREATE TABLE and CREATE INDEX statements, all their names in braces: no other projection and no migration may have
     * tables of these names. At most 64 KiB. */
    const char *tables;
    /* ev: of the newest schema version. It is the same when it is appended and years later: so the handler may only read
     * and write its tables, and must always do the same for the same; it has no user, emits nothing and calls nobody. An
     * event that is not for it is passed over. 0, or anything else (ficus_problem says why): then what was appended fails
     * too, and a rebuild is given up, the old tables serve on. */
    int (*handler)(struct ficus_req *req, const struct ficus_stored *ev);
};

/* ---- snapshots: a cache, for streams that are long ----
 * What the events up to a version add up to, so that only later ones need be read. schema: number of the layout of
 * data; one of another number is as if it were not there: raise it when the layout, or what is made of the events,
 * changes. Lost or damaged ones are no loss. The newest three of a stream are kept. */
/* In a transaction. 0 or -1. */
FICUS_API int ficus_store_snapshot_save(struct ficus_req *req, const char *stream, int64_t version, int schema,
                                        const char *data);
/* The newest at or below a version (INT64_MAX: the newest). 1: found, 0: there is none, -1. */
FICUS_API int ficus_store_snapshot_load(struct ficus_req *req, const char *stream, int64_t version, int schema,
                                        int64_t *ret_version, const char **ret_data);

#ifdef __cplusplus
}
#endif

#endif
