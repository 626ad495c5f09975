/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal's file, and what writes to it; saga_journal_read.c reads. See saga_journal.h.
 */
#include "saga_journal.h"

#include "assert.h"
#include "db.h"
#include "mem.h"
#include "sha256.h"

#include <stdio.h>

struct saga_journal {
    struct db *db;
};

/* saga_record has no foreign key: both tables are written here alone, and a check for each record would cost a
 * look-up. */
#define JOURNAL_SQL                                                                                                \
    "CREATE TABLE saga_definition(hash TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT, WITHOUT ROWID;\n"             \
    "CREATE TABLE saga_instance(saga TEXT NOT NULL, id TEXT NOT NULL, definition TEXT NOT NULL,\n"                 \
    " state TEXT NOT NULL, step TEXT NOT NULL, failure TEXT NOT NULL,\n"                                           \
    " started_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,\n"                                                 \
    " event TEXT, traceparent TEXT, tracestate TEXT, correlation TEXT, input TEXT,\n"                              \
    " PRIMARY KEY(saga, id)) STRICT, WITHOUT ROWID;\n"                                                             \
    "CREATE INDEX saga_instance_open ON saga_instance(state, saga, id)\n"                                          \
    " WHERE state IN ('running', 'undoing', 'stuck');\n"                                                           \
    "CREATE INDEX saga_instance_finished ON saga_instance(updated_at)\n"                                           \
    " WHERE state IN ('completed', 'compensated');\n"                                                              \
    "CREATE TABLE saga_record(seq INTEGER PRIMARY KEY AUTOINCREMENT, saga TEXT NOT NULL, id TEXT NOT NULL,\n"      \
    " at INTEGER NOT NULL, kind TEXT NOT NULL, step TEXT NOT NULL, status INTEGER NOT NULL, code TEXT NOT NULL,\n" \
    " attempts INTEGER NOT NULL) STRICT;\n"                                                                        \
    "CREATE INDEX saga_record_instance ON saga_record(saga, id, seq);\n"                                           \
    "CREATE TABLE saga_position(reader TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;\n"

/* Waits, and who said what from outside. wake_at NULL: the wait has no end. */
#define WAITS_SQL                                                                                                  \
    "ALTER TABLE saga_instance ADD COLUMN wake_at INTEGER;\n"                                                      \
    "ALTER TABLE saga_instance ADD COLUMN wait INTEGER;\n"                                                         \
    "ALTER TABLE saga_record ADD COLUMN actor TEXT;\n"                                                             \
    "ALTER TABLE saga_record ADD COLUMN reason TEXT;\n"                                                            \
    "ALTER TABLE saga_record ADD COLUMN data TEXT;\n"                                                              \
    "DROP INDEX saga_instance_open;\n"                                                                             \
    "CREATE INDEX saga_instance_open ON saga_instance(state, saga, id)\n"                                          \
    " WHERE state IN ('running', 'undoing', 'stuck', 'waiting');\n"                                                \
    "DROP INDEX saga_instance_finished;\n"                                                                         \
    "CREATE INDEX saga_instance_finished ON saga_instance(updated_at)\n"                                           \
    " WHERE state IN ('completed', 'compensated', 'terminated');\n"                                                \
    "CREATE INDEX saga_instance_wake ON saga_instance(wake_at) WHERE state = 'waiting';\n"

/* Instances that are children of others. untold 1: it has ended, and its parent may not know. */
#define CHILDREN_SQL                                                                                               \
    "ALTER TABLE saga_instance ADD COLUMN parent_saga TEXT;\n"                                                     \
    "ALTER TABLE saga_instance ADD COLUMN parent_id TEXT;\n"                                                       \
    "ALTER TABLE saga_instance ADD COLUMN parent_step TEXT;\n"                                                     \
    "ALTER TABLE saga_instance ADD COLUMN untold INTEGER;\n"                                                       \
    "CREATE INDEX saga_instance_untold ON saga_instance(untold) WHERE untold = 1;\n"                               \
    "CREATE INDEX saga_instance_child ON saga_instance(parent_saga, parent_id) WHERE parent_saga IS NOT NULL;\n"

