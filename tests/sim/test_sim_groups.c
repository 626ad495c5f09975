/* SPDX-License-Identifier: Apache-2.0
 *
 * A consumer group at every place where its hub can die: a publisher that repeats until it is answered, a service that takes events, is away
 * once and refuses one event each time, and a hub whose machine dies after each single operation on its disk in turn, in each way of dying.
 * Each event must come, those of a key in order, at most one of each partition a second time for the death, and the refused one must be one
 * dead letter.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../unit/http/whole_server.h"
#include "crash_run.h"
#include "hub.h"
#include "process.h"

enum { KEYS = 3, EACH = 4, PARTITIONS = 3, REFUSED_KEY = 1, REFUSED = 2, REFUSALS = 10, SEEN_MAX = 400, ASK_MS = 100, WAIT_MS = 180000, LATE_MS = 15000, POINTS_MAX = 3000 };

static const char unused[] = "SELECT 1;";
static const char hub_json[] =
    "{\"version\":1,\"system\":\"sim\",\"process\":\"hub\",\"state\":\"/sim\",\"key_file\":\"/sim/system.key\",\"log_level\":\"error\","
    "\"edges\":{\"mailer\":{\"timeout\":\"2s\",\"retry\":{\"attempts\":1}}},"
    "\"listen\":[\"unix:/sim/hub.sock\"],\"operator_listen\":[\"unix:/sim/hub-ops.sock\"],\"log_file\":\"/sim/log.db\",\"journal_file\":\"/sim/sagas.db\","
    "\"services\":[\"shop\",\"mailer\"],\"topics\":{\"made\":{\"publisher\":\"shop\",\"consumers\":[\"mailer\"]}},"
    "\"groups\":{\"mailer\":{\"to\":\"/events\",\"partitions\":3,\"timeout\":\"2s\"}}}";

struct seen {
    int key, n;
};

struct post {
    struct world *world;
    char body[600];
    struct env_timer timer;
    bool answered;
};

struct world {
    struct sim *sim;
    struct arena arena;
    struct sim_disk *hub_disk;
    struct sim_process *hub_process;
    struct hub_config hub_config;
    struct process_config client_config;
    struct process client;
    struct whole_server whole;
    struct http_server *mailer;
    struct post posts[EACH];
    struct seen seen[SEEN_MAX];
    size_t seen_count;
    bool was_away;
    struct env_timer ask_timer;
    int64_t behind, letters;        /* -1: not known */
};

static void hub_boot(void *arg, struct env *e)
{
    struct world *w = arg;
    hub_starts(e, &w->hub_config);
}

/* ---- the service ---- */

static void part_body(void *arg, struct http_stream *s, struct slice body, enum ficus_err err)
{
    struct world *w = arg;
    struct json *root = NULL;
    struct arena a;
    if (err != FICUS_ERR_OK)
        return; /* the hub died in the middle */
    arena_init(&a, 1 << 20);
    must(json_parse(&a, body, NULL, &root, NULL), "an event");
    const struct json *data = json_get(root, "data");
    struct seen seen = {(int)json_i64_or(json_get(data, "key"), 0), (int)json_i64_or(json_get(data, "n"), 0)};
    arena_done(&a);
    bool is_away = seen.key == 0 && seen.n == 3 && !w->was_away;
    w->was_away |= is_away;
    if (w->seen_count == SEEN_MAX)
        broken("events come for ever", NULL);
    w->seen[w->seen_count++] = seen;
    if (is_away)
        http_respond(s, 503, NULL, 0, NULL, SLICE(""));
    else if (seen.key == REFUSED_KEY && seen.n == REFUSED)
        http_respond(s, 200, NULL, 0, "application/json", SLICE("{\"status\":\"RETRY\"}"));
    else
        http_respond(s, 204, NULL, 0, NULL, SLICE(""));
}

/* ---- publisher, supervisor, operator ---- */

static const struct http_field json_field[] = {{SLICE("Content-Type"), SLICE("application/json")}};

