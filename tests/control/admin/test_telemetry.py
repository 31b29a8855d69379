"""What happened, over the admin API: lists in pages, filters, one record, and the live stream."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

import httpx
import pytest
from pydantic import BaseModel, TypeAdapter
from starlette.types import Message

from headgate.control.admin.app import make_app
from headgate.control.admin.shapes import shape_of
from headgate.control.log import Line, Log
from headgate.control.telemetry.errors import ErrorItem
from headgate.control.telemetry.history import Course
from headgate.control.telemetry.part import States, Telemetry
from headgate.control.telemetry.requests import LogItem, Span
from headgate.control.telemetry.stream import MOST_CLIENTS
from headgate.telemetry.prometheus import Point
from headgate.telemetry.record import Record
from tests.control.admin.subject import HOST, OWNER, Subject, as_role
from tests.control.telemetry.records import STARTED, attempt, limit, record
from tests.proxy.stage import resolved, to

ROOT = "/api/v1/telemetry"
LISTS = ("requests", "spans", "logs", "errors", "metrics")


def unstarted(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start nothing: seconds are closed by hand here."""
    work.close()
    return cast("asyncio.Task[Any]", None)


def subject_with(*records: Record, **telemetry: Any) -> Subject:
    """Make a gateway that recorded these requests, oldest first."""
    subject = Subject(config=to("http://a", service={"circuit_breaker": {"threshold": 3}}))
    known = Telemetry([], subject.log, unstarted, lambda: States({}, {}), lambda: 1)
    Log.listeners.pop()

    async def follow() -> None:
        settings = {"tracing": {"enabled": True}, **telemetry}
        known.follow(resolved(to("http://a", service={"rate_limit": {"requests": 10}}, telemetry=settings)))

    asyncio.run(follow())
    for each in records:
        known.take(each)
    subject.parts.telemetry = known
    return subject


def busy() -> Subject:
    subject = subject_with(
        record(1),
        record(2, method="POST", path="/carts/2", route="carts", status=201, duration=1.5),
        record(3, service="search", status=503, error="breaker_open", attempts=[], identity=None),
        record(4, status=502, error="connect_refused", attempts=[attempt(error="connect_refused", status=None)]),
        record(5, correlation_id="mine", identity={"kind": "api_key", "id": "key-1", "tenant": "red"}),
    )
    subject.parts.telemetry.take_line(Line(STARTED + 100, "warning", "control", "the Store is away", {"detail": "x"}))
    return subject


@pytest.fixture(scope="module")
def shop() -> Subject:
    """A gateway that a test only reads from."""
    return busy()


@pytest.fixture
def fresh() -> Subject:
    """A gateway of the test's own."""
    return busy()


# Making the application takes longer than asking it.
app_of = lru_cache(2)(make_app)


def ask(subject: Subject, path: str, headers: dict[str, str] = OWNER) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app_of(subject), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            return await client.get(f"{ROOT}/{path}", headers=headers)

    return asyncio.run(asked())


def got(subject: Subject, where: str, /, **query: Any) -> httpx.Response:
    answer = ask(subject, str(httpx.URL(where, params=query)))
    assert answer.status_code == 200, answer.text
    return answer


def ids(answer: httpx.Response) -> list[str]:
    return [each["request_id"].removeprefix("request-") for each in answer.json()["items"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, "54321"),
        ({"route": "carts"}, "2"),
        ({"service": "search"}, "3"),
        ({"method": "post"}, "2"),
        ({"path": "/orders"}, "5431"),
        ({"status": "5xx"}, "43"),
        ({"status": "502"}, "4"),
        ({"error": "breaker_open"}, "3"),
        ({"identity": "ann"}, "421"),
        ({"tenant": "red"}, "5"),
        ({"trace_id": f"{2:032x}"}, "2"),
        ({"correlation_id": "mine"}, "5"),
        ({"correlation_id": "request-4"}, "4"),
        ({"min_duration_ms": "1000"}, "2"),
        ({"since": STARTED + 3}, "5432"),
        ({"until": STARTED + 3}, "1"),
        ({"status": "5xx", "service": "api"}, "4"),
        ({"route": "nowhere"}, ""),
    ],
)
def test_requests_are_filtered(shop: Subject, query: dict[str, Any], found: str) -> None:
    assert "".join(ids(got(shop, "requests", **query))) == found


def test_a_record_is_shown_whole_with_its_spans(shop: Subject) -> None:
    shown = got(shop, "requests/request-4").json()
    spans = shown.pop("spans")
    assert shown == shop.parts.telemetry.requests.find("request-4")
    assert [span["parent_id"] for span in spans] == [None, spans[0]["id"]]
    missing = ask(shop, "requests/request-9")
    assert missing.status_code == 404 and "no request of this id" in missing.json()["error"]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("name", ["requests", "spans", "logs", "errors"])
