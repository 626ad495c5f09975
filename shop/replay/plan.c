/* SPDX-License-Identifier: Apache-2.0 */
#include "plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const plan_rules[] = {
    "price list: a product's most frequent positive unit price in pence over all lines, ties by first seen; its name "
    "the most frequent non-empty description",
    "lines: quantity > 0 and price > 0 are sold at list price, the same sku twice in an invoice is added up; every "
    "other line is listed with its reason",
    "stock: the sum of what the file sells, times the loops; every 40th sku by order of appearance gets half of it, "
    "rounded down",
    "customers: one user each; lines without customer belong to one guest",
    "cards, by FNV-1a of \"card:\" + invoice, modulo 100: 0-2 declined, 3 insufficient, 4 flaky, 5 slow, else good",
    "cancellations: a C-invoice that equals an earlier invoice of its customer cancels that order; it is \"partial\" "
    "when it shares a sku with one, else "
    "\"no such order in the file\"",
    "besides, orders with FNV-1a of \"cancel:\" + seed + \":\" + invoice modulo 100 < 5 are cancelled 0-2 s after "
    "their 202",
    "visits: before an order its customer searches the first product, by sku, or by name when FNV-1a of \"search:\" + "
    "invoice is odd, and puts the items into the cart; after its 202 he watches its event stream to the end",
    "carts left: when FNV-1a of \"left:\" + invoice modulo 100 < 10, after the 202 one piece of the first product is "
    "put into the cart and stays there",
    NULL,
};

enum { SCARCE_EVERY = 40, SEEDED_PERCENT = 5, CANCEL_DELAY_MS = 2000 };

static const struct {
    unsigned last; /* of the hash modulo 100 */
    const char *name, *number;
} cards[] = {
    {2, "declined", "4000000000000002"}, {3, "insufficient", "4000000000009995"}, {4, "flaky", "4000000000000119"},
    {5, "slow", "4000000000000341"},     {99, "good", "4242424242424242"},
};

/* ---- numbers ---- */

static bool quantity_read(const char *s, int64_t *ret_quantity)
{
    size_t digits = strspn(s + (*s == '-'), "0123456789");
    if (digits < 1 || digits > 9 || s[(*s == '-') + digits] != '\0')
        return false;
    *ret_quantity = strtoll(s, NULL, 10);
    return true;
}

/* "2.55" -> 255; more than two decimals are rounded half up, away from zero. */
static bool pence_read(const char *s, int64_t *ret_pence)
{
    bool negative = *s == '-';
    s += negative;
    size_t whole = strspn(s, "0123456789"), part = 0;
    if (s[whole] == '.')
        part = strspn(s + whole + 1, "0123456789");
    if (whole < 1 || whole > 9 || (s[whole] == '.' && part == 0) || s[whole + (s[whole] == '.') + part] != '\0')
        return false;
    const char *decimals = s + whole + 1;
    int64_t pence = strtoll(s, NULL, 10) * 100;
    pence += part > 0 ? (decimals[0] - '0') * 10 : 0;
    pence += part > 1 ? decimals[1] - '0' : 0;
    pence += part > 2 && decimals[2] >= '5';
    *ret_pence = negative ? -pence : pence;
    return true;
}

static bool is_credit(const char *invoice)
{
    return invoice[0] == 'C';
}

/* ---- the price list ---- */

struct tally {
    const char *text; /* a name, or NULL */
    int64_t price;
    size_t count;
};

struct product_tally {
    struct tally *prices, *names;
    size_t price_count, name_count;
};

static void tally_price(struct product_tally *t, int64_t price)
{
    for (size_t i = 0; i < t->price_count; i++)
        if (t->prices[i].price == price) {
            t->prices[i].count++;
            return;
        }
    t->prices = util_grow(t->prices, t->price_count, sizeof *t->prices);
    t->prices[t->price_count++] = (struct tally){NULL, price, 1};
}

