/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1.1 heads out.
 */
#include "h1_write.h"

#include "assert.h"
#include "h1_chars.h"
#include "text.h"

enum {
    STATUS_TEXT_SIZE_MAX = 64, /* of http_status_text */
    /* Of all lines below but for what the message and its owner say; each sizeof has a NUL to spare. */
    REQUEST_OWN_SIZE_MAX = sizeof " ? HTTP/1.1\r\n" + sizeof "Host: localhost\r\n" +
                           sizeof "TE: trailers\r\nConnection: TE\r\n",
    RESPONSE_OWN_SIZE_MAX = sizeof "HTTP/1.1  \r\n" + TEXT_I64_SIZE + STATUS_TEXT_SIZE_MAX + sizeof "Date: \r\n" + HTTP_DATE_SIZE +
                            sizeof "Server: \r\n",
    FIELDS_OWN_SIZE_MAX = sizeof "Transfer-Encoding: chunked\r\n" + sizeof "Content-Length: \r\n" + TEXT_I64_SIZE +
                          sizeof "Connection: close\r\n" + sizeof "Connection: Upgrade\r\nUpgrade: \r\n" +
                          sizeof "\r\n",
};

static char *put_field(char *p, struct slice name, struct slice value)
{
    p = slice_put(p, name);
    p = slice_put(p, SLICE(": "));
    p = slice_put(p, value);
    return slice_put(p, SLICE("\r\n"));
}

static bool is_hop(const struct http_field *f)
{
    return (http_name_facts[http_field_id(f)] & HTTP_NAME_HOP) != 0;
}

/* Behind the line of a field that is whole. */
static const char *line_end(const struct http_field *f)
{
    return f->value.p + f->value.size + 2;
}

static char *put_fields(char *p, const struct h1_write *w)
{
    const struct http_msg *m = w->m;
    for (size_t i = 0; i < m->field_count; i++) {
        const struct http_field *f = &m->fields[i];
        if (is_hop(f))
            continue;
        if (!f->whole) {
            p = put_field(p, f->name, f->value);
            continue;
        }
        FICUS_ASSERT_HOT(f->value.p == f->name.p + f->name.size + 2 && memcmp(f->value.p - 2, ": ", 2) == 0 &&
                         memcmp(line_end(f) - 2, "\r\n", 2) == 0);
        const char *begin = f->name.p; /* lines that follow one another in memory, as they came, are one piece */
        for (; i + 1 < m->field_count && f[1].whole && f[1].name.p == line_end(f) && !is_hop(f + 1); i++)
            f++;
        p = slice_put(p, slice_make(begin, (size_t)(line_end(f) - begin)));
    }
    if (w->framing == H1_BODY_CHUNKED) {
        p = slice_put(p, SLICE("Transfer-Encoding: chunked\r\n"));
    } else if (w->content_length >= 0 && w->framing != H1_BODY_UNTIL_CLOSE) {
        p = slice_put(p, SLICE("Content-Length: "));
        p += text_i64(w->content_length, p); /* its NUL is written over */
        p = slice_put(p, SLICE("\r\n"));
    }
    if (w->close)
        p = slice_put(p, SLICE("Connection: close\r\n"));
    if (w->upgrade.p != NULL) {
        p = slice_put(p, SLICE("Connection: Upgrade\r\n"));
        p = put_field(p, SLICE("Upgrade"), w->upgrade);
    }
    return slice_put(p, SLICE("\r\n"));
}

static size_t fields_size_max(const struct h1_write *w)
{
    const struct http_msg *m = w->m;
    size_t size = FIELDS_OWN_SIZE_MAX + w->upgrade.size;
    for (size_t i = 0; i < m->field_count; i++)
        size += m->fields[i].name.size + m->fields[i].value.size + 4;
    return size;
}

static bool all_of(struct slice s, unsigned class)
{
    return s.size == 0 || h1_span(s.p, s.p + s.size, class) == s.p + s.size;
}

bool h1_request_valid(const struct http_msg *m)
{
    bool path_ok = m->path.size > 0 && (m->path.p[0] == '/' || slice_eq_str(m->path, "*"));
    return http_token_valid(m->method) && path_ok && all_of(m->path, H1_PATH) && all_of(m->query, H1_QUERY) &&
        (m->authority.p == NULL || h1_authority_valid(m->authority));
}

