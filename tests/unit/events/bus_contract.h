/* SPDX-License-Identifier: Apache-2.0
 *
 * The contract of struct bus (events/bus.h) as tests, for every broker behind it: the hub today, NATS and Kafka when they
 * come. A test file sets up a struct bus_contract with a broker that has just begun, puts it behind cmocka's state and runs
 * BUS_CONTRACT_TESTS. What may differ between brokers (the offsets' distances, how long a cut takes) is not asked here.
 */
#ifndef FICUS_TESTS_BUS_CONTRACT_H
#define FICUS_TESTS_BUS_CONTRACT_H

#include "buf.h"
#include "bus.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>

struct bus_contract {
    struct env *env;
    void (*run)(struct env *e);     /* serve events until stop; a test that hangs is the setup's to end */
    void (*stop)(struct env *e);
    struct bus *publisher, *reader; /* of one broker; they may be the same object */
    const char *topics[2];          /* that may be published and read, without an event yet */
    const char *denied;             /* a topic that may not be published */
    /* Kills the broker and starts it again on the same disk. The objects may be new ones afterwards. */
    void (*restart)(struct bus_contract *c);
    /* Makes the broker forget what was published up to now, as its retention does. */
    void (*cut)(struct bus_contract *c);
    void *arg;                      /* the setup's own */
    /* private below */
    int published;
    struct {
        bool done;
        enum ficus_err err;
        size_t count;
        int64_t next, last;
        char text[512], cuts[128];  /* "TOPIC SUBJECT DATA;", the first of them; "TOPIC OFFSET;" */
    } got;
};

enum { BUS_CONTRACT_WAIT_MS = 10000, BUS_CONTRACT_SIZE_MAX = EVENT_BATCH_SIZE_MAX };

static inline void bus_contract_on_published(void *arg, enum ficus_err err, const char *detail)
{
    struct bus_contract *c = arg;
    assert_false(c->got.done);
    assert_non_null(detail);
    c->got.done = true;
    c->got.err = err;
    c->stop(c->env);
}

static inline void bus_contract_on_pulled(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct bus_contract *c = arg;
    assert_false(c->got.done);
    c->got.done = true;
    c->got.err = err;
    c->got.count = count;
    c->got.next = next;
    c->got.last = 0;
    c->got.text[0] = c->got.cuts[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        assert_true(events[i].offset > c->got.last);
        c->got.last = events[i].offset;
        size_t used = strlen(c->got.text);
        snprintf(c->got.text + used, sizeof c->got.text - used, SLICE_FMT " " SLICE_FMT " " SLICE_FMT ";", SLICE_ARG(events[i].topic),
                 SLICE_ARG(events[i].subject), SLICE_ARG(events[i].data));
    }
    for (size_t i = 0; err == FICUS_ERR_OK && i < c->reader->cut_count; i++) {
        size_t used = strlen(c->got.cuts);
        snprintf(c->got.cuts + used, sizeof c->got.cuts - used, SLICE_FMT ";", SLICE_ARG(c->reader->cuts[i].topic));
        assert_true(c->reader->cuts[i].offset > 0 && c->reader->cuts[i].offset <= next);
    }
    if (err == FICUS_ERR_OK)
        assert_true(next >= c->got.last);
    c->stop(c->env);
}

static inline void bus_contract_on_pause(void *arg)
{
    struct bus_contract *c = arg;
    c->stop(c->env);
}

static inline void bus_contract_pause(struct bus_contract *c, int64_t ms)
{
    struct env_timer pause = {.fn = bus_contract_on_pause, .arg = c};
    env_timer_start(c->env, &pause, ms);
    c->run(c->env);
    env_timer_stop(c->env, &pause);
}

static inline void bus_contract_wait(struct bus_contract *c)
{
    while (!c->got.done)
        c->run(c->env);
}

/* One event as it stands in a batch, without a comma; its data is {"n":N}, N its number in this test. */
static inline void bus_contract_event(struct bus_contract *c, struct buf *b, const char *topic, const char *subject, int number)
{
    (void)c;
    buf_printf(b, "%s{\"specversion\":\"1.0\",\"id\":\"event-%d\",\"source\":\"/shop\",\"type\":\"%s\",\"subject\":\"%s\",\"data\":{\"n\":%d}}",
               b->size > 1 ? "," : "", number, topic, subject, number);
}

