/* test_log.c - hostile values cannot forge a line, in either form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/base/buf.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/base/macros.h"

static int64_t test_wall_us(void)
{
    return INT64_C(1793700245006789); /* 2026-11-03T10:04:05.006789Z */
}

static const struct clock_source test_clock = { test_wall_us, test_wall_us };

static struct buf caught; /* the last line */
static size_t caught_lines;

static void catch_line(void *owner, struct slice line)
{
    (void)owner;
    buf_clear(&caught);
    assert_true(buf_add(&caught, line));
    caught_lines++;
}

static int start(void **state)
{
    (void)state;
    buf_init(&caught, 10000);
    caught_lines = 0;
    clock_replace(&test_clock);
    log_divert(catch_line, NULL);
    log_configure(LOG_DEBUG, LOG_LOGFMT);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    log_divert(NULL, NULL);
    log_configure(LOG_INFO, LOG_LOGFMT);
    clock_replace(NULL);
    buf_free(&caught);
    return 0;
}

static void assert_line(const char *want)
{
    struct slice got = buf_slice(&caught);

    if (!slice_equal(got, slice_of(want)))
        fail_msg("got  %.*s\nwant %s", SLICE_ARG(got), want);
}

static void a_line_has_time_level_and_event_first(void **state)
{
    (void)state;
    LOG(LOG_INFO, "session_closed", LOG_STR("session", "0abc"), LOG_INT("messages", -3),
        LOG_STR("absent", NULL), LOG_SLICE("empty", SLICE("")));
    assert_line("ts=2026-11-03T10:04:05.006Z level=info event=session_closed session=0abc "
                "messages=-3 empty=\"\"");
    LOG(LOG_ERROR, "stopped");
    assert_line("ts=2026-11-03T10:04:05.006Z level=error event=stopped");
    log_configure(LOG_DEBUG, LOG_JSON);
    LOG(LOG_WARNING, "session_closed", LOG_STR("session", "0abc"), LOG_INT("bytes", INT64_MIN),
        LOG_STR("absent", NULL), LOG_SLICE("empty", SLICE("")));
    assert_line("{\"ts\":\"2026-11-03T10:04:05.006Z\",\"level\":\"warning\","
                "\"event\":\"session_closed\",\"session\":\"0abc\","
                "\"bytes\":-9223372036854775808,\"empty\":\"\"}");
}

