"""What happened, for queries: recorded requests, their spans, logs, errors, metrics, and all of it live.

Lists are newest first and come in pages: `limit` items, and the cursor of the next page in `next`, or in the header
Next-Cursor where the body is the list itself. A cursor stays good while things come in: they are put before it.

Law: nothing here changes anything, and what is found is bounded by what is kept (telemetry.kept).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from headgate.control.admin.access import allowed
from headgate.control.admin.answers import Refused, answers
from headgate.control.admin.breakers import BreakerShown
from headgate.control.admin.shapes import shape_of
from headgate.control.admin.subject import TheGateway
from headgate.control.log import LEVELS, Level
from headgate.control.telemetry.errors import ErrorItem
from headgate.control.telemetry.history import RECENT, Course
from headgate.control.telemetry.part import LimitState, Source
from headgate.control.telemetry.requests import LogItem, Span, spans_of
from headgate.control.telemetry.ring import Numbered, page, part
from headgate.control.telemetry.stream import EVENTS, Event, Stream, TooManyWatch, Watcher
from headgate.core.clock import wall
from headgate.telemetry.prometheus import Point
from headgate.telemetry.record import MOST_ATTEMPTS, Record

router = APIRouter(tags=["telemetry"], prefix="/api/v1/telemetry", dependencies=[allowed("read")])

# Seconds after which a watcher has to come again, and so to show its token again.
LONGEST_WATCH = 3600.0
_SPANS = MOST_ATTEMPTS + 1

_Limit = Annotated[int, Query(ge=1, le=1000, description="Items of a page.")]
_Cursor = Annotated[str | None, Query(pattern=r"^[0-9]{1,18}$", description="`next` of the page before.")]
_Name = Annotated[str | None, Query(max_length=300)]
_Id = Annotated[str | None, Query(max_length=300)]
_Status = Annotated[
    str | None, Query(pattern=r"^([1-5]xx|[1-5][0-9]{2})$", description="A status such as 503, or a class such as 5xx.")
]
_Moment = Annotated[float | None, Query(allow_inf_nan=False, description="Seconds since 1970.")]
_Milliseconds = Annotated[float, Query(ge=0, allow_inf_nan=False, description="Those that took as long, or longer.")]

_NEXT_CURSOR = {
    "headers": {
        "Next-Cursor": {"description": "Cursor of the next page, if there is one", "schema": {"type": "string"}}
    }
}


class RequestPage(BaseModel):
    """Recorded requests, newest first."""

    items: list[shape_of(Record)]  # type: ignore[valid-type]
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


class ErrorPage(BaseModel):
    """Distinct errors, the one met last first."""

    items: list[shape_of(ErrorItem)]  # type: ignore[valid-type]
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


def _listed(shape: Any) -> dict[str, Any]:
    """Document a route whose body is the list itself."""
    return {"response_model": list[shape], "responses": {**answers(), 200: _NEXT_CURSOR}}


@router.get("/requests", response_model=RequestPage, responses=answers())
async def requests(
    gateway: TheGateway,
    route: _Name = None,
    service: _Name = None,
    method: Annotated[str | None, Query(max_length=300)] = None,
    path: Annotated[str | None, Query(max_length=2048, description="What the path begins with.")] = None,
    status: _Status = None,
    error: Annotated[str | None, Query(max_length=100, description="Reason of the failure.")] = None,
    identity: _Id = None,
    tenant: _Id = None,
    trace_id: _Id = None,
    correlation_id: _Id = None,
    min_duration_ms: _Milliseconds = 0,
    since: _Moment = None,
    until: _Moment = None,
    limit: _Limit = 100,
    cursor: _Cursor = None,
) -> Response:
    """List recorded requests with all that was decided on their way (decision records)."""

    def wanted(record: Record) -> bool:
        caller = record.get("identity")
        end = record["started"] + record["duration"]
        return (
            _matches(record.get("route"), route)
            and _matches(record.get("service"), service)
            and (method is None or record["method"] == method.upper())
            and (path is None or record["path"].startswith(path))
            and _has_status(record["status"], status)
            and _matches(record.get("error"), error)
            and _matches(caller["id"] if caller is not None else None, identity)
            and _matches(caller.get("tenant") if caller is not None else None, tenant)
            and _matches(record["trace_id"], trace_id)
            and _matches(record.get("correlation_id", record["request_id"]), correlation_id)
            and record["duration"] * 1000 >= min_duration_ms
            and _within(end, since, until)
        )

    await gateway.parts.latest.fetch()
    found = (each for each in gateway.parts.telemetry.requests.ring.newest(_before(cursor)) if wanted(each.item))
    items, following = page(found, limit)
    return JSONResponse({"items": items, "next": following})


@router.get("/requests/{request_id}", response_model=shape_of(Record, ("spans", list[Span])), responses=answers(404))
async def request(
    gateway: TheGateway, request_id: Annotated[str, Path(max_length=300, description="As the client was given it.")]
) -> Response:
    """Show one recorded request, the newest of this id, and its spans."""
    await gateway.parts.latest.fetch()
    record = gateway.parts.telemetry.requests.find(request_id)
    if record is None:
        raise Refused(404, "no request of this id was recorded, or it is kept no longer; see telemetry.sampling")
    return JSONResponse({**record, "spans": spans_of(record)})


@router.get("/spans", **_listed(shape_of(Span)))
async def spans(
    gateway: TheGateway,
    service: _Name = None,
    trace_id: _Id = None,
    name: Annotated[str | None, Query(max_length=2048, description="What the name contains.")] = None,
    status: _Status = None,
    min_duration_ms: _Milliseconds = 0,
    since: _Moment = None,
    until: _Moment = None,
    limit: _Limit = 100,
    cursor: _Cursor = None,
) -> Response:
    """List spans, each request before its attempts; none while tracing is off."""
    telemetry = gateway.parts.telemetry
    if not telemetry.settings.tracing.enabled:
        return _plain([], None)
    await gateway.parts.latest.fetch()
    before = _before(cursor)

    def all_spans() -> Iterable[Numbered[Span]]:
        for number, record in telemetry.requests.ring.newest(None if before is None else before // _SPANS + 1):
            for place, span in enumerate(spans_of(record)):
                numbered = number * _SPANS + _SPANS - 1 - place
                if before is None or numbered < before:
                    yield Numbered(numbered, span)

    def wanted(span: Span) -> bool:
        return (
            _matches(span["service_name"], service)
            and _matches(span["trace_id"], trace_id)
            and (name is None or name in span["name"])
            and (status is None or _has_status(int(span["tags"].get("status_code", "0")), status))
            and span["duration_ms"] >= min_duration_ms
            and _within(span["end_time"], since, until)
        )

    return _plain(*await asyncio.to_thread(page, (each for each in all_spans() if wanted(each.item)), limit))


@router.get("/logs", **_listed(shape_of(LogItem)))
async def logs(
    gateway: TheGateway,
    source: Annotated[Source | None, Query(description="Only those of requests, or of the gateway itself.")] = None,
    level: Annotated[Level, Query(description="Lowest level.")] = "debug",
    service: _Name = None,
    trace_id: _Id = None,
    text: Annotated[str | None, Query(max_length=300, description="What the message contains.")] = None,
    since: _Moment = None,
    until: _Moment = None,
    limit: _Limit = 100,
    cursor: _Cursor = None,
) -> Response:
    """List lines of the gateway's own log, and of recorded requests."""
    least = LEVELS.index(level)

    def wanted(item: LogItem) -> bool:
        return (
            [each.upper() for each in LEVELS].index(item["level"]) >= least
            and _matches(item["service_name"], service)
            and _matches(item["trace_id"], trace_id)
            and (text is None or text.lower() in item["message"].lower())
            and _within(item["timestamp"], since, until)
        )

    await gateway.parts.latest.fetch()
    found = (each for each in gateway.parts.telemetry.log_items(source, _before(cursor)) if wanted(each.item))
    return _plain(*await asyncio.to_thread(page, found, limit))


