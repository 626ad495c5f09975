/* SPDX-License-Identifier: Apache-2.0
 *
 * Idempotency-Keys. A request that took effect is remembered in the transaction of its effects, so there is never a row
 * of one that "runs": who runs is known in memory only (v->keys) and forgotten by a crash together with the request
 * itself. Others with the same key wait in line behind the one that runs, without a worker; each then finds the kept
 * answer, or runs in its turn when the one before it took no effect.
 *
 * A key belongs to user (or calling process), method and path. Bodies are remembered as keyed hashes only.
 */
#include "service_impl.h"

struct key_entry {
    struct ficus_req *running;
    struct list waiting; /* of ficus_req.queue */
    size_t waiting_count;
};

static struct slice hash_slice(const struct ficus_req *r)
{
    return slice_make(r->key_hash, sizeof r->key_hash);
}

static bool make_hash(struct ficus_req *r)
{
    r->key_scope = arena_printf(&r->arena, "%s:%s %s " SLICE_FMT, r->user != NULL ? "user" : "caller",
                                r->user != NULL ? r->user : r->caller, r->route->def->method, SLICE_ARG(r->path));
    if (r->key_scope == NULL)
        return false;
    const struct slice parts[] = {slice_str(r->key_scope), slice_str(r->idempotency_key)};
    return keyed_hash(r->service->process.key, "idempotency-key", parts, 2, r->key_hash) == FICUS_ERR_OK;
}

static void to_problem(struct ficus_req *r, int status, const char *code, const char *detail)
{
    bool moved = request_move(r, REQUEST_READING, REQUEST_REPLYING);
    FICUS_ASSERT(moved);
    request_problem(r, status, code, detail, true);
}

static void leave_waiting(struct key_entry *e, struct ficus_req *r)
{
    list_remove(&r->queue);
    FICUS_ASSERT(e->waiting_count > 0);
    e->waiting_count--;
}

int keys_busy_status(const struct ficus_req *r)
{
    return strcmp(r->caller, "gateway") == 0 ? 409 : 503;
}

bool keys_enter(struct ficus_req *r)
{
    struct service *v = r->service;
    FICUS_ASSERT(r->key_entry == NULL);
    if (!make_hash(r)) {
        to_problem(r, 503, "out_of_memory", "out of memory");
        return false;
    }
    struct key_entry *e = map_get(&v->keys, hash_slice(r));
    if (e == NULL) {
        e = mem_zalloc(sizeof *e);
        if (e == NULL || !map_put(&v->keys, hash_slice(r), e)) {
            mem_free(e);
            to_problem(r, 503, "out_of_memory", "out of memory");
            return false;
        }
        list_init(&e->waiting);
        e->running = r;
        r->key_entry = e;
        return true;
    }
    if (e->waiting_count >= KEY_WAITING_MAX) {
        to_problem(r, keys_busy_status(r), "in_progress", "too many requests with this Idempotency-Key are waiting");
        return false;
    }
    bool moved = request_move(r, REQUEST_READING, REQUEST_WAITING);
    FICUS_ASSERT(moved);
    list_add_tail(&e->waiting, &r->queue);
    e->waiting_count++;
    request_arm_waiting(r);
    return false;
}

void keys_leave_waiting(struct ficus_req *r)
{
    struct key_entry *e = map_get(&r->service->keys, hash_slice(r));
    FICUS_ASSERT(e != NULL);
    leave_waiting(e, r);
}

void keys_leave(struct ficus_req *r)
{
    struct key_entry *e = r->key_entry;
    if (e == NULL)
        return;
    FICUS_ASSERT(e->running == r);
    r->key_entry = NULL;
    if (list_empty(&e->waiting)) {
        (void)map_remove(&r->service->keys, hash_slice(r));
        mem_free(e);
        return;
    }
    struct ficus_req *heir = CONTAINER_OF(e->waiting.next, struct ficus_req, queue);
    leave_waiting(e, heir);
    e->running = heir;
    heir->key_entry = e;
    request_arm_deadline(heir); /* all of its time */
    request_admit(heir);
}

/* ---- [worker] the kept answers ---- */

static int body_hash(struct ficus_req *r, uint8_t ret_hash[KEYED_HASH_SIZE])
{
    const struct slice parts[] = {r->query.p == NULL ? SLICE("") : r->query, slice_make(r->body, r->body_size)};
    if (keyed_hash(r->service->process.key, "idempotency-body", parts, 2, ret_hash) == FICUS_ERR_OK)
        return 0;
    return request_fail(r, 503, "out_of_memory", true, "the body could not be hashed");
}

