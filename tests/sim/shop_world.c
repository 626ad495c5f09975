/* SPDX-License-Identifier: Apache-2.0 */
#include "shop_sim.h"

#include "assert.h"
#include "mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const struct ficus_service orders_service, inventory_service, payments_service, bank_service, catalog_service, notifications_service,
    cart_service, search_service;

static const struct {
    const char *name;
    const struct ficus_service *service;
} cast[] = {
    {"hub", NULL},
    {"orders", &orders_service},
    {"inventory", &inventory_service},
    {"payments", &payments_service},
    {"bank", &bank_service},
    {"catalog", &catalog_service},
    {"notifications", &notifications_service},
    {"cart", &cart_service},
    {"search", &search_service},
};

_Noreturn void shop_fail(struct shop *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "seed %llu at %.3f s, step %llu: ", (unsigned long long)s->seed, (double)sim_now_ms(s->sim) / 1e3,
            (unsigned long long)sim_step_count(s->sim));
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    for (int i = 0; i < s->host_count; i++)
        if (s->hosts[i].process != NULL)
            sim_describe(s->hosts[i].process);
    _Exit(1);
}

/* ---- configuration: what the manifest derives, on simulated disks ---- */

static void disk_put(struct sim_disk *d, const char *path, const void *p, size_t size)
{
    struct sim_file *f;
    FICUS_ASSERT(sim_disk_open(d, path, ENV_OPEN_CREATE, &f) == FICUS_ERR_OK);
    FICUS_ASSERT(sim_file_write(f, p, size, 0) == FICUS_ERR_OK);
    FICUS_ASSERT(sim_file_sync(f) == FICUS_ERR_OK);
    sim_file_close(f);
    FICUS_ASSERT(sim_disk_dir_sync(d, path) == FICUS_ERR_OK);
}

static void disk_put_real(struct shop *s, struct sim_disk *d, const char *path)
{
    char text[65536];
    FILE *f = fopen(path, "re");
    if (f == NULL)
        shop_fail(s, "%s cannot be read", path);
    size_t size = fread(text, 1, sizeof text, f);
    fclose(f);
    disk_put(d, path, text, size);
}

