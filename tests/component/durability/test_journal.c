/* SPDX-License-Identifier: Apache-2.0
 *
 * Durable writer 3, the saga journal: after any crash every acknowledged append is there whole and in order, none by
 * half, each instance's records fold to a state that its row says too, a wait has its end, what somebody said is there with
 * who and why, the position never runs ahead of the starts that it covers, and a child that has ended is untold until that was
 * written down.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "crash_env.h"
#include "mem.h"
#include "saga_journal.h"

#include <stdio.h>

enum { SAGAS = 12, ROUNDS = 6, WAIT = 1, SIGNAL = 2, CHILD = 3, WAKE_AT_MS = 7777 };

static const struct saga_note note = {SLICE("ann"), SLICE("because"), SLICE("{\"x\":[1]}")};

static const char def_text[] =
    "{\"name\":\"s\",\"start\":\"t\",\"steps\":[{\"a\":{\"call\":\"PUT x:/a/{id}\",\"undo\":\"DELETE x:/a/{id}\"}},"
    "{\"w\":{\"wait\":\"1h\"}},{\"s\":{\"signal\":\"ok\",\"timeout\":\"never\"}},"
    "{\"k\":{\"saga\":\"other\",\"undo\":\"DELETE x:/k/{id}\"}},"
    "{\"parallel\":[{\"b\":{\"call\":\"PUT x:/b/{id}\",\"undo\":\"DELETE x:/b/{id}\"}},{\"c\":{\"call\":\"PUT "
    "x:/c/{id}\",\"undo\":\"DELETE x:/c/{id}\"}}]}]}";

struct one {
    char id[8], input[256];
    struct saga_start start;
    struct saga_state state;
    size_t tried, acknowledged; /* records, of those that were appended */
    bool told_tried, told;      /* its parent knows its end */
    struct saga_output out;
    struct saga_journal_entry entry;
};

struct run {
    uint64_t seed;
    struct arena arena;
    const struct saga_def *def;
    struct slice def_canonical;
    char def_hash[65];
    struct saga_journal *journal;
    struct one ones[SAGAS];
    size_t started_tried, started_acknowledged;
};

static void *run_new(uint64_t seed)
{
    struct run *r = mem_zalloc(sizeof *r);
    struct saga_def *def;
    r->seed = seed;
    arena_init(&r->arena, 1 << 20);
    assert_int_equal(saga_def_read(&r->arena, slice_str(def_text), &def, NULL), FICUS_ERR_OK);
    assert_int_equal(saga_def_write(def, &r->arena, &r->def_canonical, r->def_hash), FICUS_ERR_OK);
    r->def = def;
    return r;
}

static void run_free(void *state)
{
    struct run *r = state;
    arena_done(&r->arena);
    mem_free(r);
}

static void next_records(struct run *r, struct one *o)
{
    struct saga_input in = {.kind = o->tried == 0 ? SAGA_INPUT_START : SAGA_INPUT_ANSWER,
                            .wall_ms = 1000 + (int64_t)o->tried};
    while (o->tried > 0 && in.step + 1 < r->def->step_count && !saga_is_calling(r->def, &o->state, in.step, o->state.undo))
        in.step++;
    if (o->tried > 0 && sim_random(&r->seed) % 4 == 0) {
        in.answer = SAGA_ANSWER_REFUSED;
        in.status = 409;
        in.code = SLICE("sold_out");
    }
    if (in.step == CHILD && !o->state.undo && in.answer == SAGA_ANSWER_DONE)
        in.answer = SAGA_ANSWER_STARTED;
    if (in.step < r->def->step_count && o->state.undo && saga_child_runs(&o->state, in.step))
        in.kind = SAGA_INPUT_CHILD;
    uint64_t chance = sim_random(&r->seed) % 12;
    bool same;
    if (o->state.name == SAGA_STUCK)
        in.kind = SAGA_INPUT_RETRY;
    else if (o->state.name == SAGA_WAITING && o->state.step == WAIT)
        in.kind = SAGA_INPUT_WAKE;
    else if (o->state.name == SAGA_WAITING && o->state.step == CHILD)
        in = (struct saga_input){.kind = SAGA_INPUT_CHILD, .step = CHILD, .answer = chance > 8 ? SAGA_ANSWER_REFUSED : SAGA_ANSWER_DONE};
    else if (o->state.name == SAGA_WAITING)
        in = (struct saga_input){.kind = SAGA_INPUT_SIGNAL, .step = SIGNAL, .refuse = chance > 8};
    if (o->tried > 0 && chance < 2 && !saga_state_is_final(o->state.name))
        in.kind = chance == 0 ? SAGA_INPUT_TERMINATE : SAGA_INPUT_CANCEL;
    if (in.kind == SAGA_INPUT_CANCEL && saga_cancel_obstacle(r->def, &o->state, &same) != NULL)
        in.kind = SAGA_INPUT_TERMINATE;
    if (o->tried == 0)
        in.kind = SAGA_INPUT_START;
    in.note = in.kind >= SAGA_INPUT_RETRY ? &note : NULL;
    in.wall_ms = 1000 + (int64_t)o->tried;
    saga_machine_input(r->def, &o->state, &in, &o->out);
}

