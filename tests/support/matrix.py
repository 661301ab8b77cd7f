"""The cells of tests/system/upstream_matrix.py: an upstream with one fault each, what is sent to it, and the ledgers.

Each says by itself whether what is known of its message is what its row of the tables wants, after the attempt that met
the fault (check_first) and when all has ended (check_second).
"""
import datetime
import re
import signal

from support import faults
from support.faults import CLOSING, FULL, LATER, NEVER, PACE_S, FaultySink
from support.relay import PATIENCE_S, Relay, Sink, wait_for
from support.upstreams import block

# The step in the script of FaultySink, which of its replies (from 0), the setting whose time it has, our name for it.
MET = {
    "connect": ("connect", 0, "connect", "cannot connect"),
    "greeting": ("banner", 0, "banner", "the greeting"), "EHLO": ("EHLO", 0, "command", "EHLO"),
    "STARTTLS": ("STARTTLS", 0, "command", "STARTTLS"), "handshake": ("handshake", 0, "connect", "TLS"),
    "EHLO/TLS": ("EHLO", 1, "command", "EHLO"), "AUTH": ("AUTH", 0, "command", "AUTH"),
    "user": ("AUTH", 1, "command", "AUTH"), "password": ("AUTH", 2, "command", "AUTH"),
    "MAIL": ("MAIL", 0, "command", "MAIL"), "RCPT": ("RCPT", 0, "command", "RCPT"),
    "DATA": ("DATA", 0, "data", "DATA"), "content": ("content", 0, "block", "the content"),
    "dot": ("dot", 0, "dot", "the final dot"), "RSET": ("RSET", 0, "command", "RSET"),
    "QUIT": ("QUIT", 0, "command", "QUIT"), "(idle)": ("dot", 0, "idle", "an idle connection"),
    "(MAIL)": ("MAIL", 1, "command", "MAIL"), "(RCPT)": ("RCPT", 1, "command", "RCPT"),
    "(DATA)": ("DATA", 1, "data", "DATA"), "(dot)": ("dot", 1, "dot", "the final dot"),
}

LATER_BY_HAND = 'retry { schedule = {"1h"} }\n'  # the next attempt is ours to ask for
PASSWORD = "upstream-s3cret with blank"
OFFERS = {"clear": ("PIPELINING", "8BITMIME"), "secure": ("PIPELINING", "AUTH PLAIN"), "login": ("AUTH LOGIN",),
          "implicit": ("PIPELINING", "AUTH PLAIN LOGIN")}
USUAL = {"banner": "220 a", "STARTTLS": "220 go", "AUTH": "235 in", "user": "334 VXNlcm5hbWU6", "DATA": "354 go",
         "QUIT": "221 bye"}
TIMED = (faults.silent, faults.unended, faults.crawl)  # these wait for a timeout
LARGE = b"x" * 70 + (b"\r\n" + b"y" * 70) * 100000 + b"\r\n"  # more than the sockets hold


def seconds(told):
    return datetime.datetime.fromisoformat(told.replace("Z", "+00:00")).timestamp()


class Cell:
    """One upstream with its fault, and what was sent to it."""

    def __init__(self, number, name, kind, outcome):
        self.domain, self.upstream = f"c{number}.matrix.example", f"c{number}"
        self.name, self.kind, self.outcome = f"{name[:100]} ({kind}): {outcome}", kind, outcome
        self.people, self.body = ["r@dest.example"], b"b\r\n"
        self.before = self.bounced = 0  # messages delivered before the fault; recipients that it costs
        self.timeout, self.more, self.idle_time = None, "", "10m"

    def open(self, script, certificates, **options):
        tls = certificates.server("good") if self.kind != "clear" else None
        self.sink = FaultySink(script, OFFERS[self.kind], tls, implicit=self.kind == "implicit", **options)

    def heal(self):
        self.sink.script, self.timeout, self.idle_time = {}, None, "500ms"

    def block(self, certificates):
        tls = {"clear": "none", "implicit": "implicit"}.get(self.kind, "starttls")
        more = f"{self.more} idle_timeout = {self.idle_time}"
        if tls != "none":
            more += f' ca_file = "{certificates.path("ca.pem")}" username = "us er" password = "{PASSWORD}"'
        if self.timeout:
            more += f" {self.timeout}_timeout = {int(PACE_S * 1000)}ms"
        return (f'upstream "{self.upstream}" {{ host = "localhost" port = {self.sink.port} tls = "{tls}" {more} }}\n'
                f'route {{ sender_domain = {{"{self.domain}"}} upstreams = {{"{self.upstream}"}} }}\n')

    def submit(self, client):
        return client.submit(self.body, sender="a@" + self.domain, recipients=self.people)

    def check(self, true, *what):
        assert true, (self.name, *what, self.sink.steps[-12:])

    def contents(self):
        """The message under test, as often as it came to its dot."""
        return [raw for raw in self.sink.contents if self.id.encode() in raw]

    def taken(self):
        return [message for message in self.sink.messages if self.id.encode() in message[2]]


