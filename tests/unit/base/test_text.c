/* SPDX-License-Identifier: Apache-2.0
 *
 * Encodings, times, durations and ids as text.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "mem.h"
#include "hex.h"
#include "text.h"
#include "timefmt.h"
#include "uuid.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Encoding any bytes as base64url and decoding gives them back; RFC 4648's vectors hold. */
static void test_base64url(void **state)
{
    static const struct { const char *plain, *coded; } cases[] = {
        {"", ""}, {"f", "Zg"}, {"fo", "Zm8"}, {"foo", "Zm9v"}, {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"},
        {"\xfb\xff\xfe", "-__-"},
    };
    struct arena a;
    struct buf b;
    struct slice out;
    arena_init(&a, 1 << 16);
    buf_init(&b, 1000);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        buf_clear(&b);
        assert_true(text_base64url(&b, cases[i].plain, strlen(cases[i].plain)));
        assert_string_equal(buf_str(&b), cases[i].coded);
        assert_true(text_base64url_decode(&a, slice_str(cases[i].coded), &out));
        assert_true(slice_eq_str(out, cases[i].plain));
    }
    static const char *const wrong[] = {"A", "Zg==", "Zh", "Zm9", "Zm 9v", "Zm+v", "Zm/v", "Zg\n", "AAAAA"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        assert_false(text_base64url_decode(&a, slice_str(wrong[i]), &out));
    buf_done(&b);
    arena_done(&a);
}

/* Percent-encoding a segment leaves only unreserved characters and decodes to the same bytes. */
static void test_percent(void **state)
{
    struct arena a;
    struct buf b;
    struct slice out;
    unsigned char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (unsigned char)i;
    arena_init(&a, 1 << 16);
    buf_init(&b, 1000);
    assert_true(text_percent_segment(&b, slice_make(all, sizeof all)));
    assert_null(strpbrk(buf_str(&b), "/?#+&= "));
    char put[3 * sizeof all];
    assert_int_equal(text_percent_size(slice_make(all, sizeof all)), buf_slice(&b).size);
    assert_true(slice_eq(slice_make(put, (size_t)(text_percent_put(put, slice_make(all, sizeof all)) - put)), buf_slice(&b)));
    assert_true(text_percent_decode(&a, buf_slice(&b), true, &out));
    assert_true(slice_eq(out, slice_make(all, sizeof all)));
    assert_true(text_percent_decode(&a, SLICE("a+b%2B"), true, &out) && slice_eq_str(out, "a b+"));
    assert_true(text_percent_decode(&a, SLICE("a+b"), false, &out) && slice_eq_str(out, "a+b"));
    assert_false(text_percent_decode(&a, SLICE("%"), false, &out));
    assert_false(text_percent_decode(&a, SLICE("%4"), false, &out));
    assert_false(text_percent_decode(&a, SLICE("%g0"), false, &out));
    buf_clear(&b);
    assert_true(text_hex(&b, "\x00\xff\x1a", 3));
    assert_string_equal(buf_str(&b), "00ff1a");
    buf_done(&b);
    arena_done(&a);
}

/* Eight bytes together have the digits that each has by itself: every byte at every place, in pieces of every size. */
static void test_hex_together(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t bytes[20];
        char expected[41], digits[41];
        for (size_t i = 0; i < sizeof bytes; i++) {
            bytes[i] = (uint8_t)(byte + 13 * i);
            snprintf(expected + 2 * i, 3, "%02x", bytes[i]);
        }
        for (size_t size = 0; size <= sizeof bytes; size++) {
            memset(digits, 'x', sizeof digits);
            assert_ptr_equal(hex_put(digits, bytes, size), digits + 2 * size);
            assert_memory_equal(digits, expected, 2 * size);
            assert_int_equal(digits[2 * size], 'x');
        }
    }
}

/* Copies of every size are whole and touch nothing behind them. */
static void test_slice_put(void **state)
{
    (void)state;
    char from[80], to[82];
    for (size_t i = 0; i < sizeof from; i++)
        from[i] = (char)('!' + i);
    for (size_t size = 0; size <= sizeof from; size++) {
        memset(to, 'x', sizeof to);
        assert_ptr_equal(slice_put(to + 1, slice_make(from, size)), to + 1 + size);
        assert_memory_equal(to + 1, from, size);
        assert_true(to[0] == 'x' && to[1 + size] == 'x');
    }
    assert_ptr_equal(slice_put(to, SLICE_NONE), to);
}

