"""kill -9 at each named point of one message's way (F-03), against the real binary.

The process ends by itself at the point, by a library that is preloaded (tests/support/crash_point.c) and armed by
the client once its 354 is there, or by the upstream before it answers the dot; or the upstream ends it by its id, at
what it has just read. What a process has written survives it: a transaction that was written but not synced is there
after a kill, though not after a power cut (F-04: tests/unit/test_queue_store.c).
"""
import os
import signal

from support.cases import case, run
from support.relay import PATIENCE_S, ROOT, Relay, Sink, wait_for
from support.upstreams import at_first, block, opened

BUILD = os.environ.get("BUILD", os.path.join(ROOT, "build"))
LIBRARY = os.path.join(BUILD, "tests", "support", "crash_point.so")
SMALL, LARGE = "b\r\n", ("x" * 78 + "\r\n") * 4000

# The point of F-03; crash_point.c's name for it, or the upstream's step at which it kills; who arms it; the body;
# is it acknowledged; the state in which the restart finds it (None: it is not there); how often its content comes to
# the upstream, in all.
POINTS = [
    ("before the insert", "write", "client", SMALL, False, None, 0),
    ("between two chunks", "append", "client", LARGE, False, None, 0),
    ("before the commit", "sync", "client", SMALL, False, "uncertain", 1),
    ("after the commit", "synced", "client", SMALL, False, "uncertain", 1),
    ("before the 250", "reply", "client", SMALL, False, "uncertain", 1),
    ("after the 250", "replied", "client", SMALL, True, "uncertain", 1),
    ("before the dot", "DATA", None, SMALL, True, "uncertain", 1),
    ("before the dot, in chunks", "DATA", None, LARGE, True, "uncertain", 1),
    ("after the dot", "dot", None, SMALL, True, "uncertain", 2),
    ("after the dot, in chunks", "dot", None, LARGE, True, "uncertain", 2),
    ("after the upstream's 250, before the result", "write", "upstream", SMALL, True, "uncertain", 2),
    ("before the result's commit", "sync", "upstream", SMALL, True, "delivered", 1),
    ("after the result's commit", "synced", "upstream", SMALL, True, "delivered", 1),
]


# The fence would keep crash_point.so from its file, and from ending the process.
SETTINGS = 'fence = "off"\nretry { schedule = {"100ms"} }\n'


class Scene:
    """One relay that ends at one point, and what is known before and after."""

    def __init__(self, point, by, relay, sink):
        self.relay, self.sink = relay, sink
        self.arm_file = os.path.join(relay.folder, "arm")
        if by is not None:
            relay.env = {"LD_PRELOAD": LIBRARY, "CRASH_POINT": point, "CRASH_ARM": self.arm_file,
                         "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
        if by == "upstream":
            sink.script["dot"] = at_first(self.arm_and_answer)
        elif by is None:
            sink.script[point] = at_first(self.kill)

    def arm(self):
        with open(self.arm_file, "w"):
            pass

    def arm_and_answer(self, connection, usual):
        self.arm()
        connection.sendall(usual.encode() + b"\r\n")

    def kill(self, connection, usual):
        """The upstream has done its part, and its answer is never heard."""
        os.kill(self.relay.process.pid, signal.SIGKILL)
        raise ConnectionError

    def submit(self, by, body):
        """True when it was acknowledged; then the relay has ended."""
        client = self.relay.session(self.relay.key(), "local")
        for code, command in ((250, "MAIL FROM:<a@good.example>"), (250, "RCPT TO:<r@dest.example>"), (354, "DATA")):
            client.expect(code, command)
        if by == "client":
            self.arm()
        try:
            client.send(f"From: a@good.example\r\nTo: r@dest.example\r\n\r\n{body}.\r\n")
        except ConnectionError:
            pass  # it ended in the middle
        code, _ = client.reply()
        assert self.relay.process.wait(PATIENCE_S) == -signal.SIGKILL
        self.relay.process, self.relay.env = None, None
        return code == 250

    def check(self, state, contents):
        found = list(self.relay.queue().values())  # nobody has leased anything again
        assert found == ([] if state is None else [state]), found
        self.relay.start()
        wait_for(lambda: set(self.relay.queue().values()) <= {"delivered"}, "delivery")
        again = self.relay.session(self.relay.key(), "local").submit("after\r\n")
        self.relay.wait_state(again, "delivered")  # and whoever was to come again has come
        came = [raw for raw in self.sink.contents if again.encode() not in raw]
        assert len(came) == contents and len(set(came)) == min(contents, 1), len(came)
        assert self.relay.json("queue", "stats")["data"]["activeBytes"] == 0


@case
def each_named_point_loses_nothing_and_repeats_only_what_is_in_doubt():
    wrong = []
    for name, point, by, body, acknowledged, state, contents in POINTS:
        with opened(Sink()) as (sink,), \
                Relay(SETTINGS, upstream=block("u", sink), start=False) as relay:
            scene = Scene(point, by, relay, sink)
            relay.start()
            try:
                assert scene.submit(by, body) == acknowledged, "acknowledged" if not acknowledged else "not heard"
                scene.check(state, contents)
            except AssertionError as problem:
                wrong.append(f"{name} ({point}): {problem}")
    assert not wrong, "\n".join(wrong)


run()