static void tally_name(struct product_tally *t, const char *name)
{
    if (name[strspn(name, " \t")] == '\0')
        return;
    for (size_t i = 0; i < t->name_count; i++)
        if (strcmp(t->names[i].text, name) == 0) {
            t->names[i].count++;
            return;
        }
    t->names = util_grow(t->names, t->name_count, sizeof *t->names);
    t->names[t->name_count++] = (struct tally){name, 0, 1};
}

/* The most frequent, of equals the one seen first; NULL when there is none. */
static const struct tally *tally_top(const struct tally *tallies, size_t count)
{
    const struct tally *top = NULL;
    for (size_t i = 0; i < count; i++)
        if (top == NULL || tallies[i].count > top->count)
            top = &tallies[i];
    return top;
}

/* Products are the skus that have a price at all, in their order of appearance with one. */
static void products_make(struct plan *p, struct strmap *ret_by_sku)
{
    struct strmap seen = {0};
    struct product_tally *tallies = NULL;
    const char **skus = NULL;
    size_t count = 0;
    for (size_t i = 0; i < p->line_count; i++) {
        const struct csv_line *l = &p->lines[i];
        int64_t quantity, price;
        if (!l->whole || !quantity_read(l->quantity, &quantity) || !pence_read(l->price, &price))
            continue;
        size_t k;
        if (!strmap_get(&seen, l->sku, &k)) {
            k = count;
            tallies = util_grow(tallies, count, sizeof *tallies);
            skus = util_grow(skus, count, sizeof *skus);
            skus[count++] = l->sku;
            strmap_put(&seen, l->sku, k);
        }
        if (price > 0)
            tally_price(&tallies[k], price);
        tally_name(&tallies[k], l->name);
    }
    for (size_t k = 0; k < count; k++) {
        const struct tally *price = tally_top(tallies[k].prices, tallies[k].price_count),
                           *name = tally_top(tallies[k].names, tallies[k].name_count);
        if (price != NULL) {
            p->products = util_grow(p->products, p->product_count, sizeof *p->products);
            p->products[p->product_count] = (struct plan_product){.sku = skus[k],
                                                                  .name = name == NULL ? skus[k] : name->text,
                                                                  .price = price->price,
                                                                  .scarce = (p->product_count + 1) % SCARCE_EVERY == 0};
            strmap_put(ret_by_sku, skus[k], p->product_count++);
        }
        free(tallies[k].prices);
        free(tallies[k].names);
    }
    free(tallies);
    free(skus);
    strmap_done(&seen);
}

/* ---- invoices ---- */

static void list_line(struct plan *p, const struct csv_line *l, const char *reason)
{
    p->listed = util_grow(p->listed, p->listed_count, sizeof *p->listed);
    p->listed[p->listed_count++] = (struct plan_listed){l, reason};
}

/* NULL: the line is sold. */
static const char *line_refused(const struct csv_line *l, int64_t *ret_quantity, int64_t *ret_price)
{
    if (!l->whole || *l->invoice == '\0' || *l->sku == '\0' || !quantity_read(l->quantity, ret_quantity) ||
        !pence_read(l->price, ret_price))
        return "malformed";
    if (is_credit(l->invoice))
        return "line of a cancellation";
    if (*ret_quantity <= 0)
        return "quantity not positive";
    return *ret_price <= 0 ? "price not positive" : NULL;
}

static void item_add(struct plan_item **items, size_t *count, size_t product, int64_t quantity)
{
    for (size_t i = 0; i < *count; i++)
        if ((*items)[i].product == product) {
            (*items)[i].quantity += quantity;
            return;
        }
    *items = util_grow(*items, *count, sizeof **items);
    (*items)[(*count)++] = (struct plan_item){product, quantity};
}

static size_t user_of(struct plan *p, struct strmap *by_customer, const char *customer)
{
    size_t user;
    if (strmap_get(by_customer, customer, &user))
        return user;
    p->users = util_grow(p->users, p->user_count, sizeof *p->users);
    p->users[p->user_count] = (struct plan_user){.customer = customer};
    strmap_put(by_customer, customer, p->user_count);
    return p->user_count++;
}

