/* SPDX-License-Identifier: Apache-2.0 */
#include "operator.h"

#include "service_impl.h"

void operator_answer(struct service *v, struct http_stream *s)
{
    struct identity_claims claims = {0};
    if (!process_identity(&v->process, s, &claims))
        return;
    if (!slice_eq_str(claims.issuer, OPERATOR_NAME))
        (void)http_respond_problem(s, 403, "operator", "only operators may ask for this");
    else if (!slice_eq_str(s->head_in->path, OPERATOR_REBUILD_PATH))
        (void)http_respond_problem(s, 404, NULL, "operators may ask for " OPERATOR_REBUILD_PATH);
    else if (!v->config->rebuildable || v->hooks.operator_request == NULL)
        (void)http_respond_problem(s, 409, "not_rebuildable",
                                   "its store is not made of events alone, as far as the manifest says (rebuildable: true)");
    else
        v->hooks.operator_request(v->hooks.arg, s);
}
