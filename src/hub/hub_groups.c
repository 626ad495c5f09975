/* SPDX-License-Identifier: Apache-2.0
 *
 * Life of the consumer groups, and reading the log for them.
 */
#include "hub_groups.h"

#include "assert.h"
#include "map.h"
#include "mem.h"

static const struct metric_def metric_table[] = {
    {.name = "events_settled_total",
     .type = METRIC_COUNTER,
     .help = "Events of consumer groups by what became of them: SUCCESS, RETRY, DROP, DEAD; AWAY: nobody answered, or given back.",
     .labels = {"consumer", "outcome"},
     .children_max = 1024},
};

static void pump(void *arg);

/* ---- reading ---- */

/* What events keep their order by: the member of the data that the topic declares as its key, if it is one text or number; else the
 * subject. Events without any are all of one key. */
static struct slice key_of(const struct hub_config *c, struct arena *a, const struct event *ev)
{
    const struct hub_topic *t = hub_config_topic(c, ev->topic);
    struct json *root = NULL;
    const struct json_limits limits = {.size_max = EVENT_SIZE_MAX, .values_max = EVENT_SIZE_MAX};
    bool has_key = t != NULL && t->key[0] != '\0' && slice_find(slice_str(t->key), '.') < 0 && ev->data.size > 0;
    if (has_key && json_parse(a, ev->data, &limits, &root, NULL) == FICUS_ERR_OK) {
        const struct json *v = json_get(root, t->key);
        if (v != NULL && (v->type == JSON_STRING || v->type == JSON_NUMBER))
            return v->text;
    }
    return ev->subject.p == NULL ? SLICE("") : ev->subject;
}

/* To its consumer one that an operator brought back is the original, at the place of its second coming. False: it is none. */
static bool open_letter(struct hub_group *gr, struct arena *a, struct event *ev)
{
    struct event_letter letter;
    struct ficus_error error = {0};
    int64_t offset = ev->offset;
    if (event_letter_read(a, ev->data, &letter, &error) != FICUS_ERR_OK) {
        LOG(&gr->hub->process.log, LOG_ERROR, NULL, "event.redrive_failed", "an event that was brought back cannot be read",
            LOG_STR("consumer", gr->config->name), LOG_SLICE("id", ev->id), LOG_ERR(&error));
        return false;
    }
    *ev = letter.original;
    ev->offset = offset;
    return true;
}

/* False: out of memory. */
static bool take_event(struct hub_group *gr, const struct event *from)
{
    struct event ev = *from;
    struct arena a;
    bool ok = true;
    arena_init(&a, EVENT_LETTER_ARENA_MAX);
    if (!slice_starts(ev.topic, SLICE(EVENT_TOPIC_REDRIVE)) || open_letter(gr, &a, &ev)) {
        size_t p = group_partition_of(&gr->g, key_of(gr->hub->config, &a, &ev));
        if (group_wants(&gr->g, p, gr->read_from, ev.offset)) {
            size_t size = elog_pack_size(&ev);
            struct hub_item *item = mem_alloc(sizeof *item + size);
            ok = item != NULL;
            if (ok) {
                *item = (struct hub_item){.item = {.offset = ev.offset, .size = sizeof *item + size}};
                elog_pack(item->packed, &ev, &item->ev);
                item->ev.offset = ev.offset;
                if (!group_offer(&gr->g, p, gr->read_from, &item->item))
                    mem_free(item);
            }
        }
    }
    arena_done(&a);
    return ok;
}

static void tell_lost(struct hub_group *gr)
{
    const struct event_cut *cuts;
    size_t count = elog_read_cuts(gr->reader, &cuts);
    int64_t told = gr->lost_told;
    for (size_t i = 0; i < count; i++) {
        if (cuts[i].offset <= gr->lost_told || slice_starts(cuts[i].topic, SLICE(EVENT_TOPIC_REDRIVE)))
            continue;
        told = cuts[i].offset > told ? cuts[i].offset : told;
        LOG(&gr->hub->process.log, LOG_ERROR, NULL, "events.lost", "events were removed from the log before this consumer had them",
            LOG_STR("consumer", gr->config->name), LOG_SLICE("topic", cuts[i].topic), LOG_INT("after", gr->read_from),
            LOG_INT("upto", cuts[i].offset));
    }
    gr->lost_told = told;
}

