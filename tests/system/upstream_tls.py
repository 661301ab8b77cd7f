"""TLS and logging in to the upstream: with what it shows and says, does the password or a message leave?"""
import base64
import contextlib
import os
import signal
import ssl

from support.cases import case, run
from support.relay import Relay, Sink, plain, wait_for
from support.upstreams import Certificates

LATER = 'retry { schedule = {"1h"} }\n'
OFFERS = ("PIPELINING", "8BITMIME", "AUTH PLAIN LOGIN")  # in the clear, too: a temptation
PASSWORD = "upstream-s3cret with blank"


@contextlib.contextmanager
def made():
    certificates = Certificates()
    try:
        yield certificates
    finally:
        certificates.close()


def block(name, port, certificates, tls="starttls", more="", ca="ca.pem"):
    return f"""
upstream "{name}" {{
    host = "localhost" port = {port} tls = "{tls}" ca_file = "{certificates.path(ca)}"
    username = "us er" password = "{PASSWORD}" {more}
}}
"""


def check_nothing_left(relay, sink, told, name):
    """Deferred, and neither credentials nor mail left."""
    assert told["state"] == "deferred" and told["attempts"] == 1, (name, told)
    assert sink.messages == [] and not {"AUTH", "MAIL"} & {step for step, _ in sink.steps}, (name, sink.steps)
    for secret in (PASSWORD, plain(PASSWORD, "us er")):
        assert secret not in relay.log(), name


@contextlib.contextmanager
def each(sinks, certificates, block_of):
    """A relay with a route by sender domain to each of {name: sink}, and the message that it sent there."""
    names = {name: f"n{i}.example" for i, name in enumerate(sinks)}
    upstreams = "".join(block_of(name, sink) for name, sink in sinks.items())
    routes = "".join(f'route {{ sender_domain = {{"{domain}"}} upstreams = {{"{name}"}} }}\n'
                     for name, domain in names.items())
    try:
        with Relay(LATER + routes, upstream=upstreams) as relay:
            domains = [word for domain in names.values() for word in ("--domain", domain)]
            client = relay.session(relay.key(*domains[1:]), "local")
            ids = {name: client.submit(sender="a@" + domain) for name, domain in names.items()}
            yield relay, ids
    finally:
        for sink in sinks.values():
            sink.close()


@case
def a_certificate_that_does_not_prove_the_name_gets_nothing():  # F-16
    with made() as certificates:
        bad = {"expired": "expired", "other-name": "mismatch", "self-signed": "self-signed",
               "stranger": "issuer", "localhost": "mismatch"}
        sinks = {f"{tls} {name}": Sink(offers=OFFERS, tls=certificates.server(name),
                                       implicit=tls == "implicit")
                 for name in bad for tls in ("starttls", "implicit")}
        with each(sinks, certificates, lambda name, sink: block(
                name, sink.port, certificates, name.split()[0])) as (relay, ids):
            for name, sink in sinks.items():
                told = relay.wait_state(ids[name], "deferred")
                check_nothing_left(relay, sink, told, name)
                text = told["events"][0]["text"].lower()
                assert "tls" in text and bad[name.split(" ")[1]] in text, (name, text)


@case
def a_certificate_that_proves_the_name_gets_the_login_inside_tls():
    with made() as certificates:
        sinks = {tls: Sink(offers=OFFERS, tls=certificates.server("good"), implicit=tls == "implicit")
                 for tls in ("starttls", "implicit")}
        with each(sinks, certificates,
                  lambda name, sink: block(name, sink.port, certificates, name)) as (relay, ids):
            for tls, sink in sinks.items():
                relay.wait_state(ids[tls], "delivered")
                steps = [step for step, _ in sink.steps]
                before = ["banner", "EHLO", "STARTTLS"] if tls == "starttls" else ["banner"]
                assert steps[:len(before) + 3] == before + ["EHLO", "AUTH", "MAIL"], steps
                auth = next(line for step, line in sink.steps if step == "AUTH")
                assert auth == "AUTH PLAIN " + plain(PASSWORD, "us er"), auth


@case
def verification_can_be_turned_off():
    with made() as certificates:
        sinks = {name: Sink(offers=OFFERS, tls=certificates.server(name))
                 for name in ("expired", "self-signed")}
        with each(sinks, certificates, lambda name, sink: block(name, sink.port, certificates,
                                                                more="tls_verify = false")) as (relay, ids):
            for name in sinks:
                relay.wait_state(ids[name], "delivered")


@case
def what_was_offered_before_tls_is_forgotten():
    with made() as certificates, contextlib.closing(
            Sink({"EHLO": lambda n, line: "250-a\r\n250-STARTTLS\r\n250 SIZE 1" if n == 0 else ...},
                 offers=OFFERS, tls=certificates.server("good"))) as sink, \
            Relay(LATER, upstream=block("u", sink.port, certificates)) as relay:
        relay.wait_state(relay.session(relay.key(), "local").submit(), "delivered")


