/* SPDX-License-Identifier: Apache-2.0
 *
 * The oracle. Facts are kept in one database of the tests' own; each statement is a query for what breaks it. What a disk has committed can only change when it syncs or
 * crashes: after each step that did so the facts of that host's changed stores are read anew, from a copy on a scratch disk, and the statements that hold at any time are
 * checked; all of them at rest.
 */
#include "shop_sim.h"

#include "assert.h"
#include "db.h"
#include "elog_private.h"
#include "estore.h"
#include "mem.h"

#include <stdio.h>
#include <string.h>

struct statement {
    const char *name;
    bool at_rest_only;
    const char *sql;        /* rows are breaches; the first column is text */
};

/* facts: see fact_tables */
static const struct statement statements[] = {
    {"1: confirmed means one captured payment of its total", true,
     "SELECT o.id FROM orders o LEFT JOIN payment p ON p.order_id = o.id WHERE (o.status = 'confirmed') <> (p.status IS 'captured' AND p.amount = o.total)"},
    {"1: confirmed means each quantity reserved once, taken once, not returned", true,
     "SELECT o.id || ' ' || i.sku FROM orders o JOIN item i ON i.order_id = o.id WHERE o.status = 'confirmed' AND "
     "(SELECT coalesce(sum(CASE kind WHEN 'reserved' THEN 1 WHEN 'taken' THEN 1000 ELSE 1000000 END), 0) FROM movement m "
     "WHERE m.order_id = o.id AND m.sku = i.sku AND m.quantity = i.quantity) <> 1001"},
    {"2: cancelled holds no money", true, "SELECT o.id FROM orders o JOIN payment p ON p.order_id = o.id WHERE o.status = 'cancelled' AND p.status = 'captured'"},
    {"2: cancelled holds no stock", true,
     "SELECT o.id FROM orders o JOIN movement m ON m.order_id = o.id WHERE o.status = 'cancelled' GROUP BY o.id, m.sku "
     "HAVING sum(CASE m.kind WHEN 'reserved' THEN m.quantity WHEN 'taken' THEN 0 ELSE -m.quantity END) <> 0"},
    {"2: no movement of an unknown order", false, "SELECT m.order_id FROM movement m WHERE m.order_id NOT IN (SELECT id FROM orders)"},
    {"3: stock adds up with its movements", false,
     "SELECT s.sku || ' ' || s.on_hand || ' ' || s.reserved FROM stock s WHERE s.on_hand <> (SELECT set_to FROM stock_set x WHERE x.sku = s.sku) - "
     "(SELECT coalesce(sum(CASE kind WHEN 'taken' THEN quantity WHEN 'returned' THEN -quantity ELSE 0 END), 0) FROM movement m WHERE m.sku = s.sku) "
     "OR s.reserved <> (SELECT coalesce(sum(CASE kind WHEN 'reserved' THEN quantity WHEN 'returned' THEN 0 ELSE -quantity END), 0) FROM movement m WHERE m.sku = s.sku)"},
    {"3: never below zero", false, "SELECT sku FROM stock WHERE on_hand < reserved OR reserved < 0"},
    {"3: at rest nothing is reserved", true, "SELECT sku FROM stock WHERE reserved <> 0"},
    {"3: on hand is what was set less what is confirmed", true,
     "SELECT s.sku FROM stock s JOIN stock_set x ON x.sku = s.sku WHERE s.on_hand <> x.set_to - (SELECT coalesce(sum(i.quantity), 0) FROM item i "
     "JOIN orders o ON o.id = i.order_id WHERE o.status = 'confirmed' AND i.sku = s.sku)"},
    {"4: one notification per final status", true,
     "SELECT h.order_id || ' ' || h.status FROM history h WHERE h.status <> 'pending' AND "
     "(SELECT count(*) FROM notification n WHERE n.order_id = h.order_id AND n.kind = 'order.' || h.status) <> 1"},
    {"4: no notification twice, none without its status", false,
     "SELECT n.order_id || ' ' || n.kind FROM notification n GROUP BY n.order_id, n.kind HAVING count(*) > 1 OR "
     "(SELECT count(*) FROM history h WHERE h.order_id = n.order_id AND 'order.' || h.status = n.kind) <> 1"},
    {"5: what was answered is there", false, "SELECT a.id FROM answered a WHERE a.id NOT IN (SELECT id FROM orders)"},
    {"5: an answered cancel ends cancelled", true, "SELECT a.id FROM answered a JOIN orders o ON o.id = a.id WHERE a.cancelled = 1 AND o.status <> 'cancelled'"},
    {"5: a cart put after the order is there", false, "SELECT a.id FROM answered a WHERE a.cart_anew = 1 AND "
     "(SELECT count(*) FROM cart_item c WHERE c.user_id = a.user_id) = 0"},
    {"5: nobody ordered more than was asked", true, "SELECT id FROM orders WHERE id NOT IN (SELECT id FROM answered)"},
    {"6: a good card with stock, not cancelled, is confirmed", true,
     "SELECT a.id || ' ' || o.status || ' ' || coalesce(o.reason, '') FROM answered a JOIN orders o ON o.id = a.id "
     "WHERE a.card_good = 1 AND a.cancel_asked = 0 AND a.scarce = 0 AND o.status <> 'confirmed' AND NOT "
     "(a.impatient = 1 AND o.status = 'cancelled' AND o.reason = 'given_up')"},
    {"6: a bad card is never confirmed", false, "SELECT a.id FROM answered a JOIN orders o ON o.id = a.id WHERE a.card_good = 0 AND o.status = 'confirmed'"},
    {"6: the reason is one of the card, the stock or the cancel", true,
     "SELECT o.id || ' ' || coalesce(o.reason, 'none') FROM answered a JOIN orders o ON o.id = a.id WHERE o.status = 'cancelled' AND NOT "
     "((o.reason = 'payment_declined' AND a.card_good = 0) OR (o.reason = 'out_of_stock' AND a.scarce = 1) OR (o.reason = 'by_customer' AND a.cancel_asked = 1) OR "
     "(o.reason = 'given_up' AND a.impatient = 1))"},
    {"7: payments and ledger agree", true,
     "SELECT p.order_id || ' ' || p.status FROM payment p WHERE "
     "(SELECT count(*) FROM ledger l WHERE l.order_id = p.order_id AND l.kind = 'capture' AND l.amount = p.amount) <> (p.status IN ('captured', 'refunded')) OR "
     "(SELECT count(*) FROM ledger l WHERE l.order_id = p.order_id AND l.kind = 'refund' AND l.amount = p.amount) <> (p.status = 'refunded')"},
    {"7: no line of the ledger without its payment", true, "SELECT l.order_id FROM ledger l WHERE l.order_id NOT IN (SELECT order_id FROM payment)"},
    {"7: the bank never gives back what it did not take", false,
     "SELECT l.order_id FROM ledger l WHERE l.kind = 'refund' AND NOT EXISTS (SELECT 1 FROM ledger c WHERE c.order_id = l.order_id AND c.kind = 'capture' AND c.amount = l.amount)"},
    {"the row of an order is what its stream adds up to", false,
     "SELECT o.id || ' ' || o.status FROM orders o LEFT JOIN history h ON h.order_id = o.id GROUP BY o.id HAVING o.status <> "
     "CASE max(iif(h.status = 'cancelled', 2, h.status = 'confirmed')) WHEN 2 THEN 'cancelled' WHEN 1 THEN 'confirmed' ELSE 'pending' END"},
    {"no saga is stuck", false, "SELECT saga || ' ' || id FROM saga WHERE state = 'stuck'"},
    {"no dead letter", false, "SELECT id FROM event WHERE topic = 'ficus.dead'"},
};

