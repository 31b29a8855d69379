"""concurrency: at most `limit` at the same time. Each worker's count stands apart and counts while it is renewed, so
that what a killed worker held is free again after the lease.

Every `admit` that admits and every `settle` of a worker renews its entry; a worker whose requests go on for long
settles 0 more often than the lease. What was not renewed in time is gone, for its worker too.

State, 20 bytes for each worker with requests, little endian, in no particular order:
    owner      int64     the worker: never a number another process has or had
    count      uint32    1 to MOST_COUNT
    renewed    int64     microseconds; it counts until renewed + lease, and no longer at that microsecond
Raw: (count, cost, refused). `count`: of all workers, with the request if it was admitted, without it if not; `cost`: of
the request; `refused`: 1 or 0.
Numbers: (limit, lease, MOST_OWNERS). When so many workers count, a further one is refused.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from headgate.policy.limit.algorithm import MOST_COUNT, NEVER, Raw, Reading, new_tuple

LEASE: Final = 30_000_000
MOST_OWNERS: Final = 3_000
# Nobody knows when a request will end: who was refused is told to come again after a second.
RETRY: Final = 1_000_000
_ENTRY: Final = Struct("<qIq")
_ENTRY_BYTES: Final = 20
_pack: Final = _ENTRY.pack


class Concurrency:
    """A count for each worker, with a lease on it."""

    __slots__ = ("lease", "limit")

    code: Final = 5

    def __init__(self, limit: int, lease: int = LEASE) -> None:
        """`lease` in microseconds."""
        self.limit = limit
        self.lease = lease

    @property
    def numbers(self) -> tuple[int, ...]:
        """The limit, the lease and how many workers there may be."""
        return (self.limit, self.lease, MOST_OWNERS)

    @property
    def lifetime(self) -> int:
        """The lease."""
        return self.lease

    def admit(self, state: bytes, now: int, cost: int, owner: int) -> tuple[bool, bytes, Raw]:
        """Count `cost` more of this worker, if with those of all workers that is in the limit."""
        others, own, renewed, count = self._split(state, now, owner)
        if count + cost > self.limit or (cost and not own and len(others) >= MOST_OWNERS * _ENTRY_BYTES):
            return False, state, (count, cost, 1)
        if not cost:
            return True, state, (count, 0, 0)
        return True, others + _pack(owner, own + cost, max(now, renewed)), (count + cost, cost, 0)

    def settle(self, state: bytes, now: int, amount: int, owner: int) -> bytes:
        """Add `amount` to the worker's count and renew it; of one whose lease ended nothing is left to give back."""
        others, own, renewed, _ = self._split(state, now, owner)
        counted = min(own + amount, MOST_COUNT)
        if counted <= 0 or (not own and len(others) >= MOST_OWNERS * _ENTRY_BYTES):
            return others
        return others + _pack(owner, counted, max(now, renewed))

    def expires(self, state: bytes, now: int) -> int:
        """Return the end of the last lease."""
        if not state or len(state) % _ENTRY_BYTES:
            return now
        return max([int(renewed) for _, _, renewed in _ENTRY.iter_unpack(state)]) + self.lease

    def read(self, allowed: bool, raw: Raw) -> Reading:
        """When something is free again is not known: RETRY stands for it."""
        count, cost, refused = raw
        wait = 0
        if refused and not allowed:
            wait = RETRY if cost <= self.limit else NEVER
        return new_tuple(Reading, (self.limit, max(0, self.limit - count), RETRY if count else 0, wait, 0))

    def _split(self, state: bytes, now: int, owner: int) -> tuple[bytes, int, int, int]:
        """Return the entries of others that count, the own count and when it was renewed, and the count of all."""
        if not state or len(state) % _ENTRY_BYTES:
            return b"", 0, 0, 0
        others: list[bytes] = []
        own = own_renewed = total = 0
        oldest = now - self.lease
        for place, (holder, count, renewed) in enumerate(_ENTRY.iter_unpack(state)):
            if renewed <= oldest:
                continue
            total += count
            if holder == owner:
                own = count
                own_renewed = renewed
            else:
                others.append(state[place * _ENTRY_BYTES : (place + 1) * _ENTRY_BYTES])
        return b"".join(others), own, own_renewed, total
