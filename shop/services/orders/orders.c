/* SPDX-License-Identifier: Apache-2.0 */
#include "orders.h"

#include <string.h>

int order_read(struct ficus_req *req, const char *id, struct order *ret_order)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT seq, user_id, status, reason, total, cancel_by FROM orders WHERE id = ?", "s", id);
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

const struct ficus_service orders_service = {.name = "orders", .routes = routes, .body_size_max = 256 * 1024};
