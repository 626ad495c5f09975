/* SPDX-License-Identifier: Apache-2.0
 *
 * See saga_test.h.
 */
#include "saga_test.h"

#include "assert.h"
#include "mem.h"
#include "ops_call.h"
#include "program.h"
#include "saga_machine.h"
#include "text.h"
#include "timefmt.h"

#include <stdio.h>
#include <time.h>

enum {
    LOOK_MS = 10,
    QUIET_MS = 150,        /* the time between two writes of something that goes on by itself */
    READY_MS = 30000,      /* for processes to come back, and for quiet */
    CHECK_AGAIN_MS = 250,
    OUTPUT_SIZE_MAX = 64 * 1024,
    TEXT_SIZE_MAX = 1500,  /* of what a program says, in a report */
    LINES_MAX = 24,        /* that a program prints for the next one */
    ARGS_MAX = 64,
    RUN_ARENA_MAX = 32 << 20,
    LETTERS_PAGE = 1000,
};

/* What start printed: the id first. */
struct saga_test_instance {
    const char *lines[LINES_MAX];
    size_t count;
    struct matrix_cell *cell; /* NULL: of a run in which nobody was killed */
    struct saga_test_instance *next;
};

/* One run. Its arena is given back at its end; what is kept goes to the test's. */
struct run {
    struct saga_test *t;
    struct arena arena;
    const struct matrix_aim *aim; /* NULL: nobody is killed */
    struct crash_page *page;      /* of the aim's process */
    char name[64];
    const char *prepared[LINES_MAX];
    size_t prepared_count;
    struct saga_test_instance *instance;
    struct buf text; /* what is wrong; empty: nothing */
};

static void note(const struct saga_test *t, const char *text)
{
    if (t->note != NULL)
        t->note(t->arg, text);
}

