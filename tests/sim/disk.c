/* SPDX-License-Identifier: Apache-2.0 */
#include "disk.h"

#include "assert.h"
#include "env.h"
#include "list.h"
#include "mem.h"

struct bytes {
    char *p;
    size_t size, capacity;
};

/* An unsynced change of one file, in order. */
struct op {
    struct list link;
    bool is_truncate;
    size_t offset, size;    /* truncate: offset is the new size */
    char data[];
};

struct inode {
    struct list link;       /* in the disk */
    struct bytes live, durable;
    uint64_t changed_at;    /* the disk's change_count then */
    struct list ops;
    struct list files;      /* open ones */
};

/* A name, and what it means now and after a crash. */
struct entry {
    struct list link;
    char *path;
    struct inode *live, *durable;
};

struct sim_file {
    struct list link;       /* in the inode */
    struct sim_disk *disk;
    struct inode *inode;
    uint64_t generation;
    bool read_only;
    const char *viewed;     /* of a view: the name whose bytes are read */
    int64_t lock_offset, lock_size;     /* size 0: none */
};

struct sim_disk {
    struct list inodes, entries;
    const struct sim_disk *viewed;  /* NULL: this is no view */
    uint64_t generation;    /* crashes; files of older ones are dead */
    uint64_t change_count;  /* of the live bytes of all files */
    uint64_t op_count, sync_count, die_at, fail_from, fail_to, size_max;
    enum ficus_err fail_err;
    bool dead;
};

uint64_t sim_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/* ---- bytes ---- */

static void bytes_resize(struct bytes *b, size_t size)
{
    if (size > b->capacity) {
        size_t capacity = b->capacity == 0 ? 4096 : b->capacity;
        while (capacity < size)
            capacity *= 2;
        b->p = mem_realloc(b->p, capacity);
        FICUS_ASSERT(b->p != NULL);     /* a test machine without memory proves nothing */
        b->capacity = capacity;
    }
    if (size > b->size)
        memset(b->p + b->size, 0, size - b->size);
    b->size = size;
}

static void bytes_write(struct bytes *b, const void *p, size_t size, size_t offset)
{
    if (size == 0)
        return;
    if (offset + size > b->size)
        bytes_resize(b, offset + size);
    memcpy(b->p + offset, p, size);
}

static void bytes_copy(struct bytes *to, const struct bytes *from)
{
    bytes_resize(to, 0);
    bytes_write(to, from->p, from->size, 0);
}

static void op_apply(struct bytes *b, const struct op *op)
{
    if (op->is_truncate)
        bytes_resize(b, op->offset);
    else
        bytes_write(b, op->data, op->size, op->offset);
}

static void op_add(struct sim_disk *d, struct inode *n, bool is_truncate, size_t offset, const void *p, size_t size)
{
    struct op *op = mem_alloc(sizeof *op + size);
    FICUS_ASSERT(op != NULL);
    *op = (struct op){.is_truncate = is_truncate, .offset = offset, .size = size};
    if (size > 0)
        memcpy(op->data, p, size);
    list_add_tail(&n->ops, &op->link);
    op_apply(&n->live, op);
    n->changed_at = ++d->change_count;
}

static void ops_apply(struct inode *n)
{
    LIST_FOREACH(&n->ops, it)
        op_apply(&n->durable, CONTAINER_OF(it, struct op, link));
}

static void ops_clear(struct inode *n)
{
    for (struct list *it; (it = list_pop_head(&n->ops)) != NULL;)
        mem_free(CONTAINER_OF(it, struct op, link));
}

/* ---- inodes and names ---- */

static struct inode *inode_new(struct sim_disk *d)
{
    struct inode *n = mem_zalloc(sizeof *n);
    FICUS_ASSERT(n != NULL);
    list_init(&n->ops);
    list_init(&n->files);
    n->changed_at = ++d->change_count;
    list_add_tail(&d->inodes, &n->link);
    return n;
}

