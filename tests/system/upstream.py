"""What becomes of mail when the upstream refuses, falls silent, talks nonsense or goes away, and comes back.

Most cases are tables: each row is an upstream with its own fault, reached by a route for its own sender
domain, so that one relay meets all of them at once. A fault that is met once must not keep the message from
arriving, once, by the next attempt.
"""
import contextlib
import re
import signal
import threading

from support.cases import case, run
from support.relay import Relay, Sink, wait_for
from support.upstreams import always, at_first, block, opened

SOON = 'retry { schedule = {"100ms"} }\n'
LATER = 'retry { schedule = {"1h"} }\n'  # the next attempt is ours to ask for
SHORT = " ".join(f"{step}_timeout = 300ms"
                 for step in ("connect", "banner", "command", "data", "block", "dot"))


def message_id(raw):
    return re.search(rb"(?mi)^message-id:\s*(<\S+>)", raw).group(1)


class Row:
    """An upstream with a fault, and the message that was sent to it."""

    def __init__(self, step, reply):
        self.name = f"{step}: {reply!r}"
        self.sink = Sink({step: reply if callable(reply) else at_first(reply)})


@contextlib.contextmanager
def meet(rows, settings=SOON, more=""):
    """A relay that has sent one message to the upstream of each row."""
    upstreams = "".join(block(f"row{i}", row.sink, more) for i, row in enumerate(rows))
    routes = "".join(f'route {{ sender_domain = {{"row{i}.example"}} upstreams = {{"row{i}"}} }}\n'
                     for i in range(len(rows)))
    with opened(*(row.sink for row in rows)), Relay(settings + routes, upstream=upstreams) as relay:
        domains = [word for i in range(1, len(rows)) for word in ("--domain", f"row{i}.example")]
        client = relay.session(relay.key("row0.example", *domains), "local")
        for i, row in enumerate(rows):
            row.id = client.submit(sender=f"a@row{i}.example")
        yield relay


def check_second_attempt(relay, row):
    """It arrived by the second attempt, once; returns what is known of the first."""
    told = relay.wait_state(row.id, "delivered")
    first = next(event for event in told["events"] if event["what"] == "attempt")
    assert told["attempts"] == 2, (row.name, told)
    assert len(row.sink.messages) == 1, (row.name, row.sink.steps)
    return first


# --- one fault, then all is well ------------------------------------------------------------------


@case
def a_temporary_refusal_at_any_step_is_tried_again():  # F-12
    rows = [Row(step, "451 4.3.9 not now") for step in ("banner", "EHLO", "MAIL", "RCPT", "DATA", "dot")]
    with meet(rows) as relay:
        for row in rows:
            first = check_second_attempt(relay, row)
            assert "not now" in first["text"], (row.name, first)
            if not row.name.startswith(("banner", "EHLO")):
                assert (first["code"], first["enhanced"]) == (451, "4.3.9"), (row.name, first)


@case
def a_connection_that_drops_at_any_step_is_tried_again():
    rows = [Row(step, None) for step in ("banner", "EHLO", "MAIL", "RCPT", "DATA", "dot")]
    with meet(rows) as relay:
        for row in rows:
            first = check_second_attempt(relay, row)
            assert first["code"] is None and "connection ended" in first["text"], (row.name, first)


@case
def a_421_at_any_step_is_tried_again():  # F-25
    rows = [Row(step, "421 4.3.2 closing") for step in ("banner", "EHLO", "MAIL", "RCPT", "DATA", "dot")]
    with meet(rows) as relay:
        for row in rows:
            assert "closing" in check_second_attempt(relay, row)["text"], row.name


@case
def silence_at_any_step_ends_by_its_timeout():  # F-11
    over = threading.Event()

    def hang(n, line):
        if n == 0:
            over.wait()
            return None
        return ...

    rows = [Row(step, hang) for step in ("banner", "EHLO", "MAIL", "RCPT", "DATA", "dot")]
    with meet(rows, more=SHORT) as relay:
        for row in rows:
            first = check_second_attempt(relay, row)
            assert "not answered in time" in first["text"], (row.name, first)
        over.set()


@case
def a_nonsense_reply_to_data_is_followed_by_no_byte_of_the_body():  # F-35
    rows = [Row("DATA", reply) for reply in ("250", "250 ok", "220", "220 ok", "banana", "3540", "3540 go",
                                             "", " ", "35", "354\tgo", "999 no", "100 no", "-354 go")]
    with meet(rows) as relay:
        for row in rows:
            first = check_second_attempt(relay, row)
            assert "protocol error" in first["text"], (row.name, first)
            assert len(row.sink.contents) == 1, row.name
            assert {step for step, _ in row.sink.steps} <= \
                {"banner", "EHLO", "MAIL", "RCPT", "DATA", "dot", "RSET", "QUIT"}, (row.name, row.sink.steps)