static void on_read(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct hub_group *gr = arg;
    gr->reading = false;
    if (err == FICUS_ERR_OK)
        tell_lost(gr);
    size_t taken = 0;
    while (err == FICUS_ERR_OK && taken < count)
        if (take_event(gr, &events[taken]))
            taken++;
        else
            err = FICUS_ERR_NOMEM;
    /* what did not fit into the memory is read again */
    group_read_done(&gr->g, gr->read_from, taken == count && err == FICUS_ERR_OK ? next : taken > 0 ? events[taken - 1].offset : gr->read_from);
    if (err != FICUS_ERR_OK) {
        gr->read_again_ms = env_now_ms(gr->hub->env) + GROUP_READ_AGAIN_MS;
        LOG(&gr->hub->process.log, LOG_ERROR, NULL, "group.read", "the log cannot be read for a consumer",
            LOG_STR("consumer", gr->config->name), LOG_INT("after", gr->read_from), LOG_STR("error", err_text(err)));
    }
    hub_group_kick(gr);
}

void hub_group_read_cancel(struct hub_group *gr)
{
    elog_reader_free(gr->reader);
    gr->reader = NULL;
    gr->reading = false;
}

static void read_on(struct hub_group *gr)
{
    if (gr->reading && gr->reading_waits && group_read_better(&gr->g, gr->read_from))
        hub_group_read_cancel(gr);
    if (gr->reading || gr->g.held || env_now_ms(gr->hub->env) < gr->read_again_ms ||
        !group_read_next(&gr->g, &gr->read_from, &gr->reading_waits))
        return;
    enum ficus_err err = gr->reader == NULL ? elog_reader_new(gr->hub->log, &gr->reader) : FICUS_ERR_OK;
    if (err == FICUS_ERR_OK)
        err = elog_read(gr->reader, gr->topics, gr->read_from, group_read_count(&gr->g, gr->read_from), gr->reading_waits ? GROUP_READ_WAIT_MS : 0, on_read, gr);
    gr->reading = err == FICUS_ERR_OK;
    if (err == FICUS_ERR_OK)
        return;
    gr->read_again_ms = env_now_ms(gr->hub->env) + GROUP_READ_AGAIN_MS;
    LOG(&gr->hub->process.log, LOG_ERROR, NULL, "group.read", "the log cannot be read for a consumer",
        LOG_STR("consumer", gr->config->name), LOG_INT("after", gr->read_from), LOG_STR("error", err_text(err)));
}

/* ---- what there is to do ---- */

void hub_group_kick(struct hub_group *gr)
{
    if (!gr->hub->groups->cut_off)
        env_timer_start(gr->hub->env, &gr->timer, 0);
}

static void pump(void *arg)
{
    struct hub_group *gr = arg;
    int64_t now_ms = env_now_ms(gr->hub->env);
    (void)group_tick(&gr->g, now_ms);
    hub_commit_start(gr);
    if (gr->hub->groups->stopping) {
        hub_groups_closed_if_idle(gr->hub->groups);     /* the last thing that is done: it may be the end of us */
        return;
    }
    read_on(gr);
    hub_flows_group_moved(gr); /* also by events that no partition has */
    if (gr->seeker != NULL)
        ;   /* what is under way ends, then the group is moved */
    else if (gr->config->to != NULL)
        hub_deliver_all(gr);
    else
        hub_lease_all(gr);
    int64_t next = group_tick(&gr->g, now_ms);
    if (gr->read_again_ms > now_ms && gr->read_again_ms < next)
        next = gr->read_again_ms;
    if (next != INT64_MAX && !env_timer_armed(&gr->timer))
        env_timer_start(gr->hub->env, &gr->timer, next - now_ms);
}