static void fetch(struct world *w, const char *callee, const char *method, const char *path, const char *body,
                  void (*done)(void *arg, const struct call_result *r), void *arg)
{
    const struct call_request r = {.callee = callee, .method = slice_str(method), .path = slice_str(path), .fields = json_field,
                                   .field_count = body != NULL ? 1 : 0, .body = slice_str(body), .timeout_ms = 2000};
    must(call_fetch(w->client.calls, &r, 1 << 20, done, arg, NULL), "call_fetch");
}

static void post_send(void *arg);

static void post_done(void *arg, const struct call_result *r)
{
    struct post *p = arg;
    p->answered = r->err == FICUS_ERR_OK && r->status == 200;
    if (!p->answered)
        env_timer_start(p->world->client.env, &p->timer, 100);
    else if (p + 1 < p->world->posts + EACH)
        env_timer_start(p->world->client.env, &p[1].timer, 1);
}

static void post_send(void *arg)
{
    struct post *p = arg;
    fetch(p->world, "hub", "POST", "/v1/events", p->body, post_done, p);
}

static void on_dead(void *arg, const struct call_result *r)
{
    struct world *w = arg;
    w->letters = -1;
    if (r->err == FICUS_ERR_OK && r->status == 200) {
        w->letters = 0;
        for (struct slice rest = r->body; rest.size > 0; rest = slice_from(rest, 1))
            w->letters += slice_starts(rest, SLICE("\"type\":\"ficus.dead\"")) ? 1 : 0;
    }
    env_timer_start(w->client.env, &w->ask_timer, ASK_MS);
}

static void on_lag(void *arg, const struct call_result *r)
{
    struct world *w = arg;
    struct json *root = NULL;
    struct arena a;
    w->behind = -1;
    arena_init(&a, 1 << 20);
    if (r->err == FICUS_ERR_OK && r->status == 200 && json_parse(&a, r->body, NULL, &root, NULL) == FICUS_ERR_OK)
        w->behind = json_i64_or(json_get(json_at(json_get(root, "consumers"), 0), "behind"), -1);
    arena_done(&a);
    fetch(w, "ops", "GET", "/v1/dead?limit=100", NULL, on_dead, w);
}

static void on_registry(void *arg, const struct call_result *r)
{
    struct world *w = arg;
    (void)r;    /* it is told again */
    fetch(w, "ops", "GET", "/v1/consumers", NULL, on_lag, w);
}

static void ask(void *arg)
{
    fetch(arg, "ops", "PUT", "/v1/registry", "{\"services\":{\"mailer\":[\"unix:/sim/mailer.sock\"]}}", on_registry, arg);
}

static void edge(struct world *w, const char *callee, const char *address)
{
    struct call_policy policy = call_policy_default();
    policy.retry.attempts = 1;
    policy.breaker.enabled = false;
    must(call_engine_edge(w->client.calls, callee, &policy, NULL), "edge");
    must(call_engine_endpoints(w->client.calls, callee, &address, 1), "endpoints");
}

static void client_boot(void *arg, struct env *e)
{
    struct world *w = arg;
    struct ficus_error error = {0};
    if (process_init(&w->client, e, &w->client_config, &error) != FICUS_ERR_OK)
        broken("the client does not start:", error.text);
    w->whole = (struct whole_server){.on_whole = part_body, .arg = w};
    const struct http_server_options o = {.on_request = whole_request, .arg = &w->whole};
    must(http_server_new(e, &o, &w->mailer), "server");
    must(http_server_listen(w->mailer, "unix:/sim/mailer.sock", NULL, &error), "listen");
    edge(w, "hub", "unix:/sim/hub.sock");
    edge(w, "ops", "unix:/sim/hub-ops.sock");
    for (int i = 0; i < EACH; i++) {
        struct post *p = &w->posts[i];
        p->world = w;
        p->timer = (struct env_timer){.fn = post_send, .arg = p};
        size_t size = 0;
        for (int key = 0; key < KEYS; key++)
            size += (size_t)snprintf(p->body + size, sizeof p->body - size,
                "%s{\"specversion\":\"1.0\",\"id\":\"%d-%d\",\"source\":\"/shop\",\"type\":\"made\",\"subject\":\"key-%d\",\"data\":{\"key\":%d,\"n\":%d}}%s",
                key == 0 ? "[" : ",", key, i, key, key, i + 1, key == KEYS - 1 ? "]" : "");
    }
    env_timer_start(e, &w->posts[0].timer, 1);
    w->ask_timer = (struct env_timer){.fn = ask, .arg = w};
    env_timer_start(e, &w->ask_timer, 1);
}

