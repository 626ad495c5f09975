/* SPDX-License-Identifier: Apache-2.0
 *
 * What the commands have in common.
 */
#include "cli.h"

#include "io_env.h"
#include "mem.h"
#include "identity.h"
#include "operator.h"
#include "ops_call.h"
#include "text.h"
#include "timefmt.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLI_ARENA_SIZE = 64 << 20, KEY_FILE_SIZE_MAX = 256 };

int cli_not_running(const struct cli *cli, const char *who)
{
    if (state_closed_to_us(&cli->state)) {
        dprintf(2, "ficus: the state %s belongs to another user: do this as that user, or name another with -f or FICUS_STATE\n",
                cli->state.root);
        return EXIT_FAILED;
    }
    dprintf(2, "ficus: %s%snot running (state %s; -f or FICUS_STATE names another)\n", who, who[0] != '\0' ? " is " : "",
            cli->state.root);
    return EXIT_NOT_RUNNING;
}

int cli_fail(const struct ficus_error *error)
{
    dprintf(2, "ficus: %s\n", error->text[0] != '\0' ? error->text : err_text(error->code));
    return err_exit_code(error->code);
}

bool cli_init(struct cli *cli, const struct command_call *c)
{
    struct ficus_error error = {0};
    *cli = (struct cli){.file = command_value(c, "file", "ficus.yaml"), .json = command_has(c, "json")};
    arena_init(&cli->a, CLI_ARENA_SIZE);
    cli->e = env_uv_new(NULL, &error);
    if (cli->e == NULL || state_locate(&cli->a, cli->file, &cli->state, &error) != FICUS_ERR_OK) {
        (void)cli_fail(&error);
        return false;
    }
    return true;
}

void cli_done(struct cli *cli)
{
    env_uv_free(cli->e);
    arena_done(&cli->a);
}

void cli_print(struct slice text)
{
    while (text.size > 0) {
        ssize_t n = write(1, text.p, text.size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        text = slice_from(text, (size_t)n);
    }
}

void cli_add_plain(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.p[i], next = i + 1 < text.size ? (unsigned char)text.p[i + 1] : 0;
        bool is_c1 = c == 0xc2 && next >= 0x80 && next < 0xa0; /* U+0080 to U+009F */
        i += is_c1 ? 1 : 0;
        buf_add_char(out, c < 0x20 || c == 0x7f || is_c1 ? '?' : (char)c);
    }
}

void cli_print_errors(const struct conf_errors *errors)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    conf_errors_print(errors, &text);
    dprintf(2, "%s", buf_str(&text));
    buf_done(&text);
}

bool cli_is_true(const struct json *v)
{
    bool value = false;
    return json_bool(v, &value) && value;
}

struct slice text_of(const struct json *v, const char *key)
{
    return json_string_or(json_get(v, key), SLICE("-"));
}

struct json *items_of(const struct json *v, const char *key)
{
    const struct json *list = json_get(v, key);
    return list == NULL ? NULL : list->first;
}

void cli_add_list(const struct json *v, const char *key, const char *before, const char *between, struct buf *out)
{
    const struct json *first = items_of(v, key);
    for (const struct json *item = first; item != NULL; item = item->next)
        buf_printf(out, "%s" SLICE_FMT, item == first ? before : between, SLICE_ARG(json_string_or(item, SLICE("-"))));
}

bool cli_colour(int fd)
{
    const char *no = getenv("NO_COLOR");
    return isatty(fd) == 1 && (no == NULL || no[0] == '\0');
}

bool cli_duration(const struct command_call *c, const char *option, const char *fallback, int64_t *ret_ms)
{
    const char *text = command_value(c, option, fallback);
    if (duration_parse(slice_str(text), ret_ms) && *ret_ms >= 0)
        return true;
    dprintf(2, "ficus: --%s: \"%s\" is no duration such as 500ms, 30s or 10m\n", option, text);
    return false;
}

bool cli_time(struct cli *cli, const char *option, const char *text, int sign, int64_t *ret_ms)
{
    int64_t ms;
    if (duration_parse(slice_str(text), &ms) && ms >= 0)
        *ret_ms = env_wall_ms(cli->e) + sign * ms;
    else if (!time_parse(slice_str(text), ret_ms)) {
        dprintf(2, "ficus: --%s: \"%s\" is no time such as 2026-11-30T02:00:00Z, and no duration such as 30s, 10m or 24h\n", option, text);
        return false;
    }
    return true;
}

