/* SPDX-License-Identifier: Apache-2.0
 *
 * See http_name.h. Most names leave by their size and first letter alone.
 */
#include "http_name.h"

#define NAME(id, name, facts) [HTTP_##id] = {name, sizeof name - 1},
const struct slice http_names[HTTP_NAME_COUNT + 1] = {{"", 0}, {"", 0}, HTTP_NAMES(NAME) {"", 0}};
#undef NAME

#define FACTS(id, name, facts) [HTTP_##id] = facts,
const uint8_t http_name_facts[HTTP_NAME_COUNT] = {HTTP_NAMES(FACTS)};
#undef FACTS

/* The first name of each size; there is one of every size from 2 on. test_parse finds every name by it. */
static const uint8_t first_of_size[] = {
    [2] = HTTP_TE,
    [3] = HTTP_AGE,
    [4] = HTTP_HOST,
    [5] = HTTP_RANGE,
    [6] = HTTP_COOKIE,
    [7] = HTTP_TRAILER,
    [8] = HTTP_IF_MATCH,
    [9] = HTTP_FORWARDED,
    [10] = HTTP_CONNECTION,
    [11] = HTTP_RETRY_AFTER,
    [12] = HTTP_CONTENT_TYPE,
    [13] = HTTP_AUTHORIZATION,
    [14] = HTTP_CONTENT_LENGTH,
    [15] = HTTP_IDEMPOTENCY_KEY,
    [16] = HTTP_CONTENT_ENCODING,
    [17] = HTTP_IF_MODIFIED_SINCE,
    [18] = HTTP_PROXY_AUTHENTICATE,
    [19] = HTTP_IF_UNMODIFIED_SINCE,
    [20] = HTTP_SEC_WEBSOCKET_ACCEPT,
    [21] = HTTP_SEC_WEBSOCKET_VERSION,
    [22] = HTTP_X_HTTP_METHOD_OVERRIDE,
};

static uint64_t eight(const char *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static uint32_t four(const char *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* Known names have nothing but small letters, digits and "-". Of the characters of a token only the same one, or the letter's
 * capital, becomes one of these by setting this bit. */
static inline bool is_known(const char *known, const char *p, size_t size)
{
    const uint64_t bit = UINT64_C(0x2020202020202020);
    if ((p[0] | 0x20) != known[0])
        return false;
    if (size < 4)
        return (p[1] | 0x20) == known[1] && (p[size - 1] | 0x20) == known[size - 1];
    if (size < 8)
        return (four(p) | (uint32_t)bit) == four(known) && (four(p + size - 4) | (uint32_t)bit) == four(known + size - 4);
    for (size_t i = 0; i + 8 < size; i += 8)
        if ((eight(p + i) | bit) != eight(known + i))
            return false;
    return (eight(p + size - 8) | bit) == eight(known + size - 8);
}

enum http_name http_name_of(struct slice name)
{
    if (name.size < 2 || name.size >= sizeof first_of_size)
        return HTTP_OTHER;
    for (unsigned id = first_of_size[name.size]; http_names[id].size == name.size; id++)
        if (is_known(http_names[id].p, name.p, name.size))
            return (enum http_name)id;
    return HTTP_OTHER;
}
