"""The command line and the HTTP API of the real binary: keys, domains, accounts and the queue, with the
daemon running and without it."""
import fcntl
import http.client
import json
import os
import re
import socket
import subprocess
import threading

from support.cases import case, run
from support.relay import PATIENCE_S, Relay, hold_port, plain, wait_for

MESSAGE = (b"From: a@good.example\r\nTo: r@dest.example\r\nSubject: s\r\n\r\nhello\r\n.\r\n")


class Api:
    """A relay with an HTTP listener, and its API."""

    def __init__(self, relay, holder):
        self.relay, self.holder = relay, holder
        self.port = holder.getsockname()[1]

    def ask(self, method, path, key=None, body=None, headers=None):
        """(status, JSON or text)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        fields = dict(headers or {})
        if key:
            fields["Authorization"] = "Bearer " + key
        if body is not None:
            fields.setdefault("Content-Type", "application/json")
            body = body if isinstance(body, (str, bytes)) else json.dumps(body)
        connection.request(method, path, body, fields)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        self.headers = dict(answer.getheaders())
        kind = self.headers.get("Content-Type", "")
        return answer.status, json.loads(text) if kind == "application/json" else text.decode()

    def raw(self, data, limit=65536):
        """All that comes back on a connection of its own until the server closes it."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as sock:
            sock.sendall(data)
            answer = b""
            while len(answer) < limit:
                try:
                    more = sock.recv(65536)
                except ConnectionResetError:
                    break
                if not more:
                    break
                answer += more
        return answer


def relay_with_http(settings="", **options):
    holder = hold_port()
    port = holder.getsockname()[1]
    relay = Relay(f'http {{ address = "127.0.0.1" port = {port} tls = "none" {settings} }}', **options)
    return relay, Api(relay, holder)


def send(relay, key):
    client = relay.session(key, "local")
    client.expect(250, "MAIL FROM:<a@good.example>")
    client.expect(250, "RCPT TO:<r@dest.example>")
    client.expect(354, "DATA")
    client.send(MESSAGE)
    return re.search(r"queued as (\w+)", client.expect("250 2.0.0")[-1]).group(1)


@case
def a_key_is_alone_on_standard_output_with_and_without_a_daemon():
    with Relay(start=False) as relay:
        for running in (False, True):
            if running:
                relay.start()
            done = relay.cli("key", "create", "--name", "n", "--domain", "good.example",
                             "--expires", "90d", "--rate", "100/min", "--allow-from", "10.0.0.0/8",
                             "--allow-from", "::1", "--sender", "a@good.example",
                             "--recipient", "dest.example", "--scope", "send,keys")
            assert re.fullmatch(r"lpk_[0-9A-Za-z]{36}\n", done.stdout), done.stdout
            assert done.stdout.strip() not in done.stderr
            assert "only time" in done.stderr, done.stderr
            answer = relay.json("key", "create", "--name", "n")
            assert re.fullmatch(r"lpk_[0-9A-Za-z]{36}", answer["data"]["apiKey"])
            name = answer["data"]["keyId"]
            shown = relay.json("key", "show", name)["data"]
            assert "apiKey" not in shown and shown["status"] == "active", shown
            relay.cli("key", "revoke", name)
            assert name not in relay.cli("key", "list").stdout
        assert len(relay.json("key", "list")["data"]) == 2
        assert not re.search(r"lpk_[0-9A-Za-z]{36}", relay.log())


