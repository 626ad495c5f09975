/* SPDX-License-Identifier: Apache-2.0
 *
 * One answer out of several: every part of the route is asked at once, with the request's identity and trace, and what
 * comes back is merged into one JSON object, a member for each part in the order of the route.
 *
 *   asking --(every part came or is missing)--> answered with 200
 *   asking --(a part that is not optional is missing)--> the others are given up, answered with a problem
 *   asking --(the client goes)--> all are given up
 *
 * Each call ends COMPOSE_RESERVE before the route's time is over, whatever its service does: so the answer is there in
 * time. A part is at most COMPOSE_PART_SIZE_MAX; each has one buffer until the answer is written.
 */
#include "access_log.h"
#include "proxy_private.h"

#include "mem.h"

enum {
    COMPOSE_PART_SIZE_MAX = 1024 * 1024,
    COMPOSE_VALUES_MAX = 50 * 1000,           /* of JSON, in one part */
    COMPOSE_TREE_SIZE_MAX = 16 * 1024 * 1024, /* of them, parsed; only while a part is looked at */
    COMPOSE_DEPTH_MAX = 60,                   /* the writer has 64 */
    COMPOSE_RESERVE_MS_MAX = 100,             /* for merging; at most a tenth of the route's time */
};

struct part_run {
    struct compose *compose;
    const struct proxy_part *part;
    struct call_fetch *fetch; /* NULL: it has ended, or was not begun */
    struct buf value;         /* its JSON as it goes into the answer; empty: missing */
    int status;               /* of the service's answer; 0: none came */
    enum ficus_err err;
};

struct compose {
    struct proxy_request *q;
    size_t waiting; /* parts under way */
    size_t count;
    struct part_run parts[];
};

/* ---- one part's value ---- */

static bool in_list(const char *const *list, size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq_str(name, list[i]))
            return true;
    return false;
}

static bool is_kept(const struct proxy_shape *s, struct slice name)
{
    return (s->allow_count == 0 || in_list(s->allow, s->allow_count, name)) && !in_list(s->deny, s->deny_count, name);
}

/* The member's name in the answer; SLICE_NONE when another one takes that name by the mapping. */
static struct slice new_name(const struct proxy_shape *s, const struct json *object, struct slice name)
{
    for (size_t i = 0; i < s->mapping_count; i++)
        if (slice_eq_str(name, s->mapping[i].from))
            return slice_str(s->mapping[i].to);
    for (size_t i = 0; i < s->mapping_count; i++) {
        struct slice from = slice_str(s->mapping[i].from);
        if (slice_eq_str(name, s->mapping[i].to) && is_kept(s, from) && json_get_slice(object, from) != NULL)
            return SLICE_NONE;
    }
    return name;
}

static void shape_write(const struct proxy_shape *s, const struct json *value, struct json_writer *w)
{
    if (value->type != JSON_OBJECT) {
        json_write_value(w, value);
        return;
    }
    json_write_object(w);
    for (const struct json *m = value->first; m != NULL; m = m->next) {
        struct slice name = is_kept(s, m->key) ? new_name(s, value, m->key) : SLICE_NONE;
        if (name.p == NULL)
            continue;
        json_write_key_slice(w, name);
        json_write_value(w, m);
    }
    json_write_end(w);
}

/* The body as it goes into the answer. False: it is no JSON of the kind and size that the route wants. */
static bool part_take(struct part_run *run, struct slice body)
{
    static const struct json_limits limits = {
        .depth_max = COMPOSE_DEPTH_MAX, .size_max = COMPOSE_PART_SIZE_MAX, .values_max = COMPOSE_VALUES_MAX};
    const struct proxy_shape *s = &run->part->shape;
    bool shaped = s->allow_count + s->deny_count + s->mapping_count > 0;
    struct arena a;
    struct json *root;
    struct json_writer w;
    arena_init(&a, COMPOSE_TREE_SIZE_MAX);
    bool ok = json_parse(&a, body, &limits, &root, NULL) == FICUS_ERR_OK &&
              (root->type == JSON_OBJECT || (root->type == JSON_ARRAY && !shaped));
    if (ok) {
        json_write_init(&w, &run->value);
        shape_write(s, root, &w);
        ok = !buf_failed(&run->value);
    }
    arena_done(&a);
    if (!ok)
        buf_done(&run->value);
    return ok;
}

/* ---- the whole answer ---- */

static bool is_missing(const struct part_run *run)
{
    return buf_slice(&run->value).size == 0;
}

static void parts_give_up(struct compose *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct call_fetch *fetch = c->parts[i].fetch;
        c->parts[i].fetch = NULL;
        if (fetch != NULL)
            call_fetch_cancel(fetch);
        buf_done(&c->parts[i].value);
    }
    c->waiting = 0;
}

void proxy_compose_cancel(struct proxy_request *q)
{
    struct compose *c = q->compose;
    q->compose = NULL;
    if (c != NULL)
        parts_give_up(c);
}

/* A part that the answer cannot do without: what its service says about the request is passed on, what is wrong with
 * the service is not. */
