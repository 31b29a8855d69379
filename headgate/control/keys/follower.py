"""One database of keys, followed into one file: all keys first, then what changes.

Law: the file says itself which database it is a copy of and up to which change (stores.keys.Meta), so whoever comes
next, after whatever end, goes on from there. What does not fit together (another database, one restored from a backup,
more changes than one look takes) is gone through whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final

from sqlalchemy.engine import make_url

from headgate.control.database import DatabaseError
from headgate.control.keys.key_store import KeyStore, open_store
from headgate.control.keys.sync import KeyPlace
from headgate.control.log import Log
from headgate.stores.board import Board
from headgate.stores.keys import KeyFile, Meta, OutOfStep, raise_generation

_USES: Final = 1000
# While a fill goes on, the log tells how far it is.
_TOLD_EACH: Final = 100_000


class DatabaseFollower:
    """Database and file, both open."""

    def __init__(self, place: KeyPlace, board: Board, log: Log, clock: Callable[[], float]) -> None:
        """Open the file; the database is opened by the first turn, so that readers have a file in any case.

        Raises:
            ValueError: with a sentence, when the file cannot be made.
        """
        self._place = place
        self._board = board
        self._log = log
        self._clock = clock
        self._file = self._open()
        self._seen: Meta | None = None
        self._store: KeyStore | None = None

    def _open(self) -> KeyFile:
        file = KeyFile(self._place.folder, self._place.size)
        if file.remade:
            self._log("warning", "the file of keys could not be read and is made anew", folder=str(file.folder))
        # Readers may have another file open, and whoever wrote it last may have died before it told them so.
        raise_generation(self._board)
        return file

    @property
    def known(self) -> int:
        """Return how many keys are in the file."""
        return self._file.keys

    def turn(self) -> None:
        """Take what has changed.

        Raises:
            ValueError: with a sentence, when that is not possible at the moment.
        """
        if not self._file.intact:
            self._log("warning", "the file of keys is gone and is made anew", folder=str(self._place.folder))
            self._file.close()
            self._file = self._open()
        try:
            self._take()
        except OutOfStep:
            # Another gateway of this state_dir was quicker; the next turn sees what it wrote.
            return
        except DatabaseError:
            self._close_store()
            raise

    def _take(self) -> None:
        store = self._store
        if store is None:
            store = self._store = open_store(make_url(self._place.url), self._place.pepper)
        meta = self._file.meta()
        changes = store.changes_since(meta.revision) if meta is not None else None
        if changes is not None and changes.after.source != store.source:
            raise DatabaseError("the database has become another one")
        if meta is None or changes is None or not _goes_on(meta, changes.after):
            self._fill(store)
        elif changes.after != meta:
            self._file.apply(changes.changes, meta, changes.after)
        meta = self._file.meta()
        if meta != self._seen:
            self._seen = meta
            raise_generation(self._board)

    def _fill(self, store: KeyStore) -> None:
        began = self._clock()
        # What changes meanwhile is found again by the next turn.
        latest = store.revision()
        count = self._file.replace_all(store.all(), latest, self._tell)
        known = "1 key is known" if count == 1 else f"{count:,} keys are known"
        self._log("info", known, seconds=round(self._clock() - began, 3))

    def _tell(self, done: int) -> None:
        if done % _TOLD_EACH == 0:
            self._log("info", f"{done:,} keys so far")

    def mark_used(self, used: Mapping[str, float]) -> None:
        """Write when keys were used last.

        Raises:
            ValueError: with a sentence.
        """
        if self._store is None:
            return
        for batch in _batches(used):
            self._store.mark_used(batch)

    def close(self) -> None:
        """Let go of database and file."""
        self._close_store()
        self._file.close()

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()


def _goes_on(meta: Meta, after: Meta) -> bool:
    """Tell whether the database is the one the file is a copy of, and has not gone back."""
    return meta.source == after.source and meta.revision <= after.revision


def _batches(used: Mapping[str, float]) -> Iterator[dict[str, float]]:
    items = iter(used.items())
    while batch := dict(islice(items, _USES)):
        yield batch
