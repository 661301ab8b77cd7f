/* refusal.c - wrong keys are checked many times, for refusal.py to count instructions and time.
 *
 *     refusal FOLDER KIND [CHECKS]      1000
 *
 * In FOLDER, which is empty, are made 90 keys, of which some are rotated and revoked. KIND is a row
 * of the table below; the check itself is in a function of its own, measured(), in which nothing
 * else is done. Or it is "mixed": all kinds at random, and a line for each with the nanoseconds of
 * a check, the median and the mean without the slowest tenth. What the processor predicts well for
 * one kind and badly for another shows in these only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "auth/auth_priv.h"
#include "relay/base/alloc.h"
#include "relay/base/base64.h"

#define KEYS  90
#define NOW_S INT64_C(1800000000)

struct scene {
    struct auth *auth;
    char texts[KEYS][AUTH_KEY_TEXT_BYTES];
};

static void fail(const char *what)
{
    fprintf(stderr, "refusal: %s\n", what);
    exit(1);
}

/* --- the keys --------------------------------------------------------------------------------- */

#define ID_AT     4
#define SECRET_AT (ID_AT + KEY_ID_DIGITS)
#define CHECK_AT  (SECRET_AT + KEY_SECRET_DIGITS)

static bool is_rotated(size_t i)
{
    return i % 3 == 1;
}

static bool is_revoked(size_t i)
{
    return i % 3 == 2;
}

static void make_keys(struct scene *scene)
{
    const struct auth_key_spec spec = { .account = "default", .name = "k", .scopes = AUTH_SEND };
    char id[AUTH_KEY_ID_BYTES], again[AUTH_KEY_TEXT_BYTES];
    struct why why = { "" };

    for (size_t i = 0; i < KEYS; i++)
        if (auth_key_create(scene->auth, "bench", &spec, NOW_S, scene->texts[i], id, &why) !=
                AUTH_DONE ||
            (is_rotated(i) &&
             auth_key_rotate(scene->auth, "bench", id, 3600, NOW_S, again, &why) != AUTH_DONE) ||
            (is_revoked(i) && auth_key_revoke(scene->auth, "bench", id, NOW_S, &why) != AUTH_DONE))
            fail(why.text);
}

static void open_scene(struct scene *scene, const char *folder)
{
    char *path = xasprintf("%s/keys.db", folder), *pepper = xasprintf("%s/pepper", folder);
    const struct auth_options options = { .path = path,
                                          .pepper_path = pepper,
                                          .prefix_live = "lpk_",
                                          .prefix_test = "lpt_",
                                          .penalty_failures = 10,
                                          .penalty_window_s = 600,
                                          .penalty_s = 600,
                                          .tarpit_ms = 1000 };
    struct why why = { "" };

    if (!auth_open(&scene->auth, &options, &why))
        fail(why.text);
    make_keys(scene);
    free(path);
    free(pepper);
}

/* --- wrong ones ------------------------------------------------------------------------------- */

static void draw(char *text, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        text[i] = base62_digits[(size_t)rand() % 62];
}

static void end_with_check(char *text)
{
    base62_format(key_crc32(slice_make(text, CHECK_AT)), KEY_CHECK_DIGITS, text + CHECK_AT);
}

static void make_unknown(const struct scene *scene, size_t i, char *text)
{
    (void)scene;
    (void)i;
    draw(text, ID_AT, CHECK_AT);
    end_with_check(text);
}

static void make_wrong(const struct scene *scene, size_t i, char *text)
{
    memcpy(text, scene->texts[i % KEYS], CHECK_AT);
    draw(text, SECRET_AT, CHECK_AT);
    end_with_check(text);
}

static void make_wrong_of_plain(const struct scene *scene, size_t i, char *text)
{
    make_wrong(scene, i * 3, text);
}

static void make_wrong_of_rotated(const struct scene *scene, size_t i, char *text)
{
    make_wrong(scene, i * 3 + 1, text);
}

