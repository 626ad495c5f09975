/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus saga: what operators see of sagas and say to them, by the hub's operator socket. Choreographed sagas, which the hub
 * calls flows, are only seen. ficus saga describe: cmd_saga_describe.c.
 */
#include "cmd_saga.h"

#include "saga_template.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

enum { PAGE = 1000, PAGE_ARENA_MAX = 256 << 20, NEWEST = 10, FILE_SIZE_MAX = 16 << 20, INPUT_SIZE_MAX = 1 << 20 };

/* ---- list ---- */

struct selection {
    const char *state, *saga, *after; /* encoded; NULL: none */
    bool stuck;                       /* those that somebody has to look after */
    bool brief;                       /* of those that have ended the newest alone */
    int64_t count_max;                /* INT64_MAX: all */
};

struct ended {
    char updated[32];
    struct buf row;
};

struct listing {
    struct cli *cli;
    struct selection q;
    struct buf out;         /* of a page; before the first one the table's head */
    int64_t left;           /* rows that are wanted yet */
    const char *next;       /* where more are; "": there are none */
    struct ended newest[NEWEST];
    int64_t ended_count;    /* of which the newest are kept */
};

static void add_row(const struct cli *cli, const struct json *v, struct buf *out)
{
    const struct json *parent = json_get(v, "parent");
    if (cli->json) {
        buf_printf(out, SLICE_FMT "\n", SLICE_ARG(v->text));
        return;
    }
    buf_printf(out, "%-14.*s %-36.*s %-13.*s %-13.*s %-12.*s %-20.*s " SLICE_FMT, SLICE_ARG(text_of(v, "saga")),
               SLICE_ARG(text_of(v, "id")), SLICE_ARG(text_of(v, "kind")), SLICE_ARG(text_of(v, "state")), SLICE_ARG(text_of(v, "step")),
               SLICE_ARG(text_of(v, "failure")), SLICE_ARG(text_of(v, "updated_at")));
    if (parent != NULL)
        buf_printf(out, "  child of " SLICE_FMT "/" SLICE_FMT, SLICE_ARG(text_of(parent, "saga")), SLICE_ARG(text_of(parent, "id")));
    buf_add_char(out, '\n');
}

static bool state_is(const struct json *root, const char *state)
{
    return slice_eq_str(text_of(root, "state"), state);
}

static bool has_ended(const struct json *root)
{
    return state_is(root, "completed") || state_is(root, "compensated") || state_is(root, "terminated");
}

/* In place of the oldest of the newest, if it is newer. */
static void take_ended(struct listing *l, const struct json *v)
{
    struct slice updated = text_of(v, "updated_at");
    struct ended *oldest = &l->newest[0];
    l->ended_count++;
    for (size_t i = 1; i < NEWEST; i++)
        if (strcmp(l->newest[i].updated, oldest->updated) < 0)
            oldest = &l->newest[i];
    if (slice_cmp(updated, slice_str(oldest->updated)) <= 0)
        return;
    snprintf(oldest->updated, sizeof oldest->updated, SLICE_FMT, SLICE_ARG(updated));
    buf_clear(&oldest->row);
    add_row(l->cli, v, &oldest->row);
}

/* Of those that have ended, the last one first. */
static void print_ended(struct listing *l)
{
    for (size_t n = 0; n < NEWEST; n++) {
        struct ended *newest = &l->newest[0];
        for (size_t i = 1; i < NEWEST; i++)
            if (strcmp(l->newest[i].updated, newest->updated) > 0)
                newest = &l->newest[i];
        cli_print(buf_slice(&newest->row));
        buf_clear(&newest->row);
        newest->updated[0] = '\0';
    }
}

static const char *list_target(struct cli *cli, const struct selection *q, bool flows, const char *after, int64_t count)
{
    const char *stuck = !q->stuck ? "" : flows ? "&trouble=true" : "&state=stuck";
    return arena_printf(&cli->a, "/v1/%s?limit=%lld%s%s%s%s%s%s%s", flows ? "flows" : "sagas", (long long)count, stuck,
                        q->state == NULL ? "" : "&state=",
                        q->state == NULL ? "" : q->state, q->saga == NULL ? "" : flows ? "&flow=" : "&saga=", q->saga == NULL ? "" : q->saga,
                        after[0] == '\0' ? "" : "&after=", after);
}

