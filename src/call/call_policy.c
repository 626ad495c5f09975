/* SPDX-License-Identifier: Apache-2.0
 *
 * The settings table of an edge's policy, and copies of policies; see call_policy.h.
 */
#include "call_policy.h"

#include "mem.h"
#include "timefmt.h"

#include <stdio.h>
#include <string.h>

enum { POLICY_TIME_MAX_MS = 600000 };

/* ---- words with a syntax of their own ---- */

static bool percent_decode(const struct conf_setting *s, const struct conf_node *node, void *field, struct arena *a,
                           struct conf_errors *errors)
{
    uint64_t percent;
    size_t size = node->kind == CONF_SCALAR ? node->text.size : 0;
    if (size < 2 || node->text.p[size - 1] != '%' || !slice_to_u64(slice_make(node->text.p, size - 1), &percent) ||
        percent < 1 || percent > 100) {
        conf_error_value(errors, node, "must be 1%% to 100%%, such as 20%%");
        return false;
    }
    *(int64_t *)field = (int64_t)percent;
    return true;
}

static void percent_encode(const struct conf_setting *s, const void *field, struct json_writer *w)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%lld%%", (long long)*(const int64_t *)field);
    json_write_str(w, text);
}

static bool percent_is_present(const struct conf_setting *s, const void *field)
{
    return *(const int64_t *)field > 0;
}

static const struct conf_custom percent_custom = {
    .decode = percent_decode,
    .encode = percent_encode,
    .present = percent_is_present,
    .size = sizeof(int64_t),
    .schema = "{\"type\":\"string\",\"pattern\":\"^(100|[1-9][0-9]?)%$\"}",
    .allowed = "1% to 100%",
    .wrong = "20",
    .example = "20%",
};

static bool after_decode(const struct conf_setting *s, const struct conf_node *node, void *field, struct arena *a,
                         struct conf_errors *errors)
{
    struct call_hedge_after after = {0};
    uint64_t percentile = 0;
    bool fine = node->kind == CONF_SCALAR;
    if (fine && slice_starts(node->text, SLICE("p"))) {
        fine = slice_to_u64(slice_from(node->text, 1), &percentile) && percentile >= 50 && percentile <= 99;
        after.percentile = (int64_t)percentile;
    } else if (fine) {
        fine = duration_parse(node->text, &after.ms) && after.ms >= 1 && after.ms <= POLICY_TIME_MAX_MS;
    }
    if (fine)
        *(struct call_hedge_after *)field = after;
    else
        conf_error_value(errors, node, "must be a time such as 50ms, or a percentile, p50 to p99, such as p95");
    return fine;
}

static void after_encode(const struct conf_setting *s, const void *field, struct json_writer *w)
{
    const struct call_hedge_after *after = field;
    char text[32];
    if (after->percentile > 0)
        (void)snprintf(text, sizeof text, "p%lld", (long long)after->percentile);
    else
        duration_format(after->ms, text, sizeof text);
    json_write_str(w, text);
}

static const struct conf_custom after_custom = {
    .decode = after_decode,
    .encode = after_encode,
    .size = sizeof(struct call_hedge_after),
    .schema = "{\"type\":\"string\",\"pattern\":\"^(p[5-9][0-9]|[0-9]+(ms|s|m))$\"}",
    .allowed = "a time such as 50ms, or a percentile such as p95",
    .wrong = "soon",
    .example = "p95",
};

/* Narrower than RFC 9110 5.6.2, as names are in practice. */
static bool name_valid(struct slice text)
{
    bool fine = text.size > 0;
    for (size_t i = 0; i < text.size && fine; i++) {
        char c = text.p[i];
        fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    }
    return fine;
}

static const char *check_field_name(struct slice text)
{
    return name_valid(text) ? NULL : "the name of a header field: letters, digits, '-' and '_'";
}

static const char *check_path(struct slice text)
{
    static const char wrong[] = "a path that begins with '/', of visible characters without '#'";
    bool fine = text.size > 0 && text.p[0] == '/';
    for (size_t i = 0; i < text.size && fine; i++)
        fine = text.p[i] > ' ' && text.p[i] < 0x7f && text.p[i] != '#';
    return fine ? NULL : wrong;
}

static const char *check_field(struct slice text)
{
    struct slice value = text, name = slice_cut(&value, ':');
    bool fine = value.p != NULL && name_valid(name) && value.size > 1 && value.p[0] == ' ';
    for (size_t i = 0; i < value.size && fine; i++)
        fine = value.p[i] >= ' ' && value.p[i] < 0x7f;
    return fine ? NULL : "a header field such as \"x-fault: on\"";
}

/* ---- retry, breaker ---- */