static bool read_headers(struct ficus_req *r, struct slice text)
{
    struct json *root = NULL;
    char *copy = arena_strdup(&r->arena, text);
    if (copy == NULL || json_parse(&r->arena, slice_make(copy, text.size), NULL, &root, NULL) != FICUS_ERR_OK)
        return false;
    struct slice type = json_string_or(json_get(root, "content_type"), SLICE_NONE);
    r->answer.content_type = type.p == NULL ? NULL : arena_strdup(&r->arena, type);
    const struct json *list = json_get(root, "headers");
    for (const struct json *h = list == NULL ? NULL : list->first; h != NULL; h = h->next) {
        const char *name = arena_strdup(&r->arena, json_string_or(json_at(h, 0), SLICE("")));
        const char *value = arena_strdup(&r->arena, json_string_or(json_at(h, 1), SLICE("")));
        if (name == NULL || value == NULL || !answer_header(r, name, value))
            return false;
    }
    return true;
}

static int take_kept(struct ficus_req *r, struct db_stmt *s)
{
    uint8_t hash[KEYED_HASH_SIZE];
    if (body_hash(r, hash) != 0)
        return -1;
    answer_clear(r);
    if (!slice_eq(db_blob(s, 3), slice_make(hash, sizeof hash))) {
        answer_problem(r, 422, "idempotency_key_reused", "this Idempotency-Key was used for another request");
        r->is_replayed = true;
        return 1;
    }
    struct slice body = db_blob(s, 2);
    r->answer.status = (int)db_i64(s, 0);
    if (!read_headers(r, db_text(s, 1)) || (body.p != NULL && !buf_add_slice(&r->answer.out.text, body)))
        return request_fail(r, 503, "out_of_memory", true, "the kept answer does not fit into memory");
    r->is_replayed = true;
    return 1;
}

int keys_lookup(struct ficus_req *r, struct db_conn *c)
{
    struct ficus_error error = {0};
    struct db_stmt *s = NULL;
    enum ficus_err err = db_query(c, &s, &error,
                                  "SELECT status, headers, body, body_hash FROM ficus_keys WHERE key_hash = ?", "b",
                                  hash_slice(r));
    if (err != FICUS_ERR_OK)
        return request_fail_store(r, err, &error, "look up the Idempotency-Key");
    int step = db_step(s, &error);
    int result = step < 0 ? request_fail_store(r, (enum ficus_err) - step, &error, "look up the Idempotency-Key") : 0;
    if (step == 1)
        result = take_kept(r, s);
    db_finish(s);
    return result;
}

static void write_headers(const struct answer *a, struct buf *out)
{
    struct json_writer w;
    json_write_init(&w, out);
    json_write_object(&w);
    if (a->content_type != NULL)
        json_write_kv_str(&w, "content_type", a->content_type);
    json_write_key(&w, "headers");
    json_write_array(&w);
    for (size_t i = 0; i < a->header_count; i++) {
        json_write_array(&w);
        json_write_slice(&w, a->headers[i].name);
        json_write_slice(&w, a->headers[i].value);
        json_write_end(&w);
    }
    json_write_end(&w);
    json_write_end(&w);
}

int keys_remember(struct ficus_req *r)
{
    uint8_t hash[KEYED_HASH_SIZE];
    if (body_hash(r, hash) != 0)
        return -1;
    struct buf headers;
    buf_init(&headers, 256 * 1024);
    write_headers(&r->answer, &headers);
    struct ficus_error error = {0};
    enum ficus_err err = FICUS_ERR_NOMEM;
    if (!buf_failed(&headers))
        err = db_exec(
            db_tx_conn(&r->tx), &error,
            "INSERT INTO ficus_keys(key_hash, scope, body_hash, status, headers, body, at) VALUES(?,?,?,?,?,?,?)",
            "bsbiSbi", hash_slice(r), r->key_scope, slice_make(hash, sizeof hash), (int64_t)r->answer.status,
            buf_slice(&headers), buf_slice(&r->answer.out.text), env_wall_ms(r->service->env));
    buf_done(&headers);
    return err == FICUS_ERR_OK ? 0 : request_fail_store(r, err, &error, "remember the Idempotency-Key");
}
