/* log.h - what happened? One line per event on standard error: time, level, event, key=value.
 * Values are escaped here, so hostile bytes (line ends, NUL, ESC, invalid UTF-8) cannot forge a
 * line. Two forms: logfmt and json. Secrets must never be given to this module; nothing here could
 * recognise one. Any thread; a line is written with one write(2). */
#ifndef LATCHPOST_LOG_H
#define LATCHPOST_LOG_H

#include "relay/base/slice.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
enum log_format { LOG_LOGFMT, LOG_JSON };

struct log_field {
    const char *name; /* NULL ends a list; a field whose kind is TEXT and data NULL is left out */
    enum { LOG_FIELD_TEXT, LOG_FIELD_INT } kind;
    struct slice text;
    int64_t number;
};

/* clang-format off */
#define LOG_STR(name, string)  { (name), LOG_FIELD_TEXT, slice_of(string), 0 }
#define LOG_SLICE(name, slice) { (name), LOG_FIELD_TEXT, (slice), 0 }
#define LOG_INT(name, value)   { (name), LOG_FIELD_INT, { NULL, 0 }, (int64_t)(value) }
/* clang-format on */

/* LOG(LOG_INFO, "session_closed", LOG_STR("session", id), LOG_INT("messages", n)); */
#define LOG(level, event, ...)                                                                     \
    do {                                                                                           \
        if (log_enabled(level))                                                                    \
            log_event((level), (event),                                                            \
                      (const struct log_field[]){ __VA_ARGS__ __VA_OPT__(, ){ 0 } });              \
    } while (0)

/* From now on: this level and above, in this form. Any thread, at any time. */
void log_configure(enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);
void log_event(enum log_level level, const char *event, const struct log_field *fields);

/* "debug", "info", "warning", "error"; "logfmt", "json". False for any other word. */
bool log_level_parse(struct slice word, enum log_level *level);
bool log_format_parse(struct slice word, enum log_format *format);

/* For tests: lines go, without their line end and one at a time, to this function instead of
 * standard error; NULL restores it. The function must not log. */
typedef void log_sink_fn(void *owner, struct slice line);
void log_divert(log_sink_fn *sink, void *owner);

#endif
