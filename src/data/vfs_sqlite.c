/* SPDX-License-Identifier: Apache-2.0 */
#include "vfs_sqlite.h"

#include "assert.h"
#include "list.h"
#include "mem.h"

#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>

enum {
    LOCK_OFFSET = 0x40000000,       /* SQLite's PENDING_BYTE, then RESERVED and 510 SHARED bytes */
    LOCK_SIZE = 512,
    PATH_SIZE_MAX = 1024,
    SHM_REGIONS_MAX = 4096,         /* of 32 KiB, each for 4096 pages of WAL */
    TEMP_SIZE_MAX = 256 * 1024 * 1024,
};

/* The WAL's locks are three for writing, checkpoint and recovery, then one for each mark that readers stand at. */
enum { SHM_READ_FIRST = 3 };

enum node_kind { NODE_MAIN, NODE_WAL, NODE_JOURNAL, NODE_COUNT };

#define WAL_ENDING "-wal"

/* A file on disk, shared by the connections that have it open. */
struct vfs_node {
    struct env_file *file;
    unsigned refs;
    /* Its folder is not synced yet. True of a file that was there as well: whoever made it may have died before. */
    atomic_bool entry_unsynced;
};

struct vfs_file {
    sqlite3_file base;              /* first: SQLite casts */
    struct db_vfs *v;
    struct vfs_node *node;          /* NULL: a temporary file in memory */
    int level;                      /* SQLITE_LOCK_... */
    uint16_t shm_shared, shm_exclusive;     /* locks held, a bit each */
    bool shm_user;
    struct list link;               /* of a main file: in v->mains */
    int64_t reads_since_ms;         /* it holds a read lock of the WAL since */
    bool is_expired;                /* ... no longer: it was taken away */
    struct vfs_file *main;          /* of the connection; itself, or of a WAL or journal the database's */
    char *temp;
    size_t temp_size, temp_capacity;
};

struct db_vfs {
    sqlite3_vfs base;
    struct env *env;
    char path[PATH_SIZE_MAX], name[32];
    struct vfs_node nodes[NODE_COUNT];
    /* enum ficus_err; a single value, read after SQLite reported a failure on the same thread */
    atomic_int error;
    bool wal_is_foreign;            /* set before the last close: its name means another file */

    /* guards what follows and nodes[].file/refs; never held over a call of env */
    pthread_mutex_t mutex;
    unsigned enter_count;           /* connections being opened */
    unsigned shared_count;          /* connections at SHARED or above */
    struct vfs_file *owner;         /* the one above SHARED */
    struct list mains;
    char *shm[SHM_REGIONS_MAX];
    size_t shm_count, shm_users;
    unsigned shm_shared[SQLITE_SHM_NLOCK];
    struct vfs_file *shm_exclusive[SQLITE_SHM_NLOCK];
};

static struct vfs_file *vfs_file(sqlite3_file *f)
{
    return (struct vfs_file *)(void *)f;
}

static struct db_vfs *vfs_of(sqlite3_vfs *base)
{
    return CONTAINER_OF(base, struct db_vfs, base);
}

/* Remember the cause and give SQLite its own word. FULL and I/O errors only: for others its pager would keep a cache
 * that no longer fits the file. */
static int failed(struct db_vfs *v, enum ficus_err err, int sqlite_code)
{
    atomic_store(&v->error, (int)err);
    if (err == FICUS_ERR_FULL)
        return SQLITE_FULL;
    return err == FICUS_ERR_NOMEM ? SQLITE_IOERR_NOMEM : sqlite_code;
}

/* ---- temporary files: savepoints that outgrow SQLite's own memory ---- */

