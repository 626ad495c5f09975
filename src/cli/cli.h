/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the ficus command share. Exit codes: 0 done, 1 failed, 2 wrong usage (also 400 of whoever was asked) or errors in the manifest, 3
 * not running, 4 not healthy in time.
 */
#ifndef FICUS_CLI_H
#define FICUS_CLI_H

#include "command.h"
#include "conf.h"
#include "env.h"
#include "ops_call.h"
#include "state.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NOT_RUNNING = 3, EXIT_NOT_HEALTHY = 4 };

extern const struct command_table cli_table;

int cmd_up(const struct command_call *c);
int cmd_backup(const struct command_call *c);
int cmd_restore(const struct command_call *c);
int cmd_down(const struct command_call *c);
int cmd_new_service(const struct command_call *c);
int cmd_doctor(const struct command_call *c);
int cmd_status(const struct command_call *c);
int cmd_logs(const struct command_call *c);
int cmd_reload(const struct command_call *c);
int cmd_upgrade(const struct command_call *c);
int cmd_restart(const struct command_call *c);
int cmd_stop(const struct command_call *c);
int cmd_start(const struct command_call *c);
int cmd_saga_list(const struct command_call *c);
int cmd_saga_show(const struct command_call *c);
int cmd_saga_retry(const struct command_call *c);
int cmd_saga_start(const struct command_call *c);
int cmd_saga_describe(const struct command_call *c);
int cmd_saga_cancel(const struct command_call *c);
int cmd_saga_terminate(const struct command_call *c);
int cmd_saga_signal(const struct command_call *c);
int cmd_events_topics(const struct command_call *c);
int cmd_events_dead(const struct command_call *c);
int cmd_events_redrive(const struct command_call *c);
int cmd_events_drop(const struct command_call *c);
int cmd_events_rebuild(const struct command_call *c);
int cmd_events_lag(const struct command_call *c);
int cmd_events_seek(const struct command_call *c);
int cmd_events_skip(const struct command_call *c);
int cmd_events_consume(const struct command_call *c);
int cmd_events_schema(const struct command_call *c);
int cmd_events_verify(const struct command_call *c);
int cmd_events_publish(const struct command_call *c);
int cmd_events_read(const struct command_call *c);
int cmd_events_scheduled(const struct command_call *c);
int cmd_events_unschedule(const struct command_call *c);
int cmd_migrations_lint(const struct command_call *c);
int cmd_test_saga(const struct command_call *c);
int cmd_config_check(const struct command_call *c);
int cmd_routes(const struct command_call *c);
int cmd_routes_explain(const struct command_call *c);
int cmd_version(const struct command_call *c);
int cmd_help(const struct command_call *c);
int cmd_gateway(const struct command_call *c);
int cmd_hub(const struct command_call *c);

/* ---- cli.c ---- */

/* What most commands need: an env, an arena and the state of the manifest that -f names. */
struct cli {
    struct env *e;
    struct arena a;
    struct state state;
    const char *file;
    bool json;
};

/* False: said why on stderr. In either case cli_done follows. */
bool cli_init(struct cli *cli, const struct command_call *c);
void cli_done(struct cli *cli);

/* "WHO is not running" on stderr, with the state that was looked at; who "": the system. EXIT_NOT_RUNNING; EXIT_FAILED
 * when the state is another user's, which is said instead. */
