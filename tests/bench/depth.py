#!/usr/bin/env python3
"""What does it cost to have a million messages in the queue?

A queue of each depth is planted by the queue's own code (plant.c) in two ways: "waits" is mail that an upstream
deferred for a month, while the upstream takes what is new; "due" is mail that waits for an upstream that is down. In
rounds, in an order that rotates, the relay is started on each of them with its files evicted from the page cache,
takes mail for a while from many sessions, is asked for a page of its list, and is stopped. Every figure is the median
of the rounds; rates and latencies are compared with the depth 0 of the same way. With --lag a backlog of one account is
planted for a slow upstream, and the delay of another account's fresh message is measured instead.

    depth.py --relay ./latchpost --tools build/bench [--rounds 3] [--seconds 3] [--depths 0,100000,1000000]
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import machine
import targets

ACCOUNTS = 1000
WARM_S = 3  # from its start until it is loaded: that an upstream is down must be found out first
GOALS = {"start": 2.0, "rss": 256, "rate": 0.8, "p99": 2.0, "list": 1.0}


class Place(targets.Latchpost):
    """A relay that is started and stopped again and again on one state."""

    def __init__(self, settings, directory, is_down, depth):
        self.relay, self.tools, self.is_down, self.depth = settings.relay, settings.tools, is_down, depth
        self.directory, self.size = directory, settings.size
        self.process = None
        self.rounds = []
        self.port, self.starttls_port, self.http_port = (targets.free_port() for _ in range(3))
        self.sink = targets.Sink(settings.tools, *(["--closed"] if is_down else []))
        self.state = os.path.join(directory, "state")
        self.config = targets.write_file(directory, "latchpost.conf", self._config(directory))
        targets.run(self.relay, "domain", "add", "-c", self.config, targets.SENDER_DOMAIN)
        key = targets.run(self.relay, "key", "create", "-c", self.config, "--name", "bench", "--domain",
                          targets.SENDER_DOMAIN)
        self.password_file = targets.write_file(directory, "password", key)

    def _config(self, directory):
        return super()._config(directory) + 'retry { schedule = {"1h"} }\n'

    def plant(self):
        command = [os.path.join(self.tools, "plant"), "--accounts", str(ACCOUNTS), "--size",
                   str(self.size), *([] if self.is_down else ["--deferred"]), os.path.join(self.state, "queue.db"),
                   str(self.depth)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
        if done.returncode != 0:
            raise targets.Failure(done.stderr.strip())
        return json.loads(done.stdout)["seconds"]

    def evict(self):
        """Out of the page cache: a machine that has just started has nothing there."""
        for name in os.listdir(self.state):
            with open(os.path.join(self.state, name), "rb") as file:
                os.fdatasync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def start(self):
        """Seconds until it greets."""
        self.evict()
        began = time.monotonic()
        with open(os.path.join(self.directory, "log"), "a") as log:
            self.process = subprocess.Popen([self.relay, "serve", "-c", self.config], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        self.pid = self.process.pid
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 60) as connection:
                    if connection.recv(1):
                        return time.monotonic() - began
            except OSError:
                if self.process.poll() is not None:
                    raise targets.Failure(f"the relay ended with code {self.process.returncode}") from None
            time.sleep(0.005)

    def end(self):
        """Seconds until it has gone."""
        began = time.monotonic()
        targets.stop_process(self.process)
        self.process = None
        return time.monotonic() - began

    def list_s(self, query):
        """Seconds for one page of the list."""
        began = time.monotonic()
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(os.path.join(self.state, "control.sock"))
            control.sendall(f"GET /v1/messages?limit=1000{query} HTTP/1.1\r\nHost: x\r\n"
                            "Connection: close\r\n\r\n".encode())
            answer = b""
            while part := control.recv(1 << 20):
                answer += part
        if not answer.startswith(b"HTTP/1.1 200"):
            raise targets.Failure(answer[:100].decode())
        return time.monotonic() - began

    def peak_mib(self):
        with open(f"/proc/{self.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) / 1024


def load(settings, place, seconds, run):
    command = [os.path.join(settings.tools, "load"), "--password-file", place.password_file, "--sessions", "64",
               "--seconds", str(seconds), "--run", str(run), f"127.0.0.1:{place.port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 300)
    if not done.stdout:
        raise targets.Failure(f"load: {done.stderr.strip() or 'no report'}")
    report = json.loads(done.stdout.splitlines()[-1])
    if report["errors"]:
        raise targets.Failure(f"load: {report['errors']} errors, first: {report['first_error']}")
    return report


def measure(settings, place, number):
    busy_s, began = machine.busy_s(), time.monotonic()
    figures = {"start": place.start()}
    time.sleep(WARM_S)
    load(settings, place, 0.5, 2 * number)  # what is made once is made
    report = load(settings, place, settings.seconds, 2 * number + 1)
    figures["rate"] = report["rate"]
    figures["p50"], figures["p99"] = (report["dot_us"][name] / 1000 for name in ("p50", "p99"))
    figures["list"] = max(place.list_s(query) for query in ("", "&state=deferred"))
    figures["rss"] = place.peak_mib()
    ours_s = place.cpu_s() + machine.process_cpu_s(place.sink.process.pid)
    figures["stop"] = place.end()
    figures["machine"] = (machine.busy_s() - busy_s) / (time.monotonic() - began) / os.cpu_count()
    figures["relay_cpu"] = ours_s
    place.rounds.append(figures)
    return figures


# --- the table -------------------------------------------------------------------------------------

COLUMNS = [("queue", 22), ("depth", 10), ("start s", 9), ("accepted/s", 11), ("of empty", 9), ("p50 ms", 8),
           ("p99 ms", 8), ("x empty", 8), ("list s", 8), ("peak MiB", 9), ("stop s", 8), ("goals", 8)]


def print_line(cells):
    line = cells[0].ljust(COLUMNS[0][1])
    print(line + "".join(cell.rjust(width) for cell, (_, width) in zip(cells[1:], COLUMNS[1:])))


def median(place, name):
    return statistics.median(figures[name] for figures in place.rounds)


def print_place(place, empty):
    rate, p99 = median(place, "rate") / median(empty, "rate"), median(place, "p99") / median(empty, "p99")
    met = {"start": median(place, "start") < GOALS["start"], "rss": median(place, "rss") < GOALS["rss"],
           "rate": rate >= GOALS["rate"], "p99": p99 < GOALS["p99"], "list": median(place, "list") < GOALS["list"]}
    missed = [name for name, good in met.items() if not good]
    print_line(["due, upstream down" if place.is_down else "waits, upstream up", f"{place.depth:,}",
                f"{median(place, 'start'):.2f}", f"{median(place, 'rate'):,.0f}", f"{rate:.0%}",
                f"{median(place, 'p50'):.2f}", f"{median(place, 'p99'):.2f}", f"{p99:.2f}",
                f"{median(place, 'list'):.2f}", f"{median(place, 'rss'):.0f}", f"{median(place, 'stop'):.2f}",
                "met" if not missed else "MISSED"])
    if missed:
        print(f"    missed: {', '.join(missed)}")
    return not missed


def print_head(settings, base):
    for line in machine.describe(base)[0]:
        print(line)
    print(f"64 sessions kept, from {WARM_S} s after the start, no TLS, messages of 5 KB; planted ones of {settings.size} bytes, {ACCOUNTS} accounts with "
          f"two keys each;\nmedians of {settings.rounds} rounds of {settings.seconds:g} s, files evicted from the page "
          f"cache before each start;\ngoals: start under {GOALS['start']:g} s, rate at least {GOALS['rate']:.0%} and p99 "
          f"under {GOALS['p99']:g} times that of the empty queue, a page of the list under {GOALS['list']:g} s, memory "
          f"under {GOALS['rss']} MiB\n")
    print_line([heading for heading, _ in COLUMNS])


def depths(settings, base):
    places, good = [], True
    print_head(settings, base)
    try:
        for is_down in (False, True):
            for depth in settings.depths:
                directory = tempfile.mkdtemp(prefix=f"{depth}-", dir=base)
                places.append(Place(settings, directory, is_down, depth))
                seconds = places[-1].plant()
                progress(f"planted {depth:,} in {seconds:.0f} s")
        for number in range(settings.rounds):
            shift = number % len(places)
            for place in places[shift:] + places[:shift]:
                figures = measure(settings, place, number)
                progress(f"round {number + 1}/{settings.rounds}, {place.depth:,}: {figures['rate']:,.0f}/s")
        progress("")
        for place in places:
            empty = next(p for p in places if p.is_down == place.is_down and p.depth == min(settings.depths))
            good = print_place(place, empty) and good
        busy = statistics.median(figures["machine"] for place in places for figures in place.rounds)
        print(f"the machine was {busy:.0%} busy, 1-minute load {os.getloadavg()[0]:.1f} at the end")
        if settings.json:
            with open(settings.json, "w") as file:
                json.dump([{"down": p.is_down, "depth": p.depth, "rounds": p.rounds} for p in places], file, indent=1)
    finally:
        for place in places:
            place.stop()
    return good


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


# --- one account's backlog and another's message -----------------------------------------------------


class SlowUpstream:
    """Takes a message in so many milliseconds on each connection, and notes when each recipient's came."""

    def __init__(self, pause_ms):
        self.pause_s = pause_ms / 1000
        self.came = {}
        self.count = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        recipient, lines = None, connection.makefile("rb")
        connection.sendall(b"220 slow.example ESMTP\r\n")
        for line in lines:
            verb = line[:4].upper()
            if verb == b"EHLO":
                connection.sendall(b"250-slow.example\r\n250 PIPELINING\r\n")
            elif verb == b"DATA":
                connection.sendall(b"354 go\r\n")
                for text in lines:
                    if text == b".\r\n":
                        break
                time.sleep(self.pause_s)
                with self.lock:
                    self.count += 1
                    self.came[recipient] = time.monotonic()
                connection.sendall(b"250 2.0.0 taken\r\n")
            elif verb == b"QUIT":
                connection.sendall(b"221 2.0.0 bye\r\n")
                return
            else:
                if verb == b"RCPT":
                    recipient = line.split(b":", 1)[1].split()[0].decode().strip("<>")
                connection.sendall(b"250 2.0.0 ok\r\n")


