/* SPDX-License-Identifier: Apache-2.0
 *
 * The writer's turn, and groups of transactions in one synced commit.
 *
 *     turn free -> A: BEGIN, SAVEPOINT .. RELEASE -> somebody waits: B: SAVEPOINT .. RELEASE
 *               -> nobody waits, or the group is full: COMMIT
 *
 * Invariants
 *  1. Whoever has the turn (turn_taken, exactly one) owns the writing connection and `begun`; the turn goes from hand
 *     to hand with `waiting`.
 *  2. `begun` is true while the group is not empty, unless SQLite rolled all back by itself: then the whole group fails
 *     at the next passing on.
 *  3. A transaction is told its end once, after the COMMIT that held it returned (which synced) or after all was rolled
 *     back.
 *  4. No mutex is held while SQLite runs or somebody waits.
 */
#include "assert.h"
#include "db_private.h"
#include "mem.h"

/* ---- the turn ---- */

static void turn_take(struct db *d, struct db_tx *tx)
{
    pthread_mutex_lock(&d->mutex);
    bool waits = d->turn_taken;
    if (waits)
        list_add_tail(&d->waiting, &tx->link);
    d->turn_taken = true;
    pthread_mutex_unlock(&d->mutex);
    if (waits)
        env_wait(d->env, &tx->waiter);
}

/* To the next who waits; or nobody has it. */
static void turn_give(struct db *d)
{
    pthread_mutex_lock(&d->mutex);
    FICUS_ASSERT(d->turn_taken);
    struct list *next = list_pop_head(&d->waiting);
    if (next == NULL)
        d->turn_taken = false;
    pthread_mutex_unlock(&d->mutex);
    if (next != NULL)
        env_wake(d->env, &CONTAINER_OF(next, struct db_tx, link)->waiter);
}

/* ---- the group ---- */

/* self: the caller's own, which must not be woken since it does not wait. True: it was among them. */
static bool group_tell(struct db *d, struct list *group, const struct ficus_error *e, const struct db_tx *self)
{
    bool told_self = false;
    for (struct list *it; (it = list_pop_head(group)) != NULL;) {
        struct db_tx *tx = CONTAINER_OF(it, struct db_tx, link);
        told_self |= tx == self;
        tx->err = e->code;
        /* the owner may free tx as soon as it is told */
        if (tx->error != NULL) {
            *tx->error = *e;
            if (tx != self)
                env_wake(d->env, &tx->waiter);
        } else if (tx->committed != NULL) {
            tx->committed(tx->arg, e->code, e->code == FICUS_ERR_OK ? "" : e->text);
        }
    }
    return told_self;
}

/* May a transaction begin, or its group be committed? Asked at both ends, so that nothing is confirmed that goes into a
 * file without a name. When that has lost its name, all is brought together in it, for whoever saves it. */
static enum ficus_err writer_check(struct db *d, struct ficus_error *reterr)
{
    struct ficus_error e = {0};
    pthread_mutex_lock(&d->mutex);
    if (d->damaged)
        e = d->trouble;
    pthread_mutex_unlock(&d->mutex);
    if (e.code == FICUS_ERR_OK && db_vfs_check(d->vfs, &e) == FICUS_ERR_OK)
        return FICUS_ERR_OK;
    db_trouble_set(d, &e);
    if (reterr != NULL)
        *reterr = e;
    return e.code;
}

static enum ficus_err commit(struct db *d, struct ficus_error *reterr)
{
    int64_t begun_ns = d->o.slow_ms > 0 ? env_now_ns(d->env) : 0;
    enum ficus_err err = db_conn_control(d->writer, DB_COMMIT, reterr);
    if (begun_ns != 0)
        db_slow_tell(d->writer, "COMMIT", env_now_ns(d->env) - begun_ns, (int64_t)d->group_count);
    return err;
}

