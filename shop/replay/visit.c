/* SPDX-License-Identifier: Apache-2.0
 *
 * What a customer does around the order: search, fill the cart, and sometimes leave something in it. A search or a cart
 * that fails is counted and does not keep him from ordering.
 */
#include "replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FOUND_MAX = 100, LEFT_QUANTITY = 1 };

struct visit {
    struct job *job;
    void (*order)(struct job *j);
};

static const struct plan_product *first_product(const struct job *j)
{
    return &j->run->plan.products[j->order->items[0].product];
}

static bool by_name(const struct job *j)
{
    return hash_texts("search:", j->order->invoice, NULL) % 2 == 1;
}

static void errand_begin(struct errand *e, int64_t begun_us)
{
    e->sent = true;
    e->begun_us = begun_us;
    e->begun_ms = wall_ms();
}

/* right tells whether the body of a 200 is true. */
static void errand_end(struct job *j, struct errand *e, struct errands *all, const struct outcome *o,
                       bool (*right)(const struct job *j, struct ficus_doc *d))
{
    e->status = o->status;
    e->tries = o->tries;
    e->ended_ms = wall_ms();
    if (o->status != 200) {
        all->failed++;
        return;
    }
    struct ficus_doc *d = ficus_doc_parse(o->body);
    e->wrong = d == NULL || !right(j, d);
    ficus_doc_free(d);
    all->wrong += e->wrong;
    all->done++;
    sample_add(&all->times, ficus_client_now_us(j->run->client) - e->begun_us);
}

static int64_t amount_of(const struct ficus_json *money)
{
    int64_t amount;
    return ficus_json_int(ficus_json_get(money, "amount"), &amount) ? amount : -1;
}

/* ---- carts ---- */

static const struct plan_item *item_of(const struct job *j, const char *sku)
{
    for (size_t i = 0; sku != NULL && i < j->order->item_count; i++)
        if (strcmp(j->run->plan.products[j->order->items[i].product].sku, sku) == 0)
            return &j->order->items[i];
    return NULL;
}

/* As many lines as items, each sku once (an answer names none twice) and with its quantity and list price. */
static bool cart_right(const struct job *j, struct ficus_doc *d)
{
    const struct ficus_json *items = ficus_json_get(ficus_doc_root(d), "items");
    if (ficus_json_count(items) != j->order->item_count ||
        amount_of(ficus_json_get(ficus_doc_root(d), "total")) != j->order->total)
        return false;
    for (size_t i = 0; i < j->order->item_count; i++) {
        const struct ficus_json *line = ficus_json_at(items, i);
        const struct plan_item *item = item_of(j, ficus_doc_str(d, ficus_json_get(line, "sku")));
        int64_t quantity;
        if (item == NULL || !ficus_json_int(ficus_json_get(line, "quantity"), &quantity) ||
            quantity != item->quantity ||
            amount_of(ficus_json_get(line, "price")) != j->run->plan.products[item->product].price)
            return false;
    }
    return true;
}

static bool left_cart_right(const struct job *j, struct ficus_doc *d)
{
    const struct ficus_json *items = ficus_json_get(ficus_doc_root(d), "items");
    const char *sku = ficus_doc_str(d, ficus_json_get(ficus_json_at(items, 0), "sku"));
    return ficus_json_count(items) == 1 && sku != NULL && strcmp(sku, first_product(j)->sku) == 0 &&
           amount_of(ficus_json_get(ficus_doc_root(d), "total")) == first_product(j)->price * LEFT_QUANTITY;
}

static void item_write(struct text *t, const struct plan_product *p, int64_t quantity)
{
    text_str(t, "{\"product_id\":");
    text_json(t, p->sku);
    text_printf(t, ",\"quantity\":%" PRId64 "}", quantity);
}

static void cart_put(struct job *j, struct text *items, void (*done)(void *arg, const struct outcome *o), void *arg)
{
    text_str(items, "]}");
    struct try_request q = {.kind = "cart",
                            .method = "PUT",
                            .path = util_strdup("/api/v1/cart"),
                            .body = items->p,
                            .user = &j->run->users[j->order->user]};
    try_send(j->run, &q, done, arg);
}

static void cart_answered(void *arg, const struct outcome *o)
{
    struct visit *v = arg;
    struct job *j = v->job;
    void (*order)(struct job *j) = v->order;
    free(v);
    errand_end(j, &j->cart, &j->run->carts, o, cart_right);
    order(j);
}

static void cart_fill(struct visit *v)
{
    struct job *j = v->job;
    errand_begin(&j->cart, ficus_client_now_us(j->run->client));
    struct text t = {0};
    text_str(&t, "{\"items\":[");
    for (size_t i = 0; i < j->order->item_count; i++) {
        text_str(&t, i == 0 ? "" : ",");
        item_write(&t, &j->run->plan.products[j->order->items[i].product], j->order->items[i].quantity);
    }
    cart_put(j, &t, cart_answered, v);
}

static void cart_left(void *arg, const struct outcome *o)
{
    struct job *j = arg;
    errand_end(j, &j->left_cart, &j->run->carts, o, left_cart_right);
}

void visit_leave(struct job *j)
{
    errand_begin(&j->left_cart, ficus_client_now_us(j->run->client));
    struct text t = {0};
    text_str(&t, "{\"items\":[");
    item_write(&t, first_product(j), LEFT_QUANTITY);
    cart_put(j, &t, cart_left, j);
}

/* ---- searches ---- */

static bool is_product(const struct plan_product *p, struct ficus_doc *d, const struct ficus_json *found)
{
    const char *sku = ficus_doc_str(d, ficus_json_get(found, "sku"));
    const char *name = ficus_doc_str(d, ficus_json_get(found, "name"));
    return sku != NULL && name != NULL && strcmp(sku, p->sku) == 0 && strcmp(name, p->name) == 0 &&
           amount_of(ficus_json_get(found, "price")) == p->price;
}

/* The exact sku comes first; a whole name is among the answers, unless more have it than one answer can hold. */
static bool search_right(const struct job *j, struct ficus_doc *d)
{
    const struct plan_product *p = first_product(j);
    const struct ficus_json *items = ficus_json_get(ficus_doc_root(d), "items");
    size_t count = ficus_json_count(items);
    if (!by_name(j))
        return count > 0 && is_product(p, d, ficus_json_at(items, 0));
    int64_t total;
    if (!ficus_json_int(ficus_json_get(ficus_doc_root(d), "total"), &total))
        return false;
    for (size_t i = 0; i < count; i++)
        if (is_product(p, d, ficus_json_at(items, i)))
            return true;
    return count == FOUND_MAX && total > FOUND_MAX;
}

static void search_answered(void *arg, const struct outcome *o)
{
    struct visit *v = arg;
    errand_end(v->job, &v->job->search, &v->job->run->searches, o, search_right);
    cart_fill(v);
}

void visit_begin(struct job *j, void (*order)(struct job *j))
{
    if (!j->visits) {
        order(j);
        return;
    }
    struct visit *v = util_alloc(sizeof *v);
    *v = (struct visit){j, order};
    errand_begin(&j->search, j->intended_us);
    struct text path = {0};
    text_printf(&path, "/api/v1/search?limit=%d&q=", FOUND_MAX);
    text_segment(&path, by_name(j) ? first_product(j)->name : first_product(j)->sku);
    try_send(j->run, &(struct try_request){.kind = "search", .method = "GET", .path = path.p}, search_answered, v);
}
