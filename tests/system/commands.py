"""The subcommands, one by one: what they do with a daemon and without one, print, and end with; and that
what they forbid a key is forbidden. (api_and_cli.py has the contract that they share.)"""
import base64
import contextlib
import datetime
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time

from support.cases import case, run
from support.relay import PATIENCE_S, Relay, Sink, plain, wait_for

KEY = r"lpk_[0-9A-Za-z]{36}"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
STATES = ["queued", "delivering", "deferred", "uncertain", "held", "delivered", "bounced", "failed",
          "cancelled", "sandboxed"]


def with_and_without_daemon(relay):
    """Runs the body of a loop twice: first without a daemon, then with it."""
    yield "stopped"
    relay.start()
    yield "running"


def latchpost(relay, *words, env=None):
    return subprocess.run([relay.binary, *words], capture_output=True, text=True, timeout=PATIENCE_S,
                          env={**os.environ, **(env or {})})


def refused(relay, code, *words):
    """The sentence with which the command ends, with this code and nothing on standard output."""
    done = relay.cli(*words, check=False)
    assert done.returncode == code, (words, done)
    assert done.stdout == "" and re.fullmatch(r"latchpost: .*\n", done.stderr), (words, done)
    return done.stderr


# --- help and misuse ------------------------------------------------------------------------------


@case
def help_names_every_subcommand_verb_and_option():
    with Relay(start=False) as relay:
        for words in (["help"], ["--help"], ["-h"]):
            done = latchpost(relay, *words)
            assert done.returncode == 0 and done.stderr == "", done
            for name in ("serve", "check", "key", "account", "domain", "queue", "version"):
                assert re.search(rf"(?m)^  {name} ", done.stdout), (name, done.stdout)
            for name, rest in (("key", "rotate hold release"), ("account", "suspend resume plan")):
                line = re.search(rf"(?m)^  {name} .*", done.stdout)[0]
                assert all(word in line for word in rest.split()), line
        verbs = {"key": "create list show revoke rotate hold release --name --account --scope --domain --sender --recipient "
                        "--expires --rate --allow-from --test",
                 "account": "create list suspend resume plan --plan", "domain": "add list remove --pending",
                 "queue": "list show retry stats --state --all", "serve": "--config",
                 "check": "--connect --json"}
        for noun, names in verbs.items():
            for word in ("--help", "-h"):
                done = latchpost(relay, noun, word)
                assert done.returncode == 0 and done.stderr == "", done
                assert all(name in done.stdout for name in names.split()), (noun, done.stdout)
            assert "LATCHPOST_CONFIG" in done.stdout
        for words in (["version"], ["--version"]):
            done = latchpost(relay, *words)
            assert done.returncode == 0 and re.fullmatch(r"latchpost \d+\.\d+\.\d+\n", done.stdout), done


@case
def what_cannot_be_printed_is_a_failure():
    with Relay(start=False) as relay, open("/dev/full", "w") as full:
        relay.write_config()
        for words in (["help"], ["version"], ["key", "--help"], ["key", "list", "--help"], ["serve", "--help"],
                      ["check", "--help"], ["check", "-c", relay.config], ["check", "--json", "-c", relay.config],
                      ["key", "list", "-c", relay.config]):
            done = subprocess.run([relay.binary, *words], stdout=full, stderr=subprocess.PIPE, text=True,
                                  timeout=PATIENCE_S)
            assert done.returncode == 74 and "could not be written" in done.stderr, (words, done)


