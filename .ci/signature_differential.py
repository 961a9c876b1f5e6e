"""Whatever signature Tollgate accepts, Stripe's own libraries accept too, and nothing outside the grammar is accepted.

Usage: signature_differential.py VERIFIER, with the library `stripe` for Python installed and NODE_MODULES naming the
folder that holds the one for Node.js. Makes some thousand requests, the same ones every time: valid, almost valid and
odd. The libraries are asked at whole seconds with a tolerance of 300.

Two kinds of body are judged apart, because the libraries do not verify the bytes that were sent but text that they make
of them: Node.js drops a byte order mark and replaces what is not UTF-8, Python refuses the latter. Stripe sends neither.
"""

import base64
import collections
import hashlib
import hmac
import json
import pathlib
import random
import re
import subprocess
import sys
import time

SEED, CASES = 20260826, 6000
ACCEPTED_AT_LEAST = 800
NOW, TOLERANCE = 1_790_000_000, 300
SECRETS = ["whsec_first", "whsec_second"]
STRANGER = "whsec_stranger"

EVENT = '{\n  "id": "evt_1",\n  "object": "event",\n  "type": "invoice.paid"\n}'
BODIES = {
    "event": EVENT.encode(),
    "umlauts": '{"name": "Jürgen Öß 🦀 \u2028 \u0000"}'.encode(),
    "crlf": EVENT.replace("\n", "\r\n").encode() + b"\r\n",
    "empty": b"",
    "nul": b"\0",
    "long": ('{"data": "' + "0123456789" * 820 + '"}').encode(),
    "mark": b"\xef\xbb\xbf" + EVENT.encode(),
    "not_utf8": b'{"name": "J\xfcrgen"}',
    "surrogate": b'{"name": "\xed\xa0\x80"}',
    "cut": "ü".encode()[:1],
}


def digest(secret, stamp, body):
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def is_text(body):
    """Whether the libraries can get the bytes right."""
    try:
        return not body.decode().startswith("\ufeff")
    except UnicodeDecodeError:
        return False


def reference(case):
    """The grammar once more, as an expression, and the HMAC by other code."""
    header = case["header"]
    if header is None or len(header) > 2048 or header.count(b",") >= 16:
        return False
    entry = rb"(?:t=(?:0|[1-9][0-9]{0,18})|v1=[0-9a-f]{64}|(?!(?:t|v1)=)[0-9A-Za-z]+=[0-9A-Za-z]+)"
    if not re.fullmatch(entry + rb"(?:," + entry + rb")*", header):
        return False
    entries = [entry.split("=") for entry in header.decode().split(",")]
    stamps = [value for name, value in entries if name == "t"]
    if len(stamps) != 1 or int(stamps[0]) >= 1 << 63 or abs(case["now"] - int(stamps[0])) > TOLERANCE:
        return False
    return any(name == "v1" and value == digest(secret, stamps[0], case["body"]) for name, value in entries for secret in SECRETS)


# Ways to write the time so that it is not canonical; some of them int() or parseInt() read as if it were.
NUMBERS = [
    lambda t: f"+{t}", lambda t: f"0{t}", lambda t: f" {t}", lambda t: f"{t} ", lambda t: f"{t}.0", lambda t: f"{t}e0", lambda t: hex(t),
    lambda t: f"{t:_}", lambda t: f"{t}x", lambda t: f"-{t}", lambda t: "", lambda t: "NaN", lambda t: "9" * 19, lambda t: "9" * 20,
    lambda t: "9" * 400, lambda t: str(t + (1 << 64)), lambda t: "-1", lambda t: "0", lambda t: str(t * 1000), lambda t: f"{t}\n",
    lambda t: str(t).translate({ord("0") + n: 0x660 + n for n in range(10)}), lambda t: f"{t}=1", lambda t: str((1 << 63) - 1), lambda t: str(1 << 63),
]


