"""Can a mail program that is not ours read our bounces and delay notices?

Reports about hostile things are composed by tests/support/dsn_sample and read by Python's `email`, with its
old and its new policy. Every fact must come out as it went in, nothing else may, and no defect be noticed.
"""
import email
import email.policy
import email.utils
import os
import random
import re
import subprocess

from support.cases import case, run

POLICIES = {"compat32": email.policy.compat32, "default": email.policy.default}
HEADER_MAX = 32 * 1024
ARRIVED, NOW, UNTIL = 1795265786, 1795280186, 1795611386
ID, REPORT_ID = "01j5r2k8xq4vd", "01j5r2k8xq4vf"

PLAIN = b"Received: from [192.0.2.1] by relay.example\r\n\twith ESMTPSA; today\r\nFrom: ann@good.example\r\n" \
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@good.example>\r\n"

ORIGINALS = {  # header blocks without their empty line
    "plain": PLAIN,
    "one field": b"A: b\r\n",
    "blanks at the end of lines": b"A: b \t\r\n  c  \r\nD:\t\r\n",
    "blanks at the end of lines, and 8-bit": b"A: \xff \t\r\n  c  \r\nD:\t\r\n",
    "signs of quoted-printable": b"A: =20=\r\nB: =C3\r\n" + b"C: " + b"=" * 500 + b"\r\n",
    "signs of quoted-printable, and 8-bit": b"A: =20=\r\nB: =C3 \xc3\r\n" + b"C: " + b"=" * 500 + b"\r\n",
    "UTF-8": PLAIN + "Comments: Grüße, 世界 🙂\r\n".encode(),
    "8-bit that is not UTF-8": PLAIN + bytes([*b"X: ", *range(128, 256), *b"\r\n"]),
    "ISO-2022-JP": PLAIN + b"X: \x1b$B8&5f\x1b(B\r\n",
    "NUL": PLAIN + b"X: a\0b\r\n",
    "bare CR and LF": PLAIN + b"X: a\rb\nTo: c\r\r\n",
    "a line of 998": PLAIN + b"X: " + b"x" * 995 + b"\r\n",
    "a line of 999": PLAIN + b"X: " + b"x" * 996 + b"\r\n",
    "a line of 5000 with blanks": PLAIN + b"X:" + b" word" * 1000 + b"\r\n",
    "a line of 5000 bytes above 127": PLAIN + b"X:" + b"\xe4" * 5000 + b"\r\n",
    "what looks like a boundary": PLAIN + b"--=_0." + REPORT_ID.encode() + b": x\r\n"
    b"--=_0." + REPORT_ID.encode() + b"--: x\r\n --=_1." + REPORT_ID.encode() + b"\r\n",
    "From and dots at the start of lines": b"From : x\r\n.: x\r\n..: y\r\nFrom: ann@good.example\r\n",
}

TEXTS = [  # and what must be read of them
    (b"", ""),
    (b"No such user", "No such user"),
    (b"  blanks \t everywhere  ", "blanks everywhere"),
    (b"two\r\nlines", "two lines"),
    (b"end\r\n\r\n--=_0.01j5r2k8xq4vf--\r\n.\r\n", "end --=_0.01j5r2k8xq4vf-- ."),
    (b"x\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; eve@evil.example",
     "x Action: delivered Final-Recipient: rfc822; eve@evil.example"),
    (b"a\rb\nc", "a b c"),
    (b"\x1b[31mred\x07\x7f", r"\x1b[31mred\x07\x7f"),
    ("unzustellbar für 世".encode(), r"unzustellbar f\xc3\xbcr \xe4\xb8\x96"),
    (b"\xff\xfe\xc3(", r"\xff\xfe\xc3("),
    (b"100% full %s%n%1000000d", "100% full %s%n%1000000d"),
    (b"\"quoted\" 'text' \\ (comment <a@b> ; , : =20", "\"quoted\" 'text' \\ (comment <a@b> ; , : =20"),
    (b"From here on nothing", "From here on nothing"),
    (b"see https://help.example/" + b"x" * 300 + b" please", "see https://help.example/" + "x" * 300 + " please"),
    (b"w" * 512, "w" * 512),
    (b"word " * 102 + b"12", "word " * 102 + "12"),
    (b"w" * 2000, "w" * 516 + "..."),
    (b"many words " * 182, None),  # cut somewhere
    (b"\xff" * 2000, r"\xff" * 129 + "..."),
]

