/* SPDX-License-Identifier: Apache-2.0
 *
 * What a service says to the sagas that belong to it: begin one, give a signal, look how one is. docs/sagas.md has an
 * example. Only the service that the manifest names as a saga's owner may; a participant needs nothing of this
 * (ficus_step_do and its like in ficus.h).
 *
 * Start and signal leave with the commit of the request's transaction, in its order, with the events that it emits: they
 * happen exactly when the transaction does, once, whoever is killed meanwhile, and also when the hub is away for the
 * moment. So nobody can be told what the hub thinks of them: what cannot be done there any more (the instance has ended, its
 * signal was given with other data) changes nothing and is a warning in the hub's log, `saga.told`. Who must know first
 * looks with ficus_saga_state.
 */
#ifndef FICUS_SAGA_H
#define FICUS_SAGA_H

#include <ficus/ficus.h>

#ifdef __cplusplus
extern "C" {
#endif

/* In a transaction: begin an instance when it commits. saga: one of this service's. id: 1 to 128 printable ASCII characters
 * without "/", neither "." nor ".."; there is one instance for each, so a second start of the same id changes nothing.
 * input: JSON text of an object of at most 512 KiB, what the start event's data would be; NULL: none. 0 or -1. */
FICUS_API int ficus_saga_start(struct ficus_req *req, const char *saga, const char *id, const char *input);

/* In a transaction: give the signal, or refuse it, when it commits. The same again changes nothing. One that comes before the
 * instance's step waits there; one that comes before the instance has begun is lost: begin it, or emit its start event,
 * in the same or an earlier transaction. data: JSON text of at most 16 KiB, for {signals.SIGNAL.NAME} of later steps; NULL: none.
 * 0 or -1. */
FICUS_API int ficus_saga_signal(struct ficus_req *req, const char *saga, const char *id, const char *signal, bool refuse,
                                const char *data);

/* Texts of the hub's API, in the memory of the request; "" where there is nothing to say. */
struct ficus_saga_state {
    const char *state;   /* running, waiting, undoing, stuck, completed, compensated, terminated */
    const char *step;    /* the present one */
    const char *signal;  /* that it waits for */
    const char *failure; /* why it is undone */
};
/* Before ficus_tx: how an instance of one of this service's sagas is; asks the hub, so it may be another when this returns.
 * Blocks as a call does, for at most timeout_ms (0: 2 s) and what is left of the request's deadline. 1: *ret_state; 0: there is
 * no such instance (not yet, or no more: ended ones go after the retention); -1: also when the hub does not answer, which the
 * client is told as 503. */
FICUS_API int ficus_saga_state(struct ficus_req *req, const char *saga, const char *id, int timeout_ms,
                              struct ficus_saga_state *ret_state);

#ifdef __cplusplus
}
#endif

#endif
