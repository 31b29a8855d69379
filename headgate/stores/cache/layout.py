"""The file that the workers of a machine keep cached answers in: how it is divided, made, opened and locked.

    cells        64-bit integers that all see at once: where the rings begin and end, what was counted
    prefixes     the last purges by prefix
    claims       who fetches what
    marks        when what was last purged, by the hash of a URL or a tag
    ghosts       whom the small ring let go of unused
    slots        the index: where the entry of a key is, a piece of the key, how often it was of use
    small, main  the rings that entries lie in

Laws: everything is of fixed size and taken when the file is made, because to write to mapped memory that the file
system has no room for kills a process; whoever changes anything but how often an entry was of use holds `lock`; who
dies with the lock held leaves the cell DIRTY set, and the next to come counts anew.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Final

from headgate.stores.cache.settings import MemoryCacheSettings

# Cells, by their number.
MAGIC, SIZE, DIRTY, MOMENT, ALL_MARK, PREFIXES, PREFIX_MOMENT = 0, 1, 2, 3, 4, 5, 6
SMALL_HEAD, SMALL_TAIL, MAIN_HEAD, MAIN_TAIL = 8, 9, 10, 11
ENTRIES, BYTES, STORED, EVICTED, REFUSED, PURGED = 16, 17, 18, 19, 20, 21
_CELLS: Final = 64
_MAGIC: Final = int.from_bytes(b"HGCACHE1", "little")

WORD: Final = 8
# What records begin at multiples of.
ALIGN: Final = 64
PREFIX_BYTES: Final = 1024
MOST_PREFIXES: Final = 32
CLAIM_BYTES: Final = 3 * WORD
CLAIM_SETS: Final = 256
CLAIM_WAYS: Final = 4
WAYS: Final = 8
PIECE_BYTES: Final = 4

# So many bytes of the file for each slot, mark and ghost: entries of less are fewer than there would be room for.
_BYTES_PER_SLOT: Final = 512
_BYTES_PER_GHOST: Final = 1024
_BYTES_PER_MARK: Final = 512
_MOST_MARKS: Final = 1 << 20
# One of so many bytes for the small ring (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023).
_SMALL: Final = 10

_FOLDER: Final = "cache-"
_FILE: Final = "entries"


class Layout:
    """Where everything begins, in bytes, in a file of `size`."""

    __slots__ = ("buckets", "claims", "counts", "ghosts", "ghosts_at", "main_at", "main_bytes", "marks", "marks_at",
                 "pieces", "prefixes", "size", "slots", "slots_at", "small_at", "small_bytes")  # fmt: skip

    def __init__(self, size: int) -> None:
        self.size = size // mmap.PAGESIZE * mmap.PAGESIZE
        self.buckets = self.size // (_BYTES_PER_SLOT * WAYS)
        self.slots = self.buckets * WAYS
        self.ghosts = self.size // _BYTES_PER_GHOST
        self.marks = min(_MOST_MARKS, self.size // _BYTES_PER_MARK)
        self.prefixes = _CELLS * WORD
        self.claims = self.prefixes + MOST_PREFIXES * PREFIX_BYTES
        self.marks_at = self.claims + CLAIM_SETS * CLAIM_WAYS * CLAIM_BYTES
        self.ghosts_at = self.marks_at + self.marks * WORD
        self.slots_at = self.ghosts_at + self.ghosts * WORD
        self.pieces = self.slots_at + self.slots * WORD
        self.counts = self.pieces + self.slots * PIECE_BYTES
        self.small_at = -(-(self.counts + self.slots) // ALIGN) * ALIGN
        rings = self.size - self.small_at
        self.small_bytes = rings // _SMALL // ALIGN * ALIGN
        self.main_at = self.small_at + self.small_bytes
        self.main_bytes = (rings - self.small_bytes) // ALIGN * ALIGN


class Shared:
    """The file, opened by one process. `cells` are its 64-bit integers, `memory` its bytes."""

    __slots__ = ("_file", "cells", "layout", "memory")

    def __init__(self, folder: Path) -> None:
        """Open what `prepare` made.

        Raises:
            ValueError: with a sentence, when it cannot be opened.
        """
        self._file = -1
        try:
            self._file = os.open(folder / _FILE, os.O_RDWR | os.O_CLOEXEC)
            self.memory = mmap.mmap(self._file, 0)
        except OSError as error:
            if self._file >= 0:
                os.close(self._file)
            raise ValueError(f"the store of cached answers in {folder} cannot be opened: {error.strerror}") from None
        self.cells = memoryview(self.memory).cast("Q")
        if self.cells[MAGIC] != _MAGIC or self.cells[SIZE] != len(self.memory):
            self.close()
            raise ValueError(f"what is in {folder} is no store of cached answers")
        self.layout = Layout(len(self.memory))

    def lock(self) -> None:
        """Wait until nobody else changes anything; it is the kernel's, so the death of its holder frees it."""
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def unlock(self) -> None:
        """Let others change something."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file; whoever made it removes it."""
        self.cells.release()
        self.memory.close()
        os.close(self._file)


def prepare(settings: MemoryCacheSettings, folders: Sequence[Path]) -> Path:
    """Make the file anew in the first of `folders` that has room for it; return the new folder that it is in.

    Raises:
        ValueError: with a sentence, when none of the folders can take it.
    """
    failures = []
    for parent in folders:
        folder = None
        try:
            folder = Path(mkdtemp(prefix=_FOLDER, dir=parent))
            _make(folder / _FILE, Layout(settings.size))
        except OSError as error:
            failures.append(f"{parent}: {os.strerror(error.errno or 0)}")
            if folder is not None:
                rmtree(folder, ignore_errors=True)
        else:
            return folder
    raise ValueError(
        f"the store of cached answers finds no place for its {settings.size / 1024**2:g} MiB ({'; '.join(failures)}):"
        " name a folder with room in cache_store.path, or write a smaller cache_store.size"
    )


def _make(path: Path, layout: Layout) -> None:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(file, 0, layout.size)
        with mmap.mmap(file, layout.size) as memory, memoryview(memory).cast("Q") as cells:
            cells[SIZE] = layout.size
            # Offsets go on for ever; none of them is 0, which stands for an empty slot.
            cells[SMALL_HEAD] = cells[SMALL_TAIL] = layout.small_bytes
            cells[MAIN_HEAD] = cells[MAIN_TAIL] = layout.main_bytes
            cells[MAGIC] = _MAGIC
    finally:
        os.close(file)