ADDRESSES = ["bob@example.org", '"b o  b"@example.org', r'"q\"u\\o(t;e,d<"@example.org', '"@"@example.org',
             "bob@[192.0.2.1]", "bob@[IPv6:2001:db8::1]", "a!b%c{d}|e~'f=g/h@example.org", '""@example.org',
             "-bob@example.org", "x" * 64 + "@" + "y" * 60 + ".example"]

ENHANCED = {  # to the Status of a failed and of a delayed recipient
    "": ("5.0.0", "4.0.0"), "5.1.1": ("5.1.1", "4.0.0"), "4.4.7": ("4.4.7", "4.4.7"), "5.123.456": ("5.123.456", "4.0.0"),
    "2.0.0": ("5.0.0", "4.0.0"), "junk": ("5.0.0", "4.0.0"), "5.1.1\r\nX": ("5.0.0", "4.0.0"),
}
UPSTREAMS = {"": None, "main": None, "smtp.provider.example": "dns; smtp.provider.example", "maildir:/x.y": None,
             "a.b\r\nX: y": None}


def recipient(address="bob@example.org", code=550, enhanced="5.1.1", text=TEXTS[1], upstream="", attempts=1):
    return {"address": address, "code": code, "enhanced": enhanced, "text": text, "upstream": upstream,
            "attempts": attempts}


def report(recipients, original=PLAIN, action="failed", body=b"\r\nThe body\r\n", sender="ann@good.example"):
    return {"action": action, "sender": sender, "original": original, "body": body, "recipients": recipients}


def description(facts):
    """As dsn_sample reads it."""
    whole = facts["original"] + facts["body"]
    texts = [facts["action"], "relay.example", REPORT_ID, ID, facts["sender"], ARRIVED, NOW, UNTIL, len(whole)]
    tail = [len(facts["recipients"])]
    for r in facts["recipients"]:
        tail += [r["address"], r["code"], r["enhanced"], r["text"][0], r["upstream"], r["attempts"]]

    def joined(values):
        return b"".join((v if isinstance(v, bytes) else str(v).encode()) + b"\0" for v in values)
    return joined(texts) + whole + joined(tail)


def compose(all_facts):
    tool = os.path.join(os.environ.get("BUILD", "build"), "tests/support/dsn_sample")
    done = subprocess.run([tool], input=b"".join(map(description, all_facts)), stdout=subprocess.PIPE, check=True)
    rest, reports = done.stdout, []
    while rest:
        length, _, rest = rest.partition(b"\n")
        reports.append(rest[:int(length)])
        rest = rest[int(length):]
    assert len(reports) == len(all_facts), (len(reports), len(all_facts))
    return reports


def unfolded(value):
    return re.sub(r"\r\n(?=[ \t])", "", str(value))


def fields(message):
    return [(name, unfolded(value)) for name, value in message.items()]


def mail_date(unix_s):
    return email.utils.formatdate(unix_s)[:-5] + "+0000"


def check_defects(message):
    for part in message.walk():
        assert not part.defects, (part.get_content_type(), part.defects)
        for name, value in part.items():
            assert not getattr(value, "defects", ()), (name, value, value.defects)


def check_bytes(raw):
    assert max(raw) < 127, "a byte above 126"
    assert raw.endswith(b"\r\n")
    for line in raw[:-2].split(b"\r\n"):
        assert len(line) <= 998, line
        assert b"\r" not in line and b"\n" not in line and b"\0" not in line, line


def check_header(message, facts):
    subject = "Your message is delayed" if facts["action"] == "delayed" else "Your message could not be delivered"
    want = [("From", "Mail Delivery System <MAILER-DAEMON@relay.example>"), ("To", f"<{facts['sender']}>"),
            ("Subject", subject), ("Date", mail_date(NOW)), ("Message-ID", f"<{REPORT_ID}@relay.example>"),
            ("Auto-Submitted", "auto-replied"), ("MIME-Version", "1.0")]
    got = fields(message)
    # The new policy writes an address in its own way.
    got[1] = (got[1][0], "<" + email.utils.parseaddr(got[1][1])[1] + ">")
    assert got[:-1] == want, got
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"


