/* SPDX-License-Identifier: Apache-2.0
 *
 * The inventory service: stock per sku, and reservations of orders as a saga participant.
 */
#ifndef SHOP_INVENTORY_H
#define SHOP_INVENTORY_H

#include <ficus/ficus.h>

extern const struct ficus_service inventory_service;

#endif
