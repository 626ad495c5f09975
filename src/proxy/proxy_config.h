/* SPDX-License-Identifier: Apache-2.0
 *
 * The gateway's resolved file (run/gateway.json): what all processes share, and what only the gateway has.
 */
#ifndef FICUS_PROXY_PROXY_CONFIG_H
#define FICUS_PROXY_PROXY_CONFIG_H

#include "process_config.h"

enum proxy_auth_mode { PROXY_AUTH_NONE, PROXY_AUTH_OPTIONAL, PROXY_AUTH_REQUIRED };

struct proxy_route {
    const char *method;             /* "POST"; "": any */
    const char *path;               /* template: "/api/v1/orders/{id}"; "**" as last segment: the rest */
    const char *service;
    const char *target;             /* template of the path there; every {name} of it occurs in path */
    int auth;                       /* enum proxy_auth_mode */
    const char *const *roles;       /* one of them is needed; none: any user */
    size_t role_count;
    int64_t timeout_ms;             /* of the whole request */
};

struct proxy_auth {
    const char *service, *path;     /* where the key set is fetched */
    const char *issuer;
    const char *keys_file;          /* absolute: last good key set */
};

struct proxy_config {
    struct process_config common;   /* first: process_config_read counts on it */
    const char *const *listen;      /* addresses of env_listen */
    size_t listen_count;
    const char *const *hosts;       /* accepted Host fields: authority as clients send it, lower case, with port unless it is the scheme's own */
    size_t host_count;
    struct proxy_auth *auth;        /* NULL: no route asks for it */
    struct proxy_route *routes;
    size_t route_count;
};

extern const struct conf_table proxy_config_table;

#endif
