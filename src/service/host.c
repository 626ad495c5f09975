/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

#include "generation.h"
#include "service_impl.h"
#include "timefmt.h"

enum {
    FAILURES_MAX = 5, /* of events in a row, for reasons that are not the handler's */
    EVENT_BACKOFF_MS = 200,
    PROGRESS_MS = 5000,
    ERROR_SIZE_MAX = 512,
    STATUS_SIZE_MAX = 4096,
};

enum host_rebuild { HOST_REBUILD_NONE, HOST_REBUILD_RUNNING, HOST_REBUILD_DONE, HOST_REBUILD_FAILED };
enum host_state { HOST_QUIET, HOST_FILLING, HOST_SWITCHING, HOST_RETIRING, HOST_GIVING_UP };

/* What the hooks of one service are about. */
struct host_slot {
    struct host *host;
    struct service *service; /* NULL: none */
};

struct host {
    struct env *env;
    const struct ficus_service *def;
    const struct service_config *config;
    struct service_config next_config; /* of a service that is built: it keeps no snapshot of addresses yet */
    struct host_hooks hooks;
    struct host_slot slots[2];
    struct host_slot *front; /* takes requests */
    struct host_slot *other; /* is built, given up or retired */
    bool is_ready, is_draining, is_closing, is_other_closing;
    enum host_state state;
    int64_t generation; /* that the state is about: built or given up; RETIRING: the old one. 0: remove nothing */
    bool has_caught_up;
    unsigned failures; /* in a row */
    int64_t events;
    int64_t begun_ms;
    enum host_rebuild last;          /* of the rebuilds since the start */
    char event_time[TIME_TEXT_SIZE]; /* of the last event that it handled; "" */
    char error[ERROR_SIZE_MAX];      /* why it failed; "" */
    struct env_timer progress;
    struct env_job job;
    struct ficus_error job_error;
    bool job_runs;
    void (*closed)(void *arg);
    void *closed_arg;
};

static struct logger *log_of(struct host *h)
{
    return &service_process(h->front->service)->log;
}

static void enter(struct host *h, enum host_state state)
{
    h->state = state;
    if (state != HOST_FILLING)
        env_timer_stop(h->env, &h->progress);
    if (h->front->service != NULL)
        metric_set(metric_only(h->front->service->metrics[METRIC_REBUILD_EVENTS]),
                   state == HOST_FILLING ? h->events : 0);
}

/* ---- the end ---- */

static void check_end(struct host *h)
{
    if (!h->is_closing || h->front->service != NULL || h->other->service != NULL || h->job_runs)
        return;
    void (*closed)(void *arg) = h->closed;
    void *closed_arg = h->closed_arg;
    mem_free(h);
    closed(closed_arg);
}

static void on_front_closed(void *arg)
{
    struct host *h = arg;
    h->front->service = NULL;
    check_end(h);
}

/* ---- removing a generation that nobody needs ---- */

static void remove_work(void *arg)
{
    struct host *h = arg;
    bool was_there = false;
    h->job_error = (struct ficus_error){0};
    (void)generation_remove(h->env, h->config->store, h->generation, &was_there, &h->job_error);
}

static void remove_done(void *arg)
{
    struct host *h = arg;
    h->job_runs = false;
    if (h->job_error.code != FICUS_ERR_OK && h->front->service != NULL)
        LOG(log_of(h), LOG_WARN, NULL, "rebuild.leftover", "a store that is no longer used could not be removed",
            LOG_ERR(&h->job_error));
    enter(h, HOST_QUIET);
    check_end(h);
}

/* The new one keeps the snapshot of addresses only now: two would write the same file at once. */
static void take_over_snapshot(struct host *h)
{
    const char *path = h->config->common.snapshot_file;
    if (path[0] != '\0' && !h->is_closing)
        (void)resolve_hub_keep(service_process(h->front->service)->resolver, path); /* the old file stays, then */
}

static void on_other_closed(void *arg)
{
    struct host *h = arg;
    h->other->service = NULL;
    h->is_other_closing = false;
    if (h->state == HOST_RETIRING)
        take_over_snapshot(h);
    h->job = (struct env_job){.work = remove_work, .done = remove_done, .arg = h};
    h->job_runs = h->generation > 0 && env_run(h->env, &h->job) == FICUS_ERR_OK;
    if (!h->job_runs) { /* the next start or the next rebuild removes what is left */
        enter(h, HOST_QUIET);
        check_end(h);
    }
}

static void close_other(struct host *h)
{
    if (h->other->service == NULL || h->is_other_closing)
        return;
    h->is_other_closing = true;
    service_close(h->other->service, on_other_closed, h);
}

/* ---- giving up ---- */

