/* SPDX-License-Identifier: Apache-2.0 */
#include "inventory.h"
#include "shop.h"

enum { ITEM_COUNT_MAX = 1000 };

static const int64_t quantity_max = INT64_C(1000000000);    /* a thousand products of a million pieces still add up */
static const int64_t on_hand_max = INT64_C(1000000000000);

/* How a reservation may move, and what each move does to the stock. */
static const struct move {
    const char *from, *to;
    int on_hand, reserved;      /* factor of the quantity */
} moves[] = {
    {"", "reserved", 0, +1},
    {"reserved", "taken", -1, -1},
    {"reserved", "released", 0, -1},
    {"taken", "returned", +1, 0},
};

static const struct move *move_find(const char *from, const char *to)
{
    for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++)
        if (strcmp(moves[i].from, from) == 0 && strcmp(moves[i].to, to) == 0)
            return &moves[i];
    return NULL;
}

static int stock_event_item(struct ficus_req *req, struct ficus_out *o, const char *sku)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT on_hand - reserved FROM stock WHERE sku = ?", "s", sku);
    if (rows == NULL || ficus_row(rows) != 1)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "sku", sku);
    ficus_out_int(o, "available", ficus_col_int(rows, 0));
    ficus_out_end(o);
    ficus_rows_done(rows);
    return 0;
}

/* Change one sku for an order: stock, movement, event. */
static int move_item(struct ficus_req *req, const struct move *m, const char *order_id, const char *sku, int64_t quantity, const char *at,
                     struct ficus_out *event)
{
    if (ficus_exec(req, "UPDATE stock SET on_hand = on_hand + ?, reserved = reserved + ? WHERE sku = ?", "iis", m->on_hand * quantity,
                   m->reserved * quantity, sku) != 0)
        return -1;
    if (ficus_exec(req, "INSERT INTO movement (id, order_id, sku, quantity, kind, at) VALUES (?, ?, ?, ?, ?, ?)", "sssiss", ficus_new_id(req),
                   order_id, sku, quantity, m->to, at) != 0)
        return -1;
    return stock_event_item(req, event, sku);
}

/* Move a whole reservation to its next state; its items are in the table already. */
static int reservation_move(struct ficus_req *req, const struct move *m, const char *order_id)
{
    const char *at = ficus_time(req, ficus_now_ms(req));
    struct ficus_out *event = ficus_out_new(req);
    struct ficus_rows *rows = ficus_query(req, "SELECT sku, quantity FROM reservation_item WHERE order_id = ? ORDER BY sku", "s", order_id);
    if (event == NULL || rows == NULL)
        return -1;
    ficus_out_object(event, NULL);
    ficus_out_array(event, "items");
    int more;
    while ((more = ficus_row(rows)) == 1)
        if (move_item(req, m, order_id, ficus_col_str(rows, 0), ficus_col_int(rows, 1), at, event) != 0)
            return -1;
    if (more < 0)
        return -1;
    ficus_out_end(event);
    ficus_out_end(event);
    if (ficus_exec(req, "INSERT INTO reservation (order_id, state, at) VALUES (?, ?, ?) "
                        "ON CONFLICT (order_id) DO UPDATE SET state = excluded.state, at = excluded.at", "sss", order_id, m->to, at) != 0)
        return -1;
    /* available does not change when what was held is taken */
    return m->on_hand == m->reserved ? 0 : ficus_emit(req, "stock.changed", order_id, ficus_out_text(event));
}

/* "" when there is none; NULL: return -1. */
static const char *reservation_state(struct ficus_req *req, const char *order_id)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT state FROM reservation WHERE order_id = ?", "s", order_id);
    int found = rows == NULL ? -1 : ficus_row(rows);
    if (found < 0)
        return NULL;
    const char *state = found == 1 ? ficus_col_str(rows, 0) : "";
    ficus_rows_done(rows);
    return state;
}

static int reservation_reply(struct ficus_req *req, const char *order_id, const char *state)
{
    struct ficus_out *o = ficus_reply(req, 200);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "order_id", order_id);
    ficus_out_str(o, "state", state);
    ficus_out_end(o);
    return 0;
}

