#!/usr/bin/env python3
"""How many messages a second, beside Postfix and beside the floor, and at what cost?

For each row the floor (a sink that stores nothing), Postfix and Latchpost are started side by side
and measured in turn, RUNS times, in an order that rotates. A rate of a relay is end to end: from
the first command until the last message is at the sink, where each is checked by id and hash; a
run in which one is missing or damaged is INVALID. Every figure is the median of the runs.

    bench.py --relay ./latchpost --tools build/bench [--runs 3] [--seconds 3] [--rows kept,one]
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import namedtuple

import machine
import targets

# `paused`: the upstream refuses connections while it is measured, and opens afterwards.
# `extra`: not in the table unless it is asked for by name, or with --rows all.
Row = namedtuple("Row", "name text options paused extra", defaults=(False, False))

ROWS = [
    Row("kept", "64 sessions kept, no TLS", ["--sessions", "64"]),
    Row("kept-tls", "64 sessions kept, TLS 1.3", ["--sessions", "64", "--tls", "starttls"]),
    Row("fresh", "fresh connection a message, no TLS", ["--sessions", "64", "--fresh"]),
    Row("fresh-tls", "fresh connection a message, STARTTLS",
        ["--sessions", "64", "--fresh", "--tls", "starttls"]),
    Row("one", "1 session, one message at a time", ["--sessions", "1"]),
    Row("http", "64 connections kept, POST /v1/emails", ["--sessions", "64", "--http"]),
    Row("accept", "accept only (upstream down), 64 kept", ["--sessions", "64"], True),
    Row("thousand", "1,000 sessions kept, no TLS", ["--sessions", "1000"], False, True),
    Row("50k", "64 kept, messages of 50 KB", ["--sessions", "64", "--size", "51200"], False, True),
    Row("1m", "16 kept, messages of 1 MB", ["--sessions", "16", "--size", "1048576"], False,
        True),
    Row("no-pipelining", "64 kept, a round trip a command",
        ["--sessions", "64", "--no-pipelining"], False, True),
]

IDLE_COUNTS = (1000, 10000)
DRAIN_S = 120  # a relay that has accepted mail gets so long to relay it


class Result:
    """The runs of one target in one row."""

    def __init__(self):
        self.runs = []
        self.problems = []
        self.verified = 0
        self.duplicates = 0
        self.drained = None  # messages a second out of the backlog (paused rows)

    def median(self, key):
        values = [run[key] for run in self.runs if run.get(key) is not None]
        return statistics.median(values) if values else None

    def note(self, problem):
        if problem not in self.problems:
            self.problems.append(problem)

    def check(self, report, expected):
        """What the sink says about messages 0 to expected - 1."""
        self.verified += expected - report["missing"]
        self.duplicates += report["duplicates"]
        for trouble in ("missing", "corrupt"):
            if report[trouble]:
                self.note(f"{report[trouble]} {trouble}")


# --- one run ---------------------------------------------------------------------------------------


def run_load(settings, target, options):
    """The report of the generator, whatever became of it."""
    port = target.http_port if "--http" in options else \
        target.starttls_port if "starttls" in options else target.port
    command = [os.path.join(settings.tools, "load"), "--password-file", target.password_file,
               "--seconds", str(settings.seconds), *options, f"127.0.0.1:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=settings.seconds + 300)
    if not done.stdout:
        raise targets.Failure(f"load: {done.stderr.strip() or 'no report'}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(settings, row, target, number, first_id):
    """One run: what the generator says, and what it cost the target."""
    perf = start_perf(settings, row, target, number)
    meter = Meter(target)
    report = run_load(settings, target, [*row.options, "--run", str(number), "--first-id",
                                         str(first_id)])
    run = {
        "accepted": report["accepted"],
        "rate": report["rate"],
        "accept_rate": report["rate"],
        "p50_us": report["dot_us"]["p50"],
        "p99_us": report["dot_us"]["p99"],
        "max_us": report["dot_us"]["max"],
        "session_least": report["session_least"],
        "session_most": report["session_most"],
        "load_us": report["cpu_us_per_message"],
        "errors": report["errors"],
        "first_error": report["first_error"],
        "message_bytes": report["message_bytes"],
        "tls": report["tls"],
    }
    if target.sink is not None and not row.paused:
        arrived = target.sink.wait(report["accepted"], DRAIN_S)
        run["sink"] = arrived
        if arrived["last_ns"] > report["start_ns"]:
            run["rate"] = arrived["unique"] * 1e9 / (arrived["last_ns"] - report["start_ns"])
    run.update(meter.read(report))
    if perf is not None:
        targets.stop_process(perf)
    return run


class Meter:
    """What CPU time went where, from now until read()."""

    def __init__(self, target):
        self.target = target
        self.wall_s = time.monotonic()
        self.busy_s = machine.busy_s()
        self.target_s = target.cpu_s()
        self.sink_s = self._sink_s()
        self.threads_s = machine.thread_cpu_s(target.pid)

    def _sink_s(self):
        return machine.process_cpu_s(self.target.sink.process.pid) if self.target.sink else 0

    def read(self, report):
        wall_s = time.monotonic() - self.wall_s
        target_s = self.target.cpu_s() - self.target_s
        sink_s = self._sink_s() - self.sink_s
        others_s = machine.busy_s() - self.busy_s - target_s - sink_s - report["cpu_s"]
        figures = {"others": max(0, others_s) / wall_s / os.cpu_count()}
        if report["accepted"]:
            each = 1e6 / report["accepted"]
            figures["cpu_us"] = target_s * each
            figures["sink_us"] = sink_s * each
            figures["threads_us"] = [
                (name, (used - self.threads_s.get((tid, name), 0)) * each)
                for (tid, name), used in sorted(machine.thread_cpu_s(self.target.pid).items())]
        return figures


def start_perf(settings, row, target, number):
    """With --profile DIR: samples the relay under test during the run."""
    if settings.profile is None or target.name != "Latchpost":
        return None
    path = os.path.join(settings.profile, f"{row.name}-{number}.data")
    process = subprocess.Popen(["perf", "record", "-q", "-F", "1999", "-g", "-o", path, "-p",
                                str(target.pid)], stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    return process


def run_once(settings, row, target, result, number, accepted_before):
    """Measures one target once and files the outcome."""
    # Paused rows are checked at their end, so their ids go on and their run number stays.
    tag = 1 if row.paused else number
    if target.sink is not None and not row.paused:
        target.sink.begin(tag)
    run = measure(settings, row, target, tag, accepted_before if row.paused else 0)
    result.runs.append(run)
    if run["errors"]:
        result.note(f"{run['errors']} errors, first: {run['first_error']}")
    if "sink" in run:
        result.check(run.pop("sink"), run["accepted"])
    return run


def drain(target, result):
    """A paused row: opens the upstream and checks that all that was accepted comes out."""
    expected = sum(run["accepted"] for run in result.runs)
    target.sink.begin(1)
    target.sink.open()
    start = time.monotonic()
    report, stalled = target.sink.wait(0, 0), 0
    while report["unique"] < expected and time.monotonic() - start < DRAIN_S and stalled < 20:
        target.retry()
        before = report["unique"]
        report = target.sink.wait(expected, 1)
        stalled = stalled + 1 if report["unique"] == before else 0
    report = target.sink.wait(expected, 0)
    result.check(report, expected)
    if report["last_ns"] > report["first_ns"]:
        result.drained = report["unique"] * 1e9 / (report["last_ns"] - report["first_ns"])


# --- one row ---------------------------------------------------------------------------------------


def start_targets(settings, row, base, results):
    started = []
    for kind in targets.ALL:
        if kind.name not in settings.targets or ("--http" in row.options and not kind.speaks_http):
            continue
        directory = tempfile.mkdtemp(prefix=f"{row.name}-{kind.name}-", dir=base)
        os.chmod(directory, 0o755)  # Postfix's own user must get through
        result = results[kind.name] = Result()
        try:
            started.append((kind(settings, directory, row.paused), result))
        except (targets.Failure, OSError) as failure:
            result.note(str(failure))
    return started


def run_row(settings, row, base):
    """{target name: Result}"""
    results = {}
    started = start_targets(settings, row, base, results)
    try:
        for turn in range(settings.runs):
            shift = turn % len(started) if started else 0
            for target, result in started[shift:] + started[:shift]:
                before = sum(run["accepted"] for run in result.runs)
                try:
                    run = run_once(settings, row, target, result, turn + 1, before)
                    progress(f"{row.name} {turn + 1}/{settings.runs} {target.name}: "
                             f"{run['rate']:,.0f}/s")
                except (targets.Failure, subprocess.TimeoutExpired) as failure:
                    result.note(str(failure))
        for target, result in started:
            if row.paused and target.sink is not None:
                progress(f"{row.name}: the upstream opens for {target.name}")
                drain(target, result)
    finally:
        for target, _ in started:
            target.stop()
    return results


# --- idle sessions -----------------------------------------------------------------------------------


def idle_memory(settings, base):
    """[(text, sessions, KiB each)]: how much the relay grows with sessions that are logged in."""
    rows = []
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200
    for tls in ("none", "starttls"):
        for count in IDLE_COUNTS:
            count = min(count, limit)
            directory = tempfile.mkdtemp(prefix="idle-", dir=base)
            target = targets.Latchpost(settings, directory, False)
            try:
                rows.append((tls, count, idle_growth_kib(settings, target, tls, count) / count))
            finally:
                target.stop()
            progress(f"idle {tls} {count}: {rows[-1][2]:.1f} KiB each")
    return rows


def idle_growth_kib(settings, target, tls, count):
    # A first message and session, so that what is made once is not counted.
    run_load(settings, target, ["--tls", tls, "--messages", "20"])
    before = machine.resident_kib(target.pid)
    port = target.starttls_port if tls == "starttls" else target.port
    load = subprocess.Popen([os.path.join(settings.tools, "load"), "--idle", "--sessions",
                             str(count), "--tls", tls, "--password-file", target.password_file,
                             f"127.0.0.1:{port}"], text=True, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)
    try:
        answer = json.loads(load.stdout.readline() or "{}")
        if answer.get("ready") != count:
            raise targets.Failure(f"idle sessions: {answer.get('first_error', 'no answer')}")
        time.sleep(1)  # let it settle: buffers that are freed late should be
        return machine.resident_kib(target.pid) - before
    finally:
        load.stdin.close()
        load.stdout.read()
        load.wait(60)
        load.stdout.close()


# --- the table ---------------------------------------------------------------------------------------


def progress(text):
    """On a terminal, one line that the next row overwrites; elsewhere nothing."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def number(value, form=",.0f", missing="-"):
    return missing if value is None else format(value, form)


