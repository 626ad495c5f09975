/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus events topics, dead, redrive, drop: by the hub's operator socket. ficus events rebuild: by the service's own socket.
 */
#include "cli.h"

#include "event.h"
#include "map.h"
#include "operator.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 1000 };

static void print_topic(const struct json *v, struct buf *out)
{
    buf_printf(out, "%-28.*s %-14.*s %10lld  %-24.*s ", SLICE_ARG(text_of(v, "topic")),
               SLICE_ARG(text_of(v, "publisher")), (long long)json_i64_or(json_get(v, "count"), 0),
               SLICE_ARG(text_of(v, "time")));
    cli_add_list(v, "consumers", "", ", ", out);
    buf_add_char(out, '\n');
}

int cmd_events_topics(const struct command_call *c)
{
    struct cli cli;
    struct buf out;
    int code = EXIT_FAILED;
    buf_init(&out, 16 << 20);
    if (cli_init(&cli, c)) {
        const struct json *root = NULL;
        code = cli_ask(&cli, &(struct cli_request){"hub-ops.sock", "the hub", "GET", "/v1/topics", 200, false}, NULL, NULL, &root);
        if (code == EXIT_OK && !cli.json)
            buf_printf(&out, "%-28s %-14s %10s  %-24s %s\n", "topic", "publisher", "events", "last", "consumers");
        for (const struct json *v = items_of(root, "topics"); v != NULL && code == EXIT_OK; v = v->next)
            if (cli.json)
                buf_printf(&out, SLICE_FMT "\n", SLICE_ARG(v->text));
            else
                print_topic(v, &out);
    }
    cli_print(buf_slice(&out));
    buf_done(&out);
    cli_done(&cli);
    return code;
}

/* ---- dead letters ---- */

/* What is known of each, by its number: its place in the log. */
struct letters {
    struct json **list; /* in the log's order */
    size_t count;
    struct map closed; /* number -> struct json: what closed it last */
};

static struct slice number_of(const struct json *letter)
{
    return text_of(letter, "sequence");
}

static const struct json *closed_of(const struct letters *l, const struct json *letter)
{
    return map_get(&l->closed, number_of(letter));
}

/* "redriven", "dropped"; "-": nobody has looked after it. */
static struct slice state_of(const struct letters *l, const struct json *letter)
{
    return text_of(json_get(closed_of(l, letter), "data"), "as");
}

static bool letters_take(struct cli *cli, struct letters *l, struct json *v)
{
    enum { STEP = 256 };
    if (slice_eq_str(text_of(v, "type"), EVENT_TOPIC_CLOSED)) {
        char number[24];
        int size = snprintf(number, sizeof number, "%lld", (long long)json_i64_or(json_get(json_get(v, "data"), "letter"), 0));
        return map_put(&l->closed, slice_make(number, (size_t)size), v);
    }
    if (l->count % STEP == 0) {
        struct json **more = ARENA_ARRAY(&cli->a, struct json *, l->count + STEP);
        if (more == NULL)
            return false;
        if (l->count > 0)
            memcpy(more, l->list, l->count * sizeof *more);
        l->list = more;
    }
    l->list[l->count++] = v;
    return true;
}

/* All that the log still holds. Returns an exit code. */
static int letters_read(struct cli *cli, struct letters *l)
{
    int64_t after = 0, next = 0;
    bool ok = true;
    do {
        const struct json *root = NULL;
        after = next;
        const char *target = arena_printf(&cli->a, "/v1/dead?limit=%d&after=%lld", PAGE, (long long)after);
        int code = target == NULL ? EXIT_FAILED
                                  : cli_ask(cli, &(struct cli_request){"hub-ops.sock", "the hub", "GET", target, 200, false},
                                            NULL, NULL, &root);
        if (code != EXIT_OK)
            return code;
        for (struct json *v = items_of(root, "events"); v != NULL && ok; v = v->next)
            ok = letters_take(cli, l, v);
        next = json_i64_or(json_get(root, "next"), after);
    } while (ok && next > after);
    return ok ? EXIT_OK : cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM});
}

