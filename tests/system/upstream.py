"""What becomes of mail when the upstream refuses, falls silent, talks nonsense or goes away, and comes back.

Most cases are tables: each row is an upstream with its own fault, reached by a route for its own sender
domain, so that one relay meets all of them at once. A fault that is met once must not keep the message from
arriving, once, by the next attempt.
"""
import contextlib
import os
import re
import resource
import signal
import socket
import threading

from support.cases import case, run
from support.relay import Relay, Sink, wait_for

SOON = 'retry { schedule = {"100ms"} }\n'
LATER = 'retry { schedule = {"1h"} }\n'  # the next attempt is ours to ask for
SHORT = " ".join(f"{step}_timeout = 300ms"
                 for step in ("connect", "banner", "command", "data", "block", "dot"))


def at_first(reply):
    """Says this once, and the usual thing from then on."""
    return lambda n, line: reply if n == 0 else ...


def always(reply):
    return lambda n, line: reply


def block(name, sink, more=""):
    return f'upstream "{name}" {{ host = "127.0.0.1" port = {sink.port} tls = "none" {more} }}\n'


@contextlib.contextmanager
def opened(*sinks):
    try:
        yield sinks
    finally:
        for sink in sinks:
            sink.close()


def message_id(raw):
    return re.search(rb"(?mi)^message-id:\s*(<\S+>)", raw).group(1)


class Row:
    """An upstream with a fault, and the message that was sent to it."""

    def __init__(self, step, reply, **options):
        self.name = f"{step}: {reply!r}"
        self.sink = Sink({step: reply if callable(reply) else at_first(reply)}, **options)


@contextlib.contextmanager
def meet(rows, settings=SOON, more=""):
    """A relay that has sent one message to the upstream of each row."""
    rest = Sink()  # of the bounces: routes by the sender's domain are not for a null sender
    upstreams = block("rest", rest) + "".join(block(f"row{i}", row.sink, more) for i, row in enumerate(rows))
    settings += 'default_upstreams = {"rest"}\n'
    routes = "".join(f'route {{ sender_domain = {{"row{i}.example"}} upstreams = {{"row{i}"}} }}\n'
                     for i in range(len(rows)))
    with opened(rest, *(row.sink for row in rows)), Relay(settings + routes, upstream=upstreams) as relay:
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


@case
def without_file_descriptors_delivery_waits():  # F-49
    with Relay(SOON, workers=1) as relay:
        client = relay.session(relay.key(), "local")
        used = {int(name) for name in os.listdir(f"/proc/{relay.process.pid}/fd")}
        limits = resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE)
        none_left = min(set(range(len(used) + 1)) - used)
        resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE, (none_left, limits[1]))
        names = [client.submit() for _ in range(10)]
        wait_for(lambda: "event=upstream_failed" in relay.log(), "a failure")
        resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE, limits)
        for name in names:
            relay.wait_state(name, "delivered")
        assert "too many open files" in relay.log().lower()
        assert relay.log().count("event=upstream_failed") <= 4, relay.log()
        assert len(relay.sink.messages) == 10


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
def a_permanent_refusal_bounces_with_the_upstreams_words():  # F-13
    rows = [Row(step, "554 5.7.9 not\x1b[2J here %n%s") for step in ("MAIL", "RCPT", "DATA", "dot")]
    with meet(rows) as relay:
        for row in rows:
            told = relay.wait_state(row.id, "bounced")
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
        if "<a@" in line:  # a bounce
            return ...
        name = re.search("r[123]@", line).group()
        seen[name] += 1
        return answers[name](seen[name] - 1, line) if name in answers else ...

    with opened(Sink({"RCPT": rcpt})) as (sink,), Relay(LATER, upstream=block("u", sink)) as relay:
        people = [f"r{i}@dest.example" for i in (1, 2, 3)]
        name = relay.session(relay.key(), "local").submit(recipients=people)
        told = relay.wait_state(name, "deferred")
        assert [r["state"] for r in told["recipients"]] == ["delivered", "deferred", "bounced"], told
        assert told["recipients"][1]["text"] == "later" and told["recipients"][2]["code"] == 550, told
        relay.cli("queue", "retry", "--all")
        wait_for(lambda: relay.story(name)["recipients"][1]["state"] == "delivered", "r2")
        assert [(sender, people) for sender, people, _ in sink.wait(3) if sender] == \
            [("a@good.example", people[:1]), ("a@good.example", people[1:2])]
        assert [people for sender, people, _ in sink.messages if not sender] == [["a@good.example"]]
        assert seen == {"r1@": 1, "r2@": 2, "r3@": 1}
        assert relay.story(name)["state"] == "bounced"
        done = relay.cli("queue", "retry", name, check=False)  # the sender was told that it failed
        assert done.returncode == 65, done
        text = relay.cli("queue", "show", name).stdout
        assert all(person in text for person in people) and "unknown" in text, text


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


