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
from headgate.telemetry.families import FAMILIES, METHODS, MICROSECONDS, Family
from headgate.telemetry.naming import asked, table_of
from headgate.telemetry.settings import Metrics as MetricsSettings
from headgate.telemetry.upstream_series import UncountedUpstream, UpstreamSeries

AuthOutcome = Literal["known", "refused", "unavailable"]
VERSIONS = ("1.0", "1.1", "2")
CACHE_RESULTS = frozenset({"hit", "stale", "revalidated", "collapsed", "miss", "bypass"})
"""What the cache makes of a request: answered from a fresh entry, from a stale one, from one that the service said is
good again, with what another request was fetching; or by the service, and by it because the cache had no part in it."""
FROM_CACHE = CACHE_RESULTS - {"miss", "bypass"}


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
        "cache_failing",
        "cells",
        "config_version",
        "in_flight",
        "pressure",
        "protocols",
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
        self.cache_failing = self.gauge("headgate_cache_failing")
        self.store_fallback = self.counter("headgate_store_fallback_total")
        self.store_evicted = self.counter("headgate_store_evicted_total")
        self.worker_restarts = self.counter("headgate_worker_restarts_total")
        self.config_version = self.gauge("headgate_config_version", worker)
        self.pressure = self.gauge("headgate_overload_pressure", worker)
        self._lag, self._lag_bounds = self.histogram("headgate_loop_lag_seconds")
        self._auth: dict[tuple[str, str], int] = {}
        # By the version of HTTP that a client spoke, as far as it was spoken.
        self.protocols: dict[str, int] = {}

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

    def protocol(self, version: str) -> int:
        """Return the cell that counts requests by this version of HTTP."""
        known = version if version in VERSIONS else OTHER
        index = self.protocols[known] = self.counter("headgate_protocol_requests_total", known)
        return index

    def violated(self, kind: str) -> None:
        """Count an HTTP/2 connection that was ended for what its client did; `kind` is one of a fixed few."""
        if self.wanted.enabled:
            self.cells[self.counter("headgate_http2_violations_total", kind)] += 1

    def violated_upstream(self, kind: str) -> None:
        """Count one that was ended for what its upstream did."""
        if self.wanted.enabled:
            self.cells[self.counter("headgate_upstream_http2_violations_total", kind)] += 1

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
        "_cached",
        "_calls",
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
        self._calls: dict[int, int] = {}
        # By result: its cell, and that of bytes or -1.
        self._cached: dict[str, tuple[int, int]] = {}

    def finish(
        self,
        method: str,
        status: int,
        seconds: float,
        request_bytes: int,
        response_bytes: int,
        reason: str = "",
        version: str = "1.1",
    ) -> None:
        """Count a request out: its answer, how long it took in seconds, and the bytes of both bodies.

        `reason` is a key of REASONS where the gateway had one to end it, else ""; `version` that of HTTP.
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
        spoken = self._metrics.protocols.get(version)
        cells[spoken if spoken is not None else self._metrics.protocol(version)] += 1

    def called(self, code: int) -> None:
        """Count a call of gRPC by the code it ended with, one of the seventeen."""
        index = self._calls.get(code)
        if index is None:
            index = self._calls[code] = self._metrics.counter(
                "headgate_grpc_requests_total", self.route, self.service, str(code)
            )
        self._cells[index] += 1

    def cached(self, result: str, response_bytes: int) -> None:
        """Count what the cache made of a request (CACHE_RESULTS), and the bytes of a body that it answered with."""
        found = self._cached.get(result)
        if found is None:
            known = result if result in CACHE_RESULTS else OTHER
            count = self._metrics.counter("headgate_cache_requests_total", self.route, known)
            from_cache = known in FROM_CACHE
            volume = self._metrics.counter("headgate_cache_response_bytes_total", self.route) if from_cache else -1
            found = self._cached[known] = count, volume
        count, volume = found
        self._cells[count] += 1
        if volume >= 0:
            self._cells[volume] += response_bytes

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
        self,
        method: str,
        status: int,
        seconds: float,
        request_bytes: int,
        response_bytes: int,
        reason: str = "",
        version: str = "1.1",
    ) -> None:
        """Let a request out."""
        self._cells[self._in_flight] -= 1

    def called(self, code: int) -> None:
        """Count nothing."""

    def cached(self, result: str, response_bytes: int) -> None:
        """Count nothing."""


def _told(wanted: Wanted, family: Family, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels with "" for the fine ones that are not told apart."""
    if not family.fine:
        return labels
    told = len(labels) - len(family.fine)
    fine = zip(family.fine, labels[told:], strict=True)
    return (*labels[:told], *(value if (family.name, name) in wanted.asked else "" for name, value in fine))
