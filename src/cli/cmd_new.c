/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus new service: a folder beside the manifest with a service that builds, is tested and runs. Where there is no
 * manifest, also one. Nothing that is there is changed; when something goes wrong in the middle, what was made is
 * removed again.
 */
#include "cli.h"

#include "conf_yaml.h"
#include "io_env.h"
#include "manifest.h"
#include "mem.h"
#include "scaffold.h"
#include "templates.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORDS = 4, MADE_MAX = 32 };

struct making {
    struct arena a;
    const char *name;
    const char *manifest; /* as given, or ficus.yaml */
    const char *base;     /* the folder of the manifest, as written: "." */
    bool manifest_made;   /* there was none */
    const char *system;   /* its name then */
    struct conf_node *root;
    const char *folder; /* of the service, from here */
    const char *inside; /* the same from the manifest's folder; NULL: it is not below that */
    struct scaffold_word words[WORDS];
    const char *made[MADE_MAX]; /* files and folders, in their order */
    size_t made_count;
};

static int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    dprintf(2, "ficus: ");
    vdprintf(2, format, args);
    dprintf(2, "\n");
    va_end(args);
    return EXIT_USAGE;
}

static int out_of_memory(void)
{
    return cli_fail(&(struct ficus_error){.code = FICUS_ERR_NOMEM});
}

/* ---- what is asked for ---- */

/* Files, folders and targets that every service has: one of these names would stand for two things. */
static const char *const taken[] = {"main", "test", "clean", "makefile", "migrations"};

static int check_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(taken); i++)
        if (strcmp(name, taken[i]) == 0)
            return fail("\"%s\" cannot be a service's name: its folder has a %s of another meaning", name, name);
    for (size_t i = 0; i < manifest_service_table.count; i++) {
        const struct conf_setting *s = &manifest_service_table.settings[i];
        const char *allowed = strcmp(s->name, "service") == 0 ? s->check(slice_str(name)) : NULL;
        if (allowed != NULL)
            return fail("\"%s\" is no name for a service: expected %s", name, allowed);
    }
    return EXIT_OK;
}

/* In a folder of a system, but not where its manifest lies: a second manifest is not what people mean. */
static int check_above(struct making *m)
{
    char here[PATH_MAX];
    if (getcwd(here, sizeof here) == NULL)
        return fail("the working folder: %s", strerrordesc_np(errno));
    m->words[3].to = m->system = scaffold_system(&m->a, strrchr(here, '/') + 1);
    for (char *slash; (slash = strrchr(here, '/')) != NULL;) {
        *slash = '\0';
        const char *path = arena_printf(&m->a, "%s/ficus.yaml", here);
        if (path != NULL && access(path, F_OK) == 0)
            return fail("the manifest of this system is %s: go there, or say -f %s", path, path);
    }
    return m->system == NULL ? out_of_memory() : EXIT_OK;
}

/* Only its root is read: what else is wrong in the manifest does not matter yet. */
static int read_manifest(struct making *m, bool given)
{
    struct conf_errors errors;
    struct ficus_error error = {0};
    struct slice text;
    conf_errors_init(&errors, &m->a);
    if (!given && access(m->manifest, F_OK) != 0 && errno == ENOENT) {
        m->manifest_made = true;
        return check_above(m);
    }
    struct env *e = env_uv_new(NULL, &error);
    enum ficus_err err = e == NULL ? error.code
                                   : env_file_load(e, &m->a, m->manifest, CONF_TEXT_SIZE_MAX, &text, &error);
    env_uv_free(e);
    if (err != FICUS_ERR_OK)
        return cli_fail(&error);
    if (conf_yaml_parse(&m->a, text, m->manifest, &m->root, &errors) != FICUS_ERR_OK) {
        cli_print_errors(&errors);
        return EXIT_USAGE;
    }
    if (conf_get(m->root, "service") != NULL)
        return fail("%s is one service's part; -f names the manifest of the system", m->manifest);
    return EXIT_OK;
}

/* path without "./" in front and '/' at the end */
static const char *plain(struct arena *a, const char *path)
{
    struct slice s = slice_str(path);
    while (s.size > 2 && slice_starts(s, SLICE("./")))
        s = slice_from(s, 2);
    while (s.size > 1 && s.p[s.size - 1] == '/')
        s.size--;
    return arena_strdup(a, s);
}

static int choose_folder(struct making *m, const char *dir)
{
    const struct conf_node *include = conf_get(m->root, "include");
    if (dir != NULL) {
        m->folder = plain(&m->a, dir);
        m->inside = strcmp(m->base, ".") == 0 && dir[0] != '/' && !slice_starts(slice_str(dir), SLICE("../"))
                        ? m->folder
                        : NULL;
        return m->folder == NULL ? out_of_memory() : EXIT_OK;
    }
    m->inside = m->manifest_made ? scaffold_folder(&m->a, "services/*/service.yaml", m->name) : NULL;
    for (const struct conf_node *n = include == NULL ? NULL : include->first; n != NULL && m->inside == NULL;
         n = n->next)
        if (n->kind == CONF_SCALAR)
            m->inside = scaffold_folder(&m->a, n->text.p, m->name);
    if (m->inside == NULL)
        return fail("%s: include: has no pattern such as services/*/service.yaml, which would take a new service; "
                    "add it, or say --dir FOLDER",
                    m->manifest);
    m->folder = strcmp(m->base, ".") == 0 ? m->inside : arena_printf(&m->a, "%s/%s", m->base, m->inside);
    return m->folder == NULL ? out_of_memory() : EXIT_OK;
}