class StepCell(Cell):
    """A cell of STEPS or REPLIES: `fault` is how the reply is given, or the reply."""

    def __init__(self, number, step, kind, way, fault, outcome, certificates):
        super().__init__(number, f"{step} {way!r}", kind, outcome)
        self.met, nth, self.setting, self.step_name = MET[step]
        self.way, self.fault = way, fault
        self.before = 1 if step.startswith("(") else 0
        self.body = LARGE if step == "content" else self.body
        self.more = "max_messages_per_connection = 1" if step == "QUIT" else ""
        self.timeout = self.setting if fault in TIMED and outcome not in ("ok", "rcpt") else None
        self.bounced = 1 if outcome == "said" and self.words()[0] // 100 == 5 else 0
        script = {self.met: lambda n, line: self.fault if n == nth else ...}
        if step == "RSET":
            script["RCPT"] = lambda n, line: FULL if n == 0 else ...
        self.open(script, certificates, listens=step != "connect")
        if step == "connect" and self.timeout:
            self.sink.fill()
        self.idle = step == "(idle)"
        if self.idle:
            self.fault = self.sink.unasked(fault)

    def heal(self):
        super().heal()
        if self.met == "connect":
            self.sink.listen()

    def words(self):
        """(code, enhanced, text) of the upstream."""
        said = FULL if self.outcome == "rcpt" else {"451": LATER, "554": NEVER, "421": CLOSING}[self.way]
        code, enhanced, text = said.split(" ", 2)
        return int(code), enhanced, text.replace("\x1b", "?")

    def reason(self):
        """What our own words say."""
        early = "|connection reset by peer" if self.way == "reset" else ""  # perhaps before we know of a connection
        if self.met == "handshake":
            return "TLS|more than it was asked" + early
        if self.met == "connect":
            return "cannot connect: " + ("timed out" if self.timeout else "connection refused")
        if self.way in ("451", "554", "421"):
            return re.escape(self.words()[2])
        if self.timeout:
            return self.step_name + " was not answered in time"
        if self.fault in (faults.lost, faults.reset):
            return "connection ended while waiting for " + self.step_name + early
        return "protocol error|more than it was asked|was answered|refused the login|offer"

    def check_first(self, told):
        recipient, = told["recipients"]
        state = {"ok": "delivered", "fresh": "delivered", "doubt": "uncertain"}.get(self.outcome, "deferred")
        state = "bounced" if self.bounced else state
        self.check(told["state"] == recipient["state"] == state and told["attempts"] == 1, told)
        heard = (recipient["code"], recipient["enhanced"], recipient["text"])
        attempts = [event["text"] for event in told["events"] if event["what"] == "attempt"]
        if state == "delivered":
            self.check(heard[0] in (250, 251) and attempts == [], told)
        elif self.outcome in ("said", "rcpt"):
            self.check(heard == self.words() and attempts == [heard[2]], told)
        else:
            own = "4.4.2" if self.met in ("MAIL", "RCPT", "DATA", "content", "dot") else "4.4.1"
            self.check(heard[:2] == (None, own) and re.search(self.reason(), heard[2]), self.reason(), told)
            self.check(attempts == [heard[2]], told)
        if state in ("deferred", "uncertain"):
            wait = seconds(recipient["dueAt"]) - seconds(recipient["updatedAt"])
            self.check(0.79 * 3600 < wait < 1.21 * 3600 and recipient["upstream"] == self.upstream, told)
        arrived = state == "delivered" or self.met == "dot"
        self.check(len(self.contents()) == arrived and len(self.sink.contents) == self.before + arrived)
        if state == "delivered":
            self.check(self.sink.connections == (2 if self.outcome == "fresh" else 1), self.sink.connections)

    def check_second(self, told):
        again = not self.bounced and self.outcome not in ("ok", "fresh")
        self.check(told["state"] == ("bounced" if self.bounced else "delivered"), told)
        self.check(told["attempts"] == 1 + again, told)
        contents = self.contents()
        self.check(len(contents) == (self.met == "dot" or self.outcome in ("ok", "fresh")) + again, len(contents))
        self.check(len(set(contents)) <= 1, contents)
        if self.outcome != "doubt":  # then nobody but the upstream knows
            self.check(len(self.taken()) == 1 - self.bounced, len(self.taken()))
        for sender, people, raw in self.taken():
            self.check((sender, people) == ("a@" + self.domain, self.people), sender, people)
            self.check(raw.endswith(b"\r\n\r\n" + self.body), raw[:300])


