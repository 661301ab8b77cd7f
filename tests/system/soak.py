"""Hours of ordinary and rude clients, in short (F-24): what the relay holds stays flat, and the ledger is exact.

SOAK_S is how long; a day of it is `SOAK_S=86400 python3 tests/system/soak.py`, with tests on the PYTHONPATH.
"""
import collections
import os
import random
import re
import threading
import time

from support.cases import case, run
from support.relay import PATIENCE_S, Relay, is_sanitized, wait_for

SOAK_S = float(os.environ.get("SOAK_S", "6"))
CLIENTS = 6
GROWTH_MAX = 32 * 1024 * 1024


class Client(threading.Thread):
    """Sends, with pauses; now and then it leaves in the middle of something. `sent` counts per body's marker."""

    def __init__(self, relay, key, number, ledger, until):
        super().__init__(daemon=True)
        self.relay, self.key, self.number, self.ledger, self.until = relay, key, number, ledger, until
        self.rng, self.failure = random.Random(number), None

    def run(self):
        try:
            while time.monotonic() < self.until:
                self.visit()
        except (AssertionError, OSError, ValueError) as failure:
            self.failure = failure

    def visit(self):
        client = self.relay.session(self.key, self.rng.choice(("local", "local", "submission", "submissions")))
        for _ in range(self.rng.randrange(1, 20)):
            marker = f"{self.number}-{self.rng.getrandbits(60)}"
            body = f"mark {marker} end\r\n" + ("x" * 78 + "\r\n") * self.rng.choice((1, 60, 60, 60, 2000))
            if self.rng.random() < 0.1:
                self.leave(client, body)
                return
            client.submit(body)
            self.ledger.append(marker)
            time.sleep(self.rng.random() * 0.01)
        client.close()

    def leave(self, client, body):
        """Somewhere on the way to the dot, with or without a word."""
        for code, command in ((250, "MAIL FROM:<a@good.example>"), (250, "RCPT TO:<r@dest.example>"), (354, "DATA")):
            client.expect(code, command)
            if self.rng.random() < 0.3:
                client.close()
                return
        client.send("From: a@good.example\r\n\r\n" + body[:self.rng.randrange(len(body))])
        client.close()


class Measure:
    """What must not grow, once everything under way has ended."""

    def __init__(self, relay):
        wait_for(lambda: set(relay.queue().values()) <= {"delivered"}, "delivery of all")
        wait_for(lambda: relay.log().count("event=session_opened") == relay.log().count("event=session_closed"),
                 "the end of all sessions")
        self.files, self.bytes = relay.open_files(), relay.resident_bytes()
        self.log = os.path.getsize(os.path.join(relay.state, "queue.db-wal"))


def work(relay, key, ledger, seconds):
    clients = [Client(relay, key, i, ledger, time.monotonic() + seconds) for i in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(seconds + PATIENCE_S)
        assert client.failure is None, client.failure
    return Measure(relay)


@case
def what_it_holds_stays_flat_and_the_ledger_is_exact():  # F-24
    with Relay('retention = 1s\n') as relay:
        key, ledger = relay.key(), []
        before = work(relay, key, ledger, SOAK_S / 3)
        after = work(relay, key, ledger, SOAK_S * 2 / 3)
        marks = collections.Counter(re.search(rb"mark (\S+) end", raw).group(1).decode()
                                    for _, _, raw in relay.sink.messages)
        print(f"# {len(ledger)} messages; files {before.files}, {after.files}; "
              f"resident {before.bytes >> 10}, {after.bytes >> 10} KiB; log {before.log >> 10}, {after.log >> 10} KiB")
        assert marks == collections.Counter(ledger)
        assert after.files <= before.files + 20  # connections to the upstream may be kept
        assert is_sanitized() or after.bytes - before.bytes < GROWTH_MAX
        assert after.log <= before.log + 8 * 1024 * 1024


run()