# --- connections ----------------------------------------------------------------------------------


def commands_with_mail(offers):
    """What the relay sends before it has an answer to MAIL, to an upstream with these offers."""
    with socket.create_server(("127.0.0.1", 0)) as server, \
            Relay(LATER, upstream=f'upstream "u" {{ host = "127.0.0.1" port = {server.getsockname()[1]} '
                                  'tls = "none" }') as relay:
        relay.session(relay.key(), "local").submit(recipients=["r@dest.example", "s@dest.example"])
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"220 raw.example\r\n")
            assert connection.recv(1000).startswith(b"EHLO relay.example\r\n")
            connection.sendall(b"250-raw.example\r\n250 " + offers + b"\r\n")
            connection.settimeout(0.3)
            got = b""
            with contextlib.suppress(TimeoutError):
                while not got.endswith(b"DATA\r\n"):
                    got += connection.recv(1000)
            return [line.split(b" SIZE=")[0] for line in got.split(b"\r\n")[:-1]]


@case
def commands_are_pipelined_where_that_is_offered():
    grouped = [b"MAIL FROM:<a@good.example>", b"RCPT TO:<r@dest.example>", b"RCPT TO:<s@dest.example>",
               b"DATA"]
    assert commands_with_mail(b"PIPELINING") == grouped
    assert commands_with_mail(b"HELP") == grouped[:1]


@case
def dots_are_doubled_on_the_wire():
    for offers in (("PIPELINING",), ("HELP",)):
        with opened(Sink(offers=offers)) as (sink,), Relay(upstream=block("u", sink)) as relay:
            relay.session(relay.key(), "local").submit(body=".\r\na\r\n..\r\n.b\r\n...\r\n.\r\n")
            raw = sink.wait(1)[0][2]
            assert raw.endswith(b"\r\n\r\n..\r\na\r\n...\r\n..b\r\n....\r\n..\r\n"), raw


@case
def a_connection_is_used_again_up_to_its_ceiling():
    with opened(Sink()) as (sink,), \
            Relay(upstream=block("u", sink, "max_messages_per_connection = 3"), workers=1) as relay:
        client = relay.session(relay.key(), "local")
        for count in range(1, 8):
            relay.wait_state(client.submit(), "delivered")
        assert sink.connections == 3
        assert [step for step, _ in sink.steps].count("QUIT") == 2, sink.steps
        assert [step for step, _ in sink.steps].count("RSET") == 0


@case
def connections_at_once_have_a_ceiling():
    gate = threading.Event()
    with opened(Sink({"dot": lambda n, line: gate.wait() and ...})) as (sink,), \
            Relay(upstream=block("u", sink, "max_connections = 2"), workers=1) as relay:
        client = relay.session(relay.key(), "local")
        for _ in range(6):
            client.submit()
        wait_for(lambda: len(sink.contents) == 2, "two messages under way")
        gate.set()
        sink.wait(6)
        assert sink.connections == 2


@case
def a_connection_that_has_died_in_the_meantime_costs_no_attempt():  # F-25
    def mail(n, line):
        return "421 4.3.2 tired" if n == 1 else None if n == 3 else ...

    with opened(Sink({"MAIL": mail})) as (sink,), Relay(LATER, upstream=block("u", sink), workers=1) as relay:
        client = relay.session(relay.key(), "local")
        for _ in range(4):
            told = relay.wait_state(client.submit(), "delivered")
            assert told["attempts"] == 1, told
        sink.drop()
        relay.wait_state(client.submit(), "delivered")
        assert len(sink.messages) == 5 and sink.connections == 4


