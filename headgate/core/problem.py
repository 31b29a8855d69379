"""One thing wrong with a setting, found by the part that owns it."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """Say what is wrong: `at` is the way to the key, from the settings object that was checked."""

    at: tuple[str, ...]
    message: str
