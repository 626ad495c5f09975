/* SPDX-License-Identifier: Apache-2.0
 *
 * Streaming answers (text/event-stream, WHATWG HTML 9.2). A stream is entered into the service's list on the loop while
 * its handler waits, so every commit falls on one side: either its frames reach the stream, or it was synced before the
 * handler read the present state. What comes on both ways is dropped by id.
 *
 * A stream holds no worker. Its memory is bounded: a reader that is STREAM_PENDING_MAX frames behind is cut off and may
 * come back with Last-Event-ID. About 11 KiB each are measured for one that waits (tests/e2e/pages.py), its connection
 * and request included. One user may have STREAM_USER_MAX of the STREAM_COUNT_MAX.
 */
#include "service_impl.h"

/* Streams that have something alike, the key or the user: found by name in a map of the service, gone with the last. */
struct crowd {
    struct map *map;
    struct list members; /* of sse.key_link; of a user's only the count matters */
    size_t count;
    char name[];
};

struct frame {
    struct list link;
    size_t size, sent;
    char text[];
};

struct sse {
    struct list link; /* in service->streams */
    struct list key_link;
    struct crowd *key, *user; /* user NULL: nobody is signed in */
    struct ficus_req *req;
    struct list frames;
    size_t frame_count, frames_max;
    struct list early; /* committed while the handler still ran: struct early */
    size_t early_count;
    int64_t last_id;
    bool has_id, begun, ending, ended, overrun;
};

struct early {
    struct list link;
    int64_t id;
    bool last;
    size_t size;
    char text[];
};

static void free_list(struct list *head, size_t link_offset)
{
    struct list *node;
    while ((node = list_pop_head(head)) != NULL)
        mem_free((char *)node - link_offset);
}

/* NULL: out of memory. */
static struct crowd *crowd_enter(struct map *map, const char *name)
{
    struct crowd *c = map_get(map, slice_str(name));
    if (c == NULL) {
        size_t size = strlen(name) + 1;
        c = mem_zalloc(sizeof *c + size);
        if (c == NULL)
            return NULL;
        c->map = map;
        list_init(&c->members);
        memcpy(c->name, name, size);
        if (!map_put(map, slice_str(name), c)) {
            mem_free(c);
            return NULL;
        }
    }
    c->count++;
    return c;
}

static void crowd_leave(struct crowd *c)
{
    if (c == NULL || --c->count > 0)
        return;
    FICUS_ASSERT(list_empty(&c->members));
    (void)map_remove(c->map, slice_str(c->name));
    mem_free(c);
}

void sse_discard(struct ficus_req *r)
{
    struct sse *s = r->sse;
    struct service *v = r->service;
    r->sse = NULL;
    list_remove(&s->link);
    list_remove(&s->key_link);
    crowd_leave(s->key);
    crowd_leave(s->user);
    v->stream_count--;
    free_list(&s->frames, offsetof(struct frame, link));
    free_list(&s->early, offsetof(struct early, link));
    mem_free(s);
    if (v->stream_count == 0)
        env_timer_stop(v->env, &v->stream_timer);
}

/* ---- sending ---- */

/* False: the exchange is gone, s with it. */
static bool flush(struct sse *s)
{
    struct http_stream *stream = s->req->stream;
    if (!s->begun || s->ended)
        return true;
    if (s->overrun) {
        request_broken(s->req, FICUS_ERR_TOO_LARGE);
        return false;
    }
    while (!list_empty(&s->frames)) {
        struct frame *f = CONTAINER_OF(s->frames.next, struct frame, link);
        f->sent += http_send(stream, f->text + f->sent, f->size - f->sent, false);
        if (f->sent < f->size)
            return true;
        list_remove(&f->link);
        s->frame_count--;
        mem_free(f);
    }
    if (s->ending) {
        s->ended = true;
        (void)http_send(stream, "", 0, true);
    }
    return true;
}

static void push(struct sse *s, struct slice text)
{
    struct frame *f = s->frame_count < s->frames_max ? mem_alloc(sizeof *f + text.size) : NULL;
    if (f == NULL) {
        s->overrun = true;
        return;
    }
    *f = (struct frame){.size = text.size};
    memcpy(f->text, text.p, text.size);
    list_add_tail(&s->frames, &f->link);
    s->frame_count++;
}

static void push_new(struct sse *s, int64_t id, struct slice text, bool last)
{
    if (s->ending || (s->has_id && id <= s->last_id))
        return;
    s->has_id = true;
    s->last_id = id;
    s->ending = last;
    push(s, text);
}

static void push_early(struct sse *s, const struct stream_note *n)
{
    struct early *e = s->early_count < STREAM_PENDING_MAX ? mem_alloc(sizeof *e + n->frame.size) : NULL;
    if (e == NULL) {
        s->overrun = true;
        return;
    }
    *e = (struct early){.id = n->id, .last = n->last, .size = n->frame.size};
    memcpy(e->text, n->frame.p, n->frame.size);
    list_add_tail(&s->early, &e->link);
    s->early_count++;
}

void sse_publish(struct service *v, const struct stream_note *notes)
{
    for (const struct stream_note *n = notes; n != NULL; n = n->next) {
        struct crowd *c = map_get(&v->stream_keys, slice_str(n->key));
        if (c == NULL)
            continue;
        c->count++; /* it stays, also when the last stream breaks meanwhile */
        LIST_FOREACH_SAFE (&c->members, it, tmp) {
            struct sse *s = CONTAINER_OF(it, struct sse, key_link);
            if (s->begun)
                push_new(s, n->id, n->frame, n->last);
            else
                push_early(s, n);
            (void)flush(s);
        }
        crowd_leave(c);
    }
}

