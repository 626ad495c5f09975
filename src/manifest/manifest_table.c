/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables of the manifest's own words. Those of an edge, a saga and a service's settings belong to the floors that use them.
 * Words that are known but not built yet are in the tables too, so that they are refused by name and not as typing errors.
 */
#include "manifest_private.h"

#include "hub_config.h"

enum { SECOND_MS = 1000, MINUTE_MS = 60 * SECOND_MS };
#define DAY_MS (INT64_C(24) * 60 * MINUTE_MS)

const char *const manifest_methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", NULL};
const char *const manifest_levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const version_words[] = {"1.2", "1.3", NULL};   /* enum tls_version */
static const char *const keep_words[] = {"latest", NULL};
static const char *const auth_words[] = {"none", "optional", "required", NULL};

#define NOT_BUILT(word, what) {.name = (word), .type = CONF_ANY, .flags = CONF_NOT_BUILT, .doc = (what)}
#define TABLE_WITH_NODE(title, prose, struct_type, array)                                                                   \
    {.name = (title), .doc = (prose), .size = sizeof(struct_type), .settings = (array),                                     \
     .count = sizeof(array) / sizeof((array)[0]), .has_node = true, .node_offset = offsetof(struct_type, node)}

/* ---- gateway ---- */

static const struct conf_setting role_item = {.name = "role", .type = CONF_STRING, .min = 1, .max = 63, .check = conf_check_name,
                                              .example = "admin", .doc = "A role."};
static const struct conf_setting host_item = {.name = "host", .type = CONF_STRING, .min = 1, .max = 260, .check = manifest_check_host,
                                              .example = "shop.example", .doc = "A host name."};

static const struct conf_setting part_settings[] = {
    {.name = "get", .type = CONF_CUSTOM, .flags = CONF_REQUIRED, CONF_AT(struct manifest_part, get), .custom = &manifest_part_custom,
     .doc = "The service that has the part, and the path there, which may use the parameters of the route's path and {jwt.sub}, the user's id."},
    {.name = "shape", .type = CONF_INLINE, CONF_AT(struct manifest_part, shape), .table = &proxy_shape_table, .doc = "What becomes of it."},
};
static const struct conf_table part_table = TABLE_WITH_NODE("part", "One part of a composed answer.", struct manifest_part, part_settings);
static const struct conf_setting part_item = {.name = "part", .type = CONF_TABLE, .table = &part_table, .doc = "A part."};

static const struct conf_setting fallback_settings[] = {
    {.name = "stale", .type = CONF_DURATION, CONF_AT(struct manifest_fallback, stale_ms), .min = SECOND_MS, .max = 7 * DAY_MS, .fallback = 0,
     .doc = "How old the last good answer to the same GET of the same user may be; it goes first. Absent: none is kept."},
    {.name = "to", .type = CONF_CUSTOM, CONF_AT(struct manifest_fallback, to), .custom = &manifest_target_custom,
     .doc = "Another service that GET and HEAD are sent to then, and the path there; without one the path stays as it is."},
    {.name = "status", .type = CONF_INT, CONF_AT(struct manifest_fallback, status), .min = 200, .max = 599, .fallback = 0,
     .doc = "Status of a fixed answer, for any method; it goes last. Absent: none."},
    {.name = "body", .type = CONF_STRING, CONF_AT(struct manifest_fallback, body), .min = 0, .max = PROXY_FALLBACK_SIZE_MAX, .fallback_text = "",
     .doc = "Body of the fixed answer."},
    {.name = "type", .type = CONF_STRING, CONF_AT(struct manifest_fallback, type), .min = 1, .max = 128, .check = proxy_check_type,
     .fallback_text = "application/json", .example = "text/plain", .doc = "Media type of that body."},
};
static const struct conf_table fallback_table = TABLE_WITH_NODE("fallback", "What is answered when a service is not available.", struct manifest_fallback, fallback_settings);

