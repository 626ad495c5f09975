/* SPDX-License-Identifier: Apache-2.0
 *
 * Schemas of topics: what is emitted has to fit the newest version of its topic, and what is consumed is brought to the
 * newest version that this service knows before its handler sees it.
 *
 * Known is the newest version of the manifest, or, where the program's upcasters lead further, what they make; but nothing
 * from the first version on that does not read the one before and for which the program has no upcaster. An event that
 * names no schema is of version 1: it was published before its topic had any.
 */
#include "service_impl.h"

#include <ficus/store.h>

enum { EMIT_ARENA_SIZE_MAX = 64 << 20 }; /* the tree of the largest data, as in event_check */

static const struct ficus_upcaster *upcaster(const struct ficus_service *def, const char *topic, int64_t from)
{
    for (const struct ficus_upcaster *u = def->event_upcasters; u != NULL && u->type != NULL; u++)
        if (u->from == from && strcmp(u->type, topic) == 0)
            return u;
    return NULL;
}

static const struct service_schema *configured(const struct service_config *c, const char *topic)
{
    for (size_t i = 0; i < c->schema_count; i++)
        if (strcmp(c->schemas[i].topic, topic) == 0)
            return &c->schemas[i];
    return NULL;
}

static int64_t known_version(const struct service *v, const char *topic)
{
    const struct service_schema *s = configured(v->config, topic);
    int64_t known = s != NULL ? s->version : 1;
    for (const struct ficus_upcaster *u = v->def->event_upcasters; u != NULL && u->type != NULL; u++)
        if (strcmp(u->type, topic) == 0 && u->from + 1 > known)
            known = u->from + 1;
    for (size_t i = 0; s != NULL && i < s->upcast_count; i++)
        if (upcaster(v->def, topic, s->upcasts[i] - 1) == NULL)
            return s->upcasts[i] - 1;
    return known;
}

/* ---- starting ---- */

static bool is_handled(const struct ficus_service *def, const char *topic)
{
    for (const struct ficus_subscription *s = def->events; s != NULL && s->topic != NULL; s++)
        if (strcmp(s->topic, topic) == 0)
            return true;
    return false;
}

enum ficus_err schemas_check_upcasters(const struct ficus_service *def, struct ficus_error *reterr)
{
    for (const struct ficus_upcaster *u = def->event_upcasters; u != NULL && u->type != NULL; u++) {
        if (u->upcast == NULL || u->from < 1 || u->from > EVENT_SCHEMA_MAX || !is_handled(def, u->type))
            return err_set(reterr, FICUS_ERR_INVALID, "event upcaster of topic \"%.64s\" from %d: it needs a topic that is handled, a function and from 1 to %d",
                           u->type, u->from, EVENT_SCHEMA_MAX);
        if (upcaster(def, u->type, u->from) != u)
            return err_set(reterr, FICUS_ERR_INVALID, "there are two event upcasters of topic %s from %d", u->type, u->from);
    }
    return FICUS_ERR_OK;
}

/* Others' new version must not keep this service from its work: it is told, and the events wait as dead letters. */
static void tell_behind(struct service *v, const struct service_schema *s)
{
    int64_t known = known_version(v, s->topic);
    if (known < s->version && is_handled(v->def, s->topic))
        LOG(&v->process.log, LOG_WARN, NULL, "schema.behind", "a topic has a version that this program has no upcaster for: its events will be refused",
            LOG_STR("topic", s->topic), LOG_INT("version", s->version), LOG_INT("known", known));
}

