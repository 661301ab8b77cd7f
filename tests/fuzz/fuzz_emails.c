/* fuzz_emails.c - any bytes as a request to send, up to what the queue would store.
 * Input: one byte that says which form, then the body. What is refused names a status and a code;
 * what is taken is 7-bit, ends its lines with CR LF only, has none over 998 octets, is no longer
 * than it may be, and has exactly one From, of the key's domain, and no Bcc. */
#include "relay/http/parcel.h"
#include "relay/message/address.h"
#include "relay/message/header.h"
#include "tests/support/api_place.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROOM (1u << 20)

static struct api_place place;
static struct auth_grant *grant;

static void at_exit(void)
{
    auth_grant_unref(grant);
    api_place_close(&place);
}

static void open_once(void)
{
    struct why why = { "" };

    if (place.auth != NULL)
        return;
    if (!api_place_open(&place, &why)) {
        fprintf(stderr, "%s\n", why.text);
        abort();
    }
    int status = api_place_ask(&place, NULL, "POST", "/v1/domains", "{\"name\":\"good.example\"}");
    assert(status == 201);
    (void)status;
    grant = api_place_key(&place, "{\"name\":\"f\",\"domain\":\"good.example\"}");
    atexit(at_exit);
}

static void check_lines(struct slice message)
{
    while (message.len > 0) {
        struct slice line = slice_cut(&message, '\n');
        assert(message.data != NULL && line.len > 0 && line.len <= 999);
        assert(slice_find(line, '\r') == line.len - 1);
        for (size_t i = 0; i < line.len; i++)
            assert((uint8_t)line.data[i] < 128 && line.data[i] != '\0');
    }
}

static void check_header(struct slice message)
{
    struct header header;
    const struct header_field *from = NULL;
    struct address address;
    enum header_error parsed = header_parse(message, &header);

    assert(parsed == HEADER_OK);
    assert(header_count(&header, SLICE("From"), &from) == 1);
    assert(header_count(&header, SLICE("Bcc"), NULL) == 0);
    assert(header_count(&header, SLICE("Received"), NULL) == 1);
    assert(header_count(&header, SLICE("Date"), NULL) == 1);
    assert(header_count(&header, SLICE("Message-ID"), NULL) == 1);
    enum address_error error = address_parse_mailbox(from->value, &address);
    assert(error == ADDRESS_OK);
    assert(slice_equal(address.domain, SLICE("good.example")));
    (void)parsed;
    (void)error;
    header_free(&header);
}

static void check_parcel(const struct parcel *parcel)
{
    struct buf message;

    buf_init(&message, parcel_size(parcel));
    parcel_read(parcel, 0, parcel_size(parcel), &message);
    assert(buf_len(&message) == parcel_size(parcel));
    check_lines(buf_slice(&message));
    check_header(buf_slice(&message));
    assert(parcel->recipients.count > 0 && parcel->recipients.count <= 10);
    assert(strstr(parcel->sender, "@good.example") != NULL);
    buf_free(&message);
}

static bool make(struct mail_draft *draft, struct mail_refusal *refusal)
{
    const struct parcel_facts facts = {
        .grant = grant, .rules = place.api.mail, .address = "192.0.2.7", .room = ROOM
    };
    struct parcel parcel = { 0 };
    bool ok = parcel_make(&parcel, draft, &facts, refusal);

    if (ok)
        check_parcel(&parcel);
    parcel_free(&parcel);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mail_request request = { 0 };
    struct mail_refusal refusal = { 0 };

    if (size < 1)
        return 0;
    open_once();
    bool ok = mail_request_read(&request, slice_make(data + 1, size - 1),
                                (data[0] & 1) == 0 ? MAIL_PLAIN : MAIL_PERSONALIZED);
    assert(ok == (request.refusal.status == 0));
    for (size_t i = 0; ok && i < request.count; i++)
        ok = make(&request.drafts[i], &refusal);
    assert(ok || (refusal.status >= 400 && refusal.code != NULL) || request.refusal.code != NULL);
    mail_request_free(&request);
    return 0;
}
