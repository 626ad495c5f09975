/* SPDX-License-Identifier: Apache-2.0
 *
 * See jwks.h.
 */
#include "jwks.h"

#include "mem.h"

struct jwks_entry {
    struct jws_key *key;
    char *kid;          /* NULL: has none */
};

struct jwks {
    size_t count, skipped;
    struct jwks_entry entries[JWKS_KEYS_MAX];
};

void jwks_free(struct jwks *set)
{
    if (set == NULL)
        return;
    for (size_t i = 0; i < set->count; i++) {
        jws_key_free(set->entries[i].key);
        mem_free(set->entries[i].kid);
    }
    mem_free(set);
}

size_t jwks_count(const struct jwks *set)
{
    return set->count;
}

size_t jwks_skipped(const struct jwks *set)
{
    return set->skipped;
}

static bool has_kid(const struct jwks_entry *entry, struct slice kid)
{
    return entry->kid != NULL && slice_eq_str(kid, entry->kid);
}

const struct jws_key *jwks_find(const struct jwks *set, struct slice kid)
{
    if (kid.p == NULL)
        return set->count == 1 ? set->entries[0].key : NULL;
    for (size_t i = 0; i < set->count; i++)
        if (has_kid(&set->entries[i], kid))
            return set->entries[i].key;
    return NULL;
}

static bool allows_verify(const struct json *jwk)
{
    const struct json *ops = json_get(jwk, "key_ops");
    if (ops == NULL)
        return true;
    for (const struct json *op = ops->first; op != NULL; op = op->next)
        if (slice_eq_str(json_string_or(op, SLICE_NONE), "verify"))
            return true;
    return false;
}

/* NOMEM and INTERNAL end the reading; any other error means that this entry is skipped. */
static enum ficus_err add_entry(struct jwks *set, const struct json *jwk, struct ficus_error *reterr)
{
    const struct json *named = json_get(jwk, "kid");
    struct slice kid = SLICE_NONE;
    if (named != NULL && (!json_string(named, &kid) || kid.size == 0 || kid.size > JWS_KID_SIZE_MAX ||
                          memchr(kid.p, '\0', kid.size) != NULL))
        return err_set(reterr, FICUS_ERR_INVALID, "JWK: \"kid\" is not a string of 1 to %d bytes", JWS_KID_SIZE_MAX);
    if (slice_eq_str(json_string_or(json_get(jwk, "kty"), SLICE_NONE), "oct") || json_get(jwk, "d") != NULL)
        return err_set(reterr, FICUS_ERR_INVALID, "JWK: holds a secret, so it proves nothing any more");
    if (!allows_verify(jwk))
        return err_set(reterr, FICUS_ERR_UNSUPPORTED, "JWK: \"key_ops\" without verify");
    struct jwks_entry entry = {0};
    enum ficus_err err = jws_key_from_jwk(jwk, &entry.key, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (kid.p != NULL) {
        entry.kid = mem_strndup(kid.p, kid.size);
        if (entry.kid == NULL) {
            jws_key_free(entry.key);
            return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
        }
    }
    set->entries[set->count++] = entry;
    return FICUS_ERR_OK;
}

/* Two usable keys under one kid: which one is meant cannot be known. */
static bool kids_differ(const struct jwks *set)
{
    for (size_t i = 0; i < set->count; i++)
        for (size_t j = i + 1; j < set->count; j++)
            if (set->entries[i].kid != NULL && has_kid(&set->entries[j], slice_str(set->entries[i].kid)))
                return false;
    return true;
}

static enum ficus_err read_keys(struct jwks *set, const struct json *root, struct ficus_error *reterr)
{
    const struct json *keys = json_get(root, "keys");
    if (keys == NULL || keys->type != JSON_ARRAY)
        return err_set(reterr, FICUS_ERR_INVALID, "JWKS: no array \"keys\"");
    if (keys->count > JWKS_KEYS_MAX)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "JWKS: %u keys; at most %d", keys->count, JWKS_KEYS_MAX);
    struct ficus_error why = {0};
    for (const struct json *jwk = keys->first; jwk != NULL; jwk = jwk->next) {
        struct ficus_error detail = {0};
        enum ficus_err err = add_entry(set, jwk, &detail);
        if (err == FICUS_ERR_NOMEM || err == FICUS_ERR_INTERNAL)
            return err_set(reterr, err, "JWKS: %s", detail.text);
        if (err != FICUS_ERR_OK) {
            set->skipped++;
            why = detail;
        }
    }
    if (set->count == 0)
        return err_set(reterr, FICUS_ERR_INVALID, "JWKS: no usable key%s%s",
                       set->skipped > 0 ? ", the last one because: " : "", why.text);
    if (!kids_differ(set))
        return err_set(reterr, FICUS_ERR_INVALID, "JWKS: two usable keys have the same kid");
    return FICUS_ERR_OK;
}

enum ficus_err jwks_parse(struct slice text, struct jwks **ret_set, struct ficus_error *reterr)
{
    static const struct json_limits limits = {.depth_max = 8, .size_max = JWKS_TEXT_SIZE_MAX, .values_max = 2048};
    struct arena scratch;
    struct json *root = NULL;
    struct jwks *set = mem_zalloc(sizeof *set);
    if (set == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    arena_init(&scratch, 512 * 1024);
    enum ficus_err err = json_parse(&scratch, text, &limits, &root, reterr);
    if (err != FICUS_ERR_OK)
        err_wrap(reterr, "JWKS");
    else
        err = read_keys(set, root, reterr);
    arena_done(&scratch);
    if (err == FICUS_ERR_OK)
        *ret_set = set;
    else
        jwks_free(set);
    return err;
}
