/* SPDX-License-Identifier: Apache-2.0
 *
 * See saga_def_rules.h. That names differ is conf's own rule.
 */
#include "saga_def_rules.h"

#include "mem.h"
#include "saga_template.h"

static void check_with_pivot(const struct saga_def *d, size_t pivot, struct conf_errors *errors)
{
    for (size_t i = 0; i < d->step_count; i++) {
        const struct saga_step *s = &d->steps[i];
        bool acts = saga_step_acts(s), undo = saga_call_present(&s->undo);
        if (i != pivot && s->pivot)
            conf_error_key(errors, s->node, "is a second pivot; a saga has at most one, and \"%s\" is it",
                           d->steps[pivot].name);
        else if (i < pivot && acts && !undo)
            conf_error_key(errors, s->node, "needs an undo: it is %s before the pivot \"%s\"",
                           s->saga != NULL ? "a saga that may be completed" : "called", d->steps[pivot].name);
        else if (i > pivot && s->saga != NULL)
            conf_error_key(errors, s->node, "is a saga behind the pivot \"%s\"; a saga may end undone, so move it before the pivot, or make it the pivot",
                           d->steps[pivot].name);
        else if (i > pivot && acts && !s->retry_forever)
            conf_error_key(errors, s->node, "needs \"retry: forever\": it is called behind the pivot \"%s\"",
                           d->steps[pivot].name);
        else if (i > pivot && undo)
            conf_error_value(errors, conf_get(s->node, "undo"), "is behind the pivot \"%s\", where nothing is undone",
                             d->steps[pivot].name);
        else if (i > pivot && saga_step_waits(s))
            conf_error_key(errors, s->node,
                           "waits behind the pivot \"%s\"; move it before the pivot, or begin another saga with what comes after the wait",
                           d->steps[pivot].name);
        else if (i <= pivot && s->retry_forever)
            conf_error_value(errors, conf_get(s->node, "retry"), "forever is allowed only behind the pivot \"%s\"",
                             d->steps[pivot].name);
    }
}

static bool calls_before(const struct saga_def *d, size_t end)
{
    while (end > 0)
        if (saga_step_acts(&d->steps[--end]))
            return true;
    return false;
}

static void check_without_pivot(const struct saga_def *d, struct conf_errors *errors)
{
    bool any_forever = false;
    for (size_t i = 0; i < d->step_count; i++)
        any_forever = any_forever || d->steps[i].retry_forever;
    for (size_t i = 0; i < d->step_count; i++) {
        const struct saga_step *s = &d->steps[i];
        if (s->signal != NULL && any_forever && calls_before(d, saga_group_end(d, i)))
            conf_error_key(errors, s->node,
                           "may be refused, and the calls before it have no undo; wait for the signal before the first call");
        if (!saga_step_acts(s))
            continue;
        if (any_forever && s->saga != NULL)
            conf_error_key(errors, s->node, "is a saga among steps that have no way back; a saga may end undone: the calls before it need an undo");
        else if (any_forever && (!s->retry_forever || saga_call_present(&s->undo)))
            conf_error_key(
                errors, s->node,
                "a saga without a pivot needs \"retry: forever\" and no undo on every call, or an undo on every call");
        else if (!any_forever && !saga_call_present(&s->undo))
            conf_error_key(errors, s->node, "needs an undo (or the saga a pivot, or every call \"retry: forever\")"); /* of a child, too */
    }
}

/* Every "{signals.NAME" in the texts of step `at` names a signal that a step before it waits for. */
static void check_signal_names(const struct saga_def *d, size_t at, const struct conf_node *node, struct conf_errors *errors)
{
    for (const struct conf_node *child = node->first; child != NULL; child = child->next)
        check_signal_names(d, at, child, errors);
    struct slice text = node->kind == CONF_SCALAR ? node->text : SLICE(""), name;
    while (saga_template_signal(&text, &name))
        if (saga_signal_step(d, name) >= saga_group_first(d, at))
            conf_error_value(errors, node, "{signals." SLICE_FMT "}: no step before this one waits for a signal \"" SLICE_FMT "\"",
                             SLICE_ARG(name), SLICE_ARG(name));
}

