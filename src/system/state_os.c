/* SPDX-License-Identifier: Apache-2.0
 *
 * The state folder on disk. The lock is an flock: it goes with the last descriptor of the process that holds it,
 * however that process dies.
 */
#include "state.h"

#include "json.h"
#include "mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MARKER ".ficus-state"

/* ---- where ---- */

/* Absolute form of path; the last part need not exist. */
static const char *absolute(struct arena *a, const char *path)
{
    char real[PATH_MAX];
    if (realpath(path, real) != NULL)
        return arena_strdup(a, slice_str(real));
    const char *slash = strrchr(path, '/');
    const char *folder = slash == NULL   ? "."
                         : slash == path ? "/"
                                         : arena_strdup(a, slice_make(path, (size_t)(slash - path)));
    if (folder == NULL || realpath(folder, real) == NULL)
        return NULL;
    return arena_printf(a, "%s/%s", strcmp(real, "/") == 0 ? "" : real, slash == NULL ? path : slash + 1);
}

/* FNV-1a: the folder's name needs to differ between systems, not to be secret; who owns it is checked. */
static uint64_t name_hash(const char *text)
{
    uint64_t hash = 14695981039346656037u;
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    return hash;
}

/* Where the sockets of the state at root lie when run/ has too long a name. NULL: out of memory. */
static const char *short_folder(struct arena *a, const char *root)
{
    return arena_printf(a, "/tmp/ficus-%u-%016llx", (unsigned)getuid(), (unsigned long long)name_hash(root));
}

/* What run/sockets says; "" for nothing. NULL: out of memory. */
static const char *noted_sockets(struct arena *a, const char *run)
{
    char path[PATH_MAX], text[PATH_MAX];
    snprintf(path, sizeof path, "%s/sockets", run);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return "";
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n < 2 || text[n - 1] != '\n' ? "" : arena_strdup(a, slice_make(text, (size_t)n - 1));
}

enum ficus_err state_locate(struct arena *a, const char *manifest, struct state *ret_state, struct ficus_error *reterr)
{
    struct state s = {0};
    const char *from_env = getenv("FICUS_STATE");
    if (from_env != NULL && from_env[0] != '\0') {
        s.root = absolute(a, from_env);
        if (s.root == NULL)
            return err_set(reterr, FICUS_ERR_NOT_FOUND, "FICUS_STATE: the folder that is to hold %s does not exist",
                           from_env);
    } else {
        const char *file = absolute(a, manifest);
        if (file == NULL)
            return err_set(reterr, FICUS_ERR_NOT_FOUND, "%s: its folder does not exist", manifest);
        s.root = arena_printf(a, "%.*s/.ficus", (int)(strrchr(file, '/') - file), file);
    }
    s.run = arena_printf(a, "%s/run", s.root);
    s.log = arena_printf(a, "%s/log", s.root);
    s.data = arena_printf(a, "%s/data", s.root);
    s.private_root = arena_printf(a, "%s/private", s.root);
    s.key_file = arena_printf(a, "%s/system.key", s.root);
    s.admin_file = arena_printf(a, "%s/admin.json", s.root);
    s.schemas_file = arena_printf(a, "%s/schemas.json", s.root);
    s.lock_file = arena_printf(a, "%s/lock", s.run);
    s.children_file = arena_printf(a, "%s/children.json", s.run);
    if (arena_overflowed(a) || s.children_file == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "%s: out of memory", manifest);
    /* The note of a state that was copied names the sockets of the original: they are not ours to use. */
    const char *noted = noted_sockets(a, s.run), *folder = short_folder(a, s.root);
    if (noted == NULL || folder == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "%s: out of memory", manifest);
    s.sockets = strcmp(noted, folder) == 0 ? folder : s.run;
    *ret_state = s;
    return FICUS_ERR_OK;
}

static const char *marker_path(const struct state *s, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/" MARKER, s->root);
    return path;
}

bool state_exists(const struct state *s)
{
    char path[PATH_MAX];
    return access(marker_path(s, path), F_OK) == 0;
}

bool state_closed_to_us(const struct state *s)
{
    return access(s->run, R_OK | X_OK) != 0 && errno == EACCES;
}

/* ---- making it ---- */

/* 0 or errno; *ret_empty: nothing is in it but what a restore has moved aside and a purge has left. */
static int folder_look(const char *path, bool *ret_empty)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return errno;
    *ret_empty = true;
    for (struct dirent *entry; *ret_empty && (entry = readdir(dir)) != NULL;)
        *ret_empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                     slice_starts(slice_str(entry->d_name), SLICE(STATE_REPLACED));
    closedir(dir);
    return 0;
}

