/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus events schema: the schemas that are registered in the state folder, whether the system runs or not.
 */
#include "cli.h"

#include <stdio.h>

enum { FILE_SIZE_MAX = 8 << 20 };

static void print_topics(const struct json *topics, struct buf *out)
{
    buf_printf(out, "%-28s %s\n", "topic", "versions");
    for (const struct json *t = topics == NULL ? NULL : topics->first; t != NULL; t = t->next)
        buf_printf(out, "%-28.*s %u\n", SLICE_ARG(t->key), t->count);
}

/* version: SLICE_NONE: all, one a line. */
static int print_versions(const struct json *topics, const char *topic, struct slice version, struct buf *out)
{
    const struct json *list = json_get(topics, topic);
    int64_t number = 0;
    if (list == NULL) {
        dprintf(2, "ficus: no schema of \"%s\" is registered (ficus events schema lists the topics that have any)\n", topic);
        return EXIT_FAILED;
    }
    if (version.p != NULL && (!slice_to_i64(version, &number) || number < 1 || number > list->count)) {
        dprintf(2, "ficus: %s has the versions 1 to %u, not " SLICE_FMT "\n", topic, list->count, SLICE_ARG(version));
        return EXIT_FAILED;
    }
    int64_t at = 1;
    for (const struct json *v = list->first; v != NULL; v = v->next, at++)
        if (number == 0 || number == at)
            buf_printf(out, SLICE_FMT "\n", SLICE_ARG(v->text));
    return EXIT_OK;
}

int cmd_events_schema(const struct command_call *c)
{
    struct cli cli;
    struct slice text = SLICE_NONE;
    struct json *root = NULL;
    struct ficus_error error = {0};
    struct buf out;
    int code = EXIT_FAILED;
    buf_init(&out, 2 * FILE_SIZE_MAX);
    if (cli_init(&cli, c)) {
        enum ficus_err err = env_file_load(cli.e, &cli.a, cli.state.schemas_file, FILE_SIZE_MAX, &text, &error);
        if (err == FICUS_ERR_NOT_FOUND)
            err = json_parse(&cli.a, SLICE("{\"topics\":{}}"), NULL, &root, &error);
        else if (err == FICUS_ERR_OK)
            err = json_parse(&cli.a, text, &(struct json_limits){.size_max = FILE_SIZE_MAX, .values_max = FILE_SIZE_MAX}, &root, &error);
        const struct json *topics = json_get(root, "topics");
        code = err != FICUS_ERR_OK ? cli_fail(&error) : EXIT_OK;
        if (code == EXIT_OK && c->operand_count > 0)
            code = print_versions(topics, c->operands[0], c->operand_count > 1 ? slice_str(c->operands[1]) : SLICE_NONE, &out);
        else if (code == EXIT_OK && cli.json && topics != NULL)
            buf_printf(&out, SLICE_FMT "\n", SLICE_ARG(topics->text));
        else if (code == EXIT_OK)
            print_topics(topics, &out);
    }
    cli_print(buf_slice(&out));
    buf_done(&out);
    cli_done(&cli);
    return code;
}
