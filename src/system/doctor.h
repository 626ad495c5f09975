/* SPDX-License-Identifier: Apache-2.0
 *
 * What `ficus doctor` knows: facts about a machine and a system (doctor_os.c gathers them), and one table of checks,
 * pure, each of which judges the facts in one sentence with a remedy.
 */
#ifndef FICUS_SYSTEM_DOCTOR_H
#define FICUS_SYSTEM_DOCTOR_H

#include "manifest.h"
#include "state.h"

enum { DOCTOR_TEXT_SIZE = 400, DOCTOR_LIST_SIZE = 300, DOCTOR_NAME_SIZE = 64 };

enum doctor_level { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_PROBLEM };
enum doctor_group { DOCTOR_RUN, DOCTOR_BUILD, DOCTOR_TEST }; /* what the check is for */

enum doctor_disk {
    DOCTOR_DISK_PLAIN,
    DOCTOR_DISK_MEMORY,  /* tmpfs, ramfs */
    DOCTOR_DISK_LAYER,   /* overlay: a container's own */
    DOCTOR_DISK_NETWORK, /* NFS, SMB */
    DOCTOR_DISK_OTHER,   /* FUSE, 9p, ...: nothing is known */
};

/* Texts are "" for: not there. Lists are names separated by ", ", cut with "..." at their size. */
struct doctor_facts {
    /* kernel */
    char kernel[DOCTOR_NAME_SIZE];
    char kernel_missing[DOCTOR_LIST_SIZE]; /* features */
    /* limits of this user */
    uint64_t files_soft, files_hard;
    int64_t memory_available; /* bytes; -1: the kernel does not say */
    /* clock */
    int64_t wall_s;           /* since 1970 */
    int64_t wall_ms, mono_ms; /* how far each went between two looks */
    int64_t state_ahead_s;    /* by how much the state's newest file is younger than now */
    /* manifest */
    const char *file; /* as given, or ficus.yaml */
    bool file_given, file_found;
    size_t error_count;
    char first_error[DOCTOR_LIST_SIZE];
    char system[DOCTOR_NAME_SIZE];
    size_t service_count;
    char programs_missing[DOCTOR_LIST_SIZE];  /* of services: files that are not there or may not be executed */
    char libraries_missing[DOCTOR_LIST_SIZE]; /* of services' programs */
    /* gateway */
    char listen[DOCTOR_NAME_SIZE];        /* "127.0.0.1:8080"; "": no gateway */
    int listen_errno;                     /* 0: free */
    bool listen_ours;                     /* this very system has it */
    char listen_holder[DOCTOR_NAME_SIZE]; /* "nginx (pid 812)"; "": not to be seen */
    /* state */
    char state[DOCTOR_LIST_SIZE];
    bool state_there, state_marked, state_empty, state_own, state_writable;
    unsigned state_mode; /* permission bits */
    int64_t supervisor_pid;
    size_t left_count; /* processes of a supervisor that is dead */
    char left[DOCTOR_LIST_SIZE];
    size_t socket_path_size; /* the longest */
    char sockets[DOCTOR_LIST_SIZE];
    /* the disk below the state */
    char disk_folder[DOCTOR_LIST_SIZE], disk_type[DOCTOR_NAME_SIZE];
    enum doctor_disk disk;
    int64_t disk_free; /* bytes; -1: not known */
    int sync_errno, lock_errno;
    int64_t sync_us; /* how long one took */
    /* tools */
    char compiler[DOCTOR_NAME_SIZE], make[DOCTOR_NAME_SIZE], pkg_config[DOCTOR_NAME_SIZE];
    char library_version[DOCTOR_NAME_SIZE]; /* libficus as pkg-config finds it */
    char library_hint[DOCTOR_LIST_SIZE];    /* PKG_CONFIG_PATH with which it would be found */
    char program_version[DOCTOR_NAME_SIZE];
    char cmocka[DOCTOR_NAME_SIZE], python[DOCTOR_NAME_SIZE], node[DOCTOR_NAME_SIZE], chromium[DOCTOR_NAME_SIZE];
};

struct doctor_finding {
    enum doctor_level level;
    char text[DOCTOR_TEXT_SIZE];   /* one sentence without full stop */
    char remedy[DOCTOR_TEXT_SIZE]; /* "": none needed */
};

struct doctor_check {
    const char *name;
    enum doctor_group group;
    void (*judge)(const struct doctor_facts *f, struct doctor_finding *ret);
};
extern const struct doctor_check doctor_checks[];
extern const size_t doctor_check_count;

const char *doctor_level_name(enum doctor_level level); /* "ok", "warning", "problem" */
/* Judge and write the finding; ret is filled whole. */
void doctor_judge(const struct doctor_check *check, const struct doctor_facts *f, struct doctor_finding *ret);

struct doctor_options {
    const char *file;  /* the manifest */
    bool file_given;   /* by the user: then it must be there */
    const char *build; /* absolute folder for ${build} */
    const char *const *sets;
    size_t set_count;
    const char *library_folder; /* where the .pc files of this very program are, when no standard place; "" */
    bool tests;                 /* also what only tests need */
};

/* Look at everything. Creates nothing but one nameless file, to sync and lock it; starts the compiler, pkg-config, ldd
 * and the like, each for at most some seconds. What cannot be found out is left as absent. Blocks. */
void doctor_look(struct env *e, struct arena *a, const struct doctor_options *o, struct doctor_facts *ret_facts);

#endif
