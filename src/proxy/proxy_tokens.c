/* SPDX-License-Identifier: Apache-2.0
 *
 * A table with one place for each hash; see proxy_tokens.h.
 *
 * The hash is keyed at random, so nobody can choose tokens that push others out, and a token is compared byte by byte
 * only when all 64 bits of its hash fit: how long that takes tells nothing about the tokens of others.
 */
#include "proxy_tokens.h"

#include "map.h"
#include "mem.h"

struct entry {
    uint64_t hash;
    int64_t verified_ms, expires_ms;
    struct slice token, subject;
    size_t role_count;
    struct slice roles[JWT_ROLES_MAX];
    char bytes[]; /* token, subject, roles */
};

struct proxy_tokens {
    uint64_t seed[2];
    uint64_t keys_version;
    struct entry *entries[PROXY_TOKENS_MAX];
};

struct proxy_tokens *proxy_tokens_new(struct env *e)
{
    struct proxy_tokens *t = mem_zalloc(sizeof *t);
    if (t != NULL)
        env_random(e, t->seed, sizeof t->seed);
    return t;
}

static void forget_all(struct proxy_tokens *t)
{
    for (size_t i = 0; i < PROXY_TOKENS_MAX; i++)
        MEM_FREE(t->entries[i]);
}

void proxy_tokens_free(struct proxy_tokens *t)
{
    if (t != NULL)
        forget_all(t);
    mem_free(t);
}

static uint64_t hash_of(const struct proxy_tokens *t, struct slice token)
{
    return hash_sip13(t->seed, token.p, token.size);
}

static bool claims_copy(const struct entry *e, struct arena *a, struct jwt_claims *ret_claims)
{
    struct slice *roles = ARENA_ARRAY(a, struct slice, e->role_count + 1);
    struct slice subject = arena_slice(a, e->subject);
    if (roles == NULL || subject.p == NULL)
        return false;
    for (size_t i = 0; i < e->role_count; i++)
        if ((roles[i] = arena_slice(a, e->roles[i])).p == NULL)
            return false;
    *ret_claims = (struct jwt_claims){
        .subject = subject, .roles = roles, .role_count = e->role_count, .expires_ms = e->expires_ms};
    return true;
}

bool proxy_tokens_find(struct proxy_tokens *t, uint64_t keys_version, struct slice token, int64_t wall_ms,
                       struct arena *a, struct jwt_claims *ret_claims)
{
    if (t->keys_version != keys_version) {
        forget_all(t);
        t->keys_version = keys_version;
        return false;
    }
    if (token.size > PROXY_TOKEN_SIZE_MAX_KEPT)
        return false;
    uint64_t hash = hash_of(t, token);
    struct entry **place = &t->entries[hash % PROXY_TOKENS_MAX];
    const struct entry *e = *place;
    if (e == NULL || e->hash != hash || !slice_eq(e->token, token))
        return false;
    /* Past its time, or the clock was set back before the time at which nbf and iat were right. */
    if (wall_ms >= e->expires_ms || wall_ms < e->verified_ms) {
        MEM_FREE(*place);
        return false;
    }
    return claims_copy(e, a, ret_claims);
}

static struct slice put(char **at, struct slice s)
{
    char *p = *at;
    memcpy(p, s.p, s.size);
    *at += s.size;
    return slice_make(p, s.size);
}

void proxy_tokens_note(struct proxy_tokens *t, uint64_t keys_version, struct slice token, int64_t wall_ms,
                       const struct jwt_claims *claims)
{
    if (t->keys_version != keys_version || token.size > PROXY_TOKEN_SIZE_MAX_KEPT)
        return;
    size_t size = token.size + claims->subject.size;
    for (size_t i = 0; i < claims->role_count; i++)
        size += claims->roles[i].size;
    struct entry *e = mem_zalloc(sizeof *e + size);
    if (e == NULL)
        return;
    char *at = e->bytes;
    e->hash = hash_of(t, token);
    e->verified_ms = wall_ms;
    e->expires_ms = claims->expires_ms;
    e->token = put(&at, token);
    e->subject = put(&at, claims->subject);
    e->role_count = claims->role_count;
    for (size_t i = 0; i < claims->role_count; i++)
        e->roles[i] = put(&at, claims->roles[i]);
    struct entry **place = &t->entries[e->hash % PROXY_TOKENS_MAX];
    mem_free(*place);
    *place = e;
}
