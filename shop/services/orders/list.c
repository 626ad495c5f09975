/* SPDX-License-Identifier: Apache-2.0
 *
 * What is found by user and status: the table orders, which all streams add up to. seq numbers the orders in the order in
 * which they were placed; none is ever removed, so it is the same however often the table is built.
 */
#include "orders.h"

#include <string.h>

static const char tables[] = "CREATE TABLE {orders} ("
                             "  seq       INTEGER PRIMARY KEY,"
                             "  id        TEXT NOT NULL UNIQUE,"
                             "  user_id   TEXT NOT NULL,"
                             "  status    TEXT NOT NULL CHECK (status IN ('pending', 'confirmed', 'cancelled')),"
                             "  reason    TEXT,"
                             "  total     INTEGER NOT NULL,"
                             "  cancel_by TEXT,"            /* by_customer or by_admin, once somebody asked: it ends cancelled */
                             "  version   INTEGER NOT NULL" /* of the stream */
                             ") STRICT;"
                             "CREATE INDEX {orders_user} ON {orders} (user_id, seq);";

static int add(struct ficus_req *req, const char *id, const struct ficus_stored *ev, const struct ficus_json *data)
{
    const char *user = ficus_json_str(req, ficus_json_get(data, "user"));
    int64_t total;
    if (user == NULL || !ficus_json_int(ficus_json_get(data, "total"), &total))
        return ficus_problem(req, 500, "bad_event", "it has no user, or no total");
    return ficus_exec(req, "INSERT INTO {orders} (id, user_id, status, total, version) VALUES (?, ?, 'pending', ?, ?)", "ssii", id, user, total,
                      ev->version);
}

static int orders_handle(struct ficus_req *req, const struct ficus_stored *ev)
{
    const struct ficus_json *data = ficus_json_parse(req, ev->data);
    const char *id = ev->stream + strlen("order-");
    if (strncmp(ev->stream, "order-", strlen("order-")) != 0)
        return 0;
    if (strcmp(ev->type, "placed") == 0)
        return add(req, id, ev, data);
    if (strcmp(ev->type, "cancel_asked") == 0)
        return ficus_exec(req, "UPDATE {orders} SET cancel_by = ?, version = ? WHERE id = ?", "sis", ficus_json_str(req, ficus_json_get(data, "by")),
                          ev->version, id);
    if (strcmp(ev->type, "confirmed") == 0 || strcmp(ev->type, "cancelled") == 0)
        return ficus_exec(req, "UPDATE {orders} SET status = ?, reason = ?, version = ? WHERE id = ?", "ssis", ev->type,
                          ficus_json_str(req, ficus_json_get(data, "reason")), ev->version, id);
    return ficus_exec(req, "UPDATE {orders} SET version = ? WHERE id = ?", "is", ev->version, id);
}

const struct ficus_projection order_projections[] = {
    {"my_orders", 1, tables, orders_handle},
    {NULL},
};