/* One append: a few instances' next records; those that begin come with a position, as in the engine. */
static bool append_some(struct run *r, struct one **ones, size_t count, int64_t position)
{
    struct saga_journal_entry *entries[SAGAS];
    size_t entry_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct one *o = ones[i];
        bool is_new = o->tried == 0;
        next_records(r, o);
        if (o->out.record_count == 0)
            continue;
        o->entry = (struct saga_journal_entry){.start = &o->start,
                                               .is_new = is_new,
                                               .def = r->def,
                                               .records = o->out.records,
                                               .record_count = o->out.record_count,
                                               .state = &o->state};
        if (o->out.wait_is_new) {
            o->entry.wait_ms = o->out.wait_ms;
            o->entry.wake_at_ms = WAKE_AT_MS;
        }
        o->tried += o->out.record_count;
        entries[entry_count++] = &o->entry;
    }
    if (position >= 0)
        r->started_tried = (size_t)position;
    if (saga_journal_append(r->journal, entries, entry_count, position, 5000, NULL) != FICUS_ERR_OK)
        return false;
    for (size_t i = 0; i < entry_count; i++) {
        struct one *o = CONTAINER_OF(entries[i], struct one, entry);
        o->acknowledged = o->tried;
    }
    if (position >= 0)
        r->started_acknowledged = (size_t)position;
    return true;
}

static void tell_one(void *arg, const struct saga_stored *row)
{
    struct run *r = arg;
    for (size_t i = 0; i < SAGAS; i++)
        r->ones[i].told_tried = r->ones[i].told_tried || slice_eq_str(row->start.id, r->ones[i].id);
}

/* The parents of the first that have ended hear of it. */
static void tell_some(struct run *r)
{
    struct saga_name told[4];
    size_t count = 0;
    if (saga_journal_untold(r->journal, ARRAY_COUNT(told), tell_one, r, NULL) != FICUS_ERR_OK)
        return;
    for (size_t i = 0; i < SAGAS; i++)
        if (r->ones[i].told_tried)
            told[count++] = (struct saga_name){SLICE("s"), slice_str(r->ones[i].id)};
    if (count == 0 || saga_journal_told(r->journal, told, count, NULL) != FICUS_ERR_OK)
        return;
    for (size_t i = 0; i < SAGAS; i++)
        r->ones[i].told = r->ones[i].told_tried;
}

static void appends(void *arg)
{
    struct run *r = arg;
    for (size_t begin = 0; begin < SAGAS; begin += 4) {
        struct one *ones[4];
        for (size_t i = 0; i < 4; i++) {
            struct one *o = ones[i] = &r->ones[begin + i];
            snprintf(o->id, sizeof o->id, "i%02zu", begin + i);
            snprintf(o->input, sizeof o->input, "{\"pad\":\"%0200zu\"}", begin + i);
            o->start = (struct saga_start){.saga = SLICE("s"),
                                           .id = slice_str(o->id),
                                           .def_hash = slice_str(r->def_hash),
                                           .def_text = r->def_canonical,
                                           .input = slice_str(o->input)};
            if (i % 2 == 0)
                o->start.parent = (struct saga_parent){SLICE("p"), slice_str(o->id), SLICE("k")};
        }
        if (!append_some(r, ones, 4, (int64_t)begin + 4))
            return;
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < SAGAS; i += 3) {
            struct one *ones[3] = {&r->ones[i], &r->ones[i + 1], &r->ones[i + 2]};
            if (!append_some(r, ones, 3, -1))
                return;
        }
    }
    tell_some(r);
}

