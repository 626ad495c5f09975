/* SPDX-License-Identifier: Apache-2.0 */
#include "identity.h"
#include "shop.h"

#include <ctype.h>

enum { TOKEN_SECONDS = 3600, PASSWORD_MIN = 10, PASSWORD_MAX = 200, EMAIL_SIZE_MAX = 254 };

struct account {
    const char *id, *email, *name, *password, *role;
};

/* Lower case, or NULL when it cannot be an address: one @ with something on both sides, no blanks or control characters. */
static const char *email_read(struct ficus_req *req, const struct ficus_json *v)
{
    const char *text = ficus_json_str(req, v);
    if (text == NULL || strlen(text) > EMAIL_SIZE_MAX)
        return NULL;
    const char *at = strchr(text, '@');
    if (at == NULL || at == text || at[1] == '\0' || strchr(at + 1, '@') != NULL)
        return NULL;
    char *email = ficus_alloc(req, strlen(text) + 1);
    if (email == NULL)
        return NULL;
    for (size_t i = 0; text[i] != '\0'; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c <= ' ' || c == 0x7f)
            return NULL;
        email[i] = (char)(c < 0x80 ? tolower(c) : c);
    }
    return email;
}

static int account_read(struct ficus_req *req, const char *sql, const char *key, struct account *ret_account)
{
    struct ficus_rows *rows = ficus_query(req, sql, "s", key);
    int found = rows == NULL ? -1 : ficus_row(rows);
    if (found != 1)
        return found;
    *ret_account = (struct account){ficus_col_str(rows, 0), ficus_col_str(rows, 1), ficus_col_str(rows, 2), ficus_col_str(rows, 3), ficus_col_str(rows, 4)};
    ficus_rows_done(rows);
    return 1;
}

#define ACCOUNT_COLUMNS "SELECT id, email, name, password, role FROM user "

static int account_reply(struct ficus_req *req, int status, const struct account *a)
{
    struct ficus_out *o = ficus_reply(req, status);
    if (o == NULL)
        return -1;
    ficus_out_object(o, NULL);
    ficus_out_str(o, "id", a->id);
    ficus_out_str(o, "email", a->email);
    ficus_out_str(o, "name", a->name);
    ficus_out_end(o);
    return 0;
}

/* 0, -1, or 1 when the email is taken. */
static int account_insert(struct ficus_req *req, const struct account *a)
{
    return ficus_exec(req, "INSERT INTO user (id, email, name, password, role, at) VALUES (?, ?, ?, ?, ?, ?)", "ssssss", a->id, a->email, a->name,
                      a->password, a->role, ficus_time(req, ficus_now_ms(req)));
}

static int user_post(struct ficus_req *req)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    struct account a = {.role = ""};
    a.email = email_read(req, ficus_json_get(body, "email"));
    a.name = ficus_json_str(req, ficus_json_get(body, "name"));
    const char *password = ficus_json_str(req, ficus_json_get(body, "password"));
    if (a.email == NULL)
        ficus_invalid(req, "/email", "must be an email address of at most %d bytes", EMAIL_SIZE_MAX);
    if (!shop_text_fits(a.name, 1, 200))
        ficus_invalid(req, "/name", "must be text of 1 to 200 characters");
    if (!shop_text_fits(password, PASSWORD_MIN, PASSWORD_MAX))
        ficus_invalid(req, "/password", "must have %d to %d characters", PASSWORD_MIN, PASSWORD_MAX);
    if (ficus_is_invalid(req))
        return ficus_problem_invalid(req);
    a.id = ficus_new_id(req);
    a.password = password_hash(req, password);  /* before the transaction: it takes long */
    if (a.password == NULL)
        return ficus_problem(req, 503, "try_again", "no memory to hash the password");
    if (ficus_tx(req) != 0)
        return -1;
    int taken = account_insert(req, &a);
    if (taken < 0)
        return -1;
    if (taken == 1)
        return ficus_problem(req, 409, "email_taken", "an account with this email is there already");
    return account_reply(req, 201, &a);
}

