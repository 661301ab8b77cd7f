"""Who is told: bounces and delay notices, from the refusal of an upstream to the letter at the sender's.

Letters are read by Python's `email`, which knows nothing of ours. The sink is the upstream of both the mail and the
letters about it; a letter is what comes with a null sender.
"""
import collections
import re
import signal
import threading

from support.cases import case, run
from support.letter import wait_letters
from support.relay import PATIENCE_S, Relay, Sink, wait_for

SENDER = "a@good.example"
SOON = 'retry { schedule = {"100ms"} }\n'


def by_recipient(answers):
    """A script for RCPT: each recipient's answers one after the other, the last one for ever."""
    seen = collections.Counter()

    def answer(n, line):
        who = re.search(r"<(.*?)@", line).group(1)
        seen[who] += 1
        mine = answers.get(who, [...])
        return mine[min(seen[who], len(mine)) - 1]

    answer.seen = seen
    return answer


def block(sink, more=""):
    return f'upstream "u" {{ host = "127.0.0.1" port = {sink.port} tls = "none" {more} }}\n'


class Scene:
    """A relay with one scripted upstream, and a client that is logged in."""

    def __init__(self, answers, settings=SOON, **options):
        self.rcpt = by_recipient(answers)
        self.sink = Sink({"RCPT": self.rcpt})
        self.relay = Relay(settings, upstream=block(self.sink), **options)

    def __enter__(self):
        self.relay.__enter__()
        self.client = self.relay.session(self.relay.key(), "local")
        return self

    def __exit__(self, *why):
        try:
            self.relay.__exit__(*why)
        finally:
            self.sink.close()

    def settled(self):
        wait_for(lambda: not {"queued", "delivering", "deferred", "uncertain"} & set(self.relay.queue().values()),
                 "an end of everything")


# --- bounces ----------------------------------------------------------------------------------------


@case
def each_recipient_is_delivered_retried_or_bounced_on_its_own():  # F-14
    answers = {"r2": ["450 4.2.1 later", ...], "r3": ["550 5.1.1 no such \xff\x1b[2J person"]}
    people = [f"r{i}@dest.example" for i in (1, 2, 3)]
    with Scene(answers) as s:
        name = s.client.submit("the body\r\n", recipients=people)
        told = s.relay.wait_state(name, "bounced")
        assert [r["state"] for r in told["recipients"]] == ["delivered", "delivered", "bounced"], told
        assert [r["attempts"] for r in told["recipients"]] == [1, 2, 1], told
        letter, = wait_letters(s.sink, 1)
        assert letter.recipients == [SENDER] and SENDER in letter.mail["To"]
        assert list(letter.status) == people[2:], letter.mail
        assert letter.action(people[2]) == ("failed", "5.1.1"), letter.mail
        assert "550" in letter.status[people[2]]["Diagnostic-Code"], letter.mail
        assert "no such" in letter.text.get_content() and people[2] in letter.text.get_content()
        assert letter.whole["Reporting-MTA"] == "dns; relay.example", letter.mail
        quoted = letter.original.as_string()
        assert f"Message-ID: <{name}@relay.example>" in quoted and "the body" not in quoted, quoted
        assert s.rcpt.seen == {"r1": 1, "r2": 2, "r3": 1, "a": 1}
        s.settled()
        rows = {row["id"]: row for row in s.relay.json("queue", "list")["data"]}
        report, = set(rows) - {name}
        assert (rows[report]["from"], rows[report]["to"], rows[report]["state"]) == ("", SENDER, "delivered"), rows
        assert rows[report]["keyId"] == rows[name]["keyId"] and rows[report]["account"] == rows[name]["account"]
        assert [event["what"] for event in told["events"]] == ["attempt", "attempt", "bounce"], told
        shown = s.relay.cli("queue", "show", name).stdout
        assert report in shown and all(person in shown for person in people) and "no such" in shown, shown
        done = s.relay.cli("queue", "retry", name, check=False)  # the sender was told that it failed
        assert done.returncode == 65, done


