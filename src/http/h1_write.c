/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1.1 heads out. One function walks over the parts of a head; it either adds up sizes or copies, so the two cannot
 * disagree.
 */
#include "h1_write.h"

#include "assert.h"
#include "h1_chars.h"

/* p NULL: only measure. */
struct sink {
    char *p;
    size_t size;
};

static void put(struct sink *s, struct slice text)
{
    if (s->p != NULL && text.size > 0)
        memcpy(s->p + s->size, text.p, text.size);
    s->size += text.size;
}

static void put_u64(struct sink *s, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    put(s, slice_make(digits + at, sizeof digits - at));
}

static void put_field(struct sink *s, struct slice name, struct slice value)
{
    put(s, name);
    put(s, SLICE(": "));
    put(s, value);
    put(s, SLICE("\r\n"));
}

static void put_fields(struct sink *s, const struct h1_write *w)
{
    const struct http_msg *m = w->m;
    for (size_t i = 0; i < m->field_count; i++)
        if (!h1_field_reserved(m->fields[i].name))
            put_field(s, m->fields[i].name, m->fields[i].value);
    if (w->framing == H1_BODY_CHUNKED) {
        put(s, SLICE("Transfer-Encoding: chunked\r\n"));
    } else if (w->content_length >= 0 && w->framing != H1_BODY_UNTIL_CLOSE) {
        put(s, SLICE("Content-Length: "));
        put_u64(s, (uint64_t)w->content_length);
        put(s, SLICE("\r\n"));
    }
    if (w->close)
        put(s, SLICE("Connection: close\r\n"));
    if (w->upgrade.p != NULL) {
        put(s, SLICE("Connection: Upgrade\r\n"));
        put_field(s, SLICE("Upgrade"), w->upgrade);
    }
    put(s, SLICE("\r\n"));
}

static void put_request(struct sink *s, const struct h1_write *w)
{
    const struct http_msg *m = w->m;
    put(s, m->method);
    put(s, SLICE(" "));
    put(s, m->path);
    if (m->query.p != NULL) {
        put(s, SLICE("?"));
        put(s, m->query);
    }
    put(s, SLICE(" HTTP/1.1\r\n"));
    /* RFC 9112 3.2 wants a Host always. Over a unix socket there may be no name to say. */
    put_field(s, SLICE("Host"), m->authority.p != NULL ? m->authority : SLICE("localhost"));
    if (m->takes_trailers) /* RFC 9110 10.1.4: for the next hop alone */
        put(s, SLICE("TE: trailers\r\nConnection: TE\r\n"));
    put_fields(s, w);
}

static void put_response(struct sink *s, const struct h1_write *w)
{
    const struct http_msg *m = w->m;
    put(s, SLICE("HTTP/1.1 "));
    put_u64(s, (uint64_t)m->status);
    put(s, SLICE(" "));
    put(s, slice_str(http_status_text(m->status)));
    put(s, SLICE("\r\n"));
    if (w->date != NULL && http_msg_get(m, "date").p == NULL)
        put_field(s, SLICE("Date"), slice_str(w->date));
    if (w->server != NULL && http_msg_get(m, "server").p == NULL)
        put_field(s, SLICE("Server"), slice_str(w->server));
    put_fields(s, w);
}

static bool all_of(struct slice s, unsigned class)
{
    for (size_t i = 0; i < s.size; i++)
        if (!h1_is(s.p[i], class))
            return false;
    return true;
}

size_t h1_request_size(const struct h1_write *w)
{
    const struct http_msg *m = w->m;
    bool path_ok = m->path.size > 0 && (m->path.p[0] == '/' || slice_eq_str(m->path, "*"));
    if (!http_token_valid(m->method) || !path_ok || !all_of(m->path, H1_PATH) || !all_of(m->query, H1_QUERY))
        return 0;
    if (m->authority.p != NULL && !h1_authority_valid(m->authority))
        return 0;
    if (w->upgrade.p != NULL && !http_token_valid(w->upgrade))
        return 0;
    struct sink s = {0};
    put_request(&s, w);
    return s.size;
}

size_t h1_response_size(const struct h1_write *w)
{
    if (w->m->status < 100 || w->m->status > 599)
        return 0;
    struct sink s = {0};
    put_response(&s, w);
    return s.size;
}

void h1_request_write(const struct h1_write *w, char *p)
{
    struct sink s = {.p = p};
    put_request(&s, w);
}

void h1_response_write(const struct h1_write *w, char *p)
{
    struct sink s = {.p = p};
    put_response(&s, w);
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
