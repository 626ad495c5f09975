/* SPDX-License-Identifier: Apache-2.0
 *
 * How far every consumer is: of groups by their cursors, of those that keep their own place (libficus) by what they pulled last. Counted
 * when somebody asks, and every HUB_LAG_MS for the metrics.
 */
#include "hub_groups.h"

#include "assert.h"
#include "mem.h"
#include "timefmt.h"

enum {
    LAG_MS = 15000,
    /* A service that builds its store anew pulls from the log's start beside itself: who was further in this time is whom we show. */
    LAG_OTHER_MS = 60000,
    LAG_TOPICS_SIZE_MAX = 65 * 140,
    /* Leased so often, an event holds its partition, though nobody has said why: its members die of it, say. */
    HELD_DELIVERIES = 3,
};

static const struct metric_def metric_table[] = {
    {.name = "events_lag", .type = METRIC_GAUGE, .help = "Events that a consumer has not had yet.", .labels = {"consumer"}, .children_max = 1024},
    {.name = "events_lag_age_seconds",
     .type = METRIC_GAUGE,
     .unit = METRIC_SECONDS,
     .help = "How long the oldest event that a consumer has not had yet has been in the log.",
     .labels = {"consumer"},
     .children_max = 1024},
};

/* Two places of a group: the last of its partitions, and the first. */
struct lag_of {
    const char *name;
    struct hub_group *group;        /* NULL: it keeps its own place */
    struct hub_consumer *consumer;
    size_t at, count;               /* its places in list */
    int64_t waiting;                /* events that wait in the hub behind the first place; -1: not all partitions are there */
};

struct lag_job {
    struct hub *hub;
    struct hub_exchange *x;         /* NULL: for the metrics */
    struct elog_lag *list;
    struct lag_of *of;
    size_t of_count;
};

char *hub_consumer_topics(const struct hub_config *c, const char *name)
{
    struct buf b;
    buf_init(&b, LAG_TOPICS_SIZE_MAX);
    for (size_t i = 0; i < c->topic_count; i++)
        if (hub_topic_has_consumer(&c->topics[i], slice_str(name)))
            buf_printf(&b, "%s,", c->topics[i].name);
    buf_printf(&b, EVENT_TOPIC_REDRIVE "%s", name);
    char *text = buf_failed(&b) ? NULL : buf_steal(&b);
    buf_done(&b);
    return text;
}

/* ---- who pulls ---- */

static struct hub_consumer *find(const struct hub_lag *l, struct slice name)
{
    for (size_t i = 0; i < l->count; i++)
        if (slice_eq_str(name, l->consumers[i].name))
            return &l->consumers[i];
    return NULL;
}

void hub_lag_pull(struct hub_exchange *x, int64_t after)
{
    struct hub_consumer *c = find(x->hub->lag, x->claims.issuer);
    if (c == NULL)
        return;
    int64_t now_ms = env_wall_ms(x->hub->env);
    x->consumer = c;
    c->pulls++;
    if (after < c->after && now_ms - c->seen_ms < LAG_OTHER_MS)
        return;
    c->after = after;
    c->seen_ms = now_ms;
}

void hub_lag_end(struct hub_exchange *x)
{
    if (x->consumer == NULL)
        return;
    x->consumer->pulls--;
    x->consumer->seen_ms = env_wall_ms(x->hub->env);
    x->consumer = NULL;
}

/* ---- counting ---- */

static void job_free(struct lag_job *j)
{
    mem_free(j->list);
    mem_free(j->of);
    mem_free(j);
}

static void add_group(struct lag_job *j, struct hub_group *gr, size_t *at)
{
    struct lag_of *of = &j->of[j->of_count++];
    int64_t last = INT64_MAX, first = 0, waiting = 0;
    for (size_t i = 0; i < gr->g.partition_count; i++) {
        int64_t settled = group_cursor_of(&gr->g, i).settled, loaded = gr->g.partitions[i].loaded;
        last = settled < last ? settled : last;
        first = loaded > first ? loaded : first;
        waiting += (int64_t)gr->g.partitions[i].count;
    }
    for (size_t i = 0; i < gr->g.partition_count; i++)
        if (gr->g.partitions[i].loaded < first)
            waiting = -1;
    *of = (struct lag_of){.name = gr->config->name, .group = gr, .at = *at, .count = 2, .waiting = waiting};
    j->list[(*at)++] = (struct elog_lag){.topics = gr->topics, .after = last};
    j->list[(*at)++] = (struct elog_lag){.topics = gr->topics, .after = first};
}

