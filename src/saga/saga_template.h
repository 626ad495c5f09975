/* SPDX-License-Identifier: Apache-2.0
 *
 * The templates of a saga's requests: {id} the instance's id, {input.a.b} a value of the start event's data,
 * {signals.NAME.a.b} one of a signal's data, {reason} the failure code (undo only). In a path a value becomes one percent-encoded segment; a JSON string that is nothing
 * but one template takes the value as it is. Pure.
 */
#ifndef FICUS_SAGA_TEMPLATE_H
#define FICUS_SAGA_TEMPLATE_H

#include "buf.h"
#include "json.h"

struct saga_signal_data {
    const char *name;
    const struct json *data; /* NULL: it did not come, or without data */
};

struct saga_vars {
    struct slice id;
    const struct json *input; /* NULL: the event had no data */
    struct slice reason;      /* SLICE_NONE: none */
    const struct saga_signal_data *signals;
    size_t signal_count;
};

enum { SAGA_ID_SIZE_MAX = 128 }; /* of an instance's id: part of Idempotency-Key */

/* Ids of new instances: NULL, or what is allowed instead. An id becomes one segment of a path: what cannot be one would leave
 * an instance with calls, and undos, that can never be made. */
const char *saga_id_check(struct slice id);

/* NULL when every template in text is known, else what is allowed. */
const char *saga_template_check(struct slice text, bool reason_allowed);

/* The name of the next {signals.NAME...} in *text, which is moved behind it; false: there is none. */
bool saga_template_signal(struct slice *text, struct slice *ret_name);

/* Append the filled path. INVALID names a value that is absent, empty, or neither string nor number; TOO_LARGE; NOMEM: may go
 * another time. */
enum ficus_err saga_template_path(const char *path, const struct saga_vars *vars, struct buf *out,
                                  struct ficus_error *reterr);
/* Append the filled JSON text. An absent value is null where it stands alone; inside a longer string it is INVALID. */
enum ficus_err saga_template_body(const char *body, const struct saga_vars *vars, struct arena *a, struct buf *out,
                                  struct ficus_error *reterr);

#endif
