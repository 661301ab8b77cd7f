#!/bin/sh
# queue_crash.sh - 250 means on disk, also when the process is killed at any instant.
#
# ROUNDS (10) times: start the writer, kill -9 it at a random moment, and verify that every message
# it had acknowledged is there, whole, and nothing half done is. The queue lives on from round to
# round, so each start is a recovery; the ledger keeps all rounds.
#
# BUILD names the folder of the build (build). Prints one TAP line.
set -u

tool=${BUILD:-build}/tests/support/queue_crash
rounds=${ROUNDS:-10}
place=$(mktemp -d "${TMPDIR:-/tmp}/queue-crash-XXXXXX") || exit 1
writer=
trap '[ -n "$writer" ] && kill -9 "$writer" 2>/dev/null; rm -rf "$place"' EXIT
trap 'exit 1' INT TERM

[ -x "$tool" ] || { echo "queue_crash.sh: $tool is not built" >&2; exit 1; }
: >"$place/ledger"

round=1
while [ "$round" -le "$rounds" ]; do
    "$tool" write "$place" >>"$place/ledger" &
    writer=$!
    # 20 to 500 milliseconds, so that starting, committing and checkpointing are all hit.
    pause=$(od -An -N2 -tu2 /dev/urandom | awk '{ printf "%.3f", 0.02 + $1 % 480 / 1000 }')
    sleep "$pause"
    kill -9 "$writer" || { echo "queue_crash.sh: the writer had ended by itself" >&2; exit 1; }
    wait "$writer" 2>/dev/null
    writer=
    if ! result=$("$tool" verify "$place" <"$place/ledger"); then
        echo "round $round of $rounds, killed after $pause s: $result"
        echo "not ok 1 - the queue keeps what it acknowledged"
        exit 1
    fi
    round=$((round + 1))
done
case $result in
"accepted=0 "*) echo "queue_crash.sh: nothing was ever accepted" >&2; exit 1 ;;
esac
echo "ok 1 - the queue keeps what it acknowledged: $rounds rounds, $result"
