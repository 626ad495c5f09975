/* SPDX-License-Identifier: Apache-2.0
 *
 * A whole manifest: checks between its files, what is derived from it, and the resolved files.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "hub_config.h"
#include "manifest.h"
#include "manifest_files.h"
#include "mem.h"
#include "proxy_config.h"

#define ROOT "ficus: 1\nsystem: shop\ninclude: [services/*/service.yaml]\n"
#define SERVICE(name) "service: " name "\nteam: t\ndoes: d\nrun: ./" name "\n"

struct system {
    struct files files;
    struct arena arena;
    struct conf_errors errors;
    struct manifest *m;
    struct buf text;        /* the errors, without the folder before each file */
};

static void system_init(struct system *s)
{
    *s = (struct system){0};
    files_init(&s->files);
    arena_init(&s->arena, MANIFEST_ARENA_SIZE_MAX);
    buf_init(&s->text, 1 << 16);
}

static void system_done(struct system *s)
{
    buf_done(&s->text);
    arena_done(&s->arena);
    files_done(&s->files);
}

static enum ficus_err load(struct system *s, const struct manifest_options *options)
{
    return manifest_files_load(&s->files, &s->arena, options, &s->m, &s->errors, &s->text);
}

/* A small system that is right: two services, a saga, routes. */
static void put_good(struct system *s)
{
    files_put(&s->files, "ficus.yaml", ROOT
              "administrator: { email: admin@shop.example, service: users }\n"
              "log_level: warn\n"
              "gateway:\n"
              "  listen: 127.0.0.1:18080\n"
              "  hosts: [shop.example]\n"
              "  timeout: 7s\n"
              "  auth: { jwks: \"users:/.well-known/jwks.json\", issuer: shop }\n"
              "  routes:\n"
              "    - { method: POST, path: /api/orders, to: \"orders:/v1/orders\", auth: required, roles: [admin] }\n"
              "    - { path: \"/api/orders/{id}\", to: \"orders:/v1/orders/{id}\", timeout: 20s }\n"
              "    - { method: GET, path: /files/**, to: users }\n"
              "    - { path: \"/home/{x}\", auth: required, timeout: 2s, compose: [ { get: \"users:/v1/me\", group: user, allow: [id, name], deny: [email], mapping: { id: number } },\n"
              "        { get: \"bank:/v1/of/{jwt.sub}/{x}?limit=5&a=%20\", group: money, optional: true } ] }\n"
              "    - { path: /**, files: front, page: index.html }\n"
              "    - { path: /api/**, answer: 404 }\n"
              "    - { host: \"*.shop.example\", path: /api/orders, headers: { X-Beta: 1, X-Debug: { present: true } }, query: { v: \"2\" },\n"
              "        split: [ { to: \"orders:/v2/orders\", weight: 9 }, { to: bank, weight: 1 } ], sticky: cookie ab 2d,\n"
              "        fallback: { stale: 5m, to: \"bank:/v1/spare\", status: 203, body: \"[]\" } }\n"
              "  calls: { orders: { balance: ring_hash, hash_header: x-session, bulkhead: { adaptive: true }, retry: { budget: 30% } }, users: { retry: { attempts: 2 } } }\n");
    files_put(&s->files, "front/index.html", "");
    files_put(&s->files, "services/users/service.yaml", SERVICE("users") "store: sqlite:users.db\nmigrations: sql\nsettings: { issuer: shop }\nkeeps_keys: false\n");
    files_put(&s->files, "services/users/sql/0001_init.sql", "");
    files_put(&s->files, "services/users/sql/0002_more.sql", "");
    files_put(&s->files, "services/users/sql/README.md", "");
    files_put(&s->files, "services/orders/service.yaml",
              "service: orders\nteam: checkout\ndoes: d\nrun: ${build}/shop/orders --port ${build}\n"
              "calls: { users: { timeout: 300ms, retry: { attempts: 3 } } }\n"
              "publishes: { order.placed: { key: id }, order.done: { key: items.sku, keep: latest } }\nworkers: 9\nlog_level: debug\nneeds: [users]\n"
              "sagas:\n  checkout:\n    start: order.placed\n    steps:\n"
              "      - placed: { undo: \"POST orders:/v1/orders/{id}/reject\" }\n"
              "      - pay: { call: \"PUT bank:/v1/charges/{id}\", body: { total: \"{input.total}\" }, undo: \"DELETE bank:/v1/charges/{id}\" }\n");
    files_put(&s->files, "services/bank/service.yaml", SERVICE("bank") "consumes: [order.done]\n"
              "flows: { done: { start: order.placed, steps: [ paid: { event: [order.done], within: 1m }, seen: { after: order.done, consumed_by: bank, within: 2s } ] } }\n");
}

/* What is right loads without a word, in the order of the files. */
static void test_good(void **state)
{
    struct system s;
    system_init(&s);
    put_good(&s);
    enum ficus_err err = load(&s, &(struct manifest_options){.build = "/b"});
    assert_string_equal(buf_str(&s.text), "");
    assert_int_equal(err, FICUS_ERR_OK);
    assert_int_equal(s.m->service_count, 3);
    assert_string_equal(s.m->services[0].name, "bank");
    const struct manifest_service *orders = manifest_find_service(s.m, "orders");
    assert_string_equal(orders->run.argv[0], "/b/shop/orders");
    assert_string_equal(orders->run.argv[2], "/b");
    assert_null(orders->run.argv[3]);
    assert_string_equal(orders->sagas[0].owner, "orders");
    const struct manifest_service *users = manifest_find_service(s.m, "users");
    assert_int_equal(users->migration_count, 2);
    assert_non_null(strstr(users->migration_files[1], "/services/users/sql/0002_more.sql"));
    assert_int_equal(users->run.argv[0][0], '/');
    assert_non_null(strstr(users->run.argv[0], "/services/users/users"));
    assert_int_equal(s.m->process_count, 5);
    assert_int_equal(s.m->processes[0].kind, MANIFEST_HUB);
    assert_int_equal(s.m->processes[1].kind, MANIFEST_GATEWAY);
    assert_null(s.m->processes[1].config_path);
    assert_string_equal(manifest_find_process(s.m, "orders")->needs[0], "users");
    system_done(&s);
}

static bool in_list(const char *const *list, size_t count, const char *word)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], word) == 0)
            return true;
    return false;
}

