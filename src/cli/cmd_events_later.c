/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus events scheduled, unschedule: what waits in the hub for its time.
 */
#include "cli.h"

#include <stdio.h>

static void print_waiting(const struct json *v, struct buf *out)
{
    const struct json *event = json_get(v, "event");
    bool damaged = cli_is_true(json_get(v, "damaged"));
    buf_printf(out, "%-16lld %-24.*s %-20.*s %-36.*s " SLICE_FMT "\n", (long long)json_i64_or(json_get(v, "number"), 0), SLICE_ARG(text_of(v, "at")),
               SLICE_ARG(damaged ? SLICE("(damaged)") : text_of(event, "type")), SLICE_ARG(text_of(event, "subject")), SLICE_ARG(text_of(event, "source")));
}

static void print_schedule(const struct json *v, struct buf *out)
{
    buf_printf(out, "%-16s %-24.*s %-20.*s %-36.*s every " SLICE_FMT "\n", "-", SLICE_ARG(text_of(v, "next")), SLICE_ARG(text_of(v, "topic")),
               SLICE_ARG(text_of(v, "schedule")), SLICE_ARG(text_of(v, "every")));
}

static int list_schedules(struct cli *cli, size_t *count)
{
    const struct json *root = NULL;
    struct buf out;
    buf_init(&out, 16 << 20);
    int code = cli_ask(cli, &(struct cli_request){"hub-ops.sock", "the hub", "GET", "/v1/scheduled?schedules=1", 200, false}, NULL, NULL, &root);
    for (const struct json *v = items_of(root, "schedules"); v != NULL; v = v->next) {
        if (!cli->json && (*count)++ == 0)
            buf_printf(&out, "%-16s %-24s %-20s %-36s %s\n", "number", "time", "topic", "subject", "source");
        if (cli->json)
            buf_printf(&out, SLICE_FMT "\n", SLICE_ARG(v->text));
        else
            print_schedule(v, &out);
    }
    cli_print(buf_slice(&out));
    buf_done(&out);
    return code;
}

/* *after_ms, *after: where the next page begins; -1: there is none. */
static int list_page(struct cli *cli, int64_t *after_ms, int64_t *after, size_t *count, int64_t *waiting, bool head)
{
    struct cli page = *cli; /* its answers would fill the arena */
    const struct json *root = NULL;
    struct buf out;
    arena_init(&page.a, 256 << 20);
    buf_init(&out, 64 << 20);
    const char *target = arena_printf(&page.a, "/v1/scheduled?after_ms=%lld&after=%lld", (long long)*after_ms, (long long)*after);
    int code = target == NULL ? EXIT_FAILED
                              : cli_ask(&page, &(struct cli_request){"hub-ops.sock", "the hub", "GET", target, 200, false}, NULL, NULL, &root);
    for (const struct json *v = items_of(root, "events"); v != NULL; v = v->next, (*count)++) {
        if (!cli->json && head && *count == 0)
            buf_printf(&out, "%-16s %-24s %-20s %-36s %s\n", "number", "time", "topic", "subject", "source");
        if (cli->json)
            buf_printf(&out, SLICE_FMT "\n", SLICE_ARG(v->text));
        else
            print_waiting(v, &out);
    }
    *waiting = json_i64_or(json_get(root, "waiting"), 0);
    *after_ms = json_i64_or(json_get(root, "next_ms"), -1);
    *after = json_i64_or(json_get(root, "next"), -1);
    cli_print(buf_slice(&out));
    buf_done(&out);
    arena_done(&page.a);
    return code;
}

int cmd_events_scheduled(const struct command_call *c)
{
    struct cli cli;
    int code = EXIT_FAILED;
    size_t schedules = 0, count = 0;
    int64_t after_ms = 0, after = 0, waiting = 0;
    if (cli_init(&cli, c)) {
        code = list_schedules(&cli, &schedules);
        while (code == EXIT_OK && after >= 0)
            code = list_page(&cli, &after_ms, &after, &count, &waiting, schedules == 0);
        if (code == EXIT_OK && !cli.json)
            dprintf(2, "%lld event%s wait%s\n", (long long)waiting, waiting == 1 ? "" : "s", waiting == 1 ? "s" : "");
    }
    cli_done(&cli);
    return code;
}

/* All named ones are tried; the exit code is that of the last failure. */
int cmd_events_unschedule(const struct command_call *c)
{
    struct cli cli;
    int code = EXIT_FAILED;
    if (cli_init(&cli, c)) {
        code = EXIT_OK;
        for (size_t i = 0; i < c->operand_count; i++) {
            const char *target = arena_printf(&cli.a, "/v1/scheduled/%s", cli_segment(&cli, c->operands[i]));
            int one = target == NULL ? EXIT_FAILED
                                     : cli_ask(&cli, &(struct cli_request){"hub-ops.sock", "the hub", "DELETE", target, 204, false}, NULL, NULL, NULL);
            dprintf(one == EXIT_OK ? 1 : 2, "%s %s\n", c->operands[i], one == EXIT_OK ? "does not come any more" : "was not removed");
            code = one != EXIT_OK ? one : code;
        }
    }
    cli_done(&cli);
    return code;
}
