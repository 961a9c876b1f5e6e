"""The functions as `sam build` made them, in SAM's containers.

DynamoDB, issuer and Stripe sandbox are a `tollgate dev` on this machine; whatever a function does is done in a container.
Proves that each binary fits Lambda (size, C library), that `sam local invoke` with every input under events/ answers what is
stated here, and that behind `sam local start-api`, fed by the real Stripe CLI, a Checkout that is paid makes a user active.

usage: sam.py BINARY BUILD
"""

import base64
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile

from dev import CARD, GATEWAY, SANDBOX, Dev, until
from stripe_cli import EXPECTED, Listen

FUNCTIONS = ("checkout", "portal", "profile", "reconcile", "webhook")
API_PORT = 3000
ZIP_LIMIT_BYTES = 5_000_000
GLIBC = (2, 34)  # Amazon Linux 2023's, which Lambda's image is made of.
CUSTOMER = "cus_00000000000001"  # Of the events under events/; nobody has claimed it.


def fits_lambda(build):
    """Each binary is small enough, and asks for no newer C library than Lambda's."""
    for name in FUNCTIONS:
        bootstrap = build / f"{name.capitalize()}Function" / "bootstrap"
        with tempfile.TemporaryFile() as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.write(bootstrap, "bootstrap")
            zipped = file.tell()
        asked = max(tuple(map(int, version.split(b"."))) for version in re.findall(rb"GLIBC_(\d+\.\d+)", bootstrap.read_bytes()))
        print(f"{name:10} {bootstrap.stat().st_size:>11,} bytes, zipped {zipped:>10,}; asks for glibc {asked[0]}.{asked[1]}")
        assert zipped < ZIP_LIMIT_BYTES, f"{name}: over {ZIP_LIMIT_BYTES:,} bytes zipped"
        assert asked <= GLIBC, f"{name}: Lambda's image has glibc {GLIBC[0]}.{GLIBC[1]} only"


def run(*command, **options):
    ended = subprocess.run(command, stdin=options.pop("stdin", subprocess.DEVNULL), capture_output=True, timeout=120, **options)
    if ended.returncode:
        raise SystemExit(f"{command[:3]} ended with {ended.returncode}:\n{(ended.stdout + ended.stderr).decode(errors='replace')[-4000:]}")
    return ended.stdout.decode()


class Sam:
    """`sam local` with everything it is told about this machine."""

    def __init__(self, build, dev, folder):
        self.dev, self.folder = dev, folder
        self.options = ["--config-file", pathlib.Path("samconfig.toml").resolve(), "--template", build / "template.yaml"]
        self.options += ["--env-vars", dev.env_file.with_name("sam.json"), "--skip-pull-image"]

    def invoke(self, function, event):
        """What the function answers to the event, and how long Lambda's own clock says it took."""
        file = self.folder / "event.json"
        file.write_text(json.dumps(event))
        command = ["sam", "local", "invoke", f"{function.capitalize()}Function", "--event", file, *self.options]
        ended = subprocess.run(command, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        took = re.search(r"\tDuration: ([\d.]+) ms", ended.stderr)
        if ended.returncode or not took or "errorType" in ended.stdout:
            raise SystemExit(f"sam local invoke {function} ended with {ended.returncode}:\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}")
        return json.loads(ended.stdout.strip().splitlines()[-1]), float(took[1])

    @contextlib.contextmanager
    def api(self):
        """`sam local start-api`; its containers end with it."""
        log = self.folder / "start-api.log"
        command = ["sam", "local", "start-api", *self.options]
        if listens(API_PORT):
            raise SystemExit(f"port {API_PORT} is taken by something else")
        with log.open("wb") as into:
            process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=into, stderr=into)

        def alive():
            if process.poll() is not None:
                raise SystemExit(f"sam local start-api ended with {process.returncode}")

        try:
            until("sam local start-api listens", lambda: listens(API_PORT), alive, seconds=60)
            yield
            print(f"start-api: {len(containers(log))} containers served {log.read_text().count('REPORT RequestId')} invocations")
            assert len(containers(log)) >= 3, "not all of checkout, webhook and profile ran in a container"
        except BaseException:
            print("--- sam local start-api:", *log.read_text(errors="replace").splitlines()[-60:], sep="\n")
            raise
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for container in containers(log):
                subprocess.run(["docker", "rm", "--force", container], capture_output=True, timeout=60, check=False)


def containers(log):
    return set(re.findall(r"SAM_CONTAINER_ID: (\w+)", log.read_text(errors="replace")))


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Inputs:
    """The files under events/, made fit for now: a stored signature is stale, a stored token is none."""

    def __init__(self, dev):
        self.dev, self.used = dev, set()

    def read(self, file):
        self.used.add(file)
        return json.loads(pathlib.Path("events", file).read_text())

    def with_token(self, file, token):
        event = self.read(file)
        event["headers"]["authorization"] = f"Bearer {token}"
        return event

    def signed(self, file, **replaced):
        """The same event with its body signed now, as Stripe would; with other ids in it if wanted."""
        event = self.read(file)
        body = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
        for old, new in replaced.items():
            assert old.encode() in body, f"{file} has no {old}"
            body = body.replace(old.encode(), new.encode())
        with tempfile.TemporaryFile() as payload:
            payload.write(body)
            payload.seek(0)
            secret = self.dev["STRIPE_WEBHOOK_SECRET"]
            header = run(self.dev.binary, "sign", "--secret", secret, stdin=payload, cwd=self.dev.directory).strip()
        event["body"] = base64.b64encode(body).decode() if event["isBase64Encoded"] else body.decode()
        for headers, value in (("headers", header), ("multiValueHeaders", [header])):
            if "stripe-signature" in event.get(headers, {}):
                event[headers]["stripe-signature"] = value
        return event

    def id_of(self, file):
        event = self.read(file)
        body = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"]
        return json.loads(body)["id"]