static inline void bus_contract_publish_begin(struct bus_contract *c, struct slice batch)
{
    memset(&c->got, 0, sizeof c->got);
    assert_int_equal(c->publisher->ops->publish(c->publisher, batch, bus_contract_on_published, c), FICUS_ERR_OK);
}

static inline enum ficus_err bus_contract_publish_batch(struct bus_contract *c, struct slice batch)
{
    bus_contract_publish_begin(c, batch);
    bus_contract_wait(c);
    return c->got.err;
}

/* count events of the topic in one batch, with the next numbers. */
static inline void bus_contract_publish(struct bus_contract *c, const char *topic, const char *subject, int count)
{
    struct buf b;
    buf_init(&b, BUS_CONTRACT_SIZE_MAX);
    buf_add_char(&b, '[');
    for (int i = 0; i < count; i++)
        bus_contract_event(c, &b, topic, subject, ++c->published);
    buf_add_char(&b, ']');
    assert_int_equal(bus_contract_publish_batch(c, buf_slice(&b)), FICUS_ERR_OK);
    buf_done(&b);
}

static inline void bus_contract_pull_begin(struct bus_contract *c, const char *topics, int64_t offset, size_t count_max, int64_t wait_ms)
{
    memset(&c->got, 0, sizeof c->got);
    assert_int_equal(c->reader->ops->pull(c->reader, topics, offset, count_max, wait_ms, bus_contract_on_pulled, c), FICUS_ERR_OK);
}

/* What came, as text. */
static inline const char *bus_contract_pull(struct bus_contract *c, const char *topics, int64_t offset, size_t count_max)
{
    bus_contract_pull_begin(c, topics, offset, count_max, 0);
    bus_contract_wait(c);
    assert_int_equal(c->got.err, FICUS_ERR_OK);
    return c->got.text;
}

static inline struct bus_contract_text {
    char text[160];
} bus_contract_both(const struct bus_contract *c)
{
    struct bus_contract_text both;
    snprintf(both.text, sizeof both.text, "%s,%s", c->topics[0], c->topics[1]);
    return both;
}

