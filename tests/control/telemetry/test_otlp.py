"""Spans reach a collector over HTTP and gRPC, and one that is away costs spans, never more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from headgate.control.telemetry import otlp
from headgate.control.telemetry.otlp import BATCH, MOST_WAITING, Export
from headgate.telemetry.settings import Otlp
from tests.control.driver import CEILING, free_port, until
from tests.control.telemetry.collector import GrpcCollector, HttpCollector, attributes
from tests.control.telemetry.records import STARTED, attempt, limit, record


class Said:
    """The lines of the log, from info on."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def __call__(self, level: str, message: str, **fields: object) -> None:
        if level != "debug":
            self.lines.append((level, message, fields))

    @property
    def messages(self) -> list[str]:
        return [message for _, message, _ in self.lines]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a record wait for others only shortly."""
    monkeypatch.setattr(otlp, "PAUSE", 0.05)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture(params=[HttpCollector, GrpcCollector], ids=["http", "grpc"])
def collector(request: pytest.FixtureRequest) -> Iterator[HttpCollector | GrpcCollector]:
    made = request.param()
    yield made
    made.close()


@pytest.fixture
def over_http() -> Iterator[HttpCollector]:
    made = HttpCollector()
    yield made
    made.close()


def settings_for(collector: HttpCollector | GrpcCollector, **more: Any) -> Otlp:
    protocol = "http" if isinstance(collector, HttpCollector) else "grpc"
    return Otlp(endpoint=collector.url, protocol=protocol, **{"timeout": CEILING, **more})  # type: ignore[arg-type]


def test_a_request_and_its_tries_are_spans(collector: HttpCollector | GrpcCollector, said: Said) -> None:
    settings = settings_for(collector, headers={"X-Key": "secret"}, attributes={"deployment.environment": "test"})
    export = Export(settings, "9.9", said)
    tries = [
        attempt(endpoint="10.0.0.1:80", span_id="00000000000000aa", end=0.1, error="upstream_reset", retried="status"),
        attempt(endpoint="10.0.0.2:80", span_id="00000000000000bb", at=0.12, end=0.25, head=0.2, status=503),
    ]
    del tries[0]["head"], tries[0]["status"]
    gates = [
        {"gate": "identity", "verdict": "pass", "at": 0.0, "seconds": 0.002},
        {"gate": "limits", "verdict": "shadow"},
    ]
    more = {"parent_id": "00000000000000cc", "trace_state": "a=1,b=2", "status": 503, "breaker": "closed"}
    export.take(record(7, attempts=tries, gates=gates, limits=[limit()], error="upstream_reset", **more))
    own, first, second = collector.wait(3)
    export.close()

    assert own.name == "GET /orders/{id}"
    assert own.kind == Span.SPAN_KIND_SERVER
    assert own.trace_id == bytes.fromhex(f"{7:032x}")
    assert own.parent_span_id == bytes.fromhex("00000000000000cc")
    assert own.trace_state == "a=1,b=2"
    # Whether the parent is of another process (SpanFlags of the protocol).
    assert [span.flags & 0x300 for span in (own, first, second)] == [0x300, 0x100, 0x100]
    assert own.start_time_unix_nano == pytest.approx((STARTED + 7) * 1e9, abs=1000)
    assert own.end_time_unix_nano - own.start_time_unix_nano == pytest.approx(0.25e9, abs=1000)
    assert own.status.code == Status.STATUS_CODE_ERROR
    found = attributes(own)
    assert found["http.request.method"] == "GET"
    assert found["http.route"] == "/orders/{id}"
    assert found["http.response.status_code"] == 503
    assert found["url.path"] == "/orders/7"
    assert found["headgate.gate.identity"] == "pass"
    assert found["headgate.gate.identity.seconds"] == 0.002
    assert found["headgate.gate.limits"] == "shadow"
    assert found["headgate.limit.all.remaining"] == 7
    assert (found["headgate.breaker"], found["error.type"], found["enduser.id"]) == ("closed", "upstream_reset", "ann")

    assert [span.kind for span in (first, second)] == [Span.SPAN_KIND_CLIENT] * 2
    assert [span.parent_span_id for span in (first, second)] == [own.span_id] * 2
    assert [span.status.code for span in (first, second)] == [Status.STATUS_CODE_ERROR] * 2
    assert attributes(first)["error.type"] == "upstream_reset"
    assert "http.response.status_code" not in attributes(first)
    tried_again = attributes(second)
    assert (tried_again["server.address"], tried_again["server.port"]) == ("10.0.0.2", 80)
    assert (tried_again["http.response.status_code"], tried_again["http.request.resend_count"]) == (503, 1)

    resource = collector.resource()
    assert (resource["service.name"], resource["service.version"]) == ("headgate", "9.9")
    assert resource["deployment.environment"] == "test"
    assert {name.lower(): value for name, value in collector.headers[-1].items()}["x-key"] == "secret"
    assert (export.sent, export.failed, export.dropped, said.lines) == (1, 0, 0, [])


def test_a_call_of_grpc_fails_by_its_status(collector: HttpCollector | GrpcCollector, said: Said) -> None:
    export = Export(settings_for(collector), "1", said)
    for number, code in enumerate((0, 5, 14), 1):
        export.take(record(number, attempts=[], grpc_status=code))
    codes = {span.trace_id[-1]: (span.status.code, attributes(span).get("error.type")) for span in collector.wait(3)}
    export.close()
    unset = (Status.STATUS_CODE_UNSET, None)
    assert codes == {1: unset, 2: unset, 3: (Status.STATUS_CODE_ERROR, "14")}


def test_many_records_travel_in_batches(
    collector: HttpCollector | GrpcCollector, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long it takes to hand them all over: a batch is sent when it is full, and the last one at the end.
    monkeypatch.setattr(otlp, "PAUSE", CEILING)
    export = Export(settings_for(collector), "1", said)
    for number in range(1, 3 * BATCH):
        export.take(record(number))
    export.close(patience=CEILING)
    spans = collector.spans()
    assert len({(span.trace_id, span.span_id) for span in spans}) == len(spans) == 2 * (3 * BATCH - 1)
    assert len(collector.requests) == 3
    assert export.sent == 3 * BATCH - 1


def test_what_waits_is_sent_at_the_end(collector: HttpCollector | GrpcCollector, said: Said) -> None:
    export = Export(settings_for(collector), "1", said)
    export.take(record(1))
    export.close(patience=CEILING)
    assert len(collector.spans()) == 2
    export.take(record(2))
    assert export.dropped == 1


def test_a_collector_that_refuses_is_told_of_once(collector: HttpCollector | GrpcCollector, said: Said) -> None:
    collector.status = 403
    export = Export(settings_for(collector, headers={"x-key": "secret"}), "1", said)
    for number in range(1, 4):
        export.take(record(number))
        until(lambda wanted=number: export.failed == wanted, "the batch failed")  # type: ignore[misc]
    [(level, message, fields)] = said.lines
    assert level == "error" and message.startswith("spans do not reach the collector: Failed to export")
    assert ("403" if isinstance(collector, HttpCollector) else "PERMISSION_DENIED") in message
    assert "secret" not in repr(said.lines) and fields["endpoint"] == export._collector.url
    collector.status = 200
    export.take(record(9))
    collector.wait(2)
    export.close()
    assert said.messages[1:] == ["spans reach the collector again"]
    assert (export.sent, export.failed) == (1, 3)


def test_one_that_is_not_there_costs_spans_only(said: Said, capfd: pytest.CaptureFixture[str]) -> None:
    settings = Otlp(endpoint=f"http://127.0.0.1:{free_port()}", timeout=0.1)
    export = Export(settings, "1", said)
    export.take(record(1))
    until(lambda: export.failed == 1, "the batch failed")
    export.close()
    assert len(said.lines) == 1
    assert capfd.readouterr().err == ""


def test_what_is_too_much_is_dropped_and_nobody_waits(over_http: HttpCollector, said: Said) -> None:
    over_http.released.clear()
    export = Export(settings_for(over_http), "1", said)
    export.take(record(1))
    until(lambda: over_http.asked == 1, "the collector holds a batch")
    for number in range(MOST_WAITING + 7):
        export.take(record(number + 2))
    assert export.dropped == 7
    over_http.released.set()
    until(lambda: export.sent == MOST_WAITING + 1, "all others were sent")
    export.close()


def test_an_old_jaeger_gets_otlp(said: Said) -> None:
    made: list[Any] = []

    def make(collector: Any, _: Otlp) -> Any:
        made.append(collector)
        return type("Nothing", (), {"shutdown": lambda _: None})()

    export = Export(Otlp(endpoint="http://jaeger:14268/api/traces", protocol="grpc"), "1", said, make)
    export.close()
    assert [(each.url, each.protocol) for each in made] == [("http://jaeger:4318/v1/traces", "http")]
    assert said.messages == [
        "the address of an old Jaeger stands for http://jaeger:4318/v1/traces: spans are sent there by OTLP"
    ]


def test_without_the_extra_one_sentence_says_so(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "find_spec", lambda _: None)
    export = Export(Otlp(endpoint="http://collector:4318"), "1", said)
    export._thread.join()
    export.take(record(1))
    assert said.lines == [("error", otlp.MISSING, {})]
    assert "pip install '.[otlp]'" in otlp.MISSING
    assert export.dropped == 1


def test_a_file_of_authorities_that_is_gone_is_told_of(said: Said, tmp_path: Path) -> None:
    export = Export(Otlp(endpoint="https://127.0.0.1:1", protocol="grpc", ca=str(tmp_path / "no")), "1", said)
    export._thread.join()
    assert said.messages == ["spans are not sent: FileNotFoundError: [Errno 2] No such file or directory"]


def test_nothing_of_the_sdk_is_imported_before_it_is_needed() -> None:
    script = "import sys, headgate.control.parts; print([each for each in sys.modules if 'opentelemetry' in each])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
