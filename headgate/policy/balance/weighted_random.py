"""By chance, in proportion to weight: no memory at all, so many gateways never fall into step."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from headgate.policy.balance.balancer import Balancer, C, Random
from headgate.policy.balance.settings import RandomSettings


class WeightedRandom(Balancer[C]):
    """Draw one."""

    __slots__ = ("_bounds", "_last", "_live", "_random", "_total")

    def __init__(self, settings: RandomSettings, random: Random) -> None:
        super().__init__(counted=False)
        self._random = random
        self._live: list[C] = []
        self._bounds: list[float] = []
        self._total = 0.0
        self._last = -1

    def take(self, candidates: Sequence[C]) -> None:
        """Lay the weights end to end."""
        self._live = [each for each in candidates if each.weight > 0]
        self._bounds = list(accumulate(each.weight for each in self._live))
        self._total = self._bounds[-1] if self._live else 0.0
        self._last = len(self._live) - 1

    def pick(self, now: float, key: int = 0) -> C | None:
        """Choose by chance."""
        last = self._last
        if last < 0:
            return None
        # Rounding could lead to the very end: the last bound stays out of the search.
        return self._live[bisect_right(self._bounds, self._random() * self._total, 0, last)]