static const char fact_tables[] =
    "CREATE TABLE orders(id TEXT, user_id TEXT, status TEXT, reason TEXT, total INTEGER);\n"
    "CREATE TABLE item(order_id TEXT, sku TEXT, quantity INTEGER);\n"
    "CREATE TABLE history(order_id TEXT, status TEXT);\n"
    "CREATE TABLE payment(order_id TEXT, amount INTEGER, status TEXT);\n"
    "CREATE TABLE ledger(order_id TEXT, kind TEXT, amount INTEGER);\n"
    "CREATE TABLE movement(order_id TEXT, sku TEXT, quantity INTEGER, kind TEXT);\n"
    "CREATE TABLE stock(sku TEXT, on_hand INTEGER, reserved INTEGER);\n"
    "CREATE TABLE notification(order_id TEXT, kind TEXT);\n"
    "CREATE TABLE saga(saga TEXT, id TEXT, state TEXT);\n"
    "CREATE TABLE flow(flow TEXT, id TEXT, state TEXT);\n"
    "CREATE TABLE event(topic TEXT, subject TEXT, id TEXT);\n"
    "CREATE TABLE outbox(host TEXT, seq INTEGER);\n"
    "CREATE TABLE cart_item(user_id TEXT, sku TEXT, quantity INTEGER);\n"
    "CREATE TABLE search(sku TEXT, available INTEGER);\n"
    "CREATE TABLE catalog(sku TEXT, available INTEGER);\n"
    "CREATE TABLE stock_set(sku TEXT, set_to INTEGER);\n"
    "CREATE TABLE answered(id TEXT, user_id TEXT, cart_anew INTEGER, cancelled INTEGER, cancel_asked INTEGER, card_good INTEGER, scarce INTEGER, impatient INTEGER);\n";