static void print_dead(const struct letters *l, const struct json *v, struct buf *out)
{
    const struct json *data = json_get(v, "data"), *event = json_get(data, "event");
    buf_printf(out, "%-16.*s %-24.*s %-9.*s %-16.*s %-20.*s %-36.*s ", SLICE_ARG(number_of(v)),
               SLICE_ARG(text_of(v, "time")), SLICE_ARG(state_of(l, v)), SLICE_ARG(text_of(data, "consumer")),
               SLICE_ARG(text_of(event, "type")), SLICE_ARG(text_of(event, "subject")));
    cli_add_plain(out, text_of(data, "reason"));
    buf_add_char(out, '\n');
}

/* The event, and what became of it: "state" is open, redriven or dropped. */
static void write_dead(const struct letters *l, const struct json *v, struct buf *out)
{
    struct json_writer w;
    json_write_init(&w, out);
    json_write_object(&w);
    for (const struct json *member = v->first; member != NULL; member = member->next) {
        json_write_key_slice(&w, member->key);
        json_write_value(&w, member);
    }
    json_write_kv_slice(&w, "state", closed_of(l, v) == NULL ? SLICE("open") : state_of(l, v));
    json_write_end(&w);
    buf_add_char(out, '\n');
}

int cmd_events_dead(const struct command_call *c)
{
    struct cli cli;
    struct letters l = {0};
    struct buf out;
    int code = EXIT_FAILED;
    size_t open = 0;
    buf_init(&out, 64 << 20);
    map_init(&l.closed, (const uint64_t[2]){0, 0});
    if (cli_init(&cli, c))
        code = letters_read(&cli, &l);
    if (code == EXIT_OK && !cli.json && l.count > 0)
        buf_printf(&out, "%-16s %-24s %-9s %-16s %-20s %-36s %s\n", "letter", "time", "state", "consumer", "topic", "subject", "reason");
    for (size_t i = 0; i < l.count && code == EXIT_OK; i++) {
        bool is_open = closed_of(&l, l.list[i]) == NULL;
        open += is_open;
        if (!is_open && !command_has(c, "all"))
            continue;
        if (cli.json)
            write_dead(&l, l.list[i], &out);
        else
            print_dead(&l, l.list[i], &out);
    }
    cli_print(buf_slice(&out));
    if (code == EXIT_OK && !cli.json)
        dprintf(2, "%zu dead letter%s%s\n", open, open == 1 ? "" : "s",
                open < l.count ? command_has(c, "all") ? " to look after" : " to look after; --all shows the others too" : "");
    buf_done(&out);
    map_done(&l.closed);
    cli_done(&cli);
    return code;
}

static int letter_close(struct cli *cli, struct slice number, const char *how, const char *done)
{
    const char *target = arena_printf(&cli->a, "/v1/dead/%s/%s", cli_segment(cli, arena_strdup(&cli->a, number)), how);
    if (target == NULL)
        return cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM});
    int code = cli_ask(cli, &(struct cli_request){"hub-ops.sock", "the hub", "POST", target, 202, false}, NULL, NULL, NULL);
    dprintf(code == EXIT_OK ? 1 : 2, "letter " SLICE_FMT " %s%s\n", SLICE_ARG(number), code == EXIT_OK ? "" : "was not ", done);
    return code;
}

/* Those that nobody has looked after, of one consumer (NULL: of all). One that cannot go back does not keep the others. */
static int letters_close(struct cli *cli, const char *consumer, const char *how, const char *done)
{
    struct letters l = {0};
    map_init(&l.closed, (const uint64_t[2]){0, 0});
    int code = letters_read(cli, &l), failed = EXIT_OK;
    int one = EXIT_OK;
    size_t count = 0;
    for (size_t i = 0; code == EXIT_OK && one != EXIT_NOT_RUNNING && i < l.count; i++) {
        if (closed_of(&l, l.list[i]) != NULL || (consumer != NULL && !slice_eq_str(text_of(json_get(l.list[i], "data"), "consumer"), consumer)))
            continue;
        count++;
        one = letter_close(cli, number_of(l.list[i]), how, done);
        failed = one != EXIT_OK ? one : failed;
    }
    if (code == EXIT_OK && count == 0)
        dprintf(2, "there is no dead letter%s%s to look after\n", consumer == NULL ? "" : " of ", consumer == NULL ? "" : consumer);
    map_done(&l.closed);
    return code != EXIT_OK ? code : failed;
}

