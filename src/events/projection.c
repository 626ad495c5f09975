/* SPDX-License-Identifier: Apache-2.0
 *
 * See projection.h. Which step comes next is read from the database each time: there is nothing to take up again after
 * a crash.
 */
#include "projection.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { STATEMENT_SIZE_MAX = 64 * 1024, STEP_SIZE_MAX = 1024 * 1024, VERSION_MAX = 1000000, TABLES_MAX = 500 };

const struct db_migration projection_migrations[] = {
    {1, "0001_projection.sql",
     SLICE("CREATE TABLE ficus_projection(generation INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,"
           " version INTEGER NOT NULL, tables TEXT NOT NULL, checkpoint INTEGER NOT NULL,"
           " state TEXT NOT NULL CHECK(state IN('building', 'serving', 'leaving'))) STRICT;"
           "CREATE UNIQUE INDEX ficus_projection_serving ON ficus_projection(name) WHERE state = 'serving';"
           "CREATE UNIQUE INDEX ficus_projection_building ON ficus_projection(name) WHERE state = 'building';")},
};
const size_t projection_migration_count = sizeof projection_migrations / sizeof *projection_migrations;

/* ---- names ---- */

static bool name_valid(struct slice name)
{
    for (size_t i = 0; i < name.size; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if (!isalpha(c) && (i == 0 || (!isdigit(c) && c != '_')))
            return false;
    }
    return name.size > 0 && name.size <= PROJECTION_NAME_SIZE_MAX;
}

static const struct projection_def *find(const struct projection_def *defs, size_t count, const char *name, int64_t version)
{
    for (size_t i = 0; i < count; i++)
        if (defs[i].version == version && strcmp(defs[i].name, name) == 0)
            return &defs[i];
    return NULL;
}

enum ficus_err projection_check(const struct projection_def *defs, size_t count, struct ficus_error *reterr)
{
    if (count > PROJECTION_COUNT_MAX)
        return err_set(reterr, FICUS_ERR_INVALID, "more than %d projections", PROJECTION_COUNT_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct projection_def *d = &defs[i];
        if (!name_valid(slice_str(d->name)))
            return err_set(reterr, FICUS_ERR_INVALID, "a projection is named by 1 to %d of a-z A-Z 0-9 _, a letter first, not \"%.200s\"",
                           PROJECTION_NAME_SIZE_MAX, d->name);
        if (d->version < 1 || d->version > VERSION_MAX || d->handler == NULL || d->tables == NULL ||
            strlen(d->tables) > PROJECTION_TABLES_SIZE_MAX)
            return err_set(reterr, FICUS_ERR_INVALID, "projection %s needs a version from 1 to %d, tables of at most %d bytes and a handler", d->name,
                           VERSION_MAX, PROJECTION_TABLES_SIZE_MAX);
        if (find(defs, count, d->name, d->version) != d)
            return err_set(reterr, FICUS_ERR_INVALID, "projection %s has version %lld twice", d->name, (long long)d->version);
    }
    return FICUS_ERR_OK;
}

