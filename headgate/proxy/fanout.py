"""The body of an answer on its way to several clients while it arrives, gathered for the cache at the same time.

    upstream -> Gathered -> Reader -> the answer to one client
                         -> Reader -> ...

Laws:
- Each client goes at its own pace: while the whole body may still be kept, nobody waits for anybody.
- A body that turns out too large for the cache, or finds no room, goes on to those who have begun it, at the pace of
  the slowest: it is then kept no more, and held only between the first and the last of them.
- A body that is cut ends visibly for everybody, and is never whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headgate.core.failure import Failure
from headgate.core.message import Field
from headgate.core.steps import Reply
from headgate.wire.pipe import Sink, Source

# Bytes handed to a client's connection at a time; it may ask to wait after each.
PIECE: Final = 65_536
# Bytes between the first and the last reader of a body that is not kept.
_WINDOW: Final = 262_144


class Room:
    """Bytes of bodies that one worker may gather at a time."""

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, size: int) -> bool:
        """Take so many bytes, if there are."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def give(self, size: int) -> None:
        """Give so many back."""
        self.left += size


class Gathered:
    """A body. A sink for whom it comes from, its `source`.

    `keeping`: it may still be kept; `ended`: all of it is here. `size` counts the bytes that came.
    """

    __slots__ = (
        "_charged",
        "_first",
        "_held",
        "_most",
        "_pieces",
        "_readers",
        "_room",
        "_waits",
        "ended",
        "failure",
        "keeping",
        "size",
        "source",
        "trailers",
    )

    def __init__(self, most: int, room: Room) -> None:
        """Keep `most` bytes, if there is `room` for them."""
        self._most = most
        self._room = room
        self._charged = 0
        self._pieces: list[bytes] = []
        # Number of the first piece that is held.
        self._first = 0
        self._held = 0
        self._readers: list[Reader] = []
        self._waits = False
        self.source: Source | None = None
        self.size = 0
        self.keeping = True
        self.ended = False
        self.failure: Failure | None = None
        self.trailers: Sequence[Field] = ()

    # -- in --------------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Take one piece."""
        size = len(data)
        self.size += size
        if self.keeping:
            if self.size <= self._most and self._room.take(size):
                self._charged += size
            else:
                self.keeping = False
        self._pieces.append(data)
        self._held += size
        for reader in tuple(self._readers):
            reader.pump()
        if not self.keeping:
            self.trim()

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """Take the end."""
        self.ended = True
        self.trailers = trailers
        self._over()

    def source_failed(self, failure: Failure) -> None:
        """Learn that the rest will never come: cut every answer that has begun."""
        self.failure = failure
        self.keeping = False
        self._over()

    def _over(self) -> None:
        self.source = None
        for reader in tuple(self._readers):
            reader.pump()
        self.trim()

    def whole(self) -> bytes:
        """Return all of a body that ended and may be kept."""
        assert self.ended
        assert self.keeping
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def let_go(self) -> None:
        """Keep it no more: what is held is held for its readers."""
        self.keeping = False
        self.trim()

    # -- out -------------------------------------------------------------------------------------------------------

    @property
    def from_start(self) -> bool:
        """Tell whether somebody who comes now can still have all of it."""
        return not self._first and self.failure is None

    @property
    def read(self) -> bool:
        """Tell whether anybody reads it."""
        return bool(self._readers)

    def join(self, reader: Reader) -> None:
        """Let somebody read it."""
        self._readers.append(reader)

    def leave(self, reader: Reader) -> None:
        """Learn that somebody reads it no more."""
        self._readers.remove(reader)
        self.trim()

    def piece(self, number: int) -> bytes | None:
        """Return the piece of this number, counted from the beginning; None while it is not here."""
        at = number - self._first
        return self._pieces[at] if at < len(self._pieces) else None

    def trim(self) -> None:
        """Drop what nobody needs any more, and let the source wait for the slowest reader, or go on."""
        if self.keeping:
            return
        last = self._first + len(self._pieces)
        drop = min((reader.at for reader in self._readers), default=last) - self._first
        if drop:
            gone = sum(map(len, self._pieces[:drop]))
            del self._pieces[:drop]
            self._first += drop
            self._held -= gone
        free = self._charged - self._held
        if free > 0:
            self._charged -= free
            self._room.give(free)
        source = self.source
        if source is not None and self._waits != (self._held > _WINDOW):
            self._waits = not self._waits
            if self._waits:
                source.pause()
            else:
                source.resume()


class Reader:
    """One client's way through a body, or through the part [start, stop) of it. A source for the client's stream.

    `at` is the number of the piece it has come to; `over` comes with its end, or is its Failure.
    """

    __slots__ = ("_body", "_busy", "_left", "_offset", "_paused", "_sink", "_skip", "at", "over")

    def __init__(self, body: Gathered, sink: Sink, start: int = 0, stop: int = -1) -> None:
        """`stop` below zero: to the end, wherever that is."""
        self._body: Gathered | None = body
        self._sink = sink
        self._skip = start
        self._left = stop - start
        if stop < 0:
            self._left = -1
        # Within the piece.
        self._offset = 0
        self._paused = self._busy = False
        self.at = 0
        self.over: Reply[None] = Reply()
        body.join(self)

    def leave(self) -> None:
        """Read no more."""
        body, self._body = self._body, None
        if body is not None:
            body.leave(self)

    def pause(self) -> None:
        """Stop: the client does not keep up."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        self.pump()
        if self._body is not None:
            self._body.trim()

    def pump(self) -> None:
        """Give the client what is here, as far as it takes it."""
        if self._busy:
            # A client that pauses and goes on while it is written to.
            return
        self._busy = True
        try:
            while self._body is not None and self._step(self._body):
                pass
        finally:
            self._busy = False

    def _step(self, body: Gathered) -> bool:
        """Give one piece, or the end; tell whether there may be more to do."""
        if body.failure is not None:
            self.leave()
            self._sink.source_failed(body.failure)
            self.over.fail(body.failure)
            return False
        if self._paused:
            return False
        piece = body.piece(self.at) if self._left else None
        if piece is not None:
            data = self._cut(piece)
            if data:
                self._sink.write(data)
            return True
        if self._left and not body.ended:
            return False
        self.leave()
        self._sink.finish(body.trailers)
        self.over.set(None)
        return False

    def _cut(self, piece: bytes) -> bytes:
        """Return what is to be given of a piece, and go on behind it."""
        size = len(piece)
        begin = self._offset + min(self._skip, size - self._offset)
        self._skip -= begin - self._offset
        end = min(size, begin + PIECE)
        if self._left >= 0:
            end = min(end, begin + self._left)
            self._left -= end - begin
        if end == size:
            self.at += 1
            self._offset = 0
        else:
            self._offset = end
        return piece if not begin and end == size else piece[begin:end]


async def read(reader: Reader) -> None:
    """Wait until a client has all of its answer."""
    try:
        await reader.over
    except Failure:
        reader.leave()
        raise
