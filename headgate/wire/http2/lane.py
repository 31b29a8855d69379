"""One stream of an HTTP/2 connection: what waits to be sent on it, and what came on it and is not acknowledged yet.

Laws:
- Bytes leave a lane in order, and only the link (wire.http2.writer) takes them, in its turn among the others.
- Bytes that came are acknowledged when they were taken: what is held back holds back the peer, never the memory.
- A lane that is closed sends nothing and hears nothing: it carries `NOBODY`, so that it and what it carried do not hold
  each other, and are gone without the garbage collector.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from h2.stream import H2Stream

from headgate.core.message import Field, Fields
from headgate.wire.pieces import keep
from headgate.wire.pipe import Source

if TYPE_CHECKING:
    from headgate.wire.http2.writer import LinkWriter

# Share of the buffer at which a source that was paused goes on.
_LOW = 4


class Carried(Protocol):
    """What a lane carries: a client's request (wire.http2.stream) or a call to an upstream (wire.http2.call).

    `source`: where comes from what is written to the lane; it is paused while the peer does not keep up.
    """

    source: Source | None

    def data_came(self, data: bytes) -> None:
        """Take one piece of the body, never empty."""

    def end_came(self, trailers: Fields) -> None:
        """Take the end of what the peer sends, with its trailers as they came (`wire.http2.head` judges them)."""

    def reset_came(self, code: int) -> None:
        """Learn that the peer has reset the stream (RFC 9113 section 7: the code); the lane is closed."""

    def link_lost(self, why: str) -> None:
        """Learn that the connection is gone; the lane is closed."""

    def stalled(self) -> None:
        """Learn that bytes wait for the peer to open this stream's window."""

    def moved(self) -> None:
        """Learn that it did."""

    def ended_first(self) -> None:
        """Learn that our end was sent, and the peer's is not here."""

    def lane_closed(self) -> None:
        """Learn that the stream is over."""


class _Nobody:
    """What a closed lane carries."""

    __slots__ = ("source",)

    def __init__(self) -> None:
        self.source: Source | None = None

    def data_came(self, data: bytes) -> None:
        """Nobody takes it."""

    def end_came(self, trailers: Fields) -> None:
        """Nobody waits for it."""

    def reset_came(self, code: int) -> None:
        """It is over already."""

    def link_lost(self, why: str) -> None:
        """It is over already."""

    def stalled(self) -> None:
        """Nothing waits."""

    def moved(self) -> None:
        """Nothing waited."""

    def ended_first(self) -> None:
        """Nobody waits for the other end."""

    def lane_closed(self) -> None:
        """It is over already."""


NOBODY: Final[Carried] = _Nobody()


class Lane:
    """One stream. `number`: its identifier; `queued`: bytes that wait; `sent`: bytes of DATA that left.

    `waiting`: for the peer to open this stream's window; `in_turn`: it is among those the link serves.
    """

    __slots__ = (
        "_at",
        "_held",
        "_pieces",
        "_source_paused",
        "_unacknowledged",
        "carried",
        "closed",
        "ended",
        "ending",
        "in_turn",
        "link",
        "number",
        "peer_ended",
        "queued",
        "sent",
        "stream",
        "trailers",
        "trailers_came",
        "waiting",
    )

    def __init__(self, link: LinkWriter, stream: H2Stream, carried: Carried) -> None:
        self.link = link
        self.stream = stream
        self.number: int = stream.stream_id
        self.carried = carried
        self.closed = False
        # Out; `ending`: nothing comes behind what waits, `ended`: the end was sent.
        self.queued = 0
        self.sent = 0
        self.in_turn = False
        self.waiting = False
        self.ending = False
        self.ended = False
        self.trailers: Sequence[Field] = ()
        self._pieces: deque[bytes] | None = None
        self._at = 0
        self._source_paused = False
        # In.
        self.peer_ended = False
        self.trailers_came: Fields = []
        self._held = False
        self._unacknowledged = 0

    def write(self, data: bytes) -> None:
        """Send a piece of the body, as the windows allow; the source is paused when too much waits."""
        if self.closed:
            return
        if self._pieces is None:
            self._pieces = deque((data,))
        else:
            keep(self._pieces, data)
        self.queued += len(data)
        self.link.queue(self)
        if self.queued >= self.link.buffer and not self._source_paused and self.carried.source is not None:
            self._source_paused = True
            self.carried.source.pause()

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """End what we send behind what waits, with trailers if there are any."""
        if not self.closed and not self.ending:
            self.ending = True
            self.trailers = trailers
            self.link.queue(self)

    def next_piece(self, room: int) -> bytes:
        """Take the next bytes to be sent, at most `room`; for the link alone."""
        pieces = self._pieces
        if not pieces:
            return b""
        first, at = pieces[0], self._at
        size = len(first) - at
        if size > room:
            self._at = at + room
            data = first[at : at + room]
        else:
            pieces.popleft()
            self._at = 0
            data = first[at:] if at else first
            if pieces and size + len(pieces[0]) <= room:
                data = self._more(data, room)
        self.queued -= len(data)
        return data

    def _more(self, data: bytes, room: int) -> bytes:
        """Put small pieces into one frame."""
        pieces = self._pieces
        assert pieces is not None
        taken = [data]
        room -= len(data)
        while pieces and len(pieces[0]) <= room:
            piece = pieces.popleft()
            room -= len(piece)
            taken.append(piece)
        return b"".join(taken)

    def drained(self) -> None:
        """Let the source go on, if there is room again; for the link alone."""
        if self._source_paused and self.queued <= self.link.buffer // _LOW:
            self._source_paused = False
            if self.carried.source is not None:
                self.carried.source.resume()

    def drop(self) -> None:
        """Let go of everything; for the link alone."""
        self.closed = True
        self._pieces = None
        self.queued = 0
        self.acknowledge()

    # -- what came -------------------------------------------------------------------------------------------------

    def came(self, data: bytes, size: int) -> None:
        """Pass a piece on; `size`: what it takes of the windows, padding included."""
        self._unacknowledged += size
        if data:
            self.carried.data_came(data)
        if not self._held and not self.closed:
            self.acknowledge()

    def hold(self) -> None:
        """Acknowledge nothing that comes from now on: its taker is full."""
        self._held = True

    def let_go(self) -> None:
        """Acknowledge what came meanwhile, and again what comes."""
        self._held = False
        self.acknowledge()

    def acknowledge(self) -> None:
        """Let the peer send as much again as came until now."""
        size, self._unacknowledged = self._unacknowledged, 0
        if size:
            self.link.acknowledge(self, size)

    def reset(self, code: int) -> None:
        """Close the stream at once: what waits is dropped, the peer is told `code` (h2.errors.ErrorCodes)."""
        if not self.closed:
            self.link.reset(self, code)

    def __repr__(self) -> str:
        return f"<Lane {self.number} queued={self.queued} sent={self.sent}{' closed' if self.closed else ''}>"
