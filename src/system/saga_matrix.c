/* SPDX-License-Identifier: Apache-2.0
 *
 * See saga_matrix.h.
 */
#include "saga_matrix.h"

#include "assert.h"

#include <stdio.h>

enum { NUMBER_MAX = 100000, COLUMN_NUMBERS_MAX = 12 };

static const char *const sides[] = {[CRASH_BEFORE] = "before", [CRASH_AFTER] = "after"};

void matrix_init(struct matrix *m, struct arena *a)
{
    *m = (struct matrix){.arena = a};
}

/* ---- what runs write ---- */

static struct matrix_file *find(const struct matrix *m, const char *process, const char *file)
{
    struct matrix_file *f = m->files;
    while (f != NULL && (strcmp(f->process, process) != 0 || strcmp(f->name, file) != 0))
        f = f->next;
    return f;
}

bool matrix_seen(struct matrix *m, const char *process, const char *file, uint32_t count)
{
    struct matrix_file *f = find(m, process, file);
    FICUS_ASSERT(count > 0);
    if (f == NULL) {
        f = ARENA_NEW(m->arena, struct matrix_file);
        if (f == NULL)
            return false;
        *f = (struct matrix_file){.process = arena_strdup(m->arena, slice_str(process)),
                                  .name = arena_strdup(m->arena, slice_str(file)),
                                  .min = count,
                                  .max = count};
        if (f->process == NULL || f->name == NULL)
            return false;
        if (m->last_file == NULL)
            m->files = f;
        else
            m->last_file->next = f;
        m->last_file = f;
    }
    if (m->plain_runs < MATRIX_PLAIN_RUNS)
        f->run_count++;
    f->min = count < f->min ? count : f->min;
    f->max = count > f->max ? count : f->max;
    return true;
}

void matrix_plain_end(struct matrix *m)
{
    FICUS_ASSERT(m->plain_runs < MATRIX_PLAIN_RUNS);
    m->plain_runs++;
}

static bool file_is_aimed(const struct matrix_file *f)
{
    return f->run_count == MATRIX_PLAIN_RUNS;
}

bool matrix_is_aimed(const struct matrix *m, const char *process, const char *file)
{
    const struct matrix_file *f = find(m, process, file);
    return f != NULL && file_is_aimed(f);
}

/* ---- the enumeration ---- */

static void file_begin(struct matrix *m, struct matrix_file *f)
{
    m->file = f;
    m->number = f == NULL ? 1 : f->through + 1;
    m->side = CRASH_BEFORE;
    m->tries = 0;
}

static bool is_wanted(const struct matrix_file *f, const char *process)
{
    return file_is_aimed(f) && (process == NULL || strcmp(f->process, process) == 0);
}

bool matrix_next(struct matrix *m, const char *process, struct matrix_aim *ret_aim)
{
    FICUS_ASSERT(m->plain_runs == MATRIX_PLAIN_RUNS);
    if (!m->begun)
        file_begin(m, m->files);
    m->begun = true;
    while (m->file != NULL && !is_wanted(m->file, process))
        file_begin(m, m->file->next);
    for (struct matrix_file *f = m->files; f != NULL && m->file == NULL && !m->only; f = f->next)
        if (is_wanted(f, process) && f->through < f->max)
            file_begin(m, f); /* a later run wrote it more often */
    if (m->file == NULL)
        return false;
    *ret_aim = (struct matrix_aim){m->file->process, m->file->name, m->number, m->side};
    return true;
}

bool matrix_only(struct matrix *m, const struct matrix_aim *aim)
{
    struct matrix_file *f = find(m, aim->process, aim->file);
    FICUS_ASSERT(!m->begun);
    if (f == NULL || !file_is_aimed(f))
        return false;
    file_begin(m, f);
    m->number = aim->number;
    m->side = aim->side;
    m->begun = m->only = true;
    return true;
}

static void go_on(struct matrix *m)
{
    m->tries = 0;
    if (m->only) {
        m->file = NULL;
        return;
    }
    if (m->side == CRASH_AFTER)
        m->file->through = m->number++;
    m->side = m->side == CRASH_AFTER ? CRASH_BEFORE : CRASH_AFTER;
}

static bool add_cell(struct matrix *m, enum matrix_verdict verdict, const char *text, const struct matrix_cell **ret_cell)
{
    struct matrix_cell *c = ARENA_NEW(m->arena, struct matrix_cell);
    if (c == NULL)
        return false;
    *c = (struct matrix_cell){.aim = {m->file->process, m->file->name, m->number, m->side},
                              .verdict = verdict,
                              .text = text == NULL ? NULL : arena_strdup(m->arena, slice_str(text))};
    if (text != NULL && c->text == NULL)
        return false;
    if (m->last_cell == NULL)
        m->cells = c;
    else
        m->last_cell->next = c;
    m->last_cell = c;
    m->cell_count++;
    m->bad_count += verdict == MATRIX_FAILED || verdict == MATRIX_NOBODY_DIED;
    m->not_met_count += verdict == MATRIX_NOT_MET;
    *ret_cell = c;
    return true;
}

bool matrix_result(struct matrix *m, bool died, const char *text, const struct matrix_cell **ret_cell)
{
    struct matrix_file *f = m->file;
    bool ok = true;
    *ret_cell = NULL;
    if (died) {
        f->max = m->number > f->max ? m->number : f->max;
        ok = add_cell(m, text == NULL ? MATRIX_OK : MATRIX_FAILED, text, ret_cell);
        go_on(m);
    } else if (m->number > f->max && !m->only) {
        file_begin(m, f->next); /* there is no such write: the file is through */
    } else if (++m->tries == MATRIX_TRIES_MAX) {
        ok = add_cell(m, m->number > f->min && !m->only ? MATRIX_NOT_MET : MATRIX_NOBODY_DIED, text, ret_cell);
        go_on(m);
    }
    return ok;
}

