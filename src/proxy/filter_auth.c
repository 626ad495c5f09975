/* SPDX-License-Identifier: Apache-2.0
 *
 * Who the user is: a bearer token (RFC 6750), a JWT of the issuer, checked against its keys. The token ends here;
 * behind the gateway the user is named in Ficus-Identity.
 */
#include "proxy_private.h"

static enum proxy_verdict refuse(struct proxy_request *q, const char *reason, bool token_given)
{
    struct http_field challenge = {SLICE("WWW-Authenticate"),
                                   token_given ? SLICE("Bearer error=\"invalid_token\"") : SLICE("Bearer")};
    metric_inc(METRIC(q->proxy->metrics[PROXY_AUTH_FAILURES], slice_str(reason)));
    q->err_detail = reason;
    proxy_problem(q, 401, "unauthenticated", token_given ? JWT_REFUSED_TEXT : "this path needs an access token",
                  &challenge, 1);
    return PROXY_ANSWERED;
}

/* The token of "Bearer TOKEN", whatever the case of the scheme; p NULL when it is none. */
static struct slice bearer_token(struct slice authorization)
{
    struct slice scheme = slice_make(authorization.p, authorization.size < 7 ? authorization.size : 7);
    if (!slice_eq_nocase(scheme, SLICE("bearer ")))
        return SLICE_NONE;
    struct slice token = slice_trim(slice_from(authorization, 7));
    return token.size > 0 ? token : SLICE_NONE;
}

/* Keys are not there, or may be outdated: once per request it is worth a moment. */
static enum proxy_verdict wait_for_keys(struct proxy_request *q)
{
    q->waited = true;
    proxy_keys_wait(q->snapshot->issuer->keys, &q->waiter);
    return PROXY_WAITS;
}

static enum proxy_verdict no_keys(struct proxy_request *q)
{
    struct http_field retry = {SLICE("Retry-After"), SLICE("1")};
    metric_inc(METRIC(q->proxy->metrics[PROXY_AUTH_FAILURES], SLICE("no_keys")));
    proxy_problem(q, 503, "unavailable", "access tokens cannot be checked at the moment", &retry, 1);
    return PROXY_ANSWERED;
}

/* As jwt_verify, but what was verified before is not verified again. */
static enum ficus_err token_verify(struct proxy_request *q, const struct jwks *keys, struct slice token,
                                   struct jwt_claims *ret_claims, struct ficus_error *reterr)
{
    struct proxy *p = q->proxy;
    const struct proxy_issuer *issuer = q->snapshot->issuer;
    const struct jwt_rules rules = {.issuer = slice_str(issuer->auth.issuer)};
    uint64_t version = proxy_keys_version(issuer->keys);
    int64_t wall_ms = env_wall_ms(p->env);
    if (proxy_tokens_find(issuer->tokens, version, token, wall_ms, q->stream->arena, ret_claims)) {
        metric_inc(METRIC(p->metrics[PROXY_TOKENS], SLICE("remembered")));
        return FICUS_ERR_OK;
    }
    enum ficus_err err = jwt_verify(q->stream->arena, keys, token, &rules, wall_ms, ret_claims, reterr);
    if (err == FICUS_ERR_OK) {
        proxy_tokens_note(issuer->tokens, version, token, wall_ms, ret_claims);
        metric_inc(METRIC(p->metrics[PROXY_TOKENS], SLICE("verified")));
    }
    return err;
}

enum proxy_verdict filter_auth(struct proxy_request *q)
{
    struct proxy *p = q->proxy;
    struct proxy_issuer *issuer = q->snapshot->issuer;
    const struct http_msg *m = q->stream->head_in;
    if (q->route->auth == PROXY_AUTH_NONE)
        return PROXY_PASS;
    size_t count = http_msg_count(m, "authorization");
    if (count == 0)
        return q->route->auth == PROXY_AUTH_OPTIONAL ? PROXY_PASS : refuse(q, "absent", false);
    struct slice token = bearer_token(http_msg_get(m, "authorization"));
    if (count > 1 || token.p == NULL || issuer == NULL)
        return refuse(q, "malformed", true);
    const struct jwks *keys = proxy_keys_use(issuer->keys);
    if (keys == NULL)
        return q->waited ? no_keys(q) : wait_for_keys(q);

    struct jwt_claims claims;
    struct ficus_error error = {0};
    enum ficus_err err = token_verify(q, keys, token, &claims, &error);
    if (err == FICUS_ERR_NOT_FOUND && !q->waited && proxy_keys_unknown(issuer->keys))
        return wait_for_keys(q);
    if (err == FICUS_ERR_NOMEM || err == FICUS_ERR_INTERNAL)
        return no_keys(q);
    if (err != FICUS_ERR_OK) {
        struct log_context ctx = {.trace = q->trace, .correlation = q->request_id};
        LOG(&p->process.log, LOG_DEBUG, &ctx, "gateway.token_refused", "an access token was refused", LOG_ERR(&error));
        return refuse(q, err == FICUS_ERR_NOT_FOUND ? "unknown_key" : "invalid", true);
    }
    q->user = claims.subject;
    q->roles = claims.roles;
    q->role_count = claims.role_count;
    return PROXY_PASS;
}