void sse_begin(struct ficus_req *r)
{
    struct sse *s = r->sse;
    bool end_wanted = s->ending;
    s->ending = false;
    r->status_sent = 200;
    struct http_msg m;
    http_msg_init(&m, r->stream->arena);
    m.status = 200;
    m.content_length = -1;
    enum ficus_err err = FICUS_ERR_NOMEM;
    if (http_msg_add(&m, SLICE("content-type"), SLICE("text/event-stream")) &&
        http_msg_add(&m, SLICE("cache-control"), SLICE("no-store")))
        err = http_send_head(r->stream, &m, false);
    if (err != FICUS_ERR_OK) {
        request_broken(r, err);
        return;
    }
    for (const struct stream_note *n = r->first; n != NULL; n = n->next) {
        s->frames_max++; /* what the handler read itself is bounded by the request's memory */
        push_new(s, n->id, n->frame, n->last);
    }
    LIST_FOREACH (&s->early, it) {
        const struct early *e = CONTAINER_OF(it, struct early, link);
        push_new(s, e->id, slice_make(e->text, e->size), e->last);
    }
    free_list(&s->early, offsetof(struct early, link));
    s->ending = s->ending || end_wanted;
    s->begun = true;
    (void)flush(s);
}

void sse_more(struct ficus_req *r)
{
    (void)flush(r->sse);
}

void sse_end_all(struct service *v)
{
    LIST_FOREACH_SAFE (&v->streams, it, tmp) {
        struct sse *s = CONTAINER_OF(it, struct sse, link);
        s->ending = true;
        (void)flush(s);
    }
}

static void on_comment(void *arg)
{
    struct service *v = arg;
    env_timer_start(v->env, &v->stream_timer, STREAM_COMMENT_MS);
    LIST_FOREACH_SAFE (&v->streams, it, tmp) {
        struct sse *s = CONTAINER_OF(it, struct sse, link);
        if (!s->begun || s->ending || !list_empty(&s->frames))
            continue;
        push(s, SLICE(":\n\n"));
        (void)flush(s);
    }
}

/* ---- beginning ---- */

struct opening {
    struct env_task task;
    struct env_waiter waiter;
    struct ficus_req *req;
    const char *key;
    enum ficus_err err;
};

static enum ficus_err enter(struct ficus_req *r, const char *key)
{
    struct service *v = r->service;
    if (r->stream == NULL || r->sse != NULL)
        return FICUS_ERR_OK; /* the client is gone: the handler may end in peace */
    if (v->state != SERVICE_READY || v->stream_count >= STREAM_COUNT_MAX)
        return FICUS_ERR_BUSY;
    const struct crowd *others = r->user == NULL ? NULL : map_get(&v->stream_users, slice_str(r->user));
    if (others != NULL && others->count >= STREAM_USER_MAX)
        return FICUS_ERR_TOO_LARGE;
    struct sse *s = mem_zalloc(sizeof *s);
    struct crowd *same_key = crowd_enter(&v->stream_keys, key);
    struct crowd *same_user = r->user == NULL ? NULL : crowd_enter(&v->stream_users, r->user);
    if (s == NULL || same_key == NULL || (r->user != NULL && same_user == NULL)) {
        crowd_leave(same_key);
        crowd_leave(same_user);
        mem_free(s);
        return FICUS_ERR_NOMEM;
    }
    *s = (struct sse){.req = r, .key = same_key, .user = same_user, .frames_max = STREAM_PENDING_MAX};
    list_init(&s->frames);
    list_init(&s->early);
    list_add_tail(&same_key->members, &s->key_link);
    list_add_tail(&v->streams, &s->link);
    r->sse = s;
    if (v->stream_count++ == 0) {
        v->stream_timer.fn = on_comment;
        v->stream_timer.arg = v;
        env_timer_start(v->env, &v->stream_timer, STREAM_COMMENT_MS);
    }
    return FICUS_ERR_OK;
}

static void on_open(void *arg)
{
    struct opening *o = arg;
    o->err = enter(o->req, o->key);
    env_wake(o->req->service->env, &o->waiter);
}

int sse_open(struct ficus_req *r, const char *key)
{
    struct opening o = {.req = r, .key = key};
    o.task.fn = on_open;
    o.task.arg = &o;
    env_post(r->service->env, &o.task);
    env_wait(r->service->env, &o.waiter);
    if (o.err == FICUS_ERR_OK)
        return 0;
    if (o.err == FICUS_ERR_TOO_LARGE)
        return request_fail(r, 429, "too_many_streams", false, "you have %d streams open; close one first",
                            STREAM_USER_MAX);
    return request_fail(r, 503, "busy", true, "no further stream can be opened now");
}

/* ---- frames ---- */

struct slice sse_frame(struct arena *a, int64_t id, const char *event, const char *data)
{
    struct buf b;
    buf_init(&b, 256 * 1024);
    (void)buf_printf(&b, "id: %lld\n", (long long)id);
    if (event != NULL)
        (void)buf_printf(&b, "event: %s\n", event);
    struct slice rest = slice_str(data);
    while (rest.p != NULL) {
        struct slice line = slice_cut(&rest, '\n');
        (void)buf_add_str(&b, "data: ");
        (void)buf_add_slice(&b, line);
        (void)buf_add_char(&b, '\n');
    }
    (void)buf_add_char(&b, '\n');
    struct slice frame = buf_failed(&b) ? SLICE_NONE : arena_slice(a, buf_slice(&b));
    buf_done(&b);
    return frame;
}
