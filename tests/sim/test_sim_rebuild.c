/* SPDX-License-Identifier: Apache-2.0
 *
 * A read model is rebuilt while it is asked all the time, with a real hub. In each run the machine dies after another
 * operation on the disk, in each way of dying, or the disk is full for a while from there on: no question is ever
 * answered wrongly, and a rebuild after that works and leaves one store.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_run.h"
#include "host.h"
#include "hub.h"
#include "operator.h"

enum { EVENTS = 4, WAIT_MS = 120000, LATE_MS = 1500, POINTS_MAX = 2000, GENERATIONS_MAX = 6, FULL_OPERATIONS = 6 };

/* ---- the service ---- */

static int on_made(struct ficus_req *req)
{
    return ficus_tx(req) == 0 ? ficus_exec(req, "INSERT INTO seen(id) VALUES(?)", "s", ficus_event_id(req)) : -1;
}

static int seen(struct ficus_req *req)
{
    struct ficus_rows *rows = ficus_query(req, "SELECT count(*) FROM seen", "");
    struct ficus_out *o = ficus_reply(req, 200);
    if (rows == NULL || o == NULL || ficus_row(rows) != 1)
        return -1;
    ficus_out_int(o, NULL, ficus_col_int(rows, 0));
    return 0;
}

static const struct ficus_route routes[] = {{"GET", "/v1/seen", seen, FICUS_SERVICES}, {0}};
static const struct ficus_subscription events[] = {{"thing.made", on_made}, {0}};
static const struct ficus_service model = {.name = "model", .routes = routes, .events = events};

static const char migration[] = "CREATE TABLE seen(id TEXT PRIMARY KEY);";

#define COMMON(process)                                       \
    "\"version\":1,\"system\":\"sim\",\"process\":\"" process \
    "\",\"state\":\"/sim\",\"key_file\":\"/sim/system.key\"," \
    "\"log_level\":\"error\","
static const char model_json[] = "{" COMMON(
    "model") "\"hub\":\"unix:/sim/hub.sock\",\"snapshot_file\":\"/sim/endpoints.json\","
             "\"edges\":{\"hub\":{}},\"listen\":[\"unix:/sim/model.sock\"],\"store\":\"/sim/"
             "model.db\",\"rebuildable\":true,"
             "\"migrations\":[\"/sim/0001_seen.sql\"],\"callers\":[\"operator\"],\"consumes\":[\"thing.made\"]}";
static const char hub_json[] = "{" COMMON(
    "hub") "\"listen\":[\"unix:/sim/hub.sock\"],\"operator_listen\":[\"unix:/sim/hub-ops.sock\"],"
           "\"log_file\":\"/sim/log.db\",\"journal_file\":\"/sim/sagas.db\",\"services\":[\"maker\",\"model\"],"
           "\"topics\":{\"thing.made\":{\"publisher\":\"maker\",\"consumers\":[\"model\"]}}}";

/* ---- the world: one per run, in a process of its own ---- */

struct world {
    struct sim *sim;
    struct arena arena;
    struct sim_disk *disk, *hub_disk;
    struct sim_process *process;
    struct host *host;
    struct service_config config;
    struct hub_config hub_config;
    struct process_config maker_config, operator_config;
    struct process maker, operator;
    struct env_timer ask_timer, publish_timer, look_timer;
    /* what happened */
    int64_t published, wanted; /* events in the log, and that the log shall have */
    int64_t last;              /* answer */
    unsigned answers;
    bool filled, died;
    bool rebuild_wanted, looking;
    char state[16];
};

static void on_broken(void *arg, const char *detail)
{
    (void)arg;
    broken("the rebuilt service cannot take over:", detail);
}

static void model_boot(void *arg, struct env *e)
{
    struct world *w = arg;
    struct ficus_error error = {0};
    static const struct host_hooks hooks = {.ready = on_ready, .broken = on_broken};
    if (host_start(e, &model, &w->config, &hooks, &w->host, &error) != FICUS_ERR_OK)
        broken("the service does not start:", error.text);
}

static void hub_boot(void *arg, struct env *e)
{
    struct world *w = arg;
    hub_starts(e, &w->hub_config);
}

/* ---- the clients: one publishes, one asks and operates ---- */

static void again(struct process *p, struct env_timer *t, int64_t ms)
{
    env_timer_start(p->env, t, ms);
}

static void publish_done(void *arg, const struct call_result *r)
{
    struct world *w = arg;
    if (r->err == FICUS_ERR_OK && r->status == 200)
        w->published++;
    again(&w->maker, &w->publish_timer, 5);
}

