/* SPDX-License-Identifier: Apache-2.0
 *
 * What the run says: a progress line on a terminal, a status file for programs that watch, the run file for the
 * reconciliation, the report.
 */
#include "replay.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TICK_MS = 25, TICKS_PER_LINE = 40, LISTED_MAX = 20 };

/* Set by SIGINT and SIGTERM. A signal handler can reach nothing else. */
static volatile sig_atomic_t stop_signals;

static void on_signal(int signum)
{
    (void)signum;
    stop_signals = stop_signals + 1;
}

/* ---- latency ---- */

void sample_add(struct samples *s, int64_t us)
{
    s->us = util_grow(s->us, s->count, sizeof *s->us);
    s->us[s->count++] = us;
}

static int compare_i64(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

struct latencies {
    int64_t p50_us, p90_us, p99_us, max_us;
};

static struct latencies latencies_of(const struct samples *s, size_t first)
{
    size_t count = s->count - first;
    if (count == 0)
        return (struct latencies){0};
    int64_t *sorted = util_alloc(count * sizeof *sorted);
    memcpy(sorted, s->us + first, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_i64);
    struct latencies l = {sorted[count * 50 / 100], sorted[count * 90 / 100], sorted[count * 99 / 100],
                          sorted[count - 1]};
    free(sorted);
    return l;
}

/* ---- while it runs ---- */

static bool at_work(const struct run *run)
{
    return run->open > 0 || run->watches_open > 0 ||
           (!run->stopping && run->arrival_next < run->arrival_count && strcmp(run->phase, "orders") == 0);
}

static void status_write(const struct run *run, bool done)
{
    if (run->options.status_path == NULL)
        return;
    struct text t = {0};
    text_printf(&t,
                "{\"at\":%" PRId64
                ",\"phase\":\"%s\",\"done\":%s,\"planned\":%zu,\"sent\":%zu,\"accepted\":%zu,\"failed\":%zu,",
                wall_ms(), run->phase, done ? "true" : "false", run->job_count, run->sent, run->accepted, run->failed);
    text_printf(&t, "\"on_the_wire\":%zu,\"open\":%zu,\"retries\":%zu,\"cancels_asked\":%zu,\"cancels_accepted\":%zu,",
                run->on_the_wire, run->open, run->retries, run->cancels_asked, run->cancels_accepted);
    text_printf(&t, "\"streams\":%zu,\"streams_ended\":%zu,\"streams_broken\":%zu,\"wrong\":%zu,", run->watches_open,
                run->watches.done, run->watches_broken, run->searches.wrong + run->carts.wrong + run->watches.wrong);
    text_printf(&t, "\"errands_failed\":%zu}\n", run->searches.failed + run->carts.failed + run->watches.failed);
    if (!file_replace(run->options.status_path, 0600, &t))
        die("%s: %s", run->options.status_path, strerror(errno));
    text_done(&t);
}

static void progress_line(const struct run *run)
{
    if (run->options.quiet || !isatty(STDERR_FILENO))
        return;
    if (strcmp(run->phase, "orders") != 0) {
        fprintf(stderr, "\r\033[K%s: %zu users, %zu products, %zu stocks", run->phase, run->users_new,
                run->products_put, run->stock_put);
        return;
    }
    size_t recent = run->latencies.count > 1000 ? run->latencies.count - 1000 : 0;
    struct latencies l = latencies_of(&run->latencies, recent);
    double seconds = (double)(ficus_client_now_us(run->client) - run->orders_us) / 1e6;
    fprintf(stderr, "\r\033[K%zu/%zu sent, %zu accepted, %zu repeated, %zu under way, %.1f/s, p50 %.1f ms, p99 %.1f ms",
            run->sent, run->job_count, run->accepted, run->retries, run->open,
            seconds > 0 ? (double)run->accepted / seconds : 0.0, (double)l.p50_us / 1e3, (double)l.p99_us / 1e3);
}

struct ticker {
    struct run *run;
    unsigned ticks;
};

static void tick(void *arg)
{
    struct ticker *k = arg;
    struct run *run = k->run;
    if (stop_signals > 0)
        run->stopping = true;
    if (stop_signals > 1)
        ficus_client_stop(run->client);
    if (run->requests != NULL)
        fflush(run->requests);
    status_write(run, false);
    if (++k->ticks % TICKS_PER_LINE == 0)
        progress_line(run);
    if (!at_work(run)) {
        free(k);
        return;
    }
    if (ficus_client_after(run->client, TICK_MS, tick, k) != 0)
        die("out of memory");
}

void report_begin(struct run *run)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct ticker *k = util_alloc(sizeof *k);
    k->run = run;
    if (ficus_client_after(run->client, TICK_MS, tick, k) != 0)
        die("out of memory");
}

