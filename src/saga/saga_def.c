/* SPDX-License-Identifier: Apache-2.0
 *
 * See saga_def.h: the table, its rules, and the canonical text of a definition.
 */
#include "saga_def_rules.h"

#include "sha256.h"
#include "mem.h"
#include "saga_template.h"
#include "text.h"
#include "timefmt.h"

#include <stdio.h>

enum { DEF_TEXT_SIZE_MAX = 256 * 1024, PATH_SIZE_MAX = 1024, ATTEMPT_MS = 5000, MINUTE_MS = 60 * 1000, DAY_MS = 24 * 60 * MINUTE_MS };
#define WAIT_MS_MAX (365ll * DAY_MS)

_Static_assert(SHA256_HEX_SIZE == 65, "ret_hash of saga_def_write");

bool saga_call_present(const struct saga_call *c)
{
    return c->method != NULL && c->method[0] != '\0';
}

bool saga_step_waits(const struct saga_step *s)
{
    return s->wait_ms > 0 || s->signal != NULL;
}

bool saga_step_acts(const struct saga_step *s)
{
    return saga_call_present(&s->call) || s->saga != NULL;
}

size_t saga_group_first(const struct saga_def *d, size_t step)
{
    while (step > 0 && d->steps[step].group != 0 && d->steps[step - 1].group == d->steps[step].group)
        step--;
    return step;
}

size_t saga_group_end(const struct saga_def *d, size_t step)
{
    size_t end = step + 1;
    while (end < d->step_count && d->steps[step].group != 0 && d->steps[end].group == d->steps[step].group)
        end++;
    return end;
}

size_t saga_step_named(const struct saga_def *d, struct slice name)
{
    size_t i = 0;
    while (i < d->step_count && !slice_eq_str(name, d->steps[i].name))
        i++;
    return i;
}

size_t saga_signal_step(const struct saga_def *d, struct slice signal)
{
    size_t i = 0;
    while (i < d->step_count && (d->steps[i].signal == NULL || !slice_eq_str(signal, d->steps[i].signal)))
        i++;
    return i;
}

static bool is_topic(const char *name, struct slice topic)
{
    return name != NULL && slice_eq_str(topic, name);
}