/* Where facts come from: columns are text or whole numbers, as the format says, or records of the log ("events"). Sources of one store stand together. */
static const struct source {
    const char *host, *select, *insert, *format, *forget;
} sources[] = {
    {"orders", "SELECT id, user_id, status, reason, total FROM orders", "INSERT INTO orders VALUES (?, ?, ?, ?, ?)", "ssssi", "DELETE FROM orders"},
    {"orders", "SELECT substr(stream, 7), json_extract(value, '$.sku'), json_extract(value, '$.quantity') FROM ficus_store, json_each(data, '$.items') "
     "WHERE ficus_store.type IN ('placed', 'items_added')", "INSERT INTO item VALUES (?, ?, ?)", "ssi", "DELETE FROM item"},
    {"orders", "SELECT substr(stream, 7), iif(type = 'placed', 'pending', type) FROM ficus_store WHERE type IN ('placed', 'confirmed', 'cancelled')", "INSERT INTO history VALUES (?, ?)", "ss", "DELETE FROM history"},
    {"orders", "SELECT 'orders', seq FROM ficus_outbox", "INSERT INTO outbox VALUES (?, ?)", "si", "DELETE FROM outbox WHERE host = 'orders'"},
    {"payments", "SELECT order_id, amount, status FROM payment", "INSERT INTO payment VALUES (?, ?, ?)", "sis", "DELETE FROM payment"},
    {"bank", "SELECT order_id, kind, amount FROM ledger", "INSERT INTO ledger VALUES (?, ?, ?)", "ssi", "DELETE FROM ledger"},
    {"inventory", "SELECT order_id, sku, quantity, kind FROM movement", "INSERT INTO movement VALUES (?, ?, ?, ?)", "ssis", "DELETE FROM movement"},
    {"inventory", "SELECT sku, on_hand, reserved FROM stock", "INSERT INTO stock VALUES (?, ?, ?)", "sii", "DELETE FROM stock"},
    {"inventory", "SELECT 'inventory', seq FROM ficus_outbox", "INSERT INTO outbox VALUES (?, ?)", "si", "DELETE FROM outbox WHERE host = 'inventory'"},
    {"notifications", "SELECT order_id, kind FROM notification", "INSERT INTO notification VALUES (?, ?)", "ss", "DELETE FROM notification"},
    {"cart", "SELECT user_id, sku, quantity FROM item", "INSERT INTO cart_item VALUES (?, ?, ?)", "ssi", "DELETE FROM cart_item"},
    {"search", "SELECT p.sku, s.available FROM product p JOIN stock s ON s.sku = p.sku", "INSERT INTO search VALUES (?, ?)", "si", "DELETE FROM search"},
    {"catalog", "SELECT p.sku, s.available FROM product p JOIN stock s ON s.sku = p.sku", "INSERT INTO catalog VALUES (?, ?)", "si", "DELETE FROM catalog"},
    {"hub", "SELECT saga, id, state FROM saga_instance", "INSERT INTO saga VALUES (?, ?, ?)", "sss", "DELETE FROM saga"},
    {"hub-flows", "SELECT flow, id, iif(open = 1, 'open', 'ended') FROM flow_instance", "INSERT INTO flow VALUES (?, ?, ?)", "sss", "DELETE FROM flow"},
    {"hub-log", "SELECT " ELOG_RECORD_COLUMNS " FROM record", "INSERT INTO event VALUES (?, ?, ?)", "events", "DELETE FROM event"},
};

