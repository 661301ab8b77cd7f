"""Clients that mean ill: who guesses waits, and alone; who floods costs no memory. Figures for larger numbers of
them are what tests/bench/hostile.py and tests/bench/timing.py print."""
import re
import socket
import threading

from support.api import ApiRelay, exchange, split
from support.cases import case, run
from support.relay import Relay, is_sanitized, plain, wait_for

MIB = 1024 * 1024
LETTER = "From: <a@good.example>\r\nSubject: s\r\n\r\nbody\r\n.\r\n"
UNKNOWN = "lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe0hT2Lz"


def wrong(key):
    """Its id, and another secret; the check digits do not fit any more, as they do not for most who guess."""
    return key[:20] + ("A" if key[20] != "A" else "B") + key[21:]


def send_message(client):
    client.expect(250, "MAIL FROM:<a@good.example>")
    client.expect(250, "RCPT TO:<r@dest.example>")
    client.expect(354, "DATA")
    client.send(LETTER)
    client.expect("250 2.0.0")


def heard(client):
    """Has anything come from the relay that was not read yet?"""
    client.sock.settimeout(0.001)
    try:
        return client.sock.recv(1, socket.MSG_PEEK) != b""
    except (TimeoutError, BlockingIOError):
        return False
    finally:
        client.sock.settimeout(30)


class Growth:
    """Asserts that the relay's memory grows by less than this in a block."""

    def __init__(self, relay, limit):
        self.relay, self.limit = relay, limit

    def __enter__(self):
        self.before = self.relay.resident_bytes()

    def __exit__(self, kind, value, traceback):
        if kind is None and not is_sanitized():
            grown = self.relay.resident_bytes() - self.before
            assert grown < self.limit, f"{grown} bytes more"


@case
def who_guesses_waits_and_nobody_else_does():
    """One loop for all: what the guesser has not heard yet when the others are through, is what counts."""
    with Relay("limits { tarpit = 10s }", workers=1) as relay:
        key = relay.key()
        guesser = relay.client("local").hello()
        guesser.send("AUTH PLAIN " + plain("wrong") + "\r\nNOOP\r\n")
        wait_for(lambda: "event=login_refused" in relay.log(), "the refusal")
        for _ in range(5):  # from the same address
            send_message(relay.session(key, "local"))
        other = relay.client("local").hello()
        other.expect("501 5.5.2", "AUTH PLAIN !!!!")
        other.expect("235 2.7.0", "AUTH PLAIN " + plain(key))
        assert not heard(guesser)


@case
def a_refusal_is_said_in_the_end_and_what_was_pipelined_is_answered():
    with Relay("limits { tarpit = 100ms }") as relay:
        client = relay.client("submissions").hello()
        client.send("AUTH PLAIN " + plain("wrong") + "\r\nNOOP\r\nAUTH LOGIN\r\nYQ==\r\nYg==\r\nNOOP\r\n")
        for want in ("535 5.7.8", 250, "334", "334", "535 5.7.8", 250):
            client.expect(want)
        client.expect("235 2.7.0", "AUTH PLAIN " + plain(relay.key()))


@case
def the_end_of_the_time_to_log_in_is_the_end_of_the_wait():
    with Relay("limits { tarpit = 10s login_time = 1s }") as relay:
        client = relay.client("local").hello()
        client.expect("421 4.4.2", "AUTH PLAIN " + plain("wrong"))
        assert client.is_closed()


@case
def who_waits_does_not_hold_up_the_end():
    with Relay("limits { tarpit = 10s } grace = 300s") as relay:
        clients = [relay.client("local").hello() for _ in range(3)]
        for client in clients:
            client.send("AUTH PLAIN " + plain("wrong") + "\r\n")
        wait_for(lambda: relay.log().count("event=login_refused") == 3, "the refusals")
        clients[0].close()
        assert relay.stop() == 0
        clients[1].expect("421 4.3.2")


