#!/usr/bin/env python3
"""What does the refusal of a wrong key take, and does it tell one kind from another?

    refusal.py --tools build/bench [--checks 1000] [--mixed 200000]

Two figures for each kind of wrong key (tests/bench/refusal.c). The instructions of a check, under valgrind's callgrind:
without a clock, the same from run to run within some 0.1 %. And nanoseconds, of all kinds mixed at random: what the
processor predicts for one kind and not for another shows there only; a quiet machine is needed. Exits with 1 when the
instructions of a kind differ by more than 1 % from those of an id that does not exist.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

KINDS = {
    "unknown-id": "an id that does not exist",
    "wrong-secret": "an id that does, another secret",
    "of-rotated": "that of a key with two secrets",
    "of-revoked": "that of a key that was revoked",
    "mistyped": "a check digit that is wrong",
    "40-letters": "as many letters, no prefix",
    "other-signs": "as many characters, no letters",
}


def count(tools, kind, checks):
    with tempfile.TemporaryDirectory(prefix="refusal-") as folder:
        done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no",
                               "--toggle-collect=measured", os.path.join(tools, "refusal"), folder, kind, str(checks)],
                              capture_output=True, text=True, timeout=600)
        found = re.search(r"Collected : (\d+)", done.stderr)
        if done.returncode != 0 or not found:
            raise SystemExit(done.stderr)
        return int(found[1]) / checks


def time(tools, checks):
    """{kind: (median, mean of the faster nine tenths)} in nanoseconds."""
    with tempfile.TemporaryDirectory(prefix="refusal-") as folder:
        done = subprocess.run([os.path.join(tools, "refusal"), folder, "mixed", str(checks)], check=True,
                              capture_output=True, text=True)
        return {kind: (float(median), float(mean)) for kind, median, mean in map(str.split, done.stdout.splitlines())}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tools", default="build/bench")
    parser.add_argument("--checks", type=int, default=1000)
    parser.add_argument("--mixed", type=int, default=200000)
    options = parser.parse_args()
    counts = {kind: count(options.tools, kind, options.checks) for kind in KINDS}
    times = time(options.tools, options.mixed)
    apart = {kind: 100 * (counts[kind] / counts["unknown-id"] - 1) for kind in KINDS}
    for kind, words in KINDS.items():
        (median, mean), mean_of_first = times[kind], times["unknown-id"][1]
        print(f"  {words:34s} {counts[kind]:7,.0f} instructions {apart[kind]:+6.2f} %   median {median:5.0f} ns   "
              f"mean {mean:7.1f} ns {100 * (mean / mean_of_first - 1):+6.2f} %")
    sys.exit(max(map(abs, apart.values())) > 1)


main()
