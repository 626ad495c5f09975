/* SPDX-License-Identifier: Apache-2.0
 *
 * Definitions and templates: the design's two sagas are taken, each rule of the definition refuses its own breach at
 * its own place, canonical texts are stable, templates fill in what they say.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "conf.h"
#include "saga_def.h"
#include "saga_template.h"

#include <string.h>

#define SAGA(steps) "{\"name\":\"s\",\"owner\":\"orders\",\"start\":\"order.placed\",\"steps\":[" steps "]}"
#define CALL "\"call\":\"PUT a:/x/{id}\""
#define STEP_OF(name) "{\"" name "\":{" CALL "," UNDO "}}"
#define NINE STEP_OF("a") "," STEP_OF("b") "," STEP_OF("c") "," STEP_OF("d") "," STEP_OF("e") "," STEP_OF("f") "," STEP_OF("g") "," STEP_OF("h") "," STEP_OF("i")
#define UNDO "\"undo\":\"DELETE a:/x/{id}\""

static const char checkout[] = SAGA(
    "{\"placed\":{\"undo\":\"POST orders:/v1/orders/{id}/reject\"}},"
    "{\"reserve\":{\"call\":\"PUT "
    "inventory:/v1/reservations/{id}\",\"body\":{\"items\":\"{input.items}\"},\"undo\":\"DELETE "
    "inventory:/v1/reservations/{id}\"}},"
    "{\"charge\":{\"call\":\"PUT "
    "payments:/v1/charges/{id}\",\"body\":{\"amount\":\"{input.total}\",\"card\":\"{input.card}\"},"
    "\"undo\":\"DELETE "
    "payments:/v1/charges/{id}\",\"timeout\":\"8s\",\"give_up\":\"10m\",\"code\":\"payment_unavailable\"}},"
    "{\"confirm\":{\"call\":\"POST orders:/v1/orders/{id}/confirm\",\"pivot\":true}},"
    "{\"take\":{\"call\":\"POST inventory:/v1/reservations/{id}/take\",\"retry\":\"forever\"}}");
static const char cancellation[] = SAGA(
    "{\"refund\":{\"call\":\"DELETE payments:/v1/charges/{id}\",\"retry\":\"forever\"}},"
    "{\"give_back\":{\"call\":\"DELETE inventory:/v1/reservations/{id}\",\"retry\":\"forever\"}},"
    "{\"close\":{\"call\":\"POST orders:/v1/orders/{id}/close\",\"retry\":\"forever\"}}");

static struct saga_def *read_def(struct arena *a, const char *text)
{
    struct saga_def *d = NULL;
    struct ficus_error error = {0};
    if (saga_def_read(a, slice_str(text), &d, &error) != FICUS_ERR_OK)
        fail_msg("%s", error.text);
    return d;
}

/* The design's checkout is read as it is written, defaults filled in. */
static void test_read(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    const struct saga_def *d = read_def(&a, checkout);
    assert_int_equal(d->step_count, 5);
    assert_string_equal(d->start, "order.placed");
    assert_string_equal(d->steps[0].name, "placed");
    assert_false(saga_call_present(&d->steps[0].call));
    const struct saga_step *charge = &d->steps[2];
    assert_string_equal(charge->call.method, "PUT");
    assert_string_equal(charge->call.service, "payments");
    assert_string_equal(charge->call.path, "/v1/charges/{id}");
    assert_string_equal(charge->undo.method, "DELETE");
    assert_int_equal(charge->timeout_ms, 8000);
    assert_int_equal(charge->give_up_ms, 600000);
    assert_string_equal(charge->code, "payment_unavailable");
    assert_int_equal(d->steps[1].timeout_ms, 5000);
    assert_int_equal(d->steps[1].give_up_ms, 0);
    assert_true(d->steps[3].pivot);
    assert_true(d->steps[4].retry_forever);
    read_def(&a, cancellation);
    arena_done(&a);
}

