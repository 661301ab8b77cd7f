"""What the running process is and may do: its user, its capabilities, Landlock and seccomp around it."""
import os
import pwd
import shutil
import signal
import ssl
import subprocess

from support.cases import case, run
from support.relay import PATIENCE_S, Relay, is_sanitized, wait_for

NET_BIND_SERVICE = 1 << 10


def status(relay):
    """{"Uid": "0 0 0 0", ...} of the running relay."""
    with open(f"/proc/{relay.process.pid}/status") as file:
        return {name: " ".join(value.split()) for name, value in (line.split(":", 1) for line in file)}


def is_fenced(relay, name):
    """The kernel of a test machine may lack a part; the relay says so, and this is how it is known."""
    lines = [line for line in relay.log().splitlines() if "event=fence " in line]
    return name in lines[-1].split("fence=")[1].split()[0].split(",")


def reload(relay, event="reloaded"):
    before = relay.log().count("event=" + event)
    relay.process.send_signal(signal.SIGHUP)
    wait_for(lambda: relay.log().count("event=" + event) > before, event)


def make_certificate(folder, name="tls"):
    """Paths of a new pair, each put into its place by renaming, as those do who renew certificates."""
    paths = [os.path.join(folder, name + suffix) for suffix in (".pem", ".key")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/CN=relay.example", "-keyout", paths[1] + "~", "-out", paths[0] + "~"],
                   check=True, capture_output=True)
    for path in paths:
        os.chmod(path + "~", 0o600)
        os.rename(path + "~", path)
    return paths


def tls_settings(pair):
    return f'tls {{ certificate = "{pair[0]}" key = "{pair[1]}" }}'


def as_nobody(relay):
    """The relay becomes nobody, who must reach its folder and read its configuration."""
    relay.settings += '\nuser = "nobody"\n'
    os.chmod(relay.folder, 0o755)
    relay.write_config()
    os.chmod(relay.config, 0o644)


def served_certificate(relay):
    return ssl.get_server_certificate(("127.0.0.1", relay.ports["submissions"]))


@case
def nothing_is_left_but_serving():
    with Relay() as relay:
        told = status(relay)
        assert told["NoNewPrivs"] == "1", told
        assert told["Seccomp"] == ("2" if is_fenced(relay, "seccomp") else "0"), told
        assert int(told["CapEff"], 16) == int(told["CapPrm"], 16) == 0, told
        for thread in os.listdir(f"/proc/{relay.process.pid}/task"):
            with open(f"/proc/{relay.process.pid}/task/{thread}/status") as file:
                assert f"Seccomp:\t{told['Seccomp']}\n" in file.read(), thread


@case
def mail_is_taken_and_relayed_behind_the_strictest_fence():
    with Relay() as relay:
        if not (is_fenced(relay, "landlock") and is_fenced(relay, "seccomp")):
            return  # this kernel has not got it all, and a relay that requires it would not start
        assert relay.stop() == 0
        relay.settings = 'fence = "required"'
        relay.start()
        told = status(relay)
        assert told["Seccomp"] == "2" and "fence=no_new_privs,landlock,seccomp" in relay.log()
        relay.session(relay.key()).submit()
        relay.sink.wait(1)


@case
def names_are_still_looked_up_and_maildirs_made():
    with Relay(sink=False, start=False) as relay:
        relay.upstream = f'upstream "folder" {{ url = "maildir:{relay.folder}/made/here" }}'
        os.mkdir(os.path.join(relay.folder, "made"))
        relay.start()
        name = relay.session(relay.key()).submit()
        relay.wait_state(name, "delivered")
        assert len(os.listdir(os.path.join(relay.folder, "made/here/new"))) == 1
        shutil.rmtree(os.path.join(relay.folder, "made"))
    with Relay(sink=True, start=False) as relay:
        relay.upstream = f'upstream "named" {{ host = "localhost" port = {relay.sink.port} tls = "none" }}'
        relay.start()
        relay.session(relay.key()).submit()
        relay.sink.wait(1)


