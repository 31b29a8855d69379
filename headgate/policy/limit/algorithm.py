"""What every limiter algorithm is: arithmetic on a few bytes of state, the same in Python and in the Redis script.

Laws:
- Times are integers in microseconds and arguments; nothing here reads a clock. Time may step back a little between two
  calls (workers read their clocks at slightly different moments): an algorithm takes the later of both then.
- `admit` consumes or changes nothing: a refusal returns the state it was given (or one that means the same).
- The state of a key nobody has asked for is b"". A state of another length than the algorithm writes counts as b"".
- Whatever is told to people is computed from `raw` by `read`, in Python only, so the script stays small.
- A request is admitted when the balance stays at zero or above. So one of cost 0 is refused in debt only, and never
  changes anything; one that costs more than the limit ever admits is refused with a wait of NEVER.
- Costs are 0 to MOST_COST (settings.py), amounts as much either way: whoever reads them from elsewhere caps them. Every
  number and every product that decides is below 2**53 then, so that arithmetic in doubles agrees.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

# The wait of a cost that no wait would admit.
NEVER: Final = 2**53 - 1
# Microseconds no capacity and no debt lasts longer than (71 years): a time of day plus twice this is below 2**53.
LONGEST: Final = 2**51
# What a counter stops at, so that a debt has an end.
MOST_COUNT: Final = 2**31 - 1

# Up to three numbers of which `read` makes a Reading; what they mean is the algorithm's own.
Raw = tuple[int, int, int]


class Reading(NamedTuple):
    """One limit after a request was held against it. Times are microseconds from now, rounded up.

    `remaining`: how many requests of cost 1 would be admitted now, none in debt; never more than `limit`. `reset`:
    until all of the limit is available again. `wait`: until the refused cost would be admitted if nobody else came,
    0 if this limit did not refuse it, NEVER if it asks for more than there ever is. `delay`: how long an admitted
    request has to wait for its turn (leaky_bucket with max_delay).
    """

    limit: int
    remaining: int
    reset: int
    wait: int
    delay: int


# Makes a Reading in half the time that its own constructor takes.
new_tuple: Final = tuple.__new__


class Algorithm(Protocol):
    """One limit of one tier."""

    @property
    def code(self) -> int:
        """Which of the script's algorithms this is."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Its constants, as the script takes them: whole numbers below 2**53."""

    @property
    def lifetime(self) -> int:
        """Microseconds after its last change at which a state means the same as b"" (at most; a debt lasts longer)."""

    def admit(self, state: bytes, now: int, cost: int, owner: int) -> tuple[bool, bytes, Raw]:
        """Hold a request of this cost against the limit: admitted?, the new state, what to tell.

        `owner` names the worker that counts, a number below 2**53 that no other process has or had (concurrency alone
        needs it).
        """

    def settle(self, state: bytes, now: int, amount: int, owner: int) -> bytes:
        """Charge `amount` after the fact, never refusing: more than there is drives the balance below zero.

        A negative amount gives back, never more than is counted now. For concurrency it is minus the cost when the
        request has ended, and 0, now and then, while it goes on.
        """

    def expires(self, state: bytes, now: int) -> int:
        """Return from when on, in microseconds, the state means the same as b""."""

    def read(self, allowed: bool, raw: Raw) -> Reading:
        """Make of what `admit` returned what clients are told; `allowed`: by the whole group."""