/* Writing what was read, and reading that again, gives the same text and hash; another definition gives another hash.
 */
static void test_round_trip(void **state)
{
    (void)state;
    struct arena a;
    struct slice text1, text2, other;
    char hash1[65], hash2[65], other_hash[65];
    arena_init(&a, 1 << 20);
    assert_int_equal(saga_def_write(read_def(&a, checkout), &a, &text1, hash1), FICUS_ERR_OK);
    const struct saga_def *again = read_def(&a, arena_strdup(&a, text1));
    assert_int_equal(saga_def_write(again, &a, &text2, hash2), FICUS_ERR_OK);
    assert_true(slice_eq(text1, text2));
    assert_string_equal(hash1, hash2);
    assert_int_equal(strlen(hash1), 64);
    assert_string_equal(again->steps[2].body, "{\"amount\":\"{input.total}\",\"card\":\"{input.card}\"}");
    assert_int_equal(saga_def_write(read_def(&a, cancellation), &a, &other, other_hash), FICUS_ERR_OK);
    assert_string_not_equal(hash1, other_hash);
    arena_done(&a);
}

/* Waits and signals are read as written, stand in the canonical text, and are taken where they can be undone. */
static void test_waits(void **state)
{
    (void)state;
    static const char *const taken[] = {
        SAGA("{\"a\":{" CALL "," UNDO "}},{\"w\":{\"wait\":\"10m\"}},{\"s\":{\"signal\":\"ok\",\"timeout\":\"24h\"}},"
             "{\"t\":{\"signal\":\"go\",\"timeout\":\"never\"}},{\"u\":{\"signal\":\"so\",\"timeout\":\"1h\",\"on_timeout\":\"go_on\",\"code\":\"x\"}},"
             "{\"z\":{\"call\":\"PUT a:/{signals.ok.by}\",\"body\":\"{signals.go}\",\"pivot\":true}}"),
        SAGA("{\"s\":{\"signal\":\"ok\",\"timeout\":\"1h\"}},{\"a\":{" CALL ",\"retry\":\"forever\"}},{\"w\":{\"wait\":\"1m\"}},"
             "{\"b\":{" CALL ",\"retry\":\"forever\"}}"),
    };
    struct arena a;
    struct slice text, again;
    char hash[65];
    arena_init(&a, 1 << 20);
    const struct saga_def *d = read_def(&a, taken[0]);
    assert_int_equal(d->steps[1].wait_ms, 600000);
    assert_string_equal(d->steps[2].signal, "ok");
    assert_int_equal(d->steps[2].timeout_ms, 86400000);
    assert_int_equal(d->steps[2].on_timeout, SAGA_ON_TIMEOUT_UNDO);
    assert_int_equal(d->steps[3].timeout_ms, SAGA_NEVER);
    assert_int_equal(d->steps[3].on_timeout, SAGA_ON_TIMEOUT_NONE);
    assert_int_equal(d->steps[4].on_timeout, SAGA_ON_TIMEOUT_GO_ON);
    assert_int_equal(saga_signal_step(d, SLICE("so")), 4);
    assert_int_equal(saga_signal_step(d, SLICE("s")), d->step_count);
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        assert_int_equal(saga_def_write(read_def(&a, taken[i]), &a, &text, hash), FICUS_ERR_OK);
        assert_int_equal(saga_def_write(read_def(&a, arena_strdup(&a, text)), &a, &again, hash), FICUS_ERR_OK);
        assert_true(slice_eq(text, again));
    }
    arena_done(&a);
}

/* Groups are read into neighbours that know their group, and stand in the canonical text as they were written; a step that is
 * called "parallel" is one still. */
