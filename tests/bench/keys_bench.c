/* keys_bench.c - what does it cost to have a hundred thousand keys?
 *
 *     keys_bench FOLDER [KEYS]      100000
 *
 * Fills a keys.db in FOLDER, 100 keys an account, as many years of use would; then measures how
 * long opening it takes, a check of a key and what of that is hashing, and the making of a key, in
 * an account like the others and in one that has half as many keys as there are in all. The last
 * lines of FOLDER/secrets are keys that whoever goes on measuring may use. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <sqlite3.h>

#include "auth/auth_priv.h"
#include "relay/base/alloc.h"
#include "relay/base/clock.h"

#define KEYS_AN_ACCOUNT 100
#define CHECKS          400000
#define MADE            1000
#define NOW_S           INT64_C(1800000000)

struct bench {
    char keys[512], pepper[512], secrets[512];
    struct auth_options options;
    size_t count;
    char (*texts)[AUTH_KEY_TEXT_BYTES]; /* one a key */
};

static const struct auth_plan plans[] = { { .name = "default" } }; /* no limits */

static void fail(const char *what)
{
    fprintf(stderr, "keys_bench: %s\n", what);
    exit(1);
}

static double clock_us(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static double now_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

/* For what does nothing but compute: other work on the machine does not count. */
static double cpu_us(void)
{
    return clock_us(CLOCK_THREAD_CPUTIME_ID);
}

static struct auth *open_auth(const struct bench *bench)
{
    struct auth *auth = NULL;
    struct why why = { "" };

    if (!auth_open(&auth, &bench->options, &why))
        fail(why.text);
    return auth;
}

/* --- filling ---------------------------------------------------------------------------------- */

static void execute(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail(sqlite3_errmsg(db));
}

static void insert_key(sqlite3_stmt *st, const char *text, const char *id, const char *account,
                       const uint8_t *hash)
{
    sqlite3_reset(st);
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, account, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 3, text + strlen(text) - KEY_TAIL_DIGITS, -1, SQLITE_STATIC);
    sqlite3_bind_blob(st, 4, hash, KEY_HASH_BYTES, SQLITE_STATIC);
    if (sqlite3_step(st) != SQLITE_DONE)
        fail("a row cannot be written");
}

static void insert_keys(struct bench *bench, sqlite3 *db, const struct key_pepper *pepper)
{
    sqlite3_stmt *st;
    uint8_t hash[KEY_HASH_BYTES];
    char id[AUTH_KEY_ID_BYTES], account[32];

    if (sqlite3_prepare_v2(db,
                           "INSERT INTO api_key (id, account, name, prefix, tail, hash, scopes,"
                           " test, state, rate_per_minute, recipients_per_day, created_s,"
                           " expires_s) VALUES (?1, ?2, 'bench', 'lpk_', ?3, ?4, 3, 0, 'active',"
                           " 0, 0, 1, 0)",
                           -1, &st, NULL) != SQLITE_OK)
        fail(sqlite3_errmsg(db));
    for (size_t i = 0; i < bench->count; i++) {
        key_make("lpk_", bench->texts[i], id);
        key_hash(pepper, slice_of(bench->texts[i]), hash);
        /* The first half is in one account, the rest in small ones. */
        snprintf(account, sizeof(account), "a%zu", i < bench->count / 2 ? 0 : i / KEYS_AN_ACCOUNT);
        insert_key(st, bench->texts[i], id, account, hash);
    }
    sqlite3_finalize(st);
}

static void fill(struct bench *bench)
{
    struct why why = { "" };
    struct key_pepper *pepper;
    sqlite3 *db;

    auth_close(open_auth(bench)); /* makes schema and pepper */
    pepper = key_pepper_new(&why);
    if (pepper == NULL || !pepper_load(pepper, bench->pepper, NULL, false, &why) ||
        sqlite3_open(bench->keys, &db) != SQLITE_OK)
        fail(why.text);
    execute(db, "BEGIN");
    insert_keys(bench, db, pepper);
    execute(db, "INSERT INTO account (handle, plan, created_s)"
                " SELECT DISTINCT account, 'default', 1 FROM api_key;"
                "INSERT INTO domain (account, pattern, verified, created_s)"
                " SELECT handle, handle || '.example', 1, 1 FROM account;"
                "INSERT INTO key_rule SELECT id, 'domain', 0, account || '.example' FROM api_key;"
                "INSERT INTO key_usage (key, last_s, address, protocol, day, recipients)"
                " SELECT id, 1, '192.0.2.1', 'smtp', 20000, 5 FROM api_key;"
                "COMMIT");
    sqlite3_close(db);
    key_pepper_free(pepper);
}

static void write_secrets(const struct bench *bench)
{
    FILE *file = fopen(bench->secrets, "w");

    if (file == NULL)
        fail("the secrets cannot be written");
    for (size_t i = 0; i < 100 && i < bench->count; i++)
        fprintf(file, "%s\n", bench->texts[bench->count - 1 - i]);
    fclose(file);
}

