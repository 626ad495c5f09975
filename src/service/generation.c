/* SPDX-License-Identifier: Apache-2.0 */
#include "generation.h"

#include "arena.h"
#include "db.h"
#include "json.h"

#include <stdio.h>
#include <string.h>

enum { NOTE_SIZE_MAX = 4096, NOTE_VERSION = 1, GENERATION_MAX = 1000000000 };

bool generation_path(const char *store, int64_t generation, char *ret_path, size_t size)
{
    const char *slash = strrchr(store, '/'), *name = slash == NULL ? store : slash + 1;
    const char *dot = strrchr(name, '.');
    int stem = (int)(dot == NULL || dot == name ? strlen(store) : (size_t)(dot - store));
    int n = generation == 1 ? snprintf(ret_path, size, "%s", store)
                            : snprintf(ret_path, size, "%.*s.%lld%s", stem, store, (long long)generation, store + stem);
    return n > 0 && (size_t)n < size;
}

static bool note_path(const char *store, char *ret_path, size_t size)
{
    int n = snprintf(ret_path, size, "%s.json", store);
    return n > 0 && (size_t)n < size;
}

static enum ficus_err too_long(const char *store, struct ficus_error *reterr)
{
    return err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: the path is too long", store);
}

static enum ficus_err note_read(struct env *e, const char *path, int64_t *ret_generation, struct ficus_error *reterr)
{
    struct arena a;
    struct slice text = SLICE_NONE;
    struct json *root = NULL;
    bool exists = false;
    int64_t version = 0, generation = 0;
    *ret_generation = 1;
    enum ficus_err err = env_file_exists(e, path, &exists);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "%s: cannot be looked for: %s", path, err_text(err));
    if (!exists)
        return FICUS_ERR_OK;
    arena_init(&a, 8 * NOTE_SIZE_MAX);
    err = env_file_load(e, &a, path, NOTE_SIZE_MAX, &text, reterr);
    if (err == FICUS_ERR_OK &&
        (json_parse(&a, text, NULL, &root, NULL) != FICUS_ERR_OK || !json_i64(json_get(root, "version"), &version) ||
         version < 1 || !json_i64(json_get(root, "generation"), &generation) || generation < 1 ||
         generation > GENERATION_MAX))
        err = err_set(reterr, FICUS_ERR_CORRUPT,
                      "%s: does not say which generation of the store is in use; remove it to fill the first one again",
                      path);
    else if (err == FICUS_ERR_OK && version > NOTE_VERSION)
        err = err_set(reterr, FICUS_ERR_VERSION, "%s: note of version %lld, this program knows up to %d: use the newer one",
                      path, (long long)version, NOTE_VERSION);
    arena_done(&a);
    if (err == FICUS_ERR_OK)
        *ret_generation = generation;
    return err;
}

enum ficus_err generation_remove(struct env *e, const char *store, int64_t generation, bool *ret_was_there,
                                 struct ficus_error *reterr)
{
    char path[GENERATION_PATH_SIZE_MAX];
    return generation_path(store, generation, path, sizeof path) ? db_remove(e, path, ret_was_there, reterr)
                                                                 : too_long(store, reterr);
}

static enum ficus_err remove_around(struct env *e, const char *store, int64_t generation, bool *ret_next_was_there,
                                    struct ficus_error *reterr)
{
    bool ignored;
    enum ficus_err err = generation_remove(e, store, generation + 1, ret_next_was_there, reterr);
    return err == FICUS_ERR_OK && generation > 1 ? generation_remove(e, store, generation - 1, &ignored, reterr) : err;
}

enum ficus_err generation_clear(struct env *e, const char *store, int64_t generation, struct ficus_error *reterr)
{
    bool ignored;
    enum ficus_err err = generation_use(e, store, generation - 1, reterr);
    return err == FICUS_ERR_OK ? remove_around(e, store, generation - 1, &ignored, reterr) : err;
}

enum ficus_err generation_open(struct env *e, const char *store, int64_t *ret_generation, bool *ret_interrupted,
                               struct ficus_error *reterr)
{
    char note[GENERATION_PATH_SIZE_MAX];
    if (!note_path(store, note, sizeof note))
        return too_long(store, reterr);
    enum ficus_err err = note_read(e, note, ret_generation, reterr);
    return err == FICUS_ERR_OK ? remove_around(e, store, *ret_generation, ret_interrupted, reterr) : err;
}

enum ficus_err generation_use(struct env *e, const char *store, int64_t generation, struct ficus_error *reterr)
{
    char note[GENERATION_PATH_SIZE_MAX], text[80];
    if (!note_path(store, note, sizeof note))
        return too_long(store, reterr);
    int n = snprintf(text, sizeof text, "{\"version\":%d,\"generation\":%lld}\n", NOTE_VERSION, (long long)generation);
    return env_file_store(e, note, slice_make(text, (size_t)n), reterr);
}
