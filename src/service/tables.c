/* SPDX-License-Identifier: Apache-2.0
 *
 * The chassis's tables in the service's database, the opening of it, and the janitor that keeps them bounded.
 *
 * Retention: kept answers live 48 h (24 h are promised). Of the participants' table, rows that say "undone", "refused"
 * or "tombstone" go after 30 d; "done" stays as long as the service's own record of it, because an undo may come at any
 * time and must then find that it was done.
 */
#include "estore.h"
#include "generation.h"
#include "service_impl.h"

enum {
    MIGRATIONS_MAX = 1000,
    MIGRATIONS_ARENA_SIZE_MAX = 32 * 1024 * 1024,
    JANITOR_FIRST_MS = 60 * 1000,
    JANITOR_EVERY_MS = 10 * 60 * 1000,
    JANITOR_AGAIN_MS = 1000,
    JANITOR_ROWS_MAX = 500,
    JANITOR_TIMEOUT_MS = 10000,
};

const struct db_migration service_migrations[] = {
    {.version = 1,
     .name = "keys_and_steps",
     .sql =
         {"CREATE TABLE ficus_keys("
          " key_hash BLOB NOT NULL PRIMARY KEY, scope TEXT NOT NULL, body_hash BLOB NOT NULL, status INTEGER NOT NULL,"
          " headers TEXT NOT NULL, body BLOB, at INTEGER NOT NULL);"
          "CREATE INDEX ficus_keys_at ON ficus_keys(at);"
          "CREATE TABLE ficus_steps("
          " kind TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL CHECK(state "
          "IN('done','undone','refused','tombstone')),"
          " code TEXT, at INTEGER NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;"
          "CREATE INDEX ficus_steps_finished ON ficus_steps(at) WHERE state <> 'done';",
          0}},
};
const size_t service_migration_count = ARRAY_COUNT(service_migrations);

/* ---- opening [worker] ---- */

static enum ficus_err load_one(struct service *v, struct arena *a, const char *path, struct db_migration *m,
                               struct ficus_error *reterr)
{
    struct slice name = SLICE_NONE;
    if (!db_migration_name(path, &m->version, &name))
        return err_set(reterr, FICUS_ERR_INVALID, "migration %s: the name must be NNNN_name.sql", path);
    m->name = arena_strdup(a, name);
    if (m->name == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "migration %s", path);
    enum ficus_err err = env_file_load(v->env, a, path, DB_MIGRATION_SIZE_MAX, &m->sql, reterr);
    return err == FICUS_ERR_OK ? err : err_wrap(reterr, "migration %s", path);
}

static enum ficus_err migrate_own(struct service *v, struct ficus_error *reterr)
{
    size_t count = v->config->migration_count;
    if (count == 0)
        return FICUS_ERR_OK;
    if (count > MIGRATIONS_MAX)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "more than %d migrations", MIGRATIONS_MAX);
    struct arena a;
    arena_init(&a, MIGRATIONS_ARENA_SIZE_MAX);
    struct db_migration *list = ARENA_ARRAY(&a, struct db_migration, count);
    enum ficus_err err = list == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "migrations") : FICUS_ERR_OK;
    for (size_t i = 0; i < count && err == FICUS_ERR_OK; i++)
        err = load_one(v, &a, v->config->migrations[i], &list[i], reterr);
    if (err == FICUS_ERR_OK)
        err = db_migrate(v->db, "service", list, count, reterr);
    arena_done(&a);
    return err;
}

static enum ficus_err migrate_chassis(struct service *v, struct ficus_error *reterr)
{
    struct db_migration list[ARRAY_COUNT(service_migrations)];
    for (size_t i = 0; i < ARRAY_COUNT(list); i++) {
        list[i] = service_migrations[i];
        list[i].sql = slice_str(service_migrations[i].sql.p);
    }
    enum ficus_err err = db_migrate(v->db, "ficus", list, ARRAY_COUNT(list), reterr);
    return err != FICUS_ERR_OK ? err
                               : db_migrate(v->db, "ficus_events", events_migrations, events_migration_count, reterr);
}

/* Which generation of a rebuildable store. One that is built begins with nothing. */
static enum ficus_err find_generation(struct service *v, struct ficus_error *reterr)
{
    bool left = false;
    if (v->is_rebuilding) {
        v->generation = v->hooks.generation;
        return generation_clear(v->env, v->config->store, v->generation, reterr);
    }
    enum ficus_err err = generation_open(v->env, v->config->store, &v->generation, &left, reterr);
    if (err == FICUS_ERR_OK && left)
        LOG(&v->process.log, LOG_WARN, NULL, "rebuild.failed",
            "a rebuild of the store was interrupted and is given up; the store in use is whole",
            LOG_INT("generation", v->generation + 1), LOG_STR("remedy", "ficus events rebuild"));
    return err;
}

