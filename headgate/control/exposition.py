"""The metrics as the configuration in force wants them shown: gathered, named, and written in the form asked for.

Reading and writing the series of ten thousand routes takes the better part of a second, so it happens in a thread of
its own: the loop of control goes on with its heartbeat, its checks and everybody else. One scrape at a time; others
wait for it, and those that ask for the same form share the next one: however many ask, no more work piles up than there
are forms. The thread gives way to workers that have to share its core.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import get_native_id
from typing import Any, NamedTuple, TypeVar

from headgate.config.resolve import ResolvedConfig
from headgate.control.processes import Processes
from headgate.core.clock import wall
from headgate.policy.limit.settings import Limit
from headgate.policy.pattern import pattern_text
from headgate.telemetry.cells import Sample, SlotRegion, read
from headgate.telemetry.naming import Exemplar, Facts, Naming, Shown
from headgate.telemetry.prometheus import (
    CONTENT_TYPE,
    OPENMETRICS_TYPE,
    Point,
    points,
    render,
    render_openmetrics,
)
from headgate.telemetry.protobuf import PROTOBUF_TYPE, render_protobuf
from headgate.telemetry.settings import Metrics

T = TypeVar("T")

_JSON = "application/json"
_TEXT = "text/plain"
_OPENMETRICS = "application/openmetrics-text"
_PROTOBUF = "application/vnd.google.protobuf"
_FORMS: Mapping[str, tuple[Callable[[list[Shown]], bytes], str]] = {
    _JSON: (lambda shown: json.dumps(points(shown, wall())).encode(), _JSON),
    _TEXT: (render, CONTENT_TYPE),
    _OPENMETRICS: (render_openmetrics, OPENMETRICS_TYPE),
    _PROTOBUF: (render_protobuf, PROTOBUF_TYPE),
}
# Names of routes, or of limits, of now and before.
_MOST_KNOWN = 200_000
_NICE = 5
_IN_FLIGHT = "headgate_requests_in_flight"
_PROTO_MESSAGE = "io.prometheus.client.metricfamily"


class Scrape(NamedTuple):
    """What a scraper is given."""

    content_type: str
    body: bytes


class Exposition:
    """How metrics are shown."""

    __slots__ = (
        "_elsewhere",
        "_facts",
        "_naming",
        "_processes",
        "_settings",
        "_thread",
        "_turn",
        "_waiting",
        "exemplars",
        "regions",
        "scrapers",
    )

    def __init__(self, elsewhere: Callable[[], list[Sample]]) -> None:
        """`elsewhere` returns what is counted in control, not in the cells of the workers."""
        self._elsewhere = elsewhere
        self._processes = Processes()
        self._settings = Metrics()
        self._facts: Facts = {}
        self._naming = Naming(self._settings, {})
        self._thread = ThreadPoolExecutor(1, "scrape", _give_way)
        self._turn = asyncio.Lock()
        # Scrapes that have not begun, by form.
        self._waiting: dict[str, asyncio.Task[Any]] = {}
        # The slots of all workers.
        self.regions: Callable[[], Sequence[SlotRegion]] = lambda: ()
        # Gives the newest exemplars of a family; whoever keeps them connects it.
        self.exemplars: Callable[[str], Iterable[Exemplar]] = lambda _: ()
        # Those who wait for metrics by way of a worker: what they ask is no traffic, and ends when they are answered.
        self.scrapers = 0

    @property
    def enabled(self) -> bool:
        """Whether metrics are shown at all."""
        return self._settings.enabled

    def follow(self, config: ResolvedConfig) -> None:
        """Show metrics as this configuration says, from now on."""
        self._settings = config.telemetry.metrics
        facts = facts_of(config)
        # What was counted for routes and limits that are no more is still shown, and stays where it was.
        self._facts = {label: {**self._facts.get(label, {}), **known} for label, known in facts.items()}
        if any(len(known) > _MOST_KNOWN for known in self._facts.values()):
            self._facts = dict(facts)
        self._naming = Naming(self._settings, self._facts)

    async def scrape(self, accept: str) -> Scrape:
        """Write the metrics in the form that an Accept header wants; text where it says nothing of it.

        Nothing is shown where metrics are not `enabled`.
        """
        form = preferred(accept, self._settings.native)
        write, kind = _FORMS.get(form, _FORMS[_TEXT])
        return Scrape(kind, await self._read(form, lambda here: write(self._shown(here))))

    async def points(self, timestamp: float) -> list[Point]:
        """List the metrics for JSON; `timestamp` in wall clock seconds."""
        return await self._read("points", lambda here: points(self._shown(here), timestamp))

    async def counted(self, what: str, work: Callable[[Iterable[Sample]], T]) -> T:
        """Return `what` that `work` makes of all that workers have counted; those who wait for the same share it."""
        return await self._read(what, lambda _: work(read(self.regions())))

    async def _read(self, form: str, work: Callable[[list[Sample]], T]) -> T:
        waiting: asyncio.Task[T] | None = self._waiting.get(form)
        if waiting is None or waiting.done():
            waiting = self._waiting[form] = asyncio.get_running_loop().create_task(self._work(form, work))
        # Who leaves takes nobody along.
        return await asyncio.shield(waiting)

    async def _work(self, form: str, work: Callable[[list[Sample]], T]) -> T:
        async with self._turn:
            # Whoever comes from now on is not to miss what is counted from now on.
            del self._waiting[form]
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._elsewhere())

    def _shown(self, here: list[Sample]) -> list[Shown]:
        if not self.enabled:
            return []
        regions = self.regions()
        found = [self._in_flight(each) if each.name.family == _IN_FLIGHT else each for each in read(regions)]
        counted = [*found, *here, *self._processes.samples([region.pid for region in regions])]
        return self._naming.show(counted, self.exemplars if self._settings.exemplars else lambda _: ())

    def _in_flight(self, counted: Sample) -> Sample:
        return Sample(counted.name, [max(0, counted.values[0] - self.scrapers)])


def _give_way() -> None:
    # Linux knows a priority for each thread (setpriority(2)). Lower than this, and a scrape on a machine whose cores
    # are all busy would take longer than scrapers wait.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, get_native_id(), _NICE)


def preferred(accept: str, native: bool) -> str:
    """Return the form of metrics that an Accept header prefers, by weight, then by order (RFC 9110 section 12.5.1).

    JSON where it is named before, or without, any text; protocol buffers only for `native` histograms' sake.
    """
    asked: list[tuple[float, int, str]] = []
    for place, part in enumerate(accept.split(",")):
        kind, *parameters = [each.strip().lower() for each in part.split(";")]
        said = dict(each.partition("=")[::2] for each in parameters)
        try:
            weight = float(said.get("q", "1"))
        except ValueError:
            weight = 0.0
        form = {"text/*": _TEXT, "*/*": _TEXT}.get(kind, kind)
        if kind == _PROTOBUF and (
            not native or said.get("proto") != _PROTO_MESSAGE or said.get("encoding") != "delimited"
        ):
            continue
        if form in (_JSON, _TEXT, _OPENMETRICS, _PROTOBUF) and weight > 0:
            asked.append((-weight, place, form))
    return min(asked)[2] if asked else _TEXT


def facts_of(config: ResolvedConfig) -> Facts:
    """Return what is known of routes and limits (naming.FACTS), for a name that several have of the first."""
    routes: dict[str, dict[str, str]] = {}
    for route in (*config.routes, *config.own_routes):
        match = route.settings.match
        pattern = pattern_text(match.path)
        routes.setdefault(route.name, {"pattern": pattern, "host": ",".join(match.host)})
    for path in config.admin.expose:
        routes.setdefault(f"own {path}", {"pattern": path, "host": ""})
    # A service by its name, in an envelope or in the path: the path tells more.
    by_name = max((item.path for item in config.surface if item.view == "proxy"), key=len, default="")
    for route in config.service_routes:
        routes.setdefault(route.name, {"pattern": by_name, "host": ""})
    limits: dict[str, dict[str, str]] = {}
    everywhere = [scoped.limit for route in config.routes for scoped in route.limits]
    of_services = [service.rate_limit for service in config.services if service.rate_limit is not None]
    for limit in [*config.limits, *everywhere, *of_services]:
        limits.setdefault(limit.name, _limit_facts(limit))
    return {"route": routes, "limit": limits}


def _limit_facts(limit: Limit) -> dict[str, str]:
    return {"key": "+".join(limit.key) or "all", "algorithm": limit.type, "window": f"{limit.window:g}s"}
