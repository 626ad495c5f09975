/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus events lag, seek, skip: by the hub's operator socket.
 */
#include "cli.h"

#include "mem.h"

#include <stdio.h>
#include <string.h>

/* ---- lag ---- */

/* "850ms", "12s", "3m", "5h", "2d": one number that is quickly read. */
static void age_text(int64_t ms, char *text, size_t size)
{
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t i = 0;
    while (i + 1 < ARRAY_COUNT(units) && ms < 2 * units[i].ms)
        i++;
    snprintf(text, size, "%lld%s", (long long)(ms / units[i].ms), units[i].unit);
}

/* By which event, since when, and how to get past it. */
static void print_held(const struct json *consumer, const struct json *partition, struct buf *out)
{
    const struct json *event = json_get(partition, "event");
    long long offset = (long long)json_i64_or(json_get(event, "offset"), 0), deliveries = (long long)json_i64_or(json_get(partition, "deliveries"), 0);
    if (event == NULL)
        return;
    buf_printf(out, "    held by event %lld, " SLICE_FMT " ", offset, SLICE_ARG(text_of(event, "topic")));
    cli_add_plain(out, text_of(event, "subject"));
    buf_printf(out, ", since " SLICE_FMT ", delivered %lld time%s; if it is the event's fault: ficus events skip " SLICE_FMT " %lld\n",
               SLICE_ARG(text_of(partition, "since")), deliveries, deliveries == 1 ? "" : "s", SLICE_ARG(text_of(consumer, "consumer")), offset);
}

static void print_consumer(const struct json *v, struct buf *out)
{
    char behind[32], age[32] = "-";
    int64_t age_ms = json_i64_or(json_get(v, "age_ms"), -1);
    snprintf(behind, sizeof behind, "%s%lld", cli_is_true(json_get(v, "more")) ? ">" : "", (long long)json_i64_or(json_get(v, "behind"), 0));
    if (age_ms >= 0)
        age_text(age_ms, age, sizeof age);
    buf_printf(out, "%-20.*s %-10.*s %-11.*s %10s %8s  ", SLICE_ARG(text_of(v, "consumer")), SLICE_ARG(text_of(v, "kind")),
               SLICE_ARG(text_of(v, "state")), behind, age);
    cli_add_list(v, "topics", "", ", ", out);
    buf_add_char(out, '\n');
    /* which partition, and why */
    for (const struct json *p = items_of(v, "partitions"); p != NULL; p = p->next) {
        struct slice reason = json_string_or(json_get(p, "reason"), SLICE_NONE);
        if (reason.p == NULL)
            continue;
        buf_printf(out, "  partition %lld behind %lld: ", (long long)json_i64_or(json_get(p, "partition"), 0),
                   (long long)json_i64_or(json_get(p, "settled"), 0));
        bool says_state = slice_starts(reason, text_of(p, "state")); /* "no answer: ..." */
        if (!says_state)
            buf_printf(out, SLICE_FMT " (", SLICE_ARG(text_of(p, "state")));
        cli_add_plain(out, reason); /* a service's words */
        buf_add_str(out, says_state ? "\n" : ")\n");
        print_held(v, p, out);
    }
}

static bool is_asked(const struct command_call *c, struct slice name)
{
    for (size_t i = 0; i < c->operand_count; i++)
        if (slice_eq_str(name, c->operands[i]))
            return true;
    return c->operand_count == 0;
}

static const struct json *consumer_named(const struct json *root, const char *name)
{
    for (const struct json *v = items_of(root, "consumers"); v != NULL; v = v->next)
        if (slice_eq_str(text_of(v, "consumer"), name))
            return v;
    return NULL;
}

