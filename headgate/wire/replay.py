"""A copy of a request body that streams through, kept so that it can be sent once more.

Laws: what passes on is never changed or held up; the copy is given up as a whole when it grows beyond its room.
"""

from __future__ import annotations

from collections.abc import Sequence

from headgate.core.failure import Failure
from headgate.core.message import Field
from headgate.wire.pieces import keep
from headgate.wire.pipe import Sink


class KeptBody:
    """Stands as a sink before the one that a body goes to; `body` was sent there before."""

    __slots__ = ("_pieces", "_room", "_sink")

    def __init__(self, body: bytes, room: int, sink: Sink) -> None:
        """Keep `room` bytes in all."""
        self._sink = sink
        self._room = room - len(body)
        self._pieces: list[bytes] | None = [body] if self._room >= 0 else None

    @property
    def whole(self) -> bytes | None:
        """Return everything that was sent so far, or None when it is kept no more."""
        return b"".join(self._pieces) if self._pieces is not None else None

    def write(self, data: bytes) -> None:
        """Take one piece."""
        if self._pieces is not None:
            self._room -= len(data)
            if self._room >= 0:
                keep(self._pieces, data)
            else:
                self._pieces = None
        self._sink.write(data)

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """Take the end."""
        self._sink.finish(trailers)

    def source_failed(self, failure: Failure) -> None:
        """Pass on that the rest will never come."""
        self._pieces = None
        self._sink.source_failed(failure)
