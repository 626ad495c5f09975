/* SPDX-License-Identifier: Apache-2.0
 *
 * The orders service: takes orders (place.c), moves them through their life as participant of the sagas (life.c), and shows them (show.c).
 *
 * An order is a stream of the event store, order-ID. Its events and their data:
 *
 *     placed        {user, total, items: [{product_id, sku, name, quantity, price}]}      the first ITEMS_OF_EVENT_MAX items
 *     items_added   {items}                                                               further ones, with the order
 *     confirmed     {}
 *     cancelled     {reason}                                                              or null
 *     cancel_asked  {by}                                                                  a promise that it ends cancelled
 *
 * The table orders is what they add up to, a projection (list.c): what is found by user and status.
 */
#ifndef SHOP_ORDERS_H
#define SHOP_ORDERS_H

#include <ficus/store.h>

extern const struct ficus_service orders_service;

/* place.c */
int order_place(struct ficus_req *req);

/* list.c */
extern const struct ficus_projection order_projections[];

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

enum { ITEMS_OF_EVENT_MAX = 250, CHANGES_MAX = 3 };

struct order {
    const char *user, *status, *reason, *cancel_by;     /* reason and cancel_by may be NULL */
    int64_t seq, total;
    int64_t version;                                    /* of its stream */
};
/* 1: found, 0: there is none, -1. */
int order_read(struct ficus_req *req, const char *id, struct order *ret_order);
/* As the client may see it: 404 is set and -1 returned for none and for somebody else's. */
int order_read_visible(struct ficus_req *req, const char *id, struct order *ret_order);
/* Append to the order's stream, in the transaction in which its version was read (0: a new order). 0 or -1. ret_version may be NULL. */
int order_append(struct ficus_req *req, const char *id, int64_t version, const char *type, const char *data, int64_t *ret_version);

/* A change of the status: as the history shows it, and as those who watch the order are told. */
struct change {
    const char *status, *reason;
    int64_t at_ms;
};
/* The events of an order. */
struct ficus_rows *order_events_read(struct ficus_req *req, const char *id, int64_t from);
/* data: of the event, parsed. False: it is no change of the status. */
bool change_of(struct ficus_req *req, const struct ficus_stored *ev, const struct ficus_json *data, struct change *ret_change);
void change_write(struct ficus_req *req, struct ficus_out *o, const struct change *c);
/* Tell those who watch of the event with this version: change idx of the order. In the transaction that appended it. */
int change_tell(struct ficus_req *req, const char *id, int64_t version, int64_t idx);

#endif