static int temp_read(struct vfs_file *f, void *p, int size, sqlite3_int64 offset)
{
    size_t n = 0;
    if ((size_t)offset < f->temp_size) {
        n = f->temp_size - (size_t)offset;
        n = n < (size_t)size ? n : (size_t)size;
        memcpy(p, f->temp + offset, n);
    }
    memset((char *)p + n, 0, (size_t)size - n);
    return n == (size_t)size ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int temp_write(struct vfs_file *f, const void *p, int size, sqlite3_int64 offset)
{
    size_t end = (size_t)offset + (size_t)size;
    if (end > TEMP_SIZE_MAX)
        return failed(f->v, FICUS_ERR_FULL, SQLITE_FULL);
    if (end > f->temp_capacity) {
        size_t capacity = f->temp_capacity == 0 ? 65536 : f->temp_capacity;
        while (capacity < end)
            capacity *= 2;
        char *grown = mem_realloc(f->temp, capacity);
        if (grown == NULL)
            return SQLITE_IOERR_NOMEM;
        f->temp = grown;
        f->temp_capacity = capacity;
    }
    if ((size_t)offset > f->temp_size)
        memset(f->temp + f->temp_size, 0, (size_t)offset - f->temp_size);
    memcpy(f->temp + offset, p, (size_t)size);
    if (end > f->temp_size)
        f->temp_size = end;
    return SQLITE_OK;
}

/* ---- file methods ---- */

static void node_release(struct db_vfs *v, struct vfs_node *n)
{
    struct env_file *unused = NULL;
    pthread_mutex_lock(&v->mutex);
    FICUS_ASSERT(n->refs > 0);
    if (--n->refs == 0) {
        unused = n->file;
        n->file = NULL;
    }
    pthread_mutex_unlock(&v->mutex);
    if (unused != NULL)
        env_file_close(v->env, unused);
}

static int file_unlock(sqlite3_file *file, int level);

static bool is_expired(struct vfs_file *f)
{
    pthread_mutex_lock(&f->v->mutex);
    bool expired = f->main->is_expired;
    pthread_mutex_unlock(&f->v->mutex);
    return expired;
}

static int file_close(sqlite3_file *file)
{
    struct vfs_file *f = vfs_file(file);
    if (f->node != NULL) {
        (void)file_unlock(file, SQLITE_LOCK_NONE);
        pthread_mutex_lock(&f->v->mutex);
        list_remove(&f->link);
        pthread_mutex_unlock(&f->v->mutex);
        node_release(f->v, f->node);
    }
    MEM_FREE(f->temp);
    return SQLITE_OK;
}

static int file_read(sqlite3_file *file, void *p, int size, sqlite3_int64 offset)
{
    struct vfs_file *f = vfs_file(file);
    if (f->node == NULL)
        return temp_read(f, p, size, offset);
    ssize_t n = env_file_read(f->v->env, f->node->file, p, (size_t)size, offset);
    if (n < 0)
        return failed(f->v, (enum ficus_err)-n, SQLITE_IOERR_READ);
    /* Asked behind the read: as long as it was not so until here, nothing of the snapshot was written over. */
    if (is_expired(f))
        return failed(f->v, FICUS_ERR_TIMEOUT, SQLITE_IOERR_READ);
    if (n == size)
        return SQLITE_OK;
    memset((char *)p + n, 0, (size_t)(size - n));
    return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *file, const void *p, int size, sqlite3_int64 offset)
{
    struct vfs_file *f = vfs_file(file);
    if (f->node == NULL)
        return temp_write(f, p, size, offset);
    enum ficus_err err = env_file_write(f->v->env, f->node->file, p, (size_t)size, offset);
    return err == FICUS_ERR_OK ? SQLITE_OK : failed(f->v, err, SQLITE_IOERR_WRITE);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct vfs_file *f = vfs_file(file);
    if (f->node == NULL) {
        f->temp_size = (size_t)size < f->temp_size ? (size_t)size : f->temp_size;
        return SQLITE_OK;
    }
    enum ficus_err err = env_file_truncate(f->v->env, f->node->file, size);
    return err == FICUS_ERR_OK ? SQLITE_OK : failed(f->v, err, SQLITE_IOERR_TRUNCATE);
}

static int file_sync(sqlite3_file *file, int flags)
{
    struct vfs_file *f = vfs_file(file);
    (void)flags;
    if (f->node == NULL)
        return SQLITE_OK;
    enum ficus_err err = env_file_sync(f->v->env, f->node->file);
    if (err != FICUS_ERR_OK)
        return failed(f->v, err, SQLITE_IOERR_FSYNC);
    /* the bytes are no use when the name is lost */
    if (!atomic_load(&f->node->entry_unsynced))
        return SQLITE_OK;
    err = env_dir_sync(f->v->env, f->v->path);
    if (err != FICUS_ERR_OK)
        return failed(f->v, err, SQLITE_IOERR_DIR_FSYNC);
    atomic_store(&f->node->entry_unsynced, false);
    return SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
    struct vfs_file *f = vfs_file(file);
    int64_t size = (int64_t)f->temp_size;
    if (f->node != NULL) {
        enum ficus_err err = env_file_size(f->v->env, f->node->file, &size);
        if (err != FICUS_ERR_OK)
            return failed(f->v, err, SQLITE_IOERR_FSTAT);
    }
    *ret_size = size;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *file, int op, void *arg)
{
    (void)file, (void)op, (void)arg;
    return SQLITE_NOTFOUND;
}

static int file_sector_size(sqlite3_file *file)
{
    (void)file;
    return 4096;
}

static int file_characteristics(sqlite3_file *file)
{
    (void)file;
    /* as SQLite's own VFS assumes of every disk: a torn write spoils only bytes of the range that was written */
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

/* ---- locks of the main file, among the connections of this process ---- */

static int file_lock(sqlite3_file *file, int level)
{
    struct vfs_file *f = vfs_file(file);
    struct db_vfs *v = f->v;
    int rc = SQLITE_OK;
    pthread_mutex_lock(&v->mutex);
    int other = v->owner == NULL || v->owner == f ? SQLITE_LOCK_NONE : v->owner->level;
    if (f->level >= level) {
        /* has it */
    } else if (other > (level == SQLITE_LOCK_SHARED ? SQLITE_LOCK_RESERVED : SQLITE_LOCK_NONE)) {
        rc = SQLITE_BUSY;
    } else if (level == SQLITE_LOCK_SHARED) {
        v->shared_count++;
        f->level = SQLITE_LOCK_SHARED;
    } else {
        v->owner = f;
        f->level = level;
        if (level == SQLITE_LOCK_EXCLUSIVE && v->shared_count > 1) {
            f->level = SQLITE_LOCK_PENDING;     /* keeps new readers out; SQLite asks again or gives up */
            rc = SQLITE_BUSY;
        }
    }
    pthread_mutex_unlock(&v->mutex);
    return rc;
}

static int file_unlock(sqlite3_file *file, int level)
{
    struct vfs_file *f = vfs_file(file);
    struct db_vfs *v = f->v;
    pthread_mutex_lock(&v->mutex);
    if (f->level > level) {
        if (v->owner == f)
            v->owner = NULL;
        if (level == SQLITE_LOCK_NONE)
            v->shared_count--;
        f->level = level;
    }
    pthread_mutex_unlock(&v->mutex);
    return SQLITE_OK;
}

static int file_check_reserved(sqlite3_file *file, int *ret_reserved)
{
    struct db_vfs *v = vfs_file(file)->v;
    pthread_mutex_lock(&v->mutex);
    *ret_reserved = v->owner != NULL;
    pthread_mutex_unlock(&v->mutex);
    return SQLITE_OK;
}

/* ---- WAL index: heap memory and eight locks ---- */

static int shm_map(sqlite3_file *file, int region, int size, int extend, void volatile **ret_region)
{
    struct vfs_file *f = vfs_file(file);
    struct db_vfs *v = f->v;
    int rc = SQLITE_OK;
    *ret_region = NULL;
    if (region >= SHM_REGIONS_MAX)
        return SQLITE_FULL;
    pthread_mutex_lock(&v->mutex);
    if (!f->shm_user) {
        f->shm_user = true;
        v->shm_users++;
    }
    while (extend && v->shm_count <= (size_t)region) {
        char *p = mem_zalloc((size_t)size);
        if (p == NULL) {
            rc = SQLITE_IOERR_NOMEM;
            break;
        }
        v->shm[v->shm_count++] = p;
    }
    if (rc == SQLITE_OK && (size_t)region < v->shm_count)
        *ret_region = v->shm[region];
    pthread_mutex_unlock(&v->mutex);
    return rc;
}

static bool shm_lock_free(const struct db_vfs *v, const struct vfs_file *f, int slot, bool shared)
{
    if (v->shm_exclusive[slot] != NULL && v->shm_exclusive[slot] != f)
        return false;
    unsigned own = (f->shm_shared >> slot) & 1u;
    return shared || v->shm_shared[slot] == own;
}

static void shm_lock_set(struct db_vfs *v, struct vfs_file *f, int slot, int flags)
{
    uint16_t bit = (uint16_t)(1u << slot);
    bool held_shared = (f->shm_shared & bit) != 0;
    if (flags == (SQLITE_SHM_LOCK | SQLITE_SHM_SHARED)) {
        if (!held_shared)
            v->shm_shared[slot]++;
        f->shm_shared |= bit;
    } else if (flags == (SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE)) {
        v->shm_exclusive[slot] = f;
        f->shm_exclusive |= bit;
    } else {
        if (held_shared)
            v->shm_shared[slot]--;
        if (v->shm_exclusive[slot] == f)
            v->shm_exclusive[slot] = NULL;
        f->shm_shared &= (uint16_t)~bit;
        f->shm_exclusive &= (uint16_t)~bit;
    }
}

/* Reading from one moment begins with one of these locks. Who lost his stays known as one who did until he begins anew, so that
 * the error can be told from others. */
static void note_reading(struct vfs_file *f, int first, int flags)
{
    if (first < SHM_READ_FIRST || flags != (SQLITE_SHM_LOCK | SQLITE_SHM_SHARED))
        return;
    f->reads_since_ms = env_now_ms(f->v->env);
    f->is_expired = false;
}

static int shm_lock(sqlite3_file *file, int first, int count, int flags)
{
    struct vfs_file *f = vfs_file(file);
    struct db_vfs *v = f->v;
    int rc = SQLITE_OK;
    pthread_mutex_lock(&v->mutex);
    if ((flags & SQLITE_SHM_LOCK) != 0)
        for (int i = first; i < first + count && rc == SQLITE_OK; i++)
            if (!shm_lock_free(v, f, i, (flags & SQLITE_SHM_SHARED) != 0))
                rc = SQLITE_BUSY;
    for (int i = first; i < first + count && rc == SQLITE_OK; i++)
        shm_lock_set(v, f, i, flags);
    if (rc == SQLITE_OK)
        note_reading(f, first, flags);
    pthread_mutex_unlock(&v->mutex);
    return rc;
}

static void shm_barrier(sqlite3_file *file)
{
    struct db_vfs *v = vfs_file(file)->v;
    atomic_thread_fence(memory_order_seq_cst);
    /* as SQLite's own VFS does: the mutex makes it hold for every compiler and checker */
    pthread_mutex_lock(&v->mutex);
    pthread_mutex_unlock(&v->mutex);
}

static int shm_unmap(sqlite3_file *file, int delete_flag)
{
    struct vfs_file *f = vfs_file(file);
    struct db_vfs *v = f->v;
    (void)delete_flag;
    pthread_mutex_lock(&v->mutex);
    for (int i = 0; i < SQLITE_SHM_NLOCK; i++)
        shm_lock_set(v, f, i, SQLITE_SHM_UNLOCK);
    if (f->shm_user && --v->shm_users == 0)
        while (v->shm_count > 0)
            mem_free(v->shm[--v->shm_count]);
    f->shm_user = false;
    pthread_mutex_unlock(&v->mutex);
    return SQLITE_OK;
}

static const sqlite3_io_methods file_methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
    .xShmMap = shm_map,
    .xShmLock = shm_lock,
    .xShmBarrier = shm_barrier,
    .xShmUnmap = shm_unmap,
};

/* ---- methods of the VFS ---- */

/* Take a reference of the node, opening its file when nobody has it. */
static enum ficus_err node_acquire(struct db_vfs *v, struct vfs_node *n, const char *path, unsigned flags)
{
    pthread_mutex_lock(&v->mutex);
    bool there = n->refs > 0;
    if (there)
        n->refs++;
    pthread_mutex_unlock(&v->mutex);
    if (there)
        return FICUS_ERR_OK;
    struct env_file *file = NULL;
    enum ficus_err err = env_file_open(v->env, path, flags, &file, NULL);
    if (err != FICUS_ERR_OK)
        return err;
    pthread_mutex_lock(&v->mutex);
    n->refs++;
    struct env_file *doubled = n->file;     /* somebody was faster */
    if (doubled == NULL) {
        n->file = file;
        atomic_store(&n->entry_unsynced, true);
    }
    pthread_mutex_unlock(&v->mutex);
    if (doubled != NULL)
        env_file_close(v->env, file);
    return FICUS_ERR_OK;
}

static int vfs_open(sqlite3_vfs *base, const char *path, sqlite3_file *file, int flags, int *ret_flags)
{
    struct db_vfs *v = vfs_of(base);
    struct vfs_file *f = vfs_file(file);
    memset(f, 0, sizeof *f);
    f->v = v;
    f->main = f;
    list_init(&f->link);
    if (ret_flags != NULL)
        *ret_flags = flags;
    if (path != NULL && (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)) == 0)
        return SQLITE_CANTOPEN;     /* super-journals and named temporary files: nothing here attaches databases */
    if (path != NULL) {
        enum node_kind kind = (flags & SQLITE_OPEN_MAIN_DB) != 0 ? NODE_MAIN : (flags & SQLITE_OPEN_WAL) != 0 ? NODE_WAL
            : NODE_JOURNAL;
        unsigned open_flags = (flags & SQLITE_OPEN_CREATE) != 0 ? ENV_OPEN_CREATE : 0;
        if ((flags & SQLITE_OPEN_EXCLUSIVE) != 0)
            open_flags |= ENV_OPEN_EXCLUSIVE;
        enum ficus_err err = node_acquire(v, &v->nodes[kind], path, open_flags);
        if (err != FICUS_ERR_OK)
            return failed(v, err, SQLITE_CANTOPEN);
        f->node = &v->nodes[kind];
        if (kind != NODE_MAIN)
            f->main = vfs_file(sqlite3_database_file_object(path));
        pthread_mutex_lock(&v->mutex);
        if (kind == NODE_MAIN)
            list_add_tail(&v->mains, &f->link);
        pthread_mutex_unlock(&v->mutex);
    }
    f->base.pMethods = &file_methods;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *base, const char *path, int sync_dir)
{
    struct db_vfs *v = vfs_of(base);
    if (v->wal_is_foreign && slice_ends(slice_str(path), SLICE(WAL_ENDING)))
        return SQLITE_OK;
    enum ficus_err err = env_file_unlink(v->env, path);
    if (err == FICUS_ERR_NOT_FOUND)
        return SQLITE_IOERR_DELETE_NOENT;
    if (err == FICUS_ERR_OK && sync_dir)
        err = env_dir_sync(v->env, path);
    return err == FICUS_ERR_OK ? SQLITE_OK : failed(v, err, SQLITE_IOERR_DELETE);
}

