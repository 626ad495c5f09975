/* SPDX-License-Identifier: Apache-2.0
 *
 * What a customer types is data, never a query: each word of it becomes a quoted FTS5 string, so operators, quotes and
 * NEAR are words like any other, and a word without letters or digits is one that FTS5 drops.
 */
#include "search.h"
#include "shop.h"

enum { QUERY_LENGTH_MAX = 200 };

#define WHOLE_BEGIN "\xee\x80\x80" /* U+E000 */
#define WHOLE_END "\xee\x80\x81"   /* U+E001 */
#define LAST_CHARACTER "\xf4\x8f\xbf\xbf"
#define BLANKS " \t\r\n\v\f"

/* ---- asking ---- */

/* What was typed as FTS5 expressions over name and sku. */
struct query {
    const char *text;  /* without blanks around it */
    const char *all;   /* every word, the last one as a prefix */
    const char *any;   /* one of them */
    const char *whole; /* the whole name */
};

/* text[0..size) as one FTS5 string. */
static const char *quote(struct ficus_req *req, const char *text, size_t size)
{
    char *quoted = ficus_alloc(req, 2 * size + 3), *p = quoted;
    if (quoted == NULL)
        return NULL;
    *p++ = '"';
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"')
            *p++ = '"';
        *p++ = text[i];
    }
    *p = '"';
    return quoted;
}

/* The words of text, quoted, the last one as a prefix. */
static const char *words_join(struct ficus_req *req, const char *text, const char *between)
{
    const char *joined = "";
    for (const char *word = text; joined != NULL && *word != '\0'; word += strspn(word, BLANKS)) {
        size_t size = strcspn(word, BLANKS);
        const char *quoted = quote(req, word, size);
        if (quoted == NULL)
            return NULL;
        joined = ficus_printf(req, "%s%s%s", joined, word == text ? "" : between, quoted);
        word += size;
    }
    return joined == NULL ? NULL : ficus_printf(req, "{name sku} : (%s*)", joined);
}

static int query_make(struct ficus_req *req, const char *typed, struct query *ret_query)
{
    typed += strspn(typed, BLANKS);
    size_t size = strlen(typed);
    while (size > 0 && strchr(BLANKS, typed[size - 1]) != NULL)
        size--;
    const char *text = ficus_printf(req, "%.*s", (int)size, typed);
    const char *name = quote(req, typed, size);
    if (text == NULL || name == NULL)
        return -1;
    *ret_query = (struct query){
        .text = text,
        .all = words_join(req, text, " "),
        .any = words_join(req, text, " OR "),
        .whole = ficus_printf(req, "whole : (\"" WHOLE_BEGIN "\" + %s + \"" WHOLE_END "\")", name),
    };
    return ret_query->all == NULL || ret_query->any == NULL || ret_query->whole == NULL ? -1 : 0;
}

/* ---- answering ---- */

/* A hit's place: 0 exactly this sku, 1 but for upper and lower case, 2 exactly this name, 3 all others, the best of
 * them (bm25: less is better, a sku weighs twice as much as a name) first. Name and sku break ties, so that the order
 * is the same whenever and however often the index was built. */
#define FIND                                                                                                         \
    "WITH hit (seq, place, score) AS MATERIALIZED ("                                                                 \
    " SELECT rowid, 3, bm25(product_index, 2.0, 4.0, 0.0) FROM product_index WHERE product_index MATCH ?1"           \
    " UNION ALL SELECT rowid, 2, 0.0 FROM product_index WHERE product_index MATCH ?2"                                \
    " UNION ALL SELECT seq, CASE WHEN sku = ?3 THEN 0 WHEN sku = ?3 COLLATE NOCASE THEN 1 ELSE 3 END, 0.0"           \
    "  FROM product WHERE sku >= ?3 COLLATE NOCASE AND sku < ?4 COLLATE NOCASE"                                      \
    "), best AS (SELECT seq, min(place) AS place, min(score) AS score FROM hit GROUP BY seq) "                       \
    "SELECT p.id, p.sku, p.name, p.price, s.available, count(*) OVER () FROM best b JOIN product p ON p.seq = b.seq" \
    " LEFT JOIN stock s ON s.sku = p.sku ORDER BY b.place, b.score, p.name, p.sku LIMIT ?5"

static void product_write(struct ficus_out *o, struct ficus_rows *rows)
{
    ficus_out_object(o, NULL);
    ficus_out_str(o, "id", ficus_col_str(rows, 0));
    ficus_out_str(o, "sku", ficus_col_str(rows, 1));
    ficus_out_str(o, "name", ficus_col_str(rows, 2));
    shop_money(o, "price", ficus_col_int(rows, 3));
    if (ficus_col_null(rows, 4))
        ficus_out_null(o, "available");
    else
        ficus_out_int(o, "available", ficus_col_int(rows, 4));
    ficus_out_end(o);
}

