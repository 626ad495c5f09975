/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS by OpenSSL, straight on the stream's non-blocking socket; see tls.h and io_tls.h.
 *
 * A server's certificates are one immutable, reference-counted set of contexts, the first of which begins every
 * handshake and hands it to another when the client asks for that one's name. A reload makes a new set and lets go of
 * the old; whoever is in the middle of a handshake still holds it.
 *
 * Tickets are sealed with our own keys (AES-256-CBC, HMAC-SHA-256), at most TICKET_KEYS_MAX of them, the newest first.
 * Only the newest seals. It is replaced, when it is needed, once it is 12 hours old; sessions live as long, so that the
 * key before is all that has to be remembered beside it. The file is looked at again before a key is made, because a
 * successor of this process may have made one already.
 *
 *   tickets file: "FICUSTK1", then per key 16 bytes name, 32 bytes AES, 32 bytes HMAC, 8 bytes ms since 1970
 *
 * Failure modes: OpenSSL keeps errors in a queue of the thread, and what is left there turns the next harmless wait
 * into an error; so it is empty before every call. An error of a connection is final and kept.
 */
#include "io_tls.h"

#include "arena.h"
#include "assert.h"
#include "mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

enum {
    RECORD_SIZE_MAX = 16 * 1024,
    TICKET_KEYS_MAX = 2,
    TICKET_KEY_LIFE_MS = 12 * 3600 * 1000,
    PROTOCOLS_SIZE_MAX = 256,
    FAILURE_SIZE_MAX = 256,
};

static const char ticket_magic[8] = {'F', 'I', 'C', 'U', 'S', 'T', 'K', '1'};

struct ticket_key {
    unsigned char name[16], aes[32], hmac[32];
    int64_t made_ms;
};
_Static_assert(sizeof(struct ticket_key) == 88, "the file's layout");

/* Immutable but for its count. */
struct tls_set {
    atomic_size_t refs;
    int64_t expires_ms;
    size_t count;
    SSL_CTX *contexts[];
};

struct tls_server {
    struct tls_end end; /* first */
    struct env *env;
    enum tls_version min;
    unsigned char protocols[PROTOCOLS_SIZE_MAX]; /* as on the wire: each with its length before it */
    size_t protocols_size;
    const char *tickets_file;
    pthread_mutex_t mutex; /* guards what follows; loops take it once or twice for a handshake */
    struct tls_set *set;
    struct ticket_key keys[TICKET_KEYS_MAX];
    size_t key_count;
};

struct tls_client {
    struct tls_end end; /* first */
    size_t refs;        /* the owner's and each connection's */
    SSL_CTX *context;
    char *name;
    bool is_address;
    SSL_SESSION *session; /* the newest; NULL: none */
    char failure[FAILURE_SIZE_MAX];
};

struct conn {
    struct tls_conn base; /* first */
    SSL *ssl;
    struct tls_set *set;       /* of a server's, until the handshake is done */
    struct tls_client *client; /* of a client's */
    enum ficus_err failed;     /* final; the connection cannot be used any more */
};

static struct conn *conn_of(struct tls_conn *c)
{
    return (struct conn *)(void *)c;
}

/* ---- errors ---- */

/* ERR_clear_error wipes all sixteen places of the queue, whatever is in them: as dear as a tenth of SSL_read. */
static void errors_clear(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

/* What the queue says first is the cause; what follows is where it passed. */
static const char *reason_text(void)
{
    unsigned long e = ERR_peek_error();
    const char *text = NULL;
    if (e != 0)
        text = ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : ERR_reason_error_string(e);
    return text != NULL ? text : "unknown reason";
}

static enum ficus_err file_error(const char *path, const char *what, struct ficus_error *reterr)
{
    unsigned long e = ERR_peek_error();
    if (ERR_SYSTEM_ERROR(e))
        return err_sys(reterr, ERR_GET_REASON(e), "read %s", path);
    return err_set(reterr, FICUS_ERR_INVALID, "%s is no %s in PEM form: %s", path, what, reason_text());
}

/* ---- certificates ---- */

/* Without this OpenSSL asks at the terminal. */
static int no_pass_phrase(char *buf, int size, int writing, void *arg)
{
    bool *asked = arg;
    *asked = true;
    return -1;
}

static enum ficus_err pair_load(SSL_CTX *ctx, const struct tls_pair *pair, bool *ret_key,
                                struct ficus_error *reterr)
{
    bool asked = false;
    *ret_key = false;
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ctx, pair->certificate) != 1)
        return file_error(pair->certificate, "certificate", reterr);
    *ret_key = true;
    SSL_CTX_set_default_passwd_cb(ctx, no_pass_phrase);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, &asked);
    ERR_clear_error();
    int rc = SSL_CTX_use_PrivateKey_file(ctx, pair->key, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
    if (rc == 1 && SSL_CTX_check_private_key(ctx) == 1)
        return FICUS_ERR_OK;
    if (asked)
        return err_set(reterr, FICUS_ERR_INVALID,
                       "%s is protected by a pass phrase, which nobody can type here: write it without one "
                       "(openssl pkey)",
                       pair->key);
    int reason = ERR_GET_REASON(ERR_peek_error());
    if (ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_X509 &&
        (reason == X509_R_KEY_VALUES_MISMATCH || reason == X509_R_KEY_TYPE_MISMATCH))
        return err_set(reterr, FICUS_ERR_INVALID, "%s does not fit the certificate %s: give the key it was made with",
                       pair->key, pair->certificate);
    return file_error(pair->key, "private key", reterr);
}

