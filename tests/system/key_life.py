"""The life of keys and accounts, seen from open SMTP sessions, the HTTP API and the command line."""
import http.client
import json
import os
import re
import shutil
import signal
import sqlite3
import tempfile
import threading
import time

from support.cases import case, run
from support.relay import PATIENCE_S, Relay, hold_port, plain, wait_for

MESSAGE = "From: a@good.example\r\nTo: r@dest.example\r\nSubject: s\r\n\r\nhello\r\n.\r\n"


class Api:
    """The HTTP API of a relay, on one connection that is kept open."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def ask(self, method, path, key=None, body=None):
        """(status, JSON)"""
        fields = {"Authorization": "Bearer " + key} if key else {}
        if body is not None:
            fields["Content-Type"] = "application/json"
        self.connection.request(method, path, None if body is None else json.dumps(body), fields)
        answer = self.connection.getresponse()
        text = answer.read()
        self.headers = dict(answer.getheaders())
        return answer.status, json.loads(text)


def relay_with_http(settings="", **options):
    holder = hold_port()
    port = holder.getsockname()[1]
    relay = Relay(f'http {{ address = "127.0.0.1" port = {port} tls = "none" }} {settings}', **options)
    relay.holders["http"] = holder
    return relay, Api(port)


def unbound(relay, *words):
    """A key for all domains of its account."""
    return relay.cli("key", "create", "--name", "test", *words).stdout.strip()


def id_of(key):
    return key[4:12]


def begin_data(client):
    client.expect(250, "MAIL FROM:<a@good.example>")
    client.expect(250, "RCPT TO:<r@dest.example>")
    client.expect(354, "DATA")


def send(client):
    begin_data(client)
    client.send(MESSAGE)
    client.expect("250 2.0.0")


def login(relay, key, want):
    """One more session that says only who it is; what it heard."""
    client = relay.client("local").hello()
    said = client.expect(want, "AUTH PLAIN " + plain(key))[-1]
    client.close()
    return said


# --- hold, release --------------------------------------------------------------------------------


@case
def a_held_key_stops_in_open_sessions_and_works_again_when_released():
    relay, api = relay_with_http()
    with relay:
        key, other = relay.key(), relay.key()
        idle, sending = relay.session(key), relay.session(key, "local")
        unhurt = relay.session(other, "local")
        begin_data(sending)
        sending.send("From: a@good.example\r\n\r\nhello")
        relay.cli("key", "hold", id_of(key))
        sending.send("\r\n.\r\n")
        sending.expect("550 5.7.1 this key is on hold")
        idle.expect("421 4.7.0 this key is on hold", "NOOP")
        assert idle.is_closed()
        login(relay, key, "535 5.7.8 this key is on hold")
        assert api.ask("GET", "/v1/whoami", key)[0] == 401
        assert [row["status"] for row in relay.json("key", "list")["data"]] == ["held", "active"]
        send(unhurt)
        relay.cli("key", "release", id_of(key))
        send(relay.session(key, "local"))
        assert len(relay.queue()) == 2
        assert api.ask("GET", "/v1/whoami", key)[0] == 200


@case
def a_hold_is_kept_over_restarts_and_a_revocation_is_final():
    with Relay(start=False) as relay:
        key = relay.key()
        relay.cli("key", "hold", id_of(key))
        relay.start()
        login(relay, key, "535 5.7.8 this key is on hold")
        relay.stop()
        relay.cli("key", "release", id_of(key))
        relay.start()
        send(relay.session(key, "local"))
        relay.cli("key", "revoke", id_of(key))
        for act in ("release", "hold", "rotate"):
            done = relay.cli("key", act, id_of(key), check=False)
            assert done.returncode == 65 and "revoked" in done.stderr and done.stdout == "", done
        login(relay, key, "535 5.7.8 this key has been revoked")
        assert relay.json("key", "list")["data"] == []


# --- rotate ---------------------------------------------------------------------------------------


@case
def both_keys_of_a_rotation_work_and_the_first_ends_in_open_sessions():
    relay, api = relay_with_http()
    with relay:
        first = relay.key()
        old, local = relay.session(first), relay.session(first, "local")
        done = relay.cli("key", "rotate", id_of(first), "--overlap", "2s")
        assert re.fullmatch(r"lpk_[0-9A-Za-z]{36}\n", done.stdout), done.stdout
        second = done.stdout.strip()
        assert id_of(second) == id_of(first) and second not in done.stderr, done.stderr
        new = relay.session(second, "local")
        send(new)
        begin_data(local)
        secrets = relay.json("key", "show", id_of(first))["data"]["secrets"]
        assert [row["masked"][-4:] for row in secrets] == [second[-4:], first[-4:]], secrets
        assert secrets[0]["lastProtocol"] == "smtp" and secrets[0]["lastAddress"] == "127.0.0.1"
        wait_for(lambda: api.ask("GET", "/v1/whoami", first)[0] == 401, "the end of the first key")
        local.send(MESSAGE)
        local.expect("550 5.7.1 this key has been replaced")
        old.expect("421 4.7.0 this key has been replaced", "NOOP")
        login(relay, first, "535 5.7.8 this key has been replaced")
        send(new)
        wait_for(lambda: len(relay.json("key", "show", id_of(first))["data"]["secrets"]) == 1,
                 "one secret")
        assert not re.search(r"lpk_[0-9A-Za-z]{36}", relay.log())


@case
def a_rotation_without_overlap_ends_the_first_key_at_once():
    with Relay(start=False) as relay:
        first = relay.key()
        second = relay.cli("key", "rotate", id_of(first), "--overlap", "0").stdout.strip()
        relay.start()
        login(relay, first, "535 5.7.8 this key has been replaced")
        session = relay.session(second)
        third = relay.json("key", "rotate", id_of(first), "--overlap", "0")["data"]["apiKey"]
        session.expect("421 4.7.0", "NOOP")
        send(relay.session(third, "local"))
        for name in os.listdir(relay.state):
            path = os.path.join(relay.state, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    content = file.read()
                for key in (first, second, third):
                    assert key[12:34].encode() not in content, name


@case
def an_overlap_that_cannot_be_is_refused():
    with Relay() as relay:
        key = relay.key()
        for overlap in ("soon", "-1h", "91d", "1"):
            done = relay.cli("key", "rotate", id_of(key), "--overlap", overlap, check=False)
            assert done.returncode == 65 and done.stdout == "", done
        lost = relay.cli("key", "rotate", id_of(key)).stdout.strip()
        new = relay.cli("key", "rotate", id_of(key)).stdout.strip()  # nobody has used the first
        login(relay, lost, "535 5.7.8")
        send(relay.session(new, "local"))
        done = relay.cli("key", "rotate", id_of(key), check=False)
        assert done.returncode == 65 and "is being rotated" in done.stderr, done
        send(relay.session(key, "local"))


# --- limits ---------------------------------------------------------------------------------------


@case
def a_key_has_its_own_size_of_a_message():
    with Relay() as relay:
        key = relay.key("good.example", "--max-size", "2K")
        assert relay.json("key", "show", id_of(key))["data"]["messageSize"] == 2048
        client = relay.session(key)
        assert "250-SIZE 2048" in client.expect(250, "EHLO client.example")
        client.expect("552 5.3.4", "MAIL FROM:<a@good.example> SIZE=2049")
        client.expect("250 2.1.0", "MAIL FROM:<a@good.example> SIZE=2048")
        client.expect(250, "RSET")
        begin_data(client)
        client.send("From: a@good.example\r\n\r\n" + ("x" * 78 + "\r\n") * 30 + ".\r\n")
        client.expect("552 5.3.4")
        send(client)
        wide = relay.session(relay.key("good.example", "--max-size", "1G"))
        assert "250-SIZE 26214400" in wide.expect(250, "EHLO client.example")
        assert len(relay.queue()) == 1


@case
def a_key_has_so_many_sessions_and_a_seat_is_free_when_one_leaves():
    with Relay() as relay:
        key, other = relay.key("good.example", "--max-sessions", "2"), relay.key()
        first, second = relay.session(key), relay.session(key, "local")
        third = relay.client("local").hello()
        third.expect("421 4.7.0 this key has as many sessions", "AUTH PLAIN " + plain(key))
        assert third.is_closed()
        send(relay.session(other, "local"))
        second.expect(221, "QUIT")
        assert second.is_closed()
        fourth = wait_for(lambda: seated(relay, key), "the seat")
        first.close()  # without QUIT
        wait_for(lambda: seated(relay, key), "the other seat")
        send(fourth)


def seated(relay, key):
    """A session with this key, or None."""
    client = relay.client("local").hello()
    return client if client.ask("AUTH PLAIN " + plain(key))[0] == 235 else None


@case
def limits_are_given_by_option_and_bad_ones_refused():
    with Relay() as relay:
        key = relay.key("good.example", "--recipients-per-day", "2", "--rate", "5")
        shown = relay.json("key", "show", id_of(key))["data"]
        assert (shown["recipientsPerDay"], shown["rateLimit"]) == (2, 5), shown
        assert (shown["messageSize"], shown["maxSessions"]) == (None, None), shown
        client = relay.session(key, "local")
        client.expect(250, "MAIL FROM:<a@good.example>")
        for name in "12":
            client.expect("250 2.1.5", f"RCPT TO:<r{name}@dest.example>")
        client.expect("452 4.5.3", "RCPT TO:<r3@dest.example>")
        for option, value in (("--max-size", "0"), ("--max-size", "big"), ("--max-sessions", "-1"),
                              ("--max-sessions", "0"), ("--recipients-per-day", "many")):
            done = relay.cli("key", "create", "--name", "n", option, value, check=False)
            assert done.returncode == 64 and option in done.stderr, done


@case
def a_hundred_sessions_take_exactly_what_a_key_may():
    relay, api = relay_with_http()
    with relay:
        key = relay.key("good.example", "--recipients-per-day", "150", "--rate", "10")
        began = time.monotonic()
        taken, lock = [0, 0], threading.Lock()

        def work():
            client = relay.session(key, "local")
            messages = client.ask("MAIL FROM:<a@good.example>")[0] == 250
            recipients = 0
            for number in range(30 if messages else 0):
                recipients += client.ask(f"RCPT TO:<r{number}@dest.example>")[0] == 250
            with lock:
                taken[0] += messages
                taken[1] += recipients
            done.wait(PATIENCE_S)  # what it holds is given back when it leaves
            client.close()

        done = threading.Barrier(101)
        threads = [threading.Thread(target=work) for _ in range(100)]
        for thread in threads:
            thread.start()
        wait_for(lambda: done.n_waiting == 100, "the hundred")
        earned = int((time.monotonic() - began) * 10 / 60) + 1
        assert 10 <= taken[0] <= 10 + earned and taken[1] == 150, (taken, earned)
        limits = api.ask("GET", "/v1/whoami", key)[1]["data"]["limits"]
        assert limits["recipientsPerDay"]["remaining"] == 0, limits
        assert api.headers["RateLimit-Limit"] == "10", api.headers
        assert int(api.headers["RateLimit-Remaining"]) <= earned, api.headers
        assert 0 < int(api.headers["RateLimit-Reset"]) <= 60, api.headers
        done.wait(PATIENCE_S)
        for thread in threads:
            thread.join()
        wait_for(lambda: api.ask("GET", "/v1/whoami", key)[1]["data"]["limits"]
                 ["recipientsPerDay"]["remaining"] == 150, "what was given back")


def recipients_on_disk(relay, key):
    """As keys.db and its log have them now, or None while they are being written."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("keys.db", "keys.db-wal"):
            if os.path.exists(os.path.join(relay.state, name)):
                shutil.copy(os.path.join(relay.state, name), folder)
        try:
            database = sqlite3.connect(os.path.join(folder, "keys.db"))
            row = database.execute("SELECT recipients FROM key_usage WHERE key = ?",
                                   (id_of(key),)).fetchone()
            database.close()
        except sqlite3.Error:
            return None
    return row and row[0]


