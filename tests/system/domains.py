"""Domains are verified by the DNS: dnsmasq is the judge of the ordinary cases, a scripted server says what a
hostile one would."""
import os
import socket
import threading

from support.api import ApiRelay
from support.cases import case, run
from support.names import CNAME, TXT, Dnsmasq, Scripted, name_bytes, reply, texts
from support.relay import PATIENCE_S, Relay, wait_for


def dns(server, timeout="5s"):
    return f'dns {{ servers = {{"127.0.0.1:{server.port}"}} timeout = "{timeout}" }}'


def pending(relay, name, *words):
    """The record that a domain waits for after it was added: (name, value)."""
    record = relay.json("domain", "add", name, "--pending", *words)["data"]["record"]
    assert record["type"] == "TXT", record
    return record["name"], record["value"]


def verify(relay, name, *words):
    return relay.cli("domain", "verify", name, *words, check=False)


@case
def a_domain_is_verified_by_its_record_with_and_without_a_daemon():
    with Dnsmasq() as names, Relay(dns(names), start=False) as relay:
        for domain, running in (("stopped.example", False), ("running.example", True)):
            if running:
                relay.start()
            name, value = pending(relay, domain)
            assert name == "_latchpost." + domain and value.startswith("latchpost-verification="), (name, value)
            assert relay.cli("key", "create", "--name", "x", "--scope", "send").returncode == 0
            listed = relay.cli("domain", "list").stdout
            assert f'{name}. TXT "{value}"' in listed and "pending" in listed, listed
            done = verify(relay, domain)
            assert done.returncode == 65 and name in done.stderr and value in done.stderr, done
            names.set({name: ["v=spf1 -all", value]})
            done = verify(relay, domain)
            assert done.returncode == 0 and "verified" in done.stdout and value not in done.stdout, done
            row, = [r for r in relay.json("domain", "list")["data"] if r["name"] == domain]
            assert row["verified"] is True and row["status"] == "verified" and row["record"] is None, row
            names.set({})
            assert verify(relay, domain).returncode == 0  # it is not asked again
        key = relay.key("running.example")
        relay.session(key, "local").submit(sender="a@running.example")


@case
def what_is_not_the_record_is_told_with_what_is_expected():
    with Dnsmasq() as names, Relay(dns(names)) as relay:
        name, value = pending(relay, "good.example")
        star, star_value = pending(relay, "*.good.example")
        assert star == name and star_value != value
        other = value[:-1] + ("0" if value[-1] != "0" else "1")
        rows = [
            (65, {}, ["no such name", value]),
            (65, {name: ["v=spf1 -all"]}, ['"v=spf1 -all"', value]),
            (65, {name: [other, value.upper(), value + "0", "x" + value]}, ["(4)", ", ...", value]),
            (65, {"good.example": [value]}, ["no such name"]),
            (65, {name: [star_value]}, [value, star_value]),
            (0, {name: [[value[:10], value[10:30], value[30:]]]}, []),
        ]
        for want, records, words in rows:
            names.set(records)
            done = verify(relay, "good.example")
            assert done.returncode == want and all(word.lower() in done.stderr.lower() for word in words), \
                (records, done)
        names.set({name: [value]})
        assert verify(relay, "*.good.example").returncode == 65
        names.set({name: ["a", star_value, "b"]})
        assert verify(relay, "*.good.example").returncode == 0


@case
def an_alias_is_followed_by_the_server():
    with Dnsmasq() as names, Relay(dns(names)) as relay:
        name, value = pending(relay, "good.example")

        def script(question, by_tcp):
            assert question.name == name
            target = name_bytes("proof.elsewhere.example")
            return [reply(question, [(b"\xc0\x0c", CNAME, target),
                                     (target, 16, bytes([len(value)]) + value.encode())])]

        with Scripted(script) as server:
            relay.settings = dns(server)
            relay.stop(), relay.start()
            assert verify(relay, "good.example").returncode == 0


def verify_with(script, timeout="5s", domain="good.example"):
    """(exit code, what was said, the server, the value): one verification by a scripted server, with the
    daemon stopped; script(question, by_tcp, value)."""
    told = {}
    with Scripted(lambda question, by_tcp: script(question, by_tcp, told["value"])) as server:
        with Relay(dns(server, timeout), start=False) as relay:
            told["value"] = pending(relay, domain)[1].encode()
            done = verify(relay, domain)
            assert "AddressSanitizer" not in done.stderr, done.stderr
            verified = relay.json("domain", "list")["data"][0]["verified"]
            assert verified == (done.returncode == 0)
        return done.returncode, done.stderr, server


@case
def a_truncated_answer_is_asked_for_by_tcp_and_long_ones_are_read_whole():
    many = [b"x" * 200 for _ in range(50)]

    def script(question, by_tcp, value):
        if not by_tcp:
            return [reply(question, flags=0x8380)]
        return [reply(question, texts(*many, [value[:7], value[7:]], *many))]

    code, said, server = verify_with(script)
    assert code == 0 and server.asked_by_tcp == 1, (code, said)


