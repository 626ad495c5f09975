/* SPDX-License-Identifier: Apache-2.0
 *
 * Customers, and the supervisor's part towards the hub: a process that is never killed and speaks as the gateway would. Whatever is not answered for
 * good is sent again with the same key.
 */
#include "shop_sim.h"

#include "json.h"

#include <stdio.h>
#include <string.h>

enum { ATTEMPTS_MAX = 2000, CLIENT_TIMEOUT_MS = 4000 };

static const struct slice admin_role[] = {{"admin", 5}};

static struct http_field json_type(void)
{
    return (struct http_field){SLICE("Content-Type"), SLICE("application/json")};
}

static bool try_again(int status)
{
    return status == 0 || status >= 500 || status == 429 || status == 408;
}

static void later(struct shop_order *o, void (*fn)(void *arg), int64_t ms)
{
    o->timer = (struct env_timer){.fn = fn, .arg = o};
    env_timer_start(o->shop->client.env, &o->timer, ms);
}

static void again(struct shop_order *o, void (*fn)(void *arg))
{
    if (++o->attempts > ATTEMPTS_MAX)
        shop_fail(o->shop, "order %d is not answered after %d attempts", o->number, ATTEMPTS_MAX);
    later(o, fn, 50 + (int64_t)sim_draw_below(o->shop->sim, 500));
}

static void fetch(struct shop *s, struct call_request *r, void (*done)(void *arg, const struct call_result *result), void *arg)
{
    r->timeout_ms = CLIENT_TIMEOUT_MS;
    r->correlation = SLICE("sim");
    if (call_fetch(s->client.calls, r, 1 << 20, done, arg, NULL) != FICUS_ERR_OK)
        shop_fail(s, "call_fetch failed");
}

/* ---- cancel ---- */

static void cancel_send(void *arg);

static void cancel_done(void *arg, const struct call_result *r)
{
    struct shop_order *o = arg;
    int status = r->err == FICUS_ERR_OK ? r->status : 0;
    if (try_again(status))
        again(o, cancel_send);
    else if (status == 202)
        o->cancel_answered = true;
    else if (status == 409)
        o->cancel_too_late = true;
    else
        shop_fail(o->shop, "cancel of order %d: status %d %.*s", o->number, status, SLICE_ARG(r->body));
}

static void cancel_send(void *arg)
{
    struct shop_order *o = arg;
    char *path = arena_printf(&o->shop->arena, "/v1/orders/%s/cancel", o->id);
    struct call_request r = {.callee = "orders", .method = SLICE("POST"), .path = slice_str(path), .user = slice_str(o->user)};
    fetch(o->shop, &r, cancel_done, o);
}

static void cancel_plan(struct shop_order *o)
{
    if (o->cancel_after_ms >= 0)
        later(o, cancel_send, o->cancel_after_ms);
}

/* ---- cart ---- */

static void order_send(void *arg);
static void cart_send(void *arg);

static void cart_done(void *arg, const struct call_result *r)
{
    struct shop_order *o = arg;
    int status = r->err == FICUS_ERR_OK ? r->status : 0;
    bool busy = status == 409 && http_msg_get(r->head, "Retry-After").p != NULL;
    if (try_again(status) || busy) {
        again(o, cart_send);
        return;
    }
    if (status != 200)
        shop_fail(o->shop, "cart of order %d: status %d %.*s", o->number, status, SLICE_ARG(r->body));
    o->attempts = 0;
    o->cart++;
    if (o->cart == SHOP_CART_FILLED)
        order_send(o);
    else
        cancel_plan(o);
}

/* With a key, so that a copy that comes late does not fill the cart again. */
static void cart_send(void *arg)
{
    struct shop_order *o = arg;
    snprintf(o->cart_key, sizeof o->cart_key, "cart-%d-%d", o->number, o->cart);
    o->fields[0] = json_type();
    o->fields[1] = (struct http_field){SLICE("Idempotency-Key"), slice_str(o->cart_key)};
    struct call_request r = {.callee = "cart", .method = SLICE("PUT"), .path = SLICE("/v1/cart"), .fields = o->fields, .field_count = 2,
                             .body = slice_str(o->body), .user = slice_str(o->user), .keyed = true};
    fetch(o->shop, &r, cart_done, o);
}

