"""kill -9 under load, ROUNDS times: what was acknowledged is in the queue or at the upstream afterwards.

The ledger is what clients heard: the marker of each message that got its 250. After each round the relay starts again on
the same state; at the end everything is delivered, and each marker of the ledger must have arrived. Only an attempt that
was under way when the relay was killed may be repeated, so a kill may cost one repetition per connection to the upstream.
"""
import collections
import os
import random
import re
import signal
import threading

from support.cases import case, run
from support.relay import PATIENCE_S, Relay, plain, wait_for

ROUNDS = int(os.environ.get("ROUNDS", "50"))
CLIENTS = 8
CONNECTIONS = 20  # the default of upstream max_connections
HEADER = "From: a@good.example\r\nTo: r@dest.example\r\nX-Marker: {}\r\n\r\n"


class Load(threading.Thread):
    """One client that sends message after message until its connection breaks."""

    def __init__(self, relay, key, number, ledger, big):
        super().__init__(daemon=True)
        self.relay, self.key, self.number, self.ledger, self.big = relay, key, number, ledger, big
        self.acknowledged = threading.Event()

    def run(self):
        try:
            client = self.relay.session(self.key, "local")
            count = 0
            while True:
                count += 1
                marker = f"{self.number}-{count}"
                body = ("x" * 78 + "\r\n") * (2000 if self.big and count % 5 == 0 else 60)
                client.send(f"MAIL FROM:<a@good.example>\r\nRCPT TO:<r@dest.example>\r\nDATA\r\n")
                for code in (250, 250, 354):
                    client.expect(code)
                client.send(HEADER.format(marker) + body + ".\r\n")
                client.expect("250 2.0.0")
                self.ledger.append(marker)
                self.acknowledged.set()
        except (AssertionError, OSError, ValueError):
            pass


def count_arrivals(relay):
    found = collections.Counter()
    for _, _, raw in list(relay.sink.messages):
        found[re.search(rb"X-Marker: (\S+)\r\n", raw).group(1).decode()] += 1
    return found


def kill_under_load(rounds, settings, big):
    rng = random.Random(rounds)
    with Relay(settings) as relay:
        key = relay.key()
        ledger = []
        for number in range(rounds):
            clients = [Load(relay, key, f"{number}-{i}", ledger, big) for i in range(CLIENTS)]
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
        wait_for(lambda: not {"queued", "delivering", "deferred", "uncertain"} & set(relay.queue().values()),
                 "an empty queue", 120)
        found = count_arrivals(relay)
        lost = [marker for marker in ledger if found[marker] == 0]
        repeated = sum(found.values()) - len(found)
        print(f"# {rounds} rounds: {len(ledger)} acknowledged, {len(lost)} lost, {len(found)} arrived, "
              f"{repeated} repetitions")
        assert not lost, lost[:10]
        assert len(ledger) > rounds
        assert repeated <= rounds * CONNECTIONS, repeated


@case
def nothing_acknowledged_is_lost_by_kill_9():
    kill_under_load(ROUNDS, "retry { schedule = {\"1s\"} }", big=False)


@case
def nothing_acknowledged_is_lost_when_bodies_are_stored_in_chunks():
    kill_under_load(max(ROUNDS // 5, 2), "retry { schedule = {\"1s\"} }", big=True)


run()