/* All named ones are tried; the exit code is that of the last failure. */
static int cmd_close(const struct command_call *c, const char *how, const char *done)
{
    struct cli cli;
    const char *consumer = command_value(c, "consumer", NULL);
    bool all = command_has(c, "all") || consumer != NULL;
    if (all == (c->operand_count > 0)) {
        dprintf(2, "ficus: say which letters (ficus events dead numbers them), or --all, or --consumer SERVICE\n");
        return EXIT_USAGE;
    }
    int code = EXIT_FAILED;
    if (cli_init(&cli, c)) {
        code = all ? letters_close(&cli, consumer, how, done) : EXIT_OK;
        for (size_t i = 0; i < c->operand_count; i++) {
            int one = letter_close(&cli, slice_str(c->operands[i]), how, done);
            code = one != EXIT_OK ? one : code;
        }
    }
    cli_done(&cli);
    return code;
}

int cmd_events_redrive(const struct command_call *c)
{
    return cmd_close(c, "redrive", "redriven");
}

int cmd_events_drop(const struct command_call *c)
{
    return cmd_close(c, "drop", "dropped");
}

/* ---- rebuild ---- */

enum { LOOK_AGAIN_MS = 100 };

struct watch {
    struct cli *cli;
    const char *name;
    const char *what; /* the service's name, or the projection's */
    struct cli_request look;
    bool is_terminal;
    bool is_projection; /* its tables are gone on with after a restart */
    int64_t total; /* events of the service's topics in the log, or of its event store; 0: not known */
    int64_t end_ms;
};

/* How many events the service will read. */
static int64_t count_events(struct cli *cli, const char *name)
{
    const struct json *root = NULL;
    int64_t total = 0;
    if (cli_ask(cli, &(struct cli_request){"hub-ops.sock", "the hub", "GET", "/v1/topics", 200, true, NULL}, NULL, NULL,
                &root) != EXIT_OK)
        return 0;
    for (const struct json *t = items_of(root, "topics"); t != NULL; t = t->next) {
        for (const struct json *c = items_of(t, "consumers"); c != NULL; c = c->next)
            if (slice_eq_str(c->text, name))
                total += json_i64_or(json_get(t, "count"), 0);
    }
    return total;
}

/* Whether the hub keeps the service's place; then it is said what there is to be done. */
static bool is_group(struct cli *cli, const char *name)
{
    const struct json *root = NULL;
    if (cli_ask(cli, &(struct cli_request){"hub-ops.sock", "the hub", "GET", "/v1/consumers", 200, true, NULL}, NULL, NULL, &root) != EXIT_OK)
        return false;
    for (const struct json *v = items_of(root, "consumers"); v != NULL; v = v->next) {
        struct slice kind = json_string_or(json_get(v, "kind"), SLICE_NONE);
        if (!slice_eq_str(json_string_or(json_get(v, "consumer"), SLICE_NONE), name) ||
            (!slice_eq_str(kind, "delivered") && !slice_eq_str(kind, "leased")))
            continue;
        dprintf(2, "ficus: %s is a group, and what it makes of events is its own; ficus events seek %s --to start has them come again\n", name, name);
        return true;
    }
    return false;
}

static void show_progress(const struct watch *w, int64_t events, bool last)
{
    if (!w->is_terminal)
        return;
    if (w->total > 0)
        dprintf(2, "\r%s: %lld of about %lld events%s", w->what, (long long)events, (long long)w->total, last ? "\n" : "");
    else
        dprintf(2, "\r%s: %lld events%s", w->what, (long long)events, last ? "\n" : "");
}

