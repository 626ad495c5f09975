/* SPDX-License-Identifier: Apache-2.0
 *
 * The runs of a crash matrix (saga_matrix.h): one scenario of one saga on a running system whose processes have pages of io_crash.h.
 *
 * A run: all processes are ready and nothing is written; the scenario's `prepare`; the pages are armed; `start`; wait until the
 * instance is completed or compensated; wait until nothing is written any more; `check`. A check that fails is asked again until
 * nothing was written for settle_ms: only then is it sure that what lacks will not come. Six seconds are longer than anything in Ficus
 * waits before it tries again, or tidies up. When all kills are through, every instance is checked once more in that quiet, so that what
 * came late is seen as well.
 *
 * Blocks, and runs the env's loop for its questions.
 */
#ifndef FICUS_SYSTEM_SAGA_TEST_H
#define FICUS_SYSTEM_SAGA_TEST_H

#include "saga_def.h"
#include "saga_matrix.h"
#include "state.h"

enum { SAGA_TEST_PROCESSES_MAX = 256 };

struct saga_test {
    /* by the caller, borrowed */
    struct env *env;
    struct arena *arena; /* of texts, and of the matrix */
    const struct state *state;
    const char *url, *manifest; /* the gateway's, "" without one; absolute */
    const char *folder;         /* the service's, where its programs run */
    const char *path;           /* PATH for them */
    const struct saga_def *saga;
    const struct saga_scenario *scenario;
    int64_t settle_ms;
    void (*note)(void *arg, const char *text); /* what is being done, for people; may be NULL */
    void (*on_cell)(void *arg, const struct matrix_cell *cell, int64_t took_ms);
    void *arg;
    /* private below */
    struct crash_page *pages[SAGA_TEST_PROCESSES_MAX];
    const char *processes[SAGA_TEST_PROCESSES_MAX];
    size_t page_count;
    struct saga_test_instance *instances;
    size_t run_count;
    int64_t dead_count; /* dead letters so far */
    unsigned moves;     /* of all pages, when they were last looked at */
    int64_t moved_ms;   /* when that changed last */
    bool disturbed;     /* a checkpoint came into the run */
    unsigned again_count;
};

/* Map the page of a process, crash_folder/NAME.1. */
enum ficus_err saga_test_page(struct saga_test *t, const char *crash_folder, const char *process, struct ficus_error *reterr);
/* All of it: undisturbed runs, then each kill. process: NULL, or kill only this one. only: NULL, or this one kill and nothing else; it
 * is the one cell of m then. m was initialised. Errors: the test could not be made, or fails without any kill; OK else, and what is
 * wrong is in m. */
enum ficus_err saga_test_run(struct saga_test *t, struct matrix *m, const char *process, const struct matrix_aim *only,
                             struct ficus_error *reterr);
void saga_test_done(struct saga_test *t);

#endif