void hub_group_items_free(struct hub_group *gr, size_t partition)
{
    for (struct group_item *item; (item = group_take(&gr->g, partition)) != NULL;)
        mem_free(CONTAINER_OF(item, struct hub_item, item));
}

struct hub_group *hub_group_find(struct hub *h, struct slice name)
{
    for (size_t i = 0; h->groups != NULL && i < h->groups->count; i++)
        if (slice_eq_str(name, h->groups->list[i].config->name))
            return &h->groups->list[i];
    return NULL;
}

/* ---- life ---- */

/* Over all that decides which partition an event is in, but the number of them: its topic's key. */
static int64_t shape_of(const struct hub_config *c, const char *topics)
{
    static const uint64_t nobodys[2] = {0, 0};
    uint64_t shape = 0;
    for (struct slice rest = slice_str(topics); rest.p != NULL;) {
        struct slice name = slice_cut(&rest, ',');
        const struct hub_topic *t = hub_config_topic(c, name);
        uint64_t part[2] = {hash_sip13(nobodys, name.p, name.size), t == NULL ? 0 : hash_sip13(nobodys, t->key, strlen(t->key))};
        shape ^= hash_sip13(nobodys, part, sizeof part);    /* in whatever order they are written */
    }
    return (int64_t)(shape >> 1);
}

static enum ficus_err group_open(struct hub *h, struct hub_group *gr, const struct hub_group_config *config, int64_t boot,
                                 struct ficus_error *reterr)
{
    bool repartitioned = false;
    size_t count = (size_t)config->partitions;
    gr->hub = h;
    gr->config = config;
    gr->topics = hub_consumer_topics(h->config, config->name);
    list_init(&gr->waiting);
    gr->timer = (struct env_timer){.fn = pump, .arg = gr};
    group_init(&gr->g, count, boot);
    for (size_t i = 0; i < count; i++) {
        gr->deliveries[i] = (struct hub_delivery){.group = gr, .partition = i};
        buf_init(&gr->deliveries[i].body, EVENT_SIZE_MAX + 65536);
    }
    if (gr->topics == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "consumer groups: out of memory");
    enum ficus_err err = group_store_load(elog_db(h->log), config->name, count, shape_of(h->config, gr->topics), gr->written, &repartitioned, reterr);
    for (size_t i = 0; i < count && err == FICUS_ERR_OK; i++)
        group_begin(&gr->g, i, gr->written[i]);
    if (repartitioned)
        LOG(&h->process.log, LOG_WARN, NULL, "group.repartitioned",
            "its topics, their keys or the number of partitions have changed: all begin where the last of them was, and some events come again",
            LOG_STR("consumer", config->name), LOG_INT("partitions", config->partitions), LOG_INT("after", gr->written[0].settled));
    return err;
}

enum ficus_err hub_groups_open(struct hub *h, struct ficus_error *reterr)
{
    const struct hub_config *c = h->config;
    int64_t boot = 0;
    if (c->group_count == 0)
        return FICUS_ERR_OK;
    struct hub_groups *groups = mem_zalloc(sizeof *groups);
    if (groups == NULL || (groups->list = mem_array(c->group_count, sizeof *groups->list)) == NULL) {
        mem_free(groups);
        return err_set(reterr, FICUS_ERR_NOMEM, "consumer groups: out of memory");
    }
    memset(groups->list, 0, c->group_count * sizeof *groups->list);
    groups->hub = h;
    h->groups = groups;
    enum ficus_err err = metrics_register_all(h->process.metrics, metric_table, 1, &groups->settled);
    if (err == FICUS_ERR_OK)
        err = group_store_open(elog_db(h->log), &boot, reterr);
    for (; groups->count < c->group_count && err == FICUS_ERR_OK; groups->count++)
        err = group_open(h, &groups->list[groups->count], &c->groups[groups->count], boot, reterr);
    for (size_t i = 0; i < groups->count && err == FICUS_ERR_OK; i++)
        hub_group_kick(&groups->list[i]);
    return err;
}

static void answer_stopping(struct hub_exchange *x)
{
    hub_groups_end(x);
    hub_problem(x, 503, "stopping", "the hub is stopping");
}

