/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading what was a log of the first format: each event is the one that was kept at its offset, once. Header only; included behind
 * cmocka.h.
 */
#ifndef FICUS_ELOG_OLD_READ_H
#define FICUS_ELOG_OLD_READ_H

#include "elog_crash.h"
#include "elog_old.h"

enum { ELOG_OLD_EVENTS = 520 };

struct elog_old_found {
    struct elog_place at;
    bool seen[ELOG_OLD_EVENTS + 1];
    size_t count;
};

static inline void elog_old_on_read(void *arg, enum ficus_err err, const struct event *events, size_t count, int64_t next)
{
    struct elog_old_found *f = arg;
    f->at.err = err;
    f->at.next = next;
    f->count += count;
    for (size_t i = 0; i < count; i++) {
        assert_in_range(events[i].offset, 1, ELOG_OLD_EVENTS);
        assert_true(elog_old_is(&events[i], (int)events[i].offset));
        assert_false(f->seen[events[i].offset]);
        f->seen[events[i].offset] = true;
    }
}

static inline bool elog_old_read_all(struct crash_env *ce, struct elog *log, struct elog_old_found *f)
{
    return elog_read_all(ce, log, "a,b,kept", &f->at, elog_old_on_read, f);
}

#endif
