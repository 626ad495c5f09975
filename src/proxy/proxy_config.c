/* SPDX-License-Identifier: Apache-2.0
 *
 * See proxy_config.h.
 */
#include "proxy_config.h"

static const char *const auth_words[] = {"none", "optional", "required", NULL};
static const char *const version_words[] = {"1.2", "1.3", NULL}; /* enum tls_version */

static const char *check_path(struct slice text)
{
    return text.size > 0 && text.p[0] == '/' ? NULL : "a path that begins with /";
}

static const struct conf_setting address_item = {
    .name = "address",
    .type = CONF_STRING,
    .min = 1,
    .max = 200,
    .doc = "An address: fd:3, unix:/path or tcp:127.0.0.1:8080.",
};

static const struct conf_setting host_item = {
    .name = "host",
    .type = CONF_STRING,
    .min = 1,
    .max = 255,
    .doc = "What a client may send as Host: name, or name:port.",
};

static const struct conf_setting role_item = {
    .name = "role",
    .type = CONF_STRING,
    .min = 1,
    .max = 64,
    .doc = "A role of users.",
};

static const struct conf_setting auth_settings[] = {
    {.name = "service",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct proxy_auth, service),
     .min = 1,
     .max = 63,
     .check = conf_check_name,
     .example = "identity",
     .doc = "The service that has the keys of the tokens."},
    {.name = "path",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct proxy_auth, path),
     .min = 1,
     .max = 1024,
     .check = check_path,
     .example = "/.well-known/jwks.json",
     .doc = "The path of its JWKS."},
    {.name = "issuer",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct proxy_auth, issuer),
     .min = 1,
     .max = 256,
     .doc = "What the claim iss must be."},
    {.name = "keys_file",
     .type = CONF_STRING,
     CONF_AT(struct proxy_auth, keys_file),
     .min = 0,
     .max = 1024,
     .fallback_text = "",
     .doc = "Where the last good JWKS is kept; empty: nowhere."},
};

static const struct conf_table auth_table = CONF_TABLE_OF("gateway auth", struct proxy_auth, auth_settings);

/* ---- tls ---- */

static const struct conf_setting pair_settings[] = {
    {.name = "certificate",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct tls_pair, certificate),
     .min = 1,
     .max = 4096,
     .check = check_path,
     .example = "/etc/shop/shop.pem",
     .doc = "PEM file of the certificate and its chain."},
    {.name = "key",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct tls_pair, key),
     .min = 1,
     .max = 4096,
     .check = check_path,
     .example = "/etc/shop/shop.key",
     .doc = "PEM file of its key."},
};

static const struct conf_table pair_table = CONF_TABLE_OF("gateway certificate", struct tls_pair, pair_settings);

static const struct conf_setting pair_item = {
    .name = "certificate", .type = CONF_TABLE, .table = &pair_table, .doc = "A certificate."};

static const struct conf_setting tls_settings[] = {
    {.name = "certificates",
     .type = CONF_LIST,
     .flags = CONF_REQUIRED | CONF_NOT_EMPTY,
     CONF_LIST_AT(struct proxy_tls, pairs, pair_count),
     .item = &pair_item,
     .doc = "Who the gateway is, by the name that a client asks for; the first for all others."},
    {.name = "min",
     .type = CONF_ENUM,
     CONF_AT(struct proxy_tls, min),
     .words = version_words,
     .fallback = TLS_1_2,
     .doc = "The oldest version that is spoken."},
    {.name = "tickets_file",
     .type = CONF_STRING,
     CONF_AT(struct proxy_tls, tickets_file),
     .min = 0,
     .max = 1024,
     .fallback_text = "",
     .doc = "Where the keys of session tickets are kept; empty: nowhere."},
    {.name = "hsts",
     .type = CONF_DURATION,
     CONF_AT(struct proxy_tls, hsts_ms),
     .min = 0,
     .max = INT64_C(2) * 365 * 86400 * 1000,
     .fallback = 0,
     .doc = "For how long browsers must come by TLS only; 0: they are not told."},
};

static const struct conf_table tls_table = CONF_TABLE_OF("gateway tls", struct proxy_tls, tls_settings);

/* ---- parts of a composed answer ---- */

static const struct conf_setting member_item = {
    .name = "member",
    .type = CONF_STRING,
    .min = 1,
    .max = 128,
    .doc = "A member of the part's object.",
};

