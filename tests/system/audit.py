"""The audit trail: every change and every refusal is found again by whoever may read it, and by nobody else."""
import glob
import os
import re

from support.api import ApiRelay
from support.cases import case, run
from support.relay import plain

REFERENCE = re.compile(r"\(ref ([0-9a-hjkmnp-tv-z]{13})\)$")
MAIL = {"from": "a@good.example", "to": ["r@dest.example"], "subject": "s", "text": "t"}


def audit(relay, *words):
    return relay.json("audit", *words)["data"]


def one(relay, *words):
    rows = audit(relay, *words)
    assert len(rows) == 1, rows
    return rows[0]


def reference_of(lines):
    found = REFERENCE.search(lines[-1])
    assert found and len(lines[-1]) <= 510, lines
    return found.group(1)


def check(row, **want):
    assert {name: row[name] for name in want} == want, (row, want)


@case
def a_change_tells_who_made_it_and_from_where():
    with ApiRelay(start=False) as relay:
        relay.cli("account", "create", "acme")  # no daemon runs
        relay.start()
        key = relay.key("good.example", "--scope", "send,keys")
        made = relay.data("POST", "/v1/api-keys", key, {"name": "n", "domain": "good.example"}, status=201)
        relay.data("DELETE", "/v1/api-keys/" + made["keyId"], key)
        check(one(relay, "--action", "account.create"), actor="operator", subject="acme", account="acme",
              **{"from": "command line"})
        check(one(relay, "--action", "domain"), actor="operator", subject="good.example", **{"from": "unix socket"})
        check(one(relay, "--key", made["keyId"], "--action", "key.create"), actor=key[4:12], account="default",
              subject=made["keyId"], **{"from": "127.0.0.1"})
        revoked = one(relay, "--action", "key.revoke")
        check(revoked, actor=key[4:12], subject=made["keyId"], count=1, **{"from": "127.0.0.1"})
        assert one(relay, "--ref", revoked["reference"]) == revoked
        assert relay.cli("audit", "--ref", revoked["reference"]).stdout.count("\n") == 2  # titles, and it
        everything = audit(relay)
        relay.stop()
        assert audit(relay) == everything  # without a daemon, too


@case
def a_refused_login_is_there_with_its_rule_and_its_reply_tells_nothing():
    with ApiRelay() as relay:
        key, held = relay.key(), relay.key()
        relay.cli("key", "hold", held[4:12])
        wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
        for door in ("local", "submission", "local"):
            client = relay.client(door).hello()
            said = client.expect("535 5.7.8", "AUTH PLAIN " + plain(wrong, "someone"))
            assert not REFERENCE.search(said[-1]), said
        row = one(relay, "--action", "login.refused")
        check(row, actor=None, account=None, subject="someone", count=3, protocol="smtp", **{"from": "127.0.0.1"})
        assert "not a valid API key" in row["detail"], row
        client = relay.client("local").hello()
        client.expect("535 5.7.8", "AUTH PLAIN " + plain(held))
        row = one(relay, "--key", held[4:12], "--action", "login")
        assert "hold" in row["detail"] and row["account"] == "default", row
        error = relay.refused(401, "GET", "/v1/whoami", held)
        assert "reference" not in error, error
        assert {row["protocol"] for row in audit(relay, "--key", held[4:12], "--action", "login")} == {"smtp", "http"}
        error = relay.refused(403, "GET", "/v1/domains", key)
        assert "reference" not in error and "scope" in one(relay, "--key", key[4:12], "--action", "login")["detail"]


@case
def a_session_whose_key_ends_is_told_of():
    with ApiRelay() as relay:
        key = relay.key()
        client = relay.session(key, "local")
        relay.cli("key", "revoke", key[4:12])
        assert not REFERENCE.search(client.expect(421, "NOOP")[-1])
        assert "revoked" in one(relay, "--key", key[4:12], "--action", "login")["detail"]


