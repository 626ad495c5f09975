/* SPDX-License-Identifier: Apache-2.0
 *
 * Sagas in sagas: a step's saga is there, none comes back to itself, they are not too deep in each other, and no two steps begin the
 * same instance.
 */
#include "manifest_private.h"

#include "map.h"
#include "text.h"

enum { NAMES_MAX = 256, PATH_MAX_SAGAS = 64 /* far over what is allowed: the bound of the recursion */ };
enum state { NEW, OPEN, DONE };

struct saga_at {
    const struct saga_def *def;
    enum state state;
    int height; /* of sagas in each other, with this one */
};

struct saga_checker {
    const struct manifest *m;
    struct arena *arena;
    struct conf_errors *errors;
    struct map sagas; /* name -> struct saga_at */
    struct map steps; /* "saga/step" -> the node that named it first */
    struct saga_at *path[PATH_MAX_SAGAS];
    size_t depth;
};

const struct saga_def *manifest_find_saga(const struct manifest *m, const char *name)
{
    for (size_t i = 0; i < m->service_count; i++)
        for (size_t k = 0; k < m->services[i].saga_count; k++)
            if (m->services[i].sagas[k].name != NULL && strcmp(m->services[i].sagas[k].name, name) == 0)
                return &m->services[i].sagas[k];
    return NULL;
}

static void put(struct saga_checker *c, struct map *map, const char *name, void *value)
{
    if (name == NULL || !map_put(map, slice_str(name), value))
        conf_error_place(c->errors, FICUS_ERR_NOMEM, c->m->file, 1, 1, "out of memory");
}

static void no_saga(struct saga_checker *c, const struct saga_step *step)
{
    const char *names[NAMES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < c->m->service_count; i++)
        for (size_t k = 0; k < c->m->services[i].saga_count && count < NAMES_MAX; k++)
            if (c->m->services[i].sagas[k].name != NULL)
                names[count++] = c->m->services[i].sagas[k].name;
    const char *near = text_nearest(slice_str(step->saga), names, count);
    conf_error_value(c->errors, conf_get(step->node, "saga"), "\"%s\" is no saga of this system%s%s%s", step->saga, near != NULL ? " (did you mean " : "",
                     near != NULL ? near : "", near != NULL ? "?)" : "");
}

static void circle(struct saga_checker *c, const struct saga_step *step, const struct saga_at *back_to)
{
    struct buf b;
    size_t i = 0;
    buf_init(&b, 4096);
    while (c->path[i] != back_to)
        i++;
    for (; i < c->depth; i++)
        (void)buf_printf(&b, "%s -> ", c->path[i]->def->name);
    conf_error_value(c->errors, conf_get(step->node, "saga"), "is a circle: %s%s; each instance would begin another one for ever", buf_str(&b),
                     back_to->def->name);
    buf_done(&b);
}

/* The instance's id is the parent's and the step's name. */
static void check_step_name(struct saga_checker *c, const struct saga_step *step)
{
    const char *key = arena_printf(c->arena, "%s/%s", step->saga, step->name);
    const struct saga_step *first = key == NULL ? NULL : map_get(&c->steps, slice_str(key));
    if (first == NULL)
        put(c, &c->steps, key, (void *)(uintptr_t)step);
    else
        conf_error_key(c->errors, step->node,
                       "is the name of a step that begins saga \"%s\" in %s:%u; sagas with the same id would begin the same instance, ID.%s: "
                       "give it another name",
                       step->saga, first->node->file, first->node->key_line, step->name);
}

static void walk(struct saga_checker *c, struct saga_at *at)
{
    at->state = OPEN;
    at->height = 1;
    c->path[c->depth++] = at;
    for (size_t i = 0; i < at->def->step_count; i++) {
        const struct saga_step *step = &at->def->steps[i];
        struct saga_at *child = step->saga == NULL ? NULL : map_get(&c->sagas, slice_str(step->saga));
        if (step->saga == NULL || step->node == NULL)
            continue;
        if (child == NULL)
            no_saga(c, step);
        else if (child->state == OPEN)
            circle(c, step, child);
        else if (child->state == NEW && c->depth < PATH_MAX_SAGAS)
            walk(c, child);
        check_step_name(c, step);
        if (child == NULL || child->state != DONE || child->height < at->height)
            continue;
        at->height = child->height + 1;
        if (at->height == SAGA_DEPTH_MAX + 1)
            conf_error_value(c->errors, conf_get(step->node, "saga"), "is one too many: with \"%s\" there are %d sagas in each other, and at most %d may be",
                             at->def->name, at->height, SAGA_DEPTH_MAX);
    }
    c->depth--;
    at->state = DONE;
}

void manifest_check_sagas(const struct manifest *m, struct arena *a, struct conf_errors *errors)
{
    static const uint64_t trusted[2] = {0, 0}; /* the keys come from the user's own files */
    struct saga_checker c = {.m = m, .arena = a, .errors = errors};
    map_init(&c.sagas, trusted);
    map_init(&c.steps, trusted);
    for (size_t i = 0; i < m->service_count; i++)
        for (size_t k = 0; k < m->services[i].saga_count; k++) {
            struct saga_at *at = ARENA_NEW(a, struct saga_at);
            if (at != NULL)
                at->def = &m->services[i].sagas[k];
            put(&c, &c.sagas, at == NULL ? NULL : at->def->name, at);
        }
    for (size_t i = 0; i < m->service_count; i++)
        for (size_t k = 0; k < m->services[i].saga_count; k++) {
            const char *name = m->services[i].sagas[k].name;
            struct saga_at *at = name == NULL ? NULL : map_get(&c.sagas, slice_str(name));
            if (at != NULL && at->state == NEW)
                walk(&c, at);
        }
    map_done(&c.sagas);
    map_done(&c.steps);
}
