"""One worker: an event loop, a gateway on it, and the three voices it listens to.

The *master* (link) hands over listening sockets and says drain, abort, reopen. *Control* (Unix socket) sends plans
and is told whether they were taken. The *clock* asks for a heartbeat. None of them is on the request path.

States: *waiting* until a plan and all sockets it names are here; then *serving*, through any number of plans; then
*draining*, once; then the end. Control may come and go meanwhile: the last plan serves on.

Sockets: the worker keeps the descriptors it was handed and gives the gateway duplicates. What the gateway got it
owns and closes; a plan that is taken back finds the worker's own still open.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import uvloop

from headgate.config.resolve import ResolvedConfig
from headgate.control.children import PLAN_REFUSED, Seat
from headgate.control.frames import read_frame, write_frame
from headgate.control.log import Line, Log
from headgate.control.messages import (
    EndpointSets,
    Forget,
    KeySets,
    OwnAnswers,
    Plan,
    TellRecords,
    paused_collector,
    unpack,
)
from headgate.control.unforeseen import in_callbacks, tell_of_the_unforeseen
from headgate.core.endpoint import Endpoint
from headgate.core.trace import kind_of, places_of
from headgate.proxy.own import OwnAnswer
from headgate.telemetry.cells import SlotWriter

HEARTBEAT = 0.5
_SHORTEST_RETRY = 0.05
_LONGEST_RETRY = 1.0
_FIRST_PLAN_PATIENCE = 5.0
_MOST_LINES = 50
_PR_SET_PDEATHSIG = 1
# Seconds that control has to read what was said last.
_LAST_WORDS = 1.0
# Bytes that control has not read yet, above which a worker keeps its records and lines to itself.
_MOST_UNREAD = 8 * 2**20


class Gateway(Protocol):
    """What a worker needs of the data plane.

    `tell` is how it says something to control; what is said while control is away is lost.
    """

    tell: Callable[[dict[str, Any]], bool]

    def take_key_sets(self, sets: Mapping[str, bytes], answers: Sequence[str]) -> None:
        """Use these keys of issuers (messages.KeySets) from now on."""

    def take_endpoint_sets(self, sets: Mapping[str, tuple[Endpoint, ...]], whole: bool) -> None:
        """Let services have these endpoints (messages.EndpointSets) from now on."""

    def take_own_answers(
        self, answers: Mapping[str, Mapping[str, OwnAnswer]], not_ready: str, seen: float, again: float
    ) -> None:
        """Answer so at own endpoints (messages.OwnAnswers) from now on."""

    def forget_counts(self, keys: Sequence[bytes], done: Callable[[int], None]) -> None:
        """Begin afresh with these keys of the store of limits; `done` is told what Store.forget returns."""

    def tell_records(self) -> None:
        """Tell the records of all requests that have ended, and keep none back."""

    def apply(self, plan: ResolvedConfig, sockets: dict[str, list[socket.socket]]) -> None:
        """Build all of the plan, then swap. Raises ValueError with a sentence; the old plan stays then."""

    def set_ready(self, ready: bool) -> None:
        """Let /ready say so."""

    def begin_drain(self) -> None:
        """Turn readiness off and close connections after their present response."""

    async def stop_accepting(self) -> None:
        """Accept what is queued, then close the listening sockets."""

    async def wait_idle(self, timeout: float) -> bool:
        """Wait until nothing is in flight, at most `timeout` seconds; True when that is so."""

    def abort(self) -> None:
        """Cut what is left."""

    def reopen_logs(self) -> None:
        """Open the log files anew under their names."""


MakeGateway = Callable[[asyncio.AbstractEventLoop, SlotWriter, int], Gateway]


def run_worker(seat: Seat, make_gateway: MakeGateway) -> int:
    """Be a worker until the master says it is over; return the exit status."""
    # The link's end tells a living loop that the master is gone; this tells one that hangs.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    log = Log(f"worker-{seat.number}")
    tell_of_the_unforeseen(log)
    loop.set_exception_handler(in_callbacks(log))
    return loop.run_until_complete(Worker(seat, make_gateway, loop).run())


class Worker:
    """The life of one worker process."""

    def __init__(self, seat: Seat, make_gateway: MakeGateway, loop: asyncio.AbstractEventLoop) -> None:
        self._log = Log(f"worker-{seat.number}")
        self._seat = seat
        self._loop = loop
        self._slot = SlotWriter(seat.regions[0])
        self._slot.begin(os.getpid(), time.monotonic())
        self._gateway = make_gateway(loop, self._slot, seat.number)
        self._gateway.tell = self._tell
        self._told = _Told()
        Log.listeners.append(self._pass_on)
        self._over: asyncio.Future[int] = loop.create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = False
        self._control: asyncio.StreamWriter | None = None
        self._version = 0
        self._first_plan = asyncio.Event()
        self._pending: Plan | None = None
        self._sockets: dict[str, list[socket.socket]] = {}
        self._given: dict[str, list[socket.socket]] = {}

    async def run(self) -> int:
        """Serve until the end; return the exit status."""
        self._beat()
        self._loop.add_reader(self._seat.link.fileno(), self._on_link)
        self._tasks.append(self._loop.create_task(self._follow_control()))
        try:
            return await self._over
        finally:
            Log.listeners.remove(self._pass_on)
            for task in self._tasks:
                task.cancel()
            self._gateway.abort()
            control = self._control
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if control is not None:
                # What was said last must get out before the process ends.
                control.close()
                with contextlib.suppress(OSError, TimeoutError):
                    await asyncio.wait_for(control.wait_closed(), _LAST_WORDS)

    def _beat(self) -> None:
        if self._over.done():
            # The slot may be another one's by now.
            return
        self._slot.beat(time.monotonic())
        self._loop.call_later(HEARTBEAT, self._beat)

    def _end(self, code: int) -> None:
        if not self._over.done():
            self._over.set_result(code)

    # The master

    def _on_link(self) -> None:
        while True:
            try:
                received = self._seat.link.receive()
            except BlockingIOError:
                return
            if received is None:
                self._loop.remove_reader(self._seat.link.fileno())
                self._master_gone()
                return
            self._on_master(*received)

    def _master_gone(self) -> None:
        self._end(1)

    def _on_master(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        match message["type"]:
            case "listener":
                self._sockets[message["address"]] = sockets
                self._maybe_apply()
            case "forget":
                _close(self._sockets.pop(message["address"], []))
            case "drain" if not self._draining:
                self._draining = True
                self._tasks.append(self._loop.create_task(self._drain(message["grace"], message["timeout"])))
            case "abort":
                self._end(0)
            case "reopen":
                self._gateway.reopen_logs()

    async def _drain(self, grace: float, timeout: float) -> None:
        try:
            self._gateway.begin_drain()
            await asyncio.sleep(grace)
            if self._sockets and not self._version:
                # Hardly up, and clients are in the queue already: the plan they need is on its way.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._first_plan.wait(), min(timeout, _FIRST_PLAN_PATIENCE))
            # Only the gateway's duplicates may be left now: closing the last copy is what makes the port refuse.
            for sockets in self._sockets.values():
                _close(sockets)
            await self._gateway.stop_accepting()
            if not await self._gateway.wait_idle(timeout):
                self._log("warning", "requests were still in flight at the end of the drain and are cut")
        except Exception as error:
            self._log("error", "draining failed", traceback=places_of(error))
        self._end(0)

    # Control

    async def _follow_control(self) -> None:
        retry = _SHORTEST_RETRY
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._seat.socket))
            except OSError:
                await asyncio.sleep(retry)
                retry = min(retry * 2, _LONGEST_RETRY)
                continue
            retry = _SHORTEST_RETRY
            self._control = writer
            self._say({"type": "hello", "worker": self._seat.number, "pid": os.getpid(), "version": self._version})
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    self._on_control(unpack(await read_frame(reader)))
            self._control = None
            writer.close()

    def _on_control(self, message: object) -> None:
        if isinstance(message, Plan):
            self._pending = message
            self._maybe_apply()
        elif isinstance(message, KeySets):
            self._gateway.take_key_sets(message.sets, message.answers)
        elif isinstance(message, EndpointSets):
            self._gateway.take_endpoint_sets(message.sets, message.whole)
        elif isinstance(message, OwnAnswers):
            self._gateway.take_own_answers(message.answers, message.not_ready, message.seen, message.again)
        elif isinstance(message, Forget):
            self._gateway.forget_counts(message.keys, partial(self._say_forgotten, message.number))
        elif isinstance(message, TellRecords):
            self._gateway.tell_records()
            self._say({"type": "told", "number": message.number})

    def _say_forgotten(self, number: int, found: int) -> None:
        self._say({"type": "forgotten", "number": number, "found": found})

    def _say(self, message: dict[str, Any]) -> None:
        if self._control is not None:
            write_frame(self._control, json.dumps(message).encode())

    def _tell(self, message: dict[str, Any]) -> bool:
        """Say what is lost while control is away, also while it is there and does not listen; return whether it was."""
        listens = self._control is not None and self._control.transport.get_write_buffer_size() < _MOST_UNREAD
        if listens:
            self._say(message)
        return listens

    def _pass_on(self, line: Line) -> None:
        """Let control know what is written, too. A thread may have written it."""
        if self._told.admits(line.at) and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, line.as_message())

    def _maybe_apply(self) -> None:
        """Take the pending plan, if every socket it names has come: plan and sockets travel on two ways."""
        plan = self._pending
        if plan is None or (self._draining and self._version):
            return
        addresses = [listener.address for listener in plan.config.listeners]
        if any(address not in self._sockets for address in addresses):
            return
        self._pending = None
        given = {
            address: self._given.get(address) or [each.dup() for each in self._sockets[address]]
            for address in addresses
        }
        try:
            self._build(plan, given)
        except Exception as error:
            for address in given.keys() - self._given.keys():
                _close(given[address])
            sentence = str(error) if isinstance(error, ValueError) else ""
            if not sentence:
                self._log("error", "building the plan failed in an unforeseen way", traceback=places_of(error))
            sentence = sentence or f"building the plan failed: {kind_of(error)}"
            self._say({"type": "rejected", "version": plan.version, "error": sentence})
            if not self._version:
                # With nothing to serve it must not sit on its share of the clients: as a worker that keeps dying it
                # gives its sockets up, and the others, which built the plan when they could, serve all.
                self._end(PLAN_REFUSED)
            return
        self._given = given
        self._version = plan.version
        Log.level = plan.config.telemetry.level
        shown = self._slot.gauge("headgate_config_version", (str(self._seat.number),))
        self._slot.cells[shown] = plan.version
        self._first_plan.set()
        self._gateway.set_ready(not self._draining)
        self._say({"type": "took", "version": plan.version})

    def _build(self, plan: Plan, given: dict[str, list[socket.socket]]) -> None:
        """Have the gateway build and swap; then take all that lives long out of the cyclic collector's sight.

        Otherwise each full collection walks every route of the plan, on the request path. What was frozen for the
        plan before is given back first, so that its cycles are found: a frozen one would stay for ever.
        """
        again = self._version > 0
        gc.unfreeze()
        try:
            with paused_collector():
                self._gateway.apply(plan.config, given)
        finally:
            if again:
                gc.collect()
            gc.freeze()


class _Told:
    """How many lines of the log were told to control in the present second: of a flood only the first ones are."""

    __slots__ = ("count", "second")

    def __init__(self) -> None:
        self.second = self.count = 0

    def admits(self, at: float) -> bool:
        if int(at) != self.second:
            self.second, self.count = int(at), 0
        self.count += 1
        return self.count <= _MOST_LINES


def _close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()