static const struct db_migration migrations[] = {
    {1, "journal", SLICE(JOURNAL_SQL)}, {2, "waits", SLICE(WAITS_SQL)}, {3, "children", SLICE(CHILDREN_SQL)}};

enum ficus_err saga_journal_open(struct env *e, const char *path, struct saga_journal **ret_journal,
                                 struct ficus_error *reterr)
{
    struct saga_journal *j = mem_zalloc(sizeof *j);
    if (j == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    const struct db_options options = {.path = path};
    enum ficus_err err = db_open(e, &options, &j->db, reterr);
    if (err == FICUS_ERR_OK)
        err = db_migrate(j->db, "saga", migrations, ARRAY_COUNT(migrations), reterr);
    if (err != FICUS_ERR_OK) {
        saga_journal_close(j);
        return err_wrap(reterr, "saga journal");
    }
    *ret_journal = j;
    return FICUS_ERR_OK;
}

struct db *saga_journal_db(const struct saga_journal *j)
{
    return j->db;
}

void saga_journal_close(struct saga_journal *j)
{
    if (j == NULL)
        return;
    db_close(j->db);
    mem_free(j);
}

/* Commit, and wait for it; or, where err says that it failed, roll back. */
static enum ficus_err tx_end(struct db_tx *tx, enum ficus_err err, struct ficus_error *reterr)
{
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(tx, reterr);
    db_tx_rollback(tx);
    return err;
}

static const char *step_name(const struct saga_def *def, const struct saga_state *s)
{
    size_t step = saga_shown_step(def, s);
    return step < def->step_count ? def->steps[step].name : "";
}

static enum ficus_err insert_instance(struct db_conn *c, const struct saga_journal_entry *en, int64_t at_ms,
                                      bool *ret_existed, struct ficus_error *reterr)
{
    const struct saga_start *st = en->start;
    enum ficus_err err = db_exec(c, reterr,
                                 "INSERT INTO saga_definition(hash, text) VALUES(?, ?) ON CONFLICT DO NOTHING", "SS",
                                 st->def_hash, st->def_text);
    if (err != FICUS_ERR_OK)
        return err;
    err = db_exec(c, reterr,
                  "INSERT INTO saga_instance(saga, id, definition, state, step, failure, started_at, updated_at, "
                  "event, traceparent, tracestate, "
                  "correlation, input, parent_saga, parent_id, parent_step) "
                  "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                  "SSSsssiiSSSSSSSS", st->saga, st->id, st->def_hash, saga_state_text(en->state->name),
                  step_name(en->def, en->state), en->state->failure, at_ms, at_ms, st->event_id, st->traceparent,
                  st->tracestate, st->correlation, st->input, st->parent.saga, st->parent.id, st->parent.step);
    if (err == FICUS_ERR_OK)
        *ret_existed = db_changes(c) == 0;
    return err;
}

static enum ficus_err update_instance(struct db_conn *c, const struct saga_journal_entry *en, int64_t at_ms,
                                      struct ficus_error *reterr)
{
    enum ficus_err err = db_exec(
        c, reterr,
        "UPDATE saga_instance SET state = ?, step = ?, failure = ?, updated_at = ?, untold = iif(? AND parent_saga IS NOT NULL, 1, NULL) "
        "WHERE saga = ? AND id = ?",
        "sssiiSS", saga_state_text(en->state->name), step_name(en->def, en->state), en->state->failure, at_ms,
        (int64_t)saga_state_is_final(en->state->name), en->start->saga, en->start->id);
    if (err == FICUS_ERR_OK && db_changes(c) != 1)
        return err_set(reterr, FICUS_ERR_CORRUPT, "saga " SLICE_FMT "/" SLICE_FMT " has no row",
                       SLICE_ARG(en->start->saga), SLICE_ARG(en->start->id));
    return err;
}

static enum ficus_err set_wait(struct db_conn *c, const struct saga_journal_entry *en, struct ficus_error *reterr)
{
    const struct saga_start *st = en->start;
    if (en->wait_ms == SAGA_NEVER)
        return db_exec(c, reterr, "UPDATE saga_instance SET wake_at = NULL, wait = NULL WHERE saga = ? AND id = ?", "SS", st->saga,
                       st->id);
    return db_exec(c, reterr, "UPDATE saga_instance SET wake_at = ?, wait = ? WHERE saga = ? AND id = ?", "iiSS", en->wake_at_ms,
                   en->wait_ms, st->saga, st->id);
}

static enum ficus_err insert_record(struct db_conn *c, const struct saga_journal_entry *en, const struct saga_record *r,
                                    struct ficus_error *reterr)
{
    bool has_step = saga_record_has_step(r->kind);
    FICUS_ASSERT(!has_step || r->step < en->def->step_count);
    const char *step = has_step ? en->def->steps[r->step].name : "";
    if (r->note == NULL)
        return db_exec(
            c, reterr,
            "INSERT INTO saga_record(saga, id, at, kind, step, status, code, attempts) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
            "SSissisi", en->start->saga, en->start->id, r->at_ms, saga_record_text(r->kind), step, (int64_t)r->status,
            r->code, (int64_t)r->attempts);
    return db_exec(c, reterr,
                   "INSERT INTO saga_record(saga, id, at, kind, step, status, code, attempts, actor, reason, data) "
                   "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                   "SSissisiSSS", en->start->saga, en->start->id, r->at_ms, saga_record_text(r->kind), step,
                   (int64_t)r->status, r->code, (int64_t)r->attempts, r->note->actor, r->note->reason, r->note->data);
}

static enum ficus_err append_entry(struct db_conn *c, struct saga_journal_entry *en, int64_t at_ms,
                                   struct ficus_error *reterr)
{
    en->existed = false;
    enum ficus_err err = en->is_new ? insert_instance(c, en, at_ms, &en->existed, reterr)
                                    : update_instance(c, en, at_ms, reterr);
    if (en->existed)
        return err;
    if (err == FICUS_ERR_OK && en->wait_ms != 0)
        err = set_wait(c, en, reterr);
    for (size_t i = 0; i < en->record_count && err == FICUS_ERR_OK; i++)
        err = insert_record(c, en, &en->records[i], reterr);
    return err;
}

enum ficus_err saga_journal_append(struct saga_journal *j, struct saga_journal_entry *const *entries, size_t count,
                                   int64_t position, int64_t at_ms, struct ficus_error *reterr)
{
    struct db_tx tx = {0};
    enum ficus_err err = db_tx_begin(j->db, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    struct db_conn *c = db_tx_conn(&tx);
    for (size_t i = 0; i < count && err == FICUS_ERR_OK; i++)
        err = append_entry(c, entries[i], at_ms, reterr);
    if (err == FICUS_ERR_OK && position >= 0)
        err = db_exec(c, reterr,
                      "INSERT INTO saga_position(reader, position) VALUES('start', ?) ON CONFLICT DO UPDATE SET "
                      "position = excluded.position",
                      "i", position);
    return tx_end(&tx, err, reterr);
}

/* Hashes of definitions, each once. With more than fit, a definition stays until its next instance goes. */
struct definitions {
    char hashes[8][SHA256_HEX_SIZE];
    size_t count;
};

static void definition_note(struct definitions *d, struct slice hash)
{
    for (size_t i = 0; i < d->count; i++)
        if (slice_eq_str(hash, d->hashes[i]))
            return;
    if (d->count < ARRAY_COUNT(d->hashes) && hash.size < SHA256_HEX_SIZE)
        (void)snprintf(d->hashes[d->count++], SHA256_HEX_SIZE, SLICE_FMT, SLICE_ARG(hash));
}

/* A definition goes with its last instance. Whoever is in use is found at once: most instances are of few definitions. */
static enum ficus_err definitions_trim(struct db_conn *c, const struct definitions *d, struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < d->count && err == FICUS_ERR_OK; i++)
        err = db_exec(c, reterr, "DELETE FROM saga_definition WHERE hash = ?1 AND NOT EXISTS (SELECT 1 FROM saga_instance WHERE definition = ?1)", "s",
                      d->hashes[i]);
    return err;
}

enum ficus_err saga_journal_trim(struct saga_journal *j, int64_t before_ms, size_t count_max, size_t *ret_count,
                                 struct ficus_error *reterr)
{
    struct db_tx tx = {0};
    enum ficus_err err = db_tx_begin(j->db, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    struct db_conn *c = db_tx_conn(&tx);
    size_t count = 0;
    struct definitions definitions = {0};
    struct db_stmt *s = NULL;
    err = db_query(c, &s, reterr,
                   "DELETE FROM saga_instance WHERE (saga, id) IN (SELECT saga, id FROM saga_instance p INDEXED BY "
                   "saga_instance_finished "
                   "WHERE state IN ('completed', 'compensated', 'terminated') AND updated_at < max(?, ifnull((SELECT updated_at FROM "
                   "saga_instance INDEXED BY "
                   "saga_instance_finished WHERE state IN ('completed', 'compensated', 'terminated') ORDER BY updated_at DESC LIMIT "
                   "1 OFFSET ?), 0)) AND untold IS NULL "
                   "AND NOT EXISTS (SELECT 1 FROM saga_instance c WHERE c.parent_saga = p.saga AND c.parent_id = p.id) "
                   "ORDER BY updated_at LIMIT ?) RETURNING saga, id, definition",
                   "iii", before_ms, (int64_t)SAGA_FINISHED_COUNT_MAX, (int64_t)count_max);
    int row = 0;
    while (err == FICUS_ERR_OK && (row = db_step(s, reterr)) > 0) {
        err = db_exec(c, reterr, "DELETE FROM saga_record WHERE saga = ? AND id = ?", "SS", db_text(s, 0),
                      db_text(s, 1));
        definition_note(&definitions, db_text(s, 2));
        count++;
    }
    db_finish(s);
    if (err == FICUS_ERR_OK && row < 0)
        err = (enum ficus_err) - row;
    if (err == FICUS_ERR_OK)
        err = definitions_trim(c, &definitions, reterr);
    err = tx_end(&tx, err, reterr);
    if (err == FICUS_ERR_OK)
        *ret_count = count;
    return err;
}

enum ficus_err saga_journal_limit_waits(struct saga_journal *j, int64_t now_ms, struct ficus_error *reterr)
{
    struct db_tx tx = {0};
    enum ficus_err err = db_tx_begin(j->db, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = db_exec(db_tx_conn(&tx), reterr,
                  "UPDATE saga_instance INDEXED BY saga_instance_wake SET wake_at = ? + wait WHERE state = 'waiting' AND "
                  "wake_at > ? AND wake_at > ? + wait",
                  "iii", now_ms, now_ms, now_ms);
    return tx_end(&tx, err, reterr);
}

enum ficus_err saga_journal_never_due(struct saga_journal *j, struct slice saga, struct slice id, struct ficus_error *reterr)
{
    struct db_tx tx = {0};
    enum ficus_err err = db_tx_begin(j->db, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = db_exec(db_tx_conn(&tx), reterr, "UPDATE saga_instance SET wake_at = NULL WHERE saga = ? AND id = ?", "SS", saga, id);
    return tx_end(&tx, err, reterr);
}

enum ficus_err saga_journal_told(struct saga_journal *j, const struct saga_name *children, size_t count, struct ficus_error *reterr)
{
    struct db_tx tx = {0};
    enum ficus_err err = db_tx_begin(j->db, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    for (size_t i = 0; i < count && err == FICUS_ERR_OK; i++)
        err = db_exec(db_tx_conn(&tx), reterr, "UPDATE saga_instance SET untold = NULL WHERE saga = ? AND id = ?", "SS", children[i].saga,
                      children[i].id);
    return tx_end(&tx, err, reterr);
}
