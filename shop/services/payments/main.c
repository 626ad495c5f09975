/* SPDX-License-Identifier: Apache-2.0 */
#include "payments.h"

int main(int argc, char **argv)
{
    return ficus_main(&payments_service, argc, argv);
}
