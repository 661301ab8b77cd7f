/* test_table.c - many readers, one writer, and what the readers see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdio.h>

#include "auth/auth_priv.h"

#define NOW_S INT64_C(1800000000)

static struct key *add_key(struct table *table, struct account *account, unsigned number)
{
    struct key *key = key_new();

    snprintf(key->id, sizeof(key->id), "%08u", number % 100000000u);
    struct secret *secret = &key->secrets[SECRET_CURRENT];
    secret->number = 1;
    memset(secret->hash, (int)(number & 0xff), sizeof(secret->hash));
    key->scopes = AUTH_SEND;
    table_add_key(table, key, account);
    return key;
}

/* As auth_key_revoke() does it. */
static void revoke(struct table *table, struct key *key, const uint8_t *tombstone)
{
    struct secret next[KEY_SECRETS];

    memcpy(next, key->secrets, sizeof(next));
    memcpy(next[SECRET_CURRENT].hash, tombstone, KEY_HASH_BYTES);
    next[SECRET_CURRENT].erased = true;
    key->state = KEY_REVOKED;
    table_refresh_key(table, key, next);
}

static void lookup_finds_what_was_added(void **state)
{
    struct table *table = table_new();
    struct account *account = account_new("acme", "default", false, 0);
    struct table_hit hit;

    (void)state;
    table_add_account(table, account);
    for (unsigned i = 0; i < 3000; i++)
        add_key(table, account, i);
    for (unsigned i = 0; i < 3000; i++) {
        char id[AUTH_KEY_ID_BYTES];
        snprintf(id, sizeof(id), "%08u", i);
        table_lookup(table, slice_of(id), &hit);
        if (hit.secrets[SECRET_CURRENT].grant == NULL ||
            strcmp(auth_grant_key_id(hit.secrets[SECRET_CURRENT].grant), id) != 0 ||
            hit.secrets[SECRET_CURRENT].hash[31] != (i & 0xff) ||
            table_find_key(table, id) != table_key(table, i))
            fail_msg("%s", id);
        table_let_go(&hit);
    }
    table_lookup(table, SLICE("99999999"), &hit);
    assert_null(hit.secrets[SECRET_CURRENT].grant);
    assert_int_equal(hit.secrets[SECRET_CURRENT].hash[0], 0);
    table_let_go(&hit);
    assert_null(table_find_key(table, "99999999"));
    assert_null(table_key(table, 3000));
    assert_ptr_equal(table_find_account(table, "acme"), account);
    assert_null(table_find_account(table, "other"));
    assert_null(table_account(table, 1));
    assert_int_equal(account->key_count, 3000);
    table_free(table);
    table_free(NULL);
}

/* Another key stands in for it, of which nothing must be left. */
static void what_is_not_there_is_not_found_and_nothing_is_held(void **state)
{
    static const char *const absent[] = { "00000009", "zzzzzzzz", "0", "" };
    struct table *table = table_new();
    struct account *account = account_new("acme", "default", false, 0);
    static const uint8_t none[KEY_HASH_BYTES];
    struct table_hit hit;

    (void)state;
    table_add_account(table, account);
    for (unsigned keys = 0; keys < 5; keys++) {
        for (size_t i = 0; i < ARRAY_LEN(absent); i++) {
            table_lookup(table, slice_of(absent[i]), &hit);
            for (size_t k = 0; k < KEY_SECRETS; k++) {
                assert_null(hit.secrets[k].grant);
                assert_memory_equal(hit.secrets[k].hash, none, sizeof(none));
            }
            table_let_go(&hit);
            assert_null(hit.secrets[SECRET_CURRENT].held);
        }
        add_key(table, account, keys);
        for (size_t i = 0; i < table_key(table, keys)->place; i++)
            assert_int_equal(atomic_load(&table_key(table, i)->secrets[SECRET_CURRENT].grant->refs),
                             1);
    }
    table_lookup(table, SLICE("00000001"), &hit);
    assert_null(hit.secrets[SECRET_FORMER].grant);
    assert_int_equal(hit.secrets[SECRET_FORMER].hash[0], 0);
    struct auth_grant *grant = hit.secrets[SECRET_CURRENT].grant;
    assert_true(atomic_load(&grant->refs) > 1);
    table_let_go(&hit);
    assert_int_equal(atomic_load(&grant->refs), 1);
    table_free(table);
}