/* Members give back what they do not come to: that is no missing answer. */
static const char *partition_state(const struct hub_group *gr, const struct group_partition *p)
{
    const bool leased = gr->config->to == NULL, unanswered = p->tries > 0 && !leased;
    switch (p->state) {
    case GROUP_IDLE:
        return "idle";
    case GROUP_READY:
        return leased ? "no member" : "works";
    case GROUP_OUT:
    case GROUP_SETTLING:
        return unanswered ? "no answer" : p->cursor.refused > 0 ? "refused" : "works";
    case GROUP_RESTING:
        return unanswered ? "no answer" : p->cursor.refused > 0 ? "refused" : "no member";
    }
    return "";
}

/* The worst of its partitions. */
static const char *group_state(const struct hub_group *gr)
{
    static const char *const words[] = {"no answer", "refused", "no member", "works"};
    for (size_t n = 0; n < ARRAY_COUNT(words); n++)
        for (size_t i = 0; i < gr->g.partition_count; i++)
            if (strcmp(partition_state(gr, &gr->g.partitions[i]), words[n]) == 0)
                return words[n];
    return "idle";
}

/* The partition's first event, if it was given out: which, since when, how often. True: it holds the partition. */
static bool write_head(struct json_writer *w, const struct hub_group *gr, size_t partition)
{
    const struct group_partition *p = &gr->g.partitions[partition];
    struct group_item *head = group_head(&gr->g, partition);
    char since[TIME_TEXT_SIZE];
    if (head == NULL || head->offset != p->head_offset)
        return false;
    const struct event *ev = &CONTAINER_OF(head, struct hub_item, item)->ev;
    time_format(env_wall_ms(gr->hub->env) - (env_now_ms(gr->hub->env) - p->since_ms), since);
    json_write_key(w, "event");
    json_write_object(w);
    json_write_kv_i64(w, "offset", head->offset);
    json_write_kv_slice(w, "topic", ev->topic);
    json_write_kv_slice(w, "id", ev->id);
    if (ev->subject.p != NULL)
        json_write_kv_slice(w, "subject", ev->subject);
    json_write_end(w);
    json_write_kv_str(w, "since", since);
    json_write_kv_i64(w, "deliveries", p->deliveries);
    return (p->tries > 0 && gr->config->to != NULL) || p->cursor.refused > 0 || p->deliveries >= HELD_DELIVERIES;
}

static void write_partitions(struct json_writer *w, const struct hub_group *gr)
{
    json_write_key(w, "partitions");
    json_write_array(w);
    for (size_t i = 0; i < gr->g.partition_count; i++) {
        const struct group_partition *p = &gr->g.partitions[i];
        json_write_object(w);
        json_write_kv_i64(w, "partition", (int64_t)i);
        json_write_kv_i64(w, "settled", group_cursor_of(&gr->g, i).settled);
        json_write_kv_str(w, "state", partition_state(gr, p));
        if (p->cursor.refused > 0)
            json_write_kv_i64(w, "refused", p->cursor.refused);
        if (p->tries > 0)
            json_write_kv_i64(w, "tries", p->tries);
        if (write_head(w, gr, i))
            json_write_kv_str(w, "reason", gr->reasons[i][0] != '\0' ? gr->reasons[i] : "leases of it ended without a word");
        json_write_end(w);
    }
    json_write_end(w);
}

static const char *consumer_state(const struct hub_consumer *c, int64_t now_ms)
{
    return c->pulls > 0 ? "reads" : c->seen_ms == 0 ? "never came" : now_ms - c->seen_ms < LAG_OTHER_MS ? "works" : "away";
}

