"""One process lifetime: start, refuse to start, reload, drain, stop, revoke."""
import os
import random
import re
import signal
import socket
import sqlite3
import ssl
import stat
import subprocess
import threading

from support.cases import case, run
from support.relay import PATIENCE_S, Relay, hold_port, plain, wait_for

HEADER = b"From: a@good.example\r\nTo: r@dest.example\r\n\r\n"


def submit(client, body=b"b\r\n"):
    for code, command in ((250, "MAIL FROM:<a@good.example>"), (250, "RCPT TO:<r@dest.example>"), (354, "DATA")):
        client.expect(code, command)
    client.send(HEADER + body + b".\r\n")
    return client.expect("250 2.0.0")[-1].split()[-1]


def refused_start(relay):
    """Starts a relay that must not come up: exit code and what it said."""
    done = subprocess.run([relay.binary, "serve", "-c", relay.config], capture_output=True, text=True,
                          timeout=PATIENCE_S)
    assert done.returncode != 0, "it ended well"
    return done.returncode, done.stderr


@case
def the_state_directory_is_private_and_complete():
    with Relay() as relay:
        assert stat.S_IMODE(os.stat(relay.state).st_mode) == 0o700
        names = set(os.listdir(relay.state))
        assert {"keys.db", "queue.db", "pepper", "control.sock", "tls.pem", "tls.key"} <= names, names
        for name in names:
            assert stat.S_IMODE(os.stat(os.path.join(relay.state, name)).st_mode) & 0o077 == 0, name


@case
def keys_can_be_made_before_the_first_start_and_work_after_it():
    with Relay(start=False) as relay:
        key = relay.key()
        relay.start()
        submit(relay.session(key))
        relay.sink.wait(1)
        assert relay.stop() == 0
        assert [row["name"] for row in relay.json("key", "list")["data"]] == ["test"]
        assert list(relay.queue().values()) == ["delivered"]


@case
def a_second_daemon_on_the_same_state_says_one_line_and_ends():  # F-08
    with Relay() as relay:
        code, said = refused_start(relay)
        assert "in use by another latchpost" in said and said.count("\n") == 1, said
        submit(relay.session(relay.key()))


@case
def another_process_cannot_open_the_databases():  # F-07
    with Relay() as relay:
        for name in ("keys.db", "queue.db"):
            other = sqlite3.connect(os.path.join(relay.state, name), timeout=0)
            try:
                other.execute("SELECT * FROM sqlite_master").fetchall()
                raise AssertionError(name + " could be read")
            except sqlite3.OperationalError as refusal:
                assert "locked" in str(refusal)
            finally:
                other.close()
        submit(relay.session(relay.key()))


@case
def a_port_that_is_taken_is_named():
    with Relay(start=False) as relay, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        relay.ports["local"] = other.getsockname()[1]
        relay.write_config()
        code, said = refused_start(relay)
        assert "local" in said and str(relay.ports["local"]) in said, said


@case
def a_port_of_another_relay_is_not_shared():
    with Relay() as relay, Relay(start=False) as second:
        second.ports = relay.ports
        second.write_config()
        code, said = refused_start(second)
        assert "in use" in said, said


@case
def files_that_others_may_read_are_refused_by_name():
    for name in ("keys.db", "queue.db", "pepper", "tls.key"):
        with Relay() as relay:
            relay.key()
            assert relay.stop() == 0
            path = os.path.join(relay.state, name)
            os.chmod(path, 0o644)
            code, said = refused_start(relay)
            assert path in said, said
            os.chmod(path, 0o600)
            relay.start()


@case
def a_missing_or_foreign_pepper_is_noticed_at_start():
    with Relay() as relay:
        relay.key()
        assert relay.stop() == 0
        path = os.path.join(relay.state, "pepper")
        with open(path, "rb") as file:
            pepper = file.read()
        os.rename(path, path + ".away")
        assert path in refused_start(relay)[1]
        with open(path, "wb", opener=lambda p, f: os.open(p, f, 0o600)) as file:
            file.write(bytes(32))
        assert "pepper" in refused_start(relay)[1]
        with open(path, "wb") as file:
            file.write(pepper)
        relay.start()


