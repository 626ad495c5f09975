/* SPDX-License-Identifier: Apache-2.0
 *
 * The incoming body: by length, chunked (RFC 9112 7.1), or until the end of input. The chunked decoder is a machine
 * over single characters for all that is not data; data is moved in runs.
 *
 *   SIZE -> [EXT] -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
 *                           `-> TRAILER -> NAME -> VALUE -> VALUE_LF -> TRAILER ...
 *                                      `-> END_LF -> done
 */
#include "h1_parse.h"

#include "assert.h"
#include "h1_chars.h"

enum chunk_state {
    CHUNK_SIZE,
    CHUNK_EXT_BLANK,
    CHUNK_EXT,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILER,
    CHUNK_NAME,
    CHUNK_VALUE,
    CHUNK_VALUE_LF,
    CHUNK_END_LF,
};

enum {
    CHUNK_DIGITS_MAX = 15
}; /* 60 bits: no overflow, also when added up in an int64_t a few times; leading zeros count */

void h1_body_init(struct h1_body *b, enum h1_framing framing, int64_t content_length, struct arena *trailers)
{
    FICUS_ASSERT(framing != H1_BODY_LENGTH || content_length > 0);
    *b = (struct h1_body){.framing = framing,
                          .done = framing == H1_BODY_NONE,
                          .state = CHUNK_SIZE,
                          .left = framing == H1_BODY_LENGTH ? (uint64_t)content_length : 0,
                          .arena = trailers};
}

struct slice h1_body_trailers(const struct h1_body *b)
{
    FICUS_ASSERT(b->done);
    return b->trailers == NULL ? SLICE("") : slice_make(b->trailers, b->trailer_size - 2);
}

static bool malformed(const char *detail, const char **reterr_detail)
{
    *reterr_detail = detail;
    return false;
}

static bool size_char(struct h1_body *b, char c, const char **reterr_detail)
{
    if (h1_is(c, H1_HEX)) {
        if (++b->digits > CHUNK_DIGITS_MAX)
            return malformed("chunk size is too long", reterr_detail);
        b->left = b->left << 4 | h1_hex_value(c);
        return true;
    }
    if (b->digits == 0)
        return malformed("chunk size is not a hexadecimal number", reterr_detail);
    b->ext_size = 0;
    if (c == '\r')
        b->state = CHUNK_SIZE_LF;
    else if (c == ';')
        b->state = CHUNK_EXT;
    else if (c == ' ' || c == '\t')
        b->state = CHUNK_EXT_BLANK; /* BWS, which only an extension may follow */
    else
        return malformed("chunk size is not a hexadecimal number", reterr_detail);
    return true;
}

static bool ext_char(struct h1_body *b, char c, const char **reterr_detail)
{
    if (++b->ext_size > H1_CHUNK_EXT_SIZE_MAX || ++b->ext_total > H1_CHUNK_EXT_TOTAL_MAX)
        return malformed("chunk extension is too long", reterr_detail);
    if (b->state == CHUNK_EXT_BLANK) {
        if (c == ';')
            b->state = CHUNK_EXT;
        else if (c != ' ' && c != '\t')
            return malformed("blank after a chunk size", reterr_detail);
        return true;
    }
    if (c == '\r')
        b->state = CHUNK_SIZE_LF;
    else if (!h1_is(c, H1_VALUE))
        return malformed("control character in a chunk extension", reterr_detail);
    return true;
}

/* Most bodies have no trailers, so memory for them is taken with the first character of one. */
static bool trailer_keep(struct h1_body *b, char c)
{
    bool is_first = b->state == CHUNK_TRAILER && c != '\r';
    if (b->arena == NULL || (b->trailers == NULL && !is_first))
        return true;
    if (b->trailers == NULL)
        b->trailers = arena_alloc(b->arena, H1_TRAILER_SIZE_MAX);
    if (b->trailers == NULL)
        return false;
    b->trailers[b->trailer_size - 1] = c;
    return true;
}

