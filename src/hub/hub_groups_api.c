/* SPDX-License-Identifier: Apache-2.0
 *
 * What members and operators say to consumer groups. Bodies are JSON objects: settle {"partition", "epoch", "offset", "status", "reason"},
 * seek {"to": "start", "end", an offset or a time}, skip {"offset", "by", "reason"}.
 */
#include "hub_groups.h"

#include "assert.h"
#include "mem.h"
#include "timefmt.h"

#include <stdio.h>

enum { LEASES_WAITING_MAX = 64, BODY_ARENA_MAX = 2 * 1024 * 1024 };

/* NULL: answered. A service may ask for its own group alone. */
static struct hub_group *group_of(struct hub_exchange *x)
{
    struct slice name = x->params[0];
    struct hub_group *gr = hub_group_find(x->hub, name);
    char detail[320];
    if (!x->route->is_operator && !slice_eq(name, x->claims.issuer)) {
        hub_problem(x, 403, "consumer", "a service may lease its own events alone");
        return NULL;
    }
    if (gr != NULL)
        return gr;
    const struct hub_config *c = x->hub->config;
    bool consumes = false;
    for (size_t i = 0; i < c->topic_count; i++)
        consumes |= hub_topic_has_consumer(&c->topics[i], name);
    int size = (int)(name.size < 63 ? name.size : 63);
    if (consumes)
        snprintf(detail, sizeof detail, "%.*s is no consumer group: it keeps its own place, in its store (ficus events rebuild %.*s makes a store anew "
                 "that is rebuildable; group: in its file would make it one)", size, name.p, size, name.p);
    else
        snprintf(detail, sizeof detail, "%.*s consumes nothing", size, name.p);
    hub_problem(x, consumes ? 409 : 404, consumes ? "no_group" : "not_found", detail);
    return NULL;
}

static bool read_body(struct hub_exchange *x, struct arena *a, struct slice body, struct json **ret_root)
{
    struct ficus_error error = {0};
    enum ficus_err err = json_parse(a, body, NULL, ret_root, &error);
    if (err == FICUS_ERR_OK && (*ret_root)->type != JSON_OBJECT)
        err = err_set(&error, FICUS_ERR_PARSE, "the body must be a JSON object");
    if (err != FICUS_ERR_OK)
        hub_problem_err(x, err, error.text);
    return err == FICUS_ERR_OK;
}

/* ---- lease ---- */

static void answer_lease(struct hub_exchange *x, const struct hub_group *gr, size_t partition)
{
    const struct group_partition *p = &gr->g.partitions[partition];
    char until[TIME_TEXT_SIZE];
    struct json_writer w;
    size_t n = 0;
    time_format(env_wall_ms(x->hub->env) + p->lease_ms, until);
    json_write_init(&w, &x->out);
    json_write_object(&w);
    json_write_kv_i64(&w, "partition", (int64_t)partition);
    json_write_kv_i64(&w, "epoch", p->epoch);
    json_write_kv_str(&w, "expires", until);
    json_write_kv_i64(&w, "lease_ms", p->lease_ms);
    json_write_key(&w, "events");
    json_write_array(&w);
    LIST_FOREACH(&p->items, it) {
        if (n++ == p->out)
            break;
        event_write(&w, &CONTAINER_OF(it, struct hub_item, item.link)->ev);
    }
    json_write_end(&w);
    json_write_end(&w);
    if (buf_failed(&x->out))
        hub_problem_err(x, FICUS_ERR_NOMEM, NULL);  /* the lease ends by its time */
    else
        hub_answer(x, 200, "application/json");
}

void hub_lease_all(struct hub_group *gr)
{
    size_t partition;
    while (!list_empty(&gr->waiting)) {
        struct hub_exchange *x = CONTAINER_OF(gr->waiting.next, struct hub_exchange, lease_link);
        if (!group_lease(&gr->g, env_now_ms(gr->hub->env), x->count_max, gr->config->timeout_ms, &partition))
            return;
        hub_groups_end(x);
        answer_lease(x, gr, partition);
    }
}

static void on_lease_over(void *arg)
{
    struct hub_exchange *x = arg;
    hub_groups_end(x);
    buf_printf(&x->out, "{\"events\":[]}");
    hub_answer(x, 200, "application/json");
}

