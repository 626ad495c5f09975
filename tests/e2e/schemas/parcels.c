/* SPDX-License-Identifier: Apache-2.0
 *
 * The services of docs_schemas.py: `sender` publishes what it is given as parcel.sent, `tracking` keeps what it hears, with the
 * upcasters of docs/schemas.md, and without them as `tracking old`.
 */
#include <ficus/store.h>

#include <string.h>

extern const struct ficus_upcaster parcel_upcasters[];

static int parcel_put(struct ficus_req *req)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL || ficus_tx(req) != 0 ||
        ficus_exec(req, "INSERT INTO parcel(id, data) VALUES(?, '')", "s", ficus_param(req, "id")) < 0 ||
        ficus_emit(req, "parcel.sent", ficus_param(req, "id"), ficus_json_text(req, body)) != 0)
        return -1;
    return ficus_reply_empty(req, 202);
}

static int on_sent(struct ficus_req *req)
{
    const struct ficus_json *data = ficus_body(req);
    if (data == NULL || ficus_tx(req) != 0)
        return -1;
    return ficus_exec(req, "INSERT INTO parcel(id, data) VALUES(?, ?)", "ss", ficus_event_subject(req), ficus_json_text(req, data)) < 0 ? -1 : 0;
}

static int parcels_get(struct ficus_req *req)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT id, data FROM parcel ORDER BY id", "");
    struct ficus_out *o = rows == NULL ? NULL : ficus_reply(req, 200);
    int row;
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    while ((row = ficus_row(rows)) == 1) {
        const char *data = ficus_col_str(rows, 1);
        ficus_out_json(o, ficus_col_str(rows, 0), data[0] == '\0' ? "null" : data);
    }
    ficus_out_end(o);
    return row;
}

static const struct ficus_route sender_routes[] = {
    {"PUT", "/v1/parcels/{id}", parcel_put, FICUS_ANYONE, NULL, false}, {"GET", "/v1/parcels", parcels_get, FICUS_ANYONE, NULL, false}, {NULL}};
static const struct ficus_route tracking_routes[] = {{"GET", "/v1/parcels", parcels_get, FICUS_ANYONE, NULL, false}, {NULL}};
static const struct ficus_subscription events[] = {{"parcel.sent", on_sent}, {NULL}};

static const struct ficus_service sender = {.name = "sender", .routes = sender_routes};
static const struct ficus_service tracking = {.name = "tracking", .routes = tracking_routes, .events = events, .event_upcasters = parcel_upcasters};
static const struct ficus_service tracking_old = {.name = "tracking", .routes = tracking_routes, .events = events};

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    return ficus_main(strcmp(what, "sender") == 0 ? &sender : argc > 2 ? &tracking_old : &tracking, argc, argv);
}
