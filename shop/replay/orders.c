/* SPDX-License-Identifier: Apache-2.0
 *
 * The orders. With a rate the arrivals keep to their schedule whatever the shop does (open loop), and latency counts
 * from the scheduled time, so that a shop that stands still is not measured too kindly: the search and the cart from
 * the scheduled moment, the order from when the cart is full. Without one, a fixed number of orders is always under way
 * (closed loop).
 */
#include "replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LEFT_PERCENT = 10 };

static void advance(void *arg);

/* ---- cancels ---- */

static void cancel_answered(void *arg, const struct outcome *o)
{
    struct job *j = arg;
    struct run *run = j->run;
    j->cancel_status = o->status;
    j->cancel_tries = o->tries;
    j->cancel_answered_ms = wall_ms();
    if (o->status == 202) {
        run->cancels_accepted++;
    } else if (o->status == 409) {
        run->cancels_late++;
    } else {
        run->cancels_failed++;
        j->cancel_error = util_strdup(o->status == 0 ? o->error : o->body);
    }
}

static void cancel_send(void *arg)
{
    struct job *j = arg;
    if (j->cancel_sent)
        return;
    j->cancel_sent = true;
    j->cancel_asked_ms = wall_ms();
    j->run->cancels_asked++;
    j->cancel_key = util_printf("%s-cancel", j->key);
    struct try_request q = {.kind = "cancel",
                            .method = "POST",
                            .path = util_printf("/api/v1/orders/%s/cancel", j->id),
                            .key = j->cancel_key,
                            .user = &j->run->users[j->order->user]};
    try_send(j->run, &q, cancel_answered, j);
}

static void cancel_plan(struct job *j)
{
    if (j->order->cancel == CANCEL_SEEDED) {
        if (ficus_client_after(j->run->client, j->order->cancel_delay_ms, cancel_send, j) != 0)
            die("out of memory");
    } else if (j->cancel_due) {
        cancel_send(j);
    }
}

/* ---- orders ---- */

static char *order_body(const struct job *j)
{
    const struct plan *p = &j->run->plan;
    struct text t = {0};
    text_str(&t, "{\"items\":[");
    for (size_t i = 0; i < j->order->item_count; i++) {
        text_str(&t, i == 0 ? "{\"product_id\":" : ",{\"product_id\":");
        text_json(&t, p->products[j->order->items[i].product].sku);
        text_printf(&t, ",\"quantity\":%" PRId64 "}", j->order->items[i].quantity);
    }
    text_printf(&t, "],\"payment\":{\"card_number\":\"%s\"}}", j->order->card_number);
    return t.p;
}

static bool id_take(struct job *j, const char *body)
{
    struct ficus_doc *d = ficus_doc_parse(body);
    const char *id = d == NULL ? NULL : ficus_doc_str(d, ficus_json_get(ficus_doc_root(d), "id"));
    if (id != NULL) {
        struct text segment = {0};
        text_segment(&segment, id);
        j->id = segment.p;
    }
    ficus_doc_free(d);
    return id != NULL;
}

static void order_accepted(struct job *j)
{
    struct run *run = j->run;
    j->state = JOB_ACCEPTED;
    j->accepted_ms = run->accepted_ms = wall_ms();
    j->latency_us = ficus_client_now_us(run->client) - j->intended_us;
    run->accepted++;
    sample_add(&run->latencies, j->latency_us);
    cancel_plan(j);
    if (j->visits)
        watch_begin(j);
    if (j->leaves)
        visit_leave(j);
}

static void order_answered(void *arg, const struct outcome *o)
{
    struct job *j = arg;
    struct run *run = j->run;
    j->status = o->status;
    j->tries = o->tries;
    run->retries_order += o->tries - 1;
    if (o->status == 202 && id_take(j, o->body)) {
        order_accepted(j);
    } else {
        j->state = JOB_FAILED;
        j->error = util_strdup(o->status == 0 ? o->error : o->body);
        run->failed++;
    }
    if (run->options.rate <= 0)
        advance(run);
}