static const struct conf_setting split_settings[] = {
    {.name = "to", .type = CONF_CUSTOM, .flags = CONF_REQUIRED, CONF_AT(struct manifest_split, to), .custom = &manifest_target_custom,
     .doc = "The service that answers, and the path there; without one the path stays as it is."},
    {.name = "weight", .type = CONF_INT, .flags = CONF_REQUIRED, CONF_AT(struct manifest_split, weight), .min = 0, .max = PROXY_WEIGHT_MAX,
     .doc = "Its share of the sum of all weights; 0: nothing."},
};
static const struct conf_table split_table = TABLE_WITH_NODE("split", "One part of a split.", struct manifest_split, split_settings);
static const struct conf_setting split_item = {.name = "part", .type = CONF_TABLE, .table = &split_table, .doc = "A part."};

static const struct conf_setting cond_item = {.name = "value", .type = CONF_CUSTOM, CONF_AT(struct proxy_cond, value), .custom = &proxy_cond_custom,
                                              .doc = "What it must be; {present: true}: anything."};

static const struct conf_setting route_settings[] = {
    {.name = "method", .type = CONF_ENUM, CONF_AT(struct manifest_route, method), .words = manifest_methods, .fallback = -1,
     .doc = "HTTP method; absent: any."},
    {.name = "host", .type = CONF_STRING, CONF_AT(struct manifest_route, host), .min = 1, .max = 253, .check = proxy_check_host,
     .example = "*.shop.example", .doc = "Host that the request names, without its port; *.name is all names below it. Absent: any."},
    {.name = "path", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct manifest_route, path), .min = 1, .max = 512,
     .check = manifest_check_template, .example = "/api/v1/example", .doc = "Path as clients write it; {name} stands for one segment, /** at the end for the rest."},
    {.name = "headers", .type = CONF_MAP, CONF_MAP_AT(struct manifest_route, headers, header_count, struct proxy_cond, name), .item = &cond_item,
     .max = 128, .check = proxy_check_header, .example = "X-Beta", .doc = "Headers that the request must have, each with this value or {present: true}."},
    {.name = "query", .type = CONF_MAP, CONF_MAP_AT(struct manifest_route, query, query_count, struct proxy_cond, name), .item = &cond_item,
     .max = 128, .doc = "Parameters that the query must have, likewise; of several ones of a name the first counts."},
    {.name = "to", .type = CONF_CUSTOM, CONF_AT(struct manifest_route, to), .custom = &manifest_target_custom,
     .doc = "The service that answers, and the path there; without one the path stays as it is."},
    {.name = "split", .type = CONF_LIST, .flags = CONF_NOT_EMPTY, CONF_LIST_AT(struct manifest_route, splits, split_count), .item = &split_item,
     .doc = "Places among which the requests are split by weight: a canary, a switch between two versions, an experiment."},
    {.name = "sticky", .type = CONF_CUSTOM, CONF_AT(struct manifest_route, sticky), .custom = &proxy_sticky_custom,
     .doc = "By what a request always comes to the same part of the split; absent: each request by chance."},
    {.name = "compose", .type = CONF_LIST, .flags = CONF_NOT_EMPTY, CONF_LIST_AT(struct manifest_route, parts, part_count), .item = &part_item,
     .doc = "The parts of an answer, JSON objects of several services, asked for all at once and merged into one; GET only, at most 16."},
    {.name = "files", .type = CONF_STRING, CONF_AT(struct manifest_route, files), .min = 1, .max = 256, .check = manifest_check_inside,
     .example = "storefront", .doc = "Folder beside this file whose files are served: read at the gateway's start (at most 2,000 files, 32 MiB), GET and HEAD only."},
    {.name = "page", .type = CONF_STRING, CONF_AT(struct manifest_route, page), .min = 1, .max = 256, .check = manifest_check_inside,
     .example = "index.html", .doc = "File of that folder that is shown to browsers for pages without a file of their own."},
    {.name = "answer", .type = CONF_INT, CONF_AT(struct manifest_route, answer), .min = 400, .max = 599, .fallback = 0,
     .doc = "Status of the problem that the gateway answers by itself, for paths that no more specific route has."},
    {.name = "fallback", .type = CONF_TABLE_PTR, CONF_AT(struct manifest_route, fallback), .table = &fallback_table,
     .doc = "What is answered when the service is not available, before its answer has begun."},
    {.name = "auth", .type = CONF_ENUM, CONF_AT(struct manifest_route, auth), .words = auth_words, .fallback = MANIFEST_AUTH_NONE,
     .doc = "Whether a valid token is asked for."},
    {.name = "roles", .type = CONF_LIST, CONF_LIST_AT(struct manifest_route, roles, role_count), .item = &role_item,
     .doc = "The user must have one of these roles."},
    {.name = "timeout", .type = CONF_DURATION, CONF_AT(struct manifest_route, timeout_ms), .min = 1, .max = 10 * MINUTE_MS, .fallback = 0,
     .doc = "How long the whole request may take; absent: the gateway's."},
    {.name = "body_max", .type = CONF_SIZE, CONF_AT(struct manifest_route, body_size_max), .min = 1, .max = INT64_C(1) << 40,
     .fallback = 1024 * 1024, .doc = "Largest body of a request; over it 413."},
    {.name = "websocket", .type = CONF_BOOL, CONF_AT(struct manifest_route, websocket), .fallback = false,
     .doc = "A GET may become a WebSocket; else its handshake is 403."},
    NOT_BUILT("limit", "Rate limit of the route."),
    NOT_BUILT("shadow", "Copy of the requests that goes to another service."),
    NOT_BUILT("cache", "How long answers are kept."),
    NOT_BUILT("rewrite", "Changes of headers."),
};
static const struct conf_table route_table = TABLE_WITH_NODE("route", "One route of the gateway.", struct manifest_route, route_settings);
static const struct conf_setting route_item = {.name = "route", .type = CONF_TABLE, .table = &route_table, .doc = "A route."};

