/* SPDX-License-Identifier: Apache-2.0
 *
 * When the gateway counts as overloaded, and what it does then: new requests are refused, those under way are not.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "gateway_rig.h"

#include <time.h>

#define HOST "Host: " RIG_HOST "\r\n"
#define REQUEST(line) line " HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"

enum { CEILING = 1600, PLENTY = 1000000 };

/* One late look is an accident, three in a row are not; one in time ends it. Memory and descriptors count at once, and end only with some
 * room. */
static void test_decision(void **state)
{
    (void)state;
    static const struct proxy_overload limits = {.lag_ms = 100, .memory_max = CEILING};
    static const struct {
        struct overload_look look;
        enum overload_why why;
    } steps[] = {
        {{100, 1599, 64}, OVERLOAD_NONE},    {{101, 0, PLENTY}, OVERLOAD_NONE},   {{101, 0, PLENTY}, OVERLOAD_NONE},
        {{0, 0, PLENTY}, OVERLOAD_NONE},     {{101, 0, PLENTY}, OVERLOAD_NONE},   {{999, 0, PLENTY}, OVERLOAD_NONE},
        {{101, 0, PLENTY}, OVERLOAD_LAG},    {{101, 0, PLENTY}, OVERLOAD_LAG},    {{100, 0, PLENTY}, OVERLOAD_NONE},
        {{0, 1600, PLENTY}, OVERLOAD_MEMORY}, {{0, 1500, PLENTY}, OVERLOAD_MEMORY}, {{0, 1499, PLENTY}, OVERLOAD_NONE},
        {{0, 1599, PLENTY}, OVERLOAD_NONE},  {{0, 0, 63}, OVERLOAD_FILES},        {{0, 0, 95}, OVERLOAD_FILES},
        {{0, 0, 96}, OVERLOAD_NONE},         {{0, 0, 64}, OVERLOAD_NONE},         {{0, 1600, 63}, OVERLOAD_MEMORY},
        {{0, 0, 63}, OVERLOAD_FILES},        {{101, 0, 63}, OVERLOAD_FILES},      {{101, 0, 63}, OVERLOAD_FILES},
        {{101, 0, 96}, OVERLOAD_LAG},
    };
    struct overload o = {0};
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++)
        if (overload_note(&o, &limits, &steps[i].look) != steps[i].why)
            fail_msg("step %zu: %s", i, overload_word(o.why));
    static const struct proxy_overload none = {0};
    for (int i = 0; i < 10; i++)
        assert_int_equal(overload_note(&o, &none, &(struct overload_look){INT64_MAX, SIZE_MAX, SIZE_MAX}), OVERLOAD_NONE);
}

static bool is_overloaded(void *arg)
{
    return ((struct rig *)arg)->proxy->overload.why != OVERLOAD_NONE;
}
static bool is_recovered(void *arg)
{
    return !is_overloaded(arg);
}
static bool is_held(void *arg)
{
    return ((struct rig *)arg)->held != NULL;
}
static bool probe_is_off(void *arg)
{
    return !env_timer_armed(&((struct rig *)arg)->proxy->probe);
}

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

