"""Connections to upstreams: how many, how long, to which of several; and the maildir in the place of one."""
import contextlib
import os
import resource
import signal
import socket
import threading

from support.cases import case, run
from support.relay import Relay, Sink, wait_for
from support.upstreams import block, opened

SOON = 'retry { schedule = {"100ms"} }\n'
LATER = 'retry { schedule = {"1h"} }\n'  # the next attempt is ours to ask for


# --- connections ----------------------------------------------------------------------------------


def commands_with_mail(offers):
    """What the relay sends before it has an answer to MAIL, to an upstream with these offers."""
    with socket.create_server(("127.0.0.1", 0)) as server, \
            Relay(LATER, upstream=f'upstream "u" {{ host = "127.0.0.1" port = {server.getsockname()[1]} '
                                  'tls = "none" }') as relay:
        relay.session(relay.key(), "local").submit(recipients=["r@dest.example", "s@dest.example"])
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"220 raw.example\r\n")
            assert connection.recv(1000).startswith(b"EHLO relay.example\r\n")
            connection.sendall(b"250-raw.example\r\n250 " + offers + b"\r\n")
            connection.settimeout(0.3)
            got = b""
            with contextlib.suppress(TimeoutError):
                while not got.endswith(b"DATA\r\n"):
                    got += connection.recv(1000)
            return [line.split(b" SIZE=")[0] for line in got.split(b"\r\n")[:-1]]


@case
def commands_are_pipelined_where_that_is_offered():
    grouped = [b"MAIL FROM:<a@good.example>", b"RCPT TO:<r@dest.example>", b"RCPT TO:<s@dest.example>",
               b"DATA"]
    assert commands_with_mail(b"PIPELINING") == grouped
    assert commands_with_mail(b"HELP") == grouped[:1]


@case
def dots_are_doubled_on_the_wire():
    for offers in (("PIPELINING",), ("HELP",)):
        with opened(Sink(offers=offers)) as (sink,), Relay(upstream=block("u", sink)) as relay:
            relay.session(relay.key(), "local").submit(body=".\r\na\r\n..\r\n.b\r\n...\r\n.\r\n")
            raw = sink.wait(1)[0][2]
            assert raw.endswith(b"\r\n\r\n..\r\na\r\n...\r\n..b\r\n....\r\n..\r\n"), raw


@case
def one_that_says_421_to_all_mail_is_met_by_no_storm():
    with opened(Sink({"MAIL": lambda n, line: "421 4.3.2 too busy"})) as (sink,), \
            Relay(LATER, upstream=block("u", sink)) as relay:
        client = relay.session(relay.key(), "local")
        names = [client.submit() for _ in range(100)]
        wait_for(lambda: set(relay.queue().values()) == {"deferred"}, "the end of all attempts")
        assert sink.connections <= 20, sink.connections
        assert relay.json("upstream", "list")["data"][0]["state"] == "resting"
        sink.script = {}
        relay.process.send_signal(signal.SIGHUP)  # ends the rest

        def have_arrived():
            relay.cli("queue", "retry", "--all")
            return set(relay.queue().values()) == {"delivered"}

        wait_for(have_arrived, "all messages")
        assert len(sink.messages) == len(names)


@case
def a_connection_is_used_again_up_to_its_ceiling():
    with opened(Sink()) as (sink,), \
            Relay(upstream=block("u", sink, "max_messages_per_connection = 3"), workers=1) as relay:
        client = relay.session(relay.key(), "local")
        for count in range(1, 8):
            relay.wait_state(client.submit(), "delivered")
        assert sink.connections == 3
        assert [step for step, _ in sink.steps].count("QUIT") == 2, sink.steps
        assert [step for step, _ in sink.steps].count("RSET") == 0


@case
def connections_at_once_have_a_ceiling():
    gate = threading.Event()
    with opened(Sink({"dot": lambda n, line: gate.wait() and ...})) as (sink,), \
            Relay(upstream=block("u", sink, "max_connections = 2"), workers=1) as relay:
        client = relay.session(relay.key(), "local")
        for _ in range(6):
            client.submit()
        wait_for(lambda: len(sink.contents) == 2, "two messages under way")
        gate.set()
        sink.wait(6)
        assert sink.connections == 2


