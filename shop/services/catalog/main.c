/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog.h"

int main(int argc, char **argv)
{
    return ficus_main(&catalog_service, argc, argv);
}
