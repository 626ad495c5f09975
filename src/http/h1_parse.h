/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading HTTP/1.1 (RFC 9112): where a head ends, what it says, what bytes of the body mean. Pure: no I/O, no clock;
 * the only memory is the message's arena. Feeding the bytes in any pieces gives the same result, because nothing is
 * judged before its line, or for heads the whole head, is there.
 */
#ifndef FICUS_HTTP_H1_PARSE_H
#define FICUS_HTTP_H1_PARSE_H

#include "http_msg.h"

/* Where the search for the end of a head stands. Zero-initialise for each head. */
struct h1_scan {
    size_t at; /* bytes before this were looked at */
};

/* Size of the head that begins at p, its empty line included; 0: not complete yet. p may have moved between calls, its
 * bytes not changed. A bare LF ends a line here, so that the parser gets to see and refuse it. */
size_t h1_head_end(const char *p, size_t size, struct h1_scan *scan);

/* How the end of a body is known (RFC 9112 6.3). */
enum h1_framing { H1_BODY_NONE, H1_BODY_LENGTH, H1_BODY_CHUNKED, H1_BODY_UNTIL_CLOSE };

struct h1_head {
    int minor;            /* HTTP/1.minor */
    bool keep_alive;      /* the sender lets the connection go on after this message */
    bool expect_continue; /* RFC 9110 10.1.1 */
    enum h1_framing framing;
};

struct h1_parse_limits {
    size_t field_count_max;
    size_t target_size_max;
};

/* head must outlive m: slices point into it; m must be fresh from http_msg_init. Returns 0, or the status to refuse
 * with (400, 414, 417, 431, 501, 503, 505) and its fixed reason; then m and ret_head are undefined. */
int h1_parse_request(struct slice head, const struct h1_parse_limits *limits, struct http_msg *m,
                     struct h1_head *ret_head, const char **reterr_detail);

/* request_method decides whether a body can follow. PROTOCOL, TOO_LARGE (fields) or NOMEM with the reason. */
enum ficus_err h1_parse_response(struct slice head, const struct h1_parse_limits *limits, bool answers_head,
                                 struct http_msg *m, struct h1_head *ret_head, const char **reterr_detail);

/* RFC 3986 3.2 without userinfo: host or IP literal, optional port. */
bool h1_authority_valid(struct slice s);

/* A target in origin-form (RFC 9112 3.2.1): fills m->path and m->query, which point into it. */
bool h1_target_parse(struct slice target, struct http_msg *m);

/* RFC 9110 6.5.1: whether a field may stand behind a body: nothing that frames, routes, authenticates or says how to read
 * the content. */
bool h1_trailer_allowed(struct slice name);
/* The text of a trailer section, each line with its CR LF, as h1_body kept it: adds those that are allowed to m. text must
 * outlive m. PROTOCOL: malformed, or more than field_count_max; NOMEM. */
enum ficus_err h1_parse_trailers(struct slice text, size_t field_count_max, struct http_msg *m,
                                 const char **reterr_detail);

enum {
    H1_CHUNK_EXT_SIZE_MAX = 256, /* of one chunk; extensions are skipped */
    H1_CHUNK_EXT_TOTAL_MAX =
        16 * 1024, /* of one message: else many small chunks with long extensions cost more than they carry */
    H1_TRAILER_SIZE_MAX = 8 * 1024,
};

/* The incoming body. Private to h1_body.c but for done and trailers. */
struct h1_body {
    enum h1_framing framing;
    bool done;     /* nothing more belongs to this message */
    uint64_t left; /* of the length or of the present chunk */
    int state;
    unsigned digits;
    size_t ext_size, ext_total, trailer_size;
    struct arena *arena;    /* where trailers are kept; NULL: they are only checked */
    char *trailers;         /* trailer_size bytes, but for the last two; NULL: there are none */
};

/* trailers: arena for trailers, as long-lived as b; NULL: they are checked and dropped. */
void h1_body_init(struct h1_body *b, enum h1_framing framing, int64_t content_length, struct arena *trailers);
/* Of a body that is done: its trailer section without the empty line; size 0: there was none. */
struct slice h1_body_trailers(const struct h1_body *b);

/* Decode in place: takes *ret_used bytes from the front of p (all, unless the body ends before) and leaves *ret_data
 * body bytes at the front of p, *ret_data <= *ret_used. False: malformed; the reason is fixed text. The end of input
 * ends only H1_BODY_UNTIL_CLOSE; that is the caller's to say (done = true). */
bool h1_body_decode(struct h1_body *b, char *p, size_t size, size_t *ret_used, size_t *ret_data,
                    const char **reterr_detail);

#endif
