#!/usr/bin/env python3
"""What would saturate first on a machine with more cores, and at what rate?

64 kept sessions against the relay with one worker, two, four. Each thread's CPU time a message is
what one core can do of its work: the workers share theirs among as many cores as there are, the
queue writer is alone and so the first that is full. What would spoil this is waiting for each
other, so perf counts the time that the workers spend in futex(2), which is all of their waiting for
locks, and what the writer spends in fdatasync(2) (perf trace needs root; without it: `-`).

    workers.py --relay build/latchpost --tools build/bench [--workers 1,2,4] [--seconds 3]
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import machine
import targets


def relay_with(workers):
    """Latchpost at its defaults but for the number of workers."""

    class WithWorkers(targets.Latchpost):
        def _config(self, directory):
            return f"workers = {workers}\n" + super()._config(directory)

    return WithWorkers


class Waiting:
    """Milliseconds that threads spend in futex and fdatasync while it is open, by perf trace."""

    def __init__(self, pid, path):
        self.path = path
        self.process = None
        if shutil.which("perf") and os.geteuid() == 0:
            self.process = subprocess.Popen(
                ["perf", "trace", "-s", "-e", "futex,fdatasync", "-o", path, "-p", str(pid)],
                stderr=subprocess.DEVNULL)

    def read(self):
        """{(thread id, call): milliseconds}, or None where it cannot be known."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        found, thread = {}, None
        with open(self.path) as file:
            for line in file:
                if heading := re.match(r" .* \((\d+)\), \d+ events", line):
                    thread = int(heading[1])
                elif row := re.match(r"\s+(futex|fdatasync)\s+\d+\s+\d+\s+([\d.]+)", line):
                    found[thread, row[1]] = float(row[2])
        return found or None


def measure(settings, workers, directory):
    relay = relay_with(workers)(settings, directory, False)
    try:
        relay.sink.begin(1)
        before = machine.thread_cpu_s(relay.pid)
        waiting = Waiting(relay.pid, os.path.join(directory, "trace"))
        done = subprocess.run([os.path.join(settings.tools, "load"), "--sessions", "64",
                               "--seconds", str(settings.seconds), "--password-file",
                               relay.password_file, f"127.0.0.1:{relay.port}"],
                              capture_output=True, text=True, timeout=settings.seconds + 60)
        report = json.loads(done.stdout)
        arrived = relay.sink.wait(report["accepted"], 60)
        waited_ms = waiting.read()
        used = {thread: seconds - before.get(thread, 0)
                for thread, seconds in machine.thread_cpu_s(relay.pid).items()}
    finally:
        relay.stop()
    if report["errors"] or arrived["unique"] != report["accepted"]:
        raise targets.Failure(f"{arrived['unique']} of {report['accepted']} messages arrived: "
                              f"{report['first_error']}")
    return report, used, waited_ms


def share(waited_ms, threads, call, wall_s):
    """Of these threads' time, in percent."""
    if waited_ms is None:
        return "-"
    total = sum(waited_ms.get((tid, call), 0) for tid, _name in threads)
    return f"{total / 10 / wall_s / len(threads):.1f} %"


def print_figures(settings, count, report, used, waited_ms):
    each = 1e6 / report["accepted"]
    writer = [thread for thread in used if thread[1] == "queue writer"]
    workers = [thread for thread in used if thread[1] == "worker"]
    writer_us = sum(used[thread] for thread in writer) * each
    workers_us = sum(used[thread] for thread in workers) * each
    print(f"{count:7}{report['rate']:12,.0f}{workers_us:14.0f}"
          f"{share(waited_ms, workers, 'futex', report['seconds']):>16}{writer_us:13.0f}"
          f"{writer_us * report['rate'] / 1e4:12.0f} %"
          f"{share(waited_ms, writer, 'fdatasync', report['seconds']):>16}"
          f"{1e6 / writer_us:18,.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--relay", default="./latchpost")
    parser.add_argument("--tools", default="build/bench", help="where load and sink are")
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--dir", default="/var/tmp")
    settings = parser.parse_args()
    settings.relay = os.path.abspath(settings.relay)
    for line in machine.describe(settings.dir)[0]:
        print(line)
    print("\nworkers  accepted/s  worker CPU us  waits for locks  writer CPU us  writer busy  "
          "waits for disk  writer is full at")
    for count in map(int, settings.workers.split(",")):
        with tempfile.TemporaryDirectory(prefix="workers-", dir=settings.dir) as directory:
            try:
                print_figures(settings, count, *measure(settings, count, directory))
            except targets.Failure as failure:
                print(f"workers.py: {failure}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
