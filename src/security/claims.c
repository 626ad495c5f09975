/* SPDX-License-Identifier: Apache-2.0
 *
 * See claims.h.
 */
#include "claims.h"

#include "text.h"

bool claim_text_valid(struct slice text, size_t size_max)
{
    if (text.p == NULL || text.size == 0 || text.size > size_max)
        return false;
    for (size_t i = 0; i < text.size; i++)
        if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f)
            return false;
    return text_utf8_valid(text);
}

enum ficus_err claims_parse(struct arena *a, struct slice payload, const struct json **ret_claims,
                            struct ficus_error *reterr)
{
    static const struct json_limits limits = {.depth_max = 16, .size_max = 8192, .values_max = 512};
    struct json *root = NULL;
    struct ficus_error detail = {0};
    enum ficus_err err = json_parse(a, payload, &limits, &root, &detail);
    if (err != FICUS_ERR_OK && (err == FICUS_ERR_NOMEM || arena_overflowed(a)))
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    if (err != FICUS_ERR_OK)
        return err_set(reterr, FICUS_ERR_UNAUTHENTICATED, "token payload: %s", detail.text);
    if (root->type != JSON_OBJECT)
        return err_set(reterr, FICUS_ERR_UNAUTHENTICATED, "token payload: not an object");
    *ret_claims = root;
    return FICUS_ERR_OK;
}

enum ficus_err claim_string(const struct json *claims, const char *name, size_t size_max, bool required,
                            struct slice *ret_text,
                            struct ficus_error *reterr)
{
    const struct json *v = json_get(claims, name);
    *ret_text = SLICE_NONE;
    if (v == NULL && !required)
        return FICUS_ERR_OK;
    if (v == NULL)
        return err_set(reterr, FICUS_ERR_UNAUTHENTICATED, "claim %s is missing", name);
    if (!json_string(v, ret_text) || !claim_text_valid(*ret_text, size_max))
        return err_set(reterr, FICUS_ERR_UNAUTHENTICATED, "claim %s is not a plain string of 1 to %zu bytes", name,
                       size_max);
    return FICUS_ERR_OK;
}

enum ficus_err claim_time_s(const struct json *claims, const char *name, bool required, int64_t *ret_time_s,
                            struct ficus_error *reterr)
{
    const struct json *v = json_get(claims, name);
    *ret_time_s = 0;
    if (v == NULL && !required)
        return FICUS_ERR_OK;
    if (v == NULL)
        return err_set(reterr, FICUS_ERR_UNAUTHENTICATED, "claim %s is missing", name);
    /* JSON's grammar was checked already, so a '.' is followed by digits and perhaps an exponent, which nobody writes.
     * At most 11 digits (year 5138), so that no sum with a skew in milliseconds can overflow. */
    struct slice rest = v->type == JSON_NUMBER ? v->text : SLICE_NONE;
    struct slice whole = slice_cut(&rest, '.');
    uint64_t value = 0;
    if (whole.size == 0 || whole.size > 11 || !slice_to_u64(whole, &value) || slice_find(rest, 'e') >= 0 ||
        slice_find(rest, 'E') >= 0)
        return err_set(reterr, FICUS_ERR_UNAUTHENTICATED, "claim %s is not a number of seconds since 1970", name);
    *ret_time_s = (int64_t)value;
    return FICUS_ERR_OK;
}

enum ficus_err claim_roles(struct arena *a, const struct json *claims, size_t count_max, size_t size_max,
                           const struct slice **ret_roles,
                           size_t *ret_count, struct ficus_error *reterr)
{
    const struct json *v = json_get(claims, "roles");
    *ret_roles = NULL;
    *ret_count = 0;
    if (v == NULL)
        return FICUS_ERR_OK;
    if (v->type != JSON_ARRAY || v->count > count_max)
        return err_set(reterr, FICUS_ERR_UNAUTHENTICATED, "claim roles is not an array of at most %zu", count_max);
    if (v->count == 0)
        return FICUS_ERR_OK;
    struct slice *roles = ARENA_ARRAY(a, struct slice, v->count);
    if (roles == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    size_t count = 0;
    for (const struct json *role = v->first; role != NULL; role = role->next, count++)
        if (!json_string(role, &roles[count]) || !claim_text_valid(roles[count], size_max))
            return err_set(reterr, FICUS_ERR_UNAUTHENTICATED,
                           "claim roles holds something else than plain strings of 1 to %zu bytes", size_max);
    *ret_roles = roles;
    *ret_count = count;
    return FICUS_ERR_OK;
}
