/* SPDX-License-Identifier: Apache-2.0
 *
 * What the stores on the disks say, as tables of one database of the tests' own. Each store is read through a connection that stays open all along, over a view of its
 * host's disk (sim_disk_view), as one finds it who opens it at that moment: SQLite recovers the write-ahead log anew. Facts are only written when they are others than
 * before, and which tables were is told, so that only what may have changed is checked.
 */
#include "shop_sim.h"

#include "assert.h"
#include "db_private.h"
#include "elog_private.h"
#include "estore.h"
#include "mem.h"

#include <ctype.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

enum { COLUMNS_MAX = 8, ANSWERED_COLUMNS = 8, ROWS_SIZE_MAX = 16 * 1024 * 1024, SHM_REGION_SIZE = 32 * 1024, WAL_INDEX_HEADER_SIZE = 136 };

static const struct {
    const char *name, *columns;
} tables[] = {
    {"orders", "id TEXT, user_id TEXT, status TEXT, reason TEXT, total INTEGER"},
    {"item", "order_id TEXT, sku TEXT, quantity INTEGER"},
    {"history", "order_id TEXT, status TEXT"},
    {"payment", "order_id TEXT, amount INTEGER, status TEXT"},
    {"ledger", "order_id TEXT, kind TEXT, amount INTEGER"},
    {"movement", "order_id TEXT, sku TEXT, quantity INTEGER, kind TEXT"},
    {"stock", "sku TEXT, on_hand INTEGER, reserved INTEGER"},
    {"notification", "order_id TEXT, kind TEXT"},
    {"saga", "saga TEXT, id TEXT, state TEXT"},
    {"flow", "flow TEXT, id TEXT, state TEXT"},
    {"event", "topic TEXT, subject TEXT, id TEXT"},
    {"outbox", "host TEXT, seq INTEGER"},
    {"cart_item", "user_id TEXT, sku TEXT, quantity INTEGER"},
    {"search", "sku TEXT, available INTEGER"},
    {"catalog", "sku TEXT, available INTEGER"},
    {"stock_set", "sku TEXT, set_to INTEGER"},
    {"answered", "id TEXT, user_id TEXT, cart_anew INTEGER, cancelled INTEGER, cancel_asked INTEGER, card_good INTEGER, scarce INTEGER, impatient INTEGER"},
};

/* Where facts come from: a row each, or from the log its records, with a row for each event. Sources of one store stand together. */
static const struct source {
    const char *host, *select, *insert, *forget;
} sources[] = {
    {"orders", "SELECT id, user_id, status, reason, total FROM orders", "INSERT INTO orders VALUES (?, ?, ?, ?, ?)", "DELETE FROM orders"},
    {"orders", "SELECT substr(stream, 7), json_extract(value, '$.sku'), json_extract(value, '$.quantity') FROM ficus_store, json_each(data, '$.items') "
     "WHERE ficus_store.type IN ('placed', 'items_added')", "INSERT INTO item VALUES (?, ?, ?)", "DELETE FROM item"},
    {"orders", "SELECT substr(stream, 7), iif(type = 'placed', 'pending', type) FROM ficus_store WHERE type IN ('placed', 'confirmed', 'cancelled')", "INSERT INTO history VALUES (?, ?)", "DELETE FROM history"},
    {"orders", "SELECT 'orders', seq FROM ficus_outbox", "INSERT INTO outbox VALUES (?, ?)", "DELETE FROM outbox WHERE host = 'orders'"},
    {"payments", "SELECT order_id, amount, status FROM payment", "INSERT INTO payment VALUES (?, ?, ?)", "DELETE FROM payment"},
    {"bank", "SELECT order_id, kind, amount FROM ledger", "INSERT INTO ledger VALUES (?, ?, ?)", "DELETE FROM ledger"},
    {"inventory", "SELECT order_id, sku, quantity, kind FROM movement", "INSERT INTO movement VALUES (?, ?, ?, ?)", "DELETE FROM movement"},
    {"inventory", "SELECT sku, on_hand, reserved FROM stock", "INSERT INTO stock VALUES (?, ?, ?)", "DELETE FROM stock"},
    {"inventory", "SELECT 'inventory', seq FROM ficus_outbox", "INSERT INTO outbox VALUES (?, ?)", "DELETE FROM outbox WHERE host = 'inventory'"},
    {"notifications", "SELECT order_id, kind FROM notification", "INSERT INTO notification VALUES (?, ?)", "DELETE FROM notification"},
    {"cart", "SELECT user_id, sku, quantity FROM item", "INSERT INTO cart_item VALUES (?, ?, ?)", "DELETE FROM cart_item"},
    {"search", "SELECT p.sku, s.available FROM product p JOIN stock s ON s.sku = p.sku", "INSERT INTO search VALUES (?, ?)", "DELETE FROM search"},
    {"catalog", "SELECT p.sku, s.available FROM product p JOIN stock s ON s.sku = p.sku", "INSERT INTO catalog VALUES (?, ?)", "DELETE FROM catalog"},
    {"hub", "SELECT saga, id, state FROM saga_instance", "INSERT INTO saga VALUES (?, ?, ?)", "DELETE FROM saga"},
    {"hub-flows", "SELECT flow, id, iif(open = 1, 'open', 'ended') FROM flow_instance", "INSERT INTO flow VALUES (?, ?, ?)", "DELETE FROM flow"},
    {"hub-log", "SELECT " ELOG_RECORD_COLUMNS " FROM record", "INSERT INTO event VALUES (?, ?, ?)", "DELETE FROM event"},
};

