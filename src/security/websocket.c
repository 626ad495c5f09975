/* SPDX-License-Identifier: Apache-2.0
 *
 * See websocket.h.
 */
#include "websocket.h"

#include "assert.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

static bool is_base64(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

/* 22 characters carry 132 bits: the last four of them must be 0, or two texts would be one nonce. */
bool websocket_key_valid(struct slice key)
{
    if (key.size != WEBSOCKET_KEY_SIZE - 1 || key.p[22] != '=' || key.p[23] != '=')
        return false;
    for (size_t i = 0; i < 22; i++)
        if (!is_base64(key.p[i]))
            return false;
    return key.p[21] == 'A' || key.p[21] == 'Q' || key.p[21] == 'g' || key.p[21] == 'w';
}

void websocket_key_make(const uint8_t nonce[WEBSOCKET_NONCE_SIZE], char ret_key[WEBSOCKET_KEY_SIZE])
{
    int size = EVP_EncodeBlock((unsigned char *)ret_key, nonce, WEBSOCKET_NONCE_SIZE);
    FICUS_ASSERT(size == WEBSOCKET_KEY_SIZE - 1);
}

bool websocket_accept(struct slice key, char ret_accept[WEBSOCKET_ACCEPT_SIZE])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 1.3 */
    char text[WEBSOCKET_KEY_SIZE - 1 + sizeof guid - 1];
    unsigned char hash[SHA_DIGEST_LENGTH];
    unsigned size = 0;
    FICUS_ASSERT(key.size == WEBSOCKET_KEY_SIZE - 1);
    memcpy(text, key.p, key.size);
    memcpy(text + key.size, guid, sizeof guid - 1);
    if (EVP_Digest(text, sizeof text, hash, &size, EVP_sha1(), NULL) != 1 || size != sizeof hash) {
        ERR_clear_error();
        return false;
    }
    return EVP_EncodeBlock((unsigned char *)ret_accept, hash, sizeof hash) == WEBSOCKET_ACCEPT_SIZE - 1;
}
