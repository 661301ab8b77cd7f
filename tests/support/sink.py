"""The upstream that records what reaches it, and says what a test wants it to say."""
import collections
import socket
import ssl
import threading

from support.patience import wait_for


class Sink:
    """A recording upstream: keeps each message's raw bytes as they were on the wire, and the envelope.

    `script` may replace a step's reply: {"RCPT": lambda n, line: "450 4.2.0 later"}. Steps: banner,
    EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, dot, RSET, QUIT. A reply of None drops the connection without a
    word, one of `...` is the usual one, and a function says it in its own way: it is called with the connection
    and the usual reply, which counts as given (or what it `says`). `offers`: what EHLO lists. `tls`: a context
    of ssl for STARTTLS, or, if `implicit`, from the first byte. `listens`: False refuses connections until
    listen(). `most_open`: connections at once; one that says QUIT counts until it is closed.
    """

    def __init__(self, script=None, offers=("PIPELINING", "SIZE 104857600", "8BITMIME"), tls=None,
                 implicit=False, listens=True, address=("127.0.0.1", 0)):
        self.script = script or {}
        self.offers, self.tls, self.implicit = offers, tls, implicit
        self.messages = []  # (sender, [recipients], raw bytes up to the final dot)
        self.contents = []  # the raw bytes of all, whether they were taken or not
        self.steps = []
        self.counts = collections.Counter()  # of the steps, by name
        self.connections = self.now_open = self.most_open = 0
        self.lock = threading.Lock()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(address)
        self.port = self.listener.getsockname()[1]
        self.open = []
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        if listens:
            self.listen()

    def listen(self):
        self.listener.listen(128)
        self.acceptor.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.connections += 1
                self.now_open += 1
                self.most_open = max(self.most_open, self.now_open)
                self.open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _reply_to(self, step, line):
        with self.lock:
            count = self.counts[step]
            self.counts[step] += 1
            self.steps.append((step, line))
        reply = self.script[step](count, line) if step in self.script else ...
        if reply is None:
            raise ConnectionError
        return reply

    def _answer(self, connection, step, line, standard, message=None):
        """Says it and returns it; a message that is taken by it is there when the relay hears so."""
        reply = self._reply_to(step, line)
        text = reply if isinstance(reply, str) else getattr(reply, "says", standard)
        if message is not None and text.startswith("250"):
            with self.lock:
                self.messages.append(message)
        if callable(reply):
            reply(connection, standard)
        else:
            connection.sendall(text.encode() + b"\r\n")
        return text

    def _secure(self, connection):
        return self.tls.wrap_socket(connection, server_side=True)

    def _serve(self, connection):
        try:
            if self.implicit:
                connection = self._secure(connection)
            with connection.makefile("rb") as lines:
                self._talk(connection, lines)
        except (OSError, ConnectionError, ValueError):
            pass
        finally:
            with self.lock:
                self.now_open -= 1  # the relay, which waits for the end, has not opened another one yet
            connection.close()

    def _talk(self, connection, lines):
        self._answer(connection, "banner", "", "220 sink.example ESMTP")
        sender, recipients = None, []
        while True:
            line = lines.readline()
            if not line:
                return
            text = line.decode("latin-1").rstrip("\r\n")
            verb = text[:4].upper()
            if verb == "EHLO":
                offers = ["sink.example", *self.offers]
                if self.tls and not isinstance(connection, ssl.SSLSocket):
                    offers.append("STARTTLS")
                self._answer(connection, "EHLO", text,
                             "".join(f"250-{offer}\r\n" for offer in offers[:-1]) + "250 " + offers[-1])
            elif verb == "STAR":
                reply = self._answer(connection, "STARTTLS", text, "220 2.0.0 go")
                if reply.startswith("220"):
                    connection = self._secure(connection)
                    lines = connection.makefile("rb")
            elif verb == "AUTH":
                self._log_in(connection, lines, text)
            elif verb == "MAIL":
                reply = self._answer(connection, "MAIL", text, "250 2.1.0 ok")
                sender, recipients = text.split(":", 1)[1].split()[0].strip("<>"), []
                if not reply.startswith("2"):
                    sender = None
            elif verb == "RCPT":
                reply = self._answer(connection, "RCPT", text,
                                     "503 5.5.1 MAIL first" if sender is None else "250 2.1.5 ok")
                if reply.startswith("2"):
                    recipients.append(text.split(":", 1)[1].split()[0].strip("<>"))
            elif verb == "DATA":
                reply = self._answer(connection, "DATA", text,
                                     "354 go" if recipients else "554 5.5.1 no recipients")
                if reply.startswith("354"):
                    raw = self._data(lines)
                    with self.lock:
                        self.contents.append(raw)
                    self._answer(connection, "dot", "", "250 2.0.0 taken", (sender, recipients, raw))
                recipients = []
            elif verb == "QUIT":
                self._answer(connection, "QUIT", text, "221 2.0.0 bye")
                return
            else:
                self._answer(connection, verb, text, "250 2.0.0 ok")

    def _log_in(self, connection, lines, text):
        """AUTH PLAIN with its response, or the three steps of LOGIN."""
        usual = ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 2.7.0 in"]
        for standard in usual[2:] if " PLAIN " in text else usual:
            if not self._answer(connection, "AUTH", text, standard).startswith("334"):
                return
            text = lines.readline().decode().rstrip("\r\n")

    @staticmethod
    def _data(lines):
        raw = bytearray()
        while True:
            line = lines.readline()
            if not line:
                raise ConnectionError
            if line == b".\r\n":
                return bytes(raw)
            raw += line

    def wait(self, count):
        """The messages once there are `count` of them."""
        wait_for(lambda: len(self.messages) >= count, f"{count} message(s) at the upstream")
        return self.messages

    def drop(self):
        """Ends the connections that are open now."""
        with self.lock:
            for connection in self.open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self.open.clear()

    def close(self):
        """The thread must have left accept() before the listener's number is free: else it may go on accepting
        from the next Sink's."""
        if self.acceptor.is_alive():
            self.listener.shutdown(socket.SHUT_RDWR)
            self.acceptor.join()
        self.listener.close()
        self.drop()
