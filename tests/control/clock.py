"""A loop whose time passes only when nothing is left to do: hours of waiting take no time, and are always the same."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class _Impatient(selectors.DefaultSelector):
    """Does not wait: it tells how long it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nobody will ever wake this loop")
        if not ready and timeout:
            self.passed += timeout
        return ready


class TimelessLoop(asyncio.SelectorEventLoop):
    """The loop; its time begins at 1000."""

    def __init__(self) -> None:
        self._waits = _Impatient()
        super().__init__(self._waits)

    def time(self) -> float:
        return 1000.0 + self._waits.passed

    def pass_by(self, seconds: float) -> None:
        """Let time pass in which nothing of this loop is done."""
        self._waits.passed += seconds


def timeless(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario, which must not wait for anything outside of it."""
    loop = TimelessLoop()
    try:
        loop.run_until_complete(scenario())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()
