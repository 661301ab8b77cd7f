/* test_grant.c - what a grant permits, and when it ceases to be current. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "auth/auth_priv.h"

#define NOW_S INT64_C(1800000000)

struct fixture {
    struct table *table;
    struct account *account;
    struct key *key;
};

static void add_all(struct texts *texts, const char *const *items)
{
    for (size_t i = 0; i < 4 && items[i] != NULL; i++)
        texts_add(texts, items[i]);
}

/* An account with these verified domains, and one key of it. */
static struct fixture make(const char *const *verified, const char *const *rules,
                           enum rule_kind kind)
{
    struct fixture fixture = { table_new(), account_new("acme", "default", false, 0), key_new() };
    const char *bad;

    for (size_t i = 0; i < 4 && verified[i] != NULL; i++)
        account_add_domain(fixture.account, verified[i], true, 0);
    table_add_account(fixture.table, fixture.account);
    table_refresh_account(fixture.table, fixture.account);
    memcpy(fixture.key->id, "AAAAAAAA", 9);
    fixture.key->secrets[SECRET_CURRENT].number = 1;
    fixture.key->scopes = AUTH_SEND | AUTH_KEYS;
    add_all(&fixture.key->rules[kind], rules);
    assert_true(key_parse_networks(fixture.key, &bad));
    table_add_key(fixture.table, fixture.key, fixture.account);
    return fixture;
}

static void sender_needs_the_key_and_the_account(void **state)
{
    static const struct {
        const char *verified[4], *domains[4], *domain;
        bool want;
    } cases[] = {
        { { "good.example" }, { NULL }, "good.example", true },
        { { "good.example" }, { NULL }, "sub.good.example", false },
        { { "good.example" }, { NULL }, "evilgood.example", false },
        { { "good.example" }, { NULL }, "good.example.victim.example", false },
        { { "*.good.example" }, { NULL }, "sub.good.example", true },
        { { "*.good.example" }, { NULL }, "good.example", false },
        { { "good.example", "b.example" }, { "b.example" }, "b.example", true },
        { { "good.example", "b.example" }, { "b.example" }, "good.example", false },
        { { "good.example" }, { "b.example" }, "b.example", false }, /* was removed */
        { { "*.example" }, { "*.b.example" }, "a.b.example", true },
        { { "*.example" }, { "*.b.example" }, "c.example", false },
        { { "a.b.example" }, { "*.b.example" }, "a.b.example", true }, /* was narrowed */
        { { "a.b.example" }, { "*.b.example" }, "c.b.example", false },
        { { NULL }, { NULL }, "good.example", false },
        { { NULL }, { "good.example" }, "good.example", false },
        { { "good.example" }, { NULL }, "", false },
        { { "good.example" }, { NULL }, "[192.0.2.1]", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture fixture = make(cases[i].verified, cases[i].domains, RULE_DOMAIN);
        if (auth_grant_permits_sender(fixture.key->secrets[SECRET_CURRENT].grant, SLICE("ann"),
                                      slice_of(cases[i].domain)) != cases[i].want)
            fail_msg("row %zu: %s", i, cases[i].domain);
        table_free(fixture.table);
    }
}

static void sender_list_holds_exact_addresses(void **state)
{
    static const char *const verified[4] = { "good.example" };
    static const char *const senders[4] = { "ann@good.example", "\"x@y\"@good.example",
                                            "bob@other.example" };
    static const struct {
        const char *local, *domain;
        bool want;
    } cases[] = {
        { "ann", "good.example", true },     { "Ann", "good.example", false },
        { "ann", "GOOD.example", false }, /* not its one spelling: no domain of the account */
        { "anna", "good.example", false },   { "an", "good.example", false },
        { "\"x@y\"", "good.example", true }, { "bob", "other.example", false },
        { "", "good.example", false },       { "ann@good.example", "", false },
    };
    struct fixture fixture = make(verified, senders, RULE_SENDER);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (auth_grant_permits_sender(fixture.key->secrets[SECRET_CURRENT].grant,
                                      slice_of(cases[i].local),
                                      slice_of(cases[i].domain)) != cases[i].want)
            fail_msg("row %zu: %s@%s", i, cases[i].local, cases[i].domain);
    table_free(fixture.table);
}

static void recipient_list_holds_addresses_and_domains(void **state)
{
    static const char *const verified[4] = { NULL };
    static const char *const recipients[4] = { "ann@dest.example", "team.example",
                                               "*.team.example" };
    static const struct {
        const char *local, *domain;
        bool want;
    } cases[] = {
        { "ann", "dest.example", true },
        { "ann", "DEST.example", true },
        { "bob", "dest.example", false },
        { "bob", "team.example", true },
        { "bob", "a.team.example", true },
        { "bob", "ateam.example", false },
        { "bob", "", false },
    };
    struct fixture fixture = make(verified, recipients, RULE_RECIPIENT);
    struct fixture free_of_rules = make(verified, verified, RULE_RECIPIENT);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice local = slice_of(cases[i].local), domain = slice_of(cases[i].domain);
        if (auth_grant_permits_recipient(fixture.key->secrets[SECRET_CURRENT].grant, local,
                                         domain) != cases[i].want)
            fail_msg("row %zu: %s@%s", i, cases[i].local, cases[i].domain);
        assert_true(auth_grant_permits_recipient(free_of_rules.key->secrets[SECRET_CURRENT].grant,
                                                 local, domain));
    }
    table_free(fixture.table);
    table_free(free_of_rules.table);
}

