"""The records that workers have not told yet, fetched before somebody is shown what happened.

Law: what had ended when it was asked for is known then, of every worker that answers within PATIENCE seconds; nobody
waits longer.
"""

from __future__ import annotations

import asyncio
import contextlib
from itertools import count
from typing import Any, Final

from headgate.control.fleet import Fleet
from headgate.control.messages import TellRecords

PATIENCE: Final = 3.0


class Latest:
    """How control is told now what it would be told in a moment."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._numbers = count(1)
        # By the number of what was asked: the workers that have not answered, and what waits for them.
        self._waiting: dict[int, tuple[set[int], asyncio.Event]] = {}

    async def fetch(self) -> None:
        """Wait until all workers have told their records, PATIENCE at most."""
        number, told = next(self._numbers), asyncio.Event()
        left = set(self._fleet.tell_once(TellRecords(number)))
        if not left:
            return
        self._waiting[number] = (left, told)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), PATIENCE)
        finally:
            del self._waiting[number]

    def on_said(self, worker: int, message: dict[str, Any]) -> None:
        """Take that a worker has told all."""
        if message["type"] == "told" and (found := self._waiting.get(message["number"])) is not None:
            left, told = found
            left.discard(worker)
            if not left:
                told.set()
