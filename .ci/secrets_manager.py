"""Secrets Manager as the functions use it: the real `webhook` binary, read and rotated against moto.

Proves that a secret is read at the first need and not before, only so many as are needed, and then kept; that a new
signing secret is accepted at once and an old one refused after it was taken away; that storms of bad signatures cost at
most one read in 30 s; that a blank secret or an unreachable Secrets Manager is answered so that Stripe delivers again,
and names what is wrong; that `tollgate webhook-endpoint` rotates without losing an event; and that no value is logged.

usage: secrets_manager.py BINARY DIRECTORY-WITH-FUNCTIONS
"""

import hashlib
import hmac
import http.client
import http.server
import json
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.request

from dev import DYNAMODB, GATEWAY, SANDBOX, Dev, until
from rie import Function, free_ports

EVENTS = pathlib.Path(__file__).resolve().parent.parent / "events"
REREAD_SECONDS = 30  # The function reads a secret again at most this often, when a signature does not match.
REGION = "us-east-1"
READ, WRITE = "GetSecretValue", "PutSecretValue"


class Manager:
    """moto behind a gate that counts what it lets through, and that can be shut."""

    def __init__(self):
        self.port, gate = free_ports(2)
        self.url = f"http://127.0.0.1:{gate}"
        self.calls, self.shut = [], set()
        manager = self

        class Gate(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                operation = self.headers["X-Amz-Target"].split(".")[-1]
                if operation in manager.shut:
                    self.close_connection = True  # No answer at all.
                    return
                manager.calls.append((operation, json.loads(body)["SecretId"]))
                status, answer = manager.send(operation, body)
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", gate), Gate)

    def __enter__(self):
        command = ["moto_server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.moto = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        try:
            until("moto listens", lambda: listens(self.port), self._alive, seconds=40)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _alive(self):
        if self.moto.poll() is not None:
            raise SystemExit(f"moto ended with {self.moto.returncode}")

    def __exit__(self, *_):
        self.server.shutdown()
        self.moto.kill()
        self.moto.wait()

    def send(self, operation, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        credential = f"AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/secretsmanager/aws4_request, SignedHeaders=host, Signature=0"
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"secretsmanager.{operation}", "Authorization": credential}
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def ask(self, operation, **parameters):
        status, answer = self.send(operation, json.dumps({"ClientRequestToken": secrets.token_hex(16), **parameters}).encode())
        if status != 200:
            raise SystemExit(f"moto refused {operation}: {answer.decode()}")
        return json.loads(answer)

    def create(self, name, **members):
        return self.ask("CreateSecret", Name=name, SecretString=json.dumps(members))["ARN"]

    def change(self, arn, **members):
        now = json.loads(self.ask(READ, SecretId=arn)["SecretString"])
        self.ask(WRITE, SecretId=arn, SecretString=json.dumps({**now, **members}))

    def member(self, arn, name):
        return json.loads(self.ask(READ, SecretId=arn)["SecretString"])[name]

    def reads(self):
        """The ARNs read through the gate since this was asked last."""
        read = [arn for operation, arn in self.calls if operation == READ]
        self.calls.clear()
        return read


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Webhook:
    """The `webhook` binary in an environment of its own, with events to send to it."""

    def __init__(self, function):
        self.function = function

    def send(self, secret, event=None, headers=()):
        """Status of an event signed with the secret; one that nothing is done about, unless another is given."""
        body = json.dumps(event or an_event("product.created", {"id": "prod_1", "object": "product"}))
        timestamp = str(int(time.time()))
        signature = hmac.new(secret.encode(), f"{timestamp}.{body}".encode(), hashlib.sha256).hexdigest()
        request = json.loads((EVENTS / "webhook.json").read_text())
        request["body"] = body
        request["headers"] |= {"stripe-signature": f"t={timestamp},v1={signature}", "content-length": str(len(body)), **dict(headers)}
        answer = self.function.invoke(request)
        self.last = answer["body"]
        return answer["statusCode"]

    def storm(self):
        """Twenty events that are signed with nobody's secret."""
        statuses = {self.send("whsec_" + secrets.token_hex(16)) for _ in range(20)}
        expect(statuses, {400}, "statuses of a storm of bad signatures")


def an_event(kind, content):
    now = int(time.time())
    return {
        "id": f"evt_{secrets.token_hex(12)}",
        "object": "event",
        "type": kind,
        "created": now,
        "livemode": False,
        "api_version": "2026-08-26.dahlia",
        "data": {"object": content},
    }


def expect(found, wanted, what):
    if found != wanted:
        raise SystemExit(f"{what}: {found}, not {wanted}")
    print(f"  {what}: {found}")


def signing_secret():
    return f"whsec_{secrets.token_hex(16)}"


class Bench:
    """What the cases share."""

    def __init__(self, binary, functions, dev, manager):
        self.binary, self.functions, self.dev, self.manager = binary, functions, dev, manager
        self.logs, self.values = [], []

    def value(self, made):
        """A secret's value, which must never be logged."""
        self.values.append(made)
        return made

    def environment(self, *arns):
        names = ("TABLE_NAME", "LIVEMODE", "OIDC_ISSUERS", "OIDC_AUDIENCE", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        own = {"STAGE": "test", "SECRETS_ARN": ",".join(arns), "AWS_ENDPOINT_URL_SECRETS_MANAGER": self.manager.url}
        return {**{name: self.dev[name] for name in names}, DYNAMODB: self.dev[DYNAMODB], SANDBOX: self.dev[SANDBOX], **own}

    def run(self, name, *arns):
        return Function(self.functions / name, self.environment(*arns))

    def keep(self, function):
        """The function's log, to be searched for values at the end."""
        self.logs.append(function.log)
        return function.log

    def tollgate(self, *arguments):
        """A command of the command line, against the sandbox and moto."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("STRIPE_", "AWS_", "SECRETS_ARN"))}
        environment |= {"AWS_REGION": REGION, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        environment["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = self.manager.url
        command = [self.binary, "webhook-endpoint", *arguments, "--env-file", self.dev.env_file]
        ended = subprocess.run(command, env=environment, cwd=self.dev.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        self.logs.append(ended.stdout + ended.stderr)
        return ended

    def stripe(self, path):
        request = urllib.request.Request(self.dev[SANDBOX] + path, headers={"Authorization": f"Bearer {self.dev['STRIPE_SECRET_KEY']}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())["data"]


def read_at_the_first_need(bench):
    """Two secrets, in their order: the webhook's own, and behind it Stripe's key."""
    print("read at the first need, in order, and kept")
    manager = bench.manager
    old = bench.value(signing_secret())
    webhook = manager.create("webhook", STRIPE_WEBHOOK_SECRET=old, INTERNAL_SECRET=bench.value(secrets.token_hex(16)))
    stripe = manager.create("stripe", STRIPE_SECRET_KEY=bench.value(f"sk_test_{secrets.token_hex(12)}"))
    with bench.run("profile", webhook, stripe) as profile:
        request = json.loads((EVENTS / "profile_me.json").read_text())
        request["headers"]["authorization"] = f"Bearer {bench.dev.token('alice').strip()}"
        expect(profile.invoke(request)["statusCode"], 200, "profile answers")
        expect(manager.reads(), [], "profile reads")
        bench.keep(profile)
    token = bench.dev.token("bob").strip()
    bench.dev.subscribe(token)
    bench.dev.wait_for_access(token, "active", "trialing")
    return old, webhook, stripe


def kept_and_bounded(bench, function, old, webhook, stripe):
    manager, hook = bench.manager, Webhook(function)
    too_large = an_event("product.created", {"id": "prod_1", "object": "product", "name": "x" * (520 << 10)})
    expect(hook.send(old, too_large), 413, "a body that is too large")
    expect(manager.reads(), [], "reads before the first need")
    expect(hook.send(old), 200, "an event that needs no call to Stripe")
    first_read = time.monotonic()
    expect(manager.reads(), [webhook], "reads for it: the first secret alone")
    expect({hook.send(old) for _ in range(20)}, {200}, "statuses of twenty more")
    subscription = bench.stripe("/v1/events?type=customer.subscription.created&limit=1")[0]["data"]["object"]
    expect(hook.send(old, an_event("customer.subscription.updated", subscription)), 200, "an event that needs a call to Stripe")
    expect(json.loads(hook.last)["outcome"] in ("applied", "no_change"), True, "Stripe was called with the key")
    expect(manager.reads(), [stripe], "reads for it: the second secret alone")
    hook.storm()
    expect(manager.reads(), [], "reads for a storm within 30 s")
    return hook, first_read


def wait_until_a_read_is_due(read):
    left = read + REREAD_SECONDS + 1 - time.monotonic()
    if left > 0:
        time.sleep(left)


def blank_members(bench):
    print("a blank member is named, and answered so that Stripe delivers again")
    manager, good = bench.manager, bench.value(signing_secret())
    blank = manager.create("blank", STRIPE_WEBHOOK_SECRET=" ", INTERNAL_SECRET=bench.value(secrets.token_hex(16)))
    no_key = manager.create("no-key", STRIPE_SECRET_KEY="")
    with bench.run("webhook", blank, no_key) as function:
        hook = Webhook(function)
        expect(hook.send(good), 503, "an event while STRIPE_WEBHOOK_SECRET is blank")
        expect("STRIPE_WEBHOOK_SECRET" in bench.keep(function), True, "the log names the member")
    manager.change(blank, STRIPE_WEBHOOK_SECRET=good)
    with bench.run("webhook", blank, no_key) as function:
        hook = Webhook(function)
        subscription = bench.stripe("/v1/events?type=customer.subscription.created&limit=1")[0]["data"]["object"]
        status = hook.send(good, an_event("customer.subscription.updated", subscription))
        outcome = json.loads(hook.last).get("outcome") if status == 200 else None
        expect((status, outcome), (200, "pending"), "an event that needs Stripe's key while that is blank is kept")
        expect("STRIPE_SECRET_KEY" in bench.keep(function), True, "the log names the member")
    manager.reads()


def unreachable(bench):
    print("Secrets Manager down")
    manager, good = bench.manager, bench.value(signing_secret())
    arn = manager.create("unreachable", STRIPE_WEBHOOK_SECRET=good)
    with bench.run("webhook", arn) as function:
        hook = Webhook(function)
        manager.shut = {READ}
        expect(hook.send(good), 503, "an event while it is down")
        manager.shut = set()
        expect(hook.send(good), 200, "the next event, when it is up again")
        expect("Secrets Manager" in bench.keep(function), True, "the log says who did not answer")
    manager.reads()


def an_outage_costs_nothing_that_is_known(bench, warm, read, known):
    """A bad signature makes the function read again; when it cannot, what it knew is still right."""
    print("Secrets Manager down, and somebody sends bad signatures to a function that has the secret")
    wait_until_a_read_is_due(read)
    bench.manager.shut = {READ}
    status = warm.send(signing_secret())
    expect(status in (400, 503), True, "a bad signature is refused")
    expect(warm.send(known), 200, "an event of Stripe's")
    bench.manager.shut = set()
    bench.manager.reads()


def rotate(bench, hook, read, old, webhook):
    print("rotation by the command line")
    manager, url = bench.manager, f"{bench.dev[GATEWAY]}/api/webhooks/stripe"
    sync = ("sync", "--url", url, "--secret-arn", webhook)
    manager.shut = {WRITE}
    refused = bench.tollgate(*sync)
    manager.shut = set()
    expect((refused.returncode, bench.stripe("/v1/webhook_endpoints")), (1, []), "a secret that cannot be kept leaves no endpoint")
    made = bench.tollgate(*sync)
    if made.returncode:
        raise SystemExit(f"webhook-endpoint sync failed: {made.stderr}")
    new, kept = manager.member(webhook, "STRIPE_WEBHOOK_SECRET").split(",")
    bench.value(new)
    expect((made.stdout, kept == old), ("", True), "the new secret stands before the old one and is not printed")
    wait_until_a_read_is_due(read)
    manager.reads()
    expect(hook.send(new), 200, "an event signed with the new secret, at once")
    read = time.monotonic()
    expect(manager.reads(), [webhook], "reads for it")
    expect({hook.send(secret) for _ in range(5) for secret in (old, new)}, {200}, "statuses of events signed with either")
    hook.storm()
    expect(manager.reads(), [], "reads for them and a storm")
    return new, read


def take_the_old_one_away(bench, hook, read, old, new, webhook):
    print("the old secret is taken away")
    manager = bench.manager
    manager.change(webhook, STRIPE_WEBHOOK_SECRET=new)
    wait_until_a_read_is_due(read)
    manager.reads()
    hook.storm()
    expect(manager.reads(), [webhook], "reads for a storm after 30 s")
    expect((hook.send(old), hook.send(new)), (400, 200), "statuses of the old secret and of the new one")


def main(binary, functions):
    with Dev(binary) as dev, Manager() as manager:
        bench = Bench(pathlib.Path(binary).resolve(), pathlib.Path(functions).resolve(), dev, manager)
        old, webhook, stripe = read_at_the_first_need(bench)
        known = bench.value(signing_secret())
        warm_arn = manager.create("warm", STRIPE_WEBHOOK_SECRET=known)
        with bench.run("webhook", webhook, stripe) as function, bench.run("webhook", warm_arn) as warm_function:
            warm = Webhook(warm_function)
            expect((warm.send(known), manager.reads()), (200, [warm_arn]), "another function reads another secret")
            hook, read = kept_and_bounded(bench, function, old, webhook, stripe)
            # While time passes.
            blank_members(bench)
            unreachable(bench)
            an_outage_costs_nothing_that_is_known(bench, warm, read, known)
            new, read = rotate(bench, hook, read, old, webhook)
            take_the_old_one_away(bench, hook, read, old, new, webhook)
            bench.keep(function)
            bench.keep(warm_function)
        lines = sum(len(log.splitlines()) for log in bench.logs)
        leaked = sum(value in log for log in bench.logs for value in bench.values)
        expect((leaked, len(bench.values) > 6, lines > 60), (0, True, True), "values in the logs; there are values; there are logs")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