@case
def what_is_wrong_in_a_configuration_is_told_in_any_encoding():
    with Relay(start=False, sink=False) as relay:
        for value in (b"\xff\xfe", b"\xc2\x9b2J", b"\xe2\x80\xae", "caf\u00e9".encode("latin-1")):
            with open(relay.config, "wb") as file:
                file.write(b'hostname = "r.example"\nlog_level = "' + value + b'"\nlistener "a" { port = 1 }\n')
            done = latchpost(relay, "check", "--json", "-c", relay.config)
            answer = json.loads(done.stdout)
            assert done.returncode == 78 and answer["success"] is False, done
            assert ":2: log_level: " in answer["error"]["message"], answer
            for words in (["check"], ["serve"], ["key", "list"]):
                done = subprocess.run([relay.binary, *words, "-c", relay.config], capture_output=True,
                                      timeout=PATIENCE_S)
                assert done.returncode == 78 and b":2: log_level: " in done.stderr, done
                assert value not in done.stderr and done.stdout == b"", done


@case
def unknown_words_are_misuse():
    rows = [[], ["frob"], ["keys"], ["key"], ["key", "frob"], ["key", "list", "extra"],
            ["key", "list", "--frob"], ["key", "show"], ["key", "create", "--name"],
            ["key", "create", "--name", "a", "--name", "b"],
            ["queue", "retry", "--all", "x"], ["queue", "list", "--limit", "many"], ["domain", "add"],
            ["domain", "add", "a.example", "b.example"], ["account", "create"], ["serve", "--frob"],
            ["serve", "extra"], ["check", "--frob"], ["check", "extra"]]
    with Relay(start=False) as relay:
        for words in rows:
            done = latchpost(relay, *words)
            assert done.returncode == 64 and done.stdout == "" and done.stderr, (words, done)
        assert not os.path.exists(relay.state), "a misuse made a state directory"


# --- configuration --------------------------------------------------------------------------------


@case
def the_configuration_is_found_by_option_then_environment():
    with Relay(start=False) as relay:
        relay.write_config()
        good, bad = relay.config, os.path.join(relay.folder, "missing.conf")
        rows = [(0, good, None), (0, None, good), (0, good, bad), (78, bad, good), (78, None, bad)]
        for code, option, variable in rows:
            env = {"LATCHPOST_CONFIG": variable} if variable else {}
            for noun in (["key", "list"], ["check"]):
                done = latchpost(relay, *noun, *(["-c", option] if option else []), env=env)
                assert done.returncode == code, (option, variable, done)
                assert code == 0 or bad in done.stderr, done


@case
def check_says_what_is_wrong_and_where():
    rows = ['no_such_setting = 1', 'limits { recipients = many }', 'limits { recipients = 5 recipients = 6 }',
            'hostname = "again"', 'route { upstreams = {"nobody"} }', 'upstream "x" { }', 'grace = 5parsecs',
            'upstream "x" { host = "a\\r\\nb" }', 'upstream "x" { host = "127.0.0.1" username = "u" }',
            'upstream "x" { host = "smtp.example" tls = "none" username = "u" password = "${HOME}" }',
            'listener "x" { address = "0.0.0.0" port = 1 tls = "none" auth_without_tls = true }',
            'http { address = "0.0.0.0" tls = "none" }',
            'upstream "x" { host = "a" password = "${NO_SUCH_NAME}" }',
            'upstream "x" { host = "a" ca_file = "/no/such/file" }', 'plan "x" { keys = -1 }', 'limits {',
            'limits }', 'grace', 'grace =', 'grace = "5s', 'listener "x" { port = 99999 }', '/* no end']
    with Relay(start=False) as relay:
        relay.write_config()
        done = relay.cli("check")
        assert relay.config in done.stdout and done.stderr == "", done
        assert relay.json("check") == {"success": True, "data": {"config": relay.config, "upstreams": []}}
        line = 1 + sum(1 for _ in open(relay.config))
        for text in rows:
            relay.settings = text
            relay.write_config()
            done = relay.cli("check", check=False)
            assert done.returncode == 78 and done.stdout == "", (text, done)
            place = re.match(rf"latchpost: {re.escape(relay.config)}:(\d+): ", done.stderr)
            assert place and line - 2 <= int(place.group(1)) <= line, (text, line, done.stderr)
            answer = json.loads(relay.cli("check", "--json", check=False).stdout)
            assert answer["success"] is False and answer["error"]["message"] in done.stderr, answer
        assert not os.path.exists(relay.state), "check made a state directory"


