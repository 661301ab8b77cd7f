"""The upstream fails: at each step, in each way. What becomes of the message?

The tables below say what is expected; each cell is an upstream of its own, met by one relay over a route for the
cell's own sender domain. A cell is judged three times against three ledgers (what the client was told, what the queue
tells, what the upstream has seen): after the attempt that met the fault, after the next one, when the upstream is well
again and the operator asks for it, and by one more message.

    ok     delivered by the first attempt
    fresh  the same, over a fresh connection: of the kept one nothing but silence or nonsense came
    said   the upstream's code and words are the recipient's fate: deferred (4yz) or bounced (5yz)
    defer  deferred, by a reason of ours (which quotes the upstream where it said something)
    pause  deferred, and the upstream gets no further login until the operator has looked (5yz to AUTH)
    doubt  uncertain: it may have arrived; the same message, with the same Message-ID, is sent once more
    rcpt   what RCPT was answered: 450 4.2.1 full
    .      does not apply

In all of them: no byte of the content follows a reply to DATA that is not 354; nothing but the greeting, EHLO and
STARTTLS passes in the clear where TLS is asked for; what was delivered is never sent again.
"""
import contextlib
import re
import select
import threading

from support import faults
from support.cases import case, run
from support.faults import CLOSING, FULL, LATER, NEVER, OK, UNKNOWN
from support.letter import letters
from support.matrix import LATER_BY_HAND, MET, PASSWORD, USUAL, Matrix, PeopleCell, StepCell
from support.relay import PATIENCE_S, Relay, Sink, plain, wait_for
from support.upstreams import Certificates, block, opened

# --- the tables -----------------------------------------------------------------------------------

# How the reply comes. RFC 5321 sections 4.2 (replies), 4.5.3.2 (timeouts), 3.8 (421 and lost connections); rows
# F-11 (silent, crawl, open), F-12 (451), F-13 (554), F-25 (421), F-15 (what leaves doubt at the dot).
WAYS = {
    "silent": lambda usual: faults.silent,  # never
    "lost": lambda usual: faults.lost,      # the connection is closed instead
    "reset": lambda usual: faults.reset,    # ... by a TCP reset
    "451": lambda usual: LATER,
    "554": lambda usual: NEVER,
    "421": lambda usual: faults.closing,
    "banana": lambda usual: "banana",
    "open": lambda usual: faults.unended,   # "250-and", and no last line
    "endless": lambda usual: faults.endless,  # 200 such lines
    "mixed": faults.mixed,                  # the code changes between the lines
    "two": faults.two,                      # one reply more than asked
    "lf": lambda usual: faults.bare,        # LF in place of CRLF
    "crawl": lambda usual: faults.crawl,    # byte by byte, too late in all
    "slow": lambda usual: faults.slow,      # byte by byte, in time
}

