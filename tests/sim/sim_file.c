/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of a simulated process, on its disk. A sync takes time, in which others run; an operation after which the disk
 * is dead never returns: the process died in it. (A gentle world is another matter: sim_set_gentle.)
 */
#include "sim_private.h"

#include "assert.h"
#include "mem.h"

struct env_file {
    struct sim_process *process;
    struct sim_file *file;
};

static struct sim_disk *disk_of(struct env *e)
{
    return ((struct sim_process *)e)->disk;
}

/* Every operation that may matter to another passes here on its way in. */
static void before(struct sim_process *p)
{
    if (p->world->gentle && sim_draw_below(p->world, 2) == 0)
        sim_yield(p->world);
}

/* Every one that changes the disk passes here on its way out. */
static void after(struct env *e)
{
    sim_check_alive((struct sim_process *)e);
}

enum ficus_err sim_env_file_open(struct env *e, const char *path, unsigned flags, struct env_file **ret_file,
                                 struct ficus_error *reterr)
{
    before((struct sim_process *)e);
    struct sim_file *file = NULL;
    enum ficus_err err = sim_disk_open(disk_of(e), path, flags, &file);
    after(e);
    if (err != FICUS_ERR_OK)
        return err_set(reterr, err, "%s: %s", path, err_text(err));
    struct env_file *f = mem_zalloc(sizeof *f);
    FICUS_ASSERT(f != NULL);
    *f = (struct env_file){(struct sim_process *)e, file};
    *ret_file = f;
    return FICUS_ERR_OK;
}

void sim_env_file_close(struct env_file *f)
{
    sim_file_close(f->file);
    mem_free(f);
}

ssize_t sim_env_file_read(struct env_file *f, void *p, size_t size, int64_t offset)
{
    before(f->process);
    return sim_file_read(f->file, p, size, offset);
}

enum ficus_err sim_env_file_write(struct env_file *f, const void *p, size_t size, int64_t offset)
{
    before(f->process);
    enum ficus_err err = sim_file_write(f->file, p, size, offset);
    after(&f->process->env);
    return err;
}

enum ficus_err sim_env_file_truncate(struct env_file *f, int64_t size)
{
    before(f->process);
    enum ficus_err err = sim_file_truncate(f->file, size);
    after(&f->process->env);
    return err;
}

/* How long the disk takes; others run meanwhile. */
static void sync_delay(struct sim *w)
{
    if (w->gentle)
        return;
    sim_sleep(w, (int64_t)(10000 + sim_draw_below(w, sim_draw_below(w, 20) == 0 ? 30000000 : 500000)));
    if (w->disk_stall_rate > 0 && sim_draw_below(w, 10000) < w->disk_stall_rate)
        sim_sleep(w, (int64_t)sim_draw_below(w, (uint64_t)w->disk_stall_ms_max * 1000000));
}

enum ficus_err sim_env_file_sync(struct env_file *f)
{
    before(f->process);
    sync_delay(f->process->world);
    enum ficus_err err = sim_file_sync(f->file);
    after(&f->process->env);
    before(f->process);     /* what is safe now is not yet known to be */
    return err;
}

enum ficus_err sim_env_file_size(struct env_file *f, int64_t *ret_size)
{
    return sim_file_size(f->file, ret_size);
}

enum ficus_err sim_env_file_lock(struct env_file *f, int64_t offset, int64_t size)
{
    return sim_file_lock(f->file, offset, size);
}

enum ficus_err sim_env_file_unlink(struct env *e, const char *path)
{
    enum ficus_err err = sim_disk_unlink(disk_of(e), path);
    after(e);
    return err;
}

enum ficus_err sim_env_file_rename(struct env *e, const char *from, const char *to)
{
    enum ficus_err err = sim_disk_rename(disk_of(e), from, to);
    after(e);
    return err;
}

enum ficus_err sim_env_file_exists(struct env *e, const char *path, bool *ret_exists)
{
    *ret_exists = sim_disk_exists(disk_of(e), path);
    return FICUS_ERR_OK;
}

enum ficus_err sim_env_file_in_place(struct env *e, struct env_file *f, const char *path, bool *ret_in_place)
{
    *ret_in_place = sim_file_in_place(f->file, path);
    return FICUS_ERR_OK;
}

enum ficus_err sim_env_dir_sync(struct env *e, const char *path_in_dir)
{
    before((struct sim_process *)e);
    enum ficus_err err = sim_disk_dir_sync(disk_of(e), path_in_dir);
    after(e);
    return err;
}
