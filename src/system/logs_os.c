/* SPDX-License-Identifier: Apache-2.0
 *
 * Merging log files. Each process has one source: NAME.N.log.old (when its log was rotated) and then NAME.N.log; a
 * source is read line by line through a fixed buffer, and the line with the earliest time comes next. A line that is no
 * JSON has the time of the one before it, so that it stays behind it.
 */
#include "logs.h"

#include "json.h"
#include "mem.h"
#include "timefmt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* a line is at most LOG_LINE_SIZE_MAX bytes; foreign longer ones come in pieces */
enum { READ_SIZE = 32 * 1024, NAME_SIZE = 256, FOLLOW_MS = 200 };

struct source {
    char file[NAME_SIZE]; /* "orders.1.log" */
    char name[NAME_SIZE]; /* "orders" */
    int fds[2];           /* old, current; -1: none or read */
    const char *folder;   /* not NULL: the current one is followed */
    char *p;              /* READ_SIZE bytes */
    size_t at, size;
    struct slice line; /* the present one, without newline; p NULL: at the end */
    char time[TIME_TEXT_SIZE + 8];
};

struct merge {
    const struct logs_query *q;
    struct source *sources;
    size_t count;
    struct arena arena; /* of the present line */
    struct buf text;
    bool (*out)(void *arg, struct slice line);
    void *arg;
    bool following; /* the last lines are out */
    char **last; /* ring of last_max lines */
    size_t last_at, last_count;
};

/* ---- for people ---- */

static const char *level_colour(struct slice level)
{
    return slice_eq_str(level, "error")   ? "\033[31m"
           : slice_eq_str(level, "warn")  ? "\033[33m"
           : slice_eq_str(level, "debug") ? "\033[2m"
                                          : "";
}

static bool is_in_front(struct slice key)
{
    static const char *const names[] = {"time", "level", "service", "instance", "msg", "trace", "span", "correlation"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (slice_eq_str(key, names[i]))
            return true;
    return false;
}

/* Control characters could move the terminal's cursor: shown as '?'. */
static void add_text(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        buf_add_char(out, (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? '?' : s.p[i]);
}

static void add_member(struct buf *out, const struct json *v)
{
    buf_add_char(out, ' ');
    add_text(out, v->key);
    buf_add_char(out, '=');
    if (v->type == JSON_STRING || v->type == JSON_NUMBER)
        add_text(out, v->text);
    else
        buf_add_str(out, v->type == JSON_TRUE    ? "true"
                         : v->type == JSON_FALSE ? "false"
                         : v->type == JSON_NULL  ? "null"
                                                 : "...");
}

void logs_format(const struct json *v, struct slice raw, const char *name, bool colour, struct buf *out)
{
    struct slice time = json_string_or(json_get(v, "time"), SLICE_NONE),
                 level = json_string_or(json_get(v, "level"), SLICE("-"));
    const char *begin = colour ? level_colour(level) : "";
    buf_add_str(out, begin);
    if (time.size > 12)
        time = slice_make(time.p + 11, time.size - 12); /* without date and 'Z' */
    buf_printf(out, "%-12.*s %-5.*s %-13s ", SLICE_ARG(time), SLICE_ARG(level), name);
    if (v == NULL) {
        add_text(out, raw);
    } else {
        add_text(out, json_string_or(json_get(v, "msg"), SLICE("")));
        for (const struct json *member = v->first; member != NULL; member = member->next)
            if (!is_in_front(member->key))
                add_member(out, member);
        struct slice trace = json_string_or(json_get(v, "trace"), SLICE_NONE);
        if (trace.size > 0)
            buf_printf(out, " trace=" SLICE_FMT, SLICE_ARG(trace));
    }
    buf_add_str(out, begin[0] != '\0' ? "\033[0m\n" : "\n");
}

/* ---- sources ---- */

static bool wanted(const struct logs_query *q, const char *name)
{
    for (size_t i = 0; i < q->service_count; i++)
        if (strcmp(q->services[i], name) == 0)
            return true;
    return q->service_count == 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct source *)a)->file, ((const struct source *)b)->file);
}

/* The log was rotated. True: the new one is open in its place, and the one before is the old one, to be read to its end once
 * more: lines may have come after its end was seen and before it was renamed. */