def odd_header(rng, entries, right):
    """One oddity, on a list of entries or on the whole header. Returns its name and the header."""
    stamp = entries[0][2:]
    at = rng.randrange(len(entries) + 1)
    join = ",".join
    put = lambda *new: join([*entries[:at], *new, *entries[at:]])
    wrong = "%064x" % rng.getrandbits(256)
    shuffled = rng.sample(entries, len(entries))
    oddities = {
        "order": lambda: join(shuffled),
        "several v1": lambda: put(*["v1=" + wrong] * rng.randint(1, 4)),
        "v0": lambda: put("v0=" + wrong, "v0=" + right),
        "many entries": lambda: put(*["v1=" + wrong] * rng.randint(5, 19)),
        "many others": lambda: put(*[f"v{n}=a" for n in range(2, rng.randint(8, 21))]),
        "too long": lambda: put("v0=" + "a" * rng.randint(1900, 3000)),
        "second t": lambda: put(rng.choice([f"t={stamp}", "t=1", f"t={NOW}", "t=", "t"])),
        "joined twice": lambda: f"{join(entries)}, {join(entries)}",
        "space": lambda: rng.choice([", ".join, " ,".join, lambda e: " " + join(e), lambda e: join(e) + " ", lambda e: join(e).replace("=", "= ")])(entries),
        "tab": lambda: join(entries) + "\t",
        "line end": lambda: rng.choice([join(entries) + "\r\n", ",\r\n ".join(entries), "\n" + join(entries), join(entries).replace(",", "\n", 1)]),
        "mark": lambda: "\ufeff" + join(entries),
        "other separator": lambda: rng.choice([";", "|", " ", "&", ",,", "\0,"]).join(entries),
        "colon": lambda: join(entries).replace("=", rng.choice([":", "==", ""]), 1),
        "upper hex": lambda: join(entries).replace(right, right.upper()),
        "short hex": lambda: join(entries).replace(right, right[: rng.choice([0, 1, 62, 63])]),
        "long hex": lambda: join(entries).replace(right, right + rng.choice(["0", "00", "=", " ", "é"])),
        "prefixed hex": lambda: join(entries).replace(right, rng.choice(["0x", " ", "+"]) + right),
        "no name": lambda: put(rng.choice(["", "=", "x", "=x", "v0=", "v0", "v0=-", "v-0=1", "v0=a=b", "ü=1", "v0=ü"])),
        "upper name": lambda: join(entries).replace(*rng.choice([("t=", "T="), ("v1=", "V1="), ("v1=", "v1 ="), ("v1=", "v01="), ("v1=", "v0=")])),
        "only one": lambda: rng.choice(entries),
        "empty": lambda: "",
    }
    name = rng.choice(list(oddities))
    return name, oddities[name]()


def make_case(rng):
    body_name = rng.choice([*BODIES, "event", "event", "umlauts"])
    body = signed = BODIES[body_name]
    now = NOW + rng.randint(-1000, 1000)
    kinds = []
    age = rng.choice([0, 0, 0, rng.randint(-299, 299), -299, 299, -300, 300, -301, 301, 3600, -3600, -315_360_000, 315_360_000])
    kinds += ["stale"] if age > TOLERANCE else ["ahead"] if age < -TOLERANCE else []
    stamp = signed_stamp = str(now - age)
    secret = rng.choices([*SECRETS, STRANGER], [6, 6, 1])[0]
    if secret == STRANGER:
        kinds.append("stranger")
    if rng.random() < 0.2:
        kinds.append("number")
        stamp = rng.choice(NUMBERS)(now - age)
        # Signed as it is written, or as a lenient reader would write it.
        signed_stamp = rng.choice([stamp, signed_stamp])
    if rng.random() < 0.25:
        kinds.append("body")
        signed = rng.choice([
            body + b"\n", body.strip(), b"\xef\xbb\xbf" + body, body.removeprefix(b"\xef\xbb\xbf"), body.decode(errors="replace").encode(),
            body.replace(b"\r\n", b"\n"), body.replace(b" ", b""), body[:-1], body.decode("latin1").encode(), base64.b64encode(body),
        ])
    right = digest(secret, signed_stamp, signed)
    entries, header = [f"t={stamp}", f"v1={right}"], None
    if rng.random() < 0.5:
        kind, header = odd_header(rng, entries, right)
        kinds.append(kind)
    else:
        header = ",".join(entries)
    if rng.random() < 0.01:
        kinds, header = ["absent"], None
    kind = " + ".join(kinds) or "plain"
    return {"kind": kind, "body_name": body_name, "header": None if header is None else header.encode(), "body": body, "secrets": SECRETS, "now": now}


