/* SPDX-License-Identifier: Apache-2.0
 *
 * Host names, with a resolver that this test holds up: nobody waits for it who does not want to.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "env.h"
#include "io_env.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RUNNING_MAX = 8, PATIENCE_MS = 30000 };

/* ---- the resolver ---- */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    bool held;
    int asked, running, running_most, ended;
} resolver = {.mutex = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list);
void __wrap_freeaddrinfo(struct addrinfo *list);

struct answer {
    struct addrinfo info;
    struct sockaddr_in address;
};

/* "N.addresses" has N of them, each twice; any other name has none. */
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list)
{
    pthread_mutex_lock(&resolver.mutex);
    resolver.asked++;
    resolver.running++;
    if (resolver.running > resolver.running_most)
        resolver.running_most = resolver.running;
    pthread_cond_broadcast(&resolver.moved);
    while (resolver.held)
        pthread_cond_wait(&resolver.moved, &resolver.mutex);
    resolver.running--;
    resolver.ended++;
    pthread_cond_broadcast(&resolver.moved);
    pthread_mutex_unlock(&resolver.mutex);
    int count = atoi(host);
    for (int i = 2 * count; i > 0; i--) {
        struct answer *a = calloc(1, sizeof *a);
        a->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000000u + (unsigned)(i + 1) / 2)};
        a->info = (struct addrinfo){.ai_family = AF_INET, .ai_addr = (void *)&a->address, .ai_next = i == 2 * count ? NULL : *ret_list};
        *ret_list = &a->info;
    }
    return count > 0 ? 0 : EAI_NONAME;
}

void __wrap_freeaddrinfo(struct addrinfo *list)
{
    while (list != NULL) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

static void hold(bool held)
{
    pthread_mutex_lock(&resolver.mutex);
    resolver.held = held;
    if (held)
        resolver.asked = resolver.ended = resolver.running_most = 0;
    pthread_cond_broadcast(&resolver.moved);
    pthread_mutex_unlock(&resolver.mutex);
}

static void wait_for(const int *value, int count)
{
    pthread_mutex_lock(&resolver.mutex);
    while (*value < count)
        pthread_cond_wait(&resolver.moved, &resolver.mutex);
    pthread_mutex_unlock(&resolver.mutex);
}

/* ---- who asks ---- */

struct asker {
    struct env *e;
    int *left; /* of all that ask; the last one stops the loop */
    bool done;
    enum ficus_err err;
    struct env_hosts hosts;
    char detail[128];
};

static void on_done(void *arg, enum ficus_err err, const struct env_hosts *hosts, const char *detail)
{
    struct asker *a = arg;
    assert_false(a->done);
    a->done = true;
    a->err = err;
    a->hosts = *hosts;
    snprintf(a->detail, sizeof a->detail, "%s", detail);
    if (--*a->left == 0)
        env_uv_stop(a->e);
}

/* All at once, while the resolver holds back its answers; it has begun with as many as it may. */
static void ask_held(struct env *e, struct asker a[20], int *left)
{
    hold(true);
    for (size_t i = 0; i < 20; i++) {
        a[i] = (struct asker){.e = e, .left = left};
        assert_int_equal(env_lookup(e, "1.addresses", on_done, &a[i]), FICUS_ERR_OK);
    }
    wait_for(&resolver.asked, RUNNING_MAX);
}

static void test_names(void **state)
{
    struct env *e = env_uv_new(NULL, NULL);
    int left = 3;
    struct asker a[3] = {{.e = e, .left = &left}, {.e = e, .left = &left}, {.e = e, .left = &left}};
    assert_int_equal(env_lookup(e, "2.addresses", on_done, &a[0]), FICUS_ERR_OK);
    assert_int_equal(env_lookup(e, "nobody.example", on_done, &a[1]), FICUS_ERR_OK);
    assert_int_equal(env_lookup(e, "200.addresses", on_done, &a[2]), FICUS_ERR_OK);
    assert_false(a[0].done);
    env_uv_run(e);
    assert_int_equal(a[0].err, FICUS_ERR_OK);
    assert_int_equal(a[0].hosts.count, 2);
    assert_string_equal(a[0].hosts.host[0], "10.0.0.1");
    assert_string_equal(a[0].hosts.host[1], "10.0.0.2");
    assert_int_equal(a[1].err, FICUS_ERR_UNAVAILABLE);
    assert_non_null(strstr(a[1].detail, "nobody.example: "));
    assert_int_equal(a[2].hosts.count, ENV_HOSTS_MAX);
    char long_name[ENV_HOST_SIZE + 1];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(env_lookup(e, long_name, on_done, &a[0]), FICUS_ERR_INVALID);
    env_uv_free(e);
}

/* The env goes at once, whatever the resolver does; what it says later is nobody's. */
static void test_env_goes(void **state)
{
    struct env *e = env_uv_new(NULL, NULL);
    int left = 100;
    struct asker a[20];
    ask_held(e, a, &left);
    env_uv_free(e);
    hold(false);
    wait_for(&resolver.ended, RUNNING_MAX);
    assert_int_equal(left, 100);
    assert_int_equal(resolver.asked, RUNNING_MAX); /* the others have never begun */
}

/* Also when its answer waits already. */
static void test_env_goes_answered(void **state)
{
    struct env *e = env_uv_new(NULL, NULL);
    int left = 100;
    struct asker a = {.e = e, .left = &left};
    hold(true);
    assert_int_equal(env_lookup(e, "1.addresses", on_done, &a), FICUS_ERR_OK);
    hold(false);
    wait_for(&resolver.ended, 1);
    env_uv_free(e);
    assert_false(a.done);
}

/* What is cancelled is never told, be it under way or not begun; all the others are, no more than eight at a time. */
static void test_cancel(void **state)
{
    struct env *e = env_uv_new(NULL, NULL);
    int left = 18;
    struct asker a[20];
    ask_held(e, a, &left);
    env_lookup_cancel(e, &a[0]);
    env_lookup_cancel(e, &a[19]);
    env_lookup_cancel(e, &left); /* nobody */
    hold(false);
    env_uv_run(e);
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(a[i].done, i != 0 && i != 19);
    assert_in_range(resolver.running_most, 1, RUNNING_MAX);
    env_uv_free(e);
}

/* A process ends while its resolver hangs. */
static void test_process_ends(void **state)
{
    fflush(NULL);
    hold(true);
    pid_t pid = fork();
    if (pid == 0) {
        int left = 1;
        struct env *e = env_uv_new(NULL, NULL);
        struct asker a = {.e = e, .left = &left};
        bool ok = env_lookup(e, "1.addresses", on_done, &a) == FICUS_ERR_OK;
        wait_for(&resolver.asked, 1);
        env_uv_free(e);
        exit(ok ? 0 : 1); /* with all that runs at the end of a process */
    }
    int status = -1;
    for (int ms = 0; ms < PATIENCE_MS && waitpid(pid, &status, WNOHANG) == 0; ms += 5)
        (void)poll(NULL, 0, 5);
    if (status == -1)
        kill(pid, SIGKILL);
    assert_int_equal(status, 0);
    hold(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),  cmocka_unit_test(test_env_goes),          cmocka_unit_test(test_env_goes_answered),
        cmocka_unit_test(test_cancel), cmocka_unit_test(test_process_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