static void inode_free(struct inode *n)
{
    for (struct list *it; (it = list_pop_head(&n->files)) != NULL;)
        mem_free(CONTAINER_OF(it, struct sim_file, link));
    ops_clear(n);
    list_remove(&n->link);
    mem_free(n->live.p);
    mem_free(n->durable.p);
    mem_free(n);
}

static void inode_free_unused(struct sim_disk *d, struct inode *n)
{
    if (n == NULL || !list_empty(&n->files))
        return;
    LIST_FOREACH(&d->entries, it) {
        const struct entry *en = CONTAINER_OF(it, struct entry, link);
        if (en->live == n || en->durable == n)
            return;
    }
    inode_free(n);
}

static struct entry *entry_look(const struct sim_disk *d, const char *path)
{
    LIST_FOREACH(&d->entries, it) {
        struct entry *en = CONTAINER_OF(it, struct entry, link);
        if (strcmp(en->path, path) == 0)
            return en;
    }
    return NULL;
}

static struct entry *entry_find(struct sim_disk *d, const char *path, bool create)
{
    struct entry *en = entry_look(d, path);
    if (en != NULL || !create)
        return en;
    en = mem_zalloc(sizeof *en);
    FICUS_ASSERT(en != NULL);
    en->path = mem_strdup(path);
    FICUS_ASSERT(en->path != NULL);
    list_add_tail(&d->entries, &en->link);
    return en;
}

static void entry_free_unused(struct entry *en)
{
    if (en->live != NULL || en->durable != NULL)
        return;
    list_remove(&en->link);
    mem_free(en->path);
    mem_free(en);
}

/* ---- life ---- */

struct sim_disk *sim_disk_new(void)
{
    struct sim_disk *d = mem_zalloc(sizeof *d);
    if (d == NULL)
        return NULL;
    list_init(&d->inodes);
    list_init(&d->entries);
    d->die_at = UINT64_MAX;
    return d;
}

void sim_disk_free(struct sim_disk *d)
{
    if (d == NULL)
        return;
    LIST_FOREACH_SAFE(&d->inodes, it, tmp)
        inode_free(CONTAINER_OF(it, struct inode, link));
    LIST_FOREACH_SAFE(&d->entries, it, tmp) {
        struct entry *en = CONTAINER_OF(it, struct entry, link);
        en->live = en->durable = NULL;
        entry_free_unused(en);
    }
    mem_free(d);
}

struct sim_disk *sim_disk_view(const struct sim_disk *d)
{
    struct sim_disk *view = sim_disk_new();
    if (view != NULL)
        view->viewed = d;
    return view;
}

uint64_t sim_disk_changed(const struct sim_disk *d, const char *path)
{
    const struct entry *en = entry_look(d, path);
    return en != NULL && en->live != NULL ? en->live->changed_at : 0;
}

static void inode_clone(struct sim_disk *to, const struct inode *n)
{
    struct inode *copy = inode_new(to);
    bytes_copy(&copy->durable, &n->durable);
    bytes_copy(&copy->live, &n->durable);
    LIST_FOREACH(&n->ops, it) {
        const struct op *op = CONTAINER_OF(it, struct op, link);
        op_add(to, copy, op->is_truncate, op->offset, op->data, op->size);
    }
}

/* The inode of `to` at the place that n has in `from`. */
static struct inode *inode_twin(struct sim_disk *to, const struct sim_disk *from, const struct inode *n)
{
    struct list *twin = to->inodes.next;
    LIST_FOREACH(&from->inodes, it) {
        if (CONTAINER_OF(it, struct inode, link) == n)
            return CONTAINER_OF(twin, struct inode, link);
        twin = twin->next;
    }
    return NULL;
}

struct sim_disk *sim_disk_clone(const struct sim_disk *d)
{
    struct sim_disk *copy = sim_disk_new();
    if (copy == NULL)
        return NULL;
    LIST_FOREACH(&d->inodes, it)
        inode_clone(copy, CONTAINER_OF(it, struct inode, link));
    LIST_FOREACH(&d->entries, it) {
        const struct entry *en = CONTAINER_OF(it, struct entry, link);
        struct entry *to = entry_find(copy, en->path, true);
        to->live = inode_twin(copy, d, en->live);
        to->durable = inode_twin(copy, d, en->durable);
    }
    return copy;
}

