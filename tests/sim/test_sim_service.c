/* SPDX-License-Identifier: Apache-2.0
 *
 * Exactly once, at every place where a service can die: one service that writes and emits, and consumes what it
 * emitted, with a real hub and a client that repeats until it is answered. The service's machine dies after each single
 * operation on its disk in turn, in each way of dying, and comes back.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_run.h"
#include "db.h"
#include "hub.h"
#include "service.h"

enum { POSTS = 3, WAIT_MS = 60000, LATE_MS = 3000, POINTS_MAX = 2000 };

/* ---- the service ---- */

static int make(struct ficus_req *req)
{
    if (ficus_tx(req) != 0 || ficus_exec(req, "INSERT INTO thing(id) VALUES(?)", "s", ficus_new_id(req)) != 0 ||
        ficus_emit(req, "thing.made", "s", "{}") != 0)
        return -1;
    return ficus_reply_empty(req, 204);
}

static int on_made(struct ficus_req *req)
{
    return ficus_tx(req) == 0 ? ficus_exec(req, "INSERT INTO seen(at) VALUES(?)", "i", ficus_now_ms(req)) : -1;
}

static const struct ficus_route routes[] = {{"POST", "/v1/things", make, FICUS_USERS, .keyed = true}, {0}};
static const struct ficus_subscription events[] = {{"thing.made", on_made}, {0}};
static const struct ficus_service maker = {.name = "maker", .routes = routes, .events = events};

static const char migration[] = "CREATE TABLE thing(id TEXT PRIMARY KEY); CREATE TABLE seen(at INTEGER);";

#define COMMON(process)                                                                                                \
    "\"version\":1,\"system\":\"sim\",\"process\":\"" process "\",\"state\":\"/sim\",\"key_file\":\"/sim/system.key\"," \
    "\"log_level\":\"error\","
static const char maker_json[] =
    "{" COMMON("maker") "\"hub\":\"unix:/sim/hub.sock\",\"snapshot_file\":\"/sim/endpoints.json\","
    "\"edges\":{\"hub\":{}},\"listen\":[\"unix:/sim/maker.sock\"],\"store\":\"/sim/maker.db\","
    "\"migrations\":[\"/sim/0001_things.sql\"],\"callers\":[\"gateway\"],\"publishes\":[\"thing.made\"],"
    "\"consumes\":[\"thing.made\"]}";
static const char hub_json[] =
    "{" COMMON("hub") "\"listen\":[\"unix:/sim/hub.sock\"],\"operator_listen\":[\"unix:/sim/hub-ops.sock\"],"
    "\"log_file\":\"/sim/log.db\",\"journal_file\":\"/sim/sagas.db\",\"services\":[\"maker\"],"
    "\"topics\":{\"thing.made\":{\"publisher\":\"maker\",\"consumers\":[\"maker\"]}}}";

/* ---- the world: one per run, in a process of its own ---- */

struct post {
    struct world *world;
    char key[16];
    struct http_field field;
    struct env_timer timer;
    bool answered;
};

struct world {
    struct sim *sim;
    struct arena arena;
    struct sim_disk *disk, *hub_disk;
    struct sim_process *process;
    struct service_config config;
    struct hub_config hub_config;
    struct process_config client_config;
    struct process client;
    struct post posts[POSTS];
};

static void maker_boot(void *arg, struct env *e)
{
    struct world *w = arg;
    struct service *service = NULL;
    struct ficus_error error = {0};
    static const struct service_hooks hooks = {.ready = on_ready};
    if (service_start(e, &maker, &w->config, &hooks, &service, &error) != FICUS_ERR_OK)
        broken("the service does not start:", error.text);
}

static void hub_boot(void *arg, struct env *e)
{
    struct world *w = arg;
    hub_starts(e, &w->hub_config);
}

/* ---- the client ---- */

static void post_send(void *arg);

static void post_done(void *arg, const struct call_result *r)
{
    struct post *p = arg;
    p->answered = r->err == FICUS_ERR_OK && r->status == 204;
    if (p->answered)
        return;
    p->timer = (struct env_timer){.fn = post_send, .arg = p};
    env_timer_start(p->world->client.env, &p->timer, 100);
}

static void post_send(void *arg)
{
    struct post *p = arg;
    p->field = (struct http_field){SLICE("Idempotency-Key"), slice_str(p->key)};
    const struct call_request r = {.callee = "maker",
                                   .method = SLICE("POST"),
                                   .path = SLICE("/v1/things"),
                                   .fields = &p->field,
                                   .field_count = 1,
                                   .user = SLICE("u"),
                                   .keyed = true,
                                   .correlation = SLICE("sim"),
                                   .timeout_ms = 2000};
    must(call_fetch(p->world->client.calls, &r, 4096, post_done, p, NULL), "call_fetch");
}