static void order_cancel_seeded(struct plan_order *o, const char *seed)
{
    uint64_t h = hash_texts("cancel:", seed, ":", o->invoice, NULL);
    if (h % 100 < SEEDED_PERCENT) {
        o->cancel = CANCEL_SEEDED;
        o->cancel_delay_ms = (int64_t)(h / 100 % (CANCEL_DELAY_MS + 1));
    }
}

static void order_card(struct plan_order *o)
{
    unsigned h = (unsigned)(hash_texts("card:", o->invoice, NULL) % 100);
    size_t i = 0;
    while (h > cards[i].last)
        i++;
    o->card = cards[i].name;
    o->card_number = cards[i].number;
}

static struct plan_order *order_new(struct plan *p, struct strmap *by_customer, const struct csv_line *l,
                                    const char *seed)
{
    p->orders = util_grow(p->orders, p->order_count, sizeof *p->orders);
    struct plan_order *o = &p->orders[p->order_count];
    *o = (struct plan_order){.invoice = l->invoice, .user = user_of(p, by_customer, l->customer)};
    order_card(o);
    order_cancel_seeded(o, seed);
    struct plan_user *u = &p->users[o->user];
    u->orders = util_grow(u->orders, u->order_count, sizeof *u->orders);
    u->orders[u->order_count++] = p->order_count++;
    return o;
}

/* ---- C-invoices ---- */

static int item_compare(const void *a, const void *b)
{
    const struct plan_item *x = a, *y = b;
    return x->product < y->product ? -1 : x->product > y->product;
}

/* Both sorted by product. */
static bool items_cancel_out(const struct plan_item *credit, size_t credit_count, const struct plan_item *order,
                             size_t order_count)
{
    if (credit_count != order_count)
        return false;
    for (size_t i = 0; i < credit_count; i++)
        if (credit[i].product != order[i].product || credit[i].quantity != -order[i].quantity)
            return false;
    return true;
}

static bool items_share(const struct plan_item *a, size_t a_count, const struct plan_item *b, size_t b_count)
{
    for (size_t i = 0; i < a_count; i++)
        for (size_t k = 0; k < b_count; k++)
            if (a[i].product == b[k].product)
                return true;
    return false;
}

/* The customer's latest earlier order that is equal and not taken by another C-invoice. */
static void credit_judge(struct plan *p, struct plan_credit *c, const struct plan_user *u, struct plan_item *items,
                         size_t count)
{
    qsort(items, count, sizeof *items, item_compare);
    c->verdict = "no such order in the file";
    for (size_t i = u == NULL ? 0 : u->order_count; i-- > 0;) {
        struct plan_order *o = &p->orders[u->orders[i]];
        struct plan_item *sorted = util_alloc(o->item_count * sizeof *sorted);
        memcpy(sorted, o->items, o->item_count * sizeof *sorted);
        qsort(sorted, o->item_count, sizeof *sorted, item_compare);
        bool equal = !o->matched && items_cancel_out(items, count, sorted, o->item_count);
        free(sorted);
        if (equal) {
            o->matched = true;
            o->cancel = o->cancel == CANCEL_NONE ? CANCEL_FILE : o->cancel;
            c->order = u->orders[i];
            c->verdict = "cancels";
            return;
        }
        if (items_share(items, count, o->items, o->item_count))
            c->verdict = "partial";
    }
}

