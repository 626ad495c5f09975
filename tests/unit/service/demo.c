/* SPDX-License-Identifier: Apache-2.0
 *
 * See demo.h.
 */
#include "demo.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t gate_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_changed = PTHREAD_COND_INITIALIZER;
static bool gate_is_open = true;
static int gate_waiting;
atomic_int demo_after_gate = 99;

void gate_close(void)
{
    pthread_mutex_lock(&gate_mutex);
    gate_is_open = false;
    pthread_mutex_unlock(&gate_mutex);
}

void gate_open(void)
{
    pthread_mutex_lock(&gate_mutex);
    gate_is_open = true;
    pthread_cond_broadcast(&gate_changed);
    pthread_mutex_unlock(&gate_mutex);
}

void gate_wait_for(int waiting)
{
    pthread_mutex_lock(&gate_mutex);
    while (gate_waiting < waiting)
        pthread_cond_wait(&gate_changed, &gate_mutex);
    pthread_mutex_unlock(&gate_mutex);
}

static void gate_pass(void)
{
    pthread_mutex_lock(&gate_mutex);
    gate_waiting++;
    pthread_cond_broadcast(&gate_changed);
    while (!gate_is_open)
        pthread_cond_wait(&gate_changed, &gate_mutex);
    gate_waiting--;
    pthread_mutex_unlock(&gate_mutex);
}

static int effect(struct ficus_req *req, const char *what)
{
    return ficus_tx(req) == 0 && ficus_exec(req, "INSERT INTO effects(what) VALUES(?)", "s", what) == 0 ? 0 : -1;
}

static int create_item(struct ficus_req *req)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    const char *name = ficus_json_str(req, ficus_json_get(body, "name"));
    if (name == NULL || name[0] == '\0')
        ficus_invalid(req, "/name", "a text that is not empty");
    if (ficus_is_invalid(req))
        return ficus_problem_invalid(req);
    if (ficus_tx(req) != 0)
        return -1;
    const char *note = ficus_json_str(req, ficus_json_get(body, "note"));
    int made = ficus_exec(req, "INSERT INTO items(name, note) VALUES(?, ?)", "ss", name, note);
    if (made != 0)
        return made == 1 ? ficus_problem(req, 409, "taken", "there is an item %s", name) : -1;
    struct ficus_out *data = ficus_out_new(req);
    ficus_out_object(data, NULL);
    ficus_out_str(data, "name", name);
    ficus_out_end(data);
    int64_t at_ms = 0;
    if (ficus_json_int(ficus_json_get(body, "remind_at"), &at_ms) && ficus_emit_at(req, "item.created", name, "{}", at_ms) != 0)
        return -1;
    if (ficus_emit(req, "item.created", name, ficus_out_text(data)) != 0)
        return -1;
    struct ficus_out *o = ficus_reply(req, 201);
    ficus_out_object(o, NULL);
    ficus_out_str(o, "name", name);
    ficus_out_str(o, "by", ficus_user(req));
    ficus_out_end(o);
    return ficus_reply_header(req, "Location", ficus_printf(req, "/v1/items/%s", ficus_segment(req, name)));
}

static int get_item(struct ficus_req *req)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT name, note FROM items WHERE name = ?", "s",
                                          ficus_param(req, "name"));
    int row = ficus_row(rows);
    if (row < 0)
        return -1;
    if (row == 0)
        return ficus_problem(req, 404, "not_found", "no such item");
    struct ficus_out *o = ficus_reply(req, 200);
    ficus_out_object(o, NULL);
    ficus_out_str(o, "name", ficus_col_str(rows, 0));
    ficus_out_str(o, "note", ficus_col_str(rows, 1));
    ficus_out_end(o);
    return 0;
}

/* {"what": n, ...} */
static int get_effects(struct ficus_req *req)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT what, count(*) FROM effects GROUP BY what ORDER BY what", "");
    struct ficus_out *o = ficus_reply(req, 200);
    int row;
    ficus_out_object(o, NULL);
    while ((row = ficus_row(rows)) == 1)
        ficus_out_int(o, ficus_col_str(rows, 0), ficus_col_int(rows, 1));
    ficus_out_end(o);
    return row;
}

static int keyed(struct ficus_req *req)
{
    if (ficus_body(req) == NULL)
        return -1;
    const char *wish = ficus_query_param(req, "wish");
    gate_pass();
    if (effect(req, "keyed") != 0)
        return -1;
    if (wish != NULL && strcmp(wish, "refuse") == 0)
        return ficus_problem(req, 422, "refused", "as wished");
    struct ficus_out *o = ficus_reply(req, 202);
    ficus_out_object(o, NULL);
    ficus_out_str(o, "id", ficus_new_id(req));
    ficus_out_end(o);
    return ficus_reply_header(req, "location", "/v1/keyed/1");
}

