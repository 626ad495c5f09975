/* SPDX-License-Identifier: Apache-2.0
 *
 * Parsing and describing command lines.
 */
#include "command.h"

#include "text.h"

#include <ctype.h>

enum { NAMES_MAX = 128, LEFT_COLUMN = 24 /* of help */ };

const struct command *command_find(const struct command_table *t, const char *name)
{
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->commands[i].name, name) == 0)
            return &t->commands[i];
    return NULL;
}

bool command_has(const struct command_call *c, const char *option)
{
    return command_value(c, option, NULL) != NULL;
}

const char *command_value(const struct command_call *c, const char *option, const char *fallback)
{
    for (size_t i = c->given_count; i-- > 0;)
        if (strcmp(c->given[i].option->name, option) == 0)
            return c->given[i].value;
    return fallback;
}

size_t command_values(const struct command_call *c, const char *option, const char **ret_values, size_t count_max)
{
    size_t count = 0;
    for (size_t i = 0; i < c->given_count && count < count_max; i++)
        if (strcmp(c->given[i].option->name, option) == 0)
            ret_values[count++] = c->given[i].value;
    return count;
}

/* ---- parsing ---- */

static const char *nearest_command(const struct command_table *t, const char *word)
{
    const char *names[NAMES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < t->count && count < NAMES_MAX; i++)
        if (!t->commands[i].hidden)
            names[count++] = t->commands[i].name;
    return text_nearest(slice_str(word), names, count);
}

/* "saga list" is two words of argv. *ret_words: how many were taken. */
static const struct command *take_command(const struct command_table *t, const char *const *argv, size_t *ret_words)
{
    char two[128];
    if (argv[1] != NULL && strlen(argv[0]) + strlen(argv[1]) + 2 <= sizeof two) {
        struct buf name;
        buf_init(&name, sizeof two);
        buf_printf(&name, "%s %s", argv[0], argv[1]);
        const struct command *c = command_find(t, buf_str(&name));
        buf_done(&name);
        if (c != NULL) {
            *ret_words = 2;
            return c;
        }
    }
    *ret_words = 1;
    return command_find(t, argv[0]);
}

/* "saga list" is one of the group "saga". */
static bool is_member(const struct command *c, const char *group)
{
    size_t size = strlen(group);
    return strncmp(c->name, group, size) == 0 && c->name[size] == ' ' && !c->hidden;
}

static const char *operands_gap(const struct command *c)
{
    return c->operands[0] == '\0' ? "" : " ";
}

static enum ficus_err unknown_command(const struct command_table *t, const char *const *argv,
                                      struct ficus_error *reterr)
{
    struct buf members;
    buf_init(&members, 256);
    for (size_t i = 0; i < t->count; i++)
        if (is_member(&t->commands[i], argv[0]))
            buf_printf(&members, "%s%s", buf_slice(&members).size == 0 ? "" : ", ", t->commands[i].name);
    if (buf_slice(&members).size > 0) {
        (void)err_set(reterr, FICUS_ERR_INVALID, "\"%s%s%s\" is no command; there are: %s", argv[0],
                      argv[1] == NULL ? "" : " ", argv[1] == NULL ? "" : argv[1], buf_str(&members));
    } else {
        const char *near = nearest_command(t, argv[0]);
        (void)err_set(reterr, FICUS_ERR_INVALID, "\"%s\" is no command%s%s%s (see %s help)", argv[0],
                      near == NULL ? "" : "; did you mean \"", near == NULL ? "" : near, near == NULL ? "" : "\"?",
                      t->program);
    }
    buf_done(&members);
    return FICUS_ERR_INVALID;
}

static const struct command_option *option_at(const struct command_table *t, const struct command *c, size_t i)
{
    return i < c->option_count                     ? &c->options[i]
           : i < c->option_count + t->common_count ? &t->common[i - c->option_count]
                                                   : NULL;
}

static const struct command_option *find_option(const struct command_call *call, struct slice name, char letter)
{
    const struct command_option *o;
    for (size_t i = 0; (o = option_at(call->table, call->command, i)) != NULL; i++)
        if (letter != 0 ? o->letter == letter : slice_eq_str(name, o->name))
            return o;
    return NULL;
}