static const struct conf_setting jwt_settings[] = {
    {.name = "jwks", .type = CONF_CUSTOM, .flags = CONF_REQUIRED, CONF_AT(struct manifest_jwt, jwks), .custom = &manifest_target_custom,
     .min = 1, .example = "identity:/.well-known/jwks.json",
     .doc = "Where the public keys of the tokens are, such as identity:/.well-known/jwks.json."},
    {.name = "issuer", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct manifest_jwt, issuer), .min = 1, .max = 256,
     .doc = "Tokens must be issued (iss) by this name."},
    NOT_BUILT("audience", "Whom tokens must be for."),
};
static const struct conf_table jwt_table = TABLE_WITH_NODE("auth", "How users are known.", struct manifest_jwt, jwt_settings);

static const struct conf_setting edge_item = {.name = "call", .type = CONF_TABLE, CONF_AT(struct manifest_edge, policy),
                                              .table = &call_policy_table, .doc = "How another service is called."};

static const struct conf_setting certificate_settings[] = {
    {.name = "certificate", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct manifest_certificate, certificate), .min = 1, .max = 1024,
     .example = "shop.pem", .doc = "PEM file of the certificate with its chain behind it; a relative path begins at this file's folder."},
    {.name = "key", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct manifest_certificate, key), .min = 1, .max = 1024,
     .example = "shop.key", .doc = "PEM file of its key, without a pass phrase."},
};
static const struct conf_table certificate_table = TABLE_WITH_NODE("certificate", "Who the gateway is.", struct manifest_certificate, certificate_settings);
static const struct conf_setting certificate_item = {.name = "certificate", .type = CONF_TABLE, .table = &certificate_table, .doc = "A certificate."};

static const struct conf_setting tls_settings[] = {
    {.name = "certificates", .type = CONF_LIST, .flags = CONF_REQUIRED | CONF_NOT_EMPTY, CONF_LIST_AT(struct manifest_tls, certificates, certificate_count),
     .item = &certificate_item, .doc = "By the name that a client asks for (the certificates' own names, wildcards last); all other names get the first. At most 64."},
    {.name = "min", .type = CONF_ENUM, CONF_AT(struct manifest_tls, min), .words = version_words, .fallback = TLS_1_2,
     .doc = "The oldest version of TLS that is spoken."},
    {.name = "hsts", .type = CONF_DURATION, CONF_AT(struct manifest_tls, hsts_ms), .min = SECOND_MS, .max = 730 * DAY_MS, .fallback = 0,
     .doc = "For how long browsers must come by TLS only (Strict-Transport-Security); absent: they are not told."},
};
static const struct conf_table tls_table = TABLE_WITH_NODE("tls", "TLS towards clients.", struct manifest_tls, tls_settings);
static const struct conf_setting block_item = {.name = "block", .type = CONF_STRING, .min = 1, .max = 64, .check = proxy_check_block,
                                               .example = "10.0.0.0/8", .doc = "A block of addresses, or one address."};

