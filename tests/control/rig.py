"""A whole gateway of real processes around a data plane of a hundred lines, for the tests of the process model.

Run as a program it is a master with control and workers; `main` below is what the command line would do. The
configuration is a small JSON file. The data plane answers:

    GET /            text of the plan, worker number and process id
    GET /ready       200 or 503
    GET /hold/NAME   like / once the file NAME exists in the folder of the rig
    GET /orphan      like /, after leaving behind a process that nobody waits for
    GET /take        like /, or 429 when the limit of all requests together is used up
    GET /store       the folder of the store that limits are counted in
    GET /stop        none: the worker stops inside a transaction of the store
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from headgate.config.admin_settings import Admin
from headgate.config.problems import Origin, Problem
from headgate.config.resolve import ResolvedConfig, resolve
from headgate.config.schema import Config, Listen, Shutdown
from headgate.control.children import Seat
from headgate.control.control import run_control
from headgate.control.master import Master
from headgate.control.watchdog import Watchdog
from headgate.control.worker import run_worker
from headgate.core.endpoint import Endpoint
from headgate.policy.limit.fixed_window import FixedWindow
from headgate.policy.limit.group import Group
from headgate.policy.limit.settings import Limit
from headgate.proxy.own import OwnAnswer
from headgate.stores.memory import MemoryStore
from headgate.stores.settings import SharedStoreSettings
from headgate.stores.shared import SharedStore
from headgate.stores.store import Ask
from headgate.telemetry.cells import SlotWriter

if TYPE_CHECKING:
    from headgate.config.loader import LoadResult

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class RigConfig(ResolvedConfig):
    """A configuration with a text to answer and workers (or "all") that refuse it."""

    text: str = ""
    refused_by: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RigLoaded:
    """What control reads of a LoadResult; the true one brings the validation library into every test's start."""

    config: RigConfig | None
    files: list[Path]
    problems: list[Problem] = field(default_factory=list)
    notices: list[Problem] = field(default_factory=list)
    source: None = None
    digest: bytes = b""


def load(path: Path) -> LoadResult:
    try:
        raw = json.loads(path.read_text())
        said = Config(
            listen=[Listen(address=address) for address in raw["listen"]],
            admin=Admin(address=f"unix:{path.parent}/admin.sock", token=raw.get("token", "")),
            workers=raw["workers"],
            shutdown=Shutdown(**raw.get("shutdown", {})),
            limits=[Limit(name="all", key=[], requests=raw["requests"])] if "requests" in raw else [],
            store=SharedStoreSettings(**raw.get("store", {})),
        )
        plan = resolve(said)
        shared = {each.name: getattr(plan, each.name) for each in fields(plan)}
        config = RigConfig(**shared, text=raw["text"], refused_by=raw.get("refused_by", []))
    except (ValueError, KeyError, OSError) as error:
        problem = Problem(Origin(str(path), 1, 1), "", f"bad file: {error}")
        return cast("LoadResult", RigLoaded(None, [path], [problem]))
    return cast("LoadResult", RigLoaded(config, [path]))


