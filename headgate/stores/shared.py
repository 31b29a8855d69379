"""Limits counted in memory that all workers of a gateway share: one LMDB file, one transaction for each request.

Values are as in memory.py: the end of the record and the record.

Laws:
- There are write transactions only, and each ends where it began: an open reader would keep every page ever freed.
  The lock of the writer is a robust mutex and pages are copied before they change, so a worker killed in the middle
  of a transaction leaves the file as it was before and the lock to others.
- Pages are kept back, because deleting needs free pages too. When only those are left, each new key pushes others out.
- A file that fails is opened anew once a second; until it works, `Fallback` decides.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import islice
from mmap import PAGESIZE
from operator import itemgetter
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from time import perf_counter, sleep
from typing import Final, TypeVar

import lmdb

from headgate.stores.fallback import Fallback, OnChange
from headgate.stores.memory import EXPIRES_BYTES, MemoryStore, decide, new_tuple, pack_expires
from headgate.stores.settings import RedisStoreSettings, SharedStoreSettings
from headgate.stores.store import KEY_BYTES, Ask, Told

T = TypeVar("T")

_RETRY: Final = 1_000_000
# What a key costs in a page besides its value.
_OVERHEAD: Final = 32
_PAGE: Final = PAGESIZE
# Kept back: at least these pages, and one of so many.
_LEAST_RESERVE: Final = 64
_RESERVED: Final = 16
# So many workers may write at the same time before any of them looks again how much room is left.
_WORKERS: Final = 64
_SAMPLE: Final = 64
_SAMPLE_BYTES: Final = 2 * _PAGE
# Of a sample one in so many.
_GENTLE: Final = 4
_HARSH: Final = 1
_BATCHES: Final = 8
# A chunk of a sweep holds the lock; others wait for it. Between two chunks they get their turn.
_CHUNK_SECONDS: Final = 0.0004
_SWEEP_SECONDS: Final = 0.004
_PAUSE_SECONDS: Final = 0.00005
_FEWEST_LOOKS: Final = 32
_MOST_LOOKS: Final = 2048

_value_of: Final = itemgetter(1)


class SharedStore:
    """The file, opened by one worker after its fork. `evicted` keys were pushed out by others, `swept` had expired."""

    __slots__ = (
        "_begin", "_env", "_looks", "_owner", "_path", "_place", "_reserve", "_retry", "_room", "_size",
        "_spare", "evicted", "fallback", "swept",
    )  # fmt: skip

    def __init__(self, path: Path, size: int, owner: int, local: MemoryStore, on_change: OnChange) -> None:
        """Open what `prepare` made. `owner` names this process to limits of concurrency.

        Raises:
            ValueError: with a sentence, when it cannot be opened.
        """
        self._path = path
        self._size = _whole_pages(size)
        self._owner = owner
        self.fallback = Fallback(local, on_change)
        self.evicted = self.swept = 0
        self._retry = 0
        self._place = os.urandom(KEY_BYTES)
        self._looks = _FEWEST_LOOKS
        self._room = 0
        pages = size // _PAGE
        self._reserve = max(_LEAST_RESERVE, pages // _RESERVED)
        self._spare = pages - self._reserve
        self._env: lmdb.Environment | None = None
        try:
            self._open()
        except lmdb.Error as error:
            raise ValueError(f"the store of limits in {path} cannot be opened: {error}") from None

    @property
    def elsewhere(self) -> int:
        """Asks that the fallback decided."""
        return self.fallback.decided

    # -- requests -------------------------------------------------------------------------------------------------

    def admit(self, asks: Sequence[Ask], now: int) -> list[Told]:
        """Hold a request against all asks."""
        if self.fallback.failing and not self._works_again(now):
            return self.fallback.admit(asks, now)
        try:
            if len(asks) == 1:
                return [self._admit_one(asks[0], now)]
            return self._admit(asks, now)
        except lmdb.Error as error:
            told = self._again(error, self._admit, asks, now)
            return self.fallback.admit(asks, now) if told is None else told

    def _admit_one(self, ask: Ask, now: int) -> Told:
        """Do what `_admit` does, in the short way that nearly every request takes."""
        group, key, costs = ask
        # A `with` costs a tenth of a transaction.
        txn = self._begin(None, None, True)
        try:
            found = txn.get(key)
            record = b"" if found is None else found[EXPIRES_BYTES:]
            allowed, after, raws = group.admit(record, now, costs, self._owner)
            if after is not record:
                value = pack_expires(group.expires(after, now)) + after
                if found is None or len(value) > len(found):
                    self._grow(txn, value, found)
                txn.put(key, value)
            txn.commit()
        except BaseException:
            txn.abort()
            raise
        return new_tuple(Told, (allowed, raws, "store"))

    def _admit(self, asks: Sequence[Ask], now: int) -> list[Told]:
        with self._begin(write=True) as txn:
            values = [txn.get(ask.key) for ask in asks]
            records = [b"" if found is None else found[EXPIRES_BYTES:] for found in values]
            told, kept = decide(asks, records, now, self._owner)
            for ask, found, record, after in zip(asks, values, records, kept, strict=True):
                if after is not record:
                    self._keep(txn, ask, found, after, now)
        return told

    def settle(self, asks: Sequence[Ask], now: int, *, local: bool = False) -> None:
        """Charge the costs of the asks after the fact (negative ones give back); lost while the file fails."""
        if local:
            self.fallback.settle(asks, now)
        elif self._env is not None and not self.fallback.failing:
            try:
                self._settle(asks, now)
            except lmdb.Error as error:
                self._again(error, self._settle, asks, now)

    def _settle(self, asks: Sequence[Ask], now: int) -> None:
        with self._begin(write=True) as txn:
            for ask in asks:
                found = txn.get(ask.key)
                record = b"" if found is None else found[EXPIRES_BYTES:]
                after = ask.group.settle(record, now, ask.costs, self._owner)
                if after is not record:
                    self._keep(txn, ask, found, after, now)

    def forget(self, keys: Sequence[bytes]) -> int:
        """Begin afresh with these keys; return how many of them there were, -1 while the file fails."""
        self.fallback.local.forget(keys)
        if self._env is None or self.fallback.failing:
            return -1
        try:
            with self._begin(write=True) as txn:
                return sum(txn.delete(key) for key in keys)
        except lmdb.Error:
            return -1

    def _keep(self, txn: lmdb.Transaction[bytes], ask: Ask, found: bytes | None, record: bytes, now: int) -> None:
        if not record:
            if found is not None:
                txn.delete(ask.key)
            return
        value = pack_expires(ask.group.expires(record, now)) + record
        if found is None or len(value) > len(found):
            self._grow(txn, value, found)
        txn.put(ask.key, value)

    # -- room -----------------------------------------------------------------------------------------------------

    def _grow(self, txn: lmdb.Transaction[bytes], value: bytes, found: bytes | None) -> None:
        """Account for what is about to be added, and push others out when only the reserve is left."""
        self._room -= len(value) + _OVERHEAD if found is None else len(value) - len(found)
        if self._room >= 0:
            return
        stat = txn.stat()
        free = self._spare - stat["branch_pages"] - stat["leaf_pages"] - stat["overflow_pages"]
        if free > 0:
            # What is added to full pages splits them, so it can take twice its bytes.
            self._room = free * _PAGE // (2 * _WORKERS)
            return
        # Where the reserve is used up, whole neighbourhoods go: pages become free only when they are nearly empty.
        share = _GENTLE if -free < self._reserve // 2 else _HARSH
        freed = 0
        for _ in range(_BATCHES):
            freed += self._evict(txn, share)
            if freed >= len(value):
                break
        self._room = freed - len(value) - _OVERHEAD if share == _GENTLE else 0

    def _evict(self, txn: lmdb.Transaction[bytes], share: int) -> int:
        """Push out, of some neighbours, the one in `share` nearest to their end; return about how many bytes they had.

        The fewer pages are changed, the fewer free ones it takes: the neighbours lie in two or three.
        """
        cursor = txn.cursor()
        if not cursor.set_range(os.urandom(KEY_BYTES)) and not cursor.first():
            return 0
        sample = []
        bytes_left = _SAMPLE_BYTES
        for item in islice(cursor.iternext(), _SAMPLE):
            sample.append(item)
            bytes_left -= len(item[1])
            if bytes_left < 0:
                break
        sample.sort(key=_value_of)
        chosen = sample[: -(-len(sample) // share)]
        for key, _ in chosen:
            txn.delete(key)
        self.evicted += len(chosen)
        return sum(len(value) + _OVERHEAD for _, value in chosen)

    def _again(
        self, error: lmdb.Error, work: Callable[[Sequence[Ask], int], T], asks: Sequence[Ask], now: int
    ) -> T | None:
        """Try once more, with more room, what failed because there was none; else note that the file fails."""
        try:
            if isinstance(error, lmdb.MapFullError):
                self._make_room()
                try:
                    return work(asks, now)
                except lmdb.MapFullError:
                    # A long record that finds no pages side by side: this request's misfortune, not the file's.
                    return None
        except lmdb.Error as another:
            error = another
        self._fails(error, now)
        return None

    def _make_room(self) -> None:
        share = _HARSH
        for _ in range(_BATCHES):
            try:
                with self._begin(write=True) as txn:
                    self._evict(txn, share)
            except lmdb.MapFullError:
                # What the last transaction freed can be used by the next but one, so any that is done is a help.
                share = _SAMPLE
                with self._begin(write=True) as txn:
                    self._evict(txn, share)

    def sweep(self, now: int) -> None:
        """Forget some of what has expired: one chunk of keys, and more of them while a good part had expired."""
        self.fallback.local.sweep(now)
        if self.fallback.failing:
            return
        ends = perf_counter() + _SWEEP_SECONDS
        try:
            while self._sweep_chunk(now) and perf_counter() < ends:
                sleep(_PAUSE_SECONDS)
        except lmdb.Error as error:
            self._fails(error, now)

    def _sweep_chunk(self, now: int) -> bool:
        """Go on from where the last chunk ended; tell whether a quarter of what was looked at had expired."""
        limit = pack_expires(now)
        with self._begin(write=True) as txn:
            began = perf_counter()
            cursor = txn.cursor()
            if not cursor.set_range(self._place) and not cursor.first():
                return False
            seen = list(islice(cursor.iternext(), self._looks))
            expired = [key for key, value in seen if value < limit]
            # Empty behind the last key, and then the next chunk begins with the first.
            self._place = cursor.key()
            for key in expired:
                txn.delete(key)
            took = perf_counter() - began
        self.swept += len(expired)
        if took > _CHUNK_SECONDS:
            self._looks = max(_FEWEST_LOOKS, self._looks // 2)
        elif took < _CHUNK_SECONDS / 2:
            self._looks = min(_MOST_LOOKS, self._looks * 2)
        return len(expired) * 4 >= len(seen)

    # -- the file -------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self.close()
        # LMDB would make another, which nobody else counts in.
        if not (self._path / "data.mdb").exists():
            raise lmdb.Error("the file is gone")
        self._env = _open(self._path, self._size, create=False)
        # A worker killed while it opened the file may have left a reader behind.
        self._env.reader_check()
        self._begin = self._env.begin
        self._room = 0

    def _fails(self, error: lmdb.Error, now: int) -> None:
        self._retry = now + _RETRY
        self.fallback.fails(str(error))

    def _works_again(self, now: int) -> bool:
        if now < self._retry:
            return False
        self._retry = now + _RETRY
        try:
            self._open()
            with self._begin(write=True) as txn:
                txn.get(self._place)
        except lmdb.Error:
            return False
        self.fallback.works()
        return True

    @property
    def keys(self) -> int:
        """Return how many keys are held by all workers together."""
        return 0 if self._env is None or self.fallback.failing else self._env.stat()["entries"]

    def close(self) -> None:
        """Let go of the file; whoever made it removes it."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def __repr__(self) -> str:
        return f"<SharedStore {self._path}, {self.keys} keys, {self.evicted} evicted, {self.swept} swept>"