/* By a stream, not by the file's size: of a pipe, as of <(...), that is 0. */
static enum ficus_err read_stream(struct cli *cli, FILE *f, const char *name, size_t size_max, struct slice *ret_text, struct ficus_error *reterr)
{
    struct buf text;
    char part[16384];
    size_t size;
    buf_init(&text, size_max);
    while (!buf_failed(&text) && (size = fread(part, 1, sizeof part, f)) > 0)
        buf_add(&text, part, size);
    enum ficus_err err = ferror(f) ? err_set(reterr, FICUS_ERR_IO, "%s cannot be read", name) : FICUS_ERR_OK;
    if (err == FICUS_ERR_OK && buf_failed(&text))
        err = err_set(reterr, FICUS_ERR_TOO_LARGE, "%s has more than %zu bytes", name, size_max);
    if (err == FICUS_ERR_OK && (*ret_text = arena_slice(&cli->a, buf_slice(&text))).p == NULL)
        err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    buf_done(&text);
    return err;
}

enum ficus_err cli_input(struct cli *cli, const char *value, size_t size_max, struct slice *ret_text, struct ficus_error *reterr)
{
    *ret_text = slice_str(value);
    if (value[0] != '@')
        return FICUS_ERR_OK;
    if (strcmp(value, "@-") == 0)
        return read_stream(cli, stdin, "standard input", size_max, ret_text, reterr);
    FILE *f = fopen(value + 1, "re");
    if (f == NULL)
        return err_set(reterr, FICUS_ERR_IO, "%s cannot be opened: %s", value + 1, strerror(errno));
    enum ficus_err err = read_stream(cli, f, value + 1, size_max, ret_text, reterr);
    (void)fclose(f); /* it was read */
    return err;
}

const char *cli_segment(struct cli *cli, const char *text)
{
    struct buf out;
    buf_init(&out, 4096);
    const char *copy = text_percent_segment(&out, slice_str(text)) ? arena_strdup(&cli->a, buf_slice(&out)) : NULL;
    buf_done(&out);
    return copy == NULL ? "" : copy;
}

const char *cli_program_folder(struct arena *a)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0)
        return NULL;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    return slash == NULL ? NULL : arena_strdup(a, slice_make(path, (size_t)(slash - path)));
}

const char *cli_package_folder(struct arena *a)
{
    static const char *const places[] = {"meson-uninstalled", "../lib/pkgconfig"};
    const char *folder = cli_program_folder(a);
    for (size_t i = 0; folder != NULL && i < ARRAY_COUNT(places); i++) {
        char real[PATH_MAX];
        const char *file = arena_printf(a, "%s/%s/%s.pc", folder, places[i], i == 0 ? "ficus-uninstalled" : "ficus");
        if (file == NULL || realpath(file, real) == NULL)
            continue;
        *strrchr(real, '/') = '\0';
        if (strcmp(real, "/usr/lib/pkgconfig") == 0 || strcmp(real, "/usr/local/lib/pkgconfig") == 0)
            return "";
        const char *copy = arena_strdup(a, slice_str(real));
        return copy == NULL ? "" : copy;
    }
    return "";
}

/* Whoever can read the system's key is an operator. */
static enum ficus_err operator_identity(struct cli *cli, const char *service, struct slice *ret_token,
                                        struct ficus_error *reterr)
{
    struct slice text = SLICE_NONE;
    struct system_key *key = NULL;
    const struct identity_claims claims = {.issuer = SLICE(OPERATOR_NAME), .audience = slice_str(service)};
    enum ficus_err err = env_file_load(cli->e, &cli->a, cli->state.key_file, KEY_FILE_SIZE_MAX, &text, reterr);
    if (err == FICUS_ERR_OK)
        err = system_key_from_hex(text, &key, reterr);
    if (err == FICUS_ERR_OK)
        err = identity_make(key, &cli->a, &claims, env_wall_ms(cli->e), ret_token, reterr);
    system_key_free(key);
    return err;
}

/* Exit code. 400 is about what was written on the command line: all else of a request is ours. */
static int refused(int status)
{
    return status == 400 ? EXIT_USAGE : EXIT_FAILED;
}

static int ask_problem(const struct cli_request *r, int status, const struct json *root)
{
    struct slice detail = json_string_or(json_get(root, "detail"),
                                         json_string_or(json_get(root, "title"), SLICE("no reason given")));
    dprintf(2, "ficus: %s answered %d: " SLICE_FMT "\n", r->who, status, SLICE_ARG(detail));
    return refused(status);
}

