"""Which requests a worker refuses when it has itself too much to do: the lower priorities first, critical ones last.

Two signs of overload, each by configuration: more requests in flight than `max_in_flight`, and an event loop that is
late. Lateness is judged as CoDel judges a queue (Nichols and Jacobson, Controlling Delay Management, RFC 8289): a peak
is no overload, but lateness that was never below `lag` for a whole interval is. One late look says nothing, however
late: a worker that the system did not let run for a second has one of those, and no more to do than before.

How much is refused is one number, the pressure: between 0 and 1 that part of the low requests, between 1 and 2 all of
them and a part of the normal ones, and so on. It rises with every interval of overload, the faster the later the loop
is, and sinks step by step, so that what was refused does not come back all at once.

Laws: while there is no pressure and little is in flight, all that a request costs is one comparison with `bar`.
A request that comes when hardly another is there is taken: to refuse it would relieve nobody.
"""

from __future__ import annotations

from headgate.policy.overload_settings import PRIORITIES, Overload

INTERVAL = 0.25
"""Seconds that lateness has to last (RFC 8289: about the longest round trip; here what a client hardly notices)."""

# Looks in a row that find the loop late.
_LOOKS = 2
# As many at once are taken however late the loop is.
_FEW = 4
# Percent of max_in_flight that each rank of PRIORITIES may fill.
_SHARES = (120, 110, 100, 70)
_RANKS = len(PRIORITIES)
# What passes of the rank in question shrinks by this part for each multiple of the lag in an interval, at most by half,
# and grows by one step, then two, then three, until there is overload again. Both in proportion: where a tenth may
# pass, a hundredth more is as much as a tenth where all may.
_CUT, _DEEPEST, _STEP = 0.05, 0.5, 0.10
# Less than this of a rank is nothing: the next one is in question. Of the last one it always passes, so that nobody is
# starved by a sign that is wrong.
_LEAST = 0.05
# As many intervals as one turn of a late loop may count for.
_SPAN = 8.0
_NEVER = float("-inf")
_UNBOUNDED = 1 << 62


class LoadShedder:
    """The decision of one worker."""

    __slots__ = (
        "_bounds",
        "_calm",
        "_came",
        "_enabled",
        "_good_at",
        "_idle_bar",
        "_lag",
        "_late",
        "_owed",
        "_turned",
        "bar",
        "pressure",
    )

    def __init__(self, settings: Overload) -> None:
        most = settings.max_in_flight if settings.enabled else 0
        self._enabled = settings.enabled
        self._lag = settings.lag
        self._bounds = [max(1, most * share // 100) if most else _UNBOUNDED for share in _SHARES]
        self._idle_bar = self._bounds[-1]
        # In flight, this one included: more than this, and `admits` is to be asked.
        self.bar = self._idle_bar
        self.pressure = 0.0
        self._good_at = self._turned = _NEVER
        self._calm = self._late = 0
        # Requests of each rank since the last step, and the part of a refusal that is still owed to each.
        self._came = [0] * _RANKS
        self._owed = [0.0] * _RANKS

    def admits(self, rank: int, in_flight: int) -> bool:
        """Tell whether a request of this rank is taken, itself counted among those `in_flight`."""
        if in_flight > self._bounds[rank]:
            return False
        if not self.pressure:
            return True
        self._came[rank] += 1
        part = self.pressure - (_RANKS - 1 - rank)
        if part <= 0.0:
            return True
        # Evenly: of a part of 0.3 it is every third or fourth, never by chance many in a row.
        owed = self._owed[rank] + min(1.0, part)
        self._owed[rank] = owed - 1.0 if owed >= 1.0 else owed
        return owed < 1.0

    def observe(self, lag: float, now: float) -> None:
        """Take how late the event loop was at `now`, both in seconds; several times in an interval."""
        if not self._enabled:
            return
        if lag < self._lag or self._good_at == _NEVER:
            self._good_at, self._late = now, 0
        else:
            self._late += 1
        if now - self._turned < INTERVAL:
            return
        if now - self._good_at >= INTERVAL:
            if self._late < _LOOKS:
                return
            self._calm = 0
            self._press(lag, min(_SPAN, (now - max(self._turned, self._good_at)) / INTERVAL))
        elif self.pressure:
            self._calm += 1
            self._ease(1.0 + _STEP * self._calm)
        else:
            return
        self._turned = now

    def _press(self, lag: float, intervals: float) -> None:
        """Refuse more. Ranks of which nothing comes are passed over: refusing them relieves nobody."""
        in_question = int(self.pressure)
        if any(self._came):
            while in_question < _RANKS - 1 and not any(self._came[_RANKS - 1 - in_question :]):
                in_question += 1
        self._came = [0] * _RANKS
        passing = 1.0 - (self.pressure - in_question) if in_question == int(self.pressure) else 1.0
        passing *= (1.0 - min(_DEEPEST, _CUT * lag / self._lag)) ** intervals
        if passing < _LEAST:
            if in_question < _RANKS - 1:
                in_question += 1
                passing = 1.0
            else:
                passing = _LEAST
        self._set(in_question + 1.0 - passing)

    def _ease(self, factor: float) -> None:
        """Refuse less."""
        in_question = int(self.pressure)
        passing = max(_LEAST, 1.0 - (self.pressure - in_question)) * factor
        if passing < 1.0:
            self._set(in_question + 1.0 - passing)
        else:
            self._set(in_question - _LEAST if in_question else 0.0)

    def _set(self, pressure: float) -> None:
        self.pressure = pressure
        self.bar = min(_FEW, self._idle_bar) if pressure else self._idle_bar

    def snapshot(self) -> dict[str, float]:
        """Return how much is refused: 0 nothing, 1 all low requests, 4 everything."""
        return {"pressure": round(self.pressure, 3)}

    def __repr__(self) -> str:
        return f"<LoadShedder pressure={self.pressure:.2f}>"
