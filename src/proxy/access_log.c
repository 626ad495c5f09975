/* SPDX-License-Identifier: Apache-2.0
 *
 * See access_log.h. Fields are read where they are; nothing is formatted or allocated here but the list of flags, which
 * most requests have not.
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

/* What a line is made of. */
struct access_end {
    const struct proxy_request *q;
    const char *route;
    int64_t ns, added_ns;
    struct slice client; /* size 0: not known */
    char flags[FLAGS_TEXT_SIZE];
};

static bool text(struct log_field *f, struct slice value)
{
    f->kind = LOG_FIELD_SLICE;
    f->text = value;
    return value.p != NULL;
}

/* Of characters that stand for themselves in JSON: tokens, addresses, words of ours. */
static bool plain(struct log_field *f, struct slice value)
{
    f->kind = value.size <= LOG_PLAIN_SIZE_MAX ? LOG_FIELD_PLAIN : LOG_FIELD_SLICE;
    f->text = value;
    return value.p != NULL;
}

static bool number(struct log_field *f, int64_t value)
{
    f->kind = LOG_FIELD_INT;
    f->number = value;
    return true;
}

/* Each fills in the value, or says that there is none. */
static bool get_method(const struct access_end *e, struct log_field *f)
{
    return plain(f, e->q->stream->head_in->method);
}

static bool get_route(const struct access_end *e, struct log_field *f)
{
    return text(f, slice_str(e->route));
}

static bool get_status(const struct access_end *e, struct log_field *f)
{
    return number(f, e->q->status);
}

static bool get_flags(const struct access_end *e, struct log_field *f)
{
    return e->q->flags != 0 && plain(f, slice_str(e->flags));
}

static bool get_upstream(const struct access_end *e, struct log_field *f)
{
    return text(f, slice_str(e->q->service));
}

static bool get_address(const struct access_end *e, struct log_field *f)
{
    return e->q->address[0] != '\0' && text(f, slice_str(e->q->address));
}

static bool get_attempts(const struct access_end *e, struct log_field *f)
{
    return e->q->attempts > 0 && number(f, e->q->attempts);
}

static bool get_ms(const struct access_end *e, struct log_field *f)
{
    return number(f, e->ns / 1000000);
}

static bool get_upstream_ms(const struct access_end *e, struct log_field *f)
{
    return e->q->upstream_ns > 0 && number(f, e->q->upstream_ns / 1000000);
}

static bool get_added_us(const struct access_end *e, struct log_field *f)
{
    return e->added_ns >= 0 && number(f, e->added_ns / 1000);
}

static bool get_bytes_in(const struct access_end *e, struct log_field *f)
{
    return number(f, e->q->request_size);
}

static bool get_bytes_out(const struct access_end *e, struct log_field *f)
{
    return number(f, e->q->response_size);
}

static bool get_protocol(const struct access_end *e, struct log_field *f)
{
    return plain(f, slice_str(e->q->stream->ops->protocol));
}

static bool get_client(const struct access_end *e, struct log_field *f)
{
    return plain(f, e->client) && e->client.size > 0;
}

static bool get_peer(const struct access_end *e, struct log_field *f)
{
    struct slice peer = slice_str(e->q->peer.text);
    return plain(f, peer) && !slice_eq(e->client, e->q->peer_address);
}

static bool get_user(const struct access_end *e, struct log_field *f)
{
    return text(f, e->q->user);
}

static bool get_error(const struct access_end *e, struct log_field *f)
{
    return e->q->err != FICUS_ERR_OK && plain(f, slice_str(err_text(e->q->err)));
}

static bool get_reason(const struct access_end *e, struct log_field *f)
{
    return text(f, slice_str(e->q->err_detail));
}

static bool get_missing(const struct access_end *e, struct log_field *f)
{
    return text(f, slice_str(e->q->part_missing));
}

