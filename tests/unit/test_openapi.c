/* test_openapi.c - does the description of the API tell the truth? tests/system/openapi.py holds
 * the answers of the real binary against it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "relay/base/macros.h"
#include "relay/http/api_priv.h"
#include "relay/http/mail_request.h"
#include "tests/support/api_place.h"

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

/* A path of this form with something in place of each {...}. */
static char *fill(const char *form)
{
    char *path = xstrdup(form);

    for (char *open; (open = strchr(path, '{')) != NULL;) {
        char *filled = xasprintf("%.*sNone1234%s", (int)(open - path), path, strchr(path, '}') + 1);
        free(path);
        path = filled;
    }
    return path;
}

static json_t *fetch(struct api_place *place)
{
    assert_int_equal(api_place_ask(place, NULL, "GET", "/v1/openapi.json", NULL), 200);
    assert_non_null(place->json);
    return json_incref(place->json);
}

static const json_t *operation_of(const json_t *document, const struct api_endpoint_row *row)
{
    char method[16] = "";

    for (size_t i = 0; row->method[i] != '\0' && i + 1 < sizeof(method); i++)
        method[i] = ascii_lower(row->method[i]);
    return json_object_get(json_object_get(json_object_get(document, "paths"), row->path), method);
}

static void the_endpoints_are_described_and_nothing_else(void **state)
{
    json_t *document = fetch(*state);
    struct api_endpoint_row row;
    size_t count = 0, described = 0;
    const char *path;
    json_t *methods;

    for (; api_endpoint(count, &row); count++) {
        const json_t *operation = operation_of(document, &row);
        if (operation == NULL ||
            strcmp(json_string_value(json_object_get(operation, "summary")), row.help) != 0)
            fail_msg("%s %s is not described", row.method, row.path);
        bool is_open = json_array_size(json_object_get(operation, "security")) == 0;
        if (is_open != (row.access == API_OPEN))
            fail_msg("%s %s: who may call it is described wrongly", row.method, row.path);
    }
    json_object_foreach(json_object_get(document, "paths"), path, methods) described +=
        json_object_size(methods);
    assert_int_equal(described, count);
    json_decref(document);
}

static bool has_code(const struct api_place *place, const char *code)
{
    return strcmp(api_place_text(place, "error.code"), code) == 0;
}

/* Whoever adds an endpoint that takes a body, or checks that there is none, says so in a shape. */
static void every_endpoint_that_looks_at_its_body_has_a_shape(void **state)
{
    struct api_place *place = *state;
    struct api_endpoint_row row;

    for (size_t i = 0; api_endpoint(i, &row); i++) {
        char *path = fill(row.path);
        api_place_ask(place, NULL, row.method, path, "{\"zz\":1}");
        if (has_code(place, "unknown_field") && api_endpoint_shape(i) == NULL)
            fail_msg("%s %s has no struct api_shape beside its handler", row.method, row.path);
        free(path);
    }
}

/* A value of another type for each field: a field that is not known would hear 400. */
static void each_described_field_is_known_and_of_its_type(void **state)
{
    struct api_place *place = *state;
    struct api_endpoint_row row;
    size_t fields = 0;

    for (size_t i = 0; api_endpoint(i, &row); i++) {
        const struct api_shape *shape = api_endpoint_shape(i);
        char *path = fill(row.path);
        for (size_t f = 0; shape != NULL && f < shape->field_count; f++, fields++) {
            char *body = xasprintf("{\"%s\":{}}", shape->fields[f].name);
            int status = api_place_ask(place, NULL, row.method, path, body);
            if (status != 422 || strstr(place->text, shape->fields[f].name) == NULL)
                fail_msg("%s %s %s: %d %s", row.method, path, body, status, place->text);
            free(body);
        }
        free(path);
    }
    assert_true(fields > 20);
}

static void each_described_parameter_is_known(void **state)
{
    struct api_place *place = *state;
    struct api_endpoint_row row;
    size_t parameters = 0;

    for (size_t i = 0; api_endpoint(i, &row); i++) {
        const struct api_shape *shape = api_endpoint_shape(i);
        char *path = fill(row.path);
        for (size_t q = 0; shape != NULL && shape->query != NULL && shape->query[q] != NULL; q++) {
            char *target = xasprintf("%s?%s=1", path, shape->query[q]);
            api_place_ask(place, NULL, row.method, target, NULL);
            if (has_code(place, "unknown_parameter"))
                fail_msg("%s %s: %s", row.method, target, place->text);
            free(target);
            parameters++;
        }
        free(path);
    }
    assert_true(parameters > 10);
}

/* Required are fields without which it is refused, and only those. */
static void what_is_required_is_missed(void **state)
{
    struct api_place *place = *state;
    struct api_endpoint_row row;

    for (size_t i = 0; api_endpoint(i, &row); i++) {
        const struct api_shape *shape = api_endpoint_shape(i);
        if (shape == NULL || shape->fields == NULL)
            continue;
        char *path = fill(row.path);
        api_place_ask(place, NULL, row.method, path, "{}");
        if (has_code(place, "missing_field") != (shape->required != NULL))
            fail_msg("%s %s: %s", row.method, path, place->text);
        free(path);
    }
}

/* A body with a reader of its own is described by hand: it must have the members that are read. */
static void each_member_of_a_message_is_described_and_no_other(void **state)
{
    static const struct {
        const char *schema;
        const char *const *members;
    } rows[] = {
        { "Email", mail_plain_members },
        { "PersonalizedEmail", mail_shared_members },
        { "Personalization", mail_personalization_members },
        { "Content", mail_content_members },
        { "Attachment", mail_attachment_members },
        { "Address", mail_address_members },
    };
    json_t *document = fetch(*state);
    const json_t *schemas = json_object_get(json_object_get(document, "components"), "schemas");

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const json_t *properties =
            json_object_get(json_object_get(schemas, rows[i].schema), "properties");
        size_t count = 0;
        for (; rows[i].members[count] != NULL; count++)
            if (json_object_get(properties, rows[i].members[count]) == NULL)
                fail_msg("%s: %s is not described", rows[i].schema, rows[i].members[count]);
        if (count != json_object_size(properties))
            fail_msg("%s: it describes what is not read", rows[i].schema);
    }
    json_decref(document);
}

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)
    static const struct CMUnitTest tests[] = {
        IN_PLACE(the_endpoints_are_described_and_nothing_else),
        IN_PLACE(every_endpoint_that_looks_at_its_body_has_a_shape),
        IN_PLACE(each_described_field_is_known_and_of_its_type),
        IN_PLACE(each_described_parameter_is_known),
        IN_PLACE(what_is_required_is_missed),
        IN_PLACE(each_member_of_a_message_is_described_and_no_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
