"""One ring of records in shared memory: written at its head, forgotten at its tail, in the order of writing.

Laws:
- Offsets only grow; where a record lies is its offset modulo the size of the ring. So a record is there as long as its
  offset is not before the tail, and who copies it and looks at the tail afterwards knows whether it was.
- The tail goes on before anything is written over, the head after all of a record is written. A writer that dies in
  between has written into the part that belongs to nobody.
- Records begin at multiples of ALIGN, and so does the ring, so what is no longer than that never goes over its end.
"""

from __future__ import annotations

import mmap
from typing import Final

from headgate.stores.cache.layout import ALIGN, Shared

# No ring comes there in the life of a machine.
_FAR: Final = 1 << 62


class Ring:
    """A ring. `bit` tells it apart from the other in what the index says of an entry's place."""

    __slots__ = ("_at", "_cells", "_head", "_memory", "_tail", "bit", "size")

    def __init__(self, shared: Shared, at: int, size: int, head: int, tail: int, bit: int) -> None:
        """`head` and `tail` are cells."""
        self._memory: mmap.mmap = shared.memory
        self._cells = shared.cells
        self._at = at
        self._head = head
        self._tail = tail
        self.size = size
        self.bit = bit

    @property
    def head(self) -> int:
        """Where the next record will be."""
        return self._cells[self._head]

    @property
    def tail(self) -> int:
        """Where the oldest record is."""
        return self._cells[self._tail]

    @property
    def free(self) -> int:
        """Bytes that belong to nobody."""
        return self.size - self._cells[self._head] + self._cells[self._tail]

    def place(self, offset: int) -> int:
        """Return where in the file the byte at `offset` is."""
        return self._at + offset % self.size

    def read(self, offset: int, count: int) -> bytes:
        """Copy bytes."""
        begin = self._at + offset % self.size
        over = begin + count - self._at - self.size
        if over <= 0:
            return self._memory[begin : begin + count]
        return self._memory[begin : begin + count - over] + self._memory[self._at : self._at + over]

    def append(self, record: bytes) -> int:
        """Write a record that there is room for; return its offset."""
        offset = self._cells[self._head]
        begin = self._at + offset % self.size
        over = begin + len(record) - self._at - self.size
        if over <= 0:
            self._memory[begin : begin + len(record)] = record
        else:
            fits = len(record) - over
            self._memory[begin : begin + fits] = record[:fits]
            self._memory[self._at : self._at + over] = record[fits:]
        self._cells[self._head] = offset + len(record)
        return offset

    def forget(self, count: int) -> None:
        """Let go of the oldest bytes."""
        self._cells[self._tail] += count

    def clear(self) -> None:
        """Let go of all; go on at a place for records, wherever that was."""
        self._cells[self._tail] = self._cells[self._head] = self._cells[self._head] % _FAR // ALIGN * ALIGN + ALIGN
