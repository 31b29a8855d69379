"""The master: opens the listeners, starts control and the workers, replaces who dies, passes signals on.

Laws: standard library, telemetry cells, the board and this package's own leaves only, so that it is small and cannot
fail with the parts it has to outlive; no event loop but this one; it never blocks on a child. Everything that decides
on time takes `now`.

States: *starting* until control says that the first plan is in force; then *serving*; *draining* from SIGTERM or
SIGINT until the last worker has gone; *ending* while control goes. A child that dies in *starting* before there is
anything to serve ends the gateway, if it is control; anybody else, at any time before *draining*, is replaced.

Signals: SIGTERM and SIGINT drain, and end at once the second time; SIGHUP reloads; SIGUSR1 reopens log files.
Exit status: 0 after a drain, even one cut by its deadline; 128 + signal after a second signal; what control said
when the first configuration could not be used.
"""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

from headgate.control.children import PLAN_REFUSED, Child, Seat, describe_end
from headgate.control.link import Link
from headgate.control.listeners import Listener, ListenError, open_listener
from headgate.control.log import Line, Log
from headgate.control.restart import Restarts
from headgate.control.runtime import make_runtime, remove
from headgate.control.service_manager import ServiceManager
from headgate.control.wakeup import Wakeup
from headgate.control.watchdog import Watchdog
from headgate.stores.board import Board
from headgate.telemetry.cells import SlotRegion

# The regions of all slots, and their cells of the board, must exist before the first fork, when nobody knows the
# number of workers yet. What is never touched costs address space only.
MOST_WORKERS = max(64, os.cpu_count() or 1)
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
_ABORT_PATIENCE = 3.0
_CONTROL_PATIENCE = 5.0
_SPARED_SECONDS = 2.0