static bool take_new_file(struct source *s)
{
    char path[4096];
    struct stat now, then;
    snprintf(path, sizeof path, "%s/%s", s->folder, s->file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (fstat(fd, &now) != 0 || fstat(s->fds[1], &then) != 0 || now.st_ino == then.st_ino) {
        close(fd);
        return false;
    }
    s->fds[0] = s->fds[1];
    s->fds[1] = fd;
    return true;
}

/* Reads on until there is a whole line, or the buffer is full, or nothing is left. What is followed keeps the begin of a
 * line for the next time. */
static void next_line(struct source *s)
{
    for (;;) {
        char *newline = memchr(s->p + s->at, '\n', s->size - s->at);
        if (newline != NULL || s->size - s->at == READ_SIZE) {
            size_t size = newline != NULL ? (size_t)(newline - (s->p + s->at)) : READ_SIZE;
            s->line = slice_make(s->p + s->at, size);
            s->at += size + (newline != NULL);
            return;
        }
        memmove(s->p, s->p + s->at, s->size - s->at);
        s->size -= s->at;
        s->at = 0;
        int *fd = s->fds[0] >= 0 ? &s->fds[0] : &s->fds[1];
        ssize_t n = *fd < 0 ? 0 : read(*fd, s->p + s->size, READ_SIZE - s->size);
        if (n > 0) {
            s->size += (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (s->folder != NULL && fd == &s->fds[1]) {
            if (take_new_file(s))
                continue;
            s->line = SLICE_NONE;
            return;
        }
        if (*fd >= 0)
            close(*fd);
        bool more = fd == &s->fds[0] && s->fds[1] >= 0;
        *fd = -1;
        if (more)
            continue;
        s->line = s->size > 0 ? slice_make(s->p, s->size) : SLICE_NONE; /* a last line without newline */
        s->at = s->size;
        return;
    }
}

/* The line's time by a look, without parsing: our own lines begin with it. */
static void note_time(struct source *s)
{
    static const struct slice begin = {"{\"time\":\"", sizeof "{\"time\":\"" - 1};
    if (slice_starts(s->line, begin) && s->line.size > begin.size + TIME_TEXT_SIZE - 1) {
        memcpy(s->time, s->line.p + begin.size, TIME_TEXT_SIZE - 1);
        s->time[TIME_TEXT_SIZE - 1] = '\0';
    }
}

static enum ficus_err add_source(struct merge *m, const char *file, struct ficus_error *reterr)
{
    struct slice rest = slice_str(file), name = slice_cut(&rest, '.');
    struct source s = {.fds = {-1, -1}, .folder = m->q->follow ? m->q->folder : NULL};
    char path[4096];
    if (m->count == LOGS_FILES_MAX || name.size == 0 || rest.size == 0 || strlen(file) >= NAME_SIZE)
        return FICUS_ERR_OK;
    memcpy(s.name, name.p, name.size);
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->sources[i].file, file) == 0)
            return FICUS_ERR_OK;
    if (!wanted(m->q, s.name))
        return FICUS_ERR_OK;
    memcpy(s.file, file, strlen(file));
    snprintf(path, sizeof path, "%s/%s.old", m->q->folder, file);
    s.fds[0] = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/%s", m->q->folder, file);
    s.fds[1] = open(path, O_RDONLY | O_CLOEXEC);
    s.p = mem_alloc(READ_SIZE);
    if (s.fds[1] < 0 || s.p == NULL) {
        enum ficus_err err = err_sys(reterr, s.p == NULL ? ENOMEM : errno, "open %s", path);
        if (s.fds[0] >= 0)
            close(s.fds[0]);
        if (s.fds[1] >= 0)
            close(s.fds[1]);
        mem_free(s.p);
        return err;
    }
    m->sources[m->count++] = s;
    return FICUS_ERR_OK;
}

static enum ficus_err open_sources(struct merge *m, struct ficus_error *reterr)
{
    DIR *dir = opendir(m->q->folder);
    enum ficus_err err = FICUS_ERR_OK;
    if (dir == NULL)
        return err_sys(reterr, errno, "open %s", m->q->folder);
    for (struct dirent *entry; err == FICUS_ERR_OK && (entry = readdir(dir)) != NULL;)
        if (slice_ends(slice_str(entry->d_name), SLICE(".log")))
            err = add_source(m, entry->d_name, reterr);
    closedir(dir);
    for (size_t i = 0; i < m->q->service_count && err == FICUS_ERR_OK && !m->following; i++) {
        bool found = false;
        for (size_t j = 0; j < m->count && !found; j++)
            found = strcmp(m->sources[j].name, m->q->services[i]) == 0;
        if (!found)
            err = err_set(reterr, FICUS_ERR_INVALID, "there is no log of \"%s\" in %s (ficus status names the processes)",
                          m->q->services[i], m->q->folder);
    }
    qsort(m->sources, m->count, sizeof m->sources[0], compare_names);
    return err;
}

/* ---- merging ---- */

static bool matches(const struct logs_query *q, const struct json *v)
{
    enum log_level level;
    struct slice name = json_string_or(json_get(v, "level"), SLICE_NONE);
    if (q->trace != NULL && !slice_eq_str(json_string_or(json_get(v, "trace"), SLICE_NONE), q->trace) &&
        !slice_eq_str(json_string_or(json_get(v, "correlation"), SLICE_NONE), q->trace))
        return false;
    return v == NULL || !log_level_parse(name, &level) || level >= q->level_min;
}

static void wrap_raw(const struct source *s, struct buf *out)
{
    struct json_writer w;
    json_write_init(&w, out);
    json_write_object(&w);
    if (s->time[0] != '\0')
        json_write_kv_str(&w, "time", s->time);
    json_write_kv_str(&w, "service", s->name);
    json_write_kv_slice(&w, "msg", s->line);
    json_write_end(&w);
    buf_add_char(out, '\n');
}

/* False: the reader wants no more. */
static bool emit(struct merge *m, struct slice line)
{
    if (m->q->last_max == 0 || m->following)
        return m->out(m->arg, line);
    mem_free(m->last[m->last_at]);
    m->last[m->last_at] = mem_strndup(line.p, line.size); /* out of memory: that line is missing */
    m->last_at = (m->last_at + 1) % m->q->last_max;
    m->last_count += m->last_count < m->q->last_max;
    return true;
}

static bool take(struct merge *m, struct source *s)
{
    struct json *v = NULL;
    bool more = true;
    arena_clear(&m->arena);
    buf_clear(&m->text);
    if (json_parse(&m->arena, s->line, NULL, &v, NULL) != FICUS_ERR_OK || v->type != JSON_OBJECT)
        v = NULL;
    if (s->line.size > 0 && matches(m->q, v)) {
        if (!m->q->json) {
            logs_format(v, s->line, s->name, m->q->colour, &m->text);
        } else if (v != NULL) {
            buf_add_slice(&m->text, s->line);
            buf_add_char(&m->text, '\n');
        } else {
            wrap_raw(s, &m->text);
        }
        more = emit(m, buf_slice(&m->text));
    }
    next_line(s);
    if (s->line.p != NULL)
        note_time(s);
    return more;
}

/* All that is there. False: the reader wants no more. */
static bool merge_all(struct merge *m)
{
    for (size_t i = 0; i < m->count; i++) {
        next_line(&m->sources[i]);
        if (m->sources[i].line.p != NULL)
            note_time(&m->sources[i]);
    }
    for (;;) {
        struct source *first = NULL;
        for (size_t i = 0; i < m->count; i++)
            if (m->sources[i].line.p != NULL && (first == NULL || strcmp(m->sources[i].time, first->time) < 0))
                first = &m->sources[i];
        if (first == NULL)
            return true;
        if (!take(m, first))
            return false;
    }
}

static bool put_last(struct merge *m)
{
    for (size_t i = 0; i < m->last_count; i++) {
        const char *line = m->last[(m->last_at + m->q->last_max - m->last_count + i) % m->q->last_max];
        if (line != NULL && !m->out(m->arg, slice_str(line)))
            return false;
    }
    return true;
}

/* A folder that is gone, and files that are, may come again. */
static void follow(struct merge *m)
{
    m->following = true;
    do {
        (void)poll(NULL, 0, FOLLOW_MS);
        (void)open_sources(m, NULL);
    } while (merge_all(m));
}

enum ficus_err logs_read(const struct logs_query *q, bool (*out)(void *arg, struct slice line), void *arg,
                         struct ficus_error *reterr)
{
    struct merge m = {.q = q, .out = out, .arg = arg};
    if (q->last_max > LOGS_LAST_MAX)
        return err_set(reterr, FICUS_ERR_INVALID, "at most the last %d lines can be asked for", LOGS_LAST_MAX);
    arena_init(&m.arena, 1 << 20);
    buf_init(&m.text, 1 << 20);
    m.sources = mem_array(LOGS_FILES_MAX, sizeof m.sources[0]);
    m.last = mem_array(q->last_max + 1, sizeof m.last[0]);
    enum ficus_err err = FICUS_ERR_OK;
    if (m.sources == NULL || m.last == NULL)
        err = err_set(reterr, FICUS_ERR_NOMEM, "logs: out of memory");
    if (err == FICUS_ERR_OK)
        err = open_sources(&m, reterr);
    if (err == FICUS_ERR_OK && merge_all(&m) && put_last(&m) && q->follow)
        follow(&m);
    for (size_t i = 0; i < m.count; i++) {
        for (size_t j = 0; j < 2; j++)
            if (m.sources[i].fds[j] >= 0)
                close(m.sources[i].fds[j]);
        mem_free(m.sources[i].p);
    }
    for (size_t i = 0; m.last != NULL && i < q->last_max; i++)
        mem_free(m.last[i]);
    mem_free(m.last);
    mem_free(m.sources);
    buf_done(&m.text);
    arena_done(&m.arena);
    return err;
}