# clear: no TLS, no AUTH, PIPELINING; secure: STARTTLS, AUTH PLAIN, PIPELINING; login: STARTTLS, AUTH LOGIN, one
# command at a time; implicit: TLS from the first byte, AUTH PLAIN, PIPELINING.
# A step in brackets is met by the second message of a kept connection.
STEPS = """
step       kind     silent lost  reset 451   554   421   banana open  endless mixed two   lf    crawl slow
connect    clear    defer  .     defer .     .     .     .      .     .       .     .     .     .     .
greeting   clear    defer  defer defer defer defer defer defer  defer defer   defer defer defer defer ok
greeting   implicit defer  defer defer defer defer defer defer  defer defer   defer defer defer defer ok
EHLO       clear    defer  defer defer defer ok    defer defer  defer defer   defer defer defer defer ok
EHLO       secure   defer  defer defer defer defer defer defer  defer defer   defer defer defer defer ok
STARTTLS   secure   defer  defer defer defer defer defer defer  defer defer   defer defer defer defer ok
handshake  secure   defer  defer defer defer defer defer defer  .     .       .     .     .     defer ok
handshake  implicit defer  defer defer defer defer defer defer  .     .       .     .     .     defer ok
EHLO/TLS   secure   defer  defer defer defer defer defer defer  defer defer   defer defer defer defer ok
AUTH       secure   defer  defer defer defer pause defer defer  defer defer   defer defer defer defer ok
AUTH       login    defer  defer defer defer pause defer defer  defer defer   defer defer defer defer ok
user       login    defer  defer defer defer pause defer defer  defer defer   defer defer defer defer ok
password   login    defer  defer defer defer pause defer defer  defer defer   defer defer defer defer ok
MAIL       clear    defer  defer defer said  said  said  defer  defer defer   defer defer defer defer ok
MAIL       login    defer  defer defer said  said  said  defer  defer defer   defer defer defer defer ok
RCPT       clear    defer  defer defer said  said  said  defer  defer defer   defer defer defer defer ok
RCPT       login    defer  defer defer said  said  said  defer  defer defer   defer defer defer defer ok
DATA       clear    defer  defer defer said  said  said  defer  defer defer   defer defer defer defer ok
DATA       login    defer  defer defer said  said  said  defer  defer defer   defer defer defer defer ok
content    clear    defer  defer defer said  said  said  defer  .     .       .     .     .     .     .
dot        clear    doubt  doubt doubt said  said  said  doubt  doubt doubt   doubt ok    doubt doubt ok
dot        login    doubt  doubt doubt said  said  said  doubt  doubt doubt   doubt ok    doubt doubt ok
RSET       clear    rcpt   rcpt  rcpt  rcpt  rcpt  rcpt  rcpt   rcpt  rcpt    rcpt  rcpt  rcpt  rcpt  rcpt
RSET       login    rcpt   rcpt  rcpt  rcpt  rcpt  rcpt  rcpt   rcpt  rcpt    rcpt  rcpt  rcpt  rcpt  rcpt
QUIT       clear    ok     ok    ok    ok    ok    ok    ok     ok    ok      ok    ok    ok    ok    ok
QUIT       secure   ok     ok    ok    ok    ok    ok    ok     ok    ok      ok    ok    ok    ok    ok
(idle)     clear    .      fresh fresh fresh fresh fresh fresh  .     .       fresh .     .     .     .
(idle)     secure   .      fresh fresh fresh fresh fresh fresh  .     .       fresh .     .     .     .
(MAIL)     clear    fresh  fresh fresh said  said  fresh fresh  fresh fresh   fresh defer fresh fresh ok
(MAIL)     login    fresh  fresh fresh said  said  fresh fresh  fresh fresh   fresh defer fresh fresh ok
(RCPT)     login    defer  defer defer said  said  said  defer  defer defer   defer defer defer defer ok
(DATA)     login    defer  defer defer said  said  said  defer  defer defer   defer defer defer defer ok
(dot)      clear    doubt  doubt doubt said  said  said  doubt  doubt doubt   doubt ok    doubt doubt ok
"""