/* Rows as they were written last: of each value its size (NULL_VALUE: NULL) and its bytes. */
#define NULL_VALUE UINT32_MAX

/* The file, its log and the journal of a store that is being made. */
enum { STORE_PARTS = 3 };
static const char *const store_parts[STORE_PARTS] = {"", "-wal", "-journal"};

/* A store as it was read last. */
struct store_view {
    struct db *db;              /* NULL: it was not there yet */
    struct db_conn *conn;
    int64_t schema_version;     /* of what its statements were prepared for */
    uint64_t parts[STORE_PARTS];    /* sim_disk_changed */
};

/* The facts, and up to where they tell of each host. */
struct shop_facts {
    struct sim *world;          /* of its own: who looks on draws nothing from the shop's */
    struct db *db;
    struct db_tx tx;            /* open for ever: nothing in it is to last */
    struct db_conn *conn;
    uint64_t seen[SHOP_HOSTS_MAX];
    struct sim_process *readers[SHOP_HOSTS_MAX];
    struct store_view stores[ARRAY_COUNT(sources)];     /* at the first source of each store */
    struct buf rows[ARRAY_COUNT(sources)], answered, fresh;
};

static void must(struct shop *s, enum ficus_err err, const struct ficus_error *error)
{
    if (err != FICUS_ERR_OK)
        shop_fail(s, "the check itself failed: %s", error->text);
}

/* The hub has three: sources name its log "hub-log", what it knows of flows "hub-flows". */
static const char *host_store(const struct shop_host *h, const char *source)
{
    if (h->service != NULL)
        return h->service_config.store;
    if (strcmp(source, "hub-flows") == 0)
        return h->hub_config.flow_file;
    return strcmp(source, "hub") == 0 ? h->hub_config.journal_file : h->hub_config.log_file;
}

static bool source_is_of(const struct source *src, const struct shop_host *h)
{
    return strcmp(src->host, h->name) == 0 || (h->service == NULL && strncmp(src->host, "hub-", 4) == 0);
}

/* Flows are asked for at rest alone. */
static bool is_for_rest(const struct source *src)
{
    return strcmp(src->host, "hub-flows") == 0;
}

/* ---- which tables a statement names ---- */

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static bool has_word(const char *text, const char *word)
{
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
        if ((at == text || !is_word(at[-1])) && !is_word(at[strlen(word)]))
            return true;
    return false;
}

uint64_t shop_facts_named(const char *sql)
{
    uint64_t named = 0;
    for (size_t i = 0; i < ARRAY_COUNT(tables); i++)
        if (has_word(sql, tables[i].name))
            named |= UINT64_C(1) << i;
    return named;
}

/* ---- rows ---- */

static void row_add(struct buf *rows, struct slice value)
{
    uint32_t size = value.p == NULL ? NULL_VALUE : (uint32_t)value.size;
    FICUS_ASSERT(buf_add(rows, &size, sizeof size) && (value.size == 0 || buf_add_slice(rows, value)));
}

static void row_add_number(struct buf *rows, int64_t value)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%lld", (long long)value);
    row_add(rows, slice_make(text, (size_t)n));
}

static struct slice row_take(struct slice *rest)
{
    uint32_t size;
    memcpy(&size, rest->p, sizeof size);
    *rest = slice_from(*rest, sizeof size);
    if (size == NULL_VALUE)
        return SLICE_NONE;
    struct slice value = slice_make(rest->p, size);
    *rest = slice_from(*rest, size);
    return value;
}

