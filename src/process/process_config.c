/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of what all resolved files share, and the reading of such a file.
 */
#include "process_config.h"

#include <string.h>

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static const char *check_level(struct slice text)
{
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++)
        if (slice_eq_str(text, level_names[i]))
            return NULL;
    return "debug, info, warn or error";
}

static const char *check_absolute(struct slice text)
{
    return text.size > 0 && text.p[0] == '/' ? NULL : "an absolute path";
}

static const struct conf_setting edge_item = {
    .name = "edge",
    .type = CONF_TABLE,
    CONF_AT(struct process_edge, policy),
    .table = &call_policy_table,
    .check = conf_check_name,
    .doc = "How this process calls that one.",
};

static const struct conf_setting process_settings[] = {
    {.name = "version",
     .type = CONF_INT,
     .flags = CONF_REQUIRED,
     CONF_AT(struct process_config, version),
     .min = 1,
     .max = PROCESS_CONFIG_VERSION,
     .doc = "Version of the form of this file."},
    {.name = "system",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct process_config, system),
     .min = 1,
     .max = 32,
     .check = conf_check_name,
     .example = "shop",
     .doc = "Name of the system."},
    {.name = "process",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct process_config, process),
     .min = 1,
     .max = 63,
     .check = conf_check_name,
     .example = "orders",
     .doc = "Name of this process: a service, gateway or hub."},
    {.name = "instance",
     .type = CONF_INT,
     CONF_AT(struct process_config, instance),
     .min = 1,
     .max = 10000,
     .fallback = 1,
     .doc = "Which instance of it, from 1."},
    {.name = "state",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct process_config, state),
     .min = 1,
     .max = 1024,
     .check = check_absolute,
     .example = "/var/lib/shop",
     .doc = "The state folder."},
    {.name = "key_file",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct process_config, key_file),
     .min = 1,
     .max = 1024,
     .check = check_absolute,
     .example = "/var/lib/shop/system.key",
     .doc = "File with the system's key."},
    {.name = "log_level",
     .type = CONF_STRING,
     CONF_AT(struct process_config, log_level),
     .min = 1,
     .max = 8,
     .fallback_text = "info",
     .check = check_level,
     .example = "info",
     .doc = "Log lines below this level are left out."},
    {.name = "hub",
     .type = CONF_STRING,
     CONF_AT(struct process_config, hub),
     .min = 0,
     .max = 200,
     .fallback_text = "",
     .doc = "Address of the hub; empty in the hub itself."},
    {.name = "snapshot_file",
     .type = CONF_STRING,
     CONF_AT(struct process_config, snapshot_file),
     .min = 0,
     .max = 1024,
     .fallback_text = "",
     .doc = "Where the last known addresses are kept; empty: nowhere."},
    {.name = "edges",
     .type = CONF_MAP,
     CONF_MAP_AT(struct process_config, edges, edge_count, struct process_edge, callee),
     .item = &edge_item,
     .doc = "Whom this process may call, and how."},
};

const struct conf_table process_config_table = CONF_TABLE_OF("process", struct process_config, process_settings);

/* An unknown newer form would only give misleading complaints about its words: look at the version before anything
 * else. */
static enum ficus_err check_version(const struct conf_node *root, const char *path, struct ficus_error *reterr)
{
    const struct conf_node *node = conf_get(root, "version");
    uint64_t version = 0;
    if (node != NULL && node->kind == CONF_SCALAR && slice_to_u64(node->text, &version) &&
        version > PROCESS_CONFIG_VERSION)
        return err_set(reterr, FICUS_ERR_VERSION,
                       "%s: made by a newer Ficus (file version %llu, this program reads up to %d): build the program "
                       "against it, or use the older one",
                       path, (unsigned long long)version, PROCESS_CONFIG_VERSION);
    return FICUS_ERR_OK;
}

static enum ficus_err errors_to_error(const struct conf_errors *errors, struct ficus_error *reterr)
{
    struct buf text;
    buf_init(&text, 64 * 1024);
    enum ficus_err err = conf_errors_first(errors, reterr);
    conf_errors_print(errors, &text);
    struct slice lines = buf_slice(&text);
    while (lines.size > 0 && lines.p[lines.size - 1] == '\n')
        lines.size--;
    if (lines.size > 0)
        err_set(reterr, err, SLICE_FMT, SLICE_ARG(lines));
    buf_done(&text);
    return err == FICUS_ERR_OK ? FICUS_ERR_INVALID : err;
}

enum ficus_err process_config_read(struct arena *a, const char *path, struct slice text, const struct conf_table *table,
                                   void *ret_config, struct ficus_error *reterr)
{
    struct conf_errors errors;
    conf_errors_init(&errors, a);
    struct conf_node *root = NULL;
    if (conf_json_parse(a, text, path, &root, &errors) != FICUS_ERR_OK)
        return errors_to_error(&errors, reterr);
    enum ficus_err err = check_version(root, path, reterr);
    if (err != FICUS_ERR_OK)
        return err;
    if (!conf_decode(root, table, CONF_RESOLVED, ret_config, a, &errors))
        return errors_to_error(&errors, reterr);
    return FICUS_ERR_OK;
}
