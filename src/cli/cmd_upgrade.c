/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus upgrade: asks the supervisor to become another program, and watches it restart everything on it.
 */
#include "cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LOOK_AGAIN_MS = 100, LOOK_ARENA_SIZE = 16 << 20, ANSWER_TIMEOUT_MS = 20000 /* longer than the trial's time */ };

struct upgrade_end {
    char state[32], from[64], to[64], message[512];
    int64_t done, count;
};

static void copy(char *to, size_t size, const struct json *v)
{
    struct slice s = json_string_or(v, SLICE(""));
    (void)snprintf(to, size, "%.*s", (int)(s.size < size ? s.size : size - 1), s.p == NULL ? "" : s.p);
}

/* False: the supervisor did not answer, as while it changes programs. */
static bool look(struct cli *cli, struct upgrade_end *e)
{
    struct cli once = *cli; /* its answers would fill the arena */
    const struct json *status = NULL;
    arena_init(&once.a, LOOK_ARENA_SIZE);
    bool answered = cli_ask(&once, &(struct cli_request){"supervisor.sock", "the supervisor", "GET", "/v1/status", 200, true}, NULL, NULL,
                            &status) == EXIT_OK;
    const struct json *u = json_get(json_get(status, "supervisor"), "upgrade");
    if (answered) {
        copy(e->state, sizeof e->state, json_get(u, "state"));
        copy(e->from, sizeof e->from, json_get(u, "from"));
        copy(e->to, sizeof e->to, json_get(u, "to"));
        copy(e->message, sizeof e->message, json_get(u, "message"));
        e->done = json_i64_or(json_get(u, "done"), 0);
        e->count = json_i64_or(json_get(u, "of"), 0);
    }
    arena_done(&once.a);
    return answered;
}

static int watch(struct cli *cli, int64_t wait_ms, struct upgrade_end *e)
{
    int64_t end_ms = env_now_ms(cli->e) + wait_ms;
    for (;;) {
        if (look(cli, e)) {
            if (strcmp(e->state, "done") == 0)
                return EXIT_OK;
            if (strcmp(e->state, "failed") == 0)
                return EXIT_FAILED;
            if (e->state[0] == '\0') { /* another supervisor: it knows of no upgrade */
                (void)snprintf(e->message, sizeof e->message, "the supervisor ended meanwhile and was started again");
                return EXIT_FAILED;
            }
        } else if (state_lock_holder(&cli->state) == 0) {
            (void)snprintf(e->message, sizeof e->message, "the supervisor has ended; see log/supervisor.log in the state folder");
            return EXIT_NOT_RUNNING;
        }
        if (env_now_ms(cli->e) >= end_ms) {
            (void)snprintf(e->message, sizeof e->message, "%lld of %lld processes run the new program; it goes on, see ficus status", (long long)e->done,
                           (long long)e->count);
            return EXIT_NOT_HEALTHY;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_AGAIN_MS * 1000000}, NULL);
    }
}

static void print_end(const struct cli *cli, const struct upgrade_end *e, int code)
{
    struct buf out;
    buf_init(&out, 65536);
    if (cli->json) {
        struct json_writer w;
        json_write_init(&w, &out);
        json_write_object(&w);
        json_write_kv_bool(&w, "ok", code == EXIT_OK);
        json_write_kv_str(&w, "from", e->from);
        json_write_kv_str(&w, "to", e->to);
        json_write_kv_i64(&w, "done", e->done);
        json_write_kv_i64(&w, "of", e->count);
        json_write_kv_str(&w, "message", e->message[0] == '\0' ? NULL : e->message);
        json_write_end(&w);
        buf_add_char(&out, '\n');
    } else if (code == EXIT_OK) {
        buf_printf(&out, "upgraded from %s to %s: the supervisor and %lld processes\n", e->from, e->to, (long long)e->count);
    } else {
        dprintf(2, "ficus: %s\n", e->message);
    }
    cli_print(buf_slice(&out));
    buf_done(&out);
}

/* It ran the program on trial, which said no, or is at it. */
static int refused(const struct cli *cli, const struct json *answer, struct slice text)
{
    struct slice why = json_string_or(json_get(answer, "text"), SLICE(""));
    if (cli->json) {
        cli_print(text);
        cli_print(SLICE("\n"));
    } else {
        dprintf(2, SLICE_FMT "%s", SLICE_ARG(why), why.size > 0 && why.p[why.size - 1] == '\n' ? "" : "\n");
    }
    return cli_is_true(json_get(answer, "usage")) ? EXIT_USAGE : EXIT_FAILED;
}

static int upgrade(struct cli *cli, const char *binary, int64_t wait_ms)
{
    char path[PATH_MAX];
    struct upgrade_end end = {.state = ""};
    struct slice text = SLICE_NONE;
    const struct json *answer = NULL;
    const char *target = "/v1/upgrade";
    if (binary != NULL && realpath(binary, path) == NULL) {
        dprintf(2, "ficus: --binary: %s: %s\n", binary, strerror(errno));
        return EXIT_USAGE;
    }
    if (binary != NULL)
        target = arena_printf(&cli->a, "/v1/upgrade?binary=%s", cli_segment(cli, path));
    const struct cli_request request = {.socket = "supervisor.sock", .who = "the supervisor", .method = "POST", .target = target, .expected = 200,
                                        .timeout_ms = ANSWER_TIMEOUT_MS};
    int code = cli_ask(cli, &request, NULL, &text, &answer);
    if (code != EXIT_OK)
        return code;
    if (!cli_is_true(json_get(answer, "ok")))
        return refused(cli, answer, text);
    code = watch(cli, wait_ms, &end);
    print_end(cli, &end, code);
    return code;
}

int cmd_upgrade(const struct command_call *c)
{
    struct cli cli;
    int64_t wait_ms;
    int code = EXIT_FAILED;
    if (!cli_duration(c, "wait", "5m", &wait_ms))
        return EXIT_USAGE;
    if (cli_init(&cli, c))
        code = upgrade(&cli, command_value(c, "binary", NULL), wait_ms);
    cli_done(&cli);
    return code;
}
