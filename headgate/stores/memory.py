"""Limits counted in the memory of one process.

Laws:
- A key beyond `max_keys` takes the place of another: of a few old ones, the one nearest to its end.
- No step is long: keys lie in many small tables, so that none is ever rehashed or swept with all keys in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from struct import Struct
from typing import Final

from headgate.stores.store import Ask, Told

# By the first byte of a key. A table of a million keys would be rehashed in 60 ms.
_TABLES: Final = 256
_SAMPLE: Final = 8
# When they have expired they are gone in half a millisecond, and in ten times that when all memory is given back.
_LOOKS: Final = 1_000

# What is held for a key: the end of its record (microseconds, big endian, so that values sort by it) and the record.
EXPIRES_BYTES: Final = 8
pack_expires: Final = Struct(">Q").pack
# Half the time that a named tuple's own constructor takes.
new_tuple: Final = tuple.__new__


class MemoryStore:
    """Tables of records. `keys` are held now; `evicted` were pushed out by others, `swept` had expired."""

    __slots__ = ("_max_keys", "_next", "_owner", "_place", "_tables", "evicted", "keys", "swept")

    def __init__(self, max_keys: int, owner: int) -> None:
        """`owner` names this process to limits of concurrency."""
        self._max_keys = max_keys
        self._owner = owner
        # Values are bytes, as in the shared store: a tuple each would keep the cyclic collector busy.
        self._tables: list[dict[bytes, bytes]] = [{} for _ in range(_TABLES)]
        self._next = self._place = 0
        self.keys = self.evicted = self.swept = 0

    @property
    def elsewhere(self) -> int:
        """A memory of one's own is never away."""
        return 0

    def admit(self, asks: Sequence[Ask], now: int) -> list[Told]:
        """Hold a request against all asks."""
        if len(asks) == 1:
            group, key, costs = asks[0]
            found = self._tables[key[0]].get(key)
            record = b"" if found is None else found[EXPIRES_BYTES:]
            allowed, after, raws = group.admit(record, now, costs, self._owner)
            if after is not record:
                self._keep(asks[0], found, after, now)
            return [new_tuple(Told, (allowed, raws, "store"))]
        values = [self._tables[ask.key[0]].get(ask.key) for ask in asks]
        records = [b"" if found is None else found[EXPIRES_BYTES:] for found in values]
        told, kept = decide(asks, records, now, self._owner)
        for ask, found, record, after in zip(asks, values, records, kept, strict=True):
            if after is not record:
                self._keep(ask, found, after, now)
        return told

    def settle(self, asks: Sequence[Ask], now: int, *, local: bool = False) -> None:
        """Charge the costs of the asks after the fact (negative ones give back)."""
        for ask in asks:
            found = self._tables[ask.key[0]].get(ask.key)
            record = b"" if found is None else found[EXPIRES_BYTES:]
            after = ask.group.settle(record, now, ask.costs, self._owner)
            if after is not record:
                self._keep(ask, found, after, now)

    def forget(self, keys: Sequence[bytes]) -> int:
        """Begin afresh with these keys; return how many of them there were."""
        found = sum(self._tables[key[0]].pop(key, None) is not None for key in keys)
        self.keys -= found
        return found

    def sweep(self, now: int) -> None:
        """Forget what has expired of the 1,000 keys whose turn it is."""
        if not self.keys:
            return
        limit = pack_expires(now)
        looks = _LOOKS
        for _ in range(_TABLES):
            table = self._tables[self._next]
            looked = max(0, min(looks, len(table) - self._place))
            # Pairs that are not kept cost no memory, and so wake no collector.
            pairs = islice(table.items(), self._place, self._place + looked)
            expired = [key for key, value in pairs if value < limit]
            for key in expired:
                del table[key]
            self.keys -= len(expired)
            self.swept += len(expired)
            if len(expired) > len(table):
                # A dictionary never shrinks by itself.
                self._tables[self._next] = dict(table)
            looks -= looked
            if not looks:
                self._place += looked - len(expired)
                return
            self._place = 0
            self._next = (self._next + 1) % _TABLES

    def close(self) -> None:
        """Forget everything."""
        self._tables = [{} for _ in range(_TABLES)]
        self.keys = 0

    def _keep(self, ask: Ask, found: bytes | None, record: bytes, now: int) -> None:
        table = self._tables[ask.key[0]]
        if record:
            if found is None:
                if self.keys >= self._max_keys:
                    self._evict(ask.key[0])
                self.keys += 1
            table[ask.key] = pack_expires(ask.group.expires(record, now)) + record
        elif found is not None:
            del table[ask.key]
            self.keys -= 1

    def _evict(self, first: int) -> None:
        """Make room: in the first table with a key, from `first` on."""
        for step in range(_TABLES):
            table = self._tables[(first + step) % _TABLES]
            if table:
                # A dictionary hands out the oldest first.
                _, key = min((value, key) for key, value in islice(table.items(), _SAMPLE))
                del table[key]
                self.keys -= 1
                self.evicted += 1
                return

    def __repr__(self) -> str:
        return f"<MemoryStore {self.keys} of {self._max_keys} keys, {self.evicted} evicted, {self.swept} swept>"


def decide(asks: Sequence[Ask], records: Sequence[bytes], now: int, owner: int) -> tuple[list[Told], list[bytes]]:
    """Hold a request against all asks together: what they are told, and the record to keep of each.

    The record to keep is the very one given where nothing is consumed: by a group that refuses, and, when one refuses
    that may (a shadow group may not), by all others but shadow groups, which count by themselves.
    """
    held = [ask.group.admit(record, now, ask.costs, owner) for ask, record in zip(asks, records, strict=True)]
    passes = True
    for ask, (allowed, _, _) in zip(asks, held, strict=True):
        if not allowed and not ask.group.shadow:
            passes = False
            break
    told = []
    kept = []
    for ask, record, (allowed, after, raws) in zip(asks, records, held, strict=True):
        if after is not record and not passes and not ask.group.shadow:
            after = record
            raws = ask.group.look(record, now, owner)
        told.append(Told(allowed, raws, "store"))
        kept.append(after)
    return told, kept