/* ---- order ---- */

static void order_accepted(struct shop_order *o, struct slice body)
{
    struct arena a;
    arena_init(&a, 1 << 20);
    struct json *v = NULL;
    struct slice id = SLICE_NONE;
    if (json_parse(&a, body, NULL, &v, NULL) == FICUS_ERR_OK)
        id = json_string_or(json_get(v, "id"), SLICE_NONE);
    if (id.size == 0 || id.size >= sizeof o->id)
        shop_fail(o->shop, "order %d: no id in %.*s", o->number, SLICE_ARG(body));
    snprintf(o->id, sizeof o->id, "%.*s", SLICE_ARG(id));
    arena_done(&a);
    o->state = SHOP_ORDER_ACCEPTED;
    o->attempts = 0;
    if (o->cart_anew)
        cart_send(o);
    else
        cancel_plan(o);
}

static void order_done(void *arg, const struct call_result *r)
{
    struct shop_order *o = arg;
    int status = r->err == FICUS_ERR_OK ? r->status : 0;
    bool busy = status == 409 && http_msg_get(r->head, "Retry-After").p != NULL;
    if (try_again(status) || busy)
        again(o, order_send);
    else if (status == 202)
        order_accepted(o, r->body);
    else
        shop_fail(o->shop, "order %d: status %d %.*s", o->number, status, SLICE_ARG(r->body));
}

static void order_send(void *arg)
{
    struct shop_order *o = arg;
    o->state = SHOP_ORDER_SENT;
    o->fields[0] = json_type();
    o->fields[1] = (struct http_field){SLICE("Idempotency-Key"), slice_str(o->key)};
    struct call_request r = {.callee = "orders", .method = SLICE("POST"), .path = SLICE("/v1/orders"), .fields = o->fields, .field_count = 2,
                             .body = slice_str(o->body), .user = slice_str(o->user), .keyed = true};
    fetch(o->shop, &r, order_done, o);
}

/* ---- products and stock, before the customers come ---- */

struct put {
    struct shop *shop;
    const char *callee;
    char path[64], body[128];
    struct http_field type;
    struct env_timer timer;
};

static void put_send(void *arg);

static void put_done(void *arg, const struct call_result *r)
{
    struct put *p = arg;
    int status = r->err == FICUS_ERR_OK ? r->status : 0;
    if (try_again(status)) {
        p->timer = (struct env_timer){.fn = put_send, .arg = p};
        env_timer_start(p->shop->client.env, &p->timer, 100);
        return;
    }
    if (status != 200 && status != 201)
        shop_fail(p->shop, "PUT %s: status %d %.*s", p->path, status, SLICE_ARG(r->body));
    p->shop->setup_left--;
}

static void put_send(void *arg)
{
    struct put *p = arg;
    p->type = json_type();
    struct call_request r = {.callee = p->callee, .method = SLICE("PUT"), .path = slice_str(p->path), .fields = &p->type, .field_count = 1,
                             .body = slice_str(p->body), .user = SLICE("admin"), .roles = admin_role, .role_count = 1};
    fetch(p->shop, &r, put_done, p);
}

static void setup(struct shop *s)
{
    for (int i = 0; i < SHOP_PUTS; i++) {
        struct put *p = ARENA_NEW(&s->arena, struct put);
        p->shop = s;
        p->callee = i % 2 == 0 ? "catalog" : "inventory";
        snprintf(p->path, sizeof p->path, "/v1/%s/sku-%d", i % 2 == 0 ? "products" : "stock", i / 2);
        if (i % 2 == 0)
            snprintf(p->body, sizeof p->body, "{\"name\":\"Thing %d\",\"price\":{\"amount\":%d,\"currency\":\"GBP\"}}", i / 2, 100 + i);
        else
            snprintf(p->body, sizeof p->body, "{\"on_hand\":%lld}", (long long)s->stock[i / 2]);
        put_send(p);
    }
}