def by_program(command, cases):
    encode = lambda octets: None if octets is None else base64.b64encode(octets).decode()
    lines = "".join(json.dumps({"header": encode(c["header"]), "body": encode(c["body"]), "secrets": c["secrets"], "now": c["now"]}) + "\n" for c in cases)
    answers = subprocess.run(command, input=lines, capture_output=True, text=True, check=True).stdout.split()
    if len(answers) != len(cases) or set(answers) - {"accept", "refuse"}:
        sys.exit(f"{command[0]}: {len(answers)} answers to {len(cases)} cases")
    return [answer == "accept" for answer in answers]


def by_python(cases):
    import stripe

    def accepts(case, secret):
        header = case["header"] and case["header"].decode("latin1")
        try:
            return stripe.WebhookSignature.verify_header(case["body"], header, secret, TOLERANCE)
        except (stripe.SignatureVerificationError, UnicodeDecodeError, TypeError, ValueError):
            return False  # Whatever is thrown becomes an answer that is not 2xx.

    clock, verdicts = time.time, []
    try:
        for case in cases:
            time.time = lambda: case["now"]
            verdicts.append(any(accepts(case, secret) for secret in case["secrets"]))
    finally:
        time.time = clock
    return verdicts


def judge(cases, ours, node, python):
    """What is wrong with our verdicts."""
    faults = []
    for case, mine, theirs in zip(cases, ours, zip(node, python)):
        shown = f"{case['kind']}, body {case['body_name']}, now {case['now']}: {case['header']}"
        if mine != reference(case):
            faults.append(f"the grammar says otherwise than our {'accept' if mine else 'refuse'}: {shown}")
        if mine and is_text(case["body"]) and not all(theirs):
            faults.append(f"accepted, but not by {'Node.js' if theirs[1] else 'Python'}: {shown}")
    compared = sum(mine and is_text(case["body"]) for case, mine in zip(cases, ours))
    if compared < ACCEPTED_AT_LEAST:
        faults.append(f"only {compared} of {len(cases)} accepted: the cases prove little")
    return faults


def self_test(cases, ours, node, python):
    """A verdict that is too loose is noticed, each by itself; so is a verifier that refuses all."""
    loose = [n for n in range(len(cases)) if not ours[n]]
    for n in loose[:: max(1, len(loose) // 50)]:
        if not judge(cases, [*ours[:n], True, *ours[n + 1 :]], node, python):
            sys.exit(f"the self-test fails: accepting {cases[n]['kind']} went unnoticed")
    # Without the second reading of the grammar, too: a header that no library accepts.
    n = next(n for n in loose if not node[n] and is_text(cases[n]["body"]))
    if not any("not by" in fault for fault in judge(cases, [*ours[:n], True, *ours[n + 1 :]], node, python)):
        sys.exit("the self-test fails: accepting what Node.js refuses went unnoticed")
    if not any("prove little" in fault for fault in judge(cases, [False] * len(cases), node, python)):
        sys.exit("the self-test fails: refusing everything went unnoticed")


def report(cases, verdicts):
    """How often the three agree and how they do not."""
    word = {True: "accept", False: "refuse"}
    for name, wanted in (("text", True), ("what is not UTF-8 or begins with a byte order mark", False)):
        counts = collections.Counter(each for case, each in zip(cases, verdicts) if is_text(case["body"]) == wanted)
        print(f"bodies of {name}:\n  {'Tollgate':10}{'Node.js':10}{'Python':10}")
        for each, count in sorted(counts.items(), reverse=True):
            print("  " + "".join(f"{word[verdict]:10}" for verdict in each) + f"{count:6}")
    lenient = collections.Counter(case["kind"] for case, (mine, *theirs) in zip(cases, verdicts) if not mine and any(theirs))
    print("refused, though a library accepts:", ", ".join(f"{kind} {count}" for kind, count in lenient.most_common(12)))


def main():
    rng = random.Random(SEED)
    cases = [make_case(rng) for _ in range(CASES)]
    ours = by_program([sys.argv[1]], cases)
    node = by_program(["node", str(pathlib.Path(__file__).with_suffix(".mjs"))], cases)
    python = by_python(cases)
    report(cases, list(zip(ours, node, python)))
    faults = judge(cases, ours, node, python)
    if faults:
        sys.exit("\n".join([*faults[:20], f"{len(faults)} faults"]))
    self_test(cases, ours, node, python)
    print(f"{len(cases)} cases with seed {SEED}: {sum(ours)} accepted, those of text by Stripe's libraries too")


if __name__ == "__main__":
    main()