static const struct conf_setting retry_settings[] = {
    {.name = "attempts", .type = CONF_INT, CONF_AT(struct call_policy_retry, attempts), .min = 1, .max = 5,
     .fallback = 2,
     .doc = "How often a call is tried in all. It is repeated only when that is safe: the method is idempotent, the "
            "callee keeps Idempotency-Keys and the request has one, or nothing of it was sent."},
    {.name = "budget", .type = CONF_CUSTOM, CONF_AT(struct call_policy_retry, budget_percent),
     .custom = &percent_custom,
     .doc = "How many repetitions and hedges there may be for a hundred calls, beside one a second for small traffic; "
            "absent: 20%."},
    {.name = "base", .type = CONF_DURATION, CONF_AT(struct call_policy_retry, base_ms), .min = 1, .max = 60000,
     .fallback = 25,
     .doc = "The longest pause before the first repetition; it doubles with each, and the pause is drawn from 0 to it."},
    {.name = "max", .type = CONF_DURATION, CONF_AT(struct call_policy_retry, max_ms), .min = 1,
     .max = POLICY_TIME_MAX_MS, .fallback = 1000,
     .doc = "No pause is longer, unless the callee's Retry-After asks for it."},
};

static void retry_check(const struct conf_node *node, void *value, struct conf_errors *errors)
{
    struct call_policy_retry *r = value;
    if (r->base_ms > r->max_ms)
        conf_error_value(errors, node, "base is longer than max");
}

static const struct conf_table retry_table = {.name = "retry", .size = sizeof(struct call_policy_retry),
                                              .settings = retry_settings,
                                              .count = sizeof retry_settings / sizeof retry_settings[0],
                                              .check = retry_check};

static const struct conf_setting breaker_settings[] = {
    {.name = "enabled", .type = CONF_BOOL, CONF_AT(struct call_policy_breaker, enabled), .fallback = true,
     .doc = "Whether calls are refused at once while the callee fails."},
    {.name = "failures", .type = CONF_INT, CONF_AT(struct call_policy_breaker, failures), .min = 1, .max = 1000,
     .fallback = 5,
     .doc = "Failures in a row (no connection, lost connection, deadline, 502, 503 and 504 only after half of the "
            "timeout) that open the breaker."},
    {.name = "open", .type = CONF_DURATION, CONF_AT(struct call_policy_breaker, open_ms), .min = 10,
     .max = POLICY_TIME_MAX_MS, .fallback = 1000,
     .doc = "How long the breaker stays open before one call at a time may try the callee again."},
};
static const struct conf_table breaker_table = CONF_TABLE_OF("breaker", struct call_policy_breaker, breaker_settings);

/* ---- addresses: ejection, checks ---- */

static const struct conf_setting eject_settings[] = {
    {.name = "failures", .type = CONF_INT, CONF_AT(struct call_policy_eject, failures), .min = 0, .max = 1000,
     .fallback = 5,
     .doc = "Failures of one address in a row (no answer, deadline, 502, 503, 504) after which it is left alone; 0: "
            "never."},
    {.name = "base", .type = CONF_DURATION, CONF_AT(struct call_policy_eject, base_ms), .min = 10,
     .max = POLICY_TIME_MAX_MS, .fallback = 1000,
     .doc = "How long the first time, and always when it refuses connections; it doubles with each time that follows "
            "soon."},
    {.name = "max", .type = CONF_DURATION, CONF_AT(struct call_policy_eject, max_ms), .min = 10,
     .max = POLICY_TIME_MAX_MS, .fallback = 30000, .doc = "No time is longer."},
    {.name = "percent", .type = CONF_INT, CONF_AT(struct call_policy_eject, percent), .min = 0, .max = 100,
     .fallback = 50,
     .doc = "No address is left alone for its failures when more than so many percent of them would be away then."},
};

static void eject_check(const struct conf_node *node, void *value, struct conf_errors *errors)
{
    struct call_policy_eject *e = value;
    if (e->base_ms > e->max_ms)
        conf_error_value(errors, node, "base is longer than max");
}

static const struct conf_table eject_table = {.name = "eject", .size = sizeof(struct call_policy_eject),
                                              .settings = eject_settings,
                                              .count = sizeof eject_settings / sizeof eject_settings[0],
                                              .check = eject_check};

