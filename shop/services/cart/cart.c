/* SPDX-License-Identifier: Apache-2.0
 *
 * A cart is put whole. Its lines name skus; names and prices are joined in from a replica of the products whenever it
 * is shown, so they are always the replica's newest and no other service is needed for a look.
 *
 * The replica follows product.changed in the order of the log. Only products that it does not know yet (just made, or
 * older than the log) are asked for at the catalog, and stored only if no event told of them meanwhile.
 *
 * An order placed at T (the time of order.placed, taken before the order was acknowledged) empties a cart that was last
 * put at P exactly when P < T. P is taken when the PUT begins, and nothing of it is stored before the clock has gone
 * on: so an order that was sent after the PUT's answer has T > P, however fast the machine. A PUT sent after an order's
 * 202 has P >= T and stays, however late the event comes or how often. Of what goes on at the same time either may be
 * first. Both times are the wall clock's of one machine; a clock set back in between is beyond this.
 */
#include "cart.h"
#include "shop.h"

enum { ITEM_COUNT_MAX = 1000, QUANTITY_MAX = 1000000 };

/* Beyond this a JSON reader that keeps numbers as doubles would lose pence. */
static const int64_t total_max = INT64_C(9000000000000000);

struct line {
    const char *named; /* id or sku, as the client said */
    const char *sku;   /* NULL: not known yet */
    int64_t quantity;
};

struct cart {
    struct line *lines;
    size_t count;
};

/* ---- showing ---- */

static int out_of_range(struct ficus_req *req)
{
    return ficus_problem(req, 422, "too_expensive", "the total of the cart is out of range; put fewer into it");
}

/* The whole answer, from the database. 0 or -1. */
static int cart_reply(struct ficus_req *req)
{
    struct ficus_rows *rows = ficus_query(
        req,
        "SELECT p.id, p.sku, p.name, i.quantity, p.price FROM item i JOIN product p ON p.sku = i.sku "
        "WHERE i.user_id = ? ORDER BY i.line",
        "s", ficus_user(req));
    struct ficus_out *o = ficus_reply(req, 200);
    if (rows == NULL || o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_array(o, "items");
    int64_t total = 0;
    int more;
    while ((more = ficus_row(rows)) == 1) {
        int64_t quantity = ficus_col_int(rows, 3), price = ficus_col_int(rows, 4), cost;
        if (__builtin_mul_overflow(price, quantity, &cost) || __builtin_add_overflow(total, cost, &total) ||
            total > total_max) {
            ficus_rows_done(rows);
            return out_of_range(req);
        }
        ficus_out_object(o, NULL);
        ficus_out_str(o, "product_id", ficus_col_str(rows, 0));
        ficus_out_str(o, "sku", ficus_col_str(rows, 1));
        ficus_out_str(o, "name", ficus_col_str(rows, 2));
        ficus_out_int(o, "quantity", quantity);
        shop_money(o, "price", price);
        ficus_out_end(o);
    }
    ficus_out_end(o);
    shop_money(o, "total", total);
    ficus_out_end(o);
    return more;
}

static int cart_get(struct ficus_req *req)
{
    return cart_reply(req);
}

/* ---- the replica of products ---- */

enum learned { LEARNED_BY_EVENT, LEARNED_BY_LOOKUP };

/* In a transaction. 0, -1, or 1: p is no product. */
static int product_store(struct ficus_req *req, const struct ficus_json *p, enum learned how)
{
    const char *id = ficus_json_str(req, ficus_json_get(p, "id"));
    const char *sku = ficus_json_str(req, ficus_json_get(p, "sku"));
    const char *name = ficus_json_str(req, ficus_json_get(p, "name"));
    int64_t price;
    if (id == NULL || sku == NULL || name == NULL ||
        !shop_money_read(req, ficus_json_get(p, "price"), total_max, &price))
        return 1;
    /* An event that came since the look-up is newer. */
    const char *sql =
        how == LEARNED_BY_LOOKUP
            ? "INSERT INTO product (sku, id, name, price) VALUES (?, ?, ?, ?) ON CONFLICT (sku) DO NOTHING"
            : "INSERT INTO product (sku, id, name, price) VALUES (?, ?, ?, ?) ON CONFLICT (sku) DO UPDATE "
              "SET id = excluded.id, name = excluded.name, price = excluded.price";
    return ficus_exec(req, sql, "sssi", sku, id, name, price);
}

static int product_changed(struct ficus_req *req)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL || ficus_tx(req) != 0)
        return -1;
    int stored = product_store(req, body, LEARNED_BY_EVENT);
    if (stored != 1)
        return stored;
    return ficus_problem(req, 400, "malformed_event", "product.changed of %s lacks id, sku, name or price",
                         ficus_event_subject(req));
}

