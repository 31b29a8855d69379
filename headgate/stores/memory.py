"""Limits counted in the memory of one process.

Laws:
- A key beyond `max_keys` takes the place of another: of a few old ones, the one nearest to its end.
- No step is long: keys lie in many small tables, so that none is ever rehashed or swept with all keys in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

from headgate.stores.store import Ask, Source, Told

# By the first byte of a key. A table of a million keys would be rehashed in 60 ms.
_TABLES: Final = 256
_SAMPLE: Final = 8
# Of a million keys 20,000 are looked at in 2 ms.
_LOOKS: Final = 20_000


class MemoryStore:
    """A table of records. `keys` are held now; `evicted` were pushed out by others, `swept` had expired."""

    __slots__ = ("_max_keys", "_next", "_owner", "_source", "_tables", "evicted", "keys", "swept")

    def __init__(self, max_keys: int, owner: int, source: Source = "store") -> None:
        """`owner` names this process to limits of concurrency; `source` is what `Told` says of who decided."""
        self._max_keys = max_keys
        self._owner = owner
        self._source = source
        # Of each key: until when its record counts, in microseconds, and the record.
        self._tables: list[dict[bytes, tuple[int, bytes]]] = [{} for _ in range(_TABLES)]
        self._next = 0
        self.keys = self.evicted = self.swept = 0

    def admit(self, asks: Sequence[Ask], now: int) -> list[Told]:
        """Hold a request against all asks."""
        if len(asks) == 1:
            group, key, costs = asks[0]
            entry = self._tables[key[0]].get(key)
            record = b"" if entry is None else entry[1]
            allowed, after, raws = group.admit(record, now, costs, self._owner)
            if after is not record:
                self._keep(key, after, group.expires(after, now))
            return [Told(allowed, raws, self._source)]
        records = [self._find(ask.key) for ask in asks]
        told, kept = decide(asks, records, now, self._owner, self._source)
        for ask, record, after in zip(asks, records, kept, strict=True):
            if after is not record:
                self._keep(ask.key, after, ask.group.expires(after, now))
        return told

    def settle(self, asks: Sequence[Ask], now: int, *, local: bool = False) -> None:
        """Charge the costs of the asks after the fact (negative ones give back)."""
        for group, key, costs in asks:
            record = self._find(key)
            after = group.settle(record, now, costs, self._owner)
            if after is not record:
                self._keep(key, after, group.expires(after, now))

    def sweep(self, now: int) -> None:
        """Forget what has expired in the tables whose turn it is: about 20,000 keys, or all."""
        looks = _LOOKS
        for _ in range(_TABLES):
            index = self._next
            table = self._tables[index]
            self._next = (index + 1) % _TABLES
            expired = [key for key, (expires, _) in table.items() if expires <= now]
            if len(expired) * 2 > len(table):
                # A dictionary never shrinks by itself.
                self._tables[index] = {key: entry for key, entry in table.items() if entry[0] > now}
            else:
                for key in expired:
                    del table[key]
            self.keys -= len(expired)
            self.swept += len(expired)
            looks -= len(table)
            if looks <= 0:
                return

    def close(self) -> None:
        """Forget everything."""
        self._tables = [{} for _ in range(_TABLES)]
        self.keys = 0

    def _find(self, key: bytes) -> bytes:
        entry = self._tables[key[0]].get(key)
        return b"" if entry is None else entry[1]

    def _keep(self, key: bytes, record: bytes, expires: int) -> None:
        table = self._tables[key[0]]
        if not record:
            if table.pop(key, None) is not None:
                self.keys -= 1
            return
        if key not in table:
            if self.keys >= self._max_keys:
                self._evict(key[0])
            self.keys += 1
        table[key] = (expires, record)

    def _evict(self, first: int) -> None:
        """Make room: in the first table with a key, from `first` on."""
        for step in range(_TABLES):
            table = self._tables[(first + step) % _TABLES]
            if table:
                # A dictionary hands out the oldest first.
                _, key = min((entry[0], key) for key, entry in islice(table.items(), _SAMPLE))
                del table[key]
                self.keys -= 1
                self.evicted += 1
                return

    def __repr__(self) -> str:
        return f"<MemoryStore {self.keys} of {self._max_keys} keys, {self.evicted} evicted, {self.swept} swept>"


def decide(
    asks: Sequence[Ask], records: Sequence[bytes], now: int, owner: int, source: Source
) -> tuple[list[Told], list[bytes]]:
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
        told.append(Told(allowed, raws, source))
        kept.append(after)
    return told, kept
