#!/usr/bin/env python3
"""How many instructions does a message cost? A figure without a clock, so that a slower relay shows
on a busy machine, too.

The relay runs under valgrind's callgrind, once for a few messages and once for many; what the many
cost more, divided by how many more they are, is the cost of one: start, stop and logins of kept
sessions fall out. All threads, the libraries included, the kernel not. The same build gives the
same figure to within about 2 %: how messages fall into batches differs from run to run.

    instructions.py --relay build/latchpost --tools build/bench [--messages 1500] [--rows kept,fresh]
"""

import argparse
import json
import os
import re
import subprocess
import tempfile

import targets

ROWS = {
    "kept": ("16 sessions kept, no TLS", ["--sessions", "16"]),
    "kept-tls": ("16 sessions kept, TLS 1.3", ["--sessions", "16", "--tls", "starttls"]),
    "fresh": ("fresh connection a message, no TLS", ["--sessions", "16", "--fresh"]),
    "fresh-tls": ("fresh connection a message, STARTTLS",
                  ["--sessions", "16", "--fresh", "--tls", "starttls"]),
    "http": ("16 connections kept, POST /v1/emails", ["--sessions", "16", "--http"]),
    "one": ("1 session, one message at a time", ["--sessions", "1"]),
}
FEW = 300


class Counted(targets.Latchpost):
    under = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--error-limit=no")


def count(settings, options, messages):
    """Instructions of a whole life of the relay in which this many messages were relayed."""
    with tempfile.TemporaryDirectory(prefix="instructions-", dir=settings.dir) as directory:
        relay = Counted(settings, directory, False)
        try:
            relay.sink.begin(1)
            port = relay.http_port if "--http" in options else relay.starttls_port if "--tls" in options else relay.port
            done = subprocess.run([os.path.join(settings.tools, "load"), *options, "--messages", str(messages),
                                   "--run", "1", "--password-file", relay.password_file, f"127.0.0.1:{port}"],
                                  capture_output=True, text=True, timeout=600)
            report = json.loads(done.stdout)
            arrived = relay.sink.wait(messages, 300)
            if report["errors"] or arrived["unique"] != messages:
                raise SystemExit(f"{arrived['unique']} of {messages} arrived: {report['first_error']}")
        finally:
            relay.stop()
        with open(os.path.join(directory, "log")) as log:
            return int(re.search(r"Collected : (\d+)", log.read())[1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--relay", default="./latchpost")
    parser.add_argument("--tools", default="build/bench", help="where load and sink are")
    parser.add_argument("--messages", type=int, default=1500)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--dir", default="/var/tmp")
    settings = parser.parse_args()
    print(f"{'row':40}{'instructions a message':>24}")
    for name in settings.rows.split(","):
        text, options = ROWS[name]
        few, many = (count(settings, options, messages) for messages in (FEW, FEW + settings.messages))
        print(f"{text:40}{(many - few) / settings.messages:24,.0f}", flush=True)


if __name__ == "__main__":
    main()
