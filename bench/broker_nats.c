/* SPDX-License-Identifier: Apache-2.0
 *
 * NATS JetStream, file storage: one stream; consumers are pushed to and acknowledge nothing. An acknowledged message
 * lies in the page cache: Debian 12's version syncs by a timer and cannot be told to sync each.
 */
#include "broker.h"

#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM "BENCH"
#define SUBJECT "bench.written"
enum { WINDOW = 4096, WAIT_MS = 20000, TAKE_MS = 1000 };

struct connection {
    natsConnection *nc;
    jsCtx *js;
    natsSubscription *sub;
    bool asap;
    char to[128];
};

static void check(natsStatus s, const char *what)
{
    if (s != NATS_OK)
        broker_die(what, natsStatus_GetText(s));
}

/* asap: each message leaves with a call of the kernel's; else those that wait leave together. One kind is best for one
 * message and its answer, the other for many. */
static void dial(struct connection *c, bool asap)
{
    natsOptions *o = NULL;
    jsOptions options;
    if (c->nc != NULL && c->asap == asap)
        return;
    jsCtx_Destroy(c->js);
    natsConnection_Destroy(c->nc);
    check(natsOptions_Create(&o), "nats options");
    check(natsOptions_SetURL(o, c->to), "nats url");
    check(natsOptions_SetSendAsap(o, asap), "nats options");
    check(natsConnection_Connect(&c->nc, o), "nats connect");
    natsOptions_Destroy(o);
    jsOptions_Init(&options);
    options.PublishAsync.MaxPending = WINDOW;
    check(natsConnection_JetStream(&c->js, c->nc, &options), "jetstream");
    c->asap = asap;
}

static void *nats_open(const char *to)
{
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL || strlen(to) >= sizeof c->to)
        broker_die("nats", to);
    snprintf(c->to, sizeof c->to, "%s", to);
    dial(c, true);
    return c;
}

static void nats_close(void *connection)
{
    struct connection *c = connection;
    natsSubscription_Destroy(c->sub);
    jsCtx_Destroy(c->js);
    natsConnection_Destroy(c->nc);
    free(c);
}

static void nats_prepare(void *connection)
{
    struct connection *c = connection;
    const char *subjects[] = {SUBJECT};
    jsStreamConfig config;
    jsErrCode code = 0;
    jsStreamConfig_Init(&config);
    config.Name = STREAM;
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    js_DeleteStream(c->js, STREAM, NULL, &code); /* not there: fine */
    check(js_AddStream(NULL, c->js, &config, NULL, &code), "nats stream");
}

static void nats_publish_later(void *connection, const char *messages, size_t count)
{
    struct connection *c = connection;
    dial(c, false);
    for (size_t i = 0; i < count; i++)
        check(js_PublishAsync(c->js, SUBJECT, messages + i * MESSAGE_SIZE, MESSAGE_SIZE, NULL), "nats publish");
}

static void nats_flush(void *connection)
{
    struct connection *c = connection;
    jsPubOptions options;
    natsMsgList refused;
    jsPubOptions_Init(&options);
    options.MaxWait = WAIT_MS;
    check(js_PublishAsyncComplete(c->js, &options), "nats acknowledgements");
    if (js_PublishAsyncGetPendingList(&refused, c->js) != NATS_NOT_FOUND)
        broker_die("nats", "messages were not acknowledged");
}

static void nats_publish(void *connection, const char *messages, size_t count, bool tell)
{
    struct connection *c = connection;
    jsErrCode code = 0;
    (void)tell;
    if (count == 1) {
        dial(c, true);
        check(js_Publish(NULL, c->js, SUBJECT, messages, MESSAGE_SIZE, NULL, &code), "nats publish");
        return;
    }
    nats_publish_later(c, messages, count);
    nats_flush(c);
}

static void nats_subscribe(void *connection, bool from_first)
{
    struct connection *c = connection;
    jsSubOptions options;
    jsErrCode code = 0;
    jsSubOptions_Init(&options);
    options.Stream = STREAM;
    options.Config.AckPolicy = js_AckNone;
    options.Config.DeliverPolicy = from_first ? js_DeliverAll : js_DeliverNew;
    check(js_SubscribeSync(&c->sub, c->js, SUBJECT, NULL, &options, &code), "nats subscribe");
    check(natsSubscription_SetPendingLimits(c->sub, -1, -1), "nats subscribe");
}

static size_t nats_take(void *connection, broker_message fn, void *arg)
{
    struct connection *c = connection;
    natsMsg *m = NULL;
    natsStatus s = natsSubscription_NextMsg(&m, c->sub, TAKE_MS);
    if (s == NATS_TIMEOUT)
        return 0;
    check(s, "nats next");
    if (natsMsg_GetDataLength(m) != MESSAGE_SIZE)
        broker_die("nats", "a message of another size");
    fn(arg, natsMsg_GetData(m));
    natsMsg_Destroy(m);
    return 1;
}

const struct broker broker_nats = {
    .name = "nats",
    .open = nats_open,
    .close = nats_close,
    .prepare = nats_prepare,
    .publish = nats_publish,
    .publish_later = nats_publish_later,
    .flush = nats_flush,
    .subscribe = nats_subscribe,
    .take = nats_take,
};
