"""A machine whose wall clock is set and whose disk fails, under the real binary: tests/support/machine.c.

    with Machine() as machine, Relay(env=machine.env) as relay:
        machine.watch(relay)                # the disk that fails is the one below relay.state
        machine.set_wall_clock(10 * DAY_S)  # now, while it runs
        machine.read_only = 1
"""
import mmap
import os
import struct
import tempfile

DAY_S = 86400


def _word(offset, form):
    def get(self):
        return struct.unpack_from(form, self.words, offset)[0]

    def set_(self, value):
        struct.pack_into(form, self.words, offset, value)

    return property(get, set_)


class Machine:
    wall_lead_ms = _word(0, "=q")
    read_only = _word(8, "=i")
    failing_syncs = _word(12, "=i")
    refused = _word(16, "=i")
    hanging_disk = _word(20, "=i")
    hanging_names = _word(24, "=i")
    stuck_worker = _word(28, "=i")
    hung = _word(32, "=i")

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="latchpost-machine-")
        self.path = os.path.join(self.folder, "words")
        with open(self.path, "wb") as file:
            file.write(bytes(64))
        with open(self.path, "r+b") as file:
            self.words = mmap.mmap(file.fileno(), 64)
        library = os.path.join(os.environ["BUILD"], "tests/support/machine.so")
        options = {name: os.environ.get(name, "") for name in ("ASAN_OPTIONS", "TSAN_OPTIONS")}
        self.env = {"LD_PRELOAD": library, "LATCHPOST_TEST_MACHINE": self.path,
                    "ASAN_OPTIONS": options["ASAN_OPTIONS"] + ":verify_asan_link_order=0",
                    # A thread that hangs is left where it is.
                    "TSAN_OPTIONS": options["TSAN_OPTIONS"] + ":report_thread_leaks=0"}

    def watch(self, relay, folder=None):
        """It runs on this machine, with its state (or that folder) on the disk that fails. Before it is started."""
        self.env["LATCHPOST_TEST_DISK"] = (folder or relay.state) + "/"
        relay.env = self.env

    def set_wall_clock(self, seconds):
        """Moves it by so much, back where that is negative."""
        self.wall_lead_ms += int(seconds * 1000)

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.words.close()
        os.unlink(self.path)
        os.rmdir(self.folder)
