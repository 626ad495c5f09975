/* SPDX-License-Identifier: Apache-2.0
 *
 * What a service says to its sagas. A command is an event of the topic EVENT_TOPIC_SAGA in the outbox: it leaves with the
 * commit, in order and once, and the saga engine reads it with the start events (saga_told.c). What the hub could only refuse for
 * ever is refused here, because a row of the outbox that fails keeps all later ones back.
 */
#include <ficus/saga.h>

#include "service_impl.h"

#include "text.h"

enum { INPUT_SIZE_MAX = 512 * 1024, SIGNAL_SIZE_MAX = 16 * 1024, STATE_TIMEOUT_MS = 2000, DATA_DEPTH_MAX = 24 };

static bool is_own(const struct service_config *c, const char *saga)
{
    for (size_t i = 0; i < c->saga_count; i++)
        if (strcmp(c->sagas[i], "*") == 0 || strcmp(c->sagas[i], saga) == 0)
            return true;
    return false;
}

/* Of the hub's saga_id_check, which is on another floor; the hub has the last word. */
static bool is_id(const char *id)
{
    size_t size = strlen(id);
    return size >= 1 && size <= 128 && text_printable_ascii(slice_str(id)) && strchr(id, '/') == NULL && strcmp(id, ".") != 0 &&
           strcmp(id, "..") != 0;
}

static bool check_names(struct ficus_req *req, const char *what, const char *saga, const char *id)
{
    if (saga == NULL || !is_own(req->service->config, saga))
        (void)request_fail(req, 500, "internal", false, "%s: the saga %s is not one of this service's in the manifest", what,
                           saga == NULL ? "(none)" : saga);
    else if (id == NULL || !is_id(id))
        (void)request_fail(req, 500, "internal", false,
                           "%s: the id \"%s\" has not 1 to 128 printable ASCII characters without \"/\", or is \".\" or \"..\"", what,
                           id == NULL ? "" : id);
    return !req->is_failed;
}

/* The text as a value of the object being written; false: the request has failed. */
static bool add_json(struct ficus_req *req, const char *what, struct json_writer *w, const char *key, const char *text, unsigned size_max,
                     bool is_object)
{
    struct json *root;
    struct ficus_error error = {0};
    const struct json_limits limits = {.size_max = size_max, .depth_max = DATA_DEPTH_MAX};
    if (text == NULL)
        return true;
    enum ficus_err err = json_parse(&req->arena, slice_str(text), &limits, &root, &error);
    if (err == FICUS_ERR_OK && is_object && root->type != JSON_OBJECT)
        err = err_set(&error, FICUS_ERR_INVALID, "it must be an object");
    if (err != FICUS_ERR_OK) {
        (void)request_fail(req, 500, "internal", false, "%s: %s: %s", what, key, error.text);
        return false;
    }
    json_write_key(w, key);
    json_write_value(w, root);
    return true;
}

static int tell(struct ficus_req *req, const char *what, const char *saga, const char *id, const char *signal, bool refuse, const char *data)
{
    if (!request_may_go_on(req) || !check_names(req, what, saga, id))
        return -1;
    if (signal != NULL && (signal[0] == '\0' || strlen(signal) > 63))
        return request_fail(req, 500, "internal", false, "%s: \"%s\" is no name of a signal", what, signal);
    struct buf out;
    struct json_writer w;
    buf_init(&out, 2 * INPUT_SIZE_MAX);
    json_write_init(&w, &out);
    json_write_object(&w);
    json_write_kv_str(&w, "command", signal == NULL ? "start" : "signal");
    json_write_kv_str(&w, "saga", saga);
    if (signal != NULL)
        json_write_kv_str(&w, "signal", signal);
    if (refuse)
        json_write_kv_bool(&w, "refuse", true);
    bool ok = signal == NULL ? add_json(req, what, &w, "input", data, INPUT_SIZE_MAX, true)
                             : add_json(req, what, &w, "data", data, SIGNAL_SIZE_MAX, false);
    json_write_end(&w);
    int result = !ok                ? -1
                 : buf_failed(&out) ? request_fail(req, 503, "out_of_memory", true, "out of memory")
                                    : request_emit(req, EVENT_TOPIC_SAGA, id, buf_str(&out), 0);
    buf_done(&out);
    return result;
}

int ficus_saga_start(struct ficus_req *req, const char *saga, const char *id, const char *input)
{
    return tell(req, "ficus_saga_start", saga, id, NULL, false, input);
}

int ficus_saga_signal(struct ficus_req *req, const char *saga, const char *id, const char *signal, bool refuse, const char *data)
{
    return tell(req, "ficus_saga_signal", saga, id, signal == NULL ? "" : signal, refuse, data);
}

static const char *text_at(struct ficus_req *req, const struct ficus_json *json, const char *key)
{
    const struct ficus_json *v = ficus_json_get(json, key);
    const char *text = v == NULL ? NULL : ficus_json_str(req, v);
    return text == NULL ? "" : text;
}

int ficus_saga_state(struct ficus_req *req, const char *saga, const char *id, int timeout_ms, struct ficus_saga_state *ret_state)
{
    struct ficus_answer answer;
    if (!request_may_go_on(req) || !check_names(req, "ficus_saga_state", saga, id))
        return -1;
    const char *path = ficus_printf(req, "/v1/sagas/%s/%s", ficus_segment(req, saga), ficus_segment(req, id));
    const struct ficus_call call = {.service = "hub", .method = "GET", .path = path, .timeout_ms = timeout_ms > 0 ? timeout_ms : STATE_TIMEOUT_MS};
    if (path == NULL || ficus_call(req, &call, &answer) != 0)
        return -1;
    if (answer.status == 404)
        return 0;
    if (answer.status != 200 || answer.json == NULL)
        return request_fail(req, 503, "unavailable", true, "the hub does not say how saga %s/%s is: %d %s", saga, id, answer.status, answer.code);
    *ret_state = (struct ficus_saga_state){
        .state = text_at(req, answer.json, "state"),
        .step = text_at(req, answer.json, "step"),
        .signal = text_at(req, answer.json, "signal"),
        .failure = text_at(req, answer.json, "failure"),
    };
    return 1;
}
