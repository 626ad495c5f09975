/* SPDX-License-Identifier: Apache-2.0
 *
 * What follows from the events of one instance: which steps are done, what is waited for and until when. Pure: the same events
 * give the same, in whatever order they came, and time is an argument. So nothing has to be written down when a time is over, a
 * late event repairs what was stuck, and after a kill the state is what it would have been.
 *
 * An event step is asked for by the first event of its causes, by their own times, and done by the first of its events, be they before or
 * behind the cause in the log: their publishers' outboxes do not wait for each other. A consumer's step is asked for by each of its causes. An
 * event whose step nothing asked for has lost its cause: it is waited for as long as the step may take, then it is orphaned.
 */
#ifndef FICUS_FLOW_FLOW_MACHINE_H
#define FICUS_FLOW_FLOW_MACHINE_H

#include "flow_graph.h"

enum {
    FLOW_EVENTS_MAX = 64, /* that an instance keeps; more than FLOW_TOPICS_MAX */
    FLOW_WAITS_MAX = FLOW_EVENTS_MAX * FLOW_STEPS_MAX,
};
#define FLOW_NEVER INT64_MAX

#define FLOW_STATE_LIST(X)                                                                                        \
    X(RUNNING, "running")                                                                                         \
    X(STUCK, "stuck")               /* what was expected has not come in its time, or a consumer gave it up */    \
    X(ORPHANED, "orphaned")         /* an event without what should have led to it; it never began */             \
    X(UNCOMPENSATED, "uncompensated") /* a failure that was not made good in its time */                          \
    X(COMPLETED, "completed")                                                                                     \
    X(COMPENSATED, "compensated")   /* it failed, and all that makes it good is done */

enum flow_state_name {
#define X(name, text) FLOW_##name,
    FLOW_STATE_LIST(X)
#undef X
    FLOW_STATE_COUNT,
};
const char *flow_state_text(enum flow_state_name s);
bool flow_state_parse(struct slice text, enum flow_state_name *ret_state);

/* How far a consumer is with an event. */
enum flow_mark_kind {
    FLOW_MARK_WAITING,  /* at_ms: since when, 0: the event's own time (a redrive waits anew) */
    FLOW_MARK_SEEN,     /* at_ms: when the hub heard of it; 0: before the hub looked */
    FLOW_MARK_GIVEN_UP, /* at_ms: the dead letter's time */
    FLOW_MARK_DROPPED,  /* an operator said that nothing is to be done about the dead letter */
};

struct flow_mark {
    uint8_t step;
    enum flow_mark_kind kind;
    int64_t at_ms;
    int64_t letter; /* number of the dead letter; 0: none */
};

struct flow_seen {
    int64_t offset, time_ms;
    int topic;
    const struct flow_mark *marks; /* of consumers' steps; one without a mark waits */
    size_t mark_count;
};

/* Something that is waited for. */
struct flow_wait {
    uint8_t step;
    uint8_t event;     /* index: what asked for it, or the event that has lost its cause */
    bool lost_cause;   /* what is waited for is the cause */
    bool given_up;     /* by the consumer */
    int64_t since_ms, until_ms;
};

struct flow_fold {
    bool started, failed;
    bool late;         /* something came behind its time */
    uint64_t late_events; /* bits by index: which */
    int64_t stuck_ms, orphaned_ms, undone_ms; /* behind this time it is so; FLOW_NEVER */
    size_t wait_count;
    struct flow_wait waits[FLOW_WAITS_MAX];
};

/* events by offset, at most FLOW_EVENTS_MAX. */
void flow_fold(const struct flow_graph *g, const struct flow_seen *events, size_t count, struct flow_fold *ret_fold);
enum flow_state_name flow_state_at(const struct flow_fold *f, int64_t now_ms);
/* The same of what is stored of a fold. */
enum flow_state_name flow_state_of(bool open, bool failed, int64_t stuck_ms, int64_t orphaned_ms, int64_t undone_ms, int64_t now_ms);
/* The earliest end of a wait; FLOW_NEVER: nothing is waited for. */
int64_t flow_due_ms(const struct flow_fold *f);
/* Which event a full instance does without when another has come: the one longest in the log that is not the first of its topic, since
 * times count from that. events by offset; there are more than FLOW_TOPICS_MAX. */
size_t flow_spare(const struct flow_seen *events, size_t count);

#endif
