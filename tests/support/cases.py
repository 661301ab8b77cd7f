"""A small runner: the test functions of a module, one TAP line each.

    from support.cases import case, run

    @case
    def a_key_that_was_revoked_cannot_log_in(): ...

    run()
"""
import sys
import time
import traceback

_cases = []


def case(function):
    _cases.append(function)
    return function


def run():
    """Runs all cases, or those whose name holds a word of the command line; exits 1 if one failed."""
    wanted = sys.argv[1:]
    chosen = [c for c in _cases if not wanted or any(word in c.__name__ for word in wanted)]
    failed = 0
    print(f"1..{len(chosen)}", flush=True)
    for number, function in enumerate(chosen, 1):
        name = function.__name__.replace("_", " ")
        began = time.monotonic()
        try:
            function()
        except Exception:  # a failure of any kind is this case's, and the next ones still run
            failed += 1
            print(traceback.format_exc())
            print(f"not ok {number} - {name}", flush=True)
        else:
            print(f"ok {number} - {name} ({time.monotonic() - began:.1f} s)", flush=True)
    sys.exit(1 if failed else 0)