static int vfs_access(sqlite3_vfs *base, const char *path, int flags, int *ret_yes)
{
    struct db_vfs *v = vfs_of(base);
    bool exists = false;
    (void)flags;
    enum ficus_err err = env_file_exists(v->env, path, &exists);
    if (err != FICUS_ERR_OK)
        return failed(v, err, SQLITE_IOERR_ACCESS);
    *ret_yes = exists;
    return SQLITE_OK;
}

static int vfs_full_pathname(sqlite3_vfs *base, const char *path, int size, char *ret_path)
{
    (void)base;
    int n = snprintf(ret_path, (size_t)size, "%s", path);
    return n < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int vfs_randomness(sqlite3_vfs *base, int size, char *p)
{
    env_random(vfs_of(base)->env, p, (size_t)size);
    return size;
}

static int vfs_sleep(sqlite3_vfs *base, int microseconds)
{
    (void)base, (void)microseconds;
    /* a reader met the WAL index in the middle of its update by another thread: only let that thread run */
    sched_yield();
    return 0;
}

static int vfs_time_ms(sqlite3_vfs *base, sqlite3_int64 *ret_julian_ms)
{
    *ret_julian_ms = 210866760000000LL + env_wall_ms(vfs_of(base)->env);    /* 1970-01-01 as a Julian day in ms */
    return SQLITE_OK;
}

static int vfs_time(sqlite3_vfs *base, double *ret_julian_day)
{
    sqlite3_int64 ms = 0;
    (void)vfs_time_ms(base, &ms);
    *ret_julian_day = (double)ms / 86400000.0;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *base, int size, char *ret_text)
{
    if (size > 0)
        snprintf(ret_text, (size_t)size, "%s", err_text((enum ficus_err)atomic_load(&vfs_of(base)->error)));
    return 0;
}

enum ficus_err db_vfs_new(struct env *e, const char *path, struct db_vfs **ret_vfs, struct ficus_error *reterr)
{
    if (strlen(path) + sizeof "-journal" > PATH_SIZE_MAX)
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "%s: a path has at most %d bytes", path, PATH_SIZE_MAX - 9);
    struct db_vfs *v = mem_zalloc(sizeof *v);
    if (v == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "%s: out of memory", path);
    v->env = e;
    snprintf(v->path, sizeof v->path, "%s", path);
    snprintf(v->name, sizeof v->name, "ficus-%llx", (unsigned long long)(uintptr_t)v);
    v->base = (sqlite3_vfs){.iVersion = 2, .szOsFile = sizeof(struct vfs_file), .mxPathname = PATH_SIZE_MAX,
        .zName = v->name, .xOpen = vfs_open, .xDelete = vfs_delete, .xAccess = vfs_access,
        .xFullPathname = vfs_full_pathname, .xRandomness = vfs_randomness, .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time, .xGetLastError = vfs_last_error, .xCurrentTimeInt64 = vfs_time_ms};
    pthread_mutex_init(&v->mutex, NULL);
    list_init(&v->mains);
    struct vfs_node *main_node = &v->nodes[NODE_MAIN];
    enum ficus_err err = node_acquire(v, main_node, v->path, ENV_OPEN_CREATE);
    if (err != FICUS_ERR_OK) {
        db_vfs_free(v);
        return err_set(reterr, err, "%s: cannot open: %s", path, err_text(err));
    }
    err = env_file_lock(e, main_node->file, LOCK_OFFSET, LOCK_SIZE);
    if (err != FICUS_ERR_OK) {
        db_vfs_free(v);
        return err_set(reterr, err, err == FICUS_ERR_BUSY ? "%s: another process has this database open"
            : "%s: cannot lock", path);
    }
    *ret_vfs = v;
    return FICUS_ERR_OK;
}

