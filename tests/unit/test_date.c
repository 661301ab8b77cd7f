/* test_date.c - dates of mail and of the API. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/message/date.h"

static void a_date_is_written_in_both_forms(void **state)
{
    static const struct {
        int64_t unix_s;
        const char *mail, *iso;
    } rows[] = {
        { 0, "Thu, 01 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00Z" },
        { 951782399, "Mon, 28 Feb 2000 23:59:59 +0000", "2000-02-28T23:59:59Z" },
        { 951782400, "Tue, 29 Feb 2000 00:00:00 +0000", "2000-02-29T00:00:00Z" },
        { 1795265786, "Sat, 21 Nov 2026 12:56:26 +0000", "2026-11-21T12:56:26Z" },
        { 4107542400, "Mon, 01 Mar 2100 00:00:00 +0000", "2100-03-01T00:00:00Z" },
        { 253402300799, "Fri, 31 Dec 9999 23:59:59 +0000", "9999-12-31T23:59:59Z" },
        /* A clock that is far off must not change the form. */
        { -1, "Thu, 01 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00Z" },
        { INT64_MIN, "Thu, 01 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00Z" },
        { INT64_MAX, "Fri, 31 Dec 9999 23:59:59 +0000", "9999-12-31T23:59:59Z" },
    };
    char mail[DATE_MAIL_BYTES];
    char iso[DATE_ISO_BYTES];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        date_format_mail(rows[i].unix_s, mail);
        date_format_iso(rows[i].unix_s, iso);
        if (strcmp(mail, rows[i].mail) != 0 || strcmp(iso, rows[i].iso) != 0)
            fail_msg("%lld: got '%s' and '%s'", (long long)rows[i].unix_s, mail, iso);
    }
}

static void every_day_of_four_centuries_is_what_the_c_library_says(void **state)
{
    char mail[DATE_MAIL_BYTES];
    char want[DATE_MAIL_BYTES];

    (void)state;
    for (int64_t day = 0; day < 400 * 366; day++) {
        time_t at = (time_t)(day * 86400 + day % 86400);
        struct tm tm;
        assert_non_null(gmtime_r(&at, &tm));
        assert_true(strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S +0000", &tm) > 0);
        date_format_mail(at, mail);
        if (strcmp(mail, want) != 0)
            fail_msg("day %lld: got '%s', want '%s'", (long long)day, mail, want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_date_is_written_in_both_forms),
        cmocka_unit_test(every_day_of_four_centuries_is_what_the_c_library_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
