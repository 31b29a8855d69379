"""From the database to the file: all keys, then every change, whatever becomes of database, file and gateway."""

from __future__ import annotations

import math
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headgate.auth.api_key import digest, unpack
from headgate.config.resolve import ResolvedConfig
from headgate.control.database import connect, read_url
from headgate.control.keys import key_store
from headgate.control.keys.follower import DatabaseFollower
from headgate.control.keys.key_store import KeyStore, NewKey, open_store
from headgate.control.keys.sync import KeyPlace, KeySync
from headgate.control.log import Log
from headgate.control.withheld import for_workers
from headgate.stores.board import Board
from headgate.stores.keys import RECORD, KeyFile, Meta
from tests.config.golden import load_text
from tests.control.driver import CEILING, until
from tests.control.postgres import Postgres

PEPPER = b"p" * 32


@pytest.fixture
def board() -> Board:
    return Board.private(1, 8)


@pytest.fixture
def place(address: str, tmp_path: Path) -> KeyPlace:
    return KeyPlace(address, PEPPER, tmp_path / "state" / "keys-1", 1 << 24, 0.01)


@pytest.fixture
def store(address: str) -> Iterator[KeyStore]:
    opened = open_store(read_url(address), PEPPER)
    yield opened
    opened.close()


class Lines:
    """A log that is kept."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, level: str, message: str, **_: object) -> None:
        self.lines.append(f"{level}: {message}")


def log_to(lines: Lines) -> Log:
    made: Any = lines
    return made  # type: ignore[no-any-return]


class Followed:
    """A follower that a test turns by hand, and what its readers see."""

    def __init__(self, place: KeyPlace, board: Board) -> None:
        self.said = Lines()
        self._board = board
        self.follower = DatabaseFollower(place, board, log_to(self.said), lambda: 0.0)

    @property
    def generation(self) -> int:
        return self._board.cells[self._board.claim(RECORD)]

    def turn(self) -> bool:
        """Turn; tell whether readers were told of a change."""
        before = self.generation
        self.follower.turn()
        return self.generation != before

    def ids(self) -> set[str]:
        with self.follower._file._env.begin() as txn:
            return {unpack(value).id for key, value in txn.cursor() if len(key) == 32}


@pytest.fixture
def followed(place: KeyPlace, board: Board) -> Iterator[Followed]:
    made = Followed(place, board)
    yield made
    made.follower.close()


def made(store: KeyStore) -> str:
    return store.create(NewKey("k"), "hg_").stored.id


# -- one follower --------------------------------------------------------------------------------------------------


def test_the_file_follows_every_change_and_readers_are_told_of_changes_only(
    store: KeyStore, followed: Followed
) -> None:
    first = made(store)
    assert followed.turn()
    assert followed.ids() == {first}
    assert not followed.turn()
    second = made(store)
    assert followed.turn()
    assert followed.ids() == {first, second}
    store.revoke([first])
    assert followed.turn()
    assert followed.ids() == {second}
    assert followed.follower.known == 1
    store.mark_used({second: 1.0})
    assert not followed.turn()


def test_an_empty_database_is_known_to_be_empty(followed: Followed) -> None:
    followed.turn()
    meta = followed.follower._file.meta()
    assert meta is not None
    assert meta.revision == 0


def test_a_successor_goes_on_where_the_file_says(store: KeyStore, place: KeyPlace, board: Board) -> None:
    gone = made(store)
    first = Followed(place, board)
    first.turn()
    first.follower.close()
    store.revoke([gone])
    kept = made(store)
    second = Followed(place, board)
    second.turn()
    assert second.ids() == {kept}
    # All keys were gone through once, by the first.
    assert (len(first.said.lines), second.said.lines) == (1, [])
    second.follower.close()


def test_a_successor_tells_readers_for_a_predecessor_that_could_not(place: KeyPlace, board: Board) -> None:
    before = board.cells[board.claim(RECORD)]
    Followed(place, board).follower.close()
    assert board.cells[board.claim(RECORD)] > before


def test_a_database_that_went_back_to_a_backup_is_gone_through_whole(
    address: str, store: KeyStore, followed: Followed
) -> None:
    kept = made(store)
    backup = store.revision()
    lost = made(store)
    followed.turn()
    assert followed.ids() == {kept, lost}
    engine = connect(read_url(address))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM headgate_keys WHERE id = '{lost}'")
        connection.exec_driver_sql(f"UPDATE headgate_keys_state SET revision = {backup.revision}")
    engine.dispose()
    assert followed.turn()
    assert followed.ids() == {kept}


def test_another_database_at_the_same_place_is_noticed(address: str, store: KeyStore, followed: Followed) -> None:
    made(store)
    followed.turn()
    engine = connect(read_url(address))
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM headgate_keys")
        connection.exec_driver_sql("UPDATE headgate_keys_state SET source = 'another', revision = 7")
    engine.dispose()
    with pytest.raises(ValueError, match="has become another one"):
        followed.turn()
    assert followed.turn()
    assert followed.ids() == set()
    assert followed.follower._file.meta() == Meta("another", 7)


def test_more_changes_than_one_look_takes_arrive_all(
    store: KeyStore, followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_store, "MOST_CHANGES", 3)
    followed.turn()
    ids = {made(store) for _ in range(10)}
    assert followed.turn()
    assert followed.ids() == ids


def test_a_file_that_somebody_removed_is_made_anew(store: KeyStore, place: KeyPlace, followed: Followed) -> None:
    kept = made(store)
    followed.turn()
    shutil.rmtree(place.folder)
    assert followed.turn()
    assert followed.ids() == {kept}
    assert "warning: the file of keys is gone and is made anew" in followed.said.lines


def test_what_another_gateway_wrote_into_the_file_is_told_to_our_workers_too(
    store: KeyStore, place: KeyPlace, followed: Followed
) -> None:
    made(store)
    followed.turn()
    second = made(store)
    changes = store.changes_since(1)
    assert changes is not None
    # As the other one does it, in its own process.
    followed.follower._file.apply(changes.changes, Meta(store.source, 1), changes.after)
    assert followed.turn()
    assert second in followed.ids()


def test_uses_are_written_in_batches(store: KeyStore, followed: Followed) -> None:
    id_ = made(store)
    followed.turn()
    followed.follower.mark_used({**{f"nobody{number}": 1.0 for number in range(2500)}, id_: 5.0})
    found = store.find(id_)
    assert found is not None
    assert found.last_used_at == 5.0


# -- the thread ----------------------------------------------------------------------------------------------------


class Follow:
    """A follower of the thread's: what it is told, and what it answers."""

    def __init__(self) -> None:
        self.known = 3
        self.turns = 0
        self.used: dict[str, float] = {}
        self.closed = 0
        self.error: Exception | None = None

    def turn(self) -> None:
        self.turns += 1
        if self.error is not None:
            raise self.error

    def mark_used(self, used: Mapping[str, float]) -> None:
        self.used.update(used)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def follow() -> Follow:
    return Follow()


