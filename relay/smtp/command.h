/* command.h - what does this line ask for, and may it now? */
#ifndef LATCHPOST_COMMAND_H
#define LATCHPOST_COMMAND_H

#include "relay/base/slice.h"
#include "relay/smtp/reply.h"

struct session;

enum tally { /* the commands that the summary of a session counts, each as ok/total */
             TALLY_HELLO,
             TALLY_STARTTLS,
             TALLY_AUTH,
             TALLY_MAIL,
             TALLY_RCPT,
             TALLY_DATA,
             TALLY_MESSAGE, /* the end of data */
             TALLY_RSET,
             TALLY_NOOP,
             TALLY_QUIT,
             TALLY_OTHER,
             TALLY_COUNT
};
extern const char *const tally_names[TALLY_COUNT];

/* Runs one line, without its CRLF, and answers it. */
void command_run(struct session *s, struct slice line);

/* Says the reply to a command of this kind: counts it, and says 421 instead when it was one error
 * or one idle step too many. Also for lines that never became a command. */
void command_answer(struct session *s, enum tally tally, enum reply reply);

#endif
