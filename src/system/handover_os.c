/* SPDX-License-Identifier: Apache-2.0
 *
 * The system calls of a handover.
 */
#include "handover.h"

#include "assert.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { COMMAND_LINE_MAX = 1 << 20, WORDS_MAX = 4096 };

static void fd_keep(int fd, bool kept)
{
    if (fd >= 0) /* one that is not open any more shows where it is used */
        (void)fcntl(fd, F_SETFD, kept ? 0 : FD_CLOEXEC);
}

void handover_keep(const struct handover *h, bool kept)
{
    const int own[] = {h->lock_fd, h->notify_fd, h->api_fd, h->previous};
    for (size_t i = 0; i < ARRAY_COUNT(own); i++)
        fd_keep(own[i], kept);
    for (size_t i = 0; i < h->count; i++)
        for (size_t j = 0; j < h->processes[i].listen_count; j++)
            fd_keep(h->processes[i].sockets[j], kept);
}

enum ficus_err handover_store(const struct handover *h, int *ret_fd, struct ficus_error *reterr)
{
    struct buf text;
    enum ficus_err err = FICUS_ERR_OK;
    int fd = memfd_create("ficus-handover", MFD_CLOEXEC);
    if (fd < 0)
        return err_sys(reterr, errno, "make a memory file");
    buf_init(&text, HANDOVER_SIZE_MAX);
    handover_write(h, &text);
    struct slice rest = buf_slice(&text);
    if (buf_failed(&text))
        err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    while (err == FICUS_ERR_OK && rest.size > 0) {
        ssize_t n = write(fd, rest.p, rest.size);
        if (n > 0)
            rest = slice_from(rest, (size_t)n);
        else if (errno != EINTR)
            err = err_sys(reterr, errno, "write a memory file");
    }
    buf_done(&text);
    if (err == FICUS_ERR_OK)
        *ret_fd = fd;
    else
        close(fd);
    return err;
}

/* All that fd holds; false: more than size_max, or it cannot be read. */
static bool read_all(struct arena *a, int fd, size_t size_max, bool from_start, struct slice *ret_text)
{
    struct buf text;
    char piece[4096];
    ssize_t n;
    buf_init(&text, size_max);
    do {
        n = from_start ? pread(fd, piece, sizeof piece, (off_t)buf_slice(&text).size) : read(fd, piece, sizeof piece);
        if (n > 0)
            (void)buf_add(&text, piece, (size_t)n);
    } while (n > 0 || (n < 0 && errno == EINTR));
    bool ok = n == 0 && !buf_failed(&text);
    *ret_text = ok ? arena_slice(a, buf_slice(&text)) : SLICE_NONE;
    buf_done(&text);
    return ok && ret_text->p != NULL;
}

enum ficus_err handover_load(struct arena *a, int fd, struct handover *ret_handover, struct ficus_error *reterr)
{
    struct slice text;
    if (!read_all(a, fd, HANDOVER_SIZE_MAX, true, &text))
        return err_set(reterr, FICUS_ERR_INVALID, HANDOVER_VARIABLE ": descriptor %d holds nothing that can be read", fd);
    return handover_parse(a, text, ret_handover, reterr);
}

const char *const *handover_argv(struct arena *a, const char *program)
{
    struct slice text;
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    const char **argv = ARENA_ARRAY(a, const char *, WORDS_MAX + 1);
    bool ok = fd >= 0 && argv != NULL && read_all(a, fd, COMMAND_LINE_MAX, false, &text);
    size_t count = 0;
    if (fd >= 0)
        close(fd);
    /* each word ends with a NUL */
    for (size_t at = 0; ok && at < text.size && count < WORDS_MAX; at += strlen(text.p + at) + 1)
        argv[count++] = text.p + at;
    if (!ok || count == 0 || count == WORDS_MAX)
        return NULL;
    argv[0] = program;
    argv[count] = NULL;
    return argv;
}

enum ficus_err handover_exec(const struct handover *h, int fd, const char *const *argv, struct ficus_error *reterr)
{
    char number[16];
    sigset_t all, before;
    int memory = -1;
    enum ficus_err err = handover_store(h, &memory, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    snprintf(number, sizeof number, "%d", memory);
    if (setenv(HANDOVER_VARIABLE, number, 1) != 0) {
        close(memory);
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    }
    fd_keep(memory, true);
    handover_keep(h, true);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    (void)execveat(fd, "", (char *const *)(uintptr_t)argv, environ, AT_EMPTY_PATH);
    err = err_sys(reterr, errno, "run %s", argv[0]);
    sigprocmask(SIG_SETMASK, &before, NULL);
    handover_keep(h, false);
    (void)unsetenv(HANDOVER_VARIABLE);
    close(memory);
    return err;
}

void handover_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}
