"""What a breaker counts while it is closed: failures in a row, among the last N calls, or their share of a time.

A window keeps what it counts in the cells of a record, from FIRST on. `record` counts one call and tells whether it is
one failure too many.

Laws: a record of zeros is an empty window. Nothing is kept twice, so a writer that dies at any line leaves a window
that still agrees with itself. As long as no failure is in the window, breakers do not tell it of successes: they would
change nothing of the first two counts, and a rate is that of the calls since trouble began.
"""

from __future__ import annotations

from typing import Protocol

from headgate.policy.breaker_settings import BreakerSettings

# The breaker's own cells come before these.
FIRST = 16
CELLS = 70

_BITS = 63
_BUCKETS = 20
_MICROSECONDS = 1_000_000


class Window(Protocol):
    """One way to count. `now` is monotonic microseconds."""

    def record(self, failed: bool, now: int) -> bool:
        """Count a call; tell whether the breaker shall open."""

    def failures(self, now: int) -> int:
        """Return how many failures are in the window, without writing."""


class InARow:
    """Failures that no success interrupts."""

    __slots__ = ("_cells", "_count", "_threshold")

    def __init__(self, cells: memoryview, base: int, threshold: int) -> None:
        self._cells = cells
        self._count = base + FIRST
        self._threshold = threshold

    def record(self, failed: bool, now: int) -> bool:
        """Count a call; tell whether the breaker shall open."""
        count = self._cells[self._count] + 1 if failed else 0
        self._cells[self._count] = count
        return count >= self._threshold

    def failures(self, now: int) -> int:
        """Return how many calls have failed in a row."""
        return self._cells[self._count]


class LastCalls:
    """Failures among the last `size` calls: a ring of bits, 1 for a failure, behind the place of the next one."""

    __slots__ = ("_cells", "_end", "_place", "_ring", "_size", "_threshold")

    def __init__(self, cells: memoryview, base: int, threshold: int, size: int) -> None:
        self._cells = cells
        self._place = base + FIRST
        self._ring = self._place + 1
        self._end = self._ring + -(-size // _BITS)
        self._size = size
        self._threshold = threshold

    def record(self, failed: bool, now: int) -> bool:
        """Count a call in place of the oldest one; tell whether the breaker shall open."""
        cells = self._cells
        place = cells[self._place]
        cell, bit = self._ring + place // _BITS, 1 << place % _BITS
        cells[cell] = cells[cell] | bit if failed else cells[cell] & ~bit
        cells[self._place] = (place + 1) % self._size
        return failed and self.failures(now) >= self._threshold

    def failures(self, now: int) -> int:
        """Return how many of the last calls failed."""
        return sum(cell.bit_count() for cell in self._cells[self._ring : self._end])


class Rate:
    """The share of failures within a time, which is cut into buckets; the one that is filled now counts as whole.

    Behind the number of the newest bucket stand the calls of each, then the failures of each.
    """

    __slots__ = ("_calls", "_cells", "_failed", "_minimum", "_newest", "_percent", "_width")

    def __init__(self, cells: memoryview, base: int, percent: float, window: int, minimum: int) -> None:
        """Count over `window` microseconds."""
        self._cells = cells
        self._newest = base + FIRST
        self._calls = self._newest + 1
        self._failed = self._calls + _BUCKETS
        self._width = max(1, window // _BUCKETS)
        self._percent = percent
        self._minimum = minimum

    def record(self, failed: bool, now: int) -> bool:
        """Count a call; tell whether the breaker shall open."""
        cells = self._cells
        place = self._turn(now) % _BUCKETS
        cells[self._calls + place] += 1
        if failed:
            cells[self._failed + place] += 1
        calls = sum(cells[self._calls : self._calls + _BUCKETS])
        failures = sum(cells[self._failed : self._failed + _BUCKETS])
        return calls >= self._minimum and failures > 0 and failures * 100 >= self._percent * calls

    def failures(self, now: int) -> int:
        """Return how many calls failed within the time that ends now."""
        newest = self._cells[self._newest]
        gone = min(max(0, now // self._width - newest), _BUCKETS)
        return sum(self._cells[self._failed + (newest - age) % _BUCKETS] for age in range(_BUCKETS - gone))

    def _turn(self, now: int) -> int:
        """Empty the buckets whose time is over; return the number of the newest."""
        cells = self._cells
        newest, bucket = cells[self._newest], now // self._width
        # A process may come with a moment that another one has left behind: it counts as of now.
        for number in range(max(newest + 1, bucket - _BUCKETS + 1), bucket + 1):
            cells[self._calls + number % _BUCKETS] = 0
            cells[self._failed + number % _BUCKETS] = 0
        if bucket > newest:
            cells[self._newest] = bucket
        return max(newest, bucket)


def window_of(settings: BreakerSettings, cells: memoryview, base: int) -> Window:
    """Make the window that the settings ask for, over the cells of the record that begins at `base`."""
    if settings.error_rate is not None:
        window = round(settings.window * _MICROSECONDS)
        return Rate(cells, base, settings.error_rate, window, settings.minimum_requests)
    if settings.window_size is not None:
        return LastCalls(cells, base, settings.threshold, settings.window_size)
    return InARow(cells, base, settings.threshold)