def said(r):
    """What the report must say of a reason, or None where it only must be cut."""
    if r["text"][1] is None:
        return None
    if r["code"] == 0:
        return r["text"][1] or "no reason is known"
    enhanced = r["enhanced"] if re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", r["enhanced"]) else ""
    return " ".join(word for word in (str(r["code"]), enhanced, r["text"][1]) if word)


def check_people(part, facts):
    assert part.get_content_type() == "text/plain" and part.get_content_charset() == "us-ascii"
    text = part.get_payload(decode=True).decode("ascii")
    assert ID in text and mail_date(ARRIVED) in re.sub(r"\s+", " ", text), text
    flat = re.sub(r"\s+", " ", text)
    for r in facts["recipients"]:
        assert f"\r\n  {r['address']}\r\n" in text, (r["address"], text)
        if said(r) is not None:
            assert re.sub(r"\s+", " ", said(r)) in flat, (said(r), text)
    assert ("trying until " + mail_date(UNTIL) in flat) == (facts["action"] == "delayed"), text


def check_recipient(block, r, delayed):
    got = dict(fields(block))
    names = [name for name, _ in fields(block)]
    want = {"Final-Recipient": "rfc822; " + r["address"], "Action": "delayed" if delayed else "failed",
            "Status": ENHANCED[r["enhanced"]][delayed]}
    if UPSTREAMS[r["upstream"]]:
        want["Remote-MTA"] = UPSTREAMS[r["upstream"]]
    kind = "smtp; " if r["code"] else "X-Latchpost; "
    want["Diagnostic-Code"] = kind + said(r) if said(r) is not None else got["Diagnostic-Code"]
    if r["attempts"] > 0:
        want["Last-Attempt-Date"] = mail_date(NOW)
    if delayed:
        want["Will-Retry-Until"] = mail_date(UNTIL)
    assert names == list(want), (names, r)
    assert got == want, (got, want)
    if said(r) is None:
        assert got["Diagnostic-Code"].endswith("..."), got


def check_status(part, facts):
    assert part.get_content_type() == "message/delivery-status"
    blocks = part.get_payload()
    assert len(blocks) == 1 + len(facts["recipients"]), len(blocks)
    assert fields(blocks[0]) == [("Reporting-MTA", "dns; relay.example"), ("Arrival-Date", mail_date(ARRIVED))]
    for block, r in zip(blocks[1:], facts["recipients"]):
        check_recipient(block, r, facts["action"] == "delayed")


def check_returned(part, facts):
    assert part.get_content_type() == "text/rfc822-headers"
    assert part["Content-Transfer-Encoding"] in ("7bit", "quoted-printable")
    if part["Content-Transfer-Encoding"] == "quoted-printable":
        for line in part.get_payload().split("\r\n"):
            assert len(line) <= 76 and not line.endswith((" ", "\t")), line
    got = part.get_payload(decode=True)
    if len(facts["original"]) <= HEADER_MAX // 4:
        assert got == facts["original"], (got, facts["original"])
        return
    assert facts["original"].startswith(got) and len(part.get_payload()) <= HEADER_MAX
    rest = facts["original"][len(got):]
    assert got.endswith(b"\r\n") and rest[:1] not in (b" ", b"\t"), "cut in the middle of a field"
    assert len(got) > HEADER_MAX // 4, len(got)


def check(raw, facts):
    check_bytes(raw)
    for name, policy in POLICIES.items():
        try:
            message = email.message_from_bytes(raw, policy=policy)
            check_defects(message)
            check_header(message, facts)
            people, status, returned = message.get_payload()
            check_people(people, facts)
            check_status(status, facts)
            check_returned(returned, facts)
            boundary = message.get_boundary().encode()
            assert raw.count(boundary) == 5, raw.count(boundary)  # the header, three starts, the end
        except Exception:
            print(f"--- policy {name}, {facts}\n{raw.decode('ascii', 'replace')}")
            raise


def check_all(all_facts):
    for raw, facts in zip(compose(all_facts), all_facts):
        check(raw, facts)


