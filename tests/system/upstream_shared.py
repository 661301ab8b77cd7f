"""What all workers share of an upstream: its ceilings, whether it is down, its addresses."""
import os
import signal
import socket
import tempfile
import threading
import time

from support.cases import case, run
from support.relay import ROOT, Relay, Sink, wait_for
from support.upstreams import always, block, opened

SOON = 'retry { schedule = {"100ms"} }\n'
LATER = 'retry { schedule = {"1h"} }\n'
WORKERS = 4
SESSIONS = 24  # the kernel spreads them over the workers


def send_from_all(relay, count, key=None):
    """So many messages from each of many sessions at once; the ids."""
    key = key or relay.key()
    names, failures, lock = [], [], threading.Lock()

    def send():
        try:
            client = relay.session(key, "local")
            mine = [client.submit() for _ in range(count)]
            with lock:
                names.extend(mine)
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=send) for _ in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    return names


# --- ceilings -------------------------------------------------------------------------------------


@case
def a_ceiling_below_the_number_of_workers_holds_and_all_mail_gets_through():
    for most in (1, 2):
        with opened(Sink()) as (sink,), \
                Relay(LATER, upstream=block("u", sink, f"max_connections = {most}"),
                      workers=WORKERS) as relay:
            names = send_from_all(relay, 20)
            sink.wait(len(names))
            wait_for(lambda: set(relay.queue().values()) == {"delivered"}, "all of it")
            assert sink.most_open == most, sink.most_open
            assert "event=upstream_failed" not in relay.log()


@case
def one_worker_may_have_all_of_it():
    gate = threading.Event()
    with opened(Sink({"dot": lambda n, line: gate.wait() and ...})) as (sink,), \
            Relay(LATER, upstream=block("u", sink, "max_connections = 5"), workers=WORKERS) as relay:
        client = relay.session(relay.key(), "local")
        for _ in range(10):
            client.submit()
        wait_for(lambda: len(sink.contents) == 5, "five messages under way")
        assert sink.most_open == 5
        gate.set()
        sink.wait(10)
        assert sink.most_open == 5


@case
def a_reload_changes_the_ceiling_of_what_is_open():
    gate = threading.Event()
    with opened(Sink({"dot": lambda n, line: gate.wait() and ...})) as (sink,), \
            Relay(LATER, upstream=block("u", sink, "max_connections = 2"), workers=WORKERS) as relay:
        key = relay.key()
        names = send_from_all(relay, 1, key)
        wait_for(lambda: len(sink.contents) == 2, "two messages under way")
        for most, name in ((4, "u"), (1, "renamed")):
            relay.upstream = block(name, sink, f"max_connections = {most}")
            relay.write_config()
            relay.process.send_signal(signal.SIGHUP)
            wait_for(lambda: "event=reloaded" in relay.new_log(), "the reload")
            wait_for(lambda: len(sink.contents) == 4 == sink.now_open, "four messages under way")
        gate.set()  # those of before count, under whatever name, until they have ended
        for name in names:
            relay.wait_state(name, "delivered")
        wait_for(lambda: sink.now_open <= 1, "the old ones to leave")
        sink.most_open = sink.now_open
        names = send_from_all(relay, 5, key)
        for name in names:
            relay.wait_state(name, "delivered")
        assert sink.most_open == 1, sink.most_open


@case
def the_rate_is_one_for_all_workers():
    times = []
    with opened(Sink({"dot": lambda n, line: times.append(time.monotonic()) or ...})) as (sink,), \
            Relay(LATER, upstream=block("u", sink, "rate = 20/s"), workers=WORKERS) as relay:
        send_from_all(relay, 1)
        sink.wait(SESSIONS)
        # 50 ms apart; how late each one is, the machine decides, and it cannot be early. Four workers with a
        # rate each would be done in 300 ms.
        assert max(times) - min(times) > 0.6, sorted(times)
        assert len(times) == SESSIONS


# --- an upstream that is down -----------------------------------------------------------------------


