/* config_value.c - one value of the configuration: text to what it means (pure). */
#include "relay/config_value.h"

#include <arpa/inet.h>
#include <limits.h>

#include "relay/base/log.h"
#include "relay/base/macros.h"
#include "relay/message/domain.h"

const char *const config_tls_words[] = { "none", "starttls", "implicit", NULL };
const char *const config_fence_words[] = { "auto", "required", "off", NULL };

static const char *const bool_words[] = { "false", "no", "off", "true", "yes", "on", NULL };

int config_parse_word(struct slice text, const char *const *words)
{
    for (int i = 0; words[i] != NULL; i++)
        if (slice_equal(text, slice_of(words[i])))
            return i;
    return -1;
}

bool config_parse_bool(struct slice text, bool *value)
{
    int word = config_parse_word(text, bool_words);

    if (word < 0)
        return false;
    *value = word >= 3;
    return true;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    { "", 1 },
    { "K", 1024 },
    { "M", 1024 * 1024 },
    { "G", 1024 * 1024 * 1024 },
};
static const struct unit duration_units[] = {
    { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 },
};

/* A number and one of the units; at most LLONG_MAX / 1000, so that sums of two cannot overflow. */
static bool parse_with_unit(struct slice text, const struct unit *units, size_t count,
                            uint64_t *value)
{
    size_t digits = 0;
    uint64_t number;

    while (digits < text.len && ascii_is_digit(text.data[digits]))
        digits++;
    if (!slice_to_u64(slice_first(text, digits), &number))
        return false;
    for (size_t i = 0; i < count; i++)
        if (slice_equal_nocase(slice_from(text, digits), slice_of(units[i].name))) {
            if (number > (uint64_t)LLONG_MAX / 1000 / units[i].factor)
                return false;
            *value = number * units[i].factor;
            return true;
        }
    return false;
}

bool config_parse_size(struct slice text, uint64_t *bytes)
{
    return parse_with_unit(text, size_units, ARRAY_LEN(size_units), bytes);
}

bool config_parse_duration(struct slice text, uint64_t *ms)
{
    if (slice_equal(text, SLICE("0"))) {
        *ms = 0;
        return true;
    }
    return parse_with_unit(text, duration_units, ARRAY_LEN(duration_units), ms);
}

bool config_parse_rate(struct slice text, unsigned *per_minute)
{
    static const struct {
        const char *name;
        unsigned seconds;
    } units[] = { { "s", 1 }, { "sec", 1 }, { "min", 60 }, { "m", 60 }, { "h", 3600 } };
    struct slice unit = text;
    struct slice number_text = slice_cut(&unit, '/');
    uint64_t number;

    if (!slice_to_u64(number_text, &number) || number > 1000000)
        return false;
    if (number == 0 && unit.data == NULL) {
        *per_minute = 0;
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (slice_equal(unit, slice_of(units[i].name))) {
            *per_minute = (unsigned)((number * 60 + units[i].seconds - 1) / units[i].seconds);
            return true;
        }
    return false;
}

static bool is_count(struct slice text)
{
    uint64_t number;

    return slice_to_u64(text, &number) && number <= UINT_MAX;
}

static bool is_port(struct slice text)
{
    uint64_t number;

    return slice_to_u64(text, &number) && number >= 1 && number <= 65535;
}

static bool is_text(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] < 32 || text.data[i] == 127)
            return false;
    return true;
}

static bool is_prefix(struct slice text)
{
    if (text.len < 2 || text.len > 12 || text.data[text.len - 1] != '_')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];

        if (!((c >= 'a' && c <= 'z') || ascii_is_digit(c) || c == '_'))
            return false;
    }
    return true;
}

static bool is_address(struct slice text)
{
    char copy[64];
    unsigned char address[16];

    if (slice_equal(text, SLICE("*")))
        return true;
    if (text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    return inet_pton(AF_INET, copy, address) == 1 || inet_pton(AF_INET6, copy, address) == 1;
}

/* A host name; an IP address is one too, since an upstream may have no other name. */
static bool is_name(struct slice text)
{
    char domain[DOMAIN_TEXT_MAX];

    return (!slice_equal(text, SLICE("*")) && is_address(text)) ||
           domain_parse_ascii(text, domain) == DOMAIN_OK;
}

static bool is_bool(struct slice text)
{
    bool value;

    return config_parse_bool(text, &value);
}

static bool is_size(struct slice text)
{
    uint64_t value;

    return config_parse_size(text, &value);
}

static bool is_duration(struct slice text)
{
    uint64_t value;

    return config_parse_duration(text, &value);
}

static bool is_rate(struct slice text)
{
    unsigned value;

    return config_parse_rate(text, &value);
}

static bool is_tls(struct slice text)
{
    return config_parse_word(text, config_tls_words) >= 0;
}

static bool is_level(struct slice text)
{
    enum log_level level;

    return log_level_parse(text, &level);
}

static bool is_form(struct slice text)
{
    enum log_format form;

    return log_format_parse(text, &form);
}

static bool is_doubt(struct slice text)
{
    static const char *const words[] = { "retry", "hold", NULL };

    return config_parse_word(text, words) >= 0;
}

static bool is_fence(struct slice text)
{
    return config_parse_word(text, config_fence_words) >= 0;
}

static const struct {
    bool (*check)(struct slice text);
    const char *hint;
} types[] = {
    [CONFIG_TEXT] = { is_text, "a text without control characters" },
    [CONFIG_NAME] = { is_name, "a host name (relay.example.com)" },
    [CONFIG_BOOL] = { is_bool, "true or false" },
    [CONFIG_COUNT] = { is_count, "a number (0 to 4294967295)" },
    [CONFIG_PORT] = { is_port, "a port (1 to 65535)" },
    [CONFIG_SIZE] = { is_size, "a size (1000, 64K, 25M, 1G)" },
    [CONFIG_DURATION] = { is_duration, "a duration (30s, 2m, 1h, 4d)" },
    [CONFIG_RATE] = { is_rate, "a rate (5/s, 20/min, 100/h, or 0 for none)" },
    [CONFIG_TLS] = { is_tls, "one of \"starttls\", \"implicit\", \"none\"" },
    [CONFIG_LEVEL] = { is_level, "one of \"debug\", \"info\", \"warning\", \"error\"" },
    [CONFIG_FORM] = { is_form, "one of \"logfmt\", \"json\"" },
    [CONFIG_PREFIX] = { is_prefix, "a key prefix (1 to 11 of a-z 0-9 _, then _)" },
    [CONFIG_ADDRESS] = { is_address, "an IP address, or \"*\" for all" },
    [CONFIG_DOUBT] = { is_doubt, "one of \"retry\", \"hold\"" },
    [CONFIG_FILE] = { is_text, "a path without control characters" },
    [CONFIG_FENCE] = { is_fence, "one of \"auto\", \"required\", \"off\"" },
};

bool config_value_check(enum config_type type, struct slice text)
{
    return types[type].check(text);
}

const char *config_type_hint(enum config_type type)
{
    return types[type].hint;
}