static void must(struct shop *s, enum ficus_err err, const struct ficus_error *error)
{
    if (err != FICUS_ERR_OK)
        shop_fail(s, "the check itself failed: %s", error->text);
}

/* ---- copies ---- */

/* The files of a store as they were read last. The journal: a store that was torn while it was made is only whole with it. */
enum { STORE_PARTS = 3 };
static const char *const store_parts[STORE_PARTS] = {"", "-wal", "-journal"};
struct store_copy {
    char *p[STORE_PARTS];       /* NULL: no such file */
    size_t size[STORE_PARTS];
};

/* Takes the file's bytes; whether they are others than before. */
static bool copy_part(struct sim_disk *from, const char *path, char **p, size_t *size)
{
    struct sim_file *in;
    int64_t now_size = 0;
    char *now = NULL;
    if (sim_disk_open(from, path, ENV_OPEN_READ_ONLY, &in) == FICUS_ERR_OK) {
        FICUS_ASSERT(sim_file_size(in, &now_size) == FICUS_ERR_OK);
        now = mem_alloc((size_t)now_size + 1);
        FICUS_ASSERT(now != NULL && sim_file_read(in, now, (size_t)now_size, 0) == now_size);
        sim_file_close(in);
    }
    bool same = (now == NULL) == (*p == NULL) && *size == (size_t)now_size && (now_size == 0 || memcmp(now, *p, *size) == 0);
    mem_free(*p);
    *p = now;
    *size = (size_t)now_size;
    return !same;
}

static void part_path(char *ret_path, size_t size, const char *store, int part)
{
    snprintf(ret_path, size, "%s%s", store, store_parts[part]);
}

/* Whether the store changed since the last copy. */
static bool copy_take(struct sim_disk *from, const char *store, struct store_copy *copy)
{
    bool changed = false;
    for (int i = 0; i < STORE_PARTS; i++) {
        char path[512];
        part_path(path, sizeof path, store, i);
        changed |= copy_part(from, path, &copy->p[i], &copy->size[i]);
    }
    return changed;
}

static void copy_put(struct sim_disk *to, const char *store, const struct store_copy *copy)
{
    for (int i = 0; i < STORE_PARTS; i++) {
        struct sim_file *out;
        char path[512];
        part_path(path, sizeof path, store, i);
        if (copy->p[i] == NULL)
            continue;
        FICUS_ASSERT(sim_disk_open(to, path, ENV_OPEN_CREATE, &out) == FICUS_ERR_OK &&
                     sim_file_write(out, copy->p[i], copy->size[i], 0) == FICUS_ERR_OK);
        sim_file_close(out);
    }
}

/* The facts, and up to where they tell of each host. */
struct shop_facts {
    struct sim_disk *disk;
    struct sim_process *process;
    struct db *db;
    struct db_tx tx;            /* open for ever: nothing in it is to last */
    struct db_conn *conn;
    uint64_t seen[SHOP_HOSTS_MAX];
    struct store_copy copies[ARRAY_COUNT(sources)]; /* at the first source of each store */
};

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

/* ---- facts ---- */