static int64_t asn1_ms(const ASN1_TIME *t)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) != 1)
        return INT64_MAX;
    return (int64_t)timegm(&tm) * 1000;
}

static const char *asn1_text(const ASN1_TIME *t, char *text, size_t size)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) != 1 || strftime(text, size, "%Y-%m-%d %H:%M UTC", &tm) == 0)
        return "?";
    return text;
}

enum ficus_err tls_pair_check(const struct tls_pair *pair, int64_t wall_ms, bool *ret_key, struct ficus_error *reterr)
{
    *ret_key = false;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "tls: out of memory");
    enum ficus_err err = pair_load(ctx, pair, ret_key, reterr);
    const X509 *x = SSL_CTX_get0_certificate(ctx);
    char when[32];
    if (err == FICUS_ERR_OK && asn1_ms(X509_get0_notAfter(x)) < wall_ms) {
        *ret_key = false;
        err = err_set(reterr, FICUS_ERR_INVALID, "%s expired on %s: clients will refuse it; get a new one",
                      pair->certificate, asn1_text(X509_get0_notAfter(x), when, sizeof when));
    } else if (err == FICUS_ERR_OK && asn1_ms(X509_get0_notBefore(x)) > wall_ms) {
        *ret_key = false;
        err = err_set(reterr, FICUS_ERR_INVALID,
                      "%s is valid only from %s on: wait until then, or set this machine's clock right",
                      pair->certificate, asn1_text(X509_get0_notBefore(x), when, sizeof when));
    }
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return err;
}

/* ---- contexts ---- */

/* What servers and clients have alike. */
static bool context_set_up(SSL_CTX *ctx, enum tls_version min)
{
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* AES with 128 bits and SHA-256 cost less than with 256 and SHA-384, and OpenSSL's clients name the dear ones first. A
     * client that names ChaCha20 first has no instructions for AES, and gets it. */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_read_ahead(ctx, 1); /* one recv for a record, not two */
    return SSL_CTX_set_min_proto_version(ctx, min == TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                         "TLS_CHACHA20_POLY1305_SHA256") == 1 &&
           SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
           SSL_CTX_set1_groups_list(ctx, "X25519:P-256") == 1;
}

static bool protocols_encode(const char *const *protocols, unsigned char *p, size_t *ret_size)
{
    size_t at = 0;
    for (; protocols != NULL && *protocols != NULL; protocols++) {
        size_t size = strlen(*protocols);
        if (size == 0 || size > 255 || at + 1 + size > PROTOCOLS_SIZE_MAX)
            return false;
        p[at] = (unsigned char)size;
        memcpy(p + at + 1, *protocols, size);
        at += 1 + size;
    }
    *ret_size = at;
    return true;
}

