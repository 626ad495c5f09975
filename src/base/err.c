/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables behind enum ficus_err and the filling of struct ficus_error.
 */
#include "err.h"

#include "assert.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *text;
    int http, exit_code;
} err_table[] = {
#define X(name, text, http, code) {text, http, code},
    FICUS_ERR_LIST(X)
#undef X
};

const char *err_text(enum ficus_err code)
{
    return (unsigned)code < FICUS_ERR_COUNT ? err_table[code].text : "unknown error";
}

int err_http_status(enum ficus_err code)
{
    return (unsigned)code < FICUS_ERR_COUNT ? err_table[code].http : 500;
}

int err_exit_code(enum ficus_err code)
{
    return (unsigned)code < FICUS_ERR_COUNT ? err_table[code].exit_code : 1;
}

enum ficus_err err_from_errno(int sys_errno)
{
    switch (sys_errno) {
    case 0: return FICUS_ERR_OK;
    case ENOMEM: return FICUS_ERR_NOMEM;
    case EINVAL: case EBADF: case ENOTDIR: case EISDIR: return FICUS_ERR_INVALID;
    case ENAMETOOLONG: case E2BIG: case EFBIG: case EMSGSIZE: return FICUS_ERR_TOO_LARGE;
    case ENOENT: case ESRCH: case ENXIO: return FICUS_ERR_NOT_FOUND;
    case EEXIST: case ENOTEMPTY: return FICUS_ERR_EXISTS;
    case EACCES: case EPERM: return FICUS_ERR_DENIED;
    case ETIMEDOUT: return FICUS_ERR_TIMEOUT;
    case ECANCELED: return FICUS_ERR_CANCELLED;
    case ECONNREFUSED: return FICUS_ERR_REFUSED;
    case ECONNRESET: case EPIPE: case ECONNABORTED: case ENOTCONN: return FICUS_ERR_RESET;
    case ENETUNREACH: case EHOSTUNREACH: case ENETDOWN: case EADDRNOTAVAIL: return FICUS_ERR_UNAVAILABLE;
    case EAGAIN: case EBUSY: case ETXTBSY: case EADDRINUSE: case EMFILE: case ENFILE: return FICUS_ERR_BUSY;
    case ENOSPC: case EDQUOT: return FICUS_ERR_FULL;
    case EROFS: return FICUS_ERR_READ_ONLY;
    case ENOSYS: case EOPNOTSUPP: case EAFNOSUPPORT: return FICUS_ERR_UNSUPPORTED;
    case EPROTO: return FICUS_ERR_PROTOCOL;
    default: return FICUS_ERR_IO;
    }
}

enum ficus_err err_set(struct ficus_error *reterr, enum ficus_err code, const char *format, ...)
{
    FICUS_ASSERT(code != FICUS_ERR_OK);
    if (reterr == NULL)
        return code;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(reterr->text, sizeof reterr->text, format, args);
    va_end(args);
    if (n <= 0)
        (void)snprintf(reterr->text, sizeof reterr->text, "%s", err_text(code));
    reterr->code = code;
    reterr->sys_errno = 0;
    return code;
}

enum ficus_err err_sys(struct ficus_error *reterr, int sys_errno, const char *format, ...)
{
    enum ficus_err code = err_from_errno(sys_errno);
    if (code == FICUS_ERR_OK)
        code = FICUS_ERR_INTERNAL;
    if (reterr == NULL)
        return code;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(reterr->text, sizeof reterr->text, format, args);
    va_end(args);
    size_t used = n < 0 ? 0 : (size_t)n < sizeof reterr->text ? (size_t)n : sizeof reterr->text - 1;
    char detail[128];
    (void)snprintf(reterr->text + used, sizeof reterr->text - used, "%s%s", used > 0 ? ": " : "",
                   strerror_r(sys_errno, detail, sizeof detail));
    reterr->code = code;
    reterr->sys_errno = sys_errno;
    return code;
}

enum ficus_err err_wrap(struct ficus_error *reterr, const char *format, ...)
{
    if (reterr == NULL)
        return FICUS_ERR_INTERNAL;
    char before[FICUS_ERROR_TEXT_MAX];
    memcpy(before, reterr->text, sizeof before);
    before[sizeof before - 1] = '\0';
    va_list args;
    va_start(args, format);
    int n = vsnprintf(reterr->text, sizeof reterr->text, format, args);
    va_end(args);
    size_t used = n < 0 ? 0 : (size_t)n < sizeof reterr->text ? (size_t)n : sizeof reterr->text - 1;
    const char *inner = before[0] != '\0' ? before : err_text(reterr->code);
    size_t room = sizeof reterr->text - used;
    if (room > 2) {
        reterr->text[used++] = ':';
        reterr->text[used++] = ' ';
        size_t size = strnlen(inner, room - 3);
        memcpy(reterr->text + used, inner, size);
        reterr->text[used + size] = '\0';
    }
    return reterr->code;
}
