/* SPDX-License-Identifier: Apache-2.0
 *
 * What one supervisor hands to the next: nothing is lost on the way, and what is no handover is refused.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "handover.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static const struct handover_process two[] = {
    {.name = "hub",
     .instance = 1,
     .listen = {"unix:/run/hub.sock", "unix:/run/hub-ops.sock"},
     .sockets = {7, 8},
     .listen_count = 2,
     .unit = {.state = UNIT_READY, .listed = true, .started = true, .restarts = 3, .deaths = 1, .ready_since_ms = 1234},
     .pid = 4711,
     .start_ticks = 99999999,
     .started_at_ms = 1700000000000,
     .was_ready = true,
     .message = ""},
    {.name = "orders",
     .instance = 2,
     .listen = {"unix:/run/orders.2.sock"},
     .sockets = {9},
     .listen_count = 1,
     .unit = {.state = UNIT_BACKOFF, .started = true, .deaths = 5},
     .message = "ended with status 1; \"quoted\"",
     .message_is_end = true},
};
static const struct handover sample = {.from = "0.1.0", .lock_fd = 4, .notify_fd = 5, .api_fd = 6, .previous = -1, .told_healthy = true,
                                       .processes = two, .count = 2};

static void check_same(const struct handover *h)
{
    assert_string_equal(h->from, "0.1.0");
    assert_null(h->failed);
    assert_int_equal(h->lock_fd, 4);
    assert_int_equal(h->notify_fd, 5);
    assert_int_equal(h->api_fd, 6);
    assert_int_equal(h->previous, -1);
    assert_true(h->told_healthy);
    assert_int_equal(h->count, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct handover_process *p = &h->processes[i], *q = &two[i];
        assert_string_equal(p->name, q->name);
        assert_int_equal(p->instance, q->instance);
        assert_int_equal(p->listen_count, q->listen_count);
        for (size_t j = 0; j < q->listen_count; j++) {
            assert_string_equal(p->listen[j], q->listen[j]);
            assert_int_equal(p->sockets[j], q->sockets[j]);
        }
        assert_int_equal(p->unit.state, q->unit.state);
        assert_int_equal(p->unit.listed, q->unit.listed);
        assert_int_equal(p->unit.started, q->unit.started);
        assert_int_equal(p->unit.restarts, q->unit.restarts);
        assert_int_equal(p->unit.deaths, q->unit.deaths);
        assert_int_equal(p->unit.ready_since_ms, q->unit.ready_since_ms);
        assert_int_equal(p->pid, q->pid);
        assert_int_equal(p->start_ticks, q->start_ticks);
        assert_int_equal(p->started_at_ms, q->started_at_ms);
        assert_int_equal(p->was_ready, q->was_ready);
        assert_int_equal(p->message_is_end, q->message_is_end);
        assert_string_equal(p->message, q->message);
    }
}

static void test_round_trip(void **state)
{
    struct arena a;
    struct handover h;
    int fd;
    arena_init(&a, 1 << 20);
    assert_int_equal(handover_store(&sample, &fd, NULL), FICUS_ERR_OK);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    for (int i = 0; i < 2; i++) { /* it can be read again: by the trial, by the one who gives back */
        assert_int_equal(handover_load(&a, fd, &h, NULL), FICUS_ERR_OK);
        check_same(&h);
    }
    close(fd);
    arena_done(&a);
}

static void test_the_reason_of_giving_back(void **state)
{
    struct arena a;
    struct handover h, back = sample;
    struct buf text;
    arena_init(&a, 1 << 20);
    buf_init(&text, 1 << 20);
    back.failed = "could not";
    handover_write(&back, &text);
    assert_int_equal(handover_parse(&a, buf_slice(&text), &h, NULL), FICUS_ERR_OK);
    assert_string_equal(h.failed, "could not");
    buf_done(&text);
    arena_done(&a);
}

