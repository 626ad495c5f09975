/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by sim.c (time, processes, stacks), sim_net.c (streams) and sim_file.c (disks).
 */
#ifndef FICUS_SIM_PRIVATE_H
#define FICUS_SIM_PRIVATE_H

#include "sim.h"
#include "timers.h"

#include <ucontext.h>

enum { SIM_STACK_SIZE = 512 * 1024 };

/* Something that will happen at a time on the loop of a process (process NULL: in the world itself). */
struct sim_event {
    int64_t due_ns;
    struct sim_process *process;
    void (*fn)(void *arg);
    void *arg;
    struct list link;
};

enum sim_stack_state { SIM_STACK_IDLE, SIM_STACK_READY, SIM_STACK_WAITING };

/* A stack that runs loop callbacks or jobs of one process. */
struct sim_stack {
    struct sim_process *process;
    ucontext_t context;
    void *memory;               /* NULL: the process is dead, and its stack returned */
    void *asan_frames, *tsan_fiber; /* for the sanitizers, which must know what stack runs */
    enum sim_stack_state state;
    bool is_loop;
    void (*fn)(void *arg); /* loop: the callback to run */
    void *arg;
    struct env_job *job;       /* worker: the job to run */
    struct env_waiter *waiter; /* waiting in env_wait */
    struct list link;          /* in the process's stacks */
};

struct sim_process {
    struct env env; /* first: struct env * is struct sim_process * */
    char scratch[ENV_SCRATCH_SIZE];
    struct sim *world;
    char name[32];
    bool dead;
    struct sim_disk *disk;
    struct timers timers;
    struct list tasks, jobs; /* env_task, env_job */
    size_t job_count, workers_count, workers_busy;
    struct sim_stack *loop;
    struct list stacks;  /* workers */
    struct list streams; /* env_stream */
    struct list listeners;
    void (*boot)(void *arg, struct env *e);
    void *boot_arg;
    struct list link;
};

struct sim {
    uint64_t random, fingerprint, step_count;
    int64_t now_ns, wall_shift_ms;
    struct sim_network network;
    struct sim_resolver resolver;
    unsigned disk_stall_rate;
    int64_t disk_stall_ms_max;
    bool verbose, gentle;
    struct list processes, events;
    struct list dead;           /* processes, kept because their users may still ask whether they live */
    struct list waiting; /* streams in the queue of a listener that is not there */
    ucontext_t scheduler;
    struct sim_stack *running; /* NULL: the scheduler or the test itself */
    const void *asan_stack;    /* the scheduler's, for the sanitizers */
    size_t asan_stack_size;
    void *asan_frames, *tsan_fiber;
};

/* Schedule; the event is freed after it fired. */
void sim_at(struct sim *w, int64_t delay_ns, struct sim_process *p, void (*fn)(void *arg), void *arg);
/* Forget all events with this argument. */
void sim_forget(struct sim *w, const void *arg);
/* Block the running stack for a while; returns at once when called outside any stack. Does not return when the process
 * died meanwhile. */
void sim_sleep(struct sim *w, int64_t delay_ns);
/* Let others go on before the running stack does, with the clock standing still; nothing outside any stack. */
void sim_yield(struct sim *w);
/* Leave the running stack for ever when its process is dead. */
void sim_check_alive(struct sim_process *p);
void sim_mix(struct sim *w, uint64_t value); /* into the fingerprint */

extern const struct env_ops sim_ops;
void sim_net_process_died(struct sim_process *p);
void sim_net_done(struct sim *w);   /* no process is left */

/* sim_net.c */
enum ficus_err sim_net_listen(struct env *e, const char *address, struct tls_server *tls, void (*on_accept)(void *arg, struct env_stream *s),
                              void *arg, struct env_listener **ret_listener, struct ficus_error *reterr);
bool sim_net_tls(struct env_stream *s, struct env_tls_info *ret_info);
void sim_net_listener_pause(struct env_listener *l, bool paused);
void sim_net_listener_close(struct env_listener *l);
enum ficus_err sim_net_connect(struct env *e, const char *address, struct tls_client *tls, void (*on_connect)(void *arg, enum ficus_err err),
                               void *arg, struct env_stream **ret_stream);
void sim_net_peer(struct env_stream *s, struct env_peer *ret_peer);
void sim_net_read(struct env_stream *s, void *p, size_t size, void (*on_read)(void *arg, ssize_t n), void *arg);
ssize_t sim_net_write(struct env_stream *s, const struct iovec *iov, int iov_count,
                      void (*on_write)(void *arg, ssize_t n), void *arg);
void sim_net_shutdown_write(struct env_stream *s);
void sim_net_close(struct env_stream *s, void (*on_closed)(void *arg), void *arg);

/* sim_file.c */
enum ficus_err sim_env_file_open(struct env *e, const char *path, unsigned flags, struct env_file **ret_file,
                                 struct ficus_error *reterr);
void sim_env_file_close(struct env_file *f);
ssize_t sim_env_file_read(struct env_file *f, void *p, size_t size, int64_t offset);
enum ficus_err sim_env_file_write(struct env_file *f, const void *p, size_t size, int64_t offset);
enum ficus_err sim_env_file_truncate(struct env_file *f, int64_t size);
enum ficus_err sim_env_file_sync(struct env_file *f);
enum ficus_err sim_env_file_size(struct env_file *f, int64_t *ret_size);
enum ficus_err sim_env_file_lock(struct env_file *f, int64_t offset, int64_t size);
enum ficus_err sim_env_file_unlink(struct env *e, const char *path);
enum ficus_err sim_env_file_rename(struct env *e, const char *from, const char *to);
enum ficus_err sim_env_file_exists(struct env *e, const char *path, bool *ret_exists);
enum ficus_err sim_env_file_in_place(struct env *e, struct env_file *f, const char *path, bool *ret_in_place);
enum ficus_err sim_env_dir_sync(struct env *e, const char *path_in_dir);

#endif
