"""Plays every dialog of tests/dialogs; a word of the command line chooses files by name."""
import glob
import os
import sys

from support.dialog import play_file
from support.relay import ROOT

failed = number = 0
for path in sorted(glob.glob(os.path.join(ROOT, "tests/dialogs/*.dialog"))):
    if sys.argv[1:] and not any(word in path for word in sys.argv[1:]):
        continue
    for name, failure in play_file(path):
        number += 1
        if failure:
            failed += 1
            print(failure)
        print(f"{'not ok' if failure else 'ok'} {number} - {os.path.basename(path)}: {name}", flush=True)
print(f"1..{number}")
sys.exit(1 if failed or not number else 0)
