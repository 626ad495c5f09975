/* SPDX-License-Identifier: Apache-2.0
 *
 * W3C Trace Context level 1: the headers traceparent and tracestate. Random bytes are handed in. Pure.
 */
#ifndef FICUS_TRACE_CONTEXT_H
#define FICUS_TRACE_CONTEXT_H

#include "slice.h"

#define TRACE_PARENT_HEADER "traceparent"
#define TRACE_STATE_HEADER "tracestate"

enum {
    TRACE_PARENT_TEXT_SIZE = 56,    /* "00-<32>-<16>-<2>" and a NUL */
    TRACE_ID_TEXT_SIZE = 33,
    TRACE_SPAN_TEXT_SIZE = 17,
    TRACE_STATE_SIZE_MAX = 512,
    TRACE_FLAG_SAMPLED = 1,
};

/* One span of one trace. All zero: there is none (trace_present). */
struct trace_context {
    uint8_t trace_id[16];
    uint8_t span_id[8];
    uint8_t flags;                  /* only TRACE_FLAG_SAMPLED is known to level 1 */
};

/* Strict: version 00 is exactly 55 lower-case characters, neither id all zero. A higher version is read by its first
 * four fields, when it ends there or goes on with '-' (section 3.2.4); version ff is refused. On false start a new
 * root and drop tracestate. Of the flags only "sampled" is kept. */
bool trace_parse(struct slice traceparent, struct trace_context *ret_context);

/* random: 24 or 8 bytes from env_random. Ids never come out all zero. */
void trace_root(const uint8_t random[24], bool sampled, struct trace_context *ret_context);
void trace_child(const struct trace_context *parent, const uint8_t random[8], struct trace_context *ret_context);

static inline bool trace_present(const struct trace_context *t)
{
    static const uint8_t none[16];
    return t != NULL && memcmp(t->trace_id, none, sizeof none) != 0;
}

void trace_format(const struct trace_context *t, char ret_text[TRACE_PARENT_TEXT_SIZE]);    /* version 00 */
/* The same as a line of a head, with its CR LF and no NUL. */
#define TRACE_LINE_SIZE (sizeof TRACE_PARENT_HEADER ": \r\n" - 1 + TRACE_PARENT_TEXT_SIZE - 1)
void trace_line(const struct trace_context *t, char ret_line[TRACE_LINE_SIZE]);
void trace_id_text(const struct trace_context *t, char ret_text[TRACE_ID_TEXT_SIZE]);
void trace_span_text(const struct trace_context *t, char ret_text[TRACE_SPAN_TEXT_SIZE]);

/* May this tracestate be passed on as it is? 1..TRACE_STATE_SIZE_MAX visible ASCII, blanks and tabs; else it is
 * dropped, as level 1 allows. */
bool trace_state_valid(struct slice tracestate);

#endif