static void nap(int64_t ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* The loop's clock stands while it does not run. */
static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- pages ---- */

enum ficus_err saga_test_page(struct saga_test *t, const char *crash_folder, const char *process, struct ficus_error *reterr)
{
    const char *path = arena_printf(t->arena, "%s/%s.1", crash_folder, process);
    if (path == NULL || t->page_count == SAGA_TEST_PROCESSES_MAX)
        return err_set(reterr, path == NULL ? FICUS_ERR_NOMEM : FICUS_ERR_TOO_LARGE, "too many processes");
    enum ficus_err err = crash_page_open(path, &t->pages[t->page_count], reterr);
    if (err == FICUS_ERR_OK)
        t->processes[t->page_count++] = process;
    return err;
}

void saga_test_done(struct saga_test *t)
{
    for (size_t i = 0; i < t->page_count; i++)
        crash_page_close(t->pages[i]);
    t->page_count = 0;
}

static struct crash_page *page_of(const struct saga_test *t, const char *process)
{
    for (size_t i = 0; i < t->page_count; i++)
        if (strcmp(t->processes[i], process) == 0)
            return t->pages[i];
    return NULL;
}

static void arm(const struct run *r)
{
    const struct saga_test *t = r->t;
    for (size_t i = 0; i < t->page_count; i++)
        if (t->pages[i] == r->page)
            crash_page_arm(t->pages[i], r->aim->file, r->aim->number, r->aim->side);
        else
            crash_page_arm(t->pages[i], NULL, 0, CRASH_BEFORE);
}

static void disarm(const struct saga_test *t)
{
    for (size_t i = 0; i < t->page_count; i++)
        crash_page_disarm(t->pages[i]);
}

static bool died(const struct run *r)
{
    return r->page != NULL && atomic_load(&r->page->died) != 0;
}

/* For how long nothing has been written. */
static int64_t quiet_ms(struct saga_test *t)
{
    unsigned moves = 0;
    for (size_t i = 0; i < t->page_count; i++)
        moves += atomic_load(&t->pages[i]->moves);
    if (moves != t->moves)
        t->moved_ms = now_ms();
    t->moves = moves;
    return now_ms() - t->moved_ms;
}

/* ---- questions ---- */

/* False: no answer of this status, now. */
static bool ask(struct saga_test *t, struct arena *a, const char *socket, const char *target, const struct json **ret_json)
{
    int status = 0;
    struct slice body = SLICE_NONE;
    struct json *root = NULL;
    const struct json_limits limits = {.size_max = OPS_BODY_SIZE_MAX, .values_max = 1000000};
    const char *address = arena_printf(a, "unix:%s/%s", t->state->sockets, socket);
    struct ops_call call = {.env = t->env, .address = address, .method = "GET", .target = target, .timeout_ms = 2000};
    if (address == NULL || ops_call_wait(&call, a, &status, &body, NULL) != FICUS_ERR_OK ||
        status != 200 || json_parse(a, body, &limits, &root, NULL) != FICUS_ERR_OK)
        return false;
    *ret_json = root;
    return true;
}

static bool is_running(const struct json *process)
{
    return process == NULL || json_get(process, "state") == NULL || slice_eq_str(json_string_or(json_get(process, "state"), SLICE_NONE), "running");
}

static bool all_run(struct saga_test *t)
{
    struct arena a;
    const struct json *status = NULL;
    arena_init(&a, RUN_ARENA_MAX);
    bool yes = ask(t, &a, "supervisor.sock", "/v1/status", &status) && is_running(json_get(status, "gateway")) &&
               is_running(json_get(status, "hub"));
    const struct json *services = yes ? json_get(status, "services") : NULL;
    for (const struct json *s = services == NULL ? NULL : services->first; s != NULL; s = s->next)
        yes = yes && is_running(json_at(json_get(s, "instances"), 0));
    arena_done(&a);
    return yes;
}

/* Everybody runs and nothing was written for so long. False: not within the time. */
static bool wait_quiet(struct saga_test *t, int64_t quiet_wanted_ms, int64_t within_ms)
{
    int64_t end_ms = now_ms() + within_ms;
    for (;;) {
        if (quiet_ms(t) >= quiet_wanted_ms && all_run(t) && quiet_ms(t) >= quiet_wanted_ms)
            return true;
        if (now_ms() >= end_ms)
            return false;
        nap(LOOK_MS);
    }
}

/* Dead letters in the log, handled or not; -1: the hub does not answer. */
static int64_t dead_letters(struct saga_test *t)
{
    struct arena a;
    const struct json *root = NULL;
    int64_t count = 0, after = 0;
    bool more = true, answered = true;
    while (more && answered) {
        arena_init(&a, RUN_ARENA_MAX);
        const char *target = arena_printf(&a, "/v1/dead?limit=%d&after=%lld", LETTERS_PAGE, (long long)after);
        answered = target != NULL && ask(t, &a, "hub-ops.sock", target, &root);
        const struct json *events = answered ? json_get(root, "events") : NULL;
        more = events != NULL && events->count > 0;
        count += events == NULL ? 0 : events->count;
        after = more ? json_i64_or(json_get(root, "next"), after) : after;
        arena_done(&a);
    }
    return answered ? count : -1;
}

/* ---- programs ---- */

static const char *short_text(struct arena *a, const char *text)
{
    struct slice s = slice_str(text);
    while (s.size > 0 && (s.p[s.size - 1] == '\n' || s.p[s.size - 1] == ' '))
        s.size--;
    return s.size <= TEXT_SIZE_MAX ? arena_strdup(a, s)
                                   : arena_printf(a, "... %.*s", TEXT_SIZE_MAX, s.p + s.size - TEXT_SIZE_MAX);
}

/* What it prints, or NULL: it failed, and the run's text says how. */
static const char *run_program(struct run *r, const char *what, const struct saga_program *p, const char *const *args, size_t arg_count)
{
    const struct saga_test *t = r->t;
    const char *argv[ARGS_MAX + 1];
    size_t count = 0;
    struct ficus_error error = {0};
    struct program_end end = {0};
    const char *variables[] = {arena_printf(&r->arena, "FICUS_URL=%s", t->url),
                               arena_printf(&r->arena, "FICUS_STATE=%s", t->state->root),
                               arena_printf(&r->arena, "FICUS_MANIFEST=%s", t->manifest),
                               arena_printf(&r->arena, "FICUS_RUN=%s", r->name),
                               arena_printf(&r->arena, "PATH=%s", t->path), NULL};
    for (size_t i = 0; i < p->count && count < ARGS_MAX; i++)
        argv[count++] = p->words[i];
    for (size_t i = 0; i < arg_count && count < ARGS_MAX; i++)
        argv[count++] = args[i];
    argv[count] = NULL;
    const struct program_call call = {.argv = argv,
                                      .folder = t->folder,
                                      .environment = variables,
                                      .timeout_ms = t->scenario->within_ms,
                                      .output_max = OUTPUT_SIZE_MAX};
    enum ficus_err err = arena_overflowed(&r->arena) ? err_set(&error, FICUS_ERR_NOMEM, "out of memory")
                                                     : program_run(&r->arena, &call, &end, &error);
    if (err == FICUS_ERR_OK && end.status == 0)
        return end.output;
    if (err != FICUS_ERR_OK)
        (void)buf_printf(&r->text, "%s: %s", what, error.text);
    else if (end.status < 0)
        (void)buf_printf(&r->text, "%s (%s) did not end in time", what, argv[0]);
    else
        (void)buf_printf(&r->text, "%s (%s) exited with %d", what, argv[0], end.status);
    const char *said = err != FICUS_ERR_OK ? "" : short_text(&r->arena, end.errors[0] != '\0' ? end.errors : end.output);
    if (said != NULL && said[0] != '\0')
        (void)buf_printf(&r->text, ": %s", said);
    return NULL;
}

static size_t split_lines(struct arena *a, const char *text, const char **lines)
{
    size_t count = 0;
    struct slice rest = slice_trim(slice_str(text));
    while (rest.p != NULL && rest.size > 0 && count < LINES_MAX) {
        struct slice line = slice_trim(slice_cut(&rest, '\n'));
        if ((lines[count] = arena_strdup(a, line)) == NULL)
            return 0;
        count++;
    }
    return count;
}

/* ---- one run ---- */

/* The state of the instance; SAGA_NONE: nobody knows now. ret_where: its step and failure, for people. */
static enum saga_state_name look(struct run *r, const char **ret_where)
{
    struct arena a;
    struct buf segment;
    const struct json *root = NULL;
    enum saga_state_name state = SAGA_NONE;
    arena_init(&a, RUN_ARENA_MAX);
    buf_init(&segment, 4096);
    const char *target = text_percent_segment(&segment, slice_str(r->instance->lines[0]))
                             ? arena_printf(&a, "/v1/sagas/%s/%s", r->t->saga->name, buf_str(&segment))
                             : NULL;
    if (target != NULL && ask(r->t, &a, "hub-ops.sock", target, &root)) {
        (void)saga_state_parse(json_string_or(json_get(root, "state"), SLICE_NONE), &state);
        struct slice step = json_string_or(json_get(root, "step"), SLICE("-"));
        struct slice failure = json_string_or(json_get(root, "failure"), SLICE("-"));
        *ret_where = arena_printf(&r->arena, "%s, step " SLICE_FMT ", failure " SLICE_FMT, saga_state_text(state), SLICE_ARG(step),
                                  SLICE_ARG(failure));
    }
    buf_done(&segment);
    arena_done(&a);
    return state;
}

static void check_ending(struct run *r, enum saga_state_name state)
{
    int ends = r->t->scenario->ends;
    enum saga_state_name wanted = ends == SAGA_ENDS_COMPLETED ? SAGA_COMPLETED : SAGA_COMPENSATED;
    if (ends >= 0 && state != wanted)
        (void)buf_printf(&r->text, "the instance is %s; it has to be %s, whatever was killed", saga_state_text(state),
                         saga_state_text(wanted));
}

/* Until it is completed or compensated. */
static void wait_for_rest(struct run *r)
{
    const char *where = "not started";
    int64_t end_ms = now_ms() + r->t->scenario->within_ms;
    for (;;) {
        enum saga_state_name state = look(r, &where);
        if (state == SAGA_COMPLETED || state == SAGA_COMPENSATED) {
            check_ending(r, state);
            return;
        }
        if (state == SAGA_STUCK || now_ms() >= end_ms) {
            (void)buf_printf(&r->text, "the instance %s is not at rest%s: %s", r->instance->lines[0],
                             state == SAGA_STUCK ? " and needs a person" : " in time", where == NULL ? "" : where);
            return;
        }
        nap(LOOK_MS);
    }
}

/* The instance is at rest; what follows of it in other services, and a death that is still to come, need a while. */
static void wait_for_others(struct run *r, bool whole)
{
    struct saga_test *t = r->t;
    int64_t end_ms = now_ms() + t->settle_ms + READY_MS;
    if (r->aim != NULL || whole)
        while (!died(r) && quiet_ms(t) < t->settle_ms && now_ms() < end_ms)
            nap(LOOK_MS);
    if (!wait_quiet(t, QUIET_MS, READY_MS))
        (void)buf_add_str(&r->text, "the processes were not ready and quiet again in time; ficus status and ficus logs of this state say why");
}

/* Again while something is still being done. */
static void check(struct run *r)
{
    struct saga_test *t = r->t;
    size_t before = buf_slice(&r->text).size;
    int64_t end_ms = now_ms() + t->settle_ms + READY_MS;
    for (;;) {
        bool settled = quiet_ms(t) >= t->settle_ms || now_ms() >= end_ms;
        (void)buf_truncate(&r->text, before);
        if (run_program(r, "check", &t->scenario->check, r->instance->lines, r->instance->count) != NULL || settled)
            return;
        nap(CHECK_AGAIN_MS);
    }
}

static void check_dead_letters(struct run *r)
{
    int64_t count = dead_letters(r->t);
    if (count < 0)
        (void)buf_add_str(&r->text, "the hub does not answer");
    else if (count > r->t->dead_count)
        (void)buf_printf(&r->text, "%lld new dead letters; ficus events dead shows them", (long long)(count - r->t->dead_count));
    r->t->dead_count = count < 0 ? r->t->dead_count : count;
}

/* The database itself is written beside its WAL: every thousand pages, for all that came before. */
static bool is_checkpoint(const struct crash_page *p, const char *file)
{
    char wal[CRASH_NAME_SIZE + 8];
    (void)snprintf(wal, sizeof wal, "%s-wal", file);
    for (unsigned i = 0; i < atomic_load(&p->file_count); i++)
        if (strcmp(p->files[i].name, wal) == 0)
            return atomic_load(&p->files[i].begun) > 0;
    return false;
}

static void look_for_checkpoints(struct saga_test *t)
{
    t->disturbed = false;
    for (size_t i = 0; i < t->page_count; i++)
        for (unsigned k = 0; k < atomic_load(&t->pages[i]->file_count); k++) {
            const struct crash_file *f = &t->pages[i]->files[k];
            t->disturbed |= atomic_load(&f->begun) > 0 && is_checkpoint(t->pages[i], f->name);
        }
}

/* What a run wrote in which nobody died, and no checkpoint came into it. */
static bool tell_files(struct saga_test *t, struct matrix *m)
{
    bool ok = true;
    for (size_t i = 0; i < t->page_count; i++)
        for (unsigned k = 0; k < atomic_load(&t->pages[i]->file_count); k++) {
            const struct crash_file *f = &t->pages[i]->files[k];
            unsigned writes = atomic_load(&f->begun);
            ok = ok && (writes == 0 || matrix_seen(m, t->processes[i], f->name, writes));
        }
    return ok;
}

/* The instance runs from here. */
static void start_and_wait(struct run *r, bool whole)
{
    struct saga_test *t = r->t;
    arm(r);
    const char *output = run_program(r, "start", &t->scenario->start, r->prepared, r->prepared_count);
    if (output == NULL)
        return;
    r->instance = ARENA_NEW(t->arena, struct saga_test_instance);
    if (r->instance != NULL)
        r->instance->count = split_lines(t->arena, output, r->instance->lines);
    if (r->instance == NULL || r->instance->count == 0 || r->instance->lines[0][0] == '\0') {
        r->instance = NULL;
        (void)buf_add_str(&r->text, "start printed no id: its first line has to be the instance's id");
        return;
    }
    r->instance->next = t->instances;
    t->instances = r->instance;
    wait_for_rest(r);
    if (buf_slice(&r->text).size == 0)
        wait_for_others(r, whole);
}

static void run_body(struct run *r, bool whole)
{
    struct saga_test *t = r->t;
    if (!wait_quiet(t, QUIET_MS, READY_MS)) {
        (void)buf_add_str(&r->text, "the processes are not ready, or not quiet, before the run begins");
        return;
    }
    if (t->scenario->prepare.count > 0) {
        const char *output = run_program(r, "prepare", &t->scenario->prepare, NULL, 0);
        if (output == NULL)
            return;
        r->prepared_count = split_lines(&r->arena, output, r->prepared);
        (void)wait_quiet(t, QUIET_MS, READY_MS); /* else its writes are counted too, and the numbers are larger */
    }
    start_and_wait(r, whole);
    disarm(t);
    if (r->instance == NULL || buf_slice(&r->text).size > 0)
        return;
    check(r);
    if (buf_slice(&r->text).size == 0)
        check_dead_letters(r);
}

/* whole: wait for the last write that it causes. After it, text is in *ret_text ("": all is as it has to be) and m knows what was written. */
static enum ficus_err run_once(struct saga_test *t, struct matrix *m, const struct matrix_aim *aim, bool whole, bool *ret_died,
                               const char **ret_text, struct saga_test_instance **ret_instance, struct ficus_error *reterr)
{
    struct run r = {.t = t, .aim = aim, .page = aim == NULL ? NULL : page_of(t, aim->process)};
    if (aim != NULL && r.page == NULL)
        return err_set(reterr, FICUS_ERR_NOT_FOUND, "there is no process \"%s\" that is started here; ficus status names them", aim->process);
    arena_init(&r.arena, RUN_ARENA_MAX);
    buf_init(&r.text, OUTPUT_SIZE_MAX);
    (void)snprintf(r.name, sizeof r.name, "%.20s-%zu-%08llx", t->scenario->name, ++t->run_count,
                   (unsigned long long)(env_random_u64(t->env) & 0xffffffff));
    run_body(&r, whole);
    disarm(t);
    *ret_died = died(&r);
    look_for_checkpoints(t);
    bool ok = m == NULL || *ret_died || t->disturbed || tell_files(t, m);
    *ret_text = arena_strdup(t->arena, buf_slice(&r.text));
    *ret_instance = r.instance;
    buf_done(&r.text);
    arena_done(&r.arena);
    return ok && *ret_text != NULL ? FICUS_ERR_OK : err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
}

/* ---- all runs ---- */

/* Nobody is killed, and so nothing may be wrong. */
static enum ficus_err undisturbed(struct saga_test *t, struct matrix *m, bool whole, struct ficus_error *reterr)
{
    bool nobody;
    const char *text;
    struct saga_test_instance *instance;
    enum ficus_err err = run_once(t, m, NULL, whole, &nobody, &text, &instance, reterr);
    if (err == FICUS_ERR_OK && text[0] != '\0')
        err = err_set(reterr, FICUS_ERR_CONFLICT, "without any kill: %s", text);
    return err;
}

/* Behind a checkpoint the next commit writes a head of its own, which no instance needs: a run that takes that away. */
static enum ficus_err calm(struct saga_test *t, struct ficus_error *reterr)
{
    enum ficus_err err = FICUS_ERR_OK;
    t->disturbed = true;
    for (int i = 0; i < MATRIX_TRIES_MAX && t->disturbed && err == FICUS_ERR_OK; i++)
        err = undisturbed(t, NULL, false, reterr);
    return err;
}

static enum ficus_err plain(struct saga_test *t, struct matrix *m, struct ficus_error *reterr)
{
    enum ficus_err err = undisturbed(t, m, true, reterr);
    for (int i = 0; i < MATRIX_TRIES_MAX && t->disturbed && err == FICUS_ERR_OK; i++) {
        err = calm(t, reterr);
        if (err == FICUS_ERR_OK)
            err = undisturbed(t, m, true, reterr);
    }
    matrix_plain_end(m);
    return err;
}

static enum ficus_err begin(struct saga_test *t, struct matrix *m, struct ficus_error *reterr)
{
    t->dead_count = dead_letters(t);
    note(t, "undisturbed runs");
    enum ficus_err err = calm(t, reterr); /* the first one makes files and first rows */
    for (int i = 0; i < MATRIX_PLAIN_RUNS && err == FICUS_ERR_OK; i++)
        err = plain(t, m, reterr);
    for (size_t i = 0; i < t->page_count && err == FICUS_ERR_OK; i++)
        if (atomic_load(&t->pages[i]->file_lacked) != 0)
            err = err_set(reterr, FICUS_ERR_TOO_LARGE, "%s writes more than %d files durably, which cannot be counted",
                          t->processes[i], CRASH_FILES_MAX);
    return err;
}

static enum ficus_err one_kill(struct saga_test *t, struct matrix *m, const struct matrix_aim *aim, struct ficus_error *reterr)
{
    bool dead;
    const char *text;
    struct saga_test_instance *instance;
    const struct matrix_cell *cell = NULL;
    int64_t begun_ms = now_ms();
    enum ficus_err err = run_once(t, m, aim, true, &dead, &text, &instance, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (t->disturbed && text[0] == '\0' && ++t->again_count < MATRIX_TRIES_MAX)
        return calm(t, reterr);
    t->again_count = 0;
    if (!dead && text[0] != '\0')
        return err_set(reterr, FICUS_ERR_CONFLICT, "nobody died, and still: %s", text);
    if (!matrix_result(m, dead, text[0] == '\0' ? NULL : text, &cell))
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    if (cell != NULL && instance != NULL)
        instance->cell = (struct matrix_cell *)(uintptr_t)cell;
    if (cell != NULL && t->on_cell != NULL)
        t->on_cell(t->arg, cell, now_ms() - begun_ms);
    return FICUS_ERR_OK;
}

/* What came late. */
static enum ficus_err check_all_again(struct saga_test *t, struct matrix *m, struct ficus_error *reterr)
{
    bool ok = true;
    note(t, "all instances once more, when nothing is written any more");
    (void)wait_quiet(t, t->settle_ms, t->settle_ms + READY_MS);
    for (struct saga_test_instance *i = t->instances; i != NULL && ok; i = i->next) {
        struct run r = {.t = t, .instance = i};
        if (i->cell == NULL || i->cell->verdict != MATRIX_OK)
            continue;
        arena_init(&r.arena, RUN_ARENA_MAX);
        buf_init(&r.text, OUTPUT_SIZE_MAX);
        (void)snprintf(r.name, sizeof r.name, "again");
        if (run_program(&r, "check, at the end of all,", &t->scenario->check, i->lines, i->count) == NULL) {
            ok = matrix_spoil(m, i->cell, buf_str(&r.text));
            if (t->on_cell != NULL)
                t->on_cell(t->arg, i->cell, 0);
        }
        buf_done(&r.text);
        arena_done(&r.arena);
    }
    int64_t dead = dead_letters(t);
    if (ok && dead > t->dead_count)
        return err_set(reterr, FICUS_ERR_CONFLICT, "%lld dead letters came late; ficus events dead shows them", (long long)(dead - t->dead_count));
    return ok ? FICUS_ERR_OK : err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
}

enum ficus_err saga_test_run(struct saga_test *t, struct matrix *m, const char *process, const struct matrix_aim *only,
                             struct ficus_error *reterr)
{
    struct matrix_aim aim;
    t->moved_ms = now_ms();
    enum ficus_err err = begin(t, m, reterr);
    if (err == FICUS_ERR_OK && only != NULL && !matrix_only(m, only))
        return err_set(reterr, FICUS_ERR_NOT_FOUND, "%s writes no %s in this scenario; without --only the files are shown", only->process,
                       only->file);
    while (err == FICUS_ERR_OK && matrix_next(m, process, &aim))
        err = one_kill(t, m, &aim, reterr);
    return err == FICUS_ERR_OK ? check_all_again(t, m, reterr) : err;
}