static const struct conf_setting gateway_settings[] = {
    {.name = "listen", .type = CONF_STRING, CONF_AT(struct manifest_gateway, listen), .min = 1, .max = 64, .check = manifest_check_listen,
     .fallback_text = "127.0.0.1:8080", .example = "127.0.0.1:8080", .doc = "Address and port of the gateway."},
    {.name = "hosts", .type = CONF_LIST, CONF_LIST_AT(struct manifest_gateway, hosts, host_count), .item = &host_item,
     .doc = "Host names that are accepted beside the listening address and localhost."},
    {.name = "timeout", .type = CONF_DURATION, CONF_AT(struct manifest_gateway, timeout_ms), .min = 1, .max = 10 * MINUTE_MS,
     .fallback = 10 * SECOND_MS, .doc = "How long a request may take; routes may say otherwise."},
    {.name = "tls", .type = CONF_TABLE_PTR, CONF_AT(struct manifest_gateway, tls), .table = &tls_table, .doc = "TLS towards clients; absent: plain HTTP."},
    {.name = "threads", .type = CONF_INT, CONF_AT(struct manifest_gateway, threads), .min = 1, .max = PROXY_THREADS_MAX, .fallback = 1,
     .doc = "Threads that serve clients, each up to one core."},
    {.name = "limits", .type = CONF_TABLE, CONF_AT(struct manifest_gateway, limits), .table = &proxy_limits_table,
     .doc = "What a client may take of the gateway: sizes, counts, times."},
    {.name = "overload", .type = CONF_TABLE, CONF_AT(struct manifest_gateway, overload), .table = &proxy_overload_table,
     .doc = "When the gateway refuses new requests for the sake of those under way: lag, memory."},
    {.name = "trusted_proxies", .type = CONF_LIST, CONF_LIST_AT(struct manifest_gateway, trusted_proxies, trusted_count), .item = &block_item,
     .doc = "Addresses of proxies before the gateway: what they say in X-Forwarded-For, -Proto and -Host is believed."},
    {.name = "auth", .type = CONF_TABLE_PTR, CONF_AT(struct manifest_gateway, auth), .table = &jwt_table, .doc = "How users are known."},
    {.name = "routes", .type = CONF_LIST, CONF_LIST_AT(struct manifest_gateway, routes, route_count), .item = &route_item,
     .doc = "What clients may ask for, and who answers."},
    {.name = "calls", .type = CONF_MAP, CONF_MAP_AT(struct manifest_gateway, calls, call_count, struct manifest_edge, callee),
     .item = &edge_item, .check = conf_check_name, .example = "catalog",
     .doc = "How the services of its routes are called: balance, limits, repetition. Times are said by the routes."},
    {.name = "log_level", .type = CONF_ENUM, CONF_AT(struct manifest_gateway, log_level), .words = manifest_levels, .fallback = -1,
     .doc = "Log level of the gateway; absent: the system's."},
    NOT_BUILT("cors", "Cross-origin rules."),
    NOT_BUILT("limit", "Rate limit of the whole gateway."),
    NOT_BUILT("cache", "Cache of answers."),
};
static const struct conf_table gateway_table = TABLE_WITH_NODE("gateway", "The door for clients.", struct manifest_gateway, gateway_settings);

/* ---- services ---- */

static const struct conf_setting topic_settings[] = {
    {.name = "key", .type = CONF_STRING, CONF_AT(struct manifest_topic, key), .min = 1, .max = 63, .check = manifest_check_key, .example = "sku",
     .doc = "Which member of the data names what the event is about: sku, or items.sku for each element of a list; absent: the event's subject."},
    {.name = "keep", .type = CONF_ENUM, CONF_AT(struct manifest_topic, keep), .words = keep_words, .fallback = -1,
     .doc = "latest: the newest event of each key is kept for ever, so that a reader from the start learns the present state of all; absent: events go after events.retention."},
    {.name = "schema", .type = CONF_CUSTOM, CONF_AT(struct manifest_topic, schemas), .custom = &manifest_schemas_custom,
     .doc = "JSON Schema files of the event's data beside this file, version 1 first; the last is what is published. A version that cannot read the one before it says {file: ..., upcast: true}. Absent: any data."},
    NOT_BUILT("retention", "How long events of the topic are kept."),
};
static const struct conf_table topic_table = CONF_TABLE_OF("topic", struct manifest_topic, topic_settings);
static const struct conf_setting topic_item = {.name = "topic", .type = CONF_TABLE, .table = &topic_table, .doc = "A topic."};