static const char *const topic_words[] = {"given_by", "refused_by"};

/* A topic says one thing to a saga. */
static void check_topics(const struct saga_def *d, size_t at, struct conf_errors *errors)
{
    const char *topics[] = {d->steps[at].given_by, d->steps[at].refused_by};
    for (size_t k = 0; k < ARRAY_COUNT(topics); k++) {
        bool refuse;
        size_t first = topics[k] == NULL ? at : saga_topic_step(d, slice_str(topics[k]), &refuse);
        if (topics[k] != NULL && (first != at || refuse != (k == 1)))
            conf_error_value(errors, conf_get(d->steps[at].node, topic_words[k]), "\"%s\" is what the signal of \"%s\" is %s already", topics[k],
                             d->steps[first].name, refuse ? "refused by" : "given by");
    }
}

static void check_signals(const struct saga_def *d, struct conf_errors *errors)
{
    static const char *const words[] = {"call", "body", "undo"};
    for (size_t i = 0; i < d->step_count; i++) {
        const struct saga_step *s = &d->steps[i];
        size_t first = s->signal == NULL ? i : saga_signal_step(d, slice_str(s->signal));
        if (first != i)
            conf_error_value(errors, conf_get(s->node, "signal"), "\"%s\" is waited for by \"%s\" already", s->signal,
                             d->steps[first].name);
        check_topics(d, i, errors);
        for (size_t k = 0; k < ARRAY_COUNT(words); k++)
            if (conf_get(s->node, words[k]) != NULL)
                check_signal_names(d, i, conf_get(s->node, words[k]), errors);
    }
}

static void check_groups(const struct saga_def *d, struct conf_errors *errors)
{
    for (size_t i = 0; i < d->step_count; i++) {
        const struct saga_step *s = &d->steps[i];
        size_t width = saga_group_end(d, i) - i;
        if (s->group == 0 || s->node == NULL)
            continue;
        const struct conf_node *group = s->node->parent->parent; /* the list of maps with one entry each */
        if (saga_group_first(d, i) == i && (width < 2 || width > SAGA_WIDTH_MAX))
            conf_error_key(errors, group, "has %zu step%s; 2 to %d may run at the same time", width, width == 1 ? "" : "s", SAGA_WIDTH_MAX);
        if (s->pivot)
            conf_error_value(errors, conf_get(s->node, "pivot"),
                             "is not for a step of a parallel: while the others run nobody could say whether there is a way back");
        if (!saga_step_acts(s) && !saga_step_waits(s))
            conf_error_key(errors, s->node, "has no call, so it was done before the saga began and does not stand in a parallel");
    }
}

void saga_def_check(const struct conf_node *node, void *value, struct conf_errors *errors)
{
    const struct saga_def *d = value;
    const struct conf_node *steps = conf_get(node, "steps");
    if (d->step_count > SAGA_STEPS_MAX)
        conf_error_value(errors, steps, "has %zu steps; at most %d are allowed", d->step_count, SAGA_STEPS_MAX);
    size_t pivot = SIZE_MAX, call_count = 0;
    for (size_t i = 0; i < d->step_count; i++) {
        const struct saga_step *s = &d->steps[i];
        if (s->pivot && pivot == SIZE_MAX)
            pivot = i;
        if (saga_step_acts(s))
            call_count++;
        else if (call_count > 0 && !saga_step_waits(s))
            conf_error_key(errors, s->node,
                           "has no call, so it was done before the saga began and must stand before every call");
    }
    if (call_count == 0)
        conf_error_value(errors, steps, "needs at least one step with a call or a saga");
    check_signals(d, errors);
    check_groups(d, errors);
    if (pivot != SIZE_MAX)
        check_with_pivot(d, pivot, errors);
    else
        check_without_pivot(d, errors);
}
