/* SPDX-License-Identifier: Apache-2.0
 *
 * The files below src/cli/templates, carried by the program (templates/embed.py).
 */
#ifndef FICUS_CLI_TEMPLATES_H
#define FICUS_CLI_TEMPLATES_H

struct template_file {
    const char *name; /* "service/sample.c", "ficus.yaml" */
    const char *text;
};
extern const struct template_file template_files[]; /* ends with a NULL name */

#endif