/* Write the wanted items; a sku named twice is added up. 0, or -1. */
static int items_write(struct ficus_req *req, const char *order_id, const struct ficus_json *items)
{
    if (!ficus_json_is_array(items) || ficus_json_count(items) < 1 || ficus_json_count(items) > ITEM_COUNT_MAX) {
        ficus_invalid(req, "/items", "must be an array of 1 to %d items", ITEM_COUNT_MAX);
        return ficus_problem_invalid(req);
    }
    for (size_t i = 0; i < ficus_json_count(items); i++) {
        const struct ficus_json *item = ficus_json_at(items, i);
        const char *sku = ficus_json_str(req, ficus_json_get(item, "sku"));
        int64_t quantity;
        if (sku == NULL || !ficus_json_int(ficus_json_get(item, "quantity"), &quantity) || quantity < 1 || quantity > quantity_max) {
            ficus_invalid(req, ficus_printf(req, "/items/%zu", i), "must have a sku and a quantity from 1 to %" PRId64, quantity_max);
            return ficus_problem_invalid(req);
        }
        if (ficus_exec(req, "INSERT INTO reservation_item (order_id, sku, quantity) VALUES (?, ?, ?) "
                            "ON CONFLICT (order_id, sku) DO UPDATE SET quantity = quantity + excluded.quantity", "ssi", order_id, sku, quantity) != 0)
            return -1;
    }
    return 0;
}

/* The first sku that is short, or "" when all is there; NULL: return -1. */
static const char *items_short(struct ficus_req *req, const char *order_id)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT i.sku FROM reservation_item i LEFT JOIN stock s ON s.sku = i.sku "
                                               "WHERE i.order_id = ? AND i.quantity > coalesce(s.on_hand - s.reserved, 0) ORDER BY i.sku LIMIT 1", "s", order_id);
    int found = rows == NULL ? -1 : ficus_row(rows);
    if (found < 0)
        return NULL;
    const char *sku = found == 1 ? ficus_col_str(rows, 0) : "";
    ficus_rows_done(rows);
    return sku;
}

static int reservation_put(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL || ficus_tx(req) != 0)
        return -1;
    switch (ficus_step_do(req, "reservation", id)) {
    case FICUS_STEP_FRESH:
        break;
    case FICUS_STEP_REPEATED:
        return reservation_reply(req, id, "reserved");
    case FICUS_STEP_REFUSED:
        return ficus_step_refused(req, "reservation", id);
    default:
        return -1;
    }
    if (items_write(req, id, ficus_json_get(body, "items")) != 0)
        return -1;
    const char *missing = items_short(req, id);
    if (missing == NULL)
        return -1;
    if (*missing != '\0') {
        if (ficus_exec(req, "DELETE FROM reservation_item WHERE order_id = ?", "s", id) != 0)
            return -1;
        return ficus_step_refuse(req, "reservation", id, "out_of_stock", ficus_printf(req, "not enough of sku %s", missing));
    }
    if (reservation_move(req, move_find("", "reserved"), id) != 0)
        return -1;
    return reservation_reply(req, id, "reserved");
}

static int reservation_delete(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    if (ficus_tx(req) != 0)
        return -1;
    int step = ficus_step_undo(req, "reservation", id);
    const char *state = step < 0 ? NULL : reservation_state(req, id);
    if (state == NULL)
        return -1;
    if (step != FICUS_STEP_FRESH)
        return reservation_reply(req, id, *state == '\0' ? "released" : state);
    const char *to = strcmp(state, "taken") == 0 ? "returned" : "released";
    const struct move *m = move_find(state, to);
    if (m == NULL)
        return ficus_problem(req, 500, "bad_state", "reservation %s is %s", id, state);
    if (reservation_move(req, m, id) != 0)
        return -1;
    return reservation_reply(req, id, to);
}

/* Sold: the pieces leave the shelf. When a cancellation was quicker and gave them back, there is nothing left to take, and that is fine. */
static int reservation_take(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    if (ficus_tx(req) != 0)
        return -1;
    const char *state = reservation_state(req, id);
    if (state == NULL)
        return -1;
    if (*state == '\0')
        return ficus_problem(req, 404, "unknown_reservation", "nothing is reserved for %s", id);
    if (strcmp(state, "reserved") != 0)
        return reservation_reply(req, id, state);
    if (reservation_move(req, move_find("reserved", "taken"), id) != 0)
        return -1;
    return reservation_reply(req, id, "taken");
}

static int stock_reply(struct ficus_req *req, const char *sku)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT on_hand, reserved FROM stock WHERE sku = ?", "s", sku);
    int found = rows == NULL ? -1 : ficus_row(rows);
    if (found < 0)
        return -1;
    if (found == 0)
        return ficus_problem(req, 404, "unknown_sku", "no stock was ever set for this sku");
    struct ficus_out *o = ficus_reply(req, 200);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "sku", sku);
    ficus_out_int(o, "on_hand", ficus_col_int(rows, 0));
    ficus_out_int(o, "reserved", ficus_col_int(rows, 1));
    ficus_out_int(o, "available", ficus_col_int(rows, 0) - ficus_col_int(rows, 1));
    ficus_out_end(o);
    ficus_rows_done(rows);
    return 0;
}

