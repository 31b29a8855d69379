"""One server, held on to: a connection is opened, proven, and opened anew when it ends, as long as the store is open.

Laws:
- `link` is a proven connection or None; who finds None decides without the server, at once.
- Tries are apart by a pause that doubles up to LONGEST_PAUSE, each shortened by chance so that gateways do not come in
  step; only a connection that has lived for STEADY seconds is replaced without a pause. Recovery is seen within
  LONGEST_PAUSE and the time to connect.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, Protocol

from headgate.stores.redis.connection import Link
from headgate.stores.redis.dial import Unusable

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 2.0
STEADY: Final = 5.0

# What an attempt to reach a server may raise; ValueError is that of TLS files and of host names that cannot be.
FAILURES: Final = (OSError, TimeoutError, ssl.SSLError, ValueError, Unusable)


class Watch(Protocol):
    """Who is told how servers are."""

    def fails(self, node: Node | None, reason: str) -> None:
        """Know that a request was lost, or that the server cannot be reached; None stands for all of them."""

    def works(self, node: Node | None) -> None:
        """Know that the server has counted, or is no longer needed."""


class Pause:
    """How long to wait before the next try."""

    __slots__ = ("_chance", "_seconds")

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._seconds = FIRST_PAUSE

    def next(self) -> float:
        """Return the seconds to wait now: between half and all of a time that doubles."""
        seconds = self._seconds * (0.5 + self._chance.random() / 2)
        self._seconds = min(LONGEST_PAUSE, self._seconds * 2)
        return seconds

    def reset(self) -> None:
        """Begin again with the shortest."""
        self._seconds = FIRST_PAUSE


# Finds the server and opens a connection to it; the argument is told of the end of that.
Open = Callable[[Callable[[str, int], None]], Awaitable[Link]]


class Node:
    """Holds on to one server, or to the one that is master at the time."""

    __slots__ = ("_loop", "_lost", "_open", "_pause", "_task", "_watch", "away", "link", "name", "proven")

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, opening: Open, watch: Watch, chance: Random) -> None:
        """Begin at once; `name` is for messages."""
        self.name = name
        self.link: Link | None = None
        self.away = f"{name}: not connected yet"
        """Why there was no connection when there last was none."""
        self.proven: asyncio.Future[None] = loop.create_future()
        """Done when the first attempt has ended, well or not."""
        self._loop = loop
        self._open = opening
        self._watch = watch
        self._pause = Pause(chance)
        self._lost = asyncio.Event()
        self._task = loop.create_task(self._hold_on())

    def close(self) -> None:
        """Let go, once what is outstanding has been answered."""
        self._task.cancel()
        link, self.link = self.link, None
        if link is not None:
            link.finish()
        self._is_proven()

    async def _hold_on(self) -> None:
        while True:
            try:
                link = await self._open(self._on_lost)
            except Exception as error:
                # Whatever it is, it is said, and tried again.
                self._fails(in_words(error))
            else:
                if link.ended is None:
                    await self._use(link)
                    continue
                self._fails(link.ended)
            self._is_proven()
            await asyncio.sleep(self._pause.next())

    async def _use(self, link: Link) -> None:
        """Offer a connection until it ends, and wait as long as must be before the next."""
        self._lost.clear()
        self.link = link
        began = self._loop.time()
        self._watch.works(self)
        self._is_proven()
        await self._lost.wait()
        if self._loop.time() - began >= STEADY:
            self._pause.reset()
        else:
            await asyncio.sleep(self._pause.next())

    def _on_lost(self, reason: str, outstanding: int) -> None:
        self.link = None
        self._lost.set()
        if outstanding:
            self._fails(reason)
        else:
            # One that was idle is replaced without a word, unless a request comes before that.
            self.away = f"{self.name}: {reason}"

    def _fails(self, reason: str) -> None:
        self.away = f"{self.name}: {reason}"
        self._watch.fails(self, self.away)

    def _is_proven(self) -> None:
        if not self.proven.done():
            self.proven.set_result(None)

    def __repr__(self) -> str:
        return f"<Node {self.name} {'away' if self.link is None else self.link}>"


def in_words(error: BaseException) -> str:
    """Return what went wrong as a sentence."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return str(error) or type(error).__name__
