/* SPDX-License-Identifier: Apache-2.0 */
#include "cart.h"

int main(int argc, char **argv)
{
    return ficus_main(&cart_service, argc, argv);
}
