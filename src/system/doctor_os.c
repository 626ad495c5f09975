/* SPDX-License-Identifier: Apache-2.0
 *
 * Gathers the facts of doctor.h. Changes nothing that lasts: the file that is synced and locked has no name (or loses
 * it at once), the port that is tried is let go, programs that are started are asked for their version only.
 */
#include "doctor.h"

#include "children.h"
#include "io_socket.h"
#include "mem.h"
#include "proc.h"
#include "program.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TOOL_WAIT_MS = 5000, TOOL_OUTPUT_MAX = 16384, CLOCK_LOOK_MS = 20, PROC_FILE_SIZE_MAX = 4 << 20 };

static void copy(char *to, size_t size, const char *from)
{
    size_t length = from == NULL ? 0 : strnlen(from, size - 1);
    memcpy(to, from == NULL ? "" : from, length);
    to[length] = '\0';
}

/* A file of /proc, whose size is not known before. Absent: SLICE_NONE. In the arena. */
static struct slice read_proc(struct arena *a, const char *path)
{
    struct buf text;
    char part[4096];
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    buf_init(&text, PROC_FILE_SIZE_MAX);
    while (fd >= 0 && (n = read(fd, part, sizeof part)) > 0)
        buf_add(&text, part, (size_t)n);
    if (fd >= 0)
        close(fd);
    struct slice copied = n == 0 && !buf_failed(&text) ? arena_slice(a, buf_slice(&text)) : SLICE_NONE;
    buf_done(&text);
    return copied;
}

/* One more name in a list; "..." when it is full. */
static void list_add(char *list, size_t size, const char *name)
{
    size_t used = strlen(list);
    if (used + strlen(name) + sizeof ", ..." < size)
        snprintf(list + used, size - used, "%s%s", used == 0 ? "" : ", ", name);
    else if (used + 4 < size && (used < 3 || strcmp(list + used - 3, "...") != 0))
        snprintf(list + used, size - used, "...");
}

#define COPY(field, from) copy((field), sizeof(field), (from))
#define LIST_ADD(field, name) list_add((field), sizeof(field), (name))

/* ---- other programs ---- */

