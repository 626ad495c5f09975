/* SPDX-License-Identifier: Apache-2.0
 *
 * A borrowed run of bytes: pointer and size, no terminator. Whoever made the bytes owns them.
 */
#ifndef FICUS_BASE_SLICE_H
#define FICUS_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *p;  /* NULL only when absent (SLICE_NONE) */
    size_t size;
};

#define SLICE_NONE ((struct slice){NULL, 0})
#define SLICE(literal) ((struct slice){(literal), sizeof(literal) - 1})
#define SLICE_FMT "%.*s"
#define SLICE_ARG(s) (int)(s).size, (s).p

static inline struct slice slice_str(const char *s)
{
    return s == NULL ? SLICE_NONE : (struct slice){s, strlen(s)};
}

static inline struct slice slice_make(const void *p, size_t size)
{
    return (struct slice){(const char *)p, size};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.p, b.p, a.size) == 0);
}

static inline bool slice_eq_str(struct slice a, const char *s)
{
    return slice_eq(a, slice_str(s));
}

static inline struct slice slice_from(struct slice s, size_t offset)
{
    return offset >= s.size ? (struct slice){s.p + s.size, 0} : (struct slice){s.p + offset, s.size - offset};
}

/* Copies s to at, where there is room; returns the end. Most texts of heads and lines have up to 32 bytes: two words that may
 * overlap cost less than a call. */
static inline char *slice_put(char *at, struct slice s)
{
    if (s.size > 32 || s.size < 4) {
        if (s.size > 0)
            memcpy(at, s.p, s.size);
    } else if (s.size >= 16) {
        char first[16], last[16];
        memcpy(first, s.p, sizeof first);
        memcpy(last, s.p + s.size - sizeof last, sizeof last);
        memcpy(at, first, sizeof first);
        memcpy(at + s.size - sizeof last, last, sizeof last);
    } else if (s.size >= 8) {
        uint64_t first, last;
        memcpy(&first, s.p, sizeof first);
        memcpy(&last, s.p + s.size - sizeof last, sizeof last);
        memcpy(at, &first, sizeof first);
        memcpy(at + s.size - sizeof last, &last, sizeof last);
    } else {
        uint32_t first, last;
        memcpy(&first, s.p, sizeof first);
        memcpy(&last, s.p + s.size - sizeof last, sizeof last);
        memcpy(at, &first, sizeof first);
        memcpy(at + s.size - sizeof last, &last, sizeof last);
    }
    return at + s.size;
}

bool slice_bytes_eq_nocase(const char *a, const char *b, size_t size); /* behind slice_eq_nocase */
/* ASCII only. Names are compared with many others, most of another size or with another first letter: those cost no call. */
static inline bool slice_eq_nocase(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || (((a.p[0] ^ b.p[0]) & ~0x20) == 0 && slice_bytes_eq_nocase(a.p, b.p, a.size)));
}
bool slice_starts(struct slice s, struct slice prefix);
bool slice_ends(struct slice s, struct slice suffix);
int slice_cmp(struct slice a, struct slice b);                  /* bytewise, shorter first */
ptrdiff_t slice_find(struct slice s, char c);                   /* index, or -1 */
/* SP and HTAB at both ends. */
static inline struct slice slice_trim(struct slice s)
{
    while (s.size > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.size--;
    }
    while (s.size > 0 && (s.p[s.size - 1] == ' ' || s.p[s.size - 1] == '\t'))
        s.size--;
    return s;
}

/* Cut *rest at the first sep: returns the part before, *rest becomes the part after (size 0 and p NULL when none was left). */
struct slice slice_cut(struct slice *rest, char sep);

/* Whole-slice decimal numbers; no sign for u64, no blanks, no leading '+'. False on anything else and on overflow. */
bool slice_to_u64(struct slice s, uint64_t *ret_value);
bool slice_to_i64(struct slice s, int64_t *ret_value);

#endif
