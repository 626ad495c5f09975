/* SPDX-License-Identifier: Apache-2.0 */
#include "orders.h"
#include "shop.h"

/* An answer may have 4 MiB, and one order less than 2 MiB (1,000 items with the longest names); while it is made it takes three times that of the request's
 * memory. So a list goes on to the next order only below this. */
enum { LIST_SIZE_MAX = 1024 * 1024 };

/* At most what text takes in JSON, where a control character becomes six. */
static size_t text_size(const char *s)
{
    size_t n = 2;
    for (; *s != '\0'; s++)
        n += (unsigned char)*s < ' ' ? 6 : *s == '"' || *s == '\\' ? 2 : 1;
    return n;
}

/* Adds about what it wrote to *size. False: an item lacks something. */
static bool items_write(struct ficus_req *req, struct ficus_out *o, const struct ficus_json *items, size_t *size)
{
    for (size_t i = 0; i < ficus_json_count(items); i++) {
        const struct ficus_json *item = ficus_json_at(items, i);
        const char *product_id = ficus_json_str(req, ficus_json_get(item, "product_id")), *sku = ficus_json_str(req, ficus_json_get(item, "sku"));
        const char *name = ficus_json_str(req, ficus_json_get(item, "name"));
        int64_t quantity, price;
        if (product_id == NULL || sku == NULL || name == NULL || !ficus_json_int(ficus_json_get(item, "quantity"), &quantity) ||
            !ficus_json_int(ficus_json_get(item, "price"), &price))
            return false;
        *size += 150 + text_size(product_id) + text_size(sku) + text_size(name);
        ficus_out_object(o, NULL);
        ficus_out_str(o, "product_id", product_id);
        ficus_out_str(o, "sku", sku);
        ficus_out_str(o, "name", name);
        ficus_out_int(o, "quantity", quantity);
        shop_money(o, "price", price);
        ficus_out_end(o);
    }
    return true;
}

struct history {
    struct change changes[CHANGES_MAX];
    int64_t count;
};

/* Read the stream: the changes go to *h, the items to o (NULL: nowhere). */
static int order_fold(struct ficus_req *req, const char *id, struct history *h, struct ficus_out *o, size_t *size)
{
    struct ficus_rows *rows = order_events_read(req, id, 1);
    struct ficus_stored ev;
    int more;
    h->count = 0;
    while ((more = ficus_store_row(rows, &ev)) == 1) {
        const struct ficus_json *data = ficus_json_parse(req, ev.data);
        if (h->count == CHANGES_MAX || data == NULL || (o != NULL && !items_write(req, o, ficus_json_get(data, "items"), size)))
            return ficus_problem(req, 500, "bad_event", "version %lld of %s cannot be read", (long long)ev.version, ev.stream);
        h->count += change_of(req, &ev, data, &h->changes[h->count]);
    }
    return more;
}

static int order_write(struct ficus_req *req, struct ficus_out *o, const char *id, const struct order *order,
                       size_t *size)
{
    struct history h;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "id", id);
    ficus_out_str(o, "status", order->status);
    ficus_out_array(o, "items");
    if (order_fold(req, id, &h, o, size) != 0)
        return -1;
    ficus_out_end(o);
    shop_money(o, "total", order->total);
    ficus_out_str(o, "reason", order->reason);
    ficus_out_array(o, "history");
    for (int64_t i = 0; i < h.count; i++)
        change_write(req, o, &h.changes[i]);
    ficus_out_end(o);
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

/* Send the changes after this one; the last of a finished order ends the stream. */
static int changes_send(struct ficus_req *req, const struct history *h, int64_t after)
{
    for (int64_t i = after < 0 ? 0 : after + 1; i < h->count; i++) {
        struct ficus_out *o = ficus_out_new(req);
        if (o == NULL)
            return -1;
        change_write(req, o, &h->changes[i]);
        bool last = i == h->count - 1 && strcmp(h->changes[i].status, "pending") != 0;
        if (ficus_stream_first(req, i, "status", ficus_out_text(o), last) != 0)
            return -1;
    }
    return 0;
}

/* Begins with the present status, or, when the client says what it saw last, with all that came since. */
int order_events(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    struct order order;
    struct history h;
    if (order_read_visible(req, id, &order) != 0)
        return -1;
    const char *seen = ficus_header(req, "Last-Event-ID");
    char *end = NULL;
    int64_t after = seen == NULL ? -1 : strtoll(seen, &end, 10);
    if (seen != NULL && (end == seen || *end != '\0')) /* an id of something else */
        seen = NULL;
    if (seen != NULL && strcmp(order.status, "pending") != 0) {
        if (order_fold(req, id, &h, NULL, NULL) != 0)
            return -1;
        if (after >= h.count - 1) /* Nothing more will come: 204 tells an EventSource not to connect again. */
            return ficus_reply_empty(req, 204);
    }
    if (ficus_stream(req, id) != 0 || order_fold(req, id, &h, NULL, NULL) != 0)
        return -1;
    return changes_send(req, &h, seen == NULL ? h.count - 2 : after);
}
