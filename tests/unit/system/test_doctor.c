/* SPDX-License-Identifier: Apache-2.0
 *
 * The judgements of ficus doctor.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "doctor.h"
#include "io_env.h"

#include <errno.h>
#include <stdio.h>

#define MIB ((int64_t)1 << 20)

/* A machine and a system without fault. */
static void healthy(struct doctor_facts *f)
{
    *f = (struct doctor_facts){.kernel = "6.1.0",
                               .files_soft = 1024,
                               .files_hard = 65536,
                               .memory_available = 1000 * MIB,
                               .wall_s = 1790000000,
                               .wall_ms = 20,
                               .mono_ms = 20,
                               .file = "ficus.yaml",
                               .file_found = true,
                               .system = "shop",
                               .service_count = 7,
                               .listen = "127.0.0.1:8080",
                               .state = "/srv/.ficus",
                               .state_there = true,
                               .state_marked = true,
                               .state_own = true,
                               .state_writable = true,
                               .state_mode = 0700,
                               .socket_path_size = 40,
                               .disk_folder = "/srv/.ficus",
                               .disk_type = "ext4",
                               .disk_free = 10000 * MIB,
                               .sync_us = 500,
                               .compiler = "cc: 12.2.0",
                               .make = "make: 4.3",
                               .pkg_config = "pkg-config: 1.8.1",
                               .library_version = "0.1.0",
                               .program_version = "0.1.0",
                               .cmocka = "cmocka 1.1.5",
                               .python = "python3: 3.11",
                               .node = "node: 18",
                               .chromium = "chromium: 120"};
}

static const struct doctor_check *check_named(const char *name)
{
    for (size_t i = 0; i < doctor_check_count; i++)
        if (strcmp(doctor_checks[i].name, name) == 0)
            return &doctor_checks[i];
    fail_msg("no check %s", name);
    return NULL;
}

/* Each check has its own name, and finds nothing wrong where nothing is. */
static void test_healthy(void **state)
{
    struct doctor_facts f;
    healthy(&f);
    for (size_t i = 0; i < doctor_check_count; i++) {
        struct doctor_finding found;
        doctor_judge(&doctor_checks[i], &f, &found);
        if (found.level != DOCTOR_OK)
            fail_msg("%s: %s", doctor_checks[i].name, found.text);
        assert_string_equal(found.remedy, "");
        assert_ptr_equal(check_named(doctor_checks[i].name), &doctor_checks[i]);
    }
}

#define LIST "some, names"