static int fail_late(struct ficus_req *req)
{
    if (effect(req, "failed") != 0 || ficus_emit(req, "item.created", "x", "{}") != 0)
        return -1;
    if (ficus_reply_header(req, "retry-after", "7") != 0)
        return -1;
    return ficus_problem(req, 503, "later", "not now");
}

static int gate(struct ficus_req *req)
{
    gate_pass();
    atomic_store(&demo_after_gate, effect(req, "gate"));
    return ficus_reply_empty(req, 204);
}

static int nap(struct ficus_req *req)
{
    const char *ms = ficus_query_param(req, "ms");
    if (ficus_sleep(req, ms == NULL ? 0 : (int)strtoul(ms, NULL, 10)) != 0 || effect(req, "nap") != 0)
        return -1;
    return ficus_reply_empty(req, 204);
}

static int call_other(struct ficus_req *req)
{
    struct ficus_answer a;
    const struct ficus_call call = {
        .service = "other", .method = "POST", .path = "/v1/do?x=1", .body = "{\"n\":1}", .key = "k"};
    if (ficus_call(req, &call, &a) != 0)
        return -1;
    struct ficus_out *o = ficus_reply(req, 200);
    ficus_out_object(o, NULL);
    ficus_out_int(o, "status", a.status);
    ficus_out_str(o, "code", a.code);
    ficus_out_json(o, "json", ficus_json_text(req, a.json));
    ficus_out_end(o);
    return 0;
}

static int call_in_tx(struct ficus_req *req)
{
    struct ficus_answer a;
    const struct ficus_call call = {.service = "other", .method = "GET", .path = "/"};
    if (effect(req, "call_in_tx") != 0)
        return -1;
    (void)ficus_call(req, &call, &a);
    return ficus_reply_empty(req, 204); /* must not be believed */
}

static int bad_answer(struct ficus_req *req)
{
    struct ficus_out *o = ficus_reply(req, 200);
    ficus_out_object(o, NULL);
    ficus_out_int(o, NULL, 1);
    return effect(req, "bad_answer");
}

static int write_without_tx(struct ficus_req *req)
{
    (void)ficus_exec(req, "INSERT INTO effects(what) VALUES('no')", "");
    return ficus_reply_empty(req, 204);
}

static int who(struct ficus_req *req)
{
    struct ficus_out *o = ficus_reply(req, 200);
    ficus_out_object(o, NULL);
    ficus_out_str(o, "caller", ficus_caller(req));
    ficus_out_str(o, "user", ficus_user(req));
    ficus_out_bool(o, "admin", ficus_has_role(req, "admin"));
    ficus_out_str(o, "identity", ficus_header(req, "Ficus-Identity"));
    ficus_out_str(o, "setting", ficus_setting(req, "colour"));
    ficus_out_str(o, "data", ficus_data(req));
    ficus_out_str(o, "agent", ficus_header(req, "x-agent"));
    ficus_out_end(o);
    return 0;
}

static int do_step(struct ficus_req *req)
{
    const char *id = ficus_param(req, "id");
    if (ficus_tx(req) != 0)
        return -1;
    int step = ficus_step_do(req, "thing", id);
    if (step < 0)
        return -1;
    if (step == FICUS_STEP_REFUSED)
        return ficus_step_refused(req, "thing", id);
    if (step == FICUS_STEP_FRESH && ficus_query_param(req, "refuse") != NULL)
        return ficus_step_refuse(req, "thing", id, "no_way", "not this one");
    if (step == FICUS_STEP_FRESH && effect(req, "step_do") != 0)
        return -1;
    struct ficus_out *o = ficus_reply(req, 200);
    ficus_out_int(o, NULL, step);
    return 0;
}

static int undo_step(struct ficus_req *req)
{
    if (ficus_tx(req) != 0)
        return -1;
    int step = ficus_step_undo(req, "thing", ficus_param(req, "id"));
    if (step < 0 || (step == FICUS_STEP_FRESH && effect(req, "step_undo") != 0))
        return -1;
    struct ficus_out *o = ficus_reply(req, 200);
    ficus_out_int(o, NULL, step);
    return 0;
}

static int step_state(struct ficus_req *req)
{
    const char *state = ficus_step_state(req, "thing", ficus_param(req, "id"));
    if (state == NULL)
        return -1;
    struct ficus_out *o = ficus_reply(req, 200);
    ficus_out_str(o, NULL, state);
    return 0;
}