@case
def the_recipients_of_the_day_outlive_a_restart_and_a_kill():
    with Relay() as relay:
        key = relay.key("good.example", "--recipients-per-day", "2")
        send(relay.session(key, "local"))
        wait_for(lambda: recipients_on_disk(relay, key) == 1, "the count on disk")
        relay.stop(signal.SIGKILL)
        relay.start()
        send(relay.session(key, "local"))
        assert relay.stop() == 0  # what was counted a moment ago is written
        relay.start()
        client = relay.session(key, "local")
        client.expect(250, "MAIL FROM:<a@good.example>")
        client.expect("452 4.5.3", "RCPT TO:<r@dest.example>")


@case
def a_list_of_more_than_a_page_is_whole_on_the_command_line():
    relay, api = relay_with_http('plan "default" { keys = 0 }')
    with relay:
        maker = relay.cli("key", "create", "--name", "m", "--scope", "keys").stdout.strip()
        for _ in range(1001):
            assert api.ask("POST", "/v1/api-keys", maker, {"name": "n", "scopes": "keys"})[0] == 201
        status, answer = api.ask("GET", "/v1/api-keys", maker)
        assert (len(answer["data"]), answer["meta"]["total"]) == (1000, 1002), answer["meta"]
        status, rest = api.ask("GET", "/v1/api-keys?after=" + answer["meta"]["next"], maker)
        assert len(rest["data"]) == 2 and rest["meta"]["next"] is None, rest["meta"]
        listed = relay.json("key", "list")
        assert len({row["keyId"] for row in listed["data"]}) == 1002, len(listed["data"])
        assert listed["meta"] == {"total": 1002, "next": None}, listed["meta"]