# Particular replies: only 220 greets (F-36), only 220 starts TLS (F-17), only 354 asks for content (F-35), only 25z
# takes it, and what is no reply at all is never guessed at (RFC 5321 section 4.2.1).
REPLIES = [
    ("greeting", "clear", "defer", ("221 no", "354 no", "500 no", "530 no", "250 no", "2200 no", "", "220_no",
                                    "220 " + 5000 * "x", "220-a\r\n220 b\r\n220 c")),
    ("greeting", "clear", "ok", ("220", "220-a\r\n220 b")),
    ("EHLO", "clear", "defer", ("354 go", "220 a", "\r\n".join(["250-x"] * 2000), "250-a\r\n251 b")),
    ("EHLO", "secure", "defer", ("502 what", "250-a\r\n250 AUTH PLAIN", "250 STARTTLS")),  # a name, and no offer
    ("EHLO/TLS", "secure", "defer", ("250-a\r\n250 AUTH XOAUTH2",)),
    ("STARTTLS", "secure", "defer", ("502 5.5.1 no", "454 4.7.0 not now", "354 go", "250 ok",
                                     "220 2.0.0 go\r\n250-injected", "220 2.0.0 go\r\n235 2.7.0 in")),
    ("AUTH", "secure", "defer", ("334 ", "250 ok", "220 ok", "454 4.7.0 not now")),
    ("AUTH", "login", "defer", ("235 2.7.0 in", "250 ok", "334-a\r\n334 b\r\n334 c")),
    ("password", "login", "defer", ("334 UGFzc3dvcmQ6", "250 ok")),
    ("password", "login", "pause", ("535 5.7.8 wrong", "504 5.5.4 not so", "530 5.7.0 what")),
    ("MAIL", "clear", "defer", ("354 go", "220 a", "banana\r\n250 ok", "250 ok\n250 bare", "25 ok", "250\tok")),
    ("MAIL", "login", "ok", ("250", "250-a\r\n250 b", "251 ok")),
    ("RCPT", "clear", "defer", ("354 go", "25 ok", "221 bye")),
    ("RCPT", "login", "defer", ("354 go", "25 ok", "221 bye")),
    ("DATA", "clear", "defer", ("250", "250 ok", "220", "220 ok", "3540", "3540 go", "", " ", "35", "354\tgo",
                                "999 no", "100 no", "-354 go", "354 go\n", "334 go")),
    ("DATA", "login", "defer", ("250", "250 ok", "220", "3540", "", "354\tgo", "354-go\r\n354 go\r\n354 go")),
    ("DATA", "login", "ok", ("354", "354-go\r\n354 on")),
    ("dot", "clear", "doubt", ("354 go", "220 hello", "", "235 in")),
    ("dot", "login", "ok", ("250", "250-2.0.0 taken,\r\n250-2.0.0\r\n250 2.0.0 and well",
                            "250 2.0.0 taken\r\n421 4.3.2 bye", "250 ok\r\n550 no\r\n450 later")),
    ("RSET", "login", "rcpt", ("500 5.5.1 what", "354 go", "250", "221 bye")),
    ("QUIT", "secure", "ok", ("354 go on", "250 ok", "")),
]

# Three recipients: the replies to RCPT, to DATA and to the dot (`...`: not asked); then what becomes of the three,
# and how often the content goes. F-14 and what belongs to it: each has a fate of its own; the content goes once, to
# those that were accepted, or not at all (an empty one to nobody: RFC 2920 section 3.1); a refusal for good is believed
# as long as replies and commands are in step.
PEOPLE = [
    ((OK, FULL, UNKNOWN), "354 go", "250 taken", "delivered deferred bounced", 1),
    (("251 ok", "252 ok", OK), "354 go", "250 taken", "delivered delivered delivered", 1),
    ((UNKNOWN, FULL, UNKNOWN), "354 go", "250 taken", "bounced deferred bounced", 0),
    ((UNKNOWN, FULL, UNKNOWN), "354 go", "554 5.5.1 nobody", "bounced deferred bounced", 0),
    ((UNKNOWN, FULL, UNKNOWN), "354 go", faults.lost, "bounced deferred bounced", 0),
    ((UNKNOWN, FULL, UNKNOWN), "354 go", "banana", "bounced deferred bounced", 0),
    ((UNKNOWN, FULL, UNKNOWN), "554 5.5.1 nobody", ..., "bounced deferred bounced", 0),
    ((UNKNOWN, UNKNOWN, UNKNOWN), "354 go", "250 taken", "bounced bounced bounced", 0),
    ((OK, FULL, UNKNOWN), LATER, ..., "deferred deferred bounced", 0),
    ((OK, FULL, UNKNOWN), NEVER, ..., "bounced deferred bounced", 0),
    ((OK, FULL, UNKNOWN), faults.lost, ..., "deferred deferred bounced", 0),
    ((OK, FULL, UNKNOWN), "354 go", LATER, "deferred deferred bounced", 1),
    ((OK, FULL, UNKNOWN), "354 go", NEVER, "bounced deferred bounced", 1),
    ((OK, FULL, UNKNOWN), "354 go", faults.closing, "deferred deferred bounced", 1),
    ((OK, FULL, UNKNOWN), "354 go", faults.lost, "uncertain deferred bounced", 1),
    ((OK, FULL, UNKNOWN), "354 go", "banana", "uncertain deferred bounced", 1),
    ((OK, OK, OK), "354 go", "250 a\r\n550 b\r\n450 c", "delivered delivered delivered", 1),  # as LMTP would
    ((OK, FULL, UNKNOWN), "250 ok", ..., "deferred deferred deferred", 0),
    ((UNKNOWN, OK, OK), "banana", ..., "deferred deferred deferred", 0),
    ((UNKNOWN, "354 go", OK), ..., ..., "deferred deferred deferred", 0),
    ((UNKNOWN, "banana", OK), ..., ..., "deferred deferred deferred", 0),
    ((UNKNOWN, faults.lost, OK), ..., ..., "bounced deferred deferred", 0),
    ((UNKNOWN, faults.closing, OK), ..., ..., "bounced deferred deferred", 0),  # F-25
    ((OK, faults.closing, OK), ..., ..., "deferred deferred deferred", 0),
    ((UNKNOWN + "\r\n" + CLOSING, OK, OK), ..., ..., "bounced deferred deferred", 0),
]

