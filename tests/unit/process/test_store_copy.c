/* SPDX-License-Identifier: Apache-2.0
 *
 * The answer that is a database: over a socket, on the product's env; whole, one at a time, given up when the client goes,
 * patient with a reader.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "http_client.h"
#include "http_server.h"
#include "io_env.h"
#include "mem.h"
#include "store_copy.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ROWS = 3000 };

static struct env *e;
static struct db *db;
static struct http_server *server;
static struct store_copy copy;
static struct logger logger;
static char dir[32], address[64];
static unsigned idle_count, closed_count;
static bool server_closed;
static struct ficus_error error;

static const struct db_migration migrations[] = {{1, "0001_t.sql", SLICE("CREATE TABLE t(id INTEGER PRIMARY KEY, b TEXT)")}};

/* ---- the service ---- */

static void on_request(void *arg, struct http_stream *s, bool end, const struct env_peer *peer)
{
    (void)arg, (void)end, (void)peer;
    store_copy_answer(&copy, s, 17);
}

static void on_idle(void *arg)
{
    (void)arg;
    idle_count++;
}

static void on_server_closed(void *arg)
{
    (void)arg;
    server_closed = true;
    env_uv_stop(e);
}

static void insert(int64_t id)
{
    struct db_tx tx = {0};
    assert_int_equal(db_tx_begin(db, &tx, 0, &error), FICUS_ERR_OK);
    assert_int_equal(db_exec(db_tx_conn(&tx), &error, "INSERT INTO t VALUES(?, printf('%0900d', 1))", "i", id), FICUS_ERR_OK);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
}

static const char *path_of(const char *name)
{
    static char path[96];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/ficus-copy-XXXXXX");
    if (mkdtemp(dir) == NULL || (e = env_uv_new(NULL, &error)) == NULL)
        return -1;
    const struct db_options o = {.path = path_of("t.db")};
    struct db_tx tx = {0};
    assert_int_equal(db_open(e, &o, &db, &error), FICUS_ERR_OK);
    assert_int_equal(db_migrate(db, "app", migrations, 1, &error), FICUS_ERR_OK);
    assert_int_equal(db_tx_begin(db, &tx, 0, &error), FICUS_ERR_OK);
    for (int64_t id = 1; id <= ROWS; id++)
        assert_int_equal(db_exec(db_tx_conn(&tx), &error, "INSERT INTO t VALUES(?, printf('%0900d', 1))", "i", id), FICUS_ERR_OK);
    assert_int_equal(db_tx_commit_wait(&tx, &error), FICUS_ERR_OK);
    logger_init(&logger, e, "copy", "1", LOG_ERROR);
    copy = (struct store_copy){.env = e, .db = db, .log = &logger, .idle = on_idle};
    idle_count = closed_count = 0;
    server_closed = false;
    (void)snprintf(address, sizeof address, "unix:%s/s", dir);
    const struct http_server_options so = {.on_request = on_request};
    assert_int_equal(http_server_new(e, &so, &server), FICUS_ERR_OK);
    return http_server_listen(server, address, NULL, &error) == FICUS_ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"t.db", ".t.db.made", "copy.db", "s"};
    http_server_close(server, on_server_closed, NULL);
    while (!server_closed)
        env_uv_run(e);
    assert_false(store_copy_busy(&copy));
    db_close(db);
    logger_done(&logger);
    env_uv_free(e);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        (void)unlink(path_of(names[i]));
    return rmdir(dir);
}

/* ---- the operator ---- */

struct client {
    struct http_client_conn *conn;
    struct env_file *to; /* NULL: what comes is dropped */
    int status;
    int64_t length, size, stop_at; /* 0: takes all */
    char offset[24], moment[40];
    bool is_whole;
};

static void on_head(void *arg, struct http_stream *s, struct http_msg *m, bool end)
{
    struct client *c = arg;
    c->status = m->status;
    c->length = m->content_length;
    (void)snprintf(c->offset, sizeof c->offset, SLICE_FMT, SLICE_ARG(http_msg_get(m, "ficus-offset")));
    (void)snprintf(c->moment, sizeof c->moment, SLICE_FMT, SLICE_ARG(http_msg_get(m, "ficus-moment")));
    if (!end)
        http_recv(s);
}

static void on_data(void *arg, struct http_stream *s, struct slice data, bool end)
{
    struct client *c = arg;
    if (c->to != NULL)
        assert_int_equal(env_file_write(e, c->to, data.p, data.size, c->size), FICUS_ERR_OK);
    c->size += (int64_t)data.size;
    if (c->stop_at > 0 && c->size >= c->stop_at)
        env_uv_stop(e); /* it reads no further, and is there still */
    else if (!end)
        http_recv(s);
}

static void on_done(void *arg, struct http_stream *s)
{
    (void)s;
    struct client *c = arg;
    c->is_whole = true;
    env_uv_stop(e);
}

