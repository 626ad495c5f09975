/* SPDX-License-Identifier: Apache-2.0
 *
 * See logline.h. The line is built in a fixed array on the caller's stack, so that logging allocates nothing and
 * cannot fail. Room for the closing bytes is kept back from the start; the fixed members together always fit (see the
 * sum below), the call's own members are cut or left out when they do not.
 */
#include "logline.h"

#include "assert.h"
#include "hex.h"
#include "sixteen.h"
#include "text.h"
#include "timefmt.h"

#include <stdio.h>

#define TAIL ",\"cut\":true}\n"

enum {
    NAME_MAX_SIZE = 128,        /* service, instance, event, correlation */
    TAIL_SIZE = sizeof TAIL - 1,
    BODY_MAX = LOG_LINE_BODY_MAX,
    NUMBER_SIZE = TEXT_I64_SIZE,
};
/* 5 names, msg, and 300 bytes for time, level, trace, span, suppressed and all keys and quotes. */
_Static_assert(TIME_TEXT_SIZE <= sizeof((struct log_event){0}.time), "a time fits");
_Static_assert(LOG_LINE_BODY_MAX + TAIL_SIZE <= LOG_LINE_SIZE_MAX, "the end has its place");
_Static_assert(5 * NAME_MAX_SIZE + LOG_VALUE_SIZE_MAX + 300 < BODY_MAX, "the fixed members fit");

static const char *const level_names[LOG_LEVEL_COUNT] = {"debug", "info", "warn", "error"};

const char *log_level_name(enum log_level level)
{
    FICUS_ASSERT(level < LOG_LEVEL_COUNT);
    return level_names[level];
}

