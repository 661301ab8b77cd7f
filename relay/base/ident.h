/* ident.h - the names of messages and sessions.
 * A message id is a positive 63-bit number: 41 bits of milliseconds since 2020, 22 bits of
 * sequence. It grows, within one process and, given the floor, over restarts and clock steps. Its
 * text is 13 lower-case base32 characters (Crockford's alphabet, no i l o u), so it sorts as text
 * like it sorts as number, survives being read aloud, and is safe in headers, logs and URLs. */
#ifndef LATCHPOST_IDENT_H
#define LATCHPOST_IDENT_H

#include "relay/base/slice.h"

#define IDENT_TEXT_BYTES 14 /* 13 characters and the NUL */

/* The next id, larger than all before. Any thread. */
int64_t ident_next(void);

/* The largest that was given out or is the floor; 0: none. Any thread. */
int64_t ident_last(void);

/* From now on ident_next() returns only ids larger than `floor`. Called once at start with the
 * largest id in the queue, so that a clock that went back cannot reuse one. */
void ident_raise_floor(int64_t floor);

/* When this id was made, in milliseconds since 1970 (as the clock said then). */
int64_t ident_time_ms(int64_t id);
/* The smallest id that could have been made at this time: for "older than" questions. */
int64_t ident_at_time_ms(int64_t wall_ms);

void ident_format(int64_t id, char text[static IDENT_TEXT_BYTES]);
/* Accepts exactly what ident_format() writes (upper case too). */
bool ident_parse(struct slice text, int64_t *id);

/* A session id: short, unique within this process. Formatted like a message id's last characters.
 * Any thread. */
#define IDENT_SESSION_BYTES 10
void ident_session(char text[static IDENT_SESSION_BYTES]);

#endif
