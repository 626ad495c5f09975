/* SPDX-License-Identifier: Apache-2.0
 *
 * Projections: tables that are what all events of the event store (estore.h) add up to. Those that serve are fed in the
 * transaction that appends, so they never lag. They are built anew beside the ones that serve, from position 1 on, in
 * small transactions; the one in which nothing is left to be read also lets the two change places. Everything that is
 * known of them is in the database, so whoever is killed goes on from there. Table, made by projection_migrations:
 *
 *     ficus_projection(generation, name, version, tables, checkpoint, state)
 *
 * generation   of all projections of the store together, never given twice. What the program calls {orders} is the table
 *              "orders.7" of generation 7; under the name orders a view shows the one that serves.
 * version      which of the program's definitions it was made with; tables: the text that made its tables.
 * checkpoint   position of the last event that is in it; committed with what that event changed.
 * state        building -> serving -> leaving; building -> leaving: given up. Of a name at most one is building and at
 *              most one serving. What leaves is dropped, a table a transaction.
 *
 * Invariant of a projection that serves, wherever a transaction ends after the first start of a program that knows it:
 * checkpoint is the store's head. A program that did not know it (an older one, that was put back) leaves it behind; the
 * next one that does catches up before it serves.
 *
 * Threads: a connection's own [worker]. Failures are those of data/db.h; nothing is kept of a step that failed.
 */
#ifndef FICUS_EVENTS_PROJECTION_H
#define FICUS_EVENTS_PROJECTION_H

#include "buf.h"
#include "db.h"
#include "estore.h"

enum { PROJECTION_NAME_SIZE_MAX = 64, PROJECTION_COUNT_MAX = 64, PROJECTION_TABLES_SIZE_MAX = 64 * 1024 };

extern const struct db_migration projection_migrations[];
extern const size_t projection_migration_count;

/* One version of a projection that the program has. */
struct projection_def {
    const char *name;    /* 1..64 of a-z A-Z 0-9 _, a letter first */
    int64_t version;     /* from 1 */
    const char *tables;  /* CREATE TABLE and CREATE INDEX, names in braces */
    const void *handler; /* for fold */
};

/* One name. The program wants its newest version to serve. */
struct projection {
    const struct projection_def *newest;
    bool is_asked;    /* build it anew although it serves */
    bool is_given_up; /* do not build it */
};

struct projection_set {
    const struct projection_def *defs;
    size_t def_count;
    struct projection *names;
    size_t name_count;
    /* Put one event into the tables of a generation. INVALID: the event cannot be handled; other errors are of the moment
     * (the disk). [in the transaction of c] */
    enum ficus_err (*fold)(void *arg, struct db_conn *c, const struct projection_def *def, int64_t generation,
                           const struct estore_event *ev, struct ficus_error *reterr);
    void *arg;
};

/* INVALID: a name, version or text that cannot be, or one version twice. Pure. */
enum ficus_err projection_check(const struct projection_def *defs, size_t count, struct ficus_error *reterr);

/* The SQL with each {name} outside of quotes and comments as the table of this generation; at least one, else INVALID. Pure. */
enum ficus_err projection_expand(struct slice sql, int64_t generation, struct buf *ret_text, struct ficus_error *reterr);

/* An event was appended: into all that serve. CONFLICT: one of them does not have the event before it. [in its
 * transaction] */
enum ficus_err projection_append(const struct projection_set *set, struct db_conn *c, const struct estore_event *ev,
                                 struct ficus_error *reterr);

enum projection_work {
    PROJECTION_NOTHING, /* all is as the program wants it */
    PROJECTION_CAUGHT_UP, /* some events for one that serves, which a program that did not know it had left out */
    PROJECTION_BEGUN,
    PROJECTION_FED,     /* some events for one that is built */
    PROJECTION_CHANGED, /* the same, and it serves now */
    PROJECTION_LEFT,    /* one was given up, or no version of the program knows it */
    PROJECTION_DROPPED, /* a table less */
};

struct projection_step {
    enum projection_work work;
    bool is_servable;  /* before this step: each name has tables that serve and have all events */
    char name[PROJECTION_NAME_SIZE_MAX + 1]; /* what it was about, also after an error; "": none */
    int64_t generation, version;
    int64_t checkpoint, head; /* of the store; after the step */
    int64_t count;            /* events in this step */
    int64_t time_ms;          /* of the last of them */
};

/* Do the next small thing; until the answer is PROJECTION_NOTHING. First whatever is needed to serve, then what is to be
 * dropped, then what is to be built. count_max: events; until_ns: on env's clock, no further event then. INVALID: an event
 * cannot be handled, or tables cannot be made: repeating it is of no use. Other errors are of the moment. [in a
 * transaction, which is rolled back after an error] */
enum ficus_err projection_step(const struct projection_set *set, struct env *e, struct db_conn *c, int64_t count_max,
                               int64_t until_ns, struct projection_step *ret_step, struct ficus_error *reterr);

/* The generation that serves (0: none) and its version, and whether another one is being built. */
enum ficus_err projection_look(struct db_conn *c, const char *name, int64_t *ret_generation, int64_t *ret_version,
                               bool *ret_building, struct ficus_error *reterr);

#endif