static enum ficus_err make_folder(const char *path, struct ficus_error *reterr)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_sys(reterr, errno, "make folder %s", path);
    return FICUS_ERR_OK;
}

static enum ficus_err check_marker(struct env *e, const struct state *s, struct ficus_error *reterr)
{
    char path[PATH_MAX];
    struct arena a;
    struct slice text;
    uint64_t version;
    arena_init(&a, 8192);
    enum ficus_err err = env_file_load(e, &a, marker_path(s, path), 64, &text, reterr);
    if (err == FICUS_ERR_OK) {
        if (!slice_to_u64(slice_cut(&text, '\n'), &version))
            err = err_set(reterr, FICUS_ERR_CORRUPT, "%s: expected a version number", path);
        else if (version > STATE_VERSION)
            err = err_set(reterr, FICUS_ERR_VERSION, "%s: state of version %llu, this ficus knows up to %d: use the newer one",
                          s->root, (unsigned long long)version, STATE_VERSION);
    }
    arena_done(&a);
    return err;
}

enum ficus_err state_create(struct env *e, const struct state *s, struct ficus_error *reterr)
{
    char path[PATH_MAX];
    enum ficus_err err = FICUS_ERR_OK;
    bool empty = false;
    int failed;
    if (mkdir(s->root, 0700) != 0 && errno != EEXIST)
        return err_sys(reterr, errno, "the state folder %s cannot be made (FICUS_STATE names another)", s->root);
    if (state_exists(s)) {
        err = check_marker(e, s, reterr);
    } else if ((failed = folder_look(s->root, &empty)) != 0) {
        err = err_sys(reterr, failed, "the state folder %s cannot be looked into (FICUS_STATE names another)", s->root);
    } else if (!empty) {
        err = err_set(reterr, FICUS_ERR_CONFLICT,
                      "%s: holds files but no " MARKER ", so it is not Ficus' state; FICUS_STATE can name another",
                      s->root);
    } else {
        char text[16];
        int size = snprintf(text, sizeof text, "%d\n", STATE_VERSION);
        err = env_file_store(e, marker_path(s, path), slice_make(text, (size_t)size), reterr);
    }
    const char *const folders[] = {s->run, s->log, s->data, s->private_root};
    for (size_t i = 0; i < ARRAY_COUNT(folders) && err == FICUS_ERR_OK; i++)
        err = make_folder(folders[i], reterr);
    if (err == FICUS_ERR_OK && chmod(s->run, 0700) != 0)
        err = err_sys(reterr, errno, "%s", s->run);
    return err;
}

enum { LOCK_TRIES = 20, LOCK_PAUSE_NS = 25 * 1000 * 1000 };

enum ficus_err state_lock(const struct state *s, int *ret_fd, struct ficus_error *reterr)
{
    char pid[32] = "";
    int fd = open(s->lock_file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(reterr, errno, "open %s", s->lock_file);
    int locked = flock(fd, LOCK_EX | LOCK_NB);
    /* A holder that was just killed keeps the lock until the kernel has taken it apart. */
    for (int i = 0; i < LOCK_TRIES && locked != 0 && errno == EWOULDBLOCK; i++) {
        nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE_NS}, NULL);
        locked = flock(fd, LOCK_EX | LOCK_NB);
    }
    if (locked != 0) {
        int error = errno;
        ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
        close(fd);
        if (error != EWOULDBLOCK)
            return err_sys(reterr, error, "lock %s", s->lock_file);
        struct slice text = slice_make(pid, n > 0 ? (size_t)n : 0);
        struct slice digits = slice_cut(&text, '\n');
        return err_set(reterr, FICUS_ERR_BUSY, "already running with pid " SLICE_FMT " (state %s); ficus down stops it",
                       SLICE_ARG(digits), s->root);
    }
    int size = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)size, 0) != size) {
        enum ficus_err err = err_sys(reterr, errno, "write %s", s->lock_file);
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return FICUS_ERR_OK;
}

int64_t state_lock_holder(const struct state *s)
{
    char text[32];
    int64_t pid = 0;
    int fd = open(s->lock_file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        ssize_t n = pread(fd, text, sizeof text, 0);
        struct slice s_text = slice_make(text, n > 0 ? (size_t)n : 0);
        if (!slice_to_i64(slice_cut(&s_text, '\n'), &pid))
            pid = -1; /* held, but its pid is not written yet */
    }
    close(fd);
    return pid;
}

/* ---- sockets ---- */

