/* SPDX-License-Identifier: Apache-2.0
 *
 * Before the orders: sign in as administrator, bring products and stock to what the file needs, register the customers.
 */
#include "replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { USERS_AT_ONCE = 8, PRODUCTS_AT_ONCE = 32, SAID_MAX = 10 };

/* ---- many small things, some at a time ---- */

struct batch {
    struct run *run;
    size_t next, count, running, window, failed;
    void (*start)(struct batch *b, size_t i);
};

static void batch_fill(struct batch *b)
{
    while (b->running < b->window && b->next < b->count && b->failed < SAID_MAX) {
        b->running++;
        b->start(b, b->next++);
    }
}

static void batch_ended(struct batch *b)
{
    b->running--;
    batch_fill(b);
}

static void batch_failed(struct batch *b, const char *what, const char *which, const struct outcome *o)
{
    b->failed++;
    fprintf(stderr, "shop-replay: %s %s: %d %s\n", what, which, o->status, o->status == 0 ? o->error : o->body);
    batch_ended(b);
}

static bool batch_run(struct run *run, size_t count, size_t window, void (*start)(struct batch *b, size_t i))
{
    struct batch b = {.run = run, .count = count, .window = window, .start = start};
    batch_fill(&b);
    ficus_client_run(run->client);
    return b.failed == 0;
}

struct step {
    struct batch *batch;
    size_t index;
    bool suffixed; /* users: the plain address was taken */
};

static struct step *step_new(struct batch *b, size_t i)
{
    struct step *s = util_alloc(sizeof *s);
    *s = (struct step){.batch = b, .index = i};
    return s;
}

/* ---- the administrator ---- */

static bool admin_read(struct run *run)
{
    char text[4096];
    FILE *f = fopen(run->options.admin_path, "re");
    if (f == NULL) {
        fprintf(stderr, "shop-replay: %s: %s (it stands in the state folder of the shop)\n", run->options.admin_path,
                strerror(errno));
        return false;
    }
    size_t size = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[size] = '\0';
    struct ficus_doc *d = ficus_doc_parse(text);
    const struct ficus_json *root = d == NULL ? NULL : ficus_doc_root(d);
    const char *email = d == NULL ? NULL : ficus_doc_str(d, ficus_json_get(root, "email"));
    const char *password = d == NULL ? NULL : ficus_doc_str(d, ficus_json_get(root, "password"));
    bool ok = email != NULL && password != NULL;
    if (ok) {
        run->admin.email = util_strdup(email);
        run->admin.password = util_strdup(password);
    } else {
        fprintf(stderr, "shop-replay: %s must hold {\"email\", \"password\"}\n", run->options.admin_path);
    }
    ficus_doc_free(d);
    explicit_bzero(text, sizeof text);
    return ok;
}

static void admin_signed_in(void *arg, const struct outcome *o)
{
    (void)arg;
    if (o->status != 201)
        fprintf(stderr, "shop-replay: the administrator cannot sign in: %d %s\n", o->status,
                o->status == 0 ? o->error : o->body);
}

bool setup_admin(struct run *run)
{
    run->admin.run = run;
    run->phase = "signing in";
    if (!admin_read(run))
        return false;
    user_sign_in(&run->admin, admin_signed_in, NULL);
    ficus_client_run(run->client);
    return run->admin.authorization != NULL;
}

/* ---- users ---- */

static void user_register(struct step *s);

static void user_failed(struct step *s, const struct outcome *o)
{
    batch_failed(s->batch, "register", s->batch->run->users[s->index].email, o);
    free(s);
}

static void user_ready(struct step *s)
{
    struct batch *b = s->batch;
    free(s);
    batch_ended(b);
}

/* After a 409: when our password fits, an earlier try of ours had made it and its answer was lost. */
static void user_probed(void *arg, const struct outcome *o)
{
    struct step *s = arg;
    struct user *u = &s->batch->run->users[s->index];
    if (o->status == 201) {
        user_ready(s);
    } else if (o->status == 401 && !s->suffixed) {
        s->suffixed = true;
        char *at = strchr(u->email, '@');
        char *email = util_printf("%.*s.%s%s", (int)(at - u->email), u->email, u->run->id, at);
        free(u->email);
        u->email = email;
        user_register(s);
    } else {
        user_failed(s, o);
    }
}

