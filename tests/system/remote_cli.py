"""The command line as the client of a relay elsewhere: HTTPS, a key from a file, and servers that are no relay."""
import json
import os
import re
import socket
import ssl
import subprocess
import threading

from support.api import ApiRelay
from support.cases import case, run
from support.relay import BINARY, PATIENCE_S, hold_port, wait_for
from support.upstreams import Certificates

KEY = "lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe0hT2Lz"


class Place:
    """Certificates, and files with keys, for one case."""

    def __enter__(self):
        self.certificates = Certificates()
        return self

    def __exit__(self, *_):
        self.certificates.close()

    def path(self, name):
        return self.certificates.path(name)

    def key_file(self, key, mode=0o600, name="key"):
        path = self.path(name)
        if os.path.exists(path):
            os.unlink(path)
        with open(path, "w", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
            file.write(key)
        os.chmod(path, mode)
        return path

    def relay(self, name="good"):
        return ApiRelay(tls="implicit", settings=f'tls {{ certificate = "{self.path(name + ".pem")}" '
                        f'key = "{self.path(name + ".key")}" }}\n')


def call(*words, env=None, input=None):
    """`latchpost WORDS`, with no configuration to be found."""
    clean = {name: value for name, value in os.environ.items()
             if not name.startswith("LATCHPOST_") and not name.lower().endswith("_proxy")}
    return subprocess.run([BINARY, *words], capture_output=True, text=True, timeout=2 * PATIENCE_S, input=input,
                          env={**clean, "LATCHPOST_CONFIG": "/nonexistent", **(env or {})})


def ask(place, port, *words, key=None, ca="ca.pem", host="localhost", **options):
    return call(*words, "--url", f"https://{host}:{port}", "--key-file", key or place.path("key"),
                "--ca-file", place.path(ca), **options)


def done(result):
    assert result.returncode == 0, result
    return result.stdout


@case
def keys_domains_and_messages_are_managed_from_afar():
    with Place() as place, place.relay() as relay:
        key = relay.key("good.example", "--scope", "send,keys,domains,messages")
        port = relay.api_port
        place.key_file(key + "\n")
        made = ask(place, port, "key", "create", "--name", "far", "--domain", "good.example")
        assert re.fullmatch(r"lpk_[0-9A-Za-z]{36}\n", made.stdout), made
        rows = json.loads(done(ask(place, port, "key", "list", "--json")))["data"]
        assert len(rows) == 2
        name = [row["keyId"] for row in rows if row["name"] == "far"][0]
        done(ask(place, port, "key", "revoke", name))
        assert name not in done(ask(place, port, "key", "list"))
        out = done(ask(place, port, "domain", "add", "new.example"))
        assert "pending" in out and "latchpost-verification=" in out, out
        assert "new.example" in done(ask(place, port, "domain", "list"))
        done(ask(place, port, "domain", "remove", "new.example"))
        message = relay.session(key, "local").submit(author="a@good.example", sender="a@good.example")
        wait_for(lambda: relay.queue()[message] == "delivered", "the delivery")
        assert message in done(ask(place, port, "queue", "list"))
        assert "delivered" in done(ask(place, port, "queue", "show", message))
        # What only the operator may do, and what the key may not.
        for words in (("account", "create", "acme"), ("queue", "hold", "--all"), ("upstream", "list")):
            refused = ask(place, port, *words)
            assert refused.returncode == 77 and "operator" in refused.stderr, refused
        refused = ask(place, port, "queue", "stats")
        assert refused.returncode == 77 and "metrics" in refused.stderr, refused
        assert ask(place, port, "queue", "show", "0000000000001").returncode == 65
        refused = ask(place, port, "queue", "retry", "0000000000001", "--json")
        assert refused.returncode == 65 and json.loads(refused.stdout)["success"] is False
        # The environment names the server and the file, never the key; standard input holds it.
        env = {"LATCHPOST_URL": f"https://localhost:{port}/", "LATCHPOST_KEY_FILE": place.path("key"),
               "LATCHPOST_CA_FILE": place.path("ca.pem")}
        assert message in done(call("queue", "list", env=env))
        assert message in done(ask(place, port, "queue", "list", key="-", input=key + "\r\n"))
        assert call("queue", "list", "-c", relay.config, env=env).returncode == 0  # this machine's
        assert key not in relay.log() and "door=http" in relay.log()
        relay.cli("key", "revoke", key[4:12])
        refused = ask(place, port, "key", "list")
        assert refused.returncode == 77 and "revoked" in refused.stderr, refused


@case
def a_key_file_that_others_may_read_is_refused():
    with Place() as place:
        rows = [
            (78, place.key_file(KEY, 0o640, "group"), "chmod 600"),
            (78, place.key_file(KEY, 0o604, "others"), "chmod 600"),
            (78, place.key_file("", name="empty"), "no API key"),
            (78, place.key_file(KEY + "\nX-Evil: 1\r\n", name="two"), "no API key"),
            (78, place.key_file(KEY + "x" * 300, name="long"), "no API key"),
            (78, place.key_file("\0" * 40, name="nul"), "no API key"),
            (78, place.certificates.folder, "no file"),
            (66, place.path("none"), "No such file"),
            (69, place.key_file(KEY, 0o400, "mine"), "cannot be reached"),
            (69, place.key_file("  " + KEY + " \r\n\n", name="blanks"), "cannot be reached"),
        ]
        with hold_port() as closed:
            for want, path, words in rows:
                got = ask(place, closed.getsockname()[1], "key", "list", key=path)
                assert got.returncode == want and words in got.stderr and KEY not in got.stderr, (path, got)


@case
def misuse_is_told_before_anything_is_asked():
    with Place() as place:
        key = place.key_file(KEY)
        rows = [
            (64, ("--url", "https://localhost"), "--key-file"), (64, ("--key-file", key), "--url"),
            (64, ("--ca-file", key), "--url"), (64, ("--url", "https://x", "--key-file", key, "-c", key), "one"),
            (64, ("--url", "http://relay.example.com", "--key-file", key), "clear"),
            (64, ("--url", "http://127.0.0.1.evil.example", "--key-file", key), "clear"),
            (64, ("--url", "http://localhost.evil.example", "--key-file", key), "clear"),
            (64, ("--url", f"https://user:{KEY}@localhost", "--key-file", key), "more than a server"),
            (64, ("--url", f"https://{KEY}@", "--key-file", key), "no URL"),
            (64, ("--url", "https://localhost/?a=b", "--key-file", key), "more than a server"),
            (64, ("--url", "file:///etc/passwd", "--key-file", key), "no URL"),
            (64, ("--url", "ftp://localhost/", "--key-file", key), "no URL"),
            (64, ("--url", "localhost:8025", "--key-file", key), "no URL"), (64, ("--url", "", "--key-file", key), ""),
            (66, ("--url", "https://localhost", "--key-file", key, "--ca-file", "/none"), "/none"),
        ]
        for want, words, said in rows:
            got = call("key", "list", *words)
            assert got.returncode == want and said in got.stderr and KEY not in got.stderr, (words, got)


@case
def certificates_are_verified_and_no_key_leaves_without():
    with Place() as place:
        place.key_file(KEY)
        rows = [("good", "other-ca.pem", "localhost", 69), ("self-signed", "ca.pem", "localhost", 69),
                ("expired", "ca.pem", "localhost", 69), ("other-name", "ca.pem", "localhost", 69), ("stranger", "ca.pem", "localhost", 69),
                ("good", "ca.pem", "localhost", 77), ("good", "ca.pem", "127.0.0.1", 69)]
        for name, ca, host, want in rows:
            with Fake(place, lambda c: answer(c, 401, ERROR), name) as fake:
                got = ask(place, fake.port, "key", "list", ca=ca, host=host)
                assert got.returncode == want, (name, ca, host, got)
                assert bool(fake.heads) == (want == 77), (name, fake.heads)
        with Fake(place, lambda c: None) as fake:  # the system's CAs do not know ours
            got = call("key", "list", "--url", f"https://localhost:{fake.port}", "--key-file", place.path("key"))
            assert got.returncode == 69 and not fake.heads, got


ERROR = b'{"success":false,"error":{"code":"x","message":"it said no"}}'


def answer(connection, status, body, fields=b""):
    connection.sendall(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s"
                       % (status, len(body), fields, body))


class Fake:
    """A TLS server that reads a request's head, then does what `act` does with the connection."""

    def __init__(self, place, act, name="good"):
        self.act, self.heads = act, []
        self.context = place.certificates.server(name)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.closing = False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            raw, _ = self.listener.accept()
            if self.closing:
                raw.close()
                return
            try:
                with self.context.wrap_socket(raw, server_side=True) as connection:
                    connection.settimeout(PATIENCE_S)
                    head = b""
                    while b"\r\n\r\n" not in head:
                        more = connection.recv(65536)
                        if not more:
                            break
                        head += more
                    if head:
                        self.heads.append(head)
                        self.act(connection)
            except (OSError, ssl.SSLError):
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self.thread.join()
        self.listener.close()


def endless(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
    while True:
        connection.sendall(b" " * 65536)


def endless_head(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-Pad: " + b"x" * 65536)


@case
def what_is_no_answer_of_a_relay_ends_with_its_code():
    rows = [
        ("no HTTP", 76, lambda c: c.sendall(b"220 mail.example ESMTP\r\n")),
        ("a web page", 76, lambda c: answer(c, 200, b"<html>")),
        ("an error page", 76, lambda c: answer(c, 404, b"<html>")),
        ("an empty object", 76, lambda c: answer(c, 200, b"{}")),
        ("no envelope", 76, lambda c: answer(c, 200, b'{"data":[]}')),
        ("a list", 76, lambda c: answer(c, 200, b"[]")),
        ("failure with success", 76, lambda c: answer(c, 200, ERROR)),
        ("success with failure", 76, lambda c: answer(c, 404, b'{"success":true,"data":[]}')),
        ("depth", 76, lambda c: answer(c, 200, b"[" * 100000)),
        ("without end", 76, endless),
        ("nothing", 75, lambda c: None),
        ("half", 75, lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")),
        ("redirect", 76, lambda c: answer(c, 301, b"{}", b"Location: https://localhost:1/\r\n")),
        ("redirect", 76, lambda c: answer(c, 307, ERROR, b"Location: https://localhost:1/\r\n")),
        ("401", 77, lambda c: answer(c, 401, ERROR)), ("403", 77, lambda c: answer(c, 403, ERROR)),
        ("404", 65, lambda c: answer(c, 404, ERROR)), ("429", 75, lambda c: answer(c, 429, ERROR)),
        ("503", 75, lambda c: answer(c, 503, ERROR)),
        ("escapes", 65, lambda c: answer(c, 422, ERROR.replace(b"said", b"\\u001b[2J"))),
    ]
    with Place() as place:
        place.key_file(KEY)
        for name, want, act in rows:
            with Fake(place, act) as fake:
                got = ask(place, fake.port, "key", "list")
                assert got.returncode == want and got.stderr.startswith("latchpost: "), (name, got)
                assert "\x1b" not in got.stderr and got.stdout == "" and KEY not in got.stderr, (name, got)
                assert len(fake.heads) == 1, (name, fake.heads)
                assert fake.heads[0].count(f"Authorization: Bearer {KEY}\r\n".encode()) == 1, fake.heads
        with Fake(place, endless_head) as fake:
            got = ask(place, fake.port, "key", "list")
            assert got.returncode in (75, 76), got


@case
def no_argument_and_no_environment_of_the_process_holds_the_key():
    entered, go = threading.Event(), threading.Event()

    def act(connection):
        entered.set()
        go.wait(PATIENCE_S)
        answer(connection, 200, b'{"success":true,"data":[],"meta":{"total":0}}')

    with Place() as place, Fake(place, act) as fake:
        place.key_file(KEY)
        words = [BINARY, "key", "list", "--url", f"https://localhost:{fake.port}", "--key-file",
                 place.path("key"), "--ca-file", place.path("ca.pem")]
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        entered.wait(PATIENCE_S)
        for name in ("cmdline", "environ"):
            with open(f"/proc/{process.pid}/{name}", "rb") as file:
                assert KEY.encode() not in file.read(), name
        go.set()
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0


@case
def a_proxy_of_the_environment_sees_no_key():
    seen = []
    with Place() as place, socket.create_server(("127.0.0.1", 0)) as proxy:
        place.key_file(KEY)

        def serve():
            connection, _ = proxy.accept()
            with connection:
                seen.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 502 no\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        got = call("key", "list", "--url", "https://relay.example.com:8025", "--key-file", place.path("key"),
                   env={"https_proxy": url})
        thread.join()
        assert got.returncode == 69 and seen[0].startswith(b"CONNECT relay.example.com:8025 "), (got, seen)
        assert KEY.encode() not in seen[0]
    with Place() as place, ApiRelay() as relay:  # plain HTTP on this machine goes there directly
        place.key_file(relay.cli("key", "create", "--name", "k", "--scope", "keys").stdout)
        got = call("key", "list", "--url", f"http://127.0.0.1:{relay.api_port}", "--key-file", place.path("key"),
                   env={"http_proxy": url, "all_proxy": url})
        assert got.returncode == 0, got


@case
def a_silent_server_is_not_waited_for_without_end():
    go = threading.Event()
    with Place() as place:
        place.key_file(KEY)
        with Fake(place, lambda c: go.wait(2 * PATIENCE_S)) as fake:
            got = ask(place, fake.port, "key", "list")
            go.set()
        assert got.returncode == 75 and "not known" in got.stderr, got


run()
