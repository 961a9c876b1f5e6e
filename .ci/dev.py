"""A running `tollgate dev` for a step: started, waited for, and ended whatever happens.

As a program it runs a command beside one, with the variables of its `dev.env` in the environment:
`dev.py BINARY COMMAND…`.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

GATEWAY, DYNAMODB, ISSUER, SANDBOX = "TOLLGATE_URL", "AWS_ENDPOINT_URL_DYNAMODB", "OIDC_ISSUERS", "STRIPE_API_BASE"
CARD = "4242424242424242"

# A step that runs out of time unwinds, so that what it has started ends with it.
signal.signal(signal.SIGTERM, lambda *_: sys.exit("the step was stopped: it took too long"))


class Dev:
    """`with Dev(binary) as dev:` is the process after it has written its `dev.env`; `dev[NAME]` is a value of that file."""

    def __init__(self, binary, directory=None, arguments=()):
        self.binary = pathlib.Path(binary).resolve()
        self._temporary = tempfile.TemporaryDirectory(prefix="tollgate-ci-")
        self.directory = pathlib.Path(directory or self._temporary.name)
        self.env_file = pathlib.Path(self._temporary.name) / "dev.env"
        self.log = pathlib.Path(self._temporary.name) / "dev.log"
        # Data lies under `.tollgate/` of the directory that it is started in.
        self.arguments = [*arguments, *([] if directory else ["--ephemeral"])]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        self.end()
        if kind:
            print("--- the last lines of tollgate dev:", *self.log.read_text(errors="replace").splitlines()[-40:], sep="\n")
        self._temporary.cleanup()

    def start(self):
        self.env_file.unlink(missing_ok=True)
        command = [self.binary, "dev", "--free-ports", "--env-file", self.env_file, *self.arguments]
        # A developer's own keys must not make it use Stripe itself.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("STRIPE_SECRET", "STRIPE_WEBHOOK"))}
        self.started = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until("tollgate dev writes its dev.env", self.env_file.exists, self._alive, seconds=30, every=0.002)
        except BaseException:
            self.end()
            print(self.log.read_text(errors="replace"))
            raise
        self.variables = dict(line.split("=", 1) for line in self.env_file.read_text().splitlines())

    def _alive(self):
        if self.process.poll() is not None:
            raise SystemExit(f"tollgate dev ended with {self.process.returncode}")

    def end(self, kill=False):
        if self.process.poll() is None:
            (self.process.kill if kill else self.process.terminate)()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __getitem__(self, name):
        if name not in self.variables:
            raise SystemExit(f"dev.env has no {name}; it has {', '.join(self.variables)}")
        return self.variables[name]

    def token(self, user, *arguments):
        command = [self.binary, "token", user, "--env-file", self.env_file, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=self.directory, stdin=subprocess.DEVNULL).stdout

    def api(self, method, path, token=None, body=None):
        """A call to Tollgate; the answer must be 2xx."""
        return call(method, self[GATEWAY] + path, body, {"Authorization": f"Bearer {token}"} if token else {})

    def sandbox(self, path, body):
        """A call to the sandbox's control."""
        return call("POST", f"{self[SANDBOX]}/_sandbox/{path}", body)

    def subscribe(self, token, card=CARD):
        """What a user does on the pages: a Checkout for Pro by the month, paid."""
        session = self.api("POST", "/api/billing/checkout-session", token, {"plan": "pro", "interval": "month"})
        self.sandbox(f"checkout/sessions/{session['session_id']}/pay", {"card": card})

    def wait_for_access(self, token, *accepted, seconds=20):
        def access():
            me = self.api("GET", "/api/user/me", token)
            return me if me["access"] in accepted else None

        return until(f"access becomes {' or '.join(accepted)}", access, self._alive, seconds=seconds)


def call(method, url, body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{method} {url} answered {error.code}: {error.read().decode(errors='replace')[:1000]}") from None


def until(what, condition, check=lambda: None, seconds=20, every=0.05):
    """The first true value of the condition; fails loudly when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        check()
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds} s: {what}")
        time.sleep(every)


if __name__ == "__main__":
    with Dev(sys.argv[1]) as running:
        ended = subprocess.run(sys.argv[2:], env={**os.environ, **running.variables}, stdin=subprocess.DEVNULL)
        if ended.returncode:
            raise SystemExit(ended.returncode)
