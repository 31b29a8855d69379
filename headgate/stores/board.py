"""Named records of integers that all processes of a gateway see at once: breakers, endpoints.

    header (one page)    magic, how many records, cells of each, slots, how many are used, version of the whole
    names                one fixed field for each record, in the order they were claimed
    cells                `width` signed 64-bit integers for each record: OWN_CELLS of its own, one for each worker slot

The master creates the board before its first fork, over an anonymous file; control and every worker inherit it.

Laws:
- Reading is indexing a memoryview: no call, no lock. Whoever changes more than one cell, or one that others change,
  holds `lock(base)`. The lock is the kernel's (fcntl, one byte of the file), so the death of its holder frees it. It
  belongs to a process: within one it keeps nobody out, and must not be taken again by its holder.
- A record is found by its name and keeps its place as long as the gateway runs: it survives reloads and workers. The
  count of used records is written last, so one whose maker died before that was never made.
- `version` changes with every change that somebody may want to look at; comparing it is all a reader does per request.
- A cell of a worker slot is written by the worker of that slot alone.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from hashlib import blake2b
from typing import NamedTuple

# What is not touched costs address space only: a record takes 1,792 bytes with 64 slots.
RECORDS = 65_536
OWN_CELLS = 128
NAME_BYTES = 248

PRIVATE_RECORDS = 4096

_NOBODY_ELSE = -1
_MAGIC_AND_VERSION = int.from_bytes(b"HGBOARD1", "little")
_HEADER_BYTES = 4096
_MAGIC, _RECORDS, _WIDTH, _SLOTS, _USED, _VERSION = range(6)
_FIELD = NAME_BYTES + 8
_WHOLE, _CUT = 1, 2
_DIGEST_BYTES = 16
# Bytes of the file that stand for the locks: one for the header, and one for each record behind it.
_HEADER_LOCK, _RECORD_LOCKS = 0, 1


class Entry(NamedTuple):
    """One record: its name, and the index of its first cell."""

    name: str
    base: int


class Lock:
    """One byte of the board's file, locked while inside. It may be kept and entered again."""

    __slots__ = ("_byte", "_file", "_owner")

    def __init__(self, owner: Board, file: int, byte: int) -> None:
        # The file is closed when its board goes.
        self._owner = owner
        self._file = file
        self._byte = byte

    def __enter__(self) -> None:
        if self._file != _NOBODY_ELSE:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, self._byte)

    def __exit__(self, *raised: object) -> None:
        if self._file != _NOBODY_ELSE:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._byte)


