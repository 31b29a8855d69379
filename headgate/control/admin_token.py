"""The token of the admin API where the configuration names none: made at the first start and kept for the command line.

Laws: whoever may read the file may do everything, so it is its owner's alone; one that is there is never written over,
whoever comes at the same moment; no message holds a byte of it.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from headgate.config.admin_settings import TOKEN_VARIABLE
from headgate.control.state import make_file, make_state, state_path

FILE: Final = "admin.token"

_RANDOM_BYTES: Final = 32
_FORM: Final = re.compile(r"[\x21-\x7e]{16,4096}")


def find_token(configured: str, environ: Mapping[str, str], state_dir: str | None) -> str:
    """Return the setting, else HEADGATE_ADMIN_TOKEN, else what is in the file of the state_dir, which it makes.

    Raises:
        ValueError: with a sentence, when there is none and none can be made.
    """
    named = configured or environ.get(TOKEN_VARIABLE, "")
    if named:
        return named
    file = make_state(state_path(state_dir, environ)) / FILE
    try:
        if not file.exists():
            make_file(file, f"{secrets.token_urlsafe(_RANDOM_BYTES)}\n".encode())
    except OSError as error:
        raise ValueError(f"{file} cannot be made: {os.strerror(error.errno or 0)}; or set {TOKEN_VARIABLE}") from None
    return read_token(file)


def read_token(file: Path) -> str:
    """Return the token in a file.

    Raises:
        ValueError: with a sentence, when it cannot be read, is none, or others than its owner may read it.
    """
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            text = opened.read(8192).decode("ascii", "replace").strip()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {os.strerror(error.errno or 0)}; or set {TOKEN_VARIABLE}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"others may read the token in {file}: chmod 600, and remove it if they may have")
    if _FORM.fullmatch(text) is None:
        raise ValueError(f"{file} holds no token; remove it, and the next start makes one")
    return text
