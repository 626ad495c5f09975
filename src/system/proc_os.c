/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading /proc. A pid may be reused between a look and a signal, so processes that are not our children are signalled
 * through a pidfd that was opened before the look.
 */
#include "proc.h"

#include "mem.h"
#include "slice.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SESSION_PIDS_MAX = 1024 };

/* As much as fits; NUL-terminated. -1 when it cannot be read. */
static ssize_t read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t done = 0;
    ssize_t n;
    while (done + 1 < size && ((n = read(fd, text + done, size - 1 - done)) > 0 || (n < 0 && errno == EINTR)))
        if (n > 0)
            done += (size_t)n;
    close(fd);
    text[done] = '\0';
    return (ssize_t)done;
}

bool proc_read(int64_t pid, struct proc_info *ret_info)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    if (pid <= 0 || read_text(path, text, sizeof text) <= 0)
        return false;
    /* "pid (name) state ppid pgrp session ... 22: starttime"; the name may hold anything, so count from its last ')' */
    const char *end = strrchr(text, ')');
    if (end == NULL || end[1] != ' ')
        return false;
    struct slice rest = slice_str(end + 2);
    struct proc_info info = {.pid = pid};
    for (int field = 3; field <= 22; field++) {
        struct slice value = slice_cut(&rest, ' ');
        if (value.size == 0)
            return false;
        if (field == 3)
            info.state = value.p[0];
        if (field == 6 && !slice_to_i64(value, &info.session))
            return false;
        if (field == 22 && !slice_to_u64(value, &info.start_ticks))
            return false;
    }
    *ret_info = info;
    return true;
}

static bool is_alive(const struct proc_info *info)
{
    return info->state != 'Z' && info->state != 'X';
}

bool proc_is(int64_t pid, uint64_t start_ticks)
{
    struct proc_info info;
    return proc_read(pid, &info) && info.start_ticks == start_ticks && is_alive(&info);
}

void proc_boot_id(char ret_text[PROC_BOOT_ID_SIZE])
{
    if (read_text("/proc/sys/kernel/random/boot_id", ret_text, PROC_BOOT_ID_SIZE) < 36)
        ret_text[0] = '\0';
    ret_text[36] = '\0';
}

/* The pids of all living processes in a session; at most SESSION_PIDS_MAX of them. */
static size_t session_pids(int64_t session, int64_t pids[SESSION_PIDS_MAX])
{
    DIR *dir = opendir("/proc");
    size_t count = 0;
    if (dir == NULL)
        return 0;
    for (struct dirent *entry; count < SESSION_PIDS_MAX && (entry = readdir(dir)) != NULL;) {
        int64_t pid;
        struct proc_info info;
        if (slice_to_i64(slice_str(entry->d_name), &pid) && proc_read(pid, &info) && info.session == session &&
            is_alive(&info))
            pids[count++] = pid;
    }
    closedir(dir);
    return count;
}

/* "Rss:   123 kB" */
static int64_t rollup_bytes(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    if (at == NULL)
        return 0;
    struct slice rest = slice_trim(slice_str(at + strlen(name)));
    int64_t kib;
    return slice_to_i64(slice_cut(&rest, ' '), &kib) ? kib * 1024 : 0;
}

bool proc_memory(int64_t pid, int64_t *ret_rss_bytes, int64_t *ret_pss_bytes)
{
    int64_t *pids = mem_array(SESSION_PIDS_MAX, sizeof *pids);
    bool any = false;
    *ret_rss_bytes = *ret_pss_bytes = 0;
    if (pids == NULL)
        return false;
    struct proc_info info;
    size_t count = 1;
    pids[0] = pid;
    if (proc_read(pid, &info) && info.session == pid)
        count = session_pids(pid, pids);
    for (size_t i = 0; i < count; i++) {
        char path[64], text[4096];
        snprintf(path, sizeof path, "/proc/%lld/smaps_rollup", (long long)pids[i]);
        if (read_text(path, text, sizeof text) <= 0)
            continue;
        any = true;
        *ret_rss_bytes += rollup_bytes(text, "\nRss:");
        *ret_pss_bytes += rollup_bytes(text, "\nPss:");
    }
    mem_free(pids);
    return any;
}

/* Whether something that we started set the environment of pid: its FICUS_CONFIG lies under the state folder. */
static bool environment_names(int64_t pid, const char *state_path)
{
    char path[64], wanted[512];
    size_t size_max = 256 * 1024;
    char *text = mem_alloc(size_max);
    if (text == NULL)
        return false;
    snprintf(path, sizeof path, "/proc/%lld/environ", (long long)pid);
    snprintf(wanted, sizeof wanted, "FICUS_CONFIG=%s/", state_path);
    ssize_t size = read_text(path, text, size_max);
    bool found = false;
    for (ssize_t at = 0; at < size && !found; at += (ssize_t)strlen(text + at) + 1)
        found = strncmp(text + at, wanted, strlen(wanted)) == 0;
    mem_free(text);
    return found;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

unsigned proc_end_session(int64_t pid, uint64_t start_ticks, const char *state_path, int wait_ms)
{
    int64_t *pids = mem_array(SESSION_PIDS_MAX, sizeof *pids);
    int64_t end_ms = now_ms() + wait_ms;
    unsigned ended = 0;
    struct proc_info leader, info;
    bool leader_there = proc_read(pid, &leader);
    if (pids == NULL || (leader_there && leader.start_ticks != start_ticks)) {
        mem_free(pids); /* a stranger has the number now: the session that we knew is gone */
        return 0;
    }
    /* A copy of the state folder has the same record; its processes are those of the system that it was copied from. */
    bool leader_ours = leader_there && (leader.session != pid || environment_names(pid, state_path));
    size_t count = session_pids(pid, pids);
    if (leader_there && leader.session != pid && is_alive(&leader))
        pids[count < SESSION_PIDS_MAX ? count++ : count - 1] = pid; /* was caught before its setsid */
    for (size_t i = 0; i < count; i++) {
        int fd = (int)syscall(SYS_pidfd_open, (pid_t)pids[i], 0);
        if (fd < 0)
            continue;
        /* looked at after the pidfd is there: the number cannot change hands any more */
        bool ours = proc_read(pids[i], &info) && (info.session == pid || pids[i] == pid) &&
                    (pids[i] == pid ? leader_ours && info.start_ticks == start_ticks
                                    : leader_ours || environment_names(pids[i], state_path));
        if (ours && syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0) {
            int64_t left_ms = end_ms - now_ms();
            struct pollfd gone = {.fd = fd, .events = POLLIN};
            /* who is not gone by then sleeps in the kernel; it will not run again */
            (void)poll(&gone, 1, left_ms > 0 ? (int)left_ms : 0);
            ended++;
        }
        close(fd);
    }
    mem_free(pids);
    return ended;
}
