"""sliding_window by a log: the moment of every unit counted, so that no span as long as `window` ever holds more than
`limit`. For small limits: 8 bytes each.

State, 8 bytes each, oldest first, int64 in the machine's byte order (little endian wherever this runs):
    moment    microseconds; it counts until moment + window, and no longer at that microsecond
At most limit + 1 moments: of a debt only the newest matter, and one above the limit tells it from a limit used up.
Raw: (count, left, wait). `count`: with the request if it was admitted, without it if not; `left`: microseconds until
the newest of them no longer counts, 0 when there is none; `wait`: until a refused cost fits, 0 if it was admitted, -1
if it is above the limit.
Numbers: (limit, window). A clock that stepped back before the newest moment stands at it.
"""

from __future__ import annotations

from bisect import bisect_right
from struct import Struct
from typing import Final

from headgate.policy.limit.algorithm import NEVER, Raw, Reading, new_tuple

_MOMENT: Final = Struct("@q")
_MOMENT_BYTES: Final = 8
_pack: Final = _MOMENT.pack
_moment: Final = _MOMENT.unpack_from


class SlidingWindowLog:
    """One moment for each unit."""

    __slots__ = ("_most_bytes", "limit", "window")

    code: Final = 3

    def __init__(self, limit: int, window: int) -> None:
        """`window` in microseconds; `limit` is at most MOST_EXACT (settings.py)."""
        self.limit = limit
        self.window = window
        self._most_bytes = (limit + 1) * _MOMENT_BYTES

    @property
    def numbers(self) -> tuple[int, ...]:
        """The limit and the window."""
        return (self.limit, self.window)

    @property
    def lifetime(self) -> int:
        """The window."""
        return self.window

    def admit(self, state: bytes, now: int, cost: int, owner: int) -> tuple[bool, bytes, Raw]:
        """Write `cost` moments down, if with those that still count they stay in the limit."""
        limit = self.limit
        size = len(state)
        if not size or size > self._most_bytes or size % _MOMENT_BYTES:
            if cost > limit:
                return False, state, (0, 0, -1)
            return True, _pack(now) * cost if cost else state, (cost, self.window if cost else 0, 0)
        newest = _moment(state, size - _MOMENT_BYTES)[0]
        if newest > now:
            now = newest
        over = now - self.window
        past = bisect_right(memoryview(state).cast("q"), over) if _moment(state)[0] <= over else 0
        count = size // _MOMENT_BYTES - past
        if count + cost > limit:
            wait = _moment(state, (past + count + cost - limit - 1) * _MOMENT_BYTES)[0] - over if cost <= limit else -1
            return False, state, (count, newest - over if count else 0, wait)
        if not cost:
            return True, state, (count, newest - over if count else 0, 0)
        return True, state[past * _MOMENT_BYTES :] + _pack(now) * cost, (count + cost, self.window, 0)

    def settle(self, state: bytes, now: int, amount: int, owner: int) -> bytes:
        """Write `amount` moments down; what is given back is the oldest that count, so that no span holds too many."""
        if not amount:
            return state
        past = 0
        if self._is_log(state):
            moments = memoryview(state).cast("q")
            if moments:
                now = max(now, moments[-1])
            past = bisect_right(moments, now - self.window)
        else:
            state = b""
        if amount < 0:
            return state[(past - amount) * _MOMENT_BYTES :]
        written = state[past * _MOMENT_BYTES :] + _pack(now) * min(amount, self.limit + 1)
        return written[-self._most_bytes :]

    def expires(self, state: bytes, now: int) -> int:
        """Return when the newest moment no longer counts."""
        if not state or not self._is_log(state):
            return now
        return memoryview(state).cast("q")[-1] + self.window

    def read(self, allowed: bool, raw: Raw) -> Reading:
        """Everything has come back when the newest moment no longer counts."""
        count, left, wait = raw
        if allowed:
            wait = 0
        return new_tuple(Reading, (self.limit, max(0, self.limit - count), left, wait if wait >= 0 else NEVER, 0))

    def _is_log(self, state: bytes) -> bool:
        return len(state) <= self._most_bytes and not len(state) % _MOMENT_BYTES