static void order_send(struct job *j)
{
    struct run *run = j->run;
    j->state = JOB_SENT;
    if (j->visits) /* the order is due when the cart is full; that was measured for itself */
        j->intended_us = ficus_client_now_us(run->client);
    j->sent_ms = wall_ms();
    run->sent++;
    struct try_request q = {.kind = "order",
                            .method = "POST",
                            .path = util_strdup("/api/v1/orders"),
                            .body = order_body(j),
                            .key = j->key,
                            .user = &run->users[j->order->user],
                            .statuses = &j->statuses};
    try_send(run, &q, order_answered, j);
}

/* ---- the schedule ---- */

static int64_t arrival_us(const struct run *run, const struct arrival *a)
{
    size_t before = a->orders_before - a->orders_before % run->options.bunch;
    return run->orders_us + (int64_t)((double)before * 1e6 / run->options.rate);
}

static void arrive(struct run *run, const struct arrival *a, int64_t intended_us)
{
    if (!a->is_cancel) {
        run->begun++;
        a->job->intended_us = intended_us;
        visit_begin(a->job, order_send);
        return;
    }
    a->job->cancel_due = true;
    if (a->job->state == JOB_ACCEPTED && a->job->order->cancel == CANCEL_FILE)
        cancel_send(a->job);
}

static void advance_max(struct run *run)
{
    while (!run->stopping && run->arrival_next < run->arrival_count &&
           run->begun - run->accepted - run->failed < run->options.conns)
        arrive(run, &run->arrivals[run->arrival_next++], ficus_client_now_us(run->client));
}

static void advance_rate(struct run *run)
{
    int64_t now_us = ficus_client_now_us(run->client);
    while (!run->stopping && run->arrival_next < run->arrival_count) {
        const struct arrival *a = &run->arrivals[run->arrival_next];
        int64_t due_us = arrival_us(run, a);
        if (due_us > now_us) {
            if (ficus_client_after(run->client, (due_us - now_us + 999) / 1000, advance, run) != 0)
                die("out of memory");
            return;
        }
        run->arrival_next++;
        arrive(run, a, due_us);
    }
}

static void advance(void *arg)
{
    struct run *run = arg;
    if (run->options.rate > 0)
        advance_rate(run);
    else
        advance_max(run);
}

static void job_prepare(struct run *run, const struct plan_order *o, int64_t loop)
{
    struct job *j = &run->jobs[run->job_count];
    *j = (struct job){
        .run = run, .order = o, .loop = loop, .key = util_printf("%s-%" PRId64 "-%s", run->id, loop, o->invoice)};
    j->visits = hash_texts("visit:", o->invoice, NULL) % 100 < run->options.visits_percent;
    j->leaves = j->visits && hash_texts("left:", o->invoice, NULL) % 100 < LEFT_PERCENT;
    run->arrivals[run->arrival_count++] = (struct arrival){j, false, run->job_count};
    run->job_count++;
}

/* Orders and C-invoices in the order of the file, loop after loop. */
void orders_prepare(struct run *run)
{
    const struct plan *p = &run->plan;
    size_t loops = (size_t)run->options.loops;
    run->jobs = util_alloc(p->order_count * loops * sizeof *run->jobs);
    run->arrivals = util_alloc((p->order_count + p->credit_count) * loops * sizeof *run->arrivals);
    for (size_t loop = 0; loop < loops; loop++) {
        struct job *first = &run->jobs[run->job_count];
        size_t credit = 0;
        for (size_t i = 0; i <= p->order_count; i++) {
            for (; credit < p->credit_count && p->credits[credit].after == i; credit++)
                if (strcmp(p->credits[credit].verdict, "cancels") == 0)
                    run->arrivals[run->arrival_count++] = (struct arrival){&first[p->credits[credit].order], true,
                                                                           run->job_count};
            if (i < p->order_count)
                job_prepare(run, &p->orders[i], (int64_t)loop);
        }
    }
}

void orders_run(struct run *run)
{
    run->phase = "orders";
    run->orders_ms = wall_ms();
    run->orders_us = ficus_client_now_us(run->client);
    advance(run);
    ficus_client_run(run->client);
}
