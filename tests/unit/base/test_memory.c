/* SPDX-License-Identifier: Apache-2.0
 *
 * Heap helpers, slices, buffers, arenas, maps and errors.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "map.h"
#include "mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Numbers are taken whole, at their exact limits, and in no other spelling. */
static void test_slice_numbers(void **state)
{
    static const struct { const char *text; bool ok; int64_t value; } cases[] = {
        {"0", true, 0}, {"-0", true, 0}, {"00", true, 0}, {"9223372036854775807", true, INT64_MAX}, {"9223372036854775808", false, 0},
        {"-9223372036854775808", true, INT64_MIN}, {"-9223372036854775809", false, 0}, {"", false, 0}, {"-", false, 0}, {"+1", false, 0},
        {" 1", false, 0}, {"1 ", false, 0}, {"1a", false, 0}, {"--1", false, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int64_t value = 0;
        assert_int_equal(slice_to_i64(slice_str(cases[i].text), &value), cases[i].ok);
        assert_true(value == cases[i].value);
    }
    uint64_t u;
    assert_true(slice_to_u64(SLICE("18446744073709551615"), &u));
    assert_true(u == UINT64_MAX);
    assert_false(slice_to_u64(SLICE("18446744073709551616"), &u));
    assert_false(slice_to_u64(SLICE("-1"), &u));
}

/* Cutting yields every part, also empty ones, and then says that nothing is left. */
static void test_slice_parts(void **state)
{
    struct slice rest = SLICE("a,,b");
    assert_true(slice_eq_str(slice_cut(&rest, ','), "a"));
    assert_true(slice_eq_str(slice_cut(&rest, ','), ""));
    assert_true(slice_eq_str(slice_cut(&rest, ','), "b"));
    assert_null(rest.p);
    rest = SLICE("x,");
    (void)slice_cut(&rest, ',');
    assert_non_null(rest.p);
    assert_int_equal(rest.size, 0);
    assert_true(slice_eq_str(slice_trim(SLICE(" \t a b\t ")), "a b"));
    assert_true(slice_eq_nocase(SLICE("Content-Length"), SLICE("content-LENGTH")));
    for (int a = 0; a < 256; a++) {
        for (int b = 0; b < 256; b++) {
            bool letters = (a ^ b) == 0x20 && (a | 0x20) >= 'a' && (a | 0x20) <= 'z';
            for (size_t size = 1; size <= 18; size++) {
                char x[18], y[18];
                memset(x, 'x', sizeof x);
                memset(y, 'X', sizeof y);
                x[size / 2] = (char)a;
                y[size / 2] = (char)b;
                assert_int_equal(slice_eq_nocase(slice_make(x, size), slice_make(y, size)), a == b || letters);
                x[size / 2] = y[size / 2] = 'x';
                x[size - 1] = (char)a;
                y[size - 1] = (char)b;
                assert_int_equal(slice_eq_nocase(slice_make(x, size), slice_make(y, size)), a == b || letters);
            }
        }
    }
    assert_true(slice_eq_nocase(SLICE(""), SLICE_NONE));
    assert_true(slice_starts(SLICE("abc"), SLICE("ab")));
    assert_false(slice_starts(SLICE("a"), SLICE("ab")));
    assert_true(slice_ends(SLICE("abc"), SLICE("bc")));
    assert_true(slice_cmp(SLICE("ab"), SLICE("abc")) < 0);
    assert_true(slice_cmp(SLICE("b"), SLICE("abc")) > 0);
    assert_int_equal(slice_cmp(SLICE_NONE, SLICE("")), 0);
}

/* A buffer holds exactly its maximum; one byte more changes nothing but the flag, which stays. */
static void test_buf_ceiling(void **state)
{
    struct buf b;
    buf_init(&b, 10);
    assert_true(buf_add(&b, "0123456789", 10));
    assert_false(buf_add_char(&b, 'x'));
    assert_true(buf_failed(&b));
    assert_string_equal(buf_str(&b), "0123456789");
    assert_true(buf_truncate(&b, 5));
    assert_false(buf_truncate(&b, 6));
    assert_true(buf_failed(&b));
    buf_clear(&b);
    assert_false(buf_failed(&b));
    assert_true(buf_printf(&b, "%d-%s", 12345, "abcd"));
    assert_string_equal(buf_str(&b), "12345-abcd");
    buf_clear(&b);
    assert_false(buf_printf(&b, "%d-%s", 12345, "abcde"));
    assert_string_equal(buf_str(&b), "");
    buf_done(&b);
}

/* Content survives growth, consuming from the front, and stealing. */
static void test_buf_content(void **state)
{
    struct buf b;
    buf_init(&b, 100000);
    assert_string_equal(buf_str(&b), "");
    for (int i = 0; i < 10000; i++)
        assert_true(buf_printf(&b, "%04d,", i));
    assert_int_equal(buf_slice(&b).size, 50000);
    buf_consume(&b, 5 * 9998);
    assert_string_equal(buf_str(&b), "9998,9999,");
    char *p = buf_steal(&b);
    assert_string_equal(p, "9998,9999,");
    assert_int_equal(buf_slice(&b).size, 0);
    mem_free(p);
    p = buf_steal(&b);
    assert_string_equal(p, "");
    mem_free(p);
    buf_done(&b);
}

/* Allocations are aligned, distinct, and keep what was written, over block limits and after a clear. */
static void test_arena_blocks(void **state)
{
    struct arena a;
    arena_init(&a, 1 << 20);
    for (int round = 0; round < 3; round++) {
        unsigned char *p[400];
        for (size_t i = 0; i < 400; i++) {
            size_t size = i * 7 % 900 + (i % 50 == 49 ? 5000 : 0);
            p[i] = arena_alloc(&a, size);
            assert_non_null(p[i]);
            assert_int_equal((uintptr_t)p[i] % 16, 0);
            memset(p[i], (int)(i & 0xff), size);
        }
        for (size_t i = 0; i < 400; i++) {
            size_t size = i * 7 % 900 + (i % 50 == 49 ? 5000 : 0);
            for (size_t k = 0; k < size; k++)
                assert_int_equal(p[i][k], i & 0xff);
        }
        assert_false(arena_overflowed(&a));
        arena_clear(&a);
        assert_int_equal(arena_size(&a), 0);
    }
    arena_done(&a);
}

/* What needed two blocks once lies in one after a clear, and stays there. */
static void test_arena_again(void **state)
{
#ifndef __SANITIZE_ADDRESS__
    struct arena a;
    arena_init(&a, 1 << 20);
    char *kept = NULL;
    for (int round = 0; round < 4; round++) {
        char *first = arena_alloc(&a, 1600), *second = arena_alloc(&a, 1600), *third = arena_alloc(&a, 400);
        assert_non_null(third);
        if (round > 0) {
            assert_ptr_equal(second, first + 1600);
            assert_ptr_equal(third, second + 1600);
        }
        if (round > 1)
            assert_ptr_equal(first, kept);
        kept = first;
        arena_clear(&a);
    }
    arena_done(&a);
#endif
}

/* Over the ceiling an allocation fails and the arena remembers; what was given before stays usable. */
static void test_arena_ceiling(void **state)
{
    struct arena a;
    arena_init(&a, 100);
    char *s = arena_strdup(&a, SLICE("hello"));
    assert_non_null(s);
    assert_null(arena_alloc(&a, 100));
    assert_true(arena_overflowed(&a));
    assert_string_equal(s, "hello");
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 8));
    arena_clear(&a);
    assert_false(arena_overflowed(&a));
    assert_string_equal(arena_printf(&a, "%s-%d", "x", 7), "x-7");
    arena_done(&a);
}

