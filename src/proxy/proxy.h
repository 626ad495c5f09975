/* SPDX-License-Identifier: Apache-2.0
 *
 * The gateway: clients' requests pass a chain of filters (one feature, one file filter_*.c) and are then forwarded by
 * the call engine, streaming both ways. Loop thread only: with several threads each has a loop and a proxy of its own
 * (proxy_start_beside), and the first one is the gateway for everybody else: it is reloaded and stopped, and they with it.
 *
 * It keeps serving when the hub, the issuer of tokens or any service is away: with the last endpoints and the last
 * keys, and with problem documents for what cannot be answered.
 */
#ifndef FICUS_PROXY_H
#define FICUS_PROXY_H

#include "env.h"
#include "proxy_config.h"

struct proxy;

/* What the gateway answers by itself, whatever the routes say. */
#define PROXY_HEALTH_PATH "/health"
#define PROXY_ALIVE_PATH "/alive"

/* What the process has in use, as far as it is known. */
struct proxy_usage {
    size_t memory_size; /* resident, bytes; 0: not known */
    size_t files_free;  /* descriptors that may still be opened */
};

struct proxy_options {
    /* The gateway can serve every route now, by all its loops: each one's service has an address, and keys are there or not
     * needed. Fires once, on the loop that was last, never from inside proxy_start. May be NULL. */
    void (*on_ready)(void *arg);
    /* Asked a few times a second while there are requests, by each loop on its thread. NULL: nothing is known. */
    void (*usage)(void *arg, struct proxy_usage *ret_usage);
    /* Asked as often while memory is at its ceiling, by the thread of e's loop: what is free is to go back to the system. May
     * be NULL. */
    void (*memory_low)(void *arg, struct env *e);
    void *arg;
    /* of clients, if the configuration allows as many; 0: what it allows. Streams take at most seven eighths, then 503. */
    size_t conn_count_max;
};

/* config is borrowed until stopped. Reads key and kept JWKS (blocks shortly), then listens. On failure everything is
 * released; what needs the loop for that happens when it runs. */
enum ficus_err proxy_start(struct env *e, const struct proxy_config *config, const struct proxy_options *o,
                           struct proxy **ret_proxy, struct ficus_error *reterr);
/* A further loop of the gateway, up to config's threads; e is its env, on whose thread this is called, while the first
 * proxy's loop does not run. The addresses to listen on are inherited sockets (UNSUPPORTED otherwise): all loops accept from
 * the same ones. It ends with the first one. On failure everything is released, and then released(arg) called: on the loop,
 * which the caller must run until then, or before this returns. Until then the first proxy must not be stopped. */
enum ficus_err proxy_start_beside(struct env *e, struct proxy *first, void (*released)(void *arg), void *arg,
                                  struct ficus_error *reterr);
/* [the first's loop] End the event streams (their clients come back elsewhere), drain for at most PROXY_DRAIN_MS, close what is left,
 * free; then stopped. */
enum { PROXY_DRAIN_MS = 10000 };
/* An event stream (text/event-stream) has no end but its service's: the route's timeout holds until its head came.
 * After that its service may be silent for so long, or for the route's timeout when that is longer. */
enum { PROXY_STREAM_SILENCE_MS = 60000 };
void proxy_stop(struct proxy *p, void (*stopped)(void *arg), void *arg);

/* Read the resolved file at path, make what it says (in a worker: requests go on), and serve new requests by it; those
 * under way end as they began. What cannot change while it runs (listen, the common words but log_level and edges) is
 * refused by name, and then, as with any error, all stays as it is; but when one of several threads fails alone, the others
 * have taken it over, and the result says so. done fires once on the loop, never from inside, unless the proxy is stopped first. BUSY: one is under way, or the proxy is stopping. NOMEM. */
enum ficus_err proxy_reload(struct proxy *p, const char *path,
                            void (*done)(void *arg, const struct ficus_error *result), void *arg);

/* The program `ficus gateway`: until SIGTERM. Returns an exit code; says on stderr why it did not start. */
int gateway_main(const char *config_path);

#endif
