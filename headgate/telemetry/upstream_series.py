"""What counts the attempts at one service: outcomes, durations, retries, and the connections of its pool.

Laws: those of telemetry.metrics.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from headgate.core.failure import REASONS
from headgate.telemetry.cells import OTHER
from headgate.telemetry.families import METHODS

if TYPE_CHECKING:
    from headgate.telemetry.metrics import Metrics

POOL_STATES = ("idle", "busy")
RETRY_REASONS = frozenset({*REASONS, "status", "hedge"})


class UpstreamSeries:
    """The series of one service: attempts, their durations, retries, and its pool's two gauges.

    `idle` and `busy` are indices of `metrics.cells`: connections waiting in the pool, and connections in use.
    """

    __slots__ = (
        "_bounds",
        "_cells",
        "_fine",
        "_metrics",
        "_outcomes",
        "_retries",
        "_wanted",
        "busy",
        "idle",
        "service",
    )

    def __init__(self, metrics: Metrics, service: str) -> None:
        self._metrics = metrics
        self._cells = metrics.cells
        self.service = service
        # As in RequestSeries; the class of a status alone where nobody asks for more.
        self._outcomes: dict[str | int | tuple[str, int], tuple[int, int]] = {}
        self._retries: dict[str, int] = {}
        self._bounds: tuple[int, ...] = ()
        self._wanted = metrics.wanted
        families = ("headgate_upstream_requests_total", "headgate_upstream_duration_seconds")
        self._fine = any(metrics.wanted.tells(family, "method", "status") for family in families)
        self.idle, self.busy = (metrics.gauge("headgate_pool_connections", service, state) for state in POOL_STATES)

    def answered(self, status: int, seconds: float, method: str = "") -> None:
        """Count an attempt whose answer's head came, `seconds` after its start."""
        # The class as a number keeps the text off the hot path.
        found = self._outcomes.get((method, status) if self._fine else status // 100)
        if found is None:
            found = self._register(status, method)
        count, duration = found
        cells = self._cells
        cells[count] += 1
        micros = int(seconds * 1_000_000)
        cells[duration] += micros
        cells[duration + 1 + bisect_left(self._bounds, micros)] += 1

    def failed(self, reason: str, method: str = "") -> None:
        """Count an attempt that brought no answer; `reason` is a key of REASONS."""
        known = reason if reason in REASONS else OTHER
        labels = (self.service, known, _known(method), "error")
        self._cells[self._metrics.counter("headgate_upstream_requests_total", *labels)] += 1

    def retried(self, reason: str) -> None:
        """Count another try; `reason` is a key of REASONS, or "status" when the answer itself was the reason."""
        index = self._retries.get(reason)
        if index is None:
            known = reason if reason in RETRY_REASONS else OTHER
            index = self._retries[known] = self._metrics.counter("headgate_retries_total", self.service, known)
        self._cells[index] += 1

    def _register(self, status: int, method: str) -> tuple[int, int]:
        status = status if 100 <= status <= 599 else 0
        method = _known(method)
        key: int | tuple[str, int] = (method, status) if self._fine else status // 100
        found = self._outcomes.get(key)
        if found is None:
            texts = (f"{status // 100}xx", str(status)) if status else (OTHER, OTHER)
            name, wanted, metrics = self.service, self._wanted, self._metrics
            count = metrics.counter("headgate_upstream_requests_total", name, texts[0], method, texts[1], wanted=wanted)
            duration, self._bounds = metrics.histogram(
                "headgate_upstream_duration_seconds", name, method, texts[1], wanted=wanted
            )
            found = self._outcomes[key] = count, duration
        return found


class UncountedUpstream(UpstreamSeries):
    """Attempts while metrics are off: only the pool's gauges and retries, which are rare, are counted."""

    __slots__ = ()

    def answered(self, status: int, seconds: float, method: str = "") -> None:
        """Count nothing."""

    def failed(self, reason: str, method: str = "") -> None:
        """Count nothing."""


def _known(method: str) -> str:
    return method if not method or method in METHODS else OTHER