/* Find the skus of the lines. *ret_unknown: how many the replica does not know. */
static int lines_find(struct ficus_req *req, struct cart *c, size_t *ret_unknown)
{
    *ret_unknown = 0;
    for (size_t i = 0; i < c->count; i++) {
        struct line *l = &c->lines[i];
        struct ficus_rows *rows = ficus_query(
            req, "SELECT sku FROM product WHERE id = ?1 OR sku = ?1 ORDER BY id = ?1 DESC LIMIT 1", "s", l->named);
        int found = rows == NULL ? -1 : ficus_row(rows);
        if (found < 0)
            return -1;
        if (found == 1) {
            l->sku = ficus_col_str(rows, 0);
            ficus_rows_done(rows);
        } else
            ++*ret_unknown;
    }
    return 0;
}

static const char *lookup_body(struct ficus_req *req, const struct cart *c)
{
    struct ficus_out *o = ficus_out_new(req);
    if (o == NULL)
        return NULL;
    ficus_out_object(o, NULL);
    ficus_out_array(o, "ids");
    for (size_t i = 0; i < c->count; i++)
        if (c->lines[i].sku == NULL)
            ficus_out_str(o, NULL, c->lines[i].named);
    ficus_out_end(o);
    ficus_out_end(o);
    return ficus_out_text(o);
}

static int catalog_unavailable(struct ficus_req *req)
{
    if (ficus_reply_header(req, "Retry-After", "1") != 0)
        return -1;
    return ficus_problem(req, 503, "try_again",
                         "the catalog cannot be reached now; the cart is as it was, send the same request again");
}

/* Ask the catalog for the unknown ones. *ret_products: the array that it answered, one for each, in the lines' order.
 */
static int lines_ask(struct ficus_req *req, struct cart *c, size_t unknown, const struct ficus_json **ret_products)
{
    const char *body = lookup_body(req, c);
    struct ficus_answer catalog;
    /* The key only allows the engine to repeat this: looking up twice is looking up once. */
    if (body == NULL || ficus_call(req,
                                   &(struct ficus_call){.service = "catalog",
                                                        .method = "POST",
                                                        .path = "/v1/products/lookup",
                                                        .body = body,
                                                        .key = ficus_new_id(req)},
                                   &catalog) != 0)
        return -1;
    const struct ficus_json *products = ficus_json_get(catalog.json, "items");
    if (catalog.status != 200 || ficus_json_count(products) != unknown)
        return catalog_unavailable(req);
    size_t next = 0;
    for (size_t i = 0; i < c->count; i++) {
        struct line *l = &c->lines[i];
        if (l->sku != NULL)
            continue;
        l->sku = ficus_json_str(req, ficus_json_get(ficus_json_at(products, next++), "sku"));
        if (l->sku == NULL)
            ficus_invalid(req, ficus_printf(req, "/items/%zu/product_id", i), "no product has the id or sku %s",
                          l->named);
    }
    *ret_products = products;
    return ficus_is_invalid(req) ? ficus_problem(req, 422, "unknown_product", "there is no such product, see errors")
                                 : 0;
}

/* ---- putting ---- */

