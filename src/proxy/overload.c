/* SPDX-License-Identifier: Apache-2.0
 *
 * See overload.h.
 */
#include "overload.h"

static bool lags(struct overload *o, const struct proxy_overload *limits, const struct overload_look *look)
{
    if (limits->lag_ms == 0 || look->lag_ms <= limits->lag_ms)
        o->late_count = 0;
    else if (o->late_count < OVERLOAD_LATE_MAX)
        o->late_count++;
    return o->late_count == OVERLOAD_LATE_MAX;
}

enum overload_why overload_note(struct overload *o, const struct proxy_overload *limits, const struct overload_look *look)
{
    size_t memory_max = (size_t)limits->memory_max, files_free = OVERLOAD_FILES_FREE;
    if (o->why == OVERLOAD_MEMORY)
        memory_max -= memory_max / 16;
    if (o->why == OVERLOAD_FILES)
        files_free += files_free / 2;
    bool late = lags(o, limits, look);
    if (memory_max > 0 && look->memory_size >= memory_max)
        o->why = OVERLOAD_MEMORY;
    else if (look->files_free < files_free)
        o->why = OVERLOAD_FILES;
    else
        o->why = late ? OVERLOAD_LAG : OVERLOAD_NONE;
    return o->why;
}

const char *overload_word(enum overload_why why)
{
    static const char *const words[] = {"none", "lag", "memory", "descriptors"};
    return words[why];
}
