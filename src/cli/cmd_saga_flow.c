/* SPDX-License-Identifier: Apache-2.0
 *
 * See cmd_saga.h.
 */
#include "cmd_saga.h"

#include <string.h>

bool saga_kind_has_state(bool flows, const char *state)
{
    static const char *const only_sagas[] = {"waiting", "undoing", "terminated"}, *const only_flows[] = {"orphaned", "uncompensated"};
    const char *const *others = flows ? only_sagas : only_flows;
    size_t count = flows ? sizeof only_sagas / sizeof *only_sagas : sizeof only_flows / sizeof *only_flows;
    for (size_t i = 0; state != NULL && i < count; i++)
        if (strcmp(others[i], state) == 0)
            return false;
    return true;
}

/* What has to come, who has to bring it, after what, since when and until when. */
static void print_missing(const struct json *m, struct buf *out)
{
    const struct json *letter = json_get(m, "dead_letter");
    buf_printf(out, "  %s " SLICE_FMT ":", cli_is_true(json_get(m, "overdue")) ? "MISSING" : "expected", SLICE_ARG(text_of(m, "step")));
    if (json_get(m, "consumed_by") != NULL)
        buf_printf(out, " that " SLICE_FMT " consumes " SLICE_FMT, SLICE_ARG(text_of(m, "consumed_by")), SLICE_ARG(text_of(m, "after")));
    cli_add_list(m, "event", " ", " or ", out);
    cli_add_list(m, "from", " from ", ", ", out);
    if (json_get(m, "before") != NULL)
        buf_printf(out, ", which should have led to " SLICE_FMT, SLICE_ARG(text_of(m, "before")));
    else if (json_get(m, "consumed_by") == NULL)
        buf_printf(out, " after " SLICE_FMT, SLICE_ARG(text_of(m, "after")));
    if (letter != NULL)
        buf_printf(out, "; given up at " SLICE_FMT ", dead letter %lld (ficus events redrive %lld)\n", SLICE_ARG(text_of(m, "since")),
                   (long long)json_i64_or(letter, 0),
                   (long long)json_i64_or(letter, 0));
    else
        buf_printf(out, "; since " SLICE_FMT ", until " SLICE_FMT "\n", SLICE_ARG(text_of(m, "since")), SLICE_ARG(text_of(m, "until")));
}

static void print_record(const struct json *r, struct buf *out)
{
    buf_printf(out, "  %-24.*s  %-9.*s %-24.*s by " SLICE_FMT, SLICE_ARG(text_of(r, "at")), SLICE_ARG(text_of(r, "kind")),
               SLICE_ARG(text_of(r, "step")),
               SLICE_ARG(text_of(r, "by")));
    if (json_get(r, "dead_letter") != NULL)
        buf_printf(out, ", dead letter %lld", (long long)json_i64_or(json_get(r, "dead_letter"), 0));
    if (json_get(r, "causation") != NULL)
        buf_printf(out, ", caused by " SLICE_FMT, SLICE_ARG(text_of(r, "causation")));
    if (cli_is_true(json_get(r, "late")))
        buf_add_str(out, ", late");
    buf_add_char(out, '\n');
}

void print_flow(const struct json *v, struct buf *out)
{
    static const char *const keys[] = {"state", "failure", "until", "started_at", "updated_at"};
    buf_printf(out, "saga " SLICE_FMT "/" SLICE_FMT " (choreographed)\n", SLICE_ARG(text_of(v, "saga")), SLICE_ARG(text_of(v, "id")));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (json_get(v, keys[i]) != NULL)
            buf_printf(out, "  %-12s " SLICE_FMT "%s\n", keys[i], SLICE_ARG(text_of(v, keys[i])),
                       i == 0 && cli_is_true(json_get(v, "late")) ? ", late" : "");
    for (const struct json *m = items_of(v, "missing"); m != NULL; m = m->next)
        print_missing(m, out);
    for (const struct json *r = items_of(v, "history"); r != NULL; r = r->next)
        print_record(r, out);
}

void print_flow_definition(const struct json *d, struct buf *out)
{
    buf_printf(out, "saga " SLICE_FMT " of " SLICE_FMT " (choreographed), started by ", SLICE_ARG(text_of(d, "saga")),
               SLICE_ARG(text_of(d, "owner")));
    cli_add_list(d, "start", "", " or ", out);
    bool by_event = slice_eq_str(text_of(d, "id"), "event"), by_subject = slice_eq_str(text_of(d, "id"), "subject");
    buf_printf(out, ", one instance for each %s\n", by_event ? "of these events" : by_subject ? "subject" : "correlation id");
    cli_add_list(d, "failures", "  failures ", ", ", out);
    buf_printf(out, "%ssteps\n", json_get(d, "failures") != NULL ? "\n" : "");
    for (const struct json *s = items_of(d, "steps"); s != NULL; s = s->next) {
        buf_printf(out, "  %-14.*s", SLICE_ARG(text_of(s, "step")));
        if (json_get(s, "consumed_by") != NULL)
            buf_printf(out, " consumed by " SLICE_FMT, SLICE_ARG(text_of(s, "consumed_by")));
        cli_add_list(s, "event", " ", " or ", out);
        cli_add_list(s, "from", " from ", ", ", out);
        cli_add_list(s, "after", ", after ", " or ", out);
        buf_printf(out, ", within " SLICE_FMT "\n", SLICE_ARG(text_of(s, "within")));
    }
    buf_add_str(out, "instances\n ");
    for (const struct json *n = items_of(d, "instances"); n != NULL; n = n->next)
        buf_printf(out, " " SLICE_FMT " " SLICE_FMT, SLICE_ARG(n->text), SLICE_ARG(n->key));
    buf_add_char(out, '\n');
}
