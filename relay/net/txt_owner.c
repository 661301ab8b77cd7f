/* txt_owner.c - whose are the TXT records of this answer?
 * c-ares looks at the question only and takes every TXT record of the answer. Here each must be of
 * the name that was asked for, or of the one that its aliases lead to, in whatever order they stand
 * (RFC 1034 section 3.6.2). The walk ends where the packet does; a name is expanded by c-ares. Each
 * alias costs one walk, so there are few. Pure. */
#include "relay/net/txt_owner.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <stdlib.h>
#include <strings.h>

#include "relay/base/alloc.h"

#define ALIASES_MAX 16

struct answers { /* the answer section of a packet that c-ares has accepted */
    const unsigned char *packet, *first;
    int len;
    unsigned count;
};

struct record {
    char *owner; /* ares_free_string() is owed */
    unsigned type, class;
    const unsigned char *data;
};

static unsigned number_at(const unsigned char *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

/* *at moves behind it. False: the packet ends before it does, or its name cannot be read. */
static bool take_record(const struct answers *answers, const unsigned char **at,
                        struct record *record)
{
    const unsigned char *end = answers->packet + answers->len;
    long used;

    if (ares_expand_name(*at, answers->packet, answers->len, &record->owner, &used) != ARES_SUCCESS)
        return false;
    const unsigned char *fixed = *at + used;
    if (end - fixed < NS_RRFIXEDSZ || end - fixed - NS_RRFIXEDSZ < (long)number_at(fixed + 8)) {
        ares_free_string(record->owner);
        return false;
    }
    record->type = number_at(fixed);
    record->class = number_at(fixed + 2);
    record->data = fixed + NS_RRFIXEDSZ;
    *at = record->data + number_at(fixed + 8);
    return true;
}

/* Calls `look` with each record until it says that this was enough; returns whether it did. */
typedef bool look_fn(const struct answers *answers, const struct record *record, void *owner);
static bool look_through(const struct answers *answers, look_fn *look, void *owner)
{
    const unsigned char *at = answers->first;
    struct record record;
    bool enough = false;

    for (unsigned i = 0; i < answers->count && !enough && take_record(answers, &at, &record); i++) {
        enough = look(answers, &record, owner);
        ares_free_string(record.owner);
    }
    return enough;
}

/* *name: the owner of the alias, then what it stands for. */
static bool follow_alias(const struct answers *answers, const struct record *record, void *name)
{
    char **now = name;
    char *target;
    long used;

    if (record->class != ns_c_in || record->type != ns_t_cname ||
        strcasecmp(record->owner, *now) != 0 ||
        ares_expand_name(record->data, answers->packet, answers->len, &target, &used) !=
            ARES_SUCCESS)
        return false;
    free(*now);
    *now = xstrdup(target);
    ares_free_string(target);
    return true;
}

static bool is_of_another(const struct answers *answers, const struct record *record, void *name)
{
    (void)answers;
    return record->type == ns_t_txt &&
           (record->class != ns_c_in || strcasecmp(record->owner, name) != 0);
}

bool txt_owner_is(const unsigned char *packet, int len, const char *asked)
{
    struct answers answers = { .packet = packet, .len = len };
    char *name, *question;
    long used;

    if (len < NS_HFIXEDSZ || number_at(packet + 4) != 1 ||
        ares_expand_name(packet + NS_HFIXEDSZ, packet, len, &question, &used) != ARES_SUCCESS)
        return false;
    ares_free_string(question);
    if (len - NS_HFIXEDSZ - used < NS_QFIXEDSZ)
        return false;
    answers.first = packet + NS_HFIXEDSZ + used + NS_QFIXEDSZ;
    answers.count = number_at(packet + 6);
    name = xstrdup(asked);
    int aliases = 0;
    while (aliases < ALIASES_MAX && look_through(&answers, follow_alias, &name))
        aliases++;
    bool ok = !look_through(&answers, is_of_another, name);
    free(name);
    return ok;
}
