"""Whom the small ring let go of unused: who comes back soon goes straight to the main ring.

Law: a ghost is a piece of a key and when it left, by the bytes that have left the small ring since; it counts for as
many bytes as the main ring has. Two may share a cell, and then the later one stays.
"""

from __future__ import annotations

from headgate.stores.cache.layout import ALIGN, WORD, Shared

_TIME_BITS = 40
_TIME = (1 << _TIME_BITS) - 1


class Ghosts:
    """All of them."""

    __slots__ = ("_cells", "_first", "_lasting", "_ways")

    def __init__(self, shared: Shared) -> None:
        self._cells = shared.cells
        self._first = shared.layout.ghosts_at // WORD
        self._ways = shared.layout.ghosts
        self._lasting = shared.layout.main_bytes // ALIGN

    def note(self, key: bytes, left: int) -> None:
        """Remember a key; `left` is how many bytes have left the small ring."""
        self._cells[self._cell(key)] = self._piece(key) | left // ALIGN & _TIME

    def take(self, key: bytes, left: int) -> bool:
        """Tell whether the key is remembered, and forget it."""
        cell = self._cell(key)
        ghost = self._cells[cell]
        if ghost & ~_TIME != self._piece(key) or not ghost:
            return False
        self._cells[cell] = 0
        return (left // ALIGN - ghost) & _TIME <= self._lasting

    def _cell(self, key: bytes) -> int:
        return self._first + int.from_bytes(key[-8:], "little") % self._ways

    def _piece(self, key: bytes) -> int:
        return int.from_bytes(key[:3], "little") << _TIME_BITS