static enum ficus_err own_folder(const char *path, struct ficus_error *reterr)
{
    struct stat st;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_sys(reterr, errno, "make folder %s", path);
    if (lstat(path, &st) != 0)
        return err_sys(reterr, errno, "look at %s", path);
    if (!S_ISDIR(st.st_mode) || st.st_uid != getuid() || (st.st_mode & 077) != 0)
        return err_set(reterr, FICUS_ERR_DENIED, "%s: must be a folder of user %u with mode 0700", path,
                       (unsigned)getuid());
    return FICUS_ERR_OK;
}

/* Addresses of other processes that those of an earlier start have kept (process_config.snapshot_file). */
static void forget_addresses(const char *run)
{
    DIR *dir = opendir(run);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        if (slice_ends(slice_str(entry->d_name), SLICE(".endpoints.json")))
            (void)unlinkat(dirfd(dir), entry->d_name, 0); /* one that stays is refused by who cannot reach it */
    if (dir != NULL)
        closedir(dir);
}

enum ficus_err state_choose_sockets(struct env *e, struct arena *a, struct state *s, size_t name_size_max,
                                    struct ficus_error *reterr)
{
    struct ficus_error ignored;
    bool fits = strlen(s->run) + 1 + name_size_max <= STATE_SOCKET_PATH_MAX;
    const char *note = arena_printf(a, "%s/sockets", s->run), *noted = noted_sockets(a, s->run);
    const char *folder = fits ? s->run : short_folder(a, s->root);
    const char *line = folder == NULL ? NULL : arena_printf(a, "%s\n", folder);
    if (note == NULL || noted == NULL || line == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "choose a folder for sockets: out of memory");
    enum ficus_err err = fits ? FICUS_ERR_OK : own_folder(folder, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (strcmp(noted, folder) != 0) {
        forget_addresses(s->run);
        err = env_file_store(e, note, slice_str(line), reterr == NULL ? &ignored : reterr);
    }
    if (err == FICUS_ERR_OK)
        s->sockets = folder;
    return err;
}

/* ---- secrets ---- */

enum ficus_err state_key(struct env *e, const struct state *s, struct ficus_error *reterr)
{
    bool exists = false;
    enum ficus_err err = env_file_exists(e, s->key_file, &exists);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "%s: %s", s->key_file, err_text(err));
    if (exists)
        return FICUS_ERR_OK;
    unsigned char key[32];
    char text[2 * sizeof key + 2];
    env_random(e, key, sizeof key);
    for (size_t i = 0; i < sizeof key; i++)
        snprintf(text + 2 * i, 3, "%02x", key[i]);
    text[2 * sizeof key] = '\n';
    err = env_file_store(e, s->key_file, slice_make(text, 2 * sizeof key + 1), reterr);
    mem_wipe(key, sizeof key);
    mem_wipe(text, sizeof text);
    return err;
}

/* Letters and digits without those that look alike; 56 of them, taken without bias. */
static void make_password(struct env *e, char ret_password[STATE_PASSWORD_SIZE])
{
    static const char alphabet[] = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ2345678";
    _Static_assert(sizeof alphabet == 58 - 1, "fifty-six");
    for (size_t i = 0; i + 1 < STATE_PASSWORD_SIZE;) {
        unsigned char byte;
        env_random(e, &byte, 1);
        if (byte < 4 * 56)
            ret_password[i++] = alphabet[byte % 56];
    }
    ret_password[STATE_PASSWORD_SIZE - 1] = '\0';
}

static bool read_admin(struct env *e, struct arena *a, const struct state *s, const char *email,
                       const char **ret_password)
{
    struct slice text, password;
    struct json *root;
    if (env_file_load(e, a, s->admin_file, 4096, &text, NULL) != FICUS_ERR_OK ||
        json_parse(a, text, NULL, &root, NULL) != FICUS_ERR_OK)
        return false;
    if (!slice_eq_str(json_string_or(json_get(root, "email"), SLICE_NONE), email) ||
        !json_string(json_get(root, "password"), &password))
        return false;
    *ret_password = arena_strdup(a, password);
    return *ret_password != NULL;
}

enum ficus_err state_admin(struct env *e, struct arena *a, const struct state *s, const char *email,
                           const char **ret_password, struct ficus_error *reterr)
{
    if (read_admin(e, a, s, email, ret_password))
        return FICUS_ERR_OK;
    char password[STATE_PASSWORD_SIZE];
    struct buf text;
    struct json_writer w;
    make_password(e, password);
    buf_init(&text, 4096);
    json_write_init(&w, &text);
    json_write_object(&w);
    json_write_kv_str(&w, "email", email);
    json_write_kv_str(&w, "password", password);
    json_write_end(&w);
    buf_add_char(&text, '\n');
    enum ficus_err err = buf_failed(&text) ? err_set(reterr, FICUS_ERR_TOO_LARGE, "administrator's email is too long")
                                           : env_file_store(e, s->admin_file, buf_slice(&text), reterr);
    buf_done(&text);
    if (err == FICUS_ERR_OK && (*ret_password = arena_strdup(a, slice_str(password))) == NULL)
        err = err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    mem_wipe(password, sizeof password);
    return err;
}

