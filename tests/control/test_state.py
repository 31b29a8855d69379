"""The state_dir and the pepper in it."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from headgate.control.state import find_pepper, make_state, state_path
from tests.stores.processes import together


@pytest.mark.parametrize(
    ("configured", "environ", "expected"),
    [
        ("/a", {"HEADGATE_STATE_DIR": "/b", "XDG_STATE_HOME": "/c", "HOME": "/d"}, "/a"),
        (None, {"HEADGATE_STATE_DIR": "/b", "XDG_STATE_HOME": "/c", "HOME": "/d"}, "/b"),
        (None, {"XDG_STATE_HOME": "/c", "HOME": "/d"}, "/c/headgate"),
        (None, {"XDG_STATE_HOME": "relative", "HOME": "/d"}, "/d/.local/state/headgate"),
        (None, {"HOME": "/d"}, "/d/.local/state/headgate"),
    ],
)
def test_where_it_is(configured: str | None, environ: dict[str, str], expected: str) -> None:
    assert state_path(configured, environ) == Path(expected)


def test_where_nothing_says_where_a_sentence_says_what_to_set() -> None:
    with pytest.raises(ValueError, match="set state_dir or HEADGATE_STATE_DIR"):
        state_path(None, {})


def test_it_is_its_owners_alone(tmp_path: Path) -> None:
    made = make_state(tmp_path / "deep" / "state")
    assert made.stat().st_mode & 0o777 == 0o700
    assert make_state(made) == made


@pytest.mark.parametrize(
    ("mode", "owner", "taken"),
    [(0o1777, 0, False), (0o777, 12345, False), (0o703, 12345, False), (0o777, 0, True), (0o755, 12345, True)],
)
def test_a_folder_that_everybody_may_write_to_is_not_taken(
    mode: int, owner: int, taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.stat
    found = os.stat_result((mode | stat.S_IFDIR, 1, 1, 1, owner, owner, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda path, **more: found if path == tmp_path else real(path, **more))
    if taken:
        assert make_state(tmp_path) == tmp_path
    else:
        with pytest.raises(ValueError, match="everybody may write to"):
            make_state(tmp_path)


def test_what_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"state_dir: .*file/state cannot be made: Not a directory"):
        make_state(tmp_path / "file" / "state")


def test_a_pepper_that_is_named_needs_no_file(tmp_path: Path) -> None:
    assert find_pepper("named", {"HEADGATE_KEY_PEPPER": "other"}, tmp_path) == b"named"
    assert find_pepper(None, {"HEADGATE_KEY_PEPPER": "other"}, tmp_path) == b"other"
    assert list(tmp_path.iterdir()) == []


def test_a_pepper_is_made_once(tmp_path: Path) -> None:
    pepper = find_pepper(None, {}, tmp_path)
    assert len(pepper) == 32
    assert find_pepper(None, {}, tmp_path) == pepper
    (file,) = tmp_path.iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == ("pepper", 0o600)


def test_of_many_that_come_at_once_all_get_the_same(tmp_path: Path) -> None:
    peppers = together(8, lambda _: find_pepper(None, {}, tmp_path))
    assert len(set(peppers)) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["pepper"]


def test_a_pepper_that_was_cut_is_not_used_and_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "pepper").write_bytes(b"short")
    with pytest.raises(ValueError, match="is cut short") as raised:
        find_pepper(None, {}, tmp_path)
    assert (tmp_path / "pepper").read_bytes() == b"short"
    assert "short:" not in str(raised.value).replace("cut short:", "")


def test_the_one_of_all_tests_is_no_folder_of_whoever_runs_them() -> None:
    assert state_path(None, os.environ).parent == Path(tempfile.gettempdir())
