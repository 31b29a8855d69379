"""Folders that vanish with the gateway, and those of gateways that vanished without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headgate.control import runtime
from headgate.control.runtime import beside, make_runtime, remove, spare_folders
from headgate.stores.settings import SharedStoreSettings
from headgate.stores.shared import prepare
from tests.stores.processes import holding
from tests.stores.test_shared import opened


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def test_the_named_folder_is_taken_then_shared_memory_then_the_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(runtime, "_IN_MEMORY", memory)
    assert make_runtime().path.parent == tmp_path
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    assert make_runtime().path.parent == memory
    # No socket has room in it.
    long = tmp_path / ("x" * 72)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    assert make_runtime().path.parent == memory
    monkeypatch.setattr(runtime, "_IN_MEMORY", tmp_path / "missing")
    monkeypatch.setattr(runtime, "_temporary", lambda: tmp_path)
    assert make_runtime().path.parent == tmp_path


def test_where_no_temporary_folder_can_be_written_the_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("tempfile.gettempdir", none)
    made = make_runtime()
    assert made.path.is_dir()
    spare_folders(made.path)
    made.release()


def test_others_may_not_look_inside() -> None:
    assert make_runtime().path.stat().st_mode & 0o077 == 0


def test_a_folder_that_is_held_stays_and_one_that_is_not_goes() -> None:
    held, left = make_runtime(), make_runtime()
    left.release()
    third = make_runtime()
    assert held.path.exists()
    assert not left.path.exists()
    third.release()


def test_a_child_holds_what_its_parent_made(tmp_path: Path) -> None:
    made = make_runtime()
    with holding(lambda: open(os.devnull)):  # noqa: PTH123 (any context will do)
        made.release()
        make_runtime().release()
        assert made.path.exists()
    make_runtime().release()
    assert not made.path.exists()


def test_a_folder_beside_goes_with_the_runtime_folder(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    made = make_runtime()
    held = beside(made.path, elsewhere)
    assert held.path.parent == elsewhere
    held.release()
    # A control process that comes later finds it again.
    assert beside(made.path, elsewhere).path == held.path
    remove(made.path)
    assert list(elsewhere.iterdir()) == []
    assert not made.path.exists()


def test_a_folder_beside_stays_while_a_worker_has_the_store_in_it_open(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    made = make_runtime()
    held = beside(made.path, elsewhere)
    store = prepare(SharedStoreSettings(size=1 << 20), [held.path])
    other = make_runtime()

    class Opened:
        def __enter__(self) -> None:
            held.release()
            self.store = opened(store)

        def __exit__(self, *_: object) -> None:
            self.store.close()

    with holding(Opened):
        held.release()
        beside(other.path, elsewhere).release()
        assert held.path.exists()
    beside(make_runtime().path, elsewhere)
    assert not held.path.exists()


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "headgate-run-link").symlink_to(target)
    (tmp_path / "headgate-run-file").touch()
    (tmp_path / "another").mkdir()
    make_runtime()
    assert target.exists()
    assert (tmp_path / "headgate-run-link").is_symlink()
    assert (tmp_path / "headgate-run-file").exists()
    assert (tmp_path / "another").exists()


def test_spare_folders_are_others_than_the_one_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_IN_MEMORY", tmp_path)
    assert tmp_path not in spare_folders(tmp_path / "headgate-run-x")
    assert spare_folders(Path("/nowhere/headgate-run-x"))[0] == tmp_path
