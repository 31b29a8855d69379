"""A bound in time for an answer that counts only the time in which this process could have read it.

A process that gets no processor, or is stopped, for longer than it wanted to wait finds both when it goes on: the
answer, and that it is too late. Then who answered is not to blame, and what was slept through is waited for once more,
no more of it than was asked for, so that a process that is late all the time gives up as well.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

# Seconds that a timer may come late on a machine that has time for it.
_LATE = 0.05


class within:  # noqa: N801 (a context manager, as asyncio.timeout is)
    """Raise TimeoutError in the block that has taken `seconds`; what this process stood still at its end is added."""

    __slots__ = ("_due", "_more", "_scope", "_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = self._more = seconds
        self._scope = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._scope.__aenter__()
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self._seconds
        self._timer = loop.call_at(self._due, self._ring)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._scope.__aexit__(kind, error, trace)

    def _ring(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = now - self._due
        more = min(late, self._more) if late > _LATE else 0.0
        if more:
            self._more -= more
            self._due = now + more
            self._timer = loop.call_at(self._due, self._ring)
        else:
            self._scope.reschedule(now)
