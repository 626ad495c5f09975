/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses reach each thread of the gateway, also one that had no memory for them when they came.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "gateway_rig.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ---- the second thread's engine, which has no memory for a while ---- */

static struct call_engine *_Atomic second;
static atomic_size_t refusals_left;
static atomic_size_t taken;
static char last[96];           /* what the second has of "orders"; read when nothing is told */

enum ficus_err __real_call_engine_endpoints(struct call_engine *g, const char *callee, const char *const *addresses, size_t count);
enum ficus_err __wrap_call_engine_endpoints(struct call_engine *g, const char *callee, const char *const *addresses, size_t count);

enum ficus_err __wrap_call_engine_endpoints(struct call_engine *g, const char *callee, const char *const *addresses, size_t count)
{
    if (g != second || strcmp(callee, "orders") != 0)
        return __real_call_engine_endpoints(g, callee, addresses, count);
    if (refusals_left > 0) {
        refusals_left--;
        return FICUS_ERR_NOMEM;
    }
    enum ficus_err err = __real_call_engine_endpoints(g, callee, addresses, count);
    (void)snprintf(last, sizeof last, "%s", count > 0 ? addresses[0] : "");
    taken++;
    return err;
}

/* ---- the second thread ---- */

struct thread {
    pthread_t id;
    struct rig *r;
    struct env *env;
    atomic_bool started;
};

static void on_released(void *arg)
{
    fail();     /* only when it could not start */
}

static void *thread_main(void *arg)
{
    struct thread *t = arg;
    struct ficus_error error = {0};
    t->env = env_uv_new(&(struct env_uv_options){.beside = t->r->e}, &error);
    assert_non_null(t->env);
    assert_int_equal(proxy_start_beside(t->env, t->r->proxy, on_released, t, &error), FICUS_ERR_OK);
    second = t->r->proxy->loops->loop[1].proxy->process.calls;
    t->started = true;
    env_uv_run(t->env);
    env_uv_free(t->env);
    return NULL;
}

static bool has_taken(void *arg)
{
    return taken >= *(size_t *)arg;
}

/* The second thread refuses the first two addresses, and the retry of all: what it has in the end is what the first has. */
static void test_retell(void **state)
{
    (void)state;
    struct rig *r = rig_new(false);
    gateway_stop(r);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    (void)snprintf(name.sun_path, sizeof name.sun_path, "%s", r->front + 5);
    (void)unlink(name.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char listen_address[16];
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof name) == 0 && listen(fd, 16) == 0);
    (void)snprintf(listen_address, sizeof listen_address, "fd:%d", fd);
    r->listen[0] = listen_address;
    r->config.threads = 2;
    gateway_start(r);
    struct thread t = {.r = r};
    assert_int_equal(pthread_create(&t.id, NULL, thread_main, &t), 0);
    while (!t.started)
        (void)sched_yield();
    struct process *p = &r->proxy->process;
    refusals_left = 3;
    static const char *const news[] = {"unix:/nowhere/1", "unix:/nowhere/2"};
    for (size_t i = 0; i < 2; i++) {    /* as the hub's news come: to the first engine, then on */
        assert_int_equal(call_engine_endpoints(p->calls, "orders", &news[i], 1), FICUS_ERR_OK);
        p->on_addresses(p->endpoints_arg, "orders", &news[i], 1);
    }
    size_t once = 1;
    rig_wait(r, has_taken, &once);
    assert_string_equal(last, news[1]);
    assert_int_equal(refusals_left, 0);
    gateway_stop(r);
    env_uv_stop(t.env);
    assert_int_equal(pthread_join(t.id, NULL), 0);
    (void)close(fd);
    r->listen[0] = r->front;
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_retell)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
