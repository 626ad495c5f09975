/* SPDX-License-Identifier: Apache-2.0
 *
 * The orders service: takes orders (place.c), moves them through their life as participant of the sagas (life.c), and shows them (show.c).
 */
#ifndef SHOP_ORDERS_H
#define SHOP_ORDERS_H

#include <ficus/ficus.h>

extern const struct ficus_service orders_service;

/* place.c */
int order_place(struct ficus_req *req);

/* show.c */
int order_get(struct ficus_req *req);
int orders_list(struct ficus_req *req);
int order_events(struct ficus_req *req);
/* Write the order as its GET answers it, with this status of the answer. 0, or -1 (also when there is none: 404 is set). */
int order_reply(struct ficus_req *req, int status, const char *id);

/* life.c */
int order_cancel(struct ficus_req *req);
int order_confirm(struct ficus_req *req);
int order_reject(struct ficus_req *req);
int order_close(struct ficus_req *req);
/* Append to the history and tell the streams. In a transaction. */
int history_add(struct ficus_req *req, const char *id, const char *status, const char *reason);

struct order {
    const char *user, *status, *reason, *cancel_by;     /* reason and cancel_by may be NULL */
    int64_t seq, total;
};
/* 1: found, 0: there is none, -1. */
int order_read(struct ficus_req *req, const char *id, struct order *ret_order);
/* As the client may see it: 404 is set and -1 returned for none and for somebody else's. */
int order_read_visible(struct ficus_req *req, const char *id, struct order *ret_order);

#endif
