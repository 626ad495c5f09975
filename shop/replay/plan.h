/* SPDX-License-Identifier: Apache-2.0
 *
 * What the invoice file means for the shop: the rules of the replay, applied once, without any shop. plan_rules says
 * them in words.
 */
#ifndef REPLAY_PLAN_H
#define REPLAY_PLAN_H

#include "csv.h"

extern const char *const plan_rules[]; /* ends with NULL */

struct plan_product {
    const char *sku; /* borrowed from the lines, as all texts here */
    const char *name;
    int64_t price; /* list price, pence */
    int64_t sold;  /* pieces in the whole file */
    bool scarce;   /* gets half */
};

struct plan_item {
    size_t product;
    int64_t quantity;
};

enum plan_cancel { CANCEL_NONE, CANCEL_FILE, CANCEL_SEEDED };

struct plan_order {
    const char *invoice;
    size_t user;
    const char *card; /* "good", "declined", ... */
    const char *card_number;
    struct plan_item *items;
    size_t item_count;
    int64_t total, file_total; /* pence, at list prices and at the file's */
    enum plan_cancel cancel;
    int64_t cancel_delay_ms; /* CANCEL_SEEDED: after the 202 */
    bool matched;            /* a C-invoice cancels it */
};

struct plan_user {
    const char *customer; /* "" for the guest */
    size_t *orders;
    size_t order_count;
};

struct plan_listed {
    const struct csv_line *line;
    const char *reason;
};

struct plan_credit { /* a C-invoice */
    const char *invoice;
    const char *verdict; /* "cancels", "partial" or "no such order in the file" */
    size_t order;        /* for "cancels" */
    size_t after;        /* orders that come before it in the file */
};

struct plan {
    struct csv_line *lines;
    size_t line_count;
    struct plan_product *products;
    size_t product_count;
    struct plan_order *orders;
    size_t order_count;
    struct plan_user *users;
    size_t user_count;
    struct plan_listed *listed;
    size_t listed_count;
    struct plan_credit *credits;
    size_t credit_count;
    size_t invoice_count; /* all, C-invoices and those without a sold line as well */
};

/* seed: of the seeded cancellations. invoices_max: as if the file ended behind that many invoices; 0: all. */
void plan_make(struct plan *p, const char *path, uint64_t seed, size_t invoices_max);
void plan_free(struct plan *p);
int64_t plan_stock(const struct plan_product *p, int64_t loops);
/* The whole plan as JSON, for the comparison with the reconciliation's own. */
void plan_write(const struct plan *p, struct text *t);
void plan_listed_write(const struct plan *p, struct text *t);
/* {"reason": count, ...} */
void plan_reasons_write(const struct plan *p, struct text *t);

#endif