static int cart_read(struct ficus_req *req, struct cart *c)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    const struct ficus_json *items = ficus_json_get(body, "items");
    size_t count = ficus_json_count(items);
    if (!ficus_json_is_array(items) || count > ITEM_COUNT_MAX) {
        ficus_invalid(req, "/items", "must be an array of at most %d items", ITEM_COUNT_MAX);
        count = 0;
    }
    c->lines = ficus_alloc(req, (count + 1) * sizeof *c->lines);
    if (c->lines == NULL)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const struct ficus_json *item = ficus_json_at(items, i);
        struct line *l = &c->lines[c->count++];
        l->named = ficus_json_str(req, ficus_json_get(item, "product_id"));
        if (!shop_text_fits(l->named, 1, 64))
            ficus_invalid(req, ficus_printf(req, "/items/%zu/product_id", i), "must be the id or sku of a product");
        if (!ficus_json_int(ficus_json_get(item, "quantity"), &l->quantity) || l->quantity < 1 ||
            l->quantity > QUANTITY_MAX)
            ficus_invalid(req, ficus_printf(req, "/items/%zu/quantity", i), "must be a whole number from 1 to %d",
                          QUANTITY_MAX);
    }
    return ficus_is_invalid(req) ? ficus_problem_invalid(req) : 0;
}

/* Add up what was named twice, by id or by sku. */
static void lines_merge(struct cart *c)
{
    size_t count = 0;
    for (size_t i = 0; i < c->count; i++) {
        size_t j = 0;
        while (j < count && strcmp(c->lines[j].sku, c->lines[i].sku) != 0)
            j++;
        if (j < count)
            c->lines[j].quantity += c->lines[i].quantity;
        else
            c->lines[count++] = c->lines[i];
    }
    c->count = count;
}

static int cart_store(struct ficus_req *req, const struct cart *c, const struct ficus_json *products, int64_t put_ms)
{
    for (size_t i = 0; i < ficus_json_count(products); i++)
        if (product_store(req, ficus_json_at(products, i), LEARNED_BY_LOOKUP) != 0)
            return catalog_unavailable(req);
    const char *user = ficus_user(req);
    if (ficus_exec(req,
                   "INSERT INTO cart (user_id, put_ms) VALUES (?, ?) ON CONFLICT (user_id) DO UPDATE "
                   "SET put_ms = excluded.put_ms",
                   "si", user, put_ms) != 0 ||
        ficus_exec(req, "DELETE FROM item WHERE user_id = ?", "s", user) != 0)
        return -1;
    for (size_t i = 0; i < c->count; i++)
        if (ficus_exec(req, "INSERT INTO item (user_id, line, sku, quantity) VALUES (?, ?, ?, ?)", "sisi", user,
                       (int64_t)i, c->lines[i].sku, c->lines[i].quantity) != 0)
            return -1;
    return 0;
}

static int cart_put(struct ficus_req *req)
{
    struct cart c = {0};
    const struct ficus_json *products = NULL;
    size_t unknown;
    int64_t put_ms = ficus_now_ms(req);
    if (cart_read(req, &c) != 0 || lines_find(req, &c, &unknown) != 0 ||
        (unknown > 0 && lines_ask(req, &c, unknown, &products) != 0))
        return -1;
    lines_merge(&c);
    while (ficus_now_ms(req) == put_ms) /* see above; a millisecond at most */
        if (ficus_sleep(req, 1) != 0)
            return -1;
    return ficus_tx(req) != 0 || cart_store(req, &c, products, put_ms) != 0 ? -1 : cart_reply(req);
}

/* ---- an order was placed ---- */

static int order_placed(struct ficus_req *req)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    const char *user = ficus_json_str(req, ficus_json_get(body, "user"));
    int64_t placed_ms = ficus_event_time_ms(req);
    if (user == NULL || placed_ms <= 0)
        return ficus_problem(req, 400, "malformed_event", "order.placed of %s names no user or no time",
                             ficus_event_subject(req));
    if (ficus_tx(req) != 0)
        return -1;
    return ficus_exec(req, "DELETE FROM item WHERE user_id = ?1 AND (SELECT put_ms FROM cart WHERE user_id = ?1) < ?2",
                      "si", user, placed_ms);
}

static const struct ficus_route routes[] = {
    {"GET", "/v1/cart", cart_get, FICUS_USERS, NULL, false},
    {"PUT", "/v1/cart", cart_put, FICUS_USERS, NULL, false},
    {NULL},
};

static const struct ficus_subscription events[] = {
    {"product.changed", product_changed},
    {"order.placed", order_placed},
    {NULL},
};

const struct ficus_service cart_service = {
    .name = "cart", .routes = routes, .events = events, .body_size_max = 256 * 1024};
