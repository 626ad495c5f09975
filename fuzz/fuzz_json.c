/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON: whatever is accepted can be written, read again, and is the same tree; every error names a place within the text.
 */
#include "assert.h"
#include "json.h"

static bool same(const struct json *a, const struct json *b)
{
    if (a->type != b->type || a->count != b->count || !slice_eq(a->key, b->key))
        return false;
    if ((a->type == JSON_STRING || a->type == JSON_NUMBER) && !slice_eq(a->text, b->text))
        return false;
    const struct json *y = b->first;
    for (const struct json *x = a->first; x != NULL; x = x->next, y = y->next)
        if (y == NULL || !same(x, y))
            return false;
    return y == NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    arena_init(&a, 8 << 20);
    struct json *first = NULL, *second = NULL;
    struct ficus_error error = {0};
    enum ficus_err err = json_parse(&a, slice_make(data, size), NULL, &first, &error);
    FICUS_ASSERT(err == FICUS_ERR_OK || error.text[0] != '\0');
    if (err == FICUS_ERR_OK) {
        struct buf out;
        buf_init(&out, 16 << 20);
        struct json_writer w;
        json_write_init(&w, &out);
        json_write_value(&w, first);
        FICUS_ASSERT(!buf_failed(&out));
        FICUS_ASSERT(json_parse(&a, buf_slice(&out), &(struct json_limits){.size_max = 16 << 20}, &second, &error) == FICUS_ERR_OK);
        FICUS_ASSERT(same(first, second));
        buf_done(&out);
    }
    arena_done(&a);
    return 0;
}
