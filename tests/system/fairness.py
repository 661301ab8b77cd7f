"""One account's backlog does not delay another's mail, nor one key's that of another: counted in messages that
leave before it, since seconds are the upstream's."""
import threading

from support.cases import case, run
from support.relay import Relay, Sink, wait_for
from support.upstreams import block, opened

BACKLOG = 20000
LATER = 'retry { schedule = {"1h"} }\n'  # the next attempt is ours to ask for
SLOTS = 4  # connections to the upstream, over all workers
# What is on the connections ends first; then each account with something waiting gets its turn, on each worker.
# A message that becomes due meets it within a few more, while the relay looks.
FEW = 6 * SLOTS


class Gate:
    """An upstream that takes one message for each time it is told to, to be used as a script of a Sink."""

    def __init__(self):
        self.turns = threading.Semaphore(0)
        self.script = {"dot": self._dot, "RCPT": self._rcpt}
        self.deferring = None  # a recipient who is told to come later

    def _dot(self, n, line):
        self.turns.acquire()
        return ...

    def _rcpt(self, n, line):
        return "450 4.2.1 busy" if self.deferring and self.deferring in line else ...

    def pass_until(self, sink, recipient):
        """How many messages it takes until one for this recipient is among them."""
        first = len(sink.messages)
        while True:
            self.turns.release()
            passed = len(sink.messages)
            wait_for(lambda: len(sink.messages) > passed, "the next message")
            if any(recipient in recipients for _, recipients, _ in sink.messages[passed:]):
                return len(sink.messages) - first - 1

    def open(self):
        self.turns.release(100 * BACKLOG)


def backlog(client, count, sender):
    """Injects as fast as one session can."""
    envelope = f"MAIL FROM:<{sender}>\r\nRCPT TO:<many@dest.example>\r\nDATA\r\n".encode()
    content = f"From: {sender}\r\n\r\nb\r\n.\r\n".encode()
    replies = client.sock.makefile("rb")
    for _ in range(count):
        client.sock.sendall(envelope)
        got = [replies.readline()[:3] for _ in range(3)]
        assert got == [b"250", b"250", b"354"], got
        client.sock.sendall(content)
        assert replies.readline().startswith(b"250")


def accounts(relay, *handles):
    for handle in handles:
        relay.cli("account", "create", handle)
        relay.cli("domain", "add", f"{handle}.example", "--account", handle)
    return [relay.key(f"{handle}.example", "--account", handle) for handle in handles]


@case
def a_backlog_delays_others_by_a_few_messages():
    gate = Gate()
    with opened(Sink(gate.script)) as (sink,), \
            Relay(LATER, upstream=block("u", sink, f"max_connections = {SLOTS}")) as relay:
        large, small = accounts(relay, "large", "small")
        other = relay.key("large.example", "--account", "large")
        client = relay.session(small, "local")
        gate.deferring = "<deferred@"
        deferred = client.submit(sender="a@small.example", recipients=["deferred@dest.example"])
        relay.wait_state(deferred, "deferred")
        gate.deferring = None

        backlog(relay.session(large, "local"), BACKLOG, "a@large.example")
        client.submit(sender="a@small.example", recipients=["fresh@dest.example"])
        passed = gate.pass_until(sink, "fresh@dest.example")
        assert passed <= FEW, f"{passed} messages went before a fresh one"

        relay.cli("queue", "retry", deferred)
        passed = gate.pass_until(sink, "deferred@dest.example")
        assert passed <= FEW, f"{passed} messages went before a deferred one"

        relay.session(other, "local").submit(sender="b@large.example", recipients=["key@dest.example"])
        passed = gate.pass_until(sink, "key@dest.example")
        assert passed <= FEW, f"{passed} messages went before that of another key"
        left = relay.json("queue", "stats")["data"]["messages"]
        assert left["queued"] + left["delivering"] > BACKLOG - 6 * FEW, left
        relay.cli("queue", "cancel", "--all", "--state", "queued")
        gate.open()


@case
def the_backlog_of_a_dead_upstream_holds_up_no_mail_for_another():
    for listens in (True, False):  # it hangs, or it is not there
        over = threading.Event()
        with opened(Sink({"banner": lambda n, line: over.wait() and None}, listens=listens), Sink()) as (dead, alive):
            routes = ('route { account = {"small"} upstreams = {"alive"} }\n'
                      'default_upstreams = {"dead"}\n')
            with Relay(LATER + routes, upstream=block("dead", dead) + block("alive", alive)) as relay:
                large, small = accounts(relay, "large", "small")
                backlog(relay.session(large, "local"), 3000, "a@large.example")
                client = relay.session(small, "local")
                for _ in range(10):
                    relay.wait_state(client.submit(sender="a@small.example"), "delivered")
                names = [client.submit(sender="a@small.example") for _ in range(10)]
                relay.cli("queue", "retry", "--all")
                for name in names:
                    relay.wait_state(name, "delivered")
                assert not dead.messages and len(alive.messages) == 20
                over.set()


@case
def a_slow_upstream_holds_up_no_fresh_mail_of_anybody_for_another():
    """Neither that of a key which has mail for both, nor, when many have much for it, that of one more."""
    over = threading.Event()
    with opened(Sink({"banner": lambda n, line: over.wait() and None}), Sink()) as (slow, alive):
        routes = ('route { sender_domain = {"fast.example"} upstreams = {"alive"} }\n'
                  'route { account = {"small"} upstreams = {"alive"} }\n'
                  'default_upstreams = {"slow"}\n')
        with Relay(LATER + routes, upstream=block("slow", slow) + block("alive", alive)) as relay:
            small, *many = accounts(relay, "small", *(f"many{i}" for i in range(12)))
            relay.cli("domain", "add", "fast.example", "--account", "many0")
            both = relay.cli("key", "create", "--name", "both", "--account", "many0").stdout.strip()
            backlog(relay.session(both, "local"), 2000, "a@many0.example")
            for _ in range(10):
                name = relay.session(both, "local").submit(sender="a@fast.example")
                relay.wait_state(name, "delivered")
            for i, key in enumerate(many):
                backlog(relay.session(key, "local"), 200, f"a@many{i}.example")
            for _ in range(10):
                name = relay.session(small, "local").submit(sender="a@small.example")
                relay.wait_state(name, "delivered")
            assert not slow.messages and len(alive.messages) == 20
            over.set()


run()