static void test_groups(void **state)
{
    (void)state;
    struct arena a;
    struct slice text, again;
    char hash[65];
    arena_init(&a, 1 << 20);
    const struct saga_def *d = read_def(&a, SAGA(STEP_OF("a") ",{\"parallel\":[" STEP_OF("b") "," STEP_OF("c") "]},{\"parallel\":[" STEP_OF("d") "," STEP_OF(
                                                "e") "," STEP_OF("f") "]}," STEP_OF("parallel")));
    static const uint32_t groups[] = {0, 1, 1, 2, 2, 2, 0};
    static const size_t firsts[] = {0, 1, 1, 3, 3, 3, 6}, ends[] = {1, 3, 3, 6, 6, 6, 7};
    assert_int_equal(d->step_count, 7);
    for (size_t i = 0; i < d->step_count; i++) {
        assert_int_equal(d->steps[i].group, groups[i]);
        assert_int_equal(saga_group_first(d, i), firsts[i]);
        assert_int_equal(saga_group_end(d, i), ends[i]);
    }
    assert_string_equal(d->steps[6].name, "parallel");
    assert_int_equal(saga_def_write(d, &a, &text, hash), FICUS_ERR_OK);
    assert_non_null(strstr(arena_strdup(&a, text), "{\"parallel\":[{\"b\":{"));
    assert_int_equal(saga_def_write(read_def(&a, arena_strdup(&a, text)), &a, &again, hash), FICUS_ERR_OK);
    assert_true(slice_eq(text, again));
    arena_done(&a);
}

/* Steps that are sagas are read as written, stand in the canonical text, and have a timeout only for the undo that they have. */
static void test_children(void **state)
{
    (void)state;
    struct arena a;
    struct slice text, again;
    char hash[65];
    arena_init(&a, 1 << 20);
    const struct saga_def *d =
        read_def(&a, SAGA("{\"a\":{\"saga\":\"x\",\"body\":{\"n\":\"{input.n}\"}," UNDO ",\"give_up\":\"2d\",\"code\":\"late\"}},{\"b\":{\"saga\":\"y\",\"pivot\":true}}"));
    assert_string_equal(d->steps[0].saga, "x");
    assert_int_equal(d->steps[0].timeout_ms, 5000);
    assert_int_equal(d->steps[1].timeout_ms, 0);
    assert_true(saga_step_acts(&d->steps[1]) && !saga_step_waits(&d->steps[1]));
    assert_int_equal(saga_def_write(d, &a, &text, hash), FICUS_ERR_OK);
    assert_non_null(strstr(arena_strdup(&a, text), "{\"b\":{\"saga\":\"y\",\"pivot\":true}}"));
    assert_int_equal(saga_def_write(read_def(&a, arena_strdup(&a, text)), &a, &again, hash), FICUS_ERR_OK);
    assert_true(slice_eq(text, again));
    arena_done(&a);
}

