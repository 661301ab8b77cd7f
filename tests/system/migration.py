"""A queue that an earlier version left: it is brought to the present form whole or not at all, with all its mail.

V1 is the schema of the first version, to the letter; it is never changed. INDEXES tells the versions apart: whoever
adds a step adds a row.
"""
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time

from support.cases import case, run
from support.relay import BINARY, Relay

MESSAGES = 10000
ROUNDS = int(os.environ.get("ROUNDS", "50"))
APPLICATION_ID = 0x4C505131
IDENT_EPOCH_MS = 1577836800000
V1 = """
CREATE TABLE message (
 id INTEGER PRIMARY KEY, due_ms INTEGER, state INTEGER NOT NULL, received_ms INTEGER NOT NULL,
 aged_from_ms INTEGER NOT NULL, ended_ms INTEGER, account TEXT NOT NULL, key_id TEXT NOT NULL,
 sender TEXT NOT NULL, size INTEGER NOT NULL, chunks INTEGER NOT NULL, flags INTEGER NOT NULL,
 recipients INTEGER NOT NULL, content BLOB) STRICT;
CREATE INDEX message_due ON message(due_ms) WHERE due_ms IS NOT NULL;
CREATE TABLE body (message INTEGER NOT NULL, seq INTEGER NOT NULL, data BLOB NOT NULL,
 PRIMARY KEY (message, seq)) STRICT;
CREATE TABLE recipient (
 message INTEGER NOT NULL, position INTEGER NOT NULL, address TEXT NOT NULL, state INTEGER NOT NULL,
 attempts INTEGER NOT NULL, due_ms INTEGER, updated_ms INTEGER NOT NULL, code INTEGER NOT NULL,
 enhanced TEXT NOT NULL, text TEXT, upstream TEXT, PRIMARY KEY (message, position)) STRICT, WITHOUT ROWID;
CREATE TABLE event (
 message INTEGER NOT NULL, at_us INTEGER NOT NULL, what TEXT NOT NULL, position INTEGER NOT NULL,
 code INTEGER NOT NULL, enhanced TEXT NOT NULL, text TEXT, upstream TEXT,
 PRIMARY KEY (message, at_us)) STRICT, WITHOUT ROWID;
CREATE TABLE incoming (message INTEGER PRIMARY KEY) STRICT;
CREATE TABLE tally (state INTEGER PRIMARY KEY, messages INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
"""
INDEXES = {1: {"message_due"}, 2: {"message_due", "once_token"}, 3: {"message_due", "once_token"},
           4: {"message_lane", "once_token"}, 5: {"message_lane", "once_token"}}
CONTENT = b"From: a@good.example\r\nTo: r@dest.example\r\n\r\n" + b"line of the first version\r\n" * 40
DEFERRED, HELD = 2, 4


def make_v1(path):
    """Of four accounts with two keys each; three of four are deferred, an hour apart, one of four is held. (The first
    one that waits is due when the queue's own clock begins.)"""
    now_ms = int(time.time() * 1000)
    due_ms = now_ms + 3600000
    with sqlite3.connect(path) as database:
        database.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1; {V1}")
        for i in range(MESSAGES):
            held = i % 4 == 3
            name = (now_ms - MESSAGES + i - IDENT_EPOCH_MS) << 22  # see relay/base/ident.h
            state, due = (HELD, None) if held else (DEFERRED, due_ms + i * 3600000)
            database.execute("INSERT INTO message VALUES (?,?,?,?,?,NULL,?,?,?,?,0,64,1,?)",
                             (name, due, state, now_ms, now_ms, f"account{i % 4}", f"key{i % 8:05}",
                              "a@good.example", len(CONTENT), CONTENT))
            database.execute("INSERT INTO recipient VALUES (?,0,?,?,1,?,?,450,'4.2.1','busy','sink')",
                             (name, f"r{i}@dest.example", state, due, now_ms))
        for state in (DEFERRED, HELD):
            database.execute("INSERT INTO tally SELECT state, count(*), sum(size) FROM message WHERE state = ?",
                             (state,))
    database.close()
    os.chmod(path, 0o600)


def look(folder):
    """The version of a copy, after it was seen to be one of them, with every message in it."""
    with tempfile.TemporaryDirectory() as place:
        for name in os.listdir(folder):
            if name.startswith("queue.db"):
                shutil.copy(os.path.join(folder, name), place)
        database = sqlite3.connect(os.path.join(place, "queue.db"))
        try:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("SELECT count(*), count(DISTINCT content), max(length(content)) FROM message"
                                    ).fetchall() == [(MESSAGES, 1, len(CONTENT))]
            assert database.execute("SELECT count(*) FROM recipient").fetchone() == (MESSAGES,)
            version, = database.execute("PRAGMA user_version").fetchone()
            indexes = {name for name, in database.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")}
            assert indexes == INDEXES[version], (version, indexes)
            return version
        finally:
            database.close()


def put(relay, v1):
    """In the place of its queue."""
    for name in os.listdir(relay.state):
        if name.startswith("queue.db"):
            os.unlink(os.path.join(relay.state, name))
    shutil.copy(v1, os.path.join(relay.state, "queue.db"))


@case
def a_queue_of_the_first_version_opens_and_its_mail_leaves():  # F-20
    with tempfile.TemporaryDirectory() as folder, Relay(start=False) as relay:
        v1 = os.path.join(folder, "queue.db")
        make_v1(v1)
        relay.key()
        put(relay, v1)
        relay.start()
        stats = relay.json("queue", "stats")["data"]["messages"]
        assert stats["deferred"] >= MESSAGES * 3 // 4 - 1 and stats["held"] == MESSAGES // 4, stats
        assert sum(stats.values()) == MESSAGES, stats
        names = [row["id"] for row in relay.json("queue", "list")["data"]]
        for name in names[:8]:
            relay.cli("queue", "release" if relay.story(name)["state"] == "held" else "retry", name)
        for name in names[:8]:
            relay.wait_state(name, "delivered")
        assert {raw for _, _, raw in relay.sink.wait(9)} == {CONTENT}


@case
def a_kill_during_the_migration_leaves_the_old_or_the_new():  # F-20
    with tempfile.TemporaryDirectory() as folder, Relay(start=False) as relay:
        v1 = os.path.join(folder, "queue.db")
        make_v1(v1)
        relay.key()
        put(relay, v1)
        began = time.monotonic()
        relay.cli("queue", "stats")
        whole_s = time.monotonic() - began
        assert look(relay.state) == max(INDEXES)
        seen = set()
        for _ in range(ROUNDS):
            put(relay, v1)
            process = subprocess.Popen([BINARY, "queue", "stats", "-c", relay.config],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            time.sleep(random.uniform(0, whole_s))  # any moment will do
            process.send_signal(signal.SIGKILL)
            process.wait()
            seen.add(look(relay.state))
            relay.cli("queue", "stats")
            assert look(relay.state) == max(INDEXES)
        print(f"# {ROUNDS} rounds; versions met after the kill: {sorted(seen)}")


run()