@case
def answers_that_are_not_ours_are_not_heard():
    def script(question, by_tcp, value):
        other = name_bytes("_latchpost.evil.example") + question.section[-4:]
        return [reply(question, texts(value), id=question.id ^ 1),
                reply(question, texts(value), section=other),
                b"", b"\0" * 5, os.urandom(600),
                reply(question, texts(b"the true one"))]

    code, said, _ = verify_with(script)
    assert code == 65 and "the true one" in said, (code, said)


@case
def records_of_another_name_prove_nothing():
    asked, other, third = b"\xc0\x0c", name_bytes("proof.elsewhere.example"), name_bytes("evil.example")

    def text(owner, value):
        return owner, TXT, bytes([len(value)]) + value

    ours, theirs, alias, further = (lambda v: text(asked, v)), (lambda v: text(third, v)), \
        (asked, CNAME, other), (other, CNAME, third)
    rows = [  # what the answer holds, and whether it proves the domain
        (lambda v: [ours(v)], True),
        (lambda v: [theirs(v)], False),
        (lambda v: [ours(b"x"), theirs(v)], False),
        (lambda v: [alias, theirs(v)], False),
        (lambda v: [further, theirs(v)], False),
        (lambda v: [alias, further, theirs(v)], True),
        (lambda v: [theirs(v), further, alias], True),  # in whatever order
        (lambda v: [alias, (other, CNAME, asked), theirs(v)], False),  # round in a circle
        (lambda v: [(asked, CNAME, asked), theirs(v)], False),
    ]
    for number, (script, proves) in enumerate(rows):
        code, said, _ = verify_with(lambda q, t, v, script=script: [reply(q, script(v))])
        assert code == (0 if proves else 75), (number, code, said)
        assert proves or "another name" in said, (number, said)


@case
def answers_that_cannot_be_read_end_with_a_clear_text():
    def broken(question, by_tcp, value):
        return [reply(question, [(b"\xc0\x0c", 16, b"\xffabc")])]  # a string longer than its record

    def cut(question, by_tcp, value):
        return [reply(question, texts(value))[:-3]]

    for code in (1, 2, 4, 5):  # FORMERR, SERVFAIL, NOTIMP, REFUSED
        got, said, _ = verify_with(lambda q, t, v, code=code: [reply(q, code=code)])
        assert got == 75 and "name server" in said, (code, got, said)
    for script in (broken, cut):
        got, said, _ = verify_with(script)
        assert got == 75 and "cannot be read" in said, (got, said)
    got, said, _ = verify_with(lambda q, t, v: [reply(q, [(b"\xc0\x0c", CNAME, name_bytes("a.example"))])])
    assert got == 65 and "no TXT record" in said, (got, said)
    got, said, _ = verify_with(lambda q, t, v: [reply(q)])
    assert got == 65 and "no TXT record" in said, (got, said)


@case
def hostile_texts_are_shown_as_text():
    code, said, _ = verify_with(lambda q, t, v: [reply(q, texts(
        b"\x1b[2J\0\xff\r\nset", b"", b"z" * 255, *[b"w" * 10] * 150))])
    assert code == 65 and "\x1b" not in said and "\0" not in said and "set" in said, said
    assert len(said) < 1200, len(said)


@case
def silence_ends_in_time_and_a_second_server_is_asked():
    code, said, server = verify_with(lambda q, t, v: [], timeout="1s")
    assert code == 75 and "in time" in said and server.asked >= 2, (code, said, server.asked)
    with Scripted(lambda q, t: []) as silent, Scripted(
            lambda q, t: [reply(q, texts(b"x", told.encode()))]) as good:
        settings = f'dns {{ servers = {{"127.0.0.1:{silent.port}", "127.0.0.1:{good.port}"}} timeout = "8s" }}'
        with Relay(settings, start=False) as relay:
            told = pending(relay, "good.example")[1]
            assert verify(relay, "good.example").returncode == 0
            assert silent.asked >= 1
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
        with Relay(f'dns {{ servers = {{"127.0.0.1:{port}"}} }}', start=False) as relay:
            pending(relay, "good.example")
            done = verify(relay, "good.example")
            assert done.returncode == 75 and "reached" in done.stderr, done


@case
def wrong_settings_name_the_line():
    for text, word in (('servers = {"ns.example"}', "ns.example"), ('timeout = "0s"', "timeout"),
                       ('servers = {"1.2.3.4:0"}', "1.2.3.4:0"), ('servers = {"[::1"}', "[::1"),
                       ("servers = {%s}" % ", ".join(['"1.2.3.4"'] * 9), "8 name servers")):
        relay = Relay(f"dns {{ {text} }}", start=False)
        done = relay.cli("domain", "list", check=False)
        assert done.returncode == 78 and word in done.stderr and "latchpost.conf:" in done.stderr, done
        relay.close()


