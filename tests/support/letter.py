"""Reports to senders (RFC 3464), read by Python's `email`, which knows nothing of ours. A letter is what comes to a
Sink with a null sender.
"""
import email
import email.policy
import re

from support.relay import wait_for


def _undo_dots(raw):
    return re.sub(rb"(?m)^\.", b"", raw)


class Letter:
    """A report as its reader finds it."""

    def __init__(self, envelope):
        sender, self.recipients, raw = envelope
        raw = _undo_dots(raw)
        assert sender == "", envelope
        assert raw.isascii() and all(len(line) <= 998 for line in raw.split(b"\r\n")), raw
        assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r"), raw
        self.mail = email.message_from_bytes(raw, policy=email.policy.default)
        assert self.mail.get_content_type() == "multipart/report", raw
        assert self.mail.get_param("report-type") == "delivery-status", raw
        assert not self.mail.defects and self.mail["Message-ID"] and self.mail["Date"], raw
        assert self.mail["Auto-Submitted"].startswith("auto-"), raw
        self.text, status, self.original = self.mail.get_payload()
        self.whole, *people = status.get_payload()
        self.status = {person["Final-Recipient"].split(";")[1].strip(): person for person in people}

    def action(self, recipient):
        return self.status[recipient]["Action"], self.status[recipient]["Status"]


def letters(sink):
    return [Letter(envelope) for envelope in list(sink.messages) if envelope[0] == ""]


def wait_letters(sink, count):
    wait_for(lambda: sum(1 for sender, _, _ in list(sink.messages) if sender == "") >= count, f"{count} letter(s)")
    found = letters(sink)
    assert len(found) == count, [str(letter.mail) for letter in found]
    return found