def ratio(value, other):
    return value / other if value is not None and other else None


COLUMNS = [  # heading, width
    ("row", 38), ("floor/s", 9), ("Postfix/s", 10), ("Latchpost/s", 12), ("x Postfix", 10),
    ("% floor", 8), ("p50 ms", 8), ("p99 ms", 8), ("Pf p50", 8), ("Pf p99", 8), ("CPU us", 7),
    ("Pf CPU", 7), ("verified", 12),
]


def print_line(cells):
    line = cells[0].ljust(COLUMNS[0][1])
    print(line + "".join(cell.rjust(width) for cell, (_, width) in zip(cells[1:], COLUMNS[1:])))


def milliseconds(result, key):
    value = result.median(key)
    return number(None if value is None else value / 1000, ".3f")


def print_row(row, results):
    floor, postfix, ours = (results.get(name, Result()) for name in
                            ("floor", "Postfix", "Latchpost"))
    rate = ours.median("rate")
    print_line([
        row.text, number(floor.median("rate")), number(postfix.median("rate")), number(rate),
        number(ratio(rate, postfix.median("rate")), ",.1f"),
        number(ratio(rate, floor.median("rate")), ".0%"),
        milliseconds(ours, "p50_us"), milliseconds(ours, "p99_us"),
        milliseconds(postfix, "p50_us"), milliseconds(postfix, "p99_us"),
        number(ours.median("cpu_us")), number(postfix.median("cpu_us")),
        "INVALID" if ours.problems else f"{ours.verified:,}",
    ])
    for name, result in results.items():
        for problem in result.problems:
            print(f"    {name}: INVALID: {problem}")
        if result.duplicates:
            print(f"    {name}: {result.duplicates} came twice")
        if result.drained is not None:
            print(f"    {name}: the backlog of {result.verified:,} left at "
                  f"{result.drained:,.0f}/s once the upstream was open")


    busiest = max((result.median("others") or 0 for result in results.values()), default=0)
    if busiest > 0.05:
        print(f"    other processes took {busiest:.0%} of the machine meanwhile")


