/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus upgrade: another program takes this one's place, in this process, and then every process is restarted on it.
 *
 *     NONE, DONE, FAILED --ask--> CHECKING --it can--> TAKING OVER --execve--> [the next program] ROLLING --> DONE
 *                                    |                     |                        |                |
 *                                    v                     v                        v                +------> FAILED, half way
 *                                   NONE                 FAILED        [this program again] FAILED
 *
 * The check is the new program itself, started as a child with our command line and a copy of what it would be given
 * (HANDOVER_TRIAL_VARIABLE): it reads the manifest, compares it with what runs, and says whether it could go on. Only then
 * we become it. If it cannot after all, it becomes us again and tells why (cmd_up.c). A restart goes through hub, services,
 * gateway, who is asked before who asks, one after another; the first that is not ready again ends it: what was not restarted
 * yet runs on. A kill -9 at any moment is one of a supervisor: its children die with it, and ficus up starts what is on the disk.
 */
#include "supervisor_private.h"

#include "assert.h"
#include "child.h"
#include "json.h"
#include "mem.h"
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    TRIAL_MS = 15000,
    ANSWER_MS = 2000,  /* for who asked to read the answer */
    READY_MS = 60000,  /* of a process that was restarted: ten seconds to end its work, and its migrations */
    DEATHS_MAX = 3,    /* in a row, of a new process: it will not run */
    OUTPUT_MAX = 8192, /* of what a trial says */
    PROGRAM_FD_MIN = 128,
};

