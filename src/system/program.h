/* SPDX-License-Identifier: Apache-2.0
 *
 * The file that a service's command names.
 */
#ifndef FICUS_SYSTEM_PROGRAM_H
#define FICUS_SYSTEM_PROGRAM_H

#include "arena.h"

#include <stdbool.h>

/* The file that execvpe would take for word when it starts in folder: word itself when it has a slash, else the first
 * of PATH. True: *ret_path is a file that may be executed. False: *ret_path is what was looked for; NULL: out of
 * memory. Does not block. */
bool program_find(struct arena *a, const char *folder, const char *word, const char **ret_path);

#endif
