"""kill -9 at any instant of full load, ROUNDS times: what was acknowledged ends as delivered or bounced.

The ledger is what clients heard: sender and recipients of each message that got its 250. After each round the relay
starts again on the same state. The exact points within one message are in crash_points.py.
"""
import collections
import os
import random
import re
import signal
import threading

from support import faults
from support.cases import case, run
from support.letter import letters
from support.relay import PATIENCE_S, Relay, Sink, wait_for
from support.upstreams import block, opened

ROUNDS = int(os.environ.get("ROUNDS", "50"))
CLIENTS = 8
CONNECTIONS = 20  # the default of upstream max_connections: so many attempts may be under way at a kill
WAITING = {"queued", "delivering", "deferred", "uncertain"}


def told_id(raw):
    return re.search(rb"(?mi)^message-id:\s*<(\w+)@", raw).group(1).decode()


# --- at any instant, under load -------------------------------------------------------------------


class Load(threading.Thread):
    """One client that sends message after message until its connection breaks; `ledger` gets (sender, recipients) of
    what was acknowledged. What a message is follows from its marker: envelope(marker, count) is its sender and its
    recipients, lines(count) how many lines its body has."""

    def __init__(self, relay, key, marker, ledger, envelope, lines):
        super().__init__(daemon=True)
        self.relay, self.key, self.marker, self.ledger = relay, key, marker, ledger
        self.envelope, self.lines = envelope, lines
        self.acknowledged = threading.Event()

    def run(self):
        try:
            client = self.relay.session(self.key, "local")
            for count in range(10 ** 6):
                sender, people = self.envelope(f"{self.marker}x{count}", count)
                body = ("x" * 78 + "\r\n") * self.lines(count)
                # In one breath, as a client with PIPELINING sends.
                client.send("".join([f"MAIL FROM:<{sender}>\r\n", *(f"RCPT TO:<{who}>\r\n" for who in people),
                                     "DATA\r\n"]))
                for code in (250, *(250 for _ in people), 354):
                    client.expect(code)
                client.send(f"From: {sender}\r\nTo: r@dest.example\r\n\r\n{body}.\r\n")
                client.expect("250 2.0.0")
                self.ledger.append((sender, people))
                self.acknowledged.set()
        except (AssertionError, OSError, ValueError):
            pass


def one_recipient(marker, count):
    return "a@good.example", [f"good{marker}@dest.example"]


def kill_under_load(relay, rounds, envelope, lines):
    """The ledger, once everything has ended."""
    rng = random.Random(rounds)
    key, ledger = relay.key(), []
    for number in range(rounds):
        clients = [Load(relay, key, f"{number}y{i}", ledger, envelope, lines) for i in range(CLIENTS)]
        for client in clients:
            client.start()
        clients[0].acknowledged.wait(PATIENCE_S)
        # The instant of the kill is the point: anywhere within the next moments of full load.
        threading.Event().wait(rng.random() * 0.15)
        assert relay.process.poll() is None, "the relay ended by itself"
        relay.stop(signal.SIGKILL)
        for client in clients:
            client.join(PATIENCE_S)
        relay.start()
    assert len(ledger) > rounds
    return ledger


def check_arrivals(relay, sink, ledger, rounds):
    """Nobody is missing, and who got it twice had an attempt whose end nobody knows, and that is told."""
    wait_for(lambda: not WAITING & set(relay.queue().values()), "an end of everything", 120)
    arrivals, delivered, bounced = (collections.Counter() for _ in range(3))
    for sender, people, raw in sink.messages:
        arrivals.update((told_id(raw), who) for who in people)
        delivered.update(people if sender else [])
    for name, who in {(letter.mail["Message-ID"], who) for letter in letters(sink) for who in letter.status}:
        bounced[who] += 1
    lost = [who for _, people in ledger for who in people if delivered[who] + bounced[who] == 0]
    repeated = collections.Counter()
    for (name, _), count in arrivals.items():
        repeated[name] = max(repeated[name], count - 1)
    repeated = +repeated
    print(f"# {rounds} rounds: {sum(len(people) for _, people in ledger)} recipients acknowledged, {len(lost)} lost, "
          f"{len(delivered)} delivered, {len(bounced)} bounced, {len(repeated)} messages repeated")
    assert not lost, lost[:10]
    by_kill = 0
    for name, count in repeated.items():
        events = relay.api("/v1/messages/" + name)["events"]
        kills = sum(event["what"] == "uncertain" for event in events)
        answers = len({event["at"] for event in events if "final dot" in (event["text"] or "")})
        assert count <= kills + answers, (name, count, events)
        by_kill += min(count, kills)
    assert by_kill <= rounds * CONNECTIONS, by_kill
    return delivered, bounced