static void give_up(struct host *h, const char *why)
{
    (void)snprintf(h->error, sizeof h->error, "%s", why);
    h->last = HOST_REBUILD_FAILED;
    LOG(log_of(h), LOG_ERROR, NULL, "rebuild.failed", "the store was not rebuilt; the one in use serves as before",
        LOG_STR("error", why), LOG_INT("events", h->events));
    enter(h, HOST_GIVING_UP);
    close_other(h);
}

/* ---- changing places ---- */

static void on_old_drained(void *arg)
{
    close_other(arg);
}

/* The listening sockets are the supervisor's: connections that come in between wait in their queues. */
static void change_places(struct host *h)
{
    struct ficus_error error = {0};
    struct host_slot *old = h->front;
    h->front = h->other;
    h->other = old;
    h->generation = service_generation(old->service);
    enter(h, HOST_RETIRING);
    service_drain(old->service, on_old_drained, h);
    if (service_serve(h->front->service, &error) != FICUS_ERR_OK) {
        (void)snprintf(h->error, sizeof h->error, "%s", error.text);
        h->last = HOST_REBUILD_FAILED;
        LOG(log_of(h), LOG_ERROR, NULL, "rebuild.failed", "the rebuilt store cannot take over", LOG_ERR(&error));
        if (h->hooks.broken != NULL)
            h->hooks.broken(h->hooks.arg, h->error);
        return;
    }
    h->last = HOST_REBUILD_DONE;
    LOG(log_of(h), LOG_INFO, NULL, "rebuild.done", "the rebuilt store is in use",
        LOG_INT("generation", service_generation(h->front->service)), LOG_INT("events", h->events),
        LOG_INT("ms", env_now_ms(h->env) - h->begun_ms));
    if (h->hooks.changed != NULL)
        h->hooks.changed(h->hooks.arg, h->front->service);
}

static void use_work(void *arg)
{
    struct host *h = arg;
    h->job_error = (struct ficus_error){0};
    (void)generation_use(h->env, h->config->store, h->generation, &h->job_error);
}

/* After a failure the note may say either, and both are whole: nothing is removed before the note was written again. */
static void use_done(void *arg)
{
    struct host *h = arg;
    bool used = h->job_error.code == FICUS_ERR_OK, ends = h->is_draining || h->is_closing;
    h->job_runs = false;
    if (used && !ends) {
        change_places(h);
        return;
    }
    h->generation = 0;
    if (!used)
        give_up(h, h->job_error.text);
    else
        close_other(h); /* the next start uses it */
    check_end(h);
}

static void look(struct host *h)
{
    bool knows_all = h->has_caught_up || (h->events > 0 && service_event_offset(h->other->service) >=
                                                               service_event_offset(h->front->service));
    if (h->state != HOST_FILLING || !knows_all)
        return;
    h->job = (struct env_job){.work = use_work, .done = use_done, .arg = h};
    h->job_runs = env_run(h->env, &h->job) == FICUS_ERR_OK;
    if (h->job_runs) /* else on_progress looks again */
        enter(h, HOST_SWITCHING);
}

/* ---- filling: hooks of the service that is built, which it keeps when it is in front ---- */

static bool is_filling(const struct host_slot *slot)
{
    return slot->host->state == HOST_FILLING && slot == slot->host->other;
}

static void on_ready(void *arg, enum ficus_err err, const char *detail)
{
    struct host_slot *slot = arg;
    if (err != FICUS_ERR_OK && is_filling(slot))
        give_up(slot->host, detail);
}

static void on_event(void *arg, const struct event *ev, bool processed)
{
    struct host_slot *slot = arg;
    struct host *h = slot->host;
    (void)processed;
    if (!is_filling(slot) || service_event_offset(slot->service) < ev->offset) /* the latter: it will come again */
        return;
    h->failures = 0;
    h->events++;
    (void)snprintf(h->event_time, sizeof h->event_time, SLICE_FMT, SLICE_ARG(ev->time));
    enter(h, HOST_FILLING);
    look(h);
}

static void on_caught_up(void *arg)
{
    struct host_slot *slot = arg;
    if (!is_filling(slot))
        return;
    slot->host->has_caught_up = true;
    look(slot->host);
}

static void on_event_failed(void *arg, const char *reason)
{
    struct host_slot *slot = arg;
    if (is_filling(slot) && ++slot->host->failures >= FAILURES_MAX)
        give_up(slot->host, reason);
}

static void on_operator_request(void *arg, struct http_stream *s);

static void on_progress(void *arg)
{
    struct host *h = arg;
    LOG(log_of(h), LOG_INFO, NULL, "rebuild.progress", "the store is being rebuilt",
        LOG_INT("generation", h->generation), LOG_INT("events", h->events), LOG_STR("event_time", h->event_time));
    env_timer_start(h->env, &h->progress, PROGRESS_MS);
    look(h);
}

