"""When the keys of an issuer are fetched, and for how long they may be used.

Laws: pure; `now` is monotonic, in seconds. Of chance comes only how much sooner than it must be something is fetched,
so that gateways and workers that began together do not ask together.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from headgate.auth.settings import KeySetSource

# Seconds until the first try after a failure; doubled with every further one, up to `cooldown`.
_FIRST_RETRY = 1.0
_MOST_DOUBLINGS = 12
_SPREAD = 0.1


class KeySchedule:
    """The times of one issuer's keys. `due`: when to fetch next; `good_until`: when the present keys are too old."""

    __slots__ = ("_asked_at", "_chance", "_failures", "_source", "due", "good_until")

    def __init__(self, source: KeySetSource, now: float, chance: Callable[[], float]) -> None:
        """Begin: the first fetch is due at once. `chance` returns a number from 0 to 1."""
        self._source = source
        self._chance = chance
        self._failures = 0
        self._asked_at = -inf
        self.due = now
        self.good_until = now + source.refresh + source.max_stale

    def fetched(self, now: float, max_age: float | None) -> None:
        """Note that keys came; `max_age`: seconds the issuer says they are good for."""
        source = self._source
        wait = source.refresh
        if max_age is not None:
            # An issuer may shorten the wait, but not make us ask it all the time.
            wait = min(wait, max(max_age, source.cooldown))
        self._failures = 0
        self.due = now + wait * (1 - _SPREAD * self._chance())
        self.good_until = now + source.refresh + source.max_stale

    def failed(self, now: float) -> None:
        """Note that none came."""
        wait = _FIRST_RETRY * 2.0 ** min(self._failures, _MOST_DOUBLINGS)
        self._failures += 1
        wait = min(wait, self._source.cooldown, self._source.refresh)
        self.due = now + wait * (1 - _SPREAD * self._chance())
        if now < self.good_until < self.due:
            self.due = self.good_until

    def asked(self, now: float) -> bool:
        """Tell whether to fetch at once for the sake of an unknown key; if so, that is the one time in `cooldown`."""
        if now - self._asked_at < self._source.cooldown:
            return False
        self._asked_at = self.due = now
        return True
