/* SPDX-License-Identifier: Apache-2.0
 *
 * Start and end of a service.
 *
 *      STARTING -> READY -> DRAINING -> CLOSING
 *          \______________________________^
 *
 * Starting: a worker opens and migrates the database, then the service's start handler runs as a request of its own
 * kind, then events and requests are taken. Until then nothing is accepted: with an inherited socket the older instance
 * still is the one that answers. Closing goes through steps, each begun when the one before has ended: connections,
 * requests and consumer; relay; database (on a worker, it may have to checkpoint); process. service_check_end is told
 * of every end and looks what is next, from a clean stack.
 */
#include "service_impl.h"

enum { WATCH_MS = 10000 };

static const struct metric_def metric_defs[SERVICE_METRIC_COUNT] = {
    [METRIC_HTTP_REQUESTS] = {.name = "http_requests_total",
                              .type = METRIC_COUNTER,
                              .help = "Requests answered, by route template and status.",
                              .labels = {"route", "status"},
                              .children_max = 512},
    [METRIC_HTTP_DURATION] = {.name = "http_request_duration_seconds",
                              .type = METRIC_HISTOGRAM,
                              .unit = METRIC_SECONDS,
                              .help = "From the head of a request to the end of its answer.",
                              .labels = {"route"},
                              .children_max = 128},
    [METRIC_WORKERS_BUSY] = {.name = "service_workers_busy",
                             .type = METRIC_GAUGE,
                             .help = "Workers that run a handler."},
    [METRIC_QUEUE_LENGTH] = {.name = "service_queue_length",
                             .type = METRIC_GAUGE,
                             .help = "Requests and events that wait for a worker."},
    [METRIC_OUTBOX_PENDING] = {.name = "outbox_pending",
                               .type = METRIC_GAUGE,
                               .help = "Events committed and not yet in the log."},
    [METRIC_EVENT_LAG] = {.name = "event_lag_seconds",
                          .type = METRIC_GAUGE,
                          .unit = METRIC_SECONDS,
                          .help = "Age of the last handled event when its handling ended."},
    [METRIC_EVENTS_HANDLED] = {.name = "events_handled_total",
                               .type = METRIC_COUNTER,
                               .help = "Deliveries of events, by topic and result.",
                               .labels = {"topic", "result"},
                               .children_max = 256},
    [METRIC_STREAMS] = {.name = "service_streams", .type = METRIC_GAUGE, .help = "Streaming answers that are open."},
    [METRIC_PROJECTION_LAG] = {.name = "projection_lag",
                               .type = METRIC_GAUGE,
                               .help = "Events of the store that the newest tables of a projection do not have; those that serve have all.",
                               .labels = {"projection"},
                               .children_max = 64},
    [METRIC_REBUILD_EVENTS] = {.name = "rebuild_events",
                               .type = METRIC_GAUGE,
                               .help = "Events that a rebuild, of the store or of a projection, has handled so far; 0: none is going on."},
};

struct process *service_process(struct service *s)
{
    return &s->process;
}

int64_t service_generation(const struct service *s)
{
    return s->generation;
}

int64_t service_event_offset(const struct service *s)
{
    return s->feed.handled;
}

static void tell_ready(struct service *v, enum ficus_err err, const char *detail)
{
    FICUS_ASSERT(!v->is_ready_told);
    v->is_ready_told = true;
    v->hooks.ready(v->hooks.arg, err, detail);
}

/* ---- starting ---- */

static const char *const *find_text(const char *const *list, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], text) == 0)
            return &list[i];
    return NULL;
}

static enum ficus_err check_definition(const struct ficus_service *def, const struct service_config *c,
                                       struct ficus_error *reterr)
{
    if (def->name == NULL || strcmp(def->name, c->common.process) != 0)
        return err_set(reterr, FICUS_ERR_INVALID, "the program is service \"%s\", the configuration is for \"%s\"",
                       def->name == NULL ? "" : def->name, c->common.process);
    size_t handled = 0;
    for (const struct ficus_subscription *s = def->events; s != NULL && s->topic != NULL; s++, handled++) {
        if (s->handler == NULL || find_text(c->consumes, c->consume_count, s->topic) == NULL)
            return err_set(reterr, FICUS_ERR_INVALID,
                           "the program handles topic \"%s\", which the manifest does not list under consumes",
                           s->topic);
    }
    if (handled != c->consume_count)
        return err_set(reterr, FICUS_ERR_INVALID, "the manifest lists %zu consumed topics, the program handles %zu",
                       c->consume_count, handled);
    bool keyed = false;
    for (const struct ficus_route *r = def->routes; r != NULL && r->method != NULL; r++)
        keyed = keyed || r->keyed;
    if (c->store[0] == '\0' && (keyed || handled > 0))
        return err_set(reterr, FICUS_ERR_INVALID, "keyed routes and events need a store");
    if (c->common.hub[0] == '\0' && handled > 0)
        return err_set(reterr, FICUS_ERR_INVALID, "events need a hub");
    if (c->rebuildable && (keyed || handled == 0 || c->publish_count > 0))
        return err_set(reterr, FICUS_ERR_INVALID,
                       "a rebuildable store holds nothing but what came by events: the service must consume some, "
                       "publish none and have no keyed routes");
    if (def->projections != NULL && (c->store[0] == '\0' || c->rebuildable))
        return err_set(reterr, FICUS_ERR_INVALID, "projections are made of the streams in the service's own store: it needs one, and not a rebuildable one");
    enum ficus_err err = store_check_upcasters(def->upcasters, reterr);
    return err == FICUS_ERR_OK ? schemas_check_upcasters(def, reterr) : err;
}