/* *after: where the page begins and the next one does; "": there is none. */
static int list_page(struct listing *l, bool flows, const char **after)
{
    struct cli page = *l->cli; /* its answers would fill the arena */
    const struct json *root = NULL;
    arena_init(&page.a, PAGE_ARENA_MAX);
    const char *target = list_target(&page, &l->q, flows, *after, l->left < PAGE ? l->left : PAGE);
    int code = target == NULL ? cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM})
                              : cli_ask(&page, &(struct cli_request){"hub-ops.sock", "the hub", "GET", target, 200, false}, NULL, NULL, &root);
    for (const struct json *v = items_of(root, "sagas"); v != NULL && code == EXIT_OK; v = v->next) {
        if (l->q.brief && has_ended(v)) {
            take_ended(l, v);
            continue;
        }
        add_row(l->cli, v, &l->out);
        l->left--;
    }
    if (code == EXIT_OK)
        cli_print(buf_slice(&l->out));
    buf_clear(&l->out);
    l->next = arena_strdup(&l->cli->a, json_string_or(json_get(root, "after"), SLICE("")));
    arena_done(&page.a);
    if (code == EXIT_OK && l->next == NULL)
        return cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM});
    *after = code == EXIT_OK ? cli_segment(l->cli, l->next) : "";
    return code;
}

/* As many as are wanted, of one kind. */
static int list_kind(struct listing *l, bool flows, const char *after)
{
    int code;
    do
        code = list_page(l, flows, &after);
    while (code == EXIT_OK && after[0] != '\0' && l->left > 0);
    return code;
}

/* Both kinds, one behind the other. What is no row is on stderr. */
static int list(struct listing *l, bool after_flow)
{
    const char *after = l->q.after == NULL ? "" : cli_segment(l->cli, l->q.after);
    int code = EXIT_OK;
    if (!l->cli->json)
        buf_printf(&l->out, "%-14s %-36s %-13s %-13s %-12s %-20s %s\n", "saga", "id", "kind", "state", "step", "failure", "updated");
    if (!after_flow && saga_kind_has_state(false, l->q.state))
        code = list_kind(l, false, after);
    if (code == EXIT_OK && l->left > 0 && saga_kind_has_state(true, l->q.state))
        code = list_kind(l, true, after_flow ? after : "");
    if (code != EXIT_OK)
        return code;
    print_ended(l);
    if (l->ended_count > NEWEST)
        dprintf(2, "%lld more have ended; --all lists them\n", (long long)l->ended_count - NEWEST);
    if (l->next[0] != '\0')
        dprintf(2, "more: --after %s\n", l->next);
    return code;
}

static bool is_state(const char *state)
{
    static const char *const states[] = {"running", "waiting", "undoing", "stuck", "completed", "compensated", "terminated", "orphaned", "uncompensated"};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        if (strcmp(state, states[i]) == 0)
            return true;
    return false;
}

static bool list_options(struct cli *cli, const struct command_call *c, struct selection *q)
{
    const char *limit = command_value(c, "limit", NULL), *saga = command_value(c, "saga", NULL);
    const char *state = command_value(c, "state", NULL);
    *q = (struct selection){.after = command_value(c, "after", NULL), .stuck = command_has(c, "stuck"), .count_max = INT64_MAX};
    q->brief = !command_has(c, "all") && !q->stuck && q->after == NULL && state == NULL && limit == NULL;
    q->state = state == NULL ? NULL : cli_segment(cli, state);
    q->saga = saga == NULL ? NULL : cli_segment(cli, saga);
    if (q->stuck && state != NULL) {
        dprintf(2, "ficus: --stuck and --state exclude each other: --stuck is the states in which a saga needs somebody\n");
        return false;
    }
    if (state != NULL && !is_state(state)) {
        dprintf(2, "ficus: --state: \"%s\" is no state: it must be running, waiting, undoing, stuck, completed, compensated, terminated, or of "
                   "choreographed sagas orphaned or uncompensated\n", state);
        return false;
    }
    if (limit == NULL || (slice_to_i64(slice_str(limit), &q->count_max) && q->count_max > 0))
        return true;
    dprintf(2, "ficus: --limit: \"%s\" is no whole number above 0\n", limit);
    return false;
}