static int session_post(struct ficus_req *req)
{
    const struct ficus_json *body = ficus_body(req);
    if (body == NULL)
        return -1;
    const char *email = email_read(req, ficus_json_get(body, "email"));
    const char *password = ficus_json_str(req, ficus_json_get(body, "password"));
    if (email == NULL)
        ficus_invalid(req, "/email", "must be an email address");
    if (password == NULL)
        ficus_invalid(req, "/password", "must be text");
    if (ficus_is_invalid(req))
        return ficus_problem_invalid(req);
    /* An unknown email must take as long as a wrong password. */
    struct account a = {.password = "scrypt$16384$8$1$00000000000000000000000000000000$"
                                    "0000000000000000000000000000000000000000000000000000000000000000"};
    int found = account_read(req, ACCOUNT_COLUMNS "WHERE email = ?", email, &a);
    if (found < 0)
        return -1;
    bool right = shop_text_fits(password, 1, PASSWORD_MAX) && password_check(password, a.password);
    if (found != 1 || !right)
        return ficus_problem(req, 401, "wrong_credentials", "email or password is wrong");
    int64_t now = ficus_now_ms(req) / 1000;
    struct ficus_out *claims = ficus_out_new(req);
    if (claims == NULL)
        return -1;
    ficus_out_object(claims, NULL);
    ficus_out_str(claims, "iss", ficus_setting(req, "issuer"));
    ficus_out_str(claims, "sub", a.id);
    ficus_out_array(claims, "roles");
    if (*a.role != '\0')
        ficus_out_str(claims, NULL, a.role);
    ficus_out_end(claims);
    ficus_out_int(claims, "iat", now);
    ficus_out_int(claims, "exp", now + TOKEN_SECONDS);
    ficus_out_end(claims);
    const char *token = token_sign(req, ficus_data(req), ficus_out_text(claims));
    struct ficus_out *o = ficus_reply(req, 201);
    if (token == NULL || o == NULL)
        return ficus_problem(req, 503, "try_again", "the token cannot be signed now");
    ficus_out_object(o, NULL);
    ficus_out_str(o, "token", token);
    ficus_out_str(o, "token_type", "Bearer");
    ficus_out_int(o, "expires_in", TOKEN_SECONDS);
    ficus_out_end(o);
    return ficus_reply_header(req, "Cache-Control", "no-store");
}

static int me_get(struct ficus_req *req)
{
    struct account a;
    int found = account_read(req, ACCOUNT_COLUMNS "WHERE id = ?", ficus_user(req), &a);
    if (found < 0)
        return -1;
    if (found == 0)
        return ficus_problem(req, 404, "unknown_user", "there is no such account");
    return account_reply(req, 200, &a);
}

static int jwks_get(struct ficus_req *req)
{
    struct ficus_out *o = ficus_reply(req, 200);
    if (o == NULL)
        return -1;
    ficus_out_json(o, NULL, signing_key_jwks(ficus_data(req)));
    return 0;
}

/* {"email", "password"}, as `ficus up` leaves them in a file that only the owner can read. */
static const struct ficus_json *admin_file_read(struct ficus_req *req, const char *path)
{
    char *text = ficus_alloc(req, 4096);
    FILE *f = text == NULL ? NULL : fopen(path, "re");
    if (f == NULL)
        return NULL;
    size_t size = fread(text, 1, 4095, f);
    fclose(f);
    text[size] = '\0';
    return ficus_json_parse(req, text);
}

/* The file is right: when it was lost, `ficus up` made a new one and showed its password. */
static int admin_update(struct ficus_req *req, const struct account *there, const char *password)
{
    if (*there->role == '\0' || password_check(password, there->password))
        return 0;
    const char *hash = password_hash(req, password);
    if (hash == NULL || ficus_tx(req) != 0)
        return -1;
    ficus_log(req, "warn", "admin.password", "the administrator's password is now the one in the file");
    return ficus_exec(req, "UPDATE user SET password = ? WHERE id = ?", "ss", hash, there->id);
}

static int admin_ensure(struct ficus_req *req)
{
    const char *path = ficus_setting(req, "admin_file");
    if (path == NULL)
        return 0;
    const struct ficus_json *file = admin_file_read(req, path);
    struct account a = {.name = "Administrator", .role = "admin"}, there;
    a.email = email_read(req, ficus_json_get(file, "email"));
    const char *password = ficus_json_str(req, ficus_json_get(file, "password"));
    if (a.email == NULL || password == NULL) {
        ficus_log(req, "error", "admin.file_bad", "%s must hold {\"email\", \"password\"}", path);
        return -1;
    }
    int found = account_read(req, ACCOUNT_COLUMNS "WHERE email = ?", a.email, &there);
    if (found != 0)
        return found < 0 ? -1 : admin_update(req, &there, password);
    a.id = ficus_new_id(req);
    a.password = password_hash(req, password);
    if (a.password == NULL || ficus_tx(req) != 0)
        return -1;
    return account_insert(req, &a) < 0 ? -1 : 0;
}

static int start(struct ficus_req *req)
{
    const char *path = ficus_printf(req, "%s/signing-key.pem", ficus_private_dir(req));
    const char *why = "";
    struct signing_key *key = signing_key_load(path, &why);
    if (key == NULL) {
        ficus_log(req, "error", "key.unusable", "%s: %s", path, why);
        return -1;
    }
    ficus_set_data(req, key);
    return admin_ensure(req);
}

static void stop(void *data)
{
    signing_key_free(data);
}

static const struct ficus_route routes[] = {
    {"POST", "/v1/users", user_post, FICUS_ANYONE, NULL, false},
    {"POST", "/v1/sessions", session_post, FICUS_ANYONE, NULL, false},
    {"GET", "/v1/users/me", me_get, FICUS_USERS, NULL, false},
    {"GET", "/.well-known/jwks.json", jwks_get, FICUS_ANYONE, NULL, false},
    {NULL},
};

const struct ficus_service identity_service = {.name = "identity", .routes = routes, .start = start, .stop = stop};
