/* SPDX-License-Identifier: Apache-2.0
 *
 * data_bench commits|events FILE SECONDS PARALLEL: how many a second the data floor and the embedded log acknowledge,
 * each synced, while so many writers wait for theirs. Prints the number; data.py sets it beside a plain loop.
 */
#include "db.h"
#include "elog.h"
#include "io_env.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { WRITERS_MAX = 64 };

struct bench;

struct writer {
    struct bench *bench;
    struct env_job job;
    struct event event;
    char id[32];
};

struct bench {
    struct env *env;
    struct db *db;
    struct elog *log;
    int64_t end_ns;
    atomic_int_least64_t count;
    size_t writers_left;
    bool failed;
    struct writer writers[WRITERS_MAX];
};

static const char payload[] = "{\"pad\":\"0123456789012345678901234567890123456789012345678901234567890123456789"
                              "0123456789012345678901234567890123456789012345678901234567890123456789012345678901\"}";

static bool over(const struct bench *b)
{
    return env_now_ns(b->env) >= b->end_ns;
}

static void writer_ended(void *arg)
{
    struct writer *w = arg;
    if (--w->bench->writers_left == 0)
        env_uv_stop(w->bench->env);
}

/* ---- commits: one row each, on a worker ---- */

static bool commit_one(struct bench *b)
{
    struct db_tx tx = {0};
    struct ficus_error error;
    if (db_tx_begin(b->db, &tx, 0, &error) != FICUS_ERR_OK) {
        fprintf(stderr, "%s\n", error.text);
        return false;
    }
    if (db_exec(db_tx_conn(&tx), &error, "INSERT INTO t(text) VALUES(?)", "s", payload) != FICUS_ERR_OK) {
        fprintf(stderr, "%s\n", error.text);
        db_tx_rollback(&tx);
        return false;
    }
    enum ficus_err err = db_tx_commit_wait(&tx, &error);
    if (err != FICUS_ERR_OK)
        fprintf(stderr, "%s\n", error.text);
    return err == FICUS_ERR_OK;
}

static void commits(void *arg)
{
    struct writer *w = arg;
    while (!over(w->bench) && commit_one(w->bench))
        atomic_fetch_add(&w->bench->count, 1);
}

static enum ficus_err commits_start(struct bench *b, const char *path, size_t parallel, struct ficus_error *reterr)
{
    static const struct db_migration table = {
        1, "0001_t.sql", SLICE("CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT NOT NULL)")};
    enum ficus_err err = db_open(b->env, &(struct db_options){.path = path}, &b->db, reterr);
    if (err == FICUS_ERR_OK)
        err = db_migrate(b->db, "bench", &table, 1, reterr);
    for (size_t i = 0; err == FICUS_ERR_OK && i < parallel; i++) {
        b->writers[i].job = (struct env_job){.work = commits, .done = writer_ended, .arg = &b->writers[i]};
        err = env_run(b->env, &b->writers[i].job);
    }
    return err;
}

/* ---- events: batches of one, on the loop ---- */

static void publish(struct writer *w);

static void published(void *arg, enum ficus_err err, int64_t last_offset, const char *detail)
{
    struct writer *w = arg;
    (void)last_offset;
    if (err != FICUS_ERR_OK) {
        fprintf(stderr, "%s\n", detail);
        w->bench->failed = true;
    } else {
        atomic_fetch_add(&w->bench->count, 1);
    }
    if (err == FICUS_ERR_OK && !over(w->bench))
        publish(w);
    else
        writer_ended(w);
}

static void publish(struct writer *w)
{
    struct bench *b = w->bench;
    snprintf(w->id, sizeof w->id, "%zu-%lld", (size_t)(w - b->writers), (long long)atomic_load(&b->count));
    w->event = (struct event){.id = slice_str(w->id), .source = SLICE("/bench"), .topic = SLICE("bench.written"),
                              .subject = slice_str(w->id), .time = SLICE("2026-01-01T00:00:00.000Z"),
                              .data = slice_str(payload)};
    enum ficus_err err = elog_append(b->log, &w->event, 1, published, w);
    if (err != FICUS_ERR_OK) {
        fprintf(stderr, "append: %s\n", err_text(err));
        b->failed = true;
        writer_ended(w);
    }
}

static enum ficus_err events_start(struct bench *b, const char *path, size_t parallel, struct ficus_error *reterr)
{
    enum ficus_err err = elog_open(b->env, &(struct elog_options){.path = path}, &b->log, reterr);
    for (size_t i = 0; err == FICUS_ERR_OK && i < parallel; i++)
        publish(&b->writers[i]);
    return err;
}

static void log_closed(void *arg)
{
    env_uv_stop(((struct bench *)arg)->env);
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct ficus_error error = {0};
    int64_t seconds = 0, parallel = 0;
    if (argc != 5 || !slice_to_i64(slice_str(argv[3]), &seconds) || seconds < 1 || seconds > 3600 ||
        !slice_to_i64(slice_str(argv[4]), &parallel) || parallel < 1 || parallel > WRITERS_MAX) {
        fprintf(stderr, "usage: data_bench commits|events FILE SECONDS PARALLEL (at most %d)\n", WRITERS_MAX);
        return 2;
    }
    b.env = env_uv_new(&(struct env_uv_options){.workers_count = (uint32_t)parallel}, &error);
    if (b.env == NULL) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    int64_t begin_ns = env_now_ns(b.env);
    b.end_ns = begin_ns + seconds * 1000000000;
    b.writers_left = (size_t)parallel;
    for (size_t i = 0; i < WRITERS_MAX; i++)
        b.writers[i].bench = &b;
    bool of_events = strcmp(argv[1], "events") == 0;
    enum ficus_err err = (of_events ? events_start : commits_start)(&b, argv[2], (size_t)parallel, &error);
    if (err != FICUS_ERR_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    env_uv_run(b.env);
    double took = (double)(env_now_ns(b.env) - begin_ns) / 1e9;
    db_close(b.db);
    if (b.log != NULL) {
        elog_close(b.log, log_closed, &b);
        env_uv_run(b.env);
    }
    env_uv_free(b.env);
    printf("%.0f\n", (double)atomic_load(&b.count) / took);
    return b.failed || took < (double)seconds ? 1 : 0;
}
