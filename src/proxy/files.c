/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of files. See files.h.
 */
#include "files.h"

#include "arena.h"
#include "map.h"
#include "mem.h"

#include <limits.h>

struct files {
    struct arena arena; /* entries and bodies */
    struct map by_name; /* FOLDER/PATH -> struct files_entry */
    struct map folders;
    size_t count, size;
};

static const struct {
    const char *ending, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".mjs", "text/javascript; charset=utf-8"},
    {".json", "application/json"},
    {".map", "application/json"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".jpg", "image/jpeg"},
    {".webp", "image/webp"},
    {".ico", "image/x-icon"},
    {".woff2", "font/woff2"},
    {".txt", "text/plain; charset=utf-8"},
    {".webmanifest", "application/manifest+json"},
};

static const char *type_of(struct slice name)
{
    for (size_t i = 0; i < ARRAY_COUNT(types); i++)
        if (slice_ends(name, slice_str(types[i].ending)))
            return types[i].type;
    return "application/octet-stream";
}

struct files *files_new(void)
{
    static const uint64_t trusted[2]; /* names come from the disk; requests only look up */
    struct files *f = mem_zalloc(sizeof *f);
    if (f == NULL)
        return NULL;
    arena_init(&f->arena, FILES_SIZE_MAX + FILES_COUNT_MAX * (sizeof(struct files_entry) + 64));
    map_init(&f->by_name, trusted);
    map_init(&f->folders, trusted);
    return f;
}

void files_free(struct files *f)
{
    if (f == NULL)
        return;
    map_done(&f->by_name);
    map_done(&f->folders);
    arena_done(&f->arena);
    mem_free(f);
}

size_t files_count(const struct files *f)
{
    return f->count;
}

bool files_has_folder(const struct files *f, const char *folder)
{
    return map_get(&f->folders, slice_str(folder)) != NULL;
}

enum ficus_err files_add(struct files *f, struct slice name, struct slice body, struct ficus_error *reterr)
{
    char hash[SHA256_HEX_SIZE];
    if (f->count == FILES_COUNT_MAX)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, SLICE_FMT ": the gateway serves at most %d files",
                       SLICE_ARG(name), FILES_COUNT_MAX);
    if (body.size > FILES_SIZE_MAX - f->size)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, SLICE_FMT ": the files that the gateway serves are over %d MiB",
                       SLICE_ARG(name), FILES_SIZE_MAX / (1024 * 1024));
    struct files_entry *e = ARENA_NEW(&f->arena, struct files_entry);
    if (e == NULL || !sha256_hex(body, hash) || (e->body = arena_slice(&f->arena, body)).p == NULL ||
        !map_put(&f->by_name, name, e))
        return err_set(reterr, FICUS_ERR_NOMEM, "files");
    e->type = type_of(name);
    e->etag[0] = '"';
    memcpy(e->etag + 1, hash, SHA256_HEX_SIZE - 1);
    e->etag[SHA256_HEX_SIZE] = '"';
    f->count++;
    f->size += body.size;
    return FICUS_ERR_OK;
}

bool files_note_folder(struct files *f, const char *folder)
{
    return map_put(&f->folders, slice_str(folder), f);
}

const struct files_entry *files_get(const struct files *f, const char *folder, struct slice path)
{
    char name[PATH_MAX];
    size_t size = strlen(folder);
    if (path.size >= sizeof name || size + 1 + path.size > sizeof name)
        return NULL; /* no file has such a name */
    memcpy(name, folder, size);
    name[size] = '/';
    memcpy(name + size + 1, path.p, path.size);
    return map_get(&f->by_name, slice_make(name, size + 1 + path.size));
}
