"""The state_dir: what outlives the gateway, and the pepper that keys are hashed with.

Laws: the folder is its owner's alone; nothing is made in it before it is needed; a pepper that is there is never
written over, whoever comes at the same moment; no message holds a byte of a pepper.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PEPPER_BYTES: Final = 32

_FILE: Final = "pepper"
FOLDER_VARIABLE: Final = "HEADGATE_STATE_DIR"
_PEPPER_VARIABLE: Final = "HEADGATE_KEY_PEPPER"


def state_path(configured: str | None, environ: Mapping[str, str]) -> Path:
    """Return where the state_dir is: the setting, else HEADGATE_STATE_DIR, else where XDG or HOME put it.

    Raises:
        ValueError: with a sentence, when none of them says.
    """
    named = configured or environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).absolute()
    # XDG Base Directory Specification: a relative path in the variable is invalid and ignored.
    if (xdg := environ.get("XDG_STATE_HOME", "")).startswith("/"):
        return Path(xdg) / "headgate"
    if (home := environ.get("HOME", "")).startswith("/"):
        return Path(home) / ".local" / "state" / "headgate"
    raise ValueError(f"there is no folder for what outlives the gateway: set state_dir or {FOLDER_VARIABLE}")


def make_state(path: Path) -> Path:
    """Make the state_dir if it is not there; return it.

    Raises:
        ValueError: with a sentence, when it cannot be made or written, or anybody could have put something into it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise ValueError(f"state_dir: {path} cannot be made: {os.strerror(error.errno or 0)}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise ValueError(f"state_dir: {path} cannot be written by this user")
    # Whoever may write there may bring a pepper and keys of their own. A volume that an orchestrator made for this
    # gateway alone is root's, and open to all; a folder that many share has the sticky bit.
    if found.st_mode & stat.S_IWOTH and (found.st_uid != 0 or found.st_mode & stat.S_ISVTX):
        raise ValueError(f"state_dir: everybody may write to {path}; make one for this gateway alone: chmod 700")
    return path


def find_pepper(configured: str | None, environ: Mapping[str, str], state: Path, *, make: bool = True) -> bytes:
    """Return the pepper: the setting, else HEADGATE_KEY_PEPPER, else the file in the state_dir, which it may `make`.

    Raises:
        ValueError: with a sentence, when there is none and none can be made.
    """
    named = configured or environ.get(_PEPPER_VARIABLE)
    if named:
        return named.encode()
    file = state / _FILE
    try:
        if make and not file.exists():
            make_file(file, os.urandom(PEPPER_BYTES))
        pepper = file.read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ValueError(f"the pepper in {file} cannot be read: {reason}; or set {_PEPPER_VARIABLE}") from None
    if len(pepper) < PEPPER_BYTES:
        raise ValueError(
            f"the pepper in {file} is cut short: bring it back from a backup, or remove it with the database of keys"
        )
    return pepper


def make_file(file: Path, content: bytes) -> None:
    """Make a file of its owner alone; one that is there by now stays as it is.

    Raises:
        OSError: when it cannot be made.
    """
    # A link appears with all of its bytes or not at all, and never in place of one that is there.
    fresh = file.with_name(f".{file.name}-{os.getpid()}-{os.urandom(4).hex()}")
    opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(opened, content)
        os.fsync(opened)
        with contextlib.suppress(FileExistsError):
            os.link(fresh, file)
    finally:
        os.close(opened)
        fresh.unlink()
