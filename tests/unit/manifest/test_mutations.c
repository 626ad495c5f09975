/* SPDX-License-Identifier: Apache-2.0
 *
 * For each entry of the manifest's tables, by machine: a manifest that has it, with one mistake in it. The error must name
 * the mistake's file, line and column. New settings are covered by being in a table.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "manifest.h"
#include "manifest_files.h"
#include "mem.h"
#include "timefmt.h"

enum { PATH_MAX_DEPTH = 16, TEXT_SIZE_MAX = 1 << 16 };

enum mutation { VALID, WRONG_TYPE, WRONG_UNIT, OUT_OF_RANGE, NOTHING, UNKNOWN_SIBLING, TWICE, MISSING, REFUSED_WORD, MUTATION_COUNT };
static const char *const mutation_names[] = {"valid", "wrong type", "wrong unit", "out of range", "nothing", "unknown sibling", "twice", "missing", "refused word"};

struct generator {
    struct files files;
    const struct conf_setting *path[PATH_MAX_DEPTH];    /* from a setting of the root table to the target */
    size_t depth;
    enum mutation mutation;
    const char *value;              /* what to write instead, for mutations of the value */
    struct buf out;
    unsigned line, column;          /* of the mistake; 0: not written */
    bool service;                   /* the target is in a service's file, else in the root */
    size_t runs, by_mutation[MUTATION_COUNT];
};

/* ---- writing a manifest along the path ---- */

static void mark(struct generator *g)
{
    g->line = 1;
    g->column = 1;
    for (const char *p = buf_str(&g->out); *p != '\0'; p++) {
        g->column++;
        if (*p == '\n') {
            g->line++;
            g->column = 1;
        }
    }
}

static void put_indent(struct generator *g, size_t indent)
{
    for (size_t i = 0; i < indent; i++)
        (void)buf_add_char(&g->out, ' ');
}

/* A number that a setting takes. */
static int64_t valid_number(const struct conf_setting *s)
{
    if (s->min == 0 && s->max == 0)
        return s->fallback > 0 ? s->fallback : 1;
    return s->fallback >= s->min && s->fallback <= s->max ? s->fallback : s->min;
}

static void put_example(struct generator *g, const struct conf_setting *s)
{
    char text[64];
    switch (s->type) {
    case CONF_BOOL: (void)buf_add_str(&g->out, "true"); return;
    case CONF_INT: (void)buf_printf(&g->out, "%lld", (long long)valid_number(s)); return;
    case CONF_DURATION:
        duration_format(valid_number(s), text, sizeof text);
        (void)buf_add_str(&g->out, text);
        return;
    case CONF_SIZE:
        conf_size_format(valid_number(s), text, sizeof text);
        (void)buf_add_str(&g->out, text);
        return;
    case CONF_STRING:
        if (s->example == NULL && s->check != NULL)
            fail_msg("setting %s has a check and no example", s->name);
        (void)buf_printf(&g->out, "\"%s\"", s->example != NULL ? s->example : "text");
        return;
    case CONF_ENUM: (void)buf_add_str(&g->out, s->words[0]); return;
    case CONF_ANY: (void)buf_add_str(&g->out, s->example != NULL ? s->example : "{a: 1}"); return;
    case CONF_CUSTOM: (void)buf_add_str(&g->out, s->example != NULL ? s->example : s->custom->example); return;
    default: fail_msg("no example of %s", s->name);
    }
}

static const char *entry_name(const struct conf_setting *s)
{
    return s->example != NULL ? s->example : s->item->type != CONF_STRING && s->item->example != NULL ? s->item->example : "name";
}

static void put_children(struct generator *g, const struct conf_table *table, size_t indent, size_t level, bool on_path);

/* Behind "key:" or "-": the value, up to the end of its last line. */
static void put_value(struct generator *g, const struct conf_setting *s, size_t indent, size_t level, bool on_path)
{
    bool target = on_path && level + 1 == g->depth;
    bool inner = on_path && !target;
    if (target && g->value != NULL) {
        (void)buf_add_char(&g->out, ' ');
        mark(g);
        (void)buf_printf(&g->out, "%s\n", g->value);
        return;
    }
    switch (s->type) {
    case CONF_TABLE: case CONF_TABLE_PTR: {
        (void)buf_add_char(&g->out, '\n');
        size_t before = g->out.size;
        put_children(g, s->table, indent + 2, level + 1, inner);
        if (g->out.size == before) {
            (void)buf_truncate(&g->out, before - 1);
            (void)buf_add_str(&g->out, " {}\n");
        }
        return;
    }
    case CONF_LIST: case CONF_MAP:
        (void)buf_add_char(&g->out, '\n');
        put_indent(g, indent + 2);
        if (s->type == CONF_LIST || (s->flags & CONF_AS_LIST))
            (void)buf_add_char(&g->out, '-');
        if (s->flags & CONF_AS_LIST) {
            (void)buf_add_char(&g->out, '\n');
            put_indent(g, indent + 4);
        }
        if (s->type == CONF_MAP)
            (void)buf_printf(&g->out, "%s:", entry_name(s));
        put_value(g, s->item, indent + (s->flags & CONF_AS_LIST ? 4 : 2), level + 1, inner && g->path[level + 1] == s->item);
        return;
    default:
        (void)buf_add_char(&g->out, ' ');
        if (target)
            mark(g);
        put_example(g, s);
        (void)buf_add_char(&g->out, '\n');
    }
}

