/* SPDX-License-Identifier: Apache-2.0
 *
 * Schemas are compiled or refused by the word that is not known, values are right or not, with place and reason; nothing
 * that a value or a schema can be takes long or much stack.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "schema_rig.h"

struct check_case {
    const char *schema, *yes, *no, *reason; /* NULL: none */
};

static const struct check_case cases[] = {
    {"true", "1", NULL, NULL}, {"false", NULL, "1", ": type: found integer, allowed is nothing"}, {"{}", "null", NULL, NULL},
    {"{'type':'integer'}", "1.0", "1.5", "type: found fraction, allowed is integer"}, {"{'type':'number'}", "1e2", "'1'", "found string, allowed is number"},
    {"{'type':['string','null']}", "null", "[]", "allowed is null or string"}, {"{'type':'boolean'}", "false", "0", "found integer"},
    {"{'enum':[1,{'a':[1,2]},'x']}", "{'a':[1.0,2]}", "{'a':[2,1]}", "enum: is none of the 3 allowed values"}, {"{'const':{'a':1,'b':null}}", "{'b':null,'a':1}", "{'a':1}", "const"},
    {"{'enum':[0]}", "-0.0", "false", "enum"}, {"{'const':[false]}", "[false]", "[0]", "const"},
    {"{'properties':{'a':{'type':'string'}}}", "{'b':1}", "{'a':1}", "/a: type"}, {"{'required':['a','b']}", "{'a':1,'b':2,'c':3}", "{'a':1}", ": required: \"b\" is missing"},
    {"{'required':['a']}", "[]", "{}", "required"}, {"{'properties':{'a':true},'additionalProperties':false}", "{'a':1}", "{'x/y~':1}", "/x~1y~0: additionalProperties: is no member that is allowed"},
    {"{'additionalProperties':{'type':'integer'}}", "{'a':1}", "{'a':'x'}", "/a: type"}, {"{'patternProperties':{'^a':{'minimum':2}},'additionalProperties':false}", "{'ab':2}", "{'ab':1}", "/ab: minimum: is below 2"},
    {"{'patternProperties':{'^a':true},'additionalProperties':false}", "{'ab':2}", "{'ba':1}", "/ba: additional"}, {"{'propertyNames':{'maxLength':2}}", "{'ab':1}", "{'abc':1}", "/abc: maxLength"},
    {"{'minProperties':1,'maxProperties':2}", "{'a':1}", "{}", "minProperties: has 0 members, at least 1"}, {"{'maxProperties':1}", "{'a':1}", "{'a':1,'b':1}", "maxProperties"},
    {"{'items':{'type':'integer'}}", "[1,2]", "[1,'x']", "/1: type"}, {"{'prefixItems':[{'type':'integer'},{'type':'string'}],'items':false}", "[1,'a']", "[1,'a',2]", "/2: type"},
    {"{'prefixItems':[{'type':'integer'}]}", "[]", "['a']", "/0: type"}, {"{'minItems':1,'maxItems':2}", "[1]", "[1,2,3]", "maxItems: has 3 items, at most 2 are allowed"},
    {"{'uniqueItems':true}", "[1,2,'1',[1],{'a':1}]", "[{'a':1,'b':2},3,{'b':2.0,'a':1}]", "/2: uniqueItems: is the same as item 0"}, {"{'uniqueItems':true}", "[1,true,0,false]", "[1,1.0]", "unique"},
    {"{'contains':{'minimum':5}}", "[1,6]", "[1,2]", "contains"}, {"{'contains':{'minimum':5}}", "{}", "[]", "contains"},
    {"{'minLength':2,'maxLength':2}", "'\u00e4\U0001F600'", "'\u00e4'", "minLength: has 1 characters, at least 2"}, {"{'maxLength':1}", "'\\ud83d\\ude00'", "'ab'", "maxLength"},
    {"{'pattern':'^[A-Z]{3}$'}", "'EUR'", "'EURO'", "pattern: does not match ^[A-Z]{3}$"}, {"{'pattern':'a'}", "1", "'b'", "pattern"},
    {"{'minimum':1.5}", "1.5", "1.4999999999999999999", "minimum: is below 1.5"}, {"{'maximum':300}", "3e2", "300.5", "maximum: is above 300"},
    {"{'exclusiveMinimum':0}", "1e-300", "0.0", "exclusiveMinimum: is not above 0"}, {"{'exclusiveMaximum':1}", "0.999", "1", "exclusiveMaximum"},
    {"{'multipleOf':0.01}", "19.99", "19.995", "multipleOf: is no multiple of 0.01"}, {"{'multipleOf':0.1}", "0.3", "0.35", "multipleOf"},
    {"{'format':'date-time'}", "'2026-11-30T09:00:00.5+01:00'", "'2026-13-01T00:00:00Z'", "format: is no date-time"}, {"{'format':'date'}", "'2024-02-29'", "'2023-02-29'", "format: is no date"},
    {"{'format':'uuid'}", "'0190c3a0-0000-7000-8000-00000000000a'", "'0190c3a0'", "format: is no uuid"}, {"{'format':'uuid'}", "3", "''", "uuid"},
    {"{'allOf':[{'minimum':1},{'maximum':2}]}", "1", "3", "maximum"}, {"{'anyOf':[{'type':'string'},{'minimum':2}]}", "'a'", "1", "minimum: is below 2"}, {"{'anyOf':[{'maxLength':2},{'minLength':9}]}", "'a'", "'abc'", "anyOf: is as none of the 2 schemas"},
    {"{'anyOf':[{'type':'string','maxLength':2},{'type':'integer'}]}", "1", "'abc'", "maxLength: has 3"}, {"{'oneOf':[{'minimum':1},{'maximum':2}]}", "0", "1.5", "oneOf: is as several"},
    {"{'oneOf':[{'const':1},{'const':2}]}", "1", "3", "oneOf: is as none of the 2"}, {"{'not':{'type':'null'}}", "1", "null", "not: is as it must not be"},
    {"{'if':{'type':'string'},'then':{'minLength':1},'else':{'minimum':1}}", "1", "''", "minLength"}, {"{'if':{'type':'string'},'then':{'minLength':1},'else':{'minimum':1}}", "'a'", "0", "minimum"},
    {"{'if':false,'then':false}", "1", NULL, NULL}, {"{'then':false}", "1", NULL, NULL},
    {"{'$defs':{'a/b~c':{'type':'string'}},'$ref':'#/$defs/a~1b~0c'}", "'x'", "1", "type"}, {"{'$defs':{'a b':{'type':'string'}},'items':{'$ref':'#/$defs/a%20b'}}", "['x']", "[1]", "/0: type"},
    {"{'$ref':'#/$defs/a','maxLength':1,'$defs':{'a':{'type':'string'}}}", "'x'", "'xx'", "maxLength"},
    {"{'properties':{'next':{'$ref':'#'},'v':{'type':'integer'}},'additionalProperties':false}", "{'next':{'next':{'v':1}}}", "{'next':{'next':{'v':'x'}}}", "/next/next/v: type"},
    {"{'$schema':'https://json-schema.org/draft/2020-12/schema','$id':'x','title':1,'description':2,'default':3,'examples':4,'deprecated':true,'readOnly':1,'writeOnly':1,'$comment':2}", "1", NULL, NULL},
};

