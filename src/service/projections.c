/* SPDX-License-Identifier: Apache-2.0
 *
 * Projections of a service: events/projection.h decides and keeps, this runs its steps, one at a time on a worker, and
 * lends the handlers a request of their own. Nothing of whoever appended is in that, so that an event is the same to a
 * handler when it is appended and when the tables are built anew.
 *
 *     start -> steps until all that serve have all events -> service_projections_done -> steps until there is nothing to
 *     do -> idle -> (an operator asks) steps -> ...
 *
 * While the service takes requests, a step is short and as long a pause follows; as long as the distance to the store's
 * head does not shrink, steps grow: nothing is appended within one, so one of them reaches the head however much is
 * appended. Failures: what is needed to serve fails the start. Else an event that cannot be handled, or FAILURES_MAX
 * failures in a row, give a build up until the next start or an operator's word; the old tables serve on.
 */
#include "projection.h"
#include "service_impl.h"
#include "timefmt.h"

#include <ficus/store.h>

enum {
    STEP_EVENTS = 500,
    STEP_MS = 4,
    STEP_GROWTH_START = 16, /* while nobody waits for the writer's turn */
    STEP_GROWTH_MAX = 64,
    STEP_TIMEOUT_MS = 10000,
    FAILURES_MAX = 5, /* in a row, of the moment */
    AGAIN_MS = 200,   /* after the first of them; doubles */
    AGAIN_MS_MAX = 10000,
    PROGRESS_MS = 5000,
    REASON_SIZE_MAX = 512,
};

/* What the loop knows of one name. */
struct build {
    enum projection_rebuild last;
    int64_t generation, version; /* that serves */
    int64_t building;            /* generation; 0: none, as far as this process has heard */
    bool is_asked, is_given_up;
    int64_t events, total, time_ms;
    int64_t begun_ms, told_ms;
    char error[REASON_SIZE_MAX];
};

struct projections {
    struct service *service;
    struct projection_def *defs;
    struct projection *names; /* changed by the loop while no step runs */
    struct projection_set set;
    struct build *builds; /* of each name */
    bool is_told;         /* service_projections_done */
    unsigned failures;
    int64_t growth, gap; /* of steps; distance to the head before the last one of this build, 0: none */
    struct env_timer again;
    struct env_job job;
    bool runs;
    /* Of the step that ran: the worker's, then the loop's. */
    struct projection_step step;
    struct ficus_error error;
    enum ficus_err err;
    int64_t took_ns;
};

/* ---- one event [worker] ---- */

static const char *text_of(struct ficus_req *r, struct slice s)
{
    const char *text = arena_strdup(&r->arena, s);
    if (text == NULL)
        (void)request_fail(r, 503, "out_of_memory", false, "over the request's memory");
    return text;
}

static int handle(struct ficus_req *r, const struct ficus_projection *def, const struct estore_event *ev)
{
    struct ficus_stored stored = {
        .stream = text_of(r, ev->stream),
        .type = text_of(r, ev->type),
        .data = text_of(r, ev->data),
        .metadata = text_of(r, ev->metadata),
        .version = ev->version,
        .position = ev->position,
        .time_ms = ev->time_ms,
        .schema = (int)ev->schema,
    };
    return r->is_failed || store_upcast(r, &stored) != 0 ? -1 : def->handler(r, &stored);
}

