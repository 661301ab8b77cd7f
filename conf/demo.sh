#!/bin/sh
# Starts the relay of conf/demo.conf in ./var; the first time also makes a key and prints it, once.
set -eu

say() { printf '%s\n' "$*" >&2; }

if [ ! -e var/keys.db ]; then
    ./latchpost domain add example.com -c conf/demo.conf >/dev/null
    key=$(./latchpost key create --name demo --domain example.com -c conf/demo.conf 2>/dev/null)
    say ""
    say "Your first key, for senders at example.com. It is shown this once:"
    say ""
    say "    $key"
    say ""
    say "Paste this into another terminal to send a message with it:"
    say ""
    say "    printf 'From: app@example.com\\r\\nTo: you@example.net\\r\\nSubject: hello\\r\\n\\r\\nIt works.\\r\\n' |" \
        "curl -sS --ssl-reqd --cacert var/tls.pem --url smtp://127.0.0.1:2587 --user 'app:$key'" \
        "--mail-from app@example.com --mail-rcpt you@example.net -T - && ls var/outbox/new"
    say ""
    unset key
else
    say "Starting with the state in var/ (its key was shown when it was made)."
fi
exec ./latchpost serve -c conf/demo.conf