static void publish(void *arg)
{
    struct world *w = arg;
    static const struct http_field fields[] = {{SLICE("Content-Type"), SLICE("application/cloudevents-batch+json")}};
    char body[300];
    if (w->published >= w->wanted) {
        again(&w->maker, &w->publish_timer, 50);
        return;
    }
    (void)snprintf(
        body, sizeof body,
        "[{\"specversion\":\"1.0\",\"id\":\"%lld\",\"source\":\"/maker\",\"type\":\"thing.made\",\"subject\":"
        "\"s\",\"time\":\"2026-01-01T00:00:00.000Z\",\"data\":{}}]",
        (long long)w->published);
    const struct call_request r = {.callee = "hub",
                                   .method = SLICE("POST"),
                                   .path = SLICE("/v1/events"),
                                   .fields = fields,
                                   .field_count = 1,
                                   .body = arena_slice(&w->arena, slice_str(body)),
                                   .timeout_ms = 5000};
    must(call_fetch(w->maker.calls, &r, 4096, publish_done, w, NULL), "call_fetch");
}

static void ask_done(void *arg, const struct call_result *r)
{
    struct world *w = arg;
    char text[100];
    again(&w->operator, & w->ask_timer, 7);
    if (r->err != FICUS_ERR_OK || r->status != 200) {
        (void)snprintf(text, sizeof text, "%s, status %d", err_text(r->err), r->status);
        if (w->filled && !w->died)
            broken("a question was not answered:", text);
        return;
    }
    int64_t n = -1;
    (void)slice_to_i64(slice_trim(r->body), &n);
    (void)snprintf(text, sizeof text, "%lld after %lld", (long long)n, (long long)w->last);
    if (n < w->last)
        broken("an answer knows less than the one before:", text);
    w->last = n;
    w->answers++;
}

static void ask(void *arg)
{
    struct world *w = arg;
    const struct call_request r = {
        .callee = "model", .method = SLICE("GET"), .path = SLICE("/v1/seen"), .timeout_ms = 20000};
    must(call_fetch(w->operator.calls, &r, 4096, ask_done, w, NULL), "call_fetch");
}

static void look_done(void *arg, const struct call_result *r)
{
    struct world *w = arg;
    struct arena a;
    struct json *root = NULL;
    arena_init(&a, 65536);
    if (r->err == FICUS_ERR_OK && (r->status == 200 || r->status == 202) &&
        json_parse(&a, r->body, NULL, &root, NULL) == FICUS_ERR_OK) {
        struct slice s = json_string_or(json_get(root, "rebuild"), SLICE("?"));
        (void)snprintf(w->state, sizeof w->state, SLICE_FMT, SLICE_ARG(s));
        w->rebuild_wanted = w->rebuild_wanted && r->status != 202;
    }
    arena_done(&a);
    w->looking = false;
    again(&w->operator, & w->look_timer, 3);
}

static void look(void *arg)
{
    struct world *w = arg;
    const struct call_request r = {.callee = "model",
                                   .method = w->rebuild_wanted ? SLICE("POST") : SLICE("GET"),
                                   .path = SLICE(OPERATOR_REBUILD_PATH),
                                   .timeout_ms = 5000};
    w->looking = true;
    must(call_fetch(w->operator.calls, &r, 4096, look_done, w, NULL), "call_fetch");
}

static void client_init(struct world *w, struct env *e, struct process *p, struct process_config *config,
                        const char *name, const char *callee, const char *address)
{
    struct ficus_error error = {0};
    struct call_policy policy = call_policy_default();
    *config = w->hub_config.common;
    config->process = name;
    if (process_init(p, e, config, &error) != FICUS_ERR_OK)
        broken("a client does not start:", error.text);
    must(call_engine_edge(p->calls, callee, &policy, NULL), "edge");
    call_engine_endpoints(p->calls, callee, &address, 1);
}

static void client_boot(void *arg, struct env *e)
{
    struct world *w = arg;
    client_init(w, e, &w->maker, &w->maker_config, "maker", "hub", "unix:/sim/hub.sock");
    client_init(w, e, &w->operator, & w->operator_config, OPERATOR_NAME, "model", "unix:/sim/model.sock");
    w->publish_timer = (struct env_timer){.fn = publish, .arg = w};
    w->ask_timer = (struct env_timer){.fn = ask, .arg = w};
    w->look_timer = (struct env_timer){.fn = look, .arg = w};
    env_timer_start(e, &w->publish_timer, 1);
    env_timer_start(e, &w->ask_timer, 1);
    env_timer_start(e, &w->look_timer, 1);
}

/* ---- one run ---- */

static void config_read(struct world *w, const char *name, const char *json, const struct conf_table *table,
                        void *ret_config)
{
    struct ficus_error error = {0};
    if (process_config_read(&w->arena, name, slice_str(json), table, ret_config, &error) != FICUS_ERR_OK)
        broken(name, error.text);
}

static void model_up(struct world *w)
{
    w->process = sim_start(w->sim, "model", w->disk, (size_t)w->config.workers + 4, model_boot, w);
}

