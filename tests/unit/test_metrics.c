/* test_metrics.c - the table has no hole, and sums outlive their threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/macros.h"
#include "relay/base/metrics.h"

static bool is_metric_name(const char *name)
{
    for (const char *c = name; *c != '\0'; c++)
        if (!((*c >= 'a' && *c <= 'z') || *c == '_'))
            return false;
    return strncmp(name, "latchpost_", 10) == 0;
}

static void each_metric_has_a_full_row_of_its_own(void **state)
{
    (void)state;
    for (enum metric m = 0; m < METRIC_COUNT; m++) {
        const struct metric_info *info = metrics_info(m);
        if (info->name == NULL || info->unit == NULL || info->help == NULL)
            fail_msg("row %d is missing or half empty", (int)m);
        if (!is_metric_name(info->name))
            fail_msg("%s: not a name", info->name);
        if (slice_ends_nocase(slice_of(info->name), SLICE("_total")) == info->gauge)
            fail_msg("%s: counters end in _total, gauges do not", info->name);
        if (strpbrk(info->help, "\\\n") != NULL)
            fail_msg("%s: help that would need escaping", info->name);
        for (enum metric other = 0; other < m; other++)
            if (strcmp(info->name, metrics_info(other)->name) == 0)
                fail_msg("%s: twice", info->name);
    }
}

static void *count_some(void *owner)
{
    (void)owner;
    for (int i = 0; i < 10000; i++) {
        metrics_add(METRIC_COMMITS, 1);
        metrics_add(METRIC_SESSIONS_OPEN, 1);
        metrics_add(METRIC_SESSIONS_OPEN, -1);
        if (i % 1000 == 0)
            (void)metrics_read(METRIC_COMMITS);
    }
    metrics_add(METRIC_BYTES_ACCEPTED, INT64_C(5000000000));
    return NULL;
}

static void sums_are_over_all_threads_living_or_gone(void **state)
{
    pthread_t threads[4];
    int64_t last = 0;

    (void)state;
    metrics_add(METRIC_COMMITS, 7);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_LEN(threads); i++)
            assert_int_equal(pthread_create(&threads[i], NULL, count_some, NULL), 0);
        for (int i = 0; i < 1000; i++) { /* a counter is never seen to go back */
            int64_t now = metrics_read(METRIC_COMMITS);
            assert_true(now >= last);
            last = now;
        }
        for (size_t i = 0; i < ARRAY_LEN(threads); i++)
            pthread_join(threads[i], NULL);
    }
    assert_int_equal(metrics_read(METRIC_COMMITS), 120007);
    assert_int_equal(metrics_read(METRIC_SESSIONS_OPEN), 0);
    assert_int_equal(metrics_read(METRIC_BYTES_ACCEPTED), INT64_C(60000000000));
}

static void rendering_has_help_type_and_value_of_each(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 64 * 1024);
    metrics_add(METRIC_TLS_FAILED, 3);
    assert_true(metrics_render(&out));
    assert_true(buf_add_byte(&out, '\0'));
    const char *text = buf_slice(&out).data;
    assert_non_null(
        strstr(text, "\n# TYPE latchpost_sessions_open gauge\nlatchpost_sessions_open 0\n"));
    assert_non_null(strstr(text, "\n# TYPE latchpost_tls_failed_total counter\n"
                                 "latchpost_tls_failed_total 3\n"));
    assert_non_null(strstr(text, "# HELP latchpost_accepted_bytes_total "));
    buf_free(&out);
    buf_init(&out, 100);
    assert_false(metrics_render(&out));
    buf_free(&out);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_metric_has_a_full_row_of_its_own),
        cmocka_unit_test(sums_are_over_all_threads_living_or_gone),
        cmocka_unit_test(rendering_has_help_type_and_value_of_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
