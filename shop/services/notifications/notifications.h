/* SPDX-License-Identifier: Apache-2.0
 *
 * The notifications service: one message per final status of an order.
 */
#ifndef SHOP_NOTIFICATIONS_H
#define SHOP_NOTIFICATIONS_H

#include <ficus/ficus.h>

extern const struct ficus_service notifications_service;

#endif