static void read_resolved(struct system *s, const char *name, const struct conf_table *table, void *config)
{
    char path[512], file[64];
    struct stat st;
    struct ficus_error err = {0};
    (void)snprintf(file, sizeof file, "state/run/%s.json", name);
    (void)files_path(&s->files, file, path, sizeof path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    char *bytes = arena_alloc(&s->arena, (size_t)st.st_size);
    FILE *in = fopen(path, "re");
    assert_non_null(in);
    assert_int_equal(fread(bytes, 1, (size_t)st.st_size, in), st.st_size);
    (void)fclose(in);
    enum ficus_err code = process_config_read(&s->arena, path, slice_make(bytes, (size_t)st.st_size), table, config, &err);
    if (code != FICUS_ERR_OK)
        fail_msg("%s", err.text);
}

/* Each process reads its resolved file by its own table and finds what the manifest says and what follows from it. */
static void test_resolved(void **state)
{
    struct system s;
    struct ficus_error err = {0};
    char dir[512];
    struct service_config service;
    struct hub_config hub;
    struct proxy_config gateway;
    system_init(&s);
    put_good(&s);
    files_put(&s.files, "state/run/old", "");
    (void)files_path(&s.files, "state", dir, sizeof dir);
    assert_int_equal(load(&s, &(struct manifest_options){.build = "/b", .state = dir, .sockets = "/short"}), FICUS_ERR_OK);
    assert_int_equal(manifest_render(s.m, &s.arena, NULL, &err), FICUS_ERR_OK);
    assert_non_null(strstr(s.m->admin_file, "/state/admin.json"));

    /* written again is only what differs */
    bool changed[8];
    assert_true(s.m->process_count <= 8);
    memset(changed, true, sizeof changed);
    assert_int_equal(manifest_render(s.m, &s.arena, changed, &err), FICUS_ERR_OK);
    for (size_t i = 0; i < s.m->process_count; i++)
        assert_false(changed[i]);
    s.m->gateway->timeout_ms++;
    assert_int_equal(manifest_render(s.m, &s.arena, changed, &err), FICUS_ERR_OK);
    for (size_t i = 0; i < s.m->process_count; i++)
        assert_int_equal(changed[i], strcmp(s.m->processes[i].name, "gateway") == 0);
    s.m->gateway->timeout_ms--;
    assert_int_equal(manifest_render(s.m, &s.arena, NULL, &err), FICUS_ERR_OK);

    read_resolved(&s, "orders", &service_config_table, &service);
    assert_string_equal(service.common.hub, "unix:/short/hub.sock");
    assert_string_equal(service.common.log_level, "debug");
    assert_int_equal(service.workers, 9);
    assert_string_equal(service.store, "");
    assert_int_equal(service.common.edge_count, 2);
    assert_string_equal(service.common.edges[1].callee, "users");
    assert_int_equal(service.common.edges[1].policy.timeout_ms, 300);
    assert_int_equal(service.common.edges[1].policy.retry.attempts, 3);
    assert_false(service.common.edges[1].policy.keeps_keys);
    assert_int_equal(service.caller_count, 2);
    assert_true(in_list(service.callers, 2, "gateway") && in_list(service.callers, 2, "hub"));
    assert_true(in_list(service.publishes, service.publish_count, "order.done"));

    read_resolved(&s, "users", &service_config_table, &service);
    assert_non_null(strstr(service.store, "/state/data/users.db"));
    assert_int_equal(service.migration_count, 2);
    assert_string_equal(service.settings[1].name, "admin_file");
    assert_string_equal(service.settings[1].value, s.m->admin_file);
    assert_true(in_list(service.callers, service.caller_count, "orders") && in_list(service.callers, service.caller_count, "gateway"));
    assert_false(in_list(service.callers, service.caller_count, "hub"));

    read_resolved(&s, "hub", &hub_config_table, &hub);
    assert_string_equal(hub.common.log_level, "warn");
    assert_int_equal(hub.topic_count, 2);
    assert_string_equal(hub.topics[1].publisher, "orders");
    assert_string_equal(hub.topics[1].consumers[0], "bank");
    assert_false(hub.topics[0].keep_latest);
    assert_true(hub.topics[1].keep_latest);
    assert_string_equal(hub.topics[1].key, "items.sku");
    assert_int_equal(hub.service_count, 3);
    assert_string_equal(hub.sagas[0].name, "checkout");
    assert_string_equal(hub.sagas[0].owner, "orders");
    assert_string_equal(hub.sagas[0].steps[1].call.path, "/v1/charges/{id}");
    assert_int_equal(hub.flow_count, 1);
    assert_string_equal(hub.flows[0].name, "done");
    assert_string_equal(hub.flows[0].owner, "bank");
    assert_string_equal(hub.flows[0].steps[1].consumer, "bank");
    assert_int_equal(hub.flows[0].steps[1].within_ms, 2000);
    assert_non_null(strstr(hub.flow_file, "/data/hub-flows.db"));
    assert_int_equal(hub.common.edge_count, 2);
    assert_true(hub.common.edges[0].policy.keeps_keys);
    assert_int_equal(hub.common.edges[0].policy.retry.attempts, 1);

    read_resolved(&s, "gateway", &proxy_config_table, &gateway);
    assert_int_equal(gateway.route_count, 7);
    const struct proxy_route *beta = &gateway.routes[6];
    assert_string_equal(beta->host, "*.shop.example");
    assert_int_equal(beta->header_count, 2);
    assert_string_equal(beta->headers[0].name, "X-Beta");
    assert_string_equal(beta->headers[0].value, "1");
    assert_null(beta->headers[1].value);
    assert_string_equal(beta->query[0].value, "2");
    assert_int_equal(beta->split_count, 2);
    assert_string_equal(beta->splits[0].target, "/v2/orders");
    assert_string_equal(beta->splits[1].service, "bank");
    assert_string_equal(beta->splits[1].target, "/api/orders");
    assert_int_equal(beta->splits[1].weight, 1);
    assert_int_equal(beta->sticky.by, PROXY_STICKY_COOKIE);
    assert_string_equal(beta->sticky.name, "ab");
    assert_int_equal(beta->sticky.age_ms, 2 * 86400000);
    assert_int_equal(gateway.routes[0].sticky.by, PROXY_STICKY_NONE);
    assert_int_equal(beta->fallback->stale_ms, 300000);
    assert_string_equal(beta->fallback->service, "bank");
    assert_string_equal(beta->fallback->target, "/v1/spare");
    assert_int_equal(beta->fallback->status, 203);
    assert_string_equal(beta->fallback->body, "[]");
    assert_string_equal(beta->fallback->type, "application/json");
    assert_null(gateway.routes[0].fallback);
    assert_null(gateway.routes[0].host);
    const struct proxy_route *home = &gateway.routes[3];
    assert_string_equal(home->method, "GET");
    assert_int_equal(home->part_count, 2);
    assert_string_equal(home->parts[0].service, "users");
    assert_string_equal(home->parts[0].target, "/v1/me");
    assert_string_equal(home->parts[0].shape.group, "user");
    assert_string_equal(home->parts[0].shape.allow[1], "name");
    assert_string_equal(home->parts[0].shape.deny[0], "email");
    assert_string_equal(home->parts[0].shape.mapping[0].from, "id");
    assert_string_equal(home->parts[0].shape.mapping[0].to, "number");
    assert_false(home->parts[0].shape.optional);
    assert_string_equal(home->parts[1].target, "/v1/of/{jwt.sub}/{x}?limit=5&a=%20");
    assert_true(home->parts[1].shape.optional);
    assert_true(slice_ends(slice_str(gateway.routes[4].files), SLICE("/front")) && gateway.routes[4].files[0] == '/');
    assert_string_equal(gateway.routes[4].page, "index.html");
    assert_null(gateway.routes[4].service);
    assert_int_equal(gateway.routes[5].answer, 404);
    assert_int_equal(gateway.routes[5].body_size_max, 1 << 20);
    assert_string_equal(gateway.routes[0].method, "POST");
    assert_string_equal(gateway.routes[1].method, "");
    assert_int_equal(gateway.routes[0].timeout_ms, 7000);
    assert_int_equal(gateway.routes[1].timeout_ms, 20000);
    assert_string_equal(gateway.routes[2].target, "/files/**");
    assert_string_equal(gateway.auth->path, "/.well-known/jwks.json");
    assert_true(in_list(gateway.hosts, gateway.host_count, "localhost:18080") && in_list(gateway.hosts, gateway.host_count, "shop.example"));
    assert_int_equal(gateway.common.edge_count, 4);
    for (size_t i = 1; i < 4; i++)
        assert_int_equal(gateway.common.edges[i].policy.timeout_ms, 20000);
    const struct call_policy *to_orders = &gateway.common.edges[2].policy, *to_users = &gateway.common.edges[3].policy;
    assert_string_equal(gateway.common.edges[2].callee, "orders");
    assert_int_equal(to_orders->balance, CALL_BALANCE_RING_HASH);
    assert_string_equal(to_orders->hash_header, "x-session");
    assert_true(to_orders->bulkhead->adaptive && to_orders->bulkhead->concurrency == 64);
    assert_int_equal(to_orders->retry.budget_percent, 30);
    assert_int_equal(to_orders->retry.attempts, 1);
    assert_true(to_orders->keeps_keys && !to_users->keeps_keys);
    assert_int_equal(to_users->retry.attempts, 2);
    assert_null(to_users->bulkhead);
    system_done(&s);
}

/* --set goes before the file, is checked like it, and its errors name it. */
static void test_sets(void **state)
{
    static const char *const good[] = {"gateway.listen=127.0.0.1:18081", "events.retention=2d", "services.orders.workers=16", "services.users.settings.issuer=other"};
    static const char *const bad[] = {"gateway.listen=nowhere", "gatway.listen=127.0.0.1:1", "system.x=1", "nothing", "events.retention=[", "events.retention=5",
                                      "services.orders.workers=many", "services.orders.wrkers=1", "services.nobody.workers=1", "services.orders=1",
                                      "services.order.workers=1"};
    struct system s;
    system_init(&s);
    put_good(&s);
    assert_int_equal(load(&s, &(struct manifest_options){.sets = good, .set_count = 4}), FICUS_ERR_OK);
    assert_string_equal(s.m->gateway->listen, "127.0.0.1:18081");
    assert_int_equal(s.m->events.retention_ms, 2 * 86400000);
    assert_int_equal(manifest_find_service(s.m, "orders")->workers, 16);
    assert_string_equal(manifest_find_service(s.m, "users")->settings[0].value, "other");
    (void)load(&s, &(struct manifest_options){.sets = bad, .set_count = ARRAY_COUNT(bad)});
    static const char *const expected[] = {
        "--set gateway.listen:1:1: gateway.listen: found \"nowhere\"", "--set gatway.listen:1:1: gatway: unknown key (did you mean gateway?)",
        "--set system.x:1:1: system is no map", "--set nothing:1:1: expected PATH=VALUE", "--set events.retention:1:", "\"5\" has no unit (did you mean 5ms?)",
        "--set services.orders.workers:1:1: workers: found \"many\"", "--set services.orders.wrkers:1:1: wrkers: unknown key (did you mean workers?)",
        "--set services.nobody.workers:1:1: expected services.NAME.KEY=VALUE", "--set services.orders:1:1: expected services.NAME.KEY=VALUE",
        "--set services.order.workers:1:1: expected services.NAME.KEY=VALUE with the name of a service (did you mean orders?)"};
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++)
        if (strstr(buf_str(&s.text), expected[i]) == NULL)
            fail_msg("%s is not in\n%s", expected[i], buf_str(&s.text));
    system_done(&s);
}

