/* SPDX-License-Identifier: Apache-2.0
 *
 * The message model of RFC 9110: fields, status texts, character tables, query parameters, problem documents. Pure.
 */
#include "http_msg.h"

#include "assert.h"
#include "h1_chars.h"
#include "json.h"
#include "text.h"

void http_msg_init(struct http_msg *m, struct arena *a)
{
    FICUS_ASSERT(a != NULL);
    *m = (struct http_msg){.arena = a, .scheme = SLICE("http")};
}

bool http_token_valid(struct slice s)
{
    return s.size > 0 && h1_span(s.p, s.p + s.size, H1_TOKEN) == s.p + s.size;
}

bool http_value_valid(struct slice s)
{
    if (s.size == 0)
        return true;
    /* RFC 9110 5.5: no blanks at either end, or a receiver would read another value than was meant. */
    char first = s.p[0], last = s.p[s.size - 1];
    return first != ' ' && first != '\t' && last != ' ' && last != '\t' &&
           h1_value_span(s.p, s.p + s.size) == s.p + s.size;
}

bool http_msg_grow(struct http_msg *m)
{
    size_t capacity = m->field_capacity == 0 ? 16 : m->field_capacity * 2;
    struct http_field *fields = arena_alloc(m->arena, capacity * sizeof *fields);
    if (fields == NULL)
        return false;
    if (m->field_count > 0)
        memcpy(fields, m->fields, m->field_count * sizeof *fields);
    m->fields = fields;
    m->field_capacity = capacity;
    return true;
}

bool http_msg_add(struct http_msg *m, struct slice name, struct slice value)
{
    return http_token_valid(name) && http_value_valid(value) && http_msg_keep(m, (struct http_field){name, value, HTTP_UNREAD});
}

bool http_msg_set(struct http_msg *m, struct slice name, struct slice value)
{
    if (!http_token_valid(name) || !http_value_valid(value))
        return false;
    bool replaced = false;
    size_t kept = 0;
    for (size_t i = 0; i < m->field_count; i++) {
        if (!slice_eq_nocase(m->fields[i].name, name)) {
            m->fields[kept++] = m->fields[i];
        } else if (!replaced) {
            m->fields[kept++] = (struct http_field){name, value, http_name_of(name)};
            replaced = true;
        }
    }
    m->field_count = kept;
    return replaced || http_msg_add(m, name, value);
}

void http_msg_remove(struct http_msg *m, struct slice name)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->field_count; i++)
        if (!slice_eq_nocase(m->fields[i].name, name))
            m->fields[kept++] = m->fields[i];
    m->field_count = kept;
}

bool http_msg_next(const struct http_msg *m, const char *name, size_t *pos, struct slice *ret_value)
{
    struct slice wanted = slice_str(name);
    for (; *pos < m->field_count; (*pos)++) {
        if (slice_eq_nocase(m->fields[*pos].name, wanted)) {
            *ret_value = m->fields[(*pos)++].value;
            return true;
        }
    }
    return false;
}

struct slice http_msg_find(const struct http_msg *m, struct slice name)
{
    for (size_t i = 0; i < m->field_count; i++)
        if (slice_eq_nocase(m->fields[i].name, name))
            return m->fields[i].value;
    return SLICE_NONE;
}

struct slice http_msg_first(const struct http_msg *m, enum http_name id)
{
    if ((m->absent & http_name_bit(id)) != 0)
        return SLICE_NONE;
    for (size_t i = 0; i < m->field_count; i++)
        if (http_field_id(&m->fields[i]) == id)
            return m->fields[i].value;
    return SLICE_NONE;
}

struct slice http_msg_single(const struct http_msg *m, enum http_name id)
{
    if ((m->absent & http_name_bit(id)) != 0)
        return SLICE_NONE;
    struct slice found = SLICE_NONE;
    for (size_t i = 0; i < m->field_count; i++) {
        if (http_field_id(&m->fields[i]) != id)
            continue;
        if (found.p != NULL)
            return SLICE_NONE;
        found = m->fields[i].value;
    }
    return found;
}

size_t http_msg_count(const struct http_msg *m, const char *name)
{
    size_t count = 0, pos = 0;
    struct slice value;
    while (http_msg_next(m, name, &pos, &value))
        count++;
    return count;
}

bool http_msg_is_type(const struct http_msg *m, const char *media)
{
    struct slice type = http_msg_first(m, HTTP_CONTENT_TYPE);
    return slice_eq_nocase(slice_trim(slice_cut(&type, ';')), slice_str(media));
}

bool http_method_wants_length(struct slice method)
{
    return slice_eq_str(method, "POST") || slice_eq_str(method, "PUT") || slice_eq_str(method, "PATCH");
}

bool http_method_idempotent(struct slice method)
{
    static const char *const idempotent[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};
    for (size_t i = 0; i < sizeof idempotent / sizeof idempotent[0]; i++)
        if (slice_eq_str(method, idempotent[i]))
            return true;
    return false;
}

/* RFC 9110 15, RFC 6585. Ordered by status. */
static const struct {
    int status;
    const char *text;
} statuses[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {207, "Multi-Status"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {499, "Client Closed Request"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *http_status_text(int status)
{
    size_t low = 0, high = sizeof statuses / sizeof statuses[0];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (statuses[middle].status == status)
            return statuses[middle].text;
        if (statuses[middle].status < status)
            low = middle + 1;
        else
            high = middle;
    }
    return "Unknown";
}

struct slice http_query_get(struct slice query, const char *name, struct arena *a, bool *ret_ok)
{
    *ret_ok = true;
    struct slice wanted = slice_str(name);
    while (query.p != NULL) {
        struct slice value = slice_cut(&query, '&');
        struct slice key = slice_cut(&value, '=');
        struct slice key_decoded = key;
        if ((slice_find(key, '%') >= 0 || slice_find(key, '+') >= 0) &&
            !text_percent_decode(a, key, true, &key_decoded)) {
            *ret_ok = false;
            return SLICE_NONE;
        }
        if (!slice_eq(key_decoded, wanted))
            continue;
        struct slice decoded;
        if (value.p == NULL)
            return SLICE("");
        if (text_percent_decode(a, value, true, &decoded))
            return decoded;
        *ret_ok = false;
        return SLICE_NONE;
    }
    return SLICE_NONE;
}

void http_problem_write(struct buf *out, int status, const char *code, const char *detail, struct slice instance)
{
    struct json_writer w;
    json_write_init(&w, out);
    json_write_object(&w);
    json_write_kv_str(&w, "type", "about:blank");
    json_write_kv_str(&w, "title", http_status_text(status));
    json_write_kv_i64(&w, "status", status);
    if (detail != NULL)
        json_write_kv_str(&w, "detail", detail);
    if (code != NULL)
        json_write_kv_str(&w, "code", code);
    if (instance.p != NULL)
        json_write_kv_slice(&w, "instance", instance);
    json_write_end(&w);
}