@case
def check_connects_to_the_upstreams():
    sinks = {"good": Sink(offers=("AUTH PLAIN",)), "closed": Sink(listens=False),
             "login": Sink({"AUTH": lambda n, line: "535 5.7.8 who?"}, ("AUTH PLAIN",)),
             "greeting": Sink({"banner": lambda n, line: "554 5.3.2 no"})}
    blocks = {name: f'upstream "{name}" {{ host = "127.0.0.1" port = {sink.port} tls = "none" username = "u" '
                    'password = "secret-word" }\n' for name, sink in sinks.items()}
    with contextlib.ExitStack() as stack:
        for sink in sinks.values():
            stack.callback(sink.close)
        relay = stack.enter_context(Relay(start=False, sink=False))
        blocks["box"] = f'upstream "box" {{ url = "maildir:{relay.folder}/box" }}\n'
        relay.upstream = blocks["good"] + blocks["box"]
        relay.write_config()
        done = relay.cli("check", "--connect")
        assert done.stdout.count(": ok: ") == 2 and sinks["good"].steps[-1][0] in ("AUTH", "QUIT"), done
        relay.upstream = "".join(blocks.values())
        relay.write_config()
        done = relay.cli("check", "--connect", check=False)
        assert done.returncode == 69 and "secret-word" not in done.stdout + done.stderr, done
        told = json.loads(relay.cli("check", "--connect", "--json", check=False).stdout)
        rows = {row["upstream"]: (row["ok"], row["text"]) for row in told["data"]["upstreams"]}
        assert told["success"] is False and {name for name in rows if rows[name][0]} == {"good", "box"}, told
        for name, word in (("closed", "refused"), ("login", "who?"), ("greeting", "554")):
            assert word in rows[name][1], rows
        assert not any(sink.messages or "MAIL" in dict(sink.steps) for sink in sinks.values())


@case
def without_permission_or_stores_the_reason_is_told():
    with Relay() as relay:
        relay.key()
        if os.geteuid() == 0:
            os.chmod(relay.folder, 0o755)
            os.chmod(relay.config, 0o644)
            words = [shutil.copy(relay.binary, relay.folder), "key", "list", "-c", relay.config]
            for state in ("running", "stopped"):
                done = subprocess.run(words, capture_output=True, text=True, user="nobody",
                                      timeout=PATIENCE_S)
                assert done.returncode == 77 and "not permitted" in done.stderr, (state, done)
                relay.stop()
        relay.stop()
        with open(os.path.join(relay.state, "keys.db"), "r+b") as file:
            file.write(b"no database at all")
        done = relay.cli("key", "list", check=False)
        assert done.returncode == 69 and "keys.db" in done.stderr, done


# --- keys -----------------------------------------------------------------------------------------