static void put_children(struct generator *g, const struct conf_table *table, size_t indent, size_t level, bool on_path)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct conf_setting *s = &table->settings[i];
        if (s->type == CONF_INLINE) {
            put_children(g, s->table, indent, level, on_path);
            continue;
        }
        bool here = on_path && g->path[level] == s, target = here && level + 1 == g->depth;
        if (!here && !((s->flags & CONF_REQUIRED) && !(s->flags & (CONF_RESOLVED_ONLY | CONF_NOT_BUILT))))
            continue;
        if (target && g->mutation == MISSING)
            continue;
        for (int turn = 0; turn < (target && g->mutation == TWICE ? 2 : 1); turn++) {
            put_indent(g, indent);
            bool at_key = target && ((g->mutation == TWICE && turn == 1) || (s->flags & (CONF_NOT_BUILT | CONF_RESOLVED_ONLY)));
            if (at_key)
                mark(g);
            unsigned line = g->line, column = g->column;
            (void)buf_printf(&g->out, "%s:", s->name);
            put_value(g, s, indent, level, here);
            if (at_key) {
                g->line = line;
                g->column = column;
            }
        }
        if (target && g->mutation == UNKNOWN_SIBLING) {
            put_indent(g, indent);
            mark(g);
            (void)buf_add_str(&g->out, "zz_stranger: 1\n");
        }
    }
}

/* ---- one run ---- */

static const char root_text[] = "ficus: 1\nsystem: shop\ninclude: [services/*/service.yaml]\n";
static const char service_text[] = "service: plain\nteam: t\ndoes: something\nrun: ./plain\n";

static bool has_error_at(const struct conf_errors *errors, const char *file, unsigned line, unsigned column)
{
    for (const struct conf_error *e = errors->first; e != NULL; e = e->next)
        if (strcmp(e->file, file) == 0 && e->line == line && e->column == column)
            return true;
    return false;
}

static bool has_text(const struct conf_errors *errors, const char *text)
{
    for (const struct conf_error *e = errors->first; e != NULL; e = e->next)
        if (strstr(e->text, text) != NULL)
            return true;
    return false;
}

static void report(struct generator *g, const struct conf_errors *errors)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    conf_errors_print(errors, &b);
    fail_msg("%s of %s: no error at %u:%u; the errors are\n%sof the file\n%s", mutation_names[g->mutation], g->path[g->depth - 1]->name, g->line, g->column,
             buf_str(&b), buf_str(&g->out));
}

static void run(struct generator *g, enum mutation mutation, const char *value)
{
    char path[512], file[512];
    struct arena a;
    struct conf_errors errors;
    struct manifest *m;
    g->mutation = mutation;
    g->value = value;
    g->line = g->column = 0;
    buf_clear(&g->out);
    put_children(g, g->service ? &manifest_service_table : &manifest_table, 0, 0, true);
    files_put(&g->files, "ficus.yaml", g->service ? root_text : buf_str(&g->out));
    files_put(&g->files, "services/one/service.yaml", g->service ? buf_str(&g->out) : service_text);
    arena_init(&a, MANIFEST_ARENA_SIZE_MAX);
    conf_errors_init(&errors, &a);
    enum ficus_err err = manifest_load(&a, files_path(&g->files, "ficus.yaml", path, sizeof path), NULL, &m, &errors);
    (void)files_path(&g->files, g->service ? "services/one/service.yaml" : "ficus.yaml", file, sizeof file);
    const struct conf_setting *target = g->path[g->depth - 1];
    if (mutation == MISSING) {
        char text[128];
        (void)snprintf(text, sizeof text, "\"%s\" is missing", target->name);
        if (!has_text(&errors, text))
            report(g, &errors);
    } else if (mutation == VALID) {
        /* Alone in its file it may break a rule between settings, but it is of the right form. */
        if (has_text(&errors, "found") || has_text(&errors, "unknown key") || has_text(&errors, "missing"))
            report(g, &errors);
    } else {
        assert_true(g->line > 0);
        if (err == FICUS_ERR_OK || !has_error_at(&errors, file, g->line, g->column))
            report(g, &errors);
    }
    g->runs++;
    g->by_mutation[mutation]++;
    arena_done(&a);
}

/* ---- which mistakes fit which setting ---- */

