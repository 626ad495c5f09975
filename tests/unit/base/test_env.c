/* SPDX-License-Identifier: Apache-2.0
 *
 * The timer heap, and small files over a table of effects that fails on demand.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "arena.h"
#include "mem.h"
#include "timers.h"

#include <stdio.h>
#include <string.h>

/* ---- timers ---- */

enum { TIMERS = 200 };

struct wheel {
    struct timers timers;
    struct env_timer timer[TIMERS];
    int64_t expected[TIMERS];   /* INT64_MAX: not armed */
    int64_t last_due;
    size_t fired;
};

struct wheel_timer {
    struct wheel *wheel;
    size_t i;
};

static void on_fire(void *arg)
{
    struct wheel_timer *t = arg;
    struct wheel *w = t->wheel;
    assert_true(w->expected[t->i] != INT64_MAX);
    assert_true(w->expected[t->i] >= w->last_due);
    assert_false(env_timer_armed(&w->timer[t->i]));
    w->last_due = w->expected[t->i];
    w->expected[t->i] = INT64_MAX;
    w->fired++;
}

/* Through random arming, re-arming and disarming, exactly the due timers fire, in order of their time. */
static void test_timers_order(void **state)
{
    struct wheel w = {0};
    struct wheel_timer args[TIMERS];
    timers_init(&w.timers);
    for (size_t i = 0; i < TIMERS; i++) {
        args[i] = (struct wheel_timer){&w, i};
        w.timer[i] = (struct env_timer){.fn = on_fire, .arg = &args[i]};
        w.expected[i] = INT64_MAX;
    }
    uint32_t random = 7;
    int64_t now = 0;
    for (int round = 0; round < 500; round++) {
        for (int step = 0; step < 40; step++) {
            random = random * 1664525 + 1013904223;
            size_t i = (random >> 8) % TIMERS;
            if (random >> 30 == 0) {
                timers_remove(&w.timers, &w.timer[i]);
                w.expected[i] = INT64_MAX;
            } else if (random >> 30 == 1) {
                w.expected[i] = now;
                assert_true(timers_add_soon(&w.timers, &w.timer[i], now));
            } else {
                w.expected[i] = now + (random >> 16) % 50;
                assert_true(timers_add(&w.timers, &w.timer[i], w.expected[i]));
            }
        }
        int64_t next = INT64_MAX;
        size_t due = 0;
        now += 5;
        for (size_t i = 0; i < TIMERS; i++) {
            next = w.expected[i] < next ? w.expected[i] : next;
            due += w.expected[i] <= now;
        }
        assert_true(timers_next_due_ns(&w.timers) == next);
        w.last_due = INT64_MIN;
        w.fired = 0;
        assert_int_equal(timers_fire(&w.timers, now), due);
        assert_int_equal(w.fired, due);
    }
    timers_done(&w.timers);
    for (size_t i = 0; i < TIMERS; i++)
        assert_false(env_timer_armed(&w.timer[i]));
}

struct named {
    struct env_timer timer;
    char name;
    char *fired;
};

static void fire_named(void *arg)
{
    struct named *n = arg;
    n->fired[strlen(n->fired)] = n->name;
}

/* Due at the same time they fire in the order of arming, whether they were due at once or waited; hundreds as well. */
static void test_timers_soon(void **state)
{
    struct timers t;
    struct named n[300];
    char fired[ARRAY_COUNT(n) + 1] = "", wanted[ARRAY_COUNT(n) + 1] = "";
    timers_init(&t);
    for (size_t i = 0; i < ARRAY_COUNT(n); i++) {
        n[i] = (struct named){.name = (char)('a' + i % 26), .fired = fired};
        n[i].timer = (struct env_timer){.fn = fire_named, .arg = &n[i]};
        assert_true(i % 3 == 0 ? timers_add(&t, &n[i].timer, 7) : timers_add_soon(&t, &n[i].timer, 7));
    }
    for (size_t i = 0; i < ARRAY_COUNT(n); i++) {
        if (i % 7 < 2)
            timers_remove(&t, &n[i].timer);
        else
            wanted[strlen(wanted)] = n[i].name;
    }
    timers_remove(&t, &n[299].timer);
    wanted[strlen(wanted) - 1] = '\0';
    assert_true(timers_next_due_ns(&t) == 7);
    assert_int_equal(timers_fire(&t, 6), 0);
    assert_int_equal(timers_fire(&t, 7), strlen(wanted));
    assert_string_equal(fired, wanted);
    assert_true(timers_next_due_ns(&t) == INT64_MAX);
    timers_done(&t);
}

