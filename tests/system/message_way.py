"""The way of a message: what goes in at a door comes out at the upstream, byte for byte."""
import os
import random
import re
import resource

from support.cases import case, run
from support.relay import Relay, is_sanitized, plain, wait_for

HEADER = b"From: Ann <a@good.example>\r\nTo: r@dest.example\r\nSubject: hello\r\n"


def submit(client, header, body, sender="a@good.example", recipients=("r@dest.example",)):
    """One transaction; the id of the 250. The body is given unstuffed."""
    client.expect("250 2.1.0", f"MAIL FROM:<{sender}>")
    for recipient in recipients:
        client.expect("250 2.1.5", f"RCPT TO:<{recipient}>")
    client.expect(354, "DATA")
    content = header + b"\r\n" + body
    client.send(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n")
    reply = client.expect("250 2.0.0")[-1]
    return re.search(r"queued as (\w+)", reply).group(1)


def split(raw):
    header, body = raw.split(b"\r\n\r\n", 1)
    return header + b"\r\n", body


@case
def every_door_relays_the_body_byte_for_byte():
    body = b"plain\r\n.dot\r\n..two\r\n\xff\xfe 8-bit \xe2\x82\xac\r\n" + b"x" * 998 + b"\r\n\r\n\r\n.\r\n"
    with Relay() as relay:
        key = relay.key()
        for door in ("submission", "submissions", "local"):
            client = relay.session(key, door)
            submit(client, HEADER, body)
            client.expect(221, "QUIT")
            assert client.is_closed()
        for sender, recipients, raw in relay.sink.wait(3):
            header, got = split(re.sub(rb"(?m)^\.", b"", raw))
            assert sender == "a@good.example" and recipients == ["r@dest.example"]
            assert got == body, got[:200]
            assert HEADER in header


@case
def the_end_of_data_is_found_wherever_a_buffer_ends():
    """A-17: each of its bytes on each side of the sizes at which a reader's buffer may end."""
    with Relay() as relay:
        client = relay.session(relay.key())
        bodies = []
        for edge in (4096, 8192, 16384, 65536):
            for length in range(edge - 8, edge + 9):
                body = (b"x" * 70 + b"\r\n") * (edge // 72 - 2)
                bodies.append(body + b"y" * (length - len(HEADER) - 2 - len(body) - 5) + b"\r\n")
                submit(client, HEADER, bodies[-1])
        arrived = sorted(split(raw)[1] for _, _, raw in relay.sink.wait(len(bodies)))
        assert arrived == sorted(bodies)
        client.expect(250, "NOOP")


@case
def fixups_add_what_is_missing_and_drop_what_is_private():
    with Relay() as relay:
        client = relay.session(relay.key())
        name = submit(client, HEADER + b"Bcc: secret@dest.example\r\nReturn-Path: <x@y>\r\n"
                      b"Resent-Bcc: also@dest.example,\r\n folded@dest.example\r\n", b"b\r\n")
        raw = relay.sink.wait(1)[0][2]
        header, _ = split(raw)
        text = header.decode()
        assert "secret" not in text and "also@" not in text and "folded@" not in text
        assert "Return-Path" not in text and "Resent-Bcc" not in text
        assert text.startswith("Received: from client.example"), text
        assert name in text and "ESMTPSA" in text and "TLSv1.3" in text
        assert len(re.findall(r"(?m)^Date: ", text)) == 1
        assert len(re.findall(r"(?m)^Message-ID: <[^>]+@relay\.example>", text)) == 1
        assert all(len(line) <= 78 for line in text.split("\r\n"))
        submit(client, HEADER + b"Date: Sat, 1 Jan 2022 00:00:00 +0000\r\nMessage-ID: <mine@x>\r\n", b"c\r\n")
        text = split(relay.sink.wait(2)[1][2])[0].decode()
        assert text.count("Date: ") == 1 and text.count("Message-ID: <mine@x>") == 1


@case
def no_secret_reaches_the_upstream_or_the_log():
    with Relay() as relay:
        key = relay.key()
        submit(relay.session(key), HEADER, b"b\r\n")
        client = relay.client("submission").hello()
        client.expect(535, "AUTH PLAIN " + plain(key[:-1] + ("0" if key[-1] != "0" else "1")))
        raw = relay.sink.wait(1)[0][2].decode("latin-1")
        for secret in (key, key[12:34], plain(key)):
            assert secret not in raw and secret not in relay.log()


@case
def all_recipients_go_in_one_transaction_and_one_message():
    with Relay() as relay:
        client = relay.session(relay.key())
        people = [f"r{i}@dest.example" for i in range(100)]
        submit(client, HEADER, b"b\r\n", recipients=people)
        relay.sink.wait(1)
        assert relay.sink.messages[0][1] == people
        wait_for(lambda: set(relay.queue().values()) == {"delivered"}, "delivered")


@case
def large_messages_of_every_size_around_a_chunk_arrive_whole():
    sizes = [65535, 65536, 65537, 131072, 200000, 3 * 1024 * 1024]
    rng = random.Random(7)
    with Relay() as relay:
        client = relay.session(relay.key(), "local", timeout=120)
        bodies = {}
        for size in sizes:
            lines = []
            left = size - len(HEADER) - 2
            while left > 0:
                n = min(left, 80)
                lines.append(bytes(rng.choice(b".abcdefgh \xfe") for _ in range(max(n - 2, 0))) + b"\r\n")
                left -= n
            bodies[size] = b"".join(lines)
            submit(client, HEADER, bodies[size])
        got = relay.sink.wait(len(sizes))
        arrived = sorted(split(re.sub(rb"(?m)^\.", b"", raw))[1] for _, _, raw in got)
        assert arrived == sorted(bodies.values())


@case
def a_25_mib_message_does_not_raise_the_peak_of_memory():
    def memory_kib(relay, which):
        with open(f"/proc/{relay.process.pid}/status") as status:
            return int(re.search(which + r":\s+(\d+)", status.read()).group(1))

    # A sanitizer's own bookkeeping is not ours to measure.
    allowed_kib = 1 << 20 if is_sanitized() else 2048
    large = (b"z" * 900 + b"\r\n") * (24 * 1024 * 1024 // 902)
    with Relay() as relay:
        client = relay.session(relay.key(), "local", timeout=120)
        for count in (1, 2):  # these fill what is kept anyway: SQLite's cache, the allocator's pools
            submit(client, HEADER, large)
            relay.sink.wait(count)
        before = memory_kib(relay, "VmRSS")
        with open(f"/proc/{relay.process.pid}/clear_refs", "w") as reset:
            reset.write("5")  # the peak starts anew
        submit(client, HEADER, large)
        relay.sink.wait(3)
        grown = memory_kib(relay, "VmHWM") - before
        print(f"# peak {grown} KiB above the level before")
        assert grown < allowed_kib, f"{grown} KiB more"


@case
def a_refused_or_broken_message_leaves_nothing_behind():
    with Relay() as relay:
        key = relay.key()
        client = relay.session(key, "local")
        client.expect("250", "MAIL FROM:<a@good.example>")
        client.expect("250", "RCPT TO:<r@dest.example>")
        client.expect("354", "DATA")
        client.send(HEADER + b"\r\n" + (b"k" * 900 + b"\r\n") * 400)
        client.close()  # in the middle of a chunked message
        client = relay.session(key, "local")
        client.expect("250", "MAIL FROM:<a@good.example>")
        client.expect("250", "RCPT TO:<r@dest.example>")
        client.expect("354", "DATA")
        client.send(HEADER.replace(b"good", b"victim") + b"\r\n" + (b"k" * 900 + b"\r\n") * 400 + b".\r\n")
        client.expect("550 5.7.1")
        client.expect("250", "NOOP")
        submit(client, HEADER, b"after\r\n")
        relay.sink.wait(1)
        wait_for(lambda: list(relay.queue().values()) == ["delivered"], "only one message")
        assert b"after" in relay.sink.messages[0][2]


@case
def f_05_what_the_disk_has_no_room_for_is_refused_and_nothing_else():
    with Relay() as relay:
        client = relay.session(relay.key(), "local")
        small = submit(client, HEADER, b"before\r\n")
        relay.sink.wait(1)
        log = os.path.getsize(os.path.join(relay.state, "queue.db-wal"))
        resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE, (log, resource.RLIM_INFINITY))
        client.expect("250", "MAIL FROM:<a@good.example>")
        client.expect("250", "RCPT TO:<r@dest.example>")
        client.expect("354", "DATA")
        client.send(HEADER + b"\r\n" + (b"k" * 900 + b"\r\n") * 400)
        client.expect("452 4.3.1", ".")
        client.expect("250", "NOOP")
        resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        wait_for(lambda: client.ask("MAIL FROM:<a@good.example>")[0] == 250, "room again")
        client.expect("250", "RSET")
        after = submit(client, HEADER, b"after\r\n")
        wait_for(lambda: relay.queue() == {small: "delivered", after: "delivered"}, "both, and no more")


@case
def pipelined_messages_are_answered_in_order():
    with Relay() as relay:
        client = relay.session(relay.key(), "local")
        one = (b"MAIL FROM:<a@good.example>\r\nRCPT TO:<r@dest.example>\r\nDATA\r\n")
        client.send(one)
        client.expect("250 2.1.0"), client.expect("250 2.1.5"), client.expect(354)
        client.send(HEADER + b"\r\nfirst\r\n.\r\n" + one)
        client.expect("250 2.0.0"), client.expect("250 2.1.0"), client.expect("250 2.1.5")
        client.expect(354)
        client.send(HEADER + b"\r\nsecond\r\n.\r\nQUIT\r\n")
        client.expect("250 2.0.0"), client.expect(221)
        bodies = sorted(split(raw)[1] for _, _, raw in relay.sink.wait(2))
        assert bodies == [b"first\r\n", b"second\r\n"]


@case
def a_test_key_is_accepted_and_never_relayed():
    with Relay() as relay:
        key = relay.key("good.example", "--test")
        assert key.startswith("lpt_"), key
        name = submit(relay.session(key), HEADER, b"b\r\n")
        live = submit(relay.session(relay.key()), HEADER, b"live\r\n")
        wait_for(lambda: relay.queue() == {name: "sandboxed", live: "delivered"}, "both states")
        assert len(relay.sink.messages) == 1


run()
