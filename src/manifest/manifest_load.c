/* SPDX-License-Identifier: Apache-2.0
 *
 * From files to struct manifest: read, put --set values in, decode, include, expand, check. Reading goes on after
 * errors as far as it makes sense, so that all of them are seen at once.
 */
#include "manifest_private.h"

#include "conf_yaml.h"
#include "map.h"
#include "text.h"

#include <stdio.h>

struct loader {
    struct arena *arena;
    struct conf_errors *errors;
    struct manifest *m;
    const char *given_folder;       /* as the user wrote it: for messages */
    bool *set_used;                 /* per --set of a service: it is there */
};

static void fail_memory(struct loader *l)
{
    conf_error_place(l->errors, FICUS_ERR_NOMEM, l->m->file, 1, 1, "out of memory");
}

/* Read and parse one file. NULL: an error was added. */
static struct conf_node *read_tree(struct loader *l, const char *path, const char *shown)
{
    struct ficus_error err = {0};
    struct slice text;
    struct conf_node *root = NULL;
    enum ficus_err code = manifest_read_file(l->arena, path, CONF_TEXT_SIZE_MAX, &text, &err);
    if (code != FICUS_ERR_OK) {
        conf_error_place(l->errors, code, shown, 1, 1, "cannot be read: %s",
                         code == FICUS_ERR_INVALID ? "no file, but a folder or the like" : err_text(code));
        return NULL;
    }
    if (conf_yaml_parse(l->arena, text, shown, &root, l->errors) != FICUS_ERR_OK)
        return NULL;
    if (root->kind == CONF_MAP_NODE)
        return root;
    conf_error_place(l->errors, FICUS_ERR_INVALID, shown, root->line, root->column, "found %s, expected a map",
                     root->kind == CONF_NULL ? "nothing" : root->kind == CONF_LIST_NODE ? "a list" : "text");
    return NULL;
}

static bool check_version(struct loader *l, const struct conf_node *root)
{
    const struct conf_node *node = conf_get(root, "ficus");
    int64_t version;
    if (node == NULL || node->kind != CONF_SCALAR || !slice_to_i64(node->text, &version) || version <= MANIFEST_VERSION)
        return true;
    conf_error_place(l->errors, FICUS_ERR_VERSION, node->file, node->line, node->column,
                     "ficus: this file is of version %lld, made for a newer Ficus; this one reads version %d", (long long)version, MANIFEST_VERSION);
    return false;
}

/* ---- --set path=value ---- */

static struct conf_node *child_for(struct loader *l, struct conf_node *map, struct slice key, const char *shown)
{
    struct conf_node **link = &map->first;
    for (; *link != NULL; link = &(*link)->next)
        if (slice_eq((*link)->key, key))
            return *link;
    struct conf_node *n = ARENA_NEW(l->arena, struct conf_node);
    if (n == NULL)
        return NULL;
    *n = (struct conf_node){.kind = CONF_MAP_NODE, .file = shown, .line = 1, .column = 1, .key_line = 1, .key_column = 1,
                            .index = map->count++, .key = arena_slice(l->arena, key), .parent = map};
    *link = n;
    return n->key.p == NULL ? NULL : n;
}

static void replace_value(struct conf_node *n, const struct conf_node *by)
{
    n->kind = by->kind;
    n->quoted = by->quoted;
    n->file = by->file;
    n->line = n->key_line = by->line;
    n->column = n->key_column = by->column;
    n->count = by->count;
    n->text = by->text;
    n->first = by->first;
    for (struct conf_node *child = n->first; child != NULL; child = child->next)
        child->parent = n;
}

