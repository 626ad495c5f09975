/* SPDX-License-Identifier: Apache-2.0
 *
 * The bank: turns cards into tokens, captures and refunds, each at most once per order, and keeps a ledger.
 */
#ifndef SHOP_BANK_H
#define SHOP_BANK_H

#include <ficus/ficus.h>

extern const struct ficus_service bank_service;

#endif