class Intruder:
    """Somebody who runs code in the relay (tests/support/intruder.c). told: what came of each attempt, {"kill":
    "refused", ...}; victim: a process of the same user that was to be killed."""

    def __init__(self, relay):
        library = os.path.join(os.environ["BUILD"], "tests/support/intruder.so")
        options = os.environ.get("ASAN_OPTIONS", "")
        report = os.path.join(relay.state, "report")
        self.victim = subprocess.Popen(["sleep", "1000"])
        relay.env = {"LD_PRELOAD": library, "INTRUDER_VICTIM": str(self.victim.pid), "INTRUDER_FOLDER": relay.state,
                     "ASAN_OPTIONS": options + ":verify_asan_link_order=0"}
        relay.start()
        shutil.copy(library, os.path.join(relay.state, "library.so"))
        with open(os.path.join(relay.state, "enter"), "w"):
            pass
        relay.session(relay.key()).submit()
        wait_for(lambda: os.path.exists(report), "the intruder's report")
        with open(report) as file:
            self.told = dict(line.split() for line in file)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.victim.kill()
        self.victim.wait()


@case
def whoever_runs_code_in_it_can_bring_no_more_and_reach_nobody():
    with Relay(start=False) as relay, Intruder(relay) as intruder:
        if not (is_fenced(relay, "landlock") and is_fenced(relay, "seccomp")) or is_sanitized():
            return
        assert set(intruder.told.values()) == {"refused"} and len(intruder.told) == 9, intruder.told
        assert intruder.victim.poll() is None
        relay.sink.wait(1)


@case
def without_a_fence_the_intruder_would_have_done_it():
    with Relay('fence = "off"', start=False) as relay, Intruder(relay) as intruder:
        for name in ("kill", "owned_pipe", "limit", "code_of_file", "library", "setuid_program"):
            assert intruder.told[name] == "done", intruder.told
        wait_for(lambda: intruder.victim.poll() is not None, "the victim to end")


@case
def without_a_fence_there_is_none():
    with Relay('fence = "off"') as relay:
        told = status(relay)
        assert told["Seccomp"] == "0" and told["NoNewPrivs"] == "0", told
        assert int(told["CapEff"], 16) == 0, told
        assert "event=fence fence=off" in relay.log()


@case
def root_becomes_the_user_of_the_configuration():
    if os.getuid() != 0:
        return
    nobody = pwd.getpwnam("nobody")
    with Relay(start=False) as relay:
        as_nobody(relay)
        key = relay.key()  # by root, without a daemon: the files are the user's all the same
        relay.start()
        os.chmod(relay.config, 0o644)
        told = status(relay)
        assert told["Uid"] == " ".join([str(nobody.pw_uid)] * 4), told
        assert told["Gid"] == " ".join([str(nobody.pw_gid)] * 4), told
        assert set(told["Groups"].split()) <= {str(nobody.pw_gid)}, told
        assert int(told["CapEff"], 16) == int(told["CapBnd"], 16) == 0, told
        for name in os.listdir(relay.state):
            assert os.stat(os.path.join(relay.state, name)).st_uid == nobody.pw_uid, name
        relay.session(key).submit()
        relay.sink.wait(1)
        reload(relay)
        relay.session(relay.key()).submit()
        relay.sink.wait(2)


@case
def without_a_user_root_becomes_the_owner_of_the_state():
    if os.getuid() != 0:
        return
    with Relay(start=False) as relay:
        os.chmod(relay.folder, 0o755)
        os.mkdir(relay.state, 0o700)
        os.chown(relay.state, 54321, 54321)
        key = relay.key()
        relay.start()
        assert status(relay)["Uid"] == "54321 54321 54321 54321"
        assert status(relay)["Groups"] == ""
        relay.session(key).submit()
        relay.sink.wait(1)


@case
def a_check_by_root_makes_no_folder_that_the_user_cannot_use():
    if os.getuid() != 0:
        return
    nobody = pwd.getpwnam("nobody")
    with Relay(start=False, upstream="") as relay:
        outside = os.path.join(relay.folder, "mail")
        os.mkdir(outside)
        os.chown(outside, nobody.pw_uid, nobody.pw_gid)
        relay.upstream = f'upstream "out" {{ url = "maildir:{outside}/box" }}'
        as_nobody(relay)
        relay.cli("check", "--connect")
        for name in ("", "tmp", "new", "cur"):
            assert os.stat(os.path.join(outside, "box", name)).st_uid == nobody.pw_uid, name


@case
def a_state_of_somebody_else_is_not_taken_over():
    if os.getuid() != 0:
        return
    with Relay(start=False) as relay:
        as_nobody(relay)
        os.mkdir(relay.state, 0o700)
        done = subprocess.run([relay.binary, "serve", "-c", relay.config], capture_output=True, text=True,
                              timeout=PATIENCE_S)
        assert done.returncode == 69 and "chown -R nobody" in done.stderr, done.stderr
        assert os.listdir(relay.state) == []


