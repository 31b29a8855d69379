"""Starting and stopping: everything the bench starts stands on one Stage and leaves with it, by pid.

Laws of the file: nothing outlives its Stage, whatever ends the run (an error, Ctrl-C, SIGTERM); only processes
started here, and their children, are ever signalled.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

from bench import proc

_STOP_SECONDS = 5.0
_START_SECONDS = 30.0


class CannotRunError(Exception):
    """Say what is missing on this machine, for people; ends a row, or the run."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core the gateway has, and which the load and the upstream."""

    gateway: int
    load: int


def choose_cores() -> Cores:
    """Take the first two cores this process may use.

    Raises CannotRunError on a machine with one: gateway and load on one core measure each other's caches.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise CannotRunError("two cores are needed, one for the gateway and one for the load; this machine gives one")
    return Cores(allowed[0], allowed[1])


def raise_file_limit() -> int:
    """Lift the soft limit of open files to the hard one, for this process and its children; return it."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def end_on_sigterm() -> None:
    """Let SIGTERM end the run as Ctrl-C does, so that every Stage is left."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, interrupt)


class Running:
    """A process that was started on a Stage, with the file its output goes to."""

    __slots__ = ("log", "name", "popen", "started")

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path, started: float) -> None:
        self.name = name
        self.popen = popen
        self.log = log
        self.started = started

    @property
    def pid(self) -> int:
        """Return the pid of the process itself, which taskset became by exec."""
        return self.popen.pid

    def last_words(self) -> str:
        """Return the end of its output, for the message of a failure."""
        return self.log.read_text(errors="replace").strip()[-2000:] or "(it printed nothing)"

    def worker(self, port: int) -> int:
        """Return the pid in this tree that serves connections to `port`."""
        with socket.create_connection(("127.0.0.1", port), timeout=5) as held:
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                owners = proc.connections((process.pid for process in proc.tree(self.pid)), port)
                for pid, clients in owners.items():
                    if held.getsockname()[1] in clients:
                        return pid
                time.sleep(0.02)
        raise CannotRunError(f"{self.name}: no process of its tree took a connection to port {port}")

    def stop(self) -> None:
        """End the process: SIGTERM, then SIGKILL to whatever of its tree is left."""
        members = proc.tree(self.pid)
        if self.popen.poll() is None:
            self.popen.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(_STOP_SECONDS)
        for member in reversed(members):
            now = proc.stat(member.pid)
            # The start time tells our child from a stranger who was given its number.
            if now is not None and now.started == member.started:
                with suppress(ProcessLookupError):
                    os.kill(member.pid, signal.SIGKILL)
        self.popen.wait()


class Stage:
    """A folder on tmpfs and the processes started for one row; both are gone when the `with` ends."""

    def __init__(self) -> None:
        self._running: list[Running] = []
        self.folder = Path()

    def __enter__(self) -> Stage:
        shm = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="headgate-bench-", dir=shm if shm.is_dir() else None))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for running in reversed(self._running):
            running.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, name: str, command: list[str], core: int) -> Running:
        """Start `command` pinned to `core`, its output in a file of the folder.

        It gets a session of its own: Ctrl-C in the terminal reaches the bench alone, which then stops its children.
        """
        log = self.folder / f"{name}-{len(self._running)}.out"
        with log.open("wb") as out:
            started = time.monotonic()
            popen = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running = Running(name, popen, log, started)
        self._running.append(running)
        return running

    def stop(self, running: Running) -> None:
        """End one of the processes before the others."""
        running.stop()
        self._running.remove(running)


def wait_until(running: Running, ready: Callable[[], bool], seconds: float = _START_SECONDS) -> float:
    """Poll `ready` and return the seconds from exec to its first True.

    Raises CannotRunError with the last words of the process when it ends, or when the time is over.
    """
    deadline = running.started + seconds
    while not ready():
        if running.popen.poll() is not None:
            words = running.last_words()
            raise CannotRunError(f"{running.name} ended with {running.popen.returncode} before it answered:\n{words}")
        if time.monotonic() > deadline:
            raise CannotRunError(f"{running.name} gave no answer in {seconds:g} s:\n{running.last_words()}")
        time.sleep(0.002)
    return time.monotonic() - running.started


def say(text: str) -> None:
    """Print a line of progress at once, also into a pipe."""
    print(text, file=sys.stderr, flush=True)


def names_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Return a type for argparse: names of a table, with commas between them."""
    choices = list(known)

    def split(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in choices]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; choose of {', '.join(choices)}")
        return names

    return split