def prepare(settings: SharedStoreSettings | RedisStoreSettings, folders: Sequence[Path]) -> Path:
    """Make the file anew in the first of `folders` that has room for it; return the new folder that it is in.

    All of its bytes are taken now: to write to mapped memory that the file system has no room for kills a process.
    Call it in a process that does not use the file itself.

    Raises:
        ValueError: with a sentence, when none of the folders can take it.
    """
    size = _whole_pages(settings.size)
    failures = []
    for parent in folders:
        folder = None
        try:
            folder = Path(mkdtemp(prefix="limits-", dir=parent))
            _open(folder, size, create=True).close()
            for file in folder.iterdir():
                with file.open("r+b") as opened:
                    os.posix_fallocate(opened.fileno(), 0, max(1, file.stat().st_size))
        except (OSError, lmdb.Error) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            failures.append(f"{parent}: {reason}")
            if folder is not None:
                rmtree(folder, ignore_errors=True)
        else:
            return folder
    raise ValueError(
        f"the store of limits finds no place for its {size / 1024**2:g} MiB ({'; '.join(failures)}):"
        " name a folder with room in store.path, or write a smaller store.size"
    )


def _whole_pages(size: int) -> int:
    return size // _PAGE * _PAGE


def _open(path: Path, size: int, *, create: bool) -> lmdb.Environment:
    return lmdb.open(
        str(path),
        map_size=size,
        create=create,
        mode=0o600,
        # Nothing of it is wanted after the gateway's end, so nothing is ever forced to a disk.
        sync=False,
        metasync=False,
        map_async=True,
        writemap=True,
        meminit=False,
        readahead=False,
    )