/* How many bytes of quoted text or comment begin here; 0: none do. */
static size_t quoted_size(const char *at, size_t size)
{
    static const struct {
        const char *open, *close;
    } kinds[] = {{"'", "'"}, {"\"", "\""}, {"`", "`"}, {"[", "]"}, {"--", "\n"}, {"/*", "*/"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t open = strlen(kinds[i].open), close = strlen(kinds[i].close);
        if (size < open || memcmp(at, kinds[i].open, open) != 0)
            continue;
        for (size_t end = open; end + close <= size; end++)
            if (memcmp(at + end, kinds[i].close, close) == 0)
                return end + close;
        return size; /* SQLite will say what is wrong with it */
    }
    return 0;
}

enum ficus_err projection_expand(struct slice sql, int64_t generation, struct buf *ret_text, struct ficus_error *reterr)
{
    bool found = false;
    for (size_t at = 0; at < sql.size;) {
        size_t quoted = quoted_size(sql.p + at, sql.size - at);
        if (quoted > 0 || sql.p[at] != '{') {
            size_t n = quoted > 0 ? quoted : 1;
            (void)buf_add(ret_text, sql.p + at, n);
            at += n;
            continue;
        }
        struct slice rest = slice_from(sql, at + 1), name = slice_cut(&rest, '}');
        if (rest.p == NULL || !name_valid(name))
            return err_set(reterr, FICUS_ERR_INVALID, "in braces stands the name of a table: 1 to %d of a-z A-Z 0-9 _, a letter first: %.*s",
                           PROJECTION_NAME_SIZE_MAX, sql.size > 200 ? 200 : (int)sql.size, sql.p);
        (void)buf_printf(ret_text, "\"" SLICE_FMT ".%lld\"", SLICE_ARG(name), (long long)generation);
        at += name.size + 2;
        found = true;
    }
    if (!found)
        return err_set(reterr, FICUS_ERR_INVALID, "a projection names its tables in braces, {orders}, and uses no others: %.*s",
                       sql.size > 200 ? 200 : (int)sql.size, sql.p);
    return buf_failed(ret_text) ? err_set(reterr, FICUS_ERR_TOO_LARGE, "a statement is over the limit") : FICUS_ERR_OK;
}

/* ---- rows ---- */

struct row {
    int64_t generation; /* 0: there is none */
    int64_t version, checkpoint;
};

/* One row of up to three numbers, zeros when there is none. */
static enum ficus_err get(struct db_conn *c, struct row *ret_row, struct ficus_error *reterr, const char *sql, const char *name)
{
    struct db_stmt *s = NULL;
    *ret_row = (struct row){0};
    enum ficus_err err = name == NULL ? db_query(c, &s, reterr, sql, "") : db_query(c, &s, reterr, sql, "s", name);
    int step = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    if (step < 0)
        err = (enum ficus_err)-step;
    if (step == 1)
        *ret_row = (struct row){db_i64(s, 0), db_i64(s, 1), db_i64(s, 2)};
    db_finish(s);
    return err;
}

static enum ficus_err get_serving(struct db_conn *c, const char *name, struct row *ret_row, struct ficus_error *reterr)
{
    return get(c, ret_row, reterr, "SELECT generation, version, checkpoint FROM ficus_projection WHERE name = ? AND state = 'serving'", name);
}

static enum ficus_err get_building(struct db_conn *c, const char *name, struct row *ret_row, struct ficus_error *reterr)
{
    return get(c, ret_row, reterr, "SELECT generation, version, checkpoint FROM ficus_projection WHERE name = ? AND state = 'building'", name);
}

static enum ficus_err get_head(struct db_conn *c, int64_t *ret_position, struct ficus_error *reterr)
{
    struct row row;
    enum ficus_err err = get(c, &row, reterr, "SELECT position, 0, 0 FROM ficus_store_head", NULL);
    *ret_position = row.generation;
    return err;
}

enum ficus_err projection_look(struct db_conn *c, const char *name, int64_t *ret_generation, int64_t *ret_version, bool *ret_building,
                               struct ficus_error *reterr)
{
    struct row serving, building = {0};
    enum ficus_err err = get_serving(c, name, &serving, reterr);
    if (err == FICUS_ERR_OK)
        err = get_building(c, name, &building, reterr);
    *ret_generation = serving.generation;
    *ret_version = serving.version;
    *ret_building = building.generation != 0;
    return err;
}

static enum ficus_err is_made_by(struct db_conn *c, int64_t generation, const struct projection_def *def, bool *ret_same, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    *ret_same = false;
    enum ficus_err err = db_query(c, &s, reterr, "SELECT version = ? AND tables = ? FROM ficus_projection WHERE generation = ?", "isi", def->version,
                                  def->tables, generation);
    int step = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    if (step < 0)
        err = (enum ficus_err)-step;
    *ret_same = step == 1 && db_i64(s, 0) == 1;
    db_finish(s);
    return err;
}

static enum ficus_err set_checkpoint(struct db_conn *c, int64_t generation, int64_t position, struct ficus_error *reterr)
{
    return db_exec(c, reterr, "UPDATE ficus_projection SET checkpoint = ? WHERE generation = ?", "ii", position, generation);
}

static enum ficus_err set_leaving(struct db_conn *c, int64_t generation, struct ficus_error *reterr)
{
    return db_exec(c, reterr, "UPDATE ficus_projection SET state = 'leaving' WHERE generation = ?", "i", generation);
}

/* ---- tables ---- */

/* A statement for each table of a generation; in it, $ is the name without its number and # the one with it. */
static enum ficus_err for_tables(struct db_conn *c, int64_t generation, int64_t count_max, const char *statement, size_t *ret_count,
                                 struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    struct buf script;
    int step = 0;
    *ret_count = 0;
    buf_init(&script, STATEMENT_SIZE_MAX);
    enum ficus_err err = db_query(c, &s, reterr,
                                  "SELECT substr(name, 1, length(name) - length('.' || ?1)), name FROM sqlite_schema"
                                  " WHERE type = 'table' AND name GLOB '*.' || ?1 ORDER BY name LIMIT ?2",
                                  "ii", generation, count_max);
    while (err == FICUS_ERR_OK && (step = db_step(s, reterr)) == 1) {
        for (const char *at = statement; *at != '\0'; at++)
            if (*at == '$' || *at == '#')
                (void)buf_printf(&script, "\"" SLICE_FMT "\"", SLICE_ARG(db_text(s, *at == '$' ? 0 : 1)));
            else
                (void)buf_add_char(&script, *at);
        ++*ret_count;
    }
    db_finish(s);
    if (step < 0)
        err = (enum ficus_err)-step;
    if (err == FICUS_ERR_OK && buf_failed(&script))
        err = err_set(reterr, FICUS_ERR_TOO_LARGE, "a projection has too many tables");
    if (err == FICUS_ERR_OK)
        err = db_script(c, buf_slice(&script), reterr);
    buf_done(&script);
    return err;
}

/* What else the script made is nobody's, and would stay when the generation goes. */
static enum ficus_err check_made(struct db_conn *c, int64_t after_rowid, int64_t generation, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    int64_t tables = 0;
    int step = 0;
    enum ficus_err err = db_query(c, &s, reterr,
                                  "SELECT type, name, name GLOB '*.' || ?2 AND tbl_name GLOB '*.' || ?2 FROM sqlite_schema"
                                  " WHERE rowid > ?1 AND name NOT GLOB 'sqlite_*'",
                                  "ii", after_rowid, generation);
    while (err == FICUS_ERR_OK && (step = db_step(s, reterr)) == 1) {
        bool is_table = slice_eq_str(db_text(s, 0), "table"), is_index = slice_eq_str(db_text(s, 0), "index");
        tables += is_table;
        if ((!is_table && !is_index) || db_i64(s, 2) != 1)
            err = err_set(reterr, FICUS_ERR_INVALID,
                          "the tables of a projection are tables and their indexes, with all names in braces: " SLICE_FMT " " SLICE_FMT " is not",
                          SLICE_ARG(db_text(s, 0)), SLICE_ARG(db_text(s, 1)));
    }
    db_finish(s);
    if (step < 0)
        err = (enum ficus_err)-step;
    return err == FICUS_ERR_OK && tables == 0 ? err_set(reterr, FICUS_ERR_INVALID, "a projection needs a table") : err;
}

static enum ficus_err make_tables(struct db_conn *c, const struct projection_def *def, int64_t generation, struct ficus_error *reterr)
{
    struct buf script;
    struct row last;
    buf_init(&script, 2 * PROJECTION_TABLES_SIZE_MAX);
    enum ficus_err err = get(c, &last, reterr, "SELECT coalesce(max(rowid), 0), 0, 0 FROM sqlite_schema", NULL);
    if (err == FICUS_ERR_OK)
        err = projection_expand(slice_str(def->tables), generation, &script, reterr);
    if (err == FICUS_ERR_OK)
        err = db_script(c, buf_slice(&script), reterr);
    if (err == FICUS_ERR_OK)
        err = check_made(c, last.generation, generation, reterr);
    buf_done(&script);
    if (err == FICUS_ERR_INTERNAL || err == FICUS_ERR_EXISTS || err == FICUS_ERR_CONFLICT) /* as SQLite says of SQL that is wrong */
        reterr->code = err = FICUS_ERR_INVALID;
    return err;
}

/* ---- events ---- */

static enum ficus_err fold(const struct projection_set *set, struct db_conn *c, const struct projection_def *def, int64_t generation,
                           const struct estore_event *ev, struct ficus_error *reterr)
{
    enum ficus_err err = set->fold(set->arg, c, def, generation, ev, reterr);
    return err == FICUS_ERR_OK ? err
                               : err_wrap(reterr, "projection %s, event at position %lld (stream " SLICE_FMT ", version %lld, " SLICE_FMT ")", def->name,
                                          (long long)ev->position, SLICE_ARG(ev->stream), (long long)ev->version, SLICE_ARG(ev->type));
}

enum ficus_err projection_append(const struct projection_set *set, struct db_conn *c, const struct estore_event *ev, struct ficus_error *reterr)
{
    for (size_t i = 0; i < set->name_count; i++) {
        const char *name = set->names[i].newest->name;
        struct row row;
        enum ficus_err err = get_serving(c, name, &row, reterr);
        if (err != FICUS_ERR_OK)
            return err;
        const struct projection_def *def = find(set->defs, set->def_count, name, row.version);
        if (row.generation == 0 || def == NULL || row.checkpoint != ev->position - 1)
            return err_set(reterr, FICUS_ERR_CONFLICT, "projection %s is at position %lld, the event store at %lld; restart the service to catch up", name,
                           (long long)row.checkpoint, (long long)ev->position - 1);
        err = fold(set, c, def, row.generation, ev, reterr);
        if (err == FICUS_ERR_OK)
            err = set_checkpoint(c, row.generation, ev->position, reterr);
        if (err != FICUS_ERR_OK)
            return err;
    }
    return FICUS_ERR_OK;
}

/* The next events into one generation. */
static enum ficus_err feed(const struct projection_set *set, struct env *e, struct db_conn *c, const struct projection_def *def, int64_t generation,
                           int64_t count_max, int64_t until_ns, struct projection_step *step, struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    size_t size = 0;
    int more = 0;
    enum ficus_err err = db_query(c, &s, reterr, "SELECT " ESTORE_COLUMNS " FROM ficus_store WHERE position > ? ORDER BY position LIMIT ?", "ii",
                                  step->checkpoint, count_max);
    while (err == FICUS_ERR_OK && size < STEP_SIZE_MAX && (step->count == 0 || env_now_ns(e) < until_ns) && (more = db_step(s, reterr)) == 1) {
        struct estore_event ev;
        estore_event_at(s, &ev, NULL);
        err = ev.position == step->checkpoint + 1
                  ? fold(set, c, def, generation, &ev, reterr)
                  : err_set(reterr, FICUS_ERR_CORRUPT, "the event store has no event at position %lld; see ficus events verify",
                            (long long)step->checkpoint + 1);
        step->checkpoint++;
        step->count++;
        step->time_ms = ev.time_ms;
        size += ev.data.size;
    }
    db_finish(s);
    if (more < 0)
        err = (enum ficus_err)-more;
    if (err == FICUS_ERR_OK && step->count == 0)
        return err_set(reterr, FICUS_ERR_CORRUPT, "the event store ends before its head; see ficus events verify");
    return err == FICUS_ERR_OK ? set_checkpoint(c, generation, step->checkpoint, reterr) : err;
}

static enum ficus_err drop_views(struct db_conn *c, int64_t generation, struct ficus_error *reterr)
{
    size_t count;
    return for_tables(c, generation, TABLES_MAX, "DROP VIEW IF EXISTS $;", &count, reterr);
}

static enum ficus_err make_views(struct db_conn *c, const char *name, int64_t generation, struct ficus_error *reterr)
{
    size_t count;
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, reterr,
                                  "SELECT a.type, a.name FROM sqlite_schema a JOIN sqlite_schema b"
                                  " ON b.type = 'table' AND b.name = a.name || '.' || ? COLLATE NOCASE LIMIT 1",
                                  "i", generation);
    int step = err == FICUS_ERR_OK ? db_step(s, reterr) : 0;
    if (step == 1)
        err = err_set(reterr, FICUS_ERR_INVALID, "projection %s: there is a " SLICE_FMT " " SLICE_FMT " that is not its own; a migration must drop it", name,
                      SLICE_ARG(db_text(s, 0)), SLICE_ARG(db_text(s, 1)));
    db_finish(s);
    if (step < 0)
        err = (enum ficus_err)-step;
    return err == FICUS_ERR_OK ? for_tables(c, generation, TABLES_MAX, "CREATE VIEW $ AS SELECT * FROM #;", &count, reterr) : err;
}

