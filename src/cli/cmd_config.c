/* SPDX-License-Identifier: Apache-2.0
 *
 * ficus config check.
 */
#include "cli.h"

#include "manifest.h"

#include <stdio.h>

int cmd_config_check(const struct command_call *c)
{
    struct arena a;
    struct conf_errors errors;
    struct manifest *m = NULL;
    struct buf out;
    const char *file = c->operand_count > 0 ? c->operands[0] : command_value(c, "file", "ficus.yaml");
    struct state state;
    const char *sets[COMMAND_OPTIONS_MAX];
    struct manifest_options o = {.sets = sets, .set_count = command_values(c, "set", sets, COMMAND_OPTIONS_MAX),
                                 .part_allowed = true};
    arena_init(&a, MANIFEST_ARENA_SIZE_MAX);
    conf_errors_init(&errors, &a);
    buf_init(&out, 1 << 20);
    if (state_locate(&a, file, &state, NULL) == FICUS_ERR_OK && state_exists(&state))
        o.registered = state.schemas_file;
    enum ficus_err err = manifest_load(&a, file, &o, &m, &errors);
    if (command_has(c, "json")) {
        struct json_writer w;
        json_write_init(&w, &out);
        json_write_object(&w);
        json_write_kv_bool(&w, "ok", err == FICUS_ERR_OK);
        json_write_key(&w, "errors");
        conf_errors_write(&errors, &w);
        json_write_end(&w);
        buf_add_char(&out, '\n');
    } else if (err == FICUS_ERR_OK && m->is_part) {
        buf_printf(&out, "%s: service %s: ok, alone; what it says of others is checked with ficus.yaml\n", file,
                   m->services[0].name);
    } else if (err == FICUS_ERR_OK) {
        buf_printf(&out, "%s: system %s, %zu service%s, %zu processes: ok\n", file, m->system, m->service_count,
                   m->service_count == 1 ? "" : "s", m->process_count);
    } else {
        cli_print_errors(&errors);
        dprintf(2, "%zu error%s\n", errors.count, errors.count == 1 ? "" : "s");
    }
    cli_print(buf_slice(&out));
    buf_done(&out);
    arena_done(&a);
    return err == FICUS_ERR_OK ? EXIT_OK : EXIT_USAGE;
}