# --- accounts -------------------------------------------------------------------------------------


@case
def a_suspended_account_stops_with_all_below_it_in_open_sessions():
    for running in (False, True):
        with Relay(start=False) as relay:
            relay.cli("account", "create", "acme")
            relay.cli("account", "create", "shop", "--parent", "acme")
            keys = [relay.key("acme.example", "--account", "acme"),
                    relay.key("shop.example", "--account", "shop")]
            other = relay.key()
            if running:
                relay.start()
                sessions = [relay.session(key, "local") for key in keys]
                unhurt = relay.session(other, "local")
            assert relay.json("account", "suspend", "acme")["data"]["status"] == "suspended"
            if running:
                for session in sessions:
                    session.expect("421 4.7.0 the account of this key is suspended", "NOOP")
                send(unhurt)
            else:
                relay.start()
            for key in keys:
                login(relay, key, "535 5.7.8 the account of this key is suspended")
            states = {row["handle"]: (row["parent"], row["status"])
                      for row in relay.json("account", "list")["data"]}
            assert states == {"default": (None, "active"), "acme": (None, "suspended"),
                              "shop": ("acme", "suspended")}, states
            relay.cli("account", "resume", "acme")
            for key in keys:
                login(relay, key, 235)


@case
def a_parent_runs_its_sub_accounts_over_http():
    relay, api = relay_with_http()
    with relay:
        relay.cli("account", "create", "acme")
        parent = relay.key("acme.example", "--account", "acme", "--scope", "send,keys,accounts")
        # A key that is bound to a domain makes keys that name one: what it may not, they may not.
        assert api.ask("POST", "/v1/sub-accounts", parent, {"handle": "shop"})[0] == 201
        status, answer = api.ask("POST", "/v1/sub-accounts/shop/api-keys", parent)
        assert status == 403 and "domains" in answer["error"]["message"], answer
        free = relay.cli("key", "create", "--name", "f", "--account", "acme", "--scope",
                         "send,keys,accounts").stdout.strip()
        status, answer = api.ask("POST", "/tx/v1/sub-account/shop/api-key", free)
        assert status == 201 and answer["data"]["account"] == "shop", answer
        key = answer["data"]["apiKey"]
        client = relay.session(key, "local")
        client.expect("550 5.7.1", "MAIL FROM:<a@acme.example>")  # the parent's is not its own
        relay.cli("domain", "add", "shop.example", "--account", "shop")
        client.expect("250 2.1.0", "MAIL FROM:<a@shop.example>")
        assert api.ask("POST", "/v1/accounts/shop/suspend", free)[0] == 200
        client.expect("421 4.7.0", "RCPT TO:<r@dest.example>")
        assert api.ask("POST", "/v1/accounts/shop/resume", free)[0] == 200
        path = "/v1/sub-accounts/shop/api-keys/" + id_of(key)
        assert api.ask("GET", path, key)[0] == 403
        assert api.ask("DELETE", path, free)[1]["data"] == {"keyId": id_of(key), "revoked": True}
        login(relay, key, "535 5.7.8 this key has been revoked")