@case
def a_key_in_json_has_the_documented_fields():
    plain_key = {"scopes": ["send"], "domain": None, "domains": [], "status": "active", "plan": "default",
                 "rateLimit": None, "allowFrom": [], "lastUsed": None, "expirationTs": None}
    with Relay(start=False) as relay:
        for state in with_and_without_daemon(relay):
            before = int(time.time())
            made = relay.json("key", "create", "--name", "plain " + state)
            assert made["success"] is True and "only time" in made["meta"]["warning"], made
            key = made["data"].pop("apiKey")
            assert re.fullmatch(KEY, key), key
            data = made["data"]
            assert plain_key.items() <= data.items(), data
            assert (data["keyId"], data["name"]) == (key[4:12], "plain " + state), data
            assert (data["keyPrefix"], data["masked"]) == (key[:8] + "****", key[:8] + "..." + key[-4:]), data
            assert re.fullmatch(TIME, data["createdAt"]), data
            assert relay.json("key", "show", key[4:12]) == {"success": True, "data": data}

            full = relay.json("key", "create", "--name", "gr\u00fcn", "--scope", "send,keys",
                              "--scope", "metrics", "--domain", "Good.Example",
                              "--domain", "*.b\u00fccher.example", "--rate", "100/min", "--expires", "90d",
                              "--allow-from", "10.1.2.3/8", "--allow-from", "::1",
                              "--recipient", "ops@dest.example", "--recipient", "dest.example",
                              "--sender", "app@good.example", "--test")["data"]
            assert full["apiKey"].startswith("lpt_") and full["test"] is True, full
            assert full["scopes"] == ["send", "keys", "metrics"] and full["rateLimit"] == 100, full
            assert full["domain"] in full["domains"], full
            assert sorted(full["domains"]) == ["*.xn--bcher-kva.example", "good.example"], full
            assert full["allowFrom"] == ["10.0.0.0/8", "::1"], full
            assert sorted(full["recipients"]) == ["dest.example", "ops@dest.example"], full
            assert full["senders"] == ["app@good.example"], full
            ends = datetime.datetime.fromisoformat(full["expirationTs"]).timestamp()
            assert abs(ends - before - 90 * 86400) <= 60, full

            listed = relay.json("key", "list")
            assert listed["meta"]["total"] == len(listed["data"]) == 2
            assert not any("apiKey" in row for row in listed["data"])
            assert full["masked"] in relay.cli("key", "show", full["keyId"]).stdout
            for row in listed["data"]:
                assert relay.json("key", "revoke", row["keyId"]) == \
                    {"success": True, "data": {"keyId": row["keyId"], "revoked": True}}
            assert relay.json("key", "list")["data"] == []


@case
def expiry_is_from_1_to_365_days_or_never():
    with Relay(start=False) as relay:
        for state in with_and_without_daemon(relay):
            for days, code in (("0d", 64), ("1d", 0), ("365d", 0), ("366d", 65), ("-1d", 64), ("90", 64),
                               ("90h", 64), ("d", 64), ("1.5d", 64), ("99999999999999999999d", 64), ("", 64)):
                done = relay.cli("key", "create", "--name", "n", "--expires", days, check=False)
                assert done.returncode == code, (state, days, done)
                assert bool(code) == (done.stdout == ""), (state, days, done)


@case
def what_a_key_cannot_have_makes_none():
    rows = [("--domain", bad) for bad in ("", ".", "*", "@", "good..example", "*.com", "*.*.example",
                                          "a b.example", "-a.example", "192.0.2.1", "a@good.example")]  # D-35
    rows += [("--scope", bad) for bad in ("", "Send", "send,", "root", "send keys")]
    rows += [("--sender", bad) for bad in ("", "a", "a@", "@good.example", "a@b@c.example")]
    rows += [("--recipient", bad) for bad in ("", "@", "*", "a@", "a@-x.example")]
    rows += [("--allow-from", bad) for bad in ("", "10.0.0.0/33", "10.0.0", "::1/129", "localhost",
                                               "10.0.0.1/-1")]
    rows += [("--account", "none"), ("--account", "")]
    with Relay(start=False) as relay:
        for state in with_and_without_daemon(relay):
            for option, bad in rows:
                done = relay.cli("key", "create", "--name", "n", option, bad, check=False)
                assert done.returncode in (64, 65) and done.stdout == "", (state, option, bad, done)
            for name in ("", "x" * 101, "two\nlines", "esc\x1b[2J"):
                refused(relay, 65, "key", "create", "--name", name)
            assert relay.json("key", "list")["data"] == []
            assert relay.json("domain", "list")["data"] == [], "a domain of a key that was not made is left"
        relay.cli("key", "create", "--name", "\u00fc" * 100)


