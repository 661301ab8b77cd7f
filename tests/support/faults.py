"""Upstreams that misbehave at one step of one conversation, and write down what was said in the clear.

A fault is a way of giving a reply: a text for sink.Sink's script, or a function that is called with the
connection and the usual reply, which then counts as given. PACE_S is the step timeout that silence is met with.
"""
import contextlib
import socket
import ssl
import struct
import threading

from support.relay import PATIENCE_S, Sink

PACE_S = 2.0  # long enough for a busy machine to get through the steps before
LATER, NEVER, CLOSING = "451 4.3.9 not now", "554 5.7.9 not \x1b[2J here %n%s", "421 4.3.2 closing"
OK, FULL, UNKNOWN = "250 2.1.5 ok", "450 4.2.1 full", "550 5.1.1 unknown"  # to RCPT

over = threading.Event()  # ends all silence


def silent(connection, usual):
    over.wait()
    raise ConnectionError


def lost(connection, usual):
    connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionError


def reset(connection, usual):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    raise ConnectionError


def closing(connection, usual):
    connection.sendall(CLOSING.encode() + b"\r\n")
    raise ConnectionError


closing.says = CLOSING


def endless(connection, usual):
    """Lines and lines, of which none is the last."""
    connection.sendall(f"{usual[:3]}-and\r\n".encode() * 200)
    silent(connection, usual)


def unended(connection, usual):
    connection.sendall(f"{usual[:3]}-and\r\n".encode())
    silent(connection, usual)


def bare(connection, usual):
    connection.sendall(f"{usual[:3]} ok\n".encode())
    silent(connection, usual)


def _drip(connection, usual, pause_s):
    for byte in usual.encode() + b"\r\n":
        connection.sendall(bytes([byte]))
        if over.wait(pause_s):
            pause_s = 0


def slow(connection, usual):
    """Byte by byte, but in time."""
    _drip(connection, usual, 0.003)


def crawl(connection, usual):
    """Byte by byte, each in time, and all of it too late."""
    _drip(connection, usual.ljust(16), PACE_S / 6)


def mixed(usual):
    return f"{usual[:3]}-one\r\n{int(usual[:3]) + 1} another"


def two(usual):
    return f"{usual}\r\n250 2.0.0 again"


class Pumped:
    """Takes the place of a connection: what is written to it goes on piece by piece, with pauses."""

    def __init__(self, connection, pause_s, piece):
        self.connection = connection
        self.near, far = socket.socketpair()
        for source, target, pause, most in ((far, connection, pause_s, piece), (connection, far, 0, 65536)):
            threading.Thread(target=self._pump, args=(source, target, pause, most), daemon=True).start()

    @staticmethod
    def _pump(source, target, pause_s, most):
        with contextlib.suppress(OSError):
            while data := source.recv(most):
                target.sendall(data)
                if pause_s and not over.is_set():
                    over.wait(pause_s)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class FaultySink(Sink):
    """A Sink with steps more: "handshake" (TLS) and "content" (in the middle of it), and `clear`: the lines that
    came without TLS. `idle` is set once the peer has closed a connection whose dot was answered by unasked().
    """

    def __init__(self, *words, **options):
        self.clear, self.idle, self.heard = [], threading.Event(), threading.Event()
        self.callers = []
        super().__init__(*words, **options)

    def _answer(self, connection, step, line, standard, message=None):
        if not isinstance(connection, ssl.SSLSocket):
            self.clear.append(line)
        return super()._answer(connection, step, line, standard, message)

    def _secure(self, connection):
        reply = self._reply_to("handshake", "")
        if isinstance(reply, str):
            connection.sendall(reply.encode() + b"\r\n")
            silent(connection, reply)
        if reply in (slow, crawl):
            connection = Pumped(connection, *((0.002, 16) if reply is slow else (PACE_S / 6, 1))).near
        elif callable(reply):
            reply(connection, "220")
        return super()._secure(connection)

    def _data(self, lines):
        reply = self._reply_to("content", "")
        if reply is ...:
            return super()._data(lines)
        lines.readline()
        connection = lines.raw._sock
        reply = getattr(reply, "says", reply)
        if callable(reply):
            reply(connection, "250")
        connection.sendall(reply.encode() + b"\r\n")
        while lines.read1(65536):  # so that nothing but the reply makes the peer stop
            pass
        raise ConnectionError

    def fill(self):
        """Until listen() connecting neither succeeds nor fails: the kernel's line is full."""
        self.listener.listen(0)
        self.callers = [socket.socket() for _ in range(4)]
        for caller in self.callers:
            caller.setblocking(False)
            caller.connect_ex(self.listener.getsockname())

    def listen(self):
        for caller in self.callers:
            caller.close()
        super().listen()

    def unasked(self, way):
        """For the dot: the usual reply, and when that was heard, this one in this way."""
        def say(connection, usual):
            connection.sendall(usual.encode() + b"\r\n")
            self.heard.wait(PATIENCE_S)
            try:
                if callable(way):
                    way(connection, usual)
                connection.sendall(way.encode() + b"\r\n")
                while connection.recv(1000):
                    pass
            finally:
                self.idle.set()
            raise ConnectionError

        return say
