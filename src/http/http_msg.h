/* SPDX-License-Identifier: Apache-2.0
 *
 * The message of RFC 9110: what HTTP/1.1, HTTP/2 and gRPC have in common. A head lives in an arena with a ceiling; body
 * bytes never do (see http_stream.h).
 */
#ifndef FICUS_HTTP_MSG_H
#define FICUS_HTTP_MSG_H

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "http_name.h"

struct http_field {
    struct slice name;  /* as received; compare without case */
    struct slice value; /* no blanks around it */
    enum http_name id;  /* of name, or UNREAD: then it is looked up where it matters */
    bool whole;         /* it stands in memory as a line: name ": " value CR LF, so that HTTP/1.1 can copy it in one piece */
};

/* The field of a line that stands at p: name ": " value CR LF. */
static inline struct http_field http_line(enum http_name id, const char *p, size_t name_size, size_t value_size)
{
    return (struct http_field){{p, name_size}, {p + name_size + 2, value_size}, id, true};
}
/* The same of two literals. */
#define HTTP_LINE(id, name, value) http_line((id), name ": " value "\r\n", sizeof(name) - 1, sizeof(value) - 1)

static inline enum http_name http_field_id(const struct http_field *f)
{
    return f->id != HTTP_UNREAD ? f->id : http_name_of(f->name);
}

/* Request or response head. All slices are borrowed from the arena or from literals. */
struct http_msg {
    struct arena *arena;
    struct slice method;    /* request */
    struct slice scheme;    /* "http" or "https" */
    struct slice authority; /* Host or :authority; p NULL when absent (HTTP/1.0) */
    struct slice path;      /* raw, percent-encoding kept, begins with '/', or "*" */
    struct slice query;     /* without '?'; p NULL when there is none */
    /* request: what the client wants the connection (HTTP/1.1, RFC 9110 7.8) or stream (HTTP/2, RFC 8441) to become, e.g.
     * "websocket"; p NULL: nothing. The method is GET then, whatever the wire said. When the answer is 101 the exchange is a
     * tunnel: both bodies are its bytes, each ends by itself. On HTTP/1.1 such a request ends with its head, and what comes
     * behind it is the tunnel's only once the answer is 101. An answer of 101 has here what it switches to. */
    struct slice protocol;
    bool judged;            /* request, when it is written: method, target and authority are known to be valid (h1_request_valid) */
    bool takes_trailers;    /* request: trailers may come behind the answer (TE: trailers, RFC 9110 10.1.4) */
    int status;             /* response: 100..599; 101 only to a request with protocol (HTTP/2 sends it as 200) */
    int64_t
        content_length; /* body size when known, else -1; 0 for none. The codec writes and reads the field itself. */
    struct http_field
        *fields; /* in order; without Host, Content-Length, Transfer-Encoding, Connection and other hop-by-hop fields */
    size_t field_count, field_capacity;
    uint64_t absent;        /* a bit for each of the first 64 names (1 << id) that a parser has not seen; 0: nothing is known */
};

static inline uint64_t http_name_bit(enum http_name id)
{
    return id < 64 ? UINT64_C(1) << id : 0;
}

void http_msg_init(struct http_msg *m, struct arena *a); /* content_length 0, scheme "http" */
/* Add, set (replace all of that name) or remove. name and value must outlive the message (arena or literal). False:
 * arena full, or a name or value that RFC 9110 5.1/5.5 forbids (CR, LF, NUL...). */
bool http_msg_add(struct http_msg *m, struct slice name, struct slice value);
bool http_msg_set(struct http_msg *m, struct slice name, struct slice value);
/* Add a field that is valid already, because a parser or http_msg_add has judged it. False: arena full. */
bool http_msg_grow(struct http_msg *m); /* behind http_msg_keep */
static inline bool http_msg_keep(struct http_msg *m, struct http_field field)
{
    if (m->field_count == m->field_capacity && !http_msg_grow(m))
        return false;
    field.id = http_field_id(&field);
    m->absent &= ~http_name_bit(field.id);
    m->fields[m->field_count++] = field;
    return true;
}
void http_msg_remove(struct http_msg *m, struct slice name);
/* First value of that name, SLICE_NONE when absent. */
struct slice http_msg_find(const struct http_msg *m, struct slice name);
static inline struct slice http_msg_get(const struct http_msg *m, const char *name)
{
    return http_msg_find(m, slice_str(name));
}
/* The same by the name's number. */
struct slice http_msg_first(const struct http_msg *m, enum http_name id);
/* The value of the only field of that name: SLICE_NONE when there is none, and when there are several, since two readers
 * might take different ones. */
struct slice http_msg_single(const struct http_msg *m, enum http_name id);
size_t http_msg_count(const struct http_msg *m, const char *name);
/* Whether Content-Type says this media type, with any parameters (RFC 9110 8.3.1). */
bool http_msg_is_type(const struct http_msg *m, const char *media);
/* Iterate over all values of a name: *pos = 0 first. */
bool http_msg_next(const struct http_msg *m, const char *name, size_t *pos, struct slice *ret_value);

bool http_method_idempotent(struct slice method); /* RFC 9110 9.2.2 */
bool http_method_wants_length(struct slice method); /* says Content-Length: 0 when it has no body (RFC 9110 8.6) */
const char *http_status_text(int status);         /* "Not Found"; "Unknown" for others */
bool http_token_valid(struct slice s);            /* RFC 9110 5.6.2 */
bool http_value_valid(struct slice s);

/* The first value of a query parameter, percent- and plus-decoded into the arena; SLICE_NONE when absent; *ret_ok false
 * on a broken escape. */
struct slice http_query_get(struct slice query, const char *name, struct arena *a, bool *ret_ok);

/* Build an application/problem+json document (RFC 9457): type "about:blank" unless given, title from the status,
 * detail, instance, and code (an extension member that Ficus uses for machine-readable reasons; NULL: left out). */
void http_problem_write(struct buf *out, int status, const char *code, const char *detail, struct slice instance);

#endif