static void insert_row(struct shop *s, struct db_conn *facts, const struct source *src, struct db_stmt *row)
{
    struct ficus_error error = {0};
    int64_t n[5] = {0};
    struct slice t[5] = {SLICE_NONE};
    char format[6] = "";
    for (int i = 0; src->format[i] != '\0'; i++) {
        n[i] = src->format[i] == 'i' ? db_i64(row, i) : 0;
        t[i] = src->format[i] == 's' ? db_text(row, i) : SLICE_NONE;
        format[i] = src->format[i] == 's' ? 'S' : 'i';
    }
    enum ficus_err err;
    if (strcmp(format, "SSSSi") == 0)
        err = db_exec(facts, &error, src->insert, format, t[0], t[1], t[2], t[3], n[4]);
    else if (strcmp(format, "SSiS") == 0)
        err = db_exec(facts, &error, src->insert, format, t[0], t[1], n[2], t[3]);
    else if (strcmp(format, "SSi") == 0)
        err = db_exec(facts, &error, src->insert, format, t[0], t[1], n[2]);
    else if (strcmp(format, "SiS") == 0)
        err = db_exec(facts, &error, src->insert, format, t[0], n[1], t[2]);
    else if (strcmp(format, "Sii") == 0)
        err = db_exec(facts, &error, src->insert, format, t[0], n[1], n[2]);
    else if (strcmp(format, "SSS") == 0)
        err = db_exec(facts, &error, src->insert, format, t[0], t[1], t[2]);
    else if (strcmp(format, "SS") == 0)
        err = db_exec(facts, &error, src->insert, format, t[0], t[1]);
    else if (strcmp(format, "Si") == 0)
        err = db_exec(facts, &error, src->insert, format, t[0], n[1]);
    else
        err = db_exec(facts, &error, src->insert, format, t[0]);
    must(s, err, &error);
}

/* The events of one record of the log. */
static void insert_events(struct shop *s, struct db_conn *facts, const struct source *src, struct db_stmt *row)
{
    struct ficus_error error = {0};
    struct elog_head head;
    struct elog_cursor cursor;
    struct event ev;
    int more;
    elog_row_head(row, &head);
    must(s, elog_record_open(&cursor, &head, db_blob(row, ELOG_BODY_COLUMN), &error), &error);
    while ((more = elog_record_next(&cursor, &ev, NULL, &error)) == 1)
        must(s, db_exec(facts, &error, src->insert, "SSS", ev.topic, ev.subject.p == NULL ? SLICE("") : ev.subject, ev.id), &error);
    must(s, (enum ficus_err)-more, &error);
}

/* A store whose tables are not there yet has no facts. */
static bool store_ready(struct db_conn *c, const char *select)
{
    struct db_stmt *stmt = NULL;
    bool ready = db_query(c, &stmt, NULL, select, "") == FICUS_ERR_OK;
    db_finish(stmt);
    return ready;
}