/* The names of all sagas of a kind ("sagas", "flows"), from the hub's resolved file: an id alone may belong to any of them. */
static size_t saga_names(struct cli *cli, const char *kind, const char *names[CLI_SAGAS_MAX])
{
    struct slice text;
    struct json *root = NULL;
    size_t count = 0;
    const char *path = arena_printf(&cli->a, "%s/hub.json", cli->state.run);
    if (path == NULL || env_file_load(cli->e, &cli->a, path, FILE_SIZE_MAX, &text, NULL) != FICUS_ERR_OK ||
        json_parse(&cli->a, text, &(struct json_limits){.size_max = FILE_SIZE_MAX, .values_max = 1000000}, &root,
                   NULL) != FICUS_ERR_OK)
        return 0;
    for (const struct json *v = items_of(root, kind); v != NULL && count < CLI_SAGAS_MAX; v = v->next)
        if ((names[count] = arena_strdup(&cli->a, json_string_or(json_get(v, "name"), SLICE("")))) != NULL)
            count++;
    return count;
}

static bool is_flow(struct cli *cli, struct slice name)
{
    const char *names[CLI_SAGAS_MAX];
    size_t count = saga_names(cli, "flows", names);
    for (size_t i = 0; i < count; i++)
        if (slice_eq_str(name, names[i]))
            return true;
    return false;
}

int cmd_saga_list(const struct command_call *c)
{
    struct cli cli;
    struct listing l = {.cli = &cli, .next = ""};
    int code = EXIT_FAILED;
    buf_init(&l.out, 64 << 20);
    for (size_t i = 0; i < NEWEST; i++)
        buf_init(&l.newest[i].row, 1 << 20);
    if (cli_init(&cli, c)) {
        bool fine = list_options(&cli, c, &l.q);
        struct slice after = slice_str(l.q.after);
        l.left = l.q.count_max;
        code = fine ? list(&l, l.q.after != NULL && is_flow(&cli, slice_cut(&after, '/'))) : EXIT_USAGE;
    }
    for (size_t i = 0; i < NEWEST; i++)
        buf_done(&l.newest[i].row);
    buf_done(&l.out);
    cli_done(&cli);
    return code;
}

/* ---- one ---- */

/* Loud: a terminated one has perhaps left something behind. */
static void print_left(const struct json *v, struct buf *out)
{
    const struct json *left = json_get(v, "left");
    if (left == NULL)
        return;
    buf_add_str(out, left->first == NULL ? "  TERMINATED: nothing of it is left\n" : "  TERMINATED, and done or perhaps done, and not undone:");
    cli_add_list(v, "left", " ", ", ", out);
    buf_add_str(out, left->first != NULL ? "\n" : "");
}

/* Up and down: whose step it is, and which instances its steps are. */
static void print_family(const struct json *v, struct buf *out)
{
    const struct json *parent = json_get(v, "parent");
    if (parent != NULL)
        buf_printf(out, "  %-12s " SLICE_FMT "/" SLICE_FMT ", step " SLICE_FMT "\n", "parent", SLICE_ARG(text_of(parent, "saga")),
                   SLICE_ARG(text_of(parent, "id")), SLICE_ARG(text_of(parent, "step")));
    for (const struct json *c = items_of(v, "children"); c != NULL; c = c->next)
        buf_printf(out, "  %-12s " SLICE_FMT "/" SLICE_FMT ", step " SLICE_FMT ": " SLICE_FMT "\n", "child", SLICE_ARG(text_of(c, "saga")),
                   SLICE_ARG(text_of(c, "id")), SLICE_ARG(text_of(c, "step")),
                   SLICE_ARG(json_get(c, "state") == NULL ? SLICE("not there") : text_of(c, "state")));
}

static void print_saga(const struct json *v, struct buf *out)
{
    static const char *const keys[] = {"state",      "signal",      "until",       "failure",   "started_at",
                                       "updated_at", "correlation", "traceparent", "definition"};
    buf_printf(out, "saga " SLICE_FMT "/" SLICE_FMT "\n", SLICE_ARG(text_of(v, "saga")), SLICE_ARG(text_of(v, "id")));
    print_left(v, out);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (json_get(v, keys[i]) != NULL)
            buf_printf(out, "  %-12s " SLICE_FMT "\n", keys[i], SLICE_ARG(text_of(v, keys[i])));
    print_family(v, out);
    cli_add_list(v, "open", "  open         ", ", ", out);
    buf_add_str(out, items_of(v, "open") != NULL ? "\n" : "");
    for (const struct json *r = items_of(v, "history"); r != NULL; r = r->next) {
        buf_printf(out, "  " SLICE_FMT "  %-14.*s %-12.*s", SLICE_ARG(text_of(r, "at")), SLICE_ARG(text_of(r, "kind")),
                   SLICE_ARG(text_of(r, "step")));
        if (json_get(r, "status") != NULL)
            buf_printf(out, " %lld", (long long)json_i64_or(json_get(r, "status"), 0));
        if (json_get(r, "code") != NULL)
            buf_printf(out, " " SLICE_FMT, SLICE_ARG(text_of(r, "code")));
        if (json_i64_or(json_get(r, "attempts"), 0) > 1)
            buf_printf(out, " after %lld attempts", (long long)json_i64_or(json_get(r, "attempts"), 0));
        if (json_get(r, "actor") != NULL)
            buf_printf(out, " by " SLICE_FMT, SLICE_ARG(text_of(r, "actor")));
        if (json_get(r, "reason") != NULL)
            buf_printf(out, ": " SLICE_FMT, SLICE_ARG(text_of(r, "reason")));
        if (json_get(r, "data") != NULL) {
            struct json_writer w;
            buf_add_char(out, ' ');
            json_write_init(&w, out);
            json_write_value(&w, json_get(r, "data"));
        }
        buf_add_char(out, '\n');
    }
}

