"""Name servers for tests, on loopback: dnsmasq as an independent judge, and one that says what a test wants."""
import os
import shutil
import socket
import struct
import subprocess
import threading

from support.relay import hold_port, wait_for

TXT, CNAME = 16, 5
DNSMASQ = shutil.which("dnsmasq") or "/usr/sbin/dnsmasq"


class Dnsmasq:
    """dnsmasq with these records: {name: [record, ...]}, a record is a text or a list of its strings."""

    def __init__(self, records=None):
        self.holder = hold_port()
        self.port = self.holder.getsockname()[1]
        self.process = None
        self.set(records or {})

    def set(self, records):
        self.stop()
        texts = [f"--txt-record={name}," + ",".join([record] if isinstance(record, str) else record)
                 for name, all_of_it in records.items() for record in all_of_it]
        self.process = subprocess.Popen(
            [DNSMASQ, "--keep-in-foreground", "--conf-file=/dev/null", f"--port={self.port}", "--no-resolv",
             "--no-hosts", "--listen-address=127.0.0.1", "--bind-interfaces", "--local=/#/",
             "--pid-file", *(["--user=root"] if os.geteuid() == 0 else []), *texts],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._answers, "dnsmasq to answer")

    def _answers(self):
        assert self.process.poll() is None, "dnsmasq does not start"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.2)
            sock.connect(("127.0.0.1", self.port))
            try:
                sock.send(struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + name_bytes("up.example")
                          + struct.pack(">2H", TXT, 1))
                return sock.recv(512)
            except OSError:
                return None

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.holder.close()


def name_bytes(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


class Question:
    def __init__(self, packet):
        self.packet = packet
        self.id, = struct.unpack(">H", packet[:2])
        labels, at = [], 12
        while packet[at]:
            labels.append(packet[at + 1:at + 1 + packet[at]].decode())
            at += 1 + packet[at]
        self.name = ".".join(labels)
        self.section = packet[12:at + 5]


def texts(*records):
    """Resource records for the name of the question: a record is a bytes, or a list of its strings."""
    rows = []
    for record in records:
        strings = [record] if isinstance(record, bytes) else record
        rows.append((b"\xc0\x0c", TXT, b"".join(bytes([len(s)]) + s for s in strings)))
    return rows


def reply(question, rows=(), code=0, flags=0x8180, id=None, section=None):
    """A whole answer to this question."""
    body = b"".join(owner + struct.pack(">HHIH", kind, 1, 60, len(data)) + data for owner, kind, data in rows)
    head = struct.pack(">6H", question.id if id is None else id, flags | code, 1, len(rows), 0, 0)
    return head + (question.section if section is None else section) + body


class Scripted:
    """Answers by script(question, by_tcp) -> list of packets; counts what it was asked."""

    def __init__(self, script):
        self.script, self.asked, self.asked_by_tcp = script, 0, 0
        while True:
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.bind(("127.0.0.1", 0))
            self.port = self.udp.getsockname()[1]
            self.tcp = socket.socket()
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self.tcp.bind(("127.0.0.1", self.port))
                break
            except OSError:
                self.udp.close()
                self.tcp.close()
        self.tcp.listen()
        self.closing = False
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self._udp, self._tcp)]
        for thread in self.threads:
            thread.start()

    def _udp(self):
        while True:
            packet, peer = self.udp.recvfrom(4096)
            if self.closing:
                return
            self.asked += 1
            for answer in self.script(Question(packet), False):
                self.udp.sendto(answer, peer)

    def _tcp(self):
        while True:
            connection, _ = self.tcp.accept()
            if self.closing:
                connection.close()
                return
            self.asked_by_tcp += 1
            with connection:
                try:
                    connection.settimeout(5)
                    size, = struct.unpack(">H", connection.recv(2, socket.MSG_WAITALL))
                    question = Question(connection.recv(size, socket.MSG_WAITALL))
                    for answer in self.script(question, True):
                        connection.sendall(struct.pack(">H", len(answer)) + answer)
                    connection.recv(1)
                except (OSError, struct.error):
                    pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closing = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"end", ("127.0.0.1", self.port))
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in self.threads:
            thread.join()
        self.udp.close()
        self.tcp.close()