static void group_end(struct db *d, struct ficus_error *ret_error)
{
    struct db_conn *c = d->writer;
    *ret_error = (struct ficus_error){.code = FICUS_ERR_OK};
    if (c->lost.code != FICUS_ERR_OK) {
        *ret_error = c->lost;
        /* of one member's own doing (ON CONFLICT ROLLBACK): to the others it is no conflict, they may just try again */
        if (ret_error->code == FICUS_ERR_EXISTS || ret_error->code == FICUS_ERR_CONFLICT)
            ret_error->code = FICUS_ERR_UNAVAILABLE;
    } else if (list_empty(&d->group)) {
        (void)db_conn_control(c, DB_ROLLBACK, NULL);    /* all were rolled back */
    } else if (writer_check(d, ret_error) == FICUS_ERR_OK && commit(d, ret_error) == FICUS_ERR_OK) {
        db_trouble_set(d, ret_error);
    }
    if (db_conn_in_transaction(c))
        /* after a failed COMMIT; in the worst case SQLite rolls back at the next BEGIN */
        (void)db_conn_control(c, DB_ROLLBACK, NULL);
    c->lost.code = FICUS_ERR_OK;
    d->begun = false;
}

/* Commit what the turn's owner has collected; *ret_group, to be told *ret_error, is empty when that is nothing. */
static void group_close(struct db *d, struct list *ret_group, struct ficus_error *ret_error)
{
    list_init(ret_group);
    if (!d->begun)
        return;
    group_end(d, ret_error);
    for (struct list *it; (it = list_pop_head(&d->group)) != NULL;)
        list_add_tail(ret_group, it);
    d->group_count = 0;
}

/* The turn's owner is through: commit what is due, hand the turn on, then tell. True: self was told its end here. */
static bool turn_pass_on(struct db *d, const struct db_tx *self)
{
    struct list group;
    struct ficus_error e;
    pthread_mutex_lock(&d->mutex);
    bool lost = d->writer->lost.code != FICUS_ERR_OK;
    bool due = list_empty(&d->waiting) || d->group_count >= d->o.group_count_max || lost;
    pthread_mutex_unlock(&d->mutex);
    list_init(&group);
    if (due)
        group_close(d, &group, &e);
    turn_give(d);
    return group_tell(d, &group, &e, self);
}

void db_writer_take(struct db *d)
{
    struct db_tx place = {.db = NULL};
    struct list group;
    struct ficus_error e;
    turn_take(d, &place);
    group_close(d, &group, &e);
    (void)group_tell(d, &group, &e, NULL);
}

void db_writer_give(struct db *d)
{
    turn_give(d);
}

/* ---- transactions ---- */

/* Out of memory here makes SQLite roll back the group as well. Without a note of that the next savepoint would be a
 * transaction of its own and commit at its release, before the group's members are told that all failed. */
static enum ficus_err savepoint_open(struct db *d, struct ficus_error *reterr)
{
    struct db_conn *c = d->writer;
    struct ficus_error e;
    enum ficus_err err = db_conn_control(c, DB_SAVEPOINT, &e);
    if (err == FICUS_ERR_OK)
        return FICUS_ERR_OK;
    if (!db_conn_in_transaction(c) && c->lost.code == FICUS_ERR_OK)
        c->lost = e;
    if (reterr != NULL)
        *reterr = e;
    return err;
}

enum ficus_err db_tx_begin(struct db *d, struct db_tx *tx, int64_t deadline_ns, struct ficus_error *reterr)
{
    FICUS_ASSERT(tx->db == NULL);
    tx->waiter = (struct env_waiter){0};
    tx->error = NULL;
    tx->err = FICUS_ERR_OK;
    turn_take(d, tx);
    enum ficus_err err = FICUS_ERR_OK;
    if (deadline_ns != 0 && env_now_ns(d->env) >= deadline_ns)
        err = err_set(reterr, FICUS_ERR_TIMEOUT, "%s: the deadline passed while waiting for the writer", d->path);
    if (err == FICUS_ERR_OK && !d->begun) {
        err = writer_check(d, reterr);
        if (err == FICUS_ERR_MISSING)
            db_conn_checkpoint(d->writer);
        if (err == FICUS_ERR_OK)
            err = db_conn_control(d->writer, DB_BEGIN, reterr);
        d->begun = err == FICUS_ERR_OK;
    }
    if (err == FICUS_ERR_OK)
        err = savepoint_open(d, reterr);
    if (err != FICUS_ERR_OK) {
        (void)turn_pass_on(d, NULL);
        return err;
    }
    tx->db = d;
    d->writer->tx_open = true;
    return FICUS_ERR_OK;
}

