/* SPDX-License-Identifier: Apache-2.0
 *
 * What a failed assertion does: one line to stderr with write(2), since the heap and stdio may be what is broken.
 */
#include "assert.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put(const char *s)
{
    /* Nothing is left to do when stderr is gone too. */
    if (write(STDERR_FILENO, s, strlen(s)) < 0)
        return;
}

_Noreturn void assert_failed(const char *file, int line, const char *function, const char *text)
{
    char digits[12];
    char *at = digits + sizeof digits - 1;
    *at = '\0';
    do
        *--at = (char)('0' + line % 10);
    while ((line /= 10) > 0 && at > digits);
    put(file);
    put(":");
    put(at);
    put(": ");
    put(function);
    put(": assertion failed: ");
    put(text);
    put("\n");
    abort();
}
