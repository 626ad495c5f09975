/* SPDX-License-Identifier: Apache-2.0
 *
 * Words of the manifest with a syntax of their own: targets, commands, path templates, addresses, stores.
 */
#include "manifest_private.h"

#include "text.h"

#include <arpa/inet.h>
#include <stdio.h>

enum { PATH_SIZE_MAX = 512, ARGS_MAX = 64 };

/* ---- names ---- */

static const char *const own_processes[] = {"gateway", "hub", "observe", "supervisor", "operator", "sidecar", "ficus", "client"};

const char *manifest_check_service(struct slice text)
{
    for (size_t i = 0; i < sizeof own_processes / sizeof own_processes[0]; i++)
        if (slice_eq_str(text, own_processes[i]))
            return "a name that Ficus does not use itself (gateway, hub, observe, supervisor, operator, sidecar, ficus, client)";
    /* no '_': it becomes part of addresses */
    return text.size <= 32 && slice_find(text, '_') < 0 && conf_check_name(text) == NULL
               ? NULL
               : "1 to 32 lower-case letters, digits and '-', with a letter first";
}

const char *manifest_check_system(struct slice text)
{
    const char *wrong = conf_check_name(text);
    if (wrong == NULL && (text.size > 32 || slice_find(text, '_') >= 0))
        return "1 to 32 lower-case letters, digits and '-', with a letter first";
    return wrong;
}

const char *manifest_check_topic(struct slice text)
{
    if (slice_starts(text, SLICE("ficus.")))
        return "a topic that does not begin with \"ficus.\" (those are Ficus' own)";
    return conf_check_dotted(text);
}

const char *manifest_check_key(struct slice text)
{
    static const char wrong[] = "a member of the data such as sku, or of each element of a list, such as items.sku";
    struct slice rest = text;
    for (int parts = 0; rest.p != NULL; parts++) {
        struct slice part = slice_cut(&rest, '.');
        if (part.size == 0 || parts == 2)
            return wrong;
        for (size_t i = 0; i < part.size; i++) {
            char c = part.p[i];
            if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (i > 0 && c >= '0' && c <= '9')))
                return wrong;
        }
    }
    return NULL;
}

const char *manifest_check_group_to(struct slice text)
{
    bool ok = text.size > 0 && text.p[0] == '/' && text_printable_ascii(text);
    for (size_t i = 0; i < text.size && ok; i++)
        ok = strchr(" #{}\"", text.p[i]) == NULL;
    return ok ? NULL : "a path such as /events; it is posted to";
}

const char *manifest_check_email(struct slice text)
{
    ptrdiff_t at = slice_find(text, '@');
    bool ok = at > 0 && (size_t)at + 1 < text.size && text_printable_ascii(text) && slice_find(text, ' ') < 0 &&
              slice_find(slice_from(text, (size_t)at + 1), '@') < 0;
    return ok ? NULL : "an address such as admin@shop.example";
}

/* ---- places ---- */

/* The port behind the last colon, 1 to 65535. */
static bool check_port(struct slice text)
{
    uint64_t port;
    return text.size <= 5 && slice_to_u64(text, &port) && port >= 1 && port <= 65535;
}

const char *manifest_check_listen(struct slice text)
{
    static const char wrong[] = "a numeric address and a port, such as 127.0.0.1:8080 or [::1]:8080";
    char host[64];
    unsigned char binary[16];
    size_t colon = text.size;
    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    if (colon < 2 || colon > sizeof host || !check_port(slice_from(text, colon)))
        return wrong;
    struct slice name = {text.p, colon - 1};
    bool six = name.p[0] == '[';
    if (six) {
        if (name.size < 3 || name.p[name.size - 1] != ']')
            return wrong;
        name = (struct slice){name.p + 1, name.size - 2};
    }
    memcpy(host, name.p, name.size);
    host[name.size] = '\0';
    return inet_pton(six ? AF_INET6 : AF_INET, host, binary) == 1 ? NULL : wrong;
}

const char *manifest_check_host(struct slice text)
{
    static const char wrong[] = "a host name such as shop.example, with or without a port";
    struct slice port = text;
    struct slice name = slice_cut(&port, ':');
    if (name.size == 0 || name.size > 253 || (port.p != NULL && !check_port(port)))
        return wrong;
    for (size_t i = 0; i < name.size; i++) {
        char c = name.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
        if (!ok)
            return wrong;
    }
    return NULL;
}

