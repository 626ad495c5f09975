/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether the gateway itself has more to do than it can: its loop lags, its memory or its descriptors come to an end. Pure;
 * filter_overload.c looks and refuses.
 */
#ifndef FICUS_PROXY_OVERLOAD_H
#define FICUS_PROXY_OVERLOAD_H

#include "proxy_config.h"

enum {
    OVERLOAD_LATE_MAX = 3,     /* so many looks in a row find the loop late: one may be an accident */
    OVERLOAD_FILES_FREE = 64,  /* descriptors that are kept for what is under way */
};

enum overload_why { OVERLOAD_NONE, OVERLOAD_LAG, OVERLOAD_MEMORY, OVERLOAD_FILES };

/* What one look found. */
struct overload_look {
    int64_t lag_ms;     /* how late the loop came to it */
    size_t memory_size; /* resident bytes of the process; 0: not known */
    size_t files_free;  /* descriptors that may still be opened; SIZE_MAX: not known */
};

/* Zero-initialise. */
struct overload {
    enum overload_why why; /* what holds now */
    /* private below */
    unsigned late_count; /* looks in a row */
};

/* What holds after this look. Lag ends with the first look in time; memory and descriptors when a sixteenth of the ceiling, and half
 * as many descriptors again, are free, so that it does not come and go with each request. */
enum overload_why overload_note(struct overload *o, const struct proxy_overload *limits, const struct overload_look *look);
const char *overload_word(enum overload_why why); /* "none", "lag", "memory", "descriptors" */

#endif
