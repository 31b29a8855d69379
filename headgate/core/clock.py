"""The two clocks. Monotonic for every duration and deadline; the wall clock only for log lines, views and dates.

Law: read once per wire event and pass `now` on; nothing on floor 1 that decides imports this.
"""

from __future__ import annotations

import time

monotonic = time.monotonic
wall = time.time

# Between two looks at both clocks more seconds than this say that one of them was set.
_SET = 0.01


class Moments:
    """Says of a moment of the monotonic clock when it was by the wall clock: always the same, until that one is set.

    Two clocks cannot be read at once, and a process may stand still between the two: what it says of one moment would
    differ from view to view.
    """

    __slots__ = ("_ahead",)

    def __init__(self) -> None:
        self._ahead = _ahead()[1]

    def of(self, moment: float) -> float:
        """Return it in seconds since 1970."""
        doubt, ahead = _ahead()
        if doubt < _SET and abs(ahead - self._ahead) > _SET:
            self._ahead = ahead
        return moment + self._ahead


def _ahead() -> tuple[float, float]:
    """Return by how much the wall clock is ahead, and how wrong that may be: the best of three looks."""
    found = []
    for _ in range(3):
        before = monotonic()
        at = wall()
        found.append((monotonic() - before, at - before))
    return min(found)