/* Whatever is cut off or altered: an error, never half a handover. */
static void test_damaged(void **state)
{
    struct arena a;
    struct handover h;
    struct buf text;
    arena_init(&a, 64 << 20);
    buf_init(&text, 1 << 20);
    handover_write(&sample, &text);
    struct slice whole = buf_slice(&text);
    for (size_t size = 0; size < whole.size; size++)
        assert_int_not_equal(handover_parse(&a, slice_make(whole.p, size), &h, NULL), FICUS_ERR_OK);
    static const char *const bad[] = {
        "", "null", "{}", "[]", "{\"handover\":1}", "{\"handover\":1,\"lock\":1,\"notify\":2,\"api\":3}",
        "{\"handover\":1,\"lock\":-1,\"notify\":2,\"api\":3,\"processes\":[]}",
        "{\"handover\":1,\"lock\":1,\"notify\":2,\"api\":3,\"processes\":[{}]}",
        "{\"handover\":1,\"lock\":1,\"notify\":2,\"api\":3,\"processes\":[{\"name\":\"x\",\"state\":\"dancing\",\"listen\":[],\"sockets\":[]}]}",
        "{\"handover\":1,\"lock\":1,\"notify\":2,\"api\":3,\"processes\":[{\"name\":\"x\",\"state\":\"running\",\"listen\":[\"a\"],\"sockets\":[]}]}",
        "{\"handover\":1,\"lock\":1,\"notify\":2,\"api\":3,\"processes\":[{\"name\":\"x\",\"state\":\"running\",\"listen\":[\"a\"],\"sockets\":[-1]}]}",
        "{\"handover\":1,\"lock\":1,\"notify\":2,\"api\":3,\"processes\":[{\"name\":\"x\",\"state\":\"running\",\"listen\":[\"a\",\"a\",\"a\",\"a\",\"a\"],"
        "\"sockets\":[1,2,3,4,5]}]}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(handover_parse(&a, slice_str(bad[i]), &h, NULL), FICUS_ERR_INVALID);
    buf_done(&text);
    arena_done(&a);
}

/* Another form is named, with what to do instead. */
static void test_version(void **state)
{
    struct arena a;
    struct handover h;
    struct ficus_error error = {0};
    arena_init(&a, 1 << 20);
    assert_int_equal(handover_parse(&a, SLICE("{\"handover\":2}"), &h, &error), FICUS_ERR_VERSION);
    assert_non_null(strstr(error.text, "ficus down"));
    arena_done(&a);
}

static void test_descriptors_stay_open(void **state)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const struct handover h = {.lock_fd = fd, .notify_fd = -1, .api_fd = -1, .previous = -1};
    handover_keep(&h, true);
    assert_int_equal(fcntl(fd, F_GETFD), 0);
    handover_keep(&h, false);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
}

static void test_own_words(void **state)
{
    struct arena a;
    arena_init(&a, 4 << 20);
    const char *const *argv = handover_argv(&a, "/new/ficus");
    assert_non_null(argv);
    assert_string_equal(argv[0], "/new/ficus");
    size_t count = 0;
    while (argv[count] != NULL)
        count++;
    assert_true(count >= 1);
    arena_done(&a);
}

/* What cannot be executed leaves everything as it was. */
static void test_exec_fails(void **state)
{
    const char *const argv[] = {"nothing", NULL};
    struct ficus_error error = {0};
    int fd = open("/dev/null", O_PATH | O_CLOEXEC), kept = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const struct handover h = {.from = "x", .lock_fd = kept, .notify_fd = -1, .api_fd = -1, .previous = -1};
    assert_int_not_equal(handover_exec(&h, fd, argv, &error), FICUS_ERR_OK);
    assert_int_equal(fcntl(kept, F_GETFD), FD_CLOEXEC);
    assert_null(getenv(HANDOVER_VARIABLE));
    assert_non_null(strstr(error.text, "nothing"));
    close(kept);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),       cmocka_unit_test(test_the_reason_of_giving_back),
        cmocka_unit_test(test_damaged),          cmocka_unit_test(test_version),
        cmocka_unit_test(test_descriptors_stay_open), cmocka_unit_test(test_own_words),
        cmocka_unit_test(test_exec_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
