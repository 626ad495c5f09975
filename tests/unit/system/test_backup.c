/* SPDX-License-Identifier: Apache-2.0
 *
 * Backups on the disk: the list, what belongs into one and in which order, making one, and putting one back with a kill
 * before each operation.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "backup.h"
#include "db.h"
#include "io_env.h"
#include "mem.h"
#include "restore.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILLED = 99 };

static struct env *e;
static struct arena a;
static struct state s;
static struct ficus_error error;
static char dir[64];
static struct backup_maker maker;

/* ---- the folder ---- */

static const char *at(const char *path)
{
    return arena_printf(&a, "%s/%s", dir, path);
}

static bool exists(const char *path)
{
    struct stat st;
    return lstat(at(path), &st) == 0;
}

static void put(const char *path, const char *text)
{
    assert_int_equal(env_file_store(e, at(path), slice_str(text), &error), FICUS_ERR_OK);
}

static const char *get(const char *path)
{
    struct slice text;
    assert_int_equal(env_file_load(e, &a, at(path), 1 << 20, &text, &error), FICUS_ERR_OK);
    return text.p;
}

static void remove_all(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

static int set_up(void **state)
{
    e = env_uv_new(NULL, NULL);
    arena_init(&a, 256 << 20);
    /* in memory where there is some: the disk's syncs would take a minute, and no power fails here */
    snprintf(dir, sizeof dir, "%s/ficus-backup-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(dir) == NULL)
        return -1;
    setenv("FICUS_STATE", at("state"), 1);
    return state_locate(&a, "ficus.yaml", &s, &error) == FICUS_ERR_OK && state_create(e, &s, &error) == FICUS_ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    remove_all();
    arena_done(&a);
    env_uv_free(e);
    return 0;
}

static void expect_says(const char *text)
{
    if (strstr(error.text, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.text, text);
}

/* A database with one row that says who it is. */
static void make_database(const char *path, const char *text)
{
    const struct db_options o = {.path = at(path)};
    const char *sql = arena_printf(&a, "CREATE TABLE t(b TEXT); INSERT INTO t VALUES('%s')", text);
    const struct db_migration m = {1, "0001_t.sql", slice_str(sql)};
    struct db *d = NULL;
    assert_int_equal(db_open(e, &o, &d, &error), FICUS_ERR_OK);
    assert_int_equal(db_migrate(d, "t", &m, 1, &error), FICUS_ERR_OK);
    db_close(d);
}

static const char *database_text(const char *path)
{
    const struct db_options o = {.path = at(path), .is_derived = true};
    struct db *d = NULL;
    struct db_conn *c = NULL;
    struct db_stmt *q = NULL;
    assert_int_equal(db_open(e, &o, &d, &error), FICUS_ERR_OK);
    assert_int_equal(db_reader_take(d, &c, &error), FICUS_ERR_OK);
    assert_int_equal(db_query(c, &q, &error, "SELECT b FROM t", ""), FICUS_ERR_OK);
    assert_int_equal(db_step(q, &error), 1);
    const char *text = arena_strdup(&a, db_text(q, 0));
    db_finish(q);
    db_reader_give(d, c);
    db_close(d);
    return text;
}

/* ---- the list ---- */

/* What is written is read again, word for word. */
static void test_list(void **state)
{
    struct backup_file files[] = {
        {.path = "data/orders.db", .service = "orders", .is_database = true, .size = 4096, .moment_ms = 1700000000123, .offset = 17},
        {.path = "private/identity/keys/a.pem", .service = "identity", .size = 3, .moment_ms = 1700000000456, .offset = -1},
        {.path = "system.key", .service = "", .size = 65, .moment_ms = 1700000000789, .offset = -1}};
    for (size_t i = 0; i < ARRAY_COUNT(files); i++)
        snprintf(files[i].sha256, sizeof files[i].sha256, "%064zu", i);
    const struct backup b = {.system = "shop", .ficus = "0.1.0", .begun_ms = 1700000000000, .ended_ms = 1700000001000,
                             .is_part = true, .files = files, .count = 3};
    struct backup again;
    struct buf text;
    buf_init(&text, 1 << 16);
    backup_write(&b, &text);
    put("backup.json", buf_str(&text));
    assert_int_equal(backup_read(e, &a, dir, &again, &error), FICUS_ERR_OK);
    assert_string_equal(again.system, "shop");
    assert_int_equal(again.count, 3);
    struct buf text_again;
    buf_init(&text_again, 1 << 16);
    backup_write(&again, &text_again);
    assert_string_equal(buf_str(&text), buf_str(&text_again));
    buf_done(&text);
    buf_done(&text_again);
}

/* A list that leads elsewhere, or is not one, or is of a newer ficus, is refused. */
static void test_list_bad(void **state)
{
    static const char head[] = "{\"version\":1,\"ficus\":\"1\",\"system\":\"s\",\"begun\":\"2026-01-01T00:00:00Z\","
                               "\"ended\":\"2026-01-01T00:00:00Z\",\"part\":false,\"files\":[";
    static const char *const paths[] = {
        "/etc/passwd", "../x.db", "data/../x.db", "data/.x.db", "data/x", "data/a/x.db", "data/", "run/hub.json", "private", "private/",
        "private/../system.key", "private//x", "private/./x", "system.key/x", ".ficus-state", "", "data/x.db\\u0000"};
    struct backup b;
    assert_int_equal(backup_read(e, &a, dir, &b, &error), FICUS_ERR_NOT_FOUND);
    expect_says("is no backup");
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        const char *kind = strncmp(paths[i], "data", 4) == 0 ? "database" : "file";
        put("backup.json", arena_printf(&a, "%s{\"path\":\"%s\",\"kind\":\"%s\",\"size\":1,\"sha256\":\"%064d\",\"moment\":"
                                            "\"2026-01-01T00:00:00Z\"}]}", head, paths[i], kind, 1));
        assert_int_equal(backup_read(e, &a, dir, &b, &error), FICUS_ERR_CORRUPT);
    }
    const char *good = arena_printf(&a, "{\"path\":\"data/x.db\",\"kind\":\"database\",\"size\":1,\"sha256\":\"%064d\",\"moment\":"
                                        "\"2026-01-01T00:00:00Z\"}", 1);
    put("backup.json", arena_printf(&a, "%s%s]}", head, good));
    assert_int_equal(backup_read(e, &a, dir, &b, &error), FICUS_ERR_OK);
    put("backup.json", arena_printf(&a, "%s%s,%s]}", head, good, good));
    assert_int_equal(backup_read(e, &a, dir, &b, &error), FICUS_ERR_CORRUPT);
    put("backup.json", arena_printf(&a, "%s%s", head, good));
    assert_int_equal(backup_read(e, &a, dir, &b, &error), FICUS_ERR_CORRUPT);
    put("backup.json", "{\"version\":2}");
    assert_int_equal(backup_read(e, &a, dir, &b, &error), FICUS_ERR_VERSION);
    expect_says("use the newer one");
}

/* ---- the plan ---- */

static void put_service(const char *name, const char *store, const char *edges)
{
    put(arena_printf(&a, "state/run/%s.json", name),
        arena_printf(&a, "{\"version\":1,\"system\":\"shop\",\"process\":\"%s\",\"state\":\"%s\",\"key_file\":\"%s\",\"hub\":\"unix:/h\","
                         "\"edges\":{\"hub\":{}%s},\"listen\":[\"unix:/x\"],\"store\":\"%s\",\"migrations\":[],\"workers\":8,"
                         "\"private_dir\":\"\",\"callers\":[],\"publishes\":[],\"consumes\":[],\"settings\":{}}",
                     name, s.root, s.key_file, edges, store[0] == '\0' ? "" : arena_printf(&a, "%s/%s", s.data, store)));
}

static void put_hub(const char *services)
{
    put("state/run/hub.json",
        arena_printf(&a, "{\"version\":1,\"system\":\"shop\",\"process\":\"hub\",\"state\":\"%s\",\"key_file\":\"%s\",\"edges\":{},"
                         "\"listen\":[\"unix:/a\"],\"operator_listen\":[\"unix:/b\"],"
                         "\"log_file\":\"%s/hub-log.db\",\"journal_file\":\"%s/hub-sagas.db\","
                         "\"topics\":{},\"services\":[%s],\"sagas\":[]}", s.root, s.key_file, s.data, s.data, services));
}

static const char *order_of(const struct backup_plan *p)
{
    const char *text = "";
    for (size_t i = 0; i < p->store_count; i++)
        text = arena_printf(&a, "%s%s%s", text, i == 0 ? "" : " ", p->stores[i].name + 5);
    return text;
}

/* Who asks comes before whom he asks; the sagas are first and the log last; rings and services of somebody else do not
 * matter, and those that nobody is known to ask come late. */
static void test_plan(void **state)
{
    struct backup_plan p;
    assert_int_equal(backup_plan_read(e, &a, &s, &p, &error), FICUS_ERR_NOT_FOUND);
    expect_says("nothing was ever started");
    put_hub("\"accounts\",\"bank\",\"gate\",\"orders\",\"payments\",\"views\",\"far\",\"ring1\",\"ring2\"");
    put_service("accounts", "accounts.db", "");
    put_service("bank", "ledger.db", "");
    put_service("gate", "", ",\"orders\":{}"); /* without a store */
    put_service("orders", "orders.db", ",\"payments\":{},\"views\":{}");
    put_service("payments", "payments.db", ",\"bank\":{}");
    put_service("views", "views.db", ",\"bank\":{}");
    put_service("ring1", "ring1.db", ",\"ring2\":{}");
    put_service("ring2", "ring2.db", ",\"ring1\":{}");
    if (backup_plan_read(e, &a, &s, &p, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
    assert_string_equal(order_of(&p), "hub-sagas.db orders.db payments.db views.db accounts.db ledger.db ring1.db ring2.db hub-log.db");
    assert_int_equal(p.service_count, 9);
    put_service("bank", "../../x.db", "");
    put("state/run/bank.json", "{}");
    assert_int_not_equal(backup_plan_read(e, &a, &s, &p, &error), FICUS_ERR_OK);
}

/* ---- making one ---- */

static void add_file(const char *path, const char *service, bool is_database, struct slice bytes)
{
    struct backup_out o;
    assert_int_equal(backup_out_begin(&o, &maker, path, service, &error), FICUS_ERR_OK);
    o.f->is_database = is_database;
    o.f->moment_ms = 1700000000000;
    while (bytes.size > 0) {
        size_t size = bytes.size < 1000 ? bytes.size : 1000;
        assert_int_equal(backup_out_add(&o, slice_make(bytes.p, size), &error), FICUS_ERR_OK);
        bytes = slice_from(bytes, size);
    }
    assert_int_equal(backup_out_end(&o, &error), FICUS_ERR_OK);
}

static void begin(const char *folder)
{
    assert_int_equal(backup_make(&maker, e, &a, folder, &error), FICUS_ERR_OK);
    maker.backup.system = "shop";
    maker.backup.ficus = "0.1.0";
    maker.backup.begun_ms = 1700000000000;
}

static struct slice bytes_of(const char *path)
{
    struct slice bytes;
    assert_int_equal(env_file_load(e, &a, at(path), 1 << 20, &bytes, &error), FICUS_ERR_OK);
    return bytes;
}

/* It has its name only when it is whole; what is there is not touched; what is given up leaves nothing. */
static void test_make(void **state)
{
    begin(at("b/"));
    assert_true(exists("b.partial"));
    assert_false(exists("b"));
    struct backup_maker other;
    assert_int_equal(backup_make(&other, e, &a, at("b"), &error), FICUS_ERR_EXISTS);
    expect_says("b.partial: is there");
    add_file("data/x.db", "x", true, SLICE("not really"));
    backup_give_up(&maker);
    assert_false(exists("b.partial"));
    begin(at("b"));
    add_file("data/x.db", "x", true, SLICE("abc"));
    assert_int_equal(backup_finish(&maker, &error), FICUS_ERR_OK);
    assert_false(exists("b.partial"));
    struct backup b;
    assert_int_equal(backup_read(e, &a, at("b"), &b, &error), FICUS_ERR_OK);
    assert_string_equal(b.files[0].sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct stat st;
    assert_int_equal(stat(at("b/data/x.db"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(at("b/data"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(backup_make(&other, e, &a, at("b"), &error), FICUS_ERR_EXISTS);
    begin(at("c"));
    assert_int_equal(mkdir(at("c"), 0700), 0); /* by somebody else, meanwhile */
    assert_int_equal(backup_finish(&maker, &error), FICUS_ERR_EXISTS);
    backup_give_up(&maker);
    assert_false(exists("c.partial"));
    assert_int_equal(backup_make(&other, e, &a, at("none/d"), &error), FICUS_ERR_NOT_FOUND);
}

/* Of what services keep in files all regular ones are taken, at any depth; no link is followed. */
static void test_tree(void **state)
{
    put("secret", "outside");
    assert_int_equal(mkdir(at("state/private/id"), 0700), 0);
    assert_int_equal(mkdir(at("state/private/id/keys"), 0700), 0);
    put("state/private/id/keys/a.pem", "key a");
    put("state/private/id/empty", "");
    put("state/private/id/b.tmp", "half");
    assert_int_equal(symlink("../../../secret", at("state/private/id/link")), 0);
    assert_int_equal(mkfifo(at("state/private/id/fifo"), 0600), 0);
    begin(at("b"));
    assert_int_equal(backup_add_tree(&maker, &s, "private/id", "id", &error), FICUS_ERR_OK);
    assert_int_equal(backup_add_tree(&maker, &s, "private/none", "none", &error), FICUS_ERR_OK);
    assert_int_equal(backup_finish(&maker, &error), FICUS_ERR_OK);
    assert_int_equal(maker.backup.count, 2);
    assert_string_equal(get("b/private/id/keys/a.pem"), "key a");
    assert_true(exists("b/private/id/empty"));
    assert_false(exists("b/private/id/link"));
}

/* ---- putting one back ---- */

/* A backup of two services and the system's files. */
static void make_backup(void)
{
    make_database("orders.db", "new orders");
    make_database("bank.db", "new bank");
    begin(at("b"));
    add_file("data/orders.db", "orders", true, bytes_of("orders.db"));
    add_file("data/bank.db", "bank", true, bytes_of("bank.db"));
    add_file("private/bank/pin", "bank", false, SLICE("new pin"));
    add_file("system.key", "", false, SLICE("new key"));
    assert_int_equal(backup_finish(&maker, &error), FICUS_ERR_OK);
}

/* What the state has before: a database with its notes and generations, another service's, a key. */
static void make_old(void)
{
    make_database("state/data/orders.db", "old orders");
    put("state/data/orders.db-wal", "");
    put("state/data/orders.2.db", "old generation");
    put("state/data/orders.db.json", "{}");
    make_database("state/data/other.db", "old other");
    assert_int_equal(mkdir(at("state/private/bank"), 0700), 0);
    put("state/private/bank/pin", "old pin");
    put("state/system.key", "old key");
}

static enum ficus_err stage(const struct backup *b, bool whole, bool replace)
{
    const struct restore r = {.e = e, .a = &a, .s = &s, .folder = at("b"), .backup = b, .whole = whole, .replace = replace};
    return restore_stage(&r, &error);
}

static void read_backup(struct backup *b)
{
    assert_int_equal(backup_read(e, &a, at("b"), b, &error), FICUS_ERR_OK);
}

static void expect_old(void)
{
    assert_string_equal(database_text("state/data/orders.db"), "old orders");
    assert_string_equal(get("state/system.key"), "old key");
    assert_string_equal(get("state/private/bank/pin"), "old pin");
    assert_false(exists("state/data/bank.db"));
}

static void expect_new(void)
{
    assert_string_equal(database_text("state/data/orders.db"), "new orders");
    assert_string_equal(database_text("state/data/bank.db"), "new bank");
    assert_true(exists("state/data/.orders.db.made"));
    assert_false(exists("state/data/orders.2.db"));
    assert_false(exists("state/data/orders.db.json"));
    assert_string_equal(get("state/system.key"), "new key");
    assert_string_equal(get("state/private/bank/pin"), "new pin");
    assert_false(exists("state/restore.json"));
    assert_false(exists("state/restore.partial"));
}

/* Into an empty state; and over data only by an operator's word, with the old put aside whole. */
static void test_restore(void **state)
{
    struct backup b;
    const char *aside = NULL;
    make_backup();
    read_backup(&b);
    assert_int_equal(stage(&b, true, false), FICUS_ERR_OK);
    assert_true(restore_is_pending(&s));
    assert_int_equal(restore_finish(e, &a, &s, &aside, &error), FICUS_ERR_OK);
    assert_string_equal(aside, "");
    expect_new();
    assert_int_equal(restore_finish(e, &a, &s, &aside, &error), FICUS_ERR_NOT_FOUND);
    assert_int_equal(stage(&b, true, false), FICUS_ERR_CONFLICT);
    expect_says("--replace");
    assert_false(restore_is_pending(&s));
    assert_false(exists("state/restore.partial"));
    assert_int_equal(stage(&b, true, true), FICUS_ERR_OK);
    assert_int_equal(restore_finish(e, &a, &s, &aside, &error), FICUS_ERR_OK);
    expect_new();
    const char *first = aside;
    assert_int_equal(stage(&b, true, true), FICUS_ERR_OK);
    assert_int_equal(restore_finish(e, &a, &s, &aside, &error), FICUS_ERR_OK);
    assert_string_not_equal(first, aside);
}

/* One byte that is not as it was, a file too short or gone, an unsound database under a right hash: nothing is touched. */
static void test_damaged(void **state)
{
    struct backup b;
    make_backup();
    make_old();
    read_backup(&b);
    struct slice good = bytes_of("b/data/bank.db");
    char *bad = arena_alloc(&a, good.size);
    memcpy(bad, good.p, good.size);
    bad[good.size - 1] ^= 1;
    for (int i = 0; i < 3; i++) {
        if (i < 2)
            assert_int_equal(env_file_store(e, at("b/data/bank.db"), slice_make(bad, good.size - (size_t)i * 4096), &error), FICUS_ERR_OK);
        else
            assert_int_equal(unlink(at("b/data/bank.db")), 0);
        assert_int_equal(stage(&b, true, true), i < 2 ? FICUS_ERR_CORRUPT : FICUS_ERR_NOT_FOUND);
        expect_says("bank.db");
        expect_old();
        assert_false(exists("state/restore.partial"));
    }
    memset(bad + 4096, 'x', 4096);
    assert_int_equal(env_file_store(e, at("b/data/bank.db"), slice_make(bad, good.size), &error), FICUS_ERR_OK);
    assert_true(sha256_hex(slice_make(bad, good.size), b.files[1].sha256));
    assert_int_equal(stage(&b, true, true), FICUS_ERR_CORRUPT);
    expect_old();
}

/* One service alone: what belongs to it gives way, with all its companions, and nothing else. */
static void test_part(void **state)
{
    struct backup b;
    const char *aside = NULL;
    make_backup();
    make_old();
    make_database("state/data/orders2.db", "not the same");
    read_backup(&b);
    b.count = 1; /* orders */
    assert_int_equal(stage(&b, false, true), FICUS_ERR_OK);
    assert_int_equal(restore_finish(e, &a, &s, &aside, &error), FICUS_ERR_OK);
    assert_string_equal(database_text("state/data/orders.db"), "new orders");
    assert_false(exists("state/data/orders.2.db"));
    assert_string_equal(database_text("state/data/other.db"), "old other");
    assert_string_equal(database_text("state/data/orders2.db"), "not the same");
    assert_string_equal(get("state/private/bank/pin"), "old pin");
    assert_string_equal(get("state/system.key"), "old key");
    const char *old = aside + strlen(dir) + 1;
    assert_string_equal(database_text(arena_printf(&a, "%s/data/orders.db", old)), "old orders");
    assert_string_equal(get(arena_printf(&a, "%s/data/orders.2.db", old)), "old generation");
}

/* ---- killed ---- */

static const struct env_ops *real;
static struct env_ops troubled;
static long trouble_at, op_count;
static bool is_kill;

/* False: this one fails, as on a full disk. */
static bool happens(void)
{
    if (++op_count != trouble_at)
        return true;
    if (is_kill)
        _exit(KILLED);
    return false;
}

static enum ficus_err troubled_open(struct env *env, const char *path, unsigned flags, struct env_file **ret_file, struct ficus_error *reterr)
{
    if ((flags & ENV_OPEN_CREATE) == 0 || happens())
        return real->file_open(env, path, flags, ret_file, reterr);
    return err_set(reterr, FICUS_ERR_FULL, "%s: %s", path, err_text(FICUS_ERR_FULL));
}

static enum ficus_err troubled_write(struct env_file *f, const void *p, size_t size, int64_t offset)
{
    return happens() ? real->file_write(f, p, size, offset) : FICUS_ERR_FULL;
}

static enum ficus_err troubled_sync(struct env_file *f)
{
    return happens() ? real->file_sync(f) : FICUS_ERR_IO;
}

static enum ficus_err troubled_unlink(struct env *env, const char *path)
{
    return happens() ? real->file_unlink(env, path) : FICUS_ERR_IO;
}

static enum ficus_err troubled_rename(struct env *env, const char *from, const char *to)
{
    return happens() ? real->file_rename(env, from, to) : FICUS_ERR_FULL;
}

static enum ficus_err troubled_dir_sync(struct env *env, const char *path)
{
    return happens() ? real->dir_sync(env, path) : FICUS_ERR_IO;
}

/* Operation n, of those that change the disk, is killed before, or fails. 0: none any more. */
static void trouble(long n, bool kill)
{
    if (real == NULL)
        real = e->ops;
    e->ops = real;
    trouble_at = n;
    is_kill = kill;
    op_count = 0;
    if (n == 0) {
        real = NULL;
        return;
    }
    troubled = *real;
    troubled.file_open = troubled_open;
    troubled.file_write = troubled_write;
    troubled.file_sync = troubled_sync;
    troubled.file_unlink = troubled_unlink;
    troubled.file_rename = troubled_rename;
    troubled.dir_sync = troubled_dir_sync;
    e->ops = &troubled;
}

/* What the command does: finish one that was interrupted, or do all of it. */
static bool restore_once(void)
{
    struct backup b;
    const char *aside = NULL;
    if (!restore_is_pending(&s) && (backup_read(e, &a, at("b"), &b, &error) != FICUS_ERR_OK || stage(&b, true, true) != FICUS_ERR_OK))
        return false;
    return restore_finish(e, &a, &s, &aside, &error) == FICUS_ERR_OK;
}

/* Do it in a process that is killed before operation n. False: it came to its end. */
static bool killed_before(long n, bool (*work)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        trouble(n, true);
        _exit(work() ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != KILLED)
        fail_msg("killed before operation %ld: the one before left it unable to go on", n);
    return WEXITSTATUS(status) == KILLED;
}

static void start_over(void)
{
    arena_done(&a);
    arena_init(&a, 256 << 20);
    assert_int_equal(state_locate(&a, "ficus.yaml", &s, &error), FICUS_ERR_OK);
    remove_all();
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(state_create(e, &s, &error), FICUS_ERR_OK);
}

static bool back_up(void)
{
    struct backup_out o;
    bool ok = backup_make(&maker, e, &a, at("b"), &error) == FICUS_ERR_OK;
    maker.backup.system = "shop";
    maker.backup.ficus = "0.1.0";
    for (int i = 0; i < 2 && ok; i++) {
        ok = backup_out_begin(&o, &maker, i == 0 ? "data/x.db" : "private/x/pin", "x", &error) == FICUS_ERR_OK;
        if (!ok)
            break;
        o.f->is_database = i == 0;
        ok = backup_out_add(&o, SLICE("some bytes"), &error) == FICUS_ERR_OK && backup_out_add(&o, SLICE(", more"), &error) == FICUS_ERR_OK &&
             backup_out_end(&o, &error) == FICUS_ERR_OK;
        backup_out_drop(&o);
    }
    ok = ok && backup_finish(&maker, &error) == FICUS_ERR_OK;
    if (!ok)
        backup_give_up(&maker);
    return ok;
}

static void expect_whole_or_none(void)
{
    struct backup b;
    if (!exists("b"))
        return;
    assert_int_equal(backup_read(e, &a, at("b"), &b, &error), FICUS_ERR_OK);
    assert_int_equal(b.count, 2);
    assert_string_equal(get("b/data/x.db"), "some bytes, more");
    assert_string_equal(get("b/private/x/pin"), "some bytes, more");
}

/* Making one: killed before each operation there is nothing of that name, or all; each failing, nothing at all is left, but
 * at most the name, when its own sync fails. */
static void test_make_trouble(void **state)
{
    long n = 1;
    for (bool killed = true; killed; n++) {
        start_over();
        killed = killed_before(n, back_up);
        expect_whole_or_none();
        assert_true(killed || exists("b"));
    }
    assert_true(n > 10);
    n = 1;
    for (bool failed = true; failed; n++) {
        start_over();
        trouble(n, false);
        failed = !back_up();
        trouble(0, false);
        expect_whole_or_none();
        assert_false(exists("b.partial"));
        assert_true(failed || exists("b"));
    }
    assert_true(n > 10);
}

/* Killed before each of its operations, and once more in going on: the next run finishes it, everything is there once, and
 * before the note nothing was touched. */
static void test_killed(void **state)
{
    long n = 1;
    for (bool killed = true; killed; n++) {
        start_over();
        make_backup();
        make_old();
        killed = killed_before(n, restore_once);
        if (killed && !restore_is_pending(&s) && !exists("state/data/bank.db"))
            expect_old();
        if (killed && n % 3 == 0 && restore_is_pending(&s))
            (void)killed_before(n / 3 + 1, restore_once);
        if (!exists("state/data/bank.db") || restore_is_pending(&s))
            assert_true(restore_once());
        expect_new();
        char command[256];
        snprintf(command, sizeof command, "test $(ls -d '%s'/replaced-* | wc -l) = 1 && cat '%s'/replaced-*/data/orders.2.db > '%s'", s.root,
                 s.root, at("found"));
        assert_int_equal(system(command), 0);
        assert_string_equal(get("found"), "old generation");
    }
    assert_true(n > 20);
    print_message("killed before each of %ld operations\n", n - 2);
}

/* Each operation fails once: it is said, what was there is there or lies aside, and the next run ends well. */
static void test_failed(void **state)
{
    long n = 1;
    for (bool done = false; !done; n++) {
        start_over();
        make_backup();
        make_old();
        trouble(n, false);
        error.text[0] = '\0';
        bool ok = restore_once();
        done = op_count < n;
        trouble(0, false);
        assert_true(ok || error.text[0] != '\0');
        if (!ok && !restore_is_pending(&s) && !exists("state/data/bank.db"))
            expect_old();
        if (!ok && (restore_is_pending(&s) || !exists("state/data/bank.db")))
            assert_true(restore_once());
        expect_new();
    }
    assert_true(n > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_list_bad, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_plan, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_make, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_restore, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_part, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_make_trouble, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
