"""The real Stripe CLI against the sandbox and the gateway, used as its users do.

Proves that `stripe listen` connects to the sandbox, forwards every event with a signature that Tollgate accepts, that a
Checkout paid this way gives access, and that `stripe trigger` works, all answered 200.

usage: stripe_cli.py BINARY
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading

from dev import GATEWAY, SANDBOX, Dev, until

TRIGGERS = ("checkout.session.completed", "customer.subscription.updated", "invoice.paid", "invoice.payment_failed")
# What an account must have been told when its first Checkout was paid.
EXPECTED = {"checkout.session.completed", "customer.subscription.created", "invoice.paid"}
KEY = "sk_test_" + "tollgate" * 3


def api_base(dev):
    """The CLI takes no other machine's address than Stripe's, and of this machine only this spelling."""
    return dev[SANDBOX].replace("//localhost:", "//127.0.0.1:")


class Listen:
    """`stripe listen`, with what it has printed so far: `-->` is an event that came, `<--` the receiver's answer to it."""

    def __init__(self, dev, environment):
        command = ["stripe", "listen", "--skip-update", "--api-base", api_base(dev), "--api-key", KEY, "--all-snapshot"]
        command += ["--forward-to", dev[GATEWAY].removeprefix("http://") + "/api/webhooks/stripe"]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.lines = []
        self.process = subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(re.sub(r"\x1b\[[0-9;]*m", "", line.rstrip()))

    def alive(self):
        if self.process.poll() is not None:
            raise SystemExit(f"stripe listen ended with {self.process.returncode}")

    def ready(self):
        return any("Ready!" in line for line in self.lines)

    def came(self):
        """Type by event id."""
        return {found[2]: found[1] for line in list(self.lines) if (found := re.search(r"-->\s+([\w.]+) \[(evt_\w+)\]", line))}

    def answered(self):
        """Status by event id."""
        return {found[2]: int(found[1]) for line in list(self.lines) if (found := re.search(r"<--\s+\[(\d+)\].*\[(evt_\w+)\]", line))}

    def wait_for(self, types):
        def all_answered():
            came, answered = self.came(), self.answered()
            return types <= {came[event] for event in answered if event in came} and came.keys() <= answered.keys()

        until(f"{', '.join(sorted(types))} came and all that came is answered", all_answered, self.alive, seconds=30)

    def end(self):
        os.killpg(self.process.pid, signal.SIGTERM)  # npm's wrapper and the CLI itself.
        self.process.wait(10)
        self.reader.join(5)


def trigger(dev, environment, event):
    command = ["stripe", "trigger", event, "--api-base", api_base(dev), "--api-key", KEY]
    ended = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    said = ended.stdout + ended.stderr
    if ended.returncode or "Trigger succeeded" not in said:
        raise SystemExit(f"stripe trigger {event} ended with {ended.returncode}:\n{said}")


def main(binary):
    with Dev(binary) as dev, tempfile.TemporaryDirectory() as home:
        dev.sandbox("webhook", {"enabled": False})  # From here on only the CLI delivers.
        environment = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "STRIPE_CLI_TELEMETRY_OPTOUT": "1"}
        listen = Listen(dev, environment)
        try:
            until("stripe listen says that it is ready", listen.ready, listen.alive)
            token = dev.token("alice").strip()
            dev.subscribe(token)
            me = dev.wait_for_access(token, "trialing", "active")
            listen.wait_for(EXPECTED)
            print(f"paid and forwarded: {len(listen.came())} events, access is {me['access']}")
            for event in TRIGGERS:
                before = len(listen.came())
                trigger(dev, environment, event)
                until(f"events of the trigger {event}", lambda: len(listen.came()) > before, listen.alive)
                listen.wait_for({event})
                print(f"trigger {event}: {len(listen.came()) - before} events forwarded")
            bad = {event: status for event, status in listen.answered().items() if status != 200}
            assert not bad, f"not answered 200: {[(listen.came().get(event), status) for event, status in bad.items()]}"
            print(f"{len(listen.answered())} events, each answered 200")
        except BaseException:
            print("--- stripe listen:", *listen.lines[-60:], sep="\n")
            raise
        finally:
            listen.end()


if __name__ == "__main__":
    main(sys.argv[1])
