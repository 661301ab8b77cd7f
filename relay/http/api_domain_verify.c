/* api_domain_verify.c - POST /v1/domains/{name}/verify: does the DNS say that the account has this
 * domain? The TXT record that the answer to its adding named must be there, at any place among
 * others. Nothing is kept of an answer that does not say so: the claim waits on, and whoever has
 * changed the zone asks again. */
#include <stdio.h>

#include "relay/base/clock.h"
#include "relay/http/api_priv.h"
#include "relay/net/txt_lookup.h"

#define SHOWN_TEXTS 3  /* of what was found, in a refusal */
#define SHOWN_BYTES 80 /* of each */

/* Panels for DNS records are fed with blanks and quotation marks around the text. */
static bool is_token(struct slice text, const char *token)
{
    struct slice bare = slice_trim(text);

    if (bare.len >= 2 && bare.data[0] == '"' && bare.data[bare.len - 1] == '"')
        bare = slice_first(slice_from(bare, 1), bare.len - 2);
    return slice_equal(slice_trim(bare), slice_of(token));
}

static bool has_token(const struct txt_answer *answer, const char *token)
{
    for (size_t i = 0; i < answer->count; i++)
        if (is_token(answer->texts[i], token))
            return true;
    return false;
}

/* The first few texts, in quotation marks. They may hold any octets: those that print nothing are
 * replaced here and by api_fail(). */
static void describe(const struct txt_answer *answer, char *out, size_t size)
{
    size_t len = 0;

    for (size_t i = 0; i < answer->count && i < SHOWN_TEXTS; i++) {
        struct slice text = slice_first(answer->texts[i], SHOWN_BYTES);
        char shown[SHOWN_BYTES + 1];
        for (size_t at = 0; at < text.len; at++)
            shown[at] = text.data[at] == '\0' ? '?' : text.data[at];
        shown[text.len] = '\0';
        len += (size_t)snprintf(out + len, size - len, "%s\"%s%s\"", i > 0 ? ", " : "", shown,
                                text.len < answer->texts[i].len ? "..." : "");
    }
    if (answer->count > SHOWN_TEXTS)
        snprintf(out + len, size - len, ", ...");
}

static void refuse_mismatch(struct api_call *call, const char *name, const char *token,
                            const struct txt_answer *answer)
{
    char found[SHOWN_TEXTS * (SHOWN_BYTES + 8) + 8];

    describe(answer, found, sizeof(found));
    api_fail(call, 422, "record_mismatch",
             "The TXT records at %s (%zu) are not the one that is expected, \"%s\". Found: %s",
             name, answer->count, token, found);
}

static void refuse(struct api_call *call, const char *name, const char *token,
                   const struct txt_answer *answer)
{
    switch (answer->result) {
    case TXT_FOUND:
        refuse_mismatch(call, name, token, answer);
        break;
    case TXT_NO_NAME:
    case TXT_NO_TEXT:
        api_fail(call, 422, "record_missing",
                 "%s: %s. Publish it with the text \"%s\"; name servers may take a while to tell.",
                 answer->result == TXT_NO_NAME ? "There is no such name in the DNS"
                                               : "There is no TXT record at this name",
                 name, token);
        break;
    case TXT_TIMEOUT:
        api_fail(call, 504, "dns_timeout", "No name server answered in time about %s. Try again.",
                 name);
        break;
    case TXT_FAILED:
        api_fail(call, 503, "dns_failed", "The DNS cannot be asked about %s: %s.", name,
                 answer->problem);
        break;
    case TXT_BUSY:
        call->answer.retry_after_s = 1;
        api_fail(call, 429, "busy", "Too many domains are being verified just now. Try again.");
        break;
    case TXT_CANCELLED:
        api_fail(call, 503, "stopping", "The relay is stopping.");
        break;
    }
}

static void answer_domain(struct api_call *call)
{
    struct auth_domains domains;
    const struct auth_domain_view *domain;

    if (api_domain_find(call, call->account, &domains, &domain))
        api_done(call, 200, api_domain_json(call, domain), NULL);
    auth_domains_free(&domains);
}

/* The key may have been revoked, or the domain removed, while the DNS was asked. */
static bool may_still(struct api_call *call)
{
    int64_t now_s = clock_wall_s();
    enum auth_verdict verdict = AUTH_OK;

    if (call->is_operator)
        return true;
    if (!auth_grant_is_current(call->grant, now_s))
        verdict = auth_grant_renew(call->api->auth, &call->grant, now_s);
    call->actor = auth_grant_key_id(call->grant);
    if (verdict == AUTH_OK)
        return true;
    api_fail(call, 401, "unauthorized", "%s", auth_verdict_text(verdict));
    return false;
}

static void prove(struct api_call *call)
{
    struct why why = { "" };
    enum auth_result result;

    if (!may_still(call))
        return;
    api_set_origin(call);
    result = auth_domain_prove(call->api->auth, call->actor, call->account, call->param,
                               clock_wall_s(), &why);
    if (result == AUTH_DONE)
        answer_domain(call);
    else
        api_fail_auth(call, result, &why);
}

static void on_texts(void *owner, const struct txt_answer *answer)
{
    struct api_call *call = owner;
    char token[AUTH_DOMAIN_TOKEN_BYTES], name[API_RECORD_NAME_BYTES];

    auth_domain_token(call->api->auth, call->account, call->param, token);
    api_domain_record(call->param, name);
    if (answer->result == TXT_FOUND && has_token(answer, token))
        prove(call);
    else
        refuse(call, name, token, answer);
}

static void look(struct api_call *call, const struct auth_domain_view *domain)
{
    char name[API_RECORD_NAME_BYTES];

    if (call->api->txt == NULL) {
        api_fail(call, 503, "dns_failed", "The DNS cannot be asked from here.");
        return;
    }
    snprintf(call->account, sizeof(call->account), "%s", domain->account);
    snprintf(call->param, sizeof(call->param), "%s", domain->name);
    api_domain_record(domain->name, name);
    txt_lookup(call->api->txt, name, on_texts, call);
}

static void verify(struct api_call *call, const json_t *body)
{
    struct auth_domains domains;
    const struct auth_domain_view *domain;

    if (api_domain_find(call, api_text(body, "account"), &domains, &domain)) {
        if (domain->verified)
            api_done(call, 200, api_domain_json(call, domain), NULL);
        else
            look(call, domain);
    }
    auth_domains_free(&domains);
}

static const struct api_field verify_fields[] = { { "account", API_TEXT } };

void api_domains_verify(struct api_call *call, const struct api_request *request)
{
    json_t *body = api_body(call, request, verify_fields, ARRAY_LEN(verify_fields));

    if (body != NULL)
        verify(call, body);
    json_decref(body);
}

const struct api_shape api_domain_verify_shapes[] = {
    { .run = api_domains_verify,
      API_FIELDS(verify_fields),
      .status = 200,
      .data = "Domain",
      .refusals = { 404, 409, 504 } },
    { 0 },
};
