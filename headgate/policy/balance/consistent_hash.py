"""Consistent hashing with bounded loads: the same endpoint for the same key, unless it has too much to do.

Sources: the ring with virtual nodes (Karger et al. 1997), the bound (Mirrokni, Thorup and Zadimoghaddam 2016:
"Consistent Hashing with Bounded Loads"): nobody has more in flight than `bound` times its share of all that is in
flight; a request that finds its endpoint full goes on along the ring.

Laws:
- The ring depends on names and weights of the endpoints alone: it is the same in every process, on every machine and
  after every start. An endpoint that gets nothing at present stays on it and is passed over, so only its own keys
  move, and they return with it; at a part of its weight it has that part of its points.
- Points are in proportion to weight, from 1 to POINTS for one endpoint. The scale is the power of two that holds the
  largest weight, so as long as that stays, a change of one weight moves only the keys it has to.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from math import ceil
from struct import unpack

from headgate.core.endpoint import Endpoint
from headgate.policy.balance.balancer import Balancer, C, Random
from headgate.policy.balance.settings import ConsistentHashSettings

_NUMBER_BITS = 7
POINTS = 1 << _NUMBER_BITS
_NUMBER = POINTS - 1
_OWNER_BITS = 24
_PLACE = (1 << _OWNER_BITS - _NUMBER_BITS) - 1
# What one digest is cut into.
_AT_ONCE = 8


class ConsistentHash(Balancer[C]):
    """Pick by key."""

    __slots__ = ("_bound", "_endpoints", "_in_flight", "_members", "_points", "_ring", "_weight")

    def __init__(self, settings: ConsistentHashSettings, random: Random) -> None:
        super().__init__(counted=settings.bound > 0)
        self._bound = settings.bound
        self._endpoints: list[Endpoint] = []
        self._members: list[C] = []
        # Points in order: 40 bits of position, then whose it is (a place in _members) and its number there.
        self._ring: list[int] = []
        # How many points each has at present; the weight of all; what is in flight at those with weight.
        self._points: list[int] = []
        self._weight = 0.0
        self._in_flight = 0

    def take(self, candidates: Sequence[C]) -> None:
        """Make the ring, if its members changed, and count the points that are in use."""
        endpoints = [each.endpoint for each in candidates]
        full = points_of([endpoint.weight for endpoint in endpoints])
        if endpoints != self._endpoints:
            self._endpoints = endpoints
            self._ring = sorted(
                position >> _OWNER_BITS << _OWNER_BITS | place << _NUMBER_BITS | number
                for place, (endpoint, count) in enumerate(zip(endpoints, full, strict=True))
                for number, position in enumerate(positions_of(endpoint.name + endpoint.prefix, count))
            )
        self._members = list(candidates)
        self._points = [
            ceil(count * min(1.0, each.weight / each.endpoint.weight)) if each.weight > 0 and count else 0
            for count, each in zip(full, candidates, strict=True)
        ]
        live = [each for each in candidates if each.weight > 0]
        self._weight = sum(each.weight for each in live)
        self._in_flight = sum(each.in_flight for each in live)

    def pick(self, now: float, key: int = 0) -> C | None:
        """Choose the first on the ring behind `key` that has room."""
        if self._weight <= 0.0:
            return None
        ring, points, members = self._ring, self._points, self._members
        room = self._bound * (self._in_flight + 1) / self._weight
        own: C | None = None
        at = bisect_right(ring, key)
        for _ in range(len(ring)):
            if at == len(ring):
                at = 0
            place = ring[at] >> _NUMBER_BITS & _PLACE
            if ring[at] & _NUMBER < points[place]:
                each = members[place]
                if not self.counted or each.in_flight <= 0 or each.in_flight < room * each.weight:
                    return each
                if own is None:
                    own = each
            at += 1
        # A bound below 1 leaves nobody room.
        return own

    def begin(self, candidate: C) -> None:
        """Count it, for the average too."""
        candidate.in_flight += 1
        if candidate.weight > 0:
            self._in_flight += 1

    def end(self, candidate: C, now: float, seconds: float | None, ok: bool) -> None:
        """Count it out."""
        candidate.in_flight -= 1
        if candidate.weight > 0:
            self._in_flight -= 1


def points_of(weights: Sequence[int]) -> list[int]:
    """Return how many points each has on the ring."""
    scale = 1 << (max(weights, default=1) - 1).bit_length() if any(weights) else 1
    return [ceil(weight * POINTS / scale) for weight in weights]


def positions_of(name: str, count: int) -> list[int]:
    """Return the first `count` points of an endpoint, integers of 64 bits."""
    found: list[int] = []
    for block in range(ceil(count / _AT_ONCE)):
        found += unpack(">8Q", blake2b(b"%b\0%d" % (name.encode(), block), digest_size=64).digest())
    return found[:count]
