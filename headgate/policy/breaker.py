"""The circuit breaker of a service (after M. Nygard, "Release It!"), over cells that many processes may share.

    closed     -- a failure too many -->               open
    open       -- its time is over, a call comes -->   half-open
    half-open  -- success_threshold successes -->      closed
    half-open  -- one failure -->                      open

`admit` gives a ticket or refuses; whoever got a ticket settles it once, with OK, FAILED or EXCLUDED.

Laws:
- A record of zeros is a closed breaker. All that decides stands in its cells, so processes over one record act as one.
- The cell PHASE is a state and, above it, a generation that changes with every change of state; it is written last.
  A ticket carries the generation: one of an earlier time is ignored.
- Closed without a failure in the window, a call reads PHASE twice and writes nothing. Everything that writes holds the
  lock and looks again under it. Refusals, late tickets and excluded calls take no lock.
- Half-open, at most `trials` calls are under way. One that is never settled, because its process died, gives its place
  back when `timeout` has passed since the last one was let in; if it comes to an end after all, it still counts.
- Times are integer microseconds of a clock that all processes share.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Literal, NamedTuple

from headgate.policy.breaker_settings import BreakerSettings
from headgate.policy.breaker_window import CELLS, FIRST, window_of

State = Literal["closed", "open", "half_open"]
Force = Literal["", "open", "closed"]

# How a call ended for the service.
OK: Final = 0
FAILED: Final = 1
EXCLUDED: Final = 2

# The states in the low bits of PHASE. _WATCHFUL is closed with a failure in the window.
_CLEAN: Final = 0
_WATCHFUL: Final = 1
_OPEN: Final = 2
_HALF_OPEN: Final = 3
_STATE_BITS: Final = 2
_STATES: Final = 3
# What is not zero of a phase or a ticket when a success has to be told, and when calls are not simply let through.
NOT_CLEAN: Final = 3
NOT_CLOSED: Final = 2
_NAMES: Final[tuple[State, State, State, State]] = ("closed", "closed", "open", "half_open")

# The cells of a record.
_PHASE: Final = 0
_FORCED: Final = 1
_OPENED_AT: Final = 2
_UNTIL: Final = 3
_LAST_FAILURE: Final = 4
_TRIALS: Final = 5
_SUCCESSES: Final = 6
_LEASE: Final = 7
# How often the places of lost trials were given back. A ticket carries it above the phase: none is given back twice.
_WAVE: Final = 8
_WAVE_SHIFT: Final = 48
_PHASE_MASK: Final = (1 << _WAVE_SHIFT) - 1

_FORCES: Final[tuple[Force, Force, Force]] = ("", "open", "closed")
_MICROSECONDS: Final = 1_000_000
# When a place may get free is not known; asking again after so long makes sense.
_PLACE_WAIT: Final = 1_000_000


class Snapshot(NamedTuple):
    """What is to be seen of a breaker. Times are monotonic microseconds, 0 for never.

    `failures` are those in the window, or at the opening; `until` is when the time open ends, 0 when it does not end by
    itself; `trials` are the calls under way while half-open, `successes` those that ended well.
    """

    state: State
    forced: Force
    failures: int
    last_failure: int
    opened_at: int
    until: int
    trials: int
    successes: int


class Breaker:
    """The decisions over one record."""

    __slots__ = ("_base", "_cells", "_lock", "_on_change", "_random", "_settings", "_timeout", "_trials", "_window")

    def __init__(
        self,
        settings: BreakerSettings,
        cells: memoryview,
        base: int,
        lock: AbstractContextManager[None],
        random: Callable[[], float],
        on_change: Callable[[State], None],
    ) -> None:
        """Decide over the record that begins at `base`; `lock` keeps its changes apart, and is entered again and again.

        `random` returns a number from 0 to 1. `on_change` is told the new state by whom a call's coming or going has
        changed it, once, outside the lock; of changes by hand it is not told.
        """
        self._settings = settings
        self._cells = cells
        self._base = base
        self._lock = lock
        self._random = random
        self._on_change = on_change
        self._timeout = round(settings.timeout * _MICROSECONDS)
        self._trials = settings.trials
        self._window = window_of(settings, cells, base)

    # -- calls ------------------------------------------------------------------------------------------------------

    def admit(self, now: int) -> int:
        """Return the ticket of a call, or below zero: refused, and the microseconds until asking again makes sense."""
        cells, base = self._cells, self._base
        phase = cells[base]
        if not phase & NOT_CLOSED:
            return phase
        wait = self._wait(phase & _STATES, now)
        if wait:
            return -wait
        with self._lock:
            before = cells[base]
            ticket = self._admit(now)
            after = cells[base]
        if before >> _STATE_BITS != after >> _STATE_BITS:
            self._on_change(_NAMES[after & _STATES])
        return ticket

    def settle(self, ticket: int, outcome: int, now: int) -> None:
        """Take back a ticket, once: the call ended with `outcome`."""
        cells, base = self._cells, self._base
        if outcome == OK:
            if cells[base] == ticket and not ticket & NOT_CLEAN:
                return
        elif outcome == EXCLUDED and not ticket & NOT_CLOSED:
            return
        if not self._is_current(ticket):
            return
        with self._lock:
            before = cells[base]
            # Others may have changed the state while this one waited.
            if self._is_current(ticket):
                self._settle(ticket, outcome, now)
            after = cells[base]
        if before >> _STATE_BITS != after >> _STATE_BITS:
            self._on_change(_NAMES[after & _STATES])

    def _is_current(self, ticket: int) -> bool:
        """Tell whether a ticket is of this generation, and calls decide anything."""
        generation = (ticket & _PHASE_MASK) >> _STATE_BITS
        return generation == self._cells[self._base] >> _STATE_BITS and not self._cells[self._base + _FORCED]

    def _wait(self, state: int, now: int) -> int:
        """Return how long a call has to wait in this state, or 0 when it need not."""
        cells, base = self._cells, self._base
        if state == _OPEN:
            return self._timeout if cells[base + _FORCED] else max(0, cells[base + _UNTIL] - now)
        if state == _HALF_OPEN and cells[base + _TRIALS] >= self._trials:
            return max(0, min(cells[base + _LEASE] - now, _PLACE_WAIT))
        return 0

    def _admit(self, now: int) -> int:
        cells, base = self._cells, self._base
        phase = cells[base]
        wait = self._wait(phase & _STATES, now)
        if wait:
            return -wait
        if not phase & NOT_CLOSED:
            return phase
        if phase & _STATES == _OPEN:
            cells[base + _TRIALS] = cells[base + _SUCCESSES] = cells[base + _WAVE] = 0
            phase = self._enter(_HALF_OPEN)
        elif cells[base + _TRIALS] >= self._trials:
            # None of those under way has come to an end in all that time.
            cells[base + _WAVE] += 1
            cells[base + _TRIALS] = 0
        cells[base + _TRIALS] += 1
        cells[base + _LEASE] = now + self._timeout
        return cells[base + _WAVE] << _WAVE_SHIFT | phase

    def _settle(self, ticket: int, outcome: int, now: int) -> None:
        cells, base = self._cells, self._base
        if outcome == FAILED:
            cells[base + _LAST_FAILURE] = now
        if not ticket & NOT_CLOSED:
            if self._window.record(outcome == FAILED, now):
                self._open(now)
            else:
                state = _WATCHFUL if self._window.failures(now) else _CLEAN
                cells[base] = cells[base] & ~_STATES | state
            return
        if ticket >> _WAVE_SHIFT == cells[base + _WAVE]:
            cells[base + _TRIALS] -= 1
        if outcome == FAILED:
            self._open(now)
        elif outcome == OK:
            cells[base + _SUCCESSES] += 1
            if cells[base + _SUCCESSES] >= self._settings.success_threshold:
                self._close()

    def _open(self, now: int) -> None:
        spread = self._settings.jitter / 100 * (2 * self._random() - 1)
        self._cells[self._base + _OPENED_AT] = now
        self._cells[self._base + _UNTIL] = now + max(1, round(self._timeout * (1 + spread)))
        self._enter(_OPEN)

    def _close(self) -> None:
        for cell in range(self._base + FIRST, self._base + FIRST + CELLS):
            self._cells[cell] = 0
        self._enter(_CLEAN)

    def _enter(self, state: int) -> int:
        phase = self._cells[self._base] = (self._cells[self._base] >> _STATE_BITS) + 1 << _STATE_BITS | state
        return phase

    # -- by hand, and to be seen ------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget what was, and what was done by hand: closed, and calls decide."""
        with self._lock:
            self._cells[self._base + _LAST_FAILURE] = 0
            self._cells[self._base + _FORCED] = _FORCES.index("")
            self._close()

    def force_open(self, now: int) -> None:
        """Refuse every call until `reset` or `force_closed`."""
        with self._lock:
            self._cells[self._base + _FORCED] = _FORCES.index("open")
            self._cells[self._base + _OPENED_AT] = now
            self._enter(_OPEN)

    def force_closed(self) -> None:
        """Let every call through, whatever becomes of it, until `reset` or `force_open`."""
        with self._lock:
            self._cells[self._base + _FORCED] = _FORCES.index("closed")
            self._close()

    def state(self, now: int) -> State:
        """Return the state in which the next call would find it."""
        phase, forced = self._cells[self._base], self._cells[self._base + _FORCED]
        if phase & _STATES == _OPEN and not forced and now >= self._cells[self._base + _UNTIL]:
            return "half_open"
        return _NAMES[phase & _STATES]

    def snapshot(self, now: int) -> Snapshot:
        """Return what is to be seen of it."""
        with self._lock:
            cells, base = self._cells, self._base
            state = self.state(now)
            forced = _FORCES[cells[base + _FORCED]]
            is_half_open = cells[base] & _STATES == _HALF_OPEN
            return Snapshot(
                state=state,
                forced=forced,
                failures=self._window.failures(now),
                last_failure=cells[base + _LAST_FAILURE],
                opened_at=cells[base + _OPENED_AT] if state != "closed" else 0,
                until=cells[base + _UNTIL] if state == "open" and not forced else 0,
                trials=cells[base + _TRIALS] if is_half_open else 0,
                successes=cells[base + _SUCCESSES] if is_half_open else 0,
            )

    def __repr__(self) -> str:
        phase = self._cells[self._base]
        return f"<Breaker {_NAMES[phase & _STATES]} generation {phase >> _STATE_BITS}>"