/* Maps agree with a plain array through many puts, replacements and removals. */
static void test_map(void **state)
{
    enum { KEYS = 300 };
    struct map m;
    static int values[2];
    int *expected[KEYS] = {0};
    map_init(&m, (const uint64_t[2]){1, 2});
    uint32_t random = 12345;
    for (int step = 0; step < 20000; step++) {
        random = random * 1664525 + 1013904223;
        size_t i = random >> 8 & 0xffff;
        i %= KEYS;
        char key[16];
        int size = snprintf(key, sizeof key, "k%zu", i);
        struct slice k = slice_make(key, (size_t)size);
        assert_ptr_equal(map_get(&m, k), expected[i]);
        if (random >> 30 == 0) {
            assert_ptr_equal(map_remove(&m, k), expected[i]);
            expected[i] = NULL;
        } else {
            expected[i] = &values[random >> 29 & 1];
            assert_true(map_put(&m, k, expected[i]));
        }
    }
    size_t count = 0, pos = 0, seen = 0;
    for (size_t i = 0; i < KEYS; i++)
        count += expected[i] != NULL;
    struct slice key;
    void *value;
    while (map_next(&m, &pos, &key, &value)) {
        uint64_t i;
        assert_true(slice_to_u64(slice_from(key, 1), &i));
        assert_ptr_equal(value, expected[i]);
        seen++;
    }
    assert_int_equal(map_count(&m), count);
    assert_int_equal(seen, count);
    assert_true(map_put(&m, SLICE(""), &values[0]));
    assert_ptr_equal(map_get(&m, SLICE_NONE), &values[0]);
    map_done(&m);
    assert_null(map_get(&m, SLICE("")));
}

