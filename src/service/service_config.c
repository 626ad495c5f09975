/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of struct service_config.
 */
#include "service_config.h"

static const struct conf_setting address_item = {
    .name = "address", .type = CONF_STRING, .min = 1, .max = 200, .doc = "fd:N, unix:PATH or tcp:IP:PORT."};
static const struct conf_setting file_item = {
    .name = "file", .type = CONF_STRING, .min = 1, .max = 1024, .doc = "Absolute path of NNNN_name.sql."};
static const struct conf_setting name_item = {
    .name = "name", .type = CONF_STRING, .min = 1, .max = 63, .doc = "Name of a process."};
static const struct conf_setting topic_item = {
    .name = "topic", .type = CONF_STRING, .min = 1, .max = 128, .doc = "Name of a topic."};
static const struct conf_setting setting_item = {.name = "setting",
                                                 .type = CONF_STRING,
                                                 CONF_AT(struct service_setting, value),
                                                 .min = 0,
                                                 .max = 4096,
                                                 .doc = "The value, a text."};

static const struct conf_setting upcast_item = {
    .name = "version", .type = CONF_INT, .min = 2, .max = 1000, .doc = "A version that does not read the one before."};
static const struct conf_setting schema_settings[] = {
    {.name = "version",
     .type = CONF_INT,
     .flags = CONF_REQUIRED,
     CONF_AT(struct service_schema, version),
     .min = 1,
     .max = 1000,
     .doc = "The newest version."},
    {.name = "text",
     .type = CONF_STRING,
     CONF_AT(struct service_schema, text),
     .min = 0,
     .max = 65536,
     .fallback_text = "",
     .doc = "JSON Schema of the newest version, when the service publishes the topic."},
    {.name = "upcasts",
     .type = CONF_LIST,
     CONF_LIST_AT(struct service_schema, upcasts, upcast_count),
     .item = &upcast_item,
     .doc = "The versions for which consumers need an upcaster from the one before."},
};
static const struct conf_table schema_table = CONF_TABLE_OF("topic schema", struct service_schema, schema_settings);
static const struct conf_setting schema_item = {
    .name = "schema", .type = CONF_TABLE, .table = &schema_table, .doc = "What the events of a topic may be."};

static const struct conf_setting service_settings[] = {
    {.name = "common",
     .type = CONF_INLINE,
     CONF_AT(struct service_config, common),
     .table = &process_config_table,
     .doc = "What all processes share."},
    {.name = "listen",
     .type = CONF_LIST,
     .flags = CONF_REQUIRED | CONF_NOT_EMPTY,
     CONF_LIST_AT(struct service_config, listen, listen_count),
     .item = &address_item,
     .doc = "Where the service takes requests."},
    {.name = "store",
     .type = CONF_STRING,
     CONF_AT(struct service_config, store),
     .min = 0,
     .max = 1024,
     .fallback_text = "",
     .doc = "The service's own database file; empty: it has none."},
    {.name = "rebuildable",
     .type = CONF_BOOL,
     CONF_AT(struct service_config, rebuildable),
     .fallback = false,
     .doc = "The store is made of consumed events alone, and so can be built anew from the log."},
    {.name = "migrations",
     .type = CONF_LIST,
     CONF_LIST_AT(struct service_config, migrations, migration_count),
     .item = &file_item,
     .doc = "The database's migrations, in order."},
    {.name = "workers",
     .type = CONF_INT,
     CONF_AT(struct service_config, workers),
     .min = 1,
     .max = 64,
     .fallback = 4,
     .doc = "How many handlers run at a time."},
    {.name = "slow_statement",
     .type = CONF_DURATION,
     CONF_AT(struct service_config, slow_statement_ms),
     .min = 0,
     .max = 600000,
     .fallback = 0,
     .doc = "Statements and commits of the store that take so long are logged; 0ms: none."},
    {.name = "private_dir",
     .type = CONF_STRING,
     CONF_AT(struct service_config, private_dir),
     .min = 0,
     .max = 1024,
     .fallback_text = "",
     .doc = "A folder for the service's own files."},
    {.name = "callers",
     .type = CONF_LIST,
     CONF_LIST_AT(struct service_config, callers, caller_count),
     .item = &name_item,
     .doc = "Whose requests the service takes."},
    {.name = "publishes",
     .type = CONF_LIST,
     CONF_LIST_AT(struct service_config, publishes, publish_count),
     .item = &topic_item,
     .doc = "Topics that the service may emit."},
    {.name = "sagas",
     .type = CONF_LIST,
     CONF_LIST_AT(struct service_config, sagas, saga_count),
     .item = &name_item,
     .doc = "The sagas that belong to the service."},
    {.name = "consumes",
     .type = CONF_LIST,
     CONF_LIST_AT(struct service_config, consumes, consume_count),
     .item = &topic_item,
     .doc = "Topics that the service handles."},
    {.name = "schemas",
     .type = CONF_MAP,
     CONF_MAP_AT(struct service_config, schemas, schema_count, struct service_schema, topic),
     .item = &schema_item,
     .doc = "What the events of topics may be, as far as it is said."},
    {.name = "settings",
     .type = CONF_MAP,
     CONF_MAP_AT(struct service_config, settings, setting_count, struct service_setting, name),
     .item = &setting_item,
     .doc = "The service's own settings."},
};

const struct conf_table service_config_table = CONF_TABLE_OF("service", struct service_config, service_settings);
