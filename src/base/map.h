/* SPDX-License-Identifier: Apache-2.0
 *
 * Hash map from byte strings to pointers, with keyed hashing (SipHash-1-3) so that a peer who chooses keys
 * cannot make it slow. Keys are copied. Not thread-safe.
 */
#ifndef FICUS_BASE_MAP_H
#define FICUS_BASE_MAP_H

#include "slice.h"

struct map_entry;

struct map {
    /* private */
    struct map_entry *entries;
    size_t count, tombs, capacity;
    uint64_t seed[2];
};

/* seed: 16 bytes from env_random; zeros are fine where keys are trusted. */
void map_init(struct map *m, const uint64_t seed[2]);
void map_done(struct map *m);       /* values are the caller's */
size_t map_count(const struct map *m);
void *map_get(const struct map *m, struct slice key);                   /* NULL when absent */
bool map_put(struct map *m, struct slice key, void *value);             /* value not NULL; replaces; false: out of memory */
void *map_remove(struct map *m, struct slice key);                      /* the value that was there, or NULL */
/* Iterate: start with *pos = 0; false at the end. Do not change the map meanwhile. */
bool map_next(const struct map *m, size_t *pos, struct slice *ret_key, void **ret_value);

uint64_t hash_sip13(const uint64_t seed[2], const void *p, size_t size);

#endif
