"""Where the entry of a key is: buckets of WAYS slots, each with a place, a piece of the key, and a count of uses.

Laws: a place is an offset with the bit of its ring, 0 for none; what a slot says is a hint until the record there
confirms it; an entry keeps its slot as long as it lives, so whoever looks through all slots misses none that was there
when it began. A count is changed without the lock: one that is lost does no harm.
"""

from __future__ import annotations

import mmap

from headgate.stores.cache.layout import PIECE_BYTES, WAYS, WORD, Shared
from headgate.stores.cache.store import KEY_BYTES

# As in S3-FIFO: two bits.
MOST_USES = 3

_HASHED = 8
_PIECE_END = _HASHED + PIECE_BYTES


class Index:
    """The slots of a store."""

    __slots__ = ("_buckets", "_cells", "_counts", "_memory", "_pieces", "first", "slots")

    def __init__(self, shared: Shared) -> None:
        layout = shared.layout
        self._memory: mmap.mmap = shared.memory
        self._cells = shared.cells
        self._buckets = layout.buckets
        self._pieces = layout.pieces
        self._counts = layout.counts
        self.slots = layout.slots
        self.first = layout.slots_at // WORD

    def candidates(self, key: bytes) -> list[int]:
        """List the slots that may be the key's: nearly always one or none."""
        bucket = int.from_bytes(key[:_HASHED], "little") % self._buckets
        at = self._pieces + bucket * WAYS * PIECE_BYTES
        row = self._memory[at : at + WAYS * PIECE_BYTES]
        piece = key[_HASHED:_PIECE_END]
        found = []
        place = row.find(piece)
        while place >= 0:
            if place % PIECE_BYTES == 0:
                slot = bucket * WAYS + place // PIECE_BYTES
                if self._cells[self.first + slot]:
                    found.append(slot)
            place = row.find(piece, place + 1)
        return found

    def bucket(self, key: bytes) -> range:
        """Return the slots that the key may have."""
        first = int.from_bytes(key[:_HASHED], "little") % self._buckets * WAYS
        return range(first, first + WAYS)

    def place(self, slot: int) -> int:
        """Return what a slot says."""
        return self._cells[self.first + slot]

    def at(self, key: bytes, place: int) -> int:
        """Return the slot that says so of a key; -1 when there is none."""
        for slot in self.candidates(key):
            if self._cells[self.first + slot] == place:
                return slot
        return -1

    def take(self, slot: int, key: bytes, place: int) -> None:
        """Give a slot to a key."""
        self._cells[self.first + slot] = 0
        at = self._pieces + slot * PIECE_BYTES
        self._memory[at : at + PIECE_BYTES] = key[_HASHED:_PIECE_END]
        self._memory[self._counts + slot] = 0
        self._cells[self.first + slot] = place

    def move(self, slot: int, place: int) -> None:
        """Let a slot say another place of the same key."""
        self._cells[self.first + slot] = place

    def clear(self, slot: int) -> None:
        """Let a slot be nobody's."""
        self._cells[self.first + slot] = 0

    def clear_all(self) -> None:
        """Let all slots be nobody's."""
        begin = self.first * WORD
        self._memory[begin : begin + self.slots * WORD] = bytes(self.slots * WORD)

    def uses(self, slot: int) -> int:
        """Return how often the entry was of use since it was last judged by that."""
        return self._memory[self._counts + slot]

    def set_uses(self, slot: int, uses: int) -> None:
        """Write that down."""
        self._memory[self._counts + slot] = uses


assert _PIECE_END <= KEY_BYTES
