/* SPDX-License-Identifier: Apache-2.0
 *
 * Cursors into the log's database, with the dead letter that a cursor passes, in one transaction.
 */
#include "hub_groups.h"

#include "assert.h"
#include "mem.h"

static enum ficus_err write_rows(void *arg, struct db_conn *c, struct ficus_error *reterr)
{
    struct hub_group *gr = arg;
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < gr->row_count && err == FICUS_ERR_OK; i++)
        err = group_store_write(c, gr->config->name, gr->rows[i].partition, &gr->rows[i].cursor, reterr);
    return err;
}

static bool cursor_same(const struct group_cursor *a, const struct group_cursor *b)
{
    return a->settled == b->settled && a->refused == b->refused && a->refused_offset == b->refused_offset;
}

/* ---- the end of one ---- */

static void end_seek(struct hub_group *gr, enum ficus_err err, const char *detail)
{
    struct hub_exchange *x = gr->seeker;
    gr->seeking = false;
    gr->seeker = NULL;
    if (err == FICUS_ERR_OK) {
        group_seek(&gr->g, gr->rows[0].cursor.settled);
        for (size_t i = 0; i < gr->g.partition_count; i++) {
            hub_group_items_free(gr, i);
            gr->reasons[i][0] = '\0';
        }
        gr->lost_told = 0;
        LOG(&gr->hub->process.log, LOG_INFO, NULL, "group.seek", "a consumer was moved", LOG_STR("consumer", gr->config->name),
            LOG_INT("after", gr->rows[0].cursor.settled));
    } else {
        group_go(&gr->g);
    }
    hub_group_seek_answer(x, err, detail);
}

static void end_partition(struct hub_group *gr, size_t partition, enum ficus_err err, const char *detail)
{
    struct hub *h = gr->hub;
    struct hub_exchange *x = gr->settlers[partition];
    gr->settlers[partition] = NULL;
    gr->g.partitions[partition].in_commit = false;
    group_committed(&gr->g, partition, err == FICUS_ERR_OK, env_now_ms(h->env), env_random_u64(h->env));
    hub_group_items_free(gr, partition);
    if (x != NULL)
        hub_group_settle_answer(x, err, detail);
}

static void on_committed(void *arg, enum ficus_err err, int64_t last_offset, const char *detail)
{
    struct hub_group *gr = arg;
    struct hub_groups *groups = gr->hub->groups;
    gr->committing = false;
    if (err != FICUS_ERR_OK)
        LOG(&gr->hub->process.log, LOG_ERROR, NULL, "group.commit", "what a consumer has done could not be stored; it comes again",
            LOG_STR("consumer", gr->config->name), LOG_STR("error", detail != NULL && detail[0] != '\0' ? detail : err_text(err)));
    for (size_t i = 0; i < gr->row_count && err == FICUS_ERR_OK; i++)
        gr->written[gr->rows[i].partition] = gr->rows[i].cursor;
    if (gr->seeking)
        end_seek(gr, err, detail);
    for (size_t i = 0; i < gr->g.partition_count; i++) {
        if (!gr->g.partitions[i].in_commit)
            continue;
        if (gr->g.partitions[i].is_dead && gr->settlers[i] != NULL)
            gr->settlers[i]->letter = last_offset;      /* there is one in a commit, and nothing beside it */
        end_partition(gr, i, err, detail);
    }
    hub_flows_group_moved(gr);
    if (groups->cut_off)
        hub_groups_closed_if_idle(groups);
    else
        hub_group_kick(gr);
}

/* ---- the beginning ---- */

static void begin(struct hub_group *gr, const struct event *dead)
{
    const struct elog_rider rider = {write_rows, gr};
    gr->committing = true;
    enum ficus_err err = elog_append_with(gr->hub->log, dead, dead != NULL ? 1 : 0, &rider, on_committed, gr);
    if (err != FICUS_ERR_OK)
        on_committed(gr, err, 0, NULL);
}

static void begin_seek(struct hub_group *gr)
{
    gr->seeking = true;
    group_hold(&gr->g);
    hub_deliver_cancel(gr);
    hub_group_read_cancel(gr);
    gr->row_count = gr->g.partition_count;
    for (size_t i = 0; i < gr->row_count; i++)
        gr->rows[i] = (struct hub_group_row){i, {.settled = gr->seeker->seek_to}};
    begin(gr, NULL);
}

static enum ficus_err make_letter(struct hub_group *gr, struct arena *a, size_t partition, struct event *ret_dead, struct ficus_error *reterr)
{
    const struct group_partition *p = &gr->g.partitions[partition];
    LIST_FOREACH(&p->items, it) {
        const struct hub_item *item = CONTAINER_OF(it, struct hub_item, item.link);
        if (item->item.offset == p->dead_offset)
            return event_dead_letter(gr->hub->env, a, &item->ev, gr->config->name, gr->reasons[partition], p->dead_attempts, ret_dead, reterr);
    }
    FICUS_ASSERT(false);
    return FICUS_ERR_INTERNAL;
}

/* The partitions that settle, and whatever else has moved since it was written. Of dead letters there is one at a time. */
static void begin_settled(struct hub_group *gr)
{
    struct arena a;
    struct event dead;
    struct ficus_error error = {0};
    bool any = false, has_dead = false;
    arena_init(&a, 4 * EVENT_SIZE_MAX);
    gr->row_count = 0;
    for (size_t i = 0; i < gr->g.partition_count; i++) {
        struct group_partition *p = &gr->g.partitions[i];
        if (p->state == GROUP_SETTLING && p->is_dead) {
            if (has_dead)
                continue;
            has_dead = make_letter(gr, &a, i, &dead, &error) == FICUS_ERR_OK;
            if (!has_dead) {
                end_partition(gr, i, error.code, error.text);   /* comes again, and again here */
                continue;
            }
        }
        p->in_commit = p->state == GROUP_SETTLING;
        any |= p->in_commit;
        struct group_cursor c = group_cursor_of(&gr->g, i);
        if (p->in_commit || !cursor_same(&c, &gr->written[i]))
            gr->rows[gr->row_count++] = (struct hub_group_row){i, c};
    }
    if (any)
        begin(gr, has_dead ? &dead : NULL);
    arena_done(&a);
}

void hub_commit_start(struct hub_group *gr)
{
    bool settles = false;
    if (gr->committing || gr->hub->groups->cut_off)
        return;
    for (size_t i = 0; i < gr->g.partition_count; i++)
        settles |= gr->g.partitions[i].state == GROUP_SETTLING;
    if (settles)
        begin_settled(gr);
    else if (gr->seeker != NULL && !gr->hub->groups->stopping)
        begin_seek(gr);
}
