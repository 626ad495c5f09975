/* SPDX-License-Identifier: Apache-2.0
 *
 * Times and durations as text. Wall time is int64_t milliseconds since 1970-01-01T00:00:00Z.
 */
#ifndef FICUS_BASE_TIMEFMT_H
#define FICUS_BASE_TIMEFMT_H

#include "slice.h"

enum { TIME_TEXT_SIZE = 25 };   /* "2026-11-21T01:02:03.456Z" and a NUL */

/* RFC 3339, UTC, milliseconds. */
void time_format(int64_t wall_ms, char ret_text[TIME_TEXT_SIZE]);
bool time_parse(struct slice s, int64_t *ret_wall_ms);  /* RFC 3339 with Z or offset, any fraction */

/* "200ms", "3s", "10m", "24h", "7d": a whole number and one unit. False when there is no unit or it is unknown. */
bool duration_parse(struct slice s, int64_t *ret_ms);
/* The shortest exact form of the above. text: at least 24 bytes. */
void duration_format(int64_t ms, char *ret_text, size_t size);

#endif