/* A rebuildable store that is gone is no loss: it is made again by reading the log, and only takes its time. */
static enum ficus_err open_rebuildable(struct service *v, struct db_options *options, struct ficus_error *reterr)
{
    char path[GENERATION_PATH_SIZE_MAX];
    bool was_there = false;
    enum ficus_err err = find_generation(v, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (!generation_path(v->config->store, v->generation, path, sizeof path))
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "the path is too long");
    options->path = path;
    err = db_open(v->env, options, &v->db, reterr);
    if (err != FICUS_ERR_MISSING)
        return err;
    LOG(&v->process.log, LOG_ERROR, NULL, "store.missing", "the store is gone; it is filled again from the event log",
        LOG_STR("store", path));
    err = db_remove(v->env, path, &was_there, reterr);
    return err == FICUS_ERR_OK ? db_open(v->env, options, &v->db, reterr) : err;
}

/* On any worker. Lines of a name are limited to LOG_REPEATS_MAX a second, and the text to LOG_VALUE_SIZE_MAX. */
static void on_slow(void *arg, const struct db_slow *s)
{
    struct service *v = arg;
    const struct ficus_req *r = s->who;
    LOG(&v->process.log, LOG_WARN, r == NULL ? NULL : &r->log, "store.slow", "a statement of the store took long",
        LOG_STR("sql", s->sql), LOG_INT("ms", s->ms), LOG_INT("rows", s->rows));
}

enum ficus_err tables_open(struct service *v, struct ficus_error *reterr)
{
    if (v->config->store[0] == '\0')
        return FICUS_ERR_OK;
    struct db_options options = {.path = v->config->store, .readers_max = (size_t)v->config->workers + 2,
                                 .slow_ms = v->config->slow_statement_ms, .slow = on_slow, .slow_arg = v};
    enum ficus_err err = v->config->rebuildable ? open_rebuildable(v, &options, reterr)
                                                : db_open(v->env, &options, &v->db, reterr);
    if (err == FICUS_ERR_OK)
        err = migrate_chassis(v, reterr);
    if (err == FICUS_ERR_OK)
        err = migrate_own(v, reterr);
    if (err == FICUS_ERR_OK)
        err = estore_import(v->db, reterr);
    if (err == FICUS_ERR_OK)
        err = projections_open(v, reterr);
    if (err == FICUS_ERR_OK)
        err = feed_open(v, reterr);
    return err == FICUS_ERR_OK ? err : err_wrap(reterr, "store");
}

/* ---- janitor ---- */

static enum ficus_err sweep(struct service *v, struct db_conn *c, bool *ret_more, struct ficus_error *reterr)
{
    int64_t now_ms = env_wall_ms(v->env), rows = JANITOR_ROWS_MAX;
    enum ficus_err err = db_exec(
        c, reterr, "DELETE FROM ficus_keys WHERE rowid IN (SELECT rowid FROM ficus_keys WHERE at < ? LIMIT ?)", "ii",
        now_ms - KEY_KEPT_MS, rows);
    if (err != FICUS_ERR_OK)
        return err;
    *ret_more = db_changes(c) == JANITOR_ROWS_MAX;
    err = db_exec(c, reterr,
                  "DELETE FROM ficus_steps WHERE (kind, id) IN (SELECT kind, id FROM ficus_steps WHERE state <> 'done' "
                  "AND at < ? LIMIT ?)",
                  "ii", now_ms - STEP_KEPT_MS, rows);
    *ret_more = *ret_more || (err == FICUS_ERR_OK && db_changes(c) == JANITOR_ROWS_MAX);
    return err;
}

bool janitor_sweep(struct service *v)
{
    struct ficus_error error = {0};
    struct db_tx tx = {0};
    bool more = false;
    enum ficus_err err = db_tx_begin(v->db, &tx, env_now_ns(v->env) + (int64_t)JANITOR_TIMEOUT_MS * 1000000, &error);
    if (err == FICUS_ERR_OK) {
        err = sweep(v, db_tx_conn(&tx), &more, &error);
        if (err == FICUS_ERR_OK)
            err = db_tx_commit_wait(&tx, &error);
        else
            db_tx_rollback(&tx);
    }
    if (err == FICUS_ERR_OK)
        return more;
    LOG(&v->process.log, LOG_WARN, NULL, "janitor.failed", "old rows could not be deleted; tried again later",
        LOG_ERR(&error));
    return false;
}

static void janitor_work(void *arg)
{
    struct service *v = arg;
    v->janitor_more = janitor_sweep(v);
}

static void janitor_done(void *arg)
{
    struct service *v = arg;
    v->janitor_runs = false;
    if (v->state == SERVICE_READY)
        env_timer_start(v->env, &v->janitor_timer, v->janitor_more ? JANITOR_AGAIN_MS : JANITOR_EVERY_MS);
    else
        service_check_end(v);
}

static void on_janitor(void *arg)
{
    struct service *v = arg;
    v->janitor_job = (struct env_job){.work = janitor_work, .done = janitor_done, .arg = v};
    v->janitor_runs = env_run(v->env, &v->janitor_job) == FICUS_ERR_OK;
    if (!v->janitor_runs)
        env_timer_start(v->env, &v->janitor_timer, JANITOR_EVERY_MS);
}

void janitor_start(struct service *v)
{
    v->janitor_timer.fn = on_janitor;
    v->janitor_timer.arg = v;
    if (v->db != NULL)
        env_timer_start(v->env, &v->janitor_timer, JANITOR_FIRST_MS);
}

void janitor_stop(struct service *v)
{
    env_timer_stop(v->env, &v->janitor_timer);
}
