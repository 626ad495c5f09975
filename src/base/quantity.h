/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole numbers with a unit, "500ms" or "2GiB": the one way that durations and sizes are read and written.
 */
#ifndef FICUS_BASE_QUANTITY_H
#define FICUS_BASE_QUANTITY_H

#include "slice.h"

struct quantity_unit {
    const char *name;
    int64_t worth; /* in the smallest unit, which is worth 1 */
};

/* Reads digits followed by the name of one of the units, nothing between them and nothing behind. *ret_value is in the
 * smallest unit. False when s is anything else, or more than INT64_MAX. */
bool quantity_parse(struct slice s, const struct quantity_unit *units, size_t count, int64_t *ret_value);

/* Writes value, at least 0, in the largest unit that divides it, as text that quantity_parse reads back. The units stand
 * from the largest to the smallest. Cut off at size, NUL included. */
void quantity_format(int64_t value, const struct quantity_unit *units, size_t count, char *ret_text, size_t size);

#endif
