/* SPDX-License-Identifier: Apache-2.0 */
#include "operator.h"

#include "service_impl.h"

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
    if (!v->config->rebuildable || v->hooks.operator_request == NULL)
        (void)http_respond_problem(s, 409, "not_rebuildable",
                                   "its store is not made of events alone, as far as the manifest says (rebuildable: true)");
    else
        v->hooks.operator_request(v->hooks.arg, s);
}

void operator_answer(struct service *v, struct http_stream *s)
{
    struct identity_claims claims = {0};
    if (!process_identity(&v->process, s, &claims))
        return;
    if (!slice_eq_str(claims.issuer, OPERATOR_NAME))
        (void)http_respond_problem(s, 403, "operator", "only operators may ask for this");
    else if (slice_eq_str(s->head_in->path, OPERATOR_REBUILD_PATH))
        answer_rebuild(v, s);
    else if (slice_eq_str(s->head_in->path, OPERATOR_COPY_PATH))
        answer_copy(v, s);
    else
        (void)http_respond_problem(s, 404, NULL, "operators may ask for " OPERATOR_REBUILD_PATH " and " OPERATOR_COPY_PATH);
}
