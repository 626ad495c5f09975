/* SPDX-License-Identifier: Apache-2.0
 *
 * The hub: registry, event log and sagas of one system behind one HTTP API (docs/hub-api.yaml). Durable and small, and
 * never in the way of a request.
 *
 * Two listeners: services (every request needs a Ficus-Identity for the audience "hub") and operators (unix sockets;
 * the peer's uid must be one's own or root's). /alive, /health and /metrics need neither. Failures: the event log or
 * journal cannot be written: publishers get the error and try again, sagas wait. The process dies: endpoints are told
 * anew by the supervisor (the registry is memory; meanwhile the hub answers "warming"), events and sagas go on from
 * their files.
 */
#ifndef FICUS_HUB_H
#define FICUS_HUB_H

#include "env.h"
#include "hub_config.h"

struct hub;
struct process;

/* Opens files (blocks), takes up unfinished sagas and listens. Before the loop runs, or on it. config is borrowed for
 * the hub's life. On failure everything is released; the loop must turn for that. */
enum ficus_err hub_start(struct env *e, const struct hub_config *config, struct hub **ret_hub,
                         struct ficus_error *reterr);
/* Stop: waiting requests are answered, running ones get 2 s, then files are closed and closed fires. Nothing
 * acknowledged is lost without it. */
void hub_stop(struct hub *h, void (*closed)(void *arg), void *arg);
struct process *hub_process(struct hub *h);

/* The program `ficus hub`: read the file, serve until SIGTERM or SIGINT. Returns the exit code. */
int hub_main(const char *config_path);

#endif
