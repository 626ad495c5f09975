/* SPDX-License-Identifier: Apache-2.0
 *
 * See h2_base.h.
 */
#include "h2_base.h"

#include "assert.h"
#include "mem.h"

/* ---- bytes ---- */

/* True: size more bytes have room. */
static bool fifo_grow(struct h2_fifo *f, size_t size)
{
    if (f->start + f->size + size <= f->capacity)
        return true;
    if (f->start > 0)
        memmove(f->p, f->p + f->start, f->size);
    f->start = 0;
    size_t capacity = f->capacity == 0 ? 1024 : f->capacity;
    while (capacity < f->size + size)
        capacity *= 2;
    if (capacity == f->capacity)
        return true;
    char *bigger = mem_realloc(f->p, capacity);
    if (bigger == NULL)
        return false;
    f->p = bigger;
    f->capacity = capacity;
    return true;
}

void h2_fifo_reserve(struct h2_fifo *f, size_t size)
{
    (void)fifo_grow(f, size); /* failing that, a put tries again */
}

bool h2_fifo_put(struct h2_fifo *f, const void *p, size_t size)
{
    if (!fifo_grow(f, size))
        return false;
    memcpy(f->p + f->start + f->size, p, size);
    f->size += size;
    return true;
}

void h2_fifo_take(struct h2_fifo *f, size_t size)
{
    FICUS_ASSERT(size <= f->size);
    f->start += size;
    f->size -= size;
    if (f->size == 0)
        h2_fifo_done(f);
}

void h2_fifo_done(struct h2_fifo *f)
{
    mem_free(f->p);
    *f = (struct h2_fifo){0};
}

/* ---- fields ---- */

static void put(struct h2_fields *f, struct slice name, struct slice value, uint8_t flags)
{
    f->nv[f->count++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.p,
                                     .value = (uint8_t *)(uintptr_t)value.p,
                                     .namelen = name.size,
                                     .valuelen = value.size,
                                     .flags = flags};
}

void h2_fields_put(struct h2_fields *f, struct slice name, struct slice value)
{
    put(f, name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME);
}

bool h2_fields_init(struct h2_fields *f, const struct http_msg *m)
{
    size_t count = m->field_count + H2_FIELDS_MORE;
    f->count = 0;
    f->nv = count <= H2_FIELDS_FEW ? f->few : mem_array(count, sizeof *f->nv);
    return f->nv != NULL;
}

void h2_fields_done(struct h2_fields *f)
{
    if (f->nv != f->few)
        mem_free(f->nv);
}

/* Another one for each message: in HPACK's table they would only push out what comes again (RFC 7541 7.1.3 calls it
 * never indexed; nghttp2 keeps etag, content-length, location and set-cookie out by itself). */
static uint8_t flags_of(enum http_name id)
{
    return id == HTTP_TRACEPARENT || id == HTTP_X_REQUEST_ID ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE;
}

void h2_fields_message(struct h2_fields *f, const struct http_msg *m)
{
    for (size_t i = 0; i < m->field_count; i++) {
        const struct http_field *field = &m->fields[i];
        enum http_name id = http_field_id(field);
        if (http_name_facts[id] & HTTP_NAME_HOP)
            continue;
        if (id == HTTP_OTHER)
            put(f, field->name, field->value, NGHTTP2_NV_FLAG_NONE);
        else
            put(f, http_names[id], field->value, flags_of(id) | NGHTTP2_NV_FLAG_NO_COPY_NAME);
    }
}

/* ---- nghttp2's memory ---- */

static void *own_malloc(size_t size, void *arg)
{
    (void)arg;
    return mem_alloc(size);
}
static void own_free(void *p, void *arg)
{
    (void)arg;
    mem_free(p);
}
static void *own_calloc(size_t count, size_t size, void *arg)
{
    (void)arg;
    return mem_array(count, size);
}
static void *own_realloc(void *p, size_t size, void *arg)
{
    (void)arg;
    return mem_realloc(p, size);
}

const nghttp2_mem h2_memory = {NULL, own_malloc, own_free, own_calloc, own_realloc};