/* A service's part is checked alone: its own mistakes are told, what it says of others is not judged; nothing else is read. */
static void test_part(void **state)
{
    struct system s;
    system_init(&s);
    files_put(&s.files, "ficus.yaml", SERVICE("x") "calls: { nobody: {} }\nconsumes: [no.topic]\nneeds: [nobody]\n");
    assert_int_equal(load(&s, NULL), FICUS_ERR_INVALID);
    assert_string_equal(buf_str(&s.text), "ficus.yaml:1:1: is one service's part, not the manifest of a system, which includes it\n");
    assert_int_equal(load(&s, &(struct manifest_options){.part_allowed = true}), FICUS_ERR_OK);
    assert_true(s.m->is_part && s.m->service_count == 1 && s.m->process_count == 0);
    assert_string_equal(s.m->services[0].name, "x");
    files_put(&s.files, "ficus.yaml", SERVICE("x") "calls: { x: {} }\nmigrations: none\nworkers: 0\n");
    assert_int_equal(load(&s, &(struct manifest_options){.part_allowed = true}), FICUS_ERR_INVALID);
    static const char *const expected[] = {"does not call itself", "migrations: needs a store", "\"none\" cannot be read", "workers: "};
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++)
        if (strstr(buf_str(&s.text), expected[i]) == NULL)
            fail_msg("%s is not in\n%s", expected[i], buf_str(&s.text));
    put_good(&s);
    assert_int_equal(load(&s, &(struct manifest_options){.part_allowed = true}), FICUS_ERR_OK);
    assert_false(s.m->is_part);
    system_done(&s);
}

/* What the manifest takes, the gateway can read: the resolved file says every setting of a route. */
static void test_many_routes(void **state)
{
    enum { ROUTES = 10000 };
    struct system s;
    struct ficus_error err = {0};
    struct buf text;
    char folder[512];
    struct proxy_config gateway;
    system_init(&s);
    buf_init(&text, CONF_TEXT_SIZE_MAX);
    buf_add_str(&text, "ficus: 1\nsystem: many\ninclude: [\"*.service.yaml\"]\ngateway:\n  routes:\n");
    for (int i = 0; i < ROUTES; i++)
        buf_printf(&text, "    - { method: GET, path: \"/api/v1/r%05d/{id}\", to: \"a:/v1/r%05d/{id}\" }\n", i, i);
    files_put(&s.files, "ficus.yaml", buf_str(&text));
    files_put(&s.files, "a.service.yaml", SERVICE("a"));
    files_put(&s.files, "state/run/old", "");
    assert_int_equal(load(&s, &(struct manifest_options){.state = files_path(&s.files, "state", folder, sizeof folder)}), FICUS_ERR_OK);
    assert_int_equal(manifest_render(s.m, &s.arena, NULL, &err), FICUS_ERR_OK);
    read_resolved(&s, "gateway", &proxy_config_table, &gateway);
    assert_int_equal(gateway.route_count, ROUTES);
    buf_done(&text);
    system_done(&s);
}

/* The hub's file has each schedule as a grid of times, and how large the log may become. */
static void test_schedules(void **state)
{
    struct system s;
    struct ficus_error err = {0};
    char folder[512];
    struct hub_config hub;
    system_init(&s);
    put_good(&s);
    files_put(&s.files, "ficus.yaml", ROOT "events: { size: 64MiB }\n");
    files_put(&s.files, "services/x/service.yaml", SERVICE("x") "publishes: { a.b: {} }\nschedules:\n"
              "  nightly: { topic: a.b, every: 24h, at: \"02:00\" }\n  hourly: { topic: a.b, every: 1h, at: \"02:30\" }\n  often: { topic: a.b, every: 90s }\n");
    files_put(&s.files, "state/run/old", "");
    assert_int_equal(load(&s, &(struct manifest_options){.state = files_path(&s.files, "state", folder, sizeof folder)}), FICUS_ERR_OK);
    assert_int_equal(manifest_render(s.m, &s.arena, NULL, &err), FICUS_ERR_OK);
    read_resolved(&s, "hub", &hub_config_table, &hub);
    assert_int_equal(hub.size_max, 64 << 20);
    assert_int_equal(hub.schedule_count, 3);
    assert_string_equal(hub.schedules[0].source, "/x/schedules/nightly");
    assert_string_equal(hub.schedules[0].name, "nightly");
    assert_string_equal(hub.schedules[0].topic, "a.b");
    assert_int_equal(hub.schedules[0].every_ms, 24 * 3600000);
    assert_int_equal(hub.schedules[0].phase_ms, 2 * 3600000);
    assert_int_equal(hub.schedules[1].phase_ms, 1800000);
    assert_int_equal(hub.schedules[2].phase_ms, 0);
    system_done(&s);
}

