/* SPDX-License-Identifier: Apache-2.0
 *
 * Identity alone: accounts, sign-in, and tokens that anyone can verify with the published key.
 */
#include "shop_test.h"

#include "identity.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <time.h>
#include <unistd.h>

#define ANN "{\"email\":\"ann@shop.example\",\"name\":\"Ann\",\"password\":\"correct horse\"}"
#define ANN_IN "{\"email\":\"ann@shop.example\",\"password\":\"correct horse\"}"

static char admin_file[] = "/tmp/test-identity-XXXXXX";

static int setup(void **state)
{
    static const char *const settings[] = {"issuer", "shop", NULL};
    t = ficus_test_start(&identity_service, migrations, settings);
    return 0;
}

static int teardown(void **state)
{
    ficus_test_stop(t);
    return 0;
}

static struct ficus_test_answer sign_up(const char *body)
{
    return as_anyone("POST", "/v1/users", body);
}

static struct ficus_test_answer sign_in(const char *body)
{
    return as_anyone("POST", "/v1/sessions", body);
}

/* ---- verifying as a stranger would ---- */

/* RFC 4648, 5, without padding; returns the size. */
static size_t base64url_decode(const char *text, size_t size, unsigned char *ret_bytes)
{
    char padded[1024];
    assert_true(size + 4 < sizeof padded);
    size_t n = 0;
    for (; n < size; n++) {
        assert_true(text[n] != '+' && text[n] != '/' && text[n] != '=');
        padded[n] = text[n] == '-' ? '+' : text[n] == '_' ? '/' : text[n];
    }
    size_t padding = (4 - n % 4) % 4;
    memset(padded + n, '=', padding);
    int decoded = EVP_DecodeBlock(ret_bytes, (const unsigned char *)padded, (int)(n + padding));
    assert_true(decoded > 0);
    return (size_t)decoded - padding;
}

static EVP_PKEY *key_of(const char *jwks)
{
    unsigned char point[65 + 2] = {4}, x[64], y[64];
    const char *x_text = value_of(jwks, "x"), *y_text = value_of(jwks, "y");
    assert_int_equal(base64url_decode(x_text, strlen(x_text), x), 32);
    assert_int_equal(base64url_decode(y_text, strlen(y_text), y), 32);
    memcpy(point + 1, x, 32);
    memcpy(point + 33, y, 32);
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0);
    OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, point, 65);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(b);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(b);
    return key;
}

/* Is this compact JWS signed by that key? On true the payload is written out as text. */
static bool verify(const char *token, const char *jwks, char *ret_payload, size_t payload_size)
{
    unsigned char bytes[1024], der[128], *end = der;
    const char *first = strchr(token, '.'), *second = strrchr(token, '.');
    assert_true(first != NULL && second > first);
    if (base64url_decode(second + 1, strlen(second + 1), bytes) != 64)
        return false;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    ECDSA_SIG_set0(sig, BN_bin2bn(bytes, 32, NULL), BN_bin2bn(bytes + 32, 32, NULL));
    int der_size = i2d_ECDSA_SIG(sig, &end);
    ECDSA_SIG_free(sig);
    EVP_PKEY *key = key_of(jwks);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool right = EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
                 EVP_DigestVerify(ctx, der, (size_t)der_size, (const unsigned char *)token, (size_t)(second - token)) ==
                     1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    size_t size = base64url_decode(first + 1, (size_t)(second - first - 1), bytes);
    snprintf(ret_payload, payload_size, "%.*s", (int)size, (const char *)bytes);
    return right;
}

static const char *jwks(void)
{
    struct ficus_test_answer a = as_anyone("GET", "/.well-known/jwks.json", NULL);
    EXPECT(a, 200, "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"alg\":\"ES256\",\"use\":\"sig\",\"kid\":\"");
    assert_null(strstr(a.body, "\"d\":")); /* the private part */
    return a.body;
}

/* ---- accounts ---- */

/* An account is made and shown to its user, never with its password. */
static void test_sign_up(void **state)
{
    struct ficus_test_answer a = sign_up(
        "{\"email\":\"Ann@Shop.Example\",\"name\":\"Ann\xc3\xa9\",\"password\":\"correct horse\"}");
    EXPECT(a, 201, "\"email\":\"ann@shop.example\"", "\"name\":\"Ann\xc3\xa9\"");
    const char *id = value_of(a.body, "id");
    assert_null(strstr(a.body, "horse"));
    assert_null(strstr(a.body, "scrypt"));
    struct ficus_test_answer me = as_user(id, "GET", "/v1/users/me", NULL);
    EXPECT(me, 200);
    assert_string_equal(me.body, a.body);
    EXPECT(as_anyone("GET", "/v1/users/me", NULL), 401);
    EXPECT(as_user("nobody", "GET", "/v1/users/me", NULL), 404, "\"code\":\"unknown_user\"");
    EXPECT_EMITTED_COUNT(0);
}