@case
def login_takes_the_password_of_a_file_in_three_steps():
    with made() as certificates, contextlib.closing(Sink(offers=("AUTH LOGIN XOAUTH2",))) as sink, \
            Relay(start=False) as relay:
        secret = os.path.join(relay.folder, "password")
        with open(secret, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(PASSWORD + "\nsecond line\n")
        relay.upstream = f'upstream "u" {{ host = "127.0.0.1" port = {sink.port} tls = "none" ' \
                         f'username = "us er" password_file = "{secret}" }}'
        relay.start()
        relay.wait_state(relay.session(relay.key(), "local").submit(), "delivered")
        said = [line for step, line in sink.steps if step == "AUTH"]
        words = [base64.b64encode(word.encode()).decode() for word in ("us er", PASSWORD)]
        assert said == ["AUTH LOGIN", *words], said
        assert PASSWORD not in relay.log()
        os.chmod(secret, 0o644)
        done = relay.cli("check", check=False)
        assert done.returncode == 78 and secret in done.stderr, done


@case
def a_configuration_with_a_password_must_be_private():  # G-04
    upstream = 'upstream "u" { host = "127.0.0.1" tls = "none" username = "u" password = "%s" }'
    with Relay(start=False, upstream=upstream % PASSWORD, env={"UPSTREAM_PASSWORD": PASSWORD}) as relay:
        relay.cli("check")
        os.chmod(relay.config, 0o644)
        done = relay.cli("check", check=False)
        assert done.returncode == 78 and relay.config in done.stderr and PASSWORD not in done.stderr, done
        relay.upstream = upstream % "${UPSTREAM_PASSWORD}"
        relay.write_config()
        relay.cli("check")


@case
def a_refused_login_pauses_the_upstream_and_fails_nothing():
    blob = plain(PASSWORD, "us er")
    with made() as certificates, contextlib.closing(
            Sink({"AUTH": lambda n, line: "535 5.7.8 wrong: " + line}, offers=("AUTH PLAIN",))) as sink:
        upstream = f'upstream "u" {{ host = "127.0.0.1" port = {sink.port} tls = "none" username = "us er" ' \
                   f'password = "{PASSWORD}" }}'
        with Relay('retry { schedule = {"100ms"} }', upstream=upstream, workers=1) as relay:
            client = relay.session(relay.key(), "local")
            names = [client.submit() for _ in range(5)]
            for name in names:
                wait_for(lambda: relay.story(name)["attempts"] >= 3, "three attempts")
            assert set(relay.queue().values()) <= {"deferred", "delivering"}, relay.queue()
            assert [step for step, _ in sink.steps].count("AUTH") == 1, sink.steps
            told = relay.cli("queue", "show", names[0]).stdout
            assert "535" in told and blob not in told, told
            assert blob not in relay.log() and PASSWORD not in relay.log()
            assert "level=error event=upstream_login_refused" in relay.log(), relay.log()


@case
def after_a_refused_login_the_next_upstream_takes_over():
    with contextlib.closing(Sink({"AUTH": lambda n, line: "535 5.7.8 wrong"},
                                 offers=("AUTH PLAIN",))) as bad, \
            contextlib.closing(Sink()) as good:
        upstreams = f'upstream "bad" {{ host = "127.0.0.1" port = {bad.port} tls = "none" username = "u" ' \
                    'password = "p" }\n' \
                    f'upstream "good" {{ host = "127.0.0.1" port = {good.port} tls = "none" }}'
        with Relay(LATER, upstream=upstreams, workers=1) as relay:
            client = relay.session(relay.key(), "local")
            for _ in range(3):
                assert relay.wait_state(client.submit(), "delivered")["attempts"] == 1
            assert (bad.connections, len(good.messages)) == (1, 3)


@case
def a_reload_reads_a_new_ca_file():
    with made() as certificates, contextlib.closing(
            Sink(offers=OFFERS, tls=certificates.server("stranger"))) as sink, \
            Relay(LATER, upstream=block("u", sink.port, certificates)) as relay:
        name = relay.session(relay.key(), "local").submit()
        relay.wait_state(name, "deferred")
        relay.upstream = block("u", sink.port, certificates, ca="other-ca.pem")
        relay.write_config()
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "event=reloaded" in relay.log(), "the reload")
        relay.cli("queue", "retry", name)
        relay.wait_state(name, "delivered")


@case
def a_reload_with_a_ca_file_that_is_none_changes_nothing():
    with contextlib.closing(Sink()) as sink, made() as certificates, \
            Relay(LATER, upstream=f'upstream "u" {{ host = "127.0.0.1" port = {sink.port} tls = "none" }}') as relay:
        with open(certificates.path("none.pem"), "w") as file:
            file.write("this is no certificate\n")
        relay.upstream = block("other", 1, certificates, ca="none.pem") + relay.upstream
        relay.settings += 'limits { message_size = "1K" }\n'
        relay.write_config()
        done = relay.cli("check", check=False)
        assert done.returncode == 78 and certificates.path("none.pem") in done.stderr, done
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "event=reload_failed" in relay.log(), "the reload")
        assert "event=reloaded" not in relay.log()
        relay.wait_state(relay.session(relay.key(), "local").submit(30 * ("x" * 70 + "\r\n")), "delivered")


@case
def a_client_certificate_is_shown_where_one_is_configured():
    with made() as certificates:
        server = certificates.server("good")
        server.load_verify_locations(certificates.path("other-ca.pem"))
        server.verify_mode = ssl.CERT_REQUIRED
        more = f'client_certificate = "{certificates.path("stranger.pem")}" ' \
               f'client_key = "{certificates.path("stranger.key")}"'
        sinks = {name: Sink(offers=OFFERS, tls=server) for name in ("with", "without")}
        with each(sinks, certificates, lambda name, sink: block(
                name, sink.port, certificates, more=more if name == "with" else "")) as (relay, ids):
            relay.wait_state(ids["with"], "delivered")
            check_nothing_left(relay, sinks["without"], relay.wait_state(ids["without"], "deferred"),
                               "without")


run()
