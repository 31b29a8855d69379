"""What the gateway counts: the additions that a finished request costs, to the families of telemetry.families.

Laws:
- Label values come from configuration (route, service, listener, worker slot) or from a fixed list (method, status,
  reason, outcome, state), never from a client: a value outside its list is counted as "other". So the number of
  series has a bound that no traffic can move.
- Durations are whole microseconds in the cells; `Family.unit` says by how much a reader divides.
- Series of a route appear with its first request: 10,000 routes cost nothing until they are used, and a scrape
  lists only what has happened. Families without labels are there from the start, at zero.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Literal

from headgate.core.failure import REASONS
from headgate.telemetry.cells import OTHER, SeriesName, SlotWriter
from headgate.telemetry.families import FAMILIES, MICROSECONDS, Family

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
POOL_STATES = ("idle", "busy")
AuthOutcome = Literal["known", "refused", "unavailable"]
RETRY_REASONS = frozenset({*REASONS, "status", "hedge"})


class Metrics:
    """The families over one writer. An index from here is counted with `metrics.cells[index] += n`.

    `worker` is the slot's label value, `families` the table; buckets may differ from the default table's, names and
    labels may not.
    """

    __slots__ = (
        "_auth",
        "_errors",
        "_lag",
        "_lag_bounds",
        "_writer",
        "access_log_dropped",
        "audit_dropped",
        "cells",
        "config_version",
        "families",
        "in_flight",
        "pressure",
        "store_evicted",
        "store_failing",
        "store_fallback",
        "upgrades_open",
        "worker_restarts",
    )

    def __init__(self, writer: SlotWriter, worker: str = "0", families: Mapping[str, Family] = FAMILIES) -> None:
        self._writer = writer
        self.cells = writer.cells
        self.families = families
        for family in families.values():
            writer.declare(SeriesName(family.name, family.kind, ("",) * len(family.labels), family.bounds))
        self.in_flight = self.gauge("headgate_requests_in_flight")
        self.upgrades_open = self.gauge("headgate_upgrades_open")
        self.access_log_dropped = self.counter("headgate_access_log_dropped_total")
        self.audit_dropped = self.counter("headgate_audit_dropped_total")
        self.store_failing = self.gauge("headgate_store_failing")
        self.store_fallback = self.counter("headgate_store_fallback_total")
        self.store_evicted = self.counter("headgate_store_evicted_total")
        self.worker_restarts = self.counter("headgate_worker_restarts_total")
        self.config_version = self.gauge("headgate_config_version", worker)
        self.pressure = self.gauge("headgate_overload_pressure", worker)
        self._lag, self._lag_bounds = self.histogram("headgate_loop_lag_seconds")
        self._errors: dict[str, int] = {}
        self._auth: dict[tuple[str, str], int] = {}

    def counter(self, name: str, *labels: str) -> int:
        """Return the cell of a counter; `labels` in the family's order, from configuration or fixed lists only.

        Raises:
            KeyError: if the table has no such family. A series outside the table could be counted but not shown.
        """
        return self._writer.counter(self.families[name].name, labels)

    def gauge(self, name: str, *labels: str) -> int:
        """Return the cell of a gauge. Add to it and subtract from it, see `SlotWriter.gauge`."""
        return self._writer.gauge(self.families[name].name, labels)

    def histogram(self, name: str, *labels: str) -> tuple[int, tuple[int, ...]]:
        """Return a histogram's first cell and its bounds in cell units."""
        bounds = self.families[name].bounds
        return self._writer.histogram(name, labels, bounds), bounds

    def requests(self, route: str, service: str) -> RequestSeries:
        """Make what counts the requests of one route to one service; once for each Plan."""
        return RequestSeries(self, route, service)

    def upstream(self, service: str) -> UpstreamSeries:
        """Make what counts the attempts at one service; once for each cluster."""
        return UpstreamSeries(self, service)

    def begin(self) -> None:
        """Count a request in. `RequestSeries.finish` counts it out, exactly once."""
        self.cells[self.in_flight] += 1

    def error(self, reason: str) -> None:
        """Count an answer that the gateway made itself; `reason` is a key of REASONS."""
        index = self._errors.get(reason)
        if index is None:
            known = reason if reason in REASONS else OTHER
            index = self._errors[known] = self.counter("headgate_errors_total", known)
        self.cells[index] += 1

    def auth(self, method: str, outcome: AuthOutcome) -> None:
        """Count a credential shown; `method` is the configured name of the way of identity (auth.method)."""
        index = self._auth.get((method, outcome))
        if index is None:
            index = self._auth[method, outcome] = self.counter("headgate_auth_total", method, outcome)
        self.cells[index] += 1

    def auth_judged(self, method: str) -> None:
        """Count a credential on which no verdict was remembered."""
        self.cells[self.counter("headgate_auth_judged_total", method)] += 1

    def auth_failed(self, reason: str, auth_type: str = "none") -> None:
        """Count a request refused for who asks: a key of REASONS, and the key of catalog.AUTH of what it showed."""
        known = reason if reason in REASONS else OTHER
        self.cells[self.counter("headgate_auth_failures_total", known, auth_type)] += 1

    def auth_waited(self, method: str, seconds: float) -> None:
        """Observe how long a request waited for what a judgement needed."""
        index, bounds = self.histogram("headgate_auth_wait_seconds", method)
        micros = int(seconds * MICROSECONDS)
        self.cells[index] += micros
        self.cells[index + 1 + bisect_left(bounds, micros)] += 1

    def fault(self, route: str, kind: str) -> None:
        """Count a fault injected on purpose; `kind` is delay or abort."""
        self.cells[self.counter("headgate_faults_injected_total", route, kind)] += 1

    def shed(self, by: str, priority: str) -> None:
        """Count a request refused under overload of the "gateway" or of a "service"."""
        self.cells[self.counter("headgate_shed_total", by, priority)] += 1

    def loop_lag(self, seconds: float) -> None:
        """Observe by how much a timer ran late."""
        micros = int(seconds * MICROSECONDS)
        self.cells[self._lag] += micros
        self.cells[self._lag + 1 + bisect_left(self._lag_bounds, micros)] += 1


