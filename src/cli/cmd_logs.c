/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus logs.
 */
#include "cli.h"

#include "logs.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

struct printing {
    struct buf text;
    bool gone; /* the reader (a pager, head) has closed the pipe */
    bool any, at_once;
};

static void flush(struct printing *p)
{
    struct slice text = buf_slice(&p->text);
    while (text.size > 0 && !p->gone) {
        ssize_t n = write(1, text.p, text.size);
        p->gone = n <= 0;
        if (n > 0)
            text = slice_from(text, (size_t)n);
    }
    buf_clear(&p->text);
}

static bool print_line(void *arg, struct slice line)
{
    struct printing *p = arg;
    if (buf_slice(&p->text).size + line.size > 65536)
        flush(p);
    buf_add_slice(&p->text, line);
    p->any = true;
    if (p->at_once)
        flush(p);
    return !p->gone;
}

int cmd_logs(const struct command_call *c)
{
    struct arena a;
    struct state state = {0};
    struct ficus_error error = {0};
    struct printing p = {0};
    uint64_t last = 0;
    struct logs_query q = {.services = c->operands,
                           .service_count = c->operand_count,
                           .trace = command_value(c, "trace", NULL),
                           .follow = command_has(c, "follow"),
                           .json = command_has(c, "json"),
                           .colour = cli_colour(1)};
    const char *level = command_value(c, "level", "debug"), *count = command_value(c, "lines", "0");
    if (!log_level_parse(slice_str(level), &q.level_min)) {
        dprintf(2, "ficus: --level: \"%s\" is none of debug, info, warn, error\n", level);
        return EXIT_USAGE;
    }
    if (!slice_to_u64(slice_str(count), &last) || last > LOGS_LAST_MAX) {
        dprintf(2, "ficus: --lines: \"%s\" is no number up to %d\n", count, LOGS_LAST_MAX);
        return EXIT_USAGE;
    }
    q.last_max = (size_t)last;
    p.at_once = q.follow;
    signal(SIGPIPE, SIG_IGN);
    arena_init(&a, 1 << 20);
    buf_init(&p.text, 1 << 20);
    enum ficus_err err = state_locate(&a, command_value(c, "file", "ficus.yaml"), &state, &error);
    if (err == FICUS_ERR_OK) {
        q.folder = state.log;
        err = logs_read(&q, print_line, &p, &error);
    }
    flush(&p);
    buf_done(&p.text);
    if (err == FICUS_ERR_NOT_FOUND && state.root != NULL && !state_exists(&state)) {
        dprintf(2, "ficus: there are no logs in %s (-f or FICUS_STATE names another state)\n", state.root);
        arena_done(&a);
        return EXIT_NOT_RUNNING;
    }
    if (err == FICUS_ERR_OK && q.trace != NULL && !p.any) {
        dprintf(2, "ficus: no line%s has the trace or correlation id %s\n",
                q.service_count > 0 || q.level_min > LOG_DEBUG ? " of those asked for" : "", q.trace);
        arena_done(&a);
        return EXIT_FAILED;
    }
    arena_done(&a);
    return err == FICUS_ERR_OK ? EXIT_OK : cli_fail(&error);
}
