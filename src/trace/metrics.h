/* SPDX-License-Identifier: Apache-2.0
 *
 * Counters, gauges and histograms in memory, rendered in the Prometheus text format 0.0.4 or as OpenMetrics. Families come from static
 * tables that each module owns; a family's children differ by label values and are bounded: when a family is full,
 * further label sets fall into one child whose labels all say "other". Children live as long as the registry.
 *
 * Threads: everything from any thread. Values are relaxed atomics: each is an independent count, no other memory is
 * reached through it, and a scrape needs only some value that the counter had, not one moment for all. Loops that would
 * take each other's cache lines have a registry each, and metrics_add_all makes one of them.
 *
 * Units: a family with unit METRIC_SECONDS is fed with integer nanoseconds and rendered in seconds; all others are
 * fed and rendered as they are.
 */
#ifndef FICUS_TRACE_METRICS_H
#define FICUS_TRACE_METRICS_H

#include "buf.h"
#include "err.h"
#include "trace_context.h"

enum {
    METRIC_LABELS_MAX = 4,
    METRIC_LABEL_SIZE_MAX = 128,    /* longer values are cut */
    METRIC_CHILDREN_DEFAULT = 64,
    METRIC_CHILDREN_MAX = 1024,
    METRIC_FAMILIES_MAX = 256,
    METRIC_BUCKETS_MAX = 32,
};

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
enum metric_unit { METRIC_NONE, METRIC_SECONDS, METRIC_BYTES };

/* A row of a module's table; static, never freed. Names are asserted at registration: [a-z_][a-z0-9_]*, counters end
 * with _total, and the unit is in the name (_seconds, _bytes). */
struct metric_def {
    const char *name;
    enum metric_type type;
    enum metric_unit unit;
    const char *help;
    const char *labels[METRIC_LABELS_MAX];  /* names, NULL behind the last */
    unsigned children_max;                  /* 0: METRIC_CHILDREN_DEFAULT */
    /* histogram: rising upper bounds, 0 behind the last; NULL: 0.5 ms .. 10 s for seconds, 256 .. 16 Mi otherwise */
    const int64_t *bounds;
    /* histogram: each bucket keeps the trace of its latest observation by metric_observe_traced; one_thread as well */
    bool exemplars;
    /* of each registry one thread alone changes the values, which costs no locked instruction then; others may read */
    bool one_thread;
};

struct metrics;
struct metric_family;
struct metric;      /* one child */

struct metrics *metrics_new(void);      /* NULL: out of memory */
void metrics_free(struct metrics *reg); /* all children with it */

/* Register one row; the same row again gives the same family. NULL: out of memory or over METRIC_FAMILIES_MAX. */
struct metric_family *metrics_register(struct metrics *reg, const struct metric_def *def);
/* Register a table; families[i] belongs to defs[i]. */
enum ficus_err metrics_register_all(struct metrics *reg, const struct metric_def *defs, size_t count,
                                    struct metric_family **ret_families);

/* Find or make the child with these label values (as many as the definition has names). Finding takes no lock. Keep
 * the pointer where the labels are fixed. NULL only when out of memory, and all functions below ignore NULL. */
struct metric *metric_with(struct metric_family *family, const struct slice *values, size_t value_count);
#define METRIC(family, ...)                                                                        \
    metric_with((family), (const struct slice[]){__VA_ARGS__},                                     \
                sizeof((const struct slice[]){__VA_ARGS__}) / sizeof(struct slice))
struct metric *metric_only(struct metric_family *family);  /* of a family without labels */

void metric_add(struct metric *m, uint64_t amount);         /* counter */
static inline void metric_inc(struct metric *m) { metric_add(m, 1); }
void metric_set(struct metric *m, int64_t value);           /* gauge */
void metric_change(struct metric *m, int64_t delta);        /* gauge */
void metric_observe(struct metric *m, int64_t value);       /* histogram; negative counts as 0 */

/* The same; trace is what it was observed in. */
void metric_observe_traced(struct metric *m, int64_t value, const struct trace_context *trace);

/* Free the children for whose value of that label (by its index) gone says true: what they stood for is no more, and a
 * family that is full takes others in their place. Nobody may keep a pointer to one of them, or use the family
 * meanwhile, but for metrics_add_all: for families that one thread alone uses. The child "other" stays. Returns how many went. */
size_t metrics_forget(struct metric_family *family, unsigned label, bool (*gone)(void *arg, struct slice value),
                      void *arg);

/* Add all that from says to into, which nobody else uses; gauges too. False: out of memory. */
bool metrics_add_all(struct metrics *into, struct metrics *from);

/* The present value of a counter or gauge, the number of observations of a histogram. */
int64_t metric_value(const struct metric *m);

/* Append the whole exposition ("text/plain; version=0.0.4"), families in order of registration. False: the buffer is
 * too small. */
bool metrics_render(struct metrics *reg, struct buf *out);
/* The same in OpenMetrics 1.0 ("application/openmetrics-text; version=1.0.0"), with exemplars. */
bool metrics_render_open(struct metrics *reg, struct buf *out);

#endif
