/* SPDX-License-Identifier: Apache-2.0
 *
 * See io_crash.h. A batch is the round in which it began (upper half) and its number in it; 0: none is under way. One that began
 * in an earlier round, or while nothing was counted, is none of this round's: its end is not counted either.
 */
#include "io_crash.h"

#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_PREFIX "name of "

struct crash {
    struct crash_page *page;
    pthread_mutex_t mutex; /* guards the adding of files */
};

/* ---- the tester's side ---- */

static enum ficus_err map(int fd, const char *path, struct crash_page **ret_page, struct ficus_error *reterr)
{
    struct stat st;
    void *p = MAP_FAILED;
    if (fstat(fd, &st) == 0 && st.st_size >= (off_t)sizeof(struct crash_page))
        p = mmap(NULL, sizeof(struct crash_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    else
        return err_set(reterr, FICUS_ERR_VERSION, "%s: is no page of ficus test", path);
    if (p == MAP_FAILED)
        return err_sys(reterr, errno, "map %s", path);
    *ret_page = p;
    return FICUS_ERR_OK;
}

enum ficus_err crash_page_new(const char *path, struct crash_page **ret_page, struct ficus_error *reterr)
{
    (void)unlink(path); /* a process of before may have it mapped, and keeps it */
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(reterr, errno, "make %s", path);
    int error = posix_fallocate(fd, 0, sizeof(struct crash_page)); /* a page that is not there would be a SIGBUS later */
    enum ficus_err err = error != 0 ? err_sys(reterr, error, "make %s", path) : map(fd, path, ret_page, reterr);
    close(fd);
    if (err == FICUS_ERR_OK) {
        (*ret_page)->magic = CRASH_MAGIC;
        (*ret_page)->version = CRASH_VERSION;
    }
    return err;
}

enum ficus_err crash_page_open(const char *path, struct crash_page **ret_page, struct ficus_error *reterr)
{
    struct crash_page *p;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return err_sys(reterr, errno, "open %s", path);
    enum ficus_err err = map(fd, path, &p, reterr);
    close(fd);
    if (err != FICUS_ERR_OK)
        return err;
    if (p->magic != CRASH_MAGIC || p->version != CRASH_VERSION) {
        crash_page_close(p);
        return err_set(reterr, FICUS_ERR_VERSION, "%s: is no page of this version's ficus test", path);
    }
    *ret_page = p;
    return FICUS_ERR_OK;
}

void crash_page_close(struct crash_page *p)
{
    if (p != NULL)
        (void)munmap(p, sizeof *p);
}

void crash_page_arm(struct crash_page *p, const char *file, uint32_t number, enum crash_side side)
{
    atomic_store(&p->mode, CRASH_OFF);
    unsigned count = atomic_load(&p->file_count);
    for (unsigned i = 0; i < CRASH_FILES_MAX && i < count; i++) {
        atomic_store(&p->files[i].begun, 0);
        atomic_store(&p->files[i].done, 0);
    }
    atomic_store(&p->died, 0);
    atomic_fetch_add(&p->round, 1);
    (void)snprintf(p->name, sizeof p->name, "%s", file == NULL ? "" : file);
    p->number = number;
    p->side = side;
    atomic_store(&p->mode, file == NULL ? CRASH_COUNT : CRASH_KILL); /* publishes what was written before it */
}

void crash_page_disarm(struct crash_page *p)
{
    atomic_store(&p->mode, CRASH_OFF);
}

/* ---- the process's side ---- */

enum ficus_err crash_new(struct crash **ret_crash, struct ficus_error *reterr)
{
    const char *path = getenv("FICUS_CRASH");
    *ret_crash = NULL;
    if (path == NULL || path[0] == '\0')
        return FICUS_ERR_OK;
    struct crash *c = mem_zalloc(sizeof *c);
    if (c == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    enum ficus_err err = crash_page_open(path, &c->page, reterr);
    if (err != FICUS_ERR_OK) {
        mem_free(c);
        return err_wrap(reterr, "FICUS_CRASH");
    }
    pthread_mutex_init(&c->mutex, NULL);
    *ret_crash = c;
    return FICUS_ERR_OK;
}

void crash_free(struct crash *c)
{
    if (c == NULL)
        return;
    crash_page_close(c->page);
    pthread_mutex_destroy(&c->mutex);
    mem_free(c);
}

static int find_or_add(struct crash_page *p, const char *name)
{
    unsigned count = atomic_load(&p->file_count);
    for (unsigned i = 0; i < count; i++)
        if (strcmp(p->files[i].name, name) == 0)
            return (int)i;
    if (count == CRASH_FILES_MAX) {
        atomic_store(&p->file_lacked, 1);
        return -1;
    }
    (void)snprintf(p->files[count].name, sizeof p->files[count].name, "%s", name);
    atomic_store(&p->files[count].begun, 0);
    atomic_store(&p->files[count].done, 0);
    atomic_store(&p->file_count, count + 1); /* a process that dies before this has added nothing */
    return (int)count;
}

int crash_file(struct crash *c, const char *path, bool is_name)
{
    char name[CRASH_NAME_SIZE];
    const char *slash = strrchr(path, '/');
    (void)snprintf(name, sizeof name, "%s%s", is_name ? NAME_PREFIX : "", slash == NULL ? path : slash + 1);
    pthread_mutex_lock(&c->mutex);
    int file = find_or_add(c->page, name);
    pthread_mutex_unlock(&c->mutex);
    return file;
}

static _Noreturn void die(struct crash_page *p)
{
    atomic_store(&p->mode, CRASH_OFF);
    atomic_store(&p->died, 1);
    (void)kill(getpid(), SIGKILL);
    for (;;) /* the other threads end as little as this one comes back */
        (void)pause();
}

static bool aimed(const struct crash_page *p, int file, uint32_t number, enum crash_side side)
{
    return atomic_load(&p->mode) == CRASH_KILL && p->number == number && p->side == (uint32_t)side &&
           strcmp(p->name, p->files[file].name) == 0;
}

void crash_begin(struct crash *c, int file, atomic_ullong *batch)
{
    struct crash_page *p = c->page;
    uint64_t round = atomic_load(&p->round);
    uint64_t known = atomic_load(batch);
    if (file < 0 || atomic_load(&p->mode) == CRASH_OFF) {
        if (known == 0)
            atomic_fetch_add(&p->moves, 1);
        return;
    }
    if (known >> 32 == round)
        return;
    atomic_fetch_add(&p->moves, 1);
    uint32_t number = atomic_fetch_add(&p->files[file].begun, 1) + 1;
    atomic_store(batch, round << 32 | number);
    if (aimed(p, file, number, CRASH_BEFORE))
        die(p);
}

void crash_end(struct crash *c, int file, atomic_ullong *batch)
{
    struct crash_page *p = c->page;
    uint64_t known = atomic_exchange(batch, 0);
    atomic_fetch_add(&p->moves, 1);
    if (file < 0 || known >> 32 != atomic_load(&p->round) || atomic_load(&p->mode) == CRASH_OFF)
        return;
    atomic_fetch_add(&p->files[file].done, 1);
    if (aimed(p, file, (uint32_t)known, CRASH_AFTER))
        die(p);
}
