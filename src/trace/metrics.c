/* SPDX-License-Identifier: Apache-2.0
 *
 * See metrics.h. A family's children stand in an array that only grows: a new one is written first and then published
 * by a release store of the count, so a reader that has acquired the count sees complete children and needs no lock. To
 * find one by its labels there is a hash table beside it, open addressed and never more than half full, whose places go
 * from NULL to a child once and stay (but for metrics_forget); each is published by a release store as well.
 */
#include "metrics.h"

#include "assert.h"
#include "mem.h"
#include "text.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#define SECOND_NS INT64_C(1000000000)
#define MS_NS INT64_C(1000000)

static const int64_t bounds_seconds[] = {
    MS_NS / 2, MS_NS, 5 * MS_NS / 2, 5 * MS_NS, 10 * MS_NS, 25 * MS_NS, 50 * MS_NS, 100 * MS_NS, 250 * MS_NS,
    500 * MS_NS, SECOND_NS, 5 * SECOND_NS / 2, 5 * SECOND_NS, 10 * SECOND_NS, 0,
};
static const int64_t bounds_plain[] = {
    256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 0,
};

/* The latest observation in one bucket that had a trace. One thread writes it, others may read meanwhile: version is odd
 * while it is written. Who read any of the new words has acquired the odd version with it, so that a version which is the
 * same before and after says that all words are of one observation. */
struct exemplar {
    atomic_uint version; /* 0: never written */
    _Atomic int64_t value;
    _Atomic uint64_t trace[2];
};

/* Begins with all that an observation touches, so that it is one cache line, or two: of a thousand children each is cold. */
struct metric {
    const struct metric_family *family;
    _Atomic int64_t value;                      /* counter, gauge; histogram: sum */
    struct exemplar *exemplars;                 /* one per count, behind them; NULL: none are kept */
    const struct slice *labels;                 /* owned, with their texts at the end */
    uint64_t hash;                              /* of the labels */
    _Atomic int64_t counts[];                   /* histogram: one per bound, and one for what is above */
};
_Static_assert(offsetof(struct metric, counts) + 3 * sizeof(int64_t) <= 64, "with the buckets of quick answers");

struct metric_family {
    const struct metric_def *def;
    struct metrics *reg;
    const int64_t *bounds;
    unsigned bound_count, label_count, children_max;
    _Atomic(struct metric *) other;
    atomic_uint count;
    unsigned place_mask;
    _Atomic(struct metric *) *places;           /* place_mask + 1 of them */
    struct metric *children[];
};

struct metrics {
    pthread_mutex_t mutex;      /* for making families and children */
    atomic_uint count;
    struct metric_family *families[METRIC_FAMILIES_MAX];
};

struct metrics *metrics_new(void)
{
    struct metrics *reg = mem_zalloc(sizeof *reg);
    if (reg != NULL && pthread_mutex_init(&reg->mutex, NULL) != 0)
        MEM_FREE(reg);
    return reg;
}

void metrics_free(struct metrics *reg)
{
    if (reg == NULL)
        return;
    for (unsigned i = 0; i < reg->count; i++) {
        struct metric_family *f = reg->families[i];
        for (unsigned j = 0; j < f->count; j++)
            mem_free(f->children[j]);
        mem_free(f->other);
        mem_free(f);
    }
    (void)pthread_mutex_destroy(&reg->mutex);   /* cannot be held: the caller says that nobody uses the registry */
    mem_free(reg);
}

/* ---- making families and children ---- */

