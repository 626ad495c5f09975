/* SPDX-License-Identifier: Apache-2.0
 *
 * A small service for the tests of the chassis: it uses only what is installed.
 */
#ifndef FICUS_TESTS_DEMO_H
#define FICUS_TESTS_DEMO_H

#include <ficus/test.h>

#include <stdatomic.h>

extern const struct ficus_service demo;

/* Handlers of /v1/gate wait here until it opens. */
void gate_close(void);
void gate_open(void);
void gate_wait_for(int waiting); /* until so many handlers stand before it */

extern atomic_int demo_after_gate; /* what ficus_tx said behind the gate; 99: not there yet */

#endif