static void make_wrong_of_revoked(const struct scene *scene, size_t i, char *text)
{
    make_wrong(scene, i * 3 + 2, text);
}

static void make_mistyped(const struct scene *scene, size_t i, char *text)
{
    make_unknown(scene, i, text);
    text[CHECK_AT] = text[CHECK_AT] == '0' ? '1' : '0';
}

static void make_letters(const struct scene *scene, size_t i, char *text)
{
    (void)scene;
    (void)i;
    draw(text, 0, CHECK_AT + KEY_CHECK_DIGITS);
}

static void make_signs(const struct scene *scene, size_t i, char *text)
{
    make_letters(scene, i, text);
    text[0] = '!';
    text[ID_AT] = '-';
}

static const struct kind {
    const char *name;
    void (*make)(const struct scene *scene, size_t i, char *text);
} kinds[] = {
    { "unknown-id", make_unknown },          { "wrong-secret", make_wrong_of_plain },
    { "of-rotated", make_wrong_of_rotated }, { "of-revoked", make_wrong_of_revoked },
    { "mistyped", make_mistyped },           { "40-letters", make_letters },
    { "other-signs", make_signs },
};

/* --- measuring -------------------------------------------------------------------------------- */

__attribute__((noinline)) void measured(struct auth *auth, struct slice text,
                                        const struct auth_peer *peer);

void measured(struct auth *auth, struct slice text, const struct auth_peer *peer)
{
    struct auth_grant *grant = NULL;

    if (auth_check(auth, text, AUTH_SEND, peer, NOW_S, &grant) != AUTH_UNKNOWN)
        abort();
}

/* In nanoseconds. */
static double check(const struct scene *scene, const struct kind *kind, size_t i)
{
    const struct auth_peer peer = { .address = { [10] = 0xff, [11] = 0xff, 192, 0, 2, 1 },
                                    .has_address = true,
                                    .protocol = "smtp",
                                    .user = SLICE("user") };
    char text[AUTH_KEY_TEXT_BYTES] = "lpk_";
    struct timespec began, ended;

    kind->make(scene, i, text);
    clock_gettime(CLOCK_MONOTONIC, &began);
    measured(scene->auth, slice_make(text, CHECK_AT + KEY_CHECK_DIGITS), &peer);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    return (double)(ended.tv_sec - began.tv_sec) * 1e9 + (double)(ended.tv_nsec - began.tv_nsec);
}

static int compare(const void *a, const void *b)
{
    double one = *(const double *)a, other = *(const double *)b;

    return (one > other) - (one < other);
}

static void report(const char *name, double *times, size_t count)
{
    size_t kept = count - count / 10;
    double sum = 0;

    qsort(times, count, sizeof(*times), compare);
    for (size_t i = 0; i < kept; i++)
        sum += times[i];
    printf("%s %.0f %.2f\n", name, times[count / 2], sum / (double)kept);
}

static void check_mixed(const struct scene *scene, size_t count)
{
    double *times[ARRAY_LEN(kinds)];
    size_t counts[ARRAY_LEN(kinds)] = { 0 };

    for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
        times[k] = xcalloc(count, sizeof(**times));
    for (size_t i = 0; i < count; i++) {
        size_t k = (size_t)rand() % ARRAY_LEN(kinds);
        times[k][counts[k]++] = check(scene, &kinds[k], (size_t)rand());
    }
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        if (counts[k] > 0)
            report(kinds[k].name, times[k], counts[k]);
        free(times[k]);
    }
}

int main(int argc, char **argv)
{
    size_t count = argc > 3 ? strtoul(argv[3], NULL, 10) : 1000;
    static struct scene scene;

    if (argc < 3)
        fail("usage: refusal FOLDER KIND [CHECKS]");
    open_scene(&scene, argv[1]);
    if (strcmp(argv[2], "mixed") == 0)
        check_mixed(&scene, count);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
        for (size_t i = 0; i < count && strcmp(kinds[k].name, argv[2]) == 0; i++)
            (void)check(&scene, &kinds[k], i);
    auth_close(scene.auth);
    return 0;
}