/* What it writes to its output, "" when it cannot be run, fails or takes too long. In the arena. */
static const char *run(struct arena *a, const char *const *argv)
{
    int ends[2];
    pid_t pid;
    char text[TOOL_OUTPUT_MAX];
    size_t size = 0;
    int status = -1;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return "";
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    int failed = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    struct pollfd readable = {.fd = ends[0], .events = POLLIN};
    while (failed == 0 && size < sizeof text - 1) {
        ssize_t n = poll(&readable, 1, TOOL_WAIT_MS) == 1 ? read(ends[0], text + size, sizeof text - 1 - size) : -1;
        if (n <= 0)
            break;
        size += (size_t)n;
    }
    close(ends[0]);
    if (failed != 0)
        return "";
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd gone = {.fd = pidfd, .events = POLLIN};
    if (pidfd < 0 || poll(&gone, 1, TOOL_WAIT_MS) != 1)
        kill(pid, SIGKILL);
    if (pidfd >= 0)
        close(pidfd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    const char *copied = arena_strdup(a, slice_make(text, size));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 && copied != NULL ? copied : "";
}

/* The first line of `TOOL OPTION`, or of the next tool when that is not there. */
static void look_for(struct arena *a, const char *tools, const char *option, char *ret, size_t size)
{
    struct slice rest = slice_str(tools);
    ret[0] = '\0';
    while (rest.p != NULL && ret[0] == '\0') {
        const char *tool = arena_strdup(a, slice_cut(&rest, ' '));
        if (tool == NULL)
            return;
        struct slice text = slice_str(run(a, (const char *const[]){tool, option, NULL}));
        struct slice line = slice_trim(slice_cut(&text, '\n'));
        if (line.size > 0)
            snprintf(ret, size, "%s: " SLICE_FMT, tool, SLICE_ARG(line));
        ret[slice_trim(slice_str(ret)).size] = '\0'; /* where it was cut there may be a blank */
    }
}
#define LOOK_FOR(a, tools, option, field) look_for((a), (tools), (option), (field), sizeof(field))

static void package_version(struct arena *a, const char *package, char *ret, size_t size)
{
    struct slice text = slice_str(run(a, (const char *const[]){"pkg-config", "--modversion", package, NULL}));
    struct slice line = slice_trim(slice_cut(&text, '\n'));
    snprintf(ret, size, SLICE_FMT, SLICE_ARG(line));
}

static void look_at_tools(struct arena *a, const struct doctor_options *o, struct doctor_facts *f)
{
    const char *cc = getenv("CC");
    LOOK_FOR(a, cc != NULL && cc[0] != '\0' && strchr(cc, ' ') == NULL ? cc : "cc gcc clang", "--version", f->compiler);
    LOOK_FOR(a, "make gmake", "--version", f->make);
    LOOK_FOR(a, "pkg-config", "--version", f->pkg_config);
    COPY(f->program_version, FICUS_VERSION);
    COPY(f->library_hint, o->library_folder);
    if (f->pkg_config[0] != '\0')
        package_version(a, "ficus", f->library_version, sizeof f->library_version);
    if (!o->tests)
        return;
    char version[DOCTOR_NAME_SIZE - 8];
    package_version(a, "cmocka", version, sizeof version);
    if (version[0] != '\0')
        snprintf(f->cmocka, sizeof f->cmocka, "cmocka %s", version);
    LOOK_FOR(a, "python3", "--version", f->python);
    LOOK_FOR(a, "node nodejs", "--version", f->node);
    LOOK_FOR(a, "chromium chromium-browser google-chrome", "--version", f->chromium);
}

/* ---- the machine ---- */

static void look_at_kernel(struct doctor_facts *f)
{
    struct utsname name;
    struct proc_info info;
    int death_signal;
    if (uname(&name) == 0)
        COPY(f->kernel, name.release);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        LIST_ADD(f->kernel_missing, "unix sockets");
    else
        close(fd);
    if (prctl(PR_GET_PDEATHSIG, &death_signal) != 0)
        LIST_ADD(f->kernel_missing, "PR_SET_PDEATHSIG");
    fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (fd < 0)
        LIST_ADD(f->kernel_missing, "pidfd_open");
    else
        close(fd);
    if (syscall(SYS_close_range, ~0u, ~0u, 0) != 0)
        LIST_ADD(f->kernel_missing, "close_range");
    if (!proc_read(getpid(), &info) || access("/proc/self/exe", F_OK) != 0)
        LIST_ADD(f->kernel_missing, "/proc");
}

static void look_at_limits(struct arena *a, struct doctor_facts *f)
{
    struct rlimit files;
    struct slice text = read_proc(a, "/proc/meminfo"), line;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        f->files_soft = files.rlim_cur;
        f->files_hard = files.rlim_max;
    }
    f->memory_available = -1;
    while (text.p != NULL) {
        line = slice_cut(&text, '\n');
        uint64_t kib;
        if (!slice_starts(line, SLICE("MemAvailable:")))
            continue;
        line = slice_trim(slice_from(line, sizeof "MemAvailable:" - 1));
        if (slice_to_u64(slice_cut(&line, ' '), &kib))
            f->memory_available = (int64_t)kib * 1024;
    }
}

