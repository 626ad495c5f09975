/* SPDX-License-Identifier: Apache-2.0
 *
 * The answer while a handler makes it, and the ways in which a request fails. On the request's worker only. A failure
 * is sticky: the first reason stands, everything that libficus is asked for afterwards returns -1, and nothing is
 * committed.
 */
#include "service_impl.h"

/* ---- JSON that is being written ---- */

void out_init(struct ficus_out *o, struct ficus_req *r, size_t size_max)
{
    *o = (struct ficus_out){.req = r};
    buf_init(&o->text, size_max);
    json_write_init(&o->writer, &o->text);
}

void out_done(struct ficus_out *o)
{
    list_remove(&o->link);
    buf_done(&o->text);
}

bool out_complete(const struct ficus_out *o)
{
    return o->begun && o->depth == 0 && !o->misused && !buf_failed(&o->text);
}

/* ---- the answer ---- */

void answer_clear(struct ficus_req *r)
{
    struct answer *a = &r->answer;
    if (a->status != 0)
        a->header_count = 0;
    a->status = 0;
    a->is_problem = false;
    a->content_type = NULL;
    buf_done(&a->out.text);
    out_init(&a->out, r, ANSWER_SIZE_MAX);
}

void answer_done(struct answer *a)
{
    buf_done(&a->out.text);
}

bool answer_header(struct ficus_req *r, const char *name, const char *value)
{
    struct answer *a = &r->answer;
    struct slice n = slice_str(name);
    size_t at = 0;
    while (at < a->header_count && !slice_eq_nocase(a->headers[at].name, n))
        at++;
    if (at == ANSWER_HEADERS_MAX || !http_token_valid(n) || !http_value_valid(slice_str(value)))
        return false;
    struct http_field field = {arena_slice(&r->arena, n), arena_slice(&r->arena, slice_str(value))};
    if (field.name.p == NULL || field.value.p == NULL)
        return false;
    a->headers[at] = field;
    a->header_count += at == a->header_count ? 1 : 0;
    return true;
}

static void write_invalid(struct ficus_req *r, struct json_writer *w)
{
    json_write_key(w, "errors");
    json_write_array(w);
    for (size_t i = 0; i < r->invalid_count; i++) {
        json_write_object(w);
        json_write_kv_str(w, "pointer", r->invalid[i].pointer);
        json_write_kv_str(w, "detail", r->invalid[i].detail);
        json_write_end(w);
    }
    json_write_end(w);
}

void answer_problem(struct ficus_req *r, int status, const char *code, const char *detail)
{
    struct answer *a = &r->answer;
    if (!r->is_failed)
        a->status = 0; /* a problem keeps the headers that were set for it, Retry-After say */
    answer_clear(r);
    a->status = status;
    a->is_problem = true;
    a->content_type = "application/problem+json";
    struct json_writer *w = &a->out.writer;
    json_write_object(w);
    json_write_kv_str(w, "type", "about:blank");
    json_write_kv_str(w, "title", http_status_text(status));
    json_write_kv_i64(w, "status", status);
    json_write_kv_str(w, "detail", detail);
    if (r->asked_path.p != NULL)
        json_write_kv_slice(w, "instance", r->asked_path);
    if (code != NULL)
        json_write_kv_str(w, "code", code);
    if ((status == 400 || status == 422) && r->invalid_count > 0)
        write_invalid(r, w);
    json_write_end(w);
    a->out.begun = true;
}

/* ---- failures ---- */

int request_fail(struct ficus_req *r, int status, const char *code, bool technical, const char *format, ...)
{
    if (r->is_failed)
        return -1;
    r->is_failed = true;
    r->is_technical = technical;
    char text[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->fail_text = arena_strdup(&r->arena, slice_str(text));
    /* What is wrong inside is for the log; the client can do nothing with it. */
    answer_problem(r, status, code, status == 500 ? "the service failed" : text);
    LOG(&r->service->process.log, LOG_ERROR, &r->log, "request.failed", "a handler could not go on",
        LOG_INT("status", status), LOG_STR("code", code), LOG_STR("error", text));
    return -1;
}

static const struct {
    enum ficus_err err;
    int status;
    const char *code, *text;
} store_faults[] = {
    {FICUS_ERR_FULL, 507, "storage_full", "the disk of this service's database is full"},
    {FICUS_ERR_TOO_LARGE, 507, "storage_full", "the file of this service's database may not grow further"},
    {FICUS_ERR_READ_ONLY, 503, "storage_read_only", "this service's database is on read-only storage"},
    {FICUS_ERR_CORRUPT, 503, "storage_corrupt", "this service's database is damaged"},
    {FICUS_ERR_IO, 503, "storage_io", "this service's database cannot be read or written"},
    {FICUS_ERR_MISSING, 503, "storage_missing", "the file of this service's database is gone"},
    {FICUS_ERR_BUSY, 503, "storage_busy", "this service's database is busy"},
    {FICUS_ERR_TIMEOUT, 504, "timeout", "the deadline passed while waiting for the database"},
    {FICUS_ERR_CANCELLED, 503, "stopping", "this service is stopping"},
    {FICUS_ERR_UNAVAILABLE, 503, "storage_unavailable", "this service's database is not available"},
    {FICUS_ERR_NOMEM, 503, "out_of_memory", "out of memory"},
};

int request_fail_store(struct ficus_req *r, enum ficus_err err, const struct ficus_error *error, const char *what)
{
    const char *detail = error != NULL && error->text[0] != '\0' ? error->text : err_text(err);
    if (r->is_failed)
        return -1;
    r->is_failed = true;
    int status = 500;
    const char *code = "internal", *text = "the service failed";
    for (size_t i = 0; i < ARRAY_COUNT(store_faults); i++) {
        if (store_faults[i].err != err)
            continue;
        status = store_faults[i].status;
        code = store_faults[i].code;
        text = store_faults[i].text;
        r->is_technical = true;
        r->store_err = err;
    }
    r->fail_text = arena_strdup(&r->arena, slice_str(detail));
    answer_problem(r, status, code, text);
    LOG(&r->service->process.log, LOG_ERROR, &r->log, "store.failed", "the database failed a request",
        LOG_STR("what", what), LOG_STR("code", code), LOG_STR("error", detail));
    return -1;
}

bool request_may_go_on(struct ficus_req *r)
{
    if (r->is_failed)
        return false;
    if (request_state(r) == REQUEST_RUNNING)
        return true;
    /* The loop has answered already; this is only for what still wants to be said to nobody. */
    r->is_failed = true;
    r->is_technical = true;
    answer_problem(r, 504, "timeout", "the deadline passed");
    return false;
}

const char *request_reason(struct ficus_req *r)
{
    struct json *problem = NULL;
    if (!r->answer.is_problem || !out_complete(&r->answer.out) ||
        json_parse(&r->arena, buf_slice(&r->answer.out.text), NULL, &problem, NULL) != FICUS_ERR_OK)
        return r->fail_text != NULL ? r->fail_text : "refused";
    struct slice detail = json_string_or(json_get(problem, "detail"), SLICE(""));
    const char *reason = arena_printf(&r->arena, SLICE_FMT ": " SLICE_FMT, SLICE_ARG(json_string_or(json_get(problem, "code"), SLICE("refused"))),
                                      SLICE_ARG(r->fail_text != NULL ? slice_str(r->fail_text) : detail));
    return reason == NULL ? "refused" : reason;
}