/* A service that somebody else starts has no process and no name at the hub; its callers' files say where it is. */
static void test_elsewhere(void **state)
{
    struct system s;
    struct ficus_error err = {0};
    char folder[512];
    system_init(&s);
    put_good(&s);
    files_put(&s.files, "services/bank/service.yaml", "service: bank\nteam: t\ndoes: d\nurl: http://127.0.0.1:9000\n");
    files_put(&s.files, "state/run/old", "");
    assert_int_equal(load(&s, &(struct manifest_options){.state = files_path(&s.files, "state", folder, sizeof folder)}), FICUS_ERR_OK);
    assert_int_equal(s.m->process_count, 4);
    assert_null(manifest_find_process(s.m, "bank"));
    assert_int_equal(manifest_render(s.m, &s.arena, NULL, &err), FICUS_ERR_OK);
    struct proxy_config gateway;
    struct hub_config hub;
    read_resolved(&s, "gateway", &proxy_config_table, &gateway);
    read_resolved(&s, "hub", &hub_config_table, &hub);
    assert_int_equal(hub.service_count, 2);
    size_t elsewhere = 0;
    for (size_t i = 0; i < gateway.common.edge_count; i++) {
        const struct process_edge *edge = &gateway.common.edges[i];
        if (strcmp(edge->callee, "bank") != 0) {
            assert_null(edge->policy.upstream);
            continue;
        }
        elsewhere++;
        assert_string_equal(edge->policy.upstream->url, "http://127.0.0.1:9000");
        assert_null(edge->policy.upstream->ca);
        assert_false(edge->policy.keeps_keys);
    }
    assert_int_equal(elsewhere, 1);
    files_put(&s.files, "services/orders/service.yaml", SERVICE("orders") "needs: [bank]\n");
    files_put(&s.files, "services/bank/service.yaml", "service: bank\nteam: t\ndoes: d\nurl: http://127.0.0.1:9000\nworkers: 4\nstore: sqlite:x.db\n");
    assert_int_equal(load(&s, NULL), FICUS_ERR_INVALID);
    static const char *const expected[] = {
        "services/orders/service.yaml:5:9: needs[0]: \"bank\" is started by somebody else; when it is healthy is not known here",
        "services/bank/service.yaml:5:1: workers: has no meaning beside \"url\": Ficus does not start this service",
        "services/bank/service.yaml:6:1: store: has no meaning beside \"url\": Ficus does not start this service"};
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++)
        if (strstr(buf_str(&s.text), expected[i]) == NULL)
            fail_msg("%s is not in\n%s", expected[i], buf_str(&s.text));
    system_done(&s);
}

/* A group: the hub has its words and calls it, for as long as a delivery may take; the service itself asks for no events. */
static void test_groups(void **state)
{
    (void)state;
    struct system s;
    struct ficus_error error = {0};
    char folder[512];
    struct hub_config hub;
    struct service_config service;
    system_init(&s);
    put_good(&s);
    files_put(&s.files, "services/bank/service.yaml", SERVICE("bank") "consumes: [order.done, order.placed]\ngroup: { to: /events, partitions: 3, timeout: 4m }\n");
    files_put(&s.files, "services/x/service.yaml", SERVICE("x") "consumes: [order.placed]\ngroup: { timeout: 1s }\n");
    files_put(&s.files, "services/y/service.yaml", "service: y\nteam: t\ndoes: d\nurl: http://127.0.0.1:9000\nconsumes: [order.placed]\ngroup: { to: /y }\n");
    files_put(&s.files, "state/run/old", "");
    enum ficus_err err = load(&s, &(struct manifest_options){.state = files_path(&s.files, "state", folder, sizeof folder)});
    assert_string_equal(buf_str(&s.text), "");
    assert_int_equal(err, FICUS_ERR_OK);
    assert_int_equal(manifest_render(s.m, &s.arena, NULL, &error), FICUS_ERR_OK);
    read_resolved(&s, "hub", &hub_config_table, &hub);
    assert_int_equal(hub.group_count, 3);
    assert_string_equal(hub.groups[0].name, "bank");
    assert_string_equal(hub.groups[0].to, "/events");
    assert_int_equal(hub.groups[0].partitions, 3);
    assert_int_equal(hub.groups[0].timeout_ms, 240000);
    assert_string_equal(hub.groups[1].name, "x");
    assert_null(hub.groups[1].to);
    assert_int_equal(hub.groups[1].partitions, 8);
    assert_string_equal(hub.groups[2].to, "/y");
    assert_string_equal(hub.topics[0].name, "order.placed");
    assert_string_equal(hub.topics[0].key, "id");
    assert_int_equal(hub.topics[0].consumer_count, 3);
    assert_int_equal(hub.common.edge_count, 3);     /* bank, orders (the saga's), y; nobody posts to x */
    for (size_t i = 0; i < hub.common.edge_count; i++) {
        const struct process_edge *edge = &hub.common.edges[i];
        assert_string_not_equal(edge->callee, "x");
        assert_int_equal(edge->policy.retry.attempts, 1);
        assert_true(strcmp(edge->callee, "bank") == 0 ? edge->policy.timeout_ms == 240000 : edge->policy.timeout_ms < 240000);
    }
    read_resolved(&s, "bank", &service_config_table, &service);
    assert_int_equal(service.consume_count, 0);
    assert_true(in_list(service.callers, service.caller_count, "hub"));
    read_resolved(&s, "x", &service_config_table, &service);
    assert_int_equal(service.consume_count, 0);
    system_done(&s);
}

struct wrong {
    const char *file, *text;    /* put over the good system */
    const char *message;
};

