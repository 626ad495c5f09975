/* SPDX-License-Identifier: Apache-2.0
 *
 * The load of sagas.py; prints one line of JSON.
 *
 *   saga_load run HUB TELL [--at-once N] [--seconds S] [--warm S]
 *       Starts sagas by publishing their start events as the service "starter", so that N are under way: when the
 *       participant tells through the named pipe TELL that a last step was called, the next one starts. What is counted is what
 *       the hub says is finished, which is synced. All that was started must have finished in the end, none twice.
 *   saga_load plain FILE [--at-once N] [--seconds S] [--warm S]
 *       As many durable writes, a little narrower, by a plain loop on SQLite (WAL, synchronous=FULL) without calls: for each saga its row
 *       and seven records, in four commits; N sagas share each.
 */
#include "hub_client.h"
#include "sock.h"

#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum { STEPS = 3, BATCH_MAX = 256, AT_ONCE_MAX = 4096, LAST_S = 10 };

struct load {
    long at_once;
    double seconds, warm;
};

static void die(const char *what, const char *detail)
{
    fprintf(stderr, "saga_load: %s: %s\n", what, detail);
    exit(1);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int say(double steps, double took, long long sagas)
{
    printf("{\"rps\":%.1f,\"sagas\":%lld}\n", steps / took, sagas);
    return 0;
}

/* ---- run ---- */

static int tell_open(const char *path)
{
    char old[4096];
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        sock_die("open", path);
    while (read(fd, old, sizeof old) > 0)
        ; /* of a run that failed */
    return fd;
}

/* How many last steps were called since: at least one, all that are told by now. */
static long told(int fd)
{
    char bytes[AT_ONCE_MAX];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, LAST_S * 1000) != 1)
        die("run", "no saga goes on");
    return read(fd, bytes, sizeof bytes);
}

static void start_sagas(struct hub_client *hub, long count)
{
    for (long n; count > 0; count -= n) {
        n = count < BATCH_MAX ? count : BATCH_MAX;
        hub_client_batch_begin(hub);
        for (long i = 0; i < n; i++)
            hub_client_batch_add(hub, "bench.started", NULL, SLICE("{\"amount\":1299}"));
        hub_client_batch_publish(hub);
    }
}

/* Sagas that are completed, as the hub counts them since its start, and how many are not finished; any other outcome ends
 * the program. */
static long long completed(struct hub_client *hub, long long *ret_running)
{
    static const char name[] = "\nsaga_completed_total{", running[] = "\nsaga_running ";
    struct slice text = hub_client_call(hub, "GET", "/metrics", SLICE_NONE);
    const char *p = strstr(text.p, running);
    long long count = 0;
    if (p == NULL)
        die("run", "the hub has no metric saga_running");
    *ret_running = strtoll(p + sizeof running - 1, NULL, 10);
    for (p = text.p; (p = strstr(p, name)) != NULL; p++) {
        const char *value = strchr(p, '}');
        if (value == NULL || strstr(p, "outcome=\"completed\"") == NULL)
            die("run", "a saga has another outcome than completed");
        count += strtoll(value + 1, NULL, 10);
    }
    return count;
}

static int run(const struct load *l, const char *to, const char *tell)
{
    struct hub_client *hub = hub_client_open(to, "starter");
    int fd = tell_open(tell);
    long long running, before = completed(hub, &running), started = 0, called = 0, warmed = -1;
    double begun = now_s(), warm = begun + l->warm, end = warm + l->seconds, counted_from = 0;
    start_sagas(hub, l->at_once);
    for (started = l->at_once; now_s() < end;) {
        long n = told(fd);
        called += n;
        start_sagas(hub, n);
        started += n;
        if (warmed < 0 && now_s() >= warm) {
            warmed = completed(hub, &running);
            counted_from = now_s();
        }
    }
    if (warmed < 0)
        die("run", "too slow for so short a time");
    long long counted = completed(hub, &running) - warmed;
    double took = now_s() - counted_from;
    while (called < started)
        called += told(fd);
    long long all;
    for (double patience = now_s() + LAST_S; (all = completed(hub, &running) - before) < started || running > 0;)
        if (now_s() > patience)
            die("run", "not all sagas that were started are completed");
    if (all != started)
        die("run", "more sagas are completed than were started");
    hub_client_close(hub);
    close(fd);
    return say((double)(counted * STEPS), took, started);
}

/* ---- plain ---- */

