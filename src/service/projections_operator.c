/* SPDX-License-Identifier: Apache-2.0
 *
 * What operators ask of projections; operator.h has the words.
 */
#include "operator.h"
#include "service_impl.h"
#include "timefmt.h"

enum { ANSWER_MAX = 8192, NAME_ARENA_MAX = 16 * 1024 };

static void answer(const struct service *v, size_t i, struct http_stream *s, int status)
{
    static const char *const words[] = {"none", "running", "done", "failed"};
    struct projection_status now;
    struct json_writer w;
    struct buf text;
    char time[TIME_TEXT_SIZE] = "";
    projections_status(v, i, &now);
    if (now.time_ms != 0)
        time_format(now.time_ms, time);
    buf_init(&text, ANSWER_MAX);
    json_write_init(&w, &text);
    json_write_object(&w);
    json_write_kv_str(&w, "projection", now.name);
    json_write_kv_str(&w, "rebuild", words[now.last]);
    json_write_kv_i64(&w, "generation", now.generation);
    json_write_kv_i64(&w, "version", now.version);
    json_write_kv_i64(&w, "events", now.events);
    json_write_kv_i64(&w, "total", now.total);
    json_write_kv_str(&w, "event_time", time);
    json_write_kv_str(&w, "error", now.error);
    json_write_end(&w);
    (void)http_respond(s, status, NULL, 0, "application/json", buf_slice(&text));
    buf_done(&text);
}

static void answer_unknown(const struct service *v, struct http_stream *s)
{
    struct projection_status one;
    struct buf text;
    buf_init(&text, ANSWER_MAX);
    (void)buf_add_str(&text, "name one of its projections:");
    for (size_t i = 0; i < projections_count(v); i++) {
        projections_status(v, i, &one);
        (void)buf_printf(&text, " %s", one.name);
    }
    (void)http_respond_problem(s, 404, "projection", buf_str(&text));
    buf_done(&text);
}

/* The count: there is none. */
static size_t find(const struct service *v, struct slice query)
{
    struct arena a;
    struct projection_status one;
    size_t i = 0, count = projections_count(v);
    bool ok = true;
    if (query.p == NULL)
        return count == 1 ? 0 : count;
    arena_init(&a, NAME_ARENA_MAX);
    struct slice name = http_query_get(query, "projection", &a, &ok);
    for (; i < count; i++) {
        projections_status(v, i, &one);
        if (ok && slice_eq_str(name, one.name))
            break;
    }
    arena_done(&a);
    return i;
}

void projections_operator(struct service *v, struct http_stream *s)
{
    struct ficus_error error = {0};
    size_t i = find(v, s->head_in->query);
    if (i == projections_count(v))
        answer_unknown(v, s);
    else if (slice_eq_str(s->head_in->method, "GET"))
        answer(v, i, s, 200);
    else if (!slice_eq_str(s->head_in->method, "POST"))
        (void)http_respond_problem(s, 405, "method", "GET looks, POST begins a rebuild");
    else if (projections_rebuild(v, i, &error) == FICUS_ERR_OK)
        answer(v, i, s, 202);
    else
        (void)http_respond_problem(s, 409, NULL, error.text);
}
