/* SPDX-License-Identifier: Apache-2.0
 *
 * Records of the event log: what was packed comes back, and damage is found.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "buf.h"
#include "elog_record.h"
#include "mem.h"

static struct ficus_error error;

/* The third has all that an event can have, the second nothing that it need not. */
static const struct event events[] = {
    {.id = SLICE("1"), .source = SLICE("/orders"), .topic = SLICE("order.placed"), .subject = SLICE("o-1"), .data = SLICE("{\"a\":1}"), .offset = 41},
    {.id = SLICE("2"), .source = SLICE("/s"), .topic = SLICE("t"), .offset = 42},
    {.id = SLICE("3"), .source = SLICE("/orders"), .topic = SLICE("order.placed"), .subject = SLICE(""), .time = SLICE("2026-11-30T10:00:00Z"),
     .data = SLICE("0"), .traceparent = SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), .tracestate = SLICE("a=b"),
     .correlation = SLICE("c"), .causation = SLICE("2"), .offset = 50, .schema = EVENT_SCHEMA_MAX},
};
enum { EVENTS = sizeof events / sizeof events[0] };

/* The record of the events; its last is beyond theirs, as when a later one has gone. */
static struct elog_head build(struct buf *b)
{
    struct elog_head h = {.first = 40, .last = 60, .at = 1234567, .count = EVENTS};
    char packed[512];
    struct event copy;
    buf_init(b, 4096);
    for (size_t i = 0; i < EVENTS; i++) {
        size_t size = elog_pack_size(&events[i]);
        assert_true(size <= sizeof packed);
        elog_pack(packed, &events[i], &copy);
        assert_true(copy.schema == events[i].schema && slice_eq(copy.id, events[i].id) && slice_eq(copy.data, events[i].data));
        assert_true(elog_pack_offset(packed, h.first, events[i].offset));
        assert_true(buf_add(b, packed, size));
    }
    h.sum = elog_record_sum(&h, buf_slice(b));
    return h;
}

static void assert_slice(struct slice a, struct slice b)
{
    assert_int_equal(a.p == NULL, b.p == NULL);
    assert_true(slice_eq(a, b));
}

static void test_round(void **state)
{
    (void)state;
    struct buf b;
    struct elog_head h = build(&b);
    struct elog_cursor cu;
    struct event ev;
    struct slice packed;
    size_t size = 0;
    assert_int_equal(elog_record_open(&cu, &h, buf_slice(&b), &error), FICUS_ERR_OK);
    for (size_t i = 0; i < EVENTS; i++) {
        assert_int_equal(elog_record_next(&cu, &ev, &packed, &error), 1);
        assert_int_equal(ev.offset, events[i].offset);
        assert_slice(ev.id, events[i].id);
        assert_slice(ev.source, events[i].source);
        assert_slice(ev.topic, events[i].topic);
        assert_slice(ev.subject, events[i].subject);
        assert_slice(ev.time, events[i].time);
        assert_slice(ev.data, events[i].data);
        assert_slice(ev.traceparent, events[i].traceparent);
        assert_slice(ev.tracestate, events[i].tracestate);
        assert_slice(ev.correlation, events[i].correlation);
        assert_slice(ev.causation, events[i].causation);
        assert_int_equal(ev.schema, events[i].schema);
        size += packed.size;
    }
    assert_int_equal(size, buf_slice(&b).size);
    assert_int_equal(elog_record_next(&cu, &ev, &packed, &error), 0);
    char head[64];
    assert_true(elog_pack_offset(head, 1, (int64_t)UINT32_MAX + 1));
    assert_false(elog_pack_offset(head, 1, (int64_t)UINT32_MAX + 2));
    buf_done(&b);
}

/* Every bit of the row, changed, makes it CORRUPT before an event of it is read, and the text says where. */
static void test_damage_is_found(void **state)
{
    (void)state;
    struct buf b;
    struct elog_head h = build(&b);
    struct elog_cursor cu;
    struct slice body = buf_slice(&b);
    char *copy = mem_alloc(body.size);
    memcpy(copy, body.p, body.size);
    for (size_t bit = 0; bit < body.size * 8; bit++) {
        copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
        assert_int_equal(elog_record_open(&cu, &h, slice_make(copy, body.size), &error), FICUS_ERR_CORRUPT);
        assert_non_null(strstr(error.text, "up to offset 60 is damaged; put back"));
        copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
    }
    int64_t *const numbers[] = {&h.first, &h.last, &h.at, &h.count, &h.sum};
    for (size_t bit = 0; bit < 5 * 64; bit++) {
        uint64_t sound = (uint64_t)*numbers[bit / 64];
        *numbers[bit / 64] = (int64_t)(sound ^ UINT64_C(1) << bit % 64);
        assert_int_equal(elog_record_open(&cu, &h, slice_make(copy, body.size), &error), FICUS_ERR_CORRUPT);
        *numbers[bit / 64] = (int64_t)sound;
    }
    for (size_t size = 0; size < body.size; size++)
        assert_int_equal(elog_record_open(&cu, &h, slice_make(copy, size), &error), FICUS_ERR_CORRUPT);
    assert_int_equal(elog_record_open(&cu, &h, slice_make(copy, body.size), &error), FICUS_ERR_OK);
    mem_free(copy);
    buf_done(&b);
}

/* All events that a record gives, whose sum is made to be right. The body is of its own size on the heap, so that a read
 * behind it is seen. */
static int read_forged(struct elog_head h, const char *bytes, size_t size)
{
    struct elog_cursor cu;
    struct event ev;
    struct slice packed;
    int more;
    char *copy = mem_alloc(size);
    memcpy(copy, bytes, size);
    h.sum = elog_record_sum(&h, slice_make(copy, size));
    int64_t offset = 0;
    assert_int_equal(elog_record_open(&cu, &h, slice_make(copy, size), &error), FICUS_ERR_OK);
    while ((more = elog_record_next(&cu, &ev, &packed, &error)) == 1) {
        assert_true(packed.p >= copy && packed.p + packed.size <= copy + size);
        assert_true(ev.data.p == NULL || (ev.data.p >= copy && ev.data.p + ev.data.size <= copy + size));
        assert_true(ev.id.p != NULL && ev.source.p != NULL && ev.topic.p != NULL);
        assert_true(ev.offset > offset && ev.offset <= h.last);
        offset = ev.offset;
    }
    mem_free(copy);
    assert_true(more == 0 || more == -FICUS_ERR_CORRUPT);
    return more;
}

/* Also under a sum that is right no byte leads out of the record. */
static void test_forged(void **state)
{
    (void)state;
    struct buf b;
    struct elog_head h = build(&b);
    struct slice body = buf_slice(&b);
    size_t corrupt = 0;
    char *copy = mem_alloc(body.size);
    memcpy(copy, body.p, body.size);
    assert_int_equal(read_forged(h, copy, body.size), 0);
    for (size_t i = 0; i < body.size; i++)
        for (int change = 1; change < 256; change++) {
            copy[i] = (char)(copy[i] ^ change);
            corrupt += read_forged(h, copy, body.size) != 0;
            copy[i] = (char)(copy[i] ^ change);
        }
    assert_true(corrupt > 0);
    for (size_t size = 0; size < body.size; size++)
        assert_int_equal(read_forged(h, copy, size), -FICUS_ERR_CORRUPT);
    h.count = EVENTS - 1;
    assert_int_equal(read_forged(h, copy, body.size), -FICUS_ERR_CORRUPT);
    mem_free(copy);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round), cmocka_unit_test(test_damage_is_found), cmocka_unit_test(test_forged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