@case
def those_who_failed_together_are_in_one_letter():
    people = [f"r{i}@dest.example" for i in range(60)]
    answers = {f"r{i}": [f"550 5.1.1 no r{i} here " + "and why, at length, " * 20] for i in range(60)}
    with Scene(answers) as s:
        told = s.relay.wait_state(s.client.submit(recipients=people), "bounced")
        assert {r["state"] for r in told["recipients"]} == {"bounced"}
        letter, = wait_letters(s.sink, 1)
        assert list(letter.status) == people
        for i, person in enumerate(people):
            assert f"no r{i} here" in letter.status[person]["Diagnostic-Code"], letter.mail
        s.settled()


@case
def a_letter_that_is_larger_than_a_row_arrives_whole():
    people = [f"r{i}@dest.example" for i in range(100)]
    answers = {f"r{i}": ["550 5.1.1 " + f"words of r{i} " * 40] for i in range(100)}
    with Scene(answers) as s:
        s.relay.wait_state(s.client.submit(recipients=people), "bounced")
        letter, = wait_letters(s.sink, 1)
        assert list(letter.status) == people
        assert len(s.sink.messages[0][2]) > 65536
        s.settled()


@case
def what_is_too_old_bounces():
    settings = 'retry { schedule = {"100ms"} max_age = 1s }\n'
    with Scene({"r": ["450 4.2.2 mailbox full"]}, settings) as s:
        told = s.relay.wait_state(s.client.submit(), "bounced")
        assert told["attempts"] > 3, told
        letter, = wait_letters(s.sink, 1)
        assert letter.action("r@dest.example") == ("failed", "4.2.2"), letter.mail
        assert "mailbox full" in letter.text.get_content(), letter.mail
        s.settled()


@case
def a_null_sender_is_never_told():
    with Scene({"r": ["550 5.1.1 unknown"]}) as s:
        name = s.client.submit(sender="", author=SENDER)
        s.relay.wait_state(name, "failed")
        assert s.relay.queue() == {name: "failed"} and s.sink.messages == []


@case
def a_bounce_that_is_refused_has_failed_and_makes_no_other():
    with Scene({"r": ["550 5.1.1 unknown"], "a": ["550 5.1.1 you neither"]}) as s:
        name = s.client.submit()
        wait_for(lambda: sorted(s.relay.queue().values()) == ["bounced", "failed"], "the end of both")
        assert s.relay.queue()[name] == "bounced" and s.sink.messages == []
        report, = set(s.relay.queue()) - {name}
        assert s.relay.story(report)["recipients"][0]["text"] == "you neither"
        s.relay.stop()
        s.relay.start()  # the cause is gone: what failed can be sent after all, by hand
        s.sink.script = {}
        s.relay.cli("queue", "retry", report)
        assert list(wait_letters(s.sink, 1)[0].status) == ["r@dest.example"]


@case
def a_bounce_quotes_the_header_of_a_message_in_chunks():
    body = ("x" * 76 + "\r\n") * 4000
    with Scene({"r": ["550 5.7.1 not you"]}) as s:
        name = s.client.submit(body)
        s.relay.wait_state(name, "bounced")
        letter, = wait_letters(s.sink, 1)
        quoted = letter.original.as_string()
        assert f"Message-ID: <{name}@relay.example>" in quoted and "xxxx" not in quoted, quoted
        s.settled()


@case
def an_8_bit_header_is_bounced_to_an_upstream_that_cannot_take_it():
    with Scene({}) as s:
        s.sink.offers = ("PIPELINING",)
        name = s.client.submit("gr\u00fc\u00dfe\r\n")
        told = s.relay.wait_state(name, "bounced")
        assert told["recipients"][0]["enhanced"] == "5.6.3", told
        assert wait_letters(s.sink, 1)[0].action("r@dest.example") == ("failed", "5.6.3")
        s.settled()


@case
def without_retention_a_bounce_is_sent_all_the_same():
    with Scene({"r": ["550 5.1.1 unknown"]}, SOON + "retention = 0s\n") as s:
        s.client.submit()
        wait_letters(s.sink, 1)
        wait_for(lambda: s.relay.queue() == {}, "an empty queue")


# --- delay notices ----------------------------------------------------------------------------------