static const struct conf_setting schedule_settings[] = {
    {.name = "topic", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct manifest_schedule, topic), .min = 1, .max = 63, .check = conf_check_dotted,
     .example = "report.due", .doc = "The topic of its events, one that the service publishes."},
    {.name = "every", .type = CONF_DURATION, .flags = CONF_REQUIRED, CONF_AT(struct manifest_schedule, every_ms), .min = 1000, .max = 366 * DAY_MS,
     .doc = "From one time to the next, counted from 1970-01-01 UTC."},
    {.name = "at", .type = CONF_STRING, CONF_AT(struct manifest_schedule, at), .min = 5, .max = 5, .check = manifest_check_clock, .example = "02:00",
     .doc = "The time of day, UTC, from which is counted; absent: midnight."},
};
static const struct conf_table schedule_table = TABLE_WITH_NODE("schedule", "When the hub publishes an event in the service's name.", struct manifest_schedule, schedule_settings);
static const struct conf_setting schedule_item = {.name = "schedule", .type = CONF_TABLE, .table = &schedule_table, .doc = "A schedule."};

static const struct conf_setting consumed_item = {.name = "topic", .type = CONF_STRING, .min = 1, .max = 63, .check = conf_check_dotted,
                                                  .example = "order.placed", .doc = "A topic that some service publishes."};
static const struct conf_setting need_item = {.name = "service", .type = CONF_STRING, .min = 1, .max = 63, .check = conf_check_name,
                                              .example = "identity", .doc = "A service."};
static const struct conf_setting setting_item = {.name = "setting", .type = CONF_STRING, CONF_AT(struct service_setting, value), .min = 0,
                                                 .max = 4096, .doc = "The value, a text."};
static const struct conf_setting flow_item = {.name = "flow", .type = CONF_TABLE, .table = &flow_def_table, .doc = "A flow."};
static const struct conf_setting saga_item = {.name = "saga", .type = CONF_TABLE, .table = &saga_def_table, .doc = "A saga."};

static const struct conf_setting upstream_tls_settings[] = {
    {.name = "ca", .type = CONF_STRING, CONF_AT(struct manifest_upstream_tls, ca), .min = 1, .max = 1024, .example = "bank-ca.pem",
     .doc = "PEM file of the authorities that may say who it is; a relative path begins at this file's folder. Absent: those of this machine."},
    {.name = "name", .type = CONF_STRING, CONF_AT(struct manifest_upstream_tls, name), .min = 1, .max = 253, .check = manifest_check_peer,
     .example = "bank.example", .doc = "Who its certificate must say it is, and what it is asked for (SNI); absent: the host of the url."},
    {.name = "certificate", .type = CONF_STRING, CONF_AT(struct manifest_upstream_tls, certificate), .min = 1, .max = 1024, .example = "shop.pem",
     .doc = "PEM file of the certificate that is shown when it asks who is calling; absent: none is."},
    {.name = "key", .type = CONF_STRING, CONF_AT(struct manifest_upstream_tls, key), .min = 1, .max = 1024, .example = "shop.key",
     .doc = "PEM file of its key, without a pass phrase."},
};
static const struct conf_table upstream_tls_table = TABLE_WITH_NODE("tls", "TLS towards a service.", struct manifest_upstream_tls, upstream_tls_settings);

