"""Named records of integers that all processes of a gateway see at once: breakers, endpoints.

    header (one page)    magic, how many records, cells of each, slots, how many are used, version of the whole
    names                one fixed field for each record
    cells                `width` signed 64-bit integers for each record: OWN_CELLS of its own, one for each worker slot

The master creates the board before its first fork, over an anonymous file; control and every worker inherit it.

Laws:
- Reading is indexing a memoryview: no call, no lock. Whoever changes more than one cell, or one that others change,
  holds `lock(base)`. The lock is the kernel's (fcntl, one byte of the file), so the death of its holder frees it.
- A record is found by its name and keeps its place as long as the gateway runs: it survives reloads and workers.
- `version` changes with every change that somebody may want to look at; comparing it is all a reader does per request.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from zlib import crc32

RECORDS = 4096
OWN_CELLS = 128
NAME_BYTES = 248

_MAGIC_AND_VERSION = int.from_bytes(b"HGBOARD1", "little")
_HEADER_BYTES = 4096
_MAGIC, _RECORDS, _WIDTH, _SLOTS, _USED, _VERSION = range(6)
_FIELD = NAME_BYTES + 8


class Entry(NamedTuple):
    """One record: its name, and the index of its first cell."""

    name: str
    base: int


class Board:
    """The memory, attached."""

    __slots__ = ("_file", "_found", "_header", "_names", "cells", "slots", "width")

    def __init__(self, file: int) -> None:
        """Attach to the anonymous file `file` made by `create`.

        Raises:
            ValueError: if it is not such a file.
        """
        memory = memoryview(mmap.mmap(file, 0))
        if len(memory) < _HEADER_BYTES or memory[:8].cast("q")[0] != _MAGIC_AND_VERSION:
            raise ValueError("this memory is not a board of this version of the gateway")
        self._file = file
        self._header = memory[:_HEADER_BYTES].cast("q")
        self.width = self._header[_WIDTH]
        self.slots = self._header[_SLOTS]
        end = _HEADER_BYTES + self._header[_RECORDS] * _FIELD
        self._names = memory[_HEADER_BYTES:end]
        self.cells = memory[end : end + self._header[_RECORDS] * self.width * 8].cast("q")
        self._found: dict[str, int] = {}

    @classmethod
    def create(cls, slots: int = 64, records: int = RECORDS) -> Board:
        """Make an empty board for `slots` workers; what is never touched costs address space only."""
        file = os.memfd_create("headgate-board")
        width = OWN_CELLS + slots
        os.ftruncate(file, _HEADER_BYTES + records * (_FIELD + width * 8))
        header = memoryview(mmap.mmap(file, _HEADER_BYTES)).cast("q")
        header[_RECORDS], header[_WIDTH], header[_SLOTS] = records, width, slots
        header[_MAGIC] = _MAGIC_AND_VERSION
        return cls(file)

    @property
    def version(self) -> int:
        """Return a number that changes with every `touch`."""
        return self._header[_VERSION]

    def touch(self) -> None:
        """Let every reader look again; call it after the change. Two that touch at once may count as one."""
        self._header[_VERSION] += 1

    def find(self, name: str) -> int | None:
        """Return the first cell of the record of this name, or None."""
        known = self._found.get(name)
        if known is not None:
            return known
        wanted = _packed(name)
        for place in self._places(name):
            held = bytes(self._names[place * _FIELD : (place + 1) * _FIELD])
            if held == wanted:
                self._found[name] = place * self.width
                return place * self.width
            if not held[0]:
                break
        return None

    def claim(self, name: str) -> int:
        """Return the first cell of the record of this name, made with zeros if there is none yet.

        Raises:
            ValueError: with a sentence, when the board is full.
        """
        base = self.find(name)
        if base is not None:
            return base
        with self._locked(0):
            base = self.find(name)
            return self._add(name) if base is None else base

    def entries(self) -> list[Entry]:
        """List all records."""
        found = []
        for place in range(self._header[_RECORDS]):
            field = self._names[place * _FIELD : (place + 1) * _FIELD]
            if field[0]:
                found.append(Entry(bytes(field[8 : 8 + field[1]]).decode(), place * self.width))
        return found

    @contextmanager
    def lock(self, base: int) -> Iterator[None]:
        """Hold the record that begins at `base` against all other processes; for microseconds, never across a wait."""
        with self._locked(1 + base // self.width):
            yield

    @contextmanager
    def _locked(self, byte: int) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, byte)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)

    def _places(self, name: str) -> Iterator[int]:
        records = self._header[_RECORDS]
        first = crc32(name.encode()) % records
        yield from range(first, records)
        yield from range(first)

    def _add(self, name: str) -> int:
        for place in self._places(name):
            start = place * _FIELD
            if not self._names[start]:
                field = _packed(name)
                self._names[start + 1 : start + _FIELD] = field[1:]
                # Last, so that a reader finds a whole name or none.
                self._names[start] = field[0]
                self._header[_USED] += 1
                self._found[name] = place * self.width
                return place * self.width
        raise ValueError(
            f"no room for {name}: {self._header[_RECORDS]} breakers and endpoints are the most there can be"
        )

    def __repr__(self) -> str:
        return f"<Board {self._header[_USED]} of {self._header[_RECORDS]} records, version {self.version}>"


def _packed(name: str) -> bytes:
    """Return a name as its field: in use, length, text. Of one too long the end is told apart by a checksum."""
    text = name.encode()
    if len(text) > NAME_BYTES:
        text = text[: NAME_BYTES - 12].decode(errors="ignore").encode() + b"~%08x" % crc32(text)
    return (bytes((1, len(text))) + b"\0" * 6 + text).ljust(_FIELD, b"\0")
