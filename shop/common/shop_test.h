/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the shop's services have alike: one service under libficus_test, requests as the shop's callers
 * make them, and looks into what came of them. Header only; one test program includes it once.
 */
#ifndef SHOP_COMMON_SHOP_TEST_H
#define SHOP_COMMON_SHOP_TEST_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ficus/test.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct ficus_test *t;
static const char *migrations = "migrations";

#define ADMIN "admin-1"

/* ---- requests ---- */

static inline struct ficus_test_answer as_anyone(const char *method, const char *path, const char *body)
{
    return ficus_test_call(t, &(struct ficus_test_request){.method = method, .path = path, .body = body});
}

static inline struct ficus_test_answer as_user(const char *user, const char *method, const char *path, const char *body)
{
    return ficus_test_call(t, &(struct ficus_test_request){.method = method, .path = path, .body = body, .user = user});
}

static inline struct ficus_test_answer as_admin(const char *method, const char *path, const char *body)
{
    return ficus_test_call(
        t, &(struct ficus_test_request){.method = method, .path = path, .body = body, .user = ADMIN, .role = "admin"});
}

/* caller: the name of another service; "hub" is who calls the steps of sagas. */
static inline struct ficus_test_answer as_service(const char *caller, const char *method, const char *path,
                                                  const char *body)
{
    return ficus_test_call(
        t, &(struct ficus_test_request){.method = method, .path = path, .body = body, .caller = caller});
}

static inline struct ficus_test_answer as_saga(const char *method, const char *path, const char *body)
{
    return as_service("hub", method, path, body);
}

/* ---- looking ---- */

static inline void expect(const char *file, int line, struct ficus_test_answer a, int status, const char *const *parts)
{
    if (a.status != status) {
        print_error("status %d instead of %d: %s\n", a.status, status, a.body);
        _fail(file, line);
    }
    for (; *parts != NULL; parts++)
        if (strstr(a.body, *parts) == NULL) {
            print_error("no %s in: %s\n", *parts, a.body);
            _fail(file, line);
        }
    if (status >= 400 && a.content_type != NULL && strcmp(a.content_type, "application/problem+json") != 0 &&
        strcmp(a.content_type, "application/json") != 0) {
        print_error("an error as %s\n", a.content_type);
        _fail(file, line);
    }
}

