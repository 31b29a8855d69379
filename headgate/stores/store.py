"""What a store of limits is: it holds the states of groups of limits, and lets nobody in between check and change.

Laws:
- The asks of one `admit` are decided together: unless all are admitted (shadow groups aside), none is consumed.
- A store that is here answers at once; one that is elsewhere returns a Reply. Neither ever raises for a store that
  fails: then `Told.source` says who decided instead.
- `settle` never waits and never fails.
- Keys are digests of fixed length, states have a bounded length and an end, so no client can make a store grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from headgate.core.steps import Reply
from headgate.policy.limit.algorithm import Raw
from headgate.policy.limit.group import Group

KEY_BYTES = 16

Source = Literal["store", "local", "open", "closed"]


class Ask(NamedTuple):
    """One group of limits, for one key (KEY_BYTES long), and what the request costs in each of its limits."""

    group: Group
    key: bytes
    costs: tuple[int, ...]


class Told(NamedTuple):
    """What became of an ask. `raws` has one entry for each limit of the group, none when nobody counted.

    `source`: store, or what took its place: local (a share by itself), open (let pass), closed (refused).
    """

    allowed: bool
    raws: tuple[Raw, ...]
    source: Source


class Store(Protocol):
    """Where limits are counted. `now` is in microseconds of a clock that all workers of the machine share."""

    @property
    def evicted(self) -> int:
        """Keys that were forgotten before their end, to make room for others."""

    @property
    def elsewhere(self) -> int:
        """Asks that something else decided, because the store was away."""

    def admit(self, asks: Sequence[Ask], now: int) -> list[Told] | Reply[list[Told]]:
        """Hold a request against all asks."""

    def settle(self, asks: Sequence[Ask], now: int, *, local: bool = False) -> None:
        """Charge the costs of the asks after the fact (negative ones give back).

        `local` when they were not counted in the store but by what took its place, as their Told said.
        """

    def forget(self, keys: Sequence[bytes]) -> int | Reply[int]:
        """Begin afresh with these keys; return how many of them had been counted, less than 0 when that is not done."""

    def sweep(self, now: int) -> None:
        """Forget some of what has expired, for at most a few milliseconds; called about once a second or more often."""

    def close(self) -> None:
        """Let go of files and sockets."""
