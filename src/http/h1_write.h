/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing HTTP/1.1 heads into memory that the caller provides. Pure.
 */
#ifndef FICUS_HTTP_H1_WRITE_H
#define FICUS_HTTP_H1_WRITE_H

#include "h1_parse.h"

enum { HTTP_DATE_SIZE = 30 }; /* "Sun, 06 Nov 1994 08:49:37 GMT" and a NUL */

/* IMF-fixdate, RFC 9110 5.6.7. wall_ms: 1970 to 9999. */
void http_date_format(int64_t wall_ms, char ret_text[HTTP_DATE_SIZE]);

struct h1_write {
    const struct http_msg *m;
    enum h1_framing framing; /* what to say about the body... */
    int64_t
        content_length; /* ...and with NONE: -1 says nothing, >= 0 writes Content-Length (also without a body: HEAD) */
    bool close;         /* Connection: close */
    struct slice upgrade; /* the protocol that is asked for, or switched to; p NULL: none */
    const char *date;   /* response: Date field when m has none, as http_date_format made it; NULL: none */
    const char *server; /* response: Server field when m has none; NULL: none */
};

/* Method, target and authority are what RFC 9112 2.2 and 3.2 allow, so that no character of theirs ends a line. */
bool h1_request_valid(const struct http_msg *m);
/* What the head takes at most, or 0 when it cannot be written (RFC 9112): bad method, path, status or authority. */
size_t h1_request_size_max(const struct h1_write *w);
size_t h1_response_size_max(const struct h1_write *w);
/* To p, where there is room for that much; returns the size that it has. */
size_t h1_request_write(const struct h1_write *w, char *p);
size_t h1_response_write(const struct h1_write *w, char *p);

#endif