static void assert_name(const char *name)
{
    FICUS_ASSERT(name[0] != '\0' && !(name[0] >= '0' && name[0] <= '9'));
    for (const char *c = name; *c != '\0'; c++)
        FICUS_ASSERT((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_');
}

static bool ends_with(const char *name, const char *suffix)
{
    return slice_ends(slice_str(name), slice_str(suffix));
}

static void assert_def(const struct metric_def *def)
{
    assert_name(def->name);
    FICUS_ASSERT(def->help != NULL);
    FICUS_ASSERT(def->children_max <= METRIC_CHILDREN_MAX);
    FICUS_ASSERT(!def->exemplars || def->one_thread);
    FICUS_ASSERT((def->type == METRIC_COUNTER) == ends_with(def->name, "_total"));
    if (def->unit == METRIC_SECONDS)
        FICUS_ASSERT(ends_with(def->name, "_seconds") || ends_with(def->name, "_seconds_total"));
    if (def->unit == METRIC_BYTES)
        FICUS_ASSERT(ends_with(def->name, "_bytes") || ends_with(def->name, "_bytes_total"));
}

static struct metric *new_child(const struct metric_family *f, const struct slice *labels)
{
    size_t count_bytes = f->def->type == METRIC_HISTOGRAM ? (f->bound_count + 1) * sizeof(_Atomic int64_t) : 0;
    size_t label_bytes = f->label_count * sizeof *labels;
    for (unsigned i = 0; i < f->label_count; i++)
        label_bytes += labels[i].size;
    size_t exemplar_bytes = f->def->exemplars ? (f->bound_count + 1) * sizeof(struct exemplar) : 0;
    struct metric *m = mem_zalloc(sizeof *m + count_bytes + exemplar_bytes + label_bytes);
    if (m == NULL)
        return NULL;
    m->family = f;
    char *at = (char *)(m + 1) + count_bytes;
    if (exemplar_bytes > 0)
        m->exemplars = (struct exemplar *)(void *)at;
    struct slice *own = (struct slice *)(void *)(at + exemplar_bytes);
    m->labels = own;
    at = (char *)(own + f->label_count);
    for (unsigned i = 0; i < f->label_count; i++) {
        memcpy(at, labels[i].p, labels[i].size);
        own[i] = slice_make(at, labels[i].size);
        at += labels[i].size;
    }
    return m;
}

static struct metric_family *new_family(struct metrics *reg, const struct metric_def *def)
{
    unsigned children_max = def->children_max != 0 ? def->children_max : METRIC_CHILDREN_DEFAULT, places = 2;
    while (places < 2 * children_max)
        places *= 2;
    struct metric_family *f =
        mem_zalloc(sizeof *f + children_max * sizeof f->children[0] + places * sizeof f->places[0]);
    if (f == NULL)
        return NULL;
    f->places = (_Atomic(struct metric *) *)(void *)&f->children[children_max];
    f->place_mask = places - 1;
    f->def = def;
    f->reg = reg;
    f->children_max = children_max;
    f->bounds = def->bounds != NULL ? def->bounds : def->unit == METRIC_SECONDS ? bounds_seconds : bounds_plain;
    while (f->bounds[f->bound_count] != 0) {
        FICUS_ASSERT(f->bound_count == 0 || f->bounds[f->bound_count] > f->bounds[f->bound_count - 1]);
        f->bound_count++;
        FICUS_ASSERT(f->bound_count <= METRIC_BUCKETS_MAX);
    }
    for (; f->label_count < METRIC_LABELS_MAX && def->labels[f->label_count] != NULL; f->label_count++)
        assert_name(def->labels[f->label_count]);
    /* Without labels there is one child, shown from the start: a counter that was never increased says 0. */
    if (f->label_count == 0) {
        f->children[0] = new_child(f, NULL);
        f->count = f->children[0] != NULL;
        if (f->count == 0)
            MEM_FREE(f);
    }
    return f;
}

struct metric_family *metrics_register(struct metrics *reg, const struct metric_def *def)
{
    struct metric_family *f = NULL;
    assert_def(def);
    pthread_mutex_lock(&reg->mutex);
    unsigned count = atomic_load_explicit(&reg->count, memory_order_relaxed);   /* changes under the mutex only */
    for (unsigned i = 0; i < count && f == NULL; i++) {
        if (reg->families[i]->def == def)
            f = reg->families[i];
        else
            FICUS_ASSERT(strcmp(reg->families[i]->def->name, def->name) != 0);
    }
    if (f == NULL && count < METRIC_FAMILIES_MAX && (f = new_family(reg, def)) != NULL) {
        reg->families[count] = f;
        atomic_store_explicit(&reg->count, count + 1, memory_order_release);
    }
    pthread_mutex_unlock(&reg->mutex);
    return f;
}

enum ficus_err metrics_register_all(struct metrics *reg, const struct metric_def *defs, size_t count,
                                    struct metric_family **ret_families)
{
    for (size_t i = 0; i < count; i++) {
        ret_families[i] = metrics_register(reg, &defs[i]);
        if (ret_families[i] == NULL)
            return FICUS_ERR_NOMEM;
    }
    return FICUS_ERR_OK;
}

/* ---- finding a child ---- */

/* Valid UTF-8 of bounded size, in scratch only when value is not that already. */
static struct slice clean_label(struct slice value, char scratch[METRIC_LABEL_SIZE_MAX])
{
    if (value.p == NULL)
        return SLICE("");
    if (value.size <= METRIC_LABEL_SIZE_MAX && text_utf8_valid(value))
        return value;
    size_t size = 0, step;
    for (size_t i = 0; i < value.size; i += step) {
        step = text_utf8_step(value.p + i, value.size - i);
        bool valid = step > 0;
        step = valid ? step : 1;
        if (size + step > METRIC_LABEL_SIZE_MAX)
            break;
        memcpy(scratch + size, valid ? value.p + i : "?", step);
        size += step;
    }
    return slice_make(scratch, size);
}

static bool labels_equal(const struct metric *m, const struct slice *labels, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!slice_eq(m->labels[i], labels[i]))
            return false;
    return true;
}

/* Over all labels, eight bytes at a time. Not keyed: who chooses labels fills a family long before it makes the table
 * slow. */
static uint64_t hash_labels(const struct slice *labels, unsigned count)
{
    const uint64_t multiplier = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t hash = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t size = labels[i].size;
        const char *p = labels[i].p;
        hash = (hash ^ size) * multiplier;
        for (; size > 0; hash = (hash ^ hash >> 32) * multiplier) {
            uint64_t word = 0;
            size_t step = size < sizeof word ? size : sizeof word;
            memcpy(&word, p, step);
            hash ^= word;
            p += step;
            size -= step;
        }
    }
    return hash ^ hash >> 32;
}

