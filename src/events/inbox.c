/* SPDX-License-Identifier: Apache-2.0 */
#include "outbox.h"

enum ficus_err inbox_accept(struct db_conn *c, const char *consumer, int64_t offset, bool *ret_is_new,
                            struct ficus_error *reterr)
{
    /* one statement decides and advances: next_offset only grows */
    enum ficus_err err = db_exec(c, reterr,
        "INSERT INTO ficus_inbox(consumer, next_offset, attempts) VALUES(?, ?, 0) ON CONFLICT(consumer) DO UPDATE"
        " SET next_offset = excluded.next_offset, attempts = 0 WHERE excluded.next_offset > ficus_inbox.next_offset",
        "si", consumer, offset + 1);
    if (err == FICUS_ERR_OK)
        *ret_is_new = db_changes(c) == 1;
    return err;
}

enum ficus_err inbox_position(struct db_conn *c, const char *consumer, int64_t *ret_offset, int64_t *ret_attempts,
                              struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, reterr, "SELECT next_offset - 1, attempts FROM ficus_inbox WHERE consumer = ?",
        "s", consumer);
    if (err != FICUS_ERR_OK)
        return err;
    int row = db_step(s, reterr);
    if (row >= 0) {
        *ret_offset = row > 0 ? db_i64(s, 0) : 0;
        *ret_attempts = row > 0 ? db_i64(s, 1) : 0;
    }
    db_finish(s);
    return row < 0 ? (enum ficus_err)-row : FICUS_ERR_OK;
}

enum ficus_err inbox_refused(struct db_conn *c, const char *consumer, int64_t *ret_attempts, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, reterr,
        "INSERT INTO ficus_inbox(consumer, next_offset, attempts) VALUES(?, 1, 1) ON CONFLICT(consumer) DO UPDATE"
        " SET attempts = attempts + 1 RETURNING attempts", "s", consumer);
    if (err != FICUS_ERR_OK)
        return err;
    int row = db_step(s, reterr);
    if (row > 0)
        *ret_attempts = db_i64(s, 0);
    db_finish(s);
    return row < 0 ? (enum ficus_err)-row : row == 0 ? err_set(reterr, FICUS_ERR_INTERNAL, "inbox: no row came back")
        : FICUS_ERR_OK;
}

enum { DEAD_MAX = 100000 };     /* remembered; of more, the oldest cannot be brought back */

enum ficus_err inbox_give_up(struct db_conn *c, const struct event *ev, struct ficus_error *reterr)
{
    enum ficus_err err = db_exec(c, reterr, "INSERT INTO ficus_dead(source, id) VALUES(?, ?) ON CONFLICT DO NOTHING", "SS", ev->source, ev->id);
    return err != FICUS_ERR_OK ? err
        : db_exec(c, reterr, "DELETE FROM ficus_dead WHERE seq <= (SELECT max(seq) FROM ficus_dead) - ?", "i", (int64_t)DEAD_MAX);
}

enum ficus_err inbox_take_back(struct db_conn *c, const struct event *ev, bool *ret_given_up, struct ficus_error *reterr)
{
    enum ficus_err err = db_exec(c, reterr, "DELETE FROM ficus_dead WHERE source = ? AND id = ?", "SS", ev->source, ev->id);
    if (err == FICUS_ERR_OK)
        *ret_given_up = db_changes(c) == 1;
    return err;
}
