/* SPDX-License-Identifier: Apache-2.0
 *
 * Words, names and folders of new services.
 */
#include "scaffold.h"

#include <ctype.h>

enum { SYSTEM_NAME_SIZE_MAX = 32 };

static const struct scaffold_word *word_at(struct slice text, const struct scaffold_word *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (slice_starts(text, slice_str(words[i].from)))
            return &words[i];
    return NULL;
}

bool scaffold_expand(struct slice text, const struct scaffold_word *words, size_t count, struct buf *out)
{
    while (text.size > 0) {
        const struct scaffold_word *w = word_at(text, words, count);
        if (w == NULL)
            buf_add_char(out, text.p[0]);
        else
            buf_add_str(out, w->to);
        text = slice_from(text, w == NULL ? 1 : strlen(w->from));
    }
    return !buf_failed(out);
}

const char *scaffold_identifier(struct arena *a, const char *name)
{
    char *copy = arena_strdup(a, slice_str(name));
    for (char *p = copy; p != NULL && *p != '\0'; p++)
        *p = *p == '-' ? '_' : *p;
    return copy;
}

const char *scaffold_folder(struct arena *a, const char *pattern, const char *name)
{
    static const char tail[] = "*/service.yaml";
    struct slice p = slice_str(pattern);
    if (!slice_ends(p, slice_str(tail)))
        return NULL;
    struct slice head = slice_make(p.p, p.size - (sizeof tail - 1));
    if ((head.size > 0 && head.p[head.size - 1] != '/') || slice_find(head, '*') >= 0 || slice_find(head, '?') >= 0 ||
        slice_find(head, '[') >= 0)
        return NULL;
    return arena_printf(a, SLICE_FMT "%s", SLICE_ARG(head), name);
}

const char *scaffold_system(struct arena *a, const char *folder)
{
    char name[SYSTEM_NAME_SIZE_MAX + 1];
    size_t size = 0;
    for (const char *p = folder; *p != '\0' && size < SYSTEM_NAME_SIZE_MAX; p++) {
        unsigned char c = (unsigned char)*p;
        if (isascii(c) && (isalpha(c) || (size > 0 && isdigit(c))))
            name[size++] = (char)tolower(c);
        else if (size > 0 && name[size - 1] != '-')
            name[size++] = '-';
    }
    while (size > 0 && name[size - 1] == '-')
        size--;
    return size == 0 ? "system" : arena_strdup(a, slice_make(name, size));
}