void db_vfs_free(struct db_vfs *v)
{
    if (v == NULL)
        return;
    struct vfs_node *main_node = &v->nodes[NODE_MAIN];
    FICUS_ASSERT(main_node->refs <= 1);
    if (main_node->refs == 1)
        node_release(v, main_node);
    FICUS_ASSERT(v->shm_count == 0);
    pthread_mutex_destroy(&v->mutex);
    mem_free(v);
}

/* Is the file of that kind, when it is open, where its name says? */
static enum ficus_err node_check(struct db_vfs *v, enum node_kind kind, const char *ending, struct ficus_error *reterr)
{
    char path[PATH_SIZE_MAX + 8];
    bool in_place = true;
    pthread_mutex_lock(&v->mutex);
    struct env_file *file = v->nodes[kind].file;    /* open as long as the writer is */
    pthread_mutex_unlock(&v->mutex);
    if (file == NULL)
        return FICUS_ERR_OK;
    (void)snprintf(path, sizeof path, "%s%s", v->path, ending);
    enum ficus_err err = env_file_in_place(v->env, file, path, &in_place);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "%s: cannot be looked for: %s", path, err_text(err));
    return in_place ? FICUS_ERR_OK : err_set(reterr, FICUS_ERR_MISSING,
        "%s: removed or replaced while this process has it open: nothing is written any more, as it would be lost. Put "
        "the file back, or save its content from /proc/PID/fd before the process ends, or restart with the copy that "
        "is there now", path);
}

