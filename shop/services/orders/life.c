/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of an order: pending -> confirmed -> cancelled, or pending -> cancelled. A cancel that comes while the order is pending is only noted; confirm (the
 * pivot of the checkout) meets it there and refuses, and the checkout undoes itself. A cancel of a confirmed order starts the cancellation. So a cancel
 * and a confirm that race meet in this database and nowhere else.
 */
#include "orders.h"
#include "shop.h"

int change_tell(struct ficus_req *req, const char *id, int64_t version, int64_t idx)
{
    struct ficus_rows *rows = order_events_read(req, id, version);
    struct ficus_out *o = ficus_out_new(req);
    struct ficus_stored ev;
    struct change c;
    if (o == NULL || ficus_store_row(rows, &ev) != 1 || !change_of(req, &ev, ficus_json_parse(req, ev.data), &c))
        return -1;
    ficus_rows_done(rows);
    change_write(req, o, &c);
    return ficus_stream_send(req, id, idx, "status", ficus_out_text(o), strcmp(c.status, "pending") != 0);
}

/* {key: text} */
static const char *data_of(struct ficus_req *req, const char *key, const char *text)
{
    struct ficus_out *o = ficus_out_new(req);
    if (o == NULL)
        return NULL;
    ficus_out_object(o, NULL);
    ficus_out_str(o, key, text);
    ficus_out_end(o);
    return ficus_out_text(o);
}

/* Append what happened (the row follows), tell the world. */
static int order_move(struct ficus_req *req, const char *id, const struct order *before, const char *status, const char *reason)
{
    bool cancelled = strcmp(status, "cancelled") == 0;
    int64_t version, idx = strcmp(before->status, "pending") == 0 ? 1 : 2;
    if (order_append(req, id, before->version, status, cancelled ? data_of(req, "reason", reason) : "{}", &version) != 0 ||
        change_tell(req, id, version, idx) != 0)
        return -1;
    struct ficus_out *o = ficus_out_new(req);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "user", before->user);
    shop_money(o, "total", before->total);
    ficus_out_str(o, "reason", reason);
    ficus_out_end(o);
    return ficus_emit(req, cancelled ? "order.cancelled" : "order.confirmed", id, ficus_out_text(o));
}

static int status_reply(struct ficus_req *req, int status, const char *id, const char *order_status)
{
    struct ficus_out *o = ficus_reply(req, status);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "id", id);
    ficus_out_str(o, "status", order_status);
    ficus_out_end(o);
    return 0;
}

/* For the steps of the sagas: the order must be there. */
static int order_read_own(struct ficus_req *req, const char *id, struct order *ret_order)
{
    int found = order_read(req, id, ret_order);
    if (found == 0)
        return ficus_problem(req, 404, "unknown_order", "there is no order %s", id);
    return found < 0 ? -1 : 0;
}

int order_cancel(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    struct order order;
    if (ficus_tx(req) != 0 || order_read_visible(req, id, &order) != 0)
        return -1;
    if (strcmp(order.status, "cancelled") == 0)
        return ficus_problem(req, 409, "already_cancelled", "the order is cancelled already: %s", order.reason);
    if (order.cancel_by == NULL) {
        const char *by = strcmp(order.user, ficus_user(req)) == 0 ? "by_customer" : "by_admin";
        if (order_append(req, id, order.version, "cancel_asked", data_of(req, "by", by), NULL) != 0)
            return -1;
        if (strcmp(order.status, "confirmed") == 0 && ficus_emit(req, "order.cancel_requested", id, ficus_printf(req, "{\"by\":\"%s\"}", by)) != 0)
            return -1;
    }
    return order_reply(req, 202, id);
}

int order_confirm(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    struct order order;
    if (ficus_tx(req) != 0 || order_read_own(req, id, &order) != 0)
        return -1;
    switch (ficus_step_do(req, "confirm", id)) {
    case FICUS_STEP_FRESH:
        break;
    case FICUS_STEP_REPEATED:
        return status_reply(req, 200, id, order.status);
    case FICUS_STEP_REFUSED:
        return ficus_step_refused(req, "confirm", id);
    default:
        return -1;
    }
    if (order.cancel_by != NULL)
        return ficus_step_refuse(req, "confirm", id, order.cancel_by, "a cancel came first");
    if (strcmp(order.status, "pending") != 0)
        return ficus_step_refuse(req, "confirm", id, "not_pending", "the order is not pending any more");
    if (order_move(req, id, &order, "confirmed", NULL) != 0)
        return -1;
    return status_reply(req, 200, id, "confirmed");
}

int order_reject(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    const struct ficus_json *body = ficus_body(req);
    struct order order;
    if (body == NULL || ficus_tx(req) != 0)
        return -1;
    int found = order_read(req, id, &order);
    if (found < 0)
        return -1;
    /* Not there: its event came out of a backup that was a moment later than ours. There is nothing to undo here. */
    if (found == 0 || strcmp(order.status, "cancelled") == 0)
        return status_reply(req, 200, id, "cancelled");
    const char *reason = ficus_json_str(req, ficus_json_get(body, "reason"));
    if (strcmp(order.status, "pending") != 0)
        return ficus_problem(req, 409, "not_pending", "order %s is %s and cannot be rejected", id, order.status);
    if (order_move(req, id, &order, "cancelled", reason) != 0)
        return -1;
    return status_reply(req, 200, id, "cancelled");
}

int order_close(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    struct order order;
    if (ficus_tx(req) != 0 || order_read_own(req, id, &order) != 0)
        return -1;
    if (strcmp(order.status, "cancelled") == 0)
        return status_reply(req, 200, id, order.status);
    if (order.cancel_by == NULL)
        return ficus_problem(req, 409, "not_asked", "nobody asked to cancel order %s", id);
    if (order_move(req, id, &order, "cancelled", order.cancel_by) != 0)
        return -1;
    return status_reply(req, 200, id, "cancelled");
}
