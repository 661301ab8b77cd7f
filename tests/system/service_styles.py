"""Programs that were written for a mail service with an HTTP API find here what they know: four kinds of such
services, each by a script as its users have it, with curl or with nothing but Python's library, run as a
process of its own. What such a script is told and what arrives at the upstream is what it expects."""
import base64
import datetime
import email
import email.policy
import json
import os
import re
import subprocess
import sys

from support.api import ApiRelay
from support.cases import case, run
from support.relay import PATIENCE_S, wait_for

KEY_MEMBERS = {  # design of a key in an answer: what stands in it, and of which type
    "keyId": str, "name": str, "keyPrefix": str, "masked": str, "scopes": list, "domain": (str, type(None)),
    "domains": list, "status": str, "plan": str, "rateLimit": (int, type(None)), "allowFrom": list,
    "lastUsed": (str, type(None)), "createdAt": str, "expirationTs": (str, type(None)),
}
FILE = bytes(range(256)) * 5


def script(relay, key, text, program=("sh", "-eu"), **more):
    """What a user's script prints, line by line; it has the relay's URL and its key from the environment."""
    done = subprocess.run(
        [*program, "-c", text], text=True, capture_output=True, timeout=PATIENCE_S,
        env={**os.environ, "URL": f"http://127.0.0.1:{relay.api_port}", "KEY": key, "no_proxy": "*",
             "FILE": base64.b64encode(FILE).decode(), **more})
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout.splitlines()


# Prints the status and the answer, which is one line. -s: no meter.
CURL = """
ask() { curl -s -w '%{http_code}\\n' "$@" >answer; tail -n 1 answer; head -n 1 answer; }
cd "$(mktemp -d)"; trap 'rm -rf "$PWD"' EXIT
"""


def curl(relay, key, text, **more):
    """[(status, JSON)] of what the script asked."""
    lines = script(relay, key, CURL + text, **more)
    return [(int(status), json.loads(answer)) for status, answer in zip(lines[::2], lines[1::2])]


def done(answered, status=200):
    got, answer = answered
    assert got == status and answer["success"] is True, (status, answered)
    return answer["data"]


def refused(answered, status, code=None):
    got, answer = answered
    assert got == status and answer["success"] is False, (status, answered)
    assert answer.keys() == {"success", "error"}, answer
    assert answer["error"]["message"] and (code is None or answer["error"]["code"] == code), answer
    return answer["error"]


def arrived(relay, count):
    """Sender, recipients and message of all that is at the upstream, by subject."""
    wait_for(lambda: len(relay.sink.messages) >= count, f"{count} messages at the upstream")
    assert len(relay.sink.messages) == count, relay.sink.messages
    found = [(sender, recipients, email.message_from_bytes(re.sub(rb"(?m)^\.", b"", raw), policy=email.policy.default))
             for sender, recipients, raw in relay.sink.messages]
    return {message["Subject"]: (sender, recipients, message) for sender, recipients, message in found}


def text_of(message, kind):
    return message.get_body((kind,)).get_content().replace("\r\n", "\n")


def is_time(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).tzinfo is not None


def check_key(key, **wanted):
    """Has it all members, of the right types and forms, and these values?"""
    for name, kind in KEY_MEMBERS.items():
        assert name in key and isinstance(key[name], kind), (name, key)
    assert re.fullmatch(r"[0-9A-Za-z]{8}", key["keyId"]), key
    assert key["keyPrefix"] == f"lpk_{key['keyId'][:4]}****", key
    assert re.fullmatch(r"lpk_%s\.\.\.[0-9A-Za-z]{4}" % key["keyId"][:4], key["masked"]), key
    assert is_time(key["createdAt"]) and all(key[name] is None or is_time(key[name])
                                             for name in ("lastUsed", "expirationTs")), key
    for name, value in wanted.items():
        assert key[name] == value, (name, value, key)


