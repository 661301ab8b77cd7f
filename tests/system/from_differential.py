#!/usr/bin/env python3
"""Is a From that the sender rule accepts read the same by other parsers?

usage: from_differential.py [COUNT [SEED]]

The judge is the binary of tests/support/from_judge.c, below the folder $BUILD (build). It is asked about the rows of area D and about
COUNT generated headers (20000 unless told; the same for the same SEED), and so are the readers
below. A header that the judge accepts while a reader sees another domain than good.example, or
other than one address, is a failure. So is a D row with another verdict than its own. One kindness:
Python's getaddresses() ends a quoted string at a fold, and so may see an address without any domain
where a long name is folded within its quotes; that is counted, not failed. Readers:
Python's email with the default policy, with compat32 and getaddresses(), and a naive one that only
takes what stands between brackets. Where node with nodemailer or Perl with Email::Address::XS is
installed, they read along. Exit 1 on a failure.
"""

import email
import email.policy
import email.utils
import json
import os
import random
import re
import shutil
import subprocess
import sys

GOOD = b"a@good.example"
EVIL = b"admin@victim.example"

D_ROWS = [
    ("D-01", b"From: <%e>", "not-permitted"),
    ("D-02", b"From: <%g>\r\nFrom: <%e>", "not-readable"),
    ("D-03", b"From: <%e>\r\nFrom: <%g>", "not-readable"),
    ("D-04", b"From: <%g>, <%e>", "not-readable"),
    ("D-05", b"From: <%e>, <%g>", "not-readable"),
    ("D-06", b"From: <%g>\r\nFrom : <%e>", "not-readable"),
    ("D-07", b" From: <%g>\r\nFrom: <%e>", "not-readable"),
    ("D-08", b"From\r\n : <%g>\r\nFrom: <%e>", "not-readable"),
    ("D-09", b"From: <@good.example,@x.example:%e>", "not-readable"),
    ("D-10", b"From: <%e>\\,<%g>", "not-readable"),
    ("D-11", b"From: %e,<%g>", "not-readable"),
    ("D-12", b"From: <%g>%e", "not-readable"),
    ("D-13", b"From: =?utf-8?B?PGFkbWluQHZpY3RpbS5leGFtcGxlPg==?=,<%g>", "not-readable"),
    ("D-14", b"From: =?utf-8?Q?a=40good.example?=", "not-readable"),
    ("D-15", b"From: team:%g,%e;", "not-readable"),
    ("D-15", b"From: team:;", "not-readable"),
    ("D-16", b"To: <%g>", "not-readable"),
    ("D-16", b"From:", "not-readable"),
    ("D-16", b"From: <>", "not-readable"),
    ("D-16", b"From: Bob", "not-readable"),
    ("D-17", b'From: "%e"@good.example', "not-readable"),
    ("D-18", b'From: "%e" <%g>', "ok"),
    ("D-19", b'From: "%g" <%e>', "not-permitted"),
    ("D-23", b"From: <a@[192.0.2.1]>", "not-permitted"),
    ("D-23", b"From: <a@[IPv6:2001:db8::1]>", "not-permitted"),
    ("D-24", b"From: <A@Good.Example>", "ok"),
    ("D-25", b"From: <%g.>", "not-readable"),
    ("D-26", b"From: a@sub.good.example", "not-permitted"),
    ("D-26", b"From: a@evilgood.example", "not-permitted"),
    ("D-26", b"From: a@good.example.victim.example", "not-permitted"),
    ("D-27", b"From: <%g>\r\nSender: <%e>", "not-permitted"),
    ("D-28", b"From: <%e>\r\nSender: <%g>", "not-permitted"),
    ("D-29", b"From: <%g>\r\nReply-To: <x@victim.example>", "ok"),
    ("D-30", b"From: %g (%e)", "not-readable"),
    ("D-30", b"From: %g (Cron Daemon)", "ok"),
    ("D-31", b"From: Bob\r\n <%g>", "ok"),
    ("D-32", b"From: <%g>\r\nSender: <%g>\r\nSender: <%g>", "not-readable"),
    ("D-32", b"From: <%g>\r\nDate: x\r\nDate: x", "not-readable"),
    ("D-32", b"From: <%g>\r\nMessage-ID: <x@y>\r\nMessage-ID: <x@y>", "not-readable"),
    ("D-32", b"From: <%g>\r\nTo: x@y\r\nTo: x@y", "not-readable"),
    ("D-33", b"From: Jos\xc3\xa9 <%g>", "non-ascii"),
    ("D-39", b"From: <a@b\xc3\xbccher.example>", "non-ascii"),
    ("D-49", b"From: <%g>\r\nFROM: <%g>", "not-readable"),
    ("D-49", b"From: <%g>\r\nfRoM: <%e>", "not-readable"),
    ("D-49", b"From\t: <%g>", "not-readable"),
    ("D-49", b"From: <%g>\r\nSubject: x\r\n\tFrom: <%e>", "ok"),
    ("D-50", b"\r\nFrom: <%g>", "not-readable"),
    ("D-51", b"From: <%g>\r\n\r\n\r\n\r\nFrom: <%e>", "ok"),
    ("D-55", b"From: <x%victim.example@good.example>", "not-permitted"),
    ("D-55", b"From: victim.example!x@good.example", "not-permitted"),
]