void hub_groups_lease(struct hub_exchange *x, struct slice body)
{
    (void)body;
    struct hub_group *gr = group_of(x);
    int64_t limit, wait_ms;
    size_t waiting = 0;
    if (gr == NULL || !hub_query_i64(x, "limit", 1, GROUP_LEASE_MAX, 1, &limit) || !hub_query_i64(x, "wait", 0, HUB_WAIT_MS_MAX, 0, &wait_ms))
        return;
    if (gr->config->to != NULL) {
        hub_problem(x, 409, "delivered", "the events of this group are delivered (group.to in its file); without it they are leased");
        return;
    }
    LIST_FOREACH(&gr->waiting, it)
        waiting++;
    if (waiting >= LEASES_WAITING_MAX || x->hub->stopping) {
        hub_problem(x, 503, "busy", "too many members wait for a lease");
        return;
    }
    x->group = gr;
    x->count_max = (size_t)limit;
    list_add_tail(&gr->waiting, &x->lease_link);
    x->timer = (struct env_timer){.fn = on_lease_over, .arg = x};
    /* without a wait: one turn of the loop, for what is there */
    env_timer_start(x->hub->env, &x->timer, wait_ms > 0 ? wait_ms : 1);
    hub_group_kick(gr);
}

/* ---- what a body says to the group of the path ---- */

static void command(struct hub_exchange *x, struct slice body, void (*say)(struct hub_exchange *x, struct hub_group *gr, const struct json *root))
{
    struct hub_group *gr = group_of(x);
    struct arena a;
    struct json *root;
    if (gr == NULL)
        return;
    if (x->hub->stopping) {
        hub_problem(x, 503, "stopping", "the hub is stopping");
        return;
    }
    arena_init(&a, BODY_ARENA_MAX);
    if (read_body(x, &a, body, &root))
        say(x, gr, root);
    arena_done(&a);
}

/* ---- settle ---- */

void hub_group_settle_answer(struct hub_exchange *x, enum ficus_err err, const char *detail)
{
    if (!hub_exchange_back(x))
        return;
    if (err != FICUS_ERR_OK) {
        hub_problem_err(x, err, detail);
    } else if (x->skips) {
        buf_printf(&x->out, "{\"letter\":%lld}\n", (long long)x->letter);
        hub_answer(x, 200, "application/json");
    } else {
        hub_answer(x, 204, NULL);
    }
}

static bool read_status(struct slice text, enum group_outcome *ret_outcome)
{
    static const char *const words[] = {[GROUP_SUCCESS] = "SUCCESS", [GROUP_RETRY] = "RETRY", [GROUP_DROP] = "DROP", [GROUP_AWAY] = "AWAY"};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (slice_eq_str(text, words[i])) {
            *ret_outcome = (enum group_outcome)i;
            return true;
        }
    return false;
}

/* "offset" may be the text that stands as sequence in the event. */
static bool read_offset(const struct json *v, int64_t *ret_offset)
{
    struct slice text;
    return json_i64(v, ret_offset) || (json_string(v, &text) && slice_to_i64(text, ret_offset));
}

static void settle(struct hub_exchange *x, struct hub_group *gr, const struct json *root)
{
    int64_t partition = 0, epoch = 0, offset = 0;
    enum group_outcome outcome = GROUP_SUCCESS;
    char reason[GROUP_REASON_SIZE];
    if (!json_i64(json_get(root, "partition"), &partition) || !json_i64(json_get(root, "epoch"), &epoch) ||
        !read_offset(json_get(root, "offset"), &offset) || !read_status(json_string_or(json_get(root, "status"), SLICE("")), &outcome) ||
        partition < 0) {
        hub_problem(x, 400, "body", "partition, epoch, offset and status are needed; status is SUCCESS, RETRY, DROP or AWAY");
        return;
    }
    struct slice why = json_string_or(json_get(root, "reason"), json_string_or(json_get(root, "status"), SLICE("")));
    snprintf(reason, sizeof reason, "%.*s", (int)(why.size < sizeof reason ? why.size : sizeof reason - 1), why.p);
    enum group_answer answer = gr->config->to != NULL ? GROUP_STALE : hub_group_settle(gr, (size_t)partition, epoch, offset, outcome, reason);
    if (answer == GROUP_STALE) {
        hub_problem(x, 409, "fenced", "this lease is over (its time passed, or the group was moved), or it does not have that event; nothing has changed");
    } else if (answer == GROUP_ALREADY || answer == GROUP_RESTS) { /* given back, of which nothing is written */
        hub_answer(x, 204, NULL);
    } else {
        x->busy = true;
        gr->settlers[partition] = x;
    }
}

void hub_groups_settle(struct hub_exchange *x, struct slice body)
{
    command(x, body, settle);
}

/* ---- skip ---- */

