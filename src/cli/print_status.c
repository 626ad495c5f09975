/* SPDX-License-Identifier: Apache-2.0
 *
 * The status document for people.
 */
#include "cli.h"

#include "children.h"
#include "ops_call.h"
#include "status.h"
#include "text.h"
#include "timefmt.h"

#include <stdio.h>

static const char *state_colour(struct slice state)
{
    return slice_eq_str(state, "running")                                     ? "\033[32m"
           : slice_eq_str(state, "backoff") || slice_eq_str(state, "stopped") ? "\033[31m"
                                                                              : "\033[33m";
}

static void print_process(const struct json *v, struct slice name, bool colour, struct buf *out)
{
    struct slice state = json_string_or(json_get(v, "state"), SLICE("-")),
                 address = json_string_or(json_get(v, "address"), SLICE("-"));
    int64_t pid = json_i64_or(json_get(v, "pid"), 0), pss = json_i64_or(json_get(v, "pss_bytes"), 0);
    struct buf number, memory;
    buf_init(&number, 32);
    buf_init(&memory, 32);
    if (pid > 0) {
        buf_printf(&number, "%lld", (long long)pid);
        buf_printf(&memory, "%.1f MB", (double)pss / 1048576.0);
    }
    buf_printf(out, "%-14.*s %s%-11.*s%s %7s %9s %8lld  " SLICE_FMT "\n", SLICE_ARG(name),
               colour ? state_colour(state) : "", SLICE_ARG(state), colour ? "\033[0m" : "",
               pid > 0 ? buf_str(&number) : "-", pid > 0 ? buf_str(&memory) : "-",
               (long long)json_i64_or(json_get(v, "restarts"), 0), SLICE_ARG(address));
    struct slice message = json_string_or(json_get(v, "message"), SLICE(""));
    if (message.size > 0)
        buf_printf(out, "  %s" SLICE_FMT "%s\n", colour ? "\033[31m" : "", SLICE_ARG(message), colour ? "\033[0m" : "");
    if (cli_is_true(json_get(v, "changed")))
        buf_printf(out, "  its configuration has changed since it started: ficus restart " SLICE_FMT "\n", SLICE_ARG(name));
    buf_done(&memory);
    buf_done(&number);
}

typedef void (*each_process)(void *arg, struct slice name, const struct json *process);

static void for_each_process(const struct json *status, each_process fn, void *arg)
{
    static const char *const singles[] = {"gateway", "hub"};
    for (size_t i = 0; i < 2; i++)
        if (json_get(json_get(status, singles[i]), "state") != NULL)
            fn(arg, slice_str(singles[i]), json_get(status, singles[i]));
    for (const struct json *s = items_of(status, "services"); s != NULL; s = s->next) {
        for (const struct json *v = items_of(s, "instances"); v != NULL; v = v->next)
            fn(arg, json_string_or(json_get(s, "name"), SLICE("?")), v);
    }
}

struct printing {
    bool colour;
    struct buf *out;
    size_t count;
    int64_t pss;
};

static void print_each(void *arg, struct slice name, const struct json *process)
{
    struct printing *p = arg;
    print_process(process, name, p->colour, p->out);
    p->pss += json_i64_or(json_get(process, "pss_bytes"), 0);
}

/* Services that somebody else starts. */
static void print_externals(const struct json *status, struct buf *out)
{
    for (const struct json *s = items_of(status, "services"); s != NULL; s = s->next) {
        struct slice url = json_string_or(json_get(s, "url"), SLICE_NONE), name = json_string_or(json_get(s, "name"), SLICE("?"));
        if (url.p != NULL)
            buf_printf(out, "%-14.*s %-11s %7s %9s %8s  " SLICE_FMT "\n", SLICE_ARG(name), "external", "-", "-", "-", SLICE_ARG(url));
    }
}

/* One that is over and well is no news. */
static void print_upgrade(const struct json *u, bool colour, struct buf *out)
{
    struct slice state = json_string_or(json_get(u, "state"), SLICE("done")), message = json_string_or(json_get(u, "message"), SLICE(""));
    struct slice to = json_string_or(json_get(u, "to"), SLICE("another ficus")), process = json_string_or(json_get(u, "process"), SLICE(""));
    if (slice_eq_str(state, "done"))
        return;
    buf_printf(out, "%supgrade to " SLICE_FMT ": " SLICE_FMT "%s", colour && message.size > 0 ? "\033[31m" : "", SLICE_ARG(to), SLICE_ARG(state),
               message.size > 0 ? ": " : "");
    if (process.size > 0)
        buf_printf(out, ", %lld of %lld are restarted, " SLICE_FMT " is being", (long long)json_i64_or(json_get(u, "done"), 0),
                   (long long)json_i64_or(json_get(u, "of"), 0), SLICE_ARG(process));
    buf_printf(out, SLICE_FMT "%s\n", SLICE_ARG(message), colour && message.size > 0 ? "\033[0m" : "");
}

