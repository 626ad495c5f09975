/* SPDX-License-Identifier: Apache-2.0
 *
 * Which changes keep old data readable, and the reason when they do not. differential.py asks the same of random pairs.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "schema_rig.h"

#define OBJECT(words) "{'type':'object','additionalProperties':false," words "}"
#define V1 OBJECT("'properties':{'id':{'type':'string'},'n':{'type':'integer','minimum':0}},'required':['id']")

static const struct {
    const char *old, *new, *reason; /* NULL: compatible */
} pairs[] = {
    {V1, V1, NULL},
    {V1, OBJECT("'properties':{'id':{'type':'string'},'n':{'type':'integer'},'more':{'type':'string'}},'required':['id']"), NULL},
    {V1, OBJECT("'properties':{'id':{'type':'string'},'n':{'type':'number','minimum':-1}}"), NULL},
    {V1, "{'type':'object','properties':{'id':{'type':'string'}}}", NULL}, {V1, "true", NULL},
    {V1, OBJECT("'properties':{'id':{'type':'string'},'n':{'type':'integer'}},'required':['id','n']"), ": required: \"n\" became required, and old data may lack it"},
    {V1, OBJECT("'properties':{'id':{'type':'string'},'n':{'type':'integer'},'x':true},'required':['x']"), "\"x\" became required"},
    {V1, OBJECT("'properties':{'id':{'type':'string'}}"), ": additionalProperties: \"n\" is no longer allowed"},
    {V1, OBJECT("'properties':{'id':{'type':'integer'},'n':{'type':'integer'}}"), "/properties/id: type: old data may be string here, only integer is allowed now"},
    {V1, OBJECT("'properties':{'id':{'type':'string','maxLength':9},'n':true}"), "/properties/id: maxLength: old data may have more characters"},
    {V1, OBJECT("'properties':{'id':true,'n':{'minimum':1}}"), "/properties/n: minimum: old data may be smaller here"},
    {"{'properties':{'a':{'type':'string'}}}", "{'properties':{'a':{'type':'string'},'b':{'type':'string'}}}", "/properties/b: properties: the old schema says nothing of \"b\""},
    {"{'properties':{'a':{'type':'string'}}}", "{'properties':{'a':{'type':'string'},'b':{}}}", NULL},
    {"{'properties':{'a':{'type':'string'}}}", "{'properties':{'a':{'type':'string'}},'additionalProperties':false}", "is closed now"},
    {"{'enum':['a','b']}", "{'enum':['c','b','a']}", NULL}, {"{'enum':['a','b']}", "{'enum':['a']}", "enum: the old value \"b\" is not allowed any more"},
    {"{'type':'string'}", "{'enum':['a']}", "enum: old data is not held to a list"}, {"{'const':3}", "{'type':'integer','maximum':3}", NULL}, {"{'enum':[1,'x',null]}", "{'type':['integer','string']}", "old value null"},
    {"{'anyOf':[{'const':'a'},{'const':'b'}]}", "{'enum':['b','a']}", NULL}, {"{'enum':['b','a']}", "{'anyOf':[{'const':'a'},{'const':'b'}]}", NULL},
    {"{'type':['string','null']}", "{'anyOf':[{'type':'string'},{'type':'null'}]}", NULL}, {"{'anyOf':[{'type':'string'},{'type':'null'}]}", "{'type':['string','null']}", NULL},
    {"{'anyOf':[{'type':'string'},{'type':'null'}]}", "{'type':'string'}", "old data may be null here"}, {"{'type':'integer'}", "{'oneOf':[{'type':'integer'},{'type':'string'}]}", NULL},
    {"{'type':'integer'}", "{'oneOf':[{'type':'integer'},{'minimum':3}]}", "oneOf: cannot be shown compatible"}, {"{'minimum':3}", "{'exclusiveMinimum':2}", NULL},
    {"{'exclusiveMinimum':2}", "{'minimum':3}", "minimum: old data may be smaller"}, {"{'minimum':2}", "{'exclusiveMinimum':2}", "exclusiveMinimum"}, {"{'maximum':2}", "{'exclusiveMaximum':2.5,'maximum':2}", NULL},
    {"{'multipleOf':6}", "{'multipleOf':3}", NULL}, {"{'multipleOf':3}", "{'multipleOf':6}", "multipleOf"}, {"{'type':'integer'}", "{'multipleOf':0.5}", NULL},
    {"{'type':'string','pattern':'^a'}", "{'type':'string','pattern':'^a'}", NULL}, {"{'pattern':'^ab'}", "{'pattern':'^a'}", "pattern: cannot be shown compatible"},
    {"{'enum':['ab']}", "{'pattern':'^a'}", NULL}, {"{'format':'uuid'}", "{}", NULL}, {"{'type':'string'}", "{'format':'uuid'}", "format: old data may have another form"},
    {"{'items':{'type':'integer'},'maxItems':3}", "{'items':{'type':'number'},'maxItems':4}", NULL}, {"{'items':{'type':'number'}}", "{'items':{'type':'integer'}}", "/items: type: old data may be fraction here"},
    {"{'prefixItems':[{'type':'string'}],'items':{'type':'integer'}}", "{'items':{'type':['string','integer']}}", NULL}, {"{'items':{'type':'integer'}}", "{'prefixItems':[{'type':'string'}]}", "/prefixItems/0: type"},
    {"{'uniqueItems':true}", "{}", NULL}, {"{}", "{'uniqueItems':true}", "uniqueItems"}, {"{'contains':{'const':1}}", "{'contains':{'type':'integer'}}", NULL}, {"{'minItems':1}", "{'contains':true}", "contains"},
    {"{'not':{'type':'string'}}", "{'not':{'const':'x'}}", NULL}, {"{'type':'integer'}", "{'not':{'type':'string'}}", NULL}, {"{'type':'string'}", "{'not':{'const':'x'}}", "not: cannot be shown"},
    {"{'patternProperties':{'^x':{'type':'integer'}},'additionalProperties':false}", "{'patternProperties':{'^x':{'type':'number'}},'additionalProperties':false,'minProperties':0}", NULL},
    {"{'patternProperties':{'^x':{'type':'number'}}}", "{'patternProperties':{'^x':{'type':'integer'}}}", "patternProperties: old data may have members like ^x"},
    {OBJECT("'properties':{'ab':true}"), "{'propertyNames':{'maxLength':2}}", NULL}, {OBJECT("'properties':{'abc':true}"), "{'propertyNames':{'maxLength':2}}", "propertyNames: old data may have a member \"abc\""},
    {"{'required':['a','b']}", "{'minProperties':2}", NULL}, {OBJECT("'properties':{'a':true}"), "{'maxProperties':1}", NULL}, {"{}", "{'maxProperties':1}", "maxProperties: old data may have more"},
    {"{'if':{'required':['a']},'then':{'minProperties':2}}", "{'if':{'required':['a']},'then':{'minProperties':2},'title':'x'}", NULL}, {"{'type':'object'}", "{'if':{'required':['a']},'then':{'minProperties':2}}", "if: cannot be shown"},
    /* the kind tells which of several, and one more kind is no harm */
    {"{'oneOf':[{'properties':{'k':{'const':'a'},'x':{'type':'integer'}},'required':['k']},{'properties':{'k':{'const':'b'}},'required':['k']}]}",
     "{'oneOf':[{'properties':{'k':{'const':'a'},'x':{'type':'number'}},'required':['k']},{'properties':{'k':{'const':'b'}},'required':['k']},{'properties':{'k':{'const':'c'}},'required':['k']}]}", "oneOf: cannot be shown"},
    {"{'type':'object','oneOf':[{'properties':{'k':{'const':'a'}},'required':['k']},{'properties':{'k':{'const':'b'}},'required':['k']}]}",
     "{'type':'object','oneOf':[{'properties':{'k':{'const':'a'}},'required':['k']},{'properties':{'k':{'const':'b'}},'required':['k']},{'properties':{'k':{'const':'c'}},'required':['k']}]}", NULL},
    /* what refers to itself */
    {"{'type':'object','properties':{'v':{'type':'integer'},'next':{'$ref':'#'}},'additionalProperties':false}", "{'type':'object','properties':{'next':{'$ref':'#'},'v':{'type':'number'}},'additionalProperties':false}", NULL},
    {"{'type':'object','properties':{'v':{'type':'number'},'next':{'$ref':'#'}},'additionalProperties':false}", "{'type':'object','properties':{'next':{'$ref':'#'},'v':{'type':'integer'}},'additionalProperties':false}", "fraction"},
    {"{'$ref':'#/$defs/a','$defs':{'a':{'type':'string'}}}", "{'type':'string'}", NULL}, {"{'allOf':[{'type':'string'},{'maxLength':3}]}", "{'type':'string','maxLength':4}", NULL}, {"false", "{'type':'string'}", NULL}, {"{'type':'string'}", "false", "nothing is allowed here any more"},
};

