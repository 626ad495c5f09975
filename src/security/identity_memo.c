/* SPDX-License-Identifier: Apache-2.0
 *
 * See identity_memo.h.
 */
#include "identity_memo.h"

#include "map.h"
#include "mem.h"

struct identity_memo_entry {
    uint64_t hash;
    int64_t made_ms;
    size_t names_size, token_size;
    char bytes[]; /* names, token */
};

void identity_memo_init(struct identity_memo *m, const uint64_t seed[2])
{
    *m = (struct identity_memo){.seed = {seed[0], seed[1]}};
}

static void forget(struct identity_memo_entry **place)
{
    if (*place == NULL)
        return;
    mem_wipe(*place, sizeof **place + (*place)->names_size + (*place)->token_size);
    MEM_FREE(*place);
}

void identity_memo_done(struct identity_memo *m)
{
    for (size_t i = 0; i < IDENTITY_MEMO_MAX; i++)
        forget(&m->entries[i]);
}

static bool put(char *names, size_t *size, struct slice s)
{
    /* Two bytes of size before each, so that no two rows of names give the same bytes. */
    if (s.size > 0xffff || *size + 2 + s.size > IDENTITY_MEMO_NAMES_SIZE_MAX)
        return false;
    names[(*size)++] = (char)(s.size >> 8);
    names[(*size)++] = (char)(s.size & 0xff);
    if (s.size > 0)
        memcpy(names + *size, s.p, s.size);
    *size += s.size;
    return true;
}

static bool put_all(const struct identity_claims *c, char *names, size_t *ret_size)
{
    *ret_size = 0;
    if (c->subject.p != NULL && c->subject.size == 0)
        return false; /* identity_make refuses it; nobody's name is no name */
    bool fits =
        put(names, ret_size, c->issuer) && put(names, ret_size, c->audience) && put(names, ret_size, c->subject);
    for (size_t i = 0; fits && i < c->role_count; i++)
        fits = put(names, ret_size, c->roles[i]);
    return fits;
}

static void note(struct identity_memo_entry **place, uint64_t hash, const char *names, size_t names_size,
                 struct slice token, int64_t wall_ms)
{
    forget(place);
    struct identity_memo_entry *e = mem_zalloc(sizeof *e + names_size + token.size);
    if (e == NULL)
        return; /* it is signed again the next time */
    *e = (struct identity_memo_entry){
        .hash = hash, .made_ms = wall_ms, .names_size = names_size, .token_size = token.size};
    memcpy(e->bytes, names, names_size);
    memcpy(e->bytes + names_size, token.p, token.size);
    *place = e;
}

enum ficus_err identity_memo_make(struct identity_memo *m, const struct system_key *key, struct arena *a,
                                  const struct identity_claims *claims, int64_t wall_ms, struct slice *ret_token,
                                  struct ficus_error *reterr)
{
    __attribute__((uninitialized)) char names[IDENTITY_MEMO_NAMES_SIZE_MAX]; /* filled in as far as names_size counts */
    size_t names_size;
    if (!put_all(claims, names, &names_size))
        return identity_make(key, a, claims, wall_ms, ret_token, reterr);
    uint64_t hash = hash_sip13(m->seed, names, names_size);
    struct identity_memo_entry **place = &m->entries[hash % IDENTITY_MEMO_MAX], *e = *place;
    if (e != NULL && e->hash == hash && e->names_size == names_size && memcmp(e->bytes, names, names_size) == 0 &&
        wall_ms >= e->made_ms && wall_ms - e->made_ms < IDENTITY_MEMO_REUSE_MS) {
        *ret_token = slice_make(e->bytes + names_size, e->token_size);
        return FICUS_ERR_OK;
    }
    enum ficus_err err = identity_make(key, a, claims, wall_ms, ret_token, reterr);
    if (err == FICUS_ERR_OK)
        note(place, hash, names, names_size, *ret_token, wall_ms);
    return err;
}