/* NULL: there is none, and *ret_place is where it belongs. */
static struct metric *find_child(const struct metric_family *f, const struct slice *labels, uint64_t hash,
                                 unsigned *ret_place)
{
    for (unsigned place = (unsigned)hash & f->place_mask;; place = (place + 1) & f->place_mask) {
        struct metric *m = atomic_load_explicit(&f->places[place], memory_order_acquire);
        *ret_place = place;
        if (m == NULL || (m->hash == hash && labels_equal(m, labels, f->label_count)))
            return m;
    }
}

static bool all_other(const struct slice *labels, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!slice_eq(labels[i], SLICE("other")))
            return false;
    return true;
}

/* Under the mutex. */
static struct metric *other_child(struct metric_family *f)
{
    static const struct slice labels[METRIC_LABELS_MAX] = {{"other", 5}, {"other", 5}, {"other", 5}, {"other", 5}};
    struct metric *m = atomic_load_explicit(&f->other, memory_order_relaxed);
    if (m == NULL) {
        m = new_child(f, labels);
        atomic_store_explicit(&f->other, m, memory_order_release);
    }
    return m;
}

static struct metric *add_child(struct metric_family *f, const struct slice *labels, uint64_t hash)
{
    unsigned place;
    pthread_mutex_lock(&f->reg->mutex);
    struct metric *m = find_child(f, labels, hash, &place);     /* another thread may have been faster */
    unsigned count = atomic_load_explicit(&f->count, memory_order_relaxed);     /* changes under the mutex only */
    if (m == NULL && (count == f->children_max || all_other(labels, f->label_count))) {
        m = other_child(f);
    } else if (m == NULL && (m = new_child(f, labels)) != NULL) {
        m->hash = hash;
        f->children[count] = m;
        atomic_store_explicit(&f->count, count + 1, memory_order_release);
        atomic_store_explicit(&f->places[place], m, memory_order_release);
    }
    pthread_mutex_unlock(&f->reg->mutex);
    return m;
}

