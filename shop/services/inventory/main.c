/* SPDX-License-Identifier: Apache-2.0 */
#include "inventory.h"

int main(int argc, char **argv)
{
    return ficus_main(&inventory_service, argc, argv);
}
