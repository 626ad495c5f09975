/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the saga engine share: virtual time, a journal on a disk that can crash, start events from a bus in
 * memory, participants that answer as told. Header only.
 */
#ifndef FICUS_TEST_SAGA_WORLD_H
#define FICUS_TEST_SAGA_WORLD_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "db.h"
#include "mem.h"
#include "saga_engine.h"

#include <stdio.h>
#include <stdlib.h>

enum { EVENTS_MAX = 4400, CALLS_MAX = 65536, DEFS_MAX = 4 };

static const char checkout_text[] =
    "{\"name\":\"checkout\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":["
    "{\"placed\":{\"undo\":\"POST orders:/v1/orders/{id}/reject\"}},"
    "{\"reserve\":{\"call\":\"PUT inventory:/v1/reservations/{id}\",\"body\":{\"items\":\"{input.items}\"},"
    "\"undo\":\"DELETE inventory:/v1/reservations/{id}\"}},"
    "{\"charge\":{\"call\":\"PUT payments:/v1/charges/{id}\",\"body\":{\"amount\":\"{input.total}\"},\"undo\":\"DELETE "
    "payments:/v1/charges/{id}\","
    "\"timeout\":\"8s\",\"give_up\":\"10m\",\"code\":\"payment_unavailable\"}},"
    "{\"confirm\":{\"call\":\"POST orders:/v1/orders/{id}/confirm\",\"pivot\":true}},"
    "{\"take\":{\"call\":\"POST inventory:/v1/reservations/{id}/take\",\"retry\":\"forever\"}}]}";

struct plan {
    enum ficus_err err;
    int status;
    const char *code;
};

struct call_fetch { /* the engine's handle of a call: this test's own kind */
    struct world *w;
    struct env_timer timer;
    void (*done)(void *arg, const struct call_result *result);
    void *done_arg;
    struct plan plan;
    struct call_fetch *next;
};

struct world {
    struct sim_disk *disk;
    struct crash_env *ce;
    struct env *env;
    struct saga_engine *g;
    struct arena arena;
    struct saga_def defs[DEFS_MAX];
    uint64_t seed;
    /* bus */
    struct bus bus;
    struct event events[EVENTS_MAX];
    size_t event_count;
    struct env_timer bus_timer;
    void (*pulled)(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next);
    void *pulled_arg;
    int64_t pull_offset, pull_max;
    const char *topics; /* that are asked for; NULL: those of most tests */
    /* participants */
    struct saga_caller caller;
    struct plan (*answer)(struct world *w, const char *key);
    void (*on_call)(struct world *w, const struct call_request *r, const char *key);
    struct call_fetch *fetches;
    char *keys[CALLS_MAX];
    char last_body[512], last_path[256];
    size_t call_count, calling, calling_max;
    struct logger log; /* of errors */
    bool closed;
    int step; /* for the test's own use */
};

/* ---- bus ---- */

static inline void bus_deliver(void *arg)
{
    struct world *w = arg;
    if (w->pulled == NULL)
        return;
    if (w->pull_offset > (int64_t)w->event_count) { /* as the log does: such an offset is not its own */
        void (*refused)(void *, enum ficus_err, const struct event *, size_t, int64_t) = w->pulled;
        w->pulled = NULL;
        refused(w->pulled_arg, FICUS_ERR_CONFLICT, NULL, 0, 0);
        return;
    }
    if (w->pull_offset >= (int64_t)w->event_count)
        return;
    size_t first = (size_t)w->pull_offset, count = w->event_count - first;
    if (count > (size_t)w->pull_max)
        count = (size_t)w->pull_max;
    void (*pulled)(void *, enum ficus_err, const struct event *, size_t, int64_t) = w->pulled;
    w->pulled = NULL;
    pulled(w->pulled_arg, FICUS_ERR_OK, w->events + first, count, w->events[first + count - 1].offset);
}

static inline enum ficus_err
bus_pull(struct bus *b, const char *topics, int64_t offset, size_t count_max, int64_t wait_ms,
         void (*done)(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next), void *arg)
{
    (void)wait_ms;
    struct world *w = CONTAINER_OF(b, struct world, bus);
    assert_string_equal(topics, w->topics != NULL ? w->topics : "order.placed,ficus.saga");
    assert_null(w->pulled);
    w->pulled = done;
    w->pulled_arg = arg;
    w->pull_offset = offset;
    w->pull_max = (int64_t)count_max;
    env_timer_start(w->env, &w->bus_timer, 0);
    return FICUS_ERR_OK;
}

static inline void bus_cancel(struct bus *b)
{
    CONTAINER_OF(b, struct world, bus)->pulled = NULL;
}

static const struct bus_ops bus_ops = {NULL, bus_pull, bus_cancel};

static inline void place(struct world *w, const char *id)
{
    assert_true(w->event_count < EVENTS_MAX);
    struct event *ev = &w->events[w->event_count++];
    *ev = (struct event){
        .id = slice_str(arena_printf(&w->arena, "e%zu", w->event_count)),
        .source = SLICE("/orders"),
        .topic = SLICE("order.placed"),
        .subject = slice_str(arena_printf(&w->arena, "%s", id)),
        .data = SLICE("{\"items\":[{\"sku\":\"85123A\",\"quantity\":6}],\"total\":1530}"),
        .traceparent = SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        .correlation = SLICE("corr-1"),
        .offset = (int64_t)w->event_count,
    };
    if (w->pulled != NULL)
        env_timer_start(w->env, &w->bus_timer, 0);
}

/* ---- participants ---- */

static inline void fetch_end(struct call_fetch *f)
{
    struct call_fetch **at = &f->w->fetches;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    f->w->calling--;
    env_timer_stop(f->w->env, &f->timer);
    free(f);
}

static inline void fetch_done(void *arg)
{
    struct call_fetch *f = arg;
    char body[128] = "";
    if (f->plan.code != NULL)
        snprintf(body, sizeof body, "{\"title\":\"no\",\"code\":\"%s\"}", f->plan.code);
    struct call_result r = {
        .err = f->plan.err, .status = f->plan.err == FICUS_ERR_OK ? f->plan.status : 0, .body = slice_str(body)};
    void (*done)(void *, const struct call_result *) = f->done;
    void *done_arg = f->done_arg;
    fetch_end(f);
    done(done_arg, &r);
}

static inline enum ficus_err caller_start(void *arg, const struct call_request *r, size_t body_size_max,
                                   void (*done)(void *arg, const struct call_result *result), void *done_arg,
                                   struct call_fetch **ret_fetch)
{
    struct world *w = arg;
    (void)body_size_max;
    assert_true(r->keyed && r->timeout_ms > 0);
    assert_true(slice_eq_str(r->fields[0].name, "Idempotency-Key"));
    assert_true(w->call_count < CALLS_MAX);
    char *key = strndup(r->fields[0].value.p, r->fields[0].value.size);
    w->keys[w->call_count++] = key;
    snprintf(w->last_body, sizeof w->last_body, "%.*s", (int)r->body.size, r->body.p != NULL ? r->body.p : "");
    snprintf(w->last_path, sizeof w->last_path, "%.*s %s:%.*s", (int)r->method.size, r->method.p, r->callee,
             (int)r->path.size, r->path.p);
    if (w->on_call != NULL)
        w->on_call(w, r, key);
    struct call_fetch *f = sim_zalloc(sizeof *f);
    *f = (struct call_fetch){.w = w, .done = done, .done_arg = done_arg, .next = w->fetches};
    f->plan = w->answer != NULL ? w->answer(w, key) : (struct plan){.status = 200};
    f->timer = (struct env_timer){.fn = fetch_done, .arg = f};
    w->fetches = f;
    if (++w->calling > w->calling_max)
        w->calling_max = w->calling;
    env_timer_start(w->env, &f->timer, 1);
    *ret_fetch = f;
    return FICUS_ERR_OK;
}

static inline void caller_cancel(void *arg, struct call_fetch *f)
{
    (void)arg;
    fetch_end(f);
}

/* ---- life ---- */

/* With these definitions, of which the first one is begun by the bus's events. */
static inline void open_engine_of(struct world *w, const char *const *def_texts, size_t count)
{
    struct ficus_error error = {0};
    struct saga_def *def;
    assert_true(count <= DEFS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (saga_def_read(&w->arena, slice_str(def_texts[i]), &def, &error) != FICUS_ERR_OK)
            fail_msg("%s", error.text);
        w->defs[i] = *def;
    }
    w->ce = crash_env_new(w->disk, ++w->seed);
    w->env = crash_env(w->ce);
    w->bus_timer = (struct env_timer){.fn = bus_deliver, .arg = w};
    w->bus.ops = &bus_ops;
    w->caller = (struct saga_caller){caller_start, caller_cancel, w};
    logger_init(&w->log, w->env, "hub", "1", LOG_ERROR);
    const struct saga_engine_options o = {.journal_file = "/sagas.db",
                                          .log = &w->log,
                                          .defs = w->defs,
                                          .def_count = count,
                                          .bus = &w->bus,
                                          .caller = &w->caller,
                                          .retention_ms = 3600 * 1000};
    if (saga_engine_new(w->env, &o, &w->g, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
}

static inline void open_engine(struct world *w, const char *def_text)
{
    open_engine_of(w, &def_text, 1);
}

static inline void on_closed(void *arg)
{
    ((struct world *)arg)->closed = true;
}

static inline void close_engine(struct world *w)
{
    w->closed = false;
    saga_engine_close(w->g, on_closed, w);
    crash_env_run_ms(w->ce, 100);
    assert_true(w->closed);
    logger_done(&w->log);
    env_timer_stop(w->env, &w->bus_timer);
    crash_env_free(w->ce);
    w->ce = NULL;
}

/* Run a script on the journal that no engine has open: damage. Behind crash_env_call, of which it is the argument. */
struct journal_script {
    struct world *w;
    const char *sql;
};

static inline void run_on_journal(void *arg)
{
    const struct journal_script *script = arg;
    struct db *d;
    struct db_tx tx = {0};
    const struct db_options o = {.path = "/sagas.db"};
    assert_int_equal(db_open(script->w->env, &o, &d, NULL), FICUS_ERR_OK);
    assert_int_equal(db_tx_begin(d, &tx, 0, NULL), FICUS_ERR_OK);
    assert_int_equal(db_script(db_tx_conn(&tx), slice_str(script->sql), NULL), FICUS_ERR_OK);
    assert_int_equal(db_tx_commit_wait(&tx, NULL), FICUS_ERR_OK);
    db_close(d);
}

/* Power is lost now; the next engine finds what was synced. */
static inline void crash(struct world *w, enum sim_crash mode)
{
    sim_disk_die_after(w->disk, 0);
    close_engine(w);
    sim_disk_crash(w->disk, mode, 7);
}

static inline struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);
    w->disk = sim_disk_new();
    arena_init(&w->arena, 16 * 1024 * 1024);
    return w;
}

static inline void world_free(struct world *w)
{
    close_engine(w);
    for (size_t i = 0; i < w->call_count; i++)
        free(w->keys[i]);
    arena_done(&w->arena);
    sim_disk_free(w->disk);
    free(w);
}

/* ---- what operators see, waited for ---- */

struct seen {
    bool done;
    enum ficus_err err;
    char json[16384], detail[512];
};

static inline void on_view(void *arg, enum ficus_err err, struct slice json, const char *detail)
{
    struct seen *s = arg;
    assert_false(s->done);
    s->done = true;
    s->err = err;
    assert_true(err == FICUS_ERR_OK || detail != NULL);
    snprintf(s->detail, sizeof s->detail, "%s", detail != NULL ? detail : "");
    snprintf(s->json, sizeof s->json, "%.*s", (int)json.size, json.p != NULL ? json.p : "");
}

static inline struct seen show_of(struct world *w, const char *saga, const char *id)
{
    struct seen s = {0};
    assert_int_equal(saga_engine_show(w->g, slice_str(saga), slice_str(id), SLICE_NONE, on_view, &s), FICUS_ERR_OK);
    crash_env_run(w->ce);
    assert_true(s.done);
    return s;
}

static inline struct seen show(struct world *w, const char *id)
{
    return show_of(w, "checkout", id);
}

static inline struct seen command(struct world *w, const struct saga_command *c)
{
    struct seen s = {0};
    assert_int_equal(saga_engine_command(w->g, c, on_view, &s), FICUS_ERR_OK);
    crash_env_run_ms(w->ce, 50);
    assert_true(s.done);
    return s;
}

static inline struct seen say(struct world *w, enum saga_command_kind kind, const char *id)
{
    const struct saga_command c = {
        .kind = kind, .saga = SLICE("checkout"), .id = slice_str(id), .actor = SLICE("ann"), .reason = SLICE("because")};
    return command(w, &c);
}

/* Its own state is the first that is shown; others are its children's. */
static inline bool is_in_state(const struct seen *s, const char *state)
{
    const char *member = strstr(s->json, "\"state\":\"");
    size_t size = strlen(state);
    return s->err == FICUS_ERR_OK && member != NULL && strncmp(member + 9, state, size) == 0 && member[9 + size] == '"';
}

static inline void assert_state_of(struct world *w, const char *saga, const char *id, const char *state)
{
    struct seen s = show_of(w, saga, id);
    assert_int_equal(s.err, FICUS_ERR_OK);
    if (!is_in_state(&s, state))
        fail_msg("%s/%s is not %s: %s", saga, id, state, s.json);
}

static inline void assert_state(struct world *w, const char *id, const char *state)
{
    assert_state_of(w, "checkout", id, state);
}

static inline void assert_calls(const struct world *w, const char *expected)
{
    char all[4096] = "";
    for (size_t i = 0; i < w->call_count; i++) {
        strncat(all, i > 0 ? " " : "", sizeof all - strlen(all) - 1);
        strncat(all, w->keys[i], sizeof all - strlen(all) - 1);
    }
    assert_string_equal(all, expected);
}

#endif
