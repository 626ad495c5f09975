/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking an order: check it, ask the catalog for names and prices, hand the card to payments (only the bank's token comes back), then store the order and emit
 * order.placed in one transaction. Until that commit nothing exists; whatever fails before it leaves no trace.
 */
#include "orders.h"
#include "shop.h"

enum { ITEM_COUNT_MAX = 1000, QUANTITY_MAX = 1000000 };

/* Beyond this a JSON reader that keeps numbers as doubles would lose pence. */
static const int64_t total_max = INT64_C(9000000000000000);

struct line {
    const char *product_id, *sku, *name;
    int64_t quantity, price;
};

struct basket {
    struct line *lines;
    size_t count;
    int64_t total;
    const char *card_number, *card;
};

/* ISO/IEC 7812-1, annex B. */
static bool luhn_valid(const char *number)
{
    size_t size = strlen(number);
    if (size < 12 || size > 19 || strspn(number, "0123456789") != size)
        return false;
    int sum = 0;
    for (size_t i = 0; i < size; i++) {
        int digit = number[size - 1 - i] - '0';
        if (i % 2 == 1)
            digit = digit > 4 ? digit * 2 - 9 : digit * 2;
        sum += digit;
    }
    return sum % 10 == 0;
}

static int basket_read(struct ficus_req *req, struct basket *b)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    const struct ficus_json *items = ficus_json_get(body, "items");
    size_t count = ficus_json_count(items);
    if (!ficus_json_is_array(items) || count < 1 || count > ITEM_COUNT_MAX) {
        ficus_invalid(req, "/items", "must be an array of 1 to %d items", ITEM_COUNT_MAX);
        count = 0;
    }
    b->lines = ficus_alloc(req, (count + 1) * sizeof *b->lines);
    if (b->lines == NULL)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const struct ficus_json *item = ficus_json_at(items, i);
        struct line *l = &b->lines[b->count++];
        l->product_id = ficus_json_str(req, ficus_json_get(item, "product_id"));
        if (l->product_id == NULL || !shop_text_fits(l->product_id, 1, 64))
            ficus_invalid(req, ficus_printf(req, "/items/%zu/product_id", i), "must be the id or sku of a product");
        if (!ficus_json_int(ficus_json_get(item, "quantity"), &l->quantity) || l->quantity < 1 || l->quantity > QUANTITY_MAX)
            ficus_invalid(req, ficus_printf(req, "/items/%zu/quantity", i), "must be a whole number from 1 to %d", QUANTITY_MAX);
    }
    b->card_number = ficus_json_str(req, ficus_json_get(ficus_json_get(body, "payment"), "card_number"));
    if (b->card_number == NULL || !luhn_valid(b->card_number))
        ficus_invalid(req, "/payment/card_number", "must be a card number (12 to 19 digits, valid check digit)");
    return ficus_is_invalid(req) ? ficus_problem_invalid(req) : 0;
}

static int unavailable(struct ficus_req *req, const char *what)
{
    if (ficus_reply_header(req, "Retry-After", "1") != 0)
        return -1;
    return ficus_problem(req, 503, "try_again", "%s cannot be reached now; nothing was ordered, send the same request again", what);
}

/* Add a line to one of the same product, if there is one before it. */
static bool line_merge(struct basket *b, size_t count, const struct line *l)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(b->lines[i].product_id, l->product_id) == 0) {
            b->lines[i].quantity += l->quantity;
            return true;
        }
    return false;
}

/* Take names and prices over, and add up what was named twice, by id or by sku. */
static int basket_price(struct ficus_req *req, struct basket *b, const struct ficus_json *products)
{
    size_t count = 0;
    for (size_t i = 0; i < b->count; i++) {
        const struct ficus_json *p = ficus_json_at(products, i);
        struct line l = {.quantity = b->lines[i].quantity};
        l.product_id = ficus_json_str(req, ficus_json_get(p, "id"));
        l.sku = ficus_json_str(req, ficus_json_get(p, "sku"));
        l.name = ficus_json_str(req, ficus_json_get(p, "name"));
        if (l.product_id == NULL || l.sku == NULL || l.name == NULL ||
            !shop_money_read(req, ficus_json_get(p, "price"), total_max, &l.price)) {
            ficus_invalid(req, ficus_printf(req, "/items/%zu/product_id", i), "is not the id or sku of a product");
            return ficus_problem(req, 422, "unknown_product", "no product has the id or sku %s", b->lines[i].product_id);
        }
        if (!line_merge(b, count, &l))
            b->lines[count++] = l;
    }
    b->count = count;
    for (size_t i = 0; i < count; i++) {
        int64_t cost;
        if (__builtin_mul_overflow(b->lines[i].price, b->lines[i].quantity, &cost) || __builtin_add_overflow(b->total, cost, &b->total) ||
            b->total > total_max)
            return ficus_problem(req, 422, "too_expensive", "the total of the order is out of range");
    }
    return 0;
}