const char *manifest_check_peer(struct slice text)
{
    bool fine = slice_find(text, '.') != 0;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.p[i];
        fine = fine && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == ':');
    }
    return fine ? NULL : "a name such as bank.example, or a numeric address";
}

const char *manifest_check_store(struct slice text)
{
    static const char wrong[] = "sqlite:NAME, such as sqlite:orders.db";
    if (slice_starts(text, SLICE("postgresql:")) || slice_starts(text, SLICE("postgres:")))
        return "sqlite:NAME (PostgreSQL is not supported by this version)";
    if (!slice_starts(text, SLICE("sqlite:")))
        return wrong;
    struct slice name = slice_from(text, 7);
    if (name.size == 0 || name.size > 64 || name.p[0] == '.' || slice_starts(name, SLICE("hub-")))
        return wrong;
    for (size_t i = 0; i < name.size; i++) {
        char c = name.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
        if (!ok)
            return wrong;
    }
    return NULL;
}

const char *manifest_check_log(struct slice text)
{
    return slice_eq_str(text, "embedded") ? NULL : "embedded (addresses of other logs are not supported by this version)";
}

static bool is_inside(struct slice text)
{
    if (text.p[0] == '/')
        return false;
    while (text.p != NULL)
        if (slice_eq_str(slice_cut(&text, '/'), ".."))
            return false;
    return true;
}

const char *manifest_check_folder(struct slice text)
{
    return is_inside(text) ? NULL : "a folder inside the service's own";
}

const char *manifest_check_inside(struct slice text)
{
    return is_inside(text) ? NULL : "a path without \"..\", relative to this file";
}

const char *manifest_check_glob(struct slice text)
{
    return text.p[0] == '/' ? "a pattern relative to this file, such as services/*/service.yaml" : NULL;
}

/* ---- path templates ---- */

#define TEMPLATE_ALLOWED "a path such as /api/v1/orders/{id} or /files/**"

static bool check_parameter(struct slice segment)
{
    if (segment.size < 3 || segment.p[segment.size - 1] != '}')
        return false;
    struct slice name = {segment.p + 1, segment.size - 2};
    if (name.p[0] < 'a' || name.p[0] > 'z')
        return false;
    for (size_t i = 0; i < name.size; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
            return false;
    }
    return true;
}

static bool check_literal(struct slice segment)
{
    if (slice_eq_str(segment, ".") || slice_eq_str(segment, ".."))
        return false;
    for (size_t i = 0; i < segment.size; i++) {
        char c = segment.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~!$&'()+,;=:@", c) != NULL;
        if (!ok || c == '\0')
            return false;
    }
    return true;
}

/* user: {jwt.sub} may stand in it, the user's id. */
static const char *check_template(struct slice text, bool user)
{
    if (text.size == 0 || text.size > PATH_SIZE_MAX || text.p[0] != '/')
        return TEMPLATE_ALLOWED;
    struct slice rest = slice_from(text, 1);
    if (rest.size == 0)
        return NULL;
    while (rest.p != NULL) {
        struct slice segment = slice_cut(&rest, '/');
        bool last = rest.p == NULL;
        if (slice_eq_str(segment, "**") ? !last : segment.size == 0 ? !last : segment.p[0] == '{' ? !check_parameter(segment) && !(user && slice_eq_str(segment, MANIFEST_USER)) : !check_literal(segment))
            return TEMPLATE_ALLOWED;
    }
    size_t at = 0;
    struct slice name;
    while (manifest_template_next(text, &at, &name)) {
        size_t other = at;
        struct slice again;
        while (manifest_template_next(text, &other, &again))
            if (slice_eq(name, again))
                return "a path in which each {name} occurs once";
    }
    return NULL;
}

const char *manifest_check_template(struct slice text)
{
    return check_template(text, false);
}

bool manifest_template_next(struct slice path, size_t *at, struct slice *ret_name)
{
    struct slice rest = slice_from(path, *at);
    ptrdiff_t open = slice_find(rest, '{');
    if (open < 0)
        return false;
    struct slice inner = slice_from(rest, (size_t)open + 1);
    ptrdiff_t close = slice_find(inner, '}');
    if (close < 0)
        return false;
    *ret_name = (struct slice){inner.p, (size_t)close};
    *at += (size_t)open + (size_t)close + 2;
    return true;
}

