/* SPDX-License-Identifier: Apache-2.0
 *
 * For differential.py: reads requests, one a line, and answers each in a line.
 *   {"schema": S, "values": [V, ...]}    -> "refused: ..." or a letter for each value: y, n
 *   {"new": S, "old": S}                 -> "refused: ..." or y, n
 */
#include "jschema.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>

static struct jschema *compile(struct arena *a, const struct json *v, struct jschema_faults *faults)
{
    struct jschema *s = NULL;
    struct slice text = v->type == JSON_TRUE ? SLICE("true") : v->type == JSON_FALSE ? SLICE("false") : v->text;
    if (jschema_compile(a, text, &s, faults) != FICUS_ERR_OK)
        printf("refused: %s: %s\n", faults->list[0].pointer, faults->list[0].text);
    return s;
}

static void answer(struct arena *a, const struct json *request)
{
    struct jschema_faults faults = {.arena = a};
    const struct json *values = json_get(request, "values");
    if (values == NULL) {
        const struct jschema *new = compile(a, json_get(request, "new"), &faults), *old = new == NULL ? NULL : compile(a, json_get(request, "old"), &faults);
        if (new != NULL && old != NULL)
            puts(jschema_reads(new, old, &faults) ? "y" : "n");
        return;
    }
    const struct jschema *s = compile(a, json_get(request, "schema"), &faults);
    for (const struct json *v = s == NULL ? NULL : values->first; v != NULL; v = v->next)
        putchar(jschema_check(s, v, &faults) ? 'y' : 'n');
    if (s != NULL)
        putchar('\n');
}

int main(void)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    while ((size = getline(&line, &capacity, stdin)) > 0) {
        struct arena a;
        struct json *root = NULL;
        struct ficus_error error = {0};
        arena_init(&a, 64 << 20);
        if (json_parse(&a, slice_make(line, (size_t)size), &(struct json_limits){.size_max = 8 << 20}, &root, &error) == FICUS_ERR_OK)
            answer(&a, root);
        else
            printf("unreadable: %s\n", error.text);
        fflush(stdout);
        arena_done(&a);
    }
    free(line);
    return 0;
}