def check_new_key(answered, **wanted):
    """What is told once: the key itself, with a warning; its text."""
    key = done(answered, 201)
    check_key(key, **wanted)
    assert re.fullmatch(r"lpk_[0-9A-Za-z]{36}", key["apiKey"]), key
    assert key["apiKey"].startswith("lpk_" + key["keyId"]), key
    assert key["masked"] == key["apiKey"][:8] + "..." + key["apiKey"][-4:], key
    assert isinstance(answered[1]["meta"]["warning"], str), answered
    return key["apiKey"]


# --- Authorization: Bearer, POST /v1/emails -------------------------------------------------------


BEARER_SCRIPT = """
ask "$URL/v1/emails" -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{
    "from": "Shop <shop@good.example>", "to": ["ann@dest.example"], "subject": "plain",
    "html": "<p>It works.</p>", "text": "It works."}'
ask -X POST "$URL/v1/emails" -H "authorization: bearer $KEY" -H 'content-type: application/json; charset=utf-8' \\
    -H 'Idempotency-Key: order-17' --data-binary @- <<END
{"from": "shop@good.example", "to": "ann@dest.example", "cc": "bob@dest.example", "bcc": ["eve@dest.example"],
 "reply_to": "help@good.example", "subject": "attached", "text": "See the file.", "headers": {"X-Order": "17"},
 "attachments": [{"filename": "data.bin", "content": "$FILE"}]}
END
ask "$URL/v1/emails" -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{
    "from": "shop@good.example", "subject": "to nobody", "text": "hi"}'
ask "$URL/v1/emails" -H "Authorization: Bearer ${KEY}x" -H 'Content-Type: application/json' -d '{
    "from": "shop@good.example", "to": "ann@dest.example", "subject": "wrong key", "text": "hi"}'
ask "$URL/v1/emails" -H 'Content-Type: application/json' -d '{
    "from": "shop@good.example", "to": "ann@dest.example", "subject": "no key", "text": "hi"}'
"""


@case
def a_script_with_a_bearer_token_sends_by_v1_emails():
    with ApiRelay() as relay:
        plain, attached, nobody, wrong, none = curl(relay, relay.key(), BEARER_SCRIPT)
        for answered, recipients in ((plain, 1), (attached, 3)):
            data = done(answered, 202)
            assert isinstance(data["id"], str) and data["status"] == "queued", data
            assert data["recipients"] == recipients and data["messageId"].startswith("<"), data
            assert answered[1]["meta"] == {"total": 1}, answered
        assert "to" in refused(nobody, 422, "missing_field")["message"]
        refused(wrong, 401, "unauthorized")
        refused(none, 401, "unauthorized")

        mail = arrived(relay, 2)
        sender, recipients, message = mail["plain"]
        assert (sender, recipients) == ("shop@good.example", ["ann@dest.example"]), (sender, recipients)
        assert message["From"] == "Shop <shop@good.example>" and message["To"] == "ann@dest.example", message
        assert message["Message-ID"] == done(plain, 202)["messageId"], message
        assert text_of(message, "html") == "<p>It works.</p>\n", message
        assert text_of(message, "plain") == "It works.\n", message
        _, recipients, message = mail["attached"]
        assert sorted(recipients) == ["ann@dest.example", "bob@dest.example", "eve@dest.example"], recipients
        assert message["Reply-To"] == "help@good.example" and message["X-Order"] == "17", message
        assert "eve@" not in message.as_string(), message
        (attachment,) = message.iter_attachments()
        assert attachment.get_filename() == "data.bin" and attachment.get_content() == FILE


# --- X-API-Key, /v1/api-keys ----------------------------------------------------------------------