/* skip: bytes of the path that lead to root. */
static void apply_set(struct loader *l, struct conf_node *root, const char *set, size_t skip)
{
    struct slice value = slice_str(set);
    struct slice path = slice_cut(&value, '=');
    const char *shown = arena_printf(l->arena, "--set " SLICE_FMT, SLICE_ARG(path));
    if (shown == NULL) {
        fail_memory(l);
        return;
    }
    if (value.p == NULL || path.size == 0) {
        conf_error_place(l->errors, FICUS_ERR_INVALID, shown, 1, 1, "expected PATH=VALUE, such as gateway.listen=127.0.0.1:18080");
        return;
    }
    struct conf_node *at = root, *parsed;
    path = slice_from(path, skip);
    while (path.p != NULL) {
        if (at->kind != CONF_MAP_NODE) {
            conf_error_place(l->errors, FICUS_ERR_INVALID, shown, 1, 1, "%s is no map", conf_path(l->arena, at));
            return;
        }
        at = child_for(l, at, slice_cut(&path, '.'), shown);
        if (at == NULL) {
            fail_memory(l);
            return;
        }
    }
    if (conf_yaml_parse(l->arena, value, shown, &parsed, l->errors) == FICUS_ERR_OK)
        replace_value(at, parsed);
}

static bool is_service_set(const char *set)
{
    return slice_starts(slice_str(set), SLICE("services."));
}

static void apply_root_sets(struct loader *l, struct conf_node *root)
{
    const struct manifest_options *o = &l->m->options;
    for (size_t i = 0; i < o->set_count; i++)
        if (!is_service_set(o->sets[i]))
            apply_set(l, root, o->sets[i], 0);
}

/* services.NAME.KEY=VALUE, into the file of the service that calls itself NAME */
static void apply_service_sets(struct loader *l, struct conf_node *root)
{
    const struct manifest_options *o = &l->m->options;
    const struct conf_node *name = conf_get(root, "service");
    const char *prefix = name == NULL || name->kind != CONF_SCALAR ? NULL : arena_printf(l->arena, "services." SLICE_FMT ".", SLICE_ARG(name->text));
    for (size_t i = 0; i < o->set_count && prefix != NULL; i++) {
        if (!slice_starts(slice_str(o->sets[i]), slice_str(prefix)))
            continue;
        l->set_used[i] = true;
        apply_set(l, root, o->sets[i], strlen(prefix));
    }
}

/* "services.dsk.workers": the service that is meant, NULL: none is near. */
static const char *nearest_service(struct loader *l, struct slice path)
{
    const char **names = ARENA_ARRAY(l->arena, const char *, l->m->service_count + 1);
    size_t count = 0;
    for (size_t i = 0; names != NULL && i < l->m->service_count; i++)
        if (l->m->services[i].name != NULL)
            names[count++] = l->m->services[i].name;
    (void)slice_cut(&path, '.');
    return names == NULL ? NULL : text_nearest(slice_cut(&path, '.'), names, count);
}

static void report_unused_sets(struct loader *l)
{
    const struct manifest_options *o = &l->m->options;
    for (size_t i = 0; i < o->set_count; i++) {
        struct slice path = slice_str(o->sets[i]);
        path = slice_cut(&path, '=');
        if (!is_service_set(o->sets[i]) || l->set_used[i])
            continue;
        const char *shown = arena_printf(l->arena, "--set " SLICE_FMT, SLICE_ARG(path));
        const char *near = nearest_service(l, path);
        conf_error_place(l->errors, FICUS_ERR_INVALID, shown == NULL ? "--set" : shown, 1, 1,
                         "expected services.NAME.KEY=VALUE with the name of a service%s%s%s",
                         near == NULL ? "" : " (did you mean ", near == NULL ? "" : near, near == NULL ? "" : "?)");
    }
}

/* ---- commands and migrations ---- */

static const char *expand_word(struct loader *l, const char *word, const char *folder, bool first)
{
    static const char variable[] = "${build}";
    const char *build = l->m->options.build;
    struct buf b;
    buf_init(&b, 8192);
    if (first && word[0] == '.' && word[1] == '/') {
        (void)buf_printf(&b, "%s/", folder);
        word += 2;
    }
    for (const char *at; build != NULL && (at = strstr(word, variable)) != NULL; word = at + sizeof variable - 1) {
        (void)buf_add(&b, word, (size_t)(at - word));
        (void)buf_add_str(&b, build);
    }
    (void)buf_add_str(&b, word);
    const char *out = buf_failed(&b) ? NULL : arena_strdup(l->arena, buf_slice(&b));
    buf_done(&b);
    return out;
}