/* The products that match, best first; *ret_total: how many there are beyond the limit as well. */
static int find(struct ficus_req *req, struct ficus_out *o, const struct query *q, const char *words, int64_t limit,
                int64_t *ret_total)
{
    const char *end = ficus_printf(req, "%s" LAST_CHARACTER, q->text);
    struct ficus_rows *rows = ficus_query(req, FIND, "ssssi", words, q->whole, q->text, end, limit);
    if (rows == NULL)
        return -1;
    *ret_total = 0;
    int more;
    while ((more = ficus_row(rows)) == 1) {
        *ret_total = ficus_col_int(rows, 5);
        product_write(o, rows);
    }
    ficus_rows_done(rows);
    return more;
}

static int search(struct ficus_req *req)
{
    struct shop_page page;
    struct query query;
    int64_t total = 0;
    shop_page_read(req, &page);
    const char *typed = ficus_query_param(req, "q");
    if (!shop_text_fits(typed, 0, QUERY_LENGTH_MAX))
        ficus_invalid(req, "/q", "must be there, with at most %d characters", QUERY_LENGTH_MAX);
    if (ficus_is_invalid(req))
        return ficus_problem_invalid(req);
    struct ficus_out *o = ficus_reply(req, 200);
    if (o == NULL || query_make(req, typed, &query) != 0)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_array(o, "items");
    if (*query.text != '\0' && find(req, o, &query, query.all, page.limit, &total) != 0)
        return -1;
    if (*query.text != '\0' && total == 0 && find(req, o, &query, query.any, page.limit, &total) != 0)
        return -1;
    ficus_out_end(o);
    ficus_out_int(o, "total", total);
    ficus_out_end(o);
    return 0;
}

/* ---- hearing ---- */

static int index_write(struct ficus_req *req, const char *sku, const char *name)
{
    const char *whole = ficus_printf(req, WHOLE_BEGIN " %s " WHOLE_END, name);
    if (ficus_exec(req, "DELETE FROM product_index WHERE rowid = (SELECT seq FROM product WHERE sku = ?)", "s", sku) !=
        0)
        return -1;
    return ficus_exec(req,
                      "INSERT INTO product_index (rowid, name, sku, whole) SELECT seq, name, sku, ?2 FROM product"
                      " WHERE sku = ?1",
                      "ss", sku, whole);
}

static int product_changed(struct ficus_req *req)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    const char *id = ficus_json_str(req, ficus_json_get(body, "id"));
    const char *sku = ficus_json_str(req, ficus_json_get(body, "sku"));
    const char *name = ficus_json_str(req, ficus_json_get(body, "name"));
    int64_t price;
    if (id == NULL || sku == NULL || name == NULL ||
        !shop_money_read(req, ficus_json_get(body, "price"), INT64_MAX, &price))
        return ficus_problem(req, 400, "malformed_event", "product.changed lacks id, sku, name or price");
    if (ficus_tx(req) != 0 ||
        ficus_exec(req,
                   "INSERT INTO product (id, sku, name, price) VALUES (?, ?, ?, ?) ON CONFLICT (sku) DO UPDATE SET"
                   " id = excluded.id, name = excluded.name, price = excluded.price",
                   "sssi", id, sku, name, price) != 0)
        return -1;
    return index_write(req, sku, name);
}

/* Absolute figures, in the log's order: the last one said is the truth. */
static int stock_changed(struct ficus_req *req)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL || ficus_tx(req) != 0)
        return -1;
    const struct ficus_json *items = ficus_json_get(body, "items");
    for (size_t i = 0; i < ficus_json_count(items); i++) {
        const struct ficus_json *item = ficus_json_at(items, i);
        const char *sku = ficus_json_str(req, ficus_json_get(item, "sku"));
        int64_t available;
        if (sku == NULL || !ficus_json_int(ficus_json_get(item, "available"), &available))
            return ficus_problem(req, 400, "malformed_event", "stock.changed item %zu lacks sku or available", i);
        if (ficus_exec(req,
                       "INSERT INTO stock (sku, available) VALUES (?, ?) ON CONFLICT (sku) DO UPDATE SET"
                       " available = excluded.available",
                       "si", sku, available) != 0)
            return -1;
    }
    return 0;
}

static const struct ficus_route routes[] = {
    {"GET", "/v1/search", search, FICUS_ANYONE, NULL, false},
    {NULL},
};

static const struct ficus_subscription events[] = {
    {"product.changed", product_changed},
    {"stock.changed", stock_changed},
    {NULL},
};

const struct ficus_service search_service = {.name = "search", .routes = routes, .events = events};