static void on_reset(void *arg, struct http_stream *s, enum ficus_err err, const char *detail)
{
    (void)arg, (void)s, (void)err, (void)detail;
    env_uv_stop(e);
}

static const struct http_handler handler = {.on_head = on_head, .on_data = on_data, .on_done = on_done, .on_reset = on_reset};

static void on_connected(void *arg, struct http_client_conn *conn, enum ficus_err err)
{
    struct http_stream *s = NULL;
    struct http_msg m;
    assert_int_equal(err, FICUS_ERR_OK);
    assert_int_equal(http_client_open(conn, &handler, arg, &s), FICUS_ERR_OK);
    http_msg_init(&m, s->arena);
    m.method = SLICE("GET");
    m.path = SLICE("/");
    m.authority = SLICE("ficus");
    m.content_length = 0;
    assert_int_equal(http_send_head(s, &m, true), FICUS_ERR_OK);
}

static void on_room(void *arg, struct http_client_conn *conn)
{
    (void)arg, (void)conn;
}

static void on_closed(void *arg, struct http_client_conn *conn)
{
    struct client *c = arg;
    (void)conn;
    c->conn = NULL;
    closed_count++;
    env_uv_stop(e);
}

static const struct http_client_handler client_handler = {.on_connected = on_connected, .on_room = on_room, .on_closed = on_closed};

static void ask(struct client *c)
{
    assert_int_equal(http_client_connect(e, address, NULL, &client_handler, c, &c->conn), FICUS_ERR_OK);
}

static void leave(struct client *c)
{
    if (c->conn != NULL)
        http_client_close(c->conn);
    while (c->conn != NULL)
        env_uv_run(e);
}

/* All bytes come, with their number and moment; the file is a sound database. */
static void test_whole(void **state)
{
    (void)state;
    struct client c = {0};
    assert_int_equal(env_file_open(e, path_of("copy.db"), ENV_OPEN_CREATE, &c.to, &error), FICUS_ERR_OK);
    ask(&c);
    while (!c.is_whole)
        env_uv_run(e);
    assert_int_equal(c.status, 200);
    assert_true(c.length > ROWS * 900);
    assert_int_equal(c.size, c.length);
    assert_string_equal(c.offset, "17");
    assert_int_equal(strlen(c.moment), 24);
    env_file_close(e, c.to);
    assert_int_equal(idle_count, 1);
    assert_int_equal(db_check(e, path_of("copy.db"), &error), FICUS_ERR_OK);
    leave(&c);
}

/* While one takes its time another is told so, and writing goes on; when the first goes away all is as before. */
static void test_gone(void **state)
{
    (void)state;
    struct client slow = {.stop_at = 1}, second = {0}, third = {0};
    ask(&slow);
    while (slow.size == 0)
        env_uv_run(e);
    assert_true(store_copy_busy(&copy));
    ask(&second);
    while (!second.is_whole)
        env_uv_run(e);
    assert_int_equal(second.status, 503);
    insert(ROWS + 1);
    leave(&slow);
    leave(&second);
    while (store_copy_busy(&copy)) { /* until the service has seen it */
        struct client look = {0};
        ask(&look);
        while (!look.is_whole)
            env_uv_run(e);
        leave(&look);
    }
    ask(&third);
    while (!third.is_whole)
        env_uv_run(e);
    assert_int_equal(third.status, 200);
    assert_int_equal(third.size, third.length);
    leave(&third);
}

/* The service closes in the middle: idle comes, and then the database may be closed. */
static void test_closing(void **state)
{
    (void)state;
    struct client slow = {.stop_at = 1};
    ask(&slow);
    while (slow.size == 0)
        env_uv_run(e);
    http_server_close(server, on_server_closed, NULL);
    while (!server_closed || store_copy_busy(&copy))
        env_uv_run(e);
    assert_int_equal(idle_count, 1);
    assert_false(slow.is_whole);
    leave(&slow);
    const struct http_server_options so = {.on_request = on_request};
    assert_int_equal(http_server_new(e, &so, &server), FICUS_ERR_OK);
    server_closed = false;
}

static void give_reader(void *arg)
{
    db_reader_give(db, arg);
}

/* Somebody reads from an earlier moment: the copy waits for him, and is of the moment behind. */
static void test_reader(void **state)
{
    (void)state;
    struct db_conn *reader = NULL;
    struct db_stmt *s = NULL;
    struct client c = {0};
    assert_int_equal(db_reader_take(db, &reader, &error), FICUS_ERR_OK);
    assert_int_equal(db_query(reader, &s, &error, "SELECT id FROM t", ""), FICUS_ERR_OK);
    assert_int_equal(db_step(s, &error), 1);
    insert(ROWS + 1);
    struct env_timer later = {.fn = give_reader, .arg = reader};
    env_timer_start(e, &later, 100);
    ask(&c);
    while (!c.is_whole)
        env_uv_run(e);
    assert_int_equal(c.status, 200);
    leave(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_closing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reader, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
