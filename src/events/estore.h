/* SPDX-License-Identifier: Apache-2.0
 *
 * The event store of a service whose state is the sum of its events: streams (one of each order, say), in each the
 * versions 1, 2, 3, ... without gaps, in the whole store the positions 1, 2, 3, ... in the order of commits. Events are
 * added, never changed. Tables (in the service's own database, made by events_migrations):
 *
 *     ficus_store(position, stream, version, type, schema, time, data, metadata, hash)
 *     ficus_store_head(position, hash)      of the last event; 0 and 32 zero bytes while there is none
 *     ficus_store_import(seq, stream, type, schema, time, data)      what a migration wants to have added
 *     ficus_store_snapshot(stream, version, schema, data, seal)      see ficus/store.h
 *
 * The chain. hash = SHA-256 over these bytes, one behind the other; i64 is 8 bytes, big endian, two's complement; text
 * is i64 of its size in bytes, then its bytes, as they are stored:
 *
 *     "FicusES1"     8 bytes: what this is, and its version
 *     hash           32 bytes: of the event at position - 1; zeros for position 1
 *     i64 position
 *     text stream
 *     i64 version
 *     text type
 *     i64 schema
 *     i64 time       ms since 1970
 *     text data
 *     text metadata
 *
 * Every field has a fixed size or begins with its size, so no two events have the same bytes. Whoever changes, removes,
 * inserts or moves an event without computing all later hashes anew is found by estore_verify, which needs no secret.
 * Whoever does compute them anew is found by a head that was written down elsewhere before.
 *
 * Threads: a connection's own [worker]. Failures are those of data/db.h; an append is part of the caller's
 * transaction and leaves nothing when that is rolled back.
 */
#ifndef FICUS_EVENTS_ESTORE_H
#define FICUS_EVENTS_ESTORE_H

#include "db.h"
#include "sha256.h"

enum {
    ESTORE_STREAM_SIZE_MAX = 128,
    ESTORE_TYPE_SIZE_MAX = 64,
    ESTORE_METADATA_SIZE_MAX = 8 * 1024,
    ESTORE_FINDINGS_MAX = 20,
};
#define ESTORE_ANY ((int64_t)-1) /* expected version: whatever is there */

struct estore_event {
    int64_t position, version, schema, time_ms;
    struct slice stream;   /* 1..128 of printable ASCII without blanks */
    struct slice type;     /* 1..64 of a-z A-Z 0-9 . _ - */
    struct slice data;     /* one JSON value, at most EVENT_SIZE_MAX, EVENT_DATA_DEPTH_MAX levels */
    struct slice metadata; /* JSON */
};

/* The columns of ficus_store that estore_event_at takes from a row of them. */
#define ESTORE_COLUMNS "position, stream, version, type, schema, time, data, metadata, hash"
void estore_event_at(struct db_stmt *s, struct estore_event *ret_event, struct slice *ret_hash); /* borrowed from s */

bool estore_stream_valid(struct slice name);
bool estore_type_valid(struct slice type);
/* previous: of the event at position - 1. False: OpenSSL failed. */
bool estore_hash(const uint8_t previous[SHA256_SIZE], const struct estore_event *ev, uint8_t ret_hash[SHA256_SIZE]);

/* Add one event behind version `expected` of its stream (0: the stream must not exist, ESTORE_ANY). Its version and
 * position are set. CONFLICT: the stream is at another version, ev->version says which; nothing was written. INVALID:
 * a name, or data that is no JSON. CORRUPT: the store contradicts itself. [in a transaction] */
enum ficus_err estore_append(struct db_conn *c, int64_t expected, struct estore_event *ev, struct ficus_error *reterr);
enum ficus_err estore_version(struct db_conn *c, struct slice stream, int64_t *ret_version, struct ficus_error *reterr);

/* Add what migrations left in ficus_store_import, in its order, some hundred events a transaction; killed in between it
 * goes on where it was. INVALID names the row that cannot be added. [before anything else writes] */
enum ficus_err estore_import(struct db *d, struct ficus_error *reterr);

/* ---- verification ---- */

enum estore_fault {
    ESTORE_CHANGED,
    ESTORE_MISSING,
    ESTORE_REORDERED,
    ESTORE_INSERTED,
    ESTORE_TRUNCATED,
    ESTORE_HEAD,
    ESTORE_DAMAGED,
    ESTORE_FAULT_COUNT
};
extern const char *const estore_fault_names[ESTORE_FAULT_COUNT];

struct estore_finding {
    enum estore_fault fault;
    int64_t position;
    int64_t version;                          /* 0: not known */
    char stream[ESTORE_STREAM_SIZE_MAX + 1];  /* "": not known */
    char text[200];
};

struct estore_check {
    /* Where the next call goes on; zeros: at the beginning. */
    int64_t position;           /* up to which rows were looked at */
    int64_t chain;              /* position in the chain of what stands there; another one behind a fault */
    uint8_t hash[SHA256_SIZE];
    /* Of this call. */
    bool is_done;
    int64_t head_position;
    uint8_t head_hash[SHA256_SIZE];
    struct estore_finding findings[ESTORE_FINDINGS_MAX];
    size_t finding_count;
};

/* Verify the next count_max events, or fewer (when they are large, or much is wrong); again until is_done. One fault
 * leads to one finding, or to two when it has two places; the events behind it are verified as ever. An error: the
 * store could not be read. [a reading connection; reads of one moment] */
enum ficus_err estore_verify(struct db_conn *c, size_t count_max, struct estore_check *check, struct ficus_error *reterr);
/* Is this head, written down when the store ended there, still in it? *ret_is_there false: *ret_finding says what is
 * wrong. */
enum ficus_err estore_verify_head(struct db_conn *c, int64_t position, const uint8_t hash[SHA256_SIZE], bool *ret_is_there,
                                  struct estore_finding *ret_finding, struct ficus_error *reterr);

/* A head in words: POSITION:HASH, the hash in hex. */
enum { ESTORE_HEAD_TEXT_SIZE = 20 + 1 + 2 * SHA256_SIZE + 1 };
void estore_head_format(int64_t position, const uint8_t hash[SHA256_SIZE], char ret_text[ESTORE_HEAD_TEXT_SIZE]);
bool estore_head_parse(struct slice text, int64_t *ret_position, uint8_t ret_hash[SHA256_SIZE]);

#endif
