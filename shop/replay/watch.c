/* SPDX-License-Identifier: Apache-2.0
 *
 * The event stream of each order, as the order's page holds it: from the 202 until the stream ends behind a final
 * status. One that breaks is opened again with Last-Event-ID.
 *
 *     QUEUED --(a free connection)--> OPEN --> ended: behind the final status
 *                                     ^  `---> given up: refused, or no end within --patience
 *                                     `-- broken, wait
 */
#include "replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SILENCE_MS_MAX = 40000 }; /* a comment comes every 15 s */

static void watch_open(void *arg);

static void watch_next(struct run *run)
{
    while (run->watch_conns < run->options.streams_max && run->watch_first != NULL) {
        struct job *j = run->watch_first;
        run->watch_first = j->watch.next;
        run->watch_conns++;
        watch_open(j);
    }
}

static void watch_end(struct job *j, const char *error)
{
    struct run *run = j->run;
    struct watch *w = &j->watch;
    w->ended_ms = wall_ms();
    w->ended = error == NULL;
    if (error != NULL) {
        w->error = util_strdup(error);
        run->watches.failed++;
    } else {
        run->watches.done++;
        run->watches.wrong += w->wrong;
    }
    run->watches_open--;
    run->watch_conns--;
    watch_next(run);
}

/* A stream that lost its end is resumed, and by then a confirmed order may be cancelled. */
static bool may_follow(const struct watch *w, const char *status)
{
    return !w->final || (w->confirmed && strcmp(status, "cancelled") == 0);
}

static void watch_event(void *arg, const struct ficus_client_event *e)
{
    struct job *j = arg;
    struct watch *w = &j->watch;
    struct ficus_doc *d = ficus_doc_parse(e->data);
    const char *status = d == NULL ? NULL : ficus_doc_str(d, ficus_json_get(ficus_doc_root(d), "status"));
    char *end;
    long long id = strtoll(e->id, &end, 10);
    bool numbered = *e->id >= '0' && *e->id <= '9' && *end == '\0';
    text_str(&w->events, w->events.size == 0 ? "[" : ",[");
    text_json(&w->events, e->id);
    text_str(&w->events, ",");
    text_json(&w->events, status);
    text_str(&w->events, "]");
    w->wrong |= !numbered || status == NULL || !may_follow(w, status) || (w->last_id >= 0 && id != w->last_id + 1);
    if (numbered)
        w->last_id = id;
    w->confirmed = status != NULL && strcmp(status, "confirmed") == 0;
    if (status != NULL && strcmp(status, "pending") != 0 && !w->final) {
        w->final = true;
        w->final_ms = wall_ms();
        sample_add(&j->run->watches.times, ficus_client_now_us(j->run->client) - j->intended_us - j->latency_us);
    }
    ficus_doc_free(d);
}

static int64_t patience_left_ms(const struct job *j)
{
    return j->run->options.patience_ms - (ficus_client_now_us(j->run->client) - j->watch.begun_us) / 1000;
}

static void watch_again(struct job *j, int64_t wait_ms, const char *error)
{
    if (patience_left_ms(j) <= wait_ms) {
        watch_end(j, error);
        return;
    }
    j->run->watches_broken++;
    if (ficus_client_after(j->run->client, wait_ms, watch_open, j) != 0)
        die("out of memory");
}

static void watch_answered(void *arg, const struct ficus_client_answer *a)
{
    struct job *j = arg;
    struct watch *w = &j->watch;
    struct user *u = &j->run->users[j->order->user];
    int64_t wait_ms = try_backoff_ms(w->connections, a->retry_after_s);
    /* 204: nothing comes behind the last id. */
    if (w->final && (a->status == 200 || a->status == 204)) {
        watch_end(j, NULL);
    } else if (a->status == 200 || try_is_open(a)) {
        watch_again(j, wait_ms, a->error != NULL ? a->error : "it ended without a final status");
    } else if (a->status == 401) {
        if (!u->signing_in)
            user_sign_in(u, NULL, NULL);
        watch_again(j, wait_ms, "answered 401");
    } else {
        char *error = util_printf("answered %d", a->status);
        watch_end(j, error);
        free(error);
    }
}

static void watch_open(void *arg)
{
    struct job *j = arg;
    struct watch *w = &j->watch;
    if (w->connections++ == 0)
        w->begun_us = ficus_client_now_us(j->run->client);
    int64_t left_ms = patience_left_ms(j);
    char *path = util_printf("/api/v1/orders/%s/events", j->id);
    char *last_id = w->last_id < 0 ? NULL : util_printf("%" PRId64, w->last_id);
    const struct ficus_client_request r = {
        .method = "GET",
        .path = path,
        .authorization = j->run->users[j->order->user].authorization,
        .timeout_ms = SILENCE_MS_MAX,
        .stream_ms_max = left_ms > INT32_MAX ? INT32_MAX
                         : left_ms < 1       ? 1
                                             : (int)left_ms,
        .event = watch_event,
        .last_event_id = last_id,
    };
    if (ficus_client_send(j->run->client, &r, watch_answered, j) != 0)
        die("%s cannot be sent", path);
    free(path);
    free(last_id);
}

void watch_begin(struct job *j)
{
    struct run *run = j->run;
    j->watch.opened = true;
    j->watch.last_id = -1;
    run->watches_open++;
    if (run->watch_first == NULL)
        run->watch_last = &run->watch_first;
    *run->watch_last = j;
    run->watch_last = &j->watch.next;
    watch_next(run);
}
