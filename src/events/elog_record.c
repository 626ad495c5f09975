/* SPDX-License-Identifier: Apache-2.0 */
#include "elog_record.h"

#include "assert.h"
#include "map.h"

enum { DATA_AT = 4, SIZES_AT = 8, PARTS = 9, REQUIRED = 3, HEAD_SIZE = SIZES_AT + 2 * PARTS };
enum { DATA_BITS = 21, DATA_MASK = (1 << DATA_BITS) - 1 };
_Static_assert((int)EVENT_SIZE_MAX <= (int)DATA_MASK && EVENT_SCHEMA_MAX < 1 << (31 - DATA_BITS), "size of data and version of its schema share 32 bits");

/* In the order of the format; the first REQUIRED are always there. */
static const size_t parts[PARTS] = {
    offsetof(struct event, id), offsetof(struct event, source), offsetof(struct event, topic), offsetof(struct event, subject),
    offsetof(struct event, time), offsetof(struct event, traceparent), offsetof(struct event, tracestate),
    offsetof(struct event, correlation), offsetof(struct event, causation),
};

static struct slice part_of(const struct event *ev, size_t i)
{
    return *(const struct slice *)(const void *)((const char *)ev + parts[i]);
}

static void part_set(struct event *ev, size_t i, struct slice value)
{
    *(struct slice *)(void *)((char *)ev + parts[i]) = value;
}

/* ---- numbers ---- */

static void put(char *to, uint64_t v, int size)
{
    for (int i = 0; i < size; i++)
        to[i] = (char)(unsigned char)(v >> (8 * i));
}

static uint64_t get(const char *from, int size)
{
    uint64_t v = 0;
    for (int i = 0; i < size; i++)
        v |= (uint64_t)(unsigned char)from[i] << (8 * i);
    return v;
}

/* ---- writing ---- */

size_t elog_pack_size(const struct event *ev)
{
    size_t size = HEAD_SIZE + ev->data.size;
    for (size_t i = 0; i < PARTS; i++)
        size += part_of(ev, i).size;
    return size;
}

void elog_pack(char *to, const struct event *ev, struct event *ret_packed)
{
    char *at = to + HEAD_SIZE;
    struct event packed = {.at_ms = ev->at_ms, .schema = ev->data.p == NULL ? 0 : ev->schema};
    put(to, 0, 4);
    put(to + DATA_AT, ev->data.p == NULL ? UINT32_MAX : (uint64_t)ev->schema << DATA_BITS | ev->data.size, 4);
    for (size_t i = 0; i < PARTS; i++) {
        struct slice v = part_of(ev, i);
        FICUS_ASSERT_HOT(v.size < UINT16_MAX);
        put(to + SIZES_AT + 2 * i, v.p == NULL ? UINT16_MAX : v.size, 2);
        if (v.p == NULL)
            continue;
        memcpy(at, v.p, v.size);
        part_set(&packed, i, slice_make(at, v.size));
        at += v.size;
    }
    if (ev->data.p != NULL) {
        memcpy(at, ev->data.p, ev->data.size);
        packed.data = slice_make(at, ev->data.size);
    }
    *ret_packed = packed;
}

bool elog_pack_offset(char *packed, int64_t first, int64_t offset)
{
    FICUS_ASSERT(offset >= first);
    if (offset - first > UINT32_MAX)
        return false;
    put(packed, (uint64_t)(offset - first), 4);
    return true;
}

int64_t elog_record_sum(const struct elog_head *h, struct slice body)
{
    char numbers[32];
    put(numbers, (uint64_t)h->first, 8);
    put(numbers + 8, (uint64_t)h->last, 8);
    put(numbers + 16, (uint64_t)h->at, 8);
    put(numbers + 24, (uint64_t)h->count, 8);
    uint64_t seed[2] = {0, 0};
    seed[0] = hash_sip13(seed, numbers, sizeof numbers);
    return (int64_t)hash_sip13(seed, body.p, body.size);
}

/* ---- reading ---- */

static enum ficus_err damaged(const struct elog_cursor *cu, struct ficus_error *reterr)
{
    return err_set(reterr, FICUS_ERR_CORRUPT,
        "event log: the record of the events up to offset %lld is damaged; put back a sound copy of the log's file",
        (long long)cu->head.last);
}

enum ficus_err elog_record_open(struct elog_cursor *cu, const struct elog_head *h, struct slice body, struct ficus_error *reterr)
{
    *cu = (struct elog_cursor){.head = *h, .rest = body, .left = h->count, .offset = h->first - 1};
    bool sound = h->first >= 1 && h->last >= h->first && h->count >= 1 && h->count <= ELOG_RECORD_COUNT
        && elog_record_sum(h, body) == h->sum;
    return sound ? FICUS_ERR_OK : damaged(cu, reterr);
}

int elog_record_next(struct elog_cursor *cu, struct event *ret_event, struct slice *ret_packed, struct ficus_error *reterr)
{
    struct event ev = {.offset = 0};
    struct slice rest = cu->rest;
    if (cu->left == 0)
        return rest.size == 0 ? 0 : -(int)damaged(cu, reterr);
    if (rest.size < HEAD_SIZE)
        return -(int)damaged(cu, reterr);
    size_t at = HEAD_SIZE;
    for (size_t i = 0; i < PARTS; i++) {
        size_t size = get(rest.p + SIZES_AT + 2 * i, 2);
        if (size == UINT16_MAX ? i < REQUIRED : size > rest.size - at)
            return -(int)damaged(cu, reterr);
        if (size == UINT16_MAX)
            continue;
        part_set(&ev, i, slice_make(rest.p + at, size));
        at += size;
    }
    size_t data_size = get(rest.p + DATA_AT, 4);
    if (data_size != UINT32_MAX) {
        ev.schema = (int64_t)(data_size >> DATA_BITS);
        data_size &= DATA_MASK;
        if (data_size > rest.size - at)
            return -(int)damaged(cu, reterr);
        ev.data = slice_make(rest.p + at, data_size);
        at += data_size;
    }
    ev.offset = cu->head.first + (int64_t)get(rest.p, 4);
    if (ev.offset <= cu->offset || ev.offset > cu->head.last)
        return -(int)damaged(cu, reterr);
    cu->offset = ev.offset;
    cu->left--;
    cu->rest = slice_make(rest.p + at, rest.size - at);
    *ret_event = ev;
    if (ret_packed != NULL)
        *ret_packed = slice_make(rest.p, at);
    return 1;
}