# --- all of them ----------------------------------------------------------------------------------


def cells():
    """What Matrix makes its cells of."""
    rows = [line.split() for line in STEPS.strip().splitlines()]
    for step, kind, *outcomes in rows[1:]:
        for way, outcome in zip(rows[0][2:], outcomes, strict=True):
            challenged = step == "user" or step == "AUTH" and kind == "login"
            usual = USUAL.get("user" if challenged else MET[step][0], "250 2.0.0 ok")
            if outcome != ".":
                yield StepCell, step, kind, way, WAYS[way](usual), outcome
    for step, kind, outcome, replies in REPLIES:
        for reply in replies:
            yield StepCell, step, kind, reply, reply, outcome
    for row in PEOPLE:
        for kind in ("clear", "login"):
            yield PeopleCell, kind, row


def check_each(cells, check):
    """All that is wrong, not only the first."""
    wrong = []
    for cell in cells:
        try:
            check(cell)
        except AssertionError as problem:
            wrong.append(str(problem))
    assert not wrong, f"{len(wrong)} cells\n" + "\n".join(wrong)


def check_pauses(matrix):
    """A refused login is the only thing that pauses an upstream."""
    told = {row["name"]: row for row in matrix.relay.api("/v1/upstreams")}
    for cell in matrix.cells:
        cell.check((told[cell.upstream]["state"] == "paused") == (cell.outcome == "pause"), told[cell.upstream])


def check_wire(cell):
    """Nothing but commands, and in the clear nothing that is not for everyone."""
    for step, line in cell.sink.steps:
        cell.check(re.fullmatch(r"banner|handshake|content|dot|EHLO|HELO|STARTTLS|AUTH|MAIL|RCPT|DATA|RSET|QUIT", step),
                   step, line)
    if cell.kind != "clear":
        for line in cell.sink.clear:
            cell.check(re.fullmatch(r"|EHLO relay\.example|STARTTLS|QUIT", line), line)


def check_letters(matrix):
    """One for each message that has bounced, with the upstream's words, to its sender."""
    found = {}
    for letter in letters(matrix.rest):
        name = re.search(r"(?mi)^Message-ID: <(\w+)@", letter.original.as_string()).group(1)
        assert name not in found, name
        found[name] = letter
    for cell in matrix.cells:
        letter = found.pop(cell.id, None)
        cell.check((letter is not None) == (cell.bounced > 0), letter)
        if letter is None:
            continue
        cell.check(letter.recipients == ["a@" + cell.domain] and len(letter.status) == cell.bounced, letter.mail)
        for status in letter.status.values():
            cell.check(status["Action"] == "failed" and re.search(
                "not .*here %n%s|unknown", status["Diagnostic-Code"]), letter.mail)
    assert not found, found
    shown = next(cell for cell in matrix.cells if cell.bounced)
    assert "here %n%s" in (said := matrix.relay.cli("queue", "show", shown.id).stdout) and "\x1b" not in said, said