/* Every mistake between settings and files is told at its place, with what would be right. */
static void test_across(void **state)
{
    static const struct wrong cases[] = {
        {"services/x/service.yaml", SERVICE("x") "calls: { order: {} }\n", "services/x/service.yaml:5:10: calls.order: \"order\" is no service of this system (did you mean orders?)\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, to: orders } ], calls: { order: {} } }\n", "ficus.yaml:4:59: gateway.calls.order: \"order\" is no service of this system (did you mean orders?)\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, to: orders } ], calls: { bank: {} } }\n", "ficus.yaml:4:59: gateway.calls.bank: no route of the gateway leads to \"bank\"\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, to: orders } ], calls: { orders: { timeout: 3s } } }\n", "ficus.yaml:4:69: gateway.calls.orders.timeout: is not said here"},
        {"services/x/service.yaml", SERVICE("x") "calls: { bank: { fault: { percent: 5 } } }\n", "services/x/service.yaml:5:25: calls.bank.fault: says neither delay nor abort nor reset\n"},
        {"services/x/service.yaml", SERVICE("x") "calls: { x: {} }\n", "services/x/service.yaml:5:10: calls.x: a service does not call itself\n"},
        {"services/x/service.yaml", SERVICE("orders"), "services/x/service.yaml:1:10: service: \"orders\" is a service already, in services/orders/service.yaml:1\n"},
        {"services/x/service.yaml", SERVICE("hub"), "services/x/service.yaml:1:10: service: found \"hub\", allowed is a name that Ficus does not use itself"},
        {"services/x/service.yaml", SERVICE("x") "store: sqlite:users.db\n", "services/x/service.yaml:5:8: store: \"sqlite:users.db\" is the store of another service, in services/users/service.yaml:5; a store has one owner\n"},
        {"services/x/service.yaml", SERVICE("x") "store: postgresql://db/x\n", "services/x/service.yaml:5:8: store: found \"postgresql://db/x\", allowed is sqlite:NAME (PostgreSQL is not supported by this version)\n"},
        {"services/x/service.yaml", SERVICE("x") "publishes: { order.placed: {} }\n", "services/x/service.yaml:5:14: publishes.order.placed: is published by \"orders\" already; a topic has one source\n"},
        {"services/x/service.yaml", SERVICE("x") "consumes: [order.done, order.doen]\n", "services/x/service.yaml:5:24: consumes[1]: \"order.doen\" is published by no service (did you mean order.done?)\n"},
        {"services/x/service.yaml", SERVICE("x") "consumes: [order.done, order.done]\n", "services/x/service.yaml:5:24: consumes[1]: \"order.done\" is in the list already\n"},
        {"services/x/service.yaml", SERVICE("x") "needs: [bank, nobody]\n", "services/x/service.yaml:5:15: needs[1]: \"nobody\" is no service of this system (known: bank, orders, users, x)\n"},
        {"services/x/service.yaml", SERVICE("x") "needs: [x]\n", "services/x/service.yaml:5:9: needs[0]: is a circle: x -> x\n"},
        {"services/users/service.yaml", SERVICE("users") "needs: [bank]\nstore: sqlite:u.db\n", ""},
        {"services/users/service.yaml", SERVICE("users") "needs: [bank, orders]\n", "services/users/service.yaml:5:15: needs[1]: is a circle: orders -> users -> orders\n"},
        {"services/x/service.yaml", SERVICE("x") "store: sqlite:x.db\nmigrations: m\n", "services/x/service.yaml:6:13: migrations: \"m\" cannot be read: not found\n"},
        {"services/x/service.yaml", SERVICE("x") "store: sqlite:x.db\nmigrations: ../users/sql\n", "services/x/service.yaml:6:13: migrations: found \"../users/sql\", allowed is a folder inside the service's own\n"},
        {"services/users/sql/0004_x.sql", "", "services/users/service.yaml:6:13: migrations: found 0004_x.sql, expected 0003_NAME.sql next: migrations are numbered without gaps from 0001\n"},
        {"services/users/service.yaml", SERVICE("users") "migrations: sql\n", "services/users/service.yaml:5:1: migrations: needs a store\n"},
        {"services/users/service.yaml", SERVICE("users") "settings: { admin_file: x }\n", "services/users/service.yaml:5:13: settings.admin_file: is set by administrator in ficus.yaml:4\n"},
        {"services/x/service.yaml", SERVICE("x") "api: openapi.yaml\n", "services/x/service.yaml:5:1: api: not supported by this version\n"},
        {"services/x/service.yaml", SERVICE("x") "calls: { bank: { timeout: 300 } }\n", "services/x/service.yaml:5:27: calls.bank.timeout: \"300\" has no unit (did you mean 300ms?)\n"},
        {"services/x/service.yaml", SERVICE("x") "sagas: { s: { start: order.placed, steps: [ a: { call: \"PUT bank:/{id}\", retry: forever } ] } }\n",
         "services/x/service.yaml:5:22: sagas.s.start: \"order.placed\" is published by \"orders\", not by the owner \"x\"\n"},
        {"services/x/service.yaml", SERVICE("x") "sagas: { checkout: { owner: orders, start: order.placed, steps: [ a: { call: \"PUT bank:/{id}\", retry: forever } ] } }\n",
         "services/x/service.yaml:5:10: sagas.checkout: \"checkout\" is the name of another saga, in services/orders/service.yaml:11\n"},
        {"services/x/service.yaml", SERVICE("x") "publishes: { a.b: {} }\nsagas: { s: { start: a.b, steps: [ a: { call: \"PUT bnk:/{id}\", undo: \"PUT bank:/{id}\" } ] } }\n",
         "services/x/service.yaml:6:47: sagas.s.steps[0].a.call: \"bnk\" is no service of this system (did you mean bank?)\n"},
        {"services/x/service.yaml", SERVICE("x") "publishes: { a.b: {} }\nsagas: { s: { start: a.b, steps: [ a: { call: \"PUT bank:/{id}\" } ] } }\n",
         "services/x/service.yaml:6:36: sagas.s.steps[0].a: needs an undo"},
        {"services/x/service.yaml", SERVICE("x") "publishes: { a.b: {} }\nsagas: { s: { start: a.b, steps: [ a: { call: \"PUT bank:/{id}\", undo: \"PUT bank:/{id}\", pivot: true } ] } }\n",
         "services/x/service.yaml:6:71: sagas.s.steps[0].a.undo: pivot and undo exclude each other"},
        {"services/x/service.yaml", SERVICE("x") "flows: { f: { start: order.plced, steps: [ s: { event: order.done, within: 1m } ] } }\n",
         "services/x/service.yaml:5:22: flows.f.start: \"order.plced\" is published by no service (did you mean order.placed?)\n"},
        {"services/x/service.yaml", SERVICE("x") "flows: { f: { start: order.placed, steps: [ s: { event: [order.done, who.knows], within: 1m } ] } }\n",
         "services/x/service.yaml:5:70: flows.f.steps[0].s.event[1]: \"who.knows\" is published by no service\n"},
        {"services/x/service.yaml", SERVICE("x") "publishes: { x.done: {} }\n" "flows: { f: { start: order.done, steps: [ s: { event: x.done, within: 1m } ] } }\n",
         "services/x/service.yaml:6:55: flows.f.steps[0].s.event: \"x.done\" is published by \"x\", which neither consumes \"order.done\" nor is called because of it: add it to consumes in "},
        {"services/x/service.yaml", SERVICE("x") "publishes: { x.done: {} }\nconsumes: [order.done]\n" "flows: { f: { start: order.done, steps: [ s: { event: x.done, within: 1m } ] } }\n",
         ""},
        {"services/x/service.yaml", SERVICE("x") "publishes: { x.done: {} }\n" "flows: { f: { start: order.placed, steps: [ s: { event: x.done, within: 1m } ] } }\n",
         "services/x/service.yaml:6:57: flows.f.steps[0].s.event: \"x.done\" is published by \"x\", which neither consumes \"order.placed\" nor is called because of it"},
        {"services/users/service.yaml", SERVICE("users") "store: sqlite:users.db\nmigrations: sql\npublishes: { u.done: {} }\n" "flows: { f: { start: order.placed, steps: [ s: { event: u.done, within: 1m } ] } }\n",
         ""},
        {"services/x/service.yaml", SERVICE("x") "publishes: { x.done: {} }\nconsumes: [order.done]\n" "flows: { f: { start: [order.done, order.placed], steps: [ s: { event: x.done, within: 1m } ] } }\n",
         "services/x/service.yaml:7:35: flows.f.start[1]: \"order.placed\" leads to no event of step \"s\": no publisher of one consumes it\n"},
        {"services/x/service.yaml", SERVICE("x") "flows: { f: { start: order.done, steps: [ s: { consumed_by: bank, within: 1m }, t: { consumed_by: users, within: 1m } ] } }\n",
         "services/x/service.yaml:5:99: flows.f.steps[1].t.consumed_by: \"users\" does not consume \"order.done\": add it to consumes in "},
        {"services/x/service.yaml", SERVICE("x") "flows: { f: { start: order.done, steps: [ s: { consumed_by: bnk, within: 1m } ] } }\n",
         "services/x/service.yaml:5:61: flows.f.steps[0].s.consumed_by: \"bnk\" is no service of this system (did you mean bank?)\n"},
        {"services/x/service.yaml", SERVICE("x") "flows: { f: { start: order.placed, steps: [ s: { event: order.done, within: 8d } ] } }\n",
         "services/x/service.yaml:5:77: flows.f.steps[0].s.within: is longer than events are kept (events.retention)"},
        {"services/x/service.yaml", SERVICE("x") "flows: { f: { start: order.placed, failures: order.done, steps: [ s: { event: order.done, within: 1m } ] } }\n",
         "services/x/service.yaml:5:46: flows.f.failures: \"order.done\" is compensated by nothing: add a step"},
        {"services/x/service.yaml", SERVICE("x") "flows: { f: { start: order.placed, steps: [ s: { event: order.done, after: order.done, within: 1m } ] } }\n",
         "services/x/service.yaml:5:45: flows.f.steps[0].s: closes a circle that has no end: order.done -> order.done\n"},
        {"services/x/service.yaml", SERVICE("x") "flows: { checkout: { start: order.placed, steps: [ s: { event: order.done, within: 1m } ] } }\n",
         "services/x/service.yaml:5:10: flows.checkout: \"checkout\" is the name of a saga, in services/orders/service.yaml:11\n"},
        {"services/x/service.yaml", SERVICE("x") "flows: { done: { start: order.placed, steps: [ s: { event: order.done, within: 1m } ] } }\n",
         "services/x/service.yaml:5:10: flows.done: \"done\" is the name of another flow, in services/bank/service.yaml:6\n"},
        {"services/x/service.yaml", SERVICE("x") "rebuildable: true\nconsumes: [order.done]\n", "services/x/service.yaml:5:14: rebuildable: needs a store\n"},
        {"services/x/service.yaml", SERVICE("x") "store: sqlite:x.db\nrebuildable: true\n", "services/x/service.yaml:6:14: rebuildable: needs consumes: the store is made of events\n"},
        {"services/x/service.yaml", SERVICE("x") "store: sqlite:x.db\nrebuildable: true\nconsumes: [order.done]\npublishes: { a.b: {} }\n",
         "services/x/service.yaml:6:14: rebuildable: is not for a service that publishes: a rebuild would publish all again\n"},
        {"services/bank/service.yaml", SERVICE("bank") "store: sqlite:x.db\nrebuildable: true\nconsumes: [order.done]\n",
         "services/bank/service.yaml:6:14: rebuildable: is not for a service that takes part in a saga (\"checkout\"): what its steps do is in no event\n"},
        {"services/x/service.yaml", SERVICE("x") "group: { to: /e }\n", "services/x/service.yaml:5:1: group: needs consumes: the topics whose events it gets\n"},
        {"services/x/service.yaml", SERVICE("x") "consumes: [order.done]\ngroup: { to: e }\n", "services/x/service.yaml:6:14: group.to: found \"e\", allowed is a path such as /events; it is posted to\n"},
        {"services/x/service.yaml", SERVICE("x") "consumes: [order.done]\ngroup: { partitions: 65 }\n", "services/x/service.yaml:6:22: group.partitions: found \"65\", expected a whole number from 1 to 64\n"},
        {"services/x/service.yaml", SERVICE("x") "store: sqlite:x.db\nrebuildable: true\nconsumes: [order.done]\ngroup: {}\n",
         "services/x/service.yaml:8:1: group: is not for a rebuildable service, which keeps its place in its store\n"},
        {"services/x/service.yaml", "service: x\nteam: t\ndoes: d\nurl: http://127.0.0.1:9000\nconsumes: [order.done]\n",
         "services/x/service.yaml:5:1: consumes: needs \"group\" beside \"url\": the hub posts events to a service that Ficus does not start\n"},
        {"services/x/service.yaml", "service: x\nteam: t\ndoes: d\nurl: http://127.0.0.1:9000\nconsumes: [order.done]\ngroup: { partitions: 2 }\n",
         "services/x/service.yaml:6:1: group: needs \"to\" beside \"url\": a service that Ficus does not start cannot reach the hub to lease events\n"},
        {"services/x/service.yaml", "service: x\nteam: t\ndoes: d\nurl: http://127.0.0.1:9000\nconsumes: [order.done]\ngroup: { to: /e }\n", ""},
        {"services/x/service.yaml", SERVICE("x") "publishes: { a.b: { key: a.b.c, keep: latest } }\n", "services/x/service.yaml:5:26: publishes.a.b.key: found \"a.b.c\", allowed is a member of the data such as sku, or"},
        {"services/x/service.yaml", SERVICE("x") "schedules: { n: { topic: order.done, every: 24h } }\n",
         "services/x/service.yaml:5:26: schedules.n.topic: \"order.done\" is not published by this service (say it under publishes)\n"},
        {"services/x/service.yaml", SERVICE("x") "publishes: { a.b: {} }\nschedules: { n: { topic: a.b, every: 24h, at: \"25:00\" } }\n",
         "services/x/service.yaml:6:47: schedules.n.at: found \"25:00\", allowed is a time of day, UTC, in quotes, such as \"02:00\"\n"},
        {"services/x/service.yaml", SERVICE("x") "publishes: { a.b: {} }\nschedules: { n: { topic: a.b } }\n", "services/x/service.yaml:6:14: schedules.n: \"every\" is missing: "},
        {"services/x/service.yaml", SERVICE("x") "publishes: { a.b: {} }\nschedules: { n: { topic: a.b, every: 1ms } }\n", "services/x/service.yaml:6:38: schedules.n.every: "},
        {"ficus.yaml", ROOT "events: { size: 1MiB }\n", "ficus.yaml:4:17: events.size: "},
        {"services/x/service.yaml", SERVICE("x") "keeps_keys: yes\n", "services/x/service.yaml:5:13: keeps_keys: found \"yes\", expected true or false (did you mean true?)\n"},
        {"services/x/service.yaml", SERVICE("x") "store: sqlite:x.db\nmigrations: .\n", "services/x/service.yaml:6:13: migrations: \".\" has no file 0001_NAME.sql\n"},
        {"services/x/service.yaml", SERVICE("x") "consumes: [who.knows]\n", "services/x/service.yaml:5:12: consumes[0]: \"who.knows\" is published by no service\n"},
        {"services/x/service.yaml", SERVICE("x") "sagas: { s: { start: who.knows, steps: [ a: { call: \"PUT bank:/{id}\", retry: forever } ] } }\n",
         "services/x/service.yaml:5:22: sagas.s.start: \"who.knows\" is published by no service\n"},
        {"ficus.yaml", "ficus: 1\nsystem: shop\ninclude: [services/*/service.yaml, services/bank/*.yaml, other/*.yaml]\n", "ficus.yaml:3:58: include[2]: \"other/*.yaml\" matches no file\n"},
        {"services/x/service.yaml", "[1]\n", "services/x/service.yaml:1:1: found a list, expected a map\n"},
        {"services/x/service.yaml", "", "services/x/service.yaml:1:1: found nothing, expected a map\n"},
        {"services/x/service.yaml", "a: [\n", "services/x/service.yaml:2:1: did not find expected node content, while parsing a flow node (begun in line 2)\n"},
        {"ficus.yaml", ROOT "include: [services/*/service.yaml]\n", "ficus.yaml:4:1: include: the key occurs twice, first in line 3\n"},
        {"ficus.yaml", "ficus: 2\nsystem: shop\nwhatever: 1\n", "ficus.yaml:1:8: ficus: this file is of version 2, made for a newer Ficus; this one reads version 1\n"},
        {"ficus.yaml", "ficus: 1\nsystem: shop\ninclude: [service/*/service.yaml]\n", "ficus.yaml:3:11: include[0]: \"service/*/service.yaml\" matches no file\n"},
        {"ficus.yaml", "ficus: 1\nsystem: shop\ninclude: [/etc/*.yaml]\n", "ficus.yaml:3:11: include[0]: found \"/etc/*.yaml\", allowed is a pattern relative to this file, such as services/*/service.yaml\n"},
        {"ficus.yaml", ROOT "enforce: true\n", "ficus.yaml:4:1: enforce: not supported by this version\n"},
        {"ficus.yaml", ROOT "events: { log: \"nats://x\" }\n", "ficus.yaml:4:16: events.log: found \"nats://x\", allowed is embedded (addresses of other logs are not supported by this version)\n"},
        {"ficus.yaml", ROOT "administrator: { email: a@b, service: user }\n", "ficus.yaml:4:39: administrator.service: \"user\" is no service of this system (did you mean users?)\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, to: odrers } ] }\n", "ficus.yaml:4:38: gateway.routes[0].to: \"odrers\" is no service of this system (did you mean orders?)\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, to: \"orders:/{id}\" } ] }\n", "ficus.yaml:4:38: gateway.routes[0].to: {id} does not occur in the path /a\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a/**, to: \"orders:/b\" } ] }\n", "ficus.yaml:4:41: gateway.routes[0].to: /** must end both the path and the target, or none of them\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, to: orders, auth: required } ] }\n", "ficus.yaml:4:52: gateway.routes[0].auth: needs gateway.auth, which says how users are known\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, to: orders, roles: [admin] } ] }\n", "ficus.yaml:4:46: gateway.routes[0].roles: needs \"auth: required\"\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: \"/a/{x}/b\", to: orders }, { path: \"/a/{y}/b\", to: users } ] }\n", "ficus.yaml:4:64: gateway.routes[1].path: is the same route as in line 4\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, headers: { A: 1, B: 2 }, to: orders }, { path: /a, headers: { b: 2, a: 1 }, to: users } ] }\n", "ficus.yaml:4:81: gateway.routes[1].path: is the same route as in line 4\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, headers: { A: 1, a: 2 }, to: orders } ] }\n", "ficus.yaml:4:51: gateway.routes[0].headers.a: is the same header as \"A\"\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, headers: { Host: x }, to: orders } ] }\n", "ficus.yaml:4:45: gateway.routes[0].headers.Host: found \"Host\", allowed is a header but Host, for which there is the word host\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, query: { v: [1] }, to: orders } ] }\n", "ficus.yaml:4:46: gateway.routes[0].query.v: found a list or map, expected a text, or {present: true}\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, host: Shop.example, to: orders } ] }\n", "ficus.yaml:4:40: gateway.routes[0].host: found \"Shop.example\", allowed is a host name such as shop.example or *.shop.example, in lower case, without a port\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, to: users, fallback: {} } ] }\n", "ficus.yaml:4:55: gateway.routes[0].fallback: says nothing: say one or more of \"stale\", \"to\" and \"status\"\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, method: POST, to: users, fallback: { stale: 5m, to: odrers } } ] }\n",
         "ficus.yaml:4:71: gateway.routes[0].fallback.stale: is for GET and HEAD alone; a POST may have been done already\n"
         "ficus.yaml:4:82: gateway.routes[0].fallback.to: is for GET and HEAD alone; a POST may have been done already\n"
         "ficus.yaml:4:86: gateway.routes[0].fallback.to: \"odrers\" is no service of this system (did you mean orders?)\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, to: users, fallback: { stale: 5m, body: x } } ] }\n", "ficus.yaml:4:68: gateway.routes[0].fallback.body: needs a status that has a body\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, to: users, fallback: { status: 204, type: text/plain } } ] }\n", "ficus.yaml:4:70: gateway.routes[0].fallback.type: needs \"body\"\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /**, files: front, fallback: { status: 204 } } ] }\n", "ficus.yaml:4:49: gateway.routes[0].fallback: needs \"to\" or \"split\" (the file for pages without one is \"page\")\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, split: [ { to: orders, weight: 0 } ] } ] }\n", "ficus.yaml:4:41: gateway.routes[0].split: has no part with a weight over 0\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, split: [ { to: \"odrers:/b\", weight: 1 } ] } ] }\n", "ficus.yaml:4:49: gateway.routes[0].split[0].to: \"odrers\" is no service of this system (did you mean orders?)\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, split: [ { to: \"orders:/{x}\", weight: 1 } ] } ] }\n", "ficus.yaml:4:49: gateway.routes[0].split[0].to: {x} does not occur in the path /a\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, to: orders, sticky: user } ] }\n", "ficus.yaml:4:46: gateway.routes[0].sticky: needs \"split\"\nficus.yaml:4:54: gateway.routes[0].sticky: needs \"auth: required\" or \"auth: optional\"\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, split: [ { to: orders, weight: 1 } ], sticky: cookie a b } ] }\n", "ficus.yaml:4:80: gateway.routes[0].sticky: found \"cookie a b\", expected user, header NAME, cookie NAME, or"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: \"/a/../b\", to: orders } ] }\n", "ficus.yaml:4:30: gateway.routes[0].path: found \"/a/../b\", allowed is a path such as"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: \"/{x}/{x}\", to: orders } ] }\n", "ficus.yaml:4:30: gateway.routes[0].path: found \"/{x}/{x}\", allowed is a path in which each {name} occurs once\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a } ] }\n", "ficus.yaml:4:22: gateway.routes[0]: leads nowhere: say one of \"to\", \"split\", \"compose\", \"files\" and \"answer\"\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a/**, to: users, files: front } ] }\n", "ficus.yaml:4:48: gateway.routes[0].files: stands beside \"to\"; a route leads to one place\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, files: front } ] }\n", "ficus.yaml:4:30: gateway.routes[0].path: has to end in /**, because the folder's files are below it\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /**, files: fornt } ] }\n", "ficus.yaml:4:42: gateway.routes[0].files: \"fornt\" is no folder beside this file\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /**, files: front/index.html } ] }\n", "ficus.yaml:4:42: gateway.routes[0].files: \"front/index.html\" is no folder beside this file\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /**, files: ../front } ] }\n", "ficus.yaml:4:42: gateway.routes[0].files: found \"../front\", allowed is a path without \"..\", relative to this file\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /**, files: front, page: main.html } ] }\n", "ficus.yaml:4:55: gateway.routes[0].page: \"main.html\" is no file of the folder front\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, to: users, page: index.html } ] }\n", "ficus.yaml:4:45: gateway.routes[0].page: needs \"files\"\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /**, files: front, auth: none } ] }\n", "ficus.yaml:4:49: gateway.routes[0].auth: has no meaning beside \"files\"\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { method: GET, path: /**, files: front } ] }\n", "ficus.yaml:4:24: gateway.routes[0].method: has no meaning beside \"files\": they are only read\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, answer: 404, timeout: 1s } ] }\n", "ficus.yaml:4:47: gateway.routes[0].timeout: has no meaning beside \"answer\"\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, answer: 404, websocket: true } ] }\n", "ficus.yaml:4:47: gateway.routes[0].websocket: has no meaning beside \"answer\"\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { method: PUT, path: /a, to: users, websocket: true } ] }\n", "ficus.yaml:4:58: gateway.routes[0].websocket: begins with a GET, which this route does not take\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, answer: 404, body_max: 1KiB } ] }\n", "ficus.yaml:4:47: gateway.routes[0].body_max: has no meaning beside \"answer\"\n"},
        {"ficus.yaml", ROOT "gateway: { routes: [ { path: /a, answer: 200 } ] }\n", "ficus.yaml:4:42: gateway.routes[0].answer: found \"200\", expected a whole number from 400 to 599\n"},
        {"ficus.yaml", ROOT "gateway: { auth: { jwks: \"users:/k\", issuer: i }, routes: [ { path: \"/h/{x}\", compose: [ { get: \"user:/me\", group: a } ] } ] }\n", "ficus.yaml:4:97: gateway.routes[0].compose[0].get: \"user\" is no service of this system (did you mean users?)\n"},
        {"ficus.yaml", ROOT "gateway: { auth: { jwks: \"users:/k\", issuer: i }, routes: [ { path: \"/h/{x}\", compose: [ { get: \"users:/me\", group: a }, { get: \"bank:/me\", group: a } ] } ] }\n", "ficus.yaml:4:148: gateway.routes[0].compose[1].group: \"a\" is the name of another part\n"},
        {"ficus.yaml", ROOT "gateway: { auth: { jwks: \"users:/k\", issuer: i }, routes: [ { path: \"/h/{x}\", compose: [ { get: \"users:/{y}\", group: a } ] } ] }\n", "ficus.yaml:4:97: gateway.routes[0].compose[0].get: {y} does not occur in the path /h/{x}\n"},
        {"ficus.yaml", ROOT "gateway: { auth: { jwks: \"users:/k\", issuer: i }, routes: [ { path: \"/h/{x}\", compose: [ { get: \"users:/{jwt.sub}\", group: a } ] } ] }\n", "ficus.yaml:4:97: gateway.routes[0].compose[0].get: {jwt.sub} needs \"auth: required\"\n"},
        {"ficus.yaml", ROOT "gateway: { auth: { jwks: \"users:/k\", issuer: i }, routes: [ { path: \"/h/{x}\", compose: [ { get: \"users:/{jwt.iss}\", group: a } ] } ] }\n", "ficus.yaml:4:97: gateway.routes[0].compose[0].get: found path \"/{jwt.iss}\", expected a path such as /api/v1/orders/{id} or /files/**\n"},
        {"ficus.yaml", ROOT "gateway: { auth: { jwks: \"users:/k\", issuer: i }, routes: [ { path: \"/h/{x}\", compose: [ { get: \"users:/a?b{x}\", group: a } ] } ] }\n", "ficus.yaml:4:97: gateway.routes[0].compose[0].get: found \"users:/a?b{x}\", expected SERVICE:/PATH such as orders:/v1/orders?limit=5\n"},
        {"ficus.yaml", ROOT "gateway: { auth: { jwks: \"users:/k\", issuer: i }, routes: [ { path: \"/h/{x}\", compose: [ { get: \"users:/a/**\", group: a } ] } ] }\n", "ficus.yaml:4:97: gateway.routes[0].compose[0].get: found \"users:/a/**\", expected SERVICE:/PATH such as orders:/v1/orders?limit=5\n"},
        {"ficus.yaml", ROOT "gateway: { auth: { jwks: \"users:/k\", issuer: i }, routes: [ { path: \"/h/{x}\", compose: [ { get: \"users:/a\", group: a, mapping: { b: d, c: d } } ] } ] }\n", "ficus.yaml:4:139: gateway.routes[0].compose[0].mapping.c: \"b\" becomes \"d\" as well\n"},
        {"ficus.yaml", ROOT "gateway: { auth: { jwks: \"users:/k\", issuer: i }, routes: [ { path: \"/h/{x}\", compose: [ { get: \"users:/a\" } ] } ] }\n", "ficus.yaml:4:90: gateway.routes[0].compose[0]: \"group\" is missing: text\n"},
        {"ficus.yaml", ROOT "gateway: { auth: { jwks: \"users:/k\", issuer: i }, routes: [ { path: \"/h/{x}\", method: POST, compose: [ { get: \"users:/a\", group: a } ] } ] }\n", "ficus.yaml:4:87: gateway.routes[0].method: a composed answer is only read: GET\n"},
        {"ficus.yaml", ROOT "gateway: { auth: { jwks: \"users:/k\", issuer: i }, routes: [ { path: \"/h/{x}\", compose: [] } ] }\n", "ficus.yaml:4:88: gateway.routes[0].compose: found nothing in it, expected at least one entry\n"},
        {"ficus.yaml", ROOT "gateway: { auth: { jwks: \"users:/k\", issuer: i }, routes: [ { path: \"/h/{x}\", compose: [ { get: \"users:/a\", group: g0 }, { get: \"users:/a\", group: g1 }, { get: \"users:/a\", group: g2 }, { get: \"users:/a\", group: g3 }, { get: \"users:/a\", group: g4 }, { get: \"users:/a\", group: g5 }, { get: \"users:/a\", group: g6 }, { get: \"users:/a\", group: g7 }, { get: \"users:/a\", group: g8 }, { get: \"users:/a\", group: g9 }, { get: \"users:/a\", group: g10 }, { get: \"users:/a\", group: g11 }, { get: \"users:/a\", group: g12 }, { get: \"users:/a\", group: g13 }, { get: \"users:/a\", group: g14 }, { get: \"users:/a\", group: g15 }, { get: \"users:/a\", group: g16 } ] } ] }\n", "ficus.yaml:4:79: gateway.routes[0].compose: has more than 16 parts\n"},
        {"ficus.yaml", ROOT "gateway: { auth: { jwks: \"users:/k\", issuer: i }, routes: [ { path: \"/h/{x}\", to: users, compose: [ { get: \"users:/a\", group: a } ] } ] }\n", "ficus.yaml:4:90: gateway.routes[0].compose: stands beside \"to\"; a route leads to one place\n"},
        {"ficus.yaml", ROOT "gateway: { listen: \"localhost:80\" }\n", "ficus.yaml:4:20: gateway.listen: found \"localhost:80\", allowed is a numeric address and a port"},
        {"ficus.yaml", ROOT "gateway: { auth: { jwks: users, issuer: i } }\n", "ficus.yaml:4:26: gateway.auth.jwks: found \"users\", expected SERVICE:/PATH without parameters"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct system s;
        system_init(&s);
        put_good(&s);
        files_put(&s.files, cases[i].file, cases[i].text);
        enum ficus_err err = load(&s, NULL);
        if (strncmp(buf_str(&s.text), cases[i].message, strlen(cases[i].message)) != 0 || (cases[i].message[0] == '\0') != (err == FICUS_ERR_OK))
            fail_msg("case %zu: found\n%sexpected\n%s", i, buf_str(&s.text), cases[i].message);
        if (slice_ends(slice_str(cases[i].message), SLICE("\n")))
            assert_string_equal(buf_str(&s.text), cases[i].message);
        system_done(&s);
    }
}

/* Mistakes in several files come all at once. */
static void test_all_at_once(void **state)
{
    struct system s;
    system_init(&s);
    put_good(&s);
    files_put(&s.files, "ficus.yaml", ROOT "gateway: { timeout: 5, routes: [ { path: /a, to: odrers } ] }\n");
    files_put(&s.files, "services/bank/service.yaml", SERVICE("bank") "workers: 0\ncalls: { user: {} }\n");
    files_put(&s.files, "services/users/service.yaml", SERVICE("users") "stor: sqlite:x\n");
    assert_int_equal(load(&s, NULL), FICUS_ERR_INVALID);
    assert_int_equal(s.errors.count, 5);
    assert_string_equal(buf_str(&s.text),
        "ficus.yaml:4:21: gateway.timeout: \"5\" has no unit (did you mean 5ms?)\n"
        "ficus.yaml:4:50: gateway.routes[0].to: \"odrers\" is no service of this system (did you mean orders?)\n"
        "services/bank/service.yaml:5:10: workers: found \"0\", expected a whole number from 1 to 64\n"
        "services/bank/service.yaml:6:10: calls.user: \"user\" is no service of this system (did you mean users?)\n"
        "services/users/service.yaml:5:1: stor: unknown key (did you mean store?)\n");
    system_done(&s);
}

/* A missing root file, or a folder in its place, is an error with its name and no crash. */
static void test_no_file(void **state)
{
    struct system s;
    system_init(&s);
    assert_int_equal(load(&s, NULL), FICUS_ERR_NOT_FOUND);
    assert_string_equal(buf_str(&s.text), "ficus.yaml:1:1: cannot be read: not found (-f names another, ficus new service makes one)\n");
    files_put(&s.files, "ficus.yaml/x", "");
    assert_int_equal(load(&s, NULL), FICUS_ERR_INVALID);
    system_done(&s);
}

/* With too little memory, however much that is, loading and rendering end with an error that says so, and never otherwise. */
static void test_out_of_memory(void **state)
{
    struct system s;
    char path[512], dir[512];
    bool succeeded = false;
    system_init(&s);
    put_good(&s);
    files_put(&s.files, "state/run/old", "");
    (void)files_path(&s.files, "state", dir, sizeof dir);
    (void)files_path(&s.files, "ficus.yaml", path, sizeof path);
    const struct manifest_options options = {.build = "/b", .state = dir};
    for (size_t size = 0; size < (1 << 20) && !succeeded; size += 512 + size / 100) {
        struct arena a;
        struct conf_errors errors;
        struct manifest *m;
        struct ficus_error err = {0};
        arena_init(&a, size);
        conf_errors_init(&errors, &a);
        if (manifest_load(&a, path, &options, &m, &errors) != FICUS_ERR_OK) {
            assert_true(errors.count > 0);
        } else if (manifest_render(m, &a, NULL, &err) != FICUS_ERR_OK) {
            assert_int_equal(err.code, FICUS_ERR_NOMEM);
        } else {
            succeeded = true;
        }
        arena_done(&a);
    }
    assert_true(succeeded);
    system_done(&s);
}

/* The whole schema is one valid JSON document and knows the words of edges and sagas. */
static void test_schema(void **state)
{
    static const struct conf_table *const tables[] = {&manifest_table, &manifest_service_table};
    for (size_t i = 0; i < 2; i++) {
        struct buf b;
        struct json_writer w;
        struct arena a;
        struct json *root;
        struct ficus_error err = {0};
        buf_init(&b, 1 << 20);
        json_write_init(&w, &b);
        conf_schema(tables[i], CONF_MANIFEST, &w);
        arena_init(&a, 1 << 22);
        if (json_parse(&a, buf_slice(&b), NULL, &root, &err) != FICUS_ERR_OK)
            fail_msg("%s", err.text);
        assert_non_null(strstr(buf_str(&b), i == 0 ? "jwks" : "attempts"));
        assert_null(strstr(buf_str(&b), "enforce"));
        arena_done(&a);
        buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good), cmocka_unit_test(test_resolved), cmocka_unit_test(test_sets), cmocka_unit_test(test_part), cmocka_unit_test(test_many_routes), cmocka_unit_test(test_schedules), cmocka_unit_test(test_elsewhere), cmocka_unit_test(test_groups), cmocka_unit_test(test_across),
        cmocka_unit_test(test_all_at_once), cmocka_unit_test(test_no_file), cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
