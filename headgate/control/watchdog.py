"""When a child counts as stuck.

Law: pure; `now` (seconds, monotonic) is an argument.
"""

from __future__ import annotations


class Watchdog:
    """A child without a heartbeat for `limit` seconds is stuck; who asks, asks every `every` seconds.

    Seconds in which it got no processor do not count: a child that is killed for them has to begin anew on a machine
    that has too much to do already.
    """

    __slots__ = ("_every", "_last", "limit")

    def __init__(self, limit: float = 10.0, every: float = 1.0) -> None:
        self.limit = limit
        self._every = every
        self._last: float | None = None

    @property
    def next_look(self) -> float:
        """Return when to look again; 0.0 before the first time."""
        return 0.0 if self._last is None else self._last + self._every

    def looks(self, now: float) -> bool:
        """Tell whether it is time to look.

        Not when the one who looks comes much too late himself: then all processes stood still, as in a frozen
        container or a stopped process group, and the children deserve one more period.
        """
        late = now - self.next_look
        if late < 0:
            return False
        first, self._last = self._last is None, now
        return first or late <= self.limit / 2

    def wonders(self, heartbeat: float, now: float) -> bool:
        """Tell whether the last `heartbeat` is so long ago that it is worth asking what the child has done since."""
        return now - heartbeat > self.limit / 4

    def is_stuck(self, heartbeat: float, now: float, starved: float = 0.0) -> bool:
        """Tell whether the last `heartbeat` is too long ago; `starved` of these seconds it could do nothing about."""
        return now - heartbeat - starved > self.limit

    def __repr__(self) -> str:
        return f"<Watchdog limit {self.limit} s, next look {self.next_look:.1f}>"