/* ---- the registry: as the supervisor does ---- */

static void registry_done(void *arg, const struct call_result *r)
{
    struct shop *s = arg;
    s->registry_running = false;
    if (r->err != FICUS_ERR_OK || r->status != 204)
        s->registry_dirty = true;
}

static void registry_turn(void *arg)
{
    struct shop *s = arg;
    env_timer_start(s->client.env, &s->registry_timer, 100);
    if (!s->registry_dirty || s->registry_running)
        return;
    s->registry_dirty = false;
    s->registry_running = true;
    struct buf body;
    struct json_writer w;
    buf_init(&body, 8192);
    json_write_init(&w, &body);
    json_write_object(&w);
    json_write_key(&w, "services");
    json_write_object(&w);
    for (int i = 0; i < s->host_count; i++) {
        if (s->hosts[i].service == NULL)
            continue;
        json_write_key(&w, s->hosts[i].name);
        json_write_array(&w);
        json_write_str(&w, manifest_find_process(s->manifest, s->hosts[i].name)->address);
        json_write_end(&w);
    }
    json_write_end(&w);
    json_write_end(&w);
    static struct http_field type[1];
    type[0] = json_type();
    struct call_request r = {.callee = "hub-ops", .method = SLICE("PUT"), .path = SLICE("/v1/registry"), .fields = type, .field_count = 1,
                             .body = arena_slice(&s->arena, buf_slice(&body))};
    buf_done(&body);
    fetch(s, &r, registry_done, s);
}

static void edge(struct shop *s, const char *callee, const char *address)
{
    struct call_policy policy = call_policy_default();
    policy.keeps_keys = true;
    if (call_engine_edge(s->client.calls, callee, &policy, NULL) != FICUS_ERR_OK)
        shop_fail(s, "edge to %s", callee);
    call_engine_endpoints(s->client.calls, callee, &address, 1);
}

static void client_boot(void *arg, struct env *e)
{
    struct shop *s = arg;
    struct ficus_error error = {0};
    if (process_init(&s->client, e, &s->client_config, &error) != FICUS_ERR_OK)
        shop_fail(s, "client: %s", error.text);
    for (int i = 0; i < s->host_count; i++)
        if (s->hosts[i].service != NULL)
            edge(s, s->hosts[i].name, manifest_find_process(s->manifest, s->hosts[i].name)->address);
    edge(s, "hub-ops", s->hosts[0].hub_config.operator_listen[0]);
    s->registry_timer = (struct env_timer){.fn = registry_turn, .arg = s};
    registry_turn(s);
    setup(s);
}

void shop_client_start(struct shop *s)
{
    s->client_config = s->hosts[0].hub_config.common;   /* like the hub: no resolver; its addresses are given */
    s->client_config.process = "gateway";
    s->client_config.edges = NULL;
    s->client_config.edge_count = 0;
    s->client_disk = sim_disk_clone(s->hosts[0].disk);
    s->client_process = sim_start(s->sim, "client", s->client_disk, 2, client_boot, s);
}

void shop_client_orders(struct shop *s)
{
    for (int i = 0; i < s->order_count; i++)
        later(&s->orders[i], cart_send, s->orders[i].at_ms);
}

bool shop_client_done(const struct shop *s)
{
    for (int i = 0; i < s->order_count; i++) {
        const struct shop_order *o = &s->orders[i];
        if (o->state != SHOP_ORDER_ACCEPTED || o->cart != (o->cart_anew ? SHOP_CART_FILLED_ANEW : SHOP_CART_FILLED) || (o->cancel_after_ms >= 0 && !o->cancel_answered && !o->cancel_too_late))
            return false;
    }
    return true;
}
