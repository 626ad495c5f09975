/* SPDX-License-Identifier: Apache-2.0
 *
 * The edges of a process; see call_shared.h.
 */
#include "call_shared.h"

#include "assert.h"
#include "map.h"
#include "mem.h"

#include <string.h>

struct call_shared {
    pthread_mutex_t mutex;
    struct map edges; /* name -> struct call_shared_edge */
};

struct call_shared *call_shared_new(void)
{
    struct call_shared *s = mem_zalloc(sizeof *s);
    if (s == NULL)
        return NULL;
    (void)pthread_mutex_init(&s->mutex, NULL); /* of the default kind: cannot fail */
    map_init(&s->edges, (const uint64_t[2]){0}); /* the names are the manifest's */
    return s;
}

void call_shared_free(struct call_shared *s)
{
    if (s == NULL)
        return;
    size_t pos = 0;
    struct slice name;
    void *value;
    while (map_next(&s->edges, &pos, &name, &value)) {
        struct call_shared_edge *edge = value;
        FICUS_ASSERT(list_empty(&edge->addresses));
        (void)pthread_mutex_destroy(&edge->mutex);
        mem_free(edge->bulkhead);
        mem_free(edge);
    }
    map_done(&s->edges);
    (void)pthread_mutex_destroy(&s->mutex);
    mem_free(s);
}

/* [mutex held] */
static struct call_shared_edge *edge_new(struct call_shared *s, struct slice callee, int64_t now_ns)
{
    struct call_shared_edge *edge = mem_zalloc(sizeof *edge);
    if (edge == NULL || !map_put(&s->edges, callee, edge)) {
        mem_free(edge);
        return NULL;
    }
    (void)pthread_mutex_init(&edge->mutex, NULL);
    call_budget_init(&edge->budget, now_ns);
    list_init(&edge->addresses);
    return edge;
}

struct call_shared_edge *call_shared_edge(struct call_shared *s, const char *callee, int64_t now_ns)
{
    (void)pthread_mutex_lock(&s->mutex);
    struct call_shared_edge *edge = map_get(&s->edges, slice_str(callee));
    if (edge == NULL)
        edge = edge_new(s, slice_str(callee), now_ns);
    (void)pthread_mutex_unlock(&s->mutex);
    return edge;
}

struct call_shared_address *call_shared_address_ref(struct call_shared_edge *edge, const char *text)
{
    size_t size = strlen(text) + 1;
    struct call_shared_address *found = NULL;
    call_shared_lock(edge);
    LIST_FOREACH(&edge->addresses, l) {
        struct call_shared_address *a = CONTAINER_OF(l, struct call_shared_address, link);
        if (strcmp(a->text, text) == 0)
            found = a;
    }
    if (found == NULL && (found = mem_zalloc(sizeof *found + size)) != NULL) {
        memcpy(found->text, text, size);
        list_add_tail(&edge->addresses, &found->link);
    }
    if (found != NULL)
        found->refs++;
    call_shared_unlock(edge);
    return found;
}

void call_shared_address_unref(struct call_shared_edge *edge, struct call_shared_address *a)
{
    call_shared_lock(edge);
    FICUS_ASSERT(a->refs > 0);
    bool last = --a->refs == 0;
    if (last)
        list_remove(&a->link);
    call_shared_unlock(edge);
    if (last)
        mem_free(a);
}