KEYS_SCRIPT = """
json='Content-Type: application/json'
ask "$URL/v1/api-keys" -H "X-API-Key: $KEY" -H "$json" -d '{
    "name": "shop", "scopes": ["send"], "domain": "good.example", "expirationDays": 30, "rateLimit": 60,
    "allowFrom": ["127.0.0.0/8", "::1"]}'
made=$(sed -n 's/.*"apiKey":"\\([^"]*\\)".*/\\1/p' answer)
id=$(sed -n 's/.*"keyId":"\\([^"]*\\)".*/\\1/p' answer)
ask "$URL/v1/emails" -H "x-api-key: $made" -H "$json" -d '{
    "from": "shop@good.example", "to": "ann@dest.example", "subject": "by the new key", "text": "hi"}'
ask "$URL/v1/api-keys" -H "X-API-Key: $KEY"
ask "$URL/v1/api-keys/$id" -H "X-API-Key: $KEY"
ask "$URL/v1/api-keys" -H "X-API-Key: $made"
ask "$URL/v1/api-keys/$FOREIGN" -H "X-API-Key: $KEY"
ask -X DELETE "$URL/v1/api-keys/$id" -H "X-API-Key: $KEY"
ask "$URL/v1/emails" -H "X-API-Key: $made" -H "$json" -d '{
    "from": "shop@good.example", "to": "ann@dest.example", "subject": "too late", "text": "hi"}'
ask -X DELETE "$URL/v1/api-keys/$id" -H "X-API-Key: $KEY"
ask "$URL/v1/api-keys" -H "X-API-Key: $KEY"
ask -X POST "$URL/v1/api-keys" -H "X-API-Key: $KEY" -H "$json" -d '{"name": "admin", "scopes": ["accounts"]}'
ask "$URL/v1/api-keys"
"""


@case
def a_script_with_x_api_key_manages_keys_by_v1_api_keys():
    with ApiRelay() as relay:
        relay.cli("domain", "add", "good.example")
        relay.cli("account", "create", "other")
        foreign = relay.cli("key", "create", "--name", "foreign", "--account", "other").stdout.strip()
        admin = relay.cli("key", "create", "--name", "admin", "--scope", "send,keys").stdout.strip()
        made, sent, listed, shown, not_manager, not_own, deleted, late, again, after, too_much, nobody = \
            curl(relay, admin, KEYS_SCRIPT, FOREIGN=foreign[4:12])
        wanted = {"name": "shop", "scopes": ["send"], "domain": "good.example", "domains": ["good.example"],
                  "status": "active", "plan": "default", "rateLimit": 60, "allowFrom": ["127.0.0.0/8", "::1"]}
        text = check_new_key(made, lastUsed=None, **wanted)
        created, expires = (datetime.datetime.fromisoformat(made[1]["data"][name].replace("Z", "+00:00"))
                            for name in ("createdAt", "expirationTs"))
        assert abs(expires - created - datetime.timedelta(days=30)) < datetime.timedelta(seconds=60), made

        assert done(sent, 202)["status"] == "queued"
        assert "by the new key" in arrived(relay, 1)
        assert listed[1]["meta"]["total"] == 2 and [key["name"] for key in done(listed)] == ["admin", "shop"], listed
        for key in (done(listed)[1], done(shown)):
            check_key(key, **wanted)
            assert key["lastUsed"] is not None and "apiKey" not in key, key
        check_key(done(listed)[0], domain=None, domains=[], rateLimit=None, allowFrom=[], expirationTs=None)
        assert text not in json.dumps([listed, shown])

        refused(not_manager, 403)
        refused(not_own, 404, "not_found")
        assert done(deleted) == {"keyId": text[4:12], "revoked": True}, deleted
        refused(late, 401, "unauthorized")
        assert done(again) == done(deleted), again  # whoever did not hear the answer asks again
        assert after[1]["meta"]["total"] == 1 and len(done(after)) == 1, after
        refused(too_much, 403)
        refused(nobody, 401, "unauthorized")


# --- X-Api-Key, /tx/v1/send, sub-accounts ---------------------------------------------------------


