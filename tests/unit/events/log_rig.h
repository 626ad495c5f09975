/* SPDX-License-Identifier: Apache-2.0
 *
 * A test's event log on a simulated disk, and what an append came to. Header only; included behind cmocka.h.
 */
#ifndef FICUS_TESTS_LOG_RIG_H
#define FICUS_TESTS_LOG_RIG_H

#include "crash_env.h"
#include "elog.h"

#define LOG_RIG_PATH "log.db"

static struct sim_disk *disk;
static struct crash_env *ce;
static struct elog *elog;   /* NULL: closed */

static inline void log_rig_open(struct elog_options o)
{
    struct ficus_error e = {0};
    o.path = LOG_RIG_PATH;
    if (elog_open(crash_env(ce), &o, &elog, &e) != FICUS_ERR_OK)
        fail_msg("%s", e.text);
}

static inline void log_rig_closed(void *arg)
{
    *(bool *)arg = true;
}

static inline void log_rig_close(void)
{
    bool closed = false;
    elog_close(elog, log_rig_closed, &closed);
    elog = NULL;
    crash_env_run_ms(ce, 100);
    assert_true(closed);
}

static inline void log_rig_init(struct elog_options o)
{
    disk = sim_disk_new();
    ce = crash_env_new(disk, 5);
    log_rig_open(o);
}

static inline void log_rig_done(void)
{
    if (elog != NULL)
        log_rig_close();
    crash_env_free(ce);
    sim_disk_free(disk);
}

struct appended {
    int calls;
    enum ficus_err err;
    int64_t last;
};

static inline void on_append(void *arg, enum ficus_err err, int64_t last_offset, const char *detail)
{
    struct appended *a = arg;
    assert_non_null(detail);
    a->calls++;
    a->err = err;
    a->last = last_offset;
}

#endif