/* ---- crash ---- */

/* How tearing treats one crash: every sector by a coin; all up to some write and that one torn; or nearly all. */
struct tear {
    uint64_t random;
    unsigned keep_percent, part_percent;
    uint64_t ops_kept;      /* the first ones happened wholly */
};

static void tear_write(struct bytes *b, const struct op *op, struct tear *t)
{
    for (size_t at = 0; at < op->size;) {
        size_t piece = SIM_SECTOR_SIZE - (op->offset + at) % SIM_SECTOR_SIZE;
        if (piece > op->size - at)
            piece = op->size - at;
        unsigned dice = (unsigned)(sim_random(&t->random) % 100);
        if (dice < t->keep_percent)
            bytes_write(b, op->data + at, piece, op->offset + at);
        else if (dice < t->keep_percent + t->part_percent)
            bytes_write(b, op->data + at, (size_t)(sim_random(&t->random) % piece), op->offset + at);
        at += piece;
    }
}

static void inode_tear(struct inode *n, struct tear *t)
{
    LIST_FOREACH(&n->ops, it) {
        const struct op *op = CONTAINER_OF(it, struct op, link);
        if (t->ops_kept > 0) {
            t->ops_kept--;
            op_apply(&n->durable, op);
        } else if (!op->is_truncate) {
            tear_write(&n->durable, op, t);
        } else if (sim_random(&t->random) % 2 == 0) {
            op_apply(&n->durable, op);
        }
    }
}

/* Where nothing waits for a sync the live bytes are the durable ones. */
static void inode_crash(struct sim_disk *d, struct inode *n, enum sim_crash mode, struct tear *t)
{
    if (list_empty(&n->ops))
        return;
    if (mode == SIM_CRASH_KEEP)
        ops_apply(n);
    else if (mode == SIM_CRASH_TEAR)
        inode_tear(n, t);
    ops_clear(n);
    if (mode != SIM_CRASH_KEEP)
        bytes_copy(&n->live, &n->durable);
    n->changed_at = ++d->change_count;
}

void sim_disk_crash(struct sim_disk *d, enum sim_crash mode, uint64_t seed)
{
    struct tear t = {.random = seed, .keep_percent = 45, .part_percent = 10};
    uint64_t profile = sim_random(&t.random) % 3;
    if (profile == 1)
        t.ops_kept = sim_random(&t.random) % 16;
    else if (profile == 2)
        t.keep_percent = 92, t.part_percent = 4;
    /* one coin for all names: a rename is never half */
    bool names_live = mode == SIM_CRASH_KEEP || (mode == SIM_CRASH_TEAR && sim_random(&t.random) % 2 == 0);
    LIST_FOREACH_SAFE(&d->entries, it, tmp) {
        struct entry *en = CONTAINER_OF(it, struct entry, link);
        if (names_live)
            en->durable = en->live;
        else
            en->live = en->durable;
        entry_free_unused(en);
    }
    LIST_FOREACH(&d->inodes, it)
        inode_crash(d, CONTAINER_OF(it, struct inode, link), mode, &t);
    LIST_FOREACH_SAFE(&d->inodes, it, tmp)
        inode_free_unused(d, CONTAINER_OF(it, struct inode, link));
    d->generation++;
    d->dead = false;
    d->die_at = UINT64_MAX;
    d->fail_from = d->fail_to = 0;
}

/* ---- faults ---- */

uint64_t sim_disk_op_count(const struct sim_disk *d)
{
    return d->op_count;
}

uint64_t sim_disk_sync_count(const struct sim_disk *d)
{
    return d->sync_count;
}

void sim_disk_die_after(struct sim_disk *d, uint64_t op_count)
{
    d->die_at = d->op_count + op_count;
    d->dead = op_count == 0;
}

bool sim_disk_dead(const struct sim_disk *d)
{
    return d->dead;
}

void sim_disk_fail(struct sim_disk *d, uint64_t first, uint64_t count, enum ficus_err err)
{
    d->fail_from = d->op_count + first;
    d->fail_to = d->fail_from + count;
    d->fail_err = err;
}

