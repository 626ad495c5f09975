/* SPDX-License-Identifier: Apache-2.0
 *
 * See hub.h: the hub's life. Started from the bottom up (process, log, sagas, servers), stopped from the top down.
 */
#include "hub_groups.h"

#include "assert.h"
#include "mem.h"

static const struct metric_def metric_table[] = {
    {.name = "hub_requests_total",
     .type = METRIC_COUNTER,
     .help = "Answered API requests.",
     .labels = {"route", "status"}},
    {.name = "hub_events_received_total",
     .type = METRIC_COUNTER,
     .help = "Events taken for storing, repeated ones included.",
     .labels = {"topic"},
     .children_max = 1024},
    {.name = "hub_pulls_waiting", .type = METRIC_GAUGE, .help = "Pulls under way."},
};

/* ---- stopping, from the top down; each step begins when the one before is over ---- */

static void on_process_closed(void *arg)
{
    struct hub *h = arg;
    void (*closed)(void *) = h->closed;
    void *closed_arg = h->closed_arg;
    mem_free(h);
    if (closed != NULL)
        closed(closed_arg);
}

static void on_log_closed(void *arg)
{
    struct hub *h = arg;
    hub_registry_done(h);
    hub_groups_free(h);
    hub_lag_free(h);
    hub_schemas_close(h);
    process_close(&h->process, on_process_closed, h);
}

static void close_log(struct hub *h)
{
    struct elog *log = h->log;
    h->log = NULL;
    hub_bus_free(h->flow_bus);
    h->flow_bus = NULL;
    hub_bus_free(h->saga_bus);
    h->saga_bus = NULL;
    if (log != NULL)
        elog_close(log, on_log_closed, h);
    else
        on_log_closed(h);
}

static void on_flows_closed(void *arg)
{
    close_log(arg);
}

static void close_flows(struct hub *h)
{
    struct flow_watch *flows = h->flows;
    h->flows = NULL;
    if (flows != NULL)
        flow_watch_close(flows, on_flows_closed, h);
    else
        close_log(h);
}

static void on_sagas_closed(void *arg)
{
    close_flows(arg);
}

static void close_sagas(struct hub *h)
{
    struct saga_engine *sagas = h->sagas;
    h->sagas = NULL;
    if (sagas != NULL)
        saga_engine_close(sagas, on_sagas_closed, h);
    else
        close_flows(h);
}

static void on_server_closed(void *arg)
{
    struct hub *h = arg;
    FICUS_ASSERT(h->servers_open > 0);
    if (--h->servers_open == 0) {
        hub_lag_stop(h);
        hub_groups_close(h, close_sagas);
    }
}

/* Its exchange is reset with its server. How many ends are to be waited for. */
static int copy_ends(struct hub *h, struct store_copy *c)
{
    c->idle = on_server_closed;
    c->arg = h;
    return store_copy_busy(c) ? 1 : 0;
}

static void close_servers(struct hub *h)
{
    struct http_server *servers[] = {h->server, h->operator_server};
    h->server = h->operator_server = NULL;
    env_timer_stop(h->env, &h->stop_timer);
    h->servers_open = 1; /* this call's own, so that the count cannot reach 0 before both were asked */
    h->servers_open += db_watch_stop(&h->log_watch) ? 0 : 1;
    h->servers_open += db_watch_stop(&h->journal_watch) ? 0 : 1;
    h->servers_open += copy_ends(h, &h->log_copy);
    h->servers_open += copy_ends(h, &h->journal_copy);
    for (size_t i = 0; i < ARRAY_COUNT(servers); i++) {
        if (servers[i] == NULL)
            continue;
        h->servers_open++;
        http_server_close(servers[i], on_server_closed, h);
    }
    on_server_closed(h);
}

static void on_stop_timer(void *arg)
{
    close_servers(arg);
}

static void on_drained(void *arg)
{
    struct hub *h = arg;
    FICUS_ASSERT(h->servers_open > 0);
    if (--h->servers_open == 0)
        env_timer_start(h->env, &h->stop_timer, 0); /* not from inside the server's own callback */
}

void hub_stop(struct hub *h, void (*closed)(void *arg), void *arg)
{
    FICUS_ASSERT(!h->stopping);
    h->stopping = true;
    h->closed = closed;
    h->closed_arg = arg;
    hub_registry_wake(h);
    hub_groups_stop(h);
    LIST_FOREACH_SAFE (&h->exchanges, it, tmp)
        hub_events_wake(CONTAINER_OF(it, struct hub_exchange, link));
    h->stop_timer = (struct env_timer){.fn = on_stop_timer, .arg = h};
    env_timer_start(h->env, &h->stop_timer, HUB_STOP_MS_MAX);
    h->servers_open = 2;
    http_server_drain(h->server, on_drained, h);
    http_server_drain(h->operator_server, on_drained, h);
}

struct process *hub_process(struct hub *h)
{
    return &h->process;
}

/* ---- trouble with the disk ---- */

/* Of one file; when the other still has some, that counts. */
static void on_store_trouble(void *arg, const struct ficus_error *trouble)
{
    struct hub *h = arg;
    struct ficus_error other = *trouble;
    if (trouble->code == FICUS_ERR_OK && db_trouble(elog_db(h->log), &other) == FICUS_ERR_OK)
        (void)db_trouble(saga_engine_db(h->sagas), &other);
    process_trouble(&h->process, &other);
}

