/* SPDX-License-Identifier: Apache-2.0
 *
 * The hub's log over HTTP:
 *   POST /v1/events   application/cloudevents-batch+json -> 200 after the sync; 403 the caller may not publish a topic;
 *                     400 malformed; 503 not now
 *   GET  /v1/events?topics=a,b&after=N&limit=M&wait=MS  -> 200 {"events":[CloudEvent with "sequence"],"next":N}
 * What the relay and the consumer do with an error (try again later) needs no more than its code here.
 */
#include "bus.h"

#include "assert.h"
#include "mem.h"

enum {
    ANSWER_SIZE_MAX = EVENT_BATCH_SIZE_MAX + 256 * 1024,
    /* for the largest answer with the smallest values: one that did not fit would be asked for again and again */
    ANSWER_ARENA_MAX = 256 * 1024 * 1024,
    ANSWER_VALUES_MAX = ANSWER_SIZE_MAX,
    PROBLEM_SIZE_MAX = 64 * 1024,
    PULL_GRACE_MS = 5000,       /* beyond the time that the hub may wait */
    PATH_SIZE_MAX = 16 * 1024,
};

struct bus_hub {
    struct bus bus;
    struct env *env;
    struct call_engine *engine;
    struct call_fetch *publishing, *pulling;    /* NULL: none */
    void (*published)(void *arg, enum ficus_err err, const char *detail);
    void *published_arg;
    void (*pulled)(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next);
    void *pulled_arg;
    int64_t offset;
    struct buf path;
};

static struct bus_hub *of(struct bus *b)
{
    return CONTAINER_OF(b, struct bus_hub, bus);
}

static enum ficus_err result_code(const struct call_result *r)
{
    if (r->err != FICUS_ERR_OK)
        return r->err;
    switch (r->status) {
    case 200:
        return FICUS_ERR_OK;
    case 400:
    case 413:
    case 422:
        return FICUS_ERR_INVALID;
    case 401:
        return FICUS_ERR_UNAUTHENTICATED;
    case 403:
        return FICUS_ERR_DENIED;
    case 409:
        return FICUS_ERR_CONFLICT;
    case 507:
        return FICUS_ERR_FULL;
    default:
        return r->status >= 500 ? FICUS_ERR_UNAVAILABLE : FICUS_ERR_PROTOCOL;
    }
}

/* The problem document's detail, or what there is. text: for the answer. */
static const char *result_detail(const struct call_result *r, struct arena *a)
{
    struct json *problem = NULL;
    struct slice detail = SLICE_NONE;
    if (r->err != FICUS_ERR_OK)
        return r->detail == NULL ? err_text(r->err) : r->detail;
    if (r->body.size > 0 && json_parse(a, r->body, NULL, &problem, NULL) == FICUS_ERR_OK)
        detail = json_string_or(json_get(problem, "detail"), SLICE_NONE);
    const char *text = detail.p == NULL ? arena_printf(a, "the hub answered %d", r->status)
        : arena_printf(a, "the hub answered %d: " SLICE_FMT, r->status, SLICE_ARG(detail));
    return text == NULL ? "the hub refused" : text;
}

/* ---- publish ---- */

static void publish_done(void *arg, const struct call_result *r)
{
    struct bus_hub *h = arg;
    struct arena a;
    arena_init(&a, 1024 * 1024);
    enum ficus_err err = result_code(r);
    const char *detail = err == FICUS_ERR_OK ? "" : result_detail(r, &a);
    h->publishing = NULL;
    h->published(h->published_arg, err, detail);    /* h may be gone from here */
    arena_done(&a);
}

static enum ficus_err hub_publish(struct bus *b, struct slice batch, void (*done)(void *arg, enum ficus_err err,
                                  const char *detail), void *arg)
{
    static const struct http_field fields[] = {{SLICE("Content-Type"), SLICE("application/cloudevents-batch+json")}};
    struct bus_hub *h = of(b);
    FICUS_ASSERT(h->publishing == NULL);
    struct call_request r = {.callee = "hub", .method = SLICE("POST"), .path = SLICE("/v1/events"), .fields = fields,
        .field_count = 1, .body = batch};
    h->published = done;
    h->published_arg = arg;
    return call_fetch(h->engine, &r, PROBLEM_SIZE_MAX, publish_done, h, &h->publishing);
}

/* ---- pull ---- */

/* Of the answer, which is as it should be otherwise. */
static void cuts_read(struct bus_hub *h, struct arena *a, const struct json *list)
{
    size_t count = 0;
    bool is_list = list != NULL && list->type == JSON_ARRAY;
    struct event_cut *cuts = is_list ? ARENA_ARRAY(a, struct event_cut, list->count) : NULL;
    for (const struct json *v = cuts == NULL ? NULL : list->first; v != NULL; v = v->next) {
        cuts[count].topic = json_string_or(json_get(v, "topic"), SLICE_NONE);
        if (cuts[count].topic.p != NULL && json_i64(json_get(v, "offset"), &cuts[count].offset))
            count++;
    }
    h->bus.cuts = cuts;
    h->bus.cut_count = count;
}

