/* SPDX-License-Identifier: Apache-2.0
 *
 * What is published has to fit the schema of its topic, whoever it comes from: the version that it names, or, when it names
 * none, the newest, and the log then has that name. Services of libficus have looked already, but not all are of libficus.
 *
 * A version that this hub does not know yet is no fault of the event: its publisher was restarted with a newer manifest
 * and the hub was not. It is told to come again, and its events wait in its outbox.
 */
#include "hub_private.h"

enum { PARSE_ARENA_MAX = 64 << 20 };

enum ficus_err hub_schemas_open(struct hub *h, struct ficus_error *reterr)
{
    const struct hub_config *c = h->config;
    size_t count = 1;
    for (size_t i = 0; i < c->topic_count; i++)
        count += c->topics[i].schema_count;
    arena_init(&h->schema_arena, count * (size_t)JSCHEMA_ARENA_SIZE);
    h->schemas = ARENA_ARRAY(&h->schema_arena, struct jschema **, c->topic_count + 1);
    bool ok = h->schemas != NULL;
    for (size_t i = 0; i < c->topic_count && ok; i++) {
        const struct hub_topic *t = &c->topics[i];
        h->schemas[i] = t->schema_count == 0 ? NULL : ARENA_ARRAY(&h->schema_arena, struct jschema *, t->schema_count);
        ok = t->schema_count == 0 || h->schemas[i] != NULL;
        for (size_t k = 0; k < t->schema_count && ok; k++) {
            struct jschema_faults faults = {.arena = &h->schema_arena};
            if (jschema_compile(&h->schema_arena, slice_str(t->schemas[k]), &h->schemas[i][k], &faults) != FICUS_ERR_OK)
                return err_set(reterr, FICUS_ERR_INVALID, "schema %zu of topic %s: %s: %s", k + 1, t->name, faults.list[0].pointer, faults.list[0].text);
        }
    }
    return ok ? FICUS_ERR_OK : err_set(reterr, FICUS_ERR_NOMEM, "schemas: out of memory");
}

void hub_schemas_close(struct hub *h)
{
    arena_done(&h->schema_arena);
}

static enum ficus_err check(const struct jschema *s, const struct event *ev, int64_t version, struct ficus_error *reterr)
{
    struct arena a;
    struct json *data = NULL;
    arena_init(&a, PARSE_ARENA_MAX);
    struct jschema_faults faults = {.arena = &a};
    struct slice text = ev->data.p == NULL ? SLICE("null") : ev->data;
    enum ficus_err err = json_parse(&a, text, &(struct json_limits){.values_max = EVENT_SIZE_MAX}, &data, reterr);
    if (err == FICUS_ERR_OK && !jschema_check(s, data, &faults)) {
        const struct jschema_fault *f = &faults.list[0];
        err = err_set(reterr, FICUS_ERR_INVALID, SLICE_FMT ": the data does not fit version %lld of its schema: %s%s%s%s", SLICE_ARG(ev->topic), (long long)version,
                      f->pointer, f->pointer[0] == '\0' ? "" : ": ", f->text, faults.count > 1 ? " (and more)" : "");
    }
    arena_done(&a);
    return err;
}

enum ficus_err hub_schemas_check(const struct hub *h, struct event *ev, struct ficus_error *reterr)
{
    const struct hub_config *c = h->config;
    const struct hub_topic *t = hub_config_topic(c, ev->topic);
    if (t == NULL || t->schema_count == 0)
        return FICUS_ERR_OK;
    int64_t newest = (int64_t)t->schema_count, version = ev->schema == 0 ? newest : ev->schema;
    if (version > newest)
        return err_set(reterr, FICUS_ERR_UNAVAILABLE, SLICE_FMT ": this hub knows version %lld of its schema, the event has %lld: ficus restart hub",
                       SLICE_ARG(ev->topic), (long long)newest, (long long)version);
    ev->schema = version;
    return check(h->schemas[t - c->topics][version - 1], ev, version, reterr);
}
