/* SPDX-License-Identifier: Apache-2.0
 *
 * See proxy_config.h.
 */
#include "proxy_config.h"

#include "address_block.h"
#include "http_server.h"
#include "mem.h"
#include "timefmt.h"

#include <stdio.h>

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

/* ---- what a route asks of a request ---- */

const char *proxy_check_header(struct slice text)
{
    /* Those that the codec keeps to itself would never be found. */
    static const char *const own[] = {"connection", "keep-alive", "proxy-connection",  "te",
                                      "trailer",    "upgrade",    "transfer-encoding", "content-length"};
    if (slice_eq_nocase(text, SLICE("host")))
        return "a header but Host, for which there is the word host";
    for (size_t i = 0; i < ARRAY_COUNT(own); i++)
        if (slice_eq_nocase(text, slice_str(own[i])))
            return "a header that does not concern the connection alone";
    return http_token_valid(text) ? NULL : "a name of a header such as X-Beta";
}

static bool label_valid(struct slice s)
{
    for (size_t i = 0; i < s.size; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && i > 0 && i + 1 < s.size)))
            return false;
    }
    return s.size > 0 && s.size <= 63;
}

const char *proxy_check_host(struct slice text)
{
    struct slice rest = slice_starts(text, SLICE("*.")) ? slice_from(text, 2) : text;
    while (rest.p != NULL)
        if (!label_valid(slice_cut(&rest, '.')))
            return "a host name such as shop.example or *.shop.example, in lower case, without a port";
    return NULL;
}

const char *proxy_check_block(struct slice text)
{
    struct address_block block;
    return address_block_parse(text, &block) ? NULL : "a block of addresses such as 10.0.0.0/8 or fd00::/8, or one address";
}

const char *proxy_check_type(struct slice text)
{
    struct slice rest = text, media = slice_cut(&rest, ';'), sub = media;
    struct slice type = slice_cut(&sub, '/');
    bool ok = http_token_valid(type) && sub.p != NULL && http_token_valid(slice_trim(sub)) && http_value_valid(text);
    return ok ? NULL : "a media type such as application/json";
}

#define COND_ALLOWED "a text, or {present: true}"

static bool cond_decode(const struct conf_setting *s, const struct conf_node *node, void *field, struct arena *a,
                        struct conf_errors *errors)
{
    (void)s;
    const struct conf_node *present = conf_get(node, "present");
    const char **value = field;
    *value = NULL;
    if (node->kind == CONF_MAP_NODE && node->count == 1 && present != NULL && present->kind == CONF_SCALAR &&
        !present->quoted && slice_eq_str(present->text, "true"))
        return true;
    if (node->kind != CONF_SCALAR || node->text.size > PROXY_COND_SIZE_MAX || !http_value_valid(node->text)) {
        conf_error_value(errors, node, "found %s, expected " COND_ALLOWED,
                         node->kind == CONF_SCALAR ? "a text that is too long or has control characters"
                         : node->kind == CONF_NULL ? "nothing"
                                                   : "a list or map");
        return false;
    }
    *value = arena_strdup(a, node->text);
    if (*value == NULL)
        conf_error_value(errors, node, "out of memory");
    return *value != NULL;
}

static void cond_encode(const struct conf_setting *s, const void *field, struct json_writer *w)
{
    (void)s;
    const char *value = *(const char *const *)field;
    if (value == NULL)
        json_write_raw(w, SLICE("{\"present\":true}"));
    else
        json_write_str(w, value);
}

const struct conf_custom proxy_cond_custom = {
    .decode = cond_decode,
    .encode = cond_encode,
    .size = sizeof(const char *),
    .schema = "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"object\",\"required\":[\"present\"],"
              "\"additionalProperties\":false,"
              "\"properties\":{\"present\":{\"const\":true}}}]}",
    .allowed = COND_ALLOWED,
    .wrong = NULL, /* every plain scalar is a text */
    .example = "\"1\"",
};