Start = Callable[[], tuple[KeySync, Lines]]


@pytest.fixture
def start(follow: Follow, tmp_path: Path, board: Board) -> Iterator[Start]:
    running: list[KeySync] = []

    def start_it() -> tuple[KeySync, Lines]:
        lines = Lines()
        place = KeyPlace("sqlite:////nowhere", PEPPER, tmp_path / "keys", 1 << 20, 0.01)
        running.append(KeySync(board, log_to(lines), place, lambda *_: follow))
        return running[-1], lines

    yield start_it
    for sync in running:
        sync.close()


def test_a_database_that_is_away_is_one_line_and_one_when_it_is_back(start: Start, follow: Follow) -> None:
    follow.error = ValueError("Connection refused")
    sync, lines = start()
    until(lambda: follow.turns >= 3, "it tries on")
    assert [sample.values for sample in sync.samples()] == [[3], [1]]
    follow.error = None
    until(lambda: len(lines.lines) == 2, "it is back")
    assert lines.lines == [
        "error: keys cannot be brought up to date, those known go on working: Connection refused",
        "info: the database of keys answers again",
    ]
    assert [sample.values for sample in sync.samples()] == [[3], [0]]


def test_a_fault_of_ours_does_not_end_it(start: Start, follow: Follow) -> None:
    follow.error = RuntimeError("secret words")
    _, lines = start()
    until(lambda: follow.turns >= 2, "it tries on")
    follow.error = None
    until(lambda: len(lines.lines) == 2, "it is back")
    assert lines.lines[0].endswith("in an unforeseen way: RuntimeError")
    assert follow.closed >= 1


