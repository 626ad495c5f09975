/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of a folder, served by the gateway: which ones, how, and that nothing else can be named.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "gateway_rig.h"

#include <ftw.h>
#include <sys/stat.h>

#define HOST "Host: " RIG_HOST "\r\n"
#define CLOSE "Connection: close\r\n"
#define REQUEST(line) line " HTTP/1.1\r\n" HOST CLOSE
#define PAGE "Accept: text/html,application/xhtml+xml;q=0.9\r\n"

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

/* ---- a folder ---- */

struct site {
    struct rig *rig;
    char folder[64];
};

static void put(const struct site *s, const char *name, const char *text)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", s->folder, name);
    for (char *p = path + strlen(s->folder) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        (void)mkdir(path, 0700); /* it may be there */
        *p = '/';
    }
    file_write(path, text);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void site_init(struct site *s)
{
    s->rig = NULL;
    (void)snprintf(s->folder, sizeof s->folder, "/tmp/ficus-files-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    put(s, "index.html", "<p>front");
    put(s, "app.js", "let a");
    put(s, "styles/main.css", "p{}");
    put(s, "help/index.html", "<p>help");
    put(s, "a b.txt", "blank");
    put(s, "empty.json", "");
    put(s, "what.ever", "?");
    put(s, ".secret", "hidden");
    put(s, ".git/config", "hidden");
    char link[96];
    (void)snprintf(link, sizeof link, "%s/link.txt", s->folder);
    assert_int_equal(symlink("/etc/hostname", link), 0);
    (void)snprintf(link, sizeof link, "%s/etc", s->folder);
    assert_int_equal(symlink("/etc", link), 0);
    (void)snprintf(link, sizeof link, "%s/pipe", s->folder);
    assert_int_equal(mkfifo(link, 0600), 0);
}

static void site_start(struct site *s)
{
    struct rig *r = s->rig = rig_new(false);
    gateway_stop(r);
    r->routes[r->config.route_count++] =
        (struct proxy_route){.method = "", .path = "/**", .files = s->folder, .page = "index.html"};
    r->routes[r->config.route_count++] = (struct proxy_route){.method = "", .path = "/plain/**", .files = s->folder};
    gateway_start(r);
    rig_wait(r, is_ready, r);
}

static void site_done(struct site *s)
{
    if (s->rig != NULL)
        rig_free(s->rig);
    assert_int_equal(nftw(s->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- tests ---- */

struct expected {
    const char *request;
    int status;
    const char *parts[3]; /* of the answer */
};

static void check_all(struct rig *r, const struct expected *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *answer = ask(r, cases[i].request);
        if (status_of(answer) != cases[i].status)
            fail_msg("%s: %s", cases[i].request, answer);
        for (size_t k = 0; k < 3 && cases[i].parts[k] != NULL; k++)
            if (!has(answer, cases[i].parts[k]))
                fail_msg("%s: no %s in %s", cases[i].request, cases[i].parts[k], answer);
        assert_true(has(answer, "X-Request-ID: ") && has(answer, "traceparent: ") && has(answer, "nosniff"));
        assert_false(has(answer, "hidden"));
    }
}

/* Each kind of file comes with its type; folders show their index; pages without a file fall back; all else is a
 * problem. */
static void test_served(void **state)
{
    static const struct expected cases[] = {
        {REQUEST("GET /") "\r\n", 200, {"text/html; charset=utf-8\r\n", "Content-Length: 8\r\n", "\r\n\r\n<p>front"}},
        {REQUEST("GET /index.html?x=1") "\r\n", 200, {"<p>front"}},
        {REQUEST("GET /app.js") "\r\n", 200, {"text/javascript; charset=utf-8\r\n", "Cache-Control: no-cache\r\n",
                                             "let a"}},
        {REQUEST("GET /styles/main.css") "\r\n", 200, {"Content-Type: text/css; charset=utf-8\r\n", "p{}"}},
        {REQUEST("GET /styles/%6dain.css") "\r\n", 200, {"p{}"}},
        {REQUEST("GET /a%20b.txt") "\r\n", 200, {"text/plain; charset=utf-8", "blank"}},
        {REQUEST("GET /empty.json") "\r\n", 200, {"application/json", "Content-Length: 0\r\n"}},
        {REQUEST("GET /what.ever") "\r\n", 200, {"application/octet-stream"}},
        {REQUEST("GET /help/") "\r\n", 200, {"<p>help"}},
        {REQUEST("GET /help?a=b") "\r\n", 308, {"Location: /help/?a=b\r\n", "Content-Length: 0\r\n"}},
        {REQUEST("GET /plain/app.js") "\r\n", 200, {"let a"}},
        {REQUEST("GET /plain/help") "\r\n", 308, {"Location: /plain/help/\r\n"}},
        {REQUEST("GET /orders/17") PAGE "\r\n", 200, {"Content-Type: text/html", "<p>front"}},
        {REQUEST("GET /orders/17/") PAGE "\r\n", 200, {"<p>front"}},
        {REQUEST("GET /orders/17") "\r\n", 404, {"application/problem+json", "/orders/17"}},
        {REQUEST("GET /orders/17") "Accept: image/*, */*\r\n\r\n", 404, {"problem+json"}},
        {REQUEST("GET /missing.js") PAGE "\r\n", 404, {"problem+json"}},
        {REQUEST("GET /plain/orders/17") PAGE "\r\n", 404, {"problem+json"}},
        {REQUEST("POST /app.js") "Content-Length: 0\r\n\r\n", 405, {"Allow: GET, HEAD\r\n", "problem+json"}},
        {REQUEST("DELETE /nothing") "\r\n", 405, {"Allow: GET, HEAD\r\n"}},
    };
    struct site s;
    site_init(&s);
    site_start(&s);
    check_all(s.rig, cases, ARRAY_COUNT(cases));
    const char *answer = ask(s.rig, REQUEST("HEAD /app.js") "\r\n");
    assert_int_equal(status_of(answer), 200);
    assert_true(has(answer, "Content-Length: 5\r\n") && slice_ends(slice_str(answer), SLICE("\r\n\r\n")));
    site_done(&s);
}

/* Under /api/ an unknown path is a problem, whatever the browser would like, and a known one still tells its methods:
 * neither is hidden by the files or by the route that answers 404. */
static void test_api(void **state)
{
    static const struct expected cases[] = {
        {REQUEST("GET /api/v1/nothing") PAGE "\r\n", 404,
         {"application/problem+json", "\"instance\":\"/api/v1/nothing\""}},
        {REQUEST("POST /api/nothing") "Content-Length: 0\r\n\r\n", 404, {"application/problem+json"}},
        {REQUEST("GET /api/") "\r\n", 404, {"problem+json"}},
        {REQUEST("GET /api/app.js") "\r\n", 404, {"problem+json"}},
        {REQUEST("PUT /api/v1/orders") "Content-Length: 0\r\n\r\n", 405, {"Allow: POST\r\n", "problem+json"}},
        {REQUEST("GET /admin") "\r\n", 401, {"problem+json"}},
        {REQUEST("POST /admin") "Content-Length: 0\r\n\r\n", 405, {"Allow: GET, HEAD\r\n"}},
        {REQUEST("GET /health") "\r\n", 200, {"ready"}},
    };
    struct site s;
    site_init(&s);
    site_start(&s);
    check_all(s.rig, cases, ARRAY_COUNT(cases));
    site_done(&s);
}

/* Links, dot files, pipes and whatever lies outside cannot be named, however the path is written. */
static void test_tricks(void **state)
{
    static const struct {
        const char *target;
        int status;
    } cases[] = {
        {"/.secret", 404}, {"/.git/config", 404}, {"/link.txt", 404}, {"/etc/hostname", 404}, {"/pipe", 404},
        {"/../app.js", 400}, {"/%2e%2e/app.js", 400}, {"/styles/..%2fapp.js", 400}, {"/styles%2fmain.css", 400},
        {"/styles//main.css", 400}, {"/app.js%00.txt", 400}, {"/./app.js", 400}, {"/styles\\main.css", 400},
        {"/app.js/", 404}, {"/APP.JS", 404}, {"/app.js%20", 404}, {"//etc/passwd", 400}, {"/%2fetc/passwd", 400},
    };
    struct site s;
    site_init(&s);
    site_start(&s);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST CLOSE "\r\n", cases[i].target);
        const char *answer = ask(s.rig, text);
        if (status_of(answer) != cases[i].status)
            fail_msg("%s: %s", cases[i].target, answer);
        assert_false(has(answer, "hidden"));
    }
    site_done(&s);
}

/* What a browser has already is not sent again, and each file carries the policy that keeps strange scripts out. */
static void test_validation(void **state)
{
    struct site s;
    site_init(&s);
    site_start(&s);
    char etag[128], text[512];
    const char *answer = ask(s.rig, REQUEST("GET /app.js") "\r\n"), *at = strstr(answer, "ETag: \"");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "ETag: %100s", etag), 1);
    assert_int_equal(strlen(etag), 66);
    assert_true(has(answer, "Content-Security-Policy: default-src 'none'; script-src 'self';"));
    assert_true(has(answer, "frame-ancestors 'none'") && has(answer, "Referrer-Policy: ") &&
                has(answer, "Cross-Origin-Opener-Policy: same-origin"));
    static const char *const before[] = {"", "\"x\", ", "W/", "\"a,b\" ,W/\"c\",", "*"}; /* the tag; the last alone */
    static const char *const other[] = {"\"x\"", "W/", "\"", "", "0", "\"a\", W/\"", "\"*\""};
    for (size_t i = 0; i < ARRAY_COUNT(before); i++) {
        char list[256];
        (void)snprintf(list, sizeof list, "%s%s", before[i], before[i][0] == '*' ? "" : etag);
        (void)snprintf(text, sizeof text, REQUEST("GET /app.js") "If-None-Match: %s\r\n\r\n", list);
        answer = ask(s.rig, text);
        if (status_of(answer) != 304)
            fail_msg("%s: %s", list, answer);
        assert_true(has(answer, etag) && slice_ends(slice_str(answer), SLICE("\r\n\r\n")));
        assert_false(has(answer, "Content-Length") || has(answer, "Transfer-Encoding"));
    }
    for (size_t i = 0; i < ARRAY_COUNT(other); i++) {
        (void)snprintf(text, sizeof text, REQUEST("GET /app.js") "If-None-Match: %s\r\n\r\n", other[i]);
        assert_int_equal(status_of(ask(s.rig, text)), 200);
    }
    (void)snprintf(text, sizeof text, REQUEST("GET /index.html") "If-None-Match: %s\r\n\r\n", etag);
    assert_int_equal(status_of(ask(s.rig, text)), 200);
    site_done(&s);
}

