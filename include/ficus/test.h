/* SPDX-License-Identifier: Apache-2.0
 *
 * Test one service alone: it runs in this process with a database in a fresh temporary folder; other services are
 * functions of the test; what it emits is read back. Everything goes through the real server, identity and
 * transactions. Not for production; link it in tests only.
 */
#ifndef FICUS_TEST_H
#define FICUS_TEST_H

#include <ficus/ficus.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ficus_test;

struct ficus_test_answer {
    int status;
    const char *body;         /* whole; NUL-terminated; lives for the next 60 calls with this ficus_test */
    const char *location;     /* or NULL */
    const char *content_type; /* or NULL */
    const char *head;         /* status line and all fields as they came; lives as long as body */
};

struct ficus_test_request {
    const char *method, *path;
    const char *body;           /* JSON or NULL */
    const char *caller;         /* NULL: "gateway" */
    const char *user, *role;    /* or NULL */
    const char *key;            /* Idempotency-Key or NULL */
    int timeout_ms;             /* the caller's deadline; 0: none */
    const char *const *headers; /* further ones: name, value, ..., NULL; or NULL */
};

/* A fake of another service: fill *status and return the JSON body (static or malloc'd memory that stays valid), or
 * NULL for none. Runs on the loop thread: do not block. One with the name "hub" answers what ficus_saga_state asks. */
typedef const char *(*ficus_test_fake)(void *arg, const char *method, const char *path, const char *body, int *status);

/* migrations_dir: folder of NNNN_name.sql, or NULL. settings: name, value, ..., NULL; or NULL. Aborts the test process
 * with a message when it cannot start. */
FICUS_API struct ficus_test *ficus_test_start(const struct ficus_service *service, const char *migrations_dir,
                                              const char *const *settings);
FICUS_API void ficus_test_fake_service(struct ficus_test *t, const char *name, ficus_test_fake fake, void *arg);
FICUS_API struct ficus_test_answer ficus_test_call(struct ficus_test *t, const struct ficus_test_request *r);
/* Deliver an event and wait until it is processed (0) or refused (-1: the handler returned non-zero). */
FICUS_API int ficus_test_event(struct ficus_test *t, const char *topic, const char *subject, const char *data);
/* The same for an event that comes late: time_ms is when it was emitted (wall clock, ms since 1970). */
FICUS_API int ficus_test_event_at(struct ficus_test *t, const char *topic, const char *subject, const char *data,
                                  int64_t time_ms);
/* The same for an event that names a version of its topic's schema, as one of an older or newer publisher. */
FICUS_API int ficus_test_event_of(struct ficus_test *t, const char *topic, int version, const char *subject, const char *data);
/* From here on the topic has so many versions: what is emitted must fit this JSON Schema (text; NULL: anything does), and
 * consumed events are brought up. Restarts the service, as ficus_test_restart does. */
FICUS_API void ficus_test_schema(struct ficus_test *t, const char *topic, int version, const char *schema);
/* The number of events emitted so far, and one of them as CloudEvents JSON. */
FICUS_API size_t ficus_test_emitted_count(struct ficus_test *t);
FICUS_API const char *ficus_test_emitted(struct ficus_test *t, size_t index);
/* Stop as kill -9 would, start again on the same database. */
FICUS_API void ficus_test_restart(struct ficus_test *t);
FICUS_API void ficus_test_stop(struct ficus_test *t); /* removes the folder */

#ifdef __cplusplus
}
#endif

#endif
