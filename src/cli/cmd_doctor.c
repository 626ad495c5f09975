/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus doctor: what this machine and this system lack, and what to do about it.
 */
#include "cli.h"

#include "doctor.h"
#include "io_env.h"

#include <stdio.h>

struct report {
    struct buf out;
    struct json_writer w;
    bool json, colour;
    size_t counts[DOCTOR_PROBLEM + 1];
};

static void report_finding(struct report *r, const char *name, const struct doctor_finding *f)
{
    static const char *const colours[] = {"\033[32m", "\033[33m", "\033[31m"};
    r->counts[f->level]++;
    if (r->json) {
        json_write_object(&r->w);
        json_write_kv_str(&r->w, "name", name);
        json_write_kv_str(&r->w, "level", doctor_level_name(f->level));
        json_write_kv_str(&r->w, "text", f->text);
        json_write_kv_str(&r->w, "remedy", f->remedy[0] == '\0' ? NULL : f->remedy);
        json_write_end(&r->w);
        return;
    }
    buf_printf(&r->out, "%s%-8s%s %-11s %s.\n", r->colour ? colours[f->level] : "", doctor_level_name(f->level),
               r->colour ? "\033[0m" : "", name, f->text);
    if (f->remedy[0] != '\0')
        buf_printf(&r->out, "%-20s -> %s\n", "", f->remedy);
}

static void report_all(struct report *r, const struct doctor_facts *facts, bool tests)
{
    if (r->json) {
        json_write_object(&r->w);
        json_write_key(&r->w, "checks");
        json_write_array(&r->w);
    }
    for (size_t i = 0; i < doctor_check_count; i++) {
        struct doctor_finding finding;
        if (doctor_checks[i].group == DOCTOR_TEST && !tests)
            continue;
        doctor_judge(&doctor_checks[i], facts, &finding);
        report_finding(r, doctor_checks[i].name, &finding);
    }
    size_t warnings = r->counts[DOCTOR_WARNING], problems = r->counts[DOCTOR_PROBLEM];
    if (r->json) {
        json_write_end(&r->w);
        json_write_kv_bool(&r->w, "ok", problems == 0);
        json_write_end(&r->w);
        buf_add_char(&r->out, '\n');
    } else {
        buf_printf(&r->out, "%zu ok, %zu warning%s, %zu problem%s\n", r->counts[DOCTOR_OK], warnings,
                   warnings == 1 ? "" : "s", problems, problems == 1 ? "" : "s");
    }
}

int cmd_doctor(const struct command_call *c)
{
    struct arena a;
    struct ficus_error error = {0};
    struct doctor_facts facts;
    const char *sets[COMMAND_OPTIONS_MAX];
    struct report r = {.json = command_has(c, "json"), .colour = cli_colour(1)};
    struct env *e = env_uv_new(NULL, &error);
    if (e == NULL)
        return cli_fail(&error);
    arena_init(&a, MANIFEST_ARENA_SIZE_MAX);
    buf_init(&r.out, 1 << 20);
    json_write_init(&r.w, &r.out);
    struct doctor_options o = {.file = command_value(c, "file", "ficus.yaml"),
                               .file_given = command_has(c, "file"),
                               .build = cli_program_folder(&a),
                               .sets = sets,
                               .set_count = command_values(c, "set", sets, COMMAND_OPTIONS_MAX),
                               .library_folder = cli_package_folder(&a),
                               .tests = command_has(c, "tests")};
    doctor_look(e, &a, &o, &facts);
    report_all(&r, &facts, o.tests);
    cli_print(buf_slice(&r.out));
    buf_done(&r.out);
    arena_done(&a);
    env_uv_free(e);
    return r.counts[DOCTOR_PROBLEM] == 0 ? EXIT_OK : EXIT_FAILED;
}
