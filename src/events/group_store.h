/* SPDX-License-Identifier: Apache-2.0
 *
 * What is durable of consumer groups, in the log's database: table group_cursor, a row for each partition; table group_shape, how its keys
 * were spread over them; table group_boot, one row, counts the lives of the hub (group.h, fencing). The log's dead letters and a group's cursors are committed together
 * (elog_append_with).
 */
#ifndef FICUS_EVENTS_GROUP_STORE_H
#define FICUS_EVENTS_GROUP_STORE_H

#include "db.h"
#include "group.h"

/* Make the tables and count this life. Blocks (before the loop runs). */
enum ficus_err group_store_open(struct db *d, int64_t *ret_boot, struct ficus_error *reterr);
/* Begin with what is known of the group, count partitions. shape: a hash over all that decides which partition an event is in. When it, or
 * count, was another one, an event may be in another partition now, whose cursor is behind it: so the group begins anew with all partitions at the
 * smallest cursor, and that is written; some events come a second time. *ret_repartitioned says so (may be NULL). A new group begins
 * at the log's start. Blocks. */
enum ficus_err group_store_load(struct db *d, const char *group, size_t count, int64_t shape, struct group_cursor *ret_cursors,
                                bool *ret_repartitioned, struct ficus_error *reterr);
/* [worker, in a transaction] */
enum ficus_err group_store_write(struct db_conn *c, const char *group, size_t partition, const struct group_cursor *cursor,
                                 struct ficus_error *reterr);

#endif
