/* SPDX-License-Identifier: Apache-2.0
 *
 * schedules: of a service's part.
 */
#include "manifest_private.h"

#include <string.h>

enum { MINUTE_MS = 60000, CLOCK_SIZE = 5 };

/* Minutes since midnight, -1: it is no "HH:MM". */
static int64_t clock_minutes(struct slice text)
{
    uint64_t hours, minutes;
    bool ok = text.size == CLOCK_SIZE && text.p[2] == ':' && slice_to_u64(slice_make(text.p, 2), &hours) &&
              slice_to_u64(slice_make(text.p + 3, 2), &minutes) && hours < 24 && minutes < 60;
    return ok ? (int64_t)(hours * 60 + minutes) : -1;
}

const char *manifest_check_clock(struct slice text)
{
    return clock_minutes(text) >= 0 ? NULL : "a time of day, UTC, in quotes, such as \"02:00\"";
}

int64_t manifest_schedule_phase(const struct manifest_schedule *s)
{
    return s->at == NULL ? 0 : clock_minutes(slice_str(s->at)) * MINUTE_MS % s->every_ms;
}

void manifest_check_schedules(const struct manifest_service *s, struct conf_errors *errors)
{
    for (size_t i = 0; i < s->schedule_count; i++) {
        const struct manifest_schedule *schedule = &s->schedules[i];
        bool own = schedule->topic == NULL || schedule->node == NULL;
        for (size_t k = 0; k < s->publish_count && !own; k++)
            own = s->publishes[k].name != NULL && strcmp(s->publishes[k].name, schedule->topic) == 0;
        if (!own)
            conf_error_value(errors, conf_get(schedule->node, "topic"), "\"%s\" is not published by this service (say it under publishes)",
                             schedule->topic);
    }
}
