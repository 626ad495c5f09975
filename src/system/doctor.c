/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of checks, and the judgement of each.
 */
#include "doctor.h"

#include "assert.h"

#include <errno.h>
#include <stdio.h>

enum {
    FILES_FEW = 4096, /* the gateway would take fewer connections than it can */
    FILES_MIN = 256,
    YEAR_2024_S = 1704067200,
    CLOCK_SLACK_MS = 20,
    AHEAD_SLACK_S = 60,
    SYNC_SLOW_US = 100000,
};
static const int64_t MIB = 1 << 20;

const char *doctor_level_name(enum doctor_level level)
{
    static const char *const names[] = {"ok", "warning", "problem"};
    FICUS_ASSERT((size_t)level < sizeof names / sizeof names[0]);
    return names[level];
}

__attribute__((format(printf, 2, 3))) static void say(struct doctor_finding *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(r->text, sizeof r->text, format, args); /* cut when too long */
    va_end(args);
}

__attribute__((format(printf, 3, 4))) static void remedy(struct doctor_finding *r, enum doctor_level level,
                                                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(r->remedy, sizeof r->remedy, format, args);
    va_end(args);
    r->level = level;
}

/* ---- the machine ---- */

static void judge_kernel(const struct doctor_facts *f, struct doctor_finding *r)
{
    if (f->kernel_missing[0] == '\0') {
        say(r, "Linux %s has all that is needed", f->kernel);
        return;
    }
    say(r, "Linux %s lacks or forbids: %s", f->kernel, f->kernel_missing);
    remedy(r, DOCTOR_PROBLEM, "Linux 5.10 or newer, with /proc, and without a filter of system calls against these");
}

static void judge_files(const struct doctor_facts *f, struct doctor_finding *r)
{
    say(r, "open files: %llu, may be raised to %llu", (unsigned long long)f->files_soft,
        (unsigned long long)f->files_hard);
    if (f->files_hard < FILES_FEW)
        remedy(r, f->files_hard < FILES_MIN ? DOCTOR_PROBLEM : DOCTOR_WARNING,
               "raise the hard limit to 65536 (ulimit -Hn, LimitNOFILE= or /etc/security/limits.conf): "
               "each connection takes one or two");
}

static void judge_memory(const struct doctor_facts *f, struct doctor_finding *r)
{
    if (f->memory_available < 0) {
        say(r, "the kernel does not say how much memory is available");
        return;
    }
    say(r, "%lld MB of memory are available", (long long)(f->memory_available / MIB));
    if (f->memory_available < 128 * MIB)
        remedy(r, f->memory_available < 32 * MIB ? DOCTOR_PROBLEM : DOCTOR_WARNING,
               "end something, or give more: a system takes 2 to 5 MB for each process when idle");
}

static void judge_clock(const struct doctor_facts *f, struct doctor_finding *r)
{
    int64_t drift_ms = f->wall_ms - f->mono_ms;
    if (f->wall_s < YEAR_2024_S) {
        say(r, "the clock stands before the year 2024");
        remedy(r, DOCTOR_PROBLEM, "set it (timedatectl, chronyd): tokens and certificates are judged by it");
    } else if (f->state_ahead_s > AHEAD_SLACK_S) {
        say(r, "the state was last written %lld s in the future: the clock was set back", (long long)f->state_ahead_s);
        remedy(r, DOCTOR_WARNING, "check date; tokens that were issued meanwhile are refused until then");
    } else if (drift_ms > CLOCK_SLACK_MS || drift_ms < -CLOCK_SLACK_MS) {
        say(r, "the clock jumped by %lld ms while it was looked at", (long long)drift_ms);
        remedy(r, DOCTOR_WARNING, "let it be slewed instead of set (chronyd, systemd-timesyncd)");
    } else {
        say(r, "the clock goes forward, evenly");
    }
}

/* ---- the system ---- */

static void judge_manifest(const struct doctor_facts *f, struct doctor_finding *r)
{
    if (!f->file_found) {
        say(r, "there is no %s here", f->file);
        if (f->file_given)
            remedy(r, DOCTOR_PROBLEM, "-f names the manifest");
        else
            (void)snprintf(r->remedy, sizeof r->remedy, "ficus new service NAME makes one; -f names another");
    } else if (f->error_count > 0) {
        say(r, "%s has %zu error%s: %s", f->file, f->error_count, f->error_count == 1 ? "" : "s", f->first_error);
        remedy(r, DOCTOR_PROBLEM, "ficus config check -f %s shows all", f->file);
    } else {
        say(r, "%s: system %s, %zu service%s", f->file, f->system, f->service_count, f->service_count == 1 ? "" : "s");
    }
}

static void judge_programs(const struct doctor_facts *f, struct doctor_finding *r)
{
    if (f->programs_missing[0] != '\0') {
        say(r, "not there, or not executable: %s", f->programs_missing);
        remedy(r, DOCTOR_PROBLEM, "build them (make -C services/NAME), or correct run: in their service.yaml");
    } else if (f->libraries_missing[0] != '\0') {
        say(r, "libraries are not found: %s", f->libraries_missing);
        remedy(r, DOCTOR_PROBLEM, "install them, run ldconfig, or name their folder in LD_LIBRARY_PATH");
    } else if (f->service_count > 0) {
        say(r, "the programs of all services and their libraries are there");
    } else {
        say(r, "there is no service to look for");
    }
}