static enum ficus_err unknown_option(const struct command_call *call, struct slice name, const char *word,
                                     struct ficus_error *reterr)
{
    const char *names[NAMES_MAX];
    const struct command_option *o;
    size_t count = 0;
    for (size_t i = 0; count < NAMES_MAX && (o = option_at(call->table, call->command, i)) != NULL; i++)
        names[count++] = o->name;
    const char *near = name.p == NULL ? NULL : text_nearest(name, names, count);
    return err_set(reterr, FICUS_ERR_INVALID, "%s: \"%s\" is no option of it%s%s%s", call->command->name, word,
                   near == NULL ? "" : "; did you mean --", near == NULL ? "" : near, near == NULL ? "" : "?");
}

static enum ficus_err give(struct command_call *call, const struct command_option *o, const char *value,
                           struct ficus_error *reterr)
{
    if (call->given_count == COMMAND_OPTIONS_MAX)
        return err_set(reterr, FICUS_ERR_INVALID, "%s: more than %d options", call->command->name, COMMAND_OPTIONS_MAX);
    call->given[call->given_count++] = (struct command_given){o, value};
    return FICUS_ERR_OK;
}

/* -x VALUE, -xVALUE, --name VALUE, --name=VALUE. *at moves over a value of its own. */
static enum ficus_err take_option(struct command_call *call, const char *const *argv, size_t *at,
                                  struct ficus_error *reterr)
{
    const char *word = argv[*at];
    bool is_long = word[1] == '-';
    struct slice rest = slice_str(is_long ? word + 2 : word + 2), name = SLICE_NONE;
    const char *value = NULL;
    if (is_long) {
        name = slice_cut(&rest, '=');
        value = rest.p;
    } else if (rest.size > 0) {
        value = rest.p;
    }
    if ((is_long && slice_eq_str(name, "help")) || strcmp(word, "-h") == 0) {
        call->help_wanted = true;
        return FICUS_ERR_OK;
    }
    const struct command_option *o = find_option(call, name, is_long ? 0 : word[1]);
    if (o == NULL)
        return unknown_option(call, name, word, reterr);
    if (o->value == NULL)
        return value == NULL
                   ? give(call, o, "", reterr)
                   : err_set(reterr, FICUS_ERR_INVALID, "%s: --%s takes no value", call->command->name, o->name);
    if (value == NULL)
        value = argv[++*at];
    if (value == NULL)
        return err_set(reterr, FICUS_ERR_INVALID, "%s: --%s needs a value: --%s %s", call->command->name, o->name,
                       o->name, o->value);
    return give(call, o, value, reterr);
}

enum ficus_err command_parse(const struct command_table *t, const char *const *argv, struct command_call *ret_call,
                             struct ficus_error *reterr)
{
    struct command_call call = {.table = t};
    size_t at = 0;
    bool only_operands = false;
    if (argv[0] == NULL)
        return err_set(reterr, FICUS_ERR_INVALID, "a command is missing (see %s help)", t->program);
    call.command = take_command(t, argv, &at);
    if (call.command == NULL)
        return unknown_command(t, argv, reterr);
    for (; argv[at] != NULL; at++) {
        enum ficus_err err = FICUS_ERR_OK;
        if (!only_operands && strcmp(argv[at], "--") == 0) {
            only_operands = true;
        } else if (!only_operands && argv[at][0] == '-' && argv[at][1] != '\0') {
            err = take_option(&call, argv, &at, reterr);
        } else if (call.operand_count == call.command->operand_max || call.operand_count == COMMAND_OPERANDS_MAX) {
            err = err_set(reterr, FICUS_ERR_INVALID, "%s: \"%s\" is one word too many; usage: %s %s%s%s",
                          call.command->name, argv[at], t->program, call.command->name, operands_gap(call.command),
                          call.command->operands);
        } else {
            call.operands[call.operand_count++] = argv[at];
        }
        if (err != FICUS_ERR_OK)
            return err;
    }
    if (call.operand_count < call.command->operand_min && !call.help_wanted)
        return err_set(reterr, FICUS_ERR_INVALID, "%s: usage: %s %s %s", call.command->name, t->program,
                       call.command->name, call.command->operands);
    *ret_call = call;
    return FICUS_ERR_OK;
}

/* ---- describing ---- */

static void help_option(const struct command_option *o, struct buf *out)
{
    struct buf left;
    buf_init(&left, 128);
    if (o->letter != 0)
        buf_printf(&left, "-%c, ", o->letter);
    buf_printf(&left, "--%s%s%s", o->name, o->value == NULL ? "" : " ", o->value == NULL ? "" : o->value);
    buf_printf(out, "  %-*s %s\n", LEFT_COLUMN, buf_str(&left), o->doc);
    buf_done(&left);
}