static void test_pairs(void **state)
{
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < ARRAY_COUNT(pairs); i++) {
        struct rig r;
        rig_init(&r);
        const struct jschema *old = rig_compile(&r, pairs[i].old), *new = rig_compile(&r, pairs[i].new);
        if (old == NULL || new == NULL)
            fail_msg("%s %s: %s", pairs[i].old, pairs[i].new, r.said);
        bool ok = jschema_reads(new, old, &r.faults);
        assert_int_equal(ok, r.faults.count == 0);
        rig_tell(&r);
        bool fine = pairs[i].reason == NULL ? ok : !ok && strstr(r.said, pairs[i].reason) != NULL;
        if (!fine)
            print_error("%zu: old %s new %s: \"%s\", expected \"%s\"\n", i, pairs[i].old, pairs[i].new, r.said, pairs[i].reason == NULL ? "" : pairs[i].reason);
        wrong += fine ? 0 : 1;
        rig_done(&r);
    }
    assert_int_equal(wrong, 0);
}

/* However much is said of a member, a pattern that says otherwise is not passed over. */
static void test_many_rules(void **state)
{
    (void)state;
    struct rig r;
    struct buf b;
    rig_init(&r);
    buf_init(&b, 8192);
    buf_add_str(&b, "{'properties':{'a':{'allOf':[{}");
    for (int i = 0; i < 40; i++)
        buf_printf(&b, ",{'maxLength':%d}", 100 + i);
    buf_add_str(&b, "]}},'patternProperties':{'^a':{'type':'string'}},'additionalProperties':false}");
    const struct jschema *new = rig_compile(&r, buf_str(&b)), *old = rig_compile(&r, "{'properties':{'a':{'type':'integer'}},'additionalProperties':false}");
    assert_non_null(new);
    assert_false(jschema_reads(new, old, &r.faults));
    buf_done(&b);
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pairs), cmocka_unit_test(test_many_rules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
