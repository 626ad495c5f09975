/* SPDX-License-Identifier: Apache-2.0
 *
 * The service of tests/e2e/later.py: it reminds itself. Each event that it gets is a row, so one that came twice would be two.
 */
#include <ficus/ficus.h>

#include <stdlib.h>

/* In so many ms; said again it is the same reminder. */
static int reminder_put(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    int64_t at_ms = ficus_now_ms(req) + strtoll(ficus_param(req, "ms"), NULL, 10);
    struct ficus_out *data = ficus_out_new(req);
    ficus_out_object(data, NULL);
    ficus_out_str(data, "id", id);
    ficus_out_end(data);
    if (ficus_tx(req) != 0 || ficus_exec(req, "INSERT INTO reminder (id, at) VALUES (?, ?) ON CONFLICT DO NOTHING", "si", id, at_ms) != 0)
        return -1;
    if (ficus_changes(req) == 1 && ficus_emit_at(req, "reminder.due", id, ficus_out_text(data), at_ms) != 0)
        return -1;
    return ficus_reply_empty(req, 204);
}

static int came(struct ficus_req *req)
{
    if (ficus_tx(req) != 0 || ficus_body(req) == NULL)
        return -1;
    return ficus_exec(req, "INSERT INTO came (topic, subject, early, data) VALUES (?, ?, (SELECT at > ? FROM reminder WHERE id = ?), ?)", "ssiss",
                      ficus_event_topic(req), ficus_event_subject(req), ficus_now_ms(req), ficus_event_subject(req),
                      ficus_json_text(req, ficus_body(req)));
}

static int came_get(struct ficus_req *req)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT topic, subject, coalesce(early, 0), data FROM came ORDER BY rowid", "");
    struct ficus_out *o = rows == NULL ? NULL : ficus_reply(req, 200);
    int more = 0;
    if (o == NULL)
        return -1;
    ficus_out_array(o, NULL);
    while ((more = ficus_row(rows)) == 1) {
        ficus_out_object(o, NULL);
        ficus_out_str(o, "topic", ficus_col_str(rows, 0));
        ficus_out_str(o, "subject", ficus_col_str(rows, 1));
        ficus_out_bool(o, "early", ficus_col_int(rows, 2) != 0);
        ficus_out_json(o, "data", ficus_col_str(rows, 3));
        ficus_out_end(o);
    }
    ficus_out_end(o);
    return more;
}

static const struct ficus_route routes[] = {
    {"PUT", "/v1/reminders/{id}/{ms}", reminder_put, FICUS_ANYONE, NULL, false},
    {"GET", "/v1/came", came_get, FICUS_ANYONE, NULL, false},
    {NULL, NULL, NULL, FICUS_SERVICES, NULL, false},
};

static const struct ficus_subscription events[] = {
    {"reminder.due", came},
    {"report.due", came},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    static const struct ficus_service service = {.name = "reminders", .routes = routes, .events = events};
    return ficus_main(&service, argc, argv);
}
