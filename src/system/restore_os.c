/* SPDX-License-Identifier: Apache-2.0
 *
 * See restore.h. The note:
 *
 *     {"version":1, "aside":"replaced-20261130T044311Z", "moves":["data/orders.db", ...], "puts":["data/orders.db", ...]}
 *
 * A move is done when its place below aside is taken, or was never needed; a put when its copy has left restore.partial.
 */
#include "restore.h"

#include "db.h"
#include "json.h"
#include "timefmt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOTE_VERSION = 1, NOTE_SIZE_MAX = 8 << 20, NAMES_MAX = 4 * BACKUP_FILES_MAX, PIECE_SIZE = 64 * 1024, ASIDE_TRIES = 100 };

struct names {
    const char **list;
    size_t count;
};

struct staging {
    const struct restore *r;
    struct names moves, puts;
    const char *aside;
};

static enum ficus_err no_memory(struct ficus_error *reterr)
{
    return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
}

static bool names_init(struct names *n, struct arena *a)
{
    *n = (struct names){.list = ARENA_ARRAY(a, const char *, NAMES_MAX)};
    return n->list != NULL;
}

static bool names_has(const struct names *n, const char *name)
{
    for (size_t i = 0; i < n->count; i++)
        if (strcmp(n->list[i], name) == 0)
            return true;
    return false;
}

/* name NULL: out of memory. */
static enum ficus_err names_add(struct names *n, const char *name, struct ficus_error *reterr)
{
    if (name == NULL || n->count == NAMES_MAX)
        return no_memory(reterr);
    if (!names_has(n, name))
        n->list[n->count++] = name;
    return FICUS_ERR_OK;
}

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

bool restore_is_pending(const struct state *s)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/" RESTORE_NOTE, s->root);
    return is_there(path);
}

bool restore_is_begun(const struct state *s)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/" RESTORE_PARTIAL, s->root);
    return !restore_is_pending(s) && is_there(path);
}

/* Make the folders that lead from root to the file; root is there. */
static enum ficus_err folders_make(struct arena *a, const char *root, const char *path, struct ficus_error *reterr)
{
    for (const char *at = strchr(path, '/'); at != NULL; at = strchr(at + 1, '/')) {
        const char *folder = arena_printf(a, "%s/%.*s", root, (int)(at - path), path);
        if (folder == NULL)
            return no_memory(reterr);
        if (mkdir(folder, 0700) != 0 && errno != EEXIST)
            return err_sys(reterr, errno, "make folder %s", folder);
    }
    return FICUS_ERR_OK;
}

/* The entries of the file and of all folders that lead to it from root, whoever made them: a put whose copy is not there is
 * taken for done, so none may get lost with the power. */
static enum ficus_err folders_sync(struct env *e, struct arena *a, const char *root, const char *path, struct ficus_error *reterr)
{
    for (const char *at = path; at != NULL;) {
        at = strchr(at, '/');
        int size = at == NULL ? (int)strlen(path) : (int)(at++ - path);
        const char *entry = arena_printf(a, "%s/%.*s", root, size, path);
        enum ficus_err err = entry == NULL ? FICUS_ERR_NOMEM : env_dir_sync(e, entry);
        if (err != FICUS_ERR_OK)
            return err_set(reterr, err, "%s/%.*s: its folder cannot be synced: %s", root, size, path, err_text(err));
    }
    return FICUS_ERR_OK;
}

/* ---- the copies ---- */