static int basket_lookup(struct ficus_req *req, struct basket *b)
{
    struct ficus_out *o = ficus_out_new(req);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_array(o, "ids");
    for (size_t i = 0; i < b->count; i++)
        ficus_out_str(o, NULL, b->lines[i].product_id);
    ficus_out_end(o);
    ficus_out_end(o);
    struct ficus_answer catalog;
    /* The key only allows the engine to repeat this: looking up twice is looking up once. */
    if (ficus_call(req, &(struct ficus_call){.service = "catalog", .method = "POST", .path = "/v1/products/lookup", .body = ficus_out_text(o),
                                             .key = ficus_new_id(req)}, &catalog) != 0)
        return -1;
    if (catalog.status != 200 || ficus_json_count(ficus_json_get(catalog.json, "items")) != b->count)
        return unavailable(req, "the catalog");
    return basket_price(req, b, ficus_json_get(catalog.json, "items"));
}

static int card_hand_over(struct ficus_req *req, struct basket *b)
{
    struct ficus_out *o = ficus_out_new(req);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "card_number", b->card_number);
    ficus_out_end(o);
    struct ficus_answer payments;
    if (ficus_call(req, &(struct ficus_call){.service = "payments", .method = "POST", .path = "/v1/cards", .body = ficus_out_text(o)}, &payments) != 0)
        return -1;
    if (payments.status == 400) {
        ficus_invalid(req, "/payment/card_number", "is not accepted by the bank");
        return ficus_problem_invalid(req);
    }
    b->card = ficus_json_str(req, ficus_json_get(payments.json, "card"));
    return payments.status == 201 && b->card != NULL ? 0 : unavailable(req, "payments");
}

static int placed_emit(struct ficus_req *req, const char *id, const struct basket *b)
{
    struct ficus_out *o = ficus_out_new(req);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "user", ficus_user(req));
    ficus_out_array(o, "items");
    for (size_t i = 0; i < b->count; i++) {
        ficus_out_object(o, NULL);
        ficus_out_str(o, "sku", b->lines[i].sku);
        ficus_out_int(o, "quantity", b->lines[i].quantity);
        ficus_out_end(o);
    }
    ficus_out_end(o);
    shop_money(o, "total", b->total);
    ficus_out_str(o, "card", b->card);
    ficus_out_end(o);
    return ficus_emit(req, "order.placed", id, ficus_out_text(o));
}

/* The data of `placed` (first 0), or of `items_added`. */
static const char *items_data(struct ficus_req *req, const struct basket *b, size_t first)
{
    struct ficus_out *o = ficus_out_new(req);
    if (o == NULL)
        return NULL;
    ficus_out_object(o, NULL);
    if (first == 0) {
        ficus_out_str(o, "user", ficus_user(req));
        ficus_out_int(o, "total", b->total);
    }
    ficus_out_array(o, "items");
    for (size_t i = first; i < b->count && i < first + ITEMS_OF_EVENT_MAX; i++) {
        const struct line *l = &b->lines[i];
        ficus_out_object(o, NULL);
        ficus_out_str(o, "product_id", l->product_id);
        ficus_out_str(o, "sku", l->sku);
        ficus_out_str(o, "name", l->name);
        ficus_out_int(o, "quantity", l->quantity);
        ficus_out_int(o, "price", l->price);
        ficus_out_end(o);
    }
    ficus_out_end(o);
    ficus_out_end(o);
    return ficus_out_text(o);
}

static int order_store(struct ficus_req *req, const char *id, const struct basket *b)
{
    int64_t version = FICUS_STREAM_NEW;
    for (size_t i = 0; i < b->count; i += ITEMS_OF_EVENT_MAX)
        if (order_append(req, id, version, i == 0 ? "placed" : "items_added", items_data(req, b, i), &version) != 0)
            return -1;
    return change_tell(req, id, 1, 0);
}

int order_place(struct ficus_req *req)
{
    struct basket b = {0};
    if (basket_read(req, &b) != 0 || basket_lookup(req, &b) != 0 || card_hand_over(req, &b) != 0)
        return -1;
    const char *id = ficus_new_id(req);
    if (ficus_tx(req) != 0 || order_store(req, id, &b) != 0 || placed_emit(req, id, &b) != 0)
        return -1;
    if (order_reply(req, 202, id) != 0)
        return -1;
    return ficus_reply_header(req, "Location", ficus_printf(req, "/api/v1/orders/%s", id));
}