static void run_work(struct crash_env *ce, void *state)
{
    struct run *r = state;
    if (saga_journal_open(crash_env(ce), "data/sagas.db", &r->journal, NULL) != FICUS_ERR_OK)
        return;
    crash_env_call(ce, appends, r);
    saga_journal_close(r->journal);
}

struct looked {
    const struct one *o;
    bool found;
};

static void look_one(void *arg, const struct saga_stored *row)
{
    struct looked *l = arg;
    l->found = l->found || slice_eq_str(row->start.id, l->o->id);
}

/* A child that has ended is untold, until its parent is known to have heard of it; nobody else is. */
static void check_untold(struct saga_journal *j, const struct one *o, const struct saga_stored *stored)
{
    struct looked l = {.o = o};
    bool child = stored->start.parent.saga.p != NULL, ended = child && saga_state_is_final(stored->state);
    assert_int_equal(child, o->start.parent.saga.p != NULL);
    assert_true(!child || (slice_eq_str(stored->start.parent.id, o->id) && slice_eq_str(stored->start.parent.step, "k")));
    if (saga_journal_untold(j, SAGAS, look_one, &l, NULL) != FICUS_ERR_OK)
        return; /* the disk has died: said by the next who reads */
    assert_true(!l.found || (ended && !o->told));
    assert_true(l.found || !ended || o->told_tried);
}

static void check_one(struct run *r, struct saga_journal *j, const struct one *o, bool *ret_alive)
{
    struct arena a;
    struct saga_stored *stored;
    struct ficus_error error = {0};
    arena_init(&a, 1 << 20);
    enum ficus_err err = saga_journal_load(j, &a, SLICE("s"), slice_str(o->id), &stored, &error);
    if (err == FICUS_ERR_NOT_FOUND) {
        assert_int_equal(o->acknowledged, 0);
    } else if (err == FICUS_ERR_IO) {
        *ret_alive = false;
    } else if (err != FICUS_ERR_OK) {
        fail_msg("%s", error.text);
    } else {
        struct saga_state folded;
        /* whole appends only: all that was acknowledged, and of the one under way all or nothing */
        assert_true(stored->record_count == o->acknowledged || stored->record_count == o->tried);
        if (saga_stored_fold(stored, r->def, &folded, &error) != FICUS_ERR_OK)
            fail_msg("%s", error.text);
        assert_int_equal(folded.name, stored->state);
        assert_string_equal(folded.failure, stored->failure);
        if (stored->state == SAGA_WAITING)
            assert_int_equal(stored->wake_at_ms, strcmp(stored->step, "w") == 0 ? WAKE_AT_MS : 0);
        for (size_t i = 0; i < stored->record_count; i++) {
            const struct saga_stored_record *sr = &stored->records[i];
            bool said = sr->kind == SAGA_RECORD_RETRIED || sr->kind >= SAGA_RECORD_SIGNALLED;
            assert_true(said ? slice_eq(sr->actor, note.actor) && slice_eq(sr->reason, note.reason) && slice_eq(sr->data, note.data)
                             : sr->actor.p == NULL && sr->reason.p == NULL && sr->data.p == NULL);
        }
        assert_true(slice_eq_str(stored->start.input, o->input));
        assert_true(slice_eq(stored->start.def_text, r->def_canonical));
        check_untold(j, o, stored);
    }
    arena_done(&a);
}

