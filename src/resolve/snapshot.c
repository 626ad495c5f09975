/* SPDX-License-Identifier: Apache-2.0
 *
 * Snapshots of endpoints; see snapshot.h.
 */
#include "snapshot.h"

#include "json.h"
#include "mem.h"
#include "resolve_hub.h"

#include <stdlib.h>

struct state_entry {
    char *name;
    char **addresses;
    size_t address_count;
    bool is_heard;      /* of a warm hub */
    bool is_owed;       /* who should know of the last change does not */
    bool is_gone;       /* at present it has none; those here are the last ones, for the file */
};

/* ---- parse ---- */

static enum ficus_err parse_service(struct arena *a, const struct json *list, struct snapshot_service *ret_service,
                                    struct ficus_error *reterr)
{
    if (list->type != JSON_ARRAY || list->count > RESOLVE_ADDRESSES_MAX || list->key.size == 0)
        return err_set(reterr, FICUS_ERR_PARSE, "endpoints of \"" SLICE_FMT "\": not a list of at most %d addresses",
                       SLICE_ARG(list->key), RESOLVE_ADDRESSES_MAX);
    const char **addresses = ARENA_ARRAY(a, const char *, list->count);
    const char *name = arena_strdup(a, list->key);
    if (name == NULL || addresses == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "endpoints: out of memory");
    size_t count = 0;
    for (const struct json *v = list->first; v != NULL; v = v->next) {
        struct slice text;
        if (!json_string(v, &text) || text.size > RESOLVE_ADDRESS_SIZE_MAX || memchr(text.p, '\0', text.size) != NULL ||
            (!slice_starts(text, SLICE("unix:/")) && !slice_starts(text, SLICE("tcp:"))))
            return err_set(reterr, FICUS_ERR_PARSE,
                           "endpoints of \"%s\": an entry is neither unix:/PATH nor tcp:HOST:PORT", name);
        addresses[count] = arena_strdup(a, text);
        if (addresses[count++] == NULL)
            return err_set(reterr, FICUS_ERR_NOMEM, "endpoints: out of memory");
    }
    *ret_service = (struct snapshot_service){name, addresses, count};
    return FICUS_ERR_OK;
}

