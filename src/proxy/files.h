/* SPDX-License-Identifier: Apache-2.0
 *
 * The files that the gateway serves: whole folders, read at start into memory and never changed after, so that a
 * request touches no disk and no trick in a path can name anything else. What changes in a folder shows after the next
 * reload of the gateway.
 */
#ifndef FICUS_PROXY_FILES_H
#define FICUS_PROXY_FILES_H

#include "err.h"
#include "sha256.h"
#include "slice.h"

enum {
    FILES_COUNT_MAX = 2000, /* in all folders together */
    FILES_SIZE_MAX = 32 * 1024 * 1024,
    FILES_DEPTH_MAX = 16,
};

struct files;

struct files_entry {
    struct slice body;
    const char *type;                /* Content-Type, by the ending of its name */
    char etag[SHA256_HEX_SIZE + 2];  /* strong (RFC 9110 8.8.3), in quotes: the SHA-256 of body */
};

struct files *files_new(void); /* NULL: out of memory */
void files_free(struct files *f); /* NULL is fine */
/* All that lies in the folder and below. Left out: symbolic links, what is no plain file, and names that begin with a
 * dot. A folder that was read is not read again. Blocks. Errors name the file: TOO_LARGE (with the limit), NOMEM, those
 * of the system. */
enum ficus_err files_read(struct files *f, const char *folder, struct ficus_error *reterr);
size_t files_count(const struct files *f);
/* path: inside the folder, decoded, without a leading '/'. NULL: there is none. */
const struct files_entry *files_get(const struct files *f, const char *folder, struct slice path);

/* ---- for files_os.c ---- */

/* name is FOLDER/PATH; body is copied. */
enum ficus_err files_add(struct files *f, struct slice name, struct slice body, struct ficus_error *reterr);
bool files_has_folder(const struct files *f, const char *folder);
bool files_note_folder(struct files *f, const char *folder); /* false: out of memory */

#endif
