/* SPDX-License-Identifier: Apache-2.0
 *
 * Making a backup on the disk.
 */
#include "backup.h"

#include "mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TREE_DEPTH_MAX = 16, TREE_TRIES = 5, PIECE_SIZE = 64 * 1024, SYNC_SIZE = 8 << 20, LIST_SIZE_MAX = 4 << 20 };

static enum ficus_err no_memory(struct ficus_error *reterr)
{
    return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
}

/* ---- folders ---- */

/* "" is the backup itself. */
static enum ficus_err folder_make(struct backup_maker *m, const char *path, struct ficus_error *reterr)
{
    const char *full = arena_printf(m->a, "%s%s%s", m->partial, path[0] == '\0' ? "" : "/", path);
    if (full == NULL || m->folder_count == ARRAY_COUNT(m->folders))
        return no_memory(reterr);
    if (mkdir(full, 0700) != 0)
        return err_sys(reterr, errno, "make folder %s", full);
    m->folders[m->folder_count++] = path;
    return FICUS_ERR_OK;
}

static bool folder_made(const struct backup_maker *m, struct slice path)
{
    for (size_t i = 0; i < m->folder_count; i++)
        if (slice_eq_str(path, m->folders[i]))
            return true;
    return false;
}

/* All folders that a file's path goes through. */
static enum ficus_err folders_make(struct backup_maker *m, const char *path, struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    for (const char *at = strchr(path, '/'); at != NULL && err == FICUS_ERR_OK; at = strchr(at + 1, '/')) {
        struct slice folder = slice_make(path, (size_t)(at - path));
        const char *copy = folder_made(m, folder) ? NULL : arena_strdup(m->a, folder);
        if (copy != NULL)
            err = folder_make(m, copy, reterr);
        else if (!folder_made(m, folder))
            err = no_memory(reterr);
    }
    return err;
}

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

/* Without slashes at its end. NULL: out of memory. */
static const char *plain(struct arena *a, const char *folder)
{
    struct slice path = slice_str(folder);
    while (path.size > 1 && path.p[path.size - 1] == '/')
        path.size--;
    return arena_strdup(a, path);
}

enum ficus_err backup_make(struct backup_maker *m, struct env *e, struct arena *a, const char *folder,
                           struct ficus_error *reterr)
{
    *m = (struct backup_maker){.e = e, .a = a};
    m->folder = plain(a, folder);
    m->partial = m->folder == NULL ? NULL : arena_printf(a, "%s.partial", m->folder);
    m->backup.files = ARENA_ARRAY(a, struct backup_file, BACKUP_FILES_MAX);
    if (m->partial == NULL || m->backup.files == NULL)
        return no_memory(reterr);
    if (is_there(m->folder))
        return err_set(reterr, FICUS_ERR_EXISTS, "%s: is there already; a backup goes into a new folder", m->folder);
    if (is_there(m->partial))
        return err_set(reterr, FICUS_ERR_EXISTS,
                       "%s: is there: another backup is going on, or was interrupted; then remove it (rm -r)", m->partial);
    return folder_make(m, "", reterr);
}

/* ---- files ---- */