# Pieces that a From may be made of: the good, the hostile, and all the glue between them.
PIECES = [
    GOOD, GOOD, GOOD, EVIL, b"<" + GOOD + b">", b"<" + GOOD + b">", b"<" + EVIL + b">",
    b"a@Good.Example", b"x%victim.example@good.example", b"b@good.example", b"good.example",
    b"victim.example", b"Bob", b"J.", b"O'Neil", b"John Q. Public", b'"Bob"', b'"' + EVIL + b'"',
    b'"a, b"', b'"a\\"b"', b'"a\\\\"', b'"x\\" <' + EVIL + b'>, \\"y"', b'"', b"\\", b'\\"',
    b"(Bob)", b"(" + EVIL + b")", b"(a(b)c)", b"(", b")", b"()", b"<", b">", b"@", b",", b";",
    b":", b".", b"[", b"]", b"=?utf-8?Q?Bob?=", b"=?utf-8?B?PGFkbWluQHZpY3RpbS5leGFtcGxlPg==?=",
    b"=?utf-8?Q?=22,admin=40victim.example,=22?=", b"=?x?q?a=40victim.example=3e=00?=", b"=?",
    b"?=", b"team:", b"<@x.example:", b"\r\n ", b"\r\n\t", b" ", b" ", b"\t", b"'", b"`", b"\x00",
    b"\x0b", b"\x0c", b"\x1c", b"\x7f", b"\r", b"\n", b"\r\n", b"\xc3\xa9", b"\xe2\x80\xa8",
    b"\xc2\x85", b"\xa0", b"\r\nSubject: x", b"\r\nFrom: ", b"\r\nfrom:", b"\r\nFrom : ",
    b"\r\n From: ", b"\r\nSender: ", b"\r\n\r\n",
]

# Forms in which one place is filled at random: closer to what is accepted than loose pieces.
FORMS = [
    b"%s <%s>", b'"%s" <%s>', b"%s (%s)", b"<%s>%s", b"%s%s", b'"%s"%s <a@good.example>',
    b"%s\r\n <a@good.example>%s", b'"%s\\"%s" <a@good.example>', b"%s a@good.example%s",
    b"=?utf-8?Q?%s?=%s <a@good.example>", b"a@good.example (%s)%s", b'"%s" <a@good.example>%s',
    b"%s <a@good.example>%s", b"<a%s@good.example%s>", b"a%s@good.example%s",
]


def block_of(lines):
    text = lines.replace(b"%g", GOOD).replace(b"%e", EVIL)
    return text + b"\r\nTo: r@dest.example\r\n\r\n"


def generated_value(rng):
    def some(most):
        return b"".join(rng.choice(PIECES) for _ in range(rng.randint(0, most)))

    kind = rng.random()
    if kind < 0.35:
        value = some(6)
    elif kind < 0.8:
        value = rng.choice(FORMS) % (some(3), some(2))
    else:  # an acceptable value with a few bytes changed
        accepted = [b"Bob <a@good.example>", b'"B, \\"x\\"" <a@good.example>',
                    b"a@good.example (Cron Daemon)", b"=?utf-8?Q?B=C3=A9?= <a@good.example>"]
        value = bytearray(rng.choice(accepted))
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(value))
            piece = rng.choice(PIECES) if rng.random() < 0.5 else bytes([rng.randrange(256)])
            value[at:at + rng.randint(0, 1)] = piece
        value = bytes(value)
    return value


def ask_judge(judge, blocks):
    data = b"".join(b"%d\n%s" % (len(block), block) for block in blocks)
    done = subprocess.run([judge], input=data, stdout=subprocess.PIPE, check=True)
    lines = done.stdout.decode("ascii").splitlines()
    if len(lines) != len(blocks):
        sys.exit(f"the judge answered {len(lines)} of {len(blocks)} blocks")
    return [line.split(" ", 1)[0] for line in lines]


# --- the readers: a block to the list of the addresses in its From --------------------------------

def read_default_policy(block):
    fields = email.message_from_bytes(block, policy=email.policy.default).get_all("From", [])
    return [address.addr_spec for field in fields for address in field.addresses]


