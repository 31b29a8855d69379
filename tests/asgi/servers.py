"""An ASGI server as its user starts it: real processes, a folder and an environment of the test's own.

    with Server(tmp_path, "uvicorn main:app --port 8080", cwd, alone=True) as server:
        assert server.get(8080, "/health").status == 200

`alone`: in a network of its own (a Linux network namespace), where every port is free; the test's connections are made
in there, too. Leaving ends the server's processes, and proves that all that belonged to it has ended with it.
"""

from __future__ import annotations

import ctypes
import functools
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self, TypeVar

from tests.acceptance.gateway import Answer
from tests.control.driver import CEILING, until

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
TOKEN = "the admin token of these tests"
_NEW_NETWORK = 0x40000000


@functools.cache
def why_no_network() -> str:
    """Return why there can be no network of a test's own, empty when there can."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return "unshare and ip are missing"
    ran = subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    return "" if ran.returncode == 0 else "this user may make no network namespace"


class Server:
    """A running server.

    Args:
        folder: Where it keeps everything but its working directory.
        line: What a user writes.
        cwd: Where the user is.
        env: Variables besides PATH, HOME, the runtime folder, the state_dir and the admin token.
        alone: In a network of its own.
    """

    def __init__(self, folder: Path, line: str, cwd: Path, env: Mapping[str, str] = {}, *, alone: bool = False) -> None:
        self.folder, self._alone = folder, alone
        self.runtime = folder / "run"
        self.runtime.mkdir(exist_ok=True)
        self.env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "HEADGATE_STATE_DIR": str(folder / "state"),
            "HEADGATE_ADMIN_TOKEN": TOKEN,
            "PYTHONDONTWRITEBYTECODE": "1",
            **env,
        }
        words = line.split()
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *words] if alone else words
        with (folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if alone:
            # Until then it is in the network of the tests, where somebody else may listen.
            ours = Path("/proc/self/ns/net").readlink()
            until(lambda: self._network().readlink() != ours, "it is in a network of its own")

    def _network(self) -> Path:
        return Path(f"/proc/{self.process.pid}/ns/net")

    @property
    def output(self) -> str:
        """What it wrote."""
        return (self.folder / "output").read_text()

    def get(self, port: int, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        """Ask once, on a connection of its own."""
        return self.inside(lambda: _ask(port, path, method, body, headers))

    def inside(self, work: Callable[[], T]) -> T:
        """Do something in the server's network."""
        if not self._alone:
            return work()
        found: list[T] = []
        faults: list[BaseException] = []

        def run() -> None:
            try:
                _enter_network(self.process.pid)
                found.append(work())
            except BaseException as fault:
                faults.append(fault)

        # A network is a thread's own, and goes with it.
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if faults:
            raise faults[0]
        return found[0]

    def wait(self, port: int, path: str = "/") -> Answer:
        """Wait until it answers there."""

        def answered() -> Answer | None:
            assert self.process.poll() is None, self.output
            try:
                return self.get(port, path)
            except OSError:
                return None

        answer = until(answered, f"an answer at {path}")
        assert answer is not None
        return answer

    def children(self) -> list[int]:
        """Return the processes that the server has started and that serve for it."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(each) for each in found if "resource_tracker" not in _words(int(each))]

    def companion(self) -> int:
        """Return the process that keeps the server's workers together."""

        def found() -> int:
            for pid in (int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()):
                words = _words(pid)
                # Control is the same program, below it.
                if "--guests" in words and str(self.runtime) in words and not _is_below_its_like(pid):
                    return pid
            return 0

        return until(found, "there is a companion")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, and see everything end with it."""
        for sent in (number, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, sent)
                self.process.wait(CEILING / 2)
                break
            except (ProcessLookupError, subprocess.TimeoutExpired):
                self.process.poll()
        until(lambda: not list(self.runtime.glob("headgate-*")), f"what ran for the server has ended: {self.output}")


def _ask(port: int, path: str, method: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CEILING)
    try:
        connection.request(method, path, body, {"Connection": "close", **headers})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


def _enter_network(pid: int) -> None:
    with Path(f"/proc/{pid}/ns/net").open() as network:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(network.fileno(), _NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "setns")


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _is_below_its_like(pid: int) -> bool:
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        # It has ended meanwhile, and is nobody's companion.
        return True
    return "--guests" in _words(parent)


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True