@case
def every_fault_at_every_step_leaves_exact_ledgers():
    """F-11 to F-15, F-17, F-25, F-35, F-36."""
    faults.over.clear()
    with contextlib.closing(Certificates()) as certificates, \
            contextlib.closing(Matrix(cells(), certificates)) as matrix, matrix.relay as relay:
        client = relay.session(relay.key("*.matrix.example"), "local")
        files = relay.open_files()
        matrix.warm_up(client)
        matrix.send(client)
        check_each(matrix.cells, lambda cell: cell.check_first(matrix.story(cell.id)))
        check_pauses(matrix)
        matrix.recover(client)
        check_each(matrix.cells, lambda cell: cell.check_second(matrix.story(cell.id)))
        for cell in matrix.cells:
            last = matrix.story(cell.last)
            cell.check((last["state"], last["attempts"]) == ("delivered", 1), last)
            check_wire(cell)
        check_letters(matrix)
        for secret in (PASSWORD, plain(PASSWORD, "us er"), "\x1b"):
            assert secret not in relay.log(), secret
        wait_for(lambda: relay.open_files() <= files + 20, "the end of all connections but those for bounces")
        print(f"# {len(matrix.cells)} cells")


# --- where replies are cut ------------------------------------------------------------------------


class CutSink(Sink):
    """Each connection's replies come in two pieces, cut one byte later than those of the connection before; those
    to a group of commands all together."""

    def _talk(self, connection, lines):
        self.at = self.connections
        self.kept = b""
        super()._talk(connection, lines)

    def cut(self, connection, usual):
        said, self.kept = self.kept + usual.encode() + b"\r\n", b""
        at = 1 + self.at % (len(said) - 1)
        connection.sendall(said[:at])
        faults.over.wait(0.002)
        connection.sendall(said[at:])

    def keep(self, connection, usual):
        self.kept += usual.encode() + b"\r\n"


@case
def replies_may_be_cut_at_any_byte():
    faults.over.clear()
    sinks = [CutSink(offers=("PIPELINING",)), CutSink(offers=("HELP",))]
    for sink in sinks:
        grouped = sink.offers == ("PIPELINING",)
        sink.script = {step: lambda n, line, sink=sink: sink.cut for step in ("banner", "EHLO", "DATA", "dot", "QUIT")}
        sink.script.update({step: lambda n, line, sink=sink, grouped=grouped: sink.keep if grouped else sink.cut
                            for step in ("MAIL", "RCPT")})
    with opened(*sinks):
        for sink in sinks:
            more = "max_messages_per_connection = 1 max_connections = 1"
            with Relay(LATER_BY_HAND, upstream=block("u", sink, more), workers=1) as relay:
                client = relay.session(relay.key(), "local")
                names = [client.submit() for _ in range(60)]  # more than the longest of these replies has bytes
                wait_for(lambda: set(relay.queue().values()) == {"delivered"}, "delivery of all")
                assert {relay.api("/v1/messages/" + name)["attempts"] for name in names} == {1}
                assert len(sink.messages) == len(sink.contents) == sink.connections == len(names)


@case
def replies_for_each_recipient_are_not_taken_for_those_to_the_next_message():
    """As LMTP gives them: the second and the third come when the next message has begun."""
    gate = threading.Event()

    def dot(connection, usual):
        gate.wait()
        connection.sendall(b"250 2.1.5 one\r\n")
        select.select([connection], [], [], PATIENCE_S)
        connection.sendall(b"550 5.1.1 two\r\n450 4.2.1 three\r\n")

    with opened(Sink({"dot": lambda n, line: dot if n == 0 else ...})) as (sink,), \
            Relay(LATER_BY_HAND, upstream=block("u", sink, "max_connections = 1"), workers=1) as relay:
        client = relay.session(relay.key(), "local")
        first = client.submit(recipients=[f"r{i}@dest.example" for i in (1, 2, 3)])
        wait_for(lambda: sink.contents, "the dot")
        second = client.submit()
        gate.set()
        relay.wait_state(first, "delivered")
        relay.wait_state(second, "deferred")
        relay.cli("queue", "retry", "--all")
        relay.wait_state(second, "delivered")
        assert len(sink.messages) == len(sink.contents) == 2
        assert sorted(relay.queue().values()) == ["delivered", "delivered"]  # and no letter


run()
