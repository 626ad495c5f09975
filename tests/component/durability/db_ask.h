/* SPDX-License-Identifier: Apache-2.0
 *
 * One number out of a database, for checks after a crash.
 */
#ifndef FICUS_DURABILITY_DB_ASK_H
#define FICUS_DURABILITY_DB_ASK_H

#include "db.h"

#include <string.h>

/* What sql gives, with id for its parameter if it has one; -1: an error, because the disk died again, or there is no such column. */
static inline int64_t db_ask(struct db *db, const char *sql, int64_t id)
{
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    int64_t n = -1;
    if (db_reader_take(db, &c, NULL) != FICUS_ERR_OK)
        return -1;
    enum ficus_err err = strchr(sql, '?') == NULL ? db_query(c, &s, NULL, sql, "") : db_query(c, &s, NULL, sql, "i", id);
    if (err == FICUS_ERR_OK && db_step(s, NULL) == 1)
        n = db_i64(s, 0);
    db_finish(s);
    db_reader_give(db, c);
    return n;
}

#endif
