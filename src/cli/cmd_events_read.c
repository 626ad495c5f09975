/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus events read: what the log has, page by page, and on as it comes; by the hub's operator socket.
 */
#include "cli.h"

#include "event.h"
#include "text.h"
#include "timefmt.h"

#include <stdio.h>
#include <time.h>

enum { PAGE = 500, WAIT_MS = 5000, PAGE_ARENA_MAX = 1 << 30, PATIENCE_MS = 30000, AGAIN_MS = 250 };

struct reading {
    struct cli *cli;
    const char *topics;
    struct slice subject; /* SLICE_NONE: all */
    int64_t after, left;  /* left: events to print yet */
    bool follow;
    int64_t patience_ms; /* a follower waits so long for the next hub; 0: who does not answer is an error */
    struct buf out;
};

static void print_event(struct reading *r, const struct json *v)
{
    struct slice none = SLICE("-");
    if (r->cli->json) {
        struct json_writer w;
        json_write_init(&w, &r->out);
        json_write_value(&w, v);
        buf_add_char(&r->out, '\n');
        return;
    }
    const struct json *data = json_get(v, "data");
    buf_printf(&r->out, "%-16.*s %-24.*s %-20.*s %-36.*s ", SLICE_ARG(json_string_or(json_get(v, "sequence"), none)),
               SLICE_ARG(json_string_or(json_get(v, "time"), none)), SLICE_ARG(json_string_or(json_get(v, "type"), none)),
               SLICE_ARG(json_string_or(json_get(v, "subject"), none)));
    if (data != NULL) {
        struct json_writer w;
        json_write_init(&w, &r->out);
        json_write_value(&w, data);
    }
    buf_add_char(&r->out, '\n');
}

static void print_cuts(const struct json *root)
{
    for (const struct json *v = items_of(root, "cut"); v != NULL; v = v->next)
        dprintf(2, "ficus: events of " SLICE_FMT " up to offset %lld are gone (events.retention, events.size)\n",
                SLICE_ARG(json_string_or(json_get(v, "topic"), SLICE("-"))), (long long)json_i64_or(json_get(v, "offset"), 0));
}

/* *ret_end: there is no more at present. */
static int read_page(struct reading *r, bool *ret_end)
{
    struct cli page = *r->cli; /* its answers would fill the arena */
    const struct json *root = NULL;
    arena_init(&page.a, PAGE_ARENA_MAX);
    const char *target = arena_printf(&page.a, "/v1/events?topics=%s&after=%lld&limit=%d&wait=%d", r->topics, (long long)r->after, PAGE,
                                      r->patience_ms > 0 ? WAIT_MS : 0);
    int code = target == NULL ? EXIT_FAILED
                              : cli_ask(&page, &(struct cli_request){"hub-ops.sock", "the hub", "GET", target, 200, r->patience_ms > 0}, NULL, NULL, &root);
    if (code == EXIT_OK) {
        const struct json *events = json_get(root, "events");
        print_cuts(root);
        for (const struct json *v = events == NULL ? NULL : events->first; v != NULL && r->left > 0; v = v->next) {
            if (r->subject.p != NULL && !slice_eq(r->subject, json_string_or(json_get(v, "subject"), SLICE(""))))
                continue;
            print_event(r, v);
            r->left--;
        }
        int64_t next = json_i64_or(json_get(root, "next"), r->after);
        *ret_end = next <= r->after || events == NULL || events->count == 0;
        r->after = next;
    }
    if (buf_failed(&r->out))
        code = cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM});
    cli_print(buf_slice(&r->out));
    buf_clear(&r->out);
    arena_done(&page.a);
    return code;
}

/* The first page has to come at once; then a hub that is restarted goes on where this has read. */
static int read_all(struct reading *r)
{
    int code = EXIT_OK;
    bool end = false;
    while (r->left > 0 && (r->follow || !end)) {
        code = read_page(r, &end);
        if (code != EXIT_OK && r->patience_ms == 0)
            break;
        if (code == EXIT_OK) {
            r->patience_ms = r->follow ? PATIENCE_MS : 0;
            continue;
        }
        r->patience_ms -= AGAIN_MS;
        nanosleep(&(struct timespec){.tv_nsec = AGAIN_MS * 1000000}, NULL);
    }
    return code;
}

