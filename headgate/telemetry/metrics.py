"""What the gateway counts: the additions that a finished request costs, to the families of telemetry.families.

Laws:
- Label values come from configuration (route, service, listener, worker slot) or from a fixed list (method, status,
  reason, outcome, state), never from a client: a value outside its list is counted as "other". So the number of
  series has a bound that no traffic can move.
- Durations are whole microseconds in the cells; `Family.unit` says by how much a reader divides.
- A fine label (telemetry.families) that no form shows is counted as "": there is one place where this is decided.
- Series of a route appear with its first request: 10,000 routes cost nothing until they are used, and a scrape
  lists only what has happened. Families without labels are there from the start, at zero.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Literal, NamedTuple

from headgate.core.failure import REASONS
from headgate.telemetry.cells import OTHER, SeriesName, SlotWriter
from headgate.telemetry.families import FAMILIES, MICROSECONDS, Family
from headgate.telemetry.naming import asked, table_of
from headgate.telemetry.settings import Metrics as MetricsSettings

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
POOL_STATES = ("idle", "busy")
AuthOutcome = Literal["known", "refused", "unavailable"]
RETRY_REASONS = frozenset({*REASONS, "status", "hedge"})


class Wanted(NamedTuple):
    """How to count: the families with their buckets, the fine labels to tell apart, and whether to count requests.

    What counts for a Plan keeps the one it was made with: bounds and cells of a histogram belong together.
    """

    families: Mapping[str, Family]
    asked: frozenset[tuple[str, str]] = frozenset()
    enabled: bool = True

    def tells(self, family: str, *labels: str) -> bool:
        """Tell whether one of these fine labels is told apart."""
        return any((family, label) in self.asked for label in labels)


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
        "in_flight",
        "pressure",
        "store_evicted",
        "store_failing",
        "store_fallback",
        "upgrades_open",
        "wanted",
        "worker_restarts",
    )

    def __init__(self, writer: SlotWriter, worker: str = "0", families: Mapping[str, Family] = FAMILIES) -> None:
        self._writer = writer
        self.cells = writer.cells
        self.wanted = Wanted(families)
        self._errors: dict[tuple[str, ...], int] = {}
        self._declare(families)
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
        self._auth: dict[tuple[str, str], int] = {}

    def follow(self, settings: MetricsSettings) -> None:
        """Count as this configuration wants it, from the next series on that is asked for.

        Raises:
            ValueError: if there is no room for histograms with its buckets; nothing has changed then.
        """
        table = table_of(settings)
        self._declare(table)
        self.wanted = Wanted(table, asked(settings), settings.enabled)
        self._errors = {}

    def _declare(self, families: Mapping[str, Family]) -> None:
        for family in families.values():
            self._writer.declare(SeriesName(family.name, family.kind, ("",) * len(family.labels), family.bounds))

    def counter(self, name: str, *labels: str, wanted: Wanted | None = None) -> int:
        """Return the cell of a counter; `labels` in the family's order, from configuration or fixed lists only.

        Raises:
            KeyError: if the table has no such family. A series outside the table could be counted but not shown.
        """
        wanted = wanted or self.wanted
        return self._writer.counter(name, _told(wanted, wanted.families[name], labels))

    def gauge(self, name: str, *labels: str) -> int:
        """Return the cell of a gauge. Add to it and subtract from it, see `SlotWriter.gauge`."""
        return self._writer.gauge(self.wanted.families[name].name, labels)

    def histogram(self, name: str, *labels: str, wanted: Wanted | None = None) -> tuple[int, tuple[int, ...]]:
        """Return a histogram's first cell and its bounds in cell units."""
        wanted = wanted or self.wanted
        family = wanted.families[name]
        bounds = family.bounds
        return self._writer.histogram(name, _told(wanted, family, labels), bounds), bounds

    def requests(self, route: str, service: str) -> RequestSeries:
        """Make what counts the requests of one route to one service; once for each Plan."""
        return RequestSeries(self, route, service) if self.wanted.enabled else Uncounted(self, route, service)

    def upstream(self, service: str) -> UpstreamSeries:
        """Make what counts the attempts at one service; once for each cluster."""
        return UpstreamSeries(self, service) if self.wanted.enabled else UncountedUpstream(self, service)

    def begin(self) -> None:
        """Count a request in. `RequestSeries.finish` counts it out, exactly once."""
        self.cells[self.in_flight] += 1

    def error(self, reason: str, route: str = "", service: str = "", method: str = "") -> None:
        """Count an answer that the gateway made itself; `reason` is a key of REASONS."""
        key = (reason if reason in REASONS else OTHER, route, service, method if method in METHODS else OTHER)
        index = self._errors.get(key)
        if index is None:
            index = self._errors[key] = self.counter("headgate_errors_total", *key)
        self.cells[index] += 1

    def limit_refused(self, limit: str, caller: str, route: str, service: str, method: str) -> None:
        """Count a request that a limit refused; `caller` is the kind of its identity."""
        labels = (limit, caller, route, service, method if method in METHODS else OTHER)
        self.cells[self.counter("headgate_limit_refused_total", *labels)] += 1

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
        "_by_reason",
        "_bytes_in",
        "_bytes_out",
        "_cells",
        "_counts",
        "_in_flight",
        "_metrics",
        "_wanted",
        "route",
        "service",
    )

    def __init__(self, metrics: Metrics, route: str, service: str) -> None:
        self._metrics = metrics
        self._cells = metrics.cells
        self._in_flight = metrics.in_flight
        self.route = route
        self.service = service
        # The cell of the count and the first of the duration. Bounded by METHODS x statuses (x REASONS): only listed
        # values become keys, whatever a client or an upstream sends.
        self._counts: dict[tuple[str | int, ...], tuple[int, int]] = {}
        self._wanted = metrics.wanted
        self._by_reason = metrics.wanted.tells("headgate_requests_total", "reason")
        self._bytes_in = self._bytes_out = 0
        self._bounds: tuple[int, ...] = ()

    def finish(
        self, method: str, status: int, seconds: float, request_bytes: int, response_bytes: int, reason: str = ""
    ) -> None:
        """Count a request out: its answer, how long it took in seconds, and the bytes of both bodies.

        `reason` is a key of REASONS where the gateway had one to end it, else "".
        """
        found = self._counts.get((method, status, reason) if self._by_reason else (method, status))
        if found is None:
            found = self._register(method, status, reason)
        count, duration = found
        cells = self._cells
        cells[count] += 1
        cells[self._in_flight] -= 1
        micros = int(seconds * 1_000_000)
        cells[duration] += micros
        cells[duration + 1 + bisect_left(self._bounds, micros)] += 1
        if request_bytes:
            cells[self._bytes_in] += request_bytes
        if response_bytes:
            cells[self._bytes_out] += response_bytes

    def _register(self, method: str, status: int, reason: str) -> tuple[int, int]:
        metrics = self._metrics
        if not self._counts:
            self._bytes_in = metrics.counter("headgate_request_bytes_total", self.route)
            self._bytes_out = metrics.counter("headgate_response_bytes_total", self.route)
        method = method if method in METHODS else OTHER
        status = status if 100 <= status <= 599 else 0
        reason = reason if not reason or reason in REASONS else OTHER
        key = (method, status, reason) if self._by_reason else (method, status)
        found = self._counts.get(key)
        if found is None:
            labels = (self.route, self.service, method, str(status) if status else OTHER)
            wanted = self._wanted
            count = metrics.counter("headgate_requests_total", *labels, reason, wanted=wanted)
            duration, self._bounds = metrics.histogram("headgate_request_duration_seconds", *labels, wanted=wanted)
            found = self._counts[key] = count, duration
        return found


class Uncounted(RequestSeries):
    """Requests while metrics are off: only what is in flight is known."""

    __slots__ = ()

    def finish(
        self, method: str, status: int, seconds: float, request_bytes: int, response_bytes: int, reason: str = ""
    ) -> None:
        """Let a request out."""
        self._cells[self._in_flight] -= 1


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


def _told(wanted: Wanted, family: Family, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels with "" for the fine ones that are not told apart."""
    if not family.fine:
        return labels
    told = len(labels) - len(family.fine)
    fine = zip(family.fine, labels[told:], strict=True)
    return (*labels[:told], *(value if (family.name, name) in wanted.asked else "" for name, value in fine))


def _known(method: str) -> str:
    return method if not method or method in METHODS else OTHER