SUB_ACCOUNT_SCRIPT = """
json='Content-Type: application/json'
ask "$URL/tx/v1/sub-account" -H "X-Api-Key: $KEY" -H "$json" -d '{"handle": "shop"}'
ask "$URL/tx/v1/sub-account" -H "X-Api-Key: $KEY"
ask -X POST "$URL/tx/v1/sub-account/shop/api-key" -H "X-Api-Key: $KEY"
ask -X POST "$URL/tx/v1/sub-account/shop/api-key" -H "X-Api-Key: $KEY" -H "$json" -d '{}'
id=$(sed -n 's/.*"keyId":"\\([^"]*\\)".*/\\1/p' answer)
ask "$URL/tx/v1/sub-account/shop/api-key" -H "X-Api-Key: $KEY"
ask -X DELETE "$URL/tx/v1/sub-account/shop/api-key/$id" -H "X-Api-Key: $KEY"
ask "$URL/tx/v1/sub-account/shop/api-key" -H "X-Api-Key: $KEY"
ask "$URL/tx/v1/sub-account/foreign/api-key" -H "X-Api-Key: $KEY"
"""

PERSONALIZED_SCRIPT = """
json='Content-Type: application/json; charset=UTF-8'
ask "$URL/tx/v1/send" -H "X-Api-Key: $KEY" -H "$json" -d @- <<END
{"personalizations": [{"to": [{"email": "ann@dest.example", "name": "Ann"}]},
                      {"to": [{"email": "bob@dest.example"}], "cc": [{"email": "eve@dest.example"}],
                       "reply_to": {"email": "bobs-clerk@shop.example"},
                       "subject": "for Bob", "headers": {"X-Whose": "Bob"}}],
 "from": {"email": "news@shop.example", "name": "Shop"}, "reply_to": {"email": "help@shop.example"},
 "subject": "for all", "content": [{"type": "text/plain; charset=utf-8", "value": "News."},
                                   {"type": "text/html", "value": "<b>News.</b>"}],
 "attachments": [{"content": "$FILE", "type": "application/pdf", "filename": "news.pdf"}]}
END
ask "$URL/tx/v1/send" -H "X-Api-Key: $KEY" -H "$json" -d '{
    "personalizations": [{"to": [{"email": "ann@dest.example"}]}], "from": {"email": "news@good.example"},
    "subject": "by the parent", "content": [{"type": "text/plain", "value": "hi"}]}'
ask "$URL/tx/v1/sub-account/shop/api-key" -H "X-Api-Key: $KEY"
"""


@case
def a_script_with_x_api_key_makes_keys_of_sub_accounts_and_sends_by_tx_v1_send():
    with ApiRelay() as relay:
        relay.cli("domain", "add", "good.example")
        relay.cli("account", "create", "foreign")
        parent = relay.cli("key", "create", "--name", "p", "--scope", "send,keys,accounts").stdout.strip()
        account, accounts, empty, braces, listed, deleted, after, foreign = curl(relay, parent, SUB_ACCOUNT_SCRIPT)
        assert done(account, 201)["handle"] == "shop", account
        assert [row["handle"] for row in done(accounts)] == ["shop"] and accounts[1]["meta"]["total"] == 1, accounts
        wanted = {"scopes": ["send"], "domain": None, "status": "active", "lastUsed": None, "expirationTs": None}
        key, other = check_new_key(empty, **wanted), check_new_key(braces, **wanted)
        assert [row["keyId"] for row in done(listed)] == [key[4:12], other[4:12]], listed
        for row in done(listed):
            check_key(row, **wanted)
        assert listed[1]["meta"]["total"] == 2, listed
        assert done(deleted) == {"keyId": other[4:12], "revoked": True}, deleted
        assert after[1]["meta"]["total"] == 1, after
        refused(foreign, 404, "not_found")

        relay.cli("domain", "add", "shop.example", "--account", "shop")
        sent, not_own, not_manager = curl(relay, key, PERSONALIZED_SCRIPT)
        data = done(sent, 202)
        assert sent[1]["meta"] == {"total": 2} and len(data["messages"]) == 2, sent
        assert data["id"] == data["messages"][0]["id"] and data["recipients"] == 3, data
        refused(not_own, 403, "sender_not_permitted")
        refused(not_manager, 403)
        mail = arrived(relay, 2)
        for subject, to, all_of_them, reply_to in (
                ("for all", "Ann <ann@dest.example>", ["ann@dest.example"], "help@shop.example"),
                ("for Bob", "bob@dest.example", ["bob@dest.example", "eve@dest.example"], "bobs-clerk@shop.example")):
            sender, recipients, message = mail[subject]
            assert sender == "news@shop.example" and sorted(recipients) == all_of_them, (sender, recipients)
            assert message["From"] == "Shop <news@shop.example>" and message["To"] == to, message
            assert message["Reply-To"] == reply_to, message
            assert text_of(message, "plain") == "News.\n", message
            assert text_of(message, "html") == "<b>News.</b>\n", message
            (attachment,) = message.iter_attachments()
            assert attachment.get_content_type() == "application/pdf" and attachment.get_content() == FILE
        assert mail["for Bob"][2]["X-Whose"] == "Bob" and mail["for all"][2]["X-Whose"] is None


