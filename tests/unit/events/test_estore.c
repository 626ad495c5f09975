/* SPDX-License-Identifier: Apache-2.0
 *
 * The event store: versions and conflicts, the bytes that are hashed, what migrations leave to be added, and that
 * whatever is done to a stored event is found and named.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "estore.h"
#include "event.h"
#include "mem.h"
#include "outbox.h"

#include <stdio.h>

enum { STREAMS = 3, EVENTS = 12 };

static struct sim_disk *disk;
static struct crash_env *ce;
static struct db *db;
static struct ficus_error error;

static void open_store(void)
{
    if (db_open(crash_env(ce), &(struct db_options){.path = "s.db"}, &db, &error) != FICUS_ERR_OK ||
        db_migrate(db, "ficus_events", events_migrations, events_migration_count, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
}

static int setup(void **state)
{
    disk = sim_disk_new();
    ce = crash_env_new(disk, 33);
    open_store();
    return 0;
}

static int teardown(void **state)
{
    db_close(db);
    crash_env_free(ce);
    sim_disk_free(disk);
    return 0;
}

static struct db_tx begin(void)
{
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(db, &tx, 0, &error), FICUS_ERR_OK);
    return tx;
}

static void commit(struct db_tx *tx)
{
    assert_int_equal(db_tx_commit_wait(tx, &error), FICUS_ERR_OK);
}

static enum ficus_err append_in(struct db_tx *tx, const char *stream, int64_t expected, const char *data, int64_t *ret_version)
{
    struct estore_event ev = {.stream = slice_str(stream),
                              .type = SLICE("thing.done"),
                              .schema = 1,
                              .time_ms = 1795985008411,
                              .data = slice_str(data),
                              .metadata = SLICE("{}")};
    enum ficus_err err = estore_append(db_tx_conn(tx), expected, &ev, &error);
    *ret_version = ev.version;
    return err;
}

static enum ficus_err append(const char *stream, int64_t expected, int64_t *ret_version)
{
    struct db_tx tx = begin();
    enum ficus_err err = append_in(&tx, stream, expected, "{\"n\":1}", ret_version);
    commit(&tx);
    return err;
}

/* Position 1..12: a-0 v1, a-1 v1, a-2 v1, a-0 v2, ... */
static void fill(void)
{
    int64_t version = 0;
    for (int i = 0; i < EVENTS; i++) {
        char stream[16];
        (void)snprintf(stream, sizeof stream, "a-%d", i % STREAMS);
        assert_int_equal(append(stream, i / STREAMS, &version), FICUS_ERR_OK);
        assert_int_equal(version, i / STREAMS + 1);
    }
}