static void judge_port(const struct doctor_facts *f, struct doctor_finding *r)
{
    static const char other[] = "--set gateway.listen=ADDRESS:PORT takes another";
    if (f->listen[0] == '\0') {
        say(r, "the manifest has no gateway");
    } else if (f->listen_ours) {
        say(r, "%s is this system's gateway, which runs", f->listen);
    } else if (f->listen_errno == 0) {
        say(r, "%s is free for the gateway", f->listen);
    } else if (f->listen_errno == EADDRINUSE) {
        say(r, "%s is used by %s", f->listen,
            f->listen_holder[0] != '\0' ? f->listen_holder : "a process of another user");
        remedy(r, DOCTOR_PROBLEM, "end that; or %s", other);
    } else if (f->listen_errno == EACCES) {
        say(r, "%s is for root alone", f->listen);
        remedy(r, DOCTOR_PROBLEM, "%s; or lower net.ipv4.ip_unprivileged_port_start", other);
    } else {
        say(r, "%s cannot be listened on: %s", f->listen, strerrordesc_np(f->listen_errno));
        remedy(r, DOCTOR_PROBLEM, "%s", other);
    }
}

static void judge_state(const struct doctor_facts *f, struct doctor_finding *r)
{
    if (f->state[0] == '\0') {
        say(r, "without a manifest it is not known where the state will lie");
    } else if (!f->state_there) {
        say(r, "%s will be made by the first ficus up", f->state);
        if (!f->state_writable)
            remedy(r, DOCTOR_PROBLEM, "%s may not be written; FICUS_STATE names another folder", f->disk_folder);
    } else if (!f->state_marked && !f->state_empty) {
        say(r, "%s was not made by Ficus", f->state);
        remedy(r, DOCTOR_PROBLEM, "move it away, or let FICUS_STATE name another folder");
    } else if (!f->state_own || !f->state_writable) {
        say(r, "%s %s", f->state, f->state_own ? "may not be written" : "belongs to another user");
        remedy(r, DOCTOR_PROBLEM, "run as its owner, or chown -R it, or let FICUS_STATE name another folder");
    } else if ((f->state_mode & 077) != 0) {
        say(r, "%s may be read by others (mode %04o), and has keys and data in it", f->state, f->state_mode);
        remedy(r, DOCTOR_WARNING, "chmod 700 %s", f->state);
    } else {
        say(r, "%s is ours alone", f->state);
    }
}

static void judge_disk(const struct doctor_facts *f, struct doctor_finding *r)
{
    static const char elsewhere[] = "let FICUS_STATE name a folder on a local disk";
    static const char room[] = "make room: nothing is accepted when the disk is full";
    say(r, "%s below %s: %lld MB free, a sync takes %.1f ms", f->disk_type, f->disk_folder,
        (long long)(f->disk_free / MIB), (double)f->sync_us / 1000);
    if (f->sync_errno != 0 || f->lock_errno != 0) {
        say(r, "%s below %s cannot %s: %s", f->disk_type, f->disk_folder, f->sync_errno != 0 ? "sync" : "lock",
            strerrordesc_np(f->sync_errno != 0 ? f->sync_errno : f->lock_errno));
        remedy(r, DOCTOR_PROBLEM, "%s", f->sync_errno == ENOSPC ? room : elsewhere);
    } else if (f->disk_free >= 0 && f->disk_free < 16 * MIB) {
        remedy(r, DOCTOR_PROBLEM, "%s", room);
    } else if (f->disk == DOCTOR_DISK_NETWORK) {
        remedy(r, DOCTOR_PROBLEM, "%s: a network's syncs and locks do not hold what SQLite builds on", elsewhere);
    } else if (f->disk == DOCTOR_DISK_MEMORY) {
        remedy(r, DOCTOR_WARNING, "all is lost with the power; to keep it %s", elsewhere);
    } else if (f->disk == DOCTOR_DISK_LAYER) {
        remedy(r, DOCTOR_WARNING, "all is lost with the container; to keep it let the state lie on a volume");
    } else if (f->disk == DOCTOR_DISK_OTHER) {
        remedy(r, DOCTOR_WARNING, "whether its syncs are true is not known here; if not, %s", elsewhere);
    } else if (f->disk_free >= 0 && f->disk_free < 256 * MIB) {
        remedy(r, DOCTOR_WARNING, "make room soon: nothing is accepted when the disk is full");
    } else if (f->sync_us > SYNC_SLOW_US) {
        remedy(r, DOCTOR_WARNING, "expect slow answers: each write is synced before it is acknowledged");
    }
}

static void judge_processes(const struct doctor_facts *f, struct doctor_finding *r)
{
    if (f->supervisor_pid != 0) {
        say(r, "the system runs (supervisor %lld)", (long long)f->supervisor_pid);
    } else if (f->left_count == 0) {
        say(r, "the system does not run, and nothing of it is left");
    } else {
        say(r, "no supervisor runs, but %zu of its processes: %s", f->left_count, f->left);
        remedy(r, DOCTOR_WARNING, "ficus down ends them; so does the next ficus up");
    }
}

