/* SPDX-License-Identifier: Apache-2.0
 *
 * WebSocket handshakes (RFC 6455; over HTTP/2 RFC 8441): only where a route takes them, and only well-formed ones. That
 * pages of other origins may not make one is filter_origin's.
 *
 * Over HTTP/2 there is no Sec-WebSocket-Key and no -Accept, on either side: towards a service that speaks HTTP/1.1 the gateway is the
 * client then, and makes a key; towards a client that does it is the service, and answers the key. A service that speaks HTTP/1.1 has
 * to answer the key: what does not is no WebSocket, and a tunnel to it would be bytes that nobody judges any more. An answer over
 * HTTP/2 belongs to its stream and to nothing else.
 */
#include "proxy_private.h"

#include "websocket.h"

#include <string.h>

static bool has_keys(const struct proxy_request *q)
{
    return strcmp(q->stream->ops->protocol, "HTTP/1.1") == 0;
}

enum proxy_verdict filter_websocket(struct proxy_request *q)
{
    const struct http_msg *m = q->stream->head_in;
    if (m->protocol.p == NULL)
        return PROXY_PASS;
    if (!q->route->websocket && has_keys(q)) {
        q->stream->head_in->protocol = SLICE_NONE; /* RFC 9110 7.8: an Upgrade is an offer, and may be ignored */
        return PROXY_PASS;
    }
    if (!q->route->websocket) {
        proxy_problem(q, 403, "no_websocket", "this path takes no WebSocket", NULL, 0);
        return PROXY_ANSWERED;
    }
    if (!slice_eq(http_msg_single(m, HTTP_SEC_WEBSOCKET_VERSION), SLICE("13"))) {
        struct http_field version = {SLICE("Sec-WebSocket-Version"), SLICE("13")}; /* RFC 6455 4.4 */
        proxy_problem(q, 400, "websocket_version", "Sec-WebSocket-Version has to be 13", &version, 1);
        return PROXY_ANSWERED;
    }
    if (has_keys(q)) {
        q->websocket_key = http_msg_single(m, HTTP_SEC_WEBSOCKET_KEY);
        if (q->websocket_key.p != NULL && websocket_key_valid(q->websocket_key))
            return PROXY_PASS;
        proxy_problem(q, 400, "websocket_key", "Sec-WebSocket-Key has to be base64 of 16 bytes", NULL, 0);
        return PROXY_ANSWERED;
    }
    uint8_t nonce[WEBSOCKET_NONCE_SIZE];
    char *key = arena_alloc(q->stream->arena, WEBSOCKET_KEY_SIZE);
    if (key == NULL) {
        proxy_problem(q, 431, NULL, "the request head takes too much memory", NULL, 0);
        return PROXY_ANSWERED;
    }
    env_random(q->proxy->env, nonce, sizeof nonce);
    websocket_key_make(nonce, key);
    q->websocket_key = slice_str(key);
    return PROXY_PASS;
}

bool proxy_websocket_passes(const struct proxy_request *q, const struct http_field *f)
{
    enum http_name id = http_field_id(f);
    return (id != HTTP_SEC_WEBSOCKET_KEY && id != HTTP_SEC_WEBSOCKET_ACCEPT) || (has_keys(q) && !q->upstream_h2);
}

bool proxy_websocket_answer(struct proxy_request *q, struct http_msg *m)
{
    if (m->status != 101 || !has_keys(q) || !q->upstream_h2)
        return true;
    char *accept = arena_alloc(m->arena, WEBSOCKET_ACCEPT_SIZE);
    return accept != NULL && websocket_accept(q->websocket_key, accept) && http_msg_add(m, SLICE("Sec-WebSocket-Accept"), slice_str(accept));
}

bool proxy_websocket_accepted(const struct proxy_request *q, const struct http_msg *head)
{
    char accept[WEBSOCKET_ACCEPT_SIZE];
    if (q->upstream_h2)
        return q->websocket_key.p != NULL;
    return q->websocket_key.p != NULL && websocket_accept(q->websocket_key, accept) &&
           slice_eq_str(http_msg_single(head, HTTP_SEC_WEBSOCKET_ACCEPT), accept);
}
