/* SPDX-License-Identifier: Apache-2.0
 *
 * The simulator keeps the contract of struct env, as the product does.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "env_contract.h"
#include "sim.h"

struct world {
    struct env_contract contract;
    struct sim *sim;
    struct sim_disk *disk;
    struct sim_process *process;
    bool stopped;
};

static struct world the_world;     /* of this test program */

static void run(struct env *e)
{
    (void)e;
    the_world.stopped = false;
    while (!the_world.stopped)
        assert_true(sim_step(the_world.sim));
}

static void stop(struct env *e)
{
    (void)e;
    the_world.stopped = true;
}

static int setup(void **state)
{
    the_world = (struct world){.sim = sim_new(7), .disk = sim_disk_new()};
    the_world.process = sim_start(the_world.sim, "test", the_world.disk, 4, NULL, NULL);
    sim_set_network(the_world.sim, &(struct sim_network){.refuse_rate = 10000});
    the_world.contract = (struct env_contract){.e = sim_env(the_world.process), .run = run, .stop = stop, .dir = "/sim"};
    *state = &the_world.contract;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sim_kill(the_world.process);
    sim_free(the_world.sim);
    sim_disk_free(the_world.disk);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {ENV_CONTRACT_TESTS};
    return cmocka_run_group_tests(tests, setup, teardown);
}