enum ficus_err service_serve(struct service *v, struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    v->is_rebuilding = false;
    for (size_t i = 0; i < v->config->listen_count && err == FICUS_ERR_OK; i++)
        err = http_server_listen(v->server, v->config->listen[i], NULL, reterr);
    return err;
}

static enum ficus_err start_serving(struct service *v, struct ficus_error *reterr)
{
    /* Heads come with what the gateway has added, which must not make one too large that was not so there. */
    struct http_server_options options = {.limits = {.conn_count_max = 2 * PROCESS_CONNS_MAX,
                                                     .head_size_max = 32 * 1024,
                                                     .field_count_max = 128,
                                                     .target_size_max = 24 * 1024},
                                          .on_request = request_on_head,
                                          .arg = v};
    enum ficus_err err = http_server_new(v->env, &options, &v->server);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "HTTP server");
    if (err == FICUS_ERR_OK && !v->is_rebuilding)
        err = service_serve(v, reterr);
    return err == FICUS_ERR_OK ? feed_start(v, reterr) : err;
}

/* Relay and consumer try for ever and do not log; this says now and then why they have to. */
static void on_watch(void *arg)
{
    struct service *v = arg;
    const char *detail = "";
    if (v->relay != NULL && outbox_relay_error(v->relay, &detail) != FICUS_ERR_OK)
        LOG(&v->process.log, LOG_WARN, NULL, "outbox.waiting", "events cannot be published at present",
            LOG_STR("error", detail), LOG_INT("pending", outbox_relay_pending(v->relay)));
    if (v->feed.consumer != NULL && consumer_error(v->feed.consumer, &detail) != FICUS_ERR_OK)
        LOG(&v->process.log, LOG_WARN, NULL, "events.waiting", "events cannot be fetched at present",
            LOG_STR("error", detail));
    env_timer_start(v->env, &v->watch_timer, WATCH_MS);
}

static void on_store_trouble(void *arg, const struct ficus_error *trouble)
{
    struct service *v = arg;
    process_trouble(&v->process, trouble);
}

static void on_store_idle(void *arg)
{
    service_check_end(arg);
}

static void watch_store(struct service *v)
{
    if (v->db == NULL)
        return;
    v->store_watch = (struct db_watch){
        .env = v->env, .db = v->db, .changed = on_store_trouble, .idle = on_store_idle, .arg = v};
    db_watch_start(&v->store_watch);
    v->store_copy = (struct store_copy){
        .env = v->env, .db = v->db, .log = &v->process.log, .idle = on_store_idle, .arg = v};
}

static void serve(struct service *v)
{
    struct ficus_error error = {0};
    v->state = SERVICE_READY;
    enum ficus_err err = start_serving(v, &error);
    if (err != FICUS_ERR_OK) {
        v->state = SERVICE_STARTING;
        tell_ready(v, err, error.text);
        return;
    }
    janitor_start(v);
    v->watch_timer = (struct env_timer){.fn = on_watch, .arg = v};
    env_timer_start(v->env, &v->watch_timer, WATCH_MS);
    watch_store(v);
    if (!v->is_rebuilding)
        LOG(&v->process.log, LOG_INFO, NULL, "service.ready", "the service takes requests",
            LOG_STR("version", FICUS_VERSION));
    tell_ready(v, FICUS_ERR_OK, "");
}

void service_start_settled(struct ficus_req *r)
{
    struct service *v = r->service;
    env_timer_stop(v->env, &r->deadline);
    bool good = r->result == 0 && !r->is_failed && !v->is_ready_told && v->drained == NULL;
    if (v->state == SERVICE_STARTING && good) {
        serve(v);
    } else if (!v->is_ready_told) {
        char text[400];
        struct slice problem = buf_slice(&r->answer.out.text);
        if (problem.size > 300)
            problem.size = 300;
        (void)snprintf(text, sizeof text, "the start handler failed: " SLICE_FMT, SLICE_ARG(problem));
        tell_ready(v, r->result != 0 && v->state == SERVICE_STARTING ? FICUS_ERR_INTERNAL : FICUS_ERR_CANCELLED, text);
    }
    request_unref(r);
}

