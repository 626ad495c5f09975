/* SPDX-License-Identifier: Apache-2.0 */
#include "orders.h"

int main(int argc, char **argv)
{
    return ficus_main(&orders_service, argc, argv);
}