int cli_call(struct cli *cli, const struct cli_request *r, struct ops_call *ret_call)
{
    struct ficus_error error = {0};
    struct slice identity = SLICE_NONE;
    const char *address = arena_printf(&cli->a, "unix:%s/%s", cli->state.sockets, r->socket);
    enum ficus_err err = address == NULL ? err_set(&error, FICUS_ERR_NOMEM, "out of memory") : FICUS_ERR_OK;
    if (err == FICUS_ERR_OK && r->service != NULL)
        err = operator_identity(cli, r->service, &identity, &error);
    if (err != FICUS_ERR_OK)
        return r->quiet ? err_exit_code(err) : cli_fail(&error);
    *ret_call = (struct ops_call){
        .env = cli->e, .address = address, .method = r->method, .target = r->target, .body = r->body, .identity = identity,
        .timeout_ms = r->timeout_ms};
    return EXIT_OK;
}

int cli_answer(struct cli *cli, const struct cli_request *r, const struct ficus_error *error, int status, struct slice body,
               const struct json **ret_json)
{
    struct ficus_error wrong = {0};
    struct json *root = NULL;
    if (error->code == FICUS_ERR_REFUSED)
        return r->quiet ? EXIT_NOT_RUNNING : cli_not_running(cli, r->who);
    if (error->code == FICUS_ERR_TIMEOUT && !r->quiet) /* its socket is the supervisor's, and takes connections while nobody serves */
        dprintf(2, "ficus: %s does not answer; ficus status shows how it is\n", r->who);
    else if (error->code != FICUS_ERR_OK && !r->quiet)
        (void)cli_fail(error);
    if (error->code != FICUS_ERR_OK)
        return r->quiet ? EXIT_FAILED : err_exit_code(error->code);
    if (body.size > 0 &&
        json_parse(&cli->a, body, &(struct json_limits){.size_max = OPS_BODY_SIZE_MAX, .values_max = OPS_BODY_SIZE_MAX / 2}, &root,
                   &wrong) != FICUS_ERR_OK) {
        if (!r->quiet) /* a service that is not made with libficus may answer anything */
            dprintf(2, "ficus: %s answered %d, and nothing that can be read\n", r->who, status);
        return EXIT_FAILED;
    }
    if (status != r->expected)
        return r->quiet ? refused(status) : ask_problem(r, status, root);
    if (ret_json != NULL)
        *ret_json = root;
    return EXIT_OK;
}

const char *cli_person(void)
{
    static const char *const names[] = {"SUDO_USER", "USER", "LOGNAME"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        const char *name = getenv(names[i]);
        if (name != NULL && name[0] != '\0' && text_printable_ascii(slice_str(name)))
            return name;
    }
    return NULL;
}

bool cli_hub_is_stopped(const struct cli *cli)
{
    struct cli once = *cli; /* its answers would fill the arena */
    const struct json *status = NULL;
    const struct cli_request r = {"supervisor.sock", "the supervisor", "GET", "/v1/status", 200, true, NULL};
    arena_init(&once.a, 16 << 20);
    bool stopped = cli_ask(&once, &r, NULL, NULL, &status) == EXIT_OK &&
                   slice_eq_str(json_string_or(json_get(json_get(status, "hub"), "state"), SLICE_NONE), "stopped");
    arena_done(&once.a);
    return stopped;
}

int cli_ask(struct cli *cli, const struct cli_request *r, int *ret_status, struct slice *ret_body,
            const struct json **ret_json)
{
    struct ficus_error error = {0};
    struct slice body = SLICE_NONE;
    struct ops_call call;
    if (strcmp(r->socket, "hub-ops.sock") == 0 && cli_hub_is_stopped(cli)) {
        if (!r->quiet)
            dprintf(2, "ficus: the hub was stopped; ficus start hub\n");
        return EXIT_NOT_RUNNING;
    }
    int status = 0, code = cli_call(cli, r, &call);
    if (code != EXIT_OK)
        return code;
    if (ops_call_wait(&call, &cli->a, &status, &body, &error) == FICUS_ERR_OK && ret_status != NULL)
        *ret_status = status;
    code = cli_answer(cli, r, &error, status, body, ret_json);
    if (code == EXIT_OK && ret_body != NULL)
        *ret_body = body;
    return code;
}