/* An email has one account, however it is written. */
static void test_email_taken(void **state)
{
    EXPECT(sign_up(ANN), 201);
    EXPECT(sign_up(ANN), 409, "\"code\":\"email_taken\"");
    EXPECT(sign_up("{\"email\":\"ANN@shop.example\",\"name\":\"Eve\",\"password\":\"another horse\"}"), 409);
    EXPECT(sign_in(ANN_IN), 201);
}

/* Each fault of an account is named by its place, all at once. */
static void test_sign_up_faults(void **state)
{
    static const char *const emails[] = {
        "null",
        "7",
        "\"\"",
        "\"ann\"",
        "\"@shop.example\"",
        "\"ann@\"",
        "\"a@b@c\"",
        "\"an n@shop.example\"",
        "\"ann@shop.example\\n\"",
        "\"ann@shop.example\\u0000\"",
    };
    char body[1200], text[602];
    for (size_t i = 0; i < sizeof emails / sizeof emails[0]; i++) {
        snprintf(body, sizeof body, "{\"email\":%s,\"name\":\"Ann\",\"password\":\"correct horse\"}", emails[i]);
        EXPECT_INVALID(sign_up(body), "/email");
    }
    memset(text, 'x', sizeof text);
    snprintf(body, sizeof body, "{\"email\":\"a@%.253s\",\"name\":\"Ann\",\"password\":\"correct horse\"}", text);
    EXPECT_INVALID(sign_up(body), "/email");
    EXPECT_INVALID(sign_up("{\"email\":\"a@b\",\"name\":\"\",\"password\":\"correct horse\"}"), "/name");
    snprintf(body, sizeof body, "{\"email\":\"a@b\",\"name\":\"%.201s\",\"password\":\"correct horse\"}", text);
    EXPECT_INVALID(sign_up(body), "/name");
    EXPECT_INVALID(sign_up("{\"email\":\"a@b\",\"name\":\"Ann\",\"password\":\"123456789\"}"), "/password");
    snprintf(body, sizeof body, "{\"email\":\"a@b\",\"name\":\"Ann\",\"password\":\"%.201s\"}", text);
    EXPECT_INVALID(sign_up(body), "/password");
    EXPECT(sign_up("[]"), 400, "\"/email\"", "\"/name\"", "\"/password\"");
    EXPECT(sign_up("{"), 400);
}

/* The bounds of a password count characters, and the longest one can sign in. */
static void test_password_bounds(void **state)
{
    char password[401], body[600];
    for (int i = 0; i < 200; i++)
        memcpy(password + 2 * i, "\xc3\xa9", 2);
    password[400] = '\0';
    snprintf(body, sizeof body, "{\"email\":\"a@b\",\"name\":\"Ann\",\"password\":\"%s\"}", password);
    EXPECT(sign_up(body), 201);
    snprintf(body, sizeof body, "{\"email\":\"A@B\",\"password\":\"%s\"}", password);
    EXPECT(sign_in(body), 201);
    EXPECT(sign_up("{\"email\":\"c@d\",\"name\":\"Ann\",\"password\":\"1234567890\"}"), 201);
}

/* ---- sign-in ---- */

/* A token verifies with the published key, says who and until when, and no change of it does. */
static void test_token(void **state)
{
    struct ficus_test_answer ann = sign_up(ANN);
    EXPECT(ann, 201);
    struct ficus_test_answer a = sign_in(ANN_IN);
    EXPECT(a, 201, "\"token_type\":\"Bearer\"", "\"expires_in\":3600");
    assert_non_null(strcasestr(a.head, "\r\ncache-control: no-store"));
    char payload[1024], token[1024];
    snprintf(token, sizeof token, "%s", value_of(a.body, "token"));
    assert_true(verify(token, jwks(), payload, sizeof payload));
    assert_string_equal(value_of(payload, "iss"), "shop");
    assert_string_equal(value_of(payload, "sub"), value_of(ann.body, "id"));
    assert_non_null(strstr(payload, "\"roles\":[]"));
    int64_t iat = strtoll(value_of(payload, "iat"), NULL, 10), exp = strtoll(value_of(payload, "exp"), NULL, 10);
    assert_int_equal(exp - iat, 3600);
    assert_true(iat <= time(NULL) + 1 && iat > time(NULL) - 600); /* time() may be a tick behind the clock that iat is of */
    unsigned char header[200];
    size_t size = base64url_decode(token, (size_t)(strchr(token, '.') - token), header);
    header[size] = '\0';
    assert_string_equal(value_of((char *)header, "alg"), "ES256");
    assert_string_equal(value_of((char *)header, "kid"), value_of(jwks(), "kid"));
    char *claims = strchr(token, '.') + 5;
    *claims = *claims == 'A' ? 'B' : 'A';
    assert_false(verify(token, jwks(), payload, sizeof payload));
}

/* The key outlives the process: a token from before a crash verifies with the key from after it. */
static void test_key_kept(void **state)
{
    EXPECT(sign_up(ANN), 201);
    struct ficus_test_answer a = sign_in(ANN_IN);
    const char *before = jwks();
    ficus_test_restart(t);
    char payload[1024];
    assert_string_equal(jwks(), before);
    assert_true(verify(value_of(a.body, "token"), jwks(), payload, sizeof payload));
    EXPECT(sign_in(ANN_IN), 201);
}

