/* SPDX-License-Identifier: Apache-2.0
 *
 * The shop in the simulator: hub, services and bank run unchanged from the files that the real manifest derives, each on a host with a disk of its own; customers order
 * and cancel through a client that repeats with the same key until it is answered; hosts crash and come back.
 *
 *   shop_world.c   hosts, configuration, crashes, restarts       shop_client.c   customers and their plans
 *   shop_facts.c   what the stores on the disks say, as tables      shop_check.c   the oracle: statements as SQL
 *   sim_shop.c   one run under one seed; the command
 */
#ifndef FICUS_SHOP_SIM_H
#define FICUS_SHOP_SIM_H

#include "manifest.h"
#include "hub.h"
#include "service.h"
#include "sim.h"

enum { SHOP_HOSTS_MAX = 10, SHOP_ORDERS_MAX = 64, SHOP_ITEMS_MAX = 4, SHOP_SKUS = 5, SHOP_PUTS = 2 * SHOP_SKUS };

struct shop;
struct shop_facts;

/* One machine: its disk outlives the processes on it. */
struct shop_host {
    struct shop *shop;
    const char *name;
    const struct ficus_service *service;    /* NULL: the hub */
    struct service_config service_config;
    struct hub_config hub_config;
    struct sim_disk *disk;
    struct sim_process *process;
    int64_t restart_at_ms;                  /* when it is down */
    unsigned crash_count;
};

enum shop_order_state { SHOP_ORDER_PLANNED, SHOP_ORDER_SENT, SHOP_ORDER_ACCEPTED };
/* His cart: filled before he orders, and by some anew afterwards. */
enum shop_cart_state { SHOP_CART_PLANNED, SHOP_CART_FILLED, SHOP_CART_FILLED_ANEW };

/* What one customer wants, and what he was answered. */
struct shop_order {
    struct shop *shop;
    int number;
    enum shop_order_state state;
    struct { int sku; int64_t quantity; } items[SHOP_ITEMS_MAX];
    int item_count;
    const char *card;
    char key[32], cart_key[32], user[16], id[64], body[512];
    enum shop_cart_state cart;
    bool cart_anew;
    int64_t at_ms, cancel_after_ms;         /* cancel_after_ms < 0: never */
    bool cancel_answered, cancel_too_late;  /* 202; or 409 because it was cancelled already */
    unsigned attempts;
    struct env_timer timer;
    struct http_field fields[2];
};

struct shop {
    struct sim *sim;
    struct arena arena;
    struct manifest *manifest;
    uint64_t seed;
    struct shop_host hosts[SHOP_HOSTS_MAX];
    int host_count;
    struct sim_disk *client_disk;
    struct sim_process *client_process;
    struct process client;                  /* speaks as the gateway */
    struct process_config client_config;
    struct shop_order orders[SHOP_ORDERS_MAX];
    int order_count;
    int64_t stock[SHOP_SKUS];               /* as set */
    int setup_left;                         /* of the puts of products and stock */
    bool faults;                            /* may hosts crash? */
    bool cruel;                             /* disks also are full or fail for a while, syncs hang, hosts stay down for long */
    bool twice;                             /* the oracle reads each store a second time, from a copy */
    bool impatient;                         /* the checkout soon gives up on a step: see shop_world.c */
    bool registry_dirty;                    /* the hub must be told anew */
    bool registry_running;
    struct env_timer registry_timer;
    struct shop_facts *facts;               /* of shop_check.c */
    char busy_with[256];                    /* what shop_is_quiet found last */
};

/* shop_world.c */
/* The world until the products are there, in which nothing fails; its number decides about its draws and whether it is impatient. */
struct shop *shop_new(uint64_t number, const char *source_root, bool twice);
/* From here on all is drawn from the seed: what customers want, and every cruelty. Not sooner than when nothing is left to set up: a copy of a PUT
 * that comes late sets the stock anew, and nothing adds up. */
void shop_begin(struct shop *s, uint64_t seed, int order_count, bool cruel);
void shop_host_start(struct shop_host *h);
/* Something may crash now; what is down long enough comes back. To be called between steps. */
void shop_turn(struct shop *s);
void shop_heal(struct shop *s);             /* faults end, all hosts come up */
_Noreturn void shop_fail(struct shop *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* shop_client.c */
void shop_client_start(struct shop *s);
void shop_client_orders(struct shop *s);
bool shop_client_done(const struct shop *s);    /* all orders and cancels are answered */

/* shop_facts.c: read what changed since; at rest all of it. Returned: a bit for each table that is another than before. */
uint64_t shop_facts_refresh(struct shop *s, bool rest);
uint64_t shop_facts_named(const char *sql);     /* the bits of the tables that a statement names */
struct db_conn *shop_facts_conn(struct shop *s);

/* shop_check.c: fail the run when a statement is broken; cheap when nothing was committed since. quiet: also those that
 * hold only at rest. */
void shop_check(struct shop *s, bool quiet);
/* Nothing pending, no unfinished saga, empty outboxes. */
bool shop_is_quiet(struct shop *s);

#endif
