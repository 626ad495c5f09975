/* SPDX-License-Identifier: Apache-2.0 */
#include "jschema_private.h"

#include "mem.h"

enum { POINTER_SIZE_MAX = 200 };

static void pointer_write(struct buf *b, const struct jplace *place)
{
    const struct jplace *path[64];
    size_t count = 0;
    for (; place != NULL && place->up != NULL && count < ARRAY_COUNT(path); place = place->up)
        path[count++] = place;
    while (count > 0) {
        place = path[--count];
        if (place->key.p == NULL) {
            buf_printf(b, "/%zu", place->index);
            continue;
        }
        buf_add_char(b, '/');
        for (size_t i = 0; i < place->key.size; i++) {
            char c = place->key.p[i];
            if (c == '~' || c == '/')
                buf_add_str(b, c == '~' ? "~0" : "~1");
            else
                buf_add_char(b, c);
        }
    }
}

const char *jschema_pointer(struct arena *a, const struct jplace *place)
{
    struct buf b;
    buf_init(&b, POINTER_SIZE_MAX + 3);
    pointer_write(&b, place);
    if (buf_failed(&b)) { /* what is there so far, up to a whole character */
        size_t size = buf_slice(&b).size < POINTER_SIZE_MAX ? buf_slice(&b).size : POINTER_SIZE_MAX;
        while (size > 0 && ((unsigned char)buf_slice(&b).p[size - 1] & 0xc0) == 0x80)
            size--;
        size -= size > 0 && (unsigned char)buf_slice(&b).p[size - 1] >= 0x80 ? 1 : 0;
        const char *cut = arena_printf(a, "%.*s...", (int)size, buf_slice(&b).p);
        buf_done(&b);
        return cut == NULL ? "" : cut;
    }
    const char *text = arena_strdup(a, slice_str(buf_str(&b)));
    buf_done(&b);
    return text == NULL ? "" : text;
}

void jschema_fault_add(struct jschema_faults *faults, const char *pointer, size_t offset, const char *format, va_list args)
{
    if (faults == NULL || faults->count == JSCHEMA_FAULTS_MAX)
        return;
    const char *text = arena_vprintf(faults->arena, format, args);
    for (size_t i = 0; i < faults->count && text != NULL; i++) /* several ways to one place */
        if (strcmp(faults->list[i].text, text) == 0 && strcmp(faults->list[i].pointer, pointer) == 0)
            return;
    faults->list[faults->count++] = (struct jschema_fault){.pointer = pointer, .offset = (uint32_t)offset,
                                                            .text = text == NULL ? "out of memory" : text};
}

const char *jschema_type_text(unsigned types, struct buf *b)
{
    static const struct {
        unsigned types;
        const char *word;
    } words[] = {{JTYPE_NULL, "null"}, {JTYPE_BOOL, "boolean"}, {JTYPE_NUMBER, "number"}, {JTYPE_WHOLE, "integer"}, {JTYPE_FRACTION, "fraction"},
                 {JTYPE_STRING, "string"}, {JTYPE_ARRAY, "array"}, {JTYPE_OBJECT, "object"}};
    buf_clear(b);
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if ((types & words[i].types) != words[i].types)
            continue;
        types &= ~words[i].types;
        buf_printf(b, "%s%s", buf_slice(b).size > 0 ? " or " : "", words[i].word);
    }
    return buf_slice(b).size == 0 ? "nothing" : buf_str(b);
}
