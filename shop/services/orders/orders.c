/* SPDX-License-Identifier: Apache-2.0 */
#include "orders.h"

#include <string.h>

int order_read(struct ficus_req *req, const char *id, struct order *ret_order)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT seq, user_id, status, reason, total, cancel_by, version FROM orders WHERE id = ?", "s", id);
    int found = rows == NULL ? -1 : ficus_row(rows);
    if (found != 1)
        return found;
    *ret_order = (struct order){
        .seq = ficus_col_int(rows, 0),
        .user = ficus_col_str(rows, 1),
        .status = ficus_col_str(rows, 2),
        .reason = ficus_col_str(rows, 3),
        .total = ficus_col_int(rows, 4),
        .cancel_by = ficus_col_str(rows, 5),
        .version = ficus_col_int(rows, 6),
    };
    ficus_rows_done(rows);
    return 1;
}

int order_read_visible(struct ficus_req *req, const char *id, struct order *ret_order)
{
    int found = order_read(req, id, ret_order);
    if (found < 0)
        return -1;
    if (found == 0 || (strcmp(ret_order->user, ficus_user(req)) != 0 && !ficus_has_role(req, "admin")))
        return ficus_problem(req, 404, "unknown_order", "you have no order with this id");
    return 0;
}

static const char *stream_of(struct ficus_req *req, const char *id)
{
    return ficus_printf(req, "order-%s", id);
}

int order_append(struct ficus_req *req, const char *id, int64_t version, const char *type, const char *data, int64_t *ret_version)
{
    int64_t now = 0;
    int added = ficus_store_append(req, stream_of(req, id), version, type, data, &now);
    if (added == 1)
        return ficus_problem(req, 500, "out_of_step", "the stream of order %s is at version %lld, its row at %lld", id, (long long)now,
                             (long long)version);
    if (ret_version != NULL)
        *ret_version = now;
    return added;
}

struct ficus_rows *order_events_read(struct ficus_req *req, const char *id, int64_t from)
{
    return ficus_store_read(req, stream_of(req, id), from);
}

bool change_of(struct ficus_req *req, const struct ficus_stored *ev, const struct ficus_json *data, struct change *ret_change)
{
    bool cancelled = strcmp(ev->type, "cancelled") == 0;
    const char *status = cancelled ? "cancelled" : strcmp(ev->type, "placed") == 0 ? "pending" : strcmp(ev->type, "confirmed") == 0 ? "confirmed" : NULL;
    *ret_change = (struct change){
        .status = status,
        .reason = cancelled ? ficus_json_str(req, ficus_json_get(data, "reason")) : NULL,
        .at_ms = ev->time_ms,
    };
    return status != NULL;
}

void change_write(struct ficus_req *req, struct ficus_out *o, const struct change *c)
{
    ficus_out_object(o, NULL);
    ficus_out_str(o, "status", c->status);
    ficus_out_str(o, "at", ficus_time(req, c->at_ms));
    ficus_out_str(o, "reason", c->reason);
    ficus_out_end(o);
}

static const struct ficus_route routes[] = {
    {"POST", "/v1/orders", order_place, FICUS_USERS, NULL, true},
    {"GET", "/v1/orders", orders_list, FICUS_USERS, NULL, false},
    {"GET", "/v1/orders/{id}", order_get, FICUS_USERS, NULL, false},
    {"GET", "/v1/orders/{id}/events", order_events, FICUS_USERS, NULL, false},
    {"POST", "/v1/orders/{id}/cancel", order_cancel, FICUS_USERS, NULL, false},
    {"POST", "/v1/orders/{id}/confirm", order_confirm, FICUS_SERVICES, NULL, false},
    {"POST", "/v1/orders/{id}/reject", order_reject, FICUS_SERVICES, NULL, false},
    {"POST", "/v1/orders/{id}/close", order_close, FICUS_SERVICES, NULL, false},
    {NULL},
};

const struct ficus_service orders_service = {.name = "orders", .routes = routes, .body_size_max = 256 * 1024, .projections = order_projections};