static const char schema[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
    "CREATE TABLE instance(saga TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL, step TEXT NOT NULL,"
    " started_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, input TEXT, PRIMARY KEY(saga, id)) WITHOUT ROWID;"
    "CREATE INDEX instance_open ON instance(state, saga, id) WHERE state = 'running';"
    "CREATE INDEX instance_finished ON instance(updated_at) WHERE state = 'completed';"
    "CREATE TABLE record(seq INTEGER PRIMARY KEY AUTOINCREMENT, saga TEXT NOT NULL, id TEXT NOT NULL,"
    " at INTEGER NOT NULL, kind TEXT NOT NULL, step TEXT NOT NULL, status INTEGER NOT NULL, code TEXT NOT NULL,"
    " attempts INTEGER NOT NULL);"
    "CREATE INDEX record_instance ON record(saga, id, seq);";

struct plain {
    sqlite3 *db;
    sqlite3_stmt *begin, *commit, *insert, *update, *record;
};

/* What a saga writes in one commit: its row, and these records. */
struct move {
    const char *state, *step;
    struct { const char *kind, *step; } records[2];
};
static const struct move moves[] = {
    {"running", "first", {{"started", ""}, {"do_begun", "first"}}},
    {"running", "second", {{"do_done", "first"}, {"do_begun", "second"}}},
    {"running", "third", {{"do_done", "second"}, {"do_begun", "third"}}},
    {"completed", "", {{"do_done", "third"}}},
};
enum { MOVES = sizeof moves / sizeof *moves };

static void check(struct plain *p, int code, int wanted)
{
    if (code != wanted)
        die("sqlite", sqlite3_errmsg(p->db));
}

static void step(struct plain *p, sqlite3_stmt *s)
{
    check(p, sqlite3_step(s), SQLITE_DONE);
    check(p, sqlite3_reset(s), SQLITE_OK);
}

static void text(struct plain *p, sqlite3_stmt *s, int at, const char *value)
{
    check(p, sqlite3_bind_text(s, at, value, -1, SQLITE_STATIC), SQLITE_OK);
}

static sqlite3_stmt *statement(struct plain *p, const char *sql)
{
    sqlite3_stmt *s = NULL;
    check(p, sqlite3_prepare_v3(p->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL), SQLITE_OK);
    return s;
}

static void write_move(struct plain *p, const struct move *m, const char *id, bool is_new)
{
    sqlite3_stmt *row = is_new ? p->insert : p->update;
    int64_t at_ms = (int64_t)(now_s() * 1000);
    text(p, row, 1, id);
    text(p, row, 2, m->state);
    text(p, row, 3, m->step);
    sqlite3_bind_int64(row, 4, at_ms);
    step(p, row);
    for (size_t i = 0; i < 2 && m->records[i].kind != NULL; i++) {
        text(p, p->record, 1, id);
        sqlite3_bind_int64(p->record, 2, at_ms);
        text(p, p->record, 3, m->records[i].kind);
        text(p, p->record, 4, m->records[i].step);
        step(p, p->record);
    }
}

static int plain(const struct load *l, const char *path)
{
    struct plain p = {0};
    long long sagas = 0, counted = 0;
    char id[64];
    check(&p, sqlite3_open(path, &p.db), SQLITE_OK);
    check(&p, sqlite3_exec(p.db, schema, NULL, NULL, NULL), SQLITE_OK);
    p.begin = statement(&p, "BEGIN IMMEDIATE");
    p.commit = statement(&p, "COMMIT");
    p.insert = statement(&p, "INSERT INTO instance(saga, id, state, step, started_at, updated_at, input)"
                             " VALUES('bench', ?1, ?2, ?3, ?4, ?4, '{\"amount\":1299}')");
    p.update = statement(&p, "UPDATE instance SET state = ?2, step = ?3, updated_at = ?4 WHERE saga = 'bench' AND"
                             " id = ?1");
    p.record = statement(&p, "INSERT INTO record(saga, id, at, kind, step, status, code, attempts)"
                             " VALUES('bench', ?1, ?2, ?3, ?4, 204, '', 1)");
    double warm = now_s() + l->warm, end = warm + l->seconds, from = 0;
    for (double now; (now = now_s()) < end; sagas += l->at_once) {
        if (from <= 0 && now >= warm) {
            from = now;
            counted = sagas;
        }
        for (size_t m = 0; m < MOVES; m++) {
            step(&p, p.begin);
            for (long i = 0; i < l->at_once; i++) {
                snprintf(id, sizeof id, "%08x-0000-7000-8000-%012llx", 0x01978f3au, (unsigned long long)(sagas + i));
                write_move(&p, &moves[m], id, m == 0);
            }
            step(&p, p.commit);
        }
    }
    double took = now_s() - from;
    sqlite3_finalize(p.begin);
    sqlite3_finalize(p.commit);
    sqlite3_finalize(p.insert);
    sqlite3_finalize(p.update);
    sqlite3_finalize(p.record);
    sqlite3_close(p.db);
    if (from <= 0)
        die("plain", "too slow for so short a time");
    return say((double)((sagas - counted) * STEPS), took, sagas);
}

/* ---- command line ---- */

static int usage(void)
{
    fprintf(stderr, "usage: saga_load run HUB TELL [--at-once N] [--seconds S] [--warm S]\n"
                    "       saga_load plain FILE [--at-once N] [--seconds S] [--warm S]\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"at-once", required_argument, NULL, 'n'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"warm", required_argument, NULL, 'w'},
                                            {0}};
    struct load l = {.at_once = 1, .seconds = 1, .warm = 0.3};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'n': l.at_once = atol(optarg); break;
        case 's': l.seconds = atof(optarg); break;
        case 'w': l.warm = atof(optarg); break;
        default: return usage();
        }
    }
    int left = argc - optind;
    if (left < 2 || l.at_once < 1 || l.at_once > AT_ONCE_MAX || l.seconds <= 0 || l.warm < 0)
        return usage();
    if (strcmp(argv[optind], "run") == 0 && left == 3)
        return run(&l, argv[optind + 1], argv[optind + 2]);
    if (strcmp(argv[optind], "plain") == 0 && left == 2)
        return plain(&l, argv[optind + 1]);
    return usage();
}
