"""One coarse timer wheel for all deadlines of a process: connect, head, idle, total, keep-alive.

Laws:
- Moving a deadline later is an attribute write. A connection does that on every read; only a deadline earlier than the
  bucket its object is filed under costs an insertion. A bucket that fires files anew what moved meanwhile.
- A deadline never fires early, and at most one tick late.
- An object is in one bucket or in none. `deadline = inf` cancels lazily and holds the object for `horizon` seconds at
  most; `cancel` lets go of it at once.

The wheel reads no clock: `advance(now)` is told the time. `WheelDriver` turns it in an event loop, and sleeps while
nothing is filed. When the loop was held up, nobody is to blame for that time: it is waited for once more, a second at
most, in which what has come meanwhile is read, and only then do deadlines fire.
"""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from math import ceil, inf
from typing import Final, Protocol

__all__ = ["NEVER", "TICK", "Timed", "TimerWheel", "WheelDriver"]

TICK: Final = 0.05
"""Seconds between two turns: far below any timeout an operator would write, and 20 wake-ups a second."""

NEVER: Final = inf

# Seconds that are waited for once more at most.
_MOST_PATIENCE: Final = 1.0


class Timed(Protocol):
    """What the wheel asks of an object: both times start as `NEVER`; `wheel_at` belongs to the wheel."""

    deadline: float
    wheel_at: float

    def on_deadline(self, now: float) -> None:
        """Act on a deadline that has passed; called once for each time it was armed."""


class TimerWheel:
    """Files objects by the tick at which their deadline has passed. Times are seconds of one monotonic clock."""

    __slots__ = ("_buckets", "_rate", "_size", "_slots", "_tick", "tick", "wake")

    def __init__(self, tick: float = TICK, horizon: float = 10.0) -> None:
        """Make an empty wheel; `horizon` (seconds) bounds how far ahead an object is filed."""
        self.tick = tick
        self._rate = 1.0 / tick
        self._slots = max(1, ceil(horizon / tick))
        self._tick = 0
        self._size = 0
        self._buckets: dict[float, set[Timed]] = {}
        self.wake: Callable[[], None] | None = None
        """Called before the first object is filed in an empty wheel, so that a driver can begin to turn it."""

    def arm(self, timed: Timed, deadline: float) -> None:
        """Set the deadline of an object; `NEVER` takes it away, but see `cancel`."""
        timed.deadline = deadline
        if deadline < timed.wheel_at:
            if timed.wheel_at != NEVER:
                self._unfile(timed)
            if not self._size and self.wake is not None:
                self.wake()
            self._file(timed)

    def cancel(self, timed: Timed) -> None:
        """Take the deadline away and drop the reference at once: for an object that is closed."""
        timed.deadline = NEVER
        if timed.wheel_at != NEVER:
            self._unfile(timed)

    def advance(self, now: float) -> None:
        """Fire every deadline that has passed at `now`.

        Raises:
            ExceptionGroup: of what `on_deadline` raised, after all other deadlines were served.
        """
        first, target = self._tick + 1, int(now * self._rate)
        # Nothing is filed farther ahead than the slots, so after a long sleep the rest of the way is empty.
        last = min(target, self._tick + self._slots)
        # From here on everything is filed behind the target, also by the handlers called below.
        self._tick = max(self._tick, target)
        errors: list[Exception] = []
        for tick in range(first, last + 1):
            at = tick * self.tick
            bucket = self._buckets.get(at)
            if bucket is not None:
                # Stays in the table while it fires, so that a handler may cancel or re-arm any object in it.
                while bucket:
                    self._fire(bucket.pop(), now, errors)
                del self._buckets[at]
        if errors:
            raise ExceptionGroup("deadline handlers failed", errors)

    def _fire(self, timed: Timed, now: float, errors: list[Exception]) -> None:
        self._size -= 1
        timed.wheel_at = NEVER
        if timed.deadline > now:
            if timed.deadline != NEVER:
                self._file(timed)
            return
        try:
            timed.on_deadline(now)
        except Exception as error:
            errors.append(error)

    def _file(self, timed: Timed) -> None:
        tick = min(max(ceil(timed.deadline * self._rate), self._tick + 1), self._tick + self._slots)
        timed.wheel_at = at = tick * self.tick
        bucket = self._buckets.get(at)
        if bucket is None:
            bucket = self._buckets[at] = set()
        bucket.add(timed)
        self._size += 1

    def _unfile(self, timed: Timed) -> None:
        self._buckets[timed.wheel_at].remove(timed)
        timed.wheel_at = NEVER
        self._size -= 1

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"<TimerWheel filed={self._size} buckets={len(self._buckets)}>"


class WheelDriver:
    """Turns a wheel in an event loop, once a tick while anything is filed; its phase may add a tick of lateness."""

    __slots__ = ("_clock", "_due", "_handle", "_loop", "_wheel")

    def __init__(self, wheel: TimerWheel, loop: AbstractEventLoop, clock: Callable[[], float] = time.monotonic) -> None:
        """Attach to the wheel; `clock` is the one its deadlines are written in."""
        self._wheel = wheel
        self._loop = loop
        self._clock = clock
        self._handle: TimerHandle | None = None
        self._due = NEVER
        wheel.wake = self._wake

    def close(self) -> None:
        """Stop turning and detach; deadlines stay filed and do not fire."""
        self._wheel.wake = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _wake(self) -> None:
        if self._handle is None:
            # The wheel stood still: bring it to the present before anything is filed ahead of it.
            now = self._clock()
            self._wheel.advance(now)
            self._turn_later(now)

    def _turn_later(self, now: float) -> None:
        self._due = now + self._wheel.tick
        self._handle = self._loop.call_later(self._wheel.tick, self._turn)

    def _turn(self) -> None:
        late = self._clock() - self._due
        if late > self._wheel.tick:
            self._handle = self._loop.call_later(min(late, _MOST_PATIENCE), self._advance)
        else:
            self._advance()

    def _advance(self) -> None:
        self._handle = None
        try:
            self._wheel.advance(self._clock())
        finally:
            # A method of its own: compiled code believes that here the handle is what it was set to above.
            self._go_on()

    def _go_on(self) -> None:
        """Turn again, unless nothing is filed, or a handler that armed something has seen to it already."""
        if self._handle is None and self._wheel:
            self._turn_later(self._clock())