static const struct conf_setting group_settings[] = {
    {.name = "to", .type = CONF_STRING, CONF_AT(struct manifest_group, to), .min = 1, .max = 512, .check = manifest_check_group_to, .example = "/events",
     .doc = "Path of the service that events are posted to, one CloudEvent each. Absent: members lease them (ficus events consume)."},
    {.name = "partitions", .type = CONF_INT, CONF_AT(struct manifest_group, partitions), .min = 1, .max = HUB_GROUP_PARTITIONS_MAX, .fallback = 8,
     .doc = "How many events may be under way at a time; events of one key are always in one partition, one behind the other."},
    {.name = "timeout", .type = CONF_DURATION, CONF_AT(struct manifest_group, timeout_ms), .min = 100, .max = 60 * MINUTE_MS, .fallback = 30 * SECOND_MS,
     .doc = "How long the answer to one event may take, and how long a lease lasts."},
};
static const struct conf_table group_table = TABLE_WITH_NODE("group", "A consumer group: the hub keeps the service's place in the log.", struct manifest_group, group_settings);

static const struct conf_setting service_settings[] = {
    {.name = "service", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct manifest_service, name), .min = 1, .max = 63,
     .check = manifest_check_service, .example = "orders", .doc = "Name of the service."},
    {.name = "team", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct manifest_service, team), .min = 1, .max = 63,
     .doc = "The team that owns it."},
    {.name = "does", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct manifest_service, does), .min = 1, .max = 512,
     .doc = "The business capability that it is, in one sentence."},
    {.name = "run", .type = CONF_CUSTOM, CONF_AT(struct manifest_service, run), .custom = &manifest_command_custom,
     .doc = "The command that starts it; ./ is the folder of this file, ${build} the build folder. Words are split at blanks; a list keeps them."},
    {.name = "url", .type = CONF_STRING, CONF_AT(struct manifest_service, url), .min = 8, .max = 300, .check = call_url_check,
     .example = "https://10.0.0.7:8443", .doc = "Instead of run: where the service is that somebody else starts; https: it has to prove who it is."},
    {.name = "protocol", .type = CONF_ENUM, CONF_AT(struct manifest_service, protocol), .words = call_protocol_words, .fallback = CALL_PROTOCOL_ANY,
     .doc = "What is spoken at the url: h2c is HTTP/2 without TLS, h2 with. Absent: HTTP/1.1, with https what is agreed on (ALPN)."},
    {.name = "tls", .type = CONF_TABLE_PTR, CONF_AT(struct manifest_service, tls), .table = &upstream_tls_table,
     .doc = "Whom to believe at an https url, and who we are; absent: the authorities of this machine, and nobody."},
    {.name = "store", .type = CONF_STRING, CONF_AT(struct manifest_service, store), .min = 1, .max = 256, .check = manifest_check_store,
     .example = "sqlite:example.db", .doc = "Its own database; no other service may name it."},
    {.name = "rebuildable", .type = CONF_BOOL, CONF_AT(struct manifest_service, rebuildable), .fallback = false,
     .doc = "The store is a read model: nothing but what came by events. `ficus events rebuild` builds it anew from the log while it serves."},
    {.name = "migrations", .type = CONF_STRING, CONF_AT(struct manifest_service, migrations), .min = 1, .max = 256,
     .check = manifest_check_folder, .example = "migrations", .doc = "Folder with the database's migrations, NNNN_name.sql, numbered from 0001."},
    {.name = "workers", .type = CONF_INT, CONF_AT(struct manifest_service, workers), .min = 1, .max = 64, .fallback = 4,
     .doc = "How many handlers run at a time."},
    {.name = "keeps_keys", .type = CONF_BOOL, CONF_AT(struct manifest_service, keeps_keys), .fallback = true,
     .doc = "The service remembers Idempotency-Keys, so that its callers may repeat requests that have one (libficus does; one with `url` only if this says so)."},
    {.name = "log_level", .type = CONF_ENUM, CONF_AT(struct manifest_service, log_level), .words = manifest_levels, .fallback = -1,
     .doc = "Log level of the service; absent: the system's."},
    {.name = "slow_statement", .type = CONF_DURATION, CONF_AT(struct manifest_service, slow_statement_ms), .min = 0, .max = 10 * MINUTE_MS, .fallback = -1,
     .example = "20ms", .doc = "Statements and commits of the service's store that take so long are logged; 0ms: none; absent: the system's."},
    {.name = "calls", .type = CONF_MAP, CONF_MAP_AT(struct manifest_service, calls, call_count, struct manifest_edge, callee),
     .item = &edge_item, .check = conf_check_name, .example = "catalog", .doc = "Whom it calls, and how long it waits."},
    {.name = "publishes", .type = CONF_MAP, CONF_MAP_AT(struct manifest_service, publishes, publish_count, struct manifest_topic, name),
     .item = &topic_item, .check = manifest_check_topic, .example = "order.placed", .doc = "The topics of which it alone is the source."},
    {.name = "consumes", .type = CONF_LIST, CONF_LIST_AT(struct manifest_service, consumes, consume_count), .item = &consumed_item,
     .doc = "The topics that it handles."},
    {.name = "group", .type = CONF_TABLE_PTR, CONF_AT(struct manifest_service, group), .table = &group_table,
     .doc = "For services without libficus: events are posted to it, or leased by its members, and the hub keeps its place."},
    {.name = "schedules", .type = CONF_MAP, CONF_MAP_AT(struct manifest_service, schedules, schedule_count, struct manifest_schedule, name),
     .item = &schedule_item, .check = conf_check_name, .example = "nightly", .doc = "When the hub publishes an event of its topics by itself, again and again."},
    {.name = "needs", .type = CONF_LIST, CONF_LIST_AT(struct manifest_service, needs, need_count), .item = &need_item,
     .doc = "Services that must be healthy before it starts: for true order only, never in a circle."},
    {.name = "settings", .type = CONF_MAP, CONF_MAP_AT(struct manifest_service, settings, setting_count, struct service_setting, name),
     .item = &setting_item, .check = conf_check_name, .example = "currency", .doc = "Its own settings, texts."},
    {.name = "sagas", .type = CONF_MAP, CONF_MAP_AT(struct manifest_service, sagas, saga_count, struct saga_def, name), .item = &saga_item,
     .check = conf_check_name, .example = "checkout", .doc = "The sagas that belong to it."},
    {.name = "flows", .type = CONF_MAP, CONF_MAP_AT(struct manifest_service, flows, flow_count, struct flow_def, name), .item = &flow_item,
     .check = conf_check_name, .example = "order_told", .doc = "Choreographed sagas: which events are expected after which, and within what time."},
    NOT_BUILT("api", "OpenAPI file."),
    NOT_BUILT("slo", "What it promises."),
    NOT_BUILT("scale", "Replicas."),
    NOT_BUILT("enforce", "Refuse what is not declared."),
    NOT_BUILT("limits", "Memory and time."),
    NOT_BUILT("stream", "Streaming answers."),
    NOT_BUILT("replaces", "Part of the monolith that it takes over."),
    NOT_BUILT("promises", "Contracts."),
    NOT_BUILT("secrets", "References to secrets."),
    NOT_BUILT("flags", "Feature flags."),
};
const struct conf_table manifest_service_table = TABLE_WITH_NODE("service", "One service's part of the manifest.", struct manifest_service, service_settings);