struct metric *metric_with(struct metric_family *family, const struct slice *values, size_t value_count)
{
    /* Zeroing it would cost more than the rest. clean_label writes what it uses of it. */
    __attribute__((uninitialized)) char scratch[METRIC_LABELS_MAX][METRIC_LABEL_SIZE_MAX];
    struct slice labels[METRIC_LABELS_MAX];
    if (family == NULL)
        return NULL;
    FICUS_ASSERT(value_count == family->label_count);
    if (value_count == 0)
        return family->children[0]; /* there since the family is */
    unsigned place;
    uint64_t hash = hash_labels(values, family->label_count);
    struct metric *m = find_child(family, values, hash, &place);
    if (m != NULL)
        return m; /* the values are clean, as those of all children are */
    for (size_t i = 0; i < value_count; i++)
        labels[i] = clean_label(values[i], scratch[i]);
    hash = hash_labels(labels, family->label_count);
    m = find_child(family, labels, hash, &place);
    if (m != NULL)
        return m;
    /* A full family would take the lock for every stranger: its "other" answers without. */
    if (atomic_load_explicit(&family->count, memory_order_acquire) == family->children_max)
        m = atomic_load_explicit(&family->other, memory_order_acquire);
    return m != NULL ? m : add_child(family, labels, hash);
}

struct metric *metric_only(struct metric_family *family)
{
    return metric_with(family, NULL, 0);
}

size_t metrics_forget(struct metric_family *family, unsigned label, bool (*gone)(void *arg, struct slice value),
                      void *arg)
{
    unsigned kept = 0;
    FICUS_ASSERT(label < family->label_count);
    pthread_mutex_lock(&family->reg->mutex);
    unsigned count = atomic_load_explicit(&family->count, memory_order_relaxed); /* changes under the mutex only */
    for (unsigned i = 0; i < count; i++) {
        if (gone(arg, family->children[i]->labels[label]))
            mem_free(family->children[i]);
        else
            family->children[kept++] = family->children[i];
    }
    atomic_store_explicit(&family->count, kept, memory_order_release);
    /* In an open addressed table a freed place would hide what lies behind it: all are placed anew. */
    for (unsigned i = 0; i <= family->place_mask; i++)
        atomic_store_explicit(&family->places[i], NULL, memory_order_relaxed);
    for (unsigned i = 0; i < kept; i++) {
        struct metric *m = family->children[i];
        unsigned place;
        (void)find_child(family, m->labels, m->hash, &place);
        atomic_store_explicit(&family->places[place], m, memory_order_release);
    }
    pthread_mutex_unlock(&family->reg->mutex);
    return count - kept;
}

/* ---- values; relaxed for the reason that metrics.h gives ---- */

/* A load and a store are enough where nobody else stores. */
static void add(const struct metric_family *f, _Atomic int64_t *at, int64_t amount)
{
    if (f->def->one_thread)
        atomic_store_explicit(at, (int64_t)((uint64_t)atomic_load_explicit(at, memory_order_relaxed) + (uint64_t)amount),
                              memory_order_relaxed);
    else
        atomic_fetch_add_explicit(at, amount, memory_order_relaxed);
}

