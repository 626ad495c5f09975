/* SPDX-License-Identifier: Apache-2.0
 *
 * The oracle. Facts are tables of shop_facts.c; each statement is a query for what breaks it. What a disk has committed can only change when it syncs or crashes: after
 * each step that did so the facts of that host's changed stores are read anew. Of the statements that hold at any time those are checked that name a table that is another
 * than before; all of them at rest.
 */
#include "shop_sim.h"

#include "db.h"
#include "mem.h"

#include <stdio.h>
#include <string.h>

struct statement {
    const char *name;
    bool at_rest_only;
    const char *sql;        /* rows are breaches; the first column is text */
};

/* their tables: see shop_facts.c */
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

/* Those that name one of the tables; at rest also those that only hold then. */
static void statements_check(struct shop *s, uint64_t tables, bool rest)
{
    static uint64_t named[ARRAY_COUNT(statements)];
    for (size_t i = 0; i < ARRAY_COUNT(statements); i++) {
        const struct statement *st = &statements[i];
        struct ficus_error error = {0};
        struct db_stmt *row = NULL;
        if (named[i] == 0)
            named[i] = shop_facts_named(st->sql);
        if ((st->at_rest_only && !rest) || (named[i] & tables) == 0)
            continue;
        if (db_query(shop_facts_conn(s), &row, &error, st->sql, "") != FICUS_ERR_OK)
            shop_fail(s, "statement %s: %s", st->name, error.text);
        int broken = db_step(row, &error);
        if (broken != 0)
            shop_fail(s, "statement %s: %.*s", st->name, broken == 1 ? (int)db_text(row, 0).size : (int)strlen(error.text),
                      broken == 1 ? db_text(row, 0).p : error.text);
        db_finish(row);
    }
}

void shop_check(struct shop *s, bool quiet)
{
    uint64_t changed = shop_facts_refresh(s, quiet);
    statements_check(s, quiet ? UINT64_MAX : changed, quiet);
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

bool shop_is_quiet(struct shop *s)
{
    statements_check(s, shop_facts_refresh(s, true), false);
    for (size_t i = 0; i < ARRAY_COUNT(busy); i++) {
        struct ficus_error error = {0};
        struct db_stmt *row = NULL;
        if (db_query(shop_facts_conn(s), &row, &error, busy[i].sql, "") != FICUS_ERR_OK)
            shop_fail(s, "%s: %s", busy[i].name, error.text);
        int more = db_step(row, &error);
        if (more < 0)
            shop_fail(s, "%s: %s", busy[i].name, error.text);
        if (more == 1)
            snprintf(s->busy_with, sizeof s->busy_with, "%s: %.*s", busy[i].name, SLICE_ARG(db_text(row, 0)));
        db_finish(row);
        if (more == 1)
            return false;
    }
    return true;
}
