/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus reload: the supervisor reads the manifest again, the gateway takes it over.
 */
#include "cli.h"

#include <stdio.h>
#include <time.h>

enum { LOOK_AGAIN_MS = 20 };

/* What the gateway made of it; NULL: it took it over, or there is none that runs. */
static const char *gateway_refusal(struct cli *cli, int64_t wait_ms, int *ret_code)
{
    int64_t end_ms = env_now_ms(cli->e) + wait_ms;
    for (;;) {
        struct slice text;
        const struct json *gateway = json_get(cli_status(cli, &text, ret_code), "gateway");
        struct slice message = json_string_or(json_get(gateway, "message"), SLICE(""));
        bool reloading = cli_is_true(json_get(gateway, "reloading"));
        if (*ret_code != EXIT_OK)
            return NULL;
        if (!reloading) {
            *ret_code = slice_starts(message, SLICE("reload failed")) ? EXIT_FAILED : EXIT_OK;
            return *ret_code == EXIT_OK ? NULL : arena_strdup(&cli->a, message);
        }
        if (env_now_ms(cli->e) >= end_ms || arena_overflowed(&cli->a)) {
            *ret_code = EXIT_NOT_HEALTHY;
            return "the gateway has not said yet what it makes of it; see ficus status";
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_AGAIN_MS * 1000000}, NULL);
    }
}

static void print_result(const struct cli *cli, const struct json *answer, const char *refusal, struct buf *out)
{
    const struct json *restart = json_get(answer, "restart");
    size_t count = restart == NULL ? 0 : restart->count;
    if (cli->json) {
        struct json_writer w;
        json_write_init(&w, out);
        json_write_object(&w);
        json_write_kv_bool(&w, "ok", refusal == NULL);
        json_write_kv_str(&w, "gateway", refusal); /* null: nothing is wrong with it */
        json_write_key(&w, "restart");
        json_write_value(&w, restart);
        json_write_end(&w);
        buf_add_char(out, '\n');
        return;
    }
    if (refusal == NULL)
        buf_printf(out, "reloaded%s\n", count == 0 ? "" : "; what has changed for these holds after their restart:");
    for (const struct json *name = count == 0 ? NULL : restart->first; name != NULL; name = name->next)
        buf_printf(out, "  ficus restart " SLICE_FMT "\n", SLICE_ARG(json_string_or(name, SLICE(""))));
}

static int reload(struct cli *cli, int64_t wait_ms)
{
    struct slice text = SLICE_NONE;
    const struct json *answer = NULL;
    struct buf out;
    struct cli_request request = {"supervisor.sock", "the supervisor", "POST", "/v1/reload", 200, false};
    int code = cli_ask(cli, &request, NULL, &text, &answer);
    if (code != EXIT_OK)
        return code;
    buf_init(&out, 1 << 20);
    if (!cli_is_true(json_get(answer, "ok"))) {
        struct slice errors = json_string_or(json_get(answer, "text"), SLICE(""));
        if (cli->json)
            buf_printf(&out, SLICE_FMT "\n", SLICE_ARG(text));
        else
            dprintf(2, SLICE_FMT, SLICE_ARG(errors));
        code = EXIT_USAGE;
    } else {
        const char *refusal = gateway_refusal(cli, wait_ms, &code);
        if (refusal != NULL && !cli->json)
            dprintf(2, "ficus: %s\n", refusal);
        print_result(cli, answer, refusal, &out);
    }
    cli_print(buf_slice(&out));
    buf_done(&out);
    return code;
}

int cmd_reload(const struct command_call *c)
{
    struct cli cli;
    int64_t wait_ms;
    int code = EXIT_FAILED;
    if (!cli_duration(c, "wait", "10s", &wait_ms))
        return EXIT_USAGE;
    if (cli_init(&cli, c))
        code = reload(&cli, wait_ms);
    cli_done(&cli);
    return code;
}
