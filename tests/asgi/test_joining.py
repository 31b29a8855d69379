"""Where the processes of a server meet: a folder that nobody else may enter, and that is gone when they are."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from headgate.asgi import joining
from headgate.asgi.joining import NotJoined, _clear, _folder, _take_seat
from headgate.asgi.server_process import ServerProcess, server_process
from headgate.control.companion import LOCK, SEATS, seats_of


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


def test_a_companion_that_has_no_time_yet_is_asked_again(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder(server_process(), [])
    assert _take_seat(folder) is None
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
        with seats_of(folder) as path:
            silent.bind(path)
        silent.listen(1)
        monkeypatch.setattr(joining, "_ANSWER_PATIENCE", 0.01)
        assert _take_seat(folder) is None
        # And again, while those who gave up still stand in the queue.
        assert _take_seat(folder) is None
        assert _take_seat(folder) is None
    assert (folder / SEATS).exists()