bool manifest_template_has(struct slice path, struct slice name)
{
    size_t at = 0;
    struct slice other;
    while (manifest_template_next(path, &at, &other))
        if (slice_eq(other, name))
            return true;
    return false;
}

bool manifest_template_has_rest(struct slice path)
{
    return slice_ends(path, SLICE("/**"));
}

/* ---- "orders:/v1/orders/{id}" ---- */

#define TARGET_ALLOWED "a service, or SERVICE:/PATH such as orders:/v1/orders/{id}"

static void fail_target(const struct conf_node *node, const char *allowed, struct conf_errors *errors)
{
    bool scalar = node->kind == CONF_SCALAR;
    conf_error_value(errors, node, "found %s%s%s, expected %s", scalar ? "\"" : "",
                     scalar ? node->text.p : node->kind == CONF_NULL ? "nothing" : "a list or map", scalar ? "\"" : "", allowed);
}

/* SERVICE and, behind the colon, PATH (p NULL: none). False: an error was added. */
static bool target_split(const struct conf_node *node, const char *allowed, struct slice *ret_service, struct slice *ret_path, struct conf_errors *errors)
{
    *ret_path = node->text;
    *ret_service = node->kind == CONF_SCALAR ? slice_cut(ret_path, ':') : SLICE_NONE;
    if (ret_service->size > 0 && conf_check_name(*ret_service) == NULL)
        return true;
    fail_target(node, allowed, errors);
    return false;
}

static bool target_keep(struct manifest_target *t, struct slice service, struct slice path, const struct conf_node *node, struct arena *a,
                        struct conf_errors *errors)
{
    t->service = arena_strdup(a, service);
    t->path = path.p == NULL ? NULL : arena_strdup(a, path);
    if (t->service != NULL && (path.p == NULL || t->path != NULL))
        return true;
    conf_error_value(errors, node, "out of memory");
    return false;
}

static bool check_target_path(const struct conf_node *node, struct slice path, const char *wrong, struct conf_errors *errors)
{
    if (wrong != NULL)
        conf_error_value(errors, node, "found path \"" SLICE_FMT "\", expected %s", SLICE_ARG(path), wrong);
    return wrong == NULL;
}

/* .min of the setting: 1 when there must be a path, and a plain one. */
static bool target_decode(const struct conf_setting *s, const struct conf_node *node, void *field, struct arena *a, struct conf_errors *errors)
{
    struct slice service, path, name;
    size_t at = 0;
    if (!target_split(node, TARGET_ALLOWED, &service, &path, errors))
        return false;
    if (s->min > 0 && (path.p == NULL || manifest_template_next(path, &at, &name) || manifest_template_has_rest(path))) {
        conf_error_value(errors, node, "found \"%s\", expected SERVICE:/PATH without parameters, such as %s", node->text.p, s->example);
        return false;
    }
    return check_target_path(node, path, path.p == NULL ? NULL : manifest_check_template(path), errors) &&
           target_keep(field, service, path, node, a, errors);
}

/* ---- "orders:/v1/orders?limit=5", a part of a composed answer ---- */

#define PART_ALLOWED "SERVICE:/PATH such as orders:/v1/orders?limit=5"

static bool check_query(struct slice query)
{
    for (size_t i = 0; i < query.size; i++)
        if (!(query.p[i] > ' ' && query.p[i] < 0x7f) || strchr("\"#<>\\^`{|}", query.p[i]) != NULL)
            return false;
    return query.p == NULL || query.size > 0;
}

static bool part_decode(const struct conf_setting *s, const struct conf_node *node, void *field, struct arena *a, struct conf_errors *errors)
{
    (void)s;
    struct slice service, whole;
    if (!target_split(node, PART_ALLOWED, &service, &whole, errors))
        return false;
    struct slice query = whole, path = slice_cut(&query, '?');
    if (whole.p == NULL || whole.size > PATH_SIZE_MAX || manifest_template_has_rest(path) || !check_query(query)) {
        fail_target(node, PART_ALLOWED, errors);
        return false;
    }
    return check_target_path(node, path, check_template(path, true), errors) && target_keep(field, service, whole, node, a, errors);
}

