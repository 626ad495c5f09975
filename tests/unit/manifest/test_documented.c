/* SPDX-License-Identifier: Apache-2.0
 *
 * Every word of the gateway and of calls that the manifest takes stands in an example of docs/gateway.md or docs/calls.md, at its
 * place. That the examples are taken is what tests/e2e/routes.py and docs_calls.py see to.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "conf_yaml.h"
#include "manifest.h"
#include "mem.h"

#include <stdio.h>
#include <string.h>

enum { NODES_MAX = 1024 };

/* Nodes of all examples at one place of the manifest. */
struct place {
    const struct conf_node *nodes[NODES_MAX];
    size_t count;
};

struct walk {
    struct arena arena;
    char path[512];
    size_t words, lacking;
    const struct conf_setting *seen; /* is left out */
};

static void add(struct place *p, const struct conf_node *node)
{
    assert_true(p->count < NODES_MAX);
    if (node != NULL)
        p->nodes[p->count++] = node;
}

static void walk_table(struct walk *w, const struct conf_table *table, const struct place *at);

/* One word, and what stands below it. */
static void walk_setting(struct walk *w, const struct conf_setting *s, const struct place *at)
{
    struct place *below = arena_alloc(&w->arena, sizeof *below);
    below->count = 0;
    switch (s->type) {
    case CONF_TABLE:
    case CONF_TABLE_PTR:
        walk_table(w, s->table, at);
        break;
    case CONF_LIST:
    case CONF_MAP:
        for (size_t i = 0; i < at->count; i++)
            for (const struct conf_node *n = at->nodes[i]->first; n != NULL; n = n->next)
                add(below, n);
        walk_setting(w, s->item, below);
        break;
    default:
        break;
    }
}

static void walk_table(struct walk *w, const struct conf_table *table, const struct place *at)
{
    size_t size = strlen(w->path);
    struct place *here = arena_alloc(&w->arena, sizeof *here);
    assert_non_null(here);
    for (size_t i = 0; i < table->count; i++) {
        const struct conf_setting *s = &table->settings[i];
        if ((s->flags & (CONF_NOT_BUILT | CONF_RESOLVED_ONLY)) != 0 || s == w->seen)
            continue;
        if (s->type == CONF_INLINE) {
            walk_table(w, s->table, at);
            continue;
        }
        here->count = 0;
        for (size_t k = 0; k < at->count; k++)
            if (at->nodes[k]->kind == CONF_MAP_NODE)
                add(here, conf_get(at->nodes[k], s->name));
        (void)snprintf(w->path + size, sizeof w->path - size, ".%s", s->name);
        w->words++;
        if (here->count == 0) {
            w->lacking++;
            print_error("no example of %s in docs/gateway.md or docs/calls.md\n", w->path);
        } else {
            walk_setting(w, s, here);
        }
        w->path[size] = '\0';
    }
}

static char *file_text(struct arena *a, const char *name)
{
    struct slice here = SLICE(__FILE__);
    char *path = arena_printf(a, SLICE_FMT "%s", (int)(here.size - strlen("tests/unit/manifest/test_documented.c")), here.p, name);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    char *text = arena_alloc(a, 1 << 20);
    size_t size = fread(text, 1, (1 << 20) - 1, f);
    assert_true(size > 0 && feof(f));
    text[size] = '\0';
    assert_int_equal(fclose(f), 0);
    for (char *at = text; (at = strstr(at, "[...]")) != NULL; at++)
        memcpy(at, "[   ]", 5); /* routes that an example does not show */
    return text;
}

/* The block as the routes of a gateway. */
static struct slice as_routes(struct arena *a, struct slice block)
{
    struct buf text;
    buf_init(&text, 1 << 16);
    buf_add_str(&text, "gateway:\n  routes:\n");
    while (block.size > 0) {
        buf_add_str(&text, "    ");
        buf_add_slice(&text, slice_cut(&block, '\n'));
        buf_add_str(&text, "\n");
    }
    struct slice copy = arena_slice(a, buf_slice(&text));
    buf_done(&text);
    return copy;
}

/* Examples are whole gateways, lists of routes, or what a service says of its calls. */
static void read_examples(struct arena *a, const char *name, struct place *gateways, struct place *calls)
{
    static const char open[] = "```yaml\n";
    struct conf_errors errors;
    conf_errors_init(&errors, a);
    for (char *at = file_text(a, name), *end; (at = strstr(at, open)) != NULL; at = end) {
        at += strlen(open);
        end = strstr(at, "```");
        assert_non_null(end);
        struct slice block = slice_make(at, (size_t)(end - at));
        struct conf_node *root = NULL;
        if (slice_starts(block, SLICE("- ")))
            block = as_routes(a, block);
        if (conf_yaml_parse(a, block, name, &root, &errors) != FICUS_ERR_OK) {
            struct buf said;
            buf_init(&said, 1 << 16);
            conf_errors_print(&errors, &said);
            fail_msg("%s" SLICE_FMT, buf_str(&said), SLICE_ARG(block));
        }
        add(gateways, conf_get(root, "gateway"));
        add(calls, conf_get(root, "calls"));
    }
}

static const struct conf_setting *setting_of(const struct conf_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->settings[i].name, name) == 0)
            return &table->settings[i];
    fail_msg("%s has no %s", table->name, name);
    return NULL;
}

static void test_words(void **state)
{
    (void)state;
    struct walk w = {.words = 0};
    arena_init(&w.arena, 256 << 20);
    struct place *gateways = arena_alloc(&w.arena, sizeof *gateways), *calls = arena_alloc(&w.arena, sizeof *calls);
    gateways->count = calls->count = 0;
    read_examples(&w.arena, "docs/gateway.md", gateways, calls);
    read_examples(&w.arena, "docs/calls.md", gateways, calls);
    assert_true(gateways->count > 10 && calls->count > 5);
    (void)snprintf(w.path, sizeof w.path, "calls");
    walk_setting(&w, setting_of(&manifest_service_table, "calls"), calls);
    size_t words = w.words;
    assert_true(words > 20);

    /* The words of gateway.calls are those of calls, which have their examples there: each stands in one of the two. */
    const struct conf_setting *of_gateway = setting_of(setting_of(&manifest_table, "gateway")->table, "calls");
    for (size_t i = 0; i < gateways->count; i++)
        add(calls, conf_get(gateways->nodes[i], "calls"));
    (void)snprintf(w.path, sizeof w.path, "gateway.calls");
    walk_setting(&w, of_gateway, calls);
    w.seen = of_gateway;
    (void)snprintf(w.path, sizeof w.path, "gateway");
    walk_table(&w, setting_of(&manifest_table, "gateway")->table, gateways);
    print_message("%zu words\n", w.words);
    assert_true(w.words > words + 60);
    assert_int_equal(w.lacking, 0);
    arena_done(&w.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