/* Reference decoder, by the definition: decode, then refuse overlong forms, surrogates and what is too high. */
static size_t utf8_oracle(const unsigned char *s, size_t size)
{
    size_t length = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    if (length == 0 || length > size)
        return 0;
    uint32_t c = length == 1 ? s[0] : s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (s[i] >> 6 != 2)
            return 0;
        c = c << 6 | (s[i] & 63);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    return c < least[length] || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff ? 0 : length;
}

/* The UTF-8 check agrees with the definition for all pairs of first bytes, each with several tails and cut at each size. */
static void test_i64(void **state)
{
    static const int64_t values[] = {0, 7, -1, 10, 12345678901, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char text[TEXT_I64_SIZE], wanted[32];
        size_t size = text_i64(values[i], text);
        assert_int_equal(size, snprintf(wanted, sizeof wanted, "%lld", (long long)values[i]));
        assert_string_equal(text, wanted);
    }
    for (int64_t value = -1100; value <= 1100; value++) {
        char text[TEXT_I64_SIZE], wanted[32];
        assert_int_equal(text_i64(value, text), snprintf(wanted, sizeof wanted, "%lld", (long long)value));
        assert_string_equal(text, wanted);
    }
    for (int64_t power = 1; power > 0 && power < INT64_MAX / 10; power *= 10)
        for (int64_t value = power - 2; value <= power + 101; value++) {
            char text[TEXT_I64_SIZE], wanted[32];
            assert_int_equal(text_i64(value, text), snprintf(wanted, sizeof wanted, "%lld", (long long)value));
            assert_string_equal(text, wanted);
        }
}

