/* SPDX-License-Identifier: Apache-2.0
 *
 * See saga_def.h: the table, its rules, and the canonical text of a definition.
 */
#include "saga_def.h"

#include "identity.h"
#include "saga_template.h"
#include "text.h"

#include <stdio.h>

enum { DEF_TEXT_SIZE_MAX = 256 * 1024, PATH_SIZE_MAX = 1024, MINUTE_MS = 60 * 1000, DAY_MS = 24 * 60 * MINUTE_MS };

_Static_assert(SHA256_HEX_SIZE == 65, "ret_hash of saga_def_write");

bool saga_call_present(const struct saga_call *c)
{
    return c->method != NULL && c->method[0] != '\0';
}

/* ---- "POST orders:/v1/orders/{id}" ---- */

#define CALL_ALLOWED "METHOD SERVICE:/PATH, such as POST orders:/v1/orders/{id}/confirm"

const char *saga_call_parse(struct arena *a, struct slice text, struct saga_call *ret_call)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
    struct slice rest = text;
    struct slice method = slice_cut(&rest, ' ');
    struct slice service = slice_cut(&rest, ':');
    bool known = false;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        known = known || slice_eq_str(method, methods[i]);
    if (!known)
        return CALL_ALLOWED;
    if (service.size == 0 || conf_check_name(service) != NULL)
        return CALL_ALLOWED;
    if (rest.size == 0 || rest.size > PATH_SIZE_MAX || rest.p[0] != '/' || !text_printable_ascii(rest) ||
        slice_find(rest, ' ') >= 0 || slice_find(rest, '#') >= 0)
        return CALL_ALLOWED;
    ret_call->method = arena_strdup(a, method);
    ret_call->service = arena_strdup(a, service);
    ret_call->path = arena_strdup(a, rest);
    return ret_call->method == NULL || ret_call->service == NULL || ret_call->path == NULL
               ? "a shorter definition (out of memory)"
               : NULL;
}

static bool call_decode(const struct conf_setting *s, const struct conf_node *node, void *field, struct arena *a,
                        struct conf_errors *errors)
{
    struct saga_call *c = field;
    if (node->kind != CONF_SCALAR) {
        conf_error_value(errors, node, "must be text: " CALL_ALLOWED);
        return false;
    }
    const char *wrong = saga_call_parse(a, node->text, c);
    if (wrong != NULL) {
        conf_error_value(errors, node, "\"" SLICE_FMT "\" is not %s", SLICE_ARG(node->text), wrong);
        return false;
    }
    wrong = saga_template_check(slice_str(c->path), strcmp(s->name, "undo") == 0);
    if (wrong != NULL) {
        conf_error_value(errors, node, "\"%s\" has an unknown template; allowed are %s", c->path, wrong);
        return false;
    }
    return true;
}

static void call_encode(const struct conf_setting *s, const void *field, struct json_writer *w)
{
    (void)s;
    const struct saga_call *c = field;
    char text[PATH_SIZE_MAX + 128]; /* method at most 6, name at most 63 */
    snprintf(text, sizeof text, "%s %s:%s", c->method, c->service, c->path);
    json_write_str(w, text);
}

static bool call_is_present(const struct conf_setting *s, const void *field)
{
    (void)s;
    return saga_call_present(field);
}

static const struct conf_custom call_custom = {
    .decode = call_decode,
    .encode = call_encode,
    .present = call_is_present,
    .size = sizeof(struct saga_call),
    .schema = "{\"type\":\"string\",\"pattern\":\"^(GET|POST|PUT|PATCH|DELETE) [a-z][a-z0-9_-]*:/[^ #]*$\"}",
    .allowed = CALL_ALLOWED,
    .wrong = "orders",
    .example = "\"POST orders:/v1/orders/{id}\"",
};

/* ---- retry: forever ---- */

static bool retry_decode(const struct conf_setting *s, const struct conf_node *node, void *field, struct arena *a,
                         struct conf_errors *errors)
{
    (void)s;
    (void)a;
    if (node->kind != CONF_SCALAR || !slice_eq_str(node->text, "forever")) {
        conf_error_value(errors, node, "must be: forever");
        return false;
    }
    *(bool *)field = true;
    return true;
}

static void retry_encode(const struct conf_setting *s, const void *field, struct json_writer *w)
{
    (void)s;
    (void)field;
    json_write_str(w, "forever");
}

static bool retry_is_present(const struct conf_setting *s, const void *field)
{
    (void)s;
    return *(const bool *)field;
}

static const struct conf_custom retry_custom = {
    .decode = retry_decode,
    .encode = retry_encode,
    .present = retry_is_present,
    .size = sizeof(bool),
    .schema = "{\"const\":\"forever\"}",
    .allowed = "forever",
    .wrong = "sometimes",
    .example = "forever",
};

/* ---- rules of one step ---- */