static int stock_get(struct ficus_req *req)
{
    return stock_reply(req, ficus_param(req, "sku"));
}

static int stock_put(struct ficus_req *req)
{
    const char *sku = ficus_param(req, "sku");
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    int64_t on_hand = 0;
    if (!shop_text_fits(sku, 1, 64))
        ficus_invalid(req, "", "the sku in the path must have 1 to 64 characters");
    if (!ficus_json_int(ficus_json_get(body, "on_hand"), &on_hand) || on_hand < 0 || on_hand > on_hand_max)
        ficus_invalid(req, "/on_hand", "must be a whole number from 0 to %" PRId64, on_hand_max);
    if (ficus_is_invalid(req))
        return ficus_problem_invalid(req);
    if (ficus_tx(req) != 0)
        return -1;
    if (ficus_exec(req, "INSERT INTO stock (sku, on_hand) VALUES (?, ?) ON CONFLICT (sku) DO UPDATE SET on_hand = excluded.on_hand "
                        "WHERE reserved <= excluded.on_hand", "si", sku, on_hand) != 0)
        return -1;
    if (ficus_changes(req) == 0)
        return ficus_problem(req, 409, "below_reserved", "orders hold more pieces of this sku than %" PRId64, on_hand);
    struct ficus_out *event = ficus_out_new(req);
    if (event == NULL)
        return -1;
    ficus_out_object(event, NULL);
    ficus_out_array(event, "items");
    if (stock_event_item(req, event, sku) != 0)
        return -1;
    ficus_out_end(event);
    ficus_out_end(event);
    if (ficus_emit(req, "stock.changed", sku, ficus_out_text(event)) != 0)
        return -1;
    return stock_reply(req, sku);
}

#define MOVEMENT_COLUMNS "SELECT seq, id, order_id, sku, quantity, kind, at FROM movement "

static void movement_write(struct ficus_out *o, struct ficus_rows *rows)
{
    ficus_out_object(o, NULL);
    ficus_out_str(o, "id", ficus_col_str(rows, 1));
    ficus_out_str(o, "order_id", ficus_col_str(rows, 2));
    ficus_out_str(o, "sku", ficus_col_str(rows, 3));
    ficus_out_int(o, "quantity", ficus_col_int(rows, 4));
    ficus_out_str(o, "kind", ficus_col_str(rows, 5));
    ficus_out_str(o, "at", ficus_col_str(rows, 6));
    ficus_out_end(o);
}

static int movements_list(struct ficus_req *req)
{
    struct shop_page page;
    shop_page_read(req, &page);
    if (ficus_is_invalid(req))
        return ficus_problem_invalid(req);
    const char *order_id = ficus_query_param(req, "order_id"), *sku = ficus_query_param(req, "sku");
    /* One statement per filter, so that each uses its index. */
    static const char *const sql[] = {
        MOVEMENT_COLUMNS "WHERE seq > ?1 AND ?2 IS NULL AND ?3 IS NULL ORDER BY seq LIMIT ?4",
        MOVEMENT_COLUMNS "WHERE seq > ?1 AND order_id = ?2 AND ?3 IS NULL ORDER BY seq LIMIT ?4",
        MOVEMENT_COLUMNS "WHERE seq > ?1 AND ?2 IS NULL AND sku = ?3 ORDER BY seq LIMIT ?4",
        MOVEMENT_COLUMNS "WHERE seq > ?1 AND order_id = ?2 AND sku = ?3 ORDER BY seq LIMIT ?4",
    };
    struct ficus_rows *rows =
        ficus_query(req, sql[(order_id != NULL) + 2 * (sku != NULL)], "issi", page.after, order_id, sku, page.limit + 1);
    return shop_page_reply(req, &page, rows, movement_write);
}

static const struct ficus_route routes[] = {
    {"GET", "/v1/stock/{sku}", stock_get, FICUS_USERS, "admin", false},
    {"PUT", "/v1/stock/{sku}", stock_put, FICUS_USERS, "admin", false},
    {"GET", "/v1/stock-movements", movements_list, FICUS_USERS, "admin", false},
    {"PUT", "/v1/reservations/{id}", reservation_put, FICUS_SERVICES, NULL, false},
    {"DELETE", "/v1/reservations/{id}", reservation_delete, FICUS_SERVICES, NULL, false},
    {"POST", "/v1/reservations/{id}/take", reservation_take, FICUS_SERVICES, NULL, false},
    {NULL},
};

const struct ficus_service inventory_service = {.name = "inventory", .routes = routes, .body_size_max = 512 * 1024};