enum ficus_err snapshot_parse(struct arena *a, struct slice text, struct snapshot *ret_snapshot,
                              struct ficus_error *reterr)
{
    static const struct json_limits limits = {.depth_max = 4, .size_max = RESOLVE_SNAPSHOT_SIZE_MAX};
    struct json *root;
    struct snapshot s = {0};
    enum ficus_err err = json_parse(a, text, &limits, &root, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    const struct json *format = json_get(root, "ficus_endpoints"), *services = json_get(root, "services"),
                      *warming = json_get(root, "warming"), *since = json_get(root, "since");
    if (format != NULL && json_i64_or(format, INT64_MAX) > SNAPSHOT_FORMAT)
        return err_set(reterr, FICUS_ERR_VERSION, "endpoints: written by a newer version");
    if (!json_i64(json_get(root, "version"), &s.version) || s.version < 0)
        return err_set(reterr, FICUS_ERR_PARSE, "endpoints: \"version\" is not a number from 0 on");
    if (since != NULL && (!json_i64(since, &s.since) || s.since < 1 || s.since > s.version))
        return err_set(reterr, FICUS_ERR_PARSE, "endpoints: \"since\" is not a number from 1 to \"version\"");
    if (warming != NULL && !json_bool(warming, &s.warming))
        return err_set(reterr, FICUS_ERR_PARSE, "endpoints: \"warming\" is neither true nor false");
    if (services == NULL || services->type != JSON_OBJECT || services->count > RESOLVE_SERVICES_MAX)
        return err_set(reterr, FICUS_ERR_PARSE, "endpoints: \"services\" is not an object with at most %d members",
                       RESOLVE_SERVICES_MAX);
    s.services = ARENA_ARRAY(a, struct snapshot_service, services->count);
    if (s.services == NULL)
        return err_set(reterr, FICUS_ERR_NOMEM, "endpoints: out of memory");
    for (const struct json *v = services->first; v != NULL && err == FICUS_ERR_OK; v = v->next)
        err = parse_service(a, v, &s.services[s.service_count++], reterr);
    if (err == FICUS_ERR_OK)
        *ret_snapshot = s;
    return err;
}

/* ---- state ---- */

void snapshot_state_init(struct snapshot_state *s, const uint64_t seed[2])
{
    map_init(&s->services, seed);
}

static void entry_free(struct state_entry *entry)
{
    if (entry == NULL)
        return;
    for (size_t i = 0; i < entry->address_count; i++)
        mem_free(entry->addresses[i]);
    mem_free(entry->addresses);
    mem_free(entry->name);
    mem_free(entry);
}

void snapshot_state_done(struct snapshot_state *s)
{
    size_t pos = 0;
    struct slice key;
    void *entry;
    while (map_next(&s->services, &pos, &key, &entry))
        entry_free(entry);
    map_done(&s->services);
}

static struct state_entry *entry_new(const struct snapshot_service *service)
{
    struct state_entry *entry = mem_zalloc(sizeof *entry);
    if (entry == NULL)
        return NULL;
    entry->name = mem_strdup(service->name);
    entry->addresses = mem_array(service->address_count, sizeof *entry->addresses);
    bool fine = entry->name != NULL && entry->addresses != NULL;
    for (size_t i = 0; fine && i < service->address_count; i++) {
        entry->addresses[i] = mem_strdup(service->addresses[i]);
        fine = entry->addresses[i] != NULL;
        entry->address_count += fine;
    }
    if (fine)
        return entry;
    entry_free(entry);
    return NULL;
}

static bool entry_equal(const struct state_entry *entry, const struct snapshot_service *service)
{
    if (entry->address_count != service->address_count)
        return false;
    for (size_t i = 0; i < entry->address_count; i++)
        if (strcmp(entry->addresses[i], service->addresses[i]) != 0)
            return false;
    return true;
}

bool snapshot_state_take(struct snapshot_state *s, const struct snapshot_service *service, bool warming,
                         bool *ret_changed)
{
    struct slice key = slice_str(service->name);
    struct state_entry *old = map_get(&s->services, key);
    *ret_changed = false;
    if (service->address_count == 0) {
        *ret_changed = old != NULL && !warming && old->is_heard && (!old->is_gone || old->is_owed);
        if (*ret_changed) {
            old->is_gone = true;
            old->is_owed = false;
        }
        return true;
    }
    *ret_changed = old == NULL || (!warming && (old->is_gone || old->is_owed || !entry_equal(old, service)));
    if (old != NULL && !warming)
        old->is_heard = true;
    if (!*ret_changed)
        return true;
    if (old == NULL && map_count(&s->services) >= RESOLVE_SERVICES_MAX) {
        *ret_changed = false;
        return true;
    }
    struct state_entry *entry = entry_new(service);
    if (entry == NULL || !map_put(&s->services, key, entry)) {
        entry_free(entry);
        *ret_changed = false;
        return false;
    }
    entry->is_heard = !warming;
    entry_free(old);
    return true;
}

void snapshot_state_owe(struct snapshot_state *s, const char *name)
{
    struct state_entry *entry = map_get(&s->services, slice_str(name));
    if (entry != NULL)
        entry->is_owed = true;
}

static int entry_compare(const void *a, const void *b)
{
    const struct state_entry *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

bool snapshot_state_write(const struct snapshot_state *s, int64_t version, struct buf *out)
{
    size_t count = map_count(&s->services), pos = 0, filled = 0;
    const struct state_entry **entries = mem_array(count, sizeof *entries);
    struct slice key;
    void *value;
    if (entries == NULL)
        return false;
    while (map_next(&s->services, &pos, &key, &value))
        entries[filled++] = value;
    qsort(entries, filled, sizeof *entries, entry_compare);
    struct json_writer w;
    json_write_init(&w, out);
    json_write_object(&w);
    json_write_kv_i64(&w, "ficus_endpoints", SNAPSHOT_FORMAT);
    json_write_kv_i64(&w, "version", version);
    json_write_key(&w, "services");
    json_write_object(&w);
    for (size_t i = 0; i < filled; i++) {
        json_write_key(&w, entries[i]->name);
        json_write_array(&w);
        for (size_t k = 0; k < entries[i]->address_count; k++)
            json_write_str(&w, entries[i]->addresses[k]);
        json_write_end(&w);
    }
    json_write_end(&w);
    json_write_end(&w);
    mem_free(entries);
    return !buf_failed(out);
}
