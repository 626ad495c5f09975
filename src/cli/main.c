/* SPDX-License-Identifier: Apache-2.0
 *
 * The ficus command, and those of its commands that need no file of their own. Their table is in commands.c.
 */
#include "cli.h"

#include "hub.h"
#include "proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

int cmd_version(const struct command_call *c)
{
    cli_print(SLICE("ficus " FICUS_VERSION "\n"));
    return EXIT_OK;
}

int cmd_help(const struct command_call *c)
{
    struct buf out, name;
    const struct command *command = NULL;
    int code = EXIT_OK;
    buf_init(&out, 1 << 20);
    buf_init(&name, 256);
    for (size_t i = 0; i < c->operand_count; i++)
        buf_printf(&name, "%s%s", i == 0 ? "" : " ", c->operands[i]);
    if (command_has(c, "man")) {
        command_manual(c->table, FICUS_VERSION, &out);
    } else if (c->operand_count == 0 || (command = command_find(c->table, buf_str(&name))) != NULL) {
        command_help(c->table, command, &out);
    } else if (!command_help_group(c->table, buf_str(&name), &out)) {
        dprintf(2, "ficus: \"%s\" is no command (see ficus help)\n", buf_str(&name));
        code = EXIT_USAGE;
    }
    cli_print(buf_slice(&out));
    buf_done(&out);
    buf_done(&name);
    return code;
}

static const char *config_path(void)
{
    const char *path = getenv("FICUS_CONFIG");
    if (path == NULL)
        dprintf(2, "ficus: FICUS_CONFIG is not set; this command is started by ficus up\n");
    return path;
}

/* What top and ps show; by itself it would be "exe", the end of the path by which we were executed. Threads that come
 * later have it too. */
static void set_name(const char *name)
{
    (void)prctl(PR_SET_NAME, name); /* cannot fail */
}

int cmd_gateway(const struct command_call *c)
{
    const char *path = config_path();
    set_name("ficus: gateway");
    return path == NULL ? EXIT_USAGE : gateway_main(path);
}

int cmd_hub(const struct command_call *c)
{
    const char *path = config_path();
    set_name("ficus: hub");
    return path == NULL ? EXIT_USAGE : hub_main(path);
}

int main(int argc, char **argv)
{
    struct command_call call;
    struct ficus_error error = {0};
    static const char *const overview[] = {"help", NULL}, *const version[] = {"version", NULL};
    const char *const *words = (const char *const *)(argc > 0 ? argv + 1 : argv);
    if (words[0] == NULL || strcmp(words[0], "--help") == 0 || strcmp(words[0], "-h") == 0)
        words = overview;
    else if (strcmp(words[0], "--version") == 0)
        words = version;
    if (command_parse(&cli_table, words, &call, &error) != FICUS_ERR_OK) {
        dprintf(2, "ficus: %s\n", error.text);
        return EXIT_USAGE;
    }
    if (call.help_wanted) {
        struct buf out;
        buf_init(&out, 65536);
        command_help(&cli_table, call.command, &out);
        cli_print(buf_slice(&out));
        buf_done(&out);
        return EXIT_OK;
    }
    return call.command->run(&call);
}