@case
def an_upstream_that_refuses_connections_is_met_by_no_storm():  # F-10
    with opened(Sink(listens=False)) as (sink,), Relay(SOON, upstream=block("u", sink), workers=4) as relay:
        client = relay.session(relay.key(), "local")
        names = [client.submit() for _ in range(20)]
        wait_for(lambda: relay.story(names[0])["attempts"] >= 8, "some attempts")
        assert set(relay.queue().values()) <= {"deferred", "delivering"}
        assert relay.log().count("event=upstream_failed") <= 4, relay.log()
        assert "refused" in relay.story(names[0])["events"][0]["text"]
        sink.listen()
        for name in names:
            relay.wait_state(name, "delivered")
        assert len(sink.messages) == 20


@case
def without_file_descriptors_delivery_waits():  # F-49
    with Relay(SOON, workers=4) as relay:
        client = relay.session(relay.key(), "local")
        used = {int(name) for name in os.listdir(f"/proc/{relay.process.pid}/fd")}
        limits = resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE)
        none_left = min(set(range(len(used) + 1)) - used)
        resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE, (none_left, limits[1]))
        names = [client.submit() for _ in range(10)]
        wait_for(lambda: "event=upstream_failed" in relay.log(), "a failure")
        resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE, limits)
        for name in names:
            relay.wait_state(name, "delivered")
        assert "too many open files" in relay.log().lower()
        assert relay.log().count("event=upstream_failed") <= 4, relay.log()
        assert len(relay.sink.messages) == 10


# --- several upstreams ----------------------------------------------------------------------------


@case
def the_next_upstream_is_used_while_the_first_cannot_be_reached():
    first, second = Sink(listens=False), Sink()
    with opened(first, second), Relay(LATER, upstream=block("first", first) + block("second", second),
                                      workers=1) as relay:
        client = relay.session(relay.key(), "local")
        told = relay.wait_state(client.submit(), "delivered")
        assert told["recipients"][0]["upstream"] == "second" and told["attempts"] == 1, told
        first.listen()
        told = relay.wait_state(client.submit(), "delivered")
        assert told["recipients"][0]["upstream"] == "first", told
        assert (len(first.messages), len(second.messages)) == (1, 1)


@case
def what_one_upstream_refuses_is_not_offered_to_the_next():
    answers = ["450 4.2.1 full", "550 5.1.1 unknown"]
    first = Sink({"RCPT": lambda n, line: ... if "<a@" in line else answers.pop()})
    second = Sink()
    with opened(first, second), \
            Relay(LATER, upstream=block("first", first) + block("second", second)) as relay:
        client = relay.session(relay.key(), "local")
        relay.wait_state(client.submit(), "bounced")
        relay.wait_state(client.submit(), "deferred")
        assert second.connections == 0


@case
def routes_choose_by_account_key_and_sender_domain():
    sinks = {name: Sink() for name in ("byaccount", "bykey", "bydomain", "below", "rest")}
    upstreams = "".join(block(*item) for item in sinks.items())
    with opened(*sinks.values()), Relay(start=False, upstream=upstreams) as relay:
        relay.cli("account", "create", "team")
        keys = {"team": relay.key("team.example", "--account", "team"), "vip": relay.key("good.example"),
                "many": relay.key("good.example", "--domain", "a.example", "--domain", "x.b.example",
                                  "--domain", "b.example")}
        relay.settings = f"""
route {{ account = {{"nobody", "team"}} upstreams = {{"byaccount"}} }}
route {{ key = {{"{keys['vip'][4:12]}"}} upstreams = {{"bykey"}} }}
route {{ sender_domain = {{"a.example"}} upstreams = {{"bydomain"}} }}
route {{ sender_domain = {{"*.b.example"}} upstreams = {{"below"}} }}
default_upstreams = {{"rest"}}
"""
        relay.start()
        for key, sender, want in (("team", "a@team.example", "byaccount"), ("vip", "a@good.example", "bykey"),
                                  ("many", "a@A.Example", "bydomain"), ("many", "a@x.b.example", "below"),
                                  ("many", "a@b.example", "rest"), ("many", "a@good.example", "rest")):
            name = relay.session(keys[key], "local").submit(sender=sender)
            told = relay.wait_state(name, "delivered")
            assert told["recipients"][0]["upstream"] == want, (key, sender, told)