@case
def a_damaged_database_is_never_replaced():  # F-09
    for name in ("keys.db", "queue.db"):
        with Relay() as relay:
            submit(relay.session(relay.key()))
            relay.sink.wait(1)
            assert relay.stop() == 0
            path = os.path.join(relay.state, name)
            with open(path, "rb") as file:
                good = file.read()
            for damage in (b"garbage!" * 64 + good[512:], good[:len(good) // 2]):
                with open(path, "wb") as file:
                    file.write(damage)
                assert path in refused_start(relay)[1]
                with open(path, "rb") as file:
                    assert file.read() == damage
            with open(path, "wb") as file:
                file.write(good)
            relay.start()


def damage_a_page(relay, path, good, page, rng):
    """What becomes of a relay one page of whose database is noise: "refused", "takes no mail" or "unharmed"."""
    with open(path, "wb") as file:
        file.write(good[:page * 4096] + rng.randbytes(4096) + good[(page + 1) * 4096:])
    if relay.start(must=False) is None:
        return "refused"
    relay.cli("queue", "retry", "--all", check=False)
    client = relay.session(relay.key(), "local")

    def outcome():
        if client.ask("MAIL FROM:<a@good.example>")[0] in (451, 452):
            return "takes no mail"
        client.expect(250, "RSET")
        listed = relay.cli("queue", "list", "--state", "deferred", check=False)
        return "unharmed" if (listed.returncode, listed.stdout.count("@")) == (0, 0) else None

    found = wait_for(outcome, f"the end of page {page}")
    client.close()
    assert relay.stop() == 0
    return found


@case
def a_damaged_page_ends_the_mail_and_never_makes_it_up():  # F-09
    rng = random.Random(9)
    for name in ("keys.db", "queue.db"):
        with Relay('retry { schedule = {"1h"} }') as relay:
            relay.sink.script = {"MAIL": lambda n, line: "451 4.3.0 not now"}
            client = relay.session(relay.key(), "local")
            names = {submit(client, b"k" * 70 + b"\r\n" + b"l" * 900 + b"\r\n") for _ in range(20)}
            wait_for(lambda: set(relay.queue().values()) == {"deferred"}, "an attempt for each")
            client.close()
            assert relay.stop() == 0
            relay.sink.script = {}
            path = os.path.join(relay.state, name)
            with open(path, "rb") as file:
                good = file.read()
            pages = range(1, len(good) // 4096)
            for page in pages if name == "keys.db" else rng.sample(pages, 6):
                before = len(relay.log())
                found = damage_a_page(relay, path, good, page, rng)
                assert found == "refused" or name == "queue.db", (page, found)
                if found != "unharmed":  # that page was nobody's
                    said = relay.log()[before:]
                    assert path in said and ("malformed" in said or "damaged" in said), said[-3000:]
            with open(path, "wb") as file:
                file.write(good)
            relay.start()
            relay.cli("queue", "retry", "--all", check=False)
            wait_for(lambda: relay.queue() == {one: "delivered" for one in names}, "all of them, from the copy")


@case
def a_wrong_configuration_names_file_and_line():
    with Relay(settings="limits {\n  recipients = many\n}", start=False) as relay:
        relay.write_config()
        code, said = refused_start(relay)
        assert code == 78 and re.search(re.escape(relay.config) + r":\d+: ", said), (code, said)


@case
def sigterm_lets_a_message_under_way_finish_and_exits_0():  # F-18
    with Relay() as relay:
        client = relay.session(relay.key(), "local")
        idle = relay.session(relay.key(), "local")
        for code, command in ((250, "MAIL FROM:<a@good.example>"), (250, "RCPT TO:<r@dest.example>"), (354, "DATA")):
            client.expect(code, command)
        client.send(HEADER + b"first half\r\n")
        relay.process.send_signal(signal.SIGTERM)
        idle.expect("421 4.3.2")
        assert idle.is_closed()
        wait_for(lambda: not can_connect(relay.ports["local"]), "closed listeners")
        client.send(b"second half\r\n.\r\n")
        client.expect("250 2.0.0")
        client.expect("421 4.3.2", "MAIL FROM:<a@good.example>")
        assert relay.stop() == 0
        relay.start()
        assert b"first half\r\nsecond half\r\n" in relay.sink.wait(1)[0][2]


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


@case
def sigterm_does_not_wait_for_ever():  # F-18
    with Relay(settings="grace = 300ms") as relay:
        client = relay.session(relay.key(), "local")
        for code, command in ((250, "MAIL FROM:<a@good.example>"), (250, "RCPT TO:<r@dest.example>"), (354, "DATA")):
            client.expect(code, command)
        relay.process.send_signal(signal.SIGTERM)
        client.expect("421 4.3.2")
        assert relay.stop() == 0
        assert relay.queue() == {}


@case
def sighup_changes_settings_and_keeps_sessions():
    with Relay() as relay:
        key = relay.key()
        before = relay.session(key, "local")
        relay.settings = "limits { message_size = 1M }"
        relay.write_config()
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "event=reloaded" in relay.log(), "the reload")
        wait_for(lambda: any("SIZE 1048576" in line for line in greet(relay)), "the new limit")
        submit(before)


def greet(relay):
    client = relay.client("local")
    client.expect(220)
    lines = client.expect(250, "EHLO me.example")
    client.close()
    return lines


@case
def sighup_with_a_broken_file_keeps_everything_and_says_why():
    with Relay() as relay:
        key = relay.key()
        before = relay.session(key)
        relay.settings = "no_such_setting = 1"
        relay.write_config()
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "event=reload_failed" in relay.log(), "the complaint")
        assert "no_such_setting" in relay.log()
        submit(before)
        submit(relay.session(key))


@case
def sighup_with_a_broken_file_of_an_upstream_keeps_everything():
    with Relay() as relay:
        key = relay.key()
        ca = os.path.join(relay.folder, "ca.pem")
        with open(ca, "w") as file:
            file.write("no certificate\n")
        relay.settings = (f'upstream "new" {{ host = "127.0.0.1" ca_file = "{ca}" }}\n'
                          "limits { message_size = 1M }")
        relay.write_config()
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "event=reload_failed" in relay.log(), "the complaint")
        assert ca in relay.log() and "event=reloaded" not in relay.log()
        client = relay.client("local")
        client.expect(220)
        assert "250-SIZE 26214400" in client.expect(250, "EHLO client.example")
        submit(relay.session(key))
        assert [row["name"] for row in relay.json("upstream", "list")["data"]] == ["sink"]


