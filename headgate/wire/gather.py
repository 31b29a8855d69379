"""The whole body of a request in memory, for whoever has to read it before it goes on.

Laws: never more than was asked for, and one read; a client that waits for 100-continue is told to go on only when its
body is waited for; what came stays with the stream, to be taken as if nobody had looked at it.
"""

from __future__ import annotations

from collections.abc import Sequence

from headgate.core.failure import Failure
from headgate.core.message import Field
from headgate.core.steps import Reply
from headgate.wire.pieces import keep
from headgate.wire.stream import ClientStream


def here(stream: ClientStream) -> bytes | None:
    """Return the body if all of it has come, else None."""
    return stream.peek() if stream.ended else None


async def gather(stream: ClientStream, most: int) -> bytes | None:
    """Wait for the body, up to `most` bytes, and return it; None when it is larger. Awaits nothing but a Reply.

    Raises:
        Failure: client_closed, or what is wrong with the body; both as an interruption.
    """
    if stream.head.length > most or stream.bytes_in > most:
        return None
    sink = _Gathering(most)
    try:
        stream.pipe_to(sink)
        whole = await sink.whole
    finally:
        stream.give_back(sink.pieces)
    return stream.peek() if whole else None


class _Gathering:
    """Takes a body, until it is too much."""

    __slots__ = ("_room", "pieces", "whole")

    def __init__(self, most: int) -> None:
        self._room = most
        self.pieces: list[bytes] = []
        self.whole: Reply[bool] = Reply()

    def write(self, data: bytes) -> None:
        """Keep a piece."""
        keep(self.pieces, data)
        self._room -= len(data)
        if self._room < 0:
            self.whole.set(False)

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """Take the end; trailers stay with the stream."""
        self.whole.set(True)

    def source_failed(self, failure: Failure) -> None:
        """Learn that the rest will never come."""
        self.whole.fail(failure)
