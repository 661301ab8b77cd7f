"""What the upstream cannot take, what is asked for again, what is too old, and what a stop interrupts.

Its faults, step by step, are in upstream_matrix.py.
"""
import re
import signal
import threading

from support import faults
from support.cases import case, run
from support.faults import FaultySink
from support.relay import Relay, Sink, wait_for
from support.upstreams import always, at_first, block, opened

SOON = 'retry { schedule = {"100ms"} }\n'
LATER = 'retry { schedule = {"1h"} }\n'  # the next attempt is ours to ask for


def message_id(raw):
    return re.search(rb"(?mi)^message-id:\s*(<\S+>)", raw).group(1)


@case
def what_the_upstream_cannot_take_is_never_offered():  # F-44
    small = Sink(offers=("SIZE 1000", "8BITMIME"))
    seven = Sink(offers=("PIPELINING", "SIZE 0"))
    rest = Sink()
    upstreams = block("small", small) + block("seven", seven) + block("rest", rest)
    routes = 'route { sender_domain = {"small.example"} upstreams = {"small"} }\n' \
             'route { sender_domain = {"seven.example"} upstreams = {"seven"} }\n' \
             'default_upstreams = {"rest"}\n'
    with opened(small, seven, rest), Relay(SOON + routes, upstream=upstreams) as relay:
        client = relay.session(relay.key("small.example", "--domain", "seven.example"), "local")
        large = client.submit(sender="a@small.example", body="x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 70)
        eight = client.submit(sender="a@seven.example", body="gr\u00fc\u00dfe\r\n")
        for name, enhanced in ((large, "5.3.4"), (eight, "5.6.3")):
            told = relay.wait_state(name, "bounced")
            assert told["recipients"][0]["enhanced"] == enhanced, told
        client.submit(sender="a@small.example")
        client.submit(sender="a@seven.example")
        small.wait(1), seven.wait(1)
        for sink in (small, seven):
            assert [step for step, _ in sink.steps].count("MAIL") == 1, sink.steps


@case
def a_blind_copy_in_8_bit_makes_no_message_of_8_bits():
    with opened(Sink(offers=("PIPELINING",))) as (sink,), Relay(SOON, upstream=block("u", sink)) as relay:
        client = relay.session(relay.key(), "local")
        for rest in ("", "\r\n" * 70000):  # in the queue's row, and in chunks
            client.expect(250, "MAIL FROM:<a@good.example> BODY=8BITMIME")
            client.expect(250, "RCPT TO:<r@dest.example>")
            client.expect(354, "DATA")
            client.send("From: a@good.example\r\nBcc: J\u00fcrgen <j@dest.example>\r\n\r\nb\r\n" + rest + ".\r\n")
            relay.wait_state(client.expect("250 2.0.0")[-1].split()[-1], "delivered")
        assert b"Bcc" not in sink.messages[0][2]


@case
def what_failed_or_waits_can_be_retried_by_hand():
    answers = ["550 5.1.1 unknown", "450 4.2.1 full", ...]
    with opened(Sink({"RCPT": lambda n, line: answers[n]})) as (sink,), \
            Relay(LATER, upstream=block("u", sink)) as relay:
        name = relay.session(relay.key(), "local").submit(sender="", author="a@good.example")
        relay.wait_state(name, "failed")  # there is nobody to send a bounce to
        relay.cli("queue", "retry", name)
        relay.wait_state(name, "deferred")
        relay.cli("queue", "retry", "--all")
        relay.wait_state(name, "delivered")
        assert len(sink.messages) == 1
        done = relay.cli("queue", "retry", name, check=False)
        assert done.returncode == 65, done


@case
def retries_end_at_the_maximal_age():
    with opened(Sink({"RCPT": always("450 4.2.1 full")})) as (sink,), \
            Relay('retry { schedule = {"100ms", "200ms"} max_age = 1s }', upstream=block("u", sink)) as relay:
        name = relay.session(relay.key(), "local").submit()
        told = relay.wait_state(name, "bounced")
        assert told["recipients"][0]["text"] == "gave up after 1s: full", told
        assert told["attempts"] > 3 and told["recipients"][0]["code"] == 450, told


# --- a stop ---------------------------------------------------------------------------------------


@case
def a_stop_after_the_dot_waits_for_the_answer():  # F-19
    gate = threading.Event()
    with opened(Sink({"dot": lambda n, line: gate.wait() and ...})) as (sink,), \
            Relay(SOON, upstream=block("u", sink)) as relay:
        name = relay.session(relay.key(), "local").submit()
        wait_for(lambda: sink.contents, "the dot")
        assert relay.queue() == {name: "delivering"}
        relay.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "event=stopping" in relay.log(), "the stop")
        gate.set()
        assert relay.stop() == 0
        assert relay.queue() == {name: "delivered"}
        assert len(sink.messages) == 1


@case
def a_stop_that_cannot_wait_any_longer_leaves_doubt():  # F-19
    gate = threading.Event()
    with opened(Sink({"dot": lambda n, line: gate.wait() and None if n == 0 else ...})) as (sink,), \
            Relay("grace = 200ms\n" + SOON, upstream=block("u", sink)) as relay:
        name = relay.session(relay.key(), "local").submit()
        wait_for(lambda: sink.contents, "the dot")
        assert relay.stop() == 0
        assert relay.queue() == {name: "uncertain"}
        relay.start()
        relay.wait_state(name, "delivered")
        assert message_id(sink.contents[0]) == message_id(sink.contents[1])
        gate.set()


@case
def a_stop_gives_back_what_is_under_way_at_any_step():  # F-19
    """The upstream is silent, and when patience ends nothing but the dot leaves doubt."""
    steps = {"banner": "queued", "EHLO": "queued", "MAIL": "queued", "RCPT": "queued", "DATA": "queued",
             "content": "queued", "dot": "uncertain", "RSET": "deferred", "QUIT": "delivered"}
    faults.over.clear()
    sinks = {step: FaultySink({step: at_first(faults.silent)}) for step in steps}
    sinks["RSET"].script["RCPT"] = at_first("450 4.2.1 full")
    upstreams = "".join(
        block(step, sink, "max_messages_per_connection = 1" if step == "QUIT" else "") +
        f'route {{ sender_domain = {{"{step.lower()}.stop.example"}} upstreams = {{"{step}"}} }}\n'
        for step, sink in sinks.items())
    with opened(*sinks.values()), Relay("grace = 300ms\n" + LATER, upstream=upstreams) as relay:
        client = relay.session(relay.key("*.stop.example"), "local")
        body = "x" * 70 + ("\r\n" + "y" * 70) * 100000 + "\r\n"  # more than the sockets hold
        names = {step: client.submit(body if step == "content" else "b\r\n", sender=f"a@{step.lower()}.stop.example")
                 for step in steps}
        for step, sink in sinks.items():
            wait_for(lambda: step in [met for met, _ in sink.steps], step)
        wait_for(lambda: relay.story(names["QUIT"])["state"] == "delivered", "the message before QUIT")
        wait_for(lambda: relay.story(names["RSET"])["state"] == "deferred", "the message before RSET")
        assert relay.stop() == 0
        assert relay.queue() == {names[step]: state for step, state in steps.items()}
        faults.over.set()
        relay.start()
        relay.cli("queue", "retry", "--all")
        for step, name in names.items():
            told = relay.wait_state(name, "delivered")
            assert told["attempts"] == (2 if step in ("dot", "RSET") else 1), (step, told)
            assert len(sinks[step].contents) == (2 if step == "dot" else 1), step
            assert len(set(sinks[step].contents)) == 1, step


run()