void metric_add(struct metric *m, uint64_t amount)
{
    if (m == NULL)
        return;
    FICUS_ASSERT_HOT(m->family->def->type == METRIC_COUNTER);
    add(m->family, &m->value, (int64_t)amount);
}

void metric_set(struct metric *m, int64_t value)
{
    if (m == NULL)
        return;
    FICUS_ASSERT_HOT(m->family->def->type == METRIC_GAUGE);
    atomic_store_explicit(&m->value, value, memory_order_relaxed);
}

void metric_change(struct metric *m, int64_t delta)
{
    if (m == NULL)
        return;
    FICUS_ASSERT_HOT(m->family->def->type == METRIC_GAUGE);
    atomic_fetch_add_explicit(&m->value, delta, memory_order_relaxed);
}

/* Returns the bucket. */
static unsigned observe(struct metric *m, int64_t value)
{
    const struct metric_family *f = m->family;
    FICUS_ASSERT(f->def->type == METRIC_HISTOGRAM);     /* the others have no counts behind them */
    unsigned i = 0;
    value = value < 0 ? 0 : value;
    while (i < f->bound_count && value > f->bounds[i])
        i++;
    add(f, &m->counts[i], 1);
    add(f, &m->value, value);
    return i;
}

void metric_observe(struct metric *m, int64_t value)
{
    if (m != NULL)
        (void)observe(m, value);
}

static void exemplar_write(struct exemplar *x, int64_t value, const uint64_t trace[2])
{
    unsigned version = atomic_load_explicit(&x->version, memory_order_relaxed);
    atomic_store_explicit(&x->version, version + 1, memory_order_relaxed);
    atomic_store_explicit(&x->value, value, memory_order_release);
    atomic_store_explicit(&x->trace[0], trace[0], memory_order_release);
    atomic_store_explicit(&x->trace[1], trace[1], memory_order_release);
    atomic_store_explicit(&x->version, version + 2, memory_order_release);
}

/* False: there is none, or it is being written, and the next scrape will have it. */
static bool exemplar_read(const struct exemplar *x, int64_t *ret_value, uint64_t ret_trace[2])
{
    unsigned version = atomic_load_explicit(&x->version, memory_order_acquire);
    *ret_value = atomic_load_explicit(&x->value, memory_order_acquire);
    ret_trace[0] = atomic_load_explicit(&x->trace[0], memory_order_acquire);
    ret_trace[1] = atomic_load_explicit(&x->trace[1], memory_order_acquire);
    return version != 0 && version % 2 == 0 && atomic_load_explicit(&x->version, memory_order_relaxed) == version;
}

void metric_observe_traced(struct metric *m, int64_t value, const struct trace_context *trace)
{
    if (m == NULL)
        return;
    unsigned i = observe(m, value);
    if (m->exemplars == NULL)
        return;
    uint64_t id[2];
    _Static_assert(sizeof id == sizeof trace->trace_id, "two words");
    memcpy(id, trace->trace_id, sizeof id);
    exemplar_write(&m->exemplars[i], value < 0 ? 0 : value, id);
}

int64_t metric_value(const struct metric *m)
{
    if (m == NULL)
        return 0;
    if (m->family->def->type != METRIC_HISTOGRAM)
        return atomic_load_explicit(&m->value, memory_order_relaxed);
    uint64_t total = 0;
    for (unsigned i = 0; i <= m->family->bound_count; i++)
        total += (uint64_t)atomic_load_explicit(&m->counts[i], memory_order_relaxed);
    return (int64_t)total;
}

/* ---- several registries ---- */

static void child_add(struct metric *into, const struct metric *m)
{
    const struct metric_family *f = m->family;
    atomic_fetch_add_explicit(&into->value, atomic_load_explicit(&m->value, memory_order_relaxed), memory_order_relaxed);
    for (unsigned i = 0; f->def->type == METRIC_HISTOGRAM && i <= f->bound_count; i++) {
        int64_t value;
        uint64_t trace[2];
        atomic_fetch_add_explicit(&into->counts[i], atomic_load_explicit(&m->counts[i], memory_order_relaxed),
                                  memory_order_relaxed);
        if (m->exemplars != NULL && exemplar_read(&m->exemplars[i], &value, trace))
            exemplar_write(&into->exemplars[i], value, trace);
    }
}

