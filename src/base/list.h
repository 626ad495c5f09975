/* SPDX-License-Identifier: Apache-2.0
 *
 * Intrusive doubly linked list. A node that is in no list is zero or self-linked by list_init.
 */
#ifndef FICUS_BASE_LIST_H
#define FICUS_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l || l->next == NULL;
}

static inline void list_add_tail(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void list_add_head(struct list *head, struct list *node)
{
    node->next = head->next;
    node->prev = head;
    head->next->prev = node;
    head->next = node;
}

/* Safe on a node that is in no list. */
static inline void list_remove(struct list *node)
{
    if (node->next != NULL) {
        node->next->prev = node->prev;
        node->prev->next = node->next;
    }
    node->next = node->prev = node;
}

static inline struct list *list_pop_head(struct list *head)
{
    if (list_empty(head))
        return NULL;
    struct list *node = head->next;
    list_remove(node);
    return node;
}

#define LIST_FOREACH(head, it) for (struct list *it = (head)->next; it != (head); it = it->next)
/* The current node may be removed. */
#define LIST_FOREACH_SAFE(head, it, tmp)                                                           \
    for (struct list *it = (head)->next, *tmp = it->next; it != (head); it = tmp, tmp = it->next)

#endif
