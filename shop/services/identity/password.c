/* SPDX-License-Identifier: Apache-2.0 */
#include "identity.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum { SALT_SIZE = 16, HASH_SIZE = 32, SCRYPT_N = 16384, SCRYPT_R = 8, SCRYPT_P = 1 };
#define SCRYPT_PREFIX "scrypt$16384$8$1$"

static bool scrypt(const char *password, const unsigned char salt[SALT_SIZE], unsigned char ret_hash[HASH_SIZE])
{
    return EVP_PBE_scrypt(password, strlen(password), salt, SALT_SIZE, SCRYPT_N, SCRYPT_R, SCRYPT_P, 64u << 20, ret_hash, HASH_SIZE) == 1;
}

static void hex_write(const unsigned char *p, size_t size, char *ret_text)
{
    for (size_t i = 0; i < size; i++)
        snprintf(ret_text + 2 * i, 3, "%02x", p[i]);
}

const char *password_hash(struct ficus_req *req, const char *password)
{
    unsigned char salt[SALT_SIZE], hash[HASH_SIZE];
    char salt_hex[2 * SALT_SIZE + 1], hash_hex[2 * HASH_SIZE + 1];
    ficus_random(req, salt, sizeof salt);
    if (!scrypt(password, salt, hash))
        return NULL;
    hex_write(salt, sizeof salt, salt_hex);
    hex_write(hash, sizeof hash, hash_hex);
    return ficus_printf(req, SCRYPT_PREFIX "%s$%s", salt_hex, hash_hex);
}

bool password_check(const char *password, const char *stored)
{
    unsigned char salt[SALT_SIZE], hash[HASH_SIZE];
    char hash_hex[2 * HASH_SIZE + 1];
    size_t prefix = sizeof SCRYPT_PREFIX - 1;
    if (strncmp(stored, SCRYPT_PREFIX, prefix) != 0 || strlen(stored) != prefix + 2 * SALT_SIZE + 1 + 2 * HASH_SIZE)
        return false;
    for (size_t i = 0; i < SALT_SIZE; i++) {
        unsigned byte;
        if (sscanf(stored + prefix + 2 * i, "%2x", &byte) != 1)
            return false;
        salt[i] = (unsigned char)byte;
    }
    if (!scrypt(password, salt, hash))
        return false;
    hex_write(hash, sizeof hash, hash_hex);
    return CRYPTO_memcmp(hash_hex, stored + prefix + 2 * SALT_SIZE + 1, 2 * HASH_SIZE) == 0;
}