void hub_groups_stop(struct hub *h)
{
    struct hub_groups *groups = h->groups;
    if (groups == NULL || groups->stopping)
        return;
    groups->stopping = true;
    for (size_t i = 0; i < groups->count; i++) {
        struct hub_group *gr = &groups->list[i];
        hub_group_read_cancel(gr);
        while (!list_empty(&gr->waiting))
            answer_stopping(CONTAINER_OF(gr->waiting.next, struct hub_exchange, lease_link));
        if (gr->seeker != NULL && !gr->seeking) {
            struct hub_exchange *seeker = gr->seeker;
            gr->seeker = NULL;
            hub_group_seek_answer(seeker, FICUS_ERR_CANCELLED, "the hub is stopping");
        }
    }
}

static bool is_busy(const struct hub_groups *groups, const struct hub_group *gr)
{
    bool busy = gr->committing;
    for (size_t i = 0; i < gr->g.partition_count && !groups->cut_off; i++)
        busy |= gr->deliveries[i].fetch != NULL || gr->g.partitions[i].state == GROUP_SETTLING;
    return busy;
}

void hub_groups_closed_if_idle(struct hub_groups *groups)
{
    void (*closed)(struct hub *h) = groups->closed;
    for (size_t i = 0; i < groups->count && closed != NULL; i++)
        if (is_busy(groups, &groups->list[i]))
            return;
    if (closed == NULL)
        return;
    groups->closed = NULL;
    env_timer_stop(groups->hub->env, &groups->end);
    for (size_t i = 0; i < groups->count; i++)
        env_timer_stop(groups->hub->env, &groups->list[i].timer);
    closed(groups->hub);
}

/* What is under way takes too long: it comes again. */
static void on_end(void *arg)
{
    struct hub_groups *groups = arg;
    groups->cut_off = true;
    for (size_t i = 0; i < groups->count; i++) {
        struct hub_group *gr = &groups->list[i];
        hub_deliver_cancel(gr);
        for (size_t p = 0; p < gr->g.partition_count; p++) {
            struct hub_exchange *settler = gr->g.partitions[p].in_commit ? NULL : gr->settlers[p];
            if (settler == NULL)
                continue;
            gr->settlers[p] = NULL;
            hub_group_settle_answer(settler, FICUS_ERR_CANCELLED, "the hub is stopping");
        }
    }
    hub_groups_closed_if_idle(groups);
}

void hub_groups_close(struct hub *h, void (*closed)(struct hub *h))
{
    struct hub_groups *groups = h->groups;
    if (groups == NULL) {
        closed(h);
        return;
    }
    hub_groups_stop(h);
    groups->closed = closed;
    groups->end = (struct env_timer){.fn = on_end, .arg = groups};
    env_timer_start(h->env, &groups->end, HUB_STOP_MS_MAX);
    hub_groups_closed_if_idle(groups);
}

void hub_groups_wake(struct hub *h)
{
    for (size_t i = 0; h->groups != NULL && i < h->groups->count; i++) {
        group_wake(&h->groups->list[i].g, env_now_ms(h->env));
        hub_group_kick(&h->groups->list[i]);
    }
}

void hub_groups_free(struct hub *h)
{
    struct hub_groups *groups = h->groups;
    h->groups = NULL;
    for (size_t i = 0; groups != NULL && i < groups->count; i++) {
        struct hub_group *gr = &groups->list[i];
        for (size_t p = 0; p < gr->g.partition_count; p++) {
            while (!list_empty(&gr->g.partitions[p].items))
                mem_free(CONTAINER_OF(list_pop_head(&gr->g.partitions[p].items), struct hub_item, item.link));
            hub_group_items_free(gr, p);
            buf_done(&gr->deliveries[p].body);
        }
        mem_free(gr->topics);
    }
    if (groups != NULL)
        mem_free(groups->list);
    mem_free(groups);
}

void hub_groups_end(struct hub_exchange *x)
{
    if (x->group == NULL)
        return;
    env_timer_stop(x->hub->env, &x->timer);
    list_remove(&x->lease_link);
}
