/* SPDX-License-Identifier: Apache-2.0
 *
 * The one list of errors. A code is coarse and stable; what happened exactly goes into the message of
 * struct ficus_error, which every layer may wrap with its own context, outermost first:
 * "open store: orders.db: read-only file system". Library code returns errors and never logs them.
 */
#ifndef FICUS_BASE_ERR_H
#define FICUS_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>

/* X(NAME, text, HTTP status, exit code). Order is part of the ABI: append only. */
#define FICUS_ERR_LIST(X)                                                                          \
    X(OK, "success", 200, 0)                                                                       \
    X(NOMEM, "out of memory", 503, 1)                                                              \
    X(INVALID, "invalid argument or input", 400, 2)                                                \
    X(PARSE, "malformed input", 400, 2)                                                            \
    X(TOO_LARGE, "over a limit", 413, 2)                                                           \
    X(NOT_FOUND, "not found", 404, 1)                                                              \
    X(EXISTS, "already there", 409, 1)                                                             \
    X(CONFLICT, "conflict with the present state", 409, 1)                                         \
    X(DENIED, "not permitted", 403, 1)                                                             \
    X(UNAUTHENTICATED, "not authenticated", 401, 1)                                                \
    X(TIMEOUT, "deadline passed", 504, 1)                                                          \
    X(CANCELLED, "cancelled", 499, 1)                                                              \
    X(REFUSED, "connection refused", 503, 1)                                                       \
    X(RESET, "connection lost", 502, 1)                                                            \
    X(UNAVAILABLE, "unavailable", 503, 1)                                                          \
    X(BUSY, "busy", 503, 1)                                                                        \
    X(IO, "input/output error", 500, 1)                                                            \
    X(FULL, "no space left", 507, 1)                                                               \
    X(READ_ONLY, "storage is read-only", 503, 1)                                                   \
    X(CORRUPT, "stored data is damaged", 500, 1)                                                   \
    X(VERSION, "made by a newer version", 500, 1)                                                  \
    X(PROTOCOL, "the peer broke the protocol", 502, 1)                                             \
    X(EOF, "end of input", 502, 1)                                                                 \
    X(UNSUPPORTED, "not supported by this version", 501, 2)                                        \
    X(INTERNAL, "internal error", 500, 1)                                                          \
    X(MISSING, "stored data is missing", 503, 1)

enum ficus_err {
#define X(name, text, http, code) FICUS_ERR_##name,
    FICUS_ERR_LIST(X)
#undef X
    FICUS_ERR_COUNT
};

enum { FICUS_ERROR_TEXT_MAX = 512 };

/* Detail beside a code. Zero-initialise; owned by the caller, usually on its stack. */
struct ficus_error {
    enum ficus_err code;
    int sys_errno;                      /* errno at the place of the failure, or 0 */
    char text[FICUS_ERROR_TEXT_MAX];    /* NUL-terminated, never empty after err_set */
};

/* The fixed text, HTTP status (RFC 9110) or process exit code of a code. Pure. */
const char *err_text(enum ficus_err code);
int err_http_status(enum ficus_err code);
int err_exit_code(enum ficus_err code);

/* The code that fits an errno (ENOSPC -> FULL, EROFS -> READ_ONLY, ECONNREFUSED -> REFUSED, ...). */
enum ficus_err err_from_errno(int sys_errno);

/* Fill *reterr (may be NULL) and return code, so that "return err_set(...)" is one statement. Text is cut, never overrun. */
enum ficus_err err_set(struct ficus_error *reterr, enum ficus_err code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As err_set, for a failed system call: code from errno, ": strerror" appended. */
enum ficus_err err_sys(struct ficus_error *reterr, int sys_errno, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "context: " before the text; keeps and returns the code. */
enum ficus_err err_wrap(struct ficus_error *reterr, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