def test_pages_together_are_the_whole(fresh: Subject, name: str, size: int) -> None:
    def items(answer: httpx.Response) -> tuple[list[Any], str | None]:
        body = answer.json()
        return (body, answer.headers.get("next-cursor")) if isinstance(body, list) else (body["items"], body["next"])

    whole, following = items(got(fresh, name))
    assert following is None and len(whole) > 1
    pages: list[Any] = []
    found, following = items(got(fresh, name, limit=size))
    pages += found
    while following is not None:
        if name != "errors":
            # What comes in meanwhile stands before it all.
            fresh.parts.telemetry.take(record(99))
        found, following = items(got(fresh, name, limit=size, cursor=following))
        assert 0 < len(found) <= size
        pages += found
    assert pages == whole


def test_spans_are_filtered(shop: Subject) -> None:
    assert [span["name"] for span in got(shop, "spans", service="search").json()] == ["GET /orders/3"]
    assert [span["name"] for span in got(shop, "spans", trace_id=f"{1:032x}").json()] == [
        "GET /orders/1",
        "GET 10.0.0.1:80",
    ]
    assert [span["name"] for span in got(shop, "spans", name="carts").json()] == ["POST /carts/2"]
    assert [span["tags"]["status_code"] for span in got(shop, "spans", status="5xx").json()] == ["502", "503"]
    assert len(got(shop, "spans", min_duration_ms=1000).json()) == 1


def test_without_tracing_there_are_records_and_no_spans() -> None:
    subject = subject_with(record(1), tracing={"enabled": False})
    assert got(subject, "spans").json() == []
    assert ids(got(subject, "requests")) == ["1"]


def test_lines_are_filtered(shop: Subject) -> None:
    def messages(**query: Any) -> list[str]:
        return [each["message"] for each in got(shop, "logs", **query).json()]

    assert messages(source="gateway") == messages(text="store") == ["the Store is away"]
    assert messages(source="requests") == ["Request completed"] * 5
    assert [each["level"] for each in got(shop, "logs", level="error").json()] == ["ERROR", "ERROR"]
    assert messages(level="warning", service="headgate/control") == ["the Store is away"]
    assert messages(trace_id=f"{2:032x}") == ["Request completed"]


def test_errors_are_filtered(shop: Subject) -> None:
    assert [each["reason"] for each in got(shop, "errors").json()["items"]] == ["connect_refused", "breaker_open"]
    assert [each["reason"] for each in got(shop, "errors", service="search").json()["items"]] == ["breaker_open"]
    assert got(shop, "errors", kind="log").json() == {"items": [], "next": None}


def test_numbers_are_those_of_metrics(shop: Subject) -> None:
    names = {each["name"] for each in got(shop, "metrics", name="headgate_endpoints").json()}
    assert names == {"headgate_endpoints"}
    first = got(shop, "metrics", limit=2)
    assert len(first.json()) == 2
    assert got(shop, "metrics", limit=2, cursor=first.headers["next-cursor"]).json()[0] not in first.json()


def test_breakers_and_limits_are_shown_by_service(shop: Subject) -> None:
    assert got(shop, "circuit-breakers").json()["api"]["threshold"] == 3
    shown = got(shop, "rate-limiters").json()["api"]
    assert (shown["requests"], shown["remaining"]) == (10, 10)


def test_the_course_has_a_value_for_each_moment(fresh: Subject) -> None:
    history = fresh.parts.telemetry.history
    for second in range(3):
        history.close_second(STARTED + second, 1.0)
    course = got(fresh, "history", seconds=2).json()
    assert course["at"] == [STARTED + 1, STARTED + 2]
    assert course["requests"] == [0.0, 0.0] and course["p95"] == [None, None]


SHAPES: dict[str, tuple[str, Any]] = {
    "requests?limit=5": ("items", list[shape_of(Record)]),  # type: ignore[misc]
    "requests/request-1": ("", shape_of(Record, ("spans", list[Span]))),
    "spans": ("", list[shape_of(Span)]),  # type: ignore[misc]
    "logs": ("", list[shape_of(LogItem)]),  # type: ignore[misc]
    "errors": ("items", list[shape_of(ErrorItem)]),  # type: ignore[misc]
    "metrics": ("", list[shape_of(Point)]),  # type: ignore[misc]
    "history": ("", shape_of(Course)),
}


