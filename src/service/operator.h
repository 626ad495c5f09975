/* SPDX-License-Identifier: Apache-2.0
 *
 * What an operator asks of a running service, on the service's own socket:
 *
 *     POST /ficus/rebuild   202 begins to rebuild the store; 409 not now, or not of this service
 *     GET  /ficus/rebuild   200 of the last rebuild since the process started:
 *                           {"rebuild": "none" | "running" | "done" | "failed", "generation": of the store in use,
 *                            "events": handled, "event_time": of the last of them, "error": why it failed}
 *     ... ?projection=NAME  the same of a projection of a service that has some; without a name: of its only one. Besides
 *                           "projection": NAME, "version": that serves, "total": events of the store. 404 no such projection
 *     GET  /ficus/copy      200 the store as it is at one moment (store_copy.h)
 *     GET  /ficus/store?position=&chain=&hash=[&head=]
 *                           200 verifies the next events of its event store (estore.h), on a worker: {"position", "chain",
 *                           "hash": to go on with, "done", "head": POSITION:HASH, "findings": [{"fault", "position",
 *                           "stream", "version", "text"}]}; head: one that was written down, looked for at the end;
 *                           409 the service has no store, or a rebuildable one
 *
 * The request's identity is signed with the system's key, as every one inside is, and its issuer is "operator": a name
 * that no service may have and that the gateway never passes on.
 */
#ifndef FICUS_SERVICE_OPERATOR_H
#define FICUS_SERVICE_OPERATOR_H

#define OPERATOR_NAME "operator"
#define OPERATOR_REBUILD_PATH "/ficus/rebuild"
#define OPERATOR_COPY_PATH "/ficus/copy"
#define OPERATOR_STORE_PATH "/ficus/store"

#endif