static void network_list_needs_an_address(void **state)
{
    static const char *const none[4] = { NULL };
    static const char *const networks[4] = { "10.0.0.0/31", "2001:db8::/32" };
    static const struct {
        const char *address; /* NULL: a Unix socket */
        bool want;
    } cases[] = {
        { "10.0.0.0", true },    { "10.0.0.1", true },     { "10.0.0.2", false },
        { "2001:db8::9", true }, { "2001:db9::9", false }, { "::ffff:10.0.0.1", true },
        { NULL, false },
    };
    struct fixture fixture = make(none, networks, RULE_NETWORK);
    struct fixture free_of_rules = make(none, none, RULE_NETWORK);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct auth_peer peer = { .has_address = cases[i].address != NULL, .protocol = "smtp" };
        if (peer.has_address)
            assert_true(network_parse_address(cases[i].address, peer.address));
        if (grant_permits_address(fixture.key->secrets[SECRET_CURRENT].grant, &peer) !=
            cases[i].want)
            fail_msg("row %zu", i);
        assert_true(grant_permits_address(free_of_rules.key->secrets[SECRET_CURRENT].grant, &peer));
    }
    table_free(fixture.table);
    table_free(free_of_rules.table);
}

static void verdict_tells_the_first_reason(void **state)
{
    static const struct {
        enum key_state state;
        bool suspended;
        int64_t expires_s;
        enum auth_verdict want;
    } cases[] = {
        { KEY_ACTIVE, false, 0, AUTH_OK },          { KEY_ACTIVE, false, NOW_S + 1, AUTH_OK },
        { KEY_ACTIVE, false, NOW_S, AUTH_EXPIRED }, { KEY_ACTIVE, true, 0, AUTH_SUSPENDED },
        { KEY_HELD, false, 0, AUTH_HELD },          { KEY_HELD, true, 0, AUTH_HELD },
        { KEY_HELD, true, NOW_S, AUTH_EXPIRED },    { KEY_REVOKED, true, NOW_S, AUTH_REVOKED },
    };
    static const char *const none[4] = { NULL };
    struct fixture fixture = make(none, none, RULE_DOMAIN);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        fixture.key->state = cases[i].state;
        fixture.key->expires_s = cases[i].expires_s;
        fixture.account->suspended = cases[i].suspended;
        table_refresh_account(fixture.table, fixture.account);
        enum auth_verdict got = grant_verdict(fixture.key->secrets[SECRET_CURRENT].grant, NOW_S);
        if (got != cases[i].want)
            fail_msg("row %zu: %d", i, (int)got);
    }
    table_free(fixture.table);
}

static void grant_is_current_until_a_change_or_its_end(void **state)
{
    static const char *const none[4] = { NULL };
    struct fixture fixture = make(none, none, RULE_DOMAIN);

    (void)state;
    fixture.key->expires_s = NOW_S;
    struct auth_grant *grant = auth_grant_ref(fixture.key->secrets[SECRET_CURRENT].grant);
    assert_true(auth_grant_is_current(grant, NOW_S - 1));
    assert_false(auth_grant_is_current(grant, NOW_S));
    table_refresh_account(fixture.table, fixture.account);
    assert_false(auth_grant_is_current(grant, NOW_S - 1));
    assert_true(auth_grant_is_current(fixture.key->secrets[SECRET_CURRENT].grant, NOW_S - 1));
    assert_string_equal(auth_grant_key_id(grant), "AAAAAAAA");
    assert_string_equal(auth_grant_account(grant), "acme");
    assert_false(auth_grant_is_test(grant));
    assert_true(auth_grant_has(grant, AUTH_SEND));
    assert_true(auth_grant_has(grant, AUTH_SEND | AUTH_KEYS));
    assert_true(auth_grant_has(grant, 0));
    assert_false(auth_grant_has(grant, AUTH_SEND | AUTH_DOMAINS));
    auth_grant_unref(grant);
    auth_grant_unref(NULL);
    table_free(fixture.table);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(sender_needs_the_key_and_the_account),
        cmocka_unit_test(sender_list_holds_exact_addresses),
        cmocka_unit_test(recipient_list_holds_addresses_and_domains),
        cmocka_unit_test(network_list_needs_an_address),
        cmocka_unit_test(verdict_tells_the_first_reason),
        cmocka_unit_test(grant_is_current_until_a_change_or_its_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
