"""The entries of a store in shared memory: two rings of records and their index, and who makes room for whom.

What makes room is S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): a new entry
comes into the small ring; if it was of use when its turn has come it moves on to the main ring, else it goes and a
ghost of it stays; who comes back while there is a ghost goes straight to the main ring, where the unused go and the
used begin again. So one reading of everything empties the small ring only. As long as the main ring has room, all who
leave the small one move on.

Laws:
- Whoever changes something holds the lock, and what was begun by one who died is counted anew (`recount`).
- Each step leaves what a reader may see: a record is whole before a slot leads to it, and in its new place before it
  goes from the old one, or nowhere.
- What is written again to make room for one entry is bounded; beyond that the used go, too.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Final, NamedTuple

from headgate.stores.cache.ghosts import Ghosts
from headgate.stores.cache.index import MOST_USES, Index
from headgate.stores.cache.layout import (
    BYTES,
    ENTRIES,
    EVICTED,
    MAIN_HEAD,
    MAIN_TAIL,
    SMALL_HEAD,
    SMALL_TAIL,
    STORED,
    Shared,
)
from headgate.stores.cache.purges import Purges, tags_of
from headgate.stores.cache.record import HEADER, Header, moved
from headgate.stores.cache.ring import Ring
from headgate.stores.cache.store import Cached

# Uses after which an entry of the small ring moves on.
_ENOUGH: Final = 1
# An entry takes at most one in so many bytes of its ring.
_SHARE: Final = 4
# Making room for one entry writes at most so many others again, and about so many bytes or so many times its own.
_MOST_KEPT: Final = 128
_MOST_KEPT_BYTES: Final = 512 * 1024
_MOST_KEPT_TIMES: Final = 16
# Who looks through them all holds the lock for that many at a time.
_CHUNK: Final = 128
# Copies that a process keeps of what it has read, so that what is asked for again and again is not copied each time:
# 8 MiB at most.
_MOST_RECENT: Final = 1024
_LARGEST_RECENT: Final = 8192


class Damaged(ValueError):
    """What is there was written by nobody here."""


class _Recent(NamedTuple):
    """A copy of an entry, and where that is; while the slot leads there the copy is true."""

    slot: int
    place: int
    expires: int
    mark: int
    tags: tuple[int, ...]
    since: int
    cached: Cached


class Entries:
    """All of them."""

    __slots__ = ("_cells", "_ghosts", "_index", "_main", "_memory", "_purges", "_recent", "_rings", "_small")

    def __init__(self, shared: Shared, purges: Purges) -> None:
        layout = shared.layout
        self._cells = shared.cells
        self._memory: mmap.mmap = shared.memory
        self._purges = purges
        self._small = Ring(shared, layout.small_at, layout.small_bytes, SMALL_HEAD, SMALL_TAIL, 0)
        self._main = Ring(shared, layout.main_at, layout.main_bytes, MAIN_HEAD, MAIN_TAIL, 1)
        self._rings = (self._small, self._main)
        self._index = Index(shared)
        self._ghosts = Ghosts(shared)
        self._recent: dict[bytes, _Recent] = {}

    # -- looking --------------------------------------------------------------------------------------------------

    def find(self, key: bytes, now: int) -> Cached | None:
        """Return the entry of a key, if there is one that lives, and count its use. It needs no lock."""
        index = self._index
        known = self._recent.get(key)
        if known is not None:
            if index.place(known.slot) == known.place:
                if known.expires <= now or self._purges.is_dead(known.mark, known.tags, known.since):
                    return None
                self._use(known.slot)
                return known.cached
            del self._recent[key]
        for slot in index.candidates(key):
            place = index.place(slot)
            if not place:
                continue
            ring, offset = self._rings[place & 1], place & ~1
            fields = HEADER.unpack_from(self._memory, ring.place(offset))
            if fields[0] != place or fields[-1] != key:
                continue
            header = Header._make(fields)
            at = offset + header.head_at
            cached = Cached(ring.read(at, header.head_bytes), ring.read(at + header.head_bytes, header.body_bytes))
            tags = tags_of(header, ring)
            # All was copied; what follows is true of it if it was there all the time.
            if ring.tail > offset or header.expires <= now or self._purges.is_dead(header.mark, tags, header.since):
                return None
            self._use(slot)
            if header.head_bytes + header.body_bytes <= _LARGEST_RECENT:
                if len(self._recent) >= _MOST_RECENT:
                    self._recent.clear()
                recent = _Recent(slot, place, header.expires, header.mark, tags, header.since, cached)
                self._recent[key] = recent
            return cached
        return None

    def _use(self, slot: int) -> None:
        index = self._index
        uses = index.uses(slot)
        if uses < MOST_USES:
            index.set_uses(slot, uses + 1)

    def slot(self, key: bytes) -> int:
        """Return the slot of a key's entry, dead or alive; -1 when there is none."""
        for slot in self._index.candidates(key):
            header = self.header(slot)
            if header is not None and header.key == key:
                return slot
        return -1

    def header(self, slot: int) -> Header | None:
        """Return what the record of a slot begins with; None when it leads nowhere."""
        place = self._index.place(slot)
        ring, offset = self._rings[place & 1], place & ~1
        if not place or offset >= ring.head:
            return None
        header = Header._make(HEADER.unpack_from(self._memory, ring.place(offset)))
        return header if header.place == place and offset >= ring.tail else None

    def head(self, slot: int) -> bytes:
        """Return the head of a slot's answer; empty when it leads nowhere."""
        header = self.header(slot)
        if header is None:
            return b""
        return self._rings[header.place & 1].read((header.place & ~1) + header.head_at, header.head_bytes)

    def url(self, header: Header) -> bytes:
        """Return the URL of an entry."""
        return self._rings[header.place & 1].read((header.place & ~1) + header.url_at, header.url_bytes)

    def tags(self, header: Header) -> tuple[int, ...]:
        """Return the marks of an entry's tags."""
        return tags_of(header, self._rings[header.place & 1])

    def chunks(self) -> Iterator[list[int]]:
        """List all slots that have an entry, some at a time: those that are there from beginning to end for certain."""
        index = self._index
        for begin in range(0, index.slots, _CHUNK):
            places = self._cells[index.first + begin : index.first + min(begin + _CHUNK, index.slots)].tolist()
            slots = [begin + number for number, place in enumerate(places) if place]
            if slots:
                yield slots

    # -- changing -------------------------------------------------------------------------------------------------

    def ring_for(self, key: bytes, slot: int) -> Ring:
        """Return where an entry of this key belongs; `slot` is that of the one that it replaces."""
        if self._ghosts.take(key, self._small.tail):
            return self._main
        return self._rings[self._index.place(slot) & 1] if slot >= 0 else self._small

    def fits(self, key: bytes, size: int, ring: Ring) -> bool:
        """Tell whether an entry is not too large for its ring. For the main ring more may come again than for both."""
        if size * _SHARE <= ring.size:
            return True
        if ring is self._small:
            self._ghosts.note(key, self._small.tail)
        return False

    def write(self, record: bytes, ring: Ring, key: bytes, now: int) -> None:
        """Make room for a record of a key that has none, and put it there; its place is filled in."""
        self._make_room(ring, len(record), now)
        place = ring.head | ring.bit
        ring.append(moved(record, place))
        self._index.take(self._free_slot(key), key, place)
        self._cells[ENTRIES] += 1
        self._cells[BYTES] += len(record)
        self._cells[STORED] += 1

    def forget(self, slot: int, header: Header) -> None:
        """Let go of an entry; its bytes come free when its turn has come."""
        self._index.clear(slot)
        self._cells[ENTRIES] -= 1
        self._cells[BYTES] -= header.size

    def clear(self) -> None:
        """Let go of all."""
        for ring in self._rings:
            ring.clear()
        self._recent.clear()
        self._index.clear_all()
        self._cells[ENTRIES] = self._cells[BYTES] = 0

    def recount(self) -> None:
        """Count anew, and clear slots that lead nowhere."""
        self._cells[ENTRIES] = self._cells[BYTES] = 0
        for slot in range(self._index.slots):
            if self._index.place(slot):
                header = self.header(slot)
                if header is None:
                    self._index.clear(slot)
                else:
                    self._cells[ENTRIES] += 1
                    self._cells[BYTES] += header.size

    # -- room -----------------------------------------------------------------------------------------------------

    def _free_slot(self, key: bytes) -> int:
        """Return a slot of the key's bucket that is nobody's, made so if need be."""
        bucket = self._index.bucket(key)
        for slot in bucket:
            if not self._index.place(slot):
                return slot
        # The least used, of those the one written first.
        slot = min(bucket, key=lambda each: (self._index.uses(each), self._index.place(each)))
        header = self.header(slot)
        if header is not None:
            self.forget(slot, header)
            self._cells[EVICTED] += 1
        return slot

    def _make_room(self, ring: Ring, size: int, now: int) -> None:
        kept, bytes_kept = _MOST_KEPT, max(size * _MOST_KEPT_TIMES, _MOST_KEPT_BYTES)
        while ring.free < size:
            header = self._oldest(ring)
            slot = self._index.at(header.key, header.place)
            if self._is_let_go(ring, slot, header, now):
                continue
            if ring is self._small and (self._index.uses(slot) >= _ENOUGH or self._is_free(header.size, now)):
                self._promote(slot, header, now)
            elif ring is self._main and self._index.uses(slot) and kept and bytes_kept > 0:
                kept -= 1
                bytes_kept -= header.size
                self._keep(slot, header)
            else:
                self._evict(slot, header, ring)

    def _oldest(self, ring: Ring) -> Header:
        header = Header._make(HEADER.unpack_from(self._memory, ring.place(ring.tail)))
        if header.place != ring.tail | ring.bit or header.size > ring.head - ring.tail:
            # No end would come of going on from here.
            raise Damaged("a ring of the store of cached answers")
        return header

    def _is_let_go(self, ring: Ring, slot: int, header: Header, now: int) -> bool:
        """Let go of the oldest of a ring if it is replaced, dropped, purged or has expired; tell whether."""
        if slot >= 0:
            if header.expires > now and not self._purges.is_dead(header.mark, self.tags(header), header.since):
                return False
            self.forget(slot, header)
        ring.forget(header.size)
        return True

    def _is_free(self, size: int, now: int) -> bool:
        """Tell whether the main ring has room for so many bytes without anybody's going who lives."""
        main = self._main
        for _ in range(_MOST_KEPT):
            if main.free >= size:
                return True
            header = self._oldest(main)
            if not self._is_let_go(main, self._index.at(header.key, header.place), header, now):
                break
        return main.free >= size

    def _promote(self, slot: int, header: Header, now: int) -> None:
        """Move an entry from the tail of the small ring to the main one."""
        record = self._small.read(self._small.tail, header.size)
        self._make_room(self._main, header.size, now)
        if self._index.place(slot) == header.place:
            self._move(slot, record, 0)
        self._small.forget(header.size)

    def _keep(self, slot: int, header: Header) -> None:
        """Move an entry from the tail of the main ring to its head."""
        record = self._main.read(self._main.tail, header.size)
        uses = self._index.uses(slot) - 1
        self._index.clear(slot)
        self._main.forget(header.size)
        self._move(slot, record, uses)

    def _move(self, slot: int, record: bytes, uses: int) -> None:
        place = self._main.head | self._main.bit
        self._main.append(moved(record, place))
        self._index.set_uses(slot, uses)
        self._index.move(slot, place)

    def _evict(self, slot: int, header: Header, ring: Ring) -> None:
        self.forget(slot, header)
        self._cells[EVICTED] += 1
        ring.forget(header.size)
        if ring is self._small:
            self._ghosts.note(header.key, ring.tail)
