/* SPDX-License-Identifier: Apache-2.0
 *
 * The file that a service's command names; and running a program to its end.
 */
#ifndef FICUS_SYSTEM_PROGRAM_H
#define FICUS_SYSTEM_PROGRAM_H

#include "arena.h"
#include "err.h"

#include <stdbool.h>
#include <stdint.h>

/* The file that execvpe would take for word when it starts in folder: word itself when it has a slash, else the first
 * of PATH. True: *ret_path is a file that may be executed. False: *ret_path is what was looked for; NULL: out of
 * memory. Does not block. */
bool program_find(struct arena *a, const char *folder, const char *word, const char **ret_path);

struct program_call {
    const char *const *argv;        /* NULL-terminated; argv[0] without a slash is looked up in PATH */
    const char *folder;             /* working folder */
    const char *const *environment; /* NULL-terminated "NAME=value": in place of ours of the same names; other FICUS_* are left out */
    int64_t timeout_ms;
    size_t output_max; /* bytes of each of both outputs that are kept, the first ones */
};

struct program_end {
    int status; /* exit status; 128 + signal; -1: it took too long and was killed, with all that it had started */
    const char *output, *errors; /* stdout, stderr; in the arena */
};

/* Runs it with nothing behind its input, in a process group of its own, and waits for its end; what it leaves running in the group is
 * killed then, and it is killed when we die. Blocks. Errors: NOMEM, of pipe and spawn (NOT_FOUND, DENIED...). */
enum ficus_err program_run(struct arena *a, const struct program_call *c, struct program_end *ret_end, struct ficus_error *reterr);

#endif