void db_probe(struct db *d)
{
    struct db_tx tx = {0};
    if (db_tx_begin(d, &tx, 0, NULL) != FICUS_ERR_OK)
        return;
    if (db_conn_touch(db_tx_conn(&tx), NULL) == FICUS_ERR_OK)
        (void)db_tx_commit_wait(&tx, NULL);
    else
        db_tx_rollback(&tx);
}

struct db_conn *db_tx_conn(struct db_tx *tx)
{
    FICUS_ASSERT(tx->db != NULL);
    return tx->db->writer;
}

enum ficus_err db_tx_check(struct db_tx *tx, struct ficus_error *reterr)
{
    FICUS_ASSERT(tx->db != NULL);
    return !db_conn_keys_open(tx->db->writer) ? FICUS_ERR_OK
        : err_set(reterr, FICUS_ERR_CONFLICT, "%s: FOREIGN KEY constraint failed", tx->db->path);
}

/* Undo back to the savepoint. When even that fails, the group is lost with it. */
static void savepoint_undo(struct db_conn *c)
{
    struct ficus_error e;
    if (!db_conn_in_transaction(c))
        return;     /* lost already */
    if (db_conn_control(c, DB_ROLLBACK_TO, &e) == FICUS_ERR_OK && db_conn_control(c, DB_RELEASE, &e) == FICUS_ERR_OK)
        return;
    if (c->lost.code == FICUS_ERR_OK)
        c->lost = e;
}

void db_tx_rollback(struct db_tx *tx)
{
    struct db *d = tx->db;
    FICUS_ASSERT(d != NULL);
    db_conn_reset(d->writer);
    savepoint_undo(d->writer);
    d->writer->tx_open = false;
    d->writer->who = NULL;
    tx->db = NULL;
    (void)turn_pass_on(d, NULL);
}

/* Release the savepoint; OK: the transaction joined the group. */
static enum ficus_err tx_join(struct db *d, struct db_tx *tx, struct ficus_error *reterr)
{
    struct db_conn *c = d->writer;
    enum ficus_err err = FICUS_ERR_OK;
    db_conn_reset(c);
    if (c->lost.code != FICUS_ERR_OK) {
        err = err_set(reterr, c->lost.code, "%s", c->lost.text);
    } else if (db_conn_keys_open(c)) {
        /* SQLite would find it at COMMIT and fail everybody */
        err = err_set(reterr, FICUS_ERR_CONFLICT, "%s: FOREIGN KEY constraint failed", d->path);
        savepoint_undo(c);
    } else {
        err = db_conn_control(c, DB_RELEASE, reterr);
        if (err != FICUS_ERR_OK)
            savepoint_undo(c);
    }
    c->tx_open = false;
    c->who = NULL;
    tx->db = NULL;
    if (err != FICUS_ERR_OK)
        return err;
    list_add_tail(&d->group, &tx->link);
    d->group_count++;
    return FICUS_ERR_OK;
}

void db_tx_commit(struct db_tx *tx)
{
    struct db *d = tx->db;
    struct ficus_error e;
    FICUS_ASSERT(d != NULL);
    enum ficus_err err = tx_join(d, tx, &e);
    (void)turn_pass_on(d, tx);      /* tx may be gone from here, if it joined */
    if (err == FICUS_ERR_OK)
        return;
    tx->err = err;
    if (tx->committed != NULL)
        tx->committed(tx->arg, err, e.text);
}

enum ficus_err db_tx_commit_wait(struct db_tx *tx, struct ficus_error *reterr)
{
    struct db *d = tx->db;
    struct ficus_error e = {.code = FICUS_ERR_OK};
    FICUS_ASSERT(d != NULL);
    tx->waiter = (struct env_waiter){0};
    tx->error = &e;
    enum ficus_err err = tx_join(d, tx, reterr);
    bool told = turn_pass_on(d, tx);
    if (err != FICUS_ERR_OK)
        return err;
    if (!told)
        env_wait(d->env, &tx->waiter);
    if (e.code != FICUS_ERR_OK && reterr != NULL)
        *reterr = e;
    return e.code;
}
