/* SPDX-License-Identifier: Apache-2.0 */
#include "operator.h"

#include "estore.h"
#include "service_impl.h"
#include "text.h"

enum { STORE_EVENTS = 5000 }; /* verified by one request: some ten milliseconds */

/* ---- the event store, on a worker ---- */

static const int64_t POSITION_MAX = (int64_t)1 << 62; /* what is counted on from it stays a number */

static bool number_read(struct ficus_req *req, const char *name, int64_t *ret_value)
{
    const char *text = ficus_query_param(req, name);
    if (text != NULL && slice_to_i64(slice_str(text), ret_value) && *ret_value >= 0 && *ret_value <= POSITION_MAX)
        return true;
    ficus_invalid(req, ficus_printf(req, "/%s", name), "must be a number from 0 to 2^62");
    return false;
}

static bool place_read(struct ficus_req *req, struct estore_check *ret_check)
{
    int64_t zero = 0;
    const char *hash = ficus_query_param(req, "hash");
    bool ok = number_read(req, "position", &ret_check->position) && number_read(req, "chain", &ret_check->chain);
    if (ok && (hash == NULL || !estore_head_parse(slice_str(ficus_printf(req, "0:%s", hash)), &zero, ret_check->hash)))
        ficus_invalid(req, "/hash", "must be 64 hexadecimal digits");
    return !ficus_is_invalid(req);
}

static void write_finding(struct ficus_out *o, const struct estore_finding *f)
{
    ficus_out_object(o, NULL);
    ficus_out_str(o, "fault", estore_fault_names[f->fault]);
    ficus_out_int(o, "position", f->position);
    ficus_out_str(o, "stream", f->stream);
    ficus_out_int(o, "version", f->version);
    ficus_out_str(o, "text", f->text);
    ficus_out_end(o);
}

static int check_write(struct ficus_req *req, const struct estore_check *check, const struct estore_finding *of_head)
{
    char place[ESTORE_HEAD_TEXT_SIZE], head[ESTORE_HEAD_TEXT_SIZE];
    struct ficus_out *o = ficus_reply(req, 200);
    if (o == NULL)
        return -1;
    estore_head_format(0, check->hash, place);
    estore_head_format(check->head_position, check->head_hash, head);
    ficus_out_object(o, NULL);
    ficus_out_int(o, "position", check->position);
    ficus_out_int(o, "chain", check->chain);
    ficus_out_str(o, "hash", place + 2);
    ficus_out_bool(o, "done", check->is_done);
    ficus_out_str(o, "head", head);
    ficus_out_array(o, "findings");
    for (size_t i = 0; i < check->finding_count; i++)
        write_finding(o, &check->findings[i]);
    if (of_head != NULL)
        write_finding(o, of_head);
    ficus_out_end(o);
    ficus_out_end(o);
    return 0;
}

static int verify_store(struct ficus_req *req)
{
    struct estore_check check = {0};
    struct estore_finding of_head = {0};
    struct ficus_error error = {0};
    const char *head = ficus_query_param(req, "head");
    int64_t position = 0;
    uint8_t hash[SHA256_SIZE];
    bool is_there = true;
    if (req->service->db == NULL || req->service->config->rebuildable)
        return ficus_problem(req, 409, "no_store", "the service has no store of its own, so no events");
    if (!place_read(req, &check) || (head != NULL && !estore_head_parse(slice_str(head), &position, hash)))
        return ficus_problem_invalid(req);
    if (request_reader(req) != 0)
        return -1;
    enum ficus_err err = db_reader_snapshot(req->reader, &error);
    if (err == FICUS_ERR_OK)
        err = estore_verify(req->reader, STORE_EVENTS, &check, &error);
    if (err == FICUS_ERR_OK && check.is_done && head != NULL)
        err = estore_verify_head(req->reader, position, hash, &is_there, &of_head, &error);
    request_reader_give(req);
    return err == FICUS_ERR_OK ? check_write(req, &check, is_there ? NULL : &of_head) : request_fail_store(req, err, &error, "verify the event store");
}

/* ---- arrival ---- */

static const struct ficus_route store_route = {"GET", OPERATOR_STORE_PATH, verify_store, FICUS_SERVICES};
static const struct router_route on_worker = {.def = &store_route};

static void answer_copy(struct service *v, struct http_stream *s)
{
    if (!slice_eq_str(s->head_in->method, "GET"))
        (void)http_respond_problem(s, 405, "method", "GET copies");
    else if (v->db == NULL)
        (void)http_respond_problem(s, 409, "no_store", "this service has no store");
    else
        store_copy_answer(&v->store_copy, s, v->feed.consumer == NULL ? -1 : v->feed.handled);
}

static void answer_rebuild(struct service *v, struct http_stream *s)
{
    if (v->projections != NULL)
        projections_operator(v, s);
    else if (!v->config->rebuildable || v->hooks.operator_request == NULL)
        (void)http_respond_problem(s, 409, "not_rebuildable",
                                   "it has no projections, and its store is not made of events alone, as far as the manifest says (rebuildable: true)");
    else if (s->head_in->query.p != NULL)
        (void)http_respond_problem(s, 404, "projection", "it has no projections: its whole store is rebuilt");
    else
        v->hooks.operator_request(v->hooks.arg, s);
}

const struct router_route *operator_answer(struct service *v, struct http_stream *s, struct identity_claims *ret_claims)
{
    const struct http_msg *m = s->head_in;
    if (!process_identity(&v->process, s, ret_claims))
        return NULL;
    if (!slice_eq_str(ret_claims->issuer, OPERATOR_NAME))
        (void)http_respond_problem(s, 403, "operator", "only operators may ask for this");
    else if (slice_eq_str(m->path, OPERATOR_STORE_PATH) && slice_eq_str(m->method, store_route.method))
        return &on_worker;
    else if (slice_eq_str(m->path, OPERATOR_REBUILD_PATH))
        answer_rebuild(v, s);
    else if (slice_eq_str(m->path, OPERATOR_COPY_PATH))
        answer_copy(v, s);
    else
        (void)http_respond_problem(s, 404, NULL, "operators may ask for " OPERATOR_REBUILD_PATH ", " OPERATOR_COPY_PATH " and GET " OPERATOR_STORE_PATH);
    return NULL;
}
