/* SPDX-License-Identifier: Apache-2.0
 *
 * Giving memory back after a flood.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "io_heap.h"
#include "mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 8192, BLOCK_SIZE = 4000 };

static size_t resident(void)
{
    size_t pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*u %zu", &pages), 1);
    (void)fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Free memory below a block that lives goes back, again after each flood, and the block keeps its content. */
static void test_floods(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* another heap */
#endif
    static char *blocks[BLOCKS];
    struct heap_os heap = {0};
    heap_os_trim(&heap);
    for (int flood = 0; flood < 3; flood++) {
        size_t before = resident();
        for (size_t i = 0; i < BLOCKS; i++) {
            blocks[i] = mem_alloc(BLOCK_SIZE);
            assert_non_null(blocks[i]);
            memset(blocks[i], (int)i, BLOCK_SIZE);
        }
        char *pin = mem_strdup("stays");
        if (flood == 1)
            heap_os_trim(&heap); /* in the middle of it: nothing is free yet */
        for (size_t i = 0; i < BLOCKS; i++)
            mem_free(blocks[i]);
        assert_true(resident() > before + BLOCKS * BLOCK_SIZE / 2);
        heap_os_trim(&heap);
        assert_true(resident() < before + BLOCKS * BLOCK_SIZE / 8);
        assert_string_equal(pin, "stays");
        mem_free(pin);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_floods)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