/* Each rule refuses its breach, and the message names the step or setting and what is wrong. */
static void test_rules(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {SAGA("{\"a\":{" CALL "}},{\"b\":{" CALL ",\"pivot\":true}}"), "needs an undo"},
        {SAGA("{\"a\":{" CALL ",\"pivot\":true}},{\"w\":{\"wait\":\"10m\"}}"), "waits behind the pivot"},
        {SAGA("{\"a\":{" CALL ",\"pivot\":true}},{\"s\":{\"signal\":\"ok\",\"timeout\":\"1h\"}}"), "move it before the pivot"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"s\":{\"signal\":\"ok\"}}"), "needs a timeout"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"s\":{\"signal\":\"ok\",\"timeout\":\"never\",\"on_timeout\":\"undo\"}}"), "has no meaning with"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"s\":{\"signal\":\"ok\",\"timeout\":\"1h\",\"on_timeout\":\"redo\"}}"), "on_timeout"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"s\":{\"signal\":\"ok\",\"timeout\":\"400d\"}}"), "365d"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"s\":{\"signal\":\"Not OK\",\"timeout\":\"1h\"}}"), "signal"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"s\":{\"signal\":\"ok\",\"timeout\":\"1h\"}},{\"t\":{\"signal\":\"ok\",\"timeout\":\"1h\"}}"), "is waited for by"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"s\":{\"signal\":\"ok\",\"timeout\":\"1h\"," CALL "}}"), "exclude each other"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"s\":{\"signal\":\"ok\",\"timeout\":\"1h\",\"wait\":\"1m\"}}"), "exclude each other"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"s\":{\"wait\":\"1m\"," UNDO "}}"), "exclude each other"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"s\":{\"wait\":\"1m\",\"timeout\":\"1m\"}}"), "is not for a wait"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"s\":{\"wait\":\"1m\",\"pivot\":true}}"), "exclude each other"},
        {SAGA("{\"a\":{" CALL "," UNDO ",\"timeout\":\"never\"}}"), "only for a signal"},
        {SAGA("{\"a\":{" CALL "," UNDO ",\"timeout\":\"11m\"}}"), "at most 10m"},
        {SAGA("{\"a\":{" CALL "," UNDO ",\"on_timeout\":\"undo\"}}"), "only for a signal"},
        {SAGA("{\"a\":{" CALL ",\"retry\":\"forever\"}},{\"s\":{\"signal\":\"ok\",\"timeout\":\"1h\"}}"), "wait for the signal before the first call"},
        {SAGA("{\"s\":{\"signal\":\"ok\",\"timeout\":\"1h\"}}"), "at least one step with a call"},
        {SAGA("{\"a\":{" CALL "," UNDO ",\"body\":{\"x\":[\"{signals.ok.by}\"]}}},{\"s\":{\"signal\":\"ok\",\"timeout\":\"1h\"}}"), "no step before this one waits"},
        {SAGA("{\"s\":{\"signal\":\"ok\",\"timeout\":\"1h\"}},{\"a\":{\"call\":\"PUT a:/x/{signals.okay.by}\"," UNDO "}}"), "no step before this one waits"},
        {SAGA("{\"s\":{\"signal\":\"ok\",\"timeout\":\"1h\"}},{\"a\":{\"call\":\"PUT a:/x/{signals.}\"," UNDO "}}"), "unknown template"},
        {SAGA("{\"a\":{" CALL "," UNDO ",\"given_by\":\"t.x\"}}"), "is only for a signal"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"w\":{\"wait\":\"1m\",\"refused_by\":\"t.x\"}}"), "is not for a wait"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"s\":{\"signal\":\"ok\",\"timeout\":\"1h\",\"given_by\":\"t.x\",\"refused_by\":\"t.x\"}}"), "is given by already"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"s\":{\"signal\":\"ok\",\"timeout\":\"1h\",\"given_by\":\"t.x\"}},{\"t\":{\"signal\":\"go\",\"timeout\":\"1h\",\"refused_by\":\"t.x\"}}"),
         "is what the signal of \"s\" is given by already"},
        {SAGA("{\"a\":{\"saga\":\"x\"}}"), "a: needs an undo"},
        {SAGA("{\"a\":{\"saga\":\"x\"}},{\"p\":{" CALL ",\"pivot\":true}}"), "needs an undo: it is a saga that may be completed before the pivot"},
        {SAGA("{\"p\":{" CALL ",\"pivot\":true}},{\"a\":{\"saga\":\"x\"}}"), "is a saga behind the pivot"},
        {SAGA("{\"a\":{\"saga\":\"x\"," UNDO "}},{\"b\":{" CALL ",\"retry\":\"forever\"}}"), "among steps that have no way back"},
        {SAGA("{\"a\":{\"saga\":\"x\"," CALL "," UNDO "}}"), "and saga exclude each other"},
        {SAGA("{\"a\":{\"saga\":\"x\",\"retry\":\"forever\"}}"), "a saga may end undone"},
        {SAGA("{\"a\":{\"saga\":\"x\",\"signal\":\"ok\",\"timeout\":\"1h\"}}"), "and signal exclude each other"},
        {SAGA("{\"a\":{\"saga\":\"x\",\"pivot\":true,\"timeout\":\"8s\"}}"), "how long a saga is waited for says give_up"},
        {SAGA("{\"a\":{\"saga\":\"x\",\"pivot\":true,\"give_up\":\"8s\"}}"), "a saga with an undo"},
        {SAGA("{\"a\":{\"saga\":\"x\",\"body\":[1]," UNDO "}}"), "must be an object"},
        {SAGA("{\"a\":{\"saga\":\"No Name\"," UNDO "}}"), "saga"},
        {SAGA("{\"parallel\":[{\"a\":{\"saga\":\"x\"," UNDO "}},{\"b\":{\"saga\":\"x\",\"pivot\":true}}]}"), "is not for a step of a parallel"},
        {SAGA("{\"parallel\":[{\"a\":{" CALL "," UNDO "}}]}"), "steps[0].parallel: has 1 step; 2 to 8"},
        {SAGA("{\"parallel\":[" NINE "]}"), "has 9 steps; 2 to 8"},
        {SAGA("{\"parallel\":[]}"), "found nothing in it"},
        {SAGA("{\"parallel\":[{\"a\":{" CALL "," UNDO "}},{\"parallel\":[{\"b\":{" CALL "," UNDO "}}]}]}"), "stands inside another \"parallel\""},
        {SAGA("{\"parallel\":[{\"a\":{" CALL "," UNDO "}},{\"b\":{" CALL ",\"pivot\":true}}]}"), "is not for a step of a parallel"},
        {SAGA("{\"parallel\":[{\"b\":{" UNDO "}},{\"a\":{" CALL "," UNDO "}}]}"), "does not stand in a parallel"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"parallel\":[{\"b\":{" CALL "," UNDO "}},{\"a\":{" CALL "," UNDO "}}]}"), "occurs twice"},
        {SAGA("{\"parallel\":[{\"a\":{" CALL "," UNDO "}},{\"b\":{" CALL "}}]}"), "steps[0].parallel[1].b: needs an undo"},
        {SAGA("{\"parallel\":[{\"s\":{\"signal\":\"ok\",\"timeout\":\"1h\"}},{\"a\":{\"call\":\"PUT a:/x/{signals.ok.by}\"," UNDO "}}]}"), "no step before this one waits"},
        {SAGA("{\"parallel\":[{\"s\":{\"signal\":\"ok\",\"timeout\":\"1h\"}},{\"a\":{" CALL ",\"retry\":\"forever\"}}]}"), "wait for the signal before the first call"},
        {SAGA("{\"z\":{" CALL ",\"pivot\":true}},{\"parallel\":[{\"a\":{" CALL ",\"retry\":\"forever\"}},{\"b\":{\"wait\":\"1m\"}}]}"), "waits behind the pivot"},
        {SAGA("{\"parallel\":[7,{\"a\":{" CALL "," UNDO "}}]}"), "steps[0].parallel[0]: found \"7\", expected a map with one entry"},
        {SAGA("{\"paralel\":[{\"a\":{" CALL "," UNDO "}},{\"b\":{" CALL "," UNDO "}}]}"), "steps[0].paralel"},
        {SAGA("{\"a\":{" CALL ",\"pivot\":true}},{\"b\":{" CALL "}}"), "retry: forever"},
        {SAGA("{\"a\":{" CALL ",\"pivot\":true}},{\"b\":{" CALL ",\"pivot\":true}}"), "second pivot"},
        {SAGA("{\"a\":{" CALL "," UNDO ",\"pivot\":true}}"), "exclude each other"},
        {SAGA("{\"a\":{" CALL ",\"pivot\":true}},{\"b\":{" CALL "," UNDO ",\"retry\":\"forever\"}}"),
         "nothing is undone"},
        {SAGA("{\"a\":{" CALL "," UNDO ",\"retry\":\"forever\"}},{\"b\":{" CALL ",\"pivot\":true}}"),
         "only behind the pivot"},
        {SAGA("{\"a\":{" CALL "}}"), "needs an undo"},
        {SAGA("{\"a\":{" CALL ",\"retry\":\"forever\"}},{\"b\":{" CALL "," UNDO "}}"), "on every call"},
        {SAGA("{\"a\":{" CALL ",\"retry\":\"forever\",\"give_up\":\"1m\"}}"), "give_up"},
        {SAGA("{\"a\":{" CALL ",\"pivot\":true,\"give_up\":\"1m\"}}"), "give_up"},
        {SAGA("{\"a\":{" CALL "," UNDO ",\"code\":\"x\"}}"), "code"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"a\":{" CALL "," UNDO "}}"), "occurs twice"},
        {SAGA("{\"a\":{" CALL "," UNDO "}},{\"b\":{" UNDO "}}"), "before every call"},
        {SAGA("{\"a\":{" UNDO "}}"), "at least one step with a call"},
        {SAGA("{\"a\":{\"pivot\":false}}"), "needs a call"},
        {SAGA(""), "steps"},
        {SAGA("{\"a\":{" UNDO ",\"body\":{}}},{\"b\":{" CALL "," UNDO "}}"), "belongs to a call"},
        {SAGA("{\"a\":{\"call\":\"PUT a:/x/{nr}\"," UNDO "}}"), "unknown template"},
        {SAGA("{\"a\":{\"call\":\"PUT a:/x/{reason}\"," UNDO "}}"), "unknown template"},
        {SAGA("{\"a\":{" CALL ",\"body\":{\"x\":[\"{inputs.y}\"]}," UNDO "}}"), "unknown template"},
        {SAGA("{\"a\":{\"call\":\"PUT a/x\"," UNDO "}}"), "METHOD SERVICE:/PATH"},
        {SAGA("{\"a\":{\"call\":\"STEAL a:/x\"," UNDO "}}"), "METHOD SERVICE:/PATH"},
        {SAGA("{\"a\":{\"call\":\"put a:/x\"," UNDO "}}"), "METHOD SERVICE:/PATH"},
        {SAGA("{\"a\":{\"call\":\"PUT a:x\"," UNDO "}}"), "METHOD SERVICE:/PATH"},
        {SAGA("{\"a\":{\"call\":\"PUT a:/x y\"," UNDO "}}"), "METHOD SERVICE:/PATH"},
        {SAGA("{\"a\":{" CALL "," UNDO ",\"retry\":\"twice\"}}"), "forever"},
        {SAGA("{\"a\":{" CALL "," UNDO ",\"give_up\":\"10\"}}"), "unit"},
        {SAGA("{\"a\":{" CALL "," UNDO ",\"giveup\":\"10m\"}}"), "give_up"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena a;
        struct saga_def *d;
        struct ficus_error error = {0};
        arena_init(&a, 1 << 20);
        if (saga_def_read(&a, slice_str(cases[i].text), &d, &error) == FICUS_ERR_OK)
            fail_msg("taken: %s", cases[i].text);
        if (strstr(error.text, cases[i].message) == NULL)
            fail_msg("%s\nshould say \"%s\" but says \"%s\"", cases[i].text, cases[i].message, error.text);
        arena_done(&a);
    }
}