/* [mutex of from held] */
static bool family_add(struct metric_family *into, const struct metric_family *from)
{
    unsigned count = atomic_load_explicit(&from->count, memory_order_relaxed);
    const struct metric *other = atomic_load_explicit(&from->other, memory_order_relaxed);
    for (unsigned i = 0; i < count + (other != NULL); i++) {
        const struct metric *m = i < count ? from->children[i] : other;
        struct metric *child = metric_with(into, m->labels, from->label_count);
        if (child == NULL)
            return false;
        child_add(child, m);
    }
    return true;
}

/* The mutex keeps children from being made and forgotten meanwhile; their values go on. */
bool metrics_add_all(struct metrics *into, struct metrics *from)
{
    bool ok = true;
    pthread_mutex_lock(&from->mutex);
    unsigned count = atomic_load_explicit(&from->count, memory_order_relaxed);
    for (unsigned i = 0; ok && i < count; i++) {
        struct metric_family *f = metrics_register(into, from->families[i]->def);
        ok = f != NULL && family_add(f, from->families[i]);
    }
    pthread_mutex_unlock(&from->mutex);
    return ok;
}

/* ---- text format 0.0.4 ---- */

static void put_escaped(struct buf *out, struct slice text, bool quotes_too)
{
    for (size_t i = 0; i < text.size; i++) {
        char c = text.p[i];
        if (c == '\\' || (c == '"' && quotes_too))
            (void)buf_add_char(out, '\\');      /* failures of out are sticky and asked for once, at the end */
        if (c == '\n')
            (void)buf_add(out, "\\n", 2);
        else
            (void)buf_add_char(out, c);
    }
}

/* Seconds with as many decimals as needed, exactly; other units as they are. */
static void put_value(struct buf *out, enum metric_unit unit, int64_t value)
{
    if (unit != METRIC_SECONDS) {
        (void)buf_printf(out, "%" PRId64, value);
        return;
    }
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    uint64_t whole = magnitude / (uint64_t)SECOND_NS, fraction = magnitude % (uint64_t)SECOND_NS;
    int digits = 9;
    while (digits > 0 && fraction % 10 == 0) {
        fraction /= 10;
        digits--;
    }
    (void)buf_printf(out, "%s%" PRIu64, value < 0 ? "-" : "", whole);
    if (digits > 0)
        (void)buf_printf(out, ".%0*" PRIu64, digits, fraction);
}

/* name_suffix{labels,le="..."} and a blank; le is left out when there is none, the braces when nothing is in them. */
static void put_series(struct buf *out, const struct metric *m, const char *suffix, const int64_t *bound, bool infinite)
{
    const struct metric_def *def = m->family->def;
    const char *separator = "{";
    (void)buf_add_str(out, def->name);
    (void)buf_add_str(out, suffix);
    for (unsigned i = 0; i < m->family->label_count; i++) {
        (void)buf_printf(out, "%s%s=\"", separator, def->labels[i]);
        put_escaped(out, m->labels[i], true);
        (void)buf_add_char(out, '"');
        separator = ",";
    }
    if (bound != NULL || infinite) {
        (void)buf_printf(out, "%sle=\"", separator);
        if (infinite)
            (void)buf_add_str(out, "+Inf");
        else
            put_value(out, def->unit, *bound);
        (void)buf_add_char(out, '"');
        separator = ",";
    }
    (void)buf_add_str(out, separator[0] == ',' ? "} " : " ");
}