static void credit_make(struct plan *p, const struct strmap *by_sku, const struct strmap *by_customer,
                        const struct csv_line *first, size_t count)
{
    struct plan_item *items = NULL;
    size_t item_count = 0, product, user;
    for (size_t i = 0; i < count; i++) {
        int64_t quantity, price;
        bool readable = first[i].whole && quantity_read(first[i].quantity, &quantity) &&
                        pence_read(first[i].price, &price);
        list_line(p, &first[i], readable ? "line of a cancellation" : "malformed");
        /* A sku without a price is in no order: nothing equals an invoice that names one. */
        if (readable)
            item_add(&items, &item_count, strmap_get(by_sku, first[i].sku, &product) ? product : SIZE_MAX, quantity);
    }
    p->credits = util_grow(p->credits, p->credit_count, sizeof *p->credits);
    struct plan_credit *c = &p->credits[p->credit_count++];
    *c = (struct plan_credit){.invoice = first->invoice, .after = p->order_count};
    credit_judge(p, c, strmap_get(by_customer, first->customer, &user) ? &p->users[user] : NULL, items, item_count);
    free(items);
}

static void order_make(struct plan *p, const struct strmap *by_sku, struct strmap *by_customer,
                       const struct csv_line *first, size_t count, const char *seed)
{
    struct plan_order *o = NULL;
    for (size_t i = 0; i < count; i++) {
        int64_t quantity, price;
        size_t product;
        const char *refused = line_refused(&first[i], &quantity, &price);
        if (refused != NULL) {
            list_line(p, &first[i], refused);
            continue;
        }
        if (o == NULL)
            o = order_new(p, by_customer, first, seed);
        if (!strmap_get(by_sku, first[i].sku, &product))
            die("line %zu: no list price for sku %s", first[i].number, first[i].sku);
        item_add(&o->items, &o->item_count, product, quantity);
        o->total += quantity * p->products[product].price;
        o->file_total += quantity * price;
        p->products[product].sold += quantity;
    }
}

/* Lines of one invoice stand together in the file; should they not, the second group is an invoice of its own with the
 * same number. */
static size_t invoice_size(const struct plan *p, size_t first)
{
    size_t n = 1;
    while (first + n < p->line_count && strcmp(p->lines[first + n].invoice, p->lines[first].invoice) == 0)
        n++;
    return n;
}

static void lines_cut(struct plan *p, size_t invoices_max)
{
    size_t invoices = 0, i = 0;
    for (; i < p->line_count && invoices < invoices_max; invoices++)
        i += invoice_size(p, i);
    for (size_t k = i; k < p->line_count; k++) {
        struct csv_line *l = &p->lines[k];
        char *own[] = {l->invoice, l->sku, l->name, l->quantity, l->price, l->customer};
        for (size_t f = 0; f < sizeof own / sizeof own[0]; f++)
            free(own[f]);
    }
    p->line_count = i;
}

void plan_make(struct plan *p, const char *path, uint64_t seed, size_t invoices_max)
{
    struct strmap by_sku = {0}, by_customer = {0};
    char seed_text[24];
    *p = (struct plan){0};
    snprintf(seed_text, sizeof seed_text, "%" PRIu64, seed);
    p->lines = csv_read(path, &p->line_count);
    if (invoices_max > 0)
        lines_cut(p, invoices_max);
    products_make(p, &by_sku);
    for (size_t i = 0, n; i < p->line_count; i += n) {
        n = invoice_size(p, i);
        p->invoice_count++;
        if (is_credit(p->lines[i].invoice))
            credit_make(p, &by_sku, &by_customer, &p->lines[i], n);
        else
            order_make(p, &by_sku, &by_customer, &p->lines[i], n, seed_text);
    }
    strmap_done(&by_sku);
    strmap_done(&by_customer);
}

void plan_free(struct plan *p)
{
    for (size_t i = 0; i < p->order_count; i++)
        free(p->orders[i].items);
    for (size_t i = 0; i < p->user_count; i++)
        free(p->users[i].orders);
    free(p->products);
    free(p->orders);
    free(p->users);
    free(p->listed);
    free(p->credits);
    csv_free(p->lines, p->line_count);
    *p = (struct plan){0};
}

int64_t plan_stock(const struct plan_product *p, int64_t loops)
{
    return p->scarce ? p->sold * loops / 2 : p->sold * loops;
}

/* ---- out ---- */