def print_threads(results):
    """Where the CPU time of a message goes: the thread that would saturate first is the largest."""
    ours = results.get("Latchpost")
    if ours is None or not ours.runs or "threads_us" not in ours.runs[-1]:
        return
    text = ", ".join(f"{name} {used:.0f}" for name, used in ours.runs[-1]["threads_us"])
    print(f"    Latchpost, CPU us a message by thread: {text}; the generator takes "
          f"{ours.median('load_us'):.0f}, the sink {ours.median('sink_us'):.0f}")


def print_bandwidth(results, figures):
    """Large messages are a matter of octets: beside what the disk takes of them."""
    for name, result in results.items():
        rate, size = result.median("rate"), result.median("message_bytes")
        if rate is None or size is None:
            continue
        passed = rate * size / 1e6
        stored = "" if name == "floor" else \
            f", {passed / figures['write_mb_per_s']:.0%} of a sequential write, " \
            f"{passed / figures['synced_mb_per_s']:.0%} of one that is synced after each MB"
        print(f"    {name}: {passed:,.0f} MB/s{stored}")


def print_one_extra(results, sync_us):
    """The latency goals of a single session are set in units of a sync."""
    ours = results.get("Latchpost")
    if ours is None or ours.median("p50_us") is None:
        return
    p50, p99 = ours.median("p50_us"), ours.median("p99_us")
    print(f"    Latchpost: p50 is {p50 / sync_us:.1f} fdatasyncs, p99 is {p99 / p50:.1f} x p50")


