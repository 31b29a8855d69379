"""Requests that stand for many: for each series of a duration, and each part of the range of durations, a traced one.

Durations are told apart in quarters of a power of two, so whatever buckets a histogram has, a fitting one is found.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from math import floor, log2

from headgate.telemetry.cells import OTHER
from headgate.telemetry.families import METHODS
from headgate.telemetry.naming import Exemplar
from headgate.telemetry.record import Record

MOST_SERIES = 1000

_REQUESTS = "headgate_request_duration_seconds"
_UPSTREAM = "headgate_upstream_duration_seconds"
_PARTS = 4
# From a microsecond up to an hour.
_LEAST, _MOST = -20 * _PARTS, 12 * _PARTS


class Exemplars:
    """The newest traced request of each kind. Of more than MOST_SERIES the one used longest ago is forgotten."""

    __slots__ = ("_series",)

    def __init__(self) -> None:
        self._series: OrderedDict[tuple[str, str, str], dict[int, Exemplar]] = OrderedDict()

    def take(self, record: Record) -> None:
        """Keep a record, and its tries, if it is traced."""
        if not record["traced"]:
            return
        route, service, trace_id = record.get("route", ""), record.get("service", ""), record["trace_id"]
        method = record["method"] if record["method"] in METHODS else OTHER
        started, duration = record["started"], record["duration"]
        labels = (route, service, method, str(record["status"]))
        exemplar = Exemplar(labels, duration, round(started + duration, 3), trace_id, record["span_id"])
        self._keep((_REQUESTS, route, service), exemplar)
        for attempt in record["attempts"]:
            if "head" in attempt and "status" in attempt:
                labels_up = (service, method, str(attempt["status"]))
                took, at = attempt["head"] - attempt["at"], round(started + attempt["head"], 3)
                self._keep((_UPSTREAM, "", service), Exemplar(labels_up, took, at, trace_id, attempt["span_id"]))

    def of(self, family: str) -> Iterator[Exemplar]:
        """Go through those of one family of metrics; any thread may ask."""
        for (name, _, _), found in list(self._series.items()):
            if name == family:
                yield from list(found.values())

    def _keep(self, key: tuple[str, str, str], exemplar: Exemplar) -> None:
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = {}
            if len(self._series) > MOST_SERIES:
                self._series.popitem(last=False)
        self._series.move_to_end(key)
        part = floor(log2(exemplar.value) * _PARTS) if exemplar.value > 0 else _LEAST
        found[max(_LEAST, min(part, _MOST))] = exemplar