/* The exit code when it is over, -1 while it goes on. */
static int look_once(struct watch *w, int64_t generation)
{
    const struct json *root = NULL;
    int code = cli_ask(w->cli, &w->look, NULL, NULL, &root);
    if (code != EXIT_OK && w->is_projection)
        return -1;
    if (code != EXIT_OK) {
        dprintf(2, "ficus: %s does not answer any more (ficus status; a restart gives a rebuild up)\n", w->name);
        return code;
    }
    struct slice state = json_string_or(json_get(root, "rebuild"), SLICE_NONE);
    int64_t events = json_i64_or(json_get(root, "events"), 0);
    w->total = json_i64_or(json_get(root, "total"), w->total);
    if (slice_eq_str(state, "running")) {
        show_progress(w, events, false);
        return -1;
    }
    show_progress(w, events, true);
    if (json_i64_or(json_get(root, "generation"), 0) >= generation) {
        dprintf(2, "%s: rebuilt from %lld events\n", w->what, (long long)events);
        return EXIT_OK;
    }
    struct slice error = json_string_or(json_get(root, "error"), SLICE_NONE);
    dprintf(2, "ficus: %s was not rebuilt, the old %s: " SLICE_FMT "\n", w->what, w->is_projection ? "tables serve" : "store serves",
            SLICE_ARG(error.size > 0 ? error : SLICE("the service was restarted")));
    return EXIT_FAILED;
}

static int rebuild(struct watch *w, const char *socket, const char *path)
{
    const struct json *root = NULL;
    const struct cli_request look = {socket, w->name, "GET", path, 200, false, w->name};
    const struct cli_request begin = {socket, w->name, "POST", path, 202, false, w->name};
    w->total = count_events(w->cli, w->name);
    /* The socket is the supervisor's: what is sent while no process reads waits there and would be obeyed when we have
     * long given up. So it is only sent to somebody who answers. */
    int status = 0, code = cli_ask(w->cli, &look, &status, NULL, &root);
    if (code == EXIT_FAILED && status == 0)
        dprintf(2, "ficus: nothing was begun; ficus status shows how %s is\n", w->name);
    if (code != EXIT_OK || (code = cli_ask(w->cli, &begin, NULL, NULL, &root)) != EXIT_OK)
        return code;
    int64_t generation = json_i64_or(json_get(root, "generation"), 0) + 1;
    struct slice projection = json_string_or(json_get(root, "projection"), SLICE_NONE);
    w->is_projection = projection.p != NULL;
    if (w->is_projection)
        w->what = arena_printf(&w->cli->a, "%s " SLICE_FMT, w->name, SLICE_ARG(projection));
    if (w->what == NULL)
        return EXIT_FAILED;
    w->look = look;
    w->look.quiet = true;
    while ((code = look_once(w, generation)) < 0) {
        if (env_now_ms(w->cli->e) >= w->end_ms || arena_overflowed(&w->cli->a)) {
            dprintf(2, "%sficus: %s is still being rebuilt; it goes on, and ficus logs %s will tell\n",
                    w->is_terminal ? "\n" : "", w->what, w->name);
            return EXIT_NOT_HEALTHY;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_AGAIN_MS * 1000000}, NULL);
    }
    return code;
}

int cmd_events_rebuild(const struct command_call *c)
{
    struct cli cli;
    int64_t wait_ms;
    int code = EXIT_USAGE;
    if (!cli_duration(c, "wait", "60s", &wait_ms))
        return EXIT_USAGE;
    if (cli_init(&cli, c)) {
        struct watch w = {.cli = &cli, .name = c->operands[0], .what = c->operands[0], .is_terminal = isatty(2) == 1};
        w.end_ms = env_now_ms(cli.e) + wait_ms;
        const char *socket = arena_printf(&cli.a, "%s.1.sock", cli_segment(&cli, w.name));
        const char *path = c->operand_count < 2 ? OPERATOR_REBUILD_PATH
                                                : arena_printf(&cli.a, OPERATOR_REBUILD_PATH "?projection=%s", cli_segment(&cli, c->operands[1]));
        const struct json *status = NULL;
        code = cli_ask(&cli, &(struct cli_request){"supervisor.sock", "the supervisor", "GET", "/v1/status", 200, false},
                       NULL, NULL, &status);
        if (code == EXIT_OK && status_process(status, w.name) == NULL) {
            cli_no_process(status, w.name);
            code = EXIT_FAILED;
        } else if (code == EXIT_OK && (strcmp(w.name, "gateway") == 0 || strcmp(w.name, "hub") == 0)) {
            dprintf(2, "ficus: the %s is no service and has no read model\n", w.name);
            code = EXIT_FAILED;
        } else if (code == EXIT_OK) {
            code = is_group(&cli, w.name) || socket == NULL || path == NULL ? EXIT_FAILED : rebuild(&w, socket, path);
        }
    }
    cli_done(&cli);
    return code;
}
