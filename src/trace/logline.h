/* SPDX-License-Identifier: Apache-2.0
 *
 * Structured log: one JSON object a line, members in this order: time, level, service, instance, event, msg, trace,
 * span, correlation (the last three when there are), then the call's own. A line has at most LOG_LINE_SIZE_MAX bytes:
 * over-long values are cut, members that no longer fit are left out and "cut":true says so; it is always valid JSON.
 * Lines of level warn and error are limited to LOG_REPEATS_MAX a second for each event name; the first one that gets
 * through later says in "suppressed" how many did not. They are written at once, others when the loop's turn ends at the
 * latest. Any thread.
 *
 *     LOG(logger, LOG_INFO, &ctx, "request.done", "request answered", LOG_STR("route", route), LOG_INT("status", 200));
 *     LOGF(logger, LOG_WARN, NULL, "jwks.fetch", LOG_FIELDS(LOG_ERR(&error)), "keeping %zu old keys", count);
 *
 * The event is a stable name for machines (lower case, dots), msg a sentence for people without changing parts where
 * possible. Secrets, tokens, passwords and card numbers have no business in either.
 */
#ifndef FICUS_TRACE_LOGLINE_H
#define FICUS_TRACE_LOGLINE_H

#include "env.h"
#include "text.h"
#include "trace_context.h"

#include <pthread.h>

enum {
    LOG_LINE_SIZE_MAX = 8192,       /* newline included */
    LOG_LINE_BODY_MAX = LOG_LINE_SIZE_MAX - 16, /* of which all but its end has this place */
    LOG_VALUE_SIZE_MAX = 2048,      /* bytes of one string value, escaped */
    LOG_FIELDS_MAX = 24,
    LOG_REPEATS_MAX = 20,           /* lines a second, per event of warn and error */
    LOG_EVENTS_MAX = 64,            /* events told apart by the limit; further ones share one allowance */
};

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_LEVEL_COUNT };

/* What a line belongs to. Zero-initialise; borrowed for the call. */
struct log_context {
    struct trace_context trace;
    struct slice correlation;       /* request or business id that outlives one trace; SLICE_NONE: none */
};

enum log_field_kind {
    LOG_FIELD_END,
    LOG_FIELD_SLICE,
    LOG_FIELD_INT,
    LOG_FIELD_BOOL
};

struct log_field {
    struct slice key;               /* LOG_KEY: as it stands in the line */
    enum log_field_kind kind;
    int64_t number;
    struct slice text;
};

/* k: a literal that needs no escape */
#define LOG_KEY(k) SLICE(",\"" k "\":")
#define LOG_STR(k, v) ((struct log_field){.key = LOG_KEY(k), .kind = LOG_FIELD_SLICE, .text = slice_str(v)}) /* NULL: null */
#define LOG_SLICE(k, v) ((struct log_field){.key = LOG_KEY(k), .kind = LOG_FIELD_SLICE, .text = (v)})
#define LOG_INT(k, v) ((struct log_field){.key = LOG_KEY(k), .kind = LOG_FIELD_INT, .number = (int64_t)(v)})
#define LOG_BOOL(k, v) ((struct log_field){.key = LOG_KEY(k), .kind = LOG_FIELD_BOOL, .number = (v)})
/* struct ficus_error *e as member "error" */
#define LOG_ERR(e) LOG_STR("error", (e)->text[0] != '\0' ? (e)->text : err_text((e)->code))
#define LOG_FIELDS(...) ((const struct log_field[]){__VA_ARGS__ __VA_OPT__(,) {.kind = LOG_FIELD_END}})

struct log_repeats {
    char event[48];
    int64_t window_s;
    uint32_t count, suppressed;
};

struct logger {
    struct env *env;
    const char *service;            /* borrowed; for the life of the logger */
    const char *instance;
    enum log_level level_min;
    /* private below; repeats is guarded by mutex */
    pthread_mutex_t mutex;
    uint32_t event_count;
    struct log_repeats repeats[LOG_EVENTS_MAX + 1];
};

void logger_init(struct logger *l, struct env *env, const char *service, const char *instance,
                 enum log_level level_min);
