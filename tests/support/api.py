"""A relay with an http section, and ways to talk to it."""
import json
import socket

from support.relay import PATIENCE_S, Relay, hold_port

JSON = "Content-Type: application/json\r\n"


class ApiRelay(Relay):
    """A relay with an http section, and ways to talk to it."""

    def __init__(self, more="", tls="none", settings="", **options):
        self.api_holder = hold_port()
        self.api_port = self.api_holder.getsockname()[1]
        section = f'http {{ address = "127.0.0.1" port = {self.api_port} tls = "{tls}" {more} }}\n'
        super().__init__(section + settings, **options)

    def close(self):
        super().close()
        self.api_holder.close()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.api_port), PATIENCE_S)

    def raw(self, data):
        """All that comes until the server closes; the request may still be on its way when it does."""
        with self.connect() as sock:
            return exchange(sock, data)

    def ask(self, method, path, key=None, body=None, fields=""):
        """(status, head, JSON or text) of one request on a connection of its own."""
        text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n{fields}" \
            + (f"Authorization: Bearer {key}\r\n" if key else "") + (JSON if body is not None else "") \
            + f"Content-Length: {len(text)}\r\n\r\n"
        return split(self.raw(head.encode() + text))

    def data(self, method, path, key, body=None, status=200):
        got, _, answer = self.ask(method, path, key, body)
        assert got == status and answer["success"] is True, (method, path, got, answer)
        return answer["data"]

    def refused(self, want, method, path, key=None, body=None, fields=""):
        """Asserts the status and the form of an error; its code and message."""
        status, _, answer = self.ask(method, path, key, body, fields)
        assert status == want, (method, path, str(body)[:200], status, answer)
        assert answer.keys() == {"success", "error"} and answer["success"] is False, answer
        assert answer["error"].keys() - {"reference"} == {"code", "message"} and answer["error"]["message"], answer
        return answer["error"]


def exchange(sock, data):
    answer = b""
    try:
        sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it has heard enough
    try:
        while more := sock.recv(65536):
            answer += more
    except ConnectionResetError:
        pass
    return answer


def split(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    head = head.decode()
    return int(head[9:12]), head, json.loads(body) if "application/json" in head and body else body.decode()