size_t h1_request_size_max(const struct h1_write *w)
{
    const struct http_msg *m = w->m;
    if (!m->judged && !h1_request_valid(m))
        return 0;
    if (w->upgrade.p != NULL && !http_token_valid(w->upgrade))
        return 0;
    return REQUEST_OWN_SIZE_MAX + m->method.size + m->path.size + m->query.size + m->authority.size +
           fields_size_max(w);
}

size_t h1_request_write(const struct h1_write *w, char *p)
{
    const struct http_msg *m = w->m;
    char *begin = p;
    p = slice_put(p, m->method);
    p = slice_put(p, SLICE(" "));
    p = slice_put(p, m->path);
    if (m->query.p != NULL) {
        p = slice_put(p, SLICE("?"));
        p = slice_put(p, m->query);
    }
    p = slice_put(p, SLICE(" HTTP/1.1\r\n"));
    /* RFC 9112 3.2 wants a Host always. Over a unix socket there may be no name to say. */
    p = put_field(p, SLICE("Host"), m->authority.p != NULL ? m->authority : SLICE("localhost"));
    if (m->takes_trailers) /* RFC 9110 10.1.4: for the next hop alone */
        p = slice_put(p, SLICE("TE: trailers\r\nConnection: TE\r\n"));
    return (size_t)(put_fields(p, w) - begin);
}

size_t h1_response_size_max(const struct h1_write *w)
{
    if (w->m->status < 100 || w->m->status > 599)
        return 0;
    return RESPONSE_OWN_SIZE_MAX + slice_str(w->server).size + fields_size_max(w);
}

static char *put_status_line(char *p, int status)
{
    struct slice text = slice_str(http_status_text(status));
    FICUS_ASSERT(text.size <= STATUS_TEXT_SIZE_MAX);
    p = slice_put(p, SLICE("HTTP/1.1 "));
    p += text_i64(status, p); /* its NUL is written over */
    p = slice_put(p, SLICE(" "));
    p = slice_put(p, text);
    return slice_put(p, SLICE("\r\n"));
}

size_t h1_response_write(const struct h1_write *w, char *p)
{
    const struct http_msg *m = w->m;
    char *begin = p;
    p = m->status == 200 ? slice_put(p, SLICE("HTTP/1.1 200 OK\r\n")) : put_status_line(p, m->status);
    if (w->date != NULL && http_msg_first(m, HTTP_DATE).p == NULL)
        p = put_field(p, SLICE("Date"), slice_make(w->date, HTTP_DATE_SIZE - 1));
    if (w->server != NULL && http_msg_first(m, HTTP_SERVER).p == NULL)
        p = put_field(p, SLICE("Server"), slice_str(w->server));
    return (size_t)(put_fields(p, w) - begin);
}

static void put_two(char *p, int value)
{
    p[0] = (char)('0' + value / 10);
    p[1] = (char)('0' + value % 10);
}

void http_date_format(int64_t wall_ms, char ret_text[HTTP_DATE_SIZE])
{
    static const char week[] = "ThuFriSatSunMonTueWed";
    static const char months[] = "MarAprMayJunJulAugSepOctNovDecJanFeb";
    int64_t seconds = wall_ms / 1000;
    FICUS_ASSERT(seconds >= 0 && seconds <= 253402300799);
    int64_t days = seconds / 86400;
    int second = (int)(seconds % 86400);

    /* Days since 0000-03-01, in 400-year eras, years that begin in March: leap days come last. */
    int64_t z = days + 719468;
    int64_t era = z / 146097;
    int day_of_era = (int)(z - era * 146097);
    int year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int month = (5 * day_of_year + 2) / 153;
    int day = day_of_year - (153 * month + 2) / 5 + 1;
    int year = (int)era * 400 + year_of_era + (month >= 10 ? 1 : 0);

    memcpy(ret_text, "Www, DD Mmm YYYY HH:MM:SS GMT", HTTP_DATE_SIZE);
    memcpy(ret_text, week + days % 7 * 3, 3);
    put_two(ret_text + 5, day);
    memcpy(ret_text + 8, months + month * 3, 3);
    put_two(ret_text + 12, year / 100);
    put_two(ret_text + 14, year % 100);
    put_two(ret_text + 17, second / 3600);
    put_two(ret_text + 20, second / 60 % 60);
    put_two(ret_text + 23, second % 60);
}
