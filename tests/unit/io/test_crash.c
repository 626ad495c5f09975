/* SPDX-License-Identifier: Apache-2.0
 *
 * Dying on purpose: a process with a page counts its durable writes file by file from the moment it is armed, and is killed
 * exactly before or after the one that is aimed at, for every one of them; without a page, or unarmed, nothing happens.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "io_crash.h"
#include "io_env.h"
#include "mem.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WRITES = 3, BYTES = 8 };

static char dir[64];

static const char *path_of(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static int set_up(void **state)
{
    (void)snprintf(dir, sizeof dir, "/tmp/ficus-crash-XXXXXX");
    *state = NULL;
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"page", "first.db", "second.db"};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        (void)unlink(path_of(names[i]));
    return rmdir(dir);
}

/* Two pieces and a sync are one durable write; a sync of nothing is none. */
static void durable(struct env *e, struct env_file *f, unsigned number)
{
    int64_t at = (int64_t)(number - 1) * BYTES;
    if (env_file_write(e, f, "half", 4, at) != FICUS_ERR_OK || env_file_write(e, f, "half", 4, at + 4) != FICUS_ERR_OK ||
        env_file_sync(e, f) != FICUS_ERR_OK || env_file_sync(e, f) != FICUS_ERR_OK)
        _exit(3);
}

/* The process under test: two files in turn, whose names it makes last; told to begin by a byte, so that it is armed when all
 * is open. */
static _Noreturn void victim(int go)
{
    struct env_file *first, *second;
    char byte;
    struct env *e = env_uv_new(NULL, NULL);
    if (e == NULL || env_file_open(e, path_of("first.db"), ENV_OPEN_CREATE, &first, NULL) != FICUS_ERR_OK ||
        env_file_open(e, path_of("second.db"), ENV_OPEN_CREATE, &second, NULL) != FICUS_ERR_OK)
        _exit(2);
    durable(e, first, 1); /* of the start: nobody counts */
    durable(e, second, 1);
    (void)kill(getppid(), SIGUSR1);
    if (read(go, &byte, 1) != 1)
        _exit(4);
    for (unsigned i = 1; i <= WRITES; i++) {
        durable(e, first, i + 1);
        durable(e, second, i + 1);
    }
    if (env_dir_sync(e, path_of("second.db")) != FICUS_ERR_OK)
        _exit(5);
    env_file_close(e, first);
    env_file_close(e, second);
    env_uv_free(e);
    _exit(0);
}

struct aim {
    const char *file; /* NULL: count only */
    uint32_t number;
    enum crash_side side;
    bool unarmed;
};

