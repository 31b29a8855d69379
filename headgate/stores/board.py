"""Named records of integers that all processes of a gateway see at once: breakers, endpoints.

    header (one page)    magic, how many records, cells of each, slots, how many are used, version of the whole
    names                one fixed field for each record
    cells                `width` signed 64-bit integers for each record: OWN_CELLS of its own, one for each worker slot
    holds                for each record, how often each worker slot holds it

The master creates the board before its first fork, over an anonymous file; control and every worker inherit it.

Laws:
- Reading is indexing a memoryview: no call, no lock. Whoever changes more than one cell, or one that others change,
  holds `lock(base)`. The lock is the kernel's (fcntl, one byte of the file), so the death of its holder frees it. It
  belongs to a process: within one it keeps nobody out, and must not be taken again by its holder.
- A record is found by its name and keeps its place until it is given back: it survives reloads and workers. The
  count of used records is written last, so one whose maker died before that was never made.
- Control alone gives records back (`free`), and none that a worker holds: whoever writes into cells while requests come
  and go has them held. So names that come and go for ever fill nothing. What one process remembers of names is
  compared with what stands there before it is used.
- `version` changes with every change that somebody may want to look at; comparing it is all a reader does per request.
- A cell of a worker slot is written by the worker of that slot alone.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

# What is not touched costs address space only: a record takes 2,304 bytes with 64 slots.
RECORDS = 65_536
OWN_CELLS = 128
NAME_BYTES = 248

PRIVATE_RECORDS = 4096

_NOBODY_ELSE = -1
_MAGIC_AND_VERSION = int.from_bytes(b"HGBOARD2", "little")
_HEADER_BYTES = 4096
# _FREE is the place behind the first free one (0 = none), _MOVED counts places that were given back or taken again.
_MAGIC, _RECORDS, _WIDTH, _SLOTS, _USED, _VERSION, _FREE, _MOVED = range(8)
_FIELD = NAME_BYTES + 8
# What a name's field begins with; behind _NOBODY stands the place behind the next free one.
_NOBODY, _WHOLE, _CUT = 0, 1, 2
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


class Hold:
    """A record that a worker uses: as long as this object lives, nobody gives its place to another name."""

    __slots__ = ("_at", "_holds", "base")

    def __init__(self, base: int, holds: memoryview, at: int) -> None:
        self.base = base
        self._holds = holds
        self._at = at
        holds[at] += 1

    def __del__(self) -> None:
        self._holds[self._at] -= 1


class Board:
    """The memory, attached."""

    __slots__ = (
        "__weakref__",
        "_file",
        "_found",
        "_header",
        "_holds",
        "_moved",
        "_names",
        "_read",
        "cells",
        "slots",
        "width",
    )

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
        cells_end = end + self._header[_RECORDS] * self.width * 8
        self.cells = memory[end:cells_end].cast("q")
        self._holds = memory[cells_end : cells_end + self._header[_RECORDS] * self.slots * 8].cast("q")
        # The records this process has read so far, in their order; how many places that were, and after which moves.
        self._found: dict[bytes, int] = {}
        self._read = self._moved = 0

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

    def fileno(self) -> int:
        """Return the descriptor of its file, for a process that attaches to it; -1 for a private one."""
        return self._file

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
        if base is not None and self._stands(field, base):
            return base
        with Lock(self, self._file, _HEADER_LOCK):
            self._read_names()
        return self._found.get(field)

    def claim(self, name: str) -> int:
        """Return the first cell of the record of this name, made with zeros if there is none yet.

        Raises:
            ValueError: with a sentence, when the board is full.
        """
        base = self.find(name)
        if base is not None:
            return base
        with Lock(self, self._file, _HEADER_LOCK):
            self._read_names()
            return self._claim(name)

    def hold(self, names: Iterable[str], slot: int) -> list[Hold]:
        """Claim records for the worker of this slot, which has them until it lets go of what is returned.

        Raises:
            ValueError: with a sentence, when the board is full.
        """
        slots, width = self.slots, self.width
        with Lock(self, self._file, _HEADER_LOCK):
            self._read_names()
            bases = [self._claim(name) for name in names]
            return [Hold(base, self._holds, base // width * slots + slot) for base in bases]

    def free(self, names: Sequence[str]) -> int:
        """Give back the records of these names that no worker holds, and return how many those were.

        For control alone, which must not use them itself any more.
        """
        freed = 0
        with Lock(self, self._file, _HEADER_LOCK):
            self._read_names()
            for field in map(_packed, names):
                base = self._found.get(field)
                if base is None or self._is_held(base):
                    continue
                place = base // self.width
                following = self._header[_FREE].to_bytes(8, "little")
                self._names[place * _FIELD : (place + 1) * _FIELD] = (bytes(8) + following).ljust(_FIELD, b"\0")
                # Last: whoever dies before this has lost one place, no more.
                self._header[_FREE] = place + 1
                self._move()
                del self._found[field]
                freed += 1
        return freed

    def entries(self) -> list[Entry]:
        """List all records, in the order of their places. Of a name that is too long, the part that fits."""
        with Lock(self, self._file, _HEADER_LOCK):
            self._read_names()
        found = sorted(self._found.items(), key=lambda each: each[1])
        return [Entry(field[8 : 8 + field[1]].decode(), base) for field, base in found]

    def clear_slot(self, slot: int) -> None:
        """Zero the cells of a worker slot in all records: what its last worker had in flight died with it."""
        for place in range(self._header[_USED]):
            self.cells[place * self.width + OWN_CELLS + slot] = 0
            self._holds[place * self.slots + slot] = 0

    def lock(self, base: int) -> Lock:
        """Return what holds the record that begins at `base` against all other processes, as often as it is entered.

        It is held for microseconds, never across a wait.
        """
        return Lock(self, self._file, _RECORD_LOCKS + base // self.width)

    def _stands(self, field: bytes, base: int) -> bool:
        """Tell whether that is still the record of this name."""
        at = base // self.width * _FIELD
        return self._names[at : at + _FIELD] == field

    def _is_held(self, base: int) -> bool:
        at = base // self.width * self.slots
        return any(self._holds[at : at + self.slots])

    def _move(self) -> None:
        """Let other processes read all names anew; what this one knows is right."""
        self._header[_MOVED] += 1
        self._moved = self._header[_MOVED]

    def _read_names(self) -> None:
        """Learn what other processes have changed. The header is locked."""
        if self._moved != self._header[_MOVED]:
            self._found.clear()
            self._read, self._moved = 0, self._header[_MOVED]
        for place in range(self._read, self._header[_USED]):
            field = bytes(self._names[place * _FIELD : (place + 1) * _FIELD])
            if field[0] != _NOBODY:
                self._found[field] = place * self.width
        self._read = self._header[_USED]

    def _claim(self, name: str) -> int:
        """Find or make a record. The header is locked, and the names are read."""
        field = _packed(name)
        base = self._found.get(field)
        return self._add(name, field) if base is None else base

    def _add(self, name: str, field: bytes) -> int:
        header = self._header
        again = header[_FREE] > 0
        place = header[_FREE] - 1 if again else header[_USED]
        if place == header[_RECORDS]:
            raise ValueError(f"no room for the {name}: {place:,} breakers and endpoints are the most there can be")
        base = place * self.width
        if again:
            at = place * _FIELD + 8
            header[_FREE] = int.from_bytes(self._names[at : at + 8], "little")
            self.cells[base : base + self.width] = memoryview(bytes(self.width * 8)).cast("q")
        self._names[place * _FIELD : (place + 1) * _FIELD] = field
        if again:
            self._move()
        else:
            header[_USED] = self._read = place + 1
        self._found[field] = base
        return base

    def __repr__(self) -> str:
        return f"<Board {len(self._found)} of {self._header[_RECORDS]} records, version {self.version}>"


def _packed(name: str) -> bytes:
    """Return a name as its field: whole or cut, length, text, and behind one that was cut its digest."""
    text, digest = name.encode(), b""
    if len(text) > NAME_BYTES:
        digest = blake2b(text, digest_size=_DIGEST_BYTES).digest()
        text = text[: NAME_BYTES - _DIGEST_BYTES].decode(errors="ignore").encode()
    return (bytes((_CUT if digest else _WHOLE, len(text))) + b"\0" * 6 + text + digest).ljust(_FIELD, b"\0")


def _size(slots: int, records: int) -> int:
    return _HEADER_BYTES + records * (_FIELD + (OWN_CELLS + slots + slots) * 8)


def _write_header(memory: memoryview, slots: int, records: int) -> None:
    header = memory[:_HEADER_BYTES].cast("q")
    header[_RECORDS], header[_WIDTH], header[_SLOTS] = records, OWN_CELLS + slots, slots
    header[_MAGIC] = _MAGIC_AND_VERSION