enum ficus_err db_vfs_check(struct db_vfs *v, struct ficus_error *reterr)
{
    enum ficus_err err = node_check(v, NODE_MAIN, "", reterr);
    return err == FICUS_ERR_OK ? node_check(v, NODE_WAL, WAL_ENDING, reterr) : err;
}

void db_vfs_closing(struct db_vfs *v)
{
    v->wal_is_foreign = node_check(v, NODE_WAL, WAL_ENDING, NULL) != FICUS_ERR_OK;
}

ssize_t db_vfs_read(struct db_vfs *v, void *p, size_t size, int64_t offset)
{
    return env_file_read(v->env, v->nodes[NODE_MAIN].file, p, size, offset);
}

enum ficus_err db_vfs_size(struct db_vfs *v, int64_t *ret_size)
{
    return env_file_size(v->env, v->nodes[NODE_MAIN].file, ret_size);
}

int64_t db_vfs_wal_size(struct db_vfs *v)
{
    int64_t size = 0;
    pthread_mutex_lock(&v->mutex);
    struct env_file *file = v->nodes[NODE_WAL].file;    /* open as long as the writer is */
    pthread_mutex_unlock(&v->mutex);
    return file != NULL && env_file_size(v->env, file, &size) == FICUS_ERR_OK ? size : 0;
}

