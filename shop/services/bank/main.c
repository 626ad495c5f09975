/* SPDX-License-Identifier: Apache-2.0 */
#include "bank.h"

int main(int argc, char **argv)
{
    return ficus_main(&bank_service, argc, argv);
}
