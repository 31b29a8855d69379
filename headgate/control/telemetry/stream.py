"""Who watches live: events to any number of clients up to a bound, none of which can hold anybody up.

Law: a client that takes events more slowly than they come loses the oldest of those it has not taken, and is told how
many. An event is written once for all clients, and not at all when nobody watches.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Collection
from typing import Any, Literal, get_args

Event = Literal["tick", "request", "log", "change"]
EVENTS: tuple[Event, ...] = get_args(Event)

MOST_CLIENTS = 32
MOST_WAITING = 256


class TooManyWatch(Exception):
    """So many clients watch that another one is not let."""


class Watcher:
    """One client: the events that wait for it, as text of the protocol (WHATWG HTML, server-sent events)."""

    __slots__ = ("_closed", "_kinds", "_lost", "_waiting", "_woken")

    def __init__(self, kinds: Collection[Event]) -> None:
        self._kinds = frozenset(kinds)
        self._waiting: deque[bytes] = deque()
        self._woken = asyncio.Event()
        self._lost = 0
        self._closed = False

    def put(self, kind: Event, text: bytes) -> bool:
        """Let an event wait; tell whether another one was lost for it."""
        if self._closed or kind not in self._kinds:
            return False
        full = len(self._waiting) >= MOST_WAITING
        if full:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(text)
        self._woken.set()
        return full

    def close(self) -> None:
        """Let the client go after what waits for it."""
        self._closed = True
        self._woken.set()

    async def events(self) -> AsyncIterator[bytes]:
        """Go through the events as they come, until `close`."""
        # A head alone may wait in buffers on the way; a comment shows the client that it is connected.
        yield b": headgate\n\n"
        while True:
            while self._waiting:
                if self._lost:
                    lost, self._lost = self._lost, 0
                    yield event_text("lost", {"events": lost})
                yield self._waiting.popleft()
                # What is written to a client that has gone makes a line in the log, which is one more event: without a
                # turn of the loop in between nobody would ever learn that it has gone.
                await asyncio.sleep(0)
            if self._closed:
                return
            self._woken.clear()
            await self._woken.wait()


class Stream:
    """All clients. `lost` counts the events that were too many for one."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()
        self.lost = 0
        self._closed = False
        self._empty: asyncio.Future[None] | None = None

    @property
    def watchers(self) -> int:
        """Count the clients."""
        return len(self._watchers)

    def join(self, kinds: Collection[Event]) -> Watcher:
        """Let a client watch these events.

        Raises:
            TooManyWatch: when there is no place.
        """
        if len(self._watchers) >= MOST_CLIENTS or self._closed:
            raise TooManyWatch
        watcher = Watcher(kinds)
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Forget a client."""
        self._watchers.discard(watcher)
        if not self._watchers and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def publish(self, kind: Event, data: Any) -> None:
        """Tell all who watch this kind of event."""
        if self._watchers:
            text = event_text(kind, data)
            for watcher in self._watchers:
                self.lost += watcher.put(kind, text)

    def let_go(self) -> None:
        """Let all clients go; they may come again, and show again who they are."""
        for watcher in self._watchers:
            watcher.close()

    async def close(self, patience: float) -> None:
        """Let all go, and nobody in any more; wait at most `patience` seconds until they have gone."""
        self._closed = True
        self.let_go()
        if self._watchers:
            self._empty = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._empty], timeout=patience)


def event_text(kind: str, data: Any) -> bytes:
    """Write one event; JSON has no line feed outside of texts, and none inside."""
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'), default=str)}\n\n".encode()