static bool trailer_char(struct h1_body *b, char c, const char **reterr_detail)
{
    if (++b->trailer_size > H1_TRAILER_SIZE_MAX || !trailer_keep(b, c))
        return malformed("trailers are too long", reterr_detail);
    switch (b->state) {
    case CHUNK_TRAILER:
        if (c == '\r')
            b->state = CHUNK_END_LF;
        else if (h1_is(c, H1_TOKEN))
            b->state = CHUNK_NAME;
        else
            return malformed("trailer name is not a token", reterr_detail);
        return true;
    case CHUNK_NAME:
        if (c == ':')
            b->state = CHUNK_VALUE;
        else if (!h1_is(c, H1_TOKEN))
            return malformed("trailer name is not a token", reterr_detail);
        return true;
    case CHUNK_VALUE:
        if (c == '\r')
            b->state = CHUNK_VALUE_LF;
        else if (!h1_is(c, H1_VALUE))
            return malformed("control character in a trailer", reterr_detail);
        return true;
    case CHUNK_VALUE_LF:
        b->state = CHUNK_TRAILER;
        break;
    default:
        FICUS_ASSERT(b->state == CHUNK_END_LF);
        b->done = true;
        break;
    }
    return c == '\n' || malformed("bare CR in the trailers", reterr_detail);
}

/* Every character that is not chunk data. */
static bool chunk_char(struct h1_body *b, char c, const char **reterr_detail)
{
    switch (b->state) {
    case CHUNK_SIZE:
        return size_char(b, c, reterr_detail);
    case CHUNK_EXT_BLANK:
    case CHUNK_EXT:
        return ext_char(b, c, reterr_detail);
    case CHUNK_SIZE_LF:
        b->state = b->left == 0 ? CHUNK_TRAILER : CHUNK_DATA;
        return c == '\n' || malformed("bare CR after a chunk size", reterr_detail);
    case CHUNK_DATA_CR:
        b->state = CHUNK_DATA_LF;
        return c == '\r' || malformed("chunk data is longer than its size", reterr_detail);
    case CHUNK_DATA_LF:
        b->state = CHUNK_SIZE;
        b->digits = 0;
        return c == '\n' || malformed("bare CR after chunk data", reterr_detail);
    default:
        return trailer_char(b, c, reterr_detail);
    }
}

static bool chunks_decode(struct h1_body *b, char *p, size_t size, size_t *ret_used, size_t *ret_data,
                          const char **reterr_detail)
{
    size_t used = 0, data = 0;
    while (used < size && !b->done) {
        if (b->state != CHUNK_DATA) {
            if (!chunk_char(b, p[used], reterr_detail))
                return false;
            used++;
            continue;
        }
        size_t run = size - used < b->left ? size - used : (size_t)b->left;
        if (data != used)
            memmove(p + data, p + used, run);
        used += run;
        data += run;
        b->left -= run;
        if (b->left == 0)
            b->state = CHUNK_DATA_CR;
    }
    *ret_used = used;
    *ret_data = data;
    return true;
}

bool h1_body_decode(struct h1_body *b, char *p, size_t size, size_t *ret_used, size_t *ret_data,
                    const char **reterr_detail)
{
    *ret_used = *ret_data = 0;
    if (b->done)
        return true;
    switch (b->framing) {
    case H1_BODY_CHUNKED:
        return chunks_decode(b, p, size, ret_used, ret_data, reterr_detail);
    case H1_BODY_LENGTH:
        *ret_used = *ret_data = size < b->left ? size : (size_t)b->left;
        b->left -= *ret_used;
        b->done = b->left == 0;
        return true;
    case H1_BODY_UNTIL_CLOSE:
        *ret_used = *ret_data = size;
        return true;
    default:
        FICUS_UNREACHABLE();
    }
}