/* RFC 7301 3.2: no word in common is fatal. */
static int on_protocols(SSL *ssl, const unsigned char **ret, unsigned char *ret_size, const unsigned char *in,
                        unsigned in_size, void *arg)
{
    const struct tls_server *v = arg;
    unsigned char *chosen; /* the function is not const-correct and writes nothing */
    if (v->protocols_size == 0)
        return SSL_TLSEXT_ERR_NOACK;
    if (SSL_select_next_proto(&chosen, ret_size, v->protocols, (unsigned)v->protocols_size, in, in_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* A certificate that has the name itself goes before one with a wildcard for it. */
static int on_name(SSL *ssl, int *alert, void *arg)
{
    static const unsigned passes[] = {X509_CHECK_FLAG_NO_WILDCARDS, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS};
    const struct tls_set *set = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    for (size_t k = 0; name != NULL && k < ARRAY_COUNT(passes); k++) {
        for (size_t i = 0; i < set->count; i++) {
            X509 *x = SSL_CTX_get0_certificate(set->contexts[i]);
            if (X509_check_host(x, name, 0, passes[k] | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) != 1)
                continue;
            if (i > 0)
                SSL_set_SSL_CTX(ssl, set->contexts[i]);
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_OK; /* the first one's clients see for themselves */
}

/* ---- tickets ---- */

static bool key_due(const struct ticket_key *k, int64_t wall_ms)
{
    /* from the future: the clock was set back, and nobody knows how old it is */
    return wall_ms - k->made_ms >= TICKET_KEY_LIFE_MS || k->made_ms > wall_ms;
}

static bool tickets_load(struct tls_server *v)
{
    char text[sizeof ticket_magic + TICKET_KEYS_MAX * sizeof(struct ticket_key)];
    struct env_file *f;
    if (v->tickets_file == NULL || env_file_open(v->env, v->tickets_file, ENV_OPEN_READ_ONLY, &f, NULL) != FICUS_ERR_OK)
        return false;
    ssize_t size = env_file_read(v->env, f, text, sizeof text, 0);
    env_file_close(v->env, f);
    size_t keys_size = size < (ssize_t)sizeof ticket_magic ? 0 : (size_t)size - sizeof ticket_magic;
    bool ok = keys_size > 0 && keys_size % sizeof(struct ticket_key) == 0 &&
              memcmp(text, ticket_magic, sizeof ticket_magic) == 0;
    if (ok) {
        memcpy(v->keys, text + sizeof ticket_magic, keys_size);
        v->key_count = keys_size / sizeof(struct ticket_key);
    }
    OPENSSL_cleanse(text, sizeof text);
    return ok;
}

static void tickets_store(struct tls_server *v)
{
    char text[sizeof ticket_magic + TICKET_KEYS_MAX * sizeof(struct ticket_key)];
    size_t keys_size = v->key_count * sizeof(struct ticket_key);
    if (v->tickets_file == NULL)
        return;
    memcpy(text, ticket_magic, sizeof ticket_magic);
    memcpy(text + sizeof ticket_magic, v->keys, keys_size);
    /* failing that, a successor makes its own, and clients shake hands in full once */
    (void)env_file_store(v->env, v->tickets_file, slice_make(text, sizeof ticket_magic + keys_size), NULL);
    OPENSSL_cleanse(text, sizeof text);
}

/* The key that seals now. */
static struct ticket_key *tickets_newest(struct tls_server *v)
{
    int64_t wall_ms = env_wall_ms(v->env);
    if (v->key_count > 0 && !key_due(&v->keys[0], wall_ms))
        return &v->keys[0];
    if (tickets_load(v) && !key_due(&v->keys[0], wall_ms))
        return &v->keys[0];
    for (size_t i = TICKET_KEYS_MAX - 1; i > 0; i--)
        v->keys[i] = v->keys[i - 1];
    v->key_count += v->key_count < TICKET_KEYS_MAX;
    env_random(v->env, &v->keys[0], sizeof v->keys[0]);
    v->keys[0].made_ms = wall_ms;
    tickets_store(v);
    return &v->keys[0];
}

static bool key_use(const struct ticket_key *k, EVP_MAC_CTX *mac)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)k->hmac, sizeof k->hmac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* [mutex held] */
static int ticket_use(struct tls_server *v, SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, bool sealing)
{
    struct ticket_key *newest = tickets_newest(v);
    if (sealing) {
        memcpy(name, newest->name, sizeof newest->name);
        env_random(v->env, iv, 16);
        bool ok = EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, newest->aes, iv) == 1 && key_use(newest, mac);
        return ok ? 1 : -1;
    }
    for (size_t i = 0; i < v->key_count; i++) {
        const struct ticket_key *k = &v->keys[i];
        if (memcmp(name, k->name, sizeof k->name) != 0)
            continue;
        if (EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->aes, iv) != 1 || !key_use(k, mac))
            return -1;
        /* TLS 1.3 clients use a ticket once (RFC 8446 C.4) */
        return k == newest && SSL_version(ssl) != TLS1_3_VERSION ? 1 : 2;
    }
    return 0;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb: 1 fine, 2 fine but seal it anew, 0 unknown, -1 error. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                     int sealing)
{
    struct tls_server *v = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    pthread_mutex_lock(&v->mutex);
    int result = ticket_use(v, ssl, name, iv, cipher, mac, sealing != 0);
    pthread_mutex_unlock(&v->mutex);
    return result;
}

/* ---- server ---- */

static void set_unref(struct tls_set *set)
{
    if (set == NULL || atomic_fetch_sub(&set->refs, 1) > 1)
        return;
    for (size_t i = 0; i < set->count; i++)
        SSL_CTX_free(set->contexts[i]);
    mem_free(set);
}

static SSL_CTX *context_new(struct tls_server *v, const struct tls_pair *pair, struct tls_set *set,
                            struct ficus_error *reterr)
{
    static const unsigned char session_context[] = "ficus";
    bool at_key;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL || !context_set_up(ctx, v->min)) {
        SSL_CTX_free(ctx);
        err_set(reterr, FICUS_ERR_NOMEM, "tls: out of memory");
        return NULL;
    }
    if (pair_load(ctx, pair, &at_key, reterr) != FICUS_ERR_OK) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_app_data(ctx, v);
    SSL_CTX_set_alpn_select_cb(ctx, on_protocols, v);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_name);
    SSL_CTX_set_tlsext_servername_arg(ctx, set);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ctx, session_context, sizeof session_context - 1);
    SSL_CTX_set_timeout(ctx, TICKET_KEY_LIFE_MS / 1000);
    return ctx;
}