static const char system_key[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";

/* In impatient runs the manifest has a checkout that soon gives up on a step and undoes it as perhaps done, so that
 * undos overtake what they undo. (The shop's own waits for minutes, longer than any run.) */
static struct slice config_text(struct shop *s, const char *name, struct slice text)
{
    static const struct {
        const char *was, *is;
    } changes[] = {
        {"\"undo\":\"DELETE inventory:/v1/reservations/{id}\",\"pivot\":false,\"timeout\":\"5s\"",
         "\"undo\":\"DELETE inventory:/v1/reservations/{id}\",\"pivot\":false,\"timeout\":\"1s\",\"give_up\":\"1500ms\","
         "\"code\":\"given_up\""},
        {"\"timeout\":\"8s\",\"give_up\":\"10m\",\"code\":\"payment_unavailable\"",
         "\"timeout\":\"1s\",\"give_up\":\"2500ms\",\"code\":\"given_up\""},
    };
    if (!s->impatient || strcmp(name, "hub") != 0)
        return arena_slice(&s->arena, text);
    const char *whole = arena_printf(&s->arena, SLICE_FMT, SLICE_ARG(text));
    for (size_t i = 0; i < ARRAY_COUNT(changes); i++) {
        const char *at = strstr(whole, changes[i].was);
        if (at == NULL)
            shop_fail(s, "the checkout in the manifest is no longer as the simulator expects: %s", changes[i].was);
        whole = arena_printf(&s->arena, "%.*s%s%s", (int)(at - whole), whole, changes[i].is,
                             at + strlen(changes[i].was));
    }
    return slice_str(whole);
}

static void config_read(struct shop *s, const char *name, const struct conf_table *table, void *ret_config)
{
    struct buf text;
    struct ficus_error error = {0};
    buf_init(&text, 1 << 20);
    const struct manifest_process *p = manifest_find_process(s->manifest, name);
    if (p == NULL || manifest_render_process(s->manifest, p, &s->arena, &text, &error) != FICUS_ERR_OK ||
        process_config_read(&s->arena, name, config_text(s, name, buf_slice(&text)), table, ret_config, &error) != FICUS_ERR_OK)
        shop_fail(s, "configuration of %s: %s", name, error.text);
    buf_done(&text);
}

/* The supervisor's descriptors do not exist here: listen on the address itself. */
static void listen_on_address(struct shop *s, const char *name, const char *const **ret_listen, size_t *ret_count)
{
    const char **listen = ARENA_ARRAY(&s->arena, const char *, 1);
    listen[0] = manifest_find_process(s->manifest, name)->address;
    *ret_listen = listen;
    *ret_count = 1;
}

static void host_init(struct shop *s, struct shop_host *h, const char *name, const struct ficus_service *service)
{
    *h = (struct shop_host){.shop = s, .name = name, .service = service, .disk = sim_disk_new()};
    FICUS_ASSERT(h->disk != NULL);
    if (service == NULL) {
        config_read(s, name, &hub_config_table, &h->hub_config);
        listen_on_address(s, name, &h->hub_config.listen, &h->hub_config.listen_count);
        static const char *const operators[] = {"unix:/sim/hub-ops.sock"};
        h->hub_config.operator_listen = operators;
        h->hub_config.operator_listen_count = 1;
        disk_put(h->disk, h->hub_config.common.key_file, system_key, sizeof system_key - 1);
        return;
    }
    config_read(s, name, &service_config_table, &h->service_config);
    listen_on_address(s, name, &h->service_config.listen, &h->service_config.listen_count);
    disk_put(h->disk, h->service_config.common.key_file, system_key, sizeof system_key - 1);
    for (size_t i = 0; i < h->service_config.migration_count; i++)
        disk_put_real(s, h->disk, h->service_config.migrations[i]);
}

static void manifest_read(struct shop *s, const char *source_root)
{
    struct conf_errors errors;
    conf_errors_init(&errors, &s->arena);
    static const struct manifest_options options = {.state = "/sim/state", .sockets = "/sim", .build = "/sim/build"};
    const char *path = arena_printf(&s->arena, "%s/shop/ficus.yaml", source_root);
    if (manifest_load(&s->arena, path, &options, &s->manifest, &errors) != FICUS_ERR_OK) {
        struct buf text;
        buf_init(&text, 1 << 16);
        conf_errors_print(&errors, &text);
        shop_fail(s, "%s", buf_str(&text));
    }
}

/* ---- customers' plans ---- */

static void plan_order(struct shop *s, struct shop_order *o, int number)
{
    static const char *const cards[] = {"4242424242424242", "4242424242424242", "4242424242424242", "4242424242424242", "4000000000000002",
                                        "4000000000009995", "4000000000000119", "4000000000000341"};
    *o = (struct shop_order){.shop = s, .number = number, .cancel_after_ms = -1};
    o->card = cards[sim_draw_below(s->sim, ARRAY_COUNT(cards))];
    o->item_count = 1 + (int)sim_draw_below(s->sim, SHOP_ITEMS_MAX);
    for (int i = 0; i < o->item_count; i++) {
        o->items[i].sku = (int)sim_draw_below(s->sim, SHOP_SKUS);
        o->items[i].quantity = 1 + (int64_t)sim_draw_below(s->sim, 5);
    }
    if (sim_draw_below(s->sim, 10) < 3)
        o->cancel_after_ms = (int64_t)sim_draw_below(s->sim, 3000);
    o->at_ms = 1000 + (int64_t)sim_draw_below(s->sim, 12000);
    snprintf(o->key, sizeof o->key, "order-%d", number);
    snprintf(o->user, sizeof o->user, "user-%d", number);
    o->cart_anew = sim_draw_below(s->sim, 10) < 3;
    int n = snprintf(o->body, sizeof o->body, "{\"payment\":{\"card_number\":\"%s\"},\"items\":[", o->card);
    for (int i = 0; i < o->item_count; i++)
        n += snprintf(o->body + n, sizeof o->body - (size_t)n, "%s{\"product_id\":\"sku-%d\",\"quantity\":%lld}", i > 0 ? "," : "", o->items[i].sku,
                      (long long)o->items[i].quantity);
    snprintf(o->body + n, sizeof o->body - (size_t)n, "]}");
}

struct shop *shop_new(uint64_t number, const char *source_root, bool twice)
{
    struct shop *s = mem_zalloc(sizeof *s);
    FICUS_ASSERT(s != NULL);
    s->seed = number;
    s->impatient = number % 4 == 3;
    s->twice = twice;
    s->setup_left = SHOP_PUTS;
    s->sim = sim_new(number);
    arena_init(&s->arena, MANIFEST_ARENA_SIZE_MAX);
    manifest_read(s, source_root);
    for (size_t i = 0; i < ARRAY_COUNT(cast); i++)
        host_init(s, &s->hosts[s->host_count++], cast[i].name, cast[i].service);
    for (int i = 0; i < SHOP_SKUS; i++)
        s->stock[i] = i == 0 ? 8 : 10000;   /* sku-0 runs short */
    return s;
}

void shop_begin(struct shop *s, uint64_t seed, int order_count, bool cruel)
{
    FICUS_ASSERT(order_count <= SHOP_ORDERS_MAX);
    s->seed = seed;
    sim_reseed(s->sim, seed);
    for (int i = 0; i < order_count; i++)
        plan_order(s, &s->orders[s->order_count++], i);
    struct sim_network network = {
        .stall_rate = (unsigned)sim_draw_below(s->sim, 100),
        .stall_ms_max = 1 + (int64_t)sim_draw_below(s->sim, 9000),
        .cut_rate = (unsigned)sim_draw_below(s->sim, 60),
        .refuse_rate = (unsigned)sim_draw_below(s->sim, 10000),
    };
    if (s->impatient) {    /* many requests arrive after their saga gave up on them */
        network.stall_rate += 400;
        network.stall_ms_max += 4000;
    }
    sim_set_network(s->sim, &network);
    s->cruel = cruel;
    if (cruel)
        sim_set_disk_stall(s->sim, (unsigned)sim_draw_below(s->sim, 100), 15000);
    s->faults = true;
    shop_client_orders(s);
}

/* ---- processes ---- */

static void service_ready(void *arg, enum ficus_err err, const char *detail)
{
    struct shop_host *h = arg;
    if (err == FICUS_ERR_OK)
        return;
    /* Damage is never an excuse; anything else ends the process, and the supervisor starts it again. */
    if (err == FICUS_ERR_CORRUPT || err == FICUS_ERR_CONFLICT || err == FICUS_ERR_VERSION || err == FICUS_ERR_INVALID)
        shop_fail(h->shop, "%s cannot start: %s", h->name, detail);
    sim_exit(h->process);
}

static void host_boot(void *arg, struct env *e)
{
    struct shop_host *h = arg;
    struct ficus_error error = {0};
    enum ficus_err err;
    if (h->service == NULL) {
        struct hub *hub;
        err = hub_start(e, &h->hub_config, &hub, &error);
        h->shop->registry_dirty = true;
        if (err == FICUS_ERR_FULL || err == FICUS_ERR_IO)
            sim_exit(h->process);   /* the supervisor starts it again */
    } else {
        struct service *service;
        const struct service_hooks hooks = {.ready = service_ready, .arg = h};
        err = service_start(e, h->service, &h->service_config, &hooks, &service, &error);
    }
    if (err != FICUS_ERR_OK)
        shop_fail(h->shop, "%s cannot start: %s", h->name, error.text);
}

void shop_host_start(struct shop_host *h)
{
    h->process = sim_start(h->shop->sim, h->name, h->disk, h->service == NULL ? 4 : (size_t)(h->service_config.workers < 8 ? h->service_config.workers : 8), host_boot,
                           h);
}

static void host_down(struct shop_host *h)
{
    struct shop *s = h->shop;
    static const enum sim_crash modes[] = {SIM_CRASH_KEEP, SIM_CRASH_KEEP, SIM_CRASH_FORGET, SIM_CRASH_TEAR};
    sim_kill(h->process);
    sim_disk_crash(h->disk, modes[sim_draw_below(s->sim, ARRAY_COUNT(modes))], sim_draw(s->sim));
    h->process = NULL;
    h->crash_count++;
    h->restart_at_ms = sim_now_ms(s->sim) + 20 + (int64_t)sim_draw_below(s->sim, sim_draw_below(s->sim, 4) == 0 ? 5000 : 300);
    if (s->cruel && sim_draw_below(s->sim, 5) == 0)
        h->restart_at_ms += (int64_t)sim_draw_below(s->sim, 12000);
}

/* For a while the disk is full, or its writes fail: nothing may be lost that was answered, and all goes on when it has room again. */
static void disk_ill(struct shop_host *h)
{
    struct shop *s = h->shop;
    sim_disk_fail(h->disk, sim_draw_below(s->sim, 30), 1 + sim_draw_below(s->sim, sim_draw_below(s->sim, 3) == 0 ? 1000 : 40),
                  sim_draw_below(s->sim, 2) == 0 ? FICUS_ERR_FULL : FICUS_ERR_IO);
}

void shop_turn(struct shop *s)
{
    for (int i = 0; i < s->host_count; i++) {
        struct shop_host *h = &s->hosts[i];
        if (h->process != NULL && !sim_alive(h->process)) {
            host_down(h);
        } else if (h->process == NULL && sim_now_ms(s->sim) >= h->restart_at_ms) {
            shop_host_start(h);
            /* Half of the crashes are planned for an operation of the disk, so that every place between two writes has its turn. */
            if (s->faults && sim_draw_below(s->sim, 2) == 0)
                sim_disk_die_after(h->disk, 50 + sim_draw_below(s->sim, 600));
        } else if (h->process != NULL && s->faults && sim_draw_below(s->sim, 6000) == 0) {
            host_down(h);
        } else if (h->process != NULL && s->faults && s->cruel && sim_draw_below(s->sim, 3000) == 0) {
            disk_ill(h);
        }
    }
}

void shop_heal(struct shop *s)
{
    s->faults = false;
    sim_set_network(s->sim, &(struct sim_network){0});
    sim_set_disk_stall(s->sim, 0, 0);
    for (int i = 0; i < s->host_count; i++) {
        struct shop_host *h = &s->hosts[i];
        if (h->process != NULL && !sim_alive(h->process))
            host_down(h);
        sim_disk_die_after(h->disk, UINT64_C(1) << 60);
        sim_disk_fail(h->disk, 0, 0, FICUS_ERR_OK);
        if (h->process == NULL)
            shop_host_start(h);
    }
}
