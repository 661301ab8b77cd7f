"""Upstreams for the tests: scripts and configuration for sink.Sink, Postfix's smtp-sink, Postfix itself, and
certificates for TLS. Each lives in a temporary folder on free loopback ports; only what was started here is
ended.
"""
import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile

from support.relay import PATIENCE_S, hold_port, wait_for


def at_first(reply):
    """Says this once, and the usual thing from then on."""
    return lambda n, line: reply if n == 0 else ...


def always(reply):
    """Says this whenever it is asked."""
    return lambda n, line: reply


def block(name, sink, more=""):
    """The configuration of a Sink without TLS."""
    return f'upstream "{name}" {{ host = "127.0.0.1" port = {sink.port} tls = "none" {more} }}\n'


@contextlib.contextmanager
def opened(*sinks):
    """Closes them in the end."""
    try:
        yield sinks
    finally:
        for sink in sinks:
            sink.close()


def greets(port):
    """True when something on this port answers; it is left politely, with nothing to complain about."""
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as probe:
            if probe.recv(1000):
                probe.sendall(b"QUIT\r\n")
                probe.recv(1000)
            return True
    except ConnectionError:
        return False


class SmtpSink:
    """Postfix's smtp-sink with these options; keeps each message in a file of `folder`."""

    def __init__(self, *options):
        self.folder = tempfile.mkdtemp(prefix="latchpost-smtp-sink-")
        self.holder = hold_port()
        self.port = self.holder.getsockname()[1]
        self.process = subprocess.Popen(
            ["/usr/sbin/smtp-sink", *(["-u", "root"] if os.geteuid() == 0 else []), *options,
             "-d", os.path.join(self.folder, "m."), f"127.0.0.1:{self.port}", "64"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: greets(self.port), "smtp-sink")

    def messages(self):
        """What arrived, with the lines that smtp-sink puts in front and its LF line ends."""
        found = []
        for name in os.listdir(self.folder):
            with open(os.path.join(self.folder, name), "rb") as file:
                found.append(file.read())
        return found

    def close(self):
        self.process.kill()
        self.process.wait()
        self.holder.close()
        shutil.rmtree(self.folder)


MAIN_CF = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
myhostname = judge.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
disable_vrfy_command = yes
smtpd_helo_required = yes
strict_rfc821_envelopes = yes
smtpd_forbid_bare_newline = reject
smtpd_forbid_bare_newline_exclusions =
smtpd_forbid_unauth_pipelining = yes
smtpd_data_restrictions = reject_unauth_pipelining
smtpd_end_of_data_restrictions = reject_unauth_pipelining
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access inline:{{ {{ later@dest.example = 450 4.2.1 later }} }}
message_size_limit = 52428800
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
virtual_mailbox_domains = dest.example
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = inline:{{ r@dest.example=r/ s@dest.example=s/ }}
virtual_mailbox_limit = 0
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
"""
MASTER_CF = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A private Postfix that accepts strictly, only over STARTTLS, and delivers mail for r@ and
    s@dest.example to maildirs. It needs root to start; the system's own Postfix is not touched."""

    def __init__(self, certificate, key):
        self.folder = tempfile.mkdtemp(prefix="latchpost-postfix-")
        os.chmod(self.folder, 0o755)
        self.config = os.path.join(self.folder, "etc")
        self.mail = os.path.join(self.folder, "mail")
        for name in ("etc", "queue", "data", "mail"):
            os.mkdir(os.path.join(self.folder, name))
        owner = {"postfix": "data", "nobody": "mail"}
        for user, name in owner.items():
            shutil.chown(os.path.join(self.folder, name), user)
        self.holder = hold_port()
        self.port = self.holder.getsockname()[1]
        nobody = os.stat(self.mail)
        values = {"folder": self.folder, "port": self.port, "certificate": certificate, "key": key,
                  "uid": nobody.st_uid, "gid": nobody.st_uid}
        for name, text in (("main.cf", MAIN_CF), ("master.cf", MASTER_CF)):
            with open(os.path.join(self.config, name), "w") as file:
                file.write(text.format(**values))
        self.command("start")
        wait_for(lambda: greets(self.port), "Postfix\n" + self.log())

    def command(self, *words):
        done = subprocess.run(["postfix", "-c", self.config, *words], capture_output=True, text=True,
                              timeout=PATIENCE_S)
        assert done.returncode == 0, done.stdout + done.stderr + self.log()

    def log(self):
        try:
            with open(os.path.join(self.folder, "maillog")) as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def messages(self, user):
        """{queue id of the relay that sent it: content} of a mailbox."""
        folder = os.path.join(self.mail, user, "new")
        found = {}
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            with open(os.path.join(folder, name), "rb") as file:
                content = file.read()
            ours = content.split(b"Received:")[2]
            found[re.search(rb"with ESMTP\w* id (\w+)", ours).group(1).decode()] = content
        return found

    def close(self):
        subprocess.run(["postfix", "-c", self.config, "stop"], capture_output=True, timeout=PATIENCE_S)
        self.holder.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Certificates:
    """A CA and certificates made on the fly: files NAME.pem and NAME.key in `folder`."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="latchpost-tls-")
        for name in ("ca", "other-ca"):
            self._openssl("req", "-x509", *self._new(name), "-out", self.path(name + ".pem"), "-days", "2")
        self._issue("good", "ca", "localhost", 2)
        self._issue("expired", "ca", "localhost", -1)
        self._issue("other-name", "ca", "mail.other.example", 2)
        self._issue("stranger", "other-ca", "localhost", 2)
        self._issue("localhost", "ca", None, 2)  # by its subject only
        self._openssl("req", "-x509", *self._new("self-signed", "localhost"),
                      "-out", self.path("self-signed.pem"), "-days", "2")

    def path(self, name):
        return os.path.join(self.folder, name)

    def server(self, name):
        """A context of ssl for a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path(name + ".pem"), self.path(name + ".key"))
        return context

    def _new(self, name, host=None):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=" + name,
                "-keyout", self.path(name + ".key"), *(["-addext", "subjectAltName=DNS:" + host]
                                                       if host else [])]

    def _issue(self, name, issuer, host, days):
        request = self.path(name + ".csr")
        self._openssl("req", *self._new(name, host), "-out", request)
        self._openssl("x509", "-req", "-in", request, "-CA", self.path(issuer + ".pem"),
                      "-CAkey", self.path(issuer + ".key"), "-copy_extensions", "copy", "-days", str(days),
                      "-out", self.path(name + ".pem"))

    @staticmethod
    def _openssl(*words):
        done = subprocess.run(["openssl", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def close(self):
        shutil.rmtree(self.folder)