static void test_utf8(void **state)
{
    static const unsigned char tails[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
    for (unsigned first = 0; first < 256; first++)
        for (unsigned second = 0; second < 256; second++)
            for (size_t i = 0; i < ARRAY_COUNT(tails); i++) {
                unsigned char s[4] = {(unsigned char)first, (unsigned char)second, tails[i], 0x80};
                for (size_t size = 1; size <= 4; size++)
                    assert_int_equal(text_utf8_step((const char *)s, size), utf8_oracle(s, size));
            }
    assert_true(text_utf8_valid(SLICE("plain text longer than eight \xe2\x82\xac and more text")));
    assert_false(text_utf8_valid(SLICE("plain text longer than eight \xe2\x82 and more text")));
    assert_false(text_utf8_valid(SLICE("12345678\x80")));
    assert_true(text_utf8_valid(SLICE_NONE));
    assert_true(text_printable_ascii(SLICE("a ~")));
    assert_false(text_printable_ascii(SLICE("a\x7f")));
    assert_false(text_printable_ascii(SLICE("\xc3\xa9")));
}

/* A near word is suggested, a far one not. */
static void test_nearest(void **state)
{
    static const char *const words[] = {"timeout", "retry", "breaker", "attempts"};
    assert_string_equal(text_nearest(SLICE("timeuot"), words, 4), "timeout");
    assert_string_equal(text_nearest(SLICE("time_out"), words, 4), "timeout");
    assert_string_equal(text_nearest(SLICE("retries"), words, 4) == NULL ? "none" : "some", "none");
    assert_string_equal(text_nearest(SLICE("braeker"), words, 4), "breaker");
    assert_null(text_nearest(SLICE("ab"), words, 4));
    assert_null(text_nearest(SLICE("something else entirely"), words, 4));
}

/* Formatting agrees with the C library's calendar, and parsing gives the time back, from year 1 to 9999. */
static void test_times(void **state)
{
    uint64_t random = 1;
    for (int i = 0; i < 20000; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        int64_t ms = (int64_t)(random >> 20) % INT64_C(253402300799999);
        if (i % 3 == 0)
            ms = -(ms % INT64_C(62135596800000));
        char text[TIME_TEXT_SIZE], expected[64], whole[32];
        time_format(ms, text);
        int64_t seconds = ms >= 0 ? ms / 1000 : (ms - 999) / 1000;
        time_t t = (time_t)seconds;
        struct tm tm;
        assert_non_null(gmtime_r(&t, &tm));
        assert_true(strftime(whole, sizeof whole, "%m-%dT%H:%M:%S", &tm) > 0);
        (void)snprintf(expected, sizeof expected, "%04d-%s.%03dZ", tm.tm_year + 1900, whole, (int)(ms - seconds * 1000));
        assert_string_equal(text, expected);
        int64_t back = 0;
        assert_true(time_parse(slice_str(text), &back));
        assert_true(back == ms);
    }
}

/* Offsets and fractions are understood; what is no RFC 3339 time is refused. */
static void test_time_forms(void **state)
{
    int64_t a, b;
    assert_true(time_parse(SLICE("2026-11-21T01:02:03Z"), &a));
    assert_true(time_parse(SLICE("2026-11-21T03:02:03.000+02:00"), &b) && a == b);
    assert_true(time_parse(SLICE("2026-11-20T20:32:03.0-04:30"), &b) && a == b);
    assert_true(time_parse(SLICE("2026-11-21T01:02:03.1239Z"), &b) && b == a + 123);
    assert_true(time_parse(SLICE("2024-02-29T00:00:00Z"), &b));
    static const char *const wrong[] = {"", "2026-11-21", "2026-11-21T01:02:03", "2026-13-21T01:02:03Z", "2026-02-29T01:02:03Z",
        "2026-11-21T24:02:03Z", "2026-11-21T01:60:03Z", "2026-11-21T01:02:61Z", "2026-11-21T01:02:03.Z", "2026-11-21T01:02:03+0200",
        "2026-11-21T01:02:03+24:00", "2026-11-21T01:02:03Zx", "226-11-21T01:02:03Z", "2026-11-00T01:02:03Z"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        assert_false(time_parse(slice_str(wrong[i]), &b));
}

/* Durations need a unit, do not overflow, and print in their shortest form. */
static void test_durations(void **state)
{
    static const struct { const char *text; int64_t ms; const char *shortest; } cases[] = {
        {"0ms", 0, "0ms"}, {"0d", 0, "0ms"}, {"200ms", 200, "200ms"}, {"3s", 3000, "3s"}, {"3000ms", 3000, "3s"}, {"60s", 60000, "1m"},
        {"90s", 90000, "90s"}, {"10m", 600000, "10m"}, {"24h", 86400000, "1d"}, {"7d", 604800000, "7d"},
    };
    char text[32];
    int64_t ms;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_true(duration_parse(slice_str(cases[i].text), &ms));
        assert_true(ms == cases[i].ms);
        duration_format(ms, text, sizeof text);
        assert_string_equal(text, cases[i].shortest);
    }
    static const char *const wrong[] = {"", "3", "s", "-3s", "+3s", "3 s", " 3s", "3s ", "3S", "1.5s", "1h30m", "3sec", "99999999999999999999s", "9223372036854775807s"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        assert_false(duration_parse(slice_str(wrong[i]), &ms));
}

/* Ids sort by their time, carry version 7 and variant 2, and hold the random bits given. */
static void test_uuid(void **state)
{
    char a[UUID_TEXT_SIZE], b[UUID_TEXT_SIZE];
    const uint8_t random[10] = {0xff, 0xff, 0xff, 0xff, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06};
    /* RFC 9562, appendix A.6 has this time: 0x017F22E279B0. */
    uuid_v7(INT64_C(0x017f22e279b0), random, a);
    assert_string_equal(a, "017f22e2-79b0-7fff-bfff-010203040506");
    uuid_v7(INT64_C(0x017f22e279b1), (const uint8_t[10]){0}, b);
    assert_true(strcmp(a, b) < 0);
    assert_true(uuid_valid(slice_str(a)));
    uint8_t made[16];
    memset(made, 0xff, sizeof made);
    uuid_v8(made, b);
    assert_string_equal(b, "ffffffff-ffff-8fff-bfff-ffffffffffff");
    assert_true(uuid_valid(SLICE("017F22E2-79B0-7FFF-BFFF-010203040506")));
    assert_false(uuid_valid(SLICE("017f22e2-79b0-7fff-bfff-01020304050")));
    assert_false(uuid_valid(SLICE("017f22e2x79b0-7fff-bfff-010203040506")));
    assert_false(uuid_valid(SLICE("017f22g2-79b0-7fff-bfff-010203040506")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64url), cmocka_unit_test(test_percent), cmocka_unit_test(test_utf8), cmocka_unit_test(test_i64), cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_times), cmocka_unit_test(test_time_forms), cmocka_unit_test(test_durations), cmocka_unit_test(test_uuid), cmocka_unit_test(test_hex_together), cmocka_unit_test(test_slice_put),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
