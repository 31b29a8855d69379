"""The course of the metrics: what was counted in each second, for charts and for `headgate top`.

Seconds are kept one by one for RECENT of them; what is older is kept in steps of ten seconds or more, so that a day
costs no more than an hour. Only services that were asked something in a step stand in it, the busiest ones by name.

Laws: made of differences of the workers' cells, so it knows every request, recorded or not; begins anew with control;
a second in which control was held up is as long as it was.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple, TypedDict

from headgate.control.telemetry.changes import Changes, lanes
from headgate.control.telemetry.kinds import CACHE, PROTOCOLS, by_protocol, kinds_of
from headgate.telemetry.cells import SeriesName, SlotRegion
from headgate.telemetry.families import FAMILIES, MICROSECONDS
from headgate.telemetry.naming import rebound

RECENT = 300
MOST_STEPS = 720
MOST_SERVICES = 50
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

_REQUESTS = "headgate_requests_total"
_DURATIONS = "headgate_request_duration_seconds"
_IN_FLIGHT = "headgate_requests_in_flight"
_SERVICE = {family: FAMILIES[family].labels.index("service") for family in (_REQUESTS, _DURATIONS)}
_STATUS = FAMILIES[_REQUESTS].labels.index("status")


class Group(NamedTuple):
    """Whose counts are added up: requests of a service by class of status; a duration's class is empty.

    `bounds` are those of the duration's cells, in cell units. With `kinds` (telemetry.kinds) it is what those count.
    """

    service: str
    status: str
    bounds: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()


class Share(NamedTuple):
    """What one service had in a step; `durations` are the cells of a histogram side by side (changes.lanes)."""

    requests: int = 0
    errors: int = 0
    durations: int = 0

    def plus(self, other: Share) -> Share:
        return Share(*(mine + its for mine, its in zip(self, other, strict=True)))


class Step(NamedTuple):
    """What happened within `seconds` before `at` (wall clock); `statuses` by place in CLASSES, `kinds` by name."""

    at: float
    seconds: float
    in_flight: int
    statuses: tuple[int, ...]
    durations: int
    services: dict[str, Share]
    kinds: Mapping[str, int]


class Line(TypedDict):
    """One service's course; rates are per second, percentiles seconds, None without a request."""

    requests: list[float]
    errors: list[float]
    p50: list[float | None]
    p95: list[float | None]
    p99: list[float | None]


class Course(TypedDict):
    """The series of charts: one value for each moment of `at`, each for the `step` seconds before it."""

    step: float
    at: list[float]
    requests: list[float]
    errors: list[float]
    p50: list[float | None]
    p95: list[float | None]
    p99: list[float | None]
    in_flight: list[int]
    by_status: dict[str, list[float]]
    by_protocol: dict[str, list[float]]
    cache: dict[str, list[float]]
    by_service: dict[str, Line]