@router.get("/errors", response_model=ErrorPage, responses=answers())
async def errors(
    gateway: TheGateway,
    kind: Annotated[
        Literal["request", "log"] | None, Query(description="Of requests, or of the gateway's log.")
    ] = None,
    reason: Annotated[str | None, Query(max_length=100)] = None,
    route: _Name = None,
    service: _Name = None,
    since: _Moment = None,
    limit: _Limit = 100,
    cursor: _Cursor = None,
) -> Response:
    """List distinct errors with how often they were met; of requests, those of recorded ones."""

    def wanted(item: ErrorItem) -> bool:
        return (
            _matches(item["kind"], kind)
            and _matches(item["reason"], reason)
            and _matches(item["route"], route)
            and _matches(item["service"], service)
            and _within(item["last_seen"], since, None)
        )

    await gateway.parts.latest.fetch()
    found = [each for each in gateway.parts.telemetry.errors.newest() if wanted(each)]
    # The list is short, and its order changes with each error: a cursor is a place in it.
    items, following = part(found, _before(cursor) or 0, limit)
    return JSONResponse({"items": items, "next": following})


@router.get("/metrics", **_listed(shape_of(Point)))
async def metrics(
    gateway: TheGateway,
    name: Annotated[str | None, Query(max_length=300, description="What the name begins with.")] = None,
    route: _Name = None,
    service: _Name = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Items of a page.")] = 1000,
    cursor: _Cursor = None,
) -> Response:
    """List all numbers that /metrics shows, as it names them, in its order."""

    def wanted(point: Point) -> bool:
        labels = point["labels"]
        return (
            (name is None or point["name"].startswith(name))
            and _matches(labels.get("route"), route)
            and _matches(labels.get("service"), service)
        )

    found = [each for each in await gateway.parts.exposition.points(wall()) if wanted(each)]
    return _plain(*part(found, _before(cursor) or 0, limit))


