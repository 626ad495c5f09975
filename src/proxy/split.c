/* SPDX-License-Identifier: Apache-2.0
 *
 * Which part of a split a request goes to: a point below PROXY_POINTS decides, and each part has its weight's share of
 * them, in the order of the manifest. The point is the hash of the user, cookie or header by which the split is sticky,
 * so one key comes to the same part as long as the weights stay, in every gateway, after every restart and on every
 * route. When a part's weight grows, keys move towards it and never away: all limits before it go down, all behind it
 * up. Without a key the point is random; by cookie a random key is made, and given to the client with the answer.
 */
#include "proxy_private.h"

#include "map.h"

enum { KEY_SIZE = 16 };

unsigned proxy_split_point(struct slice key)
{
    static const uint64_t seed[2]; /* the same everywhere; who chooses his key may choose his part */
    return (unsigned)(hash_sip13(seed, key.p, key.size) % PROXY_POINTS);
}

size_t proxy_split_at(const struct proxy_route *r, unsigned point)
{
    int64_t all = 0, sum = 0;
    for (size_t i = 0; i < r->split_count; i++)
        all += r->splits[i].weight;
    for (size_t i = 0; i < r->split_count; i++) {
        sum += r->splits[i].weight;
        if ((int64_t)point * all < sum * PROXY_POINTS)
            return i;
    }
    return 0; /* no weight at all, which the configuration excludes */
}

/* RFC 6265 5.4: "a=1; b=2"; HTTP/2 may cut it into several fields. */
static struct slice cookie_get(const struct http_msg *m, const char *name)
{
    struct slice field;
    for (size_t pos = 0; http_msg_next(m, "cookie", &pos, &field);)
        while (field.p != NULL) {
            struct slice value = slice_trim(slice_cut(&field, ';'));
            if (slice_eq_str(slice_cut(&value, '='), name) && value.size > 0)
                return value;
        }
    return SLICE_NONE;
}

/* A new key for the client, and the cookie that gives it to him. p NULL: the arena is full. */
static struct slice cookie_make(struct proxy_request *q)
{
    static const char digits[] = "0123456789abcdef";
    const struct proxy_sticky *sticky = &q->route->sticky;
    uint8_t random[KEY_SIZE / 2];
    char key[KEY_SIZE + 1] = "";
    env_random(q->proxy->env, random, sizeof random);
    for (size_t i = 0; i < KEY_SIZE; i++)
        key[i] = digits[random[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
    q->set_cookie = arena_printf(q->stream->arena, "%s=%s; Path=/; Max-Age=%lld; HttpOnly; SameSite=Lax%s",
                                 sticky->name, key, (long long)(sticky->age_ms / 1000),
                                 slice_eq_str(q->stream->head_in->scheme, "https") ? "; Secure" : "");
    return q->set_cookie == NULL ? SLICE_NONE : slice_make(q->set_cookie + strlen(sticky->name) + 1, KEY_SIZE);
}

static struct slice sticky_key(struct proxy_request *q)
{
    const struct http_msg *m = q->stream->head_in;
    const struct proxy_sticky *sticky = &q->route->sticky;
    const struct proxy_cond header = {.name = sticky->name};
    switch (sticky->by) {
    case PROXY_STICKY_USER:
        return q->user;
    case PROXY_STICKY_HEADER:
        return proxy_header_value(m, &header, q->stream->arena);
    case PROXY_STICKY_COOKIE: {
        struct slice key = cookie_get(m, sticky->name);
        return key.p != NULL ? key : cookie_make(q);
    }
    default:
        return SLICE_NONE;
    }
}

bool proxy_split_choose(struct proxy_request *q)
{
    if (q->route->split_count == 0)
        return true;
    uint32_t random;
    env_random(q->proxy->env, &random, sizeof random);
    struct slice key = sticky_key(q);
    q->match.part = proxy_split_at(q->route, key.p != NULL ? proxy_split_point(key) : random % PROXY_POINTS);
    const struct proxy_split *part = &q->route->splits[q->match.part];
    q->part_name = arena_printf(q->stream->arena, "%s:%s", part->service, part->target);
    return q->part_name != NULL;
}

bool proxy_split_mark(const struct proxy_request *q, struct http_msg *m)
{
    return q->set_cookie == NULL || http_msg_add(m, SLICE("Set-Cookie"), slice_str(q->set_cookie));
}

const char *proxy_service_of(const struct proxy_request *q)
{
    return q->route->split_count > 0 ? q->route->splits[q->match.part].service : q->route->service;
}