class PeopleCell(Cell):
    """A row of PEOPLE."""

    idle = False

    def __init__(self, number, kind, row, certificates):
        answers, data, dot, states, self.sent = row
        super().__init__(number, repr(row[:3]), kind, states)
        self.states, self.people = states.split(), [f"r{i}@dest.example" for i in (1, 2, 3)]
        self.bounced = self.states.count("bounced")
        script = {"RCPT": lambda n, line: answers[n] if n < 3 else ...}
        if kind == "clear" or any(str(answer).startswith("25") for answer in answers):
            script["DATA"] = lambda n, line: data if n == 0 else ...
            script["dot"] = lambda n, line: dot if n == 0 else ...
        self.open(script, certificates)

    def check_first(self, told):
        self.check([r["state"] for r in told["recipients"]] == self.states and told["attempts"] == 1, told)
        self.check(len(self.contents()) == self.sent and all(self.contents()), self.contents())
        self.check(all(raw == b"" for raw in self.sink.contents if raw not in self.contents()))

    def check_second(self, told):
        want = ["bounced" if state == "bounced" else "delivered" for state in self.states]
        self.check([r["state"] for r in told["recipients"]] == want, told)
        self.check([r["attempts"] for r in told["recipients"]] ==
                   [1 if state in ("bounced", "delivered") else 2 for state in self.states], told)
        self.check(len(set(self.contents())) <= 1, self.contents())
        for person, first, last in zip(self.people, self.states, want):
            got = sum(people.count(person) for _, people, _ in self.taken())
            self.check(got == (last == "delivered") or first == "uncertain" and got == 2, person, got)


class Matrix:
    """One relay with an upstream for each cell. One worker: all messages of a cell meet the same connections."""

    def __init__(self, rows, certificates):
        self.certificates = certificates
        self.rest = Sink()  # of the bounces: routes by the sender's domain are not for a null sender
        self.cells = [make(i, *row, certificates) for i, (make, *row) in enumerate(rows)]
        self.relay = Relay(LATER_BY_HAND + 'default_upstreams = {"rest"}\n',
                           upstream=self.upstreams(), workers=1)

    def upstreams(self):
        return block("rest", self.rest) + "".join(cell.block(self.certificates) for cell in self.cells)

    def close(self):
        faults.over.set()
        self.rest.close()
        for cell in self.cells:
            cell.sink.close()

    def story(self, name):
        return self.relay.api("/v1/messages/" + name)

    def settle(self, *more):
        wait_for(lambda: not {"queued", "delivering", *more} & set(self.relay.queue().values()), "the attempts", 60)

    def warm_up(self, client):
        """A connection that was kept, and for some cells did not stay as it was."""
        kept = [cell for cell in self.cells if cell.before]
        for cell in kept:
            cell.id = cell.submit(client)
        self.settle()
        for cell in kept:
            assert self.story(cell.id)["state"] == "delivered", cell.name
            if cell.idle:
                cell.sink.heard.set()
                assert cell.sink.idle.wait(PATIENCE_S), cell.name

    def send(self, client):
        """Those that wait for a timeout come last and alone: nobody else is to cost them time."""
        for timed in (False, True):
            for cell in self.cells:
                if bool(cell.timeout) == timed:
                    cell.id = cell.submit(client)
            self.settle()

    def recover(self, client):
        """All is well, and there is all the time in the world."""
        faults.over.set()
        for cell in self.cells:
            cell.heal()
        self.relay.upstream = self.upstreams()
        self.relay.write_config()
        self.relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "event=reloaded" in self.relay.log(), "the reload")
        self.relay.cli("queue", "retry", "--all")
        for cell in self.cells:
            cell.last = cell.submit(client)
        self.settle("deferred", "uncertain")
