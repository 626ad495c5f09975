/* SPDX-License-Identifier: Apache-2.0
 *
 * Running a program to its end: what it says, how it ended, and that it cannot keep us waiting.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "program.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONG_MS = 60000 };

static struct arena a;

static int setup(void **state)
{
    (void)state;
    arena_init(&a, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_done(&a);
    return 0;
}

static struct program_end run(const char *script, int64_t timeout_ms)
{
    struct ficus_error error = {0};
    struct program_end end = {0};
    const char *const argv[] = {"sh", "-c", script, NULL}, *const variables[] = {"FICUS_RUN=this", "HOME=/nowhere", NULL};
    const struct program_call c = {argv, "/", variables, timeout_ms, 1000};
    assert_int_equal(program_run(&a, &c, &end, &error), FICUS_ERR_OK);
    return end;
}

/* Both outputs, apart; the folder; our variables instead of those of the same name, and no other FICUS_. */
static void test_says(void **state)
{
    (void)state;
    assert_int_equal(setenv("FICUS_CONFIG", "not for it", 1), 0);
    struct program_end end = run("echo one; echo two >&2; pwd; echo $FICUS_RUN $HOME ${FICUS_CONFIG-none}; cat", LONG_MS);
    assert_int_equal(end.status, 0);
    assert_string_equal(end.output, "one\n/\nthis /nowhere none\n");
    assert_string_equal(end.errors, "two\n");
}

static void test_ends(void **state)
{
    (void)state;
    assert_int_equal(run("exit 3", LONG_MS).status, 3);
    assert_int_equal(run("kill -9 $$", LONG_MS).status, 128 + SIGKILL);
}

/* More than is kept is read all the same: it is not held up by a full pipe. */
static void test_much(void **state)
{
    (void)state;
    struct program_end end = run("i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; exit 4", LONG_MS);
    assert_int_equal(end.status, 4);
    assert_int_equal(strlen(end.output), 1000);
}

/* It takes too long: killed, with what it has started. One that it leaves behind with its outputs keeps nobody waiting. */
static void test_time(void **state)
{
    (void)state;
    struct program_end end = run("echo begun; sleep 1000 & sleep 1000", 300);
    assert_int_equal(end.status, -1);
    assert_string_equal(end.output, "begun\n");
    end = run("sleep 1000 & echo $!", LONG_MS);
    assert_int_equal(end.status, 0);
    assert_true(strlen(end.output) > 1);
}

/* It ends when we are killed, though it would go on for ever. */
static void test_dies_with_us(void **state)
{
    int ends[2];
    pid_t program = 0;
    char byte;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct arena own;
        struct program_end end;
        char script[128];
        const char *const argv[] = {"sh", "-c", script, NULL}, *const variables[] = {NULL};
        arena_init(&own, 1 << 20);
        (void)snprintf(script, sizeof script, "echo $$ >&%d; while :; do sleep 0.01; done", ends[1]);
        (void)program_run(&own, &(struct program_call){argv, "/", variables, LONG_MS, 10}, &end, NULL);
        _exit(1);
    }
    close(ends[1]);
    FILE *f = fdopen(ends[0], "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d", &program), 1); // NOLINT(cert-err34-c)
    assert_true(program > 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    while (fread(&byte, 1, 1, f) == 1)
        continue; /* until nobody has the other end any more */
    assert_true(feof(f));
    assert_int_equal(fclose(f), 0);
}

static void test_none(void **state)
{
    struct ficus_error error = {0};
    struct program_end end;
    const char *const argv[] = {"./no-such-program", NULL}, *const variables[] = {NULL};
    (void)state;
    assert_int_equal(program_run(&a, &(struct program_call){argv, "/", variables, LONG_MS, 10}, &end, &error), FICUS_ERR_NOT_FOUND);
    assert_non_null(strstr(error.text, "./no-such-program"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_says, setup, teardown), cmocka_unit_test_setup_teardown(test_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_much, setup, teardown), cmocka_unit_test_setup_teardown(test_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_none, setup, teardown), cmocka_unit_test_setup_teardown(test_dies_with_us, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