/* The saga of SAGA/ID is perhaps one that the manifest has no more, but more often somebody took an id for it. */
static void hint_saga(struct saga_one *o)
{
    const char *names[2 * CLI_SAGAS_MAX];
    size_t count = saga_names(&o->cli, "sagas", names);
    count += saga_names(&o->cli, "flows", names + count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(cli_segment(&o->cli, names[i]), o->names[0]) == 0)
            return;
    dprintf(2, "ficus: the manifest has no saga \"%s\"; it has:", o->names[0]);
    for (size_t i = 0; i < count; i++)
        dprintf(2, "%s %s", i > 0 ? "," : "", names[i]);
    dprintf(2, "%s\n", count == 0 ? " none" : "");
}

bool saga_one_init(struct saga_one *o, const struct command_call *c, int *ret_code)
{
    *ret_code = EXIT_FAILED;
    if (!cli_init(&o->cli, c))
        return false;
    struct slice id = slice_str(c->operands[0]);
    ptrdiff_t slash = slice_find(id, '/');
    if (slash > 0) {
        struct slice saga = slice_make(id.p, (size_t)slash);
        const char *name = arena_strdup(&o->cli.a, saga);
        o->names[0] = name == NULL ? "" : cli_segment(&o->cli, name);
        o->count = is_flow(&o->cli, saga) ? 0 : 1;
        o->all_count = 1;
        o->with_saga = true;
        o->id = cli_segment(&o->cli, id.p + slash + 1);
        return true;
    }
    o->count = saga_names(&o->cli, "sagas", o->names);
    o->all_count = o->count + saga_names(&o->cli, "flows", o->names + o->count);
    for (size_t i = 0; i < o->all_count; i++)
        o->names[i] = cli_segment(&o->cli, o->names[i]);
    o->id = cli_segment(&o->cli, c->operands[0]);
    if (o->all_count > 0)
        return true;
    /* No system here, as for the other commands; or one without sagas. */
    *ret_code = cli_ask(&o->cli, &(struct cli_request){"hub-ops.sock", "the hub", "GET", "/v1/sagas?limit=1", 200, false}, NULL, NULL, NULL);
    if (*ret_code == EXIT_OK) {
        dprintf(2, "ficus: no saga is known here; say SAGA/ID\n");
        *ret_code = EXIT_FAILED;
    }
    return false;
}

int saga_one_ask(struct saga_one *o, size_t i, struct slice *ret_body, const struct json **ret_json, bool *ret_missing)
{
    int status = 0;
    *ret_missing = false;
    const char *target = arena_printf(&o->cli.a, "/v1/%s/%s/%s", i < o->count ? "sagas" : "flows", o->names[i], o->id);
    if (target == NULL)
        return cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM});
    struct cli_request r = {"hub-ops.sock", "the hub", "GET", target, 200, true};
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
    struct saga_one o = {0};
    int code;
    size_t found = 0;
    struct buf out;
    buf_init(&out, 16 << 20);
    if (saga_one_init(&o, c, &code)) {
        code = EXIT_OK;
        for (size_t i = 0; i < o.all_count && code == EXIT_OK; i++) {
            const struct json *root = NULL;
            struct slice body = SLICE_NONE;
            bool missing;
            if (i == o.count && found > 0)
                break; /* an id alone means the orchestrated one, where there is one */
            code = saga_one_ask(&o, i, &body, &root, &missing);
            if (code != EXIT_OK || missing)
                continue;
            if (++found > 1 && o.cli.json) { /* one document, or none */
                dprintf(2, "ficus: several sagas have an instance %s, one of them is %s: say SAGA/ID\n", c->operands[0], o.names[i]);
                code = EXIT_USAGE;
                buf_clear(&out);
                break;
            }
            if (o.cli.json)
                buf_printf(&out, SLICE_FMT "\n", SLICE_ARG(body));
            else if (i < o.count)
                print_saga(root, &out);
            else
                print_flow(root, &out);
        }
        if (code == EXIT_OK && found == 0) {
            dprintf(2, "ficus: there is no saga with id %s\n", c->operands[0]);
            if (o.with_saga)
                hint_saga(&o);
            code = EXIT_FAILED;
        }
    }
    cli_print(buf_slice(&out));
    buf_done(&out);
    cli_done(&o.cli);
    return code;
}