static void target_encode(const struct conf_setting *s, const void *field, struct json_writer *w)
{
    (void)s;
    const struct manifest_target *t = field;
    char text[PATH_SIZE_MAX + 72];  /* a name has at most 63 bytes */
    (void)snprintf(text, sizeof text, "%s%s%s", t->service, t->path == NULL ? "" : ":", t->path == NULL ? "" : t->path);
    json_write_str(w, text);
}

static bool target_present(const struct conf_setting *s, const void *field)
{
    (void)s;
    return ((const struct manifest_target *)field)->service != NULL;
}

const struct conf_custom manifest_target_custom = {
    .decode = target_decode,
    .encode = target_encode,
    .present = target_present,
    .size = sizeof(struct manifest_target),
    .schema = "{\"type\":\"string\",\"pattern\":\"^[a-z][a-z0-9_-]*(:/.*)?$\"}",
    .allowed = TARGET_ALLOWED,
    .wrong = "orders:no-slash",
    .example = "orders",
};

const struct conf_custom manifest_part_custom = {
    .decode = part_decode,
    .encode = target_encode,
    .present = target_present,
    .size = sizeof(struct manifest_target),
    .schema = "{\"type\":\"string\",\"pattern\":\"^[a-z][a-z0-9_-]*:/.*$\"}",
    .allowed = PART_ALLOWED,
    .wrong = "orders",
    .example = "orders:/v1/orders?limit=5",
};

/* ---- commands ---- */

#define COMMAND_ALLOWED "a command such as ./orders, or a list of command and arguments"

static bool fail_command(struct conf_errors *errors, const struct conf_node *node, const char *found)
{
    conf_error_value(errors, node, "found %s, expected " COMMAND_ALLOWED, found);
    return false;
}

static bool split_command(struct manifest_command *c, const char **argv, const struct conf_node *node, struct arena *a, struct conf_errors *errors)
{
    struct slice rest = node->text;
    while (rest.p != NULL) {
        struct slice word = slice_cut(&rest, ' ');
        if (word.size == 0)
            continue;
        if (c->count == ARGS_MAX)
            return fail_command(errors, node, "too many words");
        argv[c->count++] = arena_strdup(a, word);
    }
    return c->count > 0 || fail_command(errors, node, "nothing");
}

static bool command_decode(const struct conf_setting *s, const struct conf_node *node, void *field, struct arena *a, struct conf_errors *errors)
{
    (void)s;
    struct manifest_command *c = field;
    const char **argv = ARENA_ARRAY(a, const char *, ARGS_MAX + 1);
    if (argv == NULL) {
        conf_error_value(errors, node, "out of memory");
        return false;
    }
    *c = (struct manifest_command){.argv = argv};
    if (node->kind == CONF_SCALAR)
        return split_command(c, argv, node, a, errors);
    if (node->kind != CONF_LIST_NODE)
        return fail_command(errors, node, node->kind == CONF_NULL ? "nothing" : "a map");
    if (node->count == 0)
        return fail_command(errors, node, "an empty list");
    for (const struct conf_node *n = node->first; n != NULL; n = n->next) {
        if (n->kind != CONF_SCALAR || n->text.size == 0 || c->count == ARGS_MAX)
            return fail_command(errors, n, c->count == ARGS_MAX ? "too many words" : "something else than a word");
        argv[c->count++] = arena_strdup(a, n->text);
    }
    return true;
}

static void command_encode(const struct conf_setting *s, const void *field, struct json_writer *w)
{
    (void)s;
    const struct manifest_command *c = field;
    json_write_array(w);
    for (size_t i = 0; i < c->count; i++)
        json_write_str(w, c->argv[i]);
    json_write_end(w);
}

static bool command_present(const struct conf_setting *s, const void *field)
{
    (void)s;
    return ((const struct manifest_command *)field)->count > 0;
}

const struct conf_custom manifest_command_custom = {
    .decode = command_decode,
    .encode = command_encode,
    .present = command_present,
    .size = sizeof(struct manifest_command),
    .schema = "{\"oneOf\":[{\"type\":\"string\",\"minLength\":1},{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"minItems\":1}]}",
    .allowed = COMMAND_ALLOWED,
    .wrong = NULL,      /* any word may be a command */
    .example = "./orders",
};
