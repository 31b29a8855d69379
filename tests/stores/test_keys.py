"""The file of API keys: one process writes it, others read it, whatever becomes of it meanwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.auth.api_key import KeysUnavailable
from headgate.stores import keys as module
from headgate.stores.board import Board
from headgate.stores.keys import Change, KeyFile, KeyReader, Meta, OutOfStep, raise_generation
from tests.stores.processes import together
from tests.stores.remote import Remote

SIZE = 1 << 22


def digest_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def many(*numbers: int) -> list[tuple[bytes, bytes]]:
    return [(digest_of(number), b"record %d" % number) for number in numbers]


def held(file: KeyFile) -> list[int]:
    with file._env.begin() as txn:
        return [int.from_bytes(key, "big") for key, _ in txn.cursor() if len(key) == 32]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[KeyFile]:
    made = KeyFile(tmp_path / "keys", SIZE)
    yield made
    made.close()


class Worker:
    """What another process has: a reader, and what it reported."""

    def __init__(self, folder: Path, board: Board) -> None:
        self.said: list[str] = []
        self.reader = KeyReader(folder, board, self.said.append)

    def get(self, number: int) -> bytes | str | None:
        try:
            return self.reader.get(digest_of(number))
        except KeysUnavailable as error:
            return f"unavailable: {error}"

    def reports(self) -> list[str]:
        return self.said


@pytest.fixture
def board() -> Board:
    return Board.create(4, 8)


class RemoteWorker(Remote):
    """The same, forked before this process has opened the file: what LMDB has open does not outlive a fork."""

    def __init__(self, folder: Path, board: Board) -> None:
        def make() -> Any:
            return Worker(folder, board)

        super().__init__(make)

    def get(self, number: int) -> bytes | str | None:
        found: bytes | str | None = self._call("get", number)
        return found

    def reports(self) -> list[str]:
        said: list[str] = self._call("reports")
        return said


@pytest.fixture
def worker(tmp_path: Path, board: Board) -> Iterator[RemoteWorker]:
    remote = RemoteWorker(tmp_path / "keys", board)
    yield remote
    remote.kill()


# -- the writer ----------------------------------------------------------------------------------------------------


def test_a_new_file_was_never_filled(file: KeyFile) -> None:
    assert (file.meta(), file.keys, file.remade) == (None, 0, False)
    assert file.replace_all(many(1, 2), Meta("a", 7)) == 2
    assert (file.meta(), file.keys) == (Meta("a", 7), 2)


def test_only_its_owner_may_read_it(file: KeyFile) -> None:
    assert file.folder.stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o777 for each in file.folder.iterdir()} == {0o600}


def test_changes_go_in_together_and_only_what_differs_counts(file: KeyFile) -> None:
    file.replace_all(many(1, 2), Meta("a", 1))
    changes = [Change(digest_of(1), None), Change(digest_of(2), b"record 2"), Change(digest_of(3), b"new")]
    assert file.apply(changes, Meta("a", 1), Meta("a", 2)) == 2
    assert (held(file), file.meta()) == ([2, 3], Meta("a", 2))


def test_who_read_an_older_state_changes_nothing(file: KeyFile) -> None:
    file.replace_all(many(1), Meta("a", 5))
    with pytest.raises(OutOfStep):
        file.apply([Change(digest_of(1), None)], Meta("a", 4), Meta("a", 6))
    assert (held(file), file.meta()) == ([1], Meta("a", 5))


def test_keys_that_do_not_come_in_order_are_told(file: KeyFile) -> None:
    with pytest.raises(ValueError, match="do not come in the order"):
        file.replace_all(many(2, 1), Meta("a", 1))
    assert file.meta() is None


def test_a_file_that_was_filled_by_half_is_a_copy_of_nothing(file: KeyFile) -> None:
    file.replace_all(many(1), Meta("a", 5))
    with pytest.raises(ValueError, match="do not come in the order"):
        file.replace_all(many(2, 1), Meta("a", 6))
    assert file.meta() == Meta("", 0)


def test_what_does_not_fit_is_said_and_changes_nothing(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "small", 1 << 20)
    file.replace_all(many(1), Meta("a", 1))
    large = [Change(digest_of(number), b"x" * 4000) for number in range(1000)]
    with pytest.raises(ValueError, match=r"write a larger database\.max_keys_size"):
        file.apply(large, Meta("a", 1), Meta("a", 2))
    assert (held(file), file.meta()) == ([1], Meta("a", 1))
    file.close()


@given(st.sets(st.integers(0, 300)), st.sets(st.integers(0, 300)), st.sampled_from([1, 7, 1000]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_replacing_leaves_exactly_what_comes(
    tmp_path_factory: pytest.TempPathFactory, before: set[int], after: set[int], batch: int
) -> None:
    folder = tmp_path_factory.mktemp("replace")
    file = KeyFile(folder, SIZE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_BATCH", batch)
        file.replace_all(many(*sorted(before)), Meta("a", 1))
        assert file.replace_all(many(*sorted(after)), Meta("b", 2)) == len(after)
    assert (held(file), file.keys, file.meta()) == (sorted(after), len(after), Meta("b", 2))
    file.close()
    shutil.rmtree(folder)


@pytest.mark.parametrize("damage", [b"garbage" * 2000, b"\0" * 8192])
def test_a_file_that_is_none_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    KeyFile(tmp_path, SIZE).close()
    (tmp_path / "data.mdb").write_bytes(damage)
    file = KeyFile(tmp_path, SIZE)
    assert (file.remade, file.meta()) == (True, None)
    file.close()


def test_a_file_whose_end_is_missing_is_made_anew(tmp_path: Path) -> None:
    file = KeyFile(tmp_path, SIZE)
    file.replace_all(many(*range(1000)), Meta("a", 1))
    file.close()
    os.truncate(tmp_path / "data.mdb", 16384)
    file = KeyFile(tmp_path, SIZE)
    assert (file.remade, file.meta()) == (True, None)
    file.close()


def test_where_no_file_can_be_made_a_sentence_says_so(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ValueError, match=r"the file of keys in .*taken/keys cannot be written: Not a directory"):
        KeyFile(tmp_path / "taken" / "keys", SIZE)


def test_it_is_told_when_another_file_lies_in_its_place(file: KeyFile) -> None:
    assert file.intact
    shutil.rmtree(file.folder)
    assert not file.intact


# -- readers, in processes of their own ----------------------------------------------------------------------------


def test_four_workers_find_every_key_and_no_other(file: KeyFile, board: Board) -> None:
    file.replace_all(many(*range(1000)), Meta("a", 1))
    file.close()

    def read(_: int) -> tuple[bool, bytes | None]:
        reader = KeyReader(file.folder, board, print)
        return all(reader.get(digest) == record for digest, record in many(*range(1000))), reader.get(digest_of(2000))

    assert together(4, read) == [(True, None)] * 4


def test_a_worker_waits_for_the_first_fill_and_then_sees_every_change(
    tmp_path: Path, board: Board, worker: RemoteWorker
) -> None:
    assert worker.get(1) == "unavailable: there is no file of keys"
    file = KeyFile(tmp_path / "keys", SIZE)
    raise_generation(board)
    assert worker.get(1) == "unavailable: the keys have not come yet"
    file.replace_all(many(1), Meta("a", 1))
    assert worker.get(1) == b"record 1"
    file.apply([Change(digest_of(1), None)], Meta("a", 1), Meta("a", 2))
    assert worker.get(1) is None
    assert worker.reports() == ["there is no file of keys", "the file of keys is read again"]
    file.close()


def test_a_worker_reads_the_file_that_took_the_place_of_another(
    tmp_path: Path, board: Board, worker: RemoteWorker, file: KeyFile
) -> None:
    file.replace_all(many(1), Meta("a", 1))
    assert worker.get(1) == b"record 1"
    file.close()
    shutil.rmtree(tmp_path / "keys")
    fresh = KeyFile(tmp_path / "keys", SIZE)
    fresh.replace_all(many(2), Meta("a", 1))
    raise_generation(board)
    assert (worker.get(1), worker.get(2)) == (None, b"record 2")
    assert worker.reports() == []
    fresh.close()


def test_a_worker_reports_a_broken_file_once_and_the_mended_one(
    tmp_path: Path, board: Board, worker: RemoteWorker, file: KeyFile
) -> None:
    file.replace_all(many(1), Meta("a", 1))
    file.close()
    (tmp_path / "keys" / "data.mdb").write_bytes(b"garbage" * 2000)
    for _ in range(3):
        assert str(worker.get(1)).startswith("unavailable: the file of keys cannot be opened")
    mended = KeyFile(tmp_path / "keys", SIZE)
    mended.replace_all(many(1), Meta("a", 1))
    raise_generation(board)
    assert worker.get(1) == b"record 1"
    broken, again = worker.reports()
    assert broken.startswith("the file of keys cannot be opened")
    assert again == "the file of keys is read again"
    mended.close()


def test_a_worker_follows_a_file_that_grows_beyond_what_it_had_mapped(
    tmp_path: Path, board: Board, worker: RemoteWorker
) -> None:
    small = KeyFile(tmp_path / "keys", 1 << 20)
    small.replace_all(many(1), Meta("a", 1))
    assert worker.get(1) == b"record 1"
    small.close()
    large = KeyFile(tmp_path / "keys", 1 << 24)
    large.apply([Change(digest_of(number), b"x" * 4000) for number in range(2, 1000)], Meta("a", 1), Meta("a", 2))
    assert (worker.get(1), worker.get(999)) == (b"record 1", b"x" * 4000)
    assert worker.reports() == []
    large.close()


def test_readers_keep_no_page_from_being_used_again(worker: RemoteWorker, file: KeyFile) -> None:
    file.replace_all(many(*range(2000)), Meta("a", 0))
    for revision in range(200):
        assert worker.get(1) is not None
        changes = [Change(digest_of(number), b"%d" % revision * 50) for number in range(0, 2000, 10)]
        file.apply(changes, Meta("a", revision), Meta("a", revision + 1))
    assert (file.folder / "data.mdb").stat().st_size < 2 << 20


def test_readers_that_were_killed_leave_no_slot_behind(worker: RemoteWorker, file: KeyFile, board: Board) -> None:
    file.replace_all(many(1), Meta("a", 1))
    file.close()
    # As long as somebody has the file open, LMDB does not look by itself.
    assert worker.get(1) == b"record 1"

    def read(_: int) -> bytes | None:
        readers.append(KeyReader(file.folder, board, print))
        return readers[-1].get(digest_of(1))

    # Kept, so that it is still open when its process ends.
    readers: list[KeyReader] = []
    together(8, read)
    victim = RemoteWorker(file.folder, board)
    assert victim.get(1) == b"record 1"
    again = KeyFile(file.folder, SIZE)
    assert len(again._env.readers().splitlines()) == 1 + 2
    assert str(victim.pid) in again._env.readers()
    victim.kill()
    again.apply([], Meta("a", 1), Meta("a", 2))
    _, *left = again._env.readers().splitlines()
    assert [line.split()[0] for line in left] == [str(worker.pid)]
    again.close()


def test_workers_that_die_again_and_again_leave_no_slot_behind_while_no_key_changes(
    worker: RemoteWorker, file: KeyFile, board: Board
) -> None:
    file.replace_all(many(1), Meta("a", 1))
    file.close()
    assert worker.get(1) == b"record 1"
    for _ in range(3):
        victim = RemoteWorker(file.folder, board)
        assert victim.get(1) == b"record 1"
        victim.kill()
    # Opened as a worker opens it, and without a look at who is dead.
    with lmdb.open(str(file.folder), readonly=True) as env:
        _, *slots = env.readers().splitlines()
    assert [line.split()[0] for line in slots] == [str(worker.pid), str(victim.pid)]


def test_the_generation_is_seen_by_all(board: Board, tmp_path: Path) -> None:
    reader = KeyReader(tmp_path, board, print)
    before = reader.generation
    raise_generation(board)
    assert reader.generation == before + 1
    assert together(2, lambda _: KeyReader(tmp_path, board, print).generation) == [before + 1] * 2
