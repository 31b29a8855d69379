"""One thread that waits for a database, so that nobody else does; what it is asked to do, it does in that order.

Laws: whoever waits is told, also of faults; no more than MOST may wait. It is no reason for a process to go on living.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, TypeVar

T = TypeVar("T")

MOST: Final = 100
_LAST_WORDS_SECONDS: Final = 2.0


class Busy(Exception):
    """Too much waits already."""


class Desk:
    """The thread; it begins with the first thing to do."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def do(self, work: Callable[[], T]) -> T:
        """Have `work` done there, and return or raise what it does.

        Raises:
            Busy: too much waits already.
        """
        if self._queue.qsize() >= MOST:
            raise Busy
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def tell(result: T | None, error: BaseException | None) -> None:
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]

        def run() -> None:
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:
                error = raised
            # Nobody is left to be told once the loop is closed.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(tell, result, error)

        self._queue.put(run)
        return await done

    def close(self, last: Callable[[], object]) -> None:
        """Let it end after what it has to do, and `last`, if that is quick."""
        if self._thread is None:
            return

        def run() -> None:
            # What is away now had its time, and its failures were told.
            with contextlib.suppress(ValueError):
                last()

        self._queue.put(run)
        self._queue.put(None)
        self._thread.join(_LAST_WORDS_SECONDS)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            work()
