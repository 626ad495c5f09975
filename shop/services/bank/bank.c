/* SPDX-License-Identifier: Apache-2.0 */
#include "bank.h"
#include "shop.h"

enum { SLOW_MS = 3000, FLAKY_FAILURES = 2 };

static const int64_t amount_max = INT64_C(1000000000000000000);

/* The well-known test numbers. Any other number is a good card. */
static const struct {
    const char *number, *behaviour;
} cards[] = {
    {"4000000000000002", "declined"},
    {"4000000000009995", "insufficient"},
    {"4000000000000119", "flaky"},
    {"4000000000000341", "slow"},
};

static bool digits_only(const char *s)
{
    return s[strspn(s, "0123456789")] == '\0';
}

static int token_post(struct ficus_req *req)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    const char *number = ficus_json_str(req, ficus_json_get(body, "card_number"));
    if (number == NULL || strlen(number) < 12 || strlen(number) > 19 || !digits_only(number)) {
        ficus_invalid(req, "/card_number", "must have 12 to 19 digits");
        return ficus_problem_invalid(req);
    }
    const char *behaviour = "good";
    for (size_t i = 0; i < sizeof cards / sizeof cards[0]; i++)
        if (strcmp(cards[i].number, number) == 0)
            behaviour = cards[i].behaviour;
    const char *token = ficus_printf(req, "tok_%s", ficus_new_id(req));
    if (ficus_tx(req) != 0 || ficus_exec(req, "INSERT INTO token (token, behaviour, last4, at) VALUES (?, ?, ?, ?)", "ssss", token, behaviour,
                                         number + strlen(number) - 4, ficus_time(req, ficus_now_ms(req))) != 0)
        return -1;
    struct ficus_out *o = ficus_reply(req, 201);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "token", token);
    ficus_out_end(o);
    return 0;
}

static int charge_reply(struct ficus_req *req, const char *order_id, const char *state, int64_t amount)
{
    struct ficus_out *o = ficus_reply(req, 200);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "order_id", order_id);
    ficus_out_str(o, "state", state);
    ficus_out_int(o, "amount", amount);
    ficus_out_end(o);
    return 0;
}

struct charge {
    const char *state;  /* "" when there is none */
    int64_t amount, attempts;
};

static int charge_read(struct ficus_req *req, const char *order_id, struct charge *ret_charge)
{
    *ret_charge = (struct charge){.state = ""};
    struct ficus_rows *rows = ficus_query(req, "SELECT state, amount, attempts FROM charge WHERE order_id = ?", "s", order_id);
    int found = rows == NULL ? -1 : ficus_row(rows);
    if (found < 0)
        return -1;
    if (found == 1)
        *ret_charge = (struct charge){ficus_col_str(rows, 0), ficus_col_int(rows, 1), ficus_col_int(rows, 2)};
    ficus_rows_done(rows);
    return 0;
}

/* NULL: return -1; "" for an unknown token. */
static const char *token_behaviour(struct ficus_req *req, const char *token)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT behaviour FROM token WHERE token = ?", "s", token);
    int found = rows == NULL ? -1 : ficus_row(rows);
    if (found < 0)
        return NULL;
    const char *behaviour = found == 1 ? ficus_col_str(rows, 0) : "";
    ficus_rows_done(rows);
    return behaviour;
}

static int charge_write(struct ficus_req *req, const char *order_id, const char *state, int64_t amount, int64_t attempts)
{
    return ficus_exec(req, "INSERT INTO charge (order_id, state, amount, attempts) VALUES (?, ?, ?, ?) "
                           "ON CONFLICT (order_id) DO UPDATE SET state = excluded.state, amount = excluded.amount, attempts = excluded.attempts",
                      "ssii", order_id, state, amount, attempts);
}

static int ledger_write(struct ficus_req *req, const char *order_id, const char *kind, int64_t amount)
{
    return ficus_exec(req, "INSERT INTO ledger (id, order_id, kind, amount, at) VALUES (?, ?, ?, ?, ?)", "sssis", ficus_new_id(req), order_id, kind,
                      amount, ficus_time(req, ficus_now_ms(req))) == 0 ? 0 : -1;
}

/* The number of failures must outlive the answer, so this one is committed. */
static int processing_error(struct ficus_req *req, const char *order_id, int64_t amount, int64_t attempts)
{
    if (charge_write(req, order_id, "trying", amount, attempts) != 0)
        return -1;
    struct ficus_out *o = ficus_reply(req, 503);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "code", "processing_error");
    ficus_out_str(o, "detail", "the card could not be processed; try again");
    ficus_out_end(o);
    return 0;
}

