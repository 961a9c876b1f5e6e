"""Stripe's own OpenAPI document judges what the tests recorded.

Proves that every object, list and event that the sandbox gave out is one that Stripe's schema allows, down to the names
of its properties, and that stripe-mock accepts every request that Tollgate sent. It first proves that both judges can
say no: Stripe's own fixtures must pass, damaged ones must not.

usage: stripe_shapes.py DIRECTORY-WITH-spec3.json DIRECTORY-WITH-RECORDINGS
"""

import copy
import hashlib
import http.client
import json
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.parse

from stripe_schema import UNDOCUMENTED, Document, general

SHOWN = 80


def main(openapi, recordings):
    document = Document(openapi / "spec3.json")
    print(f"Stripe's document, version {document.version}")
    self_test(openapi, document)
    self_test_of_parameters(document)
    requests, objects, events = (list(distinct(recordings, kind)) for kind in ("requests", "objects", "events"))
    print(f"recorded and distinct: {len(requests)} requests, {len(objects)} objects, {len(events)} events")
    missing = [kind for kind, values in (("requests", requests), ("objects", objects), ("events", events)) if not values]
    if missing:
        sys.exit(f"nothing was recorded of: {', '.join(missing)}; do the tests start sandboxes with TOLLGATE_SANDBOX_RECORD?")
    count = shape_faults(document, objects + events) + request_faults(openapi, document, requests)
    if count:
        sys.exit(f"{count} distinct faults")


def distinct(recordings, kind):
    """The distinct values of all `*requests.jsonl`, `*objects.jsonl` or `*events.jsonl` under a directory."""
    seen = set()
    for path in sorted(recordings.rglob(f"*{kind}.jsonl")):
        for number, line in enumerate(path.open("rb"), 1):
            key = hashlib.sha256(line.strip()).digest()
            if key in seen:
                continue
            seen.add(key)
            try:
                yield json.loads(line)
            except ValueError:
                sys.exit(f"{path.name}, line {number} is not JSON: {line[:200]!r}")


# Objects and events


def shape_faults(document, values):
    faults, covered = {}, {}
    for value in values:
        kind = value.get("type") if value.get("object") == "event" else value.get("object")
        covered[kind] = covered.get(kind, 0) + 1
        for fault in document.faults(value):
            note(faults, (fault.schema, general(fault.path), fault.message), excerpt(fault))
    print("of these kinds:", ", ".join(f"{kind} {count}" for kind, count in sorted(covered.items(), key=str)))
    report("shapes that Stripe's document refuses", faults)
    return len(faults)


def note(faults, fault, example):
    count, first = faults.get(fault, (0, example))
    faults[fault] = (count + 1, first)


def report(title, faults):
    if faults:
        print(f"\n{len(faults)} {title}:")
    for (what, where, message), (count, example) in sorted(faults.items(), key=lambda item: -item[1][0])[:SHOWN]:
        print(f"- {what} {where or '/'}: {message} ({count} times), e.g. {example}")
    if len(faults) > SHOWN:
        print(f"… and {len(faults) - SHOWN} more")


def excerpt(fault):
    """The value at the fault as short JSON, with the id of the object that it is in."""
    value = fault.example
    owner = (value.get("id") or value.get("url")) if isinstance(value, dict) else None
    for part in fault.path.split("/")[1:]:
        value = value[int(part)] if isinstance(value, list) else value.get(part)
    text = json.dumps(value)
    return f"{owner}: {text if len(text) < 160 else text[:160] + ' …'}"


# Requests


def request_faults(openapi, document, requests):
    ours = [request for request in requests if (request.get("user_agent") or "").startswith("Tollgate/")]
    kinds = {}
    for request in ours:
        kinds.setdefault(request_kind(request), request)
    refused = [r for r in ours if r["status"] == 400]
    accepted = {kind: request for kind, request in kinds.items() if request["status"] != 400 and request["status"] < 500}
    print(f"Tollgate's own requests: {len(ours)}, of {len(kinds)} kinds; {len(accepted)} kinds are replayed to stripe-mock")
    if not accepted:
        sys.exit("no request with a User-Agent of Tollgate/… was recorded")
    faults = {}
    for request in ours:
        if request.get("stripe_version") != document.version:
            version = request.get("stripe_version")
            note(faults, (endpoint(request), "Stripe-Version", f"is {version!r}, not {document.version!r}"), shown(request))
    with StripeMock(openapi) as mock:
        self_test_of(mock)
        for request in accepted.values():
            status, answer = mock.send(request)
            answers = [answer] if status >= 300 else []
            path = request["path"].partition("?")[0]
            for answer in answers + document.parameter_errors(request["method"], path, parameters_of(request)):
                note(faults, (endpoint(request), "", answer), shown(request))
    print(*sorted({endpoint(request) for request in accepted.values()}), sep="\n")
    if refused:
        print(f"not replayed, since the sandbox refused them with 400: {len(refused)}")
    report("requests that Stripe's document refuses", faults)
    return len(faults)


def endpoint(request):
    return f"{request['method']} {general_path(request['path'])}"


def shown(request):
    return urllib.parse.unquote_plus(f"{request.get('query') or ''} {text_of(request.get('body'))}").strip()[:400]


def general_path(path):
    return re.sub(r"/([a-z]+_)[A-Za-z0-9_]*[A-Z0-9][A-Za-z0-9_]*", r"/{\1}", path.split("?")[0])


def request_kind(request):
    """Requests that differ only in ids and numbers are one kind: replaying one of them is enough."""
    parameters = f"{request.get('query') or ''} {text_of(request.get('body'))}"
    parameters = re.sub(r"([a-z]+_)[A-Za-z0-9_]*[A-Z0-9][A-Za-z0-9_]*", r"\1", urllib.parse.unquote_plus(parameters))
    return request["method"], general_path(request["path"]), re.sub(r"\d+", "0", parameters), request["status"] < 300


