#!/usr/bin/env python3
"""What do 100,000 keys cost: a start, a check, the making of a key, and GET /v1/whoami on a real relay?

    keys.py --relay ./latchpost --tools build/bench [--keys 100000] [--seconds 5]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

import targets


def cpu_s(process):
    """Seconds of CPU of its main thread, which serves HTTP."""
    with open(f"/proc/{process.pid}/task/{process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(relay, folder, port):
    smtp = targets.free_port()
    config = targets.write_file(folder, "latchpost.conf", f"""
        state_dir = "{folder}"
        log_level = "warning"
        listener "local" {{ address = "127.0.0.1" port = {smtp} tls = "none"
                            auth_without_tls = true }}
        http {{ address = "127.0.0.1" port = {port} tls = "none" }}
        upstream "folder" {{ url = "maildir:{folder}/out" }}
    """)
    began = time.monotonic()
    process = subprocess.Popen([relay, "serve", "-c", config])
    try:
        targets.wait_for_port(smtp, process)  # HTTP is open by then, too
    except targets.Failure:
        targets.stop_process(process)
        raise
    print(f"{'from the command to the first connection':44} {(time.monotonic() - began) * 1000:10.0f} ms",
          flush=True)
    return process


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--relay", required=True)
    parser.add_argument("--tools", required=True)
    parser.add_argument("--keys", default="100000")
    parser.add_argument("--seconds", default="5")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([f"{options.tools}/keys", folder, options.keys], check=True)
        port = targets.free_port()
        process = start(options.relay, folder, port)
        try:
            for connections in ("16", "1"):
                before = cpu_s(process)
                began = time.monotonic()
                load = subprocess.run([f"{options.tools}/http_load", str(port), "/v1/whoami",
                                       f"{folder}/secrets", connections, options.seconds],
                                      check=True, capture_output=True, text=True)
                took = time.monotonic() - began
                main_s = cpu_s(process) - before
                rate = float(load.stdout.split()[0])
                print(f"{'GET /v1/whoami, ' + connections + ' connections kept':44} {load.stdout.strip()}; "
                      f"its thread took {main_s / took:.0%} of a core: {rate * took / main_s:.0f} requests "
                      "a second of CPU (goal: 10000)", flush=True)
        finally:
            targets.stop_process(process)
    return 0


if __name__ == "__main__":
    sys.exit(main())
