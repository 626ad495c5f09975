/* SPDX-License-Identifier: Apache-2.0
 *
 * The definition of a saga, as the manifest says it. The same table reads YAML and the resolved JSON.
 */
#ifndef FICUS_SAGA_SAGA_DEF_H
#define FICUS_SAGA_SAGA_DEF_H

#include "conf.h"
#include "saga_scenario.h"

enum { SAGA_STEPS_MAX = 32, SAGA_WIDTH_MAX = 8 /* of a group */, SAGA_TOPICS_MAX = 64 /* of all sagas of a system */,
       SAGA_DEPTH_MAX = 4 /* sagas in each other, with the outermost */, SAGA_NEVER = -1 /* as a timeout */ };

enum saga_on_timeout { SAGA_ON_TIMEOUT_NONE = -1, SAGA_ON_TIMEOUT_UNDO, SAGA_ON_TIMEOUT_GO_ON };

/* "POST orders:/v1/orders/{id}/confirm" taken apart; path is still a template. Empty method: absent. */
struct saga_call {
    const char *method, *service, *path;
};

/* A step calls, is an instance of another saga (its child), waits for time, waits for a signal, or was done before the saga
 * began and has only an undo. */
struct saga_step {
    const char *name;
    struct saga_call call; /* absent: it has a child, waits, or was done before the saga began */
    const char *saga;      /* of its child; NULL: it has none */
    struct saga_call undo; /* absent: none */
    const char *body; /* JSON template text of `call`, or of the child's input; values "{input.x.y}" or "{id}"; NULL: none. A string that is one
                         template takes the JSON value as it is */
    bool pivot;
    bool retry_forever;           /* implied for every step after the pivot (must be said) */
    int64_t wait_ms;              /* 0: it does not wait for time */
    const char *signal;           /* the signal that it waits for; NULL: none */
    const char *given_by, *refused_by; /* topics: an event whose subject is the instance's id gives, refuses the signal; NULL: none */
    int on_timeout;               /* enum saga_on_timeout: of a signal */
    int64_t timeout_ms;           /* per attempt, default 5 s; of a signal: how long it is waited for, or SAGA_NEVER */
    int64_t give_up_ms;           /* 0: never; of a child: how long it is waited for */
    const char *code;             /* failure.code when given up, timed out, refused; NULL: these words */
    const struct conf_node *node; /* where it was written; NULL when it was not decoded */
    uint32_t group;               /* number of its `parallel`, from 1: its steps are neighbours; 0: none */
};

struct saga_def {
    const char *name;  /* "checkout" */
    const char *owner; /* service */
    const char *start; /* topic; the event's subject is the instance's id, its data the input; NULL: none */
    struct saga_step *steps;
    size_t step_count;
    struct saga_scenario *scenarios; /* in the manifest alone */
    size_t scenario_count;
    const struct conf_node *node;
};

/* Its check refuses what cannot work (pivot, undo, retry, give_up, names, templates); what a definition alone
 * cannot know (services, topics, owner) is checked by manifest/. */
extern const struct conf_table saga_def_table;

/* Takes "POST orders:/v1/orders/{id}/confirm" apart. NULL, or what is allowed instead. Strings go to a. */
const char *saga_call_parse(struct arena *a, struct slice text, struct saga_call *ret_call);
bool saga_call_present(const struct saga_call *c);
bool saga_step_waits(const struct saga_step *s); /* for time or for a signal */
bool saga_step_acts(const struct saga_step *s);  /* it has a call or a child: what it does is somebody else's, and has to be undone */
/* First step of the step's group, and the one behind its last: a step of no `parallel` is a group of one. */
size_t saga_group_first(const struct saga_def *d, size_t step);
size_t saga_group_end(const struct saga_def *d, size_t step);
/* The step of this name; d->step_count: there is none. */
size_t saga_step_named(const struct saga_def *d, struct slice name);
/* The step that waits for the signal; d->step_count: none does. */
size_t saga_signal_step(const struct saga_def *d, struct slice signal);
/* The step whose signal an event of the topic gives, or refuses; d->step_count: none. */
size_t saga_topic_step(const struct saga_def *d, struct slice topic, bool *ret_refuse);

/* Canonical JSON text of a definition (stored with each instance) and its SHA-256 in hex; and back. Strings in the
 * arena. */
enum ficus_err saga_def_write(const struct saga_def *d, struct arena *a, struct slice *ret_text, char ret_hash[65]);
enum ficus_err saga_def_read(struct arena *a, struct slice text, struct saga_def **ret_def, struct ficus_error *reterr);

#endif