static void test_checks(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct check_case *c = &cases[i];
        struct rig r;
        rig_init(&r);
        const struct jschema *s = rig_compile(&r, c->schema);
        if (s == NULL)
            fail_msg("%s: %s", c->schema, r.said);
        if (c->yes != NULL && !rig_check(&r, s, c->yes))
            fail_msg("%s refuses %s: %s", c->schema, c->yes, r.said);
        if (c->no != NULL && rig_check(&r, s, c->no))
            fail_msg("%s takes %s", c->schema, c->no);
        if (c->no != NULL && (strstr(r.said, c->reason) == NULL))
            fail_msg("%s, %s: \"%s\" is not in \"%s\"", c->schema, c->no, c->reason, r.said);
        rig_done(&r);
    }
}

static const struct {
    const char *schema, *reason;
} refused[] = {
    {"1", ": a schema is an object, true or false"}, {"{'items':3}", "/items: a schema is an object"}, {"{", "1:2: found the end"}, {"{'type':'int'}", ": type: must be null, boolean"},
    {"{'type':[]}", "the list is empty"}, {"{'properties':{'a':{'propertis':{}}}}", "/properties/a: \"propertis\" is no keyword (did you mean properties?)"},
    {"{'zzzz':1}", "\"zzzz\" is no keyword, and unknown ones are not passed over"}, {"{'dependentRequired':{}}", "dependentRequired: is not supported by this version"},
    {"{'unevaluatedProperties':false}", "not supported by this version"}, {"{'definitions':{}}", "did you mean $defs?"}, {"{'format':'email'}", "format: \"email\" is not supported by this version"},
    {"{'enum':[]}", "enum: must be a list with at least one value"}, {"{'minimum':'1'}", "minimum: must be a number"}, {"{'multipleOf':0}", "must be over 0"}, {"{'minLength':-1}", "must be a whole number"},
    {"{'minLength':1.5}", "must be a whole number"}, {"{'pattern':'(?=a)'}", "pattern: (?= (?! (?<: look-around"}, {"{'patternProperties':{'[':true}}", "patternProperties: lacks a ]"},
    {"{'required':['a','a']}", "names a member twice"}, {"{'required':[1]}", "must be a list of names"}, {"{'required':'a'}", "must be a list of names"}, {"{'properties':[]}", "must be an object of schemas"},
    {"{'allOf':[]}", "allOf: must be a list with at least one schema"}, {"{'$ref':'other.json'}", "$ref: must be"}, {"{'$ref':'#/$defs/x'}", "$ref: \"#/$defs/x\" is not there"},
    {"{'$ref':'#/properties/a'}", "$ref: must be"}, {"{'$ref':'#'}", "leads back here"}, {"{'allOf':[{'$ref':'#/$defs/a'}],'$defs':{'a':{'not':{'$ref':'#'}}}}", "leads back here"},
    {"{'$defs':{'a':{'$ref':'#/$defs/b'},'b':{'$ref':'#/$defs/a'}}}", "leads back here"}, {"{'items':{'$defs':{}}}", "/items: $defs: only at the root"}, {"{'items':{'$id':'x'}}", "$id: only at the root"},
    {"{'$schema':'http://json-schema.org/draft-07/schema#'}", "$schema: only https"}, {"{'uniqueItems':1}", "uniqueItems: must be true or false"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(refused); i++) {
        struct rig r;
        rig_init(&r);
        if (rig_compile(&r, refused[i].schema) != NULL)
            fail_msg("%s is taken", refused[i].schema);
        if (strstr(r.said, refused[i].reason) == NULL)
            fail_msg("%s: \"%s\" is not in \"%s\"", refused[i].schema, refused[i].reason, r.said);
        rig_done(&r);
    }
}

