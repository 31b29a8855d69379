"""How long a source waits after failures: longer each time up to a bound, with chance in it, so that gateways that
lost the same registry do not come back to it together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_MOST_DOUBLINGS: Final = 16


class Backoff:
    """The pauses of one source, in seconds."""

    __slots__ = ("_chance", "_failures", "_first", "_most")

    def __init__(self, chance: Callable[[], float], first: float = 0.5, most: float = 30.0) -> None:
        """`chance` returns numbers from 0 to 1; a pause is from half of what it might be to all of it."""
        self._chance = chance
        self._first = first
        self._most = most
        self._failures = 0

    def succeeded(self) -> None:
        """Begin anew."""
        self._failures = 0

    def pause(self) -> float:
        """Return how long to wait after one more failure."""
        longest = min(self._most, self._first * 2.0 ** min(self._failures, _MOST_DOUBLINGS))
        self._failures += 1
        return longest * (0.5 + 0.5 * self._chance())