static void check_body(const struct conf_node *node, struct conf_errors *errors)
{
    if (node->kind == CONF_SCALAR) {
        const char *allowed = saga_template_check(node->text, false);
        if (allowed != NULL)
            conf_error_value(errors, node, "\"" SLICE_FMT "\" has an unknown template; allowed are %s",
                             SLICE_ARG(node->text), allowed);
        return;
    }
    for (const struct conf_node *child = node->first; child != NULL; child = child->next)
        check_body(child, errors);
}

static void step_check(const struct conf_node *node, void *value, struct conf_errors *errors)
{
    const struct saga_step *s = value;
    bool call = saga_call_present(&s->call), undo = saga_call_present(&s->undo);
    if (!call && !undo)
        conf_error_key(errors, node, "needs a call, or an undo of something done before the saga began");
    if (s->body != NULL && !call)
        conf_error_value(errors, conf_get(node, "body"), "belongs to a call, and this step has none");
    if (s->body != NULL)
        check_body(conf_get(node, "body"), errors);
    if (s->pivot && undo)
        conf_error_value(errors, conf_get(node, "undo"),
                         "pivot and undo exclude each other: behind the pivot there is no way back");
    if (s->pivot && !call)
        conf_error_value(errors, conf_get(node, "pivot"), "needs a call");
    if (s->give_up_ms > 0 && (!undo || !call))
        conf_error_value(errors, conf_get(node, "give_up"),
                         "is allowed only for a call with an undo: it is perhaps done, and must be undone");
    if (s->give_up_ms > 0 && s->retry_forever)
        conf_error_value(errors, conf_get(node, "give_up"), "and \"retry: forever\" exclude each other");
    if (s->code != NULL && s->give_up_ms <= 0)
        conf_error_value(errors, conf_get(node, "code"), "is the failure code of give_up, and this step has none");
}

static const struct conf_setting step_settings[] = {
    {.name = "call",
     .type = CONF_CUSTOM,
     CONF_AT(struct saga_step, call),
     .custom = &call_custom,
     .doc = "The request that does the step. Absent: it was done before the saga began."},
    {.name = "body",
     .type = CONF_ANY,
     CONF_AT(struct saga_step, body),
     .example = "{amount: \"{input.total}\"}",
     .doc = "JSON body of the call; \"{input.NAME}\" takes a value of the start event's data as it is, \"{id}\" the "
            "instance's id."},
    {.name = "undo",
     .type = CONF_CUSTOM,
     CONF_AT(struct saga_step, undo),
     .custom = &call_custom,
     .doc =
         "The request that undoes the step, also one that perhaps never came; its body is {\"reason\": failure code}."},
    {.name = "pivot",
     .type = CONF_BOOL,
     CONF_AT(struct saga_step, pivot),
     .doc = "When this step is done there is no way back; when it is refused the steps before it are undone."},
    {.name = "retry",
     .type = CONF_CUSTOM,
     CONF_AT(struct saga_step, retry_forever),
     .custom = &retry_custom,
     .doc = "forever: repeated until it is done; to be said of every call behind the pivot."},
    {.name = "timeout",
     .type = CONF_DURATION,
     CONF_AT(struct saga_step, timeout_ms),
     .min = 1,
     .max = 10 * MINUTE_MS,
     .fallback = 5000,
     .doc = "How long one attempt of call or undo may take."},
    {.name = "give_up",
     .type = CONF_DURATION,
     CONF_AT(struct saga_step, give_up_ms),
     .min = 1,
     .max = 30ll * DAY_MS,
     .fallback = 0,
     .doc =
         "After this time without an answer the step counts as perhaps done, and everything is undone. Absent: never."},
    {.name = "code",
     .type = CONF_STRING,
     CONF_AT(struct saga_step, code),
     .min = 1,
     .max = 64,
     .check = conf_check_name,
     .example = "payment_unavailable",
     .doc = "Failure code when the step was given up; default given_up."},
};

static const struct conf_table step_table = {
    .name = "saga step",
    .doc = "One step of a saga.",
    .size = sizeof(struct saga_step),
    .settings = step_settings,
    .count = sizeof step_settings / sizeof step_settings[0],
    .has_node = true,
    .node_offset = offsetof(struct saga_step, node),
    .check = step_check,
};

/* ---- rules between steps (that names differ is conf's own rule) ---- */

static void check_with_pivot(const struct saga_def *d, size_t pivot, struct conf_errors *errors)
{
    for (size_t i = 0; i < d->step_count; i++) {
        const struct saga_step *s = &d->steps[i];
        bool call = saga_call_present(&s->call), undo = saga_call_present(&s->undo);
        if (i != pivot && s->pivot)
            conf_error_key(errors, s->node, "is a second pivot; a saga has at most one, and \"%s\" is it",
                           d->steps[pivot].name);
        else if (i < pivot && call && !undo)
            conf_error_key(errors, s->node, "needs an undo: it is called before the pivot \"%s\"",
                           d->steps[pivot].name);
        else if (i > pivot && call && !s->retry_forever)
            conf_error_key(errors, s->node, "needs \"retry: forever\": it is called behind the pivot \"%s\"",
                           d->steps[pivot].name);
        else if (i > pivot && undo)
            conf_error_value(errors, conf_get(s->node, "undo"), "is behind the pivot \"%s\", where nothing is undone",
                             d->steps[pivot].name);
        else if (i <= pivot && s->retry_forever)
            conf_error_value(errors, conf_get(s->node, "retry"), "forever is allowed only behind the pivot \"%s\"",
                             d->steps[pivot].name);
    }
}