@case
def only_220_is_a_greeting():  # F-36
    rows = [Row("banner", reply) for reply in ("221 no", "354 no", "421 no", "500 no", "530 no", "554 no",
                                               "250 no", "220-never ends", "2200 no", "banana", "",
                                               "220-a\r\n221 b")]
    with meet(rows, more=SHORT) as relay:
        for row in rows:
            check_second_attempt(relay, row)
            steps = [step for step, _ in row.sink.steps]
            assert steps[:2] == ["banner", "banner"], (row.name, steps)


@case
def nonsense_at_other_steps_is_a_fault_of_that_attempt_only():
    rows = [Row(step, reply) for step, reply in (
        ("EHLO", "250-never ends"), ("EHLO", "banana"), ("EHLO", "354 go"), ("MAIL", "354 go"),
        ("MAIL", "banana"), ("RCPT", "354 go"), ("RCPT", "25 ok"), ("MAIL", "250 ok\n250 bare"),
        ("banner", "220 " + 5000 * "x"),
        ("EHLO", "\r\n".join(["250-x"] * 2000)), ("EHLO", "250-a\r\n251 b"))]
    with meet(rows, more=SHORT) as relay:
        for row in rows:
            check_second_attempt(relay, row)


@case
def a_reply_that_makes_no_sense_after_the_dot_leaves_doubt():
    rows = [Row("dot", reply) for reply in ("354 go", "220 hello", "banana", "")]
    with meet(rows, LATER) as relay:
        for row in rows:
            relay.wait_state(row.id, "uncertain")
            assert len(row.sink.contents) == 1


class HalfwaySink(Sink):
    """Comes to a stop in the middle of the first message."""

    def __init__(self, stop):
        self.stops = [stop]
        super().__init__()

    def _data(self, lines):
        if self.stops:
            lines.readline()
            self.stops.pop()()
        return Sink._data(lines)


@case
def a_message_that_was_not_sent_to_its_end_is_not_in_doubt():  # F-11
    over = threading.Event()

    def leave():
        raise ConnectionError

    sinks = {"leaves": HalfwaySink(leave), "reads no more": HalfwaySink(over.wait)}
    for name, sink in sinks.items():
        with opened(sink), Relay(LATER, upstream=block("u", sink, SHORT)) as relay:
            body = b"x" * 70 + (b"\r\n" + b"y" * 70) * 200000 + b"\r\n"  # more than the sockets hold
            message = relay.session(relay.key(), "local").submit(body)
            told = relay.wait_state(message, "deferred")
            assert told["recipients"][0]["enhanced"] == "4.4.2", (name, told)
            relay.cli("queue", "retry", message)
            relay.wait_state(message, "delivered")
            assert len(sink.contents) == 1 and sink.contents[0].endswith(body), name
    over.set()


class Drip:
    """A connection that sends byte by byte."""

    def __init__(self, connection):
        self.connection = connection

    def sendall(self, data):
        for i in range(len(data)):
            self.connection.sendall(data[i:i + 1])


class DripSink(Sink):
    def _talk(self, connection, lines):
        super()._talk(Drip(connection), lines)


@case
def replies_may_come_in_pieces_in_many_lines_and_with_more_behind_the_last():
    words = ["250-2.0.0 taken,", "250-2.0.0", "250 2.0.0 and well"]
    sinks = {"pieces": DripSink(), "lines": DripSink({"dot": always("\r\n".join(words))}),
             "more": Sink({"dot": always("250 2.0.0 taken\r\n421 4.3.2 bye")}),
             "no text": Sink({step: always("250") for step in ("MAIL", "RCPT", "dot", "RSET")})}
    for name, sink in sinks.items():
        with opened(sink), Relay(LATER, upstream=block("u", sink), workers=1) as relay:
            client = relay.session(relay.key(), "local")
            for _ in range(3):
                assert relay.wait_state(client.submit(), "delivered")["attempts"] == 1, name
            assert len(sink.messages) == 3, name


# --- refusals for good ----------------------------------------------------------------------------


@case
def a_permanent_refusal_fails_the_message_with_the_upstreams_words():  # F-13
    rows = [Row(step, "554 5.7.9 not\x1b[2J here %n%s") for step in ("MAIL", "RCPT", "DATA", "dot")]
    with meet(rows) as relay:
        for row in rows:
            told = relay.wait_state(row.id, "failed")
            recipient = told["recipients"][0]
            assert (recipient["code"], recipient["enhanced"]) == (554, "5.7.9"), (row.name, recipient)
            assert recipient["text"].endswith("[2J here %n%s") and "\x1b" not in recipient["text"], recipient
            assert "\x1b" not in relay.cli("queue", "show", row.id).stdout
            assert row.sink.messages == []
        assert "\x1b" not in relay.log()


