"""How many requests at once a service takes without growing slow, found from the latency of its answers.

Source: Gradient2 of Netflix's concurrency-limits and the gradient controller of Envoy's adaptive concurrency filter.
After each window of answers the limit is multiplied by the gradient, usual latency x tolerance / latency of the window,
bounded to 0.5 .. 1, and the square root of the limit is added: the queue that a service may have to stay busy.

Laws:
- The limit grows only while it is what holds requests back; what is idle proves nothing.
- The usual latency follows a faster service quickly, and a slower one only while the limit is not what makes it wait
  (its own queue must never become what is usual, or the limit would creep up under lasting overload).
- Whoever is refused was not counted; every admitted request is settled exactly once.
"""

from __future__ import annotations

from math import sqrt

from headgate.policy.overload_settings import AdaptiveConcurrency

# Percent of the limit that each rank of PRIORITIES may fill: those above normal go a little beyond it.
SHARES = (120.0, 110.0, 100.0, 70.0)

_FEWEST = 10
_SMOOTHING = 0.2
# Weight of one window in the usual latency, on its way down and up: at 0.25 s a window, 6 and 25 seconds. More apart,
# and chance alone would drag it to the fastest window ever seen. The first windows count alike.
_FALL, _RISE = 1 / 25, 1 / 100
_WARM_UP = 10
# Answers that were lost (timeouts, refused connections) say more than latency: the limit shrinks by a tenth.
_BACKOFF = 0.9


class AdaptiveLimit:
    """The limit of one service in one worker."""

    __slots__ = (
        "_bars",
        "_dropped",
        "_ends",
        "_limit",
        "_max",
        "_min",
        "_peak",
        "_sampled",
        "_samples",
        "_tolerance",
        "_usual",
        "_window",
        "_windows",
        "in_flight",
    )

    def __init__(self, settings: AdaptiveConcurrency) -> None:
        self._min = float(settings.min)
        self._max = float(max(settings.min, settings.max))
        self._tolerance = settings.tolerance
        self._window = settings.window
        self._limit = min(max(float(settings.initial), self._min), self._max)
        self._bars = [self._limit * share / 100.0 for share in SHARES]
        self._usual = 0.0
        self._windows = 0
        self.in_flight = 0
        # Of the present window: when it ends, its answers, and the most that was in flight.
        self._ends = 0.0
        self._samples = 0
        self._sampled = 0.0
        self._dropped = False
        self._peak = 0

    @property
    def limit(self) -> int:
        """Return how many requests at once there may be."""
        return int(self._limit)

    def admit(self, rank: int) -> bool:
        """Take a request of this rank in, or tell that there are too many for its kind; `settle` it when it ends."""
        if self.in_flight >= self._bars[rank]:
            # Demand reached the limit, whether or not everybody was let in.
            self._peak = max(self._peak, int(self._limit))
            return False
        self.in_flight += 1
        if self.in_flight > self._peak:
            self._peak = self.in_flight
        return True

    def settle(self, latency: float, now: float) -> None:
        """Let a request go that was answered after `latency` seconds; 0 for one that says nothing of the service."""
        self.in_flight -= 1
        if latency > 0.0:
            self._samples += 1
            self._sampled += latency
        if now >= self._ends:
            self._turn(now)

    def dropped(self, now: float) -> None:
        """Let a request go that the service did not answer in time, or refused because it has too much to do."""
        self.in_flight -= 1
        self._dropped = True
        if now >= self._ends:
            self._turn(now)

    def abandoned(self, waited: float, now: float) -> None:
        """Let a request go whose caller gave it `waited` seconds: lost, if that is more than the service may take.

        Callers choose their deadlines: those that nobody could keep must not shrink the limit of all.
        """
        if 0.0 < self._usual * self._tolerance < waited:
            self.dropped(now)
        else:
            self.settle(0.0, now)

    def _turn(self, now: float) -> None:
        """Decide, if the window has seen enough, and begin the next one."""
        if self._dropped:
            self._set(self._limit * _BACKOFF)
        elif self._samples >= _FEWEST and self._ends:
            self._decide(self._sampled / self._samples)
        elif self._ends:
            return
        self._ends = now + self._window
        self._samples = 0
        self._sampled = 0.0
        self._dropped = False
        self._peak = self.in_flight

    def _decide(self, latency: float) -> None:
        limit = self._limit
        held_back = self._peak >= limit * SHARES[-1] / 100.0
        self._windows += 1
        if self._windows <= _WARM_UP:
            self._usual += (latency - self._usual) / self._windows
        elif latency < self._usual or limit <= self._min:
            # What the fewest requests have to wait is what the service takes.
            self._usual += (latency - self._usual) * _FALL
        elif not held_back:
            self._usual += (latency - self._usual) * _RISE
        gradient = max(0.5, min(1.0, self._tolerance * self._usual / latency))
        wanted = limit * gradient + sqrt(limit)
        if wanted < limit or held_back:
            self._set(limit + (wanted - limit) * _SMOOTHING)

    def _set(self, limit: float) -> None:
        self._limit = limit = min(max(limit, self._min), self._max)
        self._bars = [limit * share / 100.0 for share in SHARES]

    def snapshot(self) -> dict[str, float]:
        """Return what the limit rests on."""
        return {"limit": int(self._limit), "in_flight": self.in_flight, "usual_latency": self._usual}

    def __repr__(self) -> str:
        return f"<AdaptiveLimit {int(self._limit)} in_flight={self.in_flight} usual={self._usual * 1000:.1f} ms>"
