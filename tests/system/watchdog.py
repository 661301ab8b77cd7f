"""A worker that is stuck for ever in the middle of its deliveries: the watchdog says so and ends the process, and what
was under way is delivered by the next one (F-46)."""
import contextlib
import os
import signal
import threading

from support.cases import case, run
from support.machine import Machine
from support.relay import Relay, Sink, wait_for
from support.upstreams import block


class Scene:
    """A relay with one worker, which is in the middle of a delivery."""

    def __init__(self, limit):
        self.machine = Machine()
        self.asked, self.go_on = threading.Event(), threading.Event()
        self.sink = Sink({"dot": self.answer})
        self.relay = Relay(f'watchdog = {limit}\nretry {{ schedule = {{"300ms"}} }}\n', workers=1,
                           upstream=block("u", self.sink), start=False)
        self.machine.watch(self.relay)

    def answer(self, n, line):
        if n == 0:
            self.asked.set()
            self.go_on.wait(30)
        return ...

    def __enter__(self):
        self.relay.start()
        client = self.relay.session(self.relay.key(), "local")
        self.name = client.submit()
        client.close()
        assert self.asked.wait(30)
        self.machine.stuck_worker = 1
        self.relay.client("local").close()  # it turns, and does not come back
        wait_for(lambda: self.machine.hung > 0, "a stuck worker")
        return self

    def __exit__(self, *why):
        self.machine.stuck_worker = 0
        self.go_on.set()
        try:
            self.relay.__exit__(*why)
        finally:
            self.sink.close()
            self.machine.__exit__()


@case
def a_worker_that_is_stuck_ends_the_process_and_its_message_is_delivered_by_the_next():
    with Scene("3s") as s:
        assert s.relay.process.wait(60) == 70
        s.relay.process = None
        lines = s.relay.log().splitlines()
        assert 'thread="worker 1"' in [line for line in lines if "event=thread_stuck" in line][0], lines[-4:]
        assert "event=watchdog_ends_the_process" in lines[-1] and 'thread="worker 1"' in lines[-1], lines[-1]
        assert "thread=main" not in s.relay.log()
        s.machine.stuck_worker = 0
        s.go_on.set()
        s.relay.start()
        told = s.relay.wait_state(s.name, "delivered")
        assert "uncertain" in [event["what"] for event in told["events"]], told


@case
def a_worker_that_comes_back_goes_on():
    with Scene("1h") as s:
        s.relay.cli("queue", "stats")  # the main thread answers meanwhile
        s.machine.stuck_worker = 0
        s.go_on.set()
        told = s.relay.wait_state(s.name, "delivered")
        assert not told["events"] and len(s.sink.messages) == 1, told


@case
def a_maildir_whose_disk_hangs_gives_its_messages_back():
    with Machine() as machine:
        relay = Relay('retry { schedule = {"1h"} }\n', workers=1, start=False, upstream="")
        outbox = os.path.join(relay.folder, "outbox")
        relay.upstream = f'upstream "out" {{ url = "maildir:{outbox}"  dot_timeout = "1s" }}'
        machine.watch(relay, outbox)
        with relay.start():
            machine.hanging_disk = 1
            client = relay.session(relay.key(), "local")
            names = [client.submit() for _ in range(6)]
            for name in names:  # four are in the middle of it, the others never begin
                wait_for(lambda: relay.story(name)["state"] in ("uncertain", "deferred"), "the end of an attempt")
            states = [relay.story(name)["state"] for name in names]
            assert states.count("uncertain") == 4 and states.count("deferred") == 2, states
            assert relay.json("upstream", "list")["data"][0]["state"] == "resting"
            machine.hanging_disk = 0
            wait_for(lambda: relay.json("upstream", "list")["data"][0]["state"] == "usable", "the disk")
            for name in names:
                relay.cli("queue", "retry", name)
                relay.wait_state(name, "delivered")
            assert not os.listdir(os.path.join(outbox, "tmp"))


@contextlib.contextmanager
def outbox(machine, upstreams="", timeout="1s", disk="outbox"):
    """A relay with a maildir, and the folder of the maildir; of it `disk` is on the disk that fails."""
    relay = Relay('retry { schedule = {"1h"} }\nroute { sender_domain = {"m.example"} upstreams = {"out"} }\n',
                  workers=1, start=False, upstream="")
    folder = os.path.join(relay.folder, "outbox")
    relay.upstream = f'{upstreams}\nupstream "out" {{ url = "maildir:{folder}"  dot_timeout = "{timeout}" }}'
    machine.watch(relay)
    machine.env["LATCHPOST_TEST_DISK"] = os.path.join(relay.folder, disk)
    with relay.start():
        yield relay, relay.session(relay.key("m.example", "--domain", "good.example"), "local"), folder


@case
def a_maildir_whose_disk_hangs_keeps_no_look_up_of_a_name_waiting():
    with Machine() as machine, contextlib.closing(Sink()) as sink, \
            outbox(machine, f'upstream "sink" {{ host = "localhost" port = {sink.port} tls = "none" }}\n'
                            'default_upstreams = {"sink"}', "5m") as (relay, client, _):
        machine.hanging_disk = 1
        names = [client.submit(sender="a@m.example") for _ in range(4)]
        wait_for(lambda: machine.hung >= 4, "four files on the disk that hangs")
        relay.wait_state(client.submit(), "delivered")
        machine.hanging_disk = 0
        for name in names:
            relay.wait_state(name, "delivered")


@case
def a_reload_does_not_forget_what_hangs():
    with Machine() as machine, outbox(machine) as (relay, client, folder):
        machine.hanging_disk = 1
        name = client.submit(sender="a@m.example")
        wait_for(lambda: machine.hung, "the file on the disk that hangs")
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "event=reloaded" in relay.log(), "the reload")
        relay.wait_state(name, "uncertain")
        machine.hanging_disk = 0
        wait_for(lambda: os.listdir(os.path.join(folder, "new")), "the file after all")


@case
def a_file_whose_folder_cannot_be_synced_does_not_stay():
    with Machine() as machine, outbox(machine, disk="outbox/new") as (relay, client, folder):
        machine.failing_syncs = 1
        name = client.submit(sender="a@m.example")
        told = relay.wait_state(name, "deferred")
        assert machine.refused == 1 and "cannot sync" in told["events"][0]["text"], told
        relay.cli("queue", "retry", name)
        relay.wait_state(name, "delivered")
        assert len(os.listdir(os.path.join(folder, "new"))) == 1
        assert not os.listdir(os.path.join(folder, "tmp"))


run()