/* All that is wrong is told at once, each at its byte. */
static void test_all_at_once(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    assert_null(rig_compile(&r, "{'type':'x','properties':{'a':{'minLength':-1}},\n 'nots':1}"));
    assert_int_equal(r.faults.count, 3);
    assert_int_equal(r.faults.list[0].offset, 8);
    const struct jschema *s = rig_compile(&r, "{'properties':{'a':{'type':'string'},'b':{'minimum':1}},'required':['c'],'additionalProperties':false}");
    assert_non_null(s);
    assert_false(rig_check(&r, s, "{'a':1,'b':0,'x':true}"));
    assert_string_equal(r.said, "/a: type: found integer, allowed is string\n/b: minimum: is below 1\n/x: additionalProperties: is no member that is allowed\n"
                                ": required: \"c\" is missing\n");
    char many[2000] = "{";
    for (int i = 0; i < 40; i++)
        (void)snprintf(many + strlen(many), sizeof many - strlen(many), "%s'n%d':1", i > 0 ? "," : "", i);
    (void)strcat(many, "}");
    assert_false(rig_check(&r, s, many));
    assert_int_equal(r.faults.count, JSCHEMA_FAULTS_MAX);
    rig_done(&r);
}

/* Branches that multiply, values that are deep, items that are alike: refused or answered, never waited for. */
static void test_bounded(void **state)
{
    (void)state;
    struct rig r;
    struct buf b;
    rig_init(&r);
    buf_init(&b, 1 << 20);
    /* each level asks the next one twice: 2^20 */
    buf_add_str(&b, "{'$ref':'#/$defs/a0','$defs':{");
    for (int i = 0; i < 19; i++)
        buf_printf(&b, "'a%d':{'oneOf':[{'$ref':'#/$defs/a%d'},{'$ref':'#/$defs/a%d'}]},", i, i + 1, i + 1);
    buf_add_str(&b, "'a19':{'type':'integer'}}}");
    assert_null(rig_compile(&r, buf_str(&b))); /* too many in one place */
    assert_non_null(strstr(r.said, "apply to one value"));
    buf_clear(&b);
    buf_add_str(&b, "{'items':{'$ref':'#/$defs/a'},'$defs':{'a':{'oneOf':[{'$ref':'#/$defs/b'},{'$ref':'#/$defs/b'}]},'b':{'items':{'$ref':'#/$defs/a'}}}}");
    const struct jschema *s = rig_compile(&r, buf_str(&b));
    assert_non_null(s);
    char deep[130];
    memset(deep, '[', 60);
    memset(deep + 60, ']', 60);
    deep[120] = '\0';
    assert_false(rig_check(&r, s, deep));
    assert_non_null(strstr(r.said, "too costly to check"));
    /* a budget that ran out is not taken for a no inside not */
    s = rig_compile(&r, "{'not':{'items':{'$ref':'#/$defs/a'}},'$defs':{'a':{'oneOf':[{'$ref':'#/$defs/b'},{'$ref':'#/$defs/b'}]},'b':{'items':{'$ref':'#/$defs/a'}}}}");
    assert_non_null(s);
    assert_false(rig_check(&r, s, deep));
    assert_non_null(strstr(r.said, "too costly to check"));
    /* as deep as JSON goes, through a reference */
    s = rig_compile(&r, "{'items':{'$ref':'#'}}");
    assert_true(rig_check(&r, s, deep));
    s = rig_compile(&r, "{'uniqueItems':true}");
    buf_clear(&b);
    buf_add_char(&b, '[');
    for (int i = 0; i < 50000; i++)
        buf_printf(&b, "%s%d", i > 0 ? "," : "", i);
    buf_add_char(&b, ']');
    assert_true(rig_check(&r, s, buf_str(&b)));
    /* going through all of a large array or number is work as well, however few schemas ask for it */
    static const char *const wholes[] = {"{'uniqueItems':true}", "{'multipleOf':0.1}"};
    for (size_t i = 0; i < ARRAY_COUNT(wholes); i++) {
        struct buf many;
        buf_init(&many, 16384);
        buf_add_str(&many, "{'allOf':[{}");
        for (int k = 0; k < 300; k++)
            buf_printf(&many, ",%s", wholes[i]);
        buf_add_str(&many, "]}");
        s = rig_compile(&r, buf_str(&many));
        buf_done(&many);
        assert_non_null(s);
        if (i > 0) {
            buf_clear(&b);
            buf_add_str(&b, "0.");
            for (int k = 0; k < 300000; k++)
                buf_add_char(&b, '1');
        }
        assert_false(rig_check(&r, s, buf_str(&b)));
        assert_non_null(strstr(r.said, "too costly to check"));
    }
    buf_done(&b);
    rig_done(&r);
}