/* What is changed in a healthy machine, which check says so, how loudly, and words of its sentence and its remedy. */
#define CASES(X)                                                                                                      \
    X("kernel", PROBLEM, "pidfd_open", "5.10", strcpy_to(f.kernel_missing, "pidfd_open"))                             \
    X("files", WARNING, "raised to 4095", "65536", f.files_hard = 4095)                                               \
    X("files", PROBLEM, "raised to 255", "65536", f.files_hard = 255)                                                 \
    X("files", OK, "4096", "", f.files_hard = 4096)                                                                   \
    X("memory", WARNING, "127 MB", "end something", f.memory_available = 128 * MIB - 1)                               \
    X("memory", PROBLEM, "31 MB", "end something", f.memory_available = 32 * MIB - 1)                                 \
    X("memory", OK, "does not say", "", f.memory_available = -1)                                                      \
    X("clock", PROBLEM, "2024", "timedatectl", f.wall_s = 1000)                                                       \
    X("clock", WARNING, "61 s in the future", "date", f.state_ahead_s = 61)                                           \
    X("clock", OK, "evenly", "", f.state_ahead_s = 60)                                                                \
    X("clock", WARNING, "jumped by 21 ms", "chronyd", f.wall_ms = 41)                                                 \
    X("clock", WARNING, "jumped by -21 ms", "chronyd", f.wall_ms = -1)                                                \
    X("manifest", OK, "no ficus.yaml here", "ficus new service", f.file_found = false)                                \
    X("manifest", PROBLEM, "no ficus.yaml here", "-f", f.file_found = false, f.file_given = true)                     \
    X("manifest", PROBLEM, "1 error: " LIST, "ficus config check", f.error_count = 1, strcpy_to(f.first_error, LIST)) \
    X("manifest", PROBLEM, "2 errors: ", "-f ficus.yaml", f.error_count = 2)                                          \
    X("programs", PROBLEM, LIST, "make -C", strcpy_to(f.programs_missing, LIST))                                      \
    X("programs", PROBLEM, LIST, "ldconfig", strcpy_to(f.libraries_missing, LIST))                                    \
    X("programs", OK, "no service", "", f.service_count = 0)                                                          \
    X("port", OK, "no gateway", "", f.listen[0] = '\0')                                                               \
    X("port", OK, "this system's", "", f.listen_errno = EADDRINUSE, f.listen_ours = true)                             \
    X("port", PROBLEM, "another user", "--set gateway.listen", f.listen_errno = EADDRINUSE)                           \
    X("port", PROBLEM, "by x (pid 3)", "end that", f.listen_errno = EADDRINUSE,                                       \
      strcpy_to(f.listen_holder, "x (pid 3)"))                                                                        \
    X("port", PROBLEM, "root alone", "--set gateway.listen", f.listen_errno = EACCES)                                 \
    X("port", PROBLEM, "Cannot assign", "--set gateway.listen", f.listen_errno = EADDRNOTAVAIL)                       \
    X("state", OK, "not known", "", f.state[0] = '\0')                                                                \
    X("state", OK, "first ficus up", "", f.state_there = false)                                                       \
    X("state", PROBLEM, "first ficus up", "FICUS_STATE", f.state_there = false, f.state_writable = false)             \
    X("state", PROBLEM, "not made by Ficus", "FICUS_STATE", f.state_marked = false)                                   \
    X("state", OK, "ours", "", f.state_marked = false, f.state_empty = true)                                          \
    X("state", PROBLEM, "another user", "chown", f.state_own = false)                                                 \
    X("state", PROBLEM, "not be written", "owner", f.state_writable = false)                                          \
    X("state", WARNING, "mode 0750", "chmod 700 /srv/.ficus", f.state_mode = 0750)                                    \
    X("disk", PROBLEM, "cannot sync: Input", "FICUS_STATE", f.sync_errno = EIO)                                       \
    X("disk", PROBLEM, "cannot sync: No space", "make room", f.sync_errno = ENOSPC)                                   \
    X("disk", PROBLEM, "cannot lock: No locks", "FICUS_STATE", f.lock_errno = ENOLCK)                                 \
    X("disk", PROBLEM, "15 MB free", "make room", f.disk_free = 16 * MIB - 1)                                         \
    X("disk", WARNING, "255 MB free", "make room", f.disk_free = 256 * MIB - 1)                                       \
    X("disk", PROBLEM, "ext4", "network", f.disk = DOCTOR_DISK_NETWORK)                                               \
    X("disk", WARNING, "ext4", "power", f.disk = DOCTOR_DISK_MEMORY)                                                  \
    X("disk", WARNING, "ext4", "volume", f.disk = DOCTOR_DISK_LAYER)                                                  \
    X("disk", WARNING, "ext4", "not known", f.disk = DOCTOR_DISK_OTHER)                                               \
    X("disk", WARNING, "100.0 ms", "slow", f.sync_us = 100001)                                                        \
    X("sockets", OK, "101 bytes, 100", "", f.socket_path_size = 101)                                                  \
    X("processes", OK, "supervisor 12", "", f.supervisor_pid = 12)                                                    \
    X("processes", WARNING, "2 of its processes: " LIST, "ficus down", f.left_count = 2, strcpy_to(f.left, LIST))     \
    X("compiler", WARNING, "not found", "gcc", f.compiler[0] = '\0')                                                  \
    X("make", WARNING, "not found", "make", f.make[0] = '\0')                                                         \
    X("pkg-config", WARNING, "not found", "pkg-config", f.pkg_config[0] = '\0')                                       \
    X("libficus", WARNING, "without pkg-config", "pkg-config", f.pkg_config[0] = '\0')                                \
    X("libficus", WARNING, "does not find", "make install", f.library_version[0] = '\0')                              \
    X("libficus", WARNING, "does not find", "PKG_CONFIG_PATH=/p", f.library_version[0] = '\0',                        \
      strcpy_to(f.library_hint, "/p"))                                                                                \
    X("libficus", PROBLEM, "version 0.2", "anew", strcpy_to(f.library_version, "0.2"))                                \
    X("cmocka", WARNING, "not found", "libcmocka-dev", f.cmocka[0] = '\0')                                            \
    X("python", WARNING, "not found", "python3", f.python[0] = '\0')                                                  \
    X("node", WARNING, "not found", "nodejs", f.node[0] = '\0')                                                       \
    X("chromium", WARNING, "not found", "chromium", f.chromium[0] = '\0')

#define strcpy_to(field, text) snprintf((field), sizeof(field), "%s", (text))

/* Each fault is found by the check named for it, and by no other; its remedy says what to do. */
static void test_faults(void **state)
{
    bool seen[64] = {false};
    struct doctor_facts f;
    struct doctor_finding found;
#define X(which, loud, words, help, ...)                                                                             \
    {                                                                                                                \
        healthy(&f);                                                                                                 \
        (void)(__VA_ARGS__);                                                                                         \
        const struct doctor_check *check = check_named(which);                                                       \
        doctor_judge(check, &f, &found);                                                                             \
        seen[check - doctor_checks] = true;                                                                          \
        if (found.level != DOCTOR_##loud || strstr(found.text, words) == NULL || strstr(found.remedy, help) == NULL) \
            fail_msg("%s: %s: %s -> %s", which, doctor_level_name(found.level), found.text, found.remedy);           \
        for (size_t i = 0; i < doctor_check_count; i++) {                                                            \
            doctor_judge(&doctor_checks[i], &f, &found);                                                             \
            if (found.level != DOCTOR_OK && &doctor_checks[i] != check && strcmp(which, "pkg-config") != 0 &&        \
                strcmp(which, "libficus") != 0)                                                                      \
                fail_msg("%s also says: %s", doctor_checks[i].name, found.text);                                     \
        }                                                                                                            \
    }
    CASES(X)
    for (size_t i = 0; i < doctor_check_count; i++)
        assert_true(seen[i]);
}

/* Looking at this very machine finds a kernel that works, and leaves nothing behind in the folder. */
static void test_look(void **state)
{
    struct arena a;
    struct doctor_facts f;
    struct doctor_finding found;
    struct env *e = env_uv_new(NULL, NULL);
    arena_init(&a, MANIFEST_ARENA_SIZE_MAX);
    doctor_look(e, &a, &(struct doctor_options){.file = "/nonexistent/ficus.yaml", .library_folder = ""}, &f);
    assert_false(f.file_found);
    assert_string_equal(f.kernel_missing, "");
    assert_true(f.kernel[0] != '\0' && f.files_hard > 0 && f.memory_available > 0);
    assert_string_equal(f.program_version, FICUS_VERSION);
    doctor_judge(check_named("kernel"), &f, &found);
    assert_int_equal(found.level, DOCTOR_OK);
    arena_done(&a);
    env_uv_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_healthy),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
