"""Who is let in, as far as it takes several connections, addresses or a changed store to see it."""
import os
import socket
import sqlite3
import string
import time
import zlib

from support.cases import case, run
from support.relay import PATIENCE_S, Relay, hold_port, plain, wait_for

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def with_check(text):
    """A key's first 34 characters with the CRC-32 that belongs to them (design section 5)."""
    number, check = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        check = BASE62[digit] + check
    return text + check


UNKNOWN = with_check("lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe")


def wrong(key):
    """A key with this id and another secret, right in form: only the store can tell."""
    return with_check(key[:12] + key[12:34][::-1])


def login(relay, key, door="submissions", **options):
    """The reply to AUTH PLAIN with this key, from a session of its own."""
    return relay.client(door, **options).hello().ask("AUTH PLAIN " + plain(key))[1][-1]


def fail_to_log_in(relay, count, **options):
    """So many refused logins, three a session."""
    while count > 0:
        client = relay.client("local", **options).hello()
        for _ in range(min(count, 3)):
            client.expect("535 5.7.8", "AUTH PLAIN " + plain("wrong"))
            count -= 1
        client.close()


def change_store(relay, *statements):
    """As the passing of time or another version would: with the relay stopped."""
    relay.stop()
    with sqlite3.connect(os.path.join(relay.state, "keys.db")) as store:
        for statement in statements:
            store.execute(*statement)
    store.close()
    relay.start()


@case
def c_13_every_wrong_key_gets_the_same_bytes():
    with Relay("limits { auth_failures = 100 penalty_failures = 0 }") as relay:
        key = relay.key()
        client = relay.client("submissions").hello()
        assert with_check(key[:34]) == key
        for candidate in (UNKNOWN, wrong(key), wrong(UNKNOWN), key[:-1], key + "0", key.upper(), "",
                          "hunter2", "x" * 200):
            reply = client.ask("AUTH PLAIN " + plain(candidate))[1]
            assert reply == ["535 5.7.8 this is not a valid API key"], (candidate, reply)
        client.expect("235 2.7.0", "AUTH PLAIN " + plain(key))


@case
def c_14_the_holder_of_a_key_is_told_why_it_is_refused():
    with Relay("limits { penalty_failures = 0 }") as relay:
        expired, held, suspended = (relay.key() for _ in range(3))
        relay.cli("account", "create", "closed")
        other = relay.key("closed.example", "--account", "closed")
        change_store(relay, ("UPDATE api_key SET expires_s = 1000 WHERE id = ?", (expired[4:12],)),
                     ("UPDATE api_key SET state = 'held' WHERE id = ?", (held[4:12],)),
                     ("UPDATE account SET suspended = 1 WHERE handle = 'closed'",))
        assert login(relay, expired) == "535 5.7.8 this key has expired"
        assert login(relay, held) == "535 5.7.8 this key is on hold"
        assert login(relay, other) == "535 5.7.8 the account of this key is suspended"
        assert login(relay, suspended).startswith("235 2.7.0")
        for key in (expired, held, other):
            assert login(relay, wrong(key)) == "535 5.7.8 this is not a valid API key"


@case
def a_key_that_expires_ends_its_open_session():
    with Relay() as relay:
        key = relay.key()
        change_store(relay, ("UPDATE api_key SET expires_s = ?", (int(time.time()) + 4,)))
        client = relay.session(key, "local")
        said = []

        def is_refused():
            said.append(client.ask("NOOP")[1][-1])
            time.sleep(0.1)
            return not said[-1].startswith("250")

        wait_for(is_refused, "the end of the key")
        assert said[-1] == "421 4.7.0 this key has expired", said[-1]
        assert client.is_closed()


@case
def c_16_ten_failures_close_the_door_to_their_address_only():
    with Relay("limits { penalty_time = 3s }") as relay:
        key = relay.key()
        fail_to_log_in(relay, 9, source="127.0.0.2")
        assert login(relay, UNKNOWN, "local", source="127.0.0.2").startswith("535 5.7.8")
        for door in ("local", "submission"):
            client = relay.client(door, source="127.0.0.2")
            client.expect("421 4.7.0")
            assert client.is_closed()
        there = ("127.0.0.1", relay.ports["submissions"])
        with socket.create_connection(there, PATIENCE_S, ("127.0.0.2", 0)) as implicit:
            assert implicit.recv(1) == b""
        relay.session(key, source="127.0.0.3").expect(250, "NOOP")
        wait_for(lambda: relay.client("local", source="127.0.0.2").reply()[0] == 220,
                 "the end of the penalty")