/* ---- root ---- */

static const struct conf_setting administrator_settings[] = {
    {.name = "email", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct manifest_administrator, email), .min = 3, .max = 254,
     .check = manifest_check_email, .example = "admin@shop.example", .doc = "The administrator's sign-in; the password is made at the first start."},
    {.name = "service", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct manifest_administrator, service), .min = 1, .max = 63,
     .check = conf_check_name, .example = "identity", .doc = "The service that knows users; it finds the file in its setting admin_file."},
};
static const struct conf_table administrator_table =
    TABLE_WITH_NODE("administrator", "The first user.", struct manifest_administrator, administrator_settings);

static const struct conf_setting events_settings[] = {
    {.name = "log", .type = CONF_STRING, CONF_AT(struct manifest_events, log), .min = 1, .max = 256, .check = manifest_check_log,
     .fallback_text = "embedded", .example = "embedded", .doc = "Where events are kept."},
    {.name = "retention", .type = CONF_DURATION, CONF_AT(struct manifest_events, retention_ms), .min = MINUTE_MS, .max = 3650 * DAY_MS,
     .fallback = 7 * DAY_MS, .doc = "How long events are kept."},
    {.name = "size", .type = CONF_SIZE, CONF_AT(struct manifest_events, size_max), .min = INT64_C(16) << 20, .max = INT64_C(1) << 40, .fallback = INT64_C(4) << 30,
     .doc = "How large the event log may become: beyond it the oldest events go before their time. What keep: latest keeps comes on top."},
};
static const struct conf_table events_table = CONF_TABLE_OF("events", struct manifest_events, events_settings);

