"""The metrics view as one record: totals, rates and percentiles over all workers since the gateway began.

Law: made of the workers' cells, so exact over all of them; percentiles are as fine as the buckets of the histograms,
within which they are taken to be spread evenly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from headgate.config.resolve import OWN_SERVICE
from headgate.control.breakers import Calls
from headgate.control.telemetry.history import quantile
from headgate.telemetry.cells import Sample
from headgate.telemetry.families import FAMILIES, MICROSECONDS
from headgate.telemetry.naming import rebound

_REQUESTS = "headgate_requests_total"
_DURATIONS = "headgate_request_duration_seconds"
_UPSTREAM = "headgate_upstream_requests_total"
_UPSTREAM_DURATIONS = "headgate_upstream_duration_seconds"
_ERRORS = "headgate_errors_total"
_RETRIES = "headgate_retries_total"
_BREAKER_CALLS = "headgate_breaker_calls_total"
_TOP = 10
# Requests that none took, and those that the gateway answered itself.
_NO_SERVICES = ("", OWN_SERVICE)
# Outcomes of a call that are none of the service's failures.
_WELL = ("1xx", "2xx", "3xx", "4xx")
# A second try beside the first one, which is counted by neither when the other wins; all others come after a failure.
_HEDGE = "hedge"


class Durations:
    """A histogram summed over series: `bounds` in seconds, `counts` with the bucket above them, `total` in seconds.

    Its bounds are those of the first series: a reload may have changed them, and what was counted before stays there.
    """

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self) -> None:
        self._bounds: tuple[int, ...] = ()
        self.counts: list[int] = []
        self.total = 0.0

    def add(self, sample: Sample) -> None:
        """Add one series."""
        if not self.counts:
            self._bounds = sample.name.bounds
            self.counts = [0] * (len(self._bounds) + 1)
        total, *buckets = rebound(sample.values, sample.name.bounds, self._bounds)
        self.total += total / MICROSECONDS
        self.counts = [a + b for a, b in zip(self.counts, buckets, strict=True)]

    @property
    def bounds(self) -> tuple[float, ...]:
        """Return the upper bounds of the buckets."""
        return tuple(bound / MICROSECONDS for bound in self._bounds)

    @property
    def count(self) -> int:
        """Count what was observed."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Return the mean in seconds, None without any."""
        return self.total / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """Return what that share of all was not above, in seconds; None without any."""
        return quantile(self.bounds, self.counts, share)


class Numbers:
    """What all samples say together."""

    __slots__ = (
        "breaker_calls",
        "by_service",
        "by_status",
        "durations",
        "errors",
        "retries",
        "total",
        "upstream",
        "upstream_durations",
    )

    def __init__(self, samples: Iterable[Sample]) -> None:
        """Sum."""
        self.durations = Durations()
        self.by_service: Counter[str] = Counter()
        self.by_status: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.breaker_calls: dict[str, Calls] = {}
        self.upstream: dict[str, Counter[str]] = {}
        self.retries: dict[str, Counter[str]] = {}
        self.upstream_durations: dict[str, Durations] = {}
        for sample in samples:
            self._take(sample)
        self.total = sum(self.by_status.values())

    def _take(self, sample: Sample) -> None:
        family, labels = sample.name.family, sample.name.labels
        if family == _REQUESTS:
            self.by_status[labels[_place(_REQUESTS, "status")]] += sample.values[0]
            self.by_service[labels[_place(_REQUESTS, "service")]] += sample.values[0]
        elif family == _DURATIONS:
            self.durations.add(sample)
        elif family == _ERRORS:
            self.errors[labels[_place(_ERRORS, "reason")]] += sample.values[0]
        elif family == _UPSTREAM:
            service = labels[_place(_UPSTREAM, "service")]
            outcome = labels[_place(_UPSTREAM, "outcome")]
            self.upstream.setdefault(service, Counter())[outcome] += sample.values[0]
        elif family == _BREAKER_CALLS:
            service, outcome = labels
            known = self.breaker_calls.get(service, Calls())
            count = getattr(known, outcome) + sample.values[0]
            self.breaker_calls[service] = known._replace(**{outcome: count})
        elif family == _RETRIES:
            service = labels[_place(_RETRIES, "service")]
            self.retries.setdefault(service, Counter())[labels[_place(_RETRIES, "reason")]] += sample.values[0]
        elif family == _UPSTREAM_DURATIONS:
            service = labels[_place(_UPSTREAM_DURATIONS, "service")]
            self.upstream_durations.setdefault(service, Durations()).add(sample)

    def record(self, uptime: float) -> dict[str, Any]:
        """Return what the record of the view `metrics` has besides what all have; `uptime` in seconds."""
        failed = sum(count for status, count in self.by_status.items() if status[:1] in "45")
        served = {name: count for name, count in self.by_service.items() if name not in _NO_SERVICES}
        return {
            "requests": {
                "total": self.total,
                "errors": failed,
                "error_rate": _percent(failed, self.total),
                "requests_per_second": round(self.total / uptime, 3) if uptime > 0 else 0.0,
            },
            "services_used": {
                "top_services": [
                    {"service": name, "requests": count} for name, count in Counter(served).most_common(_TOP)
                ],
                "service_distribution": served,
            },
            "performance": self._performance(),
            "status_codes": {
                "total_requests": self.total,
                "distribution": {
                    status: {"count": count, "percentage": _percent(count, self.total)}
                    for status, count in sorted(self.by_status.items())
                },
            },
            "errors": dict(sorted(self.errors.items())),
        }

    def calls(self, service: str) -> dict[str, Any]:
        """Return how calls of one service went: how many, those that failed, mean and percentiles in milliseconds.

        A call is one with all its tries, and failed when the last of them did.
        """
        outcomes, retries = self.upstream.get(service, Counter()), self.retries.get(service, Counter())
        tries, good = sum(outcomes.values()), sum(outcomes[each] for each in _WELL)
        again = sum(retries.values()) - retries[_HEDGE]
        failed = max(0, tries - good - again)
        total = max(failed, tries - again)
        durations = self.upstream_durations.get(service, Durations())
        return {
            "total_requests": total,
            "total_calls": total,
            "success_count": total - failed,
            "failure_count": failed,
            "failure_rate": _percent(failed, total),
            "response_time": _milliseconds(durations.mean),
            "p95_response_time": _milliseconds(durations.quantile(0.95)),
        }

    def _performance(self) -> dict[str, Any]:
        durations, bounds = self.durations, self.durations.bounds
        filled = [place for place, count in enumerate(durations.counts) if count]
        lowest = (bounds[filled[0] - 1] if filled[0] else 0.0) if filled else None
        highest = bounds[min(filled[-1], len(bounds) - 1)] if filled else None
        return {
            "total_requests": durations.count,
            "avg_response_time": _milliseconds(durations.mean),
            "min_response_time": _milliseconds(lowest),
            "max_response_time": _milliseconds(highest),
            "median_response_time": _milliseconds(durations.quantile(0.5)),
            "p95_response_time": _milliseconds(durations.quantile(0.95)),
            "p99_response_time": _milliseconds(durations.quantile(0.99)),
        }


def _place(family: str, label: str) -> int:
    return FAMILIES[family].labels.index(label)


def _milliseconds(seconds: float | None) -> float | None:
    return round(seconds * 1000, 3) if seconds is not None else None


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
