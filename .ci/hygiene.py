"""What must not be in the repository is not there.

Proves that no tracked file holds a machine's path, a package registry's address or a secret, that Cargo.lock is committed
and takes every crate from crates.io, and that every file under events/ is JSON.
"""

import json
import pathlib
import re
import subprocess
import sys

# A literal that only looks like one of these belongs in a test; there it is spelled so that it cannot be mistaken.
ANYWHERE = {
    "a machine's path": r"(?<![\w.])/(?:root|work|home/[a-z][\w-]*|Users/[A-Za-z][\w-]*|builds|workspace)/[\w.]",
    "a registry's address": r"(?:registry\.npmjs\.org|index\.crates\.io|static\.crates\.io|files\.pythonhosted\.org|pypi\.org|proxy\.golang\.org|deb\.debian\.org|artifactory|repo\d?\.maven\.apache\.org)",
    "a live Stripe key": r"(?:sk|rk)_live_[A-Za-z0-9]{8,}",
    "an AWS access key": r"(?:AKIA|ASIA)(?!IOSFODNN7EXAMPLE)[A-Z0-9]{16}",
    "a private key": r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s*\n?[A-Za-z0-9+/=]{20,}",
    "a GitHub token": r"gh[pousr]_[A-Za-z0-9]{30,}",
}
# Test keys and signing secrets are spelled out in tests and documents only.
OUTSIDE_TESTS = {
    "a test Stripe key": r"(?:sk|rk)_test_[A-Za-z0-9]{24,}",
    "a webhook signing secret": r"whsec_[A-Za-z0-9+/]{16,}",
}
TESTS = re.compile(r"(^|/)(tests?|events|examples)/|(^|/)tests?\.rs$|\.md$")
REGISTRY_IS_NORMAL = {"Cargo.lock"}


def tracked():
    """Every file that git knows or would add; the checkout may not have been committed yet."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True).stdout
    return [path for name in listed.decode().split("\0") if name and (path := pathlib.Path(name)).is_file()]


def faults_in(name, text):
    rules = dict(ANYWHERE)
    if pathlib.Path(name).name in REGISTRY_IS_NORMAL or name == ".ci/hygiene.py":
        rules.pop("a registry's address")
    # From `#[cfg(test)]` on, a Rust file is tests.
    code = text.split("#[cfg(test)]")[0] if name.endswith(".rs") else text
    for what, pattern in rules.items():
        for match in re.finditer(pattern, text):
            yield f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {what}: {match.group()[:12]}…"
    for what, pattern in OUTSIDE_TESTS.items():
        for match in re.finditer(pattern, "" if TESTS.search(name) else code):
            yield f"{name}:{code.count(chr(10), 0, match.start()) + 1}: {what}: {match.group()[:12]}…"


def self_test():
    """Every rule fires on what it is for."""
    for bad in (
        "see /" + "root/.cache/x", "/" + "home/alice/project", "https://" + "registry.npm" + "js.org/x", "sk_" + "live_0123456789ab",
        "AKIA" + "ABCDEFGHIJKLMNOP", "-----BEGIN PRIVATE" + " KEY-----\nMIIEvQIBADANBgkqhkiG9w0B", "gh" + "p_" + "a" * 36, "sk_" + "test_" + "a" * 24, "whsec_" + "a" * 32,
    ):
        if not list(faults_in("src/lib.rs", bad)):
            sys.exit(f"the self-test fails: {bad[:12]}… went unnoticed")
    for good in ("/api/user/me", "home/alice", "networks", "sk_live_…", "whsec_…", "events/work/x", "../root/"):
        if list(faults_in("src/lib.rs", good)):
            sys.exit(f"the self-test fails: {good} is harmless")


def main():
    self_test()
    faults, files = [], tracked()
    for path in files:
        try:
            faults += faults_in(str(path), path.read_text())
        except UnicodeDecodeError:
            pass  # An image holds no secrets that a pattern could find.
        if path.parts[0] == "events" and path.suffix == ".json":
            try:
                json.loads(path.read_text())
            except ValueError as error:
                faults.append(f"{path}: not JSON: {error}")
        elif path.parts[0] == "events" and path.suffix not in {".md", ".txt"}:
            faults.append(f"{path}: neither JSON nor its description")
    lock = pathlib.Path("Cargo.lock")
    if lock not in files:
        faults.append("Cargo.lock: not committed")
    else:
        sources = set(re.findall(r'^source = "(.*)"', lock.read_text(), re.M)) - {"registry+https://github.com/rust-lang/crates.io-index"}
        faults += [f"Cargo.lock: a crate from {source}" for source in sorted(sources)]
    print(f"{len(files)} files read")
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
