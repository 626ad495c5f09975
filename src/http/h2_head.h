/* SPDX-License-Identifier: Apache-2.0
 *
 * From the field section of an HTTP/2 request or answer (RFC 9113 8.3) to a message, field by field, as strict as the codec of
 * HTTP/1.1. nghttp2 has checked the order and number of pseudo-header fields, names, connection-specific fields and the
 * sum of DATA before; what is here is the rest. Pure: the only memory is the message's arena.
 */
#ifndef FICUS_HTTP_H2_HEAD_H
#define FICUS_HTTP_H2_HEAD_H

#include "http_server.h"

struct h2_head {
    /* 0: fine so far. 400: malformed, the stream is reset (RFC 9113 8.1.1). Others (414, 417, 431, 501, 503): well-formed,
     * but not acceptable, and answered. The first one stays. */
    int status;
    const char *detail; /* fixed text, when status is not 0 */
    bool expect_continue;
    /* private below */
    size_t size, count, cookie_count;
    struct slice host;
    bool has_host, has_length;
};

/* One field, pseudo or not; name and value are copied into m's arena. m is fresh from http_msg_init at first. */
void h2_head_field(struct h2_head *h, const struct http_limits *limits, struct http_msg *m, struct slice name,
                   struct slice value);
/* The section is complete. end: no body follows. scheme: what the transport is. */
void h2_head_end(struct h2_head *h, struct http_msg *m, bool end, struct slice scheme);

/* The same for an answer: malformed is 400 here, too, over a limit 431, out of memory 503. */
void h2_answer_field(struct h2_head *h, const struct http_limits *limits, struct http_msg *m, struct slice name,
                     struct slice value);
/* end: no body follows. answers_head: the request was HEAD. */
void h2_answer_end(struct h2_head *h, struct http_msg *m, bool end, bool answers_head);

/* One trailer field. One that may not stand there (RFC 9110 6.5.1) is left out; h->status as above. */
void h2_trailer_field(struct h2_head *h, const struct http_limits *limits, struct http_msg *m, struct slice name,
                      struct slice value);

#endif
