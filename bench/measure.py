"""One figure of one peer in one round. Each measure takes a peer that is up and returns a Sample.

Laws of the file: every answer that is counted was checked to be a good one; a figure got from failing answers is
no figure and raises CannotRunError.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import load, proc
from bench.configs import Setting, route_path
from bench.credentials import Callers
from bench.load import Load
from bench.peers import COMPILED
from bench.policies import KEY_HEADER
from bench.stage import CannotRunError, Cores, Running

MEGABYTE = 1e6
_STALL_SECONDS = 1.0
_FILL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Up:
    """A peer that answers: its process, its setting, its worker, and the seconds from exec to the first answer."""

    label: str
    running: Running
    setting: Setting
    worker: int
    first_answer: float


@dataclass(frozen=True, slots=True)
class Round:
    """What a measure has to work with: the cores, the seconds to spend, and a port that reads uploads."""

    cores: Cores
    seconds: float
    uploads: int


@dataclass(frozen=True, slots=True)
class Sample:
    """The figure, and others worth seeing that no bound is about (column title -> value)."""

    value: float
    extras: dict[str, float] = field(default_factory=dict)


Measure = Callable[[Up, Round], Sample]


def answers(port: int, path: str, tls: bool, *fields: tuple[str, str]) -> bool:
    """Tell whether 127.0.0.1:`port` answers 200 to a GET of `path` with these header fields now."""
    try:
        with _connect(port, tls) as client:
            client.sendall(_get(port, path, "close", *fields))
            return client.recv(65536).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def accepts(port: int) -> bool:
    """Tell whether 127.0.0.1:`port` takes connections now."""
    try:
        with _connect(port, False):
            return True
    except OSError:
        return False


def _connect(port: int, tls: bool) -> socket.socket:
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    if not tls:
        return raw
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        return context.wrap_socket(raw)
    except BaseException:
        raw.close()
        raise


def _get(port: int, path: str, connection: str = "keep-alive", *fields: tuple[str, str]) -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Connection: {connection}", *map(": ".join, fields)]
    return "\r\n".join([*lines, "", ""]).encode()


def cpu_per_request(asked: Load) -> Measure:
    """Return the measure of CPU microseconds per request of the whole process tree."""

    def measure(up: Up, now: Round) -> Sample:
        result, cpu, user, worker = _under_load(up, now, asked)
        extras = {
            # The kernel's part is much the same for every peer, and depends on the machine: what is left is theirs.
            "outside the kernel": user * 1e6 / result.requests,
            "worker only": worker * 1e6 / result.requests,
            "requests/s": result.requests / result.seconds,
            "p50 ms": result.latency.get(50, 0.0) * 1e3,
            "p99 ms": result.latency.get(99, 0.0) * 1e3,
        }
        return Sample(cpu * 1e6 / result.requests, extras)

    return measure


def bytes_per_cpu(asked: Load) -> Measure:
    """Return the measure of megabytes delivered per CPU second of the whole process tree."""

    def measure(up: Up, now: Round) -> Sample:
        result, cpu, _, _ = _under_load(up, now, asked)
        extras = {"MB/s": result.read / result.seconds / MEGABYTE, "requests/s": result.requests / result.seconds}
        return Sample(result.read / cpu / MEGABYTE, extras)

    return measure


def _under_load(up: Up, now: Round, asked: Load) -> tuple[load.Result, float, float, float]:
    """Run the load; return it with the CPU seconds of the tree, those outside the kernel, and the worker's alone."""
    if up.setting.routes:
        asked = _spread(up.setting)
    elif up.setting.policies is not None and up.setting.policies.keys:
        asked = _keyed(up.setting, up.setting.policies.keys)
    elif up.setting.policies is not None and up.setting.policies.callers is not None:
        asked = _shown(up.setting, up.setting.policies.callers)
    before = proc.tree(up.running.pid)
    result = load.run(asked, up.setting.port, now.cores.load, now.seconds)
    after = proc.tree(up.running.pid)
    if result.failed or not result.requests:
        raise CannotRunError(f"{up.label}: {result.failed} of {result.requests + result.failed} answers were not good")
    cpu = proc.cpu_seconds(after) - proc.cpu_seconds(before)
    worker = _only(after, up.worker) - _only(before, up.worker)
    user = proc.user_seconds(after) - proc.user_seconds(before)
    return result, max(cpu, 1 / proc.TICKS_PER_SECOND), user, worker


def _only(processes: list[proc.Stat], pid: int) -> float:
    return proc.cpu_seconds(process for process in processes if process.pid == pid)


def _spread(setting: Setting) -> Load:
    script = setting.folder / f"spread-{setting.routes}.lua"
    if not script.exists():
        script.write_text(load.spread_script([route_path(number) for number in range(setting.routes)]))
    return Load(script=str(script))


def fill(up: Up, now: Round) -> None:
    """Send every key once where a subject counts by keys, and let every caller come once where there are many.

    All are there when the first round begins: what the first time costs is none of its figures. Raises CannotRunError
    when an answer was not good.
    """
    policies = up.setting.policies
    if policies is None:
        return
    done = 0
    while done < policies.keys:
        # What was in flight at the end of a run is not counted, and is the first of the next one.
        done += _filled(up, now, _keyed(up.setting, policies.keys, done))
    callers = policies.callers
    if callers is not None and callers.count > 1:
        # Each run begins with the first of them; those that are known by then take less time.
        while _filled(up, now, _shown(up.setting, callers)) < callers.count:
            pass


def _filled(up: Up, now: Round, asked: Load) -> int:
    result = load.run(asked, up.setting.port, now.cores.load, _FILL_SECONDS)
    if result.failed or not result.requests:
        raise CannotRunError(f"{up.label}: {result.failed} answers were not good before all were there")
    return result.requests