void sim_disk_size_max(struct sim_disk *d, uint64_t size_max)
{
    d->size_max = size_max;
}

/* Asked by every changing operation before it happens. */
static enum ficus_err disk_op(struct sim_disk *d)
{
    if (d->dead)
        return FICUS_ERR_IO;
    uint64_t op = d->op_count++;
    if (op >= d->fail_from && op < d->fail_to)
        return d->fail_err;
    if (d->op_count >= d->die_at)
        d->dead = true;     /* this one still happens */
    return FICUS_ERR_OK;
}

static enum ficus_err file_op(struct sim_file *f)
{
    if (f->generation != f->disk->generation)
        return FICUS_ERR_IO;
    if (f->read_only)
        return FICUS_ERR_READ_ONLY;
    return disk_op(f->disk);
}

static bool over_size(const struct sim_disk *d, const struct sim_file *f, size_t size_new)
{
    if (d->size_max == 0 || size_new <= f->inode->live.size)
        return false;
    uint64_t total = size_new - f->inode->live.size;
    LIST_FOREACH(&d->inodes, it)
        total += CONTAINER_OF(it, struct inode, link)->live.size;
    return total > d->size_max;
}

/* ---- operations ---- */

enum ficus_err sim_disk_open(struct sim_disk *d, const char *path, unsigned flags, struct sim_file **ret_file)
{
    if (d->dead)
        return FICUS_ERR_IO;
    struct entry *en = entry_find(d, path, false);
    bool there = en != NULL && en->live != NULL;
    if (there && (flags & ENV_OPEN_EXCLUSIVE) != 0)
        return FICUS_ERR_EXISTS;
    if (!there) {
        bool in_view = d->viewed != NULL && sim_disk_exists(d, path);
        if ((flags & ENV_OPEN_CREATE) == 0 && !in_view)
            return FICUS_ERR_NOT_FOUND;
        enum ficus_err err = disk_op(d);
        if (err != FICUS_ERR_OK)
            return err;
        en = entry_find(d, path, true);
        en->live = inode_new(d);
    }
    struct sim_file *f = mem_zalloc(sizeof *f);
    FICUS_ASSERT(f != NULL);
    *f = (struct sim_file){.disk = d, .inode = en->live, .generation = d->generation,
        .read_only = d->viewed != NULL || (flags & ENV_OPEN_READ_ONLY) != 0,
        .viewed = d->viewed == NULL ? NULL : en->path};
    list_add_tail(&en->live->files, &f->link);
    *ret_file = f;
    return FICUS_ERR_OK;
}

void sim_file_close(struct sim_file *f)
{
    struct sim_disk *d = f->disk;
    struct inode *n = f->inode;
    list_remove(&f->link);
    mem_free(f);
    inode_free_unused(d, n);
}

/* What a reader finds in the file now. A view's is whatever has its name on the other disk. */
static const struct bytes *file_bytes(const struct sim_file *f)
{
    static const struct bytes nothing;
    if (f->viewed == NULL)
        return &f->inode->live;
    const struct entry *en = entry_look(f->disk->viewed, f->viewed);
    return en == NULL || en->live == NULL ? &nothing : &en->live->live;
}

ssize_t sim_file_read(struct sim_file *f, void *p, size_t size, int64_t offset)
{
    const struct bytes *b = file_bytes(f);
    if (f->disk->dead || f->generation != f->disk->generation)
        return -(ssize_t)FICUS_ERR_IO;
    if ((uint64_t)offset >= b->size)
        return 0;
    size_t n = b->size - (size_t)offset < size ? b->size - (size_t)offset : size;
    memcpy(p, b->p + offset, n);
    return (ssize_t)n;
}

enum ficus_err sim_file_write(struct sim_file *f, const void *p, size_t size, int64_t offset)
{
    if (over_size(f->disk, f, (size_t)offset + size))
        return FICUS_ERR_FULL;
    enum ficus_err err = file_op(f);
    if (err == FICUS_ERR_OK)
        op_add(f->disk, f->inode, false, (size_t)offset, p, size);
    return err;
}