static int64_t clock_ms(clockid_t clock)
{
    struct timespec t = {0};
    (void)clock_gettime(clock, &t); /* cannot fail for these */
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void look_at_clock(const struct state *s, bool has_state, struct doctor_facts *f)
{
    int64_t wall = clock_ms(CLOCK_REALTIME), mono = clock_ms(CLOCK_MONOTONIC);
    (void)poll(NULL, 0, CLOCK_LOOK_MS);
    f->mono_ms = clock_ms(CLOCK_MONOTONIC) - mono;
    f->wall_ms = clock_ms(CLOCK_REALTIME) - wall;
    f->wall_s = wall / 1000;
    const char *const written[] = {s->children_file, s->data, s->log, s->run};
    for (size_t i = 0; has_state && i < ARRAY_COUNT(written); i++) {
        struct stat st;
        if (stat(written[i], &st) == 0 && st.st_mtime - f->wall_s > f->state_ahead_s)
            f->state_ahead_s = st.st_mtime - f->wall_s;
    }
}

/* ---- the manifest and its programs ---- */

/* "libx.so.1 (orders)" for each line "libx.so.1 => not found" of ldd. */
static void look_at_libraries(struct arena *a, const char *service, const char *path, struct doctor_facts *f)
{
    struct slice text = slice_str(run(a, (const char *const[]){"ldd", path, NULL}));
    while (text.p != NULL && text.size > 0) {
        struct slice line = slice_trim(slice_cut(&text, '\n'));
        if (!slice_ends(line, SLICE("=> not found")))
            continue;
        const char *name = arena_printf(a, SLICE_FMT " (%s)", SLICE_ARG(slice_cut(&line, ' ')), service);
        if (name != NULL)
            LIST_ADD(f->libraries_missing, name);
    }
}

static const struct manifest *look_at_manifest(struct arena *a, const struct doctor_options *o, struct doctor_facts *f)
{
    struct conf_errors errors;
    struct ficus_error error = {0};
    struct manifest *m = NULL;
    struct manifest_options options = {.build = o->build, .sets = o->sets, .set_count = o->set_count};
    f->file = o->file;
    f->file_given = o->file_given;
    f->file_found = access(o->file, F_OK) == 0;
    if (!f->file_found)
        return NULL;
    conf_errors_init(&errors, a);
    if (manifest_load(a, o->file, &options, &m, &errors) != FICUS_ERR_OK) {
        (void)conf_errors_first(&errors, &error);
        f->error_count = errors.count;
        COPY(f->first_error, error.text);
        return NULL;
    }
    COPY(f->system, m->system);
    COPY(f->listen, m->gateway == NULL ? "" : m->gateway->listen);
    f->service_count = m->service_count;
    for (size_t i = 0; i < m->service_count; i++) {
        const struct manifest_service *s = &m->services[i];
        const char *path;
        if (s->url != NULL)
            continue;
        if (program_find(a, s->folder, s->run.argv[0], &path))
            look_at_libraries(a, s->name, path, f);
        else if (path != NULL)
            LIST_ADD(f->programs_missing, path);
    }
    return m;
}

/* ---- the gateway's port ---- */

/* The inode of the socket that listens on the port, from a table of /proc/net. */
static bool listening_inode(struct arena *a, const char *table, unsigned port, char ret[32])
{
    struct slice text = read_proc(a, table);
    const char *end = arena_printf(a, ":%04X", port);
    while (end != NULL && text.p != NULL) {
        /* sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode */
        struct slice line = slice_cut(&text, '\n'), words[10] = {0};
        for (size_t i = 0; i < ARRAY_COUNT(words) && line.p != NULL;) {
            words[i] = slice_cut(&line, ' ');
            i += words[i].size > 0;
        }
        if (!slice_ends(words[1], slice_str(end)) || !slice_eq_str(words[3], "0A") || words[9].size == 0)
            continue;
        snprintf(ret, 32, "socket:[%.*s]", words[9].size < 20 ? (int)words[9].size : 20, words[9].p);
        return true;
    }
    return false;
}

static bool has_descriptor(const char *pid, const char *link)
{
    char folder[64], path[PATH_MAX], target[64];
    bool found = false;
    snprintf(folder, sizeof folder, "/proc/%.20s/fd", pid);
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir != NULL && !found && (entry = readdir(dir)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n < 0 ? 0 : n] = '\0';
        found = n > 0 && strcmp(target, link) == 0;
    }
    if (dir != NULL)
        closedir(dir);
    return found;
}