/* The tables are what the rows say from now on; whether they were not. Numbers are text here, and become numbers by their columns' types. */
static bool rows_put(struct shop *s, struct buf *was, const struct buf *rows, const char *forget, const char *insert)
{
    struct ficus_error error = {0};
    static const char formats[] = "SSSSSSSS";
    struct slice rest = buf_slice(rows);
    size_t columns = 0;
    if (slice_eq(rest, buf_slice(was)))
        return false;
    buf_clear(was);
    FICUS_ASSERT(buf_add_slice(was, rest));
    for (const char *p = insert; *p != '\0'; p++)
        columns += *p == '?';
    FICUS_ASSERT(columns > 0 && columns <= COLUMNS_MAX);
    must(s, db_exec(s->facts->conn, &error, forget, ""), &error);
    while (rest.size > 0) {
        struct slice v[COLUMNS_MAX] = {SLICE_NONE};
        for (size_t i = 0; i < columns; i++)
            v[i] = row_take(&rest);
        must(s, db_exec(s->facts->conn, &error, insert, formats + COLUMNS_MAX - columns, v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]), &error);
    }
    return true;
}

/* The events of one record of the log. */
static void row_add_events(struct shop *s, struct buf *rows, struct db_stmt *record)
{
    struct ficus_error error = {0};
    struct elog_head head;
    struct elog_cursor cursor;
    struct event ev;
    int more;
    elog_row_head(record, &head);
    must(s, elog_record_open(&cursor, &head, db_blob(record, ELOG_BODY_COLUMN), &error), &error);
    while ((more = elog_record_next(&cursor, &ev, NULL, &error)) == 1) {
        row_add(rows, ev.topic);
        row_add(rows, ev.subject.p == NULL ? SLICE("") : ev.subject);
        row_add(rows, ev.id);
    }
    must(s, (enum ficus_err)-more, &error);
}

/* ---- stores ---- */

/* A store whose tables are not there yet has no facts. */
static bool store_ready(struct db_conn *c, const char *select)
{
    struct db_stmt *stmt = NULL;
    bool ready = db_query(c, &stmt, NULL, select, "") == FICUS_ERR_OK;
    db_finish(stmt);
    return ready;
}

static void rows_read(struct shop *s, const struct source *src, struct db_conn *c, struct buf *rows)
{
    struct ficus_error error = {0};
    struct db_stmt *row = NULL;
    int more;
    if (!store_ready(c, src->select))
        return;
    must(s, db_query(c, &row, &error, src->select, ""), &error);
    while ((more = db_step(row, &error)) == 1)
        if (strcmp(src->host, "hub-log") == 0)
            row_add_events(s, rows, row);
        else
            for (int i = 0; i < db_column_count(row); i++)
                row_add(rows, db_text(row, i));
    if (more < 0)
        shop_fail(s, "%s: %s", src->host, error.text);
    db_finish(row);
}

/* A store whose tables are there: its events are as they were added, whatever was killed when. */
static void chain_check(struct shop *s, struct db_conn *c, const char *host)
{
    struct ficus_error error = {0};
    struct estore_check check = {0};
    if (!store_ready(c, "SELECT 1 FROM ficus_store_head"))
        return;
    must(s, estore_verify(c, 1000000, &check, &error), &error);
    if (check.finding_count > 0)
        shop_fail(s, "event store of %s: position %lld %s: %s", host, (long long)check.findings[0].position,
                  estore_fault_names[check.findings[0].fault], check.findings[0].text);
}

/* Whether the store may be another than when it was read last. */
static bool store_changed(const struct sim_disk *d, const char *path, struct store_view *v)
{
    bool changed = false;
    for (int i = 0; i < STORE_PARTS; i++) {
        char part[512];
        snprintf(part, sizeof part, "%s%s", path, store_parts[i]);
        uint64_t now = sim_disk_changed(d, part);
        changed |= now != v->parts[i];
        v->parts[i] = now;
    }
    return changed;
}

/* As long as a store is being made it cannot be opened without writing to it, which a view refuses: it has no facts yet. */
static void store_open(struct shop *s, int host, const char *path, struct store_view *v)
{
    struct shop_host *h = &s->hosts[host];
    struct ficus_error error = {0};
    const struct db_options options = {.path = path, .is_derived = true, .readers_max = 1};
    if (!sim_disk_exists(h->disk, path))
        return;
    if (s->facts->readers[host] == NULL) {
        struct sim_disk *view = sim_disk_view(h->disk);
        FICUS_ASSERT(view != NULL);
        s->facts->readers[host] = sim_start(s->facts->world, "reader", view, 1, NULL, NULL);
    }
    enum ficus_err err = db_open(sim_env(s->facts->readers[host]), &options, &v->db, &error);
    if (err == FICUS_ERR_READ_ONLY) {
        v->db = NULL;
        return;
    }
    must(s, err, &error);
    must(s, db_reader_take(v->db, &v->conn, &error), &error);
}

