"""What the gateway counts: the table of metric families, and the additions that a finished request costs.

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
from typing import NamedTuple

from headgate.core.failure import REASONS
from headgate.telemetry.cells import OTHER, Kind, SeriesName, SlotWriter

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
POOL_STATES = ("idle", "busy")
RETRY_REASONS = frozenset({*REASONS, "status", "hedge"})

_MICROSECONDS = 1_000_000
_REQUEST_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)


class Family(NamedTuple):
    """One metric: `labels` in the order of their values in a series, `unit` cell units to one exposed unit.

    `buckets` are the upper bounds of a histogram in exposed units, ascending, without +Inf.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: int = 1
    buckets: tuple[float, ...] = ()

    @property
    def bounds(self) -> tuple[int, ...]:
        """The buckets in cell units."""
        return tuple(round(bucket * self.unit) for bucket in self.buckets)


def _seconds(name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Family:
    return Family(name, "histogram", text, labels, _MICROSECONDS, buckets)


_TABLE = (
    Family(
        "headgate_requests_total",
        "counter",
        "Requests answered, by the status the client got.",
        ("route", "service", "method", "status"),
    ),
    _seconds(
        "headgate_request_duration_seconds",
        "Time from the first byte of a request to the last byte of its answer.",
        ("route", "service"),
        _REQUEST_BUCKETS,
    ),
    Family("headgate_requests_in_flight", "gauge", "Requests begun and not yet finished."),
    Family("headgate_request_bytes_total", "counter", "Bytes of request bodies received.", ("route",)),
    Family("headgate_response_bytes_total", "counter", "Bytes of response bodies sent.", ("route",)),
    Family(
        "headgate_upstream_requests_total",
        "counter",
        "Attempts at an upstream, by class of the answer (2xx) or reason of the failure.",
        ("service", "outcome"),
    ),
    _seconds(
        "headgate_upstream_duration_seconds",
        "Time from the start of an attempt to the head of the upstream's answer.",
        ("service",),
        _REQUEST_BUCKETS,
    ),
    Family("headgate_errors_total", "counter", "Answers that the gateway itself made, by reason.", ("reason",)),
    Family(
        "headgate_retries_total",
        "counter",
        "Attempts beyond the first, by what made them necessary.",
        ("service", "reason"),
    ),
    Family(
        "headgate_health_checks_total",
        "counter",
        "Active checks of endpoints, by how they ended: well, status, body, or reason of the failure.",
        ("service", "outcome"),
    ),
    Family(
        "headgate_endpoints",
        "gauge",
        "Endpoints of a service by state: healthy, unhealthy, ejected, disabled.",
        ("service", "state"),
    ),
    Family(
        "headgate_outlier_ejections_total",
        "counter",
        "Endpoints taken out for a while, by what gave them away.",
        ("service", "cause"),
    ),
    Family("headgate_limit_refused_total", "counter", "Requests refused by a limit.", ("limit",)),
    Family("headgate_limit_shadow_total", "counter", "Requests that a limit in shadow would have refused.", ("limit",)),
    Family("headgate_limit_delayed_total", "counter", "Requests that waited for their turn.", ("limit",)),
    Family("headgate_store_failing", "gauge", "Workers for which the store of the limits is away."),
    Family("headgate_store_fallback_total", "counter", "Requests counted without the store: it was away."),
    Family("headgate_store_evicted_total", "counter", "Keys of limits forgotten before their end: the store was full."),
    Family(
        "headgate_breaker_transitions_total",
        "counter",
        "Changes of a circuit breaker's state that calls have brought about, by the new state.",
        ("service", "to"),
    ),
    Family("headgate_breaker_refused_total", "counter", "Requests refused by a circuit breaker.", ("service",)),
    Family(
        "headgate_breaker_state", "gauge", "State of a circuit breaker: 0 closed, 1 open, 2 half-open.", ("service",)
    ),
    Family("headgate_faults_injected_total", "counter", "Faults injected on purpose.", ("route", "kind")),
    Family("headgate_shed_total", "counter", "Requests refused under overload, by who had it.", ("by", "priority")),
    Family(
        "headgate_overload_pressure",
        "gauge",
        "How much a worker refuses: 0 nothing, 1 all of low priority, 4 everything.",
        ("worker",),
        1000,
    ),
    Family("headgate_concurrency_limit", "gauge", "Requests at once that workers let a service have.", ("service",)),
    Family("headgate_connections_open", "gauge", "Client connections open.", ("listener",)),
    Family("headgate_connections_total", "counter", "Client connections accepted.", ("listener",)),
    Family("headgate_pool_connections", "gauge", "Connections to upstreams.", ("service", "state")),
    Family("headgate_upgrades_open", "gauge", "Upgraded connections (WebSocket) open."),
    Family("headgate_access_log_dropped_total", "counter", "Access log lines dropped: the sink was too slow."),
    _seconds("headgate_loop_lag_seconds", "How late timers of the event loop ran.", (), _LAG_BUCKETS),
    Family("headgate_config_version", "gauge", "Version of the configuration a worker runs.", ("worker",)),
    Family("headgate_worker_restarts_total", "counter", "Workers replaced after an unplanned end."),
)

FAMILIES: Mapping[str, Family] = {family.name: family for family in _TABLE}


class Metrics:
    """The families over one writer. An index from here is counted with `metrics.cells[index] += n`.

    `worker` is the slot's label value, `families` the table; buckets may differ from the default table's, names and
    labels may not.
    """

    __slots__ = (
        "_errors",
        "_lag",
        "_lag_bounds",
        "_writer",
        "access_log_dropped",
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
        self.store_failing = self.gauge("headgate_store_failing")
        self.store_fallback = self.counter("headgate_store_fallback_total")
        self.store_evicted = self.counter("headgate_store_evicted_total")
        self.worker_restarts = self.counter("headgate_worker_restarts_total")
        self.config_version = self.gauge("headgate_config_version", worker)
        self.pressure = self.gauge("headgate_overload_pressure", worker)
        self._lag, self._lag_bounds = self.histogram("headgate_loop_lag_seconds")
        self._errors: dict[str, int] = {}

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

    def fault(self, route: str, kind: str) -> None:
        """Count a fault injected on purpose; `kind` is delay or abort."""
        self.cells[self.counter("headgate_faults_injected_total", route, kind)] += 1

    def shed(self, by: str, priority: str) -> None:
        """Count a request refused under overload of the "gateway" or of a "service"."""
        self.cells[self.counter("headgate_shed_total", by, priority)] += 1

    def loop_lag(self, seconds: float) -> None:
        """Observe by how much a timer ran late."""
        micros = int(seconds * _MICROSECONDS)
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
