/* SPDX-License-Identifier: Apache-2.0
 *
 * What the log keeps beyond its retention, and what it says of what it did not keep.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "log_rig.h"

#include <stdio.h>

enum { HOUR_MS = 3600 * 1000, SEEN_MAX = 2000 };

static int number; /* of the last event */

static const struct elog_kept kept[] = {{"by.subject", ""}, {"by.sku", "sku"}, {"by.items", "items.sku"}};

static struct elog_options options(size_t kept_count)
{
    return (struct elog_options){.retention_ms = HOUR_MS, .kept = kept, .kept_count = kept_count};
}

static void open_log(size_t kept_count)
{
    log_rig_open(options(kept_count));
}

static void reopen_log(size_t kept_count)
{
    log_rig_close();
    open_log(kept_count);
}

static int setup(void **state)
{
    (void)state;
    number = 0;
    log_rig_init(options(3));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_rig_done();
    return 0;
}

/* Its id is its number: 1, 2, 3, ... as its offset. */
static void put(const char *topic, const char *subject, const char *data)
{
    char id[16];
    struct appended a = {0};
    snprintf(id, sizeof id, "%d", ++number);
    const struct event ev = {.id = slice_str(id),
                             .source = SLICE("/s"),
                             .topic = slice_str(topic),
                             .subject = subject[0] == '\0' ? SLICE_NONE : slice_str(subject),
                             .data = slice_str(data)};
    assert_int_equal(elog_append(elog, &ev, 1, on_append, &a), FICUS_ERR_OK);
    crash_env_run(ce);
    assert_true(a.calls == 1 && a.err == FICUS_ERR_OK);
}

static struct elog_reader *reader;
static char seen[4 * SEEN_MAX], cuts[200];

static void on_read(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    int64_t *ret_next = arg;
    const struct event_cut *list = NULL;
    assert_int_equal(err, FICUS_ERR_OK);
    for (size_t i = 0; i < count; i++)
        snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%lld ", (long long)events[i].offset);
    size_t cut_count = elog_read_cuts(reader, &list);
    for (size_t i = 0; i < cut_count; i++)
        snprintf(cuts + strlen(cuts), sizeof cuts - strlen(cuts), SLICE_FMT " %lld ", SLICE_ARG(list[i].topic),
                 (long long)list[i].offset);
    *ret_next = next;
}

/* The offsets from behind this one, each with a blank; what was said of cuts is in cuts. */
static const char *read_from(const char *topics, int64_t offset)
{
    int64_t next = -1;
    seen[0] = cuts[0] = '\0';
    assert_int_equal(elog_reader_new(elog, &reader), FICUS_ERR_OK);
    assert_int_equal(elog_read(reader, topics, offset, 0, 0, on_read, &next), FICUS_ERR_OK);
    crash_env_run_ms(ce, 1);
    assert_true(next >= offset);
    elog_reader_free(reader);
    return seen;
}

static size_t counted;

static void on_topics(void *arg, enum ficus_err err, const struct elog_topic *topics, size_t count)
{
    assert_int_equal(err, FICUS_ERR_OK);
    for (size_t i = 0; i < count; i++)
        if (slice_eq_str(topics[i].topic, arg))
            counted = (size_t)topics[i].count;
}

static size_t count_of(const char *topic)
{
    counted = 0;
    assert_int_equal(elog_topics(elog, on_topics, (void *)(uintptr_t)topic), FICUS_ERR_OK);
    crash_env_run_ms(ce, 1);
    return counted;
}

static void grow_old(void)
{
    crash_env_run_ms(ce, (int64_t)3 * HOUR_MS);
}

/* Of each subject, member or member of a list's element the newest event stays, an event of several as long as it is
 * the newest of one; no cut is spoken of. */
static void test_newest_of_each(void **state)
{
    (void)state;
    put("by.subject", "a", "{}");                                                          /* 1 */
    put("by.subject", "b", "{}");                                                          /* 2 */
    put("by.subject", "a", "{}");                                                          /* 3 */
    put("by.sku", "x", "{\"sku\":\"a\"}");                                                 /* 4 */
    put("by.sku", "y", "{\"sku\":\"a\"}");                                                 /* 5 */
    put("by.sku", "y", "{\"sku\":\"b\"}");                                                 /* 6 */
    put("by.items", "o", "{\"items\":[{\"sku\":\"a\"},{\"sku\":\"b\"}]}");                 /* 7 */
    put("by.items", "p", "{\"items\":[{\"sku\":\"b\"},{\"sku\":\"c\"}]}");                 /* 8 */
    put("by.items", "q", "{\"items\":[{\"sku\":\"c\"},{\"sku\":\"d\"},{\"sku\":\"b\"}]}"); /* 9 */
    grow_old();
    assert_string_equal(read_from("by.subject", 0), "2 3 ");
    assert_string_equal(read_from("by.sku", 0), "5 6 ");
    assert_string_equal(read_from("by.items", 0), "7 9 ");
    assert_string_equal(cuts, "");
    put("by.items", "r", "{\"items\":[{\"sku\":\"a\"}]}"); /* 10 */
    assert_string_equal(read_from("by.items", 0), "7 9 10 ");
    grow_old();
    assert_string_equal(read_from("by.items", 0), "9 10 ");
    reopen_log(3);
    grow_old();
    assert_string_equal(read_from("by.subject,by.sku,by.items", 0), "2 3 5 6 9 10 ");
    assert_string_equal(cuts, "");
}

