/* SPDX-License-Identifier: Apache-2.0
 *
 * What the shop's services have alike towards their clients: lists with cursors, and money. Header only: a service is
 * its own folder and this one.
 */
#ifndef SHOP_COMMON_SHOP_H
#define SHOP_COMMON_SHOP_H

#include <ficus/ficus.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOP_CURRENCY "GBP"

static inline void shop_money(struct ficus_out *o, const char *key, int64_t amount)
{
    ficus_out_object(o, key);
    ficus_out_int(o, "amount", amount);
    ficus_out_str(o, "currency", SHOP_CURRENCY);
    ficus_out_end(o);
}

/* {"amount": 1275, "currency": "GBP"}; false when it is anything else or out of 0..max. */
static inline bool shop_money_read(struct ficus_req *req, const struct ficus_json *v, int64_t max, int64_t *ret_amount)
{
    const char *currency = ficus_json_str(req, ficus_json_get(v, "currency"));
    return currency != NULL && strcmp(currency, SHOP_CURRENCY) == 0 &&
           ficus_json_int(ficus_json_get(v, "amount"), ret_amount) && *ret_amount >= 0 && *ret_amount <= max;
}

/* One page of a list. A cursor is the sequence number of the last item seen, with a check sum so that a mistyped one is
 * noticed. */
struct shop_page {
    int64_t limit;
    int64_t after;      /* 0: from the beginning */
    int64_t count;      /* rows written so far */
    int64_t last;       /* sequence number of the last row written */
    bool more;
};

static inline unsigned shop_cursor_sum(uint64_t n)
{
    n ^= n >> 33;
    n *= UINT64_C(0xff51afd7ed558ccd);
    n ^= n >> 33;
    return (unsigned)(n & 0xffff);
}

/* Read limit and after; notes faults with ficus_invalid. */
static inline void shop_page_read(struct ficus_req *req, struct shop_page *page)
{
    *page = (struct shop_page){.limit = 20};
    const char *limit = ficus_query_param(req, "limit");
    if (limit != NULL) {
        char *end;
        page->limit = strtol(limit, &end, 10);
        if (*limit < '0' || *limit > '9' || *end != '\0' || page->limit < 1 || page->limit > 100)
            ficus_invalid(req, "/limit", "must be a whole number from 1 to 100");
    }
    const char *after = ficus_query_param(req, "after");
    if (after != NULL) {
        uint64_t n = 0;
        unsigned sum = 0;
        char check[24] = "";
        if (sscanf(after, "%16" SCNx64 "-%4x", &n, &sum) == 2)
            snprintf(check, sizeof check, "%" PRIx64 "-%04x", n, sum);
        if (*after == '\0' || strcmp(check, after) != 0 || sum != shop_cursor_sum(n) || n > INT64_MAX)
            ficus_invalid(req, "/after", "is not a cursor of this list");
        page->after = (int64_t)n;
    }
}

/* Ask for limit + 1 rows; say this at each of them with its sequence number. False: it is the extra one, stop. */
static inline bool shop_page_row(struct shop_page *page, int64_t seq)
{
    if (page->count == page->limit) {
        page->more = true;
        return false;
    }
    page->count++;
    page->last = seq;
    return true;
}

static inline void shop_page_next(struct ficus_req *req, struct ficus_out *o, const struct shop_page *page)
{
    const char *next = NULL;
    if (page->more)
        next = ficus_printf(req, "%" PRIx64 "-%04x", (uint64_t)page->last, shop_cursor_sum((uint64_t)page->last));
    ficus_out_str(o, "next", next);
}

/* "items": write for each row of the page. The query asked for limit + 1 rows, the sequence number in column 0. rows
 * may be NULL: the query failed. 0 or -1. */
static inline int shop_page_items(struct ficus_out *o, struct shop_page *page, struct ficus_rows *rows,
                                  void (*write)(struct ficus_out *o, struct ficus_rows *rows))
{
    if (o == NULL || rows == NULL)
        return -1;
    ficus_out_array(o, "items");
    int more;
    while ((more = ficus_row(rows)) == 1 && shop_page_row(page, ficus_col_int(rows, 0)))
        write(o, rows);
    if (more < 0)
        return -1;
    ficus_rows_done(rows);
    ficus_out_end(o);
    return 0;
}

/* Answer with nothing but the page. 0 or -1. */
static inline int shop_page_reply(struct ficus_req *req, struct shop_page *page, struct ficus_rows *rows,
                                  void (*write)(struct ficus_out *o, struct ficus_rows *rows))
{
    struct ficus_out *o = ficus_reply(req, 200);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    if (shop_page_items(o, page, rows, write) != 0)
        return -1;
    shop_page_next(req, o, page);
    ficus_out_end(o);
    return 0;
}

/* Characters (code points) of UTF-8 text. */
static inline size_t shop_text_length(const char *s)
{
    size_t n = 0;
    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static inline bool shop_text_fits(const char *s, size_t min, size_t max)
{
    return s != NULL && shop_text_length(s) >= min && shop_text_length(s) <= max;
}

#endif