def every_input(sam, inputs):
    """Each file under events/ gets the answer that is stated here."""

    def expect(function, file, event, status, **expected):
        answer, milliseconds = sam.invoke(function, event)
        body = json.loads(answer["body"])
        said = ", ".join(name if value is ... else f"{name} {body.get(name)}" for name, value in expected.items())
        print(f"{file:28} {answer['statusCode']} {said:24} {milliseconds:7.1f} ms")
        assert answer["statusCode"] == status, f"{file}: {status} was expected: {answer}"
        different = {name: body.get(name) for name, value in expected.items() if body.get(name) != value and (value is not ... or name not in body)}
        assert not different, f"{file}: {expected} was expected: {body}"
        return body

    erin, frank = (inputs.dev.token(user).strip() for user in ("erin", "frank"))
    expect("profile", "profile_plans.json", inputs.read("profile_plans.json"), 200, plans=...)
    expect("profile", "profile_me.json", inputs.read("profile_me.json"), 401, code="unauthenticated")
    expect("profile", "profile_me.json", inputs.with_token("profile_me.json", erin), 200, access="inactive")
    expect("portal", "portal.json", inputs.with_token("portal.json", erin), 409, code="no_customer")
    expect("checkout", "checkout.json", inputs.with_token("checkout.json", erin), 200, session_id=...)
    expect("checkout", "checkout_pack.json", inputs.with_token("checkout_pack.json", frank), 200, session_id=...)
    expect("portal", "portal.json", inputs.with_token("portal.json", erin), 200, url=...)
    me = expect("profile", "profile_me.json", inputs.with_token("profile_me.json", erin), 200, stripe_customer_id=...)

    file = "webhook.json"
    event_id = inputs.id_of(file)
    expect("webhook", file, inputs.read(file), 400, code="invalid_signature")
    expect("webhook", "webhook_bad_signature.json", inputs.read("webhook_bad_signature.json"), 400, code="invalid_signature")
    expect("webhook", file, inputs.signed(file), 200, outcome="parked")  # Its customer is nobody's.
    # Of a customer whom we know, through every front door, each as an event of its own.
    doors = (file, "webhook_rest.json", "webhook_base64.json", "webhook_function_url.json")
    for number, door in enumerate(doors):
        claimed = {CUSTOMER: me["stripe_customer_id"], event_id: f"{event_id}{number}"}
        event = inputs.signed(door, **claimed)
        expect("webhook", door, event, 200, outcome="no_change")
        expect("webhook", door, event, 200, outcome="duplicate")
    again = inputs.signed("webhook_duplicate.json", **{CUSTOMER: me["stripe_customer_id"], event_id: f"{event_id}0"})
    expect("webhook", "webhook_duplicate.json", again, 200, outcome="duplicate")
    internal = "webhook_internal.json"
    expect("webhook", internal, inputs.with_token(internal, "a-secret-that-is-not-the-one"), 401, code="unauthenticated")
    expect("webhook", internal, inputs.with_token(internal, inputs.dev["INTERNAL_SECRET"]), 200, outcome="parked")

    report, milliseconds = sam.invoke("reconcile", inputs.read("reconcile.json"))
    print(f"{'reconcile.json':28} {report} {milliseconds:.1f} ms")
    assert report.keys() == {"done", "pending", "parked", "missed"}, report

    unused = {path.name for path in pathlib.Path("events").glob("*.json")} - inputs.used
    assert not unused, f"no answer is stated here for {unused}"


def paid_through_containers(sam, dev):
    """Sign-up, Checkout, payment, events by the Stripe CLI, access: the API is SAM's, and nothing else answers for it."""
    dev.sandbox("webhook", {"enabled": False})
    dev.variables[GATEWAY] = f"http://localhost:{API_PORT}"
    home = sam.folder / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "STRIPE_CLI_TELEMETRY_OPTOUT": "1"}
    with sam.api():
        started = time.monotonic()
        listen = Listen(dev, environment)
        try:
            until("stripe listen says that it is ready", listen.ready, listen.alive, seconds=30)
            token = dev.token("alice").strip()
            me = dev.api("GET", "/api/user/me", token)
            assert me["access"] == "inactive", me
            session = dev.api("POST", "/api/billing/checkout-session", token, {"plan": "starter", "interval": "month"})
            dev.sandbox(f"checkout/sessions/{session['session_id']}/pay", {"card": CARD})
            me = dev.wait_for_access(token, "active", seconds=60)
            listen.wait_for(EXPECTED)
            bad = {event: status for event, status in listen.answered().items() if status != 200}
            assert not bad, f"not answered 200: {[(listen.came().get(event), status) for event, status in bad.items()]}"
            said = f"{len(listen.answered())} events forwarded and answered 200"
            print(f"start-api: alice paid for {me['plan']} and is {me['access']}; {said}; {time.monotonic() - started:.1f} s")
        except BaseException:
            print("--- stripe listen:", *listen.lines[-40:], sep="\n")
            raise
        finally:
            listen.end()


def main(binary, build):
    fits_lambda(build)
    # The containers know this machine by the name localhost (samconfig.toml), and come from outside of it.
    with Dev(binary, arguments=["--listen", "0.0.0.0"]) as dev, tempfile.TemporaryDirectory(prefix="tollgate-sam-") as folder:
        sam = Sam(build, dev, pathlib.Path(folder))
        every_input(sam, Inputs(dev))
        paid_through_containers(sam, dev)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]).resolve())
