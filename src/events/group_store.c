/* SPDX-License-Identifier: Apache-2.0 */
#include "group_store.h"

static const struct db_migration migrations[] = {
    {1, "0001_group.sql",
        SLICE("CREATE TABLE group_cursor(consumer TEXT NOT NULL, partition INTEGER NOT NULL, settled INTEGER NOT NULL,"
              " refused INTEGER NOT NULL, refused_offset INTEGER NOT NULL, PRIMARY KEY(consumer, partition)) STRICT, WITHOUT ROWID;"
              "CREATE TABLE group_shape(consumer TEXT PRIMARY KEY, shape INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
              "CREATE TABLE group_boot(one INTEGER PRIMARY KEY CHECK(one = 1), number INTEGER NOT NULL) STRICT;"
              "INSERT INTO group_boot(one, number) VALUES(1, 0);")},
};

static enum ficus_err boot_count(struct db_conn *c, int64_t *ret_boot, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, reterr, "UPDATE group_boot SET number = number + 1 RETURNING number", "");
    int row = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    if (row == 1)
        *ret_boot = db_i64(s, 0);
    db_finish(s);
    if (err == FICUS_ERR_OK && row == 0)
        err = err_set(reterr, FICUS_ERR_CORRUPT, "event log: group_boot is empty");
    return row < 0 ? (enum ficus_err)-row : err;
}

enum ficus_err group_store_open(struct db *d, int64_t *ret_boot, struct ficus_error *reterr)
{
    struct db_tx tx = {0};
    enum ficus_err err = db_migrate(d, "group", migrations, sizeof migrations / sizeof *migrations, reterr);
    if (err == FICUS_ERR_OK)
        err = db_tx_begin(d, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = boot_count(db_tx_conn(&tx), ret_boot, reterr);
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, reterr);
    db_tx_rollback(&tx);
    return err;
}

enum ficus_err group_store_write(struct db_conn *c, const char *group, size_t partition, const struct group_cursor *cursor,
                                 struct ficus_error *reterr)
{
    return db_exec(c, reterr, "INSERT INTO group_cursor(consumer, partition, settled, refused, refused_offset) VALUES(?, ?, ?, ?, ?)"
        " ON CONFLICT(consumer, partition) DO UPDATE SET settled = excluded.settled, refused = excluded.refused,"
        " refused_offset = excluded.refused_offset", "siiii", group, (int64_t)partition, cursor->settled, cursor->refused,
        cursor->refused_offset);
}

/* *ret_rows: how many there are; *ret_least: the smallest cursor of them. */
static enum ficus_err read_rows(struct db_conn *c, const char *group, size_t count, struct group_cursor *ret_cursors, size_t *ret_rows,
                                int64_t *ret_least, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    int row = 0;
    size_t next = 0;
    bool whole = true;      /* numbered from 0 without a gap */
    enum ficus_err err = db_query(c, &s, reterr,
        "SELECT partition, settled, refused, refused_offset FROM group_cursor WHERE consumer = ? ORDER BY partition", "s", group);
    while (err == FICUS_ERR_OK && (row = db_step(s, reterr)) == 1) {
        int64_t settled = db_i64(s, 1);
        whole &= db_i64(s, 0) == (int64_t)next;
        *ret_least = next == 0 || settled < *ret_least ? settled : *ret_least;
        if (next < count)
            ret_cursors[next] = (struct group_cursor){settled, db_i64(s, 2), db_i64(s, 3)};
        next++;
    }
    db_finish(s);
    *ret_rows = whole ? next : GROUP_PARTITIONS_MAX + 1;
    return row < 0 ? (enum ficus_err)-row : err;
}

static enum ficus_err is_shape(struct db_conn *c, const char *group, int64_t shape, bool *ret_same, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, reterr, "SELECT 1 FROM group_shape WHERE consumer = ? AND shape = ?", "si", group, shape);
    int row = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    db_finish(s);
    *ret_same = row == 1;
    return row < 0 ? (enum ficus_err)-row : err;
}

static enum ficus_err begin_anew(struct db_conn *c, const char *group, size_t count, int64_t shape, int64_t settled,
                                 struct group_cursor *ret_cursors, struct ficus_error *reterr)
{
    enum ficus_err err = db_exec(c, reterr, "DELETE FROM group_cursor WHERE consumer = ?", "s", group);
    if (err == FICUS_ERR_OK)
        err = db_exec(c, reterr, "INSERT INTO group_shape(consumer, shape) VALUES(?, ?) ON CONFLICT(consumer) DO UPDATE SET shape = excluded.shape",
            "si", group, shape);
    for (size_t i = 0; i < count && err == FICUS_ERR_OK; i++) {
        ret_cursors[i] = (struct group_cursor){.settled = settled};
        err = group_store_write(c, group, i, &ret_cursors[i], reterr);
    }
    return err;
}

enum ficus_err group_store_load(struct db *d, const char *group, size_t count, int64_t shape, struct group_cursor *ret_cursors,
                                bool *ret_repartitioned, struct ficus_error *reterr)
{
    bool same = false;
    struct db_tx tx = {0};
    size_t rows = 0;
    int64_t least = 0;
    enum ficus_err err = db_tx_begin(d, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    struct db_conn *c = db_tx_conn(&tx);
    err = read_rows(c, group, count, ret_cursors, &rows, &least, reterr);
    if (err == FICUS_ERR_OK)
        err = is_shape(c, group, shape, &same, reterr);
    same = same && rows == count;
    if (err == FICUS_ERR_OK && !same)
        err = begin_anew(c, group, count, shape, least, ret_cursors, reterr);
    if (ret_repartitioned != NULL)
        *ret_repartitioned = !same && rows > 0;
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, reterr);
    db_tx_rollback(&tx);
    return err;
}