/* Over SAGA_STEPS_MAX steps are refused, so many are taken. */
static void test_steps_max(void **state)
{
    (void)state;
    for (int count = SAGA_STEPS_MAX; count <= SAGA_STEPS_MAX + 1; count++) {
        struct arena a;
        struct buf b;
        struct saga_def *d;
        arena_init(&a, 1 << 20);
        buf_init(&b, 1 << 16);
        buf_add_str(&b, "{\"name\":\"s\",\"start\":\"t\",\"steps\":[");
        for (int i = 0; i < count; i++)
            buf_printf(&b, "%s{\"s%d\":{" CALL "," UNDO "}}", i > 0 ? "," : "", i);
        buf_add_str(&b, "]}");
        assert_int_equal(saga_def_read(&a, buf_slice(&b), &d, NULL) == FICUS_ERR_OK, count == SAGA_STEPS_MAX);
        buf_done(&b);
        arena_done(&a);
    }
}

/* Paths: values become one encoded segment; what is absent, empty, of another type or a dot segment is refused. */
static void test_path(void **state)
{
    (void)state;
    static const struct {
        const char *path, *filled;
    } cases[] = {
        {"/a/{id}/b", "/a/o%2F1%20x/b"}, {"/{input.text}/{input.deep.n}", "/%C3%A9/-12"},
        {"/u/{reason}", "/u/sold_out"},  {"/plain", "/plain"},
        {"/{input.nothing}", NULL},      {"/{input.empty}", NULL},
        {"/{input.list}", NULL},         {"/{input.flag}", NULL},
        {"/{input.dots}", NULL},
    };
    struct arena a;
    struct json *input;
    arena_init(&a, 1 << 20);
    assert_int_equal(json_parse(&a,
                                SLICE("{\"text\":\"\xc3\xa9\",\"deep\":{\"n\":-12},\"empty\":\"\",\"list\":[1],"
                                      "\"flag\":true,\"dots\":\"..\"}"),
                                NULL, &input, NULL),
                     FICUS_ERR_OK);
    const struct saga_vars vars = {.id = SLICE("o/1 x"), .input = input, .reason = SLICE("sold_out")};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out;
        buf_init(&out, 4096);
        enum ficus_err err = saga_template_path(cases[i].path, &vars, &out, NULL);
        assert_int_equal(err == FICUS_ERR_OK, cases[i].filled != NULL);
        if (cases[i].filled != NULL)
            assert_string_equal(buf_str(&out), cases[i].filled);
        buf_done(&out);
    }
    arena_done(&a);
}