enum ficus_err sim_file_truncate(struct sim_file *f, int64_t size)
{
    if (over_size(f->disk, f, (size_t)size))
        return FICUS_ERR_FULL;
    enum ficus_err err = file_op(f);
    if (err == FICUS_ERR_OK)
        op_add(f->disk, f->inode, true, (size_t)size, NULL, 0);
    return err;
}

enum ficus_err sim_file_sync(struct sim_file *f)
{
    enum ficus_err err = file_op(f);
    if (err != FICUS_ERR_OK)
        return err;
    ops_apply(f->inode);
    ops_clear(f->inode);
    f->disk->sync_count++;
    return FICUS_ERR_OK;
}

enum ficus_err sim_file_size(struct sim_file *f, int64_t *ret_size)
{
    if (f->disk->dead || f->generation != f->disk->generation)
        return FICUS_ERR_IO;
    *ret_size = (int64_t)file_bytes(f)->size;
    return FICUS_ERR_OK;
}

enum ficus_err sim_file_lock(struct sim_file *f, int64_t offset, int64_t size)
{
    if (f->disk->dead || f->generation != f->disk->generation)
        return FICUS_ERR_IO;
    LIST_FOREACH(&f->inode->files, it) {
        const struct sim_file *other = CONTAINER_OF(it, struct sim_file, link);
        bool holds = other != f && other->generation == f->generation && other->lock_size > 0;
        if (holds && other->lock_offset < offset + size && offset < other->lock_offset + other->lock_size)
            return FICUS_ERR_BUSY;
    }
    f->lock_offset = offset;
    f->lock_size = size;
    return FICUS_ERR_OK;
}

bool sim_disk_exists(struct sim_disk *d, const char *path)
{
    const struct entry *en = entry_look(d->viewed == NULL ? d : d->viewed, path);
    return en != NULL && en->live != NULL;
}

bool sim_file_in_place(const struct sim_file *f, const char *path)
{
    const struct entry *en = entry_find(f->disk, path, false);
    return en != NULL && en->live == f->inode;
}

enum ficus_err sim_disk_unlink(struct sim_disk *d, const char *path)
{
    if (!d->dead && !sim_disk_exists(d, path))
        return FICUS_ERR_NOT_FOUND;
    enum ficus_err err = d->viewed != NULL ? FICUS_ERR_READ_ONLY : disk_op(d);
    if (err != FICUS_ERR_OK)
        return err;
    struct entry *en = entry_find(d, path, false);
    struct inode *n = en->live;
    en->live = NULL;
    entry_free_unused(en);
    inode_free_unused(d, n);
    return FICUS_ERR_OK;
}

enum ficus_err sim_disk_rename(struct sim_disk *d, const char *from, const char *to)
{
    if (!d->dead && !sim_disk_exists(d, from))
        return FICUS_ERR_NOT_FOUND;
    enum ficus_err err = d->viewed != NULL ? FICUS_ERR_READ_ONLY : disk_op(d);
    if (err != FICUS_ERR_OK)
        return err;
    struct entry *source = entry_find(d, from, false);
    struct entry *target = entry_find(d, to, true);
    struct inode *replaced = target->live;
    target->live = source->live;
    source->live = NULL;
    entry_free_unused(source);
    inode_free_unused(d, replaced);
    return FICUS_ERR_OK;
}

static struct slice folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slice_make(path, slash == NULL ? 0 : (size_t)(slash - path));
}

enum ficus_err sim_disk_dir_sync(struct sim_disk *d, const char *path_in_dir)
{
    enum ficus_err err = disk_op(d);
    if (err != FICUS_ERR_OK)
        return err;
    LIST_FOREACH_SAFE(&d->entries, it, tmp) {
        struct entry *en = CONTAINER_OF(it, struct entry, link);
        if (!slice_eq(folder(en->path), folder(path_in_dir)) || en->durable == en->live)
            continue;
        struct inode *n = en->durable;
        en->durable = en->live;
        entry_free_unused(en);
        inode_free_unused(d, n);
    }
    return FICUS_ERR_OK;
}
