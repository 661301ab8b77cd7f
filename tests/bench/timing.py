#!/usr/bin/env python3
"""Does the time of a refusal tell one wrong key from another? Run by hand: make && tests/bench/timing.py

Four kinds of wrong key, mixed at random in the same sessions: a well-formed key with an id that does not exist; the
id of a key that does, with another secret; as many characters that are no key; a short password. Each answer is
timed by the client, so what is measured holds the kernel and Python; the kinds share those. Prints for each kind
the median, and for each pair the difference of the medians, Welch's t and the z of a rank test (Mann-Whitney),
of which neither should be far above 3: 4.5 is the usual line. The tarpit is switched off by counting nothing.
"""
import argparse
import base64
import math
import os
import random
import statistics
import string
import sys
import time
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))
from support.relay import Relay  # noqa: E402

DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase


def with_check(text):
    """The key that starts with these 34 characters (design, section 5)."""
    number, check = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        check = DIGITS[digit] + check
    return text + check


def letters(rng, count):
    return "".join(rng.choices(DIGITS, k=count))


def kinds(rng, ids):
    return {
        "unknown id": lambda: with_check("lpk_" + letters(rng, 30)),
        "wrong secret": lambda: with_check("lpk_" + rng.choice(ids) + letters(rng, 22)),
        "no key": lambda: letters(rng, 40),
        "short": lambda: letters(rng, 8),
    }


def measure(relay, ids, count, rng):
    """{kind: [microseconds]}"""
    makers = kinds(rng, ids)
    # All lines are made before the first is sent: what the client does between two answers is the same for each kind.
    order = [(name, b"AUTH PLAIN " + base64.b64encode(b"\0user\0" + make().encode()) + b"\r\n")
             for name, make in makers.items() for _ in range(count)]
    rng.shuffle(order)
    times = {name: [] for name in makers}
    answers = set()
    for number, (name, line) in enumerate(order):
        if number % 900 == 0:  # a session may not be refused more than a thousand times
            sock = relay.client("local").hello().sock
        began = time.perf_counter_ns()
        sock.sendall(line)
        answer = sock.recv(1000)
        times[name].append((time.perf_counter_ns() - began) / 1000)
        answers.add(answer)
    assert answers == {b"535 5.7.8 this is not a valid API key\r\n"}, answers
    return times


def welch(a, b):
    return (statistics.fmean(a) - statistics.fmean(b)) / \
        math.sqrt(statistics.variance(a) / len(a) + statistics.variance(b) / len(b))


def cropped(times):
    """Without the slowest twentieth, which are the scheduler's."""
    return sorted(times)[:len(times) - len(times) // 20]


def ranks_z(a, b):
    """Mann-Whitney's U as a standard normal variable; equal times share their rank."""
    both = sorted([(x, 0) for x in a] + [(x, 1) for x in b])
    total, i = 0.0, 0
    while i < len(both):
        j = i
        while j < len(both) and both[j][0] == both[i][0]:
            j += 1
        total += sum((i + j + 1) / 2 for k in range(i, j) if both[k][1] == 0)
        i = j
    u = total - len(a) * (len(a) + 1) / 2
    mean = len(a) * len(b) / 2
    return (u - mean) / math.sqrt(len(a) * len(b) * (len(a) + len(b) + 1) / 12)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=10000, help="samples of each kind")
    parser.add_argument("--keys", type=int, default=20, help="keys that exist")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with Relay("limits { auth_failures = 1000 penalty_failures = 0 }", workers=1) as relay:
        ids = [relay.key()[4:12] for _ in range(options.keys)]
        measure(relay, ids, 200, rng)
        times = measure(relay, ids, options.n, rng)
    print(f"{options.n} samples of each kind, {options.keys} keys, {os.cpu_count()} cores, "
          f"load {os.getloadavg()[0]:.1f}")
    for name, taken in times.items():
        print(f"  {name:13s} median {statistics.median(taken):7.2f} us")
    names = list(times)
    for i, one in enumerate(names):
        for other in names[i + 1:]:
            a, b = times[one], times[other]
            apart = 100 * (statistics.median(a) / statistics.median(b) - 1)
            print(f"  {one:13s} / {other:13s} medians {apart:+6.2f} %   "
                  f"Welch t {welch(cropped(a), cropped(b)):+6.2f}   rank z {ranks_z(a, b):+6.2f}")


main()
