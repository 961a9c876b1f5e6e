"""What a start and a first invocation cost: the functions as they are deployed, under the runtime interface emulator.

Beside a `tollgate dev`, in rounds that give each program its turn, so that the machine's moods meet all alike:
 - the time until a function asks for its first event, beside that of an empty function, and its memory and CPU time;
 - what the first request over TLS costs beyond the second, to the same DynamoDB behind a TLS end.
Prints a table of each, and ends with an error when a bound is broken.

usage: start.py BINARY FUNCTIONS [NAME=COMMAND…]
BINARY is `tollgate`; FUNCTIONS is the folder that `cargo lambda build` has filled; each COMMAND starts another program that
does what `webhook` does, for comparison.
"""

import collections
import hashlib
import hmac
import json
import pathlib
import shlex
import statistics
import sys
import tempfile
import time
import urllib.request
import uuid
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / ".ci"))

from dev import DYNAMODB, ISSUER, SANDBOX, Dev  # noqa: E402
from rie import Function  # noqa: E402
from tls_end import Certificates, TlsEnd  # noqa: E402

EVENTS = pathlib.Path(__file__).resolve().parent.parent / "events"
FUNCTIONS = ("checkout", "portal", "profile", "reconcile", "webhook")
ROUNDS = 20
TLS_ROUNDS = 9

START_BOUND = 2.0  # times the empty function's
MEMORY_BOUND_MB = 40
ZIP_BOUND_MB = 5
TLS_BOUND_MS = 5  # of CPU time


def main(binary, folder, others):
    broken = []
    with Dev(binary) as dev, Certificates() as certificates:
        inputs = Inputs(dev)
        programs = {"empty": folder / "empty" / "bootstrap", **{name: folder / name / "bootstrap" for name in FUNCTIONS}}
        broken += starts(programs, others, inputs)
        broken += first_over_tls(programs, inputs, certificates)
    if broken:
        raise SystemExit("\n".join(["", *broken]))


class Inputs:
    """Events for the functions that really do something with the data of `dev`."""

    def __init__(self, dev):
        self.dev = dev
        self.token = dev.token("alice").strip()
        dev.subscribe(self.token)
        dev.wait_for_access(self.token, "active", "trialing")
        self.known = next(event for event in dev_events(dev) if event["type"] == "invoice.paid")
        self.customer = self.known["data"]["object"]["customer"]
        self.environment = {name: value for name, value in dev.variables.items() if not name.startswith("TOLLGATE_")}
        self.environment["AWS_DEFAULT_REGION"] = dev["AWS_REGION"]  # Lambda sets both.
        # The system's roots lie in one file on Amazon Linux. Debian has a folder of them besides, which would be read, too.
        self.environment["SSL_CERT_FILE"] = str(system_roots())

    def of(self, name):
        if name == "reconcile":
            return read("reconcile.json")
        if name in ("checkout", "portal"):
            return self.authorized(f"{name}.json")
        if name == "profile":
            return self.authorized("profile_me.json")
        return self.webhook(self.payment())

    def authorized(self, file):
        event = read(file)
        event["headers"]["authorization"] = f"Bearer {self.token}"
        return event

    def payment(self):
        """A new event of Stripe's: it is applied without a call to Stripe."""
        event = read("stripe/2026-08-26.dahlia/payment_intent.succeeded.json")
        event["id"] = f"evt_{uuid.uuid4().hex}"
        event["data"]["object"] |= {"id": f"pi_{uuid.uuid4().hex}", "customer": self.customer}
        return event

    def webhook(self, event):
        request, body, now = read("webhook.json"), json.dumps(event), int(time.time())
        secret = self.dev["STRIPE_WEBHOOK_SECRET"].split(",")[0]
        signature = hmac.new(secret.encode(), f"{now}.{body}".encode(), hashlib.sha256).hexdigest()
        request["headers"]["stripe-signature"] = f"t={now},v1={signature}"
        return {**request, "body": body}

    def refused(self):
        """A request that goes nowhere: it finds no route, or shows no signature."""
        event = read("profile_me.json")
        event["rawPath"] = event["requestContext"]["http"]["path"] = "/nothing"
        event["headers"].pop("authorization")
        return event