/* NULL-terminated; NULL: out of memory, which is reported. */
static const char *const *expand_words(struct loader *l, const char *const *words, size_t count, const char *folder)
{
    const char **argv = ARENA_ARRAY(l->arena, const char *, count + 1);
    for (size_t i = 0; argv != NULL && i < count; i++) {
        argv[i] = words[i] == NULL ? "" : expand_word(l, words[i], folder, i == 0); /* NULL: an error, reported */
        if (argv[i] == NULL)
            argv = NULL;
    }
    if (argv == NULL)
        fail_memory(l);
    return argv;
}

static void expand_command(struct loader *l, struct manifest_service *s)
{
    s->run.argv = expand_words(l, s->run.argv, s->run.count, s->folder);
}

static void expand_scenarios(struct loader *l, const struct manifest_service *s, struct saga_def *d)
{
    for (size_t i = 0; i < d->scenario_count; i++) {
        struct saga_program *programs[] = {&d->scenarios[i].prepare, &d->scenarios[i].start, &d->scenarios[i].check};
        for (size_t k = 0; k < sizeof programs / sizeof programs[0]; k++)
            if (programs[k]->count > 0)
                programs[k]->words = expand_words(l, programs[k]->words, programs[k]->count, s->folder);
    }
}

/* "0001_init.sql" with the given number. */
static bool is_migration(const char *name, size_t number)
{
    char prefix[16];
    (void)snprintf(prefix, sizeof prefix, "%04zu_", number);
    return slice_starts(slice_str(name), slice_str(prefix)) && strlen(name) > strlen(prefix) + 4;
}

static void find_migrations(struct loader *l, struct manifest_service *s)
{
    const struct conf_node *node = conf_get(s->node, "migrations");
    struct ficus_error err = {0};
    const char *const *names;
    size_t count;
    const char *folder = arena_printf(l->arena, "%s/%s", s->folder, s->migrations);
    if (folder == NULL) {
        fail_memory(l);
        return;
    }
    if (manifest_list(l->arena, folder, MANIFEST_MIGRATIONS_MAX, &names, &count, &err) != FICUS_ERR_OK) {
        conf_error_value(l->errors, node, "\"%s\" cannot be read: %s", s->migrations, err_text(err.code));
        return;
    }
    const char **files = ARENA_ARRAY(l->arena, const char *, count + 1);
    for (size_t i = 0; files != NULL && i < count; i++) {
        if (!slice_ends(slice_str(names[i]), SLICE(".sql")))
            continue;
        if (!is_migration(names[i], s->migration_count + 1)) {
            conf_error_value(l->errors, node, "found %s, expected %04zu_NAME.sql next: migrations are numbered without gaps from 0001", names[i], s->migration_count + 1);
            return;
        }
        const char *file = arena_printf(l->arena, "%s/%s", folder, names[i]);
        if (file == NULL)
            files = NULL;
        else
            files[s->migration_count++] = file;
    }
    if (files == NULL)
        fail_memory(l);
    s->migration_files = files;
    if (files != NULL && s->migration_count == 0)
        conf_error_value(l->errors, node, "\"%s\" has no file 0001_NAME.sql", s->migrations);
}

/* ---- folders of files ---- */

static void find_folder(struct loader *l, struct manifest_route *r)
{
    const char *file = NULL;
    r->folder = arena_printf(l->arena, "%s/%s", l->m->folder, r->files);
    if (r->page != NULL)
        file = arena_printf(l->arena, "%s/%s/%s", l->m->folder, r->files, r->page);
    if (r->folder == NULL || (r->page != NULL && file == NULL))
        fail_memory(l);
    else if (!manifest_is_folder(r->folder))
        conf_error_value(l->errors, conf_get(r->node, "files"), "\"%s\" is no folder beside this file", r->files);
    else if (file != NULL && !manifest_is_file(file))
        conf_error_value(l->errors, conf_get(r->node, "page"), "\"%s\" is no file of the folder %s", r->page, r->files);
}

static void find_folders(struct loader *l)
{
    struct manifest_gateway *g = l->m->gateway;
    for (size_t i = 0; g != NULL && i < g->route_count; i++)
        if (g->routes[i].files != NULL && g->routes[i].node != NULL)
            find_folder(l, &g->routes[i]);
}