int cli_not_running(const struct cli *cli, const char *who);
int cli_fail(const struct ficus_error *error); /* "ficus: TEXT" on stderr; the exit code of the error */
void cli_print(struct slice text);             /* to stdout, all of it; a reader that has gone is no failure */
/* What others have written, without what a terminal would take for an order: control characters become ?. */
void cli_add_plain(struct buf *out, struct slice text);
void cli_print_errors(const struct conf_errors *errors); /* to stderr */
bool cli_is_true(const struct json *v); /* NULL and what is no bool: false */
struct slice text_of(const struct json *v, const char *key); /* for tables: the string, "-" where there is none */
struct json *items_of(const struct json *v, const char *key); /* the first item of a list, then its next; NULL: it has none, or there is no list */
/* Its texts, before the first of them and between two; nothing when there is none. */
void cli_add_list(const struct json *v, const char *key, const char *before, const char *between, struct buf *out);
bool cli_colour(int fd);                                 /* a terminal, and NO_COLOR is not set */
const char *cli_program_folder(struct arena *a); /* where this program's file lies, absolute; NULL: not known */
/* Where pkg-config finds the libficus that belongs to this program; "" when that is a standard place, or not found. */
const char *cli_package_folder(struct arena *a);
/* A duration option in ms; false: said why. */
bool cli_duration(const struct command_call *c, const char *option, const char *fallback, int64_t *ret_ms);

/* A time by RFC 3339, or a duration from now on (sign 1) or back (-1). False: said why. */
bool cli_time(struct cli *cli, const char *option, const char *text, int sign, int64_t *ret_ms);

/* What an option that takes text, @FILE or @- (standard input, to its end) stands for, in the arena. TOO_LARGE over size_max;
 * nothing is printed. */
enum ficus_err cli_input(struct cli *cli, const char *value, size_t size_max, struct slice *ret_text, struct ficus_error *reterr);

/* Ask an operator socket ("supervisor.sock", "hub-ops.sock"), or a service as operator, and expect JSON. Returns an
 * exit code; EXIT_NOT_RUNNING when nobody listens. quiet: print nothing then. Problems that it answers are printed.
 * ret_json may be NULL. */
struct cli_request {
    const char *socket, *who; /* "hub-ops.sock", "the hub" */
    const char *method, *target;
    int expected; /* status; another one is a failure */
    bool quiet;
    const char *service; /* not NULL: the socket is this service's, which asks who we are */
    struct slice body;   /* JSON; SLICE_NONE: none */
    int64_t timeout_ms;  /* 0: as ops_call.h says */
};
/* Somebody stopped it: its socket takes connections, and nobody would answer them. cli_ask looks by itself. Blocks. */
bool cli_hub_is_stopped(const struct cli *cli);
int cli_ask(struct cli *cli, const struct cli_request *r, int *ret_status, struct slice *ret_body,
            const struct json **ret_json);
/* The two halves of it, for who has several at once: the call, to be started; and what came of it. Exit codes. */
int cli_call(struct cli *cli, const struct cli_request *r, struct ops_call *ret_call);
int cli_answer(struct cli *cli, const struct cli_request *r, const struct ficus_error *error, int status, struct slice body,
               const struct json **ret_json);
/* Who says it: the person behind sudo, too. The hub adds the user that it knows. NULL: not known, or no plain name. */
const char *cli_person(void);
/* One segment of a path, percent-encoded, in the arena. */
const char *cli_segment(struct cli *cli, const char *text);

/* ---- cmd_up.c ---- */

/* For ficus test: as ficus up -d in the state folder that FICUS_STATE names, but silent when all is well, and the system ends with this
 * process. Before any env is made. */
struct cli_up_test {
    const char *crash_folder; /* supervisor_options' */
    const char *listen;       /* "gateway.listen=127.0.0.1:4711"; NULL: as the manifest says */
};
int cli_up_test(const struct command_call *c, const struct cli_up_test *test, int64_t wait_ms);

/* ---- print_status.c ---- */

void print_status(const struct json *status, bool colour, struct buf *out);
/* "not healthy after 30s: " and the processes of a status document that do not run, then a line for each of these that
 * says why. */
void print_unhealthy(const struct json *status, int64_t wait_ms, struct buf *out);
/* One process of a status document, of a service the first instance; NULL: there is none of this name. */
const struct json *status_process(const struct json *status, const char *name);
/* Says on stderr that there is no process of this name, with the nearest one. */
void cli_no_process(const struct json *status, const char *name);
/* The status document, from the supervisor or else from its record. NULL: said why. */
const struct json *cli_status(struct cli *cli, struct slice *ret_text, int *ret_exit);

#endif