size_t saga_topic_step(const struct saga_def *d, struct slice topic, bool *ret_refuse)
{
    size_t i = 0;
    while (i < d->step_count && !is_topic(d->steps[i].given_by, topic) && !is_topic(d->steps[i].refused_by, topic))
        i++;
    *ret_refuse = i < d->step_count && !is_topic(d->steps[i].given_by, topic);
    return i;
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

/* ---- timeout: 8s, 24h, never ---- */

#define TIMEOUT_ALLOWED "a duration such as 8s or 24h; of a signal also never"

static bool timeout_decode(const struct conf_setting *s, const struct conf_node *node, void *field, struct arena *a,
                           struct conf_errors *errors)
{
    (void)s;
    (void)a;
    int64_t *ms = field;
    if (node->kind != CONF_SCALAR) {
        conf_error_value(errors, node, "must be " TIMEOUT_ALLOWED);
        return false;
    }
    if (slice_eq_str(node->text, "never")) {
        *ms = SAGA_NEVER;
        return true;
    }
    if (duration_parse(node->text, ms) && *ms >= 1 && *ms <= WAIT_MS_MAX)
        return true;
    conf_error_value(errors, node, "\"" SLICE_FMT "\" is not " TIMEOUT_ALLOWED ", from 1ms to 365d", SLICE_ARG(node->text));
    return false;
}

static void timeout_encode(const struct conf_setting *s, const void *field, struct json_writer *w)
{
    (void)s;
    char text[32];
    int64_t ms = *(const int64_t *)field;
    if (ms != SAGA_NEVER)
        duration_format(ms, text, sizeof text);
    json_write_str(w, ms == SAGA_NEVER ? "never" : text);
}

static bool timeout_is_present(const struct conf_setting *s, const void *field)
{
    (void)s;
    return *(const int64_t *)field != 0;
}

static const struct conf_custom timeout_custom = {
    .decode = timeout_decode,
    .encode = timeout_encode,
    .present = timeout_is_present,
    .size = sizeof(int64_t),
    .schema = "{\"type\":\"string\",\"pattern\":\"^([0-9]+(ms|s|m|h|d)|never)$\"}",
    .allowed = TIMEOUT_ALLOWED,
    .wrong = "sometimes",
    .example = "8s",
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

static void check_undoable(const struct conf_node *node, const struct saga_step *s, struct conf_errors *errors)
{
    bool call = saga_step_acts(s), undo = saga_call_present(&s->undo);
    if (!call && !undo)
        conf_error_key(errors, node, "needs a call, a saga, a wait or a signal, or an undo of something done before the saga began");
    if (s->body != NULL && !call)
        conf_error_value(errors, conf_get(node, "body"), "belongs to a call or a saga, and this step has neither");
    if (s->body != NULL)
        check_body(conf_get(node, "body"), errors);
    if (s->pivot && undo)
        conf_error_value(errors, conf_get(node, "undo"),
                         "pivot and undo exclude each other: behind the pivot there is no way back");
    if (s->pivot && !call)
        conf_error_value(errors, conf_get(node, "pivot"), "needs a call or a saga");
    if (s->give_up_ms > 0 && (!undo || !call))
        conf_error_value(errors, conf_get(node, "give_up"),
                         "is allowed only for a call or a saga with an undo: it is perhaps done, and must be undone");
    if (s->give_up_ms > 0 && s->retry_forever)
        conf_error_value(errors, conf_get(node, "give_up"), "and \"retry: forever\" exclude each other");
    if (s->code != NULL && s->give_up_ms <= 0)
        conf_error_value(errors, conf_get(node, "code"), "is the failure code of give_up or of a signal, and this step has neither");
}

static const char *const signal_words[] = {"timeout", "on_timeout", "code", "given_by", "refused_by"};

/* A waiting step has nothing of a call. */
static void check_waiting(const struct conf_node *node, const struct saga_step *s, struct conf_errors *errors)
{
    static const char *const words[] = {"call", "saga", "body", "undo", "pivot", "retry", "give_up"};
    const char *kind = s->signal != NULL ? "signal" : "wait";
    if (s->signal != NULL && s->wait_ms > 0)
        conf_error_value(errors, conf_get(node, "wait"), "and signal exclude each other: make two steps of it");
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (conf_get(node, words[i]) != NULL && (strcmp(words[i], "pivot") != 0 || s->pivot))
            conf_error_value(errors, conf_get(node, words[i]), "and %s exclude each other: make two steps of it", kind);
}

static void check_signal(const struct conf_node *node, const struct saga_step *s, struct conf_errors *errors)
{
    if (s->timeout_ms == 0)
        conf_error_value(errors, conf_get(node, "signal"),
                         "needs a timeout: how long it is waited for, such as \"timeout: 24h\", or \"timeout: never\"");
    if (s->timeout_ms == SAGA_NEVER && s->on_timeout != SAGA_ON_TIMEOUT_NONE)
        conf_error_value(errors, conf_get(node, "on_timeout"), "has no meaning with \"timeout: never\"");
}

static const char *const topic_words[] = {"given_by", "refused_by"};

static void check_calling(const struct conf_node *node, const struct saga_step *s, struct conf_errors *errors)
{
    const struct conf_node *timeout = conf_get(node, "timeout");
    if (s->timeout_ms == SAGA_NEVER)
        conf_error_value(errors, timeout, "never is only for a signal; an attempt of a call must end");
    else if (s->timeout_ms > 10 * MINUTE_MS)
        conf_error_value(errors, timeout, "of a call may be at most 10m");
    if (s->on_timeout != SAGA_ON_TIMEOUT_NONE)
        conf_error_value(errors, conf_get(node, "on_timeout"), "is only for a signal; a call has give_up");
    for (size_t i = 0; i < ARRAY_COUNT(topic_words); i++)
        if (conf_get(node, topic_words[i]) != NULL)
            conf_error_value(errors, conf_get(node, topic_words[i]), "is only for a signal: a call has its answer");
}

/* A child is called by nobody, and takes its own time: what its steps' calls may take stands in its saga. */
static void check_child(const struct conf_node *node, const struct saga_step *s, struct conf_errors *errors)
{
    if (saga_call_present(&s->call))
        conf_error_value(errors, conf_get(node, "call"), "and saga exclude each other: make two steps of it");
    if (s->retry_forever)
        conf_error_value(errors, conf_get(node, "retry"),
                         "and saga exclude each other: a saga may end undone; what has to be done stands in calls behind the pivot");
    if (s->timeout_ms != 0 && !saga_call_present(&s->undo))
        conf_error_value(errors, conf_get(node, "timeout"), "is of one attempt of a call; how long a saga is waited for says give_up");
    if (s->body != NULL && conf_get(node, "body")->kind != CONF_MAP_NODE)
        conf_error_value(errors, conf_get(node, "body"), "must be an object: it is the saga's input, as the data of a start event is");
}

static void step_check(const struct conf_node *node, void *value, struct conf_errors *errors)
{
    struct saga_step *s = value;
    if (saga_step_waits(s)) {
        check_waiting(node, s, errors);
        if (s->signal != NULL) {
            check_signal(node, s, errors);
            if (s->on_timeout == SAGA_ON_TIMEOUT_NONE && s->timeout_ms != SAGA_NEVER)
                s->on_timeout = SAGA_ON_TIMEOUT_UNDO;
        } else {
            for (size_t i = 0; i < ARRAY_COUNT(signal_words); i++)
                if (conf_get(node, signal_words[i]) != NULL)
                    conf_error_value(errors, conf_get(node, signal_words[i]), "is not for a wait, which ends with its time");
        }
        return;
    }
    check_calling(node, s, errors);
    if (s->saga != NULL)
        check_child(node, s, errors);
    if (s->timeout_ms == 0 && (s->saga == NULL || saga_call_present(&s->undo)))
        s->timeout_ms = ATTEMPT_MS;
    check_undoable(node, s, errors);
}

static const char *const on_timeout_words[] = {"undo", "go_on", NULL};

static const struct conf_setting step_settings[] = {
    {.name = "call",
     .type = CONF_CUSTOM,
     CONF_AT(struct saga_step, call),
     .custom = &call_custom,
     .doc = "The request that does the step. Absent: it is another saga, waits, or was done before the saga began."},
    {.name = "saga",
     .type = CONF_STRING,
     CONF_AT(struct saga_step, saga),
     .min = 1,
     .max = 63,
     .check = conf_check_name,
     .example = "packing",
     .doc = "Instead of a call: the step is an instance of this saga, its child; it is done when the child is completed, refused when the child is undone."},
    {.name = "body",
     .type = CONF_ANY,
     CONF_AT(struct saga_step, body),
     .example = "{amount: \"{input.total}\"}",
     .doc = "JSON body of the call, or the input of the saga; \"{input.NAME}\" takes a value of the start event's data as it is, \"{signals.SIGNAL.NAME}\" "
            "one of a signal that an earlier step waited for, \"{id}\" the instance's id."},
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
     .type = CONF_CUSTOM,
     CONF_AT(struct saga_step, timeout_ms),
     .custom = &timeout_custom,
     .doc = "How long one attempt of call or undo may take (default 5s, at most 10m); how long a signal is waited for."},
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
     .doc = "Failure code when the step was given up (default given_up), its signal refused (refused) or not in time (timed_out)."},
    {.name = "wait",
     .type = CONF_DURATION,
     CONF_AT(struct saga_step, wait_ms),
     .min = 1,
     .max = WAIT_MS_MAX,
     .fallback = 0,
     .example = "10m",
     .doc = "Instead of a call: the step is done when this time is over."},
    {.name = "signal",
     .type = CONF_STRING,
     CONF_AT(struct saga_step, signal),
     .min = 1,
     .max = 63,
     .check = conf_check_name,
     .example = "approved",
     .doc = "Instead of a call: the step is done when somebody gives this signal; when it is refused, what was done is undone."},
    {.name = "given_by",
     .type = CONF_STRING,
     CONF_AT(struct saga_step, given_by),
     .min = 1,
     .max = 127,
     .check = conf_check_dotted,
     .example = "payment.settled",
     .doc = "Topic: an event whose subject is the instance's id gives the signal, with the event's data."},
    {.name = "refused_by",
     .type = CONF_STRING,
     CONF_AT(struct saga_step, refused_by),
     .min = 1,
     .max = 127,
     .check = conf_check_dotted,
     .example = "payment.failed",
     .doc = "Topic: an event whose subject is the instance's id refuses the signal."},
    {.name = "on_timeout",
     .type = CONF_ENUM,
     CONF_AT(struct saga_step, on_timeout),
     .words = on_timeout_words,
     .fallback = SAGA_ON_TIMEOUT_NONE,
     .doc = "When the signal did not come in time: undo what was done (the default), or go_on as if it had come."},
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
     CONF_AT(struct saga_def, start),
     .min = 1,
     .max = 127,
     .check = conf_check_dotted,
     .example = "order.placed",
     .doc = "Topic whose events start an instance: the subject is its id, the data its input. Absent: its owner begins them, or an operator."},
    {.name = "steps",
     .type = CONF_MAP,
     .flags = CONF_REQUIRED | CONF_AS_LIST | CONF_NOT_EMPTY,
     CONF_MAP_AT(struct saga_def, steps, step_count, struct saga_step, name),
     .item = &step_item,
     .group_word = "parallel",
     .group_offset = offsetof(struct saga_step, group),
     .doc = "The steps in order; the 2 to 8 of a \"- parallel: [ ... ]\" at the same time."},
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
    .check = saga_def_check,
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