/* The two change places. */
static enum ficus_err change(struct db_conn *c, const char *name, int64_t generation, struct ficus_error *reterr)
{
    struct row old;
    enum ficus_err err = get_serving(c, name, &old, reterr);
    if (err == FICUS_ERR_OK && old.generation != 0)
        err = drop_views(c, old.generation, reterr);
    if (err == FICUS_ERR_OK && old.generation != 0)
        err = set_leaving(c, old.generation, reterr);
    if (err == FICUS_ERR_OK)
        err = make_views(c, name, generation, reterr);
    return err != FICUS_ERR_OK ? err : db_exec(c, reterr, "UPDATE ficus_projection SET state = 'serving' WHERE generation = ?", "i", generation);
}

/* ---- what is next ---- */

struct plan {
    enum projection_work work; /* NOTHING: none of this name */
    bool is_needed;            /* to serve */
    const struct projection_def *def;
    struct row row;
    bool has_views; /* of LEFT */
};

static enum ficus_err plan_name(const struct projection_set *set, struct db_conn *c, const struct projection *p, int64_t head, struct plan *ret_plan,
                                struct ficus_error *reterr)
{
    const char *name = p->newest->name;
    struct row serving, building;
    bool same = true;
    *ret_plan = (struct plan){.def = p->newest};
    enum ficus_err err = get_serving(c, name, &serving, reterr);
    if (err == FICUS_ERR_OK)
        err = get_building(c, name, &building, reterr);
    const struct projection_def *def = err == FICUS_ERR_OK ? find(set->defs, set->def_count, name, serving.version) : NULL;
    if (def != NULL && serving.generation != 0)
        err = is_made_by(c, serving.generation, def, &same, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (!same)
        return err_set(reterr, FICUS_ERR_INVALID, "projection %s: its tables are not those that version %lld had; they need a new version", name,
                       (long long)serving.version);
    ret_plan->is_needed = def == NULL || serving.generation == 0 || serving.checkpoint < head;
    if (def != NULL && ret_plan->is_needed) {
        *ret_plan = (struct plan){PROJECTION_CAUGHT_UP, true, def, serving};
        return FICUS_ERR_OK;
    }
    if (building.generation != 0) {
        err = is_made_by(c, building.generation, p->newest, &same, reterr);
        ret_plan->row = building;
        ret_plan->work = same && !p->is_given_up ? PROJECTION_FED : PROJECTION_LEFT;
    } else if (!p->is_given_up && (ret_plan->is_needed || p->is_asked || serving.version != p->newest->version)) {
        ret_plan->work = PROJECTION_BEGUN;
    }
    return err;
}

/* Of names that no version of the program has. */
static enum ficus_err plan_unknown(const struct projection_set *set, struct db_conn *c, struct plan *ret_plan, struct projection_step *step,
                                   struct ficus_error *reterr)
{
    struct db_stmt *s = NULL;
    int more = 0;
    *ret_plan = (struct plan){0};
    enum ficus_err err = db_query(c, &s, reterr, 
                                  "SELECT generation, version, checkpoint, name, state = 'serving' FROM ficus_projection WHERE state <> 'leaving'", "");
    while (err == FICUS_ERR_OK && ret_plan->work == PROJECTION_NOTHING && (more = db_step(s, reterr)) == 1) {
        bool known = false;
        for (size_t i = 0; i < set->name_count; i++)
            known = known || slice_eq_str(db_text(s, 3), set->names[i].newest->name);
        if (known)
            continue;
        *ret_plan = (struct plan){.work = PROJECTION_LEFT, .row = {db_i64(s, 0), db_i64(s, 1), db_i64(s, 2)}, .has_views = db_i64(s, 4) == 1};
        (void)snprintf(step->name, sizeof step->name, SLICE_FMT, SLICE_ARG(db_text(s, 3)));
    }
    db_finish(s);
    return more < 0 ? (enum ficus_err)-more : err;
}

static enum ficus_err plan_next(const struct projection_set *set, struct db_conn *c, struct plan *ret_plan, struct projection_step *step,
                                struct ficus_error *reterr)
{
    struct plan first = {0}, needed = {0}, plan, unknown;
    step->is_servable = true;
    for (size_t i = 0; i < set->name_count; i++) {
        enum ficus_err err = plan_name(set, c, &set->names[i], step->head, &plan, reterr);
        if (err != FICUS_ERR_OK)
            return err;
        step->is_servable = step->is_servable && !plan.is_needed;
        if (needed.work == PROJECTION_NOTHING && plan.is_needed)
            needed = plan;
        if (first.work == PROJECTION_NOTHING)
            first = plan;
    }
    enum ficus_err err = plan_unknown(set, c, &unknown, step, reterr);
    if (err == FICUS_ERR_OK)
        err = get(c, &plan.row, reterr, "SELECT generation, version, checkpoint FROM ficus_projection WHERE state = 'leaving'", NULL);
    *ret_plan = unknown.work != PROJECTION_NOTHING  ? unknown /* it may have the name of a table that is needed */
                : needed.work != PROJECTION_NOTHING ? needed
                : plan.row.generation != 0          ? (struct plan){.work = PROJECTION_DROPPED, .row = plan.row}
                                                    : first;
    return err;
}

/* ---- the step ---- */

static enum ficus_err begin(struct db_conn *c, const struct projection_def *def, int64_t *ret_generation, struct ficus_error *reterr)
{
    struct row made;
    enum ficus_err err = db_exec(c, reterr, "INSERT INTO ficus_projection(name, version, tables, checkpoint, state) VALUES(?, ?, ?, 0, 'building')", "sis",
                                 def->name, def->version, def->tables);
    if (err == FICUS_ERR_OK)
        err = get_building(c, def->name, &made, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    *ret_generation = made.generation;
    err = make_tables(c, def, made.generation, reterr);
    return err == FICUS_ERR_OK ? err : err_wrap(reterr, "projection %s, version %lld", def->name, (long long)def->version);
}

static enum ficus_err drop(struct db_conn *c, int64_t generation, struct ficus_error *reterr)
{
    size_t count = 0;
    enum ficus_err err = for_tables(c, generation, 1, "DROP TABLE #;", &count, reterr);
    return err != FICUS_ERR_OK || count > 0 ? err : db_exec(c, reterr, "DELETE FROM ficus_projection WHERE generation = ?", "i", generation);
}

enum ficus_err projection_step(const struct projection_set *set, struct env *e, struct db_conn *c, int64_t count_max, int64_t until_ns,
                               struct projection_step *ret_step, struct ficus_error *reterr)
{
    struct plan plan;
    struct projection_step *step = ret_step;
    *step = (struct projection_step){0};
    enum ficus_err err = get_head(c, &step->head, reterr);
    if (err == FICUS_ERR_OK)
        err = plan_next(set, c, &plan, step, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    step->work = plan.work;
    step->generation = plan.row.generation;
    step->version = plan.row.generation != 0 ? plan.row.version : plan.def == NULL ? 0 : plan.def->version;
    step->checkpoint = plan.row.checkpoint;
    if (plan.def != NULL && plan.work != PROJECTION_NOTHING)
        (void)snprintf(step->name, sizeof step->name, "%s", plan.def->name);
    switch (plan.work) {
    case PROJECTION_BEGUN:
        return begin(c, plan.def, &step->generation, reterr);
    case PROJECTION_CAUGHT_UP:
        return feed(set, e, c, plan.def, plan.row.generation, count_max, until_ns, step, reterr);
    case PROJECTION_FED:
        if (step->checkpoint < step->head)
            err = feed(set, e, c, plan.def, plan.row.generation, count_max, until_ns, step, reterr);
        if (err != FICUS_ERR_OK || step->checkpoint < step->head)
            return err;
        step->work = PROJECTION_CHANGED;
        return change(c, plan.def->name, plan.row.generation, reterr);
    case PROJECTION_LEFT:
        err = plan.has_views ? drop_views(c, plan.row.generation, reterr) : FICUS_ERR_OK;
        return err == FICUS_ERR_OK ? set_leaving(c, plan.row.generation, reterr) : err;
    case PROJECTION_DROPPED:
        return drop(c, plan.row.generation, reterr);
    default:
        return FICUS_ERR_OK;
    }
}