struct chain {
    struct timers timers;
    struct env_timer again, other;
    int again_count, other_count;
};

static void fire_again(void *arg)
{
    struct chain *c = arg;
    c->again_count++;
    assert_true(timers_add(&c->timers, &c->again, 0));
}

static void fire_other(void *arg)
{
    ((struct chain *)arg)->other_count++;
}

/* A timer that re-arms itself for the past fires once a call and does not keep others that are due from firing. */
static void test_timers_again(void **state)
{
    struct chain c = {0};
    timers_init(&c.timers);
    c.again = (struct env_timer){.fn = fire_again, .arg = &c};
    c.other = (struct env_timer){.fn = fire_other, .arg = &c};
    assert_true(timers_add(&c.timers, &c.again, 1));
    assert_true(timers_add(&c.timers, &c.other, 5));
    assert_int_equal(timers_fire(&c.timers, 10), 2);
    assert_int_equal(c.again_count, 1);
    assert_int_equal(c.other_count, 1);
    assert_int_equal(timers_fire(&c.timers, 10), 1);
    timers_done(&c.timers);
}

/* ---- files ---- */

enum { DISK_FILES = 4, DISK_SIZE = 256 };

struct disk {
    struct env env;
    struct env_file {
        struct disk *disk;
        char name[32];
        char bytes[DISK_SIZE];
        size_t size;
        bool there, synced;
    } files[DISK_FILES];
    int calls_left;     /* the call at 0 fails */
    int open_count, dir_syncs;
};

static bool fails(struct disk *d)
{
    return d->calls_left-- == 0;
}

static struct env_file *lookup(struct disk *d, const char *path)
{
    for (size_t i = 0; i < DISK_FILES; i++)
        if (d->files[i].there && strcmp(d->files[i].name, path) == 0)
            return &d->files[i];
    return NULL;
}

static enum ficus_err disk_open(struct env *e, const char *path, unsigned flags, struct env_file **ret_file, struct ficus_error *reterr)
{
    struct disk *d = (struct disk *)e;
    if (fails(d))
        return err_set(reterr, FICUS_ERR_IO, "%s: broken", path);
    struct env_file *f = lookup(d, path);
    for (size_t i = 0; f == NULL && (flags & ENV_OPEN_CREATE) && i < DISK_FILES; i++) {
        if (!d->files[i].there) {
            f = &d->files[i];
            *f = (struct env_file){.disk = d, .there = true};
            (void)snprintf(f->name, sizeof f->name, "%s", path);
        }
    }
    if (f == NULL)
        return err_set(reterr, FICUS_ERR_NOT_FOUND, "%s: not there", path);
    d->open_count++;
    *ret_file = f;
    return FICUS_ERR_OK;
}

static void disk_close(struct env_file *f)
{
    f->disk->open_count--;
}

static ssize_t disk_read(struct env_file *f, void *p, size_t size, int64_t offset)
{
    if (fails(f->disk))
        return -(ssize_t)FICUS_ERR_IO;
    size_t n = f->size - (size_t)offset < size ? f->size - (size_t)offset : size;
    memcpy(p, f->bytes + offset, n);
    return (ssize_t)n;
}

static enum ficus_err disk_write(struct env_file *f, const void *p, size_t size, int64_t offset)
{
    if (fails(f->disk))
        return FICUS_ERR_FULL;
    memcpy(f->bytes + offset, p, size);
    if ((size_t)offset + size > f->size)
        f->size = (size_t)offset + size;
    f->synced = false;
    return FICUS_ERR_OK;
}

static enum ficus_err disk_truncate(struct env_file *f, int64_t size)
{
    if (fails(f->disk))
        return FICUS_ERR_IO;
    f->size = (size_t)size;
    return FICUS_ERR_OK;
}

static enum ficus_err disk_sync(struct env_file *f)
{
    if (fails(f->disk))
        return FICUS_ERR_IO;
    f->synced = true;
    return FICUS_ERR_OK;
}