@case
def the_hundredth_key_is_the_last_and_no_file_holds_any():  # G-01
    with Relay() as relay:
        keys = [relay.key() for _ in range(100)]
        said = refused(relay, 65, "key", "create", "--name", "one more")
        assert "100" in said and "delete an unused key" in said, said
        for state in ("running", "stopped"):
            for folder, _, names in os.walk(relay.folder):
                for name in names:
                    path = os.path.join(folder, name)
                    if not os.path.isfile(path):
                        continue
                    with open(path, "rb") as file:
                        content = file.read()
                    for key in keys:
                        for secret in (key, key[12:34], plain(key), base64.b64encode(key.encode()).decode()):
                            assert secret.encode() not in content, (state, path)
            relay.stop()
        with open(os.path.join(relay.state, "pepper"), "rb") as file:
            pepper = file.read()
        store = sqlite3.connect(os.path.join(relay.state, "keys.db"))
        hashes = dict(store.execute("SELECT id, hash FROM api_key"))
        store.close()
        for key in keys:
            assert hashes[key[4:12]] == hashlib.blake2b(key.encode(), key=pepper, digest_size=32).digest()
        relay.cli("key", "revoke", keys[0][4:12])
        relay.key()


@case
def a_key_never_shows_in_a_process_or_in_an_answer_to_a_mistake():  # G-05
    with Relay() as relay:
        key = relay.key()
        for name in ("cmdline", "environ"):
            with open(f"/proc/{relay.process.pid}/{name}", "rb") as file:
                assert key.encode() not in file.read()
        for words in (("key", "show", key), ("key", "revoke", key), ("queue", "show", key)):
            done = relay.cli(*words, check=False)
            assert done.returncode in (64, 65) and key[12:34] not in done.stdout + done.stderr, done
        assert key[12:34] not in relay.log()
        assert relay.json("key", "show", key[4:12])["data"]["status"] == "active"


@case
def the_pepper_may_come_from_the_environment():
    with Relay(env={"LATCHPOST_PEPPER": "5a" * 32}) as relay:
        key = relay.key()
        relay.session(key)
        assert not os.path.exists(os.path.join(relay.state, "pepper"))
        relay.stop()
        relay.env = {"LATCHPOST_PEPPER": "5b" * 32}
        assert "pepper" in refused(relay, 69, "key", "list")
        relay.env = {"LATCHPOST_PEPPER": "5a"}
        assert "LATCHPOST_PEPPER" in relay.cli("key", "list", check=False).stderr or \
            "pepper" in relay.cli("key", "list", check=False).stderr
        relay.env = {"LATCHPOST_PEPPER": "5A" * 32}
        relay.start()
        relay.session(key)


# --- what a key may not do, over SMTP -------------------------------------------------------------


@case
def the_rate_of_a_key_and_of_a_plan_is_enforced():
    with Relay('plan "slow" { rate = "2/min" keys = 1 }') as relay:
        relay.cli("account", "create", "acme", "--plan", "slow")
        keys = {"a@good.example": relay.key("good.example", "--rate", "2/min"),
                "a@acme.example": relay.key("acme.example", "--account", "acme")}
        assert "1" in refused(relay, 65, "key", "create", "--name", "second", "--account", "acme")
        for sender, key in keys.items():
            client = relay.session(key, "local")
            client.submit(sender=sender)
            client.submit(sender=sender)
            last = client.expect("450 4.7.1", f"MAIL FROM:<{sender}>")[-1]
            assert 0 < int(re.search(r"(\d+) s", last).group(1)) <= 60, last
            relay.session(key, "local").expect("450 4.7.1", f"MAIL FROM:<{sender}>")
        assert relay.json("key", "show", keys["a@acme.example"][4:12])["data"]["rateLimit"] == 2