static void facts_from(struct shop *s, struct db_conn *facts, const struct source *src, struct db_conn *c)
{
    struct ficus_error error = {0};
    struct db_stmt *row = NULL;
    if (!store_ready(c, src->select))
        return;
    must(s, db_query(c, &row, &error, src->select, ""), &error);
    int more;
    while ((more = db_step(row, &error)) == 1)
        if (strcmp(src->format, "events") == 0)
            insert_events(s, facts, src, row);
        else
            insert_row(s, facts, src, row);
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

/* All sources that lie in one store, the first of which is given. Runs outside any simulated stack, so nothing in it
 * yields: the world stands still meanwhile. */
static void facts_from_store(struct shop *s, struct shop_host *h, size_t first)
{
    struct ficus_error error = {0};
    struct db *d = NULL;
    struct db_tx tx = {0};
    const struct db_options options = {.path = host_store(h, sources[first].host)};
    const struct store_copy *copy = &s->facts->copies[first];
    bool there = copy->p[0] != NULL;
    struct sim_disk *scratch = sim_disk_new();
    FICUS_ASSERT(scratch != NULL);
    copy_put(scratch, options.path, copy);
    struct sim_process *p = sim_start(s->sim, "reader", scratch, 1, NULL, NULL);
    if (there) {
        must(s, db_open(sim_env(p), &options, &d, &error), &error);
        must(s, db_tx_begin(d, &tx, 0, &error), &error);
    }
    for (size_t i = first; i < ARRAY_COUNT(sources) && strcmp(sources[i].host, sources[first].host) == 0; i++) {
        must(s, db_exec(s->facts->conn, &error, sources[i].forget, ""), &error);
        if (there)
            facts_from(s, s->facts->conn, &sources[i], db_tx_conn(&tx));
    }
    if (there) {
        chain_check(s, db_tx_conn(&tx), h->name);
        db_tx_rollback(&tx);
    }
    sim_disk_die_after(scratch, 0); /* the copy is thrown away: no checkpoint at its end */
    db_close(d);
    sim_kill(p);
    sim_disk_free(scratch);
}

/* Whether anything was read anew. */
static bool facts_of_host(struct shop *s, struct shop_host *h, bool rest)
{
    bool changed = false;
    for (size_t i = 0; i < ARRAY_COUNT(sources); i++)
        if (source_is_of(&sources[i], h) && (rest || !is_for_rest(&sources[i])) && (i == 0 || strcmp(sources[i].host, sources[i - 1].host) != 0) &&
            copy_take(h->disk, host_store(h, sources[i].host), &s->facts->copies[i])) {
            facts_from_store(s, h, i);
            changed = true;
        }
    return changed;
}

static bool card_good(const struct shop_order *o)
{
    return strcmp(o->card, "4000000000000002") != 0 && strcmp(o->card, "4000000000009995") != 0;
}

static void facts_of_client(struct shop *s, struct db_conn *facts)
{
    struct ficus_error error = {0};
    must(s, db_exec(facts, &error, "DELETE FROM stock_set", ""), &error);
    must(s, db_exec(facts, &error, "DELETE FROM answered", ""), &error);
    for (int i = 0; i < SHOP_SKUS; i++) {
        char sku[16];
        snprintf(sku, sizeof sku, "sku-%d", i);
        must(s, db_exec(facts, &error, "INSERT INTO stock_set VALUES (?, ?)", "si", sku, s->stock[i]), &error);
    }
    for (int i = 0; i < s->order_count; i++) {
        const struct shop_order *o = &s->orders[i];
        if (o->state != SHOP_ORDER_ACCEPTED)
            continue;
        int64_t scarce = 0;
        for (int k = 0; k < o->item_count; k++)
            scarce |= o->items[k].sku == 0;
        must(s, db_exec(facts, &error, "INSERT INTO answered VALUES (?, ?, ?, ?, ?, ?, ?, ?)", "ssiiiiii", o->id, o->user,
                        (int64_t)(o->cart == SHOP_CART_FILLED_ANEW), (int64_t)o->cancel_answered,
                        (int64_t)(o->cancel_after_ms >= 0), (int64_t)card_good(o), scarce, (int64_t)s->impatient), &error);
    }
}

static void statements_check(struct shop *s, bool rest)
{
    for (size_t i = 0; i < ARRAY_COUNT(statements); i++) {
        const struct statement *st = &statements[i];
        struct ficus_error error = {0};
        struct db_stmt *row = NULL;
        if (st->at_rest_only && !rest)
            continue;
        must(s, db_query(s->facts->conn, &row, &error, st->sql, ""), &error);
        int broken = db_step(row, &error);
        if (broken != 0)
            shop_fail(s, "statement %s: %.*s", st->name, broken == 1 ? (int)db_text(row, 0).size : (int)strlen(error.text),
                      broken == 1 ? db_text(row, 0).p : error.text);
        db_finish(row);
    }
}

/* What is still under way; rows are examples. */
static const struct statement busy[] = {
    {"saga is not finished", false, "SELECT saga || ' ' || id || ' ' || state FROM saga WHERE state NOT IN ('completed', 'compensated')"},
    {"order is not in the log yet", false, "SELECT id FROM orders o WHERE NOT EXISTS (SELECT 1 FROM event e WHERE e.topic = 'order.placed' AND e.subject = o.id)"},
    {"order has no saga yet", false, "SELECT id FROM orders o WHERE NOT EXISTS (SELECT 1 FROM saga g WHERE g.saga = 'checkout' AND g.id = o.id)"},
    {"order is not followed yet", false, "SELECT id FROM orders o WHERE NOT EXISTS (SELECT 1 FROM flow f WHERE f.flow = 'order_told' AND f.id = o.id)"},
    {"change of a product is not followed yet", false,
     "SELECT id FROM event e WHERE e.topic IN ('product.changed', 'stock.changed') AND NOT EXISTS (SELECT 1 FROM flow f WHERE f.flow = 'product_found' AND f.id = e.id)"},
    {"flow has not ended", false, "SELECT flow || ' ' || id FROM flow WHERE state = 'open'"},
    {"order is pending", false, "SELECT id FROM orders WHERE status = 'pending'"},
    {"cancel has no saga yet", false,
     "SELECT a.id FROM answered a JOIN orders o ON o.id = a.id WHERE a.cancelled = 1 AND o.status = 'confirmed'"},
    {"event waits in the outbox of", false, "SELECT host || ' ' || seq FROM outbox"},
    {"cart is not emptied yet", false,
     "SELECT a.user_id FROM answered a WHERE a.cart_anew = 0 AND EXISTS (SELECT 1 FROM cart_item c WHERE c.user_id = a.user_id)"},
    {"search does not know the stock", false,
     "SELECT s.sku FROM stock s WHERE NOT EXISTS (SELECT 1 FROM search x WHERE x.sku = s.sku AND x.available = s.on_hand - s.reserved)"},
    {"catalog does not know the stock", false,
     "SELECT s.sku FROM stock s WHERE NOT EXISTS (SELECT 1 FROM catalog x WHERE x.sku = s.sku AND x.available = s.on_hand - s.reserved)"},
    {"notification is missing", false,
     "SELECT h.order_id || ' ' || h.status FROM history h WHERE h.status <> 'pending' AND NOT EXISTS "
     "(SELECT 1 FROM notification n WHERE n.order_id = h.order_id AND n.kind = 'order.' || h.status)"},
};

static void facts_new(struct shop *s)
{
    struct ficus_error error = {0};
    struct shop_facts *f = s->facts = mem_zalloc(sizeof *f);
    FICUS_ASSERT(f != NULL && (f->disk = sim_disk_new()) != NULL);
    f->process = sim_start(s->sim, "facts", f->disk, 1, NULL, NULL);
    const struct db_options options = {.path = "/facts.db"};
    must(s, db_open(sim_env(f->process), &options, &f->db, &error), &error);
    must(s, db_tx_begin(f->db, &f->tx, 0, &error), &error);
    f->conn = db_tx_conn(&f->tx);
    must(s, db_script(f->conn, SLICE(fact_tables), &error), &error);
}

/* Changes with every sync and every crash of the host's disk. */
static uint64_t host_mark(const struct shop_host *h)
{
    return sim_disk_sync_count(h->disk) << 16 | h->crash_count;
}

/* Brings the facts of the hosts up to date, at rest all of them; whether any were not. A dead disk answers nothing until it has crashed. */
static bool facts_refresh(struct shop *s, bool rest)
{
    bool changed = false;
    if (s->facts == NULL)
        facts_new(s);
    for (int i = 0; i < s->host_count; i++) {
        struct shop_host *h = &s->hosts[i];
        if (sim_disk_dead(h->disk) || (!rest && s->facts->seen[i] == host_mark(h)))
            continue;
        s->facts->seen[i] = host_mark(h);
        changed |= facts_of_host(s, h, rest);
    }
    return changed;
}

void shop_check(struct shop *s, bool quiet)
{
    if (!facts_refresh(s, quiet) && !quiet)
        return;
    facts_of_client(s, s->facts->conn);
    statements_check(s, quiet);
}

bool shop_is_quiet(struct shop *s)
{
    shop_check(s, false);
    (void)facts_refresh(s, true);
    facts_of_client(s, s->facts->conn); /* he may have been answered since without any disk's doing */
    for (size_t i = 0; i < ARRAY_COUNT(busy); i++) {
        struct ficus_error error = {0};
        struct db_stmt *row = NULL;
        must(s, db_query(s->facts->conn, &row, &error, busy[i].sql, ""), &error);
        bool quiet = db_step(row, &error) == 0;
        if (!quiet)
            snprintf(s->busy_with, sizeof s->busy_with, "%s: %.*s", busy[i].name, SLICE_ARG(db_text(row, 0)));
        db_finish(row);
        if (!quiet)
            return false;
    }
    return true;
}
