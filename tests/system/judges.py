"""What public tools find: sslscan about TLS, slowhttptest about patience, swaks in its rude forms."""
import os
import re
import subprocess
import tempfile
import threading
import xml.etree.ElementTree as xml

from support.cases import case, run
from support.relay import PATIENCE_S, Relay, hold_port, is_sanitized, wait_for

STRONG = re.compile(r"^(TLS_AES_|TLS_CHACHA20_|ECDHE-ECDSA-.*(GCM|CHACHA20))")


def scan(relay, *options):
    text = subprocess.run(["sslscan", "--xml=-", "--no-colour", *options], capture_output=True,
                          timeout=PATIENCE_S * 2).stdout
    return xml.fromstring(text).find("ssltest")


def check_scan(found):
    protocols = {p.get("type").upper() + p.get("version") for p in found.findall("protocol") if p.get("enabled") == "1"}
    assert protocols == {"TLS1.2", "TLS1.3"}, protocols
    assert all(c.get("vulnerable") == "0" for c in found.findall("heartbleed"))
    assert all(c.get("supported") == "0" for c in found.findall("compression"))
    assert found.find("renegotiation").get("supported") == "0"
    ciphers = {c.get("cipher") for c in found.findall("cipher")}
    assert ciphers and all(STRONG.match(cipher) for cipher in ciphers), ciphers
    groups = {g.get("name") for g in found.findall("group")}
    assert groups <= {"x25519", "secp256r1 (NIST P-256)"}, groups


@case
def sslscan_finds_only_strong_tls():
    with Relay() as relay:
        check_scan(scan(relay, "--starttls-smtp", f"127.0.0.1:{relay.ports['submission']}"))
        check_scan(scan(relay, f"127.0.0.1:{relay.ports['submissions']}"))
        relay.session(relay.key()).expect(250, "NOOP")


def resident_kib(relay):
    with open(f"/proc/{relay.process.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])


@case
def g_22_slow_http_clients_are_ended_and_mail_goes_on():
    with hold_port() as holder:
        port = holder.getsockname()[1]
        http = f'http {{ address = "127.0.0.1" port = {port} tls = "none" head_time = 2s connections = 400 }}'
        with Relay(http) as relay, tempfile.TemporaryDirectory() as folder:
            key = relay.key()
            relay.session(key).submit()
            before = resident_kib(relay)
            attacks = []
            for mode in ("-H", "-B", "-X"):  # a head, a body that come by the byte; an answer that is not read
                attacks.append(subprocess.Popen(
                    ["slowhttptest", "-c", "150", mode, "-i", "1", "-r", "100", "-l", "6", "-p", "3", "-t",
                     "POST" if mode == "-B" else "GET", "-u", f"http://127.0.0.1:{port}/healthz"],
                    cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            sent = 1
            while any(attack.poll() is None for attack in attacks):
                relay.session(key).submit()
                sent += 1
            relay.sink.wait(sent)
            grown = resident_kib(relay) - before
            assert is_sanitized() or grown < 32 * 1024, f"{grown} KiB more"
            text = subprocess.run(["curl", "-s", "-S", f"http://127.0.0.1:{port}/healthz"], capture_output=True,
                                  timeout=PATIENCE_S)
            assert text.returncode == 0, text


def swaks(relay, key, *options, port="submissions", tls="--tls-on-connect"):
    done = subprocess.run(
        ["swaks", "--server", "127.0.0.1", "--port", str(relay.ports[port]), tls, "--auth", "PLAIN", "--auth-user", "u",
         "--auth-password", key, "--from", "a@good.example", "--to", "r@dest.example", "--timeout", "20", *options],
        capture_output=True, timeout=PATIENCE_S)
    return done.returncode, done.stdout.decode("utf-8", "replace")


@case
def swaks_cannot_smuggle_forge_or_leave_something_behind():
    with Relay() as relay:
        key = relay.key()
        head = "From: a@good.example\\nTo: r@dest.example\\n\\n"
        for options in (["--data", head + "one", "--header", "From: <boss@victim.example>"],
                        ["--from", "boss@victim.example"],
                        ["--h-From", "<a@good.example>, <boss@victim.example>"],
                        ["--add-header", "Sender: <boss@victim.example>"]):
            code, said = swaks(relay, key, *options)
            assert code != 0 and re.search(r"550 5\.[67]\.", said), (options, said)
        for moment in ("CONNECT", "FIRST-HELO", "AUTH", "MAIL", "RCPT", "DATA"):
            swaks(relay, key, "--drop-after", moment)
            swaks(relay, key, "--quit-after", moment)
        assert relay.queue() == {} and relay.sink.messages == []
        code, said = swaks(relay, key, "--pipeline")
        assert code == 0, said
        assert len(relay.sink.wait(1)) == 1


run()
