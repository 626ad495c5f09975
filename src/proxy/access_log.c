/* SPDX-License-Identifier: Apache-2.0
 *
 * See access_log.h. Members are read where they are and written where they go; nothing is formatted or allocated here but the list
 * of flags, which most requests have not.
 */
#include "access_log.h"

#include "mem.h"
#include "proxy_private.h"

enum { FLAGS_TEXT_SIZE = 64 };

const struct access_word access_flags[] = {
    {"NR", "no route fits the path"},
    {"UH", "the service has no address, or none that is healthy"},
    {"UO", "overflow: the circuit breaker is open, or a queue or the number of event streams is at its limit"},
    {"UF", "no connection to the service could be made"},
    {"UC", "the service closed or reset its connection before its answer was whole"},
    {"UT", "the service did not answer in time"},
    {"UPE", "the service's answer was no acceptable HTTP, or too large"},
    {"URX", "also the last attempt failed, after others had"},
    {"DC", "the client closed its connection, or gave the request up, before the answer was whole"},
    {"DT", "the client did not send, or take, its bytes in time"},
    {"DPE", "the client broke the protocol"},
    {"UAEX", "refused for who sent it: no token, a bad one, or a role that is missing"},
    {"OM", "the gateway itself was overloaded: its loop late, or its memory or descriptors near or at their end"},
};
const size_t access_flag_count = ARRAY_COUNT(access_flags);

/* The members, in their order: X(name, prose, how it is written, when it is there, value). plain: of characters that stand for
 * themselves in JSON: tokens, addresses, words of ours. */
#define ACCESS_FIELDS(X) \
    X("method", "of the request", text, true, q->stream->head_in->method) \
    X("route", "path template of its route; `none`: no route", text, true, slice_str(route)) \
    X("status", "of the answer; 499 when the client went before there was one", int, true, q->status) \
    X("flags", "why it is not what the client hoped for: words of the next table, separated by commas", plain, q->flags != 0, \
      flags_write(q->flags, flags)) \
    X("upstream", "the service that was called", text, q->service != NULL, slice_str(q->service)) \
    X("address", "of the instance that answered", text, q->address[0] != '\0', slice_str(q->address)) \
    X("attempts", "how often the service was called for it", int, q->attempts > 0, q->attempts) \
    X("ms", "from the head of the request to the end of the answer", int, true, ns / 1000000) \
    X("upstream_ms", "from the first attempt to the head of the service's answer", int, q->upstream_ns > 0, q->upstream_ns / 1000000) \
    X("added_us", "µs to the head of the answer that were neither the service's nor spent on waiting for the body", int, \
      added_ns >= 0, added_ns / 1000) \
    X("bytes_in", "of the request's body that were read", int, true, (int64_t)q->request_size) \
    X("bytes_out", "of the answer's body", int, true, (int64_t)q->response_size) \
    X("protocol", "`HTTP/1.1`, `h2`", plain, true, slice_str(q->stream->ops->protocol)) \
    X("client", "address of who asked; behind `trusted_proxies` what they say", plain, client.size > 0, client) \
    X("peer", "address and port of the proxy that passed it on, when that is not the client itself", plain, \
      client.p != q->peer_address.p && !slice_eq(client, q->peer_address), slice_str(q->peer->text)) \
    X("user", "id of the user whose token it carried", text, q->user.p != NULL, q->user) \
    X("error", "what went wrong, in one of few words", plain, q->err != FICUS_ERR_OK, slice_str(err_text(q->err))) \
    X("reason", "the same in a sentence", text, q->err_detail != NULL, slice_str(q->err_detail)) \
    X("missing", "the first part of a composed answer that did not come", text, q->part_missing != NULL, slice_str(q->part_missing)) \
    X("part", "of a split: the one that was taken", text, q->part_name != NULL, slice_str(q->part_name)) \
    X("fallback", "what was answered in the service's place: `stale`, `service` or `static`", plain, q->fallback != NULL, \
      slice_str(q->fallback))

