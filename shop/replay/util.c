/* SPDX-License-Identifier: Apache-2.0 */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("shop-replay: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void *util_alloc(size_t size)
{
    void *p = calloc(1, size == 0 ? 1 : size);
    if (p == NULL)
        die("out of memory");
    return p;
}

void *util_grow(void *array, size_t count, size_t size)
{
    if (count != 0 && (count & (count - 1)) != 0)
        return array;
    size_t capacity = count == 0 ? 1 : count * 2;
    char *p = realloc(array, capacity * size);
    if (p == NULL)
        die("out of memory");
    memset(p + count * size, 0, (capacity - count) * size);
    return p;
}

char *util_strdup(const char *s)
{
    char *copy = strdup(s);
    if (copy == NULL)
        die("out of memory");
    return copy;
}

char *util_printf(const char *format, ...)
{
    va_list args;
    char *p = NULL;
    va_start(args, format);
    int size = vasprintf(&p, format, args);
    va_end(args);
    if (size < 0)
        die("out of memory");
    return p;
}

/* ---- growing text ---- */

void text_add(struct text *t, const char *p, size_t size)
{
    if (t->size + size + 1 > t->capacity) {
        t->capacity = (t->size + size + 1) * 2;
        t->p = realloc(t->p, t->capacity);
        if (t->p == NULL)
            die("out of memory");
    }
    memcpy(t->p + t->size, p, size);
    t->size += size;
    t->p[t->size] = '\0';
}

void text_str(struct text *t, const char *s)
{
    text_add(t, s, strlen(s));
}

void text_printf(struct text *t, const char *format, ...)
{
    va_list args;
    char *p = NULL;
    va_start(args, format);
    int size = vasprintf(&p, format, args);
    va_end(args);
    if (size < 0)
        die("out of memory");
    text_add(t, p, (size_t)size);
    free(p);
}

void text_json(struct text *t, const char *s)
{
    if (s == NULL) {
        text_str(t, "null");
        return;
    }
    text_str(t, "\"");
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            text_add(t, (char[]){'\\', *s}, 2);
        else if (c < 0x20)
            text_printf(t, "\\u%04x", c);
        else
            text_add(t, s, 1);
    }
    text_str(t, "\"");
}

void text_segment(struct text *t, const char *s)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (; *s != '\0'; s++) {
        if (strchr(plain, *s) != NULL)
            text_add(t, s, 1);
        else
            text_printf(t, "%%%02X", (unsigned char)*s);
    }
}

void text_done(struct text *t)
{
    free(t->p);
    *t = (struct text){0};
}

/* ---- UTF-8 ---- */

/* Size of the valid UTF-8 sequence at s, 0 when there is none: no overlong forms, no surrogates, at most U+10FFFF (RFC
 * 3629). */
static size_t utf8_step(const unsigned char *s)
{
    static const struct {
        unsigned char first, last, low, high; /* of the first byte; of the second */
        size_t size;
    } forms[] = {
        {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (s[0] < forms[i].first || s[0] > forms[i].last)
            continue;
        if (forms[i].size > 1 && (s[1] < forms[i].low || s[1] > forms[i].high))
            return 0;
        for (size_t k = 2; k < forms[i].size; k++)
            if ((s[k] & 0xc0) != 0x80)
                return 0;
        return forms[i].size;
    }
    return 0;
}

static bool utf8_valid(const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    while (*p != '\0') {
        size_t size = utf8_step(p);
        if (size == 0)
            return false;
        p += size;
    }
    return true;
}

char *utf8_from(const char *s)
{
    if (utf8_valid(s))
        return util_strdup(s);
    struct text t = {0};
    text_str(&t, "");
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x80)
            text_add(&t, s, 1);
        else
            text_add(&t, (char[]){(char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))}, 2);
    }
    return t.p;
}

/* ---- hashing ---- */

uint64_t hash_texts(const char *first, ...)
{
    uint64_t h = UINT64_C(14695981039346656037);
    va_list args;
    va_start(args, first);
    for (const char *s = first; s != NULL; s = va_arg(args, const char *))
        for (; *s != '\0'; s++)
            h = (h ^ (unsigned char)*s) * UINT64_C(1099511628211);
    va_end(args);
    return h;
}

static struct strmap_slot *strmap_slot(const struct strmap *m, const char *key)
{
    size_t i = hash_texts(key, NULL) & (m->capacity - 1);
    while (m->slots[i].key != NULL && strcmp(m->slots[i].key, key) != 0)
        i = (i + 1) & (m->capacity - 1);
    return &m->slots[i];
}

bool strmap_get(const struct strmap *m, const char *key, size_t *ret_value)
{
    const struct strmap_slot *slot = m->capacity == 0 ? NULL : strmap_slot(m, key);
    if (slot == NULL || slot->key == NULL)
        return false;
    *ret_value = slot->value;
    return true;
}

void strmap_put(struct strmap *m, const char *key, size_t value)
{
    if (m->count * 2 >= m->capacity) {
        struct strmap old = *m;
        m->capacity = old.capacity == 0 ? 64 : old.capacity * 2;
        m->slots = util_alloc(m->capacity * sizeof *m->slots);
        for (size_t i = 0; i < old.capacity; i++)
            if (old.slots[i].key != NULL)
                *strmap_slot(m, old.slots[i].key) = old.slots[i];
        free(old.slots);
    }
    *strmap_slot(m, key) = (struct strmap_slot){key, value};
    m->count++;
}

void strmap_done(struct strmap *m)
{
    free(m->slots);
    *m = (struct strmap){0};
}

/* ---- time, random, files ---- */

int64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void time_text(int64_t ms, char ret_text[32])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t size = strftime(ret_text, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(ret_text + size, 32 - size, ".%03dZ", (int)(ms % 1000));
}

void random_hex(char *ret_text, size_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c;
        if (getrandom(&c, 1, 0) != 1)
            die("no random numbers: %s", strerror(errno));
        ret_text[2 * i] = digits[c >> 4];
        ret_text[2 * i + 1] = digits[c & 15];
    }
    ret_text[2 * bytes] = '\0';
}

static bool write_all(int fd, const char *p, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, p, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        p += n;
        size -= (size_t)n;
    }
    return true;
}

bool file_replace(const char *path, unsigned mode, const struct text *content)
{
    char *temporary = util_printf("%s.tmp", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    bool ok = fd >= 0 && fchmod(fd, mode) == 0 && write_all(fd, content->p, content->size);
    if (fd >= 0 && close(fd) != 0)
        ok = false;
    ok = ok && rename(temporary, path) == 0;
    free(temporary);
    return ok;
}
