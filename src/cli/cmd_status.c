/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus status; ficus restart, stop and start.
 */
#include "cli.h"

#include "state.h"

#include <stdio.h>
#include <time.h>

enum { LOOK_AGAIN_MS = 50 };

int cmd_status(const struct command_call *c)
{
    struct cli cli;
    int code = EXIT_FAILED;
    if (cli_init(&cli, c)) {
        struct slice text = SLICE_NONE;
        const struct json *status = cli_status(&cli, &text, &code);
        struct buf out;
        buf_init(&out, 1 << 20);
        if (status != NULL && cli.json) {
            buf_add_slice(&out, text);
            buf_add_char(&out, '\n');
        } else if (status != NULL) {
            print_status(status, cli_colour(1), &out);
        }
        cli_print(buf_slice(&out));
        buf_done(&out);
    }
    cli_done(&cli);
    return code;
}

/* What is asked of the supervisor, and what is seen when it is done. */
struct order {
    const char *path, *state;
    bool new_pid;
    const char *undone;
};
static const struct order restart_order = {"restart", "running", true, "is not running again yet"},
                          start_order = {"start", "running", false, "is not running yet"},
                          stop_order = {"stop", "stopped", false, "has not ended yet"},
                          kill_order = {"kill", "stopped", false, "has not ended yet"};

static int wait_until_done(struct cli *cli, const struct order *o, const char *name, int64_t old_pid, int64_t wait_ms)
{
    int64_t end_ms = env_now_ms(cli->e) + wait_ms;
    for (;;) {
        struct slice text;
        int code;
        const struct json *process = status_process(cli_status(cli, &text, &code), name);
        if (process == NULL)
            return code == EXIT_OK ? EXIT_FAILED : code;
        if (slice_eq_str(json_string_or(json_get(process, "state"), SLICE_NONE), o->state) &&
            (!o->new_pid || json_i64_or(json_get(process, "pid"), 0) != old_pid))
            return EXIT_OK;
        struct slice message = json_string_or(json_get(process, "message"), SLICE(""));
        if (o->new_pid && slice_eq_str(json_string_or(json_get(process, "state"), SLICE_NONE), "running") &&
            slice_starts(message, SLICE("restart failed"))) {
            dprintf(2, "ficus: " SLICE_FMT "\n", SLICE_ARG(message));
            return EXIT_FAILED;
        }
        if (env_now_ms(cli->e) >= end_ms || arena_overflowed(&cli->a)) {
            dprintf(2, "ficus: %s %s\n", name, o->undone);
            return EXIT_NOT_HEALTHY;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_AGAIN_MS * 1000000}, NULL);
    }
}

static int carry_out(struct cli *cli, const struct order *o, const char *name, int64_t wait_ms)
{
    struct slice text;
    const struct json *status;
    int code = cli_ask(cli, &(struct cli_request){"supervisor.sock", "the supervisor", "GET", "/v1/status", 200, false},
                       NULL, &text, &status);
    if (code != EXIT_OK)
        return code;
    const struct json *process = status_process(status, name);
    if (process == NULL) {
        cli_no_process(status, name);
        return EXIT_FAILED;
    }
    int64_t old_pid = json_i64_or(json_get(process, "pid"), 0);
    const char *target = arena_printf(&cli->a, "/v1/%s/%s", o->path, cli_segment(cli, name));
    code = cli_ask(cli, &(struct cli_request){"supervisor.sock", "the supervisor", "POST", target, 202, false}, NULL,
                   NULL, NULL);
    return code == EXIT_OK ? wait_until_done(cli, o, name, old_pid, wait_ms) : code;
}

static int run_order(const struct command_call *c, const struct order *o)
{
    struct cli cli;
    int64_t wait_ms;
    int code = EXIT_USAGE;
    if (!cli_duration(c, "wait", "30s", &wait_ms))
        return EXIT_USAGE;
    if (cli_init(&cli, c))
        code = carry_out(&cli, o, c->operands[0], wait_ms);
    cli_done(&cli);
    return code;
}

int cmd_restart(const struct command_call *c)
{
    return run_order(c, &restart_order);
}

int cmd_stop(const struct command_call *c)
{
    return run_order(c, command_has(c, "kill") ? &kill_order : &stop_order);
}

int cmd_start(const struct command_call *c)
{
    return run_order(c, &start_order);
}