@case
def a_user_that_does_not_exist_stops_the_start():
    with Relay('user = "no-such-user"', start=False) as relay:
        relay.write_config()
        for words in (["serve"], ["check"]):
            done = subprocess.run([relay.binary, *words, "-c", relay.config], capture_output=True, text=True,
                                  timeout=PATIENCE_S)
            assert done.returncode != 0 and "no-such-user" in done.stderr + done.stdout, done


@case
def a_port_below_1024_keeps_its_one_capability():
    if os.getuid() != 0:
        return
    address = "127.{}.{}.{}".format(66, os.getpid() // 250 % 250, os.getpid() % 250 + 1)
    settings = f'listener "low" {{ address = "{address}" port = 587 tls = "starttls" }}'
    with Relay(settings, start=False) as relay:
        as_nobody(relay)
        relay.start()
        os.chmod(relay.config, 0o644)
        assert int(status(relay)["CapEff"], 16) == NET_BIND_SERVICE
        client = relay.client()
        client.close()
        # A reload can bind another such port.
        relay.settings += f'\nlistener "lower" {{ address = "{address}" port = 465 tls = "implicit" }}\n'
        relay.write_config()
        reload(relay)
        wait_for(lambda: "BEGIN" in ssl.get_server_certificate((address, 465)), "the new port")


@case
def a_certificate_that_is_replaced_is_read_at_a_reload():
    with Relay(start=False) as relay:
        folder = os.path.join(relay.folder, "tls")
        os.mkdir(folder)
        relay.settings = tls_settings(make_certificate(folder))
        relay.start()
        first = served_certificate(relay)
        make_certificate(folder)
        reload(relay)
        wait_for(lambda: served_certificate(relay) != first, "the new certificate")


@case
def a_key_that_only_root_can_read_serves_until_a_reload_needs_it():
    if os.getuid() != 0:
        return
    with Relay(start=False) as relay:
        folder = os.path.join(relay.folder, "tls")
        os.mkdir(folder, 0o755)
        pair = make_certificate(folder)
        os.chmod(pair[0], 0o644)
        relay.settings = tls_settings(pair)
        as_nobody(relay)
        relay.start()
        os.chmod(relay.config, 0o644)
        first = served_certificate(relay)
        assert f"event=reload_needs path={pair[1]}" in relay.log()
        reload(relay, "reload_failed")
        assert pair[1] in relay.log()
        assert served_certificate(relay) == first
        os.chmod(pair[1], 0o640)  # lent to a group
        os.chown(pair[1], 0, pwd.getpwnam("nobody").pw_gid)
        reload(relay)


@case
def a_reload_cannot_reach_outside_and_says_to_restart():
    with Relay(start=False) as relay:
        places = {name: os.path.join(relay.folder, name) for name in ("conf", "tls", "mail")}
        for place in places.values():
            os.mkdir(place)
        relay.config = os.path.join(places["conf"], "latchpost.conf")
        relay.start()
        if not is_fenced(relay, "landlock") or is_sanitized():
            return
        usual = relay.upstream
        first = served_certificate(relay)
        pair = make_certificate(places["tls"])
        for settings, upstream, path in ((tls_settings(pair), usual, pair[0]),
                                         ("", f'upstream "m" {{ url = "maildir:{places["mail"]}/x" }}',
                                          places["mail"] + "/x")):
            relay.settings, relay.upstream = settings, upstream
            relay.write_config()
            before = len(relay.log())
            reload(relay, "reload_failed")
            said = relay.log()[before:]
            assert path in said and "restart" in said, said
        relay.session(relay.key()).submit()
        relay.sink.wait(1)
        relay.settings, relay.upstream = tls_settings(pair), usual
        relay.write_config()
        assert relay.stop() == 0
        relay.start()
        assert served_certificate(relay) != first


@case
def a_configuration_that_is_replaced_is_read_at_a_reload():
    with Relay() as relay:
        old = relay.config + ".old"
        os.rename(relay.config, old)
        relay.settings = "limits { message_size = 1M }"
        relay.write_config()
        reload(relay)
        client = relay.client("local")
        client.expect(220)
        wait_for(lambda: any("SIZE 1048576" in line for line in client.expect(250, "EHLO me.example")), "the limit")


run()
