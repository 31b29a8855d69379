"""What was purged, and whom that concerns: marks for URLs and tags, one for everything, and the last prefixes.

Laws:
- A moment is a number that each purge raises. An entry is dead when one of its marks is later than the moment that its
  request began behind; so a purge is one write, however many entries it concerns, and concerns those to come, too.
- Several URLs and tags share a mark, and go together.
- A prefix is in no mark: whoever purges by one looks through all entries, and who puts one in through the last
  MOST_PREFIXES prefixes; a request that has seen more of them go by is not kept.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from hashlib import blake2b
from struct import unpack

from headgate.stores.cache.layout import (
    ALL_MARK,
    MOMENT,
    MOST_PREFIXES,
    PREFIX_BYTES,
    PREFIX_MOMENT,
    PREFIXES,
    WORD,
    Shared,
)
from headgate.stores.cache.record import HEADER, MARK_BYTES, Header
from headgate.stores.cache.ring import Ring
from headgate.stores.cache.store import Purge

# Of the bytes of a prefix's field, those for its moment and its length.
_FIELD = 2 * WORD


class Purges:
    """The marks of a store."""

    __slots__ = ("_cells", "_first", "_marks", "_memory", "_prefixes")

    def __init__(self, shared: Shared) -> None:
        self._memory: mmap.mmap = shared.memory
        self._cells = shared.cells
        self._marks = shared.layout.marks
        self._first = shared.layout.marks_at // WORD
        self._prefixes = shared.layout.prefixes

    @property
    def moment(self) -> int:
        """Now."""
        return self._cells[MOMENT]

    def mark(self, scope: str, text: str) -> int:
        """Return the mark of a URL or a tag."""
        return hashed(scope, text, self._marks)

    def note(self, what: Purge) -> int:
        """Let it hold from now on, and return the moment; whoever calls holds the lock."""
        cells = self._cells
        cells[MOMENT] = moment = cells[MOMENT] + 1
        if what.scope == "all":
            cells[ALL_MARK] = moment
        elif what.scope == "prefix":
            # One that is cut names more, not less.
            text = encoded(what.value)[: PREFIX_BYTES - _FIELD]
            at = self._prefixes + cells[PREFIXES] % MOST_PREFIXES * PREFIX_BYTES
            self._memory[at + _FIELD : at + _FIELD + len(text)] = text
            cells[at // WORD + 1] = len(text)
            cells[at // WORD] = moment
            cells[PREFIXES] += 1
            cells[PREFIX_MOMENT] = moment
        else:
            cells[self._first + self.mark(what.scope, what.value)] = moment
        return moment

    def is_dead(self, mark: int, tags: Sequence[int], since: int) -> bool:
        """Tell whether something with this mark of its URL and these of its tags was purged behind a moment."""
        cells, first = self._cells, self._first
        if cells[first + mark] > since or cells[ALL_MARK] > since:
            return True
        return any(cells[first + tag] > since for tag in tags)

    def names(self, url: bytes, since: int) -> bool:
        """Tell whether a prefix of this URL was purged behind a moment, or that is not known any more."""
        cells = self._cells
        if cells[PREFIX_MOMENT] <= since:
            return False
        for number in range(MOST_PREFIXES):
            at = self._prefixes + number * PREFIX_BYTES
            if cells[at // WORD] > since:
                text = self._memory[at + _FIELD : at + _FIELD + cells[at // WORD + 1]]
                if url.startswith(text):
                    return True
        oldest = self._prefixes + cells[PREFIXES] % MOST_PREFIXES * PREFIX_BYTES
        return cells[oldest // WORD] > since


def tags_of(header: Header, ring: Ring) -> tuple[int, ...]:
    """Return the marks of an entry's tags."""
    if not header.tags:
        return ()
    offset = (header.place & ~1) + HEADER.size
    return unpack(f"<{header.tags}I", ring.read(offset, header.tags * MARK_BYTES))


def hashed(scope: str, text: str, marks: int) -> int:
    """Return which of so many marks is that of a URL or a tag."""
    digest = blake2b(encoded(text), digest_size=8, person=scope.encode()).digest()
    return int.from_bytes(digest, "little") % marks


def encoded(text: str) -> bytes:
    """Return a text as it is compared."""
    return text.encode(errors="surrogatepass")