@case
def the_plan_of_an_account_is_changed_for_its_open_sessions_too():
    with Relay('plan "slow" { rate = "1/min" keys = 1 }') as relay:
        client = relay.session(relay.key(), "local")
        send(client)
        assert relay.json("account", "plan", "default", "slow")["data"]["plan"] == "slow"
        send(client)
        client.expect("450 4.7.1", "MAIL FROM:<a@good.example>")
        done = relay.cli("key", "create", "--name", "n", check=False)
        assert done.returncode == 65 and "delete an unused key first" in done.stderr, done
        done = relay.cli("account", "plan", "default", "gold", check=False)
        assert done.returncode == 65 and '"gold"' in done.stderr, done


@case
def a_key_that_a_key_made_follows_the_plan_down_and_up():
    plans = 'plan "good" { rate = "100/min" }\nplan "small" { rate = "10/min" }\n'
    relay, api = relay_with_http(plans)
    with relay:
        relay.cli("account", "create", "acme", "--plan", "good")
        maker = unbound(relay, "--account", "acme", "--scope", "send,keys")
        status, made = api.ask("POST", "/v1/api-keys", maker, {"name": "free"})
        assert status == 201 and made["data"]["rateLimit"] == 100, made
        status, bound = api.ask("POST", "/v1/api-keys", maker, {"name": "bound", "rateLimit": 100})
        assert status == 201, bound
        status, answer = api.ask("POST", "/v1/api-keys", maker, {"name": "more", "rateLimit": 101})
        assert status == 403, answer
        for plan, rate in (("small", 10), ("good", 100)):
            relay.cli("account", "plan", "acme", plan)
            for key in (made, bound):
                status, answer = api.ask("GET", "/v1/api-keys/" + key["data"]["keyId"], maker)
                assert answer["data"]["rateLimit"] == rate, (plan, answer)


