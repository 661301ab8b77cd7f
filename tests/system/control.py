"""An operator's hand on the queue and on the upstreams: hold, release, cancel, filters, many at once."""
import http.client
import json
import os
import re
import signal
import socket
import stat

from support.cases import case, run
from support.relay import PATIENCE_S, Relay, Sink, hold_port, wait_for

DOWN = {"MAIL": lambda n, line: "451 4.3.2 not now"}


class Api:
    """The control API over TCP; the port is free for as long as this is held."""

    def __init__(self):
        self.holder = hold_port()
        self.port = self.holder.getsockname()[1]
        self.setting = f'http {{ address = "127.0.0.1" port = {self.port} tls = "none" }}'

    def ask(self, method, path, key, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        connection.request(method, path, None if body is None else json.dumps(body),
                           {"Authorization": "Bearer " + key, "Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text)


def state(relay, name):
    return relay.story(name)["state"]


def ids(answer):
    return {row["id"] for row in answer["data"]}


def upstreams(relay):
    return {row["name"]: row for row in relay.json("upstream", "list")["data"]}


def held_metric(relay):
    """What /metrics says on the control socket."""
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(os.path.join(relay.state, "control.sock"))
        control.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = b"".join(iter(lambda: control.recv(65536), b""))
    return int(re.search(rb"^latchpost_upstreams_held (\d+)", text, re.M).group(1))


def two_upstreams(first, second):
    return "".join(f'upstream "{name}" {{ host = "127.0.0.1" port = {sink.port} tls = "none" }}\n'
                   for name, sink in (("first", first), ("second", second)))


@case
def a_held_message_waits_while_others_go_and_leaves_when_it_is_released():
    with Relay() as relay:
        relay.sink.script = DOWN
        client = relay.session(relay.key(), "local")
        held, other = client.submit("one\r\n"), client.submit("two\r\n")
        for name in (held, other):
            relay.wait_state(name, "deferred")
        done = relay.cli("queue", "hold", held)
        assert done.stdout == "" and held in done.stderr, done
        told = relay.story(held)
        assert told["state"] == "held" and told["dueAt"] is None, told
        assert told["events"][-1]["what"] == "hold" and told["events"][-1]["text"] == "by operator", told
        relay.sink.script = {}
        assert relay.json("queue", "retry", "--all")["data"] == {"retried": 1, "busy": 0}
        relay.wait_state(other, "delivered")
        assert state(relay, held) == "held" and len(relay.sink.messages) == 1
        assert relay.stop() == 0
        relay.start()  # a hold is on disk
        assert relay.json("queue", "stats")["data"]["messages"]["held"] == 1
        assert relay.json("queue", "release", held)["data"] == {"id": held, "released": True}
        relay.wait_state(held, "delivered")
        assert b"one" in relay.sink.wait(2)[1][2]


@case
def what_is_cancelled_is_never_sent_and_what_was_delivered_stays_so():
    script = {"RCPT": lambda n, line: "451 4.2.0 later" if "later@" in line else ...}
    with Relay() as relay:
        relay.sink.script = script
        client = relay.session(relay.key(), "local")
        name = client.submit(recipients=("now@dest.example", "later@dest.example"))
        relay.wait_state(name, "deferred")
        relay.cli("queue", "cancel", name)
        told = relay.story(name)
        assert told["state"] == "cancelled", told
        assert {row["address"]: row["state"] for row in told["recipients"]} == \
            {"now@dest.example": "delivered", "later@dest.example": "cancelled"}, told
        relay.sink.script = {}
        assert relay.json("queue", "retry", "--all")["data"]["retried"] == 0
        assert relay.cli("queue", "cancel", name, check=False).returncode == 65
        assert relay.cli("queue", "retry", name, check=False).returncode == 65
        last = client.submit("last\r\n")
        relay.wait_state(last, "delivered")
        assert [taken[1] for taken in relay.sink.messages] == [["now@dest.example"], ["r@dest.example"]]


@case
def a_message_on_its_way_is_in_conflict_until_it_is_settled():
    answered = []
    with Relay() as relay:
        relay.sink.script = {"dot": lambda n, line: wait_for(lambda: answered, "the test") and "451 4.0.0 no"}
        name = relay.session(relay.key(), "local").submit()
        wait_for(lambda: relay.sink.contents, "the content to arrive")
        assert state(relay, name) == "delivering"
        for verb in ("hold", "cancel", "release", "retry"):
            done = relay.cli("queue", verb, name, check=False)
            assert done.returncode == 65 and "being delivered" in done.stderr, (verb, done)
        assert relay.json("queue", "hold", "--all")["data"] == {"held": 0, "busy": 1}
        answered.append(True)
        relay.wait_state(name, "deferred")
        relay.cli("queue", "hold", name)
        assert state(relay, name) == "held"
        relay.cli("queue", "cancel", name)
        assert state(relay, name) == "cancelled"


@case
def filters_find_what_they_say_with_and_without_a_daemon():
    with Relay() as relay:
        relay.sink.script = DOWN
        relay.cli("account", "create", "acme")
        one = relay.key("good.example")
        two = relay.key("acme.example", "--account", "acme")
        first = relay.session(one, "local").submit(sender="ann@good.example", recipients=("r@one.example",))
        second = relay.session(one, "local").submit(recipients=("x@two.example", "r@one.example"))
        third = relay.session(two, "local").submit(sender="a@acme.example", recipients=("y@two.example",))
        for name in (first, second, third):
            relay.wait_state(name, "deferred")
        key_of_two = relay.story(third)["keyId"]
        rows = [
            ({first, second, third}, ()), ({first, second, third}, ("--state", "deferred")),
            (set(), ("--state", "held")), ({third}, ("--account", "acme")), ({third}, ("--key", key_of_two)),
            ({first}, ("--sender", "ann@good.example")), ({first, second}, ("--sender", "GOOD.example")),
            (set(), ("--sender", "<>")), ({first, second}, ("--recipient", "r@one.example")),
            ({second, third}, ("--recipient", "two.example")), (set(), ("--older-than", "1h")),
            ({first, second, third}, ("--newer-than", "1h")), ({first, second, third}, ("--older-than", "0s")),
            ({second}, ("--sender", "good.example", "--recipient", "two.example", "--newer-than", "7d")),
            ({first, second, third}, ("--upstream", "sink")), (set(), ("--upstream", "none")),
        ]
        for running in (True, False):
            if not running:
                assert relay.stop() == 0
            for want, words in rows:
                got = ids(relay.json("queue", "list", *words))
                assert got == want, (running, words, got, want)
            for words in (("--older-than", "2"), ("--newer-than", "2w"), ("--state", "frob")):
                assert relay.cli("queue", "list", *words, check=False).returncode == 65, words
        assert len(ids(relay.json("queue", "list", "--recipient", "two.example", "--limit", "1"))) == 1


@case
def many_are_steered_at_once_by_a_filter_and_never_without_one():
    with Relay() as relay:
        relay.sink.script = DOWN
        client = relay.session(relay.key(), "local")
        names = [client.submit(recipients=(f"r{n % 2}@dest{n % 2}.example",)) for n in range(6)]
        wait_for(lambda: set(relay.queue().values()) == {"deferred"}, "six deferrals")
        for words in ((), ("--recipient", "dest0.example"), (names[0], "--all"),
                      (names[0], "--state", "deferred")):
            for verb in ("hold", "release", "cancel", "retry"):
                assert relay.cli("queue", verb, *words, check=False).returncode == 64, (verb, words)
        assert relay.json("queue", "hold", "--all", "--recipient", "dest0.example")["data"]["held"] == 3
        assert "3" in relay.cli("queue", "cancel", "--all", "--state", "held").stderr
        assert relay.stop() == 0  # and without a daemon
        assert relay.json("queue", "hold", "--all")["data"]["held"] == 3
        relay.cli("queue", "release", names[1], names[3])
        done = relay.cli("queue", "release", names[0], names[5], check=False)
        assert done.returncode == 65 and names[0] in done.stderr, done
        assert set(relay.queue().values()) == {"cancelled", "deferred"}
        relay.sink.script = {}
        relay.start()
        for name in names[1::2]:
            relay.wait_state(name, "delivered")
        assert len(relay.sink.messages) == 3


@case
def a_key_steers_the_messages_of_its_account_only():
    api = Api()
    with Relay(api.setting) as relay:
        relay.sink.script = DOWN
        relay.cli("account", "create", "acme")
        own = relay.key("good.example", "--scope", "messages")
        foreign = relay.key("acme.example", "--account", "acme", "--scope", "messages")
        sender = relay.key("good.example")
        name = relay.session(sender, "local").submit()
        relay.wait_state(name, "deferred")
        acts = [("POST", "/hold"), ("POST", "/release"), ("DELETE", "")]
        for method, rest in acts:
            path = f"/v1/messages/{name}{rest}"
            assert api.ask(method, path, foreign)[0] == 404, path
            assert api.ask(method, path, sender)[0] == 403, path
        assert api.ask("GET", "/v1/messages?recipient=dest.example", foreign)[1]["data"] == []
        assert api.ask("GET", "/v1/messages?account=default", foreign)[0] == 404
        found = api.ask("GET", "/v1/messages?recipient=r%40dest.example&olderThan=0s", own)[1]["data"]
        assert [row["id"] for row in found] == [name]
        for path in ("/v1/queue/hold", "/v1/queue/cancel", "/v1/upstreams/sink/hold"):
            assert api.ask("POST", path, own, {"all": True})[0] == 403, path
        assert api.ask("GET", "/v1/upstreams", own)[0] == 403
        for (method, rest), want in zip(acts, ("held", "deferred", "cancelled")):
            status, answer = api.ask(method, f"/v1/messages/{name}{rest}", own)
            assert status == 200 and answer["data"]["id"] == name, answer
            if want != "deferred":  # a released one may be on its way
                assert state(relay, name) == want
            else:
                relay.wait_state(name, "deferred")
        key_id = relay.story(name)["events"][-1]["text"]
        assert key_id == "by " + own[4:12], key_id
        name = relay.session(sender, "local").submit()
        relay.wait_state(name, "deferred")
        relay.cli("queue", "hold", name)
        for method, rest in acts[1:]:
            status, answer = api.ask(method, f"/v1/messages/{name}{rest}", own)
            assert status == 403 and answer["error"]["message"] == "The operator holds that message.", answer
        relay.cli("queue", "release", name)
    api.holder.close()


@case
def mail_for_a_held_upstream_waits_and_flows_when_it_is_released():
    with Relay() as relay:
        key = relay.key()
        before = upstreams(relay)["sink"]
        assert before["state"] == "usable" and before["kind"] == "smtp", before
        assert relay.json("upstream", "hold", "sink")["data"] == {"name": "sink", "held": True}
        assert upstreams(relay)["sink"]["state"] == "held"
        relay.cli("upstream", "hold", "sink")
        assert held_metric(relay) == 1
        names = [relay.session(key, "local").submit() for _ in range(5)]
        for name in names:
            told = relay.wait_state(name, "deferred")
            assert "held by the operator" in told["recipients"][0]["text"], told
            assert told["recipients"][0]["upstream"] == "sink", told
        assert relay.sink.connections == 0
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "event=reloaded" in relay.log(), "the reload")
        assert upstreams(relay)["sink"]["state"] == "held"
        relay.cli("queue", "retry", names[0])
        wait_for(lambda: relay.story(names[0])["attempts"] == 2, "another look")
        assert relay.stop() == 0
        path = os.path.join(relay.state, "held-upstreams")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        relay.start()
        assert upstreams(relay)["sink"]["state"] == "held" and held_metric(relay) == 1
        last = relay.session(key, "local").submit()
        relay.wait_state(last, "deferred")
        assert relay.sink.connections == 0
        done = relay.cli("upstream", "release", "sink")
        assert "due now: 6" in done.stderr, done
        for name in (*names, last):
            relay.wait_state(name, "delivered")
        assert upstreams(relay)["sink"]["state"] == "usable" and held_metric(relay) == 0
        assert relay.stop() == 0
        relay.start()
        assert upstreams(relay)["sink"]["state"] == "usable"


@case
def a_held_upstream_leaves_its_mail_to_the_next_of_the_route():
    first, second = Sink(), Sink()
    with Relay(upstream=two_upstreams(first, second)) as relay:
        client = relay.session(relay.key(), "local")
        relay.cli("upstream", "hold", "first")
        relay.wait_state(client.submit(), "delivered")
        assert (len(first.messages), len(second.messages)) == (0, 1)
        shown = upstreams(relay)
        assert (shown["first"]["state"], shown["second"]["state"]) == ("held", "usable"), shown
        relay.cli("upstream", "release", "first")
        relay.wait_state(client.submit(), "delivered")
        assert (len(first.messages), len(second.messages)) == (1, 1)
    first.close(), second.close()


@case
def an_upstream_that_is_down_or_refuses_the_login_says_so():
    sink = Sink(listens=False)
    refusing = Sink(offers=("AUTH PLAIN",), script={"AUTH": lambda n, line: "535 5.7.8 wrong"})
    with Relay(upstream=two_upstreams(sink, refusing).replace(
            f'{refusing.port} tls = "none"',
            f'{refusing.port} tls = "none" username = "u" password = "secret-word"'),
            workers=1) as relay:
        client = relay.session(relay.key(), "local")
        for _ in range(4):
            relay.wait_state(client.submit(), "deferred")
        shown = upstreams(relay)
        assert shown["first"]["state"] == "resting" and shown["first"]["reason"], shown
        assert shown["second"]["state"] == "paused" and "535" in shown["second"]["reason"], shown
        text = relay.cli("upstream", "list").stdout
        assert "paused" in text and "secret-word" not in text, text
    sink.close(), refusing.close()


@case
def commands_about_upstreams_say_what_is_wrong():
    with Relay() as relay:
        for verb in ("hold", "release"):
            assert relay.cli("upstream", verb, "none", check=False).returncode == 65
            assert relay.cli("upstream", verb, check=False).returncode == 64
        assert relay.stop() == 0
        for words in (("list",), ("hold", "sink"), ("release", "sink")):
            done = relay.cli("upstream", *words, check=False)
            assert done.returncode == 69 and "No daemon runs" in done.stderr, (words, done)


run()