def refuse_body(client, header):
    client.expect(250, "MAIL FROM:<a@good.example>")
    client.expect(250, "RCPT TO:<r@dest.example>")
    client.expect(354, "DATA")
    client.send(header + "\r\nbody\r\n.\r\n")
    return client.expect(550)


@case
def the_reply_to_a_refused_message_carries_the_reference_under_which_it_is_found():
    with ApiRelay() as relay:
        key = relay.key("good.example", "--recipient", "dest.example", "--max-size", "10000")
        id = key[4:12]
        client = relay.session(key, "local")
        refused = [
            ("not permitted", "x@other.example", client.expect("550 5.7.1", "MAIL FROM:<x@other.example>")),
            ("too large", "a@good.example", client.expect("552 5.3.4", "MAIL FROM:<a@good.example> SIZE=20000")),
            ("not permitted", "a@good.example", refuse_body(client, "From: x@other.example\r\nTo: r@dest.example\r\n")),
            ("no From", "a@good.example", refuse_body(client, "To: r@dest.example\r\n")),
            ("one From", "a@good.example", refuse_body(client, "From: a@good.example\r\nFrom: b@good.example\r\n")),
        ]
        client.expect(250, "MAIL FROM:<a@good.example>")
        refused.append(("recipient", "a@good.example", client.expect("550 5.7.1", "RCPT TO:<r@elsewhere.example>")))
        for rule, sender, lines in refused:
            row = one(relay, "--ref", reference_of(lines))
            check(row, actor=id, account="default", action="message.refused", subject=sender, protocol="smtp",
                  **{"from": "127.0.0.1"})
            assert rule in row["detail"], (rule, row)
        again = client.expect("550 5.7.1", "RCPT TO:<r@elsewhere.example>")
        assert reference_of(again) == reference_of(refused[-1][2])
        assert one(relay, "--ref", reference_of(again))["count"] == 2
        client.expect(250, "RSET")
        assert not REFERENCE.search(client.expect(250, "MAIL FROM:<a@good.example>")[-1])

        error = relay.refused(403, "POST", "/v1/emails", key, {**MAIL, "from": "x@other.example"})
        row = one(relay, "--ref", error["reference"])
        check(row, actor=id, subject="x@other.example", protocol="http", **{"from": "127.0.0.1"})
        error = relay.refused(413, "POST", "/v1/emails", key, {**MAIL, "text": "t" * 20000})
        check(one(relay, "--ref", error["reference"]), actor=id, protocol="http")


@case
def limits_are_one_line_with_a_count():
    with ApiRelay() as relay:
        key = relay.key("good.example", "--rate", "1/min")
        client = relay.session(key, "local")
        client.expect(250, "MAIL FROM:<a@good.example>")
        client.expect(250, "RSET")
        references = set()
        for _ in range(5):
            references.add(reference_of(client.expect("450 4.7.1", "MAIL FROM:<a@good.example>")))
        rows = audit(relay, "--action", "message.refused")
        assert {row["reference"] for row in rows} == references and len(rows) <= 2, rows  # a minute may end
        assert sum(row["count"] for row in rows) == 5, rows
        error = relay.refused(429, "POST", "/v1/emails", key, MAIL)
        assert "rate" in one(relay, "--ref", error["reference"])["detail"]