@case
def one_connection_in_all_tries_an_upstream_that_is_down():  # F-10
    with opened(Sink(listens=False)) as (sink,), \
            Relay(SOON, upstream=block("u", sink, 'rest_first = "1s" rest_longest = "1s"'),
                  workers=WORKERS) as relay:
        names = send_from_all(relay, 2)
        wait_for(lambda: all(row["attempts"] >= 5 for row in map(relay.story, names[:8])), "some attempts")
        failed = relay.log().count("event=upstream_failed")
        assert 3 <= failed <= 60, failed  # three, and one a second: a storm would be hundreds
        assert relay.json("upstream", "list")["data"][0]["state"] == "resting"
        sink.listen()
        for name in names:
            relay.wait_state(name, "delivered")
        assert len(sink.messages) == len(names)
        assert relay.log().count("event=upstream_back") == 1


@case
def an_upstream_that_comes_back_is_given_one_connection_at_first():  # F-10
    gate = threading.Event()
    with opened(Sink({"dot": lambda n, line: gate.wait() and ...}, listens=False)) as (sink,), \
            Relay(SOON, upstream=block("u", sink, 'rest_first = "200ms" rest_longest = "200ms"'),
                  workers=WORKERS) as relay:
        names = send_from_all(relay, 2)
        wait_for(lambda: relay.log().count("event=upstream_failed") >= 3, "the rest")
        sink.listen()
        wait_for(lambda: sink.contents, "the first message")
        wait_for(lambda: relay.json("upstream", "list")["data"][0]["waiting"] == len(names) - 1, "all the rest")
        assert sink.most_open == 1, sink.most_open
        gate.set()
        for name in names:
            relay.wait_state(name, "delivered")
        assert len(sink.messages) == len(names)


@case
def a_refused_login_is_not_repeated_by_every_worker():
    with opened(Sink({"AUTH": always("535 5.7.8 no")}, offers=("AUTH PLAIN",))) as (sink,), \
            Relay(SOON, upstream=block("u", sink, 'username = "u" password = "p"'),
                  workers=WORKERS) as relay:
        names = send_from_all(relay, 1)
        wait_for(lambda: all(relay.story(name)["attempts"] >= 2 for name in names), "two attempts of each")
        assert sink.connections == 1
        assert relay.json("upstream", "list")["data"][0]["state"] == "paused"
        sink.script = {}  # the operator has mended it, and says so
        relay.process.send_signal(signal.SIGHUP)
        for name in names:
            relay.wait_state(name, "delivered")


# --- names ------------------------------------------------------------------------------------------

OPEN = 'fence = "off"\n'  # the library that plays the name server has a file of its own


class Names:
    """A name server for the relay: a file, read by fake_dns.so in place of the system's look-up."""

    def __init__(self, **addresses):
        self.folder = tempfile.TemporaryDirectory(prefix="latchpost-names-")
        self.path = os.path.join(self.folder.name, "hosts")
        library = os.path.join(os.environ.get("BUILD", os.path.join(ROOT, "build")), "tests/support/fake_dns.so")
        self.env = {"FAKE_DNS": self.path, "LD_PRELOAD": library,
                    "ASAN_OPTIONS": "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")}
        self.say(**addresses)

    def say(self, **addresses):
        with open(self.path + ".new", "w") as file:
            file.writelines(f"{name}.test {what}\n" for name, what in addresses.items())
        os.rename(self.path + ".new", self.path)

    def asked(self):
        if not os.path.exists(self.path + ".asked"):
            return 0
        with open(self.path + ".asked") as file:
            return len(file.readlines())

    def close(self):
        self.folder.cleanup()


def named(sink, more=""):
    return block("u", sink, more).replace("127.0.0.1", "mx.test")


@case
def a_dead_address_is_passed_over():
    with opened(Sink(), Names(mx="127.0.0.7 127.0.0.8 127.0.0.1")) as (sink, names), \
            Relay(OPEN + LATER, upstream=named(sink), env=names.env) as relay:
        told = relay.wait_state(relay.session(relay.key(), "local").submit(), "delivered")
        assert told["attempts"] == 1 and len(sink.messages) == 1