/* The answer has this status, and its compact JSON holds each of the pieces of text. */
#define EXPECT(answer, status, ...) \
    expect(__FILE__, __LINE__, (answer), (status), (const char *const[]){"", ##__VA_ARGS__, NULL})

/* The 400 names this place of the input. */
#define EXPECT_INVALID(answer, place) EXPECT(answer, 400, "\"errors\":[", "\"pointer\":\"" place "\"")

static inline size_t count_of(const char *text, const char *part)
{
    size_t n = 0;
    while ((text = strstr(text, part)) != NULL) {
        n++;
        text += strlen(part);
    }
    return n;
}

/* The first text (or bare word) that stands behind this key; lives for 128 more. "" when there is none. */
static inline const char *value_of(const char *json, const char *key)
{
    static char values[128][1024];
    static unsigned next;
    char name[64];
    char *value = values[next++ % 128];
    *value = '\0';
    snprintf(name, sizeof name, "\"%s\":", key);
    const char *at = strstr(json, name);
    if (at == NULL)
        return value;
    at += strlen(name);
    size_t size = *at == '"' ? strcspn(++at, "\"") : strcspn(at, ",]}");
    assert_true(size < sizeof values[0]);
    memcpy(value, at, size);
    value[size] = '\0';
    return value;
}

static inline void expect_emitted(const char *file, int line, size_t index, const char *topic, const char *subject,
                                  const char *data)
{
    const char *event = ficus_test_emitted(t, index);
    if (event == NULL) {
        print_error("only %zu events were emitted\n", ficus_test_emitted_count(t));
        _fail(file, line);
        return;
    }
    if (strcmp(value_of(event, "type"), topic) != 0 || strcmp(value_of(event, "subject"), subject) != 0 ||
        strstr(event, data) == NULL) {
        print_error("not %s of %s with %s: %s\n", topic, subject, data, event);
        _fail(file, line);
    }
}

/* The event at this index (from 0) has this topic and subject, and its data is or holds this text. */
#define EXPECT_EMITTED(index, topic, subject, data) \
    expect_emitted(__FILE__, __LINE__, (index), (topic), (subject), (data))
#define EXPECT_EMITTED_COUNT(count) assert_int_equal(ficus_test_emitted_count(t), (count))

/* What every list promises about `limit` and `after`. query: "" or more filters, each with & at its end. */
static inline void check_page_faults(const char *user, const char *role, const char *path)
{
    static const char *const limits[] = {"0", "101", "-1", "x", "1x", "", "99999999999999999999", "1.5"};
    static const char *const cursors[] = {"", "x", "1", "1-0000", "1-", "-1-ffff", "ffffffffffffffffff-0000"};
    char full[200];
    struct ficus_test_request r = {.method = "GET", .path = full, .user = user, .role = role};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        snprintf(full, sizeof full, "%s?limit=%s", path, limits[i]);
        EXPECT_INVALID(ficus_test_call(t, &r), "/limit");
    }
    for (size_t i = 0; i < sizeof cursors / sizeof cursors[0]; i++) {
        snprintf(full, sizeof full, "%s?after=%s", path, cursors[i]);
        EXPECT_INVALID(ficus_test_call(t, &r), "/after");
    }
    static const char *const undecodable[] = {"after=%00", "after=%zz", "limit=%1"};
    for (size_t i = 0; i < sizeof undecodable / sizeof undecodable[0]; i++) {
        snprintf(full, sizeof full, "%s?%s", path, undecodable[i]);
        EXPECT(ficus_test_call(t, &r), 400);
    }
    snprintf(full, sizeof full, "%s?limit=0&after=x", path);
    EXPECT(ficus_test_call(t, &r), 400, "\"/limit\"", "\"/after\"");
    snprintf(full, sizeof full, "%s?limit=100", path);
    EXPECT(ficus_test_call(t, &r), 200, "\"next\":null");
}

/* Walk a list page by page. ret_keys: the values of `key`, each followed by a blank, in the list's order. */
static inline size_t walk_list(const char *user, const char *role, const char *path, int limit, const char *key,
                               char *ret_keys, size_t keys_size)
{
    char full[300];
    size_t pages = 0, used = 0;
    const char *next = "";
    *ret_keys = '\0';
    do {
        snprintf(full, sizeof full, "%s%climit=%d%s%s", path, strchr(path, '?') == NULL ? '?' : '&', limit,
                 *next == '\0' ? "" : "&after=", next);
        struct ficus_test_answer a = ficus_test_call(
            t, &(struct ficus_test_request){.method = "GET", .path = full, .user = user, .role = role});
        EXPECT(a, 200, "\"items\":[", "\"next\":");
        char name[64];
        snprintf(name, sizeof name, "\"%s\":", key);
        assert_true(count_of(a.body, name) <= (size_t)limit);
        for (const char *at = a.body; (at = strstr(at, name)) != NULL; at++) {
            used += (size_t)snprintf(ret_keys + used, keys_size - used, "%s ", value_of(at, key));
            assert_true(used < keys_size);
        }
        next = value_of(a.body, "next");
        pages++;
        assert_true(pages < 1000);
    } while (strcmp(next, "null") != 0);
    return pages;
}

static inline int shop_run_tests(const char *name, const struct CMUnitTest *tests, size_t count, int argc, char **argv)
{
    if (argc > 1)
        migrations = argv[1];
    return _cmocka_run_group_tests(name, tests, count, NULL, NULL);
}

#endif
