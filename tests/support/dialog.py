r"""Plays tests/dialogs/*.dialog against the real binary.

A file is one or more situations, each readable by an operator:

    == AUTH is refused in the clear             the name; what follows belongs to it
    settings free_space = "1G"                  more configuration (may be repeated, as the next two)
    limits errors = 3                           ... of its section "limits"
    key K3 narrow.example --rate 1/min          a key that only this situation uses
    uncut                                       play it as written only (see below)
    door submission                             submission (STARTTLS), submissions (TLS), local (plain)
    < 220                                       the next reply's last line starts like this
    << 30 503                                   so many replies that start like this
    > EHLO me.example                           a line that the client sends (CRLF is added)
    < 250                                       ...
    has STARTTLS                                the last reply has a line that says this
    hasnot AUTH                                 ... has none that does
    tls                                         the client's TLS handshake
    login K1                                    greeting to 235 with this key (door's way of TLS)
    mail                                        MAIL FROM:<a@good.example>, RCPT TO:<r@dest.example>, DATA
    header From: a@good.example                 mail, this header block, a body, the end of data
    >> From: a@good.example\r\n\r\nbody\r\n.\r\n raw bytes: \r \n \t \0 \\ \xHH; {60*Received: x\r\n} repeats
    pause                                       50 ms, so that what follows comes by itself
    fin                                         the client sends no more, but reads on
    silence                                     nothing comes within 100 ms
    closed                                      the server closes, without another reply
    stays                                       a NOOP gets its 250
    reset                                       the transaction is gone: RCPT gets 503
    queued 1                                    so many messages were accepted in this situation (else none)
    arrived \r\n..a\r\n                         the newest message holds these bytes at the upstream
    absent secret@                              ... does not hold these
    envelope a@good.example r@dest.example      ... went from and to these
    logged reason=bare_line_end                 the log of this situation holds (or soon will)
    connect local                               another connection, which is "the client" from here on
    run key revoke ${K3.id}                     a latchpost command, which must succeed

Variables: ${K1} (a key for good.example), ${K2} (other.example), ${KA} (scope keys only), ${K1.id},
${PLAIN K1}, ${B64 text} (base64 of text), ${M0} (a correct header block with its empty line).

Every situation is played three times: as written, with each client byte sent alone, and in random cuts;
those that are "uncut", or "run" a command, once. After each play the invariants of the house are checked: the
relay is alive, what was refused is not in the queue and what was accepted is, the upstream saw no bare line
end, NUL or unstuffed dot, no reply and no log line holds a secret. After each situation another client can
send. In the end all that was accepted has arrived, once, and no session or file is left open.
"""
import base64
import random
import re
import socket
import ssl
import time

from support.relay import PATIENCE_S, Relay, is_sanitized, plain, wait_for

M0 = "From: <a@good.example>\r\nTo: r@dest.example\r\nSubject: m0\r\n" \
     "Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <m0@good.example>\r\n\r\n"
CUTS = ("whole", "bytes", "random")
GROWTH_MAX = 32 * 1024 * 1024


class Situation:
    def __init__(self, path, name, line):
        self.path, self.name, self.line = path, name, line
        self.settings, self.limits, self.keys, self.steps = [], [], [], []
        self.cuts = CUTS

    def configuration(self):
        """Without the penalty for refused logins, which are what many dialogs are about."""
        return "\n".join([*self.settings, "limits {", "penalty_failures = 0", *self.limits, "}"])


def read(path):
    situations = []
    with open(path) as file:
        for number, text in enumerate(file, 1):
            text = text.rstrip("\n")
            if text.startswith("=="):
                situations.append(Situation(path, text[2:].strip(), number))
            elif text.strip() and not text.startswith("#"):
                read_line(situations[-1], number, text)
    return situations


def read_line(situation, number, text):
    word, _, rest = text.partition(" ")
    if word in ("settings", "limits"):
        getattr(situation, word).append(rest)
    elif word == "key":
        situation.keys.append(rest.split())
    elif word == "uncut":
        situation.cuts = CUTS[:1]
    else:
        method = WORDS.get(word)
        assert method, f"{situation.path}:{number}: the word {word!r} is not known"
        situation.steps.append((number, method, rest))
        if word == "run":
            situation.cuts = CUTS[:1]


def unescape(text):
    r"""\r \n \t \0 \\ \xHH and {60*text}, which may hold escapes but no braces."""
    def one(match):
        count, repeated, code = match.groups()
        if count:
            return unescape(repeated) * int(count)
        return {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}.get(code) or chr(int(code[1:], 16))

    return re.sub(r"\{(\d+)\*((?:[^{}\\]|\\.)+)\}|\\(x[0-9a-fA-F]{2}|[rnt0\\])", one, text)