static enum ficus_err rebuild_begin(struct host *h, struct ficus_error *reterr)
{
    if (!h->config->rebuildable)
        return err_set(reterr, FICUS_ERR_CONFLICT, "the manifest does not say that the store is rebuildable");
    if (!h->is_ready || h->is_draining || h->is_closing)
        return err_set(reterr, FICUS_ERR_CONFLICT, "the service is starting or stopping");
    if (h->state != HOST_QUIET)
        return err_set(reterr, FICUS_ERR_BUSY, "a rebuild is going on already");
    const struct service_hooks hooks = {.ready = on_ready,
                                        .event_handled = on_event,
                                        .event_backoff_ms_max = EVENT_BACKOFF_MS,
                                        .generation = service_generation(h->front->service) + 1,
                                        .caught_up = on_caught_up,
                                        .event_failed = on_event_failed,
                                        .operator_request = on_operator_request,
                                        .arg = h->other};
    enum ficus_err err = service_start(h->env, h->def, &h->next_config, &hooks, &h->other->service, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    h->generation = hooks.generation;
    h->has_caught_up = false;
    h->failures = 0;
    h->events = 0;
    h->event_time[0] = h->error[0] = '\0';
    h->begun_ms = env_now_ms(h->env);
    h->last = HOST_REBUILD_RUNNING;
    enter(h, HOST_FILLING);
    LOG(log_of(h), LOG_INFO, NULL, "rebuild.started", "the store is rebuilt from the event log; the old one serves",
        LOG_INT("generation", h->generation));
    env_timer_start(h->env, &h->progress, PROGRESS_MS);
    return FICUS_ERR_OK;
}

/* ---- operators ---- */

static void answer_status(const struct host *h, struct http_stream *s, int status)
{
    static const char *const words[] = {"none", "running", "done", "failed"};
    struct json_writer w;
    struct buf text;
    buf_init(&text, STATUS_SIZE_MAX);
    json_write_init(&w, &text);
    json_write_object(&w);
    json_write_kv_str(&w, "rebuild", words[h->last]);
    json_write_kv_i64(&w, "generation", service_generation(h->front->service));
    json_write_kv_i64(&w, "events", h->events);
    json_write_kv_str(&w, "event_time", h->event_time);
    json_write_kv_str(&w, "error", h->error);
    json_write_end(&w);
    (void)http_respond(s, status, NULL, 0, "application/json", buf_slice(&text));
    buf_done(&text);
}

static void on_operator_request(void *arg, struct http_stream *s)
{
    struct host *h = ((struct host_slot *)arg)->host;
    struct ficus_error error = {0};
    if (slice_eq_str(s->head_in->method, "GET"))
        answer_status(h, s, 200);
    else if (!slice_eq_str(s->head_in->method, "POST"))
        (void)http_respond_problem(s, 405, "method", "GET looks, POST begins a rebuild");
    else if (rebuild_begin(h, &error) == FICUS_ERR_OK)
        answer_status(h, s, 202);
    else
        (void)http_respond_problem(s, 409, NULL, error.text);
}

/* ---- life ---- */

struct service *host_service(struct host *h)
{
    return h->front->service;
}

static void on_front_ready(void *arg, enum ficus_err err, const char *detail)
{
    struct host *h = ((struct host_slot *)arg)->host;
    h->is_ready = err == FICUS_ERR_OK;
    h->hooks.ready(h->hooks.arg, err, detail);
}

enum ficus_err host_start(struct env *e, const struct ficus_service *def, const struct service_config *config,
                          const struct host_hooks *hooks, struct host **ret_host, struct ficus_error *reterr)
{
    struct host *h = mem_zalloc(sizeof *h);
    if (h == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "service");
    h->env = e;
    h->def = def;
    h->config = config;
    h->next_config = *config;
    h->next_config.common.snapshot_file = "";
    h->hooks = *hooks;
    h->front = &h->slots[0];
    h->other = &h->slots[1];
    h->slots[0].host = h->slots[1].host = h;
    h->progress = (struct env_timer){.fn = on_progress, .arg = h};
    const struct service_hooks front = {
        .ready = on_front_ready, .operator_request = on_operator_request, .arg = h->front};
    enum ficus_err err = service_start(e, def, config, &front, &h->front->service, reterr);
    if (err == FICUS_ERR_OK)
        *ret_host = h;
    else
        mem_free(h);
    return err;
}

void host_drain(struct host *h, void (*drained)(void *arg), void *arg)
{
    h->is_draining = true;
    if (h->state == HOST_FILLING)
        give_up(h, "the service was stopped");
    service_drain(h->front->service, drained, arg);
}

void host_close(struct host *h, void (*closed)(void *arg), void *arg)
{
    FICUS_ASSERT(!h->is_closing);
    h->is_closing = true;
    h->closed = closed;
    h->closed_arg = arg;
    if (h->state == HOST_FILLING)
        give_up(h, "the service was stopped");
    else if (h->state != HOST_SWITCHING) /* use_done closes it then */
        close_other(h);
    service_close(h->front->service, on_front_closed, h);
}