def text_of(body):
    """A recorded body as a form: it is one already, or a JSON object of parameter names with values."""
    if not body:
        return ""
    return body if isinstance(body, str) else urllib.parse.urlencode(body, doseq=True)


def parameters_of(request):
    query = request.get("query") or request["path"].partition("?")[2]
    return [pair for text in (query, request.get("body")) for pair in urllib.parse.parse_qsl(text_of(text), keep_blank_values=True)]


class StripeMock:
    """The real stripe-mock on a free port, ended when the `with` block ends."""

    def __init__(self, openapi):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]

    def __enter__(self):
        command = ["stripe-mock", "-http-port", str(self.port), "-strict-version-check"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while True:
            try:
                self.send({"method": "GET", "path": "/v1/balance"})
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    sys.exit("stripe-mock does not start")
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def send(self, request):
        path, _, query = request["path"].partition("?")
        query = request.get("query") or query
        headers = {"Authorization": "Bearer sk_test_123", "Content-Type": "application/x-www-form-urlencoded"}
        if request.get("stripe_version"):
            headers["Stripe-Version"] = request["stripe_version"]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(request["method"], path + (f"?{text_of(query)}" if query else ""), text_of(request.get("body")) or None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.status < 300:
            return answer.status, ""
        try:
            return answer.status, json.loads(text)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            return answer.status, text[:300]


# The judges can say no


def self_test(openapi, document):
    """Stripe's own fixtures are valid, and every way of damaging one is noticed."""
    # Fixtures carry a few properties that the document does not name, so they are held to the open schemas.
    lenient = Document(openapi / "spec3.json", closed=False)
    fixtures = json.loads((openapi / "fixtures3.json").read_text())["resources"]
    known = {name: value for name, value in fixtures.items() if lenient.schema_name(value)}
    for name, value in known.items():
        if name == "event":
            value["api_version"] = document.version
        expect(not lenient.faults(value), f"Stripe's fixture {name}: {lenient.faults(value)[:3]}")
    expect(len(known) > 150, f"only {len(known)} fixtures have a schema")

    for name, key in UNDOCUMENTED.items():
        expect(f'"{key}":' in json.dumps(fixtures.get(name, fixtures["price"].get(name))), f"the fixture {name} has no {key}")
    customer, invoice = fixtures["customer"], fixtures["invoice"]
    event = {**fixtures["event"], "type": "customer.updated", "data": {"object": customer}}
    a_list = {"object": "list", "data": [customer], "has_more": False, "url": "/v1/customers"}
    for good in (customer, event, a_list, {"object": "customer", "id": "cus_1", "deleted": True}):
        expect(not document.faults(good), f"a good {good['object']}: {document.faults(good)[:3]}")
    damaged = [
        (customer, lambda v: v.pop("created"), "a required property removed"),
        (customer, lambda v: v.update(created="yesterday"), "a wrong type"),
        (customer, lambda v: v.update(loyalty=1), "an unknown property"),
        (customer, lambda v: v.update(object="kustomer"), "an unknown object"),
        (customer, lambda v: v.update(livemode=None), "a null that is not allowed"),
        (invoice, lambda v: v.update(status="settled"), "an unknown enum value"),
        (invoice, lambda v: v["lines"]["data"][0].update(amount="1"), "a wrong type deep in a list"),
        (a_list, lambda v: v.pop("has_more"), "a list without has_more"),
        (a_list, lambda v: v["data"][0].pop("livemode"), "a list with a damaged item"),
        (event, lambda v: v["data"]["object"].pop("id"), "an event about a damaged object"),
        (event, lambda v: v["data"].update(previous_attributes={"loyalty": 1}), "an unknown previous attribute"),
        (event, lambda v: v.update(type="customer.shredded"), "an unknown event type"),
        (event, lambda v: v.update(api_version="2019-01-01"), "an event of another version"),
        (event, lambda v: v.pop("pending_webhooks"), "an event without pending_webhooks"),
    ]
    for good, damage, what in damaged:
        bad = copy.deepcopy(good)
        damage(bad)
        before = {fault[:3] for fault in document.faults(good)}
        expect({fault[:3] for fault in document.faults(bad)} - before, f"{what} went unnoticed")
    print(f"self-test: {len(known)} of Stripe's fixtures pass, {len(damaged)} damaged objects are refused")


def self_test_of(mock):
    def post(body):
        return mock.send({"method": "POST", "path": "/v1/customers", "body": body})[0]

    expect(post("description=x") == 200, "stripe-mock refuses a good request")
    expect(post("descripshun=x") == 400, "stripe-mock accepts an unknown parameter")
    expect(post("metadata=x&tax_exempt=sometimes") == 400, "stripe-mock accepts an unknown enum value")
    expect(mock.send({"method": "GET", "path": "/v1/gustomers"})[0] == 404, "stripe-mock accepts an unknown path")


def self_test_of_parameters(document):
    good = [("mode", "subscription"), ("line_items[0][price]", "price_1"), ("line_items[0][quantity]", "1"), ("metadata[a]", "b"), ("expand[]", "customer")]
    errors = document.parameter_errors("POST", "/v1/checkout/sessions", good)
    expect(not errors, f"good parameters are refused: {errors}")
    for bad in (("line_items[0][prize]", "price_1"), ("mode", "gift"), ("line_items[0][quantity]", "one"), ("discounts", "x"), ("surprise", "1")):
        expect(document.parameter_errors("POST", "/v1/checkout/sessions", [bad]), f"the parameter {bad} went unnoticed")


def expect(holds, otherwise):
    if not holds:
        sys.exit(f"the self-test fails: {otherwise}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
