"""Distinct errors: each kind once, counted, and so many of them."""

from __future__ import annotations

from headgate.control.log import Line
from headgate.control.telemetry.errors import Errors
from tests.control.telemetry.records import STARTED, record


def line(message: str, level: str = "error", at: float = STARTED, **fields: object) -> Line:
    return Line(at, level, "worker-2", message, fields)  # type: ignore[arg-type]


def test_the_same_error_at_the_same_place_is_one() -> None:
    errors = Errors(10)
    for number in range(1, 4):
        errors.take_request(record(number, error="connect_refused", detail=f"try {number}", status=502))
    errors.take_request(record(4, error="connect_refused", service="shop", status=502))
    errors.take_request(record(5))
    shop, api = errors.newest()
    assert (api["reason"], api["route"], api["service"], api["side"]) == (
        "connect_refused",
        "orders",
        "api",
        "upstream",
    )
    assert (api["count"], api["first_seen"], api["last_seen"]) == (3, STARTED + 1.25, STARTED + 3.25)
    assert api["message"] == "The service could not be reached."
    assert api["last"] == {
        "request_id": "request-3",
        "trace_id": f"{3:032x}",
        "method": "GET",
        "path": "/orders/3",
        "status": 502,
        "detail": "try 3",
        "endpoint": "10.0.0.1:80",
    }
    assert (shop["service"], shop["count"]) == ("shop", 1)


def test_the_one_met_longest_ago_is_forgotten() -> None:
    errors = Errors(2)
    for service in ("a", "b", "a", "c"):
        errors.take_request(record(1, error="dns", service=service))
    assert [each["service"] for each in errors.newest()] == ["c", "a"]
    errors.keep(1)
    assert [each["service"] for each in errors.newest()] == ["c"]
    errors.keep(0)
    errors.take_request(record(1, error="dns"))
    assert errors.newest() == []


def test_errors_of_the_log_are_told_apart_by_where_they_happened() -> None:
    errors = Errors(10)
    for place in ("a.py", "b.py", "a.py"):
        errors.take_line(line("internal error", traceback=f"frames\n  {place}, line 3\nValueError", request_id="r"))
    errors.take_line(line("all is well", level="info"))
    errors.take_line(line("look out", level="warning"))
    assert [(each["kind"], each["message"], each["count"]) for each in errors.newest()] == [
        ("log", "internal error", 2),
        ("log", "internal error", 1),
    ]
    assert errors.newest()[0]["last"]["process"] == "worker-2"
    assert errors.newest()[0]["last"]["request_id"] == "r"