static void check_without_pivot(const struct saga_def *d, struct conf_errors *errors)
{
    bool any_forever = false;
    for (size_t i = 0; i < d->step_count; i++)
        any_forever = any_forever || d->steps[i].retry_forever;
    for (size_t i = 0; i < d->step_count; i++) {
        const struct saga_step *s = &d->steps[i];
        if (!saga_call_present(&s->call))
            continue;
        if (any_forever && (!s->retry_forever || saga_call_present(&s->undo)))
            conf_error_key(
                errors, s->node,
                "a saga without a pivot needs \"retry: forever\" and no undo on every call, or an undo on every call");
        else if (!any_forever && !saga_call_present(&s->undo))
            conf_error_key(errors, s->node, "needs an undo (or the saga a pivot, or every call \"retry: forever\")");
    }
}

static void def_check(const struct conf_node *node, void *value, struct conf_errors *errors)
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
        if (saga_call_present(&s->call))
            call_count++;
        else if (call_count > 0)
            conf_error_key(errors, s->node,
                           "has no call, so it was done before the saga began and must stand before every call");
    }
    if (call_count == 0)
        conf_error_value(errors, steps, "needs at least one step with a call");
    if (pivot != SIZE_MAX)
        check_with_pivot(d, pivot, errors);
    else
        check_without_pivot(d, errors);
}

static const struct conf_setting step_item = {
    .name = "step",
    .type = CONF_TABLE,
    .table = &step_table,
    .check = conf_check_name,
    .example = "reserve",
    .doc = "A step.",
};

static const struct conf_setting scenario_item = {
    .name = "scenario", .type = CONF_TABLE, .table = &saga_scenario_table, .doc = "A way through the saga."};

static const struct conf_setting def_settings[] = {
    {.name = "name",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED | CONF_RESOLVED_ONLY,
     CONF_AT(struct saga_def, name),
     .min = 1,
     .max = 63,
     .check = conf_check_name,
     .example = "checkout",
     .doc = "The saga's name."},
    {.name = "owner",
     .type = CONF_STRING,
     CONF_AT(struct saga_def, owner),
     .min = 1,
     .max = 63,
     .check = conf_check_name,
     .example = "orders",
     .doc = "The service that the saga belongs to; default: the one whose part of the manifest names it."},
    {.name = "start",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct saga_def, start),
     .min = 1,
     .max = 127,
     .check = conf_check_dotted,
     .example = "order.placed",
     .doc = "Topic whose events start an instance: the subject is its id, the data its input."},
    {.name = "steps",
     .type = CONF_MAP,
     .flags = CONF_REQUIRED | CONF_AS_LIST | CONF_NOT_EMPTY,
     CONF_MAP_AT(struct saga_def, steps, step_count, struct saga_step, name),
     .item = &step_item,
     .doc = "The steps in order."},
    {.name = "test",
     .type = CONF_MAP,
     .flags = CONF_MANIFEST_ONLY,
     CONF_MAP_AT(struct saga_def, scenarios, scenario_count, struct saga_scenario, name),
     .item = &scenario_item,
     .check = conf_check_name,
     .example = "declined",
     .doc = "Ways through the saga that `ficus test saga` goes again and again, with a process killed at each durable write."},
};

const struct conf_table saga_def_table = {
    .name = "saga",
    .doc = "A saga: steps that are all done, or undone in reverse.",
    .size = sizeof(struct saga_def),
    .settings = def_settings,
    .count = sizeof def_settings / sizeof def_settings[0],
    .has_node = true,
    .node_offset = offsetof(struct saga_def, node),
    .check = def_check,
};

/* ---- canonical text ---- */

enum ficus_err saga_def_write(const struct saga_def *d, struct arena *a, struct slice *ret_text, char ret_hash[65])
{
    struct buf out;
    buf_init(&out, DEF_TEXT_SIZE_MAX);
    struct json_writer w;
    json_write_init(&w, &out);
    conf_encode(&saga_def_table, d, &w);
    struct slice text = buf_failed(&out) ? SLICE_NONE : arena_slice(a, buf_slice(&out));
    bool failed = buf_failed(&out);
    buf_done(&out);
    if (failed)
        return FICUS_ERR_TOO_LARGE;
    if (text.p == NULL || !sha256_hex(text, ret_hash))
        return FICUS_ERR_NOMEM;
    *ret_text = text;
    return FICUS_ERR_OK;
}

enum ficus_err saga_def_read(struct arena *a, struct slice text, struct saga_def **ret_def, struct ficus_error *reterr)
{
    struct saga_def *d = ARENA_NEW(a, struct saga_def);
    if (d == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "out of memory");
    enum ficus_err err = conf_json_load(a, text, "saga definition", &saga_def_table, d, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    *ret_def = d;
    return FICUS_ERR_OK;
}
