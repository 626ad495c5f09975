/* SPDX-License-Identifier: Apache-2.0
 *
 * The demo service as a program.
 */
#include "demo.h"

int main(int argc, char **argv)
{
    return ficus_main(&demo, argc, argv);
}