static enum ficus_err fold(void *arg, struct db_conn *c, const struct projection_def *def, int64_t generation, const struct estore_event *ev,
                           struct ficus_error *reterr)
{
    (void)c;
    struct ficus_req *r = request_inside(arg, generation);
    if (r == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    enum ficus_err err = FICUS_ERR_OK;
    int result = handle(r, def->handler, ev);
    if (r->store_err != FICUS_ERR_OK)
        err = err_set(reterr, r->store_err, "%s", request_reason(r));
    else if (r->is_failed || r->answer.is_problem)
        err = err_set(reterr, FICUS_ERR_INVALID, "%s", request_reason(r));
    else if (result != 0)
        err = err_set(reterr, FICUS_ERR_INVALID, "the handler returned %d and did not say why", result);
    request_inside_free(r);
    return err;
}

enum ficus_err projections_append(struct ficus_req *r, const struct estore_event *ev, struct ficus_error *reterr)
{
    const struct projections *p = r->service->projections;
    return p == NULL ? FICUS_ERR_OK : projection_append(&p->set, db_tx_conn(&r->tx), ev, reterr);
}

/* ---- making ---- */

static size_t name_index(const struct projections *p, const char *name)
{
    size_t i = 0;
    while (i < p->set.name_count && strcmp(p->names[i].newest->name, name) != 0)
        i++;
    return i;
}

void projections_free(struct projections *p)
{
    if (p == NULL)
        return;
    mem_free(p->defs);
    mem_free(p->names);
    mem_free(p->builds);
    mem_free(p);
}

static void on_again(void *arg);

enum ficus_err projections_new(struct service *v, struct ficus_error *reterr)
{
    size_t count = 0;
    for (const struct ficus_projection *d = v->def->projections; d != NULL && d->name != NULL; d++)
        count++;
    if (v->def->projections == NULL)
        return FICUS_ERR_OK;
    struct projections *p = v->projections = mem_zalloc(sizeof *p);
    if (p != NULL) {
        p->defs = mem_zalloc((count + 1) * sizeof *p->defs);
        p->names = mem_zalloc((count + 1) * sizeof *p->names);
        p->builds = mem_zalloc((count + 1) * sizeof *p->builds);
    }
    if (p == NULL || p->defs == NULL || p->names == NULL || p->builds == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "projections");
    p->service = v;
    p->again = (struct env_timer){.fn = on_again, .arg = p};
    p->growth = STEP_GROWTH_START;
    p->set = (struct projection_set){.defs = p->defs, .names = p->names, .fold = fold, .arg = v};
    for (const struct ficus_projection *d = v->def->projections; p->set.def_count < count; d++)
        p->defs[p->set.def_count++] =
            (struct projection_def){.name = d->name, .version = d->version, .tables = d->tables, .handler = d->handler == NULL ? NULL : d};
    enum ficus_err err = projection_check(p->defs, count, reterr);
    for (size_t i = 0; i < count && err == FICUS_ERR_OK; i++) {
        struct projection *name = &p->names[name_index(p, p->defs[i].name)];
        if (name->newest == NULL)
            p->set.name_count++;
        if (name->newest == NULL || name->newest->version < p->defs[i].version)
            name->newest = &p->defs[i];
    }
    return err;
}

enum ficus_err projections_open(struct service *v, struct ficus_error *reterr)
{
    struct projections *p = v->projections;
    struct db_conn *c = NULL;
    if (p == NULL)
        return FICUS_ERR_OK;
    enum ficus_err err = db_migrate(v->db, "ficus_projections", projection_migrations, projection_migration_count, reterr);
    if (err == FICUS_ERR_OK)
        err = db_reader_take(v->db, &c, reterr);
    for (size_t i = 0; i < p->set.name_count && err == FICUS_ERR_OK; i++) {
        struct build *b = &p->builds[i];
        bool building = false;
        err = projection_look(c, p->names[i].newest->name, &b->generation, &b->version, &building, reterr);
        b->last = building ? PROJECTION_REBUILD_RUNNING : PROJECTION_REBUILD_NONE;
    }
    if (c != NULL)
        db_reader_give(v->db, c);
    return err;
}

/* ---- what became of a step [loop] ---- */

static void set_metrics(struct projections *p, size_t i, int64_t lag)
{
    struct service *v = p->service;
    int64_t events = 0;
    metric_set(METRIC(v->metrics[METRIC_PROJECTION_LAG], slice_str(p->names[i].newest->name)), lag);
    for (size_t k = 0; k < p->set.name_count; k++)
        events += p->builds[k].building != 0 ? p->builds[k].events : 0;
    metric_set(metric_only(v->metrics[METRIC_REBUILD_EVENTS]), events);
}

static void build_begun(struct projections *p, size_t i)
{
    struct build *b = &p->builds[i];
    const struct projection_step *s = &p->step;
    b->building = s->generation;
    b->is_asked = false;
    b->last = PROJECTION_REBUILD_RUNNING;
    b->begun_ms = b->told_ms = env_now_ms(p->service->env);
    p->gap = 0;
    p->growth = p->is_told ? 1 : STEP_GROWTH_START;
    LOG(&p->service->process.log, LOG_INFO, NULL, "rebuild.started", "the tables of a projection are built from the event store",
        LOG_STR("projection", s->name), LOG_INT("version", s->version), LOG_INT("generation", s->generation), LOG_INT("after", s->checkpoint - s->count),
        LOG_INT("events", s->head));
}

static void build_failed(struct projections *p, size_t i, const char *why)
{
    struct build *b = &p->builds[i];
    if (b->is_given_up) /* told already; now what is left of it could not be taken away */
        return;
    b->is_given_up = true;
    b->is_asked = false;
    b->building = 0;
    b->last = PROJECTION_REBUILD_FAILED;
    (void)snprintf(b->error, sizeof b->error, "%s", why);
    LOG(&p->service->process.log, LOG_ERROR, NULL, "rebuild.failed", "the tables of a projection were not built; those in use serve as before",
        LOG_STR("projection", p->names[i].newest->name), LOG_STR("error", why), LOG_INT("events", b->events));
}

static void build_progress(struct projections *p, size_t i)
{
    struct build *b = &p->builds[i];
    int64_t now_ms = env_now_ms(p->service->env);
    if (now_ms < b->told_ms + PROGRESS_MS)
        return;
    b->told_ms = now_ms;
    LOG(&p->service->process.log, LOG_INFO, NULL, "rebuild.progress", "the tables of a projection are being built", LOG_STR("projection", p->step.name),
        LOG_INT("generation", p->step.generation), LOG_INT("events", b->events), LOG_INT("of", b->total));
}

/* It grows while the distance to the head does not shrink. */
static void step_growth(struct projections *p)
{
    int64_t gap = p->step.head - p->step.checkpoint;
    if (p->gap != 0 && gap >= p->gap && p->growth < STEP_GROWTH_MAX)
        p->growth *= 2;
    p->gap = gap;
}

static void step_account(struct projections *p)
{
    const struct projection_step *s = &p->step;
    size_t i = name_index(p, s->name);
    if (i == p->set.name_count)
        return; /* of no name of ours, or nothing */
    struct build *b = &p->builds[i];
    if ((s->work == PROJECTION_BEGUN || s->work == PROJECTION_FED || s->work == PROJECTION_CHANGED) && b->building != s->generation)
        build_begun(p, i);
    if (s->work == PROJECTION_NOTHING || s->work == PROJECTION_LEFT)
        return;
    b->events = s->checkpoint;
    b->total = s->head;
    b->time_ms = s->count > 0 ? s->time_ms : b->time_ms;
    build_progress(p, i);
    step_growth(p);
    if (s->work == PROJECTION_CHANGED) {
        b->building = 0;
        b->generation = s->generation;
        b->version = s->version;
        b->last = PROJECTION_REBUILD_DONE;
        LOG(&p->service->process.log, LOG_INFO, NULL, "rebuild.done", "the tables that were built are in use", LOG_STR("projection", s->name),
            LOG_INT("version", s->version), LOG_INT("generation", s->generation), LOG_INT("events", s->head),
            LOG_INT("ms", env_now_ms(p->service->env) - b->begun_ms));
    }
    set_metrics(p, i, s->head - s->checkpoint);
}

static void tell(struct projections *p, enum ficus_err err, const char *detail)
{
    p->is_told = true;
    p->growth = 1;
    service_projections_done(p->service, err, detail);
}

/* True: go on at once. */
static bool step_failed(struct projections *p)
{
    size_t i = name_index(p, p->step.name);
    bool is_of_moment = p->err != FICUS_ERR_INVALID;
    p->failures++;
    if (!p->is_told) {
        tell(p, p->err, p->error.text);
        return false;
    }
    if (i < p->set.name_count && (!is_of_moment || p->failures >= FAILURES_MAX)) {
        p->failures = 0;
        build_failed(p, i, p->error.text);
        return true; /* others may be asked for */
    }
    int64_t ms = (int64_t)AGAIN_MS << (p->failures > 6 ? 6 : p->failures - 1);
    env_timer_start(p->service->env, &p->again, ms > AGAIN_MS_MAX ? AGAIN_MS_MAX : ms);
    return false;
}

/* ---- steps ---- */

static void step_work(void *arg)
{
    struct projections *p = arg;
    struct service *v = p->service;
    struct db_tx tx = {0};
    p->error = (struct ficus_error){0};
    p->step = (struct projection_step){0};
    p->err = db_tx_begin(v->db, &tx, env_now_ns(v->env) + (int64_t)STEP_TIMEOUT_MS * 1000000, &p->error);
    if (p->err != FICUS_ERR_OK)
        return;
    int64_t begun_ns = env_now_ns(v->env);
    p->err = projection_step(&p->set, v->env, db_tx_conn(&tx), STEP_EVENTS * p->growth, begun_ns + STEP_MS * p->growth * 1000000, &p->step, &p->error);
    if (p->err == FICUS_ERR_OK && p->step.work != PROJECTION_NOTHING)
        p->err = db_tx_commit_wait(&tx, &p->error);
    else
        db_tx_rollback(&tx);
    p->took_ns = env_now_ns(v->env) - begun_ns;
}

static void step_done(void *arg);

static void step_run(struct projections *p)
{
    struct service *v = p->service;
    if (p->runs || service_is_ending(v))
        return;
    for (size_t i = 0; i < p->set.name_count; i++) {
        p->names[i].is_asked = p->builds[i].is_asked;
        p->names[i].is_given_up = p->builds[i].is_given_up;
    }
    p->job = (struct env_job){.work = step_work, .done = step_done, .arg = p};
    p->runs = env_run(v->env, &p->job) == FICUS_ERR_OK;
    if (!p->runs)
        env_timer_start(v->env, &p->again, AGAIN_MS);
}

static void on_again(void *arg)
{
    step_run(arg);
}

/* An operator asked for a rebuild while a step ran that did not know of it yet. */
static bool is_asked_meanwhile(const struct projections *p)
{
    for (size_t i = 0; i < p->set.name_count; i++)
        if (p->builds[i].is_asked && !p->names[i].is_asked)
            return true;
    return false;
}

static void step_done(void *arg)
{
    struct projections *p = arg;
    struct service *v = p->service;
    p->runs = false;
    if (service_is_ending(v)) {
        if (!p->is_told)
            tell(p, FICUS_ERR_CANCELLED, "closed while starting");
        service_check_end(v);
        return;
    }
    if (p->err != FICUS_ERR_OK) {
        if (step_failed(p))
            step_run(p);
        return;
    }
    p->failures = 0;
    step_account(p);
    if (!p->is_told && p->step.is_servable) {
        for (size_t i = 0; i < p->set.name_count; i++)
            set_metrics(p, i, 0);
        tell(p, FICUS_ERR_OK, "");
    }
    if (p->step.work != PROJECTION_NOTHING && p->is_told) /* others have their turn on the disk and on the processor */
        env_timer_start(v->env, &p->again, p->took_ns / 1000000 + 1);
    else if (p->step.work != PROJECTION_NOTHING || is_asked_meanwhile(p))
        step_run(p);
}

void projections_start(struct service *v)
{
    step_run(v->projections);
    if (!v->projections->runs) {
        env_timer_stop(v->env, &v->projections->again);
        tell(v->projections, FICUS_ERR_NOMEM, "out of memory");
    }
}

void projections_stop(struct service *v)
{
    if (v->projections != NULL)
        env_timer_stop(v->env, &v->projections->again);
}

bool projections_busy(const struct service *v)
{
    return v->projections != NULL && v->projections->runs;
}

/* ---- operators ---- */

size_t projections_count(const struct service *v)
{
    return v->projections->set.name_count;
}

void projections_status(const struct service *v, size_t i, struct projection_status *ret_status)
{
    const struct projections *p = v->projections;
    const struct build *b = &p->builds[i];
    *ret_status = (struct projection_status){
        .name = p->names[i].newest->name,
        .generation = b->generation,
        .version = b->version,
        .last = b->last,
        .events = b->events,
        .total = b->total,
        .time_ms = b->time_ms,
        .error = b->error,
    };
}

enum ficus_err projections_rebuild(struct service *v, size_t i, struct ficus_error *reterr)
{
    struct projections *p = v->projections;
    struct build *b = &p->builds[i];
    if (!p->is_told || v->state != SERVICE_READY)
        return err_set(reterr, FICUS_ERR_CONFLICT, "the service is starting or stopping");
    if (b->last == PROJECTION_REBUILD_RUNNING)
        return err_set(reterr, FICUS_ERR_BUSY, "a rebuild is going on already");
    b->is_asked = true;
    b->is_given_up = false;
    b->last = PROJECTION_REBUILD_RUNNING;
    b->error[0] = '\0';
    b->events = b->total = 0;
    step_run(p);
    return FICUS_ERR_OK;
}
