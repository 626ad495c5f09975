/* SPDX-License-Identifier: Apache-2.0
 *
 * The event log of this process as a bus for the saga engine, without a detour over HTTP.
 */
#include "hub_private.h"

#include "mem.h"

struct hub_bus {
    struct bus bus;
    struct elog *log;
    struct elog_reader *reader; /* NULL: none is needed yet, or the last was cancelled */
    void (*pulled)(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next);
    void *pulled_arg;
};

static enum ficus_err bus_publish(struct bus *b, struct slice batch,
                                  void (*done)(void *arg, enum ficus_err err, const char *detail), void *arg)
{
    (void)b;
    (void)batch;
    (void)done;
    (void)arg;
    return FICUS_ERR_UNSUPPORTED;
}

static void on_read(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct hub_bus *hb = arg;
    hb->bus.cut_count = elog_read_cuts(hb->reader, &hb->bus.cuts);
    hb->pulled(hb->pulled_arg, err, events, count, next); /* hb may be gone from here */
}

static enum ficus_err
bus_pull(struct bus *b, const char *topics, int64_t offset, size_t count_max, int64_t wait_ms,
         void (*done)(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next), void *arg)
{
    struct hub_bus *hb = CONTAINER_OF(b, struct hub_bus, bus);
    if (hb->reader == NULL) {
        enum ficus_err err = elog_reader_new(hb->log, &hb->reader);
        if (err != FICUS_ERR_OK)
            return err;
    }
    hb->pulled = done;
    hb->pulled_arg = arg;
    return elog_read(hb->reader, topics, offset, count_max, wait_ms, on_read, hb);
}

static void bus_cancel_pull(struct bus *b)
{
    struct hub_bus *hb = CONTAINER_OF(b, struct hub_bus, bus);
    if (hb->reader != NULL)
        elog_reader_free(hb->reader);
    hb->reader = NULL;
}

static const struct bus_ops hub_bus_ops = {bus_publish, bus_pull, bus_cancel_pull};

enum ficus_err hub_bus_new(struct elog *l, struct bus **ret_bus)
{
    struct hub_bus *hb = mem_zalloc(sizeof *hb);
    if (hb == NULL)
        return FICUS_ERR_NOMEM;
    hb->bus.ops = &hub_bus_ops;
    hb->log = l;
    *ret_bus = &hb->bus;
    return FICUS_ERR_OK;
}

void hub_bus_free(struct bus *b)
{
    if (b == NULL)
        return;
    bus_cancel_pull(b);
    mem_free(CONTAINER_OF(b, struct hub_bus, bus));
}
