"""The companion of a server, with guests that only sit: who gets which seat, and when everything ends."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.control.companion import LOCK, seats_of
from headgate.stores.board import Board
from headgate.telemetry.cells import SlotRegion
from tests.control.driver import CEILING, until

CONFIG = {"admin": {"address": "127.0.0.1:0"}, "services": [{"name": "a", "url": "http://127.0.0.1:9"}]}


class Companion:
    """One at work, beside a server that does nothing."""

    def __init__(self, folder: Path) -> None:
        # Longer than the path of a socket may be.
        self.folder = folder / ("x" * 120)
        self.folder.mkdir()
        self.server = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        (folder / "gateway.yaml").write_text(json.dumps(CONFIG))
        lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        runtime = folder / "run"
        runtime.mkdir()
        values = os.memfd_create("set")
        os.write(values, b"[]")
        guests = ["--guests", str(self.folder), str(self.server.pid), str(lock), str(values)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headgate", "run", *guests, str(folder / "gateway.yaml")],
            env={**os.environ, "XDG_RUNTIME_DIR": str(runtime), "HEADGATE_STATE_DIR": str(folder / "state")},
            pass_fds=(lock, values),
        )
        os.close(lock)
        os.close(values)

    def guest(self) -> tuple[dict[str, Any], SlotRegion, Board, socket.socket]:
        """Come, and be seated."""

        def come() -> socket.socket | None:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            link.settimeout(CEILING)
            try:
                with seats_of(self.folder) as path:
                    link.connect(path)
            except OSError:
                link.close()
                return None
            return link

        link = until(come, "there are seats")
        assert link is not None
        said, (slot, board), _, _ = socket.recv_fds(link, 4096, 2)
        region = SlotRegion(mmap.mmap(slot, 0))
        os.close(slot)
        return json.loads(said), region, Board(board), link

    def is_locked(self) -> bool:
        """Tell whether somebody is the companion."""
        lock = os.open(self.folder / LOCK, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def end(self) -> None:
        """End the server."""
        self.server.kill()
        self.server.wait()
        assert self.server.stdin is not None
        self.server.stdin.close()


@pytest.fixture
def companion(tmp_path: Path) -> Iterator[Companion]:
    companion = Companion(tmp_path)
    yield companion
    companion.end()
    assert companion.process.wait(CEILING) == 0


def test_each_guest_has_a_slot_of_its_own_and_all_share_the_board(companion: Companion) -> None:
    one, region, board, link = companion.guest()
    other, _, second, other_link = companion.guest()
    assert (one["number"], other["number"]) == (1, 2)
    assert one["runtime"] == other["runtime"]
    board.cells[board.claim("here")] = 7
    place = second.find("here")
    assert place is not None
    assert second.cells[place] == 7
    region.mark(4711, 1.0, 1.0)
    link.close()

    def vacated() -> bool:
        return region.pid == 0

    until(vacated, "the slot of who left is empty")
    third, again, _, third_link = companion.guest()
    assert third["number"] == 1
    region.mark(4712, 1.0, 1.0)
    assert again.pid == 4712, "and is the same memory"
    other_link.close()
    third_link.close()


def test_the_lock_is_held_as_long_as_there_is_a_companion(companion: Companion) -> None:
    _, _, _, link = companion.guest()
    assert companion.is_locked()
    link.close()


def test_it_ends_with_the_server_and_leaves_nothing(companion: Companion, tmp_path: Path) -> None:
    _, _, _, link = companion.guest()
    companion.end()
    assert companion.process.wait(CEILING) == 0
    assert link.recv(1) == b""
    link.close()
    assert not companion.folder.exists()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_guest_that_is_the_server_may_say_so(companion: Companion) -> None:
    _, _, _, link = companion.guest()
    link.send(b'{"type": "end"}')
    assert companion.process.wait(CEILING) == 0
    link.close()


def test_a_signal_of_a_terminal_is_a_drain_as_for_any_master(companion: Companion) -> None:
    _, _, _, link = companion.guest()
    companion.process.send_signal(signal.SIGTERM)
    assert companion.process.wait(CEILING) == 0
    link.close()
