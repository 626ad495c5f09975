/* SPDX-License-Identifier: Apache-2.0
 *
 * Schemas and values that nobody would write. The input is a schema, a newline, another schema, a newline, a value. What is
 * compiled has a meaning, which compiles again and means the same; a schema reads itself; and where the second is said to
 * read the first, it takes every value that the first takes.
 */
#include "assert.h"
#include "jschema.h"

static struct jschema *compile(struct arena *a, struct slice text)
{
    struct jschema_faults faults = {.arena = a};
    struct jschema *s = NULL;
    enum ficus_err err = jschema_compile(a, text, &s, &faults);
    FICUS_ASSERT((err == FICUS_ERR_OK) == (s != NULL));
    FICUS_ASSERT(s != NULL || faults.count > 0);
    return s;
}

static void check_meaning(struct arena *a, const struct jschema *s)
{
    struct buf first, second;
    buf_init(&first, 1 << 20);
    buf_init(&second, 1 << 20);
    if (jschema_meaning(s, &first) && buf_slice(&first).size <= JSCHEMA_TEXT_SIZE_MAX) {
        const struct jschema *again = compile(a, buf_slice(&first));
        FICUS_ASSERT(again != NULL);
        FICUS_ASSERT(jschema_meaning(again, &second));
        FICUS_ASSERT(slice_eq(buf_slice(&first), buf_slice(&second)));
    }
    buf_done(&first);
    buf_done(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct slice rest = slice_make(data, size), one = slice_cut(&rest, '\n'), two = rest.p == NULL ? SLICE_NONE : slice_cut(&rest, '\n');
    struct json *value = NULL;
    arena_init(&a, 256 << 20);
    struct jschema_faults faults = {.arena = &a};
    const struct jschema *old = compile(&a, one), *new = two.p == NULL ? NULL : compile(&a, two);
    bool parsed = rest.p != NULL && json_parse(&a, rest, NULL, &value, NULL) == FICUS_ERR_OK;
    if (old != NULL)
        check_meaning(&a, old);
    bool fits = old != NULL && parsed && jschema_check(old, value, &faults);
    FICUS_ASSERT(!fits || faults.count == 0);
    if (old != NULL && new != NULL && jschema_reads(new, old, &faults) && fits && !jschema_check(new, value, &faults))
        FICUS_ASSERT(slice_starts(slice_str(faults.list[0].text), SLICE("the value is too costly"))); /* no answer is none */
    arena_done(&a);
    return 0;
}
