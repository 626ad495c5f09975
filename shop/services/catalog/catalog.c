/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog.h"
#include "shop.h"

enum { LOOKUP_COUNT_MAX = 1000 };

static const int64_t price_max = INT64_C(100000000000);

#define PRODUCT_COLUMNS                                                                            \
    "SELECT p.seq, p.id, p.sku, p.name, p.price, s.available FROM product p LEFT JOIN stock s ON s.sku = p.sku "

static void product_write(struct ficus_out *o, struct ficus_rows *rows)
{
    ficus_out_object(o, NULL);
    ficus_out_str(o, "id", ficus_col_str(rows, 1));
    ficus_out_str(o, "sku", ficus_col_str(rows, 2));
    ficus_out_str(o, "name", ficus_col_str(rows, 3));
    shop_money(o, "price", ficus_col_int(rows, 4));
    if (ficus_col_null(rows, 5))
        ficus_out_null(o, "available");
    else
        ficus_out_int(o, "available", ficus_col_int(rows, 5));
    ficus_out_end(o);
}

static int products_list(struct ficus_req *req)
{
    struct shop_page page;
    shop_page_read(req, &page);
    if (ficus_is_invalid(req))
        return ficus_problem_invalid(req);
    struct ficus_rows *rows = ficus_query(req, PRODUCT_COLUMNS "WHERE p.seq > ? ORDER BY p.seq LIMIT ?", "ii",
                                          page.after, page.limit + 1);
    return shop_page_reply(req, &page, rows, product_write);
}

static int product_get(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    /* An id is a UUID, so it can never be mistaken for a sku unless somebody named a sku so: then the id wins. */
    struct ficus_rows *rows = ficus_query(req, PRODUCT_COLUMNS "WHERE p.id = ? OR p.sku = ? ORDER BY p.id = ? DESC LIMIT 1", "sss", id, id, id);
    if (rows == NULL)
        return -1;
    int found = ficus_row(rows);
    if (found < 0)
        return -1;
    if (found == 0)
        return ficus_problem(req, 404, "unknown_product", "no product has this id or sku");
    struct ficus_out *o = ficus_reply(req, 200);
    if (o == NULL)
        return -1;
    product_write(o, rows);
    ficus_rows_done(rows);
    return 0;
}

static int product_event(struct ficus_req *req, const char *id, const char *sku, const char *name, int64_t price)
{
    struct ficus_out *o = ficus_out_new(req);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "id", id);
    ficus_out_str(o, "sku", sku);
    ficus_out_str(o, "name", name);
    shop_money(o, "price", price);
    ficus_out_end(o);
    return ficus_emit(req, "product.changed", sku, ficus_out_text(o));
}

static int product_put(struct ficus_req *req)
{
    const char *sku = ficus_param(req, "sku");
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    const char *name = ficus_json_str(req, ficus_json_get(body, "name"));
    int64_t price = 0;
    if (!shop_text_fits(sku, 1, 64))
        ficus_invalid(req, "", "the sku in the path must have 1 to 64 characters");
    if (!shop_text_fits(name, 1, 200))
        ficus_invalid(req, "/name", "must be text of 1 to 200 characters");
    if (!shop_money_read(req, ficus_json_get(body, "price"), price_max, &price))
        ficus_invalid(req, "/price", "must be {\"amount\": whole number from 0, \"currency\": \"" SHOP_CURRENCY "\"}");
    if (ficus_is_invalid(req))
        return ficus_problem_invalid(req);
    if (ficus_tx(req) != 0)
        return -1;
    int exists = ficus_exec(req, "INSERT INTO product (id, sku, name, price) VALUES (?, ?, ?, ?)", "sssi", ficus_new_id(req), sku, name, price);
    if (exists < 0 ||
        (exists == 1 && ficus_exec(req, "UPDATE product SET name = ?, price = ? WHERE sku = ?", "sis", name, price, sku) != 0))
        return -1;
    struct ficus_rows *rows = ficus_query(req, PRODUCT_COLUMNS "WHERE p.sku = ?", "s", sku);
    if (rows == NULL || ficus_row(rows) != 1)
        return -1;
    struct ficus_out *o = ficus_reply(req, exists == 1 ? 200 : 201);
    if (o == NULL)
        return -1;
    product_write(o, rows);
    const char *id = ficus_col_str(rows, 1);
    ficus_rows_done(rows);
    return product_event(req, id, sku, name, price);
}

/* {"ids": [...]} -> {"items": [...]} in the same order, null for an unknown one. A POST only because the list is long; it changes nothing. */
static int products_lookup(struct ficus_req *req)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    const struct ficus_json *ids = ficus_json_get(body, "ids");
    if (!ficus_json_is_array(ids) || ficus_json_count(ids) > LOOKUP_COUNT_MAX) {
        ficus_invalid(req, "/ids", "must be an array of at most %d ids or skus", LOOKUP_COUNT_MAX);
        return ficus_problem_invalid(req);
    }
    struct ficus_out *o = ficus_reply(req, 200);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_array(o, "items");
    for (size_t i = 0; i < ficus_json_count(ids); i++) {
        const char *id = ficus_json_str(req, ficus_json_at(ids, i));
        struct ficus_rows *rows =
            ficus_query(req, PRODUCT_COLUMNS "WHERE p.id = ? OR p.sku = ? ORDER BY p.id = ? DESC LIMIT 1", "sss", id, id, id);
        int found = rows == NULL ? -1 : ficus_row(rows);
        if (found < 0)
            return -1;
        if (found == 1)
            product_write(o, rows);
        else
            ficus_out_null(o, NULL);
        ficus_rows_done(rows);
    }
    ficus_out_end(o);
    ficus_out_end(o);
    return 0;
}

/* Absolute figures, in the log's order: the last one said is the truth. */
static int stock_changed(struct ficus_req *req)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL || ficus_tx(req) != 0)
        return -1;
    const struct ficus_json *items = ficus_json_get(body, "items");
    for (size_t i = 0; i < ficus_json_count(items); i++) {
        const struct ficus_json *item = ficus_json_at(items, i);
        const char *sku = ficus_json_str(req, ficus_json_get(item, "sku"));
        int64_t available;
        if (sku == NULL || !ficus_json_int(ficus_json_get(item, "available"), &available))
            return ficus_problem(req, 400, "malformed_event", "stock.changed item %zu lacks sku or available", i);
        if (ficus_exec(req, "INSERT INTO stock (sku, available) VALUES (?, ?) ON CONFLICT (sku) DO UPDATE SET available = excluded.available",
                       "si", sku, available) != 0)
            return -1;
    }
    return 0;
}

static const struct ficus_route routes[] = {
    {"GET", "/v1/products", products_list, FICUS_ANYONE, NULL, false},
    {"GET", "/v1/products/{id}", product_get, FICUS_ANYONE, NULL, false},
    {"PUT", "/v1/products/{sku}", product_put, FICUS_USERS, "admin", false},
    {"POST", "/v1/products/lookup", products_lookup, FICUS_SERVICES, NULL, false},
    {NULL},
};

static const struct ficus_subscription events[] = {
    {"stock.changed", stock_changed},
    {NULL},
};

const struct ficus_service catalog_service = {.name = "catalog", .routes = routes, .events = events, .body_size_max = 256 * 1024};
