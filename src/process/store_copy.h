/* SPDX-License-Identifier: Apache-2.0
 *
 * A copy of a database of this process as the answer to an operator's GET: its bytes as of one moment (db.h, copies),
 * with Content-Length, so that whoever did not get all of them knows it; Ficus-Moment says when that was (RFC 3339), and
 * Ficus-Offset up to which event at least its content knows. Nothing is written anywhere but to the connection.
 *
 *      IDLE -> BEGINNING <-> WAITING (somebody reads from an earlier moment)
 *                  \-> READING (a worker) <-> SENDING (the connection, or the pause between two pieces) -> IDLE
 *
 * One at a time; a second one is told so (503). One piece of 256 KiB is in memory; of a fast disk at most 64 MiB a second are
 * read, so that the traffic keeps its part. The client gone, or too slow for 30 s: the copy ends, nothing is left of it.
 *
 * Loop thread only.
 */
#ifndef FICUS_PROCESS_STORE_COPY_H
#define FICUS_PROCESS_STORE_COPY_H

#include "db.h"
#include "http_stream.h"
#include "logline.h"

struct store_copy {
    struct env *env;
    struct db *db;              /* stays open until idle was called */
    struct logger *log;
    void (*idle)(void *arg);    /* nothing is under way any more */
    void *arg;
    /* private below */
    struct http_stream *s; /* NULL: gone, or all is said */
    struct db_copy copy;
    struct env_job job;
    struct env_timer timer;
    char *piece;
    size_t piece_size, piece_sent;
    int64_t offset, begun_ms, piece_ms;
    enum ficus_err err;
    struct ficus_error error;
    bool is_active, is_working;
};

/* Take the exchange over and answer it. offset: see above; -1: there is none. The first four members are set. */
void store_copy_answer(struct store_copy *c, struct http_stream *s, int64_t offset);
/* idle will come. Resetting the stream, as closing its server does, brings it about. */
static inline bool store_copy_busy(const struct store_copy *c)
{
    return c->is_active;
}

#endif