def print_idle(rows):
    for tls, count, kib in rows:
        goal = 16 if tls == "none" else 64
        word = "without TLS" if tls == "none" else "with TLS"
        print(f"{count:,} idle sessions {word}, logged in: {kib:.1f} KiB each "
              f"({kib * count / 1024:,.0f} MiB in all; goal under {goal} KiB each)")


# --- start ---------------------------------------------------------------------------------------------


def parse_arguments():
    names = [row.name for row in ROWS] + ["idle"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--relay", default="./latchpost")
    parser.add_argument("--tools", default="build/bench", help="where load and sink are")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of sending in each run")
    parser.add_argument("--rows", default="", help=f"some of {','.join(names)}; all")
    parser.add_argument("--targets", default="floor,Postfix,Latchpost")
    parser.add_argument("--dir", default="/var/tmp", help="queues live below this; a real disk")
    parser.add_argument("--json", help="also write every run to this file")
    parser.add_argument("--profile", metavar="DIR", help="perf data of the relay, one file a run")
    settings = parser.parse_args()
    default = [row.name for row in ROWS if not row.extra] + ["idle"]
    settings.rows = (names if settings.rows == "all" else
                     settings.rows.split(",") if settings.rows else default)
    for name in settings.rows:
        if name not in names:
            parser.error(f"no row is called {name}; there are {', '.join(names)}")
    settings.targets = settings.targets.split(",")
    settings.relay = os.path.abspath(settings.relay)
    return settings


def print_head(settings, lines):
    for line in lines:
        print(line)
    print(f"generator, sink and server share these cores; messages of 5 KB unless said, one "
          f"recipient, AUTH PLAIN;\nmedians of {settings.runs} runs of {settings.seconds:g} s "
          f"each; rates are end to end, to the sink (accept only: to the 250);\n"
          f"p50, p99: from the final dot to its 250; CPU: of the relay, all threads or processes, "
          f"a message; Pf: Postfix\n")
    print_line([heading for heading, _ in COLUMNS])


def main():
    settings = parse_arguments()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    base = tempfile.mkdtemp(prefix="latchpost-bench-", dir=settings.dir)
    os.chmod(base, 0o755)
    kept, good = {}, True
    try:
        lines, figures = machine.describe(base)
        print_head(settings, lines)
        for row in (row for row in ROWS if row.name in settings.rows):
            results = run_row(settings, row, base)
            progress("")
            print_row(row, results)
            if row.name in ("kept", "http", "accept", "50k", "1m"):
                print_threads(results)
            if row.name in ("50k", "1m"):
                print_bandwidth(results, figures)
            if row.name == "one":
                print_one_extra(results, figures["fdatasync_us"])
            sys.stdout.flush()
            kept[row.name] = {name: vars(result) for name, result in results.items()}
            good = good and not any(result.problems for result in results.values())
        if "idle" in settings.rows and "Latchpost" in settings.targets:
            kept["idle"] = idle_memory(settings, base)
            progress("")
            print_idle(kept["idle"])
        print(f"fdatasync of 4 KB at the end: {machine.fdatasync_us(base) / 1000:.3f} ms")
        if settings.json:
            with open(settings.json, "w") as file:
                json.dump({"machine": figures, "rows": kept}, file, indent=1)
    except targets.Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        good = False
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