static void values_are_escaped_in_both_forms(void **state)
{
    static const struct {
        struct slice value;
        const char *logfmt, *json;
    } cases[] = {
        { SLICE("word-1.2@x:y/z"), "word-1.2@x:y/z", "\"word-1.2@x:y/z\"" },
        { SLICE("two words"), "\"two words\"", "\"two words\"" },
        { SLICE("a=b"), "\"a=b\"", "\"a=b\"" },
        { SLICE("a\"b\\c"), "\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\"" },
        { SLICE("x\r\nlevel=error"), "\"x\\r\\nlevel=error\"", "\"x\\r\\nlevel=error\"" },
        { SLICE("\t\0\x1b[2J\x7f"), "\"\\t\\x00\\x1b[2J\\x7f\"",
          "\"\\t\\u0000\\u001b[2J\\u007f\"" },
        { SLICE("J\xc3\xbcrgen \xe2\x82\xac \xf0\x9f\x98\x80"),
          "\"J\xc3\xbcrgen \xe2\x82\xac \xf0\x9f\x98\x80\"",
          "\"J\xc3\xbcrgen \xe2\x82\xac \xf0\x9f\x98\x80\"" },
        { SLICE("\xc2\x85\xc2\x9b"), "\"\\u0085\\u009b\"", "\"\\u0085\\u009b\"" }, /* C1 */
        { SLICE("\xe2\x80\xa8\xe2\x80\xa9"), "\"\\u2028\\u2029\"", "\"\\u2028\\u2029\"" },
        { SLICE("\xe2\x80\xae"), "\"\\u202e\"", "\"\\u202e\"" }, /* turns the direction */
        { SLICE("\x85\xff"), "\"\\x85\\xff\"", "\"\\u0085\\u00ff\"" },
        { SLICE("\xc3"), "\"\\xc3\"", "\"\\u00c3\"" }, /* cut off */
        { SLICE("\xc3("), "\"\\xc3(\"", "\"\\u00c3(\"" },
        { SLICE("\xc0\x8a"), "\"\\xc0\\x8a\"", "\"\\u00c0\\u008a\"" }, /* overlong line end */
        { SLICE("\xed\xa0\x80"), "\"\\xed\\xa0\\x80\"", "\"\\u00ed\\u00a0\\u0080\"" },
        { SLICE("\xf4\x90\x80\x80"), "\"\\xf4\\x90\\x80\\x80\"",
          "\"\\u00f4\\u0090\\u0080\\u0080\"" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (int form = LOG_LOGFMT; form <= LOG_JSON; form++) {
            char want[200];
            log_configure(LOG_DEBUG, (enum log_format)form);
            LOG(LOG_INFO, "e", LOG_SLICE("v", cases[i].value));
            snprintf(want, sizeof(want), form == LOG_JSON ? ",\"v\":%s}" : " v=%s",
                     form == LOG_JSON ? cases[i].json : cases[i].logfmt);
            if (!slice_ends_nocase(buf_slice(&caught), slice_of(want)))
                fail_msg("row %zu: got %.*s, want %s", i, SLICE_ARG(buf_slice(&caught)), want);
        }
}

/* What a reader of JSON asks of one flat object: balanced quotes, known escapes, an end. */
static bool is_flat_json(struct slice line)
{
    bool quoted = false;

    if (line.len < 2 || line.data[0] != '{' || line.data[line.len - 1] != '}')
        return false;
    for (size_t i = 0; i < line.len; i++) {
        char c = line.data[i];
        if ((unsigned char)c < 32)
            return false;
        if (quoted && c == '\\') {
            if (i + 1 >= line.len || strchr("\"\\nrtu", line.data[i + 1]) == NULL)
                return false;
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        } else if ((c == '{' || c == '}') && !quoted && i > 0 && i + 1 < line.len) {
            return false;
        }
    }
    return !quoted;
}

static void lines_stay_bounded_and_well_formed(void **state)
{
    static const char *const units[] = { "a", "\"", "\n", "\xc3\xa4", "\xff", "\xf0\x9f\x98\x80" };
    static char value[5000];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        for (size_t len = 900; len < sizeof(value); len += 61) {
            size_t unit = strlen(units[i]);
            for (size_t at = 0; at + unit < len; at += unit)
                memcpy(value + at, units[i], unit);
            struct slice v = slice_make(value, len / unit * unit);
            for (int form = LOG_LOGFMT; form <= LOG_JSON; form++) {
                log_configure(LOG_DEBUG, (enum log_format)form);
                LOG(LOG_INFO, "e", LOG_SLICE("first", v), LOG_SLICE("second", v),
                    LOG_SLICE("third", v), LOG_SLICE("fourth", v), LOG_SLICE("fifth", v),
                    LOG_INT("number", INT64_MIN), LOG_SLICE("sixth", v), LOG_INT("last", 1));
                struct slice line = buf_slice(&caught);
                if (line.len >= 4096 || (form == LOG_JSON && !is_flat_json(line)))
                    fail_msg("unit %zu, length %zu: %.*s", i, len, SLICE_ARG(line));
            }
        }
    log_configure(LOG_DEBUG, LOG_LOGFMT);
    memset(value, 'a', sizeof(value));
    LOG(LOG_INFO, "e", LOG_SLICE("long", slice_make(value, 2000)), LOG_INT("after", 5));
    assert_true(slice_ends_nocase(buf_slice(&caught), SLICE("aaa... after=5")));
}

static void levels_below_the_chosen_one_are_silent(void **state)
{
    (void)state;
    for (int least = LOG_DEBUG; least <= LOG_ERROR; least++) {
        log_configure((enum log_level)least, LOG_LOGFMT);
        caught_lines = 0;
        LOG(LOG_DEBUG, "e", LOG_INT("i", 0));
        LOG(LOG_INFO, "e", LOG_INT("i", 1));
        LOG(LOG_WARNING, "e", LOG_INT("i", 2));
        LOG(LOG_ERROR, "e", LOG_INT("i", 3));
        assert_int_equal(caught_lines, 4 - least);
        assert_true(log_enabled((enum log_level)least));
    }
}

static void words_for_level_and_form_are_exact(void **state)
{
    static const struct {
        const char *word;
        int level, format; /* -1: neither */
    } cases[] = {
        { "debug", LOG_DEBUG, -1 },
        { "info", LOG_INFO, -1 },
        { "warning", LOG_WARNING, -1 },
        { "error", LOG_ERROR, -1 },
        { "logfmt", -1, LOG_LOGFMT },
        { "json", -1, LOG_JSON },
        { "INFO", -1, -1 },
        { "", -1, -1 },
        { "warn", -1, -1 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum log_level level = LOG_DEBUG;
        enum log_format format = LOG_LOGFMT;
        bool is_level = log_level_parse(slice_of(cases[i].word), &level);
        bool is_format = log_format_parse(slice_of(cases[i].word), &format);
        if ((is_level ? (int)level : -1) != cases[i].level ||
            (is_format ? (int)format : -1) != cases[i].format)
            fail_msg("'%s'", cases[i].word);
    }
}

static void logging_leaves_errno_alone(void **state)
{
    (void)state;
    log_divert(NULL, NULL);
    int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0);
    close(STDERR_FILENO); /* the line is lost: write(2) sets EBADF */
    errno = ENOSPC;
    LOG(LOG_ERROR, "e", LOG_INT("i", 0));
    int after = errno;
    assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    close(saved);
    assert_int_equal(after, ENOSPC);
}

enum { THREADS = 4, LINES = 200 };

static void *log_many(void *owner)
{
    char value[200];

    memset(value, *(char *)owner, sizeof(value));
    for (int i = 0; i < LINES; i++)
        LOG(LOG_INFO, "e", LOG_SLICE("v", slice_make(value, sizeof(value))));
    return NULL;
}

/* Each line in the file is of one thread from its first to its last byte. */
static void lines_of_threads_do_not_mix_on_standard_error(void **state)
{
    static char owners[THREADS] = { 'a', 'b', 'c', 'd' };
    pthread_t threads[THREADS];
    int saved = dup(STDERR_FILENO);
    size_t lines = 0;
    char *line = NULL;
    size_t room = 0;

    (void)state;
    log_divert(NULL, NULL);
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(fcntl(fileno(file), F_SETFL, O_APPEND), 0);
    dup2(fileno(file), STDERR_FILENO);
    for (size_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, log_many, &owners[i]);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    while (getline(&line, &room, file) > 0) {
        const char *value = strstr(line, " v=");
        assert_non_null(value);
        assert_int_equal(strspn(value + 3, (char[]){ value[3], '\0' }), 200);
        assert_string_equal(value + 203, "\n");
        lines++;
    }
    assert_int_equal(lines, THREADS * LINES);
    free(line);
    fclose(file);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_has_time_level_and_event_first, start, stop),
        cmocka_unit_test_setup_teardown(values_are_escaped_in_both_forms, start, stop),
        cmocka_unit_test_setup_teardown(lines_stay_bounded_and_well_formed, start, stop),
        cmocka_unit_test_setup_teardown(levels_below_the_chosen_one_are_silent, start, stop),
        cmocka_unit_test_setup_teardown(words_for_level_and_form_are_exact, start, stop),
        cmocka_unit_test_setup_teardown(logging_leaves_errno_alone, start, stop),
        cmocka_unit_test_setup_teardown(lines_of_threads_do_not_mix_on_standard_error, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