static struct tls_set *set_new(struct tls_server *v, const struct tls_pair *pairs, size_t pair_count,
                               struct ficus_error *reterr)
{
    if (pair_count == 0 || pair_count > TLS_PAIRS_MAX) {
        err_set(reterr, FICUS_ERR_TOO_LARGE, "%zu certificates, 1 to %d are allowed", pair_count, TLS_PAIRS_MAX);
        return NULL;
    }
    struct tls_set *set = mem_zalloc(sizeof *set + pair_count * sizeof set->contexts[0]);
    if (set == NULL) {
        err_set(reterr, FICUS_ERR_NOMEM, "tls: out of memory");
        return NULL;
    }
    set->refs = 1;
    set->expires_ms = INT64_MAX;
    for (; set->count < pair_count; set->count++) {
        SSL_CTX *ctx = context_new(v, &pairs[set->count], set, reterr);
        if (ctx == NULL) {
            set_unref(set);
            return NULL;
        }
        set->contexts[set->count] = ctx;
        int64_t expires_ms = asn1_ms(X509_get0_notAfter(SSL_CTX_get0_certificate(ctx)));
        if (expires_ms < set->expires_ms)
            set->expires_ms = expires_ms;
    }
    return set;
}

static const struct tls_ops server_ops, client_ops;

enum ficus_err tls_server_new(struct env *e, const struct tls_server_options *options, struct tls_server **ret_server,
                              struct ficus_error *reterr)
{
    struct tls_server *v = mem_zalloc(sizeof *v);
    if (v == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "tls: out of memory");
    struct ficus_error error = {0};
    v->end.ops = &server_ops;
    v->env = e;
    v->min = options->min;
    v->tickets_file = options->tickets_file;
    if (!protocols_encode(options->protocols, v->protocols, &v->protocols_size))
        err_set(&error, FICUS_ERR_TOO_LARGE, "tls: protocols take more than %d bytes", PROTOCOLS_SIZE_MAX);
    else
        v->set = set_new(v, options->pairs, options->pair_count, &error);
    if (v->set == NULL) {
        mem_free(v);
        return err_set(reterr, error.code, "%s", error.text);
    }
    pthread_mutex_init(&v->mutex, NULL);
    (void)tickets_load(v); /* else they are made when they are needed */
    *ret_server = v;
    return FICUS_ERR_OK;
}

enum ficus_err tls_server_reload(struct tls_server *v, const struct tls_pair *pairs, size_t pair_count,
                                 struct ficus_error *reterr)
{
    struct ficus_error error = {0};
    struct tls_set *set = set_new(v, pairs, pair_count, &error);
    if (set == NULL)
        return err_set(reterr, error.code, "%s", error.text);
    pthread_mutex_lock(&v->mutex);
    struct tls_set *before = v->set;
    v->set = set;
    pthread_mutex_unlock(&v->mutex);
    set_unref(before);
    return FICUS_ERR_OK;
}

