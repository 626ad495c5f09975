/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS 1.2 and 1.3 for the streams of env (env_listen_tls, env_connect_tls): who answers for which name, and whom a
 * client believes. What is above sees plain streams.
 *
 * Fixed for both sides: ECDHE and AEAD only, X25519 and P-256, no renegotiation, no compression, no early data. A
 * server resumes by tickets alone, so sessions cost it no memory.
 *
 * Threads: a server may serve the listeners of several loops of one process; otherwise the loop of the env. The functions that read files block shortly. Programs that never make a server or a
 * client are not linked with OpenSSL's libssl.
 */
#ifndef FICUS_IO_TLS_H
#define FICUS_IO_TLS_H

#include "env.h"

enum { TLS_PAIRS_MAX = 64 };

enum tls_version { TLS_1_2, TLS_1_3 };

/* Two PEM files: a certificate with its chain behind it, and the key that fits it, without a pass phrase. */
struct tls_pair {
    const char *certificate, *key;
};

/* Can these two be served, at this wall clock time? INVALID, NOT_FOUND, ... with *reterr naming the file and the
 * remedy; *ret_key: it is the key's fault. A certificate that is not valid yet or no longer is INVALID here, and here
 * only: a server goes on with it, because its other names must not suffer and its clients see for themselves. */
enum ficus_err tls_pair_check(const struct tls_pair *pair, int64_t wall_ms, bool *ret_key, struct ficus_error *reterr);

struct tls_server_options {
    const struct tls_pair *pairs; /* 1..TLS_PAIRS_MAX; who asks for a name that none has is answered by the first */
    size_t pair_count;
    enum tls_version min;
    const char *const *protocols; /* for ALPN, the dearest first, NULL-terminated; who offers only others is refused */
    /* Where the keys of tickets are kept (0600), so that a successor takes the sessions on; NULL: in memory. They are
     * changed every 12 hours; tickets of the one before are still good. A file that cannot be read or written costs
     * resumption, nothing else. */
    const char *tickets_file;
};

struct tls_server;

/* Reads the files. What options points to is copied or no longer needed, but tickets_file stays borrowed. */
enum ficus_err tls_server_new(struct env *e, const struct tls_server_options *options, struct tls_server **ret_server,
                              struct ficus_error *reterr);
/* Other certificates, for handshakes that begin from now on; connections go on untouched. When it fails nothing has
 * changed. */
enum ficus_err tls_server_reload(struct tls_server *v, const struct tls_pair *pairs, size_t pair_count,
                                 struct ficus_error *reterr);
/* When the first of its certificates expires, ms since 1970. */
int64_t tls_server_expires_ms(struct tls_server *v);
/* Its listeners are closed; accepted streams may live on. NULL is nothing. */
void tls_server_free(struct tls_server *v);

/* ---- clients: env.h has what they can do ---- */

/* From now on e makes TLS clients (env_tls_client_new). A program that never calls this is not linked with libssl. */
void tls_clients_enable(struct env *e);

/* Can these files be used by a client: the authorities (NULL: this machine's) and, unless certificate is NULL, that pair, at this time? As
 * tls_pair_check; *ret_file is the one that is at fault. */
enum ficus_err tls_client_check(const struct tls_client_options *options, int64_t wall_ms, const char **ret_file,
                                struct ficus_error *reterr);

#endif
