"""Moments by the wall clock, for a process that may stand still between its looks at two clocks."""

from __future__ import annotations

import pytest

from headgate.core import clock
from headgate.core.clock import Moments


class Clocks:
    """Two clocks that a test moves, and how long the process stands still before each look at the second one."""

    def __init__(self) -> None:
        self.now, self.ahead = 100.0, 1_000_000.0
        self.stops: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        if self.stops:
            self.now += self.stops.pop(0)
        return self.now + self.ahead


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    monkeypatch.setattr(clock, "monotonic", made.monotonic)
    monkeypatch.setattr(clock, "wall", made.wall)
    return made


def test_a_moment_is_the_same_however_the_process_stands_still(clocks: Clocks) -> None:
    clocks.stops = [5.0, 0.0, 7.0]
    moments = Moments()
    assert moments.of(90.0) == 1_000_090.0
    clocks.stops = [3.0, 4.0, 5.0]
    assert moments.of(90.0) == 1_000_090.0
    clocks.ahead += 0.005
    assert moments.of(90.0) == 1_000_090.0


def test_a_clock_that_was_set_is_gone_by(clocks: Clocks) -> None:
    moments = Moments()
    clocks.ahead -= 3600
    clocks.stops = [5.0, 0.0, 0.0]
    assert moments.of(90.0) == 996_490.0
