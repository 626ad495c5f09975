/* SPDX-License-Identifier: Apache-2.0
 *
 * The field names that somebody here asks for, as numbers: a name is looked up once, when its field comes into a message,
 * and every question behind that compares numbers. Pure; any thread.
 */
#ifndef FICUS_HTTP_NAME_H
#define FICUS_HTTP_NAME_H

#include "slice.h"

/* What is true of a field whatever it says. */
enum {
    HTTP_NAME_HOP = 1,    /* belongs to the connection, or is written by the codec itself (RFC 9110 7.6.1) */
    HTTP_NAME_FRONT = 2,  /* may not stand behind a body: it frames, routes, authenticates or says how to read the content
                             (RFC 9110 6.5.1) */
};

/* X(id, name, what is true of it) */
#define HTTP_NAMES(X) \
    X(TE, "te", HTTP_NAME_HOP) \
    X(AGE, "age", HTTP_NAME_FRONT) \
    X(DATE, "date", 0) \
    X(HOST, "host", HTTP_NAME_HOP) \
    X(VARY, "vary", HTTP_NAME_FRONT) \
    X(RANGE, "range", HTTP_NAME_FRONT) \
    X(COOKIE, "cookie", HTTP_NAME_FRONT) \
    X(EXPECT, "expect", HTTP_NAME_FRONT) \
    X(PRAGMA, "pragma", HTTP_NAME_FRONT) \
    X(SERVER, "server", 0) \
    X(TRAILER, "trailer", HTTP_NAME_FRONT) \
    X(UPGRADE, "upgrade", HTTP_NAME_HOP) \
    X(IF_MATCH, "if-match", HTTP_NAME_FRONT) \
    X(IF_RANGE, "if-range", HTTP_NAME_FRONT) \
    X(LOCATION, "location", HTTP_NAME_FRONT) \
    X(FORWARDED, "forwarded", 0) \
    X(X_REAL_IP, "x-real-ip", 0) \
    X(CONNECTION, "connection", HTTP_NAME_HOP) \
    X(KEEP_ALIVE, "keep-alive", HTTP_NAME_HOP) \
    X(SET_COOKIE, "set-cookie", HTTP_NAME_FRONT) \
    X(TRACESTATE, "tracestate", 0) \
    X(RETRY_AFTER, "retry-after", HTTP_NAME_FRONT) \
    X(TRACEPARENT, "traceparent", 0) \
    X(CONTENT_TYPE, "content-type", HTTP_NAME_FRONT) \
    X(MAX_FORWARDS, "max-forwards", HTTP_NAME_FRONT) \
    X(X_REQUEST_ID, "x-request-id", 0) \
    X(AUTHORIZATION, "authorization", HTTP_NAME_FRONT) \
    X(CACHE_CONTROL, "cache-control", HTTP_NAME_FRONT) \
    X(CONTENT_RANGE, "content-range", HTTP_NAME_FRONT) \
    X(FICUS_ATTEMPT, "ficus-attempt", 0) \
    X(IF_NONE_MATCH, "if-none-match", HTTP_NAME_FRONT) \
    X(X_REWRITE_URL, "x-rewrite-url", 0) \
    X(CONTENT_LENGTH, "content-length", HTTP_NAME_HOP) \
    X(FICUS_COMPLETE, "ficus-complete", 0) \
    X(FICUS_IDENTITY, "ficus-identity", 0) \
    X(HTTP2_SETTINGS, "http2-settings", HTTP_NAME_HOP) \
    X(X_ORIGINAL_URL, "x-original-url", 0) \
    X(IDEMPOTENCY_KEY, "idempotency-key", 0) \
    X(X_FORWARDED_FOR, "x-forwarded-for", 0) \
    X(CONTENT_ENCODING, "content-encoding", HTTP_NAME_FRONT) \
    X(FICUS_TIMEOUT_MS, "ficus-timeout-ms", 0) \
    X(PROXY_CONNECTION, "proxy-connection", HTTP_NAME_HOP) \
    X(WWW_AUTHENTICATE, "www-authenticate", HTTP_NAME_FRONT) \
    X(X_FORWARDED_HOST, "x-forwarded-host", 0) \
    X(X_FORWARDED_PORT, "x-forwarded-port", 0) \
    X(IF_MODIFIED_SINCE, "if-modified-since", HTTP_NAME_FRONT) \
    X(SEC_WEBSOCKET_KEY, "sec-websocket-key", 0) \
    X(TRANSFER_ENCODING, "transfer-encoding", HTTP_NAME_HOP) \
    X(X_FORWARDED_PROTO, "x-forwarded-proto", 0) \
    X(PROXY_AUTHENTICATE, "proxy-authenticate", HTTP_NAME_FRONT) \
    X(X_FORWARDED_PREFIX, "x-forwarded-prefix", 0) \
    X(IF_UNMODIFIED_SINCE, "if-unmodified-since", HTTP_NAME_FRONT) \
    X(PROXY_AUTHORIZATION, "proxy-authorization", HTTP_NAME_FRONT) \
    X(SEC_WEBSOCKET_ACCEPT, "sec-websocket-accept", 0) \
    X(SEC_WEBSOCKET_VERSION, "sec-websocket-version", 0) \
    X(X_HTTP_METHOD_OVERRIDE, "x-http-method-override", 0)

enum http_name {
    HTTP_UNREAD, /* nobody has looked yet */
    HTTP_OTHER,  /* none of these */
#define HTTP_NAME_ID(id, name, facts) HTTP_##id,
    HTTP_NAMES(HTTP_NAME_ID)
#undef HTTP_NAME_ID
    HTTP_NAME_COUNT
};

extern const struct slice http_names[HTTP_NAME_COUNT + 1]; /* in lower case; those of UNREAD and OTHER, and the last, are empty */
extern const uint8_t http_name_facts[HTTP_NAME_COUNT];

/* Without case; never UNREAD. name is a token (RFC 9110 5.6.2); of what is none, control characters may be taken for others. */
enum http_name http_name_of(struct slice name);
/* Behind it: where the table is asked first; name.size >= 2. */
unsigned http_name_slot(struct slice name);

#endif
