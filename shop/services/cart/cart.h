/* SPDX-License-Identifier: Apache-2.0
 *
 * The cart service: what a signed-in user means to buy, with the names and prices of now.
 */
#ifndef SHOP_CART_H
#define SHOP_CART_H

#include <ficus/ficus.h>

extern const struct ficus_service cart_service;

#endif
