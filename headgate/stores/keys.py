"""The file of API keys: digest -> packed record, written by control, read by every worker, copied to none.

    data.mdb    32 bytes of digest -> a record (auth.api_key.pack)
                "meta" -> source, revision: which database this is a copy of, and up to which of its changes

Laws:
- A reader's transaction lasts for one look-up: an open one would keep every page ever freed.
- The file is no writable map, so a full disk is an error of the writer and not the death of a process (SIGBUS).
- Without "meta" it was never filled to the end: what is not in it may be a key, so readers know nothing then.
- It outlives the gateway. While the database is away, what is in it holds.
- Readers learn of changes by the generation, a cell of the board that control moves after each change.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import lmdb

from headgate.auth.api_key import DIGEST_BYTES, KeysUnavailable
from headgate.core.clock import monotonic
from headgate.stores.board import Board

RECORD: Final = "keys"

_META: Final = b"meta"
# Each worker holds one slot, and those of a gateway before this one may linger until they are looked for.
_READERS: Final = 4096
# So many changes in one transaction: what a full fill holds the lock and the dirty pages for.
_BATCH: Final = 10_000
_RETRY_SECONDS: Final = 1.0
_DATA: Final = "data.mdb"
# What makes a file no file of keys at all. Anything else (no room, no permission) may pass, and what is in it stays.
_BROKEN: Final = (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError, lmdb.PageNotFoundError)


class Meta(NamedTuple):
    """Which database the file is a copy of, and up to which of its changes."""

    source: str
    revision: int


# Half of one database and half of another, so of none.
_HALF: Final = Meta("", 0)


class Change(NamedTuple):
    """A key as it is now; `record` None: there is no such key any more."""

    digest: bytes
    record: bytes | None


class OutOfStep(Exception):
    """Somebody else has written since `meta` was read; read it again."""


# -- control -------------------------------------------------------------------------------------------------------


class KeyFile:
    """The file as control has it. Several gateways of one state_dir may write the same: each sees what others did."""

    def __init__(self, folder: Path, size: int) -> None:
        """Open the file in `folder`, at most `size` bytes long; one that cannot be read is made anew.

        Raises:
            ValueError: with a sentence, when none can be made.
        """
        self.folder = folder
        self.remade = False
        self._size = size
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._env = self._open()
            except _BROKEN:
                _empty(folder)
                self._env = self._open()
                self.remade = True
            self._inode = (folder / _DATA).stat().st_ino
        except (OSError, lmdb.Error) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            raise ValueError(f"the file of keys in {folder} cannot be written: {reason}") from None

    def _open(self) -> lmdb.Environment:
        env = lmdb.open(str(self.folder), map_size=self._size, mode=0o600, max_readers=_READERS, readahead=False)
        try:
            # Workers that were killed have left their slots behind.
            env.reader_check()
            _check_whole(env, self.folder)
            with env.begin() as txn:
                _read_meta(txn)
        except BaseException:
            env.close()
            raise
        return env

    @property
    def intact(self) -> bool:
        """Tell whether the file that is open is still the one at its path."""
        try:
            return (self.folder / _DATA).stat().st_ino == self._inode
        except OSError:
            return False

    def meta(self) -> Meta | None:
        """Return what the file is a copy of; None while it was never filled to the end.

        Raises:
            ValueError: with a sentence, when it cannot be read.
        """
        try:
            with self._env.begin() as txn:
                return _read_meta(txn)
        except lmdb.Error as error:
            raise self._failed(error) from None

    @property
    def keys(self) -> int:
        """Return how many keys there are."""
        with self._env.begin() as txn:
            return int(txn.stat()["entries"]) - (txn.get(_META) is not None)

    def apply(self, changes: Iterable[Change], before: Meta, after: Meta) -> int:
        """Put changes in, all in one transaction, if `before` still holds; return how many differed.

        Raises:
            OutOfStep: it does not hold any more.
            ValueError: with a sentence, when they do not fit; nothing has changed then.
        """
        try:
            # A worker that was killed while it read would keep every page that is freed from now on.
            self._env.reader_check()
            with self._env.begin(write=True) as txn:
                if _read_meta(txn) != before:
                    raise OutOfStep
                differed = sum(_change(txn, change) for change in changes)
                txn.put(_META, _packed(after))
                return differed
        except lmdb.Error as error:
            raise self._failed(error) from None

    def replace_all(
        self, keys: Iterable[tuple[bytes, bytes]], after: Meta, on_batch: Callable[[int], None] = lambda _: None
    ) -> int:
        """Make the file hold exactly these keys, which come in the order of their digests; return how many.

        It goes through both in step, in bounded transactions: what is equal costs nothing, and whoever reads finds
        every key that is in both all the time. `on_batch` is told how many are done.

        Raises:
            ValueError: with a sentence, when they do not fit or are not in order; the file is then half of each.
        """
        done = 0
        last = b""
        coming = iter(keys)
        try:
            if self.meta() is not None:
                self._set_meta(_HALF)
            while batch := list(islice(coming, _BATCH)):
                before, last = last, _last_of(batch, last)
                self._delete(before, last, dict(batch))
                with self._env.begin(write=True) as txn:
                    for digest, record in batch:
                        _change(txn, Change(digest, record))
                done += len(batch)
                on_batch(done)
            self._delete(last, None, {})
            self._set_meta(after)
        except lmdb.Error as error:
            raise self._failed(error) from None
        return done

    def _set_meta(self, meta: Meta) -> None:
        with self._env.begin(write=True) as txn:
            txn.put(_META, _packed(meta))

    def _delete(self, before: bytes, last: bytes | None, wanted: dict[bytes, bytes]) -> None:
        """Delete what lies behind `before`, up to `last` (None: to the end), and is not wanted."""
        while True:
            with self._env.begin(write=True) as txn:
                found = (each for each in _digests(txn, before, last) if each not in wanted)
                unwanted = list(islice(found, _BATCH))
                for digest in unwanted:
                    txn.delete(digest)
            if len(unwanted) < _BATCH:
                return

    def _failed(self, error: lmdb.Error) -> ValueError:
        if isinstance(error, lmdb.MapFullError):
            text = f"the file of keys is full at {self._size / 1024**2:g} MiB: write a larger database.max_keys_size"
            return ValueError(text)
        return ValueError(f"the file of keys in {self.folder} fails: {error}")

    def close(self) -> None:
        """Let go of the file; it stays."""
        self._env.close()

    def __repr__(self) -> str:
        return f"<KeyFile {self.folder}, {self.keys} keys>"


# -- workers -------------------------------------------------------------------------------------------------------


class KeyReader:
    """The file as one worker has it, opened after its fork, when it is first asked."""

    __slots__ = ("_base", "_begin", "_cells", "_env", "_folder", "_inode", "_opened_at", "_report", "_retry", "_why")

    def __init__(self, folder: Path, board: Board, report: Callable[[str], None]) -> None:
        """`report` takes a sentence for the operator: when the file fails, and when it works again.

        Raises:
            ValueError: with a sentence, when the board is full.
        """
        self._folder = folder
        self._base = board.claim(RECORD)
        self._cells = board.cells
        self._report = report
        self._env: lmdb.Environment | None = None
        self._inode = 0
        self._opened_at = -1
        self._retry = 0.0
        self._why = ""

    @property
    def generation(self) -> int:
        """Return a number that moves with every change of a key."""
        return self._cells[self._base]

    def get(self, digest: bytes) -> bytes | None:
        """Return the record of a digest, None when there is no such key.

        Raises:
            KeysUnavailable: with a sentence, when the file cannot say.
        """
        if self._env is None or self._opened_at != self._cells[self._base]:
            self._look_again()
        try:
            return self._get(digest)
        except lmdb.MapResizedError:
            # It has grown beyond what was mapped when it was opened.
            self.close()
            self._look_again()
        except lmdb.Error as error:
            raise self._fails(f"the file of keys fails: {error}") from None
        try:
            return self._get(digest)
        except lmdb.Error as error:
            raise self._fails(f"the file of keys fails: {error}") from None

    def _get(self, digest: bytes) -> bytes | None:
        with self._begin() as txn:
            found = txn.get(digest)
            if found is None and txn.get(_META) is None:
                raise KeysUnavailable("the keys have not come yet")
        return found

    def _look_again(self) -> None:
        """Open the file, or open it anew if another one lies at its path now.

        Raises:
            KeysUnavailable: with a sentence, when there is none.
        """
        generation = self._cells[self._base]
        if self._env is None and monotonic() < self._retry and self._opened_at == generation:
            raise KeysUnavailable(self._why)
        self._opened_at = generation
        try:
            inode = (self._folder / _DATA).stat().st_ino
            if self._env is None or inode != self._inode:
                self._open(inode)
        except OSError:
            raise self._fails("there is no file of keys") from None
        except lmdb.Error as error:
            raise self._fails(f"the file of keys cannot be opened: {error}") from None

    def _open(self, inode: int) -> None:
        self.close()
        # A map of 0 bytes means: as large as the writer's.
        env = lmdb.open(str(self._folder), map_size=0, readonly=True, create=False, readahead=False, max_spare_txns=1)
        try:
            # Control looks for the slots of the dead only when keys change; a worker that dies again and again before
            # they do would leave no slot for itself.
            env.reader_check()
            _check_whole(env, self._folder)
        except BaseException:
            env.close()
            raise
        self._env, self._begin, self._inode = env, env.begin, inode
        if self._why:
            self._report("the file of keys is read again")
            self._why = ""

    def _fails(self, why: str) -> KeysUnavailable:
        self.close()
        self._retry = monotonic() + _RETRY_SECONDS
        if not self._why:
            self._report(why)
        self._why = why
        return KeysUnavailable(why)

    def close(self) -> None:
        """Let go of the file."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def __repr__(self) -> str:
        return f"<KeyReader {self._folder}, generation {self.generation}, {self._why or 'working'}>"