@case
def odd_answers_to_rset_and_quit_change_no_result():  # F-25, F-11
    over = threading.Event()
    script = {"RSET": always("500 5.5.1 what"), "RCPT": at_first("550 5.1.1 unknown"),
              "QUIT": lambda n, line: over.wait() and None if n else "354 go on"}
    with opened(Sink(script)) as (sink,), \
            Relay(LATER, upstream=block("u", sink, "max_messages_per_connection = 1"), workers=1) as relay:
        client = relay.session(relay.key(), "local")
        relay.wait_state(client.submit(), "bounced")
        for _ in range(3):
            relay.wait_state(client.submit(), "delivered")
        assert sorted(sender for sender, _, _ in sink.wait(4)) == ["", *["a@good.example"] * 3]
        over.set()


@case
def an_upstream_that_refuses_connections_is_met_by_no_storm():  # F-10
    with opened(Sink(listens=False)) as (sink,), Relay(SOON, upstream=block("u", sink), workers=1) as relay:
        client = relay.session(relay.key(), "local")
        names = [client.submit() for _ in range(20)]
        wait_for(lambda: relay.story(names[0])["attempts"] >= 8, "some attempts")
        assert set(relay.queue().values()) <= {"deferred", "delivering"}
        assert relay.log().count("event=upstream_failed") <= 4, relay.log()
        assert "refused" in relay.story(names[0])["events"][0]["text"]
        sink.listen()
        for name in names:
            relay.wait_state(name, "delivered")
        assert len(sink.messages) == 20, [raw[-200:] for _, _, raw in sink.messages]


# --- several upstreams ----------------------------------------------------------------------------


@case
def the_next_upstream_is_used_while_the_first_cannot_be_reached():
    first, second = Sink(listens=False), Sink()
    with opened(first, second), Relay(LATER, upstream=block("first", first) + block("second", second),
                                      workers=1) as relay:
        client = relay.session(relay.key(), "local")
        told = relay.wait_state(client.submit(), "delivered")
        assert told["recipients"][0]["upstream"] == "second" and told["attempts"] == 1, told
        first.listen()
        told = relay.wait_state(client.submit(), "delivered")
        assert told["recipients"][0]["upstream"] == "first", told
        assert (len(first.messages), len(second.messages)) == (1, 1)


@case
def what_one_upstream_refuses_is_not_offered_to_the_next():
    answers = ["450 4.2.1 full", "550 5.1.1 unknown"]
    first = Sink({"RCPT": lambda n, line: ... if "<a@" in line else answers.pop()})
    second = Sink()
    with opened(first, second), \
            Relay(LATER, upstream=block("first", first) + block("second", second)) as relay:
        client = relay.session(relay.key(), "local")
        relay.wait_state(client.submit(), "bounced")
        relay.wait_state(client.submit(), "deferred")
        assert second.connections == 0


@case
def routes_choose_by_account_key_and_sender_domain():
    sinks = {name: Sink() for name in ("byaccount", "bykey", "bydomain", "below", "rest")}
    upstreams = "".join(block(*item) for item in sinks.items())
    with opened(*sinks.values()), Relay(start=False, upstream=upstreams) as relay:
        relay.cli("account", "create", "team")
        keys = {"team": relay.key("team.example", "--account", "team"), "vip": relay.key("good.example"),
                "many": relay.key("good.example", "--domain", "a.example", "--domain", "x.b.example",
                                  "--domain", "b.example")}
        relay.settings = f"""
route {{ account = {{"nobody", "team"}} upstreams = {{"byaccount"}} }}
route {{ key = {{"{keys['vip'][4:12]}"}} upstreams = {{"bykey"}} }}
route {{ sender_domain = {{"a.example"}} upstreams = {{"bydomain"}} }}
route {{ sender_domain = {{"*.b.example"}} upstreams = {{"below"}} }}
default_upstreams = {{"rest"}}
"""
        relay.start()
        for key, sender, want in (("team", "a@team.example", "byaccount"), ("vip", "a@good.example", "bykey"),
                                  ("many", "a@A.Example", "bydomain"), ("many", "a@x.b.example", "below"),
                                  ("many", "a@b.example", "rest"), ("many", "a@good.example", "rest")):
            name = relay.session(keys[key], "local").submit(sender=sender)
            told = relay.wait_state(name, "delivered")
            assert told["recipients"][0]["upstream"] == want, (key, sender, told)