@case
def an_address_that_hangs_is_overtaken_by_the_next():
    silent = socket.create_server(("127.0.0.2", 0), backlog=0)
    port = silent.getsockname()[1]
    crowd = [socket.socket() for _ in range(4)]  # the kernel drops what comes behind them
    for one in crowd:
        one.setblocking(False)
        one.connect_ex(silent.getsockname())
    with silent, opened(Sink(address=("127.0.0.1", port)), Names(mx="127.0.0.2 127.0.0.1")) as (sink, names), \
            Relay(OPEN + LATER, upstream=named(sink), env=names.env) as relay:
        told = relay.wait_state(relay.session(relay.key(), "local").submit(), "delivered")
        assert told["attempts"] == 1 and len(sink.messages) == 1
        for one in crowd:
            one.close()


@case
def a_changed_address_is_followed_while_mail_flows():
    first = Sink()
    second = Sink(address=("127.0.0.2", first.port))
    with opened(first, second, Names(mx="127.0.0.1")) as (_, _, names), \
            Relay(OPEN + LATER, upstream=named(first, 'connection_age = "1s"'), env=names.env) as relay:
        client = relay.session(relay.key(), "local")
        relay.wait_state(client.submit(), "delivered")
        names.say(mx="127.0.0.2")
        wait_for(lambda: relay.wait_state(client.submit(), "delivered") and second.messages,
                 "a message at the new address")
        assert relay.log().count("event=upstream_failed") == 0


@case
def names_without_an_answer_defer_the_mail_and_are_not_asked_for_without_end():  # F-49
    for what, words in (("again", "name servers do not answer"), ("none", "name not known"),
                        ("hang", "no answer in time")):
        with opened(Sink(), Names(mx=what)) as (sink, names), \
                Relay(OPEN + SOON,
                      upstream=named(sink, 'connect_timeout = "300ms" rest_first = "1s" rest_longest = "1s"'),
                      workers=WORKERS, env=names.env) as relay:
            ids = send_from_all(relay, 1)
            wait_for(lambda: all(relay.story(name)["attempts"] >= 3 for name in ids), "attempts of all")
            asked = names.asked()
            assert asked <= 30, asked  # of well over a hundred attempts
            assert words in relay.log(), what
            names.say(mx="127.0.0.1")
            for name in ids:
                relay.wait_state(name, "delivered")


@case
def fifty_addresses_are_not_all_tried_at_once():  # F-49
    dead = " ".join(f"127.0.1.{last}" for last in range(1, 51))
    with opened(Sink(), Names(mx=dead)) as (sink, names), \
            Relay(OPEN + SOON, upstream=named(sink), workers=1, env=names.env) as relay:
        name = relay.session(relay.key(), "local").submit()
        wait_for(lambda: relay.story(name)["attempts"] >= 2, "two attempts")
        assert "cannot connect: connection refused" in relay.story(name)["lastError"]
        names.say(mx="127.0.0.1")
        relay.wait_state(name, "delivered")


@case
def silent_name_servers_do_not_hold_up_another_upstream():  # F-49
    with opened(Names(a="hang", b="hang", c="hang", d="hang", e="hang")) as (names,), \
            tempfile.TemporaryDirectory() as outbox:
        upstreams = "".join(f'upstream "{name}" {{ host = "{name}.test" tls = "none" }}\n' for name in "abcde")
        with Relay(OPEN + LATER, upstream=upstreams + f'upstream "files" {{ url = "maildir:{outbox}/m" }}\n',
                   workers=1, env=names.env, start=False) as relay:
            relay.settings += "".join(f'route {{ sender_domain = {{"{name}.example"}} upstreams = {{"{name}"}} }}\n'
                                      for name in "abcde") + 'default_upstreams = {"files"}\n'
            relay.start()
            domains = [word for name in "abcde" for word in ("--domain", f"{name}.example")]
            client = relay.session(relay.key("good.example", *domains), "local")
            stuck = [client.submit(sender=f"a@{name}.example") for name in "abcde"]
            wait_for(lambda: names.asked() >= 2, "look-ups that hang")
            relay.wait_state(client.submit(), "delivered")
            assert {relay.story(name)["state"] for name in stuck} == {"delivering"}
            names.say(**{name: "none" for name in "abcde"})
            for name in stuck:
                relay.wait_state(name, "deferred")


run()
