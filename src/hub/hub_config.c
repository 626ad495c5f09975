/* SPDX-License-Identifier: Apache-2.0
 *
 * See hub_config.h.
 */
#include "hub_config.h"

#include "group.h"

static const struct conf_setting address_item = {
    .name = "address",
    .type = CONF_STRING,
    .min = 1,
    .max = 200,
    .doc = "An address: fd:3, unix:/path or tcp:127.0.0.1:8080.",
};

static const struct conf_setting service_item = {
    .name = "service",
    .type = CONF_STRING,
    .min = 1,
    .max = 63,
    .check = conf_check_name,
    .example = "orders",
    .doc = "A service.",
};

static const struct conf_setting schema_item = {
    .name = "schema", .type = CONF_STRING, .min = 2, .max = 65536, .example = "{}", .doc = "JSON Schema."};

static const struct conf_setting topic_settings[] = {
    {.name = "publisher",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct hub_topic, publisher),
     .min = 1,
     .max = 63,
     .check = conf_check_name,
     .example = "orders",
     .doc = "The one service that may publish it."},
    {.name = "keep_latest",
     .type = CONF_BOOL,
     CONF_AT(struct hub_topic, keep_latest),
     .fallback = false,
     .doc = "The newest event of each key is kept for ever."},
    {.name = "key",
     .type = CONF_STRING,
     CONF_AT(struct hub_topic, key),
     .min = 0,
     .max = 63,
     .fallback_text = "",
     .doc = "Where the key stands in the event's data: sku, or items.sku; empty: the subject is the key."},
    {.name = "consumers",
     .type = CONF_LIST,
     CONF_LIST_AT(struct hub_topic, consumers, consumer_count),
     .item = &service_item,
     .doc = "The services that may read it."},
    {.name = "schemas",
     .type = CONF_LIST,
     CONF_LIST_AT(struct hub_topic, schemas, schema_count),
     .item = &schema_item,
     .doc = "What its events may be, version 1 first; empty: anything."},
};

static const struct conf_table topic_table = CONF_TABLE_OF("hub topic", struct hub_topic, topic_settings);

static const struct conf_setting topic_item = {
    .name = "topic",
    .type = CONF_TABLE,
    .table = &topic_table,
    .check = conf_check_dotted,
    .example = "order.placed",
    .doc = "Who may publish and read a topic.",
};

_Static_assert((int)HUB_GROUP_PARTITIONS_MAX == (int)GROUP_PARTITIONS_MAX, "one number for two floors");

static const struct conf_setting group_settings[] = {
    {.name = "to",
     .type = CONF_STRING,
     CONF_AT(struct hub_group_config, to),
     .min = 1,
     .max = 512,
     .example = "/events",
     .doc = "Path of the service that events are posted to; absent: members lease them."},
    {.name = "partitions",
     .type = CONF_INT,
     CONF_AT(struct hub_group_config, partitions),
     .min = 1,
     .max = HUB_GROUP_PARTITIONS_MAX,
     .fallback = 8,
     .doc = "How many events may be under way at a time."},
    {.name = "timeout",
     .type = CONF_DURATION,
     CONF_AT(struct hub_group_config, timeout_ms),
     .min = 100,
     .max = 3600000,
     .fallback = 30000,
     .doc = "How long one delivery, or a lease, may take."},
};

static const struct conf_table group_table = CONF_TABLE_OF("hub group", struct hub_group_config, group_settings);

static const struct conf_setting group_item = {
    .name = "group",
    .type = CONF_TABLE,
    .table = &group_table,
    .check = conf_check_name,
    .example = "mailer",
    .doc = "A consumer group.",
};

static const struct conf_setting saga_item = {
    .name = "saga", .type = CONF_TABLE, .table = &saga_def_table, .doc = "A saga."};

#define DAY_MS (24ll * 3600 * 1000)
#define GIB (1024ll * 1024 * 1024)

static const struct conf_setting schedule_settings[] = {
    {.name = "source",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct hub_schedule, source),
     .min = 2,
     .max = 200,
     .example = "/reports/schedules/nightly",
     .doc = "The source of its events."},
    {.name = "name",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct hub_schedule, name),
     .min = 1,
     .max = 63,
     .check = conf_check_name,
     .example = "nightly",
     .doc = "Its name, the subject of its events."},
    {.name = "topic",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct hub_schedule, topic),
     .min = 1,
     .max = 63,
     .check = conf_check_dotted,
     .example = "report.due",
     .doc = "The topic of its events."},
    {.name = "every",
     .type = CONF_DURATION,
     .flags = CONF_REQUIRED,
     CONF_AT(struct hub_schedule, every_ms),
     .min = 1000,
     .max = 366 * DAY_MS,
     .doc = "From one time to the next."},
    {.name = "phase",
     .type = CONF_DURATION,
     CONF_AT(struct hub_schedule, phase_ms),
     .min = 0,
     .max = 366 * DAY_MS,
     .fallback = 0,
     .doc = "How long after 1970-01-01 UTC the times are counted from; less than every."},
};