@case
def a_refusal_before_mail_is_the_connections_and_fails_nothing():
    rows = [Row("banner", "554 5.3.2 no service"), Row("EHLO", "550 5.7.1 go away")]
    with meet(rows) as relay:
        for row in rows:
            relay.wait_state(row.id, "delivered")


@case
def each_recipient_has_its_own_fate():  # F-14
    answers = {"r2@": at_first("450 4.2.1 later"), "r3@": always("550 5.1.1 unknown")}
    seen = {name: 0 for name in ("r1@", "r2@", "r3@")}

    def rcpt(n, line):
        name = re.search("r[123]@", line).group()
        seen[name] += 1
        return answers[name](seen[name] - 1, line) if name in answers else ...

    with opened(Sink({"RCPT": rcpt})) as (sink,), Relay(LATER, upstream=block("u", sink)) as relay:
        people = [f"r{i}@dest.example" for i in (1, 2, 3)]
        name = relay.session(relay.key(), "local").submit(recipients=people)
        told = relay.wait_state(name, "deferred")
        assert [r["state"] for r in told["recipients"]] == ["delivered", "deferred", "failed"], told
        assert told["recipients"][1]["text"] == "later" and told["recipients"][2]["code"] == 550, told
        relay.cli("queue", "retry", "--all")
        wait_for(lambda: relay.story(name)["recipients"][1]["state"] == "delivered", "r2")
        assert [(sender, people) for sender, people, _ in sink.messages] == \
            [("a@good.example", people[:1]), ("a@good.example", people[1:2])]
        assert seen == {"r1@": 1, "r2@": 2, "r3@": 1}
        assert relay.story(name)["state"] == "failed"
        relay.cli("queue", "retry", name)  # by its id: what has failed, too
        wait_for(lambda: seen == {"r1@": 1, "r2@": 2, "r3@": 2}, "another attempt for r3 alone")
        relay.wait_state(name, "failed")
        text = relay.cli("queue", "show", name).stdout
        assert all(person in text for person in people) and "unknown" in text, text


@case
def what_the_upstream_cannot_take_is_never_offered():  # F-44
    small = Sink(offers=("SIZE 1000", "8BITMIME"))
    seven = Sink(offers=("PIPELINING", "SIZE 0"))
    upstreams = block("small", small) + block("seven", seven)
    routes = 'route { sender_domain = {"small.example"} upstreams = {"small"} }\n' \
             'route { sender_domain = {"seven.example"} upstreams = {"seven"} }\n'
    with opened(small, seven), Relay(SOON + routes, upstream=upstreams) as relay:
        client = relay.session(relay.key("small.example", "--domain", "seven.example"), "local")
        large = client.submit(sender="a@small.example", body="x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 70)
        eight = client.submit(sender="a@seven.example", body="gr\u00fc\u00dfe\r\n")
        for name, enhanced in ((large, "5.3.4"), (eight, "5.6.3")):
            told = relay.wait_state(name, "failed")
            assert told["recipients"][0]["enhanced"] == enhanced, told
        client.submit(sender="a@small.example")
        client.submit(sender="a@seven.example")
        small.wait(1), seven.wait(1)
        for sink in (small, seven):
            assert [step for step, _ in sink.steps].count("MAIL") == 1, sink.steps


@case
def what_failed_or_waits_can_be_retried_by_hand():
    answers = ["550 5.1.1 unknown", "450 4.2.1 full", ...]
    with opened(Sink({"RCPT": lambda n, line: answers[n]})) as (sink,), \
            Relay(LATER, upstream=block("u", sink)) as relay:
        name = relay.session(relay.key(), "local").submit()
        relay.wait_state(name, "failed")
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
        told = relay.wait_state(name, "failed")
        assert told["recipients"][0]["text"] == "gave up after 1s: full", told
        assert told["attempts"] > 3 and told["recipients"][0]["code"] == 450, told


# --- doubt ----------------------------------------------------------------------------------------


@case
def an_answer_that_is_lost_after_the_dot_leaves_doubt_and_the_same_message_id():  # F-15
    with opened(Sink({"dot": at_first(None)})) as (sink,), Relay(LATER, upstream=block("u", sink)) as relay:
        name = relay.session(relay.key(), "local").submit()
        told = relay.wait_state(name, "uncertain")
        assert told["recipients"][0]["state"] == "uncertain", told
        relay.cli("queue", "retry", name)
        relay.wait_state(name, "delivered")
        first, second = sink.contents
        assert message_id(first) == message_id(second)
        assert name.encode() in first and name.encode() in second


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


run()
