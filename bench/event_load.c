/* SPDX-License-Identifier: Apache-2.0
 *
 * The load of events.py: one loop for all kinds of event logs (broker.h); prints one line of JSON.
 *
 *   event_load prepare BROKER TO      an empty stream
 *   event_load publish BROKER TO      messages/s, and latency of a call: a batch that is acknowledged
 *       [--batch N] [--flight N]      N batches are under way at once, each on a connection and thread of its own
 *       [--later]                     one connection, the client's own window: acknowledgements are awaited at the end
 *       [--seconds S] [--warm S] | --count N      for a time, or so many messages
 *   event_load deliver BROKER TO      latency from before a publish call to each consumer's receipt
 *       [--consumers N] [--rate N] [--seconds S]  each gets all messages; one publisher, one message a call, N a second
 *   event_load replay BROKER TO --count N         messages/s that one consumer reads from the first on
 *
 * deliver and replay fail when another number of messages comes. Bounded: THREADS_MAX connections,
 * LATENCY_MAX_US of a latency that is told apart.
 */
#include "broker.h"

#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { THREADS_MAX = 64, LATENCY_MAX_US = 1000000, LAST_S = 10 /* for what is under way at the end */ };

struct load {
    const struct broker *broker;
    const char *to;
    long batch, flight, count, consumers, rate;
    double seconds, warm;
    bool later;

    int64_t warm_ns, end_ns;
    atomic_long claimed;            /* of count */
    atomic_ullong sent, counted;    /* messages: all; of calls that ended in the time */
    atomic_ullong latencies;
    atomic_uint latency[LATENCY_MAX_US + 1]; /* us -> how often */
    /* deliver */
    atomic_uint subscribed;
    atomic_llong wanted;            /* messages that each consumer must have; -1: not known yet */
};

static const struct broker *const brokers[] = {&broker_ficus, &broker_nats, &broker_postgres, &broker_redis,
                                               &broker_sqlite};

void broker_die(const char *what, const char *detail)
{
    fprintf(stderr, "event_load: %s: %s\n", what, detail);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void sleep_until(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0)
        ;
}

/* Time 0 marks a message that is not counted: what a consumer needed to find the end. */
static void message_make(char *message, int64_t at_ns)
{
    char text[MESSAGE_SIZE + 1];
    snprintf(text, sizeof text, "{\"at\":\"%016lld\",\"pad\":\"", (long long)at_ns);
    size_t size = strlen(text);
    for (size_t i = size; i < MESSAGE_SIZE - 2; i++)
        text[i] = (char)('a' + i % 26);
    memcpy(text + MESSAGE_SIZE - 2, "\"}", 2);
    memcpy(message, text, MESSAGE_SIZE);
}

static int64_t message_at_ns(const char *message)
{
    char digits[17] = {0};
    if (memcmp(message, "{\"at\":\"", 7) != 0)
        broker_die("a message of another form", "");
    memcpy(digits, message + 7, 16);
    return strtoll(digits, NULL, 10);
}

static void latency_add(struct load *l, int64_t ns)
{
    int64_t us = ns / 1000;
    atomic_fetch_add(&l->latency[us < 0 ? 0 : us < LATENCY_MAX_US ? us : LATENCY_MAX_US], 1);
    atomic_fetch_add(&l->latencies, 1);
}

static long percentile_us(struct load *l, double part)
{
    uint64_t below = 0, wanted = (uint64_t)(part * (double)atomic_load(&l->latencies));
    for (long us = 0; us < LATENCY_MAX_US; us++)
        if ((below += l->latency[us]) > wanted)
            return us;
    return LATENCY_MAX_US;
}

/* What else is said: the latencies, when there are any, and the CPU of this process for each message, in us. */
static int say(struct load *l, double rate)
{
    struct timespec cpu;
    unsigned long long sent = atomic_load(&l->sent);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    printf("{\"rps\":%.1f,\"messages\":%llu,\"load_cpu\":%.2f", rate, sent,
           ((double)cpu.tv_sec * 1e6 + (double)cpu.tv_nsec / 1e3) / (double)(sent > 0 ? sent : 1));
    if (atomic_load(&l->latencies) > 0)
        printf(",\"p50\":%ld,\"p99\":%ld", percentile_us(l, 0.5), percentile_us(l, 0.99));
    printf("}\n");
    return 0;
}