static void client_boot(void *arg, struct env *e)
{
    struct world *w = arg;
    struct ficus_error error = {0};
    if (process_init(&w->client, e, &w->client_config, &error) != FICUS_ERR_OK)
        broken("the client does not start:", error.text);
    struct call_policy policy = call_policy_default();
    const char *address = w->config.listen[0];
    must(call_engine_edge(w->client.calls, "maker", &policy, NULL), "edge");
    call_engine_endpoints(w->client.calls, "maker", &address, 1);
    for (int i = 0; i < POSTS; i++) {
        struct post *p = &w->posts[i];
        p->world = w;
        (void)snprintf(p->key, sizeof p->key, "key-%d", i);
        p->timer = (struct env_timer){.fn = post_send, .arg = p};
        env_timer_start(e, &p->timer, 1 + i / 2);   /* some together, some apart */
    }
}

static bool client_done(const struct world *w)
{
    for (int i = 0; i < POSTS; i++)
        if (!w->posts[i].answered)
            return false;
    return true;
}

/* ---- what is on the disk; called outside all stacks, so the world stands still ---- */

static int64_t count(struct world *w, const char *table)
{
    char sql[64];
    struct db *d = NULL;
    struct db_conn *c = NULL;
    struct db_stmt *s = NULL;
    int64_t n = -1;
    struct sim_disk *copy = sim_disk_clone(w->disk);
    struct sim_process *p = sim_start(w->sim, "facts", copy, 1, NULL, NULL);
    const struct db_options options = {.path = w->config.store};
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table);
    must(db_open(sim_env(p), &options, &d, NULL), "open the copy");
    must(db_reader_take(d, &c, NULL), "read the copy");
    if (db_query(c, &s, NULL, sql, "") == FICUS_ERR_OK && db_step(s, NULL) == 1)
        n = db_i64(s, 0);
    db_finish(s);
    db_reader_give(d, c);
    db_close(d);
    sim_kill(p);
    sim_disk_free(copy);
    return n;
}

static void expect(struct world *w, const char *table)
{
    char text[64];
    int64_t n = count(w, table);
    (void)snprintf(text, sizeof text, "%s: %lld instead of %d", table, (long long)n, POSTS);
    if (n != POSTS)
        broken("rows in", text);
}

static void config_read(struct world *w, const char *name, const char *json, const struct conf_table *table,
                        void *ret_config)
{
    struct ficus_error error = {0};
    if (process_config_read(&w->arena, name, slice_str(json), table, ret_config, &error) != FICUS_ERR_OK)
        broken(name, error.text);
}

static struct world *world_new(uint64_t seed)
{
    static struct world the_world;
    struct world *w = &the_world;
    w->sim = sim_new(seed);
    sim_set_network(w->sim, &(struct sim_network){.refuse_rate = 5000});
    arena_init(&w->arena, 1 << 20);
    config_read(w, "maker", maker_json, &service_config_table, &w->config);
    config_read(w, "hub", hub_json, &hub_config_table, &w->hub_config);
    w->client_config = w->hub_config.common;
    w->client_config.process = "gateway";
    w->disk = disk_new("/sim/0001_things.sql", migration);
    w->hub_disk = disk_new("/sim/0001_things.sql", migration);
    (void)sim_start(w->sim, "hub", w->hub_disk, 4, hub_boot, w);
    (void)sim_start(w->sim, "client", disk_new("/sim/0001_things.sql", migration), 2, client_boot, w);
    return w;
}

static void service_up(struct world *w)
{
    w->process = sim_start(w->sim, "maker", w->disk, (size_t)w->config.workers + 4, maker_boot, w);
}

/* One life, one death after the operation, one more life; then everything must have happened exactly once. */
static enum outcome run(uint64_t operation, enum sim_crash mode)
{
    struct world *w = world_new(operation);
    bool died = false;
    sim_disk_die_after(w->disk, operation);
    service_up(w);
    while (!client_done(w) || count(w, "seen") < POSTS) {
        for (int64_t until = sim_now_ms(w->sim) + 200; sim_now_ms(w->sim) < until && (died || sim_alive(w->process));)
            if (!sim_step(w->sim))
                sim_run_ms(w->sim, 10);
        if (!died && !sim_alive(w->process)) {
            died = true;
            sim_kill(w->process);
            sim_disk_crash(w->disk, mode, operation);
            service_up(w);
        }
        if (sim_now_ms(w->sim) > WAIT_MS) {
            expect(w, "thing");
            expect(w, "seen");
            broken("not answered after", "60 s");
        }
    }
    sim_run_ms(w->sim, LATE_MS);
    expect(w, "thing");
    expect(w, "seen");
    return died || !sim_alive(w->process) ? OUTCOME_HIT : OUTCOME_MISSED;
}

/* Wherever the service dies, each request has its effect once, each effect its event, each event its effect once. */
static void test_exactly_once(void **state)
{
    (void)state;
    die_everywhere(run, 1, 30, POINTS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exactly_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
