"""Mail that comes by HTTP: what a program asked for is what two readers that are not ours find at the
upstream, whatever it was; once, whatever it asks again; and large bodies cost what was said."""
import base64
import contextlib
import email
import email.header
import email.policy
import email.utils
import json
import os
import random
import re
import socket
import subprocess
import tempfile
import threading
import time

from support.cases import case, run
from support.relay import PATIENCE_S, Relay, hold_port, is_sanitized, wait_for

READER = os.path.join(os.path.dirname(__file__), "../support/read_mail.pl")
POLICY = email.policy.default


class MailRelay(Relay):
    """A relay with an http section, and a key for good.example."""

    def __init__(self, more="", settings="", **options):
        self.api_holder = hold_port()
        self.api_port = self.api_holder.getsockname()[1]
        super().__init__(f'http {{ address = "127.0.0.1" port = {self.api_port} tls = "none" {more} }}\n' + settings,
                         **options)
        self.key_text = self.key()

    def close(self):
        super().close()
        self.api_holder.close()

    def post(self, body, path="/v1/emails", key=None, fields="", sock=None):
        """(status, head, JSON) of one request."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\nContent-Type: application/json\r\n" \
            f"Authorization: Bearer {key or self.key_text}\r\n{fields}Content-Length: {len(text)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.api_port), PATIENCE_S) as sock:
            answer = b""
            try:
                sock.sendall(head.encode() + text)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has heard enough
            while more := receive(sock):
                answer += more
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head[9:12]), head.decode(), json.loads(body)

    def send(self, body, path="/v1/emails", **options):
        status, _, answer = self.post(body, path, **options)
        assert status == 202 and answer["success"] is True, (str(body)[:500], status, answer)
        return answer["data"]


def receive(sock):
    try:
        return sock.recv(65536)
    except ConnectionResetError:
        return b""


def plain_mail(**more):
    return {"from": "Ann <a@good.example>", "to": "r@dest.example", "subject": "hello", "text": "hi\n", **more}


def unstuffed(raw):
    return re.sub(rb"(?m)^\.", b"", raw)


# --- two readers ----------------------------------------------------------------------------------


def read_by_perl(messages):
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for number, message in enumerate(messages):
            names.append(os.path.join(folder, f"{number}.eml"))
            with open(names[-1], "wb") as file:
                file.write(message)
        done = subprocess.run(["perl", READER, *names], capture_output=True, check=True)
        assert not done.stderr, done.stderr.decode()[:2000]
    return [json.loads(line) for line in done.stdout.splitlines()]


def read_by_python(message):
    parsed = email.message_from_bytes(message, policy=POLICY)
    older = email.message_from_bytes(message)

    def addresses(name):
        """By the older parser: the newer one finds blanks between the encoded words of a long name."""
        found = email.utils.getaddresses([v.replace("\r\n", "") for v in older.get_all(name, [])])
        if parsed[name] is not None:
            assert [a.addr_spec for a in parsed[name].addresses] == [spec for _, spec in found]
        return [[str(email.header.make_header(email.header.decode_header(text))), spec] for text, spec in found]

    parts = []
    for part in parsed.walk():
        assert not part.defects, (part.defects, message[:3000])
        for name, value in part.items():
            assert not getattr(value, "defects", ()), (name, value.defects)
        if part.is_multipart():
            continue
        parts.append({"type": part.get_content_type(), "disposition": part.get_content_disposition() or "",
                      "id": part["Content-ID"] or "",
                      "filename": part["Content-Disposition"] and part["Content-Disposition"].params.get("filename"),
                      "hex": part.get_payload(decode=True).hex()})
    return {"subject": parsed["Subject"], "custom": parsed["X-Custom"], "from": addresses("From"), "to": addresses("To"),
            "cc": addresses("Cc"), "reply_to": addresses("Reply-To"), "parts": parts}


def as_stored(text):
    """Each line ends with CR LF, the last one too."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return (text if not text or text.endswith("\n") else text + "\n").replace("\n", "\r\n")