class History:
    """The last seconds, up to `kept` of them, over the regions of all worker slots."""

    def __init__(self, regions: Sequence[SlotRegion], kept: float) -> None:
        self._regions = regions
        self._changes = [Changes(region, self._group) for region in regions]
        self._bounds: tuple[int, ...] = FAMILIES[_DURATIONS].bounds
        self._gauges: list[list[int]] = [[] for _ in regions]
        self._known = [0] * len(regions)
        self._gathered: dict[Group, int] = {}
        self._seconds: deque[Step] = deque(maxlen=RECENT)
        self._steps: deque[Step] = deque()
        self._coarse = 10.0
        self.keep(kept)

    def keep(self, seconds: float) -> None:
        """Keep so many seconds from now on."""
        self._coarse = max(10.0, seconds / MOST_STEPS)
        self._steps = deque(self._steps, maxlen=max(1, round(seconds / self._coarse)))

    @property
    def width(self) -> int:
        """Count the cells of one duration histogram."""
        return len(self._bounds) + 2

    @property
    def bounds(self) -> tuple[float, ...]:
        """The upper bounds of the buckets in seconds."""
        return tuple(bound / MICROSECONDS for bound in self._bounds)

    def gather(self, slot: int) -> None:
        """Read what one slot has counted; once for each before `close_second`. A part of the work, to be spread."""
        for group, change in self._changes[slot].take().items():
            self._gathered[group] = self._gathered.get(group, 0) + change

    def close_second(self, at: float, seconds: float) -> Step:
        """End the present second at wall clock time `at`, `seconds` after the one before it; return it."""
        gathered, self._gathered = self._gathered, {}
        statuses = [0] * len(CLASSES)
        services: dict[str, Share] = {}
        kinds: dict[str, int] = {}
        durations = 0
        for (service, status, bounds, counted), change in gathered.items():
            if counted:
                for kind in counted:
                    kinds[kind] = kinds.get(kind, 0) + change
                continue
            share = services.get(service, Share())
            if status:
                statuses[CLASSES.index(status)] += change
                failed = change if status == "5xx" else 0
                services[service] = share.plus(Share(change, failed))
            else:
                took = self._in_bounds(change, bounds)
                durations += took
                services[service] = share.plus(Share(durations=took))
        # Requests that found no service are in the sums only.
        services.pop("", None)
        busiest = heapq.nlargest(MOST_SERVICES, services.items(), key=lambda item: item[1].requests)
        step = Step(at, seconds, self._in_flight(), tuple(statuses), durations, dict(busiest), kinds)
        self._seconds.append(step)
        self._thicken(step)
        return step

    def course(self, seconds: float, step: float) -> Course:
        """Return the last `seconds` in steps of `step` seconds, or of what is kept where that is coarser."""
        newest = self._seconds[-1].at if self._seconds else 0.0
        since = newest - seconds
        # A second is told from those before it by a moment, not by a whole one: clocks tick unevenly.
        recent = [each for each in self._seconds if each.at > since + 0.5]
        if seconds > RECENT:
            first = self._seconds[0].at if self._seconds else 0.0
            recent = [each for each in self._steps if since < each.at < first] + recent
            step = max(step, self._coarse)
        return self._drawn(list(_merged(recent, step)), step)

    def described(self, step: Step) -> dict[str, object]:
        """Write one step as the stream's `tick` has it: the fields of a Course, with one value each."""
        course = self._drawn([step], round(step.seconds, 3))
        by_service = {name: _first(line) for name, line in course["by_service"].items()}
        apart = {name: _first(course[name]) for name in ("by_status", "by_protocol", "cache")}
        return {"step": course["step"], **_first(course), **apart, "by_service": by_service}

    def _group(self, name: SeriesName) -> Group | None:
        if name.family == _REQUESTS:
            status = name.labels[_STATUS]
            return Group(name.labels[_SERVICE[_REQUESTS]], f"{status[0]}xx" if status[:1].isdigit() else "other")
        if name.family == _DURATIONS:
            if name.bounds != self._bounds:
                self._begin_anew(name.bounds)
            return Group(name.labels[_SERVICE[_DURATIONS]], "", name.bounds)
        kinds = kinds_of(name)
        return Group("", "", kinds=kinds) if kinds else None

    def _begin_anew(self, bounds: tuple[int, ...]) -> None:
        """Keep durations in other bounds from now on: a configuration has changed them. What was before is let go."""
        self._bounds = bounds
        self._seconds.clear()
        self._steps.clear()

    def _in_bounds(self, change: int, bounds: tuple[int, ...]) -> int:
        """Bring what was counted by a configuration before, and ended only now, into the bounds of now."""
        if bounds == self._bounds:
            return change
        cells = rebound(lanes(change, len(bounds) + 2), bounds, self._bounds)
        return int.from_bytes(array("q", cells).tobytes(), "little")

    def _in_flight(self) -> int:
        total = 0
        for slot, region in enumerate(self._regions):
            fresh = region.series()[self._known[slot] :]
            self._known[slot] += len(fresh)
            self._gauges[slot] += [base for name, base in fresh if name.family == _IN_FLIGHT]
            total += sum(region.cells[base] for base in self._gauges[slot])
        return total

    def _thicken(self, step: Step) -> None:
        """Add a second to the coarse step it falls into."""
        steps = self._steps
        if steps and int(steps[-1].at // self._coarse) == int(step.at // self._coarse):
            steps[-1] = _joined((steps[-1], step))
        else:
            steps.append(step)

    def _drawn(self, steps: Sequence[Step], step: float) -> Course:
        names = {name for each in steps for name in each.services}
        totals = [Share(sum(each.statuses), each.statuses[CLASSES.index("5xx")], each.durations) for each in steps]
        return {
            "step": step,
            "at": [round(each.at, 3) for each in steps],
            **self._line(steps, totals),
            "in_flight": [each.in_flight for each in steps],
            "by_status": {
                name: [_rate(each.statuses[place], each) for each in steps]
                for place, name in enumerate(CLASSES)
                if name != "other" or any(each.statuses[place] for each in steps)
            },
            "by_protocol": _apart(PROTOCOLS, [by_protocol(each.kinds) for each in steps], steps),
            "cache": _apart(CACHE, [each.kinds for each in steps], steps),
            "by_service": {
                name: self._line(steps, [each.services.get(name, Share()) for each in steps]) for name in sorted(names)
            },
        }

    def _line(self, steps: Sequence[Step], shares: Sequence[Share]) -> Line:
        counts = [lanes(share.durations, self.width)[1:] for share in shares]
        p50, p95, p99 = (
            [quantile(self.bounds, each, QUANTILES[name]) for each in counts] for name in ("p50", "p95", "p99")
        )
        return {
            "requests": [_rate(share.requests, each) for share, each in zip(shares, steps, strict=True)],
            "errors": [_rate(share.errors, each) for share, each in zip(shares, steps, strict=True)],
            "p50": p50,
            "p95": p95,
            "p99": p99,
        }


def quantile(bounds: Sequence[float], counts: Sequence[int], part: float) -> float | None:
    """Return the value below which `part` of the observations lie; None when there are none.

    Within a bucket observations are taken to lie evenly, and none above the highest bound: as histogram_quantile of
    Prometheus has it.
    """
    total = sum(counts)
    if not total:
        return None
    rank = part * total
    for place, reached in enumerate(accumulate(counts)):
        if reached >= rank and counts[place]:
            if place == len(bounds):
                break
            lower = bounds[place - 1] if place else 0.0
            return round(lower + (bounds[place] - lower) * (rank - reached + counts[place]) / counts[place], 6)
    return bounds[-1]


def _first(course: Mapping[str, object]) -> dict[str, object]:
    return {key: value[0] for key, value in course.items() if isinstance(value, list)}


def _rate(count: int, step: Step) -> float:
    return round(count / step.seconds, 3) if step.seconds > 0 else 0.0


def _apart(names: Iterable[str], counts: Sequence[Mapping[str, int]], steps: Sequence[Step]) -> dict[str, list[float]]:
    pairs = list(zip(counts, steps, strict=True))
    return {name: [_rate(each.get(name, 0), step) for each, step in pairs] for name in names}


def _merged(steps: Iterable[Step], step: float) -> Iterator[Step]:
    """Join what falls into the same `step` seconds of the clock."""
    together: list[Step] = []
    for each in steps:
        if together and int(together[-1].at // step) != int(each.at // step):
            yield _joined(together)
            together = []
        together.append(each)
    if together:
        yield _joined(together)


def _joined(steps: Sequence[Step]) -> Step:
    services: dict[str, Share] = {}
    for each in steps:
        for name, share in each.services.items():
            known = services.get(name)
            services[name] = share if known is None else known.plus(share)
    last = steps[-1]
    statuses = tuple(map(sum, zip(*(each.statuses for each in steps), strict=True)))
    busiest = dict(heapq.nlargest(MOST_SERVICES, services.items(), key=lambda item: item[1].requests))
    durations = sum(each.durations for each in steps)
    kinds: Counter[str] = Counter()
    for each in steps:
        kinds.update(each.kinds)
    return Step(last.at, sum(each.seconds for each in steps), last.in_flight, statuses, durations, busiest, kinds)