/* ---- commands ---- */

/* The value of an option that takes JSON, @FILE or @- (standard input), as one JSON value, of start an object; false: said why.
 * SLICE_NONE: not given. */
static bool json_option(struct cli *cli, const struct command_call *c, const char *option, struct slice *ret_json)
{
    struct ficus_error error = {0};
    struct json *root = NULL;
    const char *value = command_value(c, option, NULL);
    struct slice text = SLICE_NONE;
    *ret_json = SLICE_NONE;
    if (value == NULL)
        return true;
    enum ficus_err err = cli_input(cli, value, INPUT_SIZE_MAX, &text, &error);
    if (err == FICUS_ERR_OK)
        err = json_parse(&cli->a, text, &(struct json_limits){.size_max = INPUT_SIZE_MAX}, &root, &error);
    if (err == FICUS_ERR_OK && strcmp(option, "input") == 0 && root->type != JSON_OBJECT)
        err = err_set(&error, FICUS_ERR_INVALID, "it must be an object, as the data of a start event is");
    if (err != FICUS_ERR_OK) {
        dprintf(2, "ficus: --%s must be JSON, @FILE with JSON in it, or @- for standard input: %s\n", option, error.text);
        return false;
    }
    *ret_json = text;
    return true;
}

/* The body of a command in the arena; SLICE_NONE: no memory. json: of member key, or SLICE_NONE. */
static struct slice command_body(struct cli *cli, const struct command_call *c, const char *key, struct slice json)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, INPUT_SIZE_MAX + 65536);
    json_write_init(&w, &out);
    json_write_object(&w);
    if (cli_person() != NULL)
        json_write_kv_str(&w, "by", cli_person());
    if (command_value(c, "reason", NULL) != NULL)
        json_write_kv_str(&w, "reason", command_value(c, "reason", NULL));
    if (command_has(c, "refuse"))
        json_write_kv_bool(&w, "refuse", true);
    if (json.p != NULL) {
        json_write_key(&w, key);
        json_write_raw(&w, json);
    }
    json_write_end(&w);
    struct slice body = buf_failed(&out) ? SLICE_NONE : arena_slice(&cli->a, buf_slice(&out));
    buf_done(&out);
    return body;
}

static void print_commanded(const struct cli *cli, const char *done, struct slice body, const struct json *root)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    if (cli->json)
        buf_printf(&out, SLICE_FMT "\n", SLICE_ARG(body));
    else
        buf_printf(&out, SLICE_FMT "/" SLICE_FMT ": %s; it is " SLICE_FMT "\n", SLICE_ARG(text_of(root, "saga")),
                   SLICE_ARG(text_of(root, "id")), cli_is_true(json_get(root, "again")) ? "that was said before" : done,
                   SLICE_ARG(text_of(root, "state")));
    cli_print(buf_slice(&out));
    buf_done(&out);
}

size_t saga_one_choose(struct saga_one *o, const char *id, bool stuck, int *ret_code)
{
    size_t found = 0, fitting = 0, last_found = o->count, last_fitting = o->count;
    for (size_t i = 0; i < o->count; i++) {
        const struct json *root = NULL;
        bool missing;
        *ret_code = saga_one_ask(o, i, NULL, &root, &missing);
        if (*ret_code != EXIT_OK)
            return o->count;
        if (missing)
            continue;
        found++;
        last_found = i;
        if (stuck ? !state_is(root, "stuck") : has_ended(root))
            continue;
        fitting++;
        last_fitting = i;
    }
    *ret_code = EXIT_FAILED;
    if (found == 0)
        dprintf(2, "ficus: there is no saga with id %s\n", id);
    else if (fitting > 1 || (fitting == 0 && found > 1))
        dprintf(2, "ficus: %zu sagas have the id %s; say SAGA/ID\n", found, id);
    else
        return fitting == 1 ? last_fitting : last_found; /* of one that does not fit the hub says why */
    return o->count;
}

