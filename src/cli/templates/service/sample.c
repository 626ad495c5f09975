/*
 * The handlers of the sample service.
 *
 * What a handler wrote and emitted after ficus_tx is committed together when it returns 0, and only then the answer
 * leaves. When it returns -1, nothing has happened.
 */
#include "sample.h"

#include <string.h>

enum { ID_SIZE_MAX = 64, TEXT_SIZE_MAX = 1000, PAGE = 50 };

static void item_write(struct ficus_out *o, const char *id, const char *text, const char *changed_at)
{
    ficus_out_object(o, NULL);
    ficus_out_str(o, "id", id);
    ficus_out_str(o, "text", text);
    ficus_out_str(o, "changed_at", changed_at);
    ficus_out_end(o);
}

/* GET /v1/sample?after=ID: a page in the order of ids; next is the after of the page behind it. */
static int items_list(struct ficus_req *req)
{
    const char *after = ficus_query_param(req, "after");
    struct ficus_rows *rows = ficus_query(req, "SELECT id, text, changed_at FROM item WHERE id > ? ORDER BY id LIMIT ?",
                                          "si", after == NULL ? "" : after, (int64_t)PAGE + 1);
    struct ficus_out *o = ficus_reply(req, 200);
    if (rows == NULL || o == NULL)
        return -1;
    const char *last = NULL, *next = NULL;
    int count = 0, more;
    ficus_out_object(o, NULL);
    ficus_out_array(o, "items");
    while ((more = ficus_row(rows)) == 1) {
        if (count++ == PAGE) {
            next = last;
            break;
        }
        last = ficus_col_str(rows, 0);
        item_write(o, last, ficus_col_str(rows, 1), ficus_col_str(rows, 2));
    }
    if (more < 0)
        return -1;
    ficus_rows_done(rows);
    ficus_out_end(o);
    ficus_out_str(o, "next", next);
    ficus_out_end(o);
    return 0;
}

/* GET /v1/sample/{id} */
static int item_get(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    struct ficus_rows *rows = ficus_query(req, "SELECT text, changed_at FROM item WHERE id = ?", "s", id);
    int found = rows == NULL ? -1 : ficus_row(rows);
    if (found < 0)
        return -1;
    if (found == 0)
        return ficus_problem(req, 404, "unknown_id", "nothing is kept under %s", id);
    struct ficus_out *o = ficus_reply(req, 200);
    if (o == NULL)
        return -1;
    item_write(o, id, ficus_col_str(rows, 0), ficus_col_str(rows, 1));
    ficus_rows_done(rows);
    return 0;
}

/* PUT /v1/sample/{id} {"text"}: the same again is harmless, so clients may repeat it until an answer comes. */
static int item_put(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    const char *text = ficus_json_str(req, ficus_json_get(body, "text"));
    if (strlen(id) > ID_SIZE_MAX)
        return ficus_problem(req, 400, "id", "an id has at most %d bytes", ID_SIZE_MAX);
    if (text == NULL || text[0] == '\0' || strlen(text) > TEXT_SIZE_MAX) {
        ficus_invalid(req, "/text", "must be a text of 1 to %d bytes", TEXT_SIZE_MAX);
        return ficus_problem_invalid(req);
    }
    const char *now = ficus_time(req, ficus_now_ms(req));
    struct ficus_out *data = ficus_out_new(req);
    if (data == NULL)
        return -1;
    item_write(data, id, text, now);

    if (ficus_tx(req) != 0)
        return -1;
    int exists = ficus_exec(req, "INSERT INTO item (id, text, changed_at) VALUES (?, ?, ?)", "sss", id, text, now);
    if (exists < 0 || (exists == 1 && ficus_exec(req, "UPDATE item SET text = ?, changed_at = ? WHERE id = ?", "sss",
                                                 text, now, id) != 0))
        return -1;
    if (ficus_emit(req, "sample.changed", id, ficus_out_text(data)) != 0)
        return -1;
    struct ficus_out *o = ficus_reply(req, exists == 1 ? 200 : 201);
    if (o == NULL)
        return -1;
    item_write(o, id, text, now);
    return 0;
}

/* FICUS_ANYONE: also without signing in; FICUS_USERS: signed-in users; FICUS_SERVICES: other services only. */
static const struct ficus_route routes[] = {
    {"GET", "/v1/sample", items_list, FICUS_ANYONE, NULL, false},
    {"GET", "/v1/sample/{id}", item_get, FICUS_ANYONE, NULL, false},
    {"PUT", "/v1/sample/{id}", item_put, FICUS_ANYONE, NULL, false},
    {NULL},
};

const struct ficus_service sample_service = {.name = "sample", .routes = routes};