enum ficus_err schemas_open(struct service *v, struct ficus_error *reterr)
{
    const struct service_config *c = v->config;
    arena_init(&v->schema_arena, (c->schema_count + 1) * (size_t)JSCHEMA_ARENA_SIZE);
    v->schemas = ARENA_ARRAY(&v->schema_arena, struct jschema *, c->schema_count + 1);
    if (v->schemas == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "schemas: out of memory");
    for (size_t i = 0; i < c->schema_count; i++) {
        struct jschema_faults faults = {.arena = &v->schema_arena};
        tell_behind(v, &c->schemas[i]);
        if (c->schemas[i].text[0] != '\0' &&
            jschema_compile(&v->schema_arena, slice_str(c->schemas[i].text), &v->schemas[i], &faults) != FICUS_ERR_OK)
            return err_set(reterr, FICUS_ERR_INVALID, "schema of topic %s: %s: %s", c->schemas[i].topic, faults.list[0].pointer, faults.list[0].text);
    }
    return FICUS_ERR_OK;
}

void schemas_close(struct service *v)
{
    arena_done(&v->schema_arena);
}

/* ---- emitting ---- */

int schemas_emit(struct ficus_req *r, struct event *ev)
{
    const struct service *v = r->service;
    size_t i = 0;
    while (i < v->config->schema_count && !(v->schemas[i] != NULL && slice_eq_str(ev->topic, v->config->schemas[i].topic)))
        i++;
    if (i == v->config->schema_count)
        return 0;
    struct arena a; /* the tree is of no use to anybody else */
    struct json *data = NULL;
    struct ficus_error error = {0};
    arena_init(&a, EMIT_ARENA_SIZE_MAX);
    struct jschema_faults faults = {.arena = &a};
    int64_t version = v->config->schemas[i].version;
    bool parsed = json_parse(&a, ev->data, &(struct json_limits){.depth_max = EVENT_DATA_DEPTH_MAX, .values_max = EVENT_SIZE_MAX}, &data, &error) == FICUS_ERR_OK;
    if (!parsed)
        (void)request_fail(r, 500, "schema", false, "the data of " SLICE_FMT " is no JSON: %s", SLICE_ARG(ev->topic), error.text);
    else if (!jschema_check(v->schemas[i], data, &faults))
        (void)request_fail(r, 500, "schema", false, "the data of " SLICE_FMT " does not fit version %lld of its schema: %s%s%s%s", SLICE_ARG(ev->topic),
                           (long long)version, faults.list[0].pointer, faults.list[0].pointer[0] == '\0' ? "" : ": ", faults.list[0].text,
                           faults.count > 1 ? " (and more)" : "");
    arena_done(&a);
    ev->schema = version;
    return r->is_failed ? -1 : 0;
}

/* ---- consuming ---- */

int schemas_upcast(struct ficus_req *r)
{
    const struct service *v = r->service;
    const char *topic = ficus_event_topic(r);
    int64_t version = r->event.schema;
    const struct service_schema *s = topic == NULL ? NULL : configured(v->config, topic);
    if (topic == NULL || (s == NULL && v->def->event_upcasters == NULL && version <= 1))
        return 0; /* nobody says anything of versions: as ever */
    int64_t known = known_version(v, topic);
    version = version < 1 ? 1 : version;
    /* 422 and not 500, for what is said is to stand in the dead letter */
    if (version > known)
        return request_fail(r, 422, "schema", false, "the event is of version %lld of %s, this service knows %lld%s", (long long)version, topic, (long long)known,
                            s != NULL && version <= s->version ? " and has no upcaster that leads further" : ": it is older than the event; restart it with what is current");
    for (int64_t from = version; from < known; from++) {
        const struct ficus_upcaster *u = upcaster(v->def, topic, from);
        const struct ficus_stored old = {.stream = ficus_event_subject(r), .type = topic, .data = r->body, .metadata = "{}", .time_ms = ficus_event_time_ms(r), .schema = (int)from};
        const char *data = u == NULL ? r->body : u->upcast(r, &old);
        if (r->is_failed)
            return -1;
        if (data == NULL)
            return request_fail(r, 422, "schema", false, "the event cannot be brought from version %lld of %s to the next", (long long)from, topic);
        r->body = data;
        r->body_size = strlen(data);
        r->body_json = NULL; /* an upcaster may have looked into the old one */
    }
    return 0;
}
