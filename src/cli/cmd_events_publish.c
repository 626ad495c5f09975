/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus events publish: one event, by the hub's operator socket.
 */
#include "cli.h"

#include "event.h"
#include "text.h"
#include "timefmt.h"
#include "uuid.h"

#include <stdio.h>
#include <unistd.h>

static const char *new_id(struct cli *cli)
{
    uint8_t random[10];
    char *id = arena_alloc(&cli->a, UUID_TEXT_SIZE);
    env_random(cli->e, random, sizeof random);
    if (id != NULL)
        uuid_v7(env_wall_ms(cli->e), random, id);
    return id;
}

/* What the command line says, as an event. An exit code. */
static int make_event(struct cli *cli, const struct command_call *c, struct event *ret_event)
{
    struct slice data = SLICE_NONE;
    struct ficus_error error = {0};
    int64_t at_ms = 0;
    const char *id = command_value(c, "id", NULL), *subject = command_value(c, "subject", NULL), *at = command_value(c, "at", NULL);
    const char *given = command_value(c, "data", NULL), *source = arena_printf(&cli->a, "/operator/%lld", (long long)geteuid());
    char *time = arena_alloc(&cli->a, TIME_TEXT_SIZE);
    if (given != NULL && cli_input(cli, given, EVENT_SIZE_MAX, &data, &error) != FICUS_ERR_OK) {
        dprintf(2, "ficus: --data: %s\n", error.text);
        return EXIT_USAGE;
    }
    if (at != NULL && !cli_time(cli, "at", at, 1, &at_ms))
        return EXIT_USAGE;
    if (id == NULL)
        id = new_id(cli);
    if (id == NULL || source == NULL || time == NULL)
        return cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM});
    time_format(at_ms > env_wall_ms(cli->e) ? at_ms : env_wall_ms(cli->e), time);
    *ret_event = (struct event){.id = slice_str(id), .source = slice_str(source), .topic = slice_str(c->operands[0]),
                                .subject = subject == NULL ? SLICE_NONE : slice_str(subject), .time = slice_str(time),
                                .data = given == NULL ? SLICE_NONE : slice_trim(data), .at_ms = at_ms > 0 ? at_ms : 0};
    return event_check(ret_event, &error) == FICUS_ERR_OK ? EXIT_OK : cli_fail(&error);
}

static int send_event(struct cli *cli, const struct event *ev)
{
    struct buf body;
    struct json_writer w;
    struct slice answer = SLICE_NONE;
    char at[TIME_TEXT_SIZE] = "";
    buf_init(&body, 2 * EVENT_SIZE_MAX);
    json_write_init(&w, &body);
    json_write_array(&w);
    event_write(&w, ev);
    json_write_end(&w);
    int code = buf_failed(&body) ? cli_fail(&(struct ficus_error){.code = FICUS_ERR_TOO_LARGE})
                                 : cli_ask(cli, &(struct cli_request){"hub-ops.sock", "the hub", "POST", "/v1/events", 200, false, .body = buf_slice(&body)},
                                           NULL, &answer, NULL);
    buf_done(&body);
    if (ev->at_ms > 0)
        time_format(ev->at_ms, at);
    if (code == EXIT_OK && cli->json)
        dprintf(1, "{\"id\":\"" SLICE_FMT "\",\"source\":\"" SLICE_FMT "\"}\n", SLICE_ARG(ev->id), SLICE_ARG(ev->source));
    else if (code == EXIT_OK && ev->at_ms > env_wall_ms(cli->e))
        dprintf(1, SLICE_FMT " waits until %s; ficus events scheduled lists it\n", SLICE_ARG(ev->id), at);
    else if (code == EXIT_OK)
        dprintf(1, SLICE_FMT " is in the log\n", SLICE_ARG(ev->id));
    return code;
}

int cmd_events_publish(const struct command_call *c)
{
    struct cli cli;
    struct event ev;
    int code = EXIT_FAILED;
    if (cli_init(&cli, c)) {
        code = make_event(&cli, c, &ev);
        if (code == EXIT_OK)
            code = send_event(&cli, &ev);
    }
    cli_done(&cli);
    return code;
}