#define ROW(name, prose, kind, when, value) {name, prose},
static const struct access_word rows[] = {ACCESS_FIELDS(ROW)};
#undef ROW

const size_t access_field_count = ARRAY_COUNT(rows);

struct access_word access_field(size_t i)
{
    return rows[i];
}

/* ---- flags ---- */

static uint32_t flag_of(const struct proxy_request *q, const char *service, enum ficus_err err)
{
    switch (err) {
    case FICUS_ERR_TIMEOUT:
        return ACCESS_UT;
    case FICUS_ERR_REFUSED:
        return ACCESS_UF;
    case FICUS_ERR_RESET:
    case FICUS_ERR_EOF:
        return ACCESS_UC;
    case FICUS_ERR_PROTOCOL:
    case FICUS_ERR_TOO_LARGE:
        return ACCESS_UPE;
    case FICUS_ERR_BUSY:
        return ACCESS_UO;
    case FICUS_ERR_NOMEM:
        return ACCESS_OM;
    case FICUS_ERR_UNAVAILABLE:
        return strcmp(call_engine_breaker_state(q->proxy->process.calls, service), "closed") == 0 ? ACCESS_UH : ACCESS_UO;
    default:
        return 0;
    }
}

void access_note_call(struct proxy_request *q, const char *service, enum ficus_err err, unsigned attempts)
{
    q->flags |= flag_of(q, service, err);
    if (attempts > 1)
        q->flags |= ACCESS_URX;
}

void access_note_client(struct proxy_request *q, enum ficus_err err)
{
    if (q->flags != 0)
        return; /* the exchange was ended by us, for a reason that is noted */
    if (err == FICUS_ERR_PROTOCOL)
        q->flags = ACCESS_DPE;
    else if (err == FICUS_ERR_TIMEOUT)
        q->flags = ACCESS_DT;
    else if (err == FICUS_ERR_RESET || err == FICUS_ERR_EOF)
        q->flags = ACCESS_DC;
}

static struct slice flags_write(uint32_t flags, char out[FLAGS_TEXT_SIZE])
{
    size_t size = 0;
    for (size_t i = 0; flags >> i != 0 && i < access_flag_count; i++) {
        if ((flags >> i & 1) == 0)
            continue;
        size_t word = strlen(access_flags[i].name);
        if (size + word + 2 > FLAGS_TEXT_SIZE)
            continue;
        if (size > 0)
            out[size++] = ',';
        memcpy(out + size, access_flags[i].name, word);
        size += word;
    }
    return slice_make(out, size);
}

void access_log_init(struct proxy *p)
{
    static const char event[] = "gateway.request", msg[] = "request answered";
    log_event_init(&p->answered, &p->process.log, LOG_INFO, event, msg);
    log_event_init(&p->probed, &p->process.log, LOG_DEBUG, event, msg);
}

void access_log(const struct proxy_request *q, const char *route, int64_t ns, int64_t added_ns)
{
    struct proxy *p = q->proxy;
    struct logger *log = &p->process.log;
    /* Probes and scrapes come all the time and say nothing. */
    bool is_probe = q->route == NULL && q->status == 200;
    if (!log_enabled(log, is_probe ? LOG_DEBUG : LOG_INFO))
        return;
    __attribute__((uninitialized)) char text[LOG_LINE_SIZE_MAX], flags[FLAGS_TEXT_SIZE]; /* read as far as they were written */
    struct log_line line = {.p = text};
    struct log_context ctx = {.trace = q->trace, .correlation = q->request_id};
    struct slice client = proxy_client_address(q);
    log_event_begin(is_probe ? &p->probed : &p->answered, log, &ctx, &line);
#define PUT(name, prose, kind, when, value) \
    if (when) \
        log_line_##kind(&line, LOG_KEY(name), (value));
    ACCESS_FIELDS(PUT)
#undef PUT
    log_event_end(log, &line);
}