@case
def sighup_brings_a_new_certificate_and_refuses_a_broken_one():
    def serial():
        return ssl.get_server_certificate(("127.0.0.1", relay.ports["submissions"]))

    with Relay() as relay:
        key = relay.key()
        before = relay.session(key, "submissions")
        first = serial()
        tls_key, tls_pem = (os.path.join(relay.state, n) for n in ("tls.key", "tls.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=new.example", "-keyout", tls_key, "-out", tls_pem],
                       check=True, capture_output=True)
        relay.process.send_signal(signal.SIGHUP)
        second = wait_for(lambda: (got := serial()) != first and got, "the new certificate")
        with open(tls_pem, "w") as file:
            file.write("-----BEGIN CERTIFICATE-----\nnonsense\n")
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "event=reload_failed" in relay.log(), "the complaint")
        assert tls_pem in relay.log()
        assert serial() == second
        submit(before)


@case
def sighup_never_takes_tls_from_the_http_port():
    """`http` takes effect at a restart, and all of it: its old address must not speak in the clear."""
    holder = hold_port()
    port = holder.getsockname()[1]

    def http(tls):
        return f'http {{ address = "127.0.0.1" port = {port} tls = "{tls}" }}'

    with Relay(http("implicit")) as relay:
        for n, settings in enumerate((http("none"), "", http("none")), 1):
            relay.settings = settings
            relay.write_config()
            relay.process.send_signal(signal.SIGHUP)
            wait_for(lambda: relay.log().count("event=reloaded") >= n, "the reload")
            assert "BEGIN CERTIFICATE" in ssl.get_server_certificate(("127.0.0.1", port))
        assert "event=reload_partial setting=http" in relay.log()
    holder.close()


@case
def closed_standard_streams_are_not_taken_by_others():
    with Relay(start=False) as relay:
        relay.write_config()
        relay.process = subprocess.Popen(["sh", "-c", f"exec {relay.binary} serve -c {relay.config} <&- >&- 2>&-"])
        wait_for(lambda: can_connect(relay.ports["local"]), "the relay")
        for number in range(3):
            assert os.readlink(f"/proc/{relay.process.pid}/fd/{number}") == "/dev/null"


@case
def a_revoked_key_stops_at_the_next_command_of_an_open_session():
    with Relay() as relay:
        key = relay.key()
        client = relay.session(key, "local")
        submit(client)
        relay.cli("key", "revoke", key[4:12])
        client.expect("421 4.7.0", "NOOP")
        assert client.is_closed()
        client = relay.client("local").hello(starttls=False)
        lines = client.expect("535 5.7.8", "AUTH PLAIN " + plain(key))
        assert "revoked" in lines[-1]


@case
def a_key_that_is_revoked_during_data_is_refused_at_the_end_of_data():
    with Relay() as relay:
        key = relay.key()
        client = relay.session(key, "local")
        for code, command in ((250, "MAIL FROM:<a@good.example>"), (250, "RCPT TO:<r@dest.example>"), (354, "DATA")):
            client.expect(code, command)
        client.send(HEADER)
        relay.cli("key", "revoke", key[4:12])
        client.send(b"b\r\n.\r\n")
        client.expect("550 5.7.1")
        assert relay.queue() == {}


@case
def a_domain_that_is_removed_narrows_open_sessions():
    with Relay() as relay:
        key = relay.key()
        client = relay.session(key, "local")
        for code, command in ((250, "MAIL FROM:<a@good.example>"), (250, "RCPT TO:<r@dest.example>"), (354, "DATA")):
            client.expect(code, command)
        client.send(HEADER)
        relay.cli("domain", "remove", "good.example")
        client.send(b"b\r\n.\r\n")
        client.expect("550 5.7.1")
        client.expect("550 5.7.1", "MAIL FROM:<a@good.example>")
        assert relay.queue() == {}


@case
def two_workers_share_the_port():
    with Relay(workers=2) as relay:
        key = relay.key()
        clients = [relay.session(key, "local") for _ in range(16)]
        threads = [threading.Thread(target=submit, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        relay.sink.wait(16)
        folder = f"/proc/{relay.process.pid}/task"
        assert len(os.listdir(folder)) >= 4  # main, writer, two workers


run()
