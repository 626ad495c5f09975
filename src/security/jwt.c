/* SPDX-License-Identifier: Apache-2.0
 *
 * See jwt.h.
 */
#include "jwt.h"

#include "assert.h"
#include "claims.h"

static enum ficus_err refuse(struct ficus_error *reterr, const char *reason)
{
    return err_set(reterr, FICUS_ERR_UNAUTHENTICATED, "%s", reason);
}

static enum ficus_err check_times(const struct json *claims, int64_t skew_ms, int64_t wall_ms, int64_t *ret_expires_ms,
                                  struct ficus_error *reterr)
{
    int64_t exp_s, nbf_s, iat_s;
    enum ficus_err err = claim_time_s(claims, "exp", true, &exp_s, reterr);
    if (err == FICUS_ERR_OK)
        err = claim_time_s(claims, "nbf", false, &nbf_s, reterr);
    if (err == FICUS_ERR_OK)
        err = claim_time_s(claims, "iat", false, &iat_s, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (wall_ms >= exp_s * 1000 + skew_ms)
        return err_set(reterr, FICUS_ERR_UNAUTHENTICATED, "the token expired %lld s ago",
                       (long long)(wall_ms / 1000 - exp_s));
    if (wall_ms < nbf_s * 1000 - skew_ms)
        return refuse(reterr, "the token is not valid yet (nbf)");
    if (wall_ms < iat_s * 1000 - skew_ms)
        return refuse(reterr, "the token was issued in the future (iat)");
    *ret_expires_ms = exp_s * 1000;
    return FICUS_ERR_OK;
}

/* RFC 7519, 4.1.3: one string or an array of them. */
static bool audience_fits(const struct json *aud, struct slice expected)
{
    struct slice text;
    if (json_string(aud, &text))
        return slice_eq(text, expected);
    if (aud == NULL || aud->type != JSON_ARRAY)
        return false;
    for (const struct json *one = aud->first; one != NULL; one = one->next)
        if (json_string(one, &text) && slice_eq(text, expected))
            return true;
    return false;
}

enum ficus_err jwt_check_claims(struct arena *a, struct slice payload, const struct jwt_rules *rules, int64_t wall_ms,
                                struct jwt_claims *ret_claims, struct ficus_error *reterr)
{
    FICUS_ASSERT(rules->issuer.size > 0 && rules->skew_ms >= 0 && rules->skew_ms <= 300000);
    int64_t skew_ms = rules->skew_ms != 0 ? rules->skew_ms : JWT_SKEW_MS_DEFAULT;
    struct jwt_claims out = {0};
    const struct json *claims = NULL;
    enum ficus_err err = claims_parse(a, payload, &claims, reterr);
    if (err == FICUS_ERR_OK)
        err = claim_string(claims, "iss", JWT_STRING_SIZE_MAX, true, &out.issuer, reterr);
    if (err == FICUS_ERR_OK && !slice_eq(out.issuer, rules->issuer))
        err = refuse(reterr, "claim iss is another issuer than the configured one");
    if (err == FICUS_ERR_OK && rules->audience.p != NULL && !audience_fits(json_get(claims, "aud"), rules->audience))
        err = refuse(reterr, "claim aud does not name the configured audience");
    if (err == FICUS_ERR_OK)
        err = check_times(claims, skew_ms, wall_ms, &out.expires_ms, reterr);
    if (err == FICUS_ERR_OK)
        err = claim_string(claims, "sub", JWT_STRING_SIZE_MAX, true, &out.subject, reterr);
    if (err == FICUS_ERR_OK)
        err = claim_roles(a, claims, JWT_ROLES_MAX, JWT_STRING_SIZE_MAX, &out.roles, &out.role_count, reterr);
    if (err == FICUS_ERR_OK)
        *ret_claims = out;
    return err;
}

/* RFC 8725, 3.11: a token made for something else under the same key says so in typ. */
static bool typ_fits(struct slice typ)
{
    if (typ.p == NULL)
        return true;
    if (typ.size > 12 && slice_eq_nocase((struct slice){typ.p, 12}, SLICE("application/")))
        typ = slice_from(typ, 12);
    return slice_eq_nocase(typ, SLICE("JWT")) || slice_eq_nocase(typ, SLICE("at+jwt"));
}

enum ficus_err jwt_verify(struct arena *a, const struct jwks *keys, struct slice token, const struct jwt_rules *rules,
                          int64_t wall_ms,
                          struct jwt_claims *ret_claims, struct ficus_error *reterr)
{
    struct jws jws;
    struct slice payload;
    enum ficus_err err = jws_parse(a, token, &jws, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (!typ_fits(jws.typ))
        return refuse(reterr, "token header: \"typ\" is neither JWT nor at+jwt");
    const struct jws_key *key = jwks_find(keys, jws.kid);
    if (key == NULL)
        return err_set(reterr, FICUS_ERR_NOT_FOUND, "no key of the issuer has the token's kid \"" SLICE_FMT "\"",
                       SLICE_ARG(jws.kid));
    err = jws_verify(a, &jws, key, &payload, reterr);
    return err == FICUS_ERR_OK ? jwt_check_claims(a, payload, rules, wall_ms, ret_claims, reterr) : err;
}

bool jwt_has_role(const struct jwt_claims *claims, struct slice role)
{
    for (size_t i = 0; i < claims->role_count; i++)
        if (slice_eq(claims->roles[i], role))
            return true;
    return false;
}