static const struct conf_setting cond_item = {
    .name = "value",
    .type = CONF_CUSTOM,
    CONF_AT(struct proxy_cond, value),
    .custom = &proxy_cond_custom,
    .doc = "What it must be.",
};

/* ---- splits ---- */

#define STICKY_ALLOWED "user, header NAME, cookie NAME, or with the cookie's life: cookie NAME 30d"
#define DAY_MS (INT64_C(24) * 3600 * 1000)

static bool sticky_read(struct slice rest, struct slice *ret_name, struct proxy_sticky *ret_sticky)
{
    struct slice by = slice_cut(&rest, ' ');
    *ret_name = rest;
    if (slice_eq_str(by, "user")) {
        ret_sticky->by = PROXY_STICKY_USER;
        return rest.p == NULL;
    }
    if (slice_eq_str(by, "header")) {
        ret_sticky->by = PROXY_STICKY_HEADER;
        return rest.p != NULL && rest.size <= 128 && proxy_check_header(rest) == NULL;
    }
    *ret_name = slice_cut(&rest, ' ');
    ret_sticky->by = PROXY_STICKY_COOKIE;
    ret_sticky->age_ms = DAY_MS;
    return slice_eq_str(by, "cookie") && ret_name->p != NULL && ret_name->size <= 64 && http_token_valid(*ret_name) &&
           (rest.p == NULL || (duration_parse(rest, &ret_sticky->age_ms) && ret_sticky->age_ms >= 1000 &&
                               ret_sticky->age_ms <= 400 * DAY_MS));
}

static bool sticky_decode(const struct conf_setting *s, const struct conf_node *node, void *field, struct arena *a,
                          struct conf_errors *errors)
{
    (void)s;
    struct proxy_sticky sticky = {.name = NULL}, *into = field;
    struct slice name;
    if (node->kind != CONF_SCALAR || !sticky_read(node->text, &name, &sticky)) {
        bool scalar = node->kind == CONF_SCALAR;
        conf_error_value(errors, node, "found %s%s%s, expected " STICKY_ALLOWED, scalar ? "\"" : "",
                         scalar                    ? node->text.p
                         : node->kind == CONF_NULL ? "nothing"
                                                   : "a list or map",
                         scalar ? "\"" : "");
        return false;
    }
    if (name.p != NULL && (sticky.name = arena_strdup(a, name)) == NULL) {
        conf_error_value(errors, node, "out of memory");
        return false;
    }
    *into = sticky;
    return true;
}

static void sticky_encode(const struct conf_setting *s, const void *field, struct json_writer *w)
{
    (void)s;
    static const char *const words[] = {"", "user", "cookie ", "header "};
    const struct proxy_sticky *sticky = field;
    char text[256], age[32];
    duration_format(sticky->age_ms, age, sizeof age);
    (void)snprintf(text, sizeof text, "%s%s%s%s", words[sticky->by], sticky->name == NULL ? "" : sticky->name,
                   sticky->by == PROXY_STICKY_COOKIE ? " " : "", sticky->by == PROXY_STICKY_COOKIE ? age : "");
    json_write_str(w, text);
}

static bool sticky_present(const struct conf_setting *s, const void *field)
{
    (void)s;
    return ((const struct proxy_sticky *)field)->by != PROXY_STICKY_NONE;
}

const struct conf_custom proxy_sticky_custom = {
    .decode = sticky_decode,
    .encode = sticky_encode,
    .present = sticky_present,
    .size = sizeof(struct proxy_sticky),
    .schema = "{\"type\":\"string\",\"pattern\":\"^(user|header [^ ]+|cookie [^ ]+( [0-9]+[a-z]+)?)$\"}",
    .allowed = STICKY_ALLOWED,
    .wrong = "session",
    .example = "user",
};

