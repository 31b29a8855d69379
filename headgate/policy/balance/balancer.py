"""What all balancers share: the candidate they choose from, and how they are asked.

Laws:
- `take` hands over every endpoint of the service; one of weight 0 gets nothing at present. It is called again after
  every change of weights or of counts that did not go through `begin` and `end`, so `pick` need not look for changes.
- `pick` never raises and never changes a count. Between a `begin` and its `end` an attempt is in flight.
- A balancer that heeds no counts says so by `counted`, and nobody needs to count for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from headgate.core.endpoint import Endpoint

# Gives numbers from 0 up to, not including, 1.
Random = Callable[[], float]


class Candidate:
    """An endpoint as a balancer sees it.

    `weight` is its present share: that of the endpoint, a part of it during slow start, or 0. `in_flight` counts
    requests over all workers; `latency` (seconds) and `observed` (monotonic seconds) are what one worker saw.
    """

    __slots__ = ("endpoint", "in_flight", "latency", "observed", "place", "weight")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.weight = float(endpoint.weight)
        self.in_flight = 0
        self.latency = 0.0
        self.observed = 0.0
        # Where its balancer keeps it.
        self.place = 0

    def remember(self, earlier: Candidate) -> None:
        """Take over what was seen of the same endpoint."""
        self.latency, self.observed = earlier.latency, earlier.observed


C = TypeVar("C", bound=Candidate)


class Balancer(Generic[C]):
    """Choose among the candidates of one service. `random` makes workers begin at different places."""

    __slots__ = ("counted",)

    def __init__(self, counted: bool) -> None:
        self.counted = counted

    def share(self, cells: memoryview, claim: Callable[[], int]) -> None:
        """Learn of cells that all workers see; who keeps something there claims its place (board.Board.claim)."""

    def take(self, candidates: Sequence[C]) -> None:
        """Learn who is there, with which weight, and what is in flight at each."""
        raise NotImplementedError

    def pick(self, now: float, key: int = 0) -> C | None:
        """Choose one (None: nobody has weight). `now` in monotonic seconds; `key`: 64 bits that a hash made."""
        raise NotImplementedError

    def begin(self, candidate: C) -> None:
        """Learn that an attempt at `candidate` begins."""
        candidate.in_flight += 1

    def end(self, candidate: C, now: float, seconds: float | None, ok: bool) -> None:
        """Learn that it ended: after `seconds` came the answer (`ok`) or the failure; None says nothing of it."""
        candidate.in_flight -= 1