@case
def a_secret_that_was_replaced_cannot_give_itself_a_new_life():
    relay, api = relay_with_http()
    with relay:
        former = unbound(relay, "--scope", "send,keys")
        current = relay.cli("key", "rotate", id_of(former), "--overlap", "24h").stdout.strip()
        for body in ({"overlap": "0"}, {}):
            status, answer = api.ask("POST", f"/v1/api-keys/{id_of(former)}/rotate", former, body)
            assert status == 403 and "replaced" in answer["error"]["message"], answer
        for secret, want in ((former, 403), (current, 201)):  # nor a sibling that outlives it
            status, answer = api.ask("POST", "/v1/api-keys", secret, {"name": "more"})
            assert status == want, answer
            assert want == 201 or answer["error"]["code"] == "secret_replaced", answer
        assert api.ask("GET", "/v1/whoami", current)[0] == 200
        assert api.ask("POST", f"/v1/api-keys/{id_of(former)}/rotate", current, {"overlap": "0"})[0] == 200


@case
def a_key_that_could_not_be_made_leaves_a_claim_unproved():
    relay, api = relay_with_http('plan "one" { keys = 1 }')
    with relay:
        relay.cli("account", "create", "acme", "--plan", "one")
        key = unbound(relay, "--account", "acme", "--scope", "send,domains")
        assert api.ask("POST", "/v1/domains", key, {"name": "victim.example"})[0] == 201
        refused = relay.cli("key", "create", "--name", "n", "--account", "acme", "--domain", "victim.example",
                            check=False)
        assert refused.returncode != 0
        _, answer = api.ask("GET", "/v1/domains", key)
        assert [(d["name"], d["verified"]) for d in answer["data"]] == [("victim.example", False)], answer


@case
def a_sub_account_does_not_learn_the_keys_of_its_parent():
    relay, api = relay_with_http()
    with relay:
        parent = unbound(relay, "--scope", "send,keys,accounts")
        assert api.ask("POST", "/v1/sub-accounts", parent, {"handle": "shop"})[0] == 201
        status, made = api.ask("POST", "/v1/sub-accounts/shop/api-keys", parent, {"scopes": ["send", "keys"]})
        assert status == 201, made
        status, trail = api.ask("GET", "/v1/audit", made["data"]["apiKey"])
        assert status == 200 and trail["data"], trail
        assert id_of(parent) not in json.dumps(trail) and "parent" in {line["actor"] for line in trail["data"]}, trail
        status, trail = api.ask("GET", "/v1/audit", parent)
        assert id_of(parent) in {line["actor"] for line in trail["data"]}, trail


run()
