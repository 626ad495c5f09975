/* SPDX-License-Identifier: Apache-2.0
 *
 * The catalog service: products with name and list price; knows from inventory's events how many can be bought.
 */
#ifndef SHOP_CATALOG_H
#define SHOP_CATALOG_H

#include <ficus/ficus.h>

extern const struct ficus_service catalog_service;

#endif
