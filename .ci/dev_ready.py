"""The first day's promises of `tollgate dev`.

Proves that all four addresses answer within 1.5 s of the process' start, that what was bought survives a SIGKILL, that
`tollgate token` prints a token and nothing else, and that a taken port is named instead of a stack half started.

usage: dev_ready.py BINARY
"""

import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from dev import DYNAMODB, GATEWAY, ISSUER, SANDBOX, Dev

BOUND_SECONDS = 1.5
PORTS = (3000, 8000, 9000, 12111)


def answers(url):
    """Whether there is an HTTP answer of any status."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        pass
    except OSError:
        return False
    return True


def starts_quickly(binary):
    """Three cold starts, each with an empty data directory; the best is the program's, the rest is the machine's."""
    seconds = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as directory, Dev(binary, directory=directory) as dev:
            for name in (GATEWAY, DYNAMODB, ISSUER, SANDBOX):
                assert answers(dev[name]), f"dev.env is there, but {name}={dev[name]} does not answer"
            seconds.append(time.monotonic() - dev.started)
    print(f"ready in {', '.join(f'{s:.2f}' for s in seconds)} s (bound {BOUND_SECONDS} s)")
    assert min(seconds) < BOUND_SECONDS, f"ready only after {min(seconds):.2f} s"


def survives_a_kill(binary):
    with tempfile.TemporaryDirectory() as directory, Dev(binary, directory=directory) as dev:
        token = dev.token("alice")
        assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", token), f"not one line with a token: {token[:80]!r}"
        token = token.strip()
        before = dev.api("GET", "/api/user/me", token)
        assert before["access"] == "inactive", f"a new user has access: {before}"
        dev.subscribe(token)
        before = dev.wait_for_access(token, "active", "trialing")
        dev.end(kill=True)
        dev.start()
        after = dev.api("GET", "/api/user/me", dev.token("alice").strip())
        for field in ("access", "plan", "interval", "status", "current_period_end", "stripe_customer_id"):
            assert after[field] == before[field], f"{field} was {before[field]!r} and is {after[field]!r} after the kill"
        print(f"access {before['access']} before the kill and after it")


def names_a_taken_port(binary):
    held = []
    for port in PORTS:
        holder = socket.socket()
        held.append(holder)
        try:
            holder.bind(("127.0.0.1", port))
            holder.listen()
        except OSError:
            pass  # Somebody else holds it, which is as good.
    with tempfile.TemporaryDirectory() as directory:
        ended = subprocess.run([binary, "dev", "--ephemeral"], cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=15)
    for holder in held:
        holder.close()
    said = ended.stdout + ended.stderr
    assert ended.returncode != 0, f"`dev` on taken ports ended with success, saying: {said}"
    assert any(re.search(rf"\b{port}\b", said) for port in PORTS), f"`dev` on taken ports does not name one: {said}"
    print("on taken ports:", said.strip().splitlines()[-1])


if __name__ == "__main__":
    starts_quickly(sys.argv[1])
    survives_a_kill(sys.argv[1])
    names_a_taken_port(sys.argv[1])
