"""The end comes within the grace, whatever hangs, and loses nothing."""
import os

from support.cases import case, run
from support.machine import Machine
from support.relay import Relay, wait_for


def last_event(relay):
    return relay.log().splitlines()[-1]


@case
def the_last_line_is_that_it_has_stopped_although_a_client_keeps_its_end_open():
    with Relay() as relay:
        key = relay.key()
        clients = [relay.session(key, door) for door in ("local", "submission", "submissions")]
        assert relay.stop() == 0
        assert "event=stopped" in last_event(relay), last_event(relay)
        assert "event=grace_over" not in relay.log() and "event=stop_forced" not in relay.log()
        for client in clients:
            client.expect("421 4.3.2")
            assert client.is_closed()


@case
def a_peer_that_takes_nothing_and_leaves_nothing_is_given_up_with_the_grace():
    with Relay("grace = 1s\n") as relay:
        client = relay.session(relay.key(), "local")
        client.expect(250, "MAIL FROM:<a@good.example>")
        client.expect(250, "RCPT TO:<r@dest.example>")
        client.expect(354, "DATA")
        client.send(b"From: a@good.example\r\n\r\nand then silence")
        assert relay.stop() == 0
        assert "event=grace_over" in relay.log() and "event=stop_forced" not in relay.log()
        assert "event=stopped" in last_event(relay), last_event(relay)
        client.expect("421 4.3.2")


@case
def a_disk_of_a_maildir_that_hangs_does_not_keep_the_process():
    with Machine() as machine:
        relay = Relay("grace = 1s\n", start=False, upstream="")
        outbox = os.path.join(relay.folder, "outbox")
        relay.upstream = f'upstream "out" {{ url = "maildir:{outbox}" }}'
        machine.watch(relay, outbox)
        with relay.start():
            machine.hanging_disk = 1
            client = relay.session(relay.key(), "local")
            name = client.submit()
            wait_for(lambda: machine.hung > 0, "a hanging disk")
            assert relay.stop() == 0
            assert "event=stop_forced" in relay.log()
            assert "event=stopped" in last_event(relay), last_event(relay)
            machine.hanging_disk = 0
            relay.start()
            told = relay.wait_state(name, "delivered")
            assert "uncertain" in [event["what"] for event in told["events"]], told
            assert len(os.listdir(os.path.join(outbox, "new"))) >= 1


@case
def a_name_server_that_hangs_does_not_keep_the_process():
    with Machine() as machine:
        relay = Relay("grace = 1s\n", start=False,
                      upstream='upstream "far" { host = "far.invalid" port = 25 tls = "none" }')
        machine.watch(relay)
        with relay.start():
            machine.hanging_names = 1
            client = relay.session(relay.key(), "local")
            name = client.submit()
            wait_for(lambda: machine.hung > 0, "a hanging look-up")
            assert relay.stop() == 0
            assert "event=stop_forced" in relay.log()
            assert "event=stopped" in last_event(relay), last_event(relay)
            machine.hanging_names = 0
            assert relay.queue()[name] in ("queued", "deferred"), relay.story(name)


@case
def a_disk_that_hangs_under_the_keys_does_not_keep_the_process():
    with Machine() as machine:
        relay = Relay("grace = 1s\n", start=False)
        machine.watch(relay)
        machine.env["LATCHPOST_TEST_DISK"] = os.path.join(relay.state, "keys.db")  # and its log
        with relay.start():
            key = relay.key()
            for _ in range(5):
                relay.session(key, "local").close()  # a use that is to be written; it is, now and then, just before:
                machine.hanging_disk = 1
                if relay.stop() != 0:
                    break
                machine.hanging_disk = 0
                relay.start()
            assert machine.hung > 0 and "the end took too long" in last_event(relay), last_event(relay)
            machine.hanging_disk = 0
            relay.start()
            relay.session(key, "local")


@case
def a_disk_of_our_own_that_hangs_does_not_keep_the_process():
    with Machine() as machine:
        relay = Relay("grace = 1s\n", start=False)
        machine.watch(relay)
        with relay.start():
            client = relay.session(relay.key(), "local")
            name = client.submit()
            relay.wait_state(name, "delivered")
            machine.hanging_disk = 1
            for code, command in ((250, "MAIL FROM:<a@good.example>"), (250, "RCPT TO:<r@dest.example>"), (354, "DATA")):
                client.expect(code, command)
            client.send(b"From: a@good.example\r\n\r\nb\r\n.\r\n")
            wait_for(lambda: machine.hung > 0, "a hanging disk")
            assert relay.stop() == 70
            assert "its disk hangs" in last_event(relay), last_event(relay)
            assert client.is_closed()  # and no 250
            machine.hanging_disk = 0
            relay.start()
            assert relay.queue()[name] == "delivered"


run()
