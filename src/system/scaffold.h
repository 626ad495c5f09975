/* SPDX-License-Identifier: Apache-2.0
 *
 * The pure part of `ficus new service`: words of a template replaced, and where a new service's folder belongs.
 *
 * The template (src/cli/templates) is a service named "sample" that builds as it stands, so it has no marks of its own:
 * `sample_` begins names in C, any other `sample` is the service's name.
 */
#ifndef FICUS_SYSTEM_SCAFFOLD_H
#define FICUS_SYSTEM_SCAFFOLD_H

#include "arena.h"
#include "buf.h"

struct scaffold_word {
    const char *from, *to;
};

/* text into out with every from replaced; where several fit, the first in the list does. False: out is full. */
bool scaffold_expand(struct slice text, const struct scaffold_word *words, size_t count, struct buf *out);
/* A name as an identifier of C: '-' becomes '_'. NULL: out of memory. */
const char *scaffold_identifier(struct arena *a, const char *name);
/* The folder, relative to the manifest's, from which an include pattern such as services/NAME/service.yaml with '*' in
 * NAME's place takes the service; NULL: the pattern has another form. */
const char *scaffold_folder(struct arena *a, const char *pattern, const char *name);
/* A system's name (letters, digits, '-', at most 32) made of a folder's; "system" when nothing is left of it. */
const char *scaffold_system(struct arena *a, const char *folder);

#endif
