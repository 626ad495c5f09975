/* SPDX-License-Identifier: Apache-2.0 */
#include "orders.h"
#include "shop.h"

/* An answer may have 4 MiB, and one order less than 2 MiB (1,000 items with the longest names). So a list goes on to the
 * next order only below this. */
enum { LIST_SIZE_MAX = 2 * 1024 * 1024 };

/* At most what text takes in JSON, where a control character becomes six. */
static size_t text_size(const char *s)
{
    size_t n = 2;
    for (; *s != '\0'; s++)
        n += (unsigned char)*s < ' ' ? 6 : *s == '"' || *s == '\\' ? 2 : 1;
    return n;
}

/* Adds about what it wrote to *size. */
static int items_write(struct ficus_req *req, struct ficus_out *o, const char *id, size_t *size)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT product_id, sku, name, quantity, price FROM item WHERE order_id = ? ORDER BY line", "s", id);
    if (rows == NULL)
        return -1;
    ficus_out_array(o, "items");
    int more;
    while ((more = ficus_row(rows)) == 1) {
        const char *product_id = ficus_col_str(rows, 0), *sku = ficus_col_str(rows, 1), *name = ficus_col_str(rows, 2);
        if (product_id == NULL || sku == NULL || name == NULL)
            return -1;
        *size += 150 + text_size(product_id) + text_size(sku) + text_size(name);
        ficus_out_object(o, NULL);
        ficus_out_str(o, "product_id", product_id);
        ficus_out_str(o, "sku", sku);
        ficus_out_str(o, "name", name);
        ficus_out_int(o, "quantity", ficus_col_int(rows, 3));
        shop_money(o, "price", ficus_col_int(rows, 4));
        ficus_out_end(o);
    }
    ficus_out_end(o);
    return more;
}

static int history_write(struct ficus_req *req, struct ficus_out *o, const char *id)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT status, at, reason FROM history WHERE order_id = ? ORDER BY idx", "s", id);
    if (rows == NULL)
        return -1;
    ficus_out_array(o, "history");
    int more;
    while ((more = ficus_row(rows)) == 1) {
        ficus_out_object(o, NULL);
        ficus_out_str(o, "status", ficus_col_str(rows, 0));
        ficus_out_str(o, "at", ficus_col_str(rows, 1));
        ficus_out_str(o, "reason", ficus_col_str(rows, 2));
        ficus_out_end(o);
    }
    ficus_out_end(o);
    return more;
}

static int order_write(struct ficus_req *req, struct ficus_out *o, const char *id, const struct order *order,
                       size_t *size)
{
    ficus_out_object(o, NULL);
    ficus_out_str(o, "id", id);
    ficus_out_str(o, "status", order->status);
    if (items_write(req, o, id, size) != 0)
        return -1;
    shop_money(o, "total", order->total);
    ficus_out_str(o, "reason", order->reason);
    if (history_write(req, o, id) != 0)
        return -1;
    ficus_out_end(o);
    return 0;
}

int order_reply(struct ficus_req *req, int status, const char *id)
{
    struct order order;
    if (order_read_visible(req, id, &order) != 0)
        return -1;
    struct ficus_out *o = ficus_reply(req, status);
    size_t size = 0;
    return o == NULL ? -1 : order_write(req, o, id, &order, &size);
}

int order_get(struct ficus_req *req)
{
    return order_reply(req, 200, ficus_param(req, "id"));
}