static void expire(struct db_vfs *v, struct vfs_file *f)
{
    for (int slot = SHM_READ_FIRST; slot < SQLITE_SHM_NLOCK; slot++)
        if ((f->shm_shared >> slot & 1u) != 0)
            shm_lock_set(v, f, slot, SQLITE_SHM_UNLOCK | SQLITE_SHM_SHARED);
    f->is_expired = true;
}

bool db_vfs_expire(struct db_vfs *v, int64_t since_ms, const void *own)
{
    bool found = false;
    pthread_mutex_lock(&v->mutex);
    LIST_FOREACH (&v->mains, it) {
        struct vfs_file *f = CONTAINER_OF(it, struct vfs_file, link);
        if ((const void *)f == own || (f->shm_shared >> SHM_READ_FIRST) == 0 || f->reads_since_ms > since_ms)
            continue;
        expire(v, f);
        found = true;
    }
    pthread_mutex_unlock(&v->mutex);
    return found;
}

bool db_vfs_expired(void *file)
{
    return is_expired(vfs_file(file));
}

void db_vfs_renew(void *file)
{
    struct vfs_file *f = vfs_file(file);
    pthread_mutex_lock(&f->v->mutex);
    f->is_expired = false;
    pthread_mutex_unlock(&f->v->mutex);
}

const char *db_vfs_enter(struct db_vfs *v)
{
    pthread_mutex_lock(&v->mutex);
    bool known = v->enter_count > 0 || sqlite3_vfs_register(&v->base, 0) == SQLITE_OK;
    if (known)
        v->enter_count++;
    pthread_mutex_unlock(&v->mutex);
    return known ? v->name : NULL;
}

void db_vfs_leave(struct db_vfs *v)
{
    pthread_mutex_lock(&v->mutex);
    if (--v->enter_count == 0)
        sqlite3_vfs_unregister(&v->base);
    pthread_mutex_unlock(&v->mutex);
}

enum ficus_err db_vfs_error(struct db_vfs *v)
{
    return (enum ficus_err)atomic_exchange(&v->error, FICUS_ERR_OK);
}
