/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus saga list, show, retry: by the hub's operator socket.
 */
#include "cli.h"

#include <stdio.h>

enum { PAGE = 1000, SAGAS_MAX = 64, FILE_SIZE_MAX = 16 << 20 };

static struct slice text_of(const struct json *v, const char *key)
{
    return json_string_or(json_get(v, key), SLICE("-"));
}

/* ---- list ---- */

static void print_row(const struct json *v, struct buf *out)
{
    buf_printf(out, "%-14.*s %-36.*s %-12.*s %-12.*s %-20.*s " SLICE_FMT "\n", SLICE_ARG(text_of(v, "saga")),
               SLICE_ARG(text_of(v, "id")), SLICE_ARG(text_of(v, "state")), SLICE_ARG(text_of(v, "step")),
               SLICE_ARG(text_of(v, "failure")), SLICE_ARG(text_of(v, "updated_at")));
}

/* All pages; as one JSON document, or as a table. */
static int list(struct cli *cli, const char *state)
{
    const char *after = "";
    struct buf out;
    bool first = true;
    int code;
    buf_init(&out, 64 << 20);
    if (cli->json)
        buf_add_str(&out, "{\"sagas\":[");
    else
        buf_printf(&out, "%-14s %-36s %-12s %-12s %-20s %s\n", "saga", "id", "state", "step", "failure", "updated");
    do {
        const struct json *root = NULL;
        const char *target = arena_printf(&cli->a, "/v1/sagas?limit=%d%s%s%s%s", PAGE,
                                          state == NULL ? "" : "&state=", state == NULL ? "" : state,
                                          after[0] == '\0' ? "" : "&after=", after);
        if (target == NULL) {
            code = cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM});
            break;
        }
        code = cli_ask(cli, &(struct cli_request){"hub-ops.sock", "the hub", "GET", target, 200, false}, NULL, NULL,
                       &root);
        after = "";
        if (code != EXIT_OK)
            break;
        const struct json *sagas = json_get(root, "sagas");
        for (const struct json *v = sagas == NULL ? NULL : sagas->first; v != NULL; v = v->next, first = false) {
            struct json_writer w;
            if (!cli->json) {
                print_row(v, &out);
                continue;
            }
            buf_add_str(&out, first ? "" : ",");
            json_write_init(&w, &out);
            json_write_value(&w, v);
        }
        const char *next = arena_strdup(&cli->a, json_string_or(json_get(root, "after"), SLICE("")));
        after = next == NULL ? "" : cli_segment(cli, next);
    } while (after[0] != '\0');
    if (cli->json)
        buf_add_str(&out, "]}\n");
    if (code == EXIT_OK)
        cli_print(buf_slice(&out));
    buf_done(&out);
    return code;
}

int cmd_saga_list(const struct command_call *c)
{
    struct cli cli;
    int code = EXIT_FAILED;
    if (cli_init(&cli, c))
        code = list(&cli, command_has(c, "stuck") ? "stuck" : command_value(c, "state", NULL));
    cli_done(&cli);
    return code;
}

/* ---- one ---- */

/* The names of all sagas, from the hub's resolved file: an id alone may belong to any of them. */
static size_t saga_names(struct cli *cli, const char *names[SAGAS_MAX])
{
    struct slice text;
    struct json *root = NULL;
    size_t count = 0;
    const char *path = arena_printf(&cli->a, "%s/hub.json", cli->state.run);
    if (path == NULL || env_file_load(cli->e, &cli->a, path, FILE_SIZE_MAX, &text, NULL) != FICUS_ERR_OK ||
        json_parse(&cli->a, text, &(struct json_limits){.size_max = FILE_SIZE_MAX, .values_max = 1000000}, &root,
                   NULL) != FICUS_ERR_OK)
        return 0;
    const struct json *sagas = json_get(root, "sagas");
    for (const struct json *v = sagas == NULL ? NULL : sagas->first; v != NULL && count < SAGAS_MAX; v = v->next)
        if ((names[count] = arena_strdup(&cli->a, json_string_or(json_get(v, "name"), SLICE("")))) != NULL)
            count++;
    return count;
}

static void print_saga(const struct json *v, struct buf *out)
{
    static const char *const keys[] = {"state",       "failure",     "started_at", "updated_at",
                                       "correlation", "traceparent", "definition"};
    buf_printf(out, "saga " SLICE_FMT "/" SLICE_FMT "\n", SLICE_ARG(text_of(v, "saga")), SLICE_ARG(text_of(v, "id")));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (json_get(v, keys[i]) != NULL)
            buf_printf(out, "  %-12s " SLICE_FMT "\n", keys[i], SLICE_ARG(text_of(v, keys[i])));
    const struct json *history = json_get(v, "history");
    for (const struct json *r = history == NULL ? NULL : history->first; r != NULL; r = r->next) {
        buf_printf(out, "  " SLICE_FMT "  %-12.*s %-12.*s", SLICE_ARG(text_of(r, "at")), SLICE_ARG(text_of(r, "kind")),
                   SLICE_ARG(text_of(r, "step")));
        if (json_get(r, "status") != NULL)
            buf_printf(out, " %lld", (long long)json_i64_or(json_get(r, "status"), 0));
        if (json_get(r, "code") != NULL)
            buf_printf(out, " " SLICE_FMT, SLICE_ARG(text_of(r, "code")));
        if (json_i64_or(json_get(r, "attempts"), 0) > 1)
            buf_printf(out, " after %lld attempts", (long long)json_i64_or(json_get(r, "attempts"), 0));
        buf_add_char(out, '\n');
    }
}

