/* SPDX-License-Identifier: Apache-2.0
 *
 * Which kills a crash matrix consists of: every process, every file that it writes durably, every such write that one instance of
 * a saga causes, before and after it. Pure: who makes the runs is saga_test.h.
 *
 * Undisturbed runs say which files of which processes are written, and how often. Then, file by file, the n-th write is aimed at
 * with n growing, before it and after it. When nobody dies because there is no n-th write any more, that file is through: so the
 * numbers need not be known in advance, and none is left out when there are more than in the runs before. A write that undisturbed
 * runs have and that nobody dies at, asked MATRIX_TRIES_MAX times, is a failed cell: what it was to show was not shown.
 *
 * A file that only some undisturbed runs write (a checkpoint writes the database itself every thousand pages) belongs to no one
 * instance; it is not aimed at, and named.
 */
#ifndef FICUS_SYSTEM_SAGA_MATRIX_H
#define FICUS_SYSTEM_SAGA_MATRIX_H

#include "arena.h"
#include "io_crash.h"
#include "json.h"

enum { MATRIX_TRIES_MAX = 5, MATRIX_PLAIN_RUNS = 2 };

struct matrix_aim {
    const char *process, *file;
    uint32_t number; /* from 1 */
    enum crash_side side;
};

/* NOT_MET: the write is not of each instance (an outbox that is emptied with the next commit, or later by itself), and did not come in
 * MATRIX_TRIES_MAX runs; that is no failure. NOBODY_DIED: the write came, or this kill alone was asked for. */
enum matrix_verdict { MATRIX_OK, MATRIX_FAILED, MATRIX_NOBODY_DIED, MATRIX_NOT_MET };

struct matrix_cell {
    struct matrix_aim aim;
    enum matrix_verdict verdict;
    const char *text; /* what was wrong; NULL: nothing */
    struct matrix_cell *next;
};

struct matrix_file {
    const char *process, *name;
    uint32_t run_count;      /* undisturbed runs of the beginning that wrote it */
    uint32_t min, max;       /* writes in any whole run */
    uint32_t through;        /* so many were aimed at, on both sides */
    struct matrix_file *next;
};

struct matrix {
    struct arena *arena;
    struct matrix_file *files, *last_file;
    struct matrix_cell *cells, *last_cell;
    size_t cell_count, bad_count, not_met_count;
    uint32_t plain_runs; /* of the beginning */
    /* the place of the enumeration */
    struct matrix_file *file;
    uint32_t number, tries;
    enum crash_side side;
    bool begun, only;
};

void matrix_init(struct matrix *m, struct arena *a);
/* A run in which nobody died wrote this file so often (count > 0). False: out of memory. */
bool matrix_seen(struct matrix *m, const char *process, const char *file, uint32_t count);
/* Behind the files of an undisturbed run of the beginning; MATRIX_PLAIN_RUNS of them come before the first matrix_next. */
void matrix_plain_end(struct matrix *m);
/* Whether every such run wrote it. */
bool matrix_is_aimed(const struct matrix *m, const char *process, const char *file);

/* Of all kills only this one. False: no such file is aimed at. */
bool matrix_only(struct matrix *m, const struct matrix_aim *aim);
/* What to kill next; false: all is through. process NULL: of all, else of this one alone. */
bool matrix_next(struct matrix *m, const char *process, struct matrix_aim *ret_aim);
/* What became of it. died false: the run was a whole one, its files were told by matrix_seen already. text NULL: all as it has to be;
 * it is copied. *ret_cell: NULL when this run is no cell (the end of a file, or the same is to be tried again). False: out of memory. */
bool matrix_result(struct matrix *m, bool died, const char *text, const struct matrix_cell **ret_cell);

/* A cell that passed turns out to be wrong later. */
bool matrix_spoil(struct matrix *m, struct matrix_cell *cell, const char *text);

/* "orders:orders.db-wal:3:before", and back; in the arena. INVALID with what is expected. */
const char *matrix_aim_text(struct arena *a, const struct matrix_aim *aim);
enum ficus_err matrix_aim_parse(struct arena *a, const char *text, struct matrix_aim *ret_aim, struct ficus_error *reterr);

/* One line per file: how many writes, and what became of the kills before and after each. */
void matrix_print(const struct matrix *m, struct buf *out);
/* "files": [...], "cells": [...] into an open object. */
void matrix_write(const struct matrix *m, struct json_writer *w);

#endif
