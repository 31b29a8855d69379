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
- A change costs as much as what changed has points: the ring of a thousand is not sorted anew for one that comes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
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
# Up to this part of the ring, changes are put between what stays of it; beyond, making it anew is cheaper.
_FEW = 8
# What one digest is cut into.
_AT_ONCE = 8
_BITS = 64
# All points of one endpoint as one large number, in which arithmetic is done on all of them at once: a one in each, the
# number of each, and the bits of a position in each.
_ONES = int.from_bytes((1).to_bytes(_BITS // 8) * POINTS)
_NUMBERS = int.from_bytes(b"".join([number.to_bytes(_BITS // 8) for number in range(POINTS)]))
_POSITIONS = _ONES * ((1 << _BITS) - (1 << _OWNER_BITS))


class ConsistentHash(Balancer[C]):
    """Pick by key."""

    __slots__ = ("_at", "_bound", "_endpoints", "_in_flight", "_members", "_places", "_points", "_ring", "_weight")

    def __init__(self, settings: ConsistentHashSettings, random: Random) -> None:
        super().__init__(counted=settings.bound > 0)
        self._bound = settings.bound
        self._endpoints: list[Endpoint] = []
        self._members: list[C] = []
        # By who it is: its place in _members, which it keeps while it stays, and how many points it has on the ring.
        self._places: dict[str, tuple[int, int]] = {}
        self._at: list[int] = []
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
            self._settle(endpoints, full)
        size = max(self._at, default=-1) + 1
        self._members = [candidates[0]] * size if candidates else []
        self._points = [0] * size
        for place, points, each in zip(self._at, full, candidates, strict=True):
            self._members[place] = each
            if each.weight > 0 and points:
                self._points[place] = ceil(points * min(1.0, each.weight / each.endpoint.weight))
        live = [each for each in candidates if each.weight > 0]
        self._weight = sum(each.weight for each in live)
        self._in_flight = sum(each.in_flight for each in live)

    def _settle(self, endpoints: Sequence[Endpoint], full: Sequence[int]) -> None:
        """Give everybody a place, and change those points of the ring that differ."""
        before = self._places
        places: dict[str, tuple[int, int]] = {}
        taken = {place for place, _ in before.values()}
        # A place that becomes free now is given away next time: until then its points say who is to leave.
        free = 0
        # Who, where, and from which of its points up to which the ring differs.
        spans: list[tuple[str, int, int, int]] = []
        self._at = []
        for endpoint, points in zip(endpoints, full, strict=True):
            name = endpoint.name + endpoint.prefix
            while name in places:
                name += "\0"
            if name in before:
                place, had = before.pop(name)
            else:
                while free in taken:
                    free += 1
                place, had = free, 0
                free += 1
            places[name] = (place, points)
            self._at.append(place)
            if points != had:
                spans.append((name, place, min(points, had), max(points, had)))
        spans += [(name, place, 0, had) for name, (place, had) in before.items()]
        self._places = places
        if sum(end - start for _, _, start, end in spans) * _FEW > len(self._ring):
            spans = [(name, place, 0, points) for name, (place, points) in places.items()]
            self._ring = []
        changes: list[int] = []
        for name, place, start, end in spans:
            changes += _ring_points(name, place, start, end)
        changes.sort()
        self._ring = _toggled(self._ring, changes) if self._ring else changes

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


def _ring_points(name: str, place: int, start: int, end: int) -> tuple[int, ...]:
    """Return points of whoever has a place, as they stand on the ring."""
    digests = _digests(name, end)
    unused = POINTS * _BITS - len(digests) * 8
    # A loop over the points took a fifth of the time that the first ring of a thousand endpoints takes.
    points = int.from_bytes(digests) & _POSITIONS >> unused
    points |= (_ONES >> unused) * (place << _NUMBER_BITS) | _NUMBERS >> unused
    return _cut(points.to_bytes(len(digests)))[start:end]


def _toggled(ring: list[int], changes: list[int]) -> list[int]:
    """Return a ring without those of these points that are on it, and with those that are not. All are in order."""
    parts: list[int] = []
    at = 0
    for point in changes:
        found = bisect_left(ring, point, at)
        parts += ring[at:found]
        if found < len(ring) and ring[found] == point:
            at = found + 1
        else:
            parts.append(point)
            at = found
    parts += ring[at:]
    return parts


def positions_of(name: str, count: int) -> list[int]:
    """Return the first `count` points of an endpoint, integers of 64 bits."""
    return list(_cut(_digests(name, count))[:count])


def _digests(name: str, count: int) -> bytes:
    """Return the bytes of at least the first `count` points."""
    beginning = name.encode() + b"\0"
    blocks = range(ceil(count / _AT_ONCE))
    return b"".join([blake2b(beginning + b"%d" % block, digest_size=64).digest() for block in blocks])


def _cut(points: bytes) -> tuple[int, ...]:
    return unpack(f">{len(points) * 8 // _BITS}Q", points)