static const struct conf_setting rename_item = {
    .name = "member",
    .type = CONF_STRING,
    CONF_AT(struct proxy_rename, to),
    .min = 1,
    .max = 128,
    .doc = "Its name in the answer.",
};

static const struct conf_setting shape_settings[] = {
    {.name = "group",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct proxy_shape, group),
     .min = 1,
     .max = 64,
     .doc = "The part's name in the answer."},
    {.name = "allow",
     .type = CONF_LIST,
     CONF_LIST_AT(struct proxy_shape, allow, allow_count),
     .item = &member_item,
     .doc = "Members of the part's object that are kept; absent: all."},
    {.name = "deny",
     .type = CONF_LIST,
     CONF_LIST_AT(struct proxy_shape, deny, deny_count),
     .item = &member_item,
     .doc = "Members that are dropped."},
    {.name = "mapping",
     .type = CONF_MAP,
     CONF_MAP_AT(struct proxy_shape, mapping, mapping_count, struct proxy_rename, from),
     .item = &rename_item,
     .max = 128,
     .doc = "Members that get another name."},
    {.name = "optional",
     .type = CONF_BOOL,
     CONF_AT(struct proxy_shape, optional),
     .fallback = false,
     .doc = "Without it the answer is still one: the part is null then, and Ficus-Complete says false."},
};

static void check_shape(const struct conf_node *node, void *value, struct conf_errors *errors)
{
    const struct proxy_shape *s = value;
    for (size_t i = 0; i < s->mapping_count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(s->mapping[i].to, s->mapping[k].to) == 0)
                conf_error_value(errors, conf_get(conf_get(node, "mapping"), s->mapping[i].from),
                                 "\"%s\" becomes \"%s\" as well", s->mapping[k].from, s->mapping[k].to);
}

const struct conf_table proxy_shape_table = {.name = "shape",
                                             .size = sizeof(struct proxy_shape),
                                             .settings = shape_settings,
                                             .count = sizeof shape_settings / sizeof shape_settings[0],
                                             .check = check_shape};

static const struct conf_setting part_settings[] = {
    {.name = "service",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct proxy_part, service),
     .min = 1,
     .max = 63,
     .check = conf_check_name,
     .example = "orders",
     .doc = "The service that has the part."},
    {.name = "target",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct proxy_part, target),
     .min = 1,
     .max = 1024,
     .check = check_path,
     .example = "\"/v1/orders?limit=5\"",
     .doc = "Template of the path there."},
    {.name = "shape",
     .type = CONF_INLINE,
     CONF_AT(struct proxy_part, shape),
     .table = &proxy_shape_table,
     .doc = "What becomes of it."},
};

static const struct conf_table part_table = CONF_TABLE_OF("gateway part", struct proxy_part, part_settings);

static const struct conf_setting part_item = {
    .name = "part", .type = CONF_TABLE, .table = &part_table, .doc = "A part of the answer."};

/* ---- routes ---- */

