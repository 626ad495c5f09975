/* SPDX-License-Identifier: Apache-2.0
 *
 * The gateway's resolved file (run/gateway.json): what all processes share, and the gateway's own.
 */
#ifndef FICUS_PROXY_CONFIG_H
#define FICUS_PROXY_CONFIG_H

#include "process_config.h"
#include "tls.h"

enum {
    PROXY_THREADS_MAX = 64,
    PROXY_PARTS_MAX = 16,
    PROXY_SPLITS_MAX = 16,
    PROXY_CONDS_MAX = 16,
    PROXY_COND_SIZE_MAX = 1024,
    PROXY_WEIGHT_MAX = 10000,
    PROXY_FALLBACK_SIZE_MAX = 16384,
    PROXY_MEMORY_MIN = 64 * 1024 * 1024,
};

enum proxy_auth_mode {
    PROXY_AUTH_NONE,     /* a token is not looked at, nor passed on */
    PROXY_AUTH_OPTIONAL, /* without a token: nobody; a bad one is refused all the same */
    PROXY_AUTH_REQUIRED,
};

struct proxy_auth {
    const char *service, *path; /* where the JWKS is */
    const char *issuer;         /* "iss" of the tokens */
    const char *keys_file;      /* the last good JWKS; "": none is kept */
};

/* With TLS at the gateway's edge. */
struct proxy_tls {
    struct tls_pair *pairs; /* absolute paths; names that none has are answered by the first */
    size_t pair_count;
    int min;                  /* enum tls_version */
    const char *tickets_file; /* keys of the tickets by which sessions go on; "": they end with the process */
    int64_t hsts_ms;          /* Strict-Transport-Security (RFC 6797); 0: browsers are not told */
};

/* What becomes of one part of a composed answer. */
struct proxy_shape {
    const char *group;        /* its name in the answer */
    const char *const *allow; /* members of the part's object that are kept; none: all */
    size_t allow_count;
    const char *const *deny; /* members that are dropped */
    size_t deny_count;
    struct proxy_rename {
        const char *from, *to;
    } * mapping; /* members that get another name; goes after allow and deny, which count by the old one */
    size_t mapping_count;
    bool optional; /* null when it is missing; else the whole answer is a problem then */
};
extern const struct conf_table proxy_shape_table;

struct proxy_part {
    const char *service;
    const char *target; /* template: parameters of the route's path, {jwt.sub}; a fixed query */
    struct proxy_shape shape;
};

/* A header or query parameter that a request must have. */
struct proxy_cond {
    const char *name;
    const char *value; /* NULL: any */
};
/* The value of one: a text, or {present: true}. Field: const char *, NULL then. */
extern const struct conf_custom proxy_cond_custom;
/* Checks for names of headers that a route may ask for: all but those that concern the connection alone. */
const char *proxy_check_header(struct slice text);
const char *proxy_check_type(struct slice text); /* a media type */
/* "10.0.0.0/8", "fd00::/8", "192.0.2.7": a block of addresses without host bits. */
const char *proxy_check_block(struct slice text);
/* "shop.example", "*.shop.example": lower case, no port. */
const char *proxy_check_host(struct slice text);

/* One of several places among which a route's requests are split. */
struct proxy_split {
    const char *service, *target; /* as of a route */
    int64_t weight;               /* its share is weight of the sum of all */
};

/* By what a request always comes to the same part of a split. */
enum proxy_sticky_by { PROXY_STICKY_NONE, PROXY_STICKY_USER, PROXY_STICKY_COOKIE, PROXY_STICKY_HEADER };
struct proxy_sticky {
    int by;           /* enum proxy_sticky_by */
    const char *name; /* of the cookie or header; NULL: none */
    int64_t age_ms;   /* of a cookie that the gateway sets */
};
/* "user", "header NAME", "cookie NAME", "cookie NAME 30d". Field: struct proxy_sticky. */
extern const struct conf_custom proxy_sticky_custom;