static enum ficus_err copy_bytes(const struct restore *r, const struct backup_file *f, struct env_file *from,
                                 struct env_file *to, struct ficus_error *reterr)
{
    static char piece[PIECE_SIZE];
    struct sha256 hash;
    char text[SHA256_HEX_SIZE];
    int64_t at = 0;
    ssize_t n;
    enum ficus_err err = FICUS_ERR_OK;
    sha256_begin(&hash);
    while (err == FICUS_ERR_OK && (n = env_file_read(r->e, from, piece, sizeof piece, at)) != 0) {
        err = n < 0 ? (enum ficus_err)-n : env_file_write(r->e, to, piece, (size_t)n, at);
        sha256_add(&hash, piece, n < 0 ? 0 : (size_t)n);
        at += n < 0 ? 0 : n;
    }
    bool hashed = sha256_end(&hash, text);
    if (err == FICUS_ERR_OK)
        err = env_file_sync(r->e, to);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "%s: cannot be copied into %s: %s", f->path, r->s->root, err_text(err));
    if (!hashed)
        return err_set(reterr, FICUS_ERR_INTERNAL, "SHA-256 is not available");
    if (at != f->size || strcmp(text, f->sha256) != 0)
        return err_set(reterr, FICUS_ERR_CORRUPT,
                       "%s/%s: is not what was copied then (%lld bytes, SHA-256 %s; " BACKUP_LIST " says %lld, %s): take another backup",
                       r->folder, f->path, (long long)at, text, (long long)f->size, f->sha256);
    return FICUS_ERR_OK;
}