def expected(mail):
    """What a reader must find of a request in its object form."""

    def addresses(items):
        return [[a["name"], a["email"]] for a in items]

    texts = [{"type": kind, "disposition": "", "id": "", "filename": None, "hex": as_stored(mail[name]).encode().hex()}
             for kind, name in (("text/plain", "text"), ("text/html", "html")) if name in mail]
    files = [{"type": a["type"], "disposition": a["disposition"], "id": f"<{a['content_id']}>" if a["content_id"] else "",
              "filename": a["filename"] or None, "hex": base64.b64decode(a["content"]).hex()} for a in mail["attachments"]]
    related = [f for f in files if "html" in mail and f["disposition"] == "inline" and f["id"]]
    return {"subject": mail["subject"], "custom": mail["headers"]["X-Custom"], "from": addresses([mail["from"]]),
            "to": addresses(mail["to"]), "cc": addresses(mail["cc"]), "reply_to": addresses(mail["reply_to"]),
            "parts": texts + related + [f for f in files if f not in related]}


def check_wire(raw):
    """What holds of every message: held after every row (cases.md), and the limits of RFC 5322."""
    assert re.search(rb"\r(?!\n)|(?<!\r)\n|\0", raw) is None, raw[:500]
    for line in raw.split(b"\r\n"):
        assert len(line) <= 998 and all(byte < 128 for byte in line), line
    header = unstuffed(raw).split(b"\r\n\r\n")[0].decode()
    names = [m.lower() for m in re.findall(r"(?m)^([^\s:]+):", header)]
    for once in ("from", "to", "subject", "date", "message-id", "mime-version", "received"):
        assert names.count(once) == 1, (once, names)
    assert "bcc" not in names and "idempotency-key" not in names
    assert "with HTTP id " in re.sub(r"\r\n\s+", " ", header), header


# --- anything in, the same out --------------------------------------------------------------------

PIECES = ["a", "word ", " ", "  ", "ü", "é", "世界", "🙂", "=", "?", "=?", "?=", "=?utf-8?Q?x?=", "_", '"', "\\", "<", ">",
          "@", ",", ";", ":", "(", ")", ".", "..", "%41", "'", "/", "=3D", "x@victim.example", "<x@victim.example>",
          "\u2028", "\u00a0", "\u200b", "--=_m0.", "Bcc: y", "loooooooooooooooooooooooooooooong"]
LINES = PIECES + ["\n", "\r\n", "\r", "\n.\n", "\nFrom me\n", " \n", "\t", "\x01", "\x7f", "\x1b[31m", "\u0085",
                  "x" * 997, "x" * 1100, "ü" * 600]


def random_text(dice, pieces, most):
    return "".join(dice.choice(pieces) for _ in range(dice.randrange(most)))


def random_name(dice):
    return random_text(dice, PIECES, 12)


def random_address(dice):
    return {"email": f"{dice.choice(['a', 'a.b', 'x+tag', 'o' * 64])}@dest.example", "name": random_name(dice)}


def random_attachment(dice, number):
    return {"filename": random_text(dice, PIECES, 8)[:60].strip(), "type": dice.choice(["image/png", "text/csv", "application/x-y"]),
            "disposition": dice.choice(["attachment", "inline"]), "content_id": dice.choice(["", f"part{number}@good.example"]),
            "content": base64.b64encode(dice.randbytes(dice.choice([0, 1, 56, 57, 58, 1000]))).decode()}


def random_mail(dice):
    mail = {"from": {"email": "a@good.example", "name": random_name(dice)},
            "to": [random_address(dice) for _ in range(dice.randrange(1, 6))],
            "cc": [random_address(dice) for _ in range(dice.randrange(3))],
            "reply_to": [random_address(dice) for _ in range(dice.randrange(3))], "bcc": "secret@dest.example",
            "subject": random_text(dice, PIECES, 40), "headers": {"X-Custom": random_text(dice, PIECES, 60)},
            "attachments": [random_attachment(dice, i) for i in range(dice.choice([0, 0, 1, 3]))]}
    for name in dice.choice([["text"], ["html"], ["text", "html"]]):
        mail[name] = random_text(dice, LINES, 40)
    return mail