static const struct conf_setting split_settings[] = {
    {.name = "service",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct proxy_split, service),
     .min = 1,
     .max = 63,
     .check = conf_check_name,
     .example = "orders",
     .doc = "The service that answers."},
    {.name = "target",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct proxy_split, target),
     .min = 1,
     .max = 1024,
     .check = check_path,
     .example = "\"/v1/orders/{id}\"",
     .doc = "Template of the path there."},
    {.name = "weight",
     .type = CONF_INT,
     .flags = CONF_REQUIRED,
     CONF_AT(struct proxy_split, weight),
     .min = 0,
     .max = PROXY_WEIGHT_MAX,
     .doc = "Its share of the sum of all weights."},
};

static const struct conf_table split_table = CONF_TABLE_OF("gateway split", struct proxy_split, split_settings);

static const struct conf_setting split_item = {
    .name = "part", .type = CONF_TABLE, .table = &split_table, .doc = "A part of the requests."};

/* ---- fallbacks ---- */

static const struct conf_setting fallback_settings[] = {
    {.name = "stale",
     .type = CONF_DURATION,
     CONF_AT(struct proxy_fallback, stale_ms),
     .min = 1000,
     .max = 7 * DAY_MS,
     .fallback = 0,
     .doc = "How old the last good answer may be; absent: it is not used."},
    {.name = "service",
     .type = CONF_STRING,
     CONF_AT(struct proxy_fallback, service),
     .min = 1,
     .max = 63,
     .check = conf_check_name,
     .example = "orders",
     .doc = "Another service."},
    {.name = "target",
     .type = CONF_STRING,
     CONF_AT(struct proxy_fallback, target),
     .min = 1,
     .max = 1024,
     .check = check_path,
     .example = "\"/v1/orders/{id}\"",
     .doc = "Template of the path there."},
    {.name = "status",
     .type = CONF_INT,
     CONF_AT(struct proxy_fallback, status),
     .min = 200,
     .max = 599,
     .fallback = 0,
     .doc = "Status of a fixed answer; absent: none."},
    {.name = "body",
     .type = CONF_STRING,
     CONF_AT(struct proxy_fallback, body),
     .min = 0,
     .max = PROXY_FALLBACK_SIZE_MAX,
     .fallback_text = "",
     .doc = "Its body."},
    {.name = "type",
     .type = CONF_STRING,
     CONF_AT(struct proxy_fallback, type),
     .min = 1,
     .max = 128,
     .check = proxy_check_type,
     .fallback_text = "application/json",
     .example = "application/json",
     .doc = "The media type of that body."},
};

static const struct conf_table fallback_table =
    CONF_TABLE_OF("gateway fallback", struct proxy_fallback, fallback_settings);

/* ---- routes ---- */

_Static_assert(offsetof(struct proxy_route, method) <= 2 * 64, "what every request asks of its route");

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
    {.name = "host",
     .type = CONF_STRING,
     CONF_AT(struct proxy_route, host),
     .min = 1,
     .max = 253,
     .check = proxy_check_host,
     .example = "shop.example",
     .doc = "The host that the request names; absent: any."},
    {.name = "headers",
     .type = CONF_MAP,
     CONF_MAP_AT(struct proxy_route, headers, header_count, struct proxy_cond, name),
     .item = &cond_item,
     .check = proxy_check_header,
     .max = 128,
     .doc = "Headers that the request must have."},
    {.name = "query",
     .type = CONF_MAP,
     CONF_MAP_AT(struct proxy_route, query, query_count, struct proxy_cond, name),
     .item = &cond_item,
     .max = 128,
     .doc = "Parameters that the query must have."},
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
    {.name = "split",
     .type = CONF_LIST,
     CONF_LIST_AT(struct proxy_route, splits, split_count),
     .item = &split_item,
     .doc = "The places among which the requests are split."},
    {.name = "sticky",
     .type = CONF_CUSTOM,
     CONF_AT(struct proxy_route, sticky),
     .custom = &proxy_sticky_custom,
     .doc = "By what a request always comes to the same part of the split."},
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
    {.name = "page",
     .type = CONF_STRING,
     CONF_AT(struct proxy_route, page),
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
    {.name = "fallback",
     .type = CONF_TABLE_PTR,
     CONF_AT(struct proxy_route, fallback),
     .table = &fallback_table,
     .doc = "What is answered when the service is not available."},
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
    {.name = "websocket",
     .type = CONF_BOOL,
     CONF_AT(struct proxy_route, websocket),
     .fallback = false,
     .doc = "A request may become a WebSocket."},
};