/* The hash is SipHash-1-3: it gives the reference values for key 00..0f and message 00, 00 01, ... */
static void test_sip13(void **state)
{
    const uint64_t seed[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    static const uint64_t expected[] = {UINT64_C(0xabac0158050fc4dc), UINT64_C(0xc9f49bf37d57ca93), UINT64_C(0x82cb9b024dc7d44d),
                                        UINT64_C(0x8bf80ab8e7ddf7fb)};
    const unsigned char message[] = {0, 1, 2, 3};
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++)
        assert_true(hash_sip13(seed, message, i) == expected[i]);
}

/* Messages are kept whole or cut, never overrun; wrapping puts the context first. */
static void test_errors(void **state)
{
    struct ficus_error e = {0};
    assert_int_equal(err_set(&e, FICUS_ERR_NOT_FOUND, "file %d", 7), FICUS_ERR_NOT_FOUND);
    assert_int_equal(err_wrap(&e, "open %s", "store"), FICUS_ERR_NOT_FOUND);
    assert_string_equal(e.text, "open store: file 7");
    assert_int_equal(err_sys(&e, ENOSPC, "write"), FICUS_ERR_FULL);
    assert_int_equal(e.sys_errno, ENOSPC);
    assert_string_equal(e.text, "write: No space left on device");
    assert_int_equal(err_set(NULL, FICUS_ERR_BUSY, "x"), FICUS_ERR_BUSY);
    char big[2000];
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    (void)err_set(&e, FICUS_ERR_IO, "%s", big);
    assert_int_equal(strlen(e.text), FICUS_ERROR_TEXT_MAX - 1);
    for (int i = 0; i < 300; i++) {
        (void)err_wrap(&e, "c%d", i);
        assert_true(strlen(e.text) < FICUS_ERROR_TEXT_MAX);
    }
    (void)err_wrap(&e, "%s", big);
    assert_true(strlen(e.text) < FICUS_ERROR_TEXT_MAX);
    for (int code = 0; code < FICUS_ERR_COUNT; code++)
        assert_true(strlen(err_text((enum ficus_err)code)) > 3 && err_http_status((enum ficus_err)code) >= 200);
    assert_int_equal(err_from_errno(EROFS), FICUS_ERR_READ_ONLY);
    assert_int_equal(err_from_errno(ECONNREFUSED), FICUS_ERR_REFUSED);
}

/* Comparison in constant time gives the answers of memcmp; array sizes that overflow are refused. */
static void test_mem(void **state)
{
    assert_true(mem_equal_const_time("abc", "abc", 3));
    assert_false(mem_equal_const_time("abc", "abd", 3));
    assert_true(mem_equal_const_time("x", "y", 0));
    volatile size_t half = SIZE_MAX / 2;
    assert_null(mem_array(half, 3));
    char *s = mem_strndup("a\0b", 3);
    assert_memory_equal(s, "a\0b\0", 4);
    mem_wipe(s, 3);
    assert_memory_equal(s, "\0\0\0", 3);
    MEM_FREE(s);
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slice_numbers), cmocka_unit_test(test_slice_parts), cmocka_unit_test(test_buf_ceiling),
        cmocka_unit_test(test_buf_content), cmocka_unit_test(test_arena_blocks), cmocka_unit_test(test_arena_again), cmocka_unit_test(test_arena_ceiling),
        cmocka_unit_test(test_map), cmocka_unit_test(test_sip13), cmocka_unit_test(test_errors), cmocka_unit_test(test_mem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
