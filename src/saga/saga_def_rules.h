/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules between the steps of a saga: what cannot work is refused before anything runs. A part of saga_def_table.
 */
#ifndef FICUS_SAGA_SAGA_DEF_RULES_H
#define FICUS_SAGA_SAGA_DEF_RULES_H

#include "saga_def.h"

/* value: a struct saga_def, each of whose steps is right by itself; node: where it was written. Adds errors. Pure. */
void saga_def_check(const struct conf_node *node, void *value, struct conf_errors *errors);

#endif
