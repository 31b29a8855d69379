"""Keys from the database to the file that workers read, as long as control lives.

    look for changes each `poll` -> into the file -> raise the generation; uses that workers tell of -> the database

Laws:
- It runs in a thread of its own, for it waits for databases; what control's loop calls here returns at once. A plan
  that follows another file waits for the first look: nobody is refused, or let in, by what the file said long ago.
- A database that is away, or is the wrong one, changes nothing in the file: known keys go on working. The log has one
  line for each change of state.
- Workers get what they need, the folder of the file and the pepper, and nothing of the database.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from headgate.config.resolve import ResolvedConfig
from headgate.control.log import Log
from headgate.control.state import find_pepper, make_state, state_path
from headgate.core.clock import wall
from headgate.core.trace import kind_of, places_of
from headgate.stores.board import Board
from headgate.telemetry.cells import Sample, SeriesName

# A key that was revoked while the database was away is refused so soon after it is back.
_LONGEST_PAUSE: Final = 2.0
# Uses that wait to be written. What is beyond is lost: when a key was used last is known less exactly then.
_MOST_USES: Final = 100_000
_LONGEST_ID: Final = 100
_LAST_WORDS_SECONDS: Final = 2.0
# A database that takes longer is looked at while requests are served by the file as it is.
_FIRST_LOOK_SECONDS: Final = 10.0
# Seconds by which the clock that a use was read from may have been put back since.
_FAST_CLOCK: Final = 3600.0


class KeyPlace(NamedTuple):
    """Where keys come from and go to. `url` and `pepper` are secret."""

    url: str
    pepper: bytes
    folder: Path
    size: int
    poll: float

    def __repr__(self) -> str:
        return f"<KeyPlace {self.folder}>"


class Follower(Protocol):
    """What follows one database into one file."""

    @property
    def known(self) -> int:
        """Return how many keys are in the file."""

    def turn(self) -> None:
        """Take what has changed. Raises ValueError with a sentence when that is not possible at the moment."""

    def mark_used(self, used: Mapping[str, float]) -> None:
        """Write when keys were used last. Raises ValueError with a sentence."""

    def close(self) -> None:
        """Let go of database and file."""


class KeySync:
    """The keys of the configuration in force."""

    def __init__(
        self,
        board: Board,
        log: Log,
        kept: KeyPlace | None = None,
        follow: Callable[[KeyPlace, Board, Log], Follower] | None = None,
    ) -> None:
        """`kept` is what a predecessor followed, and is followed at once."""
        self._board = board
        self._log = log
        self._make = follow or _follower
        self._next: KeyPlace | None = None
        self._thread: _Thread | None = None
        # Begun for a plan that is not in force yet.
        self._early: _Thread | None = None
        # The last one that was stopped, and may not have come to its end.
        self._leaving: _Thread | None = None
        self.current: KeyPlace | None = None
        self._switch(kept)

    def prepare(self, config: ResolvedConfig) -> ResolvedConfig:
        """Return the configuration as workers get it: with the folder of the file and the pepper, in hexadecimal.

        For another file than before, wait until it has been brought up to date once, not for ever; call it in a thread.

        Raises:
            ValueError: with a sentence, when there is no place for the file, no pepper, or no such database.
        """
        self._next = self._place(config)
        if self._next is not None and (self.current is None or self._next.folder != self.current.folder):
            self._early = self._begun(self._next)
            self._early.looked.wait(_FIRST_LOOK_SECONDS)
        identity, keys = config.identity, config.identity.api_keys
        pepper, folder = None, None
        if self._next is not None:
            pepper, folder = self._next.pepper.hex(), str(self._next.folder)
        if keys is not None:
            identity = replace(identity, api_keys=replace(keys, pepper=pepper))
        return replace(config, identity=identity, keys_path=folder)

    def _place(self, config: ResolvedConfig) -> KeyPlace | None:
        keys, database = config.identity.api_keys, config.database
        if keys is None or not keys.enabled or not keys.database:
            return None
        # The library of databases is for those who have keys in one.
        from headgate.control.database import find_url, fingerprint

        state = make_state(state_path(config.state_dir, os.environ))
        pepper = find_pepper(keys.pepper, os.environ, state)
        url = find_url(database.url, os.environ, state)
        folder = state / f"keys-{fingerprint(url)}"
        return KeyPlace(
            url.render_as_string(hide_password=False), pepper, folder, database.max_keys_size, database.poll
        )

    def conclude(self, taken: bool) -> None:
        """Learn whether the plan that was prepared for is in force; if so, follow its database from now on."""
        early, self._early = self._early, None
        if taken:
            self._switch(self._next, early)
        elif early is not None:
            self._stop(early)
        self._next = None

    def _switch(self, place: KeyPlace | None, early: _Thread | None = None) -> None:
        if place == self.current:
            return
        if self._thread is not None:
            self._stop(self._thread)
        self.current = place
        self._thread = early if early is not None or place is None else self._begun(place)

    def _begun(self, place: KeyPlace) -> _Thread:
        thread = _Thread(place, lambda: self._make(place, self._board, self._log), self._log, self._leaving)
        thread.start()
        return thread

    def _stop(self, thread: _Thread) -> None:
        thread.stop()
        self._leaving = thread

    def on_said(self, _worker: int, message: Mapping[str, Any]) -> None:
        """Hear a worker: `{"type": "keys_used", "keys": {id: wall-clock seconds}}`."""
        if message.get("type") == "keys_used" and self._thread is not None:
            self._thread.note(message.get("keys"))

    def samples(self) -> list[Sample]:
        """Return how many keys the workers know, and whether their database is away."""
        thread = self._thread
        if thread is None:
            return []
        return [
            Sample(SeriesName("headgate_api_keys", "gauge", ()), [thread.known]),
            Sample(SeriesName("headgate_key_database_failing", "gauge", ()), [int(thread.failing)]),
        ]

    def close(self) -> None:
        """Let the thread write down what it still has, if that is quick."""
        if self._early is not None:
            self._early.stop()
        if self._thread is not None:
            self._thread.stop()
            self._thread.join(_LAST_WORDS_SECONDS)


class _Thread(threading.Thread):
    """The course of one follower: turn, wait, turn; after a failure made anew."""

    def __init__(
        self, place: KeyPlace, make: Callable[[], Follower], log: Log, predecessor: threading.Thread | None
    ) -> None:
        # A daemon: control does not wait for a database that does not answer.
        super().__init__(name="keys", daemon=True)
        self._place = place
        self._make = make
        self._log = log
        self._predecessor = predecessor
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._used: dict[str, float] = {}
        self._follower: Follower | None = None
        # What was said since it last worked.
        self._said: set[str] = set()
        # Set once it has looked, however that went.
        self.looked = threading.Event()
        self.known = 0

    @property
    def failing(self) -> bool:
        """Tell whether the last turn did not succeed."""
        return bool(self._said)

    def stop(self) -> None:
        """Let it come to its end."""
        self._over.set()

    def note(self, used: object) -> None:
        """Keep when keys were used, to be written down with the next turn."""
        if not isinstance(used, dict):
            return
        latest = wall() + _FAST_CLOCK
        with self._lock:
            for id_, moment in used.items():
                # One that the database cannot take would keep it from all others, again and again.
                if len(id_) > _LONGEST_ID or not (id_.isascii() and id_.isprintable()):
                    continue
                if not isinstance(moment, int | float) or not 0 <= moment <= latest:
                    continue
                if id_ in self._used or len(self._used) < _MOST_USES:
                    self._used[id_] = max(self._used.get(id_, 0.0), moment)

    def run(self) -> None:
        """Follow until the end."""
        if self._predecessor is not None:
            # It may have the same file open, which a process can do once.
            self._predecessor.join()
            self._predecessor = None
        pause = 0.0
        while not self._over.wait(pause):
            pause = self._place.poll if self._turn() else min(_LONGEST_PAUSE, max(self._place.poll, pause * 2))
            self.looked.set()
        self._turn()
        self._drop()

    def _turn(self) -> bool:
        try:
            if self._follower is None:
                self._follower = self._make()
            self.known = self._follower.known
            self._follower.turn()
            self.known = self._follower.known
            self._write_uses(self._follower)
        except ValueError as error:
            self._fails(str(error))
            return False
        except Exception as error:
            self._fails(f"in an unforeseen way: {kind_of(error)}", traceback=places_of(error))
            self._drop()
            return False
        if self._said:
            self._log("info", "the database of keys answers again", keys=self.known)
            self._said.clear()
        return True

    def _fails(self, why: str, **fields: str) -> None:
        if why not in self._said:
            self._said.add(why)
            self._log("error", f"keys cannot be brought up to date, those known go on working: {why}", **fields)

    def _drop(self) -> None:
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.close()

    def _write_uses(self, follower: Follower) -> None:
        with self._lock:
            used, self._used = self._used, {}
        try:
            follower.mark_used(used)
        except BaseException:
            self.note(used)
            raise


def _follower(place: KeyPlace, board: Board, log: Log) -> Follower:
    from headgate.control.keys.follower import DatabaseFollower

    return DatabaseFollower(place, board, log, time.monotonic)
