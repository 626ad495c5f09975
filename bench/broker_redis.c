/* SPDX-License-Identifier: Apache-2.0
 *
 * A Redis stream: XADD, pipelined in batches; consumers wait in XREAD. How it syncs is the server's configuration.
 */
#include "broker.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READ_COUNT = 1000, TAKE_MS = 1000 };

struct connection {
    redisContext *redis;
    char last[48];
};

static redisReply *checked(struct connection *c, redisReply *r)
{
    if (r == NULL)
        broker_die("redis", c->redis->errstr);
    if (r->type == REDIS_REPLY_ERROR)
        broker_die("redis", r->str);
    return r;
}

/* to: the path of its socket. */
static void *redis_open(const char *to)
{
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL || (c->redis = redisConnectUnix(to)) == NULL)
        broker_die("redis", "out of memory");
    if (c->redis->err != 0)
        broker_die("redis", c->redis->errstr);
    return c;
}

static void redis_close(void *connection)
{
    struct connection *c = connection;
    redisFree(c->redis);
    free(c);
}

static void redis_prepare(void *connection)
{
    struct connection *c = connection;
    freeReplyObject(checked(c, redisCommand(c->redis, "DEL bench")));
}

static void redis_publish(void *connection, const char *messages, size_t count, bool tell)
{
    struct connection *c = connection;
    (void)tell;
    for (size_t i = 0; i < count; i++)
        redisAppendCommand(c->redis, "XADD bench * d %b", messages + i * MESSAGE_SIZE, (size_t)MESSAGE_SIZE);
    for (size_t i = 0; i < count; i++) {
        void *reply = NULL;
        redisGetReply(c->redis, &reply);
        freeReplyObject(checked(c, reply));
    }
}

static void redis_subscribe(void *connection, bool from_first)
{
    struct connection *c = connection;
    snprintf(c->last, sizeof c->last, "0");
    if (from_first)
        return;
    redisReply *r = checked(c, redisCommand(c->redis, "XREVRANGE bench + - COUNT 1"));
    if (r->elements == 1)
        snprintf(c->last, sizeof c->last, "%s", r->element[0]->element[0]->str);
    freeReplyObject(r);
}

static size_t redis_take(void *connection, broker_message fn, void *arg)
{
    struct connection *c = connection;
    redisReply *r = checked(c, redisCommand(c->redis, "XREAD COUNT %d BLOCK %d STREAMS bench %s", READ_COUNT, TAKE_MS,
                                            c->last));
    size_t count = 0;
    if (r->type == REDIS_REPLY_ARRAY) {
        const redisReply *entries = r->element[0]->element[1];
        count = entries->elements;
        for (size_t i = 0; i < count; i++) {
            const redisReply *fields = entries->element[i]->element[1];
            if (fields->elements != 2 || fields->element[1]->len != MESSAGE_SIZE)
                broker_die("redis", "an entry of another form");
            fn(arg, fields->element[1]->str);
        }
        snprintf(c->last, sizeof c->last, "%s", entries->element[count - 1]->element[0]->str);
    }
    freeReplyObject(r);
    return count;
}

const struct broker broker_redis = {
    .name = "redis",
    .open = redis_open,
    .close = redis_close,
    .prepare = redis_prepare,
    .publish = redis_publish,
    .subscribe = redis_subscribe,
    .take = redis_take,
};