static const struct conf_setting route_settings[] = {
    {.name = "method",
     .type = CONF_STRING,
     CONF_AT(struct proxy_route, method),
     .min = 0,
     .max = 32,
     .fallback_text = "",
     .doc = "The method; empty: any."},
    {.name = "path",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct proxy_route, path),
     .min = 1,
     .max = 1024,
     .check = check_path,
     .example = "\"/api/v1/orders/{id}\"",
     .doc = "Template of the public path."},
    {.name = "service",
     .type = CONF_STRING,
     CONF_AT(struct proxy_route, service),
     .min = 1,
     .max = 63,
     .check = conf_check_name,
     .example = "orders",
     .doc = "The service that answers."},
    {.name = "target",
     .type = CONF_STRING,
     CONF_AT(struct proxy_route, target),
     .min = 1,
     .max = 1024,
     .check = check_path,
     .example = "\"/v1/orders/{id}\"",
     .doc = "Template of the path at the service."},
    {.name = "compose",
     .type = CONF_LIST,
     CONF_LIST_AT(struct proxy_route, parts, part_count),
     .item = &part_item,
     .doc = "The parts of which the answer is made."},
    {.name = "files",
     .type = CONF_STRING,
     CONF_AT(struct proxy_route, files),
     .min = 1,
     .max = 4096,
     .check = check_path,
     .example = "/srv/storefront",
     .doc = "Folder whose files are served, absolute."},
    {.name = "fallback",
     .type = CONF_STRING,
     CONF_AT(struct proxy_route, fallback),
     .min = 1,
     .max = 1024,
     .doc = "File of that folder for pages without one of their own."},
    {.name = "answer",
     .type = CONF_INT,
     CONF_AT(struct proxy_route, answer),
     .min = 400,
     .max = 599,
     .fallback = 0,
     .doc = "Status that the gateway answers by itself, as a problem."},
    {.name = "auth",
     .type = CONF_ENUM,
     CONF_AT(struct proxy_route, auth),
     .words = auth_words,
     .fallback = PROXY_AUTH_NONE,
     .doc = "Whether a user's token is needed."},
    {.name = "roles",
     .type = CONF_LIST,
     CONF_LIST_AT(struct proxy_route, roles, role_count),
     .item = &role_item,
     .doc = "Only users with one of these roles; empty: all."},
    {.name = "timeout",
     .type = CONF_DURATION,
     CONF_AT(struct proxy_route, timeout_ms),
     .min = 1,
     .max = 600000,
     .fallback = 10000,
     .doc = "How long the service may take for the whole answer."},
    {.name = "body_max",
     .type = CONF_SIZE,
     CONF_AT(struct proxy_route, body_size_max),
     .min = 1,
     .max = INT64_C(1) << 40,
     .fallback = 1024 * 1024,
     .doc = "Largest body of a request."},
};

static void check_route(const struct conf_node *node, void *value, struct conf_errors *errors)
{
    const struct proxy_route *r = value;
    if ((r->service != NULL) + (r->part_count > 0) + (r->files != NULL) + (r->answer != 0) != 1 ||
        (r->service == NULL) != (r->target == NULL))
        conf_error_value(errors, node, "has to lead to one place: service and target, compose, files or answer");
    if (r->part_count > PROXY_PARTS_MAX)
        conf_error_value(errors, node, "has more than %d parts", PROXY_PARTS_MAX);
    if (r->files != NULL && !slice_ends(slice_str(r->path), SLICE("/**")))
        conf_error_value(errors, node, "files need a path that ends in /**");
}

static const struct conf_table route_table = {.name = "gateway route",
                                              .size = sizeof(struct proxy_route),
                                              .settings = route_settings,
                                              .count = sizeof route_settings / sizeof route_settings[0],
                                              .check = check_route};

static const struct conf_setting route_item = {
    .name = "route", .type = CONF_TABLE, .table = &route_table, .doc = "A route."};

static const struct conf_setting proxy_settings[] = {
    {.name = "common",
     .type = CONF_INLINE,
     CONF_AT(struct proxy_config, common),
     .table = &process_config_table,
     .doc = "What all processes share."},
    {.name = "listen",
     .type = CONF_LIST,
     .flags = CONF_REQUIRED | CONF_NOT_EMPTY,
     CONF_LIST_AT(struct proxy_config, listen, listen_count),
     .item = &address_item,
     .doc = "Where clients reach the gateway."},
    {.name = "hosts",
     .type = CONF_LIST,
     CONF_LIST_AT(struct proxy_config, hosts, host_count),
     .item = &host_item,
     .doc = "Accepted values of Host; requests with another get 421."},
    {.name = "timeout",
     .type = CONF_DURATION,
     CONF_AT(struct proxy_config, timeout_ms),
     .min = 1,
     .max = 600000,
     .fallback = 10000,
     .doc = "For requests whose route is not known yet."},
    {.name = "tls",
     .type = CONF_TABLE_PTR,
     CONF_AT(struct proxy_config, tls),
     .table = &tls_table,
     .doc = "TLS towards clients; absent: plain HTTP."},
    {.name = "auth",
     .type = CONF_TABLE_PTR,
     CONF_AT(struct proxy_config, auth),
     .table = &auth_table,
     .doc = "Whose tokens are accepted."},
    {.name = "routes",
     .type = CONF_LIST,
     CONF_LIST_AT(struct proxy_config, routes, route_count),
     .item = &route_item,
     .doc = "What leads where."},
};

const struct conf_table proxy_config_table = CONF_TABLE_OF("gateway", struct proxy_config, proxy_settings);
