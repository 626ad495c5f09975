/* SPDX-License-Identifier: Apache-2.0
 *
 * See stale.h. Each answer is one arena: key, names and values by which it varies, head, body.
 */
#include "stale.h"

#include "list.h"
#include "map.h"
#include "mem.h"

#include <pthread.h>
#include <stdatomic.h>

enum { ENTRY_SIZE_MAX = STALE_ANSWER_SIZE_MAX + 64 * 1024, VARIES_MAX = 16 };

struct entry {
    struct list link; /* stale.entries, the one that was longest not used first */
    size_t refs;      /* the store's, and of who shows it */
    struct arena arena;
    struct slice key;
    struct http_field varies[VARIES_MAX]; /* p NULL of a value: the request had no such field */
    size_t vary_count;
    struct http_field fields[STALE_FIELDS_MAX];
    size_t field_count;
    struct slice body;
    int64_t kept_ms, good_until_ms; /* of env_now_ms */
    int64_t age_s;                  /* when it was kept */
    size_t size;
};

struct stale {
    struct env *env;
    pthread_mutex_t mutex; /* guards what follows */
    struct map by_key; /* -> struct entry */
    struct list entries;
    size_t size;
    atomic_size_t count; /* written under it: requests that change something ask whether there is anything to forget */
};

struct stale *stale_new(struct env *e)
{
    uint64_t seed[2]; /* keys are the clients' */
    struct stale *s = mem_zalloc(sizeof *s);
    if (s == NULL)
        return NULL;
    env_random(e, seed, sizeof seed);
    s->env = e;
    map_init(&s->by_key, seed);
    list_init(&s->entries);
    pthread_mutex_init(&s->mutex, NULL);
    return s;
}

static void entry_unref(struct entry *n)
{
    if (--n->refs > 0)
        return;
    arena_done(&n->arena);
    mem_free(n);
}

static void entry_drop(struct stale *s, struct entry *n)
{
    (void)map_remove(&s->by_key, n->key);
    list_remove(&n->link);
    s->size -= n->size;
    s->count--;
    entry_unref(n);
}

void stale_free(struct stale *s)
{
    if (s == NULL)
        return;
    LIST_FOREACH_SAFE(&s->entries, it, tmp)
        entry_drop(s, CONTAINER_OF(it, struct entry, link));
    map_done(&s->by_key);
    pthread_mutex_destroy(&s->mutex);
    mem_free(s);
}

/* ---- Cache-Control ---- */

/* Whether a directive is there; *ret_seconds (may be NULL): its argument, 0 when it is none. */
static bool has_directive(const struct http_msg *m, const char *name, int64_t *ret_seconds)
{
    struct slice field;
    for (size_t pos = 0; http_msg_next(m, "cache-control", &pos, &field);)
        while (field.p != NULL) {
            /* A comma in a quoted argument cuts it in two; its rest is taken for a directive, which at worst forbids
             * more. */
            struct slice value = slice_trim(slice_cut(&field, ','));
            struct slice directive = slice_trim(slice_cut(&value, '='));
            uint64_t seconds = 0;
            if (!slice_eq_nocase(directive, slice_str(name)))
                continue;
            value = slice_trim(value);
            if (value.size >= 2 && value.p[0] == '"')
                value = slice_make(value.p + 1, value.size - 2);
            if (ret_seconds != NULL)
                *ret_seconds =
                    value.p != NULL && slice_to_u64(value, &seconds) && seconds < INT32_MAX ? (int64_t)seconds : 0;
            return true;
        }
    return false;
}

bool stale_may_keep(const struct http_msg *request, const struct http_msg *answer, bool user)
{
    static const char *const forbid[] = {"no-store", "no-cache", "must-revalidate", "proxy-revalidate", "s-maxage"};
    struct slice vary;
    if (answer->status != 200 || answer->content_length > STALE_ANSWER_SIZE_MAX ||
        answer->field_count > STALE_FIELDS_MAX || has_directive(request, "no-store", NULL) ||
        http_msg_is_type(answer, "text/event-stream"))
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(forbid); i++)
        if (has_directive(answer, forbid[i], NULL))
            return false;
    for (size_t pos = 0; http_msg_next(answer, "vary", &pos, &vary);)
        if (slice_find(vary, '*') >= 0)
            return false;
    return http_msg_count(answer, "set-cookie") == 0 && (user || !has_directive(answer, "private", NULL));
}

/* ---- Vary ---- */

/* All values of a field of the request as one text, in the arena; p NULL: absent. */
static bool vary_value(const struct http_msg *request, struct slice name, struct arena *a, struct slice *ret_value)
{
    struct buf all;
    bool ok = true, any = false;
    buf_init(&all, 16 * 1024);
    for (size_t i = 0; i < request->field_count; i++)
        if (slice_eq_nocase(request->fields[i].name, name)) {
            ok = (!any || buf_add_str(&all, ", ")) && buf_add_slice(&all, request->fields[i].value) && ok;
            any = true;
        }
    *ret_value = any ? arena_slice(a, buf_slice(&all)) : SLICE_NONE;
    buf_done(&all);
    return ok && (!any || ret_value->p != NULL);
}

static bool varies_keep(struct entry *n, const struct http_msg *request, const struct http_msg *answer)
{
    struct slice names;
    for (size_t pos = 0; http_msg_next(answer, "vary", &pos, &names);)
        while (names.p != NULL) {
            struct slice name = slice_trim(slice_cut(&names, ','));
            if (name.size == 0)
                continue;
            if (n->vary_count == VARIES_MAX)
                return false;
            struct http_field *v = &n->varies[n->vary_count++];
            v->name = arena_slice(&n->arena, name);
            if (v->name.p == NULL || !vary_value(request, name, &n->arena, &v->value))
                return false;
        }
    return true;
}