/* A wrong password and an unknown email are answered alike. */
static void test_wrong_credentials(void **state)
{
    EXPECT(sign_up(ANN), 201);
    struct ficus_test_answer wrong = sign_in("{\"email\":\"ann@shop.example\",\"password\":\"incorrect horse\"}");
    struct ficus_test_answer unknown = sign_in("{\"email\":\"eve@shop.example\",\"password\":\"correct horse\"}");
    EXPECT(wrong, 401, "\"code\":\"wrong_credentials\"");
    EXPECT(unknown, 401);
    assert_string_equal(wrong.body, unknown.body);
    EXPECT(sign_in("{\"email\":\"ann@shop.example\",\"password\":\"\"}"), 401);
    EXPECT(sign_in("{\"email\":\"ann@shop.example\",\"password\":\"Correct horse\"}"), 401);
    EXPECT(sign_in("{\"email\":\"ann@shop.example\",\"password\":\"correct horse \"}"), 401);
}

/* A sign-in names the faults of its input. */
static void test_sign_in_faults(void **state)
{
    EXPECT(sign_in("{}"), 400, "\"/email\"", "\"/password\"");
    EXPECT_INVALID(sign_in("{\"email\":\"ann\",\"password\":\"correct horse\"}"), "/email");
    EXPECT_INVALID(sign_in("{\"email\":\"ann@shop.example\",\"password\":7}"), "/password");
    EXPECT(sign_in("nonsense"), 400);
}

/* ---- the administrator ---- */

static int setup_admin(void **state)
{
    static char file[64];
    static const char *const settings[] = {"issuer", "shop", "admin_file", file, NULL};
    snprintf(file, sizeof file, "%s", admin_file);
    int fd = mkstemp(file);
    static const char text[] = "{\"email\":\"Admin@shop.example\",\"password\":\"only for the owner\"}";
    if (fd < 0 || write(fd, text, sizeof text - 1) != (ssize_t)sizeof text - 1 || close(fd) != 0)
        return -1;
    *state = file;
    t = ficus_test_start(&identity_service, migrations, settings);
    return 0;
}

static int teardown_admin(void **state)
{
    unlink(*state);
    return teardown(state);
}

/* The administrator of the file is there from the first start, once, with the role; nobody else gets it. */
static void test_admin(void **state)
{
    const char *in = "{\"email\":\"admin@shop.example\",\"password\":\"only for the owner\"}";
    char payload[1024], first[1024];
    struct ficus_test_answer a = sign_in(in);
    EXPECT(a, 201);
    assert_true(verify(value_of(a.body, "token"), jwks(), first, sizeof first));
    assert_non_null(strstr(first, "\"roles\":[\"admin\"]"));
    ficus_test_restart(t);
    a = sign_in(in);
    EXPECT(a, 201);
    assert_true(verify(value_of(a.body, "token"), jwks(), payload, sizeof payload));
    assert_string_equal(value_of(payload, "sub"), value_of(first, "sub"));
    EXPECT(sign_up("{\"email\":\"admin@shop.example\",\"name\":\"Eve\",\"password\":\"only for the owner\"}"), 409);
    EXPECT(
        sign_up("{\"email\":\"eve@shop.example\",\"name\":\"Eve\",\"password\":\"correct horse\",\"role\":\"admin\"}"),
        201);
    a = sign_in("{\"email\":\"eve@shop.example\",\"password\":\"correct horse\"}");
    assert_true(verify(value_of(a.body, "token"), jwks(), payload, sizeof payload));
    assert_non_null(strstr(payload, "\"roles\":[]"));
}

/* When the file of the administrator was lost and made anew, the password in it is the one that counts from the next
 * start on; that of the old file is not. */
static void test_admin_file_new(void **state)
{
    const char *before = "{\"email\":\"admin@shop.example\",\"password\":\"only for the owner\"}";
    const char *after = "{\"email\":\"admin@shop.example\",\"password\":\"made by ficus up\"}";
    EXPECT(sign_in(before), 201);
    FILE *f = fopen(*state, "we");
    assert_non_null(f);
    assert_true(fputs(after, f) >= 0);
    assert_int_equal(fclose(f), 0);
    ficus_test_restart(t);
    EXPECT(sign_in(before), 401);
    EXPECT(sign_in(after), 201);
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_sign_up),
        T(test_email_taken),
        T(test_sign_up_faults),
        T(test_password_bounds),
        T(test_token),
        T(test_key_kept),
        T(test_wrong_credentials),
        T(test_sign_in_faults),
        cmocka_unit_test_setup_teardown(test_admin, setup_admin, teardown_admin),
        cmocka_unit_test_setup_teardown(test_admin_file_new, setup_admin, teardown_admin),
    };
    return shop_run_tests("identity", tests, sizeof tests / sizeof tests[0], argc, argv);
}