int cmd_events_lag(const struct command_call *c)
{
    struct cli cli;
    struct buf out;
    int code = EXIT_FAILED;
    buf_init(&out, 16 << 20);
    if (cli_init(&cli, c)) {
        const struct json *root = NULL;
        code = cli_ask(&cli, &(struct cli_request){"hub-ops.sock", "the hub", "GET", "/v1/consumers", 200, false}, NULL, NULL, &root);
        for (size_t i = 0; i < c->operand_count && code == EXIT_OK; i++)
            if (consumer_named(root, c->operands[i]) == NULL) {
                dprintf(2, "ficus: %s consumes nothing; ficus events topics shows who does\n", c->operands[i]);
                code = EXIT_FAILED;
            }
        if (code == EXIT_OK && !cli.json)
            buf_printf(&out, "%-20s %-10s %-11s %10s %8s  %s\n", "consumer", "kind", "state", "behind", "oldest", "topics");
        for (const struct json *v = items_of(root, "consumers"); v != NULL && code == EXIT_OK; v = v->next) {
            if (!is_asked(c, text_of(v, "consumer")))
                continue;
            if (cli.json)
                buf_printf(&out, SLICE_FMT "\n", SLICE_ARG(v->text));
            else
                print_consumer(v, &out);
        }
    }
    cli_print(buf_slice(&out));
    buf_done(&out);
    cli_done(&cli);
    return code;
}

/* ---- seek ---- */

/* Say the action to the group of the first operand. option: whose value the body may be too long with. An exit code. */
static int say_to_group(struct cli *cli, const struct command_call *c, const char *action, const struct buf *body, const char *option,
                        struct slice *ret_answer, const struct json **ret_root)
{
    if (buf_failed(body)) {
        dprintf(2, "ficus: --%s is too long\n", option);
        return EXIT_USAGE;
    }
    const char *target = arena_printf(&cli->a, "/v1/groups/%s/%s", cli_segment(cli, c->operands[0]), action);
    const struct cli_request r = {.socket = "hub-ops.sock", .who = "the hub", .method = "POST", .target = target, .expected = 200,
                                  .body = buf_slice(body)};
    return target == NULL ? cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM}) : cli_ask(cli, &r, NULL, ret_answer, ret_root);
}

int cmd_events_seek(const struct command_call *c)
{
    struct cli cli;
    struct buf body;
    struct json_writer w;
    const char *to = command_value(c, "to", NULL);
    int code = EXIT_FAILED;
    if (to == NULL) {
        dprintf(2, "ficus: say where to: --to start, end, the number of an event, or a time such as 2026-11-21T01:02:03Z\n");
        return EXIT_USAGE;
    }
    buf_init(&body, 4096);
    json_write_init(&w, &body);
    json_write_object(&w);
    json_write_kv_str(&w, "to", to);
    json_write_end(&w);
    if (cli_init(&cli, c)) {
        const struct json *root = NULL;
        code = say_to_group(&cli, c, "seek", &body, "to", NULL, &root);
        if (code == EXIT_OK)
            dprintf(1, "%s goes on behind event %lld\n", c->operands[0], (long long)json_i64_or(json_get(root, "after"), 0));
    }
    buf_done(&body);
    cli_done(&cli);
    return code;
}

/* ---- skip ---- */

int cmd_events_skip(const struct command_call *c)
{
    struct cli cli;
    struct buf body;
    struct json_writer w;
    int64_t offset = 0;
    const char *reason = command_value(c, "reason", NULL);
    int code = EXIT_FAILED;
    if (!slice_to_i64(slice_str(c->operands[1]), &offset) || offset < 1) {
        dprintf(2, "ficus: \"%s\" is no number of an event; ficus events lag shows which event holds a partition\n", c->operands[1]);
        return EXIT_USAGE;
    }
    buf_init(&body, 4096);
    json_write_init(&w, &body);
    json_write_object(&w);
    json_write_kv_i64(&w, "offset", offset);
    if (reason != NULL)
        json_write_kv_str(&w, "reason", reason);
    if (cli_person() != NULL)
        json_write_kv_str(&w, "by", cli_person());
    json_write_end(&w);
    if (cli_init(&cli, c)) {
        const struct json *root = NULL;
        struct slice answer = SLICE_NONE;
        code = say_to_group(&cli, c, "skip", &body, "reason", &answer, &root);
        if (code == EXIT_OK && cli.json)
            cli_print(answer);
        else if (code == EXIT_OK)
            dprintf(1, "%s goes on behind event %lld, which is dead letter %lld now\n", c->operands[0], (long long)offset,
                    (long long)json_i64_or(json_get(root, "letter"), 0));
    }
    buf_done(&body);
    cli_done(&cli);
    return code;
}
