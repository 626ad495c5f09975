/* SPDX-License-Identifier: Apache-2.0
 *
 * The hub's log over HTTP, as libficus' relay and consumers use it: batches by POST, and pulls that wait. The publisher
 * is the service "writer", the consumer "reader", the topic "bench.written".
 */
#include "broker.h"
#include "hub_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUBJECTS = 1000 };

struct connection {
    const char *to;
    struct hub_client *hub; /* as writer, or as reader once subscribed */
    unsigned long subject;
    long long after;
};

static void *ficus_open(const char *to)
{
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        broker_die("ficus", "out of memory");
    c->to = to;
    c->hub = hub_client_open(to, "writer");
    return c;
}

static void ficus_close(void *connection)
{
    struct connection *c = connection;
    hub_client_close(c->hub);
    free(c);
}

static long long publish(struct connection *c, const char *messages, size_t count)
{
    char subject[24];
    hub_client_batch_begin(c->hub);
    for (size_t i = 0; i < count; i++) {
        snprintf(subject, sizeof subject, "s%lu", c->subject++ % SUBJECTS);
        hub_client_batch_add(c->hub, "bench.written", subject, slice_make(messages + i * MESSAGE_SIZE, MESSAGE_SIZE));
    }
    return hub_client_batch_publish(c->hub);
}

static void ficus_publish(void *connection, const char *messages, size_t count, bool tell)
{
    (void)tell;
    publish(connection, messages, count);
}

/* Where the log ends is known by publishing one: a message of time 0, which the load does not count. */
static void ficus_subscribe(void *connection, bool from_first)
{
    struct connection *c = connection;
    char message[MESSAGE_SIZE + 1];
    snprintf(message, sizeof message, "{\"at\":\"%016d\",\"pad\":\"%*s\"}", 0, MESSAGE_SIZE - 34, "");
    c->after = from_first ? 0 : publish(c, message, 1);
    hub_client_close(c->hub);
    c->hub = hub_client_open(c->to, "reader");
}

static size_t ficus_take(void *connection, broker_message fn, void *arg)
{
    static const char data[] = "\"data\":";
    struct connection *c = connection;
    char target[128];
    snprintf(target, sizeof target, "/v1/events?topics=bench.written&after=%lld&limit=256&wait=1000", c->after);
    struct slice answer = hub_client_call(c->hub, "GET", target, SLICE_NONE);
    const char *p = answer.p, *end = answer.p + answer.size, *found;
    size_t count = 0;
    for (; (found = memmem(p, (size_t)(end - p), data, sizeof data - 1)) != NULL; count++) {
        p = found + sizeof data - 1;
        if (end - p < MESSAGE_SIZE)
            broker_die("ficus", "an event is cut off");
        fn(arg, p);
        p += MESSAGE_SIZE;
    }
    if ((p = strstr(p, "\"next\":")) == NULL)
        broker_die("ficus: no next in", answer.p);
    c->after = strtoll(p + 7, NULL, 10);
    return count;
}

const struct broker broker_ficus = {
    .name = "ficus",
    .open = ficus_open,
    .close = ficus_close,
    .publish = ficus_publish,
    .subscribe = ficus_subscribe,
    .take = ficus_take,
};
