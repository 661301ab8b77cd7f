/* list.h - an intrusive doubly linked list.
 * The node lives inside the member; a node is in at most one list. A head and an unlinked node
 * point at themselves, so list_remove() may be called twice. Not thread-safe. */
#ifndef LATCHPOST_LIST_H
#define LATCHPOST_LIST_H

#include <stdbool.h>

#include "relay/base/macros.h"

struct list {
    struct list *next;
    struct list *prev;
};

static inline void list_init(struct list *node)
{
    node->next = node;
    node->prev = node;
}

static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

static inline void list_insert_between(struct list *node, struct list *prev, struct list *next)
{
    node->prev = prev;
    node->next = next;
    prev->next = node;
    next->prev = node;
}

static inline void list_add_tail(struct list *head, struct list *node)
{
    list_insert_between(node, head->prev, head);
}

static inline void list_add_head(struct list *head, struct list *node)
{
    list_insert_between(node, head, head->next);
}

static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Unlinks and returns the first node, or NULL. */
static inline struct list *list_take_head(struct list *head)
{
    struct list *node = head->next;

    if (node == head)
        return NULL;
    list_remove(node);
    return node;
}

/* Moves all nodes of *from to the end of *to. */
static inline void list_splice_tail(struct list *to, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define list_entry(node, type, member) container_of(node, type, member)

/* Walks; `node` may be removed inside the loop. */
#define list_for_each(node, following, head)                                                       \
    for (struct list *node = (head)->next, *following = node->next; node != (head);                \
         node = following, following = node->next)

#endif