@case
def a_reload_brings_new_upstreams_and_lets_what_is_under_way_finish():
    gate = threading.Event()
    old, new = Sink({"dot": lambda n, line: gate.wait() and ...}), Sink()
    with opened(old, new), Relay(SOON, upstream=block("old", old), workers=1) as relay:
        client = relay.session(relay.key(), "local")
        under_way = client.submit()
        wait_for(lambda: old.contents, "the dot")
        relay.upstream = block("new", new)
        relay.write_config()
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "event=reloaded" in relay.log(), "the reload")
        for _ in range(3):
            told = relay.wait_state(client.submit(), "delivered")
        assert told["recipients"][0]["upstream"] == "new", told
        assert relay.story(under_way)["state"] == "delivering"
        gate.set()
        assert relay.wait_state(under_way, "delivered")["attempts"] == 1
        assert (len(old.messages), len(new.messages)) == (1, 3)


def bodies_of(sink):
    return sorted(int(raw.split(b"\r\n\r\n")[1]) for _, _, raw in sink.messages)


@case
def reloads_and_stops_under_load_lose_and_double_nothing():
    with Relay(SOON) as relay:
        key = relay.key()
        client = relay.session(key, "local")
        for count in range(200):
            client.submit(f"{count}\r\n")
            if count % 20 == 0:
                relay.upstream = block(f"name{count}", relay.sink)
                relay.write_config()
                relay.process.send_signal(signal.SIGHUP)
        for start in (200, 250, 300):
            for count in range(start, start + 50):
                client.submit(f"{count}\r\n")
            client.close()
            assert relay.stop() == 0
            relay.start()
            client = relay.session(key, "local")
        relay.sink.wait(350)
        wait_for(lambda: set(relay.queue().values()) == {"delivered"}, "delivery of all")
        assert bodies_of(relay.sink) == list(range(350))


# --- maildir --------------------------------------------------------------------------------------


@case
def a_maildir_holds_the_message_byte_for_byte_and_survives_trouble():
    with Relay(SOON, sink=False, start=False) as relay:
        folder = os.path.join(relay.folder, "outbox")
        relay.upstream = f'upstream "outbox" {{ url = "maildir:{folder}" }}'
        relay.start()
        in_the_way = os.path.join(folder, "new")  # the folder itself was made at the start
        with open(in_the_way, "w"):
            pass
        client = relay.session(relay.key(), "local")
        body = b".dot\r\n..\r\n\xff 8-bit\r\n\r\n"
        small = client.submit(body, recipients=["r@dest.example", "s@dest.example"])
        large = client.submit(body + b"x" * 900 + (b"\r\n" + b"z" * 900) * 300 + b"\r\n")
        wait_for(lambda: relay.story(small)["attempts"] >= 2, "an attempt")
        assert folder in relay.story(small)["lastError"]
        os.unlink(in_the_way)
        contents = {}
        for name in (small, large):
            relay.wait_state(name, "delivered")
            found = [file for file in os.listdir(os.path.join(folder, "new")) if name in file]
            assert len(found) == 1, found
            with open(os.path.join(folder, "new", found[0]), "rb") as file:
                contents[name] = file.read()
        assert os.listdir(os.path.join(folder, "tmp")) == []
        assert contents[small].split(b"\r\n\r\n", 1)[1] == body
        assert contents[small].startswith(
            b"Return-Path: <a@good.example>\r\nX-Envelope-To: <r@dest.example>\r\n"
            b"X-Envelope-To: <s@dest.example>\r\nReceived: "), contents[small][:300]
        assert len(contents[large].split(b"\r\n\r\n", 1)[1]) == len(body) + 902 + 902 * 300


run()
