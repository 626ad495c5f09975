/* SPDX-License-Identifier: Apache-2.0
 *
 * Open addressing with linear probing; a removed entry leaves a tomb. Grows (or is rebuilt without tombs) at three quarters.
 */
#include "map.h"

#include "mem.h"

struct map_entry {
    char *key;          /* owned; NULL: free or tomb */
    size_t key_size;
    uint64_t hash;
    void *value;        /* &tomb in a tomb */
};

static const char tomb_mark;

static bool is_tomb(const struct map_entry *e)
{
    return e->key == NULL && e->value == (const void *)&tomb_mark;
}

static uint64_t rotate(uint64_t v, int bits)
{
    return v << bits | v >> (64 - bits);
}

/* One load, which a compiler does not make of a loop. */
static uint64_t load_le64(const unsigned char *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 | (uint64_t)p[4] << 32 |
           (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1]; v[1] = rotate(v[1], 13); v[1] ^= v[0]; v[0] = rotate(v[0], 32);
    v[2] += v[3]; v[3] = rotate(v[3], 16); v[3] ^= v[2];
    v[0] += v[3]; v[3] = rotate(v[3], 21); v[3] ^= v[0];
    v[2] += v[1]; v[1] = rotate(v[1], 17); v[1] ^= v[2]; v[2] = rotate(v[2], 32);
}

uint64_t hash_sip13(const uint64_t seed[2], const void *p, size_t size)
{
    const unsigned char *in = p;
    uint64_t v[4] = {seed[0] ^ UINT64_C(0x736f6d6570736575), seed[1] ^ UINT64_C(0x646f72616e646f6d),
                     seed[0] ^ UINT64_C(0x6c7967656e657261), seed[1] ^ UINT64_C(0x7465646279746573)};
    size_t left = size;
    for (; left >= 8; left -= 8, in += 8) {
        uint64_t word = load_le64(in);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)size << 56;
    for (size_t i = 0; i < left; i++)
        last |= (uint64_t)in[i] << (8 * i);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void map_init(struct map *m, const uint64_t seed[2])
{
    *m = (struct map){.seed = {seed[0], seed[1]}};
}

void map_done(struct map *m)
{
    for (size_t i = 0; i < m->capacity; i++)
        mem_free(m->entries[i].key);
    mem_free(m->entries);
    *m = (struct map){.seed = {m->seed[0], m->seed[1]}};
}

size_t map_count(const struct map *m)
{
    return m->count;
}

/* The entry with the key, or NULL. capacity is a power of two and never full, so the walk ends. */
static struct map_entry *find(const struct map *m, struct slice key, uint64_t hash)
{
    if (m->capacity == 0)
        return NULL;
    for (size_t i = hash & (m->capacity - 1);; i = (i + 1) & (m->capacity - 1)) {
        struct map_entry *e = &m->entries[i];
        if (e->key == NULL) {
            if (is_tomb(e))
                continue;
            return NULL;
        }
        if (e->hash == hash && slice_eq(slice_make(e->key, e->key_size), key))
            return e;
    }
}

void *map_get(const struct map *m, struct slice key)
{
    if (m->count == 0)
        return NULL;
    struct map_entry *e = find(m, key, hash_sip13(m->seed, key.p, key.size));
    return e == NULL ? NULL : e->value;
}

/* True when a tomb gave its place. */
static bool place(struct map_entry *entries, size_t capacity, const struct map_entry *e)
{
    size_t i = e->hash & (capacity - 1);
    while (entries[i].key != NULL)
        i = (i + 1) & (capacity - 1);
    bool tomb = is_tomb(&entries[i]);
    entries[i] = *e;
    return tomb;
}

static bool make_room(struct map *m)
{
    if ((m->count + m->tombs + 1) * 4 <= m->capacity * 3)
        return true;
    size_t capacity = m->capacity == 0 ? 16 : m->capacity;
    while ((m->count + 1) * 2 > capacity)
        capacity *= 2;
    struct map_entry *entries = mem_array(capacity, sizeof *entries);
    if (entries == NULL)
        return false;
    for (size_t i = 0; i < m->capacity; i++)
        if (m->entries[i].key != NULL)
            (void)place(entries, capacity, &m->entries[i]);
    mem_free(m->entries);
    m->entries = entries;
    m->capacity = capacity;
    m->tombs = 0;
    return true;
}

bool map_put(struct map *m, struct slice key, void *value)
{
    uint64_t hash = hash_sip13(m->seed, key.p, key.size);
    struct map_entry *old = find(m, key, hash);
    if (old != NULL) {
        old->value = value;
        return true;
    }
    char *copy = mem_strndup(key.p, key.size);
    if (copy == NULL)
        return false;
    if (!make_room(m)) {
        mem_free(copy);
        return false;
    }
    struct map_entry e = {.key = copy, .key_size = key.size, .hash = hash, .value = value};
    if (place(m->entries, m->capacity, &e))
        m->tombs--;
    m->count++;
    return true;
}

void *map_remove(struct map *m, struct slice key)
{
    struct map_entry *e = find(m, key, hash_sip13(m->seed, key.p, key.size));
    if (e == NULL)
        return NULL;
    void *value = e->value;
    mem_free(e->key);
    *e = (struct map_entry){.value = (void *)(uintptr_t)&tomb_mark};
    m->count--;
    m->tombs++;
    return value;
}

bool map_next(const struct map *m, size_t *pos, struct slice *ret_key, void **ret_value)
{
    for (size_t i = *pos; i < m->capacity; i++) {
        const struct map_entry *e = &m->entries[i];
        if (e->key == NULL)
            continue;
        *pos = i + 1;
        if (ret_key != NULL)
            *ret_key = slice_make(e->key, e->key_size);
        if (ret_value != NULL)
            *ret_value = e->value;
        return true;
    }
    *pos = m->capacity;
    return false;
}
