/* date.c - dates of RFC 5322 section 3.3 and ISO 8601.
 * Own arithmetic instead of gmtime_r() and strftime(): those take a lock that all workers share and
 * ask the locale. A clock that is far off gives a wrong date of the right form, never another form.
 * Pure; any thread. */
#include "relay/message/date.h"

#include <stdio.h>

#define DAY_S  86400
#define LAST_S 253402300799 /* the end of the year 9999: the last with four digits */

struct civil {
    int year;
    int month;   /* 0 to 11 */
    int day;     /* 1 to 31 */
    int weekday; /* 0 is Sunday */
    int hour, minute, second;
};

/* Days are counted in years that begin in March, so that the leap day is the last of its year, and
 * in eras of 400 years, which all have the same length. */
static struct civil civil_from(int64_t unix_s)
{
    int64_t at = unix_s < 0 ? 0 : unix_s > LAST_S ? LAST_S : unix_s;
    int days = (int)(at / DAY_S);
    int rest = (int)(at % DAY_S);
    int since = days + 719468; /* from 1 March of the year 0 */
    int era = since / 146097;
    int of_era = since % 146097;
    int year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int of_year = of_era - (365 * year + year / 4 - year / 100);
    int month = (5 * of_year + 2) / 153; /* 0 is March */

    return (struct civil){
        .year = year + era * 400 + (month >= 10),
        .month = (month + 2) % 12,
        .day = of_year - (153 * month + 2) / 5 + 1,
        .weekday = (days + 4) % 7, /* 1 January 1970 was a Thursday */
        .hour = rest / 3600,
        .minute = rest / 60 % 60,
        .second = rest % 60,
    };
}

void date_format_mail(int64_t unix_s, char text[static DATE_MAIL_BYTES])
{
    static const char weekdays[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
    static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    struct civil c = civil_from(unix_s);

    snprintf(text, DATE_MAIL_BYTES, "%s, %02d %s %04d %02d:%02d:%02d +0000", weekdays[c.weekday],
             c.day, months[c.month], c.year, c.hour, c.minute, c.second);
}

void date_format_iso(int64_t unix_s, char text[static DATE_ISO_BYTES])
{
    struct civil c = civil_from(unix_s);

    snprintf(text, DATE_ISO_BYTES, "%04d-%02d-%02dT%02d:%02d:%02dZ", c.year, c.month + 1, c.day,
             c.hour, c.minute, c.second);
}
