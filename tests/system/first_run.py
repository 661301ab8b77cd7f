"""`make run` in a new checkout: start, paste the line that is shown, find the message, start again."""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile

from support.cases import case, run
from support.relay import BINARY, PATIENCE_S, ROOT, hold_port, wait_for


class Checkout:
    """A copy of the sources with the built program, as conf/demo.sh finds it. Only the ports, which are fixed
    for people, are others."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="latchpost-checkout-")
        self.holders = [hold_port() for _ in "123"]
        self.submission, self.submissions, self.http = (holder.getsockname()[1] for holder in self.holders)
        names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                               cwd=ROOT,
                               capture_output=True, check=True, text=True).stdout.split("\0")
        for name in filter(None, names):
            if os.path.isfile(os.path.join(ROOT, name)):  # not what was removed and is not committed yet
                os.makedirs(os.path.join(self.folder, os.path.dirname(name)), exist_ok=True)
                shutil.copy(os.path.join(ROOT, name), os.path.join(self.folder, name))
        shutil.copy(BINARY, os.path.join(self.folder, "latchpost"))
        for name in ("demo.conf", "demo.sh"):
            self.change_ports(os.path.join(self.folder, "conf", name))
        self.log, self.process = os.path.join(self.folder, "said"), None

    def change_ports(self, path):
        with open(path) as file:
            text = file.read()
        assert "2587" in text, path
        with open(path, "w") as file:  # the same file: its mode stays
            file.write(self.with_own_ports(text))

    def with_own_ports(self, text):
        return text.replace("2587", str(self.submission)).replace("2465", str(self.submissions)) \
            .replace("8025", str(self.http))

    def start(self):
        """What `make run` does behind the build; returns what a terminal would show."""
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(["conf/demo.sh"], cwd=self.folder, stdin=subprocess.DEVNULL,
                                            stdout=log,
                                            stderr=log, start_new_session=True)
        wait_for(lambda: "event=ready" in self.said() or self.process.poll() is not None, "the relay")
        assert self.process.poll() is None, self.said()
        return self.said()

    def said(self):
        with open(self.log) as file:
            return file.read()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        self.process = None
        return code

    def outbox(self):
        folder = os.path.join(self.folder, "var/outbox/new")  # made with the first message
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for holder in self.holders:
            holder.close()
        shutil.rmtree(self.folder)


@case
def the_line_that_is_printed_sends_a_message_and_a_second_start_prints_no_key():
    with contextlib.closing(Checkout()) as checkout:
        said = checkout.start()
        key, = set(re.findall(r"lpk_[0-9A-Za-z]{36}", said))
        assert re.search(rf"(?m)^ *{key}$", said), "the key is not shown by itself:\n" + said
        line, = re.findall(r"(?m)^.*curl .*$", said)
        for count in (1, 2):
            done = subprocess.run(["sh", "-c", line], cwd="/", capture_output=True, text=True,
                                  timeout=PATIENCE_S)
            assert done.returncode == 0, (line, done)
            wait_for(lambda: len(checkout.outbox()) == count, f"{count} message(s) in var/outbox/new")
        with open(os.path.join(checkout.folder, "var/outbox/new", checkout.outbox()[0]), newline="") as file:
            message = file.read()
        assert "From: Demo <app@example.com>\r\n" in message and message.endswith("\r\n\r\nIt works.\r\n"), message
        assert "Message-ID: <" in message and "Date: " in message, message
        assert os.stat(os.path.join(checkout.folder, "var")).st_mode & 0o077 == 0
        assert checkout.stop() == 0

        again = checkout.start()
        assert "lpk_" not in again, again
        done = subprocess.run(["sh", "-c", line], cwd=checkout.folder, capture_output=True, text=True,
                              timeout=PATIENCE_S)
        assert done.returncode == 0, (line, done)
        wait_for(lambda: len(checkout.outbox()) == 3, "a third message")
        assert checkout.stop() == 0


def readme_lines(title):
    """What is to be pasted, of all sections whose title begins so."""
    with open(os.path.join(ROOT, "README.md")) as file:
        sections = re.split(r"(?m)^#+ ", file.read())
    found = [re.findall(r"(?m)^    (.*\n)", section) for section in sections if section.startswith(title)]
    return ["".join(lines) for lines in found]


@case
def the_lines_of_the_readme_for_programs_of_other_services_work_as_pasted():
    key_line, = re.findall(r"(?m)^RELAY_KEY=.*conf/demo.conf\)\n", readme_lines("Sending by HTTP")[0])
    sections = readme_lines("Coming from")
    assert len(sections) == 4, sections
    with contextlib.closing(Checkout()) as checkout:
        checkout.start()
        script = key_line + "".join(f"echo {number}\n" + lines for number, lines in enumerate(sections))
        done = subprocess.run(["sh", "-eu"], input=checkout.with_own_ports(script), cwd=checkout.folder,
                              capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done
        answers = [line for line in done.stdout.splitlines() if line.startswith("{")]
        assert len(answers) == len(re.findall(r"(?m)^curl ", script)) and all('"success":true' in a for a in answers), done.stdout
        wait_for(lambda: len(checkout.outbox()) == 3, "three messages in var/outbox/new")
        assert checkout.stop() == 0


@case
def a_port_that_is_taken_is_told_and_the_next_start_is_complete():
    with contextlib.closing(Checkout()) as checkout:
        other = checkout.holders[0]
        other.listen()
        done = subprocess.run(["conf/demo.sh"], cwd=checkout.folder, capture_output=True, text=True,
                              timeout=PATIENCE_S)
        assert done.returncode != 0 and str(checkout.submission) in done.stderr, done
        key, = set(re.findall(r"lpk_[0-9A-Za-z]{36}", done.stdout))
        other.close()
        assert key not in checkout.start()
        keys = subprocess.run(["./latchpost", "key", "list", "-c", "conf/demo.conf"], cwd=checkout.folder,
                              capture_output=True, text=True, check=True, timeout=PATIENCE_S)
        assert key[4:12] in keys.stdout, keys.stdout
        assert checkout.stop() == 0


run()
