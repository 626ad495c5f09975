/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML to a tree with places, by libyaml's events. A floor of its own (conf_yaml), so that libyaml is linked into the
 * ficus binary alone and not into libficus. Refused: anchors, aliases, tags, a second document, UTF-16, duplicate keys, keys
 * that are no scalars, nesting over CONF_DEPTH_MAX, texts over CONF_TEXT_SIZE_MAX. The reader stops at the first syntax
 * error, but goes on over duplicate keys.
 */
#ifndef FICUS_CONF_CONF_YAML_H
#define FICUS_CONF_CONF_YAML_H

#include "conf.h"

/* file must outlive the tree; text is copied. An empty text gives CONF_NULL. On failure at least one error was added. */
enum ficus_err conf_yaml_parse(struct arena *a, struct slice text, const char *file, struct conf_node **ret_root, struct conf_errors *errors);

#endif