static enum ficus_err disk_size(struct env_file *f, int64_t *ret_size)
{
    if (fails(f->disk))
        return FICUS_ERR_IO;
    *ret_size = (int64_t)f->size;
    return FICUS_ERR_OK;
}

static enum ficus_err disk_unlink(struct env *e, const char *path)
{
    struct env_file *f = lookup((struct disk *)e, path);
    if (f == NULL)
        return FICUS_ERR_NOT_FOUND;
    f->there = false;
    return FICUS_ERR_OK;
}

static enum ficus_err disk_rename(struct env *e, const char *from, const char *to)
{
    struct disk *d = (struct disk *)e;
    if (fails(d))
        return FICUS_ERR_IO;
    struct env_file *f = lookup(d, from);
    assert_non_null(f);
    assert_true(f->synced);     /* a rename of what may be lost would replace good by bad */
    (void)disk_unlink(e, to);
    (void)snprintf(f->name, sizeof f->name, "%s", to);
    return FICUS_ERR_OK;
}

static enum ficus_err disk_dir_sync(struct env *e, const char *path)
{
    struct disk *d = (struct disk *)e;
    if (fails(d))
        return FICUS_ERR_IO;
    d->dir_syncs++;
    return FICUS_ERR_OK;
}

static const struct env_ops disk_ops = {
    .file_open = disk_open, .file_close = disk_close, .file_read = disk_read, .file_write = disk_write, .file_truncate = disk_truncate,
    .file_sync = disk_sync, .file_size = disk_size, .file_unlink = disk_unlink, .file_rename = disk_rename, .dir_sync = disk_dir_sync,
};

/* A stored file is the old or the new one, whichever call fails, and no handle and no temporary file is left. */
static void test_file_store(void **state)
{
    bool succeeded = false;
    for (int n = 0; n < 20 && !succeeded; n++) {
        struct disk d = {.env = {&disk_ops}, .calls_left = -1};
        struct ficus_error err = {0};
        assert_int_equal(env_file_store(&d.env, "f", SLICE("the old and longer text"), &err), FICUS_ERR_OK);
        d.calls_left = n;
        enum ficus_err code = env_file_store(&d.env, "f", SLICE("new"), &err);
        succeeded = code == FICUS_ERR_OK;
        d.calls_left = -1;
        struct arena a;
        struct slice text;
        arena_init(&a, 1000);
        assert_int_equal(env_file_load(&d.env, &a, "f", 100, &text, &err), FICUS_ERR_OK);
        assert_true(slice_eq_str(text, "new") || (!succeeded && slice_eq_str(text, "the old and longer text")));
        if (succeeded)
            assert_int_equal(d.dir_syncs, 2);
        else
            assert_int_equal(err.code, code);
        assert_int_equal(d.open_count, 0);
        assert_null(lookup(&d, "f.tmp"));
        arena_done(&a);
    }
    assert_true(succeeded);
}

/* Loading refuses what is missing, too large or broken, and closes the file each time. */
static void test_file_load(void **state)
{
    struct disk d = {.env = {&disk_ops}, .calls_left = -1};
    struct ficus_error err = {0};
    struct arena a;
    struct slice text;
    arena_init(&a, 1000);
    assert_int_equal(env_file_load(&d.env, &a, "x", 100, &text, &err), FICUS_ERR_NOT_FOUND);
    assert_int_equal(env_file_store(&d.env, "x", SLICE("12345"), &err), FICUS_ERR_OK);
    assert_int_equal(env_file_load(&d.env, &a, "x", 4, &text, &err), FICUS_ERR_TOO_LARGE);
    assert_int_equal(env_file_load(&d.env, &a, "x", 5, &text, &err), FICUS_ERR_OK);
    assert_string_equal(text.p, "12345");
    for (int n = 0; n < 3; n++) {
        d.calls_left = n;
        assert_int_equal(env_file_load(&d.env, &a, "x", 5, &text, &err), FICUS_ERR_IO);
        assert_int_equal(d.open_count, 0);
    }
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers_order), cmocka_unit_test(test_timers_soon), cmocka_unit_test(test_timers_again), cmocka_unit_test(test_file_store),
        cmocka_unit_test(test_file_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
