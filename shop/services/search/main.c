/* SPDX-License-Identifier: Apache-2.0 */
#include "search.h"

int main(int argc, char **argv)
{
    return ficus_main(&search_service, argc, argv);
}