/* Too large ones are refused; what has no effect does not change the meaning. */
static void test_meaning(void **state)
{
    (void)state;
    struct rig r;
    struct buf a, b, large;
    rig_init(&r);
    buf_init(&a, 1 << 16);
    buf_init(&b, 1 << 16);
    buf_init(&large, 1 << 20);
    const struct jschema *s = rig_compile(&r, "{ 'title' : 'x', 'type':'object', 'properties':{'title':{'const':{'title':1}, 'description':'d'}, 'b':true},\n'default':{}}");
    const struct jschema *t = rig_compile(&r, "{'properties':{'b':true,'title':{'const':{'title':1}}},'type':'object'}");
    assert_true(jschema_meaning(s, &a) && jschema_meaning(t, &b));
    assert_string_equal(buf_str(&a), buf_str(&b));
    assert_non_null(strstr(buf_str(&a), "\"title\":{\"const\":{\"title\":1}}"));
    buf_add_str(&large, "{'enum':[");
    for (int i = 0; i < 20000; i++)
        buf_add_str(&large, "1000,");
    buf_add_str(&large, "1]}");
    assert_null(rig_compile(&r, buf_str(&large)));
    assert_non_null(strstr(r.said, "more than 64 KiB"));
    buf_clear(&large);
    buf_add_str(&large, "{'anyOf':[");
    for (int i = 0; i < JSCHEMA_NODES_MAX; i++)
        buf_add_str(&large, "{},");
    buf_add_str(&large, "{}]}");
    assert_null(rig_compile(&r, buf_str(&large)));
    assert_non_null(strstr(r.said, "more than 2000 schemas"));
    buf_done(&a);
    buf_done(&b);
    buf_done(&large);
    rig_done(&r);
}

