"""Folders that vanish with the gateway: its runtime folder, and one beside it where something needs more room.

Laws:
- A folder belongs to the living as long as its lock is held: by the process that made it and those it forked, or by
  workers that have the store inside open. The locks are the kernel's, so death frees them, however it comes.
- Whoever begins a folder removes the abandoned ones next to it: those of gateways that were killed whole.
- What the runtime folder links to goes with it. Standard library only: the master has to remove it, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "headgate-run-"
_IN_MEMORY = Path("/dev/shm")
# unix(7): the path of a socket has at most 107 bytes, and those in the folder have names of up to 12.
_LONGEST_PARENT = 72


class Held:
    """A folder that this process and those it forks keep alive."""

    __slots__ = ("_lock", "path")

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def release(self) -> None:
        """Leave it to the others that hold it."""
        os.close(self._lock)


def make_runtime() -> Held:
    """Make the folder of a gateway: where XDG_RUNTIME_DIR says, else in shared memory, else where temporary files go.

    Raises:
        OSError: when none can be made.
    """
    return _make(runtime_parent())


def runtime_parent() -> Path:
    """Return where such folders are made; short enough for the path of a socket in one."""
    named = os.environ.get("XDG_RUNTIME_DIR", "")
    places = [Path(named)] if 0 < len(os.fsencode(named)) <= _LONGEST_PARENT else []
    return next((each for each in (*places, _IN_MEMORY) if _usable(each)), _temporary())


def spare_folders(runtime: Path) -> list[Path]:
    """List where else there may be room, when there is none in the runtime folder."""
    return [each for each in (_IN_MEMORY, _temporary()) if each != runtime.parent and _usable(each)]


def beside(runtime: Path, parent: Path) -> Held:
    """Return the gateway's folder in `parent`, made if it is the first; it goes when the runtime folder goes.

    Raises:
        OSError: when it cannot be made.
    """
    parent = parent.resolve(strict=True)
    for link in runtime.iterdir():
        if link.is_symlink() and link.readlink().parent == parent:
            # A control process before this one made it.
            return Held(link.readlink(), _lock(link.readlink()))
    held = _make(parent)
    (runtime / held.path.name).symlink_to(held.path)
    return held


def remove(folder: Path) -> None:
    """Remove a folder and what it links to."""
    with contextlib.suppress(OSError):
        for each in folder.iterdir():
            if each.is_symlink() and each.name.startswith(_PREFIX):
                shutil.rmtree(each.readlink(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _make(parent: Path) -> Held:
    for each in parent.glob(f"{_PREFIX}*"):
        if _is_abandoned(each):
            remove(each)
    # Only under its last name can others find it, and by then it is locked.
    hidden = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=parent))
    lock = _lock(hidden)
    return Held(hidden.rename(parent / hidden.name[1:]), lock)


def _is_abandoned(folder: Path) -> bool:
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            return False
        os.close(_lock(folder))
        for file in folder.glob("*/lock.mdb"):
            # As LMDB does: who has the file open holds its first byte, shared.
            with file.open("r+b") as opened:
                fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
    except OSError:
        return False
    return True


def _lock(folder: Path) -> int:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        raise
    return opened


def _usable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK)


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        # None can be written, as where only shared memory and a volume can.
        return Path("/tmp")
