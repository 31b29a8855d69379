"""How control has the master open the addresses of a plan.

A plan may want an address that the one before it has left: workers close their sockets of it when they get to know,
and a busy one does so later than the next plan comes. That is no other program's address, and is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

from headgate.control.log import Log

# Seconds that workers have to let go of what they were told to leave.
PATIENCE: Final = 10.0
_PAUSE: Final = 0.05


class _Link(Protocol):
    def send(self, message: dict[str, Any]) -> bool:
        """Send it; False if nobody reads it."""


class Opening:
    """One question to the master at a time, and its answer."""

    __slots__ = ("_answer", "_link", "_log")

    def __init__(self, link: _Link, log: Log) -> None:
        self._link = link
        self._log = log
        self._answer: asyncio.Future[dict[str, Any]] | None = None

    def on_answer(self, message: dict[str, Any]) -> None:
        """Take what the master says: `opened`, or `refused` with an error, and `left` if this gateway was there."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)

    async def open(self, addresses: Sequence[str], workers: int) -> str | None:
        """Have them opened for so many workers; return what is wrong, None when they are open."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + PATIENCE
        waits = False
        while True:
            self._answer = loop.create_future()
            self._link.send({"type": "open", "addresses": list(addresses), "workers": workers})
            answer = await self._answer
            error: str | None = answer.get("error")
            if not answer.get("left") or loop.time() >= latest:
                return error
            if not waits:
                waits = True
                self._log("info", "an address that was left a moment ago is in use yet, and is waited for")
            await asyncio.sleep(_PAUSE)
