"""The control process: it knows the configuration, and the workers run what it says.

One way for a configuration to come into force, at the start and at each reload: load and check -> have the master
open new addresses -> publish to the workers -> tell the master it is settled, so that it closes what is no longer
wanted -> keep it for a successor. Whatever fails on that way, the configuration before stays in force everywhere.

Control may die at any time; workers serve on. Its successor finds the plan in force in the anonymous file of its
seat, so even a broken configuration file at that moment harms nobody.

States: *starting* until the first plan is in force, where every problem ends the gateway with status 1; *running*;
*draining* when the master says so, which is shown and refuses reloads.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from headgate.config.problems import Problem, render
from headgate.config.resolve import ResolvedConfig
from headgate.control.audit import HANGUP, RESTART, START, Audit, Cause, changed
from headgate.control.cache_store import OpenedCache
from headgate.control.children import Seat
from headgate.control.config_file import Changed, ConfigFile
from headgate.control.cpus import worker_count
from headgate.control.fleet import Fleet, Outcome
from headgate.control.listeners import Listener, ListenError, open_listener
from headgate.control.log import Log
from headgate.control.memory import Handover, config_of, keep, recall
from headgate.control.messages import Plan, pack
from headgate.control.opening import Opening
from headgate.control.parts import Parts
from headgate.control.runtime import remove
from headgate.control.snapshot import Snapshot, workers_of
from headgate.control.store_file import StoreFiles
from headgate.control.unforeseen import in_callbacks, tell_of_the_unforeseen
from headgate.control.watch import Watch, watched
from headgate.control.withheld import for_workers, withheld
from headgate.core.clock import wall
from headgate.core.trace import kind_of, places_of

if TYPE_CHECKING:
    # The loader brings the validation library; whoever hands `load` in has imported it.
    from headgate.config.loader import LoadResult

BEAT = 0.5
# Seconds that those who watch the live stream have to take what is left of it.
FAREWELL = 0.5


def run_control(
    seat: Seat,
    load: Callable[[], LoadResult],
    *,
    poll: float | None = 1.0,
    file: ConfigFile | None = None,
    kind: type[Control] | None = None,
) -> int:
    """Be the control process until the master says it is over; return the exit status.

    Changed files are looked for every `poll` seconds; None looks for none. `file` is what a configuration can be
    written to.
    """

    async def live() -> int:
        log = Log("control")
        tell_of_the_unforeseen(log)
        asyncio.get_running_loop().set_exception_handler(in_callbacks(log))
        control = (kind or Control)(seat, load, poll)
        control.parts.configuration.file = file
        return await control.run()

    return asyncio.run(live())


class Control:
    """The life of one control process. Make it inside the running loop."""

    def __init__(self, seat: Seat, load: Callable[[], LoadResult], poll: float | None) -> None:
        self.log = self._log = Log("control")
        self._seat = seat
        self._load = load
        self._poll = poll
        self._watch = Watch()
        self._workers = seat.workers
        self._over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._opening = Opening(seat.link, self._log)
        self._in_turn = asyncio.Lock()
        self._reload_waits = False
        self._admin: Listener | None = None
        self._started = time.monotonic()
        kept = recall(seat.memory)
        self._config = config_of(kept) if kept else None
        self._fleet = Fleet(self._log, kept.plan if kept else None, strangers=kept is None and seat.workers > 0)
        files = {"store": kept.store, "cache_store": kept.cache} if kept else {}
        self._stores = StoreFiles(seat.runtime, files)
        self._cache = OpenedCache()
        self._draining = False
        self.parts = Parts(seat.board, self._log, self._spawn, self._fleet, kept, seat.regions)
        self.parts.on_change = self._keep
        self.parts.caching.store = lambda: self._cache.store
        self.parts.exposition.regions = lambda: self._seat.regions[: self._workers]
        self.audit = Audit(self._log)
        self.parts.own_endpoints.begin(self, seat.own)

    async def run(self) -> int:
        """Bring the configuration into force, then follow the master's word and the files until the end."""
        asyncio.get_running_loop().add_reader(self._seat.link.fileno(), self._on_link)
        self._seat.socket.unlink(missing_ok=True)
        server = await self._fleet.listen(self._seat.socket)
        self._beat()
        if self._config is not None:
            # Endpoints are checked on, whatever a broken file makes of the start.
            self.parts.follow(self._config)
            self._cache.follow(self._config)
            self.audit.follow(self._config.telemetry.audit)
        self._spawn(self._start())
        code = await self._over
        await self.parts.telemetry.stream.close(FAREWELL)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        server.close()
        if self._admin is not None:
            self._admin.close()
        self.audit.close()
        self.parts.close()
        self._cache.close()
        return code

    # The master

    def _beat(self) -> None:
        self._seat.link.send({"type": "alive"})
        asyncio.get_running_loop().call_later(BEAT, self._beat)

    def _on_link(self) -> None:
        while True:
            try:
                received = self._seat.link.receive()
            except BlockingIOError:
                return
            if received is None:
                # The master was killed. Workers see it too; nobody but us is left to clean up behind it.
                asyncio.get_running_loop().remove_reader(self._seat.link.fileno())
                remove(self._seat.runtime)
                self._end(1)
                return
            match received[0]:
                case {"type": "opened" | "refused"}:
                    self._opening.on_answer(received[0])
                case {"type": "reload"}:
                    # Of a storm of signals those that come before the next reload has begun are one.
                    if not self._reload_waits:
                        self._reload_waits = True
                        self._spawn(self.reload(HANGUP))
                case {"type": "log"}:
                    self.parts.telemetry.on_said(0, received[0])
                case {"type": "reopen"}:
                    self.audit.reopen()
                case {"type": "drain"}:
                    self._draining = True
                case {"type": "stop"}:
                    self._end(0)
                case other:
                    self._hear(other)

    def _hear(self, message: dict[str, Any]) -> None:
        """Take what only some masters say."""

    def _settle(self, config: ResolvedConfig) -> None:
        message = {
            "type": "settled",
            "addresses": [listener.address for listener in config.listeners],
            "grace": config.shutdown.grace,
            "timeout": config.shutdown.timeout,
            "level": config.telemetry.level,
        }
        self._seat.link.send(message)

    def _end(self, code: int) -> None:
        if not self._over.done():
            self._over.set_result(code)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A fault of ours: leave, and let the master start a fresh one. The workers do not notice.
            self._log("error", "control failed", traceback=places_of(error))
            self._end(70)

    # A configuration comes into force

    async def _start(self) -> None:
        async with self._in_turn:
            problem = await self._bring_first()
        if problem is not None and self._seat.workers == 0:
            print(f"{problem}\nheadgate did not start.", file=sys.stderr, flush=True)
            self._end(1)
            return
        self._spawn(self._serve_admin())
        if self._poll is not None:
            self._spawn(self._poll_files(self._poll))

    async def _bring_first(self) -> str | None:
        """Load and bring into force what a start, or the restart of control, finds; return what is wrong."""
        began = wall()
        # In a thread, as always: a configuration that takes long to load must not look like a stuck process.
        loaded = await asyncio.to_thread(self._load)
        self._watch.follow(watched(loaded), began)
        first = self._seat.workers == 0
        if first and loaded.config is None:
            return render([*loaded.problems, *loaded.notices], colour=sys.stderr.isatty())
        config = self._config or loaded.config
        if config is not None:
            # Before anything of this start is said, here and by the master.
            Log.level = config.telemetry.level
            self._seat.link.send({"type": "level", "level": config.telemetry.level})
        error = self._bind_admin(config.admin.address) if config else None
        if error:
            if first:
                return error
            self._log("error", f"the admin listener is missing: {error}")
        cause = START if first else RESTART
        if loaded.config is None:
            outcome = self._refuse(cause, tuple(str(problem) for problem in loaded.problems))
        else:
            if self._fleet.current is None:
                # Their plans have numbers that nothing else tells.
                await self._fleet.meet(self._seat.workers)
            outcome = await self._bring(loaded, loaded.config, cause)
        return "\n".join(outcome.problems) or None

    async def reload(
        self, cause: Cause, load: Callable[[], LoadResult] | None = None, undo: Callable[[], None] | None = None
    ) -> Outcome:
        """Load anew, by `load` if it is given, and bring it into force, or change nothing and say why.

        `undo` puts back what `load` has written, when that does not come into force.

        Raises:
            Changed: `load` was to write a file that is not the one in force.
            OSError: or one that cannot be written.
        """
        async with self._in_turn:
            self._reload_waits = False
            self._watch.mark()
            before, began = self._watch.paths, wall()
            try:
                loaded = await asyncio.to_thread(load or self._load)
                if load is not None:
                    self._watch.mark()
            except (Changed, OSError):
                raise
            except Exception as error:
                self._log("error", "loading failed in an unforeseen way", traceback=places_of(error))
                return self._refuse(cause, (f"loading failed: {kind_of(error)}",))
            if loaded.config is None:
                # It may be a named file that is missing or broken: whatever mattered before, still does.
                self._watch.follow([*self._watch.paths, *watched(loaded)])
                return self._refuse(cause, tuple(str(each) for each in loaded.problems))
            self._watch.follow(watched(loaded), began)
            outcome = await self._bring(loaded, loaded.config, cause)
            if undo is not None and not outcome.ok:
                await asyncio.to_thread(undo)
                # What is there again is in force already.
                self._watch.follow(before)
                self._watch.mark()
            return outcome

    async def _bring(self, loaded: LoadResult, config: ResolvedConfig, cause: Cause) -> Outcome:
        self._report(loaded.notices)
        wanted = self._wanted(config)
        self._say_what_needs_a_restart(config, wanted)
        self._workers = self._workers or wanted
        try:
            with_keys = await asyncio.to_thread(self.parts.keys.prepare, config)
            stores = await asyncio.to_thread(self._stores.prepare, config)
        except ValueError as unusable:
            return self._refuse(cause, (str(unusable),))
        error = await self._opening.open([listener.address for listener in config.listeners], self._workers)
        if error is not None:
            self._stores.conclude(taken=False)
            self.parts.keys.conclude(taken=False)
            return self._refuse(cause, (error,))
        await self.parts.registrations.prepare(config)
        await self.parts.discovery.prepare(config)
        socket = self.parts.own_endpoints.socket
        told = replace(for_workers(with_keys), workers=self._workers, surface_socket=socket, **stores)
        plan = await asyncio.to_thread(pack, Plan(self._fleet.next_version, told))
        outcome = await self._fleet.publish(plan)
        self._stores.conclude(outcome.ok)
        self.parts.keys.conclude(outcome.ok)
        self.parts.discovery.conclude(outcome.ok)
        if not outcome.ok:
            if self._config is not None:
                self._settle(self._config)
            return self._refuse(cause, outcome.problems)
        self._config = config
        self._keep()
        self._settle(config)
        self.parts.follow(replace(config, workers=self._workers))
        self._cache.follow(told)
        await asyncio.to_thread(self.parts.configuration.applied, loaded, cause, plan.version)
        workers = f"{outcome.workers} of {self._workers}"
        self._log("info", f"plan {plan.version} is in force", reason=cause.reason, workers=workers)
        self.audit.applied(config.telemetry.audit, cause, plan.version)
        return outcome

    def _wanted(self, config: ResolvedConfig) -> int:
        return worker_count() if config.workers == "auto" else int(config.workers)

    def _keep(self) -> None:
        """Let a successor know what is in force."""
        if self._fleet.current is not None and self._config is not None:
            parts = self.parts
            limits, cache = (self._stores.current.get(field) for field in ("store", "cache_store"))
            found = (limits, parts.issuers.kept(), parts.keys.current, parts.discovery.kept(), cache)
            keep(self._seat.memory, Handover(self._fleet.current, withheld(self._config), *found))

    def _say_what_needs_a_restart(self, config: ResolvedConfig, wanted: int) -> None:
        if self._workers not in (0, wanted):
            text = "another number of workers needs a restart"
            self._log("warning", text, running=self._workers, configured=wanted)
        if self._config is not None and config.admin.address != self._config.admin.address:
            text = "another admin.address needs a restart"
            self._log("warning", text, running=self._config.admin.address, configured=config.admin.address)

    def _refuse(self, cause: Cause, problems: tuple[str, ...]) -> Outcome:
        """Say why, once; only of the very first configuration the start itself does, as its last words."""
        current = self._fleet.current
        version = current.version if current else 0
        if current is not None or self._seat.workers:
            text = f"configuration refused, plan {version} stays in force" if current else "configuration refused"
            self._log("error", text, reason=cause.reason, problems=list(problems))
            self.audit.refused(cause, version, problems)
            self.parts.configuration.refused(cause, version, problems)
        return Outcome(version, problems=problems)

    def _report(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._log(problem.severity, str(problem))

    async def _poll_files(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            paths = self._watch.poll()
            if paths and not self._draining:
                await self.reload(changed(paths))

    # What the admin listener shows

    def _bind_admin(self, address: str) -> str | None:
        try:
            self._admin = open_listener(address, 1, private=True)
        except ListenError as error:
            return f"admin.address: {error}"
        return None

    async def _serve_admin(self) -> None:
        if self._admin is None:
            return
        # FastAPI takes a third of a second to import. The first plan is in force by now, and a thread leaves this
        # loop free for the workers that are still coming up.
        admin = await asyncio.to_thread(import_module, "headgate.control.admin.app")
        await admin.serve(self, self._admin.of_slot(0))

    @property
    def draining(self) -> bool:
        """Tell whether the gateway is stopping."""
        return self._draining

    def snapshot(self) -> Snapshot:
        """Return how the processes of the gateway are now."""
        now = time.monotonic()
        return {
            "plan": self._fleet.current.version if self._fleet.current else 0,
            "draining": self._draining,
            "workers": workers_of(self._seat.regions[: self._workers], now),
            "control_uptime": round(now - self._started, 3),
        }
