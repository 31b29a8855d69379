"""How control's telemetry hangs together: what workers tell is kept, shown and sent as the configuration says."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from headgate.control.log import Line, Log
from headgate.control.telemetry import otlp
from headgate.control.telemetry.part import States, Telemetry
from headgate.control.telemetry.requests import log_item
from headgate.control.telemetry.stream import EVENTS
from headgate.telemetry.cells import SlotRegion, SlotWriter
from headgate.telemetry.families import FAMILIES
from headgate.telemetry.metrics import Metrics
from tests.control.clock import timeless
from tests.control.telemetry.collector import HttpCollector
from tests.control.telemetry.records import limit, record
from tests.proxy.peers import eventually
from tests.proxy.stage import resolved, to


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Nobody else hears of the lines of this test, and levels do not outlive it."""
    listeners, level = Log.listeners[:], Log.level
    Log.listeners.clear()
    yield
    Log.listeners[:], Log.level = listeners, level


class Scene:
    """Telemetry over one worker slot, in a running loop."""

    def __init__(self) -> None:
        self.region = SlotRegion.create(1024 * 1024, 65536)
        self.metrics = Metrics(SlotWriter(self.region))
        self.states = States({}, {})
        self.tasks: list[asyncio.Task[Any]] = []
        self.telemetry = Telemetry([self.region], Log("control", -1), self._spawn, lambda: self.states, lambda: 4)

    def follow(self, **telemetry: Any) -> None:
        settings = {"tracing": {"enabled": True}, **telemetry}
        limits = {"rate_limit": {"requests": 10, "window": 60}}
        self.telemetry.follow(resolved(to("http://a", service=limits, telemetry=settings)))

    def ask(self, times: int = 1, status: int = 200) -> None:
        for _ in range(times):
            self.metrics.begin()
            self.metrics.requests("all", "api").finish("GET", status, 0.004, 0, 0)

    def counted(self) -> dict[tuple[str, ...], int]:
        return {(each.name.family, *each.name.labels): each.values[0] for each in self.telemetry.samples()}

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        self.tasks.append(asyncio.get_running_loop().create_task(work))
        return self.tasks[-1]


def test_what_is_no_record_and_no_line_is_dropped_and_said_once_of_each_worker() -> None:
    async def scenario() -> None:
        scene = Scene()
        lines: list[Line] = []
        Log.listeners.append(lines.append)
        scene.follow()
        telemetry = scene.telemetry
        told: list[Any] = [record(1), record(2, path=7), "no record", record(3, worker=2)]
        telemetry.on_said(1, {"type": "records", "records": told, "dropped": "many"})
        telemetry.on_said(1, {"type": "records", "records": {"no": "list"}, "dropped": 0})
        line = {"type": "log", "at": 1.0, "level": "error", "message": "m", "fields": {}}
        telemetry.on_said(2, line | {"at": "now"})
        telemetry.on_said(2, line)
        assert [each.item["request_id"] for each in telemetry.requests.ring.newest()] == ["request-1"]
        assert scene.counted()["headgate_records_dropped_total",] == 3
        assert [each.item.process for each in telemetry.lines.newest() if each.item.message == "m"] == ["worker-2"]
        assert [each.message for each in lines] == [
            f"worker-{worker} tells what is no record and no line of a log, which is dropped" for worker in (1, 2)
        ]
        for task in scene.tasks:
            task.cancel()

    asyncio.run(scenario())


def test_records_are_kept_under_every_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.follow(kept={"requests": 2, "errors": 1})
        records = [record(1), record(2, error="dns"), record(3)]
        scene.telemetry.on_said(1, {"type": "records", "records": records, "dropped": 5})
        telemetry = scene.telemetry
        assert [each.item["request_id"] for each in telemetry.requests.ring.newest()] == ["request-3", "request-2"]
        assert telemetry.requests.find("request-1") is None
        assert [each["reason"] for each in telemetry.errors.newest()] == ["dns"]
        assert next(telemetry.exemplars.of("headgate_request_duration_seconds")).labels[0] == "orders"
        counted = scene.counted()
        assert counted["headgate_records_total",] == 3
        assert counted["headgate_records_dropped_total",] == 5
        assert {name for name, *_ in counted} <= FAMILIES.keys()
        for name, *labels in counted:
            assert len(labels) == len(FAMILIES[name].labels)

    timeless(scenario)


def test_lines_of_all_processes_stand_among_the_requests() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.follow()
        line = {"type": "log", "at": 5.5, "level": "error", "message": "internal error", "fields": {"kind": "KeyError"}}
        scene.telemetry.on_said(2, line)
        scene.telemetry.on_said(1, {"type": "records", "records": [record(1)], "dropped": 0})
        scene.telemetry.on_said(0, {**line, "level": "info", "message": "worker 1 died", "fields": {}})
        Log("control", -1)("warning", "look out", trace_id="t", problems=["a", "b"])
        items = [each.item for each in scene.telemetry.log_items()]
        assert [each["message"] for each in items] == [
            "look out",
            "worker 1 died",
            "Request completed",
            "internal error",
        ]
        names = ["headgate/control", "headgate/master", "api", "headgate/worker-2"]
        assert [each["service_name"] for each in items] == names
        assert (items[0]["trace_id"], items[0]["metadata"]) == ("t", {"problems": ["a", "b"]})
        assert (items[3]["timestamp"], items[3]["metadata"]) == (5.5, {"kind": "KeyError"})
        assert [each.item["level"] for each in scene.telemetry.log_items("gateway")] == ["WARNING", "INFO", "ERROR"]
        assert [each.item["level"] for each in scene.telemetry.log_items("requests")] == ["INFO"]
        assert [each["message"] for each in scene.telemetry.errors.newest()] == ["internal error"]

    timeless(scenario)


