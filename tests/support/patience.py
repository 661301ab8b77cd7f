"""How long a test waits: for a condition, up to a limit; nothing sleeps and hopes."""
import os
import time

PATIENCE_S = float(os.environ.get("TEST_PATIENCE", "30"))


def wait_for(condition, what, limit_s=None):
    """The first true value of condition(); AssertionError naming `what` after the limit."""
    end = time.monotonic() + (limit_s or PATIENCE_S)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited in vain for " + what)
        time.sleep(0.01)