static bool run_check(struct crash_env *ce, void *state)
{
    struct run *r = state;
    struct saga_journal *j;
    struct ficus_error error = {0};
    bool alive = true;
    enum ficus_err err = saga_journal_open(crash_env(ce), "data/sagas.db", &j, &error);
    if (err == FICUS_ERR_IO)
        return false;
    if (err != FICUS_ERR_OK)
        fail_msg("open after the crash: %s", error.text);
    int64_t position = 0;
    if (saga_journal_position(j, &position, NULL) == FICUS_ERR_OK)
        assert_true(position == (int64_t)r->started_acknowledged || position == (int64_t)r->started_tried);
    else
        alive = false;
    for (size_t i = 0; i < SAGAS && alive; i++) {
        if (r->ones[i].id[0] == '\0')
            continue;
        check_one(r, j, &r->ones[i], &alive);
        if (alive && (int64_t)i < position) { /* its start is covered by the position: it must be there */
            struct arena a;
            struct saga_stored *stored;
            arena_init(&a, 1 << 20);
            err = saga_journal_load(j, &a, SLICE("s"), slice_str(r->ones[i].id), &stored, NULL);
            assert_int_not_equal(err, FICUS_ERR_NOT_FOUND);
            arena_done(&a);
        }
    }
    saga_journal_close(j);
    return alive;
}

/* Crash after every single operation on the disk, in every way. */
static void test_journal_durable(void **state)
{
    (void)state;
    static const struct crash_case cc = {run_new, run_free, run_work, run_check};
    crash_sweep(&cc, "saga_journal");
}

static void append_one(struct run *r, struct one *o, enum saga_input_kind kind)
{
    struct saga_journal_entry *entries[] = {&o->entry};
    const struct saga_input in = {.kind = kind, .wall_ms = 1000};
    saga_machine_input(r->def, &o->state, &in, &o->out);
    o->start.def_hash = slice_str(r->def_hash);
    o->start.def_text = r->def_canonical;
    o->entry = (struct saga_journal_entry){.start = &o->start, .is_new = kind == SAGA_INPUT_START, .def = r->def, .records = o->out.records,
                                           .record_count = o->out.record_count, .state = &o->state};
    assert_int_equal(saga_journal_append(r->journal, entries, 1, -1, 5000, NULL), FICUS_ERR_OK);
}

static size_t trim(struct run *r)
{
    size_t count = 9;
    assert_int_equal(saga_journal_trim(r->journal, 9000, 10, &count, NULL), FICUS_ERR_OK);
    return count;
}

/* A parent that is terminated while its child goes on, and then the child, with the janitor in between. */
static void keeps_family(void *arg)
{
    struct run *r = arg;
    struct one *parent = &r->ones[0], *child = &r->ones[1];
    const struct saga_name told = {SLICE("s"), SLICE("x.k")};
    parent->start = (struct saga_start){.saga = SLICE("s"), .id = SLICE("x")};
    child->start = (struct saga_start){.saga = told.saga, .id = told.id, .parent = {SLICE("s"), SLICE("x"), SLICE("k")}};
    append_one(r, parent, SAGA_INPUT_START);
    append_one(r, child, SAGA_INPUT_START);
    append_one(r, parent, SAGA_INPUT_TERMINATE);
    assert_int_equal(trim(r), 0);
    append_one(r, child, SAGA_INPUT_TERMINATE);
    assert_int_equal(trim(r), 0);
    assert_int_equal(saga_journal_told(r->journal, &told, 1, NULL), FICUS_ERR_OK);
    assert_int_equal(trim(r), 1); /* the child */
    assert_int_equal(trim(r), 1);
}

/* An ended child is not forgotten before its parent has heard of it, however long that takes, nor a parent before its children. */
static void test_family_stays(void **state)
{
    (void)state;
    struct sim_disk *disk = sim_disk_new();
    struct crash_env *ce = crash_env_new(disk, 1);
    struct run *r = run_new(1);
    assert_int_equal(saga_journal_open(crash_env(ce), "sagas.db", &r->journal, NULL), FICUS_ERR_OK);
    crash_env_call(ce, keeps_family, r);
    saga_journal_close(r->journal);
    run_free(r);
    crash_env_free(ce);
    sim_disk_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_family_stays), cmocka_unit_test(test_journal_durable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
