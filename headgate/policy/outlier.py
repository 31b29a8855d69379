"""Outlier ejection, passive health: endpoints whose answers are bad are out for a while, judged attempt by attempt.

Two judges, as Envoy's outlier detection has them:
- *failures in a row* eject at once;
- *success rates* are compared once an interval: out goes who lies more than `success_rate_deviation` standard
  deviations below the mean of the *others*. Envoy's mean and deviation include the endpoint itself, and then none of N
  can lie further away than sqrt(N - 1) deviations: with 3 endpoints 1.41, whatever it does. The deviation is at least
  what chance alone makes of so few requests (the standard error of the difference of two proportions), and a gap
  under LEAST_GAP harms nobody.

Laws: pure; time is handed in, in monotonic microseconds. All state stands in cells that the workers share: those of
the endpoints' records (endpoint_record) and the service's own, which guards them all: whoever calls a method that
writes holds the lock of that one record, so never more are out than may be, whichever workers eject at once.
An endpoint that is out is not judged. Never are all of a service out.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence, Sequence
from math import sqrt
from typing import Literal, NamedTuple

from headgate.core.objection import Objection
from headgate.core.settings import Seconds, setting, settings
from headgate.policy.endpoint_record import (
    EJECTED_UNTIL,
    EJECTIONS,
    FAILURES,
    FAILURES_IN_ROW,
    SUCCESSES,
    WELL_SINCE,
)

# Difference of success rates below which a comparison ejects nobody.
LEAST_GAP = 0.05
# An interval with too few requests to compare goes on; after so many of them what was counted is too old.
OLDEST_INTERVALS = 10

_MICROSECONDS = 1_000_000

# The cells of the service's own record: when the next comparison is due, and since when attempts are counted.
NEXT_COMPARISON, COUNTED_SINCE = range(2)

Cause = Literal["consecutive_failures", "success_rate"]


@settings
class OutlierSettings:
    """Take an endpoint out for a while when its answers are bad, attempt by attempt (Envoy's outlier detection)."""

    enabled: bool = setting(default=True, help="Use it.")
    consecutive_failures: int = setting(
        default=5, help="Failures in a row (5xx, timeouts, resets) that eject; 0 = not looked at.", ge=0, le=10_000
    )
    success_rate_deviation: float = setting(
        default=1.9,
        help="Standard deviations below the mean success rate of the other endpoints that eject; 0 = not looked at.",
        ge=0,
        le=10,
    )
    minimum_endpoints: int = setting(
        default=3, help="Endpoints with enough requests below which success rates are not compared.", ge=2, le=1000
    )
    minimum_requests: int = setting(
        default=20, help="Requests of an endpoint since the last comparison that are enough.", ge=1, le=1_000_000
    )
    interval: Seconds = setting(default=3.0, help="Seconds between comparisons of success rates.", ge=0.5, le=3600)
    ejection_time: Seconds = setting(
        default=10.0, help="Seconds of a first ejection; the n-th in short order is n times as long.", gt=0, le=86400
    )
    max_ejection_time: Seconds = setting(default=300.0, help="Seconds of the longest ejection.", gt=0, le=86400)
    max_ejected: float = setting(
        default=50.0, help="Percent of endpoints that may be out; at least one may, all never.", ge=0, le=100
    )


class Ejection(NamedTuple):
    """An endpoint went out: whose record, why, for how many seconds."""

    base: int
    cause: Cause
    seconds: float


class _Rated(NamedTuple):
    """What was counted of an endpoint since the last comparison."""

    base: int
    requests: int
    rate: float


def record_name(service: str) -> str:
    """Name the record of a service's outliers."""
    return f"outliers {service}"


class Outliers:
    """The endpoints of one service, judged by how attempts at them end."""

    __slots__ = ("_cells", "_endpoints", "_most", "_own", "_settings")

    def __init__(
        self,
        settings: OutlierSettings,
        cells: MutableSequence[int] | memoryview,
        own: int,
        endpoints: Sequence[int],
    ) -> None:
        """Judge the endpoints whose records begin at these cells; `own` is where the service's record begins."""
        self._settings = settings
        self._cells = cells
        self._own = own
        self._endpoints = endpoints
        self._most = most_ejected(len(endpoints), settings.max_ejected)

    def failed(self, base: int, now: int) -> Ejection | None:
        """Note a failed attempt; return the ejection it led to, if any."""
        cells, limit = self._cells, self._settings.consecutive_failures
        if not limit or cells[base + EJECTED_UNTIL] > now:
            return None
        row = cells[base + FAILURES_IN_ROW] = cells[base + FAILURES_IN_ROW] + 1
        return self._eject(base, "consecutive_failures", now) if row >= limit else None

    def succeeded(self, base: int) -> None:
        """Note a good attempt; needed only while the endpoint's FAILURES_IN_ROW is not 0."""
        self._cells[base + FAILURES_IN_ROW] = 0

    def count(self, base: int, successes: int, failures: int, now: int) -> None:
        """Add attempts that a worker has counted for the comparison."""
        cells = self._cells
        if cells[base + EJECTED_UNTIL] <= now:
            cells[base + SUCCESSES] += successes
            cells[base + FAILURES] += failures

    def is_due(self, now: int) -> bool:
        """Tell, without the lock, whether `review` would find anything to do."""
        cells = self._cells
        if cells[self._own + NEXT_COMPARISON] <= now:
            return True
        return any(0 < cells[base + EJECTED_UNTIL] <= now for base in self._endpoints)

    def review(self, now: int) -> tuple[list[int], list[Ejection]]:
        """Return whose time out is over, and who goes out by the comparison, if one is due."""
        cells, own = self._cells, self._own
        back = [base for base in self._endpoints if 0 < cells[base + EJECTED_UNTIL] <= now]
        for base in back:
            # Ill health that ended later, or a hand's work, says more of when it came back.
            cells[base + WELL_SINCE] = max(cells[base + WELL_SINCE], cells[base + EJECTED_UNTIL])
            cells[base + EJECTED_UNTIL] = 0
        if cells[own + NEXT_COMPARISON] > now:
            return back, []
        interval = int(self._settings.interval * _MICROSECONDS)
        cells[own + NEXT_COMPARISON] = now + interval
        for base in self._endpoints:
            if (
                cells[base + EJECTIONS]
                and not cells[base + EJECTED_UNTIL]
                and now - cells[base + WELL_SINCE] > interval
            ):
                cells[base + EJECTIONS] -= 1
        return back, self._compare(now, interval)

    def _compare(self, now: int, interval: int) -> list[Ejection]:
        cells, settings = self._cells, self._settings
        rated = list(self._rated())
        enough = settings.success_rate_deviation > 0 and len(rated) >= settings.minimum_endpoints
        if not enough and now - cells[self._own + COUNTED_SINCE] < interval * OLDEST_INTERVALS:
            return []
        cells[self._own + COUNTED_SINCE] = now
        for base in self._endpoints:
            cells[base + SUCCESSES] = cells[base + FAILURES] = 0
        found = _outliers(rated, settings.success_rate_deviation) if enough else ()
        # The worst first, for only so many may be out.
        ejected = [self._eject(each.base, "success_rate", now) for each in sorted(found, key=lambda each: each.rate)]
        return [each for each in ejected if each is not None]

    def _rated(self) -> Iterator[_Rated]:
        cells = self._cells
        for base in self._endpoints:
            successes = cells[base + SUCCESSES]
            requests = successes + cells[base + FAILURES]
            if requests >= self._settings.minimum_requests:
                yield _Rated(base, requests, successes / requests)

    def _eject(self, base: int, cause: Cause, now: int) -> Ejection | None:
        """Take an endpoint out, unless as many as may be are out already."""
        cells, settings = self._cells, self._settings
        if sum(cells[each + EJECTED_UNTIL] > now for each in self._endpoints) >= self._most:
            return None
        times = cells[base + EJECTIONS] + 1
        seconds = settings.ejection_time * times
        if seconds < settings.max_ejection_time:
            # What makes the longest one no longer needs no count, and would only take long to be forgotten.
            cells[base + EJECTIONS] = times
        seconds = min(seconds, settings.max_ejection_time)
        cells[base + EJECTED_UNTIL] = cells[base + WELL_SINCE] = now + int(seconds * _MICROSECONDS)
        cells[base + FAILURES_IN_ROW] = cells[base + SUCCESSES] = cells[base + FAILURES] = 0
        return Ejection(base, cause, seconds)


def most_ejected(endpoints: int, percent: float) -> int:
    """Return how many of so many endpoints may be out at once."""
    return min(endpoints - 1, max(1, int(endpoints * percent / 100)))


def _outliers(rated: Sequence[_Rated], deviation: float) -> Iterator[_Rated]:
    """Yield who lies too far below the others."""
    others = len(rated) - 1
    rates = sum(each.rate for each in rated)
    squares = sum(each.rate * each.rate for each in rated)
    requests = sum(each.requests for each in rated)
    pooled = sum(each.rate * each.requests for each in rated) / requests
    for each in rated:
        mean = (rates - each.rate) / others
        variance = (squares - each.rate * each.rate) / others - mean * mean
        chance = pooled * (1 - pooled) * (1 / each.requests + 1 / (requests - each.requests))
        if mean - each.rate > max(LEAST_GAP, deviation * sqrt(max(variance, chance, 0.0))):
            yield each


def check_outlier(settings: OutlierSettings) -> Iterator[Objection]:
    """Yield what contradicts itself."""
    if settings.max_ejection_time < settings.ejection_time:
        yield Objection(
            ("max_ejection_time",),
            f"the longest ejection is shorter than the first one, {settings.ejection_time:g} s: write more",
        )