/* The connection is to find the files as if it had just opened them: what it keeps of them goes, and without a sound header of the
 * index SQLite recovers the write-ahead log. */
static void store_forget(struct db_conn *c)
{
    sqlite3_file *file = c->file;
    void volatile *header = NULL;
    db_conn_reset(c);
    if (db_conn_in_transaction(c))
        FICUS_ASSERT(db_conn_control(c, DB_ROLLBACK, NULL) == FICUS_ERR_OK);
    FICUS_ASSERT(file->pMethods->xShmMap(file, 0, SHM_REGION_SIZE, 0, &header) == SQLITE_OK && header != NULL);
    for (size_t i = 0; i < WAL_INDEX_HEADER_SIZE; i++)
        ((char volatile *)header)[i] = 0;
    (void)sqlite3_db_release_memory(c->handle);
}

static int64_t ask_number(struct shop *s, struct db_conn *c, const char *sql)
{
    struct ficus_error error = {0};
    struct db_stmt *row = NULL;
    must(s, db_query(c, &row, &error, sql, ""), &error);
    if (db_step(row, &error) != 1)
        shop_fail(s, "the check itself failed: %s", error.text);
    int64_t number = db_i64(row, 0);
    db_finish(row);
    return number;
}

/* All of one moment. Migrations make tables and drop them: what was prepared before is prepared anew, by what a first statement finds. */
static void store_begin(struct shop *s, struct store_view *v)
{
    struct ficus_error error = {0};
    must(s, db_reader_snapshot(v->conn, &error), &error);
    int64_t version = ask_number(s, v->conn, "PRAGMA schema_version");
    if (version == v->schema_version)
        return;
    db_conn_forget(v->conn);
    (void)ask_number(s, v->conn, "SELECT count(*) FROM sqlite_schema");
    v->schema_version = version;
}

/* The watchman's watchman: the rows are those that a process finds that opens a copy of the store. */
static void read_again(struct shop *s, const struct shop_host *h, const struct source *src, struct slice rows)
{
    struct ficus_error error = {0};
    struct db *d = NULL;
    struct db_tx tx = {0};
    struct buf again;
    const struct db_options options = {.path = host_store(h, src->host), .is_derived = true};
    buf_init(&again, ROWS_SIZE_MAX);
    if (sim_disk_exists(h->disk, options.path)) {
        struct sim_disk *copy = sim_disk_clone(h->disk);
        FICUS_ASSERT(copy != NULL);
        struct sim_process *p = sim_start(s->facts->world, "copy", copy, 1, NULL, NULL);
        must(s, db_open(sim_env(p), &options, &d, &error), &error);
        must(s, db_tx_begin(d, &tx, 0, &error), &error);
        rows_read(s, src, db_tx_conn(&tx), &again);
        db_tx_rollback(&tx);
        sim_disk_die_after(copy, 0);    /* it is thrown away: no checkpoint at its end */
        db_close(d);
        sim_kill(p);
        sim_disk_free(copy);
    }
    if (!slice_eq(rows, buf_slice(&again)))
        shop_fail(s, "the check itself failed: a copy of %s says something else to: %s", options.path, src->select);
    buf_done(&again);
}

/* All sources that lie in one store, the first of which is given; the tables that are others than before. Runs outside any simulated stack, so nothing in it
 * yields: the world stands still meanwhile. */
static uint64_t store_read(struct shop *s, int host, size_t first)
{
    const struct shop_host *h = &s->hosts[host];
    const char *path = host_store(h, sources[first].host);
    struct store_view *v = &s->facts->stores[first];
    struct buf *rows = &s->facts->fresh;
    uint64_t changed = 0;
    if (!store_changed(h->disk, path, v))
        return 0;
    if (v->db == NULL)
        store_open(s, host, path, v);
    if (v->db != NULL) {
        store_forget(v->conn);
        store_begin(s, v);
    }
    for (size_t i = first; i < ARRAY_COUNT(sources) && strcmp(sources[i].host, sources[first].host) == 0; i++) {
        buf_clear(rows);
        if (v->db != NULL)
            rows_read(s, &sources[i], v->conn, rows);
        if (s->twice)
            read_again(s, h, &sources[i], buf_slice(rows));
        if (rows_put(s, &s->facts->rows[i], rows, sources[i].forget, sources[i].insert))
            changed |= shop_facts_named(sources[i].insert);
    }
    if (v->db != NULL)
        chain_check(s, v->conn, h->name);
    return changed;
}

