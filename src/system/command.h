/* SPDX-License-Identifier: Apache-2.0
 *
 * Command lines by table: one table of commands and options feeds parsing, --help, the manual page and completion.
 * Pure; knows no command.
 */
#ifndef FICUS_SYSTEM_COMMAND_H
#define FICUS_SYSTEM_COMMAND_H

#include "buf.h"
#include "err.h"

enum { COMMAND_OPTIONS_MAX = 64, COMMAND_OPERANDS_MAX = 64 };

struct command_option {
    char letter;       /* 0: none */
    const char *name;  /* "file" for --file */
    const char *value; /* what the help calls it: "FILE"; NULL: a flag */
    const char *doc;   /* one line */
};

struct command_call;

struct command {
    const char *name;     /* "up"; "saga list" */
    const char *operands; /* "[SERVICE...]"; "" */
    size_t operand_min, operand_max;
    const char *doc;  /* one line */
    const char *text; /* paragraphs for --help and the manual; NULL: none */
    const struct command_option *options;
    size_t option_count;
    bool hidden;                              /* for the program itself */
    int (*run)(const struct command_call *c); /* returns the exit code */
};

struct command_table {
    const char *program, *doc, *text; /* text: troff, the end of the manual; NULL: none */
    const struct command *commands;
    size_t count;
    const struct command_option *common; /* options of every command */
    size_t common_count;
};

struct command_call {
    const struct command_table *table;
    const struct command *command;
    bool help_wanted;
    struct command_given {
        const struct command_option *option;
        const char *value;
    } given[COMMAND_OPTIONS_MAX];
    size_t given_count;
    const char *operands[COMMAND_OPERANDS_MAX];
    size_t operand_count;
};

/* argv without the program's name, NULL-terminated; strings are borrowed. INVALID with a sentence for people, with a
 * suggestion where there is one. */
enum ficus_err command_parse(const struct command_table *t, const char *const *argv, struct command_call *ret_call,
                             struct ficus_error *reterr);
const struct command *command_find(const struct command_table *t, const char *name);
bool command_has(const struct command_call *c, const char *option);
/* The last value given, or fallback. */
const char *command_value(const struct command_call *c, const char *option, const char *fallback);
/* All values of a repeated option; returns how many. */
size_t command_values(const struct command_call *c, const char *option, const char **ret_values, size_t count_max);

/* c NULL: the overview */
void command_help(const struct command_table *t, const struct command *c, struct buf *out);
/* The help of each command whose name begins with this word: "saga" for "saga list" and its like. False: none does. */
bool command_help_group(const struct command_table *t, const char *group, struct buf *out);
void command_manual(const struct command_table *t, const char *version, struct buf *out); /* troff, section 1 */

#endif
