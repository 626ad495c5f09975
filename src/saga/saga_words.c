/* SPDX-License-Identifier: Apache-2.0
 *
 * See saga_machine.h: the words of states and records in journal and API, and what an answer means.
 */
#include "saga_machine.h"

#include "assert.h"

bool saga_state_is_final(enum saga_state_name name)
{
    return name == SAGA_COMPLETED || name == SAGA_COMPENSATED || name == SAGA_TERMINATED;
}

const char *saga_state_text(enum saga_state_name name)
{
    switch (name) {
#define X(n, text) \
    case SAGA_##n: \
        return text;
        SAGA_STATE_LIST(X)
#undef X
    case SAGA_NONE:
    case SAGA_STATE_COUNT:
        break;
    }
    return "none";
}

bool saga_state_parse(struct slice text, enum saga_state_name *ret_name)
{
    for (enum saga_state_name n = SAGA_RUNNING; n < SAGA_STATE_COUNT; n++) {
        if (slice_eq_str(text, saga_state_text(n))) {
            *ret_name = n;
            return true;
        }
    }
    return false;
}

static const char *const record_texts[SAGA_RECORD_COUNT] = {
#define X(name, text) [SAGA_RECORD_##name] = text,
    SAGA_RECORD_LIST(X)
#undef X
};

const char *saga_record_text(enum saga_record_kind kind)
{
    FICUS_ASSERT((unsigned)kind < SAGA_RECORD_COUNT);
    return record_texts[kind];
}

bool saga_record_has_step(enum saga_record_kind kind)
{
    return kind != SAGA_RECORD_STARTED && kind != SAGA_RECORD_RETRIED && kind != SAGA_RECORD_CANCELLED &&
           kind != SAGA_RECORD_TERMINATED;
}

bool saga_record_parse(struct slice text, enum saga_record_kind *ret_kind)
{
    for (size_t i = 0; i < SAGA_RECORD_COUNT; i++) {
        if (slice_eq_str(text, record_texts[i])) {
            *ret_kind = (enum saga_record_kind)i;
            return true;
        }
    }
    return false;
}

enum saga_answer saga_classify(enum ficus_err err, int status)
{
    if (err != FICUS_ERR_OK)
        return SAGA_ANSWER_UNKNOWN;
    if (status >= 200 && status <= 299)
        return SAGA_ANSWER_DONE;
    if (status >= 400 && status <= 499 && status != 401 && status != 408 && status != 425 && status != 429)
        return SAGA_ANSWER_REFUSED;
    return SAGA_ANSWER_UNKNOWN;
}