static void threads_run(struct load *l, void *(*fn)(void *), long count, pthread_t threads[THREADS_MAX])
{
    for (long i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, fn, l) != 0)
            broker_die("thread", "cannot be started");
}

static void threads_join(long count, const pthread_t threads[THREADS_MAX])
{
    for (long i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

/* ---- publish ---- */

/* How many messages come next; 0: it is over. */
static long next_batch(struct load *l)
{
    if (l->count == 0)
        return now_ns() < l->end_ns ? l->batch : 0;
    long before = atomic_fetch_add(&l->claimed, l->batch), left = l->count - before;
    return left < 0 ? 0 : left < l->batch ? left : l->batch;
}

static void *publisher(void *arg)
{
    struct load *l = arg;
    void *connection = l->broker->open(l->to);
    char *messages = malloc((size_t)l->batch * MESSAGE_SIZE);
    if (messages == NULL)
        broker_die("publish", "out of memory");
    for (long i = 0; i < l->batch; i++)
        message_make(messages + i * MESSAGE_SIZE, 1);
    for (long n; (n = next_batch(l)) > 0;) {
        int64_t begun = now_ns();
        l->broker->publish(connection, messages, (size_t)n, false);
        int64_t ended = now_ns();
        atomic_fetch_add(&l->sent, (unsigned long long)n);
        if (ended >= l->warm_ns && (l->count > 0 || ended < l->end_ns)) {
            atomic_fetch_add(&l->counted, (unsigned long long)n);
            latency_add(l, ended - begun);
        }
    }
    free(messages);
    l->broker->close(connection);
    return NULL;
}

/* What is acknowledged after the end still counts, and its time too. */
static double publish_later(struct load *l)
{
    void *connection = l->broker->open(l->to);
    char message[MESSAGE_SIZE];
    unsigned long long sent = 0, warmed = 0;
    bool warm = false;
    int64_t begun = now_ns();
    message_make(message, 1);
    for (int64_t now; (now = now_ns()) < l->end_ns; sent++) {
        if (!warm && now >= l->warm_ns) {
            l->broker->flush(connection);
            warm = true;
            warmed = sent;
            begun = now_ns();
            l->end_ns += begun - now;
        }
        l->broker->publish_later(connection, message, 1);
    }
    l->broker->flush(connection);
    double took = (double)(now_ns() - begun) / 1e9;
    l->broker->close(connection);
    atomic_store(&l->sent, sent);
    return (double)(sent - warmed) / took;
}

static int publish(struct load *l)
{
    pthread_t threads[THREADS_MAX];
    int64_t begun = now_ns();
    l->warm_ns = l->count > 0 ? begun : begun + (int64_t)(l->warm * 1e9);
    l->end_ns = l->warm_ns + (int64_t)(l->seconds * 1e9);
    if (l->later)
        return say(l, publish_later(l));
    threads_run(l, publisher, l->flight, threads);
    threads_join(l->flight, threads);
    double took = l->count > 0 ? (double)(now_ns() - begun) / 1e9 : l->seconds;
    return say(l, (double)atomic_load(&l->counted) / took);
}

/* ---- deliver ---- */

struct consumer {
    struct load *load;
    long long got;
};

static void received(void *arg, const char *message)
{
    struct consumer *c = arg;
    int64_t now = now_ns(), at = message_at_ns(message);
    if (at == 0)
        return;
    c->got++;
    latency_add(c->load, now - at);
}

static void *consumer(void *arg)
{
    struct load *l = arg;
    struct consumer c = {.load = l};
    void *connection = l->broker->open(l->to);
    l->broker->subscribe(connection, false);
    atomic_fetch_add(&l->subscribed, 1);
    for (long long wanted; (wanted = atomic_load(&l->wanted)) < 0 || c.got < wanted;) {
        l->broker->take(connection, received, &c);
        if (wanted >= 0 && now_ns() > l->end_ns + (int64_t)LAST_S * 1000000000)
            break;
    }
    if (c.got != atomic_load(&l->wanted))
        broker_die("deliver", "a consumer has another number of messages than were published");
    l->broker->close(connection);
    return NULL;
}

static int deliver(struct load *l)
{
    pthread_t threads[THREADS_MAX];
    char message[MESSAGE_SIZE];
    long long sent = 0;
    void *connection = l->broker->open(l->to);
    message_make(message, 0);
    atomic_store(&l->wanted, -1);
    threads_run(l, consumer, l->consumers, threads);
    while (atomic_load(&l->subscribed) < (unsigned)l->consumers)
        sleep_until(now_ns() + 1000000);
    l->broker->publish(connection, message, 1, true); /* not counted: all is warm, and waits */
    int64_t begun = now_ns() + 100000000;
    l->end_ns = begun + (int64_t)(l->seconds * 1e9);
    for (int64_t due = begun; due < l->end_ns; due += 1000000000 / l->rate) {
        sleep_until(due);
        message_make(message, now_ns());
        l->broker->publish(connection, message, 1, true);
        sent++;
    }
    double took = (double)(now_ns() - begun) / 1e9;
    l->end_ns = now_ns();
    atomic_store(&l->wanted, sent);
    message_make(message, 0);
    l->broker->publish(connection, message, 1, true); /* wakes those that have all */
    threads_join(l->consumers, threads);
    l->broker->close(connection);
    atomic_store(&l->sent, (unsigned long long)sent);
    return say(l, (double)sent / took);
}

/* ---- replay ---- */

static void count_one(void *arg, const char *message)
{
    (void)message_at_ns(message);
    ++*(long *)arg;
}

static int replay(struct load *l)
{
    long got = 0;
    void *connection = l->broker->open(l->to);
    int64_t begun = now_ns();
    l->broker->subscribe(connection, true);
    while (got < l->count)
        if (l->broker->take(connection, count_one, &got) == 0)
            broker_die("replay", "messages are missing");
    double took = (double)(now_ns() - begun) / 1e9;
    if (got != l->count)
        broker_die("replay", "there are more messages than were published");
    l->broker->close(connection);
    atomic_store(&l->sent, (unsigned long long)got);
    return say(l, (double)got / took);
}

static int prepare(struct load *l)
{
    void *connection = l->broker->open(l->to);
    if (l->broker->prepare != NULL)
        l->broker->prepare(connection);
    l->broker->close(connection);
    return 0;
}

/* ---- command line ---- */

static int usage(void)
{
    fprintf(stderr, "usage: event_load prepare|publish|deliver|replay ficus|nats|postgres|redis|sqlite TO\n"
                    "                  [--batch N] [--flight N] [--later] [--seconds S] [--warm S] [--count N]\n"
                    "                  [--consumers N] [--rate N]\n");
    return 2;
}

static bool read_options(struct load *l, int argc, char **argv)
{
    static const struct option options[] = {
        {"batch", required_argument, NULL, 'b'}, {"flight", required_argument, NULL, 'f'},
        {"seconds", required_argument, NULL, 's'}, {"warm", required_argument, NULL, 'w'},
        {"count", required_argument, NULL, 'c'}, {"consumers", required_argument, NULL, 'n'},
        {"rate", required_argument, NULL, 'r'}, {"later", no_argument, NULL, 'l'},
        {0},
    };
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'b': l->batch = atol(optarg); break;
        case 'f': l->flight = atol(optarg); break;
        case 's': l->seconds = atof(optarg); break;
        case 'w': l->warm = atof(optarg); break;
        case 'c': l->count = atol(optarg); break;
        case 'n': l->consumers = atol(optarg); break;
        case 'r': l->rate = atol(optarg); break;
        case 'l': l->later = true; break;
        default: return false;
        }
    }
    return l->batch > 0 && l->batch <= BATCH_MAX && l->flight > 0 && l->flight <= THREADS_MAX && l->seconds > 0 &&
           l->warm >= 0 && l->count >= 0 && l->consumers > 0 && l->consumers <= THREADS_MAX && l->rate > 0 &&
           (!l->later || l->broker->publish_later != NULL);
}

int main(int argc, char **argv)
{
    static struct load l;
    static const struct { const char *name; int (*run)(struct load *l); } tasks[] = {
        {"prepare", prepare}, {"publish", publish}, {"deliver", deliver}, {"replay", replay}};
    l.batch = l.flight = l.consumers = 1;
    l.rate = 200;
    l.seconds = 1;
    l.warm = 0.3;
    for (size_t i = 0; argc > 3 && i < sizeof brokers / sizeof *brokers; i++)
        if (strcmp(argv[2], brokers[i]->name) == 0)
            l.broker = brokers[i];
    if (l.broker == NULL || !read_options(&l, argc - 3, argv + 3))
        return usage();
    l.to = argv[3];
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++)
        if (strcmp(argv[1], tasks[i].name) == 0)
            return tasks[i].run(&l);
    return usage();
}