/* One reference to the present certificates. */
static struct tls_set *set_ref(struct tls_server *v)
{
    pthread_mutex_lock(&v->mutex);
    struct tls_set *set = v->set;
    atomic_fetch_add(&set->refs, 1);
    pthread_mutex_unlock(&v->mutex);
    return set;
}

int64_t tls_server_expires_ms(struct tls_server *v)
{
    struct tls_set *set = set_ref(v);
    int64_t expires_ms = set->expires_ms;
    set_unref(set);
    return expires_ms;
}

void tls_server_free(struct tls_server *v)
{
    if (v == NULL)
        return;
    set_unref(v->set);
    OPENSSL_cleanse(v->keys, sizeof v->keys);
    pthread_mutex_destroy(&v->mutex);
    mem_free(v);
}

/* ---- client ---- */

/* The newest session goes on next time. TLS 1.3 sends it after the handshake, so this is the only way to hear of it. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_client *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    SSL_SESSION_free(c->session);
    c->session = session;
    return 1; /* it is ours now */
}

static enum ficus_err client_context(struct tls_client *c, const struct tls_client_options *o, const char **ret_file,
                                     struct ficus_error *reterr)
{
    unsigned char protocols[PROTOCOLS_SIZE_MAX];
    size_t protocols_size = 0;
    bool at_key;
    c->context = SSL_CTX_new(TLS_client_method());
    if (c->context == NULL || !context_set_up(c->context, TLS_1_2))
        return err_set(reterr, FICUS_ERR_NOMEM, "tls: out of memory");
    ERR_clear_error();
    *ret_file = o->ca_file;
    if (o->ca_file != NULL && SSL_CTX_load_verify_file(c->context, o->ca_file) != 1)
        return file_error(o->ca_file, "certificate", reterr);
    if (o->ca_file == NULL && SSL_CTX_set_default_verify_paths(c->context) != 1)
        return err_set(reterr, FICUS_ERR_INVALID, "tls: the authorities of this machine cannot be read: %s",
                       reason_text());
    if (o->certificate_file != NULL) {
        const struct tls_pair pair = {o->certificate_file, o->key_file};
        enum ficus_err err = pair_load(c->context, &pair, &at_key, reterr);
        *ret_file = at_key ? o->key_file : o->certificate_file;
        if (err != FICUS_ERR_OK)
            return err;
    }
    *ret_file = NULL;
    if (!protocols_encode(o->protocols, protocols, &protocols_size) ||
        (protocols_size > 0 && SSL_CTX_set_alpn_protos(c->context, protocols, (unsigned)protocols_size) != 0))
        return err_set(reterr, FICUS_ERR_TOO_LARGE, "tls: protocols take more than %d bytes", PROTOCOLS_SIZE_MAX);
    SSL_CTX_set_app_data(c->context, c);
    SSL_CTX_set_verify(c->context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(c->context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->context, on_session);
    return FICUS_ERR_OK;
}

static void client_unref(struct tls_client *c)
{
    if (c == NULL || --c->refs > 0)
        return;
    SSL_SESSION_free(c->session);
    SSL_CTX_free(c->context);
    mem_free(c->name);
    mem_free(c);
}

static enum ficus_err client_make(const struct tls_client_options *options, struct tls_client **ret_client,
                                  const char **ret_file, struct ficus_error *reterr)
{
    struct tls_client *c = mem_zalloc(sizeof *c);
    if (c == NULL || (c->name = mem_strdup(options->name)) == NULL) {
        mem_free(c);
        return err_set(reterr, FICUS_ERR_NOMEM, "tls: out of memory");
    }
    struct in6_addr address;
    c->refs = 1;
    c->end.ops = &client_ops;
    c->is_address = inet_pton(AF_INET, c->name, &address) == 1 || inet_pton(AF_INET6, c->name, &address) == 1;
    enum ficus_err err = client_context(c, options, ret_file, reterr);
    if (err != FICUS_ERR_OK)
        client_unref(c);
    else
        *ret_client = c;
    ERR_clear_error();
    return err;
}

static enum ficus_err client_new(const struct tls_client_options *options, struct tls_client **ret_client,
                                 struct ficus_error *reterr)
{
    const char *file;
    return client_make(options, ret_client, &file, reterr);
}

static const char *client_failure(const struct tls_client *c)
{
    return c->failure;
}

void tls_clients_enable(struct env *e)
{
    static const struct env_tls_ops ops = {client_new, client_failure, client_unref};
    e->tls = &ops;
}

enum ficus_err tls_client_check(const struct tls_client_options *options, int64_t wall_ms, const char **ret_file,
                                struct ficus_error *reterr)
{
    struct tls_client *c;
    *ret_file = NULL;
    enum ficus_err err = client_make(options, &c, ret_file, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    client_unref(c);
    if (options->certificate_file == NULL)
        return FICUS_ERR_OK;
    const struct tls_pair pair = {options->certificate_file, options->key_file};
    bool at_key;
    err = tls_pair_check(&pair, wall_ms, &at_key, reterr);
    *ret_file = at_key ? options->key_file : options->certificate_file;
    return err;
}

/* ---- connections ---- */

static struct conn *conn_new(struct tls_end *end, SSL_CTX *ctx, int fd)
{
    struct conn *c = mem_zalloc(sizeof *c);
    if (c == NULL)
        return NULL;
    errors_clear();
    c->base.ops = end->ops;
    c->ssl = SSL_new(ctx);
    if (c->ssl == NULL || SSL_set_fd(c->ssl, fd) != 1) {
        SSL_free(c->ssl);
        mem_free(c);
        return NULL;
    }
    return c;
}

static struct tls_conn *server_open(struct tls_end *end, int fd)
{
    struct tls_server *v = (struct tls_server *)(void *)end;
    struct tls_set *set = set_ref(v);
    struct conn *c = conn_new(end, set->contexts[0], fd);
    if (c == NULL) {
        set_unref(set);
        return NULL;
    }
    c->set = set;
    SSL_set_accept_state(c->ssl);
    return &c->base;
}

static void conn_free(struct tls_conn *base)
{
    struct conn *c = conn_of(base);
    /* SSL_free of a connection that nobody shut down takes its session for a bad one. */
    if (c->failed == FICUS_ERR_OK && SSL_is_init_finished(c->ssl))
        SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(c->ssl);
    set_unref(c->set);
    client_unref(c->client);
    mem_free(c);
}

static struct tls_conn *client_open(struct tls_end *end, int fd)
{
    struct tls_client *client = (struct tls_client *)(void *)end;
    struct conn *c = conn_new(end, client->context, fd);
    if (c == NULL)
        return NULL;
    c->client = client;
    client->refs++;
    SSL_set_connect_state(c->ssl);
    SSL_set_hostflags(c->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    bool ok = client->is_address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(c->ssl), client->name) == 1
                                 : SSL_set1_host(c->ssl, client->name) == 1 &&
                                       SSL_set_tlsext_host_name(c->ssl, client->name) == 1;
    if (!ok) { /* not to check is no choice */
        conn_free(&c->base);
        return NULL;
    }
    if (client->session != NULL && SSL_SESSION_is_resumable(client->session))
        (void)SSL_set_session(c->ssl, client->session); /* failing that, in full */
    return &c->base;
}

/* Why a call of OpenSSL gave nothing: 0 with *ret_want set (wait), 0 without (the peer said the end), or the error. */
static int outcome(struct conn *c, int rc, int saved_errno, enum tls_want *ret_want)
{
    switch (SSL_get_error(c->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        *ret_want = TLS_READABLE;
        return 0;
    case SSL_ERROR_WANT_WRITE:
        *ret_want = TLS_WRITABLE;
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        c->failed = saved_errno != 0 ? err_from_errno(saved_errno) : FICUS_ERR_RESET;
        break;
    default:
        c->failed = ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING ? FICUS_ERR_RESET
                                                                                           : FICUS_ERR_PROTOCOL;
    }
    return -(int)c->failed;
}

static int conn_handshake(struct tls_conn *base, enum tls_want *ret_want)
{
    struct conn *c = conn_of(base);
    errors_clear();
    errno = 0;
    int rc = SSL_do_handshake(c->ssl);
    if (rc == 1) {
        set_unref(c->set);
        c->set = NULL;
        if (c->client != NULL)
            c->client->failure[0] = '\0';
        return 1;
    }
    int result = outcome(c, rc, errno, ret_want);
    if (result == 0 && *ret_want == TLS_NOTHING) /* the end, in the middle */
        result = -(int)(c->failed = FICUS_ERR_RESET);
    if (result < 0 && c->client != NULL) {
        long verified = SSL_get_verify_result(c->ssl);
        const char *why = verified != X509_V_OK ? X509_verify_cert_error_string(verified) : reason_text();
        if (verified != X509_V_OK)
            result = -(int)(c->failed = FICUS_ERR_DENIED);
        snprintf(c->client->failure, sizeof c->client->failure, "%s: %s", c->client->name, why);
    }
    errors_clear();
    return result;
}

static ssize_t conn_read(struct tls_conn *base, void *p, size_t size, enum tls_want *ret_want)
{
    struct conn *c = conn_of(base);
    if (c->failed != FICUS_ERR_OK)
        return -(ssize_t)c->failed;
    errors_clear();
    errno = 0;
    size_t got;
    int rc = SSL_read_ex(c->ssl, p, size, &got);
    return rc == 1 ? (ssize_t)got : outcome(c, rc, errno, ret_want);
}

/* A record costs the peer 22 bytes and both of us a cipher's start: small pieces become one. The bytes that were
 * refused are gathered again next time and are the same, which is what OpenSSL insists on. */
static ssize_t conn_write(struct tls_conn *base, const struct iovec *iov, int iov_count, enum tls_want *ret_want)
{
    struct conn *c = conn_of(base);
    __attribute__((uninitialized)) char gathered[RECORD_SIZE_MAX]; /* not zeroed for each answer */
    const char *p = iov[0].iov_base;
    size_t size = iov[0].iov_len;
    if (c->failed != FICUS_ERR_OK)
        return -(ssize_t)c->failed;
    if (size < RECORD_SIZE_MAX && iov_count > 1) {
        size = 0;
        for (int i = 0; i < iov_count && size < RECORD_SIZE_MAX; i++) {
            size_t part = iov[i].iov_len < RECORD_SIZE_MAX - size ? iov[i].iov_len : RECORD_SIZE_MAX - size;
            memcpy(gathered + size, iov[i].iov_base, part);
            size += part;
        }
        p = gathered;
    }
    if (size > RECORD_SIZE_MAX)
        size = RECORD_SIZE_MAX;
    FICUS_ASSERT(size > 0);
    errors_clear();
    errno = 0;
    size_t taken;
    int rc = SSL_write_ex(c->ssl, p, size, &taken);
    if (rc == 1)
        return (ssize_t)taken;
    int result = outcome(c, rc, errno, ret_want);
    if (result == 0 && *ret_want == TLS_NOTHING)
        result = -(int)(c->failed = FICUS_ERR_RESET);
    return result;
}

static void conn_end(struct tls_conn *base, enum tls_want *ret_want)
{
    struct conn *c = conn_of(base);
    if (c->failed != FICUS_ERR_OK)
        return;
    errors_clear();
    int rc = SSL_shutdown(c->ssl); /* 0: said, and not heard yet from the other side, which reading will tell */
    if (rc < 0 && SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_WRITE)
        *ret_want = TLS_WRITABLE;
    errors_clear();
}

static bool conn_has_input(const struct tls_conn *base)
{
    const struct conn *c = (const struct conn *)(const void *)base;
    return c->failed != FICUS_ERR_OK || SSL_has_pending(c->ssl) == 1 ||
           (SSL_get_shutdown(c->ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
}

static void conn_info(const struct tls_conn *base, struct env_tls_info *ret_info)
{
    const struct conn *c = (const struct conn *)(const void *)base;
    const unsigned char *protocol = NULL;
    unsigned size = 0;
    SSL_get0_alpn_selected(c->ssl, &protocol, &size);
    const char *name = SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name);
    ret_info->version = SSL_get_version(c->ssl);
    ret_info->cipher = SSL_get_cipher_name(c->ssl);
    if (size > 0 && size < sizeof ret_info->protocol)
        memcpy(ret_info->protocol, protocol, size);
    snprintf(ret_info->name, sizeof ret_info->name, "%s", name != NULL ? name : "");
    ret_info->resumed = SSL_session_reused(c->ssl) == 1;
}

static const struct tls_ops server_ops = {server_open, conn_handshake, conn_read, conn_write,
                                          conn_end,    conn_has_input, conn_info, conn_free};
static const struct tls_ops client_ops = {client_open, conn_handshake, conn_read, conn_write,
                                          conn_end,    conn_has_input, conn_info, conn_free};