static const struct conf_setting check_settings[] = {
    {.name = "path", .type = CONF_STRING, CONF_AT(struct call_policy_check, path), .min = 1, .max = 512,
     .check = check_path, .fallback_text = "/health", .example = "/health",
     .doc = "Each address is asked for this path by GET; 2xx is healthy."},
    {.name = "every", .type = CONF_DURATION, CONF_AT(struct call_policy_check, every_ms), .min = 10,
     .max = POLICY_TIME_MAX_MS, .fallback = 2000,
     .doc = "How often, while there was a call within the last minute."},
    {.name = "timeout", .type = CONF_DURATION, CONF_AT(struct call_policy_check, timeout_ms), .min = 1,
     .max = POLICY_TIME_MAX_MS, .fallback = 500, .doc = "How long an answer may take."},
    {.name = "unhealthy", .type = CONF_INT, CONF_AT(struct call_policy_check, unhealthy), .min = 1, .max = 1000,
     .fallback = 2, .doc = "Bad results in a row after which the address is left alone."},
    {.name = "healthy", .type = CONF_INT, CONF_AT(struct call_policy_check, healthy), .min = 1, .max = 1000,
     .fallback = 2, .doc = "Good results in a row after which it is used again."},
};
static const struct conf_table check_table = CONF_TABLE_OF("check", struct call_policy_check, check_settings);

/* ---- bulkhead, hedge, fault ---- */

static const struct conf_setting bulkhead_settings[] = {
    {.name = "concurrency", .type = CONF_INT, CONF_AT(struct call_policy_bulkhead, concurrency), .min = 1,
     .max = 65536, .fallback = 64, .doc = "How many calls may run at a time; with adaptive: at most."},
    {.name = "queue", .type = CONF_INT, CONF_AT(struct call_policy_bulkhead, queue), .min = 0, .max = 65536,
     .fallback = 128, .doc = "How many calls may wait for a place; one more is refused at once."},
    {.name = "wait", .type = CONF_DURATION, CONF_AT(struct call_policy_bulkhead, wait_ms), .min = 1,
     .max = POLICY_TIME_MAX_MS, .fallback = 100, .doc = "How long a call waits for a place before it is refused."},
    {.name = "adaptive", .type = CONF_BOOL, CONF_AT(struct call_policy_bulkhead, adaptive), .fallback = false,
     .doc = "Whether the number of calls at a time is found by how their latency answers to it."},
};
static const struct conf_table bulkhead_table =
    CONF_TABLE_OF("bulkhead", struct call_policy_bulkhead, bulkhead_settings);

static const struct conf_setting hedge_settings[] = {
    {.name = "after", .type = CONF_CUSTOM, .flags = CONF_REQUIRED, CONF_AT(struct call_policy_hedge, after),
     .custom = &after_custom,
     .doc = "When a call that may be repeated has no answer by then, the same goes to another address; the first good "
            "answer counts. A time, or a percentile of the edge's own latency."},
};
static const struct conf_table hedge_table = CONF_TABLE_OF("hedge", struct call_policy_hedge, hedge_settings);

static const struct conf_setting fault_settings[] = {
    {.name = "percent", .type = CONF_INT, CONF_AT(struct call_policy_fault, percent), .min = 0, .max = 100,
     .fallback = 100, .doc = "How many percent of the attempts suffer."},
    {.name = "delay", .type = CONF_DURATION, CONF_AT(struct call_policy_fault, delay_ms), .min = 1,
     .max = POLICY_TIME_MAX_MS, .fallback = 0, .doc = "They wait so long before they go out."},
    {.name = "abort", .type = CONF_INT, CONF_AT(struct call_policy_fault, abort), .min = 400, .max = 599,
     .fallback = 0, .doc = "They do not go out; it is as if the callee had answered with this status."},
    {.name = "reset", .type = CONF_BOOL, CONF_AT(struct call_policy_fault, reset), .fallback = false,
     .doc = "They do not go out; it is as if the connection had broken."},
    {.name = "header", .type = CONF_STRING, CONF_AT(struct call_policy_fault, header), .min = 4, .max = 256,
     .check = check_field, .example = "x-fault: on", .doc = "Only requests that carry this header field suffer."},
};

static void fault_check(const struct conf_node *node, void *value, struct conf_errors *errors)
{
    struct call_policy_fault *f = value;
    if (f->abort > 0 && f->reset)
        conf_error_value(errors, node, "abort and reset exclude each other");
    if (f->delay_ms == 0 && f->abort == 0 && !f->reset)
        conf_error_value(errors, node, "says neither delay nor abort nor reset");
}

static const struct conf_table fault_table = {.name = "fault", .size = sizeof(struct call_policy_fault),
                                              .settings = fault_settings,
                                              .count = sizeof fault_settings / sizeof fault_settings[0],
                                              .check = fault_check};

/* ---- all ---- */

static const char *const balance_words[] = {"least_request", "round_robin", "ring_hash", NULL};

