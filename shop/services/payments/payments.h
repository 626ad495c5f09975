/* SPDX-License-Identifier: Apache-2.0
 *
 * The payments service: one payment per order, made and given back at the bank, as a saga participant.
 */
#ifndef SHOP_PAYMENTS_H
#define SHOP_PAYMENTS_H

#include <ficus/ficus.h>

extern const struct ficus_service payments_service;

#endif