/* ---- what came ---- */

static bool is_all(const struct world *w)
{
    return w->posts[EACH - 1].answered && w->behind == 0 && w->letters == 1;
}

static void check_seen(const struct world *w, bool died)
{
    int again = 0;
    for (int key = 0; key < KEYS; key++) {
        int last = 0, refused = 0;
        for (size_t i = 0; i < w->seen_count; i++) {
            if (w->seen[i].key != key)
                continue;
            int n = w->seen[i].n;
            if (n != last && n != last + 1)
                broken("out of order", NULL);
            bool is_refused = key == REFUSED_KEY && n == REFUSED;
            refused += is_refused ? 1 : 0;
            again += n == last && !is_refused ? 1 : 0;
            last = n;
        }
        if (last != EACH)
            broken("an event did not come", NULL);
        if (key == REFUSED_KEY && (refused < REFUSALS || refused > REFUSALS + (died ? 1 : 0)))
            broken("refused too often or not enough", NULL);
    }
    if (again > 1 /* was away */ + (died ? PARTITIONS : 0))
        broken("more came again than was under way", NULL);
}

static void config_read(struct world *w)
{
    struct ficus_error error = {0};
    if (process_config_read(&w->arena, "hub", slice_str(hub_json), &hub_config_table, &w->hub_config, &error) != FICUS_ERR_OK)
        broken("hub", error.text);
    w->client_config = w->hub_config.common;
    w->client_config.process = "shop";
    w->client_config.edges = NULL;
    w->client_config.edge_count = 0;
}

static void hub_up(struct world *w)
{
    w->hub_process = sim_start(w->sim, "hub", w->hub_disk, 4, hub_boot, w);
}

static enum outcome run(uint64_t operation, enum sim_crash mode)
{
    static struct world the_world;
    struct world *w = &the_world;
    bool died = false;
    w->sim = sim_new(operation);
    w->behind = w->letters = -1;
    sim_set_network(w->sim, &(struct sim_network){.refuse_rate = 5000});
    arena_init(&w->arena, 1 << 20);
    config_read(w);
    w->hub_disk = disk_new("/sim/unused.sql", unused);
    sim_disk_die_after(w->hub_disk, operation);
    hub_up(w);
    (void)sim_start(w->sim, "client", disk_new("/sim/unused.sql", unused), 2, client_boot, w);
    while (!is_all(w)) {
        if (!sim_step(w->sim))
            sim_run_ms(w->sim, 10);
        if (!died && !sim_alive(w->hub_process)) {
            died = true;
            w->behind = w->letters = -1;
            sim_kill(w->hub_process);
            sim_disk_crash(w->hub_disk, mode, operation);
            hub_up(w);
        }
        if (sim_now_ms(w->sim) > WAIT_MS) {
            printf("%zu came, behind %lld, letters %lld\n", w->seen_count, (long long)w->behind, (long long)w->letters);
            broken("not through after", "180 s");
        }
    }
    if (sim_alive(w->hub_process))
        sim_run_ms(w->sim, LATE_MS);
    check_seen(w, died);
    return died ? OUTCOME_HIT : OUTCOME_MISSED;
}

static uint64_t stride = 1;     /* every so manieth place */

/* Wherever the hub dies. */
static void test_at_least_once_in_order(void **state)
{
    (void)state;
    die_everywhere(run, stride, 100, POINTS_MAX);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        stride = (uint64_t)strtoul(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_at_least_once_in_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