/* ---- purge ---- */

enum { TREE_DEPTH_MAX = 32 };

/* Remove name in folder with all below it; never follows a symbolic link. Depth is bounded by depth_max. */
static bool remove_tree(int folder, const char *name, int depth_max)
{
    if (unlinkat(folder, name, 0) == 0 || errno == ENOENT)
        return true;
    if (errno != EISDIR && errno != EPERM)
        return false;
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || depth_max == 0) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return false;
    }
    bool ok = true;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            ok = remove_tree(fd, entry->d_name, depth_max - 1) && ok;
    closedir(dir);
    return unlinkat(folder, name, AT_REMOVEDIR) == 0 && ok;
}

bool state_remove(const struct state *s, const char *name)
{
    int folder = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return false;
    bool ok = remove_tree(folder, name, TREE_DEPTH_MAX);
    int failed = errno;
    close(folder);
    errno = failed;
    return ok;
}

/* Does the name end as a file that Ficus makes in one of its folders? */
static bool made_by_us(const char *name)
{
    static const char *const endings[] = {".db",       ".db-wal",      ".db-shm", ".db-journal", ".log", ".log.old",
                                          ".db.made", ".db.made.tmp", ".json",   ".json.tmp",   ".sock"};
    for (size_t i = 0; i < ARRAY_COUNT(endings); i++)
        if (slice_ends(slice_str(name), slice_str(endings[i])))
            return true;
    return strcmp(name, "lock") == 0 || strcmp(name, "sockets") == 0;
}

/* Remove what Ficus made in one of its folders, and the folder when nothing else is in it. What is not ours stays. */
static bool remove_own(int folder, const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT;
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return false;
    }
    bool ok = true;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (made_by_us(entry->d_name))
            ok = unlinkat(fd, entry->d_name, 0) == 0 && ok;
    closedir(dir);
    return (unlinkat(folder, name, AT_REMOVEDIR) == 0 || errno == ENOTEMPTY || errno == EEXIST) && ok;
}

static const char *list_left(struct arena *a, int folder)
{
    struct buf names;
    buf_init(&names, 4096);
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            buf_printf(&names, "%s%s", buf_slice(&names).size == 0 ? "" : ", ", entry->d_name);
    if (dir != NULL)
        closedir(dir);
    const char *left = arena_strdup(a, buf_slice(&names));
    buf_done(&names);
    return left;
}

enum ficus_err state_purge(struct arena *a, const struct state *s, const char **ret_left, struct ficus_error *reterr)
{
    int folder = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *ret_left = folder < 0 ? NULL : list_left(a, folder);
    if (!state_exists(s)) {
        if (folder >= 0)
            close(folder);
        return err_set(reterr, FICUS_ERR_DENIED, "%s: no " MARKER " in it, nothing is removed", s->root);
    }
    if (folder < 0)
        return err_sys(reterr, errno, "open %s", s->root);
    struct slice sockets = slice_str(s->sockets);
    if (slice_starts(sockets, SLICE("/tmp/ficus-")) && own_folder(s->sockets, NULL) == FICUS_ERR_OK)
        /* sockets of nobody; what stays there is found by the next start */
        (void)remove_tree(AT_FDCWD, s->sockets, 1);
    /* the marker goes last: a purge that was interrupted can be repeated */
    static const char *const folders[] = {"run", "log", "data"};
    static const char *const whole[] = {"private", "system.key", "system.key.tmp", "admin.json", "admin.json.tmp", "schemas.json", "schemas.json.tmp", "restore.partial",
                                        "restore.json", "restore.json.tmp", MARKER ".tmp"};
    bool ok = true;
    for (size_t i = 0; i < ARRAY_COUNT(folders); i++)
        ok = remove_own(folder, folders[i]) && ok;
    for (size_t i = 0; i < ARRAY_COUNT(whole); i++)
        ok = remove_tree(folder, whole[i], TREE_DEPTH_MAX) && ok;
    if (ok)
        (void)unlinkat(folder, MARKER, 0); /* shows in the list when it stays */
    *ret_left = list_left(a, folder);
    close(folder);
    if (!ok)
        return err_set(reterr, FICUS_ERR_IO, "%s: not everything could be removed", s->root);
    if (*ret_left != NULL && (*ret_left)[0] == '\0' && rmdir(s->root) != 0)
        return err_sys(reterr, errno, "remove %s", s->root);
    return FICUS_ERR_OK;
}