static int stream(struct ficus_req *req)
{
    const char *key = ficus_param(req, "key"), *seen = ficus_header(req, "last-event-id");
    if (ficus_stream(req, key) != 0)
        return -1;
    struct ficus_rows *rows = ficus_query(req, "SELECT id, last FROM progress WHERE key = ? AND id > ? ORDER BY id",
                                          "si", key, (int64_t)(seen == NULL ? -1 : atoll(seen)));
    int row;
    while ((row = ficus_row(rows)) == 1)
        if (ficus_stream_first(req, ficus_col_int(rows, 0), "step", "{\"first\":true}", ficus_col_int(rows, 1) != 0) !=
            0)
            return -1;
    return row;
}

static int stream_send(struct ficus_req *req)
{
    const char *key = ficus_param(req, "key");
    int64_t id = 0, last = 0;
    const struct ficus_json *body = ficus_body(req);
    if (!ficus_json_int(ficus_json_get(body, "id"), &id) || !ficus_json_int(ficus_json_get(body, "last"), &last))
        return ficus_problem(req, 400, "bad", "id and last");
    if (ficus_tx(req) != 0 ||
        ficus_exec(req, "INSERT INTO progress(key, id, last) VALUES(?, ?, ?)", "sii", key, id, last) != 0)
        return -1;
    const char *pad = ficus_json_str(req, ficus_json_get(body, "pad"));
    const char *data = pad == NULL ? "{\"first\":false}" : ficus_printf(req, "{\"pad\":\"%s\"}", pad);
    if (ficus_stream_send(req, key, id, "step", data, last != 0) != 0)
        return -1;
    return ficus_reply_empty(req, 204);
}

static int big(struct ficus_req *req)
{
    struct ficus_out *o = ficus_reply(req, 200);
    ficus_out_array(o, NULL);
    for (int i = 0; i < 100000; i++)
        ficus_out_int(o, NULL, i);
    ficus_out_end(o);
    return 0;
}

static int on_thing(struct ficus_req *req)
{
    const char *action = ficus_json_str(req, ficus_json_get(ficus_body(req), "action"));
    if (action == NULL)
        return ficus_problem(req, 400, "bad", "no action");
    if (strcmp(action, "nothing") == 0)
        return 0;
    if (effect(req, "event") != 0)
        return -1;
    if (strcmp(action, "refuse") == 0)
        return ficus_problem(req, 422, "cannot", "never");
    if (strcmp(action, "dangle") == 0)
        return ficus_exec(req, "INSERT INTO tags(item) VALUES('of nothing')", "");
    return ficus_emit(req, "item.created", ficus_event_subject(req), "{\"from\":\"event\"}");
}

static char data_text[] = "made at start";

static int start(struct ficus_req *req)
{
    ficus_set_data(req, data_text);
    return effect(req, "start");
}

static const struct ficus_route routes[] = {
    {"POST", "/v1/items", create_item, FICUS_ANYONE},
    {"GET", "/v1/items/{name}", get_item, FICUS_ANYONE},
    {"GET", "/v1/effects", get_effects, FICUS_ANYONE},
    {"POST", "/v1/keyed", keyed, FICUS_USERS, .keyed = true},
    {"POST", "/v1/fail", fail_late, FICUS_ANYONE},
    {"POST", "/v1/gate", gate, FICUS_ANYONE},
    {"POST", "/v1/nap", nap, FICUS_ANYONE},
    {"POST", "/v1/call", call_other, FICUS_ANYONE},
    {"POST", "/v1/call-in-tx", call_in_tx, FICUS_ANYONE},
    {"POST", "/v1/bad-answer", bad_answer, FICUS_ANYONE},
    {"POST", "/v1/no-tx", write_without_tx, FICUS_ANYONE},
    {"GET", "/v1/who", who, FICUS_ANYONE},
    {"GET", "/v1/me", who, FICUS_USERS},
    {"GET", "/v1/admin", who, FICUS_USERS, "admin"},
    {"GET", "/v1/inside", who, FICUS_SERVICES},
    {"PUT", "/v1/steps/{id}", do_step, FICUS_SERVICES},
    {"DELETE", "/v1/steps/{id}", undo_step, FICUS_SERVICES},
    {"GET", "/v1/steps/{id}", step_state, FICUS_SERVICES},
    {"GET", "/v1/streams/{key}", stream, FICUS_ANYONE},
    {"POST", "/v1/streams/{key}", stream_send, FICUS_ANYONE},
    {"GET", "/v1/big", big, FICUS_ANYONE},
    {0},
};

static const struct ficus_subscription events[] = {
    {"thing.happened", on_thing},
    {0},
};

const struct ficus_service demo = {.name = "demo", .routes = routes, .events = events, .start = start};