static int64_t behind_of(const struct lag_job *j, const struct lag_of *of, bool *ret_more)
{
    const struct elog_lag *first = &j->list[of->at + of->count - 1];
    bool exact = of->group != NULL && of->waiting >= 0;
    *ret_more = exact ? first->more : j->list[of->at].more;
    return exact ? first->behind + of->waiting : j->list[of->at].behind;
}

static void write_topics(struct json_writer *w, const char *topics)
{
    struct slice rest = slice_str(topics);
    json_write_key(w, "topics");
    json_write_array(w);
    while (rest.p != NULL) {
        struct slice topic = slice_cut(&rest, ',');
        if (!slice_starts(topic, SLICE(EVENT_TOPIC_REDRIVE)))
            json_write_slice(w, topic);
    }
    json_write_end(w);
}

static void write_one(struct json_writer *w, const struct lag_job *j, const struct lag_of *of, int64_t now_ms)
{
    const struct elog_lag *last = &j->list[of->at];
    char at[TIME_TEXT_SIZE];
    bool more;
    int64_t behind = behind_of(j, of, &more);
    json_write_object(w);
    json_write_kv_str(w, "consumer", of->name);
    json_write_kv_str(w, "kind", of->group == NULL ? "own" : of->group->config->to != NULL ? "delivered" : "leased");
    json_write_kv_str(w, "state", of->group != NULL ? group_state(of->group) : consumer_state(of->consumer, now_ms));
    write_topics(w, of->group != NULL ? of->group->topics : of->consumer->topics);
    json_write_kv_i64(w, "after", last->after);
    json_write_kv_i64(w, "behind", behind);
    if (more)
        json_write_kv_bool(w, "more", true);
    if (behind > 0 && last->oldest_ms > 0) {
        time_format(last->oldest_ms, at);
        json_write_kv_str(w, "oldest", at);
        json_write_kv_i64(w, "age_ms", now_ms > last->oldest_ms ? now_ms - last->oldest_ms : 0);
    }
    if (of->group == NULL && of->consumer->seen_ms > 0) {
        time_format(of->consumer->seen_ms, at);
        json_write_kv_str(w, "seen", at);
    }
    if (of->group != NULL)
        write_partitions(w, of->group);
    json_write_end(w);
}

static void answer(struct lag_job *j, int64_t now_ms)
{
    struct json_writer w;
    json_write_init(&w, &j->x->out);
    json_write_object(&w);
    json_write_key(&w, "consumers");
    json_write_array(&w);
    for (size_t i = 0; i < j->of_count; i++)
        write_one(&w, j, &j->of[i], now_ms);
    json_write_end(&w);
    json_write_end(&w);
    hub_answer(j->x, 200, "application/json");
}

static void set_metrics(const struct lag_job *j, int64_t now_ms)
{
    for (size_t i = 0; i < j->of_count; i++) {
        const struct lag_of *of = &j->of[i];
        const int64_t oldest_ms = j->list[of->at].oldest_ms;
        bool more;
        int64_t behind = behind_of(j, of, &more), age_ms = behind > 0 && oldest_ms > 0 && now_ms > oldest_ms ? now_ms - oldest_ms : 0;
        metric_set(METRIC(j->hub->lag->lag, slice_str(of->name)), behind);
        metric_set(METRIC(j->hub->lag->age, slice_str(of->name)), age_ms * 1000000);
    }
}

static void on_counted(void *arg, enum ficus_err err)
{
    struct lag_job *j = arg;
    struct hub *h = j->hub;
    int64_t now_ms = env_wall_ms(h->env);
    if (j->x == NULL) {
        h->lag->counting = false;
        if (err == FICUS_ERR_OK)
            set_metrics(j, now_ms);
        if (!h->stopping)
            env_timer_start(h->env, &h->lag->timer, LAG_MS);
    } else if (hub_exchange_back(j->x)) {
        if (err == FICUS_ERR_OK)
            answer(j, now_ms);
        else
            hub_problem_err(j->x, err, NULL);
    }
    job_free(j);
}

