/* SPDX-License-Identifier: Apache-2.0
 *
 * What event_load does with an event log: one table a kind of log, so that all are asked for the same by the same loop.
 * Whatever fails ends the program with one line. A connection belongs to one thread.
 */
#ifndef FICUS_BENCH_BROKER_H
#define FICUS_BENCH_BROKER_H

#include <stdbool.h>
#include <stddef.h>

enum {
    MESSAGE_SIZE = 256, /* each; a JSON object, so that logs that look into it may */
    BATCH_MAX = 256,
};

/* One message that came: its MESSAGE_SIZE bytes, borrowed for the call. */
typedef void (*broker_message)(void *arg, const char *message);

struct broker {
    const char *name;
    /* A connection. to: the broker's own form of an address. */
    void *(*open)(const char *to);
    void (*close)(void *connection);
    /* Make the empty stream, topic or table; what was there is gone. NULL: the topic is declared elsewhere. */
    void (*prepare)(void *connection);
    /* Publish count messages, which lie behind one another, and wait until all are acknowledged. tell: wake waiting
     * consumers too, where that is another statement. */
    void (*publish)(void *connection, const char *messages, size_t count, bool tell);
    /* Publish without waiting, the client's own window being the bound; flush waits for all. NULL: the client has no
     * such call. */
    void (*publish_later)(void *connection, const char *messages, size_t count);
    void (*flush)(void *connection);
    /* Receive from the first that is kept, or those that come from now on. NULL: it has no consumers. */
    void (*subscribe)(void *connection, bool from_first);
    /* Wait for messages, at most about a second, and hand over what came; how many. */
    size_t (*take)(void *connection, broker_message fn, void *arg);
};

extern const struct broker broker_ficus, broker_nats, broker_postgres, broker_redis, broker_sqlite;

__attribute__((noreturn)) void broker_die(const char *what, const char *detail);

#endif