static const char *const cancel_names[] = {[CANCEL_NONE] = NULL, [CANCEL_FILE] = "file", [CANCEL_SEEDED] = "seeded"};

static void order_write(const struct plan *p, const struct plan_order *o, struct text *t)
{
    text_str(t, "{\"invoice\":");
    text_json(t, o->invoice);
    text_str(t, ",\"customer\":");
    text_json(t, p->users[o->user].customer);
    text_printf(t, ",\"card\":\"%s\",\"total\":%" PRId64 ",\"file_total\":%" PRId64 ",\"cancel\":", o->card, o->total,
                o->file_total);
    text_json(t, cancel_names[o->cancel]);
    text_printf(t, ",\"cancel_delay_ms\":%" PRId64 ",\"items\":[", o->cancel_delay_ms);
    for (size_t i = 0; i < o->item_count; i++) {
        text_printf(t, "%s{\"sku\":", i == 0 ? "" : ",");
        text_json(t, p->products[o->items[i].product].sku);
        text_printf(t, ",\"quantity\":%" PRId64 "}", o->items[i].quantity);
    }
    text_str(t, "]}");
}

void plan_listed_write(const struct plan *p, struct text *t)
{
    text_str(t, "[");
    for (size_t i = 0; i < p->listed_count; i++) {
        const struct csv_line *l = p->listed[i].line;
        text_printf(t, "%s\n{\"line\":%zu,\"invoice\":", i == 0 ? "" : ",", l->number);
        text_json(t, l->invoice);
        text_str(t, ",\"sku\":");
        text_json(t, l->sku);
        text_str(t, ",\"reason\":");
        text_json(t, p->listed[i].reason);
        text_str(t, "}");
    }
    text_str(t, "]");
}

void plan_reasons_write(const struct plan *p, struct text *t)
{
    const char *separator = "{";
    for (size_t i = 0; i < p->listed_count; i++) {
        size_t before = 0, all = 0;
        for (size_t k = 0; k < p->listed_count; k++) {
            bool same = strcmp(p->listed[k].reason, p->listed[i].reason) == 0;
            before += same && k < i;
            all += same;
        }
        if (before > 0)
            continue;
        text_str(t, separator);
        text_json(t, p->listed[i].reason);
        text_printf(t, ":%zu", all);
        separator = ",";
    }
    text_str(t, *separator == '{' ? "{}" : "}");
}

void plan_write(const struct plan *p, struct text *t)
{
    text_printf(t, "{\"lines\":%zu,\"invoices\":%zu,\"products\":[", p->line_count, p->invoice_count);
    for (size_t i = 0; i < p->product_count; i++) {
        text_str(t, i == 0 ? "\n{\"sku\":" : ",\n{\"sku\":");
        text_json(t, p->products[i].sku);
        text_str(t, ",\"name\":");
        text_json(t, p->products[i].name);
        text_printf(t, ",\"price\":%" PRId64 ",\"stock\":%" PRId64 "}", p->products[i].price,
                    plan_stock(&p->products[i], 1));
    }
    text_str(t, "],\"orders\":[");
    for (size_t i = 0; i < p->order_count; i++) {
        text_str(t, i == 0 ? "\n" : ",\n");
        order_write(p, &p->orders[i], t);
    }
    text_str(t, "],\"credits\":[");
    for (size_t i = 0; i < p->credit_count; i++) {
        text_str(t, i == 0 ? "\n{\"invoice\":" : ",\n{\"invoice\":");
        text_json(t, p->credits[i].invoice);
        text_printf(t, ",\"verdict\":\"%s\",\"cancels\":", p->credits[i].verdict);
        text_json(t, strcmp(p->credits[i].verdict, "cancels") == 0 ? p->orders[p->credits[i].order].invoice : NULL);
        text_str(t, "}");
    }
    text_str(t, "],\"listed_by_reason\":");
    plan_reasons_write(p, t);
    text_str(t, ",\"listed\":");
    plan_listed_write(p, t);
    text_str(t, "}\n");
}
