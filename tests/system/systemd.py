"""Under systemd: what the relay tells it, the sockets and credentials it is given, the unit that is shipped. systemd is
played by this file."""
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

from support.cases import case, run
from support.relay import PATIENCE_S, ROOT, Client, Relay, is_sanitized, wait_for

USER = 54321  # nobody
UNIT = os.path.join(ROOT, "conf/latchpost.service")


class Manager:
    """The end of NOTIFY_SOCKET that systemd has."""

    def __init__(self, abstract=False):
        self.folder = tempfile.mkdtemp(prefix="latchpost-notify-")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.name = "@" + self.folder if abstract else self.folder + "/notify"
        self.socket.bind(self.name.replace("@", "\0"))
        self.socket.settimeout(PATIENCE_S)

    def hear(self):
        """One message: {"READY": "1", ...}."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().split("\n"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        shutil.rmtree(self.folder)


def give_sockets(sockets):
    """For preexec_fn: these become 3, 4 ..."""
    def prepare():
        high = [os.dup2(s.fileno(), 100 + i) for i, s in enumerate(sockets)]
        for i, number in enumerate(high):
            os.dup2(number, 3 + i)
            os.close(number)
        os.environ["LISTEN_PID"] = str(os.getpid())
    return prepare


def start(relay, sockets=(), env=None):
    """Like relay.start(), with what systemd gives; the process closes what it was not given."""
    relay.write_config()
    given = {**(env or {}), **({"LISTEN_FDS": str(len(sockets))} if sockets else {})}
    words = [relay.binary, "serve", "-c", relay.config]
    before = len(relay.log())
    saved = dict(os.environ)
    os.environ.update(given)  # and not env=, so that LISTEN_PID can be added by the child
    try:
        with open(relay.log_path, "ab") as log:
            relay.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=not sockets,
                preexec_fn=give_sockets(sockets) if sockets else None)
    finally:
        os.environ.clear()
        os.environ.update(saved)
    wait_for(lambda: "event=ready" in relay.log()[before:] or relay.process.poll() is not None, "the relay")
    return relay.process.poll() is None


def listening(address="127.0.0.1", family=socket.AF_INET):
    made = socket.socket(family)
    made.bind((address, 0))
    made.listen(64)
    return made


# --- what it is told ---------------------------------------------------------------------------------


@case
def the_manager_hears_of_start_reload_and_stop():
    for abstract in (False, True):
        with Manager(abstract) as manager, Relay(start=False) as relay:
            assert start(relay, env={"NOTIFY_SOCKET": manager.name})
            told = manager.hear()
            assert told["READY"] == "1" and "3 listener(s)" in told["STATUS"], told
            relay.process.send_signal(signal.SIGHUP)
            told = manager.hear()
            assert told["RELOADING"] == "1" and int(told["MONOTONIC_USEC"]) > 0, told
            assert manager.hear()["READY"] == "1"
            relay.settings = "no_such_setting = 1"
            relay.write_config()
            relay.process.send_signal(signal.SIGHUP)
            assert manager.hear()["RELOADING"] == "1"
            told = manager.hear()
            assert told["READY"] == "1" and "no_such_setting" in told["STATUS"], told
            relay.process.send_signal(signal.SIGTERM)
            told = manager.hear()
            assert told["STOPPING"] == "1" and int(told["EXTEND_TIMEOUT_USEC"]) >= 30_000_000, told
            assert relay.process.wait(PATIENCE_S) == 0


@case
def nothing_is_ready_that_cannot_start():
    with Manager() as manager, Relay('fence = "off"', start=False) as relay, listening() as taken:
        relay.ports["local"] = taken.getsockname()[1]
        assert not start(relay, env={"NOTIFY_SOCKET": manager.name})
        relay.process = None
        manager.socket.setblocking(False)
        try:
            raise AssertionError(manager.hear())
        except BlockingIOError:
            pass


@case
def the_watchdog_is_fed_at_half_of_its_time():
    with Manager() as manager, Relay(start=False) as relay:
        assert start(relay, env={"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "100000"})
        assert manager.hear()["READY"] == "1"
        for _ in range(3):
            assert manager.hear() == {"WATCHDOG": "1"}


@case
def the_watchdog_of_another_process_is_not_fed():
    with Manager() as manager, Relay(start=False) as relay:
        assert start(relay, env={"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "1000",
                                 "WATCHDOG_PID": str(os.getpid())})
        assert manager.hear()["READY"] == "1"
        relay.process.send_signal(signal.SIGHUP)
        assert "RELOADING" in manager.hear()


@case
def a_manager_that_cannot_be_told_is_no_reason_not_to_serve():
    for name in ("relative", "/nonexistent/notify", "@" + "x" * 200):
        with Relay(start=False) as relay:
            assert start(relay, env={"NOTIFY_SOCKET": name})
            relay.session(relay.key()).submit()


# --- sockets -----------------------------------------------------------------------------------------


@case
def sockets_are_found_by_their_names():
    with Relay('http { port = 1 tls = "none" }', start=False) as relay, \
            listening() as one, listening() as two, listening() as web, listening() as local:
        names = {"LISTEN_FDNAMES": "submission:submission:http:local"}
        assert start(relay, [one, two, web, local], names)
        key = relay.key()
        for given in (one, two):
            Client(given.getsockname()[1]).hello(key).submit()
        Client(local.getsockname()[1]).hello(key).submit()
        relay.client("submissions", timeout=PATIENCE_S).hello(key).submit()  # which it bound itself
        with socket.create_connection(web.getsockname(), PATIENCE_S) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert relay.log().count("event=inherited ") == 4, relay.log()
        relay.sink.wait(4)


@case
def sockets_without_a_name_of_ours_are_found_by_their_address():
    with Relay(start=False) as relay, listening() as given, listening() as stray:
        relay.ports["submission"] = given.getsockname()[1]
        assert start(relay, [given, stray], {"LISTEN_FDNAMES": "latchpost.socket:latchpost.socket"})
        relay.session(relay.key()).submit()
        port = stray.getsockname()[1]
        assert re.search(f"event=inherited_unused .*port={port}", relay.log()), relay.log()


@case
def all_workers_serve_one_socket_and_it_outlives_the_relay():
    with Relay(workers=4, start=False) as relay, listening() as given:
        relay.ports["local"] = given.getsockname()[1]
        names = {"LISTEN_FDNAMES": "local"}
        assert start(relay, [given], names)
        key = relay.key()
        clients = [relay.client("local") for _ in range(40)]
        for client in clients:
            client.hello(key, starttls=False).submit()
        relay.sink.wait(40)
        for client in clients:
            client.close()
        assert relay.stop() == 0
        waiting = relay.client("local")  # while nobody serves
        assert start(relay, [given], names)
        waiting.hello(key, starttls=False).submit()
        relay.sink.wait(41)


@case
def a_listener_comes_and_goes_with_its_socket():
    with Relay(start=False) as relay, listening() as given:
        extra = 'listener "extra" { address = "127.0.0.1" port = 1 tls = "none" }'
        relay.settings = extra
        assert start(relay, [given], {"LISTEN_FDNAMES": "extra"})
        port = given.getsockname()[1]
        Client(port).expect(220)
        for settings, event in (("", 1), (extra, 2)):
            relay.settings = settings
            relay.write_config()
            relay.process.send_signal(signal.SIGHUP)
            wait_for(lambda: relay.log().count("event=reloaded") == event, "the reload")
        Client(port).expect(220)


@case
def a_socket_that_others_reach_does_not_get_keys_in_the_clear():
    for name, settings in (("local", ""), ("http", 'http { port = 1 tls = "none" }')):
        with Relay(settings, start=False) as relay, listening("0.0.0.0") as given:
            assert not start(relay, [given], {"LISTEN_FDNAMES": name})
            relay.process = None
            assert "in the clear" in relay.log(), relay.log()


@case
def what_is_no_listening_socket_stops_the_start():
    with Relay(start=False) as relay, socket.socket() as deaf:
        assert not start(relay, [deaf], {"LISTEN_FDNAMES": "local"})
        relay.process = None
        assert "is not a TCP socket that listens" in relay.log(), relay.log()


@case
def sockets_of_another_process_are_left_alone():
    with Relay(start=False) as relay:
        assert start(relay, env={"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "local"})
        relay.session(relay.key()).submit()


# --- credentials -------------------------------------------------------------------------------------


@case
def credentials_are_named_by_their_folder():
    with Relay(start=False) as relay:
        secrets = os.path.join(relay.folder, "credentials")
        os.mkdir(secrets)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=credential.example", "-keyout", secrets + "/tls.key",
                        "-out", relay.folder + "/tls.pem"], check=True, capture_output=True)
        for name, content in (("password", b"secret of the provider\n"), ("pepper", os.urandom(32))):
            with open(os.path.join(secrets, name), "wb") as file:
                file.write(content)
        for name in os.listdir(secrets):
            os.chmod(os.path.join(secrets, name), 0o400)
        relay.upstream = (f'upstream "sink" {{ host = "127.0.0.1" port = {relay.sink.port} tls = "none" '
                          'username = "u" password_file = "${CREDENTIALS_DIRECTORY}/password" }')
        relay.settings = (f'tls {{ certificate = "{relay.folder}/tls.pem" key = "${{CREDENTIALS_DIRECTORY}}/tls.key" }}\n'
                          'pepper_file = "${CREDENTIALS_DIRECTORY:-/nonexistent}/pepper"\n')
        relay.sink.offers = (*relay.sink.offers, "AUTH PLAIN")
        relay.env = {"CREDENTIALS_DIRECTORY": secrets}
        relay.start()
        relay.session(relay.key()).submit()
        relay.sink.wait(1)
        assert any(step == "AUTH" for step, _ in relay.sink.steps)
        assert not os.path.exists(os.path.join(relay.state, "pepper"))
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "event=reloaded" in relay.log(), "the reload")


# --- the unit ----------------------------------------------------------------------------------------


def unit_settings():
    with open(UNIT) as file:
        return [line.strip().split("=", 1) for line in file if "=" in line and not line.startswith("#")]


@case
def the_unit_exposes_little():
    said = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT], capture_output=True,
                          text=True, timeout=PATIENCE_S).stdout
    exposure = float(re.search(r"Overall exposure level for latchpost.service: ([0-9.]+)", said).group(1))
    assert exposure <= 1.5, said


@case
def the_units_are_understood():
    """Copies, since the programs may not be installed where the unit expects them."""
    with Relay(start=False) as relay:
        for name in ("latchpost.service", "latchpost.socket"):
            with open(os.path.join(ROOT, "conf", name)) as file:
                text = re.sub("/usr/local/bin/latchpost|/bin/kill", "/bin/true", file.read())
            with open(os.path.join(relay.folder, name), "w") as file:
                file.write(text)
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", relay.folder + "/latchpost.service",
                               relay.folder + "/latchpost.socket"], capture_output=True, text=True, timeout=PATIENCE_S)
        said = [line for line in done.stderr.splitlines() if "latchpost" in line]
        assert not said, done.stderr


def expand(name):
    """The system calls behind @group."""
    if not name.startswith("@"):
        return {name}
    said = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True,
                          timeout=PATIENCE_S, check=True).stdout
    words = [line.strip() for line in said.splitlines()[1:]]
    return set().union(*(expand(word) for word in words if word and not word.startswith("#")))


def unit_filter():
    """A function for preexec_fn that puts up the unit's SystemCallFilter."""
    allowed = expand("@default")
    for name, value in unit_settings():
        if name == "SystemCallFilter":
            names = set().union(*(expand(word) for word in value.lstrip("~").split()))
            allowed = allowed - names if value.startswith("~") else allowed | names
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(0x00050000 | 1)))  # EPERM
    for name in allowed | {"execve"}:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number != -1:
            library.seccomp_rule_add(context, ctypes.c_uint32(0x7fff0000), number, 0)
    return lambda: library.seccomp_load(context)


@case
def the_relay_works_with_the_system_calls_of_the_unit():
    if is_sanitized():
        return  # their reports need more
    with Relay(start=False) as relay:
        relay.write_config()
        close_calls = unit_filter()

        def prepare():
            if os.getuid() == 0:  # a unit has a user, and by that no capabilities
                os.setgroups([])
                os.setgid(USER)
                os.setuid(USER)
            close_calls()

        binary = relay.binary
        if os.getuid() == 0:
            binary = shutil.copy(binary, relay.folder)  # where it was built may be closed to others
            for path in (relay.folder, relay.config, binary):
                os.chown(path, USER, USER)
        with open(relay.log_path, "ab") as log:
            relay.process = subprocess.Popen([binary, "serve", "-c", relay.config], stdout=log, stderr=log,
                                             preexec_fn=prepare)
        wait_for(lambda: "event=ready" in relay.log() or relay.process.poll() is not None, "the relay")
        assert "fence=no_new_privs" in relay.log() and "seccomp" in relay.log(), relay.log()
        relay.session(relay.key()).submit()
        relay.sink.wait(1)


run()
