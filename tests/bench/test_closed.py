"""What a closed breaker costs is measured on a breaker that is there."""

from __future__ import annotations

from bench.closed import microseconds


def test_two_calls_cost_something() -> None:
    assert microseconds(20_000) > 0
