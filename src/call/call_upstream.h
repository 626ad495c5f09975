/* SPDX-License-Identifier: Apache-2.0
 *
 * A callee that Ficus does not start: where it is, and whom to believe there. The words of a service with `url:` in the
 * manifest, as the resolved files of its callers have them; docs/upstreams.md says what they do.
 */
#ifndef FICUS_CALL_UPSTREAM_H
#define FICUS_CALL_UPSTREAM_H

#include "conf.h"
#include "env.h"

/* What is spoken there, in the words of ALPN (RFC 7301; h2c is HTTP/2 without TLS, with prior knowledge). */
enum call_protocol { CALL_PROTOCOL_ANY = -1, CALL_PROTOCOL_HTTP1, CALL_PROTOCOL_H2, CALL_PROTOCOL_H2C };
extern const char *const call_protocol_words[];

struct call_upstream {
    const char *url;               /* "https://bank.example:8443"; http: plain */
    int protocol;                  /* enum call_protocol; ANY: HTTP/1.1, with https what is agreed on by ALPN */
    const char *name;              /* who it must be; NULL: the host of the url */
    const char *ca;                /* PEM file of those who may say so; NULL: whom this machine believes */
    const char *certificate, *key; /* PEM files: who we are; NULL: nobody */
};

extern const struct conf_table call_upstream_table;

struct call_url {
    bool secure;
    bool is_six;           /* host is an IPv6 address, without its brackets */
    bool is_name;          /* host has to be looked up */
    struct slice host;
    struct slice authority; /* host and port as written */
    uint16_t port;         /* 443 and 80 when it says none */
};
/* False: not http:// or https:// with a numeric address or a name (RFC 1123 section 2.1) and perhaps a port, and nothing behind it. */
bool call_url_parse(struct slice text, struct call_url *ret_url);
/* For tables: NULL, or what is allowed. */
const char *call_url_check(struct slice text);

enum { CALL_ADDRESS_SIZE = 72 };
/* An address for env_connect out of a numeric host, without brackets. */
void call_url_address(struct slice host, uint16_t port, char ret_address[CALL_ADDRESS_SIZE]);

/* NOMEM leaves *ret_copy alone. upstream NULL: so is the copy. */
enum ficus_err call_upstream_copy(const struct call_upstream *upstream, struct call_upstream **ret_copy);
void call_upstream_free(struct call_upstream *copy);

#endif
