"""What may go wrong at the level of TLS. What no library would say is made by hand."""
import os
import socket
import ssl
import struct
import subprocess

from support.cases import case, run
from support.relay import PATIENCE_S, Relay, trusting_context, wait_for

HANDSHAKE, ALERT = 22, 21
HANDSHAKE_FAILURE, PROTOCOL_VERSION, NO_APPLICATION_PROTOCOL = 40, 70, 120
GOOD_SUITES = (0xC02B, 0xC02C, 0xCCA9, 0xC009)  # ECDHE-ECDSA with AES-GCM, ChaCha20, AES-CBC
BAD_SUITES = (0x0005, 0x000A, 0xC008, 0xC007, 0x0002, 0xC006)  # RC4, 3DES and NULL, by RSA and ECDHE-ECDSA


def sized(form, data):
    return struct.pack(form, len(data)) + data


def extension(kind, data):
    return struct.pack(">H", kind) + sized(">H", data)


def sni(name):
    return extension(0, sized(">H", b"\0" + sized(">H", name)))


def client_hello(version=0x0303, suites=GOOD_SUITES, more=b""):
    """A TLS ClientHello (RFC 5246 section 7.4.1.2) in one record."""
    extensions = more + extension(10, sized(">H", struct.pack(">HH", 29, 23))) \
        + extension(11, b"\1\0") + extension(13, sized(">H", bytes.fromhex("0403080405030401")))
    body = struct.pack(">H", version) + os.urandom(32) + b"\0" \
        + sized(">H", b"".join(struct.pack(">H", s) for s in suites)) + b"\1\0" + sized(">H", extensions)
    message = b"\1" + struct.pack(">I", len(body))[1:] + body
    return b"\x16\3\1" + sized(">H", message)


def start_tls(relay):
    client = relay.client("submission")
    client.expect(220)
    client.expect(250, "EHLO client.example")
    client.expect(220, "STARTTLS")
    return client


def answer_to(relay, hello):
    """The first record behind the 220: (type, body)."""
    client = start_tls(relay)
    client.sock.sendall(hello)
    with client.sock.makefile("rb") as stream:
        head = stream.read(5)
        return head[0], stream.read(struct.unpack(">H", head[3:])[0])


def read_to_end(sock):
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    return data


@case
def b_08_what_is_no_handshake_gets_no_smtp_text():
    with Relay() as relay:
        for _ in range(10):
            client = start_tls(relay)
            client.sock.sendall(os.urandom(1024))
            said = read_to_end(client.sock)
            assert said == b"" or said[0] == ALERT and len(said) == 7, said


@case
def b_09_half_a_handshake_is_waited_for_so_long_and_nobody_else_waits():
    with Relay("limits { handshake_time = 1s }") as relay:
        key = relay.key()
        waiting = start_tls(relay)
        waiting.sock.sendall(client_hello()[:50])
        silent = relay.client("submission")
        silent.expect(220)
        silent.expect(220, "STARTTLS")
        implicit = socket.create_connection(("127.0.0.1", relay.ports["submissions"]), PATIENCE_S)
        relay.session(key).expect(250, "NOOP")
        for sock in (waiting.sock, silent.sock, implicit):
            said = read_to_end(sock)
            assert said == b"" or said[0] == ALERT, said
        wait_for(lambda: relay.log().count("took too long") == 3, "three closed sessions")


@case
def b_10_old_protocols_and_weak_suites_are_refused():
    with Relay() as relay:
        assert answer_to(relay, client_hello())[0] == HANDSHAKE
        for version in (0x0301, 0x0302):
            kind, alert = answer_to(relay, client_hello(version=version))
            assert (kind, alert) == (ALERT, bytes((2, PROTOCOL_VERSION))), (version, kind, alert)
        for suites in (BAD_SUITES, *((suite,) for suite in BAD_SUITES)):
            kind, alert = answer_to(relay, client_hello(suites=suites))
            assert (kind, alert) == (ALERT, bytes((2, HANDSHAKE_FAILURE))), (suites, kind, alert)


@case
def tls_1_2_and_1_3_are_spoken():
    with Relay() as relay:
        key = relay.key()
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            client = start_tls(relay)
            context = trusting_context()
            context.minimum_version = context.maximum_version = version
            client.start_tls(context)
            assert client.sock.version() == name
            client.expect(250, "EHLO client.example")
            client.close()
        relay.session(key).expect(250, "NOOP")


@case
def b_13_the_end_of_tcp_without_the_end_of_tls_leaves_nothing():
    with Relay() as relay:
        client = relay.session(relay.key())
        client.expect(250, "MAIL FROM:<a@good.example>")
        client.expect(250, "RCPT TO:<r@dest.example>")
        client.expect(354, "DATA")
        client.send("From: <a@good.example>\r\n\r\nbody\r\n")
        client.sock.shutdown(socket.SHUT_RDWR)  # this, unlike unwrap(), says no close_notify
        wait_for(lambda: "reason=tls_truncated" in relay.log(), "the end of the session")
        assert relay.queue() == {}


@case
def b_14_alpn_may_be_smtp_or_absent():
    with Relay() as relay:
        for offer, chosen in ((["smtp"], "smtp"), (["http/1.1", "smtp"], "smtp"), ([], None)):
            client = start_tls(relay)
            context = trusting_context()
            if offer:
                context.set_alpn_protocols(offer)
            client.start_tls(context)
            assert client.sock.selected_alpn_protocol() == chosen
            client.expect(250, "EHLO client.example")
        http = extension(16, sized(">H", sized(">B", b"http/1.1")))
        assert answer_to(relay, client_hello(more=http)) == (ALERT, bytes((2, NO_APPLICATION_PROTOCOL)))


@case
def b_15_renegotiation_is_refused():
    with Relay() as relay:
        said = subprocess.run(
            ["openssl", "s_client", "-tls1_2", "-starttls", "smtp",
             "-connect", f"127.0.0.1:{relay.ports['submission']}"],
            input=b"R\n" * 100, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE_S).stdout
        assert b"RENEGOTIATING" in said and b"no renegotiation" in said, said.decode("latin-1")
        wait_for(lambda: "event=session_closed" in relay.log(), "the end of the session")
        relay.session(relay.key()).expect(250, "NOOP")


@case
def b_24_a_hostile_server_name_reaches_no_log_line():
    with Relay() as relay:
        for name in (b"a\\\0", b"a" * 255, b"\xff\xfe", b"x\nlevel=error event=forged", b"\x1b[2J", b""):
            kind, _ = answer_to(relay, client_hello(more=sni(name)))
            assert kind in (HANDSHAKE, ALERT), (name, kind)
        wait_for(lambda: relay.log().count("event=session_closed") == 6, "the end of the sessions")
        log = relay.log()
        assert "\nlevel=error event=forged" not in log
        assert not set(log) & set("\0\x1b\xff\xfe"), "raw bytes of a client in the log"


run()
