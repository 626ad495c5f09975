/* SPDX-License-Identifier: Apache-2.0
 *
 * What the fuzzers of HTTP connections have in common: the network in memory, bytes for the other end, bodies that are sent
 * as far as they are taken, fields that must be valid.
 */
#ifndef FICUS_FUZZ_HTTP_H
#define FICUS_FUZZ_HTTP_H

#include "../tests/unit/http/fake_net.h"
#include "http_stream.h"

/* Whatever came: what a user is told is as the model says. */
static inline void fuzz_fields_check(const struct http_field *fields, size_t field_count)
{
    for (size_t i = 0; i < field_count; i++)
        FICUS_ASSERT(http_token_valid(fields[i].name) && http_value_valid(fields[i].value));
}

/* Send the *left last bytes of a body, as many as are taken now. */
static inline void fuzz_pour(struct http_stream *s, size_t *left)
{
    static const char page[5000];
    while (*left > 0) {
        size_t size = *left < sizeof page ? *left : sizeof page, taken = http_send(s, page, size, size == *left);
        *left -= taken;
        if (taken < size)
            return;
    }
}

/* Give bytes to the other end of s, while it is there; what it says is thrown away. */
static inline void fuzz_feed(struct fake_net *net, struct env_stream *s, const void *bytes, size_t size)
{
    for (const char *p = bytes; size > 0 && s->peer != NULL;) {
        size_t n = fake_push(s, p, size);
        p += n;
        size -= n;
        fake_run(net);
        s->rx_size = 0;
    }
}

#endif