bool matrix_spoil(struct matrix *m, struct matrix_cell *cell, const char *text)
{
    FICUS_ASSERT(cell->verdict == MATRIX_OK);
    cell->verdict = MATRIX_FAILED;
    cell->text = arena_strdup(m->arena, slice_str(text));
    m->bad_count++;
    return cell->text != NULL;
}

/* ---- texts ---- */

const char *matrix_aim_text(struct arena *a, const struct matrix_aim *aim)
{
    return arena_printf(a, "%s:%s:%u:%s", aim->process, aim->file, aim->number, sides[aim->side]);
}

enum ficus_err matrix_aim_parse(struct arena *a, const char *text, struct matrix_aim *ret_aim, struct ficus_error *reterr)
{
    struct slice rest = slice_str(text);
    struct slice process = slice_cut(&rest, ':'), file = slice_cut(&rest, ':'), number = slice_cut(&rest, ':');
    bool before = slice_eq_str(rest, sides[CRASH_BEFORE]);
    uint64_t n = 0;
    if (process.size == 0 || file.size == 0 || file.size >= CRASH_NAME_SIZE || !slice_to_u64(number, &n) || n < 1 ||
        n > NUMBER_MAX || (!before && !slice_eq_str(rest, sides[CRASH_AFTER])))
        return err_set(reterr, FICUS_ERR_INVALID,
                       "\"%s\" is no kill: expected PROCESS:FILE:NUMBER:before or ...:after, such as orders:orders.db-wal:3:before",
                       text);
    *ret_aim = (struct matrix_aim){arena_strdup(a, process), arena_strdup(a, file), (uint32_t)n,
                                   before ? CRASH_BEFORE : CRASH_AFTER};
    return ret_aim->process == NULL || ret_aim->file == NULL ? err_set(reterr, FICUS_ERR_NOMEM, "out of memory") : FICUS_ERR_OK;
}

/* "8 ok", or which numbers are not: "FAILED 3,5". */
static void print_side(const struct matrix *m, const struct matrix_file *f, enum crash_side side, struct buf *out)
{
    struct buf text;
    size_t ok = 0, bad = 0;
    buf_init(&text, 256);
    for (const struct matrix_cell *c = m->cells; c != NULL; c = c->next) {
        if (c->aim.process != f->process || c->aim.file != f->name || c->aim.side != side)
            continue;
        bool is_bad = c->verdict == MATRIX_FAILED || c->verdict == MATRIX_NOBODY_DIED;
        ok += c->verdict == MATRIX_OK;
        bad += is_bad;
        if (is_bad && bad <= COLUMN_NUMBERS_MAX)
            (void)buf_printf(&text, "%s%u", bad == 1 ? "FAILED " : ",", c->aim.number);
    }
    if (bad > COLUMN_NUMBERS_MAX)
        (void)buf_add_str(&text, ",...");
    if (bad == 0)
        (void)buf_printf(&text, ok == 0 ? "-" : "%zu ok", ok);
    (void)buf_printf(out, " %-14s", buf_str(&text));
    buf_done(&text);
}

void matrix_print(const struct matrix *m, struct buf *out)
{
    (void)buf_printf(out, "%-16s %-32s %6s %-14s %-14s\n", "process", "file", "writes", " before", " after");
    for (const struct matrix_file *f = m->files; f != NULL; f = f->next) {
        if (!file_is_aimed(f))
            continue;
        (void)buf_printf(out, "%-16s %-32s %6u", f->process, f->name, f->max);
        print_side(m, f, CRASH_BEFORE, out);
        print_side(m, f, CRASH_AFTER, out);
        (void)buf_add_char(out, '\n');
    }
    for (const struct matrix_file *f = m->files; f != NULL; f = f->next)
        if (!file_is_aimed(f))
            (void)buf_printf(out, "%-16s %-32s not of each instance: not aimed at\n", f->process, f->name);
}

static const char *verdict_text(enum matrix_verdict v)
{
    static const char *const texts[] = {[MATRIX_OK] = "ok", [MATRIX_FAILED] = "failed", [MATRIX_NOBODY_DIED] = "nobody died", [MATRIX_NOT_MET] = "not met"};
    return texts[v];
}

void matrix_write(const struct matrix *m, struct json_writer *w)
{
    json_write_key(w, "files");
    json_write_array(w);
    for (const struct matrix_file *f = m->files; f != NULL; f = f->next) {
        json_write_object(w);
        json_write_kv_str(w, "process", f->process);
        json_write_kv_str(w, "file", f->name);
        json_write_kv_i64(w, "writes", f->max);
        json_write_kv_bool(w, "aimed", file_is_aimed(f));
        json_write_end(w);
    }
    json_write_end(w);
    json_write_key(w, "cells");
    json_write_array(w);
    for (const struct matrix_cell *c = m->cells; c != NULL; c = c->next) {
        json_write_object(w);
        json_write_kv_str(w, "process", c->aim.process);
        json_write_kv_str(w, "file", c->aim.file);
        json_write_kv_i64(w, "number", c->aim.number);
        json_write_kv_str(w, "side", sides[c->aim.side]);
        json_write_kv_str(w, "verdict", verdict_text(c->verdict));
        if (c->text != NULL)
            json_write_kv_str(w, "text", c->text);
        json_write_end(w);
    }
    json_write_end(w);
}
