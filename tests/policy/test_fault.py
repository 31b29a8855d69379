"""Faults on purpose: who suffers which."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from headgate.core.message import Fields
from headgate.policy.fault import Fault, FaultAbort, FaultDelay, FaultInjector

MARKED: Fields = [(b"Accept", b"*/*"), (b"x-CHAOS", b"")]


def injector(*, header: str | None = None, delay: float = 0.0, abort: float = 0.0) -> FaultInjector:
    """Make one that delays and aborts so many percent."""
    fault = Fault(
        delay=FaultDelay(seconds=2.0, percent=delay) if delay else None,
        abort=FaultAbort(status=418, percent=abort) if abort else None,
        header=header,
    )
    return FaultInjector(fault, random.Random(1).random)


@pytest.mark.parametrize(
    ("delay", "abort", "chosen"), [(0, 0, (0.0, 0)), (100, 0, (2.0, 0)), (0, 100, (0.0, 418)), (100, 100, (2.0, 418))]
)
def test_all_or_none(delay: float, abort: float, chosen: tuple[float, int]) -> None:
    assert {injector(delay=delay, abort=abort).choose([]) for _ in range(100)} == {chosen}


def test_a_part_is_drawn_for_each_fault_by_itself() -> None:
    made = injector(delay=20, abort=50)
    counts = Counter(made.choose([]) for _ in range(10_000))
    expected = {(0.0, 0): 4000, (0.0, 418): 4000, (2.0, 0): 1000, (2.0, 418): 1000}
    assert counts.keys() == expected.keys()
    assert all(abs(counts[each] - expected[each]) < 250 for each in expected)


def test_only_requests_with_the_header_where_one_is_named() -> None:
    made = injector(header="X-Chaos", abort=100)
    assert made.choose(MARKED) == (0.0, 418)
    assert made.choose([(b"Accept", b"*/*"), (b"X-Chaos2", b"1")]) == (0.0, 0)