/* OpenMetrics 1.0: behind the value of a bucket. */
static void put_exemplar(struct buf *out, const struct metric *m, unsigned bucket)
{
    int64_t value;
    uint64_t trace[2];
    uint8_t id[sizeof trace];
    if (!exemplar_read(&m->exemplars[bucket], &value, trace))
        return;
    memcpy(id, trace, sizeof id);
    (void)buf_add_str(out, " # {trace_id=\"");
    for (size_t i = 0; i < sizeof id; i++)
        (void)buf_printf(out, "%02x", id[i]);
    (void)buf_add_str(out, "\"} ");
    put_value(out, m->family->def->unit, value);
}

static void put_bucket(struct buf *out, const struct metric *m, unsigned bucket, uint64_t total, bool open)
{
    (void)buf_printf(out, "%" PRIu64, total);
    if (open && m->exemplars != NULL)
        put_exemplar(out, m, bucket);
    (void)buf_add_char(out, '\n');
}

static void put_histogram(struct buf *out, const struct metric *m, bool open)
{
    const struct metric_family *f = m->family;
    uint64_t total = 0;
    /* _count is the sum of the buckets just read and not another counter, so the two always agree in one scrape. */
    for (unsigned i = 0; i < f->bound_count; i++) {
        total += (uint64_t)atomic_load_explicit(&m->counts[i], memory_order_relaxed);
        put_series(out, m, "_bucket", &f->bounds[i], false);
        put_bucket(out, m, i, total, open);
    }
    total += atomic_load_explicit(&m->counts[f->bound_count], memory_order_relaxed);
    put_series(out, m, "_bucket", NULL, true);
    put_bucket(out, m, f->bound_count, total, open);
    put_series(out, m, "_sum", NULL, false);
    put_value(out, f->def->unit, atomic_load_explicit(&m->value, memory_order_relaxed));
    (void)buf_add_char(out, '\n');
    put_series(out, m, "_count", NULL, false);
    (void)buf_printf(out, "%" PRIu64 "\n", total);
}

static void put_child(struct buf *out, const struct metric *m, bool open)
{
    if (m->family->def->type == METRIC_HISTOGRAM) {
        put_histogram(out, m, open);
        return;
    }
    put_series(out, m, "", NULL, false);
    put_value(out, m->family->def->unit, atomic_load_explicit(&m->value, memory_order_relaxed));
    (void)buf_add_char(out, '\n');
}

static void put_family(struct buf *out, const struct metric_family *f, bool open)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    unsigned count = atomic_load_explicit(&f->count, memory_order_acquire);
    const struct metric *other = atomic_load_explicit(&f->other, memory_order_acquire);
    if (count == 0 && other == NULL)
        return;
    /* in OpenMetrics a counter's family lacks the end of its series */
    struct slice name = slice_str(f->def->name);
    name.size -= open && f->def->type == METRIC_COUNTER ? sizeof "_total" - 1 : 0;
    (void)buf_printf(out, "# HELP " SLICE_FMT " ", SLICE_ARG(name));
    put_escaped(out, slice_str(f->def->help), open);
    (void)buf_printf(out, "\n# TYPE " SLICE_FMT " %s\n", SLICE_ARG(name), types[f->def->type]);
    for (unsigned i = 0; i < count; i++)
        put_child(out, f->children[i], open);
    if (other != NULL)
        put_child(out, other, open);
}

static void render(struct metrics *reg, struct buf *out, bool open)
{
    unsigned count = atomic_load_explicit(&reg->count, memory_order_acquire);
    for (unsigned i = 0; i < count; i++)
        put_family(out, reg->families[i], open);
}

bool metrics_render(struct metrics *reg, struct buf *out)
{
    render(reg, out, false);
    return !buf_failed(out);
}

bool metrics_render_open(struct metrics *reg, struct buf *out)
{
    render(reg, out, true);
    (void)buf_add_str(out, "# EOF\n");
    return !buf_failed(out);
}