void logger_done(struct logger *l);

static inline bool log_enabled(const struct logger *l, enum log_level level)
{
    return l != NULL && level >= l->level_min;
}

/* Behind the macros. fields ends with LOG_FIELD_END; ctx may be NULL. logger NULL: nothing happens. Never fails. */
void log_write(struct logger *l, enum log_level level, const struct log_context *ctx, const char *event,
               const struct log_field *fields, const char *format, ...) __attribute__((format(printf, 6, 7)));

#define LOGF(logger, level, ctx, event, fields, ...)                                               \
    do {                                                                                           \
        if (log_enabled((logger), (level)))                                                        \
            log_write((logger), (level), (ctx), (event), (fields), __VA_ARGS__);                   \
    } while (0)
#define LOG(logger, level, ctx, event, msg, ...) LOGF(logger, level, ctx, event, LOG_FIELDS(__VA_ARGS__), "%s", (msg))

/* A line that one thread writes often: what it has each time alike is made once. */
enum { LOG_EVENT_SIZE_MAX = 640 };
struct log_event {
    /* private */
    enum log_level level;
    int64_t wall_ms;                /* of time */
    size_t size;
    char time[32];
    char text[LOG_EVENT_SIZE_MAX];
};

/* level: below LOG_WARN, as these are not limited; event, msg: together at most 200 bytes. */
void log_event_init(struct log_event *e, const struct logger *l, enum log_level level, const char *event,
                    const char *msg);
/* Such a line is written member by member, where it is known whether there is one: begin, any members, end. The caller has asked
 * log_enabled; ctx as for log_write. */
struct log_line {
    char *p; /* LOG_LINE_SIZE_MAX bytes of the caller's */
    /* private; zero-initialise */
    size_t size;
    bool cut;
};
void log_event_begin(struct log_event *e, struct logger *l, const struct log_context *ctx, struct log_line *line);
void log_event_end(struct logger *l, struct log_line *line);
void log_line_string(struct log_line *l, struct slice text); /* behind log_line_text */

/* Behind the others: false when key and so many bytes have no place, so that nothing is begun that could not be ended. */
static inline bool log_line_key(struct log_line *l, struct slice key, size_t size)
{
    if (LOG_LINE_BODY_MAX - l->size < key.size + size) {
        l->cut = true;
        return false;
    }
    (void)slice_put(l->p + l->size, key);
    l->size += key.size;
    return true;
}

/* A member; key: LOG_KEY. Here, because what is known of a key when it is compiled makes it a few stores. What has no place any more
 * is left out. */
static inline void log_line_int(struct log_line *l, struct slice key, int64_t number)
{
    if (log_line_key(l, key, TEXT_I64_SIZE))
        l->size += text_i64(number, l->p + l->size); /* its NUL is written over */
}

/* text: p NULL is null */
static inline void log_line_text(struct log_line *l, struct slice key, struct slice text)
{
    if (log_line_key(l, key, TEXT_I64_SIZE)) /* for "null" and the empty string as well */
        log_line_string(l, text);
}

/* text: characters that need no escape */
static inline void log_line_plain(struct log_line *l, struct slice key, struct slice text)
{
    if (!log_line_key(l, key, text.size + 2))
        return;
    char *at = l->p + l->size;
    *at++ = '"';
    at = slice_put(at, text);
    *at++ = '"';
    l->size = (size_t)(at - l->p);
}

const char *log_level_name(enum log_level level);           /* "debug" "info" "warn" "error" */
bool log_level_parse(struct slice name, enum log_level *ret_level);

/* The pure part: one line with its newline into line (LOG_LINE_SIZE_MAX bytes); returns its size. suppressed 0: no
 * such member. */
struct log_record {
    int64_t wall_ms;
    enum log_level level;
    const char *service, *instance, *event, *msg;
    struct log_event *alike;        /* in place of level, service, instance, event and msg; NULL: none */
    const struct log_context *ctx;
    const struct log_field *fields;
    uint32_t suppressed;
};
size_t log_format(const struct log_record *r, char line[LOG_LINE_SIZE_MAX]);

#endif
