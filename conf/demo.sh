#!/bin/sh
# Starts the relay of conf/demo.conf in ./var; the first time also makes a key and prints it, once.
set -eu

say() { printf '%s\n' "$*"; }

keys=$(./latchpost key list --json -c conf/demo.conf)
case $keys in
*'"total":0'*)
    ./latchpost domain add example.com -c conf/demo.conf >/dev/null 2>&1
    key=$(./latchpost key create --name demo --domain example.com -c conf/demo.conf 2>/dev/null)
    printf '%s\r\n' 'From: Demo <app@example.com>' 'To: you@example.net' 'Subject: hello' '' \
        'It works.' >var/hello.eml
    say ""
    say "Your first key, for senders at example.com. It is shown this once:"
    say ""
    say "    $key"
    say ""
    say "Paste this into another terminal to send a message with it, then look into var/outbox/new/:"
    say ""
    say "curl -sS --ssl-reqd --cacert '$PWD/var/tls.pem' --url smtp://127.0.0.1:2587/localhost" \
        "--user 'app:$key' --mail-from app@example.com --mail-rcpt you@example.net" \
        "-T '$PWD/var/hello.eml'"
    say ""
    unset key
    ;;
*)
    say "Starting with the state in var/; its key was shown when it was made."
    ;;
esac
exec ./latchpost serve -c conf/demo.conf
