/* test_json.c - what is taken as the JSON of a request, and what an answer is made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/http/api_priv.h"
#include "tests/support/api_place.h"

#define STRICT "it is not strict JSON"

static int make_place(void **state)
{
    struct api_place *place = xcalloc(1, sizeof(*place));
    struct why why = { "" };

    *state = place;
    if (api_place_open(place, &why))
        return 0;
    fprintf(stderr, "%s\n", why.text);
    return -1;
}

static int remove_place(void **state)
{
    struct api_place *place = *state;

    api_place_close(place);
    free(place);
    return 0;
}

/* --- text to JSON ----------------------------------------------------------------------------- */

/* want: how the problem begins; NULL: there is none. */
static void check_parsed(const char *name, struct slice text, const char *want)
{
    char problem[128] = "";
    json_t *json = api_parse_json(text, problem, sizeof(problem));
    bool ok = json != NULL;

    json_decref(json);
    if (ok != (want == NULL) || (!ok && strncmp(problem, want, strlen(want)) != 0))
        fail_msg("%s: \"%s\", wanted \"%s\"", name, ok ? "taken" : problem,
                 want == NULL ? "taken" : want);
}

static void only_strict_json_of_an_object_is_taken(void **state)
{
    static const struct {
        struct slice text;
        const char *want;
    } rows[] = {
        { SLICE("{}"), NULL },
        { SLICE(" \r\n\t{ \"a\" : [ 1 , -0.5e3 , true , null , \"x\" ] } "), NULL },
        { SLICE("{\"a\":\"\\u00fc \\ud83d\\ude00 \\\" \\\\ \\/\"}"), NULL },
        { SLICE("{\"gr\xc3\xbc\xc3\x9f\":\"\xf0\x9f\x98\x80\"}"), NULL },
        { SLICE("{\"a\":9223372036854775807}"), NULL },
        { SLICE("[]"), "it is not an object" },
        { SLICE("[{}]"), "it is not an object" },
        { SLICE(""), STRICT },
        { { NULL, 0 }, STRICT },
        { SLICE(" "), STRICT },
        { SLICE("1"), STRICT },
        { SLICE("null"), STRICT },
        { SLICE("\"text\""), STRICT },
        { SLICE("{"), STRICT },
        { SLICE("}"), STRICT },
        { SLICE("{]"), STRICT },
        { SLICE("]]]}}}{}"), STRICT },
        { SLICE("{\"a\""), STRICT },
        { SLICE("{\"a\":}"), STRICT },
        { SLICE("{\"a\":1,}"), STRICT },
        { SLICE("{\"a\" 1}"), STRICT },
        { SLICE("{a:1}"), STRICT },
        { SLICE("{'a':1}"), STRICT },
        { SLICE("{1:1}"), STRICT },
        { SLICE("{\"a\":[1,]}"), STRICT },
        { SLICE("{\"a\":[1 2]}"), STRICT },
        { SLICE("{\"a\":1} x"), STRICT },
        { SLICE("{}{}"), STRICT },
        { SLICE("{} // words"), STRICT },
        { SLICE("{/**/}"), STRICT },
        { SLICE("\xef\xbb\xbf{}"), STRICT },
        { SLICE("{\"a\":1,\"a\":2}"), STRICT },
        { SLICE("{\"a\":1,\"\\u0061\":2}"), STRICT },
        { SLICE("{\"a\":01}"), STRICT },
        { SLICE("{\"a\":+1}"), STRICT },
        { SLICE("{\"a\":.5}"), STRICT },
        { SLICE("{\"a\":0x10}"), STRICT },
        { SLICE("{\"a\":1e999}"), STRICT },
        { SLICE("{\"a\":9223372036854775808}"), STRICT },
        { SLICE("{\"a\":NaN}"), STRICT },
        { SLICE("{\"a\":True}"), STRICT },
        { SLICE("{\"a\":\"x}"), STRICT },
        { SLICE("{\"a\":\"x\\\"}"), STRICT },
        { SLICE("{\"a\":\"\\x41\"}"), STRICT },
        { SLICE("{\"a\":\"\\u12g4\"}"), STRICT },
        { SLICE("{\"a\":\"a\nb\"}"), STRICT },
        { SLICE("{\"a\":\"a\0b\"}"), STRICT },
        { SLICE("{\"a\":\"a\\u0000b\"}"), STRICT },
        { SLICE("{\"a\\u0000b\":1}"), STRICT },
        { SLICE("{\"a\":1}\0"), STRICT },
        { SLICE("{\"a\":\"\xff\"}"), STRICT },
        { SLICE("{\"a\":\"\xc0\x80\"}"), STRICT },
        { SLICE("{\"a\":\"\xed\xa0\x80\"}"), STRICT },
        { SLICE("{\"a\":\"\xf4\x90\x80\x80\"}"), STRICT },
        { SLICE("{\"a\":\"\xe2\x82\"}"), STRICT },
        { SLICE("{\"a\":\"\\ud83d\"}"), STRICT },
        { SLICE("{\"a\":\"\\ude00\\ud83d\"}"), STRICT },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_parsed(rows[i].text.data, rows[i].text, rows[i].want);
}

static bool add_times(struct buf *text, const char *unit, size_t times)
{
    bool fits = true;

    for (size_t i = 0; i < times && fits; i++)
        fits = buf_add(text, slice_of(unit));
    return fits;
}

/* Of a text with a unit so many times; what stands in strings does not count. */
static void depth_and_values_are_bounded_before_they_cost_anything(void **state)
{
    static const struct {
        const char *name, *begin, *unit, *middle, *closing, *end;
        size_t times;
        const char *want;
    } rows[] = {
        { "deep", "{\"a\":", "[", "1", "]", "}", API_DEPTH_MAX - 1, NULL },
        { "too deep", "{\"a\":", "[", "1", "]", "}", API_DEPTH_MAX, "it is nested too deeply" },
        { "too deep, objects", "{\"a\":", "{\"a\":", "1", "}", "}", API_DEPTH_MAX,
          "it is nested too deeply" },
        { "deep without an end", "{\"a\":", "[", "", "", "", 1000000, "it is nested too deeply" },
        { "not deep", "{\"a\":[1", "],\"x\":[", "", "", "]}", 100, STRICT },
        { "brackets in a text", "{\"a\":\"", "[{", "\"", "", "}", 100, NULL },
        { "brackets behind an escaped quote", "{\"a\":\"\\\"", "[{", "\"", "", "}", 100, NULL },
        { "many", "{\"a\":[1", ",1", "]", "", "}", API_VALUES_MAX - 2, NULL },
        { "too many", "{\"a\":[1", ",1", "]", "", "}", API_VALUES_MAX - 1,
          "it has too many values" },
        { "too many lists", "{\"a\":[[]", ",[]", "]", "", "}", API_VALUES_MAX / 2,
          "it has too many values" },
        { "commas in a text", "{\"a\":\"", ",", "\"", "", "}", 2 * API_VALUES_MAX, NULL },
    };
    struct buf text;

    (void)state;
    buf_init(&text, 4 << 20);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        buf_clear(&text);
        if (!add_times(&text, rows[i].begin, 1) || !add_times(&text, rows[i].unit, rows[i].times) ||
            !add_times(&text, rows[i].middle, 1) ||
            !add_times(&text, rows[i].closing, rows[i].times) || !add_times(&text, rows[i].end, 1))
            fail_msg("%s: no room for it", rows[i].name);
        check_parsed(rows[i].name, buf_slice(&text), rows[i].want);
    }
    buf_free(&text);
}

