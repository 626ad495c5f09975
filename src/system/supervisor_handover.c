/* SPDX-License-Identifier: Apache-2.0
 *
 * A supervisor's state, out of one program and into the next (handover.h).
 */
#include "supervisor_private.h"

#include "mem.h"

#include <fcntl.h>
#include <stdio.h>

/* What is under way is bounded by seconds, so it is waited for instead of handed over. */
static bool is_moving(const struct supervised *p)
{
    return p->next.pid > 0 || p->leaving.pid > 0 || p->reloading || p->gate >= 0 || p->unit.state == UNIT_REPLACING ||
           p->unit.state == UNIT_RESTARTING || p->unit.state == UNIT_STOPPING;
}

enum ficus_err supervisor_hand_over(struct supervisor *s, struct arena *a, struct handover *ret_handover, struct ficus_error *reterr)
{
    struct handover_process *list = ARENA_ARRAY(a, struct handover_process, s->count + 1);
    if (list == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < s->count; i++) {
        struct supervised *p = &s->processes[i];
        if (is_moving(p))
            return err_set(reterr, FICUS_ERR_BUSY, "%s is being %s; again when it is through, nothing has changed", p->process->name,
                           p->reloading ? "reloaded" : p->unit.state == UNIT_STOPPING ? "stopped" : "restarted");
        list[i] = (struct handover_process){.name = p->process->name,
                                            .instance = p->record.instance,
                                            .listen_count = p->process->listen_count,
                                            .unit = p->unit,
                                            .pid = p->record.pid,
                                            .start_ticks = p->record.start_ticks,
                                            .started_at_ms = p->record.started_at_ms,
                                            .was_ready = p->was_ready,
                                            .message_is_end = p->message_is_end,
                                            .message = p->message};
        list[i].unit.ready_since_ms = env_now_ms(s->env) - p->unit.ready_since_ms;
        for (size_t j = 0; j < p->process->listen_count; j++) {
            list[i].listen[j] = p->process->listen[j];
            list[i].sockets[j] = p->sockets[j];
        }
    }
    *ret_handover = (struct handover){.from = s->o.version == NULL ? "?" : s->o.version,
                                      .lock_fd = s->o.lock_fd,
                                      .notify_fd = s->notify_fd,
                                      .api_fd = s->api_fd,
                                      .previous = -1,
                                      .told_healthy = s->told_healthy,
                                      .processes = list,
                                      .count = s->count};
    return FICUS_ERR_OK;
}

void supervisor_take_over(struct supervisor *s, const struct handover *h)
{
    s->notify_fd = h->notify_fd;
    s->api_fd = h->api_fd;
    s->told_healthy = h->told_healthy;
    for (size_t i = 0; i < s->count && i < h->count; i++) {
        struct supervised *p = &s->processes[i];
        const struct handover_process *from = &h->processes[i];
        p->unit = from->unit;
        p->unit.ready_since_ms = env_now_ms(s->env) - from->unit.ready_since_ms;
        p->record.pid = from->pid;
        p->record.start_ticks = from->start_ticks;
        p->record.started_at_ms = from->started_at_ms;
        p->record.restarts = from->unit.restarts;
        p->was_ready = from->was_ready;
        p->message_is_end = from->message_is_end;
        p->changed = from->pid > 0; /* it still runs the program of before */
        (void)snprintf(p->message, sizeof p->message, "%s", from->message);
        for (size_t j = 0; j < from->listen_count; j++)
            p->sockets[j] = from->sockets[j];
    }
}