def _shown(setting: Setting, callers: Callers) -> Load:
    script = setting.folder / f"{callers.credential}-{callers.count}.lua"
    if not script.exists():
        script.write_text(load.field_script(callers.fields()))
    return Load(script=str(script))


def _keyed(setting: Setting, keys: int, first: int | None = None) -> Load:
    script = setting.folder / f"keys-{keys}.lua"
    script.write_text(load.key_script(KEY_HEADER, keys, first))
    return Load(script=str(script))


def start_time(up: Up, _now: Round) -> Sample:
    """Return the seconds from exec to the first good answer through the gateway."""
    return Sample(up.first_answer)


def breaker_closed(up: Up, now: Round) -> Sample:
    """Return the CPU microseconds of a request's way through a closed breaker, in a process like the peer's."""
    root = str(Path(__file__).parent.parent)
    paths = [str(COMPILED), root] if up.running.name == "headgate-compiled" else [root]
    command = ["taskset", "-c", str(now.cores.gateway), sys.executable, "-P", "-m", "bench.closed"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise CannotRunError(f"{up.label}: {done.stderr[-500:]}")
    return Sample(float(done.stdout))


def at_rest(up: Up, _now: Round) -> Sample:
    """Return the megabytes of the worker shortly after its first answer."""
    return Sample(proc.resident(up.worker) / MEGABYTE, {"all processes": _tree_memory(up)})


def _tree_memory(up: Up) -> float:
    return sum(proc.resident(process.pid) for process in proc.tree(up.running.pid)) / MEGABYTE


def idle_connections(count: int) -> Measure:
    """Return the measure of memory while `count` keep-alive connections are open, each of which was answered once.

    The figure is that of the whole process tree, pages shared by processes counted in each: never too kind.
    """

    def measure(up: Up, _now: Round) -> Sample:
        before = _tree_memory(up)
        request = _get(up.setting.port, Load().path)
        with ExitStack() as held:
            clients = [held.enter_context(_connect(up.setting.port, False)) for _ in range(count)]
            _ask_each(clients, request)
            during, worker = _tree_memory(up), proc.resident(up.worker) / MEGABYTE
            # A gateway that dropped the idle ones would need little memory: they must still be served.
            _ask_each(clients[:: max(1, count // 100)], request)
        return Sample(during, {"worker": worker, "KB a connection": (during - before) * 1000 / count})

    return measure


def _ask_each(clients: list[socket.socket], request: bytes) -> None:
    """Send the request on every connection, then read every answer, a hundred connections at a time."""
    for first in range(0, len(clients), 100):
        batch = clients[first : first + 100]
        for client in batch:
            client.sendall(request)
        for client in batch:
            answer = client.recv(65536)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise CannotRunError(f"an idle connection was answered {answer[:40]!r}")


def stream_down(path: str, size: int) -> Measure:
    """Return the measure of extra worker memory while a body of `size` bytes goes to a client that first stalls."""

    def measure(up: Up, _now: Round) -> Sample:
        before = _begin_peak(up.worker)
        with _connect(up.setting.port, False) as client:
            client.sendall(_get(up.setting.port, path, "close"))
            # Who reads on while its client does not take anything holds the gigabyte by now.
            time.sleep(_STALL_SECONDS)
            began = time.monotonic()
            head, _, body = _receive_head(client).partition(b"\r\n\r\n")
            received = len(body)
            buffer = bytearray(2**18)
            while count := client.recv_into(buffer):
                received += count
            took = time.monotonic() - began
        if not head.startswith(b"HTTP/1.1 200") or received != size:
            raise CannotRunError(f"{up.label}: {received} of {size} bytes came, after {head[:40]!r}")
        return _extra_memory(up, before, size / took)

    return measure


def stream_up(size: int) -> Measure:
    """Return the measure of extra worker memory while `size` bytes go to an upstream that first stalls."""

    def measure(up: Up, now: Round) -> Sample:
        before = _begin_peak(up.worker)
        with _connect(up.setting.port, False) as client:
            client.settimeout(60)
            head = f"POST /upload?stall={_STALL_SECONDS} HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n"
            client.sendall(head.encode())
            began = time.monotonic()
            chunk = bytes(2**18)
            for _ in range(size // len(chunk)):
                client.sendall(chunk)
            client.sendall(chunk[: size % len(chunk)])
            head_bytes, _, body = _receive_head(client).partition(b"\r\n\r\n")
            body = body or client.recv(65536)
            took = time.monotonic() - began
        if not head_bytes.startswith(b"HTTP/1.1 200") or f'"received":{size},'.encode() not in body:
            raise CannotRunError(f"{up.label}: the upload was answered {head_bytes[:40]!r} {body[:200]!r}")
        return _extra_memory(up, before, size / took)

    return measure


def _begin_peak(worker: int) -> int:
    proc.reset_peak(worker)
    return proc.resident(worker)


def _receive_head(client: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(65536)
        if not part:
            return data
        data += part
    return data


def _extra_memory(up: Up, before: int, rate: float) -> Sample:
    return Sample((proc.peak(up.worker) - before) / MEGABYTE, {"MB/s": rate / MEGABYTE})


def body_file(folder: Path, name: str, size: int) -> str:
    """Make a sparse file of `size` bytes for the upstream to serve and return its path in a URL."""
    files = folder / "files"
    files.mkdir(exist_ok=True)
    path = files / name
    if not path.exists():
        with path.open("wb") as out:
            out.truncate(size)
    return f"/files/{name}"