struct one {
    struct cli cli;
    const char *id;               /* encoded */
    const char *names[SAGAS_MAX]; /* encoded: the sagas to look in */
    size_t count;
};

static bool one_init(struct one *o, const struct command_call *c)
{
    if (!cli_init(&o->cli, c))
        return false;
    struct slice id = slice_str(c->operands[0]);
    ptrdiff_t slash = slice_find(id, '/');
    if (slash > 0) {
        const char *name = arena_strdup(&o->cli.a, slice_make(id.p, (size_t)slash));
        o->names[0] = name == NULL ? "" : cli_segment(&o->cli, name);
        o->count = 1;
        o->id = cli_segment(&o->cli, id.p + slash + 1);
        return true;
    }
    o->count = saga_names(&o->cli, o->names);
    for (size_t i = 0; i < o->count; i++)
        o->names[i] = cli_segment(&o->cli, o->names[i]);
    o->id = cli_segment(&o->cli, c->operands[0]);
    if (o->count == 0)
        dprintf(2, "ficus: no saga is known here; say SAGA/ID\n");
    return o->count > 0;
}

/* Ask for the id in each saga; 404 means: not this one. Returns the exit code; *ret_found counts the others. */
static int one_ask(struct one *o, size_t i, const char *method, const char *action, int expected,
                   struct slice *ret_body, const struct json **ret_json, bool *ret_missing)
{
    int status = 0;
    *ret_missing = false;
    const char *target = arena_printf(&o->cli.a, "/v1/sagas/%s/%s%s", o->names[i], o->id, action);
    if (target == NULL)
        return cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM});
    struct cli_request r = {"hub-ops.sock", "the hub", method, target, expected, true};
    int code = cli_ask(&o->cli, &r, &status, ret_body, ret_json);
    if (code == EXIT_OK || status == 404) {
        *ret_missing = status == 404;
        return EXIT_OK;
    }
    r.quiet = false; /* say it */
    return cli_ask(&o->cli, &r, &status, ret_body, ret_json);
}

int cmd_saga_show(const struct command_call *c)
{
    struct one o = {0};
    int code = EXIT_FAILED;
    size_t found = 0;
    struct buf out;
    buf_init(&out, 16 << 20);
    if (one_init(&o, c)) {
        code = EXIT_OK;
        for (size_t i = 0; i < o.count && code == EXIT_OK; i++) {
            const struct json *root = NULL;
            struct slice body = SLICE_NONE;
            bool missing;
            code = one_ask(&o, i, "GET", "", 200, &body, &root, &missing);
            if (code != EXIT_OK || missing)
                continue;
            found++;
            if (o.cli.json)
                buf_printf(&out, SLICE_FMT "\n", SLICE_ARG(body));
            else
                print_saga(root, &out);
        }
        if (code == EXIT_OK && found == 0) {
            dprintf(2, "ficus: there is no saga with id %s\n", c->operands[0]);
            code = EXIT_FAILED;
        }
    }
    cli_print(buf_slice(&out));
    buf_done(&out);
    cli_done(&o.cli);
    return code;
}

static int retry(struct one *o, const char *id)
{
    size_t retried = 0, found = 0;
    for (size_t i = 0; i < o->count; i++) {
        const struct json *root = NULL;
        bool missing;
        int code = one_ask(o, i, "GET", "", 200, NULL, &root, &missing);
        if (code != EXIT_OK)
            return code;
        if (missing)
            continue;
        found++;
        if (o->count > 1 && !slice_eq_str(text_of(root, "state"), "stuck"))
            continue; /* an id alone means the stuck one of its sagas */
        code = one_ask(o, i, "POST", "/retry", 202, NULL, NULL, &missing);
        if (code != EXIT_OK)
            return code;
        retried++;
    }
    if (found == 0)
        dprintf(2, "ficus: there is no saga with id %s\n", id);
    else if (retried == 0)
        dprintf(2, "ficus: saga %s is not stuck\n", id);
    return retried > 0 ? EXIT_OK : EXIT_FAILED;
}

int cmd_saga_retry(const struct command_call *c)
{
    struct one o = {0};
    int code = EXIT_FAILED;
    if (one_init(&o, c))
        code = retry(&o, c->operands[0]);
    cli_done(&o.cli);
    return code;
}
