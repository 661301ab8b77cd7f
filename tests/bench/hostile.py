#!/usr/bin/env python3
"""What do hostile clients cost, in memory and to others? `make bench-hostile`, or by hand.

Memory: what the relay's resident memory grows by, beside each crowd or flood. Slowness: the time a good client needs
for a message, one after the other on one session, alone and beside each kind of rude one; a single worker, so that
all of them meet on one loop. The rude ones are processes of this machine and take their share of its cores, too: the
figures are the worst that others would notice. On a machine that does other things, too, look at the quartile.
"""
import argparse
import multiprocessing
import os
import socket
import statistics
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))
from support.relay import Relay, plain, trusting_context  # noqa: E402

MIB = 1024 * 1024
LIMITS = "limits { junk_commands = 1000000 login_time = 1h handshake_time = 1h idle_time = 1h " \
    "penalty_failures = 0 auth_failures = 1000 errors = 1000 }"
HALF_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
ENVELOPE = (("MAIL FROM:<a@good.example>", 250), ("RCPT TO:<r@dest.example>", 250), ("DATA", 354))
LETTER = "From: <a@good.example>\r\nSubject: s\r\n\r\n" + "x" * 70 + "\r\n"


def send_message(client):
    for command, code in ENVELOPE:
        client.expect(code, command)
    client.send(LETTER + ".\r\n")
    client.expect(250)


# --- memory -----------------------------------------------------------------------------------------------


def crowd(relay, count):
    """Half of them say nothing, half of them have begun a handshake."""
    held = []
    for number in range(count):
        door = "local" if number % 2 == 0 else "submissions"
        held.append(socket.create_connection(("127.0.0.1", relay.ports[door]), 30))
        if door == "local":
            held[-1].recv(200)
        else:
            held[-1].sendall(HALF_HELLO)
    return held


def pour(sock, piece, count):
    """As much of it as the relay takes; how many bytes that were."""
    sock.settimeout(2)
    sent = 0
    try:
        for _ in range(count):
            sent += sock.send(piece)
    except OSError:
        pass
    return sent


def flood_commands(relay, key):
    """50 MiB of commands, and no reply is read."""
    return [relay.session(key, "local")], b"EHLO x\r\n" * 8192, 800


def flood_line(relay, key):
    return [relay.session(key, "local")], b"a" * MIB, 10


def flood_header(relay, key):
    client = relay.session(key, "local")
    for command, code in ENVELOPE:
        client.expect(code, command)
    return [client], (b"X-Long: " + b"y" * 900 + b"\r\n") * 1150, 10


def flood_header_line(relay, key):
    client, _, count = flood_header(relay, key)
    return client, b"z" * MIB, count


def memory_row(name, make):
    with Relay(LIMITS, workers=2) as relay:
        key = relay.key()
        send_message(relay.session(key))
        before = relay.resident_bytes()
        said = make(relay, key)
        send_message(relay.session(key))
        grown = (relay.resident_bytes() - before) / MIB
        print(f"  {name:48s} {grown:+8.1f} MiB  {said}", flush=True)


def memory(count):
    def all_of_them(relay, key):
        held = crowd(relay, count)
        each = (relay.resident_bytes() - start[0]) / count
        for sock in held:
            sock.close()
        return f"{each / 1024:.1f} KiB each"

    def flood(make):
        def run(relay, key):
            clients, piece, pieces = make(relay, key)
            sent = sum(pour(client.sock, piece, pieces) for client in clients)
            return f"{sent / MIB:.1f} MiB taken"
        return run

    start = [0]
    with Relay(LIMITS, workers=2) as relay:
        send_message(relay.session(relay.key()))
        start[0] = relay.resident_bytes()
    print("memory")
    memory_row(f"{count} connections, half of them in a handshake", all_of_them)
    memory_row("50 MiB of commands, no reply is read", flood(flood_commands))
    memory_row("a line of 10 MiB", flood(flood_line))
    memory_row("a header of 10 MiB", flood(flood_header))
    memory_row("a header line of 10 MiB", flood(flood_header_line))


# --- slowness ---------------------------------------------------------------------------------------------


def connect(ports, door="local"):
    return socket.create_connection(("127.0.0.1", ports[door]), 30)


def never_reads(ports, key):
    with connect(ports) as sock:
        sock.sendall(b"EHLO x\r\n" * 8192)
        while True:
            pour(sock, b"EHLO x\r\n" * 8192, 1)


def junk(ports, key):
    while True:
        with connect(ports) as sock:
            sock.sendall(b"EHLO x\r\n" + b"NOOP\r\n" * 5000)
            while len(sock.recv(65536)) == 65536:
                pass


def guesses(ports, key):
    line = b"AUTH PLAIN " + plain("wrong").encode() + b"\r\n"
    while True:
        with connect(ports) as sock:
            sock.sendall(b"EHLO x\r\n" + line * 900)
            received = 0
            while received < 900 * 38 and (got := len(sock.recv(65536))) > 0:
                received += got


def shakes_hands(ports, key):
    context = trusting_context()
    while True:
        with context.wrap_socket(connect(ports, "submissions")):
            pass


def for_ever(rude):
    """Sent away, it comes back."""
    def run(ports, key):
        while True:
            try:
                rude(ports, key)
            except OSError:
                pass
    run.__name__ = rude.__name__
    return run


def comes_and_goes(ports, key):
    while True:
        connect(ports).close()


def sends(ports, key):
    auth = "AUTH PLAIN " + plain(key)
    with connect(ports) as sock:
        file = sock.makefile("rb")
        file.readline()
        sock.sendall(f"EHLO x\r\n{auth}\r\n".encode())
        while not file.readline().startswith(b"235"):
            pass
        while True:
            sock.sendall(b"".join(command.encode() + b"\r\n" for command, _ in ENVELOPE))
            for _ in ENVELOPE:
                file.readline()
            sock.sendall(LETTER.encode() + (b"y" * 70 + b"\r\n") * 15000 + b".\r\n")
            file.readline()


RUDE = (never_reads, junk, guesses, shakes_hands, comes_and_goes, sends)


def sample(client, count):
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        send_message(client)
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def slowness(count, rounds, limits):
    """Alone and beside take turns, so that a busy machine is busy for both."""
    print("a good client's message, beside one rude process;", "the usual limits" if limits else "no limits")
    for rude in RUDE:
        with Relay("limits { penalty_failures = 0 }" if limits else LIMITS, workers=1) as relay:
            key = relay.key("good.example", "--test")  # no sink takes its share of this process
            client = relay.session(key, "local")
            sample(client, 20)
            alone, beside = [], []
            for _ in range(rounds):
                alone += sample(client, count)
                process = multiprocessing.Process(target=for_ever(rude), args=(relay.ports, key), daemon=True)
                process.start()
                time.sleep(0.3)
                beside += sample(client, count)
                process.kill()
                process.join()
            words = []
            for name, part in (("quartile", 0), ("median", 1)):
                one, other = (statistics.quantiles(taken)[part] for taken in (alone, beside))
                words.append(f"{name} {one:5.2f} -> {other:5.2f} ms, {other / one:4.2f} times")
            print(f"  {rude.__name__:15s}", "   ".join(words), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=10000)
    parser.add_argument("--messages", type=int, default=30, help="of each sample")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--only-slowness", action="store_true")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if not options.only_slowness:
        memory(options.connections)
    slowness(options.messages, options.rounds, True)
    slowness(options.messages, options.rounds, False)


main()