static void answer_problem(struct compose *c, const struct part_run *run)
{
    static const int passed_on[] = {400, 403, 404, 409, 410, 422, 429};
    struct proxy_request *q = c->q;
    struct http_field retry = {SLICE("Retry-After"), SLICE("1")};
    enum ficus_err err = run->err;
    int status = run->status;
    parts_give_up(c);
    q->err = err;
    q->part_missing = run->part->shape.group;
    for (size_t i = 0; i < ARRAY_COUNT(passed_on); i++)
        if (status == passed_on[i]) {
            proxy_problem(q, status, "part", "a part of this answer was refused", &retry, status == 429);
            return;
        }
    proxy_problem_of(q, err != FICUS_ERR_OK ? err
                        : status == 503     ? FICUS_ERR_UNAVAILABLE
                        : status == 504     ? FICUS_ERR_TIMEOUT
                                            : FICUS_ERR_PROTOCOL);
}

/* False: out of memory. */
static bool merge(struct compose *c, struct buf *out)
{
    struct json_writer w;
    json_write_init(&w, out);
    json_write_object(&w);
    for (size_t i = 0; i < c->count; i++) {
        json_write_key(&w, c->parts[i].part->shape.group);
        if (is_missing(&c->parts[i]))
            json_write_null(&w);
        else
            json_write_raw(&w, buf_slice(&c->parts[i].value));
        buf_done(&c->parts[i].value);
    }
    json_write_end(&w);
    return !buf_failed(out);
}

static void answer(struct compose *c)
{
    struct proxy_request *q = c->q;
    const char *missing = NULL;
    for (size_t i = 0; i < c->count && missing == NULL; i++)
        missing = is_missing(&c->parts[i]) ? c->parts[i].part->shape.group : NULL;
    q->upstream_ns = env_now_ns(q->proxy->env) - q->upstream_begin_ns;
    q->own.size_max = c->count * (COMPOSE_PART_SIZE_MAX + 1024);
    if (!merge(c, &q->own)) {
        buf_clear(&q->own);
        proxy_problem_of(q, FICUS_ERR_NOMEM);
        return;
    }
    q->part_missing = missing;
    struct http_field fields[] = {{SLICE("Content-Type"), SLICE("application/json")},
                                  {SLICE("Cache-Control"), SLICE("no-store")},
                                  {SLICE("X-Content-Type-Options"), SLICE("nosniff")},
                                  {SLICE("Ficus-Complete"), missing == NULL ? SLICE("true") : SLICE("false")}};
    proxy_answer_with(q, 200, fields, ARRAY_COUNT(fields), buf_slice(&q->own), true);
}

/* ---- asking ---- */

/* All have been asked, and one or more have ended: may end the request. */
static void go_on(struct compose *c)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct part_run *run = &c->parts[i];
        if (run->fetch == NULL && is_missing(run) && !run->part->shape.optional) {
            answer_problem(c, run);
            return;
        }
    }
    if (c->waiting == 0)
        answer(c);
}

static void part_ended(struct part_run *run)
{
    struct proxy_request *q = run->compose->q;
    run->fetch = NULL;
    run->compose->waiting--;
    if (is_missing(run))
        metric_inc(METRIC(q->proxy->metrics[PROXY_PARTS_MISSING], slice_str(q->route->path),
                          slice_str(run->part->shape.group)));
}

static void part_done(void *arg, const struct call_result *result)
{
    struct part_run *run = arg;
    run->err = result->err;
    if (result->err != FICUS_ERR_OK)
        access_note_call(run->compose->q, run->part->service, result->err, 0);
    run->status = result->err == FICUS_ERR_OK ? result->status : 0;
    if (run->status / 100 == 2 && !part_take(run, result->body))
        run->err = FICUS_ERR_PROTOCOL;
    part_ended(run);
    go_on(run->compose);
}

static enum ficus_err part_ask(struct part_run *run, size_t index, int64_t deadline_ns)
{
    static const struct http_field accept = {SLICE("Accept"), SLICE("application/json")};
    struct proxy_request *q = run->compose->q;
    struct call_request r = proxy_call_request(q, run->part->service);
    r.method = SLICE("GET");
    r.path = proxy_router_part(&q->match, index, q->user, q->stream->arena);
    r.fields = &accept;
    r.field_count = 1;
    r.deadline_ns = deadline_ns;
    if (r.path.p == NULL)
        return FICUS_ERR_INVALID;
    return call_fetch(q->proxy->process.calls, &r, COMPOSE_PART_SIZE_MAX, part_done, run, &run->fetch);
}

void proxy_compose(struct proxy_request *q)
{
    const struct proxy_route *route = q->route;
    size_t size = sizeof(struct compose) + route->part_count * sizeof(struct part_run);
    struct compose *c = arena_zalloc(q->stream->arena, size);
    if (c == NULL) {
        proxy_problem(q, 431, NULL, "the request head takes too much memory", NULL, 0);
        return;
    }
    c->q = q;
    c->count = c->waiting = route->part_count;
    q->compose = c;
    q->upstream_begin_ns = env_now_ns(q->proxy->env);
    int64_t reserve_ms = route->timeout_ms / 10 < COMPOSE_RESERVE_MS_MAX ? route->timeout_ms / 10
                                                                         : COMPOSE_RESERVE_MS_MAX;
    int64_t deadline_ns = proxy_deadline_ns(q) - reserve_ms * 1000000;
    for (size_t i = 0; i < c->count; i++) {
        c->parts[i] = (struct part_run){.compose = c, .part = &route->parts[i]};
        buf_init(&c->parts[i].value, COMPOSE_PART_SIZE_MAX);
    }
    for (size_t i = 0; i < c->count; i++) {
        c->parts[i].err = part_ask(&c->parts[i], i, deadline_ns);
        if (c->parts[i].err != FICUS_ERR_OK)
            part_ended(&c->parts[i]);
    }
    go_on(c);
}