def compare(who, want, got, message):
    for key in want:
        if key != "parts":
            assert got[key] == want[key], (who, key, want[key], got[key], message[:3000])
    assert len(got["parts"]) == len(want["parts"]), (who, message[:3000])
    for part, found in zip(want["parts"], got["parts"]):
        for key, value in part.items():
            assert found[key] == value, (who, key, found[key][-300:], value[-300:], part["type"], message[:1000])


@case
def two_readers_find_what_was_asked_for_whatever_it_was():
    seed = int(os.environ.get("SEED", "1"))
    count = 60 if is_sanitized() else 300
    dice = random.Random(seed)
    with MailRelay() as relay:
        wanted = {}
        for _ in range(count):
            mail = random_mail(dice)
            wanted[relay.send(mail)["id"]] = mail
        got = relay.sink.wait(count)
        messages = [unstuffed(raw) for _, _, raw in got]
        for (sender, recipients, raw), message, by_perl in zip(got, messages, read_by_perl(messages)):
            check_wire(raw)
            name = re.search(rb"with\s+HTTP\s+id\s+(\w+)", message).group(1).decode()
            mail = wanted.pop(name)
            named = {a["email"] for a in mail["to"] + mail["cc"]} | {"secret@dest.example"}
            assert sender == "a@good.example" and set(recipients) == named and len(recipients) == len(named)
            assert b"secret@" not in message
            want = expected(mail)
            by_python = read_by_python(message)
            compare((seed, "python"), want, by_python, message)
            compare((seed, "perl"), want, by_perl, message)
        assert not wanted
        relay.finish()


@case
def a_body_that_means_to_end_the_data_does_not():
    """A-18"""
    with MailRelay() as relay:
        relay.send(plain_mail(text="a\n.\nb\r.\rc"))
        raw = relay.sink.wait(1)[0][2]
        assert raw.endswith(b"\r\n\r\na\r\n..\r\nb\r\n..\r\nc\r\n"), raw
        check_wire(raw)


# --- G-09, G-10, G-11 -----------------------------------------------------------------------------


@case
def what_is_no_json_is_refused_and_nothing_is_queued():
    mail = json.dumps(plain_mail()).encode()
    bodies = [b"[" * 100000, b"[" * 900000, b'{"from":' * 100000, b"{" + b'"a":{' * 40, mail[:-1], mail + b"{}", b"\xef\xbb\xbf" + mail,
              mail.replace(b'"hello"', b'"\\ud800"'), mail.replace(b'"hello"', b'"\xff"'), mail.replace(b'"hello"', b"NaN"),
              mail.replace(b'"hello"', b"1e400"), mail.replace(b'"hello"', b"'x'"), mail.replace(b"{", b'{"from":"a@good.example",'),
              b"", b"null", b'"x"', b"\0" * 10]
    with MailRelay() as relay:
        for body in bodies:
            status, _, answer = relay.post(body)
            assert status == 400 and answer["error"]["code"] == "invalid_json", (body[:60], status, answer)
        status, _, answer = relay.post(b"[" * 10_000_000)
        assert status == 400, (status, answer)
        for fields, want in (("Content-Encoding: gzip\r\n", 415), ("Expect: miracle\r\n", 417)):
            assert relay.post(mail, fields=fields)[0] == want, fields
        assert relay.queue() == {}
        relay.finish()


# --- limits ---------------------------------------------------------------------------------------