static void judge_sockets(const struct doctor_facts *f, struct doctor_finding *r)
{
    if (f->socket_path_size == 0)
        say(r, "without a manifest there are no sockets");
    else if (f->socket_path_size <= STATE_SOCKET_PATH_MAX)
        say(r, "paths of sockets have up to %zu bytes of %d", f->socket_path_size, STATE_SOCKET_PATH_MAX);
    else
        say(r, "paths of sockets would have %zu bytes, %d are possible: they lie in %s instead", f->socket_path_size,
            STATE_SOCKET_PATH_MAX, f->sockets[0] != '\0' ? f->sockets : "a folder in /tmp");
}

/* ---- tools ---- */

static void judge_tool(const char *found, const char *what, const char *package, struct doctor_finding *r)
{
    if (found[0] != '\0') {
        say(r, "%s", found);
        return;
    }
    say(r, "%s is not found", what);
    remedy(r, DOCTOR_WARNING, "apt-get install %s", package);
}

static void judge_compiler(const struct doctor_facts *f, struct doctor_finding *r)
{
    judge_tool(f->compiler, "a compiler for C", "gcc libc6-dev", r);
}

static void judge_make(const struct doctor_facts *f, struct doctor_finding *r)
{
    judge_tool(f->make, "make", "make", r);
}

static void judge_pkg_config(const struct doctor_facts *f, struct doctor_finding *r)
{
    judge_tool(f->pkg_config, "pkg-config", "pkg-config", r);
}

static void judge_library(const struct doctor_facts *f, struct doctor_finding *r)
{
    if (f->pkg_config[0] == '\0') {
        say(r, "without pkg-config libficus cannot be looked for");
        remedy(r, DOCTOR_WARNING, "apt-get install pkg-config");
    } else if (f->library_version[0] == '\0') {
        say(r, "pkg-config does not find ficus, with which services are built");
        if (f->library_hint[0] != '\0')
            remedy(r, DOCTOR_WARNING, "export PKG_CONFIG_PATH=%s", f->library_hint);
        else
            remedy(r, DOCTOR_WARNING, "make install in Ficus' source tree, or PKG_CONFIG_PATH=FOLDER OF ficus.pc");
    } else if (strcmp(f->library_version, f->program_version) != 0) {
        say(r, "libficus is version %s, this program %s", f->library_version, f->program_version);
        remedy(r, DOCTOR_PROBLEM, "install both from one source, and build the services anew");
    } else {
        say(r, "libficus %s, as this program", f->library_version);
    }
}

static void judge_cmocka(const struct doctor_facts *f, struct doctor_finding *r)
{
    judge_tool(f->cmocka, "cmocka, for tests of services,", "libcmocka-dev", r);
}

static void judge_python(const struct doctor_facts *f, struct doctor_finding *r)
{
    judge_tool(f->python, "python3, for Ficus' own tests,", "python3", r);
}

static void judge_node(const struct doctor_facts *f, struct doctor_finding *r)
{
    judge_tool(f->node, "node, for the storefront's tests,", "nodejs", r);
}

static void judge_chromium(const struct doctor_facts *f, struct doctor_finding *r)
{
    judge_tool(f->chromium, "chromium, for the storefront's tests,", "chromium", r);
}

const struct doctor_check doctor_checks[] = {
    {"kernel", DOCTOR_RUN, judge_kernel},       {"files", DOCTOR_RUN, judge_files},
    {"memory", DOCTOR_RUN, judge_memory},       {"clock", DOCTOR_RUN, judge_clock},
    {"manifest", DOCTOR_RUN, judge_manifest},   {"programs", DOCTOR_RUN, judge_programs},
    {"port", DOCTOR_RUN, judge_port},           {"state", DOCTOR_RUN, judge_state},
    {"disk", DOCTOR_RUN, judge_disk},           {"sockets", DOCTOR_RUN, judge_sockets},
    {"processes", DOCTOR_RUN, judge_processes}, {"compiler", DOCTOR_BUILD, judge_compiler},
    {"make", DOCTOR_BUILD, judge_make},         {"pkg-config", DOCTOR_BUILD, judge_pkg_config},
    {"libficus", DOCTOR_BUILD, judge_library},  {"cmocka", DOCTOR_TEST, judge_cmocka},
    {"python", DOCTOR_TEST, judge_python},      {"node", DOCTOR_TEST, judge_node},
    {"chromium", DOCTOR_TEST, judge_chromium},
};
const size_t doctor_check_count = sizeof doctor_checks / sizeof doctor_checks[0];

void doctor_judge(const struct doctor_check *check, const struct doctor_facts *f, struct doctor_finding *ret)
{
    *ret = (struct doctor_finding){.level = DOCTOR_OK};
    check->judge(f, ret);
    FICUS_ASSERT(ret->text[0] != '\0' && (ret->level == DOCTOR_OK || ret->remedy[0] != '\0'));
}
