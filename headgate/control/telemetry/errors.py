"""Distinct errors: each kind once, with how often and when it was met last.

A request's error is told from others by its reason and where it happened (route, service); an error of the gateway's
own log by its words and the last place of its traceback. Thousands of the same cost a number.

Law: of more than the configured number the one met longest ago is forgotten. Counts are those of what control was
told: recorded requests, and lines that were written; the metrics count all of them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, TypedDict

from headgate.control.log import Line
from headgate.core.failure import REASONS
from headgate.telemetry.record import Record


class ErrorItem(TypedDict):
    """One kind of error. `last` holds what was known of the last one, such as its request id or traceback."""

    id: int
    kind: Literal["request", "log"]
    reason: str
    side: str
    message: str
    route: str
    service: str
    count: int
    first_seen: float
    last_seen: float
    last: dict[str, object]


class Errors:
    """The last distinct errors."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._next = 1
        self._known: OrderedDict[tuple[str, ...], ErrorItem] = OrderedDict()

    def keep(self, most: int) -> None:
        """Keep so many from now on."""
        self._most = most
        while len(self._known) > most:
            self._known.popitem(last=False)

    def take_request(self, record: Record) -> None:
        """Note the error of a request, if it has one."""
        reason = record.get("error")
        if reason is None:
            return
        route, service = record.get("route", ""), record.get("service", "")
        row = REASONS.get(reason)
        item = self._met(("request", reason, route, service), record["started"] + record["duration"])
        if item is None:
            return
        item["kind"], item["reason"], item["route"], item["service"] = "request", reason, route, service
        item["side"] = row.side if row is not None else ""
        item["message"] = row.message if row is not None else ""
        last: dict[str, object] = {key: record[key] for key in ("request_id", "trace_id", "method", "path", "status")}
        if "detail" in record:
            last["detail"] = record["detail"]
        if record["attempts"]:
            last["endpoint"] = record["attempts"][-1]["endpoint"]
        item["last"] = last

    def take_line(self, line: Line) -> None:
        """Note a line of the gateway's own log, if it tells of an error."""
        if line.level != "error":
            return
        trace = str(line.fields.get("traceback", ""))
        place = trace.rstrip().splitlines()[-3:]
        item = self._met(("log", line.process, line.message, *place), line.at)
        if item is None:
            return
        item["kind"], item["reason"], item["side"], item["message"] = "log", "", "gateway", line.message
        item["last"] = {"process": line.process, **line.fields}

    def newest(self) -> list[ErrorItem]:
        """Return all of them, the one met last first."""
        return list(reversed(self._known.values()))

    def _met(self, key: tuple[str, ...], at: float) -> ErrorItem | None:
        item = self._known.get(key)
        if item is None:
            if not self._most:
                return None
            item = self._known[key] = {
                "id": self._next,
                "kind": "request",
                "reason": "",
                "side": "",
                "message": "",
                "route": "",
                "service": "",
                "count": 0,
                "first_seen": round(at, 3),
                "last_seen": 0.0,
                "last": {},
            }
            self._next += 1
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        item["count"] += 1
        item["last_seen"] = round(at, 3)
        return item