static bool varies_fit(const struct entry *n, const struct http_msg *request)
{
    bool fit = true;
    struct arena a;
    arena_init(&a, 64 * 1024);
    for (size_t i = 0; fit && i < n->vary_count; i++) {
        struct slice value;
        fit = vary_value(request, n->varies[i].name, &a, &value) &&
              (value.p == NULL) == (n->varies[i].value.p == NULL) && slice_eq(value, n->varies[i].value);
    }
    arena_done(&a);
    return fit;
}

/* ---- keep and find ---- */

static bool entry_fill(struct entry *n, struct slice key, const struct http_msg *request, const struct http_msg *answer,
                       struct slice body)
{
    n->key = arena_slice(&n->arena, key);
    n->body = arena_slice(&n->arena, body);
    bool ok = n->key.p != NULL && n->body.p != NULL && varies_keep(n, request, answer);
    for (size_t i = 0; ok && i < answer->field_count && n->field_count < STALE_FIELDS_MAX; i++) {
        const struct http_field *f = &answer->fields[i];
        uint64_t age;
        if (slice_eq_nocase(f->name, SLICE("age"))) {
            n->age_s = slice_to_u64(f->value, &age) && age < INT32_MAX ? (int64_t)age : 0;
            continue;
        }
        struct http_field *kept = &n->fields[n->field_count++];
        *kept = (struct http_field){arena_slice(&n->arena, f->name), arena_slice(&n->arena, f->value)};
        ok = kept->name.p != NULL && kept->value.p != NULL;
    }
    n->size = sizeof *n + arena_size(&n->arena);
    return ok;
}

/* [mutex held] */
static void drop(struct stale *s, struct slice key)
{
    struct entry *n = map_get(&s->by_key, key);
    if (n != NULL)
        entry_drop(s, n);
}

/* [mutex held] One entry always fits, so the new one stays. */
static void enter(struct stale *s, struct entry *n)
{
    list_add_tail(&s->entries, &n->link);
    s->size += n->size;
    s->count++;
    while (s->size > STALE_SIZE_MAX || map_count(&s->by_key) > STALE_COUNT_MAX)
        entry_drop(s, CONTAINER_OF(s->entries.next, struct entry, link));
}

void stale_keep(struct stale *s, struct slice key, const struct http_msg *request, const struct http_msg *answer,
                struct slice body, int64_t age_ms_max)
{
    int64_t fresh_s = 0, error_s;
    struct entry *n = body.size > STALE_ANSWER_SIZE_MAX ? NULL : mem_zalloc(sizeof *n);
    if (n == NULL) {
        stale_drop(s, key);
        return;
    }
    n->refs = 1;
    arena_init(&n->arena, ENTRY_SIZE_MAX);
    n->kept_ms = env_now_ms(s->env);
    (void)has_directive(answer, "max-age", &fresh_s);
    if (has_directive(answer, "stale-if-error", &error_s) && (fresh_s + error_s) * 1000 < age_ms_max)
        age_ms_max = (fresh_s + error_s) * 1000;
    n->good_until_ms = n->kept_ms + age_ms_max;
    bool filled = entry_fill(n, key, request, answer, body);
    pthread_mutex_lock(&s->mutex);
    drop(s, key);
    if (filled && map_put(&s->by_key, n->key, n))
        enter(s, n);
    else
        entry_unref(n);
    pthread_mutex_unlock(&s->mutex);
}

/* [mutex held] NULL: none that may be shown. */
static struct entry *find(struct stale *s, struct slice key, const struct http_msg *request, int64_t now_ms)
{
    struct entry *n = map_get(&s->by_key, key);
    if (n == NULL || has_directive(request, "no-cache", NULL) || !varies_fit(n, request))
        return NULL;
    if (now_ms > n->good_until_ms) {
        entry_drop(s, n);
        return NULL;
    }
    list_remove(&n->link);
    list_add_tail(&s->entries, &n->link);
    n->refs++;
    return n;
}

bool stale_find(struct stale *s, struct slice key, const struct http_msg *request, struct stale_answer *ret_answer)
{
    int64_t now_ms = env_now_ms(s->env);
    pthread_mutex_lock(&s->mutex);
    struct entry *n = find(s, key, request, now_ms);
    pthread_mutex_unlock(&s->mutex);
    if (n != NULL)
        *ret_answer =
            (struct stale_answer){n->fields, n->field_count, n->body, n->age_s + (now_ms - n->kept_ms) / 1000, n};
    return n != NULL;
}

void stale_release(struct stale *s, struct stale_answer *answer)
{
    pthread_mutex_lock(&s->mutex);
    entry_unref(answer->entry);
    pthread_mutex_unlock(&s->mutex);
    answer->entry = NULL;
}

void stale_drop(struct stale *s, struct slice key)
{
    pthread_mutex_lock(&s->mutex);
    drop(s, key);
    pthread_mutex_unlock(&s->mutex);
}

size_t stale_count(struct stale *s)
{
    return s->count;
}

size_t stale_size(struct stale *s)
{
    pthread_mutex_lock(&s->mutex);
    size_t size = s->size;
    pthread_mutex_unlock(&s->mutex);
    return size;
}