@case
def a_late_message_is_told_of_once_also_over_a_restart():
    settings = 'retry { schedule = {"100ms"} delay_notice = 500ms }\n'
    with Scene({"r1": ["450 4.2.1 full"], "r2": ["450 4.2.1 full", ...]}, settings) as s:
        name = s.client.submit(recipients=["r1@dest.example", "r2@dest.example"])
        letter, = wait_letters(s.sink, 1)
        assert letter.action("r1@dest.example") == ("delayed", "4.2.1"), letter.mail
        assert letter.status["r1@dest.example"]["Will-Retry-Until"], letter.mail
        assert list(letter.status) == ["r1@dest.example"], letter.mail
        s.relay.stop()
        s.relay.start()
        before = s.relay.story(name)["attempts"]
        told = wait_for(lambda: (t := s.relay.story(name))["attempts"] >= before + 5 and t, "more attempts")
        assert [event["what"] for event in told["events"]].count("delay notice") == 1, told
        wait_letters(s.sink, 1)
        s.rcpt.seen.clear()
        s.sink.script = {}
        s.relay.wait_state(name, "delivered")
        s.settled()
        wait_letters(s.sink, 1)


@case
def a_delay_notice_can_be_switched_off():
    settings = 'retry { schedule = {"100ms"} delay_notice = 0s max_age = 1s }\n'
    with Scene({"r": ["450 4.2.1 full"]}, settings) as s:
        s.relay.wait_state(s.client.submit(), "bounced")
        letter, = wait_letters(s.sink, 1)
        assert letter.action("r@dest.example")[0] == "failed", letter.mail
        s.settled()


# --- doubt ------------------------------------------------------------------------------------------


def kill_after_the_dot(settings):
    """A scene whose message was sent to its end when the relay was killed: the scene, and its name."""
    gate = threading.Event()
    s = Scene({}, settings)
    s.gate = gate
    s.sink.script["dot"] = lambda n, line: (gate.wait(PATIENCE_S) and None) if n == 0 else ...
    s.__enter__()
    try:
        name = s.client.submit()
        wait_for(lambda: s.sink.contents, "the dot")
        s.relay.stop(signal.SIGKILL)
        gate.set()
    except BaseException:
        s.__exit__(AssertionError, None, None)
        raise
    return s, name


@case
def what_was_under_way_at_a_kill_is_uncertain_and_sent_again():
    s, name = kill_after_the_dot(SOON)
    with s.relay:
        assert s.relay.queue() == {name: "uncertain"}  # told before any process has leased it again
        s.relay.start()
        told = s.relay.wait_state(name, "delivered")
        assert told["attempts"] == 2 and told["events"][0]["what"] == "uncertain", told
        assert "uncertain" in s.relay.cli("queue", "show", name).stdout
        first, second = s.sink.contents
        ids = [re.search(rb"(?mi)^message-id:\s*(<\S+>)", raw).group(1) for raw in (first, second)]
        assert ids[0] == ids[1] and len(s.sink.messages) == 1
    s.sink.close()


@case
def what_was_under_way_at_a_kill_is_held_where_that_is_wanted():
    s, name = kill_after_the_dot('retry { schedule = {"100ms"} uncertain = "hold" }\n')
    with s.relay:
        s.relay.start()
        told = s.relay.wait_state(name, "held")
        assert [event["what"] for event in told["events"]] == ["uncertain", "hold"], told
        after = s.relay.session(s.relay.key(), "local").submit()  # others go on
        s.relay.wait_state(after, "delivered")
        assert s.relay.queue() == {name: "held", after: "delivered"} and len(s.sink.contents) == 2
    s.sink.close()


@case
def a_lost_answer_holds_where_that_is_wanted():
    with Scene({}, 'retry { schedule = {"100ms"} uncertain = "hold" }\n') as s:
        s.sink.script["dot"] = lambda n, line: None if n == 0 else ...
        name = s.client.submit()
        told = s.relay.wait_state(name, "held")
        assert [event["what"] for event in told["events"]] == ["attempt", "hold"], told
        assert told["recipients"][0]["dueAt"] is None, told
        s.relay.wait_state(s.client.submit(), "delivered")
        assert len(s.sink.contents) == 2


run()
