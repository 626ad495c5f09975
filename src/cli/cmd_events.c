/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus events topics, dead: by the hub's operator socket.
 */
#include "cli.h"

#include <stdio.h>

enum { PAGE = 1000 };

static struct slice text_of(const struct json *v, const char *key)
{
    return json_string_or(json_get(v, key), SLICE("-"));
}

static void print_topic(const struct json *v, struct buf *out)
{
    const struct json *consumers = json_get(v, "consumers");
    buf_printf(out, "%-28.*s %-14.*s %10lld  %-24.*s ", SLICE_ARG(text_of(v, "topic")),
               SLICE_ARG(text_of(v, "publisher")), (long long)json_i64_or(json_get(v, "count"), 0),
               SLICE_ARG(text_of(v, "time")));
    for (const struct json *name = consumers == NULL ? NULL : consumers->first; name != NULL; name = name->next)
        buf_printf(out, "%s" SLICE_FMT, name == consumers->first ? "" : ", ", SLICE_ARG(name->text));
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
        struct slice body = SLICE_NONE;
        code = cli_ask(&cli, &(struct cli_request){"hub-ops.sock", "the hub", "GET", "/v1/topics", 200, false}, NULL,
                       &body, &root);
        const struct json *topics = json_get(root, "topics");
        if (code == EXIT_OK && cli.json) {
            buf_printf(&out, SLICE_FMT "\n", SLICE_ARG(body));
        } else if (code == EXIT_OK) {
            buf_printf(&out, "%-28s %-14s %10s  %-24s %s\n", "topic", "publisher", "events", "last", "consumers");
            for (const struct json *v = topics == NULL ? NULL : topics->first; v != NULL; v = v->next)
                print_topic(v, &out);
        }
    }
    cli_print(buf_slice(&out));
    buf_done(&out);
    cli_done(&cli);
    return code;
}

static void print_dead(const struct json *v, struct buf *out)
{
    struct json_writer w;
    buf_printf(out, SLICE_FMT "  " SLICE_FMT "  " SLICE_FMT "  ", SLICE_ARG(text_of(v, "time")),
               SLICE_ARG(text_of(v, "source")), SLICE_ARG(text_of(v, "id")));
    if (json_get(v, "data") != NULL) {
        json_write_init(&w, out);
        json_write_value(&w, json_get(v, "data"));
    }
    buf_add_char(out, '\n');
}

int cmd_events_dead(const struct command_call *c)
{
    struct cli cli;
    struct buf out;
    int code = EXIT_FAILED;
    int64_t after = 0;
    size_t count = 0, page;
    buf_init(&out, 64 << 20);
    bool ok = cli_init(&cli, c);
    do {
        const struct json *root = NULL;
        page = 0;
        const char *target = !ok ? NULL : arena_printf(&cli.a, "/v1/dead?limit=%d&after=%lld", PAGE, (long long)after);
        if (target == NULL)
            break;
        code = cli_ask(&cli, &(struct cli_request){"hub-ops.sock", "the hub", "GET", target, 200, false}, NULL, NULL,
                       &root);
        const struct json *events = json_get(root, "events");
        for (const struct json *v = code != EXIT_OK || events == NULL ? NULL : events->first; v != NULL;
             v = v->next, page++) {
            struct json_writer w;
            if (cli.json) {
                json_write_init(&w, &out);
                json_write_value(&w, v);
                buf_add_char(&out, '\n');
            } else {
                print_dead(v, &out);
            }
        }
        int64_t next = json_i64_or(json_get(root, "next"), after);
        count += page;
        page = next > after ? page : 0;
        after = next;
    } while (page > 0);
    cli_print(buf_slice(&out));
    if (code == EXIT_OK && !cli.json)
        dprintf(2, "%zu dead letter%s\n", count, count == 1 ? "" : "s");
    buf_done(&out);
    cli_done(&cli);
    return code;
}
