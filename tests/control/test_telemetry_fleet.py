"""What happened in a whole gateway: requests become records, spans, exports and a course, over all its processes."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.control.driver import CEILING, free_port, until
from tests.control.telemetry.collector import GrpcCollector, HttpCollector, attributes
from tests.control.whole import Gateway, Service

ROOT = "/api/v1/telemetry"
ALL = {"sampling": {"ratio": 1.0}}


class Scene(NamedTuple):
    service: Service
    gateway: Gateway
    collector: HttpCollector

    def shown(self, path: str) -> Any:
        return self.gateway.shown(f"{ROOT}/{path}")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    collector, service = HttpCollector(), Service()
    export = {"endpoint": collector.url, "headers": {"x-key": "a secret of the collector"}}
    telemetry = {**ALL, "tracing": {"enabled": True, "export": export}, "access_log": {"enabled": False}}
    endpoints = {"endpoints": [f"http://{service.name}"]}
    gateway = Gateway(tmp_path_factory.mktemp("telemetry"), 2, endpoints, telemetry=telemetry)
    yield Scene(service, gateway, collector)
    gateway.close()
    service.close()
    collector.close()


def ask(gateway: Gateway, path: str, **headers: str) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=CEILING)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status, dict(response.getheaders())
    finally:
        connection.close()


def test_a_request_is_a_record_and_spans_here_and_at_the_collector(scene: Scene) -> None:
    trace_id, parent_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    scene.service.statuses["/broken"] = 503
    _, headers = ask(scene.gateway, "/broken", traceparent=f"00-{trace_id}-{parent_id}-01")
    request_id = headers["X-Request-ID"]
    path = f"{ROOT}/requests/{request_id}"
    until(lambda: scene.gateway.tell("GET", path)[0] == 200, "the record has come")
    record = scene.gateway.shown(path)
    assert (record["trace_id"], record["parent_id"], record["status"]) == (trace_id, parent_id, 503)
    assert [attempt["status"] for attempt in record["attempts"]] == [503]

    own, tried = scene.shown(f"spans?trace_id={trace_id}")
    assert (own["parent_id"], own["tags"]["status_code"], own["name"]) == (parent_id, "503", "GET /broken")
    assert (tried["parent_id"], tried["trace_id"]) == (own["id"], trace_id)
    assert tried["tags"]["endpoint"] == scene.service.name
    assert own["start_time"] <= tried["start_time"] <= tried["end_time"] <= own["end_time"]

    def exported() -> list[Any]:
        return [span for span in scene.collector.spans() if span.trace_id.hex() == trace_id]

    sent = until(lambda: found if len(found := exported()) == 2 else None, "the collector got both spans")
    assert [span.span_id.hex() for span in sent] == [own["id"], tried["id"]]
    assert sent[1].parent_span_id == sent[0].span_id
    assert attributes(sent[0])["headgate.request_id"] == request_id
    assert scene.collector.headers[-1]["x-key"] == "a secret of the collector"


def test_the_trace_stands_on_the_bucket_it_fell_into(scene: Scene) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    ask(scene.gateway, "/exemplar", traceparent=f"00-{trace_id}-00f067aa0ba902b7-01")
    headers = {
        "Accept": "application/openmetrics-text",
        "Authorization": f"Bearer {os.environ['HEADGATE_ADMIN_TOKEN']}",
    }

    def exemplars() -> list[str]:
        connection = http.client.HTTPConnection(scene.gateway.admin, timeout=CEILING)
        connection.request("GET", "/metrics", headers=headers)
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return [line.partition("{")[0] for line in lines if trace_id in line]

    found = until(lambda: names if len(names := exemplars()) == 2 else None, "request and try have exemplars")
    assert found == ["headgate_request_duration_seconds_bucket", "headgate_upstream_duration_seconds_bucket"]


def test_the_secret_of_the_collector_is_in_no_worker(scene: Scene) -> None:
    for pid in scene.gateway.workers():
        assert not _holds(pid, b"a secret of the collector")
    # And the search finds what there is: control sends it.
    assert any(_holds(pid, b"a secret of the collector") for pid in _children(scene.gateway) - scene.gateway.workers())


def test_lists_of_what_happened_follow_each_other(scene: Scene) -> None:
    for number in range(5):
        assert ask(scene.gateway, f"/list/{number}")[0] == 200

    def listed() -> list[str] | None:
        found = [each["path"] for each in scene.shown("requests?path=/list/&limit=10")["items"]]
        return found if len(found) == 5 else None

    assert sorted(until(listed, "all are recorded")) == [f"/list/{number}" for number in range(5)]
    lines = scene.shown("logs?source=requests&limit=5")
    assert {line["message"] for line in lines} == {"Request completed"}
    assert all(re.fullmatch(r"[0-9a-f]{32}", line["trace_id"]) for line in lines)
    processes = {line["service_name"] for line in scene.shown("logs?source=gateway")}
    assert "headgate/control" in processes


def test_the_course_shows_what_passes(scene: Scene) -> None:
    def seconds() -> int:
        return sum(rate > 0 for rate in scene.shown("history?seconds=300")["requests"])

    before = seconds()
    scene.gateway.ask("/course")
    until(lambda: seconds() > before, "the second is closed")
    course = scene.shown("history?seconds=300")
    line = course["by_service"]["api"]
    assert [rate > 0 for rate in line["requests"]] == [value is not None for value in line["p99"]]
    assert len(course["at"]) == len(course["requests"]) == len(line["p50"])


def watched(gateway: Gateway) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Watch the stream, from its first line on."""
    connection = http.client.HTTPConnection(gateway.admin, timeout=CEILING)
    token = os.environ["HEADGATE_ADMIN_TOKEN"]
    connection.request("GET", f"{ROOT}/stream", headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    assert response.status == 200
    # The head is there before any event is, and so is the place among the watchers.
    assert response.readline() == b": headgate\n"
    return connection, response


def test_the_stream_is_live(scene: Scene) -> None:
    connection, response = watched(scene.gateway)
    scene.gateway.ask("/live")
    seen: dict[str, Any] = {}
    while not {"request", "tick"} <= seen.keys():
        line = response.readline().decode()
        if line.startswith("event: "):
            data = response.readline().decode().removeprefix("data: ")
            seen[line.removeprefix("event: ").strip()] = json.loads(data)
    connection.close()
    assert seen["request"]["service"] == "api"
    assert seen["tick"]["endpoints"] == {"healthy": 1}
    until(lambda: "headgate_stream_watchers 0\n" in scene.gateway.metrics(), "its place is free again")


def test_a_worker_that_dies_is_told_of_by_the_master(scene: Scene) -> None:
    os.kill(min(scene.gateway.workers()), signal.SIGKILL)

    def told() -> bool:
        return any(line["service_name"] == "headgate/master" for line in scene.shown("logs?source=gateway"))

    until(told, "the master's line is kept")


def test_exports_go_on_with_the_successor_of_control(scene: Scene) -> None:
    # Nor does it need the configuration's file for that.
    scene.gateway._file.write_text("{")
    scene.gateway.wait_log("configuration refused")
    scene.gateway.kill_control()
    before = len(scene.collector.spans())
    ask(scene.gateway, "/after")
    until(lambda: len(scene.collector.spans()) >= before + 2, "spans are sent by the successor")
    assert scene.collector.headers[-1]["x-key"] == "a secret of the collector"


def test_spans_go_over_grpc_and_the_level_holds_everywhere(tmp_path: Path) -> None:
    collector, service = GrpcCollector(), Service()
    export = {"endpoint": collector.url, "protocol": "grpc"}
    settings = {"endpoints": [f"http://{service.name}"]}
    telemetry = {**ALL, "tracing": {"enabled": True, "export": export}}
    gateway = Gateway(tmp_path / "grpc", 1, settings, telemetry=telemetry)
    try:
        ask(gateway, "/grpc")
        own, tried = collector.wait(2)[:2]
        assert tried.parent_span_id == own.span_id
        gateway._more["telemetry"] = {**telemetry, "level": "error"}
        gateway.write(settings)
        gateway.reload()
        said = len(gateway.log())
        # Nor does one who watches hold up the end.
        connection, response = watched(gateway)
        gateway.process.terminate()
        assert gateway.process.wait(CEILING) == 0
        response.read()
        connection.close()
        # Not even the master says that it is ending.
        assert gateway.log()[said:] == []
    finally:
        gateway.close()
        service.close()
        collector.close()


def test_a_collector_that_is_away_costs_one_line(tmp_path: Path) -> None:
    service = Service()
    export = {"endpoint": f"http://127.0.0.1:{free_port()}", "timeout": 0.2}
    settings = {"endpoints": [f"http://{service.name}"]}
    telemetry = {**ALL, "tracing": {"enabled": True, "export": export}}
    gateway = Gateway(tmp_path / "away", 1, settings, telemetry=telemetry)
    try:
        for number in range(1, 4):
            assert ask(gateway, f"/{number}")[0] == 200
            count = f'headgate_trace_exports_total{{outcome="failed"}} {number}\n'
            until(lambda count=count: count in gateway.metrics(), "a batch has failed")  # type: ignore[misc]
        assert len([line for line in gateway.log() if "spans do not reach the collector" in line]) == 1
        assert gateway._errors.read_text().count("ollector") == 1
        [error] = gateway.shown(f"{ROOT}/errors?kind=log")["items"]
        assert error["count"] == 1
    finally:
        gateway.close()
        service.close()


def _children(gateway: Gateway) -> set[int]:
    text = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text()
    return {int(child) for child in text.split()}


def _holds(pid: int, secret: bytes) -> bool:
    """Tell whether a secret stands anywhere in the private memory of a process."""
    places = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for place in places:
            span, rights, *_ = place.split()
            # Regions of metrics are shared, large and hold numbers only.
            if rights != "rw-p":
                continue
            begin, end = (int(each, 16) for each in span.split("-"))
            try:
                memory.seek(begin)
                if secret in memory.read(end - begin):
                    return True
            except OSError:
                continue
    return False
