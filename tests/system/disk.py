"""The disk of the state folder fails under the real binary: it becomes read-only, or a sync of it fails (F-23). Then no
mail is acknowledged, and none is sent whose outcome could not be recorded; the relay lives, and goes on by itself.

tests/support/machine.c makes the faults: every write, creation and removal below the folder is refused with EROFS, or
fsync and fdatasync return EIO.
"""
import threading

from support.cases import case, run
from support.machine import Machine
from support.relay import Relay, Sink, wait_for
from support.upstreams import block

SOON = 'retry { schedule = {"300ms"} }\n'
HEADER = b"From: a@good.example\r\n\r\n"


class Scene:
    def __init__(self, script=None, settings=SOON):
        self.machine = Machine()
        self.sink = Sink(script)
        self.relay = Relay(settings, upstream=block("u", self.sink), start=False)
        self.machine.watch(self.relay)

    def __enter__(self):
        self.relay.start()
        self.client = self.relay.session(self.relay.key(), "local")
        return self

    def __exit__(self, *why):
        self.machine.read_only = self.machine.failing_syncs = 0
        try:
            self.relay.__exit__(*why)
        finally:
            self.sink.close()
            self.machine.__exit__()

    def refused(self, body=b"b\r\n"):
        """Submits; where it was refused: "MAIL" or "dot". It must be, as the store's failure."""
        self.client.line("MAIL FROM:<a@good.example>")
        code, lines = self.client.reply()
        if code == 250:
            self.client.expect(250, "RCPT TO:<r@dest.example>")
            self.client.expect(354, "DATA")
            self.client.send(HEADER + body + b".\r\n")
            self.client.expect("451 4.3.0")
            return "dot"
        assert lines[0].startswith("451 4.3.0"), lines
        return "MAIL"

    def is_well(self):
        code, _ = self.client.ask("MAIL FROM:<a@good.example>")
        if code == 250:
            self.client.expect(250, "RSET")
        return code == 250

    def accepted_again(self):
        wait_for(self.is_well, "the store to be well again")
        assert "event=queue_accepts_again" in self.relay.log()
        return self.client.submit("after\r\n")

    def mails(self):
        return sum(1 for step, _ in list(self.sink.steps) if step == "MAIL")


@case
def on_a_read_only_disk_new_mail_hears_451_and_later_it_is_taken():
    with Scene() as s:
        first = s.client.submit("before\r\n")
        s.sink.wait(1)
        s.relay.wait_state(first, "delivered")
        s.machine.read_only = 1
        assert s.refused() == "dot"
        wait_for(lambda: s.refused() == "MAIL", "a refusal before the message")
        assert s.refused(b"x" * 900 + b"\r\n") == "MAIL"
        wait_for(lambda: "event=queue_cannot_reopen" in s.relay.log(), "a try to open it again")
        s.machine.read_only = 0
        last = s.accepted_again()
        s.relay.wait_state(last, "delivered")
        assert s.relay.queue() == {first: "delivered", last: "delivered"}
        assert [raw.split(b"\r\n\r\n", 1)[1] for _, _, raw in s.sink.messages] == [b"before\r\n", b"after\r\n"]


@case
def a_large_message_is_refused_while_it_arrives():
    with Scene() as s:
        for code, command in ((250, "MAIL FROM:<a@good.example>"), (250, "RCPT TO:<r@dest.example>"), (354, "DATA")):
            s.client.expect(code, command)
        s.client.send(HEADER + (b"x" * 70 + b"\r\n") * 3000)
        s.machine.read_only = 1
        s.client.send((b"y" * 70 + b"\r\n") * 3000 + b".\r\n")
        s.client.expect("451 4.3.0")
        s.machine.read_only = 0
        last = s.accepted_again()
        s.relay.wait_state(last, "delivered")
        assert s.relay.queue() == {last: "delivered"}


@case
def what_is_due_is_not_sent_while_it_could_not_be_recorded():
    busy = [True]
    with Scene({"RCPT": lambda n, line: "450 4.2.1 busy" if busy[0] else ...}) as s:
        names = [s.client.submit() for _ in range(5)]
        for name in names:
            s.relay.wait_state(name, "deferred")
        s.machine.read_only = 1
        wait_for(lambda: s.refused() == "MAIL", "the store to fail")
        before = s.mails()
        wait_for(lambda: s.relay.log().count("event=queue_cannot_reopen") >= 3, "three tries to open it")
        assert s.mails() == before, s.sink.steps[-4:]
        busy[0] = False
        s.machine.read_only = 0
        s.relay.wait_state(s.accepted_again(), "delivered")
        for name in names:
            s.relay.wait_state(name, "delivered")
        assert len(s.sink.messages) == 6


@case
def what_was_sent_as_the_disk_failed_is_recorded_later_and_not_sent_again():
    dot, go_on = threading.Event(), threading.Event()

    def answer(n, line):
        if n == 0:
            dot.set()
            go_on.wait(30)
        return ...

    with Scene({"dot": answer}) as s:
        name = s.client.submit()
        assert dot.wait(30)
        s.machine.read_only = 1
        go_on.set()
        s.sink.wait(1)
        wait_for(lambda: "event=queue_refuses" in s.relay.log(), "an outcome that cannot be recorded")
        wait_for(lambda: s.refused() == "MAIL", "a refusal before the message")
        s.machine.read_only = 0
        last = s.accepted_again()
        s.relay.wait_state(name, "delivered")
        s.relay.wait_state(last, "delivered")
        assert len(s.sink.messages) == 2 and s.relay.story(name)["attempts"] == 1


@case
def a_failed_sync_is_no_acknowledgement_and_leaves_no_message():
    with Scene() as s:
        for _ in range(3):
            s.machine.failing_syncs = 1
            assert s.refused() == "dot"
            wait_for(s.is_well, "the store to be well again")
        last = s.client.submit("after\r\n")
        s.relay.wait_state(last, "delivered")
        assert s.relay.queue() == {last: "delivered"}
        assert len(s.sink.messages) == 1


@case
def a_disk_whose_syncs_fail_for_a_while_is_tried_until_they_do_not():
    with Scene() as s:
        s.machine.failing_syncs = -1
        assert s.refused() == "dot"
        wait_for(lambda: s.refused() == "MAIL", "a refusal before the message")
        failed = s.machine.refused
        wait_for(lambda: s.machine.refused >= failed + 3, "more tries")
        assert s.refused() == "MAIL" and not s.sink.messages
        s.machine.failing_syncs = 0
        last = s.accepted_again()
        s.relay.wait_state(last, "delivered")
        assert s.relay.queue() == {last: "delivered"}


@case
def a_relay_that_stops_while_the_disk_fails_loses_nothing():
    busy = [True]
    with Scene({"RCPT": lambda n, line: "450 4.2.1 busy" if busy[0] else ...}) as s:
        name = s.client.submit()
        s.relay.wait_state(name, "deferred")
        s.machine.read_only = 1
        wait_for(lambda: s.refused() == "MAIL", "the store to fail")
        s.client.close()
        assert s.relay.stop() == 0
        s.machine.read_only = 0
        busy[0] = False
        s.relay.start()
        s.relay.wait_state(name, "delivered")
        assert s.relay.queue() == {name: "delivered"}


run()
