/* SPDX-License-Identifier: Apache-2.0
 *
 * UUIDv7: 48 bits of Unix milliseconds, version, 12 random bits, variant, 62 random bits (RFC 9562, 5.7). UUIDv8: all but version
 * and variant as given.
 */
#include "uuid.h"

#include "hex.h"

static void put(uint8_t bytes[16], unsigned version, char ret_text[UUID_TEXT_SIZE])
{
    bytes[6] = (uint8_t)(version << 4 | (bytes[6] & 0x0f));
    bytes[8] = (uint8_t)(0x80 | (bytes[8] & 0x3f));
    char digits[32];
    (void)hex_put(digits, bytes, 16);
    memcpy(ret_text, digits, 8);
    memcpy(ret_text + 9, digits + 8, 4);
    memcpy(ret_text + 14, digits + 12, 4);
    memcpy(ret_text + 19, digits + 16, 4);
    memcpy(ret_text + 24, digits + 20, 12);
    ret_text[8] = ret_text[13] = ret_text[18] = ret_text[23] = '-';
    ret_text[36] = '\0';
}

void uuid_v7(int64_t wall_ms, const uint8_t random[10], char ret_text[UUID_TEXT_SIZE])
{
    uint8_t bytes[16];
    for (int i = 0; i < 6; i++)
        bytes[i] = (uint8_t)((uint64_t)wall_ms >> (40 - 8 * i));
    memcpy(bytes + 6, random, 10);
    put(bytes, 7, ret_text);
}

void uuid_v8(const uint8_t made[16], char ret_text[UUID_TEXT_SIZE])
{
    uint8_t bytes[16];
    memcpy(bytes, made, sizeof bytes);
    put(bytes, 8, ret_text);
}

bool uuid_valid(struct slice s)
{
    if (s.size != UUID_TEXT_SIZE - 1)
        return false;
    for (size_t i = 0; i < s.size; i++) {
        char c = s.p[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (i == 8 || i == 13 || i == 18 || i == 23 ? c != '-' : !hex)
            return false;
    }
    return true;
}
