/* SPDX-License-Identifier: Apache-2.0
 *
 * The invoice file: comma-separated values by RFC 4180, packed by gzip when the name ends in ".gz".
 */
#ifndef REPLAY_CSV_H
#define REPLAY_CSV_H

#include "util.h"

enum { CSV_FIELDS = 8 };

struct csv_line {
    size_t number;                                            /* of the record, the heading is 1 */
    char *invoice, *sku, *name, *quantity, *price, *customer; /* valid UTF-8; "" when absent */
    bool whole;                                               /* it had all fields */
};

/* All records behind the heading; ends the process with a message when the file cannot be read. */
struct csv_line *csv_read(const char *path, size_t *ret_count);
void csv_free(struct csv_line *lines, size_t count);

#endif
