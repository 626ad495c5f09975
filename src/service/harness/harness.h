/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two files of libficus_test share: the test's side (harness.c) and the world around the service
 * (harness_world.c: a hub that keeps events in memory, and fakes of other services), which lives on the same loop as
 * the service.
 */
#ifndef FICUS_SERVICE_HARNESS_H
#define FICUS_SERVICE_HARNESS_H

#include "service_impl.h"

#include <ficus/test.h>

#include <pthread.h>

enum { HARNESS_ANSWERS_KEPT = 64 };

struct world_event {
    char *json;                     /* owned */
    struct slice topic, id, source; /* in the arena */
    bool is_injected;               /* by the test */
};

struct world_fake {
    struct ficus_test *test;
    char *name; /* owned */
    char address[128];
    ficus_test_fake fn;
    void *arg;
    struct http_server *server;
    struct world_fake *next;
};

struct ficus_test {
    /* set before the loop runs */
    const struct ficus_service *def;
    struct service_config config;
    struct arena arena; /* of the test's thread */
    char dir[64];
    struct system_key *key;

    pthread_t thread;
    pthread_mutex_t mutex; /* guards all that both threads touch: the next group */
    pthread_cond_t changed;
    bool is_up;
    enum ficus_err up_err;
    char up_detail[512];
    size_t emitted_total, published_count;
    int64_t handled_offset;
    bool handled_processed;

    /* loop thread, or the test's while no loop runs */
    struct env *env;
    struct service *service;
    struct http_server *hub;
    struct arena world_arena;
    struct world_event *events; /* the log; offset = index + 1 */
    size_t event_count, event_capacity;
    struct list pulls; /* waiting GET /v1/events */
    struct world_fake *fakes;
    unsigned servers_open;
    void (*world_closed)(struct ficus_test *t);

    char *answers[HARNESS_ANSWERS_KEPT]; /* the last ones, whole, in a ring */
    unsigned answer_next;
};

_Noreturn void harness_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* [loop] */
void world_open(struct ficus_test *t);
void world_close(struct ficus_test *t, void (*closed)(struct ficus_test *t));
void world_fake_open(struct ficus_test *t, struct world_fake *f);
void world_append(struct ficus_test *t, struct slice json, bool injected);
void world_free(struct ficus_test *t);

#endif