static bool is_included(const struct making *m)
{
    const struct conf_node *include = conf_get(m->root, "include");
    char path[PATH_MAX];
    if (m->inside == NULL)
        return false;
    snprintf(path, sizeof path, "%s/service.yaml", m->inside);
    if (m->manifest_made)
        return fnmatch("services/*/service.yaml", path, FNM_PATHNAME) == 0;
    for (const struct conf_node *n = include == NULL ? NULL : include->first; n != NULL; n = n->next)
        if (n->kind == CONF_SCALAR && fnmatch(n->text.p, path, FNM_PATHNAME) == 0)
            return true;
    return false;
}

/* ---- making ---- */

static int note_made(struct making *m, const char *path)
{
    if (m->made_count == MADE_MAX)
        return fail("more than %d files", MADE_MAX);
    m->made[m->made_count] = arena_strdup(&m->a, slice_str(path));
    return m->made[m->made_count++] == NULL ? out_of_memory() : EXIT_OK;
}

/* Folders above path that are missing. */
static int make_parents(struct making *m, const char *path)
{
    char each[PATH_MAX];
    for (const char *slash = path; (slash = strchr(slash + 1, '/')) != NULL;) {
        snprintf(each, sizeof each, "%.*s", (int)(slash - path), path);
        if (mkdir(each, 0777) == 0) {
            int code = note_made(m, each);
            if (code != EXIT_OK)
                return code;
        } else if (errno != EEXIST) {
            return fail("make folder %s: %s", each, strerrordesc_np(errno));
        }
    }
    return EXIT_OK;
}

