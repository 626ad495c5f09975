/* SPDX-License-Identifier: Apache-2.0
 *
 * See trace_context.h.
 */
#include "trace_context.h"

#include "hex.h"

enum { PARENT_SIZE = TRACE_PARENT_TEXT_SIZE - 1 };

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(const char *p, uint8_t *ret_bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int high = hex_value(p[2 * i]), low = hex_value(p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret_bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool all_zero(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

bool trace_parse(struct slice traceparent, struct trace_context *ret_context)
{
    const char *p = traceparent.p;
    struct trace_context t;
    uint8_t version, flags;
    if (traceparent.size < PARENT_SIZE || p[2] != '-' || p[35] != '-' || p[52] != '-')
        return false;
    if (!read_hex(p, &version, 1) || !read_hex(p + 3, t.trace_id, sizeof t.trace_id) ||
        !read_hex(p + 36, t.span_id, sizeof t.span_id) || !read_hex(p + 53, &flags, 1))
        return false;
    if (version == 0xff || (traceparent.size > PARENT_SIZE && (version == 0 || p[PARENT_SIZE] != '-')))
        return false;
    if (all_zero(t.trace_id, sizeof t.trace_id) || all_zero(t.span_id, sizeof t.span_id))
        return false;
    t.flags = flags & TRACE_FLAG_SAMPLED;
    *ret_context = t;
    return true;
}

static void set_span(struct trace_context *t, const uint8_t random[8])
{
    memcpy(t->span_id, random, sizeof t->span_id);
    if (all_zero(t->span_id, sizeof t->span_id))
        t->span_id[sizeof t->span_id - 1] = 1;
}

void trace_root(const uint8_t random[24], bool sampled, struct trace_context *ret_context)
{
    memcpy(ret_context->trace_id, random, sizeof ret_context->trace_id);
    if (all_zero(ret_context->trace_id, sizeof ret_context->trace_id))
        ret_context->trace_id[sizeof ret_context->trace_id - 1] = 1;
    set_span(ret_context, random + sizeof ret_context->trace_id);
    ret_context->flags = sampled ? TRACE_FLAG_SAMPLED : 0;
}

void trace_child(const struct trace_context *parent, const uint8_t random[8], struct trace_context *ret_context)
{
    struct trace_context t = *parent;
    set_span(&t, random);
    *ret_context = t;
}

void trace_format(const struct trace_context *t, char ret_text[TRACE_PARENT_TEXT_SIZE])
{
    memcpy(ret_text, "00-", 3);
    char *at = hex_put(ret_text + 3, t->trace_id, sizeof t->trace_id);
    *at++ = '-';
    at = hex_put(at, t->span_id, sizeof t->span_id);
    *at++ = '-';
    *hex_put(at, &t->flags, 1) = '\0';
}

void trace_line(const struct trace_context *t, char ret_line[TRACE_LINE_SIZE])
{
    char *at = slice_put(ret_line, SLICE(TRACE_PARENT_HEADER ": "));
    trace_format(t, at);
    memcpy(at + PARENT_SIZE, "\r\n", 2); /* over its NUL */
}

void trace_id_text(const struct trace_context *t, char ret_text[TRACE_ID_TEXT_SIZE])
{
    *hex_put(ret_text, t->trace_id, sizeof t->trace_id) = '\0';
}

void trace_span_text(const struct trace_context *t, char ret_text[TRACE_SPAN_TEXT_SIZE])
{
    *hex_put(ret_text, t->span_id, sizeof t->span_id) = '\0';
}

bool trace_state_valid(struct slice tracestate)
{
    if (tracestate.size == 0 || tracestate.size > TRACE_STATE_SIZE_MAX)
        return false;
    for (size_t i = 0; i < tracestate.size; i++) {
        char c = tracestate.p[i];
        if (c != '\t' && (c < 0x20 || c > 0x7e))
            return false;
    }
    return true;
}
