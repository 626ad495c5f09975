/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus down: the supervisor stops everything; when it is dead or does not listen, the record of its children is
 * enough.
 */
#include "cli.h"

#include "children.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    STOP_WAIT_MS = 35000, /* three groups of ten seconds, and a rest */
    KILL_WAIT_MS = 5000,
};

/* True when the process has ended. */
static bool wait_for_end(int pidfd, int wait_ms)
{
    struct pollfd gone = {.fd = pidfd, .events = POLLIN};
    return poll(&gone, 1, wait_ms) == 1;
}

static int stop_supervisor(struct cli *cli, int64_t pid)
{
    int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    if (pidfd < 0 || state_lock_holder(&cli->state) != pid) {
        if (pidfd >= 0)
            close(pidfd);
        return EXIT_OK; /* it ended in this moment */
    }
    struct cli_request down = {"supervisor.sock", "the supervisor", "POST", "/v1/down", 202, true};
    if (cli_ask(cli, &down, NULL, NULL, NULL) != EXIT_OK)
        (void)syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0);
    bool ended = wait_for_end(pidfd, STOP_WAIT_MS);
    if (!ended) {
        dprintf(2, "ficus: the supervisor (pid %lld) does not stop and is killed\n", (long long)pid);
        (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        ended = wait_for_end(pidfd, KILL_WAIT_MS);
    }
    close(pidfd);
    return ended ? EXIT_OK : EXIT_FAILED;
}

static unsigned end_left(struct cli *cli)
{
    struct children c;
    if (children_read(cli->e, &cli->a, cli->state.children_file, &c, NULL) != FICUS_ERR_OK)
        return 0;
    return children_end(&c, cli->state.root, KILL_WAIT_MS);
}

static int purge(struct cli *cli)
{
    struct ficus_error error = {0};
    const char *left = NULL;
    bool ours = state_exists(&cli->state);
    enum ficus_err err = state_purge(&cli->a, &cli->state, &left, &error);
    if (left != NULL && left[0] != '\0')
        dprintf(2, "ficus: left in %s, as Ficus did not make it or ficus restore has moved it aside: %s\n", cli->state.root, left);
    return err == FICUS_ERR_OK || !ours ? EXIT_OK : cli_fail(&error);
}

static int down(struct cli *cli, bool purge_wanted)
{
    int64_t pid = state_lock_holder(&cli->state);
    int code = EXIT_OK;
    if (pid > 0)
        code = stop_supervisor(cli, pid);
    if (code != EXIT_OK || state_lock_holder(&cli->state) != 0) {
        dprintf(2, "ficus: another supervisor is at work in %s\n", cli->state.root);
        return EXIT_FAILED;
    }
    unsigned ended = end_left(cli);
    if (ended > 0)
        dprintf(2, "ficus: ended %u processes that no supervisor watched\n", ended);
    if (code == EXIT_OK && purge_wanted)
        return purge(cli);
    return code == EXIT_OK && pid == 0 && ended == 0 ? cli_not_running(cli, "") : code;
}

int cmd_down(const struct command_call *c)
{
    struct cli cli;
    int code = EXIT_FAILED;
    if (cli_init(&cli, c))
        code = down(&cli, command_has(c, "purge"));
    cli_done(&cli);
    return code;
}
