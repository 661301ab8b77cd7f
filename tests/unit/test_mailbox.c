/* test_mailbox.c - letters arrive once, in order; and the list that lives in a member. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "relay/base/list.h"
#include "relay/base/macros.h"
#include "relay/base/mailbox.h"

struct note {
    struct letter letter;
    size_t sender, number;
    size_t *next_expected; /* of this sender; touched by the receiver only */
};

static void on_note(struct letter *letter)
{
    struct note *note = container_of(letter, struct note, letter);

    if (note->number != note->next_expected[note->sender]++)
        fail_msg("sender %zu: letter %zu came out of order", note->sender, note->number);
    free(note);
}

static struct note *note_new(size_t sender, size_t number, size_t *next_expected)
{
    struct note *note = calloc(1, sizeof(*note));

    *note = (struct note){ { NULL, on_note }, sender, number, next_expected };
    return note;
}

static void count_wake(void *owner)
{
    ++*(int *)owner;
}

static void the_wake_up_comes_once_per_filling(void **state)
{
    struct mailbox box;
    int wakes = 0;
    size_t expected[1] = { 0 };

    (void)state;
    mailbox_init(&box, count_wake, &wakes);
    assert_null(mailbox_take(&box));
    assert_int_equal(mailbox_drain(&box), 0);
    for (size_t i = 0; i < 3; i++)
        mailbox_post(&box, &note_new(0, i, expected)->letter);
    assert_int_equal(wakes, 1);
    assert_int_equal(mailbox_drain(&box), 3);
    mailbox_post(&box, &note_new(0, 3, expected)->letter);
    assert_int_equal(wakes, 2);
    struct letter *taken = mailbox_take(&box);
    assert_non_null(taken);
    assert_null(taken->next);
    on_note(taken);
    assert_int_equal(expected[0], 4);
    mailbox_destroy(&box);
}

struct chain {
    struct letter letter;
    struct mailbox *box;
    int left;
};

static void on_chain(struct letter *letter)
{
    struct chain *chain = container_of(letter, struct chain, letter);

    if (chain->left-- > 0)
        mailbox_post(chain->box, letter);
}

static void a_letter_posted_while_draining_waits_for_the_next_drain(void **state)
{
    struct mailbox box;
    int wakes = 0;
    struct chain chain = { { NULL, on_chain }, &box, 2 };

    (void)state;
    mailbox_init(&box, count_wake, &wakes);
    mailbox_post(&box, &chain.letter);
    assert_int_equal(mailbox_drain(&box), 1);
    assert_int_equal(mailbox_drain(&box), 1);
    assert_int_equal(wakes, 3);
    assert_int_equal(mailbox_drain(&box), 1);
    assert_int_equal(mailbox_drain(&box), 0);
    mailbox_destroy(&box);
}

enum { SENDERS = 4, LETTERS = 5000 };

struct receiver {
    struct mailbox box;
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool awake;
    size_t expected[SENDERS];
};

struct sender {
    pthread_t thread;
    struct receiver *receiver;
    size_t number;
};

static void wake_receiver(void *owner)
{
    struct receiver *receiver = owner;

    pthread_mutex_lock(&receiver->lock);
    receiver->awake = true;
    pthread_cond_signal(&receiver->woken);
    pthread_mutex_unlock(&receiver->lock);
}

static void *send_letters(void *owner)
{
    struct sender *sender = owner;

    for (size_t i = 0; i < LETTERS; i++)
        mailbox_post(&sender->receiver->box,
                     &note_new(sender->number, i, sender->receiver->expected)->letter);
    return NULL;
}

static void many_senders_lose_nothing_and_keep_their_order(void **state)
{
    struct receiver receiver = { .lock = PTHREAD_MUTEX_INITIALIZER,
                                 .woken = PTHREAD_COND_INITIALIZER };
    struct sender senders[SENDERS];
    size_t received = 0;

    (void)state;
    mailbox_init(&receiver.box, wake_receiver, &receiver);
    for (size_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){ .receiver = &receiver, .number = i };
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_letters, &senders[i]), 0);
    }
    while (received < SENDERS * LETTERS) { /* a lost wake-up would hang here */
        pthread_mutex_lock(&receiver.lock);
        while (!receiver.awake)
            pthread_cond_wait(&receiver.woken, &receiver.lock);
        receiver.awake = false;
        pthread_mutex_unlock(&receiver.lock);
        received += mailbox_drain(&receiver.box);
    }
    for (size_t i = 0; i < SENDERS; i++) {
        pthread_join(senders[i].thread, NULL);
        assert_int_equal(receiver.expected[i], LETTERS);
    }
    mailbox_destroy(&receiver.box);
}

struct item {
    int number;
    struct list node;
};

static void assert_list(struct list *head, const int *want, size_t count)
{
    size_t i = 0;

    list_for_each(node, following, head) {
        assert_true(i < count);
        assert_int_equal(list_entry(node, struct item, node)->number, want[i]);
        assert_ptr_equal(node->next->prev, node);
        i++;
    }
    assert_int_equal(i, count);
}

static void a_list_keeps_its_order_through_all_operations(void **state)
{
    struct list one, two;
    struct item items[5];

    (void)state;
    list_init(&one);
    list_init(&two);
    assert_null(list_take_head(&one));
    for (int i = 0; i < 5; i++) {
        items[i].number = i;
        list_init(&items[i].node);
    }
    list_add_tail(&one, &items[1].node);
    list_add_tail(&one, &items[2].node);
    list_add_head(&one, &items[0].node);
    assert_list(&one, (int[]){ 0, 1, 2 }, 3);
    list_splice_tail(&one, &two); /* nothing to move */
    list_add_tail(&two, &items[3].node);
    list_add_tail(&two, &items[4].node);
    list_splice_tail(&one, &two);
    assert_true(list_is_empty(&two));
    assert_list(&one, (int[]){ 0, 1, 2, 3, 4 }, 5);
    list_splice_tail(&two, &one); /* into an empty list */
    assert_true(list_is_empty(&one));
    list_remove(&items[2].node);
    list_remove(&items[2].node);
    assert_list(&two, (int[]){ 0, 1, 3, 4 }, 4);
    assert_ptr_equal(list_take_head(&two), &items[0].node);
    list_for_each(node, following, &two) {
        if (list_entry(node, struct item, node)->number == 3)
            list_remove(node);
    }
    assert_list(&two, (int[]){ 1, 4 }, 2);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wake_up_comes_once_per_filling),
        cmocka_unit_test(a_letter_posted_while_draining_waits_for_the_next_drain),
        cmocka_unit_test(many_senders_lose_nothing_and_keep_their_order),
        cmocka_unit_test(a_list_keeps_its_order_through_all_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