static void help_command(const struct command_table *t, const struct command *c, struct buf *out)
{
    const struct command_option *o;
    buf_printf(out, "%s %s%s%s [OPTIONS]\n\n%s\n", t->program, c->name, operands_gap(c), c->operands, c->doc);
    if (c->text != NULL)
        buf_printf(out, "\n%s\n", c->text);
    buf_add_str(out, "\nOptions:\n");
    for (size_t i = 0; (o = option_at(t, c, i)) != NULL; i++)
        help_option(o, out);
    buf_add_str(out, "  -h, --help               this text\n");
}

/* What does not fit stands in a line of its own, so that the column behind it holds. */
static void help_line(const struct command *c, struct buf *out)
{
    struct buf left;
    buf_init(&left, 256);
    buf_printf(&left, "%s%s%s", c->name, operands_gap(c), c->operands);
    if (buf_slice(&left).size > LEFT_COLUMN) {
        buf_printf(out, "  %s\n", buf_str(&left));
        buf_clear(&left);
    }
    buf_printf(out, "  %-*s %s\n", LEFT_COLUMN, buf_str(&left), c->doc);
    buf_done(&left);
}

void command_help(const struct command_table *t, const struct command *c, struct buf *out)
{
    if (c != NULL) {
        help_command(t, c, out);
        return;
    }
    buf_printf(out, "%s: %s\n\nCommands:\n", t->program, t->doc);
    for (size_t i = 0; i < t->count; i++)
        if (!t->commands[i].hidden)
            help_line(&t->commands[i], out);
    buf_printf(out, "\n%s help COMMAND tells more about one.\n", t->program);
}

bool command_help_group(const struct command_table *t, const char *group, struct buf *out)
{
    bool any = false;
    for (size_t i = 0; i < t->count; i++) {
        if (!is_member(&t->commands[i], group))
            continue;
        if (any)
            buf_add_char(out, '\n');
        any = true;
        help_command(t, &t->commands[i], out);
    }
    return any;
}

/* troff: a line must not begin with '.' or '\'', and '-' and '\\' are escaped. */
static void add_troff(struct buf *out, const char *text)
{
    bool begin = true;
    for (; *text != '\0'; text++) {
        if (begin && (*text == '.' || *text == '\''))
            buf_add_str(out, "\\&");
        if (*text == '\\')
            buf_add_str(out, "\\e");
        else if (*text == '-')
            buf_add_str(out, "\\-");
        else if (*text == '\n' && text[1] == '\n')
            buf_add_str(out, "\n.PP");
        else
            buf_add_char(out, *text);
        begin = *text == '\n';
    }
}

static void manual_option(const struct command_option *o, struct buf *out)
{
    buf_add_str(out, ".TP\n.B ");
    if (o->letter != 0)
        buf_printf(out, "\\-%c, ", o->letter);
    buf_add_str(out, "\\-\\-");
    add_troff(out, o->name);
    if (o->value != NULL)
        buf_printf(out, " \\fI%s\\fR", o->value);
    buf_add_char(out, '\n');
    add_troff(out, o->doc);
    buf_add_char(out, '\n');
}

void command_manual(const struct command_table *t, const char *version, struct buf *out)
{
    buf_add_str(out, ".TH ");
    for (const char *p = t->program; *p != '\0'; p++)
        buf_add_char(out, (char)toupper((unsigned char)*p));
    buf_printf(out, " 1 \"\" \"%s %s\"\n.SH NAME\n%s \\- ", t->program, version, t->program);
    add_troff(out, t->doc);
    buf_printf(out, "\n.SH SYNOPSIS\n.B %s\n.I COMMAND\n[\\fIOPTIONS\\fR]\n.SH COMMANDS\n", t->program);
    for (size_t i = 0; i < t->count; i++) {
        const struct command *c = &t->commands[i];
        if (c->hidden)
            continue;
        buf_printf(out, ".SS %s%s%s\n", c->name, operands_gap(c), c->operands);
        add_troff(out, c->doc);
        buf_add_char(out, '\n');
        if (c->text != NULL) {
            buf_add_str(out, ".PP\n");
            add_troff(out, c->text);
            buf_add_char(out, '\n');
        }
        for (size_t j = 0; j < c->option_count; j++)
            manual_option(&c->options[j], out);
    }
    buf_add_str(out, ".SH COMMON OPTIONS\n");
    for (size_t i = 0; i < t->common_count; i++)
        manual_option(&t->common[i], out);
    if (t->text != NULL)
        buf_printf(out, "%s\n", t->text);
}
