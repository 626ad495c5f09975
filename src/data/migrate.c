/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbered migrations: what ran is kept with its SHA-256, so that an edited or missing one is found and never run
 * twice.
 */
#include "db_private.h"
#include "sha256.h"
#include "timefmt.h"

#define TABLE_SQL                                                                                           \
    "CREATE TABLE IF NOT EXISTS ficus_migrations(set_name TEXT NOT NULL, version INTEGER NOT NULL,"         \
    " name TEXT NOT NULL, sha256 TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY(set_name, version)) STRICT"

bool db_migration_name(const char *path, int64_t *ret_version, struct slice *ret_name)
{
    const char *base = strrchr(path, '/');
    struct slice name = slice_str(base == NULL ? path : base + 1);
    if (!slice_ends(name, SLICE(".sql")))
        return false;
    name.size -= 4;
    struct slice number = slice_cut(&name, '_');
    uint64_t version = 0;
    if (name.p == NULL || name.size == 0 || number.size != 4 || !slice_to_u64(number, &version) || version == 0)
        return false;
    *ret_version = (int64_t)version;
    *ret_name = name;
    return true;
}

static enum ficus_err list_check(const char *set, const struct db_migration *list, size_t count,
                                 struct ficus_error *reterr)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].version != (int64_t)i + 1)
            return err_set(reterr, FICUS_ERR_INVALID,
                "migrations of %s: %s has number %lld, but %zu must come next (numbers go up from 1 "
                "without gaps)", set, list[i].name, (long long)list[i].version, i + 1);
    return FICUS_ERR_OK;
}

/* One row of those that ran, against what we have. */
static enum ficus_err ran_check(struct db_stmt *s, const char *path, const char *set, const struct db_migration *list,
                                size_t count, size_t ran, struct ficus_error *reterr)
{
    int64_t version = db_i64(s, 0);
    struct slice name = db_text(s, 1);
    if (version > (int64_t)count)
        return err_set(reterr, FICUS_ERR_VERSION,
            "%s: migration %lld of %s (" SLICE_FMT ") ran here, but this program only knows %zu; it is older than the "
            "database: run the newer one again, or put back the database from before its first start",
            path, (long long)version, set, SLICE_ARG(name), count);
    if (version != (int64_t)ran + 1)
        return err_set(reterr, FICUS_ERR_CORRUPT, "%s: migration %zu of %s is missing in ficus_migrations", path,
            ran + 1, set);
    char hash[SHA256_HEX_SIZE];
    if (!sha256_hex(list[ran].sql, hash))
        return err_set(reterr, FICUS_ERR_INTERNAL, "SHA-256 is not available");
    if (!slice_eq_str(db_text(s, 2), hash))
        return err_set(reterr, FICUS_ERR_CONFLICT,
            "%s: migration %lld of %s (%s) ran with another text; put the old text back and write a new "
            "migration", path, (long long)version, set, list[ran].name);
    return FICUS_ERR_OK;
}

static enum ficus_err ran_count(struct db_conn *c, const char *set, const struct db_migration *list, size_t count,
                                size_t *ret_ran, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    size_t ran = 0;
    int more = 0;
    enum ficus_err err = db_query(c, &s, reterr,
        "SELECT version, name, sha256 FROM ficus_migrations WHERE set_name = ? ORDER BY version", "s", set);
    while (err == FICUS_ERR_OK && (more = db_step(s, reterr)) > 0) {
        err = ran_check(s, c->db->path, set, list, count, ran, reterr);
        ran++;
    }
    db_finish(s);
    if (err == FICUS_ERR_OK && more < 0)
        err = (enum ficus_err)-more;
    if (err == FICUS_ERR_OK)
        *ret_ran = ran;
    return err;
}

static enum ficus_err run_one(struct db *d, struct db_conn *c, const char *set, const struct db_migration *m,
                              struct ficus_error *reterr)
{
    char at[TIME_TEXT_SIZE], hash[SHA256_HEX_SIZE];
    enum ficus_err err = db_script(c, m->sql, reterr);
    if (err != FICUS_ERR_OK) {
        (void)err_wrap(reterr, "migration %s of %s", m->name, set);
        return err;
    }
    time_format(env_wall_ms(d->env), at);
    if (!sha256_hex(m->sql, hash))
        return err_set(reterr, FICUS_ERR_INTERNAL, "SHA-256 is not available");
    return db_exec(c, reterr, "INSERT INTO ficus_migrations(set_name, version, name, sha256, at) VALUES(?, ?, ?, ?, ?)",
        "sisss", set, m->version, m->name, hash, at);
}

static enum ficus_err check_all(struct db *d, const char *set, const struct db_migration *list, size_t count,
                                size_t *ret_ran, struct ficus_error *reterr)
{
    struct db_tx tx = {0};
    enum ficus_err err = db_tx_begin(d, &tx, 0, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    struct db_conn *c = db_tx_conn(&tx);
    err = db_exec(c, reterr, TABLE_SQL, "");
    if (err == FICUS_ERR_OK)
        err = ran_count(c, set, list, count, ret_ran, reterr);
    if (err == FICUS_ERR_OK)
        return db_tx_commit_wait(&tx, reterr);
    db_tx_rollback(&tx);
    return err;
}

enum ficus_err db_migrate(struct db *d, const char *set, const struct db_migration *list, size_t count,
                          struct ficus_error *reterr)
{
    size_t ran = 0;
    enum ficus_err err = list_check(set, list, count, reterr);
    if (err == FICUS_ERR_OK)
        err = check_all(d, set, list, count, &ran, reterr);
    for (size_t i = ran; i < count && err == FICUS_ERR_OK; i++) {
        struct db_tx tx = {0};
        err = db_tx_begin(d, &tx, 0, reterr);
        if (err != FICUS_ERR_OK)
            break;
        err = run_one(d, db_tx_conn(&tx), set, &list[i], reterr);
        if (err == FICUS_ERR_OK)
            err = db_tx_commit_wait(&tx, reterr);
        else
            db_tx_rollback(&tx);
    }
    return err;
}