static void revoking_outdates_the_grants_that_are_out(void **state)
{
    static const uint8_t tombstone[KEY_HASH_BYTES] = { 7 };
    struct table *table = table_new();
    struct account *account = account_new("acme", "default", false, 0);
    struct table_hit before, after, other;

    (void)state;
    table_add_account(table, account);
    struct key *key = add_key(table, account, 1);
    add_key(table, account, 2);
    table_lookup(table, SLICE("00000001"), &before);
    table_lookup(table, SLICE("00000002"), &other);
    revoke(table, key, tombstone);
    table_lookup(table, SLICE("00000001"), &after);
    assert_false(auth_grant_is_current(before.secrets[SECRET_CURRENT].grant, NOW_S));
    assert_true(auth_grant_is_current(other.secrets[SECRET_CURRENT].grant, NOW_S));
    assert_int_equal(grant_verdict(after.secrets[SECRET_CURRENT].grant, NOW_S), AUTH_REVOKED);
    assert_memory_equal(after.secrets[SECRET_CURRENT].hash, tombstone, sizeof(tombstone));
    table_let_go(&before);
    table_let_go(&after);
    table_let_go(&other);
    table_free(table);
}

static void each_secret_has_a_grant_of_its_own(void **state)
{
    struct table *table = table_new();
    struct account *account = account_new("acme", "default", false, 0);
    struct secret next[KEY_SECRETS];
    struct table_hit hit;

    (void)state;
    table_add_account(table, account);
    struct key *key = add_key(table, account, 1);
    struct auth_grant *first = table_grant_of(table, key, 1);
    next[SECRET_FORMER] = key->secrets[SECRET_CURRENT];
    next[SECRET_FORMER].until_s = NOW_S;
    next[SECRET_CURRENT] = (struct secret){ .number = 2, .hash = { 9 } };
    table_refresh_key(table, key, next);
    assert_false(auth_grant_is_current(first, NOW_S - 1)); /* it does not know its end */
    struct auth_grant *former = table_grant_of(table, key, 1);
    struct auth_grant *current = table_grant_of(table, key, 2);
    assert_null(table_grant_of(table, key, 3));
    assert_true(auth_grant_is_current(former, NOW_S - 1));
    assert_int_equal(grant_verdict(former, NOW_S - 1), AUTH_OK);
    assert_false(auth_grant_is_current(former, NOW_S));
    assert_int_equal(grant_verdict(former, NOW_S), AUTH_REPLACED);
    assert_true(auth_grant_is_current(current, NOW_S));
    table_lookup(table, SLICE("00000001"), &hit);
    assert_ptr_equal(hit.secrets[SECRET_CURRENT].grant, current);
    assert_int_equal(hit.secrets[SECRET_CURRENT].hash[0], 9);
    assert_ptr_equal(hit.secrets[SECRET_FORMER].grant, former);
    assert_int_equal(hit.secrets[SECRET_FORMER].hash[0], 1);
    table_let_go(&hit);
    struct auth_grant *const all[] = { first, former, current };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        auth_grant_unref(all[i]);
    table_free(table);
}

