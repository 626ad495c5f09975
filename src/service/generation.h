/* SPDX-License-Identifier: Apache-2.0
 *
 * Generations of a store that can be built anew (service_config.rebuildable): each is a database of its own, the first
 * at the configured path (search.db), the others beside it (search.2.db, search.3.db, ...). A small file
 * (search.db.json) says which one is in use; it is replaced atomically when a newer one is complete, and only then. So
 * at any instant of a crash the one that it names is complete, and every other one is rubbish. At most one is being
 * built, the one after it.
 *
 * All functions block: on workers, or before the loop runs. They log nothing.
 */
#ifndef FICUS_SERVICE_GENERATION_H
#define FICUS_SERVICE_GENERATION_H

#include "env.h"

enum { GENERATION_PATH_SIZE_MAX = 1100 };

/* False: it does not fit. */
bool generation_path(const char *store, int64_t generation, char *ret_path, size_t size);
/* The one in use; 1 when nothing says otherwise. Removes what a crash has left of those before and behind it;
 * *ret_interrupted: there was one behind it, so a rebuild was going on. CORRUPT: the file cannot be understood. */
enum ficus_err generation_open(struct env *e, const char *store, int64_t *ret_generation, bool *ret_interrupted,
                               struct ficus_error *reterr);
/* From now on it is this one. After an error it may be either, until generation_open tells. */
enum ficus_err generation_use(struct env *e, const char *store, int64_t generation, struct ficus_error *reterr);
/* Before this one is built, which the note does not name: makes certain that it names the one before (a switch may have
 * failed half way), and removes what is left of this one and of older ones. */
enum ficus_err generation_clear(struct env *e, const char *store, int64_t generation, struct ficus_error *reterr);
enum ficus_err generation_remove(struct env *e, const char *store, int64_t generation, bool *ret_was_there,
                                 struct ficus_error *reterr);

#endif
