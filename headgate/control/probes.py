"""Active health checks at work: each endpoint of a service with `health` is asked on a schedule of its own.

The answers go onto the board, where every worker sees them at once. With control dead the last results stand, and its
successor goes on from them: what is on the board says more of an endpoint than nothing.

Laws: a schedule lives on through reloads as long as service, endpoint and settings are equal, and is begun soon after
the plan came into force, at a moment of chance, so that a thousand endpoints are not asked at once. Never more than
AT_ONCE questions are open. A checked endpoint that is checked no longer is well. One that leaves its service stays what
it was, for workers may have it in hand a moment longer; it is well when it comes back.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from headgate.config.resolve import ResolvedConfig, ResolvedService
from headgate.control.log import Log
from headgate.control.spawn import Spawn
from headgate.core.clock import monotonic
from headgate.core.endpoint import Endpoint
from headgate.core.failure import Failure
from headgate.policy import grpc, grpc_health
from headgate.policy.endpoint_record import CHECKED_AT, EJECTED_UNTIL, record_name
from headgate.policy.health import HealthCheck, HealthSettings, begin_anew, forget
from headgate.stores.board import Board
from headgate.telemetry.cells import Sample, SeriesName
from headgate.wire.probe import Prober, Tls, question_http2, secured
from headgate.wire.settings import UpstreamTls

AT_ONCE = 64
# Seconds within which first checks begin, where the interval is longer.
FIRST_WITHIN = 2.0

_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked of whom: a schedule goes on while this is equal."""

    service: str
    endpoint: Endpoint
    settings: HealthSettings
    tls: UpstreamTls
    # A protocol of wire.settings.ALPN.
    speaks: str


class _Schedule:
    """One endpoint under watch: its record's first cell, its subject, and the task that asks."""

    __slots__ = ("base", "check", "subject", "task")

    def __init__(self, subject: Subject, base: int) -> None:
        self.subject = subject
        self.base = base
        self.check = HealthCheck(subject.settings)
        self.task: asyncio.Task[None] | None = None