class Master:
    """The process everything else descends from. `run` is its whole life."""

    def __init__(
        self, control: Callable[[Seat], int], worker: Callable[[Seat], int], *, watchdog: Watchdog | None = None
    ) -> None:
        self._log = Log("master")
        self._watchdog = watchdog or Watchdog()
        self._worker_main = worker
        self._control = Child(0, control, Restarts(random.random))
        self._workers: list[Child] = []
        self._regions = [self._region() for _ in range(MOST_WORKERS)]
        self._board = Board.create(MOST_WORKERS)
        Log.listeners.append(self._pass_on)
        self._listeners: dict[str, Listener] = {}
        self._left = set[str]()
        self._selector = selectors.DefaultSelector()
        self._state: Literal["starting", "serving", "draining", "ending"] = "starting"
        self._settled: dict[str, Any] = {"grace": 0.0, "timeout": 30.0}
        self._count = 0
        self._deadline: float | None = None
        self._spared_until = 0.0
        self._exit: int | None = None
        self._forced = 0

    def _region(self) -> SlotRegion:
        return SlotRegion.create()

    def run(self) -> int:
        """Run the gateway until it is told to stop; return the exit status."""
        try:
            self._runtime = make_runtime()
            # Here, so that who asks while control is away waits for its successor.
            self._own = open_listener(f"unix:{self._runtime.path}/surface.sock", 1, private=True)
        except (OSError, ListenError) as error:
            text = "no folder can be made that all processes share: let XDG_RUNTIME_DIR name one that can be written"
            self._log("error", text, reason=str(error))
            return 1
        self._memory = os.memfd_create("headgate-plan")
        self._manager = ServiceManager.of(os.environ)
        self._wakeup = Wakeup(_SIGNALS)
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._on_signals)
        now = time.monotonic()
        try:
            self._start(self._control, now)
            self._begin(now)
            while self._exit is None:
                self._turn()
            return self._exit
        finally:
            self._end()

    def _begin(self, now: float) -> None:
        # There is always a first worker. It reads its code while control reads the configuration.
        self._add_worker(now)

    def _turn(self) -> None:
        events = self._selector.select(max(0.0, self._next_event() - time.monotonic()))
        # What a child said before a signal came holds when that is acted upon.
        for key, _ in sorted(events, key=lambda event: not isinstance(event[0].data, Child)):
            if not isinstance(key.data, Child):
                key.data()
            elif key.data.link is key.fileobj:
                self._on_link(key.data)
        now = time.monotonic()
        self._reap(now)
        self._watch_heartbeats(now)
        for child in self._children():
            if child.due is not None and child.due <= now:
                self._start(child, now)
        self._wind_down(now)

    def _next_event(self) -> float:
        times = [self._watchdog.next_look]
        times += [child.due for child in self._children() if child.due is not None]
        if self._deadline is not None:
            times.append(self._deadline)
        return min(times)

    def _children(self) -> Iterator[Child]:
        yield self._control
        yield from self._workers

    # Starting, and burying

    def _start(self, child: Child, now: float) -> None:
        if child.number:
            # The first beat is written before the worker exists, so one that never gets to its loop is noticed too.
            self._regions[child.number - 1].mark(0, started=now, heartbeat=now)
        try:
            if child.number:
                for listener in self._listeners.values():
                    listener.reopen_slot(child.number - 1)
            child.fork(lambda link: self._enter(child, link), now)
        except (OSError, ListenError) as error:
            child.due = now + max(1.0, child.restarts.delay(now, now))
            self._log("error", f"cannot start {child.name}: {error}", retry_in=round(child.due - now, 1))
            return
        assert child.link is not None
        self._selector.register(child.link, selectors.EVENT_READ, child)
        if child.number:
            for listener in self._listeners.values():
                self._pass(listener, child)

    def _add_worker(self, now: float) -> None:
        self._workers.append(Child(len(self._workers) + 1, self._worker_main, Restarts(random.random)))
        self._start(self._workers[-1], now)

    def _enter(self, child: Child, link: Link) -> Seat:
        """Be the child: close what is the master's, and keep what this child may have."""
        self._selector.close()
        self._wakeup.leave()
        for listener in self._listeners.values():
            listener.close(unlink=False)
        self._manager.close()
        for other in self._children():
            if other.link is not None:
                other.link.close()
        regions, memory = self._regions, self._memory
        own: Listener | None = self._own
        if child.number:
            # Workers talk to strangers: none gets at another's counters, or at what control will unpickle.
            os.close(memory)
            self._own.close(unlink=False)
            regions, memory, own = [self._regions[child.number - 1]], -1, None
            self._regions = regions
        return Seat(child.number, link, self._runtime.path, regions, memory, self._count, self._board, own)

    def _reap(self, now: float) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            # As process 1 of a container the master inherits strangers; they are waited for and nothing else.
            child = next((child for child in self._children() if child.pid == pid), None)
            if child is not None:
                self._on_death(child, os.waitstatus_to_exitcode(status), now)

    def _on_death(self, child: Child, code: int, now: float) -> None:
        pid, child.pid = child.pid, None
        self._on_link(child)
        if child.link is not None:
            self._on_silence(child)
        child.bury()
        if child.number:
            self._regions[child.number - 1].vacate()
        if self._state in ("draining", "ending"):
            return
        if child is self._control and self._state == "starting":
            self._exit = code if code > 0 else 1
            if code < 0:
                self._log("error", "control died before the gateway had started", status=describe_end(code))
            return
        delay = child.restarts.delay(child.started, now)
        child.due = now + delay
        if delay:
            self._leave_queues(child)
        if child.restarts.looping:
            text = f"{child.name} keeps dying; it is started again later, the rest of the gateway goes on"
            self._log("error", text, pid=pid, status=describe_end(code), restart_in=round(delay, 1))
        elif code != PLAN_REFUSED or self._state != "starting":
            # At the start control says why the plan cannot be built, and that the gateway does not start.
            self._log("warning", f"{child.name} died and is replaced", pid=pid, status=describe_end(code))

    def _leave_queues(self, child: Child) -> None:
        """Let the other workers have the connections of one that will be away for seconds."""
        if child.number:
            for listener in self._listeners.values():
                listener.close_slot(child.number - 1)

    def _watch_heartbeats(self, now: float) -> None:
        if not self._watchdog.looks(now):
            return
        self._manager.alive()
        silent: dict[Child, float] = {}
        for child in self._children():
            # Workers beat in their region, where it costs no wakeup of the master; control has none and sends word.
            heartbeat = self._regions[child.number - 1].heartbeat if child.number else child.heard
            if child.pid is not None and self._watchdog.wonders(heartbeat, now):
                starved = child.starved(heartbeat)
                if self._watchdog.is_stuck(heartbeat, now, starved):
                    silent[child] = now - heartbeat - starved
        awake = [child for child in silent if not child.sleeps()]
        if awake:
            self._spared_until = now + _SPARED_SECONDS
        for child, seconds in silent.items():
            # One asleep may only wait for a lock that another holds, who has fallen silent at that time too, and whose
            # death frees it.
            waited = now >= self._spared_until and self._watchdog.is_stuck(now - seconds + _SPARED_SECONDS, now)
            if child in awake or waited:
                text = f"{child.name} does not answer and is killed"
                self._log("error", text, pid=child.pid, silent=round(seconds, 1))
                child.kill(signal.SIGKILL)

    # What the children say

    def _on_link(self, child: Child) -> None:
        while child.link is not None:
            try:
                received = child.link.receive()
            except BlockingIOError:
                return
            if received is None:
                self._on_silence(child)
                return
            child.heard = time.monotonic()
            self._on_message(child, received[0])

    def _on_silence(self, child: Child) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(child.link)  # type: ignore[arg-type]

    def _on_message(self, child: Child, message: dict[str, Any]) -> None:
        if message["type"] == "open":
            self._tell(child, self._open(message["addresses"], message["workers"]))
        elif message["type"] == "level":
            Log.level = message["level"]
        elif message["type"] == "settled":
            self._settle(message)

    def _open(self, addresses: list[str], workers: int) -> dict[str, Any]:
        """Open what is not open yet, hand it to the workers, and start these if there are none so far."""
        if self._state in ("draining", "ending"):
            return {"type": "refused", "error": "the gateway is stopping"}
        if not 1 <= workers <= MOST_WORKERS:
            return {"type": "refused", "error": f"workers: {workers} is not between 1 and {MOST_WORKERS}"}
        slots = self._count or workers
        opened: list[Listener] = []
        try:
            for address in addresses:
                if address not in self._listeners:
                    ports = {port for each in (*self._listeners.values(), *opened) for port in each.ports}
                    opened.append(self._manager.listener(address) or open_listener(address, slots, ports))
        except ListenError as error:
            for listener in opened:
                listener.close()
            return {"type": "refused", "error": str(error), "left": address in self._left}
        for listener in opened:
            self._listeners[listener.address] = listener
            self._log("info", f"listening on {', '.join(listener.bound)}", address=listener.address)
            for child in self._workers:
                self._pass(listener, child)
                if child.due is not None:
                    self._leave_queues(child)
        if not self._count:
            self._count = workers
            now = time.monotonic()
            while len(self._workers) < workers:
                self._add_worker(now)
        return {"type": "opened"}

    def _settle(self, message: dict[str, Any]) -> None:
        """Take what the plan in force says: how to stop, and which addresses are no longer wanted."""
        self._settled = message
        Log.level = message["level"]
        if self._state == "starting":
            self._state = "serving"
            self._manager.ready(self._log)
        self._left = set(self._listeners) - set(message["addresses"])
        for address in self._left:
            listener = self._listeners.pop(address)
            for child in self._workers:
                self._tell(child, {"type": "forget", "address": address})
            listener.close()
            self._log("info", f"no longer listening on {', '.join(listener.bound)}", address=address)

    def _pass(self, listener: Listener, child: Child) -> None:
        self._tell(child, {"type": "listener", "address": listener.address}, listener.of_slot(child.number - 1))

    def _tell(self, child: Child, message: dict[str, Any], sockets: list[socket.socket] | None = None) -> None:
        if child.link is not None and not child.link.send(message, sockets or ()):
            # It has died, which the reaper will see, or it does not read and would miss this for ever.
            child.kill(signal.SIGKILL)

    def _pass_on(self, line: Line) -> None:
        """Let control know what is written, if it can hear it."""
        if self._control.link is not None:
            self._control.link.send(line.as_message())

    # Signals, and the end

    def _on_signals(self) -> None:
        for number in self._wakeup.read():
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop(number)
            elif number == signal.SIGHUP:
                self._tell(self._control, {"type": "reload"})
            elif number == signal.SIGUSR1:
                for child in self._children():
                    self._tell(child, {"type": "reopen"})

    def _stop(self, number: int) -> None:
        now, name = time.monotonic(), signal.Signals(number).name
        if self._state in ("draining", "ending"):
            self._log("warning", f"second signal ({name}): ending at once")
            self._forced = 128 + number
            self._abort(now)
            return
        grace, timeout = self._settled["grace"], self._settled["timeout"]
        self._log("info", f"{name}: draining", grace=grace, timeout=timeout)
        self._state = "draining"
        self._manager.stopping()
        self._deadline = now + grace + timeout + _ABORT_PATIENCE
        for child in self._children():
            child.due = None
            self._tell(child, {"type": "drain", "grace": grace, "timeout": timeout})
        # A queue dies with its last holder. Workers accept what is queued before they close theirs; the copies here
        # would keep the port open behind them, for connections that nobody accepts.
        for listener in self._listeners.values():
            listener.close(unlink=False)

    def _abort(self, now: float) -> None:
        for child in self._workers:
            self._tell(child, {"type": "abort"})
        self._deadline = min(self._deadline or now, now) + _ABORT_PATIENCE

    def _wind_down(self, now: float) -> None:
        if self._state == "draining" and all(child.pid is None for child in self._workers):
            self._state = "ending"
            self._deadline = now + _CONTROL_PATIENCE
            self._tell(self._control, {"type": "stop"})
        if self._state == "ending" and self._control.pid is None:
            self._exit = self._forced
        elif self._deadline is not None and now >= self._deadline:
            for child in self._workers if self._state == "draining" else [self._control]:
                if child.pid is not None:
                    self._log("warning", f"{child.name} did not end in time and is killed", pid=child.pid)
                child.kill(signal.SIGKILL)
            self._deadline = None

    def _end(self) -> None:
        for child in self._children():
            child.kill(signal.SIGKILL)
        for child in self._children():
            if child.pid is not None:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child.pid, 0)
                child.bury()
        for listener in self._listeners.values():
            listener.close()
        self._own.close()
        self._manager.close()
        self._wakeup.close()
        self._selector.close()
        os.close(self._memory)
        remove(self._runtime.path)
        if self._state != "starting":
            self._log("info", "ended", status=self._exit)
