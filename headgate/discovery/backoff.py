"""How long a source waits after failures: longer each time up to a bound, with chance in it, so that gateways that
lost the same registry do not come back to it together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from headgate.discovery.source import NotFound, Sink

# Seconds.
FIRST: float = 0.5
MOST: float = 30.0
# Between two talks neither of which failed: a registry that ends every one of them at once is not asked all the time.
BETWEEN: float = 0.1
# However long a registry asks to be left alone.
_LONGEST: Final = 300.0
_MOST_DOUBLINGS: Final = 16


class Throttled(NotFound):
    """The registry asked to be left alone for `wait` seconds."""

    def __init__(self, sentence: str, wait: float) -> None:
        super().__init__(sentence)
        self.wait = min(wait, _LONGEST)


class Backoff:
    """The pauses of one source, in seconds."""

    __slots__ = ("_chance", "_failures", "_most")

    def __init__(self, chance: Callable[[], float], most: float | None = None) -> None:
        """`chance` returns numbers from 0 to 1; a pause is from half of what it might be to all of it.

        No pause is longer than `most` seconds (MOST, where that is less or it is None).
        """
        self._chance = chance
        self._failures = 0
        self._most = most

    def succeeded(self) -> None:
        """Begin anew."""
        self._failures = 0

    def pause(self) -> float:
        """Return how long to wait after one more failure."""
        most = MOST if self._most is None else min(MOST, self._most)
        longest = min(most, FIRST * 2.0 ** min(self._failures, _MOST_DOUBLINGS))
        self._failures += 1
        return longest * (0.5 + 0.5 * self._chance())


async def persist(talk: Callable[[], Awaitable[None]], sink: Sink, backoff: Backoff) -> None:
    """Begin a talk again and again; one that fails with NotFound is told and waited behind."""
    while True:
        try:
            await talk()
        except NotFound as error:
            sink.failed(str(error))
            wait = backoff.pause()
            await asyncio.sleep(wait + error.wait if isinstance(error, Throttled) else wait)
        else:
            await asyncio.sleep(BETWEEN)