@case
def c_16_an_open_session_of_a_punished_address_goes_on():
    with Relay() as relay:
        client = relay.session(relay.key(), "local", source="127.0.0.2")
        fail_to_log_in(relay, 10, source="127.0.0.2")
        client.expect(250, "NOOP")
        relay.client("local", source="127.0.0.2").expect("421 4.7.0")


@case
def c_30_a_key_may_be_bound_to_networks():
    with Relay("limits { penalty_failures = 0 }") as relay:
        pair = relay.key("good.example", "--allow-from", "127.0.0.2/31")
        for last, code in ((1, "535"), (2, "235"), (3, "235"), (4, "535")):
            assert login(relay, pair, "local", source=f"127.0.0.{last}").startswith(code), last


@case
def c_30_both_families_on_one_socket():
    with hold_port("0.0.0.0") as holder:
        port = holder.getsockname()[1]
        dual = f'listener "dual" {{ address = "*" port = {port} tls = "starttls" }}'
        with Relay(dual) as relay:
            relay.ports["dual"] = port
            four = relay.key("good.example", "--allow-from", "0.0.0.0/0")
            local = relay.key("good.example", "--allow-from", "127.0.0.1")
            six = relay.key("good.example", "--allow-from", "::1")
            assert login(relay, four, "dual").startswith("235")
            assert login(relay, local, "dual").startswith("235")
            assert login(relay, six, "dual") == "535 5.7.8 this key may not be used from this address"
            try:
                relay.client("dual", host="::1").close()
            except OSError:
                print("# no IPv6 here: that half is not tested")
                return
            assert login(relay, four, "dual", host="::1").startswith("535 5.7.8")
            assert login(relay, six, "dual", host="::1").startswith("235")


@case
def c_33_sessions_that_hang_in_a_login_go_and_nobody_waits_for_them():
    with Relay("limits { login_time = 3s }") as relay:
        key = relay.key()
        hanging = [relay.client("local").hello() for _ in range(64)]
        for client in hanging:
            client.expect(334, "AUTH PLAIN")
        good = relay.session(key)
        good.expect(250, "MAIL FROM:<a@good.example>")
        good.expect(250, "RCPT TO:<r@dest.example>")
        good.expect(354, "DATA")
        good.send("From: <a@good.example>\r\n\r\nbody\r\n.\r\n")
        good.expect("250 2.0.0")
        for client in hanging:
            client.expect("421 4.4.2")
            assert client.is_closed()
        assert relay.log().count("reason=login_timeout") == 64
        good.expect(250, "NOOP")


@case
def c_36_a_thousand_logins_are_no_offence_and_a_success_forgives():
    with Relay() as relay:
        key = relay.key()
        for number in range(1000):
            client = relay.client("local").hello()
            if number % 20 == 0:
                client.expect("535 5.7.8", "AUTH PLAIN " + plain("wrong"))
            client.expect("235 2.7.0", "AUTH PLAIN " + plain(key))
            client.close()


@case
def a_secret_shown_in_clear_counts_for_nothing():
    with Relay("limits { penalty_failures = 2 }") as relay:
        key = relay.key()
        for _ in range(4):
            client = relay.client("submission")
            client.expect(220)
            client.expect(250, "EHLO client.example")
            client.expect("538 5.7.11", "AUTH PLAIN " + plain("wrong"))
        assert login(relay, key).startswith("235")


@case
def d_35_a_key_for_no_domain_or_for_all_is_not_made():
    with Relay() as relay:
        for domain in ("", ".", "*", "@", "good..example", "*.com"):
            done = relay.cli("key", "create", "--name", "test", "--domain", domain, check=False)
            assert done.returncode != 0 and done.stdout == "", (domain, done)
        assert relay.json("key", "list")["data"] == []


run()