/* An event without the key, or with something odd in its place, does no harm; the newest of them stays, of a list
 * without elements none needs to. */
static void test_odd_keys(void **state)
{
    (void)state;
    static const char *const odd[] = {"{}",
                                      "null",
                                      "7",
                                      "\"text\"",
                                      "[]",
                                      "{\"sku\":null}",
                                      "{\"sku\":{\"a\":1}}",
                                      "{\"items\":7}",
                                      "{\"items\":[]}",
                                      "{\"items\":[1,null,\"a\",[],{}]}",
                                      "{\"items\":{\"sku\":\"a\"}}",
                                      "{\"sku\":12}",
                                      "{\"items\":[{\"sku\":12},{\"sku\":\"\\u0000\"},{\"sku\":\"\\\"\"}]}"};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        put("by.sku", "s", odd[i]);
        put("by.items", "s", odd[i]);
        put("by.subject", "s", odd[i]);
    }
    grow_old();
    assert_string_equal(read_from("by.subject", 0), "39 ");
    read_from("by.sku,by.items", 0);
    assert_string_equal(cuts, "");
    put("by.sku", "s", "{\"sku\":\"z\"}");
    assert_non_null(strstr(read_from("by.sku", 0), "40 "));
}

/* A topic that is kept only from now on keeps what the log still has of it; one that is kept no longer ages as others.
 */
static void test_changes_of_mind(void **state)
{
    (void)state;
    reopen_log(0);
    put("by.subject", "a", "{}");
    put("by.sku", "", "{\"sku\":\"a\"}");
    put("by.items", "", "{\"items\":[{\"sku\":\"a\"}]}");
    put("by.sku", "", "{\"sku\":\"a\"}");
    reopen_log(3);
    grow_old();
    assert_string_equal(read_from("by.subject,by.sku,by.items", 0), "1 3 4 ");
    reopen_log(1);
    grow_old();
    assert_string_equal(read_from("by.subject,by.sku,by.items", 0), "1 ");
    assert_string_equal(cuts, "by.sku 4 by.items 3 ");
}

/* Who comes too late for events of a topic is told how far they are gone, others are not; also after a restart. */
static void test_cuts(void **state)
{
    (void)state;
    put("old", "", "{}"); /* 1 */
    put("other", "", "{}");
    put("old", "", "{}"); /* 3 */
    assert_string_equal(read_from("old,other", 0), "1 2 3 ");
    assert_string_equal(cuts, "");
    grow_old();
    put("old", "", "{}"); /* 4 */
    assert_string_equal(read_from("old", 0), "4 ");
    assert_string_equal(cuts, "old 3 ");
    assert_string_equal(read_from("old,other", 2), "4 ");
    assert_string_equal(cuts, "old 3 ");
    assert_string_equal(read_from("old,other", 3), "4 ");
    assert_string_equal(cuts, "");
    assert_string_equal(read_from("by.sku", 0), "");
    assert_string_equal(cuts, "");
    reopen_log(3);
    assert_string_equal(read_from("other,old", 0), "4 ");
    assert_string_equal(cuts, "other 2 old 3 ");
}

/* A long beginning of kept events does not keep the janitor from what stands behind it. */
static void test_many_kept(void **state)
{
    (void)state;
    char subject[16];
    for (int i = 0; i < 1300; i++) {
        snprintf(subject, sizeof subject, "%d", i);
        put("by.subject", subject, "{}");
    }
    put("old", "", "{}");
    put("by.subject", "0", "{}");
    grow_old();
    assert_string_equal(read_from("old", 0), "");
    assert_string_equal(cuts, "old 1301 ");
    assert_string_equal(read_from("by.subject", 1290), "1291 1292 1293 1294 1295 1296 1297 1298 1299 1300 1302 ");
    assert_int_equal(strncmp(read_from("by.subject", 0), "2 3 ", 4), 0);
}

/* What is kept may be larger than all that the log may have, and takes the room of nothing else: of what is not kept so much stays as
 * would without it. */
static void test_kept_over_size(void **state)
{
    (void)state;
    enum { ROOM = 1000000, KEPT = 1500, LOOSE = 1200 };
    static char data[2000];
    char subject[16];
    struct elog_options o = options(3);
    o.size_max = ROOM;
    log_rig_close();
    log_rig_open(o);
    memset(data, 'x', sizeof data - 1);
    data[0] = data[sizeof data - 2] = '"';
    for (int i = 0; i < KEPT; i++) {
        snprintf(subject, sizeof subject, "%d", i);
        put("by.subject", subject, data);
        if (i % 5 == 0)
            put("old", "", data);
    }
    for (int i = 0; i < LOOSE; i++)
        put("old", "", data);
    for (int run = 0; run < 3; run++) {
        crash_env_run_ms(ce, 11 * 60 * 1000);
        size_t kept_count = count_of("by.subject"), loose_count = count_of("old");
        assert_int_equal(kept_count, KEPT);
        assert_in_range(loose_count, ROOM / 4 / sizeof data, 2 * ROOM / sizeof data);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(test_newest_of_each), TEST(test_odd_keys), TEST(test_changes_of_mind),
                                       TEST(test_cuts), TEST(test_many_kept), TEST(test_kept_over_size)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