static const char *absolute(struct loader *l, const char *folder, const char *path)
{
    const char *found = path == NULL || path[0] == '/' ? path : arena_printf(l->arena, "%s/%s", folder, path);
    if (found == NULL && path != NULL)
        fail_memory(l);
    return found;
}

/* Better now than by a gateway that does not come up, or clients that turn away. */
static void find_certificates(struct loader *l)
{
    struct manifest_tls *t = l->m->gateway != NULL ? l->m->gateway->tls : NULL;
    if (t == NULL)
        return;
    if (t->certificate_count > TLS_PAIRS_MAX)
        conf_error_key(l->errors, conf_get(t->node, "certificates"), "has more than %d", TLS_PAIRS_MAX);
    for (size_t i = 0; i < t->certificate_count; i++) {
        struct manifest_certificate *c = &t->certificates[i];
        bool at_key = false;
        struct ficus_error err = {0};
        if (c->node == NULL || c->certificate == NULL || c->key == NULL)
            continue;
        c->files = (struct tls_pair){absolute(l, l->m->folder, c->certificate), absolute(l, l->m->folder, c->key)};
        if (c->files.certificate != NULL && c->files.key != NULL &&
            tls_pair_check(&c->files, manifest_now_ms(), &at_key, &err) != FICUS_ERR_OK)
            conf_error_value(l->errors, conf_get(c->node, at_key ? "key" : "certificate"), "%s", err.text);
    }
}

/* ---- services that somebody else starts ---- */

/* Likewise: better now than by calls that fail. */
static void check_upstream_files(struct loader *l, const struct manifest_service *s)
{
    const struct call_upstream *u = s->upstream;
    const struct tls_client_options options = {.name = "", .ca_file = u->ca, .certificate_file = u->certificate, .key_file = u->key};
    const char *file;
    struct ficus_error err = {0};
    if (tls_client_check(&options, manifest_now_ms(), &file, &err) == FICUS_ERR_OK)
        return;
    const char *word = file == NULL ? NULL : file == u->ca ? "ca" : file == u->key ? "key" : "certificate";
    conf_error_value(l->errors, word == NULL ? conf_get(s->node, "url") : conf_get(s->tls->node, word), "%s", err.text);
}

static void find_upstream(struct loader *l, struct manifest_service *s)
{
    struct call_upstream *u = ARENA_NEW(l->arena, struct call_upstream);
    if (u == NULL) {
        fail_memory(l);
        return;
    }
    u->url = s->url;
    u->protocol = s->protocol;
    s->upstream = u;
    if (s->tls == NULL || s->tls->node == NULL)
        return;
    const struct conf_node *certificate = conf_get(s->tls->node, "certificate"), *key = conf_get(s->tls->node, "key");
    if ((certificate == NULL) != (key == NULL))
        conf_error_key(l->errors, certificate != NULL ? certificate : key, "needs \"%s\" beside it", certificate != NULL ? "key" : "certificate");
    u->name = s->tls->name;
    u->ca = absolute(l, s->folder, s->tls->ca);
    u->certificate = absolute(l, s->folder, s->tls->certificate);
    u->key = absolute(l, s->folder, s->tls->key);
    if ((u->certificate == NULL) == (u->key == NULL))
        check_upstream_files(l, s);
}

/* ---- include ---- */

struct file_list {
    const char **paths, **shown;
    size_t count;
};

static void include_pattern(struct loader *l, size_t index, struct map *seen, struct file_list *files)
{
    struct manifest *m = l->m;
    const struct conf_node *node = conf_get(m->node, "include")->first;
    while (node->index != index)
        node = node->next;
    const char *const *paths;
    size_t count;
    struct ficus_error err = {0};
    if (manifest_glob(l->arena, m->folder, m->include[index], MANIFEST_FILES_MAX, &paths, &count, &err) != FICUS_ERR_OK) {
        conf_error_value(l->errors, node, "%s", err.text);
        return;
    }
    if (count == 0)
        conf_error_value(l->errors, node, "\"%s\" matches no file", m->include[index]);
    for (size_t i = 0; i < count; i++) {
        if (map_get(seen, slice_str(paths[i])) != NULL)
            continue;
        if (files->count == MANIFEST_FILES_MAX) {
            conf_error_value(l->errors, node, "more than %d files are included", (int)MANIFEST_FILES_MAX);
            return;
        }
        const char *inside = paths[i] + strlen(m->folder) + (strcmp(m->folder, "/") == 0 ? 0 : 1);
        const char *shown = strcmp(l->given_folder, ".") == 0 ? inside : arena_printf(l->arena, "%s/%s", l->given_folder, inside);
        if (shown == NULL || !map_put(seen, slice_str(paths[i]), m)) {
            fail_memory(l);
            return;
        }
        files->paths[files->count] = paths[i];
        files->shown[files->count++] = shown;
    }
}

