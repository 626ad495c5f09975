/* SPDX-License-Identifier: Apache-2.0 */
#include "identity.h"

int main(int argc, char **argv)
{
    return ficus_main(&identity_service, argc, argv);
}