@case
def refusals_have_an_exit_code_and_a_sentence():
    rows = [
        (64, "key", "create"), (64, "key", "create", "--name", "a", "--expires", "90"),
        (64, "key", "create", "--name", "a", "--rate", "fast"), (64, "key", "frob"), (64, "key"),
        (64, "queue", "list", "--limit", "0"), (64, "queue", "retry"),
        (64, "key", "revoke", "lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe0hT2Lz"),
        (65, "key", "create", "--name", "a", "--expires", "366d"),
        (65, "key", "create", "--name", "a", "--domain", "*.com"),
        (65, "key", "create", "--name", "a", "--domain", ""),
        (65, "key", "create", "--name", "a", "--scope", "root"),
        (65, "key", "create", "--name", "a", "--account", "none"),
        (65, "key", "show", "abcdefgh"), (65, "key", "revoke", "abcdefgh"),
        (65, "domain", "add", "good..example"), (65, "domain", "remove", "none.example"),
        (65, "account", "create", "default"), (65, "queue", "show", "0000000000001"),
        (65, "queue", "list", "--state", "frob"),
    ]
    with Relay() as relay:
        for code, *words in rows:
            done = relay.cli(*words, check=False)
            assert done.returncode == code, (words, done)
            assert done.stderr.startswith("latchpost: ") and done.stdout == "", (words, done)
            assert "7Fq2mZ81" not in done.stderr
        done = relay.cli("key", "show", "abcdefgh", "--json", check=False)
        assert json.loads(done.stdout)["error"]["code"] == "not_found"
        missing = subprocess.run([relay.binary, "key", "list", "-c", relay.folder + "/none"],
                                 capture_output=True, text=True)
        assert missing.returncode == 78, missing


@case
def a_key_that_cannot_be_printed_is_reported_as_lost():
    with Relay() as relay, open("/dev/full", "w") as full:
        done = subprocess.run([relay.binary, "key", "create", "--name", "a", "-c", relay.config],
                              stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S)
        name = relay.json("key", "list")["data"][0]["keyId"]
        assert done.returncode == 74 and "key revoke " + name in done.stderr, done

        read_end, write_end = os.pipe()  # the reader has left
        os.close(read_end)
        done = subprocess.run([relay.binary, "key", "create", "--name", "b", "-c", relay.config],
                              stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S)
        os.close(write_end)
        name = relay.json("key", "list")["data"][1]["keyId"]
        assert done.returncode == 74 and "key revoke " + name in done.stderr, done


@case
def a_state_directory_held_by_someone_else_is_reported_in_time():
    with Relay(start=False) as relay:
        relay.cli("key", "list")
        with open(os.path.join(relay.state, "lock")) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = relay.cli("key", "list", check=False)
            assert done.returncode == 75 and "starting or stopping" in done.stderr, done
        relay.cli("key", "list")


@case
def the_queue_is_listed_page_by_page_shown_and_retried():
    script = {"RCPT": lambda n, line: "451 4.2.0 later \x1b[2J"}
    with Relay() as relay:
        relay.sink.script = script
        key = relay.key()
        names = [send(relay, key) for _ in range(3)]
        wait_for(lambda: set(relay.queue().values()) == {"deferred"}, "three deferrals")
        answer = relay.json("queue", "list")
        assert [row["id"] for row in answer["data"]] == names[::-1], answer
        assert answer["success"] is True and answer["meta"] == {"count": 3, "next": None}
        part = relay.json("queue", "list", "--limit", "2")
        assert [row["id"] for row in part["data"]] == names[:0:-1]
        assert part["meta"]["count"] == 2 and part["meta"]["next"]
        assert relay.json("queue", "list", "--state", "delivered")["data"] == []
        assert relay.json("queue", "list", "--account", "none")["data"] == []
        for words in (("list",), ("show", names[0])):
            text = relay.cli("queue", *words).stdout
            assert names[0] in text and "\x1b" not in text and "later" in text, text
        assert relay.json("queue", "stats")["data"]["messages"]["deferred"] == 3
        relay.sink.script = {}
        relay.cli("queue", "retry", names[0])
        wait_for(lambda: relay.queue()[names[0]] == "delivered", "one delivery")
        assert relay.json("queue", "retry", "--all")["data"]["retried"] == 2
        wait_for(lambda: set(relay.queue().values()) == {"delivered"}, "all deliveries")
        assert relay.cli("queue", "retry", names[0], check=False).returncode == 65


@case
def a_key_is_read_from_two_fields_and_from_nowhere_else():
    relay, api = relay_with_http()
    with relay:
        key = relay.key("good.example", "--scope", "keys")
        head = "GET /v1/whoami{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}\r\n"
        rows = [
            (200, "", f"Authorization: Bearer {key}\r\n"), (200, "", f"Authorization: bearer {key}\r\n"),
            (401, "", f"Authorization: Bearer  {key}\r\n"), (401, "", f"Authorization: Bearer {key} \r\n"),
            (401, "", "Authorization: Basic YTpi\r\n"), (401, f"?api_key={key}", ""),
            (200, "", f"X-API-Key: {key}\r\n"), (400, "", f"X-API-Key: {key}\r\nAuthorization: Bearer x\r\n"),
        ]
        for want, query, fields in rows:
            answer = api.raw(head.format(query, fields).encode())
            assert answer.startswith(b"HTTP/1.1 %d " % want), (want, query, fields, answer)
        assert key not in relay.log()


