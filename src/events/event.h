/* SPDX-License-Identifier: Apache-2.0
 *
 * One event: CloudEvents 1.0 in JSON. Ficus uses type = topic, subject = key (events of one key keep their order), and
 * dataschema "urn:ficus:schema:TOPIC:VERSION", and the extensions traceparent, tracestate, correlationid, causationid (the id of the event that led to this one), and
 * deliverat: when it is to come into the log, at once without it. In the log an event has none any more.
 */
#ifndef FICUS_EVENTS_EVENT_H
#define FICUS_EVENTS_EVENT_H

#include "env.h"
#include "json.h"

/* Where events end that their consumer's handler refused too often; what says of one of them that an operator is done
 * with it; and how it comes to its consumer again: this and the consumer's name. */
#define EVENT_TOPIC_DEAD "ficus.dead"
#define EVENT_TOPIC_CLOSED "ficus.dead.closed"
#define EVENT_TOPIC_REDRIVE "ficus.redrive."
/* What a service says to its sagas: subject: the instance's id; data {command: start, saga, input} or {command: signal, saga, signal,
 * refuse, data}. Any service may publish it; whose saga it is the engine judges. */
#define EVENT_TOPIC_SAGA "ficus.saga"

enum {
    EVENT_ID_SIZE_MAX = 128,
    EVENT_SOURCE_SIZE_MAX = 256,
    EVENT_TOPIC_SIZE_MAX = 128,
    EVENT_SUBJECT_SIZE_MAX = 512,
    EVENT_SCHEMA_MAX = 1000,            /* versions of a topic's schema */
    EVENT_EXTENSION_SIZE_MAX = 512,     /* traceparent and the like */
    EVENT_TOPICS_MAX = 65,              /* in one comma-separated list: the most that a service consumes, and its redrives */
    /* levels of arrays and objects in data (in a dead letter's two more): leaves room for what it travels in (batches,
     * answers, bodies of saga calls), where nobody may refuse it: it would come again for ever */
    EVENT_DATA_DEPTH_MAX = 32,
};

struct event {
    struct slice id;            /* UUIDv7 */
    struct slice source;        /* the publishing service: "/orders" */
    struct slice topic;         /* CloudEvents type: "order.placed" */
    struct slice subject;       /* the key: order id */
    struct slice time;          /* RFC 3339 */
    struct slice data;          /* raw JSON text of `data`, SLICE_NONE when absent */
    struct slice traceparent, tracestate, correlation, causation;  /* SLICE_NONE when absent */
    int64_t offset;             /* place in the log; 0 before it has one */
    int64_t schema;             /* dataschema: the version of its topic's schema that data was made to; 0: it names none */
    int64_t at_ms;              /* deliverat, wall clock; 0: at once */
};
/* How far ahead an event may be published. */
enum { EVENT_LATER_DAYS_MAX = 366 };
#define EVENT_LATER_MS_MAX (EVENT_LATER_DAYS_MAX * 24ll * 3600 * 1000)

enum { EVENT_SIZE_MAX = 1024 * 1024, EVENT_BATCH_COUNT_MAX = 256, EVENT_BATCH_SIZE_MAX = 4 * 1024 * 1024 };
/* How many of the last events that a publisher got acknowledged it may publish again, beside a batch that is under way. The
 * relay keeps to it, the log knows twice as many again. */
enum { EVENT_AGAIN_MAX = 1024 };

/* A consumer that refuses an event gets it again, after a back-off that doubles; at the last time it becomes a dead letter. */
enum { EVENT_REFUSALS_MAX = 10, EVENT_BACKOFF_MS_MIN = 200, EVENT_BACKOFF_MS_MAX = 10000 };

/* Events of the topic up to this offset were removed from the log before they were read. */
struct event_cut {
    struct slice topic;
    int64_t offset;
};

/* A topic: 1..EVENT_TOPIC_SIZE_MAX of a-z 0-9 . _ -, not beginning with a dot. */
bool event_topic_valid(struct slice topic);
/* Cut a comma-separated list of topics, at most EVENT_TOPICS_MAX, without repetition; they borrow from text. INVALID
 * names what is wrong. */
enum ficus_err event_topics_parse(struct slice text, struct slice ret_topics[EVENT_TOPICS_MAX], size_t *ret_count,
                                  struct ficus_error *reterr);

/* Is it fit to be published? Required attributes, sizes, characters; data, when there, must be one JSON value.
 * INVALID names the attribute. */
enum ficus_err event_check(const struct event *ev, struct ficus_error *reterr);
/* The same without a look into the data, which came from event_read or is known to be fit. */
enum ficus_err event_check_attributes(const struct event *ev, struct ficus_error *reterr);

/* As one structured CloudEvent (application/cloudevents+json). offset > 0 is written as the extension `sequence`
 * (string, CloudEvents sequence extension). */
void event_write(struct json_writer *w, const struct event *ev);
/* The same as text appended to *out. TOO_LARGE: over EVENT_SIZE_MAX, or out is full. */
enum ficus_err event_encode(struct buf *out, const struct event *ev, struct ficus_error *reterr);

/* Check required attributes (specversion 1.0, id, source, type) and bounds. The event borrows from the text that v was parsed
 * from: data is as it stands there, if that is one line, else written anew in the arena. PARSE names the attribute.
 * Other extensions are ignored. */
enum ficus_err event_read(struct arena *a, const struct json *v, struct event *ret_event, struct ficus_error *reterr);
/* Text of one; it is in the arena, of which three times the text's size plus 1 KiB is enough for a plain one. */
enum ficus_err event_decode(struct arena *a, struct slice text, struct event *ret_event, struct ficus_error *reterr);

/* Reading back what event_encode wrote, without looking into the data: data_at is where that begins in text (0: there
 * is none), text is changed and must live as long as the event. CORRUPT: it was not written like that. */
enum ficus_err event_decode_stored(struct arena *a, char *text, size_t size, size_t data_at, struct event *ret_event,
                                   struct ficus_error *reterr);

/* Deep copy into the arena. NOMEM: it is full. */
enum ficus_err event_copy(struct arena *a, const struct event *ev, struct event *ret_event);

/* The event that tells of one that was given up: topic EVENT_TOPIC_DEAD, source "/" consumer, subject, trace and
 * correlation of the original, which also is its causation; data {consumer, reason, attempts, event: original}. Of an
 * original so large that this would not fit, the data is left out and "data_omitted": true says so. All in the
 * arena. */
enum ficus_err event_dead_letter(struct env *e, struct arena *a, const struct event *original, const char *consumer,
                                 const char *reason, int64_t attempts, struct event *ret_event,
                                 struct ficus_error *reterr);

/* What a dead letter tells; also the data of the event that brings it back. In the arena, of EVENT_LETTER_ARENA_MAX for
 * the largest. PARSE: it is none. NOMEM. */
enum { EVENT_LETTER_ARENA_MAX = 128 * 1024 * 1024 };
struct event_letter {
    struct slice consumer;
    bool data_omitted;
    struct event original;
};
enum ficus_err event_letter_read(struct arena *a, struct slice data, struct event_letter *ret_letter,
                                 struct ficus_error *reterr);

#endif
