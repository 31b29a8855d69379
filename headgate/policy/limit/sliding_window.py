"""sliding_window by two counters: what was counted in the last window, weighted by how much of it the sliding window
still covers, and what is counted in this one. (As Cloudflare's "How we built rate limiting", 2017.)

Windows of a key follow each other from its first request on. The share that is covered is counted in `ticks` of `tick`
microseconds, rounded up, so that no product reaches 2**53; a window has at most 2**21 of them, and where it can be a
whole number of them (the last is shorter otherwise).

    previous * (ticks - elapsed // tick) + (current + cost) * ticks <= limit * ticks

It never admits more than `limit` from the start of one of its windows to the end; over other spans of that length it is
right when the last window's requests came evenly, and sliding_window_log.py is always.

State, 16 bytes, little endian, of a window that is not two windows past:
    start       int64     microseconds, of the current window
    current     uint32    0 to MOST_COUNT; above the limit is a debt, which fades like everything that is counted
    previous    uint32    of the window before
Raw: (count, previous, elapsed). `count`: current, with the request if it was admitted; if not, without it but plus
COSTS * the cost that was refused; `elapsed`: microseconds since the start of the current window, 0 <= elapsed < window.
Numbers: (limit, window, tick, ticks). A clock that stepped back before the start stands at it.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final

from headgate.policy.limit.algorithm import MOST_COUNT, NEVER, Raw, Reading, new_tuple

COSTS: Final = 2**31
_MOST_TICKS: Final = 2**21
# How many lengths of a tick are tried in search of one that divides the window: enough for minutes, hours and days.
_TRIES: Final = 4096
_STATE: Final = Struct("<qII")
_STATE_BYTES: Final = 16
_pack: Final = _STATE.pack
_unpack: Final = _STATE.unpack


class SlidingWindow:
    """Two counters."""

    __slots__ = ("limit", "tick", "ticks", "window")

    code: Final = 2

    def __init__(self, limit: int, window: int) -> None:
        """`window` in microseconds."""
        self.limit = limit
        self.window = window
        self.tick = _tick(window)
        self.ticks = -(-window // self.tick)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The limit, the window, and the ticks it is counted in."""
        return (self.limit, self.window, self.tick, self.ticks)

    @property
    def lifetime(self) -> int:
        """Two windows."""
        return 2 * self.window

    def admit(self, state: bytes, now: int, cost: int, owner: int) -> tuple[bool, bytes, Raw]:
        """Count `cost` in this window, if with what is left of the last one it stays in the limit."""
        start = now
        current = previous = elapsed = 0
        if len(state) == _STATE_BYTES:
            start, current, previous = _unpack(state)
            elapsed = now - start
            window = self.window
            if elapsed >= window:
                elapsed -= window
                start += window
                previous = current
                current = 0
                if elapsed >= window:
                    start = now
                    previous = elapsed = 0
            elif elapsed < 0:
                elapsed = 0
        ticks = self.ticks
        if previous * (ticks - elapsed // self.tick) > (self.limit - current - cost) * ticks:
            return False, state, (current + COSTS * cost, previous, elapsed)
        current += cost
        return True, _pack(start, current, previous) if cost else state, (current, previous, elapsed)

    def settle(self, state: bytes, now: int, amount: int, owner: int) -> bytes:
        """Add `amount` to this window; what is given back is taken off this window first, then off the last."""
        if not amount:
            return state
        start, current, previous = now, 0, 0
        if len(state) == _STATE_BYTES:
            start, current, previous = _unpack(state)
            if now >= start + 2 * self.window:
                start, current, previous = now, 0, 0
            elif now >= start + self.window:
                start, current, previous = start + self.window, 0, current
        current = min(current + amount, MOST_COUNT)
        if current < 0:
            previous = max(0, previous + current)
            current = 0
        return _pack(start, current, previous) if current or previous else b""

    def expires(self, state: bytes, now: int) -> int:
        """Return the end of the window behind this one: from then on the next request begins the windows anew."""
        if len(state) != _STATE_BYTES:
            return now
        start, _, _ = _unpack(state)
        return int(start) + 2 * self.window

    def read(self, allowed: bool, raw: Raw) -> Reading:
        """Say what is left now, and when the weights will have fallen far enough."""
        count, previous, elapsed = raw
        limit, window, ticks = self.limit, self.window, self.ticks
        cost = 0
        if count >= COSTS:
            cost, count = divmod(count, COSTS)
        remaining = max(0, limit - count + -previous * (ticks - elapsed // self.tick) // ticks)
        reset = 2 * window - elapsed if count else window - elapsed if previous else 0
        wait = 0
        if not allowed:
            wait = max(0, self._wait(cost, count, previous) - elapsed) if cost <= limit else NEVER
        return new_tuple(Reading, (limit, remaining, reset, wait, 0))

    def _wait(self, cost: int, current: int, previous: int) -> int:
        """Return when, from the start of this window, `cost` is admitted."""
        free = self.limit - cost
        if current <= free:
            weight = (free - current) * self.ticks // previous if previous else self.ticks
            return min(max(0, self.ticks - weight) * self.tick, self.window)
        weight = free * self.ticks // current
        return self.window + min((self.ticks - weight) * self.tick, self.window)


@lru_cache(1024)
def _tick(window: int) -> int:
    shortest = -(-window // _MOST_TICKS)
    return next((tick for tick in range(shortest, shortest + _TRIES) if not window % tick), shortest)