static const struct conf_setting hub_settings[] = {
    {.name = "log_level", .type = CONF_ENUM, CONF_AT(struct manifest_hub, log_level), .words = manifest_levels, .fallback = -1,
     .doc = "Log level of the hub; absent: the system's."},
};
static const struct conf_table hub_table = CONF_TABLE_OF("hub", struct manifest_hub, hub_settings);

static const struct conf_setting include_item = {.name = "file", .type = CONF_STRING, .min = 1, .max = 512, .check = manifest_check_glob,
                                                 .example = "services/*/service.yaml", .doc = "A file or pattern, relative to this file."};

/* The field of `ficus` is not kept: manifest_load has looked at it first. */
static bool version_decode(const struct conf_setting *s, const struct conf_node *node, void *field, struct arena *a, struct conf_errors *errors)
{
    (void)s;
    (void)field;
    (void)a;
    int64_t version;
    if (node->kind == CONF_SCALAR && !node->quoted && slice_to_i64(node->text, &version) && version == MANIFEST_VERSION)
        return true;
    conf_error_value(errors, node, "found %s, expected %d, the version of the manifest's form", node->kind == CONF_SCALAR ? node->text.p : "no number", MANIFEST_VERSION);
    return false;
}

static void version_encode(const struct conf_setting *s, const void *field, struct json_writer *w)
{
    (void)s;
    (void)field;
    json_write_i64(w, MANIFEST_VERSION);
}

static const struct conf_custom version_custom = {.decode = version_decode, .encode = version_encode, .schema = "{\"const\":1}",
                                                  .allowed = "1, the version of the form of this file", .wrong = "0", .example = "1"};

static const struct conf_setting manifest_settings[] = {
    {.name = "ficus", .type = CONF_CUSTOM, .flags = CONF_REQUIRED, .custom = &version_custom, .doc = "Version of the manifest's form: 1."},
    {.name = "system", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct manifest, system), .min = 1, .max = 63,
     .check = manifest_check_system, .example = "shop", .doc = "Name of the system."},
    {.name = "include", .type = CONF_LIST, CONF_LIST_AT(struct manifest, include, include_count), .item = &include_item,
     .doc = "The services' parts of the manifest."},
    {.name = "log_level", .type = CONF_ENUM, CONF_AT(struct manifest, log_level), .words = manifest_levels, .fallback = 1,
     .doc = "Log lines below this level are left out, in all processes that do not say otherwise."},
    {.name = "slow_statement", .type = CONF_DURATION, CONF_AT(struct manifest, slow_statement_ms), .min = 0, .max = 10 * MINUTE_MS, .fallback = 100,
     .doc = "Statements and commits of services' stores that take so long are logged (store.slow); 0ms: none."},
    {.name = "administrator", .type = CONF_TABLE_PTR, CONF_AT(struct manifest, administrator), .table = &administrator_table, .doc = "The first user."},
    {.name = "gateway", .type = CONF_TABLE_PTR, CONF_AT(struct manifest, gateway), .table = &gateway_table, .doc = "The door for clients."},
    {.name = "events", .type = CONF_TABLE, CONF_AT(struct manifest, events), .table = &events_table, .doc = "The event log."},
    {.name = "hub", .type = CONF_TABLE, CONF_AT(struct manifest, hub), .table = &hub_table, .doc = "The hub."},
    NOT_BUILT("enforce", "Refuse what is not declared."),
    NOT_BUILT("observe", "The telemetry store."),
    NOT_BUILT("resolve", "Where addresses come from."),
    NOT_BUILT("secrets", "Where secrets come from."),
    NOT_BUILT("flags", "Feature flags."),
    NOT_BUILT("audit", "Rules of the audit."),
    NOT_BUILT("environments", "Differences between environments."),
    NOT_BUILT("sidecars", "Services without libficus."),
};
const struct conf_table manifest_table = TABLE_WITH_NODE("manifest", "The root file of a system.", struct manifest, manifest_settings);
