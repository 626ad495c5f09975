/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of shop-replay share: one run, its users, and its jobs (an order of the plan, once per loop).
 */
#ifndef REPLAY_REPLAY_H
#define REPLAY_REPLAY_H

#include "plan.h"

#include <ficus/client.h>

#include <stdio.h>

struct options {
    const char *file, *url, *admin_path, *run_path, *status_path, *requests_path;
    double rate; /* orders a second; 0: as fast as conns allow */
    int64_t loops;
    size_t bunch, conns, invoices_max, streams_max;
    unsigned visits_percent;
    uint64_t seed;
    int64_t patience_ms; /* how long one request is repeated */
    bool load_only, plan_only, quiet;
};

struct user {
    struct run *run;
    const char *customer; /* NULL: the administrator */
    char *email, *password, *authorization;
    bool signing_in;
};

enum job_state { JOB_WAITING, JOB_SENT, JOB_ACCEPTED, JOB_FAILED };

/* A look around before the order, or what came of one. */
struct errand {
    int status; /* of the final answer, 0: none or not sent */
    unsigned tries;
    bool sent, wrong; /* wrong: answered 200, but not with what is true */
    int64_t begun_ms, ended_ms, begun_us;
};

/* What the order's event stream told, over all its connections. */
struct watch {
    bool opened, ended, final, confirmed, wrong; /* wrong: an id out of turn or something behind the final status */
    unsigned connections;
    int64_t last_id; /* -1: none yet */
    int64_t begun_us, final_ms, ended_ms;
    struct text events; /* JSON array elements */
    char *error;        /* why it was given up */
    struct job *next;   /* in the queue of those that wait for their turn */
};

struct job {
    struct run *run;
    const struct plan_order *order;
    int64_t loop;
    enum job_state state;
    char *key, *id, *error; /* error: why it failed */
    int status;             /* of the final answer, 0: none */
    unsigned tries;
    struct text statuses; /* JSON array elements, one per answer */
    int64_t intended_us, latency_us, sent_ms, accepted_ms;
    bool cancel_due; /* the C-invoice's turn has come */
    bool cancel_sent;
    int cancel_status;
    unsigned cancel_tries;
    int64_t cancel_asked_ms, cancel_answered_ms;
    char *cancel_key, *cancel_error;
    bool visits, leaves; /* leaves: puts something into the cart after the order */
    struct errand search, cart, left_cart;
    struct watch watch;
};

/* In the order of the file: an order, or the moment of its C-invoice. */
struct arrival {
    struct job *job;
    bool is_cancel;
    size_t orders_before;
};

struct samples {
    int64_t *us;
    size_t count;
};

struct errands {
    size_t done, wrong, failed;
    struct samples times;
};

struct run {
    struct options options;
    struct plan plan;
    struct ficus_client *client;
    char id[17]; /* hex; in all keys, so that each run is new */
    struct user admin;
    struct user *users; /* as plan.users */
    struct job *jobs;
    size_t job_count;
    struct arrival *arrivals;
    size_t arrival_count, arrival_next;
    const char *phase;
    int64_t started_ms, orders_ms, accepted_ms, ended_ms, orders_us; /* accepted_ms: the last 202 */
    /* counters */
    size_t on_the_wire; /* requests sent and not answered */
    size_t open;        /* requests that are not final: on the wire or waiting for their repetition */
    size_t begun;       /* visits, or orders without one */
    size_t retries, retries_order, sent, accepted, failed, cancels_asked, cancels_accepted, cancels_late,
        cancels_failed;
    size_t products_put, stock_put, users_new;
    struct samples latencies; /* of accepted orders */
    struct errands searches, carts, watches;
    size_t watches_open, watches_broken; /* open: under way or waiting for their turn */
    size_t watch_conns;
    struct job *watch_first, **watch_last; /* wait for a connection */
    FILE *requests;
    bool stopping; /* no new orders */
};

/* ---- try.c: one request, repeated until it is answered ---- */

struct outcome {
    int status; /* 0: gave up */
    const char *body;
    const char *location;
    const char *error; /* when status is 0 */
    unsigned tries;
};

struct try_request {
    const char *kind; /* for the requests file; NULL: not written there */
    const char *method;
    char *path, *body;     /* taken over; body may be NULL */
    const char *key;       /* borrowed; NULL: none */
    struct user *user;     /* NULL: not signed in */
    struct text *statuses; /* every status seen is appended, comma-separated; may be NULL */
};

/* Send, and on no answer, 5xx, 429, 408, 425 or a 409 with Retry-After the same again after Retry-After or a back-off;
 * on 401 sign in again first. done fires once. */
void try_send(struct run *run, const struct try_request *q, void (*done)(void *arg, const struct outcome *o),
              void *arg);
/* Did the request get no answer that says anything about it? Then it may be sent again, after so long. */
bool try_is_open(const struct ficus_client_answer *a);
int64_t try_backoff_ms(unsigned tries, int retry_after_s);
/* A line of the requests file. */
void try_note(struct run *run, const char *kind, int64_t begun_ms, int status);
/* Get a token; done (may be NULL) tells with the answer of POST /sessions. */
void user_sign_in(struct user *u, void (*done)(void *arg, const struct outcome *o), void *arg);

/* ---- setup.c ---- */
bool setup_admin(struct run *run); /* false: it said why */
bool setup_users(struct run *run);
bool setup_products(struct run *run);

/* ---- orders.c ---- */
void orders_prepare(struct run *run);
void orders_run(struct run *run);

/* ---- visit.c ---- */
/* Search and fill the cart, then call order(j); at once when this customer does not look around. */
void visit_begin(struct job *j, void (*order)(struct job *j));
void visit_leave(struct job *j); /* after the 202 */

/* ---- watch.c ---- */
void watch_begin(struct job *j); /* after the 202 */

/* ---- report.c ---- */
void sample_add(struct samples *s, int64_t us);
void report_header(const struct run *run);
void report_begin(struct run *run); /* progress and status file, until report_end */
void report_end(struct run *run);
bool report_run_file(const struct run *run);
void report_print(const struct run *run);

#endif
