/* SPDX-License-Identifier: Apache-2.0
 *
 * The two values by which the ends of a WebSocket handshake know each other (RFC 6455 4): no secret, only proof that
 * the other end speaks WebSocket.
 */
#ifndef FICUS_SECURITY_WEBSOCKET_H
#define FICUS_SECURITY_WEBSOCKET_H

#include "slice.h"

enum {
    WEBSOCKET_NONCE_SIZE = 16,
    WEBSOCKET_KEY_SIZE = 25,    /* Sec-WebSocket-Key: base64 of a nonce, and a NUL */
    WEBSOCKET_ACCEPT_SIZE = 29, /* Sec-WebSocket-Accept, and a NUL */
};

bool websocket_key_valid(struct slice key);
void websocket_key_make(const uint8_t nonce[WEBSOCKET_NONCE_SIZE], char ret_key[WEBSOCKET_KEY_SIZE]);
/* What answers a valid key. False: OpenSSL failed. */
bool websocket_accept(struct slice key, char ret_accept[WEBSOCKET_ACCEPT_SIZE]);

#endif