void report_end(struct run *run)
{
    status_write(run, true);
    if (!run->options.quiet && isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

/* ---- the run file ---- */

static void field(struct text *t, const char *name, const char *value)
{
    text_printf(t, ",\"%s\":", name);
    text_json(t, value);
}

static void field_time(struct text *t, const char *name, int64_t ms)
{
    char text[32];
    if (ms > 0)
        time_text(ms, text);
    field(t, name, ms > 0 ? text : NULL);
}

static void errand_write(const struct errand *e, const char *name, struct text *t)
{
    if (!e->sent)
        return;
    text_printf(t, ",\"%s\":{\"status\":%d,\"tries\":%u,\"wrong\":%s", name, e->status, e->tries,
                e->wrong ? "true" : "false");
    field_time(t, "sent_at", e->begun_ms);
    field_time(t, "answered_at", e->ended_ms);
    text_str(t, "}");
}

static void watch_write(const struct watch *w, struct text *t)
{
    if (!w->opened)
        return;
    text_printf(t, ",\"stream\":{\"connections\":%u,\"ended\":%s,\"events\":[%s]", w->connections,
                w->ended ? "true" : "false", w->events.p == NULL ? "" : w->events.p);
    field_time(t, "final_at", w->final_ms);
    field_time(t, "ended_at", w->ended_ms);
    field(t, "error", w->error);
    text_str(t, "}");
}

static void job_write(const struct job *j, struct text *t)
{
    static const char *const states[] = {"waiting", "sent", "accepted", "failed"};
    const struct user *u = &j->run->users[j->order->user];
    text_printf(t, "{\"loop\":%" PRId64, j->loop);
    field(t, "invoice", j->order->invoice);
    field(t, "state", states[j->state]);
    field(t, "key", j->key);
    field(t, "id", j->id);
    field(t, "email", u->email);
    text_printf(t, ",\"status\":%d,\"tries\":%u,\"statuses\":[%s],\"latency_us\":%" PRId64, j->status, j->tries,
                j->statuses.p == NULL ? "" : j->statuses.p, j->latency_us);
    field_time(t, "sent_at", j->sent_ms);
    field_time(t, "accepted_at", j->accepted_ms);
    field(t, "error", j->error);
    if (j->cancel_sent) {
        text_printf(t, ",\"cancel\":{\"status\":%d,\"tries\":%u", j->cancel_status, j->cancel_tries);
        field_time(t, "asked_at", j->cancel_asked_ms);
        field_time(t, "answered_at", j->cancel_answered_ms);
        field(t, "error", j->cancel_error);
        text_str(t, "}");
    }
    errand_write(&j->search, "search", t);
    errand_write(&j->cart, "cart", t);
    errand_write(&j->left_cart, "left_cart", t);
    watch_write(&j->watch, t);
    text_str(t, "}");
}

static void user_write(const struct user *u, struct text *t)
{
    text_str(t, "{\"customer\":");
    text_json(t, u->customer);
    field(t, "email", u->email);
    field(t, "password", u->password);
    field(t, "authorization", u->authorization);
    text_str(t, "}");
}

bool report_run_file(const struct run *run)
{
    const struct options *o = &run->options;
    struct text t = {0};
    text_printf(
        &t, "{\"version\":2,\"run\":\"%s\",\"seed\":%" PRIu64 ",\"loops\":%" PRId64 ",\"invoices\":%zu,\"stopped\":%s",
        run->id, o->seed, o->loops, o->invoices_max, run->stopping ? "true" : "false");
    text_printf(&t, ",\"visits_percent\":%u", o->visits_percent);
    field(&t, "file", o->file);
    field(&t, "url", o->url);
    field_time(&t, "started_at", run->started_ms);
    field_time(&t, "orders_at", run->orders_ms);
    field_time(&t, "ended_at", run->ended_ms);
    text_str(&t, ",\"users\":[");
    for (size_t i = 0; i < run->plan.user_count; i++) {
        text_str(&t, i == 0 ? "\n" : ",\n");
        user_write(&run->users[i], &t);
    }
    text_str(&t, "],\"orders\":[");
    for (size_t i = 0; i < run->job_count; i++) {
        text_str(&t, i == 0 ? "\n" : ",\n");
        job_write(&run->jobs[i], &t);
    }
    text_str(&t, "],\"listed_by_reason\":");
    plan_reasons_write(&run->plan, &t);
    text_str(&t, ",\"listed\":");
    plan_listed_write(&run->plan, &t);
    text_str(&t, "}\n");
    bool ok = file_replace(o->run_path, 0600, &t);
    if (!ok)
        fprintf(stderr, "shop-replay: %s: %s\n", o->run_path, strerror(errno));
    explicit_bzero(t.p, t.size);
    text_done(&t);
    return ok;
}

/* ---- the report ---- */

void report_header(const struct run *run)
{
    printf("shop-replay of %s\n\nRules\n", run->options.file);
    for (size_t i = 0; plan_rules[i] != NULL; i++)
        printf("  %s\n", plan_rules[i]);
}

static size_t credits_with(const struct plan *p, const char *verdict)
{
    size_t n = 0;
    for (size_t i = 0; i < p->credit_count; i++)
        n += strcmp(p->credits[i].verdict, verdict) == 0;
    return n;
}

static void print_file(const struct plan *p)
{
    struct text reasons = {0};
    plan_reasons_write(p, &reasons);
    int64_t total = 0, file_total = 0;
    for (size_t i = 0; i < p->order_count; i++) {
        total += p->orders[i].total;
        file_total += p->orders[i].file_total;
    }
    printf("\nFile\n  %zu lines, %zu invoices: %zu orders of %zu customers, %zu C-invoices, %zu products\n",
           p->line_count, p->invoice_count, p->order_count, p->user_count, p->credit_count, p->product_count);
    printf("  %zu lines listed: %s\n", p->listed_count, reasons.p);
    printf("  C-invoices: %zu cancel an order, %zu partial, %zu no such order in the file\n",
           credits_with(p, "cancels"), credits_with(p, "partial"), credits_with(p, "no such order in the file"));
    printf("  orders at the file's prices %" PRId64 " pence, at list prices %" PRId64 " pence\n", file_total, total);
    text_done(&reasons);
}

static void print_errands(const char *what, const struct errands *e, const char *time)
{
    struct latencies l = latencies_of(&e->times, 0);
    printf("  %s: %zu, %s wrong: %zu, failed: %zu; %s: p50 %.1f ms, p99 %.1f ms\n", what, e->done, what, e->wrong,
           e->failed, time, (double)l.p50_us / 1e3, (double)l.p99_us / 1e3);
}

static void print_visits(const struct run *run)
{
    if (run->options.visits_percent == 0)
        return;
    printf("\nVisits (%u%% of the orders)\n", run->options.visits_percent);
    print_errands("searches", &run->searches, "time to the answer");
    print_errands("carts", &run->carts, "time to the answer");
    print_errands("streams", &run->watches, "from the 202 to the final status");
    printf("  %zu streams broke and were resumed by Last-Event-ID\n", run->watches_broken);
}

static void print_failures(const struct run *run)
{
    size_t said = 0;
    for (size_t i = 0; i < run->job_count && said < LISTED_MAX; i++) {
        const struct job *j = &run->jobs[i];
        if (j->state == JOB_FAILED && ++said > 0)
            printf("  failed: invoice %s loop %" PRId64 ": %d after %u tries: %s\n", j->order->invoice, j->loop,
                   j->status, j->tries, j->error);
        if (j->cancel_error != NULL && ++said > 0)
            printf("  cancel failed: invoice %s loop %" PRId64 ": %d: %s\n", j->order->invoice, j->loop,
                   j->cancel_status, j->cancel_error);
        if (j->search.wrong && ++said > 0)
            printf("  search wrong: invoice %s loop %" PRId64 "\n", j->order->invoice, j->loop);
        if ((j->cart.wrong || j->left_cart.wrong) && ++said > 0)
            printf("  cart wrong: invoice %s loop %" PRId64 "\n", j->order->invoice, j->loop);
        if ((j->watch.wrong || j->watch.error != NULL) && ++said > 0)
            printf("  stream: invoice %s loop %" PRId64 ": %s, events [%s]\n", j->order->invoice, j->loop,
                   j->watch.error == NULL ? "out of turn" : j->watch.error,
                   j->watch.events.p == NULL ? "" : j->watch.events.p);
    }
}

void report_print(const struct run *run)
{
    print_file(&run->plan);
    if (run->options.plan_only)
        return;
    printf("\nShop\n  %zu products and %zu stocks changed\n", run->products_put, run->stock_put);
    if (run->options.load_only)
        return;
    printf("  %zu users registered\n", run->users_new);
    struct latencies l = latencies_of(&run->latencies, 0);
    double seconds = (double)(run->accepted_ms - run->orders_ms) / 1e3;
    printf("\nOrders\n  %zu of %zu sent%s, %zu accepted, %zu failed, in %.1f s: %.1f/s accepted (asked: ", run->sent,
           run->job_count, run->stopping ? " (stopped)" : "", run->accepted, run->failed, seconds,
           seconds > 0 ? (double)run->accepted / seconds : 0.0);
    if (run->options.rate > 0)
        printf("%g/s)\n", run->options.rate);
    else
        printf("as fast as %zu at once go)\n", run->options.conns);
    printf("  time to the 202, from the moment that it was due: p50 %.1f ms, p90 %.1f ms, p99 %.1f ms, most %.1f ms\n",
           (double)l.p50_us / 1e3, (double)l.p90_us / 1e3, (double)l.p99_us / 1e3, (double)l.max_us / 1e3);
    printf("  %zu requests were repeated, %zu of them orders\n", run->retries, run->retries_order);
    printf("  cancels: %zu asked, %zu accepted, %zu too late (cancelled already), %zu failed\n", run->cancels_asked,
           run->cancels_accepted, run->cancels_late, run->cancels_failed);
    print_visits(run);
    print_failures(run);
    printf("  run file: %s\n", run->options.run_path);
}
