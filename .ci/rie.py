"""A Lambda function as AWS runs it: a binary under the runtime interface emulator, which is part of the SAM CLI.

`with Function(binary, environment) as function:` holds one execution environment. The emulator starts the binary at the
first `invoke`, so `pid`, `init_ms` and what is measured of the process exist from then on.

`sam` must be on the PATH (`need_sam` in tools.sh): the emulator lies in its Python package.
"""

import json
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "arm64"}


def emulator():
    sam = shutil.which("sam")
    if not sam:
        raise SystemExit("the runtime interface emulator is part of the SAM CLI, and there is no `sam` on the PATH")
    name = f"aws-lambda-rie-{ARCHITECTURE[platform.machine()]}"
    found = list(pathlib.Path(sam).resolve().parent.parent.glob(f"lib/python*/site-packages/samcli/local/rapid/{name}"))
    if not found:
        raise SystemExit(f"{sam} has no {name} beside it")
    return found[0]


class Function:
    """One execution environment. Nothing of the caller's environment reaches the function but `environment`."""

    def __init__(self, binary, environment):
        self.command = [str(pathlib.Path(part).absolute()) if index == 0 else str(part) for index, part in enumerate(listed(binary))]
        # Lambda sets a PATH, too: a function in an interpreted language is started by it.
        self.environment = {"PATH": os.environ["PATH"], "AWS_LAMBDA_FUNCTION_NAME": "function", **environment}
        self.pid = None

    def __enter__(self):
        self._temporary = tempfile.TemporaryDirectory(prefix="tollgate-rie-")
        self._log = pathlib.Path(self._temporary.name) / "log"
        port, runtime_port = free_ports(2)
        self._url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
        addresses = ["--runtime-interface-emulator-address", f"127.0.0.1:{port}", "--runtime-api-address", f"127.0.0.1:{runtime_port}"]
        with self._log.open("ab") as log:
            self._emulator = subprocess.Popen(
                [emulator(), *addresses, *self.command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_for(port)
            self._wait_for(runtime_port)
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, kind, *_):
        if kind:
            print("--- the last lines of the function:", *self.log.splitlines()[-40:], sep="\n")
        self.end()

    def _wait_for(self, port):
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if self._emulator.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the emulator does not listen: {self.log}") from None
            time.sleep(0.002)

    def invoke(self, event, seconds=30):
        """What the function returned for the event; ends the program when it failed or did not answer in time."""
        request = urllib.request.Request(self._url, json.dumps(event).encode())
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                returned = answer.read()
        except OSError as error:  # urllib's own errors and a timeout are all of this kind.
            raise SystemExit(f"no answer from the function (waited at most {seconds} s): {error}\n{self.log}") from None
        if self.pid is None:
            self.pid = self._child()
        try:
            return json.loads(returned)
        except ValueError:
            raise SystemExit(f"the function answered with no JSON: {returned[:500]!r}\n{self.log}") from None

    def _children(self):
        tasks = pathlib.Path(f"/proc/{self._emulator.pid}/task").glob("*/children")
        return [int(pid) for task in tasks for pid in task.read_text().split()]

    def _child(self):
        """The function's process."""
        children = self._children()
        if len(children) != 1:
            raise SystemExit(f"the emulator has {len(children)} child processes, not one: the function ended\n{self.log}")
        return children[0]

    @property
    def log(self):
        """All that the function wrote, and between it what the emulator says of itself."""
        return self._log.read_text(errors="replace")

    @property
    def init_ms(self):
        """From the start of the process until it asked for its first event; `None` before the first `invoke`."""
        found = re.search(r"INIT REPORT\(durationMs: ([\d.]+)\)", self.log)
        return float(found[1]) if found else None

    @property
    def cpu_ms(self):
        """CPU time of the process with all its threads, by its own clock: `/proc/PID/stat` counts in steps of 10 ms."""
        # clock_getcpuclockid(3), which Python has not: the clock of another process is made of its id.
        return time.clock_gettime_ns(~self.pid << 3 | 2) / 1e6

    @property
    def peak_memory_mb(self):
        """The most that was resident at once, in 10^6 bytes."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e6

    def end(self):
        # The function is not in the emulator's process group, and the emulator is slow to end: both are ended by their ids.
        # The emulator comes first, stopped: it would start a function that ended once more.
        os.kill(self._emulator.pid, signal.SIGSTOP)
        for pid in [*self._children(), self._emulator.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._emulator.wait(10)
        self._temporary.cleanup()


def listed(binary):
    return list(binary) if isinstance(binary, (list, tuple)) else [binary]


def free_ports(count):
    """Ports that nobody listens on now."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