def raise_generation(board: Board) -> None:
    """Tell all workers that keys have changed. Only control does.

    Raises:
        ValueError: with a sentence, when the board is full.
    """
    base = board.claim(RECORD)
    with board.lock(base):
        board.cells[base] += 1


# -- the file ------------------------------------------------------------------------------------------------------


def _change(txn: lmdb.Transaction[bytes], change: Change) -> bool:
    if change.record is None:
        return txn.delete(change.digest)
    if txn.get(change.digest) == change.record:
        return False
    txn.put(change.digest, change.record)
    return True


def _digests(txn: lmdb.Transaction[bytes], before: bytes, last: bytes | None) -> Iterator[bytes]:
    """List the digests behind `before`, up to `last`, in order."""
    cursor = txn.cursor()
    if cursor.set_range(before) if before else cursor.first():
        for digest in cursor.iternext(values=False):
            if last is not None and digest > last:
                return
            if len(digest) == DIGEST_BYTES and digest != before:
                yield digest


def _last_of(batch: list[tuple[bytes, bytes]], last: bytes) -> bytes:
    for digest, _ in batch:
        if digest <= last:
            raise ValueError("the keys do not come in the order of their digests")
        last = digest
    return last


def _packed(meta: Meta) -> bytes:
    return json.dumps(meta).encode()


def _read_meta(txn: lmdb.Transaction[bytes]) -> Meta | None:
    found = txn.get(_META)
    if found is None:
        return None
    try:
        source, revision = json.loads(found)
        return Meta(str(source), int(revision))
    except (ValueError, TypeError):
        raise lmdb.CorruptedError("its meta record is none") from None


def _check_whole(env: lmdb.Environment, folder: Path) -> None:
    """Raise lmdb.CorruptedError if pages in use lie behind the end of the file: to read one would kill the process."""
    used = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if (folder / _DATA).stat().st_size < used:
        raise lmdb.CorruptedError("a part of it is missing")


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink()
