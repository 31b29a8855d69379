"""The recorded requests, newest of each id, and what each is as spans and as a line of the log.

Law: everything that is said of a recorded request comes from its record (telemetry.record); nothing is kept beside it.
"""

from __future__ import annotations

from typing import TypedDict

from headgate.control.telemetry.ring import Numbered, Ring
from headgate.policy.grpc import counts_as
from headgate.telemetry.record import Attempt, Record


class Span(TypedDict):
    """A span of the query API. Times are seconds since 1970; `parent_id` is None for the first of its trace."""

    id: str
    trace_id: str
    parent_id: str | None
    name: str
    service_name: str
    start_time: float
    end_time: float
    duration_ms: float
    tags: dict[str, str]


class LogItem(TypedDict):
    """A line of the log; `timestamp` in seconds since 1970, ids None where there are none."""

    timestamp: float
    level: str
    message: str
    service_name: str
    trace_id: str | None
    span_id: str | None
    metadata: dict[str, object]


class Requests:
    """The last records, and where the newest of a request id is."""

    def __init__(self, most: int) -> None:
        self.ring: Ring[Record] = Ring(most)
        self._most = most
        self._by_id: dict[str, Numbered[Record]] = {}

    def keep(self, most: int) -> None:
        """Keep so many from now on."""
        self._most = most
        for gone in self.ring.keep(most):
            self._forget(gone)

    def add(self, number: int, record: Record) -> None:
        """Keep a record under a number greater than all before."""
        if not self._most:
            return
        gone = self.ring.add(number, record)
        if gone is not None:
            self._forget(gone)
        self._by_id[record["request_id"]] = Numbered(number, record)

    def find(self, request_id: str) -> Record | None:
        """Return the newest record of this id."""
        found = self._by_id.get(request_id)
        return found.item if found is not None else None

    def _forget(self, gone: Numbered[Record]) -> None:
        # A client may use an id twice; the one that is left then is the newer one's.
        known = self._by_id.get(gone.item["request_id"])
        if known is not None and known.number == gone.number:
            del self._by_id[gone.item["request_id"]]


def spans_of(record: Record) -> list[Span]:
    """Return the spans of a request: its own, then one for each attempt at an endpoint."""
    started = record["started"]
    name = f"{record['method']} {record['path']}"
    tags = _tags(record)
    own = _span(record, record["span_id"], record.get("parent_id"), name, record.get("service", ""), tags)
    return [_placed(own, started, started + record["duration"])] + [
        _attempt(record, attempt, number) for number, attempt in enumerate(record["attempts"], 1)
    ]


def _attempt(record: Record, attempt: Attempt, number: int) -> Span:
    tags = {"endpoint": attempt["endpoint"], "attempt": str(number), "method": record["method"]}
    if "status" in attempt:
        tags["status_code"] = str(attempt["status"])
    for key in ("error", "retried"):
        if key in attempt:
            tags[key] = str(attempt[key])
    if attempt.get("reused"):
        tags["reused"] = "true"
    name, service = f"{record['method']} {attempt['endpoint']}", record.get("service", "")
    span = _span(record, attempt["span_id"], record["span_id"], name, service, tags)
    return _placed(span, record["started"] + attempt["at"], record["started"] + attempt["end"])


def _span(record: Record, id_: str, parent: str | None, name: str, service: str, tags: dict[str, str]) -> Span:
    return {
        "id": id_,
        "trace_id": record["trace_id"],
        "parent_id": parent,
        "name": name,
        "service_name": service,
        "start_time": 0.0,
        "end_time": 0.0,
        "duration_ms": 0.0,
        "tags": tags,
    }


def _placed(span: Span, start: float, end: float) -> Span:
    span["start_time"], span["end_time"] = round(start, 6), round(end, 6)
    span["duration_ms"] = round(max(0.0, end - start) * 1000, 3)
    return span


def _tags(record: Record) -> dict[str, str]:
    """Return what a request's own span says of it, as texts."""
    tags = {
        "method": record["method"],
        "path": record["path"],
        "host": record["host"],
        "client_host": record["client"],
        "status_code": str(record["status"]),
        "request_id": record["request_id"],
    }
    for key in ("route", "pattern", "breaker", "balancer", "cache", "grpc_status"):
        if key in record:
            tags[key] = str(record[key])
    caller = record.get("identity")
    if caller is not None:
        tags["identity_kind"] = caller["kind"]
        tags["identity"] = caller["id"]
    for gate in record["gates"]:
        tags[f"gate.{gate['gate']}"] = gate["verdict"]
    for limit in record["limits"]:
        tags[f"limit.{limit['name']}.remaining"] = str(limit["remaining"])
    if "error" in record:
        tags["error"] = record["error"]
        if "detail" in record:
            tags["error_message"] = record["detail"]
    return tags


def outcome(record: Record) -> int:
    """Return the status that says how a request went: a call of gRPC that failed was answered with 200."""
    status, code = record["status"], record.get("grpc_status", 0)
    return counts_as(code) if code and status < 300 else status


def log_item(record: Record) -> LogItem:
    """Return the line of the log that a request is: in words of the access log."""
    status, went = record["status"], outcome(record)
    metadata: dict[str, object] = {
        "method": record["method"],
        "path": record["path"],
        "host": record["host"],
        "protocol": f"HTTP/{record['version']}",
        "status_code": status,
        "duration_ms": round(record["duration"] * 1000, 3),
        "client": record["client"],
        "request_id": record["request_id"],
        "attempts": len(record["attempts"]),
        "bytes_in": record["bytes_in"],
        "bytes_out": record["bytes_out"],
    }
    for key in ("correlation_id", "route", "service", "cache", "grpc_status", "error", "detail"):
        if key in record:
            metadata[key] = record[key]
    return {
        "timestamp": round(record["started"] + record["duration"], 3),
        "level": "ERROR" if went >= 500 else "WARNING" if went >= 400 else "INFO",
        "message": "Request completed",
        "service_name": record.get("service", ""),
        "trace_id": record["trace_id"],
        "span_id": record["span_id"],
        "metadata": metadata,
    }
