/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators' copies of the hub's two databases.
 */
#include "hub_private.h"

void hub_copies_open(struct hub *h)
{
    h->log_copy = (struct store_copy){.env = h->env, .db = elog_db(h->log), .log = &h->process.log};
    h->journal_copy = (struct store_copy){.env = h->env, .db = saga_engine_db(h->sagas), .log = &h->process.log};
}

void hub_copies_get(struct hub_exchange *x, struct slice body)
{
    (void)body;
    struct hub *h = x->hub;
    bool is_log = slice_eq_str(x->params[0], "log");
    if (!is_log && !slice_eq_str(x->params[0], "journal"))
        hub_problem(x, 404, NULL, "the hub has a log and a journal");
    else if (is_log)
        store_copy_answer(&h->log_copy, hub_exchange_hand_over(x), elog_last_offset(h->log));
    else
        store_copy_answer(&h->journal_copy, hub_exchange_hand_over(x), -1);
}
