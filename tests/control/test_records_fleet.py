"""Records of requests from the workers of a real gateway to whoever asks control for them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control.driver import until
from tests.control.whole import Gateway, Service

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    service = Service()
    telemetry = {"access_log": {"enabled": False}, "sampling": {"ratio": 1}, "tracing": {"enabled": True}}
    found = Gateway(tmp_path / "gateway", 2, {"url": f"http://{service.name}"}, telemetry=telemetry)
    try:
        yield found
    finally:
        found.close()
        service.close()


def record(gateway: Gateway, request_id: str) -> dict[str, Any]:
    """Return a record, once control knows it."""

    def known() -> dict[str, Any] | None:
        status, body = gateway.tell("GET", f"/api/v1/telemetry/requests/{request_id}")
        return json.loads(body) if status == 200 else None

    found: dict[str, Any] = until(known, f"control knows {request_id}")
    return found


def test_a_request_is_found_by_the_id_that_its_client_has(gateway: Gateway) -> None:
    asked = {f"id-{number}": f"00-{TRACE}-{number + 1:016x}-01" for number in range(8)}
    for request_id, parent in asked.items():
        assert gateway.ask(headers={"X-Request-ID": request_id, "traceparent": parent})[0] == 200
    records = [record(gateway, request_id) for request_id in asked]
    assert [each["parent_id"] for each in records] == [f"{number + 1:016x}" for number in range(8)]
    assert {each["trace_id"] for each in records} == {TRACE}
    assert {each["worker"] for each in records} <= {1, 2}
    assert {each["plan"] for each in records} == {1}
    assert {each["sampled"] for each in records} == {"parent"}
    gateway.reload()
    assert gateway.ask(headers={"X-Request-ID": "later"})[0] == 200
    assert record(gateway, "later")["plan"] == 2


def test_requests_go_on_while_control_is_stopped_or_dead_and_are_told_of_again_afterwards(gateway: Gateway) -> None:
    gateway.kill_control()

    # Workers find its successor within a second; what they recorded before is gone.
    def told() -> bool:
        assert gateway.ask(headers={"X-Request-ID": "again"})[0] == 200
        return gateway.tell("GET", "/api/v1/telemetry/requests/again")[0] == 200

    until(told, "a request after control's death is told of")
    workers = gateway.workers()
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text().split()
    (control,) = {int(child) for child in children} - workers
    os.kill(control, signal.SIGSTOP)
    try:
        for _ in range(50):
            assert gateway.ask()[0] == 200
    finally:
        os.kill(control, signal.SIGCONT)
    assert gateway.ask(headers={"X-Request-ID": "last"})[0] == 200
    assert record(gateway, "last")["status"] == 200