int orders_list(struct ficus_req *req)
{
    struct shop_page page;
    shop_page_read(req, &page);
    const char *status = ficus_query_param(req, "status");
    if (status != NULL && strcmp(status, "pending") != 0 && strcmp(status, "confirmed") != 0 && strcmp(status, "cancelled") != 0)
        ficus_invalid(req, "/status", "must be pending, confirmed or cancelled");
    if (ficus_is_invalid(req))
        return ficus_problem_invalid(req);
    int64_t before = page.after == 0 ? INT64_MAX : page.after;
    struct ficus_rows *rows =
        ficus_has_role(req, "admin")
            ? ficus_query(req, "SELECT seq, id FROM orders WHERE seq < ?1 AND (?2 IS NULL OR status = ?2) ORDER BY seq DESC LIMIT ?3", "isi", before,
                          status, page.limit + 1)
            : ficus_query(req, "SELECT seq, id FROM orders WHERE seq < ?1 AND (?2 IS NULL OR status = ?2) AND user_id = ?4 ORDER BY seq DESC LIMIT ?3",
                          "isis", before, status, page.limit + 1, ficus_user(req));
    struct ficus_out *o = ficus_reply(req, 200);
    if (rows == NULL || o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_array(o, "items");
    size_t size = 0;
    int more;
    while ((more = ficus_row(rows)) == 1 && shop_page_row(&page, ficus_col_int(rows, 0))) {
        const char *id = ficus_col_str(rows, 1);
        struct order order;
        if (order_read(req, id, &order) != 1 || order_write(req, o, id, &order, &size) != 0)
            return -1;
        if (size >= LIST_SIZE_MAX)
            page.limit = page.count; /* the next row, if there is one, begins the next page */
    }
    if (more < 0)
        return -1;
    ficus_rows_done(rows);
    ficus_out_end(o);
    shop_page_next(req, o, &page);
    ficus_out_end(o);
    return 0;
}

/* 1: the history went on after this entry; 0: it did not; -1. */
static int history_since(struct ficus_req *req, const char *id, int64_t after)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT 1 FROM history WHERE order_id = ? AND idx > ? LIMIT 1", "si", id, after);
    int found = rows == NULL ? -1 : ficus_row(rows);
    if (found == 1)
        ficus_rows_done(rows);
    return found;
}

/* Begins with the present status, or, when the client says what it saw last, with all that came since. */
int order_events(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    struct order order;
    if (order_read_visible(req, id, &order) != 0)
        return -1;
    const char *seen = ficus_header(req, "Last-Event-ID");
    char *end = NULL;
    int64_t after = seen == NULL ? -1 : strtoll(seen, &end, 10);
    if (seen != NULL && (end == seen || *end != '\0')) { /* an id of something else */
        seen = NULL;
        after = -1;
    }
    /* Nothing more will come: 204 tells an EventSource not to connect again. */
    int news = seen == NULL || strcmp(order.status, "pending") == 0 ? 1 : history_since(req, id, after);
    if (news <= 0)
        return news < 0 ? -1 : ficus_reply_empty(req, 204);
    if (ficus_stream(req, id) != 0)
        return -1;
    struct ficus_rows *rows =
        ficus_query(req, seen == NULL ? "SELECT idx, status, reason, at, true FROM history WHERE order_id = ?1 AND idx > ?2 ORDER BY idx DESC LIMIT 1"
                                      : "SELECT idx, status, reason, at, idx = (SELECT max(idx) FROM history WHERE order_id = ?1) "
                                        "FROM history WHERE order_id = ?1 AND idx > ?2 ORDER BY idx",
                    "si", id, after);
    if (rows == NULL)
        return -1;
    int more;
    while ((more = ficus_row(rows)) == 1) {
        const char *status = ficus_col_str(rows, 1);
        struct ficus_out *o = ficus_out_new(req);
        if (o == NULL)
            return -1;
        ficus_out_object(o, NULL);
        ficus_out_str(o, "status", status);
        ficus_out_str(o, "at", ficus_col_str(rows, 3));
        ficus_out_str(o, "reason", ficus_col_str(rows, 2));
        ficus_out_end(o);
        bool last = strcmp(status, "pending") != 0 && ficus_col_int(rows, 4) != 0;
        if (ficus_stream_first(req, ficus_col_int(rows, 0), "status", ficus_out_text(o), last) != 0)
            return -1;
    }
    return more;
}
