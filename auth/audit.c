/* audit.c - who changed what, and what was refused, for those who may read it.
 * What the ring of refusals holds is written first, so that the reference in a reply is found as
 * soon as the reply was read. The administration's thread. */
#include <stdlib.h>

#include "auth/auth_priv.h"
#include "relay/base/alloc.h"
#include "relay/base/clock.h"

static void free_view(const struct auth_audit_view *view)
{
    const char *const texts[] = { view->actor,  view->from,    view->protocol, view->account,
                                  view->action, view->subject, view->detail };

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        free((char *)texts[i]);
}

static void keep_view(void *owner, const struct auth_audit_view *view)
{
    struct auth_audits *audits = owner;
    struct auth_audit_view *kept;

    audits->views = xrealloc(audits->views, (audits->count + 1) * sizeof(*audits->views));
    kept = &audits->views[audits->count++];
    *kept = *view;
    kept->actor = xstrdup(view->actor);
    kept->from = xstrdup(view->from);
    kept->protocol = xstrdup(view->protocol);
    kept->account = xstrdup(view->account);
    kept->action = xstrdup(view->action);
    kept->subject = xstrdup(view->subject);
    kept->detail = xstrdup(view->detail);
}

enum auth_result auth_audit_list(struct auth *auth, const struct auth_audit_filter *filter,
                                 struct auth_audits *audits, struct why *why)
{
    *audits = (struct auth_audits){ 0 };
    (void)refusals_flush(auth->refusals, auth->store, clock_wall_s()); /* else it waits, logged */
    if (auth_store_read_audit(auth->store, filter, keep_view, audits, &audits->next, why))
        return AUTH_DONE;
    auth_audits_free(audits);
    return AUTH_FAILED;
}

void auth_audits_free(struct auth_audits *audits)
{
    for (size_t i = 0; i < audits->count; i++)
        free_view(&audits->views[i]);
    free(audits->views);
    *audits = (struct auth_audits){ 0 };
}