static enum ficus_err answer_read(struct bus_hub *h, struct arena *a, struct slice body, int64_t offset,
                                  struct event **ret_events, size_t *ret_count, int64_t *ret_next)
{
    struct json_limits limits = {.size_max = ANSWER_SIZE_MAX, .values_max = ANSWER_VALUES_MAX};
    struct json *root = NULL;
    enum ficus_err err = json_parse(a, body, &limits, &root, NULL);
    if (err != FICUS_ERR_OK)
        return err == FICUS_ERR_NOMEM ? err : FICUS_ERR_PROTOCOL;
    const struct json *list = json_get(root, "events");
    int64_t next = 0, last = offset;
    if (list == NULL || list->type != JSON_ARRAY || list->count > EVENT_BATCH_COUNT_MAX)
        return FICUS_ERR_PROTOCOL;
    if (!json_i64(json_get(root, "next"), &next))
        return FICUS_ERR_PROTOCOL;
    struct event *events = ARENA_ARRAY(a, struct event, list->count);
    if (events == NULL)
        return FICUS_ERR_NOMEM;
    size_t count = 0;
    for (const struct json *v = list->first; v != NULL; v = v->next, count++) {
        err = event_read(a, v, &events[count], NULL);
        if (err != FICUS_ERR_OK)
            return err == FICUS_ERR_NOMEM ? err : FICUS_ERR_PROTOCOL;
        if (events[count].offset <= last)
            return FICUS_ERR_PROTOCOL;      /* the order is what consumers rely on */
        last = events[count].offset;
    }
    if (next < last)
        return FICUS_ERR_PROTOCOL;
    cuts_read(h, a, json_get(root, "cut"));
    *ret_events = events;
    *ret_count = count;
    *ret_next = next;
    return FICUS_ERR_OK;
}

static void pull_done(void *arg, const struct call_result *r)
{
    struct bus_hub *h = arg;
    struct arena a;
    struct event *events = NULL;
    size_t count = 0;
    int64_t next = h->offset;
    arena_init(&a, ANSWER_ARENA_MAX);
    enum ficus_err err = result_code(r);
    h->bus.cut_count = 0;
    if (err == FICUS_ERR_OK)
        err = answer_read(h, &a, r->body, h->offset, &events, &count, &next);
    h->pulling = NULL;
    h->pulled(h->pulled_arg, err, events, count, next);     /* h may be gone from here */
    arena_done(&a);
}

static enum ficus_err hub_pull(struct bus *b, const char *topics, int64_t offset, size_t count_max, int64_t wait_ms,
                               void (*done)(void *arg, enum ficus_err err, const struct event *events, size_t count,
                               int64_t next), void *arg)
{
    struct bus_hub *h = of(b);
    FICUS_ASSERT(h->pulling == NULL);
    buf_clear(&h->path);
    /* topics are a-z 0-9 . _ - and commas: nothing to encode */
    if (!buf_printf(&h->path, "/v1/events?topics=%s&after=%lld&limit=%zu&wait=%lld", topics, (long long)offset,
        count_max, (long long)wait_ms))
        return FICUS_ERR_TOO_LARGE;
    struct call_request r = {.callee = "hub", .method = SLICE("GET"), .path = buf_slice(&h->path),
        .timeout_ms = wait_ms + PULL_GRACE_MS};
    h->pulled = done;
    h->pulled_arg = arg;
    h->offset = offset;
    return call_fetch(h->engine, &r, ANSWER_SIZE_MAX, pull_done, h, &h->pulling);
}

static void hub_cancel_pull(struct bus *b)
{
    struct bus_hub *h = of(b);
    if (h->pulling != NULL)
        call_fetch_cancel(h->pulling);
    h->pulling = NULL;
}

static const struct bus_ops ops = {hub_publish, hub_pull, hub_cancel_pull};

enum ficus_err bus_hub_new(struct env *e, struct call_engine *g, struct bus **ret_bus)
{
    struct bus_hub *h = mem_zalloc(sizeof *h);
    if (h == NULL)
        return FICUS_ERR_NOMEM;
    h->bus.ops = &ops;
    h->env = e;
    h->engine = g;
    buf_init(&h->path, PATH_SIZE_MAX);
    *ret_bus = &h->bus;
    return FICUS_ERR_OK;
}

void bus_hub_free(struct bus *b)
{
    if (b == NULL)
        return;
    struct bus_hub *h = of(b);
    hub_cancel_pull(b);
    if (h->publishing != NULL)
        call_fetch_cancel(h->publishing);
    buf_done(&h->path);
    mem_free(h);
}