/* Where to begin. An exit code. */
static int find_begin(struct reading *r, const struct command_call *c)
{
    const char *after = command_value(c, "after", NULL), *since = command_value(c, "since", NULL);
    const struct json *root = NULL;
    int64_t at_ms;
    char at[TIME_TEXT_SIZE];
    if (after != NULL && since != NULL) {
        dprintf(2, "ficus: --after and --since exclude each other\n");
        return EXIT_USAGE;
    }
    if (after != NULL && !(slice_to_i64(slice_str(after), &r->after) && r->after >= 0)) {
        dprintf(2, "ficus: --after: \"%s\" is no offset, the first number of a line that ficus events read prints\n", after);
        return EXIT_USAGE;
    }
    if (since == NULL)
        return EXIT_OK;
    if (!cli_time(r->cli, "since", since, -1, &at_ms))
        return EXIT_USAGE;
    time_format(at_ms, at);
    const char *target = arena_printf(&r->cli->a, "/v1/offset?at=%s", at);
    int code = target == NULL ? EXIT_FAILED
                              : cli_ask(r->cli, &(struct cli_request){"hub-ops.sock", "the hub", "GET", target, 200, false}, NULL, NULL, &root);
    r->after = json_i64_or(json_get(root, "after"), 0);
    return code;
}

static const char *join_topics(struct cli *cli, const struct command_call *c)
{
    struct buf b;
    struct slice topics[EVENT_TOPICS_MAX];
    struct ficus_error error = {0};
    size_t count;
    buf_init(&b, 16384);
    for (size_t i = 0; i < c->operand_count; i++)
        buf_printf(&b, "%s%s", i > 0 ? "," : "", c->operands[i]);
    const char *text = arena_strdup(&cli->a, buf_slice(&b));
    buf_done(&b);
    if (text != NULL && event_topics_parse(slice_str(text), topics, &count, &error) == FICUS_ERR_OK)
        return text;
    (void)cli_fail(&error);
    return NULL;
}

static bool is_topic(const struct json *topics, const char *name)
{
    for (const struct json *v = topics; v != NULL; v = v->next)
        if (slice_eq_str(text_of(v, "topic"), name))
            return true;
    return slice_starts(slice_str(name), SLICE("ficus.")); /* the platform's own, of which there may be no event yet */
}

static const char *nearest_topic(struct cli *cli, const struct json *topics, const char *name)
{
    size_t count = 0, i = 0;
    for (const struct json *v = topics; v != NULL; v = v->next)
        count++;
    const char **names = ARENA_ARRAY(&cli->a, const char *, count + 1);
    for (const struct json *v = topics; v != NULL && names != NULL; v = v->next)
        if ((names[i] = arena_strdup(&cli->a, text_of(v, "topic"))) != NULL)
            i++;
    return names == NULL ? NULL : text_nearest(slice_str(name), names, i);
}

/* A topic that nobody publishes, and of which the log has nothing, is a slip of the pen. An exit code. */
static int check_topics(struct cli *cli, const struct command_call *c)
{
    const struct json *root = NULL;
    int code = cli_ask(cli, &(struct cli_request){"hub-ops.sock", "the hub", "GET", "/v1/topics", 200, false}, NULL, NULL, &root);
    const struct json *topics = items_of(root, "topics");
    for (size_t i = 0; i < c->operand_count && code == EXIT_OK; i++) {
        if (is_topic(topics, c->operands[i]))
            continue;
        const char *near = nearest_topic(cli, topics, c->operands[i]);
        dprintf(2, "ficus: no service publishes %s, and the log has no event of it%s%s%s; ficus events topics lists what there is\n", c->operands[i],
                near != NULL ? " (did you mean " : "", near != NULL ? near : "", near != NULL ? "?)" : "");
        code = EXIT_FAILED;
    }
    return code;
}

int cmd_events_read(const struct command_call *c)
{
    struct cli cli;
    int64_t limit = INT64_MAX;
    int code = EXIT_FAILED;
    const char *subject = command_value(c, "subject", NULL), *count = command_value(c, "limit", NULL);
    if (count != NULL && !(slice_to_i64(slice_str(count), &limit) && limit > 0)) {
        dprintf(2, "ficus: --limit: \"%s\" is no number from 1 on\n", count);
        return EXIT_USAGE;
    }
    struct reading r = {.cli = &cli, .subject = subject == NULL ? SLICE_NONE : slice_str(subject), .left = limit, .follow = command_has(c, "follow")};
    buf_init(&r.out, 64 << 20);
    if (cli_init(&cli, c)) {
        r.topics = join_topics(&cli, c);
        code = r.topics == NULL ? EXIT_USAGE : check_topics(&cli, c);
        if (code == EXIT_OK)
            code = find_begin(&r, c);
        if (code == EXIT_OK)
            code = read_all(&r);
        if (code != EXIT_OK && r.after > 0)
            dprintf(2, "ficus: it was read up to offset %lld: --after %lld goes on\n", (long long)r.after, (long long)r.after);
    }
    buf_done(&r.out);
    cli_done(&cli);
    return code;
}