def lag(settings, base):
    """100,000 messages of one account are due; another's fresh message, some of them, one after the other."""
    import smtplib
    upstream = SlowUpstream(settings.pause)
    place = Place(settings, tempfile.mkdtemp(prefix="lag-", dir=base), False, 0)
    place.sink.stop()
    place.config = targets.write_file(place.directory, "latchpost.conf", place._config(place.directory).replace(
        f"port = {place.sink.port}", f"port = {upstream.port}").replace('tls = "none"\n}\nretry',
                                                                       'tls = "none" max_connections = 4\n}\nretry'))
    subprocess.run([os.path.join(settings.tools, "plant"), "--ago", "3600", os.path.join(place.state, "queue.db"),
                    str(settings.backlog)], check=True, stdout=subprocess.DEVNULL)
    seconds = []
    try:
        place.start()
        time.sleep(2)
        with open(place.password_file) as file:
            key = file.read().strip()
        with smtplib.SMTP("127.0.0.1", place.port) as client:
            client.ehlo("bench.example")
            client.login("any", key, initial_response_ok=True)
            for i in range(20):
                recipient = f"fresh{i}@dest.example"
                client.sendmail(f"a@{targets.SENDER_DOMAIN}", [recipient],
                                f"From: a@{targets.SENDER_DOMAIN}\r\n\r\nb\r\n")
                began = time.monotonic()
                while recipient not in upstream.came and time.monotonic() - began < 60:
                    time.sleep(0.002)
                seconds.append(upstream.came.get(recipient, began + 60) - began)
        print(f"{settings.backlog:,} messages of one account are due at an upstream with 4 connections that takes "
              f"{settings.pause} ms for each;\nanother's fresh message: median {statistics.median(seconds):.3f} s, longest "
              f"{max(seconds):.3f} s of {len(seconds)}; {upstream.count:,} of the backlog had left by then")
    finally:
        targets.stop_process(place.process)
    return max(seconds) < 2


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--relay", default="./latchpost")
    parser.add_argument("--tools", default="build/bench", help="where load, sink and plant are")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of sending in each round")
    parser.add_argument("--depths", default="0,100000,1000000")
    parser.add_argument("--size", type=int, default=1024, help="bytes of a planted message")
    parser.add_argument("--dir", default="/var/tmp", help="queues live below this; a real disk")
    parser.add_argument("--json", help="also write every round to this file")
    parser.add_argument("--lag", action="store_true", help="the delay beside another account's backlog instead")
    parser.add_argument("--backlog", type=int, default=100000, help="of --lag")
    parser.add_argument("--pause", type=int, default=100, help="milliseconds a message takes, of --lag")
    settings = parser.parse_args()
    settings.depths = sorted(int(depth) for depth in settings.depths.split(","))
    settings.relay = os.path.abspath(settings.relay)
    return settings


def main():
    settings = parse_arguments()
    base = tempfile.mkdtemp(prefix="latchpost-depth-", dir=settings.dir)
    try:
        return 0 if (lag if settings.lag else depths)(settings, base) else 1
    except targets.Failure as failure:
        print(f"depth: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