#define LONG                                                                                       \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"   \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"   \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"

static void a_nul_may_stand_in_a_text_of_those_who_ask_and_never_in_a_name(void **state)
{
    static const struct {
        const char *text;
        bool taken, nul_in_name;
    } rows[] = {
        { "{\"a\":\"x\\u0000y\"}", true, false },
        { "{\"a\":\"x\\u0000y\",\"b\":\"" LONG "\"}", true, false },
        { "{\"a\":\"" LONG "\"}", true, false },
        { "[\"" LONG "\"]", false, false },
        { "{\"x\\u0000y\":1}", false, true },
        { "{\"x\\u0000y\":1,\"b\":\"" LONG "\"}", false, true },
        { "{\"a\":1", false, false },
        { "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", false, false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char problem[128] = "";
        bool nul_in_name = true;
        json_t *json =
            api_parse_json_with_nul(slice_of(rows[i].text), problem, sizeof(problem), &nul_in_name);
        if ((json != NULL) != rows[i].taken || nul_in_name != rows[i].nul_in_name ||
            (problem[0] == '\0') != rows[i].taken)
            fail_msg("%s: taken %d, a NUL in a name %d, \"%s\"", rows[i].text, json != NULL,
                     nul_in_name, problem);
        json_decref(json);
    }
}

static void json_may_be_called_utf_8_and_nothing_else(void **state)
{
    static const struct {
        const char *type;
        bool want;
    } rows[] = {
        { "application/json", true },
        { " Application/JSON ", true },
        { "application/json;", true },
        { "application/json; charset=utf-8", true },
        { "application/json ;\tCharset=UTF-8", true },
        { "application/json; charset=\"utf-8\"", true },
        { "", false },
        { "json", false },
        { "application/json+x", false },
        { "text/json", false },
        { "application/json; charset=latin1", false },
        { "application/json; charset=utf-8; boundary=x", false },
        { "application/x-www-form-urlencoded", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (api_is_json_type(slice_of(rows[i].type)) != rows[i].want)
            fail_msg("%s", rows[i].type);
}

/* --- members ---------------------------------------------------------------------------------- */

static void check_answer(struct api_place *place, const char *asked, int status, const char *code,
                         const char *words)
{
    if (place->json == NULL)
        fail_msg("%s: the answer is no JSON: %s", asked, place->text);
    if (place->status != status || strcmp(api_place_text(place, "error.code"), code) != 0 ||
        strstr(api_place_text(place, "error.message"), words) == NULL)
        fail_msg("%s: got %d %s", asked, place->status, place->text);
}

static void each_member_is_known_and_of_its_type(void **state)
{
    static const struct {
        const char *body;
        int status;
        const char *code, *words;
    } rows[] = {
        { "{\"name\":\"n\"}", 201, "", "" },
        { "{\"name\":\"n\",\"scopes\":null,\"expirationDays\":null,\"test\":null}", 201, "", "" },
        { "{\"name\":\"n\",\"scopes\":[\"send\"],\"test\":true}", 201, "", "" },
        { "{\"name\":\"n\",\"scopes\":\"send,messages\",\"test\":false}", 201, "", "" },
        { "{\"name\":\"n\",\"scopes\":\" send , messages \"}", 201, "", "" },
        { "{\"name\":7}", 422, "invalid_value", "\"name\" must be a text" },
        { "{\"name\":[\"n\"]}", 422, "invalid_value", "\"name\" must be a text" },
        { "{\"name\":\"n\",\"scopes\":{}}", 422, "invalid_value",
          "\"scopes\" must be a list of texts" },
        { "{\"name\":\"n\",\"scopes\":[\"send\",1]}", 422, "invalid_value",
          "\"scopes\" must be a list of texts" },
        { "{\"name\":\"n\",\"scopes\":[]}", 422, "invalid_value", "from 1 to 100 items" },
        { "{\"name\":\"n\",\"scopes\":\"\"}", 422, "", "" },
        { "{\"name\":\"n\",\"expirationDays\":\"7\"}", 422, "invalid_value",
          "\"expirationDays\" must be a whole number" },
        { "{\"name\":\"n\",\"expirationDays\":7.0}", 422, "invalid_value",
          "\"expirationDays\" must be a whole number" },
        { "{\"name\":\"n\",\"expirationDays\":7}", 201, "", "" },
        { "{\"name\":\"n\",\"expirationDays\":0}", 422, "invalid_value", "from 1 to 365" },
        { "{\"name\":\"n\",\"expirationDays\":366}", 422, "invalid_value", "from 1 to 365" },
        { "{\"name\":\"n\",\"test\":1}", 422, "invalid_value", "\"test\" must be true or false" },
        { "{\"name\":\"n\",\"test\":\"true\"}", 422, "invalid_value", "true or false" },
        { "{\"nmae\":\"n\"}", 400, "unknown_field", "\"nmae\" is not known" },
        { "{\"Name\":\"n\"}", 400, "unknown_field", "\"Name\" is not known" },
        { "{\"\":\"n\"}", 400, "unknown_field", "\"\" is not known" },
        { "{\"name\":\"n\",}", 400, "invalid_json", "line 1, column 13" },
        { "[]", 400, "invalid_json", "not an object" },
    };
    struct api_place *place = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        api_place_ask(place, NULL, "POST", "/v1/api-keys", rows[i].body);
        if (rows[i].code[0] != '\0' || place->status != rows[i].status)
            check_answer(place, rows[i].body, rows[i].status, rows[i].code, rows[i].words);
    }
}

/* Whatever name is quoted, cut in the middle of a character, too, the answer is JSON. */
static void an_unknown_name_is_told_in_an_answer_that_can_be_read(void **state)
{
    struct api_place *place = *state;
    char body[200];

    for (int before = 95; before < 101; before++) {
        char name[128];
        memset(name, 'n', sizeof(name));
        snprintf(name + before, sizeof(name) - (size_t)before, "\xf0\x9f\x98\x80 and so on");
        snprintf(body, sizeof(body), "{\"%s\":1}", name);
        api_place_ask(place, NULL, "POST", "/v1/api-keys", body);
        check_answer(place, body, 400, "unknown_field", "nnnnnn");
    }
    api_place_ask(place, NULL, "GET", "/v1/messages?\xff\x01=1", NULL);
    check_answer(place, "octets that are no text", 400, "unknown_parameter", "is not known here");
}

static void a_list_has_an_end(void **state)
{
    static const bool as_text[] = { true, false };
    struct api_place *place = *state;

    for (size_t i = 0; i < ARRAY_LEN(as_text); i++)
        for (size_t count = AUTH_LIST_MAX - 1; count <= AUTH_LIST_MAX + 2; count++) {
            char *list = xstrdup(""), *body;
            for (size_t n = 0; n < count; n++) {
                const char *form = as_text[i] ? "%s%s192.0.2.%zu" : "%s%s\"192.0.2.%zu\"";
                char *longer = n == 0 ? xasprintf(form, "", "", n) : xasprintf(form, list, ",", n);
                free(list);
                list = longer;
            }
            body = xasprintf(as_text[i] ? "{\"name\":\"n\",\"allowFrom\":\"%s\"}"
                                        : "{\"name\":\"n\",\"allowFrom\":[%s]}",
                             list);
            int status = api_place_ask(place, NULL, "POST", "/v1/api-keys", body);
            if (status != (count <= AUTH_LIST_MAX ? 201 : 422))
                fail_msg("%zu as %s: %d %s", count, as_text[i] ? "a text" : "a list", status,
                         place->text);
            free(list);
            free(body);
        }
}

static void a_body_is_json_and_not_too_large(void **state)
{
    static const struct {
        const char *name, *type;
        size_t blanks;
        int status;
    } rows[] = {
        { "json", "application/json", 0, 201 },
        { "a form", "application/x-www-form-urlencoded", 0, 415 },
        { "no type", "", 0, 415 },
        { "as large as may be", "application/json", API_REQUEST_MAX, 201 },
        { "one more", "application/json", API_REQUEST_MAX + 1, 413 },
    };
    static const char body[] = "{\"name\":\"n\"}";
    struct api_place *place = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t len = rows[i].blanks < sizeof(body) ? sizeof(body) - 1 : rows[i].blanks;
        char *text = xmalloc(len);
        memset(text, ' ', len);
        memcpy(text, body, sizeof(body) - 1);
        const struct api_caller caller = { .is_operator = true };
        const struct api_request request = { .method = SLICE("POST"),
                                             .path = SLICE("/v1/api-keys"),
                                             .body = slice_make(text, len),
                                             .content_type = slice_of(rows[i].type) };
        int status = api_place_call(place, &caller, &request);
        if (status != rows[i].status)
            fail_msg("%s: %d %s", rows[i].name, status, place->text);
        free(text);
    }
}

/* --- queries ---------------------------------------------------------------------------------- */

static void percent_signs_stand_for_octets_that_may_be_shown(void **state)
{
    static const struct {
        struct slice text;
        const char *want; /* NULL: refused */
    } rows[] = {
        { SLICE(""), "" },
        { SLICE("abc"), "abc" },
        { SLICE("a%40b%2ec"), "a@b.c" },
        { SLICE("%61%7E"), "a~" },
        { SLICE("%c3%bc"), "\xc3\xbc" },
        { SLICE("a+b"), "a+b" },
        { SLICE("%2541"), "%41" },
        { SLICE("1234567"), "1234567" },
        { SLICE("12345678"), NULL },
        { SLICE("123456%37"), "1234567" },
        { SLICE("1234567%38"), NULL },
        { SLICE("%"), NULL },
        { SLICE("a%4"), NULL },
        { SLICE("%4g"), NULL },
        { SLICE("%g4"), NULL },
        { SLICE("%-1"), NULL },
        { SLICE("%\0001"), NULL },
        { SLICE("%4\0"), NULL },
        { SLICE("%00"), NULL },
        { SLICE("%0a"), NULL },
        { SLICE("%1f"), NULL },
        { SLICE("%20"), " " },
        { SLICE("%7f"), NULL },
        { SLICE("\t"), NULL },
        { SLICE("\x7f"), NULL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char out[8] = "before";
        bool ok = api_decode(rows[i].text, out, sizeof(out));
        if (ok != (rows[i].want != NULL) || (ok && strcmp(out, rows[i].want) != 0))
            fail_msg("%s: got %s, want %s", rows[i].text.data, ok ? out : "a refusal",
                     rows[i].want == NULL ? "a refusal" : rows[i].want);
    }
}

static void a_query_has_known_parameters_once_each(void **state)
{
    static const struct {
        const char *target;
        int status;
        const char *code;
    } rows[] = {
        { "/v1/accounts", 200, "" },
        { "/v1/accounts?", 200, "" },
        { "/v1/accounts?limit=1", 200, "" },
        { "/v1/accounts?limit=1000", 200, "" },
        { "/v1/messages?sender=%61%40good.example&limit=5", 200, "" },
        { "/v1/accounts?limit=0", 422, "invalid_value" },
        { "/v1/accounts?limit=1001", 422, "invalid_value" },
        { "/v1/accounts?limit=-1", 422, "invalid_value" },
        { "/v1/accounts?limit=x", 422, "invalid_value" },
        { "/v1/accounts?limit=99999999999999999999", 422, "invalid_value" },
        { "/v1/accounts?limit", 400, "invalid_parameter" },
        { "/v1/accounts?limit=", 400, "invalid_parameter" },
        { "/v1/accounts?limit=%", 400, "invalid_parameter" },
        { "/v1/accounts?limit=1&limit=1", 400, "invalid_parameter" },
        { "/v1/accounts?limit=1&", 400, "unknown_parameter" },
        { "/v1/accounts?&limit=1", 400, "unknown_parameter" },
        { "/v1/accounts?Limit=1", 400, "unknown_parameter" },
        { "/v1/accounts?limi=1", 400, "unknown_parameter" },
        { "/v1/accounts?=1", 400, "unknown_parameter" },
    };
    struct api_place *place = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        api_place_ask(place, NULL, "GET", rows[i].target, NULL);
        check_answer(place, rows[i].target, rows[i].status, rows[i].code, "");
    }
}

/* --- values ----------------------------------------------------------------------------------- */

static void what_is_not_utf_8_becomes_a_mark_for_each_octet(void **state)
{
#define MARK "\xef\xbf\xbd"
    static const struct {
        const char *text, *want;
    } rows[] = {
        { "", "" },
        { "plain \x01\x7f", "plain \x01\x7f" },
        { "\xc2\x80\xdf\xbf", "\xc2\x80\xdf\xbf" },
        { "\xe0\xa0\x80\xef\xbf\xbf", "\xe0\xa0\x80\xef\xbf\xbf" },
        { "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf" },
        { "latin \xfc!", "latin " MARK "!" },
        { "\x80", MARK },
        { "\xff\xfe", MARK MARK },
        { "\xc0\x80", MARK MARK },                        /* too long a form */
        { "\xe0\x9f\xbf", MARK MARK MARK },               /* likewise */
        { "\xf0\x8f\xbf\xbf", MARK MARK MARK MARK },      /* likewise */
        { "\xed\xa0\x80", MARK MARK MARK },               /* a surrogate */
        { "\xf4\x90\x80\x80", MARK MARK MARK MARK },      /* behind the last character */
        { "\xc3", MARK },                                 /* cut short */
        { "\xe2\x82", MARK MARK },                        /* likewise */
        { "\xf0\x9f\x98", MARK MARK MARK },               /* likewise */
        { "\xe2\x82x\xc3\xbc", MARK MARK "x\xc3\xbc" },   /* cut, and it goes on */
        { "\xf0\x9f\x98x\xc3", MARK MARK MARK "x" MARK }, /* likewise */
        { "\xf0\x9f\xff\x80", MARK MARK MARK MARK },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *json = api_json_text(rows[i].text);
        if (!json_is_string(json) || strcmp(json_string_value(json), rows[i].want) != 0)
            fail_msg("row %zu: got \"%s\", want \"%s\"", i, json_string_value(json), rows[i].want);
        json_decref(json);
    }
}

static void what_is_absent_is_null_or_an_empty_list(void **state)
{
    char *texts[] = { xstrdup("a"), xstrdup("\xff"), NULL };
    const struct {
        json_t *got;
        const char *want;
    } rows[] = {
        { api_json_text(NULL), "null" },
        { api_json_texts(NULL), "[]" },
        { api_json_texts(texts + 2), "[]" },
        { api_json_texts(texts), "[\"a\",\"" MARK "\"]" },
        { api_json_time(0), "null" },
        { api_json_time_ms(0), "null" },
        { api_json_time(1790000000), "\"2026-09-21T14:13:20Z\"" },
        { api_json_time_ms(1790000000999), "\"2026-09-21T14:13:20Z\"" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *text = json_dumps(rows[i].got, JSON_COMPACT | JSON_ENCODE_ANY);
        if (strcmp(text, rows[i].want) != 0)
            fail_msg("row %zu: got %s, want %s", i, text, rows[i].want);
        free(text);
        json_decref(rows[i].got);
    }
    free(texts[0]);
    free(texts[1]);
}

#define PLACE_TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_strict_json_of_an_object_is_taken),
        cmocka_unit_test(depth_and_values_are_bounded_before_they_cost_anything),
        cmocka_unit_test(a_nul_may_stand_in_a_text_of_those_who_ask_and_never_in_a_name),
        cmocka_unit_test(json_may_be_called_utf_8_and_nothing_else),
        PLACE_TEST(each_member_is_known_and_of_its_type),
        PLACE_TEST(an_unknown_name_is_told_in_an_answer_that_can_be_read),
        PLACE_TEST(a_list_has_an_end),
        PLACE_TEST(a_body_is_json_and_not_too_large),
        cmocka_unit_test(percent_signs_stand_for_octets_that_may_be_shown),
        PLACE_TEST(a_query_has_known_parameters_once_each),
        cmocka_unit_test(what_is_not_utf_8_becomes_a_mark_for_each_octet),
        cmocka_unit_test(what_is_absent_is_null_or_an_empty_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
