/* SPDX-License-Identifier: Apache-2.0
 *
 * What the sweeps of crashes of the event log share: opening it again, reading all of it, closing it. Header only; included behind
 * cmocka.h.
 */
#ifndef FICUS_ELOG_CRASH_H
#define FICUS_ELOG_CRASH_H

#include "crash_env.h"
#include "elog.h"

#define ELOG_CRASH_PATH "data/log.db"

static inline enum ficus_err elog_crash_open(struct crash_env *ce, struct elog **ret_log, struct ficus_error *reterr)
{
    return elog_open(crash_env(ce), &(struct elog_options){.path = ELOG_CRASH_PATH}, ret_log, reterr);
}

/* Of the opening after the crash. False: the disk died again. */
static inline bool elog_crash_opened(enum ficus_err err, const struct ficus_error *e)
{
    if (err != FICUS_ERR_OK && err != FICUS_ERR_IO)
        fail_msg("open after the crash: %s", e->text);
    return err == FICUS_ERR_OK;
}

static inline void elog_crash_close(struct crash_env *ce, struct elog *log)
{
    elog_close(log, NULL, NULL);
    crash_env_run_ms(ce, 100);
}

/* How far a reading has come: whoever is told of events writes err and next. */
struct elog_place {
    struct elog_reader *reader;
    enum ficus_err err;
    int64_t next;
};

/* Tells on_read(arg) of all events of the topics behind at->next. False: reading failed, at->err says why. */
static inline bool elog_read_all(struct crash_env *ce, struct elog *log, const char *topics, struct elog_place *at,
                                 void (*on_read)(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next), void *arg)
{
    assert_int_equal(elog_reader_new(log, &at->reader), FICUS_ERR_OK);
    do {
        assert_int_equal(elog_read(at->reader, topics, at->next, 0, 0, on_read, arg), FICUS_ERR_OK);
        crash_env_run(ce);
    } while (at->err == FICUS_ERR_OK && at->next < elog_last_offset(log));
    elog_reader_free(at->reader);
    at->reader = NULL;
    return at->err == FICUS_ERR_OK;
}

/* Of what is published again after the crash: told to the log, or to the dead disk. */
static inline void elog_crash_republished(void *arg, enum ficus_err err, int64_t last_offset, const char *detail)
{
    (void)arg, (void)last_offset, (void)detail;
    assert_true(err == FICUS_ERR_OK || err == FICUS_ERR_IO);
}

#endif