def test_the_level_of_a_call_of_grpc_is_that_of_its_status() -> None:
    levels = {code: log_item({**record(1), "grpc_status": code})["level"] for code in (0, 5, 14)}
    assert levels == {0: "INFO", 5: "WARNING", 14: "ERROR"}
    assert log_item({**record(1), "status": 503, "grpc_status": 14})["level"] == "ERROR"


def test_the_level_holds_for_the_whole_process() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.follow(level="warning")
        Log("control", -1)("info", "not this one")
        Log("control", -1)("warning", "this one")
        assert [each.item["message"] for each in scene.telemetry.log_items("gateway")] == ["this one"]

    timeless(scenario)


def test_a_line_of_a_thread_comes_by_the_loop() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.follow()
        thread = threading.Thread(target=lambda: Log("control", -1)("info", "from a thread"))
        thread.start()
        thread.join()
        assert list(scene.telemetry.log_items("gateway")) == []
        await asyncio.sleep(0)
        assert [each.item["message"] for each in scene.telemetry.log_items("gateway")] == ["from a thread"]

    asyncio.run(scenario())


def test_who_watches_sees_seconds_requests_lines_and_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.control.telemetry.part.SECOND", 0.02)

    async def scenario() -> None:
        scene = Scene()
        scene.states = States({"api": "closed"}, {("api", "a:80"): "healthy"})
        scene.follow()
        events = scene.telemetry.stream.join(EVENTS).events()
        await anext(events)

        async def next_of(kind: str) -> Any:
            while True:
                name, data = (await anext(events)).decode().split("\n")[:2]
                if name == f"event: {kind}":
                    return json.loads(data.removeprefix("data: "))

        tick = await next_of("tick")
        assert (tick["endpoints"], tick["breakers"]) == ({"healthy": 1}, {"api": "closed"})
        scene.ask(5)
        ticks = [await next_of("tick") for _ in range(3)]
        assert sum(tick["requests"] * tick["step"] for tick in ticks) == pytest.approx(5, rel=0.1)
        scene.states = States({"api": "open"}, {("api", "b:80"): "unhealthy"})
        changes = [await next_of("change") for _ in range(3)]
        assert [(each["kind"], each["state"]) for each in changes] == [
            ("breaker", "open"),
            ("endpoint", "unhealthy"),
            ("endpoint", "gone"),
        ]
        scene.telemetry.take(record(7))
        assert (await next_of("request"))["request_id"] == "request-7"
        Log("control", -1)("info", "hello")
        assert (await next_of("log"))["message"] == "hello"
        scene.follow()
        change = await next_of("change")
        assert (change["kind"], change["plan"]) == ("plan", 4)

    asyncio.run(scenario())


def test_limits_stand_as_the_last_record_found_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.follow()
        now = [1000.0]
        monkeypatch.setattr("headgate.control.telemetry.part.wall", lambda: now[0])
        full = {"requests": 10, "window": 60.0, "remaining": 10, "reset": 0.0}
        assert scene.telemetry.limits_of_services() == {"api": full}
        name = resolved(to("http://a", service={"rate_limit": {"requests": 10}})).services[0].rate_limit
        assert name is not None
        scene.telemetry.take(record(1, started=990.0, limits=[limit(name=name.name, remaining=3, reset=30.0)]))
        assert scene.telemetry.limits_of_services() == {"api": {**full, "remaining": 3, "reset": 20.0}}
        # Another worker tells later what was before.
        scene.telemetry.take(record(2, started=989.0, limits=[limit(name=name.name, remaining=4)]))
        assert scene.telemetry.limits_of_services()["api"]["remaining"] == 3
        now[0] += 20
        assert scene.telemetry.limits_of_services() == {"api": full}

    timeless(scenario)


def test_spans_go_where_the_configuration_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "PAUSE", 0.05)
    first, second = HttpCollector(), HttpCollector()

    async def scenario() -> None:
        scene = Scene()
        scene.follow(tracing={"enabled": True, "export": first.url})
        scene.telemetry.take(record(1))
        scene.telemetry.take(record(2, traced=False))
        scene.follow(tracing={"enabled": True, "export": second.url})
        scene.telemetry.take(record(3))
        scene.follow(tracing={"enabled": False, "export": second.url})
        scene.telemetry.take(record(4))
        await eventually(lambda: scene.counted()["headgate_trace_exports_total", "sent"] == 2)
        scene.telemetry.close()

    try:
        asyncio.run(scenario())
        assert [len(each.spans()) for each in (first, second)] == [2, 2]
        assert second.spans()[0].trace_id == bytes.fromhex(f"{3:032x}")
    finally:
        first.close()
        second.close()
