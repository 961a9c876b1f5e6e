"""Runs the program that measures warm invocations beside a `tollgate dev`, and ends as it does.

usage: warm.py BINARY PROGRAM LOG, where LOG takes what the functions log
"""

import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / ".ci"))

from dev import Dev  # noqa: E402

if __name__ == "__main__":
    binary, program, log = sys.argv[1:]
    with Dev(binary) as dev, open(log, "wb") as lines:
        environment = {**dev.variables, "BENCH_TOKEN": dev.token("bench").strip()}
        ended = subprocess.run([program], env=environment, stdin=subprocess.DEVNULL, stdout=lines, timeout=240)
    if ended.returncode:
        raise SystemExit(f"{program} ended with {ended.returncode}")
