/* service.c - who is let in, and how does it end for all?
 * The order of the questions at the door: those that need no counting come first, because whoever
 * is counted in must be counted out. */
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/base/metrics.h"
#include "relay/smtp/session_priv.h"

enum reply service_admit(const struct session *s)
{
    static const enum reply refusals[] = {
        [LISTENER_ADMITTED] = REPLY_LATER,
        [LISTENER_FULL] = REPLY_FULL,
        [LISTENER_ADDRESS_FULL] = REPLY_ADDRESS_FULL,
    };
    struct auth_peer peer;

    if (s->service->draining)
        return REPLY_STOPPING;
    session_auth_peer(s, &peer);
    if (auth_penalty_s(s->service->auth, &peer, clock_wall_s()) > 0)
        return REPLY_PENALTY;
    return refusals[listener_enter(s->service->admissions, &s->peer)];
}

void service_turn_away(const struct session *s, enum reply reply)
{
    char line[REPLY_BYTES];

    metrics_add(METRIC_SESSIONS_REFUSED, 1);
    LOG(LOG_INFO, "session_refused", LOG_STR("door", s->door->name), LOG_STR("peer", s->peer.text),
        LOG_STR("reason", reply_row(reply)->text));
    if (s->door->tls == SMTP_TLS_IMPLICIT) { /* not worth a handshake */
        stream_close(s->stream);
        return;
    }
    stream_write(s->stream, slice_make(line, reply_format(reply, NULL, line)));
    stream_finish(s->stream);
}

void smtp_service_drain(struct smtp_service *service)
{
    service->draining = true;
    if (service->session_count == 0 && service->emptied != NULL) {
        service->emptied(service->owner);
        return;
    }
    list_for_each(node, next, &service->sessions) {
        struct session *s = list_entry(node, struct session, link);
        if (s->state == ST_HANDSHAKE)
            session_close(s, CLOSE_STOPPING);
        else
            session_rest(s);
    }
}

void smtp_service_stop(struct smtp_service *service)
{
    service->draining = true;
    list_for_each(node, next, &service->sessions) {
        struct session *s = list_entry(node, struct session, link);
        if (s->state == ST_HANDSHAKE)
            session_close(s, CLOSE_STOPPING);
        else if (s->state != ST_COMMIT)
            session_reply(s, REPLY_STOPPING);
    }
}
