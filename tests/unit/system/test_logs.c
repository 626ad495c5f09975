/* SPDX-License-Identifier: Apache-2.0
 *
 * One stream from many logs.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "logs.h"
#include "mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char dir[64];
static struct buf out;

static void put(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void append(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_APPEND);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void rotate(const char *name)
{
    char from[128], to[136];
    snprintf(from, sizeof from, "%s/%s", dir, name);
    snprintf(to, sizeof to, "%s.old", from);
    assert_int_equal(rename(from, to), 0);
}

static void unlink_in(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(unlink(path), 0);
}

#define LINE(second, service, level, more)                                                           \
    "{\"time\":\"2026-11-21T01:02:0" second ".000Z\",\"level\":\"" level "\",\"service\":\"" service \
    "\",\"msg\":\"m" second "\"" more "}\n"

static int set_up(void **state)
{
    snprintf(dir, sizeof dir, "/tmp/ficus-logs-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    put("a.1.log.old", LINE("1", "a", "info", ",\"trace\":\"t1\""));
    put("a.1.log",
        LINE("4", "a", "error", ",\"correlation\":\"t1\"") "Segmentation fault\n" LINE("6", "a", "info", ""));
    put("b.1.log", LINE("2", "b", "warn", "") LINE("5", "b", "debug", ",\"trace\":\"t1\",\"n\":7"));
    put("supervisor.log", LINE("3", "supervisor", "info", ""));
    put("other.txt", "no log\n");
    buf_init(&out, 1 << 20);
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"a.1.log.old", "a.1.log", "b.1.log", "supervisor.log", "other.txt"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    buf_done(&out);
    return rmdir(dir);
}

static bool collect(void *arg, struct slice line)
{
    buf_add_slice(&out, line);
    return true;
}

static const char *read_with(struct logs_query q)
{
    q.folder = dir;
    buf_clear(&out);
    assert_int_equal(logs_read(&q, collect, NULL, NULL), FICUS_ERR_OK);
    return buf_str(&out);
}

/* All lines come in the order of time, over files and rotation; what is no line of ours stays behind the one before it.
 * */
static void test_order(void **state)
{
    const char *text = read_with((struct logs_query){.json = true});
    const char *at = text;
    static const char *const wanted[] = {"m1", "m2", "m3", "m4", "Segmentation fault", "m5", "m6"};
    for (size_t i = 0; i < ARRAY_COUNT(wanted); i++) {
        at = strstr(at, wanted[i]);
        assert_non_null(at);
    }
    assert_null(strstr(text, "no log"));
    assert_non_null(strstr(text, "\"service\":\"a\",\"msg\":\"Segmentation fault\"}"));
}

/* Services, level, trace or correlation id, and count choose lines. */
static void test_choose(void **state)
{
    static const char *const b[] = {"b"}, *const nobody[] = {"b", "nobody"};
    const char *text = read_with((struct logs_query){.json = true, .services = b, .service_count = 1});
    assert_non_null(strstr(text, "m2"));
    assert_null(strstr(text, "m1"));
    text = read_with((struct logs_query){.json = true, .level_min = LOG_WARN});
    assert_non_null(strstr(text, "m2"));
    assert_non_null(strstr(text, "m4"));
    assert_non_null(strstr(text, "Segmentation fault"));
    assert_null(strstr(text, "m5"));
    text = read_with((struct logs_query){.json = true, .trace = "t1"});
    assert_non_null(strstr(text, "m1"));
    assert_non_null(strstr(text, "m4"));
    assert_non_null(strstr(text, "m5"));
    assert_null(strstr(text, "m2"));
    assert_null(strstr(text, "Segmentation"));
    assert_string_equal(read_with((struct logs_query){.json = true, .last_max = 2}),
                        LINE("5", "b", "debug", ",\"trace\":\"t1\",\"n\":7") LINE("6", "a", "info", ""));
    struct logs_query q = {.folder = dir, .services = nobody, .service_count = 2};
    assert_int_equal(logs_read(&q, collect, NULL, NULL), FICUS_ERR_INVALID);
}

/* What follows is written when the last line that was there has come: more lines, the begin of one, the log of a new
 * process; then the first log is rotated, and its line ends in the new file's time. */
static bool collect_following(void *arg, struct slice line)
{
    int *count = arg;
    buf_add_slice(&out, line);
    switch (++*count) {
    case 2: /* of -n 2 */
        append("a.1.log", LINE("7", "a", "info", "") "{\"time\":\"2026-11-21T01:02:08.000Z\",");
        put("c.1.log", LINE("7", "c", "info", ",\"n\":1"));
        return true;
    case 4:
        append("a.1.log", "\"msg\":\"m8\"}\n");
        rotate("a.1.log");
        put("a.1.log", LINE("9", "a", "info", ""));
        return true;
    default: return *count < 6;
    }
}

static void test_follow(void **state)
{
    int count = 0;
    struct logs_query q = {.folder = dir, .last_max = 2, .follow = true};
    assert_int_equal(logs_read(&q, collect_following, &count, NULL), FICUS_ERR_OK);
    static const char *const expected[] = {"m5", "m6", "m7", "m7 n=1", "m8", "m9"};
    const char *at = buf_str(&out);
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
        if ((at = strstr(at, expected[i])) == NULL)
            fail_msg("%s is not where it should be in\n%s", expected[i], buf_str(&out));
        at++;
    }
    assert_int_equal(count, 6);
    unlink_in("c.1.log");
}

/* For people: time, level, process, message, then the line's own members; control characters cannot reach the terminal.
 * */
static void test_human(void **state)
{
    put("b.1.log", LINE("5", "b", "warn", ",\"n\":7,\"s\":\"x\\u001b[2Jy\""));
    const char *text = read_with((struct logs_query){.services = (const char *const[]){"b"}, .service_count = 1});
    assert_string_equal(text, "01:02:05.000 warn  b             m5 n=7 s=x?[2Jy\n");
}

/* A line longer than the buffer comes in pieces and disturbs no other. */
static void test_long_line(void **state)
{
    char *text = mem_alloc(100001);
    memset(text, 'x', 100000);
    text[99999] = '\n';
    text[100000] = '\0';
    put("b.1.log", text);
    mem_free(text);
    const char *all = read_with((struct logs_query){.json = true});
    assert_non_null(strstr(all, "m6"));
    size_t count = 0;
    for (const char *p = all; *p != '\0'; p++)
        count += *p == 'x';
    assert_int_equal(count, 99999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_choose, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_follow, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_human, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_line, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
