"""Who tells where services run, at work: each source is a task, and what it said last is in force.

    source says a set -> another one than before? -> records on the board -> to the workers -> what else follows

Laws: a look that comes to nothing changes nothing but the status: what was said before is used on, without end. The log
has a line for each change, not for each look. However often sources speak, workers are told at most every GATHER
seconds. A source goes on through reloads as long as service and settings are equal. What was said outlives control
(control.memory), and a fault of a source ends neither control nor the source.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from headgate.config.problems import without_url_secrets
from headgate.config.resolve import ResolvedConfig, ResolvedService
from headgate.control.endpoint_records import EndpointRecords
from headgate.control.fleet import Publish
from headgate.control.log import Log
from headgate.control.messages import EndpointSets
from headgate.control.sources import Build, KeptSource, source_of
from headgate.control.spawn import Spawn
from headgate.core.clock import monotonic
from headgate.core.endpoint import Endpoint
from headgate.core.trace import kind_of, places_of
from headgate.discovery.backoff import Backoff
from headgate.discovery.endpoint_set import whole_set
from headgate.discovery.places import where
from headgate.discovery.source import Given, NotFound
from headgate.policy.endpoint_record import record_name
from headgate.stores.board import Board
from headgate.telemetry.cells import Sample, SeriesName
from headgate.telemetry.families import MICROSECONDS

GATHER = 0.2
# Times as long as telling takes, there is a pause behind it.
_IDLE_SHARE = 4
# Seconds that a plan waits for the first sets of services that it brings.
FIRST_PATIENCE = 5.0
# Seconds between two looks for records that can be given back.
SWEEP = 5.0

Registered = Callable[[str], tuple[Endpoint, ...]]
OnRegistered = Callable[[Callable[[], None]], Callable[[], None]]


class _Followed:
    """One source at work, and its Sink. `told` is what the workers have of it; times are monotonic seconds."""

    __slots__ = (
        "_owner",
        "confirmed_at",
        "endpoints",
        "error",
        "failed_at",
        "failing",
        "heard",
        "service",
        "settings",
        "source",
        "task",
        "tentative",
        "told",
    )

    def __init__(self, owner: Discovery, service: ResolvedService) -> None:
        self._owner = owner
        self.source = service.source
        self.service = service.name
        self.settings = service.discovery
        self.endpoints: tuple[Endpoint, ...] | None = None
        self.told: tuple[Endpoint, ...] = ()
        self.confirmed_at = self.failed_at = 0.0
        self.error = ""
        self.failing = False
        self.heard = asyncio.Event()
        # Begun for a plan that is not in force yet.
        self.tentative = False
        self.task: asyncio.Task[None] | None = None

    def take(self, endpoints: tuple[Endpoint, ...]) -> None:
        self._owner.said(self, endpoints)

    def failed(self, why: str) -> None:
        self._owner.failed(self, why)

    def end(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def records(self, endpoints: Iterable[Endpoint]) -> list[str]:
        return [record_name(self.service, each.name) for each in endpoints]


class Discovery:
    """All sources of the configuration in force."""

    def __init__(
        self,
        board: Board,
        log: Log,
        spawn: Spawn,
        publish: Publish,
        kept: Iterable[KeptSource] = (),
        *,
        environ: Mapping[str, str] = os.environ,
        build: Build | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`publish` hands sets to all workers; `kept` is what a predecessor knew; `build` makes a source."""
        self._records = EndpointRecords(board)
        self._log = log
        self._spawn = spawn
        self._publish = publish
        self._kept = {each.source: each for each in kept}
        self._environ = environ
        self._build = build or source_of
        self._chance = chance
        self._followed: dict[str, _Followed] = {}
        self._config: ResolvedConfig | None = None
        self._version = 0
        self._changed: set[str] = set()
        self._told_at = -GATHER
        self._pause = GATHER
        self._telling: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._counts: Counter[tuple[str, str]] = Counter()
        # Whoever keeps what registers here (control.parts connects it).
        self.registered: Registered = lambda _: ()
        self.on_registered: OnRegistered = lambda _: lambda: None
        # Told when services have other endpoints than before.
        self.on_change: Callable[[], None] = lambda: None

    # -- configurations --------------------------------------------------------------------------------------------

    async def prepare(self, config: ResolvedConfig, patience: float = FIRST_PATIENCE) -> None:
        """Begin what this configuration adds, and wait until the workers have its first sets, but not for long."""
        fresh = [self._begin(each) for each in config.services if each.source and each.source not in self._followed]
        for each in fresh:
            each.tentative = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                for each in fresh:
                    await each.heard.wait()
        late = [each.service for each in fresh if not each.heard.is_set()]
        if late:
            text = "no endpoints are known yet, and nobody waits for them any longer"
            self._log("warning", text, services=late[:10], patience=patience)
        self._tell()

    def conclude(self, taken: bool) -> None:
        """Learn what became of the configuration that was prepared."""
        for each in [each for each in self._followed.values() if each.tentative]:
            each.tentative = False
            if not taken:
                each.end()
                del self._followed[each.source]

    def follow(self, config: ResolvedConfig) -> None:
        """Follow the sources of this configuration from now on; those whose settings are the same go on."""
        self._config = config
        wanted = {each.source: each for each in config.services if each.source}
        for source, known in list(self._followed.items()):
            if source not in wanted:
                known.end()
                del self._followed[source]
        for source, service in wanted.items():
            known = self._followed.get(source) or self._begin(service)
            if known.settings != service.discovery:
                # It is asked in another way, with another secret, no more: what was said stands.
                known.end()
                known.settings = service.discovery
                self._start(known)
        for key in [key for key in self._counts if key[0] not in {each.name for each in config.services}]:
            del self._counts[key]
        self._tell(whole=True)
        self._sweep_later()

    def effective(self) -> ResolvedConfig:
        """Return the configuration in force with the endpoints that its services have now."""
        assert self._config is not None
        if not self._followed:
            return self._config
        services = (
            replace(each, endpoints=self._followed[each.source].told) if each.source in self._followed else each
            for each in self._config.services
        )
        return replace(self._config, services=tuple(services))

    def kept(self) -> tuple[KeptSource, ...]:
        """Return what a successor should know."""
        return tuple(
            KeptSource(each.source, each.service, each.settings, each.endpoints, each.confirmed_at)
            for each in self._followed.values()
            if not each.tentative
        )

    # -- what is shown ---------------------------------------------------------------------------------------------

    def describe(self) -> list[dict[str, Any]]:
        """Describe who tells where each service runs, and how that goes; ages are in seconds, None for never.

        `where` is where its source asks; `state` is static, waiting (for the first set), current, or failing (the last
        look came to nothing, and what was known before is in force); `endpoints` counts them.
        """
        services = self._config.services if self._config is not None else ()
        return [self._describe(each) for each in services]

    def samples(self) -> list[Sample]:
        """Return how looks ended since control began, how old what is known is, and who fails."""
        now = monotonic()
        found = [
            Sample(SeriesName("headgate_discovery_updates_total", "counter", labels), [count])
            for labels, count in self._counts.items()
        ]
        for each in self._followed.values():
            labels = (each.service,)
            found.append(Sample(SeriesName("headgate_discovery_failing", "gauge", labels), [int(each.failing)]))
            if each.endpoints is not None:
                age = int((now - each.confirmed_at) * MICROSECONDS)
                found.append(Sample(SeriesName("headgate_discovery_age_seconds", "gauge", labels), [age]))
        return found

    def _describe(self, service: ResolvedService) -> dict[str, Any]:
        known = self._followed.get(service.source)
        if known is None:
            shown = {"source": "static", "where": "", "state": "static", "endpoints": len(service.endpoints)}
            return {"service": service.name, **shown, "age": None, "last_error": None}
        now = monotonic()
        state = "failing" if known.failing else "waiting" if known.endpoints is None else "current"
        return {
            "service": known.service,
            "source": known.settings.type,
            "where": where(known.settings, known.service).partition(" ")[2],
            "state": state,
            "endpoints": len(known.endpoints or ()),
            "age": round(now - known.confirmed_at, 3) if known.endpoints is not None else None,
            "last_error": {"message": known.error, "age": round(now - known.failed_at, 3)} if known.error else None,
        }

    # -- one source ------------------------------------------------------------------------------------------------

    def _begin(self, service: ResolvedService) -> _Followed:
        followed = self._followed[service.source] = _Followed(self, service)
        kept = self._kept.pop(service.source, None)
        if kept is not None and kept.endpoints is not None:
            followed.endpoints = followed.told = kept.endpoints
            followed.confirmed_at = kept.confirmed_at
            followed.heard.set()
        self._start(followed)
        return followed

    def _start(self, followed: _Followed) -> None:
        followed.task = self._spawn(self._run(followed))

    async def _run(self, followed: _Followed) -> None:
        """Let the source run; one that ends by a fault begins anew."""
        backoff = Backoff(self._chance)
        given = Given(followed.service, self._environ, self.registered, self.on_registered, self._chance)
        while True:
            try:
                source = await self._build(followed.settings, given)
                await source.run(followed)
            except (NotFound, ValueError) as error:
                self.failed(followed, str(error))
            except Exception as error:
                self.failed(followed, f"its source failed: {kind_of(error)}")
                text = f"the source of {followed.service} failed in an unforeseen way"
                self._log("error", text, traceback=places_of(error))
            else:
                return
            await asyncio.sleep(backoff.pause())

    def said(self, followed: _Followed, endpoints: tuple[Endpoint, ...]) -> None:
        """Take what a source says."""
        try:
            endpoints = whole_set(endpoints)
            if endpoints != followed.endpoints:
                before = {each.name for each in followed.endpoints or ()}
                joined = followed.records(each for each in endpoints if each.name not in before)
                self._records.claim(joined, slowly=bool(before))
        except (NotFound, ValueError) as error:
            self.failed(followed, str(error))
            return
        self._counts[followed.service, "well"] += 1
        followed.confirmed_at = monotonic()
        followed.heard.set()
        if followed.failing:
            followed.failing = False
            self._log("info", f"the endpoints of {followed.service} can be found out again")
        if endpoints != followed.endpoints:
            followed.endpoints = endpoints
            self._changed.add(followed.source)
            self._tell_later()

    def failed(self, followed: _Followed, why: str) -> None:
        """Take that a source could not find out."""
        self._counts[followed.service, "failed"] += 1
        followed.error, followed.failed_at = without_url_secrets(why), monotonic()
        followed.heard.set()
        if not followed.failing:
            followed.failing = True
            meanwhile = "it answers 503 until they are" if followed.endpoints is None else "those from before stay"
            kind = followed.settings.type
            text = f"the endpoints of {followed.service} cannot be found out ({kind}): {followed.error}; {meanwhile}"
            self._log("warning", text)

    # -- everybody else --------------------------------------------------------------------------------------------

    def _tell_later(self) -> None:
        if self._telling is None:
            wait = max(0.0, self._told_at + self._pause - monotonic())
            self._telling = asyncio.get_running_loop().call_later(wait, self._tell)

    def _tell(self, whole: bool = False) -> None:
        """Hand what has changed, or everything, to whoever follows it."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        changed = [self._followed[source] for source in self._changed if source in self._followed]
        self._changed.clear()
        if not changed and not whole:
            return
        began = monotonic()
        self._version += 1
        left: list[str] = []
        for each in changed:
            left += self._note(each)
        sets = {each.source: each.endpoints for each in self._followed.values() if each.endpoints is not None}
        news = {each.source: each.told for each in changed}
        message = EndpointSets(self._version, sets)
        self._publish(message, None if whole else EndpointSets(self._version, news, whole=False))
        if not whole and self._config is not None:
            self.on_change()
            self._records.leave(left)
            self._sweep_later()
        self._told_at = monotonic()
        # Very large sets take their time: control has others to serve, too.
        self._pause = max(GATHER, _IDLE_SHARE * (self._told_at - began))

    def _note(self, followed: _Followed) -> list[str]:
        """Note that a set is in force from now on; return the records of those that left."""
        endpoints = followed.endpoints or ()
        now, before = {each.name for each in endpoints}, {each.name for each in followed.told}
        left = [each for each in followed.told if each.name not in now]
        count = f"{len(endpoints)} endpoint{'' if len(endpoints) == 1 else 's'}"
        text = f"{followed.service} has {count} ({followed.settings.type})"
        self._log("info", text, joined=len(now - before), left=len(left))
        followed.told = endpoints
        return followed.records(left)

    def _sweep_later(self) -> None:
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(SWEEP, self._sweep)

    def _sweep(self) -> None:
        """Give back the records of endpoints that are gone."""
        self._sweeping = None
        wanted = {record_name(each.name, one.name) for each in self.effective().services for one in each.endpoints}
        self._records.leave_all_but(wanted)
        self._records.give_back()
        if self._records.waiting:
            self._sweep_later()

    def close(self) -> None:
        """Ask for nothing any more."""
        for handle in (self._telling, self._sweeping):
            if handle is not None:
                handle.cancel()
        for each in self._followed.values():
            each.end()