enum ficus_err backup_out_begin(struct backup_out *o, struct backup_maker *m, const char *path, const char *service,
                                struct ficus_error *reterr)
{
    const char *full = arena_printf(m->a, "%s/%s", m->partial, path), *copy = arena_strdup(m->a, slice_str(path));
    *o = (struct backup_out){.m = m};
    if (m->backup.count == BACKUP_FILES_MAX)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: a backup has at most %d files", path, BACKUP_FILES_MAX);
    if (full == NULL || copy == NULL)
        return no_memory(reterr);
    enum ficus_err err = folders_make(m, copy, reterr);
    if (err == FICUS_ERR_OK)
        err = env_file_open(m->e, full, ENV_OPEN_CREATE | ENV_OPEN_EXCLUSIVE, &o->file, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    o->f = &m->backup.files[m->backup.count++];
    *o->f = (struct backup_file){.path = copy, .service = service, .offset = -1};
    sha256_begin(&o->hash);
    return FICUS_ERR_OK;
}

static enum ficus_err written(const struct backup_out *o, enum ficus_err err, struct ficus_error *reterr)
{
    return err == FICUS_ERR_OK ? err : err_set(reterr, err, "%s/%s: %s", o->m->partial, o->f->path, err_text(err));
}

/* Synced as it grows: a long sync at the end would keep the other streams waiting. */
enum ficus_err backup_out_add(struct backup_out *o, struct slice piece, struct ficus_error *reterr)
{
    struct env *e = o->m->e;
    enum ficus_err err = env_file_write(e, o->file, piece.p, piece.size, o->f->size);
    sha256_add(&o->hash, piece.p, piece.size);
    o->f->size += (int64_t)piece.size;
    if (err == FICUS_ERR_OK && o->f->size >= o->synced + SYNC_SIZE) {
        err = env_file_sync(e, o->file);
        o->synced = o->f->size;
    }
    return written(o, err, reterr);
}

enum ficus_err backup_out_end(struct backup_out *o, struct ficus_error *reterr)
{
    enum ficus_err err = env_file_sync(o->m->e, o->file);
    bool hashed = sha256_end(&o->hash, o->f->sha256);
    backup_out_drop(o);
    if (!hashed)
        return err_set(reterr, FICUS_ERR_INTERNAL, "%s: SHA-256 is not available", o->f->path);
    return written(o, err, reterr);
}

void backup_out_drop(struct backup_out *o)
{
    char unused[SHA256_HEX_SIZE];
    (void)sha256_end(&o->hash, unused);
    if (o->file != NULL)
        env_file_close(o->m->e, o->file);
    o->file = NULL;
}

/* ---- what services keep beside their database ---- */

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static enum ficus_err copy_bytes(struct backup_out *o, int fd, struct ficus_error *reterr)
{
    char piece[PIECE_SIZE];
    ssize_t n;
    while ((n = read(fd, piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR)) {
        enum ficus_err err = n < 0 ? FICUS_ERR_OK : backup_out_add(o, slice_make(piece, (size_t)n), reterr);
        if (err != FICUS_ERR_OK)
            return err;
    }
    return n == 0 ? FICUS_ERR_OK : err_sys(reterr, errno, "read %s", o->f->path);
}

/* It may be written to meanwhile: then once more. *ret_still: it was not. */
static enum ficus_err copy_once(struct backup_maker *m, int fd, const char *path, const char *service, bool *ret_still,
                                struct ficus_error *reterr)
{
    struct stat before, after;
    struct backup_out o;
    if (fstat(fd, &before) != 0 || lseek(fd, 0, SEEK_SET) != 0)
        return err_sys(reterr, errno, "read %s", path);
    enum ficus_err err = backup_out_begin(&o, m, path, service, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    o.f->moment_ms = env_wall_ms(m->e);
    err = copy_bytes(&o, fd, reterr);
    if (err == FICUS_ERR_OK)
        err = backup_out_end(&o, reterr);
    backup_out_drop(&o);
    if (err == FICUS_ERR_OK && fstat(fd, &after) != 0)
        err = err_sys(reterr, errno, "read %s", path);
    *ret_still = err == FICUS_ERR_OK && same(&before, &after);
    return err;
}

static enum ficus_err copy_file(struct backup_maker *m, int fd, const char *path, const char *service,
                                struct ficus_error *reterr)
{
    for (int i = 0; i < TREE_TRIES; i++) {
        bool still = false;
        enum ficus_err err = copy_once(m, fd, path, service, &still, reterr);
        if (err != FICUS_ERR_OK || still)
            return err;
        const char *full = arena_printf(m->a, "%s/%s", m->partial, path);
        if (full == NULL || unlink(full) != 0)
            return full == NULL ? no_memory(reterr) : err_sys(reterr, errno, "remove %s", full);
        m->backup.count--;
    }
    return err_set(reterr, FICUS_ERR_BUSY, "%s: is written to all the time and cannot be copied", path);
}

static enum ficus_err add_tree(struct backup_maker *m, int folder, const char *name, const char *path, const char *service,
                               int depth_max, struct ficus_error *reterr);

static enum ficus_err add_folder(struct backup_maker *m, int fd, const char *path, const char *service, int depth_max,
                                 struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    if (depth_max == 0)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: folders are nested too deep", path);
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (dir == NULL) {
        err = err_sys(reterr, errno, "read %s", path);
        if (copy >= 0)
            close(copy);
        return err;
    }
    for (struct dirent *entry; err == FICUS_ERR_OK && (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        const char *below = arena_printf(m->a, "%s/%s", path, entry->d_name);
        err = below == NULL ? no_memory(reterr) : add_tree(m, fd, entry->d_name, below, service, depth_max - 1, reterr);
    }
    closedir(dir);
    return err;
}

static enum ficus_err add_tree(struct backup_maker *m, int folder, const char *name, const char *path, const char *service,
                               int depth_max, struct ficus_error *reterr)
{
    struct stat st;
    if (slice_ends(slice_str(name), SLICE(".tmp"))) /* on its way to another name */
        return FICUS_ERR_OK;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? FICUS_ERR_OK : err_sys(reterr, errno, "read %s", path);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return FICUS_ERR_OK;
    if (strlen(path) >= BACKUP_PATH_SIZE_MAX)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: the path is too long", path);
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? FICUS_ERR_OK : err_sys(reterr, errno, "read %s", path);
    enum ficus_err err = S_ISDIR(st.st_mode) ? add_folder(m, fd, path, service, depth_max, reterr)
                                             : copy_file(m, fd, path, service, reterr);
    close(fd);
    return err;
}

enum ficus_err backup_add_tree(struct backup_maker *m, const struct state *s, const char *path, const char *service,
                               struct ficus_error *reterr)
{
    const char *full = arena_printf(m->a, "%s/%s", s->root, path);
    return full == NULL ? no_memory(reterr) : add_tree(m, AT_FDCWD, full, path, service, TREE_DEPTH_MAX, reterr);
}

/* ---- the end ---- */

static enum ficus_err sync_folder(struct backup_maker *m, const char *folder, struct ficus_error *reterr)
{
    const char *inside = arena_printf(m->a, "%s/.", folder);
    if (inside == NULL)
        return no_memory(reterr);
    enum ficus_err err = env_dir_sync(m->e, inside);
    return err == FICUS_ERR_OK ? err : err_set(reterr, err, "%s: cannot be synced: %s", folder, err_text(err));
}

static enum ficus_err write_list(struct backup_maker *m, struct ficus_error *reterr)
{
    struct buf text;
    const char *path = arena_printf(m->a, "%s/" BACKUP_LIST, m->partial);
    m->backup.ended_ms = env_wall_ms(m->e);
    buf_init(&text, LIST_SIZE_MAX);
    backup_write(&m->backup, &text);
    enum ficus_err err = path == NULL || buf_failed(&text) ? no_memory(reterr) : env_file_store(m->e, path, buf_slice(&text), reterr);
    buf_done(&text);
    return err;
}

static enum ficus_err take_name(struct backup_maker *m, struct ficus_error *reterr)
{
    if (syscall(SYS_renameat2, AT_FDCWD, m->partial, AT_FDCWD, m->folder, RENAME_NOREPLACE) != 0)
        return errno == EEXIST ? err_set(reterr, FICUS_ERR_EXISTS, "%s: somebody else has made it meanwhile", m->folder)
                               : err_sys(reterr, errno, "rename %s to %s", m->partial, m->folder);
    enum ficus_err err = env_dir_sync(m->e, m->folder);
    return err == FICUS_ERR_OK ? err
                               : err_set(reterr, err, "%s: its name cannot be synced: %s", m->folder, err_text(err));
}

enum ficus_err backup_finish(struct backup_maker *m, struct ficus_error *reterr)
{
    enum ficus_err err = write_list(m, reterr);
    for (size_t i = 0; i < m->folder_count && err == FICUS_ERR_OK; i++) {
        const char *path = arena_printf(m->a, "%s/%s", m->partial, m->folders[i]);
        err = path == NULL ? no_memory(reterr) : sync_folder(m, path, reterr);
    }
    return err == FICUS_ERR_OK ? take_name(m, reterr) : err;
}

/* Best effort: what stays has no backup.json. */
void backup_give_up(struct backup_maker *m)
{
    char path[PATH_MAX];
    if (m->folder_count == 0)
        return;
    (void)snprintf(path, sizeof path, "%s/" BACKUP_LIST, m->partial);
    (void)unlink(path);
    for (size_t i = 0; i < m->backup.count; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", m->partial, m->backup.files[i].path);
        (void)unlink(path);
    }
    while (m->folder_count > 0) {
        (void)snprintf(path, sizeof path, "%s/%s", m->partial, m->folders[--m->folder_count]);
        (void)rmdir(path);
    }
}
