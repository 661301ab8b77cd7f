/* date.h - dates of RFC 5322 section 3.3 and ISO 8601 (pure). */
#ifndef LATCHPOST_DATE_H
#define LATCHPOST_DATE_H

#include <stdint.h>

#include "relay/base/slice.h"

#define DATE_MAIL_BYTES 40
#define DATE_ISO_BYTES  32

/* "Sat, 21 Nov 2026 12:56:26 +0000"; always UTC. */
void date_format_mail(int64_t unix_s, char text[static DATE_MAIL_BYTES]);
/* "2026-11-21T12:56:26Z" */
void date_format_iso(int64_t unix_s, char text[static DATE_ISO_BYTES]);

#endif