@case
def a_key_sees_its_account_and_what_is_below_it():
    with ApiRelay() as relay:
        relay.cli("account", "create", "acme")
        relay.cli("account", "create", "below", "--parent", "acme")
        relay.cli("account", "create", "other")
        keys = {account: relay.cli("key", "create", "--name", "k", "--account", account, "--scope", "send,keys")
                .stdout.strip() for account in ("acme", "below", "other")}
        for key in keys.values():
            relay.session(key, "local").expect("550 5.7.1", "MAIL FROM:<x@nobody.example>")
        relay.client("local").hello().expect(535, "AUTH PLAIN " + plain("nonsense"))

        def accounts(key, query=""):
            return {row["account"] for row in relay.data("GET", "/v1/audit" + query, key)}

        assert accounts(keys["acme"]) == {"acme", "below"}
        assert accounts(keys["acme"], "?account=below") == accounts(keys["below"]) == {"below"}
        assert accounts(keys["other"]) == {"other"}
        assert {row["account"] for row in audit(relay)} == {"acme", "below", "other", None}
        for account in ("other", "none", "default"):
            relay.refused(404, "GET", "/v1/audit?account=" + account, keys["acme"])
        hidden = one(relay, "--account", "other", "--action", "message.refused")["reference"]
        assert relay.data("GET", "/v1/audit?ref=" + hidden, keys["acme"]) == []
        for query in ("limit=0", "limit=1001", "ref=x", "before=1", "since=soon"):
            relay.refused(422, "GET", "/v1/audit?" + query, keys["acme"])
        relay.refused(400, "GET", "/v1/audit?frob=1", keys["acme"])
        relay.refused(403, "GET", "/v1/audit", relay.key())

        seen, query = [], ""
        while query is not None:
            _, _, page = relay.ask("GET", "/v1/audit?limit=2" + query, keys["acme"])
            seen += [row["reference"] for row in page["data"]]
            query = page["meta"]["next"] and "&before=" + page["meta"]["next"]
        assert seen == sorted(seen, reverse=True) and len(seen) == 6, seen
        assert len(audit(relay, "--account", "acme", "--limit", "4")) == 4
        assert audit(relay, "--since", "1h") == audit(relay)


@case
def a_flood_of_refusals_moves_no_change_and_is_counted():
    many = 3000
    with ApiRelay("", settings="limits { penalty_failures = 0 }") as relay:
        key = relay.key()
        changes = audit(relay, "--action", "key")
        client = relay.session(key, "local")
        client.send("".join(f"MAIL FROM:<u{i}@other.example>\r\n" for i in range(40)))
        heard = [client.expect("550 5.7.1") for _ in range(40)]
        assert len({reference_of(lines) for lines in heard}) == 40
        with relay.connect() as sock:
            head = "GET /v1/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer lpk_{}\r\n\r\n"
            for start in range(0, many, 100):
                sock.sendall("".join(head.format(i) for i in range(start, start + 100)).encode())
                answers = b""
                while answers.count(b"HTTP/1.1 401") < 100:
                    more = sock.recv(65536)
                    assert more, "it hung up"
                    answers += more
        assert sum(row["count"] for row in audit(relay, "--action", "login", "--limit", "9000")) == many
        assert len(audit(relay, "--action", "message", "--limit", "9000")) == 40
        assert audit(relay, "--action", "key") == changes


@case
def no_file_holds_a_secret_and_a_stop_loses_nothing():
    with ApiRelay() as relay:
        key, revoked = relay.key(), relay.key()
        relay.cli("key", "revoke", revoked[4:12])
        client = relay.client("local").hello()
        client.expect(535, "AUTH PLAIN " + plain(revoked, user=revoked))
        client.expect(535, "AUTH PLAIN " + plain("wrong", user=key))
        client = relay.session(key, "local")
        reference = reference_of(client.expect("550 5.7.1", f"MAIL FROM:<{key}@other.example>"))
        client.close()
        relay.refused(401, "GET", "/v1/whoami", revoked)
        relay.refused(403, "GET", "/v1/domains", key)
        assert relay.stop() == 0
        row = one(relay, "--ref", reference)
        assert row["subject"] == key[:12] + "...", row
        for path in glob.glob(os.path.join(relay.state, "keys.db*")):
            with open(path, "rb") as file:
                content = file.read()
            for secret in (key[12:34], revoked[12:34], key[12:22], revoked[12:22]):
                assert secret.encode() not in content, path


run()
