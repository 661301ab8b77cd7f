/* api_filter.c - which messages are meant? The same words as parameters of a list and as fields of
 * a body. An age is a number with its unit, like "2h", and is reckoned from now. */
#include "relay/base/clock.h"
#include "relay/http/api_priv.h"

#define AGE_MAX_MS (INT64_C(10000) * 86400000)

const char *const api_filter_names[API_FILTER_COUNT + 1] = {
    API_FILTER_WORDS(API_FILTER_NAME)[API_FILTER_COUNT] = NULL,
};

bool api_parse_span(struct slice text, int64_t *age_ms)
{
    static const struct {
        char letter;
        int64_t ms;
    } units[] = { { 's', 1000 }, { 'm', 60000 }, { 'h', 3600000 }, { 'd', 86400000 } };
    uint64_t number;

    if (text.len < 2 || !slice_to_u64(slice_first(text, text.len - 1), &number))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (text.data[text.len - 1] == units[i].letter) {
            if (number > (uint64_t)(AGE_MAX_MS / units[i].ms))
                return false;
            *age_ms = (int64_t)number * units[i].ms;
            return true;
        }
    return false;
}

static bool refuse(struct api_call *call, enum api_filter which, const char *allowed)
{
    api_fail(call, 422, "invalid_value", "\"%s\" must be %s.", api_filter_names[which], allowed);
    return false;
}

static bool read_age(struct api_call *call, const char *const *values, enum api_filter which,
                     int64_t *time_ms)
{
    int64_t age_ms;

    if (values[which] == NULL)
        return true;
    if (!api_parse_span(slice_of(values[which]), &age_ms))
        return refuse(call, which, "an age like 30m, 2h or 7d");
    *time_ms = clock_wall_ms() - age_ms;
    return true;
}

bool api_filter_read(struct api_call *call, const char *const values[API_FILTER_COUNT],
                     struct queue_filter *filter)
{
    const char *state = values[API_FILTER_STATE];

    filter->has_state = state != NULL;
    if (filter->has_state && !queue_state_parse(slice_of(state), &filter->state))
        return refuse(call, API_FILTER_STATE, "the name of a state, like \"deferred\"");
    filter->key = values[API_FILTER_KEY];
    filter->sender = values[API_FILTER_SENDER];
    filter->recipient = values[API_FILTER_RECIPIENT];
    filter->upstream = values[API_FILTER_UPSTREAM];
    return read_age(call, values, API_FILTER_OLDER_THAN, &filter->received_before_ms) &&
           read_age(call, values, API_FILTER_NEWER_THAN, &filter->received_after_ms) &&
           api_account(call, values[API_FILTER_ACCOUNT], &filter->account);
}