static enum ficus_err start_events(struct service *v, struct ficus_error *reterr)
{
    if (v->db == NULL || v->config->common.hub[0] == '\0')
        return FICUS_ERR_OK;
    enum ficus_err err = bus_hub_new(v->env, v->process.calls, &v->bus_out);
    if (err == FICUS_ERR_OK)
        err = bus_hub_new(v->env, v->process.calls, &v->bus_in);
    if (err == FICUS_ERR_OK)
        err = outbox_relay_new(v->env, v->db, v->bus_out, &v->relay);
    return err == FICUS_ERR_OK ? err : err_set(reterr, err, "event relay");
}

static void run_start_handler(struct service *v)
{
    struct ficus_req *r = request_new(v, REQUEST_START);
    if (r == NULL) {
        tell_ready(v, FICUS_ERR_NOMEM, "out of memory");
        return;
    }
    uint8_t random[24];
    env_random(v->env, random, sizeof random);
    trace_root(random, true, &r->context.trace);
    r->log.trace = r->context.trace;
    r->caller = v->def->name;
    r->body = "null";
    r->body_size = 4;
    r->handler = v->def->start;
    (void)dispatch_push(v, r); /* only requests of clients are ever refused */
}

static void open_work(void *arg)
{
    struct service *v = arg;
    v->open_err = tables_open(v, &v->open_error);
}

bool service_is_ending(const struct service *v)
{
    return v->state == SERVICE_CLOSING || v->state == SERVICE_DRAINING || v->drained != NULL || v->closed != NULL;
}

void service_projections_done(struct service *v, enum ficus_err err, const char *detail)
{
    if (err != FICUS_ERR_OK)
        tell_ready(v, err, detail);
    else if (v->def->start != NULL)
        run_start_handler(v);
    else
        serve(v);
}

static void open_done(void *arg)
{
    struct service *v = arg;
    v->is_opening = false;
    if (service_is_ending(v)) {
        tell_ready(v, FICUS_ERR_CANCELLED, "closed while starting");
        service_check_end(v);
        return;
    }
    if (v->open_err == FICUS_ERR_OK)
        v->open_err = start_events(v, &v->open_error);
    if (v->open_err != FICUS_ERR_OK)
        tell_ready(v, v->open_err, v->open_error.text);
    else if (v->projections != NULL)
        projections_start(v);
    else
        service_projections_done(v, FICUS_ERR_OK, "");
}

static void free_all(struct service *v)
{
    void *data = atomic_load_explicit(&v->data, memory_order_acquire);
    if (v->def->stop != NULL && data != NULL)
        v->def->stop(data);
    router_free(v->router);
    projections_free(v->projections);
    schemas_close(v);
    map_done(&v->keys);
    map_done(&v->stream_keys);
    map_done(&v->stream_users);
    mem_free(v->feed.topics);
    mem_free(v);
}

static void free_later(void *arg)
{
    free_all(arg);
}

static enum ficus_err start_checked(struct service *v, struct ficus_error *reterr)
{
    enum ficus_err err = check_definition(v->def, v->config, reterr);
    if (err == FICUS_ERR_OK)
        err = router_new(v->def->routes, &v->router, reterr);
    if (err == FICUS_ERR_OK)
        err = projections_new(v, reterr);
    if (err == FICUS_ERR_OK)
        err = process_init(&v->process, v->env, &v->config->common, reterr);
    return err;
}

enum ficus_err service_start(struct env *e, const struct ficus_service *def, const struct service_config *config,
                             const struct service_hooks *hooks, struct service **ret_service,
                             struct ficus_error *reterr)
{
    struct service *v = mem_zalloc(sizeof *v);
    if (v == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "service");
    v->env = e;
    v->def = def;
    v->config = config;
    v->hooks = *hooks;
    v->is_rebuilding = hooks->generation > 0;
    list_init(&v->requests);
    list_init(&v->blocked);
    list_init(&v->streams);
    dispatch_init(&v->dispatch, (unsigned)config->workers);
    uint64_t seed[2];
    env_random(e, seed, sizeof seed);
    map_init(&v->keys, seed);
    map_init(&v->stream_keys, seed);
    map_init(&v->stream_users, seed);
    enum ficus_err err = start_checked(v, reterr);
    if (err != FICUS_ERR_OK) {
        /* process_init may still end things on the loop that live in v. */
        v->end_task = (struct env_task){.fn = free_later, .arg = v};
        env_post(e, &v->end_task);
        return err;
    }
    err = metrics_register_all(v->process.metrics, metric_defs, SERVICE_METRIC_COUNT, v->metrics);
    if (err == FICUS_ERR_OK && (err = schemas_open(v, reterr)) != FICUS_ERR_OK) {
        process_close(&v->process, free_later, v);
        return err;
    }
    v->open_job = (struct env_job){.work = open_work, .done = open_done, .arg = v};
    if (err == FICUS_ERR_OK)
        err = env_run(e, &v->open_job);
    if (err != FICUS_ERR_OK) {
        process_close(&v->process, free_later, v);
        return err_set(reterr, err, "service");
    }
    v->is_opening = true;
    *ret_service = v;
    return FICUS_ERR_OK;
}