static enum ficus_err count(struct hub *h, struct hub_exchange *x)
{
    const struct hub_lag *l = h->lag;
    size_t groups = h->groups == NULL ? 0 : h->groups->count, at = 0;
    struct lag_job *j = mem_zalloc(sizeof *j);
    if (j == NULL)
        return FICUS_ERR_NOMEM;
    *j = (struct lag_job){.hub = h, .x = x, .list = mem_array(2 * groups + l->count + 1, sizeof *j->list),
                          .of = mem_array(groups + l->count + 1, sizeof *j->of)};
    enum ficus_err err = j->list == NULL || j->of == NULL ? FICUS_ERR_NOMEM : FICUS_ERR_OK;
    for (size_t i = 0; i < groups && err == FICUS_ERR_OK; i++)
        add_group(j, &h->groups->list[i], &at);
    for (size_t i = 0; i < l->count && err == FICUS_ERR_OK; i++) {
        struct hub_consumer *c = &l->consumers[i];
        j->of[j->of_count++] = (struct lag_of){.name = c->name, .consumer = c, .at = at, .count = 1};
        j->list[at++] = (struct elog_lag){.topics = c->topics, .after = c->after};
    }
    if (err == FICUS_ERR_OK)
        err = elog_lag(h->log, j->list, at, on_counted, j);
    if (err != FICUS_ERR_OK)
        job_free(j);
    return err;
}

void hub_lag_get(struct hub_exchange *x, struct slice body)
{
    (void)body;
    x->busy = true;
    hub_exchange_begun(x, count(x->hub, x), NULL);
}

static void on_timer(void *arg)
{
    struct hub *h = arg;
    h->lag->counting = count(h, NULL) == FICUS_ERR_OK;
    if (!h->lag->counting)
        env_timer_start(h->env, &h->lag->timer, LAG_MS);
}

/* ---- life ---- */

static bool add_consumer(struct hub *h, const char *name)
{
    struct hub_lag *l = h->lag;
    if (find(l, slice_str(name)) != NULL || hub_group_find(h, slice_str(name)) != NULL)
        return true;
    struct hub_consumer *c = &l->consumers[l->count];
    *c = (struct hub_consumer){.name = name, .topics = hub_consumer_topics(h->config, name)};
    l->count += c->topics != NULL;
    return c->topics != NULL;
}

enum ficus_err hub_lag_open(struct hub *h, struct ficus_error *reterr)
{
    struct metric_family *families[2];
    const struct hub_config *c = h->config;
    size_t most = 0;
    for (size_t i = 0; i < c->topic_count; i++)
        most += c->topics[i].consumer_count;
    h->lag = mem_zalloc(sizeof *h->lag);
    bool ok = h->lag != NULL && (h->lag->consumers = mem_array(most + 1, sizeof *h->lag->consumers)) != NULL;
    for (size_t i = 0; i < c->topic_count && ok; i++)
        for (size_t k = 0; k < c->topics[i].consumer_count && ok; k++)
            ok = add_consumer(h, c->topics[i].consumers[k]);
    if (!ok || metrics_register_all(h->process.metrics, metric_table, 2, families) != FICUS_ERR_OK)
        return err_set(reterr, FICUS_ERR_NOMEM, "lag: out of memory");
    h->lag->lag = families[0];
    h->lag->age = families[1];
    h->lag->timer = (struct env_timer){.fn = on_timer, .arg = h};
    if (most > 0)
        env_timer_start(h->env, &h->lag->timer, LAG_MS);
    return FICUS_ERR_OK;
}

void hub_lag_stop(struct hub *h)
{
    if (h->lag != NULL)
        env_timer_stop(h->env, &h->lag->timer);
}

void hub_lag_free(struct hub *h)
{
    struct hub_lag *l = h->lag;
    h->lag = NULL;
    for (size_t i = 0; l != NULL && i < l->count; i++)
        mem_free(l->consumers[i].topics);
    if (l != NULL)
        mem_free(l->consumers);
    mem_free(l);
}