static void domains_change_what_new_grants_permit(void **state)
{
    struct table *table = table_new();
    struct account *account = account_new("acme", "default", false, 0);

    (void)state;
    table_add_account(table, account);
    struct key *key = add_key(table, account, 1);
    struct auth_grant *first = table_grant_of(table, key, 1);
    account_add_domain(account, "good.example", true, 0);
    account_add_domain(account, "waits.example", false, 0);
    table_refresh_account(table, account);
    struct auth_grant *second = table_grant_of(table, key, 1);
    account_remove_domain(account, account_find_domain(account, "good.example"));
    table_refresh_account(table, account);
    struct auth_grant *third = table_grant_of(table, key, 1);

    assert_false(auth_grant_permits_sender(first, SLICE("a"), SLICE("good.example")));
    assert_true(auth_grant_permits_sender(second, SLICE("a"), SLICE("good.example")));
    assert_false(auth_grant_permits_sender(second, SLICE("a"), SLICE("waits.example")));
    assert_false(auth_grant_permits_sender(third, SLICE("a"), SLICE("good.example")));
    assert_false(auth_grant_is_current(second, NOW_S));
    assert_true(auth_grant_is_current(third, NOW_S));
    auth_grant_unref(first);
    auth_grant_unref(second);
    auth_grant_unref(third);
    table_free(table);
}

enum { READERS = 4, KEYS = 200 };

struct race {
    struct table *table;
    atomic_uint revoked; /* keys below this number are, as far as anybody may know */
    atomic_uint looked;
    atomic_bool failed, over;
};

/* A key that was revoked before the look is seen revoked, and a grant that is current while its
 * key was revoked before is a hole. */
static void *look(void *owner)
{
    struct race *race = owner;

    for (unsigned round = 0; !atomic_load(&race->over); round = (round + 37) % KEYS) {
        char id[AUTH_KEY_ID_BYTES];
        struct table_hit hit;
        unsigned revoked = atomic_load(&race->revoked);
        snprintf(id, sizeof(id), "%08u", round);
        table_lookup(race->table, slice_of(id), &hit);
        atomic_fetch_add(&race->looked, 1);
        if (hit.secrets[SECRET_CURRENT].grant == NULL) {
            table_let_go(&hit);
            continue; /* not made yet */
        }
        bool seen = hit.secrets[SECRET_CURRENT].grant->state == KEY_REVOKED;
        if ((round < revoked && !seen) || (seen && hit.secrets[SECRET_CURRENT].hash[0] != 0xee))
            atomic_store(&race->failed, true);
        revoked = atomic_load(&race->revoked);
        if (round < revoked && !seen &&
            auth_grant_is_current(hit.secrets[SECRET_CURRENT].grant, NOW_S))
            atomic_store(&race->failed, true);
        table_let_go(&hit);
    }
    return NULL;
}

static void revocation_is_seen_by_all_threads_at_once(void **state)
{
    static uint8_t tombstone[KEY_HASH_BYTES];
    struct race race = { .table = table_new() };
    struct account *account = account_new("acme", "default", false, 0);
    pthread_t readers[READERS];

    (void)state;
    memset(tombstone, 0xee, sizeof(tombstone));
    table_add_account(race.table, account);
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, look, &race), 0);
    for (unsigned i = 0; i < KEYS; i++)
        add_key(race.table, account, i);
    for (unsigned i = 0; i < KEYS; i++) {
        revoke(race.table, table_key(race.table, i), tombstone);
        atomic_store(&race.revoked, i + 1);
        if (i % 16 == 0)
            table_refresh_account(race.table, account);
    }
    unsigned looked = atomic_load(&race.looked); /* some more looks, when all is over */
    while (atomic_load(&race.looked) < looked + KEYS)
        sched_yield();
    atomic_store(&race.over, true);
    for (size_t i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    assert_false(atomic_load(&race.failed));
    table_free(race.table);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookup_finds_what_was_added),
        cmocka_unit_test(what_is_not_there_is_not_found_and_nothing_is_held),
        cmocka_unit_test(revoking_outdates_the_grants_that_are_out),
        cmocka_unit_test(each_secret_has_a_grant_of_its_own),
        cmocka_unit_test(domains_change_what_new_grants_permit),
        cmocka_unit_test(revocation_is_seen_by_all_threads_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
