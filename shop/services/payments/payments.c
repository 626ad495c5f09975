/* SPDX-License-Identifier: Apache-2.0
 *
 * The bank is asked first, without a transaction; it is the truth about the money and does each thing once per order. Then its answer is written down. When
 * this process dies between the two, the saga asks again and the bank answers the same. An undo that overtakes its charge leaves a tombstone here and at the bank.
 */
#include "payments.h"
#include "shop.h"

static const int64_t amount_max = INT64_C(1000000000000000000);

/* The card passes through to the bank; only its token comes back. Nothing is stored here. */
static int card_post(struct ficus_req *req)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    const char *number = ficus_json_str(req, ficus_json_get(body, "card_number"));
    struct ficus_out *o = ficus_out_new(req);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "card_number", number);
    ficus_out_end(o);
    struct ficus_answer bank;
    if (ficus_call(req, &(struct ficus_call){.service = "bank", .method = "POST", .path = "/v1/tokens", .body = ficus_out_text(o)}, &bank) != 0)
        return -1;
    if (bank.status >= 400 && bank.status < 500)
        return ficus_problem(req, 400, "invalid_card", "the bank does not know such a card number");
    const char *token = ficus_json_str(req, ficus_json_get(bank.json, "token"));
    if (bank.status != 201 || token == NULL)
        return ficus_problem(req, 503, "bank_unavailable", "the bank cannot be reached now");
    o = ficus_reply(req, 201);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "card", token);
    ficus_out_end(o);
    return 0;
}

static int charge_reply(struct ficus_req *req, const char *order_id, const char *status)
{
    struct ficus_out *o = ficus_reply(req, 200);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "order_id", order_id);
    ficus_out_str(o, "status", status);
    ficus_out_end(o);
    return 0;
}

static int payment_write(struct ficus_req *req, const char *order_id, int64_t amount, const char *status)
{
    return ficus_exec(req, "INSERT INTO payment (id, order_id, amount, status, at) VALUES (?, ?, ?, ?, ?) "
                           "ON CONFLICT (order_id) DO UPDATE SET status = excluded.status, at = excluded.at",
                      "ssiss", ficus_new_id(req), order_id, amount, status, ficus_time(req, ficus_now_ms(req))) == 0 ? 0 : -1;
}

/* Write the bank's answer down, unless an undo overtook it. */
static int charge_record(struct ficus_req *req, const char *id, int64_t amount, bool captured)
{
    if (ficus_tx(req) != 0)
        return -1;
    switch (ficus_step_do(req, "charge", id)) {
    case FICUS_STEP_FRESH:
        break;
    case FICUS_STEP_REPEATED:
        return charge_reply(req, id, "captured");
    case FICUS_STEP_REFUSED:
        return ficus_step_refused(req, "charge", id);
    default:
        return -1;
    }
    if (payment_write(req, id, amount, captured ? "captured" : "declined") != 0)
        return -1;
    return captured ? charge_reply(req, id, "captured")
                    : ficus_step_refuse(req, "charge", id, "payment_declined", "the bank declined the card");
}

static int charge_put(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    int64_t amount = 0;
    const char *card = ficus_json_str(req, ficus_json_get(body, "card"));
    if (!shop_money_read(req, ficus_json_get(body, "amount"), amount_max, &amount))
        ficus_invalid(req, "/amount", "must be money in " SHOP_CURRENCY);
    if (card == NULL)
        ficus_invalid(req, "/card", "must be a token of the bank");
    if (ficus_is_invalid(req))
        return ficus_problem_invalid(req);
    const char *state = ficus_step_state(req, "charge", id);
    if (state == NULL)
        return -1;
    if (strcmp(state, "done") == 0)
        return charge_reply(req, id, "captured");
    if (*state != '\0')
        return charge_record(req, id, amount, false);
    struct ficus_out *o = ficus_out_new(req);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    shop_money(o, "amount", amount);
    ficus_out_str(o, "card", card);
    ficus_out_end(o);
    struct ficus_answer bank;
    if (ficus_call(req, &(struct ficus_call){.service = "bank", .method = "PUT", .path = ficus_printf(req, "/v1/captures/%s", ficus_segment(req, id)),
                                             .body = ficus_out_text(o)}, &bank) != 0)
        return -1;
    if (bank.status == 200)
        return charge_record(req, id, amount, true);
    if (bank.status == 402)
        return charge_record(req, id, amount, false);
    if (bank.status == 409)
        return ficus_problem(req, 409, "undone", "this charge was given back already");
    return ficus_problem(req, 503, "bank_unavailable", "the bank cannot process the charge now");
}

static int charge_delete(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    struct ficus_answer bank;
    if (ficus_call(req, &(struct ficus_call){.service = "bank", .method = "DELETE",
                                             .path = ficus_printf(req, "/v1/captures/%s", ficus_segment(req, id))}, &bank) != 0)
        return -1;
    if (bank.status != 200)
        return ficus_problem(req, 503, "bank_unavailable", "the bank cannot give the money back now");
    const char *state = ficus_json_str(req, ficus_json_get(bank.json, "state"));
    int64_t amount = 0;
    (void)ficus_json_int(ficus_json_get(bank.json, "amount"), &amount);
    bool refunded = state != NULL && strcmp(state, "refunded") == 0;
    if (ficus_tx(req) != 0)
        return -1;
    if (ficus_step_undo(req, "charge", id) < 0)
        return -1;
    /* The bank had captured, perhaps without our knowing: the line here must agree with its ledger. */
    if (refunded && payment_write(req, id, amount, "refunded") != 0)
        return -1;
    return charge_reply(req, id, refunded ? "refunded" : "void");
}

#define PAYMENT_COLUMNS "SELECT seq, id, order_id, amount, status, at FROM payment "

static void payment_line_write(struct ficus_out *o, struct ficus_rows *rows)
{
    ficus_out_object(o, NULL);
    ficus_out_str(o, "id", ficus_col_str(rows, 1));
    ficus_out_str(o, "order_id", ficus_col_str(rows, 2));
    shop_money(o, "amount", ficus_col_int(rows, 3));
    ficus_out_str(o, "status", ficus_col_str(rows, 4));
    ficus_out_str(o, "at", ficus_col_str(rows, 5));
    ficus_out_end(o);
}

static int payments_list(struct ficus_req *req)
{
    struct shop_page page;
    shop_page_read(req, &page);
    if (ficus_is_invalid(req))
        return ficus_problem_invalid(req);
    const char *order_id = ficus_query_param(req, "order_id");
    struct ficus_rows *rows =
        order_id == NULL
            ? ficus_query(req, PAYMENT_COLUMNS "WHERE seq > ? ORDER BY seq LIMIT ?", "ii", page.after, page.limit + 1)
            : ficus_query(req, PAYMENT_COLUMNS "WHERE order_id = ? AND seq > ? LIMIT ?", "sii", order_id, page.after,
                          page.limit + 1);
    return shop_page_reply(req, &page, rows, payment_line_write);
}

static const struct ficus_route routes[] = {
    {"POST", "/v1/cards", card_post, FICUS_SERVICES, NULL, false},
    {"PUT", "/v1/charges/{id}", charge_put, FICUS_SERVICES, NULL, false},
    {"DELETE", "/v1/charges/{id}", charge_delete, FICUS_SERVICES, NULL, false},
    {"GET", "/v1/payments", payments_list, FICUS_USERS, "admin", false},
    {NULL},
};

const struct ficus_service payments_service = {.name = "payments", .routes = routes};