def refused_logins(relay, key):
    text = relay.ask("GET", "/metrics", key)[2]
    return int(re.search(r"^latchpost_auth_refused_total (\d+)", text, re.M).group(1))


@case
def over_http_it_is_the_same():
    with ApiRelay(settings="limits { tarpit = 10s }") as relay:
        key = relay.key("good.example", "--scope", "keys,metrics")
        head = f"Host: x\r\nAuthorization: Bearer {UNKNOWN}\r\n"
        for request in (f"GET /v1/whoami HTTP/1.1\r\n{head}\r\n",
                        f"POST /v1/api-keys HTTP/1.1\r\n{head}Content-Length: 9\r\n\r\n"):
            with relay.connect() as guesser:
                before = refused_logins(relay, key)
                guesser.sendall(request.encode())
                wait_for(lambda: refused_logins(relay, key) > before, "the refusal")
                relay.refused(401, "GET", "/v1/whoami")  # who shows no key does not guess
                assert relay.data("GET", "/v1/whoami", key)["keyId"] == key[4:12]
                guesser.settimeout(0.001)
                try:
                    said = guesser.recv(1)
                except TimeoutError:
                    said = None
                assert said is None, said


@case
def c_13_over_http_every_wrong_key_gets_the_same_bytes():
    with ApiRelay(settings="limits { penalty_failures = 0 }") as relay:
        key = relay.key("good.example", "--scope", "keys")
        answers = set()
        for secret in (UNKNOWN, wrong(key), wrong(UNKNOWN), key[:-1], key + "0", "hunter2", "x" * 200):
            with relay.connect() as sock:
                answers.add(exchange(sock, b"GET /v1/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                     b"X-API-Key: " + secret.encode() + b"\r\n\r\n"))
        assert len(answers) == 1, answers
        assert split(answers.pop())[0] == 401


def pour(sock, piece, count):
    """Sends until all is gone or the relay does not take any more, in a thread."""
    def send():
        try:
            for _ in range(count):
                sock.sendall(piece)
        except OSError:
            pass

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


@case
def fifty_mib_of_commands_from_a_client_that_never_reads_cost_nothing():
    with Relay("limits { junk_commands = 1000000 }") as relay:
        key = relay.key()
        for door in ("local", "submissions"):
            client = relay.client(door).hello()
            with Growth(relay, 8 * MIB):
                thread = pour(client.sock, b"EHLO x\r\n" * 8192, 800)
                for _ in range(20):
                    send_message(relay.session(key))
            client.sock.shutdown(socket.SHUT_RDWR)
            thread.join()


@case
def ten_mib_of_header_are_read_and_refused():
    field = b"X-Long: " + b"y" * 900 + b"\r\n"
    line = b"z" * 10 * MIB + b"\r\n"
    for header in (field * (10 * MIB // len(field)), line, b"X-A:" + line, b" " + line):
        with Relay() as relay:
            client = relay.session(relay.key(), "local")
            send_message(client)
            client.expect(250, "MAIL FROM:<a@good.example>")
            client.expect(250, "RCPT TO:<r@dest.example>")
            client.expect(354, "DATA")
            with Growth(relay, 8 * MIB):
                client.sock.sendall(header + b"From: <a@good.example>\r\n\r\nbody\r\n.\r\n")
                client.expect("550 5.6.0")
            send_message(client)
            assert len(relay.queue()) == 2


@case
def a_thousand_connections_half_of_them_in_a_handshake_are_cheap():
    with Relay() as relay:
        key = relay.key()
        send_message(relay.session(key))
        count = 50 if is_sanitized() else 500
        with Growth(relay, count * 2 * 32 * 1024):
            held = []
            for _ in range(count):
                held.append(relay.client("local"))
                held[-1].expect(220)
                half = socket.create_connection(("127.0.0.1", relay.ports["submissions"]), 30)
                half.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")  # of a ClientHello of 512 octets
                held.append(half)
            send_message(relay.session(key))
        for connection in held:
            connection.close()


run()
