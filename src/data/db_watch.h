/* SPDX-License-Identifier: Apache-2.0
 *
 * Watches one open database for trouble (db_trouble), tells when it comes, changes and has passed, and while there is
 * some tries once a second whether it has: a service that nobody writes to would else never know.
 */
#ifndef FICUS_DATA_DB_WATCH_H
#define FICUS_DATA_DB_WATCH_H

#include "db.h"

/* Lives in its owner; zero-initialise, set the first fields. [loop] */
struct db_watch {
    struct env *env;
    struct db *db;
    void (*changed)(void *arg, const struct ficus_error *trouble); /* code OK: it has passed */
    void (*idle)(void *arg);                                       /* stopped, and no probe runs any more */
    void *arg;
    /* private below */
    struct env_timer timer;
    struct env_job probe;
    enum ficus_err told;
    bool is_probing, is_stopped;
};

void db_watch_start(struct db_watch *w);
/* Before the database closes. True: over; false: a probe still runs, idle follows. Again, or never started: true. */
bool db_watch_stop(struct db_watch *w);

#endif