/* A large file goes out in pieces, at the client's pace, from where it lies. */
static void test_large(void **state)
{
    struct site s;
    site_init(&s);
    enum { SIZE = 5 * 1000 * 1000 };
    char *text = mem_alloc(SIZE + 1);
    for (size_t i = 0; i < SIZE; i++)
        text[i] = (char)('a' + i % 23);
    text[SIZE] = '\0';
    put(&s, "large.txt", text);
    site_start(&s);
    const char *answer = ask(s.rig, REQUEST("GET /large.txt") "\r\n"), *body = strstr(answer, "\r\n\r\n");
    assert_non_null(body);
    assert_int_equal(strlen(body + 4), SIZE);
    assert_memory_equal(body + 4, text, SIZE);
    mem_free(text);
    site_done(&s);
}

/* Folders that are too deep, too large, of too many files or not there are refused with a name and the limit. */
static void test_limits(void **state)
{
    struct ficus_error error = {0};
    struct site s;
    site_init(&s);
    struct files *f = files_new();
    assert_int_equal(files_read(f, "/nowhere/at/all", &error), FICUS_ERR_NOT_FOUND);
    assert_true(has(error.text, "/nowhere/at/all"));
    assert_int_equal(files_read(f, s.folder, &error), FICUS_ERR_OK);
    assert_int_equal(files_count(f), 7);
    assert_int_equal(files_read(f, s.folder, &error), FICUS_ERR_OK);
    assert_int_equal(files_count(f), 7);
    assert_null(files_get(f, s.folder, SLICE("etc/hostname")));
    assert_null(files_get(f, s.folder, SLICE("")));
    files_free(f);

    for (int i = 0; i < FILES_COUNT_MAX; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "many/%d", i);
        put(&s, name, "");
    }
    f = files_new();
    assert_int_equal(files_read(f, s.folder, &error), FICUS_ERR_TOO_LARGE);
    assert_true(has(error.text, "at most 2000 files") && has(error.text, s.folder));
    files_free(f);

    struct site deep;
    site_init(&deep);
    put(&deep, "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/x", "");
    f = files_new();
    assert_int_equal(files_read(f, deep.folder, &error), FICUS_ERR_OK);
    files_free(f);
    put(&deep, "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/x", "");
    f = files_new();
    assert_int_equal(files_read(f, deep.folder, &error), FICUS_ERR_TOO_LARGE);
    assert_true(has(error.text, "16 folders deep"));
    files_free(f);
    site_done(&deep);

    site_init(&deep);
    char path[96];
    (void)snprintf(path, sizeof path, "%s/huge", deep.folder);
    file_write(path, "x");
    assert_int_equal(truncate(path, FILES_SIZE_MAX - 10), 0);
    f = files_new();
    assert_int_equal(files_read(f, deep.folder, &error), FICUS_ERR_TOO_LARGE);
    assert_true(has(error.text, "over 32 MiB"));
    files_free(f);
    site_done(&deep);
    site_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_served),     cmocka_unit_test(test_api),   cmocka_unit_test(test_tricks),
        cmocka_unit_test(test_validation), cmocka_unit_test(test_large), cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