static void user_registered(void *arg, const struct outcome *o)
{
    struct step *s = arg;
    struct user *u = &s->batch->run->users[s->index];
    if (o->status == 201)
        s->batch->run->users_new++;
    if (o->status == 201 || o->status == 409)
        user_sign_in(u, user_probed, s);
    else
        user_failed(s, o);
}

static void user_register(struct step *s)
{
    struct run *run = s->batch->run;
    const struct user *u = &run->users[s->index];
    struct text body = {0};
    text_str(&body, "{\"email\":");
    text_json(&body, u->email);
    text_str(&body, ",\"name\":");
    char *name = *u->customer == '\0' ? util_strdup("Guest") : util_printf("Customer %s", u->customer);
    text_json(&body, name);
    free(name);
    text_str(&body, ",\"password\":");
    text_json(&body, u->password);
    text_str(&body, "}");
    try_send(run, &(struct try_request){.method = "POST", .path = util_strdup("/api/v1/users"), .body = body.p},
             user_registered, s);
}

static void user_start(struct batch *b, size_t i)
{
    struct run *run = b->run;
    struct user *u = &run->users[i];
    char password[33];
    random_hex(password, 16);
    u->run = run;
    u->customer = run->plan.users[i].customer;
    u->password = util_strdup(password);
    u->email = *u->customer == '\0' ? util_strdup("guest@replay.example")
                                    : util_printf("c%s@replay.example", u->customer);
    user_register(step_new(b, i));
}

bool setup_users(struct run *run)
{
    run->phase = "registering users";
    run->users = util_alloc(run->plan.user_count * sizeof *run->users);
    return batch_run(run, run->plan.user_count, USERS_AT_ONCE, user_start);
}

/* ---- products ---- */

struct shelf { /* what the shop has of products already */
    struct run *run;
    char **names; /* by index of the plan; NULL: unknown sku */
    int64_t *prices;
    struct strmap by_sku;
    bool failed;
};

static void shelf_take(struct shelf *s, struct ficus_doc *d)
{
    const struct ficus_json *items = ficus_json_get(ficus_doc_root(d), "items");
    for (size_t i = 0; i < ficus_json_count(items); i++) {
        const struct ficus_json *item = ficus_json_at(items, i);
        const char *sku = ficus_doc_str(d, ficus_json_get(item, "sku")),
                   *name = ficus_doc_str(d, ficus_json_get(item, "name"));
        size_t k;
        if (sku == NULL || name == NULL || !strmap_get(&s->by_sku, sku, &k))
            continue;
        free(s->names[k]);
        s->names[k] = util_strdup(name);
        if (!ficus_json_int(ficus_json_get(ficus_json_get(item, "price"), "amount"), &s->prices[k]))
            s->prices[k] = -1;
    }
}

static void shelf_page(void *arg, const struct outcome *o)
{
    struct shelf *s = arg;
    struct ficus_doc *d = o->status == 200 ? ficus_doc_parse(o->body) : NULL;
    if (d == NULL) {
        fprintf(stderr, "shop-replay: GET products: %d %s\n", o->status, o->status == 0 ? o->error : o->body);
        s->failed = true;
        return;
    }
    shelf_take(s, d);
    const char *next = ficus_doc_str(d, ficus_json_get(ficus_doc_root(d), "next"));
    if (next != NULL) {
        struct text path = {0};
        text_str(&path, "/api/v1/products?limit=100&after=");
        text_segment(&path, next);
        try_send(s->run, &(struct try_request){.method = "GET", .path = path.p}, shelf_page, s);
    }
    ficus_doc_free(d);
}

static void shelf_read(struct shelf *s)
{
    const struct plan *p = &s->run->plan;
    s->names = util_alloc(p->product_count * sizeof *s->names);
    s->prices = util_alloc(p->product_count * sizeof *s->prices);
    for (size_t i = 0; i < p->product_count; i++)
        strmap_put(&s->by_sku, p->products[i].sku, i);
    try_send(s->run, &(struct try_request){.method = "GET", .path = util_strdup("/api/v1/products?limit=100")},
             shelf_page, s);
    ficus_client_run(s->run->client);
}

static void shelf_done(struct shelf *s)
{
    for (size_t i = 0; i < s->run->plan.product_count; i++)
        free(s->names[i]);
    free(s->names);
    free(s->prices);
    strmap_done(&s->by_sku);
}