static struct world *world_new(uint64_t seed)
{
    static struct world the_world;
    struct world *w = &the_world;
    w->sim = sim_new(seed);
    arena_init(&w->arena, 1 << 20);
    config_read(w, "model", model_json, &service_config_table, &w->config);
    config_read(w, "hub", hub_json, &hub_config_table, &w->hub_config);
    w->disk = disk_new("/sim/0001_seen.sql", migration);
    w->hub_disk = disk_new("/sim/0001_seen.sql", migration);
    w->wanted = EVENTS;
    (void)sim_start(w->sim, "hub", w->hub_disk, 4, hub_boot, w);
    (void)sim_start(w->sim, "client", disk_new("/sim/0001_seen.sql", migration), 2, client_boot, w);
    model_up(w);
    return w;
}

/* Until something is so, or the model's machine is dead. */
static void run_until(struct world *w, bool (*so)(const struct world *w), const char *what)
{
    int64_t end_ms = sim_now_ms(w->sim) + WAIT_MS;
    while (!so(w) && sim_alive(w->process)) {
        if (!sim_step(w->sim))
            sim_run_ms(w->sim, 10);
        if (sim_now_ms(w->sim) > end_ms)
            broken("in vain:", what);
    }
}

static bool all_known(const struct world *w)
{
    return w->last == w->wanted;
}

static bool rebuild_over(const struct world *w)
{
    return !w->rebuild_wanted && (strcmp(w->state, "done") == 0 || strcmp(w->state, "failed") == 0);
}

static bool answered(const struct world *w)
{
    return w->answers > 2;
}

static void begin_rebuild(struct world *w)
{
    w->state[0] = '\0';
    w->rebuild_wanted = true;
}

static void check_stores(struct world *w)
{
    char path[64], text[32];
    int count = 0;
    for (int i = 1; i <= GENERATIONS_MAX; i++) {
        (void)snprintf(path, sizeof path, i == 1 ? "/sim/model.db" : "/sim/model.%d.db", i);
        count += sim_disk_exists(w->disk, path);
    }
    (void)snprintf(text, sizeof text, "%d", count);
    if (count != 1)
        broken("stores at the end:", text);
}

/* A fault, a life after it, and a rebuild without faults. full: the disk is full for some operations, else it dies. */
static enum outcome run(uint64_t operation, enum sim_crash mode, bool full)
{
    struct world *w = world_new(operation);
    bool hit = false;
    run_until(w, all_known, "the first filling");
    sim_run_ms(w->sim, 50);
    w->filled = true;
    begin_rebuild(w);
    uint64_t before = sim_disk_op_count(w->disk);
    if (full)
        sim_disk_fail(w->disk, operation, FULL_OPERATIONS, FICUS_ERR_FULL);
    else
        sim_disk_die_after(w->disk, operation);
    run_until(w, rebuild_over, "the end of the rebuild");
    for (int64_t end_ms = sim_now_ms(w->sim) + 500; sim_now_ms(w->sim) < end_ms && sim_alive(w->process);)
        if (!sim_step(w->sim))
            sim_run_ms(w->sim, 10);
    hit = full ? sim_disk_op_count(w->disk) > before + operation : !sim_alive(w->process);
    if (!full && hit) {
        w->died = true;
        sim_kill(w->process);
        sim_disk_crash(w->disk, mode, operation);
        model_up(w);
        w->answers = 0;
        run_until(w, answered, "answers after the crash");
        w->died = false;
    }
    sim_disk_fail(w->disk, 0, 0, FICUS_ERR_FULL);
    if (w->last != EVENTS)
        broken("after the fault it", "knows less");
    sim_disk_die_after(w->disk, (uint64_t)1 << 40);
    sim_run_ms(w->sim, LATE_MS); /* whatever is retired has gone by then */
    begin_rebuild(w);
    run_until(w, rebuild_over, "the second rebuild");
    if (strcmp(w->state, "done") != 0)
        broken("the second rebuild", w->state);
    w->wanted++;
    run_until(w, all_known, "news");
    sim_run_ms(w->sim, LATE_MS);
    check_stores(w);
    return hit ? OUTCOME_HIT : OUTCOME_MISSED;
}

static enum outcome run_dying(uint64_t operation, enum sim_crash mode)
{
    return run(operation, mode, false);
}

static enum outcome run_full(uint64_t operation, enum sim_crash mode)
{
    return run(operation, mode, true);
}

static uint64_t stride = 1; /* only every so many operations one: sanitizers are slow */

/* Wherever the machine dies in a rebuild, the store in use afterwards is a whole one. */
static void test_crashes(void **state)
{
    (void)state;
    die_everywhere(run_dying, stride, 30, POINTS_MAX);
}

/* Wherever the disk is full in a rebuild, the old store serves, or the new one. */
static void test_full(void **state)
{
    (void)state;
    uint64_t n = 0;
    while (n < POINTS_MAX && run_apart(run_full, "the disk was full", n, SIM_CRASH_KEEP) == OUTCOME_HIT)
        n += stride;
    printf("%llu places to be full at\n", (unsigned long long)n);
    assert_in_range(n, 30, POINTS_MAX - 1);
}

int main(int argc, char **argv)
{
    if (argc > 1 && (!slice_to_u64(slice_str(argv[1]), &stride) || stride == 0))
        return 2;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_crashes), cmocka_unit_test(test_full)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