static const struct conf_setting policy_settings[] = {
    {.name = "timeout", .type = CONF_DURATION, CONF_AT(struct call_policy, timeout_ms), .min = 1,
     .max = POLICY_TIME_MAX_MS, .fallback = 2000,
     .doc = "How long a call may take, all its attempts together."},
    {.name = "balance", .type = CONF_ENUM, CONF_AT(struct call_policy, balance), .words = balance_words, .fallback = 0,
     .doc = "Which of several addresses gets a call: least_request: the better of two drawn ones by latency times "
            "calls under way; round_robin: one after the other; ring_hash: always the same for the same user."},
    {.name = "hash_header", .type = CONF_STRING, CONF_AT(struct call_policy, hash_header), .min = 1, .max = 64,
     .check = check_field_name, .example = "x-session",
     .doc = "With ring_hash, for requests without a user: the header field whose value says where they go."},
    {.name = "retry", .type = CONF_TABLE, CONF_AT(struct call_policy, retry), .table = &retry_table,
     .doc = "When a call is repeated."},
    {.name = "breaker", .type = CONF_TABLE, CONF_AT(struct call_policy, breaker), .table = &breaker_table,
     .doc = "The circuit breaker of this edge."},
    {.name = "eject", .type = CONF_TABLE, CONF_AT(struct call_policy, eject), .table = &eject_table,
     .doc = "When one of several addresses is left alone for a while."},
    {.name = "check", .type = CONF_TABLE_PTR, CONF_AT(struct call_policy, check), .table = &check_table,
     .doc = "Asking the addresses whether they are well; absent: only calls tell."},
    {.name = "bulkhead", .type = CONF_TABLE_PTR, CONF_AT(struct call_policy, bulkhead), .table = &bulkhead_table,
     .doc = "How many calls may run and wait; absent: as many as there are connections."},
    {.name = "hedge", .type = CONF_TABLE_PTR, CONF_AT(struct call_policy, hedge), .table = &hedge_table,
     .doc = "A second attempt beside a slow one; absent: none."},
    {.name = "fault", .type = CONF_TABLE_PTR, CONF_AT(struct call_policy, fault), .table = &fault_table,
     .doc = "Faults made on purpose, for tests; absent: none."},
    {.name = "keeps_keys", .type = CONF_BOOL, .flags = CONF_RESOLVED_ONLY, CONF_AT(struct call_policy, keeps_keys),
     .fallback = false,
     .doc = "The callee is declared to remember Idempotency-Keys."},
    {.name = "upstream", .type = CONF_TABLE_PTR, .flags = CONF_RESOLVED_ONLY, CONF_AT(struct call_policy, upstream),
     .table = &call_upstream_table, .doc = "Where the callee is that Ficus does not start; absent: it does."},
};
const struct conf_table call_policy_table = CONF_TABLE_OF("call policy", struct call_policy, policy_settings);

struct call_policy call_policy_default(void)
{
    struct call_policy p;
    conf_defaults(&call_policy_table, &p);
    return p;
}

/* ---- copies ---- */

static void *copy_of(const void *p, size_t size, bool *failed)
{
    void *copy = p == NULL ? NULL : mem_alloc(size);
    if (copy != NULL)
        memcpy(copy, p, size);
    *failed = *failed || (p != NULL && copy == NULL);
    return copy;
}

static const char *text_of(const char *text, bool *failed)
{
    return copy_of(text, text == NULL ? 0 : strlen(text) + 1, failed);
}

enum ficus_err call_policy_copy(const struct call_policy *p, struct call_policy *ret_copy)
{
    struct call_policy c = *p;
    bool failed = false;
    c.hash_header = text_of(p->hash_header, &failed);
    c.check = copy_of(p->check, sizeof *p->check, &failed);
    c.bulkhead = copy_of(p->bulkhead, sizeof *p->bulkhead, &failed);
    c.hedge = copy_of(p->hedge, sizeof *p->hedge, &failed);
    c.fault = copy_of(p->fault, sizeof *p->fault, &failed);
    if (c.check != NULL)
        c.check->path = text_of(p->check->path, &failed);
    if (c.fault != NULL)
        c.fault->header = text_of(p->fault->header, &failed);
    c.upstream = NULL;
    failed = failed || call_upstream_copy(p->upstream, &c.upstream) != FICUS_ERR_OK;
    if (failed) {
        call_policy_done(&c);
        return FICUS_ERR_NOMEM;
    }
    *ret_copy = c;
    return FICUS_ERR_OK;
}

static void text_free(const char *text)
{
    mem_free((void *)(uintptr_t)text);
}

void call_policy_done(struct call_policy *copy)
{
    if (copy->check != NULL)
        text_free(copy->check->path);
    if (copy->fault != NULL)
        text_free(copy->fault->header);
    text_free(copy->hash_header);
    mem_free(copy->check);
    mem_free(copy->bulkhead);
    mem_free(copy->hedge);
    mem_free(copy->fault);
    call_upstream_free(copy->upstream);
    copy->upstream = NULL;
    copy->hash_header = NULL;
    copy->check = NULL;
    copy->bulkhead = NULL;
    copy->hedge = NULL;
    copy->fault = NULL;
}