/* Bodies: a string that is one template takes the value with its type, others are filled in as text, an absent value is
 * null; nothing is a template in the input's own values. */
static void test_body(void **state)
{
    (void)state;
    struct arena a;
    struct json *input;
    struct buf out;
    arena_init(&a, 1 << 20);
    buf_init(&out, 4096);
    assert_int_equal(json_parse(&a, SLICE("{\"n\":1.50,\"o\":{\"k\":[true,null]},\"s\":\"{id}\"}"), NULL, &input, NULL),
                     FICUS_ERR_OK);
    const struct saga_vars vars = {.id = SLICE("o1"), .input = input};
    const char *body = "{\"a\":\"{input.n}\",\"b\":\"{input.o}\",\"c\":\"order "
                       "{id}/{input.n}\",\"d\":\"{input.none}\",\"e\":[\"{id}\",7,\"\"],\"f\":\"{input.s}\"}";
    assert_int_equal(saga_template_body(body, &vars, &a, &out, NULL), FICUS_ERR_OK);
    assert_string_equal(buf_str(&out), "{\"a\":1.50,\"b\":{\"k\":[true,null]},\"c\":\"order "
                                       "o1/1.50\",\"d\":null,\"e\":[\"o1\",7,\"\"],\"f\":\"{id}\"}");
    buf_clear(&out);
    assert_int_equal(saga_template_body("{\"a\":\"x{input.none}\"}", &vars, &a, &out, NULL), FICUS_ERR_INVALID);
    buf_done(&out);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),      cmocka_unit_test(test_round_trip), cmocka_unit_test(test_rules),
        cmocka_unit_test(test_waits),     cmocka_unit_test(test_groups), cmocka_unit_test(test_children), cmocka_unit_test(test_steps_max), cmocka_unit_test(test_path),       cmocka_unit_test(test_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