static inline const char *bus_contract_expect(struct bus_contract *c, const char *topic, const char *subject, int first, int last)
{
    static char text[512];
    size_t used = 0;
    text[0] = '\0';
    for (int n = first; n <= last && used < sizeof text; n++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s %s {\"n\":%d};", topic, subject, n);
    (void)c;
    return text;
}

/* ---- the tests ---- */

/* What was published comes as it was, in its order, to those that ask for its topic. */
static inline void bus_contract_test_order(void **state)
{
    struct bus_contract *c = *state;
    const char *a = c->topics[0], *b = c->topics[1];
    bus_contract_publish(c, a, "x", 2);
    bus_contract_publish(c, b, "y", 1);
    bus_contract_publish(c, a, "x", 1);
    assert_string_equal(bus_contract_pull(c, b, 0, 16), bus_contract_expect(c, b, "y", 3, 3));
    bus_contract_pull(c, a, 0, 16);
    assert_int_equal(c->got.count, 3);
    char all[512], third[64];
    snprintf(third, sizeof third, "%s y {\"n\":3};", b);
    snprintf(all, sizeof all, "%s", bus_contract_expect(c, a, "x", 1, 2));
    snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", third, bus_contract_expect(c, a, "x", 4, 4));
    assert_string_equal(bus_contract_pull(c, bus_contract_both(c).text, 0, 16), all);
    assert_string_equal(bus_contract_pull(c, bus_contract_both(c).text, 0, 16), all); /* as often as one asks */
    assert_string_equal(bus_contract_pull(c, bus_contract_both(c).text, c->got.next, 16), "");
}

/* Asked for a few at a time, from where the last answer says, each comes once. */
static inline void bus_contract_test_portions(void **state)
{
    struct bus_contract *c = *state;
    int64_t offset = 0;
    size_t count = 0;
    bus_contract_publish(c, c->topics[0], "x", 10);
    for (int first = 1; first <= 10; first += 3) {
        int last = first + 2 > 10 ? 10 : first + 2;
        const char *text = bus_contract_pull(c, c->topics[0], offset, 3);
        assert_string_equal(text, bus_contract_expect(c, c->topics[0], "x", first, last));
        assert_true(c->got.next > offset);
        offset = c->got.next;
        count += c->got.count;
    }
    assert_int_equal(count, 10);
}

/* A batch that is published again, whole or with new ones behind, is kept once. */
static inline void bus_contract_test_again(void **state)
{
    struct bus_contract *c = *state;
    struct buf b;
    buf_init(&b, BUS_CONTRACT_SIZE_MAX);
    for (int count = 2; count <= 4; count++) {
        buf_clear(&b);
        buf_add_char(&b, '[');
        for (int n = 1; n <= count; n++)
            bus_contract_event(c, &b, c->topics[0], "x", n);
        buf_add_char(&b, ']');
        assert_int_equal(bus_contract_publish_batch(c, buf_slice(&b)), FICUS_ERR_OK);
        assert_int_equal(bus_contract_publish_batch(c, buf_slice(&b)), FICUS_ERR_OK);
        assert_string_equal(bus_contract_pull(c, c->topics[0], 0, 16), bus_contract_expect(c, c->topics[0], "x", 1, count));
    }
    buf_done(&b);
}

/* Who waits for the next gets it when it is there, and an empty answer when the time is over. */
static inline void bus_contract_test_wait(void **state)
{
    struct bus_contract *c = *state;
    bus_contract_publish(c, c->topics[1], "x", 1);
    bus_contract_pull_begin(c, c->topics[0], 0, 16, 50);
    bus_contract_wait(c);
    assert_int_equal(c->got.err, FICUS_ERR_OK);
    assert_int_equal(c->got.count, 0);
    int64_t offset = c->got.next;
    if (c->reader == c->publisher)
        return;                 /* one of each is all that such an object does at a time */
    bus_contract_pull_begin(c, c->topics[0], offset, 16, BUS_CONTRACT_WAIT_MS);
    bus_contract_pause(c, 20);
    assert_false(c->got.done);
    /* both answers come into c->got, so the publisher's is not waited for */
    char batch[256];
    snprintf(batch, sizeof batch, "[{\"specversion\":\"1.0\",\"id\":\"late\",\"source\":\"/shop\",\"type\":\"%s\",\"subject\":\"x\",\"data\":{\"n\":9}}]", c->topics[0]);
    struct bus_contract other = *c;
    memset(&other.got, 0, sizeof other.got);
    assert_int_equal(c->publisher->ops->publish(c->publisher, slice_str(batch), bus_contract_on_published, &other), FICUS_ERR_OK);
    bus_contract_wait(c);
    bus_contract_wait(&other);
    assert_int_equal(other.got.err, FICUS_ERR_OK);
    assert_string_equal(c->got.text, bus_contract_expect(c, c->topics[0], "x", 9, 9));
}

/* After cancel nothing is called any more, and the object is as good as new. */
static inline void bus_contract_test_cancel(void **state)
{
    struct bus_contract *c = *state;
    c->reader->ops->cancel_pull(c->reader);
    bus_contract_pull_begin(c, c->topics[0], 0, 16, BUS_CONTRACT_WAIT_MS);
    bus_contract_pause(c, 20);
    c->reader->ops->cancel_pull(c->reader);
    c->reader->ops->cancel_pull(c->reader);
    bus_contract_publish(c, c->topics[0], "x", 1);
    memset(&c->got, 0, sizeof c->got);
    bus_contract_pause(c, 50);
    assert_false(c->got.done);
    assert_string_equal(bus_contract_pull(c, c->topics[0], 0, 16), bus_contract_expect(c, c->topics[0], "x", 1, 1));
}

/* What can never be published is told so, and what stood beside it in the batch is not published either. */
static inline void bus_contract_test_refused(void **state)
{
    struct bus_contract *c = *state;
    struct buf b;
    buf_init(&b, BUS_CONTRACT_SIZE_MAX);
    assert_int_equal(bus_contract_publish_batch(c, SLICE("[{}]")), FICUS_ERR_INVALID);
    assert_int_equal(bus_contract_publish_batch(c, SLICE("[")), FICUS_ERR_INVALID);
    buf_add_char(&b, '[');
    bus_contract_event(c, &b, c->topics[0], "x", 1);
    bus_contract_event(c, &b, c->denied, "x", 2);
    buf_add_char(&b, ']');
    assert_int_equal(bus_contract_publish_batch(c, buf_slice(&b)), FICUS_ERR_DENIED);
    assert_string_equal(bus_contract_pull(c, c->topics[0], 0, 16), "");
    bus_contract_publish(c, c->topics[0], "x", 1); /* the same id: it was not known */
    assert_string_equal(bus_contract_pull(c, c->topics[0], 0, 16), bus_contract_expect(c, c->topics[0], "x", 1, 1));
    buf_done(&b);
}

/* The largest event and the longest batch that a publisher may send come whole. */
static inline void bus_contract_test_large(void **state)
{
    struct bus_contract *c = *state;
    enum { ROOM = 1024 };
    char *filling = malloc(EVENT_SIZE_MAX - ROOM + 1);
    struct buf b;
    size_t count = 0;
    buf_init(&b, BUS_CONTRACT_SIZE_MAX);
    memset(filling, 'f', EVENT_SIZE_MAX - ROOM);
    filling[EVENT_SIZE_MAX - ROOM] = '\0';
    buf_printf(&b, "[{\"specversion\":\"1.0\",\"id\":\"large\",\"source\":\"/shop\",\"type\":\"%s\",\"subject\":\"x\",\"data\":\"", c->topics[0]);
    buf_add(&b, filling, EVENT_SIZE_MAX - ROOM);
    buf_printf(&b, "\"}]");
    assert_int_equal(bus_contract_publish_batch(c, buf_slice(&b)), FICUS_ERR_OK);
    bus_contract_pull(c, c->topics[0], 0, 16);
    assert_int_equal(c->got.count, 1);
    bus_contract_publish(c, c->topics[1], "x", EVENT_BATCH_COUNT_MAX);
    for (int64_t offset = 0; bus_contract_pull(c, c->topics[1], offset, EVENT_BATCH_COUNT_MAX)[0] != '\0'; offset = c->got.next)
        count += c->got.count;
    assert_int_equal(count, EVENT_BATCH_COUNT_MAX);
    buf_done(&b);
    free(filling);
}

/* What was acknowledged is there when the broker comes back, is still known, and what follows stands behind it. */
static inline void bus_contract_test_restart(void **state)
{
    struct bus_contract *c = *state;
    bus_contract_publish(c, c->topics[0], "x", 3);
    bus_contract_pull(c, c->topics[0], 0, 16);
    int64_t offset = c->got.next;
    c->restart(c);
    c->published = 0;
    bus_contract_publish(c, c->topics[0], "x", 3); /* the same */
    assert_string_equal(bus_contract_pull(c, c->topics[0], 0, 16), bus_contract_expect(c, c->topics[0], "x", 1, 3));
    bus_contract_publish(c, c->topics[0], "x", 1);
    assert_string_equal(bus_contract_pull(c, c->topics[0], offset, 16), bus_contract_expect(c, c->topics[0], "x", 4, 4));
}

/* Whoever asks from before what the retention took is told for which topic; whoever has read it is not. */
static inline void bus_contract_test_cut(void **state)
{
    struct bus_contract *c = *state;
    bus_contract_publish(c, c->topics[0], "x", 3);
    bus_contract_pull(c, c->topics[0], 0, 16);
    assert_string_equal(c->got.cuts, "");
    int64_t offset = c->got.next;
    c->cut(c);
    bus_contract_publish(c, c->topics[0], "x", 1);
    assert_string_equal(bus_contract_pull(c, bus_contract_both(c).text, 0, 16), bus_contract_expect(c, c->topics[0], "x", 4, 4));
    char told[130];
    snprintf(told, sizeof told, "%s;", c->topics[0]);
    assert_string_equal(c->got.cuts, told);
    assert_string_equal(bus_contract_pull(c, c->topics[0], offset, 16), bus_contract_expect(c, c->topics[0], "x", 4, 4));
    assert_string_equal(c->got.cuts, "");
}

#define BUS_CONTRACT_TESTS(setup, teardown)                                                                                                             \
    cmocka_unit_test_setup_teardown(bus_contract_test_order, setup, teardown), cmocka_unit_test_setup_teardown(bus_contract_test_portions, setup, teardown), \
        cmocka_unit_test_setup_teardown(bus_contract_test_again, setup, teardown), cmocka_unit_test_setup_teardown(bus_contract_test_wait, setup, teardown), \
        cmocka_unit_test_setup_teardown(bus_contract_test_cancel, setup, teardown), cmocka_unit_test_setup_teardown(bus_contract_test_refused, setup, teardown), \
        cmocka_unit_test_setup_teardown(bus_contract_test_large, setup, teardown), cmocka_unit_test_setup_teardown(bus_contract_test_restart, setup, teardown), \
        cmocka_unit_test_setup_teardown(bus_contract_test_cut, setup, teardown)

#endif