@case
def a_reload_brings_new_upstreams_and_lets_what_is_under_way_finish():
    gate = threading.Event()
    old, new = Sink({"dot": lambda n, line: gate.wait() and ...}), Sink()
    with opened(old, new), Relay(SOON, upstream=block("old", old), workers=1) as relay:
        client = relay.session(relay.key(), "local")
        under_way = client.submit()
        wait_for(lambda: old.contents, "the dot")
        relay.upstream = block("new", new)
        relay.write_config()
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "event=reloaded" in relay.log(), "the reload")
        for _ in range(3):
            told = relay.wait_state(client.submit(), "delivered")
        assert told["recipients"][0]["upstream"] == "new", told
        assert relay.story(under_way)["state"] == "delivering"
        gate.set()
        assert relay.wait_state(under_way, "delivered")["attempts"] == 1
        assert (len(old.messages), len(new.messages)) == (1, 3)


def bodies_of(sink):
    return sorted(int(raw.split(b"\r\n\r\n")[1]) for _, _, raw in sink.messages)


@case
def reloads_and_stops_under_load_lose_and_double_nothing():
    with Relay(SOON) as relay:
        key = relay.key()
        client = relay.session(key, "local")
        for count in range(200):
            client.submit(f"{count}\r\n")
            if count % 20 == 0:
                relay.upstream = block(f"name{count}", relay.sink)
                relay.write_config()
                relay.process.send_signal(signal.SIGHUP)
        for start in (200, 250, 300):
            for count in range(start, start + 50):
                client.submit(f"{count}\r\n")
            client.close()
            assert relay.stop() == 0
            relay.start()
            client = relay.session(key, "local")
        relay.sink.wait(350)
        wait_for(lambda: set(relay.queue().values()) == {"delivered"}, "delivery of all")
        assert bodies_of(relay.sink) == list(range(350))


# --- maildir --------------------------------------------------------------------------------------


@case
def a_maildir_holds_the_message_byte_for_byte_and_survives_trouble():
    with Relay(SOON, sink=False, start=False) as relay:
        folder = os.path.join(relay.folder, "outbox")
        relay.upstream = f'upstream "outbox" {{ url = "maildir:{folder}" }}'
        relay.start()
        with open(folder, "w"):  # something else is in the way
            pass
        client = relay.session(relay.key(), "local")
        body = b".dot\r\n..\r\n\xff 8-bit\r\n\r\n"
        small = client.submit(body, recipients=["r@dest.example", "s@dest.example"])
        large = client.submit(body + b"x" * 900 + (b"\r\n" + b"z" * 900) * 300 + b"\r\n")
        wait_for(lambda: relay.story(small)["attempts"] >= 2, "an attempt")
        assert folder in relay.story(small)["lastError"]
        os.unlink(folder)
        contents = {}
        for name in (small, large):
            relay.wait_state(name, "delivered")
            found = [file for file in os.listdir(os.path.join(folder, "new")) if name in file]
            assert len(found) == 1, found
            with open(os.path.join(folder, "new", found[0]), "rb") as file:
                contents[name] = file.read()
        assert os.listdir(os.path.join(folder, "tmp")) == []
        assert contents[small].split(b"\r\n\r\n", 1)[1] == body
        assert contents[small].startswith(
            b"Return-Path: <a@good.example>\r\nX-Envelope-To: <r@dest.example>\r\n"
            b"X-Envelope-To: <s@dest.example>\r\nReceived: "), contents[small][:300]
        assert len(contents[large].split(b"\r\n\r\n", 1)[1]) == len(body) + 902 + 902 * 300


run()