class RequestSeries:
    """The series of one (route, service): what `finish` adds to. Empty names stand for no route, no service."""

    __slots__ = (
        "_bounds",
        "_bytes_in",
        "_bytes_out",
        "_cells",
        "_counts",
        "_duration",
        "_in_flight",
        "_metrics",
        "route",
        "service",
    )

    def __init__(self, metrics: Metrics, route: str, service: str) -> None:
        self._metrics = metrics
        self._cells = metrics.cells
        self._in_flight = metrics.in_flight
        self.route = route
        self.service = service
        # Bounded by METHODS x statuses: only listed values become keys, whatever a client or an upstream sends.
        self._counts: dict[tuple[str, int], int] = {}
        self._duration = self._bytes_in = self._bytes_out = 0
        self._bounds: tuple[int, ...] = ()

    def finish(self, method: str, status: int, seconds: float, request_bytes: int, response_bytes: int) -> None:
        """Count a request out: its answer, how long it took in seconds, and the bytes of both bodies."""
        index = self._counts.get((method, status))
        if index is None:
            index = self._register(method, status)
        cells = self._cells
        cells[index] += 1
        cells[self._in_flight] -= 1
        micros = int(seconds * 1_000_000)
        duration = self._duration
        cells[duration] += micros
        cells[duration + 1 + bisect_left(self._bounds, micros)] += 1
        if request_bytes:
            cells[self._bytes_in] += request_bytes
        if response_bytes:
            cells[self._bytes_out] += response_bytes

    def _register(self, method: str, status: int) -> int:
        metrics = self._metrics
        if not self._counts:
            self._duration, self._bounds = metrics.histogram(
                "headgate_request_duration_seconds", self.route, self.service
            )
            self._bytes_in = metrics.counter("headgate_request_bytes_total", self.route)
            self._bytes_out = metrics.counter("headgate_response_bytes_total", self.route)
        key = (method if method in METHODS else OTHER, status if 100 <= status <= 599 else 0)
        index = self._counts.get(key)
        if index is None:
            labels = (self.route, self.service, key[0], str(key[1]) if key[1] else OTHER)
            index = self._counts[key] = metrics.counter("headgate_requests_total", *labels)
        return index


class UpstreamSeries:
    """The series of one service: attempts, their durations, retries, and its pool's two gauges.

    `idle` and `busy` are indices of `metrics.cells`: connections waiting in the pool, and connections in use.
    """

    __slots__ = ("_bounds", "_cells", "_duration", "_metrics", "_outcomes", "_retries", "busy", "idle", "service")

    def __init__(self, metrics: Metrics, service: str) -> None:
        self._metrics = metrics
        self._cells = metrics.cells
        self.service = service
        self._outcomes: dict[str | int, int] = {}
        self._retries: dict[str, int] = {}
        self._duration, self._bounds = metrics.histogram("headgate_upstream_duration_seconds", service)
        self.idle, self.busy = (metrics.gauge("headgate_pool_connections", service, state) for state in POOL_STATES)

    def answered(self, status: int, seconds: float) -> None:
        """Count an attempt whose answer's head came, `seconds` after its start."""
        cells = self._cells
        # The class as a number keeps the text off the hot path.
        index = self._outcomes.get(status // 100)
        if index is None:
            index = self._register(status // 100)
        cells[index] += 1
        micros = int(seconds * 1_000_000)
        cells[self._duration] += micros
        cells[self._duration + 1 + bisect_left(self._bounds, micros)] += 1

    def failed(self, reason: str) -> None:
        """Count an attempt that brought no answer; `reason` is a key of REASONS."""
        index = self._outcomes.get(reason)
        if index is None:
            index = self._register(reason)
        self._cells[index] += 1

    def retried(self, reason: str) -> None:
        """Count another try; `reason` is a key of REASONS, or "status" when the answer itself was the reason."""
        index = self._retries.get(reason)
        if index is None:
            known = reason if reason in RETRY_REASONS else OTHER
            index = self._retries[known] = self._metrics.counter("headgate_retries_total", self.service, known)
        self._cells[index] += 1

    def _register(self, outcome: str | int) -> int:
        known: str | int
        if isinstance(outcome, int):
            known = outcome if 1 <= outcome <= 5 else OTHER
            text = f"{outcome}xx" if known == outcome else OTHER
        else:
            known = text = outcome if outcome in REASONS else OTHER
        index = self._outcomes[known] = self._metrics.counter("headgate_upstream_requests_total", self.service, text)
        return index