# --- POST /v2/emails with a key for one domain ----------------------------------------------------


PYTHON_SCRIPT = """
import json, os, urllib.error, urllib.request

def send(**mail):
    request = urllib.request.Request(os.environ["URL"] + "/v2/emails", json.dumps(mail).encode(), {
        "X-API-Key": os.environ["KEY"], "Content-Type": "application/json; charset=utf-8", "Accept": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            print(answer.status)
            print(answer.read().decode().strip())
    except urllib.error.HTTPError as error:
        print(error.code)
        print(error.read().decode().strip())

send(from_={"email": "shop@good.example", "name": "J\\u00fcrgens L\\u00e4den"},
     to=[{"email": "ann@dest.example", "name": "Ann"}, {"address": "bob@dest.example"}],
     reply_to={"email": "help@elsewhere.example"}, subject="gr\\u00fc\\u00dfe", text="Sch\\u00f6n.", html=None,
     attachments=[{"filename": "a.txt", "content": "aGVsbG8K", "content_type": "text/plain"},
                  {"filename": "logo.png", "content": os.environ["FILE"], "content_id": "logo",
                   "content_type": "image/png", "disposition": "inline"}])
send(from_="shop@other.example", to="ann@dest.example", subject="another domain of the account", text="hi")
send(from_="shop@sub.good.example", to="ann@dest.example", subject="below the domain", text="hi")
send(**{"from": "shop@good.example", "to": "ann@dest.example", "subject": "plain", "html": "<p>hi</p>"})
send(**{"from": "shop@good.example", "to": "ann@dest.example", "subject": "late", "html": "hi", "send_at": 1})
"""


@case
def a_script_with_a_key_for_one_domain_sends_by_v2_emails_as_that_domain_only():
    with ApiRelay() as relay:
        for domain in ("good.example", "other.example", "sub.good.example"):
            relay.cli("domain", "add", domain)
        lines = script(relay, relay.key(), PYTHON_SCRIPT, (sys.executable,))
        full, other, below, plain, unknown = [(int(status), json.loads(answer))
                                              for status, answer in zip(lines[::2], lines[1::2])]
        assert done(full, 202)["recipients"] == 2 and done(plain, 202)["status"] == "queued"
        refused(other, 403, "sender_not_permitted")
        refused(below, 403, "sender_not_permitted")
        assert "send_at" in refused(unknown, 400, "unknown_field")["message"]

        mail = arrived(relay, 2)
        sender, recipients, message = mail["grüße"]
        assert sender == "shop@good.example" and recipients == ["ann@dest.example", "bob@dest.example"], recipients
        assert message["From"].addresses[0].display_name == "Jürgens Läden", message["From"]
        assert message["Reply-To"] == "help@elsewhere.example", message
        assert text_of(message, "plain") == "Schön.\n", message
        files = {part.get_filename(): part for part in message.walk() if part.get_filename()}
        assert files["a.txt"].get_content() == "hello\n" and files["logo.png"].get_content() == FILE, files
        assert files["logo.png"]["Content-ID"] == "<logo>", files["logo.png"].items()
        assert mail["plain"][2].get_content_type() == "text/html"


run()