def both(**facts):
    return [report(action=action, **facts) for action in ("failed", "delayed")]


@case
def whatever_the_upstream_said_is_read_as_one_diagnostic_code():
    check_all([f for text in TEXTS for code in (0, 450, 550) for f in both(recipients=[recipient(text=text, code=code)])])


@case
def every_address_comes_out_as_it_went_in():
    check_all([f for address in ADDRESSES for f in both(recipients=[recipient(address=address)])])


@case
def status_and_upstream_are_told_where_they_mean_something():
    check_all([f for enhanced in ENHANCED for upstream in UPSTREAMS for attempts in (0, 1, 12)
               for f in both(recipients=[recipient(enhanced=enhanced, upstream=upstream, attempts=attempts)])])


@case
def the_original_header_comes_back_byte_for_byte():
    check_all([f for original in ORIGINALS.values()
               for f in both(original=original, recipients=[recipient(), recipient(text=TEXTS[4])])])


@case
def a_vast_header_comes_back_up_to_a_field():
    blocks = [PLAIN * 400, b"X: \xc3\xa4 y\r\n\tz\r\n" * 8000, PLAIN * 3 + b"X: " + b"\xff" * 40000 + b"\r\n",
              b"A: 1\r\n" * 20000]
    for block in (blocks[0], blocks[1], blocks[3]):
        check_all(both(original=block, recipients=[recipient()]))
    # One field that is too long alone takes all behind it along.
    for raw in compose(both(original=blocks[2], recipients=[recipient()])):
        returned = email.message_from_bytes(raw).get_payload()[2]
        assert returned.get_payload(decode=True) == PLAIN * 3, returned


@case
def a_message_that_is_cut_or_has_no_header_still_gives_a_report():
    check_all([report([recipient()], body=body) for body in (b"", b"X: cut", b"X: cut\r", b"X: cut\r\n\tin a fo")])
    for original, want in ((b"", b""), (b"\r\nbody", b""), (b"cut", b"")):
        for raw in compose(both(original=original, body=b"", recipients=[recipient()])):
            returned = email.message_from_bytes(raw, policy=email.policy.default).get_payload()[2]
            assert returned.get_payload(decode=True) == want, returned


def any_recipient(rng, text=None):
    return recipient(rng.choice(ADDRESSES), rng.choice((0, 421, 450, 550, 599)), rng.choice(list(ENHANCED)),
                     text or rng.choice(TEXTS), rng.choice(list(UPSTREAMS)), rng.randrange(20))


@case
def one_hundred_recipients_have_one_hundred_fates():
    rng = random.Random(20261121)
    check_all([f for _ in range(5) for f in both(recipients=[any_recipient(rng) for _ in range(100)])])


def any_text(rng):
    alphabet = [bytes([n]) for n in range(1, 256)] + [b" "] * 60 + [b"\r\n"] * 20 + [b"word"] * 60
    text = b"".join(rng.choice(alphabet) for _ in range(rng.randrange(90)))
    text = text.replace(b"=?", b"??")  # the new policy decodes what looks like an encoded word
    clean = "".join(chr(c) if 32 <= c <= 126 else " " if c in b"\t\r\n" else f"\\x{c:02x}" for c in text)
    return text, " ".join(word for word in clean.split(" ") if word)


def any_block(rng):
    lines = []
    for _ in range(rng.randrange(1, 30)):
        value = bytes(rng.choice(rng.choice((range(32, 127), range(128, 256), b" \t=", b"\0\r\n\x1b")))
                      for _ in range(rng.randrange(1, 200)))
        lines.append(rng.choice((b"X: ", b"X: ", b" y", b"\tz")) + value.replace(b"\r\n", b"") + b".\r\n")
    return b"A: b\r\n" + b"".join(lines)


@case
def three_hundred_random_reports_are_read_as_they_were_meant():
    rng = random.Random(20261122)
    all_facts = []
    for _ in range(300):
        recipients = [any_recipient(rng, any_text(rng)) for _ in range(rng.randrange(1, 5))]
        all_facts.append(report(recipients, any_block(rng), rng.choice(("failed", "delayed"))))
    check_all(all_facts)


run()
