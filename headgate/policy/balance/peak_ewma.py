"""Power of two choices on peak latency: of two candidates drawn by weight the one that costs less.

Source: Finagle's and Linkerd's "peak EWMA" over "the power of two choices" (Mitzenmacher 2001). The cost is the
moving average of latency, times the requests in flight and one more. The average jumps up to a latency above it and
approaches one below it with time; unheard of it sinks, so who was slow is asked again some day.

Laws:
- Latency is what this worker saw; in flight are the requests of all workers.
- An endpoint without history costs nothing: it is tried, by one request at a time.
- A failure is never cheap: it counts as a latency of FAILURE seconds or twice the one known, whatever is more, so
  that an endpoint that fails at once does not look fast.
- What is in flight is reckoned against weight (that of the mean endpoint counts as it is), and of equal costs the
  first draw wins, so shares follow weights, idle or busy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import exp

from headgate.policy.balance.balancer import Balancer, C, Random
from headgate.policy.balance.settings import PeakEwmaSettings

# Seconds.
FAILURE = 1.0
MOST_OF_FAILURE = 60.0
# What one without history costs while its first answer is awaited: more than any latency.
_UNKNOWN = 1e9


class PeakEwma(Balancer[C]):
    """Pick the faster of two."""

    __slots__ = ("_bounds", "_decay", "_last", "_live", "_mean", "_random", "_total")

    def __init__(self, settings: PeakEwmaSettings, random: Random) -> None:
        super().__init__(counted=True)
        self._decay = settings.decay
        self._random = random
        self._live: list[C] = []
        self._bounds: list[float] = []
        self._total = self._mean = 0.0
        self._last = -1

    def take(self, candidates: Sequence[C]) -> None:
        """Lay the weights end to end."""
        self._live = [each for each in candidates if each.weight > 0]
        self._bounds = list(accumulate(each.weight for each in self._live))
        self._total = self._bounds[-1] if self._live else 0.0
        self._mean = self._total / len(self._live) if self._live else 0.0
        self._last = len(self._live) - 1

    def pick(self, now: float, key: int = 0) -> C | None:
        """Choose the cheaper of two."""
        last, live, bounds = self._last, self._live, self._bounds
        if last < 1:
            return live[0] if live else None
        place = bisect_right(bounds, self._random() * self._total, 0, last)
        first = live[place]
        # The second is drawn from what remains when the first one's share is cut out.
        drawn = self._random() * (self._total - first.weight)
        if drawn >= bounds[place] - first.weight:
            drawn += first.weight
        second = live[bisect_right(bounds, drawn, 0, last)]
        return first if self._cost(first, now) <= self._cost(second, now) else second

    def _cost(self, candidate: C, now: float) -> float:
        latency = candidate.latency
        if latency <= 0.0:
            return _UNKNOWN * candidate.in_flight
        age = now - candidate.observed
        if age > 0.0:
            latency *= exp(-age / self._decay)
        return latency * (1.0 + candidate.in_flight * self._mean / candidate.weight)

    def end(self, candidate: C, now: float, seconds: float | None, ok: bool) -> None:
        """Learn how long it took."""
        candidate.in_flight -= 1
        if seconds is None:
            return
        known = candidate.latency
        if not ok:
            seconds = max(seconds, min(max(FAILURE, 2.0 * known), MOST_OF_FAILURE))
        if seconds < known:
            age = now - candidate.observed
            keep = exp(-age / self._decay) if age > 0.0 else 1.0
            seconds += (known - seconds) * keep
        candidate.latency = seconds
        candidate.observed = now
