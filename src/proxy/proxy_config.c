/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of struct proxy_config.
 */
#include "proxy_config.h"

static const char *const auth_words[] = {"none", "optional", "required", NULL};

static const char *check_absolute(struct slice text)
{
    return text.size > 0 && text.p[0] == '/' ? NULL : "an absolute path";
}

static const struct conf_setting address_item = {.name = "address", .type = CONF_STRING, .min = 1, .max = 200, .doc = "fd:N, unix:PATH or tcp:IP:PORT."};
static const struct conf_setting host_item = {.name = "host", .type = CONF_STRING, .min = 1, .max = 300, .doc = "A Host field."};
static const struct conf_setting role_item = {.name = "role", .type = CONF_STRING, .min = 1, .max = 63, .doc = "A role."};

static const struct conf_setting route_settings[] = {
    {.name = "method", .type = CONF_STRING, CONF_AT(struct proxy_route, method), .min = 0, .max = 16, .fallback_text = "", .doc = "HTTP method; empty: any."},
    {.name = "path", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct proxy_route, path), .min = 1, .max = 512, .check = check_absolute,
     .example = "/api/v1/orders/{id}", .doc = "Path template of clients."},
    {.name = "service", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct proxy_route, service), .min = 1, .max = 63,
     .check = conf_check_name, .example = "orders", .doc = "Who answers."},
    {.name = "target", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct proxy_route, target), .min = 1, .max = 512, .check = check_absolute,
     .example = "/v1/orders/{id}", .doc = "Path template there."},
    {.name = "auth", .type = CONF_ENUM, CONF_AT(struct proxy_route, auth), .words = auth_words, .fallback = PROXY_AUTH_NONE, .doc = "Whether a token is asked for."},
    {.name = "roles", .type = CONF_LIST, CONF_LIST_AT(struct proxy_route, roles, role_count), .item = &role_item, .doc = "One of them is needed."},
    {.name = "timeout", .type = CONF_DURATION, CONF_AT(struct proxy_route, timeout_ms), .min = 1, .max = 600000, .fallback = 10000, .doc = "Of the whole request."},
};
static const struct conf_table route_table = CONF_TABLE_OF("gateway route", struct proxy_route, route_settings);
static const struct conf_setting route_item = {.name = "route", .type = CONF_TABLE, .table = &route_table, .doc = "A route."};

static const struct conf_setting auth_settings[] = {
    {.name = "service", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct proxy_auth, service), .min = 1, .max = 63, .check = conf_check_name,
     .example = "identity", .doc = "Who has the key set."},
    {.name = "path", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct proxy_auth, path), .min = 1, .max = 512, .check = check_absolute,
     .example = "/.well-known/jwks.json", .doc = "Its path there."},
    {.name = "issuer", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct proxy_auth, issuer), .min = 1, .max = 256, .doc = "Issuer of the tokens."},
    {.name = "keys_file", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct proxy_auth, keys_file), .min = 1, .max = 1024, .check = check_absolute,
     .example = "/var/lib/shop/run/gateway.jwks.json", .doc = "Where the last good key set is kept."},
};
static const struct conf_table auth_table = CONF_TABLE_OF("gateway auth", struct proxy_auth, auth_settings);

static const struct conf_setting proxy_settings[] = {
    {.name = "common", .type = CONF_INLINE, CONF_AT(struct proxy_config, common), .table = &process_config_table, .doc = "What all processes share."},
    {.name = "listen", .type = CONF_LIST, .flags = CONF_REQUIRED | CONF_NOT_EMPTY, CONF_LIST_AT(struct proxy_config, listen, listen_count),
     .item = &address_item, .doc = "Where clients come in."},
    {.name = "hosts", .type = CONF_LIST, CONF_LIST_AT(struct proxy_config, hosts, host_count), .item = &host_item, .doc = "Accepted Host fields."},
    {.name = "auth", .type = CONF_TABLE_PTR, CONF_AT(struct proxy_config, auth), .table = &auth_table, .doc = "How users are known."},
    {.name = "routes", .type = CONF_LIST, CONF_LIST_AT(struct proxy_config, routes, route_count), .item = &route_item, .doc = "All routes."},
};

const struct conf_table proxy_config_table = CONF_TABLE_OF("gateway", struct proxy_config, proxy_settings);
