"""The wall clock is set by ten days while mail waits, under a running relay and between two: nothing expires, nobody
is told of a delay, nothing waits for longer than it had to (F-22).

Only the wall clock of the relay is moved (support/machine.py); how long things take is real.
"""
import calendar
import os
import signal
import sqlite3
import time

from support.cases import case, run
from support.machine import DAY_S, Machine
from support.relay import Relay, Sink, wait_for
from support.upstreams import block

SOON = 'retry { schedule = {"500ms", "500ms", "1h"}  max_age = "4d"  delay_notice = "4h" }\n'
LATER = 'retry { schedule = {"1h"}  max_age = "4d"  delay_notice = "4h" }\n'


class Scene:
    """A relay on such a machine, whose upstream first refuses everything for now."""

    def __init__(self, settings, more="", **options):
        self.machine = Machine()
        self.busy = True
        self.sink = Sink({"RCPT": lambda n, line: "450 4.2.1 busy" if self.busy else ...})
        self.relay = Relay(settings, upstream=block("u", self.sink, more), start=False, **options)
        self.machine.watch(self.relay)

    def __enter__(self):
        self.relay.start()
        self.key = self.relay.key()
        return self

    def __exit__(self, *why):
        try:
            self.relay.__exit__(*why)
        finally:
            self.sink.close()
            self.machine.__exit__()

    def submit(self):
        client = self.relay.session(self.key, "local")
        name = client.submit()
        client.close()
        return name

    def deferred(self):
        name = self.submit()
        self.relay.wait_state(name, "deferred")
        return name

    def attempts(self, name):
        return self.relay.story(name)["recipients"][0]["attempts"]

    def letters(self):
        return [envelope for envelope in list(self.sink.messages) if envelope[0] == ""]

    def restart(self, jump_s, another_start=False, how=signal.SIGTERM):
        self.relay.stop(how)
        self.machine.set_wall_clock(jump_s)
        if another_start:  # the machine's, which a test cannot have: the kernel then has another name for it
            db = sqlite3.connect(os.path.join(self.relay.state, "queue.db"))
            assert db.execute("UPDATE timeline SET boot_name = 'another'").rowcount == 1
            db.commit()
            db.close()
        self.relay.start()

    def away(self, text):
        """Seconds from the relay's wall clock to this time."""
        at = calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
        return at - time.time() - self.machine.wall_lead_ms / 1000


def delivered_and_nobody_was_told(s, names):
    s.busy = False
    for name in names:
        told = s.relay.wait_state(name, "delivered")
        assert {event["what"] for event in told["events"]} <= {"attempt", "retry"}, told
    assert not s.letters()


@case
def a_jump_under_a_running_relay_moves_nothing_that_waits():
    for jump_s in (10 * DAY_S, -10 * DAY_S):
        with Scene(LATER) as s:
            name = s.deferred()
            before = s.away(s.relay.story(name)["dueAt"])
            s.machine.set_wall_clock(jump_s)
            wait_for(lambda: "event=wall_clock_set" in s.relay.log(), "a line in the log")
            after = s.relay.story(name)
            assert after["state"] == "deferred" and abs(s.away(after["dueAt"]) - before) < 60, (after, before)
            row, = s.relay.json("queue", "list")["data"]
            assert row["dueAt"] == after["dueAt"], row
            assert s.attempts(name) == 1
            s.busy = False
            s.relay.cli("queue", "retry", name)
            delivered_and_nobody_was_told(s, [name])


@case
def the_next_attempt_comes_in_its_time_although_the_clock_jumped():
    for jump_s in (10 * DAY_S, -10 * DAY_S):
        with Scene(SOON) as s:
            name = s.deferred()
            s.machine.set_wall_clock(jump_s)
            wait_for(lambda: s.attempts(name) >= 3, "two more attempts")
            assert s.relay.story(name)["state"] == "deferred"
            s.busy = False
            s.relay.cli("queue", "retry", name)
            delivered_and_nobody_was_told(s, [name])


@case
def a_jump_between_two_relays_expires_nothing():
    for jump_s in (10 * DAY_S, -10 * DAY_S):
        with Scene(SOON) as s:
            name = s.deferred()
            s.restart(jump_s)
            wait_for(lambda: s.attempts(name) >= 3, "two more attempts")
            assert s.relay.story(name)["state"] == "deferred"
            s.busy = False
            s.relay.cli("queue", "retry", name)
            delivered_and_nobody_was_told(s, [name])


@case
def after_another_start_and_ten_days_all_is_due_and_leaves_through_the_ceiling():
    with Scene(LATER, "max_connections = 2") as s:
        names = [s.deferred() for _ in range(30)]
        before = s.sink.connections
        s.busy = False
        s.restart(10 * DAY_S, another_start=True)
        delivered_and_nobody_was_told(s, names)
        assert s.sink.connections - before <= 2, s.sink.connections
        assert s.relay.queue() == dict.fromkeys(names, "delivered")


@case
def after_another_start_and_a_clock_set_back_what_waits_waits_no_longer():
    with Scene(SOON) as s:
        name = s.deferred()
        s.restart(-10 * DAY_S, another_start=True)
        wait_for(lambda: s.attempts(name) >= 3, "two more attempts")
        s.busy = False
        s.relay.cli("queue", "retry", name)
        delivered_and_nobody_was_told(s, [name])


@case
def ids_grow_and_none_is_given_twice_although_nothing_is_left_of_it():
    with Scene("retention = 0\n") as s:
        s.busy = False
        names = []
        for jump_s in (0, -3600, -10 * DAY_S, -1, 5 * DAY_S, 20 * DAY_S, -30 * DAY_S):
            names.append(s.submit())
            s.sink.wait(len(names))
            wait_for(lambda: not s.relay.queue(), "an empty queue")
            s.restart(jump_s, how=signal.SIGKILL if len(names) % 2 else signal.SIGTERM)
        assert names == sorted(set(names)), names


@case
def a_rate_is_not_kept_up_by_a_clock_that_went_back():
    with Scene("") as s:
        s.busy = False
        key = s.relay.key("good.example", "--rate", "2/min")
        client = s.relay.session(key, "local")
        s.machine.set_wall_clock(10 * DAY_S)
        client.submit()
        s.machine.set_wall_clock(-20 * DAY_S)
        client.submit()
        said = client.expect("450 4.7.1", "MAIL FROM:<a@good.example>")
        wait_s, = [int(word) for word in said[-1][9:].split() if word.isdigit()]
        assert 0 < wait_s <= 60, said
        client.close()


@case
def the_list_and_its_filters_answer_after_a_jump():
    with Scene(LATER) as s:
        names = [s.deferred()]
        for jump_s in (10 * DAY_S, -20 * DAY_S):
            s.machine.set_wall_clock(jump_s)
            names.append(s.deferred())
        rows = s.relay.json("queue", "list")["data"]
        assert [row["id"] for row in rows] == names[::-1], rows
        recent = s.relay.json("queue", "list", "--newer-than", "1h")["data"]
        assert names[2] in [row["id"] for row in recent], recent
        assert s.relay.json("queue", "stats")["data"]["messages"]["deferred"] == 3


@case
def the_start_of_the_machine_is_known_behind_the_fence():
    with Relay() as relay:
        relay.session(relay.key(), "local").submit()
        assert relay.stop() == 0
        database = sqlite3.connect(os.path.join(relay.state, "queue.db"))
        with open("/proc/sys/kernel/random/boot_id") as file:
            assert database.execute("SELECT boot_name FROM timeline").fetchone() == (file.read().strip(),)
        database.close()


run()