def read_compat32(block):
    fields = email.message_from_bytes(block).get_all("From", [])
    return [address for _, address in email.utils.getaddresses([str(f) for f in fields])]


def read_one_by_one(block):
    fields = email.message_from_bytes(block).get_all("From", [])
    return [email.utils.parseaddr(str(field))[1] for field in fields]


def unfolded_values(block):
    head = block.split(b"\r\n\r\n", 1)[0].decode("latin-1")
    lines = re.sub(r"\r?\n(?=[ \t])", "", head).splitlines()
    return [line.split(":", 1)[1] for line in lines if re.match(r"(?i)from\s*:", line)]


def read_naive(block):
    """Takes quoted strings away without knowing a backslash, then what stands in brackets."""
    found = []
    for value in unfolded_values(block):
        bare = re.sub(r'"[^"]*"', "", value)
        found += re.findall(r"[^\s<>,;:()\"]+@[^\s<>,;:()\"]+", bare)
    return found


READERS = {"email default": read_default_policy, "email compat32": read_compat32,
           "email parseaddr": read_one_by_one, "naive": read_naive}

# Programs that read JSON lists of values, and answer with the JSON list of their addresses.
NODE = """const parse = require(process.argv[1]);
const values = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const flat = list => list.flatMap(a => a.group ? flat(a.group) : [a.address]);
console.log(JSON.stringify(values.map(v => flat(parse(v)))));"""
PERL = r"""use strict; use JSON::PP; use Email::Address::XS qw(parse_email_groups); local $/;
my @all = map { my @g = parse_email_groups($_); my @a;
  while (my (undef, $list) = splice @g, 0, 2) { push @a, map { $_->address // '' } @$list } \@a
} @{ decode_json(<STDIN>) }; print encode_json(\@all);"""
NODEMAILER = "/usr/share/nodejs/nodemailer/lib/addressparser"


def outside_readers():
    found = {}
    if shutil.which("node"):
        command = ["node", "-e", NODE, NODEMAILER]
        if subprocess.run(command, input=b"[]", capture_output=True).returncode == 0:
            found["nodemailer"] = command
    if shutil.which("perl"):
        command = ["perl", "-e", PERL]
        if subprocess.run(command, input=b"[]", capture_output=True).returncode == 0:
            found["Email::Address::XS"] = command
    return found


def ask_outside(command, values):
    done = subprocess.run(command, input=json.dumps(values).encode(), capture_output=True,
                          check=True)
    return json.loads(done.stdout)


def is_good(addresses):
    return len(addresses) == 1 and addresses[0].lower().endswith("@good.example") \
        and addresses[0].count("@") == 1


def is_lost_in_a_fold(name, block, addresses):
    """A fold stands within quotes, and what was seen is one word that is no address."""
    return name in ("email compat32", "email parseaddr") and len(addresses) == 1 \
        and re.search(rb'(?i)\nfrom:[^"]*"[^"]*\r\n', b"\n" + block) is not None \
        and "@" not in addresses[0].replace(" <a@good.example>", "")


def readings(blocks):
    """The reader's name and what it saw, for each block."""
    for name, read in READERS.items():
        for block in blocks:
            try:
                yield name, block, read(block)
            except Exception as error:  # a reader that breaks has not read one address
                yield name, block, [f"{type(error).__name__}: {error}"]
    values = [value for block in blocks for value in unfolded_values(block)]
    for name, command in outside_readers().items():
        for block, addresses in zip(blocks, ask_outside(command, values)):
            yield name, block, addresses


def main():
    judge = os.path.join(os.environ.get("BUILD", "build"), "tests/support/from_judge")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20000
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 20261121)
    failures = lost = 0

    rows = [block_of(lines) for _, lines, _ in D_ROWS]
    for (name, lines, want), got in zip(D_ROWS, ask_judge(judge, rows)):
        if got != want:
            failures += 1
            print(f"{name} {lines!r}: got {got}, want {want}")

    blocks = rows + [block_of(b"From: " + generated_value(rng)) for _ in range(count)]
    verdicts = ask_judge(judge, blocks)
    accepted = [block for block, verdict in zip(blocks, verdicts) if verdict == "ok"]
    for name, block, addresses in readings(accepted):
        if is_lost_in_a_fold(name, block, addresses):
            lost += 1
        elif not is_good(addresses):
            failures += 1
            print(f"accepted, but {name} reads {addresses!r} in {block!r}")

    print(f"{'not ok' if failures else 'ok'} 1 - {len(blocks)} headers: {len(accepted)} accepted, {len(blocks) - len(accepted)} refused,"
          f" {failures} failures, {lost} times no domain seen behind a fold;"
          f" readers: {', '.join([*READERS, *outside_readers()])}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
