"""The HTTP listener over TCP and TLS: what it takes for a request, and what its endpoints answer.
(api_and_cli.py has where a key may stand, scopes, and clients by the hundred.)"""
import http.client
import json
import os
import re
import signal
import socket
import ssl

from support.api import ApiRelay, exchange, split
from support.cases import case, run
from support.relay import PATIENCE_S, Relay, hold_port, own_address, wait_for

JSON = "Content-Type: application/json\r\n"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def knock(address, port, inside=None):
    """A connection on which TLS is spoken, or None: it was closed. It joins those inside."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        sock = context.wrap_socket(socket.create_connection((address, port), PATIENCE_S))
    except (ssl.SSLError, OSError):
        return None
    if inside is not None:
        inside.append(sock)
    return sock


# --- what is a request ----------------------------------------------------------------------------


def get(fields="", line="GET /healthz HTTP/1.1\r\n"):
    return (line + "Host: x\r\nConnection: close\r\n" + fields + "\r\n").encode("latin-1")


FRAMINGS = [  # G-12, G-13, G-10: status, fields, body; 422 says that the body, {}, was read
    (400, "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "{}"),
    (400, "Content-Length: 2\r\nContent-Length: 3\r\n", "{} "),
    (400, "Content-Length: 2\r\nContent-Length: 2\r\n", "{}"),
    (400, "Content-Length: +5\r\n", "{}   "),
    (400, "Content-Length: 5,5\r\n", "{}   "),
    (400, "Content-Length: 0x5\r\n", "{}   "),
    (400, "Content-Length:  5\r\n", "{}   "),
    (400, "Content-Length: -1\r\n", ""),
    (400, "Content-Length: \r\n", ""),
    (413, "Content-Length: 99999999999999999999\r\n", ""),
    (400, "Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
    (400, "Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    (400, "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
    (400, "Transfer-Encoding: gzip\r\n", "x"),
    (422, "Transfer-Encoding: chunked\r\n", "2;a=b\r\n{}\r\n0\r\n\r\n"),
    (422, "Transfer-Encoding: Chunked\r\n", "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\n", "0x2\r\n{}\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\n", "-1\r\n{}\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\n", "00000000000000002\r\n{}\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\n", "2\n{}\r\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\n", "2\r\n{}\n0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\n", "2\r\n{}0\r\n\r\n"),
    (400, "Transfer-Encoding: chunked\r\n", "2 \r\n{}\r\n0\r\n\r\n"),
    (415, "Content-Encoding: gzip\r\nContent-Length: 2\r\n", "{}"),
    (417, "Expect: miracle\r\nContent-Length: 2\r\n", "{}"),
]
FIELDS = [  # G-14: status, fields of a GET
    (400, "A: b\n"), (400, "A : b\r\n"), (400, "A: b\r\n c\r\n"), (400, " A: b\r\n"), (400, "A: b\x00c\r\n"),
    (400, "A: b\rc\r\n"), (400, "no colon\r\n"), (400, "Host: y\r\n"), (400, "Upgrade: h2c\r\n"),
    (431, "A: b\r\n" * 101), (431, "A: " + "b" * 17408 + "\r\n"), (200, "A: b\r\n" * 90),
]
LINES = [  # G-14: status, request line
    (400, "GET /healthz HTTP/1.1\n"), (400, "GET /\r\n"), (400, "GET\r\n"),
    (400, "GET  /healthz HTTP/1.1\r\n"),
    (400, "GET /healthz  HTTP/1.1\r\n"), (400, "GET /healthz HTTP/1.1 \r\n"), (400, "EHLO me.example\r\n"),
    (400, "GET http://x/healthz HTTP/1.1\r\n"), (400, "CONNECT x:1 HTTP/1.1\r\n"),
    (400, "OPTIONS * HTTP/1.1\r\n"), (400, "G\x00T / HTTP/1.1\r\n"), (400, "GET /\x80 HTTP/1.1\r\n"),
    (505, "GET / HTTP/2.0\r\n"), (400, "PRI * HTTP/2.0\r\n"), (505, "GET / HTTP/1.9\r\n"),
    (431, "GET /" + "a" * 17408 + " HTTP/1.1\r\n"), (200, "\r\nGET /healthz HTTP/1.1\r\n"),
]


def check_one_answer(relay, want, request):
    """The status is as wanted, and what follows the request is not taken for another one."""
    answer = relay.raw(request + b"GET /SMUGGLED HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % want), (want, request[:300], answer[:300])
    assert len(re.findall(rb"(?m)^HTTP/1", answer)) == 1 and b"SMUGGLED" not in answer, (request, answer)


@case
def requests_that_could_be_read_in_two_ways_are_refused():
    with ApiRelay() as relay:
        key = relay.key("good.example", "--scope", "keys")
        for want, fields, body in FRAMINGS:
            request = get(f"X-API-Key: {key}\r\n{JSON}{fields}", "POST /v1/api-keys HTTP/1.1\r\n")
            check_one_answer(relay, want, request + body.encode())
        for want, fields in FIELDS:
            check_one_answer(relay, want, get(fields))
        for want, line in LINES:
            check_one_answer(relay, want, get(line=line))
        assert "SMUGGLED" not in relay.log()
        assert relay.json("key", "list")["meta"]["total"] == 1


@case
def bodies_that_lie_about_their_length_are_not_waited_for_without_end():  # G-09
    with ApiRelay('body_size = "10K" head_time = "1s"') as relay:
        key = relay.key("good.example", "--scope", "keys")
        head = f"POST /v1/api-keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{JSON}".encode()
        rows = [(b"413", b"Content-Length: 10241\r\n\r\n" + b" " * 10241),
                (b"413", b"Content-Length: 4000000000\r\n\r\n"),
                (b"413", b"Transfer-Encoding: chunked\r\n\r\n" + (b"400\r\n" + b" " * 1024 + b"\r\n") * 100),
                (b"422", b"Connection: close\r\nContent-Length: 10240\r\n\r\n" + b"{}".ljust(10240)),
                (b"408", b"Content-Length: 100\r\n\r\n{}")]
        for want, rest in rows:
            answer = relay.raw(head + rest)
            assert answer.startswith(b"HTTP/1.1 " + want), (rest[:60], answer[:200])
        stranger = relay.raw(head.replace(key.encode(), b"nobody") + b"Content-Length: 10000\r\n\r\n")
        assert stranger.startswith(b"HTTP/1.1 401 "), stranger  # before it has sent a body


@case
def only_strict_json_is_read():  # G-11
    rows = [b"[" * 100000, b"[" * 1_000_000, b'{"name":' * 100000, b'{"name":"a","name":"b"}',
            b'{"name":"\\ud800"}', b'{"name":"\xff"}', b'{"name":"\x01"}', b'{"name":"a\\u0000"}',
            b'{"name":NaN}', b'{"name":"a","rateLimit":1e400}', b'{"name":"a"} x',
            b'{"name":"a"}{"name":"b"}', b'\xef\xbb\xbf{"name":"a"}', b'"name"', b"null", b"[]", b"{",
            b"{'name':'a'}", b'{"name":"a",}',
            b'{"name":"a","x":[' + b"1," * 30000 + b"1]}", b'{"unknown":1}']
    with ApiRelay() as relay:
        key = relay.key("good.example", "--scope", "keys")
        before = relay.resident_bytes()
        for body in rows:
            relay.refused(400, "POST", "/v1/api-keys", key, body)
        assert relay.ask("POST", "/v1/api-keys", key, b"[" * 10_000_000)[0] in (400, 413)  # of G-11 and G-09
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", "text/json",
                     "application/json; charset=latin-1"):
            answer = relay.raw(get(f"X-API-Key: {key}\r\nContent-Type: {kind}\r\nContent-Length: 12\r\n",
                                   "POST /v1/api-keys HTTP/1.1\r\n") + b'{"name":"a"}')
            assert answer.startswith(b"HTTP/1.1 415 "), (kind, answer)
        assert relay.json("key", "list")["meta"]["total"] == 1
        assert relay.resident_bytes() - before < 64 << 20


@case
def paths_are_taken_as_they_are_sent():  # G-15
    with ApiRelay() as relay:
        for path in ("/static/..%2f..%2fetc%2fpasswd", "/..\\", "/%2e%2e/", "//host/", "/a%00.js", "/v1",
                     "/v1/", "/v1/whoami/", "//healthz", "/healthz/", "/HEALTHZ", "/./healthz", "/%68ealthz",
                     "/v1/../healthz", "/v1/api-keys/a/b", "/favicon.ico"):
            relay.refused(404, "GET", path)
        key = relay.key("good.example", "--scope", "keys,messages,domains")
        for path in ("/v1/api-keys/..%2fwhoami", "/v1/api-keys/%00", "/v1/api-keys/%ff",
                     "/v1/messages/%2e%2e",
                     "/v1/messages/zzzz", "/v1/api-keys/" + "a" * 500):
            relay.refused(404, "GET", path, key)
        relay.refused(404, "DELETE", "/v1/domains/%2a", key)
        for query in ("?no=1", "?limit=0", "?limit=x", "?limit=1&limit=2", "?state=none", "?before=%zz"):
            assert relay.ask("GET", "/v1/messages" + query, key)[0] in (400, 422), query


@case
def a_method_that_a_path_does_not_have_is_405_with_those_it_has():
    with ApiRelay() as relay:
        key = relay.key("good.example", "--scope", "keys")
        for method, path, allowed in (("POST", "/healthz", "GET, HEAD"),
                                      ("PUT", "/v1/api-keys", "GET, HEAD, POST"),
                                      ("OPTIONS", "/v1/api-keys", "GET, HEAD, POST"),
                                      ("TRACE", "/healthz", "GET, HEAD")):
            status, head, _ = relay.ask(method, path, key)
            assert status == 405 and f"\r\nAllow: {allowed}\r\n" in head, (method, path, head)
        assert relay.raw(get(line="FROB /healthz HTTP/1.1\r\n")).startswith(b"HTTP/1.1 501 ")
        full, short = relay.raw(get()), relay.raw(get(line="HEAD /healthz HTTP/1.1\r\n"))
        assert full.split(b"\r\n\r\n")[1] and short.endswith(b"\r\n\r\n")
        length = re.search(rb"Content-Length: \d+", full).group()
        assert length in short
        for fields in ("Host: y\r\n", "Content-Length: 99999999999\r\n", "Content-Length: 100000\r\n",
                       "X-API-Key: a\r\nAuthorization: Bearer b\r\n"):
            refused = relay.raw(get(fields, line="HEAD /healthz HTTP/1.1\r\n"))
            assert refused.startswith(b"HTTP/1.1 4") and refused.endswith(b"\r\n\r\n"), (fields, refused)
            assert refused.count(b"\r\n\r\n") == 1 and b"Content-Length: 0" not in refused, refused


@case
def requests_on_one_connection_are_answered_in_order():
    with ApiRelay("idle_time = 300ms") as relay:
        key = relay.key("good.example", "--scope", "send,keys")
        one = f"GET {{}} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"
        paths = ["/healthz", "/v1/whoami", "/none", "/v1/api-keys"] * 25
        answer = relay.raw("".join(one.format(path) for path in paths).encode())
        want = {"/healthz": b"200", "/v1/whoami": b"200", "/none": b"404", "/v1/api-keys": b"200"}
        assert re.findall(rb"HTTP/1\.1 (\d+) ", answer) == [want[path] for path in paths]
        old = relay.raw(get(line="GET /healthz HTTP/1.0\r\n"))
        assert old.startswith(b"HTTP/1.1 200 ") and b"Connection: close" in old
        body = b'{"name":"x","domain":"good.example"}'
        with relay.connect() as sock:
            fields = f"X-API-Key: {key}\r\n{JSON}Expect: 100-continue\r\nContent-Length: {len(body)}\r\n"
            sock.sendall(get(fields, "POST /v1/api-keys HTTP/1.1\r\n"))
            assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            answer = exchange(sock, body)
            assert answer.startswith(b"HTTP/1.1 201 "), answer


@case
def more_connections_than_allowed_are_turned_away():
    with ApiRelay("connections = 3") as relay:
        held = [relay.connect() for _ in range(3)]
        for sock in held:
            sock.sendall(get().replace(b"Connection: close\r\n", b""))
            assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert relay.raw(get())[:13] in (b"", b"HTTP/1.1 503 ")
        relay.json("key", "list")  # the operator's socket is not counted
        held.pop().close()
        wait_for(lambda: relay.raw(get()).startswith(b"HTTP/1.1 200 "), "a free place")
        for sock in held:
            sock.close()


@case
def more_connections_from_one_address_than_allowed_are_closed_and_others_are_served():
    address = own_address()
    if address is None:
        print("# no address but loopback here: not tested")
        return
    with hold_port("0.0.0.0") as holder:
        port = holder.getsockname()[1]
        settings = 'http {{ address = "*" port = {} tls = "implicit" connections_per_address = {} }}'
        with Relay(settings.format(port, 2)) as relay:
            inside = [knock(address, port) for _ in range(2)]
            assert None not in inside
            assert knock(address, port) is None  # it ends before the handshake begins
            with knock("127.0.0.1", port), knock("127.0.0.1", port), knock("127.0.0.1", port):
                pass
            inside.pop().close()
            wait_for(lambda: knock(address, port, inside), "a free place")
            assert knock(address, port) is None
            relay.settings = settings.format(port, 3)
            relay.write_config()
            relay.process.send_signal(signal.SIGHUP)
            wait_for(lambda: knock(address, port, inside), "another place")
            assert knock(address, port) is None
            for sock in inside:
                assert exchange(sock, get()).startswith(b"HTTP/1.1 200 ")
                sock.close()


# --- what is said to everyone ---------------------------------------------------------------------


@case
def every_answer_carries_the_headers_of_caution_and_no_leave_for_others():  # G-17
    with ApiRelay() as relay:
        key = relay.key("good.example", "--scope", "keys,metrics")
        origin = "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n"
        answers = [relay.ask(method, path, key, None, origin)[1] for method, path in (
            ("GET", "/healthz"), ("GET", "/v1/api-keys"), ("GET", "/metrics"), ("GET", "/none"),
            ("OPTIONS", "/v1/api-keys"), ("POST", "/v1/api-keys"))]
        answers.append(relay.ask("GET", "/v1/whoami")[1])
        answers.append(split(relay.raw(b"nonsense\r\n\r\n"))[1])
        for head in answers:
            assert "Access-Control" not in head and "Strict-Transport" not in head, head
            for field in ("Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
                          "X-Content-Type-Options: nosniff", "Referrer-Policy: no-referrer",
                          "Cache-Control: no-store",
                          "Date: ", "Content-Length: "):
                assert field in head, (field, head)


@case
def tls_is_spoken_with_the_relays_certificate():
    with ApiRelay(tls="implicit") as relay:
        key = relay.key("good.example", "--scope", "keys")
        context = ssl.create_default_context(cafile=os.path.join(relay.state, "tls.pem"))
        connection = http.client.HTTPSConnection("localhost", relay.api_port, context=context,
                                                 timeout=PATIENCE_S)
        connection.request("GET", "/v1/whoami", headers={"Authorization": "Bearer " + key})
        answer = connection.getresponse()
        assert answer.status == 200 and json.load(answer)["data"]["keyId"] == key[4:12]
        assert answer.getheader("Strict-Transport-Security")
        connection.close()
        assert b"HTTP/1.1 2" not in relay.raw(get())  # in the clear


# --- endpoints ------------------------------------------------------------------------------------


@case
def health_readiness_and_metrics():
    with ApiRelay() as relay:
        assert relay.data("GET", "/healthz", None) == {"status": "ok"}
        assert relay.data("GET", "/readyz", None) == {"status": "ready"}
        relay.refused(401, "GET", "/metrics")
        relay.refused(403, "GET", "/metrics", relay.key())
        key = relay.key("good.example", "--scope", "metrics")
        name = relay.session(relay.key(), "local").submit()
        relay.wait_state(name, "delivered")
        status, head, text = relay.ask("GET", "/metrics", key)
        assert status == 200 and "Content-Type: text/plain; version=0.0.4" in head, head
        lines = text.splitlines()
        form = r'# (HELP|TYPE) latchpost_\w+ .+|latchpost_\w+(\{\w+="\w+"\})? \d+'
        assert all(re.fullmatch(form, line) for line in lines), text
        assert 'latchpost_queue_messages{state="delivered"} 1' in lines, text
        helped = set(re.findall(r"(?m)^# HELP (\w+)", text))
        assert helped == set(re.findall(r"(?m)^# TYPE (\w+)", text)) and len(helped) > 10, helped
        assert key[12:34] not in text
        assert relay.data("GET", "/v1/queue/stats", key)["messages"]["delivered"] == 1
    with ApiRelay(settings='free_space = "999999G"') as relay:
        assert relay.refused(503, "GET", "/readyz")["code"] == "no_room"
        assert relay.data("GET", "/healthz", None) == {"status": "ok"}


@case
def whoami_tells_what_the_key_is_and_stops_with_it():
    with ApiRelay() as relay:
        relay.refused(401, "GET", "/v1/whoami")
        key = relay.key("good.example", "--rate", "7/min", "--expires", "2d")
        data = relay.data("GET", "/v1/whoami", key)
        assert (data["keyId"], data["domain"], data["scopes"], data["rateLimit"]) == \
            (key[4:12], "good.example", ["send"], 7), data
        assert re.fullmatch(TIME, data["expirationTs"]) and key not in str(data)
        held = http.client.HTTPConnection("127.0.0.1", relay.api_port, timeout=PATIENCE_S)
        statuses = []
        for _ in range(2):
            held.request("GET", "/v1/whoami", headers={"X-API-Key": key})
            answer = held.getresponse()
            statuses.append(answer.status)
            text = answer.read().decode()
            relay.cli("key", "revoke", key[4:12])
        held.close()
        assert statuses == [200, 401] and "revoked" in text, (statuses, text)
        _, head, _ = relay.ask("GET", "/v1/whoami", key)
        assert "WWW-Authenticate: Bearer" in head


@case
def a_key_makes_keys_that_can_do_no_more_than_itself():
    with ApiRelay() as relay:
        relay.cli("domain", "add", "other.example")
        relay.cli("account", "create", "acme")
        maker = relay.key("good.example", "--scope", "send,keys", "--rate", "10/min", "--expires", "30d",
                          "--recipient", "dest.example", "--allow-from", "127.0.0.0/8",
                          "--sender", "a@good.example")
        same = {"name": "n", "domain": "good.example", "rateLimit": 10, "expirationDays": 29,
                "recipients": ["dest.example"], "allowFrom": ["127.0.0.0/16"], "senders": ["a@good.example"]}
        made = relay.data("POST", "/v1/api-keys", maker, same, 201)
        assert re.fullmatch("lpk_[0-9A-Za-z]{36}", made["apiKey"]) and made["scopes"] == ["send"], made
        client = relay.session(made["apiKey"], "local")
        client.submit()
        for change in ({"scopes": ["send", "metrics"]}, {"scopes": "accounts"}, {"domain": "other.example"},
                       {"domain": None}, {"domain": "*.good.example"}, {"rateLimit": 11},
                       {"expirationDays": None}, {"expirationDays": 31}, {"recipients": None},
                       {"recipients": ["dest.example", "x.example"]}, {"allowFrom": None},
                       {"allowFrom": ["0.0.0.0/0"]}, {"senders": None},
                       {"senders": ["b@good.example"]}, {"account": "acme"}, {"domain": "new.example"}):
            status, _, answer = relay.ask("POST", "/v1/api-keys", maker, {**same, **change})
            assert status in (403, 404, 422) and "lpk_" not in str(answer), (change, status, answer)
        listed = relay.ask("GET", "/v1/api-keys", maker)[2]
        assert listed["meta"]["total"] == 2 and "apiKey" not in str(listed)
        for secret in (maker, made["apiKey"]):  # G-02
            assert secret[12:34] not in str(listed) and secret[12:34] not in relay.log()
        gone = relay.data("DELETE", "/v1/api-keys/" + made["keyId"], maker)
        assert gone == {"keyId": made["keyId"], "revoked": True}
        client.expect("421 4.7.0", "NOOP")
        for method in ("PATCH", "PUT"):
            relay.refused(405, method, "/v1/api-keys/" + maker[4:12], maker, {"scopes": ["metrics"]})


@case
def values_that_are_not_allowed_are_told_by_name():
    names = [{"name": ""}, {"name": "x" * 101}, {"name": 5}, {"name": "a\nb"}, {}]
    rows = [{"domain": "*.com"}, {"domain": ""}, {"domains": []}, {"domains": ["good..example"]},
            {"domain": "good.example", "domains": ["good.example"]}, {"scopes": []}, {"scopes": ["root"]},
            {"scopes": [1]}, {"expirationDays": 0}, {"expirationDays": 366}, {"expirationDays": 1.5},
            {"rateLimit": -1}, {"rateLimit": 0}, {"rateLimit": "5"}, {"allowFrom": ["10.0.0.0/40"]},
            {"allowFrom": []}, {"recipients": ["@"]}, {"test": "yes"}]
    with ApiRelay() as relay:
        key = relay.json("key", "create", "--name", "maker", "--scope", "send,keys")["data"]["apiKey"]
        for body in names + [{"name": "a", **row} for row in rows]:
            error = relay.refused(422, "POST", "/v1/api-keys", key, body)
            field = list(body)[-1] if body else "name"
            assert field in error["message"] or "10.0.0.0/40" in error["message"], (body, error)
        relay.refused(400, "POST", "/v1/api-keys", key, {"name": "a", "domians": ["good.example"]})
        assert relay.json("key", "list")["meta"]["total"] == 1


@case
def guessing_keys_is_answered_with_a_pause():
    with ApiRelay(settings="limits { penalty_failures = 3 }") as relay:
        key = relay.key("good.example", "--scope", "keys")
        for _ in range(3):
            relay.refused(401, "GET", "/v1/whoami", "lpk_7Fq2mZ81c4Yw0R5tKd9sVbN3xQ6uJe0hT2Lz")
        status, head, _ = relay.ask("GET", "/v1/whoami", key)
        assert status == 429 and re.search(r"\r\nRetry-After: \d+", head), head
        assert relay.data("GET", "/healthz", None) == {"status": "ok"}
        relay.json("key", "list")


@case
def messages_are_read_and_retried_by_their_own_account():
    with ApiRelay('', settings='retry { schedule = {"1h"} }') as relay:
        relay.cli("account", "create", "acme")
        reader = relay.key("good.example", "--scope", "messages")
        foreign = relay.key("acme.example", "--account", "acme", "--scope", "messages")
        relay.sink.script = {"RCPT": lambda n, line: "451 4.2.1 <script>later</script>" if n == 0 else ...}
        name = relay.session(relay.key(), "local").submit()
        relay.wait_state(name, "deferred")
        data = relay.data("GET", "/v1/messages/" + name, reader)
        assert data["recipients"][0]["text"] == "<script>later</script>" and data["events"], data
        for method, path in (("GET", f"/v1/messages/{name}"), ("POST", f"/v1/messages/{name}/retry")):
            relay.refused(404, method, path, foreign)
        assert relay.ask("GET", "/v1/messages", foreign)[2]["data"] == []
        listed = relay.ask("GET", "/v1/messages?state=deferred&limit=1", reader)[2]
        assert [row["id"] for row in listed["data"]] == [name], listed
        relay.refused(403, "POST", "/v1/queue/retry", reader)
        assert relay.data("POST", f"/v1/messages/{name}/retry", reader)["retried"] is True
        relay.wait_state(name, "delivered")
        relay.refused(409, "POST", f"/v1/messages/{name}/retry", reader)


run()
