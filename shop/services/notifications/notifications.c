/* SPDX-License-Identifier: Apache-2.0
 *
 * There is deliberately no unique key on (order, kind): that each event has its effect once is the promise of the inbox, and a repetition must show, not be hidden.
 */
#include "notifications.h"
#include "shop.h"

static const struct {
    const char *reason, *words;
} reasons[] = {
    {"out_of_stock", "something in it is out of stock"},
    {"payment_declined", "the payment was declined"},
    {"payment_unavailable", "the payment could not be made"},
    {"unknown_product", "it named a product that we do not sell"},
    {"by_customer", "you asked for it"},
    {"by_admin", "our staff cancelled it"},
};

static int order_finished(struct ficus_req *req)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    const char *kind = ficus_event_topic(req), *order_id = ficus_event_subject(req);
    const char *user = ficus_json_str(req, ficus_json_get(body, "user"));
    const char *reason = ficus_json_str(req, ficus_json_get(body, "reason"));
    if (user == NULL)
        return ficus_problem(req, 400, "malformed_event", "%s of order %s names no user", kind, order_id);
    const char *text = "Your order is confirmed.";
    if (strcmp(kind, "order.cancelled") == 0) {
        const char *words = "it could not be completed";
        for (size_t i = 0; reason != NULL && i < sizeof reasons / sizeof reasons[0]; i++)
            if (strcmp(reasons[i].reason, reason) == 0)
                words = reasons[i].words;
        text = ficus_printf(req, "Your order was cancelled: %s.", words);
    }
    if (ficus_tx(req) != 0 ||
        ficus_exec(req, "INSERT INTO notification (id, user_id, order_id, kind, text, at) VALUES (?, ?, ?, ?, ?, ?)", "ssssss", ficus_new_id(req), user,
                   order_id, kind, text, ficus_time(req, ficus_now_ms(req))) != 0)
        return -1;
    return 0;
}

static int unread_count(struct ficus_req *req, int64_t *ret_count)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT count(*) FROM notification WHERE user_id = ? AND read = 0", "s", ficus_user(req));
    if (rows == NULL || ficus_row(rows) != 1)
        return -1;
    *ret_count = ficus_col_int(rows, 0);
    ficus_rows_done(rows);
    return 0;
}

static void notification_write(struct ficus_out *o, struct ficus_rows *rows)
{
    ficus_out_object(o, NULL);
    ficus_out_str(o, "id", ficus_col_str(rows, 1));
    ficus_out_str(o, "kind", ficus_col_str(rows, 2));
    ficus_out_str(o, "order_id", ficus_col_str(rows, 3));
    ficus_out_str(o, "text", ficus_col_str(rows, 4));
    ficus_out_str(o, "at", ficus_col_str(rows, 5));
    ficus_out_bool(o, "read", ficus_col_int(rows, 6) != 0);
    ficus_out_end(o);
}

static int notifications_list(struct ficus_req *req)
{
    struct shop_page page;
    shop_page_read(req, &page);
    if (ficus_is_invalid(req))
        return ficus_problem_invalid(req);
    int64_t unread;
    if (unread_count(req, &unread) != 0)
        return -1;
    /* Newest first; after = 0 means from the newest. */
    struct ficus_rows *rows = ficus_query(req, "SELECT seq, id, kind, order_id, text, at, read FROM notification "
                                               "WHERE user_id = ? AND (? = 0 OR seq < ?) ORDER BY seq DESC LIMIT ?",
                                          "siii", ficus_user(req), page.after, page.after, page.limit + 1);
    struct ficus_out *o = ficus_reply(req, 200);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    if (shop_page_items(o, &page, rows, notification_write) != 0)
        return -1;
    ficus_out_int(o, "unread", unread);
    shop_page_next(req, o, &page);
    ficus_out_end(o);
    return 0;
}

static int notification_read(struct ficus_req *req)
{
    if (ficus_tx(req) != 0 || ficus_exec(req, "UPDATE notification SET read = 1 WHERE id = ? AND user_id = ?", "ss", ficus_param(req, "id"), ficus_user(req)) != 0)
        return -1;
    if (ficus_changes(req) == 0)
        return ficus_problem(req, 404, "unknown_notification", "you have no such notification");
    return ficus_reply_empty(req, 204);
}

static const struct ficus_route routes[] = {
    {"GET", "/v1/notifications", notifications_list, FICUS_USERS, NULL, false},
    {"POST", "/v1/notifications/{id}/read", notification_read, FICUS_USERS, NULL, false},
    {NULL},
};

static const struct ficus_subscription events[] = {
    {"order.confirmed", order_finished},
    {"order.cancelled", order_finished},
    {NULL},
};

const struct ficus_service notifications_service = {.name = "notifications", .routes = routes, .events = events};
