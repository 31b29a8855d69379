"""Recorded requests: kept, found by their ids, and told as spans and as lines of the log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headgate.control.telemetry.requests import Requests, log_item, spans_of
from headgate.control.telemetry.ring import Ring
from tests.control.telemetry.records import STARTED, attempt, limit, record


def test_a_ring_keeps_the_newest() -> None:
    ring: Ring[str] = Ring(3)
    assert [ring.add(number, text) for number, text in enumerate("abc")] == [None, None, None]
    gone = ring.add(3, "d")
    assert gone is not None and gone.item == "a"
    assert [each.item for each in ring.newest()] == ["d", "c", "b"]
    assert [each.item for each in ring.newest(2)] == ["b"]
    assert [each.item for each in ring.keep(1)] == ["b", "c"]
    assert [each.item for each in ring.newest()] == ["d"]


def test_a_ring_of_nothing_keeps_nothing() -> None:
    requests = Requests(0)
    requests.add(1, record(1))
    assert requests.find("request-1") is None and len(requests.ring) == 0


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=60), st.integers(1, 8))
def test_every_kept_id_is_found_and_no_other(steps: list[tuple[int, bool]], most: int) -> None:
    requests = Requests(most)
    for number, (name, shrink) in enumerate(steps, 1):
        requests.add(number, record(name, bytes_in=number))
        if shrink:
            requests.keep(max(1, most // 2))
            requests.keep(most)
        newest = {each.item["request_id"]: each.item for each in reversed(list(requests.ring.newest()))}
        for candidate in range(1, 6):
            assert requests.find(f"request-{candidate}") == newest.get(f"request-{candidate}")


def test_a_request_is_a_span_and_each_try_a_child_of_it() -> None:
    tries = [attempt(error="connect_refused", retried="connect_refused", end=0.02), attempt(span_id="b" * 16, at=0.1)]
    more = {"error": "upstream_reset", "detail": "it went away", "status": 502, "parent_id": "c" * 16}
    own, first, second = spans_of(record(3, attempts=tries, limits=[limit(remaining=0)], **more))
    assert (own["id"], own["trace_id"], own["parent_id"]) == (f"{3:016x}", f"{3:032x}", "c" * 16)
    assert (own["name"], own["service_name"]) == ("GET /orders/3", "api")
    assert (own["start_time"], own["end_time"], own["duration_ms"]) == (STARTED + 3, STARTED + 3.25, 250.0)
    assert own["tags"] == {
        "method": "GET",
        "path": "/orders/3",
        "host": "shop.example",
        "client_host": "192.0.2.7",
        "status_code": "502",
        "request_id": "request-3",
        "route": "orders",
        "pattern": "/orders/{id}",
        "balancer": "round_robin",
        "identity_kind": "user",
        "identity": "ann",
        "gate.limits": "pass",
        "limit.all.remaining": "0",
        "error": "upstream_reset",
        "error_message": "it went away",
    }
    assert first["parent_id"] == second["parent_id"] == own["id"]
    assert first["tags"]["error"] == first["tags"]["retried"] == "connect_refused"
    assert (second["start_time"], second["duration_ms"]) == (STARTED + 3.1, 150.0)
    assert second["tags"]["attempt"] == "2"


def test_a_request_that_reached_nothing_is_one_span() -> None:
    [span] = spans_of(record(1, route=None, service=None, pattern=None, identity=None, attempts=[], status=404))
    assert (span["parent_id"], span["service_name"], span["tags"]["status_code"]) == (None, "", "404")
    assert "route" not in span["tags"]


def test_a_request_is_a_line_of_its_level() -> None:
    levels = [log_item(record(1, status=status))["level"] for status in (200, 304, 404, 499, 500, 503)]
    assert levels == ["INFO", "INFO", "WARNING", "WARNING", "ERROR", "ERROR"]
    line = log_item(record(2, correlation_id="mine"))
    assert (line["message"], line["service_name"], line["timestamp"]) == ("Request completed", "api", STARTED + 2.25)
    assert line["metadata"]["correlation_id"] == "mine"
    assert line["metadata"]["duration_ms"] == 250.0