@pytest.mark.parametrize("path", SHAPES)
def test_answers_have_the_shapes_that_are_documented(shop: Subject, path: str) -> None:
    inside, shape = SHAPES[path]
    body = ask(shop, path).json()
    found: Any = TypeAdapter(shape).validate_python(body[inside] if inside else body, strict=True)

    def known(value: Any, raw: Any) -> None:
        """Hold that nothing is said that no shape mentions."""
        if isinstance(value, BaseModel):
            assert raw.keys() == value.model_fields_set
            for name in raw:
                known(getattr(value, name), raw[name])
        elif isinstance(value, list):
            for each, its in zip(value, raw, strict=True):
                known(each, its)

    known(found, body[inside] if inside else body)


@pytest.mark.parametrize(
    "query",
    [
        "requests?limit=0",
        "requests?limit=1001",
        "requests?limit=many",
        "requests?cursor=-1",
        "requests?cursor=1e5",
        "requests?status=6xx",
        "requests?since=nan",
        "requests?min_duration_ms=inf",
        "requests?min_duration_ms=-1",
        "spans?cursor=" + "9" * 19,
        "logs?level=loud",
        "logs?source=nobody",
        "errors?kind=other",
        "metrics?limit=10001",
        "history?seconds=0",
        "history?step=0.5",
        "stream?events=everything",
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(shop: Subject, query: str) -> None:
    answer = ask(shop, query)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(f"query.{query.split('?')[1].split('=')[0]}")


@pytest.mark.parametrize(
    "path", [*LISTS, "requests/request-1", "circuit-breakers", "rate-limiters", "history", "stream"]
)
def test_nobody_reads_without_a_token(shop: Subject, path: str) -> None:
    assert ask(shop, path, {"host": HOST}).status_code == 401
    if path != "stream":
        assert ask(shop, path, as_role("read")).status_code == 200


class Watching:
    """A client of the stream, below HTTP."""

    def __init__(self, subject: Subject, query: bytes = b"") -> None:
        self.told: asyncio.Queue[Message] = asyncio.Queue()
        self._left = asyncio.Event()
        self._asked = False
        headers = [(name.encode(), value.encode()) for name, value in OWNER.items()]
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": f"{ROOT}/stream",
            "query_string": query,
            "headers": headers,
        }
        scope |= {"client": ("127.0.0.1", 4), "server": ("127.0.0.1", 8081), "scheme": "http", "root_path": ""}
        scope |= {"asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "raw_path": b""}
        self.task = asyncio.ensure_future(app_of(subject)(scope, self._receive, self.told.put))

    async def leave(self) -> None:
        self._left.set()
        await self.task

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}


def test_the_stream_goes_on_until_the_client_leaves(fresh: Subject) -> None:
    async def scenario() -> None:
        stream = fresh.parts.telemetry.stream
        watching = Watching(fresh, b"events=request")
        start = await watching.told.get()
        assert start["status"] == 200
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        assert headers["content-type"].startswith("text/event-stream")
        assert headers["cache-control"] == "no-store"
        assert (await watching.told.get())["body"].startswith(b":")
        stream.publish("tick", {"not": "asked for"})
        fresh.parts.telemetry.take(record(42))
        event = (await watching.told.get())["body"]
        assert event.startswith(b"event: request\n") and b'"request_id":"request-42"' in event
        await watching.leave()
        assert stream.watchers == 0

    asyncio.run(scenario())


def test_who_watches_shows_his_token_again_when_one_is_good_for_nothing_more(fresh: Subject) -> None:
    async def scenario() -> None:
        watching = Watching(fresh, b"events=request")
        await watching.told.get()
        fresh.parts.follow(replace(fresh.config, admin=replace(fresh.config.admin, tokens=[])))
        async with asyncio.timeout(60):
            await watching.task
        assert fresh.parts.telemetry.stream.watchers == 0

    asyncio.run(scenario())


def test_so_many_may_watch(fresh: Subject) -> None:
    async def scenario() -> None:
        watching = [Watching(fresh) for _ in range(MOST_CLIENTS + 1)]
        starts = [(await each.told.get()) for each in watching]
        # Who comes first is nobody's to say.
        assert sorted(each["status"] for each in starts) == [200] * MOST_CLIENTS + [429]
        assert (b"retry-after", b"10") in max(starts, key=lambda each: int(each["status"]))["headers"]
        for each in watching:
            await each.leave()
        assert fresh.parts.telemetry.stream.watchers == 0

    asyncio.run(scenario())


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    listeners = Log.listeners[:]
    yield
    Log.listeners[:] = listeners


def test_a_limit_of_a_record_may_be_named_anything() -> None:
    subject = subject_with(record(1, limits=[limit(name="per caller")]))
    assert got(subject, "spans").json()[0]["tags"]["limit.per caller.remaining"] == "7"
