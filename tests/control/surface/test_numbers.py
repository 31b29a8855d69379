"""The metrics as one record: totals, shares, and percentiles between the bounds of buckets."""

from __future__ import annotations

import pytest

from headgate.control.breakers import Calls
from headgate.control.surface.numbers import Durations, Numbers
from headgate.telemetry.cells import Sample, SeriesName
from headgate.telemetry.families import FAMILIES


def histogram(family: str, *labels: str, bounds: tuple[int, ...], values: list[int]) -> Sample:
    return Sample(SeriesName(family, "histogram", labels, bounds), values)


def counter(family: str, value: int, **labels: str) -> Sample:
    names = FAMILIES[family].labels
    return Sample(SeriesName(family, "counter", tuple(labels.get(name, "") for name in names)), [value])


BOUNDS = (10_000, 20_000, 40_000)


def test_percentiles_lie_between_the_bounds_of_their_bucket() -> None:
    durations = Durations()
    assert durations.quantile(0.5) is None
    assert durations.mean is None
    durations.add(histogram("headgate_request_duration_seconds", bounds=BOUNDS, values=[300_000, 10, 0, 10, 0]))
    assert durations.quantile(0.5) == pytest.approx(0.01)
    assert durations.quantile(0.25) == pytest.approx(0.005)
    assert durations.quantile(0.75) == pytest.approx(0.03)
    assert durations.mean == pytest.approx(0.015)
    durations.add(histogram("headgate_request_duration_seconds", bounds=BOUNDS, values=[0, 0, 0, 0, 80]))
    # Above all bounds nothing more is known.
    assert durations.quantile(0.99) == pytest.approx(0.04)
    assert durations.count == 100


def test_what_was_counted_in_other_bounds_before_a_reload_counts_too() -> None:
    durations = Durations()
    durations.add(histogram("headgate_request_duration_seconds", bounds=BOUNDS, values=[300_000, 10, 0, 10, 0]))
    durations.add(histogram("headgate_request_duration_seconds", bounds=(15_000,), values=[700_000, 70, 10]))
    assert durations.count == 100
    assert durations.mean == pytest.approx(0.01)
    # Up to 15 ms is up to 20 ms; above it may be above all.
    assert durations.quantile(0.8) == pytest.approx(0.02)
    assert durations.counts == [10, 70, 10, 10]


def test_requests_are_counted_by_status_and_service() -> None:
    numbers = Numbers(
        [
            counter("headgate_requests_total", 90, service="chat", status="200"),
            counter("headgate_requests_total", 6, service="chat", status="502"),
            counter("headgate_requests_total", 3, status="404"),
            counter("headgate_requests_total", 1, service="headgate:own", status="404"),
            counter("headgate_errors_total", 4, reason="route_not_found"),
            counter("headgate_upstream_requests_total", 90, service="chat", outcome="2xx"),
            counter("headgate_upstream_requests_total", 5, service="chat", outcome="5xx"),
            counter("headgate_upstream_requests_total", 5, service="chat", outcome="connect_refused"),
        ]
    )
    record = numbers.record(10)
    assert record["requests"] == {"total": 100, "errors": 10, "error_rate": 10.0, "requests_per_second": 10.0}
    assert record["services_used"] == {
        "top_services": [{"service": "chat", "requests": 96}],
        "service_distribution": {"chat": 96},
    }
    assert record["status_codes"]["distribution"]["404"] == {"count": 4, "percentage": 4.0}
    assert record["errors"] == {"route_not_found": 4}
    calls = numbers.calls("chat")
    assert (calls["total_calls"], calls["success_count"], calls["failure_count"]) == (100, 90, 10)
    assert calls["failure_rate"] == 10.0
    assert numbers.calls("nobody")["total_calls"] == 0
    assert numbers.calls("nobody")["response_time"] is None


def test_a_call_with_all_its_tries_is_one() -> None:
    """Three that were tried four times and failed, one that went well the second time, one with a hedge."""
    numbers = Numbers(
        [
            counter("headgate_upstream_requests_total", 2, service="chat", outcome="2xx"),
            counter("headgate_upstream_requests_total", 13, service="chat", outcome="connect_refused"),
            counter("headgate_retries_total", 10, service="chat", reason="connect_refused"),
            counter("headgate_retries_total", 1, service="chat", reason="hedge"),
        ]
    )
    calls = numbers.calls("chat")
    assert (calls["total_requests"], calls["success_count"], calls["failure_count"]) == (5, 2, 3)


def test_calls_of_breakers_are_summed_over_workers() -> None:
    numbers = Numbers(
        [
            counter("headgate_breaker_calls_total", 2, service="chat", outcome="well"),
            counter("headgate_breaker_calls_total", 3, service="chat", outcome="well"),
            counter("headgate_breaker_calls_total", 1, service="chat", outcome="failed"),
        ]
    )
    assert numbers.breaker_calls == {"chat": Calls(well=5, failed=1)}


def test_nothing_counted_is_nothing_divided() -> None:
    record = Numbers([]).record(0)
    assert record["requests"] == {"total": 0, "errors": 0, "error_rate": 0.0, "requests_per_second": 0.0}
    assert record["performance"]["p99_response_time"] is None