/* --- measuring -------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    double one = *(const double *)a, other = *(const double *)b;

    return one < other ? -1 : one > other;
}

static void measure_opening(const struct bench *bench)
{
    double best = 1e12, best_cpu = 1e12;

    for (int i = 0; i < 5; i++) {
        double began = now_us(), began_cpu = cpu_us();
        struct auth *auth = open_auth(bench);
        double took = now_us() - began, took_cpu = cpu_us() - began_cpu;
        best = took < best ? took : best;
        best_cpu = took_cpu < best_cpu ? took_cpu : best_cpu;
        auth_close(auth);
    }
    printf("%-44s %10.0f ms      CPU: %.0f ms (goal: under 1000)\n", "opening", best / 1000,
           best_cpu / 1000);
}

/* The same keys in the same order, so that both miss the caches alike. */
static void measure_checks(const struct bench *bench)
{
    struct auth *auth = open_auth(bench);
    struct auth_peer peer = { .protocol = "smtp" };
    uint8_t hash[KEY_HASH_BYTES], tombstone[KEY_HASH_BYTES];
    char id[KEY_ID_DIGITS];
    size_t step = bench->count / 2 + 12345, at = 0, right = 0;

    double began = cpu_us();
    for (size_t i = 0; i < CHECKS; i++, at = (at + step) % bench->count) {
        struct slice text = slice_of(bench->texts[at]);
        right += key_parse(text, id);
        key_hash(auth->pepper, text, hash);
        key_tombstone(auth->pepper, hash, tombstone);
    }
    double hashing = (cpu_us() - began) / CHECKS;
    began = cpu_us();
    for (size_t i = 0; i < CHECKS; i++, at = (at + step) % bench->count) {
        struct auth_grant *grant = NULL;
        right += auth_check(auth, slice_of(bench->texts[at]), AUTH_SEND, &peer, NOW_S, &grant) ==
                 AUTH_OK;
        auth_grant_unref(grant);
    }
    double whole = (cpu_us() - began) / CHECKS;
    if (right != 2 * CHECKS)
        fail("a key was not recognised");
    printf("%-44s %10.2f us\n", "a check", whole);
    printf("%-44s %10.2f us      (goal: under 2)\n", "... besides form and hash", whole - hashing);
    began = cpu_us();
    auth_flush(auth);
    printf("%-44s %10.0f ms\n", "writing the last use of all", (cpu_us() - began) / 1000);
    auth_close(auth);
}

static void measure_making(const struct bench *bench, const char *account, const char *what)
{
    struct auth *auth = open_auth(bench);
    struct auth_key_spec spec = { .account = account, .name = "made", .scopes = AUTH_SEND };
    double took[MADE], sum = 0;

    for (size_t i = 0; i < MADE; i++) {
        char secret[AUTH_KEY_TEXT_BYTES], id[AUTH_KEY_ID_BYTES];
        struct why why = { "" };
        double began = now_us();
        if (auth_key_create(auth, "operator", &spec, NOW_S, secret, id, &why) != AUTH_DONE)
            fail(why.text);
        took[i] = now_us() - began;
        sum += took[i];
    }
    qsort(took, MADE, sizeof(took[0]), compare);
    printf("%-44s %10.2f ms      half: %.2f, 99%%: %.2f, longest: %.2f (goal: under 20)\n", what,
           sum / MADE / 1000, took[MADE / 2] / 1000, took[MADE * 99 / 100] / 1000,
           took[MADE - 1] / 1000);
    auth_close(auth);
}

int main(int argc, char **argv)
{
    struct bench bench = { .count = argc > 2 ? strtoul(argv[2], NULL, 10) : 100000 };
    char small[32];

    if (argc < 2 || bench.count < 1000)
        fail("usage: keys_bench FOLDER [KEYS]");
    snprintf(bench.keys, sizeof(bench.keys), "%s/keys.db", argv[1]);
    snprintf(bench.pepper, sizeof(bench.pepper), "%s/pepper", argv[1]);
    snprintf(bench.secrets, sizeof(bench.secrets), "%s/secrets", argv[1]);
    bench.options = (struct auth_options){ .path = bench.keys,
                                           .pepper_path = bench.pepper,
                                           .prefix_live = "lpk_",
                                           .prefix_test = "lpt_",
                                           .plans = plans,
                                           .plan_count = ARRAY_LEN(plans) };
    bench.texts = xcalloc(bench.count, sizeof(*bench.texts));
    fill(&bench);
    write_secrets(&bench);
    printf("%zu keys\n", bench.count);
    measure_opening(&bench);
    measure_checks(&bench);
    snprintf(small, sizeof(small), "a%zu", bench.count / KEYS_AN_ACCOUNT - 1);
    measure_making(&bench, small, "making a key");
    measure_making(&bench, "a0", "... in an account with half of all keys");
    free(bench.texts);
    return 0;
}