static void load_service(struct loader *l, const char *path, const char *shown, struct manifest_service *s)
{
    struct conf_node *root = read_tree(l, path, shown);
    if (root == NULL)
        return;
    apply_service_sets(l, root);
    bool ok = conf_decode(root, &manifest_service_table, CONF_MANIFEST, s, l->arena, l->errors);
    s->folder = manifest_dirname(l->arena, path);
    if (s->folder == NULL) {
        fail_memory(l);
        return;
    }
    if (s->run.count > 0)
        expand_command(l, s);
    for (size_t k = 0; k < s->saga_count; k++)
        expand_scenarios(l, s, &s->sagas[k]);
    if (s->migrations != NULL)
        find_migrations(l, s);
    if (s->url != NULL)
        find_upstream(l, s);
    /* What is wrong in one place must not hide what is wrong between places; checks across look at what there is. */
    (void)ok;
}

static void load_services(struct loader *l)
{
    struct manifest *m = l->m;
    struct file_list files = {.paths = ARENA_ARRAY(l->arena, const char *, MANIFEST_FILES_MAX), .shown = ARENA_ARRAY(l->arena, const char *, MANIFEST_FILES_MAX)};
    struct map seen;
    if (files.paths == NULL || files.shown == NULL) {
        fail_memory(l);
        return;
    }
    map_init(&seen, (const uint64_t[2]){0, 0});
    for (size_t i = 0; i < m->include_count; i++)
        if (m->include[i] != NULL)
            include_pattern(l, i, &seen, &files);
    map_done(&seen);
    m->services = ARENA_ARRAY(l->arena, struct manifest_service, files.count + 1);
    if (m->services == NULL) {
        fail_memory(l);
        return;
    }
    for (size_t i = 0; i < files.count; i++)
        load_service(l, files.paths[i], files.shown[i], &m->services[m->service_count++]);
}

/* ---- processes ---- */

static void fill_process(struct loader *l, struct manifest_process *p, const char *socket)
{
    const struct manifest_options *o = &l->m->options;
    if (o->state == NULL)
        return;
    const char *folder = o->sockets != NULL ? o->sockets : arena_printf(l->arena, "%s/run", o->state);
    p->config_path = arena_printf(l->arena, "%s/run/%s.json", o->state, p->name);
    if (p->address == NULL && folder != NULL)
        p->address = arena_printf(l->arena, "unix:%s/%s", folder, socket);
    if (p->config_path == NULL || p->address == NULL)
        fail_memory(l);
}

static void list_processes(struct loader *l)
{
    struct manifest *m = l->m;
    struct manifest_process *p = ARENA_ARRAY(l->arena, struct manifest_process, m->service_count + 2);
    m->processes = p;
    if (p == NULL) {
        fail_memory(l);
        return;
    }
    *p = (struct manifest_process){.kind = MANIFEST_HUB, .name = "hub", .team = "", .folder = m->folder};
    fill_process(l, p++, "hub.sock");
    if (m->gateway != NULL) {
        *p = (struct manifest_process){.kind = MANIFEST_GATEWAY, .name = "gateway", .team = "", .folder = m->folder};
        if (m->options.state != NULL)
            p->address = arena_printf(l->arena, "tcp:%s", m->gateway->listen);
        fill_process(l, p++, NULL);
    }
    for (size_t i = 0; i < m->service_count; i++) {
        const struct manifest_service *s = &m->services[i];
        if (s->url != NULL)
            continue;
        *p = (struct manifest_process){.kind = MANIFEST_SERVICE, .name = s->name, .team = s->team, .argv = s->run.argv, .folder = s->folder,
                                       .needs = s->needs, .need_count = s->need_count};
        const char *socket = arena_printf(l->arena, "%s.1.sock", s->name);
        if (socket == NULL)
            fail_memory(l);
        else
            fill_process(l, p, socket);
        p++;
    }
    m->process_count = (size_t)(p - m->processes);
    if (m->administrator != NULL && m->options.state != NULL && (m->admin_file = arena_printf(l->arena, "%s/admin.json", m->options.state)) == NULL)
        fail_memory(l);
}

