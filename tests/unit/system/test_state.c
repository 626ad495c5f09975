/* SPDX-License-Identifier: Apache-2.0
 *
 * The state folder: made, locked, kept, purged.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "children.h"
#include "io_env.h"
#include "proc.h"
#include "state.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    struct env *e;
    struct arena a;
    char dir[64], manifest[128];
};

static int set_up(void **state)
{
    static struct fixture f;
    f.e = env_uv_new(NULL, NULL);
    arena_init(&f.a, 1 << 20);
    snprintf(f.dir, sizeof f.dir, "/tmp/ficus-state-XXXXXX");
    if (mkdtemp(f.dir) == NULL)
        return -1;
    snprintf(f.manifest, sizeof f.manifest, "%s/ficus.yaml", f.dir);
    unsetenv("FICUS_STATE");
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct state s;
    const char *left;
    if (state_locate(&f->a, f->manifest, &s, NULL) == FICUS_ERR_OK && state_exists(&s))
        (void)state_purge(&f->a, &s, &left, NULL);
    arena_done(&f->a);
    env_uv_free(f->e);
    return rmdir(f->dir);
}

static struct state make(struct fixture *f)
{
    struct state s;
    assert_int_equal(state_locate(&f->a, f->manifest, &s, NULL), FICUS_ERR_OK);
    assert_int_equal(state_create(f->e, &s, NULL), FICUS_ERR_OK);
    return s;
}

static bool exists(struct fixture *f, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    return access(path, F_OK) == 0;
}

/* It lies beside the manifest, or where FICUS_STATE says; all of it is private; making it again changes nothing. */
static void test_create(void **state)
{
    struct fixture *f = *state;
    struct state s = make(f);
    struct stat st;
    char wanted[128];
    snprintf(wanted, sizeof wanted, "%s/.ficus", f->dir);
    assert_string_equal(s.root, wanted);
    assert_int_equal(stat(s.run, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(s.root, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    make(f);
    snprintf(wanted, sizeof wanted, "%s/other", f->dir);
    setenv("FICUS_STATE", wanted, 1);
    assert_int_equal(state_locate(&f->a, f->manifest, &s, NULL), FICUS_ERR_OK);
    assert_string_equal(s.root, wanted);
    assert_false(state_exists(&s));
    unsetenv("FICUS_STATE");
}

/* A folder that is not ours is neither used nor purged; the state of a newer version is refused. */
static void test_foreign(void **state)
{
    struct fixture *f = *state;
    struct state s;
    const char *left;
    struct ficus_error error = {0};
    setenv("FICUS_STATE", f->dir, 1);
    int fd = open(f->manifest, O_WRONLY | O_CREAT, 0600);
    close(fd);
    assert_int_equal(state_locate(&f->a, f->manifest, &s, NULL), FICUS_ERR_OK);
    unsetenv("FICUS_STATE");
    assert_int_equal(state_create(f->e, &s, &error), FICUS_ERR_CONFLICT);
    assert_int_equal(state_purge(&f->a, &s, &left, &error), FICUS_ERR_DENIED);
    assert_string_equal(left, "ficus.yaml");
    assert_true(exists(f, "ficus.yaml"));
    struct state file = s;
    file.root = f->manifest;
    assert_int_not_equal(state_create(f->e, &file, &error), FICUS_ERR_OK);
    assert_non_null(strstr(error.text, "cannot be looked into (FICUS_STATE names another): Not a directory"));
    file.root = arena_printf(&f->a, "%s/none", f->manifest);
    assert_int_not_equal(state_create(f->e, &file, &error), FICUS_ERR_OK);
    assert_non_null(strstr(error.text, "cannot be made (FICUS_STATE names another): Not a directory"));
    unlink(f->manifest);
    s = make(f);
    char marker[256];
    snprintf(marker, sizeof marker, "%s/.ficus-state", s.root);
    assert_int_equal(env_file_store(f->e, marker, SLICE("2\n"), NULL), FICUS_ERR_OK);
    assert_int_equal(state_create(f->e, &s, &error), FICUS_ERR_VERSION);
}

/* The lock has one holder, tells who, and is free when that process is dead. */
/* "Not running" would be a lie: another user cannot know. */
static void test_closed(void **state)
{
    struct fixture *f = *state;
    struct state s = make(f);
    int status = 0;
    assert_false(state_closed_to_us(&s));
    assert_int_equal(chmod(s.run, 0), 0);
    pid_t pid = fork();
    if (pid == 0) {
        enum { NOBODY = 65534 };
        if (geteuid() == 0 && setuid(NOBODY) != 0) /* root may look into everything */
            _exit(2);
        _exit(state_closed_to_us(&s) ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(chmod(s.run, 0700), 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_lock(void **state)
{
    struct fixture *f = *state;
    struct state s = make(f);
    struct ficus_error error = {0};
    int fd = -1, ready[2], end[2];
    assert_int_equal(state_lock_holder(&s), 0);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(pipe2(end, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(end[1]);
        char b = state_lock(&s, &fd, NULL) == FICUS_ERR_OK ? 'y' : 'n';
        (void)!write(ready[1], &b, 1);
        (void)!read(end[0], &b, 1);
        _exit(0);
    }
    char b = 0, wanted[32];
    assert_int_equal(read(ready[0], &b, 1), 1);
    assert_int_equal(b, 'y');
    assert_int_equal(state_lock(&s, &fd, &error), FICUS_ERR_BUSY);
    snprintf(wanted, sizeof wanted, "pid %d ", (int)pid);
    assert_non_null(strstr(error.text, wanted));
    assert_int_equal(state_lock_holder(&s), pid);
    close(end[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(state_lock(&s, &fd, NULL), FICUS_ERR_OK);
    close(fd);
    assert_int_equal(state_lock_holder(&s), 0);
    close(ready[0]), close(ready[1]), close(end[0]);
}

/* The key and the password are made once and kept; the password changes with the email. */
static void test_secrets(void **state)
{
    struct fixture *f = *state;
    struct state s = make(f);
    struct slice key, again;
    const char *password, *same, *other;
    struct stat st;
    assert_int_equal(state_key(f->e, &s, NULL), FICUS_ERR_OK);
    assert_int_equal(env_file_load(f->e, &f->a, s.key_file, 100, &key, NULL), FICUS_ERR_OK);
    assert_int_equal(key.size, 65);
    assert_int_equal(stat(s.key_file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(state_key(f->e, &s, NULL), FICUS_ERR_OK);
    assert_int_equal(env_file_load(f->e, &f->a, s.key_file, 100, &again, NULL), FICUS_ERR_OK);
    assert_true(slice_eq(key, again));
    assert_int_equal(state_admin(f->e, &f->a, &s, "a@x.example", &password, NULL), FICUS_ERR_OK);
    assert_int_equal(strlen(password), 20);
    assert_int_equal(state_admin(f->e, &f->a, &s, "a@x.example", &same, NULL), FICUS_ERR_OK);
    assert_string_equal(password, same);
    assert_int_equal(state_admin(f->e, &f->a, &s, "b@x.example", &other, NULL), FICUS_ERR_OK);
    assert_string_not_equal(password, other);
}

/* Sockets lie in run/ when their paths are short enough, else in a private folder that later commands find again. */
static void test_sockets(void **state)
{
    struct fixture *f = *state;
    struct state s = make(f), found;
    struct stat st;
    assert_int_equal(state_choose_sockets(f->e, &f->a, &s, 20, NULL), FICUS_ERR_OK);
    assert_string_equal(s.sockets, s.run);
    assert_int_equal(state_choose_sockets(f->e, &f->a, &s, 90, NULL), FICUS_ERR_OK);
    assert_string_not_equal(s.sockets, s.run);
    assert_true(strlen(s.sockets) < 50);
    assert_int_equal(stat(s.sockets, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(state_locate(&f->a, f->manifest, &found, NULL), FICUS_ERR_OK);
    assert_string_equal(found.sockets, s.sockets);
    const char *left;
    assert_int_equal(state_purge(&f->a, &found, &left, NULL), FICUS_ERR_OK);
    assert_int_not_equal(stat(s.sockets, &st), 0);
}

/* In a state that was copied neither the sockets nor the addresses of the original are used. */
static void test_copied(void **state)
{
    struct fixture *f = *state;
    struct state s = make(f), found;
    char note[300], kept[300], line[300];
    snprintf(note, sizeof note, "%s/sockets", s.run);
    snprintf(kept, sizeof kept, "%s/orders.endpoints.json", s.run);
    snprintf(line, sizeof line, "%s/other/run\n", f->dir);
    assert_int_equal(state_choose_sockets(f->e, &f->a, &s, 20, NULL), FICUS_ERR_OK);
    assert_int_equal(env_file_store(f->e, kept, SLICE("{}"), NULL), FICUS_ERR_OK);
    assert_int_equal(state_choose_sockets(f->e, &f->a, &s, 20, NULL), FICUS_ERR_OK);
    assert_int_equal(access(kept, F_OK), 0); /* as it was: kept */

    assert_int_equal(env_file_store(f->e, note, slice_str(line), NULL), FICUS_ERR_OK);
    assert_int_equal(state_locate(&f->a, f->manifest, &found, NULL), FICUS_ERR_OK);
    assert_string_equal(found.sockets, s.run);
    assert_int_equal(state_choose_sockets(f->e, &f->a, &s, 20, NULL), FICUS_ERR_OK);
    assert_string_equal(s.sockets, s.run);
    assert_int_not_equal(access(kept, F_OK), 0);
}

/* A purge removes what Ficus made, follows no link, leaves what is not ours, and names it. */
static void test_purge(void **state)
{
    struct fixture *f = *state;
    struct state s = make(f);
    const char *left;
    char path[256], target[256];
    snprintf(target, sizeof target, "%s/precious", f->dir);
    assert_int_equal(mkdir(target, 0700), 0);
    snprintf(path, sizeof path, "%s/precious/file", f->dir);
    close(open(path, O_WRONLY | O_CREAT, 0600));
    snprintf(path, sizeof path, "%s/link", s.data);
    assert_int_equal(symlink(target, path), 0);
    snprintf(path, sizeof path, "%s/orders.db", s.data);
    close(open(path, O_WRONLY | O_CREAT, 0600));
    snprintf(path, sizeof path, "%s/mine.txt", s.root);
    close(open(path, O_WRONLY | O_CREAT, 0600));
    assert_int_equal(state_key(f->e, &s, NULL), FICUS_ERR_OK);
    assert_int_equal(state_purge(&f->a, &s, &left, NULL), FICUS_ERR_OK);
    assert_non_null(strstr(left, "mine.txt"));
    assert_non_null(strstr(left, "data")); /* for the link in it */
    assert_true(exists(f, "precious/file"));
    assert_true(exists(f, ".ficus/data/link"));
    assert_false(exists(f, ".ficus/data/orders.db"));
    assert_false(exists(f, ".ficus/system.key"));
    assert_false(exists(f, ".ficus/run"));
    unlink(path);
    snprintf(path, sizeof path, "%s/link", s.data);
    unlink(path);
    rmdir(s.data);
    rmdir(s.root);
    snprintf(path, sizeof path, "%s/precious/file", f->dir);
    unlink(path);
    rmdir(target);
    s = make(f);
    assert_int_equal(state_purge(&f->a, &s, &left, NULL), FICUS_ERR_OK);
    assert_string_equal(left, "");
    assert_false(exists(f, ".ficus"));
}

/* The record of children comes back as it was written; a torn one is CORRUPT, none is NOT_FOUND. */
static void test_children(void **state)
{
    struct fixture *f = *state;
    struct state s = make(f);
    struct child_record records[] = {
        {.kind = CHILD_GATEWAY,
         .name = "gateway",
         .team = "",
         .address = "tcp:127.0.0.1:80",
         .instance = 1,
         .pid = getpid(),
         .start_ticks = 7},
        {.kind = CHILD_SERVICE,
         .name = "orders",
         .team = "checkout",
         .address = "unix:/x",
         .instance = 1,
         .restarts = 3,
         .started_at_ms = 5},
    };
    struct children c = {.system = "shop",
                         .gateway_url = "http://x",
                         .supervisor_pid = 42,
                         .supervisor_start_ticks = 9,
                         .records = records,
                         .count = 2};
    struct children back;
    assert_int_equal(children_read(f->e, &f->a, s.children_file, &back, NULL), FICUS_ERR_NOT_FOUND);
    assert_int_equal(children_write(f->e, s.children_file, &c, NULL), FICUS_ERR_OK);
    assert_int_equal(children_read(f->e, &f->a, s.children_file, &back, NULL), FICUS_ERR_OK);
    assert_int_equal(back.count, 2);
    assert_string_equal(back.system, "shop");
    assert_int_equal(back.supervisor_pid, 42);
    assert_string_equal(back.records[1].name, "orders");
    assert_string_equal(back.records[1].team, "checkout");
    assert_int_equal(back.records[1].restarts, 3);
    assert_int_equal(back.records[0].pid, getpid());
    /* a pid that belongs to somebody else by now (another start time) is not ended: we are still here */
    assert_int_equal(children_end(&back, s.root, 100), 0);
    assert_int_equal(env_file_store(f->e, s.children_file, SLICE("{\"version\":1,\"chil"), NULL), FICUS_ERR_OK);
    assert_int_equal(children_read(f->e, &f->a, s.children_file, &back, NULL), FICUS_ERR_CORRUPT);
    struct ficus_error error = {0};
    assert_int_equal(env_file_store(f->e, s.children_file, SLICE("{\"version\":2,\"people\":[]}"), NULL), FICUS_ERR_OK);
    assert_int_equal(children_read(f->e, &f->a, s.children_file, &back, &error), FICUS_ERR_VERSION);
    assert_non_null(strstr(error.text, "children.json: record of version 2"));
}

/* A process that leads its session, with FICUS_CONFIG in its environment. It has begun when this returns. */
static struct child_record start_child(const char *config)
{
    char variable[256], name[] = "sleep", seconds[] = "60";
    char *arguments[] = {name, seconds, NULL}, *environment[] = {variable, NULL};
    struct proc_info info;
    int pipes[2];
    snprintf(variable, sizeof variable, "FICUS_CONFIG=%s", config);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        execve("/bin/sleep", arguments, environment);
        _exit(127);
    }
    close(pipes[1]);
    assert_int_equal(read(pipes[0], variable, 1), 0); /* closed by execve */
    close(pipes[0]);
    assert_true(proc_read(pid, &info));
    return (struct child_record){.name = "x", .pid = pid, .start_ticks = info.start_ticks};
}

/* What the record names is ended when it was started for this state folder. The record of a copied folder names the
 * processes of another system: they go on. */
static void test_children_end(void **state)
{
    struct fixture *f = *state;
    struct state s = make(f);
    struct child_record records[] = {
        start_child(arena_printf(&f->a, "%s/run/x.json", s.root)),
        start_child(arena_printf(&f->a, "%s-original/run/x.json", s.root)),
    };
    struct children c = {.records = records, .count = 2};
    assert_int_equal(children_end(&c, s.root, 5000), 1);
    assert_int_equal(waitpid((pid_t)records[0].pid, NULL, 0), records[0].pid);
    assert_true(proc_is(records[1].pid, records[1].start_ticks));
    assert_int_equal(kill((pid_t)records[1].pid, SIGKILL), 0);
    assert_int_equal(waitpid((pid_t)records[1].pid, NULL, 0), records[1].pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_create, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_foreign, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_secrets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sockets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_copied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_purge, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_children, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_children_end, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