/* What a route to a service answers when that is not available: the first of these that can be had. */
struct proxy_fallback {
    int64_t stale_ms;    /* the last good answer, at most so old; 0: not tried */
    const char *service; /* another service; NULL: none */
    const char *target;  /* template, as of a route */
    int64_t status;      /* a fixed answer; 0: none */
    const char *body, *type;
};

/* Where a route leads: exactly one of these is given. */
enum proxy_kind {
    PROXY_FORWARD, /* service, target; or splits */
    PROXY_COMPOSE, /* parts */
    PROXY_FILES,   /* files, page */
    PROXY_ANSWER,  /* answer */
};

/* What every request asks of its route comes first, so that it is two cache lines and not all. */
struct proxy_route {
    const char *path;                /* template: /api/v1/orders/{id}, or one that ends with "**": all below */
    const char *service;             /* NULL: none */
    int64_t timeout_ms;
    int64_t body_size_max;           /* of a request; over it 413 */
    int auth;                        /* enum proxy_auth_mode */
    bool websocket;                  /* a request may become one; only to a service */
    size_t role_count;
    size_t split_count;
    struct proxy_fallback *fallback; /* NULL: none */
    size_t part_count;
    const char *files;               /* absolute folder; NULL: none */
    int64_t answer;                  /* status of a problem that is all this route says; 0: none */

    const char *method;         /* "" any */
    const char *host;           /* "shop.example", "*.shop.example" (at least one more label); NULL: any */
    struct proxy_cond *headers; /* all of them must be there; names without case */
    size_t header_count;
    struct proxy_cond *query; /* likewise, of the query's parameters */
    size_t query_count;
    const char *target;         /* template of the service's path, parameters from path */
    struct proxy_split *splits; /* none: not split */
    struct proxy_sticky sticky;
    struct proxy_part *parts; /* asked all at once; none: not composed */
    const char *page;         /* file in files that is shown for pages without one of their own; NULL: none */
    const char *const *roles; /* any of them; none: all users */
};

/* What a client may take of the gateway; http_limits (http/http_server.h) says what each means. */
struct proxy_limits {
    int64_t head_size_max, field_count_max, target_size_max;
    int64_t conn_count_max; /* fewer when there are not enough file descriptors */
    int64_t conn_request_count_max; /* 0: no limit */
    int64_t head_ms, idle_ms, body_ms;
};
extern const struct conf_table proxy_limits_table;

/* When the gateway counts as overloaded, and refuses new requests (overload.h). */
struct proxy_overload {
    int64_t lag_ms;     /* of its loop; 0: it does not matter */
    int64_t memory_max; /* resident bytes; 0: no ceiling */
};
extern const struct conf_table proxy_overload_table;

struct proxy_config {
    struct process_config common; /* first: process_config_read counts on it */
    const char *const *listen;
    size_t listen_count;
    const char *admin;        /* address for operators (admin.c); "": none */
    int64_t threads;          /* 1..PROXY_THREADS_MAX: that serve clients */
    const char *const *hosts; /* accepted in Host; a name, or name:port */
    size_t host_count;
    int64_t timeout_ms;
    struct proxy_tls *tls;   /* NULL: plain HTTP */
    struct proxy_limits limits;
    struct proxy_overload overload;
    const char *const *trusted_proxies; /* CIDR blocks whose X-Forwarded-* are believed (filter_forwarded.c) */
    size_t trusted_count;
    struct proxy_auth *auth; /* NULL: no route looks at tokens */
    struct proxy_route *routes;
    size_t route_count;
};

static inline enum proxy_kind proxy_route_kind(const struct proxy_route *r)
{
    return r->part_count > 0  ? PROXY_COMPOSE
           : r->files != NULL ? PROXY_FILES
           : r->answer != 0   ? PROXY_ANSWER
                              : PROXY_FORWARD;
}

/* It will be asked soon: with thousands of routes it is in no cache, and its lines had better come at once than one by one. */
static inline void proxy_route_soon(const struct proxy_route *r)
{
    __builtin_prefetch(r);
    __builtin_prefetch(&r->fallback);
    __builtin_prefetch(&r->answer);
}

extern const struct conf_table proxy_config_table, proxy_route_table;

#endif
