"""When a child that died is started again.

Law: pure; `now` (seconds, monotonic) is an argument, randomness a constructor argument.

Two states. *Calm*: a child that died is replaced at once. *Loop*, entered with the fifth death within 30 s: each
further replacement waits 1, 2, 4 ... 30 s (with jitter, so that the slots of a gateway do not fall in step),
until one run has lasted 30 s; that is calm again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

BURST = 5
WINDOW = 30.0
LONGEST = 30.0


class Restarts:
    """The restart rule of one child."""

    __slots__ = ("_deaths", "_doublings", "_random", "looping")

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._deaths: deque[float] = deque(maxlen=BURST)
        self._doublings = 0
        self.looping = False

    def delay(self, started: float, now: float) -> float:
        """Note a death at `now` of a child started at `started`; return the seconds to wait before the next."""
        if now - started >= WINDOW:
            self._deaths.clear()
            self.looping = False
        self._deaths.append(now)
        if not self.looping:
            if len(self._deaths) < BURST or now - self._deaths[0] > WINDOW:
                return 0.0
            self.looping = True
            self._doublings = 0
        base = min(LONGEST, 2.0**self._doublings)
        self._doublings = min(self._doublings + 1, 16)
        return max(1.0, base * (0.5 + 0.5 * self._random()))

    def __repr__(self) -> str:
        return f"<Restarts {'loop' if self.looping else 'calm'}, {len(self._deaths)} recent deaths>"