static void find_holder(struct arena *a, unsigned port, struct doctor_facts *f)
{
    char link[32], path[64];
    if (!listening_inode(a, "/proc/net/tcp", port, link) && !listening_inode(a, "/proc/net/tcp6", port, link))
        return;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc != NULL && (entry = readdir(proc)) != NULL;) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !has_descriptor(entry->d_name, link))
            continue;
        snprintf(path, sizeof path, "/proc/%.20s/comm", entry->d_name);
        struct slice text = read_proc(a, path), name = slice_cut(&text, '\n');
        if (name.p == NULL)
            name = SLICE("a process");
        snprintf(f->listen_holder, sizeof f->listen_holder, SLICE_FMT " (pid %.20s)", SLICE_ARG(name), entry->d_name);
        break;
    }
    if (proc != NULL)
        closedir(proc);
}

/* gateway_url: of the system as it runs; "" when it does not. It was started with a --set of its own, perhaps: then it
 * has the address that counts, unless the question is about another. */
static void look_at_port(struct arena *a, const char *gateway_url, bool asked, struct doctor_facts *f)
{
    struct socket_address address;
    const char *runs_at = strstr(gateway_url, "://");
    if (runs_at != NULL && !asked) {
        COPY(f->listen, runs_at + 3);
        f->listen_ours = true;
        return;
    }
    const char *text = arena_printf(a, "tcp:%s", f->listen), *colon = strrchr(f->listen, ':');
    uint64_t port = 0;
    if (f->listen[0] == '\0' || text == NULL || socket_address_parse(text, &address, NULL) != FICUS_ERR_OK)
        return;
    (void)slice_to_u64(slice_str(colon + 1), &port);
    int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    /* as the supervisor does it: connections of an earlier gateway that fade away are no hindrance */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&address.storage, address.size) != 0 || listen(fd, 1) != 0)
        f->listen_errno = errno;
    if (fd >= 0)
        close(fd);
    f->listen_ours = f->listen_errno == EADDRINUSE && slice_ends(slice_str(gateway_url), slice_str(colon));
    if (f->listen_errno == EADDRINUSE && !f->listen_ours)
        find_holder(a, (unsigned)port, f);
}

/* ---- the state and its disk ---- */

static const struct {
    int64_t magic;
    enum doctor_disk disk;
    const char *name;
} disks[] = {
    {0xEF53, DOCTOR_DISK_PLAIN, "ext4"},       {0x58465342, DOCTOR_DISK_PLAIN, "xfs"},
    {0x9123683E, DOCTOR_DISK_PLAIN, "btrfs"},  {0x2FC12FC1, DOCTOR_DISK_PLAIN, "zfs"},
    {0xF2F52010, DOCTOR_DISK_PLAIN, "f2fs"},   {0x01021994, DOCTOR_DISK_MEMORY, "tmpfs"},
    {0x858458F6, DOCTOR_DISK_MEMORY, "ramfs"}, {0x794C7630, DOCTOR_DISK_LAYER, "overlay"},
    {0x6969, DOCTOR_DISK_NETWORK, "nfs"},      {0x517B, DOCTOR_DISK_NETWORK, "smb"},
    {0xFF534D42, DOCTOR_DISK_NETWORK, "cifs"}, {0xFE534D42, DOCTOR_DISK_NETWORK, "smb2"},
    {0x5346414F, DOCTOR_DISK_NETWORK, "afs"},  {0x65735546, DOCTOR_DISK_OTHER, "fuse"},
    {0x01021997, DOCTOR_DISK_OTHER, "9p"},
};

/* A file without a name in the folder; where that is not possible, one that loses its name at once. */
static int nameless_file(const char *folder)
{
    char path[PATH_MAX];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    snprintf(path, sizeof path, "%s/.ficus-doctor-XXXXXX", folder);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        (void)unlink(path);
    return fd;
}

