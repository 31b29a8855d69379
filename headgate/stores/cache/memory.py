"""Cached answers in memory that all workers of a machine share, without a server: one file, mapped by each of them.

Laws:
- Reading takes no lock: copy, then see whether the tail has passed what was copied (ring.py). Machines on which others
  may see what was written in another order take the lock all the same.
- All else is done under the lock, in steps of which each leaves what a reader may see, and may be the last: a worker
  that is killed leaves the lock to others, and what it was about to do undone.
- What somebody else has written to it makes a miss, and never a fault of a request or one without an end.
- Ends are in the monotonic clock, which all processes of a machine share and nobody sets.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from struct import error
from typing import Final

from headgate.core.clock import monotonic
from headgate.stores.cache.claims import Claims
from headgate.stores.cache.entries import Entries
from headgate.stores.cache.layout import BYTES, DIRTY, ENTRIES, EVICTED, PURGED, REFUSED, STORED, Shared
from headgate.stores.cache.purges import Purges, encoded
from headgate.stores.cache.record import Header, pack_record
from headgate.stores.cache.store import MOST_TAGS, Cached, Place, Purge, Statistics

_MICROSECONDS: Final = 1_000_000
_MOST_KEEP: Final = 10 * 366 * 86400
# What comes of a file that somebody else has written to: then all of it goes.
_DAMAGE: Final = (ValueError, IndexError, error)
_ORDERED: Final = os.uname().machine in ("x86_64", "i686")


class _Turn:
    """The right to write, in a `with`; False stands for a store that is closed.

    Whoever dies in his turn, or leaves it by an exception, has the next one count anew.
    """

    __slots__ = ("_entries", "_shared", "closed")

    def __init__(self, shared: Shared, entries: Entries) -> None:
        self._shared = shared
        self._entries = entries
        self.closed = False

    def __enter__(self) -> bool:
        if self.closed:
            return False
        self._shared.lock()
        if self._shared.cells[DIRTY]:
            try:
                self._entries.recount()
            except _DAMAGE:
                self._entries.clear()
        self._shared.cells[DIRTY] = 1
        return True

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if self.closed:
            return False
        try:
            if kind is None:
                self._shared.cells[DIRTY] = 0
                return False
            damaged = issubclass(kind, _DAMAGE)
            if damaged:
                self._entries.clear()
            return damaged
        finally:
            self._shared.unlock()


class MemoryCache:
    """The file, opened by one process after its fork."""

    __slots__ = ("_cells", "_claims", "_clock", "_closed", "_entries", "_purges", "_shared", "_turn")

    def __init__(self, folder: Path, clock: Callable[[], float] = monotonic) -> None:
        """Open what `layout.prepare` made.

        Raises:
            ValueError: with a sentence, when it cannot be opened.
        """
        self._closed = False
        self._clock = clock
        self._shared = Shared(folder)
        self._cells = self._shared.cells
        self._purges = Purges(self._shared)
        self._entries = Entries(self._shared, self._purges)
        self._claims = Claims(self._shared)
        self._turn = _Turn(self._shared, self._entries)

    @property
    def failing(self) -> bool:
        """Memory is always there."""
        return False

    @property
    def moment(self) -> int:
        """Now, as purges see it."""
        return 0 if self._closed else self._purges.moment

    # -- requests -------------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> Cached | None:
        """Look an entry up, and note that it was of use."""
        if self._closed:
            return None
        if not _ORDERED:
            self._shared.lock()
        try:
            return self._entries.find(key, self._now())
        except _DAMAGE:
            return None
        finally:
            if not _ORDERED:
                self._shared.unlock()

    def put(self, key: bytes, cached: Cached, place: Place, keep: float, since: int) -> None:
        """Keep an entry for `keep` seconds at most; an older one under this key is replaced."""
        with self._turn as open_:
            if open_:
                self._put(key, cached, place, keep, since)

    def renew(self, key: bytes, before: bytes, cached: Cached, place: Place, keep: float, since: int) -> None:
        """Give an entry another head; nothing where its head is not `before` any more."""
        with self._turn as open_:
            slot = self._entries.slot(key) if open_ else -1
            if slot >= 0 and self._entries.head(slot) == before and not self._is_dead(slot):
                self._put(key, cached, place, keep, since)

    def drop(self, key: bytes) -> None:
        """Forget an entry."""
        with self._turn as open_:
            if open_:
                self._drop(self._entries.slot(key))

    def claim(self, key: bytes, seconds: float) -> bool:
        """Be the one who fetches an entry, for `seconds` at most; False while somebody else is."""
        claimed = True
        with self._turn as open_:
            if open_:
                now = self._now()
                claimed = self._claims.claim(key, now + int(seconds * _MICROSECONDS), now)
        return claimed

    def yield_(self, key: bytes) -> None:
        """Fetch it no more, whatever came of it."""
        with self._turn as open_:
            if open_:
                self._claims.yield_(key)

    # -- purging --------------------------------------------------------------------------------------------------

    def invalidate(self, url: str) -> None:
        """Forget all entries of a URL, and wait for nothing."""
        with self._turn as open_:
            if open_:
                self._purges.note(Purge("url", url))

    def purged(self, place: Place, since: int) -> bool:
        """Tell whether something there that was asked for at that moment was purged since."""
        if self._closed or self._purges.moment == since:
            return False
        tags = [self._purges.mark("tag", tag) for tag in place.tags]
        is_dead = self._purges.is_dead(self._purges.mark("url", place.url), tags, since)
        return is_dead or self._purges.names(encoded(place.url), since)

    def purge(self, what: Purge) -> int:
        """Forget all that this names; return how many there were, -1 when the store is closed.

        It looks through all entries, which takes a second for a million of them: call it in a thread of its own, with a
        store that nobody else in this process uses.
        """
        with self._turn as open_:
            if not open_:
                return -1
            moment = self._purges.note(what)
            if what.scope == "all":
                found = self._cells[ENTRIES]
                self._entries.clear()
                self._cells[PURGED] += found
                return found
        return self._purge(what, moment)

    def _purge(self, what: Purge, moment: int) -> int:
        """Forget what was asked for before a moment, some at a time, so that workers get their turns."""
        entries, cells = self._entries, self._cells
        mark = self._purges.mark(what.scope, what.value)
        prefix = encoded(what.value)
        found = 0
        for slots in entries.chunks():
            with self._turn as open_:
                if not open_:
                    return -1
                for slot in slots:
                    header = entries.header(slot)
                    if header is None or header.since >= moment:
                        continue
                    if what.scope == "prefix":
                        is_meant = entries.url(header).startswith(prefix)
                    else:
                        is_meant = header.mark == mark if what.scope == "url" else mark in entries.tags(header)
                    if is_meant:
                        entries.forget(slot, header)
                        cells[PURGED] += 1
                        found += 1
        return found

    # -- the state of it ------------------------------------------------------------------------------------------

    def statistics(self) -> Statistics | None:
        """Tell how the store is; None once it is closed."""
        if self._closed:
            return None
        counted = [self._cells[cell] for cell in (STORED, EVICTED, REFUSED, PURGED)]
        return Statistics(self._cells[ENTRIES], self._cells[BYTES], self._shared.layout.size, *counted)

    def close(self) -> None:
        """Let go of the file; whoever made it removes it."""
        if not self._closed:
            self._closed = self._turn.closed = True
            self._shared.close()

    def _put(self, key: bytes, cached: Cached, place: Place, keep: float, since: int) -> None:
        now = self._now()
        url = encoded(place.url)
        tags = [self._purges.mark("tag", tag) for tag in place.tags]
        header = Header(
            0, now + int(min(keep, _MOST_KEEP) * _MICROSECONDS), since, len(cached.head), len(cached.body), len(url),
            self._purges.mark("url", place.url), min(len(tags), MOST_TAGS), key,
        )  # fmt: skip
        slot = self._entries.slot(key)
        ring = self._entries.ring_for(key, slot)
        self._drop(slot)
        if (
            len(tags) > MOST_TAGS
            or self._purges.is_dead(header.mark, tags, since)
            or self._purges.names(url, since)
            or not self._entries.fits(key, header.size, ring)
        ):
            self._cells[REFUSED] += 1
        else:
            self._entries.write(pack_record(header, tags, url, cached), ring, key, now)

    def _is_dead(self, slot: int) -> bool:
        header = self._entries.header(slot)
        return header is None or self._purges.is_dead(header.mark, self._entries.tags(header), header.since)

    def _drop(self, slot: int) -> None:
        header = self._entries.header(slot) if slot >= 0 else None
        if header is not None:
            self._entries.forget(slot, header)

    def _now(self) -> int:
        return int(self._clock() * _MICROSECONDS)

    def __repr__(self) -> str:
        return f"<MemoryCache {self.statistics()}>"