static int capture_put(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    int64_t amount = 0;
    const char *token = ficus_json_str(req, ficus_json_get(body, "card"));
    if (token == NULL)
        ficus_invalid(req, "/card", "must be a token of this bank");
    if (!shop_money_read(req, ficus_json_get(body, "amount"), amount_max, &amount))
        ficus_invalid(req, "/amount", "must be money in " SHOP_CURRENCY);
    if (ficus_is_invalid(req))
        return ficus_problem_invalid(req);
    const char *behaviour = token_behaviour(req, token);
    if (behaviour == NULL)
        return -1;
    if (*behaviour == '\0' || strcmp(behaviour, "declined") == 0)
        return ficus_problem(req, 402, "card_declined", "the card was declined");
    if (strcmp(behaviour, "insufficient") == 0)
        return ficus_problem(req, 402, "insufficient_funds", "the card was declined: insufficient funds");
    if (strcmp(behaviour, "slow") == 0 && ficus_sleep(req, SLOW_MS) != 0)
        return -1;
    struct charge c;
    if (ficus_tx(req) != 0 || charge_read(req, id, &c) != 0)
        return -1;
    if (strcmp(c.state, "captured") == 0)
        return charge_reply(req, id, "captured", c.amount);
    if (strcmp(c.state, "refunded") == 0 || strcmp(c.state, "void") == 0)
        return ficus_problem(req, 409, "undone", "this charge was given back already");
    if (strcmp(behaviour, "flaky") == 0 && c.attempts < FLAKY_FAILURES)
        return processing_error(req, id, amount, c.attempts + 1);
    if (charge_write(req, id, "captured", amount, c.attempts + 1) != 0 || ledger_write(req, id, "capture", amount) != 0)
        return -1;
    return charge_reply(req, id, "captured", amount);
}

/* Give back. What never came is made void, so that a late capture is refused. */
static int capture_delete(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    struct charge c;
    if (ficus_tx(req) != 0 || charge_read(req, id, &c) != 0)
        return -1;
    if (strcmp(c.state, "refunded") == 0 || strcmp(c.state, "void") == 0)
        return charge_reply(req, id, c.state, c.amount);
    if (strcmp(c.state, "captured") != 0) {
        if (charge_write(req, id, "void", 0, c.attempts) != 0)
            return -1;
        return charge_reply(req, id, "void", 0);
    }
    if (charge_write(req, id, "refunded", c.amount, c.attempts) != 0 || ledger_write(req, id, "refund", c.amount) != 0)
        return -1;
    return charge_reply(req, id, "refunded", c.amount);
}

#define LEDGER_COLUMNS "SELECT seq, id, order_id, kind, amount, at FROM ledger "

static void ledger_line_write(struct ficus_out *o, struct ficus_rows *rows)
{
    ficus_out_object(o, NULL);
    ficus_out_str(o, "id", ficus_col_str(rows, 1));
    ficus_out_str(o, "order_id", ficus_col_str(rows, 2));
    ficus_out_str(o, "kind", ficus_col_str(rows, 3));
    shop_money(o, "amount", ficus_col_int(rows, 4));
    ficus_out_str(o, "at", ficus_col_str(rows, 5));
    ficus_out_end(o);
}

static int ledger_list(struct ficus_req *req)
{
    struct shop_page page;
    shop_page_read(req, &page);
    if (ficus_is_invalid(req))
        return ficus_problem_invalid(req);
    const char *order_id = ficus_query_param(req, "order_id");
    struct ficus_rows *rows =
        order_id == NULL
            ? ficus_query(req, LEDGER_COLUMNS "WHERE seq > ? ORDER BY seq LIMIT ?", "ii", page.after, page.limit + 1)
            : ficus_query(req, LEDGER_COLUMNS "WHERE order_id = ? AND seq > ? ORDER BY seq LIMIT ?", "sii", order_id,
                          page.after, page.limit + 1);
    return shop_page_reply(req, &page, rows, ledger_line_write);
}

static const struct ficus_route routes[] = {
    {"POST", "/v1/tokens", token_post, FICUS_SERVICES, NULL, false},
    {"PUT", "/v1/captures/{id}", capture_put, FICUS_SERVICES, NULL, false},
    {"DELETE", "/v1/captures/{id}", capture_delete, FICUS_SERVICES, NULL, false},
    {"GET", "/v1/ledger", ledger_list, FICUS_USERS, "admin", false},
    {NULL},
};

const struct ficus_service bank_service = {.name = "bank", .routes = routes};
