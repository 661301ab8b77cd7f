"""Real clients send through the real binary; what arrives is looked at byte for byte."""
import email
import email.policy
import os
import shutil
import smtplib
import ssl
import subprocess
import tempfile

from support.cases import case, run
from support.relay import PATIENCE_S, Relay, wait_for

BODY = "The first line\r\n.a line with a dot\r\n\r\nUmlaut: \u00fc\r\n"
MESSAGE = ("From: Ann <a@good.example>\r\nTo: r@dest.example\r\nSubject: from a client\r\n\r\n" + BODY)


def call(command, input=None, env=None):
    done = subprocess.run(command, input=input, capture_output=True, timeout=PATIENCE_S,
                          env={**os.environ, **(env or {})})
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, f"{command[0]}: exit {done.returncode}\n{text}"
    return text


def check_arrival(relay, count, body=BODY.encode()):
    """The newest message at the upstream parses and has this body (None: any)."""
    sender, recipients, raw = relay.sink.wait(count)[-1]
    assert sender == "a@good.example" and recipients == ["r@dest.example"], (sender, recipients)
    assert b"\n." not in raw.replace(b"\n..", b"")
    raw = raw.replace(b"\n..", b"\n.")
    assert raw.replace(b"\r\n", b"").find(b"\n") == -1
    if body is not None:
        assert raw.split(b"\r\n\r\n", 1)[1] == body, raw
    return email.message_from_bytes(raw, policy=email.policy.default)


def certificate(relay):
    return os.path.join(relay.state, "tls.pem")


@case
def curl_over_starttls_and_tls():
    with Relay() as relay, tempfile.NamedTemporaryFile() as file:
        key = relay.key()
        file.write(MESSAGE.encode())
        file.flush()
        for n, (scheme, door, more) in enumerate(
                [("smtp", "submission", ["--ssl-reqd"]), ("smtps", "submissions", []),
                 ("smtp", "local", []), ("smtp", "submission", ["--ssl-reqd", "--login-options", "AUTH=LOGIN"])]):
            call(["curl", "-sS", "--cacert", certificate(relay), *more,
                  "--url", f"{scheme}://localhost:{relay.ports[door]}", "-K", "-",
                  "--mail-from", "a@good.example", "--mail-rcpt", "r@dest.example", "-T", file.name],
                 input=f'user = "any:{key}"\n'.encode())
            check_arrival(relay, n + 1)


@case
def swaks_with_plain_and_login():
    with Relay() as relay:
        key = relay.key()
        for n, (door, more) in enumerate([
                ("submission", ["--tls", "--auth", "PLAIN"]), ("submission", ["--tls", "--auth", "LOGIN"]),
                ("submissions", ["--tls-on-connect", "--auth", "PLAIN"]), ("local", ["--auth", "PLAIN"]),
                ("submission", ["--tls", "--auth", "PLAIN", "--pipeline"])]):
            call(["swaks", "--server", "127.0.0.1", "--port", str(relay.ports[door]), *more,
                  "--auth-user", "any", "--auth-password", key, "--from", "a@good.example",
                  "--to", "r@dest.example", "--body", "swaks body"])
            message = check_arrival(relay, n + 1, None)
            assert "swaks body" in message.get_content()


@case
def msmtp_as_sendmail():
    with Relay() as relay, tempfile.TemporaryDirectory() as folder:
        key = relay.key()
        secret = os.path.join(folder, "key")
        with open(secret, "w", opener=lambda p, f: os.open(p, f, 0o600)) as file:
            file.write(key + "\n")
        for n, (door, tls, starttls, auth) in enumerate([
                ("submission", "on", "on", "plain"), ("submissions", "on", "off", "plain"),
                ("submission", "on", "on", "login"), ("local", "off", "off", "plain")]):
            config = os.path.join(folder, "msmtprc")
            with open(config, "w", opener=lambda p, f: os.open(p, f, 0o600)) as file:
                file.write(f"account default\nhost localhost\nport {relay.ports[door]}\nauth {auth}\n"
                           f"user cron\npasswordeval cat {secret}\nfrom a@good.example\n"
                           f"tls {tls}\ntls_starttls {starttls}\n"
                           + (f"tls_trust_file {certificate(relay)}\n" if tls == "on" else ""))
            call(["msmtp", "-C", config, "r@dest.example"], input=MESSAGE.replace("\r\n", "\n").encode())
            check_arrival(relay, n + 1)


