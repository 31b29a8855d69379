"""Records as spans of the OpenTelemetry SDK, named as its semantic conventions for HTTP have it.

Law: only control.telemetry.otlp imports this file, in its thread: it brings the SDK.
"""

from __future__ import annotations

import logging
import re

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import AttributeValue

from headgate.control.telemetry.requests import outcome
from headgate.core.failure import REASONS
from headgate.telemetry.families import METHODS
from headgate.telemetry.record import Attempt, Record
from headgate.telemetry.settings import Otlp

_NANOSECONDS = 1_000_000_000
_PORT_DIGITS = 5

_Attributes = dict[str, AttributeValue]


class SpanMaker:
    """Makes spans of records, all of one resource."""

    def __init__(self, settings: Otlp, version: str) -> None:
        known = {"service.name": settings.service_name, "service.version": version}
        self._resource = Resource.create({**known, **settings.attributes})
        self._scope = InstrumentationScope("headgate", version)

    def spans(self, record: Record) -> list[ReadableSpan]:
        """Return a request's own span, then one for each attempt."""
        context = _context(record, record["span_id"])
        parent = _context(record, record["parent_id"], remote=True) if "parent_id" in record else None
        method = record["method"] if record["method"] in METHODS else "HTTP"
        # A name that clients choose would make as many kinds of spans as there are paths.
        name = f"{method} {record['pattern']}" if "pattern" in record else method
        failed = outcome(record) >= 500
        own = ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            _of_request(record),
            kind=SpanKind.SERVER,
            instrumentation_scope=self._scope,
            status=_status(failed, record.get("error", "")),
            start_time=_nanoseconds(record["started"]),
            end_time=_nanoseconds(record["started"] + record["duration"]),
        )
        return [own, *(self._attempt(record, context, each, place) for place, each in enumerate(record["attempts"]))]

    def _attempt(self, record: Record, parent: SpanContext, attempt: Attempt, place: int) -> ReadableSpan:
        method = record["method"] if record["method"] in METHODS else "HTTP"
        status, error = attempt.get("status", 0), attempt.get("error", "")
        return ReadableSpan(
            method,
            _context(record, attempt["span_id"]),
            parent,
            self._resource,
            _of_attempt(record, attempt, place),
            kind=SpanKind.CLIENT,
            instrumentation_scope=self._scope,
            status=_status(bool(error) or status >= 400, error),
            start_time=_nanoseconds(record["started"] + attempt["at"]),
            end_time=_nanoseconds(record["started"] + attempt["end"]),
        )


def _of_request(record: Record) -> _Attributes:
    found: _Attributes = {
        **_method(record["method"]),
        "url.scheme": record["scheme"],
        "url.path": record["path"],
        "server.address": record["host"],
        "client.address": record["client"],
        "network.protocol.version": record["version"],
        "http.response.status_code": record["status"],
        "http.request.body.size": record["bytes_in"],
        "http.response.body.size": record["bytes_out"],
        "headgate.request_id": record["request_id"],
        "headgate.worker": record["worker"],
        "headgate.plan": record["plan"],
        "headgate.sampled": record["sampled"],
    }
    if "pattern" in record:
        found["http.route"] = record["pattern"]
    for key in ("correlation_id", "route", "service", "cache", "breaker", "balancer", "detail"):
        if key in record:
            found[f"headgate.{key}"] = str(record[key])
    if "grpc_status" in record:
        found["rpc.grpc.status_code"] = record["grpc_status"]
    caller = record.get("identity")
    if caller is not None:
        found["enduser.id"] = caller["id"]
        found["headgate.identity.kind"] = caller["kind"]
        more = {"tenant": caller.get("tenant"), "tier": caller.get("tier"), "method": caller.get("method")}
        found |= {f"headgate.identity.{key}": value for key, value in more.items() if value is not None}
    for gate in record["gates"]:
        found[f"headgate.gate.{gate['gate']}"] = gate["verdict"]
        if "seconds" in gate:
            found[f"headgate.gate.{gate['gate']}.seconds"] = gate["seconds"]
    for limit in record["limits"]:
        found[f"headgate.limit.{limit['name']}.remaining"] = limit["remaining"]
        found[f"headgate.limit.{limit['name']}.allowed"] = limit["allowed"]
    if "error" in record:
        found["error.type"] = record["error"]
    elif outcome(record) >= 500:
        found["error.type"] = str(record.get("grpc_status", record["status"]))
    return found


def _of_attempt(record: Record, attempt: Attempt, place: int) -> _Attributes:
    host, port = _place(attempt["endpoint"])
    found: _Attributes = {
        **_method(record["method"]),
        "server.address": host,
        "headgate.endpoint": attempt["endpoint"],
        "headgate.connection.reused": attempt.get("reused", False),
    }
    if port:
        found["server.port"] = port
    if "service" in record:
        found["headgate.service"] = record["service"]
    if place:
        found["http.request.resend_count"] = place
    if "status" in attempt:
        found["http.response.status_code"] = attempt["status"]
    if "head" in attempt:
        found["headgate.head.seconds"] = round(attempt["head"] - attempt["at"], 6)
    if "retried" in attempt:
        found["headgate.retried"] = attempt["retried"]
    if "error" in attempt:
        found["error.type"] = attempt["error"]
    elif attempt.get("status", 0) >= 400:
        found["error.type"] = str(attempt["status"])
    return found


def _method(method: str) -> _Attributes:
    known = method in METHODS
    # The conventions want what is no known method in a place of its own.
    return (
        {"http.request.method": method}
        if known
        else {
            "http.request.method": "_OTHER",
            "http.request.method_original": method,
        }
    )


def _place(endpoint: str) -> tuple[str, int]:
    host, colon, port = endpoint.rpartition(":")
    return (host.strip("[]"), int(port)) if colon and port.isdecimal() and len(port) <= _PORT_DIGITS else (endpoint, 0)


def _context(record: Record, span_id: str, remote: bool = False) -> SpanContext:
    state = TraceState.from_header([record["trace_state"]]) if record.get("trace_state") else None
    return SpanContext(int(record["trace_id"], 16), int(span_id, 16), remote, TraceFlags(TraceFlags.SAMPLED), state)


def _status(failed: bool, reason: str) -> Status:
    if not failed:
        return Status()
    row = REASONS.get(reason)
    return Status(StatusCode.ERROR, row.message if row is not None else None)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * _NANOSECONDS)


class _LastWords(logging.Handler):
    """Keeps what the SDK said last of a failure, and lets nobody else hear it: it says so with each batch."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.words = ""

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        # Numbers and codes only: other values may hold what is nobody's business.
        codes = [str(each) for each in arguments if re.fullmatch(r"\d{3}|StatusCode\.[A-Z_]+", str(each))]
        said = re.split(r"[%:,]", str(record.msg), maxsplit=1)[0].strip()
        self.words = f"{said} ({', '.join(codes)})" if codes else said


_LAST = _LastWords()
_SDK = logging.getLogger("opentelemetry")
_SDK.addHandler(_LAST)
_SDK.propagate = False


def last_words() -> str:
    """Return what the SDK said last of a failure."""
    return _LAST.words
