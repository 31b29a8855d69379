"""When API keys were used last: noted by workers with every request, told to control now and then.

Law: bounded. What finds no room is not noted: a key's last use is then known less exactly, and its next one is noted.
"""

from __future__ import annotations

from typing import Final

TELL_SECONDS: Final = 10.0
MOST: Final = 10_000


class KeyUses:
    """The uses since the last telling; whoever notes one writes into `latest` itself, while it has less than MOST."""

    __slots__ = ("_told", "latest")

    def __init__(self) -> None:
        # By the id of a key, wall-clock seconds.
        self.latest: dict[str, float] = {}
        self._told = 0.0

    def take(self, now: float) -> dict[str, int] | None:
        """Return what is to be told at `now` (monotonic, seconds), and forget it; None when there is nothing yet."""
        if not self.latest or now < self._told + TELL_SECONDS:
            return None
        self._told = now
        taken = {id_: int(moment) for id_, moment in self.latest.items()}
        self.latest.clear()
        return taken