/* What is refused while a reason holds, what is not, that it ends without a request's help, and that an idle gateway does not look. */
static void check_shedding(struct rig *r, enum overload_why why, void (*begin)(struct rig *r), void (*end)(struct rig *r))
{
    static const char hold[] = REQUEST("GET /do/hold");
    char label[64];
    struct client *slow = client_new(r);
    client_send(slow, hold, sizeof hold - 1);
    rig_wait(r, is_held, r);
    begin(r);
    while (!is_overloaded(r))
        (void)ask(r, REQUEST("GET /open/1"));
    assert_int_equal(r->proxy->overload.why, why);
    unsigned asked = r->orders_asked;
    const char *answer = ask(r, REQUEST("GET /open/1"));
    assert_int_equal(status_of(answer), 503);
    assert_true(has(answer, "Retry-After: 1\r\n") && has(answer, "\"overloaded\""));
    assert_int_equal(r->orders_asked, asked);
    assert_int_equal(status_of(ask(r, REQUEST("GET /health"))), 200);
    answer = ask(r, REQUEST("GET /metrics"));
    (void)snprintf(label, sizeof label, "gateway_shed_total{why=\"%s\"} ", overload_word(why));
    assert_true(has(answer, label));
    (void)http_respond(r->held, 200, NULL, 0, "text/plain", SLICE("done"));
    r->held = NULL;
    rig_wait(r, client_has_ended, slow);
    assert_int_equal(status_of(buf_str(&slow->got)), 200);
    client_free(slow);
    end(r);
    rig_wait(r, is_recovered, r);
    assert_int_equal(status_of(ask(r, REQUEST("GET /open/1"))), 202);
    rig_wait(r, probe_is_off, r);
}

static struct rig *rig_with(struct proxy_overload overload)
{
    struct rig *r = rig_new(false);
    gateway_stop(r);
    r->usage = (struct proxy_usage){.memory_size = 1, .files_free = PLENTY};
    r->config.overload = overload;
    gateway_start(r);
    rig_wait(r, is_ready, r);
    return r;
}

static void memory_ends(struct rig *r) { r->usage.memory_size = CEILING; }
static void memory_returns(struct rig *r) { r->usage.memory_size = 0; }
static void files_end(struct rig *r) { r->usage.files_free = OVERLOAD_FILES_FREE - 1; }
static void files_return(struct rig *r) { r->usage.files_free = PLENTY; }

static void test_memory(void **state)
{
    (void)state;
    struct rig *r = rig_with((struct proxy_overload){.memory_max = CEILING});
    check_shedding(r, OVERLOAD_MEMORY, memory_ends, memory_returns);
    assert_true(r->memory_asked > 0);
    rig_free(r);
}

static void test_files(void **state)
{
    (void)state;
    struct rig *r = rig_with((struct proxy_overload){0});
    check_shedding(r, OVERLOAD_FILES, files_end, files_return);
    assert_int_equal(r->memory_asked, 0);
    rig_free(r);
}

/* Each turn of the loop takes longer than it may be late; the probe's 100 ms are no multiple of it, else each would begin
 * just when the probe is due. */
static struct env_timer block;
static void block_loop(void *arg)
{
    struct rig *r = arg;
    (void)nanosleep(&(struct timespec){.tv_nsec = 30 * 1000 * 1000}, NULL);
    env_timer_start(r->e, &block, 1);
}
static void loop_busy(struct rig *r)
{
    block = (struct env_timer){.fn = block_loop, .arg = r};
    env_timer_start(r->e, &block, 0);
}
static void loop_rests(struct rig *r)
{
    env_timer_stop(r->e, &block);
}

static void test_lag(void **state)
{
    (void)state;
    struct rig *r = rig_with((struct proxy_overload){.lag_ms = 1});
    static const char hold[] = REQUEST("GET /do/hold");
    struct client *slow = client_new(r);
    client_send(slow, hold, sizeof hold - 1);
    rig_wait(r, is_held, r);
    loop_busy(r);
    for (int i = 0; i < 100 && !is_overloaded(r); i++)
        (void)ask(r, REQUEST("GET /open/1"));
    assert_int_equal(r->proxy->overload.why, OVERLOAD_LAG);
    loop_rests(r);
    rig_wait(r, is_recovered, r);
    (void)http_respond(r->held, 200, NULL, 0, "text/plain", SLICE("done"));
    rig_wait(r, client_has_ended, slow);
    assert_int_equal(status_of(buf_str(&slow->got)), 200);
    client_free(slow);
    assert_int_equal(status_of(ask(r, REQUEST("GET /open/1"))), 202);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_decision), cmocka_unit_test(test_memory), cmocka_unit_test(test_files),
                                       cmocka_unit_test(test_lag)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