class Probes:
    """All schedules, and what became of the checks."""

    def __init__(self, board: Board, log: Log, spawn: Spawn, chance: Callable[[], float] = random.random) -> None:
        self._board = board
        self._log = log
        self._spawn = spawn
        self._chance = chance
        self._prober = Prober()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._schedules: dict[int, _Schedule] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        # The records of all endpoints that there are; None before the first configuration.
        self._here: set[int] | None = None

    def follow(self, config: ResolvedConfig) -> None:
        """Check what this configuration says, from now on."""
        wanted = dict(self._wanted(config))
        for base, schedule in list(self._schedules.items()):
            if base not in wanted or wanted[base] != schedule.subject:
                if schedule.task is not None:
                    schedule.task.cancel()
                del self._schedules[base]
                begin_anew(self._board.cells, base)
        self._release(config, wanted.keys())
        for base, subject in wanted.items():
            if base not in self._schedules:
                schedule = self._schedules[base] = _Schedule(subject, base)
                schedule.task = self._spawn(self._watch(schedule))
        services = {subject.service for subject in wanted.values()}
        for key in [key for key in self._counts if key[0] not in services]:
            del self._counts[key]

    def samples(self) -> list[Sample]:
        """Return how many checks ended how, since this control process began."""
        return [
            Sample(SeriesName("headgate_health_checks_total", "counter", labels), [count])
            for labels, count in self._counts.items()
        ]

    def _wanted(self, config: ResolvedConfig) -> Iterator[tuple[int, Subject]]:
        for service in config.services:
            if service.health is None:
                continue
            for endpoint in service.endpoints:
                try:
                    base = self._board.claim(record_name(service.name, endpoint.name))
                except ValueError as error:
                    self._log("error", f"endpoint {endpoint.name} of {service.name} is not checked: {error}")
                    continue
                yield base, _subject(service, endpoint, service.health)

    def _release(self, config: ResolvedConfig, checked: Collection[int]) -> None:
        """Bring back who is out by the word of a check or a judge that there is no longer, or of before it was away."""
        before, self._here = self._here, set()
        changed = False
        for service in config.services:
            for endpoint in service.endpoints:
                base = self._board.find(record_name(service.name, endpoint.name))
                if base is None:
                    continue
                self._here.add(base)
                came = before is not None and base not in before
                changed |= self._free(base, came or base not in checked, came or service.outlier is None)
        if changed:
            self._board.touch()

    def _free(self, base: int, of_checks: bool, of_judges: bool) -> bool:
        """Take back what these have said of an endpoint; tell whether there was anything."""
        cells, changed = self._board.cells, False
        if of_checks and cells[base + CHECKED_AT]:
            with self._board.lock(base):
                changed = forget(cells, base, _now())
        if of_judges and cells[base + EJECTED_UNTIL]:
            cells[base + EJECTED_UNTIL] = 0
            changed = True
        return changed

    async def _watch(self, schedule: _Schedule) -> None:
        """Ask one endpoint again and again."""
        delay = self._chance() * min(schedule.subject.settings.interval, FIRST_WITHIN)
        while True:
            await asyncio.sleep(delay)
            async with self._gate:
                began = monotonic()
                outcome, status, why = await self._ask(schedule)
            took = monotonic() - began
            self._note(schedule, outcome, status, why, took)
            delay = max(0.0, schedule.check.delay(self._chance()) - took)

    async def _ask(self, schedule: _Schedule) -> tuple[str, int, str]:
        """Return how one check ended (`well`, `status`, `body`, or the reason of a failure), the status, and why."""
        subject, check = schedule.subject, schedule.check
        endpoint, timeout = subject.endpoint, subject.settings.timeout
        try:
            if subject.settings.type == "tcp":
                await self._prober.connect(endpoint, None, timeout)
                return "well", 0, ""
            if subject.settings.type == "grpc":
                return await self._call(subject, timeout)
            asked = _tls(subject), subject.settings.path, _host(subject), subject.speaks
            status, body = await self._prober.get(endpoint, *asked, check.most_body, timeout)
        except Failure as failure:
            return failure.reason, 0, failure.detail
        outcome = check.judge(status, body)
        return outcome, status, {"status": f"status {status}", "body": "the body does not match"}.get(outcome, "")

    async def _call(self, subject: Subject, timeout: float) -> tuple[str, int, str]:
        """Ask by gRPC's health protocol."""
        endpoint = subject.endpoint
        fields = question_http2("POST", grpc_health.METHOD, _host(subject), endpoint.scheme)
        fields += ((b"content-type", grpc.CONTENT_TYPE), (b"te", b"trailers"))
        request = fields, grpc_health.question(subject.settings.service)
        told = await self._prober.ask_http2(endpoint, _tls(subject), request, grpc_health.MOST, timeout)
        outcome, why = grpc_health.judge(told.status, told.fields, told.body)
        return outcome, told.status, why

    def _note(self, schedule: _Schedule, outcome: str, status: int, why: str, took: float) -> None:
        subject, base, board = schedule.subject, schedule.base, self._board
        self._counts[subject.service, outcome] += 1
        self._log("debug", f"endpoint {subject.endpoint.name} of {subject.service} is checked", outcome=outcome)
        well = outcome == "well"
        with board.lock(base):
            changed = schedule.check.note(board.cells, base, well, status, _now(), int(took * _MICROSECONDS))
        if not changed:
            return
        board.touch()
        who = f"endpoint {subject.endpoint.name} of {subject.service}"
        if well:
            self._log("info", f"{who} is healthy again")
        else:
            self._log("warning", f"{who} is unhealthy: {why}", reason=outcome)


def _subject(service: ResolvedService, endpoint: Endpoint, settings: HealthSettings) -> Subject:
    """Name what is asked; an endpoint of another weight or zone is asked the same."""
    asked = endpoint._replace(weight=1, zone="")
    if settings.port is not None and not endpoint.unix:
        asked = asked._replace(port=settings.port)
    return Subject(service.name, asked, settings, service.tls, "http2" if settings.type == "grpc" else service.protocol)


def _host(subject: Subject) -> str:
    host = subject.settings.host
    return host if host is not None else subject.endpoint.authority


def _tls(subject: Subject) -> Tls | None:
    """Return how the endpoint is asked as its files are now.

    Raises:
        Failure: tls, if a file cannot be used.
    """
    if subject.endpoint.scheme != "https":
        return None
    return secured(subject.tls, subject.endpoint.host, subject.speaks)


def _now() -> int:
    return int(monotonic() * _MICROSECONDS)