class Player:
    """One relay and its keys; plays any number of situations that share their configuration."""

    def __init__(self, configuration):
        self.relay = Relay(configuration)
        self.keys, self.ids = {}, {}
        self.add_key("K1", "good.example")
        self.add_key("K2", "other.example")
        self.add_key("KA", "good.example", "--scope", "keys")
        self.accepted = self.judged = self.steps_judged = 0
        self.logged = ""
        self.client = None
        self.send_as_another()
        self.files_at_start = self.relay.open_files()
        self.bytes_at_start = self.relay.resident_bytes()

    def add_key(self, name, domain, *words):
        self.keys[name] = self.relay.key(domain, *words)
        self.ids[name] = self.keys[name][4:12]

    def expand(self, text):
        def one(match):
            word, _, rest = match.group(1).partition(" ")
            if word == "PLAIN":
                return plain(self.keys[rest])
            if word == "B64":
                return base64.b64encode(unescape(self.expand(rest)).encode("latin-1")).decode()
            if word == "M0":
                return M0.replace("\r\n", "\\r\\n")
            if word.endswith(".id"):
                return self.ids[word[:-3]]
            return self.keys[word]

        return re.sub(r"\$\{((?:[^${}]|\$\{[^${}]*\})*)\}", one, text)

    def bytes_of(self, text):
        return unescape(self.expand(text)).encode("latin-1")

    def send(self, data):
        """A server that has closed already is no failure here: what it said is what counts."""
        pieces = [data]
        if self.cut != "whole" and len(data) <= 4096:  # cutting a flood into single bytes shows nothing more
            self.client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pieces, at = [], 0
            while at < len(data):
                size = 1 if self.cut == "bytes" else self.rng.randint(1, 7)
                pieces.append(data[at:at + size])
                at += size
        try:
            for piece in pieces:
                self.client.send(piece)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass

    def play(self, situation, cut):
        self.cut, self.rng, self.client = cut, random.Random(situation.name), None
        self.transcript, self.lines, self.expected = [], [], 0
        self.logged, self.message_id = "", None
        where = situation.line
        try:
            for where, method, rest in situation.steps:
                method(self, rest)
            self.leave()
            self.check_invariants()
        except (AssertionError, OSError) as failure:
            self.leave()
            self.accepted = len(self.relay.queue())
            spoken = "\n".join(f"      {who} {data[:200]!r}" for who, data in self.transcript[-30:])
            raise AssertionError(f"{situation.path}:{where}: {situation.name} ({cut}): {failure!r}\n{spoken}")

    def leave(self):
        if self.client is not None:
            self.client.close()
            self.transcript += self.client.transcript
            self.client = None

    # --- what holds after every play ---

    def check_invariants(self):
        assert self.relay.process.poll() is None, "the relay has ended:\n" + self.relay.log()[-3000:]
        # Every earlier answer of the queue's writer lies before this one, so nothing can still be coming.
        total = len(self.relay.queue())
        assert total == self.accepted + self.expected, \
            f"want {self.expected} queued, got {total - self.accepted}"
        self.accepted = total
        self.check_upstream()
        log = self.read_log()
        assert re.fullmatch(r"(ts=[^\x00-\x1f\x7f]*\n)*", log), "a line of the log is not one of ours"
        said = [data.decode("latin-1") for who, data in self.transcript if who == "S"]
        for line in said:
            assert re.fullmatch(r"[ -~]{3,510}", line), f"not a line to show to people: {line!r}"
        for key in self.keys.values():
            for secret in (key, key[12:34], plain(key)):
                assert secret not in log, "a secret is in the log"
                assert not any(secret in line for line in said), "a secret is in a reply"

    def check_upstream(self):
        sink = self.relay.sink
        for _, _, raw in sink.messages[self.judged:]:
            bare = raw.replace(b"\r\n", b"")
            assert b"\r" not in bare and b"\n" not in bare and b"\0" not in raw, raw
            assert not re.search(rb"(?m)^\.(?!\.)", raw), raw
            self.judged += 1
        for step, line in sink.steps[self.steps_judged:]:
            assert step in ("banner", "EHLO", "MAIL", "RCPT", "DATA", "dot", "RSET", "QUIT"), line
            assert "AUTH=" not in line, line
            self.steps_judged += 1

    def read_log(self):
        """What was logged since the situation began; logged lines are whole when they are read."""
        self.logged += self.relay.new_log()
        return self.logged

    def send_as_another(self):
        client = self.relay.client("local", source="127.0.0.9").hello(self.keys["K1"])
        self.client, self.cut = client, "whole"
        self.do_header("From: a@good.example")
        client.expect("250 2.0.0")
        client.close()
        self.accepted += 1

    def finish(self):
        """All that was accepted has arrived, once, and nothing is left open."""
        wait_for(lambda: set(self.relay.queue().values()) == {"delivered"}, "delivery of all")
        assert len(self.relay.sink.messages) == self.accepted
        self.relay.sink.drop()
        wait_for(lambda: self.relay.open_files() <= self.files_at_start, "all files to be closed")
        log = self.relay.log()
        opened = re.findall(r"event=session_opened session=(\S+)", log)
        closed = re.findall(r"event=session_closed session=(\S+)", log)
        assert sorted(opened) == sorted(closed), set(opened) ^ set(closed)
        assert is_sanitized() or self.relay.resident_bytes() - self.bytes_at_start < GROWTH_MAX
        self.relay.finish()

    # --- the words ---

    def do_door(self, rest):
        self.leave()
        self.client = self.relay.client(rest)

    def do_line(self, rest):
        self.send(self.bytes_of(rest) + b"\r\n")

    def do_raw(self, rest):
        self.send(self.bytes_of(rest))

    def do_reply(self, rest):
        self.lines = self.client.expect(rest)
        queued = re.search(r"queued as (\w+)", self.lines[-1])
        self.message_id = queued.group(1).encode() if queued else self.message_id

    def do_replies(self, rest):
        count, _, start = rest.partition(" ")
        for _ in range(int(count)):
            self.do_reply(start)

    def do_has(self, rest):
        assert any(line[4:].startswith(rest) for line in self.lines), f"no {rest} in {self.lines}"

    def do_hasnot(self, rest):
        assert not any(line[4:].startswith(rest) for line in self.lines), f"{rest} in {self.lines}"

    def do_tls(self, rest):
        self.client.start_tls()

    def do_login(self, rest):
        self.client.hello(self.keys[rest])

    def do_mail(self, rest):
        self.client.expect("250 2.1.0", "MAIL FROM:<a@good.example>")
        self.client.expect("250 2.1.5", "RCPT TO:<r@dest.example>")
        self.client.expect("354", "DATA")

    def do_header(self, rest):
        self.do_mail("")
        self.send(self.bytes_of(rest) + b"\r\n\r\nbody\r\n.\r\n")

    def do_pause(self, rest):
        time.sleep(0.05)

    def do_fin(self, rest):
        self.client.sock.shutdown(socket.SHUT_WR)

    def do_silence(self, rest):
        self.client.sock.settimeout(0.1)
        try:
            said = self.client.read_line() or "the end"
        except TimeoutError:
            said = None
        self.client.sock.settimeout(PATIENCE_S)
        assert said is None, f"not silence, but {said!r}"

    def do_closed(self, rest):
        began = time.monotonic()
        line = self.client.read_line()
        assert line is None, f"not closed, but {line!r}"
        assert time.monotonic() - began < 5, "closed too late"

    def do_stays(self, rest):
        self.client.expect("250", "NOOP")

    def do_reset(self, rest):
        self.client.expect("503", "RCPT TO:<r@dest.example>")

    def do_queued(self, rest):
        self.expected = int(rest)

    def newest(self):
        """The message that was accepted last, known by the id in its Received field."""
        return wait_for(lambda: next((message for message in self.relay.sink.messages
                                      if self.message_id in message[2]), None), "delivery")

    def do_arrived(self, rest):
        want, got = self.bytes_of(rest), self.newest()[2]
        assert want in got, f"{want!r} is not in {got!r}"

    def do_absent(self, rest):
        assert self.bytes_of(rest) not in self.newest()[2]

    def do_envelope(self, rest):
        sender, recipients, _ = self.newest()
        assert [sender, *recipients] == rest.split(), (sender, recipients)

    def do_logged(self, rest):
        wait_for(lambda: self.expand(rest) in self.read_log(), f"{rest!r} in the log", 5)

    def do_run(self, rest):
        self.relay.cli(*self.expand(rest).split())