void print_status(const struct json *status, bool colour, struct buf *out)
{
    struct printing p = {.colour = colour, .out = out};
    int64_t pid = json_i64_or(json_get(json_get(status, "supervisor"), "pid"), 0);
    buf_printf(out, "%-14s %-11s %7s %9s %8s  %s\n", "process", "state", "pid", "memory", "restarts", "address");
    for_each_process(status, print_each, &p);
    print_externals(status, out);
    buf_printf(out, "system " SLICE_FMT ": ", SLICE_ARG(json_string_or(json_get(status, "system"), SLICE("?"))));
    if (pid > 0)
        buf_printf(out, "supervisor %lld, %.1f MB in all\n", (long long)pid, (double)p.pss / 1048576.0);
    else
        buf_add_str(out, "no supervisor\n");
    print_upgrade(json_get(json_get(status, "supervisor"), "upgrade"), colour, out);
}

static void note_unhealthy(void *arg, struct slice name, const struct json *process)
{
    struct printing *p = arg;
    struct slice state = json_string_or(json_get(process, "state"), SLICE("?"));
    if (!slice_eq_str(state, "running"))
        buf_printf(p->out, "%s" SLICE_FMT " (" SLICE_FMT ")", p->count++ == 0 ? "" : ", ", SLICE_ARG(name),
                   SLICE_ARG(state));
}

static void note_message(void *arg, struct slice name, const struct json *process)
{
    struct printing *p = arg;
    struct slice message = json_string_or(json_get(process, "message"), SLICE(""));
    if (message.size > 0 && !slice_eq_str(json_string_or(json_get(process, "state"), SLICE("?")), "running"))
        buf_printf(p->out, "  " SLICE_FMT ": " SLICE_FMT "\n", SLICE_ARG(name), SLICE_ARG(message));
}

void print_unhealthy(const struct json *status, int64_t wait_ms, struct buf *out)
{
    char waited[32];
    struct printing p = {.out = out};
    duration_format(wait_ms, waited, sizeof waited);
    buf_printf(out, "not healthy after %s: ", waited);
    for_each_process(status, note_unhealthy, &p);
    buf_add_char(out, '\n');
    for_each_process(status, note_message, &p);
}

const struct json *status_process(const struct json *status, const char *name)
{
    if (strcmp(name, "gateway") == 0 || strcmp(name, "hub") == 0)
        return json_get(status, name);
    for (const struct json *s = items_of(status, "services"); s != NULL; s = s->next)
        if (slice_eq_str(json_string_or(json_get(s, "name"), SLICE_NONE), name))
            return json_at(json_get(s, "instances"), 0);
    return NULL;
}

struct names {
    const char *list[CHILDREN_MAX];
    size_t count;
    struct arena a;
};

static void note_name(void *arg, struct slice name, const struct json *process)
{
    struct names *n = arg;
    if (n->count < CHILDREN_MAX && (n->list[n->count] = arena_strdup(&n->a, name)) != NULL)
        n->count++;
}

void cli_no_process(const struct json *status, const char *name)
{
    struct names n = {.count = 0};
    for (const struct json *s = items_of(status, "services"); s != NULL; s = s->next) {
        struct slice url = json_string_or(json_get(s, "url"), SLICE_NONE);
        if (url.p == NULL || !slice_eq_str(json_string_or(json_get(s, "name"), SLICE_NONE), name))
            continue;
        dprintf(2, "ficus: \"%s\" is started by somebody else (" SLICE_FMT "); nothing of it runs here\n", name, SLICE_ARG(url));
        return;
    }
    arena_init(&n.a, 1 << 20);
    for_each_process(status, note_name, &n);
    const char *near = text_nearest(slice_str(name), n.list, n.count);
    dprintf(2, "ficus: there is no process \"%s\"%s%s%s (ficus status names them)\n", name,
            near == NULL ? "" : "; did you mean \"", near == NULL ? "" : near, near == NULL ? "" : "\"?");
    arena_done(&n.a);
}

/* The supervisor's answer, or what its record says when it does not answer. */
const struct json *cli_status(struct cli *cli, struct slice *ret_text, int *ret_exit)
{
    const struct json *root = NULL;
    struct json *own = NULL;
    struct ficus_error error = {0};
    struct buf text;
    *ret_exit = cli_ask(cli, &(struct cli_request){"supervisor.sock", "the supervisor", "GET", "/v1/status", 200, true},
                        NULL, ret_text, &root);
    if (*ret_exit == EXIT_OK)
        return root;
    buf_init(&text, OPS_BODY_SIZE_MAX);
    enum ficus_err err = status_from_record(cli->e, cli->state.children_file, &text, &error);
    if (err == FICUS_ERR_OK) {
        *ret_text = arena_slice(&cli->a, buf_slice(&text));
        err = json_parse(&cli->a, *ret_text, NULL, &own, &error);
    }
    buf_done(&text);
    *ret_exit = EXIT_NOT_RUNNING;
    if (err == FICUS_ERR_NOT_FOUND || state_closed_to_us(&cli->state))
        *ret_exit = cli_not_running(cli, "");
    else if (err != FICUS_ERR_OK)
        *ret_exit = cli_fail(&error);
    return own;
}
