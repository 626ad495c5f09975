/* SPDX-License-Identifier: Apache-2.0
 *
 * The one line that remains of a request: event "gateway.request", level info (debug for probes and scrapes). Its members
 * and the words of its member "flags" are tables, which docs/gateway.md repeats and a test compares.
 */
#ifndef FICUS_PROXY_ACCESS_LOG_H
#define FICUS_PROXY_ACCESS_LOG_H

#include "err.h"

#include <stddef.h>
#include <stdint.h>

struct proxy;
struct proxy_request;

/* Why an answer is not what the client hoped for; bits of proxy_request.flags. */
enum access_flag {
    ACCESS_NR = 1,
    ACCESS_UH = 2,
    ACCESS_UO = 4,
    ACCESS_UF = 8,
    ACCESS_UC = 16,
    ACCESS_UT = 32,
    ACCESS_UPE = 64,
    ACCESS_URX = 128,
    ACCESS_DC = 256,
    ACCESS_DT = 512,
    ACCESS_DPE = 1024,
    ACCESS_UAEX = 2048,
    ACCESS_OM = 4096,
};

struct access_word {
    const char *name, *doc;
};

extern const struct access_word access_flags[]; /* in the order of the bits */
extern const size_t access_flag_count, access_field_count;
struct access_word access_field(size_t i);

/* Once, when the proxy has its log. */
void access_log_init(struct proxy *p);
/* A call for this request has failed with err after so many attempts (0: none was made). */
void access_note_call(struct proxy_request *q, const char *service, enum ficus_err err, unsigned attempts);
/* The client's side has ended the exchange with err. */
void access_note_client(struct proxy_request *q, enum ficus_err err);
/* ns: from the head of the request to now; added_ns: of these, in our own hands; < 0: no answer was begun. */
void access_log(const struct proxy_request *q, const char *route, int64_t ns, int64_t added_ns);

#endif