static int make_file(struct making *m, const char *path, struct slice text)
{
    int code = make_parents(m, path);
    if (code != EXIT_OK)
        return code;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail("make %s: %s", path, strerrordesc_np(errno));
    code = note_made(m, path);
    while (text.size > 0 && code == EXIT_OK) {
        ssize_t n = write(fd, text.p, text.size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            code = fail("write %s: %s", path, strerrordesc_np(errno));
        else
            text = slice_from(text, (size_t)n);
    }
    if (close(fd) != 0 && code == EXIT_OK)
        code = fail("write %s: %s", path, strerrordesc_np(errno));
    return code;
}

static int make_template(struct making *m, const struct template_file *f)
{
    struct slice name = slice_str(f->name);
    bool of_service = slice_starts(name, SLICE("service/"));
    struct buf path, text;
    int code = EXIT_OK;
    if (!of_service && !m->manifest_made)
        return EXIT_OK;
    buf_init(&path, PATH_MAX);
    buf_init(&text, 1 << 20);
    if (of_service) {
        buf_printf(&path, "%s/", m->folder);
        name = slice_from(name, strlen("service/"));
    }
    if (!scaffold_expand(name, m->words, WORDS, &path) || !scaffold_expand(slice_str(f->text), m->words, WORDS, &text))
        code = out_of_memory();
    else
        code = make_file(m, buf_str(&path), buf_slice(&text));
    buf_done(&path);
    buf_done(&text);
    return code;
}

static int make_all(struct making *m)
{
    if (access(m->folder, F_OK) == 0)
        return fail("%s is there already; nothing is changed", m->folder);
    for (const struct template_file *f = template_files; f->name != NULL; f++) {
        int code = make_template(m, f);
        if (code == EXIT_OK)
            continue;
        while (m->made_count > 0)
            (void)remove(m->made[--m->made_count]); /* what others put there meanwhile stays, and its folder */
        return EXIT_FAILED;
    }
    return EXIT_OK;
}

/* ---- what comes next ---- */

/* " PKG_CONFIG_PATH=FOLDER" for make where it is needed, else "". */
static const char *package_path(struct making *m)
{
    const char *folder = cli_package_folder(&m->a);
    const char *text = folder[0] == '\0' ? "" : arena_printf(&m->a, " PKG_CONFIG_PATH=%s", folder);
    return text == NULL ? "" : text;
}

/* How people call this very program: by its name alone where PATH leads to it. */
static const char *program(struct arena *a)
{
    char own[PATH_MAX], real[PATH_MAX];
    struct slice rest = slice_str(getenv("PATH"));
    if (realpath("/proc/self/exe", own) == NULL)
        return "ficus";
    while (rest.p != NULL) {
        struct slice folder = slice_cut(&rest, ':');
        const char *file = arena_printf(a, SLICE_FMT "/ficus", SLICE_ARG(folder));
        if (file != NULL && realpath(file, real) != NULL)
            return strcmp(real, own) == 0 ? "ficus" : arena_strdup(a, slice_str(own));
    }
    return arena_strdup(a, slice_str(own));
}

/* The lines "    - { method: ..." of the template's manifest. */
static void print_routes(const struct making *m, struct buf *out)
{
    for (const struct template_file *f = template_files; f->name != NULL; f++) {
        struct slice rest = slice_str(f->text);
        while (strcmp(f->name, "ficus.yaml") == 0 && rest.p != NULL) {
            struct slice line = slice_cut(&rest, '\n');
            if (!slice_starts(line, SLICE("    - {")))
                continue;
            scaffold_expand(line, m->words, WORDS, out);
            buf_add_char(out, '\n');
        }
    }
}

static void print_next(struct making *m, struct buf *out)
{
    const struct conf_node *gateway = conf_get(m->root, "gateway"), *listen = conf_get(gateway, "listen");
    const char *ficus_file = strcmp(m->manifest, "ficus.yaml") == 0 ? "" : arena_printf(&m->a, " -f %s", m->manifest);
    const char *package = package_path(m), *address = listen == NULL ? "127.0.0.1:8080" : listen->text.p;
    buf_printf(out, "Made the service %s in %s", m->name, m->folder);
    if (m->manifest_made)
        buf_printf(out, " and, as there was none, ficus.yaml of the system %s", m->system);
    buf_add_str(out, ".\n");
    if (!is_included(m))
        buf_printf(out, "\n%s does not include it yet; add to it:\n  include: [..., %s/service.yaml]\n", m->manifest,
                   m->inside != NULL ? m->inside : m->folder);
    if (!m->manifest_made) {
        buf_printf(out, "\nIts part in the gateway, to be added to %s:\n", m->manifest);
        if (gateway == NULL)
            buf_add_str(out, "gateway:\n");
        buf_add_str(out, "  routes:\n");
        print_routes(m, out);
    }
    buf_printf(out,
               "\nNext:\n  make -C %s%s\n  make -C %s test%s\n  %s up%s\nand from another terminal:\n"
               "  curl -X PUT http://%s/api/v1/%s/one -H 'Content-Type: application/json' -d '{\"text\":\"Hello\"}'\n"
               "  curl http://%s/api/v1/%s\n",
               m->folder, package, m->folder, package, program(&m->a), ficus_file == NULL ? "" : ficus_file, address,
               m->name, address, m->name);
}

static const char *upper_case(struct arena *a, const char *text)
{
    char *copy = arena_strdup(a, slice_str(text));
    for (char *p = copy; p != NULL && *p != '\0'; p++)
        *p = (char)toupper((unsigned char)*p);
    return copy;
}

static int make_service(struct making *m, const struct command_call *c)
{
    const char *file = command_value(c, "file", NULL);
    m->name = c->operands[0];
    m->manifest = file == NULL ? "ficus.yaml" : file;
    const char *slash = strrchr(m->manifest, '/');
    m->base = slash == NULL ? "." : arena_strdup(&m->a, slice_make(m->manifest, (size_t)(slash - m->manifest)));
    m->words[0] = (struct scaffold_word){"sample_", arena_printf(&m->a, "%s_", scaffold_identifier(&m->a, m->name))};
    m->words[1] = (struct scaffold_word){"sample", m->name};
    m->words[2] = (struct scaffold_word){"SAMPLE_", upper_case(&m->a, m->words[0].to)};
    m->words[3] = (struct scaffold_word){"SYSTEM", "system"};
    if (m->base == NULL || m->words[0].to == NULL || m->words[2].to == NULL)
        return out_of_memory();
    int code = check_name(m->name);
    if (code == EXIT_OK)
        code = read_manifest(m, file != NULL);
    if (code == EXIT_OK)
        code = choose_folder(m, command_value(c, "dir", NULL));
    return code == EXIT_OK ? make_all(m) : code;
}

/* The manifest with the new service in it: what is wrong with the two together is said now. */
static int check_manifest(struct making *m)
{
    struct arena a;
    struct conf_errors errors;
    struct manifest *loaded = NULL;
    arena_init(&a, MANIFEST_ARENA_SIZE_MAX);
    conf_errors_init(&errors, &a);
    enum ficus_err err = manifest_load(&a, m->manifest, NULL, &loaded, &errors);
    if (err != FICUS_ERR_OK) {
        dprintf(2, "\nThe manifest has errors now:\n");
        cli_print_errors(&errors);
    }
    arena_done(&a);
    return err == FICUS_ERR_OK ? EXIT_OK : EXIT_USAGE;
}

int cmd_new_service(const struct command_call *c)
{
    struct making m = {0};
    struct buf out;
    arena_init(&m.a, 16 << 20);
    buf_init(&out, 65536);
    int code = make_service(&m, c);
    if (code == EXIT_OK) {
        print_next(&m, &out);
        cli_print(buf_slice(&out));
        code = check_manifest(&m);
    }
    buf_done(&out);
    arena_done(&m.a);
    return code;
}