@case
def a_key_is_bound_to_its_networks_recipients_senders_and_scopes():
    with Relay() as relay:
        bound = relay.key("good.example", "--allow-from", "127.0.0.8/31", "--recipient", "ops@dest.example",
                          "--recipient", "*.staging.example", "--sender", "app@good.example")
        client = relay.client("local").hello()
        assert "address" in client.expect("535 5.7.8", "AUTH PLAIN " + plain(bound))[-1]
        client = relay.session(bound, "local", source="127.0.0.9")
        client.expect("550 5.7.1", "MAIL FROM:<other@good.example>")
        client.expect("250", "MAIL FROM:<app@good.example>")
        for want, recipient in (("250 2.1.5", "ops@dest.example"), ("550 5.7.1", "other@dest.example"),
                                ("250 2.1.5", "a@x.staging.example"), ("550 5.7.1", "a@staging.example"),
                                ("550 5.7.1", "a@dest.example.staging.example.org")):
            client.expect(want, f"RCPT TO:<{recipient}>")
        client.expect("354", "DATA")
        client.send("From: <other@good.example>\r\n\r\nx\r\n.\r\n")
        client.expect("550 5.7.1")
        client.submit(sender="app@good.example", recipients=["ops@dest.example"])
        used = relay.json("key", "show", bound[4:12])["data"]["lastUsed"]
        assert re.fullmatch(TIME, used), used
        manager = relay.key("good.example", "--scope", "keys,messages")
        client = relay.client("local").hello()
        assert "scope" in client.expect("535 5.7.8", "AUTH PLAIN " + plain(manager))[-1]


# --- domains and accounts -------------------------------------------------------------------------


@case
def domains_belong_to_one_account_and_count_once_they_are_verified():
    with Relay(start=False) as relay:
        for state in with_and_without_daemon(relay):
            team, own = state + "-team", state + ".example"
            relay.cli("account", "create", team)
            added = relay.json("domain", "add", own.upper(), "--account", team)["data"]
            assert (added["name"], added["account"], added["status"]) == (own, team, "verified"), added
            assert relay.json("domain", "add", own, "--account", team)["data"]["name"] == own
            refused(relay, 65, "domain", "add", own)
            refused(relay, 65, "domain", "add", "x.example", "--account", "none")
            pending = relay.json("domain", "add", "b\u00fccher." + own, "--account", team,
                                 "--pending")["data"]
            assert (pending["name"], pending["status"]) == ("xn--bcher-kva." + own, "pending"), pending
            for bad in ("", ".", "*", "*.com", "a..example", "a@b.example"):
                refused(relay, 65, "domain", "add", bad)
            listed = relay.json("domain", "list", "--account", team)
            assert [row["name"] for row in listed["data"]] == sorted([own, pending["name"]]) or \
                {row["name"] for row in listed["data"]} == {own, pending["name"]}
            assert listed["meta"]["total"] == 2
            assert own in relay.cli("domain", "list").stdout
            gone = relay.json("domain", "remove", pending["name"])["data"]
            assert gone == {"name": pending["name"], "removed": True}, gone
            refused(relay, 65, "domain", "remove", pending["name"])
        relay.cli("domain", "add", "waits.example", "--pending")
        key = relay.json("key", "create", "--name", "all domains")["data"]["apiKey"]
        client = relay.session(key, "local")
        client.expect("550 5.7.1", "MAIL FROM:<a@waits.example>")
        relay.cli("domain", "add", "waits.example")
        client.submit(sender="a@waits.example")
        client.expect("550 5.7.1", "MAIL FROM:<a@running.example>")


@case
def accounts_are_made_and_listed():
    with Relay('plan "free" { keys = 3 }', start=False) as relay:
        for state in with_and_without_daemon(relay):
            made = relay.json("account", "create", "a-" + state, "--plan", "free")["data"]
            assert (made["handle"], made["plan"], made["status"]) == ("a-" + state, "free", "active"), made
            for words in (["a-" + state], ["other", "--plan", "none"], [""], ["two words"], ["x" * 65],
                          ["a/b"]):
                refused(relay, 65, "account", "create", *words)
            listed = relay.json("account", "list")
            assert listed["meta"]["total"] == len(listed["data"])
            assert "a-" + state in relay.cli("account", "list").stdout
        assert {row["handle"] for row in listed["data"]} == {"default", "a-stopped", "a-running"}, listed


