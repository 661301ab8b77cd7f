"""The real binary under test: a relay in a temporary folder, on free loopback ports.

    with Relay() as relay:
        key = relay.key("good.example")
        client = relay.client("submission")       # a Client, greeting read
        ...
        relay.sink.messages                       # what reached the upstream, raw

Its upstream is a Sink (sink.py), which tests find here, too. Only processes started here are ended, by pid.
"""
import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import weakref

from support.patience import PATIENCE_S, wait_for
from support.sink import Sink

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.environ.get("LATCHPOST", os.path.join(ROOT, "latchpost"))


def is_sanitized(binary=BINARY):
    """Then its memory and speed say little about ours."""
    with open(binary, "rb") as program:
        return re.search(b"__(asan|tsan)_init", program.read()) is not None


def own_address():
    """An address of this machine that is not loopback, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if address.startswith("127.") else address


def hold_port(address="127.0.0.1"):
    """A socket on a free port that nobody else is given while it is open. As it does not listen, a relay
    can still take the port for itself."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind((address, 0))
    return holder


def trusting_context():
    """For a client that believes any certificate. (A context with the system's CAs takes 20 ms to make.)"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    """One client connection that speaks lines; keeps all that was sent and received."""

    def __init__(self, port, implicit_tls=False, timeout=None, source=None, host="127.0.0.1"):
        self.sock = socket.create_connection((host, port), timeout or PATIENCE_S, source and (source, 0))
        self.buffer = b""
        self.transcript = []
        if implicit_tls:
            self.start_tls()

    def start_tls(self, context=None):
        self.sock = (context or trusting_context()).wrap_socket(self.sock, server_hostname="localhost")

    def send(self, data):
        if isinstance(data, str):
            data = data.encode()
        self.transcript.append(("C", data))
        self.sock.sendall(data)

    def line(self, data):
        self.send((data.encode() if isinstance(data, str) else data) + b"\r\n")

    def read_line(self):
        """One line without its CRLF, or None at the end of the connection."""
        while b"\r\n" not in self.buffer:
            try:
                more = self.sock.recv(65536)
            except ConnectionResetError:
                more = b""
            except ssl.SSLError:
                more = b""
            if not more:
                return None
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        self.transcript.append(("S", line))
        return line.decode("latin-1")

    def reply(self):
        """One whole reply: (code, [lines]); (None, []) at the end of the connection."""
        lines = []
        while True:
            line = self.read_line()
            if line is None:
                return None, lines
            lines.append(line)
            if len(line) < 4 or line[3] != "-":
                return int(line[:3]), lines

    def ask(self, command):
        self.line(command)
        return self.reply()

    def expect(self, code, command=None):
        """Sends a command, if given, and asserts the start of the reply ("250", "550 5.7.1")."""
        if command is not None:
            self.line(command)
        got, lines = self.reply()
        want = str(code)
        if got is None or not lines[-1].startswith(want):
            raise AssertionError(f"{command!r}: want {want!r}, got {got} {lines!r}")
        return lines

    def is_closed(self):
        """True when the server closes; False when it sends something instead."""
        return self.read_line() is None

    def hello(self, key=None, starttls=True):
        """Greeting, EHLO, STARTTLS where it is offered and wanted, EHLO, and AUTH where a key is given."""
        self.expect(220)
        offers = self.expect(250, "EHLO client.example")
        if starttls and any(line[4:] == "STARTTLS" for line in offers):
            self.expect(220, "STARTTLS")
            self.start_tls()
            self.expect(250, "EHLO client.example")
        if key is not None:
            self.expect("235 2.7.0", "AUTH PLAIN " + plain(key))
        return self

    def submit(self, body="b\r\n", sender="a@good.example", recipients=("r@dest.example",), author=None):
        """One message with From (`author`, or the sender), To and this body, which is given unstuffed; its id."""
        self.expect("250 2.1.0", f"MAIL FROM:<{sender}>")
        for recipient in recipients:
            self.expect("250 2.1.5", f"RCPT TO:<{recipient}>")
        self.expect(354, "DATA")
        body = body.encode() if isinstance(body, str) else body
        header = f"From: {author or sender}\r\nTo: {recipients[0]}\r\n\r\n".encode()
        self.send(header + re.sub(rb"(?m)^\.", b"..", body) + b".\r\n")
        return self.expect("250 2.0.0")[-1].split()[-1]

    def close(self):
        self.sock.close()


def plain(key, user="any"):
    return base64.b64encode(f"\0{user}\0{key}".encode()).decode()


class Relay:
    """A relay with listeners submission (STARTTLS), submissions (TLS) and local (plain, AUTH allowed), and
    by default a Sink as its upstream. `settings`: more text for the configuration's top level."""

    def __init__(self, settings="", upstream=None, sink=True, workers=2, start=True,
                 binary=None, env=None):
        self.binary = binary or BINARY
        self.folder = tempfile.mkdtemp(prefix="latchpost-test-")
        self.state = os.path.join(self.folder, "state")
        self.config = os.path.join(self.folder, "latchpost.conf")
        self.log_path = os.path.join(self.folder, "log")
        self.log_seen = 0
        self.clients = weakref.WeakSet()
        self.sink = Sink() if sink and upstream is None else None
        self.settings = settings
        self.upstream = upstream
        self.workers = workers
        self.env = env
        self.process = None
        self.holders = {name: hold_port() for name in ("submission", "submissions", "local")}
        self.ports = {name: holder.getsockname()[1] for name, holder in self.holders.items()}
        if start:
            self.start()

    def write_config(self):
        upstream = self.upstream
        settings, patience = self.settings, ""
        if "limits {" not in settings:
            patience = "limits { tarpit = 1ms }"
        elif "tarpit" not in settings:  # few tests are about it, and many guess
            settings = settings.replace("limits {", "limits { tarpit = 1ms")
        if upstream is None and self.sink is not None:
            upstream = (f'upstream "sink" {{ host = "127.0.0.1" port = {self.sink.port} '
                        'tls = "none" }')
        text = f"""
hostname = "relay.example"
state_dir = "{self.state}"
log_level = "debug"
workers = {self.workers}
listener "submission" {{ address = "127.0.0.1" port = {self.ports['submission']} tls = "starttls" }}
listener "submissions" {{ address = "127.0.0.1" port = {self.ports['submissions']} tls = "implicit" }}
listener "local" {{
    address = "127.0.0.1" port = {self.ports['local']} tls = "none" auth_without_tls = true
}}
{upstream or ''}
{patience}
{settings}
"""
        with open(self.config, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(text)

    def start(self, must=True):
        """Starts it and waits until it is ready; None when it did not come up, and need not."""
        self.write_config()
        with open(self.log_path, "ab") as log:
            before = log.tell()
            self.process = subprocess.Popen(
                [self.binary, "serve", "-c", self.config], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env={**os.environ, **(self.env or {})})
        if wait_for(lambda: self._is_up(before), "the relay to be ready\n" + self.config) != "ready":
            said = self.log()[before:]
            if not must:
                self.process.wait(PATIENCE_S)
                self.process = None
                return None
            self.close()
            raise AssertionError("the relay did not start:\n" + said)
        return self

    def _is_up(self, before):
        text = self.log()[before:]
        if "event=ready" in text or '"event":"ready"' in text:
            return "ready"
        return "gone" if self.process.poll() is not None else None

    def log(self):
        if not os.path.exists(self.log_path):
            return ""  # it was never started
        with open(self.log_path, "rb") as file:
            return file.read().decode("latin-1")

    def new_log(self):
        """The lines that were written since the last call."""
        with open(self.log_path, "rb") as file:
            file.seek(self.log_seen)
            lines = file.read()
        lines = lines[:lines.rfind(b"\n") + 1]
        self.log_seen += len(lines)
        return lines.decode("latin-1")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cli(self, *words, check=True, input=None):
        """Runs `latchpost WORDS -c CONFIG`; a CompletedProcess with text output."""
        if not os.path.exists(self.config):
            self.write_config()
        done = subprocess.run([self.binary, *words, "-c", self.config], text=True, input=input,
                              capture_output=True, timeout=PATIENCE_S,
                              env={**os.environ, **(self.env or {})})
        if check and done.returncode != 0:
            raise AssertionError(f"{words}: exit {done.returncode}: {done.stderr}{done.stdout}")
        return done

    def json(self, *words):
        return json.loads(self.cli(*words, "--json").stdout)

    def key(self, domain="good.example", *words):
        """A new key for this domain: the text of it."""
        return self.cli("key", "create", "--name", "test", "--domain", domain, *words).stdout.strip()

    def queue(self):
        """{id: state} of everything the queue knows."""
        return {row["id"]: row["state"] for row in self.json("queue", "list")["data"]}

    def story(self, name):
        """All that is known of one message."""
        return self.json("queue", "show", name)["data"]

    def api(self, path):
        """What the control socket answers to GET: `story` and `json` without a process for each question."""
        connection = http.client.HTTPConnection("localhost", timeout=PATIENCE_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(connection):
            connection.sock.connect(os.path.join(self.state, "control.sock"))
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())["data"]

    def wait_state(self, name, state):
        """Its story, once it is in this state."""
        return wait_for(lambda: (told := self.story(name))["state"] == state and told,
                        f"{name} to be {state}")

    def client(self, door="submission", **options):
        client = Client(self.ports[door], implicit_tls=door == "submissions", **options)
        self.clients.add(client)
        return client

    def session(self, key, door="submission", **options):
        """A client that is logged in."""
        return self.client(door, **options).hello(key)

    def stop(self, how=signal.SIGTERM):
        """Ends it; the exit code (negative: the signal)."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            code = self.process.wait(PATIENCE_S + 30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the relay did not stop:\n" + self.log()[-4000:])
        self.process = None
        return code

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        try:
            if kind is None:
                self.finish()
            else:
                print("--- log of the relay ---\n" + self.log()[-6000:])
        finally:
            self.close()

    def close(self):
        """Lets nothing of it remain, whatever state it is in."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        if self.sink is not None:
            self.sink.close()
        for holder in self.holders.values():
            holder.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def finish(self):
        """Stops it and asserts that it went well: exit 0, no sanitizer report. Clients leave before: it would
        wait for them."""
        for client in self.clients:
            client.close()
        code = self.stop()
        log = self.log()
        for word in ("ERROR: AddressSanitizer", "runtime error:", "WARNING: ThreadSanitizer",
                     "ERROR: LeakSanitizer", "Assertion"):
            assert word not in log, log[max(0, log.find(word) - 200):][:4000]
        assert code in (None, 0), f"exit code {code}\n" + log[-4000:]