@case
def nothing_acknowledged_is_lost_by_kill_9():  # F-01, F-02
    with Relay('retry { schedule = {"1s"} }') as relay:
        ledger = kill_under_load(relay, ROUNDS, one_recipient, lambda count: 60)
        _, bounced = check_arrivals(relay, relay.sink, ledger, ROUNDS)
        assert not bounced


@case
def nothing_acknowledged_is_lost_when_bodies_are_stored_in_chunks():
    rounds = max(ROUNDS // 5, 2)
    with Relay('retry { schedule = {"1s"} }') as relay:
        ledger = kill_under_load(relay, rounds, one_recipient, lambda count: 60 if count % 5 else 2000)
        check_arrivals(relay, relay.sink, ledger, rounds)


# --- the same, while the upstream fails, too ------------------------------------------------------

HASTY = " ".join(f"{step}_timeout = 500ms" for step in ("banner", "command", "data", "block", "dot"))
REFUSED = "554 5.7.1 never"


def all_kinds(marker, count):
    """Most senders are welcome; some are refused for good, at MAIL or at the dot. Of the recipients one is taken, one
    only at the second time, one never."""
    sender = ["a", "a", "a", "mail", "dot"][count % 5]
    return f"{sender}@good.example", [f"{kind}{marker}@dest.example" for kind in ("good", "late", "bad")]


class RoughSink(Sink):
    """At any step it may fail, `rough` times of a hundred: by a temporary refusal, 421, nonsense, loss, a reset or
    silence; where the dot's answer is lost or withheld it has taken the message."""

    def __init__(self, seed):
        self.rng, self.rough, self.seen = random.Random(seed), 3, set()
        super().__init__()

    def _reply_to(self, step, line):
        with self.lock:
            if step != "QUIT" and self.rng.random() * 100 < self.rough:
                return self.rng.choice([faults.LATER, faults.LATER, faults.closing, "banana", faults.lost, faults.reset,
                                        self.hang])
            return self.verdict(step, line)

    def verdict(self, step, line):
        who = (re.findall(r"<(.*?)@", line) or [""])[0]  # the null sender is nobody
        if (step, who) == ("MAIL", "mail") or step == "RCPT" and who.startswith("bad"):
            return REFUSED
        if step == "RCPT" and who.startswith("late") and who not in self.seen:
            self.seen.add(who)
            return "450 4.2.1 later"
        return ...

    def _answer(self, connection, step, line, standard, message=None):
        if message is not None and message[0] == "dot@good.example":
            standard = REFUSED
        return super()._answer(connection, step, line, standard, message)

    @staticmethod
    def hang(connection, usual):
        faults.over.wait(1)
        raise ConnectionError


@case
def each_acknowledged_recipient_ends_under_kill_9_and_an_upstream_that_fails():  # F-01, F-14, F-15
    faults.over.clear()
    rounds = max(ROUNDS // 5, 2)
    with opened(RoughSink(rounds)) as (sink,), \
            Relay('retry { schedule = {"200ms"} }\n', upstream=block("u", sink, HASTY)) as relay:
        ledger = kill_under_load(relay, rounds, all_kinds, lambda count: 60 if count % 11 else 2000)
        sink.rough = 0
        delivered, bounced = check_arrivals(relay, sink, ledger, rounds)
        for sender, people in ledger:
            for who in people:
                refused = sender != "a@good.example" or who.startswith("bad")
                assert not (delivered if refused else bounced)[who], (sender, who)
                assert bounced[who] == refused, (sender, who, bounced[who])
        assert relay.json("queue", "stats")["data"]["messages"]["failed"] == 0


run()
