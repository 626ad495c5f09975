/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus saga describe: a saga's definition, and how many instances run on each version of it.
 */
#include "cmd_saga.h"

#include <stdio.h>
#include <string.h>

/* Steps of one group stand below its line. *group: of the step before. */
static void print_step(const struct json *s, int64_t *group, struct buf *out)
{
    static const char *const words[] = {"call", "saga", "undo", "wait", "signal", "given_by", "refused_by", "timeout", "on_timeout", "give_up", "retry"};
    int64_t own = json_i64_or(json_get(s, "parallel"), 0);
    if (own != 0 && own != *group)
        buf_add_str(out, "  parallel\n");
    *group = own;
    buf_printf(out, own != 0 ? "    %-12.*s" : "  %-14.*s", SLICE_ARG(text_of(s, "step")));
    if (cli_is_true(json_get(s, "pivot")))
        buf_add_str(out, " pivot");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (json_get(s, words[i]) != NULL)
            buf_printf(out, " %s: " SLICE_FMT, words[i], SLICE_ARG(text_of(s, words[i])));
    buf_add_char(out, '\n');
}

static void print_version(const struct json *v, struct slice present, struct buf *out)
{
    buf_printf(out, "  " SLICE_FMT "%s:", SLICE_ARG(text_of(v, "definition")), slice_eq(text_of(v, "definition"), present) ? " (this one)" : "");
    for (const struct json *m = v->first; m != NULL; m = m->next)
        if (m->type == JSON_NUMBER)
            buf_printf(out, " " SLICE_FMT " " SLICE_FMT, SLICE_ARG(m->text), SLICE_ARG(m->key));
    buf_add_char(out, '\n');
}

static void print_definition(const struct json *d, struct buf *out)
{
    bool by_event = json_get(d, "start") != NULL;
    buf_printf(out, "saga " SLICE_FMT " of " SLICE_FMT ", %s" SLICE_FMT "\n  definition " SLICE_FMT "\nsteps\n",
               SLICE_ARG(text_of(d, "saga")), SLICE_ARG(text_of(d, "owner")), by_event ? "started by " : "begun by its owner",
               SLICE_ARG(by_event ? text_of(d, "start") : SLICE("")), SLICE_ARG(text_of(d, "definition")));
    int64_t group = 0;
    const struct json *versions = json_get(d, "versions");
    for (const struct json *s = items_of(d, "steps"); s != NULL; s = s->next)
        print_step(s, &group, out);
    bool any = versions != NULL && versions->first != NULL;
    buf_add_str(out, any ? "instances that have not ended, by definition\n" : "no instance that has not ended\n");
    for (const struct json *v = any ? versions->first : NULL; v != NULL; v = v->next)
        print_version(v, text_of(d, "definition"), out);
}

static int describe(struct cli *cli, bool flow, const char *name, struct slice hash)
{
    struct slice body = SLICE_NONE;
    const struct json *root = NULL;
    struct buf out;
    const char *target = arena_printf(&cli->a, "/v1/%s/%s%s" SLICE_FMT, flow ? "flows" : "sagas", name, hash.size > 0 ? "?definition=" : "",
                                      SLICE_ARG(hash));
    if (target == NULL)
        return cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM});
    int code = cli_ask(cli, &(struct cli_request){"hub-ops.sock", "the hub", "GET", target, 200, false}, NULL, &body, &root);
    if (code != EXIT_OK)
        return code;
    buf_init(&out, 16 << 20);
    if (cli->json)
        buf_printf(&out, SLICE_FMT "\n", SLICE_ARG(body));
    else if (flow)
        print_flow_definition(root, &out);
    else
        print_definition(root, &out);
    cli_print(buf_slice(&out));
    buf_done(&out);
    return code;
}

/* The saga of this name, or else that of the instance with this id, with the definition that it began with. */
static int describe_one(struct saga_one *o, const char *operand)
{
    const struct json *root = NULL;
    bool missing = true;
    size_t found = 0, at = 0, i = 0;
    int code = EXIT_OK;
    while (i < o->all_count && (slice_find(slice_str(operand), '/') >= 0 || strcmp(o->names[i], o->id) != 0))
        i++;
    if (i < o->all_count)
        return describe(&o->cli, i >= o->count, o->names[i], SLICE_NONE);
    for (i = 0; i < o->all_count && code == EXIT_OK && (i < o->count || found == 0); i++) {
        code = saga_one_ask(o, i, NULL, &root, &missing);
        at = missing ? at : i;
        found += missing ? 0 : 1;
    }
    if (code == EXIT_OK && found > 1)
        at = saga_one_choose(o, operand, false, &code);
    if (code != EXIT_OK || (found > 1 && at == o->count))
        return code;
    if (found > 0 && at < o->count) {
        code = saga_one_ask(o, at, NULL, &root, &missing);
        return code == EXIT_OK ? describe(&o->cli, false, o->names[at], text_of(root, "definition")) : code;
    }
    if (found > 0)
        return describe(&o->cli, true, o->names[at], SLICE_NONE);
    dprintf(2, "ficus: there is no saga %s, and none with this id\n", operand);
    return EXIT_FAILED;
}

int cmd_saga_describe(const struct command_call *c)
{
    struct saga_one o = {0};
    int code;
    if (saga_one_init(&o, c, &code))
        code = describe_one(&o, c->operands[0]);
    cli_done(&o.cli);
    return code;
}