/* The largest text: ordinary expressions are matched to its end, one with many states at once is not; a short one may have any. */
static void test_large_text(void **state)
{
    (void)state;
    enum { SIZE = 1000000, SHORT = 700 };
    static const struct {
        const char *pattern;
        bool ok, costly;
    } patterns[] = {
        {"^[a-z ]*$", true, false}, {"^[A-Za-z0-9+/]*={0,2}$", true, false}, {"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$", true, false},
        {"^[^<>&]*$", true, false}, {"^(.|\\n)*$", true, false}, {"^\\s*\\S[\\s\\S]*$", true, false}, {"foo|bar|baz", false, false},
        {"^\\S+@\\S+\\.\\S+$", false, false}, {"[0-9]{4}-[0-9]{2}-[0-9]{2}", false, false},
        {"(a?){300}b$", false, true}, {"(a?){30}b$", false, true}, {"^(|||||||||||||||||||a)*$", false, true},
    };
    static char text[SIZE];
    memset(text, 'a', sizeof text);
    for (size_t i = 0; i < ARRAY_COUNT(patterns); i++) {
        struct rig r;
        struct buf schema;
        struct json v = {.type = JSON_STRING, .text = slice_make(text, SIZE)};
        rig_init(&r);
        buf_init(&schema, 4096);
        buf_add_str(&schema, "{'pattern':'");
        for (const char *p = patterns[i].pattern; *p != '\0'; p++)
            buf_printf(&schema, "%s%c", *p == '\\' ? "\\" : "", *p);
        buf_add_str(&schema, "'}");
        const struct jschema *s = rig_compile(&r, buf_str(&schema));
        assert_non_null(s);
        bool ok = jschema_check(s, &v, &r.faults);
        rig_tell(&r);
        if (ok != patterns[i].ok || (strstr(r.said, "too costly to check") != NULL) != patterns[i].costly)
            fail_msg("%s: %s", patterns[i].pattern, r.said);
        v.text.size = SHORT;
        (void)jschema_check(s, &v, &r.faults);
        rig_tell(&r);
        assert_null(strstr(r.said, "too costly to check"));
        buf_done(&schema);
        rig_done(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_checks), cmocka_unit_test(test_refused), cmocka_unit_test(test_all_at_once), cmocka_unit_test(test_bounded),
                                       cmocka_unit_test(test_meaning), cmocka_unit_test(test_large_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