def test_uses_that_workers_tell_of_are_written(start: Start, follow: Follow) -> None:
    sync, _ = start()
    sync.on_said(1, {"type": "keys_used", "keys": {"k1": 5, "k2": 7}})
    sync.on_said(2, {"type": "keys_used", "keys": {"k1": 3, "x" * 101: 1, "odd": "text", "none": None}})
    sync.on_said(2, {"type": "keys_used", "keys": ["no", "mapping"]})
    # The database would refuse them, and with them all others, at each turn from then on.
    sync.on_said(
        2, {"type": "keys_used", "keys": {"far": 1e300, "never": math.nan, "before": -1, "k\0": 1, "\u00e4": 1}}
    )
    sync.on_said(2, {"type": "something else", "keys": {"k3": 1}})
    until(lambda: len(follow.used) == 2, "they are written")
    sync.close()
    assert follow.used == {"k1": 5, "k2": 7}
    assert follow.closed == 1


# -- what workers get ----------------------------------------------------------------------------------------------


def resolved(text: str) -> ResolvedConfig:
    config = load_text(text).config
    assert config is not None
    return config


def test_workers_get_folder_and_pepper_and_nothing_of_the_database(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, follow: Follow
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    config = resolved(
        f"state_dir: {tmp_path}/state\nidentity: {{api_keys: {{pepper: a-pepper-of-mine}}}}\n"
        f"database: sqlite:///{tmp_path}/the-database.db"
    )
    sync = KeySync(board, log_to(Lines()), follow=lambda *_: follow)
    prepared = for_workers(sync.prepare(config))
    assert prepared.keys_path is not None
    assert Path(prepared.keys_path).parent == tmp_path / "state"
    assert prepared.identity.api_keys is not None
    assert prepared.identity.api_keys.pepper == b"a-pepper-of-mine".hex()
    assert b"the-database" not in pickle.dumps(prepared)
    assert os.listdir(tmp_path) == ["state"]  # noqa: PTH208
    sync.conclude(taken=False)
    assert sync.current is None


def test_what_is_followed_is_as_the_configuration_says(board: Board, tmp_path: Path, follow: Follow) -> None:
    config = resolved(
        f"state_dir: {tmp_path}/state\nidentity: {{api_keys: {{pepper: a-pepper-of-mine}}}}\n"
        f"database: {{url: sqlite:///{tmp_path}/the-database.db, poll: 7s, max_keys_size: 32MiB}}"
    )
    sync = KeySync(board, log_to(Lines()), follow=lambda place, board, log: follow)
    keys_path = sync.prepare(config).keys_path
    sync.conclude(taken=True)
    try:
        assert keys_path is not None
        url, folder = f"sqlite:///{tmp_path}/the-database.db", Path(keys_path)
        assert sync.current == KeyPlace(url, b"a-pepper-of-mine", folder, 32 << 20, 7.0)
    finally:
        sync.close()


class Turns:
    """Followers by the database they follow; each turn of one waits until it is let."""

    def __init__(self) -> None:
        self.may_turn = threading.Event()
        self.made: list[_Held] = []

    def __call__(self, place: KeyPlace, _board: Board, _log: Log) -> _Held:
        if self.made:
            assert self.made[-1].closed or self.made[-1].folder != place.folder, "a process opens a file once"
        made = _Held(self.may_turn, place.folder)
        self.made.append(made)
        return made


class _Held(Follow):
    def __init__(self, may_turn: threading.Event, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._may_turn = may_turn

    def turn(self) -> None:
        assert self._may_turn.wait(CEILING)
        super().turn()


def test_a_plan_waits_until_its_keys_have_been_looked_at_once(board: Board, tmp_path: Path) -> None:
    """A key made before the start was 401 at first, and one that was revoked was taken."""
    config, turns = resolved(f"state_dir: {tmp_path}\nidentity: {{api_keys: {{pepper: a-pepper-of-mine}}}}"), Turns()
    sync = KeySync(board, log_to(Lines()), follow=turns)
    try:
        with ThreadPoolExecutor(1) as pool:
            preparing = pool.submit(sync.prepare, config)
            until(lambda: turns.made, "it begins to look")
            assert not preparing.done()
            turns.may_turn.set()
            preparing.result(CEILING)
        assert turns.made[0].turns >= 1
        sync.conclude(taken=True)
        # The same is followed on, and nobody waits again.
        turns.may_turn.clear()
        sync.prepare(config)
        sync.conclude(taken=True)
        assert len(turns.made) == 1
    finally:
        turns.may_turn.set()
        sync.close()


def test_who_follows_a_file_anew_comes_when_the_one_before_has_let_go_of_it(board: Board, tmp_path: Path) -> None:
    config, turns = resolved(f"state_dir: {tmp_path}\nidentity: {{api_keys: {{pepper: a-pepper-of-mine}}}}"), Turns()
    turns.may_turn.set()
    sync = KeySync(board, log_to(Lines()), follow=turns)
    try:
        for taken in (False, True):
            sync.prepare(config)
            sync.conclude(taken)
        sync.prepare(resolved(f"state_dir: {tmp_path}"))
        sync.conclude(taken=True)
        sync.prepare(config)
        sync.conclude(taken=True)
        assert [made.closed for made in turns.made] == [1, 1, 0]
    finally:
        sync.close()


def test_nothing_is_made_where_no_key_is_kept(board: Board, tmp_path: Path) -> None:
    for keys in ("", "identity: {api_keys: {database: false}}", "identity: {api_keys: {enabled: false}}"):
        prepared = KeySync(board, log_to(Lines())).prepare(resolved(f"state_dir: {tmp_path}/state\n{keys}"))
        assert prepared.keys_path is None
    assert list(tmp_path.iterdir()) == []


def test_a_place_does_not_show_its_secrets() -> None:
    place = KeyPlace("postgresql://u:password@h/n", b"a pepper", Path("/folder"), 1, 1.0)
    assert repr(place) == f"{place}" == "<KeyPlace /folder>"


def test_a_killed_server_costs_no_known_key_and_is_found_again(
    tmp_path: Path, board: Board, postgres: Postgres
) -> None:
    url = postgres.fresh("killed")
    lines = Lines()
    store = open_store(read_url(url), PEPPER)
    sync = KeySync(board, log_to(lines), KeyPlace(url, PEPPER, tmp_path / "keys", 1 << 24, 0.05))
    try:
        first = store.create(NewKey("k"), "hg_")
        until(lambda: sync.samples()[0].values == [1], "the key is known")
        store.close()
        postgres.kill()
        until(lambda: sync.samples()[1].values == [1], "it is noticed")
        assert sync.samples()[0].values == [1]
        postgres.start()
        until(lambda: sync.samples()[1].values == [0], "it is found again")
        store.revoke([first.stored.id])
        until(lambda: sync.samples()[0].values == [0], "the revocation has arrived")
        # One that is gone and comes up fails in some ways, and each of them is told once, not at each of many tries.
        errors = [line for line in lines.lines if line.startswith("error: ")]
        assert 1 <= len(errors) == len(set(errors)) <= 8
        assert postgres.password not in str(lines.lines)
    finally:
        store.close()
        sync.close()
    file = KeyFile(tmp_path / "keys", 1 << 24)
    with file._env.begin() as txn:
        assert txn.get(digest(PEPPER, first.key.encode())) is None
    file.close()