struct order {
    const char *method, *action; /* "POST", "/cancel" */
    const char *key, *option;    /* member and option with JSON; NULL: none */
    const char *done;            /* what to say */
    bool stuck;                  /* an id alone means the stuck one */
};

/* Say it to the i-th saga's instance. */
static int order_one(struct saga_one *o, size_t i, const struct order *r, struct slice body)
{
    struct slice answer = SLICE_NONE;
    const struct json *root = NULL;
    const char *target = arena_printf(&o->cli.a, "/v1/sagas/%s/%s%s", o->names[i], o->id, r->action);
    if (body.p == NULL || target == NULL)
        return cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM});
    const struct cli_request request = {"hub-ops.sock", "the hub", r->method, target, 202, false, NULL, body};
    int code = cli_ask(&o->cli, &request, NULL, &answer, &root);
    if (code == EXIT_OK)
        print_commanded(&o->cli, r->done, answer, root);
    return code;
}

static int order(const struct command_call *c, const struct order *r)
{
    struct saga_one o = {0};
    int code;
    struct slice json = SLICE_NONE;
    if (saga_one_init(&o, c, &code)) {
        size_t i = 0;
        if (r->option != NULL && !json_option(&o.cli, c, r->option, &json)) {
            code = EXIT_USAGE;
        } else if (o.count == 0) {
            dprintf(2, "ficus: %s: nothing can be said to a choreographed saga, only to an orchestrated one; ficus saga show tells what is "
                       "missing\n", c->operands[0]);
        } else {
            if (o.count > 1)
                i = saga_one_choose(&o, c->operands[0], r->stuck, &code);
            if (i < o.count)
                code = order_one(&o, i, r, command_body(&o.cli, c, r->key, json));
        }
    }
    cli_done(&o.cli);
    return code;
}

int cmd_saga_retry(const struct command_call *c)
{
    return order(c, &(struct order){"POST", "/retry", NULL, NULL, "goes on", true});
}

int cmd_saga_cancel(const struct command_call *c)
{
    return order(c, &(struct order){"POST", "/cancel", NULL, NULL, "cancelled", false});
}

int cmd_saga_terminate(const struct command_call *c)
{
    const char *reason = command_value(c, "reason", "");
    if (reason[0] == '\0') {
        dprintf(2, "ficus: saga terminate needs --reason TEXT: nothing is undone, and somebody will ask why\n");
        return EXIT_USAGE;
    }
    return order(c, &(struct order){"POST", "/terminate", NULL, NULL, "terminated; nothing was undone", false});
}

int cmd_saga_signal(const struct command_call *c)
{
    struct buf action;
    buf_init(&action, 1024);
    buf_add_str(&action, "/signals/");
    text_percent_segment(&action, slice_str(c->operands[1]));
    struct order r = {"PUT", buf_str(&action), "data", "data", command_has(c, "refuse") ? "refused" : "signalled", false};
    int code = order(c, &r);
    buf_done(&action);
    return code;
}

static int start(struct cli *cli, const struct command_call *c)
{
    struct slice input, body = SLICE_NONE, answer;
    const struct json *root = NULL;
    if (!json_option(cli, c, "input", &input))
        return EXIT_USAGE;
    if (saga_id_check(slice_str(c->operands[1])) != NULL) {
        dprintf(2, "ficus: the id \"%s\" is not %s\n", c->operands[1], saga_id_check(slice_str(c->operands[1])));
        return EXIT_USAGE;
    }
    const char *target = arena_printf(&cli->a, "/v1/sagas/%s/%s", cli_segment(cli, c->operands[0]), cli_segment(cli, c->operands[1]));
    if (target != NULL)
        body = command_body(cli, c, "input", input);
    if (body.p == NULL)
        return cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM});
    const struct cli_request r = {"hub-ops.sock", "the hub", "PUT", target, 202, false, NULL, body};
    int code = cli_ask(cli, &r, NULL, &answer, &root);
    if (code == EXIT_OK)
        print_commanded(cli, "started", answer, root);
    return code;
}

int cmd_saga_start(const struct command_call *c)
{
    struct cli cli;
    int code = EXIT_FAILED;
    if (cli_init(&cli, c))
        code = start(&cli, c);
    cli_done(&cli);
    return code;
}
