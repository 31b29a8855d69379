"""Where the processes of a server meet: a folder that nobody else may enter, and that is gone when they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headgate.asgi.joining import NotJoined, _clear, _folder
from headgate.asgi.server_process import ServerProcess, server_process
from headgate.control.companion import LOCK


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_each_server_and_configuration_has_its_own(runtime: Path) -> None:
    server = server_process()
    one = _folder(server, ["a.yaml"])
    assert one == _folder(server, ["a.yaml"])
    assert one.stat().st_mode & 0o777 == 0o700
    assert _folder(server, ["b.yaml"]) != one
    assert _folder(ServerProcess(server.pid, server.began + 1), ["a.yaml"]) != one


def test_a_folder_that_others_may_write_to_is_not_entered(runtime: Path) -> None:
    folder = _folder(server_process(), [])
    folder.chmod(0o777)
    with pytest.raises(NotJoined):
        _folder(server_process(), [])


def test_a_link_is_no_folder(runtime: Path) -> None:
    folder = _folder(server_process(), [])
    folder.rmdir()
    (runtime / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(runtime / "elsewhere")
    with pytest.raises(NotJoined):
        _folder(server_process(), [])


def test_what_servers_left_that_were_killed_is_removed(runtime: Path) -> None:
    alive = _folder(server_process(), [])
    ended = runtime / f"headgate-asgi-{os.getpid()}-1-abc"
    ended.mkdir(mode=0o700)
    (ended / LOCK).touch()
    strange = runtime / "headgate-asgi-what"
    strange.mkdir()
    _clear(runtime)
    assert alive.exists()
    assert not ended.exists()
    assert strange.exists()
