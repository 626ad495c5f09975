/* SPDX-License-Identifier: Apache-2.0 */
#include "notifications.h"

int main(int argc, char **argv)
{
    return ficus_main(&notifications_service, argc, argv);
}
