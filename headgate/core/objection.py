"""What a part objects to in its settings, beyond their types and bounds."""

from __future__ import annotations

from typing import NamedTuple


class Objection(NamedTuple):
    """Say what is wrong and what to write instead; `at` is the way to the key, from the settings that were checked."""

    at: tuple[str, ...]
    message: str