static enum ficus_err copy_file(const struct restore *r, const struct backup_file *f, const char *to_path,
                                struct ficus_error *reterr)
{
    struct env_file *from = NULL, *to = NULL;
    const char *from_path = arena_printf(r->a, "%s/%s", r->folder, f->path);
    struct stat st;
    if (from_path != NULL && stat(from_path, &st) == 0 && !S_ISREG(st.st_mode))
        return err_set(reterr, FICUS_ERR_CORRUPT, "%s: is no file", from_path);
    enum ficus_err err = from_path == NULL ? no_memory(reterr) : env_file_open(r->e, from_path, ENV_OPEN_READ_ONLY, &from, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = env_file_open(r->e, to_path, ENV_OPEN_CREATE | ENV_OPEN_EXCLUSIVE, &to, reterr);
    if (err == FICUS_ERR_OK) {
        err = copy_bytes(r, f, from, to, reterr);
        env_file_close(r->e, to);
    }
    env_file_close(r->e, from);
    return err;
}

/* A database also gets the note that it was made: should it be lost before its service has started, nobody begins with an
 * empty one. */
static enum ficus_err note_made(struct staging *st, const char *to_path, const char *path, struct ficus_error *reterr)
{
    const char *slash = strrchr(path, '/') + 1;
    enum ficus_err err = db_check(st->r->e, to_path, reterr);
    if (err == FICUS_ERR_OK)
        err = db_note(st->r->e, to_path, reterr);
    return err == FICUS_ERR_OK ? names_add(&st->puts, arena_printf(st->r->a, "%.*s.%s.made", (int)(slash - path), path, slash), reterr)
                               : err;
}

static enum ficus_err stage_file(struct staging *st, const struct backup_file *f, struct ficus_error *reterr)
{
    const struct restore *r = st->r;
    const char *partial = arena_printf(r->a, "%s/" RESTORE_PARTIAL, r->s->root);
    const char *to = partial == NULL ? NULL : arena_printf(r->a, "%s/%s", partial, f->path);
    if (to == NULL)
        return no_memory(reterr);
    if (r->progress != NULL)
        r->progress(r->arg, f);
    enum ficus_err err = folders_make(r->a, partial, f->path, reterr);
    if (err == FICUS_ERR_OK)
        err = copy_file(r, f, to, reterr);
    if (err == FICUS_ERR_OK)
        err = names_add(&st->puts, f->path, reterr);
    if (err == FICUS_ERR_OK && f->is_database)
        err = note_made(st, to, f->path, reterr);
    return err == FICUS_ERR_OK ? folders_sync(r->e, r->a, partial, f->path, reterr) : err;
}

/* ---- what is in the way ---- */

/* Does a file of data/ belong to the database base ("orders.db")? Itself, its log and journal, the notes beside it, and
 * generations of it (orders.2.db). */
static bool belongs(const char *name, const char *base)
{
    size_t stem = strlen(base) - (sizeof ".db" - 1);
    name += name[0] == '.';
    if (strncmp(name, base, stem) != 0 || name[stem] != '.')
        return false;
    const char *rest = name + stem + 1;
    if (rest[0] >= '0' && rest[0] <= '9') {
        rest += strspn(rest, "0123456789");
        rest += rest[0] == '.';
    }
    return strncmp(rest, "db", 2) == 0 && (rest[2] == '\0' || rest[2] == '-' || rest[2] == '.');
}

/* Folders that ficus up makes for its services are not in the way while they are empty. */
static bool is_empty_folder(int folder, const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    bool empty = dir != NULL;
    for (struct dirent *entry; empty && (entry = readdir(dir)) != NULL;)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    if (dir != NULL)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    return empty;
}

static bool gives_way(const struct restore *r, const char *folder, const char *name)
{
    if (r->whole)
        return true;
    size_t size = strlen(folder);
    for (size_t i = 0; i < r->backup->count; i++) {
        const char *path = r->backup->files[i].path;
        if (strncmp(path, folder, size) != 0 || path[size] != '/')
            continue;
        const char *below = path + size + 1, *end = strchr(below, '/');
        if (end == NULL ? belongs(name, below) || strcmp(name, below) == 0
                        : strlen(name) == (size_t)(end - below) && strncmp(name, below, strlen(name)) == 0)
            return true;
    }
    return false;
}

static enum ficus_err look_into(struct staging *st, const char *folder, struct ficus_error *reterr)
{
    const struct restore *r = st->r;
    const char *path = arena_printf(r->a, "%s/%s", r->s->root, folder);
    DIR *dir = path == NULL ? NULL : opendir(path);
    enum ficus_err err = FICUS_ERR_OK;
    if (dir == NULL)
        return path == NULL ? no_memory(reterr) : err_sys(reterr, errno, "read %s", path);
    for (struct dirent *entry; err == FICUS_ERR_OK && (entry = readdir(dir)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && gives_way(r, folder, entry->d_name) &&
            !is_empty_folder(dirfd(dir), entry->d_name))
            err = names_add(&st->moves, arena_printf(r->a, "%s/%s", folder, entry->d_name), reterr);
    closedir(dir);
    return err;
}

static enum ficus_err find_moves(struct staging *st, struct ficus_error *reterr)
{
    const struct restore *r = st->r;
    enum ficus_err err = look_into(st, "data", reterr);
    if (err == FICUS_ERR_OK)
        err = look_into(st, "private", reterr);
    for (size_t i = 0; i < r->backup->count && err == FICUS_ERR_OK; i++) {
        const char *path = r->backup->files[i].path, *there = arena_printf(r->a, "%s/%s", r->s->root, path);
        if (there == NULL)
            err = no_memory(reterr);
        else if (strchr(path, '/') == NULL && is_there(there))
            err = names_add(&st->moves, path, reterr);
    }
    if (err == FICUS_ERR_OK && st->moves.count > 0 && !r->replace)
        err = err_set(reterr, FICUS_ERR_CONFLICT,
                      "%s: holds data already (%s%s); --replace moves it aside, ficus down --purge removes it", r->s->root,
                      st->moves.list[0], st->moves.count > 1 ? ", ..." : "");
    return err;
}

static enum ficus_err choose_aside(struct staging *st, struct ficus_error *reterr)
{
    const struct restore *r = st->r;
    char time[TIME_TEXT_SIZE];
    st->aside = "";
    if (st->moves.count == 0)
        return FICUS_ERR_OK;
    time_format(env_wall_ms(r->e), time); /* 2026-11-30T04:43:11.123Z */
    for (int i = 1; i < ASIDE_TRIES; i++) {
        const char *name = arena_printf(r->a, STATE_REPLACED "%.4s%.2s%.5s%.2s%.2sZ", time, time + 5, time + 8, time + 14, time + 17);
        if (name != NULL && i > 1)
            name = arena_printf(r->a, "%s-%d", name, i);
        const char *path = name == NULL ? NULL : arena_printf(r->a, "%s/%s", r->s->root, name);
        if (path == NULL)
            return no_memory(reterr);
        st->aside = name;
        if (!is_there(path))
            return FICUS_ERR_OK;
    }
    return err_set(reterr, FICUS_ERR_EXISTS, "%s: too many folders replaced-...", r->s->root);
}

/* ---- the note ---- */

static void write_names(struct json_writer *w, const char *key, const struct names *n)
{
    json_write_key(w, key);
    json_write_array(w);
    for (size_t i = 0; i < n->count; i++)
        json_write_str(w, n->list[i]);
    json_write_end(w);
}

static enum ficus_err write_note(const struct staging *st, struct ficus_error *reterr)
{
    const struct restore *r = st->r;
    struct json_writer w;
    struct buf text;
    const char *path = arena_printf(r->a, "%s/" RESTORE_NOTE, r->s->root);
    buf_init(&text, NOTE_SIZE_MAX);
    json_write_init(&w, &text);
    json_write_object(&w);
    json_write_kv_i64(&w, "version", NOTE_VERSION);
    json_write_kv_str(&w, "aside", st->aside);
    write_names(&w, "moves", &st->moves);
    write_names(&w, "puts", &st->puts);
    json_write_end(&w);
    buf_add_char(&text, '\n');
    enum ficus_err err = path == NULL || buf_failed(&text) ? no_memory(reterr) : env_file_store(r->e, path, buf_slice(&text), reterr);
    buf_done(&text);
    return err;
}

static bool read_names(struct arena *a, const struct json *v, struct names *n)
{
    if (v == NULL || v->type != JSON_ARRAY || !names_init(n, a))
        return false;
    for (const struct json *it = v->first; it != NULL; it = it->next) {
        struct slice text;
        if (!json_string(it, &text) || names_add(n, arena_strdup(a, text), NULL) != FICUS_ERR_OK)
            return false;
    }
    return true;
}

static enum ficus_err read_note(struct env *e, struct arena *a, const struct state *s, struct staging *st,
                                struct ficus_error *reterr)
{
    const char *path = arena_printf(a, "%s/" RESTORE_NOTE, s->root);
    const struct json_limits limits = {.size_max = NOTE_SIZE_MAX};
    struct slice text;
    struct json *root = NULL;
    int64_t version = 0;
    if (path == NULL)
        return no_memory(reterr);
    enum ficus_err err = env_file_load(e, a, path, NOTE_SIZE_MAX, &text, reterr);
    if (err == FICUS_ERR_OK)
        err = json_parse(a, text, &limits, &root, reterr);
    if (err != FICUS_ERR_OK)
        return err_wrap(reterr, "%s", path);
    if (!json_i64(json_get(root, "version"), &version) || version != NOTE_VERSION)
        return err_set(reterr, FICUS_ERR_VERSION, "%s: was made by another version of ficus: finish with that one", path);
    st->aside = arena_strdup(a, json_string_or(json_get(root, "aside"), SLICE("")));
    bool ok = st->aside != NULL && read_names(a, json_get(root, "moves"), &st->moves) && read_names(a, json_get(root, "puts"), &st->puts);
    return ok ? FICUS_ERR_OK : err_set(reterr, FICUS_ERR_CORRUPT, "%s: cannot be understood", path);
}

/* ---- staging ---- */

enum ficus_err restore_stage(const struct restore *r, struct ficus_error *reterr)
{
    struct staging st = {.r = r};
    const char *partial = arena_printf(r->a, "%s/" RESTORE_PARTIAL, r->s->root);
    if (partial == NULL || !names_init(&st.moves, r->a) || !names_init(&st.puts, r->a))
        return no_memory(reterr);
    enum ficus_err err = find_moves(&st, reterr);
    if (err == FICUS_ERR_OK)
        err = choose_aside(&st, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    /* of one that was interrupted before its note */
    if (!state_remove(r->s, RESTORE_PARTIAL) || mkdir(partial, 0700) != 0)
        return err_sys(reterr, errno, "make folder %s", partial);
    for (size_t i = 0; i < r->backup->count && err == FICUS_ERR_OK; i++)
        err = stage_file(&st, &r->backup->files[i], reterr);
    if (err == FICUS_ERR_OK)
        err = write_note(&st, reterr); /* syncs the entry of partial, too */
    if (err != FICUS_ERR_OK && !restore_is_pending(r->s))
        (void)state_remove(r->s, RESTORE_PARTIAL);
    return err;
}

/* ---- finishing ---- */

static bool is_in_state(const struct state *s, struct arena *a, const char *name)
{
    const char *path = arena_printf(a, "%s/%s", s->root, name);
    return path != NULL && is_there(path);
}

/* Rename below the state folder. */
static enum ficus_err take_place(struct env *e, struct arena *a, const struct state *s, const char *from, const char *to,
                                 struct ficus_error *reterr)
{
    const char *from_path = arena_printf(a, "%s/%s", s->root, from), *to_path = arena_printf(a, "%s/%s", s->root, to);
    if (from_path == NULL || to_path == NULL)
        return no_memory(reterr);
    enum ficus_err err = folders_make(a, s->root, to, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    err = env_file_rename(e, from_path, to_path);
    return err == FICUS_ERR_OK ? err : err_set(reterr, err, "%s cannot become %s: %s", from_path, to_path, err_text(err));
}

/* What is in the way goes. Synced also when it went before: the one who did it may have died before he came to that. */
static enum ficus_err move_away(struct env *e, struct arena *a, const struct state *s, const struct staging *st,
                                struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < st->moves.count && err == FICUS_ERR_OK; i++) {
        const char *from = st->moves.list[i], *to = arena_printf(a, "%s/%s", st->aside, from);
        if (to == NULL)
            err = no_memory(reterr);
        else if (!is_in_state(s, a, to) && is_in_state(s, a, from))
            err = take_place(e, a, s, from, to, reterr);
        if (err == FICUS_ERR_OK)
            err = folders_sync(e, a, s->root, to, reterr);
        if (err == FICUS_ERR_OK)
            err = folders_sync(e, a, s->root, from, reterr);
    }
    return err;
}

/* The copies come, when all of the other is on the disk. */
static enum ficus_err put_in_place(struct env *e, struct arena *a, const struct state *s, const struct staging *st,
                                   struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (size_t i = 0; i < st->puts.count && err == FICUS_ERR_OK; i++) {
        const char *to = st->puts.list[i], *from = arena_printf(a, RESTORE_PARTIAL "/%s", to);
        if (from == NULL)
            err = no_memory(reterr);
        else if (is_in_state(s, a, from))
            err = take_place(e, a, s, from, to, reterr);
        if (err == FICUS_ERR_OK)
            err = folders_sync(e, a, s->root, to, reterr);
    }
    return err;
}

enum ficus_err restore_finish(struct env *e, struct arena *a, const struct state *s, const char **ret_aside,
                              struct ficus_error *reterr)
{
    struct staging st = {.r = NULL};
    const char *note = arena_printf(a, "%s/" RESTORE_NOTE, s->root);
    enum ficus_err err = note == NULL ? no_memory(reterr) : read_note(e, a, s, &st, reterr);
    if (err == FICUS_ERR_OK)
        err = move_away(e, a, s, &st, reterr);
    if (err == FICUS_ERR_OK)
        err = put_in_place(e, a, s, &st, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    *ret_aside = st.aside[0] == '\0' ? "" : arena_printf(a, "%s/%s", s->root, st.aside);
    if (*ret_aside == NULL)
        return no_memory(reterr);
    (void)state_remove(s, RESTORE_PARTIAL); /* empty folders; the next one removes what stays */
    err = env_file_unlink(e, note);
    if (err == FICUS_ERR_OK)
        err = env_dir_sync(e, note);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "%s: cannot be removed: %s", note, err_text(err));
    return FICUS_ERR_OK;
}