static void script(const char *sql)
{
    struct db_tx tx = begin();
    if (db_script(db_tx_conn(&tx), slice_str(sql), &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
    commit(&tx);
}

/* All findings, as "changed 4 a-0/2; ...". step: events at a time. */
static const char *verify(size_t step)
{
    static char text[8000];
    struct estore_check check = {0};
    size_t used = 0;
    text[0] = '\0';
    for (int calls = 0; !check.is_done; calls++) {
        struct db_conn *c = NULL;
        assert_true(calls < 100);
        assert_int_equal(db_reader_take(db, &c, &error), FICUS_ERR_OK);
        if (estore_verify(c, step, &check, &error) != FICUS_ERR_OK)
            fail_msg("%s", error.text);
        db_reader_give(db, c);
        for (size_t i = 0; i < check.finding_count; i++) {
            const struct estore_finding *f = &check.findings[i];
            assert_true(f->text[0] != '\0');
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s %lld %s/%lld", used == 0 ? "" : "; ", estore_fault_names[f->fault],
                                     (long long)f->position, f->stream, (long long)f->version);
        }
    }
    return text;
}

static struct estore_check head(void)
{
    struct estore_check check = {0};
    struct db_conn *c = NULL;
    assert_int_equal(db_reader_take(db, &c, &error), FICUS_ERR_OK);
    assert_int_equal(estore_verify(c, 1000, &check, &error), FICUS_ERR_OK);
    db_reader_give(db, c);
    return check;
}

/* ---- appending ---- */

/* A stream's versions have no gaps; who expects another version than there is gets told which, and nothing is written. */
static void test_versions(void **state)
{
    int64_t version = 7;
    assert_int_equal(append("s", 1, &version), FICUS_ERR_CONFLICT);
    assert_int_equal(version, 0);
    assert_int_equal(append("s", 0, &version), FICUS_ERR_OK);
    assert_int_equal(version, 1);
    assert_int_equal(append("s", 0, &version), FICUS_ERR_CONFLICT);
    assert_int_equal(version, 1);
    assert_int_equal(append("s", ESTORE_ANY, &version), FICUS_ERR_OK);
    assert_int_equal(version, 2);
    assert_int_equal(append("s", 1, &version), FICUS_ERR_CONFLICT);
    assert_int_equal(version, 2);
    assert_non_null(strstr(error.text, "stream s is at version 2, not 1"));
    assert_int_equal(append("t", 0, &version), FICUS_ERR_OK);
    assert_int_equal(head().head_position, 3);
    assert_string_equal(verify(1), "");
}

/* What is rolled back leaves no gap in positions, versions or the chain. */
static void test_rollback(void **state)
{
    int64_t version = 0;
    fill();
    struct db_tx tx = begin();
    assert_int_equal(append_in(&tx, "a-0", 4, "1", &version), FICUS_ERR_OK);
    assert_int_equal(append_in(&tx, "new", 0, "2", &version), FICUS_ERR_OK);
    db_tx_rollback(&tx);
    assert_int_equal(append("a-0", 4, &version), FICUS_ERR_OK);
    assert_int_equal(head().head_position, EVENTS + 1);
    assert_string_equal(verify(1000), "");
}

/* Names, sizes and JSON have bounds, and each fault says what is allowed; nothing is written then. */
static void test_invalid(void **state)
{
    static char large[EVENT_SIZE_MAX + 2], name[130], type[66];
    memset(name, 'x', sizeof name - 1);
    memset(type, 'x', sizeof type - 1);
    memset(large, '1', sizeof large - 1);
    large[0] = '"';
    large[EVENT_SIZE_MAX - 1] = '"';
    const struct {
        const char *stream, *type, *data, *says;
    } cases[] = {{"", "t", "1", "printable"},  {"a b", "t", "1", "printable"}, {"\xc3\xa4", "t", "1", "printable"}, {name, "t", "1", "1 to 128"},
                 {"s", "", "1", "a type is"},  {"s", "a b", "1", "a type is"}, {"s", type, "1", "1 to 64"},         {"s", "t", "", "no JSON"},
                 {"s", "t", "{", "no JSON"},   {"s", "t", "1 2", "no JSON"},   {"s", "t", large, "at most 1048576"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct db_tx tx = begin();
        struct estore_event ev = {.stream = slice_str(cases[i].stream), .type = slice_str(cases[i].type), .schema = 1, .data = slice_str(cases[i].data),
                                  .metadata = SLICE("{}")};
        assert_int_equal(estore_append(db_tx_conn(&tx), ESTORE_ANY, &ev, &error), FICUS_ERR_INVALID);
        if (strstr(error.text, cases[i].says) == NULL)
            fail_msg("%s", error.text);
        commit(&tx);
    }
    large[EVENT_SIZE_MAX] = '\0';
    name[128] = type[64] = '\0';
    struct db_tx tx = begin();
    struct estore_event ev = {.stream = slice_str(name), .type = slice_str(type), .schema = 1, .data = slice_str(large), .metadata = SLICE("{}")};
    assert_int_equal(estore_append(db_tx_conn(&tx), ESTORE_ANY, &ev, &error), FICUS_ERR_OK);
    commit(&tx);
    assert_int_equal(head().head_position, 1);
    assert_string_equal(verify(1000), "");
}

/* The bytes that are hashed are those that estore.h says: computed here by hand. */
static void test_encoding(void **state)
{
    uint8_t hash[SHA256_SIZE], bytes[256], zeros[SHA256_SIZE] = {0};
    static const char want[] = "FicusES1" "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" /* of nothing before */
                               "\0\0\0\0\0\0\1\2"                    /* position 258 */
                               "\0\0\0\0\0\0\0\7" "order-1"          /* stream */
                               "\0\0\0\0\0\0\0\3"                    /* version */
                               "\0\0\0\0\0\0\0\6" "placed"           /* type */
                               "\0\0\0\0\0\0\0\2"                    /* schema */
                               "\xff\xff\xff\xff\xff\xff\xff\xfe"    /* time -2 */
                               "\0\0\0\0\0\0\0\2" "{}"               /* data */
                               "\0\0\0\0\0\0\0\4" "null";            /* metadata */
    const struct estore_event ev = {.position = 258, .stream = SLICE("order-1"), .version = 3, .type = SLICE("placed"), .schema = 2, .time_ms = -2,
                                    .data = SLICE("{}"), .metadata = SLICE("null")};
    const struct slice all = {want, sizeof want - 1};
    assert_true(estore_hash(zeros, &ev, hash));
    assert_true(sha256(&all, 1, bytes));
    assert_memory_equal(hash, bytes, SHA256_SIZE);
}

/* A head is written down as position and hash, and read back; anything else is no head. */
static void test_head_text(void **state)
{
    char text[ESTORE_HEAD_TEXT_SIZE];
    uint8_t hash[SHA256_SIZE], back[SHA256_SIZE];
    int64_t position = 0;
    for (size_t i = 0; i < sizeof hash; i++)
        hash[i] = (uint8_t)(i * 37);
    estore_head_format(INT64_MAX, hash, text);
    assert_true(estore_head_parse(slice_str(text), &position, back));
    assert_int_equal(position, INT64_MAX);
    assert_memory_equal(hash, back, sizeof hash);
    static const char *const none[] = {"", "1", "1:", ":", "x:00", "-1:0000000000000000000000000000000000000000000000000000000000000000",
                                       "1:000000000000000000000000000000000000000000000000000000000000000", "1:0000000000000000000000000000000000000000000000000000000000000G00"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_false(estore_head_parse(slice_str(none[i]), &position, back));
}

/* ---- what migrations leave ---- */

/* Many rows are added in their order, in several transactions, behind what is there, and are gone from the table then. */
static void test_import(void **state)
{
    fill();
    script("WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 1203)"
           " INSERT INTO ficus_store_import(stream, type, time, data) SELECT 'old-' || (i % 7), 'imported', i, json_object('i', i) FROM n");
    assert_int_equal(estore_import(db, &error), FICUS_ERR_OK);
    assert_int_equal(estore_import(db, &error), FICUS_ERR_OK);
    assert_int_equal(head().head_position, EVENTS + 1203);
    assert_string_equal(verify(100), "");
    struct db_tx tx = begin();
    struct db_stmt *s = NULL;
    assert_int_equal(db_query(db_tx_conn(&tx), &s, &error,
                              "SELECT count(*), sum(time = position - 12 AND data = json_object('i', time)), (SELECT count(*) FROM ficus_store_import)"
                              " FROM ficus_store WHERE position > 12", ""), FICUS_ERR_OK);
    assert_int_equal(db_step(s, &error), 1);
    assert_int_equal(db_i64(s, 0), 1203);
    assert_int_equal(db_i64(s, 1), 1203);
    assert_int_equal(db_i64(s, 2), 0);
    db_finish(s);
    db_tx_rollback(&tx);
}

/* A row that is no event is named, and stays to be corrected; those before it in other transactions are added. */
static void test_import_invalid(void **state)
{
    script("INSERT INTO ficus_store_import VALUES(5, 's', 't', 1, 1, '{}'), (7, 's', 't', 1, 1, 'no')");
    assert_int_equal(estore_import(db, &error), FICUS_ERR_INVALID);
    assert_non_null(strstr(error.text, "row 7 of ficus_store_import"));
    script("UPDATE ficus_store_import SET data = '\"no\"' WHERE seq = 7");
    assert_int_equal(estore_import(db, &error), FICUS_ERR_OK);
    assert_int_equal(head().head_position, 2);
}

/* ---- tampering ---- */

#define SHIFT_DOWN(from) /* make room: later ones one position further */                                                       \
    "UPDATE ficus_store SET position = -position WHERE position >= " #from ";"                                                  \
    "UPDATE ficus_store SET position = 1 - position WHERE position < 0;"
#define SHIFT_UP(from)                                                                                                          \
    "UPDATE ficus_store SET position = -position WHERE position >= " #from ";"                                                  \
    "UPDATE ficus_store SET position = -1 - position WHERE position < 0;"
#define SWAP(a, b)                                                                                                              \
    "UPDATE ficus_store SET position = -1 WHERE position = " #a ";"                                                             \
    "UPDATE ficus_store SET position = " #a " WHERE position = " #b ";"                                                         \
    "UPDATE ficus_store SET position = " #b " WHERE position = -1;"
#define PUT(position, stream, version)                                                                                          \
    "INSERT INTO ficus_store VALUES(" #position ", '" stream "', " #version ", 'thing.done', 1, 1, '{}', '{}', randomblob(32));"

static const struct {
    const char *sql, *finds;
} tamperings[] = {
    /* one byte of each column, of the first, an inner and the last event */
    {"UPDATE ficus_store SET data = '{\"n\":2}' WHERE position = 1", "changed 1 a-0/1"},
    {"UPDATE ficus_store SET data = '{\"n\":2}' WHERE position = 5", "changed 5 a-1/2"},
    {"UPDATE ficus_store SET data = '{\"n\":2}' WHERE position = 12", "changed 12 a-2/4"},
    {"UPDATE ficus_store SET data = '{\"n\":1} ' WHERE position = 5", "changed 5 a-1/2"},
    {"UPDATE ficus_store SET metadata = '[]' WHERE position = 5", "changed 5 a-1/2"},
    {"UPDATE ficus_store SET data = '{\"n\":1', metadata = '}{}' WHERE position = 5", "changed 5 a-1/2"},
    {"UPDATE ficus_store SET time = time + 1 WHERE position = 5", "changed 5 a-1/2"},
    {"UPDATE ficus_store SET schema = 2 WHERE position = 5", "changed 5 a-1/2"},
    {"UPDATE ficus_store SET type = 'thing.dond' WHERE position = 5", "changed 5 a-1/2"},
    {"UPDATE ficus_store SET stream = 'b-1' WHERE position = 5", "changed 5 b-1/2"},
    {"UPDATE ficus_store SET version = 9 WHERE position = 5", "changed 5 a-1/9"},
    {"UPDATE ficus_store SET hash = CAST(x'00' || substr(hash, 2) AS BLOB) WHERE position = 1", "changed 1 a-0/1"},
    {"UPDATE ficus_store SET hash = zeroblob(32) WHERE position = 5", "changed 5 a-1/2"},
    {"UPDATE ficus_store SET hash = x'00' WHERE position = 5", "changed 5 a-1/2"},
    {"UPDATE ficus_store SET hash = zeroblob(32) WHERE position = 12", "changed 12 a-2/4"},
    {"UPDATE ficus_store SET position = 99 WHERE position = 5", "reordered 5 a-1/2; inserted 99 a-1/2"},
    {"UPDATE ficus_store SET position = -99 WHERE position = 5", "inserted -99 a-1/2; reordered 5 a-1/2"},
    {"UPDATE ficus_store SET position = 9223372036854775807 WHERE position = 5", "reordered 5 a-1/2; inserted 9223372036854775807 a-1/2"},
    /* several, each told alone */
    {"UPDATE ficus_store SET data = '0' WHERE position IN (2, 7, 11)", "changed 2 a-1/1; changed 7 a-0/3; changed 11 a-1/4"},
    {"UPDATE ficus_store SET data = '0' WHERE position IN (6, 7)", "changed 6 a-2/2; changed 7 a-0/3"},
    {"UPDATE ficus_store SET data = '0'; DELETE FROM ficus_store WHERE position > 3", "changed 1 a-0/1; changed 2 a-1/1; changed 3 a-2/1; truncated 4 /0"},
    /* removed */
    {"DELETE FROM ficus_store WHERE position = 1", "missing 1 a-0/1"},
    {"DELETE FROM ficus_store WHERE position = 5", "missing 5 a-1/2"},
    {"DELETE FROM ficus_store WHERE position BETWEEN 5 AND 7", "missing 5 /0"},
    {"DELETE FROM ficus_store WHERE position = 12", "truncated 12 /0"},
    {"DELETE FROM ficus_store WHERE position > 4", "truncated 5 /0"},
    {"DELETE FROM ficus_store", "truncated 1 /0"},
    {"DELETE FROM ficus_store WHERE position = 5;" SHIFT_UP(6), "missing 5 a-1/2"},
    {"DELETE FROM ficus_store WHERE position IN (5, 6);" SHIFT_UP(7) SHIFT_UP(6), "missing 5 /0"},
    {"DELETE FROM ficus_store WHERE position = 11;" SHIFT_UP(12), "missing 11 /0"},
    /* exchanged: rows, or all but their hashes */
    {SWAP(4, 9), "reordered 4 a-2/3; reordered 9 a-0/2"},
    {SWAP(4, 5), "reordered 4 a-1/2; reordered 5 a-0/2"},
    {SWAP(1, 2), "reordered 1 a-1/1; reordered 2 a-0/1"},
    {SWAP(11, 12), "reordered 11 a-2/4; reordered 12 a-1/4"},
    {"CREATE TEMP TABLE h AS SELECT position, hash FROM ficus_store; " SWAP(4, 9)
     "UPDATE ficus_store SET hash = (SELECT h.hash FROM temp.h WHERE h.position = ficus_store.position); DROP TABLE temp.h",
     "reordered 4 a-2/3; reordered 9 a-0/2"},
    /* put in */
    {PUT(13, "evil", 1), "inserted 13 evil/1"},
    {PUT(0, "evil", 1), "inserted 0 evil/1"},
    {SHIFT_DOWN(5) PUT(5, "evil", 1), "inserted 5 evil/1"},
    {SHIFT_DOWN(1) PUT(1, "evil", 1), "inserted 1 evil/1"},
    {SHIFT_DOWN(12) PUT(12, "evil", 1), "inserted 12 evil/1"},
    /* the head */
    {"UPDATE ficus_store_head SET hash = zeroblob(32)", "head 12 /0"},
    {"UPDATE ficus_store_head SET position = 11", "head 11 /0; inserted 12 a-2/4"},
    {"UPDATE ficus_store_head SET position = 13", "truncated 13 /0"},
    {"DELETE FROM ficus_store_head", "head 0 /0"},
};

/* Whatever is done to the tables is found, at its place, and nothing else; however many events are looked at in one
 * step. */
static void test_tampering(void **state)
{
    for (size_t i = 0; i < sizeof tamperings / sizeof *tamperings; i++) {
        static const size_t steps[] = {1, 2, 5, 1000};
        assert_int_equal(teardown(NULL) + setup(NULL), 0);
        fill();
        assert_string_equal(verify(1000), "");
        script(tamperings[i].sql);
        for (size_t j = 0; j < sizeof steps / sizeof *steps; j++) {
            const char *finds = verify(steps[j]);
            if (strcmp(finds, tamperings[i].finds) != 0)
                fail_msg("%s (%zu at a time)\n  finds %s\n  not   %s", tamperings[i].sql, steps[j], finds, tamperings[i].finds);
        }
    }
}

/* Streams are read by stream and version: where that leads to another row than the one of the chain, it is found. */
static void test_found_by_name(void **state)
{
    fill();
    script("CREATE TABLE rows AS SELECT * FROM ficus_store; DROP TABLE ficus_store;"
           "CREATE TABLE ficus_store(position INTEGER PRIMARY KEY, stream, version, type, schema, time, data, metadata, hash);"
           "INSERT INTO ficus_store SELECT * FROM rows;"
           "INSERT INTO ficus_store SELECT 0, stream, version, type, schema, time, '{\"n\":2}', metadata, hash FROM rows WHERE position = 5;"
           "DROP TABLE rows");
    assert_string_equal(verify(1000), "inserted 0 a-1/2; damaged 5 a-1/2");
}

/* An inserted event whose hash was made to fit is told from those that it has moved down. */
static void test_inserted_with_hash(void **state)
{
    uint8_t hash[SHA256_SIZE];
    fill();
    script(SHIFT_DOWN(5));
    struct db_tx tx = begin();
    struct db_stmt *s = NULL;
    struct estore_event ev = {.position = 5, .stream = SLICE("evil"), .version = 1, .type = SLICE("t"), .schema = 1, .data = SLICE("1"),
                              .metadata = SLICE("{}")};
    assert_int_equal(db_query(db_tx_conn(&tx), &s, &error, "SELECT hash FROM ficus_store WHERE position = 4", ""), FICUS_ERR_OK);
    assert_int_equal(db_step(s, &error), 1);
    assert_true(estore_hash((const uint8_t *)db_blob(s, 0).p, &ev, hash));
    db_finish(s);
    assert_int_equal(db_exec(db_tx_conn(&tx), &error, "INSERT INTO ficus_store VALUES(5, 'evil', 1, 't', 1, 0, '1', '{}', ?)", "b",
                             slice_make(hash, sizeof hash)), FICUS_ERR_OK);
    commit(&tx);
    assert_string_equal(verify(1000), "inserted 5 evil/1");
    assert_string_equal(verify(1), "inserted 5 evil/1");
}

/* Much that is wrong is told in several steps, and none of it is left out. */
static void test_many_faults(void **state)
{
    int64_t version = 0;
    for (int i = 0; i < 200; i++)
        assert_int_equal(append("s", ESTORE_ANY, &version), FICUS_ERR_OK);
    script("UPDATE ficus_store SET data = '0' WHERE position % 3 = 0");
    const char *finds = verify(1000);
    size_t count = 0;
    for (const char *at = finds; (at = strstr(at, "changed ")) != NULL; at++)
        count++;
    assert_int_equal(count, 66);
    assert_null(strstr(finds, "missing"));
}

/* Who computes all hashes anew is found only by a head that was written down before: of a tail cut off, and of another
 * history. */
static void test_remembered_head(void **state)
{
    struct estore_finding f = {0};
    struct db_conn *c = NULL;
    bool is_there = false;
    fill();
    struct estore_check before = head();
    assert_int_equal(db_reader_take(db, &c, &error), FICUS_ERR_OK);
    assert_int_equal(estore_verify_head(c, before.head_position, before.head_hash, &is_there, &f, &error), FICUS_ERR_OK);
    assert_true(is_there);
    db_reader_give(db, c);
    script("DELETE FROM ficus_store WHERE position = 12;"
           "UPDATE ficus_store_head SET position = 11, hash = (SELECT hash FROM ficus_store WHERE position = 11)");
    assert_string_equal(verify(1000), "");
    assert_int_equal(db_reader_take(db, &c, &error), FICUS_ERR_OK);
    assert_int_equal(estore_verify_head(c, before.head_position, before.head_hash, &is_there, &f, &error), FICUS_ERR_OK);
    assert_false(is_there);
    assert_int_equal(f.fault, ESTORE_TRUNCATED);
    assert_int_equal(f.position, 12);
    db_reader_give(db, c);
    int64_t version = 0;
    assert_int_equal(append("other", 0, &version), FICUS_ERR_OK);
    assert_string_equal(verify(1000), "");
    assert_int_equal(db_reader_take(db, &c, &error), FICUS_ERR_OK);
    assert_int_equal(estore_verify_head(c, before.head_position, before.head_hash, &is_there, &f, &error), FICUS_ERR_OK);
    assert_false(is_there);
    assert_int_equal(f.fault, ESTORE_HEAD);
    static const uint8_t zeros[SHA256_SIZE];
    assert_int_equal(estore_verify_head(c, 0, zeros, &is_there, &f, &error), FICUS_ERR_OK); /* of the time before the first event */
    assert_true(is_there);
    db_reader_give(db, c);
}

/* A store that contradicts itself takes no event: none would be lost in silence. */
static void test_contradiction(void **state)
{
    int64_t version = 0;
    fill();
    script("UPDATE ficus_store_head SET position = 11");
    struct db_tx tx = begin();
    assert_int_equal(append_in(&tx, "s", 0, "1", &version), FICUS_ERR_CORRUPT);
    db_tx_rollback(&tx);
    script("DELETE FROM ficus_store_head");
    tx = begin();
    assert_int_equal(append_in(&tx, "s", 0, "1", &version), FICUS_ERR_CORRUPT);
    assert_non_null(strstr(error.text, "ficus events verify"));
    db_tx_rollback(&tx);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_versions),  TEST(test_rollback),       TEST(test_invalid),   TEST(test_encoding), TEST(test_head_text), TEST(test_import),
        TEST(test_import_invalid), TEST(test_tampering), TEST(test_found_by_name), TEST(test_inserted_with_hash), TEST(test_many_faults), TEST(test_remembered_head),
        TEST(test_contradiction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
