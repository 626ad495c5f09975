/* SPDX-License-Identifier: Apache-2.0
 *
 * UUIDv7 (RFC 9562, 5.7): sorts by time; the ids of Ficus and of the shop.
 */
#ifndef FICUS_BASE_UUID_H
#define FICUS_BASE_UUID_H

#include "slice.h"

enum { UUID_TEXT_SIZE = 37 };

/* random: 10 bytes from env_random. */
void uuid_v7(int64_t wall_ms, const uint8_t random[10], char ret_text[UUID_TEXT_SIZE]);
/* UUIDv8 (5.8): what the caller makes of something that is to have the same id again. 122 of the bits are kept. */
void uuid_v8(const uint8_t made[16], char ret_text[UUID_TEXT_SIZE]);
bool uuid_valid(struct slice s);    /* 8-4-4-4-12 lower or upper case hex */

#endif
