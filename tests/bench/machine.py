"""What can this machine do, and what does a process take of it?"""

import os
import statistics
import time

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
BLOCK = b"\xa5" * 4096


def describe(directory):
    """The lines that stand above every table: figures mean nothing without them."""
    sync_us = fdatasync_us(directory)
    written = write_mb_per_s(directory)
    synced = write_mb_per_s(directory, 64, synced=True)
    lines = [
        f"{os.cpu_count()} cores ({cpu_model()}), Linux {os.uname().release}",
        f"state on {directory} ({filesystem(directory)}): fdatasync of 4 KB in place "
        f"{sync_us / 1000:.3f} ms (median of 500),\nsequential write {written:,.0f} MB/s with one "
        f"sync at the end, {synced:,.0f} MB/s with one after each MB",
    ]
    return lines, {"fdatasync_us": sync_us, "write_mb_per_s": written,
                   "synced_mb_per_s": synced}


def cpu_model():
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return os.uname().machine


def filesystem(directory):
    """Its type, by the longest mount point above the directory."""
    best = ("", "unknown")
    path = os.path.realpath(directory) + "/"
    with open("/proc/self/mounts") as file:
        for line in file:
            _, point, kind = line.split()[:3]
            if path.startswith(point.rstrip("/") + "/") and len(point) > len(best[0]):
                best = (point, kind)
    return best[1]


def fdatasync_us(directory, count=500):
    """Overwriting one page of a file that exists: the least that a durable commit can cost."""
    path = os.path.join(directory, "fdatasync.probe")
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        os.pwrite(fd, BLOCK * 16, 0)
        os.fsync(fd)
        times = []
        for i in range(count):
            os.pwrite(fd, BLOCK, 4096 * (i % 16))
            start = time.perf_counter_ns()
            os.fdatasync(fd)
            times.append((time.perf_counter_ns() - start) / 1000)
        return statistics.median(times)
    finally:
        os.close(fd)
        os.unlink(path)


def write_mb_per_s(directory, megabytes=256, synced=False):
    """Appending, with one sync at the end, or one after each of 2^20 octets: what a store can get
    that answers for each message by itself."""
    path = os.path.join(directory, "write.probe")
    chunk = os.urandom(1 << 20)
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        start = time.perf_counter()
        for _ in range(megabytes):
            os.write(fd, chunk)
            if synced:
                os.fdatasync(fd)
        os.fdatasync(fd)
        return megabytes * 1.048576 / (time.perf_counter() - start)
    finally:
        os.close(fd)
        os.unlink(path)


def stat_fields(path):
    """The fields of a stat file behind the name, which may hold blanks; field 3 is at 0."""
    with open(path) as file:
        return file.read().rpartition(")")[2].split()


def process_cpu_s(pid):
    """User and system time of all its threads."""
    fields = stat_fields(f"/proc/{pid}/stat")
    return (int(fields[11]) + int(fields[12])) * TICK_S


def thread_cpu_s(pid):
    """The same by thread: {(id, name): seconds}."""
    times = {}
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            fields = stat_fields(f"/proc/{pid}/task/{tid}/stat")
            with open(f"/proc/{pid}/task/{tid}/comm") as file:
                name = file.read().strip()
            times[int(tid), name] = (int(fields[11]) + int(fields[12])) * TICK_S
        except FileNotFoundError:
            pass  # it ended meanwhile
    return times


def busy_s():
    """What all cores have worked since the machine started, for whomever."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _wait, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) * TICK_S


def family_cpu_s(pid):
    """The same for a process, its children, and those children that ended and were waited for."""
    total = 0.0
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            fields = stat_fields(f"/proc/{entry}/stat")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(entry) == pid:
            total += sum(int(ticks) for ticks in fields[11:15]) * TICK_S
        elif int(fields[1]) == pid:
            total += (int(fields[11]) + int(fields[12])) * TICK_S
    return total


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0