static void watch_store(struct hub *h, struct db_watch *w, struct db *db)
{
    *w = (struct db_watch){.env = h->env, .db = db, .changed = on_store_trouble, .idle = on_server_closed, .arg = h};
    db_watch_start(w);
}

/* ---- starting ---- */

static enum ficus_err make_server(struct hub *h, bool is_operator, const char *const *addresses, size_t count,
                                  struct http_server **ret_server, struct ficus_error *reterr)
{
    const struct http_server_options options = {
        .server_name = "ficus-hub",
        .on_request = is_operator ? hub_on_operator_request : hub_on_request,
        .arg = h,
    };
    enum ficus_err err = http_server_new(h->env, &options, ret_server);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "http server");
    for (size_t i = 0; i < count && err == FICUS_ERR_OK; i++)
        err = http_server_listen(*ret_server, addresses[i], NULL, reterr);
    return err;
}

static enum ficus_err make_sagas(struct hub *h, struct ficus_error *reterr)
{
    enum ficus_err err = hub_bus_new(h->log, &h->saga_bus);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "saga bus");
    const struct saga_engine_options options = {
        .journal_file = h->config->journal_file,
        .defs = h->config->sagas,
        .def_count = h->config->saga_count,
        .retention_ms = h->config->retention_ms,
        .bus = h->saga_bus,
        .calls = h->process.calls,
        .log = &h->process.log,
        .metrics = h->process.metrics,
    };
    return saga_engine_new(h->env, &options, &h->sagas, reterr);
}

static enum ficus_err open_log(struct hub *h, struct ficus_error *reterr)
{
    const struct hub_config *c = h->config;
    struct elog_kept *kept = mem_array(c->topic_count + 1, sizeof *kept);
    struct elog_schedule *schedules = mem_array(c->schedule_count + 1, sizeof *schedules);
    struct elog_options o = {.path = c->log_file, .kept = kept, .schedules = schedules, .damaged = hub_later_damaged, .damaged_arg = h,
                             .retention_ms = c->retention_ms, .size_max = c->size_max, .offset_min = env_wall_ms(h->env) * 1000};
    if (kept == NULL || schedules == NULL) {
        mem_free(kept);
        mem_free(schedules);
        return err_set(reterr, FICUS_ERR_NOMEM, "event log: out of memory");
    }
    for (size_t i = 0; i < c->schedule_count; i++)
        schedules[o.schedule_count++] = (struct elog_schedule){.source = c->schedules[i].source,
                                                               .name = c->schedules[i].name,
                                                               .topic = c->schedules[i].topic,
                                                               .every_ms = c->schedules[i].every_ms,
                                                               .phase_ms = c->schedules[i].phase_ms};
    for (size_t i = 0; i < c->topic_count; i++)
        if (c->topics[i].keep_latest)
            kept[o.kept_count++] = (struct elog_kept){c->topics[i].name, c->topics[i].key};
    enum ficus_err err = elog_open(h->env, &o, &h->log, reterr);
    mem_free(kept);
    mem_free(schedules);
    return err;
}

static enum ficus_err open_all(struct hub *h, struct ficus_error *reterr)
{
    const struct hub_config *c = h->config;
    struct metric_family *families[ARRAY_COUNT(metric_table)];
    enum ficus_err err = metrics_register_all(h->process.metrics, metric_table, ARRAY_COUNT(metric_table), families);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "metrics");
    h->requests = families[0];
    h->published = families[1];
    h->waiting = metric_only(families[2]);
    err = hub_schemas_open(h, reterr);
    if (err == FICUS_ERR_OK)
        err = open_log(h, reterr);
    if (err == FICUS_ERR_OK)
        err = hub_groups_open(h, reterr);
    if (err == FICUS_ERR_OK)
        err = hub_lag_open(h, reterr);
    if (err == FICUS_ERR_OK)
        err = make_sagas(h, reterr);
    if (err == FICUS_ERR_OK)
        err = hub_flows_open(h, reterr);
    if (err == FICUS_ERR_OK)
        err = make_server(h, false, c->listen, c->listen_count, &h->server, reterr);
    if (err == FICUS_ERR_OK)
        err = make_server(h, true, c->operator_listen, c->operator_listen_count, &h->operator_server, reterr);
    if (err == FICUS_ERR_OK) {
        watch_store(h, &h->log_watch, elog_db(h->log));
        watch_store(h, &h->journal_watch, saga_engine_db(h->sagas));
        hub_copies_open(h);
    }
    return err;
}

static void on_init_failed(void *arg)
{
    struct hub *h = arg;
    hub_registry_done(h);
    mem_free(h);
}

enum ficus_err hub_start(struct env *e, const struct hub_config *config, struct hub **ret_hub,
                         struct ficus_error *reterr)
{
    struct hub *h = mem_zalloc(sizeof *h);
    if (h == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    h->env = e;
    h->config = config;
    list_init(&h->exchanges);
    hub_registry_init(h);
    enum ficus_err err = process_init(&h->process, e, &config->common, reterr);
    if (err != FICUS_ERR_OK) {
        /* Its memory is in use until the loop has turned. */
        h->stop_timer = (struct env_timer){.fn = on_init_failed, .arg = h};
        env_timer_start(e, &h->stop_timer, HUB_STOP_MS_MAX);
        return err;
    }
    err = open_all(h, reterr);
    if (err != FICUS_ERR_OK) {
        h->stopping = true;
        close_servers(h);
        return err_wrap(reterr, "hub");
    }
    *ret_hub = h;
    return FICUS_ERR_OK;
}
