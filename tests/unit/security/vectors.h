/* SPDX-License-Identifier: Apache-2.0
 *
 * Published keys and tokens, and what the tests of this floor share.
 */
#ifndef FICUS_TEST_SECURITY_VECTORS_H
#define FICUS_TEST_SECURITY_VECTORS_H

#include "jwks.h"
#include "mem.h"
#include "text.h"

/* RFC 7515, A.1 */
#define A1_JWK                                                                                     \
    "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"}"
#define JOE_PAYLOAD_TEXT                                                                           \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
#define JOE_PAYLOAD "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"
#define A1_TOKEN                                                                                   \
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." JOE_PAYLOAD_TEXT ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

/* RFC 7515, A.3 */
#define A3_X "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define A3_Y "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define A3_D "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
#define A3_PUBLIC "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" A3_X "\",\"y\":\"" A3_Y "\""
#define A3_TOKEN                                                                                   \
    "eyJhbGciOiJFUzI1NiJ9." JOE_PAYLOAD_TEXT                                                       \
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"

/* RFC 7517, A.1: another point of P-256 */
#define OTHER_PUBLIC                                                                               \
    "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\","      \
    "\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\""

struct fixture {
    struct arena arena;
    struct ficus_error error;
};

static inline int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    arena_init(&f->arena, 1024 * 1024);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    arena_done(&f->arena);
    mem_free(f);
    return 0;
}

static inline struct jws_key *key_of(struct fixture *f, const char *jwk)
{
    struct json *json = NULL;
    struct jws_key *key = NULL;
    assert_int_equal(json_parse(&f->arena, slice_str(jwk), NULL, &json, &f->error), FICUS_ERR_OK);
    enum ficus_err err = jws_key_from_jwk(json, &key, &f->error);
    if (err != FICUS_ERR_OK)
        fail_msg("%s", f->error.text);
    return key;
}

/* The token taken apart and verified in one step. */
static inline enum ficus_err verify(struct fixture *f, const struct jws_key *key, struct slice token,
                                    struct slice *ret_payload)
{
    struct jws jws;
    enum ficus_err err = jws_parse(&f->arena, token, &jws, &f->error);
    return err == FICUS_ERR_OK ? jws_verify(&f->arena, &jws, key, ret_payload, &f->error) : err;
}

/* A token signed by key whose header holds what jws_sign would write. */
static inline struct slice sign(struct fixture *f, const struct jws_key *key, struct slice kid, struct slice typ,
                                const char *payload)
{
    struct buf out;
    buf_init(&out, 16384);
    if (jws_sign(key, kid, typ, slice_str(payload), &out, &f->error) != FICUS_ERR_OK)
        fail_msg("%s", f->error.text);
    struct slice token = arena_slice(&f->arena, buf_slice(&out));
    buf_done(&out);
    return token;
}

#endif