def read(file):
    return json.loads((EVENTS / file).read_text())


def dev_events(dev):
    request = urllib.request.Request(f"{dev[SANDBOX]}/v1/events?limit=100", headers={"Authorization": f"Bearer {dev['STRIPE_SECRET_KEY']}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())["data"]


def settled(function):
    """CPU time so far, once the process has nothing more to do."""
    before = function.cpu_ms
    for _ in range(200):
        time.sleep(0.003)
        now = function.cpu_ms
        if now == before:
            return now
        before = now
    raise SystemExit("the function does not come to rest")


# What programs answer to their inputs: an error would be measured as gladly as an answer.
EXPECTED = {"empty": 200, "checkout": 409, "portal": 200, "profile": 200, "webhook": 200}


AGAIN = {"profile": '"user_id":"alice"', "webhook": '"outcome":"duplicate"'}


def starts(programs, others, inputs):
    measured = collections.defaultdict(list)
    for _ in range(ROUNDS):
        for name, command in [*programs.items(), *others.items()]:
            with Function(command, inputs.environment) as function:
                times = []
                for _ in range(2):
                    event, begun = inputs.of(name), time.monotonic()
                    answer = function.invoke(event)
                    times.append((time.monotonic() - begun) * 1000)
                    status = (answer or {}).get("statusCode")
                    if status != EXPECTED.get(name, 200 if name != "reconcile" else None):
                        raise SystemExit(f"{name} answered {answer}\n{function.log}")
                measured[name].append((function.init_ms, times[0] - function.init_ms, times[1], settled(function), function.peak_memory_mb))

    medians = {name: [statistics.median(column) for column in zip(*samples)] for name, samples in measured.items()}
    best = {name: min(sample[0] for sample in samples) for name, samples in measured.items()}
    broken = []
    print(f"starts of {ROUNDS} processes (milliseconds, medians; CPU of start and two invocations; the most of memory)")
    print(f"{'':18}{'start':>8}{'x empty':>8}{'fastest':>9}{'x empty':>8}{'first':>8}{'second':>8}{'CPU':>8}{'memory':>10}{'zipped':>9}")
    for name, (start, first, second, cpu, _) in medians.items():
        times, times_best = start / medians["empty"][0], best[name] / best["empty"]
        memory = max(sample[4] for sample in measured[name])
        zipped = zipped_mb(programs[name]) if name in programs else None
        size = f"{zipped:6.2f} MB" if zipped else ""
        print(f"{name:18}{start:8.2f}{times:8.2f}{best[name]:9.2f}{times_best:8.2f}{first:8.2f}{second:8.2f}{cpu:8.2f}{memory:7.1f} MB{size}")
        if name in FUNCTIONS:
            broken += [
                f"{name}: {what} is {value:.2f} {unit}, the bound is {bound}"
                for what, value, unit, bound in (
                    ("the start", times, "times the empty one's", START_BOUND),
                    # On a busy machine, medians are the machine's; the fastest is the program's.
                    ("the fastest start", times_best, "times the empty one's", START_BOUND),
                    ("the memory", memory, "MB", MEMORY_BOUND_MB),
                    ("the zip", zipped, "MB", ZIP_BOUND_MB),
                )
                if value > bound
            ]
    return broken


def zipped_mb(binary):
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(binary, "bootstrap")
        return file.tell() / 1e6


def first_over_tls(programs, inputs, certificates):
    """CPU time that the first request costs beyond the second, each process fresh, once over TLS and once without it.

    Before both comes a request that goes nowhere, so that the start is not counted. `webhook` gets a duplicate, which takes the
    same one read each time. The first `profile` also reads the catalogue, over the same connection, and the issuer's keys, for
    which it reads the system's roots: all of that is in its number. What TLS alone costs is the difference to the run without.
    """
    surplus = collections.defaultdict(list)
    with TlsEnd(inputs.dev[DYNAMODB], certificates) as end, TlsEnd(inputs.dev[ISSUER], certificates) as issuer:
        tls = {DYNAMODB: end.url, "AWS_CA_BUNDLE": str(certificates.root)}
        # The issuer's end is trusted by the system's roots and one more, as many as a deployed function reads.
        bundle = certificates.root.with_name("bundle.pem")
        bundle.write_bytes(system_roots().read_bytes() + certificates.root.read_bytes())
        abroad = {**tls, "OIDC_ISSUERS": f"{issuer.url}/.well-known/openid-configuration", "SSL_CERT_FILE": str(bundle)}
        ways = [("webhook", "TLS", tls), ("webhook", "plain", {}), ("profile", "TLS", tls), ("profile", "plain", {}), ("profile", "TLS, issuer too", abroad)]
        trusts_amazon_alone(programs["webhook"], inputs, {**abroad, "AWS_CA_BUNDLE": ""})
        for _ in range(TLS_ROUNDS):
            for name, way, more in ways:
                before = end.handshakes, issuer.handshakes
                with Function(programs[name], {**inputs.environment, **more}) as function:
                    request = inputs.webhook(inputs.known) if name == "webhook" else inputs.of(name)
                    cpu = []
                    for event, accepted in ((inputs.refused(), False), (request, True), (request, True)):
                        answer = function.invoke(event)
                        if (answer["statusCode"] == 200) != accepted or (accepted and AGAIN[name] not in answer["body"]):
                            raise SystemExit(f"{name} answered {answer}\n{function.log}")
                        cpu.append(settled(function))
                    surplus[name, way].append((cpu[1] - cpu[0], cpu[2] - cpu[1]))
                expected = (int("TLS" in way), int("issuer" in way))
                seen = (end.handshakes - before[0], issuer.handshakes - before[1])
                if seen != expected:
                    raise SystemExit(f"{name}, {way}: {seen} handshakes, not {expected}")

    print(f"\nthe first request, medians of {TLS_ROUNDS} processes (milliseconds of CPU)")
    print(f"{'':28}{'first':>8}{'second':>8}{'beyond':>8}")
    beyond = {}
    for (name, way), samples in surplus.items():
        first, second = (statistics.median(column) for column in zip(*samples))
        beyond[name, way] = statistics.median(first - second for first, second in samples)
        print(f"{f'{name}, {way}':28}{first:8.2f}{second:8.2f}{beyond[name, way]:8.2f}")
    return [
        f"{name}: the first request over TLS costs {beyond[name, 'TLS']:.2f} ms more than the second, the bound is {TLS_BOUND_MS}"
        for name in ("webhook", "profile")
        if beyond[name, "TLS"] > TLS_BOUND_MS
    ]


def trusts_amazon_alone(webhook, inputs, environment):
    """What the system trusts is not trusted to be AWS: nothing is read from such an end, and Stripe is to deliver again."""
    with Function(webhook, {**inputs.environment, **environment}) as function:
        answer = function.invoke(inputs.webhook(inputs.known))
        if answer["statusCode"] != 503:
            raise SystemExit(f"an end that is not AWS's was taken for DynamoDB: {answer}\n{function.log}")


def system_roots():
    for path in ("/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt"):
        if pathlib.Path(path).exists():
            return pathlib.Path(path)
    raise SystemExit("this machine has no system roots where Amazon Linux and Debian keep them")


if __name__ == "__main__":
    commands = dict(argument.split("=", 1) for argument in sys.argv[3:])
    main(sys.argv[1], pathlib.Path(sys.argv[2]).resolve(), {name: shlex.split(command) for name, command in commands.items()})