# --- the queue ------------------------------------------------------------------------------------


@case
def the_queue_is_told_the_same_with_a_daemon_and_without():
    answers = {"good@dest.example": "250 2.1.5 ok", "bad@dest.example": "550 5.1.1 no \x1b[2J %n%s \u2028",
               "late@dest.example": "451 4.2.1 later"}
    sink = Sink({"RCPT": lambda n, line: answers.get(re.search("<(.*)>", line).group(1), ...)})
    upstream = f'upstream "u" {{ host = "127.0.0.1" port = {sink.port} tls = "none" }}'
    with contextlib.closing(sink), Relay('retry { schedule = {"1h"} }', upstream=upstream) as relay:
        key = relay.key()
        client = relay.session(key, "local")
        names = {who: client.submit(recipients=[who]) for who in answers}
        want = {names["good@dest.example"]: "delivered", names["bad@dest.example"]: "bounced",
                names["late@dest.example"]: "deferred"}
        wait_for(lambda: len(relay.queue()) == 4, "the bounce")
        bounce, = set(relay.queue()) - set(want)
        want[bounce] = "delivered"
        wait_for(lambda: relay.queue() == want, "all outcomes")
        client.close()
        told = []
        for state in ("running", "stopped"):
            listed = relay.json("queue", "list")
            assert listed["success"] is True
            assert [row["id"] for row in listed["data"]] == sorted(want)[::-1]
            shown = [relay.json("queue", "show", name)["data"] for name in names.values()]
            stats = relay.json("queue", "stats")["data"]["messages"]
            assert list(stats) == STATES and {k: v for k, v in stats.items() if v} == \
                {"delivered": 2, "bounced": 1, "deferred": 1}, stats
            told.append((listed, shown, stats))
            for words in (("list",), ("stats",), *(("show", name) for name in names.values())):
                text = relay.cli("queue", *words).stdout
                assert re.fullmatch(r"[ -~\n]*", text), text
            assert "%n%s" in relay.cli("queue", "show", names["bad@dest.example"]).stdout
            late, = relay.json("queue", "list", "--state", "deferred")["data"]
            assert (late["from"], late["to"]) == ("a@good.example", "late@dest.example"), late
            assert late["keyId"] == key[4:12]
            assert (late["attempts"], late["recipientCount"], late["account"]) == (1, 1, "default"), late
            assert re.fullmatch(TIME, late["receivedAt"]) and late["dueAt"] > late["receivedAt"], late
            refused(relay, 65, "queue", "show", "0000000000000")
            refused(relay, 65, "queue", "show", "no id")
            refused(relay, 65, "queue", "retry", names["good@dest.example"])
            relay.stop()
        assert told[0] == told[1]
        assert relay.json("queue", "retry", names["late@dest.example"])["data"]["retried"] is True
        answers["late@dest.example"] = "250 2.1.5 ok"
        relay.start()
        relay.wait_state(names["late@dest.example"], "delivered")


@case
def names_cannot_play_with_a_terminal():  # G-32
    with Relay() as relay:
        relay.cli("key", "create", "--name", "%n%s gr\u00fcn")
        name = relay.json("key", "list")["data"][0]["keyId"]
        for words in (("list",), ("show", name)):
            assert "%n%s gr\u00fcn" in relay.cli("key", *words).stdout
        for name in ("a\x1b[2J", "a\x9b2J", "a\u2028b", "a\u202eb", "a\r\nb", "a\u0085b"):
            for words in (("key", "create", "--name", name), ("domain", "add", name), ("queue", "show", name),
                          ("account", "create", name), ("queue", "list", "--state", name), (name,)):
                done = relay.cli(*words, check=False)
                assert done.returncode in (64, 65) and done.stdout == "", (words, done)
                assert re.fullmatch(r"([ -~]*\n)+", done.stderr), (words, done)
        assert relay.json("key", "list")["meta"]["total"] == 1


run()