static void drop(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void settle(struct supervisor *s, enum upgrade_state state, const char *why)
{
    struct upgrade *u = &s->upgrade;
    u->state = state;
    env_timer_stop(s->env, &u->timer);
    env_timer_stop(s->env, &u->look);
    drop(&u->program);
    drop(&u->output[0]);
    drop(&u->output[1]);
    (void)snprintf(u->message, sizeof u->message, "%s", why == NULL ? "" : why);
    if (why != NULL)
        LOG(s->o.log, LOG_ERROR, NULL, "supervisor.upgrade", "the upgrade failed", LOG_STR("reason", why));
}

/* ---- the answer to who asked ---- */

static void on_answered(void *arg, struct http_stream *stream)
{
    struct supervisor *s = arg;
    s->upgrade.stream = NULL;
    if (s->upgrade.state == UPGRADE_TAKING_OVER)
        env_timer_start(s->env, &s->upgrade.timer, 0);
}

static void on_gone(void *arg, struct http_stream *stream, enum ficus_err err, const char *detail)
{
    on_answered(arg, stream);
}

static void ignore_data(void *arg, struct http_stream *stream, struct slice data, bool end)
{
    (void)arg, (void)stream, (void)data, (void)end; /* as in supervisor_api.c */
}

static const struct http_handler handler = {.on_data = ignore_data, .on_done = on_answered, .on_reset = on_gone};

static void answer(struct supervisor *s, struct slice text)
{
    struct http_stream *stream = s->upgrade.stream;
    if (stream == NULL)
        return;
    if (http_respond(stream, 200, NULL, 0, "application/json", text) == FICUS_ERR_OK)
        return;
    s->upgrade.stream = NULL;
    http_reset(stream, FICUS_ERR_NOMEM);
}

/* usage: the manifest is to blame. text: for people, of several lines. */
static void refuse(struct supervisor *s, bool usage, struct slice text)
{
    struct buf out;
    struct json_writer w;
    char why[512];
    buf_init(&out, 4 * OUTPUT_MAX);
    json_write_init(&w, &out);
    json_write_object(&w);
    json_write_kv_bool(&w, "ok", false);
    json_write_kv_bool(&w, "usage", usage);
    json_write_kv_slice(&w, "text", text);
    json_write_end(&w);
    (void)snprintf(why, sizeof why, "refused, nothing has changed: %.*s", (int)text.size, text.p);
    settle(s, UPGRADE_FAILED, why);
    s->upgrade.state = UPGRADE_NONE; /* no news of the system: who asked is told */
    answer(s, buf_slice(&out));
    buf_done(&out);
}

/* ---- taking over ---- */

static void take_over(struct supervisor *s)
{
    struct upgrade *u = &s->upgrade;
    struct arena a;
    struct handover h;
    struct ficus_error error = {0};
    arena_init(&a, HANDOVER_SIZE_MAX);
    supervisor_flush(s);
    const char *const *argv = handover_argv(&a, u->path);
    enum ficus_err err = argv == NULL ? err_set(&error, FICUS_ERR_NOMEM, "out of memory") : supervisor_hand_over(s, &a, &h, &error);
    int previous = open("/proc/self/exe", O_PATH | O_CLOEXEC);
    if (err == FICUS_ERR_OK) {
        h.previous = previous;
        err = handover_exec(&h, u->program, argv, &error);
    }
    drop(&previous);
    arena_done(&a);
    FICUS_ASSERT(err != FICUS_ERR_OK);
    settle(s, UPGRADE_FAILED, error.text);
}

/* ---- the trial ---- */

/* The version in "ficus VERSION can take over\n", the end of what it said; false: it did not say so. */
static bool trial_version(struct slice text, char *ret_version, size_t size)
{
    struct slice words = SLICE(HANDOVER_TRIAL_WORDS);
    if (!slice_ends(text, words))
        return false;
    text.size -= words.size;
    size_t at = text.size;
    while (at > 0 && text.p[at - 1] != '\n')
        at--;
    struct slice line = slice_from(text, at);
    if (!slice_starts(line, SLICE("ficus ")) || line.size < sizeof "ficus " || line.size - 6 > size)
        return false;
    (void)snprintf(ret_version, size, "%.*s", (int)line.size - 7, line.p + 6); /* without the space behind it */
    return true;
}

static void trial_judge(struct supervisor *s, const siginfo_t *info, struct slice text)
{
    struct upgrade *u = &s->upgrade;
    struct buf out;
    bool exited = info->si_code == CLD_EXITED;
    buf_init(&out, 2 * OUTPUT_MAX);
    if (s->stopping) {
        refuse(s, false, SLICE("ficus: the system is stopping\n"));
    } else if (exited && info->si_status == 0 && trial_version(text, u->to, sizeof u->to)) {
        struct json_writer w;
        json_write_init(&w, &out);
        json_write_object(&w);
        json_write_kv_bool(&w, "ok", true);
        json_write_kv_str(&w, "from", u->from);
        json_write_kv_str(&w, "to", u->to);
        json_write_end(&w);
        u->state = UPGRADE_TAKING_OVER;
        LOG(s->o.log, LOG_INFO, NULL, "supervisor.handover", "another program can take over, and will", LOG_STR("program", u->path),
            LOG_STR("version", u->to));
        env_timer_start(s->env, &u->timer, u->stream == NULL ? 0 : ANSWER_MS);
        answer(s, buf_slice(&out));
    } else {
        if (exited && info->si_status == 0)
            buf_printf(&out, "ficus: %s is not a ficus that can take over: it ended well and said nothing of it\n", u->path);
        else if (u->message[0] != '\0')
            buf_printf(&out, "ficus: %s: %s\n", u->path, u->message);
        else
            buf_printf(&out, "ficus: %s cannot take over (%s %d); it said:\n", u->path, exited ? "exit status" : "signal", info->si_status);
        buf_add_slice(&out, text);
        refuse(s, exited && info->si_status == 2, buf_slice(&out));
    }
    buf_done(&out);
}

void supervisor_upgrade_reap(struct supervisor *s)
{
    struct upgrade *u = &s->upgrade;
    char text[OUTPUT_MAX];
    siginfo_t info;
    if (!supervisor_reap(&u->trial, &info))
        return;
    u->trial.pid = 0;
    env_timer_stop(s->env, &u->timer);
    ssize_t n = read(u->output[0], text, sizeof text); /* it never blocks: nothing is nothing */
    drop(&u->output[0]);
    drop(&u->output[1]);
    trial_judge(s, &info, slice_make(text, n > 0 ? (size_t)n : 0));
}

static enum ficus_err trial_spawn(struct supervisor *s, struct arena *a, int memory, struct ficus_error *reterr)
{
    struct upgrade *u = &s->upgrade;
    const char *state = getenv("FICUS_STATE");
    const char *const *argv = handover_argv(a, u->path);
    const char *file = arena_printf(a, "/proc/%d/fd/%d", (int)getpid(), u->program);
    const char *output = arena_printf(a, "/proc/%d/fd/%d", (int)getpid(), u->output[1]);
    const char *state_variable = state == NULL ? NULL : arena_printf(a, "FICUS_STATE=%s", state);
    static const char *const names[] = {"handover"};
    const char *const environment[] = {HANDOVER_TRIAL_VARIABLE "=3", state_variable, NULL};
    struct proc_info info = {0};
    int gate;
    if (argv == NULL || file == NULL || output == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    const struct child_spec spec = {.argv = argv,
                                    .file = file,
                                    .folder = ".",
                                    .log_path = output,
                                    .environment = environment,
                                    .sockets = &memory,
                                    .socket_names = names,
                                    .socket_count = 1};
    enum ficus_err err = child_spawn(&spec, &u->trial.pid, &gate, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    (void)proc_read(u->trial.pid, &info);
    u->trial.start_ticks = info.start_ticks;
    child_release(gate);
    env_timer_start(s->env, &u->timer, TRIAL_MS);
    return FICUS_ERR_OK;
}

static enum ficus_err trial_start(struct supervisor *s, struct ficus_error *reterr)
{
    struct upgrade *u = &s->upgrade;
    struct arena a;
    struct handover h;
    int memory = -1, fd = open(u->path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return err_sys(reterr, errno, "%s", u->path);
    u->program = fcntl(fd, F_DUPFD_CLOEXEC, PROGRAM_FD_MIN);
    close(fd);
    if (u->program < 0 || pipe2(u->output, O_CLOEXEC | O_NONBLOCK) != 0)
        return err_sys(reterr, errno, "%s", u->path);
    arena_init(&a, HANDOVER_SIZE_MAX);
    enum ficus_err err = supervisor_hand_over(s, &a, &h, reterr);
    if (err == FICUS_ERR_OK)
        err = handover_store(&h, &memory, reterr);
    if (err == FICUS_ERR_OK)
        err = trial_spawn(s, &a, memory, reterr);
    drop(&memory);
    arena_done(&a);
    return err;
}

/* ---- asking for it ---- */

void supervisor_upgrade(struct supervisor *s, struct http_stream *stream)
{
    struct upgrade *u = &s->upgrade;
    struct ficus_error error = {0};
    bool ok = true;
    struct slice path = http_query_get(stream->head_in->query, "binary", stream->arena, &ok);
    if (s->stopping || s->o.program == NULL) {
        (void)http_respond_problem(stream, 409, NULL, s->stopping ? "the system is stopping" : "this system takes no upgrade: its test ends with it");
        return;
    }
    if (u->state == UPGRADE_CHECKING || u->state == UPGRADE_TAKING_OVER || u->state == UPGRADE_ROLLING) {
        (void)http_respond_problem(stream, 409, NULL, "an upgrade is under way; ficus status shows how far it is");
        return;
    }
    if (!ok || path.size >= sizeof u->path || (path.p != NULL && !slice_starts(path, SLICE("/")))) {
        (void)http_respond_problem(stream, 400, NULL, "binary: expected an absolute path of at most 4095 bytes");
        return;
    }
    (void)snprintf(u->path, sizeof u->path, "%.*s", path.p == NULL ? (int)strlen(s->o.program) : (int)path.size, path.p == NULL ? s->o.program : path.p);
    (void)snprintf(u->from, sizeof u->from, "%s", s->o.version == NULL ? "?" : s->o.version);
    u->to[0] = u->message[0] = '\0';
    u->at = u->count = 0;
    enum ficus_err err = trial_start(s, &error);
    if (err != FICUS_ERR_OK) {
        settle(s, UPGRADE_FAILED, error.text);
        u->state = UPGRADE_NONE;
        (void)http_respond_problem(stream, 409, NULL, error.text);
        return;
    }
    u->state = UPGRADE_CHECKING;
    u->stream = stream;
    http_stream_handle(stream, &handler, s);
}

/* ---- one process after another ---- */

static void roll_failed(struct supervisor *s, const char *why)
{
    struct upgrade *u = &s->upgrade;
    char text[512];
    (void)snprintf(text, sizeof text, "%s %s; %zu of %zu were restarted, the others run on as they were", u->order[u->at]->process->name, why, u->at,
                   u->count);
    settle(s, UPGRADE_FAILED, text);
}

/* True: on to the next one. */
static bool roll_one(struct supervisor *s)
{
    struct upgrade *u = &s->upgrade;
    struct supervised *p = u->order[u->at];
    bool still = p->next.pid > 0 || p->leaving.pid > 0 || p->replace_wanted; /* the old one's work, too, is through */
    if (p->unit.state == UNIT_STOPPED)
        return true; /* somebody holds it down */
    if (!u->asked) {
        u->asked = true;
        u->old_pid = p->record.pid;
        env_timer_start(s->env, &u->timer, READY_MS);
        supervisor_restart(p);
        supervisor_flush(s);
        return false;
    }
    if (p->unit.state == UNIT_READY && p->record.pid != u->old_pid && !still)
        return true;
    if (p->unit.state == UNIT_READY && p->process->kind == CHILD_GATEWAY && !still && p->message[0] != '\0')
        roll_failed(s, "was not replaced");
    else if (p->unit.state == UNIT_BACKOFF && p->unit.deaths >= DEATHS_MAX)
        roll_failed(s, "dies again and again");
    return false;
}

static void on_look(void *arg)
{
    struct supervisor *s = arg;
    struct upgrade *u = &s->upgrade;
    while (u->state == UPGRADE_ROLLING && u->at < u->count && roll_one(s)) {
        u->at++;
        u->asked = false;
    }
    if (u->state != UPGRADE_ROLLING || u->at < u->count)
        return;
    settle(s, UPGRADE_DONE, NULL);
    LOG(s->o.log, LOG_INFO, NULL, "supervisor.upgraded", "every process runs the new program", LOG_STR("version", u->to),
        LOG_INT("processes", u->count));
}

void supervisor_upgrade_changed(struct supervisor *s)
{
    if (s->upgrade.state == UPGRADE_ROLLING)
        env_timer_start(s->env, &s->upgrade.look, 0); /* not inside of what has changed it */
}

static void on_timer(void *arg)
{
    struct supervisor *s = arg;
    struct upgrade *u = &s->upgrade;
    if (u->state == UPGRADE_CHECKING && u->trial.pid > 0) {
        (void)snprintf(u->message, sizeof u->message, "it has not said within %d s whether it can take over, and was killed", TRIAL_MS / 1000);
        kill(-(pid_t)u->trial.pid, SIGKILL);
        kill((pid_t)u->trial.pid, SIGKILL); /* before it has a session */
    } else if (u->state == UPGRADE_TAKING_OVER) {
        take_over(s);
    } else if (u->state == UPGRADE_ROLLING) {
        roll_failed(s, "is not ready again within a minute");
    }
}

void supervisor_upgrade_roll(struct supervisor *s, const char *from, const char *failed)
{
    static const enum child_kind kinds[] = {CHILD_HUB, CHILD_SERVICE, CHILD_GATEWAY};
    struct upgrade *u = &s->upgrade;
    (void)snprintf(u->from, sizeof u->from, "%s", from);
    (void)snprintf(u->to, sizeof u->to, "%s", s->o.version == NULL ? "?" : s->o.version);
    u->order = mem_array(s->count + 1, sizeof *u->order);
    if (failed != NULL || u->order == NULL) {
        settle(s, UPGRADE_FAILED, failed != NULL ? failed : "out of memory; no process was restarted");
        return;
    }
    for (size_t k = 0; k < ARRAY_COUNT(kinds); k++)
        for (size_t i = 0; i < s->count; i++)
            if (s->processes[i].process->kind == kinds[k])
                u->order[u->count++] = &s->processes[i];
    u->state = UPGRADE_ROLLING;
    LOG(s->o.log, LOG_INFO, NULL, "supervisor.taken_over", "took over what runs", LOG_STR("from", from), LOG_STR("version", u->to));
    supervisor_upgrade_changed(s);
}

const struct status_upgrade *supervisor_upgrade_status(const struct supervisor *s, struct status_upgrade *ret_upgrade)
{
    static const char *const names[] = {[UPGRADE_CHECKING] = "checking", [UPGRADE_TAKING_OVER] = "taking over", [UPGRADE_ROLLING] = "rolling",
                                        [UPGRADE_DONE] = "done", [UPGRADE_FAILED] = "failed"};
    const struct upgrade *u = &s->upgrade;
    if (u->state == UPGRADE_NONE)
        return NULL;
    *ret_upgrade = (struct status_upgrade){.state = names[u->state],
                                           .from = u->from,
                                           .to = u->to[0] == '\0' ? NULL : u->to,
                                           .process = u->state == UPGRADE_ROLLING && u->at < u->count ? u->order[u->at]->process->name : NULL,
                                           .done = u->at,
                                           .count = u->count,
                                           .message = u->message[0] == '\0' ? NULL : u->message};
    return ret_upgrade;
}

/* ---- life ---- */

void supervisor_upgrade_init(struct supervisor *s)
{
    s->upgrade.program = s->upgrade.output[0] = s->upgrade.output[1] = -1;
    s->upgrade.timer = (struct env_timer){.fn = on_timer, .arg = s};
    s->upgrade.look = (struct env_timer){.fn = on_look, .arg = s};
}

void supervisor_upgrade_stop(struct supervisor *s)
{
    struct upgrade *u = &s->upgrade;
    if (u->trial.pid > 0) {
        kill(-(pid_t)u->trial.pid, SIGKILL);
        kill((pid_t)u->trial.pid, SIGKILL);
    }
    if (u->state == UPGRADE_TAKING_OVER || u->state == UPGRADE_ROLLING)
        settle(s, UPGRADE_FAILED, "everything was told to stop");
}

void supervisor_upgrade_done(struct supervisor *s)
{
    struct upgrade *u = &s->upgrade;
    env_timer_stop(s->env, &u->timer);
    env_timer_stop(s->env, &u->look);
    drop(&u->program);
    drop(&u->output[0]);
    drop(&u->output[1]);
    mem_free(u->order);
    u->order = NULL;
}
