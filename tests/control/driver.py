"""Drives a rig from outside, as an operator and a client would: files, signals, sockets, log lines, /proc."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tests.ports import free_port as free_port

T = TypeVar("T")

# How long a test waits for something to happen before it calls it a failure; never how long it waits for time.
CEILING = 120.0
# And for what takes many steps, as the start of a gateway beside forty others.
LONGEST = 2 * CEILING
_ROOT = Path(__file__).parents[2]
# What a service manager does between fork and exec: the sockets from descriptor 3 on, and whom they are meant for.
_PASSING = """
import os, sys
count = int(sys.argv[1])
for place in range(count):
    os.dup2(int(sys.argv[2 + place]), 3 + place)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count))
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
"""


class Answer(NamedTuple):
    """One response of the rig."""

    status: int
    text: str
    worker: int
    pid: int
    closes: bool


def until(happened: Callable[[], T | None], what: str) -> T:
    """Ask again and again until the answer is true; fail after the ceiling."""
    ends = time.monotonic() + LONGEST
    while True:
        answer = happened()
        if answer:
            return answer
        assert time.monotonic() < ends, f"did not happen: {what}"
        time.sleep(0.01)


def end(process: subprocess.Popen[Any]) -> None:
    """Have a gateway end, and wait for that; one that does not is killed, so that it disturbs no other test."""
    process.terminate()
    try:
        process.wait(CEILING)
    finally:
        process.kill()
        process.wait()


class Client:
    """One connection."""

    def __init__(self, address: int | Path) -> None:
        if isinstance(address, Path):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(CEILING)
            self.socket.connect(str(address))
        else:
            self.socket = socket.create_connection(("127.0.0.1", address), timeout=CEILING)

    def send(self, path: str) -> None:
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: rig\r\n\r\n".encode())

    def receive(self) -> Answer:
        """Read one response. Raises ConnectionError when it does not come whole."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        while len(body) < int(fields["content-length"]):
            body += self._more()
        text, worker, pid = body.decode().split(" ")
        return Answer(int(lines[0].split(" ")[1]), text, int(worker), int(pid), fields.get("connection") == "close")

    def get(self, path: str = "/") -> Answer:
        self.send(path)
        return self.receive()

    def ended(self) -> bool:
        """Wait for the other side to close; True when it did so without a byte."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.socket.close()

    def _more(self) -> bytes:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the gateway closed the connection in the middle of a response")
        return data


class Rig:
    """A gateway of real processes in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.settings: dict[str, Any] = {
            "listen": [f"127.0.0.1:{self.port}"],
            "workers": 2,
            "text": "one",
        }
        # What a service manager would add: variables, and sockets that listen.
        self.environ: dict[str, str] = {}
        self.passed: list[socket.socket] = []
        self._seen: set[int] = set()
        self._clients: list[Client] = []

    # As an operator

    def write(self, **settings: Any) -> None:
        """Change settings in the configuration file, by renaming a new file over it."""
        self.settings |= settings
        self.write_text(json.dumps(self.settings))

    def write_text(self, text: str) -> None:
        fresh = self.folder / ".fresh"
        fresh.write_text(text)
        fresh.replace(self.folder / "gateway.json")

    def start(self, *, limit: float = 60.0, poll: float = 0.0, **settings: Any) -> Rig:
        """Start the gateway and wait until its first plan is in force."""
        self.launch(limit=limit, poll=poll, **settings)
        self.wait_log("plan 1 is in force")
        return self

    def launch(self, *, limit: float = 60.0, poll: float = 0.0, **settings: Any) -> None:
        """Start the gateway. Files are watched every `poll` seconds, by default not at all."""
        self.write(**settings)
        runtime = self.folder / "runtime"
        runtime.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "tests.control.rig", str(self.folder), str(limit), str(poll)]
        passed = [each.fileno() for each in self.passed]
        if passed:
            # Numbers that none of the first ones is dupped over.
            passed = [fcntl.fcntl(each, fcntl.F_DUPFD, 100) for each in passed]
            command = [sys.executable, "-c", _PASSING, str(len(passed)), *map(str, passed), *command]
        with (self.folder / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(
                command,
                cwd=_ROOT,
                env={**os.environ, "XDG_RUNTIME_DIR": str(runtime), **self.environ},
                stderr=stderr,
                pass_fds=passed,
            )
        for each in passed:
            os.close(each)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for the end; return the exit status."""
        assert self.process is not None
        return self.process.wait(CEILING)

    # As an observer

    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def log(self) -> list[dict[str, Any]]:
        lines = self.stderr().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def wait_log(self, message: str, count: int = 1) -> dict[str, Any]:
        """Wait for the count-th log line whose message contains `message`."""

        def found() -> list[dict[str, Any]]:
            assert self.process is not None
            lines = [line for line in self.log() if message in line["message"]]
            assert len(lines) >= count or self.process.poll() is None, self.stderr()
            return lines if len(lines) >= count else []

        return until(found, f"log line {message!r}, got:\n{self.stderr()}")[count - 1]

    def children(self) -> dict[int, str]:
        """Return process id and state (Z is a zombie) of every child of the master."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        states = {int(pid): state_of(int(pid)) for pid in text.split()}
        self._seen |= states.keys()
        return states

    def everybody_gone(self) -> bool:
        """Tell whether no process ever seen as a child lives."""
        return all(state_of(pid) in ("gone", "Z") for pid in self._seen)

    def runtime_is_clean(self) -> bool:
        return not list((self.folder / "runtime").iterdir())

    @property
    def control_pid(self) -> int:
        return int((self.folder / "control.pid").read_text())

    # As a client

    def connect(self, address: int | Path | None = None) -> Client:
        """Connect to the gateway; the rig closes what the test does not."""
        client = Client(address or self.port)
        self._clients.append(client)
        return client

    def get(self, path: str = "/", port: int | None = None) -> Answer:
        """Ask once on a connection of its own."""
        client = self.connect(port)
        try:
            return client.get(path)
        finally:
            client.close()

    def connect_to(self, worker: int) -> tuple[Client, Answer]:
        """Return a connection that `worker` serves; the kernel chooses, so try until it has chosen that one."""

        def tried() -> tuple[Client, Answer] | None:
            client = self.connect()
            answer = client.get()
            if answer.worker == worker:
                return client, answer
            client.close()
            return None

        return until(tried, f"a connection to worker {worker}")

    def texts(self, workers: Iterable[int] = (1, 2)) -> set[str]:
        """Return what these workers answer."""
        texts = set()
        for worker in workers:
            client, answer = self.connect_to(worker)
            client.close()
            texts.add(answer.text)
        return texts

    def refuses(self, port: int | None = None) -> bool:
        try:
            self.connect(port).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            return False
        return False

    def stop(self) -> None:
        """End whatever is left of it."""
        for client in self._clients:
            client.close()
        if self.process is None:
            return
        if self.process.poll() is None:
            self.children()
            self.process.kill()
            self.process.wait()
        for pid in self._seen:
            if state_of(pid) not in ("gone", "Z") and "tests.control.rig" in _command(pid):
                os.kill(pid, signal.SIGKILL)


def state_of(pid: int) -> str:
    """Return the state letter of a process, or "gone"."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return "gone"


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