@case
def whoever_proves_a_domain_first_has_it():
    with Dnsmasq() as names, ApiRelay(settings=dns(names)) as relay:
        relay.cli("account", "create", "acme"), relay.cli("account", "create", "evil")
        keys = {who: relay.cli("key", "create", "--name", "d", "--account", who, "--scope", "send,domains")
                .stdout.strip() for who in ("acme", "evil")}
        claims = {who: relay.data("POST", "/v1/domains", key, {"name": "Good.Example"}, status=201)
                  for who, key in keys.items()}
        assert claims["acme"]["record"]["value"] != claims["evil"]["record"]["value"]
        assert relay.cli("domain", "verify", "good.example", check=False).returncode == 65  # whose?
        names.set({"_latchpost.good.example": [claims["acme"]["record"]["value"]]})
        error = relay.refused(422, "POST", "/v1/domains/good.example/verify", keys["evil"])
        assert error["code"] == "record_mismatch", error
        assert relay.refused(404, "POST", "/v1/domains/good.example/verify", keys["evil"],
                             {"account": "acme"})["code"] == "not_found"
        assert relay.data("POST", "/v1/domains/GOOD.example/verify", keys["acme"])["verified"] is True
        names.set({"_latchpost.good.example": [claims["evil"]["record"]["value"]]})
        assert relay.refused(409, "POST", "/v1/domains/good.example/verify", keys["evil"])["code"] == "conflict"
        assert relay.data("GET", "/v1/domains", keys["evil"])[0]["status"] == "pending"
        assert relay.data("DELETE", "/v1/domains/good.example", keys["evil"])["removed"] is True
        assert relay.data("GET", "/v1/domains", keys["acme"])[0]["status"] == "verified"
        relay.refused(404, "POST", "/v1/domains/none.example/verify", keys["acme"])
        relay.refused(409, "POST", "/v1/domains", keys["evil"], {"name": "good.example"})
        long = ".".join(["a" * 60] * 4)
        assert relay.refused(422, "POST", "/v1/domains", keys["evil"], {"name": long})["code"] == "invalid_value"


@case
def claims_are_bounded_for_each_account():
    with ApiRelay() as relay:
        key = relay.cli("key", "create", "--name", "d", "--scope", "domains").stdout.strip()
        for i in range(100):
            relay.data("POST", "/v1/domains", key, {"name": f"d{i}.example"}, status=201)
        assert relay.refused(409, "POST", "/v1/domains", key, {"name": "one.more"})["code"] == "domain_limit_reached"
        relay.cli("domain", "add", "one.more")
        relay.data("DELETE", "/v1/domains/d7.example", key)
        relay.data("POST", "/v1/domains", key, {"name": "another.example"}, status=201)


@case
def a_key_that_is_revoked_while_the_dns_is_asked_verifies_nothing():
    asked, go = threading.Event(), threading.Event()
    told = {}

    def script(question, by_tcp):
        asked.set()
        go.wait(PATIENCE_S)
        return [reply(question, texts(told["value"].encode()))]

    with Scripted(script) as names, ApiRelay(settings=dns(names, "50s")) as relay:
        key = relay.cli("key", "create", "--name", "d", "--scope", "domains").stdout.strip()
        told["value"] = relay.data("POST", "/v1/domains", key, {"name": "good.example"}, status=201)["record"]["value"]
        answers = []
        thread = threading.Thread(target=lambda: answers.append(
            relay.ask("POST", "/v1/domains/good.example/verify", key)))
        thread.start()
        asked.wait(PATIENCE_S)
        assert relay.ask("GET", "/healthz")[0] == 200  # nobody waits for the DNS but who asked
        relay.cli("key", "revoke", relay.json("key", "list")["data"][0]["keyId"])
        go.set()
        thread.join()
        assert answers[0][0] == 401 and "revoked" in answers[0][2]["error"]["message"], answers
        assert relay.json("domain", "list")["data"][0]["verified"] is False


@case
def stopping_ends_look_ups_and_a_reload_changes_the_servers():
    with Scripted(lambda q, t: []) as silent, Dnsmasq() as names, \
            ApiRelay(settings=dns(silent, "60s")) as relay:
        name, told = pending(relay, "good.example")
        names.set({name: [told]})
        key = relay.cli("key", "create", "--name", "d", "--scope", "domains").stdout.strip()
        waiting = [relay.connect() for _ in range(70)]
        for sock in waiting:
            sock.sendall(f"POST /v1/domains/good.example/verify HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n"
                         "Content-Length: 0\r\n\r\n".encode())
        wait_for(lambda: silent.asked >= 64 and relay.log().count("code=busy") == 6, "the limit")
        relay.settings = relay.settings.replace(str(silent.port), str(names.port))
        relay.write_config()
        relay.process.send_signal(1)
        wait_for(lambda: "event=reloaded" in relay.log(), "the reload")
        for sock in waiting[64:]:
            sock.close()
        done = verify(relay, "good.example")
        assert done.returncode == 75 and "too many" in done.stderr.lower(), done
        for sock in waiting[:32]:
            sock.close()  # whoever has left is still looked up for
        relay.stop(), relay.start()
        assert verify(relay, "good.example").returncode == 0
        for sock in waiting[32:64]:
            sock.close()


run()
