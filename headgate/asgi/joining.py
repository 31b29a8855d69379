"""How a process of a server comes to its seat in the one gateway of that server.

    the folder of this server and configuration -> connect -> a seat
    nobody there -> take the lock -> start the companion with it -> connect ...

Laws: whoever holds the lock is the companion, or starts it, so there is one; the lock goes with its holder. What is set
may be secret, and no command line holds it, for everybody may read those. Blocking: called in a thread. What a
companion that does not start has to say, it has written to standard error.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import mmap
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from headgate.asgi.server_process import ServerProcess, server_process
from headgate.control.children import Seat
from headgate.control.companion import LOCK, SEATS, seats_of
from headgate.control.link import Link
from headgate.control.runtime import runtime_parent
from headgate.stores.board import Board
from headgate.telemetry.cells import SlotRegion

_PREFIX = "headgate-asgi-"
# Seconds.
_PATIENCE = 60.0
_RETRY = 0.02
_ANSWER_PATIENCE = 10.0
_LONGEST_SEAT = 4096


class NotJoined(Exception):
    """There is no seat; the sentence says why."""


class Joining:
    """The way to a seat for one configuration, as often as this process needs one."""

    def __init__(self, arguments: Sequence[str], values: Sequence[str] = ()) -> None:
        """`arguments` are those of `headgate run` that say the configuration, `values` what its --set takes."""
        self._arguments = tuple(arguments)
        self._values = tuple(values)
        self._starting: subprocess.Popen[bytes] | None = None
        # Started here once, to be waited for when it has ended.
        self._companion: subprocess.Popen[bytes] | None = None

    def join(self) -> tuple[Seat, bool]:
        """Return a seat, and whether this process is the server itself.

        Raises:
            NotJoined: the companion does not start, or does not answer.
        """
        server = server_process()
        deadline = time.monotonic() + _PATIENCE
        try:
            folder = _folder(server, (*self._arguments, *self._values))
            while True:
                seat = _take_seat(folder)
                if seat is not None:
                    self._starting = None
                    return seat, server.pid == os.getpid()
                self._maybe_start(folder, server)
                if time.monotonic() > deadline:
                    raise NotJoined(f"no seat within {_PATIENCE:.0f} s: the companion does not answer in {folder}")
                time.sleep(_RETRY)
        except OSError as error:
            raise NotJoined(f"cannot join the gateway: {error}") from error

    def _maybe_start(self, folder: Path, server: ServerProcess) -> None:
        """Start the companion, if nobody else is it or starts it."""
        if self._starting is not None and (status := self._starting.poll()) is not None:
            self._starting = None
            if status:
                raise NotJoined(f"the gateway did not start: its companion ended with status {status}")
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        values = os.memfd_create("headgate-set")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        else:
            os.write(values, json.dumps(self._values).encode())
            guests = ["--guests", str(folder), str(server.pid), str(lock), str(values)]
            self._starting = self._companion = subprocess.Popen(
                # As the command does, and unlike the server, it imports nothing of the working directory.
                [sys.executable, "-P", "-m", "headgate", "run", *guests, *self._arguments],
                stdin=subprocess.DEVNULL,
                pass_fds=(lock, values),
                # A Ctrl-C is for the server; the companion ends with it.
                start_new_session=True,
            )
        finally:
            os.close(lock)
            os.close(values)

    def forget(self) -> None:
        """Leave nothing behind a start that failed, where no other process of the server may try again."""
        with contextlib.suppress(NotJoined, OSError):
            server = server_process()
            if server.pid == os.getpid():
                _remove(_folder(server, (*self._arguments, *self._values)))

    def reap(self) -> None:
        """Take note of the companion's end, if it was started here."""
        if self._companion is not None:
            self._companion.poll()


def _folder(server: ServerProcess, arguments: Sequence[str]) -> Path:
    """Return where those meet who serve the same configuration for the same server; for this user alone."""
    said = json.dumps([os.getcwd(), *arguments]).encode()  # noqa: PTH109
    name = f"{_PREFIX}{server.pid}-{server.began}-{blake2b(said, digest_size=6).hexdigest()}"
    parent = runtime_parent()
    _clear(parent)
    folder = parent / name
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise NotJoined(f"{folder} belongs to somebody else, or others may write there")
    return folder


def _clear(parent: Path) -> None:
    """Remove the folders of servers that have ended."""
    for folder in parent.glob(f"{_PREFIX}*"):
        pid, _, rest = folder.name.removeprefix(_PREFIX).partition("-")
        began = rest.partition("-")[0]
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid != os.geteuid() or not pid.isdigit() or _lives(int(pid), began):
                continue
            _remove(folder)


def _remove(folder: Path) -> None:
    for name in (SEATS, LOCK):
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()


def _lives(pid: int, began: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19] == began
    except OSError:
        return False


def _take_seat(folder: Path) -> Seat | None:
    """Ask for a seat; None when there is nobody to ask, or who is there ends or has no time yet."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.settimeout(_ANSWER_PATIENCE)
        with seats_of(folder) as path:
            link.connect(path)
        said, files, _, _ = socket.recv_fds(link, _LONGEST_SEAT, 2)
    except TimeoutError:
        link.close()
        return None
    except OSError as error:
        link.close()
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EAGAIN):
            return None
        raise
    if not said:
        link.close()
        return None
    slot, board = files
    region = SlotRegion(mmap.mmap(slot, 0))
    os.close(slot)
    seat = json.loads(said)
    os.set_inheritable(board, False)
    return Seat(
        number=seat["number"],
        link=Link(link),
        runtime=Path(seat["runtime"]),
        regions=[region],
        memory=-1,
        workers=0,
        board=Board(board),
    )