static void look_at_disk(struct doctor_facts *f)
{
    struct statfs st;
    f->disk_free = -1;
    f->disk = DOCTOR_DISK_OTHER;
    COPY(f->disk_type, "an unknown file system");
    if (statfs(f->disk_folder, &st) == 0) {
        f->disk_free = (int64_t)st.f_bavail * (int64_t)st.f_bsize;
        for (size_t i = 0; i < ARRAY_COUNT(disks); i++)
            if ((int64_t)((uint64_t)st.f_type & 0xFFFFFFFFu) == disks[i].magic) {
                f->disk = disks[i].disk;
                COPY(f->disk_type, disks[i].name);
            }
    }
    int fd = nameless_file(f->disk_folder);
    if (fd < 0)
        return; /* not writable: judged as state */
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0 || flock(fd, LOCK_EX | LOCK_NB) != 0)
        f->lock_errno = errno;
    struct timespec from, to;
    (void)clock_gettime(CLOCK_MONOTONIC, &from);
    if (write(fd, "x", 1) != 1 || fsync(fd) != 0)
        f->sync_errno = errno;
    (void)clock_gettime(CLOCK_MONOTONIC, &to);
    f->sync_us = (int64_t)(to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000;
    close(fd);
}

static void look_at_folder(const struct state *s, struct doctor_facts *f)
{
    struct stat st;
    char path[PATH_MAX];
    COPY(f->state, s->root);
    snprintf(path, sizeof path, "%s", s->root);
    for (char *slash; access(path, F_OK) != 0 && (slash = strrchr(path, '/')) != NULL;)
        slash[slash == path ? 1 : 0] = '\0';
    COPY(f->disk_folder, path);
    f->state_writable = access(path, W_OK | X_OK) == 0;
    f->state_there = stat(s->root, &st) == 0;
    if (!f->state_there)
        return;
    f->state_mode = st.st_mode & 07777;
    f->state_own = st.st_uid == geteuid();
    f->state_marked = state_exists(s);
    DIR *dir = opendir(s->root);
    size_t entries = 0;
    while (dir != NULL && readdir(dir) != NULL)
        entries++;
    if (dir != NULL)
        closedir(dir);
    f->state_empty = entries == 2; /* "." and ".." */
}

/* Returns the url of the gateway as it runs. */
static const char *look_at_processes(struct env *e, struct arena *a, const struct state *s, struct doctor_facts *f)
{
    struct children c;
    f->supervisor_pid = state_lock_holder(s);
    if (children_read(e, a, s->children_file, &c, NULL) != FICUS_ERR_OK)
        return "";
    if (f->supervisor_pid != 0)
        return c.gateway_url == NULL ? "" : c.gateway_url;
    for (size_t i = 0; i < c.count; i++) {
        if (c.records[i].pid <= 0 || !proc_is(c.records[i].pid, c.records[i].start_ticks))
            continue;
        char name[128];
        snprintf(name, sizeof name, "%.60s (pid %lld)", c.records[i].name, (long long)c.records[i].pid);
        LIST_ADD(f->left, name);
        f->left_count++;
    }
    return "";
}

static void look_at_sockets(const struct manifest *m, const struct state *s, struct doctor_facts *f)
{
    size_t longest = sizeof "supervisor.sock" - 1;
    for (size_t i = 0; m != NULL && i < m->service_count; i++) {
        size_t own = strlen(m->services[i].name) + sizeof ".1.sock" - 1;
        longest = own > longest ? own : longest;
    }
    f->socket_path_size = strlen(s->run) + 1 + longest;
    COPY(f->sockets, strcmp(s->sockets, s->run) == 0 ? "" : s->sockets);
}

void doctor_look(struct env *e, struct arena *a, const struct doctor_options *o, struct doctor_facts *f)
{
    struct state state = {0};
    const char *url = "";
    *f = (struct doctor_facts){0};
    look_at_kernel(f);
    look_at_limits(a, f);
    const struct manifest *m = look_at_manifest(a, o, f);
    bool has_state = f->file_found && state_locate(a, o->file, &state, NULL) == FICUS_ERR_OK;
    look_at_clock(&state, has_state, f);
    if (getcwd(f->disk_folder, sizeof f->disk_folder) == NULL)
        COPY(f->disk_folder, ".");
    if (has_state) {
        look_at_folder(&state, f);
        look_at_sockets(m, &state, f);
        url = look_at_processes(e, a, &state, f);
    }
    look_at_disk(f);
    look_at_port(a, url, o->set_count > 0, f);
    look_at_tools(a, o, f);
}