/* ---- ending ---- */

static void on_server_drained(void *arg)
{
    struct service *v = arg;
    v->is_server_drained = true;
    service_check_end(v);
}

static void on_server_closed(void *arg)
{
    struct service *v = arg;
    v->server = NULL;
    service_check_end(v);
}

void service_drain(struct service *v, void (*drained)(void *arg), void *arg)
{
    FICUS_ASSERT(v->drained == NULL);
    v->drained = drained;
    v->drained_arg = arg;
    v->is_server_drained = v->server == NULL;
    if (v->state == SERVICE_READY) {
        v->state = SERVICE_DRAINING;
        janitor_stop(v);
        projections_stop(v);
        env_timer_stop(v->env, &v->watch_timer);
        (void)db_watch_stop(&v->store_watch); /* is_quiet asks again */
        feed_stop(v);
        http_server_drain(v->server, on_server_drained, v);
        sse_end_all(v);
    }
    service_check_end(v);
}

void service_close(struct service *v, void (*closed)(void *arg), void *arg)
{
    FICUS_ASSERT(v->closed == NULL);
    v->closed = closed;
    v->closed_arg = arg;
    v->state = SERVICE_CLOSING;
    janitor_stop(v);
    projections_stop(v);
    env_timer_stop(v->env, &v->watch_timer);
    (void)db_watch_stop(&v->store_watch); /* is_quiet asks again */
    feed_stop(v);
    request_abandon_all(v);
    LIST_FOREACH_SAFE (&v->blocked, it, tmp)
        CONTAINER_OF(it, struct blocked, link)->cancel(CONTAINER_OF(it, struct blocked, link));
    if (v->server != NULL)
        http_server_close(v->server, on_server_closed, v);
    service_check_end(v);
}

static void on_relay_closed(void *arg)
{
    struct service *v = arg;
    v->relay = NULL;
    service_check_end(v);
}

static void on_process_closed(void *arg)
{
    struct service *v = arg;
    void (*closed)(void *) = v->closed;
    void *closed_arg = v->closed_arg;
    free_all(v);
    closed(closed_arg);
}

static void close_work(void *arg)
{
    struct service *v = arg;
    db_close(v->db);
    v->db = NULL;
}

static void close_done(void *arg)
{
    struct service *v = arg;
    bus_hub_free(v->bus_out);
    bus_hub_free(v->bus_in);
    process_close(&v->process, on_process_closed, v);
}

static bool is_quiet(const struct service *v)
{
    return v->request_count == 0 && v->feed.consumer == NULL && !v->janitor_runs && !v->store_watch.is_probing &&
           !v->is_opening && !projections_busy(v) && !store_copy_busy(&v->store_copy);
}

static void close_next(struct service *v)
{
    if (v->close_step == 0 && v->server == NULL && is_quiet(v)) {
        v->close_step = 1;
        if (v->relay != NULL)
            outbox_relay_close(v->relay, on_relay_closed, v);
    }
    if (v->close_step == 1 && v->relay == NULL) {
        v->close_step = 2;
        v->close_job = (struct env_job){.work = close_work, .done = close_done, .arg = v};
        if (env_run(v->env, &v->close_job) != FICUS_ERR_OK) {
            close_work(v); /* nobody is served any more: closing here holds up nothing */
            close_done(v);
        }
    }
}

static void on_end_task(void *arg)
{
    struct service *v = arg;
    if (v->drained != NULL && v->is_server_drained && is_quiet(v)) {
        void (*drained)(void *) = v->drained;
        v->drained = NULL;
        drained(v->drained_arg);
    }
    if (v->closed != NULL)
        close_next(v);
}

void service_check_end(struct service *v)
{
    if (v->closed == NULL && v->drained == NULL)
        return;
    if (v->close_step == 2)
        return;
    v->end_task.fn = on_end_task;
    v->end_task.arg = v;
    env_post(v->env, &v->end_task);
}
