/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory, growing text, JSON and URL writing, a map of strings. A tool without memory can only stop: these functions
 * then end the process with a message.
 */
#ifndef REPLAY_UTIL_H
#define REPLAY_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

void *util_alloc(size_t size); /* zeroed */
/* Room for one more element behind count of them; count is a power of two or zero exactly when the array must grow. */
void *util_grow(void *array, size_t count, size_t size);
char *util_strdup(const char *s);
char *util_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

struct text {
    char *p; /* NUL-terminated once something was added */
    size_t size, capacity;
};
void text_add(struct text *t, const char *p, size_t size);
void text_str(struct text *t, const char *s);
void text_printf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_json(struct text *t, const char *s);    /* a JSON string; NULL: null */
void text_segment(struct text *t, const char *s); /* percent-encoded as one path segment (RFC 3986) */
void text_done(struct text *t);

/* Text of a field as valid UTF-8: as it is when it is UTF-8 already, else read as Latin-1. The caller frees. */
char *utf8_from(const char *s);

/* FNV-1a, 64 bits, over the concatenation of the texts up to NULL. */
uint64_t hash_texts(const char *first, ...) __attribute__((sentinel));

/* String to index. Keys are borrowed. */
struct strmap {
    struct strmap_slot {
        const char *key;
        size_t value;
    } *slots;
    size_t count, capacity;
};
bool strmap_get(const struct strmap *m, const char *key, size_t *ret_value);
void strmap_put(struct strmap *m, const char *key, size_t value); /* key must not be there */
void strmap_done(struct strmap *m);

int64_t wall_ms(void);                         /* since 1970 */
void time_text(int64_t ms, char ret_text[32]); /* RFC 3339, UTC, milliseconds */
void random_hex(char *ret_text, size_t bytes); /* 2 * bytes + 1 characters */
/* Write a whole file through a temporary one beside it. False: errno says why. */
bool file_replace(const char *path, unsigned mode, const struct text *content);

#endif