static bool get_part(const struct access_end *e, struct log_field *f)
{
    return text(f, slice_str(e->q->part_name));
}

static bool get_fallback(const struct access_end *e, struct log_field *f)
{
    return plain(f, slice_str(e->q->fallback));
}

#define ROW(name, prose) {name, prose}, LOG_KEY(name)
static const struct {
    struct access_word word;
    struct slice key;
    bool (*get)(const struct access_end *e, struct log_field *f);
} rows[] = {
    {ROW("method", "of the request"), get_method},
    {ROW("route", "path template of its route; `none`: no route"), get_route},
    {ROW("status", "of the answer; 499 when the client went before there was one"), get_status},
    {ROW("flags", "why it is not what the client hoped for: words of the next table, separated by commas"), get_flags},
    {ROW("upstream", "the service that was called"), get_upstream},
    {ROW("address", "of the instance that answered"), get_address},
    {ROW("attempts", "how often the service was called for it"), get_attempts},
    {ROW("ms", "from the head of the request to the end of the answer"), get_ms},
    {ROW("upstream_ms", "from the first attempt to the head of the service's answer"), get_upstream_ms},
    {ROW("added_us", "µs to the head of the answer that were neither the service's nor spent on waiting for the body"),
     get_added_us},
    {ROW("bytes_in", "of the request's body that were read"), get_bytes_in},
    {ROW("bytes_out", "of the answer's body"), get_bytes_out},
    {ROW("protocol", "`HTTP/1.1`, `h2`"), get_protocol},
    {ROW("client", "address of who asked; behind `trusted_proxies` what they say"), get_client},
    {ROW("peer", "address and port of the proxy that passed it on, when that is not the client itself"), get_peer},
    {ROW("user", "id of the user whose token it carried"), get_user},
    {ROW("error", "what went wrong, in one of few words"), get_error},
    {ROW("reason", "the same in a sentence"), get_reason},
    {ROW("missing", "the first part of a composed answer that did not come"), get_missing},
    {ROW("part", "of a split: the one that was taken"), get_part},
    {ROW("fallback", "what was answered in the service's place: `stale`, `service` or `static`"), get_fallback},
};
#undef ROW
_Static_assert(ARRAY_COUNT(rows) < LOG_FIELDS_MAX, "a line takes them all");

const size_t access_field_count = ARRAY_COUNT(rows);

struct access_word access_field(size_t i)
{
    return rows[i].word;
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

static void flags_write(uint32_t flags, char out[FLAGS_TEXT_SIZE])
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
    out[size] = '\0';
}

#define ACCESS_EVENT "gateway.request"
#define ACCESS_MSG "request answered"

void access_log_init(struct proxy *p)
{
    log_event_init(&p->answered, &p->process.log, LOG_INFO, ACCESS_EVENT, ACCESS_MSG);
}

void access_log(const struct proxy_request *q, const char *route, int64_t ns, int64_t added_ns)
{
    /* Probes and scrapes come all the time and say nothing. */
    enum log_level level = q->route == NULL && q->status == 200 ? LOG_DEBUG : LOG_INFO;
    struct logger *log = &q->proxy->process.log;
    if (!log_enabled(log, level))
        return;
    struct access_end e = {.q = q, .route = route, .ns = ns, .added_ns = added_ns, .client = proxy_client_address(q)};
    struct log_context ctx = {.trace = q->trace, .correlation = q->request_id};
    struct log_field fields[ARRAY_COUNT(rows) + 1];
    size_t count = 0;
    flags_write(q->flags, e.flags);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        fields[count].key = rows[i].key;
        count += rows[i].get(&e, &fields[count]);
    }
    fields[count] = (struct log_field){.kind = LOG_FIELD_END};
    if (level == LOG_INFO)
        log_event_write(&q->proxy->answered, log, &ctx, fields);
    else
        log_write(log, level, &ctx, ACCESS_EVENT, fields, "%s", ACCESS_MSG);
}
