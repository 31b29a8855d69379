"""fixed_window: `limit` from a key's first request on, for `window`; the next request opens the next window.

State, 12 bytes, little endian, of a window that is open:
    opened    int64     microseconds
    count     uint32    1 to MOST_COUNT; above the limit is a debt, which ends with the window
Raw: (count, left, cost). `count`: with the request if it was admitted, without it if not; `left`: microseconds to the
end of the window, 0 when none is open; `cost`: of the request.
Numbers: (limit, window). A clock that stepped back before the opening stands at it.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from headgate.policy.limit.algorithm import MOST_COUNT, NEVER, Raw, Reading, new_tuple

_STATE: Final = Struct("<qI")
_STATE_BYTES: Final = 12
_pack: Final = _STATE.pack
_unpack: Final = _STATE.unpack


class FixedWindow:
    """One counter and the moment it began."""

    __slots__ = ("limit", "window")

    code: Final = 4

    def __init__(self, limit: int, window: int) -> None:
        """`window` in microseconds."""
        self.limit = limit
        self.window = window

    @property
    def numbers(self) -> tuple[int, ...]:
        """The limit and the window."""
        return (self.limit, self.window)

    @property
    def lifetime(self) -> int:
        """The window."""
        return self.window

    def admit(self, state: bytes, now: int, cost: int, owner: int) -> tuple[bool, bytes, Raw]:
        """Count `cost` in the open window, or open one with it."""
        opened = now
        count = 0
        left = 0
        if len(state) == _STATE_BYTES:
            opened, count = _unpack(state)
            left = opened + self.window - now
            if left <= 0:
                opened = now
                count = left = 0
            elif left > self.window:
                left = self.window
        if count + cost > self.limit:
            return False, state, (count, left, cost)
        if not cost:
            return True, state, (count, left, 0)
        return True, _pack(opened, count + cost), (count + cost, left or self.window, cost)

    def settle(self, state: bytes, now: int, amount: int, owner: int) -> bytes:
        """Add `amount` to the open window, or open one with it; what is given back leaves no less than nothing."""
        if not amount:
            return state
        opened = now
        count = 0
        if len(state) == _STATE_BYTES:
            opened, count = _unpack(state)
            if now >= opened + self.window:
                opened = now
                count = 0
        count = min(count + amount, MOST_COUNT)
        return _pack(opened, count) if count > 0 else b""

    def expires(self, state: bytes, now: int) -> int:
        """Return the end of the window."""
        return int(_unpack(state)[0]) + self.window if len(state) == _STATE_BYTES else now

    def read(self, allowed: bool, raw: Raw) -> Reading:
        """Everything comes back at the end of the window."""
        count, left, cost = raw
        wait = 0
        if not allowed and count + cost > self.limit:
            wait = left if cost <= self.limit else NEVER
        return new_tuple(Reading, (self.limit, max(0, self.limit - count), left, wait, 0))