bool log_level_parse(struct slice name, enum log_level *ret_level)
{
    for (unsigned i = 0; i < LOG_LEVEL_COUNT; i++) {
        if (slice_eq_str(name, level_names[i])) {
            *ret_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static size_t room(const struct log_line *l)
{
    return BODY_MAX - l->size;
}

static inline void put(struct log_line *l, const char *p, size_t size)
{
    FICUS_ASSERT(size <= room(l));
    l->size = (size_t)(slice_put(l->p + l->size, slice_make(p, size)) - l->p);
}

#define PUT(l, literal) put((l), (literal), sizeof(literal) - 1)

/* How the character at p is written: its size in the text (1..4) and its escape, or "" when it stands for itself. */
static size_t escape(const char *p, size_t size, char ret_escape[8])
{
    unsigned char c = (unsigned char)*p;
    ret_escape[0] = '\0';
    if (c >= 0x80) {
        size_t step = text_utf8_step(p, size);
        if (step == 0)
            memcpy(ret_escape, "\xef\xbf\xbd", 4);  /* U+FFFD */
        return step != 0 ? step : 1;
    }
    if (c == '"' || c == '\\')
        snprintf(ret_escape, 8, "\\%c", c);
    else if (c == '\n')
        memcpy(ret_escape, "\\n", 3);
    else if (c == '\t')
        memcpy(ret_escape, "\\t", 3);
    else if (c < 0x20 || c == 0x7f)
        snprintf(ret_escape, 8, "\\u%04x", c);
    return 1;
}

/* Characters that stand for themselves: nearly all, so they are found and copied in runs. */
static const uint8_t plain[256] = {[0x20 ... 0x21] = 1, [0x23 ... 0x5b] = 1, [0x5d ... 0x7e] = 1};

/* A bit for each of sixteen characters that does not stand for itself. */
static unsigned others_of(const char *p)
{
    sixteen x = sixteen_load(p);
    return ~sixteen_mask(sixteen_within(x, 0x20, 0x7e) & ~(sixteen_is(x, '"') | sixteen_is(x, '\\'))) & 0xffff;
}

static size_t plain_run(const char *p, size_t size)
{
    size_t run = 0;
    for (; size - run >= 16; run += 16) {
        unsigned others = others_of(p + run);
        if (others != 0)
            return run + (size_t)__builtin_ctz(others);
    }
    if (run > 0 && run < size && others_of(p + size - 16) == 0)
        return size;
    while (run < size && plain[(unsigned char)p[run]])
        run++;
    return run;
}

/* The rest of a string, from a character on that needs more than copying or has no room. */
static void put_string_rest(struct log_line *l, struct slice text, size_t end)
{
    for (size_t i = 0, step; i < text.size; i += step) {
        char escaped[8];
        step = escape(text.p + i, text.size - i, escaped);
        size_t escaped_size = strlen(escaped);
        if (l->size + (escaped_size > 0 ? escaped_size : step) > end) {
            l->cut = true;
            break;
        }
        if (escaped_size > 0)
            put(l, escaped, escaped_size);
        else
            put(l, text.p + i, step);
    }
}

/* A JSON string of at most size_max bytes between its quotes; what does not fit is cut between two characters. */
static void put_string(struct log_line *l, struct slice text, size_t size_max)
{
    FICUS_ASSERT(room(l) >= 2 + (text.size < size_max ? text.size : size_max));
    char *at = l->p + l->size;
    size_t run = plain_run(text.p, text.size < size_max ? text.size : size_max);
    *at++ = '"';
    at = slice_put(at, slice_make(text.p, run));
    if (run < text.size) {
        l->size = (size_t)(at - l->p);
        put_string_rest(l, slice_from(text, run), l->size + size_max - run);
        at = l->p + l->size;
    }
    *at++ = '"';
    l->size = (size_t)(at - l->p);
}

static void put_member(struct log_line *l, struct slice key, struct slice text, size_t size_max)
{
    put(l, key.p, key.size);
    put_string(l, text, size_max);
}

static void put_number(struct log_line *l, int64_t number)
{
    FICUS_ASSERT(room(l) >= NUMBER_SIZE); /* with the NUL, which is written over */
    l->size += text_i64(number, l->p + l->size);
}

static void put_hex(struct log_line *l, const uint8_t *bytes, size_t count)
{
    FICUS_ASSERT(2 * count <= room(l));
    (void)hex_put(l->p + l->size, bytes, count);
    l->size += 2 * count;
}

static void put_alike(struct log_line *l, const struct log_record *r)
{
    put_member(l, LOG_KEY("level"), slice_str(log_level_name(r->level)), NAME_MAX_SIZE);
    put_member(l, LOG_KEY("service"), slice_str(r->service), NAME_MAX_SIZE);
    put_member(l, LOG_KEY("instance"), slice_str(r->instance), NAME_MAX_SIZE);
    put_member(l, LOG_KEY("event"), slice_str(r->event), NAME_MAX_SIZE);
    put_member(l, LOG_KEY("msg"), slice_str(r->msg), LOG_VALUE_SIZE_MAX);
}

static void put_fixed(struct log_line *l, const struct log_record *r)
{
    struct log_event *e = r->alike;
    char own[TIME_TEXT_SIZE], *time = e != NULL ? e->time : own;
    if (e == NULL || e->wall_ms != r->wall_ms)
        time_format(r->wall_ms, time);
    PUT(l, "{\"time\":\"");
    put(l, time, TIME_TEXT_SIZE - 1);
    PUT(l, "\"");
    if (e != NULL) {
        e->wall_ms = r->wall_ms;
        put(l, e->text, e->size);
    } else {
        put_alike(l, r);
    }
    if (r->ctx != NULL && trace_present(&r->ctx->trace)) {
        PUT(l, ",\"trace\":\"");
        put_hex(l, r->ctx->trace.trace_id, sizeof r->ctx->trace.trace_id);
        PUT(l, "\",\"span\":\"");
        put_hex(l, r->ctx->trace.span_id, sizeof r->ctx->trace.span_id);
        PUT(l, "\"");
    }
    if (r->ctx != NULL && r->ctx->correlation.p != NULL)
        put_member(l, LOG_KEY("correlation"), r->ctx->correlation, NAME_MAX_SIZE);
    if (r->suppressed > 0) {
        PUT(l, ",\"suppressed\":");
        put_number(l, r->suppressed);
    }
}

void log_line_string(struct log_line *l, struct slice text)
{
    if (text.p == NULL)
        put(l, "null", 4);
    else
        put_string(l, text, room(l) - 2 < LOG_VALUE_SIZE_MAX ? room(l) - 2 : LOG_VALUE_SIZE_MAX);
}

static void put_field(struct log_line *l, const struct log_field *f)
{
    switch (f->kind) {
    case LOG_FIELD_INT:
        log_line_int(l, f->key, f->number);
        break;
    case LOG_FIELD_BOOL:
        if (log_line_key(l, f->key, NUMBER_SIZE))
            put(l, f->number != 0 ? "true" : "false", f->number != 0 ? 4 : 5);
        break;
    case LOG_FIELD_SLICE:
        log_line_text(l, f->key, f->text);
        break;
    default:
        FICUS_UNREACHABLE();
    }
}

/* Returns the size of the whole line. */
static size_t line_end(struct log_line *l)
{
    struct slice tail = l->cut ? SLICE(TAIL) : SLICE("}\n");
    return (size_t)(slice_put(l->p + l->size, tail) - l->p); /* BODY_MAX kept this room */
}

size_t log_format(const struct log_record *r, char line[LOG_LINE_SIZE_MAX])
{
    struct log_line l = {.p = line};
    put_fixed(&l, r);
    const struct log_field *f = r->fields;
    for (size_t i = 0; f != NULL && f[i].kind != LOG_FIELD_END; i++) {
        if (i == LOG_FIELDS_MAX) {
            l.cut = true;
            break;
        }
        put_field(&l, &f[i]);
    }
    return line_end(&l);
}

void log_event_init(struct log_event *e, const struct logger *l, enum log_level level, const char *event,
                    const char *msg)
{
    __attribute__((uninitialized)) char text[LOG_LINE_SIZE_MAX];
    struct log_line line = {.p = text};
    const struct log_record r = {.level = level, .service = l->service, .instance = l->instance, .event = event, .msg = msg};
    FICUS_ASSERT(level < LOG_WARN && strlen(event) + strlen(msg) <= 200);
    put_alike(&line, &r);
    FICUS_ASSERT(line.size <= sizeof e->text); /* two names of NAME_MAX_SIZE, event, msg, and the keys */
    *e = (struct log_event){.level = level, .wall_ms = INT64_MIN, .size = line.size};
    memcpy(e->text, text, line.size);
}

void logger_init(struct logger *l, struct env *env, const char *service, const char *instance, enum log_level level_min)
{
    *l = (struct logger){.env = env, .service = service, .instance = instance, .level_min = level_min};
    int failed = pthread_mutex_init(&l->mutex, NULL);
    FICUS_ASSERT(failed == 0);
}

void logger_done(struct logger *l)
{
    (void)pthread_mutex_destroy(&l->mutex);     /* fails only when it is held, and then nobody may end the logger */
    l->env = NULL;
}

/* The row of an event, made when new; the last row is shared by all that found no place. Under the mutex. */
static struct log_repeats *repeats_of(struct logger *l, const char *event)
{
    size_t size = strnlen(event, sizeof l->repeats[0].event - 1);
    for (uint32_t i = 0; i < l->event_count; i++)
        if (strncmp(l->repeats[i].event, event, size) == 0 && l->repeats[i].event[size] == '\0')
            return &l->repeats[i];
    if (l->event_count == LOG_EVENTS_MAX)
        return &l->repeats[LOG_EVENTS_MAX];
    struct log_repeats *row = &l->repeats[l->event_count++];
    memcpy(row->event, event, size);
    row->event[size] = '\0';
    return row;
}

static bool pass(struct logger *l, const char *event, uint32_t *ret_suppressed)
{
    int64_t now_s = env_now_ms(l->env) / 1000;
    bool passed = false;
    pthread_mutex_lock(&l->mutex);
    struct log_repeats *row = repeats_of(l, event);
    if (row->window_s != now_s) {
        row->window_s = now_s;
        row->count = 0;
    }
    if (row->count < LOG_REPEATS_MAX) {
        row->count++;
        *ret_suppressed = row->suppressed;
        row->suppressed = 0;
        passed = true;
    } else if (row->suppressed < UINT32_MAX) {
        row->suppressed++;
    }
    pthread_mutex_unlock(&l->mutex);
    return passed;
}

void log_write(struct logger *l, enum log_level level, const struct log_context *ctx, const char *event,
               const struct log_field *fields, const char *format, ...)
{
    /* Not zeroed, against the compiler's flag: that would cost more than to write a line. Of both only what was written
     * is read. */
    __attribute__((uninitialized)) char text[LOG_VALUE_SIZE_MAX + 8]; /* over the bound: log_format notices the cut */
    __attribute__((uninitialized)) char line[LOG_LINE_SIZE_MAX];
    const char *msg = text;
    uint32_t suppressed = 0;
    if (!log_enabled(l, level) || (level >= LOG_WARN && !pass(l, event, &suppressed)))
        return;
    va_list args;
    va_start(args, format);
    if (strcmp(format, "%s") == 0)
        msg = va_arg(args, const char *);
    else if (vsnprintf(text, sizeof text, format, args) < 0)
        text[0] = '\0';
    va_end(args);
    struct log_record record = {
        .wall_ms = env_wall_ms(l->env), .level = level, .service = l->service, .instance = l->instance, .event = event,
        .msg = msg, .ctx = ctx, .fields = fields, .suppressed = suppressed,
    };
    env_log_write(l->env, line, log_format(&record, line), level >= LOG_WARN);
}

void log_event_begin(struct log_event *e, struct logger *l, const struct log_context *ctx, struct log_line *line)
{
    const struct log_record r = {.wall_ms = env_wall_ms(l->env), .alike = e, .ctx = ctx};
    put_fixed(line, &r);
}

void log_event_end(struct logger *l, struct log_line *line)
{
    env_log_write(l->env, line->p, line_end(line), false);
}
