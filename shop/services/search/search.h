/* SPDX-License-Identifier: Apache-2.0
 *
 * The search service: a read model of catalog's products and inventory's stock, kept by their events, for finding
 * products by words and skus.
 */
#ifndef SHOP_SEARCH_H
#define SHOP_SEARCH_H

#include <ficus/ficus.h>

extern const struct ficus_service search_service;

#endif