WORDS = {name[3:]: method for name, method in vars(Player).items() if name.startswith("do_")}
WORDS.update({">": Player.do_line, ">>": Player.do_raw, "<": Player.do_reply, "<<": Player.do_replies,
              "connect": Player.do_door})


def failure_of(action, player):
    """None, or why it failed, with the end of what was logged meanwhile."""
    try:
        action()
    except (AssertionError, OSError) as problem:
        player.read_log()
        return f"{problem}\n" + "".join(f"      {line}\n" for line in player.logged.splitlines()[-20:])
    return None


def play_situation(player, situation):
    for key in situation.keys:
        player.add_key(*key)
    for cut in situation.cuts:
        player.play(situation, cut)
    player.send_as_another()


def play_group(configuration, situations):
    """Situations on one relay; yields (name, failure or None) of each, and of the relay in the end."""
    player = Player(configuration)
    try:
        for situation in situations:
            yield situation.name, failure_of(lambda: play_situation(player, situation), player)
        yield "what was accepted arrived and nothing is left open", failure_of(player.finish, player)
    finally:
        player.relay.close()


def play_file(path):
    """One relay for all situations with the same configuration."""
    groups = {}
    for situation in read(path):
        groups.setdefault(situation.configuration(), []).append(situation)
    for configuration, situations in groups.items():
        yield from play_group(configuration, situations)