static void schedule_check(const struct conf_node *node, void *value, struct conf_errors *errors)
{
    const struct hub_schedule *s = value;
    if (s->phase_ms >= s->every_ms)
        conf_error_value(errors, conf_get(node, "phase"), "must be less than every");
}

static const struct conf_table schedule_table = {.name = "hub schedule",
                                                 .size = sizeof(struct hub_schedule),
                                                 .settings = schedule_settings,
                                                 .count = sizeof schedule_settings / sizeof *schedule_settings,
                                                 .check = schedule_check};

static const struct conf_setting schedule_item = {
    .name = "schedule", .type = CONF_TABLE, .table = &schedule_table, .doc = "When an event is appended again and again."};
static const struct conf_setting flow_item = {
    .name = "flow", .type = CONF_TABLE, .table = &flow_def_table, .doc = "A flow."};

static const char *check_absolute(struct slice text)
{
    return text.size > 0 && text.p[0] == '/' ? NULL : "an absolute path";
}

static const struct conf_setting hub_settings[] = {
    {.name = "common",
     .type = CONF_INLINE,
     CONF_AT(struct hub_config, common),
     .table = &process_config_table,
     .doc = "What all processes share."},
    {.name = "listen",
     .type = CONF_LIST,
     .flags = CONF_REQUIRED | CONF_NOT_EMPTY,
     CONF_LIST_AT(struct hub_config, listen, listen_count),
     .item = &address_item,
     .doc = "Where services reach the hub."},
    {.name = "operator_listen",
     .type = CONF_LIST,
     CONF_LIST_AT(struct hub_config, operator_listen, operator_listen_count),
     .item = &address_item,
     .doc = "Where operators and the supervisor reach the hub: unix sockets."},
    {.name = "log_file",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct hub_config, log_file),
     .min = 1,
     .max = 1024,
     .check = check_absolute,
     .example = "/var/lib/shop/data/hub-log.db",
     .doc = "Database of the event log."},
    {.name = "journal_file",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     CONF_AT(struct hub_config, journal_file),
     .min = 1,
     .max = 1024,
     .check = check_absolute,
     .example = "/var/lib/shop/data/hub-sagas.db",
     .doc = "Database of the saga journal."},
    {.name = "retention",
     .type = CONF_DURATION,
     CONF_AT(struct hub_config, retention_ms),
     .min = 60000,
     .max = 3650 * DAY_MS,
     .fallback = 7 * DAY_MS,
     .doc = "How long events and finished sagas are kept."},
    {.name = "size",
     .type = CONF_SIZE,
     CONF_AT(struct hub_config, size_max),
     .min = 16 * 1024 * 1024,
     .max = 1024 * GIB,
     .fallback = 4 * GIB,
     .doc = "How large the event log may become: beyond it the oldest events go."},
    {.name = "schedules",
     .type = CONF_LIST,
     CONF_LIST_AT(struct hub_config, schedules, schedule_count),
     .item = &schedule_item,
     .doc = "Events that the hub appends by itself."},
    {.name = "topics",
     .type = CONF_MAP,
     CONF_MAP_AT(struct hub_config, topics, topic_count, struct hub_topic, name),
     .item = &topic_item,
     .doc = "All declared topics."},
    {.name = "services",
     .type = CONF_LIST,
     CONF_LIST_AT(struct hub_config, services, service_count),
     .item = &service_item,
     .doc = "All services of the system."},
    {.name = "groups",
     .type = CONF_MAP,
     CONF_MAP_AT(struct hub_config, groups, group_count, struct hub_group_config, name),
     .item = &group_item,
     .doc = "The consumer groups, by the names of their services."},
    {.name = "sagas",
     .type = CONF_LIST,
     CONF_LIST_AT(struct hub_config, sagas, saga_count),
     .item = &saga_item,
     .doc = "All sagas."},
    {.name = "flow_file",
     .type = CONF_STRING,
     CONF_AT(struct hub_config, flow_file),
     .min = 1,
     .max = 1024,
     .check = check_absolute,
     .example = "/var/lib/shop/data/hub-flows.db",
     .doc = "Database of what is known of flows; it is made of the event log and can be removed. Without it flows are not followed."},
    {.name = "flows",
     .type = CONF_LIST,
     CONF_LIST_AT(struct hub_config, flows, flow_count),
     .item = &flow_item,
     .doc = "All flows."},
};

const struct conf_table hub_config_table = CONF_TABLE_OF("hub", struct hub_config, hub_settings);

const struct hub_topic *hub_config_topic(const struct hub_config *c, struct slice name)
{
    for (size_t i = 0; i < c->topic_count; i++)
        if (slice_eq_str(name, c->topics[i].name))
            return &c->topics[i];
    return NULL;
}

static bool contains(const char *const *names, size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq_str(name, names[i]))
            return true;
    return false;
}

bool hub_config_has_service(const struct hub_config *c, struct slice name)
{
    return contains(c->services, c->service_count, name);
}

bool hub_topic_has_consumer(const struct hub_topic *t, struct slice service)
{
    return contains(t->consumers, t->consumer_count, service);
}