@router.get("/circuit-breakers", responses=answers(), response_model_exclude_unset=True)
async def circuit_breakers(gateway: TheGateway) -> dict[str, BreakerShown]:
    """Show the circuit breakers of all services, by service."""
    return {service: BreakerShown(**each) for service, each in gateway.parts.breakers.describe().items()}


@router.get("/rate-limiters", response_model=dict[str, shape_of(LimitState)], responses=answers())  # type: ignore[misc]
async def rate_limiters(gateway: TheGateway) -> Response:
    """Show the limits of services, by service, as their last recorded requests found them."""
    await gateway.parts.latest.fetch()
    return JSONResponse(gateway.parts.telemetry.limits_of_services())


@router.get("/history", response_model=shape_of(Course), responses=answers())
async def history(
    gateway: TheGateway,
    seconds: Annotated[float, Query(gt=0, le=86_400, description="How far back.")] = RECENT,
    step: Annotated[float, Query(ge=1, le=3600, description="Seconds of one value.")] = 1,
) -> Response:
    """Show the course of traffic for charts: rates a second, percentiles in seconds (null without a request)."""
    return JSONResponse(gateway.parts.telemetry.history.course(seconds, step))


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={**answers(), 200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def stream(
    gateway: TheGateway,
    events: Annotated[list[Event] | None, Query(description="Only these; all by default.", max_length=20)] = None,
) -> Response:
    """Stream events as they happen (server-sent events): tick, request, log, change; lost tells of too slow reading."""
    try:
        watcher = gateway.parts.telemetry.stream.join(events or EVENTS)
    except TooManyWatch:
        raise Refused(429, "so many watch already that there is no place", {"Retry-After": "10"}) from None
    return _Watch(gateway.parts.telemetry.stream, watcher)


class _Watch(StreamingResponse):
    """The answer of one watcher: whichever way it ends, its place is free again."""

    def __init__(self, of: Stream, watcher: Watcher) -> None:
        super().__init__(watcher.events(), media_type="text/event-stream")
        self._of = of
        self._watcher = watcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        end = asyncio.get_running_loop().call_later(LONGEST_WATCH, self._watcher.close)
        try:
            await super().__call__(scope, receive, send)
        finally:
            end.cancel()
            self._of.leave(self._watcher)


def _plain(items: list[Any], following: str | None) -> Response:
    return JSONResponse(items, headers={"Next-Cursor": following} if following is not None else None)


def _before(cursor: str | None) -> int | None:
    return int(cursor) if cursor is not None else None


def _matches(known: str | None, wanted: str | None) -> bool:
    return wanted is None or known == wanted


def _has_status(status: int, wanted: str | None) -> bool:
    return wanted is None or (str(status // 100) == wanted[0] if wanted.endswith("xx") else str(status) == wanted)


def _within(moment: float, since: float | None, until: float | None) -> bool:
    return (since is None or moment >= since) and (until is None or moment <= until)