@case
def keys_stay_within_their_scopes_and_their_account():
    relay, api = relay_with_http()
    with relay:
        relay.cli("account", "create", "acme")
        sender = relay.key("good.example")
        reader = relay.key("good.example", "--scope", "messages")
        foreign = relay.key("acme.example", "--account", "acme", "--scope", "messages,keys")
        own = relay.json("key", "list", "--account", "default")["data"][0]["keyId"]
        name = send(relay, sender)
        wait_for(lambda: relay.queue()[name] == "delivered", "the delivery")
        for method, path in (("GET", "/v1/api-keys"), ("POST", "/v1/api-keys"), ("POST", "/v1/domains"),
                             ("GET", "/v1/accounts"), ("GET", "/v1/messages"), ("GET", "/metrics"),
                             ("POST", "/v1/queue/retry"), ("PATCH", "/v1/api-keys/" + own)):
            assert api.ask(method, path, sender)[0] == 403, (method, path)
        assert api.ask("GET", "/v1/messages/" + name, reader)[0] == 200
        assert api.ask("GET", "/v1/messages/" + name, foreign)[0] == 404
        assert api.ask("DELETE", "/v1/api-keys/" + own, foreign)[0] == 404
        client = relay.client("local")
        client.expect(220), client.expect(250, "EHLO x")
        client.expect("535 5.7.8", "AUTH PLAIN " + plain(reader))


@case
def bodies_over_the_limit_are_refused_and_memory_stays_flat():
    relay, api = relay_with_http('body_size = "64K"')
    with relay:
        key = relay.key("good.example", "--scope", "keys")
        head = (f"POST /v1/api-keys HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n"
                "Content-Type: application/json\r\n").encode()
        before = relay.resident_bytes()
        assert api.raw(head + b"Content-Length: 65537\r\n\r\n").startswith(b"HTTP/1.1 413 ")
        assert api.raw(head + b"Content-Length: 5\r\n\r\n{}   x\r\n\r\n").count(b"HTTP/1.1 ") == 2
        chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
        with socket.create_connection(("127.0.0.1", api.port), PATIENCE_S) as sock:
            try:
                sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
                for _ in range(4000):
                    sock.sendall(chunk)
            except (ConnectionError, socket.timeout):
                pass
        deep = b'{"name":' + b"[" * 60000
        assert api.ask("POST", "/v1/api-keys", key, deep)[0] == 400
        assert api.ask("POST", "/v1/api-keys", key, b"{}", {"Content-Encoding": "gzip"})[0] == 415
        assert api.ask("POST", "/v1/api-keys", key, b"{}", {"Content-Type": "text/plain"})[0] == 415
        assert relay.resident_bytes() - before < 32 << 20


@case
def many_slow_heads_end_with_408_and_mail_flows_meanwhile():
    relay, api = relay_with_http('head_time = "2s"')
    with relay:
        key = relay.key()
        slow = [socket.create_connection(("127.0.0.1", api.port), PATIENCE_S) for _ in range(200)]
        for sock in slow:
            sock.sendall(b"GET /healthz HT")
        send(relay, key)
        relay.sink.wait(1)
        for sock in slow:
            answer = b""
            while more := sock.recv(4096):
                answer += more
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            sock.close()
        assert api.ask("GET", "/healthz")[0] == 200


@case
def many_clients_ask_at_once():
    relay, api = relay_with_http()
    with relay:
        key = relay.key("good.example", "--scope", "keys,metrics")
        failures = []

        def work():
            mine = Api(relay, api.holder)
            for _ in range(20):
                for method, path, body in (("GET", "/v1/queue/stats", None), ("GET", "/metrics", None),
                                           ("POST", "/v1/api-keys", "{"), ("GET", "/v1/api-keys", None)):
                    status, _ = mine.ask(method, path, key, body)
                    if status != (400 if body else 200):
                        failures.append((method, path, status))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures[:3]


run()