def attachment(characters):
    return [{"filename": "a.bin", "content": base64.b64encode(os.urandom(characters // 4 * 3)).decode()}]


@case
def a_large_message_arrives_whole_and_others_do_not_wait():
    with MailRelay() as relay:
        mail = plain_mail(attachments=attachment(24_000_000))
        body = json.dumps(mail).encode()
        answers, stop = [], threading.Event()

        def ask():
            while not stop.is_set():
                answers.append(relay.post(plain_mail())[0])

        thread = threading.Thread(target=ask)
        thread.start()
        first = relay.send(body, fields="Idempotency-Key: large\r\n")
        again = relay.send(body, fields="Idempotency-Key: large\r\n")
        stop.set()
        thread.join()
        assert first == again and set(answers) == {202} and answers
        got = [raw for _, _, raw in relay.sink.wait(len(answers) + 1) if len(raw) > 1_000_000]
        assert len(got) == 1
        parts = list(email.message_from_bytes(unstuffed(got[0]), policy=POLICY).walk())
        assert parts[-1].get_payload(decode=True) == base64.b64decode(mail["attachments"][0]["content"])
        relay.finish()


@case
def what_is_larger_than_the_limits_is_refused_before_it_is_read():
    with MailRelay(settings='limits { message_size = "1M" }\n') as relay:
        assert relay.post(plain_mail(attachments=attachment(1_000_000)))[0] == 202
        status, _, answer = relay.post(plain_mail(attachments=attachment(1_100_000)))
        assert status == 413 and answer["error"]["code"] == "too_large", answer
        status, head, _ = relay.post(plain_mail(attachments=attachment(3_000_000)))  # no body may be so large
        assert status == 413 and "connection: close" in head.lower()
        status, _, _ = relay.post(plain_mail(text="x" * 1_100_000), path="/v1/whoami")  # of others even less
        assert status == 413
        for body in ({"personalizations": [{"to": f"r{i}@dest.example"} for i in range(20)], "from": "a@good.example",
                      "content": [{"type": "text/plain", "value": "x" * 100_000}]},):
            status, _, answer = relay.post(body, path="/tx/v1/send")  # together too large
            assert status == 413, answer
        wait_for(lambda: len(relay.sink.wait(1)) == 1, "the one that was taken")
        assert len(relay.queue()) == 1
        relay.finish()


@case
def many_large_bodies_do_not_use_up_the_memory():
    """More of them at once than the budget has room for: some wait and come again, none is lost or doubled."""
    clients, size = 12, 3_000_000
    with MailRelay(more='body_memory = "16M"') as relay:
        relay.send(plain_mail(attachments=attachment(size)))
        relay.sink.wait(1)
        before = relay.resident_bytes()
        peak, refused, done = [before], [], []
        body = json.dumps(plain_mail(attachments=attachment(size))).encode()

        def push(number):
            deadline = time.monotonic() + 10 * PATIENCE_S
            while time.monotonic() < deadline:
                status, head, answer = relay.post(body, fields=f"Idempotency-Key: n{number}\r\n")
                peak.append(relay.resident_bytes())
                if status == 202:
                    done.append(answer["data"]["id"])
                    return
                assert status == 503 and answer["error"]["code"] in ("unavailable", "busy"), answer
                assert re.search(r"(?i)retry-after: \d+", head), head
                refused.append(number)
                time.sleep(0.2)

        threads = [threading.Thread(target=push, args=(i,)) for i in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(done)) == clients and refused, (len(done), len(refused))
        relay.sink.wait(clients + 1)
        if not is_sanitized():
            # 16 MiB of bodies, and what reading two of them takes (three times their size each).
            assert max(peak) - before < 64 * 1024 * 1024, (before, max(peak))
        assert relay.send(plain_mail())
        relay.finish()


@case
def an_unfinished_body_gives_its_memory_back():
    with MailRelay(more='body_memory = "8M"') as relay:
        body = json.dumps(plain_mail(attachments=attachment(3_000_000))).encode()
        head = f"POST /v1/emails HTTP/1.1\r\nHost: relay\r\nContent-Type: application/json\r\n" \
            f"Authorization: Bearer {relay.key_text}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", relay.api_port), PATIENCE_S) as hoarder:
            hoarder.sendall(head + body[:100_000])
            wait_for(lambda: relay.post(body)[0] == 503, "the budget to be used up")
            assert relay.post(plain_mail())[0] == 202  # small ones need none of it
        wait_for(lambda: relay.post(body)[0] == 202, "the budget to be free")
        # in chunks, whose length nobody knows before
        pieces = [body[i:i + 50_000] for i in range(0, len(body), 50_000)]
        head = re.sub(rb"Content-Length: \d+", b"Connection: close\r\nTransfer-Encoding: chunked", head)
        with socket.create_connection(("127.0.0.1", relay.api_port), PATIENCE_S) as sock:
            sock.sendall(head + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n")
            answer = sock.recv(65536)
            assert answer.startswith(b"HTTP/1.1 202"), answer
        assert relay.post(body)[0] == 202
        relay.finish()


@case
def large_bodies_of_one_account_leave_room_for_another():
    with MailRelay(more='body_memory = "32M"') as relay:
        relay.cli("account", "create", "acme")
        other = relay.key("acme.example", "--account", "acme")
        body = json.dumps(plain_mail(attachments=attachment(3_000_000))).encode()  # counts as 6M
        theirs = json.dumps(plain_mail(**{"from": "a@acme.example"}, attachments=attachment(3_000_000))).encode()
        head = f"POST /v1/emails HTTP/1.1\r\nHost: relay\r\nContent-Type: application/json\r\n" \
            f"Authorization: Bearer {relay.key_text}\r\nContent-Length: {len(body)}\r\n" \
            "Expect: 100-continue\r\n\r\n".encode()
        hoarders, refused = [], 0
        for _ in range(6):
            sock = socket.create_connection(("127.0.0.1", relay.api_port), PATIENCE_S)
            hoarders.append(sock)
            sock.sendall(head)
            refused += sock.recv(65536).startswith(b"HTTP/1.1 503 ")
        assert refused == 2, refused  # 24M of 32M
        assert relay.post(body)[0] == 503
        assert relay.post(theirs, key=other)[0] == 202
        for sock in hoarders:
            sock.close()
        wait_for(lambda: relay.post(body)[0] == 202, "the budget to be free")
        relay.finish()


@case
def the_rate_of_a_key_is_one_over_both_ways():
    """G-20"""
    with MailRelay(settings='plan "slow" { rate = "2/min" }\n') as relay:
        relay.cli("account", "create", "slow", "--plan", "slow")
        relay.cli("domain", "add", "slow.example", "--account", "slow")
        key = relay.cli("key", "create", "--name", "s", "--account", "slow", "--domain", "slow.example").stdout.strip()
        mail = plain_mail(**{"from": "a@slow.example"})
        assert relay.post(mail, key=key)[0] == 202
        with contextlib.closing(relay.session(key)) as client:
            client.submit(sender="a@slow.example")
            client.expect("450 4.7.1", "MAIL FROM:<a@slow.example>")
            client.expect(221, "QUIT")
        status, head, answer = relay.post(mail, key=key)
        assert status == 429 and answer["error"]["code"] == "rate_limited", answer
        assert 1 <= int(re.search(r"(?i)retry-after: (\d+)", head).group(1)) <= 60, head
        relay.finish()


# --- once -----------------------------------------------------------------------------------------


@case
def fifty_at_once_are_one_message_and_have_one_answer():
    """G-19"""
    with MailRelay() as relay:
        body, answers = json.dumps(plain_mail()).encode(), []
        threads = [threading.Thread(target=lambda: answers.append(
            relay.send(body, fields="Idempotency-Key: order-1\r\n"))) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 50 and all(a == answers[0] for a in answers), answers[:3]
        assert relay.post(body + b" ", fields="Idempotency-Key: order-1\r\n")[0] == 409
        relay.wait_state(answers[0]["id"], "delivered")
        assert len(relay.sink.wait(1)) == 1 and len(relay.queue()) == 1
        relay.finish()


@case
def a_token_outlives_a_kill_and_holds_over_smtp():
    with MailRelay() as relay:
        body = json.dumps(plain_mail()).encode()
        first = relay.send(body, fields="Idempotency-Key: order-1\r\n")

        def submit(text):
            with contextlib.closing(relay.session(relay.key_text)) as client:
                for command in ("MAIL FROM:<a@good.example>", "RCPT TO:<r@dest.example>"):
                    client.expect(250, command)
                client.expect(354, "DATA")
                client.send(f"From: a@good.example\r\nIdempotency-Key: order-2\r\n\r\n{text}\r\n.\r\n".encode())
                code, lines = client.reply()
                client.expect(221, "QUIT")
            return code, lines[-1]

        second = submit("hi")
        assert second[0] == 250
        relay.stop(9)
        relay.start()
        assert relay.send(body, fields="Idempotency-Key: order-1\r\n") == first
        assert submit("hi") == second
        assert submit("ho")[0] == 550
        assert relay.post(body, fields="Idempotency-Key: order-2\r\n")[0] == 409  # it belongs to the other one
        assert len(relay.queue()) == 2
        relay.finish()


@case
def what_is_acknowledged_is_there_after_a_kill():
    with MailRelay(sink=False, upstream='upstream "u" { host = "127.0.0.1" port = 9 tls = "none" }\n') as relay:
        ids = {relay.send(plain_mail(subject=str(i)))["id"] for i in range(20)}
        ids.add(relay.send(plain_mail(attachments=attachment(300_000)))["id"])
        relay.stop(9)
        relay.start()
        assert ids == set(relay.queue())
        relay.finish()


@case
def a_stop_in_the_middle_of_large_mail_keeps_what_was_acknowledged():
    with MailRelay(sink=False, upstream='upstream "u" { host = "127.0.0.1" port = 9 tls = "none" }\n') as relay:
        body, acknowledged, begun = json.dumps(plain_mail(attachments=attachment(6_000_000))).encode(), [], threading.Event()

        def push():
            while True:
                try:
                    status, _, answer = relay.post(body)
                except (ConnectionError, ValueError):
                    return  # it is gone, or went before it had answered
                if status != 202:
                    assert status in (503, 507), answer
                    return
                acknowledged.append(answer["data"]["id"])
                begun.set()

        threads = [threading.Thread(target=push) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert begun.wait(PATIENCE_S)
        relay.finish()  # exit 0
        for thread in threads:
            thread.join()
        relay.start()
        assert set(acknowledged) <= set(relay.queue())
        relay.finish()


# --- who ------------------------------------------------------------------------------------------


@case
def a_key_that_may_not_is_refused():
    """G-18 and the sender rule"""
    with MailRelay() as relay:
        manager = relay.cli("key", "create", "--name", "m", "--scope", "keys,messages").stdout.strip()
        assert relay.post(plain_mail(), key=manager)[0] == 403
        for sender in ("x@victim.example", "good.example <x@victim.example>", {"email": "x@victim.example", "name": "a@good.example"}):
            status, _, answer = relay.post(plain_mail(**{"from": sender}))
            assert status == 403 and answer["error"]["code"] == "sender_not_permitted", answer
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(os.path.join(relay.folder, "state", "control.sock"))
            body = json.dumps(plain_mail()).encode()
            sock.sendall(b"POST /v1/emails HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
                         b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            assert sock.recv(65536).startswith(b"HTTP/1.1 403")
        status, _, answer = relay.post(plain_mail(), key="lpk_nokey")
        assert status == 401, answer
        assert relay.queue() == {}
        for secret in (relay.key_text, manager):
            assert secret not in relay.log()
        relay.finish()


@case
def the_line_of_the_readme_sends():
    with MailRelay() as relay:
        readme = open(os.path.join(os.path.dirname(__file__), "../../README.md"), encoding="utf-8").read()
        line = re.search(r"(?s)    curl (https://relay.example.com:8025/v1/emails.*?)\n\n", readme).group(1)
        line = line.replace("https://relay.example.com:8025", f"http://127.0.0.1:{relay.api_port}").replace("example.com", "good.example")
        done = subprocess.run(["sh", "-c", f"curl -sS {line}"], capture_output=True, text=True,
                              env={**os.environ, "RELAY_KEY": relay.key_text})
        answer = json.loads(done.stdout)
        assert answer["success"] is True, done
        relay.wait_state(answer["data"]["id"], "delivered")
        relay.finish()


run()
