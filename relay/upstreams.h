/* upstreams.h - the upstreams of all workers together, for the operator: how are they, and which of
 * them are held? Main thread. */
#ifndef LATCHPOST_UPSTREAMS_H
#define LATCHPOST_UPSTREAMS_H

#include "relay/http/endpoints.h"
#include "relay/worker.h"

struct upstreams;

/* Reads which ones were held when the process before ended. */
bool upstreams_open(struct upstreams **upstreams, const char *state_dir, struct why *why);
void upstreams_close(struct upstreams *upstreams); /* when no answer is awaited; accepts NULL */

/* At the start and at each reload. Borrowed until the next. */
void upstreams_configure(struct upstreams *upstreams, const struct upstream_options *options,
                         size_t count);
/* The workers, before they start: so nothing is given to an upstream that is held. Borrowed. */
void upstreams_attach(struct upstreams *upstreams, struct worker *const *workers, size_t count);

const struct api_upstreams *upstreams_api(const struct upstreams *upstreams);

#endif