static uint64_t host_read(struct shop *s, int host, bool rest)
{
    uint64_t changed = 0;
    for (size_t i = 0; i < ARRAY_COUNT(sources); i++)
        if (source_is_of(&sources[i], &s->hosts[host]) && (rest || !is_for_rest(&sources[i])) &&
            (i == 0 || strcmp(sources[i].host, sources[i - 1].host) != 0))
            changed |= store_read(s, host, i);
    return changed;
}

/* ---- customers ---- */

static bool card_good(const struct shop_order *o)
{
    return strcmp(o->card, "4000000000000002") != 0 && strcmp(o->card, "4000000000009995") != 0;
}

static uint64_t client_read(struct shop *s)
{
    static const char insert[] = "INSERT INTO answered VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    struct buf *rows = &s->facts->fresh;
    buf_clear(rows);
    for (int i = 0; i < s->order_count; i++) {
        const struct shop_order *o = &s->orders[i];
        if (o->state != SHOP_ORDER_ACCEPTED)
            continue;
        bool scarce = false;
        for (int k = 0; k < o->item_count; k++)
            scarce |= o->items[k].sku == 0;
        const int64_t numbers[] = {o->cart == SHOP_CART_FILLED_ANEW, o->cancel_answered, o->cancel_after_ms >= 0, card_good(o), scarce, s->impatient};
        row_add(rows, slice_str(o->id));
        row_add(rows, slice_str(o->user));
        for (size_t k = 0; k < ARRAY_COUNT(numbers); k++)
            row_add_number(rows, numbers[k]);
    }
    return rows_put(s, &s->facts->answered, rows, "DELETE FROM answered", insert) ? shop_facts_named(insert) : 0;
}

/* ---- all of it ---- */

static void facts_new(struct shop *s)
{
    struct ficus_error error = {0};
    struct shop_facts *f = s->facts = mem_zalloc(sizeof *f);
    struct sim_disk *disk = sim_disk_new();
    FICUS_ASSERT(f != NULL && disk != NULL);
    for (size_t i = 0; i < ARRAY_COUNT(sources); i++)
        buf_init(&f->rows[i], ROWS_SIZE_MAX);
    buf_init(&f->answered, ROWS_SIZE_MAX);
    buf_init(&f->fresh, ROWS_SIZE_MAX);
    f->world = sim_new(1);
    const struct db_options options = {.path = "/facts.db"};
    must(s, db_open(sim_env(sim_start(f->world, "facts", disk, 1, NULL, NULL)), &options, &f->db, &error), &error);
    must(s, db_tx_begin(f->db, &f->tx, 0, &error), &error);
    f->conn = db_tx_conn(&f->tx);
    for (size_t i = 0; i < ARRAY_COUNT(tables); i++) {
        char sql[256];
        snprintf(sql, sizeof sql, "CREATE TABLE %s(%s)", tables[i].name, tables[i].columns);
        must(s, db_exec(f->conn, &error, sql, ""), &error);
    }
    for (int i = 0; i < SHOP_SKUS; i++) {
        char sku[16];
        snprintf(sku, sizeof sku, "sku-%d", i);
        must(s, db_exec(f->conn, &error, "INSERT INTO stock_set VALUES (?, ?)", "si", sku, s->stock[i]), &error);
    }
}

/* Changes with every sync and every crash of the host's disk. */
static uint64_t host_mark(const struct shop_host *h)
{
    return sim_disk_sync_count(h->disk) << 16 | h->crash_count;
}

uint64_t shop_facts_refresh(struct shop *s, bool rest)
{
    uint64_t changed = 0;
    if (s->facts == NULL)
        facts_new(s);
    for (int i = 0; i < s->host_count; i++) {
        const struct shop_host *h = &s->hosts[i];
        if (sim_disk_dead(h->disk) || (!rest && s->facts->seen[i] == host_mark(h)))
            continue;
        s->facts->seen[i] = host_mark(h);
        changed |= host_read(s, i, rest);
    }
    return changed | client_read(s);
}

struct db_conn *shop_facts_conn(struct shop *s)
{
    return s->facts->conn;
}