class Board:
    """The memory, attached."""

    __slots__ = ("__weakref__", "_file", "_found", "_header", "_names", "cells", "slots", "width")

    def __init__(self, file: int) -> None:
        """Attach to the anonymous file `file` made by `create`, which belongs to this object from now on.

        Raises:
            ValueError: if it is not such a file.
        """
        self._file = file
        self._attach(memoryview(mmap.mmap(file, 0)))

    def _attach(self, memory: memoryview) -> None:
        if len(memory) < _HEADER_BYTES or memory[:8].cast("q")[0] != _MAGIC_AND_VERSION:
            raise ValueError("this memory is not a board of this version of the gateway")
        self._header = memory[:_HEADER_BYTES].cast("q")
        self.width = self._header[_WIDTH]
        self.slots = self._header[_SLOTS]
        end = _HEADER_BYTES + self._header[_RECORDS] * _FIELD
        self._names = memory[_HEADER_BYTES:end]
        self.cells = memory[end : end + self._header[_RECORDS] * self.width * 8].cast("q")
        # The records this process has read so far, in their order.
        self._found: dict[bytes, int] = {}

    @classmethod
    def create(cls, slots: int = 1, records: int = RECORDS) -> Board:
        """Make an empty board for `slots` workers."""
        file = os.memfd_create("headgate-board")
        os.ftruncate(file, _size(slots, records))
        _write_header(memoryview(mmap.mmap(file, _HEADER_BYTES)), slots, records)
        return cls(file)

    @classmethod
    def private(cls, slots: int = 1, records: int = PRIVATE_RECORDS) -> Board:
        """Make a board that this process keeps for itself: no file, and nobody to lock out."""
        board = cls.__new__(cls)
        board._file = _NOBODY_ELSE
        memory = memoryview(mmap.mmap(-1, _size(slots, records)))
        _write_header(memory, slots, records)
        board._attach(memory)
        return board

    def __del__(self) -> None:
        if self._file != _NOBODY_ELSE:
            os.close(self._file)

    @property
    def version(self) -> int:
        """Return a number that changes with every `touch`."""
        return self._header[_VERSION]

    def touch(self) -> None:
        """Let every reader look again; call it after the change."""
        with Lock(self, self._file, _HEADER_LOCK):
            self._header[_VERSION] += 1

    def find(self, name: str) -> int | None:
        """Return the first cell of the record of this name, or None."""
        field = _packed(name)
        base = self._found.get(field)
        if base is None and len(self._found) < self._header[_USED]:
            self._read_names()
            base = self._found.get(field)
        return base

    def claim(self, name: str) -> int:
        """Return the first cell of the record of this name, made with zeros if there is none yet.

        Raises:
            ValueError: with a sentence, when the board is full.
        """
        base = self.find(name)
        if base is not None:
            return base
        with Lock(self, self._file, _HEADER_LOCK):
            base = self.find(name)
            return self._add(name) if base is None else base

    def entries(self) -> list[Entry]:
        """List all records, in the order they were claimed. Of a name that is too long, the part that fits."""
        self._read_names()
        return [Entry(field[8 : 8 + field[1]].decode(), base) for field, base in self._found.items()]

    def clear_slot(self, slot: int) -> None:
        """Zero the cells of a worker slot in all records: what its last worker had in flight died with it."""
        for place in range(self._header[_USED]):
            self.cells[place * self.width + OWN_CELLS + slot] = 0

    def lock(self, base: int) -> Lock:
        """Return what holds the record that begins at `base` against all other processes, as often as it is entered.

        It is held for microseconds, never across a wait.
        """
        return Lock(self, self._file, _RECORD_LOCKS + base // self.width)

    def _read_names(self) -> None:
        for place in range(len(self._found), self._header[_USED]):
            self._found[bytes(self._names[place * _FIELD : (place + 1) * _FIELD])] = place * self.width

    def _add(self, name: str) -> int:
        place = self._header[_USED]
        if place == self._header[_RECORDS]:
            raise ValueError(f"no room for the {name}: {place:,} breakers and endpoints are the most there can be")
        field = _packed(name)
        self._names[place * _FIELD : (place + 1) * _FIELD] = field
        self._header[_USED] = place + 1
        self._found[field] = place * self.width
        return place * self.width

    def __repr__(self) -> str:
        return f"<Board {self._header[_USED]} of {self._header[_RECORDS]} records, version {self.version}>"


def _packed(name: str) -> bytes:
    """Return a name as its field: whole or cut, length, text, and behind one that was cut its digest."""
    text, digest = name.encode(), b""
    if len(text) > NAME_BYTES:
        digest = blake2b(text, digest_size=_DIGEST_BYTES).digest()
        text = text[: NAME_BYTES - _DIGEST_BYTES].decode(errors="ignore").encode()
    return (bytes((_CUT if digest else _WHOLE, len(text))) + b"\0" * 6 + text + digest).ljust(_FIELD, b"\0")


def _size(slots: int, records: int) -> int:
    return _HEADER_BYTES + records * (_FIELD + (OWN_CELLS + slots) * 8)


def _write_header(memory: memoryview, slots: int, records: int) -> None:
    header = memory[:_HEADER_BYTES].cast("q")
    header[_RECORDS], header[_WIDTH], header[_SLOTS] = records, OWN_CELLS + slots, slots
    header[_MAGIC] = _MAGIC_AND_VERSION