static void check_route(const struct conf_node *node, void *value, struct conf_errors *errors)
{
    const struct proxy_route *r = value;
    if ((r->service != NULL) + (r->split_count > 0) + (r->part_count > 0) + (r->files != NULL) + (r->answer != 0) !=
            1 ||
        (r->service == NULL) != (r->target == NULL))
        conf_error_value(errors, node, "has to lead to one place: service and target, split, compose, files or answer");
    int64_t sum = 0;
    for (size_t i = 0; i < r->split_count; i++)
        sum += r->splits[i].weight;
    if (r->split_count > PROXY_SPLITS_MAX || (r->split_count > 0 && sum == 0))
        conf_error_value(errors, node, "has a split of more than %d parts, or without weight", PROXY_SPLITS_MAX);
    if (r->header_count > PROXY_CONDS_MAX || r->query_count > PROXY_CONDS_MAX)
        conf_error_value(errors, node, "has more than %d headers or parameters of the query", PROXY_CONDS_MAX);
    if (r->part_count > PROXY_PARTS_MAX)
        conf_error_value(errors, node, "has more than %d parts", PROXY_PARTS_MAX);
    if (r->fallback != NULL && (r->fallback->service == NULL) != (r->fallback->target == NULL))
        conf_error_value(errors, node, "has a fallback with one of service and target");
    if (r->websocket && proxy_route_kind(r) != PROXY_FORWARD)
        conf_error_value(errors, node, "websocket is for routes that lead to a service");
    if (r->files != NULL && !slice_ends(slice_str(r->path), SLICE("/**")))
        conf_error_value(errors, node, "files need a path that ends in /**");
}

const struct conf_table proxy_route_table = {.name = "gateway route",
                                             .size = sizeof(struct proxy_route),
                                             .settings = route_settings,
                                             .count = sizeof route_settings / sizeof route_settings[0],
                                             .check = check_route};

static const struct conf_setting route_item = {
    .name = "route", .type = CONF_TABLE, .table = &proxy_route_table, .doc = "A route."};

/* ---- limits ---- */

static const struct conf_setting limits_settings[] = {
    {.name = "head",
     .type = CONF_SIZE,
     CONF_AT(struct proxy_limits, head_size_max),
     .min = 1024,
     .max = HTTP_HEAD_SIZE_MAX,
     .fallback = 16 * 1024,
     .doc = "Request line and fields together; over it 431."},
    {.name = "fields",
     .type = CONF_INT,
     CONF_AT(struct proxy_limits, field_count_max),
     .min = 10,
     .max = 1000,
     .fallback = 100,
     .doc = "How many fields a request, and the trailers behind it, may have; over it 431."},
    {.name = "target",
     .type = CONF_SIZE,
     CONF_AT(struct proxy_limits, target_size_max),
     .min = 256,
     .max = HTTP_HEAD_SIZE_MAX,
     .fallback = 8 * 1024,
     .doc = "Path and query together; over it 414."},
    {.name = "connections",
     .type = CONF_INT,
     CONF_AT(struct proxy_limits, conn_count_max),
     .min = 8,
     .max = 1000000,
     .fallback = 10240,
     .doc = "Connections of clients at a time; a new one takes the place of the one that has waited longest for a request."},
    {.name = "requests_per_connection",
     .type = CONF_INT,
     CONF_AT(struct proxy_limits, conn_request_count_max),
     .min = 0,
     .max = 1000000000,
     .doc = "Requests that one connection may bring before it is ended; 0: as many as it likes."},
    {.name = "head_time",
     .type = CONF_DURATION,
     CONF_AT(struct proxy_limits, head_ms),
     .min = 100,
     .max = 600000,
     .fallback = 10000,
     .doc = "From the first byte of a request to the end of its head; over it 408."},
    {.name = "idle_time",
     .type = CONF_DURATION,
     CONF_AT(struct proxy_limits, idle_ms),
     .min = 100,
     .max = 3600000,
     .fallback = 75000,
     .doc = "How long a connection is kept without a request."},
    {.name = "body_time",
     .type = CONF_DURATION,
     CONF_AT(struct proxy_limits, body_ms),
     .min = 100,
     .max = 600000,
     .fallback = 30000,
     .doc = "How long a client may send nothing of a body, or take nothing of an answer."},
};