/* "skipped by maria (uid 1000): the renderer hangs": what the dead letter says. */
static void skip_reason(const struct hub_exchange *x, const struct json *root, char text[GROUP_REASON_SIZE])
{
    struct slice actor = json_string_or(json_get(root, "by"), SLICE("")), why = json_string_or(json_get(root, "reason"), SLICE(""));
    int actor_size = (int)(actor.size < 64 ? actor.size : 64), why_size = (int)(why.size < 160 ? why.size : 160);
    snprintf(text, GROUP_REASON_SIZE, "skipped by %.*s%suid %lld%s%s%.*s", actor_size, actor.p, actor_size > 0 ? " (" : "", (long long)x->uid,
             actor_size > 0 ? ")" : "", why_size > 0 ? ": " : "", why_size, why.p);
}

static void skip(struct hub_exchange *x, struct hub_group *gr, const struct json *root)
{
    int64_t offset = 0;
    size_t partition = 0;
    char reason[GROUP_REASON_SIZE];
    if (!read_offset(json_get(root, "offset"), &offset) || offset < 1) {
        hub_problem(x, 400, "body", "offset is needed: the number of the event that holds a partition (ficus events lag shows it)");
        return;
    }
    skip_reason(x, root, reason);
    switch (hub_group_skip(gr, x->uid, offset, reason, &partition)) {
    case GROUP_COMMIT:
        x->busy = x->skips = true;
        gr->settlers[partition] = x;
        break;
    case GROUP_BUSY:
        hub_problem(x, 503, "busy", "what became of this event is being stored at this moment; ficus events lag shows what holds the partition then");
        break;
    case GROUP_ALREADY:
        hub_problem(x, 409, "settled", "the group is behind this event already, or it is none of the group's; nothing was skipped");
        break;
    default:
        hub_problem(x, 409, "not_first", "this event is not the first of a partition; only what holds one can be skipped (ficus events lag shows it)");
        break;
    }
}

void hub_groups_skip(struct hub_exchange *x, struct slice body)
{
    command(x, body, skip);
}

/* ---- seek ---- */

void hub_group_seek_answer(struct hub_exchange *x, enum ficus_err err, const char *detail)
{
    const long long after = (long long)x->seek_to;
    if (!hub_exchange_back(x))
        return;
    if (err != FICUS_ERR_OK) {
        hub_problem_err(x, err, detail);
        return;
    }
    buf_printf(&x->out, "{\"after\":%lld}\n", after);
    hub_answer(x, 200, "application/json");
}

/* When the commit that runs is through. x is busy until then. */
static void seek_begin(struct hub_exchange *x, struct hub_group *gr, int64_t offset)
{
    x->seek_to = offset;
    if (x->hub->stopping) {
        hub_group_seek_answer(x, FICUS_ERR_CANCELLED, "the hub is stopping");
    } else if (gr->seeker != NULL) {
        hub_group_seek_answer(x, FICUS_ERR_BUSY, "somebody else moves this group at this moment");
    } else {
        gr->seeker = x;
        hub_group_kick(gr);
    }
}

static void on_offset(void *arg, enum ficus_err err, int64_t offset)
{
    struct hub_exchange *x = arg;
    if (err != FICUS_ERR_OK)
        hub_group_seek_answer(x, err, NULL);
    else if (x->s == NULL)
        (void)hub_exchange_back(x);     /* nobody waits for it any more: he says it again, or not; and the name has gone with the stream */
    else
        seek_begin(x, hub_group_find(x->hub, x->params[0]), offset);
}

static void seek(struct hub_exchange *x, struct hub_group *gr, const struct json *root)
{
    int64_t number = 0, time_ms = 0;
    struct slice to = json_string_or(json_get(root, "to"), SLICE(""));
    bool is_end = slice_eq_str(to, "end");
    x->busy = true;
    if (slice_eq_str(to, "start")) {
        seek_begin(x, gr, 0);
    } else if (slice_to_i64(to, &number) && number >= 1 && number <= elog_last_offset(x->hub->log)) {
        seek_begin(x, gr, number - 1);
    } else if (is_end || time_parse(to, &time_ms)) {
        enum ficus_err err = elog_offset_at(x->hub->log, is_end ? INT64_MAX : time_ms, on_offset, x);
        if (err != FICUS_ERR_OK)
            hub_group_seek_answer(x, err, NULL);
    } else {
        x->busy = false;
        hub_problem(x, 400, "body", "to must be start, end, the number of an event that was published (sequence), or a time such as "
                    "2026-11-21T01:02:03Z");
    }
}

void hub_groups_seek(struct hub_exchange *x, struct slice body)
{
    command(x, body, seek);
}
