"""What a key may is counted once, whichever door its mail comes by: a hundred clients at a time, half of them by
SMTP and half by POST /v1/emails, get together what the key may and nothing more."""
import contextlib
import re
import threading
import time

from support.api import ApiRelay
from support.cases import case, run
from support.relay import PATIENCE_S, wait_for

CLIENTS = 100


class Tally:
    """What a hundred clients were given, and what they were told when they were not."""

    def __init__(self):
        self.lock, self.taken, self.refused = threading.Lock(), {"smtp": 0, "http": 0}, []

    def take(self, door, count=1):
        with self.lock:
            self.taken[door] += count

    def refuse(self, door, *said):
        with self.lock:
            self.refused.append((door, *said))

    def total(self):
        return sum(self.taken.values())


def send_by_smtp(relay, key, tally, recipients):
    client = relay.session(key, "local")
    yield
    code, said = client.ask("MAIL FROM:<a@good.example>")
    if code != 250:
        tally.refuse("smtp", code, said[-1])
        client.close()
        return
    taken = 0
    for recipient in recipients:
        code, said = client.ask(f"RCPT TO:<{recipient}>")
        taken += code == 250
        if code != 250:
            tally.refuse("smtp", code, said[-1])
    if taken > 0:
        client.expect(354, "DATA")
        client.send("From: a@good.example\r\n\r\nhi\r\n.\r\n")
        client.expect("250 2.0.0")
        tally.take("smtp", taken)
    client.close()


def send_by_http(relay, key, tally, recipients):
    yield
    mail = {"from": "a@good.example", "to": recipients, "subject": "s", "text": "hi"}
    status, head, answer = relay.ask("POST", "/v1/emails", key, mail)
    if status == 202:
        tally.take("http", len(recipients))
    else:
        tally.refuse("http", status, head, answer["error"]["code"])


def within_a_day():
    """The day, which is that of UTC, must not change under the clients."""
    if time.time() % 86400 > 86400 - 120:
        wait_for(lambda: time.time() % 86400 < 43200, "the day to end", 180)


def rush(relay, key, recipients_of_each):
    """A hundred at once; what they were given."""
    tally, start = Tally(), threading.Barrier(CLIENTS)

    def work(number):
        send = (send_by_smtp, send_by_http)[number % 2]
        recipients = [f"r{number}-{each}@dest.example" for each in range(recipients_of_each)]
        steps = send(relay, key, tally, recipients)
        next(steps)
        start.wait(PATIENCE_S)
        for _ in steps:
            pass

    failed = []
    threads = [threading.Thread(target=keep_failure, args=(failed, work, number)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    return tally


def keep_failure(failed, work, number):
    try:
        work(number)
    except Exception as error:  # a failure of any kind fails the case
        failed.append(error)
        raise


def field(head, name):
    return int(re.search(rf"(?im)^{name}: (\d+)\r", head + "\r\n").group(1))


def arrived(relay, count):
    """The recipients at the upstream, each once."""
    wait_for(lambda: sum(len(message[1]) for message in relay.sink.messages) >= count, f"{count} recipients")
    recipients = [recipient for message in relay.sink.messages for recipient in message[1]]
    assert len(recipients) == len(set(recipients)) == count, (len(recipients), count)


@case
def the_rate_of_a_key_is_one_over_both_doors():
    with ApiRelay() as relay:
        key = relay.key("good.example", "--rate", "30/min")
        began = time.monotonic()
        tally = rush(relay, key, 1)
        earned = int((time.monotonic() - began) * 30 / 60) + 1  # while they came
        assert 30 <= tally.total() <= 30 + earned, (tally.taken, earned)
        assert tally.total() + len(tally.refused) == CLIENTS, tally.refused
        for door, code, *said in tally.refused:
            if door == "smtp":
                assert code == 450 and said[0].startswith("450 4.7.1"), said
                assert re.search(r"\d+ s", said[0]), said
                continue
            head, error = said
            assert code == 429 and error == "rate_limited", (code, error)
            assert 1 <= field(head, "Retry-After") <= 60, head
            assert field(head, "RateLimit-Limit") == 30 and 0 <= field(head, "RateLimit-Remaining") <= earned, head
            assert 1 <= field(head, "RateLimit-Reset") <= 60, head
        arrived(relay, tally.total())


@case
def the_recipients_of_a_day_are_exactly_those_of_the_key_over_both_doors_and_a_restart():
    within_a_day()
    with ApiRelay() as relay:
        key = relay.key("good.example", "--recipients-per-day", "70")
        tally = rush(relay, key, 1)
        assert tally.total() == 70 and len(tally.refused) == CLIENTS - 70, (tally.taken, tally.refused)
        check_no_more(tally)
        arrived(relay, 70)

        assert relay.stop() == 0
        relay.start()
        again = rush(relay, key, 1)
        assert again.total() == 0 and len(again.refused) == CLIENTS, again.taken
        check_no_more(again)
        left = relay.data("GET", "/v1/whoami", key)["limits"]["recipientsPerDay"]
        assert (left["limit"], left["remaining"]) == (70, 0), left
        arrived(relay, 70)


@case
def a_message_by_http_takes_all_its_recipients_or_none():
    within_a_day()
    with ApiRelay() as relay:
        key = relay.key("good.example", "--recipients-per-day", "100")
        tally = rush(relay, key, 7)
        # Over SMTP a message goes to those that were taken: by the end nothing is left that fits.
        assert tally.total() <= 100 and tally.taken["http"] % 7 == 0, tally.taken
        left = relay.data("GET", "/v1/whoami", key)["limits"]["recipientsPerDay"]["remaining"]
        assert tally.total() + left == 100, (tally.taken, left)
        check_no_more(tally)
        with contextlib.closing(relay.session(key, "local")) as client:
            if left > 0:
                client.submit(recipients=[f"last{each}@dest.example" for each in range(left)])
            client.expect(250, "MAIL FROM:<a@good.example>")
            client.expect("452 4.5.3", "RCPT TO:<more@dest.example>")
            client.expect(221, "QUIT")
        arrived(relay, 100)


def check_no_more(tally):
    """Were all told in the words of their door that it is the day that is used up?"""
    for door, code, *said in tally.refused:
        if door == "smtp":
            assert code == 452 and said[0].startswith("452 4.5.3"), said
        else:
            head, error = said
            assert code == 429 and error == "daily_limit", (code, error)
            assert 1 <= field(head, "Retry-After") <= 86400, head


run()