static void mutate_number(struct generator *g, const struct conf_setting *s)
{
    char text[64];
    if (s->type != CONF_INT) {
        run(g, WRONG_UNIT, "300");
        run(g, WRONG_UNIT, "300 ms");
        run(g, WRONG_UNIT, "3parsecs");
        run(g, WRONG_UNIT, "3.5s");
    }
    if (s->min > 0 || s->max > 0) {
        const char *unit = s->type == CONF_DURATION ? "ms" : s->type == CONF_SIZE ? "B" : "";
        (void)snprintf(text, sizeof text, "%lld%s", (long long)s->max + 1, unit);
        run(g, OUT_OF_RANGE, text);
        (void)snprintf(text, sizeof text, "%lld%s", (long long)s->min - 1, unit);
        run(g, OUT_OF_RANGE, text);
    }
}

static void mutate_string(struct generator *g, const struct conf_setting *s)
{
    size_t size = s->max == 0 ? 1025 : (size_t)s->max + 1;
    char *text = mem_zalloc(size + 3);
    memset(text, 'x', size + 2);
    text[0] = text[size + 1] = '"';
    run(g, OUT_OF_RANGE, text);
    mem_free(text);
    if (s->min > 0)
        run(g, OUT_OF_RANGE, "\"\"");
}

static void mutate_value(struct generator *g, const struct conf_setting *s)
{
    static const char *const wrong_type[] = {
        [CONF_BOOL] = "maybe", [CONF_INT] = "many", [CONF_DURATION] = "[3s]", [CONF_SIZE] = "[1KiB]", [CONF_STRING] = "[text]", [CONF_ENUM] = "[word]",
        [CONF_TABLE] = "12", [CONF_TABLE_PTR] = "12", [CONF_LIST] = "{a: b}", [CONF_MAP] = "12", [CONF_CUSTOM] = "{a: b}",
    };
    if (s->type == CONF_ANY)
        return;
    run(g, WRONG_TYPE, wrong_type[s->type]);
    run(g, NOTHING, "~");
    if (s->type == CONF_INT || s->type == CONF_DURATION || s->type == CONF_SIZE)
        mutate_number(g, s);
    else if (s->type == CONF_STRING)
        mutate_string(g, s);
    else if (s->type == CONF_ENUM)
        run(g, OUT_OF_RANGE, "no-such-word");
    else if (s->type == CONF_CUSTOM && s->custom->wrong != NULL)
        run(g, OUT_OF_RANGE, s->custom->wrong);
    else if (s->flags & CONF_NOT_EMPTY)
        run(g, OUT_OF_RANGE, s->type == CONF_LIST || (s->flags & CONF_AS_LIST) ? "[]" : "{}");
}

static void walk_table(struct generator *g, const struct conf_table *table);

static void walk_inside(struct generator *g, const struct conf_setting *s)
{
    assert_true(g->depth < PATH_MAX_DEPTH - 1);
    if (s->type == CONF_TABLE || s->type == CONF_TABLE_PTR) {
        walk_table(g, s->table);
    } else if (s->type == CONF_LIST || s->type == CONF_MAP) {
        g->path[g->depth++] = s->item;
        run(g, VALID, NULL);
        mutate_value(g, s->item);
        walk_inside(g, s->item);
        g->depth--;
    }
}

static void walk_table(struct generator *g, const struct conf_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct conf_setting *s = &table->settings[i];
        if (s->type == CONF_INLINE) {
            walk_table(g, s->table);
            continue;
        }
        g->path[g->depth++] = s;
        if (s->flags & (CONF_NOT_BUILT | CONF_RESOLVED_ONLY)) {
            run(g, REFUSED_WORD, s->type == CONF_ANY ? "{a: 1}" : NULL);
        } else {
            run(g, VALID, NULL);
            mutate_value(g, s);
            run(g, UNKNOWN_SIBLING, NULL);
            run(g, TWICE, NULL);
            if (s->flags & CONF_REQUIRED)
                run(g, MISSING, NULL);
            walk_inside(g, s);
        }
        g->depth--;
    }
}

static void walk_all(struct generator *g, bool service)
{
    files_init(&g->files);
    files_put(&g->files, "services/one/migrations/0001_init.sql", "-- nothing\n");
    files_put(&g->files, "services/one/events/example.json", "{}");
    files_put(&g->files, "storefront/index.html", "");
    files_certificate(&g->files, "shop", "DNS:shop.example");
    buf_init(&g->out, TEXT_SIZE_MAX);
    g->service = service;
    walk_table(g, service ? &manifest_service_table : &manifest_table);
    for (int i = 0; i < MUTATION_COUNT; i++)
        print_message("  %s: %zu\n", mutation_names[i], g->by_mutation[i]);
    buf_done(&g->out);
    files_done(&g->files);
}

/* Every entry of the root's tables: each mistake is found at its line and column. */
static void test_root(void **state)
{
    struct generator g = {0};
    walk_all(&g, false);
    assert_true(g.runs > 150);
}

/* Every entry of a service's tables, edges and sagas included: each mistake is found at its line and column. */
static void test_service(void **state)
{
    struct generator g = {0};
    walk_all(&g, true);
    assert_true(g.runs > 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_root), cmocka_unit_test(test_service)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