/* Start one, arm it when it is through with its start, wait for its end. Returns the status. */
static int run(struct crash_page *page, const struct aim *aim)
{
    int ends[2], status = 0, signum;
    sigset_t ready;
    sigemptyset(&ready);
    sigaddset(&ready, SIGUSR1);
    sigaddset(&ready, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ready, NULL);
    (void)unlink(path_of("first.db"));
    (void)unlink(path_of("second.db"));
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0)
        victim(ends[0]);
    assert_int_equal(sigwait(&ready, &signum), 0);
    assert_int_equal(signum, SIGUSR1); /* else it has ended before it was ready */
    if (!aim->unarmed)
        crash_page_arm(page, aim->file, aim->number, aim->side);
    assert_int_equal(write(ends[1], "g", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(sigwait(&ready, &signum), 0);
    assert_int_equal(signum, SIGCHLD);
    if (page != NULL)
        crash_page_disarm(page); /* the next one starts unarmed */
    close(ends[0]);
    close(ends[1]);
    return status;
}

static const struct crash_file *counted(const struct crash_page *page, const char *name)
{
    for (unsigned i = 0; i < page->file_count; i++)
        if (strcmp(page->files[i].name, name) == 0)
            return &page->files[i];
    fail_msg("%s is not counted", name);
    return NULL;
}

static off_t size_of(const char *name)
{
    struct stat st;
    assert_int_equal(stat(path_of(name), &st), 0);
    return st.st_size;
}

static struct crash_page *page_new(void)
{
    struct crash_page *page = NULL;
    assert_int_equal(crash_page_new(path_of("page"), &page, NULL), FICUS_ERR_OK);
    assert_int_equal(setenv("FICUS_CRASH", path_of("page"), 1), 0);
    return page;
}

/* What came before it was armed is not counted; then each file's durable writes are, and the name's as one of its own. */
static void test_counts(void **state)
{
    struct crash_page *page = page_new();
    (void)state;
    assert_int_equal(run(page, &(struct aim){.file = NULL}), 0);
    assert_int_equal(counted(page, "first.db")->begun, WRITES);
    assert_int_equal(counted(page, "first.db")->done, WRITES);
    assert_int_equal(counted(page, "second.db")->done, WRITES);
    assert_int_equal(counted(page, "name of second.db")->done, 1);
    assert_int_equal(page->died, 0);
    assert_true(page->moves > 4 * WRITES);
    crash_page_close(page);
}

/* Nothing is counted, and nobody dies, while it is not armed; the process lives without a page as well. */
static void test_unarmed(void **state)
{
    struct crash_page *page = page_new();
    (void)state;
    assert_int_equal(run(page, &(struct aim){.unarmed = true}), 0);
    assert_int_equal(counted(page, "first.db")->begun, 0);
    assert_true(page->moves > 0);
    crash_page_close(page);
    assert_int_equal(unsetenv("FICUS_CRASH"), 0);
    assert_int_equal(run(NULL, &(struct aim){.unarmed = true}), 0);
}

/* Every cell: killed by SIGKILL at exactly that write. Before: none of its bytes is in the file; after: all are, and nothing
 * that comes behind it in either file. */
static void test_each(void **state)
{
    struct crash_page *page = page_new();
    (void)state;
    for (uint32_t n = 1; n <= WRITES; n++)
        for (int file = 0; file < 2; file++)
            for (int side = CRASH_BEFORE; side <= CRASH_AFTER; side++) {
                const char *name = file == 0 ? "first.db" : "second.db";
                const char *other = file == 0 ? "second.db" : "first.db";
                int status = run(page, &(struct aim){name, n, (enum crash_side)side, false});
                assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
                assert_int_equal(page->died, 1);
                assert_int_equal(page->mode, CRASH_OFF);
                uint32_t whole = side == CRASH_BEFORE ? n - 1 : n;
                assert_int_equal(size_of(name), (1 + whole) * BYTES);
                assert_int_equal(counted(page, name)->done, whole);
                assert_int_equal(size_of(other), (file == 0 ? n : n + 1) * BYTES);
            }
    for (int side = CRASH_BEFORE; side <= CRASH_AFTER; side++) {
        int status = run(page, &(struct aim){"name of second.db", 1, (enum crash_side)side, false});
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    crash_page_close(page);
}

/* One behind the last, or of a file that is not written, kills nobody: so an enumeration ends. */
static void test_none(void **state)
{
    struct crash_page *page = page_new();
    (void)state;
    assert_int_equal(run(page, &(struct aim){"first.db", WRITES + 1, CRASH_BEFORE, false}), 0);
    assert_int_equal(page->died, 0);
    assert_int_equal(counted(page, "first.db")->done, WRITES);
    assert_int_equal(run(page, &(struct aim){"third.db", 1, CRASH_BEFORE, false}), 0);
    crash_page_close(page);
}

/* A page that is not there, or is something else, is refused at the start and by name, instead of a test that tests nothing. */
static void test_refused(void **state)
{
    struct ficus_error error = {0};
    (void)state;
    assert_int_equal(setenv("FICUS_CRASH", path_of("page"), 1), 0);
    (void)unlink(path_of("page"));
    assert_null(env_uv_new(NULL, &error));
    assert_non_null(strstr(error.text, "FICUS_CRASH: open "));
    FILE *f = fopen(path_of("page"), "w");
    assert_non_null(f);
    for (size_t i = 0; i < sizeof(struct crash_page); i++)
        assert_true(fputc('x', f) == 'x');
    assert_int_equal(fclose(f), 0);
    assert_null(env_uv_new(NULL, &error));
    assert_int_equal(error.code, FICUS_ERR_VERSION);
    assert_int_equal(truncate(path_of("page"), 10), 0);
    assert_null(env_uv_new(NULL, &error));
    assert_int_equal(error.code, FICUS_ERR_VERSION);
    assert_int_equal(unsetenv("FICUS_CRASH"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unarmed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_each, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
