"""One connection to a Redis server: commands of one turn of the loop leave in one write, replies come back in order.

Laws:
- A reply belongs to the oldest command that has none. Whatever puts that in doubt (bytes that are no reply, a reply
  nobody asked for, a reply that is late) ends the connection, so no reply is ever taken for another command's.
- Every command ends once: `on_reply` or `on_lost`. When the oldest is late, all that are outstanding are lost at once.
- Neither a Task nor a Future nor a timer is made for a command; one coarse tick watches over the oldest.
- What is outstanding is bounded; beyond it `send` takes nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from hiredis import ProtocolError, Reader, ReplyError, pack_command

MOST_OUTSTANDING: Final = 10_000

# A command is late between four and five ticks after it was sent; five make the timeout.
_TICKS: Final = 5
# The loop was held up, maybe, and the reply is there unread: one look at the sockets before the verdict.
_SECOND_LOOK: Final = 0.001
_NOTHING: Final = object()


def packed(*words: str | bytes | int) -> bytes:
    """Return a command as it goes over the wire."""
    # hiredis says of its argument that it has one element; any number is right.
    return bytes(pack_command(words))  # type: ignore[arg-type]


class Receiver(Protocol):
    """Who gets the reply of a command; one of the two is called, once."""

    def on_reply(self, reply: Any, link: Link) -> None:
        """Take the reply: int, bytes, None, list of such, or a ReplyError (as a value)."""

    def on_lost(self) -> None:
        """Know that there will be none; whether the command was carried out nobody can tell."""


class Link(asyncio.Protocol):
    """A connection. `on_lost(reason, outstanding)` is called once when it ends, before its commands are told."""

    __slots__ = (
        "_answered",
        "_due",
        "_finishing",
        "_frames",
        "_loop",
        "_marks",
        "_on_lost",
        "_reader",
        "_tick",
        "_timeout",
        "_transport",
        "_waiting",
        "ended",
        "loading",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, timeout: float, on_lost: Callable[[str, int], None] | None = None
    ) -> None:
        """Be ready for `loop.create_connection`; a command whose reply takes longer than `timeout` seconds is late."""
        self._loop = loop
        self._on_lost = on_lost
        self._reader = Reader(notEnoughData=_NOTHING)
        self._transport: asyncio.WriteTransport | None = None
        self._frames: list[bytes] = []
        self._waiting: deque[Receiver] = deque()
        self._due = False
        self._finishing = False
        self._answered = 0
        self._marks: deque[int] = deque(maxlen=_TICKS)
        self._tick: asyncio.TimerHandle | None = None
        self._timeout = timeout
        self.ended: str | None = None
        """Why it ended; None while it lives."""
        self.loading = False
        """Whether the script was sent again and has not been acknowledged yet."""

    # -- commands -------------------------------------------------------------------------------------------------

    def send(self, frame: bytes, receiver: Receiver, commands: int = 1) -> bool:
        """Send packed commands, of whose replies the last is the receiver's; False when they were not taken."""
        waiting = self._waiting
        if self._transport is None or len(waiting) >= MOST_OUTSTANDING:
            return False
        while commands > 1:
            waiting.append(_IGNORED)
            commands -= 1
        waiting.append(receiver)
        self._frames.append(frame)
        if not self._due:
            self._due = True
            self._loop.call_soon(self._flush)
        return True

    async def call(self, *words: str | bytes | int) -> Any:
        """Send one command and wait for its reply; for opening a connection, not for requests.

        Raises:
            ConnectionError: if the connection ended.
            ReplyError: what the server answered.
        """
        awaited = _Awaited(self._loop.create_future())
        if not self.send(packed(*words), awaited):
            raise ConnectionError(self.ended or "the connection is not open")
        try:
            reply = await awaited.future
        except ConnectionError:
            raise ConnectionError(self.ended) from None
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def watch(self, timeout: float, on_lost: Callable[[str, int], None]) -> None:
        """Go over to another timeout, in seconds, and another listener for the end."""
        self._timeout = timeout
        self._on_lost = on_lost
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        self._marks.clear()

    def finish(self) -> None:
        """End the connection when everything that is outstanding has been answered; nobody sends any more."""
        if self._waiting:
            self._finishing = True
        else:
            self.end("it is not needed any more")

    def end(self, reason: str) -> None:
        """End the connection at once, and with it everything that is outstanding."""
        if self.ended is not None:
            return
        self.ended = reason
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        self._frames.clear()
        waiting = self._waiting
        if self._on_lost is not None:
            self._on_lost(reason, len(waiting))
        while waiting:
            receiver = waiting.popleft()
            try:
                receiver.on_lost()
            except Exception as error:
                self._report(error)

    # -- asyncio.Protocol -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be connected."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Be closed by the server or the network."""
        self.end(f"the connection broke: {error}" if error else "the server closed the connection")

    def data_received(self, data: bytes) -> None:
        """Hand out replies."""
        reader = self._reader
        waiting = self._waiting
        try:
            reader.feed(data)
            reply = reader.gets()
            while reply is not _NOTHING:
                if not waiting:
                    return self.end("the server sent a reply that nobody asked for")
                self._answered += 1
                receiver = waiting.popleft()
                try:
                    receiver.on_reply(reply, self)
                except Exception as error:
                    self._report(error)
                reply = reader.gets()
            if self._finishing:
                self.finish()
        except ProtocolError as error:
            return self.end(f"the server does not speak Redis's protocol: {error}")

    # -- inside ---------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._due = False
        frames = self._frames
        if self._transport is not None and frames:
            self._transport.write(frames[0] if len(frames) == 1 else b"".join(frames))
            frames.clear()
            if self._tick is None:
                self._tick = self._loop.call_later(self._timeout / _TICKS, self._on_tick)

    def _on_tick(self) -> None:
        outstanding = len(self._waiting)
        if not outstanding:
            self._tick = None
            self._marks.clear()
            return
        self._marks.append(self._answered + outstanding)
        if self._is_late():
            self._tick = self._loop.call_later(_SECOND_LOOK, self._on_second_look)
        else:
            self._tick = self._loop.call_later(self._timeout / _TICKS, self._on_tick)

    def _is_late(self) -> bool:
        """Tell whether a command is outstanding that was so at each tick that is remembered."""
        return len(self._marks) == _TICKS and self._answered < self._marks[0]

    def _on_second_look(self) -> None:
        if self._is_late():
            self.end(f"no reply within {self._timeout * 1000:g} ms")
        else:
            self._tick = self._loop.call_later(self._timeout / _TICKS, self._on_tick)

    def _report(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "the receiver of a reply failed", "exception": error})

    def __repr__(self) -> str:
        state = self.ended or ("open" if self._transport is not None else "not open yet")
        return f"<Link {state}, {len(self._waiting)} outstanding, {self._answered} answered>"


class _Awaited:
    """Brings a reply to a coroutine."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future

    def on_reply(self, reply: Any, link: Link) -> None:
        if not self.future.done():
            self.future.set_result(reply)

    def on_lost(self) -> None:
        if not self.future.done():
            self.future.set_exception(ConnectionError("the connection ended"))


class _Ignored:
    """Takes a reply that says nothing."""

    __slots__ = ()

    def on_reply(self, reply: Any, link: Link) -> None:
        """Let it go."""

    def on_lost(self) -> None:
        """Let it go."""


_IGNORED: Final = _Ignored()