@case
def python_smtplib():
    with Relay() as relay:
        key = relay.key()
        context = ssl.create_default_context(cafile=certificate(relay))
        with smtplib.SMTP("localhost", relay.ports["submission"], timeout=PATIENCE_S) as client:
            client.starttls(context=context)
            client.login("report", key)
            for n in range(3):
                refused = client.sendmail("a@good.example", ["r@dest.example"], MESSAGE.encode(),
                                          mail_options=["body=8bitmime"])
                assert refused == {}
                check_arrival(relay, n + 1)
        with smtplib.SMTP_SSL("localhost", relay.ports["submissions"], context=context) as client:
            client.user, client.password = "x", key
            client.ehlo()
            client.auth("LOGIN", client.auth_login)
            client.sendmail("a@good.example", ["r@dest.example"], MESSAGE.encode())
            check_arrival(relay, 4)
        with smtplib.SMTP("localhost", relay.ports["local"]) as client:
            try:
                client.login("x", key[:-1] + ("a" if key[-1] != "a" else "b"))
                raise AssertionError("a wrong key was accepted")
            except smtplib.SMTPAuthenticationError as refusal:
                assert refusal.smtp_code == 535


NODE = """
const nodemailer = require('nodemailer');
const [port, secure, ca] = process.argv.slice(2);
const transport = nodemailer.createTransport({
    host: '127.0.0.1', port: Number(port), secure: secure === '1', pool: true, maxConnections: 2,
    auth: { user: 'app', pass: process.env.RELAY_KEY },
    tls: { ca: require('fs').readFileSync(ca), servername: 'localhost' },
});
const send = () => transport.sendMail({
    from: 'Ann <a@good.example>', to: 'r@dest.example', subject: 'gr\\u00fc\\u00dfe',
    text: 'node body\\n.dot\\n', attachments: [{ filename: 'a.bin', content: Buffer.alloc(100000, 7) }],
});
Promise.all([send(), send(), send()]).then(results => {
    transport.close();
    if (!results.every(r => /^250 2\\.0\\.0 queued as /.test(r.response))) throw new Error(JSON.stringify(results));
}).catch(error => { console.error(error); process.exit(1); });
"""


@case
def node_nodemailer_with_a_pool():
    with Relay() as relay, tempfile.TemporaryDirectory() as folder:
        key = relay.key()
        script = os.path.join(folder, "send.js")
        with open(script, "w") as file:
            file.write(NODE)
        for n, (door, secure) in enumerate([("submission", "0"), ("submissions", "1")]):
            call(["node", script, str(relay.ports[door]), secure, certificate(relay)],
                 env={"RELAY_KEY": key, "NODE_PATH": "/usr/share/nodejs"})
            relay.sink.wait(3 * (n + 1))
        for _, _, raw in relay.sink.messages:
            message = email.message_from_bytes(raw.replace(b"\n..", b"\n."), policy=email.policy.default)
            assert message["Subject"] == "gr\u00fc\u00dfe"
            parts = list(message.walk())
            assert any(p.get_filename() == "a.bin" and p.get_content() == b"\7" * 100000 for p in parts)


@case
def openssl_s_client_speaks_to_it_by_hand():
    with Relay() as relay:
        text = call(["openssl", "s_client", "-starttls", "smtp", "-crlf", "-quiet", "-verify_return_error",
                     "-CAfile", certificate(relay), "-verify_hostname", "localhost",
                     "-connect", f"127.0.0.1:{relay.ports['submission']}"], input=b"EHLO me\nQUIT\n")
        assert "AUTH PLAIN LOGIN" in text and "221 2.0.0" in text, text


run()
