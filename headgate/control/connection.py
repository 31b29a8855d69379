"""One connection to an application of control: uvicorn's, with bounds to what a client can make it hold.

Laws: a request is there whole within PATIENCE, and one has begun within it where a connection asks nothing; no more
than MOST_SILENT bytes come without a byte of a body (the head of a request, trailers, extensions of chunks); no more
than MOST_WAITING requests wait behind another one; who does not take its answer for STALLED is let go. Where
connections are counted, the one that has asked nothing for longest goes for one too many: nobody keeps others out by
asking nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_SILENT: Final = 64 * 1024
MOST_WAITING: Final = 8
# Seconds.
PATIENCE: float = 60.0
STALLED: float = 60.0


class Connection(HttpToolsProtocol):
    """It."""

    def __init__(self, *arguments: Any, most: int | None = None, **named: Any) -> None:
        """Take what uvicorn has; `most` connections there are to be, None for any number."""
        super().__init__(*arguments, **named)
        self._most = most
        self._silent = 0
        self._since = self.loop.time()
        self._owes: asyncio.TimerHandle | None = None
        self._stalls: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, in place of another one where there are too many."""
        super().connection_made(transport)
        self._expect()
        if self._most is not None and len(self.connections) > self._most:
            asking_nothing = (each for each in self.connections if isinstance(each, Connection) and each._asks_nothing)
            min(asking_nothing, key=lambda each: each._since).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._expect_nothing()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._silent += len(data)
        super().data_received(data)
        if self._silent > MOST_SILENT:
            self.transport.abort()
        elif self._owes is None and self._asks_nothing:
            # Blank lines, which may stand before a request.
            self._expect()

    def on_message_begin(self) -> None:
        """Begin a request.

        Raises:
            ValueError: too many wait; the parser gives up, and uvicorn closes.
        """
        if len(self.pipeline) >= MOST_WAITING:
            raise ValueError
        self._silent = 0
        self._expect()
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._silent = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._silent = 0
        self._expect_nothing()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """End an answer."""
        self._since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Wait for the client to take what was answered, but not for ever."""
        super().pause_writing()
        self._stalls = self.loop.call_later(STALLED, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on answering."""
        if self._stalls is not None:
            self._stalls.cancel()
            self._stalls = None
        super().resume_writing()

    @property
    def _asks_nothing(self) -> bool:
        return self._owes is not None or self.cycle is None or self.cycle.response_complete

    def _expect(self) -> None:
        self._expect_nothing()
        self._owes = self.loop.call_later(PATIENCE, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._owes is not None:
            self._owes.cancel()
            self._owes = None
