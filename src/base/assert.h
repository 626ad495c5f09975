/* SPDX-License-Identifier: Apache-2.0
 *
 * Assertions for programmer errors; operating errors are returned instead. FICUS_ASSERT stays on in every
 * build; FICUS_ASSERT_HOT only with -Dhot_asserts=true (debug and CI). No side effects inside.
 */
#ifndef FICUS_BASE_ASSERT_H
#define FICUS_BASE_ASSERT_H

/* Prints "file:line: function: assertion failed: text" to stderr (write(2) only) and aborts. cold: what leads here lies apart, so that
 * it takes no room in the cache of instructions. */
__attribute__((cold)) _Noreturn void assert_failed(const char *file, int line, const char *function, const char *text);

#define FICUS_ASSERT(x) ((x) ? (void)0 : assert_failed(__FILE__, __LINE__, __func__, #x))
#ifdef FICUS_HOT_ASSERTS
#define FICUS_ASSERT_HOT(x) FICUS_ASSERT(x)
#else
#define FICUS_ASSERT_HOT(x) ((void)sizeof(x))
#endif
#define FICUS_UNREACHABLE() assert_failed(__FILE__, __LINE__, __func__, "unreachable")

#endif
