#!/usr/bin/env python3
"""Runs test programs side by side and counts their cases; the last line is `N passed, N failed`.

usage: run.py [-j JOBS] [-t SECONDS] PROGRAM ...

A program speaks TAP ("ok 1 - name", "not ok 2 - name"; cmocka does with CMOCKA_MESSAGE_OUTPUT=TAP). One that
ends badly without a "not ok", says nothing, or takes longer than SECONDS counts as one failure.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import time


def run_one(program, limit_s):
    command = [sys.executable, program] if program.endswith(".py") else [program]
    env = {**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP", "PYTHONDONTWRITEBYTECODE": "1",
           "PYTHONPATH": os.path.dirname(os.path.abspath(__file__))}
    began = time.monotonic()
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=limit_s, env=env)
        text, code = done.stdout.decode("utf-8", "replace"), done.returncode
    except subprocess.TimeoutExpired as late:
        text = (late.stdout or b"").decode("utf-8", "replace")
        text += f"\nended after {limit_s} s\n"
        code = -1
    passed = len(re.findall(r"^ok\b", text, re.M))
    failed = len(re.findall(r"^not ok\b", text, re.M))
    if failed == 0 and (code != 0 or passed == 0):
        failed = 1
    return program, passed, failed, text, time.monotonic() - began


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-j", type=int, default=os.cpu_count())
    parser.add_argument("-t", type=float, default=600)
    parser.add_argument("program", nargs="+")
    options = parser.parse_args()
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        waiting = [pool.submit(run_one, p, options.t) for p in options.program]
        for future in concurrent.futures.as_completed(waiting):
            program, good, bad, text, seconds = future.result()
            passed += good
            failed += bad
            print(f"  {'FAIL' if bad else 'ok':5} {os.path.relpath(program):50} "
                  f"{good:4} passed {bad:3} failed {seconds:7.1f} s", flush=True)
            if bad:
                print("\n".join("      " + line for line in text.splitlines()), flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
