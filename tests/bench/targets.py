"""What is measured: a sink that stores nothing, Postfix, Latchpost; and the sink they relay to.

Each is started for one row and stopped behind it, in a directory of its own, on free ports of
127.0.0.1. Only processes started here are ever ended."""

import json
import os
import select
import shutil
import socket
import subprocess
import time

import machine

SENDER_DOMAIN = "bench.example"


class Failure(Exception):
    """Why a target cannot be measured, for a person."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process, seconds=20, greets=True):
    """Until it greets, or only listens. `process`: what should have opened it, or None."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise Failure(f"ended with code {process.returncode} at the start")
        try:
            with socket.create_connection(("127.0.0.1", port), 2) as connection:
                connection.settimeout(5)
                if not greets or connection.recv(1):
                    return
        except OSError:
            pass
        time.sleep(0.02)
    raise Failure(f"no greeting on port {port} within {seconds} s")


def run(*command):
    """A command that must succeed; its output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise Failure(f"{' '.join(command[:4])} ...: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def stop_process(process, seconds=40):
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Sink:
    """The upstream of a relay: counts and checks what arrives."""

    def __init__(self, tools, *options):
        self.process = subprocess.Popen([os.path.join(tools, "sink"), *options], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        ready = self._answer(10)
        self.port = ready["port"]

    def _answer(self, seconds):
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise Failure("the sink does not answer")
        line = self.process.stdout.readline()
        if not line:
            raise Failure("the sink ended")
        return json.loads(line)

    def ask(self, command, seconds=10):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._answer(seconds)

    def begin(self, number):
        self.ask(f"begin {number}")

    def wait(self, count, seconds):
        return self.ask(f"wait {count} {int(seconds * 1000)}", seconds + 10)

    def open(self):
        if not self.ask("open").get("open"):
            raise Failure("the sink cannot listen")

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            stop_process(self.process)
        self.process.stdout.close()


class Floor:
    """Client and socket without a relay: what no server on this machine can beat."""

    name = "floor"
    speaks_http = False
    sink = None  # it relays nothing

    def __init__(self, settings, directory, paused):
        self.password_file = write_file(directory, "password", "any\n")
        self.server = Sink(settings.tools, "--discard", "--tls")
        self.port = self.starttls_port = self.server.port
        self.pid = self.server.process.pid

    def cpu_s(self):
        return machine.process_cpu_s(self.pid)

    def stop(self):
        self.server.stop()


def write_file(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o600)
    return path


class Latchpost:
    """The relay under test, at its defaults, with a key made for it."""

    name = "Latchpost"
    speaks_http = True
    under = ()  # the command of a tool that runs it

    def __init__(self, settings, directory, paused):
        self.relay = settings.relay
        self.process = self.sink = None
        self.port, self.starttls_port, self.http_port = free_port(), free_port(), free_port()
        try:
            self.sink = Sink(settings.tools, *(["--closed"] if paused else []))
            self.config = write_file(directory, "latchpost.conf", self._config(directory))
            run(self.relay, "domain", "add", "-c", self.config, SENDER_DOMAIN)
            key = run(self.relay, "key", "create", "-c", self.config, "--name", "bench",
                      "--domain", SENDER_DOMAIN)
            self.password_file = write_file(directory, "password", key)
            with open(os.path.join(directory, "log"), "w") as log:
                self.process = subprocess.Popen([*self.under, self.relay, "serve", "-c", self.config],
                                                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self.pid = self.process.pid
            wait_for_port(self.port, self.process)
            wait_for_port(self.starttls_port, self.process)
            wait_for_port(self.http_port, self.process, greets=False)
        except BaseException:
            self.stop()
            raise

    def _config(self, directory):
        return f"""hostname = "latchpost.bench.example"
state_dir = "{directory}/state"
limits {{ sessions = 20000 }}
listener "plain" {{
    address = "127.0.0.1"
    port = {self.port}
    tls = "none"
    auth_without_tls = true
}}
listener "starttls" {{
    address = "127.0.0.1"
    port = {self.starttls_port}
    tls = "starttls"
}}
http {{
    address = "127.0.0.1"
    port = {self.http_port}
    tls = "none"
}}
upstream "sink" {{
    host = "127.0.0.1"
    port = {self.sink.port}
    tls = "none"
}}
"""

    def cpu_s(self):
        return machine.process_cpu_s(self.pid)

    def retry(self):
        """Deliver now what waits for its next attempt."""
        run(self.relay, "queue", "retry", "-c", self.config, "--all")

    def stop(self):
        stop_process(self.process)
        if self.sink is not None:
            self.sink.stop()


class Postfix:
    """An instance of its own, tuned as its documentation advises for a busy relay. AUTH asks the
    sink, over Dovecot's protocol, which says yes at once. The certificate is P-256, as Latchpost's
    own; each message is synced to disk by cleanup(8), as by default."""

    name = "Postfix"
    speaks_http = False

    def __init__(self, settings, directory, paused):
        self.directory = directory
        self.sink = None
        self.started = False
        self.port = self.starttls_port = free_port()
        if shutil.which("postfix") is None or os.geteuid() != 0:
            raise Failure("it needs the postfix package, and root to start an instance")
        try:
            self.sink = Sink(settings.tools, "--sasl", os.path.join(directory, "sasl"),
                             *(["--closed"] if paused else []))
            self.password_file = write_file(directory, "password", "any\n")
            self._write_config()
            run("postfix", "-c", self._path("etc"), "start")
            self.started = True
            wait_for_port(self.port, None)
            with open(self._path("queue/pid/master.pid")) as file:
                self.pid = int(file.read())
        except BaseException:
            self.stop()
            raise

    def _path(self, name):
        return os.path.join(self.directory, name)

    def _write_config(self):
        for name in ("etc", "queue", "data"):
            os.mkdir(self._path(name), 0o755)
        shutil.chown(self._path("data"), "postfix")
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=postfix.bench.example",
            "-keyout", self._path("etc/key.pem"), "-out", self._path("etc/cert.pem"))
        write_file(self._path("etc"), "main.cf", MAIN_CF.format(
            queue=self._path("queue"), data=self._path("data"), etc=self._path("etc"),
            sasl=self._path("sasl"), upstream=self.sink.port))
        write_file(self._path("etc"), "master.cf", MASTER_CF.format(port=self.port))
        os.chmod(self._path("etc/main.cf"), 0o644)
        os.chmod(self._path("etc/master.cf"), 0o644)

    def cpu_s(self):
        return machine.family_cpu_s(self.pid)

    def retry(self):
        run("postqueue", "-c", self._path("etc"), "-f")

    def stop(self):
        if self.started:
            subprocess.run(["postfix", "-c", self._path("etc"), "stop"], capture_output=True,
                           timeout=60)
            self.started = False
        if self.sink is not None:
            self.sink.stop()


MAIN_CF = """compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
myhostname = postfix.bench.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
relayhost = [127.0.0.1]:{upstream}
smtp_dns_support_level = disabled
smtp_tls_security_level = none
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {sasl}
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_tls_security_level = may
smtpd_tls_cert_file = {etc}/cert.pem
smtpd_tls_key_file = {etc}/key.pem
default_process_limit = 1200
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_timeout = 300s
default_destination_concurrency_limit = 40
initial_destination_concurrency = 20
in_flow_delay = 0
syslog_name = bench
"""

MASTER_CF = """{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

ALL = (Floor, Postfix, Latchpost)