static char *sku_path(const char *prefix, const char *sku)
{
    struct text path = {0};
    text_str(&path, prefix);
    text_segment(&path, sku);
    return path.p;
}

static void product_put_done(void *arg, const struct outcome *o)
{
    struct step *s = arg;
    struct batch *b = s->batch;
    size_t i = s->index;
    free(s);
    if (o->status != 200 && o->status != 201) {
        batch_failed(b, "PUT product", b->run->plan.products[i].sku, o);
        return;
    }
    b->run->products_put++;
    batch_ended(b);
}

/* The batch's items are indices into `changed`. */
struct product_batch {
    struct batch batch;
    size_t *changed; /* products of the plan */
};

static void product_start(struct batch *b, size_t i)
{
    const struct product_batch *pb = (const struct product_batch *)(const void *)b;
    const struct plan_product *p = &b->run->plan.products[pb->changed[i]];
    struct text body = {0};
    text_str(&body, "{\"name\":");
    text_json(&body, p->name);
    text_printf(&body, ",\"price\":{\"amount\":%" PRId64 ",\"currency\":\"GBP\"}}", p->price);
    try_send(
        b->run,
        &(struct try_request){
            .method = "PUT", .path = sku_path("/api/v1/products/", p->sku), .body = body.p, .user = &b->run->admin},
        product_put_done, step_new(b, pb->changed[i]));
}

static bool products_put(struct run *run, const struct shelf *shelf)
{
    struct product_batch pb = {.batch = {.run = run, .window = PRODUCTS_AT_ONCE, .start = product_start}};
    pb.changed = util_alloc(run->plan.product_count * sizeof *pb.changed);
    for (size_t i = 0; i < run->plan.product_count; i++) {
        const struct plan_product *p = &run->plan.products[i];
        if (shelf->names[i] == NULL || strcmp(shelf->names[i], p->name) != 0 || shelf->prices[i] != p->price)
            pb.changed[pb.batch.count++] = i;
    }
    batch_fill(&pb.batch);
    ficus_client_run(run->client);
    free(pb.changed);
    return pb.batch.failed == 0;
}

/* ---- stock ---- */

static void stock_put_done(void *arg, const struct outcome *o)
{
    struct step *s = arg;
    struct batch *b = s->batch;
    size_t i = s->index;
    free(s);
    if (o->status != 200) {
        batch_failed(b, "PUT stock", b->run->plan.products[i].sku, o);
        return;
    }
    b->run->stock_put++;
    batch_ended(b);
}

static void stock_got(void *arg, const struct outcome *o)
{
    struct step *s = arg;
    struct run *run = s->batch->run;
    const struct plan_product *p = &run->plan.products[s->index];
    int64_t wanted = plan_stock(p, run->options.loops), on_hand = -1;
    struct ficus_doc *d = o->status == 200 ? ficus_doc_parse(o->body) : NULL;
    if (d != NULL && !ficus_json_int(ficus_json_get(ficus_doc_root(d), "on_hand"), &on_hand))
        on_hand = -1;
    ficus_doc_free(d);
    if (o->status != 200 && o->status != 404) {
        batch_failed(s->batch, "GET stock", p->sku, o);
        free(s);
    } else if (on_hand == wanted) {
        struct batch *b = s->batch;
        free(s);
        batch_ended(b);
    } else {
        try_send(run,
                 &(struct try_request){.method = "PUT",
                                       .path = sku_path("/api/v1/stock/", p->sku),
                                       .body = util_printf("{\"on_hand\":%" PRId64 "}", wanted),
                                       .user = &run->admin},
                 stock_put_done, s);
    }
}

static void stock_start(struct batch *b, size_t i)
{
    try_send(b->run,
             &(struct try_request){.method = "GET",
                                   .path = sku_path("/api/v1/stock/", b->run->plan.products[i].sku),
                                   .user = &b->run->admin},
             stock_got, step_new(b, i));
}

bool setup_products(struct run *run)
{
    struct shelf shelf = {.run = run};
    run->phase = "products and stock";
    shelf_read(&shelf);
    bool ok = !shelf.failed && products_put(run, &shelf);
    shelf_done(&shelf);
    return ok && batch_run(run, run->plan.product_count, PRODUCTS_AT_ONCE, stock_start);
}
