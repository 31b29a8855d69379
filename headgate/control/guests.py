"""Control where the workers are processes of another server, an ASGI server's: as many as there are at the moment.

Laws: the server has the listeners, so there are none here. One worker more than the plan in force knows of makes a new
plan, since some shares are cut by their number; one less waits for the next plan, for it may only be replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headgate.config.resolve import ResolvedConfig
from headgate.control.audit import Cause
from headgate.control.children import Seat
from headgate.control.control import Control
from headgate.control.snapshot import Snapshot, workers_of
from headgate.telemetry.audit import Actor

if TYPE_CHECKING:
    from headgate.config.loader import LoadResult

JOINED = Cause("one more worker", Actor("gateway"))


class GuestControl(Control):
    """It."""

    def __init__(self, seat: Seat, load: Callable[[], LoadResult], poll: float | None) -> None:
        super().__init__(seat, load, poll)
        self._present = seat.workers
        # Slots that were left count on: totals never step back.
        self.parts.exposition.regions = lambda: self._seat.regions

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "guests":
            self._present = message["present"]
            if self._present > self._workers > 0 and not self._reload_waits:
                self._reload_waits = True
                self._spawn(self.reload(JOINED))

    def _wanted(self, config: ResolvedConfig) -> int:
        # Whatever the configuration says, and nothing has to be restarted for it.
        self._workers = max(1, self._present)
        return self._workers

    def snapshot(self) -> Snapshot:
        """Return how the processes of the gateway are now: of the workers those that are here."""
        present = workers_of(self._seat.regions, time.monotonic())
        return {**super().snapshot(), "workers": [each for each in present if each["pid"]]}


def without_listeners(loaded: LoadResult) -> LoadResult:
    """Take off what the server has in their place."""
    if loaded.config is None:
        return loaded
    return replace(loaded, config=replace(loaded.config, listeners=()))