/* root: the file already, to tell what it is; it is read again as every service's is. */
static bool load_part(struct loader *l, const struct conf_node *root, const char *real, const char *path)
{
    struct manifest *m = l->m;
    if (conf_get(root, "service") == NULL || conf_get(root, "ficus") != NULL)
        return false;
    if (!m->options.part_allowed) {
        conf_error_place(l->errors, FICUS_ERR_INVALID, path, 1, 1, "is one service's part, not the manifest of a system, which includes it");
        return true;
    }
    m->is_part = true;
    m->services = ARENA_NEW(l->arena, struct manifest_service);
    if (m->services == NULL) {
        fail_memory(l);
        return true;
    }
    m->service_count = 1;
    load_service(l, real, path, m->services);
    manifest_check(m, l->arena, l->errors);
    manifest_check_schemas(m, l->arena, l->errors);
    return true;
}

static void load(struct loader *l, const char *path)
{
    struct manifest *m = l->m;
    struct ficus_error err = {0};
    const char *real;
    enum ficus_err code = manifest_real_path(l->arena, path, &real, &err);
    if (code != FICUS_ERR_OK) {
        conf_error_place(l->errors, code, path, 1, 1, "cannot be read: %s%s", err_text(code),
                         code == FICUS_ERR_NOT_FOUND ? " (-f names another, ficus new service makes one)" : "");
        return;
    }
    const char *folder = manifest_dirname(l->arena, real);
    l->given_folder = manifest_dirname(l->arena, path);
    if (folder == NULL || l->given_folder == NULL) {
        fail_memory(l);
        return;
    }
    struct conf_node *root = read_tree(l, real, path);
    struct manifest_options options = m->options;
    l->set_used = arena_zalloc(l->arena, options.set_count + 1);
    if (l->set_used == NULL)
        fail_memory(l);
    if (root == NULL || l->set_used == NULL || load_part(l, root, real, path) || !check_version(l, root))
        return;
    apply_root_sets(l, root);
    (void)conf_decode(root, &manifest_table, CONF_MANIFEST, m, l->arena, l->errors);    /* what failed is in errors */
    m->options = options;
    m->file = path;
    m->folder = folder;
    find_folders(l);
    find_certificates(l);
    load_services(l);
    report_unused_sets(l);
    manifest_check(m, l->arena, l->errors);
    manifest_check_schemas(m, l->arena, l->errors);
    if (l->errors->count == 0)
        list_processes(l);
}

enum ficus_err manifest_load(struct arena *a, const char *path, const struct manifest_options *options, struct manifest **ret_manifest,
                             struct conf_errors *errors)
{
    struct manifest *m = ARENA_NEW(a, struct manifest);
    struct loader l = {.arena = a, .errors = errors, .m = m};
    if (m == NULL) {
        conf_error_place(errors, FICUS_ERR_NOMEM, path, 1, 1, "out of memory");
        return FICUS_ERR_NOMEM;
    }
    m->file = path;
    if (options != NULL)
        m->options = *options;
    load(&l, path);
    if (errors->count > 0)
        return conf_errors_first(errors, NULL);
    *ret_manifest = m;
    return FICUS_ERR_OK;
}

const struct manifest_service *manifest_find_service(const struct manifest *m, const char *name)
{
    for (size_t i = 0; i < m->service_count; i++)
        if (m->services[i].name != NULL && strcmp(m->services[i].name, name) == 0)
            return &m->services[i];
    return NULL;
}

const struct manifest_process *manifest_find_process(const struct manifest *m, const char *name)
{
    for (size_t i = 0; i < m->process_count; i++)
        if (strcmp(m->processes[i].name, name) == 0)
            return &m->processes[i];
    return NULL;
}
