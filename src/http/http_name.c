/* SPDX-License-Identifier: Apache-2.0
 *
 * See http_name.h. A name has one place in a table of 256, by its size and three of its characters: most that are not known
 * find that empty, and one comparison decides about the others.
 */
#include "http_name.h"

#include <endian.h>

#define NAME(id, name, facts) [HTTP_##id] = {name, sizeof name - 1},
const struct slice http_names[HTTP_NAME_COUNT + 1] = {{"", 0}, {"", 0}, HTTP_NAMES(NAME) {"", 0}};
#undef NAME

#define FACTS(id, name, facts) [HTTP_##id] = facts,
const uint8_t http_name_facts[HTTP_NAME_COUNT] = {HTTP_NAMES(FACTS)};
#undef FACTS

/* Where a name of 2 characters or more stands in slots[]: spreads size, first and last two characters. Any value does that keeps
 * most names apart. */
static inline unsigned slot_of(const char *p, size_t size)
{
    uint16_t last;
    memcpy(&last, p + size - sizeof last, sizeof last);
    uint32_t key = (uint32_t)size | (uint32_t)(uint8_t)p[0] << 8 | (uint32_t)le16toh(last) << 16;
    return (key | 0x20202000U) * 0xBB9C915DU >> 24;
}

/* Each name at its slot, or, where that is taken, at the next free one; 0: none. A new name's slot is said by test_parse, which
 * looks every name up. */
static const uint8_t slots[256] = {
    [4] = HTTP_MAX_FORWARDS, [6] = HTTP_PRAGMA, [10] = HTTP_X_FORWARDED_PROTO, [12] = HTTP_IF_UNMODIFIED_SINCE,
    [16] = HTTP_WWW_AUTHENTICATE, [19] = HTTP_IF_MATCH, [25] = HTTP_SEC_WEBSOCKET_KEY, [33] = HTTP_HTTP2_SETTINGS, [34] = HTTP_X_REQUEST_ID,
    [38] = HTTP_CONTENT_ENCODING, [41] = HTTP_UPGRADE, [51] = HTTP_FICUS_COMPLETE, [54] = HTTP_PROXY_CONNECTION,
    [63] = HTTP_PROXY_AUTHENTICATE, [64] = HTTP_CONTENT_RANGE, [65] = HTTP_IF_RANGE, [66] = HTTP_COOKIE, [72] = HTTP_TRANSFER_ENCODING,
    [75] = HTTP_X_REAL_IP, [86] = HTTP_CACHE_CONTROL, [105] = HTTP_PROXY_AUTHORIZATION, [116] = HTTP_CONTENT_LENGTH,
    [118] = HTTP_KEEP_ALIVE, [119] = HTTP_FICUS_IDENTITY, [126] = HTTP_SERVER, [132] = HTTP_IDEMPOTENCY_KEY, [133] = HTTP_EXPECT,
    [140] = HTTP_RETRY_AFTER, [142] = HTTP_X_FORWARDED_HOST, [144] = HTTP_RANGE, [148] = HTTP_IF_MODIFIED_SINCE, [155] = HTTP_TRACEPARENT,
    [158] = HTTP_X_ORIGINAL_URL, [161] = HTTP_CONTENT_TYPE, [165] = HTTP_FICUS_ATTEMPT, [166] = HTTP_DATE, [168] = HTTP_FORWARDED,
    [179] = HTTP_AGE, [182] = HTTP_SEC_WEBSOCKET_VERSION, [186] = HTTP_SEC_WEBSOCKET_ACCEPT, [189] = HTTP_IF_NONE_MATCH,
    [199] = HTTP_FICUS_TIMEOUT_MS, [201] = HTTP_VARY, [204] = HTTP_X_FORWARDED_PREFIX, [211] = HTTP_X_FORWARDED_FOR,
    [213] = HTTP_TRACESTATE, [214] = HTTP_TRAILER, [215] = HTTP_AUTHORIZATION, [221] = HTTP_CONNECTION, [226] = HTTP_X_REWRITE_URL,
    [231] = HTTP_LOCATION, [248] = HTTP_TE, [249] = HTTP_SET_COOKIE, [250] = HTTP_HOST, [252] = HTTP_X_HTTP_METHOD_OVERRIDE,
    [253] = HTTP_X_FORWARDED_PORT,
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
    if (size < 4)
        return (p[0] | 0x20) == known[0] && (p[1] | 0x20) == known[1] && (p[size - 1] | 0x20) == known[size - 1];
    if (size < 8)
        return (four(p) | (uint32_t)bit) == four(known) && (four(p + size - 4) | (uint32_t)bit) == four(known + size - 4);
    if ((eight(p) | bit) != eight(known) || (eight(p + size - 8) | bit) != eight(known + size - 8))
        return false;
    return size <= 16 || (eight(p + 8) | bit) == eight(known + 8);
}

unsigned http_name_slot(struct slice name)
{
    return slot_of(name.p, name.size);
}

static inline bool stands_for(unsigned id, struct slice name)
{
    return http_names[id].size == name.size && is_known(http_names[id].p, name.p, name.size);
}

/* From a slot on that is another name's. */
static __attribute__((noinline)) enum http_name probe(struct slice name, unsigned at)
{
    while (slots[at] != 0 && !stands_for(slots[at], name))
        at = (at + 1) % sizeof slots;
    return slots[at] != 0 ? (enum http_name)slots[at] : HTTP_OTHER;
}

enum http_name http_name_of(struct slice name)
{
    if (name.size < 2)
        return HTTP_OTHER;
    unsigned at = slot_of(name.p, name.size), id = slots[at];
    if (id == 0)
        return HTTP_OTHER;
    return stands_for(id, name) ? (enum http_name)id : probe(name, (at + 1) % sizeof slots);
}
