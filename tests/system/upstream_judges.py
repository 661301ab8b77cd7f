"""Other people's servers as upstreams: Postfix's smtp-sink with its refusals, and a strict Postfix."""
import contextlib
import os
import random
import re

from support.cases import case, run
from support.relay import Relay, Sink, wait_for
from support.upstreams import Certificates, Postfix, SmtpSink

LATER = 'retry { schedule = {"1h"} }\n'

REFUSALS = [  # options of smtp-sink, the state that the message gets, the enhanced code of its recipient
    ((), "delivered", None),
    (("-p",), "delivered", None),  # no PIPELINING
    (("-e",), "delivered", None),  # no EHLO
    (("-P",), "delivered", None),  # hides its greeting, as some firewalls do
    (("-w", "1"), "delivered", None),  # waits before its answer to DATA
    (("-f", "EHLO"), "delivered", None),  # HELO will do
    (("-f", "RSET"), "delivered", None),
    (("-q", "QUIT"), "delivered", None),
    (("-f", "MAIL"), "bounced", "5.3.0"),
    (("-f", "RCPT"), "bounced", "5.3.0"),
    (("-f", "DATA"), "bounced", "5.3.0"),
    (("-f", "."), "bounced", "5.3.0"),
    (("-A", "0"), "bounced|deferred", None),  # 550 before the message has ended, or right behind the 354
    (("-f", "CONNECT"), "deferred", "4.4.1"),
    (("-f", "EHLO,HELO"), "deferred", "4.4.1"),
    (("-r", "CONNECT"), "deferred", "4.4.1"),
    (("-r", "MAIL"), "deferred", "4.3.0"),
    (("-r", "RCPT"), "deferred", "4.3.0"),
    (("-r", "DATA"), "deferred", "4.3.0"),
    (("-r", "."), "deferred", "4.3.0"),
    (("-q", "CONNECT"), "deferred", "4.4.1"),
    (("-q", "EHLO"), "deferred", "4.4.1"),
    (("-q", "MAIL"), "deferred", "4.4.2"),
    (("-q", "RCPT"), "deferred", "4.4.2"),
    (("-q", "DATA"), "deferred", "4.4.2"),
    (("-q", "."), "uncertain", "4.4.2"),
    (("-Q", "MAIL"), "deferred", None),
    (("-Q", "."), "deferred", None),
]


@case
def smtp_sink_with_every_refusal_it_knows():
    with contextlib.ExitStack() as stack:
        sinks = [stack.enter_context(contextlib.closing(SmtpSink(*options))) for options, _, _ in REFUSALS]
        upstreams = "".join(f'upstream "u{i}" {{ host = "127.0.0.1" port = {sink.port} tls = "none" }}\n'
                            f'route {{ sender_domain = {{"u{i}.example"}} upstreams = {{"u{i}"}} }}\n'
                            for i, sink in enumerate(sinks))
        rest = stack.enter_context(contextlib.closing(Sink()))  # of the bounces, which have a null sender
        upstreams += f'upstream "rest" {{ host = "127.0.0.1" port = {rest.port} tls = "none" }}\n'
        relay = stack.enter_context(Relay(LATER + 'default_upstreams = {"rest"}\n', upstream=upstreams))
        domains = [word for i in range(len(sinks)) for word in ("--domain", f"u{i}.example")]
        client = relay.session(relay.key(*domains[1:]), "local")
        names = [client.submit(sender=f"a@u{i}.example") for i in range(len(sinks))]
        wait_for(lambda: not {"queued", "delivering"} & set(relay.queue().values()), "an attempt for each")
        for name, sink, (options, state, enhanced) in zip(names, sinks, REFUSALS):
            told = relay.story(name)
            assert re.fullmatch(state, told["state"]), (options, told)
            assert enhanced is None or told["recipients"][0]["enhanced"] == enhanced, (options, told)
            if state == "delivered":
                content, = sink.messages()
                assert name.encode() in content and content.count(b"X-Rcpt-Args: <r@dest.example>\n") == 1
                assert content.rstrip().endswith(b"\n\nb"), content
        refused = [name for name in names if relay.story(name)["state"] == "bounced"]
        assert len(refused) >= 4 and {raw for sender, _, raw in rest.wait(len(refused)) if sender} == set()


def bodies():
    """What could be read in two ways by someone, and sizes around the ends of blocks."""
    rng = random.Random(11)
    yield b""
    yield b".\r\n"
    yield b"..\r\n.\r\n...\r\n"
    yield b"\r\n\r\n\r\n"
    yield b"gr\xc3\xbc\xc3\x9fe \xff\xfe\r\n" + b"\x01\x7f\x1b\r\n"
    yield b"z" * 998 + b"\r\n." + b"z" * 997 + b"\r\n"
    yield b"From nobody\r\n>From nobody\r\n"
    for size in (4000, 16384, 65536, 70000, 1 << 20):
        lines = []
        while size > 0:
            lines.append(bytes(rng.choice(b"..ab\xfe") for _ in range(rng.randrange(0, 90))))
            size -= len(lines[-1]) + 2
        yield b"\r\n".join(lines) + b"\r\n"


@case
def a_strict_postfix_has_nothing_to_complain_about():
    if os.geteuid() != 0:
        print("# not judged: Postfix can only be started by root")
        return
    with contextlib.ExitStack() as stack:
        certificates = stack.enter_context(contextlib.closing(Certificates()))
        postfix = stack.enter_context(contextlib.closing(
            Postfix(certificates.path("good.pem"), certificates.path("good.key"))))
        relay = stack.enter_context(Relay(LATER, upstream=f"""
upstream "judge" {{
    host = "localhost" port = {postfix.port} tls = "starttls" ca_file = "{certificates.path("ca.pem")}"
    max_messages_per_connection = 4 idle_timeout = 500ms
}}"""))
        client = relay.session(relay.key(), "local")
        sent = {client.submit(body): body for body in bodies()}
        for name in sent:
            relay.wait_state(name, "delivered")
        wait_for(lambda: len(postfix.messages("r")) == len(sent), "the mailbox\n" + postfix.log())
        for name, content in postfix.messages("r").items():
            header, body = content.split(b"\n\n", 1)
            assert body.replace(b"\n", b"\r\n") == sent[name], (name, body[:300])
            assert re.search(rb"from client\.example .*\n?.*by relay\.example", header), header

        people = [f"{who}@dest.example" for who in ("r", "later", "nobody", "s")]
        name = client.submit("four\r\n", recipients=people)
        told = relay.wait_state(name, "deferred")
        assert [(r["state"], r["enhanced"]) for r in told["recipients"]] == \
            [("delivered", "2.0.0"), ("deferred", "4.2.1"), ("bounced", "5.1.1"), ("delivered", "2.0.0")], told
        wait_for(lambda: name in postfix.messages("r") and name in postfix.messages("s"), "both mailboxes")

        wait_for(lambda: postfix.log().count(" connect from") == postfix.log().count(" disconnect from"),
                 "the end of the connections")
        said = postfix.log()
        for word in ("improper", "bare", "lost connection", "SSL_accept error", "warning", "timeout",
                     "too many"):
            assert word not in said, said
        ends = [end for end in re.findall(r"disconnect from \S+ (.*)\n", said) if "mail=" in end]
        assert len(ends) >= len(sent) / 4, ends
        assert all("starttls=1" in end and "quit=1" in end for end in ends), ends


run()