class RigGateway:
    """A data plane that fulfils the contract of a worker and nothing more."""

    tell: Callable[[dict[str, Any]], bool]

    def forget_counts(self, keys: Sequence[bytes], done: Callable[[int], None]) -> None:
        done(0)

    def tell_records(self) -> None:
        pass

    def take_key_sets(self, sets: Mapping[str, bytes], answers: Sequence[str]) -> None:
        self.key_sets = dict(sets)

    def take_endpoint_sets(self, sets: Mapping[str, tuple[Endpoint, ...]], whole: bool) -> None:
        self.endpoint_sets = dict(sets)

    def take_own_answers(
        self, answers: Mapping[str, Mapping[str, OwnAnswer]], not_ready: str, seen: float, again: float
    ) -> None:
        self.own_answers = answers

    def __init__(self, loop: asyncio.AbstractEventLoop, slot: SlotWriter, worker: int, folder: Path) -> None:
        self._loop = loop
        self._worker = worker
        self._folder = folder
        self._in_flight = slot.gauge("headgate_requests_in_flight")
        self._requests = slot.counter("headgate_request_bytes_total", ("rig",))
        self._cells = slot.cells
        self._plan: RigConfig | None = None
        self._listening: dict[str, list[socket.socket]] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._idle = asyncio.Event()
        self._ready = False
        self._draining = False
        self._store: SharedStore | None = None
        self._store_path: str | None = None

    def apply(self, plan: ResolvedConfig, sockets: dict[str, list[socket.socket]]) -> None:
        assert isinstance(plan, RigConfig)
        if self._worker in plan.refused_by:
            raise ValueError(f"worker {self._worker} cannot build {plan.text}")
        if (self._folder / f"refuse-{self._worker}").exists():
            raise ValueError("a file is gone")
        if plan.limits and plan.store.path != self._store_path:
            path, self._store_path = Path(plan.store.path), plan.store.path
            local = MemoryStore(1000, self._worker)
            self._store = SharedStore(path, plan.store.size, self._worker, local, lambda state, detail: None)
        self._plan = plan
        for address in self._listening.keys() - sockets.keys():
            self._close(self._listening.pop(address))
        for address in sockets.keys() - self._listening.keys():
            self._listening[address] = sockets[address]
            for each in sockets[address]:
                each.setblocking(False)
                self._loop.add_reader(each.fileno(), self._accept, each)

    def set_ready(self, ready: bool) -> None:
        self._ready = ready

    def begin_drain(self) -> None:
        self._ready = False
        self._draining = True

    async def stop_accepting(self) -> None:
        for sockets in self._listening.values():
            self._close(sockets)

    async def wait_idle(self, timeout: float) -> bool:
        while self._busy:
            self._idle.clear()
            try:
                await asyncio.wait_for(self._idle.wait(), timeout)
            except TimeoutError:
                return False
        return True

    def abort(self) -> None:
        for task in self._connections:
            task.cancel()

    def reopen_logs(self) -> None:
        (self._folder / f"reopened-{self._worker}").touch()

    def _close(self, sockets: list[socket.socket]) -> None:
        for each in sockets:
            self._accept(each)
            self._loop.remove_reader(each.fileno())
            each.close()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            # From here on the client may count on an answer, so the first request counts as in flight already.
            self._busy += 1
            task = self._loop.create_task(self._serve(connection))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _serve(self, connection: socket.socket) -> None:
        busy = True
        try:
            while True:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    data = await self._loop.sock_recv(connection, 4096)
                    if not data:
                        return
                    head += data
                if not busy:
                    self._busy += 1
                    busy = True
                self._cells[self._in_flight] += 1
                await self._answer(connection, head.split()[1].decode())
                self._cells[self._in_flight] -= 1
                self._cells[self._requests] += len(head)
                self._done()
                busy = False
                if self._draining:
                    return
        except OSError:
            return
        finally:
            if busy:
                self._done()
            connection.close()

    def _done(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._idle.set()

    async def _answer(self, connection: socket.socket, path: str) -> None:
        assert self._plan is not None
        if path.startswith("/hold/"):
            while not (self._folder / path.removeprefix("/hold/")).exists():  # noqa: ASYNC110 (a test's file)
                await asyncio.sleep(0.01)
        elif path == "/orphan":
            _leave_orphan()
        elif path == "/stop":
            self._stop_inside()
        status = "503 No" if path == "/ready" and not self._ready else "200 OK"
        if path == "/take" and not self._take():
            status = "429 No"
        text = self._store_path if path == "/store" else self._plan.text
        body = f"{text} {self._worker} {os.getpid()}".encode()
        extra = "Connection: close\r\n" if self._draining else ""
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        await self._loop.sock_sendall(connection, head.encode() + body)

    def _stop_inside(self) -> None:
        assert self._store is not None
        with self._store._begin(write=True):
            os.kill(os.getpid(), signal.SIGSTOP)

    def _take(self) -> bool:
        assert self._store is not None
        assert self._plan is not None
        requests = self._plan.limits[0].requests
        group = Group(["all"], [FixedWindow(requests, 3600 * 1_000_000)], b"contract")
        now = int(time.monotonic() * 1_000_000)
        return self._store.admit([Ask(group, b"all requests    ", (1,))], now)[0].allowed


def _leave_orphan() -> None:
    """Leave a grandchild that ends a moment later; it falls to the nearest subreaper, the master."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    if os.fork() == 0:
        os.close(0)
        time.sleep(0.05)
    os._exit(0)


def main(folder: Path, limit: float, poll: float) -> int:
    """Run a gateway with gateway.json of `folder`; a file crash-N makes worker N die at once."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def control(seat: Seat) -> int:
        (folder / "control.pid").write_text(str(os.getpid()))
        return run_control(seat, lambda: load(folder / "gateway.json"), poll=poll or None)

    def worker(seat: Seat) -> int:
        if (folder / f"crash-{seat.number}").exists():
            return 3
        return run_worker(seat, lambda loop, slot, number: RigGateway(loop, slot, number, folder))

    return Master(control, worker, watchdog=Watchdog(limit=limit, every=0.1)).run()


if __name__ == "__main__":
    # Pickles name the module, and that is not __main__ in a process that imports it.
    from tests.control import rig

    sys.exit(rig.main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
