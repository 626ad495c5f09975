/* SPDX-License-Identifier: Apache-2.0
 *
 * The logs of all processes of a system as one stream in the order of time. Needs only the log folder: works when
 * everything is dead.
 */
#ifndef FICUS_SYSTEM_LOGS_H
#define FICUS_SYSTEM_LOGS_H

#include "err.h"
#include "json.h"
#include "logline.h"

enum { LOGS_FILES_MAX = 512, LOGS_LAST_MAX = 100000 };

struct logs_query {
    const char *folder;
    const char *const *services; /* names of processes ("orders", "gateway", "supervisor"); none: all */
    size_t service_count;
    const char *trace;        /* only lines of this trace or correlation id; NULL: all */
    enum log_level level_min; /* lines that are no JSON (a crash's last words) are shown whatever the level */
    bool json;                /* lines as written (what is no JSON is wrapped); else for people */
    bool colour;
    size_t last_max; /* only the last so many, at most LOGS_LAST_MAX; 0: all */
    bool follow;     /* then go on with lines as they are written, also of processes that come later, until out says false */
};

/* Call out for each line, newline included; false from out ends it. Errors: of the folder; INVALID: a service that
 * has no log. Blocks. When following, lines of several processes are in the order of time within what came since the
 * last look, 200 ms before. */
enum ficus_err logs_read(const struct logs_query *q, bool (*out)(void *arg, struct slice line), void *arg,
                         struct ficus_error *reterr);

/* One line for people. Pure. v: the parsed line; raw: when it is no JSON (v NULL). name: of the process. */
void logs_format(const struct json *v, struct slice raw, const char *name, bool colour, struct buf *out);

#endif