static void check_limits(const struct conf_node *node, void *value, struct conf_errors *errors)
{
    const struct proxy_limits *l = value;
    const struct conf_node *target = conf_get(node, "target");
    if (l->target_size_max > l->head_size_max)
        conf_error_value(errors, target != NULL ? target : node, "target is larger than head, of which it is a part");
}

const struct conf_table proxy_limits_table = {.name = "limits",
                                              .size = sizeof(struct proxy_limits),
                                              .settings = limits_settings,
                                              .count = sizeof limits_settings / sizeof limits_settings[0],
                                              .check = check_limits};

static const struct conf_setting overload_settings[] = {
    {.name = "lag",
     .type = CONF_DURATION,
     CONF_AT(struct proxy_overload, lag_ms),
     .min = 0,
     .max = 60000,
     .fallback = 1000,
     .doc = "How late the gateway's loop may be; 0: it does not matter."},
    {.name = "memory",
     .type = CONF_SIZE,
     CONF_AT(struct proxy_overload, memory_max),
     .min = 0,
     .max = INT64_C(1) << 46,
     .doc = "Resident memory that the gateway may come to, at least 64MiB; 0: no ceiling."},
};

static void check_overload(const struct conf_node *node, void *value, struct conf_errors *errors)
{
    const struct proxy_overload *o = value;
    if (o->memory_max > 0 && o->memory_max < PROXY_MEMORY_MIN)
        conf_error_value(errors, conf_get(node, "memory"), "at least 64MiB: its files and what it keeps may take that much by themselves");
}

const struct conf_table proxy_overload_table = {.name = "overload",
                                                .size = sizeof(struct proxy_overload),
                                                .settings = overload_settings,
                                                .count = sizeof overload_settings / sizeof overload_settings[0],
                                                .check = check_overload};

static const struct conf_setting block_item = {
    .name = "block",
    .type = CONF_STRING,
    .min = 1,
    .max = 64,
    .check = proxy_check_block,
    .example = "10.0.0.0/8",
    .doc = "A block of addresses.",
};

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
    {.name = "admin",
     .type = CONF_STRING,
     CONF_AT(struct proxy_config, admin),
     .min = 0,
     .max = 200,
     .fallback_text = "",
     .doc = "Where operators ask it: fd:4, unix:/path; empty: nowhere."},
    {.name = "threads",
     .type = CONF_INT,
     CONF_AT(struct proxy_config, threads),
     .min = 1,
     .max = PROXY_THREADS_MAX,
     .fallback = 1,
     .doc = "Threads that serve clients."},
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
    {.name = "limits",
     .type = CONF_TABLE,
     CONF_AT(struct proxy_config, limits),
     .table = &proxy_limits_table,
     .doc = "What a client may take."},
    {.name = "overload",
     .type = CONF_TABLE,
     CONF_AT(struct proxy_config, overload),
     .table = &proxy_overload_table,
     .doc = "When new requests are refused for the sake of those under way."},
    {.name = "trusted_proxies",
     .type = CONF_LIST,
     CONF_LIST_AT(struct proxy_config, trusted_proxies, trusted_count),
     .item = &block_item,
     .doc = "Proxies before this one, whose word on clients counts."},
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
